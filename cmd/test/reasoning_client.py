"""reasoning_client.py WHERE MODEL-FOLDER: thoughts over HTTP, in and out, of a kserve that runs on a nano whose answers begin within a
thought (reasoning.sh); "ok NAME" or "FAIL NAME: why" a line. Only the standard library.

What the thought and the answer must be comes from /v1/completions on the same ids, which knows nothing of thoughts."""
from checks import run
from dialect_client import both_messages, named_events, response_joined
from serve_client import LOOP, chat, good, joined, stream

THINK, UNTHINK, BUDGET = 3845, 3848, 6
CHECKS = []


def check(f):
    CHECKS.append(f)
    return f


def body(**more):
    return {**chat('Define wisdom.'), 'temperature': 0, 'max_tokens': 40, 'thinking_budget_tokens': BUDGET, 'return_token_ids': True, **more}


def raw(ids, n):
    """What comes behind these ids, up to n tokens."""
    return good('POST', '/v1/completions', {'prompt': ids, 'max_tokens': n, 'temperature': 0})['choices'][0]['text']


def said(**more):
    r = good('POST', '/v1/chat/completions', body(**more))
    return r, r['choices'][0]['message'], r['prompt_token_ids'], r['choices'][0]['token_ids']


@check
def whole():
    r, m, prompt, made = said()
    assert prompt[-1] == THINK and made[BUDGET] == UNTHINK, (prompt, made)
    assert m['reasoning_content'] == raw(prompt, BUDGET) and m['reasoning_content'], m
    assert m['content'] == raw(prompt + made[:BUDGET + 1], 30) and m['content'], m
    assert r['usage']['completion_tokens'] == len(made) and r['usage']['completion_tokens_details']['reasoning_tokens'] == BUDGET + 1, r['usage']
    assert '<think>' not in str(m) and '</think>' not in str(m), m
    # All of it a thought: what is cut off within is no content.
    m = said(max_tokens=4, thinking_budget_tokens=100)[1]
    assert m['reasoning_content'] == raw(prompt, 4) and not m['content'], m


@check
def streamed():
    """The deltas are those of the whole answer; a thought never comes after content."""
    for more in ({}, {'max_tokens': 4}, {'max_tokens': BUDGET + 1}, {'n': 2}):
        want = good('POST', '/v1/chat/completions', body(**more))['choices']
        events = stream('/v1/chat/completions', body(**more))
        for c in want:
            mine = [dict(e, choices=[x for x in e['choices'] if x['index'] == c['index']]) for e in events]
            content, reasoning, calls, finish = joined([e for e in mine if e['choices']])
            assert (content, reasoning, finish) == (c['message']['content'] or '', c['message']['reasoning_content'], c['finish_reason']), (more, content, reasoning)
            kinds = ['r' if d.get('reasoning_content') else 'c' for e in mine for x in e['choices'] for d in [x['delta']] if d.get('reasoning_content') or d.get('content')]
            assert kinds == sorted(kinds, reverse=True) and kinds.count('r') > 2, kinds


@check
def off():
    """Without thinking the thought is closed in the prompt, and there is none in the answer."""
    r, m, prompt, made = said(thinking={'type': 'disabled'})
    assert prompt[-2:] == [THINK, UNTHINK] and not m.get('reasoning_content') and m['content'] == raw(prompt, 40), (prompt, m)
    assert r['usage']['completion_tokens_details']['reasoning_tokens'] == 0


@check
def in_one_object():
    """What the fields say, said in thinking: a budget, and an effort, which wins over reasoning_effort where no type is named."""
    want = said()[1]
    assert said(thinking_budget_tokens=None, thinking={'type': 'enabled', 'budget_tokens': BUDGET})[1] == want
    off = said(thinking={'type': 'disabled'})[1]
    assert said(thinking={'effort': 'none'}, reasoning_effort='high')[1] == off and said(reasoning_effort='none')[1] == off
    assert said(thinking={'effort': 'high'}, reasoning_effort='none')[1] == want and said(thinking={'type': 'enabled', 'effort': 'none'})[1] == want


@check
def history():
    """A thought comes back as the tokens that were sampled as long as its tools are at work, and not behind the next user's message."""
    tools = dict(tools=LOOP['tools'], tool_choice='required', max_tokens=120)
    r, m, prompt, made = said(**tools)
    call = m['tool_calls'][0]
    assert m['reasoning_content'] == raw(prompt, BUDGET) and call['function']['name'] == 'next_page', m
    back = [{'role': 'assistant', 'content': m['content'], 'reasoning_content': m['reasoning_content'], 'tool_calls': m['tool_calls']},
            {'role': 'tool', 'tool_call_id': call['id'], 'content': 'page'}]
    talk = chat('Define wisdom.')['messages']
    again = said(messages=talk + back, **tools)
    assert again[2][:len(prompt) + len(made) - 1] == prompt + made[:-1], (prompt + made, again[2])
    assert again[0]['usage']['cached_tokens'] >= len(prompt) + len(made) - 2, again[0]['usage']
    # Another thought is another prompt; none at all too.
    for thought in ('Something else.', None):
        other = said(messages=talk + [dict(back[0], reasoning_content=thought), back[1]], **tools)[2]
        assert other[:len(prompt)] == prompt and other != again[2] and UNTHINK in other[len(prompt):], other
    after = said(messages=talk + back + [{'role': 'assistant', 'content': 'Done.', 'reasoning_content': 'I know.'}, {'role': 'user', 'content': 'Why?'}], **tools)[2]
    at = [i for i, id in enumerate(after) if id == THINK]
    assert len(at) == 3 and [after[i + 1] == UNTHINK for i in at[:-1]] == [True, True] and at[-1] == len(after) - 1, (at, after)


@check
def anthropic():
    m = said()[1]
    ask = {'model': 'think', 'max_tokens': 40, 'temperature': 0, 'messages': [{'role': 'user', 'content': 'Define wisdom.'}], 'thinking': {'type': 'enabled', 'budget_tokens': BUDGET}}
    a = both_messages(ask)
    assert a['content'] == [{'type': 'thinking', 'thinking': m['reasoning_content'], 'signature': ''}, {'type': 'text', 'text': m['content']}], a
    both_messages(dict(ask, messages=ask['messages'] + [{'role': 'assistant', 'content': a['content']}, {'role': 'user', 'content': 'Why?'}]))
    a = both_messages(dict(ask, thinking={'type': 'disabled'}))
    assert [b['type'] for b in a['content']] == ['text'], a


@check
def responses():
    _, m, prompt, _ = said()
    ask = {'model': 'think', 'max_output_tokens': 8, 'temperature': 0, 'input': [{'role': 'user', 'content': 'Define wisdom.'}]}
    for r in (good('POST', '/v1/responses', ask), response_joined(named_events('/v1/responses', ask))):
        item = r['output'][0]
        assert item['type'] == 'reasoning' and item['content'] == [{'type': 'reasoning_text', 'text': raw(prompt, 8)}], r
        assert r['usage']['output_tokens_details']['reasoning_tokens'] == 8 and r['status'] == 'incomplete', r
    good('POST', '/v1/responses', dict(ask, input=ask['input'] + r['output'] + [{'role': 'user', 'content': 'Why?'}]))


run(CHECKS)
