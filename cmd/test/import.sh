#!/bin/bash
# import.sh: what GPTQ, AWQ, AutoRound and the compressed-tensors package write is read exactly: every value is that of the format's own
# formula (import_make.py), rows are the same read one by one and in blocks, and the type that holds them is the one that was meant.
. "$(dirname "$0")/lib.sh"
make=cmd/test/import_make.py
down=model.layers.0.mlp.down_proj.weight
kept=()
mkdir "$T/in" "$T/has" "$T/out" && python3 $make make "$T/in" || { fail setup "$make"; finish; }
while read -r case type; do
	kconvert "$T/in/$case" -o "$T/a.kmf" 2> "$T/.err" || { fail "$case" "$(tail -n 1 "$T/.err")"; continue; }
	kls "$T/a.kmf" --json > "$T/list"
	if [ "$(grep -c "\"type\": *\"$type\"" "$T/list")" -eq 1 ]; then ok "$case is $type"; else fail "$case" "no entry of type $type"; fi
	kconvert "$T/a.kmf" --dequant --dtype f32 --to safetensors -o "$T/has/$case" || fail "$case" "does not expand"
	kls "$T/a.kmf" --dump $down --raw > "$T/blocks" && kls "$T/in/$case" --dump $down --raw > "$T/rows" 2> "$T/.err" && same "$case: row by row" "$T/blocks" "$T/rows"
	# A folder of what has a spelling in safetensors, and what that folder holds.
	case $type in *z32|q8_0|nvfp4) continue ;; esac
	kconvert "$T/a.kmf" --to hf -o "$T/out/$case" && kconvert "$T/out/$case" --dequant --dtype f32 --to safetensors -o "$T/out/$case.has" &&
		same "$case: through a folder" "$T/has/$case" "$T/out/$case.has"
	case $case in packed-32|int8|int8-f32|fp8-row|fp8-inv|mxfp4|mxfp8) kept+=("$T/in/$case" "$T/out/$case") ;; esac
done < "$T/in/list"
python3 $make equal "${kept[@]}" > "$T/wrong" && ok "the same tensors come out" || fail "other tensors come out" "$(head -n 3 "$T/wrong")"
# A method that is not known: which are.
cp -r "$T/in/packed-32" "$T/modelopt" && jq '.quantization_config.quant_method = "modelopt"' "$T/in/packed-32/config.json" > "$T/modelopt/config.json"
exits "an unknown method" 4 kconvert "$T/modelopt" -o "$T/x.kmf"
grep -q "quant_method 'modelopt' is not known here; known are compressed-tensors, fp8, gptq, awq, auto-round" "$T/.err" && ok "which are known" || fail "which are known" "$(cat "$T/.err")"
# Several types in one model: the config says which module has which, and it is read so.
nano=testdata/nano
kquant -t i4g32 --rule head=i8row --rule '*.shared_experts.*=fp8b128' --rule dense=mxfp4 $nano -o "$T/m.kmf" && kconvert "$T/m.kmf" --to hf -o "$T/mixed" &&
	kconvert "$T/mixed" -o "$T/m2.kmf" || fail mixed "exit $?"
kls --diff "$T/m.kmf" "$T/m2.kmf" 2>&1 | grep -q 'differ in config.json only' && ok "mixed: the same entries" || fail "mixed" "other entries"
grep -q '"format": *"mixed-precision"' "$T/mixed/config.json" && ok "mixed: announced" || fail "mixed: announced" "no mixed-precision"
# Block FP8 of some modules: the config names the others, and says so no more once they are FP8 too. A list of another spelling stays.
kquant -t fp8b128 $nano -o "$T/some.kmf" && kconvert "$T/some.kmf" --to hf -o "$T/some" && python3 - "$T/some" <<'PY' && ok "some FP8: the others are named" || fail "some FP8" "$(jq -c .quantization_config "$T/some/config.json")"
import json, sys
from hf_read import tensors
have, q = tensors(sys.argv[1]), json.load(open(sys.argv[1] + "/config.json"))["quantization_config"]
plain = {k[:-7] for k, (dtype, shape, _) in have.items() if k.endswith(".weight") and len(shape) == 2 and dtype != "F8_E4M3"}
assert q["quant_method"] == "fp8" and len(q["modules_to_not_convert"]) == len(plain) and set(q["modules_to_not_convert"]) == plain
assert any("self_attn" in k for k in plain) and not any(".experts." in k for k in plain)
PY
kconvert "$T/some" -o "$T/some2.kmf" && kls --diff "$T/some.kmf" "$T/some2.kmf" 2>&1 | grep -q 'differ in config.json only' && ok "some FP8: the same entries" || fail "some FP8" "other entries"
kconvert "$T/some2.kmf" --to hf -o "$T/again" && same "some FP8: the config stays" "$T/some/config.json" "$T/again/config.json"
cp -r "$T/some" "$T/short" && jq '.quantization_config.modules_to_not_convert = ["self_attn", "shared_experts", "re:model\\.layers\\.0\\.mlp\\..*"]' "$T/some/config.json" > "$T/short/config.json"
kconvert "$T/short" --to hf -o "$T/short2" && same "some FP8: a short list stays" "$T/short/config.json" "$T/short2/config.json"
kquant -t fp8b128 --rule attn=fp8b128 --rule kda=fp8b128 --rule shared=fp8b128 --rule dense=fp8b128 "$T/some.kmf" -o "$T/all.kmf" && kconvert "$T/some2.kmf" -o "$T/x.kmf" &&
	kquant -t fp8b128 --rule attn=fp8b128 --rule kda=fp8b128 --rule shared=fp8b128 --rule dense=fp8b128 "$T/x.kmf" -o "$T/all2.kmf"
for m in all all2; do
	kconvert "$T/$m.kmf" --to hf -o "$T/$m.hf" && jq -e '.quantization_config | .quant_method == "fp8" and has("modules_to_not_convert") == false' "$T/$m.hf/config.json" > "$T/.out" && ok "$m FP8" || fail "$m FP8" "$(jq -c .quantization_config "$T/$m.hf/config.json")"
done
fp8=testdata/tiny/kimi-k2-tiny-fp8
kconvert $fp8 --to hf -o "$T/k2" && same "all FP8: the config stays" $fp8/config.json "$T/k2/config.json"
python3 $make same "$T/in" "$T/has" > "$T/wrong" && ok values || fail values "$(head -n 3 "$T/wrong")"
finish
