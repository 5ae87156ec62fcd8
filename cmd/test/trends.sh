#!/bin/bash
# trends.sh: kbench --history and trends: what is kept of a run, and which change is one. The records of the made histories are by hand.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
here=$(dirname "$0")
picture() { client "$1" python3 "$here/plot_check.py" "${@:2}"; }
last() { tail -n 1 "$T/.out" | jq -r "$1"; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "$2, wanted $3"; fi; }
# made NAME SPREAD VALUE...: a series of decode
cat > "$T/made.py" <<'PY'
import json, sys
spread, *values = sys.argv[1:]
for i, v in enumerate(values):
    r = {'date': f'2026-01-{i + 1:02}T00:00:00Z', 'what': 'decode', 'model': 'm' * 64, 'machine': 'x', 'level': 'ref', 'threads': 2, 'placement': 'p',
         'commit': f'c{i}', 'item': 'depth 0 batch 1', 'tok_s': float(v)}
    print(json.dumps({**r, 'spread': float(spread)} if spread != '-' else r))
PY
made() { python3 "$T/made.py" "${@:2}" > "$T/$1"; }

# The four before: log of 100, 101, 99, 100 has a deviation of 0.00817; t of 3 degrees is 5.841, so a fifth strays by 5.841 * 0.00817 *
# sqrt(1.25) = 0.0533: 94.8 to 105.5.
made steady - 100 101 99 100 95.5
exits "within noise" 0 kbench trends --history "$T/steady" --json
is "within noise: verdict" "$(head -n 1 "$T/.out" | jq -r .verdict)" within_noise
is "within noise: interval" "$(head -n 1 "$T/.out" | jq -c '[.change, .change_low, .change_high] | map(. * 1000 | round)')" '[-45,-95,7]'
made slow - 100 101 99 100 94
exits "slower" 1 kbench trends --history "$T/slow" --json
is "slower: counts" "$(last '"\(.slower) \(.faster) \(.series)"')" "1 0 1"
grep -q '94, the median of the 4 runs before is 100' "$T/.err" && ok "the sentence" || fail "the sentence" "$(cat "$T/.err")"
made fast - 100 101 99 100 106
exits "faster" 0 kbench trends --history "$T/fast" --json
is "faster: verdict" "$(head -n 1 "$T/.out" | jq -r .verdict)" faster
made wide 0.1 100 101 99 100 94
exits "within the spread of repetitions" 0 kbench trends --history "$T/wide" --json
made few - 100 100 50
exits "too few" 0 kbench trends --history "$T/few" --json
is "too few: verdict" "$(head -n 1 "$T/.out" | jq -r .verdict)" too_few
exits "a bar" 1 kbench trends --history "$T/few" --bar 'worst<0.5'
exits "slower, within a bar" 0 kbench trends --history "$T/slow" --json --bar 'worst<0.1'
is "slower, within a bar: verdict" "$(head -n 1 "$T/.out" | jq -r '"\(.verdict) \(.ok)"')" "slower true"
exits "slower, beyond a bar" 1 kbench trends --history "$T/slow" --bar 'worst<0.05'
exits "slower, and a bar on something else" 1 kbench trends --history "$T/slow" --bar 'series<5'
# Slower where others had the CPUs is nobody's fault, unless it was so before.
waited() { printf ', "waited": %s}\n' "${@:2}" | paste -d '' <(sed 's/}$//' "$T/slow") - > "$T/$1"; }
waited busy 0.01 0 null 0.01 0.4
exits "busy" 0 kbench trends --history "$T/busy" --json
is "busy: verdict" "$(jq -r 'select(.item).verdict' "$T/.out") $(last '"\(.slower) \(.busy)"')" "busy 0 1"
grep -q 'warning: decode .*: 94, the median .*waited for a CPU in 40 % of the time' "$T/.err" && ok "busy: the sentence" || fail "busy: the sentence" "$(cat "$T/.err")"
waited always 0.5 0.3 0.35 0.32 0.4
exits "busy as before" 1 kbench trends --history "$T/always" --json
made one - 100
exits "one run" 0 kbench trends --history "$T/one" --json
is "one run: no change" "$(head -n 1 "$T/.out" | jq -c '[.runs, .first, .last, .change]')" '[1,100,100,null]'
# Another thread count, level, machine or model is another series.
{ cat "$T/steady"; sed 's/"threads": 2/"threads": 4/' "$T/slow"; sed 's/"level": "ref"/"level": "avx2"/' "$T/few"; sed 's/"machine": "x"/"machine": "y"/' "$T/one"; sed 's/mmm/mmn/' "$T/one"; } > "$T/mixed"
exits "series" 1 kbench trends --history "$T/mixed" --json --plot "$T/mixed.svg"
is "series: counts" "$(last '"\(.slower) \(.series) \(.records)"')" "1 5 15"
picture "series" text "$T/mixed.svg" "Trends: 1 slower, 0 faster of 5 series"
# A time: more is slower.
sed 's/"decode"/"kernels"/; s/tok_s/ns/' "$T/fast" > "$T/ns"
exits "a time that grows" 1 kbench trends --history "$T/ns" --json
check "one point drawn" kbench trends --history "$T/one" --plot "$T/one.svg"
picture "points" trend "$T/mixed.svg"

# Torn lines: at the end, and within when another run went on.
{ cat "$T/steady"; head -c 60 "$T/one"; } > "$T/torn"
exits "a torn end" 0 kbench trends --history "$T/torn" --json
is "a torn end: counts" "$(last '"\(.torn) \(.records)"')" "1 5"
exits "a run after it" 0 kbench machine --reps 1 --max-memory 64M --history "$T/torn"
exits "which is read" 0 kbench trends --history "$T/torn" --json
is "a torn line: counts" "$(last '"\(.torn) \(.records)"')" "1 6"
printf 'something else\n' > "$T/other"; cp "$T/other" "$T/other2"
exits "another file" 3 kbench machine --reps 1 --history "$T/other"
same "which is left alone" "$T/other" "$T/other2"
exits "another file, read" 3 kbench trends --history "$T/other"
exits "no file" 5 kbench trends --history "$T/none"
exits "no history" 2 kbench trends
: > "$T/empty"
exits "an empty one" 0 kbench trends --history "$T/empty" --json --plot "$T/empty.svg"
picture "an empty one" text "$T/empty.svg" "of 0 series"

kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
for i in 1 2; do kbench decode -m "$T/nano.kmf" --depth 0,16 -b 1,2 --tokens 2 --reps 2 --history "$T/runs" --plot "$T/decode.svg" > "$T/decode" 2> "$T/.err"; done
is "lines" "$(jq -r .item "$T/runs" | sort | uniq -c | tr -s ' ' | tr '\n' ';')" " 2 depth 0 batch 1; 2 depth 0 batch 2; 2 depth 16 batch 1; 2 depth 16 batch 2;"
is "heads" "$(jq -r '[.date, .what, .model, .machine, .level, .threads, .placement, .commit] | map(. != null) | all' "$T/runs" | sort -u)" true
is "date" "$(jq -r .date "$T/runs" | grep -cE '^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z$')" 8
picture "decode" bars "$T/decode.svg" "$T/decode"
kbench compare --reps 2 --plot "$T/compare.svg" -- true -- true > /dev/null
picture "compare" text "$T/compare.svg" "time of B / time of A"
exits "what has no picture" 2 kbench machine --plot "$T/x.svg"
exits "two outputs" 2 kbench machine --report "$T/x" --history "$T/x"
finish
