"""dialect_client.py WHERE MODEL-FOLDER [CHECK]...: the shapes of the APIs, raw, against a kserve that runs on nano; "ok NAME" or
"FAIL NAME: why" a line. Only the standard library."""
import json
import sys

from checks import run
from serve_client import LOOP, WISDOM, call, chat, connect, good, joined, stream, walk

CHECKS = []


def check(f):
    CHECKS.append(f)
    return f


def named_events(path, body):
    """The events of a stream that names them: [(name, object)]. It must not end with [DONE]."""
    c = connect()
    c.request('POST', path, json.dumps(dict(body, stream=True)), {'Content-Type': 'application/json'})
    r = c.getresponse()
    assert r.status == 200 and r.getheader('Content-Type').startswith('text/event-stream'), (r.status, r.read())
    blocks = r.read().decode().split('\n\n')
    c.close()
    assert blocks[-1] == '', blocks[-1]
    out = []
    for b in blocks[:-1]:
        name, data = b.split('\n')
        assert name.startswith('event: ') and data.startswith('data: '), b
        event = json.loads(data[6:])
        assert event['type'] == name[7:], b
        if event['type'] != 'ping':
            out.append(event)
    return out


# --- OpenAI: what comes back --------------------------------------------------------------------------------------------------


def respaced(text):
    """The same JSON, written another way."""
    return json.dumps(json.loads(text), indent=3, sort_keys=True)


@check
def replay():
    """A turn that a client sends back in other bytes is the tokens that were sampled; one that says something else is not."""
    body = walk(return_token_ids=True)
    said = good('POST', '/v1/chat/completions', body)
    prompt, made, m = said['prompt_token_ids'], said['choices'][0]['token_ids'], said['choices'][0]['message']
    one = m['tool_calls'][0]
    for args, id, content, same in ((respaced(one['function']['arguments']), one['id'], None, True), (json.loads(one['function']['arguments']), one['id'], [], True),
                                    ('{ "cursor":17}', 'call_abc', '', True), ('{"cursor": 18}', one['id'], None, False), ('{"cursor": 17', one['id'], None, False),
                                    (one['function']['arguments'], one['id'], 'Well.', False), ('{"cursor": 17, "more": 1}', one['id'], None, False)):
        back = {'role': 'assistant', 'content': content, 'tool_calls': [{'id': id, 'type': 'function', 'function': {'name': 'next_page', 'arguments': args}}]}
        history = dict(body, messages=body['messages'] + [back, {'role': 'tool', 'tool_call_id': id, 'content': LOOP['steps'][0]['result']}])
        r = good('POST', '/v1/chat/completions', history)
        begins = r['prompt_token_ids'][:len(prompt) + len(made) - 1] == prompt + made[:-1]
        assert begins == same, (args, r['prompt_token_ids'], prompt + made)
        if not same:
            assert r['prompt_token_ids'] == good('POST', '/tokenize', {k: v for k, v in history.items()})['tokens'], args
        elif id == one['id'] and content is None:
            # What ends a call leaves no choice and was not computed yet.
            assert r['usage']['cached_tokens'] >= len(prompt) + len(made) - 4, (r['usage'], len(prompt), len(made))
    # Another prompt before it: rendered as usual.
    other = dict(history, messages=[{'role': 'user', 'content': LOOP['user'] + ' '}] + history['messages'][1:])
    other['messages'][1]['tool_calls'][0]['function']['arguments'] = '{"cursor":  17}'
    other['messages'][1]['content'] = None
    r = good('POST', '/v1/chat/completions', other)
    assert r['prompt_token_ids'] == good('POST', '/tokenize', other)['tokens']


# --- Anthropic: /v1/messages -----------------------------------------------------------------------------------------------


def message(text='Define wisdom.', **more):
    return {'model': 'nano', 'max_tokens': 48, 'temperature': 0, 'messages': [{'role': 'user', 'content': text}], **more}


