/* llama.c: Llama and what shares its form (SmolLM2): grouped-query attention with half-split rotation, SwiGLU; optional biases,
 * tied embeddings. Also from GGUF, whose q and k rows are permuted so that rotation there works on neighbours:
 *
 *   Hugging Face row p * (d/2) + i of a head  =  GGUF row 2 i + p       (p = 0, 1) */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/arch.h"

static bool untied(const struct k_hp *h, int64_t layer K_UNUSED) { return !h->tied; }
static bool attn_bias(const struct k_hp *h, int64_t layer K_UNUSED) { return h->attn_bias; }
static bool mlp_bias(const struct k_hp *h, int64_t layer K_UNUSED) { return h->mlp_bias; }

static void permuted(const struct k_hp *h, int32_t *order, int64_t rows)
{
	int64_t d = h->head_dim;

	for (int64_t r = 0; r < rows; r++) {
		int64_t head = r / d, in = r % d, p = in / (d / 2), i = in % (d / 2);

		order[r] = (int32_t)(head * d + 2 * i + p);
	}
}

#define L "model.layers.{i}."

static const struct k_weight weights[] = {
	{ .slot = "embed", .name = "model.embed_tokens.weight", .gguf = "token_embd.weight", .role = "embed", .shape = "V,D" },
	{ .slot = "attn_norm", .name = L "input_layernorm.weight", .gguf = "blk.{i}.attn_norm.weight", .role = "norm", .shape = "D", .per_layer = true },
	{ .slot = "gqa.q", .name = L "self_attn.q_proj.weight", .gguf = "blk.{i}.attn_q.weight", .role = "attn", .shape = "Hq,D", .per_layer = true,
		.gguf_rows = permuted },
	{ .slot = "gqa.q_bias", .name = L "self_attn.q_proj.bias", .gguf = "blk.{i}.attn_q.bias", .role = "attn", .shape = "Hq", .when = attn_bias,
		.per_layer = true, .gguf_rows = permuted },
	{ .slot = "gqa.k", .name = L "self_attn.k_proj.weight", .gguf = "blk.{i}.attn_k.weight", .role = "attn", .shape = "Hkv,D", .per_layer = true,
		.gguf_rows = permuted },
	{ .slot = "gqa.k_bias", .name = L "self_attn.k_proj.bias", .gguf = "blk.{i}.attn_k.bias", .role = "attn", .shape = "Hkv", .when = attn_bias,
		.per_layer = true, .gguf_rows = permuted },
	{ .slot = "gqa.v", .name = L "self_attn.v_proj.weight", .gguf = "blk.{i}.attn_v.weight", .role = "attn", .shape = "Hkv,D", .per_layer = true },
	{ .slot = "gqa.v_bias", .name = L "self_attn.v_proj.bias", .gguf = "blk.{i}.attn_v.bias", .role = "attn", .shape = "Hkv", .when = attn_bias,
		.per_layer = true },
	{ .slot = "gqa.o", .name = L "self_attn.o_proj.weight", .gguf = "blk.{i}.attn_output.weight", .role = "attn", .shape = "D,Hq", .per_layer = true },
	{ .slot = "gqa.o_bias", .name = L "self_attn.o_proj.bias", .gguf = "blk.{i}.attn_output.bias", .role = "attn", .shape = "D", .when = attn_bias,
		.per_layer = true },
	{ .slot = "ffn_norm", .name = L "post_attention_layernorm.weight", .gguf = "blk.{i}.ffn_norm.weight", .role = "norm", .shape = "D",
		.per_layer = true },
	{ .slot = "mlp.gate", .name = L "mlp.gate_proj.weight", .gguf = "blk.{i}.ffn_gate.weight", .role = "dense", .shape = "F,D", .per_layer = true },
	{ .slot = "mlp.gate_bias", .name = L "mlp.gate_proj.bias", .gguf = "blk.{i}.ffn_gate.bias", .role = "dense", .shape = "F", .when = mlp_bias,
		.per_layer = true },
	{ .slot = "mlp.up", .name = L "mlp.up_proj.weight", .gguf = "blk.{i}.ffn_up.weight", .role = "dense", .shape = "F,D", .per_layer = true },
	{ .slot = "mlp.up_bias", .name = L "mlp.up_proj.bias", .gguf = "blk.{i}.ffn_up.bias", .role = "dense", .shape = "F", .when = mlp_bias,
		.per_layer = true },
	{ .slot = "mlp.down", .name = L "mlp.down_proj.weight", .gguf = "blk.{i}.ffn_down.weight", .role = "dense", .shape = "D,F", .per_layer = true },
	{ .slot = "mlp.down_bias", .name = L "mlp.down_proj.bias", .gguf = "blk.{i}.ffn_down.bias", .role = "dense", .shape = "D", .when = mlp_bias,
		.per_layer = true },
	{ .slot = "norm", .name = "model.norm.weight", .gguf = "output_norm.weight", .role = "norm", .shape = "D" },
	{ .slot = "head", .name = "lm_head.weight", .gguf = "output.weight", .role = "head", .shape = "V,D", .when = untied },
	{ .slot = NULL }
};

