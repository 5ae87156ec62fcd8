#!/bin/bash
# bad.sh: every file of testdata/bad ends in the class that EXPECT.tsv says: format, shape, missing 3; unsupported 4; ok 0. One
# sentence, no signal, no file under the final name, within 2 GiB of address space (sanitizers need more: no limit then).
. "$(dirname "$0")/lib.sh"
bad=testdata/bad
case ${B:-build} in *asan*|*tsan*|*oom*) limit=unlimited ;; *) limit=2097152 ;; esac
classes() { for c in ${1//|/ }; do case $c in ok) echo 0 ;; unsupported) echo 4 ;; *) echo 3 ;; esac; done; }
within() { (ulimit -c 0; [ $limit = unlimited ] || ulimit -v $limit; exec timeout 60 "$@"); }
judge() {       # judge NAME STATUSES COMMAND...
	local name=$1 want=$2; shift 2
	within "$@" > "$T/.out" 2> "$T/.err" < /dev/null
	got=$?
	case " $want " in
	*" $got "*) if [ $got -ne 0 ] && [ ! -s "$T/.err" ]; then fail "$name" "no sentence"; else ok "$name"; fi ;;
	*) fail "$name" "exit $got, wanted $want: $(tail -n 1 "$T/.err")" ;;
	esac
}
while IFS=$'\t' read -r name what class; do
	case $name in '#'*|file|'') continue ;; esac
	want=$(classes "$class" | tr '\n' ' ')
	judge "$name ($what)" "$want" kls --verify "$bad/$name"
	case " $want " in *' 0 '*) continue ;; esac
	case $name in *.tiktoken|*.json) continue ;; esac
	rm -rf "$T/out"*
	judge "kconvert $name" "3 4 " kconvert "$bad/$name" -o "$T/out"
	for f in "$T/out"*; do if [ -e "$f" ]; then fail "kconvert $name" "$f is left"; fi; done
done < $bad/EXPECT.tsv
finish
