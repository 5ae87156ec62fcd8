#!/bin/sh
# examples.sh: the examples of every manual page run. They name hf/ and new/ (checkpoints), model.kmf, old.kmf, text.txt, questions.jsonl, official.jsonl; here these are the small models.
. "$(dirname "$0")/lib.sh"
root=$(pwd)
mkdir "$T/ex"
cp -rL "$root/testdata/nano" "$T/ex/hf"
head -c 3000 "$root/testdata/nano/eval/prose.txt" > "$T/ex/text.txt"
"$BIN/kconvert" "$T/ex/hf" -o "$T/ex/model.kmf"
cp -r "$T/ex/hf" "$T/ex/new" && cp "$T/ex/model.kmf" "$T/ex/old.kmf"
cp -r "$root/testdata/golden/kimi-linear-tiny" "$T/ex/golden"
"$BIN/kconvert" "$root/testdata/tiny/kimi-linear-tiny" -o "$T/ex/tiny.kmf"
printf '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":4}\n' > "$T/ex/requests.jsonl"
cp "$root/testdata/eval/choice.jsonl" "$T/ex/questions.jsonl"
cat > "$T/ex/official.jsonl" <<'END'
{"data_index": 1, "finish_reason": "tool_calls", "request": {"messages": [{"role": "user", "content": "?"}], "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}, "response": {"choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": [{"id": "functions.f:0", "function": {"name": "f", "arguments": "{}"}}]}}]}}
END
cp "$T/ex/official.jsonl" "$T/ex/vendor.jsonl"
cp "$T/ex/model.kmf" "$T/ex/bf16.kmf" && "$BIN/kquant" "$T/ex/bf16.kmf" -o "$T/ex/i4.kmf"
for name in before after; do "$BIN/keval" ppl -m "$T/ex/model.kmf" -f "$T/ex/text.txt" --limit 4 --report "$T/ex/$name.jsonl" > "$T/.out"; done
for k in 1 3; do "$BIN/keval" ppl -m "$T/ex/model.kmf" -f "$T/ex/text.txt" --part $k/3 --report "$T/ex/$k.jsonl" > "$T/.out"; done
cd "$T/ex" || exit 1
openssl ecparam -name prime256v1 -genkey -noout -out key.pem && openssl ec -in key.pem -pubout -out pub.pem 2> /dev/null
for tool in kconvert kquant keval kbench kserve kls; do
	"$tool" --help=json | jq -r '.examples[]' > "$T/lines" || { fail "$tool" "no examples in --help=json"; continue; }
	while IFS= read -r line; do
		case $line in
		*ssh*|*curl*) skip "$tool" "$line"; continue ;;
		kserve*--stdio*) ;;
		kserve*) skip "$tool" "$line"; continue ;;
		esac
		timeout 120 bash -o pipefail -c "$line" < /dev/null > "$T/.out" 2> "$T/.err"
		status=$?
		if [ $status -eq 0 ]; then ok "$line"; else fail "$tool" "'$line': exit $status: $(tail -n 1 "$T/.err")"; fi
		mkdir -p keep && find . -maxdepth 1 -newer hf/config.json -type f -name 'out*' -exec rm -f {} +
	done < "$T/lines"
done
finish
