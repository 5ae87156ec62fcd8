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
import hashlib, sys
from hf_read import tensors
have = {k: (dtype, 'x'.join(map(str, shape)), hashlib.sha256(data).hexdigest()) for k, (dtype, shape, data) in tensors(sys.argv[1]).items()}
want = {r[0]: tuple(r[1:]) for r in (l.rstrip('\n').split('\t') for l in open(sys.argv[2])) if not r[0].startswith('#')}
bad = [k for k in want if have.get(k) != want[k]] + [k for k in have if k not in want]
assert not bad, (len(bad), bad[:3], [have.get(k) for k in bad[:3]], [want.get(k) for k in bad[:3]])
PY
kquant -t i4g32 --preset k2-thinking $nano | kconvert - --to hf -o "$T/hf" && check "nano: amax/7 as its makers" python3 "$T/digests.py" "$T/hf" testdata/golden/nano-int4/tensors.tsv
# amax/7.5: nibbles and scales of the compressed-tensors package.
cat > "$T/packed.py" <<'PY'
import sys
from hf_read import tensors
want, have = ({k: data for k, (dtype, shape, data) in tensors(folder).items() if k.endswith(('weight_packed', 'weight_scale', 'weight_shape'))}
              for folder in sys.argv[1:3])
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
# How many is said without a ledger, too, which names them by expert.
kquant --from-qat $nano -o "$T/x.kmf" 2> "$T/says"; kquant -q --from-qat --ledger "$T/x.jsonl" $nano -o "$T/x.kmf"
counts=$(jq -s -r '[.[] | select(.off_grid)] | "\([.[].off_grid] | add) of \([.[].elements] | add) values"' "$T/x.jsonl")
grep -q "nano': $counts that were quantised lie off the grid of their new type" "$T/says" && ok "off the grid: $counts" || fail "off the grid: $counts" "$(cat "$T/says")"
kquant --from-qat "$T/export.kmf" -o "$T/x.kmf" 2> "$T/says"
grep -q "export.kmf': all of [1-9][0-9]* values that were quantised lie on the grid" "$T/says" && ok "all are on the grid" || fail "all are on the grid" "$(cat "$T/says")"
rm -f "$T/x.kmf"
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
# Figures of groups are those of columns that share a scale, in whatever layout they lie: counted here from the source and the decoded output.
cat > "$T/groups.py" <<'PY'
import json, math, struct, subprocess, sys
from hf_read import tensors
folder, kmf, ledger = sys.argv[1:4]
GROUP = 32
rows = [r for r in map(json.loads, open(ledger)) if '.layers.1.' in r['name'] and r.get('expert') == 0]
assert len(rows) == 3, rows
have = tensors(folder)
for r in list(rows):
    dtype, shape, d = have[r['source']]
    x = struct.unpack(f'<{len(d) // 2}f', b''.join(bytes(2) + d[i:i + 2] for i in range(0, len(d), 2)))
    npy = subprocess.run(['kls', '--dump', r['source'], kmf], check=True, capture_output=True).stdout
    y = struct.unpack(f'<{len(x)}f', npy[-4 * len(x):])
    tops, errors, clipped = [], [], 0
    for i in range(0, len(x), GROUP):
        gx, gy = x[i:i + GROUP], y[i:i + GROUP]
        x2, top = math.fsum(p * p for p in gx), max(map(abs, gy))
        errors.append(math.sqrt(math.fsum((p - q) ** 2 for p, q in zip(gx, gy)) / x2) if x2 else 0)
        # Of E2M1 only 6, which a power of two leaves 0.75 of the next, is clamped to: half a step is a sixth.
        power = r['type'] == 'mxfp4'
        clipped += 0 if top == 0 or power and math.frexp(top)[0] != 0.75 else sum(abs(p) > top * (7 / 6 if power else 1 + 0.5 / 7) for p in gx)
        tops.append(top)
    worst = r['worst_group']
    assert r['zero_groups'] == tops.count(0), (r, tops.count(0))
    assert r['clipped'] == clipped, (r, clipped)
    assert math.isclose(worst['error'], max(errors), rel_tol=1e-12) and math.isclose(errors[worst['index']], max(errors), rel_tol=1e-12), (r, max(errors))
    assert r['max_abs'] == max(abs(p - q) for p, q in zip(x, y)), r
    rel = math.sqrt(math.fsum((p - q) ** 2 for p, q in zip(x, y)) / math.fsum(p * p for p in x))
    assert math.isclose(r['rel_rms'], rel, rel_tol=1e-12), (r, rel)
    rows.remove(r)
