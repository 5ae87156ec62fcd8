#!/bin/bash
# load.sh: kbench serve: closed and open loops, replays, sweeps, slow readers and dropped streams against kserve; its counts against those of a server that
# misbehaves (client_server.py).
# alone: rates and waits of a second
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
python3 "$(dirname "$0")/client_server.py" "$T/other" 2> "$T/other.err" &
servers=$!
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
start server --listen 127.0.0.1:0 --ctx 1024 -q "$T/nano.kmf" || finish
for i in $(seq 300); do [ -s "$T/other" ] && break; sleep 0.1; done
url=http://127.0.0.1:$port/v1 host=http://127.0.0.1:$(cat "$T/other")
# is NAME JQ-CONDITION: of the summary in $T/out
is() { if tail -n 1 "$T/out" | jq -e "$2" > /dev/null; then ok "$1"; else fail "$1" "$2: $(tail -n 1 "$T/out" | cut -c 1-400)"; fi; }
kbench serve -u "$url" --seconds 2 --concurrency 1,4 --tokens 12 --json --bar 'errors==0' --bar 'refused==0' --bar 'mismatches==0' > "$T/out" 2> "$T/.err" \
	&& ok "a sweep" || fail "a sweep" "exit $?: $(tail -n 1 "$T/.err")"
