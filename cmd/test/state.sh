#!/bin/bash
# state.sh: --state-dir: what was computed is there after a restart and after a crash; a state that is wrong in any way is refused, said
# and computed again, with the same answer; what the prefix cache holds, batch mates and threads do not change a byte.
# What is asked over a connection stands in state_client.py.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0") nano=testdata/nano
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert $nano -o "$T/nano.kmf" && kquant -q -t i4g32 $nano -o "$T/int4.kmf" || { fail setup "nano does not convert"; finish; }
client state python3 "$here/state_client.py" "$T"
if unshare -m true 2> /dev/null && mkdir "$T/disk" && unshare -m sh -c "mount -t tmpfs -o size=48m none '$T/disk'" 2> /dev/null; then
	client state unshare -m sh -c 'mount -t tmpfs -o size=48m none "$2/disk" && exec python3 "$1/state_client.py" "$2" a_small_disk_keeps_its_states' sh "$here" "$T"
else
	skip "a small disk" "no tmpfs can be mounted"
fi
finish
