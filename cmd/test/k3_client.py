"""k3_client.py PORT: answers of Kimi-K3 under constraints, asked of a kserve that runs on a model of k3_make.py: their elements, the tokens of their tags, values of all
types; says "ok NAME" or "FAIL NAME: why" a line."""
import http.client
import json
import re
import sys

from checks import run

PORT = int(sys.argv[1])
OFF = {'thinking': {'type': 'disabled'}}
SAY = [{'role': 'user', 'content': 'Weather in Paris for 3 days?'}]


def post(path, body):
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=300)
    c.request('POST', path, json.dumps(body), {'Content-Type': 'application/json'})
    r = c.getresponse()
    data = r.read()
    c.close()
    assert r.status == 200, (r.status, data)
    return json.loads(data)


def ask(**body):
    r = post('/v1/chat/completions', {'messages': SAY, 'max_tokens': 400, 'temperature': 1.2, 'return_token_ids': True, **body})
    return r, r['choices'][0]


def tool(name, **props):
    return {'type': 'function', 'function': {'name': name, 'parameters': {'type': 'object', 'properties': props, 'required': list(props), 'additionalProperties': False}}}


TOOLS = [tool('get_weather', city={'type': 'string', 'maxLength': 9}, days={'type': 'integer', 'minimum': 1, 'maximum': 7}), tool('get_weather_now', where={'enum': ['x', 1, None, ['x']]}),
         {'type': 'function', 'function': {'name': 'nothing'}}]
T = dict(o=r'<\|open\|>', c=r'<\|close\|>', s=r'<\|sep\|>', any=r'(?:(?!<\|(?:open|close|sep|end_of_msg)\|>)[\s\S])*')
ARGUMENT = r'{o}argument key="[^"]*" type="(?:string|number|boolean|null|object|array)"{s}{any}{c}argument{s}'.format(**T)
CALL = r'{o}call tool="([a-z_]+)" index="(\d+)"{s}(?:%s)*{c}call{s}'.format(**T) % ARGUMENT
TOOLS_AT_END = r'(?P<tools>{o}tools{s}(?:%s)+{c}tools{s})'.format(**T) % CALL
RESPONSE = r'(?P<content>{any}){c}response{s}'.format(**T)
THOUGHTS = r'(?P<thoughts>{any}){c}think{s}{o}response{s}'.format(**T)
END = r'{c}message{s}<\|end_of_msg\|>'.format(**T)


def text_of(choice):
    return post('/detokenize', {'tokens': choice['token_ids']})['content']


def elements():
    """What is asked for comes in the elements that a well-formed answer has, and in no others."""
    form = {'type': 'json_schema', 'json_schema': {'name': 'f', 'schema': {'type': 'object', 'properties': {'a': {'enum': ['é', 2]}}, 'required': ['a'], 'additionalProperties': False}}}
    ended = 0
    for seed in range(6):
        for more, pattern in ((dict(tools=TOOLS, tool_choice='required', **OFF), RESPONSE + TOOLS_AT_END + END), (dict(response_format=form, **OFF), RESPONSE + END),
                              (dict(tools=TOOLS, response_format=form, **OFF), RESPONSE + TOOLS_AT_END + '?' + END),
                              (dict(tools=TOOLS, tool_choice='required', thinking_token_budget=5), THOUGHTS + RESPONSE + TOOLS_AT_END + END),
                              (dict(response_format=form, thinking_token_budget=5), THOUGHTS + RESPONSE + END)):
            r, c = ask(seed=seed, **more)
            if c['finish_reason'] == 'length':
                continue
            ended += 1
            text = text_of(c)
            m = re.fullmatch(pattern, text)
            assert m, (more, text)
            calls = re.findall(CALL, text)
            assert [int(k) for _, k in calls] == list(range(1, len(calls) + 1)) and len(c['message'].get('tool_calls') or []) == len(calls), text
            assert not ('tool_choice' in more and m['content']) and not (calls and m['content']), text
            assert calls or json.loads(m['content']) in ({'a': 'é'}, {'a': 2}), text
            assert 'thoughts' not in m.groupdict() or r['usage']['completion_tokens_details']['reasoning_tokens'] == 6, r      # with the marker that ends them
    assert ended > 15, ended


def free():
    """Where nothing must come the answer may be anything, and a call that comes is one of those that are declared; without tools there is none."""
    for seed in range(12):
        for more in (dict(tool_choice='auto'), dict(tool_choice='none')):
            _, c = ask(tools=TOOLS, seed=seed, max_tokens=200, **more, **OFF)
            text = text_of(c)
            assert ('<|open|>' not in text) or more['tool_choice'] == 'auto' and re.search(r'<\|open\|>tools<\|sep\|>', text), text
            assert not (more['tool_choice'] == 'none' and c['message'].get('tool_calls')), c


