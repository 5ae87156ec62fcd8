#!/bin/bash
# toolcall.sh: keval toolcall on recorded cases against the vendor verifier's rules (toolcall_make.py), and through kserve, in one piece and streamed;
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
if [ "$wrong" = '[]' ]; then ok "40 recorded cases"; else fail "40 recorded cases" "$wrong"; fi
exits "a bar on accuracy" 1 keval score toolcall -f "$T/requests.jsonl" --bar 'schema_accuracy>=0.98' < "$T/answers.jsonl"

# Questions that nano answers with a call, and one that it does not.
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
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
stop server
finish
