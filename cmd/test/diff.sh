#!/bin/bash
# diff.sh: keval diff on made reports: right and wrong answers, numbers with weights, and what cannot be compared.
. "$(dirname "$0")/lib.sh"
cat > "$T/make.py" <<'PY'
import json, sys
t = sys.argv[1]
def choice(name, right, n=200, first=0):
    with open(f'{t}/{name}', 'w') as f:
        f.write(json.dumps({'item': 'run', 'ok': True}) + '\n')
        for i in range(first, first + n):
            f.write(json.dumps({'item': f'question {i}', 'right': right(i), 'ok': True}) + '\n')
        f.write(json.dumps({'task': 'choice', 'acc': 0, 'summary': True}) + '\n')
choice('a', lambda i: i % 10 < 6)
choice('worse', lambda i: i % 10 < 5)
choice('better', lambda i: i % 10 < 8)
choice('one', lambda i: i % 10 < 6 or i == 9)
choice('fewer', lambda i: True, 100)
choice('others', lambda i: True, 200, 1)
with open(f'{t}/ppl', 'w') as f:
    f.write('{"item": "window 0", "tokens": 10, "nll": 20.0, "ok": true}\n{"task": "ppl", "summary": true}\n')
open(f'{t}/cut', 'w').write('{"item": "run", "ok": true}\n')
PY
python3 "$T/make.py" "$T"
figure() { python3 -c 'import json,sys; print([json.loads(l) for l in open(sys.argv[1])][-1][sys.argv[2]])' "$T/.out" "$1"; }
verdict() { exits "$1: status" "$2" keval diff --json "$T/a" "$T/$1"; [ "$(figure verdict)" = "$3" ] && ok "$1" || fail "$1" "$(cat "$T/.out")"; }
verdict a 0 same
verdict worse 1 worse
grep -q "worse.* is worse than .*/a.*acc is 0.5, was 0.6" "$T/.err" && ok "the sentence" || fail "the sentence" "$(cat "$T/.err")"
verdict better 0 better
verdict one 0 undecided
[ "$(figure p_value)" = 1.0 ] && [ "$(figure value_b)" = 0.605 ] && ok "one answer more" || fail "one answer more" "$(cat "$T/.out")"
exits "other items" 2 keval diff "$T/a" "$T/others"
exits "fewer items" 2 keval diff "$T/a" "$T/fewer"
exits "another task" 2 keval diff "$T/a" "$T/ppl"
exits "an unfinished report" 3 keval diff "$T/a" "$T/cut"
exits "one report" 2 keval diff "$T/a"
exits "a model" 2 keval diff -m "$T/a" "$T/a" "$T/worse"
exits "a bar" 1 keval diff "$T/a" "$T/one" --bar 'delta<0'
exits "JUnit" 1 keval diff "$T/a" "$T/worse" --junit "$T/j.xml"; grep -q '<failure' "$T/j.xml" && ok "a failure in JUnit" || fail "a failure in JUnit" "$(cat "$T/j.xml")"
finish
