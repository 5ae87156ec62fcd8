"""llama_client.py PORT CHECK...: what llama-server's clients ask of a kserve that has three slots and steps of 64 tokens; "ok NAME" or
"FAIL NAME: why" a line. Only the standard library."""
import http.client
import json
import sys
import threading
import time

from checks import run

PORT = int(sys.argv[1])
CHECKS = {}


def check(f):
    CHECKS[f.__name__] = f
    return f


def call(method, path, body=None):
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=120)
    c.request(method, path, None if body is None else json.dumps(body), {'Content-Type': 'application/json'})
    r = c.getresponse()
    raw = r.read()
    c.close()
    return r.status, json.loads(raw)


def good(path, **body):
    status, r = call('POST', path, body)
    assert status == 200, (status, r)
    return r


def events(path, **body):
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=120)
    c.request('POST', path, json.dumps({**body, 'stream': True}), {'Content-Type': 'application/json'})
    r = c.getresponse()
    assert r.status == 200, r.read()
    for line in r:
        if line.startswith(b'data: ') and line != b'data: [DONE]\n':
            yield json.loads(line[6:])
    c.close()


def slots():
    status, r = call('GET', '/slots')
    assert status == 200 and [s['id'] for s in r] == [0, 1, 2], r
    return r


def until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def long(slot, tokens=1500):
    """A stream that has begun in a slot: its events."""
    it = events('/v1/completions', prompt='Once', max_tokens=tokens, min_tokens=tokens, temperature=0, id_slot=slot)
    next(it)
    return it


SAY = [{'role': 'user', 'content': 'Define wisdom.'}]
ROUTES = {
    '/v1/completions': {'prompt': 'Once', 'max_tokens': 1}, '/v1/chat/completions': {'messages': SAY, 'max_tokens': 1},
    '/v1/messages': {'messages': SAY, 'max_tokens': 1}, '/v1/responses': {'input': 'Define wisdom.', 'max_output_tokens': 16},
}


@check
def slot_numbers():
    """On every route that computes: a number in range, or 400 that names it."""
    for path, body in ROUTES.items():
        for slot in (2, 0, -1, None, 1.0):
            before = [s['id_task'] for s in slots()]
            good(path, **body, id_slot=slot)
            # What ended is shown after the step; the slot that was named had it.
            if slot is not None and slot >= 0:
                until(lambda: slots()[int(slot)]['id_task'] > max(before), (path, slot))
        for slot in (3, -2, 2 ** 40, '1', 1.5, True, [], {}):
            status, r = call('POST', path, dict(body, id_slot=slot))
            assert status == 400 and 'id_slot' in r['error']['message'], (path, slot, status, r)
            if path != '/v1/messages':
                assert r['error']['param'] == 'id_slot', (path, slot, r)


@check
def pinned():
    """Each stream runs where it was told to, while others run."""
    two, none = long(2), long(None)
    until(lambda: [s['is_processing'] for s in slots()] == [True, False, True], 'others are busy')
    assert good('/v1/completions', prompt='Twice', max_tokens=4, min_tokens=4, id_slot=1)['usage']['completion_tokens'] == 4
    two.close(), none.close()
    until(lambda: not any(s['is_processing'] for s in slots()), 'a slot stays busy')


@check
def pinned_waits():
    """Who waits for a busy slot holds nobody up, and gets it when it is free; two choices share it."""
    first, done = long(1), []
    t = threading.Thread(target=lambda: done.append(good('/v1/completions', prompt='Thrice', max_tokens=3, min_tokens=3, n=2, id_slot=1)))
    t.start()
    for _ in range(3):
        good('/v1/completions', prompt='Then', max_tokens=3)
    assert not done
    first.close()
    t.join(60)
    assert [c['index'] for c in done[0]['choices']] == [0, 1] and done[0]['usage']['completion_tokens'] == 6, done


def progress_of(path, **body):
    got = list(events(path, **body, return_progress=True, temperature=0))
    steps = [e['prompt_progress'] for e in got if 'prompt_progress' in e]
    n = len(steps)
    assert n and all('prompt_progress' in e and e['choices'] == [] and e['id'] == got[0]['id'] for e in got[:n]), got[:n + 1]
    assert all(set(p) == {'total', 'cache', 'processed', 'time_ms'} for p in steps), steps
    assert all(a['processed'] < b['processed'] and a['time_ms'] <= b['time_ms'] for a, b in zip(steps, steps[1:])), steps
    assert all(p['total'] == steps[0]['total'] == steps[-1]['processed'] and p['cache'] == steps[0]['cache'] for p in steps), steps
    return steps, got[n:]


