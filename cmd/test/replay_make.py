"""replay_make.py FOLDER: 40 recorded requests and answers in the form of the vendor verifier's results, as two services gave them: official.jsonl and
vendor.jsonl (out of order, with raw completions and prompts), and want.json, what the published rules make of them. Prompts and completions are written here from
the form of Kimi's turns, and not by a template or a parser. With the package jsonschema its verdict is taken, and must be the one that stands here."""
import json, sys
try:
    import jsonschema
except ImportError:
    jsonschema = None

def tool(name, **parameters):
    return {'type': 'function', 'function': {'name': name, 'description': f'does {name} – ü', 'parameters': {'type': 'object', **parameters}}}

weather = tool('get_weather', properties={'city': {'type': 'string'}, 'unit': {'type': 'string', 'enum': ['c', 'f']}}, required=['city'])
closed = tool('search', properties={'q': {'type': 'string', 'minLength': 2}, 'n': {'type': 'integer', 'maximum': 9}}, required=['q'], additionalProperties=False)
nested = tool('walk', properties={'node': {'$ref': '#/$defs/node'}}, required=['node'], **{'$defs': {'node': {'type': 'object', 'required': ['v'],
    'properties': {'v': {'type': 'integer'}, 'kids': {'type': 'array', 'items': {'$ref': '#/$defs/node'}}}}}})
ALL = [weather, closed, nested]
W, Q, N = 'get_weather', 'search', 'walk'
TC, STOP, LENGTH = 'tool_calls', 'stop', 'length'

# The vendor's finish reason, the official one, the vendor's calls (name, arguments, fits?), and what is special about the case.
cases = [
    (TC, TC, [(W, '{"city": "Oslo"}', 1)], {}),
    (TC, TC, [(W, '{"city":"Oslo","unit":"c"}', 1)], {'history': 1}),
    (TC, STOP, [(W, '{"city": "Rome"}', 1)], {}),
    (STOP, TC, [], {'content': 'It rains.'}),
    (STOP, STOP, [], {'content': 'Hello.'}),
    (STOP, STOP, [], {'content': ''}),
    (LENGTH, TC, [], {'content': 'It is a long'}),
    (LENGTH, LENGTH, [], {'content': 'a b c'}),
    (TC, LENGTH, [(Q, '{"q": "abc"}', 1)], {}),
    (STOP, LENGTH, [], {'content': 'so'}),
    (TC, TC, [('get_time', '{}', 0)], {}),                                            # a tool that was not declared
    (TC, TC, [(W, '{"city": "Os', 0)], {}),                                           # no JSON
    (TC, TC, [(W, '{"city": Oslo}', 0)], {}),
    (TC, TC, [(W, '{}', 0)], {}),                                                     # required
    (TC, TC, [(W, '{"unit": "c"}', 0)], {}),
    (TC, TC, [(W, '{"city": 5}', 0)], {}),                                            # type
    (TC, TC, [(W, '{"city": null}', 0)], {}),
    (TC, TC, [(W, '{"city": "x", "unit": "k"}', 0)], {}),                             # enum
    (TC, TC, [(W, '{"city": "x", "other": 1}', 1)], {}),                              # more properties are allowed,
    (TC, TC, [(Q, '{"q": "xy", "other": 1}', 0)], {}),                                # but not everywhere
    (TC, TC, [(Q, '{"q": "x"}', 0)], {}),
    (TC, TC, [(Q, '{"q": "xy", "n": 9}', 1)], {}),
    (TC, TC, [(Q, '{"q": "xy", "n": 10}', 0)], {}),
    (TC, TC, [(Q, '{"q": "xy", "n": 2.0}', 1)], {}),                                  # 2.0 is an integer
    (TC, TC, [(Q, '{"q": "xy", "n": 2.5}', 0)], {}),
    (TC, TC, [(N, '{"node": {"v": 1, "kids": [{"v": 2, "kids": []}, {"v": 3}]}}', 1)], {}),
    (TC, TC, [(N, '{"node": {"v": 1, "kids": [{"v": 2, "kids": [{"v": "3"}]}]}}', 0)], {}),
    (TC, TC, [(N, '{"node": {"kids": []}}', 0)], {}),
    (TC, TC, [(W, '{"city": "A"}', 1), (W, '{"city": "B"}', 1), (Q, '{"q": "cd"}', 1)], {}),
    (TC, TC, [(W, '{"city": "A"}', 1), (Q, '{"q": "c"}', 0), (W, '{"city": "B"}', 1)], {}),
    (TC, TC, [(W, '{"city": "A"}', 1)], {'content': 'Let me look.'}),
    (TC, TC, [(W, '{"city": "A"}', 1)], {'reasoning': 'The user wants the weather.'}),
    (TC, TC, [(W, '{"city": "München 北京 🙂"}', 1)], {'content': 'Größe – 你好'}),
    (TC, TC, [(W, '{"city": "a\\u00e9\\"\\\\"}', 1)], {'recorded': [(W, '{"city":"aé\\"\\\\"}')]}),   # written again by the server: the same JSON
    (TC, TC, [(W, '{"city": "A"}', 1)], {'ids': 'call_'}),                            # an id of another kind
    (STOP, STOP, [], {'content': 'No tools.', 'tools': []}),
    (TC, STOP, [], {'content': '', 'tools': []}),                                     # says that it calls, and calls nothing: nothing does not fit
    (TC, TC, [(W, '{"city": "A"}', 1)], {'bare': True}),                              # only the completion was recorded
    (STOP, TC, [(W, '{"city": "A"}', 1)], {'recorded': [], 'content': 'lost', 'differs': True}),      # the server did not find the call
    (TC, TC, [(W, '{"city": "A"}', 1)], {'prompt': lambda p: p.removesuffix('<|im_assistant|>assistant<|im_middle|>'), 'differs': True}),
]

