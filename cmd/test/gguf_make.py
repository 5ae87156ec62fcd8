#!/usr/bin/env python3
"""gguf_make.py FOLDER OUT.gguf: a Hugging Face folder of Kimi-K2, Moonlight, Kimi-Linear or Kimi-K3 as GGUF, by numpy and gguf-py and no code of
ours. gguf_make.py --same OURS.gguf THEIRS.gguf [KEY...]: are tensors the same byte for byte, keys by type, value and order? Ours may have
the KEYs besides."""
import base64
import json
import pathlib
import struct
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

DTYPES = {'BF16': np.uint16, 'F32': np.float32, 'F16': np.float16, 'I32': np.int32, 'I64': np.int64, 'F8_E4M3': np.uint8, 'U8': np.uint8}
NAMES = {
    'input_layernorm': 'attn_norm', 'post_attention_layernorm': 'ffn_norm', 'self_attn.o_proj': 'attn_output',
    'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down', 'self_attn.q_a_proj': 'attn_q_a',
    'self_attn.q_a_layernorm': 'attn_q_a_norm', 'self_attn.q_b_proj': 'attn_q_b', 'self_attn.q_proj': 'attn_q',
    'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v', 'self_attn.kv_a_proj_with_mqa': 'attn_kv_a_mqa',
    'self_attn.kv_a_layernorm': 'attn_kv_a_norm', 'MOE.gate': 'ffn_gate_inp', 'MOE.shared_experts.gate_proj': 'ffn_gate_shexp',
    'MOE.shared_experts.up_proj': 'ffn_up_shexp', 'MOE.shared_experts.down_proj': 'ffn_down_shexp',
    'self_attn.q_conv1d': 'ssm_conv1d_q', 'self_attn.k_conv1d': 'ssm_conv1d_k', 'self_attn.v_conv1d': 'ssm_conv1d_v',
    'self_attn.f_a_proj': 'ssm_f_a', 'self_attn.f_b_proj': 'ssm_f_b', 'self_attn.b_proj': 'ssm_beta', 'self_attn.g_a_proj': 'ssm_g_a',
    'self_attn.g_b_proj': 'ssm_g_b', 'self_attn.o_norm': 'ssm_norm', 'MOE.routed_expert_down_proj': 'ffn_routed_down',
    'MOE.routed_expert_up_proj': 'ffn_routed_up', 'MOE.routed_expert_norm': 'ffn_routed_norm',
}


def read_tensors(folder):
    """name -> (type, array): bf16 as its bits; INT4, MXFP4 and block FP8 as (type, values, scales). Names of a text model inside another one lose the prefix."""
    out = {}
    for path in sorted(folder.glob('*.safetensors')):
        data = path.read_bytes()
        n, = struct.unpack('<Q', data[:8])
        for name, t in json.loads(data[8:8 + n]).items():
            if name != '__metadata__':
                begin, end = t['data_offsets']
                out[name] = t['dtype'], np.frombuffer(data[8 + n + begin:8 + n + end], DTYPES[t['dtype']]).reshape(t['shape'])
    for name in [x for x in out if x.endswith('.weight_packed')]:
        stem = name[:-len('_packed')]
        kind, codes = out.pop(name)
        out[stem] = 'MXFP4' if kind == 'U8' else 'INT4', codes, out.pop(stem + '_scale')[1]
        out.pop(stem + '_shape', None)
    for name in [x for x in out if x.endswith('.weight_scale_inv')]:
        stem = name[:-len('_scale_inv')]
        out[stem] = 'FP8', out[stem][1], out.pop(name)[1]
    return {name.removeprefix('language_model.'): t for name, t in out.items()}


def widen(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_bf16(x):
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7fff + (u >> 16 & 1)) >> 16).astype(np.uint16)


def from_fp8(codes, scales):
    """Block FP8 -> bits of bf16."""
    b = np.arange(256)
    e, m = b >> 3 & 15, b & 7
    table = (np.where(e == 0, m * 2.0 ** -9, (1 + m / 8) * 2.0 ** (e - 7)) * np.where(b & 128, -1, 1)).astype(np.float32)
    s = np.repeat(np.repeat(scales, 128, 0), 128, 1)[:codes.shape[0], :codes.shape[1]]
    return round_bf16(table[codes] * s)