@check
def progress():
    text = 'The river ran down from the hill to the sea. ' * 20
    steps, rest = progress_of('/v1/completions', prompt=text, max_tokens=2, cache_salt='progress', stream_options={'include_usage': True})
    total = steps[0]['total']
    assert rest[-1]['usage']['prompt_tokens'] == total > 128 and steps[0]['cache'] == 0, (steps, rest[-1])
    assert len(steps) >= total // 64 and steps[0]['processed'] <= 64, steps      # no step is larger than --batch
    again, _ = progress_of('/v1/completions', prompt=text, max_tokens=2, cache_salt='progress')
    assert 0 < again[0]['cache'] < total and again[0]['processed'] > again[0]['cache'], again
    # A chat says who speaks behind it; two prompts are one sum; who does not stream, or does not ask, hears nothing of it.
    steps, rest = progress_of('/v1/chat/completions', messages=SAY, max_tokens=2)
    assert rest[0]['choices'][0]['delta'] == {'role': 'assistant', 'content': ''}, rest[0]
    steps, rest = progress_of('/v1/completions', prompt=['Once upon', 'A time'], max_tokens=2, n=2)
    assert {e['choices'][0]['index'] for e in rest} == {0, 1, 2, 3}
    assert 'prompt_progress' not in good('/v1/completions', prompt='Once', max_tokens=1, return_progress=True)
    assert not any('prompt_progress' in e for e in events('/v1/chat/completions', messages=SAY, max_tokens=1))
    assert call('POST', '/v1/completions', {'prompt': 'x', 'return_progress': 'yes'})[0] == 400


TIMES = {f'{what}_{unit}' for what in ('prompt', 'predicted') for unit in ('n', 'ms', 'per_token_ms', 'per_second')} | {'cache_n'}


@check
def timings():
    for path, body in list(ROUTES.items())[:2]:
        body = dict(body, max_tokens=6, min_tokens=6, temperature=0, timings_per_token=True)
        t = good(path, **body)['timings']
        assert set(t) == TIMES and t['predicted_n'] == 6 and t['prompt_n'] + t['cache_n'] == good(path, **body)['usage']['prompt_tokens'], t
        assert t['prompt_ms'] > 0 and abs(t['predicted_per_second'] * t['predicted_ms'] - 6000) < 1, t
        got = list(events(path, **body))
        # Every event behind the first token has them, and no event comes for their sake.
        counts = [e['timings']['predicted_n'] for e in got if 'timings' in e]
        assert counts == sorted(counts) and counts[-1] == 6 and all(e['choices'] for e in got), got
        assert all('timings' in e for e in got[1:]) and ('timings' in got[0]) == ('text' in got[0]['choices'][0]), got[:2]
        assert not any('timings' in e for e in events(path, **dict(body, timings_per_token=False)))
    # The time that a request waits is not its prompt's.
    busy = [long(s) for s in range(3)]
    waits = []
    t = threading.Thread(target=lambda: waits.append((good('/v1/completions', prompt='Once', max_tokens=1, timings_per_token=True), time.monotonic())))
    begun = time.monotonic()
    t.start()
    time.sleep(0.6)
    for s in busy:
        s.close()
    t.join(60)
    assert waits[0][1] - begun > 0.6 and waits[0][0]['timings']['prompt_ms'] < (waits[0][1] - begun) * 1000 - 500, waits


def metrics():
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=20)
    c.request('GET', '/metrics')
    text = c.getresponse().read().decode()
    return {line.split('{')[0]: float(line.split()[-1]) for line in text.split('\n') if line.startswith('llamacpp:')}


@check
def compatible():
    """--compat-llama: metrics under its names, which say what was asked for, and the type of one error."""
    good('/v1/completions', prompt=[5] * 40, max_tokens=6, min_tokens=6, cache_salt='m')
    good('/v1/completions', prompt=[5] * 40 + [6], max_tokens=6, min_tokens=6, cache_salt='m')
    # An answer may be here before the figures of its last step are.
    end = time.monotonic() + 10
    while (m := metrics())['llamacpp:requests_processing'] and time.monotonic() < end:
        time.sleep(0.02)
    assert set(m) == {'llamacpp:' + x for x in ('prompt_tokens_total', 'prompt_seconds_total', 'tokens_predicted_total', 'tokens_predicted_seconds_total',
                                                'prompt_tokens_seconds', 'predicted_tokens_seconds', 'requests_processing', 'requests_deferred', 'n_decode_total',
                                                'n_busy_slots_per_decode', 'n_tokens_max')}, m
    v = {k.split(':')[1]: x for k, x in m.items()}
    assert 41 <= v['prompt_tokens_total'] < 60 and v['tokens_predicted_total'] == 12 and 46 <= v['n_tokens_max'] <= 47, v      # the cache had the forty
    assert v['requests_processing'] == v['requests_deferred'] == 0 and v['n_decode_total'] >= 12 and v['n_busy_slots_per_decode'] == 1, v
    assert v['prompt_seconds_total'] > 0 and abs(v['predicted_tokens_seconds'] * v['tokens_predicted_seconds_total'] - 12) < 1e-3, v
    status, r = call('POST', '/v1/completions', {'prompt': [5] * 5000})
    e = r['error']
    assert status == 400 and (e['type'], e['code'], e['n_prompt_tokens'], e['n_ctx']) == ('exceed_context_size_error', 'context_length_exceeded', 5000, 4096), e


@check
def not_compatible():
    assert metrics() == {} and call('POST', '/v1/completions', {'prompt': [5] * 5000})[1]['error']['type'] == 'invalid_request_error'


if __name__ == '__main__':
    run([CHECKS[name] for name in sys.argv[2:]])
