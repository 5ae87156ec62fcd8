#!/bin/sh
# gguf.sh: GGUF both ways. Files that numpy and gguf-py make of the tiny models (gguf_make.py) are read as the models they were: values,
# ids, golden logits; and those that kconvert makes are the same files, tensor by tensor and key by key.
. "$(dirname "$0")/lib.sh"
data=${K_TESTDATA:-testdata}
here=$(dirname "$0")
python=${K_PYTHON:-python3}
if ! "$python" -c 'import gguf, numpy' 2> /dev/null; then skip gguf 'no gguf package for python3'; finish; fi

# Entries whose values differ: none but A_log, which comes back through a logarithm and is near.
values() {
	kls --diff --json "$1" "$2" > "$T/diff"
	"$python" - "$T/diff" <<'PY'
import json, sys
for row in map(json.loads, open(sys.argv[1])):
    name = row['name']
    if 'u8' in (row['type_a'], row['type_b']) or row['differs'] in ('types', 'layouts') and row['values'] == 0:
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
check 'nano in files: 3 MB of tensors in each' "$python" -c 'import gguf, sys; n = [sum(t.n_bytes for t in gguf.GGUFReader(f).tensors) for f in sys.argv[1:]]; assert all(0 < k <= 3000000 for k in n), n' "$@"
exits 'nano in files: the same values' 0 kls --diff "$1" "$T/ours.gguf"
# In a folder or an archive, in which they lie in any order; from a pipe in memory, or spooled.
mkdir "$T/parts" && cp "$@" "$T/parts" && echo a model > "$T/parts/README.md" && kconvert -q "$1" -o "$T/parts.kmf"
(cd "$T/parts" && tar cf ../turned.tar $(ls -r) && tar czf ../parts.tgz .)
for in in parts turned.tar parts.tgz; do check "nano in files: $in" kconvert "$T/$in" -o "$T/packed.kmf"; same "nano in files: $in" "$T/parts.kmf" "$T/packed.kmf"; done
check 'nano in files: from a pipe' sh -c "cat '$T/turned.tar' | kconvert - -o '$T/packed.kmf'"; same 'nano in files: from a pipe' "$T/parts.kmf" "$T/packed.kmf"
check 'nano in files: spooled' sh -c "cat '$T/turned.tar' | kls --max-memory 4M --spool '$T' -"
rm "$T/parts/$(basename "$2")" && tar cf "$T/gap.tar" -C "$T/parts" .
for in in parts gap.tar; do exits "nano in files: $in has a gap" 3 kconvert "$T/$in" -o "$T/x.kmf"; grep -q "$(basename "$2") is missing" "$T/.err" || fail "$in has a gap" "$(cat "$T/.err")"; done
cp "$1" "$T/parts/other${1##*/parts}"; exits 'nano in files: two models' 3 kconvert "$T/parts" -o "$T/x.kmf"
rm -rf "$T/parts" "$T"/*.tar "$T/parts.tgz" "$T/packed.kmf"
kquant "$data/nano" 2> /dev/null > "$T/int4.kmf"
check 'nano in INT4 is written' kconvert "$T/int4.kmf" --to gguf -o "$T/int4.gguf"
check 'nano in INT4 has the values of the container' values "$T/int4.kmf" "$T/int4.gguf"
kquant -t mxfp4 "$data/nano" 2> /dev/null > "$T/mxfp4.kmf"
check 'nano in MXFP4 is written' kconvert "$T/mxfp4.kmf" --to gguf -o "$T/mxfp4.gguf"
check 'nano in MXFP4 has the values of the container' values "$T/mxfp4.kmf" "$T/mxfp4.gguf"
# Its codes and scales go on as they are into a checkpoint's planes: those that the container's make, and back.
kconvert -q "$T/mxfp4.kmf" --to hf -o "$T/mxfp4.hf1"
check 'nano in MXFP4: a checkpoint of the GGUF' kconvert "$T/mxfp4.gguf" --to hf --verify --require-lossless -o "$T/mxfp4.hf2"
check 'nano in MXFP4: the codes and scales of the container' "$python" - "$T/mxfp4.hf1" "$T/mxfp4.hf2" <<'PY'
import sys
from hf_read import tensors
a, b = ({k: v for k, v in tensors(folder).items() if k.endswith(('.weight_packed', '.weight_scale'))} for folder in sys.argv[1:])
assert len(a) > 100 and a == b, (len(a), len(b), [k for k in a if a[k] != b.get(k)][:3])
PY
kconvert -q "$T/mxfp4.hf2" --to gguf -o "$T/mxfp4.again.gguf"
exits 'nano in MXFP4: the same values again' 0 kls --diff "$T/mxfp4.again.gguf" "$T/mxfp4.gguf"
check 'nano in MXFP4: one file of the GGUF' kconvert "$T/mxfp4.gguf" --to safetensors --verify -o "$T/mxfp4.safetensors"
rm -rf "$T"/mxfp4.hf? "$T/mxfp4.again.gguf" "$T/mxfp4.safetensors"

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

# --- Llama 3's scaling: a table of factors, which the config has as numbers ----------------------------------------------------------

# scaled FACTOR LOW HIGH ORIGINAL OUT: the tiny Llama with such a scaling, which changes what it computes
scaled() {
	cp -r "$data/tiny/llama-tiny" "$5"
	"$python" - "$@" <<'PY'
import json, pathlib, sys
path = pathlib.Path(sys.argv[5]) / 'config.json'
factor, low, high, original = map(float, sys.argv[1:5])
scaling = {'rope_type': 'llama3', 'factor': factor, 'low_freq_factor': low, 'high_freq_factor': high, 'original_max_position_embeddings': int(original)}
path.write_text(json.dumps(json.loads(path.read_text()) | {'rope_scaling': scaling}))
PY
}
# theirs IN OUT FACTOR LOW HIGH ORIGINAL [linear|short]: the file with a table made in f32, as other converters do, and none of our keys;
# with a linear scaling besides, or with a factor too few
cat > "$T/theirs.py" <<'PY'
import sys, gguf, numpy as np
src, dst = sys.argv[1:3]
factor, low, high, original = map(float, sys.argv[3:7])
r = gguf.GGUFReader(src)
field = lambda key: r.fields[key].contents()
w = gguf.GGUFWriter(dst, field('general.architecture'))
for key, f in r.fields.items():
    if not key.startswith(('GGUF.', 'llama.rope.llama3')) and key != 'general.architecture':
        w.add_key_value(key, f.contents(), f.types[0], f.types[-1] if len(f.types) > 1 else None)
if 'linear' in sys.argv[7:]:
    w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    w.add_rope_scaling_factor(2.0)
dim, base = field('llama.rope.dimension_count'), np.float32(field('llama.rope.freq_base'))
freqs = np.float32(1) / base ** (np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim))
table = []
for f in freqs:
    wave = 2 * np.pi / float(f)
    s = (original / wave - low) / (high - low)
    table.append(1 if wave < original / high else factor if wave > original / low else 1 / ((1 - s) / factor + s))
table = table[1:] if 'short' in sys.argv[7:] else table
w.add_tensor('rope_freqs.weight', np.array(table, np.float32))
for t in r.tensors:
    if t.name != 'rope_freqs.weight':
        plain = t.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
        w.add_tensor(t.name, t.data, raw_dtype=None if plain else t.tensor_type)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
PY
theirs() { "$python" "$T/theirs.py" "$@"; }
# Sequences and no golden numbers: two models compute the same, or not.
computes() { keval dump -m "$1" -f "$data/golden/llama-tiny/golden.json" -o "$2" 2> "$T/.err" || fail "$1 computes" "$(tail -n 1 "$T/.err")"; }
n=0
while read -r factor low high original; do
	n=$((n + 1))
	scaled "$factor" "$low" "$high" "$original" "$T/scaled$n"
	name="Llama 3's scaling by $factor"
	check "$name is written" kconvert "$T/scaled$n" --to gguf -o "$T/scaled$n.gguf"
	theirs "$T/scaled$n.gguf" "$T/theirs$n.gguf" "$factor" "$low" "$high" "$original"
	check "$name: the table, and every tensor under its own name" "$python" - "$T/scaled$n.gguf" "$T/theirs$n.gguf" "$T/one.npy" <<'PY'
import subprocess, sys, gguf, numpy as np
a, b = ({t.name: t.data for t in gguf.GGUFReader(f).tensors} for f in sys.argv[1:3])
assert a.keys() == b.keys() and np.allclose(a['rope_freqs.weight'], b['rope_freqs.weight'], rtol=1e-5, atol=0)
assert len(set(a['rope_freqs.weight'].tolist())) > 1, a['rope_freqs.weight']
subprocess.run(['kls', '--dump', 'rope_freqs.weight', '-o', sys.argv[3], sys.argv[1]], check=True)
assert np.array_equal(np.load(sys.argv[3]), a['rope_freqs.weight'])
PY
	kconvert "$T/scaled$n" 2> /dev/null | kconvert - --to gguf 2> /dev/null > "$T/piped.gguf"
	same "$name is the same from a pipe" "$T/scaled$n.gguf" "$T/piped.gguf"
	kconvert "$T/scaled$n.gguf" -o "$T/back.kmf" && kconvert "$T/back.kmf" --to gguf -o "$T/back.gguf"
	same "$name: there and back" "$T/scaled$n.gguf" "$T/back.gguf"
	computes "$T/scaled$n" "$T/1.safetensors" && computes "$T/back.kmf" "$T/2.safetensors"
	same "$name: the GGUF computes what the folder does" "$T/1.safetensors" "$T/2.safetensors"
	computes "$data/tiny/llama-tiny" "$T/2.safetensors"
	if cmp -s "$T/1.safetensors" "$T/2.safetensors"; then fail "$name changes something" 'the same numbers'; else ok "$name changes something"; fi
done <<'ROWS'
8 1 4 64
3.5 0.5 8.25 100
32 1 4 8192
ROWS
check "Llama 3.1's table is known in others' files" kls --head --json "$T/theirs3.gguf"
grep -q '"rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}' \
	"$T/.out" && ok "... as the numbers of the config" || fail "... as the numbers of the config" "$(cat "$T/.out")"
computes "$T/scaled3" "$T/1.safetensors" && computes "$T/theirs3.gguf" "$T/2.safetensors"
same "... and computes what they do" "$T/1.safetensors" "$T/2.safetensors"
exits 'another table, without our keys' 4 kls --verify "$T/theirs1.gguf"
theirs "$T/theirs3.gguf" "$T/wrong.gguf" 32 1 4 8192 linear
exits 'a table and a linear scaling' 4 kls --verify "$T/wrong.gguf"
theirs "$T/theirs3.gguf" "$T/wrong.gguf" 32 1 4 8192 short
exits 'a table of too few' 3 kls --verify "$T/wrong.gguf"
check 'in files of 100 KB' kconvert "$T/scaled3" --to gguf --shard-size 100KB -o "$T/shards.gguf"
set -- "$T"/shards-0*-of-*.gguf
exits 'in files of 100 KB: the same values' 0 kls --diff "$1" "$T/scaled3.gguf"

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
# --- Kimi-K3 -----------------------------------------------------------------------------------------------------------------------

k3=$data/tiny/k3-tiny
check 'k3-tiny is made' "$python" "$here/gguf_make.py" "$k3" "$T/k3-tiny.gguf"
check 'k3-tiny is read' kls --verify "$T/k3-tiny.gguf"
check 'k3-tiny gives the golden values' keval parity -f "$data/golden/k3-tiny" -m "$T/k3-tiny.gguf" --profile hf_remote
made "$k3" k3-tiny
check 'k3-tiny: each tensor under its own name' "$python" "$T/dump.py" "$T/k3-tiny.gguf" "$T/one.npy"
kconvert -q "$T/k3-tiny.gguf" -o "$T/k3.kmf" && kconvert -q "$T/k3.kmf" --to gguf -o "$T/again.gguf"; same 'k3-tiny: from a container of the file' "$T/ours.gguf" "$T/again.gguf"
for k in 2 3 1; do kconvert -q "$k3" --to gguf --part $k/3 -o "$T/again.gguf.p"; done
kconvert -q --seal "$T/again.gguf.p"; same 'k3-tiny: in parts' "$T/ours.gguf" "$T/again.gguf.p"
kconvert -q "$k3" --to gguf --verify --certificate "$T/k3.jsonl" -o "$T/again.gguf" && kconvert -q "$T/k3-tiny.gguf" --to hf -o "$T/k3.hf"
check 'k3-tiny: the residuals' "$python" - "$k3" "$T/k3.hf" "$T/k3.jsonl" "$T/ours.gguf" <<'PY'
import hashlib, json, pathlib, struct, sys, gguf, numpy as np
def raw(folder):
    out = {}
    for f in pathlib.Path(folder).glob('*.safetensors'):
        d = f.read_bytes()
        n, = struct.unpack('<Q', d[:8])
        out |= {k: (t['dtype'], d[8 + n:][slice(*t['data_offsets'])]) for k, t in json.loads(d[8:8 + n]).items() if k != '__metadata__'}
    return out
def values(t): return np.frombuffer(t[1], np.float32) if t[0] == 'F32' else (np.frombuffer(t[1], np.uint16).astype(np.uint32) << 16).view(np.float32)
was, back, lines = raw(sys.argv[1]), raw(sys.argv[2]), [json.loads(x) for x in open(sys.argv[3])]
stored = {t.name: t.data.tobytes() for t in gguf.GGUFReader(sys.argv[4]).tensors}
pairs = [k[:-12] for k in back if k.endswith('_res_norm.weight')]
assert len(pairs) == 27, pairs
for p in pairs:
    norm, query = (f'language_model.{p}_{x}.weight' for x in ('norm', 'proj'))
    assert (values(back[p + '_norm.weight']) == 1).all() and (values(back[p + '_proj.weight']) == values(was[norm]) * values(was[query])).all(), p
    line = next(x for x in lines if x.get('name') == query)
    assert line['derived'] == 'res_score = res_norm * res_proj' and [s['name'] for s in line['source']] == [query, norm], line
    assert [s['sha256'] for s in line['source']] == [hashlib.sha256(was[k][1]).hexdigest() for k in (query, norm)], line
    assert line['output'][0]['sha256'] == hashlib.sha256(stored[line['output'][0]['name']]).hexdigest(), line
    assert not any(x.get('name') == norm for x in lines), norm
assert json.loads((pathlib.Path(sys.argv[2]) / 'config.json').read_text()).items() >= {'model_type': 'kimi_k3', 'hidden_act': 'situ', 'activation_situ_beta': 4.0,
    'activation_situ_linear_beta': 25.0, 'attn_res_block_size': 5, 'mla_use_output_gate': True, 'latent_moe_use_norm': True, 'routed_expert_hidden_size': 32}.items()
PY
# A_log lies in other dimensions, with zeros behind the heads: {heads} all the same.
rm -rf "$T/k3.hf"; cp -rL "$k3" "$T/k3.hf" && chmod -R u+w "$T/k3.hf"
"$python" - "$T"/k3.hf/*.safetensors <<'PY'
import json, struct, sys
for f in sys.argv[1:]:
    d = open(f, 'rb').read()
    n, = struct.unpack('<Q', d[:8])
    head = json.loads(d[8:8 + n])
    for k, t in head.items():
        if k.endswith('.A_log'):
            assert t['shape'] == [16], t
            t['shape'] = [4, 2, 2]
    head = json.dumps(head).encode()
    open(f, 'wb').write(struct.pack('<Q', len(head) + -len(head) % 8) + head + b' ' * (-len(head) % 8) + d[8 + n:])
PY
check 'k3-tiny: A_log of another shape' kconvert "$T/k3.hf" --to gguf -o "$T/again.gguf"; same 'k3-tiny: A_log of another shape is the same file' "$T/ours.gguf" "$T/again.gguf"
# other OLD NEW STATUS SENTENCE: the file with the bytes of a key replaced by as many others
other() {
	"$python" - "$T/k3-tiny.gguf" "$T/other.gguf" "$1" "$2" <<'PY'
import ast, sys
old, new = (ast.literal_eval(f"b'{x}'") for x in sys.argv[3:])
d = open(sys.argv[1], 'rb').read()
assert len(old) == len(new) and d.count(old) == 1
open(sys.argv[2], 'wb').write(d.replace(old, new))
PY
	exits "k3-tiny: $4" "$3" kls --verify "$T/other.gguf"
	grep -q -- "$4" "$T/.err" || fail "k3-tiny: $4" "$(cat "$T/.err")"
}
other kimi-k3.attn_res.block_size kimi-k3.attn_res_block_size 4 'the key kimi-k3.attn_res_block_size is of a converter from before the form was settled'
other kimi-k3.attn_res.block_size kimi-k3.attn_res.block_seen 3 'key kimi-k3.attn_res.block_size is missing'
other 'situ_beta\x06\0\0\0\0\0\x80\x40' 'situ_beta\x06\0\0\0\0\0\0\0' 3 'activation.situ_beta is 0, wanted more than 0'
other blk.3.attn_gate.weight blk.3.attn_gone.weight 4 'blk.3.attn_gone.weight is no part of kimi_k3'
# 0 of SiTU's second cap is none.
"$python" - "$T/k3-tiny.gguf" "$T/other.gguf" <<'PY'
import sys
d = open(sys.argv[1], 'rb').read()
old = b'situ_linear_beta\6\0\0\0\0\0\xc8\x41'
assert d.count(old) == 1
open(sys.argv[2], 'wb').write(d.replace(old, old[:-4] + bytes(4)))
PY
kls --head "$T/other.gguf" > "$T/head"
if grep -q '"hidden_act": *"situ"' "$T/head" && ! grep -q activation_situ_linear_beta "$T/head"; then ok 'k3-tiny: no second cap'; else fail 'k3-tiny: no second cap' "$(cat "$T/head")"; fi
for lacks in '.text_config.hidden_act = "silu"' '.text_config.linear_attn_config.use_full_rank_gate = false'; do
	rm -rf "$T/k3.hf"; cp -rL "$k3" "$T/k3.hf" && chmod -R u+w "$T/k3.hf" && jq "$lacks" "$k3/config.json" > "$T/k3.hf/config.json"
	exits "k3-tiny: $lacks" 4 kconvert "$T/k3.hf" --to gguf -o "$T/x.gguf"
done

# --- rates of decay of any rank ---------------------------------------------------------------------------------------------------

# ssm_a has as many elements as there are heads, in whatever dimensions: writers differ, and some drop those of 1 (fastest first here).
cat > "$T/rank.py" <<'PY'
import struct, sys, gguf
source, target, *ne = sys.argv[1:]
r = gguf.GGUFReader(source)
data, last = open(source, 'rb').read(), r.tensors[-1].field
end = last.offset + sum(int(p.nbytes) for p in last.parts)
out, at = b'', 0
for f in sorted((t.field for t in r.tensors if t.name.endswith('.ssm_a')), key=lambda f: f.offset):
    name = 8 + struct.unpack_from('<Q', data, f.offset)[0]
    n, = struct.unpack_from('<I', data, f.offset + name)
    out += data[at:f.offset + name] + struct.pack(f'<I{len(ne)}Q', len(ne), *map(int, ne))
    at = f.offset + name + 4 + 8 * n
assert at, 'no ssm_a'
out += data[at:end]
open(target, 'wb').write(out + bytes(-len(out) % 32) + data[r.data_offset:])
PY
for ne in 3 '3 1' '1 3' '3 1 1' '1 1 3' '3 1 1 1' '1 1 3 1' '1 1 1 3'; do
	check "ssm_a {$ne} is made" "$python" "$T/rank.py" "$T/kimi-linear-groups-tiny.gguf" "$T/rank.gguf" $ne
	check "ssm_a {$ne} is read" kls --verify "$T/rank.gguf"
	check "ssm_a {$ne} has the values" values "$data/tiny/kimi-linear-groups-tiny" "$T/rank.gguf"
	check "ssm_a {$ne} has its own name" "$python" "$T/dump.py" "$T/rank.gguf" "$T/one.npy"
done
exits 'ssm_a of 4 elements' 3 sh -c "'$python' '$T/rank.py' '$T/kimi-linear-groups-tiny.gguf' '$T/rank.gguf' 4 && kls --verify '$T/rank.gguf'"
finish
