#!/bin/bash
# bytes.sh: what the converters write does not depend on the compiler, its flags, the kernel level or the threads: every output of the
# tools under test is compared, by digest, with what other builds and other levels and thread counts give.
#
#   make check          the tools under test at every level with 1 and 5 threads, levels that are models of others with 5, gcc -O0 and clang -O2 at their best level; few outputs
#   make check-bytes    K_BYTES=all: {gcc, clang} x {-O0, -O2, -O3} x levels x {1, 2, 5} threads; every type, scale, preset and format
#
# Each build lies in build/cc-COMPILER-FLAG and is made once. Levels that this CPU lacks and compilers that are not there are skips.
. "$(dirname "$0")/lib.sh"
case ${B:-build} in *asan*|*tsan*|*oom*) skip bytes "sanitized builds are slow, and the plain ones are compared"; finish ;; esac
all=${K_BYTES:-}
words() { "$BIN/$1" --help=json | sed -n "s/.*\"name\": \"$2\"[^}]*\"arg\": \"\([^\"]*\)\".*/\1/p" | tr "|" " "; }
can() { "$BIN/$1" --help | grep -q -e "$2"; }

# --- what is written: a name and a command line a line; models are short names --------------------------------------------------
jobs() {
	tiny=testdata/tiny nano=testdata/nano
	mixed="--rule dense=i4g32 --rule embed=i8row --rule head=fp8b128 --rule shared=mxfp4 --rule attn=q8_0"
	echo "kconvert $tiny/kimi-k2-tiny-int4"
	echo "kconvert --dequant $tiny/kimi-k2-tiny-fp8"
	echo "kconvert --dtype f16 $tiny/kimi-linear-tiny"
	echo "kconvert --to safetensors --dequant $tiny/kimi-linear-tiny-int4"
	echo "kconvert $tiny/llama-tiny-gguf/llama-tiny-Q4_0.gguf"
	echo "kquant -t i4g32 $mixed $nano"
	echo "kquant -t mxfp4 --preset small $tiny/kimi-k2-tiny"
	for s in $(words kquant scale); do [ "$s" = imatrix ] || echo "kquant -t i4g32 --scale $s --rule dense=i4g32 $tiny/kimi-linear-tiny"; done
	can kquant --mx-rule && echo "kquant -t i4g32 --from-qat --mx-rule ggml $mixed $nano" && echo "kquant -t mxfp4 --mx-rule ocp $tiny/kimi-k2-tiny"
	can kconvert 'gguf' && "$BIN/kconvert" --to gguf $tiny/llama-tiny -o "$T/probe" 2> /dev/null && echo "kconvert --to gguf $tiny/llama-tiny"
	can kconvert --pack && echo "kconvert --pack $tiny/kimi-k2-tiny"
	[ -n "$all" ] || return
	for m in $tiny/*/ $nano; do
		[ -f "$m/config.json" ] || continue
		for o in "" "--dequant" "--dtype bf16" "--dtype f16" "--dtype f32" "--to safetensors --dequant" "--to hf"; do echo "kconvert $o $m"; done
		for p in $("$BIN/kquant" --json --preset '?' | sed 's/.*"preset": "\([^"]*\)".*/\1/'); do echo "kquant --preset $p $m"; done
		[ -e "$T/probe" ] && "$BIN/kconvert" --to gguf "$m" -o "$T/probe" 2> /dev/null && echo "kconvert --to gguf $m"
		can kconvert --pack && echo "kconvert --pack $m"
	done
	for g in $tiny/llama-tiny-gguf/*.gguf; do echo "kconvert $g"; echo "kconvert --dequant $g"; done
	for t in $("$BIN/kquant" --json -t '?' | sed 's/.*"type": "\([^"]*\)".*/\1/'); do
		for m in $tiny/kimi-k2-tiny $tiny/llama-tiny $nano; do
			for s in $(words kquant scale); do
				[ "$s" = imatrix ] || echo "kquant -t $t --scale $s --rule dense=$t --rule attn=$t --rule embed=$t --rule shared=$t $m"
			done
		done
	done
	for r in dense experts; do echo "kquant --ledger - --rule $r=i4g32 -o $T/ledgered $nano"; done
}

