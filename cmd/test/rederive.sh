#!/bin/bash
# rederive.sh: tensors made again out of their source, equal and not.
. "$(dirname "$0")/lib.sh"
hf=testdata/tiny/kimi-linear-tiny e=model.layers.1.block_sparse_moe.experts
kconvert $hf -o "$T/m.kmf" && kquant -t i4g32 --rule embed=i8row "$T/m.kmf" -o "$T/q.kmf" && kquant -t i8row --rule embed=bf16 --scale amax7.5 "$T/q.kmf" -o "$T/r.kmf" &&
	kconvert --dtype f32 "$T/m.kmf" -o "$T/f.kmf" && kconvert -q --dequant "$T/q.kmf" -o "$T/d.kmf" 2> /dev/null || { fail setup "$hf does not convert"; finish; }

# Every entry of one, some of the others; the digests are those of the bytes.
for t in $(kls --json "$T/q.kmf" | jq -r 'select(.role) | .name'); do check "$t" kls --rederive "$t" --from $hf "$T/q.kmf"; done
for m in m q r f d; do
	for t in $e.3.w1.weight "$e.*.w2.weight" model.embed_tokens.weight model.layers.0.self_attn.q_proj.weight config.json tokenizer_config.json; do
		kls --dump "$t" --raw "$T/$m.kmf" -o "$T/raw" 2> /dev/null || continue
		check "$t of $m" kls --rederive "$t" --from $hf "$T/$m.kmf"
		[ "$(jq -r .sha256 "$T/.out")" = "$(sha256sum < "$T/raw" | cut -d' ' -f1)" ] || fail "$t of $m" "another digest than its bytes have"
		kls --dump "$t" --raw $hf -o "$T/raw" 2> /dev/null
		[ "$(jq -r .source_sha256 "$T/.out")" = "$(sha256sum < "$T/raw" | cut -d' ' -f1)" ] || fail "$t of $m" "another digest than its source has"
	done
done
check "from a step on the way" kls --rederive "$e.*.w2.weight" --from "$T/q.kmf" "$T/r.kmf"
jq -e '.source_type == "i4g32" and .type == "i8row" and (.recipe | length == 3)' "$T/.out" > /dev/null && ok "the recipe" || fail "the recipe" "$(cat "$T/.out")"

# How kquant may round; types that a budget chose.
for how in "--scale mse" --from-qat "-t mxfp4 --mx-rule ocp" "-t mxfp4 --scale mse" "--budget 900K"; do
	kquant -q $how "$T/m.kmf" -o "$T/h.kmf" || fail "kquant $how" "fails"
	for t in "$e.*.w1.weight" "$e.*.w2.weight" lm_head.weight; do check "$t of $how" kls --rederive "$t" --from $hf "$T/h.kmf"; done
done

# Another source: the first difference is named.
mkdir "$T/hf" && cp -r $hf/. "$T/hf"
python3 - "$T/hf" "$e.5.w1.weight" <<'PY'
import glob, json, struct, sys
for f in glob.glob(sys.argv[1] + '/*.safetensors'):
    s = bytearray(open(f, 'rb').read()); h, = struct.unpack('<Q', s[:8]); t = json.loads(s[8:8 + h]).get(sys.argv[2])
    if t:
        row = (t['data_offsets'][1] - t['data_offsets'][0]) // t['shape'][0]
        s[8 + h + t['data_offsets'][0] + 17 * row + 1] ^= 0x80
        open(f, 'wb').write(s)
PY
for m in m q; do
	exits "a changed source of $m" 1 kls --rederive $e.5.w1.weight --from "$T/hf" "$T/$m.kmf"
	grep -q "$e.5.w1.weight is not what .* differs in rows" "$T/.err" || fail "a changed source of $m" "$(cat "$T/.err")"
	exits "a changed source of $m, all experts" 1 kls --rederive "$e.*.w1.weight" --from "$T/hf" "$T/$m.kmf"
	check "its other experts" kls --rederive $e.4.w1.weight --from "$T/hf" "$T/$m.kmf"
done

