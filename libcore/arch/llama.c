/* llama.c: Llama and what shares its form (SmolLM2): grouped-query attention with half-split rotation, SwiGLU; optional biases,
 * tied embeddings. Also from GGUF, whose q and k rows are permuted so that rotation there works on neighbours:
 *
 *   Hugging Face row p * (d/2) + i of a head  =  GGUF row 2 i + p       (p = 0, 1) */
#include "libcore/base.h"
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

static int64_t head_dim(const struct k_hp *h) { return h->head_dim; }

static int key_llama3(const struct k_hp *hp, const struct k_json *config K_UNUSED, struct k_json **out)
{
	bool is = hp->rope.kind == K_ROPE_LLAMA3;

	*out = is ? k_json_new_number(hp->rope.factor) : NULL;
	return is && !*out ? K_ENOMEM : 0;
}

static const struct k_arch_key gguf_keys[] = {
	K_ARCH_KEYS_SIZES("max_position_embeddings"),
	{ .key = "attention.head_count_kv", .member = "num_key_value_heads", .at = offsetof(struct k_hp, n_head_kv) },
	{ "attention.layer_norm_rms_epsilon", K_KEY_REAL, "rms_norm_eps", .wanted = true, .at = offsetof(struct k_hp, eps) },
	{ .key = "attention.key_length", .member = "head_dim", .at = offsetof(struct k_hp, head_dim), .if_member = "head_dim" },
	{ .key = "attention.value_length", .count = head_dim, .if_member = "head_dim" },
	{ .key = "rope.dimension_count", .count = head_dim },
	{ "rope.freq_base", K_KEY_REAL, "rope_theta", .at = offsetof(struct k_hp, rope.theta) },
	{ .key = "rope.scaling.type", .make = k_arch_key_scaling },
	{ .key = "rope.scaling.factor", .make = k_arch_key_factor },
	/* Ours: GGUF has a table of these, rope_freqs.weight, and not the numbers. */
	{ "rope.llama3.factor", K_KEY_REAL, "rope_scaling.factor", .make = key_llama3 },
	{ "rope.llama3.low_freq_factor", K_KEY_REAL, "rope_scaling.low_freq_factor", .at = offsetof(struct k_hp, rope.low_freq) },
	{ "rope.llama3.high_freq_factor", K_KEY_REAL, "rope_scaling.high_freq_factor", .at = offsetof(struct k_hp, rope.high_freq) },
	{ .key = "rope.llama3.original_context_length", .member = "rope_scaling.original_max_position_embeddings",
		.at = offsetof(struct k_hp, rope.original) },
	{ NULL }
};

static int gguf_rest(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	if (k_json_int(k_arch_gguf_find(a, keys, "expert_count")) != 0)
		return k_err_set(err, K_EUNSUP, "'%s': llama with routed experts is not known here", where);
	if (k_arch_gguf_find(a, keys, "rope.llama3.factor"))
		return k_arch_gguf_set(config, "rope_scaling.rope_type", k_json_new_string("llama3", 6), err);
	return k_arch_gguf_scaling(a, keys, where, false, config, err);
}

static const char *gguf_lacks(const struct k_hp *h)
{
	return h->rope.kind == K_ROPE_YARN ? "YaRN scaling" : NULL;
}

/* Factors for each frequency, which a config has numbers for; of a GGUF libcore/import_rope.c takes the first. */
static const char *const refuse[] = { "rope_freqs.weight", "rope_factors_*", NULL };

const struct k_arch k_arch_llama = {
	.name = "llama", .about = "Llama, SmolLM2: grouped-query attention, SwiGLU",
	.match = match, .parse = parse, .weights = weights, .dim = k_arch_dim, .plan = plan, .refuse = refuse,
	.gguf_arch = "llama", .gguf_keys = gguf_keys, .gguf_class = "LlamaForCausalLM", .gguf_model_type = "llama", .gguf_rest = gguf_rest,
	.gguf_lacks = gguf_lacks,
};
