#!/bin/sh
# bench-cuda.sh: what a GPU does beside what it can. First copying and a BF16 product, then each operation as a part of one of them, with its bar
# (kcheck --bench --device); then whole decode steps of the 48B shape, INT4 beside BF16, by batch, beside the bytes that a step must read. Ends with
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
	kbench decode "$@" --device "$DEVICE" --act bf16 --json 2> "$T/err" | jq -r --argjson copy "$copy" 'select(.batch and .tok_s and (.summary | not)) |
		"\(.batch) \(.tok_s) \(.tok_s / .batch * .bytes_per_token / 1e9 / $copy)"'
}

if test "$DEVICE" = cudasim; then
	decode -m testdata/tiny/kimi-k2-tiny-int4 -b 1,2 --tokens 2 --reps 1 > "$T/int4"
	decode -m testdata/tiny/kimi-k2-tiny -b 1,2 --tokens 2 --reps 1 > "$T/bf16"
else
	decode --synthetic kimi-linear:48b -b 1 --depth 4096 > "$T/step"
	decode --synthetic kimi-linear:48b -b 1 --depth 128k > "$T/long"
	decode --synthetic kimi-linear:48b -b 1,2,4,8,16,32,64 > "$T/int4"
	if test -n "${BF16_MODEL:-}"; then decode -m "$BF16_MODEL" -b 1,2,4,8,16,32,64 > "$T/bf16"; else : > "$T/bf16"; fi
	for at in step:4k long:128k; do
		if awk -v at="${at#*:}" '{ printf "decode     48B shape, %s, batch 1 %10.1f tok/s  %.3f of copy, wanted 0.50, aim 0.70\n", at, $2, $3; good = $3 >= 0.5 } END { exit !good }' "$T/${at%:*}"; then
			pass=$((pass + 1))
		else
			fail=$((fail + 1))
		fi
	done
fi
if test -s "$T/int4"; then
	pass=$((pass + 1))
	printf '%-8s %12s %10s %12s %10s %8s\n' batch 'INT4 tok/s' 'of copy' 'BF16 tok/s' 'of copy' ratio
	awk 'NR == FNR { t[$1] = $2; c[$1] = $3; next } { printf "%-8d %12.1f %10.3f %12s %10s %8s\n", $1, $2, $3, t[$1] ? sprintf("%.1f", t[$1]) : "-",
		t[$1] ? sprintf("%.3f", c[$1]) : "-", t[$1] ? sprintf("%.2f", $2 / t[$1]) : "-" }' "$T/bf16" "$T/int4"
	test -s "$T/bf16" || { skip=$((skip + 1)); echo "skip INT4 beside BF16: BF16_MODEL names no model"; }
else
	fail=$((fail + 1))
	echo "FAIL decode: $(tail -n 1 "$T/err")"
fi
echo "$pass passed, $fail failed, $skip skipped"
test "$fail" = 0
