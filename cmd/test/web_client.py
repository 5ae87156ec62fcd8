"""web_client.py: what a browser sees of the chat page. "ok NAME" a line for what holds, "NAME: why" for what does not.

    web_client.py files OPEN KEYS FOLDER        the files and their headers; OPEN, KEYS: servers without and with keys
    web_client.py page OPEN KEYS CHROMIUM [DIR] the page in a browser; pictures into DIR
    web_client.py markdown FILE                 the renderer in node, on a document of its own
"""
import gzip
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

from browser import Browser

MARKDOWN = [
    ['# A *b*', '<h3>A <em>b</em></h3>'],
    ['## h ##', '<h4>h</h4>'],
    ['**a *b* c** `x<y`', '<p><strong>a <em>b</em> c</strong> <code>x&lt;y</code></p>'],
    ['***x*** ~~y~~ snake_case_name 2 * 3', '<p><em><strong>x</strong></em> <del>y</del> snake_case_name 2 * 3</p>'],
    ['**a*b**', '<p><strong>a*b</strong></p>'],
    ['one\ntwo\n\nthree', '<p>one<br>two</p><p>three</p>'],
    ['\\*no\\* \\<b>', '<p>*no* &lt;b&gt;</p>'],
    ['Text:\n- a\n- b\n  - c\n- d', '<p>Text:</p><ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>'],
    ['3. x\n4. y', '<ol start="3"><li>x</li><li>y</li></ol>'],
    ['1. one\n  - sub\n2. two', '<ol><li>one<ul><li>sub</li></ul></li><li>two</li></ol>'],
    ['- a\n\n- b', '<ul><li><p>a</p></li><li><p>b</p></li></ul>'],
    ['> q **b**\n> > r', '<blockquote><p>q <strong>b</strong></p><blockquote><p>r</p></blockquote></blockquote>'],
    ['| a | b |\n|---|--:|\n| 1 | x\\|y |\n| 2 |', '<div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>x|y</td></tr>'
     '<tr><td>2</td><td></td></tr></tbody></table></div>'],
    ['```c\nint x; // <b>\n```', '<figure><figcaption><span>c</span><button>Copy</button></figcaption><pre><code>int x; // &lt;b&gt;</code></pre></figure>'],
    ['```\nopen **x**', '<figure><figcaption><span></span><button>Copy</button></figcaption><pre><code>open **x**</code></pre></figure>'],
    ['a\n\n---\n\nb', '<p>a</p><hr><p>b</p>'],
    ['[t](https://e.org/a_(b) "title") <https://q.r/>', '<p><a href="https://e.org/a_(b)">t</a> <a href="https://q.r/">https://q.r/</a></p>'],
    ['See https://a.b/c_(d)).', '<p>See <a href="https://a.b/c_(d)">https://a.b/c_(d)</a>).</p>'],
    ['<script>alert(1)</script><img src=x onerror=alert(1)>', '<p>&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;</p>'],
    ['[x](javascript:alert(1)) [y](data:text/html,x) [z](/v1)', '<p>x (javascript:alert(1)) y (data:text/html,x) z (/v1)</p>'],
    ['[x]( javascript:alert(1)) [x](JaVaScRiPt:alert(1))', '<p>x (javascript:alert(1)) x (JaVaScRiPt:alert(1))</p>'],
    ['![i](https://a.b/c.png)', '<p><a href="https://a.b/c.png">i</a></p>'],
]
# Inputs that grow: each must be shown in time that grows with them.
HOSTILE = [['>', 5000], ['[', 5000], ['*a ', 3000], ['a* ', 3000], ['_a* ', 2000], ['*', 10000], ['` `` ', 2000], ['- ', 2000], ['|', 5000],
           ['[a](', 2000], [' x\n', 3000], ['http://', 2000], ['**a*b_c~~', 1000], ['a|b\n', 2000], ['> a\nb\n', 1000], ['\t', 5000], ['(', 5000]]
