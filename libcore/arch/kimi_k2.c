/* kimi_k2.c: Kimi-K2, K2-Thinking, Moonlight and DeepSeek-V3, which differ in their numbers only: MLA with rotation (YaRN), with or
 * without a low-rank query, then a dense MLP (first layers) or routed experts (DeepSeek-V3, arXiv:2412.19437). */
#include "libcore/base.h"
#include "libcore/arch.h"

static bool untied(const struct k_hp *h, int64_t layer K_UNUSED) { return !h->tied; }
static bool lora(const struct k_hp *h, int64_t layer K_UNUSED) { return h->q_lora > 0; }
static bool whole(const struct k_hp *h, int64_t layer K_UNUSED) { return h->q_lora == 0; }
static bool dense(const struct k_hp *h, int64_t layer) { return !k_hp_is_moe(h, layer); }
static bool moe(const struct k_hp *h, int64_t layer) { return k_hp_is_moe(h, layer); }
static bool shared(const struct k_hp *h, int64_t layer) { return k_hp_is_moe(h, layer) && h->n_shared > 0; }

#define B "blk.{i}."
#define A "model.layers.{i}.self_attn."
#define M "model.layers.{i}.mlp."

static const struct k_weight weights[] = {
	{ .slot = "embed", .name = "model.embed_tokens.weight", .gguf = "token_embd.weight", .role = "embed", .shape = "V,D" },
	{ .slot = "attn_norm", .name = "model.layers.{i}.input_layernorm.weight", .gguf = B "attn_norm.weight", .role = "norm",
		.shape = "D", .per_layer = true },
	{ "mla.q", A "q_proj.weight", B "attn_q.weight", "attn", "Hqk,D", NULL, whole, .per_layer = true },
	{ "mla.q_a", A "q_a_proj.weight", B "attn_q_a.weight", "attn", "rq,D", NULL, lora, .per_layer = true },
	{ "mla.q_a_norm", A "q_a_layernorm.weight", B "attn_q_a_norm.weight", "norm", "rq", NULL, lora, .per_layer = true },
	{ "mla.q_b", A "q_b_proj.weight", B "attn_q_b.weight", "attn", "Hqk,rq", NULL, lora, .per_layer = true },
	{ .slot = "mla.kv_a", .name = A "kv_a_proj_with_mqa.weight", .gguf = B "attn_kv_a_mqa.weight", .role = "attn",
		.shape = "ra,D", .per_layer = true },
	{ .slot = "mla.kv_a_norm", .name = A "kv_a_layernorm.weight", .gguf = B "attn_kv_a_norm.weight", .role = "norm", .shape = "r",
		.per_layer = true },
	{ .slot = "mla.kv_b", .name = A "kv_b_proj.weight", .gguf = B "attn_kv_b.weight", .role = "attn", .shape = "Hkb,r",
		.per_layer = true },
	{ .slot = "mla.o", .name = A "o_proj.weight", .gguf = B "attn_output.weight", .role = "attn", .shape = "D,Ho", .per_layer = true },
	{ .slot = "ffn_norm", .name = "model.layers.{i}.post_attention_layernorm.weight", .gguf = B "ffn_norm.weight", .role = "norm",
		.shape = "D", .per_layer = true },
	{ "mlp.gate", M "gate_proj.weight", B "ffn_gate.weight", "dense", "F,D", NULL, dense, .per_layer = true },
	{ "mlp.up", M "up_proj.weight", B "ffn_up.weight", "dense", "F,D", NULL, dense, .per_layer = true },
	{ "mlp.down", M "down_proj.weight", B "ffn_down.weight", "dense", "D,F", NULL, dense, .per_layer = true },
	{ "moe.router", M "gate.weight", B "ffn_gate_inp.weight", "router", "E,D", NULL, moe, .per_layer = true },
	{ "moe.router_bias", M "gate.e_score_correction_bias", B "exp_probs_b.bias", "router", "E", NULL, moe, .per_layer = true },
	{ "moe.gate", M "experts.{e}.gate_proj.weight", B "ffn_gate_exps.weight", "experts", "E,Fe,D", NULL, moe, .per_layer = true },
	{ "moe.up", M "experts.{e}.up_proj.weight", B "ffn_up_exps.weight", "experts", "E,Fe,D", NULL, moe, .per_layer = true },
	{ "moe.down", M "experts.{e}.down_proj.weight", B "ffn_down_exps.weight", "experts", "E,D,Fe", NULL, moe, .per_layer = true },
	{ "moe.sh_gate", M "shared_experts.gate_proj.weight", B "ffn_gate_shexp.weight", "shared", "Fs,D", NULL, shared,
		.per_layer = true },
	{ "moe.sh_up", M "shared_experts.up_proj.weight", B "ffn_up_shexp.weight", "shared", "Fs,D", NULL, shared, .per_layer = true },
	{ "moe.sh_down", M "shared_experts.down_proj.weight", B "ffn_down_shexp.weight", "shared", "D,Fs", NULL, shared,
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
		return strcmp(type, "kimi_k2") == 0 || strcmp(type, "deepseek_v3") == 0 ? 2 : 0;
	return name && strcmp(name, "DeepseekV3ForCausalLM") == 0;
}

static int read_mla(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	bool interleaved;
	int r = k_json_int_or(config, "q_lora_rank", 1, 1 << 24, 0, &out->q_lora, where, err);

	if (r == 0)
		r = k_arch_mla_sizes(config, where, out, err);
	if (r == 0 && out->d_rope % 2 != 0)
		r = k_err_set(err, K_EFORMAT, "'%s': qk_rope_head_dim is %lld, wanted an even number", where, (long long)out->d_rope);
	if (r == 0)
		r = k_arch_rope(config, where, &out->rope, err);
	if (r == 0)
		r = k_json_bool_or(config, "rope_interleave", true, &interleaved, where, err);
	if (r < 0)
		return r;
	out->rope.interleaved = interleaved;
	out->rope.dim = out->d_rope;
	return 0;
}

static int read_moe(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const routers[] = { "sigmoid", NULL };
	static const struct k_moe_names names = { "n_routed_experts", "num_experts_per_tok", "n_shared_experts", "norm_topk_prob", "scoring_func", routers };
	int r = k_arch_moe(config, where, &names, out, err);

	if (r < 0 || out->n_expert == 0)
		return r;
	r = k_json_int_or(config, "n_group", 1, 1 << 20, 1, &out->n_group, where, err);
	if (r == 0)
		r = k_json_int_or(config, "topk_group", 1, 1 << 20, 1, &out->n_group_used, where, err);
	return r == 0 ? k_arch_check_moe(out, where, err) : r;
}

static int parse(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const later[] = { "attention_bias", "mlp_bias", "index_topk", "index_n_heads", "routed_expert_hidden_size",
		"attn_res_block_size", "forget_gate_lower_bound", "gate_lower_bound", "use_full_rank_gate", "use_full_rank_output_gate", NULL };
	int r;

	memset(out, 0, sizeof(*out));
	r = k_arch_refuse(config, where, later, err);
	if (r == 0)
		r = k_arch_common(config, where, out, err);
	if (r == 0)
		r = read_mla(config, where, out, err);
	if (r == 0)
		r = read_moe(config, where, out, err);
	return r;
}

static void plan(const struct k_hp *h, int64_t layer, struct k_plan *out)
{
	out->mixer = "mla";
	out->ffn = k_hp_is_moe(h, layer) ? "moe" : "mlp";
}

/* --- GGUF ------------------------------------------------------------------------------------------------------------- */

static int64_t qk_dim(const struct k_hp *h) { return h->d_nope + h->d_rope; }
static int64_t kv_dim(const struct k_hp *h) { return h->kv_lora + h->d_rope; }
static int64_t kv_lora(const struct k_hp *h) { return h->kv_lora; }
static int64_t one(const struct k_hp *h K_UNUSED) { return 1; }
static int64_t gating(const struct k_hp *h) { return h->n_expert ? 2 : 0; }     /* sigmoid */

/* In the file the attention has one key and value head, the compressed one; "_mla" keys tell the heads of the model. */
static const struct k_arch_key gguf_keys[] = {
	K_ARCH_KEYS_SIZES("max_position_embeddings"),
	{ .key = "attention.head_count_kv", .count = one },
	{ "attention.layer_norm_rms_epsilon", K_KEY_REAL, "rms_norm_eps", .wanted = true, .at = offsetof(struct k_hp, eps) },
	{ .key = "attention.key_length", .wanted = true, .count = kv_dim },
	{ .key = "attention.value_length", .wanted = true, .count = kv_lora },
	{ .key = "attention.key_length_mla", .count = qk_dim },
	{ .key = "attention.value_length_mla", .member = "v_head_dim", .at = offsetof(struct k_hp, d_v) },
	{ .key = "attention.q_lora_rank", .member = "q_lora_rank", .at = offsetof(struct k_hp, q_lora) },
	{ .key = "attention.kv_lora_rank", .member = "kv_lora_rank", .wanted = true, .at = offsetof(struct k_hp, kv_lora) },
	{ .key = "rope.dimension_count", .member = "qk_rope_head_dim", .wanted = true, .at = offsetof(struct k_hp, d_rope) },
	{ "rope.freq_base", K_KEY_REAL, "rope_theta", .wanted = true, .at = offsetof(struct k_hp, rope.theta) },
	{ .key = "rope.scaling.type", .make = k_arch_key_scaling },
	{ .key = "rope.scaling.factor", .make = k_arch_key_factor },
	{ .key = "rope.scaling.original_context_length", .at = offsetof(struct k_hp, rope.original) },
	{ "rope.scaling.yarn_beta_fast", K_KEY_REAL, .at = offsetof(struct k_hp, rope.beta_fast) },
	{ "rope.scaling.yarn_beta_slow", K_KEY_REAL, .at = offsetof(struct k_hp, rope.beta_slow) },
	{ .key = "rope.scaling.yarn_log_multiplier", .make = k_arch_key_log_multiplier },
	{ .key = "leading_dense_block_count", .member = "first_k_dense_replace", .at = offsetof(struct k_hp, n_dense_first), .zero = true },
	{ .key = "expert_feed_forward_length", .member = "moe_intermediate_size", .at = offsetof(struct k_hp, n_ff_expert) },
	{ .key = "expert_count", .member = "n_routed_experts", .at = offsetof(struct k_hp, n_expert) },
	{ .key = "expert_used_count", .member = "num_experts_per_tok", .at = offsetof(struct k_hp, n_expert_used) },
	{ .key = "expert_shared_count", .member = "n_shared_experts", .at = offsetof(struct k_hp, n_shared), .zero = true },
	{ .key = "expert_group_count", .member = "n_group", .at = offsetof(struct k_hp, n_group) },
	{ .key = "expert_group_used_count", .member = "topk_group", .at = offsetof(struct k_hp, n_group_used) },
	{ "expert_weights_scale", K_KEY_REAL, "routed_scaling_factor", .at = offsetof(struct k_hp, expert_scale) },
	{ "expert_weights_norm", K_KEY_BOOL, "norm_topk_prob", .at = offsetof(struct k_hp, expert_norm) },
	{ .key = "expert_gating_func", .count = gating },
	{ NULL }
};

static int64_t int_of(const struct k_arch *a, const struct k_json *keys, const char *name)
{
	return k_json_int(k_arch_gguf_find(a, keys, name));
}

static int gguf_heads(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	int64_t rope = int_of(a, keys, "rope.dimension_count"), qk = int_of(a, keys, "attention.key_length_mla");
	int r;

	if (qk == 0 || !k_arch_gguf_find(a, keys, "attention.value_length_mla"))
		return k_err_set(err, K_EUNSUP, "'%s': %s.attention.key_length_mla or value_length_mla is missing, as in files of old converters: "
			"convert the model again", where, a->gguf_arch);
	r = k_arch_gguf_set(config, "qk_nope_head_dim", k_json_new_int(qk - rope), err);
	if (r == 0)
		r = k_arch_gguf_set(config, "num_key_value_heads", k_json_new_int(int_of(a, keys, "attention.head_count")), err);
	return r;
}

static int gguf_rest(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	const char *pre = k_json_string(k_json_find(keys, "tokenizer.ggml.pre"));
	int64_t gate = int_of(a, keys, "expert_gating_func");
	int r = 0;

	if (int_of(a, keys, "expert_count") != 0 && gate != 2)
		return k_err_set(err, K_EUNSUP, "'%s': %s.expert_gating_func is %lld, wanted 2 (sigmoid)", where, a->gguf_arch, (long long)gate);
	if (pre && strcmp(pre, "kimi-k2") == 0)
		r = k_arch_gguf_set(config, "model_type", k_json_new_string("kimi_k2", 7), err);
	if (r == 0)
		r = gguf_heads(a, keys, where, config, err);
	if (r == 0)
		r = k_arch_gguf_set(config, "scoring_func", k_json_new_string("sigmoid", 7), err);
	if (r == 0)
		r = k_arch_gguf_set(config, "topk_method", k_json_new_string("noaux_tc", 8), err);
	if (r == 0 && !k_arch_gguf_find(a, keys, "expert_weights_norm"))
		r = k_arch_gguf_set(config, "norm_topk_prob", k_json_new_bool(false), err);
	return r == 0 ? k_arch_gguf_scaling(a, keys, where, true, config, err) : r;
}

static const char *gguf_lacks(const struct k_hp *h)
{
	if (h->n_expert && h->moe_freq != 1)
		return "that only every n-th layer has experts";
	if (h->rope.kind == K_ROPE_LLAMA3)
		return "the scaling of Llama 3";
	if (!h->rope.interleaved)
		return "a rotation that is not of neighbours";
	return k_arch_gguf_yarn(h) ? NULL : "a YaRN with two different multipliers";
}

static const char *const refuse[] = { "model.*_res_proj*", "model.*_res_norm*", "output_res_score*", NULL };

const struct k_arch k_arch_kimi_k2 = {
	.name = "kimi_k2", .about = "Kimi-K2, Moonlight, DeepSeek-V3: MLA, routed experts",
	.match = match, .parse = parse, .weights = weights, .dim = k_arch_dim, .plan = plan, .refuse = refuse,
	.gguf_arch = "deepseek2", .gguf_keys = gguf_keys, .gguf_class = "DeepseekV3ForCausalLM", .gguf_model_type = "deepseek_v3",
	.gguf_rest = gguf_rest, .gguf_lacks = gguf_lacks,
};