A_TOOLS = [{'name': t['function']['name'], 'description': t['function']['description'], 'input_schema': t['function']['parameters']} for t in LOOP['tools']]


def message_joined(events):
    """The message that the events add up to; their order is checked on the way."""
    first, *events = events
    assert first['type'] == 'message_start', first
    m, block, parts = first['message'], None, ''
    assert m['content'] == [] and m['stop_reason'] is None and m['usage']['output_tokens'] == 0, m
    assert events[-1] == {'type': 'message_stop'} and events[-2]['type'] == 'message_delta', events[-2:]
    for e in events[:-2]:
        if e['type'] == 'content_block_start':
            assert block is None and e['index'] == len(m['content']), e
            block, parts = e['content_block'], ''
        elif e['type'] == 'content_block_delta':
            d, kind = e['delta'], {'text': 'text_delta', 'thinking': 'thinking_delta', 'tool_use': 'input_json_delta'}[block['type']]
            assert e['index'] == len(m['content']) and d['type'] in (kind, 'signature_delta'), (e, block)
            if d['type'] == 'input_json_delta':
                parts += d['partial_json']
            elif d['type'] != 'signature_delta':
                block[block['type']] += d[block['type']]
        else:
            assert e == {'type': 'content_block_stop', 'index': len(m['content'])}, e
            if block['type'] == 'tool_use':
                assert block['input'] == {}
                block['input'] = json.loads(parts)
            m['content'].append(block)
            block = None
    assert block is None
    return dict(m, **events[-2]['delta'], usage=events[-2]['usage'])


def without_ids(m):
    return {k: [{x: y for x, y in b.items() if x != 'id'} for b in v] if k == 'content' else v for k, v in m.items() if k not in ('id', 'usage')}


def both_messages(body):
    """Whole and as a stream: the same."""
    whole, streamed = good('POST', '/v1/messages', body), message_joined(named_events('/v1/messages', body))
    assert without_ids(whole) == without_ids(streamed), (whole, streamed)
    assert set(whole) == {'id', 'type', 'role', 'model', 'content', 'stop_reason', 'stop_sequence', 'usage'}, whole
    return whole


@check
def messages():
    m = both_messages(message())
    assert m['content'] == [{'type': 'text', 'text': WISDOM}] and m['id'].startswith('msg_'), m
    assert (m['type'], m['role'], m['model'], m['stop_reason'], m['stop_sequence']) == ('message', 'assistant', 'nano', 'end_turn', None), m
    u = good('POST', '/v1/messages', message())['usage']
    n = good('POST', '/v1/messages/count_tokens', {'messages': message()['messages']})['input_tokens']
    for path in ('/v1/messages/count_tokens', '/apply-template', '/tokenize'):
        status, r, _ = call('POST', path, {'model': 'nope', 'messages': message()['messages']})
        assert status == 404 and 'nope' in r['error']['message'], (path, status, r)
    assert u == {'input_tokens': 1, 'cache_creation_input_tokens': 0, 'cache_read_input_tokens': n - 1, 'output_tokens': 22}, (u, n)
    m = both_messages(message(max_tokens=4))
    assert m['stop_reason'] == 'max_tokens' and m['usage']['output_tokens'] == 4, m
    m = both_messages(message(stop_sequences=['nothing', 'erudition']))
    assert (m['stop_reason'], m['stop_sequence']) == ('stop_sequence', 'erudition') and WISDOM.startswith(m['content'][0]['text']), m


