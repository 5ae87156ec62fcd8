#!/bin/bash
# kill.sh: what was cut off is finished by --resume, and nobody can tell. SIGKILL at random moments of kconvert and kquant (K_KILLS: how
# many, 12 by default, 100 for the full measure), a third of them with a torn block or a torn journal; a full disk; parts that are cut
# off; journals of another input, of other options, and damaged ones, which are refused.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
RANDOM=${K_SEED:-7}
kconvert --help | grep -q -e --resume || { skip kill "no --resume"; finish; }
kconvert $nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
kconvert --dtype f32 $nano -o "$T/f32.kmf" || fail setup "f32"
kquant --rule dense=i4g32 --rule embed=i8row --rule shared=fp8b128 --rule head=mxfp4 $nano -o "$T/q.kmf" || fail setup "quantised"

# cut COMMAND...: SIGKILL after a random part of a second; what is dead is waited for, as a lock outlives its owner by a moment
cut() {
	"$@" &
	local pid=$!
	sleep "0.$(printf %03d $((1 + RANDOM % most)))"
	kill -KILL $pid 2> /dev/null
	wait $pid 2> /dev/null
}
run_convert() { "$@" kconvert $nano --resume -o "$T/out"; }
run_dtype() { "$@" kconvert --dtype f32 "$T/nano.kmf" --resume -o "$T/out"; }
run_quant() { "$@" kquant --rule dense=i4g32 --rule embed=i8row --rule shared=fp8b128 --rule head=mxfp4 $nano --resume -o "$T/out"; }
want_convert=nano.kmf want_dtype=f32.kmf want_quant=q.kmf
clean() { rm -rf "$T"/out*; }
size() { stat -c %s "$1" 2> /dev/null || echo 0; }
# Bytes of the last block that the journal says is there, torn; the journal's last record, torn or with something behind it.
tear() {
	local n=$(size "$T/out.journal") at
	[ "$n" -gt 64 ] || return
	case $((RANDOM % 4)) in
	0) truncate -s $((n - 1 - RANDOM % 71)) "$T/out.journal"; torn=$((torn + 1)) ;;
	1) head -c $((1 + RANDOM % 100)) /dev/urandom >> "$T/out.journal"; torn=$((torn + 1)) ;;
	2)      # a record: file, check, places of two planes, their lengths
		at=$(od -An -tu8 -j $((64 + (n - 64) / 72 * 72 - 72 + 8)) -N 8 "$T/out.journal" | tr -d ' ')
		[ -n "$at" ] && printf 'torn' | dd of="$T/out.partial" bs=1 seek="$at" conv=notrunc 2> /dev/null; torn=$((torn + 1)) ;;
	esac
}
ms() { echo $(($(date +%s%N) / 1000000)); }
# until_done WHAT WANT: kills it again and again, until it ends by itself
until_done() {
	local start status
	for i in $(seq 25); do
		"run_$1" cut > "$T/.out" 2> "$T/.err"
		status=$?
		[ $status -eq 0 ] && return 0
		if [ $status -ne 137 ]; then fail "$1 after a kill" "exit $status: $(tail -n 1 "$T/.err")"; return 1; fi
		killed=$((killed + 1))
		# Killed behind the rename: the output is whole, and running again changes nothing.
		[ -e "$T/out" ] && { cmp -s "$T/out" "$T/$2" || { fail "$1" "a killed run left half an output"; return 1; }; continue; }
		tear
	done
	"run_$1" command > "$T/.out" 2> "$T/.err" || { fail "$1 after kills" "exit $?: $(tail -n 1 "$T/.err")"; return 1; }
}
start=$(ms); run_convert command; most=$(($(ms) - start)); clean
[ $most -lt 900 ] || most=900
[ $most -gt 30 ] || most=30
killed=0 torn=0 rounds=0
while [ $killed -lt "${K_KILLS:-12}" ] && [ $n_fail -eq 0 ] && [ $rounds -lt 400 ]; do
	for what in convert dtype quant; do
		clean
		want=want_$what
		until_done $what "${!want}" || break
		cmp -s "$T/out" "$T/${!want}" || { fail "$what" "other bytes after kills"; break; }
		if ls "$T"/out.* > /dev/null 2>&1; then fail "$what" "left: $(ls "$T"/out.*)"; fi
		rounds=$((rounds + 1))
	done
done
[ $n_fail -eq 0 ] && ok "$killed kills, $torn torn, $rounds results equal" && [ -n "${K_KILLS:-}" ] && echo "$killed kills, $torn torn, $rounds results, all equal"

