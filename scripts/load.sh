#!/bin/bash
# load.sh pair [BLOCKS] | crowd [SECONDS] [MODEL]: kserve under load, on testdata/nano or MODEL. Run from the root of the tree after make.
#   pair    tokens a second of one stream over HTTP beside those of kbench decode, in turns (A B B A), the median of the ratios, and of the fastest
#   crowd   200 streaming clients, ten of them slow, one stream in twenty dropped on the way: errors, latencies, and the server's memory over time
set -eo pipefail
what=$1 n=${2:-} model=${3:-testdata/nano}
PATH=$PWD/build/bin:$PATH
T=$(mktemp -d)
trap 'kill $pid 2> /dev/null || :; rm -rf "$T"' EXIT
kconvert "$model" -o "$T/model.kmf"
kserve --listen 127.0.0.1:0 --port-file "$T/port" --ctx 4096 ${K_SERVE_ARGS:-} -q "$T/model.kmf" 2> "$T/server.err" &
pid=$!
for i in $(seq 300); do [ -s "$T/port" ] && break; kill -0 $pid; sleep 0.1; done
url=http://127.0.0.1:$(cat "$T/port")/v1
case $what in
pair)
	direct() { kbench decode -m "$T/model.kmf" --depth 32 --tokens 256 --reps 3 --json | tail -n 1 | jq .tok_s; }
	http() { kbench serve -u "$url" --concurrency 1 --tokens 256 --seconds 1 --json | tail -n 1 | jq '1000 / .tpot_ms.p50'; }
	direct > /dev/null; http > /dev/null
	for i in $(seq "${n:-10}"); do
		a=$(direct); b=$(http); c=$(http); d=$(direct)
		echo "$a $b $c $d"
	done | tee "$T/pairs"
	python3 - "$T/pairs" <<'PY'
import statistics, sys
rows = [list(map(float, l.split())) for l in open(sys.argv[1])]
ratios = sorted((b + c) / (a + d) for a, b, c, d in rows)
print(f'kbench decode {statistics.median(x for a, b, c, d in rows for x in (a, d)):.1f} tok/s, over HTTP {statistics.median(x for a, b, c, d in rows for x in (b, c)):.1f} tok/s, '
      f'ratio {statistics.median(ratios):.4f} ({ratios[0]:.4f} to {ratios[-1]:.4f} in {len(rows)} blocks)')
# On a machine with other work the fastest of each say more.
best = lambda cols: statistics.mean(sorted((r[c] for r in rows for c in cols), reverse=True)[:max(1, len(rows) // 4)])
print(f'the fastest: {best((0, 3)):.1f} and {best((1, 2)):.1f} tok/s, ratio {best((1, 2)) / best((0, 3)):.4f}')
PY
	;;
crowd)
	kbench serve -u "$url" --concurrency 200 --slow 10 --abandon 0.05 --tokens 32 --seconds "${n:-300}" --json > "$T/out" &
	k=$!
	while kill -0 $k 2> /dev/null; do awk -v t=$SECONDS '/VmRSS/ { print t " s: " $2 " kB" }' /proc/$pid/status; sleep $((${n:-300} / 10 + 1)); done
	wait $k
	tail -n 1 "$T/out" | jq -c '{req_s, tok_s, ttft_ms, tpot_ms, itl_ms, itl_ratio, requests, refused, abandoned, errors, errors_by, mismatches, error}'
	cat "$T/server.err"
	;;
*) echo 'load.sh: pair or crowd' >&2; exit 2 ;;
esac
