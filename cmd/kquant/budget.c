/* budget.c: see budget.h.
 *
 *   measure    a few runs of rows of each tensor, through each type that it may get
 *   shrink     from what every tensor has, the step that costs the least error a byte, until the sum fits
 *   mend       steps back where there is room, the one that gains most first; then pairs, one tensor back and another on */
#include "libcore/base.h"
#include "cmd/kquant/budget.h"
#include "libcore/log.h"

enum { RUNS = 4, SAMPLE = 1 << 18, EXCHANGES = 64 };

struct item { struct k_choices can; uint64_t bytes[K_CHOICES]; double error[K_CHOICES]; int at; };

/* --- measure -------------------------------------------------------------------------------------------------------------- */

struct sample { void *src; float *x, *y; void *dst; };

static void free_sample(struct sample *s)
{
	k_free(s->src);
	k_free(s->x);
	k_free(s->y);
	k_free(s->dst);
}

/* Rows of a run: whole granules of every type that could be asked for. */
static int64_t run_rows(const struct k_entry *e)
{
	int64_t want = SAMPLE / RUNS / K_MAX(k_entry_cols(e), 1) / 128 * 128;

	return K_MIN(K_MAX(want, 128), k_entry_rows(e));
}

static int new_sample(struct sample *s, const struct k_entry *e, struct k_err *err)
{
	size_t cols = (size_t)k_entry_cols(e), rows = (size_t)run_rows(e), values = rows * cols;

	s->src = k_alloc(k_qtype_rows_bytes(e->type, (int64_t)cols, (int64_t)rows));
	s->x = k_alloc(values * sizeof(*s->x));
	s->y = k_alloc(cols * sizeof(*s->y));
	/* No type that is chosen has more bytes than floats have, but for a scale a row. */
	s->dst = k_alloc(values * sizeof(float) + 64 * rows);
	if (s->src && s->x && s->y && s->dst)
		return 0;
	return k_err_nomem(err, 3 * values * sizeof(float), "a sample of a tensor");
}

static void unpack(const struct k_qtype *t, const void *p, int64_t cols, int64_t rows, int64_t row, float *to)
{
	int64_t first = row - row % t->granule;

	t->dequant(to, (const char *)p + k_qtype_rows_bytes(t, cols, first), cols, (int)K_MIN((int64_t)t->granule, rows - first), (int)(row - first));
}

/* Squared error of n rows as type t. */
static int error_of(const struct k_qtype *t, struct sample *s, int64_t cols, int64_t n, const struct k_quant_opts *q, double *out, struct k_err *err)
{
	*out = 0;
	for (int64_t r = 0; r < n; r += t->granule)
		if (t->quant((char *)s->dst + k_qtype_rows_bytes(t, cols, r), s->x + r * cols, cols, (int)K_MIN((int64_t)t->granule, n - r), q, err) < 0)
			return err->code;
	for (int64_t r = 0; r < n; r++) {
		unpack(t, s->dst, cols, n, r, s->y);
		for (int64_t c = 0; c < cols; c++) {
			double d = (double)s->x[r * cols + c] - s->y[c];

			*out += d * d;
		}
	}
	return 0;
}

/* Adds the run of slice `slice` in its middle to the sums. */
static int add_run(const struct k_budget *b, int i, int64_t slice, struct item *it, struct sample *s, double *x2, struct k_err *err)
{
	const struct k_entry *e = &b->in->entries[i];
	int64_t cols = k_entry_cols(e), n = run_rows(e), row = (k_entry_rows(e) - n) / 2 / 128 * 128;
	uint64_t off = (uint64_t)slice * k_entry_slice_bytes(e) + k_qtype_rows_bytes(e->type, cols, row);
	double sum;

	if (k_ckpt_read(b->in, i, off, s->src, k_qtype_rows_bytes(e->type, cols, n), err) < 0)
		return err->code;
	if (k_ckpt_check_block(b->in, i, off, s->src, k_qtype_rows_bytes(e->type, cols, n), err) < 0)
		return err->code;
	for (int64_t r = 0; r < n; r++)
		unpack(e->type, s->src, cols, n, r, s->x + r * cols);
	for (int64_t k = 0; k < n * cols; k++)
		*x2 += (double)s->x[k] * s->x[k];
	for (int k = 1; k < it->can.n; k++) {
		if (error_of(it->can.type[k], s, cols, n, b->quant, &sum, err) < 0)
			return err->code;
		it->error[k] += sum;
	}
	return 0;
}

