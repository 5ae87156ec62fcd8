#!/usr/bin/env python3
"""kmf_make.py DIR: containers made from kmf.5 by a third hand, for kmf.sh: sound ones in DIR/good, and in DIR/bad ones with one thing
wrong each and every digest right, so that only the rule in question can refuse them.

kmf_make.py --damage FILE DIR: copies of a container in which one bit is another one, or which end early or late."""
import hashlib
import json
import math
import os
import random
import struct
import sys

LEAF = 2097152
PLAIN = "f32 bf16 f16 f64 f8_e4m3 f8_e5m2 f8_e8m0 f8_e4m3fnuz f8_e5m2fnuz bool u8 i8 u16 i16 u32 i32 u64 i64 c64".split()


def sha(data):
    return hashlib.sha256(data).digest()


def align(n, a):
    return -(-n // a) * a


def entry(name, type_, shape, data, role="other", layout="rows", **more):
    return {"name": name, "role": role, "type": type_, "layout": layout, "shape": shape, "offset": None, "bytes": len(data), **more}, data


def cut(data, n):
    return [data[at:at + n] for at in range(0, len(data), n)]


def leaves_of(e, data):
    """The bytes of each leaf."""
    plain, stack = e["type"] in PLAIN, "*" in (e["name"] or "")
    if not data or plain and not stack and len(data) <= LEAF:
        return [data] if data else []           # whatever its shape says: it may be a wrong one
    one, rows, cols = ([1, 1, *e["shape"]])[-3:]
    slices = math.prod(e["shape"][:-2])
    size = len(data) // slices
    step = size * (16 if e["layout"] == "x16" else 1) // rows
    if e["type"] == "fp8b128":
        step = 4 * (align(cols, 128) // 128) + 128 * cols
    if plain and step > LEAF:
        return [p for row in cut(data, step) for p in cut(row, LEAF)]
    most = step << max((LEAF // step).bit_length() - 1, 0)
    return [p for span in ([data] if plain and not stack else cut(data, size)) for p in cut(span, most)]


def build(pairs, head=None, text=None, magic=b"\x89KMF\r\n\x1a\n", version=2, flags=0, data_bytes=None, gap=b"\0", word=b"KMFDIGS\n",
          count=None, m=None, cuts=None, leaves=None, digests=None, identity=None, mark=b"KMFEND\r\n", length=None, tail=b""):
    """cuts: the leaves of each entry; leaves, digests: what the trailer has, each in one string."""
    end, data, entries = 0, b"", []
    for e, payload in pairs:
        e = dict(e)
        at = align(end, 4096 if len(payload) >= 65536 else 64)
        if e["offset"] is None:
            e["offset"] = at
        entries.append(e)
        data += gap * (at - len(data)) + payload
        end = len(data)
    head = {"kmf": 2, "arch": None, "config": None, "entries": entries, "history": [], **(head or {})}
    text = text or json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    h = sha(text)
    cuts = [[sha(p) for p in ps] for ps in (cuts or [leaves_of(*p) for p in pairs])]
    listed = b"".join(b"".join(ds) for ds in cuts if len(ds) > 1)
    digests = digests or b"".join(ds[0] if len(ds) == 1 else sha(b"".join(ds)) for ds in cuts)
    out = magic + struct.pack("<IIQQ", version, flags, len(text), end if data_bytes is None else data_bytes) + h + text
    out += bytes(align(len(out), 4096) - len(out)) + data + bytes(align(len(data), 64) - len(data))
    out += word + struct.pack("<QQ", len(pairs) if count is None else count, len(listed) // 32 if m is None else m)
    out += (listed if leaves is None else leaves) + digests + (identity or sha(h + digests))
    return out + mark + struct.pack("<Q", length or len(out) + 16) + tail


# --- one entry of each type, random bytes with scales that are numbers -----------------------------------------------------------

R = random.Random(5)


def raw(n):
    return R.randbytes(n)


def f16(n=1):
    return b"".join(struct.pack("<e", R.uniform(-3, 3)) for _ in range(n))


def bf16(n=1):
    return b"".join(struct.pack("<f", R.uniform(-3, 3))[2:] for _ in range(n))


def f32(n=1):
    return b"".join(struct.pack("<f", R.uniform(0, 3)) for _ in range(n))


def e4m3(n):
    return bytes(b & 0xfe if b & 127 == 127 else b for b in raw(n))


def gguf(n, *parts):
    return b"".join(b"".join(f16() if p == "d" else raw(p) for p in parts) for _ in range(n))


def types():
    yield entry("x/f32", "f32", [3, 5], f32(15))
    yield entry("x/bf16", "bf16", [2, 3, 5], bf16(30))
    yield entry("x/f16", "f16", [7], f16(7))
    yield entry("x/f64", "f64", [], struct.pack("<d", 1 / 3))
    yield entry("x/f8_e4m3", "f8_e4m3", [2, 128], bytes(b for b in range(256) if b & 127 != 127) + b"\0\0")
    yield entry("x/f8_e5m2", "f8_e5m2", [31, 8], bytes(b for b in range(256) if b & 0x7c != 0x7c))
    yield entry("x/f8_e8m0", "f8_e8m0", [5, 51], bytes(range(255)))
    for name, width in zip("f8_e4m3fnuz f8_e5m2fnuz bool u8 i8 u16 i16 u32 i32 u64 i64 c64".split(), (1, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 8)):
        yield entry("x/" + name, name, [3, 3], bytes(9 * width) if name == "bool" else raw(9 * width))
    yield entry("x/empty", "f32", [0, 4], b"")
    yield entry("x/i4g32", "i4g32", [3, 96], b"".join(bf16(3) + raw(48) for _ in range(3)))
    yield entry("x.*.x16", "i4g32", [2, 32, 128], b"".join(bf16(32) + raw(512) for _ in range(2 * 2 * 2)), layout="x16", role="experts")
    yield entry("x.*.fp8", "fp8b128", [2, 200, 130],
                b"".join(f32(2) + e4m3(rows * 130) for _ in range(2) for rows in (128, 72)), role="experts")
    yield entry("x/mxfp4", "mxfp4", [3, 64], b"".join(bytes(R.randrange(253) for _ in range(2)) + raw(32) for _ in range(3)))
    yield entry("x.*.mx16", "mxfp4", [2, 32, 256], b"".join(bytes(R.randrange(253) for _ in range(64)) + raw(1024) for _ in range(2 * 2 * 2)),
                layout="x16", role="experts")
    yield entry("x/mxfp4.gguf", "mxfp4", [3, 64], b"".join(bytes((R.randrange(253),)) + raw(16) for _ in range(6)), layout="gguf")
    yield entry("x/i4z32", "i4z32", [3, 64], b"".join(f32(2) + bytes(R.randrange(17) for _ in range(2)) + raw(32) for _ in range(3)))
    yield entry("x/i8z32", "i8z32", [3, 64], b"".join(f32(2) + struct.pack("<2H", R.randrange(257), 256) + raw(64) for _ in range(3)))
    yield entry("x/fp8row", "fp8row", [3, 7], b"".join(f32() + e4m3(7) for _ in range(3)))
    yield entry("x/mxfp8", "mxfp8", [3, 64], b"".join(bytes(R.randrange(247) for _ in range(2)) + e4m3(64) for _ in range(3)))
    yield entry("x/nvfp4", "nvfp4", [3, 48], b"".join(struct.pack("<f", 448.5) + e4m3(3) + raw(24) for _ in range(3)))
    yield entry("x/i8row", "i8row", [3, 7], b"".join(f32() + raw(7) for _ in range(3)))
    for name, group, parts in (
            ("q4_0", 32, ("d", 16)), ("q4_1", 32, ("d", "d", 16)), ("q5_0", 32, ("d", 20)), ("q5_1", 32, ("d", "d", 20)),
            ("q8_0", 32, ("d", 32)), ("q2_k", 256, (80, "d", "d")), ("q3_k", 256, (108, "d")), ("q4_k", 256, ("d", "d", 140)),
            ("q5_k", 256, ("d", "d", 172)), ("q6_k", 256, (208, "d")), ("iq4_nl", 32, ("d", 16)), ("iq4_xs", 256, ("d", 134))):
        yield entry("x/" + name, name, [2, 2 * group], gguf(4, *parts), source="blk.0." + name)
    yield entry("x/large", "f32", [65, 257], f32(65 * 257), form="ct.i64")


# --- entries of several leaves ---------------------------------------------------------------------------------------------------

def i4x16(slices, rows, cols):
    return b"".join((bf16(32) + raw(512)) * (cols // 64) for _ in range(slices * rows // 16))


def stacks():
    """Experts of several leaves each: whole and cut granules, and rows that are longer than a leaf."""
    yield entry("x.*.fp8", "fp8b128", [2, 300, 6000],
                b"".join(f32(47) + e4m3(rows * 6000) for _ in range(2) for rows in (128, 128, 44)), role="experts")
    yield entry("x.*.x16", "i4g32", [2, 48, 131072], i4x16(2, 48, 131072), layout="x16", role="experts")
    yield entry("x.*.i8row", "i8row", [2, 5, 700000], b"".join(f32() + raw(700000) for _ in range(10)), role="experts")
    yield entry("x.*.i8row_long", "i8row", [1, 2, LEAF + 96], b"".join(f32() + raw(LEAF + 96) for _ in range(2)), role="experts")
    yield entry("x.*.u8", "u8", [3, 1, 1 << 20], raw(3 << 20), role="experts")
    yield entry("x.*.u8_long", "u8", [2, 1, LEAF + 5], raw(2 * LEAF + 10), role="experts")
    yield entry("x.*.one", "f32", [1, 2, 2], f32(4), role="experts")
    yield entry("x.*.empty", "f32", [2, 0, 2], b"", role="experts")


def matrices():
    """What is no stack: plain types are cut without regard to slices."""
    yield entry("one", "u8", [2, 1 << 20], raw(LEAF))
    yield entry("more", "u8", [LEAF // 64 + 1, 64], raw(LEAF + 64))
    yield entry("slices", "u8", [3, 1, 1 << 20], raw(3 << 20))
    yield entry("slices.i8row", "i8row", [3, 1, 5], b"".join(f32() + raw(5) for _ in range(3)))
    yield entry("row", "u8", [2, LEAF], raw(2 * LEAF))
    yield entry("row_more", "u8", [3, LEAF + 1000], raw(3 * LEAF + 3000))
    yield entry("wide", "f32", [LEAF // 4 + 1], b"\0\0\x80\x3f" * (LEAF // 4) + f32())
    yield entry("fp8", "fp8b128", [7, 300], f32(3) + e4m3(2100))


def few():
    """Stacks in few bytes: an entry of one leaf, one of three, one of two."""
    return [entry("y", "f32", [2], f32(2)), entry("x.*", "f32", [3, 2, 2], f32(12), role="experts"),
            entry("z.*", "f32", [2, 1, 2], f32(4), role="experts")]


def empties():
    """Sizes that overflow or divide by nothing where one forgets that there are no bytes."""
    for i, (type_, shape) in enumerate((("f64", [0, 1 << 62]), ("f32", [1 << 62, 0]), ("u8", [0]), ("fp8b128", [5, 0]),
                                        ("f32", [1 << 40, 1 << 20, 0]), ("fp8b128", [1 << 20, 0, 1 << 39]))):
        yield entry("x.%d" % i, type_, shape, b"")
    for i, (type_, shape) in enumerate((("f32", [65536, 1 << 40, 0]), ("i8row", [65536, 0, 1 << 39]), ("fp8b128", [0, 1 << 39, 1 << 20]))):
        yield entry("x.*.%d" % i, type_, shape, b"")
    yield entry("scales", "i8row", [3, 0], f32(3))
    yield entry("x.*.scales", "i8row", [2, 3, 0], f32(6))


# --- what is sound, and what is not ----------------------------------------------------------------------------------------------

def good():
    yield "page", build([entry("x", "f32", [2], struct.pack("<ff", 1, -2))])
    yield "nothing", build([])
    yield "types", build(list(types()), {"history": [{"step": "convert", "format": 1, "x": [1.5, None, {"y": "\u00e9"}]}]})
    yield "few", build(few())
    yield "empties", build(list(empties()))
    # The same ones in both layouts.
    yield "mx_rows", build([entry("x", "mxfp4", [16, 128], (bytes([127]) * 4 + bytes([0x22]) * 64) * 16)])
    yield "mx_x16", build([entry("x", "mxfp4", [16, 128], bytes([127]) * 64 + bytes([0x22]) * 1024, layout="x16")])
    yield "tiny", build([entry("x.*", "i8", [5000, 1, 1], raw(5000), role="experts")])
    yield "stacks", build(list(stacks()))
    yield "matrices", build(list(matrices()))
    yield "files", build([entry("LICENSE", "u8", [5], b"hello", "file"), entry("empty", "u8", [0], b"", "file")])
    x = [entry("x", "f32", [1], f32())]
    yield "spaced", build([], text=b' {"history" : [ ], "entries": [],\n"config":null, "arch":null , "kmf":2 } ')
    yield "escaped", build([], text=b'{"kmf":2,"arch":null,"config":null,"\\u0065ntries":[],"history":[]}')
    yield "head4096", build([], text=b'{"kmf":2,"arch":null,"config":null,"entries":[],"history":[]' + b" " * (4096 - 64 - 61) + b"}")
    yield "head4097", build([], text=b'{"kmf":2,"arch":null,"config":null,"entries":[],"history":[]' + b" " * (4097 - 64 - 61) + b"}")
    yield "history_2_64", build([], text=b'{"kmf":2,"arch":null,"config":null,"entries":[],"history":[{"x":18446744073709551616}]}')
    yield "null_absent", build([], text=b'{"kmf":2,"entries":[],"history":[]}')
    yield "null_source", build([entry("x", "f32", [1], f32(), source=None, form=None)])
    yield "rank8", build([entry("x", "f32", [1] * 8, f32())])
    yield "step65535", build(x + [entry("y", "u8", [65535], raw(65535)), entry("z", "u8", [65536], raw(65536))])


def change(key, value):
    e, data = entry("x", "f32", [2, 32], f32(64))
    e[key] = value
    return build([(e, data)])


def version1():
    """As version 1 was: without leaves."""
    new = build([entry("x", "f32", [2], f32(2))], {"kmf": 1}, version=1)
    at = new.index(b"KMFDIGS\n") + 16
    return new[:at] + new[at + 8:-8] + struct.pack("<Q", len(new) - 8)


def bad_leaves():
    """Trailers in which every digest but one is right, or all are right of leaves that are cut elsewhere."""
    (y, a), (x, b), (z, c) = f = few()
    d = [sha(p) for p in cut(b, 16) + cut(c, 8)]
    other = [sha(b"x"), *d[1:]]

    def digests(first, last):
        return sha(a) + sha(b"".join(first)) + sha(b"".join(last))

    assert build(f) == build(f, leaves=b"".join(d), digests=digests(d[:3], d[3:]), m=5)
    yield "leaf", build(f, leaves=b"".join(other))
    yield "leaf_last", build(f, leaves=b"".join([*d[:4], sha(b"x")]))
    yield "leaf_and_digest", build(f, leaves=b"".join(other), digests=digests(other[:3], d[3:]))
    yield "digest_alone", build(f, digests=digests(other[:3], d[3:]))
    yield "leaves_swapped", build(f, leaves=b"".join([d[1], d[0], *d[2:]]))
    yield "leaves_0", build(f, leaves=bytes(160))
    yield "leaves_none", build(f, leaves=b"")
    yield "leaves_none_m", build(f, leaves=b"", m=0)
    yield "leaves_less", build(f, leaves=b"".join(d[:4]), m=4)
    yield "leaves_more", build(f, leaves=b"".join(d) + sha(b""), m=6)
    yield "leaves_of_one", build(f, leaves=b"".join([sha(a), *d]), m=6)
    for name, m in ("m_0", 0), ("m_less", 4), ("m_more", 6), ("m_huge", 1 << 59), ("m_wraps", 5 + (1 << 59)):
        yield name, build(f, m=m)
    yield "digest_flat", build(f, digests=sha(a) + sha(b) + sha(c))
    yield "digest_of_one", build(f, digests=sha(sha(a)) + digests(d[:3], d[3:])[32:])
    yield "cut_none", build(f, cuts=[[a], [b], cut(c, 8)])
    yield "cut_stack", build(f, cuts=[[a], cut(b, 32), cut(c, 8)])
    yield "cut_rows", build(f, cuts=[[a], cut(b, 8), cut(c, 8)])
    yield "cut_first", build(f, cuts=[cut(a, 4), cut(b, 16), cut(c, 8)])
    for name, cols, n in (("long", LEAF // 2 + 4, LEAF), ("half", LEAF // 2 + 4, LEAF // 4 + 2), ("row", LEAF + 4, LEAF),
                          ("row_whole", LEAF + 4, LEAF + 4)):
        data = raw(2 * cols)
        yield "cut_" + name, build([entry("x", "u8", [2, cols], data)], cuts=[cut(data, n)])


def bad():
    yield "version1", version1()
    yield "version1_head", build([], {"kmf": 1})
    yield from bad_leaves()
    x = [entry("x", "f32", [2], f32(2))]
    plain = build(x)
    top = b'{"kmf":2,"arch":null,"config":null,"entries":[],"history":[]}'
    for name, keys in (("magic", {"magic": b"\x89KMF\n\x1a\n\0"}), ("version", {"version": 3}), ("version_0", {"version": 0}),
                       ("flags", {"flags": 4}), ("flags_high", {"flags": 1 << 31}),
                       ("data_more", {"data_bytes": 9}), ("data_less", {"data_bytes": 7}), ("data_huge", {"data_bytes": 1 << 63}),
                       ("word", {"word": b"KMFDIGS\0"}), ("digest", {"digests": bytes(32)}), ("identity", {"identity": bytes(32)}),
                       ("count", {"count": 2}), ("count_huge", {"count": 1 << 60}), ("length", {"length": len(plain) + 1}),
                       ("length_0", {"length": 1 << 64 - 1}), ("mark", {"mark": b"KMFEND\n\0"}), ("tail", {"tail": b"\0"}),
                       ("tail_twice", {"tail": plain})):
        yield name, build(x, **keys)
    yield "digest_empty", build([entry("x", "f32", [0], b"")], digests=bytes(32))
    yield "gap", build(x + [entry("y", "f32", [2], f32(2))], gap=b" ")
    yield "head_pad", plain[:4000] + b" " + plain[4001:]
    yield "behind_data", plain[:4096 + 63] + b" " + plain[4096 + 64:]
    for key in "kmf entries history".split():
        yield "no_" + key, build([], text=json.dumps({k: v for k, v in json.loads(top).items() if k != key}).encode())
    for name, text in (("more", top[:-1] + b',"more":1}'), ("twice", top[:-1] + b',"arch":null}'),
                       ("twice_escaped", top[:-1] + b',"\\u0061rch":null}'),
                       ("bom", b"\xef\xbb\xbf" + top), ("latin1", top.replace(b'"config":null', b'"config":"\xe9"')), ("cut", top[:-1]),
                       ("behind", top + b"x"), ("array", b"[]"), ("nothing", b" "), ("nul", top + b"\0"),
                       ("u0000", top.replace(b'"config":null', b'"config":"\\u0000"')),
                       ("surrogate", top.replace(b'"config":null', b'"config":"\\ud800"')),
                       ("kmf3", top.replace(b'"kmf":2', b'"kmf":3')), ("kmf_real", top.replace(b'"kmf":2', b'"kmf":2.0')),
                       ("kmf_true", top.replace(b'"kmf":2', b'"kmf":true')), ("arch_number", top.replace(b'"arch":null', b'"arch":1')),
                       ("config_object", top.replace(b'"config":null', b'"config":{}')),
                       ("entries_null", top.replace(b'"entries":[]', b'"entries":null')),
                       ("entry_null", top.replace(b'"entries":[]', b'"entries":[null]')),
                       ("history_object", top.replace(b'"history":[]', b'"history":{}')),
                       ("history_row", top.replace(b'"history":[]', b'"history":["convert"]')),
                       ("history_nan", top.replace(b'"history":[]', b'"history":[{"x":NaN}]')),
                       ("history_1e400", top.replace(b'"history":[]', b'"history":[{"x":1e400}]')),
                       ("deep", top.replace(b'"history":[]', b'"history":[{"x":' + b"[" * 80 + b"]" * 80 + b"}]")),
                       ("deeper", top.replace(b'"history":[]', b'"history":' + b"[" * 200000 + b"]" * 200000))):
        yield "json_" + name, build([], text=text)
    for key in "name role type layout shape offset bytes".split():
        e = {**x[0][0], "offset": 0}
        del e[key]
        yield "entry_no_" + key, build([], {"entries": [e]}, data_bytes=8)
    for name, key, value in (
            ("unknown", "more", 1), ("name_empty", "name", ""), ("name_null", "name", None),
            ("role", "role", "expert"), ("type", "type", "f33"), ("layout", "layout", "x16"), ("layout_empty", "layout", ""),
            ("type_group", "type", "i4g32"), ("shape_null", "shape", None), ("shape_number", "shape", 64), ("shape_less", "shape", [2, 31]),
            ("shape_more", "shape", [2, 33]), ("shape_negative", "shape", [-2, -32]), ("shape_real", "shape", [2.0, 32]),
            ("shape_true", "shape", [True, 64]), ("shape_rank9", "shape", [1] * 8 + [64]), ("shape_huge", "shape", [1 << 62, 4, 16]),
            ("shape_wraps", "shape", [1 << 32, 1 << 32, 64]), ("shape_2_64", "shape", [64 + (1 << 64)]),
            ("shape_huge_empty", "shape", [1 << 40, 1 << 40, 0]), ("offset", "offset", 64), ("offset_1", "offset", 1),
            ("offset_negative", "offset", -64), ("offset_text", "offset", "0"), ("bytes", "bytes", 255), ("bytes_text", "bytes", "256"),
            ("bytes_negative", "bytes", -256), ("source", "source", 1), ("form", "form", "ct.i32"), ("form_number", "form", 1),
            ("role_null", "role", None)):
        yield "entry_" + name, change(key, value)
    yield "entry_stack_row", build([entry("x.*", "u8", [5], raw(5))])
    yield "entry_stack_empty", build([entry("x.*", "u8", [65537, 0], b"")])
    yield "entry_stack_huge", build([entry("x.*", "u8", [1 << 40, 1 << 20, 0], b"")])
    yield "entry_x16_rows", build([entry("x", "i4g32", [8, 64], raw(288), layout="x16")])
    yield "entry_x16_cols", build([entry("x", "i4g32", [16, 32], raw(288), layout="x16")])
    yield "entry_mx16_cols", build([entry("x", "mxfp4", [16, 64], raw(544), layout="x16")])
    yield "entry_twice", build(x + x)
    yield "entry_order", build(x + [entry("LICENSE", "u8", [5], b"hello", "file")])
    for name in ".", "..", "a/b":
        yield "entry_file_" + name.replace("/", "_"), build([entry(name, "u8", [5], b"hello", "file")])
    yield "entry_file_rank2", build([entry("LICENSE", "u8", [1, 5], b"hello", "file")])
    yield "entry_file_f32", build([entry("LICENSE", "f32", [1], f32(), "file")])
    yield "entry_unaligned", build([entry("y", "u8", [1], b"y"), ({**entry("x", "u8", [1], b"x")[0], "offset": 1}, b"x")])
    yield "entry_page", build([({**e, "offset": at}, d) for (e, d), at in zip(
        [entry("y", "u8", [1], b"y"), entry("x", "u8", [65536], raw(65536))], (0, 64))])


# --- damage ------------------------------------------------------------------------------------------------------------------------

def places(data):
    """Offsets that stand for every part of a container."""
    head_bytes, data_bytes = struct.unpack_from("<QQ", data, 16)
    start = align(64 + head_bytes, 4096)
    entries = json.loads(data[64:64 + head_bytes])["entries"]
    trailer = start + align(data_bytes, 64)
    m = struct.unpack_from("<Q", data, trailer + 16)[0]
    digests = trailer + 24 + 32 * m
    end = digests + 32 * len(entries) + 32
    for name, at in (("magic", 0), ("text_mode", 4), ("version", 8), ("flags", 15), ("head_bytes", 16), ("head_bytes_high", 23),
                     ("data_bytes", 24), ("data_bytes_high", 31), ("head_digest", 32), ("head_digest_end", 63), ("head", 64),
                     ("head_middle", 64 + head_bytes // 2), ("head_end", 63 + head_bytes), ("word", trailer), ("count", trailer + 8),
                     ("count_high", trailer + 15), ("m", trailer + 16), ("m_high", trailer + 23), ("digest", digests),
                     ("digest_last", end - 33), ("identity", end - 32), ("identity_end", end - 1), ("mark", end),
                     ("mark_text", end + 6), ("length", end + 8), ("length_high", end + 15)):
        yield name, at
    if m:
        yield "leaf", trailer + 24
        yield "leaf_middle", trailer + 24 + 32 * (m // 2)
        yield "leaf_end", digests - 1
    if 64 + head_bytes < start:
        yield "head_pad", 64 + head_bytes
        yield "head_pad_end", start - 1
    if start + data_bytes < trailer:
        yield "behind_data", trailer - 1
    gaps = [(a, b) for a, b in zip(entries, entries[1:]) if a["offset"] + a["bytes"] < b["offset"]]
    for name, (a, b) in zip(("gap", "gap_last"), gaps[:1] + gaps[-1:]):
        yield name, start + a["offset"] + a["bytes"]
        yield name + "_end", start + b["offset"] - 1
    full = [e for e in entries if e["bytes"]]
    for name, e in zip(("first", "middle", "last"), (full[0], full[len(full) // 2], full[-1])):
        yield name + "_begin", start + e["offset"]
        yield name + "_middle", start + e["offset"] + e["bytes"] // 2
        yield name + "_end", start + e["offset"] + e["bytes"] - 1


def damage(data):
    for name, at in places(data):
        yield "flip_" + name, data[:at] + bytes((data[at] ^ 1 << R.randrange(8),)) + data[at + 1:]
        if at:
            yield "cut_" + name, data[:at]
    yield "cut_1", data[:-1]
    yield "cut_16", data[:-16]
    yield "more", data + b"\0"
    yield "twice", data + data


def write(folder, files):
    os.makedirs(folder, exist_ok=True)
    for name, data in files:
        with open(os.path.join(folder, name + ".kmf"), "wb") as f:
            f.write(data)


def main():
    if sys.argv[1] == "--damage":
        with open(sys.argv[2], "rb") as f:
            write(sys.argv[3], damage(f.read()))
        return
    write(os.path.join(sys.argv[1], "good"), good())
    write(os.path.join(sys.argv[1], "bad"), bad())


if __name__ == "__main__":
    main()
