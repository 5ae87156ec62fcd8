"""xtml_client.py WHERE MODEL-FOLDER: the chat of Kimi-K3 over HTTP, of a kserve that runs on a nano with K3's markers (xtml.sh); "ok NAME" or "FAIL NAME: why"
a line. Only the standard library.

Prompts are wanted as the specification has them; the model's noise is compared with /v1/completions on the same ids, which knows nothing of elements."""
from checks import run
from serve_client import call, good, joined, stream

END, OPEN, CLOSE, SEP, BUDGET = 3842, 3843, 3844, 3845, 6
CHECKS = []
TALK = [{'role': 'user', 'content': 'Define wisdom.'}]
ASKED = '<|open|>message role="user"<|sep|>Define wisdom.<|close|>message<|sep|><|end_of_msg|>'
THINK = '<|open|>message role="assistant"<|sep|><|open|>think<|sep|>'
RESPONSE = '<|open|>message role="assistant"<|sep|><|open|>response<|sep|>'
EFFORT = ('<|open|>message role="system" type="thinking-effort"<|sep|>`thinking_effort` guides on how much to think in your thinking channel (not including the response '
          'channel), supported values include `low`, `medium`, `high`, and `max`.\nNow the system is invoked with `thinking_effort=%s`.<|close|>message<|sep|><|end_of_msg|>')
TOOL = {'type': 'function', 'function': {'name': 'clock', 'parameters': {'type': 'object', 'properties': {}}}}


def check(f):
    CHECKS.append(f)
    return f


def template(**more):
    return good('POST', '/apply-template', {'messages': TALK, **more})['prompt']


def body(**more):
    """Noise of six tokens, the end of the thought, noise, and the end of the message as the 30th token."""
    return {'messages': TALK, 'temperature': 0, 'max_tokens': 60, 'min_tokens': 29, 'thinking_budget_tokens': BUDGET, 'return_token_ids': True,
            'logit_bias': {str(END): 100, str(OPEN): -100, str(CLOSE): -100, str(SEP): -100}, **more}


def said(**more):
    r = good('POST', '/v1/chat/completions', body(**more))
    return r, r['choices'][0]['message'], r['prompt_token_ids'], r['choices'][0]['token_ids']


def refused(**more):
    status, r, _ = call('POST', '/v1/chat/completions', {'messages': TALK, 'max_tokens': 1, **more})
    assert status == 400, (status, r)
    return r['error']


@check
def effort():
    assert template() == EFFORT % 'max' + ASKED + THINK
    assert template(reasoning_effort='low') == EFFORT % 'low' + ASKED + THINK and template(thinking={'effort': 'high'}) == EFFORT % 'high' + ASKED + THINK
    assert template(chat_template_kwargs={'thinking_effort': 'low'}) == EFFORT % 'low' + ASKED + THINK
    assert template(reasoning_effort='medium') == ASKED + THINK
    assert template(reasoning_effort='none') == template(thinking={'type': 'disabled'}) == ASKED + RESPONSE
    assert refused(reasoning_effort='much')['param'] == 'reasoning_effort'


@check
def thoughts():
    """They have their budget, and then end as the model would end them."""
    r, m, prompt, made = said()
    # The word "think", as it stands between the markers of the prompt's end.
    word = prompt[-prompt[::-1].index(OPEN):-1]
    assert made[BUDGET] == CLOSE and made[BUDGET + 1:BUDGET + 2 + len(word)] == word + [SEP], (word, made)
    after = made[BUDGET + 2 + len(word):]
    assert after[0] == OPEN and after[after.index(SEP) + 1:] and made[-1] == END and len(made) == 30, made
    tail = after[after.index(SEP) + 1:-1]
    plain = {'temperature': 0, 'logit_bias': body()['logit_bias']}
    raw = lambda ids, n: good('POST', '/v1/completions', {'prompt': ids, 'max_tokens': n, 'min_tokens': n, **plain})['choices'][0]['text']
    assert m['reasoning_content'] == raw(prompt, BUDGET) and m['content'] == raw(prompt + made[:-1 - len(tail)], len(tail)), m
    assert r['choices'][0]['finish_reason'] == 'stop' and r['usage']['completion_tokens'] == 30 and '<|' not in m['content'] + m['reasoning_content'], r
    events = stream('/v1/chat/completions', body())
    content, reasoning, calls, finish = joined([e for e in events if e['choices']])
    assert (content, reasoning, finish) == (m['content'], m['reasoning_content'], 'stop') and not calls, (content, reasoning, calls, finish)
    _, m, prompt, made = said(thinking={'type': 'disabled'})
    assert not m.get('reasoning_content') and OPEN not in made and m['content'], m


