"""http_client.py PORT [--tls CA] [--timeout SECONDS] CHECK...: raw requests to a kserve that runs on nano, "ok NAME" or "FAIL NAME: why" a
line. What http.sh starts it with says which checks make sense. Only the standard library."""
import argparse
import concurrent.futures
import json
import os
import random
import socket
import ssl
import struct
import sys
import time

from checks import run

A = argparse.ArgumentParser()
A.add_argument('port', type=int)
A.add_argument('--tls')
A.add_argument('--timeout', type=float, default=60)
A.add_argument('checks', nargs='*')
A = A.parse_intermixed_args()
CHAT = b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
CHECKS = {}


def check(f):
    CHECKS[f.__name__] = f
    return f


def dial(timeout=120):
    s = socket.create_connection(('127.0.0.1', A.port), timeout)
    if A.tls:
        c = ssl.create_default_context(cafile=A.tls)
        s = c.wrap_socket(s, server_hostname='localhost')
    return s


class Wire:
    """A connection and what was read of it."""

    def __init__(self, timeout=120):
        self.s, self.got = dial(timeout), b''

    def send(self, data):
        self.s.sendall(data)

    def more(self):
        part = self.s.recv(65536)
        self.got += part
        return bool(part)

    def answer(self, head=False):
        """One whole answer: (status, headers, body)."""
        while b'\r\n\r\n' not in self.got:
            if not self.more():
                raise AssertionError(f'ended within a head: {self.got[:100]!r}')
        top, self.got = self.got.split(b'\r\n\r\n', 1)
        lines = top.decode('latin-1').split('\r\n')
        fields = {}
        for line in lines[1:]:
            name, value = line.split(':', 1)
            fields[name.lower()] = value.strip()
        status, body = int(lines[0].split()[1]), b''
        if status == 100:
            return status, fields, b''
        if head or status in (204, 304):
            return status, fields, b''
        if 'content-length' in fields:
            n = int(fields['content-length'])
            while len(self.got) < n:
                assert self.more(), 'ended within a body'
            body, self.got = self.got[:n], self.got[n:]
        elif fields.get('transfer-encoding') == 'chunked':
            while True:
                while b'\r\n' not in self.got:
                    assert self.more(), 'ended within a chunk'
                size, self.got = self.got.split(b'\r\n', 1)
                n = int(size, 16)
                while len(self.got) < n + 2:
                    assert self.more(), 'ended within a chunk'
                body, self.got = body + self.got[:n], self.got[n + 2:]
                if not n:
                    break
        else:
            while self.more():
                pass
            body, self.got = self.got, b''
        return status, fields, body

    def ended(self, seconds=5):
        """The server has closed, or closes soon."""
        self.s.settimeout(seconds)
        try:
            return not self.s.recv(1)
        except ConnectionError:
            return True
        except TimeoutError:
            return False


def ask(data, head=False, timeout=120):
    w = Wire(timeout)
    try:
        w.send(data)
    except OSError:
        pass        # refused before all of it was sent
    r = w.answer(head)
    w.s.close()
    return r


def chat(more=b'', **fields):
    body = json.dumps({'messages': [{'role': 'user', 'content': 'Hello'}], 'temperature': 0, 'max_tokens': 4, **fields}).encode()
    return CHAT + more + b'Content-Length: %d\r\n\r\n' % len(body) + body


def chunked(body, *cuts, trailer=b''):
    parts, at = [], 0
    for c in list(cuts) + [len(body)]:
        if c > at:
            parts.append(b'%x\r\n%s\r\n' % (c - at, body[at:c]))
        at = c
    return CHAT + b'Transfer-Encoding: chunked\r\n\r\n' + b''.join(parts) + b'0\r\n' + trailer + b'\r\n'


BODY = json.dumps({'messages': [{'role': 'user', 'content': 'Hello'}], 'temperature': 0, 'max_tokens': 2}).encode()
GET = b'GET /health HTTP/1.1\r\nHost: x\r\n'


def refused(status, data):
    got, fields, body = ask(data)
    assert got == status, (status, got, data[:100])
    assert fields.get('connection') == 'close' and fields.get('content-type') == 'application/json', (data[:60], fields)
    e = json.loads(body)['error']
    assert e['message'] and e['type'] and 'param' in e and 'code' in e, e


