#!/bin/bash
# names.sh: the nested layout of multimodal checkpoints: everything is kept, or the text model alone comes out as it would lie in a
# folder of its own; tensors with other names, and rules that bring them back.
. "$(dirname "$0")/lib.sh"
model=testdata/tiny/kimi-k2-tiny-int4
cat > "$T/make.py" <<'PY'
import json, struct, sys
from hf_read import tensors
src, dst, how = sys.argv[1:4]
import os
os.makedirs(dst)
t = tensors(src)
config = json.load(open(src + "/config.json"))
if how == "nested":
    t = {"language_model." + k: v for k, v in t.items()}
    t["vision_tower.patch_embed.proj.weight"] = ("F32", [2, 3], bytes(24))
    t["mm_projector.proj.0.weight"] = ("BF16", [4], bytes(8))
    q = config.pop("quantization_config")
    ids = {k: config.pop(k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if "ignore" in q:
        q["ignore"] = ["language_model.lm_head"] + q["ignore"][1:] + ["re:vision_tower.*", "re:mm_projector.*"]
    else:
        q["modules_to_not_convert"] = ["language_model." + m for m in q["modules_to_not_convert"]]
    config = dict(architectures=["KimiK25ForConditionalGeneration"], model_type="kimi_k25", text_config=config, vision_config={"depth": 1}, quantization_config=q, **ids)
else:
    t = {k.replace("model.layers.", "transformer.h."): v for k, v in t.items()}
if how == "nested":
    json.dump(config, open(dst + "/config.json", "w"), indent=1)
for f in os.listdir(src):
    if not f.startswith("model") and not (f == "config.json" and how == "nested"):
        open(dst + "/" + f, "wb").write(open(src + "/" + f, "rb").read())
head, data = {}, b""
for k, (dt, sh, raw) in t.items():
    head[k] = {"dtype": dt, "shape": sh, "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(head).encode()
text += b" " * (-len(text) % 8)
open(dst + "/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
PY
python3 "$T/make.py" $model "$T/nested" nested && python3 "$T/make.py" $model "$T/other" other || { fail setup make.py; finish; }
kconvert $model -o "$T/want.kmf" || { fail setup "$model"; finish; }
only_config() { if kls --diff "$2" "$3" > "$T/.out" 2>&1 || grep -q 'differ in config.json only' "$T/.out"; then ok "$1"; else fail "$1" "$(tail -n 1 "$T/.out")"; fi; }
kconvert "$T/nested" -o "$T/all.kmf" 2> "$T/.err" && kls "$T/all.kmf" --json > "$T/list" || fail nested "$(tail -n 1 "$T/.err")"
[ "$(grep -c '"role": *"other"' "$T/list")" -eq 2 ] && ok "tower and projector are kept" || fail "tower and projector" "not kept"
kconvert "$T/all.kmf" --to hf -o "$T/back" && kconvert "$T/back" -o "$T/all2.kmf" 2> "$T/.err" && same "nested: through a folder" "$T/all.kmf" "$T/all2.kmf"
kconvert --text-only "$T/nested" -o "$T/text.kmf" 2> "$T/.err" && only_config "--text-only" "$T/want.kmf" "$T/text.kmf" || fail "--text-only" "$(tail -n 1 "$T/.err")"
kconvert --text-only "$T/nested" --to hf -o "$T/text" && python3 - "$T/text/config.json" $model/config.json <<'PY' && ok "its config" || fail "its config" "another one"
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
qa, qb = a.pop("quantization_config"), b.pop("quantization_config")
qa["ignore"] = qa["ignore"][:len(qb["ignore"])]
assert a == b and qa == qb, (qa, qb)
PY
# Modules that stay as they are are named without the prefix, too.
kquant -q -t fp8b128 testdata/tiny/kimi-k2-tiny -o "$T/fp8.kmf" && kconvert "$T/fp8.kmf" --to hf -o "$T/fp8" && python3 "$T/make.py" "$T/fp8" "$T/nested8" nested && kconvert --text-only "$T/nested8" --to hf -o "$T/text8"
jq -S . "$T/fp8/config.json" > "$T/want.json"; jq -S . "$T/text8/config.json" > "$T/has.json"; same "--text-only of some FP8" "$T/want.json" "$T/has.json"
# Ids that stand around the text's config are its own: in GGUF, which has no other place for them, too.
for m in nested text; do cp -r "$T/$m" "$T/bare" && rm -f "$T/bare/generation_config.json"; kconvert "$T/bare" --to gguf -o "$T/$m.gguf" 2> "$T/.err" || fail "$m to GGUF" "$(tail -n 1 "$T/.err")"; rm -r "$T/bare"; done
same "GGUF of the whole and of the text" "$T/text.gguf" "$T/nested.gguf"
kconvert "$T/nested.gguf" --to hf -o "$T/ids" && python3 - "$T/ids/generation_config.json" $model/config.json <<'PY' && ok "its ids" || fail "its ids" "other ones"
import json, sys
a, b = ([json.load(open(f))[k + "_token_id"] for k in ("bos", "eos", "pad")] for f in sys.argv[1:])
assert a == b, (a, b)
PY
# Statistics are of the text model, by names that a GGUF can have.
for m in nested want.kmf; do keval imatrix -m "$T/$m" -f testdata/texts/sqlite-whentouse.txt --limit 1 -o "$T/$m.imatrix" 2> "$T/.err" || fail "imatrix of $m" "$(tail -n 1 "$T/.err")"; done
same "imatrix: that of the text model" "$T/want.kmf.imatrix" "$T/nested.imatrix"
check "imatrix: it is of use" kquant -t mxfp4 --scale imatrix --imatrix "$T/nested.imatrix" "$T/all.kmf" -o "$T/mxfp4.kmf"
for to in gguf hf safetensors kmf; do
	check "--verify of $to" kconvert --verify "$T/nested" --to $to -o "$T/verified.$to"
done
# The text model's tensors under the config of the whole are that text model; with a tower beside them they are something else.
for m in bare tower; do cp -r "$T/text" "$T/$m" && cp "$T/nested/config.json" "$T/$m"; done
kconvert "$T/bare" -o "$T/x.kmf" 2> "$T/.err" && same "the text model alone, without --text-only" "$T/text.kmf" "$T/x.kmf"; grep -q 'has the text model alone' "$T/.err" && ok "it is said" || fail "it is said" "$(cat "$T/.err")"
check "it is verified" kls --verify "$T/bare"
# And the other way round: the whole's tensors under the text model's config.
cp -r "$T/nested" "$T/inside" && cp "$T/text/config.json" "$T/inside"
for how in '' --text-only; do
	kconvert $how "$T/inside" -o "$T/x.kmf" 2> "$T/.err" && same "a text model's config over the whole $how" "$T/text.kmf" "$T/x.kmf"
	[ -n "$how" ] || { grep -q "inside' has a text model's config over the tensors of a multimodal model" "$T/.err" && ok "it is said, too" || fail "it is said, too" "$(cat "$T/.err")"; }
done
check "the whole under that config is verified" kls --verify "$T/inside"
check "to a folder, verified" kconvert --verify "$T/inside" --to hf -o "$T/inside.hf"
kls --rederive "model.layers.1.mlp.experts.3.up_proj.weight" --from "$T/bare" "$T/text.kmf" -q > "$T/.out" 2> "$T/.err" && ok "and one made again" || fail "and one made again" "$(cat "$T/.err")"
python3 - "$T/tower/model.safetensors" <<'PY'
import json, struct, sys
b = open(sys.argv[1], "rb").read()
n, = struct.unpack("<Q", b[:8])
h = json.loads(b[8:8 + n])
end = len(b) - 8 - n
h["vision_tower.w"] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}
t = json.dumps(h).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(t)) + t + b[8 + n:] + bytes(4))
PY
exits "and with a tower" 3 kconvert "$T/tower" -o "$T/x.kmf"
exits "other names without rules" 3 kconvert "$T/other" -o "$T/x.kmf"
printf '# where layers lie\n^transformer\\.h\\.\tmodel.layers.\n' > "$T/map"
kconvert --name-map "$T/map" "$T/other" -o "$T/renamed.kmf" 2> "$T/.err" && same "--name-map" "$T/want.kmf" "$T/renamed.kmf"
# A certificate names what lies in the source, by the names that it has there.
cat > "$T/certified.py" <<'PY'
import hashlib, json, os, sys
from hf_read import tensors
have, rows = tensors(sys.argv[1]), [json.loads(x) for x in open(sys.argv[2])][:-1]
sources = [s for r in rows if not os.path.exists(f"{sys.argv[1]}/{r['name']}") for s in r["source"]]
assert len(sources) > 50
for s in sources:
    assert hashlib.sha256(have[s["name"]][2]).hexdigest() == s["sha256"], s["name"]
missing = {k for k in set(have) - {s["name"] for s in sources} if not k.endswith(".weight_shape") and not k.startswith(("vision_tower.", "mm_projector."))}
assert not missing, missing
PY
kconvert --text-only "$T/nested" --certificate "$T/text.jsonl" -o "$T/x.kmf" && check "--text-only: certified names" python3 "$T/certified.py" "$T/nested" "$T/text.jsonl"
kconvert --name-map "$T/map" "$T/other" --certificate "$T/other.jsonl" -o "$T/x.kmf" && check "--name-map: certified names" python3 "$T/certified.py" "$T/other" "$T/other.jsonl"
kconvert --text-only --name-map <(printf '^language_model\\.model\\.layers\\. language_model.model.layers.\n') "$T/nested" --certificate "$T/both.jsonl" -o "$T/x.kmf"
same "both" "$T/text.jsonl" "$T/both.jsonl"
printf '(x y\n' > "$T/bad"; exits "a pattern that is none" 3 kconvert --name-map "$T/bad" "$T/other" -o "$T/x.kmf"
printf 'a b c\n' > "$T/bad"; exits "three words" 3 kconvert --name-map "$T/bad" "$T/other" -o "$T/x.kmf"
printf '.* same\n' > "$T/bad"; exits "one name for all" 3 kconvert --name-map "$T/bad" "$T/other" -o "$T/x.kmf"
exits "no such file" 5 kconvert --name-map "$T/none" "$T/other" -o "$T/x.kmf"
finish