# --- a journal to refuse: kills until there is one with records -----------------------------------------------------------------
half() {
	clean
	for i in $(seq 200); do
		"run_$1" cut > /dev/null 2>&1
		[ "$(size "$T/out.journal")" -gt 208 ] && [ ! -e "$T/out" ] && return 0
		[ -e "$T/out" ] && clean
	done
	return 1
}
# refused NAME COMMAND...: exit 3, a sentence, nothing under the name, the journal as it was
refused() {
	cp "$T/out.journal" "$T/kept"
	local name=$1; shift
	exits "$name" 3 "$@"
	grep -q '^k[a-z]*: .*out' "$T/.err" || fail "$name" "no sentence with the file: $(tail -n 1 "$T/.err")"
	cmp -s "$T/kept" "$T/out.journal" || fail "$name" "the journal is another one"
	if [ -e "$T/out" ]; then fail "$name" "there is an output"; fi
}
flip() { printf "\\x$(printf %02x $((0x$(od -An -tx1 -j "$2" -N 1 "$1" | tr -d ' ') ^ 0x10)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null; }
if half quant; then
	refused "a journal of other options" kquant --rule dense=i4g32 $nano --resume -o "$T/out"
	refused "a journal of another tool" kconvert $nano --resume -o "$T/out"
	refused "a journal of another input" kquant --rule dense=i4g32 --rule embed=i8row --rule shared=fp8b128 --rule head=mxfp4 testdata/tiny/kimi-linear-tiny --resume -o "$T/out"
	cp "$T/out.journal" "$T/good.journal"
	for at in 3 20 50 70 100 130; do
		cp "$T/good.journal" "$T/out.journal"; flip "$T/out.journal" $at
		refused "a damaged journal, byte $at" run_quant command
	done
	cp "$T/good.journal" "$T/out.journal"
	cat "$T/good.journal" <(tail -c +65 "$T/good.journal") > "$T/out.journal"
	run_quant command > /dev/null 2> "$T/.err"
	case $? in 0) same "records twice" "$T/out" "$T/q.kmf" ;; 3) ok "records twice are refused" ;; *) fail "records twice" "$(tail -n 1 "$T/.err")" ;; esac
else
	skip "journals to refuse" "no run was cut off half-way"
fi
if half quant; then
	rm -f "$T/out.partial"
	run_quant command > /dev/null 2> "$T/.err"
	case $? in 0) same "a journal without its file" "$T/out" "$T/q.kmf" ;; 3) ok "a journal without its file is refused" ;; *) fail "a journal without its file" "$(tail -n 1 "$T/.err")" ;; esac
fi
if half quant; then
	truncate -s 5000 "$T/out.partial"
	run_quant command > /dev/null 2> "$T/.err"
	case $? in 0) same "an unfinished file that is cut" "$T/out" "$T/q.kmf" ;; 3) ok "an unfinished file that is cut is refused" ;; *) fail "an unfinished file that is cut" "$(tail -n 1 "$T/.err")" ;; esac
fi
# Another input under the same name: its numbers, its times.
clean; cp -rL $nano "$T/in" && chmod -R u+w "$T/in"
for i in $(seq 200); do
	cut kconvert "$T/in" --resume -o "$T/out" > /dev/null 2>&1
	[ "$(size "$T/out.journal")" -gt 208 ] && break
	clean
done
if [ -e "$T/out.journal" ]; then
	flip "$T/in/model-00002-of-00003.safetensors" 7000001
	kconvert "$T/in" --resume -o "$T/out" > /dev/null 2> "$T/.err"
	case $? in
	3) ok "an input that changed" ;;
	0) kconvert "$T/in" -o "$T/changed.kmf"; same "an input that changed" "$T/out" "$T/changed.kmf" ;;
	*) fail "an input that changed" "$(tail -n 1 "$T/.err")" ;;
	esac
fi

# --- a full disk ------------------------------------------------------------------------------------------------------------------
clean
(trap '' XFSZ; ulimit -f 4000; run_convert command) > /dev/null 2> "$T/.err"
status=$?
if [ $status -eq 5 ] && [ ! -e "$T/out" ]; then ok "a file that may not grow"; else fail "a file that may not grow" "exit $status: $(tail -n 1 "$T/.err")"; fi
run_convert command 2> "$T/.err" && same "and then it may" "$T/out" "$T/nano.kmf"
clean
if unshare -m true 2> /dev/null && mkdir "$T/disk" && unshare -m sh -c "mount -t tmpfs -o size=6m none '$T/disk'" 2> /dev/null; then
	cat > "$T/full" <<'SH'
mount -t tmpfs -o size=6m none "$1/disk" || exit 77
kconvert testdata/nano --resume -o "$1/disk/out" 2> "$1/.err"
case $? in 5|6) ;; *) false ;; esac && [ ! -e "$1/disk/out" ] || { echo "full: $(tail -n 1 "$1/.err")"; exit 1; }
for size in 10 16 20 80; do
	mount -o remount,size=${size}m "$1/disk"
	kconvert testdata/nano --resume -o "$1/disk/out" 2> "$1/.err" && break
	case $? in 5|6) ;; *) echo "$size MiB: $(tail -n 1 "$1/.err")"; exit 1 ;; esac
done
cmp "$1/disk/out" "$1/nano.kmf"
SH
	check "a disk that is full, then larger, five times" unshare -m sh "$T/full" "$T"
else
	skip "a full disk" "no tmpfs can be mounted"
fi

# --- parts -----------------------------------------------------------------------------------------------------------------------
clean
killed=0
for k in 3 1 2; do
	for i in $(seq 6); do
		cut kconvert $nano --part $k/3 --resume -o "$T/out" > /dev/null 2>&1 && break
		killed=$((killed + 1))
	done
	[ $k = 1 ] && exits "sealing when a part is missing" 3 kconvert --seal "$T/out"
	check "part $k after kills" kconvert $nano --part $k/3 --resume -o "$T/out"
done
check "--seal" kconvert --seal "$T/out"
same "parts that were cut off, $killed times" "$T/out" "$T/nano.kmf"
finish
