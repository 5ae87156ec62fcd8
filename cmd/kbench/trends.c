/* trends.c: kbench trends --history FILE: what the last run of each series measured, against those before it.
 *
 *   records --(same what, model, server, shape, machine, level, threads, placement, precision)--> series of values, in the order of the file
 *
 * A series is one figure of one thing (k_metric_at). The last run is held against the up to 10 runs before it, by logarithms: change is its
 * ratio to their median, and the interval is as wide as one more run of theirs would stray in 99 of 100 cases (Student's t on how they differ),
 * or as the repetitions within runs do, where that is more. Beyond that it is faster or slower; slower is exit status 1, but where a --bar on worst
 * says how much slower may be. Fewer than 3 earlier runs cannot tell, nor can one whose threads waited longer for CPUs than theirs: that is busy. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "cmd/kbench/records.h"
#include "evals/pictures.h"
#include "evals/stats.h"
#include "libcore/log.h"
#include "libcore/map.h"

enum { BEFORE = 10, ENOUGH = 3 };

struct value { double v, spread, waited; };     /* spread NaN: not recorded; waited 0: nor that */
struct series {
	char *key;
	const struct k_metric *metric;
	const struct k_json *first, *last;      /* records */
	struct value *v;
	size_t n, cap;
	double median, change, half;            /* of logs; NaN where too few runs say */
	const char *verdict;
};

struct trends {
	struct k_bench *b;
	struct k_map by_key;
	struct series *s;
	size_t n, cap;
	int64_t slower, faster, busy;
};

/* --- series ---------------------------------------------------------------------------------------------------------------------- */

/* Runs that differ in one of these measured different things. */
static const char *const same[] = { "what", "model", "url", "name", "file", "item", "shape", "tokens", "rate", "slow", "abandon", "act", "kv", "machine", "level",
	"threads", "placement" };

static char *key_of(const struct k_json *record, const char *field)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	k_buf_puts(&b, field);
	for (size_t i = 0; i < K_LEN(same); i++) {
		k_buf_putc(&b, '\n');
		if (k_json_find(record, same[i]))
			k_json_dump(&b, k_json_find(record, same[i]), 0);
	}
	char *key = k_buf_take(&b, NULL);
	k_buf_fini(&b);
	return key;
}

/* The index of a key's series + 1 is what the map holds. */
static struct series *series_of(struct trends *t, const struct k_metric *m, const struct k_json *record)
{
	char *key = key_of(record, m->field);
	size_t at = key ? (size_t)(uintptr_t)k_map_find(&t->by_key, key, strlen(key)) : 0;
	if (at) {
		k_free(key);
		return &t->s[at - 1];
	}
	if (key && t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		struct series *s = k_realloc(t->s, cap * sizeof(*s));
		if (s) {
			t->s = s;
			t->cap = cap;
		}
	}
	if (!key || t->n == t->cap || k_map_put(&t->by_key, key, strlen(key), (void *)(uintptr_t)(t->n + 1)) != 1) {
		k_free(key);
		return NULL;
	}
	t->s[t->n] = (struct series){ .key = key, .metric = m, .first = record };
	return &t->s[t->n++];
}

static int add_value(struct trends *t, const struct k_metric *m, const struct k_json *record, struct k_err *err)
{
	double v = k_picture_number(record, m->field);
	struct series *s = isfinite(v) && v > 0 ? series_of(t, m, record) : NULL;
	if (!(isfinite(v) && v > 0))
		return 0;
	if (s && s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 16;
		struct value *p = k_realloc(s->v, cap * sizeof(*p));
		if (!p)
			return k_err_nomem(err, cap * sizeof(*p), "a series");
		s->v = p;
		s->cap = cap;
	}
	if (!s)
		return k_err_nomem(err, sizeof(*s), "a series");
	double spread = k_picture_number(record, "spread"), waited = k_picture_number(record, "waited");
	s->v[s->n++] = (struct value){ v, spread >= 0 ? spread : NAN, waited >= 0 ? waited : 0 };
	s->last = record;
	return 0;
}

static int add_record(struct trends *t, const struct k_json *record, struct k_err *err)
{
	const struct k_metric *m;
	int r = 0;
	for (size_t i = 0; r == 0 && (m = k_metric_at(i)); i++)
		if (!strcmp(m->what, k_picture_string(record, "what")))
			r = add_value(t, m, record, err);
	return r;
}

/* --- the judgement --------------------------------------------------------------------------------------------------------------- */

