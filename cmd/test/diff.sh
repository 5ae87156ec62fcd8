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
def report(name, task, items, **head):
    with open(f'{t}/{name}', 'w') as f:
        f.write(json.dumps({'item': 'run', 'task': task, **head, 'ok': True}) + '\n')
        for i, item in enumerate(items):
            f.write(json.dumps({'item': f'item {i}', **item, 'ok': True}) + '\n')
        f.write(json.dumps({'task': task, 'summary': True}) + '\n')
def nll(name, n, more, **head): report(name, 'ppl', [{'tokens': 50, 'nll': 100 + i + more * (1 + i % 3)} for i in range(n)], **head)
for n in (1, 5, 7, 8):
    nll(f'n{n}', n, 0)
    nll(f'm{n}', n, 0.001)
text = dict(model='x', act='f32', level='ref', text_sha256='aa', text_tokens=400, window=50, stride=50, bos_id=None)
nll('text', 8, 0, **text)
nll('other_model', 8, 0, **{**text, 'model': 'y', 'act': 'bf16', 'level': 'avx2', 'profile': 'engine'})
for key, value in dict(text_sha256='bb', text_tokens=401, window=60, stride=25, bos_id=1).items():
    nll(f'other_{key}', 8, 0, **{**text, key: value})
def right(name, task, **head): report(name, task, [{'right': i % 2 == 0} for i in range(8)], seed=0, limit=0, **head)
right('q', 'gen', file_sha256='aa')
right('other_file', 'gen', file_sha256='bb')
right('depths', 'needle', file_sha256='aa', depths='0')
right('other_depths', 'needle', file_sha256='aa', depths='0,50')
def calls(name, valid): report(name, 'toolcall', [{'finish_reason': 'stop' if valid(i) is None else 'tool_calls', 'valid': valid(i)} for i in range(40)])
calls('calls', lambda i: None if i % 4 == 0 else True)
calls('bad_calls', lambda i: None if i % 4 == 0 else i % 4 == 1)
calls('fewer_calls', lambda i: None if i % 4 < 2 else True)
calls('no_calls', lambda i: None)
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
# How much worse B may be is what a bar says.
exits "worse, within a bar" 0 keval diff "$T/a" "$T/worse" --json --report "$T/report" --bar 'delta>=-0.2'; [ "$(figure verdict)" = worse ] && ok "its verdict" || fail "its verdict" "$(cat "$T/.out")"
grep -q '"ok": false' "$T/report" && fail "its report" "$(cat "$T/report")" || ok "its report"
exits "worse, beyond a bar" 1 keval diff "$T/a" "$T/worse" --bar 'ci95_low>=-0.1'; grep -q 'ci95_low is .*, the bar is' "$T/.err" && ok "which is named" || fail "which is named" "$(cat "$T/.err")"
exits "a limit, which diff has not" 0 keval diff "$T/a" "$T/a" --limit 3; grep -q "warning: --limit says nothing to 'diff'" "$T/.err" && ok "it is named" || fail "it is named" "$(cat "$T/.err")"
exits "a bar on something else" 1 keval diff "$T/a" "$T/worse" --bar 'n>1'
exits "JUnit" 1 keval diff "$T/a" "$T/worse" --junit "$T/j.xml"; grep -q '<failure' "$T/j.xml" && ok "a failure in JUnit" || fail "a failure in JUnit" "$(cat "$T/j.xml")"
# One window, or a few, tell nothing: the signs of 7 differences may all be alike by chance.
numbers() { exits "$1 windows: status" "$2" keval diff --json "$T/n$1" "$T/m$1"; [ "$(figure verdict) $(figure p_value)" = "$3" ] && ok "$1 windows" || fail "$1 windows" "$(cat "$T/.out")"; }
numbers 1 0 "undecided 1.0"
[ "$(figure ci95_low) $(figure ci95_high)" = "None None" ] && ok "no interval of one window" || fail "no interval of one window" "$(cat "$T/.out")"
numbers 5 0 "undecided 0.0625"
numbers 7 0 "same 0.015625"
numbers 8 1 "worse 0.0078125"
exits "itself" 0 keval diff --json "$T/n1" "$T/n1"; [ "$(figure verdict)" = same ] && ok "itself" || fail "itself" "$(cat "$T/.out")"
exits "two windows drawn" 0 keval diff "$T/n5" "$T/m5" --plot "$T/few.svg"
# What was asked must be the same; who answered need not be.
exits "another model" 0 keval diff "$T/text" "$T/other_model"
exits "a head that says less" 0 keval diff "$T/text" "$T/n8"
other() { exits "$3 differs" 2 keval diff "$T/$1" "$T/$2"; grep -q "^keval: $3 is .* in '.*$1' and .* in '.*$2': they scored different things" "$T/.err" && ok "$3 is named" || fail "$3 is named" "$(cat "$T/.err")"; }
for key in text_sha256 text_tokens window stride bos_id; do other text other_$key $key; done
other q other_file file_sha256
other depths other_depths depths
# Tool calls: where both call.
exits "calls" 1 keval diff --json "$T/calls" "$T/bad_calls"
[ "$(figure field) $(figure n) $(figure left_out) $(figure value_b)" = "schema_accuracy 30 0 0.3333333333333333" ] && ok "calls" || fail "calls" "$(cat "$T/.out")"
exits "fewer calls" 0 keval diff --json "$T/calls" "$T/fewer_calls"
[ "$(figure n) $(figure left_out) $(figure verdict)" = "20 10 same" ] && ok "fewer calls" || fail "fewer calls" "$(cat "$T/.out")"
grep -q "10 items have a valid in one report only" "$T/.err" && ok "and said" || fail "and said" "$(cat "$T/.err")"
exits "no calls" 2 keval diff "$T/calls" "$T/no_calls"
finish
