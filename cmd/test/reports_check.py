"""reports_check.py FILE.xml [REPORT.jsonl]: is FILE a JUnit file that a machine can read, and does it say what REPORT says?

The structure is checked by hand, and by the schemas and the reader that are there: K_XSD names the schemas (with colons), xmlschema validates, junitparser
reads. Says "ok WHAT" for each, or what is wrong."""
import json, os, sys
import xml.etree.ElementTree as ET

path, report = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
root = ET.parse(path).getroot()
assert root.tag == 'testsuites' and len(root) == 1 and root[0].tag == 'testsuite', root.tag
suite = root[0]
cases = list(suite)
assert all(c.tag == 'testcase' and c.get('name') and c.get('classname') == suite.get('name') for c in cases)
found = {'failure': [], 'error': []}
for c in cases:
    assert len(c) <= 1 and all(e.tag in found and e.get('message') for e in c), ET.tostring(c)
    for e in c:
        found[e.tag].append((c.get('name'), e.get('message')))
counts = [len(cases), len(found['failure']), len(found['error'])]
assert counts == [int(suite.get(k)) for k in ('tests', 'failures', 'errors')], (counts, suite.attrib)
assert suite.get('name').split('.')[0] in ('keval', 'kbench')
print('ok structure')
if report:
    items = [r for r in map(json.loads, open(report, encoding='utf-8')) if r.get('item', 'run') != 'run']
    shown = [(c.get('name'), c[0].get('message') if len(c) else None) for c in cases if not c.get('name').startswith('bar ') and c.get('name') != 'verdict']
    plain = lambda s: s and ''.join('�' if ch in '\ufffe\uffff' else ' ' if ch < ' ' else ch for ch in s)
    want = [(plain(r['item']), plain(r.get('why'))) for r in items]
    assert shown == want, [p for p in zip(shown, want) if p[0] != p[1]][:3]
    print('ok the items of the report')
if os.environ.get('K_XSD'):
    import xmlschema, junitparser
    for xsd in os.environ['K_XSD'].split(':'):
        xmlschema.XMLSchema(xsd).validate(path)
    print('ok the schemas')
    read = junitparser.JUnitXml.fromfile(path)
    got = [sum(1 for s in read for c in s), sum(1 for s in read for c in s for r in c.result if isinstance(r, junitparser.Failure)),
           sum(1 for s in read for c in s for r in c.result if isinstance(r, junitparser.Error))]
    assert got == counts, (got, counts)
    print('ok junitparser')
