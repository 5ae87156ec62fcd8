#!/bin/bash
# needle.sh: keval needle: where the needle is put, how long the text is, what counts as found; in the process and through pipes.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
text=testdata/nano/eval/prose.txt
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
# Somebody who finds the needle in the first half of the text only; what is said of depth and length is checked on the way.
cat > "$T/finder.py" <<'PY'
import json, re, sys
for line in sys.stdin:
    q = json.loads(line)
    text, question = q['messages'][0]['content'].rsplit('\n\n', 1)
    m = re.search(r'The secret number of (\w+) is (\d+)\. ', text)
    assert m and m.group(1) in question and (m.start() == 0 or text[m.start() - 2] in '.!?' or m.end() == len(text)), text[:200]
    place = m.start() / max(1, len(text) - len(m.group(0)))
    print(len(text), round(place, 2), file=sys.stderr)
    print(json.dumps({'id': q['id'], 'choices': [{'message': {'content': f'It is {m.group(2)}.' if place < 0.5 else 'It is 7.'}, 'finish_reason': 'stop'}]}))
PY
keval prompts needle -f $text --lengths 200,20000 --depths 0,20,60,100 | python3 "$T/finder.py" > "$T/answers" 2> "$T/places"
keval score needle -f $text --lengths 200,20000 --depths 0,20,60,100 --json < "$T/answers" > "$T/out"
if [ "$(tail -n 1 "$T/out" | jq -c '[.acc, .n, .table["200"]["0"], .table["20000"]["20"], .table["20000"]["60"], .table["200"]["100"]]')" = '[0.5,8,1,1,0,0]' ]
then ok "found and not found"; else fail "found and not found" "$(tail -n 1 "$T/out")"; fi
if awk 'NR > 4 { d = $2 - (NR == 6 ? 0.2 : NR == 7 ? 0.6 : NR == 8); if ($1 < 76000 || $1 > 84000 || d > 0.01 || d < -0.01) exit 1 }' <(sed '5s/^\([0-9]*\) .*/\1 0/' "$T/places"); then ok "length and depth"; else fail "length and depth" "$(tr '\n' ';' < "$T/places")"; fi
keval needle -m "$T/nano.kmf" -f $text --lengths 64,128 --depths 0,50 --json > "$T/a"; keval needle -m "$T/nano.kmf" -f $text --lengths 64,128 --depths 0,50 -b 3 -j 1 --json > "$T/b"
same "digits do not depend on threads and batch" "$T/a" "$T/b"
if jq -se '[.[] | select(.length == 128) | .prompt_tokens >= 150 and .prompt_tokens <= 230] | length == 2 and all' "$T/a" > /dev/null; then ok "tokens as the model counts them"; else fail "tokens" "$(grep '"length": 128' "$T/a" | cut -c 1-200)"; fi
exits "a depth beyond the text" 2 keval needle -m "$T/nano.kmf" -f $text --depths 101
finish
