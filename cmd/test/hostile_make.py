#!/usr/bin/env python3
"""hostile_make.py DIR: inputs for hostile.sh that are too large to keep, or that a few lines say better than a file does. Prints a line
for each: path, what is wrong, the exit statuses that are right, the checks of the list of attacks that it stands for. The same on
every run."""
import gzip
import io
import json
import lzma
import os
import struct
import sys
import zlib

import kmf_make

out = sys.argv[1]


def say(name, what, statuses, item):
    print("%s\t%s\t%s\t%s" % (name, what, statuses, item))


def put(name, data, what, statuses, item):
    path = os.path.join(out, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    say(name, what, statuses, item)


def sparse(name, head, size, what, statuses, item):
    """A file of `size` bytes of which only the head takes room."""
    path = os.path.join(out, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(head)
    try:
        os.truncate(path, size)
    except OSError:
        os.unlink(path)     # a file system without files so large
        return
    say(name, what, statuses, item)


# --- safetensors -------------------------------------------------------------------------------------------------------------------

def st_text(text, data=b""):
    return struct.pack("<Q", len(text)) + text + data


def st(tensors, data=None, more=None):
    at, head = 0, dict(more or {})
    for name, dtype, shape, size in tensors:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return st_text(json.dumps(head, separators=(",", ":")).encode(), bytes(at) if data is None else data)


def safetensors():
    two = st([("b", "F32", [2], 8), ("a", "BF16", [2, 2], 8)])
    for n in 0, 1, 7, 8:
        put("st/len_%d.safetensors" % n, struct.pack("<Q", n) + two[8:], "header length %d" % n, "3", "9.2.1")
    put("st/deep_1e6.safetensors", st_text(b"[" * 10**6), "a header of 10^6 open brackets", "3", "9.2.3")
    put("st/deep_object.safetensors", st_text(b'{"a":' * 200000), "a header of 200,000 open objects", "3", "9.2.3")
    put("st/brackets_1e8.safetensors", st_text(b"[" * 10**8), "a header of 10^8 open brackets", "3", "9.2.3")
    put("st/brackets_more.safetensors", struct.pack("<Q", 10**8 + 1) + b"[", "a header longer than the limit", "3", "9.2.1")
    put("st/descending.safetensors", st_text(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[8,4]}}', bytes(8)), "the end before the begin", "3", "9.2.6")
    many = [("t%06d" % i, "F32", [0], 0) for i in range(50000)]
    put("st/many.safetensors", st(many), "50,000 names: duplicates are looked for in linear time", "0", "9.3")
    put("st/many_twice.safetensors", st_text(b'{' + b",".join(
        b'"t%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % (i % 49999) for i in range(50000)) + b"}"),
        "the last of 50,000 names is the first", "3", "9.3")
    escape = st([("\x1b[2J\x1b]0;x\x07w", "F32", [1], 4)])
    put("st/escape.safetensors", escape, "a name that clears the terminal", "0", "9.3")
    put("st/escape_bad.safetensors", escape + b"x", "the same, and a byte too many", "3", "9.3")
    TB = 1 << 40
    body = json.dumps({"w": {"dtype": "U8", "shape": [TB], "data_offsets": [0, TB]}}).encode()
    sparse("plan/one_tb.safetensors", st_text(body), 8 + len(body) + TB, "one tensor of 1 TB, no block of it there", "0 6", "9.2.13")
    sparse("sparse/header.safetensors", struct.pack("<Q", 10**8) + b"{", TB, "a header of 100 MB of nothing in 1 TB", "3", "9.2.13")


# --- GGUF --------------------------------------------------------------------------------------------------------------------------

def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s)) + s


U32, STR, ARR, I64, U64, F32 = 4, 8, 9, 11, 10, 6


def key(name, kind, value):
    if kind == STR:
        return text(name) + struct.pack("<I", STR) + text(value)
    if kind == ARR:
        return text(name) + struct.pack("<IIQ", ARR, STR, len(value)) + b"".join(map(text, value))
    return text(name) + struct.pack("<I", kind) + struct.pack({U32: "<I", I64: "<q", U64: "<Q", F32: "<f"}[kind], value)


def tensor(name, ne, kind, offset):
    return text(name) + struct.pack("<I", len(ne)) + b"".join(struct.pack("<Q", n) for n in ne) + struct.pack("<IQ", kind, offset)


def gguf(keys, tensors, data=b"", n_keys=None, n_tensors=None, pad=32):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors) if n_tensors is None else n_tensors, len(keys) if n_keys is None else n_keys)
    head += b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % pad) + data


