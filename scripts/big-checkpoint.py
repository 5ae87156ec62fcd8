#!/usr/bin/env python3
"""Writes a synthetic Kimi-Linear checkpoint of about SIZE GB from random shards: a real layout (names, shapes, index, BF16), values
that are finite and of a plausible size, the same bytes for the same seed. For tests of memory and of throughput.

    big-checkpoint.py DIR [SIZE_GB]        # default 8
"""
import json, os, random, struct, sys

D, HEADS, HEAD_DIM, LATENT, NOPE, ROPE, VDIM, WIDTH = 2304, 32, 128, 512, 128, 64, 128, 1024
SHARD = 1 << 30


def config(layers, experts, vocab):
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


def tensors(layers, experts, vocab):
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


def nbytes(dtype, shape):
    n = 2 if dtype == 'BF16' else 4
    for s in shape:
        n *= s
    return n


def block(rng, dtype):
    """1 MiB of values between 2^-9 and 2^-6 in magnitude."""
    raw = bytearray(rng.randbytes(1 << 20))
    step = 2 if dtype == 'BF16' else 4
    top = bytes((b & 0x80) | 0x3b | (b & 1) << 2 & 0x3c for b in range(256))
    raw[step - 1::step] = raw[step - 1::step].translate(top)
    return raw


def main():
    folder, size = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 8.0
    vocab, layers = 32768, 3
    experts = max(8, round((size * 1e9 - 0.75e9) / (2 * 3 * WIDTH * D * 2)))
    os.makedirs(folder)
    rng = random.Random(1)
    blocks = {t: [block(rng, t) for _ in range(4)] for t in ('BF16', 'F32')}
    shards, room = [[]], SHARD
    for name, dtype, shape in tensors(layers, experts, vocab):
        n = nbytes(dtype, shape)
        if n > room and shards[-1]:
            shards.append([])
            room = SHARD
        shards[-1].append((name, dtype, shape, n))
        room -= n
    index, total = {}, 0
    for k, items in enumerate(shards):
        file = f'model-{k + 1:05d}-of-{len(shards):05d}.safetensors'
        head, off = {}, 0
        for name, dtype, shape, n in items:
            head[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [off, off + n]}
            index[name], off, total = file, off + n, total + n
        text = json.dumps(head, separators=(',', ':')).encode()
        text += b' ' * (-len(text) % 8)
        with open(os.path.join(folder, file), 'wb') as f:
            f.write(struct.pack('<Q', len(text)) + text)
            for i, (name, dtype, shape, n) in enumerate(items):
                j = i
                while n:
                    b = blocks[dtype][j % 4]
                    f.write(b[:min(n, len(b))])
                    n -= min(n, len(b))
                    j += 1
    with open(os.path.join(folder, 'model.safetensors.index.json'), 'w') as f:
        json.dump({'metadata': {'total_size': total}, 'weight_map': index}, f)
    with open(os.path.join(folder, 'config.json'), 'w') as f:
        json.dump(config(layers, experts, vocab), f)
    print(f'{total / 1e9:.2f} GB, {len(index)} tensors, {len(shards)} shards')


main()
