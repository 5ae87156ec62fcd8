"""mask_make.py OUT: nano with the real vocabulary of 163,840 tokens (testdata/tokenizer/kimi-k2.5) and random rows for it: as small a stack as there is, so that what
choosing a token costs is as large a part of a step as it can be."""
import json, os, random, shutil, struct, sys

out, nano, tok = sys.argv[1], 'testdata/nano', 'testdata/tokenizer/kimi-k2.5'
VOCAB = 163840
os.makedirs(out)
config = json.load(open(f'{nano}/config.json'))
config.update(vocab_size=VOCAB, bos_token_id=163584, eos_token_id=163586, pad_token_id=163839)
json.dump(config, open(f'{out}/config.json', 'w'))
for name in ('tiktoken.model', 'tokenizer_config.json'):
    shutil.copyfile(f'{tok}/{name}', f'{out}/{name}')
shutil.copyfile(f'{nano}/chat_template.jinja', f'{out}/chat_template.jinja')

tensors = {}
for shard in sorted(set(json.load(open(f'{nano}/model.safetensors.index.json'))['weight_map'].values())):
    data = open(f'{nano}/{shard}', 'rb').read()
    n, = struct.unpack_from('<Q', data)
    for name, t in json.loads(data[8:8 + n]).items():
        if name != '__metadata__':
            tensors[name] = (t['dtype'], t['shape'], data[8 + n + t['data_offsets'][0]:8 + n + t['data_offsets'][1]])
small = bytes(b & 0x81 | 0x3c for b in range(256))      # the upper half of a BF16 between 2^-7 and 2^-6
R = random.Random(1)
for name in ('model.embed_tokens.weight', 'lm_head.weight'):
    dtype, shape, _ = tensors[name]
    assert dtype == 'BF16' and shape[0] == 4096, (name, dtype, shape)
    rows = bytearray(R.randbytes(2 * VOCAB * shape[1]))
    rows[1::2] = rows[1::2].translate(small)
    tensors[name] = (dtype, [VOCAB, shape[1]], bytes(rows))
head, at = {}, 0
for name, (dtype, shape, data) in tensors.items():
    head[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [at, at + len(data)]}
    at += len(data)
head = json.dumps(head).encode()
with open(f'{out}/model.safetensors', 'wb') as f:
    f.write(struct.pack('<Q', len(head)) + head)
    for _, _, data in tensors.values():
        f.write(data)
