"""choose_client.py PORT [plain] [CHECK...]: tool_choice in all its forms, asked of a kserve that runs on nano (plain: without thoughts, which not every model ends);
says "ok NAME" or "FAIL NAME: why" a line."""
import http.client
import json
import sys

from checks import metric, run

PORT, PLAIN, NAMES = int(sys.argv[1]), 'plain' in sys.argv[2:], [a for a in sys.argv[2:] if a != 'plain']
MORE = {'thinking': {'type': 'disabled'}} if PLAIN else {}


def call(**body):
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=300)
    c.request('POST', '/v1/chat/completions', json.dumps({'messages': [{'role': 'user', 'content': 'Weather in Paris for 3 days?'}], 'max_tokens': 400, **MORE, **body}),
              {'Content-Type': 'application/json'})
    r = c.getresponse()
    data = r.read()
    c.close()
    if not body.get('stream'):
        return r.status, json.loads(data)
    return r.status, [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith('data: {')]


def tool(name, **props):
    return {'type': 'function', 'function': {'name': name, 'parameters': {'type': 'object', 'properties': props, 'required': list(props), 'additionalProperties': False}}}


TOOLS = [tool('get_weather', city={'type': 'string', 'maxLength': 12}, days={'type': 'integer', 'minimum': 1, 'maximum': 7}),
         tool('get_weather_now', city={'enum': ['Paris', 'Rome']}), tool('next.page-2', cursor={'type': 'integer', 'minimum': 0, 'maximum': 999}),
         {'type': 'function', 'function': {'name': 'nothing'}}]
KEYS = {'get_weather': {'city', 'days'}, 'get_weather_now': {'city'}, 'next.page-2': {'cursor'}, 'nothing': set()}
NAMED = lambda n: {'type': 'function', 'function': {'name': n}}
ALLOWED = lambda mode, *names: {'type': 'allowed_tools', 'allowed_tools': {'mode': mode, 'tools': [NAMED(n) for n in names]}}


def calls_of(r):
    if isinstance(r, dict):
        return [(c['id'], c['function']['name'], c['function']['arguments']) for c in r['choices'][0]['message'].get('tool_calls') or []], r['choices'][0]['finish_reason']
    calls, finish = {}, None
    for e in r:
        for ch in e['choices']:
            finish = ch['finish_reason'] or finish
            for c in ch['delta'].get('tool_calls') or []:
                d = calls.setdefault(c['index'], ['', '', ''])
                d[0] += c.get('id') or ''
                d[1] += c['function'].get('name') or ''
                d[2] += c['function'].get('arguments') or ''
    return [tuple(c) for c in calls.values()], finish


def good(calls, first=0):
    for k, (id_, name, args) in enumerate(calls):
        assert id_ == f'functions.{name}:{first + k}', (id_, name, k)
        assert set(json.loads(args)) == KEYS[name], (name, args)


def required():
    for seed in range(6):
        both = []
        for stream in (False, True):
            status, r = call(tools=TOOLS, tool_choice='required', temperature=1.2, seed=seed, stream=stream)
            assert status == 200, r
            calls, finish = calls_of(r)
            assert calls and finish in ('tool_calls', 'length'), (calls, finish)
            good(calls if finish == 'tool_calls' else calls[:-1])
            both.append(calls)
        assert both[0] == both[1], both


def named():
    for name in KEYS:
        for seed in range(3):
            status, r = call(tools=TOOLS, tool_choice=NAMED(name), temperature=1.2, seed=seed)
            calls, finish = calls_of(r)
            assert status == 200 and len(calls) == 1 and calls[0][1] == name and finish == 'tool_calls', r
            good(calls)


def allowed():
    for seed in range(4):
        status, r = call(tools=TOOLS, tool_choice=ALLOWED('required', 'nothing', 'get_weather_now'), temperature=1.5, seed=seed, parallel_tool_calls=False)
        calls, _ = calls_of(r)
        assert status == 200 and len(calls) == 1 and calls[0][1] in ('nothing', 'get_weather_now'), r
        good(calls)


