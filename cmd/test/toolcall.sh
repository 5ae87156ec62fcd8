#!/bin/bash
# toolcall.sh: keval toolcall on recorded cases against the vendor verifier's rules (toolcall_make.py), on its results with raw completions and prompts, without a server
# (replay_make.py), and through kserve, in one piece and streamed;
# keval gen: exact, numeric and regex matches, prompts and messages, in the process, over HTTP and through pipes.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
python=python3
[ -x "${K_PYTHON:-}" ] && python=$K_PYTHON
if $python "$here/toolcall_make.py" "$T" > "$T/.out" 2> "$T/.err"; then ok "the cases"; else fail "the cases" "$(tail -n 1 "$T/.err")"; finish; fi
grep -q agrees "$T/.out" || skip "the cases" "the package jsonschema is not there to agree"
keval score toolcall -f "$T/requests.jsonl" --json < "$T/answers.jsonl" > "$T/out" 2> "$T/.err" || fail score "exit $?: $(tail -n 1 "$T/.err")"
wrong=$(python3 - "$T" <<'PY'
import json, sys
want, got = json.load(open(f'{sys.argv[1]}/want.json')), json.loads(open(f'{sys.argv[1]}/out').read().splitlines()[-1])
print([(k, got.get(k), v) for k, v in want.items() if got.get(k) != v])
PY
)
if [ "$wrong" = '[]' ]; then ok "43 recorded cases"; else fail "43 recorded cases" "$wrong"; fi
[ "$(jq -c 'select(.error == "the answer ends with tool_calls and has no call") | .valid' "$T/out" | tr '\n' ' ')" = "false false false " ] && ok "calls that were lost" || fail "calls that were lost" "$(tail -n 4 "$T/out")"
exits "a bar on accuracy" 1 keval score toolcall -f "$T/requests.jsonl" --bar 'schema_accuracy>=0.98' < "$T/answers.jsonl"

# Recorded by the vendor verifier, replayed through nano's chat layout: calls out of raw completions, prompts, verdicts.
mkdir "$T/v"
if $python "$here/replay_make.py" "$T/v" > "$T/.out" 2> "$T/.err"; then ok "the records"; else fail "the records" "$(tail -n 1 "$T/.err")"; fi
grep -q agrees "$T/.out" || skip "the records" "the package jsonschema is not there to agree"
replay() { keval score toolcall -f "$T/v/official.jsonl" --json "$@" < "$T/v/vendor.jsonl" > "$T/v/out" 2> "$T/.err"; }
replay -m testdata/nano --bar 'schema_accuracy>=0.5' --bar 'n_replay_errors==2' || fail replay "exit $?: $(tail -n 1 "$T/.err")"
cp "$T/v/out" "$T/v/first"
wrong=$(python3 - "$T/v" <<'PY'
import json, sys
want, got = json.load(open(f'{sys.argv[1]}/want.json')), json.loads(open(f'{sys.argv[1]}/out').read().splitlines()[-1])
print([(k, got.get(k), v) for k, v in want.items() if got.get(k) is None or abs(got[k] - v) > 1e-12])
PY
)
if [ "$wrong" = '[]' ]; then ok "40 records"; else fail "40 records" "$wrong"; fi
differ=$(jq -r 'select(.replay_error) | .item + ": " + .replay_error' "$T/v/out")
case $differ in
"item 39: calls in the completion: 1, in the answer that was recorded: 0"*"item 40: the prompt is another one from byte "*"'<|im_assistant|>assistant<|im_middle|>'") ok "what differs is named" ;;
*) fail "what differs is named" "$differ" ;;
esac
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
replay -m "$T/nano.kmf"; same "by a container" "$T/v/out" "$T/v/first"
exits "a completion, and nobody who reads it" 1 replay
if [ "$(tail -n 1 "$T/v/out" | jq -c '[.n, .failed, .n_replayed]')" = '[39,1,0]' ]; then ok "the others are scored"; else fail "the others are scored" "$(tail -n 1 "$T/v/out")"; fi
# Lines without an index count; a service against itself; a request that failed; a model without a layout.
jq -c 'del(.data_index)' "$T/v/vendor.jsonl" > "$T/v/plain.jsonl"
keval score toolcall -m testdata/nano -f "$T/v/plain.jsonl" --json --bar 'trigger_recall==1' --bar 'n==40' < "$T/v/plain.jsonl" > "$T/v/out" 2> "$T/.err" \
	&& ok "records by their lines" || fail "records by their lines" "$(tail -n 1 "$T/.err")"
