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

/* A step that is followed: from c's entries, row says how, to out and q. */
struct following {
	const struct k_json *row;
	const struct k_ckpt *c, *made;
	struct k_entry *out;
	struct k_quant_opts *q;
	struct k_err *err;
};

static int convert(const struct following *f K_UNUSED)
{
	return 0;       /* k_import has done it */
}

static int retype(const struct following *f)
{
	const char *dtype = k_json_string(k_json_find(f->row, "dtype"));
	int r = 0;

	for (int i = 0; r == 0 && i < f->c->n_entries; i++)
		r = k_recipe_retype(&f->out[i], dtype, k_json_bool(k_json_find(f->row, "dequant")), f->err);
	return r;
}

struct word { const char *name; int value; };

/* A choice by its word; absent: the first of the words where `may` is set. */
static int find_word(const struct following *f, const char *key, bool may, const struct word *words, int n, int *out)
{
	const char *name = k_json_string(k_json_find(f->row, key));

	*out = words[0].value;
	if (!name && may && !k_json_find(f->row, key))
		return 0;
	for (int i = 0; name && i < n; i++)
		if (strcmp(words[i].name, name) == 0) {
			*out = words[i].value;
			return 0;
		}
	return k_err_set(f->err, K_EUNSUP, "'%s': was quantised with a %s '%s' that cannot be followed here", f->c->path, key, name ? name : "");
}

static int rounding(const struct following *f)
{
	static const struct word scales[] = {
		{ "amax/7", K_SCALE_AMAX7 }, { "amax/7.5", K_SCALE_AMAX75 }, { "mse", K_SCALE_MSE }, { "qat", K_SCALE_QAT },
	};
	static const struct word rules[] = { { "ct", K_MX_CT }, { "ocp", K_MX_OCP }, { "ggml", K_MX_GGML } };
	int scale, rule, r = find_word(f, "scale", false, scales, (int)K_LEN(scales), &scale);

	if (r == 0)
		r = find_word(f, "mx_rule", true, rules, (int)K_LEN(rules), &rule);
	if (r == 0)
		*f->q = (struct k_quant_opts){ .scale = (enum k_scale)scale, .mx = (enum k_mx_rule)rule };
	return r;
}

/* A budget looked at the values; what it chose is in what was made. */
static int types_of_made(const struct following *f)
{
	struct k_map names;
	int r;

	if (!f->made)
		return k_err_set(f->err, K_EUNSUP, "'%s': types were chosen by a budget and changed later, so they are not known", f->c->path);
	k_map_init(&names);
	r = k_ckpt_names(f->made, &names, f->err);
	for (int i = 0; r == 0 && i < f->c->n_entries; i++) {
		int j = k_ckpt_named(f->made, &names, f->c->entries[i].name);

		if (j < 0)
			continue;
		f->out[i].type = f->made->entries[j].type;
		f->out[i].bytes = f->made->entries[j].bytes;
	}
	k_map_fini(&names);
	return r;
}

static int types_of_policy(const struct following *f)
{
	const struct k_json *list = k_json_find(f->row, "rules");
	size_t n = k_json_len(list);
	const char **rules = k_calloc(n + 1, sizeof(*rules));
	struct k_policy p = { .type = k_json_string(k_json_find(f->row, "type")), .preset = k_json_string(k_json_find(f->row, "preset")), .rules = rules, .n_rules = (int)n };
	int changed, r = rules ? 0 : k_err_nomem(f->err, n * sizeof(*rules), "rules");

	for (size_t i = 0; r == 0 && i < n; i++) {
		rules[i] = k_json_string(k_json_at(list, i));
		if (!rules[i])
			r = k_err_set(f->err, K_EFORMAT, "'%s': a rule of the history is %s", f->c->path, k_json_kind_name(k_json_at(list, i)));
	}
	if (r == 0)
		r = k_policy_apply(&p, f->c, f->out, &changed, NULL, f->err);
	k_free(rules);
	/* What kquant took then is refused now: the row is of another version, or the source is of another model. */
	if (r == K_EUSAGE)
		f->err->code = r = K_EUNSUP;
	return r;
}

static int quantise(const struct following *f)
{
	int r = rounding(f);

	if (r < 0)
		return r;
	return k_json_find(f->row, "budget") ? types_of_made(f) : types_of_policy(f);
}

static const struct step {
	const char *name, *members[9];
	int (*follow)(const struct following *f);
} steps[] = {
	{ "convert", { "step", "format" }, convert },
	{ "retype", { "step", "format", "dtype", "dequant" }, retype },
	{ "quantise", { "step", "format", "type", "scale", "preset", "rules", "mx_rule", "budget" }, quantise },
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
			return k_err_set(err, K_EUNSUP, "'%s': the step '%s' of the history has a choice '%s' that cannot be followed here", path,
				s->name, key);
	}
	return 0;
}

int k_recipe_apply(const struct k_json *row, const struct k_ckpt *c, const struct k_ckpt *made, struct k_entry *out, struct k_quant_opts *q,
	struct k_err *err)
{
	const struct following f = { row, c, made, out, q, err };
	const char *name = k_json_string(k_json_find(row, "step"));
	int r;

	memset(q, 0, sizeof(*q));
	for (size_t i = 0; i < K_LEN(steps); i++) {
		if (!name || strcmp(steps[i].name, name) != 0)
			continue;
		if (k_json_int(k_json_find(row, "format")) != 1)
			return k_err_set(err, K_EUNSUP, "'%s': the step '%s' of the history is of another format than 1", c->path, name);
		r = check_members(&steps[i], row, c->path, err);
		return r < 0 ? r : steps[i].follow(&f);
	}
	return k_err_set(err, K_EUNSUP, "'%s': the history has a step '%s' that cannot be followed here", c->path, name ? name : "?");
}