def q4_0(packed, scales):
    """INT4 in groups of 32 -> Q4_0 blocks, by elements."""
    rows = packed.shape[0]
    words = packed.view(np.uint32).reshape(rows, -1, 4)
    codes = ((words[..., None] >> (4 * np.arange(8, dtype=np.uint32))) & 15).reshape(rows, -1, 32).astype(np.uint8)
    half = widen(scales).astype(np.float16)
    assert np.array_equal(half.astype(np.float32), widen(scales))
    blocks = np.concatenate([half[..., None].view(np.uint8), codes[..., :16] | codes[..., 16:] << 4], -1)
    return blocks.reshape(rows, -1)


def mxfp4(packed, scales):
    """MXFP4 in groups of 32 -> GGUF's blocks, by elements."""
    codes = np.stack([packed & 15, packed >> 4], -1).reshape(*scales.shape, 32)
    return np.concatenate([scales[..., None], codes[..., :16] | codes[..., 16:] << 4], -1).reshape(packed.shape[0], -1)


class Writer:
    def __init__(self, folder, out):
        outer = json.loads((folder / 'config.json').read_text())
        self.config = c = {k: outer[k] for k in ('bos_token_id', 'eos_token_id', 'pad_token_id') if k in outer} | outer.get('text_config', outer)
        self.folder, self.tensors = folder, read_tensors(folder)
        self.linear = c['model_type'] == 'kimi_linear'
        self.k3 = outer['model_type'] == 'kimi_k3'
        self.arch = 'kimi-k3' if self.k3 else 'kimi-linear' if self.linear else 'deepseek2'
        self.moe = 'block_sparse_moe' if self.linear else 'mlp'
        self.experts = c.get('num_experts') or c.get('n_routed_experts')
        self.w = gguf.GGUFWriter(out, self.arch)

    def keys(self):
        c, w = self.config, self.w
        whole = lambda key, v: w.add_uint32(f'{self.arch}.{key}', v)
        real = lambda key, v: w.add_float32(f'{self.arch}.{key}', v)
        w.add_string('general.type', 'model')
        whole('vocab_size', c['vocab_size'])
        whole('context_length', c.get('max_position_embeddings') or c['model_max_length'])
        whole('embedding_length', c['hidden_size'])
        whole('block_count', c['num_hidden_layers'])
        whole('feed_forward_length', c['intermediate_size'])
        whole('attention.head_count', c['num_attention_heads'])
        if self.linear:
            full = c['linear_attn_config']['full_attn_layers']
            w.add_array(f'{self.arch}.attention.head_count_kv', [int(i + 1 in full) for i in range(c['num_hidden_layers'])])
        else:
            whole('attention.head_count_kv', 1)
        real('attention.layer_norm_rms_epsilon', c['rms_norm_eps'])
        whole('attention.key_length', c['kv_lora_rank'] + c['qk_rope_head_dim'])
        if self.k3 or not self.linear:
            whole('attention.value_length', c['kv_lora_rank'])
        whole('attention.key_length_mla', c['qk_nope_head_dim'] + c['qk_rope_head_dim'])
        whole('attention.value_length_mla', c['v_head_dim'])
        if c.get('q_lora_rank'):
            whole('attention.q_lora_rank', c['q_lora_rank'])
        whole('attention.kv_lora_rank', c['kv_lora_rank'])
        whole('rope.dimension_count', c['qk_rope_head_dim'])
        if 'rope_theta' in c:
            real('rope.freq_base', c['rope_theta'])
        yarn = c.get('rope_scaling')
        if yarn:
            w.add_string(f'{self.arch}.rope.scaling.type', 'yarn')
            real('rope.scaling.factor', yarn['factor'])
            whole('rope.scaling.original_context_length', yarn['original_max_position_embeddings'])
            real('rope.scaling.yarn_beta_fast', yarn['beta_fast'])
            real('rope.scaling.yarn_beta_slow', yarn['beta_slow'])
            real('rope.scaling.yarn_log_multiplier', 0.1 * yarn['mscale_all_dim'])
        whole('leading_dense_block_count', c['first_k_dense_replace'])
        whole('expert_feed_forward_length', c['moe_intermediate_size'])
        whole('expert_count', self.experts)
        whole('expert_used_count', c.get('num_experts_per_token') or c['num_experts_per_tok'])
        whole('expert_shared_count', c.get('num_shared_experts') or c['n_shared_experts'])
        whole('expert_group_count', c.get('num_expert_group') or c['n_group'])
        whole('expert_group_used_count', c['topk_group'])
        real('expert_weights_scale', c['routed_scaling_factor'])
        if self.k3 or not self.linear:
            w.add_bool(f'{self.arch}.expert_weights_norm', c['moe_renormalize' if self.k3 else 'norm_topk_prob'])
        whole('expert_gating_func', 2)
        if self.linear:
            kda = c['linear_attn_config']
            whole('ssm.conv_kernel', kda['short_conv_kernel_size'])
            whole('kda.head_dim', kda['head_dim'])
            if kda['num_heads'] != c['num_attention_heads']:
                whole('kda.head_count', kda['num_heads'])
        if self.k3:
            real('kda.gate_lower_bound', kda['gate_lower_bound'])
            whole('expert_latent_length', c['routed_expert_hidden_size'])
            real('activation.situ_beta', c['activation_situ_beta'])
            real('activation.situ_linear_beta', c['activation_situ_linear_beta'])
            whole('attn_res.block_size', c['attn_res_block_size'])

    def tokenizer(self):
        c, w = self.config, self.w
        plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
        rest = [b for b in range(256) if b not in plain]
        letter = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}
        spell = lambda token: ''.join(letter[b] for b in token)
        ranks = [base64.b64decode(line.split()[0]) for line in (self.folder / 'tiktoken.model').read_text().splitlines() if line]
        names = json.loads((self.folder / 'tokenizer_config.json').read_text())
        added = {int(k): v['content'] for k, v in names['added_tokens_decoder'].items()}
        tokens = [spell(x) for x in ranks] + [added.get(i, f'<|reserved_token_{i}|>') for i in range(len(ranks), c['vocab_size'])]
        rank, merges = {x: i for i, x in enumerate(ranks)}, []
        for i, token in enumerate(ranks):
            if len(token) > 1:
                parts = [bytes([b]) for b in token]
                while len(parts) > 2:
                    best, j = min((rank.get(parts[j] + parts[j + 1], 1 << 30), j) for j in range(len(parts) - 1))
                    assert best < i
                    parts[j:j + 2] = [parts[j] + parts[j + 1]]
                merges.append(' '.join(spell(x) for x in parts))
        w.add_tokenizer_model('gpt2')
        w.add_tokenizer_pre('kimi-k2')
        w.add_token_list(tokens)
        w.add_token_types([1] * len(ranks) + [3] * (len(tokens) - len(ranks)))
        w.add_token_merges(merges)
        self.ids(tokens.index('[UNK]'))
        w.add_add_bos_token(False)
        template = self.folder / 'chat_template.jinja'
        if template.exists() or 'chat_template' in names:
            w.add_chat_template(template.read_text() if template.exists() else names['chat_template'])

    def ids(self, unknown):
        self.w.add_bos_token_id(self.config['bos_token_id'])
        self.w.add_eos_token_id(self.config['eos_token_id'])
        if unknown is not None:
            self.w.add_unk_token_id(unknown)
        self.w.add_pad_token_id(self.config['pad_token_id'])

    def put(self, name, t):
        if t[0] == 'FP8':
            t = 'BF16', from_fp8(t[1], t[2])
        kind, x = t[:2]
        always = x.ndim < 2 or name.endswith('_norm.weight') or not name.endswith('.weight') or 'ffn_gate_inp' in name or 'ssm_conv1d' in name
        if kind == 'INT4':
            x = q4_0(*t[1:]) if t[1].ndim == 2 else np.stack([q4_0(p, s) for p, s in zip(*t[1:])])
            self.w.add_tensor(name, x, raw_dtype=Type.Q4_0)
        elif kind == 'MXFP4':
            self.w.add_tensor(name, np.stack([mxfp4(p, s) for p, s in zip(*t[1:])]), raw_dtype=Type.MXFP4)
        elif kind == 'BF16' and not always:
            x = np.ascontiguousarray(x)
            self.w.add_tensor(name, x.view(np.uint8).reshape(*x.shape[:-1], -1), raw_dtype=Type.BF16)
        elif kind == 'F16' and not always:
            self.w.add_tensor(name, x)
        else:
            self.w.add_tensor(name, widen(x) if kind == 'BF16' else x.astype(np.float32))

    def kv_b(self, block, t):
        c = self.config
        kind, x = t if t[0] != 'FP8' else ('BF16', from_fp8(*t[1:]))
        x = x.reshape(c['num_attention_heads'], c['qk_nope_head_dim'] + c['v_head_dim'], c['kv_lora_rank'])
        self.put(block + 'attn_k_b.weight', (kind, x[:, :c['qk_nope_head_dim']].transpose(0, 2, 1)))
        self.put(block + 'attn_v_b.weight', (kind, x[:, c['qk_nope_head_dim']:]))

    def stack(self, layer, block):
        for part, short in (('gate', 'w1'), ('up', 'w3'), ('down', 'w2')):
            name = short if self.linear else part + '_proj'
            all_ = [self.tensors[f'{layer}{self.moe}.experts.{e}.{name}.weight'] for e in range(self.experts)]
            if all_[0][0] == 'FP8':
                all_ = [('BF16', from_fp8(*t[1:])) for t in all_]
            self.put(f'{block}ffn_{part}_exps.weight', (all_[0][0], *(np.stack(x) for x in zip(*(t[1:] for t in all_)))))

    def score(self, name, to):
        """What the residuals' norm and query are together."""
        norm, query = (self.tensors[f'{name}_{x}.weight'] for x in ('norm', 'proj'))
        self.put(to + '_res_score.weight', ('F32', (widen(norm[1]) * widen(query[1])).reshape(-1)))

    def layer(self, i):
        layer, block = f'model.layers.{i}.', f'blk.{i}.'
        if self.k3:
            self.score(layer + 'self_attention_res', block + 'attn')
            self.score(layer + 'mlp_res', block + 'ffn')
            if f'{layer}self_attn.g_proj.weight' in self.tensors:
                kind = 'ssm_g' if f'{layer}self_attn.A_log' in self.tensors else 'attn_gate'
                self.put(f'{block}{kind}.weight', self.tensors[f'{layer}self_attn.g_proj.weight'])
        for name, to in NAMES.items():
            t = self.tensors.get(f'{layer}{name.replace("MOE", self.moe)}.weight')
            if t and 'conv1d' in name:
                t = t[0], t[1].reshape(1, -1, 1, t[1].shape[-1])
            if t:
                self.put(f'{block}{to}.weight', t)
        if f'{layer}self_attn.kv_b_proj.weight' in self.tensors:
            self.kv_b(block, self.tensors[f'{layer}self_attn.kv_b_proj.weight'])
        if f'{layer}self_attn.A_log' in self.tensors:
            a = self.tensors[f'{layer}self_attn.A_log'][1]
            a = (-np.exp(a.astype(np.float64))).astype(np.float32)
            self.w.add_tensor(block + 'ssm_a', a[:self.config['linear_attn_config']['num_heads']] if self.k3 else a.reshape(1, 1, -1, 1))
            self.put(block + 'ssm_dt.bias', self.tensors[f'{layer}self_attn.dt_bias'])
        bias = f'{layer}{self.moe}.gate.e_score_correction_bias'
        if bias in self.tensors:
            self.put(block + 'exp_probs_b.bias', self.tensors[bias])
            self.stack(layer, block)

    def all(self):
        self.keys()
        if (self.folder / 'tiktoken.model').exists():
            self.tokenizer()
        else:
            self.w.add_tokenizer_model('no_vocab')
            self.ids(None)
        self.put('token_embd.weight', self.tensors['model.embed_tokens.weight'])
        for i in range(self.config['num_hidden_layers']):
            self.layer(i)
        if self.k3:
            self.score('model.output_attn_res', 'output')
        self.put('output_norm.weight', self.tensors['model.norm.weight'])
        if 'lm_head.weight' in self.tensors:
            self.put('output.weight', self.tensors['lm_head.weight'])
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def same(ours, theirs, besides):
    a, b = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    keys = [[k for k in x.fields if not k.startswith('GGUF.')] for x in (a, b)]
    only = [k for k in keys[0] if k not in keys[1] and k not in besides], [k for k in keys[1] if k not in keys[0]]
    assert not only[0] and not only[1], f'keys only in ours {only[0]}, in theirs {only[1]}'
    assert [k for k in keys[0] if k in keys[1]] == keys[1], 'keys in another order'
    for k in keys[1]:
        x, y = a.fields[k], b.fields[k]
        assert x.types == y.types and x.contents() == y.contents(), f'key {k}: {x.contents()!s:.60}, wanted {y.contents()!s:.60}'
    tensors = [{t.name: t for t in x.tensors} for x in (a, b)]
    assert tensors[0].keys() == tensors[1].keys(), f'tensors {sorted(tensors[0].keys() ^ tensors[1].keys())[:4]}'
    for name, y in tensors[1].items():
        x = tensors[0][name]
        assert x.tensor_type == y.tensor_type and list(x.shape) == list(y.shape), f'{name}: {x.tensor_type} {x.shape}'
        assert x.data.tobytes() == y.data.tobytes(), f'{name}: other bytes'
        assert np.isfinite(gguf.dequantize(x.data, x.tensor_type)).all(), f'{name}: not finite'


if __name__ == '__main__':
    if sys.argv[1] == '--same':
        same(sys.argv[2], sys.argv[3], sys.argv[4:])
        sys.exit()
    Writer(pathlib.Path(sys.argv[1]), sys.argv[2]).all()
