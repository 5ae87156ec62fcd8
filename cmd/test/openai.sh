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
start nano --listen 127.0.0.1:0 --act f32 "$T/nano.kmf" || finish
for who in openai anthropic; do client $who "$venv/bin/python" "$(dirname "$0")/${who}_client.py" "$port" testdata/nano; done
stop nano
finish