ARCH = key("general.architecture", STR, "llama")


def ggufs():
    w = [tensor("a", [8], 0, 0), tensor("b", [8], 0, 32)]
    put("gguf/ok.gguf", gguf([ARCH], w, bytes(64)), "valid: two tensors", "0", "9.2.6")
    put("gguf/descending.gguf", gguf([ARCH], [tensor("a", [8], 0, 32), tensor("b", [8], 0, 0)], bytes(64)), "offsets descend", "3", "9.2.6")
    put("gguf/overlap.gguf", gguf([ARCH], [tensor("a", [16], 0, 0), tensor("b", [8], 0, 32)], bytes(64)), "the second begins in the first", "3", "9.2.6")
    for name, off in ("2_63", 1 << 63), ("2_64", (1 << 64) - 32), ("wrap", (1 << 64) - 64):
        put("gguf/offset_%s.gguf" % name, gguf([ARCH], [tensor("a", [8], 0, off)], bytes(64)), "offset %d" % off, "3", "9.2.6")
    put("gguf/alignment_string.gguf", gguf([ARCH, key("general.alignment", STR, "32")], w, bytes(64)), "the alignment is a string", "3 4", "9.2.5")
    put("gguf/alignment_u64.gguf", gguf([ARCH, key("general.alignment", U64, 32)], w, bytes(64)), "the alignment is an u64", "0 3 4", "9.2.5")
    put("gguf/ne_2_32.gguf", gguf([ARCH], [tensor("a", [1 << 32], 0, 0)], bytes(64)), "ne = 2^32", "3", "9.2.4")
    put("gguf/ne_wraps_small.gguf", gguf([ARCH], [tensor("a", [(1 << 61) + 2, 8], 0, 0)], bytes(64)), "a product that wraps to 64 bytes", "3", "9.2.4")
    put("gguf/sum_wraps.gguf", gguf([ARCH], [tensor(chr(97 + i), [1 << 46, 1 << 15], 0, (i << 63) % (1 << 64)) for i in range(3)], bytes(64)),
        "the sum of sizes wraps", "3", "9.1")
    for n in range(1, 24):
        put("gguf/first_%d.gguf" % n, gguf([ARCH], w, bytes(64))[:n], "the first %d bytes" % n, "3", "9.1")
    put("gguf/many_keys.gguf", gguf([ARCH] + [key("k.%06d" % i, U32, i) for i in range(50000)], [], b""), "50,000 keys", "0 3 4", "9.3")
    put("gguf/many_keys_twice.gguf", gguf([ARCH] + [key("k.%06d" % (i % 49999), U32, i) for i in range(50000)], [], b""),
        "the last of 50,000 keys is the first", "3", "9.3")
    n = 50000
    put("gguf/many.gguf", gguf([ARCH], [tensor("t%06d" % i, [8], 0, 32 * i) for i in range(n)], bytes(32 * n)), "50,000 tensors", "0", "9.3")
    put("gguf/many_twice.gguf", gguf([ARCH], [tensor("t%06d" % (i % (n - 1)), [8], 0, 32 * i) for i in range(n)], bytes(32 * n)),
        "the last of 50,000 tensors is the first", "3", "9.3")
    head = {"block_count": 1, "embedding_length": 16, "feed_forward_length": 24, "attention.head_count": 2, "attention.head_count_kv": 1,
            "context_length": 64, "vocab_size": 12, "rope.dimension_count": 8}
    for name, change, item in (("block_count_2_31", {"block_count": 1 << 31}, "9.2.11"), ("block_count_max", {"block_count": (1 << 32) - 1}, "9.2.11"),
                               ("head_count_0", {"attention.head_count": 0}, "9.2.11"), ("rope_more", {"rope.dimension_count": 4096}, "9.2.11"),
                               ("vocab_other", {"vocab_size": 13}, "9.2.8"), ("ffn_0", {"feed_forward_length": 0}, "9.2.11")):
        llama(name, {**head, **change}, change, item)
    llama("eos_beyond", head, {}, "9.2.9", {"tokenizer.ggml.eos_token_id": 12})
    llama("bos_2_32", head, {}, "9.2.9", {"tokenizer.ggml.bos_token_id": (1 << 32) - 1})
    llama("hex", head, {}, "9.1", tokens=["<0x-1>", "<0x100>", "<0xZZ>"] + ["t%d" % i for i in range(9)], statuses="0 3 4")
    TB = 1 << 40
    start = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    sparse("sparse/tensors.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 33, 0), TB, "2^33 tensors, for which 1 TB has room", "3 4", "9.2.13")
    sparse("sparse/keys.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 33), TB, "2^33 keys, for which 1 TB has room", "3 4", "9.2.13")
    sparse("sparse/string.gguf", start + text("k") + struct.pack("<IQ", STR, 1 << 39), TB, "a string of 512 GB", "3 4", "9.2.13")
    sparse("sparse/key.gguf", start + struct.pack("<Q", 1 << 39), TB, "a key of 512 GB", "3 4", "9.2.13")
    sparse("sparse/array.gguf", start + text("k") + struct.pack("<IIQ", ARR, U64, 1 << 36), TB, "an array of 512 GB", "3 4", "9.2.13")
    sparse("sparse/strings.gguf", start + text("k") + struct.pack("<IIQ", ARR, STR, 1 << 36), TB, "an array of 2^36 strings", "3 4", "9.2.13")
    sparse("plan/one_tb.gguf", gguf([ARCH], [tensor("w", [1 << 38], 0, 0)]), TB + (1 << 20), "one tensor of 1 TB, no block of it there", "0 6", "9.2.13")


def llama(name, head, change, item, more=None, tokens=None, statuses="3 4"):
    keys = [ARCH, key("llama.attention.layer_norm_rms_epsilon", F32, 1e-5)]
    keys += [key("llama." + k, U32, v) for k, v in head.items()] + [key(k, U32, v) for k, v in (more or {}).items()]
    keys += [key("tokenizer.ggml.model", STR, "gpt2"), key("tokenizer.ggml.pre", STR, "smollm"),
             key("tokenizer.ggml.tokens", ARR, tokens or ["t%d" % i for i in range(12)]), key("tokenizer.ggml.merges", ARR, [])]
    shapes = {"token_embd": [16, 12], "output_norm": [16], "output": [16, 12], "blk.0.attn_norm": [16], "blk.0.ffn_norm": [16],
              "blk.0.attn_q": [16, 16], "blk.0.attn_k": [16, 8], "blk.0.attn_v": [16, 8], "blk.0.attn_output": [16, 16],
              "blk.0.ffn_gate": [16, 24], "blk.0.ffn_up": [16, 24], "blk.0.ffn_down": [24, 16]}
    tensors, at = [], 0
    for t, ne in shapes.items():
        size = 4
        for n in ne:
            size *= n
        tensors.append(tensor(t + ".weight", ne, 0, at))
        at += size + -size % 32
    what = ", ".join("%s %d" % kv for kv in (change or more or {}).items()) or "byte tokens that are none"
    put("gguf/llama_%s.gguf" % name, gguf(keys, tensors, bytes(at)), "llama: " + what, statuses, item)


# --- folders -----------------------------------------------------------------------------------------------------------------------

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
         "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 12, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
         "tie_word_embeddings": False, "hidden_act": "silu", "max_position_embeddings": 64}


def folders():
    shapes = {"model.embed_tokens": [12, 16], "model.norm": [16], "lm_head": [12, 16], "model.layers.0.input_layernorm": [16],
              "model.layers.0.post_attention_layernorm": [16], "model.layers.0.self_attn.q_proj": [16, 16], "model.layers.0.self_attn.k_proj": [8, 16],
              "model.layers.0.self_attn.v_proj": [8, 16], "model.layers.0.self_attn.o_proj": [16, 16], "model.layers.0.mlp.gate_proj": [24, 16],
              "model.layers.0.mlp.up_proj": [24, 16], "model.layers.0.mlp.down_proj": [16, 24]}
    tensors = [(n + ".weight", "BF16", s, 2 * (s[0] * s[1] if len(s) > 1 else s[0])) for n, s in shapes.items()]
    weights = st(tensors)
    text_of = lambda v: v if isinstance(v, bytes) else json.dumps(v).encode()

    def folder(name, what, statuses, item, files):
        for f, v in files.items():
            path = os.path.join(out, name, f)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as fd:
                fd.write(text_of(v))
        say(name + "/", what, statuses, item)

    def model(name, what, statuses, item, **more):
        folder("hf/" + name, what, statuses, item, {"config.json": LLAMA, "model.safetensors": weights, **{k.replace("__", "."): v for k, v in more.items()}})

    model("ok", "valid: one layer", "0", "9.2.8")
    model("config_deep", "config.json of 10^6 open brackets", "3", "9.2.3", config__json=b"[" * 10**6)
    model("config_1e8", "config.json of 10^8 open brackets", "3", "9.2.3", config__json=b"[" * 10**8)
    model("config_6e7", "config.json of 6 * 10^7 open brackets", "3", "9.2.3", config__json=b"[" * (6 * 10**7))
    model("tokenizer_deep", "tokenizer.json of 10^6 open brackets, which is a side file to kconvert", "0 3", "9.2.3", tokenizer__json=b"[" * 10**6)
    model("config_many", "config.json with 50,000 members", "0", "9.3", config__json=json.dumps({**LLAMA, **{"x%d" % i: i for i in range(50000)}}).encode())
    # The index twice names what both shards have.
    half = len(tensors) // 2
    both = {t[0]: "model-00001-of-00002.safetensors" if i <= half else "model-00002-of-00002.safetensors" for i, t in enumerate(tensors)}
    folder("hf/two_shards", "one tensor in two shards", "3", "9.2.7", {
        "config.json": LLAMA, "model.safetensors.index.json": {"metadata": {}, "weight_map": both},
        "model-00001-of-00002.safetensors": st(tensors[:half + 1]), "model-00002-of-00002.safetensors": st(tensors[half:])})
    folder("hf/index_deep", "an index of 10^6 open brackets", "3", "9.2.3", {
        "config.json": LLAMA, "model.safetensors.index.json": b"[" * 10**6, "model-00001-of-00002.safetensors": weights})
    folder("hf/template", "a template that would run code is data", "0", "9.1", {
        "config.json": LLAMA, "model.safetensors": weights,
        "chat_template.jinja": b"{{ ''.__class__.__mro__[1].__subclasses__() }}{% for i in range(10**12) %}{% endfor %}"})


# --- models that disagree with themselves, and values ------------------------------------------------------------------------------

def changed(name, model, change, what, statuses, item, config=None, shard=None):
    """A model of testdata/tiny with another config.json, or with bytes of one shard replaced."""
    source = os.path.join(os.environ.get("K_TESTDATA", "testdata"), "tiny", model)
    folder = os.path.join(out, name)
    os.makedirs(folder)
    for f in sorted(os.listdir(source)):
        with open(os.path.join(source, f), "rb") as fd:
            data = fd.read()
        if f == "config.json" and config:
            data = json.dumps({**json.loads(data), **config}).encode()
        if f.endswith(".safetensors") and shard:
            n, = struct.unpack("<Q", data[:8])
            for t, v in json.loads(data[8:8 + n]).items():
                if t.endswith(shard):
                    at = 8 + n + v["data_offsets"][0]
                    data = data[:at] + change + data[at + len(change):]
                    break
        with open(os.path.join(folder, f), "wb") as fd:
            fd.write(data)
    say(name + "/", what, statuses, item)


def models():
    for name, n in ("more", 9), ("less", 7), ("one", 1), ("2_31", 1 << 31):
        changed("model/experts_" + name, "kimi-linear-tiny", b"", "%d experts in config.json, 8 in the shards" % n, "3 4", "9.2.8", {"num_experts": n})
    changed("model/vocab_less", "kimi-linear-tiny", b"", "vocab_size below the tokens", "3", "9.2.8", {"vocab_size": 500})
    for name, word, statuses in ("denormal", b"\x01\x00", "0"), ("minus_zero", b"\x00\x80", "0"), ("nan", b"\xc0\x7f", "3"), ("inf", b"\x80\x7f", "3"):
        changed("model/scale_" + name, "kimi-k2-tiny-int4", word, "an INT4 scale is " + name, statuses, "9.2.10", shard=".weight_scale")
    changed("model/fp8_scale_nan", "kimi-k2-tiny-fp8", b"\x00\x00\xc0\x7f", "a block scale is NaN", "3", "9.2.10", shard=".weight_scale_inv")
    changed("model/fp8_nan", "kimi-k2-tiny-fp8", b"\xff", "an FP8 code is NaN", "3", "9.2.10", shard="q_b_proj.weight")
    changed("model/bias_nan", "kimi-linear-tiny", b"\xff\xff\xff\xff", "NaN in a router's bias", "3", "9.2.10", shard="e_score_correction_bias")
    for name, e in (("e8m0_255", kmf_make.entry("x", "mxfp4", [1, 32], b"\xff" + bytes(16))),
                    ("e8m0_255_block", kmf_make.entry("x", "mxfp4", [1, 32], b"\xff" + bytes(16), layout="gguf")),
                    ("i4_nan", kmf_make.entry("x", "i4g32", [1, 32], b"\xc0\x7f" + bytes(16))),
                    ("i8_inf", kmf_make.entry("x", "i8row", [1, 4], b"\x00\x00\x80\x7f" + bytes(4))),
                    ("fp8_nan", kmf_make.entry("x", "fp8b128", [1, 4], struct.pack("<f", 1) + b"\x7f" + bytes(3))),
                    ("f16_nan", kmf_make.entry("x", "f16", [2], b"\x00\x7e\x00\x00"))):
        put("kmf/%s.kmf" % name, kmf_make.build([e]), "a container whose digests are right: " + name, "3", "9.2.10")
    TB = 1 << 40
    head = b"\x89KMF\r\n\x1a\n" + struct.pack("<IIQQ", 1, 0, 1 << 26, 64)
    sparse("sparse/head.kmf", head, TB, "a head of 64 MB of nothing in 1 TB", "3 4", "9.2.13")
    sparse("sparse/head_more.kmf", head[:16] + struct.pack("<QQ", 1 << 39, 64), TB, "a head of 512 GB", "3 4", "9.2.13")


# --- archives ----------------------------------------------------------------------------------------------------------------------

def header(name, size=0, kind=b"0", link=b"", magic=b"ustar\x0000", prefix=b""):
    name = name if isinstance(name, bytes) else name.encode()
    h = bytearray(512)
    h[:len(name)] = name
    h[100:124] = b"0000644\x000000000\x000000000\x00"
    h[124:136] = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    h[136:148] = b"00000000000\0"
    h[156:157] = kind
    h[157:157 + len(link)] = link
    h[257:265] = magic
    h[345:345 + len(prefix)] = prefix
    h[148:156] = b"        "
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def member(name, data=b"", **more):
    return header(name, len(data), **more) + data + bytes(-len(data) % 512)


def pax(name, records, data=b""):
    body = b""
    for k, v in records:
        line = b" %s=%s\n" % (k, v)
        n = len(line) + 1
        while len(str(n)) + len(line) != n:
            n = len(str(n)) + len(line)
        body += b"%d" % n + line
    return member("pax", body, kind=b"x") + member(name, data)


END = bytes(1024)


def zstd_frame(blocks, window_log):
    """A frame of raw blocks (bytes) and runs of zeros (numbers of 128 KiB)."""
    o = b"\x28\xb5\x2f\xfd" + bytes((0, (window_log - 10) << 3))
    parts = []
    for b in blocks:
        if isinstance(b, int):
            parts += [(1, 1 << 17, b"\0")] * b
        else:
            parts += [(0, len(b[i:i + (1 << 17)]), b[i:i + (1 << 17)]) for i in range(0, len(b), 1 << 17)]
    for i, (kind, size, data) in enumerate(parts):
        o += struct.pack("<I", (i == len(parts) - 1) | kind << 1 | size << 3)[:3] + data
    return o


def archives():
    one = st([("w", "F32", [4], 16)])
    good = member("m/model.safetensors", one)
    for name, extra, what, statuses in (
            ("ok", b"", "valid: one file", "0"),
            ("nul", pax("m/x", [(b"path", b"m/a\0b")]), "a pax name with NUL", "0 3"),
            ("pax_dotdot", pax("m/x", [(b"path", b"../../x")]), "a pax name with '..'", "3"),
            ("pax_absolute", pax("m/x", [(b"path", b"/tmp/x")]), "an absolute pax name", "3"),
            ("pax_link", pax("m/x", [(b"linkpath", b"/etc/passwd")]), "a pax link", "0 4"),
            ("pax_size", pax("m/x", [(b"size", b"9999999999999999999")]), "a pax size near 2^63", "3 4"),
            ("pax_huge", header("pax", 1 << 40, kind=b"x"), "a pax header of 1 TB", "3"),
            ("gnu_name", member("././@LongLink", b"../x\0", kind=b"L", magic=b"ustar  \0") + member("m/x"), "a GNU long name with '..'", "3"),
            ("gnu_huge", header("././@LongLink", 1 << 40, kind=b"L", magic=b"ustar  \0"), "a GNU name of 1 TB", "3"),
            ("prefix", member("x", prefix=b"/etc"), "an absolute ustar prefix", "3"),
            ("component", pax("m/x", [(b"path", b"m/" + b"a" * 256)]), "a component of 256 bytes", "3"),
            ("hard_data", member("m/x", b"data", kind=b"1", link=b"m/model.safetensors"), "a hard link with data", "3 4"),
            ("block", member("m/x", kind=b"4"), "a block device", "4"),
            ("fold", member("m/MODEL.safetensors", one), "two names that differ by case", "3"),
            ("fold_unicode", member("m/\u00c9", b"x") + member("m/\u00e9", b"x"), "two names that differ by case beyond ASCII, which no reader takes for one", "0"),
            ("drive", member("C:\\x"), "a drive", "3"),
            ("reserved", member("m/aux.txt"), "a name that Windows reserves", "3"),
            ("sparse", pax("m/x", [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1000000000000"),
                                   (b"GNU.sparse.name", b"m/x")], b"1\n0\n0\n".ljust(512, b"\0")), "a sparse member of 1 TB", "3 4"),
            ("negative", header("m/x")[:124] + b"\xff" * 12 + header("m/x")[136:], "a negative size", "3")):
        put("tar/%s.tar" % name, good + extra + END, "archive: " + what, statuses, "9.5")
    whole = good + END
    packs = (("gz", lambda d: gzip.compress(d, 9, mtime=0)), ("xz", lambda d: lzma.compress(d, preset=0)), ("zst", lambda d: zstd_frame([d], 20)))
    for a, f in packs:
        put("pack/ok.tar." + a, f(whole), "valid: packed with " + a, "0", "9.4")
        for b, g in packs:
            put("pack/%s_in_%s" % (a, b), g(f(whole)), "%s in %s" % (a, b), "3 4", "9.4")
    put("pack/tar_in_tar.tar", member("m/inner.tar", whole) + END, "an archive in an archive", "3 4", "9.4")
    zeros = 80 << 20
    bomb = member("m/model.safetensors", one) + header("m/zeros", zeros)
    put("pack/bomb.tar.gz", gzip.compress(bomb + bytes(zeros) + END, 6, mtime=0), "80 MiB of zeros in 100 KB", "3", "9.4")
    put("pack/bomb.tar.xz", lzma.compress(bomb + bytes(zeros) + END, preset=0), "80 MiB of zeros in 15 KB", "3", "9.4")
    put("pack/bomb.tar.zst", zstd_frame([bomb, zeros >> 17, END], 20), "80 MiB of zeros in 4 KB", "3", "9.4")
    far = member("m/model.safetensors", one) + header("m/zeros", 1 << 40)
    put("pack/bomb_1tb.tar.zst", zstd_frame([far, 1 << 17], 20), "16 GiB of zeros that say they are 1 TB", "3 6", "9.4")
    put("pack/behind_end.tar.gz", gzip.compress(whole + bytes(zeros), 6, mtime=0), "80 MiB of zeros behind the archive's end", "3", "9.4")
    put("pack/window_27.tar.zst", zstd_frame([whole], 27), "valid: a window of 128 MiB", "0", "9.4")
    for log in 28, 31, 41:
        put("pack/window_%d.tar.zst" % log, zstd_frame([whole], log), "a window of 2^%d" % log, "3 4", "9.4")
    crowd, packer = [], zlib.compressobj(1, zlib.DEFLATED, 31)
    base = header("m/000000")
    total = sum(base) - sum(base[148:156]) + 8 * 32 - 6 * 48
    for i in range(200002):
        digits = b"%06d" % i
        crowd.append(base[:2] + digits + base[8:148] + b"%06o\0 " % (total + sum(digits)) + base[156:])
    put("pack/crowd.tar.gz", packer.compress(good + b"".join(crowd) + END) + packer.flush(), "200,002 files", "3 4", "9.4")


safetensors()
ggufs()
folders()
models()
archives()