def turned():
    """A model that closes its answer at once, as far as it can: with calls it goes on to one or to the end, without to the end."""
    close = post('/tokenize', {'content': '<|close|>'})['tokens']
    opened = post('/tokenize', {'content': '<|open|>'})['tokens']
    assert len(close) == 1 and len(opened) == 1, (close, opened)
    bias = {str(close[0]): 100, str(opened[0]): 50}
    for tools, wanted in ((dict(tools=TOOLS, tool_choice='auto'), True), (dict(tools=TOOLS, tool_choice='none'), False), ({}, False)):
        for more in ({'parallel_tool_calls': False}, {}):
            _, c = ask(logit_bias=bias, seed=3, max_tokens=120, **tools, **more, **OFF)
            text = text_of(c)
            assert text.startswith('<|close|>response<|sep|>'), text
            assert not wanted or c['finish_reason'] in ('length', 'tool_calls', 'stop'), c
            if not wanted:
                assert text == '<|close|>response<|sep|><|close|>message<|sep|><|end_of_msg|>', text
    _, c = ask(logit_bias={str(opened[0]): 100, str(close[0]): 10}, seed=3, max_tokens=120, thinking_token_budget=5)
    assert '<|open|>tools' not in text_of(c) and not c['message'].get('tool_calls'), c
    bias = {str(close[0]): 30, str(opened[0]): 100}
    for more in ({'parallel_tool_calls': False}, {}):
        _, c = ask(tools=TOOLS[:2], tool_choice='auto', temperature=0, logit_bias=bias, **more, **OFF)
        assert '<|open|>tools<|sep|>' in text_of(c) or '<|open|>' not in text_of(c), text_of(c)


def values():
    """Every value of a small set comes, as what it is, and no other does."""
    small = ['1', 1, True, None, 'a&b"c', '', '</x>\n', [1], {'a': '1'}, 'null']
    props = {'q"&': {'enum': small}, 'b': {'type': ['boolean', 'null', 'string'], 'maxLength': 0}}
    seen, close = set(), post('/tokenize', {'content': '<|close|>'})['tokens'][0]
    for seed in range(200):
        _, c = ask(tools=[tool('f', **props)], tool_choice='required', parallel_tool_calls=False, temperature=2, seed=seed, logit_bias={str(close): 10 * (seed % 2)}, **OFF)
        t, = c['message']['tool_calls']
        assert c['finish_reason'] == 'tool_calls', c
        got = json.loads(t['function']['arguments'])
        assert list(got) == list(props), got
        seen |= {('q', json.dumps(got['q"&'])), ('b', json.dumps(got['b']))}
    wanted = {('q', json.dumps(v)) for v in small} | {('b', v) for v in ('true', 'false', 'null', '""')}
    assert seen == wanted, (wanted - seen, seen - wanted)


def later():
    """Tools that a message of the system declares are called as others are."""
    more = {'role': 'system', 'tools': [tool('ring', at={'type': 'string', 'pattern': '^[0-9]{2}$'})]}
    for tools in ({}, {'tools': TOOLS}):
        names = set()
        for seed in range(8):
            _, c = ask(messages=[more] + SAY, tool_choice='required', parallel_tool_calls=False, seed=seed, **tools, **OFF)
            t, = c['message']['tool_calls']
            names.add(t['function']['name'])
            assert c['finish_reason'] == 'tool_calls' and (t['function']['name'] != 'ring' or re.fullmatch('[0-9]{2}', json.loads(t['function']['arguments'])['at'])), c
        assert names == {'ring'} or tools and names <= {'ring', 'get_weather', 'get_weather_now', 'nothing'}, names
        choice = {'type': 'function', 'function': {'name': 'ring'}}
        _, c = ask(messages=[more] + SAY, tool_choice=choice, **tools, **OFF)
        assert [t['function']['name'] for t in c['message']['tool_calls']] == ['ring'], c


def endless():
    """A name that is free and does not end is ended: a tag that nobody could read is no call."""
    long = post('/tokenize', {'content': 'information' * 3})['tokens'][0]
    f = {'type': 'function', 'function': {'name': 'f', 'parameters': {'type': 'object', 'minProperties': 1, 'maxProperties': 1, 'additionalProperties': {'type': 'null'}}}}
    _, c = ask(tools=[f], tool_choice='required', temperature=0, logit_bias={str(long): 100}, max_tokens=2500, parallel_tool_calls=False, **OFF)
    t, = c['message']['tool_calls']
    (name, value), = json.loads(t['function']['arguments']).items()
    assert c['finish_reason'] == 'tool_calls' and 2000 < len(name) < 2400 and value is None, (len(name), c['finish_reason'])


def tags_of(ids, sep, marks):
    """The tags in a row of tokens, each with its marker."""
    tags, now = [], None
    for i in ids:
        now = [i] if i in marks else now
        if now and now[-1] != i:
            now.append(i)
        if i == sep:
            tags.append(tuple(now))
            now = None
    return tags


def pieces():
    """Tags have the tokens that a prompt has for them, so that a history is what was sampled."""
    mark = {m: post('/tokenize', {'content': f'<|{m}|>'})['tokens'][0] for m in ('open', 'close', 'sep')}
    props = {'city name': {'const': 'a'}, 'a="b': {'type': 'boolean'}, '&': {'type': 'null'}, 'days': {'enum': [3]}}
    for seed in range(3):
        r, c = ask(tools=[tool('f-1.x', **props)], tool_choice='required', parallel_tool_calls=False, seed=seed, **OFF)
        sampled = tags_of(c['token_ids'], mark['sep'], (mark['open'], mark['close']))
        turn = {'role': 'assistant', 'content': 'x', 'tool_calls': c['message']['tool_calls']}     # not what was said: it is not remembered
        r, _ = ask(tools=[tool('f-1.x', **props)], messages=SAY + [turn], max_tokens=1, **OFF)
        prompt = tags_of(r['prompt_token_ids'], mark['sep'], (mark['open'], mark['close']))
        assert len(sampled) == 14 and any(prompt[i:i + len(sampled)] == sampled for i in range(len(prompt))), (sampled, prompt)


run([elements, free, turned, values, later, endless, pieces])
