"""plant.py FROM TO WHAT ARG...: a copy of a Hugging Face folder (of nano, or of a tiny model) with one defect. What is planted, and its arguments:

transposed, zero, sign, rows, swapped   LAYER EXPERT: a matrix of the expert; in the last three, which want INT4, its scales
columns     LAYER EXPERT: the first 32 columns of a matrix, a group of each row, are zero
large       LAYER EXPERT: an element of the embedding, and one of a matrix of the expert, are 1048576, for which f16 has no room, nor as scales
bit         LAYER EXPERT: the sign of one weight of its down projection
layers      LAYER LAYER: all tensors of the one are the other's
decay       LAYER: a KDA gate whose A_log holds the rate itself
taps        LAYER: the convolutions' taps in the other order
bias        LAYER: the router's bias is zero
config      KEY VALUE: a member of config.json, VALUE as JSON"""
import json, math, os, shutil, struct, sys
src, dst, what, layer, expert = (sys.argv[1:] + [''])[:5]
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
def f32s(b): return struct.unpack(f'<{len(b) // 4}f', b)
def named(end): return next(k for d, h in files.values() for k in h if k.startswith(f'model.layers.{layer}.') and k.endswith(end))
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
elif what == 'columns':
    d, (rows, cols), a, b = at(stem + 'w1.weight')
    w = bytearray(get(stem + 'w1.weight'))
    for r in range(rows):
        w[2 * r * cols:2 * (r * cols + 32)] = bytes(64)
    put(stem + 'w1.weight', bytes(w))
elif what == 'large':
    for name, at_element in (('model.embed_tokens.weight', 2000), (stem + 'w1.weight', 777)):
        w = get(name)
        put(name, w[:2 * at_element] + to_bf16(1048576.0) + w[2 * at_element + 2:])
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
elif what == 'bit':
    w = bytearray(get(stem + 'w2.weight'))
    w[2 * 1000 + 1] ^= 0x80
    put(stem + 'w2.weight', bytes(w))
elif what == 'layers':
    for end in [k.split('.', 3)[3] for d, h in files.values() for k in h if k.startswith(f'model.layers.{layer}.')]:
        one, other = f'model.layers.{layer}.{end}', f'model.layers.{expert}.{end}'
        a, b = get(one), get(other)
        put(one, b), put(other, a)
elif what == 'decay':
    a = f32s(get(named('.A_log')))
    put(named('.A_log'), struct.pack(f'<{len(a)}f', *map(math.exp, a)))
elif what == 'taps':
    for p in 'qkv':
        name = named(f'.{p}_conv1d.weight')
        d, shape, a, b = at(name)
        n, w = shape[-1], get(name)
        put(name, b''.join(w[2 * (i + n - 1 - k):2 * (i + n - k)] for i in range(0, len(w) // 2, n) for k in range(n)))
elif what == 'bias':
    put(named('.e_score_correction_bias'), bytes(len(get(named('.e_score_correction_bias')))))
elif what == 'config':
    path = os.path.join(dst, 'config.json')
    config = json.load(open(path))
    assert config.get(layer) != json.loads(expert)
    config[layer] = json.loads(expert)
    json.dump(config, open(path, 'w'))
else:
    sys.exit(__doc__)
for f, (d, h) in files.items():
    open(os.path.join(dst, f), 'wb').write(d)
