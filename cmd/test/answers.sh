#!/bin/bash
# answers.sh: keval and answers that are none: errors with status 200, bodies without a choice, texts that are no texts, by every way by which answers come:
# over HTTP (client_server.py, /echo), streamed, and through lines.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
python3 "$(dirname "$0")/client_server.py" "$T/port" 2> "$T/server.err" &
servers=$!
for i in $(seq 100); do [ -s "$T/port" ] && break; sleep 0.1; done
host=http://127.0.0.1:$(cat "$T/port")
# is NAME JQ-CONDITION WORDS: of the summary in $T/out; words: what some item says
is() {
	if [ "$(tail -n 1 "$T/out" | jq "$2")" != true ]; then fail "$1" "$2: $(tail -n 1 "$T/out")"
	elif ! grep -q -e "$3" "$T/out"; then fail "$1" "nothing says '$3': $(sed -n 2p "$T/out")"
	else ok "$1"; fi
}
# gen NAME BODY JQ-CONDITION WORDS [MORE]: the answer is BODY; as a chat, as a text, through lines. MORE: members of the request
gen() {
	jq -cn --arg b "$2" '{messages: [{role: "user", content: $b}], answer: "87"}' > "$T/chat.jsonl"
	keval gen -u "$host/echo/v1" --name m -f "$T/chat.jsonl" --json > "$T/out" 2> "$T/.err"; is "$1: chat" "$3" "$4"
	case $2 in
	\{*)
		echo "$2" | jq -c '. + {id: "item 1/0"}' | keval score gen -f "$T/chat.jsonl" --json > "$T/out" 2> "$T/.err"; is "$1: lines" "$3" "$4"
		echo "$2" | jq -c '{data_index: 1, response: .}' | keval score toolcall -f "$T/chat.jsonl" --json > "$T/out" 2> "$T/.err"; is "$1: toolcall" "${3/.acc == 1 and /}" "${5:-$4}" ;;
	esac
}
none='.n == 0 and .failed == 1'
gen "an error" '{"error":{"message":"model overloaded"}}' "$none" 'the answer is an error: model overloaded'
gen "an error in words" '{"error":"boom","choices":[{"message":{"content":"87"}}]}' "$none" 'the answer is an error: boom'
gen "an error of a choice" '{"choices":[{"error":{"message":"upstream is gone"},"message":{"role":"assistant","content":""}}]}' "$none" 'the answer is an error: upstream is gone'
gen "no choice" '{"choices":[]}' "$none" 'the answer has no choices'
gen "an object of another kind" '{"detail":"not here"}' "$none" 'the answer has no choices: .*not here'
for body in null '[]' 5; do gen "a body that is $body" "$body" "$none" 'the answer is .*, wanted an object'; done
gen "an empty body" '{}' "$none" 'the answer has no choices'
gen "a text that is none" '{"choices":[{"text":87}]}' "$none" 'the answer has no message'
gen "a message that is none" '{"choices":[{"message":"87"}]}' "$none" 'the answer has no message'
gen "content that is none" '{"choices":[{"message":{"content":87}}]}' "$none" "the answer's content is an integer, wanted a text"
gen "a part that is none" '{"choices":[{"message":{"content":[{"type":"text","text":87}]}}]}' "$none" 'part 0 whose text is an integer'
gen "calls that are none" '{"choices":[{"message":{"content":"87","tool_calls":5}}]}' "$none" 'tool_calls is an integer, wanted an array'
gen "parts" '{"choices":[{"message":{"content":[{"type":"thinking","thinking":"7"},{"type":"text","text":"8"},{"type":"text","text":"7"}]},"finish_reason":"stop"}]}' \
	'.acc == 1 and .n == 1 and .failed == 0' '"answer": "87"' stop