static int match(const struct k_json *config)
{
	const char *type = k_json_string(k_json_find(config, "model_type"));
	const char *name = k_json_string(k_json_at(k_json_find(config, "architectures"), 0));

	if (type)
		return strcmp(type, "llama") == 0 ? 2 : 0;
	return name && strcmp(name, "LlamaForCausalLM") == 0;
}

static int read_heads(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	int r = k_json_int_or(config, "num_key_value_heads", 1, 1 << 24, out->n_head, &out->n_head_kv, where, err);

	if (r == 0)
		r = k_json_int_or(config, "head_dim", 1, 1 << 24, 0, &out->head_dim, where, err);
	if (r < 0)
		return r;
	if (out->n_head % out->n_head_kv != 0)
		return k_err_set(err, K_EFORMAT, "'%s': num_key_value_heads %lld does not divide num_attention_heads %lld", where,
			(long long)out->n_head_kv, (long long)out->n_head);
	if (out->head_dim == 0 && out->n_embd % out->n_head != 0)
		return k_err_set(err, K_EFORMAT, "'%s': num_attention_heads %lld does not divide hidden_size %lld", where, (long long)out->n_head,
			(long long)out->n_embd);
	if (out->head_dim == 0)
		out->head_dim = out->n_embd / out->n_head;
	if (out->head_dim % 2 != 0)
		return k_err_set(err, K_EFORMAT, "'%s': head_dim is %lld, wanted an even number", where, (long long)out->head_dim);
	return 0;
}

static int parse(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const others[] = { "rope_interleaved", "num_local_experts", "num_experts", "n_routed_experts", "sliding_window", NULL };
	int r;

	memset(out, 0, sizeof(*out));
	out->moe_freq = 1;
	r = k_arch_refuse(config, where, others, err);
	if (r == 0)
		r = k_arch_common(config, where, out, err);
	if (r == 0)
		r = read_heads(config, where, out, err);
	if (r == 0)
		r = k_json_bool_or(config, "attention_bias", false, &out->attn_bias, where, err);
	if (r == 0)
		r = k_json_bool_or(config, "mlp_bias", false, &out->mlp_bias, where, err);
	if (r == 0)
		r = k_arch_rope(config, where, &out->rope, err);
	out->rope.dim = out->head_dim;
	return r;
}

static void plan(const struct k_hp *h K_UNUSED, int64_t layer K_UNUSED, struct k_plan *out)
{
	out->mixer = "gqa";
	out->ffn = "mlp";
}

/* --- GGUF ------------------------------------------------------------------------------------------------------------- */

/* GGUF key (after "llama.") -> member of config.json; NULL: checked elsewhere, or of no consequence. */
static const struct { const char *key, *member; bool wanted; } keys_to_members[] = {
	{ "vocab_size", "vocab_size", false },
	{ "context_length", "max_position_embeddings", false },
	{ "embedding_length", "hidden_size", true },
	{ "block_count", "num_hidden_layers", true },
	{ "feed_forward_length", "intermediate_size", true },
	{ "attention.head_count", "num_attention_heads", true },
	{ "attention.head_count_kv", "num_key_value_heads", false },
	{ "attention.key_length", "head_dim", false },
	{ "attention.layer_norm_rms_epsilon", "rms_norm_eps", true },
	{ "rope.freq_base", "rope_theta", false },
};

static struct k_json *key(const struct k_json *keys, const char *name)
{
	char full[96];

	snprintf(full, sizeof(full), "llama.%s", name);
	return k_json_find(keys, full);
}

static int set(struct k_json *config, const char *member, struct k_json *value, struct k_err *err)
{
	return k_json_set(config, member, value) < 0 ? k_err_nomem(err, sizeof(void *), "a config") : 0;
}

static int gguf_scaling(const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	static const char *const types[] = { "none", "linear", NULL };
	const char *type = k_json_string(key(keys, "rope.scaling.type"));
	struct k_json *scaling, *factor = key(keys, "rope.scaling.factor");
	int kind = 0, r;

	if (!factor)
		factor = key(keys, "rope.scale_linear");
	if (type) {
		while (types[kind] && strcmp(types[kind], type) != 0)
			kind++;
		if (!types[kind])
			return k_err_set(err, K_EUNSUP, "'%s': llama.rope.scaling.type is '%s', wanted none or linear", where, type);
	} else if (factor) {
		kind = 1;
	}
	if (kind == 0)
		return 0;
	if (!factor)
		return k_err_set(err, K_ENOENT, "'%s': llama.rope.scaling.factor is missing", where);
	scaling = k_json_object();
	if (!scaling || k_json_set(scaling, "type", k_json_new_string("linear", 6)) < 0 || k_json_set(scaling, "factor", k_json_keep(factor)) < 0) {
		k_json_free(scaling);
		scaling = NULL;
	}
	r = set(config, "rope_scaling", scaling, err);
	return r;
}

