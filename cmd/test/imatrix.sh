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
import struct, sys
from hf_read import tensors
def bf16s(b): return struct.unpack(f'<{len(b) // 2}f', b''.join(bytes(2) + b[i:i + 2] for i in range(0, len(b), 2)))
gguf, dat, mse, src = ({k: data for k, (dtype, shape, data) in tensors(folder).items()} for folder in sys.argv[1:5])
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
# Statistics of a large model, mostly a hole here, are no memory that a job needs: the same codes, with less than they are.
python3 - "$T/large.gguf" <<'PY'
import struct, sys
out = sys.argv[1]
def s(x): return struct.pack('<Q', len(x)) + x.encode()
E, D = 16, 256
sums = struct.pack(f'<{E * D}f', *(100.0 * (1 + (c * 7 + e) % 13) ** 2 for e in range(E) for c in range(D)))
stats = [('blk.1.ffn_gate_exps.weight', E, D, sums, struct.pack(f'<{E}f', *[4.0] * E))] + [(f'blk.{i}.ffn_gate_exps.weight', 384, 7168, None, None) for i in range(100, 115)]
head, at, places = b'GGUF' + struct.pack('<IQQ', 3, 2 * len(stats), 1) + s('general.type') + struct.pack('<I', 8) + s('imatrix'), 0, []
for name, mats, cols, a, b in stats:
    for end, n, data in (('.in_sum2', cols, a), ('.counts', 1, b)):
        head += s(name + end) + struct.pack('<IQQIQ', 2, n, mats, 0, at)
        places.append((at, data))
        at += (4 * n * mats + 31) // 32 * 32
head += bytes(-len(head) % 32)
with open(out, 'wb') as f:
    f.write(head)
    for place, data in places:
        if data:
            f.seek(len(head) + place)
            f.write(data)
    f.truncate(len(head) + at)
PY
case ${B:-build} in *asan*|*tsan*|*oom*) skip "large statistics" "sanitizers have memory of their own" ;; *)
	exits "large statistics" 0 kquant --max-memory 100M --scale imatrix --imatrix "$T/large.gguf" $nano -o "$T/large.kmf"
	kls --dump model.layers.1.block_sparse_moe.experts.9.w1.weight --raw "$T/large.kmf" > "$T/large.codes" &&
		kls --dump model.layers.1.block_sparse_moe.experts.9.w1.weight --raw "$T/1.kmf" > "$T/small.codes" && same "large statistics: the codes" "$T/large.codes" "$T/small.codes"
	rm -f "$T/large.gguf" ;;
esac
refuses() { make_stats "$1" "$2" "$T/bad" && exits "$1, $2" 3 kquant --scale imatrix --imatrix "$T/bad" $nano -o "$T/x.kmf"; }
for what in negative narrow short other; do refuses gguf $what; refuses dat $what; done
for what in nan uncounted model; do refuses gguf $what; done
head -c 100 /dev/zero > "$T/bad"
exits "zeros" 3 kquant --scale imatrix --imatrix "$T/bad" $nano -o "$T/x.kmf"
exits "no file" 5 kquant --scale imatrix --imatrix "$T/none" $nano -o "$T/x.kmf"
exits "--imatrix without the scale" 2 kquant --imatrix "$T/g.dat" $nano -o "$T/x.kmf"
exits "the scale without --imatrix" 2 kquant --scale imatrix $nano -o "$T/x.kmf"
# keval writes such a file: what enters the first layer's projections is the normed embedding; experts are counted as the router chose.
printf 'The quick brown fox jumps over the lazy dog. %.0s' 1 2 3 4 5 6 7 8 > "$T/text"
kconvert -q $nano -o "$T/n.kmf"
for run in "-j 1 --window 32" "-j 3 --window 32"; do
	# shellcheck disable=SC2086
	keval imatrix -q $run -m "$T/n.kmf" -f "$T/text" --bos no -o "$T/k.gguf" --report "$T/r.jsonl" || fail "keval imatrix" "$?"
	[ -e "$T/k1.gguf" ] && same "keval imatrix: threads" "$T/k.gguf" "$T/k1.gguf" || cp "$T/k.gguf" "$T/k1.gguf"