# digest FOLDER-OF-TOOLS LEVEL THREADS COMMAND...: of standard output, or of the folder's files
digest() {
	local bin=$1 level=$2 threads=$3; shift 3
	case " $* " in
	*' --to hf '*)
		rm -rf "$T/hf"
		"$bin/$1" --cpu "$level" -j "$threads" "${@:2}" -o "$T/hf" 2> "$T/.err" && (cd "$T/hf" && sha256sum -- *) | sha256sum ;;
	*)
		"$bin/$1" --cpu "$level" -j "$threads" "${@:2}" 2> "$T/.err" < /dev/null > "$T/one"
		case $? in 0) sha256sum < "$T/one" ;; *) echo "exit $?: $(tail -n 1 "$T/.err")" | sed 's/^.*: //' ;; esac ;;
	esac
}
# compare NAME FOLDER-OF-TOOLS LEVEL THREADS: every output against the digests in $T/want
compare() {
	local name=$1 bin=$2 level=$3 threads=$4 differ=
	while IFS=$'\t' read -r job want; do
		# shellcheck disable=SC2086
		[ "$(digest "$bin" "$level" "$threads" $job)" = "$want" ] || { differ="$job: $(tail -n 1 "$T/.err")"; break; }
	done < "$T/want"
	if [ -z "$differ" ]; then ok "$name, level $level, $threads threads"; else fail "$name, level $level, $threads threads" "other bytes: $differ"; fi
}
jobs | awk '!seen[$0]++' > "$T/jobs"
refused=0
while IFS= read -r job; do
	# shellcheck disable=SC2086
	d=$(digest "$BIN" ref 1 $job)
	case $d in *' -') ;; *) refused=$((refused + 1)) ;; esac
	printf '%s\t%s\n' "$job" "$d"
done < "$T/jobs" > "$T/want"
# What a type refuses (a shape) every build refuses; but most must be outputs.
total=$(wc -l < "$T/want") refused=$(grep -vc '  *-$' "$T/want")
[ $((refused * 3)) -lt "$total" ] || { fail outputs "$refused of $total are refused: $(grep -v ' -$' "$T/want" | head -n 3)"; finish; }
levels=$("$BIN/kquant" '--cpu=?' --json | sed -n 's/.*"level": "\([^"]*\)", "usable": true.*/\1/p')
for l in $("$BIN/kquant" '--cpu=?' --json | sed -n 's/.*"level": "\([^"]*\)", "usable": false.*/\1/p'); do skip "level $l" "this CPU lacks it"; done
best=$(echo "$levels" | tail -n 1)
for l in $levels; do for j in 1 5; do compare "tools under test" "$BIN" "$l" $j; done; done
models=${BIN%/*}/models
for l in $("$models/kquant" '--cpu=?' --json | sed -n 's/.*"level": "\([^"]*sim\)", "usable": true.*/\1/p'); do
	compare "models of machines" "$models" "$l" 5
done

# build COMPILER FLAG: 0 when build/cc-COMPILER-FLAG is up to date, with the levels that can run here
build() {
	command -v "$1" > /dev/null || { skip "$1 $2" "no $1"; return 1; }
	${MAKE:-make} -s -j"$(nproc)" B="build/cc-$1$2" CC="${K_CCACHE:-}$1" CFLAGS="$2" levels="$(echo $levels)" "build/cc-$1$2/bin/kconvert" "build/cc-$1$2/bin/kquant" > "$T/log" 2>&1 && return
	fail "$1 $2" "does not build: $(grep -m1 error "$T/log")"
	return 1
}
if [ -n "$all" ]; then
	for cc in gcc clang; do for flag in -O0 -O2 -O3; do
		build $cc $flag || continue
		for l in $levels; do for j in 1 2 5; do compare "$cc $flag" "build/cc-$cc$flag/bin" "$l" $j; done; done
	done; done
else
	for v in 'gcc -O0' 'clang -O2'; do
		# shellcheck disable=SC2086
		build $v && compare "$v" "build/cc-${v/ /}/bin" "$best" 2
	done
fi
[ -n "$all" ] && echo "$total outputs, $refused of them refusals, the same in every build"
finish
