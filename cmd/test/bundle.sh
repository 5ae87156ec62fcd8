#!/bin/bash
# bundle.sh: a bundle is a golden set with bands; what leaves them is located at its layer, kind, token and expert. The bundles that differ
# are made by changing numbers of a file, so where they differ is known.
. "$(dirname "$0")/lib.sh"
text=testdata/texts/sqlite-whentouse.txt
cat > "$T/edit.py" <<'PY'
# edit.py FROM TO TENSOR INDEX CHANGE...: a copy of a bundle whose tensor has CHANGE (a factor, or =VALUE) at INDEX, "5", or a row, "5:10"; digests
# are made anew, unless the last word is "keep"
import hashlib, json, os, shutil, struct, sys
src, dst = sys.argv[1:3]
words = sys.argv[3:]
keep = words[-1:] == ['keep']
words = words[:len(words) - keep]
shutil.rmtree(dst, ignore_errors=True)
shutil.copytree(src, dst)
path = os.path.join(dst, 'golden.safetensors')
data = bytearray(open(path, 'rb').read())
n, = struct.unpack('<Q', data[:8])
head = json.loads(data[8:8 + n])
golden = json.load(open(os.path.join(dst, 'golden.json')))
for name, index, change in zip(words[::3], words[1::3], words[2::3]):
    t = head[name]
    at = 8 + n + t['data_offsets'][0]
    fmt = '<f' if t['dtype'] == 'F32' else '<i'
    a, _, b = index.partition(':')
    for i in range(int(a), int(b or int(a) + 1)):
        x, = struct.unpack_from(fmt, data, at + 4 * i)
        x = type(x)(change[1:]) if change[0] == '=' else type(x)(x * float(change))
        struct.pack_into(fmt, data, at + 4 * i, x)
    if not keep:
        golden['sha256'][name] = hashlib.sha256(data[at:8 + n + t['data_offsets'][1]]).hexdigest()
