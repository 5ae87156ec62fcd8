/* diff.c: two reports of one task, item by item: is B another than A, and how sure is that?
 *
 *   items of A and B with the same names -> pairs (a, b) of what an item scores, with a weight -> delta = mean(b) - mean(a)
 *   right or wrong   McNemar's exact test on the items on which they differ
 *   numbers          the signs of b - a turned round: for up to 13 pairs all ways, else 10,000 drawn ones; the same for the same --seed
 *
 * The verdict is of B: "better" or "worse" where chance would give such a difference in less than 1 of 100 runs, which takes 8 pairs that
 * differ; "same" where none differs, or the 95 % interval of delta lies within 1 % of A's value; else "undecided": more items would tell.
 * Worse is exit status 1, but where a --bar on delta or its interval says how much worse B may be: then the bar decides.
 * Nothing is compared that was asked different things: another text, other windows, other questions. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/diff_bundle.h"
#include "evals/pictures.h"
#include "evals/report.h"
#include "evals/reported.h"
#include "evals/stats.h"
#include "libcore/log.h"
#include "libcore/map.h"

enum { DRAWS = 10000 };

/* What an item of a task scores. weight: what value is a sum over; NULL: each item counts alike. some: not every item has a value (an answer
 * without calls has none that could fit): what is compared is the items that have one in both reports. */
struct score { const char *task, *value, *weight, *field; bool yes_no, more_is_better, some; };
static const struct score scores[] = {
	{ "ppl", "nll", "tokens", "nll", false, false, false },
	{ "kld", "kld", "tokens", "kld_mean", false, false, false },
	{ "choice", "right", NULL, "acc", true, true, false },
	{ "gen", "right", NULL, "acc", true, true, false },
	{ "needle", "right", NULL, "acc", true, true, false },
	{ "toolcall", "valid", NULL, "schema_accuracy", true, true, true },
};

/* Members of a report's head that say what was asked; the others say who answered, and how. Which questions --limit and --seed chose is told by
 * the names of the items, but not which needle the seed made. task NULL: any. */
static const struct { const char *name, *task; } asked[] = {
	{ "text_sha256", NULL }, { "text_tokens", NULL }, { "file_sha256", NULL }, { "ref_sha256", NULL }, { "window", NULL }, { "stride", NULL },
	{ "bos_id", NULL }, { "lengths", NULL }, { "depths", NULL }, { "seed", "needle" },
};

struct diff {
	const struct k_eval_opts *o;
	struct k_reported a, b;
	const struct score *score;
	struct k_pair *pairs;
	int64_t n;
	int64_t left_out;               /* items with a value in one report only */
};

static const char *task_of(const struct k_reported *s)
{
	const char *t = k_json_string(k_json_find(s->summary, "task"));
	return t ? t : "";
}

static int find_score(struct diff *d, struct k_err *err)
{
	if (strcmp(task_of(&d->a), task_of(&d->b)))
		return k_err_set(err, K_EUSAGE, "'%s' is of task '%s', '%s' of '%s'", d->a.path, task_of(&d->a), d->b.path, task_of(&d->b));
	for (size_t i = 0; i < K_LEN(scores); i++)
		if (!strcmp(scores[i].task, task_of(&d->a)))
			d->score = &scores[i];
	return d->score ? 0 : k_err_set(err, K_EUSAGE, "reports of task '%s' have no items to compare", task_of(&d->a));
}

static int check_asked(const struct diff *d, struct k_err *err)
{
	for (size_t i = 0; i < K_LEN(asked); i++) {
		const struct k_json *a = k_json_find(d->a.head, asked[i].name), *b = k_json_find(d->b.head, asked[i].name);
		struct k_buf x, y;
		if (!a || !b || k_json_equal(a, b) || (asked[i].task && strcmp(asked[i].task, d->score->task)))
			continue;
		k_buf_init(&x, 0);
		k_buf_init(&y, 0);
		k_json_dump(&x, a, K_JSON_COMPACT);
		k_json_dump(&y, b, K_JSON_COMPACT);
		int r = x.failed || y.failed ? k_err_nomem(err, 64, "a value") : k_err_set(err, K_EUSAGE,
			"%s is %.80s in '%.120s' and %.80s in '%.120s': they scored different things", asked[i].name, x.data, d->a.path, y.data, d->b.path);
		k_buf_fini(&x);
		k_buf_fini(&y);
		return r;
	}
	return 0;
}

