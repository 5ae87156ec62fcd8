#!/bin/sh
# gguf.sh: GGUF both ways. Files that numpy and gguf-py make of the tiny models (gguf_make.py) are read as the models they were: values,
# ids, golden logits; and those that kconvert makes are the same files, tensor by tensor and key by key.
. "$(dirname "$0")/lib.sh"
data=${K_TESTDATA:-testdata}
here=$(dirname "$0")
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
python=${K_PYTHON:-python3}
if ! "$python" -c 'import gguf, numpy' 2> /dev/null; then skip gguf 'no gguf package for python3'; finish; fi

# Entries whose values differ: none but A_log, which comes back through a logarithm and is near.
values() {
	kls --diff --json "$1" "$2" > "$T/diff"
	"$python" - "$T/diff" <<'PY'
import json, sys
for row in map(json.loads, open(sys.argv[1])):
    name = row['name']
    if 'u8' in (row['type_a'], row['type_b']) or row['differs'] == 'types' and row['values'] == 0:
        continue
    assert name.endswith('A_log') and row['rel_rms'] < 1e-6, row
PY
}

models="kimi-linear-tiny kimi-linear-groups-tiny kimi-k2-tiny kimi-k2-tiny-fp8 kimi-k2-tiny-int4 moonlight-tiny"
for tiny in $models; do
	model=$data/tiny/$tiny file=$T/$tiny.gguf
	check "$tiny is made" "$python" "$here/gguf_make.py" "$model" "$file"
	check "$tiny is read" kls --verify "$file"
	# FP8 became bf16, which is another value.
	test "$tiny" = kimi-k2-tiny-fp8 || check "$tiny has the values of the folder" values "$model" "$file"
	test "$tiny" = kimi-k2-tiny-fp8 || check "$tiny gives the golden logits" keval parity -f "$data/golden/$tiny" -m "$file"
	if [ -f "$model/tiktoken.model" ]; then
		kls --tokens "$data/texts/sqlite-whentouse.txt" --whole "$model" > "$T/ids"
		kls --tokens "$data/texts/sqlite-whentouse.txt" --whole "$file" > "$T/ids2"
		same "$tiny: ids of a text" "$T/ids" "$T/ids2"
		for m in "$model" "$file"; do
			printf 'a<|im_end|>b <|tool_call_begin|>\n' | kls --tokens - --specials "$m"
		done > "$T/two"
		if [ "$(sort -u "$T/two" | wc -l)" -eq 1 ]; then ok "$tiny: ids of specials"; else fail "$tiny: ids of specials" "$(cat "$T/two")"; fi
	fi
done

# --- writing ----------------------------------------------------------------------------------------------------------------------

# made MODEL NAME: ours against theirs; from a container in a pipe too
made() {
	check "$2 is written" kconvert "$1" --to gguf -o "$T/ours.gguf"
	check "$2 is what gguf-py makes" "$python" "$here/gguf_make.py" --same "$T/ours.gguf" "$T/$2.gguf" general.file_type \
		general.quantization_version tokenizer.ggml.merges
	kconvert "$1" 2> /dev/null | kconvert - --to gguf 2> /dev/null > "$T/piped.gguf"
	same "$2 is the same from a pipe" "$T/ours.gguf" "$T/piped.gguf"
}
for tiny in $models kimi-linear-tiny-int4; do
	"$python" "$here/gguf_make.py" "$data/tiny/$tiny" "$T/$tiny.gguf"
	made "$data/tiny/$tiny" "$tiny"
done
check 'nano is made' "$python" "$here/gguf_make.py" "$data/nano" "$T/nano.gguf"
made "$data/nano" nano
check 'nano: a container of the file' kconvert "$T/ours.gguf" -o "$T/again.kmf"
check 'nano: it is a GGUF again' kconvert "$T/again.kmf" --to gguf -o "$T/again.gguf"
same 'nano: the same GGUF' "$T/ours.gguf" "$T/again.gguf"
check 'nano in files of 3 MB' kconvert "$data/nano" --to gguf --shard-size 3MB -o "$T/parts.gguf"
set -- "$T"/parts-0*-of-*.gguf
check 'nano in files: read' kls --verify "$1"
exits 'nano in files: the same values' 0 kls --diff "$1" "$T/ours.gguf"
kquant "$data/nano" 2> /dev/null > "$T/int4.kmf"
check 'nano in INT4 is written' kconvert "$T/int4.kmf" --to gguf -o "$T/int4.gguf"
check 'nano in INT4 has the values of the container' values "$T/int4.kmf" "$T/int4.gguf"
kquant -t mxfp4 "$data/nano" 2> /dev/null > "$T/mxfp4.kmf"
check 'nano in MXFP4 is written' kconvert "$T/mxfp4.kmf" --to gguf -o "$T/mxfp4.gguf"
check 'nano in MXFP4 has the values of the container' values "$T/mxfp4.kmf" "$T/mxfp4.gguf"

