#!/bin/bash
# cuda.sh: the CUDA backend. Without a GPU: what --device says, that no tool wants a CUDA library, and short golden sequences through the CUDA
# kernels in the simulator. K_DEVICE=cuda (make check-cuda): whole golden sets on that device.
. "$(dirname "$0")/lib.sh"
device=${K_DEVICE:-cudasim}
case $device in cudasim*) models ;; esac
usable() { keval '--device=?' --json 2> /dev/null | grep -q "\"device\": \"${1%%:*}\", \"usable\": true"; }

# short NAME [SET]: of golden set SET (default: NAME) the shortest sequences and three greedy tokens, in $T/NAME
short() {
	mkdir "$T/$1"
	ln -s "$PWD/testdata/golden/${2:-$1}/golden.safetensors" "$T/$1/"
	python3 - "testdata/golden/${2:-$1}/golden.json" "$T/$1/golden.json" <<-'END'
	import json, sys
	golden = json.load(open(sys.argv[1]))
	golden['sequences'] = {k: v for k, v in golden['sequences'].items() if len(v['ids']) <= 7}
	golden.pop('perplexity', None)
	golden['greedy']['tokens'] = golden['greedy']['tokens'][:3]
	json.dump(golden, open(sys.argv[2], 'w'))
	END
}

if ! usable "$device"; then
	skip "$device" "no device"
else
	for name in kimi-linear-tiny kimi-k2-tiny-int4 kimi-k2-tiny-fp8 k3-tiny llama-tiny; do
		if [ "$device" = cudasim ]; then short $name; else ln -s "$PWD/testdata/golden/$name" "$T/$name"; fi
		check "$name on $device" keval parity -m testdata/tiny/$name -f "$T/$name" --device "$device"
	done
	short kimi-linear-tiny-steps kimi-linear-tiny
	check "greedy steps on $device" keval dump -v -m testdata/tiny/kimi-linear-tiny -f "$T/kimi-linear-tiny-steps/golden.json" --device "$device" -o "$T/d.st"
	if grep -q "$device: 2 graphs made, launched 5 times" "$T/.err"; then ok "steps are one graph, tokens another"; else fail "steps are one graph, tokens another" "$(cat "$T/.err")"; fi
	# The device draws where nothing but the logits counts; n, log-probabilities and penalties want them.
	for more in '' '"logprobs": 1' '"n": 2' '"frequency_penalty": 0.5' '"temperature": 0'; do
		echo "{\"prompt\": \"One, two\", \"max_tokens\": 2, \"seed\": 3, \"temperature\": 0.9, \"top_p\": 0.9${more:+, $more}}" | sed 's/"temperature": 0.9, \(.*"temperature"\)/\1/'
	done > "$T/asked"
	for d in cpu "$device"; do
		kserve --stdio --act f32 --ctx 512 --slots 4 --device "$d" testdata/nano < "$T/asked" 2> "$T/err" | jq -c '[.choices[] | [.text, .finish_reason]]' | sort > "$T/said.$d"
	done
	if [ "$(wc -l < "$T/said.cpu")" = 5 ]; then ok "five answers"; else fail "five answers" "$(cat "$T/err" "$T/said.cpu")"; fi
	same "sampled answers of $device are the CPU's" "$T/said.cpu" "$T/said.$device"
	# A long prompt, in BF16: latents are expanded there, and rounded otherwise than on the CPU; how likely the first token is differs by little.
	words=$([ "$device" = cudasim ] && echo 6 || echo 40)
	jq -nc --argjson n "$words" '{prompt: ("one two three four five six seven eight nine ten " * $n), max_tokens: 1, temperature: 0, logprobs: 1}' > "$T/asked"
	for d in cpu "$device"; do
		kserve --stdio --act bf16 --ctx 1024 --slots 1 --device "$d" testdata/nano < "$T/asked" 2> "$T/err" | jq '.choices[0].logprobs.token_logprobs[0]' > "$T/long.$d"
	done
	if paste "$T/long.cpu" "$T/long.$device" | awk '{ d = $1 - $2; good = NF == 2 && d < 0.1 && d > -0.1 } END { exit !good }'; then
		ok "a long prompt is near the CPU's"
	else
		fail "a long prompt is near the CPU's" "$(cat "$T/err" "$T/long.cpu" "$T/long.$device")"
	fi
	# Weights beyond --gpu-memory stay on the host: all on the device, half of the experts, attention and routers alone.
	model=testdata/tiny/kimi-k2-tiny-int4
	[ "$device" = cudasim ] || ln -s "$PWD/testdata/golden/kimi-k2-tiny-int4" "$T/placed"
	[ "$device" = cudasim ] && short placed kimi-k2-tiny-int4
	plan() { awk -v what="$1" -v col="$2" '$2 == "plan:" && $3 == what { print $col }' "$T/.err"; }
	check "a plan" keval parity -v -m $model -f "$T/placed" --device "$device" --gpu-memory 512M
	experts=$(plan experts 4) rest=$((512 * 1024 * 1024 - $(plan free 4)))
	if [ "$(plan experts 9)" = 0 ] && [ "${experts:-0}" -gt 0 ]; then ok "it fits"; else fail "it fits" "$(cat "$T/.err")"; fi
	# Keys and values of 512 tokens: 3 layers of 48 + 16, four bytes each, or two.
	kept=$(plan kept 4)
	keval parity -v -m $model -f "$T/placed" --device "$device" --gpu-memory 512M --act bf16 --tol 1 > /dev/null 2> "$T/.err"
	if [ $((kept - $(plan kept 4))) = $((512 * 3 * (48 + 16) * 2)) ]; then ok "pages of BF16 are planned"; else fail "pages of BF16 are planned" "$kept $(cat "$T/.err")"; fi
	others=$(($(plan shared 4) + $(plan embed 4) + $(plan head 4) + $(plan dense 4)))
	check "half the experts" keval parity -v -m $model -f "$T/placed" --device "$device" --gpu-memory $((rest - experts / 2 + 1000))
	if [ "$(plan experts 4)" -gt 0 ] && [ "$(plan experts 9)" -gt 0 ] && [ "$(plan head 9)" = 0 ]; then ok "half: as planned"; else fail "half" "$(cat "$T/.err")"; fi
	check "attention alone" keval parity -v -m $model -f "$T/placed" --device "$device" --gpu-memory $((rest - experts - others + 1000))
	if [ "$(plan experts 4)" = 0 ] && [ "$(plan head 4)" = 0 ] && [ "$(plan embed 4)" = 0 ]; then ok "alone: as planned"; else fail "alone" "$(cat "$T/.err")"; fi
	exits "too little for attention" 6 keval parity -m $model -f "$T/placed" --device "$device" --gpu-memory $((rest - experts - others - 100000))
	# Several devices: the bits of one, each filled to what --gpu-memory says.
	echo '{"sequences": {"a": {"ids": [5, 300, 41, 7]}}, "greedy": {"prompt": [5, 300], "count": 2}}' > "$T/several.json"
	if keval dump -m testdata/nano -f "$T/several.json" --device "$device:0,1" -o "$T/two.st" 2> /dev/null; then
		keval dump -m testdata/nano -f "$T/several.json" --device "$device" -o "$T/one.st"
		same "two devices: the bits of one" "$T/one.st" "$T/two.st"
		check "the plan of two" keval parity -v -m $model -f "$T/placed" --device "$device:1,0" --gpu-memory 512M
		if grep -q "$device:1: layers 0 to [0-9]* of [0-9]*, embedding$" "$T/.err" && grep -q "$device: layers [1-9][0-9]* to [0-9]* of [0-9]*, head$" "$T/.err"; then
			ok "two devices: as planned"
		else
			fail "two devices" "$(cat "$T/.err")"
		fi
		exits "too little for attention on two" 6 keval parity -m $model -f "$T/placed" --device "$device:0,1" --gpu-memory 90M
	else
		skip "two devices" "there is one"
	fi
	exits "a device that is not there" 6 keval dump -m testdata/nano -f "$T/several.json" --device "$device:0,99" -o "$T/x.st"
	if grep -q "^keval: --device is '$device:99': there is no .* 99, the last is " "$T/.err"; then ok "and it is named"; else fail "and it is named" "$(cat "$T/.err")"; fi
	exits "a device named twice" 6 keval dump -m testdata/nano -f "$T/several.json" --device "$device:0,0" -o "$T/x.st"
	exits "imatrix on $device" 4 keval imatrix -m testdata/tiny/llama-tiny -f LICENSE --device "$device" -o "$T/i"
