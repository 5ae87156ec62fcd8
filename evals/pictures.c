/* pictures.c: see pictures.h. A member that is missing or null is a point that is not drawn. */
#include "libcore/base.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/pictures.h"
#include "evals/stats.h"

double k_picture_number(const struct k_json *o, const char *key)
{
	const struct k_json *v = k_json_find(o, key);
	enum k_json_kind kind = k_json_kind(v);
	return kind == K_JSON_INT || kind == K_JSON_REAL ? k_json_number(v) : NAN;
}

const char *k_picture_string(const struct k_json *o, const char *key)
{
	const char *s = k_json_string(k_json_find(o, key));
	return s ? s : "";
}

/* "model 0123456789ab, kimi_linear, f32, avx512" */
static void note_run(struct k_plot *p, const struct k_json *summary)
{
	static const char *const facts[] = { "arch", "act", "level", "url", "name" };
	struct k_buf b;
	k_buf_init(&b, 0);
	const char *model = k_picture_string(summary, "model");
	if (*model)
		k_buf_printf(&b, "model %.12s", model);
	for (size_t i = 0; i < K_LEN(facts); i++)
		if (*k_picture_string(summary, facts[i]))
			k_buf_printf(&b, "%s%s", b.len ? ", " : "", k_picture_string(summary, facts[i]));
	K_PLOT_TEXT(p->note, "%s", b.len && !b.failed ? b.data : "");
	k_buf_fini(&b);
}

/* --- needle: length by depth --------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* The axis has the values of a member in their order. */
static void name_places(struct k_plot *p, struct k_plot_axis *a, const struct k_json *items, const char *key)
{
	size_t n = k_json_len(items), k = 0;
	int64_t *v = k_calloc(n + 1, sizeof(*v));
	p->failed |= !v;
	for (size_t i = 0; v && i < n; i++)
		if (isfinite(k_picture_number(k_json_at(items, i), key)))
			v[k++] = k_json_int(k_json_find(k_json_at(items, i), key));
	if (v)
		qsort(v, k, sizeof(*v), ascending);
	for (size_t i = 0; i < k; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%" PRId64, v[i]);
		if (!i || v[i] != v[i - 1])
			k_plot_place(p, a, name);
	}
	k_free(v);
}

/* Every place of length and depth is a cell; the share of right answers, where there are some. */
static void add_cells(struct k_plot *p, struct k_plot_series *s, const struct k_json *items)
{
	size_t nx = p->x.n_names, ny = p->y.n_names, n;
	int64_t (*count)[2] = k_mul_size(nx, ny, &n) ? k_calloc(n + 1, sizeof(*count)) : NULL;
	p->failed |= !count;
	for (size_t i = 0; !p->failed && i < k_json_len(items); i++) {
		const struct k_json *item = k_json_at(items, i), *right = k_json_find(item, "right");
		char length[32], depth[32];
		if (k_json_kind(right) != K_JSON_BOOL || !isfinite(k_picture_number(item, "length")) || !isfinite(k_picture_number(item, "depth")))
			continue;
		snprintf(length, sizeof(length), "%" PRId64, k_json_int(k_json_find(item, "length")));
		snprintf(depth, sizeof(depth), "%" PRId64, k_json_int(k_json_find(item, "depth")));
		size_t at = (size_t)k_plot_place(p, &p->y, depth) * nx + (size_t)k_plot_place(p, &p->x, length);
		count[at][0]++;
		count[at][1] += k_json_bool(right);
	}
	for (size_t i = 0; !p->failed && i < n; i++)
		k_plot_add(p, s, (double)(i % nx), (double)(i / nx), count[i][0] ? (double)count[i][1] / (double)count[i][0] : NAN, NAN);
	k_free(count);
}

void k_draw_needle(struct k_plot *p, const struct k_picture *f)
{
	double acc = k_picture_number(f->summary, "acc");
	int64_t n = k_json_int(k_json_find(f->summary, "n"));
	if (isfinite(acc))
		K_PLOT_TEXT(p->title, "Needle in a text: %.4g %% of %" PRId64 " found", 100 * acc, n);
	else
		K_PLOT_TEXT(p->title, "Needle in a text: nothing was answered");
	note_run(p, f->summary);
	K_PLOT_TEXT(p->x.label, "length of the text (tokens)");
	K_PLOT_TEXT(p->y.label, "depth of the needle (%%)");
	p->y.down = true;
	name_places(p, &p->x, f->items, "length");
	name_places(p, &p->y, f->items, "depth");
	add_cells(p, k_plot_series(p, K_PLOT_CELLS, 0, ""), f->items);
}

/* --- kld: how the divergence of tokens is distributed -------------------------------------------------------------------------- */

/* v[0..n) is sorted here. What is 0 stands at the left edge. */
static void add_steps(struct k_plot *p, const char *label, int color, double *v, size_t n)
{
	struct k_plot_series *s = n ? k_plot_series(p, K_PLOT_STEPS, color, label) : NULL;
	k_stats_sort(v, n);
	if (n && v[0] > 0)
		k_plot_add(p, s, v[0], 0, NAN, NAN);
	for (size_t i = 0; i < n; i++)
		if (i + 1 == n || v[i + 1] > v[i])
			k_plot_add(p, s, v[i], 100 * (double)(i + 1) / (double)n, NAN, NAN);
}

