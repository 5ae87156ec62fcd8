/* kld.c: Kullback-Leibler divergence of a model from a reference, KL(reference || model), token by token of a text.
 *
 *   --save-ref   windows -> logits -> the likeliest 512 ids of each row, and what is left over (kldref.h)
 *   --ref        the same windows of another model -> divergence of each row, from below and from above
 *
 * With T the ids that the reference keeps, p the reference and q the model, R and Q the masses outside T:
 *
 *   KL = sum over T of p (log p - log q)  +  S + C,     S = sum outside T of p log p, which is kept
 *                                                       C = - sum outside T of p log q, which is not
 *
 * C lies between what it is when the mass R, with no more than the smallest kept p on an id, is on the likeliest ids of q outside T, and
 * on the least likely ones; and S + C >= R log(R / Q) by the log-sum inequality. That bound is what it is when q errs alike on all of
 * them, and the value that is reported. All in double, each row by itself. */
#include "libcore/base.h"
#include <math.h>
#include <stdlib.h>
#include "evals/pictures.h"
#include "evals/kldref.h"
#include "evals/report.h"
#include "evals/stats.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "libcore/sample.h"

enum { BINS = 2048 };

struct row_kld { double kld, lower, upper, nll, ref_nll; bool agree; };

struct kld {
	struct k_windows w;
	struct k_report *rep;
	struct k_kldref *ref;
	bool save;
	struct row_kld *rows;           /* of the window at work */
	double nll; int64_t scored;     /* of a reference that is written */
};

/* A row with a logit that is none has no distribution, and nothing is said of it: its figures are NaN, and its window fails. */
static bool is_finite_row(const float *x, int64_t vocab)
{
	for (int64_t v = 0; v < vocab; v++)
		if (!isfinite(x[v]))
			return false;
	return true;
}

/* --- the reference ----------------------------------------------------------------------------------------------------------- */

struct rows { struct kld *k; const float *logits; const int32_t *want; int64_t first; int64_t vocab; bool failed; };

