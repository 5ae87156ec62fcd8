#!/bin/sh
# compilers.sh: the bytes of a quantised model depend on neither the compiler nor its flags, nor kernel levels, nor threads. gcc -O0,
# gcc -O3, clang -O2 (where there is one) give what the tools under test give; each builds under build/cc-NAME, once. K_BYTES=all (make
# check-bytes): both compilers with -O0, -O2 and -O3, and every level with 1, 2 and 5 threads for every kind of scale.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
levels=$("$BIN/kquant" --cpu='?' --json | sed -n 's/.*"level": "\([^"]*\)", "usable": true.*/\1/p')
kinds="amax7 amax7.5 mse qat"
options_of() {  # what --rule cannot say: scales and rules of groups
	case $1 in
	amax7) echo "" ;;
	amax7.5) echo "--scale amax7.5 --mx-rule ocp" ;;
	mse) echo "--scale mse --rule dense=i4g32" ;;
	qat) echo "--from-qat --mx-rule ggml" ;;
	esac
}
quantise() {    # quantise KQUANT KIND LEVEL THREADS OUT
	# shellcheck disable=SC2046
	"$1" -q -t i4g32 --rule embed=i8row --rule head=fp8b128 --rule shared=mxfp4 $(options_of "$2") --cpu "$3" -j "$4" "$nano" -o "$5"
}
for kind in $kinds; do
	quantise "$BIN/kquant" "$kind" ref 1 "$T/want-$kind.kmf" || { fail kquant "$kind: exit $?"; finish; }
done
one() {         # one NAME KQUANT KIND LEVEL THREADS
	quantise "$2" "$3" "$4" "$5" "$T/have.kmf" && same "$1, $3, $4, $5 threads" "$T/want-$3.kmf" "$T/have.kmf"
}
# Every kind, level and number of threads comes up; all of them with each other in the full matrix.
matrix() {      # matrix NAME KQUANT
	n=0
	for kind in $kinds; do
		for level in $levels; do
			n=$((n + 1)) i=0
			for threads in 1 2 5; do
				i=$((i + 1))
				[ "${K_BYTES:-}" = all ] || [ $((n % 3 + 1)) -eq $i ] || continue
				one "$1" "$2" "$kind" "$level" "$threads"
			done
		done
	done
}
try() {         # try NAME CC CFLAGS
	command -v "$2" > /dev/null || { skip "$1" "no $2"; return; }
	if ! ${MAKE:-make} -s -j2 B="build/cc-$1" CC="$2" CFLAGS="$3" "build/cc-$1/bin/kquant" > "$T/log" 2>&1; then
		fail "$1" "does not build: $(grep -m1 error "$T/log")"
		return
	fi
	matrix "$1" "build/cc-$1/bin/kquant"
}
matrix "as built" "$BIN/kquant"
if [ "${K_BYTES:-}" = all ]; then
	for o in 0 2 3; do
		try gcc-O$o gcc -O$o
		try clang-O$o clang -O$o
	done
else
	try gcc-O0 gcc -O0
	try gcc-O3 gcc -O3
	try clang-O2 clang -O2
fi
finish
