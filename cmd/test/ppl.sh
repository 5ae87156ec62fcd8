#!/bin/bash
# ppl.sh: perplexity of nano against the figures that other people's code gave; its greedy tokens; bars, reports.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
kconvert $nano -o "$T/nano.kmf" && kquant -t i4g32 --preset k2-thinking $nano -o "$T/i4.kmf" || { fail setup "nano does not convert"; finish; }
near() {        # near NAME WANTED RELATIVE FILE
	if python3 - "$2" "$3" "$4" <<'PY'
import json, sys
want, rel = float(sys.argv[1]), float(sys.argv[2])
got = [json.loads(l) for l in open(sys.argv[3]) if l.startswith('{')][-1]['ppl']
print(got)
sys.exit(abs(got / want - 1) > rel)
PY
	then ok "$1"; else fail "$1" "wanted $2"; fi
}
figure() { python3 -c 'import json,sys; print(json.load(open("testdata/nano/expected.json"))["perplexity"][sys.argv[1]][sys.argv[2]]["perplexity"])' "$1" "$2"; }
for weights in bf16 int4_experts; do
	for profile in engine hf_remote; do
		case $weights in bf16) model=$T/nano.kmf ;; *) model=$T/i4.kmf ;; esac
		keval ppl -m "$model" -f $nano/eval/prose.txt --window 511 --bos yes --profile $profile -b 4 --json > "$T/out" || fail "$weights" "keval"
		near "nano $weights $profile" "$(figure $weights $profile)" 1e-4 "$T/out"
	done
done
keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 2 --json -b 1 -j 1 > "$T/a"
keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 2 --json -b 2 -j 7 > "$T/b"
grep summary "$T/a" | sed 's/"seconds":[^,}]*//' > "$T/a1"; grep summary "$T/b" | sed 's/"seconds":[^,}]*//' > "$T/b1"
if [ -s "$T/a1" ] && diff <(grep -o '"ppl": *[^,}]*' "$T/a1") <(grep -o '"ppl": *[^,}]*' "$T/b1") > /dev/null; then ok "digits do not depend on threads and batch"; else fail digits "differ"; fi
exits "a bar that holds" 0 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --bar 'ppl<1000' --junit "$T/j.xml"
exits "a bar that is missed" 1 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --bar 'ppl<2' --junit "$T/j.xml" --report "$T/r.jsonl"
for option in "--window 0" "--window 1" "--stride 0" "--stride -1" "--stride 513"; do
	# shellcheck disable=SC2086
	exits "$option" 2 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 $option
done
K_KEVAL_STRIDE=0 exits "a stride of 0 from the environment" 2 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1
check "JUnit is XML with a failure" python3 -c 'import sys, xml.dom.minidom as m; d = m.parse(sys.argv[1]); assert d.getElementsByTagName("failure")' "$T/j.xml"
check "the report ends with a summary" python3 -c 'import json, sys; assert [json.loads(l) for l in open(sys.argv[1])][-1]["summary"]' "$T/r.jsonl"
# How sure it is one token alone does not tell.
printf ' the the' > "$T/two"
keval ppl -m "$T/nano.kmf" -f "$T/two" --json | jq -se 'last | .tokens == 1 and .ppl > 1 and .ppl_stderr == null' > /dev/null && ok "the error of one token" || fail "the error of one token" "is not null"
keval kld -m "$T/nano.kmf" -f "$T/two" --save-ref "$T/two.ref" > /dev/null && keval kld -m "$T/nano.kmf" -f "$T/two" --ref "$T/two.ref" --json |
	jq -se 'last | .tokens == 1 and .kld_max < 1e-6 and .kld_stderr == null' > /dev/null && ok "kld's, too" || fail "kld's, too" "is not null"
keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --tap > "$T/tap"
if head -n 1 "$T/tap" | grep -q '^TAP version 14' && grep -q '^1\.\.' "$T/tap"; then ok TAP; else fail TAP "$(head -n 3 "$T/tap")"; fi
# A window that does not fit below the ceiling, and the largest ceiling that it wants.
exits "a window beyond --max-memory" 6 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --window 12000 --max-memory 20M
grep -q "keys and values of 15.4 MB" "$T/.err" && ok "which says what does not fit" || fail "the sentence" "$(tail -n 1 "$T/.err")"
exits "outputs beyond it" 6 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --window 12000 --max-memory 25M
exits "the same window with keys and values in int8" 0 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --window 12000 --max-memory 25M --kv int8
exits "a model beyond --max-memory" 6 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --max-memory 1M
check "an option of other tasks" keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --depths 50
grep -q "warning: --depths says nothing to 'ppl'" "$T/.err" && ok "is said" || fail "an option of other tasks" "$(cat "$T/.err")"
check "a seed, where nothing is drawn" keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --seed 5
grep -q "warning: --seed says nothing to 'ppl'" "$T/.err" && ok "the seed is named" || fail "the seed is named" "$(cat "$T/.err")"
check "and in the environment" env K_KEVAL_DEPTHS=50 K_KEVAL_STEPS=3 keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1
[ -s "$T/.err" ] && fail "that is nothing to say" "$(cat "$T/.err")" || ok "that is nothing to say"
check "its own options" keval ppl -m "$T/nano.kmf" -f $nano/eval/prose.txt --limit 1 --window 64 --stride 32
[ -s "$T/.err" ] && fail "its own options" "$(cat "$T/.err")" || ok "are not"
# Greedy continuations: both prompts of expected.json, 64 tokens, exactly.
cat > "$T/greedy.py" <<'PY'
import json, struct, subprocess, sys
t = sys.argv[1]
for name, g in json.load(open('testdata/nano/expected.json'))['greedy'].items():
    prompt = g['prompt_tokens']
    for weights, model in (('bf16', f'{t}/nano.kmf'), ('int4_experts', f'{t}/i4.kmf')):
        want = g[weights]['tokens']
        json.dump({'sequences': {'p': {'ids': prompt}}, 'greedy': {'prompt': prompt, 'count': len(want)}}, open(f'{t}/g.json', 'w'))
        subprocess.run(['keval', 'dump', '-m', model, '-f', f'{t}/g.json', '-o', f'{t}/g.st'], check=True)
        d = open(f'{t}/g.st', 'rb').read()
        n, = struct.unpack('<Q', d[:8])
        v = json.loads(d[8:8 + n])['greedy/tokens']
        size = {'I32': ('i', 4), 'I64': ('q', 8)}[v['dtype']]
        a, b = v['data_offsets']
        have = list(struct.unpack(f'<{(b - a) // size[1]}{size[0]}', d[8 + n + a:8 + n + b]))
        assert have == want, (name, weights, have, want)
PY
check "greedy tokens of nano" python3 "$T/greedy.py" "$T"
finish
