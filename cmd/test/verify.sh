#!/bin/sh
# verify.sh: kconvert and kquant --verify: what is right passes, whatever the types; an output that is not what the source says is named and
# removed.
. "$(dirname "$0")/lib.sh"
data=${K_TESTDATA:-testdata}

for m in kimi-k2-tiny-int4 kimi-k2-tiny-fp8 kimi-linear-tiny llama-tiny moonlight-tiny; do
	check "$m" kconvert --verify "$data/tiny/$m" -o "$T/x.kmf"
	check "$m as one safetensors file" kconvert --verify --to safetensors "$data/tiny/$m" -o "$T/x.safetensors"
	check "$m expanded" kconvert --verify --dequant --dtype f16 "$data/tiny/$m" -o "$T/x.kmf"
done
for o in '-t i4g32' '-t mxfp4' '-t fp8b128' '-t i8row' '--preset small' '--preset fp8' '-t i4g32 --scale mse'; do
	check "kquant $o" kquant --verify $o "$data/nano" -o "$T/x.kmf"
done
kquant --preset small "$data/nano" -o "$T/small.kmf"
check 'the smallest as a folder' kconvert --verify --to hf "$T/small.kmf" -o "$T/small"
for f in "$data"/golden/gguf/*.gguf "$data"/tiny/llama-tiny-gguf/*.gguf; do
	test ! -f "$f" || check "${f##*/}" kconvert --verify "$f" -o "$T/x.kmf"
done
# Groups that are smaller than the smallest scale of their type, or larger than the largest of GGUF's: small values may become 0.
cp -rL "$data/tiny/kimi-linear-groups-tiny" "$T/planted"
chmod -R u+w "$T/planted"
cat > "$T/groups.py" <<'PY'
import json, struct, sys
path, *sizes = sys.argv[1:]
b = bytearray(open(path, 'rb').read())
n, = struct.unpack('<Q', b[:8])
at = 8 + n + json.loads(b[8:8 + n])['model.layers.1.block_sparse_moe.experts.0.w1.weight']['data_offsets'][0]
for i, size in enumerate(sizes):
    b[at + 64 * i:at + 64 * i + 64] = b''.join(struct.pack('<f', float(size) * (1 - 2 * (k % 5 == 0)))[2:] for k in range(32))
open(path, 'wb').write(b)
PY
check "groups are planted" python3 "$T/groups.py" "$T/planted/model.safetensors" 3.8e-6 5e-6 7e-5 1e-7 1e-9 1e-20 1e-38 1e-40
for o in i4g32 'i4g32 --scale amax7.5' 'i4g32 --scale mse' mxfp4 i8row fp8b128 q4_0 q4_1 q5_0 q5_1 q8_0; do
	check "small groups: $o" kquant -q --verify -t $o "$T/planted" -o "$T/small.kmf"
	check "small groups: $o is whole" kls -q --verify "$T/small.kmf"
	case $o in i4g32*|i8row) check "small groups: $o as GGUF" kconvert -q --to gguf --lossy --verify "$T/small.kmf" -o "$T/x.gguf" ;; esac
done
check "groups are planted" python3 "$T/groups.py" "$T/planted/model.safetensors" 1e6 1e9 1e20 1e37
for o in i4g32 'i4g32 --scale amax7.5'; do
	kquant -q -t $o "$T/planted" -o "$T/large.kmf"
	check "large groups: $o as GGUF" kconvert -q --to gguf --lossy --verify "$T/large.kmf" -o "$T/x.gguf"
done
# Other spellings of shapes that are the same elements, as checkpoints have them.
cat > "$T/shapes.py" <<'PY'
import json, struct, sys
path, end, *dims = sys.argv[1:]
b = open(path, 'rb').read()
n, = struct.unpack('<Q', b[:8])
head, found = json.loads(b[8:8 + n]), 0
for k, v in head.items():
    if k.endswith(end):
        v['shape'], found = [int(d) for d in dims], found + 1
assert found, end
j = json.dumps(head).encode()
j += b' ' * (-len(j) % 8)
open(path, 'wb').write(struct.pack('<Q', len(j)) + j + b[8 + n:])
PY
# spelt NAME DIM...
spelt() {
	rm -rf "$T/spelt"
	cp -rL "$data/tiny/kimi-linear-groups-tiny" "$T/spelt"
	chmod -R u+w "$T/spelt"
	check "$*: spelt" python3 "$T/shapes.py" "$T/spelt/model.safetensors" "$@"
	check "$*: read" kls --verify "$T/spelt"
	for f in kmf gguf safetensors; do
		check "$*: $f" kconvert -q --verify --to $f "$T/spelt" -o "$T/x.$f"
	done
	check "$*: from a GGUF" kconvert -q --verify "$T/x.gguf" -o "$T/x.kmf"
	check "$*: quantised" kquant -q --verify "$T/spelt" -o "$T/x.kmf"
}
spelt A_log 3
spelt _conv1d.weight 48 4
spelt dt_bias 3 16
exits 'a pipe cannot be read again' 2 sh -c "kconvert '$data/nano' | kconvert --verify - -o '$T/y.kmf'"
exits 'nor can standard output' 2 sh -c "kconvert --verify '$data/nano' > '$T/y'"
finish
