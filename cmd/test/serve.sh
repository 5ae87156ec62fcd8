#!/bin/bash
# serve.sh: kserve on nano over TCP, over a unix socket and over JSON lines: the routes, streams, errors, many clients, keys, the end.
# What is asked over a connection stands in serve_client.py.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0") nano=testdata/nano
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert $nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }

# ask NAME WHERE [CHECK]...
ask() { client "$1" python3 "$here/serve_client.py" "$2" $nano "${@:3}"; }
status_of() { curl -s -o /dev/null -w '%{http_code}' "$@"; }

if start tcp --listen 127.0.0.1:0 --act f32 --ctx 4096 "$T/nano.kmf"; then
	if grep -q "kserve: listening on http://127.0.0.1:$port\$" "$T/tcp.err"; then ok "says where"; else fail "says where" "$(tail -n 1 "$T/tcp.err")"; fi
	ask tcp "$port"
	before=$(date +%s%N)
	stop tcp
	if [ $((($(date +%s%N) - before) / 1000000)) -lt 1500 ]; then ok "an idle server ends at once"; else fail "an idle server" "takes its time to end"; fi
fi

# A unix socket for its owner alone; one that was left behind does not matter, one that is in use does.
sock=$T/k.sock
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$sock"
if start unix --listen "unix:$sock" --act f32 --ctx 4096 "$T/nano.kmf"; then
	if [ "$(stat -c %a "$sock")" = 600 ]; then ok "mode of the socket"; else fail "mode of the socket" "$(stat -c %a "$sock")"; fi
	exits "a socket in use" 5 kserve --listen "unix:$sock" "$T/nano.kmf"
	ask unix "$sock" health models chat_whole chat_stream tool_calls bad_requests wrong_routes raw_requests eight_at_once
	stop unix
	if [ -e "$sock" ]; then fail "the socket" "is left behind"; else ok "the socket is removed"; fi
fi

# One that was moved away, with another server's or somebody's file in its place, is not the first one's to remove.
if start first --listen "unix:$sock" --act f32 --ctx 4096 "$T/nano.kmf"; then
	first=$pid
	rm "$sock"
	if start second --listen "unix:$sock" --act f32 --ctx 4096 "$T/nano.kmf"; then
		kill -TERM $first; wait $first
		[ -S "$sock" ] && ask "the socket of the next" "$sock" health || fail "the socket of the next" "is removed"
		rm "$sock"; echo mine > "$sock"
		stop second
		[ "$(cat "$sock")" = mine ] && ok "a file in the socket's place" || fail "a file in the socket's place" "is removed"
	fi
	rm -f "$sock"
fi

# Keys: without one only health is answered; another file after SIGHUP.
printf '# keys\n\nfirst-key \n' > "$T/keys"
if start keys --listen 127.0.0.1:0 --api-key-file "$T/keys" --name other "$T/nano.kmf"; then
	url=http://127.0.0.1:$port
	key=(-H 'Authorization: Bearer first-key')
	got="$(status_of $url/health) $(status_of $url/v1/models) $(status_of $url/v1/models/) $(status_of $url/nope) $(status_of "${key[@]}" $url/v1/models) \
$(status_of -H 'X-Api-Key: first-key' $url/v1/models) $(status_of -H 'authorization: bearer first-key' $url/nope) $(status_of -H 'Authorization: Bearer first' $url/v1/models) \
$(status_of -H 'X-Api-Key: first-key' -H 'Authorization: Bearer other' $url/v1/models) $(status_of -H 'X-Api-Key: other' "${key[@]}" $url/v1/models)"
	if [ "$got" = "200 401 401 401 200 200 404 401 200 200" ]; then ok keys; else fail keys "$got"; fi
	curl -s "${key[@]}" $url/v1/models | grep -q '"id":"other"' && ok "--name" || fail "--name" "is not served"
	echo second-key > "$T/keys"; kill -HUP $pid; sleep 0.3
	got="$(status_of "${key[@]}" $url/v1/models) $(status_of -H 'Authorization: Bearer second-key' $url/v1/models)"
	if [ "$got" = "401 200" ]; then ok "SIGHUP reads the keys again"; else fail SIGHUP "$got"; fi
	if grep -q 'first-key\|second-key' "$T/keys.err"; then fail "keys" "are in the log"; else ok "keys are not in the log"; fi
	stop keys
fi

