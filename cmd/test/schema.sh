#!/bin/bash
# schema.sh: what is asked for is what comes: JSON of a schema, calls of the tools that are allowed, whatever the model would say. A part of
# the schemas; all of them with K_LONG=1.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert -q testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
start nano --listen 127.0.0.1:0 -q "$T/nano.kmf" || finish
client choose python3 "$here/choose_client.py" "$port"
client schema python3 "$here/schema_client.py" "$port" ${K_LONG:+all}
stop nano
# Steps with less room than what is known.
start narrow --listen 127.0.0.1:0 -q --slots 2 --batch 5 "$T/nano.kmf" || finish
client narrow python3 "$here/choose_client.py" "$port" ahead
stop narrow
# The same where answers are elements and arguments have types.
python3 "$here/k3_make.py" testdata/nano "$T/k3" || { fail setup "no k3"; finish; }
start k3 --listen 127.0.0.1:0 -q "$T/k3" || finish
client k3-choose python3 "$here/choose_client.py" "$port" plain
client k3 python3 "$here/k3_client.py" "$port"
client k3-schema python3 "$here/schema_client.py" "$port" plain ${K_LONG:+all}
stop k3
finish
