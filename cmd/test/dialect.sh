#!/bin/bash
# dialect.sh: the shapes of the three APIs on nano, without foreign clients: every field of a request, whole replies and streams.
# What is asked stands in dialect_client.py.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0") nano=testdata/nano
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
pid=
trap '[ -z "$pid" ] || kill -9 $pid 2> /dev/null; rm -rf "$T"' EXIT
kconvert $nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }

# ask NAME OPTION... MODEL -- CHECK...: a server of its own, and the checks
ask() {
	local name=$1 i=0 line; shift
	local options=()
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	rm -f "$T/port"
	kserve --listen 127.0.0.1:0 --port-file "$T/port" --act f32 --ctx 8192 "${options[@]}" 2> "$T/err" &
	pid=$!
	until [ -s "$T/port" ]; do
		i=$((i + 1))
		if [ $i -gt 600 ] || ! kill -0 $pid 2> /dev/null; then fail "$name" "kserve does not start: $(tail -n 1 "$T/err")"; return; fi
		sleep 0.1
	done
	while read -r line; do
		case $line in
		"ok "*) ok "$name: ${line#ok }" ;;
		*) fail "$name" "$line" ;;
		esac
	done < <(python3 "$here/dialect_client.py" "$(cat "$T/port")" $nano "$@" 2>&1)
	kill -TERM $pid; wait $pid; local status=$?
	pid=
	if [ $status -eq 0 ]; then ok "$name: SIGTERM"; else fail "$name: SIGTERM" "exit $status: $(tail -n 1 "$T/err")"; fi
}

ask nano "$T/nano.kmf" --
finish