assert not rows, rows
PY
check "a group of each row that is zero" python3 cmd/test/plant.py $nano "$T/columns" columns 1 0
for t in i4g32 mxfp4; do
	exits "$t: zero groups" 1 kquant -q -t $t --fail-if 'experts.zero_groups>0' --ledger "$T/g.jsonl" "$T/columns" -o "$T/x.kmf"
	grep -q 'experts\.0\.w1\.weight: zero_groups is 64, --fail-if' "$T/.err" && ok "$t: all of them" || fail "$t: all of them" "$(cat "$T/.err")"
	kquant -q -t $t "$T/columns" -o "$T/g.kmf"
	check "$t: figures of groups" python3 "$T/groups.py" "$T/columns" "$T/g.kmf" "$T/g.jsonl"
done
# An expert whose groups are all below the smallest scale, and one of steps of it: nothing was clamped, and of the first nothing is left.
cat > "$T/tiny.py" <<'PY'
import json, struct, sys
path = sys.argv[1]
b = bytearray(open(path, 'rb').read())
n, = struct.unpack('<Q', b[:8])
head = json.loads(b[8:8 + n])
for expert, x in (0, 3.8e-6), (1, 1.4e-5):
    x0, x1 = head[f'model.layers.1.block_sparse_moe.experts.{expert}.w1.weight']['data_offsets']
    b[8 + n + x0:8 + n + x1] = struct.pack('<f', x)[2:] * ((x1 - x0) // 2)
open(path, 'wb').write(b)
PY
cp -rL testdata/tiny/kimi-linear-groups-tiny "$T/tiny" && chmod -R u+w "$T/tiny" && check "tiny experts" python3 "$T/tiny.py" "$T/tiny/model.safetensors"
exits "nothing of them is clamped" 0 kquant -q --fail-if 'clipped>0' --ledger "$T/tiny.jsonl" "$T/tiny" -o "$T/z.kmf"
exits "what became nothing is like nothing" 1 kquant -q --fail-if 'experts.cos<0.9' "$T/tiny" -o "$T/y.kmf"
grep -q 'layers\.1\..*experts\.0\.w1\.weight: cos is 0, --fail-if' "$T/.err" && ok "and is named" || fail "cos of nothing" "$(cat "$T/.err")"
check "their lines" python3 - "$T/tiny.jsonl" <<'PY'
import json, sys
rows = {r['expert']: r for r in map(json.loads, open(sys.argv[1])) if '.layers.1.' in r['name'] and '.w1.' in r['name'] and 'expert' in r}
assert rows[0]['cos'] == 0 and rows[0]['rel_rms'] == 1 and rows[0]['zero_groups'] > 0 and rows[0]['clipped'] == 0, rows[0]
assert rows[1]['cos'] > 0.999 and rows[1]['zero_groups'] == 0 and rows[1]['clipped'] == 0, rows[1]
PY
exits "as MXFP4 they are whole" 0 kquant -q -t mxfp4 --fail-if 'experts.cos<0.9' --fail-if 'zero_groups>0' "$T/tiny" -o "$T/z.kmf"
# Bars that nothing could miss.
exits "off_grid without --from-qat" 2 kquant -q --fail-if 'off_grid>0' $nano -o "$T/y.kmf"
grep -q -e '--from-qat' "$T/.err" && ok "which is named" || fail "--from-qat is named" "$(cat "$T/.err")"
for bar in 'dense.outlier>1' 'attn.row_corr<1'; do
	exits "$bar" 2 kquant -q --fail-if "$bar" $nano -o "$T/y.kmf"
done
exits "INT4's figures without INT4" 2 kquant -q -t mxfp4 --fail-if 'short_groups>0' $nano -o "$T/y.kmf"
exits "a role that is not there" 2 kquant -q --rule dense=i8row --fail-if 'experts.rel_rms>0.5' testdata/tiny/llama-tiny -o "$T/y.kmf"
[ ! -e "$T/y.kmf" ] && ok "nothing is written" || fail "a bar of nothing" "wrote a file"
kquant -q "$T/columns" -o "$T/g.kmf"
exits "INT4 is not all exact in BF16" 1 kconvert -q --dequant --require-lossless "$T/g.kmf" -o "$T/x.kmf"
column=$(sed -n 's/.*experts\.0\.w1\.weight: the value .* at row [0-9]*, column \([0-9]*\) (group .*/\1/p' "$T/.err")
[ "${column:-0}" -ge 32 ] && grep -q "column $column (group $((column / 32)))" "$T/.err" && ok "and the group is named" || fail "the group of a column" "$(cat "$T/.err")"
exits "a bar that is missed" 1 kquant --fail-if 'experts.rel_rms>0.01' $nano -o "$T/x.kmf"
[ ! -e "$T/x.kmf" ] && ok "and leaves nothing" || fail "a missed bar" "left its output"
exits "a bar that holds" 0 kquant --fail-if 'experts.rel_rms>0.5' $nano -o "$T/x.kmf"
# Tensors without values: nothing is left out of the file that its head counts, they stay what they are, whatever the type.
mkdir "$T/empty"
python3 - "$T/empty/model.safetensors" <<'PY'
import json, struct, sys
head, at = {}, 0
for name, shape in {'a': [2, 256], 'x': [3, 0], 'y': [0], 'z': [0, 32], 'w': [2, 3, 0], 'v': [0, 3, 32]}.items():
    n = 4 * (512 if name == 'a' else 0)
    head[name] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [at, at + n]}
    at += n
