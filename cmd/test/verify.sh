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
exits 'a pipe cannot be read again' 2 sh -c "kconvert '$data/nano' | kconvert --verify - -o '$T/y.kmf'"
exits 'nor can standard output' 2 sh -c "kconvert --verify '$data/nano' > '$T/y'"
finish