static void add_values(struct k_plot *p, const struct k_json *items)
{
	size_t n = 0, k = 0, w = 0;
	for (size_t i = 0; i < k_json_len(items); i++)
		n += k_json_len(k_json_find(k_json_at(items, i), "values"));
	double *tokens = k_calloc(n + 1, sizeof(*tokens)), *windows = k_calloc(k_json_len(items) + 1, sizeof(*windows));
	p->failed |= !tokens || !windows;
	for (size_t i = 0; !p->failed && i < k_json_len(items); i++) {
		const struct k_json *values = k_json_find(k_json_at(items, i), "values");
		double sum = k_picture_number(k_json_at(items, i), "kld");
		for (size_t t = 0; t < k_json_len(values); t++)
			if (k_json_kind(k_json_at(values, t)) == K_JSON_REAL || k_json_kind(k_json_at(values, t)) == K_JSON_INT)
				tokens[k++] = k_json_number(k_json_at(values, t));
		if (isfinite(sum) && k_json_len(values))
			windows[w++] = sum / (double)k_json_len(values);
	}
	if (!p->failed) {
		add_steps(p, "tokens", 0, tokens, k);
		add_steps(p, "means of windows", 4, windows, w > 1 ? w : 0);
	}
	k_free(tokens);
	k_free(windows);
}

void k_draw_kld(struct k_plot *p, const struct k_picture *f)
{
	static const struct { const char *key, *name; int color; } marks[] = { { "kld_mean", "mean", 7 }, { "kld_p99", "p99", 1 }, { "kld_max", "largest", 3 } };
	double lower = k_picture_number(f->summary, "kld_lower"), upper = k_picture_number(f->summary, "kld_upper");
	double mean = k_picture_number(f->summary, "kld_mean");
	char label[64];
	if (isfinite(mean))
		K_PLOT_TEXT(p->title, "Divergence from the reference: mean %.4g over %" PRId64 " tokens", mean, k_json_int(k_json_find(f->summary, "tokens")));
	else
		K_PLOT_TEXT(p->title, "Divergence from the reference: no mean, a window failed");
	note_run(p, f->summary);
	K_PLOT_TEXT(p->x.label, "KL(reference || model) of a token (nats)");
	K_PLOT_TEXT(p->y.label, "share that is not above it (%%)");
	p->x.base = 10;
	p->y.zero = true;
	add_values(p, f->items);
	for (size_t i = 0; i < K_LEN(marks); i++) {
		double v = k_picture_number(f->summary, marks[i].key);
		K_PLOT_TEXT(label, "%s %.3g", marks[i].name, v);
		k_plot_mark(p, true, v, v, marks[i].color, label);
	}
	K_PLOT_TEXT(label, "the exact mean: %.4g to %.4g", lower, upper);
	k_plot_mark(p, true, lower, upper, 7, label);
}

/* --- diff: what each item gained or lost ---------------------------------------------------------------------------------------- */

/* aside: the deltas of items. */
static void add_deltas(struct k_plot *p, const struct k_json *list, bool more_is_better)
{
	static const struct { const char *name; int color; } kinds[] = { { "B is worse", 1 }, { "alike", K_PLOT_GREY }, { "B is better", 0 } };
	size_t n = k_json_len(list);
	double *v = k_calloc(n + 1, sizeof(*v));
	p->failed |= !v;
	for (size_t i = 0; v && i < n; i++)
		v[i] = k_json_number(k_json_at(list, i));
	if (v)
		k_stats_sort(v, n);
	for (size_t i = 0; i < n && v; ) {
		int sign = (v[i] > 0) - (v[i] < 0);
		int kind = more_is_better ? sign + 1 : 1 - sign;
		size_t to = i;
		char label[64];
		while (to < n && (v[to] > 0) - (v[to] < 0) == sign)
			to++;
		K_PLOT_TEXT(label, "%s: %zu", kinds[kind].name, to - i);
		struct k_plot_series *s = k_plot_series(p, K_PLOT_POINTS, kinds[kind].color, label);
		for (; i < to; i++)
			k_plot_add(p, s, (double)(i + 1), v[i], NAN, NAN);
	}
	k_free(v);
}

void k_draw_diff(struct k_plot *p, const struct k_picture *f)
{
	const struct k_json *s = f->summary;
	double lo = k_picture_number(s, "ci95_low"), hi = k_picture_number(s, "ci95_high"), delta = k_picture_number(s, "delta");
	char label[64];
	const char *verdict = k_picture_string(s, "verdict");
	K_PLOT_TEXT(p->title, "B is %s: %s %.5g, was %.5g (p %.2g)", *verdict ? verdict : "not compared", k_picture_string(s, "field"), k_picture_number(s, "value_b"),
		k_picture_number(s, "value_a"), k_picture_number(s, "p_value"));
	K_PLOT_TEXT(p->note, "%s: A is %s, B is %s", k_picture_string(s, "of"), k_picture_string(s, "a"), k_picture_string(s, "b"));
	K_PLOT_TEXT(p->x.label, "items, from the lowest difference to the highest");
	K_PLOT_TEXT(p->y.label, "%s of an item, B − A", k_picture_string(s, "field"));
	p->x.zero = p->x.whole = p->y.zero = true;
	K_PLOT_TEXT(label, "95 %% interval of the mean: %.3g to %.3g", lo, hi);
	/* Of right answers there should be more, of nats fewer. */
	add_deltas(p, f->aside, !strcmp(k_picture_string(s, "test"), "mcnemar"));
	if (lo < hi)
		k_plot_mark(p, false, lo, hi, 2, label);
	K_PLOT_TEXT(label, "mean %.3g", delta);
	k_plot_mark(p, false, delta, delta, 2, label);
}
