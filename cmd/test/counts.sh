#!/bin/sh
# counts.sh [--update]: instructions of one call of each avx2 kernel, by valgrind's callgrind, against the table of what they were: more than
# 2 % above it fails, more than 2 % below it asks for a new table, a kernel that is not in it is skipped. Counts are a compiler's: with another
# one, or other flags, than those the table was made with nothing is compared. --update writes the table anew.
. "$(dirname "$0")/lib.sh"
table=kernels/check/counts_avx2.txt
built=$(dirname "$BIN")
command -v valgrind > /dev/null || { echo "skipped: no valgrind"; exit 77; }
command -v readelf > /dev/null || { echo "skipped: no readelf"; exit 77; }
[ -x "$built/kcheck" ] || { echo "skipped: no kcheck in $built"; exit 77; }
compiler=$(readelf -p .comment "$built/kcheck" | sed -n 's/^ *\[ *[0-9a-f]*\] *//p' | head -n 1)
flags=$(sed -n '1s/ *-I[^ ]*//g; 1s/ *$//; 1s/.*-std/-std/p' "$built/gen/flags")
# The first run tells nothing but which kernels there are: a skipped level has none.
"$built/kcheck" --once --level avx2 > "$T/names"
grep -q '^skip' "$T/names" && { echo "skipped: $(cat "$T/names")"; exit 77; }

if [ "${1:-}" != --update ]; then
	was=$(sed -n 's/^# compiler: //p' $table)
	[ "$compiler" = "$was" ] || { echo "skipped: the table is of '$was', this is '$compiler'"; exit 77; }
	was=$(sed -n 's/^# flags: //p' $table)
	[ "$flags" = "$was" ] || { echo "skipped: the table is of '$was', this is '$flags'"; exit 77; }
fi

# A file of counts for each call, in the order of the names.
(cd "$T" && valgrind --tool=callgrind --callgrind-out-file=out --toggle-collect=kcheck_one_call --dump-after=kcheck_one_call \
	"$built/kcheck" --once --level avx2 > named 2> said) || { fail valgrind "$(tail -n 3 "$T/said")"; finish; }
same "the same kernels" "$T/names" "$T/named"
[ -f "$T/out.$(wc -l < "$T/names")" ] || { fail "callgrind" "it counted $(ls "$T" | grep -c '^out[.]') calls of $(wc -l < "$T/names")"; finish; }
i=0
while IFS= read -r line; do
	i=$((i + 1))
	printf '%s\t%s\n' "$line" "$(sed -n 's/^\(totals\|summary\): //p' "$T/out.$i" | head -n 1)"
done < "$T/names" > "$T/counts"

if [ "${1:-}" = --update ]; then
	{
		echo "# Instructions of one call of each avx2 kernel (cmd/test/counts.sh --update): kernel, size, count."
		echo "# compiler: $compiler"
		echo "# flags: $flags"
		cat "$T/counts"
	} > $table
	exit
fi
grep -v '^#' $table > "$T/was"
awk -F '\t' '
	{ name = $1 " (" $2 ")"; key = name " " ++seen[FILENAME, name] }       # a size may stand there more than once
	NR == FNR { was[key] = $3; next }
	{ left[key] = 1 }
	!(key in was) { print "skip " name " is not in the table: counts.sh --update"; next }
	$3 > was[key] * 1.02 { printf "%s: %d instructions, the table has %d: %.1f %% more\n", name, $3, was[key], 100 * ($3 / was[key] - 1); next }
	$3 < was[key] * 0.98 { printf "ok %s: %d instructions, the table has %d: %.1f %% fewer, which counts.sh --update keeps\n", name, $3, was[key], 100 * (1 - $3 / was[key]); next }
	{ print "ok " name }
	END { for (key in was) if (!(key in left)) print "skip " key ". is in the table and no kernel: counts.sh --update" }' "$T/was" "$T/counts" > "$T/verdict"
grep ' fewer, ' "$T/verdict"
while read -r word rest; do
	case $word in
	ok) ok "$rest" ;;
	skip) skip counts "$rest" ;;
	*) fail counts "$word $rest" ;;
	esac
done < "$T/verdict"
finish