echo '{"data_index": 1, "status": "failed", "response": {"error": "timed out"}}' | keval score toolcall -f <(head -n 1 "$T/v/official.jsonl") --json > "$T/v/out" 2> "$T/.err"
grep -q 'the answer is an error: timed out' "$T/v/out" && ok "a request that failed" || fail "a request that failed" "$(cat "$T/v/out")"
echo '{"data_index": 1, "status": "failed", "response": null}' | keval score toolcall -f <(head -n 1 "$T/v/official.jsonl") --json > "$T/v/out" 2> "$T/.err"
grep -q '"why": "the record.s response is null' "$T/v/out" && ok "a request without a response" || fail "a request without a response" "$(cat "$T/v/out")"
mkdir "$T/mute" && cp testdata/nano/{config.json,tiktoken.model,tokenizer_config.json} "$T/mute"
exits "no chat layout" 4 replay -m "$T/mute"
exits "no such model" 5 replay -m "$T/none"
exits "answers and the model from one stream" 2 replay -m -

# Questions that nano answers with a call, and one that it does not.
jq -c '{tools, messages: [{role: "user", content: .user}], max_tokens: 64, temperature: 0} | (., . + {stream: true}, (. + {messages: [{role: "user", content: "Hello"}]}))
	| {request: ., finish_reason: "tool_calls"}' testdata/nano/eval/toolloop.json > "$T/q.jsonl"
start server --listen 127.0.0.1:0 --act f32 -q "$T/nano.kmf" || finish
url=http://127.0.0.1:$port/v1
summary() { tail -n 1 "$1" | jq -c '[.trigger_f1, .schema_accuracy, .n_calls, .n_bad_ids, .n]'; }
keval toolcall -m "$T/nano.kmf" -f "$T/q.jsonl" --json -b 2 > "$T/a"
if [ "$(summary "$T/a")" = '[0.8,1,2,0,3]' ]; then ok "in the process"; else fail "in the process" "$(tail -n 1 "$T/a")"; fi
keval toolcall -u "$url" -f "$T/q.jsonl" --json > "$T/b"
calls() { jq -cS 'select(.item) | [.item, .valid, (.tool_calls // [] | map(del(.index)))]' "$1" | tail -n +2; }
if [ -s "$T/b" ] && cmp -s <(calls "$T/a") <(calls "$T/b"); then ok "over HTTP, and streamed"; else fail "over HTTP" "$(diff <(calls "$T/a") <(calls "$T/b") | head -n 3)"; fi
keval prompts toolcall -f "$T/q.jsonl" | kserve --stdio --act f32 -q "$T/nano.kmf" 2> "$T/.err" | keval score toolcall -f "$T/q.jsonl" --json > "$T/c"
if [ -s "$T/c" ] && cmp -s <(calls "$T/a") <(calls "$T/c"); then ok "through pipes, with chunks"; else fail "through pipes" "$(tail -n 1 "$T/c")"; fi