# A text model, out of the wrapped one that it was taken from, of a wrapper that is known here or not.
python3 - testdata/tiny/kimi-k2-tiny-int4 "$T/wrapped" <<'PY'
import json, os, struct, sys
from hf_read import tensors
src, dst = sys.argv[1:]
os.mkdir(dst)
config, head, data = json.load(open(src + "/config.json")), {}, b""
q = config.pop("quantization_config")
json.dump(dict(model_type="kimi_k25", text_config=config, quantization_config=q), open(dst + "/config.json", "w"))
for k, (dt, sh, raw) in [("language_model." + k, v) for k, v in tensors(src).items()] + [("vision_tower.w", ("F32", [2], bytes(8)))]:
    head[k] = {"dtype": dt, "shape": sh, "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(head).encode()
open(dst + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
PY
cp -r "$T/wrapped" "$T/unknown" && sed -i 's/"kimi_k25"/"kimi_k99"/' "$T/unknown/config.json"
e=model.layers.1.mlp.experts
for w in wrapped unknown; do
	kconvert --text-only "$T/$w" -o "$T/t.kmf" && kquant -t i8row "$T/t.kmf" -o "$T/t8.kmf"
	for m in t t8; do for t in $e.3.up_proj.weight "$e.*.down_proj.weight" model.embed_tokens.weight; do
		check "$t of $m, $w" kls --rederive "$t" --from "$T/$w" "$T/$m.kmf"
	done; done
	kls -q --rederive "$e.*.down_proj.weight" --from "$T/$w" "$T/t8.kmf" | jq -e ".source == \"language_model.$e.*.down_proj.weight\"" > "$T/.out" && ok "its name, $w" || fail "its name, $w" "$(cat "$T/.out")"
done
kconvert -q "$T/wrapped" -o "$T/w.kmf" && check "the wrapped one itself" kls --rederive "language_model.$e.3.up_proj.weight" --from "$T/wrapped" "$T/w.kmf"
exits "of a wrapped container" 3 kls --rederive "$e.3.up_proj.weight" --from "$T/w.kmf" "$T/t.kmf"
exits "what it lacks" 3 kls --rederive vision_tower.w --from "$T/wrapped" "$T/t.kmf"
exits "no such tensor" 3 kls --rederive nope --from $hf "$T/q.kmf"
e=model.layers.1.block_sparse_moe.experts
exits "no such expert" 3 kls --rederive $e.99.w1.weight --from $hf "$T/q.kmf"
# Tensors that a name map renamed: the map alone tells w1 from w3. A wrapped model that was renamed, too.
python3 - testdata/tiny/kimi-linear-tiny "$T/other" "$T/wrapped" "$T/outer" <<'PY'
import json, os, struct, sys
from hf_read import tensors
def write(src, dst, rename):
    os.mkdir(dst)
    open(dst + "/config.json", "w").write(open(src + "/config.json").read())
    head, data = {}, b""
    for k, (dt, sh, raw) in tensors(src).items():
        head[rename(k)] = {"dtype": dt, "shape": sh, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    open(dst + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
write(sys.argv[1], sys.argv[2], lambda k: k.replace("model.layers.", "h.").replace(".w1.", ".one.").replace(".w3.", ".two."))
write(sys.argv[3], sys.argv[4], lambda k: k.replace("language_model.", "llm."))
PY
printf '^h\\. model.layers.\n\\.one\\. .w1.\n\\.two\\. .w3.\n' > "$T/map"; printf '^llm\\. language_model.\n' > "$T/map2"
printf '^h\\. model.layers.\n\\.two\\. .w1.\n\\.one\\. .w3.\n' > "$T/turned"
kconvert --name-map "$T/map" "$T/other" | kquant -t i4g32 -o "$T/n.kmf" && kconvert --text-only --name-map "$T/map2" "$T/outer" -o "$T/n2.kmf"
by_map() { kls --rederive "$1" --from "$T/other" --name-map "${2-$T/map}" "$T/n.kmf"; }
for t in $e.3.w1.weight "$e.*.w3.weight" model.embed_tokens.weight; do check "$t by a map" by_map "$t"; done
named() { local want=$1; shift; kls -q --rederive "$@" > "$T/.out" && jq -e --arg s "$want" '.source == $s' "$T/.out" > /dev/null && ok "its source is $want" || fail "its source is $want" "$(cat "$T/.out")"; }
named $e.3.w1.weight $e.3.w1.weight --from $hf "$T/q.kmf"
named "$e.*.w1.weight" "$e.*.w1.weight" --from $hf "$T/q.kmf"
named h.1.block_sparse_moe.experts.3.one.weight $e.3.w1.weight --from "$T/other" --name-map "$T/map" "$T/n.kmf"
named h.0.self_attn.q_proj.weight model.layers.0.self_attn.q_proj.weight --from "$T/other" --name-map "$T/map" "$T/n.kmf"
named llm.model.embed_tokens.weight model.embed_tokens.weight --from "$T/outer" --name-map "$T/map2" "$T/n2.kmf"
exits "by another map" 1 by_map $e.3.w1.weight "$T/turned"
exits "without its map" 3 kls --rederive $e.3.w1.weight --from "$T/other" "$T/n.kmf"
exits "a map and a container" 2 kls --rederive $e.3.w1.weight --from "$T/m.kmf" --name-map "$T/map" "$T/n.kmf"
exits "a map and no source" 2 kls --name-map "$T/map" "$T/n.kmf"
exits "no --from" 2 kls --rederive model.norm.weight "$T/q.kmf"
exits "a pipe" 2 sh -c "cat \"$T/q.kmf\" | kls --rederive model.norm.weight --from $hf -"
exits "the other way round" 4 kls --rederive model.norm.weight --from "$T/q.kmf" "$T/m.kmf"
exits "another way" 4 kls --rederive model.norm.weight --from "$T/f.kmf" "$T/q.kmf"
exits "another model" 3 kls --rederive $e.3.w1.weight --from testdata/tiny/llama-tiny "$T/q.kmf"
finish