XSS = ('<script>window.pwned=1</script>\n\n<img src=x onerror="window.pwned=1">\n\n<svg onload=window.pwned=1>\n\n[a](javascript:window.pwned=1)\n\n'
       '[b](https://e.org/"onmouseover="window.pwned=1)\n\n![c](x" onerror="window.pwned=1)\n\n```"><script>window.pwned=1</script>\n</code><script>window.pwned=1</script>\n```\n\n'
       '<a href="javascript:window.pwned=1">x</a>\n\n| <script>window.pwned=1</script> | b |\n|---|---|\n| <iframe src=javascript:window.pwned=1> | c |\n')
TOOL = {'name': 'next_page', 'description': 'Return one page of the list.', 'parameters': {'type': 'object', 'properties': {'cursor': {'type': 'integer'}}, 'required': ['cursor']}}
LONG = {'system': '', 'temperature': '0', 'max_tokens': '', 'tools': '', 'more': '{"min_tokens": 20000}'}



def run(named):
    for f in named:
        try:
            f()
            print('ok', f.__name__, flush=True)
        except Exception as e:
            where = traceback.extract_tb(e.__traceback__)
            line = next((t.lineno for t in reversed(where) if t.filename == __file__), 0)
            print(f'{f.__name__}: line {line}: {type(e).__name__}: {e}'.replace('\n', ' ')[:600], flush=True)


# --- files ---------------------------------------------------------------------------------------------------------------


def get(url, path, method='GET', headers=None):
    u = urllib.parse.urlparse(url)
    c = http.client.HTTPConnection(u.hostname, u.port, timeout=20)
    c.request(method, path, headers=headers or {})
    r = c.getresponse()
    body = r.read()
    c.close()
    return r, body


def files(url, keys, folder):
    types = {'html': 'text/html; charset=utf-8', 'css': 'text/css; charset=utf-8', 'js': 'text/javascript; charset=utf-8'}
    names = sorted(n for n in os.listdir(folder) if not n.endswith('.png'))
    policy = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
              "form-action 'none'; frame-ancestors 'none'")

    def served():
        for name in names:
            for where in (url, keys):
                r, body = get(where, '/' if name == 'index.html' else '/' + name)
                assert r.status == 200 and body == open(os.path.join(folder, name), 'rb').read(), (name, r.status)
                assert r.getheader('Content-Type') == types[name.split('.')[-1]], (name, r.getheader('Content-Type'))
                assert r.getheader('Content-Security-Policy') == policy, r.getheaders()
                assert r.getheader('X-Content-Type-Options') == 'nosniff' and r.getheader('Referrer-Policy') == 'no-referrer'
                assert r.getheader('Cache-Control') == 'no-cache'

    def tags():
        r, body = get(url, '/app.js')
        tag = r.getheader('ETag')
        r, again = get(url, '/app.js', headers={'If-None-Match': f'"x", W/{tag}'})
        assert r.status == 304 and again == b'' and r.getheader('ETag') == tag, (r.status, tag)
        r, again = get(url, '/app.js', headers={'If-None-Match': '"other"'})
        assert r.status == 200 and again == body
        assert get(url, '/style.css')[0].getheader('ETag') != tag

    def codings():
        plain, body = get(url, '/app.js')
        assert plain.getheader('Content-Encoding') is None and plain.getheader('Vary') == 'Accept-Encoding', plain.getheaders()
        for accept in 'gzip', 'br, GZIP;q=0.5', 'gzip; q=1.0, identity;q=0':
            r, packed = get(url, '/app.js', headers={'Accept-Encoding': accept})
            assert r.getheader('Content-Encoding') == 'gzip' and gzip.decompress(packed) == body and len(packed) < len(body) / 2, (accept, r.getheaders())
            assert r.getheader('ETag') != plain.getheader('ETag')
        for accept in 'gzip;q=0', 'gzip; q=0.000, br', 'xgzip, gzipx', '', 'identity':
            r, same = get(url, '/app.js', headers={'Accept-Encoding': accept})
            assert r.getheader('Content-Encoding') is None and same == body, (accept, r.getheaders())

    def methods():
        r, body = get(url, '/', 'HEAD')
        assert r.status == 200 and not body and int(r.getheader('Content-Length')) > 1000, r.getheaders()
        r, _ = get(url, '/', 'POST')
        assert r.status == 405 and 'GET' in r.getheader('Allow'), r.status
        assert get(keys, '/v1/models')[0].status == 401 and get(keys, '/index.php')[0].status == 401

    def size():
        total = sum(os.path.getsize(os.path.join(folder, n)) for n in names)
        assert total < 120000, total

    run([served, tags, codings, methods, size])


