#!/bin/sh
# gguf.sh: GGUF files that numpy and gguf-py make of the tiny models (gguf_make.py) are read as the models they were: values, ids,
# golden logits.
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
    if name.endswith('_config.json') or name == 'chat_template.jinja' or row['differs'] == 'types' and row['values'] == 0:
        continue
    assert name.endswith('A_log') and row['rel_rms'] < 1e-6, row
PY
}

for tiny in kimi-linear-tiny kimi-linear-groups-tiny kimi-k2-tiny kimi-k2-tiny-fp8 kimi-k2-tiny-int4 moonlight-tiny; do
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

cat > "$T/dump.py" <<'PY'
import subprocess, sys, gguf, numpy as np
for t in gguf.GGUFReader(sys.argv[1]).tensors:
    subprocess.run(['kls', '--dump', t.name, '-o', sys.argv[2], sys.argv[1]], check=True)
    have, want = np.load(sys.argv[2]), gguf.dequantize(t.data, t.tensor_type).astype(np.float32)
    assert have.ravel().tobytes() == want.ravel().tobytes(), t.name
PY
for tiny in kimi-linear-groups-tiny kimi-k2-tiny-int4; do
	check "$tiny: each tensor under its own name" "$python" "$T/dump.py" "$T/$tiny.gguf" "$T/one.npy"
done
finish
