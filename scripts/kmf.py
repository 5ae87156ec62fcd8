#!/usr/bin/env python3
"""kmf.py: a second reader of the container, written from kmf.5 and from nothing else, with Python's standard library.

    kmf.py FILE                      verify everything, list the entries
    kmf.py --json FILE               the same as JSON lines, the summary last
    kmf.py --digest FILE             the file's identity
    kmf.py --dump NAME FILE          values of one entry (or one expert of a stack) as npy, f32
    kmf.py --dump NAME SLICE,ROW FILE    one row as text
    kmf.py --extract NAME FILE > x   its bytes as stored; config.json is the text in the head

FILE may be -, a pipe: nothing is ever read twice, and every byte of the file is looked at whatever is asked for. Memory: the head, 32
bytes a leaf, and a granule. Exit status: 0 the container is sound, 3 it is not (with a sentence), 4 it is of a kind that is not known
here, 5 it cannot be read, 2 usage.

As a module: `with open(path, "rb") as f: c = Container(f)`, then c.walk(want), where want(entry) gives a function that gets the
entry's bytes in pieces, or None; and values(entry, data) and row_values(entry, granule, rows, row) -> array of floats.
"""
import argparse
import hashlib
import json
import os
import re
import signal
import struct
import sys
import zlib
from array import array

MAGIC = b"\x89KMF\r\n\x1a\n"
FIXED, HEAD_MAX, DATA_MAX, LEAF_MAX, PIECE = 64, 1 << 30, 1 << 60, 1 << 21, 1 << 20
PACKED, DELTA = 1, 2
ROLES = "experts shared router attn kda embed head dense norm file other".split()
FORMS = (None, "ct.i64", "ct.bf16", "ct.f16")
BIG_ENDIAN = sys.byteorder == "big"


class Bad(Exception):
    """The container is not what the page says."""
    status = 3


class Unknown(Bad):
    """The container may be sound, and cannot be understood here."""
    status = 4


def align(n, a):
    return (n + a - 1) // a * a


# --- values: each function takes the bytes of one row (or of a granule) and gives cols floats; array("f") rounds to f32, once ----------

def little(code, data):
    a = array(code)
    a.frombytes(data)
    if BIG_ENDIAN:
        a.byteswap()
    return a


def bf16(data):
    words = array("I", (u << 16 for u in little("H", data)))
    return array("f", words.tobytes())


