/* arch_kimi.c: fields of config.json that Kimi-Linear and Kimi-K3 share.
 *
 * Traps: the layer lists count from 1; KDA's head count is that of linear_attn_config; num_experts_per_token is not DeepSeek's num_experts_per_tok. */
#include "libcore/base.h"
#include "libcore/arch.h"

/* Marks the layers of one list; each number from 1 to n_layer may stand in one list, once. */
static int read_list(const struct k_json *lin, const char *key, const char *where, struct k_hp *out, uint8_t *seen, bool is_kda, struct k_err *err)
{
	struct k_json *list;
	int r = k_json_get_array(lin, key, &list, where, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < k_json_len(list); i++) {
		const struct k_json *v = k_json_at(list, i);
		int64_t layer;

		if (k_json_kind(v) != K_JSON_INT)
			return k_err_set(err, K_EFORMAT, "'%s': %s holds %s, wanted layer numbers", where, key, k_json_kind_name(v));
		if (k_json_int(v) < 1 || k_json_int(v) > out->n_layer)
			return k_err_set(err, K_EFORMAT, "'%s': %s holds %lld, wanted 1 to %lld", where, key, (long long)k_json_int(v), (long long)out->n_layer);
		layer = k_json_int(v) - 1;
		if (seen[layer])
			return k_err_set(err, K_EFORMAT, "'%s': layer %lld stands twice in the layer lists", where, (long long)layer + 1);
		seen[layer] = 1;
		if (is_kda)
			out->kda_layer[layer / 8] |= (uint8_t)(1 << layer % 8);
	}
	return 0;
}

static int read_lists(const struct k_json *lin, const char *where, struct k_hp *out, struct k_err *err)
{
	uint8_t seen[K_MAX_LAYERS] = { 0 };
	int r = read_list(lin, "kda_layers", where, out, seen, true, err);

	if (r == 0)
		r = read_list(lin, "full_attn_layers", where, out, seen, false, err);
	for (int64_t i = 0; r == 0 && i < out->n_layer; i++)
		if (!seen[i])
			r = k_err_set(err, K_EFORMAT, "'%s': layer %lld is neither in kda_layers nor in full_attn_layers", where, (long long)i + 1);
	return r;
}

int k_arch_kda(const struct k_json *config, const char *where, const char *const *refused, struct k_hp *out, struct k_err *err)
{
	static const char *const values[] = { "num_v_heads", "num_value_heads", "num_k_heads" };
	struct k_json *lin;
	int64_t heads;
	int r = k_json_get_object(config, "linear_attn_config", &lin, where, err);

	if (r == 0)
		r = k_arch_refuse(lin, where, refused, err);
	if (r == 0)
		r = k_arch_size(lin, "num_heads", where, &out->kda_head, err);
	if (r == 0)
		r = k_arch_size(lin, "head_dim", where, &out->kda_dim, err);
	if (r == 0)
		r = k_json_get_int(lin, "short_conv_kernel_size", 1, 64, &out->kda_conv, where, err);
	for (size_t i = 0; r == 0 && i < K_LEN(values); i++) {
		r = k_json_int_or(lin, values[i], 0, INT32_MAX, out->kda_head, &heads, where, err);
		if (r == 0 && heads != out->kda_head)
			r = k_err_set(err, K_EUNSUP, "'%s': %s is %lld and num_heads %lld, wanted the same", where, values[i], (long long)heads, (long long)out->kda_head);
	}
	return r == 0 ? read_lists(lin, where, out, err) : r;
}

int k_arch_nope_mla(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	bool nope;
	int r = k_json_bool_or(config, "mla_use_nope", false, &nope, where, err);

	if (r == 0 && !nope)
		r = k_err_set(err, K_EUNSUP, "'%s': mla_use_nope is not true; a model of this kind with rotation is not known here", where);
	if (r == 0)
		r = k_arch_mla_sizes(config, where, out, err);
	out->rope.kind = K_ROPE_NONE;
	return r;
}

static int read_groups(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	bool grouped;
	int r = k_json_bool_or(config, "use_grouped_topk", true, &grouped, where, err);

	out->n_group = out->n_group_used = 1;
	if (r == 0 && grouped)
		r = k_json_int_or(config, "num_expert_group", 1, 1 << 20, 1, &out->n_group, where, err);
	if (r == 0 && grouped)
		r = k_json_int_or(config, "topk_group", 1, 1 << 20, 1, &out->n_group_used, where, err);
	return r;
}

int k_arch_kimi_moe(const struct k_json *config, const char *where, struct k_hp *out, struct k_err *err)
{
	static const char *const routers[] = { "sigmoid", "softmax", NULL };
	static const struct k_moe_names names = { "num_experts", "num_experts_per_token", "num_shared_experts", "moe_renormalize", "moe_router_activation_func", routers };
	int r = k_arch_moe(config, where, &names, out, err);

	if (r < 0 || out->n_expert == 0)
		return r;
	r = read_groups(config, where, out, err);
	return r == 0 ? k_arch_check_moe(out, where, err) : r;
}
