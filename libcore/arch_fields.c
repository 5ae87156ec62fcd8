/* arch_fields.c: fields of config.json that architectures share. A config comes from a stranger: every number has a range, every
 * word a list, and what would change the result without our knowing it is refused. */
#include "libcore/base.h"
#include "libcore/arch.h"
#include <stdio.h>

/* Products of two sizes stay far from the end of int64. */
#define SIZE_TOP ((int64_t)1 << 24)
#define TINY 1e-30

int k_arch_size(const struct k_json *config, const char *key, const char *where, int64_t *out, struct k_err *err)
{
	return k_json_get_int(config, key, 1, SIZE_TOP, out, where, err);
}

int k_arch_refuse(const struct k_json *config, const char *where, const char *const *members, struct k_err *err)
{
	for (int i = 0; members[i]; i++) {
		const struct k_json *v = k_json_find(config, members[i]);
		enum k_json_kind kind = k_json_kind(v);

		bool holds = kind == K_JSON_STRING || kind == K_JSON_ARRAY || kind == K_JSON_OBJECT;

		if (!v || kind == K_JSON_NULL || (kind == K_JSON_BOOL && !k_json_bool(v)) || (holds && k_json_len(v) == 0))
			continue;
		return k_err_set(err, K_EUNSUP, "'%s' has %s, which belongs to a model that is not known here", where, members[i]);
	}
	return 0;
}

