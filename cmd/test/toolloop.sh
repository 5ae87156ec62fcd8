#!/bin/bash
# toolloop.sh: the 250 sequential tool calls that nano was trained to make, through HTTP, greedy: arguments, ids and the last sentence are
# right, and each turn computes only what is new (the prefix is in a slot). With BF16 and with INT4 experts, and with keys and values in 8 bits.
. "$(dirname "$0")/lib.sh"
kconvert testdata/nano -o "$T/bf16.kmf" && kquant -t i4g32 testdata/nano -o "$T/int4.kmf" || { fail setup "nano does not convert"; finish; }
cat > "$T/loop.py" <<'PY'
import http.client, json, sys
loop = json.load(open('testdata/nano/eval/toolloop.json'))
messages = [{'role': 'user', 'content': loop['user']}]
c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=120)
def ask():
    c.request('POST', '/v1/chat/completions', json.dumps({'messages': messages, 'tools': loop['tools'], 'temperature': 0, 'max_tokens': 100}), {'Content-Type': 'application/json'})
    r = c.getresponse()
    o = json.loads(r.read())
    assert r.status == 200, o
    return o['choices'][0], o['usage']
last = 0
for k, step in enumerate(loop['steps']):
    choice, usage = ask()
    calls = choice['message'].get('tool_calls') or []
    assert len(calls) == 1 and choice['finish_reason'] == 'tool_calls', (k, choice)
    assert json.loads(calls[0]['function']['arguments']) == step['args'], (k, calls)
    assert calls[0]['id'] == f'functions.next_page:{k}', (k, calls)
    cached = usage['prompt_tokens_details']['cached_tokens']
    assert k == 0 or cached >= last, (k, cached, last)
    last = usage['prompt_tokens'] - 1
    messages.append({'role': 'assistant', 'content': choice['message'].get('content') or '', 'tool_calls': calls})
    messages.append({'role': 'tool', 'tool_call_id': calls[0]['id'], 'content': step['result']})
choice, usage = ask()
assert not choice['message'].get('tool_calls') and choice['message']['content'] == loop['final'], choice
PY
loop() { # NAME OPTION... MODEL
	start "$1" --listen 127.0.0.1:0 -q "${@:2}" || return
	check "$1: 250 calls" python3 "$T/loop.py" "$port"
	stop "$1"
}
loop bf16 "$T/bf16.kmf"
loop int4 "$T/int4.kmf"
loop kv8 --kv int8 "$T/bf16.kmf"
finish
