#!/bin/bash
# agent.sh: keval agent: the loop that nano was trained on, in the process and over HTTP, resumed, and with the server stopped and started again in the
# middle; made-up tools under a forced choice; calls that are wrong.
. "$(dirname "$0")/lib.sh"
loop=testdata/nano/eval/toolloop.json
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
serve() { start server --listen 127.0.0.1:$1 --act f32 --ctx 16384 -q "$T/nano.kmf" || finish; }
serve 0; url=http://127.0.0.1:$port/v1
keval agent -m "$T/nano.kmf" -f $loop --steps 30 --json --report "$T/a.jsonl" --bar 'completed==1' --bar 'steps==30' --bar 'invalid_calls==0' > /dev/null 2> "$T/.err" \
	&& ok "in the process" || fail "in the process" "exit $?: $(tail -n 1 "$T/.err")"
keval agent -u "$url" -f $loop --steps 30 --json --report "$T/b.jsonl" --bar 'completed==1' --bar 'refills==0' --bar 'wrong_calls==0' > /dev/null 2> "$T/.err" \
	&& ok "over HTTP" || fail "over HTTP" "exit $?: $(tail -n 1 "$T/.err")"
said() { jq -cS 'select(.message) | [.item, .message.tool_calls, .prompt_tokens, .completion_tokens]' "$1"; }
if [ "$(said "$T/a.jsonl" | wc -l)" = 30 ] && cmp -s <(said "$T/a.jsonl") <(said "$T/b.jsonl"); then ok "the same calls"; else fail "the same calls" "differ"; fi
head -n 12 "$T/a.jsonl" > "$T/r.jsonl"
keval agent -m "$T/nano.kmf" -f $loop --steps 30 --resume "$T/r.jsonl" > /dev/null 2> "$T/.err"; same "resumed" "$T/a.jsonl" "$T/r.jsonl"
# The server goes away and comes back: nothing is lost.
keval agent -u "$url" -f $loop --steps 30 --resume "$T/c.jsonl" > /dev/null 2> "$T/.err" & k=$!
for i in $(seq 100); do [ "$(grep -c '"item"' "$T/c.jsonl" 2> /dev/null)" -ge 6 ] 2> /dev/null && break; sleep 0.05; done
kill $pid; wait $pid; serve "$port"
wait $k; status=$?
if [ $status -eq 0 ] && cmp -s <(said "$T/a.jsonl") <(said "$T/c.jsonl"); then ok "through a restart of the server"; else fail "through a restart" "exit $status: $(tail -n 1 "$T/.err")"; fi
# What the script does not want is named; a loop that asks another thing ends.
jq '.steps[3].args.cursor = 5' $loop > "$T/other.json"
exits "a call that the script does not want" 1 keval agent -u "$url" -f "$T/other.json" --steps 6 --json
if grep -q 'turn 3: the arguments are' "$T/.err" && grep -q '"invalid_calls": 0, "wrong_calls": 1' "$T/.out"; then ok "it is named"; else fail "it is named" "$(tail -n 1 "$T/.err")"; fi
jq '.user = "Hello"' $loop > "$T/other.json"
exits "no call at all" 1 keval agent -u "$url" -f "$T/other.json" --steps 6 --json
grep -q '"completed": false, "invalid_calls": 1' "$T/.out" && ok "it counts" || fail "it counts" "$(tail -n 1 "$T/.out")"
exits "lines cannot talk" 2 keval prompts agent -f $loop
exits "made-up tools want a server" 2 keval agent -m "$T/nano.kmf" --steps 2 --json
if [ ! -s "$T/.out" ] && grep -q 'without -f FILE .*only a server (-u)' "$T/.err"; then ok "which is said before a turn"; else fail "which is said before a turn" "$(tail -n 1 "$T/.err")"; fi
# Twenty tools, each forced in turn.
keval agent -u "$url" --steps 26 --json > "$T/forced" 2> "$T/.err"; status=$?
if grep -q 'not supported by this server' "$T/.err"; then skip forced "the server cannot be made to choose"
elif [ $status -eq 0 ] && grep -q '"steps": 26, "completed": true, "invalid_calls": 0' "$T/forced"; then ok "made-up tools, forced"
else fail forced "exit $status: $(tail -n 1 "$T/.err")"; fi
stop server
finish