cat > "$T/gen.jsonl" <<'END'
{"messages": [{"role": "user", "content": "Hello"}], "answer": ".", "match": "regex", "max_tokens": 12}
{"prompt": "Now the word of the LORD came unto", "answer": "[a-z]", "match": "regex", "max_tokens": 8}
{"prompt": "Now the word of the LORD came unto", "answer": "xyz", "max_tokens": 8}
{"question": "How many is two and two?", "answer": "It is so. #### 1,004", "max_tokens": 16}
{"prompt": "The LORD said", "answer": "q", "max_tokens": 400, "stop": [",", "."]}
END
keval gen -m "$T/nano.kmf" -f "$T/gen.jsonl" --json > "$T/a"; keval gen -m "$T/nano.kmf" -f "$T/gen.jsonl" --json -b 4 -j 3 > "$T/b"
same "generated: threads and batch" "$T/a" "$T/b"
texts() { jq -c 'select(.answer) | [.item, .right, .answer, .finish_reason, .tokens]' "$1"; }
keval gen -u "$url" -f "$T/gen.jsonl" --json > "$T/b"
if [ "$(texts "$T/a" | wc -l)" = 5 ] && cmp -s <(texts "$T/a") <(texts "$T/b"); then ok "generated: over HTTP"; else fail "generated: over HTTP" "$(diff <(texts "$T/a") <(texts "$T/b") | head -n 3)"; fi
answer() { echo "{\"id\": \"item 1/0\", \"choices\": [{\"text\": $(jq -n --arg t "$1" '$t'), \"finish_reason\": \"stop\"}]}"; }
# match NAME LINE ANSWER ACC
match() { if [ "$(answer "$3" | keval score gen -f <(echo "$2") --json | tail -n 1 | jq .acc)" = "$4" ]; then ok "$1"; else fail "$1" "wanted $4"; fi; }
match "a number among words" '{"question": "q", "answer": "so #### 1,234"}' 'It was 7, then 1,234.' 1
match "another number" '{"question": "q", "answer": "so #### 18"}' '18 and 19' 0
match "a negative number" '{"prompt": "q", "answer": -2.5}' 'about -2.50.' 1
match "spaces at the ends" '{"prompt": "q", "answer": "a b"}' $' a b\n' 1
match "other text" '{"prompt": "q", "answer": "a b"}' 'a  b' 0
match "a pattern" '{"prompt": "q", "answer": "^x+$", "match": "regex"}' 'xxx' 1
for how in '"foo"' '""' 5 '["exact"]'; do
	exits "a match that is none, $how" 3 keval prompts gen -f <(printf '%s\n' '{"prompt": "q", "answer": "a", "match": "exact"}' '{"prompt": "q", "answer": "a", "match": null}' "{\"prompt\": \"q\", \"answer\": \"a\", \"match\": $how}")
	grep -q 'match is .*, wanted exact, numeric or regex, in .*line 3' "$T/.err" && ok "it is named, $how" || fail "it is named, $how" "$(tail -n 1 "$T/.err")"
done
stop server

# A model that overflows: what it cannot say fails, with a reason, and the run goes on to a whole report.
python3 "$here/overflow_make.py" testdata/nano "$T/overflow" || fail setup "no model that overflows"
for task in "gen -f $T/gen.jsonl" "gen -f $T/gen.jsonl -b 3" "toolcall -f $T/q.jsonl" "needle -f testdata/nano/eval/prose.txt --lengths 64,128,256 --depths 0"; do
	# shellcheck disable=SC2086
	exits "logits that are no numbers: $task" 1 keval $task -m "$T/overflow" --json --report "$T/n.jsonl"
	n=$(grep -c '"ok": false, "why": "the logit of token 0 is not a number"' "$T/n.jsonl")
	if [ "$n" -ge 3 ] && [ "$(tail -n 1 "$T/n.jsonl" | jq -c '[.summary, .n, .failed]')" = "[true,0,$n]" ] && grep -q "^keval: $n of $n items failed" "$T/.err"
	then ok "and each is named: $task"; else fail "and each is named: $task" "$(tail -n 1 "$T/.err")"; fi
done
exits "logits that are no numbers: agent" 1 keval agent -m "$T/overflow" -f testdata/nano/eval/toolloop.json --steps 3 --json
grep -q '"turn 0".*"why": "the logit of token 0 is not a number"' "$T/.out" && ok "and the turn is named" || fail "and the turn is named" "$(tail -n 1 "$T/.out")"
finish
