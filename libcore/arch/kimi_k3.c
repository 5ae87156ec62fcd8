/* kimi_k3.c: the text model of Kimi-K3 (tech report arXiv:2607.24653): Kimi-Linear's layers with
 *
 *   KDA   a decay with a lower bound, an output gate of full rank
 *   MLA   queries of low rank, an output gate
 *   MoE   experts on a latent: down, experts, norm, up; the shared expert and the router see the whole row
 *   SiTU instead of SwiGLU; attention residuals instead of sums (model.c)
 *
 * each of which a config may lack: then it is Kimi-Linear's.
 *
 * Traps: A_log is one number a head with zeros behind (128, as many as a head has channels); self_attn.g_proj is another gate in KDA and in MLA layers; the
 * released code gives the inner norms of MLA an epsilon of 1e-6 (profile hf_remote), serving engines that of all norms. */
#include "libcore/base.h"
#include "libcore/arch.h"

static bool untied(const struct k_hp *h, int64_t layer K_UNUSED) { return !h->tied; }
static bool residuals(const struct k_hp *h, int64_t layer K_UNUSED) { return h->res_block > 0; }
static bool kda(const struct k_hp *h, int64_t layer) { return k_hp_is_kda(h, layer); }
static bool kda_whole(const struct k_hp *h, int64_t layer) { return k_hp_is_kda(h, layer) && h->kda_gate_whole; }
static bool kda_lora(const struct k_hp *h, int64_t layer) { return k_hp_is_kda(h, layer) && !h->kda_gate_whole; }
static bool mla(const struct k_hp *h, int64_t layer) { return !k_hp_is_kda(h, layer); }
static bool mla_whole(const struct k_hp *h, int64_t layer) { return mla(h, layer) && h->q_lora == 0; }
static bool mla_lora(const struct k_hp *h, int64_t layer) { return mla(h, layer) && h->q_lora > 0; }
static bool mla_gate(const struct k_hp *h, int64_t layer) { return mla(h, layer) && h->mla_gate; }
static bool dense(const struct k_hp *h, int64_t layer) { return !k_hp_is_moe(h, layer); }
static bool moe(const struct k_hp *h, int64_t layer) { return k_hp_is_moe(h, layer); }
static bool latent(const struct k_hp *h, int64_t layer) { return k_hp_is_moe(h, layer) && h->n_latent > 0; }
static bool latent_norm(const struct k_hp *h, int64_t layer) { return latent(h, layer) && h->latent_norm; }
static bool shared(const struct k_hp *h, int64_t layer) { return k_hp_is_moe(h, layer) && h->n_shared > 0; }

#define L "model.layers.{i}."
#define A L "self_attn."
#define M L "block_sparse_moe."

/* There is no GGUF form of it here; matrices have a name as there, by which statistics of their inputs are kept (formats/imatrix.c). */
#define B "blk.{i}."
#define W(slot_, name_, gguf_, role_, shape_, when_) \
	{ .slot = slot_, .name = name_, .gguf = gguf_, .role = role_, .shape = shape_, .when = when_, .per_layer = true }

