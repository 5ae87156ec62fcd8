#!/bin/bash
# kld.sh: divergence of INT4 nano from BF16 nano: the interval of every window holds the value over the full vocabulary, computed in
# Python from dumped logits; killed runs end with the same bytes; what does not belong together is refused.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
kconvert -q $nano -o "$T/nano.kmf" && kquant -q -t i4g32 "$T/nano.kmf" -o "$T/i4.kmf" || { fail setup "nano does not convert"; finish; }
head -c 1800 $nano/eval/prose.txt > "$T/text"
one="-f $T/text --window 96"
check "--save-ref" keval kld -m "$T/nano.kmf" $one --save-ref "$T/ref" --report "$T/saved.jsonl"
check "--ref" keval kld -m "$T/i4.kmf" $one --ref "$T/ref" --report "$T/kld.jsonl"
cat > "$T/full.py" <<'PY'
import json, math, struct, subprocess, sys
t, nano = sys.argv[1:]
ids = json.loads(subprocess.run(['kls', '--tokens', f'{t}/text', '--whole', nano], check=True, capture_output=True).stdout)
seqs = {f'w{i // 96}': {'ids': ids[i:i + 96]} for i in range(0, len(ids), 96)}
json.dump({'sequences': seqs}, open(f'{t}/g.json', 'w'))
def logits(model):
    subprocess.run(['keval', 'dump', '-m', f'{t}/{model}', '-f', f'{t}/g.json', '-o', f'{t}/{model}.st'], check=True)
    d = open(f'{t}/{model}.st', 'rb').read()
    n, = struct.unpack('<Q', d[:8])
    return {k[7:]: (v['shape'], struct.unpack(f'<{(v["data_offsets"][1] - v["data_offsets"][0]) // 4}f', d[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]))
            for k, v in json.loads(d[8:8 + n]).items() if k.startswith('logits/')}
def log_softmax(x):
    top = max(x)
    z = math.log(sum(math.exp(v - top) for v in x)) + top
    return [v - z for v in x]
p, q = logits('nano.kmf'), logits('i4.kmf')
items = {r['item']: r for r in map(json.loads, open(f'{t}/kld.jsonl')) if 'item' in r}
total = n = agree = 0
for k in range(len(seqs)):
    (rows, v), x = p[f'w{k}']
    y = q[f'w{k}'][1]
    kl = 0
    for r in range(rows - 1):
        a, b = log_softmax(x[r * v:r * v + v]), log_softmax(y[r * v:r * v + v])
        kl += sum(math.exp(s) * (s - u) for s, u in zip(a, b))
        agree += a.index(max(a)) == b.index(max(b))
    w = items[f'window {k}']
    assert w['tokens'] == rows - 1 and w['lower'] <= kl <= w['upper'], (k, w['lower'], kl, w['upper'])
    assert abs(w['kld'] - kl) < 0.2 * kl, (w['kld'], kl)
    total += kl
    n += rows - 1
s = [json.loads(l) for l in open(f'{t}/kld.jsonl')][-1]
assert s['kld_lower'] <= total / n <= s['kld_upper'] and s['top1_agree'] == agree / n, (s, total / n, agree / n)
PY
check "every window's interval holds the value over the full vocabulary" python3 "$T/full.py" "$T" $nano
keval kld -m "$T/nano.kmf" $one --ref "$T/ref" --json | tail -n 1 > "$T/self"
check "a model and itself" python3 -c 'import json,sys; s=json.load(open(sys.argv[1])); assert s["kld_lower"] == 0 and s["kld_mean"] < 1e-6 and s["top1_agree"] == 1 and s["ppl_ratio"] == 1' "$T/self"
# Threads, batch, and runs that were killed: the same bytes.
keval kld -m "$T/nano.kmf" $one --save-ref "$T/b" -j 5 -b 3 -q > /dev/null; same "threads and batch, the reference" "$T/ref" "$T/b"
keval kld -m "$T/i4.kmf" $one --ref "$T/ref" -j 1 -b 4 --report "$T/kld2.jsonl" > /dev/null; same "threads and batch, the report" "$T/kld.jsonl" "$T/kld2.jsonl"
for i in 1 2 3 4 5 6; do
	rm -f "$T/c" "$T/c.partial" "$T/c.jsonl"
	keval kld -m "$T/nano.kmf" $one --save-ref "$T/c" --resume "$T/c.jsonl" > /dev/null 2>&1 &
	sleep 0.$((i * 9 % 40 + 10)); kill -9 $! 2> /dev/null; wait $! 2> /dev/null
	keval kld -m "$T/nano.kmf" $one --save-ref "$T/c" --resume "$T/c.jsonl" > /dev/null 2>&1
	same "killed $i, the reference" "$T/ref" "$T/c"
	same "killed $i, its report" "$T/saved.jsonl" "$T/c.jsonl"
	rm -f "$T/d.jsonl"
	keval kld -m "$T/i4.kmf" $one --ref "$T/ref" --resume "$T/d.jsonl" > /dev/null 2>&1 &
	sleep 0.$((i * 7 % 40 + 10)); kill -9 $! 2> /dev/null; wait $! 2> /dev/null
	keval kld -m "$T/i4.kmf" $one --ref "$T/ref" --resume "$T/d.jsonl" > /dev/null 2>&1
	same "killed $i, the comparison" "$T/kld.jsonl" "$T/d.jsonl"
