/* arch_kimi_gguf.c: keys of GGUF that Kimi-Linear and Kimi-K3 share: which layers are KDA's stands in head_count_kv, a number a layer. */
#include "libcore/base.h"
#include "libcore/arch.h"

/* --- config -> keys ----------------------------------------------------------------------------------------------------- */

int64_t k_arch_key_qk_dim(const struct k_hp *h) { return h->d_nope + h->d_rope; }
int64_t k_arch_key_kv_dim(const struct k_hp *h) { return h->kv_lora + h->d_rope; }
int64_t k_arch_key_gating(const struct k_hp *h) { return h->n_expert ? h->router_softmax ? 1 : 2 : 0; }

/* One number a layer: 0 KDA, 1 MLA (whose one key and value head is the compressed one). */
int k_arch_key_kinds(const struct k_hp *h, const struct k_json *config K_UNUSED, struct k_json **out)
{
	struct k_json *list = k_json_array();

	for (int64_t i = 0; list && i < h->n_layer; i++)
		if (k_json_push(list, k_json_new_int(k_hp_is_kda(h, i) ? 0 : 1)) < 0) {
			k_json_free(list);
			list = NULL;
		}
	*out = list;
	return list ? 0 : K_ENOMEM;
}

/* Nothing is rotated, but the number is kept. */
int k_arch_key_theta(const struct k_hp *h K_UNUSED, const struct k_json *config, struct k_json **out)
{
	*out = k_json_new_number(k_json_number(k_json_find(config, "rope_theta")));
	return *out ? 0 : K_ENOMEM;
}

/* Our own: readers that do not know it take the heads of attention for those of KDA, which in the released models are as many. */
int k_arch_key_kda_heads(const struct k_hp *h, const struct k_json *config K_UNUSED, struct k_json **out)
{
	bool own = h->kda_head != h->n_head;

	*out = own ? k_json_new_int(h->kda_head) : NULL;
	return own && !*out ? K_ENOMEM : 0;
}

/* --- keys -> config ----------------------------------------------------------------------------------------------------- */

static int64_t int_of(const struct k_arch *a, const struct k_json *keys, const char *name)
{
	return k_json_int(k_arch_gguf_find(a, keys, name));
}

/* The layers of one kind, counted from 1. */
static struct k_json *layers_of(const struct k_json *kinds, int64_t kind)
{
	struct k_json *list = k_json_array();

	for (size_t i = 0; list && i < k_json_len(kinds); i++)
		if (k_json_int(k_json_at(kinds, i)) == kind && k_json_push(list, k_json_new_int((int64_t)i + 1)) < 0) {
			k_json_free(list);
			list = NULL;
		}
	return list;
}

static int gguf_layers(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	const struct k_json *kinds = k_arch_gguf_find(a, keys, "attention.head_count_kv");
	int64_t layers = int_of(a, keys, "block_count");
	int r;

	if (k_json_kind(kinds) != K_JSON_ARRAY)
		return k_err_set(err, K_EFORMAT, "'%s': %s.attention.head_count_kv is %s, wanted an array", where, a->gguf_arch,
			k_json_kind_name(kinds));
	if ((int64_t)k_json_len(kinds) != layers)
		return k_err_set(err, K_EFORMAT, "'%s': %s.attention.head_count_kv has %zu numbers, wanted one for each of %lld layers", where,
			a->gguf_arch, k_json_len(kinds), (long long)layers);
	for (size_t i = 0; i < k_json_len(kinds); i++) {
		const struct k_json *kind = k_json_at(kinds, i);

		if (k_json_kind(kind) != K_JSON_INT || k_json_int(kind) < 0 || k_json_int(kind) > 1)
			return k_err_set(err, K_EUNSUP, "'%s': %s.attention.head_count_kv is %lld for layer %zu, wanted 0 (KDA) or 1 (MLA)", where,
				a->gguf_arch, (long long)k_json_int(kind), i);
	}
	r = k_arch_gguf_set(config, "linear_attn_config.kda_layers", layers_of(kinds, 0), err);
	return r == 0 ? k_arch_gguf_set(config, "linear_attn_config.full_attn_layers", layers_of(kinds, 1), err) : r;
}

static int gguf_router(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	static const char *const routers[] = { "softmax", "sigmoid" };
	int64_t gate = int_of(a, keys, "expert_gating_func");

	if (int_of(a, keys, "expert_count") == 0)
		return 0;
	if (gate != 1 && gate != 2)
		return k_err_set(err, K_EUNSUP, "'%s': %s.expert_gating_func is %lld, wanted 1 (softmax) or 2 (sigmoid)", where, a->gguf_arch,
			(long long)gate);
	return k_arch_gguf_set(config, "moe_router_activation_func", k_json_new_string(routers[gate - 1], 7), err);
}

int k_arch_gguf_kimi(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	int64_t nope = int_of(a, keys, "attention.key_length_mla") - int_of(a, keys, "rope.dimension_count");
	int64_t heads = int_of(a, keys, "attention.head_count");
	int r = gguf_layers(a, keys, where, config, err);

	if (r == 0)
		r = gguf_router(a, keys, where, config, err);
	if (r == 0)
		r = k_arch_gguf_set(config, "mla_use_nope", k_json_new_bool(true), err);
	if (r == 0)
		r = k_arch_gguf_set(config, "qk_nope_head_dim", k_json_new_int(nope), err);
	if (r == 0)
		r = k_arch_gguf_set(config, "num_key_value_heads", k_json_new_int(heads), err);
	if (r == 0 && !k_arch_gguf_find(a, keys, "kda.head_count"))
		r = k_arch_gguf_set(config, "linear_attn_config.num_heads", k_json_new_int(heads), err);
	return r;
}
