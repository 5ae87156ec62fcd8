"""faults_client.py KSERVE MODEL FOLDER STEP: kserve, built with -DK_FAULTS, whose allocations and whose device fail while it serves; "ok NAME" or
"FAIL NAME: why" a line. Only the standard library."""
import http.client
import json
import os
import signal
import subprocess
import sys
import time

from checks import run

KSERVE, MODEL, T, STEP = *sys.argv[1:4], int(sys.argv[4])
FIRST = [{'id': f'a{i}', 'prompt': [5 + i] * 20, 'max_tokens': 4, 'temperature': 0, 'n': n, 'stream': False} for i, n in ((1, 1), (2, 2), (3, 1))]
LAST = {'id': 'last', 'prompt': [9] * 20, 'max_tokens': 4, 'temperature': 0}
OPTIONS = ['-j', '1', '--slots', '3', '--ctx', '256']


def lines(n_alloc=0, count=None, ask=True):
    """(answers to the first three, answer to the last when they are there, exit status, what was said)"""
    env = dict(os.environ, **({'K_FAULT_ALLOC': str(n_alloc)} if n_alloc else {}), **({'K_FAULT_COUNT': count} if count else {}))
    with open(f'{T}/said', 'w+') as said:
        p = subprocess.Popen([KSERVE, '--stdio', *OPTIONS, MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=env)
        signal.alarm(120)       # nothing hangs
        got = []
        try:
            for batch in ([FIRST, [LAST]] if ask else []):
                p.stdin.write(''.join(json.dumps(r) + '\n' for r in batch))
                p.stdin.flush()
                got += [json.loads(x) for x in (p.stdout.readline() for _ in batch) if x]
            p.stdin.close()
        except BrokenPipeError:
            pass
        p.stdout.read()
        status = p.wait()
        signal.alarm(0)
        said.seek(0)
        return got, status, said.read()


def text(r):
    return [c['text'] for c in r['choices']]


def allocations():
    """One fails while requests are computed: each is answered, or told why not; the next is computed as ever; nothing leaks. A server without memory for what it is
    asked ends, and so do the answers that it is at."""
    def counted(**more):
        got, status, said = lines(count=f'{T}/count', **more)
        assert status == 0, said
        return got, int(open(f'{T}/count').read().split()[1])
    (_, before), (want, after) = counted(ask=False), counted()
    failed = 0
    for n in range(before - 40, after, STEP):
        got, status, said = lines(n)
        assert status in (0, 6) and 'Sanitizer' not in said, (n, status, said[-600:])
        assert status == 0 or said.strip().split('\n')[-1].startswith('kserve: '), (n, said)
        assert status != 0 or len(got) == 4, (n, got, said)
        for r, w in zip(got, want):
            if 'error' in r:
                failed += 1
                assert r['error']['message'] and r['error']['type'] == 'server_error', (n, r)
            elif status == 0 or all(c['finish_reason'] != 'abort' for c in r['choices']):
                assert text(r) == text(w), (n, r, w)
        assert len(got) < 4 or sum('error' in r for r in got) <= 3, (n, got)
    assert failed, (before, after)


def device():
    """The device gives out in a step: every request of it hears so, /health too, and the server ends with the reason."""
    port_file = f'{T}/port'
    with open(f'{T}/said', 'w+') as said:
        p = subprocess.Popen([KSERVE, '--listen', '127.0.0.1:0', '--port-file', port_file, *OPTIONS, MODEL], stderr=said, env=dict(os.environ, K_FAULT_DEVICE='40'))
        try:
            while not (os.path.exists(port_file) and open(port_file).read()):
                assert p.poll() is None
                time.sleep(0.05)
            calls = []
            for stream in (True, False):
                c = http.client.HTTPConnection('127.0.0.1', int(open(port_file).read()), timeout=120)
                c.request('POST', '/v1/completions', json.dumps({'prompt': [5] * 20, 'max_tokens': 200, 'min_tokens': 200, 'stream': stream}), {'Content-Type': 'application/json'})
                calls.append(c)
            r = calls[0].getresponse()
            events = r.read().decode().strip().split('\n\n')
            assert r.status == 200 and len(events) > 3 and events[-1] == 'data: [DONE]', events[-2:]
            e = json.loads(events[-2][6:])['error']
            assert e['type'] == 'server_error' and 'device' in e['message'], e
            r = calls[1].getresponse()
            e = json.loads(r.read())['error']
            assert r.status == 500 and e['type'] == 'server_error' and e['message'], e
            assert p.wait(60) == 6
            said.seek(0)
            text = said.read()
            assert text.strip().split('\n')[-1].startswith('kserve: ') and 'device' in text.strip().split('\n')[-1] and 'Sanitizer' not in text, text[-600:]
        finally:
            p.kill()


run([allocations, device])