@check
def messages_prompt():
    """The same prompt as the OpenAI request that says the same."""
    def count(**body):
        return good('POST', '/v1/messages/count_tokens', body)['input_tokens']

    def tokens(**body):
        return good('POST', '/tokenize', body)['count']
    say = [{'role': 'user', 'content': 'Hello.'}]
    text = [{'type': 'text', 'text': 'Be ', 'cache_control': {'type': 'ephemeral'}}, {'type': 'text', 'text': 'short.'}]
    assert count(messages=say, system=text) == count(messages=say, system='Be short.') == tokens(messages=[{'role': 'system', 'content': 'Be short.'}] + say)
    assert count(messages=[{'role': 'user', 'content': text}]) == tokens(messages=[{'role': 'user', 'content': 'Be short.'}])
    assert count(messages=say, tools=A_TOOLS) == tokens(messages=say, tools=LOOP['tools'])
    use = {'type': 'tool_use', 'id': 'toolu_xyz_4', 'name': 'next_page', 'input': {'cursor': 17}}
    result = [{'type': 'text', 'text': 'And then?'}, {'type': 'tool_result', 'tool_use_id': 'toolu_xyz_4', 'content': [{'type': 'text', 'text': 'x'}], 'is_error': True}]
    one = {'id': 'functions.next_page:4', 'type': 'function', 'function': {'name': 'next_page', 'arguments': '{"cursor":17}'}}
    assert count(messages=say + [{'role': 'assistant', 'content': [{'type': 'text', 'text': 'I look.'}, use]}, {'role': 'user', 'content': result}]) == tokens(
        messages=say + [{'role': 'assistant', 'content': 'I look.', 'tool_calls': [one]}, {'role': 'tool', 'tool_call_id': one['id'], 'content': 'Error: x'},
                        {'role': 'user', 'content': 'And then?'}])
    # The last message of the assistant is continued.
    assert count(messages=say + [{'role': 'assistant', 'content': 'Wis'}]) == tokens(messages=say + [{'role': 'assistant', 'content': 'Wis', 'partial': True}])
    m = both_messages(message(messages=message()['messages'] + [{'role': 'assistant', 'content': WISDOM[:13]}]))
    assert m['content'] == [{'type': 'text', 'text': WISDOM[13:]}], m


@check
def messages_tools():
    history = [{'role': 'user', 'content': LOOP['user']}]
    for i, step in enumerate(LOOP['steps'][:4]):
        m = both_messages(message(messages=history, tools=A_TOOLS, max_tokens=64))
        use = m['content'][-1]
        assert m['stop_reason'] == 'tool_use' and (use['type'], use['name'], use['input']) == ('tool_use', 'next_page', step['args']), m
        assert use['id'].startswith('toolu_') and use['id'].endswith(f'_{i}') and len(use['id']) <= 64 and use['id'].replace('_', '').isalnum(), use
        history += [{'role': 'assistant', 'content': m['content']}, {'role': 'user', 'content': [{'type': 'tool_result', 'tool_use_id': use['id'], 'content': step['result']}]}]
        if i:
            assert m['usage']['cache_read_input_tokens'] > seen, (m['usage'], seen)
        seen = m['usage']['cache_read_input_tokens'] + m['usage']['input_tokens']
    m = both_messages(message(messages=history[:1], tools=A_TOOLS, tool_choice={'type': 'none'}))
    assert all(b['type'] == 'text' for b in m['content']), m
    both_messages(message(messages=history[:1], tools=A_TOOLS, tool_choice={'type': 'auto', 'disable_parallel_tool_use': True}, max_tokens=64))


@check
def messages_cut_arguments():
    """Arguments that max_tokens cuts off are the same whole and streamed, an object either way, and come back as history."""
    cut = set()
    for n in range(1, 40):
        m = both_messages(message(LOOP['user'], tools=A_TOOLS, max_tokens=n))
        uses = [b for b in m['content'] if b['type'] == 'tool_use']
        for b in uses:
            assert isinstance(b['input'], dict), m
            if '_raw' in b['input']:
                cut.add(b['input']['_raw'])
        if uses and '_raw' in uses[0]['input']:
            good('POST', '/v1/messages', message(messages=[{'role': 'user', 'content': LOOP['user']}, {'role': 'assistant', 'content': m['content']},
                 {'role': 'user', 'content': [{'type': 'tool_result', 'tool_use_id': uses[0]['id'], 'content': 'x'}]}], tools=A_TOOLS, max_tokens=1))
        if m['stop_reason'] == 'tool_use':
            break
    else:
        raise AssertionError('no call came to its end')
    assert any(raw.startswith('{') for raw in cut), cut


