"""checks.py: runs the checks of a client, functions that raise where something is wrong: "ok NAME" or "FAIL NAME: why" a line; asks kserve for a metric."""
import http.client
import os
import sys
import traceback


def run(checks):
    file = os.path.basename(sys.argv[0])
    for f in checks:
        try:
            f()
            print('ok', f.__name__, flush=True)
        except Exception:
            lines = traceback.format_exc().strip().split('\n')
            at = [x.strip() for x in lines if file in x]
            print(f'FAIL {f.__name__}: {at[-1].split(", ")[1] if at else "?"}: {lines[-1][:800]}', flush=True)


def metric(port, name):
    """The sum over its labels."""
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    c.request('GET', '/metrics')
    values = [float(line.split()[-1]) for line in c.getresponse().read().decode().split('\n') if line.startswith((name + '{', name + ' '))]
    c.close()
    assert values, f'no metric {name}'
    return sum(values)