/* Student's t, two-sided 99 %, of n - 1 degrees of freedom, n >= 2. */
static double student(size_t n)
{
	static const double t[] = { 63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250 };
	return t[K_MIN(n - 2, K_LEN(t) - 1)];
}

static double median(double *v, size_t n)
{
	k_stats_sort(v, n);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void judge(struct series *s)
{
	size_t n = K_MIN(s->n - 1, (size_t)BEFORE), k = 0;
	double v[BEFORE], spread[BEFORE], sum = 0, squares = 0, waited = 0;
	s->median = s->change = s->half = NAN;
	s->verdict = "too_few";
	for (size_t i = 0; i < n; i++) {
		const struct value *x = &s->v[s->n - 1 - n + i];
		v[i] = log(x->v);
		sum += v[i];
		waited = fmax(waited, x->waited);
		if (isfinite(x->spread))
			spread[k++] = x->spread;
	}
	if (!n)
		return;
	for (size_t i = 0; i < n; i++)
		squares += (v[i] - sum / (double)n) * (v[i] - sum / (double)n);
	s->median = median(v, n);
	s->change = log(s->v[s->n - 1].v) - s->median;
	if (n < ENOUGH)
		return;
	double last = s->v[s->n - 1].spread, within = (k ? median(spread, k) : 0) + (isfinite(last) ? last : 0);
	s->half = fmax(student(n) * sqrt(squares / (double)(n - 1) * (1 + 1 / (double)n)), within / 2);
	bool better = (s->change > 0) == s->metric->more_is_better;
	s->verdict = fabs(s->change) <= s->half ? "within_noise" : better ? "faster" :
		s->v[s->n - 1].waited > waited + K_BENCH_BUSY ? "busy" : "slower";
}

/* --- the report ------------------------------------------------------------------------------------------------------------------ */

static int copy(struct k_json *o, const char *key, const struct k_json *record, const char *from)
{
	struct k_json *v = k_json_find(record, from);
	return v ? k_json_set(o, key, k_json_keep(v)) : 0;
}

static int put_series(struct k_json *o, const struct series *s)
{
	int bad = copy(o, "what", s->last, "what") | copy(o, "model", s->last, "model") | k_put_str(o, "field", s->metric->field) |
		k_put_int(o, "runs", (int64_t)s->n) | k_put_f32(o, "first", s->v[0].v) | k_put_f32(o, "last", s->v[s->n - 1].v) |
		k_put_f32(o, "median", exp(s->median)) | k_put_f32(o, "change", exp(s->change) - 1) |
		k_put_f32(o, "change_low", exp(s->change - s->half) - 1) | k_put_f32(o, "change_high", exp(s->change + s->half) - 1) |
		k_put_str(o, "verdict", s->verdict) | copy(o, "first_date", s->first, "date") | copy(o, "last_date", s->last, "date") |
		copy(o, "first_commit", s->first, "commit") | copy(o, "last_commit", s->last, "commit");
	for (size_t i = 0; i < K_LEN(same) && !bad; i++)
		if (strcmp(same[i], "item") && !k_json_find(o, same[i]))
			bad = copy(o, same[i], s->last, same[i]);
	return bad;
}

static void name_of(const struct series *s, char *out, size_t n)
{
	const char *item = k_picture_string(s->last, "item"), *level = k_picture_string(s->last, "level");
	k_plot_text(out, n, "%s%s%.80s %s (%s%s%.0f threads)", k_picture_string(s->last, "what"), *item ? " " : "", item, s->metric->field, level,
		*level ? ", " : "", k_picture_number(s->last, "threads"));
}

static int report_series(struct trends *t, const struct series *s, struct k_err *err)
{
	struct k_json *o = k_json_object();
	char name[192], why[300];
	bool slower = !strcmp(s->verdict, "slower"), busy = !strcmp(s->verdict, "busy");
	name_of(s, name, sizeof(name));
	if (o && put_series(o, s)) {
		k_json_free(o);
		o = NULL;
	}
	t->slower += slower;
	t->busy += busy;
	t->faster += !strcmp(s->verdict, "faster");
	snprintf(why, sizeof(why), "%.6g, the median of the %zu runs before is %.6g: %+.3g %%, where %+.3g to %+.3g %% would be noise", s->v[s->n - 1].v,
		K_MIN(s->n - 1, (size_t)BEFORE), exp(s->median), 100 * (exp(s->change) - 1), 100 * (exp(-s->half) - 1), 100 * (exp(s->half) - 1));
	if (busy)
		k_logf(t->b->ctx->log, K_LOG_WARN, "%s: %s; its threads waited for a CPU in %.0f %% of the time, more than before: measure again when the machine is quiet", name,
			why, 100 * s->v[s->n - 1].waited);
	return k_report_item(t->b->rep, name, o, !slower || k_report_bars(t->b->rep, "worst"), why, err);
}

/* For the picture: see draw.c. */
static struct k_json *drawn(const struct series *s)
{
	struct k_json *o = k_json_object(), *list = k_json_array();
	char label[192], name[160];
	name_of(s, name, sizeof(name));
	if (isfinite(s->change))
		k_plot_text(label, sizeof(label), "%s: %+.1f %%", name, 100 * (exp(s->change) - 1));
	else
		k_plot_text(label, sizeof(label), "%s", name);
	int bad = !o || !list || k_put_str(o, "label", label) | k_put_num(o, "half", s->half) |
		k_put_num(o, "base", isfinite(s->median) ? exp(s->median) : s->v[0].v);
	for (size_t i = 0; i < s->n && !bad; i++) {
		struct k_json *pair = k_json_array();
		bad = !pair || k_json_push(pair, k_json_new_number(s->v[i].v)) | k_json_push(pair, k_json_new_number(s->v[i].spread));
		bad |= k_json_push(list, pair) != 0;
	}
	if (!bad && k_json_set(o, "v", list) == 0)
		return o;
	if (bad)
		k_json_free(list);
	k_json_free(o);
	return NULL;
}

static int by_change(const void *a, const void *b)
{
	const struct series *x = *(const struct series *const *)a, *y = *(const struct series *const *)b;
	double p = isfinite(x->change) ? fabs(x->change) : -1, q = isfinite(y->change) ? fabs(y->change) : -1;
	if (p != q)
		return p < q ? 1 : -1;
	return strcmp(x->key, y->key);
}

static int give_picture(const struct trends *t, struct k_err *err)
{
	const struct series **order = k_calloc(t->n + 1, sizeof(*order));
	struct k_json *list = k_json_array();
	for (size_t i = 0; order && i < t->n; i++)
		order[i] = &t->s[i];
	if (order)
		qsort(order, t->n, sizeof(*order), by_change);
	for (size_t i = 0; order && list && i < t->n; i++)
		if (k_json_push(list, drawn(order[i])) < 0) {
			k_json_free(list);
			list = NULL;
		}
	if (!order) {
		k_json_free(list);
		list = NULL;
	}
	k_free(order);
	return k_report_aside(t->b->rep, list, err);
}

static int report(struct trends *t, size_t records, int64_t torn, struct k_err *err)
{
	double worst = NAN;
	int r = 0;
	for (size_t i = 0; i < t->n && r == 0; i++) {
		struct series *s = &t->s[i];
		judge(s);
		double bad = s->metric->more_is_better ? -s->change : s->change;        /* as a time: above 0 is slower */
		worst = isfinite(bad) && !(bad <= worst) ? bad : worst;
		r = report_series(t, s, err);
	}
	if (r == 0 && k_report_draws(t->b->rep))
		r = give_picture(t, err);
	if (r < 0)
		return r;
	struct k_json *o = k_json_object();
	if (o && (k_put_str(o, "what", "trends") | k_put_str(o, "history", t->b->history) | k_put_int(o, "records", (int64_t)records) |
		k_put_int(o, "torn", torn) | k_put_int(o, "series", (int64_t)t->n) | k_put_int(o, "slower", t->slower) |
		k_put_int(o, "faster", t->faster) | k_put_int(o, "busy", t->busy) | k_put_f32(o, "worst", exp(worst) - 1))) {
		k_json_free(o);
		o = NULL;
	}
	return k_report_summary(t->b->rep, o, err);
}

int k_bench_trends(struct k_bench *b, struct k_err *err)
{
	struct trends t = { .b = b };
	struct k_json *records = NULL;
	int64_t torn;
	int r = b->history ? k_history_read(b->history, &records, &torn, err) : k_err_set(err, K_EUSAGE, "trends wants --history FILE");
	k_map_init(&t.by_key);
	for (size_t i = 0; r == 0 && i < k_json_len(records); i++)
		r = add_record(&t, k_json_at(records, i), err);
	if (r == 0)
		r = report(&t, k_json_len(records), torn, err);
	for (size_t i = 0; i < t.n; i++) {
		k_free(t.s[i].key);
		k_free(t.s[i].v);
	}
	k_free(t.s);
	k_map_fini(&t.by_key);
	k_json_free(records);
	return r;
}