@check
def messages_errors():
    say = [{'role': 'user', 'content': 'x'}]
    wrong = []
    for body, want, kind in ((b'{', 400, None), ({'max_tokens': None}, 400, None), ({'max_tokens': 0}, 400, None), ({'messages': None}, 400, None),
                             ({'messages': []}, 400, None), ({'messages': [5]}, 400, None), ({'messages': [{'role': 'system', 'content': 'x'}]}, 400, None),
                             ({'messages': [{'role': 'user', 'content': []}]}, 400, None), ({'messages': [{'role': 'user', 'content': 5}]}, 400, None),
                             ({'messages': [{'role': 'user', 'content': [{'type': 'image', 'source': {}}]}]}, 400, None),
                             ({'messages': [{'role': 'user', 'content': [{'type': 'tool_result', 'tool_use_id': 'toolu_no', 'content': 'x'}]}]}, 400, None),
                             ({'messages': say + [{'role': 'assistant', 'content': [{'type': 'tool_use', 'id': 'a', 'name': 'b', 'input': 'c'}]}]}, 400, None),
                             ({'system': 5}, 400, None), ({'temperature': 1.5}, 400, None), ({'stop_sequences': 'x'}, 400, None), ({'tools': [{'type': 'bash_20250124', 'name': 'bash'}]}, 400, None),
                             ({'tools': [{'name': '1x', 'input_schema': {}}]}, 400, None), ({'tool_choice': {'type': 'maybe'}}, 400, None), ({'thinking': {'type': 'x'}}, 400, None),
                             ({'output_config': {'format': {'type': 'x'}}}, 400, None), ({'model': 'nope'}, 404, 'not_found_error')):
        for streamed in (False, True):
            full = dict(message(messages=say), stream=streamed, **body) if isinstance(body, dict) and not set(body) & {'max_tokens', 'messages', 'temperature', 'model'} else \
                {**message(messages=say), **body, 'stream': streamed} if isinstance(body, dict) else body
            status, r, _ = call('POST', '/v1/messages', full)
            if status != want or r.get('type') != 'error' or r['error']['type'] != (kind or 'invalid_request_error') or not r['error']['message'] or not r['request_id']:
                wrong.append((body, status, r))
    assert not wrong, wrong
    # With a thread only what is new is sent: the details are what the official client goes on from, with all of it.
    status, r, _ = call('POST', '/v1/messages', message(thread={'type': 'create'}))
    assert status == 400 and r['error']['details'] == {'error_code': 'thread_unsupported_request', 'unsupported': ['thread']}, r
    for body in (message(), message(messages=[])):
        status, r, raw = call('POST', '/v1/messages', body)
        assert raw.getheader('request-id') == raw.getheader('X-Request-Id') == r.get('request_id', raw.getheader('request-id')) is not None, (r, raw.headers)
    status, r, raw = call('GET', '/v1/messages')
    assert status == 405 and r['type'] == 'error' and raw.getheader('Allow') == 'POST', (status, r)
    assert call('POST', '/v1/messages', b'{}', {'Content-Type': 'text/plain'})[1]['type'] == 'error'