static const struct k_weight weights[] = {
	{ .slot = "embed", .name = "model.embed_tokens.weight", .gguf = "token_embd.weight", .role = "embed", .shape = "V,D" },
	W("res.attn_norm", L "self_attention_res_norm.weight", NULL, "norm", "D", residuals),
	W("res.attn_query", L "self_attention_res_proj.weight", NULL, "norm", "1,D", residuals),
	W("attn_norm", L "input_layernorm.weight", NULL, "norm", "D", NULL),
	W("kda.q", A "q_proj.weight", B "attn_q.weight", "kda", "P,D", kda),
	W("kda.k", A "k_proj.weight", B "attn_k.weight", "kda", "P,D", kda),
	W("kda.v", A "v_proj.weight", B "attn_v.weight", "kda", "P,D", kda),
	{ .slot = "kda.conv_q", .name = A "q_conv1d.weight", .role = "kda", .shape = "P,1,K", .alt = "P,K", .when = kda, .per_layer = true },
	{ .slot = "kda.conv_k", .name = A "k_conv1d.weight", .role = "kda", .shape = "P,1,K", .alt = "P,K", .when = kda, .per_layer = true },
	{ .slot = "kda.conv_v", .name = A "v_conv1d.weight", .role = "kda", .shape = "P,1,K", .alt = "P,K", .when = kda, .per_layer = true },
	W("kda.fa", A "f_a_proj.weight", B "ssm_f_a.weight", "kda", "d,D", kda),
	W("kda.fb", A "f_b_proj.weight", B "ssm_f_b.weight", "kda", "P,d", kda),
	{ .slot = "kda.a_log", .name = A "A_log", .role = "kda", .shape = "Hk", .alt = "1,1,Hk,1", .when = kda, .per_layer = true, .pad_zero = true },
	{ .slot = "kda.dt_bias", .name = A "dt_bias", .role = "kda", .shape = "P", .alt = "Hk,d", .when = kda, .per_layer = true },
	W("kda.b", A "b_proj.weight", B "ssm_beta.weight", "kda", "Hk,D", kda),
	W("kda.g", A "g_proj.weight", B "attn_gate.weight", "kda", "P,D", kda_whole),
	W("kda.ga", A "g_a_proj.weight", B "ssm_g_a.weight", "kda", "d,D", kda_lora),
	W("kda.gb", A "g_b_proj.weight", B "ssm_g_b.weight", "kda", "P,d", kda_lora),
	W("kda.o_norm", A "o_norm.weight", NULL, "norm", "d", kda),
	W("kda.o", A "o_proj.weight", B "attn_output.weight", "kda", "D,P", kda),
	W("mla.q", A "q_proj.weight", B "attn_q.weight", "attn", "Hqk,D", mla_whole),
	W("mla.q_a", A "q_a_proj.weight", B "attn_q_a.weight", "attn", "rq,D", mla_lora),
	W("mla.q_a_norm", A "q_a_layernorm.weight", NULL, "norm", "rq", mla_lora),
	W("mla.q_b", A "q_b_proj.weight", B "attn_q_b.weight", "attn", "Hqk,rq", mla_lora),
	W("mla.kv_a", A "kv_a_proj_with_mqa.weight", B "attn_kv_a_mqa.weight", "attn", "ra,D", mla),
	W("mla.kv_a_norm", A "kv_a_layernorm.weight", NULL, "norm", "r", mla),
	W("mla.kv_b", A "kv_b_proj.weight", B "attn_kv_b.weight", "attn", "Hkb,r", mla),
	W("mla.g", A "g_proj.weight", B "attn_gate.weight", "attn", "Ho,D", mla_gate),
	W("mla.o", A "o_proj.weight", B "attn_output.weight", "attn", "D,Ho", mla),
	W("res.ffn_norm", L "mlp_res_norm.weight", NULL, "norm", "D", residuals),
	W("res.ffn_query", L "mlp_res_proj.weight", NULL, "norm", "1,D", residuals),
	W("ffn_norm", L "post_attention_layernorm.weight", NULL, "norm", "D", NULL),
	W("mlp.gate", L "mlp.gate_proj.weight", B "ffn_gate.weight", "dense", "F,D", dense),
	W("mlp.up", L "mlp.up_proj.weight", B "ffn_up.weight", "dense", "F,D", dense),
	W("mlp.down", L "mlp.down_proj.weight", B "ffn_down.weight", "dense", "D,F", dense),
	W("moe.router", M "gate.weight", B "ffn_gate_inp.weight", "router", "E,D", moe),
	W("moe.router_bias", M "gate.e_score_correction_bias", NULL, "router", "E", moe),
	W("moe.in", M "routed_expert_down_proj.weight", B "ffn_latent_down.weight", "shared", "De,D", latent),
	W("moe.gate", M "experts.{e}.w1.weight", B "ffn_gate_exps.weight", "experts", "E,Fe,De", moe),
	W("moe.up", M "experts.{e}.w3.weight", B "ffn_up_exps.weight", "experts", "E,Fe,De", moe),
	W("moe.down", M "experts.{e}.w2.weight", B "ffn_down_exps.weight", "experts", "E,De,Fe", moe),
	W("moe.norm", M "routed_expert_norm.weight", NULL, "norm", "De", latent_norm),
	W("moe.out", M "routed_expert_up_proj.weight", B "ffn_latent_up.weight", "shared", "D,De", latent),
	W("moe.sh_gate", M "shared_experts.gate_proj.weight", B "ffn_gate_shexp.weight", "shared", "Fs,D", shared),
	W("moe.sh_up", M "shared_experts.up_proj.weight", B "ffn_up_shexp.weight", "shared", "Fs,D", shared),
	W("moe.sh_down", M "shared_experts.down_proj.weight", B "ffn_down_shexp.weight", "shared", "D,Fs", shared),
	{ .slot = "res.norm", .name = "model.output_attn_res_norm.weight", .role = "norm", .shape = "D", .when = residuals },
	{ .slot = "res.query", .name = "model.output_attn_res_proj.weight", .role = "norm", .shape = "1,D", .when = residuals },
	{ .slot = "norm", .name = "model.norm.weight", .role = "norm", .shape = "D" },
	{ .slot = "head", .name = "lm_head.weight", .gguf = "output.weight", .role = "head", .shape = "V,D", .when = untied },
	{ .slot = NULL }
};