/* --- pairs ------------------------------------------------------------------------------------------------------------------- */

/* 1: there is a value; 0: this item need not have one. */
static int value_of(const struct diff *d, const struct k_reported *s, const struct k_json *item, double *value, double *weight, struct k_err *err)
{
	const struct k_json *v = k_json_find(item, d->score->value), *w = d->score->weight ? k_json_find(item, d->score->weight) : NULL;
	enum k_json_kind kind = v ? k_json_kind(v) : K_JSON_NULL;
	if (k_json_find(item, "why") && kind == K_JSON_NULL)
		return k_err_set(err, K_EUSAGE, "'%s': %s failed and has nothing to compare", s->path, k_json_string(k_json_find(item, "item")));
	if (d->score->some && v && kind == K_JSON_NULL)
		return 0;
	if (!(kind == K_JSON_BOOL && d->score->yes_no) && !((kind == K_JSON_INT || kind == K_JSON_REAL) && !d->score->yes_no))
		return k_err_set(err, K_EFORMAT, "'%s': %s has no %s", s->path, k_json_string(k_json_find(item, "item")), d->score->value);
	*value = kind == K_JSON_BOOL ? (double)k_json_bool(v) : k_json_number(v);
	*weight = w ? k_json_number(w) : 1;
	if (!(*weight > 0) || !isfinite(*value))
		return k_err_set(err, K_EFORMAT, "'%s': %s counts %g times", s->path, k_json_string(k_json_find(item, "item")), *weight);
	return 1;
}

static int add_pair(struct diff *d, const struct k_json *x, const struct k_json *y, struct k_err *err)
{
	struct k_pair *p = &d->pairs[d->n];
	double wa, wb;
	int in_a = value_of(d, &d->a, x, &p->a, &wa, err), in_b = in_a < 0 ? in_a : value_of(d, &d->b, y, &p->b, &wb, err);
	if (in_b < 0)
		return in_b;
	d->left_out += in_a != in_b;
	if (!in_a || !in_b)
		return 0;
	if (wa != wb)
		return k_err_set(err, K_EUSAGE, "%s counts %g in '%s' and %g in '%s': they scored different things",
			k_json_string(k_json_find(x, "item")), wa, d->a.path, wb, d->b.path);
	p->weight = wa;
	d->n++;
	return 0;
}

/* B's items by name; each of A's must have its own. */
static int make_pairs(struct diff *d, struct k_err *err)
{
	struct k_map by_name;
	size_t n_a = k_json_len(d->a.items), n_b = k_json_len(d->b.items);
	int r = 0;
	if (n_a != n_b)
		return k_err_set(err, K_EUSAGE, "'%s' has %zu items, '%s' has %zu: they scored different things", d->a.path, n_a, d->b.path, n_b);
	d->pairs = k_calloc(n_a + 1, sizeof(*d->pairs));
	if (!d->pairs)
		return k_err_nomem(err, (n_a + 1) * sizeof(*d->pairs), "the pairs");
	k_map_init(&by_name);
	for (size_t i = 0; i < n_b && r == 0; i++) {
		struct k_json *v = k_json_at(d->b.items, i);
		const char *name = k_json_string(k_json_find(v, "item"));
		int put = k_map_put(&by_name, name, strlen(name), v);
		if (put < 1)
			r = put < 0 ? k_err_nomem(err, 64, "the items") : k_err_set(err, K_EFORMAT, "'%s' has %s twice", d->b.path, name);
	}
	for (size_t i = 0; i < n_a && r == 0; i++) {
		const struct k_json *x = k_json_at(d->a.items, i), *y;
		const char *name = k_json_string(k_json_find(x, "item"));
		y = k_map_find(&by_name, name, strlen(name));
		r = y ? add_pair(d, x, y, err) : k_err_set(err, K_EUSAGE, "'%s' has no %s, which '%s' has", d->b.path, name, d->a.path);
	}
	k_map_fini(&by_name);
	if (r == 0 && !d->n)
		r = k_err_set(err, K_EUSAGE, "'%s' and '%s' have no item with a %s in both: there is nothing to compare", d->a.path, d->b.path, d->score->value);
	return r;
}

/* --- the answer -------------------------------------------------------------------------------------------------------------- */

