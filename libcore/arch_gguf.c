/* arch_gguf.c: keys of GGUF <-> config.json, both ways by one table an architecture (k_arch.gguf_keys).
 *
 *   keys -> members (the table), the rest (the architecture) -> config -> parse -> computed keys must agree
 *   config -> parse -> struct k_hp -> keys, in the order of the table */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/arch.h"

enum { NAME_MOST = 96 };

static int no_memory(struct k_err *err) { return k_err_nomem(err, sizeof(void *), "a config"); }

struct k_json *k_arch_gguf_find(const struct k_arch *a, const struct k_json *keys, const char *name)
{
	char full[NAME_MOST];

	snprintf(full, sizeof(full), "%s.%s", a->gguf_arch, name);
	return k_json_find(keys, full);
}

int k_arch_gguf_set(struct k_json *config, const char *member, struct k_json *value, struct k_err *err)
{
	const char *dot = strchr(member, '.');
	struct k_json *in = config;
	char outer[NAME_MOST];

	if (dot) {
		snprintf(outer, sizeof(outer), "%.*s", (int)(dot - member), member);
		in = k_json_find(config, outer);
		if (!in && k_json_set(config, outer, k_json_object()) == 0)
			in = k_json_find(config, outer);
		member = dot + 1;
	}
	if (!in) {
		k_json_free(value);
		return no_memory(err);
	}
	return k_json_set(in, member, value) < 0 ? no_memory(err) : 0;
}

/* --- keys -> config ----------------------------------------------------------------------------------------------------- */

static bool fits(enum k_key_kind kind, const struct k_json *v)
{
	enum k_json_kind is = k_json_kind(v);

	return kind == K_KEY_INT ? is == K_JSON_INT : kind == K_KEY_BOOL ? is == K_JSON_BOOL : is == K_JSON_REAL || is == K_JSON_INT;
}

static int read_keys(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json *config, struct k_err *err)
{
	static const char *const kinds[] = { "a whole number", "a number", "a bool" };
	int r = 0;

	for (const struct k_arch_key *k = a->gguf_keys; r == 0 && k->key; k++) {
		struct k_json *v = k_arch_gguf_find(a, keys, k->key);

		if (!v && k->wanted)
			r = k_err_set(err, K_ENOENT, "'%s': key %s.%s is missing", where, a->gguf_arch, k->key);
		/* Without a member of its own, what is made is read by gguf_rest. */
		if (!v || (!k->member && k->make))
			continue;
		if (k_json_kind(v) == K_JSON_ARRAY)
			r = k_err_set(err, K_EUNSUP, "'%s': %s.%s differs by layer, which is not known here", where, a->gguf_arch, k->key);
		else if (!fits(k->kind, v))
			r = k_err_set(err, K_EFORMAT, "'%s': %s.%s is %s, wanted %s", where, a->gguf_arch, k->key, k_json_kind_name(v), kinds[k->kind]);
		else if (k->member)
			r = k_arch_gguf_set(config, k->member, k_json_keep(v), err);
	}
	return r;
}

/* What stands in every config, and the ids that the tokenizer's keys tell. */
static int begin_config(const struct k_arch *a, const struct k_json *keys, struct k_json *config, struct k_err *err)
{
	static const struct { const char *key, *member; } ids[] = {
		{ "tokenizer.ggml.bos_token_id", "bos_token_id" }, { "tokenizer.ggml.eos_token_id", "eos_token_id" },
	};
	struct k_json *names = k_json_array();
	int r;

	if (!names || k_json_push(names, k_json_new_string(a->gguf_class, strlen(a->gguf_class))) < 0) {
		k_json_free(names);
		return no_memory(err);
	}
	r = k_arch_gguf_set(config, "architectures", names, err);
	if (r == 0)
		r = k_arch_gguf_set(config, "model_type", k_json_new_string(a->gguf_model_type, strlen(a->gguf_model_type)), err);
	if (r == 0)
		r = k_arch_gguf_set(config, "hidden_act", k_json_new_string("silu", 4), err);
	for (size_t i = 0; r == 0 && i < K_LEN(ids); i++) {
		struct k_json *v = k_json_find(keys, ids[i].key);

		if (v)
			r = k_arch_gguf_set(config, ids[i].member, k_json_keep(v), err);
	}
	return r;
}

