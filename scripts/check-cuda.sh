#!/bin/sh
# check-cuda.sh: what wants a GPU: kernels against the CPU, golden sets, greedy tokens, the server, memory over many requests, compute-sanitizer where it
# is installed. Ends with the line "N passed, N failed, N skipped"; without a device everything is skipped. B: the build. DEVICE=cudasim
# runs the same in the simulator, with little of each, in a minute or two: that the script itself works. (The whole of it is in make check.)
B=${B:-build}
DEVICE=${DEVICE:-cuda}
pass=0 fail=0 skip=0
T=$(mktemp -d "${TMPDIR:-/tmp}/ktools-cuda.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
PATH=$(cd "$B/bin" && pwd):$PATH
case $DEVICE in cudasim*) PATH=$(cd "$B/models" && pwd):$PATH ;; esac
usable() { keval '--device=?' --json 2> /dev/null | grep -q "\"${DEVICE%%:*}\", \"usable\": true"; }
ok() { pass=$((pass + 1)); echo "ok   $*"; }
bad() { fail=$((fail + 1)); echo "FAIL $*"; }
left() { skip=$((skip + 1)); echo "skip $*"; }

# add TEXT: counts its last line, shows the rest where something failed
add() {
	set -- "$1" $(echo "$1" | tail -n 1 | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
	if test $# = 4; then
		pass=$((pass + $2)) fail=$((fail + $3)) skip=$((skip + $4))
	else
		fail=$((fail + 1))
	fi
	echo "$1" | sed '$d'
}

# brief NAME: of a golden set the shortest sequences and a greedy token, in $T/NAME
brief() {
	mkdir -p "$T/$1" && ln -sf "$PWD/testdata/golden/$1/golden.safetensors" "$T/$1/" &&
		jq 'del(.perplexity) | .sequences |= with_entries(select(.value.ids | length <= 7)) | .greedy.tokens |= .[:1]' "testdata/golden/$1/golden.json" > "$T/$1/golden.json"
}

sets=testdata/golden
test "$DEVICE" != cudasim || sets=$T

# golden NAME ACT TOLERANCE: within it of the spread of the golden logits
golden() {
	test "$DEVICE" != cudasim || brief "$1"
	if keval parity -m "testdata/tiny/$1" -f "$sets/$1" --device "$DEVICE" --act "$2" --tol "$3" > "$T/out" 2> "$T/err"; then
		ok "golden $1, $2"
	else
		bad "golden $1, $2: $(tail -n 1 "$T/err")"
	fi
}

# golden_bf16 NAME: within 5e-3 of the spread, or what the CPU makes of BF16 twice: a small model with a router is far off on any machine
golden_bf16() {
	test "$DEVICE" != cudasim || brief "$1"
	for device in cpu "$DEVICE"; do
		keval parity -m "testdata/tiny/$1" -f "$sets/$1" --device "$device" --act bf16 --json 2> "$T/err" | jq 'select(.summary) | .max_rel' > "$T/$device.rel"
	done
	if awk 'NR == FNR { cpu = $1; next } { here = $1; n++ } END { exit !(n == 1 && here != "null" && (here <= 0.005 || here <= 2 * cpu)) }' "$T/cpu.rel" "$T/$DEVICE.rel"; then
		ok "golden $1, bf16: $(cat "$T/$DEVICE.rel") of the spread, on the CPU $(cat "$T/cpu.rel")"
	else
		bad "golden $1, bf16: $(cat "$T/$DEVICE.rel") of the spread, on the CPU $(cat "$T/cpu.rel"): $(tail -n 1 "$T/err")"
	fi
}

# greedy COUNT: tokens of nano on the device and on the CPU
greedy() {
	echo "{\"sequences\": {}, \"greedy\": {\"prompt\": [5, 300, 41, 7], \"count\": $1}}" > "$T/greedy.json"
	for device in cpu "$DEVICE"; do
		keval dump -m testdata/nano -f "$T/greedy.json" --device "$device" --act f32 -o "$T/$device.st" 2> "$T/err" || { bad "greedy on $device: $(tail -n 1 "$T/err")"; return; }
	done
	if cmp -s "$T/cpu.st" "$T/$DEVICE.st"; then ok "greedy: $1 tokens as on the CPU"; else bad "greedy: other tokens than on the CPU"; fi
}

# peak N: bytes of device memory that N requests take at most
peak() {
	i=0
	while test $i -lt "$1"; do
		echo "{\"messages\": [{\"role\": \"user\", \"content\": \"Count to $((i % 10)).\"}], \"max_tokens\": $2, \"temperature\": 0}"
		i=$((i + 1))
	done > "$T/requests"
	kserve -v --stdio --ctx 512 --slots 4 --device "$DEVICE" testdata/nano < "$T/requests" > "$T/answers" 2> "$T/err" || return 1
	test "$(grep -c '"finish_reason"' "$T/answers")" = "$1" || return 1
	sed -n "s/.*$DEVICE: at most \([0-9]*\) bytes of device memory.*/\1/p" "$T/err"
}

memory() {
	few=$(peak "$1" "$3") many=$(peak "$2" "$3")
	# How many were computed at the same time differs a little.
	if test -n "$few" && test -n "$many" && test "$many" -le $((few + few / 50)); then
		ok "$2 requests take no more device memory than $1: $many and $few bytes"
	else
		bad "device memory: ${few:-?} bytes for $1 requests, ${many:-?} for $2: $(tail -n 1 "$T/err")"
	fi
}

if test "$DEVICE" = cudasim; then
	for op in rmsnorm route gqa; do
		add "$("$B/kcheck" --device "$DEVICE" --kernel "cpu.$op" 2>&1)"
	done
else
	add "$("$B/kcheck" --device "$DEVICE" 2>&1)"
fi
add "$(K_BIN="$B/bin" K_DEVICE=$DEVICE bash cmd/test/cuda.sh 2>&1)"
if ! usable; then
	left "golden sets: no device"
	left "greedy tokens: no device"
	left "server: no device"
	left "memory: no device"
elif test "$DEVICE" = cudasim; then
	golden llama-tiny f32 1e-4
	golden_bf16 kimi-linear-tiny
	golden_bf16 llama-tiny
	greedy 2
	left "server: the simulator is too slow"
	left "memory: the simulator is too slow"
else
	for name in $(cd testdata/golden && echo *-tiny*); do
		test -d "testdata/tiny/$name" || continue
		golden "$name" f32 1e-4
		golden_bf16 "$name"
	done
	greedy 256
	for t in serve http dialect openai; do
		add "$(K_BIN="$B/bin" K_KSERVE_DEVICE=$DEVICE bash cmd/test/$t.sh 2>&1)"
	done
	memory 100 1000 16
fi
for tool in memcheck racecheck synccheck; do
	if test "$DEVICE" != cudasim && command -v compute-sanitizer > /dev/null && usable; then
		add "$(compute-sanitizer --tool $tool --error-exitcode 1 "$B/kcheck" --device "$DEVICE" 2>&1 | grep -v '^=')"
	else
		left "compute-sanitizer $tool: no device, or not installed"
	fi
done
echo "$pass passed, $fail failed, $skip skipped"
test "$fail" = 0
