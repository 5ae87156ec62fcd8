#!/bin/bash
# gen.sh: keval gen: which answers are right (exact, numeric, regex), and lines that no answer could match.
. "$(dirname "$0")/lib.sh"
# match NAME LINE ANSWER ACC
match() {
	jq -cn --arg t "$3" '{id: "item 1/0", choices: [{text: $t, finish_reason: "stop"}]}' | keval score gen -f <(echo "$2") --json > "$T/out" 2> "$T/.err"
	if [ "$(tail -n 1 "$T/out" | jq .acc)" = "$4" ]; then ok "$1"; else fail "$1" "wanted $4: $(tail -n 1 "$T/out") $(tail -n 1 "$T/.err")"; fi
}
n() { echo "{\"prompt\": \"q\", \"answer\": $1, \"match\": \"numeric\"}"; }
match "a whole number" "$(n 1234567)" '1234567' 1
match "another whole number" "$(n 1234567)" '1234568' 0
match "another, of round ones" "$(n 5000000)" '5000004' 0
match "a whole number with a fraction of nothing" "$(n 5000000)" 'It is 5,000,000.00.' 1
match "a whole number and a little" "$(n 5)" '5.0000000001' 0
match "a real that is whole" "$(n 5e6)" '5000000' 1
match "beyond 2^53" "$(n 9007199254740993)" '9007199254740993' 1
match "beyond 2^53, another" "$(n 9007199254740993)" '9007199254740992' 0
match "beyond 2^53, as a text" "$(n '"#### 90,071,992,547,409,931"')" '90071992547409931' 1
match "beyond 64 bits, as a text" "$(n '"123456789012345678901234567890"')" '123456789012345678901234567891' 0
match "beyond 64 bits" "$(n 123456789012345678901234567890)" '123456789012345678901234567890' 1
match "beyond 64 bits, another" "$(n 123456789012345678901234567890)" '123456789012355678901234567890' 0
match "a fraction, rounded" "$(n 0.333333333)" '0.3333333' 1
match "a fraction, rounded too much" "$(n 0.333333333)" '0.333' 0
match "a small number is not 0" "$(n 1e-7)" '0' 0
match "a small number" "$(n 1e-7)" 'about 1e-7' 1
match "a small number in full" "$(n 1e-7)" '0.0000001' 1
match "a large fraction" "$(n 1234567.5)" '1234567.6' 1
match "zero" "$(n 0)" '-0.0' 1
match "zero and a little" "$(n 0)" '0.0000001' 0
e() { echo "{\"prompt\": \"q\", \"answer\": $1, \"match\": \"exact\"}"; }
match "exact, a number" "$(e 5)" ' 5 ' 1
match "exact, a number and a little" "$(e 5)" '5.0000000001' 0
match "exact, a number among words" "$(e 5)" 'It is 5' 0
match "exact, a number and more" "$(e 2.5)" '2.5 m' 0
match "exact, a fraction" "$(e 2.5)" '2.50' 1
match "exact, a text that is a number" "$(e '"5"')" '5.0' 0
match "no match said, null" '{"prompt": "q", "messages": null, "answer": "a", "match": null}' 'a' 1
# refused NAME LINE WORDS: with the line, before anything is asked
refused() {
	exits "$1" 3 keval prompts gen -f <(printf '%s\n' '{"prompt": "q", "answer": "a"}' "$2")
	grep -q -e "$3.*, in .*line 2" "$T/.err" && ok "$1: it is named" || fail "$1: it is named" "$(tail -n 1 "$T/.err")"
}
for v in null true '["7"]' '{"x": 1}'; do
	for how in exact numeric; do refused "an answer $v, $how" "{\"prompt\": \"q\", \"answer\": $v, \"match\": \"$how\"}" 'answer is .*, wanted a text or a number'; done
	refused "an answer $v" "{\"question\": \"q\", \"answer\": $v}" 'answer is .*, wanted a text or a number'
done
for v in null false 5 '["7"]'; do refused "a pattern $v" "{\"prompt\": \"q\", \"answer\": $v, \"match\": \"regex\"}" 'answer is .*, wanted a pattern'; done
for v in '(' '[a' 'a{2,1}'; do refused "a pattern $v" "{\"prompt\": \"q\", \"answer\": \"$v\", \"match\": \"regex\"}" 'does not compile'; done
refused "no number" '{"question": "q", "answer": "some"}' "answer 'some' has no number in it"
refused "no answer" '{"prompt": "q"}' 'a line without an answer'
finish
