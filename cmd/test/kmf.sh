#!/bin/sh
# kmf.sh: the container has two readers, libcore/kmf_*.c and scripts/kmf.py, each written from formats/kmf.5. Both take what the page
# allows, refuse what it forbids and what is damaged, and agree on every value. kmf_make.py makes the containers that no tool writes.
. "$(dirname "$0")/lib.sh"
data=${K_TESTDATA:-testdata}
make=$(dirname "$0")/kmf_make.py
kmf=scripts/kmf.py
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
if ! command -v python3 > /dev/null; then skip kmf 'no python3'; finish; fi

if command -v mandoc > /dev/null; then check 'the page is mdoc' mandoc -Tlint -Wwarning formats/kmf.5; else skip 'the page is mdoc' 'no mandoc'; fi
check 'containers are made' python3 "$make" "$T"

# The page's example, typed off: lines of zeros are left out there.
python3 - formats/kmf.5 > "$T/typed" << 'END'
import re, sys
rows = re.findall(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} ){1,16})", open(sys.argv[1]).read(), re.M)
out = bytearray()
for at, text in rows:
    out += bytes(int(at, 16) - len(out)) + bytes.fromhex(text)
sys.stdout.buffer.write(out)
END
same 'the example of the page' "$T/typed" "$T/good/page.kmf"

# piped FILE COMMAND...: the command with FILE on a pipe
piped() { from=$1; shift; cat "$from" | "$@"; }
# takes NAME FILE: both readers, as a file and from a pipe; both ways have one identity
takes() {
	exits "kmf.py takes $1" 0 python3 "$kmf" --digest "$2"
	cp "$T/.out" "$T/identity"
	exits "kmf.py takes $1 from a pipe" 0 piped "$2" python3 "$kmf" --digest -
	same "identity of $1" "$T/.out" "$T/identity"
	exits "kls takes $1" 0 "$BIN/kls" --verify "$2"
	exits "kls takes $1 from a pipe" 0 piped "$2" "$BIN/kls" --verify -
}
# refused NAME TOOL COMMAND...: ends with 3 (damaged) or 4 (unknown here) and a sentence
refused() {
	name=$1 tool=$2; shift 2
	"$@" > "$T/.out" 2> "$T/.err"
	got=$?
	if [ $got -ne 3 ] && [ $got -ne 4 ]; then fail "$name" "exit $got, wanted 3 or 4: $(tail -n 1 "$T/.err")"
	elif tail -n 1 "$T/.err" | grep -q "^$tool: "; then ok "$name"
	else fail "$name" "no sentence: $(tail -n 1 "$T/.err")"; fi
}
refuses() {
	refused "kls refuses $1" kls "$BIN/kls" --verify "$2"
	refused "kls refuses $1 from a pipe" kls piped "$2" "$BIN/kls" --verify -
}
# none_sound NAME FOLDER: kmf.py as a module, which is quicker than a process a file, refuses all containers of the folder
none_sound() {
	check "$1" python3 - "$2" << 'END'
import glob, sys
sys.path.insert(0, "scripts")
import kmf
def sound(path):
    with open(path, "rb") as f:
        try:
            kmf.Container(f).walk()
            return True
        except kmf.Bad:
            return False
files = glob.glob(sys.argv[1] + "/*.kmf")
assert len(files) > 50, len(files)
taken = [f for f in files if sound(f)]
assert not taken, "it takes %s" % taken
END
}
# dumps NAME FILE LIMIT: of each type, layout and role the first entry of at most LIMIT bytes has the same values and bytes in both readers
dumps() {
	python3 "$kmf" --json "$2" > "$T/list"
	python3 - "$T/list" "$3" > "$T/names" << 'END'
import json, sys
seen = set()
for e in map(json.loads, open(sys.argv[1])):
    kind = "summary" not in e and (e["type"], e["layout"], e["role"])
    if kind and kind not in seen and e["bytes"] <= int(sys.argv[2]):
        seen.add(kind)
        print("carried" if e["type"] in "f8_e4m3fnuz f8_e5m2fnuz bool u8 i8 u16 i16 u32 i32 u64 i64 c64".split() else "values", e["name"])
        if "*" in e["name"]:
            print("values", e["name"].replace("*", str(e["shape"][0] - 1)))
END
	while read -r kind entry; do
		exits "$1: kls --dump --raw $entry" 0 "$BIN/kls" --dump "$entry" --raw -o "$T/a" "$2"
		python3 "$kmf" --extract "$entry" "$2" > "$T/b"
		same "$1: bytes of $entry" "$T/a" "$T/b"
		[ "$kind" = values ] || continue
		exits "$1: kls --dump $entry" 0 "$BIN/kls" --dump "$entry" -o "$T/a" "$2"
		python3 "$kmf" --dump "$entry" "$2" > "$T/b"
		same "$1: values of $entry" "$T/a" "$T/b"
	done < "$T/names"
}

