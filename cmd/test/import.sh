#!/bin/bash
# import.sh: what GPTQ, AWQ, AutoRound and the compressed-tensors package write is read exactly: every value is that of the format's own
# formula (import_make.py), rows are the same read one by one and in blocks, and the type that holds them is the one that was meant.
. "$(dirname "$0")/lib.sh"
make=cmd/test/import_make.py
down=model.layers.0.mlp.down_proj.weight
mkdir "$T/in" "$T/has" && python3 $make make "$T/in" || { fail setup "$make"; finish; }
while read -r case type; do
	kconvert "$T/in/$case" -o "$T/a.kmf" 2> "$T/.err" || { fail "$case" "$(tail -n 1 "$T/.err")"; continue; }
	kls "$T/a.kmf" --json > "$T/list"
	if [ "$(grep -c "\"type\": *\"$type\"" "$T/list")" -eq 1 ]; then ok "$case is $type"; else fail "$case" "no entry of type $type"; fi
	kconvert "$T/a.kmf" --dequant --dtype f32 --to safetensors -o "$T/has/$case" || fail "$case" "does not expand"
	kls "$T/a.kmf" --dump $down --raw > "$T/blocks" && kls "$T/in/$case" --dump $down --raw > "$T/rows" 2> "$T/.err" && same "$case: row by row" "$T/blocks" "$T/rows"
done < "$T/in/list"
python3 $make same "$T/in" "$T/has" > "$T/wrong" && ok values || fail values "$(head -n 3 "$T/wrong")"
finish
