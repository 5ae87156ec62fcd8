#!/bin/bash
# imatrix.sh: activation statistics in both forms give the same codes, which are better where it counts; experts that no token reached
# are named; files that are not what they say are refused.
. "$(dirname "$0")/lib.sh"
set -o pipefail
nano=testdata/nano
cat > "$T/make.py" <<'PY'
# make.py FORM WHAT OUT: statistics of layer 1's w1 (by GGUF's name, expert 3 unseen) and of layer 2's expert 5's w2 (by its own)
import struct, sys
form, what, out = sys.argv[1:4]
E, D, F = 16, 256, 64
def column(e, c): return 100.0 * (1 + (c * 7 + e) % 13) ** 2
stats = {'blk.1.ffn_gate_exps.weight': ([column(e, c) for e in range(E) for c in range(D)], [0.0 if e == 3 else 4.0 for e in range(E)]),
    'model.layers.2.block_sparse_moe.experts.5.w2.weight': ([column(0, c) for c in range(F)], [4.0])}
if what == 'negative': stats['blk.1.ffn_gate_exps.weight'][0][17] = -1.0
if what == 'nan': stats['blk.1.ffn_gate_exps.weight'][1][2] = float('nan')
if what == 'narrow': stats['blk.1.ffn_gate_exps.weight'] = (stats['blk.1.ffn_gate_exps.weight'][0][:E * 128], [4.0] * E)
if what == 'other': stats = {'blk.1.attn_q.weight': ([1.0] * 32, [1.0])}
def s(x): return struct.pack('<Q', len(x)) + x.encode()
if form == 'gguf':
    tensors = [(k + e, v) for k, (a, b) in stats.items() for e, v in (('.in_sum2', a), ('.counts', b))]
    if what == 'uncounted': tensors = tensors[:1]
    kind = 'model' if what == 'model' else 'imatrix'
    d = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), 1) + s('general.type') + struct.pack('<I', 8) + s(kind)
    at, data = 0, b''
    for k, v in tensors:
        n = 1 if k.endswith('.counts') else len(v) // len(dict(tensors)[k[:-8] + '.counts']) if k[:-8] + '.counts' in dict(tensors) else len(v)
        d += s(k) + struct.pack('<IQQIQ', 2, n, len(v) // n, 0, len(data))
        data += struct.pack(f'<{len(v)}f', *v)
        data += bytes(-len(data) % 32)
    d += bytes(-len(d) % 32) + data
else:
    d = struct.pack('<i', len(stats))
    for k, (a, b) in stats.items():
        d += struct.pack('<i', len(k)) + k.encode() + struct.pack('<ii', 4, len(a)) + struct.pack(f'<{len(a)}f', *a)
    d += struct.pack('<i', 1) + struct.pack('<i', 4) + b'text'
if what == 'short': d = d[:-2000 if form == 'gguf' else len(d) // 2]
open(out, 'wb').write(d)
PY
make_stats() { python3 "$T/make.py" "$@"; }
make_stats gguf good "$T/g.gguf" && make_stats dat good "$T/g.dat" || { fail setup "no statistics"; finish; }
for f in gguf dat; do
	kquant --scale imatrix --imatrix "$T/g.$f" $nano 2> "$T/$f.err" | kconvert -q - --to hf -o "$T/$f" || fail "$f" "$(tail -n 1 "$T/$f.err")"
done
kquant -q --scale mse $nano | kconvert -q - --to hf -o "$T/mse"
grep -q 'layers\.1\..*\.w1\.weight: no token reached experts 3;' "$T/gguf.err" && ok "an expert that no token reached" || fail "an expert that no token reached" "$(head -n 3 "$T/gguf.err")"
grep -q 'layers\.7\..*\.w3\.weight: no activation statistics' "$T/gguf.err" && ok "a tensor without statistics" || fail "a tensor without statistics" "$(head -n 3 "$T/gguf.err")"
cat > "$T/judge.py" <<'PY'
import json, os, struct, sys
def load(folder):
    out = {}
    for f in os.listdir(folder):
        if f.endswith('.safetensors'):
            d = open(os.path.join(folder, f), 'rb').read()
            n, = struct.unpack('<Q', d[:8])
            out.update({k: d[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]] for k, v in json.loads(d[8:8 + n]).items() if k != '__metadata__'})
    return out
def bf16s(b): return struct.unpack(f'<{len(b) // 2}f', b''.join(bytes(2) + b[i:i + 2] for i in range(0, len(b), 2)))
gguf, dat, mse, src = map(load, sys.argv[1:5])
name = 'model.layers.1.block_sparse_moe.experts.%d.w1.weight'
keys = [k for k in gguf if k.endswith(('_packed', '_scale'))]
# By the older form nobody knows who was unseen.
assert all(gguf[k] == dat[k] for k in keys if '.1.block_sparse_moe.experts.3.w1' not in k), 'the forms differ'
differ = {k for k in keys if gguf[k] != mse[k]}
assert differ and all('.layers.1.' in k and '.w1.' in k and '.experts.3.' not in k or '.layers.2.block_sparse_moe.experts.5.w2.' in k for k in differ), sorted(differ)[:3]
def error(model, e):
    x, s, q = bf16s(src[name % e]), bf16s(model[name % e + '_scale']), model[name % e + '_packed']
    return sum((1 + (i % 256 * 7 + e) % 13) ** 2 * (x[i] - ((q[i // 2] >> 4 * (i & 1) & 15) - 8) * s[i // 32]) ** 2 for i in range(len(x)))
for e in (0, 9):
    a, b = error(gguf, e), error(mse, e)
    assert a < 0.97 * b, (e, a, b)
PY
check "weights count" python3 "$T/judge.py" "$T/gguf" "$T/dat" "$T/mse" $nano
kquant -q --scale imatrix --imatrix "$T/g.gguf" $nano -j 1 -o "$T/1.kmf" && kquant -q --scale imatrix --imatrix "$T/g.gguf" $nano -j 5 -o "$T/5.kmf" && same "threads" "$T/1.kmf" "$T/5.kmf"
refuses() { make_stats "$1" "$2" "$T/bad" && exits "$1, $2" 3 kquant --scale imatrix --imatrix "$T/bad" $nano -o "$T/x.kmf"; }
for what in negative narrow short other; do refuses gguf $what; refuses dat $what; done
for what in nan uncounted model; do refuses gguf $what; done
head -c 100 /dev/zero > "$T/bad"
exits "zeros" 3 kquant --scale imatrix --imatrix "$T/bad" $nano -o "$T/x.kmf"
exits "no file" 5 kquant --scale imatrix --imatrix "$T/none" $nano -o "$T/x.kmf"
exits "--imatrix without the scale" 2 kquant --imatrix "$T/g.dat" $nano -o "$T/x.kmf"
exits "the scale without --imatrix" 2 kquant --scale imatrix $nano -o "$T/x.kmf"
finish
