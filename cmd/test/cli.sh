#!/bin/sh
# cli.sh: what every tool has in common: version, help in all forms, unknown options, exit statuses, the last line, closed and full
# outputs, signals.
. "$(dirname "$0")/lib.sh"

# last_line NAME TOOL PATTERN: the last line on standard error is the tool's sentence
last_line() { if tail -n 1 "$T/.err" | grep -q "^$2: .*$3"; then ok "$1"; else fail "$1" "$(tail -n 1 "$T/.err")"; fi; }
has() { if grep -q -e "$2" "$3"; then ok "$1"; else fail "$1" "no '$2'"; fi; }

# What bash makes of a line and a tab, in a folder with a file "al b.kmf".
mkdir "$T/blank" && : > "$T/blank/al b.kmf"
cat > "$T/complete.py" <<'PY'
import os, pty, select, sys, time
page, line, want = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.chdir(os.path.join(os.path.dirname(page), 'blank'))
    os.environ.update(TERM='dumb', HISTFILE='', INPUTRC='/dev/null')
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
os.write(fd, f". '{page}'; PS1=; echo ready$((1 + 1))\n".encode())
said, end, typed = b'', time.time() + 30, False
while time.time() < end and want.encode() not in said:
    if not select.select([fd], [], [], 1)[0]:
        continue
    said += os.read(fd, 4096)
    if b'ready2' in said and not typed:
        typed, said = True, b''
        os.write(fd, (line + '\t').encode())
os.close(fd)
os.waitpid(pid, 0)
assert want.encode() in said, said
PY

# A meter where the terminal can wipe a line; other terminals would show the codes.
cat > "$T/meter.py" <<'PY'
import os, pty, select, subprocess, sys, time
term, model = sys.argv[1:]
ours, theirs = pty.openpty()
env = {k: v for k, v in os.environ.items() if k != 'TERM'}
if term:
    env['TERM'] = term
p = subprocess.Popen(['kconvert', '-'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs, env=env)
data = open(model, 'rb').read()
for part in data[:len(data) // 2], data[len(data) // 2:]:
    p.stdin.write(part)
    p.stdin.flush()
    time.sleep(.8)
p.stdin.close()
os.close(theirs)
assert p.wait() == 0
said = b''
while select.select([ours], [], [], 1)[0]:
    try:
        said += os.read(ours, 4096)
    except OSError:
        break
assert (b'converting' in said and b'\033[K' in said) == (term == 'xterm') and (said == b'') == (term != 'xterm'), said
PY
kconvert -q testdata/nano -o "$T/meter.kmf"
for term in xterm dumb ''; do check "a meter with TERM=$term" python3 "$T/meter.py" "$term" "$T/meter.kmf"; done

for tool in "$BIN"/k*; do
	t=${tool##*/}
	exits "$t --version" 0 "$t" --version
	if head -n 1 "$T/.out" | grep -Eq "^$t [0-9]+\.[0-9]+\.[0-9]+ \(ktools, [^ ]+\)$" && [ "$(wc -l < "$T/.out")" -eq 2 ]; then
		ok "$t version lines"
	else
		fail "$t version lines" "$(cat "$T/.out")"
	fi
	for part in levels backends jansson PCRE2 OpenSSL; do has "$t version says $part" "$part" "$T/.out"; done

	exits "$t --help=json" 0 "$t" --help=json
	cp "$T/.out" "$T/json"
	names=$(grep -o '{"name": "[^"]*"' "$T/json" | cut -d'"' -f4)
	for o in help version output json table verbose quiet log threads progress cpu max-memory; do
		case " $(echo $names) " in *" $o "*) ok "$t has --$o" ;; *) fail "$t has --$o" "not in its table" ;; esac
	done
	for form in '' =man =bash =zsh =fish; do
		exits "$t --help$form" 0 "$t" "--help$form"
		missing=
		for o in $names; do grep -q -e "$o" "$T/.out" || missing="$missing $o"; done
		if [ -z "$missing" ]; then ok "$t --help$form is complete"; else fail "$t --help$form" "lacks$missing"; fi
		cp "$T/.out" "$T/page"
		case $form in
		=bash)
			check "$t bash completion parses" bash -n "$T/page"
			check "$t bash completion of a name with a blank" python3 "$T/complete.py" "$T/page" "$t al" 'al\ b.kmf'
			check "$t bash completion of an option" python3 "$T/complete.py" "$T/page" "$t --thr" '--threads' ;;
		=man) if command -v mandoc > /dev/null; then check "$t mdoc" sh -c "mandoc -Tlint -Wwarning < \"$T/page\""; fi ;;
		esac
	done

	exits "$t unknown option" 2 "$t" --outptu x
	last_line "$t nearest name" "$t" "'--outptu'.*'--output'"
	exits "$t bad number" 2 "$t" --threads=many
	last_line "$t bad number said" "$t" "many"
	exits "$t nothing as a size" 2 "$t" --max-memory=0 .
	last_line "$t nothing as a size said" "$t" "--max-memory is '0'.*above 0"
	exits "$t unknown level" 2 "$t" --cpu=nonsense .
	exits "$t environment" 2 env "K_$(echo "$t" | tr a-z A-Z)_THREADS=many" "$t" .
	last_line "$t variable named" "$t" "K_$(echo "$t" | tr a-z A-Z)_THREADS"
	exits "$t --cpu=?" 0 "$t" '--cpu=?'
	has "$t lists levels" '"level"' "$T/.out"
	exits "$t --cpu=? --table" 0 "$t" '--cpu=?' --table
	if [ -c /dev/full ]; then
		"$t" --version > /dev/full 2> "$T/.err"
		if [ $? -eq 5 ]; then ok "$t full output"; else fail "$t full output" "wanted exit 5"; fi
	fi
	"$t" --version >&- 2> "$T/.err"
	if [ $? -eq 5 ]; then ok "$t closed output"; else fail "$t closed output" "wanted exit 5"; fi
	case " $(echo $names) " in
	*' device '*)
		exits "$t --device=?" 0 "$t" '--device=?'
		has "$t lists cpu" '"cpu"' "$T/.out"
		exits "$t unknown device" 6 "$t" --device=abacus .
		case $(cat "$T/.out" "$T/.err") in *"'abacus'"*) ok "$t says which" ;; *) fail "$t unknown device" "$(cat "$T/.err")" ;; esac ;;
	esac
