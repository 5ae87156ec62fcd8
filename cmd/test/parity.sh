#!/bin/bash
# parity.sh: every tiny model against its golden set (logits, hidden states, KDA states, router choices, greedy tokens); the same bits
# from a container, a pipe and the folder, and whatever the threads and the batch.
. "$(dirname "$0")/lib.sh"
for golden in testdata/golden/*/; do
	name=$(basename "$golden") model=testdata/tiny/$(basename "$golden")
	[ -d "$model" ] && [ -f "$golden/golden.json" ] || continue
	kconvert "$model" -o "$T/m.kmf" || { fail "$name" "kconvert"; continue; }
	check "$name: parity" keval parity -m "$T/m.kmf" -f "$golden"
	keval dump -m "$T/m.kmf" -f "$golden/golden.json" -j 1 -b 1 -o "$T/1.st" || fail "$name" "keval dump"
	for way in "-j 2 -b 5" "-j 7 -b 1" "-j 7 -b 5"; do
		keval dump -m "$T/m.kmf" -f "$golden/golden.json" $way -o "$T/2.st" 2> "$T/.err" && same "$name: $way" "$T/1.st" "$T/2.st"
	done
	keval dump -m "$model" -f "$golden/golden.json" -o "$T/2.st" && same "$name: from the folder" "$T/1.st" "$T/2.st"
	kconvert "$model" | keval dump -m - -f "$golden/golden.json" -o "$T/2.st" && same "$name: from a pipe" "$T/1.st" "$T/2.st"
done
# A wrong weight is not within the tolerance.
kquant -t i4g32 testdata/tiny/kimi-k2-tiny -o "$T/q.kmf" 2> "$T/.err"
exits "INT4 where BF16 is wanted" 1 keval parity -m "$T/q.kmf" -f testdata/golden/kimi-k2-tiny
finish