[ "$(grep -c '"item"' "$T/out")" = 2 ] && ok "an item a point" || fail "an item a point" "$(wc -l < "$T/out")"
is "every token is counted" '.requests > 0 and .tok_s * .seconds >= 12 * .req_s * .seconds - 0.5 and .tok_s * .seconds <= 12 * (.requests + 4)'
is "percentiles" '.ttft_ms.p50 <= .ttft_ms.p99 and .tpot_ms.p50 > 0 and .itl_ms.p50 <= .itl_ms.max and .itl_ratio >= 1 and .ttft_ms_p99 == .ttft_ms.p99'
kbench serve -u "$url" --seconds 2 --rate 6 --tokens 4 --json > "$T/out"; is "an open loop" '.rate == 6 and .requests >= 4 and .requests <= 30 and .errors == 0 and .unfinished == 0 and .tokens_by == "usage"'
kbench serve -u "$url" --seconds 3 --concurrency 6 --slow 1 --abandon 0.5 --tokens 16 --json > "$T/out"
is "slow readers and dropped streams" '.abandoned > 0 and .requests > 0 and .errors == 0 and .mismatches == 0'
jq -c '{messages: [{role: "user", content: .user}], tools, max_tokens: 40, temperature: 0}' testdata/nano/eval/toolloop.json > "$T/trace.jsonl"
kbench serve -u "$url" --seconds 1 --concurrency 2 -f "$T/trace.jsonl" --json > "$T/out"; is "requests of a file, calls counted as tokens" '.requests > 0 and .errors == 0 and .tpot_ms.p50 > 0'
is "one prompt again and again, from the cache" '.cached_tokens > 0.5 * .prompt_tokens and .cached_tokens < .prompt_tokens'
# A replay: recorded lengths at recorded times, and requests of their own at theirs.
for at in 5000 5300 5600 6500; do echo "{\"timestamp\": $at, \"input_length\": 120, \"output_length\": 5, \"hash_ids\": [7]}"; done > "$T/lengths.jsonl"
kbench serve -u "$url" -f "$T/lengths.jsonl" --json > "$T/out"
is "a replay takes its time" '.replayed == 4 and .requests == 4 and .seconds >= 1.5 and .seconds < 60 and .errors == 0 and .unfinished == 0'
is "a replay has its lengths" '.tokens == 20 and (.prompt_tokens - 480 | fabs) < 48 and .tokens_by == "usage"'
jq -c '{timestamp: (input_line_number * 200), messages, max_tokens: 3, ignore_eos: true}' "$T/trace.jsonl" > "$T/timed.jsonl"
kbench serve -u "$url" -f "$T/timed.jsonl" --json > "$T/out"; is "requests with times" ".replayed == $(wc -l < "$T/timed.jsonl") and .tokens == 3 * .requests and .requests == .replayed"
kbench serve -u "$url" --rate 5 --seconds 1 -f "$T/timed.jsonl" --json > "$T/out"; is "a rate goes before times" '.rate == 5'
echo '{"timestamp": 1, "input_length": 5, "output_length": 1}' | cat "$T/lengths.jsonl" - > "$T/bad.jsonl"
exits "times that go back" 3 kbench serve -u "$url" -f "$T/bad.jsonl"
echo '{"messages": []}' | cat "$T/lengths.jsonl" - > "$T/bad.jsonl"; exits "times of some" 3 kbench serve -u "$url" -f "$T/bad.jsonl"
echo '{"input_length": 5, "output_length": 1}' > "$T/bad.jsonl"; exits "lengths without a time" 3 kbench serve -u "$url" -f "$T/bad.jsonl"
echo '{"timestamp": 1, "input_length": 0, "output_length": 1}' > "$T/bad.jsonl"; exits "no length" 3 kbench serve -u "$url" -f "$T/bad.jsonl"
exits "a missed bar" 1 kbench serve -u "$url" --seconds 0.3 --bar 'tok_s>1e9'
exits "no URL" 2 kbench serve
kbench serve -u "$host/good/v1" --seconds 1 --concurrency 2 --json > "$T/out"
n=$(grep -c ' good ' "$T/other.log")
is "every request but the first is counted" ".requests == $n - 1 and .errors == 0 and .cached_tokens == null"
# It says each letter in a chunk of its own, and at the end that they were 4 tokens.
is "chunks are no tokens" '.tokens_by == "usage" and (.tokens - 4 * .requests | fabs) <= 42'
# 20 tokens in 5 chunks: from the first to the last 160 ms; what comes behind the last is none of their time.
kbench serve -u "$host/lumps/v1" --seconds 1.5 --concurrency 1 --json > "$T/out"
is "several tokens in a chunk" '.tokens_by == "usage" and .tpot_ms.p50 >= 8 and .tpot_ms.p50 < 12 and .itl_ms.p50 >= 39 and .itl_ms.p50 < 60'
kbench serve -u "$host/busy/v1" --seconds 2 --concurrency 4 --json > "$T/out"; is "refusals are no errors" '.refused >= 4 and .errors == 0 and .requests + .refused <= 12'
jq -c '., (.max_tokens = 41)' "$T/trace.jsonl" > "$T/two.jsonl"
kbench serve -u "$host/cut/v1" --seconds 1 --concurrency 1 -f "$T/two.jsonl" --json > "$T/out"; is "connections that break" '.errors_by.cut > 0 and .requests > 0'
# Of which nothing was answered: it measured nothing, and no history is told that it did.
kbench serve -u "$host/good/v1" --seconds 0.3 --concurrency 1 --history "$T/told" --json > "$T/out" && cp "$T/told" "$T/told.good" || fail "an answered load" "exit $?"
exits "a load without an answer" 1 kbench serve -u "$host/refuses/v1" --seconds 0.3 --concurrency 1 --history "$T/told" --bar 'errors>0' --json; cp "$T/.out" "$T/out"
grep -q '^kbench: .*no request was answered: 0 refused, [0-9]* errors.*is odd' "$T/.err" && ok "the sentence" || fail "the sentence" "$(tail -n 1 "$T/.err")"
grep -q "told' does not get this run" "$T/.err" && ok "the history is named" || fail "the history is named" "$(cat "$T/.err")"
same "a failed load is no history" "$T/told.good" "$T/told"
is "requests that are refused" '.requests == 0 and .errors == .errors_by.rejected and .errors > 0 and (.error | test("is odd"))'
# What a stream says instead of an answer: the request is the body of the answer (/echo).
# instead NAME STREAM WORDS
instead() {
	jq -cn --arg b "$(printf '%b' "$2")"$'\n\n' '{messages: [{role: "user", content: $b}]}' > "$T/instead.jsonl"
	kbench serve -u "$host/echo/v1" --seconds 0.3 --concurrency 1 --name m -f "$T/instead.jsonl" --json > "$T/out" 2> "$T/.err"
	is "$1" ".requests == 0 and .errors > 0 and .errors == .errors_by.cut and (.error | test(\"$3\"))"
}
instead "an error in words" 'data: {"error":"boom"}\n\ndata: [DONE]' 'ends with an error: boom'
instead "an error" 'data: {"error":{"message":"gone"}}\n\ndata: [DONE]' 'ends with an error: gone'
instead "an error behind an answer" 'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"error":{"message":"gone"}}\n\ndata: [DONE]' 'ends with an error: gone'
instead "no chunk" 'data: [DONE]' 'no chunks of an answer'
instead "no choice" 'data: {"choices":[]}\n\ndata: [DONE]' 'no chunks of an answer'
instead "a chunk that is no JSON" 'data: {oops\n\ndata: [DONE]' 'no JSON: .oops'
instead "a chunk that is none" 'data: 5\n\ndata: [DONE]' 'a chunk of the stream is an integer'
instead "no stream" '{"error":{"message":"no streams here"}}' 'the answer is an error: no streams here'
printf '\r\n%s\r\n  \r\n' "$(head -n 1 "$T/trace.jsonl")" > "$T/crlf.jsonl"
kbench serve -u "$host/good/v1" --seconds 0.3 --concurrency 1 -f "$T/crlf.jsonl" --json > "$T/out" 2> "$T/.err"; is "empty lines that end with CR LF" '.requests > 0 and .errors == 0'
exits "nothing but 503" 1 kbench serve -u "$host/dead/v1" --seconds 0.3 --concurrency 1 --json; cp "$T/.out" "$T/out"; is "503" '.requests == 0 and .refused > 0 and .errors == 0'
# A history knows which server it was, and which of its models; not what lets one in.
for at in "$host" "http://me:secret@${host#http://}" "$url"; do kbench serve -u "${at%/v1}$([ "$at" = "$url" ] || echo /good)/v1" --seconds 0.3 --concurrency 1 --history "$T/runs" > "$T/out" 2> "$T/.err"; done
[ "$(jq -r .url "$T/runs" | sort | uniq -c | tr -s ' ' | tr '\n' ';')" = "$(printf '%s\n' " 1 $url" " 2 $host/good/v1" | sort -k 2 | tr '\n' ';')" ] && ! grep -q secret "$T/runs" && ok "servers of a history" || fail "servers of a history" "$(cat "$T/runs")"
jq -r .name "$T/runs" | grep -qv . && fail "models of a history" "$(cat "$T/runs")" || ok "models of a history"
exits "servers are series" 0 kbench trends --history "$T/runs" --json; [ "$(jq -r 'select(.field == "tok_s").url' "$T/.out" | sort -u | wc -l)" = 2 ] && ok "series" || fail "series" "$(cat "$T/.out")"
for o in "--rate 0" "--seconds 0" "--tokens 0" "--reps 0" "--slow -1" "--abandon 2"; do
	exits "$o" 2 kbench serve -u "$url" $o; grep -q -e "^kbench: ${o% *} is ${o#* }, wanted" "$T/.err" && ok "$o is named" || fail "$o is named" "$(cat "$T/.err")"
done
stop server
finish