done

# A filter that waits for its pipe ends on the first signal, with its number and without a file.
for t in kconvert kquant; do
	[ -x "$BIN/$t" ] || continue
	mkfifo "$T/fifo.$t"
	"$t" - -o "$T/out.$t" < "$T/fifo.$t" 2> "$T/.err" &
	pid=$!
	exec 9> "$T/fifo.$t"
	sleep 0.5
	kill -TERM "$pid"
	wait "$pid"
	status=$?
	exec 9>&-
	if [ $status -eq 143 ]; then ok "$t SIGTERM"; else fail "$t SIGTERM" "exit $status"; fi
	last_line "$t says that it was stopped" "$t" "signal"
	if ls "$T/out.$t"* > /dev/null 2>&1; then fail "$t leaves a file" "$(ls "$T")"; else ok "$t leaves no file"; fi
	# One that has no writer yet is waited for, too.
	"$t" "$T/fifo.$t" -o "$T/out.$t" 2> "$T/.err" & pid=$!
	sleep 0.5; kill -TERM "$pid"; wait "$pid"; status=$?
	if [ $status -eq 143 ] && grep -q "signal while opening '.*/fifo.$t'" "$T/.err"; then ok "$t SIGTERM before a writer"; else fail "$t SIGTERM before a writer" "exit $status: $(tail -n 1 "$T/.err")"; fi
done
# What a tool writes takes the place of nothing that it reads, nor of what else it writes, by whatever name.
kconvert testdata/tiny/llama-tiny -o "$T/kept.kmf" && cp "$T/kept.kmf" "$T/copy.kmf"; printf 'a b\n' > "$T/side"; cp "$T/side" "$T/side.copy"; ln -s side "$T/link"
apart() {       # apart TEXT COMMAND...
	local text=$1; shift
	exits "$*" 2 "$@"; if grep -q -e "$text" "$T/.err"; then ok "$1: said"; else fail "$1: said" "$(tail -n 1 "$T/.err")"; fi
	same 'the input is as it was' "$T/kept.kmf" "$T/copy.kmf"; same 'the other file too' "$T/side" "$T/side.copy"
}
m=$T/kept.kmf s=$T/side
apart "-o is .* which is read (the input)" kls "$m" -o "$m"
for a in --tokens --render "--rederive x --from" --sign "--check-sign x --sig" --check-sign; do apart "-o is .* which is read (${a##* })" kls $a "$T/link" "$m" -o "$s"; done
apart "--copy is .* which is read (--check-sign)" kls --check-sign "$s" --sig "$T/x.sig" --copy "$T/link" "$m"
apart "--certificate is .* which is read (the input)" kconvert --certificate "$m" "$m" -o "$T/x.kmf"
for o in -o --certificate; do
	apart "$o is .* which is read (--name-map)" kconvert --name-map "$s" testdata/tiny/llama-tiny $o "$T/link"
	apart "$o is .* which is read (--since)" kconvert --since "$m" testdata/tiny/llama-tiny $o "$m"
