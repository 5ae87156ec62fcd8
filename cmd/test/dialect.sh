#!/bin/bash
# dialect.sh: the shapes of the three APIs on nano, without foreign clients: every field of a request, whole replies and streams.
# What is asked stands in dialect_client.py.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
start nano --listen 127.0.0.1:0 --act f32 --ctx 8192 "$T/nano.kmf" || finish
client nano python3 "$(dirname "$0")/dialect_client.py" "$port" testdata/nano
stop nano
finish
