"""toolcall_make.py FOLDER: 40 recorded cases of the vendor verifier's protocol: requests.jsonl (with the vendor's finish reasons), answers.jsonl (as
kserve --stdio writes them) and want.json, what the published rules make of them. With the package jsonschema its verdict is taken, and must be the one
that stands here."""
import json, sys
try:
    import jsonschema
except ImportError:
    jsonschema = None

def tool(name, parameters):
    return {'type': 'function', 'function': {'name': name, 'description': name, 'parameters': parameters}}

def obj(required=(), more=True, **properties):
    o = {'type': 'object', 'properties': properties, 'required': list(required)}
    return o if more else {**o, 'additionalProperties': False}

S, I = {'type': 'string'}, {'type': 'integer'}
tree = {'type': 'object', 'properties': {'node': {'$ref': '#/$defs/node'}}, 'required': ['node'],
        '$defs': {'node': {'type': 'object', 'properties': {'v': I, 'next': {'anyOf': [{'$ref': '#/$defs/node'}, {'type': 'null'}]}}, 'required': ['v']}}}
tools = [
    tool('get_weather', obj(['city'], city=S, days={'type': 'integer', 'minimum': 1, 'maximum': 7}, unit={'enum': ['c', 'f', None]})),
    tool('strict', obj(['a'], False, a={'type': ['integer', 'null']}, b={'type': 'array', 'items': {'type': 'number', 'exclusiveMinimum': 0}, 'maxItems': 2})),
    tool('walk', tree),
    tool('any', obj(x={'anyOf': [{'type': 'string', 'minLength': 2}, {'type': 'integer', 'multipleOf': 3}]}, y={'oneOf': [I, {'type': 'number', 'minimum': 5}]})),
    tool('text', obj(s={'type': 'string', 'pattern': '^[a-z]+$', 'maxLength': 5}, k={'const': {'a': [1, 2.0]}}, u={'type': 'array', 'uniqueItems': True})),
    tool('keys', {'type': 'object', 'patternProperties': {'^n_': I}, 'additionalProperties': S, 'minProperties': 1, 'propertyNames': {'maxLength': 6}}),
    tool('none', {}),
    tool('free', {'type': 'object'}),
    tool('cond', {'type': 'object', 'if': {'required': ['a']}, 'then': {'required': ['b']}, 'else': {'not': {'required': ['c']}}, 'dependentRequired': {'d': ['e']}}),
    tool('tuple', obj(t={'type': 'array', 'prefixItems': [S, I], 'items': False, 'minItems': 1}, has={'contains': {'const': 1}, 'maxContains': 1})),
]
# name, arguments, does it fit
calls = [
    ('get_weather', '{"city": "Oslo"}', 1), ('get_weather', '{"city": "Oslo", "days": 8}', 0), ('get_weather', '{"city": "Oslo", "days": 7.0, "unit": null}', 1),
    ('get_weather', '{"days": 1}', 0), ('get_weather', '{"city": "Oslo"', 0), ('get_weather', '["Oslo"]', 0), ('get_weather', '{"city": "Oslo", "days": true}', 0),
    ('strict', '{"a": null, "b": [0.5, 1]}', 1), ('strict', '{"a": 1, "b": [0]}', 0), ('strict', '{"a": 1, "b": [1, 2, 3]}', 0), ('strict', '{"a": 1, "c": 1}', 0),
    ('walk', '{"node": {"v": 1, "next": {"v": 2, "next": null}}}', 1), ('walk', '{"node": {"v": 1, "next": {"next": null}}}', 0),
    ('any', '{"x": "ab", "y": 4}', 1), ('any', '{"x": "a"}', 0), ('any', '{"x": 9, "y": 5.5}', 1), ('any', '{"x": 10}', 0), ('any', '{"y": 6}', 0),
    ('text', '{"s": "abc", "k": {"a": [1.0, 2]}, "u": [1, "1", true]}', 1), ('text', '{"s": "abcdef"}', 0), ('text', '{"s": "aB"}', 0), ('text', '{"u": [1, 1.0]}', 0),
    ('keys', '{"n_a": 1, "b": "x"}', 1), ('keys', '{"n_a": "1"}', 0), ('keys', '{"b": 1}', 0), ('keys', '{}', 0), ('keys', '{"toolong": "x"}', 0),
    ('none', '{}', 0), ('missing', '{}', 0), ('free', '{"a": [{}]}', 1), ('free', '"text"', 0),
    ('cond', '{"a": 1, "b": 2}', 1), ('cond', '{"a": 1}', 0), ('cond', '{"c": 1}', 0), ('cond', '{"d": 1, "e": 1}', 1),
    ('tuple', '{"t": ["a", 1], "has": [1, 2]}', 1), ('tuple', '{"t": ["a", 1, 2]}', 0), ('tuple', '{"t": ["a"], "has": [1, 1]}', 0),
]
called = errors = both = here = there = 0
requests, answers = open(f'{sys.argv[1]}/requests.jsonl', 'w'), open(f'{sys.argv[1]}/answers.jsonl', 'w')

