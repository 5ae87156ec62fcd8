#!/usr/bin/env python3
"""Small models in the ways of other quantisers, and the values that their formulas give, each written out element by element.

import_make.py make DIR      DIR/NAME/ (a folder), DIR/NAME.expect (safetensors, F32), DIR/list: NAME TYPE, a line each
import_make.py same DIR HAS  are the values of DIR/NAME.expect those of HAS/NAME, bit for bit?
import_make.py equal A B ..  do the folders A and B hold the same tensors and config?
import_make.py bad DIR       what must be refused, as testdata/bad has it; rows of EXPECT.tsv on standard output"""
import json, os, random, struct, sys

H, F, V = 136, 256, 16
R = random.Random(7)
f32 = lambda x: struct.unpack("<f", struct.pack("<f", x))[0]
BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def bf16(x):
    u = struct.unpack("<I", struct.pack("<f", x))[0]
    return ((u + 0x7FFF + (u >> 16 & 1)) >> 16) & 0xFFFF


def number(dtype, bits):
    if dtype == "F8_E8M0":
        return 2.0 ** (bits - 127)
    if dtype == "BF16":
        return struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    return struct.unpack("<e" if dtype == "F16" else "<f", struct.pack("<H" if dtype == "F16" else "<I", bits))[0]


def e4m3(b):
    e, m = b >> 3 & 15, b & 7
    v = m * 2.0 ** -9 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7)
    return -v if b & 128 else v


E2M1 = [0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6]


def scale(dtype):
    if dtype == "F8_E8M0":
        bits = R.randrange(110, 130)
        return bits, number(dtype, bits)
    x = R.uniform(0.001, 0.02)
    bits = bf16(x) if dtype == "BF16" else struct.unpack("<H", struct.pack("<e", x))[0] if dtype == "F16" else struct.unpack("<I", struct.pack("<f", x))[0]
    return bits, number(dtype, bits)


def numbers(dtype, bits):
    return b"".join(struct.pack({"F32": "<I", "F8_E8M0": "<B"}.get(dtype, "<H"), b) for b in bits)