# Of the environment: a list with blanks, the line feed of a secret that is mounted; what holds no key is no wish to serve everybody.
export KSERVE_API_KEY=$'k1, k2\n'
if start listed --listen 127.0.0.1:0 "$T/nano.kmf"; then
	url=http://127.0.0.1:$port
	got="$(status_of $url/v1/models) $(status_of -H 'Authorization: Bearer k1' $url/v1/models) $(status_of -H 'X-Api-Key: k2' $url/v1/models)"
	if [ "$got" = "401 200 200" ]; then ok "KSERVE_API_KEY"; else fail KSERVE_API_KEY "$got"; fi
	stop listed
fi
KSERVE_API_KEY=' ,' exits "KSERVE_API_KEY without a key" 2 kserve --listen 127.0.0.1:0 "$T/nano.kmf"
unset KSERVE_API_KEY

# An access log that cannot be written is said once, and the requests go on.
if start lost --listen 127.0.0.1:0 --access-log /dev/full "$T/nano.kmf"; then
	got="$(status_of http://127.0.0.1:$port/health) $(status_of http://127.0.0.1:$port/v1/models)"
	stop lost
	if [ "$got" = "200 200" ] && [ "$(grep -c "access log '/dev/full'" "$T/lost.err")" = 1 ]; then ok "an access log that is full"; else fail "access log" "$got: $(cat "$T/lost.err")"; fi
fi

# SIGTERM while an answer is on its way: it is finished, who comes now is sent away, what waits too long is cut.
long='{"messages":[{"role":"user","content":"Hello"}],"temperature":0,"max_tokens":%d,"min_tokens":%d,"stream":true}'
if start drain --listen 127.0.0.1:0 --act f32 "$T/nano.kmf"; then
	url=http://127.0.0.1:$port
	rm -f "$T/sse"
	curl -sN $url/v1/chat/completions -H 'Content-Type: application/json' -d "$(printf "$long" 400 400)" > "$T/sse" & asks=$!
	until [ -s "$T/sse" ] || ! kill -0 $asks 2> /dev/null; do sleep 0.02; done
	kill -TERM $pid; sleep 0.3
	curl -s -D "$T/head" -o "$T/late" $url/v1/chat/completions -H 'Content-Type: application/json' -d "$(printf "$long" 4 0)"
	wait $asks; wait $pid; status=$?
	if [ $status -eq 0 ] && grep -q '"finish_reason":"length"' "$T/sse" && tail -n 2 "$T/sse" | grep -q '^data: \[DONE\]'; then ok "drain: what runs is finished"
	else fail drain "exit $status: $(tail -n 3 "$T/sse" | cut -c 1-300)"; fi
	if grep -q '^HTTP/1.1 503' "$T/head" && grep -qi '^Retry-After: [0-9]' "$T/head" && grep -q shutting_down "$T/late"; then ok "drain: 503"
	else skip "drain: 503" "skipped: the server was gone before it could be asked: $(head -n 1 "$T/head" 2> /dev/null)"; fi
fi
if start cut --listen 127.0.0.1:0 --drain 0 --ctx 100000 "$T/nano.kmf"; then
	url=http://127.0.0.1:$port
	rm -f "$T/sse"
	curl -sN $url/v1/chat/completions -H 'Content-Type: application/json' -d "$(printf "$long" 90000 90000)" > "$T/sse" & asks=$!
	until [ -s "$T/sse" ] || ! kill -0 $asks 2> /dev/null; do sleep 0.02; done
	stop cut; wait $asks
	if grep -q '"finish_reason":"abort"' "$T/sse" && tail -n 2 "$T/sse" | grep -q '^data: \[DONE\]'; then ok "drain: cut off"; else fail "drain: cut off" "$(tail -n 3 "$T/sse" | cut -c 1-300)"; fi
fi

# The messages API has no word for that: it is an error.
if start cut2 --listen 127.0.0.1:0 --drain 0 --ctx 100000 "$T/nano.kmf"; then
	url=http://127.0.0.1:$port
	rm -f "$T/sse"
	curl -sN $url/v1/messages -H 'Content-Type: application/json' -d "$(printf "$long" 90000 90000)" > "$T/sse" & asks=$!
	until [ -s "$T/sse" ] || ! kill -0 $asks 2> /dev/null; do sleep 0.02; done
	stop cut2; wait $asks
	if grep -q '^event: error' "$T/sse" && grep -q overloaded_error "$T/sse" && ! grep -q message_stop "$T/sse"; then ok "drain: cut off, as messages"; else fail "drain: cut off, as messages" "$(tail -n 3 "$T/sse" | cut -c 1-300)"; fi
