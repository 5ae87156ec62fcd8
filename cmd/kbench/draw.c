/* draw.c: what a measurement looks like, by what was measured. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "cmd/kbench/bench.h"
#include "evals/pictures.h"

/* "machine, level, threads" */
static void note_machine(struct k_plot *p, const struct k_json *s)
{
	const char *level = k_picture_string(s, "level");
	K_PLOT_TEXT(p->note, "%s, %s%s%s, %s", k_picture_string(s, "machine"), level, *level ? ", " : "", k_picture_string(s, "placement"),
		k_picture_string(s, "commit"));
}

/* --- decode, prefill: bars by depth, one for each batch, with the spread of the repetitions -------------------------------------------- */

/* The series of a batch; added, with its bars beside the others, when it is new. */
static struct k_plot_series *batch_series(struct k_plot *p, enum k_plot_kind kind, const char *label)
{
	for (int i = 0; i < p->n_series; i++)
		if (p->series[i].kind == kind && !strcmp(p->series[i].label, label))
			return &p->series[i];
	int n = 0;
	for (int i = 0; i < p->n_series; i++)
		n += p->series[i].kind == kind;
	struct k_plot_series *s = k_plot_series(p, kind, kind == K_PLOT_TICKS ? 7 : n, label);
	if (s)
		s->place = n;
	return s;
}

/* What reading memory at its full speed would give, where that is not far beyond what is drawn. */
static void add_limits(struct k_plot *p, const struct k_json *items, double most, int places)
{
	for (size_t i = 0; i < k_json_len(items); i++) {
		const struct k_json *item = k_json_at(items, i);
		double limit = k_picture_number(item, "tok_s") / k_picture_number(item, "limit_frac");
		char name[32], label[64];
		if (!(limit <= 4 * most))
			continue;
		snprintf(name, sizeof(name), "%.0f", k_picture_number(item, "depth"));
		snprintf(label, sizeof(label), "batch %.0f", k_picture_number(item, "batch"));
		struct k_plot_series *bars = batch_series(p, K_PLOT_BARS, label);
		struct k_plot_series *s = k_plot_series(p, K_PLOT_TICKS, 7, "");
		if (s && bars) {
			s->place = bars->place;
			s->places = places;
			k_plot_add(p, s, k_plot_place(p, &p->x, name), limit, NAN, NAN);
		}
	}
}

static void draw_tokens(struct k_plot *p, const struct k_picture *f)
{
	double most = 0;
	const char *what = k_picture_string(f->summary, "what");
	for (size_t i = 0; i < k_json_len(f->items); i++) {
		const struct k_json *item = k_json_at(f->items, i);
		double tok_s = k_picture_number(item, "tok_s"), half = k_picture_number(item, "spread") / 2 * tok_s;
		char name[32], label[64];
		if (!isfinite(tok_s))
			continue;
		snprintf(name, sizeof(name), "%.0f", k_picture_number(item, "depth"));
		snprintf(label, sizeof(label), "batch %.0f", k_picture_number(item, "batch"));
		k_plot_add(p, batch_series(p, K_PLOT_BARS, label), k_plot_place(p, &p->x, name), tok_s, tok_s - half, tok_s + half);
		most = fmax(most, tok_s);
	}
	int places = p->n_series;
	for (int i = 0; i < places; i++)
		p->series[i].places = places;
	add_limits(p, f->items, most, places);
	if (p->n_series > places)
		K_PLOT_TEXT(p->series[places].label, "what memory bandwidth allows");
	K_PLOT_TEXT(p->title, "%s: at most %.4g tokens a second", what, most);
	note_machine(p, f->summary);
	K_PLOT_TEXT(p->x.label, "tokens that are there before");
	K_PLOT_TEXT(p->y.label, "tokens a second");
}

/* --- kernels, convert: what share of its limit each thing reached ---------------------------------------------------------------------- */

