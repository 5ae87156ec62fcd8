#!/bin/sh
# compilers.sh: the bytes of a quantised model do not depend on the compiler or its flags: gcc -O0, gcc -O3, clang -O2 (where there is
# one) give what the tools under test give. Each builds under build/cc-NAME, once.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
"$BIN/kquant" -t i4g32 --rule embed=i8row --rule head=fp8b128 --rule shared=mxfp4 "$nano" -o "$T/want.kmf" || { fail kquant "exit $?"; finish; }
try() {         # try NAME CC CFLAGS
	command -v "$2" > /dev/null || { skip "$1" "no $2"; return; }
	if ! ${MAKE:-make} -s -j2 B="build/cc-$1" CC="$2" CFLAGS="$3" "build/cc-$1/bin/kquant" > "$T/log" 2>&1; then
		fail "$1" "does not build: $(grep -m1 error "$T/log")"
		return
	fi
	"build/cc-$1/bin/kquant" -t i4g32 --rule embed=i8row --rule head=fp8b128 --rule shared=mxfp4 "$nano" -o "$T/$1.kmf" &&
		same "$1" "$T/want.kmf" "$T/$1.kmf"
}
try gcc-O0 gcc -O0
try gcc-O3 gcc -O3
try clang-O2 clang -O2
finish
