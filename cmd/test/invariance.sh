#!/bin/bash
# invariance.sh: the same digits for 1, 2 and 5 threads and batches of 1, 3 and 8: the report of every task that computes in the process, byte for
# byte, and what imatrix, dump and kld --save-ref write besides.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tasks"
tasks_setup kld || finish
output() { case $1 in save) echo "$T/saved" ;; imatrix) echo "$T/imatrix" ;; dump) echo "$T/dump" ;; esac; }
for t in ppl save kld choice gen needle toolcall agent parity imatrix dump; do
	out=$(output $t)
	for j in 1 2 5; do
		for b in 1 3 8; do
			rm -f "$T/r" $out
			if ! task $t -j $j -b $b --report "$T/r" -q > "$T/.out" 2> "$T/.err"; then
				fail "$t" "exit $? with $j threads, batch $b: $(tail -n 1 "$T/.err")"
			elif [ $j$b = 11 ]; then
				cp "$T/r" "$T/$t.1"; [ -z "$out" ] || cp "$out" "$T/$t.2"
				if [ -s "$T/r" ] || [ $t = dump ]; then ok "$t"; else fail "$t" "the report is empty"; fi
			else
				same "$t: $j threads, batch $b" "$T/$t.1" "$T/r"
				[ -z "$out" ] || same "$t: $j threads, batch $b: what it writes" "$T/$t.2" "$out"
			fi
		done
	done
done
finish
