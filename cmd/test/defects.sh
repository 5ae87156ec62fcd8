#!/bin/bash
# defects.sh: what is wrong with one expert is named by the ledger, and by the sentence of --fail-if, at the right tensor and expert: one
# that is transposed, zero, has another's scales, a scale with its sign bit flipped, or scales a row instead of a group.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
cat > "$T/plant.py" <<'PY'
# plant.py FROM TO WHAT LAYER EXPERT: a copy of a checkpoint with one defect
import json, os, shutil, struct, sys
src, dst, what, layer, expert = sys.argv[1:6]
shutil.copytree(src, dst)
files = {}
for f in sorted(os.listdir(dst)):
    if f.endswith('.safetensors'):
        d = bytearray(open(os.path.join(dst, f), 'rb').read())
        n, = struct.unpack('<Q', d[:8])
        files[f] = d, {k: (v['shape'], 8 + n + v['data_offsets'][0], 8 + n + v['data_offsets'][1]) for k, v in json.loads(d[8:8 + n]).items() if k != '__metadata__'}
def at(name):
    for f, (d, h) in files.items():
        if name in h:
            return d, *h[name]
    raise KeyError(name)
def get(name):
    d, shape, a, b = at(name)
    return bytes(d[a:b])
def put(name, data):
    d, shape, a, b = at(name)
    assert len(data) == b - a
    d[a:b] = data
def bf16(b): return struct.unpack('<f', bytes(2) + b)[0]
def to_bf16(x):
    u, = struct.unpack('<I', struct.pack('<f', x))
    return struct.pack('<H', (u + 0x7fff + (u >> 16 & 1)) >> 16)
stem = f'model.layers.{layer}.block_sparse_moe.experts.{expert}.'
if what == 'transposed':
    name = stem + 'w1.weight'
    d, (rows, cols), a, b = at(name)
    w = get(name)
    put(name, b''.join(w[2 * (r * cols + c):2 * (r * cols + c) + 2] for c in range(cols) for r in range(rows)))
elif what == 'zero':
    put(stem + 'w2.weight', bytes(len(get(stem + 'w2.weight'))))
elif what == 'swapped':
    other = f'model.layers.{layer}.block_sparse_moe.experts.{int(expert) + 1}.'
    a, b = get(stem + 'w1.weight_scale'), get(other + 'w1.weight_scale')
    put(stem + 'w1.weight_scale', b), put(other + 'w1.weight_scale', a)
elif what == 'sign':
    s = bytearray(get(stem + 'w3.weight_scale'))
    s[2 * 77 + 1] ^= 0x80
    put(stem + 'w3.weight_scale', bytes(s))
elif what == 'rows':
    d, (rows, groups), a, b = at(stem + 'w1.weight_scale')
    s, q = get(stem + 'w1.weight_scale'), get(stem + 'w1.weight_packed')
    new_s, new_q = b'', bytearray(q)
    for r in range(rows):
        sc = [bf16(s[2 * (r * groups + g):2 * (r * groups + g) + 2]) for g in range(groups)]
        one = max(sc)
        new_s += to_bf16(one) * groups
        for g in range(groups):
            for i in range(16):
                o = (r * groups + g) * 16 + i
                lo, hi = (round(((q[o] >> k & 15) - 8) * sc[g] / one) + 8 for k in (0, 4))
                new_q[o] = lo | hi << 4
    put(stem + 'w1.weight_scale', new_s), put(stem + 'w1.weight_packed', bytes(new_q))
for f, (d, h) in files.items():
    open(os.path.join(dst, f), 'wb').write(d)
PY
kquant -q $nano | kconvert -q - --to hf -o "$T/int4" || { fail setup "nano does not become INT4"; finish; }

# defect FROM WHAT LAYER EXPERT MATRIX BAR...: planted, it is the first that the bar names; without it the bar holds
defect() {
	from=$1 what=$2 layer=$3 expert=$4 matrix=$5 bar=$6
	check "$what: planted" python3 "$T/plant.py" "$from" "$T/$what" "$what" "$layer" "$expert"
	exits "$what: $bar" 1 kquant -q --ledger "$T/$what.jsonl" --fail-if "$bar" "$T/$what" -o "$T/x.kmf"
	grep -q "layers\.$layer\..*experts\.$expert\.$matrix\.weight: ${bar%%[<>]*} is" "$T/.err" && ok "$what: the sentence" || fail "$what: the sentence" "$(cat "$T/.err")"
	[ ! -e "$T/x.kmf" ] && ok "$what: no output" || fail "$what" "left its output"
	check "$what: the ledger" python3 - "$T/$what.jsonl" "${bar%%[<>]*}" "$layer" "$expert" "$matrix" <<'PY'
import json, sys
path, field, layer, expert, matrix = sys.argv[1:]
rows = [r for r in map(json.loads, open(path)) if field in r and 'expert' in r]
worst = max(rows, key=lambda r: r[field])
assert f'.layers.{layer}.' in worst['name'] and worst['name'].endswith(f'.{matrix}.weight') and worst['expert'] == int(expert), worst
assert f'.experts.{expert}.' in worst['source'], worst['source']
PY
	exits "$what: $bar, unharmed" 0 kquant -q --fail-if "$bar" "$from" -o "$T/x.kmf"
	rm -rf "${T:?}/$what" "$T/x.kmf"
}
defect $nano transposed 3 5 w1 'outlier>8'
defect $nano zero 6 15 w2 'zero_groups>0'
defect "$T/int4" swapped 2 9 w1 'scale_fit>-0.4'
defect "$T/int4" swapped 7 0 w1 'outlier>8'
defect "$T/int4" sign 4 11 w3 'negative_scales>0'
defect "$T/int4" rows 5 3 w1 'short_groups>0'
defect "$T/int4" rows 1 14 w1 'repeated_scales>0.5'
finish