@check
def messages_error_names():
    """What is wrong is called what the request calls it."""
    say, bad = [{'role': 'user', 'content': 'x'}], {'type': 'no such type'}
    for body, name in (({'stop_sequences': ['a%d' % i for i in range(65)]}, 'stop_sequences '), ({'tools': [{'name': 'f', 'input_schema': bad}]}, 'tools[0].input_schema.type: '),
                       ({'tools': [{'name': '1x', 'input_schema': {}}]}, 'tools[0].name '),
                       ({'output_config': {'format': {'type': 'json_schema', 'schema': bad}}}, 'output_config.format.schema.type: '), ({'output_config': {'effort': 'x'}}, 'output_config.effort ')):
        status, r, _ = call('POST', '/v1/messages', {**message(messages=say), **body})
        assert status == 400 and r['error']['message'].startswith(name), (body, r)
    # Messages that the request does not have are not spoken of: a user's results are one message here and several for the model.
    use = lambda *ids: {'role': 'assistant', 'content': [{'type': 'tool_use', 'id': i, 'name': 'f', 'input': {}} for i in ids]}
    result = lambda *ids: [{'type': 'tool_result', 'tool_use_id': i, 'content': 'x'} for i in ids]
    asks = lambda *blocks: {'role': 'user', 'content': [b for some in blocks for b in some]}
    before = say + [use('t', 'u'), asks(result('t', 'u'), [{'type': 'text', 'text': 'go'}]), {'role': 'assistant', 'content': 'k'}]
    for more in ({}, {'system': 'Be brief.'}):
        for last, name in ((asks(result('nope')), 'messages[4].content[0].tool_use_id '), (asks([{'type': 'text', 'text': 'a'}], result('nope')), 'messages[4].content[1].tool_use_id '),
                           (asks([{'type': 'text'}]), 'messages[4].content[0].text '), (asks(['x']), 'messages[4].content[0] '), (asks([{'text': 'x'}]), 'messages[4].content[0].type '),
                           (asks([{**result('t')[0], 'is_error': 'x'}]), 'messages[4].content[0].is_error '), (asks([{**result('t')[0], 'content': [{'type': 'text', 'text': 5}]}]), 'messages[4].content[0].content[0].text ')):
            status, r, _ = call('POST', '/v1/messages', message(messages=before + [last], tools=A_TOOLS, **more))
            assert status == 400 and r['error']['message'].startswith(name), (last, r)


# --- responses ----------------------------------------------------------------------------------------------------------------


def response(said='Define wisdom.', **more):
    return {'model': 'nano', 'max_output_tokens': 48, 'temperature': 0, 'input': said, **more}


R_TOOLS = [{'type': 'function', **t['function']} for t in LOOP['tools']]


def response_joined(events):
    """The response that the last event holds; deltas must add up to it, and numbers and ids be in order."""
    assert [e['sequence_number'] for e in events] == list(range(len(events))), events
    assert [e['type'] for e in events[:2]] == ['response.created', 'response.in_progress'] and events[0]['response']['output'] == [], events[:2]
    items, texts = [], {}
    for e in events[2:-1]:
        kind = e['type']
        if kind == 'response.output_item.added':
            assert e['output_index'] == len(items), e
            items.append(e['item'])
            texts[e['item']['id']] = ''
        elif kind.endswith('.delta'):
            assert e['item_id'] == items[-1]['id'] and e['output_index'] == len(items) - 1, e
            texts[e['item_id']] += e['delta']
        elif kind in ('response.output_text.done', 'response.reasoning_text.done', 'response.function_call_arguments.done'):
            assert texts[e['item_id']] == e['arguments' if 'arguments' in kind else 'text'], e
        elif kind == 'response.output_item.done':
            assert e['item']['id'] == items[-1]['id'], e
            items[-1] = e['item']
    last = events[-1]
    assert last['type'] in ('response.completed', 'response.incomplete') and last['response']['output'] == items, last
    return last['response']


def without_keys(r):
    return {k: [{x: y for x, y in i.items() if x != 'id'} for i in v] if k == 'output' else v for k, v in r.items() if k not in ('id', 'created_at', 'usage')}


def both_responses(body):
    whole, streamed = good('POST', '/v1/responses', body), response_joined(named_events('/v1/responses', body))
    assert without_keys(whole) == without_keys(streamed), (whole, streamed)
    return whole