int k_arch_word(const struct k_json *config, const char *key, const char *where, const char *const *words, int *out, struct k_err *err)
{
	const char *word;
	char list[100];
	size_t n = 0;
	int r = k_json_str_or(config, key, words[0], &word, where, err);

	if (r < 0)
		return r;
	for (*out = 0; words[*out]; ++*out)
		if (strcmp(words[*out], word) == 0)
			return 0;
	for (int i = 0; words[i] && n < sizeof(list); i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s'%s'", i ? " or " : "", words[i]);
	return k_err_set(err, K_EUNSUP, "'%s': %s is '%s', wanted %s", where, key, word, list);
}

/* --- rotation --------------------------------------------------------------------------------------------------------- */

static int read_factor(const struct k_json *s, const char *key, const char *where, double *out, struct k_err *err)
{
	return k_json_get_num(s, key, 1e-9, 1e9, out, where, err);
}

static int read_linear(const struct k_json *s, const char *where, struct k_rope_hp *out, struct k_err *err)
{
	out->kind = K_ROPE_LINEAR;
	return read_factor(s, "factor", where, &out->factor, err);
}

static int read_llama3(const struct k_json *s, const char *where, struct k_rope_hp *out, struct k_err *err)
{
	int r = read_factor(s, "factor", where, &out->factor, err);

	out->kind = K_ROPE_LLAMA3;
	if (r == 0)
		r = read_factor(s, "low_freq_factor", where, &out->low_freq, err);
	if (r == 0)
		r = read_factor(s, "high_freq_factor", where, &out->high_freq, err);
	if (r == 0)
		r = k_json_get_int(s, "original_max_position_embeddings", 1, INT32_MAX, &out->original, where, err);
	if (r == 0 && out->high_freq <= out->low_freq)
		r = k_err_set(err, K_EFORMAT, "'%s': high_freq_factor %g is not above low_freq_factor %g", where, out->high_freq, out->low_freq);
	return r;
}

static int read_yarn(const struct k_json *s, const char *where, struct k_rope_hp *out, struct k_err *err)
{
	static const char *const others[] = { "attention_factor", NULL };
	const struct k_json *cut = k_json_find(s, "truncate");
	int r = read_factor(s, "factor", where, &out->factor, err);

	out->kind = K_ROPE_YARN;
	out->has_mscale = k_json_kind(k_json_find(s, "mscale")) != K_JSON_NULL;
	if (r == 0)
		r = k_arch_refuse(s, where, others, err);
	if (r == 0 && k_json_kind(cut) == K_JSON_BOOL && !k_json_bool(cut))
		r = k_err_set(err, K_EUNSUP, "'%s': truncate is false, wanted true", where);
	if (r == 0)
		r = k_json_int_or(s, "original_max_position_embeddings", 1, INT32_MAX, 4096, &out->original, where, err);
	if (r == 0)
		r = k_json_num_or(s, "beta_fast", 1e-6, 1e6, 32, &out->beta_fast, where, err);
	if (r == 0)
		r = k_json_num_or(s, "beta_slow", 1e-6, 1e6, 1, &out->beta_slow, where, err);
	if (r == 0)
		r = k_json_num_or(s, "mscale", 0, 1e6, 1, &out->mscale, where, err);
	if (r == 0)
		r = k_json_num_or(s, "mscale_all_dim", 0, 1e6, 0, &out->mscale_all_dim, where, err);
	if (r == 0 && out->theta <= 1)
		r = k_err_set(err, K_EFORMAT, "'%s': yarn needs a rope_theta above 1, it is %g", where, out->theta);
	return r;
}

static int read_plain(const struct k_json *s K_UNUSED, const char *where K_UNUSED, struct k_rope_hp *out, struct k_err *err K_UNUSED)
{
	out->kind = K_ROPE_PLAIN;
	return 0;
}

static const struct { const char *name; int (*read)(const struct k_json *, const char *, struct k_rope_hp *, struct k_err *); } scalings[] = {
	{ "default", read_plain }, { "linear", read_linear }, { "llama3", read_llama3 }, { "yarn", read_yarn },
};

/* rope_scaling, or rope_parameters as transformers 5 writes it (with rope_theta inside). */
static int scaling(const struct k_json *config, const char *where, const struct k_json **out, struct k_err *err)
{
	static const char *const keys[] = { "rope_scaling", "rope_parameters" };

	*out = NULL;
	for (size_t i = 0; i < K_LEN(keys); i++) {
		const struct k_json *v = k_json_find(config, keys[i]);

		if (k_json_kind(v) == K_JSON_NULL || (k_json_kind(v) == K_JSON_OBJECT && k_json_len(v) == 0))
			continue;
		if (k_json_kind(v) != K_JSON_OBJECT)
			return k_err_set(err, K_EFORMAT, "'%s': %s is %s, wanted an object", where, keys[i], k_json_kind_name(v));
		if (*out)
			return k_err_set(err, K_EUNSUP, "'%s' has both rope_scaling and rope_parameters", where);
		*out = v;
	}
	return 0;
}

static int read_theta(const struct k_json *config, const struct k_json *s, const char *where, double *out, struct k_err *err)
{
	double inner;
	int r = k_json_num_or(s, "rope_theta", 1e-6, 1e15, 0, &inner, where, err);

	if (r == 0)
		r = k_json_num_or(config, "rope_theta", 1e-6, 1e15, inner > 0 ? inner : 10000, out, where, err);
	if (r == 0 && inner > 0 && inner != *out)
		r = k_err_set(err, K_EFORMAT, "'%s' has two values of rope_theta, %g and %g", where, *out, inner);
	return r;
}

static int whole_head(const struct k_json *v, const char *where, struct k_err *err)
{
	double part;
	int r = k_json_num_or(v, "partial_rotary_factor", 0, 1e6, 1, &part, where, err);

	if (r == 0 && part != 1)
		r = k_err_set(err, K_EUNSUP, "'%s': partial_rotary_factor is %g, wanted 1", where, part);
	return r;
}

int k_arch_rope(const struct k_json *config, const char *where, struct k_rope_hp *out, struct k_err *err)
{
	const struct k_json *s;
	const char *type;
	int r = scaling(config, where, &s, err);

	out->kind = K_ROPE_PLAIN;
	out->factor = 1;
	if (r == 0)
		r = read_theta(config, s, where, &out->theta, err);
	if (r == 0)
		r = whole_head(config, where, err);
	if (r == 0 && s)
		r = whole_head(s, where, err);
	if (r < 0 || !s)
		return r;
	r = k_json_str_or(s, "type", NULL, &type, where, err);
	if (r == 0)
		r = k_json_str_or(s, "rope_type", type, &type, where, err);
	if (r < 0)
		return r;
	if (!type)
		return k_err_set(err, K_ENOENT, "'%s': rope_scaling has no type", where);
	for (size_t i = 0; i < K_LEN(scalings); i++)
		if (strcmp(scalings[i].name, type) == 0)
			return scalings[i].read(s, where, out, err);
	return k_err_set(err, K_EUNSUP, "'%s': rope_scaling type '%s' is not known here, wanted linear, llama3 or yarn", where, type);
}

/* --- what every config has -------------------------------------------------------------------------------------------- */

static int read_id(const struct k_json *v, const char *key, const char *where, int64_t n_vocab, int32_t *out, struct k_err *err)
{
	if (k_json_kind(v) != K_JSON_INT)
		return k_err_set(err, K_EFORMAT, "'%s': %s is %s, wanted a token id", where, key, k_json_kind_name(v));
	if (k_json_int(v) < 0 || k_json_int(v) >= n_vocab)
		return k_err_set(err, K_EFORMAT, "'%s': %s is %lld, wanted 0 to %lld", where, key, (long long)k_json_int(v), (long long)n_vocab - 1);
	*out = (int32_t)k_json_int(v);
	return 0;
}

/* One id or a list of them. */
static int read_stops(const struct k_json *v, const char *where, struct k_hp *out, struct k_err *err)
{
	int r = 0;

	if (k_json_kind(v) == K_JSON_NULL)
		return 0;
	if (k_json_kind(v) != K_JSON_ARRAY) {
		out->n_stop = 1;
		return read_id(v, "eos_token_id", where, out->n_vocab, &out->stop[0], err);
	}
	if (k_json_len(v) > K_MAX_STOPS)
		return k_err_set(err, K_EUNSUP, "'%s': eos_token_id has %zu ids, wanted at most %d", where, k_json_len(v), K_MAX_STOPS);
	for (size_t i = 0; r == 0 && i < k_json_len(v); i++)
		r = read_id(k_json_at(v, i), "eos_token_id", where, out->n_vocab, &out->stop[out->n_stop++], err);
	return r;
}

static int read_ids(const struct k_json *config, const struct k_json *text, const char *where, struct k_hp *out, struct k_err *err)
{
	const struct k_json *bos = k_arch_id(config, text, "bos_token_id");
	int r = 0;

	out->bos = -1;
	out->n_stop = 0;
	if (k_json_kind(bos) != K_JSON_NULL)
		r = read_id(bos, "bos_token_id", where, out->n_vocab, &out->bos, err);
	return r < 0 ? r : read_stops(k_arch_id(config, text, "eos_token_id"), where, out, err);
}

int k_arch_parse(const struct k_arch *a, const struct k_json *config, const struct k_json *text, const char *where, struct k_hp *out, struct k_err *err)
{
	int r = a->parse(text, where, out, err);

	return r < 0 || text == config ? r : read_ids(config, text, where, out, err);
}

static int read_context(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	int r = k_json_int_or(config, "model_max_length", 1, INT64_MAX / 2, 0, &out->n_ctx, where, err);

	if (r == 0)
		r = k_json_int_or(config, "max_position_embeddings", 1, INT64_MAX / 2, out->n_ctx, &out->n_ctx, where, err);
	return r;
}

int k_arch_common(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const acts[] = { "silu", NULL };
	int act, r = k_arch_word(config, "hidden_act", where, acts, &act, err);

	return r == 0 ? k_arch_sizes(config, where, out, err) : r;
}

int k_arch_sizes(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	int r = k_arch_size(config, "vocab_size", where, &out->n_vocab, err);

	if (r == 0)
		r = k_arch_size(config, "hidden_size", where, &out->n_embd, err);
	if (r == 0)
		r = k_json_get_int(config, "num_hidden_layers", 1, K_MAX_LAYERS, &out->n_layer, where, err);
	if (r == 0)
		r = k_arch_size(config, "intermediate_size", where, &out->n_ff, err);
	if (r == 0)
		r = k_arch_size(config, "num_attention_heads", where, &out->n_head, err);
	if (r == 0)
		r = k_json_num_or(config, "rms_norm_eps", TINY, 1, 1e-6, &out->eps, where, err);
	if (r == 0)
		r = k_json_bool_or(config, "tie_word_embeddings", false, &out->tied, where, err);
	if (r == 0)
		r = read_context(config, where, out, err);
	if (r == 0)
		r = read_ids(config, config, where, out, err);
	out->eps_inner = out->eps;
	return r;
}

int k_arch_mla_sizes(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	int r = k_arch_size(config, "kv_lora_rank", where, &out->kv_lora, err);

	if (r == 0)
		r = k_arch_size(config, "qk_nope_head_dim", where, &out->d_nope, err);
	if (r == 0)
		r = k_arch_size(config, "qk_rope_head_dim", where, &out->d_rope, err);
	return r == 0 ? k_arch_size(config, "v_head_dim", where, &out->d_v, err) : r;
}

int k_arch_moe(const struct k_json *config, const char *where, const struct k_moe_names *names, struct k_hp *out, struct k_err *err)
{
	static const char *const methods[] = { "noaux_tc", NULL };
	int router = 0, method, r = k_json_int_or(config, names->experts, 1, 1 << 20, 0, &out->n_expert, where, err);

	out->moe_freq = 1;
	if (r < 0 || out->n_expert == 0)
		return r;
	r = k_json_get_int(config, names->used, 1, 1 << 20, &out->n_expert_used, where, err);
	if (r == 0)
		r = k_arch_size(config, "moe_intermediate_size", where, &out->n_ff_expert, err);
	if (r == 0)
		r = k_json_int_or(config, names->shared, 0, 1 << 20, 0, &out->n_shared, where, err);
	if (r == 0)
		r = k_json_bool_or(config, names->norm, true, &out->expert_norm, where, err);
	if (r == 0)
		r = k_arch_word(config, names->router, where, names->routers, &router, err);
	if (r == 0)
		r = k_arch_word(config, "topk_method", where, methods, &method, err);
	if (r == 0)
		r = k_json_num_or(config, "routed_scaling_factor", -1e6, 1e6, 1, &out->expert_scale, where, err);
	if (r == 0)
		r = k_json_int_or(config, "first_k_dense_replace", 0, INT32_MAX, 0, &out->n_dense_first, where, err);
	if (r == 0)
		r = k_json_int_or(config, "moe_layer_freq", 1, INT32_MAX, 1, &out->moe_freq, where, err);
	out->router_softmax = router == 1;
	return r;
}

int k_arch_check_moe(const struct k_hp *hp, const char *where, struct k_err *err)
{
	int64_t in_group = hp->n_group > 0 ? hp->n_expert / hp->n_group : 0;

	if (hp->n_expert_used > hp->n_expert)
		return k_err_set(err, K_EFORMAT, "'%s': %lld experts a token of %lld experts", where, (long long)hp->n_expert_used, (long long)hp->n_expert);
	if (hp->n_group < 1 || hp->n_expert % hp->n_group != 0)
		return k_err_set(err, K_EFORMAT, "'%s': %lld experts in %lld groups", where, (long long)hp->n_expert, (long long)hp->n_group);
	if (hp->n_group_used > hp->n_group)
		return k_err_set(err, K_EFORMAT, "'%s': topk_group %lld of %lld groups", where, (long long)hp->n_group_used, (long long)hp->n_group);
	if (hp->n_expert_used > hp->n_group_used * in_group)
		return k_err_set(err, K_EFORMAT, "'%s': %lld experts a token, but the chosen groups hold %lld", where, (long long)hp->n_expert_used,
			(long long)(hp->n_group_used * in_group));
	/* A group's score is the sum of its two best. */
	if (hp->n_group > 1 && in_group < 2)
		return k_err_set(err, K_EFORMAT, "'%s': groups of %lld experts, wanted at least 2", where, (long long)in_group);
	return 0;
}

/* --- letters ---------------------------------------------------------------------------------------------------------- */

int64_t k_arch_dim(const struct k_hp *h, const char *letter)
{
	const struct { const char *letter; int64_t value; } all[] = {
		{ "V", h->n_vocab }, { "D", h->n_embd }, { "F", h->n_ff },
		{ "E", h->n_expert }, { "De", k_hp_expert_width(h) }, { "Fe", h->n_ff_expert }, { "Fs", h->n_shared * h->n_ff_expert },
		{ "H", h->n_head }, { "n", h->d_nope }, { "v", h->d_v },
		{ "Hq", h->n_head * h->head_dim }, { "Hkv", h->n_head_kv * h->head_dim },
		{ "Hk", h->kda_head }, { "d", h->kda_dim }, { "P", h->kda_head * h->kda_dim }, { "K", h->kda_conv },
		{ "r", h->kv_lora }, { "rq", h->q_lora }, { "ra", h->kv_lora + h->d_rope },
		{ "Hqk", h->n_head * (h->d_nope + h->d_rope) }, { "Hkb", h->n_head * (h->d_nope + h->d_v) }, { "Ho", h->n_head * h->d_v },
	};

	for (size_t i = 0; i < K_LEN(all); i++)
		if (strcmp(all[i].letter, letter) == 0)
			return all[i].value;
	return -1;
}