# --- markdown in node ------------------------------------------------------------------------------------------------------

SHOW = '''(text => split(text).map(b => html(build(b))).join(''))'''
HTML = '''const quote = s => s.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const html = n => typeof n === 'string' || n.nodeType === 3 ? quote(n.data ?? n) : `<${n.localName}${['href', 'start'].filter(a => n.getAttribute(a) !== null)
    .map(a => ` ${a}="${n.getAttribute(a)}"`).join('')}>` + (['br', 'hr'].includes(n.localName) ? '' : [...n.childNodes].map(html).join('') + `</${n.localName}>`);'''


def compare(got):
    for (text, want), have in zip(MARKDOWN, got):
        assert have == want, f'{text!r} is {have}, wanted {want}'


def markdown(path):
    def renders():
        with tempfile.TemporaryDirectory() as d:
            file = os.path.join(d, 'x.mjs')
            with open(file, 'w') as f:
                f.write(f'''class Node {{ constructor(n) {{ this.localName = n; this.a = {{}}; this.childNodes = []; }}
                    setAttribute(k, v) {{ this.a[k] = v; }} getAttribute(k) {{ return this.a[k] ?? null; }} append(...c) {{ this.childNodes.push(...c); }} }}
                    globalThis.document = {{ createElement: n => new Node(n) }};
                    const {{ split, build }} = await import({json.dumps('file://' + os.path.abspath(path))});
                    {HTML}
                    for (const [s, n] of {json.dumps(HOSTILE)}) split(s.repeat(n)).map(b => build(b));
                    console.log(JSON.stringify({json.dumps([m[0] for m in MARKDOWN])}.map({SHOW})));''')
            compare(json.loads(subprocess.run(['node', file], capture_output=True, check=True, timeout=60).stdout))
    run([renders])


# --- the page ---------------------------------------------------------------------------------------------------------------

ANSWERS = 'document.querySelectorAll(".answer")'
IDLE = 'document.querySelector("#send").getAttribute("aria-label") === "Send"'
LAST = f'{ANSWERS}[{ANSWERS}.length - 1]'

# Everything that shows text, against the first ground behind it that is not transparent; what is disabled or not seen is left out.
CONTRAST = '''(() => {
    const light = c => { const v = c.map(x => (x /= 255) <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
    const parse = s => (s.match(/[\\d.]+/g) ?? []).map(Number);
    const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length && (c[3] ?? 1) > 0.99) return c; } return [255, 255, 255]; };
    const bad = [];
    const look = (e, colour, what) => { const a = light(colour.slice(0, 3)), b = light(ground(e).slice(0, 3)), r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (r < 4.5) bad.push(`${what} ${e.tagName}#${e.id}.${e.className} ${r.toFixed(2)}`); };
    for (const e of document.querySelectorAll('body *')) {
        if (!e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || e.closest('[disabled]') || e.closest('.skip')) continue;
        if ([...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) look(e, parse(getComputedStyle(e).color), 'text');
        if (e.localName === 'svg') look(e.parentElement, parse(getComputedStyle(e).stroke), 'icon');
        if (e.placeholder && !e.value) look(e, parse(getComputedStyle(e, '::placeholder').color), 'placeholder');
    }
    return bad;
})()'''
WIDE = '''(() => { const bad = []; const w = document.documentElement.clientWidth;
    for (const e of document.querySelectorAll('body *')) { if (!e.checkVisibility({ visibilityProperty: true }) || e.closest('.skip, pre, .table, summary, [hidden]')) continue;
        const r = e.getBoundingClientRect(); if (r.width && (r.right > w + 1 || r.left < -1)) bad.push(`${e.tagName}#${e.id}.${e.className} ${r.left}-${r.right}`); }
    const s = document.querySelector('#scroll');
    return { bad, page: document.scrollingElement.scrollWidth - w, log: s.scrollWidth - s.clientWidth }; })()'''