@check
def history():
    """An answer comes back as the tokens that were sampled, though they lack the end of an element, and with its thought."""
    r, m, prompt, made = said()
    back = {'role': 'assistant', 'content': m['content'], 'reasoning_content': m['reasoning_content']}
    again = said(messages=TALK + [back, {'role': 'user', 'content': 'Why?'}])
    assert again[2][:len(prompt) + len(made)] == prompt + made, (prompt + made, again[2])
    assert again[0]['usage']['prompt_tokens_details']['cached_tokens'] >= len(prompt) + len(made) - 1, again[0]['usage']
    # Without it, or with thinking off, it is another prompt.
    other = said(messages=TALK + [dict(back, reasoning_content='x'), {'role': 'user', 'content': 'Why?'}])[2]
    assert other[:len(prompt)] == prompt and other[:len(prompt) + len(made)] != prompt + made
    third = said(messages=TALK + [back, {'role': 'user', 'content': 'Why?'}, {'role': 'assistant', 'content': again[1]['content'], 'reasoning_content': again[1]['reasoning_content']},
                                  {'role': 'user', 'content': 'And?'}])
    assert third[2][:len(again[2]) + len(again[3])] == again[2] + again[3]


@check
def tools():
    """Results in the order of their calls, whatever the client calls these; arguments as they came."""
    call_of = lambda id, args: {'id': id, 'type': 'function', 'function': {'name': 'clock', 'arguments': args}}
    talk = TALK + [{'role': 'assistant', 'content': None, 'tool_calls': [call_of('a', '{"n": 1e2}'), call_of('b', '{}')]},
                   {'role': 'tool', 'tool_call_id': 'b', 'content': 'two'}, {'role': 'tool', 'tool_call_id': 'a', 'content': 'one'}]
    text = template(messages=talk, tools=[TOOL], thinking={'type': 'disabled'})
    assert text.startswith('<|open|>message role="system" type="tool-declare"<|sep|># Tools\n'), text
    assert '<|open|>argument key="n" type="number"<|sep|>1e2<|close|>argument<|sep|>' in text, text
    assert text.index('index="1"<|sep|>one<') < text.index('index="2"<|sep|>two<'), text
    # The same behind what is known of the prompt without the last result.
    for n in (3, 4, 4):
        ids = good('POST', '/v1/chat/completions', {'messages': talk[:n], 'tools': [TOOL], 'max_tokens': 1, 'return_token_ids': True})['prompt_token_ids']
    fresh = good('POST', '/v1/chat/completions', {'messages': talk, 'tools': [TOOL], 'max_tokens': 1, 'return_token_ids': True, 'cache_prompt': False})['prompt_token_ids']
    assert ids == fresh


@check
def tools_of_messages():
    later = {'role': 'system', 'tools': [TOOL]}
    assert '## New Tools Available\n' in template(messages=TALK + [later])
    f = refused(messages=TALK + [later, later])
    assert f['param'] == 'messages[2].tools[0].function.name' and 'declared twice' in f['message'], f
    assert 'declared twice' in refused(messages=[later] + TALK, tools=[TOOL])['message']
    assert refused(messages=[{'role': 'user', 'content': 'q', 'tools': [TOOL]}])['param'] == 'messages[0].tools'
    assert refused(messages=[dict(later, content='x')] + TALK)['param'] == 'messages[0]'
    assert refused(messages=[{'role': 'system', 'tools': {}}])['param'] == 'messages[0].tools'
    assert refused(messages=[{'role': 'system', 'tools': [dict(TOOL, type='builtin_function')]}])['param'] == 'messages[0].tools[0].type'
    assert refused(messages=[{'role': 'system', 'tools': [dict(TOOL, function={'name': '1 2'})]}])['param'] == 'messages[0].tools[0].function.name'
    many = [dict(TOOL, function={'name': 'f%d' % i}) for i in range(1025)]
    assert 'one more than the 1024 tools' in refused(messages=[{'role': 'system', 'tools': many}])['message']


run(CHECKS)
