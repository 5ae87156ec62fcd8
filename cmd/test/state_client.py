"""state_client.py FOLDER: starts servers on FOLDER/nano.kmf and asks them; prints "ok NAME" for what holds, else what is wrong."""
import fcntl, glob, hashlib, http.client, json, os, random, shutil, signal, socket, struct, subprocess, sys, threading, time, traceback

from checks import metric

T = sys.argv[1]
SANITIZED = any(k in os.environ.get('B', '') for k in ('asan', 'tsan', 'oom'))     # what was freed is kept
loop = json.load(open('testdata/nano/eval/toolloop.json'))
SYSTEM = 'You are a careful helper. ' * 30


class Server:
    def __init__(self, *args, model='nano.kmf'):
        self.port_file, self.err = f'{T}/port', f'{T}/err'
        if os.path.exists(self.port_file):
            os.remove(self.port_file)
        self.p = subprocess.Popen(['kserve', '--listen', '127.0.0.1:0', '--port-file', self.port_file, '--act', 'f32', '--ctx', '32768', '-v',
                                   *args, f'{T}/{model}'], stderr=open(self.err, 'w'))
        while not (os.path.exists(self.port_file) and open(self.port_file).read().strip()):
            assert self.p.poll() is None, open(self.err).read()[-300:]
            time.sleep(0.02)
        self.port = int(open(self.port_file).read())

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.end(signal.SIGTERM)
        assert a[0] or self.p.returncode == 0, (self.p.returncode, self.log()[-300:])

    def end(self, how):
        self.p.send_signal(how)
        self.p.wait(60)

    def log(self):
        return open(self.err).read()

    def post(self, path, body, timeout=120):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        c.request('POST', path, json.dumps(body), {'Content-Type': 'application/json'})
        r = c.getresponse()
        data = json.loads(r.read())
        c.close()
        return r.status, data, r.headers

    def ask(self, messages, **more):
        status, r, _ = self.post('/v1/chat/completions', {'messages': messages, 'temperature': 0, 'max_tokens': 12, **more})
        assert status == 200, r
        return r['choices'][0]['message'], r['usage']['prompt_tokens'], r['usage']['prompt_tokens_details']['cached_tokens']


def text(prompt, **more):
    return {'prompt': prompt, 'temperature': 0, 'max_tokens': 8, **more}


def user(s):
    return {'role': 'user', 'content': s}


def states(folder):
    return sorted(glob.glob(f'{folder}/*.kseq'))


def cached_tokens_are_true():
    with Server() as s:
        ids = [(i * 37) % 3000 + 20 for i in range(77)]
        seen = []
        for p in (ids, ids, ids[:60] + [7, 8, 9], ids + [5] * 10):
            status, r, _ = s.post('/v1/completions', text(p))
            assert status == 200, r
            seen.append(r['usage']['prompt_tokens_details']['cached_tokens'])
        assert seen[:2] == [0, 76], seen
        assert seen[3] >= 76, seen
        hello = [{'role': 'system', 'content': SYSTEM}, user('Hello')]
        first, n, cached = s.ask(hello)
        assert cached == 0
        again, n, cached = s.ask(hello)
        assert again == first and cached == n - 1, (n, cached)
        other, n, cached = s.ask([hello[0], user('Define wisdom.')])
        assert cached > 0.8 * n, (n, cached)
        for more in ({'cache_prompt': False}, {'cache_salt': 'a'}):
            got, n, cached = s.ask(hello, **more)
            assert got == first and cached == 0, (more, cached)
        got, n, cached = s.ask(hello, cache_salt='a')
        assert got == first and cached == n - 1, (n, cached)
        got, n, cached = s.ask(hello, cache_salt='b')
        assert cached == 0
        status, r, _ = s.post('/v1/completions', text(ids, echo=True, logprobs=2))
        assert status == 200 and r['usage']['prompt_tokens_details']['cached_tokens'] == 0, r