fi

# JSON lines: an answer a line in order, whatever is wrong with one of them; the same answers as over HTTP.
cat > "$T/lines" <<'LINES'
{"id":"a","messages":[{"role":"user","content":"Define wisdom."}],"temperature":0,"max_tokens":48}

not json
{"id":7,"prompt":"The","max_tokens":3,"temperature":0}
{"id":"s","messages":[{"role":"user","content":"Define wisdom."}],"temperature":0,"max_tokens":48,"stream":true}
{"id":"e","messages":[],"max_tokens":3}
{"id":"n"}
LINES
printf '{"id":"last","messages":[{"role":"user","content":"Hello"}],"temperature":0,"max_tokens":3}' >> "$T/lines"
exits "--stdio" 0 kserve --stdio --act f32 "$T/nano.kmf" < "$T/lines"; mv "$T/.out" "$T/answers"
check "--stdio: answers" python3 - "$T/answers" <<'PY'
import json, sys
out = [json.loads(l) for l in open(sys.argv[1])]
want = 'Wisdom means: accumulated knowledge or erudition or enlightenment.'
a, bad, seven, *rest = out
s, rest = [o for o in rest if o.get('id') == 's'], [o for o in rest if o.get('id') != 's']
assert a['id'] == 'a' and a['choices'][0]['message']['content'] == want, a
assert 'id' not in bad and bad['error']['code'] == 'invalid_json', bad
assert seven['id'] == 7 and seven['object'] == 'text_completion', seven
assert ''.join(c['delta'].get('content') or '' for o in s for c in o['choices']) == want and len(s) > 15, s[:2]
assert [o.get('id') for o in rest] == ['e', 'n', 'last'] and 'error' in rest[0] and 'error' in rest[1] and rest[2]['choices'], rest
PY
for i in $(seq 0 99); do echo "{\"id\":$i,\"messages\":[{\"role\":\"user\",\"content\":\"Say $i.\"}],\"temperature\":0,\"max_tokens\":4}"; done > "$T/many"
kserve --stdio -q --act f32 "$T/nano.kmf" < "$T/many" > "$T/many.out"
check "--stdio: a hundred in order" python3 -c 'import json, sys; assert [json.loads(l)["id"] for l in open(sys.argv[1])] == list(range(100))' "$T/many.out"
exits "--stdio: nothing" 0 kserve --stdio --access-log "$T/none.log" "$T/nano.kmf" < /dev/null
grep -q "warning: --access-log says nothing with --stdio" "$T/.err" && ok "an option of servers" || fail "an option of servers" "$(cat "$T/.err")"
# Who waits for an answer that cannot be written waits no longer than that takes: the next line comes never.
mkfifo "$T/asks"; exec 9<> "$T/asks"; echo '{"prompt":[5],"max_tokens":2}' >&9
timeout 60 kserve --stdio "$T/nano.kmf" < "$T/asks" > /dev/full 2> "$T/.err"; status=$?; exec 9>&-
if [ $status -eq 5 ]; then ok "--stdio: an output that is full"; else fail "--stdio: an output that is full" "exit $status: $(tail -n 1 "$T/.err")"; fi

# What cannot be served.
exits "another machine's reach without keys" 2 kserve --listen 0.0.0.0:0 "$T/nano.kmf"
exits "--port, which is another server's" 2 kserve --port 8080 "$T/nano.kmf"
exits "nobody may wait" 2 kserve --max-queue 0 "$T/nano.kmf"
for o in http://a.example/ a.example 'http://*.example' http://a.example:80 http:// https://a/b; do
	exits "--cors-origins $o" 2 kserve --cors-origins "localhost,$o" --listen 127.0.0.1:0 "$T/nano.kmf"
done
exits "no such layout" 2 kserve --chat-layout nope "$T/nano.kmf"
exits "no address" 2 kserve --listen nowhere "$T/nano.kmf"
exits "no such model" 5 kserve "$T/none.kmf"
head -c 100000 "$T/nano.kmf" > "$T/short.kmf"
exits "a model that ends early" 3 kserve "$T/short.kmf"
finish
