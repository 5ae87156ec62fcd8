#!/bin/sh
# check.sh [ktest|kcheck|tools|serve|fuzz|headers|layers]...: runs the tests of $B (default: all) from the root of the tree.
#
# Each part either ends with a line "N passed, N failed, N skipped", which is added up, or counts as one test by its exit
# status (77: skipped). The last line is the sum; the exit status is 1 when something failed.
#
# Tool tests, cmd/test/*.sh but lib.sh, run with $B/bin first in PATH and as K_BIN, B and K_TESTDATA set.
B=${B:-build}
MAKE=${MAKE:-make}
# Makes that are run from here are nobody's children: their variables and jobs are their own.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
parts=${*:-layers headers ktest kcheck fuzz tools}
case $B in /*) abs=$B ;; *) abs=$PWD/$B ;; esac
K_TESTDATA=${K_TESTDATA:-$PWD/testdata}
PATH=$abs/bin:$PATH
K_BIN=$abs/bin
export B K_BIN K_TESTDATA PATH MAKE
log=$B/check
rm -rf "$log"; mkdir -p "$log" || exit 1
pass=0 fail=0 skip=0

# run NAME COMMAND...: output goes to a log that is shown when something failed or was skipped.
run() {
	name=$1; shift
	file=$log/$(echo "$name" | tr '/ ' '__').log
	timeout "${K_TEST_TIMEOUT:-1800}" "$@" >"$file" 2>&1 </dev/null
	status=$?
	last=$(tail -n 1 "$file")
	set -- $(echo "$last" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
	if test $# = 3; then
		# A count that says "none failed" is not believed when the status says otherwise.
		if test "$status" != 0 && test "$2" = 0; then set -- "$1" 1 "$3"; fi
	elif test "$status" = 0; then set -- 1 0 0
	elif test "$status" = 77; then set -- 0 0 1
	else set -- 0 1 0
	fi
	pass=$((pass + $1)) fail=$((fail + $2)) skip=$((skip + $3))
	if test "$2" != 0; then
		echo "FAIL $name (status $status)"; sed 's/^/    /' "$file" | tail -n 60
	elif test "$3" != 0; then
		echo "skip $name: $(grep -i skip "$file" | grep -v ' skipped$' | head -n 3 | tr '\n' ';')"
	else
		echo "ok   $name"
	fi
}

for part in $parts; do
	case $part in
	layers) run layers sh scripts/layers.sh ;;
	headers) run headers sh -c "$MAKE --no-print-directory -k -j$(nproc) B='$B' check-headers" ;;
	ktest) test ! -x "$B/ktest" || run ktest "$B/ktest" ;;
	kcheck) test ! -x "$B/kcheck" || run kcheck "$B/kcheck" ;;
	fuzz)
		for f in "$B"/fuzz/fuzz_*; do
			test -f "$f" && test -x "$f" && run "replay ${f##*/}" "$f" testdata
		done ;;
	tools)
		for t in cmd/test/*.sh; do
			case $t in */lib.sh|'cmd/test/*.sh') continue ;; esac
			case $(head -n 1 "$t") in *bash) run "$t" bash "$t" ;; *) run "$t" sh "$t" ;; esac
		done ;;
	serve)
		# Of the tools' tests those of the server, where threads meet.
		for t in serve http dialect openai state llama limits strict agent toolloop chat; do
			run "cmd/test/$t.sh" bash "cmd/test/$t.sh"
		done ;;
	*) echo "check.sh: no part '$part'" >&2; exit 2 ;;
	esac
done
echo "$pass passed, $fail failed, $skip skipped"
test "$fail" = 0
