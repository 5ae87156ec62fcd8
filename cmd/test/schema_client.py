"""schema_client.py PORT [all] [plain]: asks a kserve that runs on nano for JSON of schemas of every keyword, as an answer and as arguments of a
call, at a temperature at which the model writes nonsense (plain: without thoughts); says "ok NAME", "skip NAME: why" or "FAIL NAME: why" a line.

What comes back is checked with the jsonschema package where it is there, and always by the checks that stand beside a schema.
"""
import concurrent.futures
import http.client
import json
import re
import sys

PORT, ALL = int(sys.argv[1]), 'all' in sys.argv[2:]
MORE = {'thinking': {'type': 'disabled'}} if 'plain' in sys.argv[2:] else {}
try:
    import jsonschema
except ImportError:
    jsonschema = None


def call(body, path='/v1/chat/completions'):
    body = {**MORE, **body}
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=300)
    c.request('POST', path, json.dumps(body), {'Content-Type': 'application/json'})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, json.loads(data)


def obj(required=None, **props):
    return {'type': 'object', 'properties': props, 'required': list(props) if required is None else required, 'additionalProperties': False}


def schemas():
    s = {'type': 'string'}
    i = {'type': 'integer'}
    for t in ('string', 'integer', 'number', 'boolean', 'null', 'array', 'object'):
        yield {'type': t, **({'maxLength': 9} if t == 'string' else {'maxItems': 2} if t == 'array' else {})}
        yield obj(a={'type': t, **({'maxLength': 4} if t == 'string' else {})})
        yield {'type': [t, 'null'], **({'maxLength': 5} if t == 'string' else {'maxItems': 1} if t == 'array' else {})}
    for e in ([1], ['a', 'b'], [None, True, 3, 'x'], ['é', '北京', '"q"', 'a\\b', 'line\nbreak'], [[1, 2], {'a': 1}], [1.5, -2, 0], ['']):
        yield {'enum': e}
        yield obj(a={'enum': e})
    for v in (1, 'x', None, True, [1], {'a': [None]}, 'ünï', -7, 0.5):
        yield {'const': v}
        yield obj(k={'const': v}, l={'enum': [v]})
    for lo, hi in ((0, 9), (3, 17), (-5, 5), (-120, -13), (99, 101), (1000000, 1000010), (-1, 0), (7, 7), (0, 12345678)):
        yield {**i, 'minimum': lo, 'maximum': hi}
        yield {**i, 'exclusiveMinimum': lo - 1, 'exclusiveMaximum': hi + 1}
        yield {'type': 'number', 'minimum': lo, 'maximum': hi}
        yield obj(n={**i, 'minimum': lo}, m={**i, 'maximum': hi})
    for m in (2, 5, 10):
        yield {**i, 'multipleOf': m, 'minimum': -30, 'maximum': 100}
    yield {'type': 'number', 'minimum': -1, 'maximum': 1}
    yield {'type': 'number', 'exclusiveMinimum': 0, 'maximum': 0.25}
    for lo, hi in ((0, 0), (0, 3), (2, 5), (5, 5), (1, 12)):
        yield {**s, 'minLength': lo, 'maxLength': hi}
        yield {'type': 'array', 'items': {'type': 'boolean'}, 'minItems': lo, 'maxItems': hi}
        yield {'type': 'array', 'items': obj(t={**i, 'minimum': 0, 'maximum': 9}), 'minItems': lo % 3, 'maxItems': lo % 3 + 1}
    for p in ('^[a-c]{2}-[0-9]{3}$', '^(foo|ba[rz])+$', '^[A-Z][a-z]*$', '^\\d{4}$', '^x?y?z?$', '^[^a-z"]{1,4}$', '^(a|b|ab){1,3}$', 'ab', '^\\w+@\\w+$',
              '^.{2,4}$', '^[\\u00e0-\\u00ff]{1,3}$', '^(?:[01][0-9]|2[0-3]):[0-5][0-9]$', '^\\$[0-9]+(\\.[0-9]{2})?$', '^[-_.a-z]{1,8}$'):
        yield {**s, 'pattern': p, 'maxLength': 12}
        yield obj(p={**s, 'pattern': p, 'maxLength': 12})
    for f in ('date', 'time', 'date-time', 'email', 'uuid', 'ipv4', 'ipv6', 'uri', 'hostname'):
        yield {**s, 'format': f}
        yield obj(f={**s, 'format': f})
    for n in range(1, 6):
        p = {f'p{k}': {**i, 'minimum': 0, 'maximum': 99} for k in range(n)}
        yield obj(**p)
        yield obj([], **p)
        yield obj(list(p)[:n // 2], **p)
    yield {'type': 'object', 'additionalProperties': {**i, 'minimum': 0, 'maximum': 9}, 'maxProperties': 3}
    yield {'type': 'object', 'properties': {'a': {'type': 'boolean'}}, 'additionalProperties': {'type': 'null'}, 'maxProperties': 3}
    yield {'type': 'object', 'properties': {'a': {'type': 'boolean'}}, 'required': ['a'], 'minProperties': 1, 'maxProperties': 2}
    for n in (2, 3):
        yield {'type': 'object', 'additionalProperties': {'type': 'boolean'}, 'minProperties': n, 'maxProperties': 3}
        yield {'type': 'object', 'patternProperties': {'^[a-c]$': {**i, 'minimum': 0, 'maximum': 9}}, 'additionalProperties': False, 'minProperties': n, 'maxProperties': 3}
        yield {'type': 'object', 'propertyNames': {'pattern': '^[a-z]+$', 'maxLength': 2}, 'additionalProperties': {'type': 'null'}, 'minProperties': n, 'maxProperties': 3}
        yield {'type': 'object', 'propertyNames': {'enum': ['x', 'y', 'z']}, 'additionalProperties': {'enum': [0, 1]}, 'minProperties': n}
    yield {'type': 'object', 'patternProperties': {'^a': {**i, 'minimum': 0, 'maximum': 50}, 'b$': {**i, 'minimum': 20, 'maximum': 99}}, 'additionalProperties': False, 'minProperties': 2,
           'maxProperties': 2, 'propertyNames': {'maxLength': 3}}
    yield obj(**{'with space': {'type': 'boolean'}, 'q"uote': {'type': 'null'}, 'é': {'type': 'boolean'}})
    for any_ in ('anyOf', 'oneOf'):
        yield {any_: [{**i, 'minimum': 0, 'maximum': 9}, {**s, 'enum': ['x', 'yy']}]}
        yield {any_: [obj(kind={'const': 'a'}, x={'type': 'boolean'}), obj(kind={'const': 'b'}, y={'type': 'null'})]}
        yield obj(v={any_: [{'type': 'null'}, {'type': 'boolean'}, {'type': 'array', 'items': {'type': 'null'}, 'maxItems': 2}]})
    yield {'allOf': [{'type': 'object', 'properties': {'a': {'type': 'boolean'}}, 'required': ['a']}, {'properties': {'b': {'type': 'null'}}, 'required': ['b']}],
           'additionalProperties': False, 'properties': {'a': {}, 'b': {}}}
    yield {'allOf': [{**i, 'minimum': 3}, {'maximum': 8}]}
    yield {'type': 'array', 'prefixItems': [{'type': 'boolean'}, {**i, 'minimum': 0, 'maximum': 5}], 'items': False, 'minItems': 2}
    yield {'type': 'array', 'prefixItems': [{'type': 'null'}], 'items': {'type': 'boolean'}, 'maxItems': 4}
    yield {'type': 'array', 'items': {'enum': ['a', 'b', 'c']}, 'uniqueItems': True}
    node = obj(v={**i, 'minimum': 0, 'maximum': 9}, next={'anyOf': [{'type': 'null'}, {'$ref': '#/$defs/node'}]})
    yield {'$defs': {'node': node}, '$ref': '#/$defs/node'}
    yield {'$defs': {'t': obj(['l'], l={'type': 'boolean'}, k={'type': 'array', 'items': {'$ref': '#/$defs/t'}, 'maxItems': 2})}, '$ref': '#/$defs/t'}
    yield obj([], self={'$ref': '#'})
    yield {'title': 'T', 'description': 'd', 'type': 'object', 'properties': {'a': {'type': 'boolean', 'description': 'x', 'default': True}}, 'required': ['a'],
           'additionalProperties': False, '$schema': 'https://json-schema.org/draft/2020-12/schema'}


REFUSED = [
    {'type': 'integer', 'minimum': 5, 'maximum': 4}, {'type': 'nonsense'}, {'$ref': '#/$defs/none'}, {'enum': []}, {'type': 'string', 'minLength': 3, 'maxLength': 2},
    {'type': 'object', 'properties': {'a': False}, 'required': ['a']}, {'$defs': {'a': {'$ref': '#/$defs/a'}}, '$ref': '#/$defs/a'},
    {'type': 'object', 'properties': {'self': {'$ref': '#'}}, 'required': ['self']}, {'type': 'array', 'minItems': 2, 'maxItems': 1}, {'allOf': [{'type': 'string'}, {'type': 'null'}]},
    {'type': 'string', 'pattern': '('}, {'type': 5}, {'properties': []}, {'required': 'a'}, {'type': 'array', 'items': 5}, {'anyOf': []}, {'minimum': 'x', 'type': 'integer'},
    {'type': 'object', 'propertyNames': {'enum': ['a', 'b']}, 'minProperties': 3}, {'type': 'object', 'propertyNames': {'maxLength': 1}, 'required': ['ab']},
]


def valid(schema, value):
    if jsonschema:
        jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)
    if 'enum' in schema:
        assert value in schema['enum']
    if 'const' in schema:
        assert value == schema['const']
    if schema.get('type') == 'integer':
        assert isinstance(value, int) and not isinstance(value, bool) and schema.get('minimum', value) <= value <= schema.get('maximum', value)
    if schema.get('type') == 'string' and 'pattern' in schema:
        assert re.search(schema['pattern'], value)
    if schema.get('type') == 'object':
        assert isinstance(value, dict) and set(schema.get('required', [])) <= set(value)


SAY = [{'role': 'user', 'content': 'Fill the form.'}]


def no_space(text):
    """Outside strings at most one space, behind ':' and ','."""
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    assert not re.search(r'[\n\t\r]|  |[^:,] ', bare), text


def judged(schema, body, check):
    """(schema, what is wrong or None, did the answer end?)"""
    status, r = call(body)
    if status != 200:
        return schema, f'{status} {r}', False
    c = r['choices'][0]
    if c['finish_reason'] == 'length':
        return schema, None, False
    try:
        check(c)
    except Exception as e:
        return schema, f'{c!r}: {type(e).__name__} {str(e)[:200]}', True
    return schema, None, True


def as_answer(job):
    k, schema = job

    def check(c):
        no_space(c['message']['content'])
        valid(schema, json.loads(c['message']['content']))
    return judged(schema, {'messages': SAY, 'temperature': 1.5, 'seed': k, 'max_tokens': 150,
                           'response_format': {'type': 'json_schema', 'json_schema': {'name': 'f', 'strict': True, 'schema': schema}}}, check)


def as_arguments(job):
    k, schema = job

    def check(c):
        t, = c['message']['tool_calls']
        assert c['finish_reason'] == 'tool_calls' and t['id'] == 'functions.fill-form.v2:0' and t['function']['name'] == 'fill-form.v2', c
        valid(schema, json.loads(t['function']['arguments']))
    return judged(schema, {'messages': SAY, 'temperature': 1.5, 'seed': k, 'max_tokens': 200, 'tool_choice': 'required', 'parallel_tool_calls': False,
                           'tools': [{'type': 'function', 'function': {'name': 'fill-form.v2', 'parameters': schema, 'strict': True}}]}, check)


def report(name, results):
    bad = [f'{json.dumps(s)[:150]}: {why}' for s, why, _ in results if why]
    ended = sum(e for _, _, e in results)
    print(f'FAIL {name}: {len(bad)} of {len(results)}: ' + ' | '.join(bad)[:3000] if bad else f'ok {name}: {ended} of {len(results)} ended' if ended * 2 > len(results)
          else f'FAIL {name}: only {ended} of {len(results)} ended')


def main():
    jobs = list(enumerate(schemas()))
    print(f'# {len(jobs)} schemas, {"with" if jsonschema else "without"} the jsonschema package')
    some = jobs if ALL else jobs[::3]
    with concurrent.futures.ThreadPoolExecutor(8) as ex:
        report('answers fit their schemas', list(ex.map(as_answer, some)))
        objects = [j for j in (jobs if ALL else jobs[1::3]) if j[1].get('type') == 'object']
        report('arguments fit their schemas', list(ex.map(as_arguments, objects)))
    bad = []
    for s in REFUSED:
        for body in ({'response_format': {'type': 'json_schema', 'json_schema': {'name': 'f', 'strict': True, 'schema': s}}},):
            status, r = call({'messages': SAY, 'max_tokens': 5, **body})
            if status != 400 or not r['error']['message'] or r['error']['code'] != 'invalid_schema':
                bad.append((s, status, r))
    print(f'FAIL what cannot be is refused: {bad}' if bad else 'ok what cannot be is refused')
    bad = []
    for v in ({'type': 'json_schema'}, {'type': 'json_schema', 'json_schema': []}, {'type': 'json_schema', 'json_schema': {'schema': {}}}, {'type': 'json_schema', 'json_schema': {'name': 'f'}},
              {'type': 'json_schema', 'json_schema': {'name': 'f', 'schema': 'x'}}, {'type': 'json_schema', 'json_schema': {'name': 'f', 'schema': {}, 'strict': 'yes'}}, {'type': 'xml'}, {}, 'x',
              {'type': 'json_object', 'schema': 123}, {'type': 'json_object', 'schema': {'type': 'hiccup'}}):
        status, r = call({'messages': SAY, 'max_tokens': 5, 'response_format': v})
        if status != 400:
            bad.append((v, status, r))
    print(f'FAIL formats that are none: {bad}' if bad else 'ok formats that are none')
    status, r = call({'messages': SAY, 'temperature': 1.5, 'max_tokens': 300, 'seed': 4, 'response_format': {'type': 'json_object'}})
    c = r['choices'][0]
    ok = status == 200 and (c['finish_reason'] == 'length' or isinstance(json.loads(c['message']['content']), dict)) and c['message']['content'].startswith('{')
    print('ok json_object' if ok else f'FAIL json_object: {r}')
    for schema, want in (({'const': '42'}, '"42"'), (obj(a={'enum': [7]}), '{"a":7}')):
        status, r = call({'messages': SAY, 'max_tokens': 40, 'response_format': {'type': 'json_object', 'schema': schema}})
        ok = status == 200 and r['choices'][0]['message']['content'].replace(' ', '') == want
        print('ok json_object with a schema' if ok else f'FAIL json_object with a schema: {r}')
    status, r = call({'prompt': 'Say', 'guided_choice': ['yes', 'no', 'perhaps'], 'temperature': 1.5, 'max_tokens': 20}, '/v1/completions')
    print('ok guided_choice' if status == 200 and r['choices'][0]['text'] in ('yes', 'no', 'perhaps') else f'FAIL guided_choice: {status} {r}')
    status, r = call({'prompt': 'Say', 'guided_json': obj(a={'type': 'boolean'}), 'temperature': 1.5, 'max_tokens': 20}, '/v1/completions')
    print('ok guided_json' if status == 200 and isinstance(json.loads(r['choices'][0]['text'])['a'], bool) else f'FAIL guided_json: {status} {r}')


main()