static void draw_shares(struct k_plot *p, const struct k_picture *f)
{
	struct k_plot_series *s = k_plot_series(p, K_PLOT_BARS, 0, "");
	for (size_t i = 0; i < k_json_len(f->items); i++) {
		const struct k_json *item = k_json_at(f->items, i);
		double share = 100 * k_picture_number(item, "limit_frac"), half = k_picture_number(item, "spread") / 2 * share;
		k_plot_add(p, s, share, k_plot_place(p, &p->y, k_picture_string(item, "item")), share - half, share + half);
	}
	K_PLOT_TEXT(p->title, "%s: share of the limit", k_picture_string(f->summary, "what"));
	note_machine(p, f->summary);
	K_PLOT_TEXT(p->x.label, "share of what the machine allows, timed beside it (%%)");
	p->y.down = true;
	k_plot_mark(p, true, 100, 100, 7, "");
}

/* --- serve: latencies over the load -------------------------------------------------------------------------------------------------- */

static void draw_latencies(struct k_plot *p, const struct k_picture *f)
{
	static const struct { const char *key, *name; int color; } times[] = { { "ttft_ms", "first token", 0 }, { "tpot_ms", "a token after it", 1 } };
	static const char *const ranks[] = { "p50", "p90", "p99" };
	static const struct { const char *key, *label; int base; } loads[] = { { "concurrency", "streams at once", 2 }, { "rate", "requests a second", 0 },
		{ "replayed", "requests, as they were recorded", 0 } };
	double most = 0;
	size_t load = 0;
	while (load + 1 < K_LEN(loads) && !isfinite(k_picture_number(f->summary, loads[load].key)))
		load++;
	for (size_t t = 0; t < K_LEN(times); t++)
		for (int r = 0; r < (int)K_LEN(ranks); r++) {
			char label[64];
			snprintf(label, sizeof(label), "%s %s", times[t].name, ranks[r]);
			struct k_plot_series *s = k_plot_series(p, K_PLOT_LINE, times[t].color, label);
			if (s)
				s->dash = r;
			for (size_t i = 0; i < k_json_len(f->items); i++) {
				const struct k_json *item = k_json_at(f->items, i);
				k_plot_add(p, s, k_picture_number(item, loads[load].key),
					k_picture_number(k_json_find(item, times[t].key), ranks[r]), NAN, NAN);
				most = fmax(most, k_picture_number(item, "tok_s"));
			}
		}
	K_PLOT_TEXT(p->title, "serve: at most %.4g tokens a second", most);
	note_machine(p, f->summary);
	K_PLOT_TEXT(p->x.label, "%s", loads[load].label);
	K_PLOT_TEXT(p->y.label, "time (ms)");
	p->x.base = loads[load].base;
	p->y.base = 10;
}

/* --- compare: the ratio of each block ------------------------------------------------------------------------------------------------- */

static void draw_ratios(struct k_plot *p, const struct k_picture *f)
{
	const struct k_json *s = f->summary, *ci = k_json_find(s, "ci95");
	double ratio = k_picture_number(s, "ratio");
	char label[64];
	struct k_plot_series *q = k_plot_series(p, K_PLOT_POINTS, 0, "a block");
	for (size_t i = 0; i < k_json_len(f->aside); i++)
		k_plot_add(p, q, (double)(i + 1), exp(k_json_number(k_json_at(f->aside, i))), NAN, NAN);
	K_PLOT_TEXT(p->title, "B against A: %s, %.4g times as long", k_picture_string(s, "verdict"), ratio);
	note_machine(p, s);
	K_PLOT_TEXT(p->x.label, "block");
	K_PLOT_TEXT(p->y.label, "time of B / time of A");
	p->x.zero = p->x.whole = true;
	if (k_json_len(ci) == 2) {
		double lo = k_json_number(k_json_at(ci, 0)), hi = k_json_number(k_json_at(ci, 1));
		K_PLOT_TEXT(label, "95 %% interval: %.4g to %.4g", lo, hi);
		k_plot_mark(p, false, lo, hi, 0, label);
	}
	k_plot_mark(p, false, 1, 1, 7, "alike");
	K_PLOT_TEXT(label, "ratio %.4g", ratio);
	k_plot_mark(p, false, ratio, ratio, 0, label);
}

