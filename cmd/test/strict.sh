#!/bin/bash
# strict.sh: what an operator may refuse, or let in, beyond the rule: fields that are not known, answers longer than the context, sampling values that the
# vendor does not recommend, the name of another model. Without the options all of that passes.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || { echo "skipped: no python3"; exit 77; }
kconvert -q testdata/nano -o "$T/nano.kmf" || { fail setup "nano does not convert"; finish; }
cat > "$T/ask.py" <<'PY'
import http.client, json, sys
strict = sys.argv[2] == 'strict'
def ask(path, **more):
    c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=60)
    c.request('POST', path, json.dumps({**({} if path == '/v1/responses' else {'max_tokens': 2}), **more}), {'Content-Type': 'application/json'})
    r = c.getresponse()
    return r.status, json.loads(r.read())
def chat(**more): return ask('/v1/chat/completions', messages=[{'role': 'user', 'content': 'Hello'}], **more)
def text(**more): return ask('/v1/completions', prompt='Hello', **more)
cases = [(chat, {'frobnicate': 1}, 'frobnicate'), (text, {'messages': []}, 'messages'), (chat, {'prompt': 'x'}, 'prompt'), (chat, {'max_tokens': 500}, 'max_tokens'), (text, {'max_tokens': 510}, 'max_tokens'),
         (chat, {'temperature': 0}, 'temperature'), (chat, {'top_p': 0.5}, 'top_p'), (chat, {'presence_penalty': 1}, 'presence_penalty'), (text, {'frequency_penalty': -1}, 'frequency_penalty'),
         (chat, {'repetition_penalty': 1.1}, 'repetition_penalty'), (chat, {'n': 2}, 'n')]
for how, more, param in cases:
    status, r = how(**more)
    assert status == (400 if strict else 200), (more, status, r)
    assert not strict or (r['error']['param'] == param and r['error']['type'] == 'invalid_request_error'), (more, r)
for how, more in ((chat, {}), (text, {}), (chat, {'temperature': 0.6, 'top_p': 1, 'n': 1, 'presence_penalty': 0, 'frequency_penalty': 0.0, 'repetition_penalty': 1, 'user': 'u', 'store': True, 'tools': []}),
                  (text, {'max_tokens': 500, 'min_tokens': 0, 'stop': None, 'request_id': 'a'}), (chat, {'max_tokens': None, 'max_completion_tokens': 3, 'stream': False, 'verbosity': 'low', 'metadata': {'a': 'b'}})):
    status, r = how(**more)
    assert status == 200, (more, status, r)
# Other dialects are put into this one's words, which are known.
status, r = ask('/v1/messages', messages=[{'role': 'user', 'content': 'Hello'}], thinking={'type': 'disabled'}, metadata={'user_id': 'x'}, service_tier='auto')
assert status == 200, r
status, r = ask('/v1/responses', input='Hello', max_output_tokens=3, store=False, reasoning={'effort': 'low'}, truncation='disabled')
assert status == 200, r
# Each has its own fields, and those of another are not known to it.
for path, more, param in (('/v1/messages', {'messages': [{'role': 'user', 'content': 'Hello'}], 'frobnicate': 1}, 'frobnicate'), ('/v1/messages', {'messages': [{'role': 'user', 'content': 'Hello'}], 'stop': 'x'}, 'stop'),
                          ('/v1/messages/count_tokens', {'messages': [{'role': 'user', 'content': 'Hello'}], 'input': 'x'}, 'input'),
                          ('/v1/responses', {'input': 'Hello', 'max_tokens': 2}, 'max_tokens'), ('/v1/responses', {'max_tokens': None, 'input': 'Hello', 'frobnicate': None}, 'max_tokens')):
    status, r = ask(path, **more)
    assert status == (400 if strict else 200), (path, more, status, r)
    assert not strict or param in r['error']['message'], (path, more, r)
status, r = chat(model='another')
assert status == (200 if strict else 404) and (not strict or r['model'] == 'nano'), r
PY
for name in plain strict; do
	options=; [ $name = plain ] || options="--strict-params --strict-max-tokens --vendor-strict --accept-any-model"
	start $name --listen 127.0.0.1:0 -q --ctx 512 $options "$T/nano.kmf" || continue
	check "$name" python3 "$T/ask.py" "$port" $name
	stop $name
done
finish
