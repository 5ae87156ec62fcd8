#!/bin/sh
# bench-cuda.sh: tokens a second of the model in testdata/nano on a GPU, a record a line. Without a device it says so. B: the build.
B=${B:-build}
if ! "$B/bin/keval" '--device=?' --json | grep -q '"cuda", "usable": true'; then
	echo "no device: $("$B/bin/keval" '--device=?' --json | sed -n 's/.*"cuda".*"name": "\(.*\)"}/\1/p')"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
fi
"$B/bin/kbench" decode -m testdata/nano --device cuda -b 1,8,64 && "$B/bin/kbench" prefill -m testdata/nano --device cuda
