#!/bin/bash
# ci.sh: scripts/ci: the workflows are what GitHub and GitLab take, both do the same, and every command in them runs, on nano; so does the makefile. A model that is
# worse stops them.
# alone: one of two commands must be slower
. "$(dirname "$0")/lib.sh"
root=$(pwd)
for need in jq openssl python3; do command -v $need > /dev/null || { skip ci "no $need"; finish; }; done
python3 -c 'import yaml' 2> /dev/null || { skip ci "no python3-yaml"; finish; }
schemas=$(command -v check-jsonschema || ls "$(dirname "${K_PYTHON:-none}")/check-jsonschema" 2> /dev/null)
if [ -n "$schemas" ]; then
	check "github.yml fits its schema" "$schemas" --builtin-schema vendor.github-workflows scripts/ci/github.yml
	check "gitlab.yml fits its schema" "$schemas" --builtin-schema vendor.gitlab-ci scripts/ci/gitlab.yml
else
	skip "schemas of the workflows" "no check-jsonschema"
fi
# FILE.JOB: a command a line; FILE.env: the variables' names; junit: where reports are looked for.
python3 - "$T" <<'PY' || fail "the workflows" "they cannot be read"
import re, sys, yaml
hub, lab = (yaml.safe_load(open(f'scripts/ci/{n}.yml')) for n in ('github', 'gitlab'))
def write(name, lines):
    open(f'{sys.argv[1]}/{name}', 'w').write(''.join(x + '\n' for x in lines))
for job in 'gate', 'speed':
    steps = [s for s in hub['jobs'][job]['steps'] if 'run' in s]
    write(f'github.{job}', [line for s in steps for line in s['run'].splitlines()])
    write(f'gitlab.{job}', lab[job]['script'])
    assert any(s.get('with', {}).get('report_paths') == '*.xml' for s in hub['jobs'][job]['steps']), f'{job}: no JUnit'
    assert lab[job]['artifacts']['reports']['junit'] == '*.xml' and lab[job]['artifacts']['when'] == 'always', f'{job}: no JUnit'
write('env', sorted({*hub['env'], *lab['variables']}))
PY
for job in gate speed; do
	# The key comes out of a secret on GitHub; GitLab has it as a file.
	grep -v '"$KEY"$\|"$KEY")$' "$T/github.$job" > "$T/tools"
	same "both do the same: $job" "$T/tools" "$T/gitlab.$job"
done

mkdir "$T/w" "$T/last" && cd "$T/w" || exit 1
kconvert "$root/testdata/nano" -o right.kmf && kquant --preset k2-thinking right.kmf -o last.i4.kmf || { fail setup "nano does not convert"; finish; }
ln -s "$BIN/kbench" "$T/last/kbench"
head -c 1500 "$root/testdata/nano/eval/prose.txt" > text
head -n 8 "$root/testdata/eval/choice.jsonl" > choice.jsonl
jq -c '{tools, messages: [{role: "user", content: .user}], max_tokens: 64, temperature: 0} | {request: ., finish_reason: "tool_calls"}' \
	"$root/testdata/nano/eval/toolloop.json" > calls.jsonl
openssl ecparam -name prime256v1 -genkey -noout -out made.pem 2> /dev/null && openssl ec -in made.pem -pubout -out pub.pem 2> /dev/null
head -c 300 text > short && keval parity -m right.kmf -f short --bundle golden > /dev/null 2> "$T/.err" || fail setup "no bundle: $(cat "$T/.err")"
# All that the workflows name, for nano.
export MODEL="$root/testdata/nano" TEXT=text CHOICE=choice.jsonl CALLS=calls.jsonl GOLDEN=golden PPL=30 ACC=0.1 KEY=key.pem PUB=pub.pem \
	LAST=last.i4.kmf LAST_BIN="$T/last" LIMIT_FRAC=0.0001 REPS=1 RELEASE_KEY="$(cat made.pem)"
while read -r name; do [ -n "${!name}" ] || fail "variables" "$name is not known to this test"; done < "$T/env"
# runs JOB: as a runner does it: each line, until one fails
runs() {
	while IFS= read -r line; do
		if bash -eo pipefail -c "$line" > "$T/.out" 2> "$T/.err" < /dev/null; then ok "$line"; else fail "$1" "'$line': exit $?: $(tail -n 1 "$T/.err")"; fi
	done < "$T/github.$1"
}
runs gate
[ ! -e key.pem ] && ok "the key does not stay" || fail "the key does not stay" "$(ls)"
for f in parity ppl kld choice toolcall; do
	python3 -c 'import sys, xml.etree.ElementTree as e; r = e.parse(sys.argv[1]).getroot(); assert r.tag == "testsuites" and r.find("testsuite/testcase") is not None' $f.xml \
		2> "$T/.err" && ok "$f.xml" || fail "$f.xml" "$(tail -n 1 "$T/.err")"
done
line=$(grep '^keval ppl' "$T/github.gate")
PPL=2 exits "a bar that is missed" 1 bash -ec "$line"
grep -q '^keval: ppl is [0-9.]*, the bar is ppl<2$' "$T/.err" && grep -q '<failure' ppl.xml && ok "it says which, in the report too" || fail "a missed bar" "$(cat "$T/.err")"
rm -f ./*.xml && runs speed
for f in build model decode; do grep -q '<testcase' $f.xml && ok "$f.xml" || fail "$f.xml" "no case"; done

# The makefile. K_TEXT and so on have names of their own.
unset MAKEFLAGS MFLAGS MAKELEVEL
cp -rL "$root/testdata/nano" nano && cp made.pem key.pem
export MODEL=nano K_TEXT=text K_CHOICE=choice.jsonl K_TOOLCALL=calls.jsonl K_KEY=key.pem K_PUB=pub.pem
check "make gate" make -j2 -f "$root/scripts/ci/model.mk" gate
for f in nano.parity.jsonl nano.i4.kld.jsonl nano.i4.toolcall.xml nano.i4.kmf.sig nano.i4.kmf.checked; do [ -s $f ] && ok "make gate: $f" || fail "make gate" "no $f"; done
exits "make gate again" 0 make -q -f "$root/scripts/ci/model.mk" gate
exits "make gate with another bar" 2 make -f "$root/scripts/ci/model.mk" gate PPL=2
[ ! -e nano.i4.kmf.sig ] && ok "nothing is signed" || fail "make gate with another bar" "a signature"
check "make speed" make -f "$root/scripts/ci/model.mk" speed
# What is slower: a wrapper that takes its time, as the new build.
line=$(sed -n 's/"\$LAST_BIN\/kbench" decode.* -- kbench decode.*/.\/quick -- .\/slow/p' "$T/github.speed" | head -n 1)
printf '#!/bin/sh\nsleep 0.3\nexec "%s" --version\n' "$BIN/kbench" > slow && printf '#!/bin/sh\nexec "%s" --version\n' "$BIN/kbench" > quick && chmod +x slow quick
REPS=10 exits "a build that is slower" 1 bash -ec "$line"
grep -q '^kbench: B takes [0-9.]* times as long as A' "$T/.err" && grep -q '<failure message="B takes' build.xml && ok "it says how much" || fail "a build that is slower" "$line: $(cat "$T/.err")"
cd "$root" || exit 1
finish
