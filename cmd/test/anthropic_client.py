"""anthropic_client.py PORT MODEL-FOLDER: the official Python client of Anthropic against a kserve that runs on nano; "ok NAME" or
"FAIL NAME: why" a line."""
import json
import sys
from typing import Literal

import anthropic

from checks import run

LOOP = json.load(open(sys.argv[2] + '/eval/toolloop.json'))
WISDOM = 'Wisdom means: accumulated knowledge or erudition or enlightenment.'
client = anthropic.Anthropic(base_url=f'http://127.0.0.1:{sys.argv[1]}', api_key='x', max_retries=0, timeout=120)
COLD = {'temperature': 0}         # recent clients have no argument for it
ASK = dict(model='nano', max_tokens=48, extra_body=COLD, messages=[{'role': 'user', 'content': 'Define wisdom.'}])
TOOLS = [{'name': t['function']['name'], 'description': t['function']['description'], 'input_schema': t['function']['parameters']} for t in LOOP['tools']]


def message():
    m = client.messages.create(**ASK)
    assert m.content[0].text == WISDOM and m.stop_reason == 'end_turn' and m.role == 'assistant' and m.usage.output_tokens == 22, m
    assert client.messages.count_tokens(model='nano', messages=ASK['messages']).input_tokens == m.usage.input_tokens + m.usage.cache_read_input_tokens


def stream():
    with client.messages.stream(**ASK) as s:
        text = ''.join(s.text_stream)
        m = s.get_final_message()
    assert text == WISDOM == m.content[0].text and m.stop_reason == 'end_turn', m


def stops():
    m = client.messages.create(**dict(ASK, stop_sequences=['erudition']))
    assert m.stop_reason == 'stop_sequence' and m.stop_sequence == 'erudition' and WISDOM.startswith(m.content[0].text), m
    assert client.messages.create(**dict(ASK, max_tokens=3)).stop_reason == 'max_tokens'


def tools():
    messages = [{'role': 'user', 'content': LOOP['user']}]
    for i, step in enumerate(LOOP['steps'][:5]):
        if i % 2:
            with client.messages.stream(model='nano', max_tokens=64, extra_body=COLD, messages=messages, tools=TOOLS) as s:
                m = s.get_final_message()
        else:
            m = client.messages.create(model='nano', max_tokens=64, extra_body=COLD, messages=messages, tools=TOOLS)
        use = m.content[-1]
        assert m.stop_reason == 'tool_use' and use.type == 'tool_use' and use.name == 'next_page' and use.input == step['args'], m
        messages += [{'role': 'assistant', 'content': m.content}, {'role': 'user', 'content': [{'type': 'tool_result', 'tool_use_id': use.id, 'content': step['result']}]}]


def forced_tools():
    form = {'name': 'get_weather', 'input_schema': {'type': 'object', 'properties': {'days': {'type': 'integer', 'minimum': 1, 'maximum': 7}}, 'required': ['days'], 'additionalProperties': False}}
    for choice in ({'type': 'any'}, {'type': 'tool', 'name': 'get_weather'}):
        m = client.messages.create(model='nano', max_tokens=200, extra_body={'temperature': 1}, messages=ASK['messages'], tools=[form], tool_choice={**choice, 'disable_parallel_tool_use': True})
        assert m.stop_reason == 'tool_use' and [b.type for b in m.content] == ['tool_use'] and 1 <= m.content[0].input['days'] <= 7, m


def errors():
    for kind, change in ((anthropic.NotFoundError, {'model': 'nope'}), (anthropic.BadRequestError, {'messages': []}), (anthropic.BadRequestError, {'extra_body': {'temperature': 1.5}})):
        try:
            client.messages.create(**dict(ASK, **change))
            raise AssertionError(f'{change} is taken')
        except kind as e:
            assert e.body['type'] == 'error' and e.body['error']['message'], e


def runner():
    """The client's own loop: each turn must have all that went before it. Old clients have none."""
    if not hasattr(anthropic, 'beta_tool'):
        return
    asked = []

    @anthropic.beta_tool
    def pick(color: Literal['red', 'blue']) -> str:
        """Picks a colour."""
        asked.append(color)
        return 'picked'
    said = list(client.beta.messages.tool_runner(model='nano', max_tokens=100, messages=ASK['messages'], tools=[pick], max_iterations=3, tool_choice={'type': 'any'}))
    sizes = [m.usage.input_tokens + m.usage.cache_read_input_tokens for m in said]
    assert len(said) == 3 and len(asked) >= 2 and set(asked) <= {'red', 'blue'} and sizes[0] < sizes[1] < sizes[2], (said, asked, sizes)


run([message, stream, stops, tools, forced_tools, runner, errors])
