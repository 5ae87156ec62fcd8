#!/bin/bash
# client.sh: keval -u against a server that misbehaves (client_server.py): what is tried again and when, what is not, streams cut anywhere, bytes that
# come one by one, answers that are none, keys, rates, timeouts, signals.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
python3 "$(dirname "$0")/client_server.py" "$T/port" 2> "$T/server.err" &
pid=$!
trap 'kill $pid 2> /dev/null; rm -rf "$T"' EXIT
for i in $(seq 100); do [ -s "$T/port" ] && break; sleep 0.1; done
host=http://127.0.0.1:$(cat "$T/port")
for i in 1 2 3 4; do
	echo "{\"messages\": [{\"role\": \"user\", \"content\": \"$i\"}], \"answer\": \"It rains — in Tromsø.\"}"
done > "$T/plain.jsonl"
jq -c '. + {stream: true}' "$T/plain.jsonl" > "$T/stream.jsonl"
# These take their time: they are waited for at the end.
head -n 1 "$T/plain.jsonl" > "$T/one.jsonl"
timeout 60 keval gen -u http://127.0.0.1:9/v1 --name m -f "$T/one.jsonl" > /dev/null 2> "$T/nobody.err" & nobody=$!
timeout 60 keval gen -u http://nosuch.invalid/v1 --name m -f "$T/one.jsonl" > /dev/null 2> "$T/nohost.err" & nohost=$!
timeout 60 keval gen -u "$host/hangs/v1" -f "$T/one.jsonl" --timeout 0.2 > /dev/null 2> "$T/late.err" & late=$!
for form in plain stream; do
	timeout 100 keval gen -u "$host/stuck/v1" -f "$T/$form.jsonl" --timeout 0.3 --json > "$T/stuck.$form" 2> "$T/stuck.$form.err" & eval "stuck_$form=$!"
done
now() { date +%s%N; }
# right NAME KIND FILE: all four answers are right in the end
right() {
	keval gen -u "$host/$2/v1" -f "$T/$3.jsonl" --json --bar 'acc==1' > "$T/out" 2> "$T/.err"
	local status=$?
	if [ $status -eq 0 ]; then ok "$1, $3"; else fail "$1, $3" "exit $status: $(tail -n 1 "$T/.err")"; fi
}
for form in plain stream; do
	right "a good server" good $form
	before=$(now); right "429 with Retry-After" busy $form
	if [ $((($(now) - before) / 1000000)) -ge 1000 ]; then ok "Retry-After is honoured, $form"; else fail "Retry-After" "asked again too soon"; fi
	right "500, then 503" broken $form
	right "connections cut before and within the answer" cut $form
	right "byte by byte" bytes $form
done
right "slow bytes" slow stream
# says NAME STATUS KIND FILE WORDS
says() {
	exits "$1" $2 keval gen -u "$host/$3/v1" -f "$T/$4.jsonl"
	if grep -q "$5" "$T/.err" "$T/.out"; then ok "$1: says so"; else fail "$1: says so" "$(tail -n 1 "$T/.err")"; fi
}
says "503 for ever" 5 dead plain 'dead/v1/chat/completions: status 503: still loading'
says "a request that is refused" 1 refuses plain 'refuses/v1/chat/completions: status 400: messages\[0\] is odd'
says "a wrong key" 5 key plain 'status 401: wrong key'
says "no models, with status 200" 5 sick plain 'sick/v1/models: the answer is an error: no models yet'
exits "no models, kbench" 5 kbench serve -u "$host/sick/v1" --seconds 0.1
grep -q 'no models yet' "$T/.err" && ok "no models, kbench: says so" || fail "no models, kbench: says so" "$(tail -n 1 "$T/.err")"
says "an answer that is no JSON" 1 garbage plain 'the answer is no JSON'
says "an error within a stream" 1 bad_stream stream 'the engine is gone'
if [ "$(grep -c ' refuses ' "$T/port.log")" = 4 ] && [ "$(grep -c ' dead 6 ' "$T/port.log")" -ge 1 ]; then ok "what is tried again"; else fail "what is tried again" "$(grep -c ' refuses ' "$T/port.log")"; fi
# What was answered before a run ends is kept: six of eight, whose seventh is none, are asked once.
for i in 1 2 3 4 5 6 7 8; do jq -c --arg i $i '.messages[0].content = $i' "$T/one.jsonl"; done > "$T/eight.jsonl"
exits "an answer that ends the run" 5 keval gen -u "$host/picky/v1" -f "$T/eight.jsonl" --concurrency 8 --resume "$T/eight"
[ "$(jq -r .item "$T/eight" | tr '\n' ' ')" = "run item 1 item 2 item 3 item 4 item 5 item 6 " ] && ok "what was answered is kept" || fail "what was answered is kept" "$(cat "$T/eight")"
exits "and again" 5 keval gen -u "$host/picky/v1" -f "$T/eight.jsonl" --concurrency 8 --resume "$T/eight"
[ "$(grep -c ' picky ' "$T/port.log")" = 10 ] && ok "and asked once" || fail "and asked once" "$(grep ' picky ' "$T/port.log")"
# A request that a server always breaks at is an item that failed; one that breaks at all of them ends the run, and they are asked again.
for c in 1 8; do
	exits "500 for some, --concurrency $c" 1 keval gen -u "$host/odd/v1" -f "$T/eight.jsonl" --json --concurrency $c --resume "$T/odd$c"
	[ "$(jq -r 'select(.why).item' "$T/odd$c" | tr '\n' ' ')" = "item 2 item 5 " ] && jq -e 'select(.summary) | .n == 6 and .acc == 1 and .failed == 2' "$T/odd$c" > /dev/null &&
		grep -q '2 of 8 items failed; the first: item 2: .*status 500: list index' "$T/.err" && ok "they failed, $c" || fail "they failed, $c" "$(cat "$T/odd$c" "$T/.err")"
	exits "500 for all, --concurrency $c" 5 keval gen -u "$host/breaks/v1" -f "$T/eight.jsonl" --concurrency $c --resume "$T/breaks$c"
	grep -q 'status 500: list index' "$T/.err" && [ "$(jq -r .item "$T/breaks$c")" = run ] && ok "none is reported, $c" || fail "none is reported, $c" "$(cat "$T/breaks$c" "$T/.err")"