@check
def responses():
    r = both_responses(response())
    item, = r['output']
    assert r['object'] == 'response' and r['id'].startswith('resp_') and r['status'] == 'completed' and r['error'] is None and r['store'] is False, r
    assert item['id'].startswith('msg_') and (item['type'], item['role'], item['status']) == ('message', 'assistant', 'completed'), item
    assert item['content'] == [{'type': 'output_text', 'text': WISDOM, 'annotations': [], 'logprobs': []}], item
    assert r['usage']['output_tokens'] == 22 and r['usage']['total_tokens'] == r['usage']['input_tokens'] + 22, r['usage']
    r = both_responses(response(max_output_tokens=4))
    assert r['status'] == 'incomplete' and r['incomplete_details'] == {'reason': 'max_output_tokens'} and r['output'][0]['status'] == 'incomplete', r
    long = [{'role': 'developer', 'content': 'Be short.'}, {'type': 'message', 'role': 'user', 'content': [{'type': 'input_text', 'text': 'Define '}, {'type': 'input_text', 'text': 'wisdom.'}]}]
    chat_ = {'messages': [{'role': 'system', 'content': 'You are nano.'}, {'role': 'system', 'content': 'Be short.'}, {'role': 'user', 'content': 'Define wisdom.'}]}
    assert good('POST', '/v1/responses', response(long, instructions='You are nano.'))['usage']['input_tokens'] == good('POST', '/tokenize', chat_)['count']


@check
def responses_logprobs():
    """The very entries of a chat, with the deltas, at the end of a stream and in the whole response."""
    want = good('POST', '/v1/chat/completions', {'messages': [{'role': 'user', 'content': 'Define wisdom.'}], 'temperature': 0, 'max_tokens': 48,
                                                 'logprobs': True, 'top_logprobs': 2})['choices'][0]['logprobs']['content']
    ask = response(include=['message.output_text.logprobs'], top_logprobs=2)
    r = both_responses(ask)
    assert r['output'][0]['content'][0]['logprobs'] == want and r['top_logprobs'] == 2 and ''.join(e['token'] for e in want) == WISDOM, r
    got = named_events('/v1/responses', ask)
    assert sum((e['logprobs'] for e in got if e['type'] == 'response.output_text.delta'), []) == want
    assert all(e['logprobs'] for e in got if e['type'] == 'response.output_text.delta')
    assert [e['logprobs'] for e in got if e['type'] == 'response.output_text.done'] == [want]
    assert [e['part']['logprobs'] for e in got if e['type'].startswith('response.content_part.')] == [[], want]
    none = both_responses(response(include=['message.output_text.logprobs']))['output'][0]['content'][0]['logprobs']
    assert [dict(e, top_logprobs=[]) for e in want] == none
    # Text around a call: each message has its own.
    tools = both_responses(response([{'role': 'user', 'content': LOOP['user']}], tools=R_TOOLS, max_output_tokens=64, include=['message.output_text.logprobs']))
    for item in tools['output']:
        for part in item.get('content', []) if item['type'] == 'message' else []:
            assert ''.join(e['token'] for e in part['logprobs']) == part['text'], part
    for wrong in ({'top_logprobs': 2}, {'include': 'message.output_text.logprobs'}, {'include': ask['include'], 'top_logprobs': 21},
                  {'include': ask['include'], 'top_logprobs': 'x'}):
        status, e, _ = call('POST', '/v1/responses', response(**wrong))
        assert status == 400 and e['error']['param'] in ('top_logprobs', 'include'), (wrong, status, e)