def none():
    status, r = call(tools=TOOLS, tool_choice='none', max_tokens=30)
    assert status == 200 and not calls_of(r)[0], r


def not_parallel():
    """One call, and a turn that is whole: sent back, it is the tokens that were sampled, so that its states are found. Where max_tokens cuts what only ends it, it is a call no less."""
    ask = [{'role': 'user', 'content': 'Weather in Paris for 3 days?'}]
    for seed in range(4):
        body = dict(tools=TOOLS, tool_choice='required', parallel_tool_calls=False, temperature=1.5, seed=seed, return_token_ids=True)
        status, r = call(messages=ask, **body)
        assert status == 200 and len(calls_of(r)[0]) == 1, r
        choice = r['choices'][0]
        status, cut = call(messages=ask, **body, max_tokens=len(choice['token_ids']) - 2)
        assert status == 200 and calls_of(cut) == calls_of(r) and calls_of(cut)[1] == 'tool_calls', (cut, r)
        back = {'role': 'tool', 'tool_call_id': calls_of(r)[0][0][0], 'content': 'x'}
        status, on = call(messages=ask + [choice['message'], back], **dict(body, max_tokens=1))
        whole = r['prompt_token_ids'] + choice['token_ids'][:-1]
        # Kimi-K3's prompts say last that a call is required.
        assert status == 200 and (PLAIN or on['prompt_token_ids'][:len(whole)] == whole), (whole, on)


def history():
    """Ids go on where the history ends, and pass over those that are taken."""
    past = [{'role': 'user', 'content': 'x'}, {'role': 'assistant', 'content': None, 'tool_calls': [
        {'id': 'functions.nothing:0', 'type': 'function', 'function': {'name': 'nothing', 'arguments': '{}'}},
        {'id': 'functions.nothing:2', 'type': 'function', 'function': {'name': 'nothing', 'arguments': '{}'}}]},
        {'role': 'tool', 'tool_call_id': 'functions.nothing:0', 'content': 'a'}, {'role': 'tool', 'tool_call_id': 'functions.nothing:2', 'content': 'b'}]
    status, r = call(messages=past, tools=TOOLS, tool_choice=NAMED('nothing'), temperature=0)
    calls, _ = calls_of(r)
    assert status == 200 and [c[0] for c in calls] == ['functions.nothing:3'], r


def several():
    status, r = call(tools=TOOLS, tool_choice='required', n=3, temperature=1.5, seed=9, parallel_tool_calls=False)
    assert status == 200 and len(r['choices']) == 3, r
    for c in r['choices']:
        t, = c['message']['tool_calls']
        good([(t['id'], t['function']['name'], t['function']['arguments'])])


