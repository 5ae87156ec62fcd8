#!/bin/bash
# choice.sh: keval choice in the process, over HTTP and through pipes: the same items to the last digit, for every batch and number of threads;
# resumed runs, shapes of questions, bars, what is refused. lm-eval's own figures: scripts/lm-eval.sh.
. "$(dirname "$0")/lib.sh"
q=testdata/eval/choice.jsonl
kconvert testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
items() { grep '"item": "item' "$1"; }
same_items() { if [ -s "$2" ] && cmp -s <(items "$2") <(items "$3"); then ok "$1"; else fail "$1" "items differ: $(diff <(items "$2") <(items "$3") | head -n 2 | cut -c 1-300)"; fi; }
keval choice -m "$T/nano.kmf" -f $q --json -j 1 --report "$T/a.jsonl" --bar 'acc>=0.3' > "$T/a" || fail choice "exit $?"
# What lm-eval 0.4.13 says of these items over local-completions.
if grep -q '"acc": 0.34375,.*"acc_norm": 0.4375,.*"n": 32' "$T/a"; then ok "the scores of lm-eval"; else fail "the scores of lm-eval" "$(tail -n 1 "$T/a")"; fi
keval choice -m "$T/nano.kmf" -f $q --json -j 3 -b 5 > "$T/b"; same "digits do not depend on threads and batch" "$T/a" "$T/b"
same "the report is what was printed" "$T/a" "$T/a.jsonl"
keval choice -m "$T/nano.kmf" -f $q --limit 1 --json | jq -se 'last | .n == 1 and .acc != null and .acc_stderr == null and .acc_norm_stderr == null' > /dev/null &&
	ok "the error of one question" || fail "the error of one question" "is not null"
exits "a missed bar" 1 keval choice -m "$T/nano.kmf" -f $q --limit 4 --bar 'acc_norm>0.9'
start server --listen 127.0.0.1:0 --act f32 -q "$T/nano.kmf" || finish
url=http://127.0.0.1:$port/v1
keval choice -u "$url" -f $q --json > "$T/c"; same_items "over HTTP" "$T/a" "$T/c"
keval choice -u "$url/" -f $q --json --concurrency 1 --rate 1000 > "$T/c"; same_items "over HTTP, one by one" "$T/a" "$T/c"
keval prompts choice -f $q | kserve --stdio --act f32 -q "$T/nano.kmf" 2> "$T/.err" > "$T/answers"; keval score choice -f $q --json < "$T/answers" > "$T/d"
same_items "through pipes" "$T/a" "$T/d"
keval choice - -f $q --json < "$T/answers" > "$T/e"; same "a dash is score" "$T/d" "$T/e"
exits "an answer is missing" 1 keval score choice -f $q --json < <(tail -n +2 "$T/answers")
# Resumed after each of some items, with what was torn behind it: the same bytes.
for n in 1 2 9 32; do
	{ head -n $n "$T/a.jsonl"; tail -n +$((n + 1)) "$T/a.jsonl" | head -c 40; } > "$T/r.jsonl"
	keval choice -m "$T/nano.kmf" -f $q -b 3 --resume "$T/r.jsonl" > /dev/null 2> "$T/.err"
	same "resumed after $n lines" "$T/a.jsonl" "$T/r.jsonl"