@check
def responses_tools():
    """Ids of calls are the model's own, so that the next prompt has them; what was said is one message of the history."""
    history, seen = [{'role': 'user', 'content': LOOP['user']}], 0
    for i, step in enumerate(LOOP['steps'][:4]):
        r = both_responses(response(history, tools=R_TOOLS, max_output_tokens=64))
        item = r['output'][-1]
        assert (item['type'], item['name'], item['call_id']) == ('function_call', 'next_page', f'functions.next_page:{i}') and item['id'].startswith('fc_'), r
        assert json.loads(item['arguments']) == step['args'], item
        assert i == 0 or r['usage']['input_tokens_details']['cached_tokens'] >= seen, (r['usage'], seen)
        seen = r['usage']['input_tokens'] - 1
        history += r['output'] + [{'type': 'function_call_output', 'call_id': item['call_id'], 'output': step['result']}]
    r = good('POST', '/v1/responses', response(history[:1], tools=R_TOOLS, tool_choice={'type': 'function', 'name': 'next_page'}))
    assert [i['type'] for i in r['output']] == ['function_call'], r
    schema = {'type': 'object', 'properties': {'a': {'type': 'integer', 'minimum': 1, 'maximum': 9}}, 'required': ['a'], 'additionalProperties': False}
    r = good('POST', '/v1/responses', response(text={'format': {'type': 'json_schema', 'name': 'f', 'schema': schema, 'strict': True}}))
    assert 1 <= json.loads(r['output'][0]['content'][0]['text'])['a'] <= 9, r


@check
def responses_errors():
    wrong = []
    for body, code in (({'input': None}, None), ({'input': []}, None), ({'input': 5}, None), ({'input': [5]}, None), ({'input': [{'role': 'x', 'content': 'y'}]}, None),
                       ({'input': [{'type': 'item_reference', 'id': 'x'}]}, 'unsupported_content'), ({'input': [{'type': 'function_call_output', 'call_id': 'no', 'output': 'x'}]}, None),
                       ({'input': [{'role': 'user', 'content': [{'type': 'input_image', 'image_url': 'x'}]}]}, 'unsupported_content'),
                       ({'reasoning': 5}, None), ({'previous_response_id': 'resp_1'}, 'unsupported_parameter'), ({'conversation': 'c'}, 'unsupported_parameter'), ({'background': True}, 'unsupported_parameter'),
                       ({'tools': [{'type': 'web_search'}]}, 'unsupported_parameter'), ({'truncation': 'auto'}, 'unsupported_parameter'), ({'max_output_tokens': 0}, None),
                       ({'temperature': 9}, None), ({'text': 5}, None), ({'tool_choice': 5}, None)):
        for streamed in (False, True):
            status, r, _ = call('POST', '/v1/responses', {**response(), **body, 'stream': streamed})
            e = r.get('error', {})
            if status != 400 or not e.get('message') or (code and e['code'] != code):
                wrong.append((body, status, r))
    assert not wrong, wrong
    good('POST', '/v1/responses', response(store=True, include=['reasoning.encrypted_content'], metadata={'a': 'b'}, user='u', max_output_tokens=2))


@check
def responses_error_names():
    schema = {'type': 'json_schema', 'name': 'x', 'schema': {'type': 'no such type'}}
    for body, name in (({'max_output_tokens': 0}, 'max_output_tokens'), ({'text': {'format': schema}}, 'text.format.schema'), ({'text': {'format': {'type': 'x'}}}, 'text.format.type'),
                       ({'text': {'format': {'type': 'json_schema', 'schema': {}}}}, 'text.format.name'), ({'reasoning': {'effort': 'x'}}, 'reasoning.effort'),
                       ({'tools': [{'type': 'function', 'name': '1x'}]}, 'tools[0].name'),
                       ({'tools': [{'type': 'function', 'name': 'f', 'parameters': {'type': 'x'}}]}, 'tools[0].parameters'), ({'input': 'x ' * 40000}, 'input')):
        status, r, _ = call('POST', '/v1/responses', {**response(), **body})
        assert status == 400 and r['error']['param'] == name, (body, r)
        assert name == 'input' or r['error']['message'].startswith(name), r


def main():
    only = sys.argv[3:]
    run([f for f in CHECKS if not only or f.__name__ in only])


if __name__ == '__main__':
    main()
