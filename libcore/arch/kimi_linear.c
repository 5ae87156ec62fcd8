/* kimi_linear.c: Kimi-Linear (MoonshotAI/Kimi-Linear, tech report arXiv:2510.26692): KDA layers with an MLA layer without rotation
 * in between, then a dense MLP (first layers) or routed experts.
 *
 * Traps of this config: the layer lists count from 1; head_dim is hidden / heads and means nothing; KDA's head count is that of
 * linear_attn_config; num_experts_per_token is not DeepSeek's num_experts_per_tok. */
#include "libcore/base.h"
#include "libcore/arch.h"

static bool untied(const struct k_hp *h, int64_t layer K_UNUSED) { return !h->tied; }
static bool kda(const struct k_hp *h, int64_t layer) { return k_hp_is_kda(h, layer); }
static bool mla(const struct k_hp *h, int64_t layer) { return !k_hp_is_kda(h, layer); }
static bool dense(const struct k_hp *h, int64_t layer) { return !k_hp_is_moe(h, layer); }
static bool moe(const struct k_hp *h, int64_t layer) { return k_hp_is_moe(h, layer); }
static bool shared(const struct k_hp *h, int64_t layer) { return k_hp_is_moe(h, layer) && h->n_shared > 0; }

#define B "blk.{i}."
#define A "model.layers.{i}.self_attn."
#define M "model.layers.{i}.block_sparse_moe."
#define CONV "P,1,K", "P,K"

static const struct k_weight weights[] = {
	{ .slot = "embed", .name = "model.embed_tokens.weight", .gguf = "token_embd.weight", .role = "embed", .shape = "V,D" },
	{ .slot = "attn_norm", .name = "model.layers.{i}.input_layernorm.weight", .gguf = B "attn_norm.weight", .role = "norm",
		.shape = "D", .per_layer = true },
	{ "kda.q", A "q_proj.weight", B "attn_q.weight", "kda", "P,D", NULL, kda, .per_layer = true },
	{ "kda.k", A "k_proj.weight", B "attn_k.weight", "kda", "P,D", NULL, kda, .per_layer = true },
	{ "kda.v", A "v_proj.weight", B "attn_v.weight", "kda", "P,D", NULL, kda, .per_layer = true },
	{ "kda.conv_q", A "q_conv1d.weight", B "ssm_conv1d_q.weight", "kda", CONV, kda, .per_layer = true, .gguf_shape = "1,P,1,K" },
	{ "kda.conv_k", A "k_conv1d.weight", B "ssm_conv1d_k.weight", "kda", CONV, kda, .per_layer = true, .gguf_shape = "1,P,1,K" },
	{ "kda.conv_v", A "v_conv1d.weight", B "ssm_conv1d_v.weight", "kda", CONV, kda, .per_layer = true, .gguf_shape = "1,P,1,K" },
	{ "kda.fa", A "f_a_proj.weight", B "ssm_f_a.weight", "kda", "d,D", NULL, kda, .per_layer = true },
	{ "kda.fb", A "f_b_proj.weight", B "ssm_f_b.weight", "kda", "P,d", NULL, kda, .per_layer = true },
	{ "kda.a_log", A "A_log", B "ssm_a", "kda", "1,1,Hk,1", "Hk|1,Hk|Hk,1|1,1,Hk|1,Hk,1|Hk,1,1|1,Hk,1,1|Hk,1,1,1|1,1,1,Hk", kda,
		.per_layer = true },
	{ "kda.dt_bias", A "dt_bias", B "ssm_dt.bias", "kda", "P", "Hk,d", kda, .per_layer = true },
	{ "kda.b", A "b_proj.weight", B "ssm_beta.weight", "kda", "Hk,D", NULL, kda, .per_layer = true },
	{ "kda.ga", A "g_a_proj.weight", B "ssm_g_a.weight", "kda", "d,D", NULL, kda, .per_layer = true },
	{ "kda.gb", A "g_b_proj.weight", B "ssm_g_b.weight", "kda", "P,d", NULL, kda, .per_layer = true },
	{ "kda.o_norm", A "o_norm.weight", B "ssm_norm.weight", "norm", "d", NULL, kda, .per_layer = true },
	{ "kda.o", A "o_proj.weight", B "attn_output.weight", "kda", "D,P", NULL, kda, .per_layer = true },
	{ "mla.q", A "q_proj.weight", B "attn_q.weight", "attn", "Hqk,D", NULL, mla, .per_layer = true },
	{ "mla.kv_a", A "kv_a_proj_with_mqa.weight", B "attn_kv_a_mqa.weight", "attn", "ra,D", NULL, mla, .per_layer = true },
	{ "mla.kv_a_norm", A "kv_a_layernorm.weight", B "attn_kv_a_norm.weight", "norm", "r", NULL, mla, .per_layer = true },
	{ "mla.kv_b", A "kv_b_proj.weight", B "attn_kv_b.weight", "attn", "Hkb,r", NULL, mla, .per_layer = true },
	{ "mla.o", A "o_proj.weight", B "attn_output.weight", "attn", "D,Ho", NULL, mla, .per_layer = true },
	{ .slot = "ffn_norm", .name = "model.layers.{i}.post_attention_layernorm.weight", .gguf = B "ffn_norm.weight", .role = "norm",
		.shape = "D", .per_layer = true },
	{ "mlp.gate", "model.layers.{i}.mlp.gate_proj.weight", B "ffn_gate.weight", "dense", "F,D", NULL, dense, .per_layer = true },
	{ "mlp.up", "model.layers.{i}.mlp.up_proj.weight", B "ffn_up.weight", "dense", "F,D", NULL, dense, .per_layer = true },
	{ "mlp.down", "model.layers.{i}.mlp.down_proj.weight", B "ffn_down.weight", "dense", "D,F", NULL, dense, .per_layer = true },
	{ "moe.router", M "gate.weight", B "ffn_gate_inp.weight", "router", "E,D", NULL, moe, .per_layer = true },
	{ "moe.router_bias", M "gate.e_score_correction_bias", B "exp_probs_b.bias", "router", "E", NULL, moe, .per_layer = true },
	{ "moe.gate", M "experts.{e}.w1.weight", B "ffn_gate_exps.weight", "experts", "E,Fe,D", NULL, moe, .per_layer = true },
	{ "moe.up", M "experts.{e}.w3.weight", B "ffn_up_exps.weight", "experts", "E,Fe,D", NULL, moe, .per_layer = true },
	{ "moe.down", M "experts.{e}.w2.weight", B "ffn_down_exps.weight", "experts", "E,D,Fe", NULL, moe, .per_layer = true },
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
		return strcmp(type, "kimi_linear") == 0 ? 2 : 0;
	return name && strcmp(name, "KimiLinearForCausalLM") == 0;
}