static int measure(const struct k_budget *b, int i, struct item *it, struct k_err *err)
{
	const struct k_entry *e = &b->in->entries[i];
	int64_t slices = k_entry_slices(e), runs = K_MIN(slices, (int64_t)RUNS);
	struct sample s = { 0 };
	double x2 = 0;
	int r = 0;

	for (int k = 0; k < it->can.n; k++) {
		uint64_t n;

		if (!k_qtype_slice_bytes(it->can.type[k], k_entry_rows(e), k_entry_cols(e), &n) || __builtin_mul_overflow(n, (uint64_t)slices, &n) || n > INT64_MAX)
			return k_err_set(err, K_ESHAPE, "'%s' is too large", e->name);
		/* Nearly as a container places them. */
		it->bytes[k] = k_align_up(n, n < 65536 ? 64 : 4096);
	}
	if (it->can.n < 2)
		return 0;
	r = new_sample(&s, e, err);
	for (int64_t k = 0; r == 0 && k < runs; k++)
		r = add_run(b, i, slices * k / runs, it, &s, &x2, err);
	for (int k = 1; k < it->can.n; k++)
		it->error[k] = x2 > 0 ? it->error[k] / x2 : 0;
	free_sample(&s);
	return r;
}

/* --- choose --------------------------------------------------------------------------------------------------------------- */

struct plan { struct item *item; int n; uint64_t sum; };

static void move(struct plan *p, int i, int to)
{
	struct item *it = &p->item[i];

	p->sum = p->sum - it->bytes[it->at] + it->bytes[to];
	it->at = to;
}

/* false: nothing can get smaller. */
static bool shrink(struct plan *p)
{
	int best = -1, best_to = 0;
	double least = 0;

	for (int i = 0; i < p->n; i++) {
		const struct item *it = &p->item[i];

		for (int k = it->at + 1; k < it->can.n; k++) {
			double cost = (it->error[k] - it->error[it->at]) / (double)(it->bytes[it->at] - it->bytes[k]);

			if (best < 0 || cost < least) {
				least = cost;
				best = i;
				best_to = k;
			}
		}
	}
	if (best >= 0)
		move(p, best, best_to);
	return best >= 0;
}

/* The step of one tensor that gains most error and needs no more than `room` bytes; `not` stays. */
static double best_step(const struct plan *p, uint64_t room, int not, int *item, int *to)
{
	double most = 0;

	for (int i = 0; i < p->n; i++)
		for (int k = 0; k < p->item[i].at && i != not; k++) {
			const struct item *it = &p->item[i];
			double gain = it->error[it->at] - it->error[k];

			if (it->bytes[k] - it->bytes[it->at] <= room && gain > most) {
				most = gain;
				*item = i;
				*to = k;
			}
		}
	return most;
}

/* One tensor gets smaller for another that gains more. */
static bool exchange(struct plan *p, uint64_t limit)
{
	int best[4] = { 0 }, item = 0, to = 0;
	double most = 1e-15;

	for (int i = 0; i < p->n; i++)
		for (int k = p->item[i].at + 1; k < p->item[i].can.n; k++) {
			const struct item *it = &p->item[i];
			uint64_t room = limit - (p->sum - it->bytes[it->at] + it->bytes[k]);
			double gain = best_step(p, room, i, &item, &to) - (it->error[k] - it->error[it->at]);

			if (gain > most) {
				most = gain;
				memcpy(best, (int[]){ i, k, item, to }, sizeof(best));
			}
		}
	if (most <= 1e-15)
		return false;
	move(p, best[0], best[1]);
	move(p, best[2], best[3]);
	return true;
}

