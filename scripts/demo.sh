#!/bin/sh
# demo.sh: the whole chain on the trained model of testdata/nano: folder -> container -> INT4 through a pipe -> perplexity of
# both -> one question over HTTP. Called by `make demo` after the build; everything it writes lies under build/demo.
set -eu
bin=${K_BIN:-build/bin}
out=${K_DEMO:-build/demo}
nano=testdata/nano
mkdir -p "$out"
bold= dim= off=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') off=$(printf '\033[0m'); fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
run() { printf '%s  $ %s%s\n' "$dim" "$*" "$off"; PATH="$bin:$PATH" sh -c "$*"; }
field() { sed -n "s/.*\"$2\": *\([^,}]*\).*/\1/p" "$1" | tail -n 1; }
size() { wc -c < "$1" | awk '{ printf "%.1f MB", $1 / 1e6 }'; }

say '1. A trained Kimi-Linear (KDA + MLA + MoE, 11.5 M parameters), from its Hugging Face folder into one file'
run "kconvert $nano -o $out/nano.kmf"

say '2. Its experts to INT4, as Kimi-K2-Thinking stores them, through a pipe: the model never lies on disk in between'
run "kconvert $nano | kquant -t i4g32 --preset k2-thinking --ledger $out/ledger.jsonl > $out/nano.i4.kmf"
run "kls --table --verify $out/nano.i4.kmf"

say '3. Did it cost anything? Perplexity of held-out prose, before and after'
run "keval ppl -m $out/nano.kmf    -f $nano/eval/prose.txt --window 511 --bos yes --json --report $out/bf16.jsonl > $out/bf16.out"
run "keval ppl -m $out/nano.i4.kmf -f $nano/eval/prose.txt --window 511 --bos yes --json --report $out/i4.jsonl --bar 'ppl<38' > $out/i4.out"
printf '\n  %-14s %10s %12s %10s\n' weights size perplexity tokens
printf '  %-14s %10s %12.4f %10s\n' BF16 "$(size "$out/nano.kmf")" "$(field "$out/bf16.jsonl" ppl)" "$(field "$out/bf16.jsonl" tokens)"
printf '  %-14s %10s %12.4f %10s\n' 'INT4 experts' "$(size "$out/nano.i4.kmf")" "$(field "$out/i4.jsonl" ppl)" "$(field "$out/i4.jsonl" tokens)"
printf '  (the bar --bar '\''ppl<38'\'' would have stopped a makefile had it been missed)\n'

say '4. Served over HTTP, with the OpenAI API'
rm -f "$out/port"
"$bin/kserve" --listen 127.0.0.1:0 --port-file "$out/port" -q "$out/nano.i4.kmf" 2> "$out/kserve.log" &
server=$!
trap 'kill $server 2>/dev/null || :; wait $server 2>/dev/null || :' EXIT INT TERM
i=0
while [ ! -s "$out/port" ]; do
	i=$((i + 1))
	if [ $i -gt 300 ] || ! kill -0 $server 2>/dev/null; then cat "$out/kserve.log" >&2; exit 1; fi
	sleep 0.1
done
port=$(cat "$out/port")
ask() {
	printf '%s  $ curl --json '\''{"messages":[{"role":"user","content":"%s"}]}'\'' http://127.0.0.1:%s/v1/chat/completions%s\n' "$dim" "$1" "$port" "$off"
	curl -sS --fail-with-body "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' \
		-d "{\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}],\"temperature\":0,\"max_tokens\":48}" |
		jq -r '"  > " + .choices[0].message.content + "\n    (" + (.usage.completion_tokens | tostring) + " tokens, " + .choices[0].finish_reason + ")"'
}
ask 'What is an ocean?'
ask 'Define wisdom.'
printf '%s  $ ... the same with a tool declared: "Walk the list from cursor 17 until it is done."%s\n' "$dim" "$off"
curl -sS --fail-with-body "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' -d '{
	"messages":[{"role":"user","content":"Walk the list from cursor 17 until it is done."}],"temperature":0,"max_tokens":64,
	"tools":[{"type":"function","function":{"name":"next_page","description":"Return one page of the list.",
	"parameters":{"type":"object","properties":{"cursor":{"type":"integer"}},"required":["cursor"]}}}]}' |
	jq -r '.choices[0].message.tool_calls[] | "  > \(.function.name)(\(.function.arguments))   id \(.id)"'
kill $server
wait $server || :
trap - EXIT INT TERM

say 'What happened to the model is written in it'
run "kls --history $out/nano.i4.kmf"

say 'Next'
cat <<END
  $bin/kserve $out/nano.i4.kmf                    serve it yourself, then: curl http://127.0.0.1:8080/v1/models
  $bin/kls $out/nano.i4.kmf                       look into the file
  make smollm2 && $bin/kserve build/models/*.gguf  a real pretrained model, SmolLM2-135M
  $bin/kquant --help; $bin/keval --help           what else there is
END