def dump(x):
    return json.dumps(x, ensure_ascii=False, sort_keys=True, separators=(',', ':'))

def section(calls):
    return '<|tool_calls_section_begin|>' + ''.join(f'<|tool_call_begin|>functions.{n}:{i}<|tool_call_argument_begin|>{a}<|tool_call_end|>'
        for i, (n, a) in enumerate(calls)) + '<|tool_calls_section_end|>' if calls else ''

def turn(message):
    role, head = message['role'], ''
    if role == 'tool':
        head = f"## Return of {message['tool_call_id']}\n"
    calls = [(c['function']['name'], c['function']['arguments']) for c in message.get('tool_calls', [])]
    opening = {'user': '<|im_user|>', 'assistant': '<|im_assistant|>'}.get(role, '<|im_system|>')
    return f"{opening}{role}<|im_middle|>{head}{message['content']}{section(calls)}<|im_end|>"

def prompt_of(tools, messages):
    declared = f'<|im_system|>tool_declare<|im_middle|>{dump(tools)}<|im_end|>' if tools else ''
    return declared + ''.join(map(turn, messages)) + '<|im_assistant|>assistant<|im_middle|>'

def call_list(calls, ids='functions.'):
    return [{'id': f'{ids}{n}:{i}' if ids == 'functions.' else f'{ids}{i}', 'type': 'function', 'function': {'name': n, 'arguments': a}} for i, (n, a, *_) in enumerate(calls)]

def fits(name, text, tools):
    schema = next((t['function']['parameters'] for t in tools if t['function']['name'] == name), None)
    try:
        if not schema:
            return 0
        jsonschema.validate(json.loads(text), schema)
        return 1
    except (json.JSONDecodeError, jsonschema.ValidationError):
        return 0

