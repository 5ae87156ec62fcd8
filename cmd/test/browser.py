"""browser.py: a headless Chromium, driven through the DevTools protocol over two pipes. Standard library only.

    with Browser('chromium') as b:
        b.open('http://127.0.0.1:8080/')
        b.js('document.title')
"""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

KEYS = {'Enter': (13, '\r'), 'Escape': (27, ''), 'Tab': (9, ''), 'ArrowUp': (38, '')}


class Browser:
    def __init__(self, program):
        self.folder = tempfile.mkdtemp(prefix='ktools-browser.')
        to_it, self.out = os.pipe()
        self.inp, from_it = os.pipe()

        def pipes():                    # the protocol's places are 3 and 4
            a, b = os.dup(to_it), os.dup(from_it)
            os.dup2(a, 3), os.dup2(b, 4)
        options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--remote-debugging-pipe', '--no-first-run',
                   '--disable-background-networking', '--disable-component-update', '--disable-sync', '--hide-scrollbars', '--force-device-scale-factor=1',
                   '--lang=en', f'--user-data-dir={self.folder}', 'about:blank']
        self.log = open(os.path.join(self.folder, 'log'), 'wb')
        self.process = subprocess.Popen([program, *options], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, close_fds=False,
                                        preexec_fn=pipes)
        os.close(to_it), os.close(from_it)
        self.rest, self.n, self.answers, self.events, self.session = b'', 0, {}, [], None
        target = next(t for t in self.call('Target.getTargets', wait=60)['targetInfos'] if t['type'] == 'page')
        self.session = self.call('Target.attachToTarget', targetId=target['targetId'], flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(domain + '.enable')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.call('Browser.close', wait=5)
            self.process.wait(10)
        except Exception:
            self.process.kill()
            self.process.wait()
        self.log.close()
        os.close(self.out), os.close(self.inp)
        shutil.rmtree(self.folder, ignore_errors=True)

    def read(self, wait):
        if not select.select([self.inp], [], [], wait)[0]:
            return
        got = os.read(self.inp, 1 << 20)
        if not got:
            raise EOFError('the browser has ended')
        *lines, self.rest = (self.rest + got).split(b'\0')
        for line in lines:
            m = json.loads(line)
            if 'id' in m:
                self.answers[m['id']] = m
            else:
                self.events.append(m)

    def call(self, method, wait=20, **params):
        self.n += 1
        m = {'id': self.n, 'method': method, 'params': params, **({'sessionId': self.session} if self.session else {})}
        data = json.dumps(m).encode() + b'\0'
        while data:
            data = data[os.write(self.out, data):]
        end = time.monotonic() + wait
        while self.n not in self.answers:
            if time.monotonic() > end:
                raise TimeoutError(method)
            self.read(0.5)
        got = self.answers.pop(self.n)
        if 'error' in got:
            raise RuntimeError(f"{method}: {got['error']['message']}")
        return got['result']

    def js(self, text):
        """The value of an expression; a promise is waited for."""
        r = self.call('Runtime.evaluate', expression=text, awaitPromise=True, returnByValue=True)
        if 'exceptionDetails' in r:
            raise RuntimeError(r['exceptionDetails'].get('exception', {}).get('description', r['exceptionDetails']['text']))
        return r['result'].get('value')

    def until(self, text, wait=15):
        end = time.monotonic() + wait
        while not (got := self.js(text)):
            if time.monotonic() > end:
                raise AssertionError('never so: ' + text)
            time.sleep(0.03)
        return got

    def open(self, url):
        self.call('Page.navigate', url=url)
        self.until('document.documentElement?.dataset.ready !== undefined')

    def reload(self):
        self.js('delete document.documentElement.dataset.ready')
        self.call('Page.reload')
        self.until('document.readyState === "complete" && document.documentElement?.dataset.ready !== undefined')

    def size(self, width, height):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, **features):
        self.call('Emulation.setEmulatedMedia', features=[{'name': k.replace('_', '-'), 'value': v} for k, v in features.items()])

    def type(self, text):
        self.call('Input.insertText', text=text)

    def key(self, name, modifiers=0, code=None):
        """modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        number, text = KEYS.get(name, (ord(name.upper()[0]), name if not modifiers & 3 else ''))
        k = {'key': name, 'code': code or name, 'windowsVirtualKeyCode': number, 'modifiers': modifiers}
        self.call('Input.dispatchKeyEvent', type='keyDown', **k, **({'text': text} if text else {}))
        self.call('Input.dispatchKeyEvent', type='keyUp', **k)

    def click(self, selector):
        """With the mouse, where the thing is."""
        x, y = self.js(f'''(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: "nearest"}});
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()''')
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def picture(self, path):
        with open(path, 'wb') as f:
            f.write(base64.b64decode(self.call('Page.captureScreenshot', format='png')['data']))

    def complaints(self):
        """What the console was told and what failed, since the last time."""
        self.js('0')
        out = []
        for e in self.events:
            p = e['params']
            if e['method'] == 'Runtime.exceptionThrown':
                out.append(p['exceptionDetails'].get('exception', {}).get('description') or p['exceptionDetails']['text'])
            elif e['method'] == 'Runtime.consoleAPICalled' and p['type'] in ('error', 'warning', 'assert'):
                out.append(' '.join(str(a.get('value', a.get('description'))) for a in p['args']))
            elif e['method'] == 'Log.entryAdded' and p['entry']['level'] in ('error', 'warning'):
                out.append(f"{p['entry']['text']} {p['entry'].get('url', '')}")
        self.events.clear()
        return out