done
# What does not fit.
exits "another window" 2 keval kld -m "$T/i4.kmf" -f "$T/text" --window 64 --ref "$T/ref"
head -c 1700 $nano/eval/prose.txt > "$T/other"
exits "another text" 2 keval kld -m "$T/i4.kmf" -f "$T/other" --window 96 --ref "$T/ref"
exits "neither option" 2 keval kld -m "$T/i4.kmf" $one
exits "no reference" 3 keval kld -m "$T/i4.kmf" $one --ref "$T/text"
bytes=$(wc -c < "$T/ref")
head -c $((bytes / 2)) "$T/ref" > "$T/short"; exits "half a reference" 3 keval kld -m "$T/i4.kmf" $one --ref "$T/short"
cp "$T/ref" "$T/bad"; printf x | dd of="$T/bad" bs=1 seek=$((bytes / 2)) conv=notrunc 2> /dev/null
exits "a changed byte" 3 keval kld -m "$T/i4.kmf" $one --ref "$T/bad"; grep -q 'damaged at window' "$T/.err" && ok "it is named" || fail "it is named" "$(cat "$T/.err")"
# Models whose logits are no numbers: windows fail, no reference is left, and what is not known is null.
cat > "$T/spoil.py" <<'PY'
# spoil.py REF OUT WHERE: row 1 of window 1 has a NaN (nll, mass, plogp or its first log p), and every digest is right
import hashlib, json, math, struct, sys
d = bytearray(open(sys.argv[1], 'rb').read())
version, n = struct.unpack_from('<II', d, 8)
head = json.loads(d[16:16 + n])
at, chain, size = 16 + n, hashlib.sha256(d[16:16 + n]).digest(), 24 + 8 * head['top']
for i in range(head['windows']):
    rows, = struct.unpack_from('<Q', d, at)
    where = {'nll': 0, 'mass': 8, 'plogp': 16, 'logp': 24 + 4 * head['top']}[sys.argv[3]]
    if i == 1: struct.pack_into('<f' if where > 16 else '<d', d, at + 8 + size + where, math.nan)
    end = at + 8 + rows * size
    chain = hashlib.sha256(chain + d[at:end]).digest()
    d[end:end + 32] = chain
    at = end + 32
open(sys.argv[2], 'wb').write(d)
PY
tiny=testdata/tiny/llama-tiny two="-f $T/text --window 96 --limit 3"
python3 "$(dirname "$0")/overflow_make.py" $tiny "$T/overflow" || fail setup "no model that overflows"
printf 'what was there' > "$T/never"
exits "a reference of no numbers" 1 keval kld -m "$T/overflow" $two --save-ref "$T/never" --json
grep -q '^keval: 3 of 3 items failed; the first: window 0: ' "$T/.err" && tail -n 1 "$T/.out" | jq -e '.nll == null and .ppl == null and .bytes == null' > /dev/null \
	&& ok "it fails by its windows" || fail "it fails by its windows" "$(tail -n 1 "$T/.out")"
[ "$(cat "$T/never")" = 'what was there' ] && [ ! -e "$T/never.partial" ] && ok "nothing is written" || fail "nothing is written" "$(ls "$T")"
check "a sound reference" keval kld -m $tiny $two --save-ref "$T/sound"
exits "no numbers against a sound reference" 1 keval kld -m "$T/overflow" $two --ref "$T/sound" --json --plot "$T/n.svg"
grep -q '^keval: 3 of 3 items failed; the first: window 0: the divergence' "$T/.err" && ok "its windows fail" || fail "its windows fail" "$(tail -n 1 "$T/.err")"
if tail -n 1 "$T/.out" | jq -e '[.kld_mean, .kld_stderr, .kld_p99, .kld_max, .kld_lower, .kld_upper, .top1_agree, .ppl_ratio, .ppl] | all(. == null)' > /dev/null
then ok "and nothing is known"; else fail "and nothing is known" "$(tail -n 1 "$T/.out")"; fi
grep -q 'no mean, a window failed' "$T/n.svg" && ! grep -qi 'nan' "$T/n.svg" && ok "nor drawn" || fail "nor drawn" "$(grep -i -m 1 'nan' "$T/n.svg")"
for where in nll mass plogp logp; do
	check "spoil $where" python3 "$T/spoil.py" "$T/sound" "$T/spoilt" $where
	exits "a NaN in a reference: $where" 3 keval kld -m $tiny $two --ref "$T/spoilt"
	grep -q 'window 1, row 1: .* nan, wanted a number' "$T/.err" && ok "it is named: $where" || fail "it is named: $where" "$(cat "$T/.err")"
done
exits "a bar" 1 keval kld -m "$T/i4.kmf" $one --ref "$T/ref" --bar 'kld_mean<1e-9'
finish
