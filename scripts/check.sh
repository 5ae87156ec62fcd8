#!/bin/sh
# check.sh [layers|headers|ktest|kcheck|fuzz|tools|serve]...: runs the tests of $B (default: all but serve) from the root of the tree,
# K_TEST_JOBS at a time (default: one for each CPU).
#
# Each test either ends with a line "N passed, N failed, N skipped", which is added up, or counts as one by its exit status (77: skipped).
# The last line is the sum; the exit status is 1 when something failed.
#
# Tool tests, cmd/test/*.sh but lib.sh, run with $B/bin first in PATH and as K_BIN, B and K_TESTDATA set. One that judges how long
# something takes has a line "# alone: why" and runs when the others are through.
#
# check.sh --one TEST, --become TEST: what it calls itself with. Ctrl-C ends them all.
B=${B:-build}
MAKE=${MAKE:-make}
# Makes that are run from here are nobody's children: their variables and jobs are their own.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
case $B in /*) abs=$B ;; *) abs=$PWD/$B ;; esac
K_TESTDATA=${K_TESTDATA:-$PWD/testdata}
case :$PATH in :"$abs/bin":*) ;; *) PATH=$abs/bin:$PATH ;; esac
K_BIN=$abs/bin
export B K_BIN K_TESTDATA PATH MAKE
log=$B/check

file_of() { echo "$log/$(echo "$1" | tr '/ ' '__')"; }

# Becomes a test, so that it is the test that a signal reaches.
become() {
	case $1 in
	layers) exec sh scripts/layers.sh ;;
	headers) exec $MAKE --no-print-directory -k -j"$(nproc)" B="$B" check-headers ;;
	ktest|kcheck) exec "$B/$1" ;;
	fuzz_*) exec "$B/fuzz/$1" testdata ;;
	*) case $(head -n 1 "$1") in *bash) exec bash "$1" ;; *) exec sh "$1" ;; esac ;;
	esac
}

# Runs a test and leaves its counts; its output is in a log, which is shown when something failed or was skipped.
one() {
	file=$(file_of "$1")
	timeout --foreground "${K_TEST_TIMEOUT:-1800}" sh "$0" --become "$1" > "$file.log" 2>&1 < /dev/null
	status=$?
	name=$1
	set -- $(tail -n 1 "$file.log" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
	if test $# = 3; then
		# A count that says "none failed" is not believed when the status says otherwise.
		if test "$status" != 0 && test "$2" = 0; then set -- "$1" 1 "$3"; fi
	elif test "$status" = 0; then set -- 1 0 0
	elif test "$status" = 77; then set -- 0 0 1
	else set -- 0 1 0
	fi
	echo "$*" > "$file.count"
	if test "$2" != 0; then
		echo "FAIL $name (status $status)
$(sed 's/^/    /' "$file.log" | tail -n 60)"
	elif test "$3" != 0; then
		echo "skip $name: $(grep -i skip "$file.log" | grep -v ' skipped$' | head -n 3 | tr '\n' ';')"
	else
		echo "ok   $name"
	fi
}

# The tests of a part that are there, one a line.
tests_of() {
	case $1 in
	layers|headers) echo "$1" ;;
	ktest|kcheck) test ! -x "$B/$1" || echo "$1" ;;
	fuzz) for t in "$B"/fuzz/fuzz_*; do test ! -f "$t" || test ! -x "$t" || echo "${t##*/}"; done ;;
	tools) for t in cmd/test/*.sh; do case $t in */lib.sh|'cmd/test/*.sh') ;; *) echo "$t" ;; esac; done ;;
	# Of the tools' tests those of the server, where threads meet.
	serve) for t in serve http dialect openai state llama limits strict agent toolloop chat; do echo "cmd/test/$t.sh"; done ;;
	*) echo "check.sh: no part '$1'" >&2; exit 2 ;;
	esac
}

case ${1-} in
--become) become "$2" ;;
--one) one "$2"; exit ;;
esac
rm -rf "$log"; mkdir -p "$log" || exit 1
# The longest first.
for part in ${*:-kcheck ktest tools layers headers fuzz}; do tests_of "$part" || exit; done > "$log/tests" || exit
for t in $(cat "$log/tests"); do
	if test -f "$t" && grep -q '^# alone: ' "$t"; then echo "$t" >> "$log/alone"; else echo "$t" >> "$log/beside"; fi
done
for f in "$log/beside" "$log/alone"; do
	test ! -f "$f" || xargs -n 1 -P "$(test "$f" = "$log/alone" && echo 1 || echo "${K_TEST_JOBS:-$(nproc)}")" sh "$0" --one < "$f"
done
pass=0 fail=0 skip=0
while read -r t; do
	# Who was killed left no counts.
	read -r p f s 2> /dev/null < "$(file_of "$t").count" || { echo "FAIL $t (no counts)"; p=0 f=1 s=0; }
	pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
done < "$log/tests"
echo "$pass passed, $fail failed, $skip skipped"
test "$fail" = 0
