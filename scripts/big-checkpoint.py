#!/usr/bin/env python3
"""Writes a synthetic checkpoint of about SIZE GB from random shards: a real layout (names, shapes, index), values that are finite and
of a plausible size, the same bytes for the same arguments. For tests of memory and of throughput.

    big-checkpoint.py [--shape kimi-linear|k2] [--sparse] DIR [SIZE_GB]        # default 8

kimi-linear   Kimi-Linear-48B's widths, everything BF16
k2            Kimi-K2-Thinking's widths: INT4 experts (compressed-tensors), BF16 the rest
--sparse      of a tensor larger than 256 KiB only the head is random, the rest a hole in the file, which takes no disk; scales are
              written whole
"""
import argparse, json, os, random, struct

D, HEADS, HEAD_DIM, LATENT, NOPE, ROPE, VDIM, WIDTH = 2304, 32, 128, 512, 128, 64, 128, 1024
SHARD, HEAD = 1 << 30, 256 << 10


def linear_config(layers, experts, vocab):
    return {
        'architectures': ['KimiLinearForCausalLM'], 'model_type': 'kimi_linear', 'hidden_act': 'silu', 'rms_norm_eps': 1e-05,
        'q_lora_rank': None, 'mla_use_nope': True, 'rope_theta': 10000.0, 'rope_scaling': None, 'moe_layer_freq': 1, 'moe_renormalize': True,
        'moe_router_activation_func': 'sigmoid', 'routed_scaling_factor': 2.446, 'use_grouped_topk': True, 'num_expert_group': 1,
        'topk_group': 1, 'first_k_dense_replace': 1, 'num_nextn_predict_layers': 0, 'tie_word_embeddings': False, 'model_max_length': 4096,
        'bos_token_id': 1, 'eos_token_id': 2, 'pad_token_id': 0, 'dtype': 'bfloat16', 'vocab_size': vocab, 'hidden_size': D,
        'num_hidden_layers': layers, 'intermediate_size': 9216, 'num_attention_heads': HEADS, 'num_key_value_heads': HEADS, 'head_dim': 72,
        'kv_lora_rank': LATENT, 'qk_nope_head_dim': NOPE, 'qk_rope_head_dim': ROPE, 'v_head_dim': VDIM, 'num_experts': experts,
        'num_experts_per_token': 8, 'num_shared_experts': 1, 'moe_intermediate_size': WIDTH,
        'linear_attn_config': {'num_heads': HEADS, 'head_dim': HEAD_DIM, 'short_conv_kernel_size': 4, 'full_attn_layers': [layers],
                               'kda_layers': list(range(1, layers))}}


def linear_tensors(layers, experts, vocab):
    P = HEADS * HEAD_DIM
    yield 'model.embed_tokens.weight', 'BF16', [vocab, D]
    for i in range(layers):
        p = f'model.layers.{i}.'
        yield p + 'input_layernorm.weight', 'BF16', [D]
        yield p + 'post_attention_layernorm.weight', 'BF16', [D]
        a = p + 'self_attn.'
        if i < layers - 1:
            for x in 'qkv':
                yield f'{a}{x}_proj.weight', 'BF16', [P, D]
                yield f'{a}{x}_conv1d.weight', 'BF16', [P, 1, 4]
            yield from ((a + n, t, s) for n, t, s in [
                ('f_a_proj.weight', 'BF16', [HEAD_DIM, D]), ('f_b_proj.weight', 'BF16', [P, HEAD_DIM]), ('A_log', 'F32', [1, 1, HEADS, 1]),
                ('dt_bias', 'F32', [P]), ('b_proj.weight', 'BF16', [HEADS, D]), ('g_a_proj.weight', 'BF16', [HEAD_DIM, D]),
                ('g_b_proj.weight', 'BF16', [P, HEAD_DIM]), ('o_norm.weight', 'BF16', [HEAD_DIM]), ('o_proj.weight', 'BF16', [D, P])])
        else:
            yield a + 'q_proj.weight', 'BF16', [HEADS * (NOPE + ROPE), D]
            yield a + 'kv_a_proj_with_mqa.weight', 'BF16', [LATENT + ROPE, D]
            yield a + 'kv_a_layernorm.weight', 'BF16', [LATENT]
            yield a + 'kv_b_proj.weight', 'BF16', [HEADS * (NOPE + VDIM), LATENT]
            yield a + 'o_proj.weight', 'BF16', [D, HEADS * VDIM]
        if i == 0:
            yield p + 'mlp.gate_proj.weight', 'BF16', [9216, D]
            yield p + 'mlp.up_proj.weight', 'BF16', [9216, D]
            yield p + 'mlp.down_proj.weight', 'BF16', [D, 9216]
            continue
        m = p + 'block_sparse_moe.'
        yield m + 'gate.weight', 'BF16', [experts, D]
        yield m + 'gate.e_score_correction_bias', 'F32', [experts]
        for e in range(experts):
            yield f'{m}experts.{e}.w1.weight', 'BF16', [WIDTH, D]
            yield f'{m}experts.{e}.w2.weight', 'BF16', [D, WIDTH]
            yield f'{m}experts.{e}.w3.weight', 'BF16', [WIDTH, D]
        for n, s in (('gate', [WIDTH, D]), ('up', [WIDTH, D]), ('down', [D, WIDTH])):
            yield f'{m}shared_experts.{n}_proj.weight', 'BF16', s
    yield 'model.norm.weight', 'BF16', [D]
    yield 'lm_head.weight', 'BF16', [vocab, D]