def case(i, message, finish, vendor, valid):
    global called, errors, both, here, there
    body = {'messages': [{'role': '_input' if i % 7 == 0 else 'user', 'content': f'case {i}'}, {'role': 'user', 'content': 'go'}], 'tools': tools}
    line = {'request': body, 'finish_reason': vendor} if vendor else body
    requests.write(json.dumps(line) + '\n')
    answers.write(json.dumps({'id': f'item {i}/0', 'object': 'chat.completion', 'choices': [{'index': 0, 'message': message, 'finish_reason': finish}]}) + '\n')
    is_call = finish == 'tool_calls'
    called += is_call
    errors += is_call and not valid
    if vendor:
        both += is_call and vendor == 'tool_calls'
        here += is_call and vendor != 'tool_calls'
        there += not is_call and vendor == 'tool_calls'

for i, (name, text, fits) in enumerate(calls, 1):
    if jsonschema:
        schema = next((t['function']['parameters'] for t in tools if t['function']['name'] == name), None)
        try:
            if not schema:
                raise ValueError
            jsonschema.validate(json.loads(text), schema)
            verdict = 1
        except (ValueError, jsonschema.ValidationError):
            verdict = 0
        assert verdict == fits, (name, text, verdict)
    message = {'role': 'assistant', 'content': None, 'tool_calls': [{'id': f'functions.{name}:0', 'type': 'function', 'function': {'name': name, 'arguments': text}}]}
    case(i, message, 'tool_calls', [None, 'tool_calls', 'stop', 'tool_calls', 'length'][i % 5], fits)
# Two calls of which one does not fit; an answer without calls where the vendor calls; one that is cut off.
good, bad = [{'id': f'call_{k}', 'type': 'function', 'function': {'name': 'get_weather', 'arguments': a}} for k, a in enumerate(('{"city": "x"}', '{}'))]
case(len(calls) + 1, {'role': 'assistant', 'content': '', 'tool_calls': [good, bad]}, 'tool_calls', 'tool_calls', 0)
case(len(calls) + 2, {'role': 'assistant', 'content': 'no'}, 'stop', 'tool_calls', 0)
# Calls that a parser lost: the verifier holds none of them for valid.
case(len(calls) + 3, {'role': 'assistant', 'content': ''}, 'tool_calls', 'tool_calls', 0)
case(len(calls) + 4, {'role': 'assistant', 'content': None, 'tool_calls': None}, 'tool_calls', 'tool_calls', 0)
case(len(calls) + 5, {'role': 'assistant', 'content': None, 'tool_calls': []}, 'tool_calls', 'stop', 0)
json.dump({'n': len(calls) + 5, 'n_calls': called, 'n_schema_errors': errors, 'schema_accuracy': (called - errors) / called, 'n_bad_ids': 2,
           'trigger_f1': 2 * both / (2 * both + here + there), 'n_stop': 1}, open(f'{sys.argv[1]}/want.json', 'w'))
print(len(calls) + 5, 'cases,', 'jsonschema agrees' if jsonschema else 'without jsonschema')