def ahead():
    """Tokens that leave no choice are not computed one by one, and the answer is what it is where each is, as log-probabilities want it."""
    same = [{'tool_choice': NAMED('get_weather'), 'temperature': 0}, {'tool_choice': NAMED('nothing'), 'temperature': 1}, {'tool_choice': 'required', 'temperature': 1.2, 'seed': 3},
            {'tool_choice': 'required', 'temperature': 1.2, 'seed': 4, 'n': 3}, {'tool_choice': NAMED('nothing'), 'max_tokens': 3}, {'tool_choice': NAMED('nothing'), 'max_tokens': 1},
            {'tool_choice': NAMED('nothing'), 'min_tokens': 60}, {'tool_choice': ALLOWED('required', 'nothing', 'get_weather_now'), 'temperature': 1.5, 'seed': 2},
            {'response_format': {'type': 'json_schema', 'json_schema': {'name': 'f', 'schema': {'type': 'object', 'properties': {'a': {'const': 1}, 'b': {'enum': ['x']}}, 'required': ['a', 'b']}}}}]
    for more in same:
        one, r, alone = [call(**{'tools': TOOLS, 'return_token_ids': True, 'temperature': 0, **more, **x})[1] for x in ({'logprobs': True}, {}, {'cache_prompt': False})]
        for a, b in zip(one['choices'] * 2, r['choices'] + alone['choices']):
            assert a['token_ids'] == b['token_ids'] and a['message'] == b['message'] and a['finish_reason'] == b['finish_reason'], (more, a, b)
        assert one['usage']['completion_tokens'] == r['usage']['completion_tokens'], (more, one['usage'], r['usage'])
    # What the constraint insists on cannot be banned.
    whole = call(tools=TOOLS, tool_choice=NAMED('nothing'), return_token_ids=True)[1]['choices'][0]
    for id_ in whole['token_ids']:
        r = call(tools=TOOLS, tool_choice=NAMED('nothing'), return_token_ids=True, logit_bias=[[id_, False]])[1]
        assert r['choices'][0]['token_ids'] == whole['token_ids'] and r['choices'][0]['message'] == whole['message'], (id_, r)
    if NAMES:
        return          # a server with steps of its own size
    names = ['vllm:e2e_request_latency_seconds_count', 'vllm:time_to_first_token_seconds_count']
    before = [metric(PORT, n) for n in names]
    call(tools=TOOLS, tool_choice=NAMED('nothing'))
    assert [metric(PORT, n) for n in names] == [n + 1 for n in before]
    for more, steps in (({'messages': [{'role': 'user', 'content': 'Call nothing.'}], 'tool_choice': NAMED('nothing')}, 5), ({'tool_choice': NAMED('get_weather_now')}, 30)):
        before = metric(PORT, 'kserve_steps_total')
        status, r = call(tools=TOOLS, temperature=0, **more)
        took, tokens = metric(PORT, 'kserve_steps_total') - before, r['usage']['completion_tokens']
        assert status == 200 and took <= steps and took < tokens - 5, (more, took, tokens)


def with_format():
    """A tool or JSON, and never anything else."""
    for seed in range(5):
        status, r = call(tools=TOOLS, temperature=1.5, seed=seed, response_format={'type': 'json_schema', 'json_schema': {'name': 'f', 'schema': {'type': 'boolean'}}})
        calls, finish = calls_of(r)
        assert status == 200 and (calls or finish == 'length' or json.loads(r['choices'][0]['message']['content']) in (True, False)), r


def refused():
    bad = []
    for body in ({'tools': TOOLS, 'tool_choice': 'maybe'}, {'tools': TOOLS, 'tool_choice': 5}, {'tools': TOOLS, 'tool_choice': NAMED('other')}, {'tool_choice': 'required'},
                 {'tools': [], 'tool_choice': 'required'}, {'tool_choice': NAMED('nothing')}, {'tools': TOOLS, 'tool_choice': {'type': 'function'}},
                 {'tools': TOOLS, 'tool_choice': {'type': 'x', 'function': {'name': 'nothing'}}}, {'tools': TOOLS, 'tool_choice': ALLOWED('some', 'nothing')},
                 {'tools': TOOLS, 'tool_choice': ALLOWED('auto', 'other')}, {'tools': TOOLS, 'tool_choice': {'type': 'allowed_tools', 'allowed_tools': {'mode': 'auto', 'tools': []}}},
                 {'tools': [{'type': 'function', 'function': {'name': 'f', 'parameters': {'type': 'object', 'properties': {'a': {'type': 'nope'}}}}}]},
                 {'tools': [{'type': 'function', 'function': {'name': 'f', 'strict': True, 'parameters': {'type': 'object', 'not': {}}}}]},
                 {'tools': [{'type': 'function', 'function': {'name': 'f', 'strict': 'x', 'parameters': {'type': 'object'}}}]}):
        status, r = call(**body)
        if status != 400 or not r['error']['message']:
            bad.append((body, status, r))
    assert not bad, bad
    for body in ({'tool_choice': 'none'}, {'tool_choice': 'auto'}, {'tools': [], 'tool_choice': 'auto'}, {'tools': TOOLS, 'tool_choice': None}):
        status, r = call(max_tokens=2, **body)
        assert status == 200, (body, r)


CHECKS = [required, named, allowed, none, not_parallel, history, several, with_format, ahead, refused]
run([f for f in CHECKS if not NAMES or f.__name__ in NAMES])
