#!/bin/bash
# limits.sh: kserve when there is too little: of slots (who waits, for how long, whose turn it is), of room in the queue, of descriptors.
# What is asked over a connection stands in limits_client.py.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert -q testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
printf 'many many\nfew few\n' > "$T/keys"
# begin NAME OPTION...; ask NAME CHECK...
begin() { start "$1" --listen 127.0.0.1:0 --ctx 4096 --slots 1 "${@:2}" "$T/nano.kmf"; }
ask() { client "$1" python3 "$here/limits_client.py" "$port" "${@:2}"; }

if begin fair --api-key-file "$T/keys"; then ask fair turns; stop fair; fi
if begin queue --api-key-file "$T/keys" --max-queue 8; then ask queue full; stop queue; fi
if begin wait --queue-timeout 1; then ask wait waits_too_long; stop wait; fi
if begin large; then
	ask large large compiling
	python3 -c 'import http.client, json, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
c.request("POST", "/v1/completions", json.dumps({"prompt": "word " * 2000000}), {"Content-Type": "application/json"})
open(sys.argv[2], "w")
print(c.getresponse().status)' $port "$T/sent" > "$T/out" & asks=$!
	until [ -e "$T/sent" ] || ! kill -0 $asks 2> /dev/null; do sleep 0.02; done
	stop large
	wait $asks
	if grep -qE '^(400|503)$' "$T/out"; then ok "a large request is answered before the end"; else fail "a large request at the end" "$(cat "$T/out")"; fi
fi
exits "no time to wait" 2 kserve --queue-timeout 0 "$T/nano.kmf"

# Without a tokenizer only ids are possible, and whoever sends text is told so.
if start ids --listen 127.0.0.1:0 testdata/tiny/kimi-linear-groups-tiny; then
	ask ids no_tokenizer
	stop ids
fi

# A limit on open files below that on connections.
if begin files --slots 2; then
	python3 -c 'import resource, sys; resource.prlimit(int(sys.argv[1]), resource.RLIMIT_NOFILE, (40, 40))' $pid
	ask files descriptors
	if [ "$(grep -c 'connections are turned away: .*open files' "$T/files.err")" = 1 ]; then ok "out of descriptors: said once"
	else fail "out of descriptors" "$(tail -n 2 "$T/files.err")"; fi
	stop files
fi
finish
