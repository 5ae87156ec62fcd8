"""openai_client.py PORT MODEL-FOLDER: the official client against a kserve that runs on nano; "ok NAME" or "FAIL NAME: why" a line."""
import asyncio
import json
import sys

import openai

from checks import run

URL = f'http://127.0.0.1:{sys.argv[1]}/v1'
LOOP = json.load(open(sys.argv[2] + '/eval/toolloop.json'))
WISDOM = 'Wisdom means: accumulated knowledge or erudition or enlightenment.'
ASK = dict(model='nano', messages=[{'role': 'user', 'content': 'Define wisdom.'}], max_tokens=48, temperature=0)
WALK = dict(model='nano', messages=[{'role': 'user', 'content': LOOP['user']}], tools=LOOP['tools'], max_tokens=64, temperature=0)
client = openai.OpenAI(base_url=URL, api_key='x', max_retries=0, timeout=120)


def models():
    assert [m.id for m in client.models.list()] == ['nano']
    assert client.models.retrieve('nano').object == 'model'


def chat():
    r = client.chat.completions.create(**ASK, logprobs=True, top_logprobs=3)
    c = r.choices[0]
    assert c.message.content == WISDOM and c.finish_reason == 'stop' and c.message.tool_calls is None, c
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens and r.usage.completion_tokens == 22, r.usage
    assert ''.join(t.token for t in c.logprobs.content) == WISDOM and all(len(t.top_logprobs) == 3 for t in c.logprobs.content)


def chat_stream():
    events = list(client.chat.completions.create(**ASK, stream=True, stream_options={'include_usage': True}))
    assert ''.join(e.choices[0].delta.content or '' for e in events if e.choices) == WISDOM
    assert events[-1].usage.completion_tokens == 22 and len({e.id for e in events}) == 1
    # The helper that adds the deltas up, with the client's own checks.
    with client.chat.completions.stream(**ASK) as s:
        done = s.get_final_completion()
    assert done.choices[0].message.content == WISDOM and done.choices[0].finish_reason == 'stop', done


def tools():
    messages = list(WALK['messages'])
    for i, step in enumerate(LOOP['steps'][:4]):
        if i % 2:
            with client.chat.completions.stream(**dict(WALK, messages=messages)) as s:
                c = s.get_final_completion().choices[0]
        else:
            c = client.chat.completions.create(**dict(WALK, messages=messages)).choices[0]
        call = c.message.tool_calls[0]
        assert c.finish_reason == 'tool_calls' and len(c.message.tool_calls) == 1 and call.function.name == 'next_page', c
        assert json.loads(call.function.arguments) == step['args'] and call.id == f'functions.next_page:{i}', call
        messages += [c.message.model_dump(exclude_none=True, exclude={'parsed'}), {'role': 'tool', 'tool_call_id': call.id, 'content': step['result']}]


def completions():
    r = client.completions.create(model='nano', prompt=['The', 'A'], max_tokens=4, n=2, temperature=1, seed=1)
    assert [c.index for c in r.choices] == [0, 1, 2, 3], r
    r = client.completions.create(model='nano', prompt='In the beginning', max_tokens=4, temperature=0, logprobs=2, echo=True)
    p = r.choices[0].logprobs
    assert ''.join(p.tokens) == r.choices[0].text and p.token_logprobs[0] is None and len(p.top_logprobs[1]) >= 2, p
    text = ''.join(e.choices[0].text for e in client.completions.create(model='nano', prompt='In the beginning', max_tokens=4, temperature=0, stream=True))
    assert r.choices[0].text == 'In the beginning' + text, (r, text)


def errors():
    for kind, change in ((openai.NotFoundError, {'model': 'nope'}), (openai.BadRequestError, {'messages': []}), (openai.BadRequestError, {'temperature': 9}),
                         (openai.BadRequestError, {'extra_body': {'grammar': 'x'}})):
        for stream in (False, True):
            try:
                client.chat.completions.create(**dict(ASK, **change), stream=stream)
                raise AssertionError(f'{change} is taken')
            except kind as e:
                assert e.type == 'invalid_request_error' and e.body['message'], e


def at_once():
    async def all_of_them():
        c = openai.AsyncOpenAI(base_url=URL, api_key='x', max_retries=0, timeout=120)
        return await asyncio.gather(*[c.chat.completions.create(**ASK) for _ in range(12)])
    assert {r.choices[0].message.content for r in asyncio.run(all_of_them())} == {WISDOM}


FORM = {'type': 'object', 'properties': {'city': {'type': 'string', 'maxLength': 9}, 'days': {'type': 'integer', 'minimum': 1, 'maximum': 7}}, 'required': ['city', 'days'],
        'additionalProperties': False}
FORMAT = {'type': 'json_schema', 'json_schema': {'name': 'form', 'strict': True, 'schema': FORM}}
WEATHER = [{'type': 'function', 'function': {'name': 'get_weather', 'parameters': FORM, 'strict': True}}]


def json_schema():
    for seed in range(3):
        c = client.chat.completions.create(model='nano', messages=ASK['messages'], temperature=1.5, seed=seed, max_tokens=200, response_format=FORMAT).choices[0]
        assert c.finish_reason == 'stop' and 1 <= json.loads(c.message.content)['days'] <= 7, c