def k2_config(layers, experts, vocab):
    ints = {'actorder': None, 'block_structure': None, 'dynamic': False, 'group_size': 32, 'num_bits': 4, 'observer': 'minmax',
            'observer_kwargs': {}, 'strategy': 'group', 'symmetric': True, 'type': 'int'}
    return {
        'architectures': ['DeepseekV3ForCausalLM'], 'model_type': 'kimi_k2', 'hidden_act': 'silu', 'rms_norm_eps': 1e-05,
        'hidden_size': 7168, 'intermediate_size': 18432, 'moe_intermediate_size': 2048, 'num_hidden_layers': layers, 'vocab_size': vocab,
        'num_attention_heads': 64, 'num_key_value_heads': 64, 'q_lora_rank': 1536, 'kv_lora_rank': 512, 'qk_nope_head_dim': 128,
        'qk_rope_head_dim': 64, 'v_head_dim': 128, 'rope_theta': 50000.0, 'max_position_embeddings': 262144,
        'rope_scaling': {'type': 'yarn', 'factor': 64.0, 'original_max_position_embeddings': 4096, 'beta_fast': 1.0, 'beta_slow': 1.0,
                         'mscale': 1.0, 'mscale_all_dim': 1.0},
        'n_routed_experts': experts, 'num_experts_per_tok': 8, 'n_shared_experts': 1, 'n_group': 1, 'topk_group': 1, 'norm_topk_prob': True,
        'scoring_func': 'sigmoid', 'topk_method': 'noaux_tc', 'routed_scaling_factor': 2.827, 'first_k_dense_replace': 1,
        'moe_layer_freq': 1, 'num_nextn_predict_layers': 0, 'attention_bias': False, 'tie_word_embeddings': False, 'bos_token_id': 1,
        'eos_token_id': 2, 'pad_token_id': 3, 'torch_dtype': 'bfloat16',
        'quantization_config': {
            'config_groups': {'group_0': {'input_activations': None, 'output_activations': None, 'targets': ['Linear'], 'weights': ints}},
            'format': 'pack-quantized', 'kv_cache_scheme': None, 'quant_method': 'compressed-tensors', 'quantization_status': 'compressed',
            'ignore': ['lm_head', 're:.*self_attn.*', 're:.*shared_experts.*', 're:.*mlp\\.(gate|up|gate_up|down)_proj.*']}}