def cache_does_not_change_an_answer():
    """Logprobs too: cold, warm at every length, in company, with other threads, on a fixed grid."""
    ids = [(i * 53) % 3000 + 20 for i in range(400)]
    cuts = (17, 63, 64, 65, 127, 128, 129, 200, 256, 399, 400)
    def answers(s, warm, company):
        out = []
        threads = [threading.Thread(target=s.post, args=('/v1/completions', text(ids[i:i + 90], max_tokens=40))) for i in range(company)]
        for t in threads:
            t.start()
        for n in cuts if warm else cuts[::-1]:
            status, r, _ = s.post('/v1/completions', text(ids[:n], logprobs=3, cache_prompt=warm))
            assert status == 200, r
            out.append((n, json.dumps(r['choices'][0])))
        for t in threads:
            t.join()
        return dict(out)
    seen = []
    for args in (('-j', '1'), ('-j', '2'), ('-j', '2', '--deterministic', '--batch', '96')):
        with Server(*args) as s:
            seen += [answers(s, False, 0), answers(s, True, 0), answers(s, True, 5)]
            if '--deterministic' in args:
                _, r, _ = s.post('/v1/completions', text(ids[:300]))
                assert r['usage']['prompt_tokens_details']['cached_tokens'] % 64 == 0, r['usage']
    assert all(a == seen[0] for a in seen), [n for a in seen for n in a if a[n] != seen[0][n]]


def tool_loop_with_a_restart_and_a_crash():
    folder = f'{T}/loop'
    messages, cached, steps = [user(loop['user'])], [], loop['steps'][:60]
    s = Server('--state-dir', folder)
    for i, step in enumerate(steps):
        if i == 30:
            s.end(signal.SIGTERM)
            assert s.p.returncode == 0 and len(states(folder)) == 1, states(folder)
            s = Server('--state-dir', folder)
        if i == 45:
            time.sleep(2.5)             # an idle server writes what is new
            s.end(signal.SIGKILL)
            s = Server('--state-dir', folder)
        m, n, c = s.ask(messages, tools=loop['tools'], max_tokens=64)
        assert json.loads(m['tool_calls'][0]['function']['arguments']) == step['args'] and m['tool_calls'][0]['id'] == f'functions.next_page:{i}', (i, m)
        cached.append(c / n)
        messages += [{'role': 'assistant', 'content': m.get('content'), 'tool_calls': m['tool_calls']},
                     {'role': 'tool', 'tool_call_id': m['tool_calls'][0]['id'], 'content': step['result']}]
    s.end(signal.SIGTERM)
    assert min(cached[10:]) > 0.7, cached