done
apart "--certificate and -o are both" kconvert --certificate "$T/new" "$m" -o "$T/./new"
for o in -o --certificate --ledger; do apart "$o is .* which is read (--imatrix)" kquant --scale imatrix --imatrix "$T/none" --imatrix "$s" "$m" $o "$T/link"; done
for o in --certificate --ledger; do apart "$o is .* which is read (the input)" kquant --rule dense=i8row $o "$m" "$m" -o "$T/x.kmf"; done
apart "--ledger and --certificate are both" kquant --ledger "$T/new" --certificate "$T/new" "$m" -o "$T/x.kmf"
apart "-o is .* which is read (the input)" kserve --stdio "$m" -o "$m"
apart "--port-file is .* which is read (--api-key-file)" kserve --api-key-file "$s" --port-file "$s" "$m"
[ ! -e "$T/new" ] && ok "nothing is written" || fail "nothing is written" "$(ls "$T")"
# But a model may take the place of the one that it is made of, and a base that of what it is restored to.
kconvert --dtype f32 "$m" -o "$T/f.kmf" && check "a model in place of its source" kconvert --dtype f32 "$T/copy.kmf" -o "$T/copy.kmf" && same "a model in place of its source" "$T/f.kmf" "$T/copy.kmf"
# The name of a task is no file.
# What cannot be written is named as it was said.
if [ -c /dev/full ]; then
	for c in "kls testdata/nano" "keval prompts choice -f testdata/eval/choice.jsonl"; do
		exits "$c -o a full disk" 5 $c -o /dev/full
		last_line "$c -o a full disk, named" ${c%% *} "cannot write '/dev/full': No space"
	done
fi
for c in keval "keval prompts" "keval nonsense"; do
	exits "$c" 2 $c
	last_line "$c: all tasks" keval "ppl .*merge$"
done
(cd "$T" && printf 'Hello\n' > t && for k in 1 2; do keval ppl -q -m "$OLDPWD/testdata/nano" -f t -o ppl || exit; done) > "$T/.out" 2>&1 && ok "keval ppl -o ppl, twice" || fail "keval ppl -o ppl, twice" "$(cat "$T/.out")"
# The command line wins over the environment also where it says something else that excludes what the environment says.
head -n 9 testdata/eval/choice.jsonl > "$T/q.jsonl"; head -c 900 testdata/nano/eval/prose.txt > "$T/p.txt"; tiny=testdata/tiny/llama-tiny
wins() { local what=$1; shift; exits "$what" 0 env K_KEVAL_MODEL=/nowhere K_KEVAL_URL=http://127.0.0.1:1/v1 K_KEVAL_PART=9/2 K_KEVAL_RESUME=/nowhere/r K_KEVAL_PLOT="$T/e.svg" "$@"; }
for k in 1 2; do check "part $k" keval ppl -m $tiny -f "$T/p.txt" --bos no --window 64 --part $k/2 --report "$T/r$k"; done
wins "keval merge" keval merge "$T/r1" "$T/r2" --report "$T/r"
wins "keval diff" K_KEVAL_RESUME= keval diff "$T/r" "$T/r"
wins "keval prompts" K_KEVAL_PART= keval prompts choice -f "$T/q.jsonl"
wins "keval -u over -m" K_KEVAL_RESUME= K_KEVAL_PART= K_KEVAL_PLOT= keval ppl $tiny -f "$T/p.txt" --bos no --limit 1
wins "keval -m over -u" K_KEVAL_RESUME= K_KEVAL_PART= keval ppl -m $tiny -f "$T/p.txt" --bos no --limit 1
env K_KEVAL_MODEL=$tiny keval gen -u http://127.0.0.1:1/v1 -f "$T/q.jsonl" > "$T/.out" 2> "$T/.err"; [ $? -eq 5 ] && ok "keval -u over a model" || fail "keval -u over a model" "$(tail -n 1 "$T/.err")"
exits "keval, both on the command line" 2 keval gen -u http://127.0.0.1:1/v1 -m $tiny -f "$T/q.jsonl"
exits "kbench --synthetic over a model" 0 env K_KBENCH_MODEL=/nowhere kbench prefill --synthetic kimi-linear:nano --tokens 4 --reps 1
exits "kbench, a model over --synthetic" 0 env K_KBENCH_SYNTHETIC=kimi-linear:nano K_KBENCH_PLOT="$T/e.svg" kbench load $tiny --reps 1
exits "kconvert --lossy over --require-lossless" 0 env K_KCONVERT_REQUIRE_LOSSLESS=1 K_KCONVERT_SHARD_SIZE=1G kconvert --lossy $tiny -o "$T/x.kmf"
exits "kquant --from-qat over --scale" 0 env K_KQUANT_SCALE=mse K_KQUANT_IMATRIX=/nowhere kquant -q --plan --from-qat testdata/tiny/kimi-linear-tiny
exits "kls --verify over --head" 0 env K_KLS_HEAD=1 K_KLS_CHAT_LAYOUT=chatml kls --verify $tiny
K_KLS_TABLE=1 kls --json $tiny > "$T/a"; K_KLS_JSON=1 kls --table $tiny > "$T/b"
head -c 1 "$T/a" | grep -q '{' && ! head -c 1 "$T/b" | grep -q '{' && ok "--json and --table over each other" || fail "--json and --table over each other" "$(head -n 1 "$T/b")"
finish
