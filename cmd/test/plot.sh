#!/bin/bash
# plot.sh: pictures: what is in them, by their own axes; the same bytes; texts that are hostile; and what cannot be drawn.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
here=$(dirname "$0") text=testdata/nano/eval/prose.txt
picture() { client "$1" python3 "$here/plot_check.py" "${@:2}"; }
python3 "$here/plot_check.py" make "$T"

exits "diff" 1 keval diff "$T/a" "$T/b" --bar 'delta<0' --plot "$T/diff.svg"
picture diff diff "$T/diff.svg"
keval diff "$T/a" "$T/b" --plot "$T/again.svg" > /dev/null
same "the same picture twice" "$T/diff.svg" "$T/again.svg"
LC_ALL=de_DE.UTF-8 keval diff "$T/a" "$T/b" --plot "$T/again.svg" > /dev/null
same "the same picture elsewhere" "$T/diff.svg" "$T/again.svg"
check "one point, and all alike" keval diff "$T/one" "$T/one" --plot "$T/one.svg"
picture "one point" text "$T/one.svg" "alike: 1"
exits "20,000 items" 1 keval diff "$T/many_a" "$T/many_b" --plot "$T/many.svg"
picture "20,000 items" size "$T/many.svg" 200000

# Names that are markup, that a shell or gnuplot would run, and that are no UTF-8.
evil="$T/a<b>&\"'\`touch run\`\$(touch run)
@x]]>%s"$'\xff\xfe\x01'
rm -f run; cp "$T/b" "$evil"
keval diff "$evil" "$T/b" --plot "$T/evil.svg" > /dev/null
picture "a hostile name" text "$T/evil.svg" "a<b>&\"'\`touch"

kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
keval prompts needle -f $text --lengths 800,100 --depths 50,0,100 > "$T/questions"
# Found at depth 0 only; the question of 800 and 100 has no answer.
python3 - "$T/questions" > "$T/answers" <<'PY'
import json, re, sys
for i, line in enumerate(open(sys.argv[1])):
    q = json.loads(line)
    m = re.search(r'The secret number of \w+ is (\d+)', q['messages'][0]['content'])
    if i == 2:
        print(json.dumps({'id': q['id'], 'error': {'message': 'no', 'code': 400}}))
        continue
    print(json.dumps({'id': q['id'], 'choices': [{'message': {'content': m.group(1) if m.start() == 0 else '7'}, 'finish_reason': 'stop'}]}))
PY
keval score needle -f $text --lengths 800,100 --depths 50,0,100 --plot "$T/needle.svg" < "$T/answers" > "$T/out" 2>&1
picture needle needle "$T/needle.svg" '{"100,0": 1, "100,50": 0, "100,100": 0, "800,0": 1, "800,50": 0, "800,100": null}'
sed 's/.*"id": "\([^"]*\)".*/{"id": "\1", "error": {"message": "no", "code": 400}}/' "$T/answers" > "$T/none"
keval score needle -f $text --lengths 100 --depths 0 --plot "$T/none.svg" < "$T/none" > /dev/null 2>&1
picture "nothing was answered" text "$T/none.svg" "nothing was answered"

head -c 4000 $text > "$T/text"
kquant "$T/nano.kmf" -o "$T/i4.kmf" && keval kld -m "$T/nano.kmf" -f "$T/text" --window 200 --save-ref "$T/ref" > /dev/null
keval kld -m "$T/i4.kmf" -f "$T/text" --window 200 --ref "$T/ref" --plot "$T/kld.svg" --report "$T/kld" -j 1 > /dev/null
picture kld kld "$T/kld.svg" "$T/kld"
keval kld -m "$T/i4.kmf" -f "$T/text" --window 200 --ref "$T/ref" --plot "$T/kld2.svg" -j 2 -b 3 > /dev/null
same "threads and batch" "$T/kld.svg" "$T/kld2.svg"
keval kld -m "$T/nano.kmf" -f "$T/text" --window 200 --ref "$T/ref" --plot "$T/zero.svg" > /dev/null
picture "hardly any divergence" text "$T/zero.svg" "tokens"

exits "another ending" 2 keval diff "$T/a" "$T/b" --plot "$T/x.pdf"
exits "a task without a picture" 2 keval ppl -m "$T/nano.kmf" -f "$T/text" --plot "$T/x.svg"
grep -q 'needle' "$T/.err" && grep -q 'kld' "$T/.err" && ok "tasks that have one" || fail "tasks that have one" "$(cat "$T/.err")"
exits "a reference" 2 keval kld -m "$T/nano.kmf" -f "$T/text" --save-ref "$T/r2" --plot "$T/x.svg"
exits "over a report" 2 keval diff "$T/a" "$T/b" --report "$T/x.svg" --plot "$T/x.svg"
cp "$T/a" "$T/a.svg"
exits "over an operand" 2 keval diff "$T/a.svg" "$T/b" --plot "$T/a.svg"
same "which is left alone" "$T/a" "$T/a.svg"
exits "a folder that is not there" 5 keval diff "$T/a" "$T/b" --plot "$T/none/x.svg"
[ -e "$T/x.svg" ] && fail "no picture of what failed" "x.svg is there" || ok "no picture of what failed"
mkdir "$T/empty"
exits "PNG without gnuplot" 2 env PATH="$T/empty" "$BIN/keval" diff "$T/a" "$T/b" --plot "$T/x.png"
grep -q 'gnuplot-nox' "$T/.err" && ok "which package" || fail "which package" "$(cat "$T/.err")"
printf '#!/bin/sh\nexit 3\n' > "$T/empty/gnuplot"; chmod +x "$T/empty/gnuplot"
exits "a gnuplot that fails" 5 env PATH="$T/empty:$PATH" "$BIN/keval" diff "$T/many_a" "$T/many_a" --plot "$T/x.png"
ls "$T" | grep -q 'x.png' && fail "nothing is left" "$(ls "$T")" || ok "nothing is left"
if command -v gnuplot > /dev/null; then
	for f in "diff $T/a $T/b" "diff $T/one $T/one" "kld -m $T/i4.kmf -f $T/text --window 200 --ref $T/ref"; do
		rm -f "$T/p.png"
		keval $f --plot "$T/p.png" > /dev/null 2> "$T/.err"
		[ "$(head -c 8 "$T/p.png" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] && ok "PNG: ${f%% *}" || fail "PNG: $f" "$(cat "$T/.err")"
	done
	keval diff "$evil" "$T/b" --plot "$T/evil.png" > /dev/null
	[ -s "$T/evil.png" ] && ok "PNG: a hostile name" || fail "PNG: a hostile name" "no picture"
else
	skip "PNG" "no gnuplot"
fi
[ -e run ] && fail "a name is run" "touch was" || ok "no name is run"
finish
