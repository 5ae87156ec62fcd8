#!/bin/bash
# xtml.sh: the chat of Kimi-K3 through kserve. nano was not trained on it, so tokens of nano's get K3's names, without a template, by which kserve knows the
# layout; what the model then says is noise, and its length and end are asked for. What is asked stands in xtml_client.py.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
python3 "$here/k3_make.py" testdata/nano "$T/xtml" || { fail setup "the tokenizer is not as expected"; finish; }
start xtml --listen 127.0.0.1:0 --act f32 --ctx 4096 "$T/xtml" || finish
client xtml python3 "$here/xtml_client.py" "$port" testdata/nano
stop xtml
# Other layouts have no words for tools of a message.
if start k2 --listen 127.0.0.1:0 --act f32 --ctx 4096 testdata/nano; then
	curl -s "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' \
		-d '{"messages":[{"role":"system","tools":[{"type":"function","function":{"name":"f"}}]},{"role":"user","content":"q"}]}' > "$T/out"
	check "tools of a message, and a layout without" jq -e '.error | .code == "unsupported_parameter" and .param == "messages[0].tools"' "$T/out"
	stop k2
fi
finish