done
kls --tokens "$T/text" --whole "$T/n.kmf" > "$T/ids" && kls --dump model.embed_tokens.weight "$T/n.kmf" > "$T/embed.npy" && kls --dump model.layers.0.input_layernorm.weight "$T/n.kmf" > "$T/norm.npy"
check "keval imatrix: sums and counts" python3 - "$T" $nano/config.json <<'PY'
import json, math, struct, sys
T, config = sys.argv[1], json.load(open(sys.argv[2]))
d = open(T + '/k.gguf', 'rb').read()
assert d[:4] == b'GGUF'
version, n_tensors, n_keys = struct.unpack_from('<IQQ', d, 4)
at = 24
def text():
    global at
    n, = struct.unpack_from('<Q', d, at)
    at += 8 + n
    return d[at - n:at].decode()
keys = {}
for _ in range(n_keys):
    k, (kind,) = text(), struct.unpack_from('<I', d, at)
    at += 4
    if kind == 8: keys[k] = text()
    elif kind == 9: at += 12; keys[k] = [text()]
    else: keys[k], = struct.unpack_from('<I', d, at); at += 4
assert keys['general.type'] == 'imatrix' and keys['imatrix.chunk_size'] == 32, keys
head = {}
for _ in range(n_tensors):
    k = text()
    nd, a, b, kind, off = struct.unpack_from('<IQQIQ', d, at)
    at += 4 + 16 + 4 + 8
    head[k] = a * b, off
base = at + -at % 32
get = lambda k: struct.unpack_from(f'<{head[k][0]}f', d, base + head[k][1])
def npy(name):
    b = open(f'{T}/{name}.npy', 'rb').read()
    n = struct.unpack_from('<H', b, 8)[0]
    return memoryview(b[10 + n:]).cast('f')
ids, norm, embed = json.load(open(T + '/ids')), npy('norm'), npy('embed')
D, eps = config['hidden_size'], config['rms_norm_eps']
want = [0.0] * D
for i in ids:
    x = embed[i * D:(i + 1) * D]
    s = 1 / math.sqrt(sum(v * v for v in x) / D + eps)
    for c in range(D): want[c] += (norm[c] * x[c] * s) ** 2
q = next(k for k in head if k.startswith('blk.0.attn_q') and k.endswith('.in_sum2'))
assert max(abs(a - b) / b for a, b in zip(get(q), want)) < 1e-4, q
assert get(q[:-8] + '.counts') == (float(len(ids)),)
summary = [json.loads(l) for l in open(T + '/r.jsonl')][-1]
assert summary['tokens'] == len(ids) and summary['summary']
unseen = 0
for l in range(1, config['num_hidden_layers']):
    g, u, dn = (f'blk.{l}.ffn_{x}_exps.weight' for x in ('gate', 'up', 'down'))
    c = get(g + '.counts')
    assert sum(c) == len(ids) * config['num_experts_per_token'] and c == get(u + '.counts') == get(dn + '.counts'), l
    assert get(g + '.in_sum2') == get(u + '.in_sum2') and all(v > 0 for v in get(f'blk.{l}.ffn_down_shexp.weight.in_sum2'))
    for e in range(len(c)):
        assert (sum(get(dn + '.in_sum2')[e * 64:e * 64 + 64]) > 0) == (c[e] > 0)
    unseen += 3 * c.count(0.0)
assert summary['experts_unseen'] == unseen, unseen
PY
# A model that overflows: kquant would refuse such statistics.
python3 "$(dirname "$0")/overflow_make.py" testdata/tiny/llama-tiny "$T/overflow" || fail setup "no model that overflows"
printf 'what was there' > "$T/there"
for out in none there; do
	exits "keval imatrix: squares that are no floats" 1 keval imatrix -m "$T/overflow" -f "$T/text" -o "$T/$out" --report "$T/r.jsonl"
	grep -q '^keval: model\.layers\.1\..*: the sum of squares of what enters column [0-9]* of matrix 0 is .*, wanted a finite float' "$T/.err" && ok "the tensor is named" || fail "the tensor is named" "$(cat "$T/.err")"
	tail -n 1 "$T/r.jsonl" | grep -q '"tokens": .*"summary": true' && ok "and reported" || fail "and reported" "$(tail -n 1 "$T/r.jsonl")"
