#!/usr/bin/env python3
"""bundle.py: what each layer of a model in transformers computes, as a bundle that keval compares with.

    scripts/bundle.py hf-folder/ right.bundle --text text.txt
    kconvert hf-folder/ -o model.kmf && keval parity -m model.kmf -f right.bundle
    keval parity -m model.kmf -f right.bundle --bundle mine.bundle; keval diff right.bundle mine.bundle

A bundle is a folder with golden.json and golden.safetensors; its layout and what its bands mean are in testdata/golden/README.md. The model is run
twice, in two precisions: what they differ by, times four, is the band of a layer. Kept are the residual stream, routers (scores, experts,
weights), logits, and the states of KDA layers where the model's cache shows them. Needs torch and transformers; runs on the CPU."""
import argparse
import hashlib
import json
import math
import os
import sys

import torch
from safetensors.torch import save
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

LAST_ROWS = 16          # of logits


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument('model', help='a folder, or a name that transformers knows')
    p.add_argument('bundle', help='folder to be made')
    p.add_argument('--text', help='a text, whose first --window tokens are read')
    p.add_argument('--ids', help='a JSON array of token ids a line, or a golden.json or bundle, whose sequences are read')
    p.add_argument('--window', type=int, default=128, help='tokens of the text')
    p.add_argument('--dtypes', default='float32,bfloat16', help='the precision of the values, and the one for the bands')
    p.add_argument('--factor', type=float, default=4.0, help='of the bands')
    p.add_argument('--floor', type=float, default=1e-4, help='of the bands')
    p.add_argument('--trust-remote-code', action='store_true', help="run the model's own Python code")
    a = p.parse_args()
    if bool(a.text) == bool(a.ids):
        p.error('one of --text and --ids says what is read')
    if os.path.exists(a.bundle):
        p.error(f'{a.bundle} is there already')
    return a


def sequences(a):
    if a.text:
        tok = AutoTokenizer.from_pretrained(a.model, trust_remote_code=a.trust_remote_code)
        return {'window0': tok(open(a.text, encoding='utf-8').read(), add_special_tokens=False)['input_ids'][:a.window]}
    path = os.path.join(a.ids, 'golden.json') if os.path.isdir(a.ids) else a.ids
    text = open(path, encoding='utf-8').read()
    if text.lstrip().startswith('{'):
        return {k: v['ids'] if isinstance(v, dict) else v for k, v in json.loads(text)['sequences'].items()}
    lines = {f'line{i}': json.loads(s) for i, s in enumerate(text.splitlines(), 1)}
    return {k: v for k, v in lines.items() if v}


# --- looking into the model ------------------------------------------------------------------------------------------------------

def layers_of(model, n):
    for name, m in model.named_modules():
        if isinstance(m, torch.nn.ModuleList) and len(m) == n and name.endswith('layers'):
            return m
    sys.exit(f'bundle.py: no list of {n} layers in {type(model).__name__}')


def first(x):
    return x[0] if isinstance(x, (tuple, list)) else x


def router_of(layer, n_expert):
    """The module that scores experts: its weight has a row for each."""
    for name, m in layer.named_modules():
        w = getattr(m, 'weight', None)
        if name.split('.')[-1] in ('gate', 'router') and isinstance(w, torch.Tensor) and w.dim() == 2 and w.shape[0] == n_expert:
            return m
    return None