/* --- trends: what a run measured against those before --------------------------------------------------------------------------------- */

/* aside: for each series {label, change, base, half, "v": [[value, spread], ...]}; those that changed most come first. */
static void draw_trends(struct k_plot *p, const struct k_picture *f)
{
	size_t n = k_json_len(f->aside), shown = K_MIN(n, (size_t)K_PLOT_COLORS);
	for (size_t i = 0; i < shown; i++) {
		const struct k_json *t = k_json_at(f->aside, i), *v = k_json_find(t, "v");
		double base = k_picture_number(t, "base");
		struct k_plot_series *s = k_plot_series(p, K_PLOT_LINE, (int)i, k_picture_string(t, "label"));
		for (size_t k = 0; k < k_json_len(v); k++) {
			const struct k_json *x = k_json_at(v, k), *w = k_json_at(x, 1);
			double y = 100 * k_json_number(k_json_at(x, 0)) / base, half = k_json_kind(w) == K_JSON_NULL ? NAN : y * k_json_number(w) / 2;
			k_plot_add(p, s, (double)(k + 1), y, y - half, y + half);
		}
	}
	const struct k_json *only = n == 1 ? k_json_at(f->aside, 0) : NULL;
	double half = k_picture_number(only, "half");
	if (only && isfinite(half))
		k_plot_mark(p, false, 100 * exp(-half), 100 * exp(half), 2, "where one more run is expected");
	k_plot_mark(p, false, 100, 100, 7, "median of the runs before the last");
	K_PLOT_TEXT(p->title, "Trends: %.0f slower, %.0f faster of %.0f series", k_picture_number(f->summary, "slower"),
		k_picture_number(f->summary, "faster"), k_picture_number(f->summary, "series"));
	if (n > shown)
		K_PLOT_TEXT(p->note, "%s; the %zu that changed most", k_picture_string(f->summary, "history"), shown);
	else
		K_PLOT_TEXT(p->note, "%s", k_picture_string(f->summary, "history"));
	K_PLOT_TEXT(p->x.label, "run");
	K_PLOT_TEXT(p->y.label, "%% of the median before");
	p->x.whole = true;
}

struct k_json *k_times_json(const struct k_times *t)
{
	struct k_json *list = k_json_array();
	for (int i = 0; list && i < t->n; i++)
		if (k_json_push(list, k_json_new_number(t->v[i])) < 0) {
			k_json_free(list);
			list = NULL;
		}
	return list;
}

static const struct { const char *what; void (*draw)(struct k_plot *p, const struct k_picture *f); } pictures[] = {
	{ "decode", draw_tokens },
	{ "prefill", draw_tokens },
	{ "kernels", draw_shares },
	{ "convert", draw_shares },
	{ "serve", draw_latencies },
	{ "compare", draw_ratios },
	{ "trends", draw_trends },
};

bool k_bench_draws(const char *what)
{
	for (size_t i = 0; i < K_LEN(pictures); i++)
		if (!strcmp(pictures[i].what, what))
			return true;
	return false;
}

int k_bench_plot_check(const char *what, const char *path, struct k_err *err)
{
	char names[128] = "";
	if (k_bench_draws(what))
		return k_plot_check(path, err);
	for (size_t i = 0; i < K_LEN(pictures); i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? " " : "", pictures[i].what);
	return k_err_set(err, K_EUSAGE, "--plot: there is no picture of '%s', there are of: %s", what, names);
}

int k_bench_plot(const char *what, const struct k_report *rep, const char *path, struct k_err *err)
{
	struct k_picture f = { .items = k_report_items(rep), .summary = k_report_summary_of(rep), .aside = k_report_aside_of(rep) };
	struct k_plot p;
	k_plot_init(&p);
	for (size_t i = 0; i < K_LEN(pictures) && !p.failed; i++)
		if (!strcmp(pictures[i].what, what))
			pictures[i].draw(&p, &f);
	int r = k_plot_write(&p, path, err);
	k_plot_fini(&p);
	return r;
}