done
[ ! -e "$T/none" ] && [ "$(cat "$T/there")" = 'what was there' ] && ok "no file" || fail "no file" "$(ls "$T")"
exits "a bar that is missed" 1 keval imatrix -q -m "$T/n.kmf" -f "$T/text" --bos no --window 32 -o "$T/barred" --bar 'tokens<1'; same "leaves the file" "$T/barred" "$T/k.gguf"
exits "kquant takes it" 0 kquant --scale imatrix --imatrix "$T/k.gguf" "$T/n.kmf" -o "$T/x.kmf"
for n in 1 2; do
	kquant -q --scale imatrix --imatrix "$T/k.gguf" $([ $n = 1 ] || echo "--imatrix $T/k1.gguf") "$T/n.kmf" | kconvert -q - --to hf -o "$T/times$n"
done
same "the same text twice" "$T/times1/model.safetensors" "$T/times2/model.safetensors"
grep -q 'no activation statistics' "$T/.err" && fail "all have statistics" "$(head -n 1 "$T/.err")" || ok "all have statistics"
# Killed at any place, it goes on to the same bytes.
head -c 30000 $nano/eval/prose.txt > "$T/long"
seen() { keval imatrix -m "$T/n.kmf" -f "$T/long" --bos no --window 16 -j 2 "$@"; }
check "in one go" seen -q -o "$T/whole" --report "$T/whole.jsonl"
rm -f "$T/j"* "$T/cut"
inode() { stat -c %i "$T/j.state" 2> /dev/null; }
for sig in KILL TERM KILL; do
	keval imatrix -m "$T/n.kmf" -f "$T/long" --bos no --window 16 -j 2 -q -o "$T/cut" --resume "$T/j" 2> "$T/.err" &
	pid=$! old=$(inode)
	while kill -0 $pid 2> /dev/null && [ "$(inode)" = "$old" ]; do sleep 0.02; done
	kill -$sig $pid; wait $pid; status=$?
	[ $status = 137 ] || [ $status = 143 ] || fail "killed by $sig" "exit $status: $(cat "$T/.err")"
done 2> /dev/null
[ ! -e "$T/cut" ] && [ "$(wc -l < "$T/j")" = 1 ] && [ -s "$T/j.state" ] && ok "what a killed run leaves" || fail "what a killed run leaves" "$(ls -l "$T")"
cp "$T/j" "$T/j0"; cp "$T/j.state" "$T/s0"
for at in 20 60 1000 -9; do     # run, weights, sums, digest
	python3 -c 'import sys; d = bytearray(open(sys.argv[1], "rb").read()); d[int(sys.argv[3])] ^= 1; open(sys.argv[2], "wb").write(d)' "$T/s0" "$T/j.state" $at
	exits "a damaged state, byte $at" 3 seen --resume "$T/j" -o "$T/cut"; grep -q "j.state' is .*remove it to begin anew" "$T/.err" && ok "it is named" || fail "it is named" "$(cat "$T/.err")"
done
head -c 3000 "$T/s0" > "$T/j.state"; exits "a state that was cut off" 3 seen --resume "$T/j" -o "$T/cut"
cp "$T/s0" "$T/j.state"
exits "another window" 3 seen --window 32 --resume "$T/j" -o "$T/cut"; grep -q 'its window is 16, that of this run is 32' "$T/.err" && ok "the window is named" || fail "the window is named" "$(cat "$T/.err")"
rm "$T/j"; exits "the state of another run" 3 seen --limit 50 --resume "$T/j" -o "$T/cut"; cp "$T/j0" "$T/j"
check "it goes on" seen --resume "$T/j" -o "$T/cut"
grep -q "goes on behind window [1-9][0-9]* of " "$T/.err" && ok "behind a window" || fail "behind a window" "$(cat "$T/.err")"
same "to the same bytes" "$T/whole" "$T/cut"; same "and the same report" "$T/whole.jsonl" "$T/j"
[ ! -e "$T/j.state" ] && ok "nothing is left" || fail "nothing is left" "$(ls "$T")"
exits "dump has nothing to continue" 2 keval dump -m "$T/n.kmf" -f none --resume "$T/d" -o "$T/x"; [ ! -e "$T/d" ] && ok "nothing is made" || fail "nothing is made" "$(ls "$T")"
finish