# --- containers that no tool writes ---
for f in "$T"/good/*.kmf; do n=${f##*/}; takes "${n%.kmf}" "$f"; done
none_sound 'kmf.py refuses what the page forbids' "$T/bad"
for f in "$T"/bad/*.kmf; do n=${f##*/}; refuses "${n%.kmf}" "$f"; done
dumps 'every type' "$T/good/types.kmf" 1000000
for n in x.1.fp8 x.1.x16 x.0.i8row x.0.i8row_long x.2.u8 x.1.u8_long; do
	exits "leaves: kls --dump --raw $n" 0 "$BIN/kls" --dump "$n" --raw -o "$T/a" "$T/good/stacks.kmf"
	python3 "$kmf" --extract "$n" "$T/good/stacks.kmf" > "$T/b"
	same "leaves: bytes of $n" "$T/a" "$T/b"
done
exits 'kls: another layout is a difference' 1 "$BIN/kls" --diff "$T/good/mx_rows.kmf" "$T/good/mx_x16.kmf"
"$BIN/kls" --diff "$T/good/mx_rows.kmf" "$T/good/mx_x16.kmf" > "$T/said" 2> /dev/null
check 'kls: in the layout, not in a value' grep -q '"differs": "layouts", .*"values": 0' "$T/said"
for n in version version1 flags flags_high; do
	exits "kmf.py: $n is unknown" 4 python3 "$kmf" "$T/bad/$n.kmf"
	exits "kls: $n is unknown" 4 "$BIN/kls" --verify "$T/bad/$n.kmf"
done
"$BIN/kls" --verify "$T/bad/version1.kmf" 2> "$T/said"
check 'kls: version 1 has a way out' grep -q 'convert the source again' "$T/said"

# --- containers of the tools ---
convert() { out=$T/$1.kmf; shift; exits "${out##*/}" 0 "$@" -o "$out"; }
convert nano kconvert "$data/nano"
convert i4 kquant -t i4g32 --rule shared=mxfp4 --rule head=fp8b128 --rule embed=i8row "$data/nano"
convert int4 kconvert "$data/tiny/kimi-k2-tiny-int4"
convert fp8 kconvert "$data/tiny/kimi-k2-tiny-fp8"
convert q4_0 kconvert "$data/tiny/llama-tiny-gguf/llama-tiny-Q4_0.gguf"
for f in nano i4 int4 fp8 q4_0; do
	takes $f "$T/$f.kmf"
	dumps $f "$T/$f.kmf" 300000
done
python3 "$kmf" --extract config.json "$T/nano.kmf" > "$T/a"
same 'the config is as it was' "$T/a" "$data/nano/config.json"
python3 "$kmf" --extract tiktoken.model "$T/nano.kmf" > "$T/a"
same 'a side file is as it was' "$T/a" "$data/nano/tiktoken.model"

# Every weight that is one tensor has the checkpoint's bytes.
check 'weights are as they were' python3 - "$T/nano.kmf" "$data/nano" << 'END'
import glob, hashlib, json, struct, sys
sys.path.insert(0, "scripts")
import kmf
digest = {}
for path in glob.glob(sys.argv[2] + "/*.safetensors"):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
        for name, t in head.items():
            if name != "__metadata__":
                f.seek(8 + n + t["data_offsets"][0])
                digest[name] = hashlib.sha256(f.read(t["data_offsets"][1] - t["data_offsets"][0])).hexdigest()
seen = {}
with open(sys.argv[1], "rb") as f:
    kmf.Container(f).walk(lambda e: seen.setdefault(e.name, hashlib.sha256()).update if e.name in digest else None)
assert len(seen) > 10, len(seen)
for name in seen:
    assert seen[name].hexdigest() == digest[name], name
END