/* Keys that follow from others. */
static int check_agreement(const struct k_arch *a, const struct k_json *keys, const char *where, const struct k_json *config, struct k_err *err)
{
	struct k_hp hp;
	int r = a->parse(config, where, &hp, err);

	for (const struct k_arch_key *k = a->gguf_keys; r == 0 && k->key; k++) {
		const struct k_json *v = k->count && !k->member ? k_arch_gguf_find(a, keys, k->key) : NULL;

		if (v && k_json_int(v) != k->count(&hp))
			r = k_err_set(err, K_EUNSUP, "'%s': %s.%s is %lld, wanted %lld, which follows from other keys", where, a->gguf_arch, k->key,
				(long long)k_json_int(v), (long long)k->count(&hp));
	}
	return r;
}

int k_arch_gguf_config(const struct k_arch *a, const struct k_json *keys, const char *where, struct k_json **config, struct k_err *err)
{
	struct k_json *made = k_json_object();
	int r = made ? begin_config(a, keys, made, err) : no_memory(err);

	*config = NULL;
	if (r == 0)
		r = read_keys(a, keys, where, made, err);
	if (r == 0 && a->gguf_rest)
		r = a->gguf_rest(a, keys, where, made, err);
	if (r == 0)
		r = check_agreement(a, keys, where, made, err);
	if (r < 0)
		k_json_free(made);
	else
		*config = made;
	return r;
}

/* --- scaling of the rotation ---------------------------------------------------------------------------------------------- */

static int read_yarn(const struct k_arch *a, const struct k_json *keys, struct k_json *config, struct k_err *err)
{
	static const struct { const char *key, *member; } all[] = {
		{ "rope.scaling.original_context_length", "rope_scaling.original_max_position_embeddings" },
		{ "rope.scaling.yarn_beta_fast", "rope_scaling.beta_fast" }, { "rope.scaling.yarn_beta_slow", "rope_scaling.beta_slow" },
	};
	const struct k_json *log = k_arch_gguf_find(a, keys, "rope.scaling.yarn_log_multiplier");
	double m = k_json_short((float)(k_json_number(log) / 0.1));
	int r = 0;

	for (size_t i = 0; r == 0 && i < K_LEN(all); i++) {
		struct k_json *v = k_arch_gguf_find(a, keys, all[i].key);

		if (v)
			r = k_arch_gguf_set(config, all[i].member, k_json_keep(v), err);
	}
	if (r == 0 && log)
		r = k_arch_gguf_set(config, "rope_scaling.mscale", k_json_new_number(m), err);
	if (r == 0 && log)
		r = k_arch_gguf_set(config, "rope_scaling.mscale_all_dim", k_json_new_number(m), err);
	return r;
}

int k_arch_gguf_scaling(const struct k_arch *a, const struct k_json *keys, const char *where, bool yarn, struct k_json *config,
	struct k_err *err)
{
	struct k_json *type = k_arch_gguf_find(a, keys, "rope.scaling.type"), *factor = k_arch_gguf_find(a, keys, "rope.scaling.factor");
	const char *name = type ? k_json_string(type) : "none";
	int r;

	if (!factor)
		factor = k_arch_gguf_find(a, keys, "rope.scale_linear");
	if (!type && factor)
		name = "linear";
	if (!name)
		return k_err_set(err, K_EFORMAT, "'%s': %s.rope.scaling.type is %s, wanted a string", where, a->gguf_arch, k_json_kind_name(type));
	if (strcmp(name, "none") == 0)
		return 0;
	if (strcmp(name, "linear") != 0 && !(yarn && strcmp(name, "yarn") == 0))
		return k_err_set(err, K_EUNSUP, "'%s': %s.rope.scaling.type is '%.40s', wanted none%s linear%s", where, a->gguf_arch, name,
			yarn ? "," : " or", yarn ? " or yarn" : "");
	if (!factor)
		return k_err_set(err, K_ENOENT, "'%s': %s.rope.scaling.factor is missing", where, a->gguf_arch);
	r = k_arch_gguf_set(config, "rope_scaling.type", k_json_new_string(name, strlen(name)), err);
	if (r == 0)
		r = k_arch_gguf_set(config, "rope_scaling.factor", k_json_keep(factor), err);
	return r == 0 && strcmp(name, "yarn") == 0 ? read_yarn(a, keys, config, err) : r;
}

