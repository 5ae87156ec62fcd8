#!/bin/bash
# llama.sh: what clients of llama-server ask for: a slot by its number, how far a prompt is, times. What is asked stands in llama_client.py.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert -q testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
# begin NAME OPTION...; ask NAME CHECK...
begin() { start "$1" --listen 127.0.0.1:0 --ctx 4096 --slots 3 --slots-route "${@:2}" "$T/nano.kmf"; }
ask() { client "$1" python3 "$(dirname "$0")/llama_client.py" "$port" "${@:2}"; }
if begin plain --batch 64; then ask plain slot_numbers pinned pinned_waits progress timings not_compatible; stop plain; fi
if begin compat --compat-llama; then ask compat compatible; stop compat; fi
finish
