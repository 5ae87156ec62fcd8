#!/bin/bash
# resume.sh: keval --resume. SIGKILL at random moments of ppl, kld, choice, gen and needle (K_KILLS: how many, 10 by default, 50 for the full measure),
# some of them twice and some with a line that is torn as well; whatever batch and number of threads goes on, the report, standard output and
# --report are those of a run that nobody killed. Journals of another model, file, option or task, and damaged ones, are refused and stay as they are.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tasks"
RANDOM=${K_SEED:-11}
tasks_setup kld || finish
tasks=(ppl kld choice gen needle)
now() { date +%s%N; }
for t in "${tasks[@]}"; do
	begin=$(now)
	task $t --report "$T/$t" --json > "$T/$t.out" 2> "$T/.err" || fail "$t" "exit $?: $(tail -n 1 "$T/.err")"
	eval "took_$t=$((($(now) - begin) / 1000000))"
done
any() { local list=($1); echo "${list[RANDOM % ${#list[@]}]}"; }
# cut TASK: SIGKILL at a random moment of a run; true when it came before the end
cut() {
	local most=took_$1 pid
	(how=exec; task $1 --resume "$T/r" -b "$(any '1 3 8')" -j "$(any '1 2 5')") > /dev/null 2>&1 &
	pid=$!
	sleep "$(printf '%d.%03d' $((ms = RANDOM % (${!most} + 1), ms / 1000)) $((ms % 1000)))"
	kill -KILL $pid 2> /dev/null
	wait $pid 2> /dev/null
	[ $? -eq 137 ]
}
lines() { wc -l 2> /dev/null < "$1" || echo 0; }
killed=0 torn=0 empty=0 tries=0 most=${K_KILLS:-10}
while [ $killed -lt $most ] && [ $tries -lt $((20 * most)) ]; do
	t=${tasks[tries++ % ${#tasks[@]}]}
	rm -f "$T/r"
	cut $t || continue
	killed=$((killed + 1)) places="${places:-} $t:$(lines "$T/r")"
	[ -s "$T/r" ] || empty=$((empty + 1))
	if [ $((RANDOM % 3)) = 0 ] && [ -s "$T/r" ]; then
		truncate -s "-$((1 + RANDOM % 30))" "$T/r" 2> /dev/null; torn=$((torn + 1))
	fi
	if [ $((RANDOM % 3)) = 0 ] && cut $t; then killed=$((killed + 1)) places="$places $t:$(lines "$T/r")"; fi
	task $t --resume "$T/r" --report "$T/m" --json -b "$(any '1 3 8')" -j "$(any '1 2 5')" > "$T/out" 2> "$T/.err" || fail "kill $killed, $t" "exit $?: $(tail -n 1 "$T/.err")"
	same "kill $killed, $t: the journal" "$T/$t" "$T/r"
	same "kill $killed, $t: the report" "$T/$t" "$T/m"
	same "kill $killed, $t: standard output" "$T/$t.out" "$T/out"
done
[ $killed -ge $most ] || fail kills "$killed of $most in $tries runs"
[ -z "${K_VERBOSE:-}" ] || echo "# $killed kills, $torn with a torn line, $empty before the first line; lines that were there:$places"
# Cut off at every byte of two lines, by hand.
for t in ppl choice; do
	head -n 2 "$T/$t" > "$T/head"; bytes=$(wc -c < "$T/head"); all=$(head -n 4 "$T/$t" | wc -c)
	for at in $bytes $((bytes + 1)) $((bytes + 9)) $(((bytes + all) / 2)) $((all - 1)) $all; do
		head -c $at "$T/$t" > "$T/r"
		check "$t cut at byte $at" task $t --resume "$T/r"; same "$t cut at byte $at" "$T/$t" "$T/r"
	done
	cp "$T/$t" "$T/r"; check "$t, complete" task $t --resume "$T/r" --report "$T/m"; same "$t, complete" "$T/$t" "$T/r"; same "$t, complete, reported" "$T/$t" "$T/m"
	: > "$T/r"; check "$t, an empty file" task $t --resume "$T/r"; same "$t, an empty file" "$T/$t" "$T/r"
done
# What is refused, with a sentence, and left as it is.
refused() {     # refused NAME TEXT COMMAND...
	local name=$1 text=$2; shift 2
	cp "$T/r" "$T/kept"
	exits "$name" 3 "$@" --resume "$T/r"
	if grep -q -e "'$T/r'.*$text" "$T/.err"; then ok "$name is named"; else fail "$name is named" "$(tail -n 1 "$T/.err")"; fi
	same "$name: the journal stays" "$T/kept" "$T/r"
}
half() { head -n 4 "$T/$1" > "$T/r"; }
half ppl
refused "another model" 'its model is "' keval ppl -m "$T/i4.kmf" -f "$T/text" --window 40
head -c 1000 "$T/text" > "$T/other"; refused "another file" 'its text_sha256 is "' keval ppl -m "$T/nano.kmf" -f "$T/other" --window 40
refused "another window" 'its window is 40, that of this run is 30' task ppl --window 30
refused "another stride" 'its stride is 40, that of this run is 20' task ppl --stride 20
refused "another act" 'its act is "f32", that of this run is "bf16"' task ppl --act bf16
refused "another BOS" 'its bos_id is' task ppl --bos "$(grep -q '"bos_id": null' "$T/ppl" && echo yes || echo no)"
refused "another profile" 'its profile is "engine", that of this run is "hf_remote"' task ppl --profile hf_remote
refused "another task" 'its task is "ppl", that of this run is "choice"' task choice
refused "fewer windows" 'it has 4 items, this run has 2' task ppl --limit 1
half kld; keval kld -m "$T/i4.kmf" -f "$T/text" --window 40 --save-ref "$T/i4.ref" > /dev/null 2>&1
refused "another reference" 'its ref_sha256 is "' keval kld -m "$T/i4.kmf" -f "$T/text" --window 40 --ref "$T/i4.ref"
half choice
refused "another seed" 'its seed is 0, that of this run is 1' task choice --seed 1
refused "another limit" 'its limit is 0, that of this run is 5' task choice --limit 5
head -n 8 "$T/in.choice" > "$T/other"; refused "other questions" 'its file_sha256 is "' keval choice -m "$T/nano.kmf" -f "$T/other"
half needle; refused "other depths" 'its depths is "0,50,100", that of this run is "0"' task needle --depths 0
half ppl; sed -i '3s/^{/{{/' "$T/r"; refused "a damaged line" '' task ppl
half ppl; sed -i '2d' "$T/r"; refused "a line that is gone" "its item 2 is 'window 1'" task ppl
half ppl; cp "$T/r" "$T/kept"; exec 9>> "$T/r"; flock 9
exits "a journal at which somebody writes" 5 task ppl --resume "$T/r"; same "a journal at which somebody writes: it stays" "$T/kept" "$T/r"
grep -q "'$T/r' is being written by another process" "$T/.err" && ok "the sentence" || fail "the sentence" "$(tail -n 1 "$T/.err")"
exec 9>&-; check "when nobody writes" task ppl --resume "$T/r"; same "when nobody writes" "$T/ppl" "$T/r"
printf 'my notes' > "$T/r"; refused "somebody's file" 'no report to resume' task ppl
finish
