"""limits_client.py PORT CHECK...: asks a kserve that has one slot, or few descriptors; "ok NAME" or "FAIL NAME: why" a line. limits.sh says
what each check wants of the server. Only the standard library."""
import concurrent.futures
import http.client
import json
import socket
import sys
import threading
import time

from checks import metric, run

PORT = int(sys.argv[1])
CHECKS = {}


def check(f):
    CHECKS[f.__name__] = f
    return f


def post(key=None, tokens=20, **more):
    """(status, code of the error, Retry-After, what came, when it was there)"""
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=120)
    body = {'prompt': 'Once', 'max_tokens': tokens, 'min_tokens': tokens, 'temperature': 0, **more}
    c.request('POST', '/v1/completions', json.dumps(body), {'Content-Type': 'application/json', **({'Authorization': f'Bearer {key}'} if key else {})})
    r = c.getresponse()
    raw = r.read()
    c.close()
    error = json.loads(raw)['error'] if r.status != 200 else {}
    return r.status, error.get('code'), r.getheader('Retry-After'), raw, time.monotonic()


def until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@check
def turns():
    """One client has fourteen requests in the queue when another asks for the first time: it is the other's turn next."""
    with concurrent.futures.ThreadPoolExecutor(24) as ex:
        many = [ex.submit(post, 'many', 40) for _ in range(14)]
        until(lambda: metric(PORT, 'vllm:num_requests_waiting') >= 11, 'they do not wait')
        few = []
        for _ in range(2):
            asked = time.monotonic()
            r = post('few', 5)
            assert r[0] == 200, r
            few.append((asked, r[4]))
        done = [f.result() for f in many]
    assert all(r[0] == 200 for r in done), done
    for asked, answered in few:
        between = sum(asked < r[4] < answered for r in done)
        assert between <= 2, (between, 'requests of the other client went before')
    assert sum(r[4] > few[-1][1] for r in done) >= 5, 'the test proves nothing: there was no queue any more'


@check
def full():
    """--max-queue 8: a client may have half of it, then gets 429; others still come in until it is full, then 503."""
    with concurrent.futures.ThreadPoolExecutor(40) as ex:
        first = ex.submit(post, 'many', 2000)
        until(lambda: metric(PORT, 'vllm:num_requests_running') == 1, 'it does not run')
        many = [ex.submit(post, 'many', 1) for _ in range(12)]
        until(lambda: sum(f.done() for f in many) >= 7, 'nobody is sent away')
        few = [ex.submit(post, 'few', 1) for _ in range(8)]
        until(lambda: sum(f.done() for f in few) >= 5, 'nobody is sent away')
        many, few = [f.result() for f in many], [f.result() for f in few]
        assert first.result()[0] == 200
    for r in many + few:
        assert r[0] == 200 or 1 <= int(r[2]) <= 60, r
    assert sorted(r[:2] for r in many) == [(200, None)] * 5 + [(429, 'rate_limit_exceeded')] * 7, [r[:2] for r in many]
    assert sorted(r[:2] for r in few) == [(200, None)] * 3 + [(503, 'overloaded')] * 5, [r[:2] for r in few]


@check
def waits_too_long():
    """--queue-timeout 1: whole or as a stream, it gets 503 about then, and the one that runs is not disturbed."""
    with concurrent.futures.ThreadPoolExecutor(4) as ex:
        first = ex.submit(post, None, 3500)
        until(lambda: metric(PORT, 'vllm:num_requests_running') == 1, 'it does not run')
        asked = time.monotonic()
        late = [ex.submit(post, None, 5, stream=s) for s in (False, True)]
        for f in late:
            status, code, after, raw, answered = f.result()
            assert (status, code) == (503, 'overloaded') and 1 <= int(after) <= 60 and b'1 seconds' in raw, (status, raw)
            assert 0.9 < answered - asked < 4, answered - asked
        assert not first.done(), 'the test proves nothing: the slot was free'
        r = first.result()
        assert r[0] == 200 and json.loads(r[3])['usage']['completion_tokens'] == 3500, r
    assert post()[0] == 200


