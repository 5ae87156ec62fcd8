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

#define A "model.layers.{i}.self_attn."
#define M "model.layers.{i}.mlp."

static const struct k_weight weights[] = {
	{ .slot = "embed", .name = "model.embed_tokens.weight", .role = "embed", .shape = "V,D" },
	{ .slot = "attn_norm", .name = "model.layers.{i}.input_layernorm.weight", .role = "norm", .shape = "D", .per_layer = true },
	{ "mla.q", A "q_proj.weight", NULL, "attn", "Hqk,D", NULL, whole, .per_layer = true },
	{ "mla.q_a", A "q_a_proj.weight", NULL, "attn", "rq,D", NULL, lora, .per_layer = true },
	{ "mla.q_a_norm", A "q_a_layernorm.weight", NULL, "norm", "rq", NULL, lora, .per_layer = true },
	{ "mla.q_b", A "q_b_proj.weight", NULL, "attn", "Hqk,rq", NULL, lora, .per_layer = true },
	{ .slot = "mla.kv_a", .name = A "kv_a_proj_with_mqa.weight", .role = "attn", .shape = "ra,D", .per_layer = true },
	{ .slot = "mla.kv_a_norm", .name = A "kv_a_layernorm.weight", .role = "norm", .shape = "r", .per_layer = true },
	{ .slot = "mla.kv_b", .name = A "kv_b_proj.weight", .role = "attn", .shape = "Hkb,r", .per_layer = true },
	{ .slot = "mla.o", .name = A "o_proj.weight", .role = "attn", .shape = "D,Ho", .per_layer = true },
	{ .slot = "ffn_norm", .name = "model.layers.{i}.post_attention_layernorm.weight", .role = "norm", .shape = "D", .per_layer = true },
	{ "mlp.gate", M "gate_proj.weight", NULL, "dense", "F,D", NULL, dense, .per_layer = true },
	{ "mlp.up", M "up_proj.weight", NULL, "dense", "F,D", NULL, dense, .per_layer = true },
	{ "mlp.down", M "down_proj.weight", NULL, "dense", "D,F", NULL, dense, .per_layer = true },
	{ "moe.router", M "gate.weight", NULL, "router", "E,D", NULL, moe, .per_layer = true },
	{ "moe.router_bias", M "gate.e_score_correction_bias", NULL, "router", "E", NULL, moe, .per_layer = true },
	{ "moe.gate", M "experts.{e}.gate_proj.weight", NULL, "experts", "E,Fe,D", NULL, moe, .per_layer = true },
	{ "moe.up", M "experts.{e}.up_proj.weight", NULL, "experts", "E,Fe,D", NULL, moe, .per_layer = true },
	{ "moe.down", M "experts.{e}.down_proj.weight", NULL, "experts", "E,D,Fe", NULL, moe, .per_layer = true },
	{ "moe.sh_gate", M "shared_experts.gate_proj.weight", NULL, "shared", "Fs,D", NULL, shared, .per_layer = true },
	{ "moe.sh_up", M "shared_experts.up_proj.weight", NULL, "shared", "Fs,D", NULL, shared, .per_layer = true },
	{ "moe.sh_down", M "shared_experts.down_proj.weight", NULL, "shared", "D,Fs", NULL, shared, .per_layer = true },
	{ .slot = "norm", .name = "model.norm.weight", .role = "norm", .shape = "D" },
	{ .slot = "head", .name = "lm_head.weight", .role = "head", .shape = "V,D", .when = untied },
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
		r = k_arch_size(config, "kv_lora_rank", where, &out->kv_lora, err);
	if (r == 0)
		r = k_arch_size(config, "qk_nope_head_dim", where, &out->d_nope, err);
	if (r == 0)
		r = k_arch_size(config, "qk_rope_head_dim", where, &out->d_rope, err);
	if (r == 0)
		r = k_arch_size(config, "v_head_dim", where, &out->d_v, err);
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
	static const char *const routers[] = { "sigmoid", NULL }, *const methods[] = { "noaux_tc", NULL };
	int word, r = k_json_int_or(config, "n_routed_experts", 1, 1 << 20, 0, &out->n_expert, where, err);

	out->moe_freq = 1;
	if (r < 0 || out->n_expert == 0)
		return r;
	r = k_json_get_int(config, "num_experts_per_tok", 1, 1 << 20, &out->n_expert_used, where, err);
	if (r == 0)
		r = k_arch_size(config, "moe_intermediate_size", where, &out->n_ff_expert, err);
	if (r == 0)
		r = k_json_int_or(config, "n_shared_experts", 0, 1 << 20, 0, &out->n_shared, where, err);
	if (r == 0)
		r = k_json_bool_or(config, "norm_topk_prob", true, &out->expert_norm, where, err);
	if (r == 0)
		r = k_arch_word(config, "scoring_func", where, routers, &word, err);
	if (r == 0)
		r = k_arch_word(config, "topk_method", where, methods, &word, err);
	if (r == 0)
		r = k_json_num_or(config, "routed_scaling_factor", -1e6, 1e6, 1, &out->expert_scale, where, err);
	if (r == 0)
		r = k_json_int_or(config, "first_k_dense_replace", 0, INT32_MAX, 0, &out->n_dense_first, where, err);
	if (r == 0)
		r = k_json_int_or(config, "moe_layer_freq", 1, INT32_MAX, 1, &out->moe_freq, where, err);
	if (r == 0)
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

static const char *const refuse[] = { "model.*_res_proj*", "model.*_res_norm*", NULL };

const struct k_arch k_arch_kimi_k2 = {
	.name = "kimi_k2", .about = "Kimi-K2, Moonlight, DeepSeek-V3: MLA, routed experts",
	.match = match, .parse = parse, .weights = weights, .dim = k_arch_dim, .plan = plan, .refuse = refuse,
};
