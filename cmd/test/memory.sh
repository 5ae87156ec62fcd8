#!/bin/sh
# memory.sh: the converters hold a few blocks, not the model. A synthetic checkpoint of K_BIG_GB (default 1.5) goes through kconvert,
# kquant and the pipe of both; peak resident memory stays under 512 MiB and address space under 1.5 GiB. `K_BIG_GB=8` for the full measure.
. "$(dirname "$0")/lib.sh"
gb=${K_BIG_GB:-1.5}
case ${B:-build} in *asan*|*tsan*|*oom*) skip memory "sanitizers keep what was freed"; finish ;; esac
python3 scripts/big-checkpoint.py "$T/big" "$gb" > "$T/made" || { fail make "no checkpoint"; finish; }
peak() {        # peak NAME COMMAND...: runs it, checks status and the peak resident set in KiB
	name=$1; shift
	( ulimit -v 1572864; exec python3 - "$T/peak" "$@" <<'PY'
import os, resource, subprocess, sys
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
_, status, use = os.wait4(p.pid, 0)
open(sys.argv[1], 'w').write(str(use.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
PY
	) || { fail "$name" "exit $?"; return; }
	rss=$(cat "$T/peak")
	if [ "$rss" -le 524288 ]; then ok "$name: $((rss / 1024)) MiB for $gb GB"; else fail "$name" "peak resident $((rss / 1024)) MiB"; fi
}
peak kconvert "$BIN/kconvert" "$T/big" -o "$T/big.kmf"
peak kquant "$BIN/kquant" -t i4g32 "$T/big.kmf" -o "$T/big.i4.kmf"
peak "kquant with rules" "$BIN/kquant" -t i4g32 --rule embed=i8row --rule head=i4g32 "$T/big.kmf" -o "$T/big.r.kmf"
rm -f "$T/big.r.kmf"
peak "to hf" "$BIN/kconvert" --to hf "$T/big.i4.kmf" -o "$T/big.hf"
rm -rf "$T/big.hf"
if [ "$("$BIN/kconvert" "$T/big" | "$BIN/kquant" -t i4g32 | sha256sum)" = "$(sha256sum < "$T/big.i4.kmf")" ]; then
	ok "the pipe gives the same bytes"
else
	fail "pipe" "other bytes than through the file"
fi
finish
