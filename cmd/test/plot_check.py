"""plot_check.py WHAT ARG...: pictures against what was to be drawn, which is computed here. Says "ok WHAT", or what is wrong."""
import json, sys
from plot_read import read

def near(a, b, by):
    return abs(a - b) <= by

def report(path, task, items, **summary):
    with open(path, 'w') as f:
        f.write(json.dumps({'item': 'run', 'ok': True}) + '\n')
        for i in items:
            f.write(json.dumps({'ok': True, **i}) + '\n')
        f.write(json.dumps({'task': task, **summary, 'summary': True}) + '\n')

# Six windows: sums of nll over tokens. Differences a token, in order: -0.5, -0.1, 0, 0.2, 0.3, 1.0; nll should be low.
TOKENS = [10, 20, 10, 10, 40, 10]
A = [20.0, 40.0, 10.0, 30.0, 80.0, 20.0]
D = [0.2, -0.1, 1.0, 0.0, 0.3, -0.5]

def make(folder):
    report(f'{folder}/a', 'ppl', [{'item': f'window {i}', 'tokens': t, 'nll': a} for i, (t, a) in enumerate(zip(TOKENS, A))])
    report(f'{folder}/b', 'ppl', [{'item': f'window {i}', 'tokens': t, 'nll': a + t * d} for i, (t, a, d) in enumerate(zip(TOKENS, A, D))])
    report(f'{folder}/one', 'ppl', [{'item': 'window 0', 'tokens': 10, 'nll': 20.0}])
    report(f'{folder}/many_a', 'choice', [{'item': f'question {i}', 'right': i % 3 > 0} for i in range(20000)])
    report(f'{folder}/many_b', 'choice', [{'item': f'question {i}', 'right': i % 3 > 1} for i in range(20000)])

def diff(path):
    p = read(path)
    want = sorted(D)
    got = [q for s in p['series'] for q in s['points']]
    ok = len(got) == len(want) and all(near(x, i + 1, 0.02) and near(y, d, 0.01) for i, ((x, y), d) in enumerate(zip(got, want)))
    print('ok points' if ok else f'points {got}, wanted {want}')
    legend = [t for t in p['texts'] if t in ('B is better: 2', 'alike: 1', 'B is worse: 3')]
    print('ok legend' if len(legend) == 3 else f'legend {p["texts"]}')
    mean = sum(t * d for t, d in zip(TOKENS, D)) / sum(TOKENS)
    print('ok mean' if f'mean {mean:.3g}' in p['texts'] else f'mean {mean:.3g} in {p["texts"]}')

# cells: {(length, depth): share or None}; lengths and depths in their order
def needle(path, cells):
    p = read(path)
    want = {tuple(k.split(',')): v for k, v in json.loads(cells).items()}
    lengths, depths = {t: x for t, x in p['x']}, {t: y for t, y in p['y']}
    order = [list(lengths) == sorted(lengths, key=int), list(depths) == sorted(depths, key=int)]
    order += [list(lengths.values()) == sorted(lengths.values()), list(depths.values()) == sorted(depths.values())]
    print('ok axes' if all(order) else f'axes {p["x"]} {p["y"]}')
    color = {1: '#0072b2', 0: '#d55e00', None: 'url(#unknown)'}
    got = {}
    for x, y, w, h, fill in p['series'][0]['rects']:
        length = min(lengths, key=lambda t: abs(lengths[t] - x - w / 2))
        depth = min(depths, key=lambda t: abs(depths[t] - y - h / 2))
        got[length, depth] = fill
    print('ok cells' if got == {k: color[v] for k, v in want.items()} else f'cells {got}, wanted {want}')

# Shares at ticks against the values of the report's tokens.
def kld(path, report_path):
    p = read(path)
    lines = [json.loads(l) for l in open(report_path)]
    values = sorted(v for i in lines for v in i.get('values', []))
    (x0, first), (x1, last) = p['x'][0], p['x'][-1]
    from plot_read import value, reader
    x, y = reader(p['x']), reader(p['y'])
    d = p['series'][0]['paths'][0]
    import re
    at, worst, points = None, 0, 0
    for op, a in re.findall(r'([MHV])(-?[\d.]+(?: -?[\d.]+)?)', d):
        if op == 'M':
            at = [float(v) for v in a.split()]
        elif op == 'H':
            at[0] = float(a)
        else:
            at[1] = float(a)
            v, share = x(at[0]), y(at[1])
            lo, hi = sum(q < v / 1.02 for q in values), sum(q <= v * 1.02 for q in values)
            worst = max(worst, 100 * lo / len(values) - share, share - 100 * hi / len(values))
            points += 1
    print('ok shares' if points > 50 and worst < 0.2 else f'shares differ by {worst} in {points}')
    s = lines[-1]
    marks = [f'mean {s["kld_mean"]:.3g}', f'p99 {s["kld_p99"]:.3g}', f'largest {s["kld_max"]:.3g}']
    print('ok marks' if all(m in p['texts'] for m in marks) else f'{marks} in {p["texts"]}')

# Bars and errors of decode against its report.
def bars(path, report_path):
    from plot_read import reader
    p = read(path)
    items = [i for i in map(json.loads, open(report_path)) if 'depth' in i and 'item' in i]
    y, bottom = reader(p['y']), dict(p['y'])['0']
    got = [(round(x), y(top)) for s in p['series'] for x, top, w, h, _ in s['rects'] if near(top + h, bottom, 0.02)]
    want = sorted(i['tok_s'] for i in items)
    scale = max(want)
    ok = len(got) == len(want) and all(near(a, b, scale / 100) for a, b in zip(sorted(v for _, v in got), want))
    print('ok bars' if ok else f'bars {got}, wanted {want}')
    legend = [f'batch {b}' in p['texts'] for b in sorted({i['batch'] for i in items})]
    print('ok legend' if all(legend) and [t for t, _ in p['x']] == ['0', '16'] else f'{p["texts"]}')

# The series that changed most stands first: 100, 100, 50 are 100 %, 100 % and 50 % of the median before.
def trend(path):
    p = read(path)
    got = [[round(x, 1), round(y)] for x, y in p['series'][0]['points']]
    print('ok points' if got == [[1, 100], [2, 100], [3, 50]] else f'points {got}')

def text(path, part):
    p = read(path)
    print('ok text' if any(part in t for t in p['texts'] + [p['title']]) else f'{part!r} in {p["texts"]}')

def size(path, most):
    n = len(open(path, 'rb').read())
    read(path)
    print('ok size' if n < int(most) else f'{n} bytes')

globals()[sys.argv[1]](*sys.argv[2:])