def write(path, tensors):
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, raw) in tensors.items():
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read(path):
    d = open(path, "rb").read()
    n, = struct.unpack("<Q", d[:8])
    head = json.loads(d[8:8 + n])
    return {k: (v["dtype"], v["shape"], d[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in head.items() if k != "__metadata__"}


# --- a module: name, rows, cols -> tensors, values ------------------------------------------------------------------------------

def words(codes, bits):                 # lowest first
    return b"".join(struct.pack("<I", sum(c << bits * k for k, c in enumerate(codes[i:i + 32 // bits]))) for i in range(0, len(codes), 32 // bits))


def group_values(u, z, s, rows, cols, group):
    return [f32((u[r][c] - z[r][c // group]) * s[r][c // group][1]) for r in range(rows) for c in range(cols)]


def codes(rows, cols, bits):
    return [[R.randrange(1 << bits) for _ in range(cols)] for _ in range(rows)]


def grid(rows, cols, make):
    return [[make() for _ in range(cols)] for _ in range(rows)]


def transpose(m):
    return [list(r) for r in zip(*m)]


def gptq(name, rows, cols, bits, group, sym, v2, dtype="F16", bias=False, g_idx=True):
    group = cols if group < 0 else group
    g = cols // group
    u, s = codes(rows, cols, bits), grid(rows, g, lambda: scale(dtype))
    half = 1 << bits - 1
    z = grid(rows, g, lambda: half if sym else R.randrange(0 if v2 else 1, (1 << bits) + (not v2)))
    stored = transpose([[x - (not v2) for x in r] for r in z])
    t = {name + ".qweight": ("I32", (cols * bits // 32, rows), b""), name + ".qzeros": ("I32", (g, rows * bits // 32), b"".join(words(r, bits) for r in stored)),
         name + ".scales": (dtype, (g, rows), b"".join(numbers(dtype, [b for b, _ in r]) for r in transpose(s)))}
    per = 32 // bits
    q = b"".join(struct.pack("<I", sum(u[r][per * k + i] << bits * i for i in range(per))) for k in range(cols // per) for r in range(rows))
    t[name + ".qweight"] = ("I32", (cols * bits // 32, rows), q)
    if g_idx:
        t[name + ".g_idx"] = ("I32", (cols,), struct.pack(f"<{cols}i", *(c // group for c in range(cols))))
    if bias:
        t[name + ".bias"] = ("F16", (rows,), bytes(2 * rows))
    return t, group_values(u, z, s, rows, cols, group)


def awq(name, rows, cols, group, sym=False):
    g, order = cols // group, (0, 2, 4, 6, 1, 3, 5, 7)
    u, s, z = codes(rows, cols, 4), grid(rows, g, lambda: scale("F16")), grid(rows, g, lambda: 8 if sym else R.randrange(16))
    pack = lambda m: b"".join(words([r[8 * c + order[k]] for c in range(rows // 8) for k in range(8)], 4) for r in transpose(m))
    return {name + ".qweight": ("I32", (cols, rows // 8), pack(u)), name + ".qzeros": ("I32", (g, rows // 8), pack(z)),
            name + ".scales": ("F16", (g, rows), b"".join(numbers("F16", [b for b, _ in r]) for r in transpose(s)))}, group_values(u, z, s, rows, cols, group)


def packed(name, rows, cols, bits, group, sym=True, dtype="BF16", wide=True):
    group = cols if group < 0 else group
    g, half = cols // group, 1 << bits - 1
    u, s = codes(rows, cols, bits), grid(rows, g, lambda: scale(dtype))
    z = grid(rows, g, lambda: half if sym else R.randrange(1 << bits))
    t = {name + ".weight_packed": ("I32", (rows, cols * bits // 32), b"".join(words(r, bits) for r in u)),
         name + ".weight_scale": (dtype, (rows, g), b"".join(numbers(dtype, [b for b, _ in r]) for r in s)),
         name + ".weight_shape": ("I64" if wide else "I32", (2,), struct.pack("<2q" if wide else "<2i", rows, cols))}
    if not sym:
        per = 32 // bits
        t[name + ".weight_zero_point"] = ("I32", (rows // per, g), b"".join(
            struct.pack("<I", sum(z[per * k + i][c] << bits * i for i in range(per))) for k in range(rows // per) for c in range(g)))
    return t, group_values(u, z, s, rows, cols, group)


def int8(name, rows, cols, group, sym=True, dtype="BF16", one=False):
    g = 1 if group < 0 else cols // group
    q, s = [[R.randrange(-128, 128) for _ in range(cols)] for _ in range(rows)], grid(rows, g, lambda: scale(dtype))
    if one:
        s = [[s[0][0]] for _ in s]
    z = grid(rows, g, lambda: 0 if sym else R.randrange(-128, 128))
    flat = [b for r in s for b, _ in r]
    t = {name + ".weight": ("I8", (rows, cols), b"".join(struct.pack("b", c) for r in q for c in r)),
         name + ".weight_scale": (dtype, (1,) if one else (rows, g), numbers(dtype, flat[:1] if one else flat))}
    if not sym:
        t[name + ".weight_zero_point"] = ("I8", (rows, g), b"".join(struct.pack("b", c) for r in z for c in r))
    return t, group_values(q, z, s, rows, cols, cols // g)


def e4m3_codes(n):
    return [c for c in (R.randrange(256) for _ in range(4 * n)) if c & 127 != 127][:n]


def fp8(name, rows, cols, how, dtype="BF16", suffix=".weight_scale"):
    q = [e4m3_codes(cols) for _ in range(rows)]
    sr, sc = {"row": (rows, 1), "tensor": (1, 1), "block": (-(-rows // 128), -(-cols // 128))}[how]
    s = grid(sr, sc, lambda: scale(dtype))
    at = {"row": lambda r, c: s[r][0], "tensor": lambda r, c: s[0][0], "block": lambda r, c: s[r // 128][c // 128]}[how]
    return {name + ".weight": ("F8_E4M3", (rows, cols), bytes(c for r in q for c in r)),
            name + suffix: (dtype, () if how == "tensor" else (sr, sc), numbers(dtype, [b for r in s for b, _ in r]))}, [
        f32(e4m3(q[r][c]) * at(r, c)[1]) for r in range(rows) for c in range(cols)]


def mxfp8(name, rows, cols, exponents="U8"):
    q, e = [e4m3_codes(cols) for _ in range(rows)], grid(rows, cols // 32, lambda: R.randrange(90, 140))
    return {name + ".weight": ("F8_E4M3", (rows, cols), bytes(c for r in q for c in r)), name + ".weight_scale": (exponents, (rows, cols // 32), bytes(c for r in e for c in r))}, [
        f32(e4m3(q[r][c]) * 2.0 ** (e[r][c // 32] - 127)) for r in range(rows) for c in range(cols)]


def fp4(name, rows, cols, nv, exponents="U8"):
    group = 16 if nv else 32
    q, e = codes(rows, cols, 4), [e4m3_codes(cols // 16) for _ in range(rows)] if nv else grid(rows, cols // 32, lambda: R.randrange(90, 140))
    divisor = f32(R.uniform(100, 3000))
    s = [[f32(e4m3(x) / divisor) if nv else 2.0 ** (x - 127) for x in r] for r in e]
    t = {name + ".weight_packed": ("U8", (rows, cols // 2), bytes(r[c] | r[c + 1] << 4 for r in q for c in range(0, cols, 2))),
         name + ".weight_scale": ("F8_E4M3" if nv else exponents, (rows, cols // group), bytes(x for r in e for x in r))}
    if nv:
        t[name + ".weight_global_scale"] = ("F32", (1,), struct.pack("<f", divisor))
    return t, [f32(E2M1[q[r][c]] * s[r][c // group]) for r in range(rows) for c in range(cols)]


# --- models ------------------------------------------------------------------------------------------------------------------------

def ct(format, **weights):
    base = dict(num_bits=4, type="int", symmetric=True, group_size=None, strategy=None, actorder=None, dynamic=False)
    base.update(weights)
    return dict(quant_method="compressed-tensors", format=format, quantization_status="compressed", ignore=["lm_head", "re:.*self_attn.*", "re:.*(gate|up)_proj"],
                config_groups={"group_0": dict(targets=["Linear"], weights=base, input_activations=None, output_activations=None)})


def flat(method, **more):
    return dict(quant_method=method, **more)


def cases():
    G = lambda **k: lambda n, r, c: gptq(n, r, c, **k)
    P = lambda **k: lambda n, r, c: packed(n, r, c, **k)
    for group in (32, 64, 128, -1):
        yield f"gptq-v1-{group}", "q4_0", G(bits=4, group=group, sym=True, v2=False), flat("gptq", bits=4, group_size=group, sym=True, desc_act=False, checkpoint_format="gptq")
    yield "gptq-v2", "q4_0", G(bits=4, group=128, sym=True, v2=True), flat("gptq", bits=4, group_size=128, sym=True, checkpoint_format="gptq_v2", dynamic={"-:lm_head": {}})
    yield "gptq-v1-asym", "i4z32", G(bits=4, group=64, sym=False, v2=False, bias=True), flat("gptq", bits=4, group_size=64, sym=False)
    yield "gptq-v2-asym", "i4z32", G(bits=4, group=128, sym=False, v2=True), flat("gptq", bits=4, group_size=128, sym=False, checkpoint_format="gptq_v2")
    yield "gptq-8", "q8_0", G(bits=8, group=32, sym=True, v2=False), flat("gptq", bits=8, group_size=32, sym=True)
    yield "gptq-8-row", "i8row", G(bits=8, group=-1, sym=True, v2=False), flat("gptq", bits=8, group_size=-1, sym=True)
    yield "gptq-8-asym", "i8z32", G(bits=8, group=128, sym=False, v2=False), flat("gptq", bits=8, group_size=128, sym=False)
    yield "gptq-bf16", "i4g32", G(bits=4, group=128, sym=True, v2=False, dtype="BF16"), flat("gptq", bits=4, group_size=128, sym=True)
    yield "awq", "i4z32", lambda n, r, c: awq(n, r, c, 128), flat("awq", bits=4, group_size=128, zero_point=True, version="gemm", modules_to_not_convert=None)
    yield "awq-32", "i4z32", lambda n, r, c: awq(n, r, c, 32), flat("awq", w_bit=4, q_group_size=32, zero_point=True, version="GEMM")
    yield "auto-round", "q4_0", G(bits=4, group=128, sym=True, v2=True, g_idx=False), flat("auto-round", bits=4, group_size=128, sym=True, packing_format="auto_round:gptqmodel")
    yield "auto-round-gptq", "i4z32", G(bits=4, group=128, sym=False, v2=False, g_idx=False), flat(
        "auto-round", bits=4, group_size=128, sym=False, data_type="int", packing_format="auto_round:auto_gptq", extra_config={"lm_head": {"bits": 16}})
    yield "auto-round-awq", "q4_0", lambda n, r, c: awq(n, r, c, 64, True), flat("auto-round", bits=4, group_size=64, sym=True, packing_format="auto_round:auto_awq")
    yield "auto-round-ct", "i4g32", P(bits=4, group=128), flat("auto-round", bits=4, group_size=128, sym=True, packing_format="auto_round:llm_compressor")
    for group in (32, 64, 128):
        yield f"packed-{group}", "i4g32", P(bits=4, group=group), ct("pack-quantized", group_size=group, strategy="group")
    yield "packed-row", "i4g32", P(bits=4, group=-1), ct("pack-quantized", strategy="channel")
    yield "packed-f16", "q4_0", P(bits=4, group=128, dtype="F16"), ct("pack-quantized", group_size=128, strategy="group")
    yield "packed-f32", "i4z32", P(bits=4, group=128, dtype="F32"), ct("pack-quantized", group_size=128, strategy="group")
    yield "packed-asym", "i4z32", P(bits=4, group=128, sym=False, wide=False), ct("pack-quantized", group_size=128, strategy="group", symmetric=False)
    yield "packed-asym-row", "i4z32", P(bits=4, group=-1, sym=False), ct("pack-quantized", group_size=-1, symmetric=False)
    yield "packed-8", "i8z32", P(bits=8, group=128), ct("pack-quantized", num_bits=8, group_size=128, strategy="group")
    yield "packed-8-row", "i8row", P(bits=8, group=-1), ct("pack-quantized", num_bits=8, strategy="channel")
    yield "packed-8-asym", "i8z32", P(bits=8, group=64, sym=False), ct("pack-quantized", num_bits=8, group_size=64, strategy="group", symmetric=False)
    yield "int8", "i8row", lambda n, r, c: int8(n, r, c, -1), ct("int-quantized", num_bits=8, strategy="channel")
    yield "int8-f32", "i8row", lambda n, r, c: int8(n, r, c, -1, dtype="F32"), ct("naive-quantized", num_bits=8, strategy="channel")
    yield "int8-tensor", "i8row", lambda n, r, c: int8(n, r, c, -1, one=True), ct("int-quantized", num_bits=8)
    yield "int8-group", "q8_0", lambda n, r, c: int8(n, r, c, 32, dtype="F16"), ct("int-quantized", num_bits=8, group_size=32)
    yield "int8-asym", "i8z32", lambda n, r, c: int8(n, r, c, -1, sym=False), ct("int-quantized", num_bits=8, strategy="channel", symmetric=False)
    F8 = dict(num_bits=8, type="float")
    yield "fp8-row", "fp8row", lambda n, r, c: fp8(n, r, c, "row"), ct("float-quantized", strategy="channel", **F8)
    yield "fp8-tensor", "fp8row", lambda n, r, c: fp8(n, r, c, "tensor", "F32"), ct("float-quantized", strategy="tensor", **F8)
    yield "fp8-block", "fp8b128", lambda n, r, c: fp8(n, r, c, "block"), ct("float-quantized", strategy="block", block_structure=[128, 128], **F8)
    yield "fp8-plain", "fp8row", lambda n, r, c: fp8(n, r, c, "tensor", "F32"), flat("fp8", activation_scheme="static")
    yield "fp8-inv", "fp8b128", lambda n, r, c: fp8(n, r, c, "block", "F32", ".weight_scale_inv"), flat("fp8", weight_block_size=[128, 128], modules_to_not_convert=["self_attn", "gate_proj", "up_proj", "lm_head"])
    yield "mxfp8", "mxfp8", mxfp8, ct("mxfp8-quantized", num_bits=8, type="float", group_size=32)
    yield "mxfp4", "mxfp4", lambda n, r, c: fp4(n, r, c, False), ct("mxfp4-pack-quantized", type="float", group_size=32)
    yield "mxfp8-F8_E8M0", "mxfp8", lambda n, r, c: mxfp8(n, r, c, "F8_E8M0"), ct("mxfp8-quantized", num_bits=8, type="float", group_size=32)
    yield "mxfp4-F8_E8M0", "mxfp4", lambda n, r, c: fp4(n, r, c, False, "F8_E8M0"), ct("mxfp4-pack-quantized", type="float", group_size=32)
    for dtype in "BF16", "F16", "F8_E8M0":
        yield f"fp8-inv-{dtype}", "fp8b128", lambda n, r, c: fp8(n, r, c, "block", dtype, ".weight_scale_inv"), flat("fp8", weight_block_size=[128, 128])
    yield "fp8-block-F8_E8M0", "fp8b128", lambda n, r, c: fp8(n, r, c, "block", "F8_E8M0"), ct("float-quantized", strategy="block", block_structure=[128, 128], **F8)
    yield "nvfp4", "nvfp4", lambda n, r, c: fp4(n, r, c, True), ct("nvfp4-pack-quantized", type="float", group_size=16, strategy="tensor_group")


def model(make, quant):
    t, expect = {}, {}
    plain = lambda n, *shape: t.update({n: ("BF16", shape, b"".join(struct.pack("<H", bf16(R.gauss(0, .05))) for _ in range(eval("*".join(map(str, shape))))))})
    plain("model.embed_tokens.weight", V, H)
    L = "model.layers.0."
    for n, rows in (("q", 32), ("k", 32), ("v", 32)):
        plain(L + f"self_attn.{n}_proj.weight", rows, H)
    plain(L + "self_attn.o_proj.weight", H, 32)
    plain(L + "mlp.gate_proj.weight", F, H)
    plain(L + "mlp.up_proj.weight", F, H)
    more, values = make(L + "mlp.down_proj", H, F)
    t.update(more)
    expect[L + "mlp.down_proj.weight"] = ("F32", [H, F], struct.pack(f"<{H * F}f", *values))
    for n in (L + "input_layernorm.weight", L + "post_attention_layernorm.weight", "model.norm.weight"):
        plain(n, H)
    plain("lm_head.weight", V, H)
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=V, hidden_size=H, num_hidden_layers=1, intermediate_size=F, hidden_act="silu",
                  num_attention_heads=2, num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=64, tie_word_embeddings=False,
                  head_dim=16, attention_bias=False, mlp_bias=False, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16", quantization_config=quant)
    return t, config, expect


# --- what is refused, by name ---------------------------------------------------------------------------------------------------------

def ints(*v):
    return struct.pack(f"<{len(v)}i", *v)


def refusals():
    """name, what is wrong, class, module maker, quantization_config, tensors -> tensors"""
    D = "model.layers.0.mlp.down_proj"
    G, A = flat("gptq", bits=4, group_size=32, sym=True), flat("awq", bits=4, group_size=32, zero_point=True, version="gemm")
    gm, am, pm = (lambda n, r, c: gptq(n, r, c, 4, 32, True, False)), (lambda n, r, c: awq(n, r, c, 32)), (lambda n, r, c: packed(n, r, c, 4, 32, False))
    asym = ct("pack-quantized", group_size=32, strategy="group", symmetric=False)

    def put(name, dtype, shape, raw):
        return lambda t: t.update({D + name: (dtype, shape, raw)})

    def drop(name):
        return lambda t: t.pop(D + name)
    order = [c // 32 for c in range(F)]
    swapped = order[:]
    swapped[3], swapped[100] = swapped[100], swapped[3]
    yield "gptq_order", "g_idx puts two columns in each other's group", "unsupported", gm, G, put(".g_idx", "I32", (F,), ints(*swapped))
    yield "gptq_order_beyond", "g_idx names group 99 of 4", "format", gm, G, put(".g_idx", "I32", (F,), ints(*order[:-1], 99))
    yield "gptq_order_short", "g_idx lacks a column", "shape", gm, G, put(".g_idx", "I32", (F - 1,), ints(*order[:-1]))
    yield "gptq_zeros_shape", "qzeros of another group size", "shape", gm, G, put(".qzeros", "I32", (2, H // 8), bytes(2 * H // 2))
    yield "gptq_no_groups", "scales and qzeros of no group", "shape", gm, G, lambda t: (t.update({D + ".scales": ("F16", (0, H), b"")}), t.update({D + ".qzeros": ("I32", (0, H // 8), b"")}))
    yield "gptq_zeros_missing", "qzeros missing", "missing", gm, G, drop(".qzeros")
    yield "gptq_codes_missing", "qweight missing, scales present", "missing", gm, G, drop(".qweight")
    yield "gptq_scale_inf", "an infinite scale", "format", gm, G, put(".scales", "F16", (4, H), numbers("F16", [0x2000] * (4 * H - 1) + [0x7C00]))
    yield "gptq_not_sym", "sym, but a zero point is not 8", "format", gm, G, put(".qzeros", "I32", (4, H // 8), struct.pack("<I", 0x77777776) + struct.pack("<I", 0x77777777) * (H // 2 - 1))
    yield "gptq_3_bits", "3 bits", "unsupported", gm, dict(G, bits=3), lambda t: None
    yield "gptq_group_0", "group_size 0", "format", gm, dict(G, group_size=0), lambda t: None
    yield "gptq_rule", "a rule of its own for a module", "unsupported", gm, dict(G, dynamic={"+:.*up_proj": {"bits": 8}}), lambda t: None
    yield "gptq_no_config", "qweight without quantization_config", "unsupported", gm, None, lambda t: None
    yield "awq_gemv", "version gemv", "unsupported", am, dict(A, version="gemv"), lambda t: None
    yield "awq_zeros_shape", "qzeros not packed", "shape", am, A, put(".qzeros", "I32", (4, H), bytes(16 * H))
    yield "awq_rows", "qweight lacks a row", "shape", am, A, lambda t: t.update({D + ".qweight": ("I32", (F - 1, H // 8), t[D + ".qweight"][2][:-H // 2])})
    yield "auto_round_type", "data_type mx_fp in a packing of integers", "unsupported", gm, flat("auto-round", bits=4, group_size=32, data_type="mx_fp"), lambda t: None
    yield "zero_point_shape", "weight_zero_point not packed", "shape", pm, asym, put(".weight_zero_point", "I32", (H, 4), bytes(16 * H))
    yield "zero_point_sym", "weight_zero_point, but symmetric", "format", pm, ct("pack-quantized", group_size=32, strategy="group"), lambda t: None
    yield "int8_scale_rows", "weight_scale lacks a row", "shape", lambda n, r, c: int8(n, r, c, -1), ct("int-quantized", num_bits=8, strategy="channel"), put(
        ".weight_scale", "BF16", (H - 1, 1), bytes(2 * H - 2))
    yield "fp8_row_nan", "a NaN scale of a row", "format", lambda n, r, c: fp8(n, r, c, "row"), ct("float-quantized", num_bits=8, type="float", strategy="channel"), put(
        ".weight_scale", "BF16", (H, 1), struct.pack("<H", 0x7FC0) * H)
    yield "nvfp4_divisor_0", "weight_global_scale 0", "format", lambda n, r, c: fp4(n, r, c, True), ct("nvfp4-pack-quantized", type="float", group_size=16), put(
        ".weight_global_scale", "F32", (1,), bytes(4))
    yield "nvfp4_no_divisor", "weight_global_scale missing", "missing", lambda n, r, c: fp4(n, r, c, True), ct("nvfp4-pack-quantized", type="float", group_size=16), drop(".weight_global_scale")
    yield "deepseek_v4", "packed FP4 as I8 with F8_E8M0 scales", "unsupported", lambda n, r, c: (
        {n + ".weight": ("I8", (r, c // 2), bytes(r * c // 2)), n + ".scale": ("F8_E8M0", (r, c // 32), bytes([127]) * (r * c // 32))}, [0] * (r * c)), flat(
        "fp8", weight_block_size=[128, 128]), lambda t: None
    yield "groups_of_16", "pack-quantized in groups of 16", "unsupported", lambda n, r, c: packed(n, r, c, 4, 16), ct("pack-quantized", group_size=16, strategy="group"), lambda t: None
    yield "fp8_inv_nan", "a block scale of type F8_E8M0 that is NaN", "format", lambda n, r, c: fp8(n, r, c, "block", "F8_E8M0", ".weight_scale_inv"), flat("fp8", weight_block_size=[128, 128]), put(
        ".weight_scale_inv", "F8_E8M0", (1, 1), bytes([255]))
    yield "fp8_inv_u8", "weight_scale_inv of type U8", "unsupported", lambda n, r, c: fp8(n, r, c, "block", "F8_E8M0", ".weight_scale_inv"), flat("fp8", weight_block_size=[128, 128]), put(
        ".weight_scale_inv", "U8", (1, 1), bytes([127]))
    yield "mxfp4_zero_point", "weight_zero_point beside MXFP4", "unsupported", lambda n, r, c: fp4(n, r, c, False), ct("mxfp4-pack-quantized", type="float", group_size=32), put(
        ".weight_zero_point", "U8", (H, 4), bytes(4 * H))


def save(folder, t, config):
    os.makedirs(folder)
    write(folder + "/model.safetensors", t)
    with open(folder + "/config.json", "w") as f:
        json.dump({k: v for k, v in config.items() if v is not None}, f, indent=1)


def make(out):
    lines = []
    for name, type, maker, quant in cases():
        t, config, expect = model(maker, quant)
        save(f"{out}/{name}", t, config)
        write(f"{out}/{name}.expect", expect)
        lines.append(f"{name} {type}\n")
    open(out + "/list", "w").writelines(lines)


def make_bad(out):
    global H, F
    H, F = 24, 128
    for name, what, cls, maker, quant, change in refusals():
        t, config, _ = model(maker, quant)
        change(t)
        save(f"{out}/{name}", t, config)
        print(f"quant/{name}/\t{what}\t{cls}")


def same(want, has):
    wrong = 0
    for line in open(want + "/list"):
        name = line.split()[0]
        a, b = read(f"{want}/{name}.expect"), read(f"{has}/{name}")
        for k, v in a.items():
            if b[k][0] != v[0] or b[k][1] != v[1]:
                wrong += 1
                print(name, k, v[:2], b[k][:2])
            for i in range(0, len(v[2]), 4) if b[k][2] != v[2] else ():
                if v[2][i:i + 4] != b[k][2][i:i + 4]:
                    wrong += 1
                    print(name, k, "element", i // 4, "wanted", struct.unpack("<f", v[2][i:i + 4])[0], "has", struct.unpack("<f", b[k][2][i:i + 4])[0])
                    break
    sys.exit(wrong > 0)


def equal(*folders):
    """Tensors and config.json of folders, in pairs."""
    wrong = 0
    for one, two in zip(folders[::2], folders[1::2]):
        a, b = read(one + "/model.safetensors"), read(two + "/model.safetensors")
        for k in set(a) | set(b):
            if a.get(k) != b.get(k):
                wrong += 1
                print(two, k, [x and x[:2] for x in (a.get(k), b.get(k))])
        if json.load(open(one + "/config.json")) != json.load(open(two + "/config.json")):
            wrong += 1
            print(two, "config.json")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    {"make": make, "bad": make_bad, "same": same, "equal": equal}[sys.argv[1]](*sys.argv[2:])