def wrong_states_are_refused():
    folder, talk = f'{T}/wrong', [{'role': 'system', 'content': SYSTEM}, user('Define wisdom.')]
    with Server('--state-dir', folder) as s:
        want, n, _ = s.ask(talk)
    good, = states(folder)
    data = open(good, 'rb').read()
    with Server('--state-dir', folder) as s:
        got, n, cached = s.ask(talk)
        assert got == want and cached == n - 1, (cached, n)
    def empty():
        for f in glob.glob(f'{folder}/*'):
            os.remove(f)

    def only(d):
        empty()
        open(good, 'wb').write(d)
    R = random.Random(4)
    flips = [9, 40, 130, 143] + [R.randrange(len(data)) for _ in range(6)]
    tests = [('bit %d' % at, data[:at] + bytes([data[at] ^ 1 << R.randrange(8)]) + data[at + 1:]) for at in flips]
    tests += [('cut', data[:len(data) // 2]), ('empty', b''), ('foreign', b'hello' * 1000), ('cut at the end', data[:-1]), ('longer', data + b'x')]
    for name, d in tests:
        only(d)
        with Server('--state-dir', folder) as s:
            got, n, cached = s.ask(talk)
            assert got == want and cached == 0, (name, cached)
            # Of another version, or of another model: for whoever comes back to that.
            others = name in ('bit 9', 'bit 40')
            assert ('not for this server' if others else 'state refused') in s.log() and good in s.log(), (name, s.log()[-400:])
            assert os.path.exists(good + '.refused') != others and os.path.exists(good) == others, name
    only(data)
    # Models take turns with one folder: each finds its own again.
    for model, again in (('int4.kmf', False), ('nano.kmf', True), ('int4.kmf', True)):
        with Server('--state-dir', folder, model=model) as s:
            got, n, cached = s.ask(talk)
            assert cached == again * (n - 1) and 'another model' in s.log() or model == 'nano.kmf' and not again, (model, cached, s.log()[-400:])
    assert len(states(folder)) == 2 and not glob.glob(f'{folder}/*.refused'), os.listdir(folder)
    only(data)
    # Folders have no digests: another training of the same shape is told by samples of its values.
    for name in ('a', 'b'):
        shutil.copytree('testdata/nano', f'{T}/{name}')
    first = glob.glob(f'{T}/b/model-00001*')[0]
    os.chmod(first, 0o644)
    shards = bytearray(open(first, 'rb').read())
    for at in range(100001, len(shards), 2):
        shards[at - 1] ^= 1
    open(first, 'wb').write(shards)
    empty()
    with Server('--state-dir', folder, model='a') as s:
        s.ask(talk)
    with Server('--state-dir', folder, model='b') as s:
        got, n, cached = s.ask(talk)
        assert cached == 0 and 'another model' in s.log(), s.log()[-400:]
    only(data)
    with Server('--state-dir', folder, '--act', 'int8') as s:
        got, n, cached = s.ask(talk)
        assert cached == 0 and 'another way' in s.log(), s.log()[-400:]
    # Pages of BF16: found again, half as large. As versions wrote it that kept floats with every --act: refused.
    empty()
    with Server('--state-dir', folder, '--act', 'bf16') as s:
        want, n, _ = s.ask(talk)
    other, = states(folder)
    small = open(other, 'rb').read()
    assert b'kv bf16' in small[:128] and b'kv bf16' not in data[:128] and len(small) < len(data), (len(small), len(data))
    for old in (False, True):
        if old:
            how = small[48:112].replace(b', kv bf16', b'').ljust(64, b'\0')
            empty()
            open(other, 'wb').write(small[:48] + how + small[112:])
        with Server('--state-dir', folder, '--act', 'bf16') as s:
            got, n, cached = s.ask(talk)
            assert got == want and cached == (0 if old else n - 1), (old, cached, n)
            assert ('another way' in s.log()) == old, s.log()[-400:]


def a_pipe_among_the_states_is_set_aside():
    folder = f'{T}/piped'
    os.mkdir(folder)
    os.mkfifo(f'{folder}/db0d6a13a62da923.kseq')
    with Server('--state-dir', folder) as s:
        assert 'is no file' in s.log() and not states(folder), s.log()


def changed_tokens_are_refused():
    """A token that is another one, where the digest over the rest is right (the one over the tokens tells), where the one over the tokens is made right
    (that over the rest tells, for it begins with it)."""
    folder, talk = f'{T}/changed', [{'role': 'system', 'content': SYSTEM}, user('Define wisdom.')]
    with Server('--state-dir', folder) as s:
        want, n, _ = s.ask(talk)
    good, = states(folder)
    data = open(good, 'rb').read()
    n_mark, = struct.unpack_from('<I', data, 12)
    length, = struct.unpack_from('<q', data, 120)
    first = 128 + 8 * n_mark
    end = first + 4 * length
    assert hashlib.sha256(data[:end]).digest() == data[end:end + 32] and hashlib.sha256(data[end:-32]).digest() == data[-32:], 'the format is another one'

    def changed(tokens_digest, digest):
        d = bytearray(data)
        d[end - 4] ^= 1
        if tokens_digest:
            d[end:end + 32] = hashlib.sha256(d[:end]).digest()
        if digest:
            d[-32:] = hashlib.sha256(d[end:-32]).digest()
        return bytes(d)

    for name, d in (("the tokens' digest tells", changed(False, True)), ("the other digest tells", changed(True, False))):
        shutil.rmtree(folder)
        os.mkdir(folder)
        open(good, 'wb').write(d)
        with Server('--state-dir', folder) as s:
            got, n, cached = s.ask(talk)
            assert got == want and cached == 0, (name, cached)
            assert 'state refused' in s.log() and os.path.exists(good + '.refused'), (name, s.log()[-400:])


def servers_share_a_folder():
    """What another one writes again or removes is no damage, and what it is writing is left alone."""
    folder, system = f'{T}/shared', {'role': 'system', 'content': SYSTEM}
    talks = [[system, user('Define wisdom.')], [system, user('Define music.')]]
    def stats(s):
        return [int(metric(s.port, f'kserve_states_{k}_total')) for k in ('read', 'refused')]
    with Server('--state-dir', folder) as s:
        want, n, _ = s.ask(talks[0])
    mine, = states(folder)
    with Server('--state-dir', folder) as one:
        with Server('--state-dir', folder) as two:
            two.ask(talks[0] + [{'role': 'assistant', 'content': want['content']}, user('Define music.')])
        assert states(folder) == [mine], states(folder)
        got, n, cached = one.ask(talks[0])
        assert got == want and cached == n - 1 and stats(one) == [1, 0], (cached, n, stats(one), one.log()[-400:])
    with Server('--state-dir', folder) as one:
        os.remove(mine)
        got, n, cached = one.ask(talks[0])
        assert got == want and cached == 0 and stats(one) == [0, 0] and 'refused' not in one.log(), (cached, stats(one), one.log()[-400:])
    kept, left = f'{folder}/db0d6a13a62da923.kseq.tmp.1', f'{folder}/db0d6a13a62da923.kseq.tmp.2'
    open(left, 'w').close()
    with open(kept, 'w') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        with Server('--state-dir', folder):
            assert os.path.exists(kept) and not os.path.exists(left), os.listdir(folder)


def reading_a_state_holds_nobody_up():
    """Files that are pipes: they are read for as long as nobody writes. Whoever wants one waits, and the others are computed."""
    folder = f'{T}/slow'
    talks = [[{'role': 'system', 'content': f'You are {x}. ' + SYSTEM}, user('Define wisdom.')] for x in ('one', 'two', 'three')]
    with Server('--state-dir', folder) as s:
        want = [s.ask(t) for t in talks]
    files = states(folder)
    assert len(files) == 3, files
    data = [open(f, 'rb').read() for f in files]
    with Server('--state-dir', folder, '--slots', '2') as s:
        for f in files:
            os.remove(f)
            os.mkfifo(f)
        def until(name, n):
            end = time.time() + 60
            while metric(s.port, name) != n:
                assert time.time() < end, (name, metric(s.port, name), n)
                time.sleep(0.01)
        got = {}
        def ask(i):
            got[i] = s.ask(talks[i])
        def gone(i):
            c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
            c.request('POST', '/v1/chat/completions', json.dumps({'messages': talks[i], 'temperature': 0, 'max_tokens': 12}), {'Content-Type': 'application/json'})
            until('vllm:num_requests_waiting', 1)
            c.close()
            until('vllm:num_requests_waiting', 0)
        gone(2)         # it left while its file was being read
        threads = [threading.Thread(target=ask, args=(i,)) for i in (0, 1)]
        for t in threads:
            t.start()
        until('vllm:num_requests_waiting', 2)
        steps = metric(s.port, 'kserve_steps_total')
        for i in range(6):
            status, r, _ = s.post('/v1/completions', text([9 + i] * 70, min_tokens=8))
            assert status == 200 and r['usage']['completion_tokens'] == 8, r
        assert metric(s.port, 'kserve_steps_total') >= steps + 6 * 8 and metric(s.port, 'vllm:num_requests_waiting') == 2 and not got, (steps, got)
        for f, d in zip(files, data):
            def feed(f=f, d=d):
                with open(f, 'wb') as out:
                    out.write(d)
            threads.append(threading.Thread(target=feed, daemon=True))
            threads[-1].start()
        for t in threads[:2]:
            t.join(60)
        for i in (0, 1):
            message, n, cached = got[i]
            assert message == want[i][0] and cached == n - 1, (got[i], want[i])
        message, n, cached = s.ask(talks[2])
        assert message == want[2][0] and cached == n - 1 and metric(s.port, 'kserve_states_read_total') == 3 and metric(s.port, 'kserve_states_refused_total') == 0, (cached, n)


IDS = [(i * 41) % 3000 + 20 for i in range(77)]


def cached_of(s, prompt, **more):
    status, r, _ = s.post('/v1/completions', text(prompt, **more))
    assert status == 200, r
    return r['choices'][0]['text'], r['usage']['prompt_tokens_details']['cached_tokens']


def order(s, slot, action, name=None, timeout=120):
    status, r, _ = s.post(f'/slots/{slot}?action={action}', {} if name is None else {'filename': name}, timeout)
    return status, r


def slots_are_saved_restored_and_erased():
    """llama-server's route: numbers by hand. 77 tokens of prompt and 8 of answer, of which the last is computed by nobody: 84."""
    folder, more = f'{T}/slots', [5, 6, 7]
    with Server('--slots', '2') as s:
        cold, _ = cached_of(s, IDS, return_token_ids=True, min_tokens=8)
        _, r, _ = s.post('/v1/completions', text(IDS, return_token_ids=True, min_tokens=8))
        went_on = IDS + r['choices'][0]['token_ids'] + more
        cold_on, _ = cached_of(s, went_on, cache_prompt=False)
        status, r = order(s, 0, 'save', 'a.bin')
        assert status == 501 and r['error']['code'] == 'unsupported_endpoint', r
    with Server('--slots', '2', '--slot-save-path', folder) as s:
        assert order(s, 1, 'save', 'a.bin')[0] == 400       # it holds nothing
        assert cached_of(s, IDS, id_slot=1, min_tokens=8) == (cold, 0)
        status, r = order(s, 1, 'save', 'a.bin')
        size = os.path.getsize(f'{folder}/a.bin')
        assert status == 200 and r['timings'].pop('save_ms') > 0 and r == {'id_slot': 1, 'filename': 'a.bin', 'n_saved': 84, 'n_written': size, 'timings': {}}, r
        long = 'x' * 251 + '.bin'
        assert order(s, 1, 'save', long)[0] == 200 and os.path.getsize(f'{folder}/{long}') == size
        status, r = order(s, 1, 'erase')
        assert status == 200 and r == {'id_slot': 1, 'n_erased': 84}, r
        assert order(s, 1, 'erase')[1]['n_erased'] == 0
        assert cached_of(s, IDS, id_slot=1, min_tokens=8) == (cold, 0)
        assert cached_of(s, IDS, id_slot=1, cache_prompt=False, min_tokens=8) == (cold, 0) and order(s, 1, 'save', 'b')[0] == 400
        assert cached_of(s, IDS + [9] * 20, cache_salt='mine')[1] == 0
        assert sorted(os.listdir(folder)) == sorted(['a.bin', long]), os.listdir(folder)
    with Server('--slots', '2', '--slot-save-path', folder) as s:
        status, r = order(s, 0, 'restore', 'a.bin')
        assert status == 200 and r['timings'].pop('restore_ms') > 0 and r == {'id_slot': 0, 'filename': 'a.bin', 'n_restored': 84, 'n_read': size, 'timings': {}}, r
        assert cached_of(s, went_on, cache_salt='mine')[1] == 0
        assert cached_of(s, went_on, id_slot=0) == (cold_on, 84)
        assert cached_of(s, IDS, id_slot=0, min_tokens=8) == (cold, 76)
        assert cached_of(s, IDS, id_slot=1, min_tokens=8) == (cold, 76)


def orders_that_are_wrong_are_refused():
    folder = f'{T}/slots'
    data = open(f'{folder}/a.bin', 'rb').read()
    os.mkdir(f'{folder}/folder')
    outside = f'{T}/outside.bin'
    shutil.copy(f'{folder}/a.bin', outside)
    os.symlink(outside, f'{folder}/link')
    os.symlink(f'{T}/nothing', f'{folder}/dangling')
    names = ['../a.bin', 'a/b', '/etc/passwd', '.a', '..', 'a..b', '', 'x' * 256, 'a\0b', 'a\nb', 'a\\b', 5, None, [], {}, True, 'no such', 'folder', 'link', 'dangling']
    bad = {'cut': data[:-1], 'half': data[:len(data) // 2], 'empty': b'', 'foreign': b'hello' * 1000, 'longer': data + b'x'}
    R = random.Random(9)
    for at in [9, 20, 40, 130] + [R.randrange(len(data)) for _ in range(6)]:
        bad[f'bit{at}'] = data[:at] + bytes([data[at] ^ 1 << R.randrange(8)]) + data[at + 1:]
    for name, d in bad.items():
        open(f'{folder}/{name}', 'wb').write(d)
    with Server('--slots', '2', '--slot-save-path', folder) as s:
        for name in names + list(bad):
            status, r = order(s, 0, 'restore', name)
            assert status == 400 and r['error']['type'] == 'invalid_request_error' and T not in json.dumps(r), (name, status, r)
        assert cached_of(s, IDS)[1] == 0
        for slot, action, body, want in ((2, 'restore', {'filename': 'a.bin'}, 400), (-1, 'erase', {}, 400), ('x', 'erase', {}, 400), ('0/1', 'erase', {}, 400), ('9' * 40, 'erase', {}, 400), ('00', 'erase', {}, 400),
                                         (0, 'nothing', {}, 400), (0, 'save', {}, 400), (0, 'save&x=1', {'filename': 'folder/x'}, 400)):
            status, r, _ = s.post(f'/slots/{slot}?action={action}', body)
            assert status == want and r['error']['message'], (slot, action, status, r)
        assert order(s, 0, 'save', 'folder')[0] == 500      # a folder has that name
        open(outside, 'wb').write(b'mine')
        for name in 'link', 'dangling':
            status, r = order(s, 0, 'save', name)
            assert status == 400 and 'symbolic link' in r['error']['message'], r
        assert open(outside, 'rb').read() == b'mine' and not os.path.exists(f'{T}/nothing')
        for method, path, body, kind, want in (('GET', '/slots/0', None, None, 405), ('POST', '/slots/0', None, None, 400), ('POST', '/slots/0?action=save', b'[1]', 'application/json', 400),
                                               ('POST', '/slots/0?action=save', b'{', 'application/json', 400), ('POST', '/slots/0?action=erase', b'{}', 'text/plain', 415),
                                               ('POST', '/v1/slots/0?action=erase', None, None, 200), ('POST', '/slots/0?action=save', b'{"a":"' + b'x' * 70000 + b'"}', 'application/json', 413)):
            c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=20)
            c.request(method, path, body, {'Content-Type': kind} if kind else {})
            r = c.getresponse()
            assert r.status == want, (method, path, r.status, r.read())
    with Server('--slots', '1', '--slot-save-path', folder, model='int4.kmf') as s:
        status, r = order(s, 0, 'restore', 'a.bin')
        assert status == 400 and "'a.bin' was saved from another model" in r['error']['message'], r
    with Server('--slots', '1', '--slot-save-path', folder, '--act', 'int8') as s:
        assert order(s, 0, 'restore', 'a.bin')[0] == 400
    with Server('--slots', '1', '--slot-save-path', folder, '--ctx', '80') as s:
        status, r = order(s, 0, 'restore', 'a.bin')
        assert status == 400 and '84 tokens' in r['error']['message'], r


def a_disk_that_does_not_answer():
    """Files that are pipes: an order and a prompt wait for them, all else goes on, and SIGTERM ends the server in time, with status 0."""
    folder, states_of = f'{T}/hung', f'{T}/hung.states'
    talk = [{'role': 'system', 'content': SYSTEM}, user('Define wisdom.')]
    os.mkdir(folder)
    os.mkfifo(f'{folder}/pipe')
    with Server('--slots', '2', '--slot-save-path', folder) as s:
        seen = []
        thread = threading.Thread(target=lambda: seen.append(order(s, 0, 'restore', 'pipe')))
        thread.start()
        time.sleep(0.3)
        assert order(s, 0, 'erase')[0] == 409 and order(s, 1, 'erase')[0] == 200
        assert cached_of(s, IDS, id_slot=0)[1] == 0
        t = time.time()
        s.p.send_signal(signal.SIGTERM)
        with open(f'{folder}/pipe', 'wb') as out:
            out.write(b'hello')
        thread.join(20)
        assert seen[0][0] == 400 and s.p.wait(20) == 0 and time.time() - t < 10, seen
    with Server('--slots', '2', '--slot-save-path', folder, '--drain', '2') as s:
        seen = []
        thread = threading.Thread(target=lambda: seen.append(order(s, 0, 'restore', 'pipe')))
        thread.start()
        time.sleep(0.3)
        t = time.time()
        s.end(signal.SIGTERM)
        thread.join(5)
        assert seen[0][0] == 503 and s.p.returncode == 0 and time.time() - t < 12 and 'does not answer' in s.log(), (seen, s.p.returncode, time.time() - t)
    with Server('--state-dir', states_of) as s:
        s.ask(talk)
    file, = states(states_of)
    with Server('--state-dir', states_of, '--drain', '2') as s:
        os.remove(file)
        os.mkfifo(file)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(s.post('/v1/chat/completions', {'messages': talk, 'max_tokens': 5})[0]))
        thread.start()
        time.sleep(0.5)
        assert cached_of(s, IDS)[1] == 0
        t = time.time()
        s.end(signal.SIGTERM)
        thread.join(5)
        assert seen == [503] and s.p.returncode == 0 and time.time() - t < 12 and 'does not answer' in s.log(), (seen, s.p.returncode, time.time() - t, s.log()[-300:])


def clients_that_go_leave_nothing():
    """Gone while waiting, while the prompt is computed, while it answers; then a load with random ends, in flat memory."""
    def rss(s):
        return int(open(f'/proc/{s.p.pid}/statm').read().split()[1]) * 4096
    with Server('--slots', '4', '--max-memory', '96M', '--ctx', '4096') as s:
        def one(i, R):
            n = R.choice((5, 40, 200))
            body = json.dumps(text([(i * 7 + k * R.choice((1, 3))) % 3000 + 20 for k in range(n)], max_tokens=R.choice((1, 5, 20)), stream=R.random() < 0.7))
            c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=100)
            try:
                c.request('POST', '/v1/completions', body, {'Content-Type': 'application/json'})
                if R.random() < 0.6:
                    time.sleep(R.random() * 0.5)
                    return
                r = c.getresponse()
                assert r.status in (200, 429, 503), r.status
                r.read()
            finally:
                c.close()
        def many(k, seconds):
            R, end = random.Random(k), time.time() + seconds
            i = 0
            while time.time() < end:
                one(k * 1000 + i, R)
                i += 1
        def load(seconds):
            threads = [threading.Thread(target=many, args=(k, seconds)) for k in range(100)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        load(3)
        before = rss(s)
        load(6)
        after = rss(s)
        assert SANITIZED or after < before + (24 << 20), (before >> 20, after >> 20)
        t = time.time()
        status, r, _ = s.post('/v1/completions', text([5, 6, 7]))
        assert status == 200 and time.time() - t < 20, r


def too_many_wait():
    with Server('--slots', '1', '--max-queue', '2') as s:
        seen = []
        def one():
            status, r, h = s.post('/v1/completions', text([9] * 500, max_tokens=200, min_tokens=200))
            seen.append((status, h.get('Retry-After')))
        threads = [threading.Thread(target=one) for _ in range(8)]
        for t in threads:
            t.start()
        # A large body is not waited for where there is no place for it.
        early = b''
        while early[9:12] != b'503' and any(t.is_alive() for t in threads):
            c = socket.create_connection(('127.0.0.1', s.port), 1)
            c.sendall(b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n{')
            c.settimeout(0.2)
            try:
                early = c.recv(4096)
            except TimeoutError:
                pass
            c.close()
        assert early.startswith(b'HTTP/1.1 503') and b'overloaded' in early and b'Retry-After: ' in early, early
        for t in threads:
            t.join()
        assert sum(a == 200 for a, _ in seen) >= 2 and all(a == 200 or a in (429, 503) and 1 <= int(b) <= 60 for a, b in seen), seen
        assert any(a != 200 for a, _ in seen), seen


def memory_is_given_back():
    """What the cache lets go leaves the process: with small pieces between, the process grew by half of --max-memory."""
    if SANITIZED:
        return
    with Server('--max-memory', '100M', '--slots', '2', '--ctx', '1024') as s:
        for i in range(100):
            schema = {'type': 'object', 'properties': {'a': {'type': 'string', 'maxLength': 9}, f'b{i}': {'type': 'integer'}}, 'required': ['a']}
            s.ask([user(f'{i} ' + 'w ' * random.Random(i).choice((50, 200)))], max_tokens=4, response_format={'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': schema}})
        resident = int(next(l for l in open(f'/proc/{s.p.pid}/status') if l.startswith('VmRSS')).split()[1]) << 10
        assert resident < 118 << 20, resident


def a_small_disk_keeps_its_states():
    """Of the folder disk, which the caller made small: states get half of it, after a start as before."""
    folder, kept = f'{T}/disk', []
    for first in (0, 12, 13):
        with Server('--state-dir', folder) as s:
            for i in range(first, first + (12 if first == 0 else 1)):
                s.ask([user(f'Topic {i}: ' + 'word ' * 20)])
        kept.append(len(states(folder)))
    # One more or less: files differ a little.
    assert 3 <= kept[0] < 12 and min(kept[1:]) >= kept[0] - 1, kept
    # What is written now is the newest, also where the clock was ahead before.
    for f in states(folder):
        os.utime(f, (time.time() + 1e8,) * 2)
    new = [user('Weather of today: ' + 'word ' * 90)]
    for again in (False, True):
        with Server('--state-dir', folder) as s:
            _, n, cached = s.ask(new)
            assert (cached == n - 1) == again, (cached, n)
    # Others fill the disk: states make room, and what could not be written is written when there is some again.
    with Server('--state-dir', folder) as s:
        had = len(states(folder))
        with open(f'{folder}/others', 'wb') as f:
            f.write(b'x' * (os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize))
        last = [user('Weather of tomorrow: ' + 'word ' * 90)]
        s.ask(last)
        end = time.time() + 60
        while 'state not saved' not in s.log() or len(states(folder)) > (had + 1) // 2:
            assert time.time() < end, (had, states(folder), s.log()[-400:])
            time.sleep(0.1)
        os.remove(f'{folder}/others')
    with Server('--state-dir', folder) as s:
        _, n, cached = s.ask(last)
        assert cached == n - 1, (cached, n)


TESTS = (cached_tokens_are_true, cache_does_not_change_an_answer, tool_loop_with_a_restart_and_a_crash, wrong_states_are_refused, a_pipe_among_the_states_is_set_aside, changed_tokens_are_refused, servers_share_a_folder, reading_a_state_holds_nobody_up,
             slots_are_saved_restored_and_erased, orders_that_are_wrong_are_refused, a_disk_that_does_not_answer, clients_that_go_leave_nothing, too_many_wait, memory_is_given_back)
for test in TESTS + (a_small_disk_keeps_its_states,):
    if test.__name__ not in (sys.argv[2:] or [t.__name__ for t in TESTS]):
        continue
    try:
        test()
        print('ok', test.__name__, flush=True)
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        print(f'{test.__name__}, line {where.lineno}: {type(e).__name__} {str(e)[:500]}'.replace('\n', ' '), flush=True)