def scores_of(gate, x, out, softmax):
    """What the experts are chosen by: the router's own logits where it returns them, else computed from its weight."""
    E = gate.weight.shape[0]
    logits = next((o for o in (out if isinstance(out, (tuple, list)) else [out]) if torch.is_tensor(o) and o.is_floating_point()
                   and o.shape[-1] == E and o.numel() == x.numel() // x.shape[-1] * E), None)
    if logits is None:
        logits = torch.nn.functional.linear(x.float(), gate.weight.float())
    logits = logits.reshape(-1, E).double()
    bias = getattr(gate, 'e_score_correction_bias', None)
    if softmax is None:
        softmax = bias is None
    return (logits.softmax(-1) if softmax else logits.sigmoid()) + (0 if bias is None else bias.double())


class Look:
    """Hooks on the layers, routers and experts of a model; `now` is what one run showed."""

    def __init__(self, model, config):
        self.now, self.softmax = {}, None
        self.n_layer = config.num_hidden_layers
        n_expert = next((getattr(config, k) for k in ('n_routed_experts', 'num_experts', 'num_local_experts') if getattr(config, k, None)), 0)
        for key in ('scoring_func', 'moe_router_activation_func'):
            if getattr(config, key, None):
                self.softmax = getattr(config, key) == 'softmax'
        layers = layers_of(model, self.n_layer)
        layers[0].register_forward_pre_hook(lambda m, a, k: self.keep(-1, 'hidden', a[0] if a else k['hidden_states']), with_kwargs=True)
        for i, layer in enumerate(layers):
            layer.register_forward_hook(lambda m, a, o, i=i: self.keep(i, 'hidden', first(o)))
            gate = router_of(layer, n_expert) if n_expert else None
            if gate is None:
                continue
            gate.register_forward_hook(lambda m, a, o, i=i: self.router(i, m, a[0], o))
            for name, m in layer.named_modules():
                if name.split('.')[-1] == 'experts':
                    m.register_forward_pre_hook(lambda m, a, i=i: self.choice(i, [x for x in a[1:] if torch.is_tensor(x)]))

    def keep(self, layer, what, x):
        self.now[layer, what] = x.detach().reshape(-1, x.shape[-1]).double()

    def router(self, layer, gate, x, out):
        self.now[layer, 'scores'] = scores_of(gate, x.detach(), out, self.softmax)
        self.choice(layer, [o for o in (out if isinstance(out, (tuple, list)) else []) if torch.is_tensor(o)])

    def choice(self, layer, tensors):
        """Ids and weights, in ascending order of the ids, of a router's result or of what experts are given."""
        ids = next((t for t in tensors if not t.is_floating_point() and t.dim() == 2), None)
        weights = ids is not None and next((t for t in tensors if t.is_floating_point() and t.shape == ids.shape), None)
        if ids is not None and weights is not None:
            order = ids.argsort(-1)
            self.now[layer, 'experts'] = ids.gather(1, order).int()
            self.now[layer, 'weights'] = weights.gather(1, order).double()


def kda_of(cache, layer, config):
    """Recurrent state [heads, key, value] and convolution inputs [3, channels, taps - 1] of a layer, where the cache has both."""
    linear = getattr(config, 'linear_attn_config', None) or {}
    get = linear.get if isinstance(linear, dict) else lambda k: getattr(linear, k, None)
    taps = get('short_conv_kernel_size') or getattr(config, 'linear_conv_kernel_dim', None)
    try:
        state = cache.get_recurrent_state(layer)
        conv = cache.get_conv_state(layer)
    except (AttributeError, ValueError, IndexError):
        return None
    if state is None or conv is None or not taps or conv.shape[1] % 3:
        return None
    return state[0].double(), conv[0].double().reshape(3, -1, conv.shape[-1])[:, :, -(taps - 1):]


@torch.no_grad()
def run(model, look, config, ids):
    look.now.clear()
    out = model(torch.tensor([ids]), use_cache=True)
    now = dict(look.now)
    now['logits'] = out.logits[0, -LAST_ROWS:].double()
    cache = out.get('cache', out.get('past_key_values'))
    for i in range(look.n_layer):
        kda = kda_of(cache, i, config) if cache is not None else None
        if kda:
            now[i, 'state'], now[i, 'conv'] = kda
    return now


# --- bands: as keval measures (evals/layers.h) ---------------------------------------------------------------------------------------

def ratio(a, b, least=0):
    """|b - a| / |a| of each row; a counts at least so long."""
    d, size = (b - a).norm(dim=-1), a.norm(dim=-1).clamp(min=least)
    return torch.where(d == 0, torch.zeros_like(d), d / size)


def rows_of(part, a, b, layer):
    """What is measured of a part of a layer: a number a row."""
    if part == 'hidden' and layer >= 0:
        before, after = a[layer - 1, part], a[layer, part]
        least = torch.maximum(before.norm(dim=-1), after.norm(dim=-1)) / 16
        return ratio(after - before, b[layer, part] - b[layer - 1, part], least)
    x, y = a[layer, part], b[layer, part]
    if part == 'scores':
        return (y - x).abs().amax(-1)
    if part == 'state':
        x, y = x.flatten(1), y.flatten(1)
    if part == 'conv':
        x, y = (z.permute(2, 0, 1).flatten(1) for z in (x, y))
    return ratio(x, y)


def measure(most, a, b, n_layer):
    """Widens most[part][layer + 1]. Tokens whose experts differ count only where less than a quarter of the rows is left without them."""
    n = a[-1, 'hidden'].shape[0]
    tied = torch.zeros(n, dtype=torch.bool)

    def widen(part, at, rows, free):
        if len(free) * 4 >= len(rows):
            rows = free
        most[part][at] = max(most[part][at] or 0, float(rows.max()))

    for layer in range(-1, n_layer):
        other = torch.zeros_like(tied)
        if (layer, 'experts') in a:
            other = (a[layer, 'experts'] != b[layer, 'experts']).any(-1)
        for part in ('conv', 'state', 'scores', 'weights', 'hidden'):
            if (layer, part) not in a:
                continue
            rows = rows_of(part, a, b, layer)
            if part == 'weights':
                rows, free = rows[~other], rows[~other & ~tied]
            elif part == 'state':
                free = rows[:0] if tied.any() else rows
            elif part == 'conv':
                free = rows[~tied[-len(rows):]] if n >= len(rows) else rows
            else:
                free = rows[~(tied | other)] if part == 'hidden' else rows[~tied]
            if len(rows):
                widen(part, layer + 1, rows, free)
        tied |= other
    x, y = a['logits'], b['logits']
    rows = (y - x).norm(dim=-1) / (x - x.mean(-1, keepdim=True)).norm(dim=-1)
    widen('logits', 0, rows, rows[~tied[-len(rows):]])


# --- files ---------------------------------------------------------------------------------------------------------------------------

def tensors_of(name, ids, now, n_layer):
    rows = now['logits'].shape[0]
    out = {f'logits/{name}': now['logits'].float(), f'rows/{name}': torch.arange(len(ids) - rows, len(ids), dtype=torch.int32),
           f'hidden/{name}': torch.stack([now[i, 'hidden'] for i in range(-1, n_layer)]).float()}
    for i in range(n_layer):
        for part, folder in (('experts', 'router'), ('weights', 'router'), ('scores', 'router'), ('state', 'kda'), ('conv', 'kda')):
            if (i, part) in now:
                x = now[i, part]
                out[f'{folder}/{name}/layer{i}.{part}'] = x if part == 'experts' else x.float()
    return {k: v.contiguous().clone() for k, v in out.items()}


def load(a, config, dtype):
    model = AutoModelForCausalLM.from_pretrained(a.model, config=config, dtype=dtype, trust_remote_code=a.trust_remote_code,
                                                 attn_implementation='eager')
    if getattr(model.config, '_experts_implementation', None):
        model.config._experts_implementation = 'eager'
    model.eval()
    return model


def main():
    a = arguments()
    config = AutoConfig.from_pretrained(a.model, trust_remote_code=a.trust_remote_code)
    text = config.get_text_config() if hasattr(config, 'get_text_config') else config
    seqs = sequences(a)
    names = a.dtypes.split(',')
    runs = []
    for dtype in names:
        model = load(a, config, getattr(torch, dtype))
        look = Look(model, text)
        runs.append({name: run(model, look, text, ids) for name, ids in seqs.items()})
        kind = type(model).__name__
        del model
    n = look.n_layer
    most = {p: [None] * (n + 1) for p in ('hidden', 'state', 'conv', 'scores', 'weights')} | {'logits': [None]}
    tensors = {}
    for name, ids in seqs.items():
        tensors |= tensors_of(name, ids, runs[0][name], n)
        measure(most, runs[0][name], runs[1][name], n)
    bands = {p: [None if x is None or not math.isfinite(x) else float(f'{max(x * a.factor, a.floor):.4g}') for x in v] for p, v in most.items()}
    bands['logits'] = bands['logits'][0]
    golden = {'made_by': 'bundle.py, transformers ' + __import__('transformers').__version__ + ', torch ' + torch.__version__, 'class': kind,
              'layers': n, 'sequences': {k: {'ids': v} for k, v in seqs.items()},
              'bands': {'of': ', '.join(names), 'factor': a.factor, 'floor': a.floor, **bands},
              'sha256': {k: hashlib.sha256(v.numpy().tobytes()).hexdigest() for k, v in tensors.items()}}
    groups = getattr(text, 'n_group', None) or getattr(text, 'num_expert_group', None) or 1
    if groups > 1:
        golden |= {'groups': groups, 'groups_kept': text.topk_group}
    os.makedirs(a.bundle)
    with open(os.path.join(a.bundle, 'golden.safetensors'), 'wb') as f:
        f.write(save(tensors))
    with open(os.path.join(a.bundle, 'golden.json'), 'w', encoding='utf-8') as f:
        json.dump(golden, f, ensure_ascii=False)
        f.write('\n')
    print(f'{a.bundle}: {kind}, {n} layers, {sum(map(len, seqs.values()))} tokens, {len(tensors)} tensors, bands of {", ".join(names)}')


if __name__ == '__main__':
    main()
