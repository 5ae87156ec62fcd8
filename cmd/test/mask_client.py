"""mask_client.py PORT [plain]: at a real vocabulary of 160k, masks take at most 5 % of a decode step: an agent that sends the same tools with every turn, and a format. The server
says both (kserve_mask_seconds_total, kserve_decode_seconds_total); the stack is tiny, so a real model's part is smaller still. plain: without thoughts."""
import http.client, json, sys

port, MORE = int(sys.argv[1]), {'thinking': {'type': 'disabled'}} if 'plain' in sys.argv[2:] else {}


def text(**more):
    return {'type': 'string', **more}


TOOLS = [{'type': 'function', 'function': {'name': name, 'description': f'Does {name}.', 'parameters': {'type': 'object', 'properties': p, 'required': list(p)[:2], 'additionalProperties': False}}}
         for name, p in (('read_file', {'path': text(minLength=1), 'first': {'type': 'integer', 'minimum': 1}, 'last': {'type': 'integer'}}),
                         ('search', {'query': text(), 'kind': {'enum': ['code', 'text', 'both']}, 'limit': {'type': 'integer', 'minimum': 1, 'maximum': 100}}),
                         ('write_file', {'path': text(pattern='^[a-z/]+\\.(c|h|py)$'), 'content': text(), 'mode': {'type': 'integer'}}),
                         ('ask', {'questions': {'type': 'array', 'items': {'type': 'object', 'properties': {'q': text(), 'options': {'type': 'array', 'items': text(), 'maxItems': 4}},
                                                                           'required': ['q']}, 'minItems': 1}, 'urgent': {'type': 'boolean'}}),
                         ('run', {'command': text(), 'timeout': {'type': 'number', 'exclusiveMinimum': 0}, 'env': {'type': 'object', 'additionalProperties': text()}}))]
FORMAT = {'type': 'json_schema', 'json_schema': {'name': 'answer', 'strict': True, 'schema': {'type': 'object', 'properties': {
    'title': text(), 'date': text(format='date'), 'tags': {'type': 'array', 'items': text(), 'maxItems': 5}, 'score': {'type': 'number'}}, 'required': ['title', 'date', 'tags', 'score'],
    'additionalProperties': False}}}


# Every name makes states of its own, so little is found again.
NAMES = {'type': 'json_schema', 'json_schema': {'name': 'answer', 'strict': True, 'schema': {'type': 'object', 'properties': {'kind': text(maxLength=9)}, 'minProperties': 9,
    'patternProperties': {'^[a-z_]+$': {'anyOf': [text(maxLength=3), {'type': 'integer'}]}, '^[A-Z]{1,3}$': {'type': 'array', 'items': {'type': 'number'}}}, 'additionalProperties': False}}}


def ask(method, path, body=None):
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=300)
    c.request(method, path, body and json.dumps(body), {'Content-Type': 'application/json'})
    r = c.getresponse()
    data = r.read().decode()
    assert r.status == 200, data[:300]
    return data


def spent():
    lines = dict(line.split('{')[0:1] + [line.rsplit(' ', 1)[1]] for line in ask('GET', '/metrics').split('\n') if line.startswith('kserve_'))
    return [float(lines[f'kserve_{n}_total']) for n in ('mask_seconds', 'decode_seconds', 'decode_steps')]


def share(name, turns, bar, **more):
    a = spent()
    for i in range(turns):
        ask('POST', '/v1/chat/completions', {'messages': [{'role': 'user', 'content': f'Turn {i}: what now?'}], 'temperature': 1, 'seed': i, 'max_tokens': 48, **MORE, **more})
    mask, decode, steps = (y - x for x, y in zip(a, spent()))
    print(f'# {name}: {mask / steps * 1e6:.0f} us of {decode / steps * 1e6:.0f} us a token, {100 * mask / decode:.2f} %', flush=True)
    print(f'ok {name}' if 0 < mask < bar * decode else f'{name}: masks take {100 * mask / decode:.1f} % of a step, wanted {100 * bar:.0f} %', flush=True)


# What is met for the first time is worked out then: a bound, and no promise.
share('calls, from the first turn on', 2, 0.5, tools=TOOLS, tool_choice='required')
share('calls', 8, 0.05, tools=TOOLS, tool_choice='required')
share('names that count', 8, 0.05, response_format=NAMES)
share('a format, from the first turn on', 2, 0.5, response_format=FORMAT)
share('a format', 8, 0.05, response_format=FORMAT)
# Of tags, elements are kept to where a request asks for nothing: with a thought and without.
for kind in ('disabled', 'enabled') if MORE else ():
    share(f'nothing asked for, thinking {kind}', 8, 0.05, thinking={'type': kind})
