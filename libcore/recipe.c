/* recipe.c: see recipe.h. A row is followed only when every member of it is known: one that is not may change the bytes. */
#include "libcore/base.h"
#include "libcore/policy.h"
#include "libcore/recipe.h"

int k_recipe_retype(struct k_entry *e, const char *dtype, bool dequant, struct k_err *err)
{
	const struct k_qtype *t = e->type;
	const char *want = NULL;

	if (strcmp(e->role, "file") == 0 || !t->dequant)
		return 0;
	if (t->plain && t->quant)
		want = dtype;
	else if (dequant)
		want = dtype ? dtype : "bf16";
	if (!want || strcmp(want, t->name) == 0)
		return 0;
	e->type = k_qtype_find(want, NULL);
	e->form = NULL;
	return e->type ? k_entry_size(e, err) : k_err_set(err, K_EUSAGE, "unknown type '%s'", want);
}

static int convert(const struct k_json *row K_UNUSED, const struct k_ckpt *c K_UNUSED, struct k_entry *out K_UNUSED, struct k_quant_opts *q K_UNUSED,
	struct k_err *err K_UNUSED)
{
	return 0;       /* k_import has done it */
}

static int retype(const struct k_json *row, const struct k_ckpt *c, struct k_entry *out, struct k_quant_opts *q K_UNUSED, struct k_err *err)
{
	const char *dtype = k_json_string(k_json_find(row, "dtype"));
	int r = 0;

	for (int i = 0; r == 0 && i < c->n_entries; i++)
		r = k_recipe_retype(&out[i], dtype, k_json_bool(k_json_find(row, "dequant")), err);
	return r;
}

static int find_scale(const struct k_json *row, const char *path, struct k_quant_opts *q, struct k_err *err)
{
	static const struct { const char *name; enum k_scale scale; } scales[] = { { "amax/7", K_SCALE_AMAX7 }, { "amax/7.5", K_SCALE_AMAX75 } };
	const char *name = NULL;
	int r = k_json_get_str(row, "scale", &name, path, err);

	for (size_t i = 0; r == 0 && i < K_LEN(scales); i++)
		if (strcmp(scales[i].name, name) == 0) {
			q->scale = scales[i].scale;
			return 0;
		}
	return r < 0 ? r : k_err_set(err, K_EUNSUP, "'%s': was quantised with scales by %s, which this build does not know", path, name);
}

static int quantise(const struct k_json *row, const struct k_ckpt *c, struct k_entry *out, struct k_quant_opts *q, struct k_err *err)
{
	const struct k_json *list = k_json_find(row, "rules");
	size_t n = k_json_len(list);
	const char **rules = k_calloc(n + 1, sizeof(*rules));
	struct k_policy p = { k_json_string(k_json_find(row, "type")), k_json_string(k_json_find(row, "preset")), rules, (int)n };
	int changed, r = rules ? find_scale(row, c->path, q, err) : k_err_nomem(err, n * sizeof(*rules), "rules");

	for (size_t i = 0; r == 0 && i < n; i++) {
		rules[i] = k_json_string(k_json_at(list, i));
		if (!rules[i])
			r = k_err_set(err, K_EFORMAT, "'%s': a rule of the history is %s", c->path, k_json_kind_name(k_json_at(list, i)));
	}
	if (r == 0)
		r = k_policy_apply(&p, c, out, &changed, NULL, err);
	k_free(rules);
	/* What kquant took then is refused now: the row is of another version, or the source is of another model. */
	if (r == K_EUSAGE)
		err->code = r = K_EUNSUP;
	return r;
}

static const struct step {
	const char *name, *members[8];
	int (*apply)(const struct k_json *row, const struct k_ckpt *c, struct k_entry *out, struct k_quant_opts *q, struct k_err *err);
} steps[] = {
	{ "convert", { "step", "format" }, convert },
	{ "retype", { "step", "format", "dtype", "dequant" }, retype },
	{ "quantise", { "step", "format", "type", "scale", "preset", "rules" }, quantise },
};

static int check_members(const struct step *s, const struct k_json *row, const char *path, struct k_err *err)
{
	const char *key;
	struct k_json *v;
	size_t i;

	for (void *it = NULL; k_json_next(row, &it, &key, &v); ) {
		for (i = 0; i < K_LEN(s->members) && s->members[i] && strcmp(s->members[i], key) != 0; i++)
			;
		if (i == K_LEN(s->members) || !s->members[i])
			return k_err_set(err, K_EUNSUP, "'%s': the step '%s' of the history has a choice '%s' that cannot be followed here", path, s->name, key);
	}
	return 0;
}

int k_recipe_apply(const struct k_json *row, const struct k_ckpt *c, struct k_entry *out, struct k_quant_opts *q, struct k_err *err)
{
	const char *name = k_json_string(k_json_find(row, "step"));
	int r;

	memset(q, 0, sizeof(*q));
	for (size_t i = 0; i < K_LEN(steps); i++) {
		if (!name || strcmp(steps[i].name, name) != 0)
			continue;
		if (k_json_int(k_json_find(row, "format")) != 1)
			return k_err_set(err, K_EUNSUP, "'%s': the step '%s' of the history is of another format than 1", c->path, name);
		r = check_members(&steps[i], row, c->path, err);
		return r < 0 ? r : steps[i].apply(row, c, out, q, err);
	}
	return k_err_set(err, K_EUNSUP, "'%s': the history has a step '%s' that cannot be followed here", c->path, name ? name : "?");
}