def f16(data):
    return array("f", struct.unpack("<%de" % (len(data) // 2), data))


def e4m3(b):
    e, m = b >> 3 & 15, b & 7
    v = float("nan") if b & 127 == 127 else m * 2.0 ** -9 if e == 0 else (8 + m) * 2.0 ** (e - 10)
    return -v if b & 128 else v


def e8m0(b):
    return float("nan") if b == 255 else 2.0 ** (b - 127)


E4M3 = [e4m3(b) for b in range(256)]
E8M0 = [e8m0(b) for b in range(256)]
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]
IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]


def signed(b):
    return b - 256 if b > 127 else b


def bits(b, start, n):
    return b >> start & (1 << n) - 1


def half(p, at):
    return struct.unpack_from("<e", p, at)[0]


def pairs(data):
    """Nibbles in order: low, high, low, high."""
    return [n for b in data for n in (b & 15, b >> 4)]


def halves(data):
    """Nibbles of a block: all low ones, then all high ones."""
    return [b & 15 for b in data] + [b >> 4 for b in data]


def i4g32_rows(p, cols, rows, row):
    at = row * (cols // 16 + cols // 2)
    scale = bf16(p[at:at + cols // 16])
    code = pairs(p[at + cols // 16:at + cols // 16 + cols // 2])
    return [(code[c] - 8) * scale[c // 32] for c in range(cols)]


def i4g32_x16(p, cols, rows, row):
    out = []
    for k in range(cols // 64):
        record = p[576 * k:576 * k + 576]
        scale = bf16(record[4 * row:4 * row + 4])
        for q in range(8):
            word = struct.unpack_from("<I", record, 64 + 64 * q + 4 * row)[0]
            for j in range(8):
                nibble = word >> 16 * (j % 2) + 4 * (j // 2) & 15
                out.append((nibble - 8) * scale[q // 4])
    return out


def fp8b128(p, cols, rows, row):
    blocks = (cols + 127) // 128
    scale = little("f", p[:4 * blocks])
    code = p[4 * blocks + row * cols:4 * blocks + (row + 1) * cols]
    return [E4M3[b] * scale[c // 128] for c, b in enumerate(code)]


def mxfp4_rows(p, cols, rows, row):
    at = row * (cols // 32 + cols // 2)
    code = pairs(p[at + cols // 32:at + cols // 32 + cols // 2])
    return [E2M1[code[c]] * E8M0[p[at + c // 32]] for c in range(cols)]


def mxfp4_x16(p, cols, rows, row):
    out = []
    for k in range(cols // 128):
        record = p[1088 * k:1088 * k + 1088]
        for q in range(16):
            word = struct.unpack_from("<I", record, 64 + 64 * q + 4 * row)[0]
            for j in range(8):
                out.append(E2M1[word >> 16 * (j % 2) + 4 * (j // 2) & 15] * E8M0[record[4 * row + q // 4]])
    return out


def i8row(p, cols, rows, row):
    at = row * (4 + cols)
    scale = struct.unpack_from("<f", p, at)[0]
    return [signed(b) * scale for b in p[at + 4:at + 4 + cols]]


def integers(zero, width):
    """Codes of 4 bits (width 0) or bytes (1) with a scale and a zero point for 32 columns; zero: format of a zero point."""
    def row_of(p, cols, rows, row):
        n, groups = len(p) // rows, cols // 32
        p = p[row * n:(row + 1) * n]
        scale, zeros = little("f", p[:4 * groups]), little(zero, p[4 * groups:(5 + width) * groups])
        code = list(p[(5 + width) * groups:]) if width else pairs(p[5 * groups:])
        return [(code[c] - zeros[c // 32]) * scale[c // 32] for c in range(cols)]
    return row_of


def fp8row(p, cols, rows, row):
    at = row * (4 + cols)
    scale = struct.unpack_from("<f", p, at)[0]
    return [E4M3[b] * scale for b in p[at + 4:at + 4 + cols]]


def mxfp8(p, cols, rows, row):
    at = row * (cols // 32 + cols)
    return [E4M3[p[at + cols // 32 + c]] * E8M0[p[at + c // 32]] for c in range(cols)]


def nvfp4(p, cols, rows, row):
    at = row * (4 + cols // 16 + cols // 2)
    divisor = struct.unpack_from("<f", p, at)[0]
    scale = [struct.unpack("<f", struct.pack("<f", E4M3[b] / divisor))[0] for b in p[at + 4:at + 4 + cols // 16]]
    code = pairs(p[at + 4 + cols // 16:at + 4 + cols // 16 + cols // 2])
    return [E2M1[code[c]] * scale[c // 16] for c in range(cols)]


def blocks_of(size, block):
    """A row of blocks of `size` bytes, each of which gives block(bytes) values."""
    def row_of(p, cols, rows, row):
        n = len(p) // rows
        return [v for at in range(row * n, (row + 1) * n, size) for v in block(p[at:at + size])]
    return row_of


def mxfp4_block(p):
    return [E2M1[n] * E8M0[p[0]] for n in halves(p[1:])]


def q4_0(p):
    return [(q - 8) * half(p, 0) for q in halves(p[2:])]


def q4_1(p):
    return [q * half(p, 0) + half(p, 2) for q in halves(p[4:])]


def five(qh, qs):
    high = int.from_bytes(qh, "little")
    return [q + 16 * (high >> i & 1) for i, q in enumerate(halves(qs))]


def q5_0(p):
    return [(q - 16) * half(p, 0) for q in five(p[2:6], p[6:])]


def q5_1(p):
    return [q * half(p, 0) + half(p, 2) for q in five(p[4:8], p[8:])]


def q8_0(p):
    return [signed(b) * half(p, 0) for b in p[2:]]


def spots():
    """i, h, k, l of the 256 values of a block."""
    return ((i, i // 128, i % 128 // 32, i % 32) for i in range(256))


def q2_k(p):
    scales, qs, d, dmin = p[:16], p[16:80], half(p, 80), half(p, 82)
    return [d * bits(scales[i // 16], 0, 4) * bits(qs[32 * h + l], 2 * k, 2) - dmin * bits(scales[i // 16], 4, 4)
            for i, h, k, l in spots()]


def q3_k(p):
    hmask, qs, a, d = p[:32], p[32:96], p[96:108], half(p, 108)
    scale = [bits(a[t % 8], 4 * (t // 8), 4) + 16 * bits(a[8 + t % 4], 2 * (t // 4), 2) - 32 for t in range(16)]
    return [d * scale[i // 16] * (bits(qs[32 * h + l], 2 * k, 2) + 4 * bits(hmask[l], 4 * h + k, 1) - 4)
            for i, h, k, l in spots()]


def scale_min(a, s):
    if s < 4:
        return bits(a[s], 0, 6), bits(a[s + 4], 0, 6)
    return bits(a[s + 4], 0, 4) + 16 * bits(a[s - 4], 6, 2), bits(a[s + 4], 4, 4) + 16 * bits(a[s], 6, 2)


def k45(p, qh, qs):
    d, dmin, out = half(p, 0), half(p, 2), []
    for s in range(8):
        sc, mn = scale_min(p[4:16], s)
        for l in range(32):
            q = bits(qs[32 * (s // 2) + l], 4 * (s % 2), 4) + (16 * bits(qh[l], s, 1) if qh else 0)
            out.append(d * sc * q - dmin * mn)
    return out


def q4_k(p):
    return k45(p, None, p[16:])


def q5_k(p):
    return k45(p, p[16:48], p[48:])


def q6_k(p):
    ql, qh, scales, d = p[:128], p[128:192], p[192:208], half(p, 208)
    return [d * signed(scales[i // 16]) * (bits(ql[64 * h + 32 * (k % 2) + l], 4 * (k // 2), 4) + 16 * bits(qh[32 * h + l], 2 * k, 2) - 32)
            for i, h, k, l in spots()]


def iq4_nl(p):
    return [half(p, 0) * IQ4[q] for q in halves(p[2:])]


def iq4_xs(p):
    d, high, low, out = half(p, 0), int.from_bytes(p[2:4], "little"), p[4:8], []
    for b in range(8):
        s = bits(low[b // 2], 4 * (b % 2), 4) + 16 * bits(high, 2 * b, 2)
        out += [d * (s - 32) * IQ4[q] for q in halves(p[8 + 16 * b:24 + 16 * b])]
    return out


# --- types ---------------------------------------------------------------------------------------------------------------------

class Type:
    """group and granule as the page has them; size(cols, rows): bytes of a granule; row(granule, cols, rows, row): values, or None."""

    def __init__(self, group, granule, size, row, full=False, plain=False):
        self.group, self.granule, self.size, self.row, self.full, self.plain = group, granule, size, row, full, plain


def plain_type(width, convert):
    def row_of(p, cols, rows, row):
        return convert(p[row * cols * width:(row + 1) * cols * width])
    return Type(1, 1, lambda cols, rows: cols * rows * width, convert and row_of, plain=True)


def block_type(group, size, block):
    return Type(group, 1, lambda cols, rows: cols // group * size * rows, blocks_of(size, block))


TYPES = {
    ("i4g32", "rows"): Type(32, 1, lambda cols, rows: (cols // 16 + cols // 2) * rows, i4g32_rows),
    ("i4g32", "x16"): Type(64, 16, lambda cols, rows: cols // 64 * 576, i4g32_x16, full=True),
    ("fp8b128", "rows"): Type(1, 128, lambda cols, rows: 4 * ((cols + 127) // 128) + rows * cols, fp8b128),
    ("mxfp4", "rows"): Type(32, 1, lambda cols, rows: (cols // 32 + cols // 2) * rows, mxfp4_rows),
    ("mxfp4", "x16"): Type(128, 16, lambda cols, rows: cols // 128 * 1088, mxfp4_x16, full=True),
    ("mxfp4", "gguf"): block_type(32, 17, mxfp4_block),
    ("i4z32", "rows"): Type(32, 1, lambda cols, rows: (cols // 32 * 5 + cols // 2) * rows, integers("B", 0)),
    ("i8z32", "rows"): Type(32, 1, lambda cols, rows: (cols // 32 * 6 + cols) * rows, integers("H", 1)),
    ("fp8row", "rows"): Type(1, 1, lambda cols, rows: (4 + cols) * rows, fp8row),
    ("mxfp8", "rows"): Type(32, 1, lambda cols, rows: (cols // 32 + cols) * rows, mxfp8),
    ("nvfp4", "rows"): Type(16, 1, lambda cols, rows: (4 + cols // 16 + cols // 2) * rows, nvfp4),
    ("i8row", "rows"): Type(1, 1, lambda cols, rows: (4 + cols) * rows, i8row),
}
for _name, _width, _convert in (
        ("f32", 4, lambda p: little("f", p)), ("bf16", 2, bf16), ("f16", 2, f16), ("f64", 8, lambda p: little("d", p)),
        ("f8_e4m3", 1, lambda p: [E4M3[b] for b in p]), ("f8_e8m0", 1, lambda p: [E8M0[b] for b in p]),
        ("f8_e5m2", 1, lambda p: f16(b"".join(bytes((0, b)) for b in p)))):
    TYPES[_name, "rows"] = plain_type(_width, _convert)
for _name in "f8_e4m3fnuz f8_e5m2fnuz bool u8 i8".split():
    TYPES[_name, "rows"] = plain_type(1, None)
for _name, _width in (("u16", 2), ("i16", 2), ("u32", 4), ("i32", 4), ("u64", 8), ("i64", 8), ("c64", 8)):
    TYPES[_name, "rows"] = plain_type(_width, None)
for _block, _group, _size in (
        (q4_0, 32, 18), (q4_1, 32, 20), (q5_0, 32, 22), (q5_1, 32, 24), (q8_0, 32, 34), (q2_k, 256, 84), (q3_k, 256, 110),
        (q4_k, 256, 144), (q5_k, 256, 176), (q6_k, 256, 210), (iq4_nl, 32, 18), (iq4_xs, 256, 136)):
    TYPES[_block.__name__, "rows"] = block_type(_group, _size, _block)


# --- the head ------------------------------------------------------------------------------------------------------------------

def no_twins(members):
    if len({k for k, _ in members}) != len(members):
        raise ValueError("a member occurs twice")
    return dict(members)


def no_word(word):
    raise ValueError("%s is no number" % word)


def finite(text):
    v = float(text)
    if v in (float("inf"), float("-inf")):
        raise ValueError("%s is too large" % text)
    return v


def integer(text):
    """Of 64 bits; a larger one is a double, and so no size."""
    return int(text) if len(text) <= 20 and -1 << 63 <= int(text) < 1 << 63 else finite(text)


def check_json(v, depth):
    if depth > 64:
        raise ValueError("it is more than 64 deep")
    if isinstance(v, str):
        v.encode("utf-8")               # a surrogate that is no pair has no bytes
        if "\0" in v:
            raise ValueError("a string has U+0000")
    for x in [*v, *v.values()] if isinstance(v, dict) else v if isinstance(v, list) else ():
        check_json(x, depth + isinstance(x, (dict, list)))


def parse_head(text):
    try:
        v = json.loads(text.decode("utf-8"), object_pairs_hook=no_twins, parse_constant=no_word, parse_float=finite, parse_int=integer)
        check_json(v, 1)
    except (ValueError, RecursionError) as e:
        raise Bad("the head is no JSON that a container may have: %s" % e) from None
    return v


def want(ok, *sentence):
    if not ok:
        raise Bad(sentence[0] % sentence[1:])


def known(ok, *sentence):
    if not ok:
        raise Unknown(sentence[0] % sentence[1:])


def is_int(v, low):
    return type(v) is int and v >= low


class Entry:
    def __init__(self, members, number):
        where = "entry %d" % number
        need = {"name", "role", "type", "layout", "shape", "offset", "bytes"}
        want(isinstance(members, dict), "%s is no object", where)
        have = set(members)
        want(need <= have, "%s has no member '%s'", where, min(need - have, default=""))
        want(have <= need | {"source", "form"}, "%s has an unknown member '%s'", where, min(have - need - {"source", "form"}, default=""))
        self.members = members
        for key in ("name", "role", "type", "layout", "source", "form"):
            setattr(self, key, members.get(key))
            want(isinstance(getattr(self, key), str) or (key not in need and getattr(self, key) is None), "%s: %s is no string", where, key)
        want(self.name, "%s has no name", where)
        want(self.role in ROLES, "%s has an unknown role '%s'", self.name, self.role)
        known(self.form in FORMS, "%s has an unknown form '%s'", self.name, self.form)
        self.kind = TYPES.get((self.type, self.layout))
        known(self.kind, "%s has type '%s' in layout '%s', which is not known here", self.name, self.type, self.layout)
        self.shape, self.offset, self.bytes = members["shape"], members["offset"], members["bytes"]
        want(isinstance(self.shape, list) and len(self.shape) <= 8 and all(is_int(n, 0) for n in self.shape),
             "%s: the shape is no list of up to 8 sizes", self.name)
        want(is_int(self.offset, 0) and is_int(self.bytes, 0), "%s: offset or bytes is no size", self.name)
        self.measure()
        self.cut()
        want("*" not in self.name or (len(self.shape) > 1 and self.shape[0] <= max(self.bytes, 65536)),
             "%s is a stack of shape %s in %d bytes", self.name, self.shape, self.bytes)
        want(self.role != "file" or (self.type == "u8" and len(self.shape) == 1 and "/" not in self.name and self.name not in (".", "..")),
             "'%s' is no row of bytes with a file's name", self.name)

    def measure(self):
        count = 1
        for n in self.shape:
            count *= n
            want(count < 1 << 63, "%s: shape %s is too large", self.name, self.shape)
        self.cols = self.shape[-1] if self.shape else 1
        self.rows = self.shape[-2] if len(self.shape) > 1 else 1
        self.slices = 1
        for n in self.shape[:-2]:
            self.slices *= n
        t = self.kind
        want(t.plain or (self.rows < 1 << 40 and self.cols < 1 << 40), "%s: shape %s has a side of 2^40 or more", self.name, self.shape)
        want(self.cols % t.group == 0, "%s: %d columns are no multiple of %d, as %s wants", self.name, self.cols, t.group, self.type)
        want(not t.full or self.rows % t.granule == 0, "%s: %d rows are no multiple of %d, as %s wants", self.name, self.rows, t.granule,
             self.layout)
        rest = self.rows % t.granule
        self.slice_bytes = self.rows // t.granule * t.size(self.cols, t.granule) + (t.size(self.cols, rest) if rest else 0)
        want(self.bytes == self.slices * self.slice_bytes, "%s has %d bytes, wanted %d for %s %s", self.name, self.bytes,
             self.slices * self.slice_bytes, self.type, self.shape)

    def cut(self):
        """Bytes of a full granule, of a span and of a leaf, and how many leaves there are."""
        t = self.kind
        self.step = t.size(self.cols, t.granule)
        self.span = self.bytes if t.plain and "*" not in self.name else self.slice_bytes
        self.leaf = self.step
        if t.plain and self.step > LEAF_MAX:
            self.span, self.leaf = self.step, LEAF_MAX
        while 0 < self.leaf <= LEAF_MAX // 2:
            self.leaf *= 2
        self.span_leaves = -(-self.span // self.leaf) if self.bytes else 0
        self.n_leaves = self.bytes // self.span * self.span_leaves if self.bytes else 0

    def leaf_bytes(self):
        """The length of each leaf, in order."""
        for i in range(self.n_leaves):
            yield min(self.leaf, self.span - i % self.span_leaves * self.leaf)

    def place(self, i):
        """Where leaf i begins."""
        at = i // self.span_leaves * self.span + i % self.span_leaves * self.leaf
        s, at = divmod(at, self.slice_bytes)
        granule, at = divmod(at, self.step)
        return "slice %d, row %d" % (s, granule * self.kind.granule) + (", byte %d of the row" % at if at else "")

    def slice_of(self, name):
        """The number of the slice that `name` means: -1 for the whole entry, None when it means another one."""
        if name == self.name:
            return -1
        before, star, after = self.name.partition("*")
        m = star and re.fullmatch("%s(0|[1-9][0-9]*)%s" % (re.escape(before), re.escape(after)), name)
        return int(m[1]) if m and int(m[1]) < self.slices else None


def check_entries(entries, data_bytes):
    end, names, weights = 0, set(), False
    for e in entries:
        at = align(end, 4096 if e.bytes >= 65536 else 64)
        want(e.offset == at, "%s has offset %d, wanted %d", e.name, e.offset, at)
        want(e.name not in names, "%s occurs twice", e.name)
        want(e.role != "file" or not weights, "%s: a side file stands behind the weights", e.name)
        weights = weights or e.role != "file"
        names.add(e.name)
        end = e.offset + e.bytes
    want(end == data_bytes, "the entries have %d bytes, the fixed head says %d", end, data_bytes)


# --- packed leaves -------------------------------------------------------------------------------------------------------------

class Cursor:
    def __init__(self, data, name):
        self.data, self.name, self.at = data, name, 0

    def take(self, n):
        want(n <= len(self.data) - self.at, "the packed bytes of %s end early", self.name)
        self.at += n
        return self.data[self.at - n:self.at]


def fields(c):
    out, (n,) = [], c.take(1)
    want(1 <= n <= 4, "%s is packed in %d fields", c.name, n)
    for _ in range(n):
        size, form = struct.unpack("<IB", c.take(5))
        width, turned = form & 127, form > 127
        want(width in (1, 2, 4, 8) and not (turned and width == 1) and size and size % width == 0, "%s has a field of %d bytes in form %d",
             c.name, size, form)
        out.append((size, width, turned))
    want(sum(size for size, _, _ in out) < 1 << 31, "%s has a period of 2^31 bytes or more", c.name)
    return out


def plane(c, n):
    how, size = struct.unpack("<BI", c.take(5))
    p = c.take(size)
    want(how < 2, "%s has a plane in way %d", c.name, how)
    if how:
        z = zlib.decompressobj(-15)
        try:
            p = z.decompress(p, n + 1)
        except zlib.error as e:
            raise Bad("%s cannot be unpacked: %s" % (c.name, e)) from None
        want(z.eof and not z.unused_data and not z.unconsumed_tail, "%s has a deflated plane that does not end where it should", c.name)
    want(len(p) == n, "%s has a plane of %d bytes, wanted %d", c.name, len(p), n)
    return p


HALF = bytes(b >> 1 for b in range(256))
TOP = bytes((b & 1) << 7 for b in range(256))


def turn_back(planes):
    """Elements rotated right by one bit: each byte gets the lowest bit of the next one, the last that of the first."""
    def joined(p, q):
        return (int.from_bytes(p.translate(HALF), "little") | int.from_bytes(q.translate(TOP), "little")).to_bytes(len(p), "little")
    return [joined(p, planes[(j + 1) % len(planes)]) for j, p in enumerate(planes)]


def unpack(data, n, name):
    c = Cursor(data, name)
    form = fields(c)
    period, out = sum(size for size, _, _ in form), bytearray(n)
    begin = 0
    for size, width, turned in form:
        last = min(size, max(n % period - begin, 0))
        want(last % width == 0, "%s ends within an element", name)
        planes = [plane(c, (n // period * size + last) // width) for _ in range(width)]
        flat = bytearray(width * len(planes[0]))
        for j, p in enumerate(turn_back(planes) if turned else planes):
            flat[j::width] = p
        for i in range(n // period + 1) if size < period else ():
            part = flat[i * size:(i + 1) * size]
            out[i * period + begin:i * period + begin + len(part)] = part
        out = flat if size == period else out
        begin += size
    want(c.at == len(data), "%s has bytes behind its last plane", name)
    return bytes(out)


# --- the container -------------------------------------------------------------------------------------------------------------

class Container:
    """Reads the head of a binary stream. The rest passes in walk()."""

    def __init__(self, stream):
        self.stream, self.pos = stream, 0
        fixed = self.take(FIXED, "the fixed head")
        want(fixed[:8] == MAGIC, "the first bytes are no container's")
        version, flags, head_bytes, self.data_bytes = struct.unpack_from("<IIQQ", fixed, 8)
        known(version != 1, "version 1 was written by ktools before 0.2; convert the source again")
        known(version == 2, "version %d, and only 2 is known here", version)
        known(flags in (0, PACKED, DELTA), "unknown flags %#x", flags)
        want(head_bytes <= HEAD_MAX, "a head of %d bytes, at most %d are possible", head_bytes, HEAD_MAX)
        want(self.data_bytes <= DATA_MAX, "%d bytes of data are impossible", self.data_bytes)
        text = self.take(head_bytes, "the head")
        self.head_digest = fixed[32:]
        want(hashlib.sha256(text).digest() == self.head_digest, "the head does not have its digest")
        self.zeros(align(FIXED + head_bytes, 4096), "behind the head")
        self.data = self.pos
        self.head = parse_head(text)
        self.check_head()
        self.packed, self.places = flags != 0, []
        self.base = self.take(32, "the identity of the base") if flags == DELTA else None

    def check_head(self):
        h = self.head
        members = {"kmf", "arch", "config", "entries", "history"}
        want(isinstance(h, dict), "the head is no object")
        want(set(h) <= members, "the head has an unknown member '%s'", min(set(h) - members, default=""))
        missing = members - {"arch", "config"} - set(h)
        want(not missing, "the head has no member '%s'", min(missing, default=""))
        want(type(h["kmf"]) is int and h["kmf"] == 2, "kmf is %s, wanted 2", h["kmf"])
        for key in ("arch", "config"):
            want(isinstance(h.get(key), (str, type(None))), "%s is no string and not null", key)
        for key in ("entries", "history"):
            want(isinstance(h[key], list), "%s is no array", key)
        want(all(isinstance(row, dict) for row in h["history"]), "a row of the history is no object")
        self.arch, self.config, self.history = h.get("arch"), h.get("config"), h["history"]
        self.entries = [Entry(e, i) for i, e in enumerate(h["entries"])]
        check_entries(self.entries, self.data_bytes)

    def pieces(self, n, what):
        while n:
            p = self.stream.read(min(n, PIECE))
            want(p, "it ends at byte %d, in %s", self.pos, what)
            self.pos += len(p)
            n -= len(p)
            yield p

    def take(self, n, what):
        return b"".join(self.pieces(n, what))

    def zeros(self, until, where):
        for p in self.pieces(until - self.pos, "the padding " + where):
            want(not p.strip(b"\0"), "the padding %s is not zero, near byte %d", where, self.pos)

    def walk(self, wanted=lambda entry: None):
        """Reads all entries in order, then what stands behind them. wanted(entry): a function that gets the bytes, or None."""
        self.leaves, self.digests = [], []
        for e in self.entries:
            put = wanted(e)
            if not self.packed:
                self.zeros(self.data + e.offset, "before " + e.name)
            leaves = b"".join(self.leaf(n, e.name, put) for n in e.leaf_bytes())
            self.leaves.append(leaves if e.n_leaves > 1 else b"")
            self.digests.append(leaves if e.n_leaves == 1 else hashlib.sha256(leaves).digest())
        if self.packed:
            self.check_index()
        else:
            self.zeros(self.data + align(self.data_bytes, 64), "behind the data")
        self.check_trailer()

    def leaf(self, n, name, put):
        """The digest of the next n bytes."""
        digest = hashlib.sha256()
        for p in [self.block(n, name)] if self.packed else self.pieces(n, name):
            digest.update(p)
            if put:
                put(p)
        return digest.digest()

    def block(self, n, name):
        """The n bytes of the next leaf of a packed container."""
        self.places.append((self.pos, n))
        method, p = self.payload(n, name)
        known(method != 2, "it is a delta: %s is in the base of identity %s", name, self.base and self.base.hex())
        if method == 3:
            known(self.stream.seekable(), "%s is stored once, further in front, and a pipe cannot go back: read it from a file", name)
            at, = struct.unpack("<Q", p)
            want(at < len(self.places) - 1 and self.places[at][1] == n, "%s refers to no earlier leaf of its size", name)
            here, self.pos = self.pos, self.places[at][0]
            self.stream.seek(self.pos)
            method, p = self.payload(n, name)
            want(method < 2, "%s refers to a reference", name)
            self.pos = here
            self.stream.seek(here)
        return unpack(p, n, name) if method else p

    def payload(self, n, name):
        size, method = struct.unpack("<IB", self.take(5, name))
        want(method < 4 and (method != 2 or self.base), "%s has a block in method %d", name, method)
        want(size == n if method == 0 else size < n if method == 1 else size == 8, "%s has a block of %d bytes in method %d for a leaf of %d",
             name, size, method, n)
        return method, self.take(size, name)

    def check_index(self):
        at = self.pos
        want(self.take(8, "the index") == b"KMFINDX\n", "no index stands behind the blocks")
        n = self.number("the index")
        want(n == len(self.places), "the index has %d blocks for %d leaves", n, len(self.places))
        want(all(self.number("the index") == p for p, _ in self.places) and self.number("the index") == at, "the index is not that of the blocks")

    def number(self, what):
        return struct.unpack("<Q", self.take(8, what))[0]

    def check_trailer(self):
        want(self.take(8, "the trailer") == b"KMFDIGS\n", "no trailer stands behind the data")
        n, m, leaves = self.number("the trailer"), self.number("the trailer"), sum(len(x) // 32 for x in self.leaves)
        want(n == len(self.entries), "the trailer has %d digests for %d entries", n, len(self.entries))
        want(m == leaves, "the trailer has %d digests for %d leaves", m, leaves)
        wrong = [self.wrong_leaf(x) for x in self.leaves]
        for e, digest, i in zip(self.entries, self.digests, wrong):
            sound = self.take(32, "the digests") == digest
            where = "" if i is None else e.place(i)
            want(sound or not where, "%s does not have its digest: the first wrong leaf begins at %s", e.name, where)
            want(sound, "%s does not have its digest", e.name)
            want(not where, "%s has its digest, but the trailer has another one for the leaf that begins at %s", e.name, where)
        self.identity = hashlib.sha256(self.head_digest + b"".join(self.digests)).digest()
        want(self.take(32, "the identity") == self.identity, "the identity is not that of the digests")
        want(self.take(8, "the end mark") == b"KMFEND\r\n", "no end mark stands behind the digests")
        length = self.number("the end mark")
        want(length == self.pos, "the end mark says %d bytes, and it stands at %d", length, self.pos)
        want(not self.stream.read(1), "bytes follow the end mark")

    def wrong_leaf(self, leaves):
        """Reads the digests of an entry's leaves; the number of the first that is another one, or None."""
        first = None
        for at in range(0, len(leaves), 32):
            if self.take(32, "the digests of leaves") != leaves[at:at + 32] and first is None:
                first = at // 32
        return first


def row_values(entry, granule, rows, row):
    """The values of a row of a granule of `rows` rows."""
    want(entry.kind.row, "%s holds %s, which has no values", entry.name, entry.type)
    return array("f", entry.kind.row(granule, entry.cols, rows, row))


def granules(entry):
    """(slice, first row, rows, bytes) of each granule, in order."""
    for s in range(entry.slices if entry.bytes else 0):
        for row in range(0, entry.rows, entry.kind.granule):
            rows = min(entry.kind.granule, entry.rows - row)
            yield s, row, rows, entry.kind.size(entry.cols, rows)


def values(entry, data):
    """All values of an entry's bytes."""
    out, at = array("f"), 0
    for _, _, rows, size in granules(entry):
        for r in range(rows):
            out.extend(row_values(entry, data[at:at + size], rows, r))
        at += size
    return out


# --- what is asked for ------------------------------------------------------------------------------------------------------------

def npy_head(shape):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }" % (tuple(shape),)
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


class Rows:
    """Gets the bytes of an entry in pieces and gives each row to put(slice, row, values)."""

    def __init__(self, entry, put):
        self.entry, self.put, self.rest = entry, put, bytearray()
        self.next = granules(entry)
        self.now = next(self.next, None)

    def __call__(self, piece):
        self.rest += piece
        at = 0
        while self.now and len(self.rest) - at >= self.now[3]:
            s, row, rows, size = self.now
            granule = bytes(self.rest[at:at + size])
            for r in range(rows):
                self.put(s, row + r, lambda r=r: row_values(self.entry, granule, rows, r))
            at += size
            self.now = next(self.next, None)
        del self.rest[:at]


class Asked:
    """The entry of a name, on its way to standard output."""

    def __init__(self, name, place=None, raw=False):
        self.name, self.place, self.raw, self.entry, self.out = name, place, raw, None, sys.stdout.buffer

    def __call__(self, entry):
        n = entry.slice_of(self.name)
        if n is None or self.entry:
            return None
        self.entry, self.at = entry, 0
        if self.raw:
            size = entry.slice_bytes
            self.begin, self.end = (0, entry.bytes) if n < 0 else (n * size, (n + 1) * size)
            return self.put_raw
        want(entry.kind.row, "%s holds %s, which has no values; --extract gives its bytes", entry.name, entry.type)
        if self.place:
            s, row = self.place if n < 0 else (n, self.place[1])
            want(s < entry.slices and row < entry.rows, "%s has %d slices of %d rows", entry.name, entry.slices, entry.rows)
            return Rows(entry, lambda i, r, get: (i, r) == (s, row) and self.put_text(get()))
        self.out.write(npy_head(entry.shape if n < 0 else entry.shape[-2:]))
        return Rows(entry, lambda i, r, get: n in (-1, i) and self.put_floats(get()))

    def put_raw(self, piece):
        self.out.write(piece[max(self.begin - self.at, 0):max(self.end - self.at, 0)])
        self.at += len(piece)

    def put_text(self, row):
        self.out.write((" ".join("%.9g" % v for v in row) + "\n").encode())

    def put_floats(self, row):
        if BIG_ENDIAN:
            row.byteswap()
        self.out.write(row.tobytes())


def list_json(c):
    for e, digest in zip(c.entries, c.digests):
        print(json.dumps({**e.members, "leaves": e.n_leaves, "digest": digest.hex()}, ensure_ascii=False))
    print(json.dumps({"summary": True, "arch": c.arch, "config": c.config is not None, "history": c.history, "entries": len(c.entries),
                      "bytes": c.data_bytes, "length": c.pos, "identity": c.identity.hex()}, ensure_ascii=False))


def list_text(c):
    for e in c.entries:
        kind = e.type if e.layout == "rows" else e.type + "/" + e.layout
        print("%-64s %-8s %-10s %-20s %d" % (e.name, e.role, kind, e.shape, e.bytes))
    print("ok: %d entries, %d bytes, architecture %s, %s" % (len(c.entries), c.pos, c.arch or "unknown", c.identity.hex()))


def run(args, stream):
    c = Container(stream)
    if args.extract == "config.json" and c.config is not None:
        sys.stdout.buffer.write(c.config.encode())
        c.walk()
        return
    if args.dump or args.extract:
        asked = Asked(args.dump or args.extract, args.place, raw=bool(args.extract))
        c.walk(asked)
        want(asked.entry, "no entry is called '%s'", asked.name)
        return
    c.walk()
    if args.digest:
        print(c.identity.hex())
    elif args.json:
        list_json(c)
    else:
        list_text(c)


def place_of(text):
    m = re.fullmatch("([0-9]+),([0-9]+)", text)
    if not m:
        raise argparse.ArgumentTypeError("'%s' is no SLICE,ROW" % text)
    return int(m[1]), int(m[2])


def main():
    p = argparse.ArgumentParser(prog="kmf.py", description="Verify a container (kmf.5) and show what is in it.")
    one = p.add_mutually_exclusive_group()
    one.add_argument("--json", action="store_true", help="JSON lines, the summary last")
    one.add_argument("--digest", action="store_true", help="the file's identity")
    one.add_argument("--dump", metavar="NAME", help="values of an entry as npy; with SLICE,ROW one row as text")
    one.add_argument("--extract", metavar="NAME", help="bytes of an entry as stored")
    p.add_argument("place", metavar="SLICE,ROW", nargs="?", type=place_of, help="with --dump: one row")
    p.add_argument("file", metavar="FILE", help="a container; - is standard input")
    args = p.parse_args()
    if args.place and not args.dump:
        p.error("SLICE,ROW goes with --dump")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with sys.stdin.buffer if args.file == "-" else open(args.file, "rb") as stream:
            run(args, stream)
        sys.stdout.flush()
    except Bad as e:
        sys.stdout.flush()
        print("kmf.py: '%s': %s" % (args.file, e), file=sys.stderr)
        return e.status
    except OSError as e:
        print("kmf.py: '%s': %s" % (args.file, os.strerror(e.errno) if e.errno else e), file=sys.stderr)
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main())
