#!/bin/bash
# gen.sh: keval gen: which answers are right (exact, numeric, regex), lines that no answer could match, and members of requests: a model in the process makes
# of them what a kserve does.
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
# answers NAME STATUS ACC ANSWER...: all of them to one question, whose answer is "a". Whose second answer is another one has no answer.
answers() {
	name=$1 want=$2 acc=$3; shift 3
	printf '%s\n' "$@" > "$T/answers"
	keval score gen -f <(e '"a"') --json < "$T/answers" > "$T/out" 2> "$T/.err"
	got=$?; [ "$got $(tail -n 1 "$T/out" | jq .acc)" = "$want $acc" ] && ok "$name" || fail "$name" "exit $got: $(tail -n 1 "$T/out") $(tail -n 1 "$T/.err")"
}
said() { jq -cn --arg t "$1" '{id: "item 1/0", choices: [{text: $t}]}'; }
answers "the same answer twice" 0 1 "$(said a)" "$(said a)"
answers "two answers" 3 "" "$(said b)" "$(said a)"
grep -q "line 2 is a second answer with the id 'item 1/0'" "$T/.err" && ok "which are named" || fail "which are named" "$(tail -n 1 "$T/.err")"
answers "an answer behind an error" 0 1 '{"id": "item 1/0", "error": {"message": "busy"}}' "$(said a)"
answers "an answer behind none" 0 1 '{"data_index": 1, "response": null}' "$(said a)"
answers "an error behind an answer" 3 "" "$(said a)" '{"id": "item 1/0", "error": {"message": "busy"}}'
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

kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
start server --listen 127.0.0.1:0 --act f32 -q "$T/nano.kmf" || finish
many=$(jq -cn '[range(16) | "no such stop \(.)"]')
cat > "$T/members" <<END
{}
{"temperature": 1, "seed": 7}
{"temperature": 1, "seed": 7, "min_p": 0.2}
{"temperature": 1, "seed": 7, "min_p": 0.9}
{"temperature": 1.5, "seed": 3, "top_p": 0.5, "top_k": 5.0}
{"temperature": 1, "seed": 7, "presence_penalty": 1.5}
{"temperature": 0, "frequency_penalty": 2}
{"repetition_penalty": 1.7}
{"min_p": 2}
{"min_p": "zz"}
{"min_p": null}
{"top_p": 0}
{"top_p": 1.1}
{"top_p": null}
{"top_k": 2.5}
{"top_k": -2}
{"temperature": null}
{"temperature": "1"}
{"temperature": 3}
{"presence_penalty": 3}
{"repetition_penalty": 0}
{"seed": 5.0}
{"seed": "5"}
{"seed": null}
{"max_tokens": 6.0}
{"max_tokens": 6.5}
{"max_tokens": null}
{"max_tokens": 0}
{"max_tokens": true}
{"max_tokens": 3, "max_completion_tokens": 5}
{"max_completion_tokens": 0}
{"stop": ""}
{"stop": ["", null, "a"]}
{"stop": null}
{"stop": []}
{"stop": 5}
{"stop": [5]}
{"stop": {}}
{"stop": $(jq -c '. + [" "]' <<< "$many")}
{"stop": $(jq -c '. + . + . + . + ["x"]' <<< "$many")}
{"stop": "$(printf '%1025s' x)"}
{"stream": 1}
{"stream": null}
{"stream": true}
{"reasoning_effort": "low"}
{"reasoning_effort": "none"}
{"reasoning_effort": "zzz"}
{"reasoning_effort": 5}
{"thinking": {"type": "zzz"}}
{"response_format": {"type": "text"}}
{"response_format": {"type": "zzz"}}
{"response_format": {}}
{"response_format": null}
{"tool_choice": null}
END
said() { jq -c 'select(.item != "run" and .item) | [.ok, .answer, .finish_reason, .tokens]' "$1"; }
for kind in '{messages: [{role: "user", content: "Hello"}]}' '{prompt: "Now the word of the LORD came unto"}'; do
	jq -c "$kind + {answer: \"q\", max_tokens: 8} + ." "$T/members" > "$T/lines.jsonl"
	keval gen -m "$T/nano.kmf" -f "$T/lines.jsonl" -b 7 --json > "$T/here" 2> "$T/.err"
	keval gen -u "http://127.0.0.1:$port/v1" -f "$T/lines.jsonl" --json > "$T/there" 2> "$T/.err"
	n=0
	while IFS=$'\t' read -r here there members; do
		n=$((n + 1))
		if [ "$here" = "$there" ]; then ok "${kind:1:6} $members"; else fail "${kind:1:6} ${members:0:100}" "here $here, there $there"; fi
	done < <(paste <(said "$T/here") <(said "$T/there") "$T/members")
	[ $n = "$(wc -l < "$T/members")" ] && ok "all members" || fail "all members" "$n"
done
echo '{"prompt": "q", "answer": "a", "response_format": {"type": "json_object"}}' > "$T/format.jsonl"
exits "a format, in the process" 1 keval gen -m "$T/nano.kmf" -f "$T/format.jsonl" --json
grep -q 'response_format: only a server' "$T/.out" && ok "it is named" || fail "it is named" "$(cat "$T/.out")"
keval prompts gen -f <(echo '{"prompt": "q", "answer": "a", "max_tokens": null, "temperature": null, "stop": null}') > "$T/out"
if [ "$(jq -c '[.max_tokens, .temperature, has("stop")]' "$T/out")" = '[256,0,false]' ]; then ok "null is absent"; else fail "null is absent" "$(cat "$T/out")"; fi
stop server
finish