# --- damage ---
check 'damage is done' python3 "$make" --damage "$T/int4.kmf" "$T/damage"
none_sound 'kmf.py sees damage' "$T/damage"
for f in "$T"/damage/*.kmf; do n=${f##*/}; refuses "${n%.kmf}" "$f"; rm -f "$f"; done
check 'every byte and every length' python3 - "$T/good/page.kmf" "$T/good/few.kmf" << 'END'
import io, sys
sys.path.insert(0, "scripts")
import kmf
def sound(b):
    try:
        kmf.Container(io.BytesIO(b)).walk()
        return True
    except kmf.Bad:
        return False
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    assert sound(data)
    for i in range(len(data)):
        assert not sound(data[:i]), "%s cut at %d" % (path, i)
        assert not sound(data[:i] + bytes((data[i] ^ 1 << i % 8,)) + data[i + 1:]), "%s: byte %d" % (path, i)
END

# Damage has a place: a byte of a slice that changes, and the first row of the leaf in which it is, counted by hand.
check 'the wrong leaf is named' python3 - "$T/good" << 'END'
import io, sys
sys.path.insert(0, "scripts")
import kmf
LEAF = 2097152
for file, cases in (("stacks", (
        ("x.*.fp8", 0, 0, "slice 0, row 0"), ("x.*.fp8", 1, 2 * 768188 - 1, "slice 1, row 0"),
        ("x.*.fp8", 1, 2 * 768188, "slice 1, row 256"), ("x.*.x16", 1, 2 * 1179648 + 5, "slice 1, row 32"),
        ("x.*.i8row", 0, 2 * 700004 - 1, "slice 0, row 0"), ("x.*.i8row", 1, 4 * 700004, "slice 1, row 4"),
        ("x.*.i8row_long", 0, LEAF + 100, "slice 0, row 1"), ("x.*.u8", 2, 7, "slice 2, row 0"),
        ("x.*.u8_long", 1, LEAF, "slice 1, row 0, byte 2097152 of the row"), ("x.*.one", 0, 3, None))), ("matrices", (
        ("one", 0, LEAF - 1, None), ("more", 0, LEAF, "slice 0, row 32768"), ("slices", 1, 0, "slice 0, row 0"),
        ("slices", 2, 0, "slice 2, row 0"), ("slices.i8row", 2, 8, "slice 2, row 0"), ("row", 0, LEAF, "slice 0, row 1"),
        ("row_more", 0, 2 * LEAF + 1000, "slice 0, row 1, byte 2097152 of the row"), ("fp8", 0, 1, None)))):
    with open("%s/%s.kmf" % (sys.argv[1], file), "rb") as f:
        data = bytearray(f.read())
    c = kmf.Container(io.BytesIO(data))
    for name, s, at, place in cases:
        e = next(e for e in c.entries if e.name == name)
        at += c.data + e.offset + s * e.slice_bytes
        data[at] ^= 16
        try:
            kmf.Container(io.BytesIO(data)).walk()
            said = "nothing"
        except kmf.Bad as bad:
            said = str(bad)
        data[at] ^= 16
        want = name + " does not have its digest" + (": the first wrong leaf begins at " + place if place else "")
        assert said == want, "%s, wanted %s" % (said, want)
END
check 'a leaf is damaged' python3 - "$T/good/stacks.kmf" "$T/leaf.kmf" << 'END'
import sys
sys.path.insert(0, "scripts")
import kmf
with open(sys.argv[1], "rb") as f:
    c = kmf.Container(f)
    f.seek(0)
    data = bytearray(f.read())
data[c.data + c.entries[0].offset + c.entries[0].slice_bytes + 2 * 768188] ^= 1
with open(sys.argv[2], "wb") as f:
    f.write(data)
END
refuses 'a wrong leaf' "$T/leaf.kmf"
"$BIN/kls" --verify "$T/leaf.kmf" 2> "$T/said"
check 'kls names the wrong leaf' grep -q 'fp8.*256' "$T/said"

refused 'kmf.py has a sentence' kmf.py python3 "$kmf" "$T/bad/gap.kmf"
exits 'kmf.py: no file' 5 python3 "$kmf" "$T/none.kmf"
exits 'kmf.py: no such entry' 3 python3 "$kmf" --dump none "$T/good/page.kmf"
exits 'kmf.py: no values' 3 python3 "$kmf" --dump x/u8 "$T/good/types.kmf"
exits 'kmf.py: no such row' 3 python3 "$kmf" --dump x 0,1 "$T/good/page.kmf"
exits 'kmf.py: one row' 0 python3 "$kmf" --dump x 0,0 "$T/good/page.kmf"
if [ "$(cat "$T/.out")" = '1 -2' ]; then ok 'kmf.py: values'; else fail 'kmf.py: values' "$(cat "$T/.out")"; fi
finish