gen "null content" '{"choices":[{"message":{"role":"assistant","content":null},"finish_reason":"length"}],"error":null}' '.n == 1 and .failed == 0' '"finish_reason": "length"'
# A completion's text.
text() {
	jq -cn --arg b "$2" '{prompt: $b, answer: "87"}' > "$T/text.jsonl"
	keval gen -u "$host/echo/v1" --name m -f "$T/text.jsonl" --json > "$T/out" 2> "$T/.err"; is "$1: text" "$3" "$4"
}
text "a text that is none" '{"choices":[{"text":87}]}' "$none" 'the answer has a text that is no string'
text "no text" '{"choices":[{}]}' "$none" 'the answer has no text'
text "an error" '{"error":"boom"}' "$none" 'the answer is an error: boom'
text "a text" '{"choices":[{"text":"87"}]}' '.acc == 1' '"answer": "87"'
# Streams.
stream() {
	jq -cn --arg b "$(printf '%b' "$2")"$'\n\n' '{messages: [{role: "user", content: $b}], answer: "87", stream: true}' > "$T/stream.jsonl"
	keval gen -u "$host/echo/v1" --name m -f "$T/stream.jsonl" --json > "$T/out" 2> "$T/.err"; is "$1: stream" "$3" "$4"
}
stream "an error in words" 'data: {"error":"boom"}\n\ndata: [DONE]' "$none" 'ends with an error: boom'
stream "nothing" 'data: [DONE]' "$none" 'the stream has no chunks'
stream "a chunk that is none" 'data: 5\n\ndata: [DONE]' "$none" 'a chunk of the stream is an integer'
stream "no message" 'data: {"choices":[]}\n\ndata: [DONE]' "$none" 'the answer has no choices'
stream "content that is none" 'data: {"choices":[{"delta":{"content":87}}]}\n\ndata: [DONE]' "$none" "the stream's content is an integer"
stream "parts" 'data: {"choices":[{"delta":{"content":[{"type":"text","text":"8"}]}}]}\n\ndata: {"choices":[{"delta":{"content":"7"},"finish_reason":"stop"}]}\n\ndata: [DONE]' '.acc == 1' '"answer": "87"'
stream "an error and no stream" '{"error":{"message":"no streams here"}}' "$none" 'the answer is an error: no streams here'
stream "an answer and no stream" '{"choices":[]}' "$none" 'the answer is no stream: {'
# A stream of lines that ends with an error fails its item, not the run.
for i in 1 2; do echo '{"messages": [{"role": "user", "content": "q"}], "answer": "87"}'; done > "$T/two.jsonl"
{
	echo '{"id":"item 1/0","choices":[{"index":0,"delta":{"content":"8"}}]}'; echo '{"id":"item 1/0","object":"chat.completion.chunk","error":{"message":"gone"}}'
	printf '\r\n  \n'; echo '{"id":"item 2/0","choices":[{"index":0,"message":{"content":"87"}}]}'; printf '[DONE]\r\n'
} | keval score gen -f "$T/two.jsonl" --json > "$T/out" 2> "$T/.err"
is "a stream of lines that ends with an error; empty lines" '.acc == 1 and .n == 1 and .failed == 1' 'ends with an error: gone'
# Scores.
echo '{"prompt": "a", "choices": ["b", "c"], "answer": 0}' > "$T/choice.jsonl"
{ echo '{"id":"item 1/0","error":"boom"}'; echo '{"id":"item 1/1","choices":[]}'; } | keval score choice -f "$T/choice.jsonl" --json > "$T/out" 2> "$T/.err"
is "scores" "$none" 'the answer is an error: boom'
echo '{"prompt": "", "choices": ["b", "c"], "answer": 0}' > "$T/choice.jsonl"
scored='{"choices":[{"logprobs":{"token_logprobs":[null,-1,-2,-3],"text_offset":[0,1,2,3]}}]}'
for i in 0 1; do echo "$scored" | jq -c --arg i "item 1/$i" '. + {id: $i}'; done | keval score choice -f "$T/choice.jsonl" --json > "$T/out" 2> "$T/.err"
is "an empty prompt" "$none" 'the context is empty'
# The needle.
keval needle -u "$host/echo/v1" --name m -f testdata/nano/eval/prose.txt --lengths 64 --depths 50 --json > "$T/out" 2> "$T/.err"; [ $? -eq 1 ] && ok "needle: exit 1" || fail "needle" "$(tail -n 1 "$T/.err")"
keval prompts needle -f testdata/nano/eval/prose.txt --lengths 64 --depths 50 | jq -c '{id, error: {message: "too long"}}' | keval score needle -f testdata/nano/eval/prose.txt --lengths 64 --depths 50 --json > "$T/out" 2> "$T/.err"
is "needle" "$none" 'the answer is an error: too long'
finish
