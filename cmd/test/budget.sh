#!/bin/bash
# budget.sh: the output is as small as it was asked to be, whatever the size; more room is less error; what cannot be is refused with
# the size that can.
. "$(dirname "$0")/lib.sh"
nano=testdata/nano
kconvert -q $nano -o "$T/n.kmf"
size() { wc -c < "$1" | tr -d ' '; }
predicted() { sed -n 's/.*predicted error //p' "$1"; }
last=
for budget in 8400000 9000000 10M 12MB 14000001 18M; do
	exits "$budget" 0 kquant --budget $budget $nano -o "$T/b.kmf"
	bytes=$(kquant -q --budget $budget --plan $nano | sed 's/.*"bytes": \([0-9]*\).*/\1/')
	want=$(case $budget in *MB) echo $((${budget%MB} * 1000000)) ;; *M) echo $((${budget%M} * 1048576)) ;; *) echo "$budget" ;; esac)
	[ "$(size "$T/b.kmf")" -le "$want" ] && ok "$budget: size" || fail "$budget: size" "$(size "$T/b.kmf")"
	[ "$(size "$T/b.kmf")" -ge $((want * 9 / 10)) ] && ok "$budget: used" || fail "$budget: used" "only $(size "$T/b.kmf")"
	[ "$bytes" -le "$want" ] && ok "$budget: plan" || fail "$budget: plan" "$bytes"
	error=$(predicted "$T/.err")
	[ -z "$last" ] || awk "BEGIN { exit !($error < $last) }" && ok "$budget: less error" || fail "$budget: error" "$error after $last"
	last=$error
done
check "it is a model" kls --verify "$T/b.kmf"
kquant -q --budget 10M -j 1 $nano -o "$T/1.kmf" && kquant -q --budget 10M -j 5 "$T/n.kmf" -o "$T/5.kmf"
kls --json "$T/1.kmf" > "$T/1.json" && kls --json "$T/5.kmf" > "$T/5.json" && same "threads and route" "$T/1.json" "$T/5.json"
exits "too small" 6 kquant --budget 1M $nano -o "$T/x.kmf"
least=$(sed -n 's/.* has \([0-9]*\) bytes, --budget is 1048576$/\1/p' "$T/.err")
exits "the least that it names" 0 kquant -q --budget "$least" $nano -o "$T/b.kmf"
[ "$(size "$T/b.kmf")" -eq "$least" ] && ok "is its size" || fail "the least" "$(size "$T/b.kmf"), wanted $least"
exits "a byte less" 6 kquant -q --budget $((least - 1)) $nano -o "$T/x.kmf"
for none in 0 0K 0.1; do exits "a budget of $none" 2 kquant -q --budget "$none" $nano -o "$T/x.kmf"; done
exits "a budget of 0 from the environment" 2 env K_KQUANT_BUDGET=0 kquant -q $nano -o "$T/x.kmf"
exits "files of 0" 2 kconvert -q --to gguf --shard-size 0 $nano -o "$T/x.gguf"
[ ! -e "$T/x.kmf" ] && [ ! -e "$T/x.gguf" ] && ok "and leaves nothing" || fail "a size of 0" "left its output"
exits "room for all" 0 kquant -q --budget 1G "$T/n.kmf" -o "$T/b.kmf"
same "nothing changes" "$T/n.kmf" "$T/b.kmf"
exits "a rule is no choice" 0 kquant -q --budget 10M --rule experts=mxfp4 --rule shared=keep $nano -o "$T/b.kmf"
kls --json "$T/b.kmf" > "$T/list"
grep '"role": *"experts"' "$T/list" | grep -qv mxfp4 && fail "experts" "not all are mxfp4" || ok "experts are what the rule says"
grep '"role": *"shared"' "$T/list" | grep -qv bf16 && fail "shared" "not all are kept" || ok "shared are kept"
exits "rules that do nothing" 0 kquant --budget 10M --rule 'nosuch*=i8row' --rule '*conv1d*=i4g32' $nano -o "$T/b.kmf"
grep -q 'no tensor matches --rule nosuch\*=i8row' "$T/.err" && grep -q 'conv1d.*no i4g32 for it' "$T/.err" && ok "are said" || fail "rules that do nothing" "$(cat "$T/.err")"
exits "a container in a pipe" 2 kquant --budget 10M - < "$T/n.kmf"
cat "$T/n.kmf" | exits "standard input" 2 kquant --budget 10M
exits "four bits for all but the ends" 0 kquant -q --budget 8400000 -t mxfp4 $nano -o "$T/b.kmf"
finish
