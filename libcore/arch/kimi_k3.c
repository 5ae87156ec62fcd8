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

/* GGUF has the product of a norm and a query of the residuals alone; the norm's name there is ours (libcore/join_gguf.c). */
#define B "blk.{i}."
#define W(slot_, name_, gguf_, role_, shape_, when_) \
	{ .slot = slot_, .name = name_, .gguf = gguf_, .role = role_, .shape = shape_, .when = when_, .per_layer = true }

#define CONV(slot_, name_, gguf_) \
	{ .slot = slot_, .name = name_, .gguf = gguf_, .role = "kda", .shape = "P,1,K", .alt = "P,K", .when = kda, .per_layer = true, .gguf_shape = "1,P,1,K" }
#define QUERY(slot_, name_, gguf_, layered) \
	{ .slot = slot_, .name = name_, .gguf = gguf_, .role = "norm", .shape = "1,D", .when = residuals, .per_layer = layered, .gguf_shape = "D" }

static const struct k_weight weights[] = {
	{ .slot = "embed", .name = "model.embed_tokens.weight", .gguf = "token_embd.weight", .role = "embed", .shape = "V,D" },
	W("res.attn_norm", L "self_attention_res_norm.weight", B "attn_res_norm.weight", "norm", "D", residuals),
	QUERY("res.attn_query", L "self_attention_res_proj.weight", B "attn_res_score.weight", true),
	W("attn_norm", L "input_layernorm.weight", B "attn_norm.weight", "norm", "D", NULL),
	W("kda.q", A "q_proj.weight", B "attn_q.weight", "kda", "P,D", kda),
	W("kda.k", A "k_proj.weight", B "attn_k.weight", "kda", "P,D", kda),
	W("kda.v", A "v_proj.weight", B "attn_v.weight", "kda", "P,D", kda),
	CONV("kda.conv_q", A "q_conv1d.weight", B "ssm_conv1d_q.weight"),
	CONV("kda.conv_k", A "k_conv1d.weight", B "ssm_conv1d_k.weight"),
	CONV("kda.conv_v", A "v_conv1d.weight", B "ssm_conv1d_v.weight"),
	W("kda.fa", A "f_a_proj.weight", B "ssm_f_a.weight", "kda", "d,D", kda),
	W("kda.fb", A "f_b_proj.weight", B "ssm_f_b.weight", "kda", "P,d", kda),
	{ .slot = "kda.a_log", .name = A "A_log", .gguf = B "ssm_a", .role = "kda", .shape = "Hk", .when = kda, .per_layer = true, .pad_zero = true },
	{ .slot = "kda.dt_bias", .name = A "dt_bias", .gguf = B "ssm_dt.bias", .role = "kda", .shape = "P", .alt = "Hk,d", .when = kda, .per_layer = true },
	W("kda.b", A "b_proj.weight", B "ssm_beta.weight", "kda", "Hk,D", kda),
	W("kda.g", A "g_proj.weight", B "ssm_g.weight", "kda", "P,D", kda_whole),
	W("kda.ga", A "g_a_proj.weight", B "ssm_g_a.weight", "kda", "d,D", kda_lora),
	W("kda.gb", A "g_b_proj.weight", B "ssm_g_b.weight", "kda", "P,d", kda_lora),
	W("kda.o_norm", A "o_norm.weight", B "ssm_norm.weight", "norm", "d", kda),
	W("kda.o", A "o_proj.weight", B "attn_output.weight", "kda", "D,P", kda),
	W("mla.q", A "q_proj.weight", B "attn_q.weight", "attn", "Hqk,D", mla_whole),
	W("mla.q_a", A "q_a_proj.weight", B "attn_q_a.weight", "attn", "rq,D", mla_lora),
	W("mla.q_a_norm", A "q_a_layernorm.weight", B "attn_q_a_norm.weight", "norm", "rq", mla_lora),
	W("mla.q_b", A "q_b_proj.weight", B "attn_q_b.weight", "attn", "Hqk,rq", mla_lora),
	W("mla.kv_a", A "kv_a_proj_with_mqa.weight", B "attn_kv_a_mqa.weight", "attn", "ra,D", mla),
	W("mla.kv_a_norm", A "kv_a_layernorm.weight", B "attn_kv_a_norm.weight", "norm", "r", mla),
	W("mla.kv_b", A "kv_b_proj.weight", B "attn_kv_b.weight", "attn", "Hkb,r", mla),
	W("mla.g", A "g_proj.weight", B "attn_gate.weight", "attn", "Ho,D", mla_gate),
	W("mla.o", A "o_proj.weight", B "attn_output.weight", "attn", "D,Ho", mla),
	W("res.ffn_norm", L "mlp_res_norm.weight", B "ffn_res_norm.weight", "norm", "D", residuals),
	QUERY("res.ffn_query", L "mlp_res_proj.weight", B "ffn_res_score.weight", true),
	W("ffn_norm", L "post_attention_layernorm.weight", B "ffn_norm.weight", "norm", "D", NULL),
	W("mlp.gate", L "mlp.gate_proj.weight", B "ffn_gate.weight", "dense", "F,D", dense),
	W("mlp.up", L "mlp.up_proj.weight", B "ffn_up.weight", "dense", "F,D", dense),
	W("mlp.down", L "mlp.down_proj.weight", B "ffn_down.weight", "dense", "D,F", dense),
	W("moe.router", M "gate.weight", B "ffn_gate_inp.weight", "router", "E,D", moe),
	W("moe.router_bias", M "gate.e_score_correction_bias", B "exp_probs_b.bias", "router", "E", moe),
	W("moe.in", M "routed_expert_down_proj.weight", B "ffn_routed_down.weight", "shared", "De,D", latent),
	W("moe.gate", M "experts.{e}.w1.weight", B "ffn_gate_exps.weight", "experts", "E,Fe,De", moe),
	W("moe.up", M "experts.{e}.w3.weight", B "ffn_up_exps.weight", "experts", "E,Fe,De", moe),
	W("moe.down", M "experts.{e}.w2.weight", B "ffn_down_exps.weight", "experts", "E,De,Fe", moe),
	W("moe.norm", M "routed_expert_norm.weight", B "ffn_routed_norm.weight", "norm", "De", latent_norm),
	W("moe.out", M "routed_expert_up_proj.weight", B "ffn_routed_up.weight", "shared", "D,De", latent),
	W("moe.sh_gate", M "shared_experts.gate_proj.weight", B "ffn_gate_shexp.weight", "shared", "Fs,D", shared),
	W("moe.sh_up", M "shared_experts.up_proj.weight", B "ffn_up_shexp.weight", "shared", "Fs,D", shared),
	W("moe.sh_down", M "shared_experts.down_proj.weight", B "ffn_down_shexp.weight", "shared", "D,Fs", shared),
	{ .slot = "res.norm", .name = "model.output_attn_res_norm.weight", .gguf = "output_res_norm.weight", .role = "norm", .shape = "D", .when = residuals },
	QUERY("res.query", "model.output_attn_res_proj.weight", "output_res_score.weight", false),
	{ .slot = "norm", .name = "model.norm.weight", .gguf = "output_norm.weight", .role = "norm", .shape = "D" },
	{ .slot = "head", .name = "lm_head.weight", .gguf = "output.weight", .role = "head", .shape = "V,D", .when = untied },
	{ .slot = NULL }
};

