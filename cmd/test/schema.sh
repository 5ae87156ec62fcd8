#!/bin/bash
# schema.sh: what is asked for is what comes: JSON of a schema, calls of the tools that are allowed, whatever the model would say. A part of
# the schemas; all of them with K_LONG=1.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert -q testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
kserve --listen 127.0.0.1:0 --port-file "$T/port" -q "$T/nano.kmf" 2> "$T/server.err" &
pid=$!
trap 'kill -9 $pid 2> /dev/null; rm -rf "$T"' EXIT
for i in $(seq 300); do [ -s "$T/port" ] && break; sleep 0.1; done
for client in "choose_client.py" "schema_client.py ${K_LONG:+all}"; do
	set -- $client
	python3 "$here/$1" "$(cat "$T/port")" ${2:-} > "$T/out" 2>&1 || fail "$1" "exit $?: $(tail -n 3 "$T/out")"
	while read -r word line; do
		case $word in ok) ok "$line" ;; FAIL) fail "${line%%:*}" "${line#*: }" ;; '#') ;; *) fail "$1" "$word $line" ;; esac
	done < "$T/out"
done
kill $pid; wait $pid && ok "the end" || fail "the end" "exit $?: $(tail -n 1 "$T/server.err")"
finish
