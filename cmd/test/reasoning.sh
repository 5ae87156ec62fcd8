#!/bin/bash
# reasoning.sh: thoughts in and out of kserve. nano does not think, so two of its unused tokens get the names <think> and </think>, and the
# layout of K2.5 begins each answer within a thought, which the budget of a request ends. What is asked stands in reasoning_client.py.
. "$(dirname "$0")/lib.sh"
here=$(dirname "$0")
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
cp -r testdata/nano "$T/think"
python3 - "$T/think/tokenizer_config.json" <<'PY' || { fail setup "the tokenizer is not as expected"; finish; }
import json, os, sys
j = json.load(open(sys.argv[1]))
names = j['added_tokens_decoder']
for id, text in (('3845', '<think>'), ('3848', '</think>')):
    assert id not in names
    names[id] = dict(names['3851'], content=text)
os.chmod(sys.argv[1], 0o644)
json.dump(j, open(sys.argv[1], 'w'))
PY
start think --listen 127.0.0.1:0 --act f32 --ctx 4096 --chat-layout k25 "$T/think" || finish
client think python3 "$here/reasoning_client.py" "$port" testdata/nano
stop think
if start both --listen 127.0.0.1:0 --act f32 --ctx 4096 --chat-layout k25 --reasoning-field both "$T/think"; then
	curl -s "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' \
		-d '{"messages":[{"role":"user","content":"Define wisdom."}],"temperature":0,"max_tokens":8,"thinking_budget_tokens":4}' > "$T/out"
	check "--reasoning-field both" jq -e '.choices[0].message | .reasoning == .reasoning_content and (.reasoning | length) > 3' "$T/out"
	stop both
fi
finish