fi

for t in kconvert kquant keval kbench kserve kls; do
	if readelf -d "$BIN/$t" | grep -q 'NEEDED.*\(cuda\|cublas\)'; then fail "$t" "needs a CUDA library"; else ok "$t needs no CUDA library"; fi
done
kls testdata/tiny/llama-tiny > /dev/null || fail "kls" "does not start"
check "auto" keval dump -m testdata/tiny/llama-tiny -f testdata/golden/llama-tiny/golden.json --device auto -o "$T/auto.st"
if [ -s "$T/.err" ] && ! usable cuda; then fail "auto is silent" "$(cat "$T/.err")"; else ok "auto is silent"; fi
if ! usable cuda; then
	exits "cuda without a GPU" 6 keval dump -m testdata/tiny/llama-tiny -f testdata/golden/llama-tiny/golden.json --device cuda -o "$T/x.st"
	if grep -q "^keval: --device is 'cuda': " "$T/.err"; then ok "and it says why"; else fail "and it says why" "$(cat "$T/.err")"; fi
	keval dump -m testdata/tiny/llama-tiny -f testdata/golden/llama-tiny/golden.json -o "$T/cpu.st"
	same "auto is the CPU" "$T/cpu.st" "$T/auto.st"
fi
exits "--gpu-memory of the CPU" 2 keval parity -m testdata/tiny/llama-tiny -f testdata/golden/llama-tiny --gpu-memory 1G
exits "a number that is none" 6 keval dump -m testdata/tiny/llama-tiny -f testdata/golden/llama-tiny/golden.json --device cuda:x -o "$T/x.st"
finish
