"""k3_make.py FROM OUT: a copy of a small model of K2's vocabulary, whose specials have the names that they have in Kimi-K3, and no template, as K3 has none. It was not trained on K3's
format: what it says is noise, in elements where it must be."""
import json
import os
import shutil
import sys

source, out = sys.argv[1:]
os.makedirs(out)
for name in os.listdir(source):
    if name != 'chat_template.jinja' and os.path.isfile(f'{source}/{name}'):
        shutil.copyfile(f'{source}/{name}', f'{out}/{name}')
path, end = f'{out}/tokenizer_config.json', json.load(open(f'{source}/config.json'))['eos_token_id']
config = json.load(open(path))
names = config['added_tokens_decoder']
plain = dict(names[str(end)], special=False)
for id_ in [i for i, token in names.items() if token['content'].startswith('<|')]:
    del names[id_]
for key in ('additional_special_tokens', 'chat_template'):
    config.pop(key, None)
for k, text in enumerate(('<|end_of_msg|>', '<|open|>', '<|close|>', '<|sep|>')):
    names[str(end + k)] = dict(plain, content=text, special=k == 0)
json.dump(config, open(path, 'w'))
