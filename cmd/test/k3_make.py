"""k3_make.py OUT: nano with the markers of Kimi-K3 in the place of its own, and without a template, as K3 comes: it answers nonsense, in elements where it must."""
import json
import os
import shutil
import sys

out, nano = sys.argv[1], 'testdata/nano'
NAMES = {'<|im_end|>': '<|end_of_msg|>', '<|im_user|>': '<|open|>', '<|im_assistant|>': '<|close|>', '<|im_system|>': '<|sep|>'}
os.makedirs(out)
for name in os.listdir(nano):
    if name.endswith('.safetensors') or name.endswith('.json') or name == 'tiktoken.model':
        shutil.copyfile(f'{nano}/{name}', f'{out}/{name}')
config = json.load(open(f'{nano}/tokenizer_config.json'))
config.pop('chat_template', None)
for token in config['added_tokens_decoder'].values():
    token['content'] = NAMES.get(token['content'], token['content'])
    if token['content'] in ('<|open|>', '<|close|>', '<|sep|>'):
        token['special'] = False
assert set(NAMES.values()) <= {t['content'] for t in config['added_tokens_decoder'].values()}
json.dump(config, open(f'{out}/tokenizer_config.json', 'w'))