/* false: the smallest sum is above the limit. */
static bool fit(struct plan *p, uint64_t limit)
{
	int item = 0, to = 0;

	p->sum = 0;
	for (int i = 0; i < p->n; i++) {
		p->item[i].at = 0;
		p->sum += p->item[i].bytes[0];
	}
	while (p->sum > limit)
		if (!shrink(p))
			return false;
	while (best_step(p, limit - p->sum, -1, &item, &to) > 0)
		move(p, item, to);
	for (int i = 0; i < EXCHANGES && exchange(p, limit); i++)
		;
	return true;
}

static int set_types(const struct k_budget *b, const struct plan *p, struct k_entry *out, int *n_changed, struct k_err *err)
{
	*n_changed = 0;
	for (int i = 0; i < p->n; i++) {
		out[i] = b->in->entries[i];
		out[i].type = p->item[i].can.type[p->item[i].at];
		if (out[i].type == b->in->entries[i].type)
			continue;
		out[i].form = NULL;
		if (k_entry_size(&out[i], err) < 0)
			return err->code;
		++*n_changed;
	}
	return 0;
}

static int too_small(const struct k_budget *b, struct plan *p, struct k_entry *out, struct k_err *err)
{
	uint64_t least;
	int changed;

	for (int i = 0; i < p->n; i++)
		p->item[i].at = p->item[i].can.n - 1;
	if (set_types(b, p, out, &changed, err) < 0 || b->total(b->arg, out, &least, err) < 0)
		return err->code;
	return k_err_set(err, K_ENOMEM, "'%s': the smallest output that the rules allow has %llu bytes, --budget is %llu", b->in->path,
		(unsigned long long)least, (unsigned long long)b->bytes);
}

static uint64_t least_sum(const struct plan *p)
{
	uint64_t sum = 0;

	for (int i = 0; i < p->n; i++)
		sum += p->item[i].bytes[p->item[i].can.n - 1];
	return sum;
}

/* What heads, gaps and trailer take is known when the types are: what the output has too much, the sum of entries gets less. */
static int search(const struct k_budget *b, struct plan *p, struct k_entry *out, int *n_changed, struct k_err *err)
{
	uint64_t limit = b->bytes, least = least_sum(p), total = 0;

	while (limit >= least && fit(p, limit)) {
		if (set_types(b, p, out, n_changed, err) < 0 || b->total(b->arg, out, &total, err) < 0)
			return err->code;
		if (total <= b->bytes)
			return 0;
		if (limit == least)
			break;
		limit = limit - least > total - b->bytes ? limit - (total - b->bytes) : least;
	}
	return too_small(b, p, out, err);
}

static void tell(const struct plan *p, const struct k_entry *out, struct k_log *log)
{
	double sum = 0;

	for (int i = 0; i < p->n; i++) {
		sum += p->item[i].error[p->item[i].at];
		if (p->item[i].can.n > 1)
			k_logf(log, K_LOG_DEBUG, "%s: %s, predicted error %.4g", out[i].name, out[i].type->name, p->item[i].error[p->item[i].at]);
	}
	k_logf(log, K_LOG_INFO, "predicted error %.6g", sum);
}

int k_budget_choose(const struct k_budget *b, struct k_entry *out, int *n_changed, const struct k_ctx *ctx, struct k_err *err)
{
	struct plan p = { .n = b->in->n_entries };
	size_t room = (size_t)p.n + 1;
	struct k_choices *can = k_calloc(room, sizeof(*can));
	int r = 0;

	p.item = k_calloc(room, sizeof(*p.item));
	if (p.item && can)
		r = k_policy_choices(b->policy, b->in, can, ctx->log, err);
	else
		r = k_err_nomem(err, room * (sizeof(*can) + sizeof(*p.item)), "the choices");
	for (int i = 0; r == 0 && i < p.n; i++) {
		p.item[i].can = can[i];
		r = k_ctx_check(ctx, err);
		if (r == 0)
			r = measure(b, i, &p.item[i], err);
	}
	if (r == 0)
		r = search(b, &p, out, n_changed, err);
	if (r == 0)
		tell(&p, out, ctx->log);
	k_free(can);
	k_free(p.item);
	return r;
}