def send_large(n):
    """A connection on which a request of n bytes was sent, whose answer was not read."""
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=120)
    c.request('POST', '/v1/completions', json.dumps({'prompt': 'word ' * (n // 5), 'max_tokens': 1}), {'Content-Type': 'application/json'})
    return c


@check
def large():
    """What takes long to read keeps nobody from being answered meanwhile: health, a short answer, another large request. Its client may go."""
    c, waits, done = send_large(12_000_000), [], threading.Event()
    began = time.monotonic()

    def others():
        while not done.is_set():
            t = time.monotonic()
            assert post(tokens=1)[0] == 200
            waits.append(time.monotonic() - t)
    thread = threading.Thread(target=others)
    thread.start()
    r = c.getresponse()
    error = json.loads(r.read())['error']
    took = time.monotonic() - began
    done.set()
    thread.join()
    assert r.status == 400 and error['code'] == 'context_length_exceeded' and error['n_prompt_tokens'] > 2_000_000, error
    longest = max(waits)
    assert longest < took / 2, (longest, took)
    gone = metric(PORT, 'kserve_cancelled_total')
    for c in [send_large(3_000_000) for _ in range(4)]:
        c.close()
    until(lambda: metric(PORT, 'kserve_cancelled_total') == gone + 4, 'clients that went are not noticed')
    assert post(tokens=1)[0] == 200


@check
def compiling():
    """A schema of some hundred bytes that takes a second and more to refuse holds up nobody else."""
    parts = [{'anyOf': [{'type': 'object', 'properties': {f'p{i}{j}': {'type': 'integer'}}, 'required': [f'p{i}{j}']} for j in range(3)]} for i in range(9)]
    slow = {'response_format': {'type': 'json_schema', 'json_schema': {'name': 'f', 'schema': {'allOf': parts}}}}
    with concurrent.futures.ThreadPoolExecutor(1) as ex:
        refused = ex.submit(post, None, 5, **slow)
        answers = 0
        while not refused.done():
            c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=60)
            c.request('GET', '/health')
            assert c.getresponse().status == 200
            c.close()
            answers += not refused.done()
            time.sleep(0.01)
    assert refused.result()[0] == 400 and b'too large' in refused.result()[3], refused.result()
    assert answers > 3, f'{answers} answers while a schema was compiled'


@check
def no_tokenizer():
    for path in '/v1/completions', '/tokenize', '/detokenize':
        c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=60)
        c.request('POST', path, json.dumps({'prompt': 'a', 'tokens': [1], 'max_tokens': 1}), {'Content-Type': 'application/json'})
        r = c.getresponse()
        said = json.loads(r.read())['error']['message']
        assert r.status == 400 and 'needs a tokenizer' in said and 'null' not in said, (path, r.status, said)


@check
def descriptors():
    """More connections than descriptors: those that are there are served, the others are closed at once, and all is well when they are gone."""
    said = threading.Event()
    def streams():
        c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=60)
        c.request('POST', '/v1/completions', json.dumps({'prompt': 'Once', 'max_tokens': 1500, 'min_tokens': 1500, 'stream': True}), {'Content-Type': 'application/json'})
        r = c.getresponse()
        first = r.readline()
        said.set()
        return first + r.read()
    with concurrent.futures.ThreadPoolExecutor(1) as ex:
        stream = ex.submit(streams)
        assert said.wait(30)
        held, closed = [], 0
        for _ in range(60):
            s = socket.create_connection(('127.0.0.1', PORT), 10)
            s.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
            try:
                got = s.recv(4096)
            except ConnectionError:
                got = b''
            closed += not got
            if got:
                assert got.startswith(b'HTTP/1.1 200'), got
                held.append(s)
        assert closed > 10 and len(held) > 5, (closed, len(held))
        held[0].sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
        assert held[0].recv(4096).startswith(b'HTTP/1.1 200')
        held[1].sendall(b'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        text = b''
        while part := held[1].recv(65536):
            text += part
        assert b'kserve_rejected_total{model_name="nano",reason="no_descriptor"} %d.0\n' % closed in text, (closed, [x for x in text.split(b'\n') if b'rejected' in x])
        for s in held:
            s.close()
        assert stream.result().endswith(b'data: [DONE]\n\n')
    for _ in range(5):
        assert post()[0] == 200


run([CHECKS[name] for name in sys.argv[2:]])