w = dict.fromkeys(('n', 'n_calls', 'n_schema_errors', 'n_bad_ids', 'n_stop', 'n_other', 'n_replayed', 'n_replay_errors', 'failed'), 0)
tp = fp = fn = 0
official, vendor = [], []
for i, (finish, there, calls, more) in enumerate(cases, 1):
    tools = more.get('tools', ALL)
    messages = [{'role': '_input' if i % 5 == 0 else 'system', 'content': 'Answer. <|im_end|>' if i % 6 == 0 else 'Answer.'}, {'role': 'user', 'content': f'Case {i} – ß?'}]
    if 'history' in more:
        messages += [{'role': 'assistant', 'content': 'I look.', 'tool_calls': call_list([(W, '{"city": "Bonn"}')])},
                     {'role': 'tool', 'tool_call_id': f'functions.{W}:0', 'content': 'rain'}, {'role': 'user', 'content': 'And in Oslo?'}]
    request = {'messages': messages, 'tools': tools, 'temperature': 0.6, 'max_tokens': 256}
    sent = {**request, 'messages': [{**m, 'role': 'system'} if m['role'] == '_input' else m for m in messages]}
    for name, text, verdict in calls:
        if jsonschema:
            assert fits(name, text, tools) == verdict, (name, text, verdict)
    raw = ('<think>' + more['reasoning'] + '</think>' if 'reasoning' in more else '') + more.get('content', '') + section([c[:2] for c in calls])
    raw += '<|im_end|>' if finish != LENGTH else ''
    recorded = call_list(more.get('recorded', calls), more.get('ids', 'functions.'))
    message = {'role': 'assistant', 'content': more.get('content', ''), 'tool_calls': recorded or (None if finish != TC else [])}
    choice = {'index': 0, 'message': message, 'finish_reason': finish}
    if 'bare' in more:
        choice = {'index': 0, 'text': raw, 'finish_reason': STOP}
    prompt = prompt_of(tools, sent['messages'])
    # The verifier judges what was recorded; of an answer that ends with tool_calls and has none it says null, and counts it as an error.
    valid = (all(c[2] for c in calls) if finish == TC and recorded else None)
    vendor.append({'data_index': i, 'request': sent, 'response': {'id': f'chatcmpl-{i}', 'object': 'chat.completion', 'choices': [choice], 'usage': None}, 'status': 'success',
                   'finish_reason': choice['finish_reason'], 'tool_calls_valid': valid, 'duration_ms': 7, 'hash': f'{i:032x}',
                   **({} if 'bare' in more else {'completion': raw}), 'prompt': more.get('prompt', str)(prompt)})
    official.append({'data_index': i, 'request': request, 'response': {'choices': []}, 'status': 'success', 'finish_reason': there})
    w['n'] += 1
    w['n_replayed'] += 1
    w['n_replay_errors'] += 'differs' in more
    w['n_stop'] += finish == STOP
    w['n_other'] += finish == LENGTH
    w['n_calls'] += finish == TC
    w['n_schema_errors'] += finish == TC and not valid
    w['n_bad_ids'] += sum(not c['id'].startswith('functions.') for c in recorded)
    tp += finish == TC and there == TC
    fp += finish == TC and there != TC
    fn += finish != TC and there == TC
precision, recall = tp / (tp + fp), tp / (tp + fn)
w |= {'schema_accuracy': (w['n_calls'] - w['n_schema_errors']) / w['n_calls'], 'trigger_precision': precision, 'trigger_recall': recall,
      'trigger_f1': 2 * precision * recall / (precision + recall)}
assert len(cases) == 40
for name, lines in (('official', official), ('vendor', vendor[1::2] + vendor[::2])):
    with open(f'{sys.argv[1]}/{name}.jsonl', 'w', encoding='utf-8') as f:
        f.writelines(json.dumps(x, ensure_ascii=False) + '\n' for x in lines)
json.dump(w, open(f'{sys.argv[1]}/want.json', 'w'))
print('40 cases,', 'jsonschema agrees' if jsonschema else 'without jsonschema')
