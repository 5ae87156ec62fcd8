#!/bin/bash
# check-compare.sh [N]: how often kbench compare errs, on real runs: N (100) comparisons of a command of about 20 ms with itself, and N with 3 %
# more work, in turns, then with 10 % more. BLOCKS (30) blocks each. The last line is "N passed, N failed, N skipped":
#
#   a command against itself    no change is seen, but in 5 of 100 comparisons at most (DECISIONS: the tests are made at 1 %)
#   3 % and 10 % more           never faster; what is not seen is undecided, or "same" where the interval says so
set -u
n=${1:-100} blocks=${BLOCKS:-30} bin=${K_BIN:-build/bin}
T=$(mktemp -d "${TMPDIR:-/tmp}/ktools-compare.XXXXXX")
trap 'rm -rf "$T"' EXIT
cat > "$T/busy.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
	unsigned long x = argc;
	for (long i = atol(argv[1]); i > 0; i--)
		x = x * 6364136223846793005u + 1442695040888963407u;
	return x == 7;
}
C
${CC:-cc} -O1 -o "$T/busy" "$T/busy.c" || exit 1
# Steps that take 20 ms here: the fastest of twenty tries tells.
steps=$(python3 - "$T/busy" <<'PY'
import subprocess, sys, time
def run(n):
    t = time.perf_counter(); subprocess.run([sys.argv[1], str(n)]); return time.perf_counter() - t
empty = min(run(1) for _ in range(20))
print(int(4e6 * 0.020 / (min(run(4000000) for _ in range(20)) - empty)))
PY
)
compare() { "$bin/kbench" compare --json --reps "$blocks" -- "$T/busy" "$steps" -- "$T/busy" $((steps * (100 + $1) / 100)) >> "$T/$1.jsonl" 2> /dev/null; }
for i in $(seq "$n"); do compare 0; compare 3; done
for i in $(seq $((n / 5))); do compare 10; done
python3 - "$T" <<'PY'
import collections, json, statistics, sys
passed = failed = 0
for more, name in ((0, 'against itself'), (3, '3 % more'), (10, '10 % more')):
    rows = [json.loads(line) for line in open(f'{sys.argv[1]}/{more}.jsonl')]
    v = collections.Counter(r['verdict'] for r in rows)
    held = sum(r['ci95'][0] <= 1 + more / 100 <= r['ci95'][1] for r in rows)
    print(f'{name}: {dict(v)} of {len(rows)}; ratio {statistics.median(r["ratio"] for r in rows):.4f}, ci95 holds {1 + more / 100} in {held}, '
          f'noise floor {statistics.median(r["noise_floor"] for r in rows):.3f}')
    ok = v['slower'] + v['faster'] <= 0.05 * len(rows) if not more else v['faster'] == 0 and v['wrong'] == 0
    passed += ok; failed += not ok
print(f'{passed} passed, {failed} failed, 0 skipped')
sys.exit(failed > 0)
PY
