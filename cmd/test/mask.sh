#!/bin/bash
# mask.sh: what masks cost at the real vocabulary of 163,840 tokens, by the server's own clock.
# alone: what a mask costs is held against a bar
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
python3 "$here/mask_make.py" "$T/large" || { fail setup "no model"; finish; }
start large --listen 127.0.0.1:0 -q --ctx 4096 --slots 2 "$T/large" || finish
client masks python3 "$here/mask_client.py" "$port"
[ -z "${K_VERBOSE:-}" ] || grep '^#' "$T/.said"
stop large
# Elements and tags as K3 has them.
python3 "$here/k3_make.py" "$T/large" "$T/k3" || { fail setup "no k3"; finish; }
start k3 --listen 127.0.0.1:0 -q --ctx 4096 --slots 2 "$T/k3" || finish
client k3 python3 "$here/mask_client.py" "$port" plain
[ -z "${K_VERBOSE:-}" ] || grep '^#' "$T/.said"
stop k3
finish
