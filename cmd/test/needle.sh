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
# Texts without ". ": Japanese sentences, source code, characters without an end. How far the needle may be from its depth, and what stands before it.
python3 - "$T" <<'PY'
import sys
from pathlib import Path
t = Path(sys.argv[1])
(t / 'ja.txt').write_text('\u6625\u306f\u3042\u3051\u307c\u306e\u3002\u3084\u3046\u3084\u3046\u300c\u767d\u304f\uff01\u300d\u3068\u5c71\u969b\u2026\u2026\u5c11\u3057\u660e\u308a\u3066\uff1f' * 300)
(t / 'code.txt').write_text('static int f(int x)\n{\n\treturn x + 1;\n}\n' * 500)
(t / 'words.txt').write_text('river garden letter stone ' * 1000)
(t / 'bare.txt').write_text('\u6625\u306f\u3042\u3051\u307c\u306e' * 1000)
PY
for row in 'ja 0.01 [\u3002\u300d\u2026\uff1f]' 'code 0.01 \n' 'words 0.01 (river|garden|letter|stone)' 'bare 0.002 .'; do
	# shellcheck disable=SC2086
	set -- $row
	keval prompts needle -f "$T/$1.txt" --lengths 5000 --depths 0,10,25,50,75,99,100 > "$T/.out" 2> "$T/.err"
	if python3 - "$T/.out" "$2" "$3" 2> "$T/.err" <<'PY'
import json, re, sys
for line, depth in zip(open(sys.argv[1]), (0, 10, 25, 50, 75, 99, 100)):
    text = json.loads(line)['messages'][0]['content'].rsplit('\n\n', 1)[0]
    m = re.search(r' ?The secret number of \w+ is \d+\. ', text)
    place = m.start() / (len(text) - len(m.group(0)))
    assert abs(place - depth / 100) <= float(sys.argv[2]), (depth, place)
    assert depth in (0, 100) or re.search(sys.argv[3] + r'\Z', text[:m.start()]), (depth, text[m.start() - 9:m.start() + 5])
PY
	then ok "a text without full stops: $1"; else fail "a text without full stops: $1" "$(tail -n 1 "$T/.err")"; fi
done
for o in '--lengths 64,32,64' '--depths 50,050'; do
	# shellcheck disable=SC2086
	exits "doubles: $o" 2 keval prompts needle -f $text $o
	grep -q 'has .* twice' "$T/.err" && ok "they are named: $o" || fail "they are named: $o" "$(tail -n 1 "$T/.err")"
done
exits "a depth beyond the text" 2 keval needle -m "$T/nano.kmf" -f $text --depths 101
finish