def k2_tensors(layers, experts, vocab):
    d, width = 7168, 2048
    yield 'model.embed_tokens.weight', 'BF16', [vocab, d]
    for i in range(layers):
        p = f'model.layers.{i}.'
        yield p + 'input_layernorm.weight', 'BF16', [d]
        yield p + 'post_attention_layernorm.weight', 'BF16', [d]
        for n, s in (('q_a_proj', [1536, d]), ('q_a_layernorm', [1536]), ('q_b_proj', [64 * 192, 1536]), ('kv_a_proj_with_mqa', [576, d]),
                     ('kv_a_layernorm', [512]), ('kv_b_proj', [64 * 256, 512]), ('o_proj', [d, 64 * 128])):
            yield f'{p}self_attn.{n}.weight', 'BF16', s
        shared = [('gate', [width, d]), ('up', [width, d]), ('down', [d, width])]
        if i == 0:
            for n, s in (('gate', [18432, d]), ('up', [18432, d]), ('down', [d, 18432])):
                yield f'{p}mlp.{n}_proj.weight', 'BF16', s
            continue
        yield p + 'mlp.gate.weight', 'BF16', [experts, d]
        yield p + 'mlp.gate.e_score_correction_bias', 'F32', [experts]
        for e in range(experts):
            for n, (rows, cols) in sorted(shared):
                q = f'{p}mlp.experts.{e}.{n}_proj.'
                yield q + 'weight_packed', 'I32', [rows, cols // 8]
                yield q + 'weight_scale', 'BF16', [rows, cols // 32]
                yield q + 'weight_shape', 'I32', [2]
        for n, s in shared:
            yield f'{p}mlp.shared_experts.{n}_proj.weight', 'BF16', s
    yield 'model.norm.weight', 'BF16', [d]
    yield 'lm_head.weight', 'BF16', [vocab, d]


def linear_sizes(size):
    return 3, max(8, round((size * 1e9 - 0.75e9) / (2 * 3 * WIDTH * D * 2))), 32768


# The rest of a layer, beside its experts, takes 0.29 GB (BF16), the dense layer 1.0 GB; an expert 24.8 MB.
def k2_sizes(size):
    vocab = 163840 if size >= 16 else 8192
    for moe in range(1, 61):
        experts = round((size * 1e9 - 1.0e9 - 0.29e9 * moe - 4 * 7168 * vocab) / (24.8e6 * moe))
        if experts <= 384:
            break
    return 1 + moe, max(8, experts), vocab


SHAPES = {'kimi-linear': (linear_sizes, linear_config, linear_tensors), 'k2': (k2_sizes, k2_config, k2_tensors)}


def nbytes(dtype, shape):
    n = 2 if dtype == 'BF16' else 4
    for s in shape:
        n *= s
    return n


def block(rng, dtype):
    """1 MiB of codes, or of values between 2^-9 and 2^-6 in magnitude."""
    raw = bytearray(rng.randbytes(1 << 20))
    step = 2 if dtype == 'BF16' else 4
    top = bytes((b & 0x80) | 0x3b | (b & 1) << 2 & 0x3c for b in range(256))
    if dtype != 'I32':
        raw[step - 1::step] = raw[step - 1::step].translate(top)
    return raw


def put(f, j, name, dtype, shape, n, blocks, sparse, full):
    if name.endswith('weight_shape'):
        f.write(struct.pack('<2i', *full))
        return
    end = f.tell() + n
    if sparse and not name.endswith('weight_scale'):
        n = min(n, HEAD)
    while n:
        b = blocks[dtype][j % len(blocks[dtype])]
        f.write(b[:min(n, len(b))])
        n -= min(n, len(b))
        j += 1
    f.seek(end)


def main():
    a = argparse.ArgumentParser()
    a.add_argument('--shape', choices=SHAPES, default='kimi-linear')
    a.add_argument('--sparse', action='store_true')
    a.add_argument('folder')
    a.add_argument('size', nargs='?', type=float, default=8.0)
    a = a.parse_args()
    sizes, config, tensors = SHAPES[a.shape]
    layers, experts, vocab = sizes(a.size)
    os.makedirs(a.folder)
    rng = random.Random(1)
    blocks = {t: [block(rng, t) for _ in range(4)] for t in ('BF16', 'F32', 'I32')}
    shards, room = [[]], SHARD
    for name, dtype, shape in tensors(layers, experts, vocab):
        n = nbytes(dtype, shape)
        if n > room and shards[-1]:
            shards.append([])
            room = SHARD
        shards[-1].append((name, dtype, shape, n))
        room -= n
    index, total, full = {}, 0, None
    for k, items in enumerate(shards):
        file = f'model-{k + 1:05d}-of-{len(shards):05d}.safetensors'
        head, off = {}, 0
        for name, dtype, shape, n in items:
            head[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [off, off + n]}
            index[name], off, total = file, off + n, total + n
        text = json.dumps(head, separators=(',', ':')).encode()
        text += b' ' * (-len(text) % 8)
        with open(os.path.join(a.folder, file), 'wb') as f:
            f.write(struct.pack('<Q', len(text)) + text)
            for i, (name, dtype, shape, n) in enumerate(items):
                if name.endswith('weight_packed'):
                    full = [shape[0], shape[1] * 8]
                put(f, i, name, dtype, shape, n, blocks, a.sparse, full)
            f.truncate()
    with open(os.path.join(a.folder, 'model.safetensors.index.json'), 'w') as f:
        json.dump({'metadata': {'total_size': total}, 'weight_map': index}, f)
    with open(os.path.join(a.folder, 'config.json'), 'w') as f:
        json.dump(config(layers, experts, vocab), f)
    print(f'{total / 1e9:.2f} GB, {len(index)} tensors, {len(shards)} shards')


main()