/* Sum of p and of p log p over the ids that are not among ids[0..n), which ascend. */
static void left_over(const float *x, int64_t vocab, double log_sum, const uint32_t *ids, int n, double *mass, double *plogp)
{
	int t = 0;
	*mass = *plogp = 0;
	for (int64_t v = 0; v < vocab; v++) {
		if (t < n && ids[t] == (uint32_t)v) {
			t++;
			continue;
		}
		double lp = (double)x[v] - log_sum, p = exp(lp);
		*mass += p;
		*plogp += p > 0 ? p * lp : 0;
	}
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void save_row(void *arg, int64_t i, int worker K_UNUSED)
{
	struct rows *r = arg;
	const float *x = r->logits + i * r->vocab;
	int n = k_kldref_top(r->k->ref);
	struct k_top top[K_KLDREF_TOP];
	uint32_t ids[K_KLDREF_TOP];
	struct k_kldrow row = k_kldref_row(r->k->ref, r->first + i);
	double log_sum = k_log_sum(x, (int32_t)r->vocab), mass, plogp;
	if (!is_finite_row(x, r->vocab)) {
		k_kldref_set(r->k->ref, r->first + i, NAN, NAN, NAN);
		return;
	}
	k_logprob_top(x, (int32_t)r->vocab, top, n);
	for (int t = 0; t < n; t++) {
		ids[t] = (uint32_t)top[t].id;
		((uint32_t *)row.id)[t] = ids[t];
		((float *)row.logp)[t] = top[t].logprob;
	}
	qsort(ids, (size_t)n, sizeof(*ids), by_id);
	left_over(x, r->vocab, log_sum, ids, n, &mass, &plogp);
	/* Of finite logits too, one may be so far below another that the float between them is infinite. */
	k_kldref_set(r->k->ref, r->first + i, isfinite(top[n - 1].logprob) ? log_sum - (double)x[r->want[i]] : NAN, mass, plogp);
}

/* --- the comparison ---------------------------------------------------------------------------------------------------------- */

/* The ids outside T by their log q: how many in each of BINS bins of equal width, with the mass of all. */
struct outside { int32_t count[BINS]; double lo, width, mass; };

static void fill_outside(struct outside *o, const float *x, int64_t vocab, double log_sum, const uint32_t *ids, int n)
{
	double lo = INFINITY, hi = -INFINITY;
	int t = 0;
	memset(o, 0, sizeof(*o));
	for (int64_t v = 0; v < vocab; v++) {
		if (t < n && ids[t] == (uint32_t)v) {
			t++;
			continue;
		}
		double lq = (double)x[v] - log_sum;
		lo = fmin(lo, lq);
		hi = fmax(hi, lq);
		o->mass += exp(lq);
	}
	o->lo = lo;
	o->width = hi > lo ? (hi - lo) / BINS : 0;
	t = 0;
	for (int64_t v = 0; v < vocab; v++) {
		if (t < n && ids[t] == (uint32_t)v) {
			t++;
			continue;
		}
		double at = o->width > 0 ? ((double)x[v] - log_sum - lo) / o->width : 0;
		o->count[at >= BINS ? BINS - 1 : (int)at]++;
	}
}

/* - sum p log q with a mass, at most cap on an id, on the likeliest ids (most) or on the least likely: not less, and not more, than any p
 * can give, as each bin counts with its outer edge. */
static double cross(const struct outside *o, double mass, double cap, bool most)
{
	double sum = 0, log_q = 0;
	for (int i = 0; i < BINS && mass > 0; i++) {
		int bin = most ? BINS - 1 - i : i;
		if (!o->count[bin])
			continue;
		double here = fmin(mass, o->count[bin] * cap);
		log_q = o->lo + o->width * (most ? bin + 1 : bin);
		sum -= here * log_q;
		mass -= here;
	}
	/* Rounding may leave a little that found no room. */
	return sum - mass * log_q;
}

static void compare_row(void *arg, int64_t i, int worker K_UNUSED)
{
	struct rows *r = arg;
	const float *x = r->logits + i * r->vocab;
	int n = k_kldref_top(r->k->ref);
	struct k_kldrow row = k_kldref_row(r->k->ref, r->first + i);
	struct row_kld *out = &r->k->rows[r->first + i];
	double log_sum = k_log_sum(x, (int32_t)r->vocab), kept = 0, slack = 0, cap = exp((double)row.logp[n - 1]);
	int32_t best = 0;
	uint32_t ids[K_KLDREF_TOP];
	struct outside o;
	if (!is_finite_row(x, r->vocab)) {
		*out = (struct row_kld){ .kld = NAN, .lower = NAN, .upper = NAN, .nll = NAN, .ref_nll = row.nll };
		return;
	}
	for (int t = 0; t < n; t++) {
		double lp = row.logp[t], lq = (double)x[row.id[t]] - log_sum, p = exp(lp);
		ids[t] = row.id[t];
		kept += p * (lp - lq);
		/* Half a unit of a float in log p, and what it does to p. */
		slack += p * fabs(lp) * (1 + fabs(lp - lq)) * 0x1p-23;
	}
	for (int64_t v = 1; v < r->vocab; v++)
		best = x[v] > x[best] ? (int32_t)v : best;
	*out = (struct row_kld){ .nll = log_sum - (double)x[r->want[i]], .ref_nll = row.nll, .agree = row.id[0] == (uint32_t)best };
	out->kld = out->lower = out->upper = kept;
	if (row.mass > 0 && n < r->vocab) {
		qsort(ids, (size_t)n, sizeof(*ids), by_id);
		fill_outside(&o, x, r->vocab, log_sum, ids, n);
		out->kld += row.mass * log(row.mass / o.mass);
		out->lower += fmax(row.mass * log(row.mass / o.mass), row.plogp + cross(&o, row.mass, cap * (1 + 0x1p-20), true));
		out->upper += row.plogp + cross(&o, row.mass, cap * (1 + 0x1p-20), false);
	}
	out->lower = fmax(out->lower - slack, 0);
	out->upper = fmax(out->upper + slack, out->lower);
	out->kld = fmin(fmax(out->kld, out->lower), out->upper);
}

/* A file's ids are looked up in logits; and fmax and fmin would make a divergence of nothing out of a value that is no number. */
static int check_row(const struct kld *k, int64_t i, int64_t r, int64_t vocab, struct k_err *err)
{
	struct k_kldrow row = k_kldref_row(k->ref, r);
	int n = k_kldref_top(k->ref);
	double values[] = { row.nll, row.mass, row.plogp };
	for (int t = 0; t < n; t++)
		if (row.id[t] >= vocab)
			return k_err_set(err, K_EFORMAT, "'%s' has id %u, the vocabulary has %lld", k->w.o->ref, row.id[t], (long long)vocab);
	for (size_t v = 0; v < K_LEN(values); v++)
		if (!isfinite(values[v]))
			return k_err_set(err, K_EFORMAT, "'%s': window %lld, row %lld: the %s is %g, wanted a number", k->w.o->ref, (long long)i, (long long)r,
				v == 0 ? "nll" : v == 1 ? "mass" : "sum of p log p", values[v]);
	for (int t = 0; t < n; t++)
		if (!isfinite(row.logp[t]))
			return k_err_set(err, K_EFORMAT, "'%s': window %lld, row %lld: log p of id %u is %g, wanted a number", k->w.o->ref, (long long)i,
				(long long)r, row.id[t], (double)row.logp[t]);
	return 0;
}

static int add_rows(void *arg, int64_t i, int64_t row, int64_t n, const int32_t *want, const float *logits, struct k_err *err)
{
	struct kld *k = arg;
	struct rows rows = { .k = k, .logits = logits, .want = want, .first = row, .vocab = k_model_hp(k->w.m)->n_vocab };
	struct k_window w = k_window_at(&k->w, i);
	if (!k->save && row == 0) {
		int r = k_kldref_read(k->ref, i, err);
		for (int64_t at = 0; r == 0 && at < w.to - w.score; at++)
			r = check_row(k, i, at, rows.vocab, err);
		if (r < 0)
			return r;
	}
	k_pool_each(k->w.ctx->pool, n, k->save ? save_row : compare_row, &rows);
	return 0;
}

/* --- items ------------------------------------------------------------------------------------------------------------------- */

/* As floats, which is what a report keeps of them. */
static struct k_json *values_json(const struct kld *k, int64_t n)
{
	struct k_json *list = k_json_array();
	for (int64_t i = 0; list && i < n; i++) {
		if (k_json_push(list, k_json_new_number((double)(float)k->rows[i].kld))) {
			k_json_free(list);
			list = NULL;
		}
	}
	return list;
}

static int put_figures(const struct kld *k, int64_t i, struct k_json *item)
{
	struct k_window w = k_window_at(&k->w, i);
	double kld = 0, lower = 0, upper = 0, nll = 0, ref_nll = 0;
	int64_t agree = 0, failed = 0;
	for (int64_t r = 0; r < w.to - w.score; r++) {
		const struct row_kld *x = &k->rows[r];
		kld += x->kld;
		lower += x->lower;
		upper += x->upper;
		nll += x->nll;
		ref_nll += x->ref_nll;
		agree += x->agree;
		failed += !isfinite(x->kld);
	}
	struct k_json *values = values_json(k, w.to - w.score);
	return !values ? -1 : k_put_num(item, "kld", kld) | k_put_num(item, "lower", lower) | k_put_num(item, "upper", upper) |
		k_put_num(item, "nll", nll) | k_put_num(item, "ref_nll", ref_nll) | (failed ? k_put_null(item, "agree") : k_put_int(item, "agree", agree)) |
		k_json_set(item, "values", values);
}

/* From the rows of a reference. */
static double saved_nll(const struct kld *k, int64_t i)
{
	struct k_window w = k_window_at(&k->w, i);
	double nll = 0;
	for (int64_t r = 0; r < w.to - w.score; r++)
		nll += k_kldref_row(k->ref, r).nll;
	return nll;
}

static int report_window(struct kld *k, int64_t i, struct k_err *err)
{
	struct k_window w = k_window_at(&k->w, i);
	double nll = k->save ? saved_nll(k, i) : 0;
	char key[48];
	if (k->save) {
		k->nll += nll;
		k->scored += w.to - w.score;
		if (k_report_have(k->rep, k_window_key(i, key)))
			return 0;
	}
	struct k_json *item = k_json_object();
	if (item && (k_put_int(item, "from", w.from) | k_put_int(item, "tokens", w.to - w.score) |
		(k->save ? k_put_num(item, "nll", nll) : put_figures(k, i, item)))) {
		k_json_free(item);
		item = NULL;
	}
	if (item && !k->save)
		nll = k_get_num(item, "kld") + k_get_num(item, "nll");
	return k_report_item(k->rep, k_window_key(i, key), item, isfinite(nll),
		k->save ? "the log-probability of a token is not finite" : "the divergence of a token is not finite", err);
}

static int end_window(void *arg, int64_t i, struct k_err *err)
{
	struct kld *k = arg;
	int r = k->save ? k_kldref_put(k->ref, i, err) : 0;
	return r < 0 ? r : report_window(k, i, err);
}

/* What an earlier run reported of window i. */
static bool take_old(struct kld *k, int64_t i)
{
	char key[48];
	return k_report_have(k->rep, k_window_key(i, key));
}

/* --- the run ----------------------------------------------------------------------------------------------------------------- */

static int save(struct kld *k, struct k_err *err)
{
	const struct k_window_use use = { add_rows, end_window, k };
	struct k_json *s = NULL;
	int64_t done;
	uint64_t bytes = 0;
	int r = k_windows_begin(&k->w, NULL, k->rep, err);
	if (r == 0)
		r = k_kldref_create(&k->ref, k->w.o->save_ref, &k->w, &done, err);
	for (int64_t i = 0; r == 0 && i < done; i++) {
		r = k_kldref_read(k->ref, i, err);
		if (r == 0)
			r = report_window(k, i, err);
	}
	if (r == 0)
		r = k_windows_run(&k->w, done, &use, err);
	/* What is not a number is in the sum, and in no reference. */
	bool whole = isfinite(k->nll);
	if (r == 0 && !whole)
		k_logf(k->w.ctx->log, K_LOG_WARN, "'%s' is not written: a reference holds numbers only", k->w.o->save_ref);
	if (r == 0)
		r = whole ? k_kldref_commit(k->ref, &bytes, err) : k_kldref_drop(k->ref, err);
	if (r < 0)
		return r;
	s = k_json_object();
	if (s && (k_windows_put(&k->w, s) | k_put_num(s, "nll", k->nll / (double)k->scored) | k_put_num(s, "ppl", exp(k->nll / (double)k->scored)) |
		k_put_int(s, "tokens", k->scored) | (whole ? k_put_int(s, "bytes", (int64_t)bytes) : k_put_null(s, "bytes")))) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(k->rep, s, err);
}

/* Sums over items: NaN where an item failed. What is not known of a part is not known of the whole. */
struct sums {
	double kld, lower, upper, squares, nll, ref_nll;
	double agree;
	int64_t tokens;
	double *values; size_t n_values;        /* divergence of each token, as a float holds it */
};

static void tally(struct sums *t, const struct k_json *item)
{
	const struct k_json *values = k_json_find(item, "values");
	t->tokens += k_get_count(item, "tokens");
	t->kld += k_get_num(item, "kld");
	t->lower += k_get_num(item, "lower");
	t->upper += k_get_num(item, "upper");
	t->nll += k_get_num(item, "nll");
	t->ref_nll += k_get_num(item, "ref_nll");
	t->agree += k_get_num(item, "agree");
	for (size_t i = 0; i < k_json_len(values); i++) {
		double x = t->values[t->n_values++] = (float)k_json_number(k_json_at(values, i));
		t->squares += x * x;
	}
}

static int put_sums(struct sums *t, struct k_json *s)
{
	double n = (double)t->tokens, mean = t->kld / n, error = NAN, p99 = NAN, max = NAN;
	if (isfinite(mean))
		error = k_stats_stderr(t->kld, t->squares, t->tokens);
	if (isfinite(mean) && t->n_values) {
		k_stats_sort(t->values, t->n_values);
		p99 = k_stats_percentile(t->values, t->n_values, 0.99);
		max = t->values[t->n_values - 1];
	}
	return k_put_num(s, "kld_mean", mean) | k_put_num(s, "kld_stderr", error) | k_put_f32(s, "kld_p99", p99) |
		k_put_f32(s, "kld_max", max) | k_put_num(s, "kld_lower", t->lower / n) | k_put_num(s, "kld_upper", t->upper / n) |
		k_put_num(s, "top1_agree", t->agree / n) | k_put_num(s, "ppl_ratio", exp((t->nll - t->ref_nll) / n)) |
		k_put_num(s, "ppl", exp(t->nll / n)) | k_put_num(s, "ref_ppl", exp(t->ref_nll / n)) | k_put_int(s, "tokens", t->tokens);
}

static int summarise(const struct k_json *head K_UNUSED, const struct k_json *items, struct k_json *s, struct k_err *err)
{
	struct sums t = { 0 };
	size_t n = 1;
	for (size_t i = 0; i < k_json_len(items); i++)
		n += k_json_len(k_json_find(k_json_at(items, i), "values"));
	t.values = k_calloc(n, sizeof(*t.values));
	if (!t.values)
		return k_err_nomem(err, n * sizeof(*t.values), "divergences");
	for (size_t i = 0; i < k_json_len(items); i++)
		tally(&t, k_json_at(items, i));
	int bad = put_sums(&t, s) | k_put_int(s, "windows", (int64_t)k_json_len(items));
	k_free(t.values);
	return bad ? k_err_nomem(err, 256, "the summary") : 0;
}

static int compare(struct kld *k, struct k_err *err)
{
	const struct k_window_use use = { add_rows, end_window, k };
	int64_t next = k->w.first;
	char digest[65];
	int r = k_kldref_open(&k->ref, k->w.o->ref, &k->w, err);
	if (r < 0)
		return r;
	k->rows = k_calloc((size_t)k->w.window, sizeof(*k->rows));
	if (!k->rows)
		return k_err_nomem(err, (size_t)k->w.window * sizeof(*k->rows), "divergences");
	k_kldref_digest(k->ref, digest);
	r = k_windows_begin(&k->w, digest, k->rep, err);
	while (r == 0 && next < k->w.n && take_old(k, next))
		next += k->w.step;
	if (r == 0)
		r = k_windows_run(&k->w, next, &use, err);
	return r < 0 ? r : k_report_sum(k->rep, summarise, err);
}

static int kld_run(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct kld k = { .rep = rep, .save = o->save_ref != NULL };
	if (!o->save_ref == !o->ref)
		return k_err_set(err, K_EUSAGE, "kld wants one of --save-ref FILE, written by the reference, and --ref FILE, compared with");
	if (o->save_ref && o->parts)
		return k_err_set(err, K_EUSAGE, "--part: a reference is one file and has no parts; the comparison with it has");
	int r = k_windows_init(&k.w, "kld", m, o, ctx, err);
	if (r == 0)
		r = k.save ? save(&k, err) : compare(&k, err);
	k_kldref_close(k.ref);
	k_free(k.rows);
	k_windows_fini(&k.w);
	return r;
}

const struct k_eval k_eval_kld = {
	.name = "kld",
	.about = "divergence from a reference on a text (-f): --save-ref FILE by the reference model, then --ref FILE",
	.fields = "kld_mean kld_stderr kld_p99 kld_max kld_lower kld_upper top1_agree ppl_ratio ppl ref_ppl nll tokens bytes",
	.draw = k_draw_kld,
	.run = kld_run,
	.summarise = summarise,
};
