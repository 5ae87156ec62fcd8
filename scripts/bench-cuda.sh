#!/bin/sh
# bench-cuda.sh: what a GPU does beside what it can. First copying and a BF16 product, then each operation as a part of one of them, with its bar
# (kcheck --bench --device); then whole decode steps of the 48B shape, INT4 beside BF16 in turns, by batch, beside the bytes that a step must read. Ends with
# "N passed, N failed, N skipped"; without a device it says so. B: the build. DEVICE=cudasim: tiny shapes, that the script itself works.
B=${B:-build}
DEVICE=${DEVICE:-cuda}
pass=0 fail=0 skip=0
PATH=$(cd "$B/bin" && pwd):$PATH
case $DEVICE in cudasim*) PATH=$(cd "$B/models" && pwd):$PATH ;; esac
T=$(mktemp -d "${TMPDIR:-/tmp}/ktools-cuda.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
if ! keval '--device=?' --json | grep -q "\"${DEVICE%%:*}\", \"usable\": true"; then
	echo "no device: $(keval '--device=?' --json | sed -n 's/.*"cuda".*"name": "\(.*\)"}/\1/p')"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi

"$B/kcheck" --bench --device "$DEVICE" > "$T/rows"
sed '$d' "$T/rows"
set -- $(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$T/rows")
if test $# = 3; then pass=$1 fail=$2 skip=$3; else fail=1; fi
copy=$(awk '$1 == "copy" { for (i = 2; i < NF; i++) if ($(i + 1) == "GB/s") print $i }' "$T/rows")

# Tokens a second, and what of the copy bandwidth the bytes of its steps are. bytes_per_token counts the routed experts that one token uses, so that at
# more than one sequence the model of a batch is a lower bound of what it reads.
decode() {
	kbench decode "$@" --device "$DEVICE" --act bf16 --json 2> "$T/err" | jq -r --argjson copy "$copy" 'select(.item and .tok_s) |
		"\(.batch) \(.tok_s) \(.tok_s / .batch * .bytes_per_token / 1e9 / $copy)"'
}

# The same model with experts in INT4 and in BF16, in turns: BATCH INT4-tok/s of-copy BF16-tok/s of-copy RATIO WHAT-BYTES-PROMISE.
twins() {
	both=$1,$2
	shift 2
	kbench decode --synthetic "$both" --device "$DEVICE" --act bf16 --json "$@" 2> "$T/err" | jq -rs --argjson copy "$copy" '
		def row: "\(.tok_s) \(.tok_s / .batch * .bytes_per_token / 1e9 / $copy)";
		[.[] | select(.item)] | . as $all | range(length) as $i | select($all[$i].ratio) |
		"\($all[$i + 1].batch) \($all[$i + 1] | row) \($all[$i + 2] | row) \($all[$i].ratio) \($all[$i].ratio_bytes)"'
}

if test "$DEVICE" = cudasim; then
	twins kimi-linear:nano kimi-linear-bf16:nano -b 1,2 --tokens 1 --reps 1 > "$T/twins"
else
	decode --synthetic kimi-linear:48b -b 1 --depth 4096 > "$T/step"
	decode --synthetic kimi-linear:48b -b 1 --depth 128k > "$T/long"
	for at in step:4k long:128k; do
		if awk -v at="${at#*:}" '{ printf "decode     48B shape, %s, batch 1 %10.1f tok/s  %.3f of copy, wanted 0.50, aim 0.70\n", at, $2, $3; good = $3 >= 0.5 } END { exit !good }' "$T/${at%:*}"; then
			pass=$((pass + 1))
		else
			fail=$((fail + 1))
		fi
	done
	# Both have to fit on the card.
	room=$(keval '--device=?' --json | sed -n 's/.*"cuda", .* \([0-9]*\)[.0-9]* GiB.*/\1/p')
	twins kimi-linear:48b kimi-linear-bf16:48b -b 1,2,4,8,16,32,64 --max-memory "${TWINS_MEMORY:-$((room * 3 / 4))G}" > "$T/twins"
fi
if test -s "$T/twins"; then
	pass=$((pass + 1))
	printf '%-8s %12s %10s %12s %10s %8s %10s\n' batch 'INT4 tok/s' 'of copy' 'BF16 tok/s' 'of copy' ratio 'of bytes'
	awk '{ printf "%-8d %12.1f %10.3f %12.1f %10.3f %8.2f %10.2f\n", $1, $2, $3, $4, $5, $6, $7 }' "$T/twins"
else
	fail=$((fail + 1))
	echo "FAIL decode: $(tail -n 1 "$T/err")"
fi
echo "$pass passed, $fail failed, $skip skipped"
test "$fail" = 0