@check
def smuggling():
    """What other readers of HTTP may understand otherwise is refused, as JSON, and the connection ends."""
    te, cl = b'Transfer-Encoding: chunked\r\n', b'Content-Length: 5\r\n'
    post = CHAT
    for data in (post + cl + te + b'\r\n0\r\n\r\n', post + te + cl + b'\r\n0\r\n\r\n', post + cl + b'Content-Length: 6\r\n\r\n{}   x',
                 post + b'Content-Length: -1\r\n\r\n{}', post + b'Content-Length: +2\r\n\r\n{}', post + b'Content-Length: 0x2\r\n\r\n{}',
                 post + b'Content-Length: 2, 2\r\n\r\n{}', post + b'Content-Length: \r\n\r\n{}', post + b'Content-Length: 1 2\r\n\r\n{}',
                 post + b'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n', post + b'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
                 post + te + te + b'\r\n0\r\n\r\n', post + b'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
                 post + b'Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n', post + b'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n',
                 post.replace(b'1.1', b'1.0', 1) + te + b'\r\n0\r\n\r\n',
                 GET + b'A : b\r\n\r\n', GET + b' folded: x\r\n\r\n', GET + b'A: b\r\n c\r\n\r\n', GET + b'\tA: b\r\n\r\n', GET + b'A\r\n\r\n',
                 GET + b': b\r\n\r\n', GET + b'A: b\nC: d\r\n\r\n', GET + b'A: b\rC: d\r\n\r\n', GET + b'A: \x00\r\n\r\n', GET + b'A\x00B: c\r\n\r\n',
                 GET + b'A: \x7f\r\n\r\n', GET + b'H\xc3\xa9: c\r\n\r\n', GET + b'Host: y\r\n\r\n', b'GET /health HTTP/1.1\r\n\r\n', b'GET /health HTTP/1.1\n\n',
                 b'GET /health HTTP/1.1\r\nHost: a b\r\n\r\n', b'GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n',
                 b'GET  /health HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /health  HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /health HTTP/1.1 \r\nHost: x\r\n\r\n',
                 b'GET /health HTTP/1.2\r\nHost: x\r\n\r\n', b'GET /health HTTP/2.0\r\nHost: x\r\n\r\n', b'GET /health http/1.1\r\nHost: x\r\n\r\n',
                 b'GET /health\r\n\r\n', b'GET health HTTP/1.1\r\nHost: x\r\n\r\n', b'G\x01T /health HTTP/1.1\r\nHost: x\r\n\r\n', b' GET / HTTP/1.1\r\nHost: x\r\n\r\n',
                 b'GET /h\xff HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /%0 HTTP/1.1\r\nHost: x\r\n\r\n',
                 b'GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /%2e%2E/x HTTP/1.1\r\nHost: x\r\n\r\n',
                 b'GET /../x HTTP/1.1\r\nHost: x\r\n\r\n', b'GET /health#x HTTP/1.1\r\nHost: x\r\n\r\n', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
                 b'\x16\x03\x01\x02\x00' * 10):
        refused(400, data)
    assert ask(GET + b'\r\n')[0] == 200
    assert ask(chat().replace(b'Content-Length', b'Content-Length: %d\r\ncontent-length' % len(chat().split(b'\r\n\r\n')[1])))[0] == 200


@check
def chunks():
    for cuts in ((), (1,), (1, 2, 3, 4, 5), tuple(range(len(BODY)))):
        assert ask(chunked(BODY, *cuts))[0] == 200, cuts
    assert ask(chunked(BODY, 5, trailer=b'A: b\r\n'))[0] == 200
    good = chunked(BODY)
    n = b'%x\r\n' % len(BODY)
    assert ask(good.replace(n, n[:-2] + b';name=value\r\n'))[0] == 200
    assert ask(good.replace(n, b'0' * 8 + n))[0] == 200
    for bad in (good.replace(n, b'0' * 17 + n), good.replace(n, b'\r\n'), good.replace(n, b'-1\r\n'), good.replace(n, n[:-2] + b'\n'), good.replace(n, b'0x2\r\n'),
                good.replace(n, n[:-2] + b';' + b'a' * 1000 + b'\r\n'), good.replace(BODY + b'\r\n', BODY + b'xx'),
                chunked(BODY, trailer=b'A: ' + b'b' * 10000 + b'\r\n'), chunked(BODY, trailer=b' folded\r\n'), good.replace(n, n[:-2] + b' x\n\r\n')):
        refused(400, bad)
    refused(413, good.replace(n, b'f' * 16 + b'\r\n'))


