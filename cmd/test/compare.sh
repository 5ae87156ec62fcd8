#!/bin/sh
# compare.sh: kbench compare: verdicts on commands whose times are far apart or alike, what is compared of what they print, what is recorded.
# How often it errs on real runs is counted by make check-compare.
# alone: verdicts on times that it makes
. "$(dirname "$0")/lib.sh"
command -v jq > /dev/null || { echo "skipped: no jq"; exit 77; }
is() { if jq -e "$2" "$T/out" > /dev/null; then ok "$1"; else fail "$1" "$2: $(cut -c 1-500 "$T/out")"; fi; }
# cmp NAME STATUS OPTION... -- A... -- B...: the record is in $T/out
cmp_() { name=$1 want=$2; shift 2; exits "$name" "$want" kbench compare --json "$@"; cp "$T/.out" "$T/out"; }
# prints NAME SECONDS TEXT: a command that takes so long and prints TEXT
prints() { printf '#!/bin/sh\nsleep %s\ncat <<EOF\n%s\nEOF\n' "$2" "$3" > "$T/$1"; chmod +x "$T/$1"; }

cmp_ "slower" 1 --reps 12 -- sleep 0.01 -- sleep 0.1
is "slower: the interval for bars" '[.ci95_low, .ci95_high] == .ci95'
is "slower: the record" '.verdict == "slower" and .ratio > 1.5 and .ci95[0] <= .ratio and .ratio <= .ci95[1] and .p_value <= 0.01 and .blocks == 12 and .output == "same"'
is "slower: what was used" '.cache == "warm" and (.a, .b | .seconds > 0.009 and .peak_rss > 100000 and .bytes_read >= 0 and .minor_faults > 10 and .major_faults >= 0)'
is "slower: the noise" '.noise_floor >= 0'
cmp_ "slower, within a bar" 0 --reps 12 --bar 'ratio<1000' -- sleep 0.01 -- sleep 0.1; is "slower, within a bar: the record" '.verdict == "slower"'
cmp_ "slower, beyond a bar" 1 --reps 12 --bar 'ratio<1.5' -- sleep 0.01 -- sleep 0.1
cmp_ "slower, for sure within a bar" 0 --reps 12 --bar 'ci95_low<1000' -- sleep 0.01 -- sleep 0.1
cmp_ "slower, for sure beyond a bar" 1 --reps 12 --bar 'ci95_low<1.5' -- sleep 0.01 -- sleep 0.1
cmp_ "slower, and a bar on something else" 1 --reps 12 --bar 'blocks==12' -- sleep 0.01 -- sleep 0.1
cmp_ "faster" 0 --reps 12 -- sleep 0.1 -- sleep 0.01
is "faster: the record" '.verdict == "faster" and .ratio < 0.7 and .ci95[1] < 1'
# 2 of 2^7 is more than 1 of 100; of 5 blocks there is no interval of 95 %.
cmp_ "seven blocks say nothing" 0 --reps 7 -- sleep 0.01 -- sleep 0.05; is "seven blocks: undecided" '.verdict == "undecided"'
cmp_ "five blocks have no interval" 0 --reps 5 -- sleep 0.01 -- sleep 0.05; is "five blocks: undecided" '.verdict == "undecided" and .ci95 == null and .ci95_low == null and .ci95_high == null'

# Order: every block has A's and B's two runs outside and inside, and both kinds come up.
prints loga 0 ''; echo "echo a >> '$T/log'" >> "$T/loga"; prints logb 0 ''; echo "echo b >> '$T/log'" >> "$T/logb"
kbench compare --json --seed 5 --reps 12 -- "$T/loga" -- "$T/logb" > "$T/out" 2> /dev/null
order=$(tail -n +3 "$T/log" | tr -d '\n' | fold -w 4 | sort -u | tr '\n' ' ')
[ "$order" = 'abba baab ' ] && ok "order" || fail "order" "$order"
first=$(cat "$T/log"); rm "$T/log"
kbench compare --json --seed 5 --reps 12 -- "$T/loga" -- "$T/logb" > "$T/out" 2> /dev/null
[ "$(cat "$T/log")" = "$first" ] && ok "a seed repeats the order" || fail "a seed repeats the order" "$(tr -d '\n' < "$T/log")"

# A wrong result fails, however fast.
prints right 0.1 '{"tok_s": 5, "digest": "aa11"}'
prints again 0.1 '{"tok_s": 6.5, "digest": "aa11"}'
prints skips 0 '{"tok_s": 500, "digest": "bb22"}'
cmp_ "another digest" 1 --reps 8 -- "$T/right" -- "$T/skips"
is "another digest: the record" '.verdict == "wrong" and .output == "differs" and (.why | test("B computes"))'
exits "a bar on the time makes nothing right" 1 kbench compare --reps 8 --bar 'ratio<1000' -- "$T/right" -- "$T/skips"
grep -q 'B computes' "$T/.err" && ok "another digest: the sentence" || fail "another digest: the sentence" "$(cat "$T/.err")"
cmp_ "ignored" 0 --reps 12 --ignore-output -- "$T/right" -- "$T/skips"; is "ignored: the record" '.verdict == "faster" and .output == "ignored"'
cmp_ "the same digest in another text" 0 --reps 2 -- "$T/right" -- "$T/again"; is "the same digest: the record" '.output == "same"'
prints text 0.03 'one'; prints other 0 'two'
cmp_ "other bytes" 1 --reps 2 -- "$T/text" -- "$T/other"; is "other bytes: the record" '.verdict == "wrong" and (.why | test("B prints"))'
prints nothing 0 ''; echo 'date +%s%N' >> "$T/nothing"
cmp_ "bytes that always differ" 0 --reps 2 -- "$T/nothing" -- "$T/text"; is "bytes that always differ: the record" '.output == "varies"'
printf '#!/bin/sh\necho "{\\"digest\\": \\"$(date +%%s%%N)\\"}"\n' > "$T/moves"; chmod +x "$T/moves"
cmp_ "A computes something else each time" 1 --reps 2 -- "$T/moves" -- "$T/right"; is "A moves: the record" '.verdict == "wrong" and (.why | test("^A "))'

# Real records: the same model, and another one that is smaller and faster.
kconvert testdata/tiny/kimi-linear-tiny -o "$T/m.kmf" && kquant "$T/m.kmf" -o "$T/q.kmf" || fail setup "no models"
cmp_ "decode against itself" 0 --reps 1 -- kbench decode -m "$T/m.kmf" --tokens 4 --reps 1 --json -- kbench decode -m "$T/m.kmf" --tokens 4 --reps 1 --json
is "decode against itself: the record" '.output == "same"'
cmp_ "decode of another model" 1 --reps 1 -- kbench decode -m "$T/m.kmf" --tokens 4 --reps 1 --json -- kbench decode -m "$T/q.kmf" --tokens 4 --reps 1 --json
is "decode of another model: the record" '.verdict == "wrong"'

cmp_ "a command that fails" 2 --reps 2 -- true -- sh -c 'exit 3'
cmp_ "a command whose answer is no" 1 --reps 2 -- true -- false
cmp_ "a command that is none" 2 -- true -- "$T/none"
cmp_ "one command" 2 -- true
cmp_ "no second command" 2 -- true --
finish