def page(url, keys, chromium, pictures=''):
    with Browser(chromium) as b:
        page_checks(b, url, keys, lambda name: pictures and b.picture(os.path.join(pictures, name + '.png')))


def page_checks(b, url, keys, picture):
    def idle():
        b.until(IDLE)

    def say(text, wait=True):
        b.js('document.querySelector("#text").focus()')
        b.type(text)
        b.key('Enter')
        if wait:
            idle()

    def fresh(**settings):
        """A new conversation with these settings, typed where a person types them."""
        b.js('document.querySelector("#new").click()')
        for k, v in {**LONG, 'more': '', **settings}.items():
            b.js(f'(e => {{ e.value = {json.dumps(v)}; e.dispatchEvent(new Event("input")); }})(document.querySelector("#s-{k}"))')

    def text_of(selector=':scope > .text'):
        return b.js(f'{LAST}.querySelector("{selector}").textContent')

    def load(value):
        before = b.js('document.querySelectorAll("#list li").length')
        b.js(f'''(() => {{ const d = new DataTransfer(), f = document.querySelector("#file"); d.items.add(new File([{json.dumps(json.dumps(value))}], "x.json"));
            f.files = d.files; f.dispatchEvent(new Event("change")); }})()''')
        b.until(f'document.querySelectorAll("#list li").length > {before}')
        b.js('document.querySelector("#toast").replaceChildren()')

    def loads():
        b.size(1100, 760)
        b.open(url + '/')
        b.until('document.querySelector("#about").textContent.includes("context")')
        assert b.js('document.activeElement.id') == 'text'

    def answers():
        fresh()
        say('Define wisdom.')
        assert text_of() == 'Wisdom means: accumulated knowledge or erudition or enlightenment.', text_of()
        stats = text_of('.stats')
        assert '22 tokens' in stats and 'tokens/s' in stats and 'prompt 28' in stats, stats
        assert b.js('document.querySelector("#title").value') == 'Define wisdom.'
        picture('answer')

    def new_line():
        b.js('document.querySelector("#text").focus()')
        b.type('one')
        b.key('Enter', 8)
        b.type('two')
        got = b.js('document.querySelector("#text").value')
        b.js('document.querySelector("#text").value = ""')
        assert got == 'one\ntwo', got

    def streams_and_stops():
        for how in ('Escape', 'click'):
            fresh(**LONG)
            say('Hello', wait=False)
            sizes = set()
            end = time.monotonic() + 10
            while len(sizes) < 4 and time.monotonic() < end:
                sizes.add(b.js(f'{LAST}?.textContent.length ?? 0'))
                time.sleep(0.03)
            assert len(sizes) >= 4, sizes
            assert b.js('document.querySelector("#send").getAttribute("aria-label")') == 'Stop'
            b.key('Escape') if how == 'Escape' else b.click('#send')
            idle()
            assert 'stopped' in text_of('.stats') and text_of(), text_of('.stats')
            before = text_of()
            time.sleep(0.2)
            assert text_of() == before

    def goes_on_elsewhere():
        fresh(**LONG)
        say('Hello', wait=False)
        b.until(f'{LAST}?.querySelector(":scope > .text").textContent.length > 10')
        fresh()
        assert b.js('document.querySelectorAll("#list .running").length') == 1 and b.js(IDLE)
        say('Define wisdom.')
        b.js('document.querySelectorAll("#list .open")[1].click()')
        size = len(text_of())
        b.until(f'{LAST}.querySelector(":scope > .text").textContent.length > {size + 50}')
        b.key('Escape')
        idle()

    def no_shift():
        b.js('''window.shift = 0; new PerformanceObserver(l => l.getEntries().forEach(e => window.shift += e.value)).observe({ type: "layout-shift" })''')
        fresh()
        say('Define wisdom.')
        say('What is a river?')
        assert b.js('window.shift') < 0.01, b.js('window.shift')

    def again():
        fresh()
        say('Define wisdom.')
        first = text_of()
        b.js(f'{LAST}.querySelector("[aria-label=\\"Answer again\\"]").click()')
        b.until(f'{ANSWERS}.length === 1 && {IDLE} && {LAST}.querySelector(".stats").textContent.includes("tokens")')
        assert text_of() == first and 'cached' in text_of('.stats'), (text_of(), text_of('.stats'))

    def edits():
        say('Hello')
        b.js('document.querySelector("#text").focus()')
        b.key('ArrowUp')
        assert b.js('document.activeElement.getAttribute("aria-label")') == 'Edit the message'
        b.key('Escape')
        b.js('document.querySelector("[aria-label=\\"Edit the message\\"]").click()')
        b.js('document.activeElement.value = "What is a river?"')
        b.key('Enter')
        b.until(f'{ANSWERS}.length === 1 && {IDLE}')
        assert b.js('[...document.querySelectorAll(".bubble")].map(e => e.textContent)') == ['What is a river?']

    def settings():
        b.key('s', 1, 'KeyS')
        assert b.js('document.querySelector("#settings").open')
        b.js('document.querySelector("#s-tools").focus()')
        b.type('[{')
        assert 'no JSON' in b.js('document.querySelector("#e-tools").textContent')
        b.js('document.querySelector("#s-tools").select()')
        b.type('[]')
        assert b.js('document.querySelector("#e-tools").textContent') == ''
        picture('settings')
        b.key('Escape')
        assert not b.js('document.querySelector("#settings").open')
        fresh(max_tokens='3')
        say('Define wisdom.')
        assert '3 tokens' in text_of('.stats') and 'cut' in text_of('.stats'), text_of('.stats')

    def tools():
        fresh(tools=json.dumps([TOOL]))
        say('Walk the list from cursor 17 until it is done.')
        for cursor in (17, 18):
            fold = f'{LAST}.querySelector("details.call")'
            assert b.js(f'!{fold}.open && {fold}.querySelector("summary").textContent') == f'next_page{{"cursor": {cursor}}}', b.js(f'{fold}.textContent')
            assert b.js('document.activeElement.getAttribute("aria-label")') == 'Result of next_page' and b.js('document.querySelector("#text").disabled')
            b.type('{"cursor": %d, "item": "window"}' % (cursor + 1))
            b.key('Enter')
            b.until(f'{ANSWERS}.length === {cursor - 15} && {IDLE}')
        b.js(f'{fold}.querySelector("summary").click()')
        assert b.js(f'{fold}.open && JSON.parse({fold}.querySelector("pre").textContent).cursor') == 19
        picture('tools')

    def reload_keeps():
        before = b.js('document.querySelector("#log").textContent'), b.js('document.querySelectorAll("#list li").length')
        assert 'next_page' in before[0]
        time.sleep(0.7)
        b.reload()
        assert (b.js('document.querySelector("#log").textContent'), b.js('document.querySelectorAll("#list li").length')) == before
        assert 'next_page' in b.js('document.querySelector("#s-tools").value')

    def list_of_conversations():
        n = b.js('document.querySelectorAll("#list li").length')
        first = b.js('document.querySelector("#list .open").textContent')
        b.js('document.querySelector("#list li .icon").click()')
        assert b.js('document.querySelectorAll("#list li").length') == n - 1
        b.js('document.querySelector("#toast button").click()')
        assert b.js('document.querySelectorAll("#list li").length') == n and b.js('document.querySelector("#list .open").textContent') == first
        b.js('''(e => { e.value = "Renamed"; e.dispatchEvent(new Event("input")); })(document.querySelector("#title"))''')
        assert b.js('document.querySelector("#list [aria-current]").textContent') == 'Renamed'

    def files_out_and_in():
        b.js('window.blobs = []; URL.createObjectURL = x => { window.blobs.push(x); return "data:,"; }; document.querySelector("#export").click()')
        data = json.loads(b.js('window.blobs[0].text()'))
        assert data['format'] == 'kserve-conversations' and len(data['conversations']) == b.js('document.querySelectorAll("#list li").length')
        load(data)
        load([{'role': 'user', 'content': [{'type': 'text', 'text': 'in parts'}]}])
        assert b.js('document.querySelector(".bubble").textContent') == 'in parts'
        b.js('''(() => { const d = new DataTransfer(), f = document.querySelector("#file"); d.items.add(new File(["{}"], "bad.json")); f.files = d.files; f.dispatchEvent(new Event("change")); })()''')
        b.until('document.querySelector("#toast").textContent.includes("bad.json has no conversations")')
        b.js('document.querySelector("#toast").replaceChildren()')

    def markup_stays_text():
        call = {'id': 'x', 'function': {'name': '<img src=x onerror=window.pwned=1>', 'arguments': '<script>window.pwned=1</script>'}}
        load({'title': '<img src=x onerror=window.pwned=1>', 'messages': [
            {'role': 'user', 'content': XSS}, {'role': 'assistant', 'content': XSS, 'reasoning_content': XSS, 'tool_calls': [call]},
            {'role': 'tool', 'tool_call_id': 'x', 'content': XSS}, {'role': 'assistant', 'content': 'end'}]})
        b.js('document.querySelectorAll("details").forEach(d => d.open = true)')
        time.sleep(0.3)
        assert b.js('window.pwned') is None
        assert b.js('document.querySelectorAll("#log script, #log img, #log iframe, #log svg:not([aria-hidden]), #list img").length') == 0
        assert b.js('[...document.querySelectorAll("#log *")].every(e => [...e.attributes].every(a => !a.name.startsWith("on")))')
        hrefs = b.js('[...document.querySelectorAll("#log a")].map(a => [a.protocol, a.rel])')
        assert hrefs and all(p in ('https:', 'http:') and 'noopener' in r for p, r in hrefs), hrefs
        assert '<script>window.pwned=1</script>' in b.js('document.querySelector(".answer .text p").textContent')

    def renderer():
        got = b.js(f'''import("/markdown.js").then(({{ split, build }}) => {{ {HTML}
            const start = performance.now();
            for (const [s, n] of {json.dumps(HOSTILE)}) split(s.repeat(n)).map(b => build(b));
            return [performance.now() - start, {json.dumps([m[0] for m in MARKDOWN])}.map({SHOW})]; }})''')
        compare(got[1])
        assert got[0] < 15000, got[0]

    def grows_in_place():
        same = b.js('''import("/markdown.js").then(({ Flow, el }) => { const e = el("div"), f = new Flow(e), text = "# a\\n\\nb **c**\\n\\n- d\\n- e\\n\\n```\\nf\\n```\\n\\ng"; let first = null, kept = true;
            for (let i = 1; i <= text.length; i++) { f.update(text.slice(0, i)); if (i === 8) first = e.firstChild; if (i > 8) kept &&= e.firstChild === first; }
            const whole = el("div"); new Flow(whole).update(text); return [kept, e.innerHTML === whole.innerHTML]; })''')
        assert same == [True, True], same

    def reasoning_folded():
        load({'title': 'Rivers', 'messages': [{'role': 'user', 'content': 'مرحبا'}, {'role': 'assistant', 'content': '# Title\n\nText `code` [link](https://e.org).\n\n> quote\n\n'
             '| a | b |\n|---|---|\n| 1 | 2 |\n\n```js\n' + 'x' * 300 + '\n```\n\n' + 'long' * 200, 'reasoning_content': 'Because.', 'stats': {'made': 9, 'thought': 3}}]})
        assert b.js('!document.querySelector(".thought").open && document.querySelector(".thought summary").textContent') == 'Reasoning3 tokens'
        b.js('document.querySelector(".thought summary").click()')
        b.until('document.querySelector(".thought .text").textContent === "Because."')
        assert b.js('getComputedStyle(document.querySelector(".bubble")).direction') == 'rtl'
        b.js('''Object.defineProperty(navigator, "clipboard", { value: { writeText: async t => { window.copied = t; } }, configurable: true }); document.querySelector(".copy").click()''')
        b.until('document.querySelector(".copy").textContent === "Copied"')
        assert b.js('window.copied') == 'x' * 300

    def errors_are_sentences():
        b.complaints()
        fresh(more='{"n": "x"}')
        say('Hello')
        said = b.until('document.querySelector(".problem p")?.textContent')
        assert said == 'n is a string, wanted an integer.', said
        picture('error')
        assert b.js(f'{ANSWERS}.length') == 0 and b.js('document.querySelector(".problem").getAttribute("role")') == 'alert'
        fresh(more='[1]')
        say('Hello')
        assert 'must be one JSON object' in b.until('document.querySelector(".problem p")?.textContent')
        b.call('Network.emulateNetworkConditions', offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        fresh()
        say('Hello')
        assert 'cannot be reached' in b.until('document.querySelector(".problem p")?.textContent')
        b.call('Network.emulateNetworkConditions', offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        b.js('document.querySelector(".problem button").click()')
        b.until(f'{ANSWERS}.length === 1 && {IDLE} && !document.querySelector(".problem")')
        b.complaints()                  # the browser itself tells of failed requests

    def names():
        for state in ('', '#settings-open', '#keys'):
            if state:
                b.js(f'document.querySelector("{state}").click()')
            bad = []
            for n in b.call('Accessibility.getFullAXTree')['nodes']:
                role, name = n.get('role', {}).get('value'), n.get('name', {}).get('value', '')
                if not n.get('ignored') and role in ('button', 'link', 'textbox', 'spinbutton', 'checkbox', 'dialog', 'navigation', 'log', 'region', 'form') and not name.strip():
                    if role != 'form':
                        bad.append(role)
            assert not bad, (state, bad)
            if state:
                b.key('Escape')
        levels = b.js('[...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].filter(e => e.checkVisibility()).map(e => +e.localName[1])')
        assert levels[0] == 1, levels
        assert b.js('new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size === document.querySelectorAll("[id]").length')
        assert b.js('document.documentElement.lang && document.querySelectorAll("main").length') == 1

    def contrast():
        load({'messages': [{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': '# T\n\np `c` [l](https://e.org) ~~d~~\n\n> q\n\n```js\nx\n```\n\n| a |\n|---|\n| b |', 'reasoning_content': 'r',
              'stats': {'made': 2, 'thought': 1}, 'tool_calls': [{'id': 'a', 'function': {'name': 'f', 'arguments': '{}'}}]}]})
        b.js('document.querySelectorAll("details").forEach(d => d.open = true)')
        for scheme in ('light', 'dark'):
            b.media(prefers_color_scheme=scheme)
            for state in ('', '#settings-open', '#keys'):
                if state:
                    b.js(f'document.querySelector("{state}").click()')
                bad = b.js(CONTRAST)
                assert not bad, (scheme, state, bad)
                if state:
                    b.key('Escape')
            picture('scheme-' + scheme)
        b.media(prefers_color_scheme='light')
        b.js('document.querySelector("#theme").click()')
        assert b.js('document.documentElement.dataset.theme') == 'dark' and not b.js(CONTRAST)
        b.reload()
        assert b.js('getComputedStyle(document.documentElement).colorScheme') == 'dark'
        b.js('document.querySelector("#theme").click()')

    def focus():
        fresh()
        say('Define wisdom.')
        b.js('document.querySelector(".skip").focus()')
        seen = []
        for _ in range(150):
            b.key('Tab')
            at = b.js('''(e => e === document.body ? null : { what: e.id || e.getAttribute("aria-label") || e.textContent, seen: e.checkVisibility({ visibilityProperty: true }),
                ring: getComputedStyle(e).outlineStyle !== "none" || getComputedStyle(e.closest("form") ?? e).outlineStyle !== "none", y: e.getBoundingClientRect().bottom > 0 })(document.activeElement)''')
            if not at or (seen and at['what'] == seen[0]):
                break
            assert at['seen'] and at['ring'] and at['y'], at
            seen.append(at['what'])
        assert 'Copy the message' in seen, seen
        order = [seen.index(x) for x in ('new', 'theme', 'title', 'settings-open', 'Copy the message', 'Copy the answer', 'Answer again', 'text')]
        assert order == sorted(order), seen
        assert len(seen) > 15, seen

    def shortcuts():
        b.js('document.activeElement.blur()')
        b.key('?', 8)
        assert b.js('document.querySelector("#shortcuts").open')
        b.key('Escape')
        b.key('/')
        assert b.js('document.activeElement.id') == 'text' and b.js('document.querySelector("#text").value') == ''
        b.key('r', 1, 'KeyR')
        b.until(f'{ANSWERS}.length === 1 && {IDLE}')
        b.key('n', 1, 'KeyN')
        assert b.js(f'{ANSWERS}.length') == 0

    def narrow():
        b.size(360, 640)
        for title in ('Rivers', None):
            if title:
                b.js(f'[...document.querySelectorAll("#list .open")].find(e => e.textContent === "{title}").click()')
            else:
                fresh()
                say('Define wisdom. ' + 'w' * 200)
            time.sleep(0.3)
            got = b.js(WIDE)
            assert not got['bad'] and got['page'] <= 0 and got['log'] <= 0, got
        picture('narrow')
        assert not b.js('document.querySelector("#side").checkVisibility({ visibilityProperty: true })')
        b.click('#menu')
        b.until('document.querySelector("#side").getBoundingClientRect().left === 0')
        assert b.js('document.activeElement.id') == 'side-close' and b.js('document.querySelector("main").inert')
        picture('narrow-list')
        b.key('Escape')
        b.until('!document.querySelector("#side").checkVisibility({ visibilityProperty: true })')
        b.js('document.querySelector("#settings-open").click()')
        assert b.js('(s => s.scrollWidth <= s.clientWidth && s.getBoundingClientRect().left >= 0)(document.querySelector("#settings"))')
        b.key('Escape')
        b.size(1100, 760)

    def little_motion():
        b.media(prefers_reduced_motion='reduce')
        assert b.js('[...document.querySelectorAll("*")].every(e => getComputedStyle(e).transitionDuration === "0s" && getComputedStyle(e).animationName === "none")')
        b.media()

    def asks_for_the_key():
        b.complaints()
        b.open(keys + '/')
        b.until('document.querySelector("#key").open')
        picture('key')
        assert b.js('document.activeElement.id') == 'key-text'
        b.type('secret-key')
        b.key('Enter')
        b.until('document.querySelector("#about").textContent.includes("context")')
        fresh()
        say('Define wisdom.')
        assert text_of().startswith('Wisdom means')
        assert b.js('sessionStorage.getItem("key")') == 'secret-key' and 'secret-key' not in b.js('JSON.stringify(localStorage)')
        b.reload()
        say('Hello')
        assert b.js(f'{ANSWERS}.length') == 2 and not b.js('document.querySelector("#key").open')
        said = [c for c in b.complaints() if '401' not in c]
        assert not said, said

    def quiet():
        said = b.complaints()
        assert not said, said

    run([loads, answers, new_line, streams_and_stops, goes_on_elsewhere, no_shift, again, edits, settings, tools, reload_keeps, list_of_conversations, files_out_and_in, markup_stays_text,
         renderer, grows_in_place, reasoning_folded, quiet, errors_are_sentences, names, contrast, focus, shortcuts, narrow, little_motion, quiet, asks_for_the_key])


{'files': files, 'page': page, 'markdown': markdown}[sys.argv[1]](*sys.argv[2:])