/* What this reader leaves out must have the value that changes nothing. */
static int gguf_rest(const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	int64_t heads = k_json_int(k_json_find(config, "num_attention_heads")), width = k_json_int(k_json_find(config, "hidden_size"));
	int64_t dim = k_json_int(k_json_find(config, "head_dim"));
	const struct k_json *turned = key(keys, "rope.dimension_count"), *value = key(keys, "attention.value_length");

	if (k_json_int(key(keys, "expert_count")) != 0)
		return k_err_set(err, K_EUNSUP, "'%s': llama with routed experts is not known here", where);
	if (dim == 0 && heads > 0 && width % heads != 0)
		return 0;       /* parse says so */
	if (dim == 0 && heads > 0)
		dim = width / heads;
	if (turned && k_json_int(turned) != dim)
		return k_err_set(err, K_EUNSUP, "'%s': llama.rope.dimension_count is %lld and a head has %lld, wanted the same", where,
			(long long)k_json_int(turned), (long long)dim);
	if (value && k_json_int(value) != dim)
		return k_err_set(err, K_EUNSUP, "'%s': llama.attention.value_length is %lld and a head has %lld, wanted the same", where,
			(long long)k_json_int(value), (long long)dim);
	return 0;
}

static int gguf_tokens(const struct k_json *keys, struct k_json *config, struct k_err *err)
{
	const struct k_json *tokens = k_json_find(keys, "tokenizer.ggml.tokens");
	struct k_json *bos = k_json_find(keys, "tokenizer.ggml.bos_token_id"), *eos = k_json_find(keys, "tokenizer.ggml.eos_token_id");
	int r = 0;

	if (!k_json_find(config, "vocab_size") && k_json_kind(tokens) == K_JSON_ARRAY)
		r = set(config, "vocab_size", k_json_new_int((int64_t)k_json_len(tokens)), err);
	if (r == 0 && bos)
		r = set(config, "bos_token_id", k_json_keep(bos), err);
	if (r == 0 && eos)
		r = set(config, "eos_token_id", k_json_keep(eos), err);
	return r;
}

static int gguf_config(const struct k_json *keys, const char *where, struct k_json **out, struct k_err *err)
{
	struct k_json *config = k_json_object(), *names = k_json_array();
	int r = 0;

	if (!names || k_json_push(names, k_json_new_string("LlamaForCausalLM", 16)) < 0)
		r = k_err_nomem(err, sizeof(void *), "a config");
	if (r == 0)
		r = set(config, "architectures", k_json_keep(names), err);
	if (r == 0)
		r = set(config, "model_type", k_json_new_string("llama", 5), err);
	if (r == 0)
		r = set(config, "hidden_act", k_json_new_string("silu", 4), err);
	for (size_t i = 0; r == 0 && i < K_LEN(keys_to_members); i++) {
		struct k_json *v = key(keys, keys_to_members[i].key);

		if (k_json_kind(v) == K_JSON_ARRAY)
			r = k_err_set(err, K_EUNSUP, "'%s': llama.%s differs by layer, which is not known here", where, keys_to_members[i].key);
		else if (v)
			r = set(config, keys_to_members[i].member, k_json_keep(v), err);
		else if (keys_to_members[i].wanted)
			r = k_err_set(err, K_ENOENT, "'%s': key llama.%s is missing", where, keys_to_members[i].key);
	}
	if (r == 0)
		r = gguf_rest(keys, where, config, err);
	if (r == 0)
		r = gguf_scaling(keys, where, config, err);
	if (r == 0)
		r = gguf_tokens(keys, config, err);
	k_json_free(names);
	if (r < 0)
		k_json_free(config);
	else
		*out = config;
	return r;
}

/* rope_freqs holds factors for each frequency (llama3 scaling in GGUF). */
static const char *const refuse[] = { "rope_freqs.weight", "rope_factors_*", NULL };

const struct k_arch k_arch_llama = {
	.name = "llama", .about = "Llama, SmolLM2: grouped-query attention, SwiGLU",
	.match = match, .parse = parse, .weights = weights, .dim = k_arch_dim, .plan = plan, .refuse = refuse,
	.gguf_arch = "llama", .gguf_config = gguf_config,
};
