#!/bin/bash
# chat.sh: kserve --chat on nano, by pipe and in a terminal (chat_client.py).
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0") nano=testdata/nano
# libedit keeps the names of functions that it is given.
echo leak:wcsdup > "$T/lsan" && export LSAN_OPTIONS="suppressions=$T/lsan:print_suppressions=0"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
# Greedy, as no message says otherwise.
cp -r $nano "$T/nano" && echo '{"bos_token_id": 3840, "eos_token_id": 3842, "temperature": 0}' > "$T/nano/generation_config.json"
kconvert "$T/nano" -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
chat() { kserve --chat -q --act f32 "$T/nano.kmf"; }
python3 -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))["tools"], open(sys.argv[2], "w"))' $nano/eval/toolloop.json "$T/tools.json"
wisdom='Wisdom means: accumulated knowledge or erudition or enlightenment.'

exits "a message a line" 0 chat <<< 'Define wisdom.'
if [ "$(cat "$T/.out")" = "$wisdom" ]; then ok "an answer a line"; else fail "an answer a line" "$(head -c 200 "$T/.out")"; fi
printf '/system Be brief.\nDefine wisdom.\n/save %s\n/reset\n/save %s\n/load %s\n/save %s\n/quit\nHello\n' "$T/a" "$T/b" "$T/a" "$T/c" | chat > "$T/out"
same "/save and /load" "$T/a" "$T/c"
if [ "$(jq -c '[.messages[].role]' "$T/a") $(jq -c '[.messages[].role]' "$T/b")" = '["system","user","assistant"] ["system"]' ]; then ok "/reset and /quit"; else fail "/reset" "$(cat "$T/a" "$T/b")"; fi
printf '/tools %s\nWalk the list from cursor 17 until it is done.\n{"cursor": 18, "item": "window"}\n{"cursor": 19, "item": "rabbit"}\n' "$T/tools.json" | chat > "$T/out"
if [ "$(cat "$T/out")" = '-> next_page {"cursor": 17}
-> next_page {"cursor": 18}
-> next_page {"cursor": 19}' ]; then ok "tool calls"; else fail "tool calls" "$(cat "$T/out")"; fi
printf '/nope\n/save\n/tools /does/not/exist\n\377\nDefine wisdom.\n' | chat > "$T/out" 2> "$T/err"
if [ $? -eq 0 ] && [ "$(cat "$T/out")" = "$wisdom" ] && [ "$(grep -c '^kserve: ' "$T/err")" = 4 ]; then ok "what is wrong is said"; else fail "what is wrong" "$(cat "$T/err")"; fi
exits "--chat and --stdio" 2 kserve --chat --stdio "$T/nano.kmf"
exits "--chat without a model" 2 kserve --chat < /dev/null

while read -r line; do
	case $line in
	"ok "*) ok "${line#ok }" ;;
	"skip "*) skip terminal "skipped: ${line#skip }" ;;
	*) fail terminal "$line" ;;
	esac
done < <(K_SCRATCH=$T python3 "$here/chat_client.py" kserve "$T/nano.kmf" 2>&1)
finish
