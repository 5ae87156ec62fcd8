#!/bin/bash
# quant.sh: INT4 bit for bit as other people's code makes it, by every route; rules, presets, ledger, bars.
. "$(dirname "$0")/lib.sh"
set -o pipefail
nano=testdata/nano
kquant -t i4g32 $nano -o "$T/b.kmf" || { fail setup "nano does not quantise"; finish; }
tar -C testdata -cf - nano | kconvert - | kquant -t i4g32 -o "$T/a.kmf" && same "tar | kconvert | kquant" "$T/a.kmf" "$T/b.kmf"
kquant -t i4g32 -j 1 $nano > "$T/a.kmf" && same "one thread" "$T/a.kmf" "$T/b.kmf"
kquant -t i4g32 -j 7 $nano > "$T/a.kmf" && same "seven threads" "$T/a.kmf" "$T/b.kmf"
kquant -t i4g32 "$T/b.kmf" -o "$T/a.kmf" && same "what has its type already passes through" "$T/a.kmf" "$T/b.kmf"
# amax/7: the digests of nano-int4, as its makers wrote it.
cat > "$T/digests.py" <<'PY'
import glob, hashlib, json, struct, sys
have = {}
for f in glob.glob(sys.argv[1] + '/*.safetensors'):
    d = open(f, 'rb').read()
    n, = struct.unpack('<Q', d[:8])
    for k, v in json.loads(d[8:8 + n]).items():
        if k != '__metadata__':
            a, b = v['data_offsets']
            have[k] = (v['dtype'], 'x'.join(map(str, v['shape'])), hashlib.sha256(d[8 + n + a:8 + n + b]).hexdigest())
want = {r[0]: tuple(r[1:]) for r in (l.rstrip('\n').split('\t') for l in open(sys.argv[2])) if not r[0].startswith('#')}
bad = [k for k in want if have.get(k) != want[k]] + [k for k in have if k not in want]
assert not bad, (len(bad), bad[:3], [have.get(k) for k in bad[:3]], [want.get(k) for k in bad[:3]])
PY
kquant -t i4g32 --preset k2-thinking $nano | kconvert - --to hf -o "$T/hf" && check "nano: amax/7 as its makers" python3 "$T/digests.py" "$T/hf" testdata/golden/nano-int4/tensors.tsv
# amax/7.5: nibbles and scales of the compressed-tensors package.
cat > "$T/packed.py" <<'PY'
import glob, json, struct, sys
def tensors(folder):
    out = {}
    for f in glob.glob(folder + '/*.safetensors'):
        d = open(f, 'rb').read()
        n, = struct.unpack('<Q', d[:8])
        for k, v in json.loads(d[8:8 + n]).items():
            if k.endswith(('weight_packed', 'weight_scale', 'weight_shape')):
                a, b = v['data_offsets']
                out[k] = d[8 + n + a:8 + n + b]
    return out
want, have = map(tensors, sys.argv[1:3])
assert want, 'nothing is packed'
for k in want:
    assert have.get(k) == want[k] or k.endswith('weight_shape') and k in have, k
PY
for model in testdata/tiny/*-int4; do
	base=${model%-int4} name=$(basename "$model")
	rule=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1])).get("quantiser",{}).get("rule","amax/7.5"))' "testdata/golden/$name/golden.json")
	[ "$rule" = amax/7.5 ] || continue
	rm -rf "$T/hf"
	kquant -t i4g32 --preset k2-thinking --scale amax7.5 "$base" | kconvert - --to hf -o "$T/hf" &&
		check "$name: amax/7.5 as compressed-tensors" python3 "$T/packed.py" "$model" "$T/hf"
done
# A model that was trained for INT4 and exported in bf16: the grid is found again, every value of it.
kconvert -q --dequant "$T/b.kmf" -o "$T/export.kmf" && exits "an export of training" 0 kquant -q --from-qat --fail-if 'experts.off_grid>0' "$T/export.kmf" -o "$T/q.kmf" &&
	kconvert -q --dequant "$T/q.kmf" -o "$T/again.kmf"
kconvert -q --to hf "$T/export.kmf" -o "$T/hf1" && kconvert -q --to hf "$T/again.kmf" -o "$T/hf2" && same "its values" "$T/hf1/model.safetensors" "$T/hf2/model.safetensors"
exits "what was not trained" 1 kquant -q --from-qat --fail-if 'off_grid>0' $nano -o "$T/x.kmf"
grep -q 'nano.*: .*experts\.0\.w1\.weight: off_grid is [0-9]* *, --fail-if off_grid>0' "$T/.err" && ok "how many are off" || fail "how many are off" "$(cat "$T/.err")"
exits "--from-qat with another scale" 2 kquant --from-qat --scale mse $nano -o "$T/x.kmf"
# Rules, ledger and bars.
kquant --rule embed=i8row --rule '*.shared_experts.*=fp8b128' --ledger "$T/l.jsonl" $nano -o "$T/r.kmf" || fail rules "$?"
kls --json "$T/r.kmf" > "$T/list" 2> "$T/.err"
grep -q '"role": *"embed".*"type": *"i8row"' "$T/list" && ok "embed=i8row" || fail "embed=i8row" "$(grep -m1 embed "$T/list")"
check "the ledger has a line a tensor and an expert" python3 - "$T/l.jsonl" <<'PY'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
assert len(rows) > 100
assert all(r['rel_rms'] < 0.2 for r in rows if 'rel_rms' in r)
PY
exits "a bar that is missed" 1 kquant --fail-if 'experts.rel_rms>0.01' $nano -o "$T/x.kmf"
[ ! -e "$T/x.kmf" ] && ok "and leaves nothing" || fail "a missed bar" "left its output"
exits "a bar that holds" 0 kquant --fail-if 'experts.rel_rms>0.5' $nano -o "$T/x.kmf"
exits "an unknown type" 2 kquant -t i3g32 $nano -o "$T/y.kmf"
exits "an unknown role" 2 kquant --rule expert=i4g32 $nano -o "$T/y.kmf"
exits "nothing to quantise" 2 kquant -t i4g32 testdata/tiny/llama-tiny -o "$T/y.kmf"
exits "too little memory" 6 kquant --max-memory 1M $nano -o "$T/y.kmf"
finish
