#!/bin/bash
# kv.sh: --kv, what keys and values are kept in: said at start, in every report and in the budget; int8 against f32 by the divergence of the outputs; same
# digits whatever the threads and the batch; refused where it cannot be.
. "$(dirname "$0")/lib.sh"
kconvert -q testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
for kv in f32 bf16 int8; do
	start $kv --listen 127.0.0.1:0 --kv $kv "$T/nano.kmf" && check "$kv is said at start" grep -q "keys and values $kv" "$T/$kv.err"
	stop $kv
done
head -c 1100 testdata/nano/eval/prose.txt > "$T/text"
ppl() { keval ppl -q -m "$T/nano.kmf" -f "$T/text" --window 256 "$@"; }
kld() { keval kld -q -m "$T/nano.kmf" -f "$T/text" --window 256 "$@"; }
ppl --json > "$T/plain"; ppl --json --act bf16 > "$T/half"; ppl --json --kv int8 > "$T/int8"
for r in plain:f32 half:bf16 int8:int8; do
	check "the report says ${r#*:}" grep -q "\"kv\": \"${r#*:}\"" "$T/${r%:*}"
done
ppl --json --kv int8 -j 1 -b 1 > "$T/a"; ppl --json --kv int8 -j 5 -b 3 > "$T/b"
same "int8: 1 thread, batch 1 and 5 threads, batch 3" "$T/a" "$T/b"
# By hand: two layers of attention with 128 + 32 values a token; at 8 bits 5 groups of 32 with a scale of 4 bytes.
for r in f32:1280 bf16:640 int8:360; do
	for n in 1000 2000; do kls --budget --json --ctx $n --kv ${r%:*} "$T/nano.kmf" | sed 's/.*"resident": \([0-9]*\).*/\1/'; done > "$T/sizes"
	check "${r%:*}: ${r#*:} bytes a token" test $(($(tail -n 1 "$T/sizes") - $(head -n 1 "$T/sizes"))) = $((1000 * ${r#*:}))
done
kld --save-ref "$T/ref" > "$T/.out"
check "int8 diverges by less than 1e-6" kld --ref "$T/ref" --kv int8 --bar 'kld_mean<1e-6'
cp -r testdata/tiny/llama-tiny "$T/narrow"; chmod -R u+w "$T/narrow"
jq '.num_key_value_heads *= 8 | .num_attention_heads *= 8' testdata/tiny/llama-tiny/config.json > "$T/narrow/config.json"
check "heads of two values" keval ppl -m "$T/narrow" -f "$T/text" --window 16 --limit 1
exits "int8 of heads of two values" 4 keval ppl -m "$T/narrow" -f "$T/text" --window 16 --limit 1 --kv int8
mv "$T/.err" "$T/said"
check "which says what is too narrow, and that alone" grep -q "narrow': heads of 2 values, wanted a multiple of 4 for" "$T/said"
models
if keval '--device=?' 2>&1 | grep -q cudasim; then
	exits "a device without pages of int8" 4 ppl --device cudasim --kv int8
	mv "$T/.err" "$T/said"
	check "and says what it has" grep -q "int8 on device 'cudasim': wanted f32 or bf16" "$T/said"
else
	skip cudasim "not in this build"
fi
finish