done
exits "a report of other questions" 3 keval choice -m "$T/nano.kmf" -f <(head -n 5 $q) --resume "$T/a.jsonl"
keval choice -m "$T/nano.kmf" -f $q --limit 5 --seed 3 --json > "$T/s1"; keval choice -m "$T/nano.kmf" -f $q --limit 5 --seed 3 -b 4 --json > "$T/s2"
same "drawn items" "$T/s1" "$T/s2"
if [ "$(items "$T/s1" | wc -l)" = 5 ] && ! cmp -s <(items "$T/s1") <(items "$T/a" | head -n 5); then ok "a draw of five"; else fail "a draw of five" "$(items "$T/s1" | wc -l)"; fi
# The shapes of the usual data sets, as lm-eval makes prompts of them.
cat > "$T/shapes.jsonl" <<'END'
{"question": " What is it? ", "choices": ["a dog", "a cat"], "answer": 1}
{"question": "What is it?", "choices": {"text": ["a dog", "a cat"], "label": ["1", "2"]}, "answerKey": "2"}
{"activity_label": "Roof", "ctx_a": "A man  sits.", "ctx_b": "he IS", "endings": ["up [title] now", "[step] down"], "label": "0"}
END
keval prompts choice -f "$T/shapes.jsonl" | jq -c .prompt > "$T/prompts"
cat > "$T/want" <<'END'
"What is it?\nA. a dog\nB. a cat\nAnswer: A"
"What is it?\nA. a dog\nB. a cat\nAnswer: B"
"Question: What is it?\nAnswer: a dog"
"Question: What is it?\nAnswer: a cat"
"Roof: A man sits. He is up. now"
"Roof: A man sits. He is down"
END
same "MMLU, ARC, HellaSwag" "$T/prompts" "$T/want"
exits "no answer" 3 keval choice -m "$T/nano.kmf" -f <(echo '{"prompt": "a", "choices": ["b", "c"], "answer": 2}')
# What is wrong with a line is said before anything is asked, and not after all the lines before it.
for line in '{"prompt": "a", "choices": ["b", 3], "answer": 0}:choice 1 is an integer, wanted a text' '{"prompt": "a", "choices": ["b", ""], "answer": 0}:choice 1 is empty' \
	'no JSON:not valid JSON'; do
	{ cat $q; echo "${line%:*}"; } > "$T/late.jsonl"
	exits "a wrong line behind good ones: ${line##*:}" 3 keval choice -m "$T/nano.kmf" -f "$T/late.jsonl" --json
	if [ ! -s "$T/.out" ] && grep -q "${line##*:}.*late.jsonl: line 33\|late.jsonl: line 33.*${line##*:}" "$T/.err"; then ok "nothing was asked: ${line##*:}"
	else fail "nothing was asked: ${line##*:}" "$(wc -l < "$T/.out") lines, $(cat "$T/.err")"; fi
done
check "a wrong line that --limit leaves out" keval choice -m "$T/nano.kmf" -f "$T/late.jsonl" --limit 2 --json
# A model that overflows: its items fail, each with a reason, and the report is whole.
python3 "$(dirname "$0")/overflow_make.py" testdata/tiny/llama-tiny "$T/overflow" || fail setup "no model that overflows"
for b in 1 3; do
	exits "logits that are no numbers, $b at once" 1 keval choice -m "$T/overflow" -f $q --limit 4 -b $b --json --report "$T/n.jsonl"
	if [ "$(tail -n 1 "$T/n.jsonl" | jq -c '[.acc, .acc_norm, .acc_bytes, .n, .failed]')" = '[null,null,null,0,4]' ] &&
		[ "$(grep -c '"item": "item .*"ok": false, "why": ".*not finite"' "$T/n.jsonl")" = 4 ] && ! grep -q right "$T/n.jsonl"
	then ok "and each is named, $b at once"; else fail "and each is named, $b at once" "$(tail -n 2 "$T/n.jsonl")"; fi
done
grep -q '^keval: 4 of 4 items failed; the first: item 1: ' "$T/.err" && ok "and counted" || fail "and counted" "$(tail -n 1 "$T/.err")"
keval prompts choice -f $q --limit 1 | jq -c '{id, choices: [{logprobs: {token_logprobs: [null, -1, -1e308, -1e308], text_offset: [0, 1, (.prompt | length) - 2, (.prompt | length) - 1]}}]}' > "$T/huge"
exits "a sum that is no number" 1 keval score choice -f $q --limit 1 --json < "$T/huge"
grep -q '"ok": false, "why": ".*not finite"' "$T/.out" && ok "and said" || fail "and said" "$(head -n 2 "$T/.out")"
exits "no JSON" 3 keval choice -m "$T/nano.kmf" -f <(echo 'a')
exits "no items" 3 keval choice -m "$T/nano.kmf" -f /dev/null
exits "no file" 2 keval choice -m "$T/nano.kmf"
exits "a model and a server" 2 keval choice -m "$T/nano.kmf" -u "$url" -f $q
exits "ppl asks no server" 2 keval ppl -u "$url" -f $q
exits "a URL that is none" 2 keval choice -u 127.0.0.1:80 -f $q
stop server
finish
