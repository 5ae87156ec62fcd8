#!/bin/bash
# merge.sh: keval --part K/N on every task that has items, and keval merge: the report, standard output, JUnit and TAP are those of one run, byte
# for byte; so is what a bar says. What does not belong together is refused with the file and the member that differs.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tasks"
tasks_setup kld || finish
# merged TASK N: N parts and the whole
merged() {
	local t=$1 n=$2 k reports=
	[ -s "$T/$t" ] || task $t --report "$T/$t" --junit "$T/$t.xml" --json -b 2 > "$T/$t.out" 2> "$T/.err" || { fail "$t" "exit $?: $(tail -n 1 "$T/.err")"; return; }
	for k in $(seq $n); do
		check "$t: part $k of $n" task $t --part $k/$n -b 2 --report "$T/$t.$k" -q
		reports="$T/$t.$k $reports"
	done
	check "$t: merge" keval merge $reports --report "$T/m" --junit "$T/m.xml" --json
	same "$t: the report of $n parts" "$T/$t" "$T/m"
	same "$t: standard output" "$T/$t.out" "$T/.out"
	same "$t: JUnit" "$T/$t.xml" "$T/m.xml"
}
for t in ppl kld choice gen needle toolcall; do merged $t 3; done
merged gen 9            # more parts than items
merged ppl 1
merged choice 2
keval merge "$T/choice.1" "$T/choice.2" --tap > "$T/a"; task choice --tap > "$T/b"; same "TAP" "$T/a" "$T/b"
# Drawn items and a limit; parts through pipes.
for k in 1 2; do task choice --seed 5 --limit 5 --part $k/2 --report "$T/s$k" -q > /dev/null; done
task choice --seed 5 --limit 5 --report "$T/s" -q > /dev/null
keval merge "$T/s1" "$T/s2" --report "$T/m" > /dev/null; same "drawn items" "$T/s" "$T/m"
for k in 1 2; do
	keval prompts choice -f "$T/in.choice" --part $k/2 > "$T/asked"; wc -l < "$T/asked" >> "$T/lines"
	kserve --stdio --act f32 -q "$T/nano.kmf" < "$T/asked" 2> "$T/.err" | keval score choice -f "$T/in.choice" --part $k/2 --report "$T/p$k" > /dev/null
	cat "$T/asked" >> "$T/all"
done
kserve --stdio --act f32 -q "$T/nano.kmf" < "$T/all" 2> "$T/.err" | keval score choice -f "$T/in.choice" --report "$T/p" > /dev/null
check "parts through pipes" keval merge "$T/p2" "$T/p1" --report "$T/m"; same "parts through pipes" "$T/p" "$T/m"
# Bars of the whole, and a comparison with an unmerged report.
exits "a bar that holds" 0 keval merge "$T/choice.1" "$T/choice.2" --bar 'acc>=0'
exits "a bar that is missed" 1 keval merge "$T/choice.1" "$T/choice.2" --bar 'acc>1' --report "$T/m"; same "its report is whole" "$T/choice" "$T/m"
exits "a bar on what another task has" 2 keval merge "$T/choice.1" "$T/choice.2" --bar 'ppl<25'
check "no difference" keval diff "$T/choice" "$T/m"; grep -q '"differ": 0' "$T/.out" && ok "no item differs" || fail "no item differs" "$(tail -n 1 "$T/.out")"
# A part that was cut off goes on as a part; as another it does not.
task ppl --part 2/3 --report "$T/ppl.2" -q > /dev/null; head -n 2 "$T/ppl.2" > "$T/r"
check "a part is resumed" task ppl --part 2/3 --resume "$T/r"; same "a part is resumed" "$T/ppl.2" "$T/r"
head -n 2 "$T/ppl.2" > "$T/r"; exits "as another part" 3 task ppl --part 3/3 --resume "$T/r"
says() { if grep -q -e "$2" "$T/.err"; then ok "$1 is named"; else fail "$1 is named" "$(tail -n 1 "$T/.err")"; fi; }
says "the part" 'its part is "2/3", that of this run is "3/3"'
# What does not belong together.
for k in 1 2 3; do task ppl --part $k/3 --report "$T/ppl.$k" -q > /dev/null; done
refused() { local name=$1 status=$2 text=$3; shift 3; exits "$name" $status keval merge "$@"; says "$name" "$text"; }
refused "a part too few" 2 "ppl.1' is part 1/3, and 2 reports are given" "$T/ppl.1" "$T/ppl.2"
refused "a part twice" 2 "ppl.2' and '.*ppl.2' are both part 2/3" "$T/ppl.1" "$T/ppl.2" "$T/ppl.2"
refused "a whole run" 2 "ppl' is no part" "$T/ppl"
refused "no reports" 2 "wants the reports"
task ppl --part 2/3 --act bf16 --report "$T/x" -q > /dev/null
refused "another act" 2 'x. is the report of another run: its act is "bf16", that of .*ppl.1. is "f32"' "$T/ppl.1" "$T/x" "$T/ppl.3"
keval ppl -m "$T/i4.kmf" -f "$T/text" --window 40 --part 3/3 --report "$T/x" -q > /dev/null
refused "another model" 2 'its model is "' "$T/ppl.1" "$T/ppl.2" "$T/x"
head -c 1000 "$T/text" > "$T/other"; keval ppl -m "$T/nano.kmf" -f "$T/other" --window 40 --part 3/3 --report "$T/x" -q > /dev/null
refused "another text" 2 'its text_sha256 is "' "$T/ppl.1" "$T/ppl.2" "$T/x"
task ppl --part 3/3 --window 30 --report "$T/x" -q > /dev/null
refused "another window" 2 'its window is 30, that of .* is 40' "$T/ppl.1" "$T/ppl.2" "$T/x"
task choice --part 2/2 --seed 2 --report "$T/x" -q > /dev/null
refused "another seed" 2 'its seed is 2, that of .* is 0' "$T/choice.1" "$T/x"
sed 's|"part": "[0-9/]*"|"part": "3/3"|' "$T/gen.3" > "$T/x"; refused "another task" 2 'its task is "gen"' "$T/ppl.1" "$T/ppl.2" "$T/x"
grep -v summary "$T/ppl.3" > "$T/x"; refused "an unfinished part" 3 "x' has no summary" "$T/ppl.1" "$T/ppl.2" "$T/x"
grep -v '"window 4"' "$T/ppl.2" > "$T/x"; refused "an item that is gone" 3 "x' has items that do not make its summary" "$T/ppl.1" "$T/x" "$T/ppl.3"
task ppl --part 2/3 --limit 2 --report "$T/x" -q > /dev/null; refused "another limit" 3 "ran with another --limit" "$T/ppl.1" "$T/x" "$T/ppl.3"
echo '{}' > "$T/x"; refused "no report" 3 "x' is no report of keval" "$T/ppl.1" "$T/ppl.2" "$T/x"
sed 's|"part": "[0-9/]*"|"part": "0/3"|' "$T/ppl.3" > "$T/x"; refused "a part that is none" 3 "part '0/3'" "$T/ppl.1" "$T/ppl.2" "$T/x"
exits "a model" 2 keval merge -m "$T/nano.kmf" "$T/ppl.1" "$T/ppl.2" "$T/ppl.3"
exits "an agent has no parts" 2 task agent --part 1/2; says "the task" "'agent' has no parts"
exits "a reference has no parts" 2 task save --part 1/2; says "the reference" "a reference is one file"
exits "part 4 of 3" 2 task ppl --part 4/3
finish
