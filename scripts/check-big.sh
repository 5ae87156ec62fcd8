#!/bin/bash
# check-big.sh: a K2-Thinking-shaped checkpoint of K_BIG_GB (30) passes through 512 MiB, by every route with the same bytes; then how fast,
# beside dd of the same files in direct mode (K_DENSE_GB, 4, without holes). Run by make check-big, not by make check: it wants 1.2 times
# K_BIG_GB and 3 times K_DENSE_GB of disk in K_BIG_DIR (the temporary folder), and minutes.
#
#   kconvert DIR -o FILE              kquant FILE | cat
#   kconvert DIR | kquant | cat       tar c DIR | kconvert - --spool | kquant | cat
TMPDIR=${K_BIG_DIR:-${TMPDIR:-/tmp}}
. cmd/test/lib.sh
gb=${K_BIG_GB:-30} dense=${K_DENSE_GB:-4} limit=$((512 << 20))
group=

# A control group of 512 MiB for all that a route starts, of either version; else an address space of 1.5 GiB for each program.
enter() { mkdir "$1" && if [ -w "$1/$2" ] && echo $limit > "$1/$2"; then group=$1; else rmdir "$1"; false; fi; }
enter /sys/fs/cgroup/ktools.$$ memory.max 2> /dev/null || enter /sys/fs/cgroup/memory/ktools.$$ memory.limit_in_bytes 2> /dev/null
trap 'rm -rf "$T"; [ -z "$group" ] || rmdir "$group"' EXIT
if [ -n "$group" ]; then echo "limit: 512 MiB by $group"; else echo "limit: 1.5 GiB of address space a program; resident memory is looked at"; fi
limited() { if [ -n "$group" ]; then echo $BASHPID > "$group/cgroup.procs"; else ulimit -v 1572864; fi; }

# timed NAME COMMAND...: runs it under the limit, says time and peak resident memory; its output goes where the caller sends it.
timed() {
	name=$1; shift
	( limited; exec /usr/bin/time -o "$T/time" -f '%e %M %U %S' "$@" )
	status=$?
	read -r took rss user sys < "$T/time"
	if [ $status -ne 0 ]; then fail "$name" "exit $status"
	elif [ "$rss" -gt 524288 ]; then fail "$name" "$((rss / 1024)) MiB resident"
	else ok "$name"; fi
	echo "$name: $took s, $((rss / 1024)) MiB resident, CPU $user + $sys s" >&2
}
digest() { sha256sum | cut -c 1-64; }

python3 scripts/big-checkpoint.py --shape k2 --sparse "$T/big" "$gb" || { fail make "no checkpoint"; finish; }
timed "kconvert DIR -o FILE, $gb GB" "$BIN/kconvert" "$T/big" -o "$T/big.kmf"
mkfifo "$T/fifo"
digest < "$T/fifo" > "$T/a" &
timed "kquant FILE" "$BIN/kquant" -t i4g32 "$T/big.kmf" > "$T/fifo"
wait
a=$(cat "$T/a")
rm -f "$T/big.kmf"
b=$( ( limited; set -o pipefail; "$BIN/kconvert" "$T/big" | "$BIN/kquant" -t i4g32 | cat ) | digest)
if [ -n "$a" ] && [ "$a" = "$b" ]; then ok "kconvert | kquant | cat"; else fail "kconvert | kquant | cat" "other bytes than through a file"; fi
mkdir "$T/spool"
b=$( ( limited; set -o pipefail; tar c -C "$T" big | "$BIN/kconvert" - --spool "$T/spool" | "$BIN/kquant" -t i4g32 | cat ) | digest)
if [ "$a" = "$b" ]; then ok "tar | kconvert - --spool | kquant | cat"; else fail "tar | kconvert - --spool | kquant | cat" "other bytes than through a file"; fi
rm -rf "$T/big" "$T/spool"

# --- how fast ---------------------------------------------------------------------------------------------------------------

now() { date +%s.%N; }
dd_read() { for f in "$@"; do dd if="$f" of=/dev/null bs=4M iflag=direct status=none; done; }
dd_copy() { for f in "$@"; do dd if="$f" of="$T/copy.${f##*/}" bs=4M iflag=direct oflag=direct conv=fsync status=none; done; }
spent() { s=$(now); "$@" > /dev/null; e=$(now); echo "$s $e" | awk '{ print $2 - $1 }'; rm -f "$T"/copy.*; }
# ratio NAME DD FILES -- COMMAND: of the medians of five runs each, by turns; below 0.75 it fails.
ratio() {
	name=$1 how=$2 files=(); shift 2
	while [ "$1" != -- ]; do files+=("$1"); shift; done
	shift
	: > "$T/dd"; : > "$T/us"
	for i in 1 2 3 4 5; do
		spent "$how" "${files[@]}" >> "$T/dd"
		spent "$@" >> "$T/us"
		rm -f "$T/out.kmf"
	done
	x=$(sort -g "$T/dd" | sed -n 3p) y=$(sort -g "$T/us" | sed -n 3p)
	r=$(echo "$x $y" | awk '{ printf "%.2f", $1 / $2 }')
	echo "$name: $y s, dd $x s: $r of its rate"
	if echo "$r" | awk '{ exit $1 < 0.75 }'; then ok "$name"; else fail "$name" "$r of the rate of dd, wanted 0.75"; fi
}
python3 scripts/big-checkpoint.py "$T/dense" "$dense" && sync || fail make "no checkpoint"
ratio "kconvert, reading" dd_read "$T"/dense/*.safetensors -- "$BIN/kconvert" "$T/dense" -o /dev/null
ratio "kconvert, reading and writing" dd_copy "$T"/dense/*.safetensors -- "$BIN/kconvert" "$T/dense" -o "$T/out.kmf"
"$BIN/kconvert" "$T/dense" -o "$T/dense.kmf" && rm -rf "$T/dense"
ratio "kquant, reading" dd_read "$T/dense.kmf" -- "$BIN/kquant" -t i4g32 "$T/dense.kmf" -o /dev/null
finish