static int match(const struct k_json *config)
{
	const char *type = k_json_string(k_json_find(config, "model_type"));
	return type && strcmp(type, "kimi_k3") == 0 ? 3 : 0;
}

/* A cap that counts as 1 where it is null or 0. */
static double cap_or_one(double x) { return x == 0 ? 1 : x; }

static int read_act(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const acts[] = { "silu", "situ", NULL };
	double cap, up;
	bool capped = k_json_kind(k_json_find(config, "activation_situ_linear_beta")) != K_JSON_NULL;
	int act, r = k_arch_word(config, "hidden_act", where, acts, &act, err);
	if (r == 0)
		r = k_json_num_or(config, "activation_situ_beta", 0, 1e6, 0, &cap, where, err);
	if (r == 0)
		r = k_json_num_or(config, "activation_situ_linear_beta", 0, 1e6, 0, &up, where, err);
	if (r < 0 || act == 0)
		return r;
	out->situ = cap_or_one(cap);
	out->situ_up = capped ? cap_or_one(up) : 0;
	return 0;
}

static int read_kda(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const refused[] = { "forget_gate_lower_bound", "use_full_rank_output_gate", "allow_neg_eigval", NULL };
	const struct k_json *lin = k_json_find(config, "linear_attn_config");
	int r = k_arch_kda(config, where, refused, out, err);
	if (r == 0)
		r = k_json_num_or(lin, "gate_lower_bound", -80, 0, 0, &out->gate_bound, where, err);
	if (r == 0)
		r = k_json_bool_or(lin, "use_full_rank_gate", false, &out->kda_gate_whole, where, err);
	return r;
}

static int read_mla(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	int64_t heads;
	int r = k_arch_nope_mla(config, where, out, err);
	if (r == 0)
		r = k_json_int_or(config, "q_lora_rank", 1, 1 << 24, 0, &out->q_lora, where, err);
	if (r == 0)
		r = k_json_int_or(config, "num_key_value_heads", 1, INT32_MAX, out->n_head, &heads, where, err);
	if (r == 0 && heads != out->n_head)
		r = k_err_set(err, K_EUNSUP, "'%s': num_key_value_heads is %lld and num_attention_heads %lld, wanted the same", where, (long long)heads,
			(long long)out->n_head);
	if (r == 0)
		r = k_json_bool_or(config, "mla_use_output_gate", false, &out->mla_gate, where, err);
	return r;
}

static int read_latent(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	int r = out->n_expert ? k_json_int_or(config, "routed_expert_hidden_size", 1, 1 << 24, 0, &out->n_latent, where, err) : 0;
	return r == 0 && out->n_latent ? k_json_bool_or(config, "latent_moe_use_norm", false, &out->latent_norm, where, err) : r;
}

static int parse(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const later[] = { "forget_gate_lower_bound", "gate_lower_bound", "use_full_rank_gate", "use_full_rank_output_gate",
		"attention_bias", "mlp_bias", NULL };
	int r;

	memset(out, 0, sizeof(*out));
	r = k_arch_refuse(config, where, later, err);
	if (r == 0)
		r = k_arch_sizes(config, where, out, err);
	if (r == 0)
		r = read_act(config, where, out, err);
	if (r == 0)
		r = read_kda(config, where, out, err);
	if (r == 0)
		r = read_mla(config, where, out, err);
	if (r == 0)
		r = k_arch_kimi_moe(config, where, out, err);
	if (r == 0)
		r = read_latent(config, where, out, err);
	return r == 0 ? k_json_int_or(config, "attn_res_block_size", 1, K_MAX_LAYERS, 0, &out->res_block, where, err) : r;
}

static void plan(const struct k_hp *h, int64_t layer, struct k_plan *out)
{
	out->mixer = k_hp_is_kda(h, layer) ? "kda" : "mla";
	out->ffn = k_hp_is_moe(h, layer) ? "moe" : "mlp";
}

const struct k_arch k_arch_kimi_k3 = {
	.name = "kimi_k3", .about = "Kimi-K3: KDA and gated MLA layers, experts on a latent, attention residuals",
	.match = match, .parse = parse, .weights = weights, .dim = k_arch_dim, .plan = plan,
};