done
says "500 for the only one" 1 breaks one 'status 500: list index out of range'
printf '{"prompt": "a", "choices": ["b", "c"], "answer": 0}\n' > "$T/choice.jsonl"
exits "no tokens" 1 keval choice -u "$host/good/v1" -f "$T/choice.jsonl"; grep -q " $host/tokenize: the answer has no tokens" "$T/.err" && ok "no tokens: where" || fail "no tokens: where" "$(cat "$T/.err")"
OPENAI_API_KEY=sesame keval gen -u "$host/good/v1" --name m2 -f "$T/one.jsonl" > /dev/null
if grep -q ' good . m2 Bearer sesame$' "$T/port.log"; then ok "key and name"; else fail "key and name" "$(tail -n 3 "$T/port.log")"; fi
before=$(now); keval gen -u "$host/rate/v1" -f "$T/plain.jsonl" --rate 4 > /dev/null; took=$((($(now) - before) / 1000000))
if [ $took -ge 740 ] && [ $took -lt 4000 ]; then ok "--rate"; else fail "--rate" "four requests at 4 a second took $took ms"; fi
keval gen -u "$host/hangs/v1" -f "$T/plain.jsonl" > /dev/null 2> "$T/.err" & k=$!
sleep 0.5; before=$(now); kill -TERM $k; wait $k; status=$?
if [ $status -eq 143 ] && [ $((($(now) - before) / 1000000)) -lt 2000 ]; then ok "a signal ends it at once"; else fail "a signal" "exit $status"; fi
wait $nobody; [ $? -eq 5 ] && ok "nobody listens" || fail "nobody listens" "$(tail -n 1 "$T/nobody.err")"
wait $nohost; [ $? -eq 5 ] && grep -q 'nosuch.invalid/v1/.*resolve' "$T/nohost.err" && ok "no such host" || fail "no such host" "$(tail -n 1 "$T/nohost.err")"
for u in http://127.0.0.1:99999/v1 'http://127.0.0.1:80 /v1' 'http://127.0.0.1/v 1' 'http://a b/v1' 'http://[::1/v1' 127.0.0.1:80 ftp://127.0.0.1/v1 http:///v1; do
	for c in "keval gen -f $T/one.jsonl --name m" "kbench serve --seconds 0.1"; do
		# shellcheck disable=SC2086
		exits "a URL that is none: ${c%% *} $u" 2 $c -u "$u"
		grep -q -F -e "-u '$u' is no URL" "$T/.err" && ok "it is named: ${c%% *} $u" || fail "it is named: ${c%% *} $u" "$(tail -n 1 "$T/.err")"
	done
done
wait $late; [ $? -eq 5 ] && grep -qi 'timeout' "$T/late.err" && ok "--timeout" || fail "--timeout" "$(tail -n 1 "$T/late.err")"
for form in plain stream; do
	eval "wait \$stuck_$form"; [ $? -eq 1 ] && jq -e 'select(.summary) | .n == 1 and .failed == 3 and .acc == 1' "$T/stuck.$form" > /dev/null && grep -q '3 of 4 items failed; the first: item 2: .*Timeout' "$T/stuck.$form.err" &&
		ok "answers that do not come, $form" || fail "answers that do not come, $form" "$(cat "$T/stuck.$form" "$T/stuck.$form.err")"
done
for o in "--timeout 0" "--rate 0" "--timeout -1"; do
	exits "$o" 2 keval gen -u "$host/good/v1" -f "$T/one.jsonl" $o; grep -q -e "^keval: ${o% *} is ${o#* }, wanted a number" "$T/.err" && ok "$o is named" || fail "$o is named" "$(cat "$T/.err")"
done
exits "a timeout below a millisecond is one" 5 timeout 60 keval gen -u "$host/hangs/v1" --name m -f "$T/one.jsonl" --timeout 0.0001
exits "a rate of nearly none" 0 keval gen -u "$host/good/v1" --name m -f "$T/one.jsonl" --rate 1e-300
finish