open(path, 'wb').write(data)
json.dump(golden, open(os.path.join(dst, 'golden.json'), 'w'))
PY
edit() { python3 "$T/edit.py" "$@" || fail edit "$*"; }
# found NAME LAYER KIND TOKEN EXPERT: of the summary in $T/.out
found() {
	figures=$(python3 -c 'import json,sys
s=[json.loads(l) for l in open(sys.argv[1])][-1]
print(*(s.get("first_bad_" + k) for k in ("layer", "kind", "token", "expert")))' "$T/.out")
	if [ "$figures" = "$2 $3 $4 $5" ]; then ok "$1"; else fail "$1" "located $figures, wanted $2 $3 $4 $5"; fi
}
# differs NAME LAYER KIND TOKEN EXPERT EDIT...: the bundle with that edit leaves the bands there
differs() {
	dn=$1 dl=$2 dk=$3 dt=$4 de=$5; shift 5
	edit "$T/a" "$T/b" "$@"
	exits "$dn: status" 1 keval diff --json "$T/a" "$T/b"
	found "$dn" "$dl" "$dk" "$dt" "$de"
}

kconvert testdata/nano -o "$T/m.kmf" || { fail setup kconvert; finish; }
check "written" keval parity -m "$T/m.kmf" -f $text --window 64 --bundle "$T/a" -j 2
check "itself" keval parity -m "$T/m.kmf" -f "$T/a"
check "bfloat16 stays within the bands" keval parity -m "$T/m.kmf" -f "$T/a" --act bf16
exits "INT8 activations do not" 1 keval parity -m "$T/m.kmf" -f "$T/a" --act int8
exits "nor INT4 experts" 1 keval parity -m <(kquant -q "$T/m.kmf") -f "$T/a" --json
found "INT4 experts: the first layer that has any" 1 hidden 0 None
check "another order of sums stays within 1e-5" keval parity -m "$T/m.kmf" -f "$T/a" --cpu ref --tol 1e-5
keval parity -q -m "$T/m.kmf" -f $text --window 64 --bundle "$T/a7" -j 7 -b 3 > "$T/.out"
same "the same bytes by seven threads" "$T/a/golden.safetensors" "$T/a7/golden.safetensors"
same "and digests and bands" "$T/a/golden.json" "$T/a7/golden.json"
check "a bundle and itself" keval diff "$T/a" "$T/a7"

# nano: layers 3 and 7 are MLA, the others KDA; all but layer 0 have 16 experts, of which 4 are used; 64 tokens, 256 channels; 2 heads of 128.
row() { echo $((($1 + 1) * 64 * 256 + $2 * 256)):$((($1 + 1) * 64 * 256 + $2 * 256 + 256)); }
differs "the embedding" -1 hidden 9 None hidden/window0 "$(row -1 9)" 1.01
differs "what layer 3 adds" 3 hidden 20 None hidden/window0 "$(row 3 20)" 1.5
differs "the earlier layer, not the earlier token" 2 hidden 40 None hidden/window0 "$(row 2 40)" 1.5 hidden/window0 "$(row 5 1)" 1.5
differs "a state" 4 state None None kda/window0/layer4.state 0:16384 1.1
differs "the last taps" 5 conv 63 None kda/window0/layer5.conv 5 "=100"
differs "a score" 6 scores 3 None router/window0/layer6.scores $((3 * 16 + 5)) "=9"
differs "a weight" 7 weights 2 None router/window0/layer7.weights 8:10 1.2
differs "not a number" 1 hidden 5 None hidden/window0 $((2 * 64 * 256 + 5 * 256 + 7)) "=nan"
exits "not a number in the bundle itself" 3 keval diff "$T/b" "$T/a"
exits "not a number in the bundle, and a model" 3 keval parity -m "$T/m.kmf" -f "$T/b"
grep -q "hidden/window0 has nan as value $((2 * 64 * 256 + 5 * 256 + 7)), wanted a number" "$T/.err" && ok "it is named" || fail "it is named" "$(cat "$T/.err")"
python3 "$(dirname "$0")/overflow_make.py" testdata/nano "$T/overflow" || fail setup "no model that overflows"
exits "a model that overflows" 1 keval parity -m "$T/overflow" -f "$T/a" --json
tail -n 1 "$T/.out" | jq -e '.max_abs == null and .first_bad_layer == 1' > /dev/null && ok "its logits have no figure" || fail "its logits have no figure" "$(tail -n 1 "$T/.out")"
exits "a bundle of it" 1 keval parity -m "$T/overflow" -f $text --window 64 --bundle "$T/never" --report "$T/r.jsonl"
grep -q "^keval: .*wanted a number" "$T/.err" && tail -n 1 "$T/r.jsonl" | grep -q '"summary": true' && [ ! -e "$T/never" ] && ok "is not made" || fail "is not made" "$(cat "$T/.err")"
differs "logits" None logits 63 None logits/window0 $((15 * 4096)):$((15 * 4096 + 2000)) 1.5

# Another choice is a tie where the scores are that near, and else not.
python3 - "$T/a" > "$T/choice" <<'PY'
# the choice of a token in layer 4 with its last expert replaced by the best that was not chosen, and that one's score
import json, struct, sys
d = open(sys.argv[1] + '/golden.safetensors', 'rb').read()
n, = struct.unpack('<Q', d[:8])
h = json.loads(d[8:8 + n])
def get(name, f):
    a, b = h[name]['data_offsets']
    return struct.unpack(f'<{(b - a) // 4}{f}', d[8 + n + a:8 + n + b])
e, s = get('router/window0/layer4.experts', 'i'), get('router/window0/layer4.scores', 'f')
gaps = []
for t in range(64):
    chosen, score = e[4 * t:4 * t + 4], s[16 * t:16 * t + 16]
    last = min(chosen, key=lambda i: score[i])
    best = max((i for i in range(16) if i not in chosen), key=lambda i: score[i])
    gaps.append((score[last] - score[best], t, sorted(set(chosen) - {last} | {best})))
for gap, t, new in (min(gaps), max(gaps)):
    print(t, *new)
band = json.load(open(sys.argv[1] + '/golden.json'))['bands']['scores'][5]
assert min(gaps)[0] / 2 < band < max(gaps)[0] / 2, (min(gaps), band, max(gaps))
PY
choice() { read -r t a b c d; echo "$t"; for i in 0 1 2 3; do set -- $a $b $c $d; shift $i; echo "router/window0/layer4.experts $((4 * t + i)) =$1"; done; }
tie=$(head -1 "$T/choice" | choice) other=$(tail -1 "$T/choice" | choice)
edit "$T/a" "$T/b" $(echo "$tie" | tail -n +2)
exits "a tie is no defect" 0 keval diff --json "$T/a" "$T/b"
tail -1 "$T/.out" | grep -q '"ties": 1,' && ok "and is counted" || fail "and is counted" "$(tail -1 "$T/.out")"
differs "another choice" 4 experts "$(echo "$other" | head -1)" None $(echo "$other" | tail -n +2)
grep -q "chose other experts, and that is no tie" "$T/.err" && ok "the sentence" || fail "the sentence" "$(cat "$T/.err")"

# What a bundle must hold, and what two must share.
edit "$T/a" "$T/b" hidden/window0 17 1.5 keep
exits "a wrong digest" 3 keval parity -m "$T/m.kmf" -f "$T/b"
grep -q "hidden/window0 is not what its sha256 says" "$T/.err" && ok "names the tensor" || fail "names the tensor" "$(cat "$T/.err")"
exits "a folder that is there" 2 keval parity -m "$T/m.kmf" -f $text --bundle "$T/a"
kls --tokens - testdata/nano < <(head -3 $text) > "$T/ids" 2> "$T/.err"
check "ids" keval parity -m "$T/m.kmf" -f "$T/ids" --limit 2 --bundle "$T/c"
grep -q '"line3": {"ids"' "$T/c/golden.json" && ok "two lines" || fail "two lines" "$(cut -c 1-300 "$T/c/golden.json")"
exits "other sequences" 2 keval diff "$T/a" "$T/c"
check "the sequences of a bundle" keval parity -m "$T/m.kmf" -f "$T/a" --bundle "$T/d"
same "computed again" "$T/a/golden.safetensors" "$T/d/golden.safetensors"
exits "sets without bands" 2 keval diff testdata/golden/llama-tiny testdata/golden/llama-tiny
exits "another model" 3 keval parity -m testdata/tiny/kimi-linear-tiny -f "$T/a"
exits "no text" 2 keval parity -m "$T/m.kmf" --bundle "$T/e"
finish