static const char *verdict(const struct diff *d, const struct k_paired *p)
{
	double most = 0.01 * fabs(p->mean_a);
	if (p->p_value < 0.01)
		return (p->delta > 0) == d->score->more_is_better ? "better" : "worse";
	return !p->differ || (p->lo >= -most && p->hi <= most) ? "same" : "undecided";
}

static int answer(struct diff *d, struct k_report *rep, struct k_err *err)
{
	struct k_paired p;
	int r = k_stats_paired(&p, d->pairs, d->n, d->score->yes_no, (uint64_t)d->o->seed, DRAWS, err);
	if (r < 0)
		return r;
	const char *what = verdict(d, &p);
	char why[600];
	struct k_json *s = k_json_object();
	int bad = !s || k_put_str(s, "task", "diff") | k_put_str(s, "of", d->score->task) | k_put_str(s, "field", d->score->field) |
		k_put_str(s, "a", d->a.path) | k_put_str(s, "b", d->b.path) | k_put_int(s, "n", d->n) | k_put_int(s, "differ", p.differ) |
		k_put_num(s, "value_a", p.mean_a) | k_put_num(s, "value_b", p.mean_b) | k_put_num(s, "delta", p.delta) |
		k_put_num(s, "ci95_low", p.lo) | k_put_num(s, "ci95_high", p.hi) | k_put_num(s, "p_value", p.p_value) |
		k_put_str(s, "test", d->score->yes_no ? "mcnemar" : "signs") |
		(d->score->some ? k_put_int(s, "left_out", d->left_out) : 0) | k_put_str(s, "verdict", what);
	if (bad) {
		k_json_free(s);
		s = NULL;
	}
	struct k_json *item = k_json_object();
	if (item && k_put_str(item, "verdict", what)) {
		k_json_free(item);
		item = NULL;
	}
	snprintf(why, sizeof(why), "'%.200s' is worse than '%.200s': %s is %.6g, was %.6g (p %.2g)", d->b.path, d->a.path, d->score->field,
		p.mean_b, p.mean_a, p.p_value);
	r = k_report_item(rep, d->score->field, item, strcmp(what, "worse") || k_report_bars(rep, "delta ci95_low ci95_high"), why, err);
	if (r < 0)
		k_json_free(s);
	return r < 0 ? r : k_report_summary(rep, s, err);
}

/* For the picture: what each item gained. */
static struct k_json *deltas(const struct diff *d)
{
	struct k_json *list = k_json_array();
	for (int64_t i = 0; list && i < d->n; i++)
		if (k_json_push(list, k_json_new_number((d->pairs[i].b - d->pairs[i].a) / d->pairs[i].weight)) < 0) {
			k_json_free(list);
			list = NULL;
		}
	return list;
}

static int diff_files(const char *const *paths, int n, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx,
	struct k_err *err)
{
	struct diff d = { .o = o };
	if (n != 2)
		return k_err_set(err, K_EUSAGE, "diff wants two reports or two bundles, got %d", n);
	if (k_is_bundle(paths[0]) && k_is_bundle(paths[1]) && k_report_draws(rep))
		return k_err_set(err, K_EUSAGE, "--plot: there is no picture of two bundles, there is of two reports");
	if (k_is_bundle(paths[0]) && k_is_bundle(paths[1]))
		return k_diff_bundles(paths[0], paths[1], o, rep, ctx, err);
	int r = k_reported_read(&d.a, paths[0], err);
	if (r == 0)
		r = k_reported_read(&d.b, paths[1], err);
	if (r == 0)
		r = find_score(&d, err);
	if (r == 0)
		r = check_asked(&d, err);
	if (r == 0)
		r = make_pairs(&d, err);
	if (r == 0 && d.left_out)
		k_logf(ctx->log, K_LOG_WARN, "%lld items have a %s in one report only and are not compared", (long long)d.left_out, d.score->value);
	if (r == 0 && k_report_draws(rep))
		r = k_report_aside(rep, deltas(&d), err);
	if (r == 0)
		r = answer(&d, rep, err);
	k_reported_fini(&d.a);
	k_reported_fini(&d.b);
	k_free(d.pairs);
	return r;
}

const struct k_eval k_eval_diff = {
	.name = "diff",
	.about = "is report B worse than report A? Where does bundle B leave bundle A first? Exit 1 when it is, or does",
	.fields = "delta ci95_low ci95_high p_value value_a value_b n differ",
	.draw = k_draw_diff,
	.files = diff_files,
};
