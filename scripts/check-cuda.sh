#!/bin/sh
# check-cuda.sh: what wants a GPU: kernels against the CPU, golden sets, compute-sanitizer where it is installed. Ends with the line
# "N passed, N failed, N skipped"; without a device everything is skipped. B: the build.
B=${B:-build}
pass=0 fail=0 skip=0

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

add "$("$B/kcheck" --device cuda 2>&1)"
add "$(K_BIN="$B/bin" K_DEVICE=cuda bash cmd/test/cuda.sh 2>&1)"
for tool in memcheck racecheck synccheck; do
	if command -v compute-sanitizer > /dev/null && "$B/bin/keval" '--device=?' --json | grep -q '"cuda", "usable": true'; then
		add "$(compute-sanitizer --tool $tool --error-exitcode 1 "$B/kcheck" --device cuda 2>&1 | grep -v '^=')"
	else
		echo "skip compute-sanitizer $tool: no device, or not installed"
		skip=$((skip + 1))
	fi
done
echo "$pass passed, $fail failed, $skip skipped"
test "$fail" = 0