# What came from a GGUF goes back into one bit for bit.
for file in "$data"/tiny/llama-tiny-gguf/*.gguf; do
	kconvert "$file" -o "$T/llama.kmf"
	check "$(basename "$file"): written" kconvert "$T/llama.kmf" --to gguf -o "$T/llama.gguf"
	check "$(basename "$file"): the same tensors" "$python" - "$T/llama.gguf" "$file" <<'PY'
import sys, gguf
a, b = ({t.name: (t.tensor_type, list(t.shape), t.data.tobytes()) for t in gguf.GGUFReader(f).tensors} for f in sys.argv[1:])
assert a == b
a, b = (gguf.GGUFReader(f).fields for f in sys.argv[1:])
for key in b:
    if not key.startswith('GGUF.') and key != 'general.file_type':
        assert key in a and a[key].contents() == b[key].contents(), key
PY
done

# A scale that f16 does not hold is refused, by name, before anything has the final name; --lossy takes the nearest.
planted() {
	cp -r "$data/tiny/kimi-k2-tiny-int4" "$T/planted"
	"$python" - "$T/planted" "$1" <<'PY'
import json, pathlib, struct, sys
import numpy as np
for f in sorted(pathlib.Path(sys.argv[1]).glob('*.safetensors')):
    data = bytearray(f.read_bytes())
    n, = struct.unpack('<Q', data[:8])
    names = sorted(k for k in json.loads(data[8:8 + n]) if k.endswith('.experts.3.up_proj.weight_scale'))
    if names:
        at = 8 + n + json.loads(data[8:8 + n])[names[0]]['data_offsets'][0] + 2 * 6
        data[at:at + 2] = struct.pack('<H', int(np.array([float(sys.argv[2])], np.float32).view(np.uint32)[0] >> 16))
        f.write_bytes(data)
        break
PY
	exits "scale $1 is refused" 1 kconvert "$T/planted" --to gguf -o "$T/planted.gguf"
	if grep -q 'experts.3.up_proj.weight: .* row 1, column [3-6][0-9] (group 1)' "$T/.err"; then ok "scale $1 is named"; else fail "scale $1 is named" "$(tail -n 1 "$T/.err")"; fi
	if [ ! -e "$T/planted.gguf" ]; then ok "scale $1: no file"; else fail "scale $1: no file" 'there is one'; fi
	check "scale $1 with --lossy" kconvert "$T/planted" --to gguf --lossy -o "$T/planted.gguf"
	check "scale $1 with --lossy is read" kls --verify "$T/planted.gguf"
	rm -rf "$T/planted" "$T/planted.gguf"
}
planted 7.5996e-6
planted 70144
exits 'what is no model' 4 kconvert "$data/bad/safetensors/ok_two.safetensors" --to gguf -o "$T/none.gguf"

# --- names ------------------------------------------------------------------------------------------------------------------------

cat > "$T/dump.py" <<'PY'
import subprocess, sys, gguf, numpy as np
for t in gguf.GGUFReader(sys.argv[1]).tensors:
    subprocess.run(['kls', '--dump', t.name, '-o', sys.argv[2], sys.argv[1]], check=True)
    have, want = np.load(sys.argv[2]), gguf.dequantize(t.data, t.tensor_type).astype(np.float32)
    # Of MXFP4 the sign of a zero is free.
    assert np.array_equal(have.ravel(), want.ravel()), t.name
PY
mv "$T/mxfp4.gguf" "$T/nano-mxfp4.gguf"
for tiny in kimi-linear-groups-tiny kimi-k2-tiny-int4 nano-mxfp4; do
	check "$tiny: each tensor under its own name" "$python" "$T/dump.py" "$T/$tiny.gguf" "$T/one.npy"
done
finish
