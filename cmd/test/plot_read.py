"""plot_read.py FILE.svg: reads a picture back, by its own axes: what a point is worth follows from where it is between two ticks.

Prints JSON: title, note, legend texts, x and y (texts of the ticks with their places), series (each a list of [x, y] as texts' values, or of
bars [x, y, width, height, fill] in pixels)."""
import json, math, re, sys
import xml.etree.ElementTree as ET

NS = '{http://www.w3.org/2000/svg}'

def value(text):
    t = text.replace('−', '-')
    t = t.translate(str.maketrans('⁰¹²³⁴⁵⁶⁷⁸⁹⁻', '0123456789-'))
    m = re.fullmatch(r'(?:(-?[\d.]+)×)?10(-?\d+)', t) if '×' in t or any(c in text for c in '⁰¹²³⁴⁵⁶⁷⁸⁹') else None
    if m:
        return float(m.group(1) or 1) * 10.0 ** int(m.group(2))
    m = re.fullmatch(r'(-?[\d.]+)([kMGT]?)', t)
    return float(m.group(1)) * {'': 1, 'k': 1e3, 'M': 1e6, 'G': 1e9, 'T': 1e12}[m.group(2)] if m else None

def axis(root, name, place):
    for g in root.iter(NS + 'g'):
        if g.get('class') == name:
            return [(t.text, float(t.get(place)) - (4 if name == 'y' else 0)) for t in g.findall(NS + 'text')]
    return []

def reader(ticks):
    known = [(value(t), p) for t, p in ticks]
    if len(known) < 2 or None in [v for v, _ in known]:
        return None
    (v0, p0), (v1, p1) = known[0], known[-1]
    mid = known[len(known) // 2]
    straight = lambda p: v0 + (p - p0) * (v1 - v0) / (p1 - p0)
    bent = lambda p: v0 * (v1 / v0) ** ((p - p0) / (p1 - p0))
    if len(known) == 2:
        return straight
    return straight if v0 <= 0 or abs(straight(mid[1]) - mid[0]) < 0.02 * abs(v1 - v0) else bent

def read(path):
    root = ET.parse(path).getroot()
    assert root.tag == NS + 'svg'
    x, y = axis(root, 'x', 'x'), axis(root, 'y', 'y')
    rx, ry = reader(x), reader(y)
    series = []
    for g in root.iter(NS + 'g'):
        if g.get('class') != 'data':
            continue
        rects = [[float(r.get(k)) for k in ('x', 'y', 'width', 'height')] + [r.get('fill')] for r in g.iter(NS + 'rect')]
        filled = [p.get('d') for p in g.iter(NS + 'path') if p.get('fill')]
        points = re.findall(r'M(-?[\d.]+) (-?[\d.]+)m', ' '.join(filled))
        points = [[rx(float(a)) if rx else float(a), ry(float(b)) if ry else float(b)] for a, b in points]
        series.append({'rects': rects, 'points': points, 'paths': [p.get('d') for p in g.iter(NS + 'path') if p.get('stroke')]})
    texts = [''.join(t.itertext()) for t in root.iter(NS + 'text')]
    return {'title': root.find(NS + 'title').text, 'x': x, 'y': y, 'series': series, 'texts': texts}

if __name__ == '__main__':
    print(json.dumps(read(sys.argv[1]), ensure_ascii=False))