def choices():
    """n, seed, stop."""
    ask = dict(ASK, temperature=1, seed=5, n=3, max_tokens=12)
    a, b = ([c.message.content for c in client.chat.completions.create(**ask).choices] for _ in range(2))
    assert a == b and len(set(a)) > 1, (a, b)
    # The helper makes its list of choices from the first chunk: choice 0 comes first.
    ask['max_tokens'] = 300
    with client.chat.completions.stream(**ask) as s:
        done = s.get_final_completion()
    assert [c.message.content for c in done.choices] == [c.message.content for c in client.chat.completions.create(**ask).choices]
    # White space alone, which is not content yet: 198 is a line break.
    for n in 1, 2:
        c = client.chat.completions.create(**dict(ASK, stop=['\n' * n], logit_bias={'198': 100}, max_tokens=9))
        assert (c.choices[0].finish_reason, c.choices[0].message.content, c.usage.completion_tokens) == ('stop', '', n), c
    c = client.chat.completions.create(**dict(ASK, stop=['erudition'])).choices[0]
    assert c.finish_reason == 'stop' and WISDOM.startswith(c.message.content) and 'erudition' not in c.message.content, c


def token_ids():
    """Those of the prompt are the same whole and streamed, and for each of several prompts."""
    extra = {'return_token_ids': True}
    whole = client.chat.completions.create(**ASK, extra_body=extra)
    chunks = list(client.chat.completions.create(**ASK, stream=True, extra_body=extra))
    assert len(whole.prompt_token_ids) == whole.usage.prompt_tokens, whole
    assert [e.prompt_token_ids for e in chunks if hasattr(e, 'prompt_token_ids')] == [whole.prompt_token_ids], chunks
    assert [e.choices[0].token_ids for e in chunks if hasattr(e.choices[0], 'token_ids')] == [whole.choices[0].token_ids], chunks
    text = dict(model='nano', prompt=[[5, 6, 7], [9, 8]], max_tokens=1, n=2, extra_body=extra)
    want = [[5, 6, 7], [5, 6, 7], [9, 8], [9, 8]]
    assert [c.prompt_token_ids for c in client.completions.create(**text).choices] == want
    said = [c for e in client.completions.create(**text, stream=True) for c in e.choices if hasattr(c, 'prompt_token_ids')]
    assert [c.prompt_token_ids for c in sorted(said, key=lambda c: c.index)] == want, said


def forced_tools():
    """Several calls in one answer, whole and streamed."""
    ask = dict(model='nano', messages=ASK['messages'], tools=WEATHER, tool_choice='required', temperature=1.5, seed=2, max_tokens=120)
    c = client.chat.completions.create(**ask).choices[0]
    calls = c.message.tool_calls
    assert [x.id for x in calls] == [f'functions.get_weather:{i}' for i in range(len(calls))], c
    parts = {}
    for e in client.chat.completions.create(**ask, stream=True):
        for d in e.choices[0].delta.tool_calls or [] if e.choices else []:
            p = parts.setdefault(d.index, ['', '', ''])
            p[0] += d.id or ''
            p[1] += d.function.name or ''
            p[2] += d.function.arguments or ''
    assert [tuple(p) for p in parts.values()] == [(x.id, x.function.name, x.function.arguments) for x in calls], (parts, calls)


def fields():
    """Everything that the client's types want is there, and of the kind they want."""
    def fits(m):
        type(m).model_validate(m.model_dump(warnings=False))
    ask = dict(ASK, logprobs=True, top_logprobs=1, max_tokens=4)
    fits(client.chat.completions.create(**ask))
    for e in client.chat.completions.create(**ask, stream=True, stream_options={'include_usage': True}):
        fits(e)
    fits(client.completions.create(model='nano', prompt='The', max_tokens=2, logprobs=1))
    for say in ({}, {'tools': [dict(WEATHER[0]['function'], type='function')], 'tool_choice': 'required', 'temperature': 1, 'max_output_tokens': 200}):
        ask = dict(model='nano', input='Define wisdom.', temperature=0, max_output_tokens=8) | say
        fits(client.responses.create(**ask))
        for e in client.responses.create(**ask, stream=True):
            fits(e)


def responses():
    r = client.responses.create(model='nano', input='Define wisdom.', temperature=0, max_output_tokens=48)
    assert r.output_text == WISDOM and r.status == 'completed', r
    text, last = '', None
    for e in client.responses.create(model='nano', input='Define wisdom.', temperature=0, max_output_tokens=48, stream=True):
        text += e.delta if e.type == 'response.output_text.delta' else ''
        last = e
    assert text == WISDOM and last.type == 'response.completed' and last.response.output_text == WISDOM, last
    r = client.responses.create(model='nano', input='Define wisdom.', temperature=0, max_output_tokens=48, include=['message.output_text.logprobs'], top_logprobs=3)
    p = r.output[0].content[0].logprobs
    assert ''.join(x.token for x in p) == WISDOM and all(len(x.top_logprobs) == 3 and x.logprob == x.top_logprobs[0].logprob for x in p), p


run([models, chat, chat_stream, tools, completions, errors, at_once, json_schema, choices, token_ids, forced_tools, fields, responses])