@check
def sizes():
    refused(414, b'GET /' + b'a' * 10000 + b' HTTP/1.1\r\nHost: x\r\n\r\n')
    refused(414, b'GET /' + b'a' * 100000)
    refused(431, GET + b'A: b\r\n' * 100 + b'\r\n')
    refused(431, GET + b'A: ' + b'b' * 40000 + b'\r\n\r\n')
    refused(431, GET + b'A: ' + b'b' * 40000)
    assert ask(GET + b'A: b\r\n' * 98 + b'\r\n')[0] == 200
    for n in (b'99999999999', b'9' * 18, b'9' * 40, b'1073741824'):
        refused(413, CHAT + b'Content-Length: ' + n + b'\r\n\r\n')
    assert ask(CHAT + b'\r\n')[0] == 411
    refused(413, GET + b'Content-Length: 100000\r\n\r\n')
    refused(417, CHAT + b'Expect: tea\r\nContent-Length: 2\r\n\r\n{}')


@check
def bodies():
    """JSON that is none, or too deep, or no UTF-8: 400, and the connection goes on."""
    w = Wire()
    for body in (b'', b'{', b'[]', b'null', b'"x"', b'\xff\xfe', b'{"messages":"\xed\xa0\x80"}', b'[' * 100000, b'{"a":' * 100000, b'{"a":1}x', b'\xef\xbb\xbf{}',
                 b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\x00"}', b'{"messages":[' + b'{},' * 50000 + b'{}]}'):
        w.send(CHAT + b'Content-Length: %d\r\n\r\n' % len(body) + body)
        status, fields, said = w.answer()
        assert status == 400 and json.loads(said)['error']['message'], (body[:40], status)
        assert 'connection' not in fields, fields
    w.send(GET + b'\r\n')
    assert w.answer()[0] == 200


@check
def pipelining():
    w = Wire()
    w.send(GET + b'\r\n' + chat() + b'\r\n' + b'GET /version HTTP/1.1\r\nHost: x\r\n\r\n' + chat(stream=True) + b'GET /nope HTTP/1.1\r\nHost: x\r\n\r\n' + GET + b'Connection: close\r\n\r\n')
    a = [w.answer() for _ in range(6)]
    assert [x[0] for x in a] == [200, 200, 200, 200, 404, 200], [x[0] for x in a]
    assert json.loads(a[0][2]) == {'status': 'ok'} and 'choices' in json.loads(a[1][2]) and 'version' in json.loads(a[2][2])
    assert a[3][2].endswith(b'data: [DONE]\n\n') and a[5][1]['connection'] == 'close' and w.ended()
    w = Wire()      # many at once, byte after byte
    data = (GET + b'\r\n') * 300
    for i in range(0, len(data), 777):
        w.send(data[i:i + 777])
    assert all(w.answer()[0] == 200 for _ in range(300))
    w = Wire()
    for b in GET + b'\r\n':
        w.send(bytes([b]))
    assert w.answer()[0] == 200


@check
def forms():
    """HTTP/1.0, HEAD, Expect, absolute targets, slashes at the end, OPTIONS."""
    w = Wire()
    w.send(b'GET /health HTTP/1.0\r\n\r\n')
    status, fields, _ = w.answer()
    assert status == 200 and fields['connection'] == 'close' and w.ended()
    w = Wire()
    w.send(b'GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n' * 2)
    assert w.answer()[1]['connection'] == 'keep-alive' and w.answer()[0] == 200
    for path in (b'/health', b'/v1/models', b'/version', b'/metrics', b'/props', b'/livez'):
        status, fields, _ = ask(b'HEAD ' + path + b' HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', head=True)
        assert status == 200 and int(fields['content-length']) > 0, path
    w = Wire()
    w.send(CHAT + b'Expect: 100-continue\r\nContent-Length: %d\r\n\r\n' % len(BODY))
    assert w.answer()[0] == 100
    w.send(BODY)
    assert w.answer()[0] == 200
    w.send(CHAT.replace(b'chat', b'chit') + b'Expect: 100-continue\r\nContent-Length: %d\r\n\r\n' % len(BODY))
    assert w.answer()[0] == 404, 'refused before the body'
    for target, want in ((b'http://x/health', 200), (b'https://x:1/v1/models/', 200), (b'/v1/models//', 200), (b'/v1/models?x=%zz', 200), (b'/%68ealth', 200),
                         (b'/v1/models/nano', 200), (b'/v1/models/na%2Fno', 404), (b'/v1/v1/models', 404), (b'//', 200), (b'*', 400)):
        assert ask(b'GET ' + target + b' HTTP/1.1\r\nHost: x\r\n\r\n')[0] == want, target
    for method, path, want, allow in (('OPTIONS', '*', 404, None), ('OPTIONS', '/health', 405, 'GET, HEAD'), ('BREW', '/health', 405, 'GET, HEAD'),
                                      ('GET', '/v1/completions', 405, 'POST'), ('POST', '/v1/embeddings', 404, None), ('POST', '/v1/audio/speech', 404, None)):
        status, fields, body = ask(f'{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'.encode())
        assert (status, fields.get('allow')) == (want, allow) and json.loads(body)['error']['code'], (method, path, status)
    status, fields, _ = ask(GET + b'X-Request-Id: ' + b'a' * 128 + b'\r\n\r\n')
    assert fields['x-request-id'] == fields['x-trace-id'] == 'a' * 128
    for odd in (b'a' * 129, b'a b', b'a"', b''):
        fields = ask(GET + b'X-Request-Id: ' + odd + b'\r\n\r\n')[1]
        assert len(fields['x-request-id']) == 32 and fields['x-request-id'] == fields['x-trace-id'], fields


@check
def slow():
    """A head, a body, a silence and a reader that take too long (--timeout)."""
    def head():
        w = Wire(A.timeout * 4)
        t = time.monotonic()
        w.send(GET)
        for _ in range(40):
            time.sleep(0.1)
            try:
                w.send(b'A')
            except OSError:
                break
            if time.monotonic() - t > 3:
                break
        status, fields, _ = w.answer()
        assert status == 408 and fields['connection'] == 'close', status

    def body():
        w = Wire(A.timeout * 4)
        w.send(CHAT + b'Content-Length: 100000\r\n\r\n{')
        status, fields, said = w.answer()
        assert status == 408 and json.loads(said)['error']['code'] == 'request_timeout', status

    def idle():
        w = Wire(A.timeout * 4)
        t = time.monotonic()
        assert w.ended(A.timeout * 3) and time.monotonic() - t < A.timeout
        w = Wire(A.timeout * 4)
        w.send(GET + b'\r\n')
        assert w.answer()[0] == 200
        t = time.monotonic()
        assert w.ended(A.timeout * 3) and time.monotonic() - t > A.timeout * 0.8

    def reader():
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        s.connect(('127.0.0.1', A.port))
        s.sendall(chat(stream=True, max_tokens=3000, min_tokens=3000, logprobs=True, top_logprobs=20))
        t = time.monotonic()
        while 'kserve_cancelled_total{model_name="nano",reason="stall"} 0' in ask(b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')[2].decode():
            assert time.monotonic() - t < 200, 'a reader that reads nothing is never sent away'
            time.sleep(0.3)
        s.close()

    with concurrent.futures.ThreadPoolExecutor(4) as ex:
        for f in [ex.submit(g) for g in (head, body, idle, reader)]:
            f.result()


@check
def crowd():
    """More connections than there may be: told so, and the others go on. The server has --max-connections 16: 4 an address."""
    held = [Wire() for _ in range(4)]
    for w in held:
        w.send(GET + b'\r\n')
        assert w.answer()[0] == 200
    for _ in range(3):
        status, fields, body = ask(GET + b'\r\n')
        assert status == 503 and fields['retry-after'] and json.loads(body)['error']['code'] == 'too_many_connections', status
    for w in held:
        w.send(GET + b'\r\n')
        assert w.answer()[0] == 200
        w.s.close()
    for _ in range(50):
        time.sleep(0.05)
        if ask(GET + b'\r\n')[0] == 200:
            return
    raise AssertionError('nobody is let in again')


def metric(name):
    for line in ask(b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')[2].decode().split('\n'):
        if line.startswith(name):
            return float(line.rsplit(' ', 1)[1])
    raise AssertionError(f'no metric {name}')


def wait_for(what, seconds=60):
    t = time.monotonic()
    while not what():
        assert time.monotonic() - t < seconds, 'it does not come to that'
        time.sleep(0.05)


@check
def leaving():
    """A client that goes away while its request waits, is computed, or streams: nothing runs on. The server has two slots."""
    long = dict(max_tokens=3000, min_tokens=3000)
    running = lambda: metric('vllm:num_requests_running')
    waiting = lambda: metric('vllm:num_requests_waiting')
    before = metric('kserve_cancelled_total')
    wires = [Wire() for _ in range(6)]
    for i, w in enumerate(wires):
        w.send(chat(stream=i % 2 == 0, **long))
    wait_for(lambda: waiting() >= 3)
    for i in (5, 1, 3):
        wires[i].s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))      # a reset
        wires[i].s.close()
    for i in (0, 4):
        wires[i].s.close()
    wires[2].s.shutdown(socket.SHUT_WR)
    wait_for(lambda: running() == 0 and waiting() == 0)
    assert metric('kserve_cancelled_total') == before + 6
    prompt = 'word ' * 2500      # leaves while the prompt is computed
    w = Wire()
    w.send(chat(messages=[{'role': 'user', 'content': prompt}]))
    time.sleep(0.05)
    w.s.close()
    wait_for(lambda: running() == 0 and waiting() == 0)
    assert ask(chat())[0] == 200


@check
def metrics():
    assert ask(chat())[0] == 200
    status, fields, body = ask(b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')
    assert status == 200 and fields['content-type'] == 'text/plain; version=0.0.4; charset=utf-8'
    kinds, seen = {}, {}
    for line in body.decode().strip().split('\n'):
        if line.startswith('# TYPE '):
            name, kind = line.split()[2:]
            assert name not in kinds, name
            kinds[name] = kind
        elif not line.startswith('#'):
            name = line.split('{')[0]
            float(line.rsplit(' ', 1)[1])
            assert line not in seen, line
            seen[line] = name
            base = name
            for end in ('_bucket', '_sum', '_count'):
                if kinds.get(name.removesuffix(end)) in ('histogram', 'summary'):
                    base = name.removesuffix(end)
            assert base in kinds, name
    for name in ('vllm:num_requests_running', 'vllm:prompt_tokens_total', 'vllm:time_to_first_token_seconds', 'vllm:request_inference_time_seconds', 'kserve_http_requests_total',
                 'kserve_build_info', 'kserve_tool_parse_repairs_total', 'kserve_grammar_compile_seconds'):
        assert name in kinds, name
    assert metric('vllm:prompt_tokens_total') > 0 and metric('vllm:time_to_first_token_seconds_count') > 0
    r = json.loads(ask(b'GET /props HTTP/1.1\r\nHost: x\r\n\r\n')[2])
    assert r['total_slots'] > 0 and r['model_path'] == 'nano' and r['chat_template'] and r['eos_token'], r


@check
def counted_before_the_end():
    """Who has an answer finds it in the metrics, and its place free."""
    for i in range(40):
        seen = [metric('vllm:prompt_tokens_total'), metric('vllm:request_success_total{model_name="nano",finished_reason="length"}')]
        status, _, body = ask(chat(max_tokens=1 + i % 2, stream=i % 4 > 1))
        assert status == 200 and (i % 4 > 1) == body.endswith(b'data: [DONE]\n\n'), body
        now = [metric('vllm:prompt_tokens_total'), metric('vllm:request_success_total{model_name="nano",finished_reason="length"}')]
        assert now[0] > seen[0] and now[1] == seen[1] + 1 and metric('vllm:num_requests_running') == 0, (i, seen, now)


@check
def slots():
    status, _, body = ask(b'GET /slots HTTP/1.1\r\nHost: x\r\n\r\n')
    r = json.loads(body)
    assert status == 200 and r and all(s['n_ctx'] > 0 and s['is_processing'] in (True, False) for s in r), r
    assert ask(b'GET /slots?fail_on_no_slot=1 HTTP/1.1\r\nHost: x\r\n\r\n')[0] == 200
    assert ask(b'POST /slots/0?action=save HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}')[0] == 501


@check
def no_slots():
    assert ask(b'GET /slots HTTP/1.1\r\nHost: x\r\n\r\n')[0] == 501


@check
def cors():
    """The server has --cors-origins localhost,https://a.example and keys."""
    def headers(origin, *more, method=b'GET', path=b'/health'):
        return ask(method + b' ' + path + b' HTTP/1.1\r\nHost: x\r\nOrigin: ' + origin + b'\r\n' + b''.join(m + b'\r\n' for m in more) + b'\r\n')

    for origin in (b'http://localhost', b'https://localhost:8443', b'http://127.0.0.1:5173', b'http://[::1]:3000', b'https://a.example'):
        fields = headers(origin)[1]
        assert fields['access-control-allow-origin'] == origin.decode() and fields['vary'] == 'Origin', (origin, fields)
    for origin in (b'http://localhost.evil.com', b'http://notlocalhost', b'https://a.example.evil.com', b'http://a.example', b'null', b'http://localhost:80x', b'http://localhost:'):
        assert 'access-control-allow-origin' not in headers(origin)[1], origin
    status, fields, _ = headers(b'http://localhost', b'Access-Control-Request-Method: POST', method=b'OPTIONS', path=b'/v1/chat/completions')
    assert status == 204 and 'POST' in fields['access-control-allow-methods'] and fields['access-control-max-age'] == '600', fields
    assert headers(b'http://localhost', method=b'OPTIONS', path=b'/v1/chat/completions')[0] == 401


@check
def mutations():
    """Requests with bytes changed, taken out and put in: an answer that is 200 or 4xx, or an end; and the server goes on."""
    n = 10000 if os.environ.get('K_LONG') else 600
    base = [GET + b'\r\n', chat(), chat(stream=True), chunked(BODY, 5, 9), b'HEAD /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
            chat(more=b'Expect: 100-continue\r\n'), chat(tools=[{'type': 'function', 'function': {'name': 'f', 'parameters': {'type': 'object'}}}])]
    pieces = [b'\r\n', b'\r\n\r\n', b'\n', b'\r', b'\x00', b' ', b':', b'Content-Length: 3\r\n', b'Transfer-Encoding: chunked\r\n', b'Host: y\r\n', b'0\r\n\r\n', b'%', b'/../', b'\xff',
              b'null', b'1e999', b'[[[[', b'"\\ud800"', b'{}', b'99999999999999999999', b'Expect: 100-continue\r\n', b'Connection: close\r\n', b'HTTP/1.0']

    def one(seed):
        R = random.Random(seed)
        b = bytearray(R.choice(base))
        for _ in range(R.randint(1, 5)):
            k, p = R.random(), R.randrange(len(b))
            if k < 0.35:
                b[p] = R.randrange(256)
            elif k < 0.55:
                del b[p:p + R.randint(1, 9)]
            elif k < 0.85:
                b[p:p] = R.choice(pieces)
            else:
                b[p:p] = bytes(b[:R.randint(1, 40)])
            b = b or bytearray(b'x')
        w = Wire(30)
        try:
            w.send(bytes(b))
            w.s.shutdown(socket.SHUT_WR) if R.random() < 0.7 and not A.tls else None
            w.s.settimeout(30 if R.random() < 0.9 else 0.01)
            first = w.s.recv(600)
        except (OSError, TimeoutError):
            first = b''
        w.s.close()
        assert not first or (first.startswith(b'HTTP/1.') and (first[9:12] in (b'200', b'100') or first[9:10] == b'4')), (seed, bytes(b)[:200], first)
        return first[9:12]

    seen = {}
    with concurrent.futures.ThreadPoolExecutor(8) as ex:
        for code in ex.map(one, range(n)):
            seen[code] = seen.get(code, 0) + 1
    assert seen.get(b'400', 0) > n // 10 and ask(GET + b'\r\n')[0] == 200, seen


def main():
    run([CHECKS[name] for name in A.checks])


if __name__ == '__main__':
    main()