j = json.dumps(head).encode()
j += b' ' * (-len(j) % 8)
open(sys.argv[1], 'wb').write(struct.pack('<Q', len(j)) + j + bytes(at))
PY
for t in $(kquant -t ? --json | sed 's/.*"type": "\([^"]*\)".*/\1/'); do
	exits "empty tensors: $t" 0 kquant -q --verify --rule "*=$t" "$T/empty/model.safetensors" -o "$T/e.kmf"
	check "empty tensors: $t is whole" kls --verify "$T/e.kmf"
	[ "$(kls --json "$T/e.kmf" | grep -c '"type": "f32"')" -ge 5 ] && ok "empty tensors: $t, kept" || fail "empty tensors: $t, kept" "$(kls --json "$T/e.kmf")"
	check "empty tensors: $t goes on" kconvert -q --dequant --to safetensors "$T/e.kmf" -o "$T/e.safetensors"
done
# Nor do scales of rows without columns, which FP8 by row has: the other way there are rows, but no values.
for o in '' '--dequant' '--to safetensors' '--to safetensors --dequant'; do
	check "rows without columns: kconvert $o" kconvert -q --verify $o testdata/bad/safetensors/fp8_no_columns.safetensors -o "$T/e.out"
	check "rows without columns: kconvert $o is whole" kls --verify "$T/e.out"
done
for t in i8row bf16; do
	check "rows without columns: $t" kquant -q --verify --rule "*=$t" testdata/bad/safetensors/fp8_no_columns.safetensors -o "$T/e.kmf"
	check "rows without columns: $t is whole" kls --verify "$T/e.kmf"
	check "rows without columns: $t goes on" kconvert -q --verify --dequant --to safetensors "$T/e.kmf" -o "$T/e.out"
done
# What is quantised already loses once more: said, where it saves little. Eight bits to four, and values made plain, are what was asked for.
exits "MXFP4 to INT4" 0 kquant testdata/tiny/k3-tiny -o "$T/y.kmf"
grep -q "k3-tiny': .*in 36 tensors, first in .*experts\..*(mxfp4 to i4g32).*--rule experts=keep leaves it" "$T/.err" && ok "is warned of" || fail "MXFP4 to INT4" "$(cat "$T/.err")"
for o in '--rule experts=keep' '-t bf16'; do
	exits "MXFP4, $o" 0 kquant $o testdata/tiny/k3-tiny -o "$T/y.kmf"
	grep -q 'quantised again' "$T/.err" && fail "MXFP4, $o" "warns" || ok "MXFP4, $o: no warning"
done
exits "FP8 to INT4" 0 kquant testdata/tiny/kimi-k2-tiny-fp8 -o "$T/y.kmf"
grep -q 'quantised again' "$T/.err" && fail "FP8 to INT4" "warns" || ok "FP8 to INT4: no warning"
exits "INT4 to FP8" 0 kquant --preset fp8 testdata/tiny/kimi-k2-tiny-int4 -o "$T/y.kmf"
grep -q '(i4g32 to fp8b128)' "$T/.err" && ok "INT4 to FP8 is warned of" || fail "INT4 to FP8" "$(cat "$T/.err")"
# A GGUF of INT4 has the codes and the scales: back they are the same, and nothing is lost.
kconvert -q testdata/tiny/kimi-k2-tiny-int4 --to gguf -o "$T/q4.gguf"
exits "Q4_0 to INT4" 0 kquant --from-qat --fail-if 'off_grid>0' "$T/q4.gguf" -o "$T/y.kmf"
grep -q 'quantised again' "$T/.err" && fail "Q4_0 to INT4" "warns" || ok "Q4_0 to INT4: no warning"
rm -f "$T/y.kmf"
exits "an unknown type" 2 kquant -t i3g32 $nano -o "$T/y.kmf"
exits "an unknown role" 2 kquant --rule expert=i4g32 $nano -o "$T/y.kmf"
exits "nothing to quantise" 2 kquant -t i4g32 testdata/tiny/llama-tiny -o "$T/y.kmf"
exits "too little memory" 6 kquant --max-memory 1M $nano -o "$T/y.kmf"
finish