static int parse(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const later[] = { "forget_gate_lower_bound", "gate_lower_bound", "use_full_rank_gate", "use_full_rank_output_gate",
		"mla_use_output_gate", "routed_expert_hidden_size", "latent_moe_use_norm", "attn_res_block_size", "activation_situ_beta",
		"activation_situ_linear_beta", "attention_bias", "mlp_bias", "q_lora_rank", NULL };
	static const char *const kda_later[] = { "gate_lower_bound", "forget_gate_lower_bound", "use_full_rank_gate", "use_full_rank_output_gate",
		"allow_neg_eigval", NULL };
	int r;

	memset(out, 0, sizeof(*out));
	r = k_arch_refuse(config, where, later, err);
	if (r == 0)
		r = k_arch_common(config, where, out, err);
	if (r == 0)
		r = k_arch_kda(config, where, kda_later, out, err);
	if (r == 0)
		r = k_arch_nope_mla(config, where, out, err);
	return r == 0 ? k_arch_kimi_moe(config, where, out, err) : r;
}

static void plan(const struct k_hp *h, int64_t layer, struct k_plan *out)
{
	out->mixer = k_hp_is_kda(h, layer) ? "kda" : "mla";
	out->ffn = k_hp_is_moe(h, layer) ? "moe" : "mlp";
}

/* --- GGUF ------------------------------------------------------------------------------------------------------------- */

/* Readers take it for granted. */
static int put_nothing(const struct k_hp *h K_UNUSED, const struct k_json *config K_UNUSED, struct k_json **out)
{
	*out = NULL;
	return 0;
}

static const struct k_arch_key gguf_keys[] = {
	K_ARCH_KEYS_SIZES("model_max_length"),
	{ .key = "attention.head_count_kv", .wanted = true, .make = k_arch_key_kinds },
	{ "attention.layer_norm_rms_epsilon", K_KEY_REAL, "rms_norm_eps", .wanted = true, .at = offsetof(struct k_hp, eps) },
	{ .key = "attention.key_length", .count = k_arch_key_kv_dim },
	{ .key = "attention.key_length_mla", .wanted = true, .count = k_arch_key_qk_dim },
	{ .key = "attention.value_length_mla", .member = "v_head_dim", .wanted = true, .at = offsetof(struct k_hp, d_v) },
	K_ARCH_KEYS_KIMI_MOE,
	{ "expert_weights_norm", K_KEY_BOOL, "moe_renormalize", .make = put_nothing },
	K_ARCH_KEYS_KDA,
	{ NULL }
};

static int gguf_rest(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	if (k_json_int(k_arch_gguf_find(a, keys, "attention.q_lora_rank")) != 0)
		return k_err_set(err, K_EUNSUP, "'%s': %s.attention.q_lora_rank belongs to a model that is not known here", where, a->gguf_arch);
	return k_arch_gguf_kimi(a, keys, where, config, err);
}

static const char *gguf_lacks(const struct k_hp *h)
{
	if (h->n_expert && h->moe_freq != 1)
		return "that only every n-th layer has experts";
	if (h->n_expert && !h->expert_norm)
		return "that the weights of experts are not divided by their sum";
	return h->router_biased ? "that the weights of experts are the biased scores" : NULL;
}

static const char *const refuse[] = { "model.*_res_proj*", "model.*_res_norm*", "output_res_score*", NULL };

const struct k_arch k_arch_kimi_linear = {
	.name = "kimi_linear", .about = "Kimi-Linear: KDA and MLA layers, routed experts",
	.match = match, .parse = parse, .weights = weights, .dim = k_arch_dim, .plan = plan, .refuse = refuse,
	.gguf_arch = "kimi-linear", .gguf_keys = gguf_keys, .gguf_class = "KimiLinearForCausalLM", .gguf_model_type = "kimi_linear",
	.gguf_rest = gguf_rest, .gguf_lacks = gguf_lacks,
};
