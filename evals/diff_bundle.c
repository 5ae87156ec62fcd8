/* diff_bundle.c: see diff_bundle.h. A is the one that is right; the bands are A's, or B's where A has none. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/diff_bundle.h"
#include "evals/locate.h"
#include "libcore/ctx.h"
#include "libcore/io.h"

bool k_is_bundle(const char *path)
{
	char json[4096];
	size_t n = strlen(path);
	if (!k_path_is_dir(path))
		return n >= 11 && !strcmp(path + n - 11, "golden.json");
	return (size_t)snprintf(json, sizeof(json), "%s/golden.json", path) < sizeof(json) && k_path_exists(json);
}

static const struct k_golden_seq *find_sequence(const struct k_golden *g, const char *name)
{
	for (int64_t i = 0; i < g->n_seq; i++)
		if (!strcmp(g->seq[i].name, name))
			return &g->seq[i];
	return NULL;
}

static int same_ids(const struct k_golden *a, const struct k_golden *b, const struct k_golden_seq *x, struct k_err *err)
{
	const struct k_golden_seq *y = find_sequence(b, x->name);
	int64_t i = 0;
	if (!y)
		return k_err_set(err, K_EUSAGE, "'%s' has no sequence '%s', which '%s' has", b->path, x->name, a->path);
	if (x->n != y->n)
		return k_err_set(err, K_EUSAGE, "sequence '%s' has %lld tokens in '%s' and %lld in '%s'", x->name, (long long)x->n, a->path,
			(long long)y->n, b->path);
	while (i < x->n && x->ids[i] == y->ids[i])
		i++;
	return i == x->n ? 0 : k_err_set(err, K_EUSAGE, "token %lld of sequence '%s' is %d in '%s' and %d in '%s'", (long long)i, x->name,
		x->ids[i], a->path, y->ids[i], b->path);
}

static int compare(struct k_locate *l, struct k_golden *a, struct k_golden *b, const struct k_ctx *ctx, struct k_err *err)
{
	int r = 0;
	if (!a->bands)
		a->bands = b->bands;
	if (!a->n_layer)
		a->n_layer = b->n_layer;
	if (!a->bands)
		return k_err_set(err, K_EUSAGE, "neither '%s' nor '%s' has bands: they are golden sets, and no bundles", a->path, b->path);
	if (b->n_layer && b->n_layer != a->n_layer)
		return k_err_set(err, K_EUSAGE, "'%s' has %lld layers, '%s' has %lld", a->path, (long long)a->n_layer, b->path, (long long)b->n_layer);
	for (int64_t i = 0; r == 0 && i < a->n_seq; i++) {
		r = k_ctx_check(ctx, err);
		if (r == 0)
			r = same_ids(a, b, &a->seq[i], err);
		if (r == 0)
			r = k_locate_sequence(l, b, &a->seq[i], err);
	}
	if (r == 0 && !l->compared)
		r = k_err_set(err, K_ENOENT, "'%s' and '%s' have no tensor in common", a->path, b->path);
	return r;
}

int k_diff_bundles(const char *path_a, const char *path_b, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx,
	struct k_err *err)
{
	struct k_golden *a = NULL, *b = NULL;
	int r = k_golden_open(&a, path_a, INT32_MAX, true, err);
	if (r == 0)
		r = k_golden_open(&b, path_b, INT32_MAX, true, err);
	struct k_locate l = { .bundle = a, .tol = o->tol, .rep = rep };
	if (r == 0)
		r = k_golden_finite(a, K_EFORMAT, err);
	if (r == 0)
		r = compare(&l, a, b, ctx, err);
	if (r == 0) {
		struct k_json *s = k_json_object();
		int bad = !s || k_put_str(s, "task", "diff") | k_put_str(s, "of", "bundles") | k_put_str(s, "a", path_a) |
			k_put_str(s, "b", path_b) | (o->tol >= 0 ? k_put_f32(s, "tol", o->tol) : k_put_str(s, "bands", a->bands->of)) |
			k_put_f32(s, "max_abs", l.max_abs) | k_put_f32(s, "max_rel", l.max_rel) | k_locate_put(&l, s);
		if (bad) {
			k_json_free(s);
			s = NULL;
		}
		r = k_report_summary(rep, s, err);
	}
	k_golden_close(a);
	k_golden_close(b);
	return r;
}