int k_arch_key_scaling(const struct k_hp *hp, const struct k_json *config K_UNUSED, struct k_json **out)
{
	const char *name = hp->rope.kind == K_ROPE_YARN ? "yarn" : hp->rope.kind == K_ROPE_LINEAR ? "linear" : NULL;

	*out = name ? k_json_new_string(name, strlen(name)) : NULL;
	return name && !*out ? K_ENOMEM : 0;
}

int k_arch_key_factor(const struct k_hp *hp, const struct k_json *config K_UNUSED, struct k_json **out)
{
	bool scaled = hp->rope.kind == K_ROPE_YARN || hp->rope.kind == K_ROPE_LINEAR;

	*out = scaled ? k_json_new_number(hp->rope.factor) : NULL;
	return scaled && !*out ? K_ENOMEM : 0;
}

int k_arch_key_log_multiplier(const struct k_hp *hp, const struct k_json *config K_UNUSED, struct k_json **out)
{
	double all = hp->rope.kind == K_ROPE_YARN ? hp->rope.mscale_all_dim : 0;

	*out = all != 0 ? k_json_new_number(0.1 * all) : NULL;
	return all != 0 && !*out ? K_ENOMEM : 0;
}

bool k_arch_gguf_yarn(const struct k_hp *hp)
{
	double m = hp->rope.has_mscale ? hp->rope.mscale : 1, all = hp->rope.mscale_all_dim;

	return hp->rope.kind != K_ROPE_YARN || m == all || (m == 1 && all == 0);
}

/* --- config -> keys ----------------------------------------------------------------------------------------------------- */

static int make_number(const struct k_arch_key *k, const struct k_hp *hp, struct k_json **out)
{
	const void *at = (const char *)hp + k->at;
	int64_t count = 0;
	double real = 0;
	bool yes = false;

	*out = NULL;
	if (k->kind == K_KEY_REAL)
		memcpy(&real, at, sizeof(real));
	else if (k->kind == K_KEY_BOOL)
		memcpy(&yes, at, sizeof(yes));
	else if (k->count)
		count = k->count(hp);
	else
		memcpy(&count, at, sizeof(count));
	if (!k->zero && count == 0 && real == 0 && !yes)
		return 0;
	*out = k->kind == K_KEY_REAL ? k_json_new_number(real) : k->kind == K_KEY_BOOL ? k_json_new_bool(yes) : k_json_new_int(count);
	return *out ? 0 : K_ENOMEM;
}

/* Numbers are u32 in the file. */
static int check_range(const struct k_arch *a, const struct k_arch_key *k, const struct k_json *v, const char *where, struct k_err *err)
{
	if (k_json_kind(v) == K_JSON_INT && (k_json_int(v) < 0 || k_json_int(v) > UINT32_MAX))
		return k_err_set(err, K_EUNSUP, "'%s': %s.%s would be %lld, which is no u32", where, a->gguf_arch, k->key, (long long)k_json_int(v));
	return 0;
}

int k_arch_gguf_keys(const struct k_arch *a, const struct k_hp *hp, const struct k_json *config, const char *where, struct k_json *keys,
	struct k_err *err)
{
	const char *why = a->gguf_lacks ? a->gguf_lacks(hp) : NULL;
	char full[NAME_MOST];
	int r = 0;

	if (why)
		return k_err_set(err, K_EUNSUP, "'%s': a GGUF of architecture %s cannot say %s", where, a->gguf_arch, why);
	for (const struct k_arch_key *k = a->gguf_keys; r == 0 && k->key; k++) {
		struct k_json *v;

		if (k->if_member && k_json_kind(k_json_find(config, k->if_member)) == K_JSON_NULL)
			continue;
		r = k->make ? k->make(hp, config, &v) : make_number(k, hp, &v);
		if (r < 0)
			return no_memory(err);
		r = check_range(a, k, v, where, err);
		snprintf(full, sizeof(full), "%s.%s", a->gguf_arch, k->key);
		if (v && r == 0 && k_json_set(keys, full, v) < 0)
			r = no_memory(err);
		else if (r < 0)
			k_json_free(v);
	}
	return r;
}