static bool has(const struct k_json *config, const char *key) { return k_json_kind(k_json_find(config, key)) != K_JSON_NULL; }

/* The text_config of the release calls itself kimi_linear. Standing alone it is known by what Kimi-Linear never has. */
static int match(const struct k_json *config)
{
	const char *type = k_json_string(k_json_find(config, "model_type"));

	if (type && strcmp(type, "kimi_k3") == 0)
		return 3;
	return type && strcmp(type, "kimi_linear") == 0 && has(config, "attn_res_block_size") && has(config, "routed_expert_hidden_size") ? 3 : 0;
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

/* --- GGUF ------------------------------------------------------------------------------------------------------------- */

static int64_t kv_lora(const struct k_hp *h) { return h->kv_lora; }

static const struct k_arch_key gguf_keys[] = {
	K_ARCH_KEYS_SIZES("max_position_embeddings"),
	{ .key = "attention.head_count_kv", .wanted = true, .make = k_arch_key_kinds },
	{ "attention.layer_norm_rms_epsilon", K_KEY_REAL, "rms_norm_eps", .wanted = true, .at = offsetof(struct k_hp, eps) },
	{ .key = "attention.key_length", .count = k_arch_key_kv_dim },
	{ .key = "attention.value_length", .count = kv_lora },
	{ .key = "attention.key_length_mla", .wanted = true, .count = k_arch_key_qk_dim },
	{ .key = "attention.value_length_mla", .member = "v_head_dim", .wanted = true, .at = offsetof(struct k_hp, d_v) },
	{ .key = "attention.q_lora_rank", .member = "q_lora_rank", .at = offsetof(struct k_hp, q_lora) },
	K_ARCH_KEYS_KIMI_MOE,
	{ "expert_weights_norm", K_KEY_BOOL, "moe_renormalize", .at = offsetof(struct k_hp, expert_norm), .zero = true },
	K_ARCH_KEYS_KDA,
	{ "kda.gate_lower_bound", K_KEY_REAL, "linear_attn_config.gate_lower_bound", .at = offsetof(struct k_hp, gate_bound) },
	{ .key = "expert_latent_length", .member = "routed_expert_hidden_size", .at = offsetof(struct k_hp, n_latent) },
	{ "activation.situ_beta", K_KEY_REAL, "activation_situ_beta", .at = offsetof(struct k_hp, situ) },
	{ "activation.situ_linear_beta", K_KEY_REAL, .at = offsetof(struct k_hp, situ_up), .zero = true },
	{ .key = "attn_res.block_size", .at = offsetof(struct k_hp, res_block), .zero = true },
	{ NULL }
};

/* These are tensors that a file has or lacks. */
static const struct k_arch_fact gguf_facts[] = {
	{ "blk.*.attn_gate.weight", "mla_use_output_gate" }, { "blk.*.ffn_routed_norm.weight", "latent_moe_use_norm" }, { NULL, NULL }
};

/* 0 and less: none. */
static int set_positive(const struct k_arch *a, const struct k_json *keys, const char *key, const char *member, struct k_json *config, struct k_err *err)
{
	struct k_json *v = k_arch_gguf_find(a, keys, key);
	return k_json_number(v) > 0 ? k_arch_gguf_set(config, member, k_json_keep(v), err) : 0;
}

static int gguf_rest(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	static const char *const early[] = { "situ_beta", "situ_linear_beta", "attn_res_block_size", "moe_latent_size" };
	static const char *const wanted[] = { "activation.situ_beta", "activation.situ_linear_beta", "attn_res.block_size" };
	double beta = k_json_number(k_arch_gguf_find(a, keys, "activation.situ_beta"));
	int r;

	for (size_t i = 0; i < K_LEN(early); i++)
		if (k_arch_gguf_find(a, keys, early[i]))
			return k_err_set(err, K_EUNSUP, "'%s': the key %s.%s is of a converter from before the form was settled; convert the checkpoint again", where,
				a->gguf_arch, early[i]);
	for (size_t i = 0; i < K_LEN(wanted); i++)
		if (!k_arch_gguf_find(a, keys, wanted[i]))
			return k_err_set(err, K_ENOENT, "'%s': key %s.%s is missing", where, a->gguf_arch, wanted[i]);
	if (!(beta > 0))
		return k_err_set(err, K_EFORMAT, "'%s': %s.activation.situ_beta is %g, wanted more than 0", where, a->gguf_arch, beta);
	r = k_arch_gguf_kimi(a, keys, where, config, err);
	/* Who says nothing does not divide. */
	if (r == 0 && !k_arch_gguf_find(a, keys, "expert_weights_norm"))
		r = k_arch_gguf_set(config, "moe_renormalize", k_json_new_bool(false), err);
	if (r == 0)
		r = k_arch_gguf_set(config, "hidden_act", k_json_new_string("situ", 4), err);
	if (r == 0)
		r = set_positive(a, keys, "activation.situ_linear_beta", "activation_situ_linear_beta", config, err);
	if (r == 0)
		r = set_positive(a, keys, "attn_res.block_size", "attn_res_block_size", config, err);
	return r == 0 ? k_arch_gguf_set(config, "linear_attn_config.use_full_rank_gate", k_json_new_bool(true), err) : r;
}

static const char *gguf_lacks(const struct k_hp *h)
{
	if (h->n_expert && h->moe_freq != 1)
		return "that only every n-th layer has experts";
	if (h->situ == 0)
		return "that its unit is SwiGLU";
	return h->kda_gate_whole ? NULL : "that the output gate of KDA is of low rank";
}

const struct k_arch k_arch_kimi_k3 = {
	.name = "kimi_k3", .about = "Kimi-K3: KDA and gated MLA layers, experts on a latent, attention residuals",
	.match = match, .parse = parse, .weights = weights, .dim = k_arch_dim, .plan = plan,
	.gguf_arch = "kimi-k3", .gguf_keys = gguf_keys, .gguf_class = "KimiLinearForCausalLM", .gguf_model_type = "kimi_k3",
	.gguf_facts = gguf_facts, .gguf_rest = gguf_rest, .gguf_lacks = gguf_lacks,
};
