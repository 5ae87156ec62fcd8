#!/bin/bash
# openai.sh: the official Python client of OpenAI against kserve on nano. The client comes from PyPI into $B/venv; without PyPI the
# test is skipped.
. "$(dirname "$0")/lib.sh"
venv=${B:-build}/venv
if ! "$venv/bin/python" -c 'import openai' 2> /dev/null; then
	command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
	rm -rf "$venv"
	if ! python3 -m venv "$venv" > "$T/venv.log" 2>&1 || ! "$venv/bin/pip" install -q --retries 1 --timeout 20 --disable-pip-version-check openai > "$T/venv.log" 2>&1; then
		rm -rf "$venv"
		echo "skipped: the openai client cannot be installed from PyPI: $(tail -n 1 "$T/venv.log")"; exit 77
	fi
fi
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
kserve --listen 127.0.0.1:0 --port-file "$T/port" --act f32 "$T/nano.kmf" 2> "$T/err" &
pid=$!
trap 'kill -9 $pid 2> /dev/null; rm -rf "$T"' EXIT
for ((i = 0; i < 600; i++)); do [ -s "$T/port" ] || ! kill -0 $pid 2> /dev/null || { sleep 0.1; continue; }; break; done
[ -s "$T/port" ] || { fail setup "kserve does not start: $(tail -n 1 "$T/err")"; finish; }
while read -r line; do
	case $line in
	"ok "*) ok "${line#ok }" ;;
	*) fail client "$line" ;;
	esac
done < <("$venv/bin/python" "$(dirname "$0")/openai_client.py" "$(cat "$T/port")" testdata/nano 2>&1)
[ $n_ok -gt 0 ] || fail client "said nothing"
kill -TERM $pid; wait $pid; status=$?
if [ $status -eq 0 ]; then ok SIGTERM; else fail SIGTERM "exit $status"; fi
finish
