#!/bin/bash
# openai.sh: the official Python clients of OpenAI and of Anthropic against kserve on nano. They come from PyPI into $B/venv; without PyPI
# the test is skipped.
. "$(dirname "$0")/lib.sh"
venv=${B:-build}/venv
if ! "$venv/bin/python" -c 'import openai, anthropic' 2> /dev/null; then
	command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
	rm -rf "$venv"
	if ! python3 -m venv "$venv" > "$T/venv.log" 2>&1 || ! "$venv/bin/pip" install -q --retries 1 --timeout 20 --disable-pip-version-check openai anthropic > "$T/venv.log" 2>&1; then
		rm -rf "$venv"
		echo "skipped: the clients cannot be installed from PyPI: $(tail -n 1 "$T/venv.log")"; exit 77
	fi
fi
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
kserve --listen 127.0.0.1:0 --port-file "$T/port" --act f32 "$T/nano.kmf" 2> "$T/err" &
pid=$!
trap 'kill -9 $pid 2> /dev/null; rm -rf "$T"' EXIT
for ((i = 0; i < 600; i++)); do [ -s "$T/port" ] || ! kill -0 $pid 2> /dev/null || { sleep 0.1; continue; }; break; done
[ -s "$T/port" ] || { fail setup "kserve does not start: $(tail -n 1 "$T/err")"; finish; }
for client in openai anthropic; do
	before=$n_ok
	while read -r line; do
		case $line in
		"ok "*) ok "$client: ${line#ok }" ;;
		*) fail "$client" "$line" ;;
		esac
	done < <("$venv/bin/python" "$(dirname "$0")/${client}_client.py" "$(cat "$T/port")" testdata/nano 2>&1)
	[ $n_ok -gt $before ] || fail "$client" "said nothing"
done
kill -TERM $pid; wait $pid; status=$?
if [ $status -eq 0 ]; then ok SIGTERM; else fail SIGTERM "exit $status"; fi
finish
