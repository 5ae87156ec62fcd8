/* parity_logits.c: logits, argmax and log-probabilities of a sequence against golden ones, in one pass over its rows. */
#include "libcore/base.h"
#include <math.h>
#include "evals/parity_int.h"

struct rows {
	const struct k_golden_tensor *logits, *which, *argmax, *logprob;
	int64_t next;                   /* row of the golden logits that comes next */
	double d_logits, d_argmax, d_logprob;
};

/* The row of the sequence that golden row i is. */
static int64_t row_of(const struct rows *c, int64_t i, int64_t n)
{
	return c->which ? ((const int32_t *)c->which->data)[i] : n - c->logits->shape[0] + i;
}

static double log_sum(const float *x, int64_t n)
{
	double top = x[0], sum = 0;
	for (int64_t i = 1; i < n; i++)
		top = fmax(top, x[i]);
	for (int64_t i = 0; i < n; i++)
		sum += exp(x[i] - top);
	return log(sum) + top;
}

static void compare_row(struct parity *p, struct rows *c, const struct k_golden_seq *g, int64_t row, const float *x)
{
	int64_t V = p->hp->n_vocab;
	if (c->logits && c->next < c->logits->shape[0] && row_of(c, c->next, g->n) == row) {
		const float *want = (const float *)c->logits->data + c->next++ * V;
		for (int64_t i = 0; i < V && !isnan(c->d_logits); i++)
			c->d_logits = k_parity_worse(c->d_logits, x[i], want[i]);
	}
	if (c->argmax) {
		int32_t want = ((const int32_t *)c->argmax->data)[row];
		double top = x[0];
		for (int64_t i = 1; i < V; i++)
			top = fmax(top, x[i]);
		/* Both logits may be off by the tolerance. */
		c->d_argmax = want < 0 || want >= V ? INFINITY : k_parity_worse(c->d_argmax, top / 2, x[want] / 2.0);
	}
	if (c->logprob && row + 1 < g->n)
		c->d_logprob = k_parity_worse(c->d_logprob, x[g->ids[row + 1]] - log_sum(x, V), ((const float *)c->logprob->data)[row]);
}

static int check_rows(struct parity *p, const struct rows *c, const struct k_golden_seq *g, struct k_err *err)
{
	int64_t last = -1;
	if (c->logits && (!k_parity_is_shape(c->logits, 2, c->logits->shape[0], p->hp->n_vocab, 0) || c->logits->shape[0] > g->n))
		return k_parity_misfit(p, c->logits, err);
	if (c->which && (c->which->type != K_GOLDEN_I32 || !c->logits || c->which->count != c->logits->shape[0]))
		return k_parity_misfit(p, c->which, err);
	for (int64_t i = 0; c->which && i < c->which->count; i++) {
		int64_t row = ((const int32_t *)c->which->data)[i];
		if (row <= last || row >= g->n)
			return k_parity_misfit(p, c->which, err);
		last = row;
	}
	if (c->argmax && (c->argmax->type != K_GOLDEN_I32 || c->argmax->count != g->n))
		return k_parity_misfit(p, c->argmax, err);
	if (c->logprob && (c->logprob->type != K_GOLDEN_F32 || c->logprob->count != g->n - 1))
		return k_parity_misfit(p, c->logprob, err);
	return 0;
}

int k_parity_logits(struct parity *p, const struct k_trace *t, const struct k_trace_seq *s, struct k_err *err)
{
	const struct k_golden_seq *g = s->g;
	int64_t V = p->hp->n_vocab;
	struct rows c = { .logits = k_parity_find(p, p->part, g->name), .which = k_parity_find(p, "rows", g->name) };
	if (!p->only_logits) {
		c.argmax = k_parity_find(p, "argmax", g->name);
		c.logprob = k_parity_find(p, "logprob", g->name);
	}
	if (!c.logits)
		c.which = NULL;
	if (!c.logits && !c.argmax && !c.logprob)
		return 0;
	/* Rows that are all there need no list. */
	if (c.which && c.logits->ndim && c.logits->shape[0] == g->n)
		c.which = NULL;
	int r = check_rows(p, &c, g, err);
	for (int64_t i = 0, n; r == 0 && i < g->n; i += n) {
		n = K_MIN(g->n - i, K_PARITY_ROWS);
		r = k_model_logits(p->m, t->rows + (s->row + i) * p->hp->n_embd, n, p->logits, err);
		for (int64_t k = 0; r == 0 && k < n; k++)
			compare_row(p, &c, g, i + k, p->logits + k * V);
	}
	if (r == 0 && c.logits) {
		p->logits_compared = true;
		p->max_abs = c.d_logits > p->max_abs || isnan(c.d_logits) ? c.d_logits : p->max_abs;
		r = k_parity_item(p, c.logits->name, NO_LAYER, c.d_logits, p->std, err);
	}
	if (r == 0 && c.argmax)
		r = k_parity_item(p, c.argmax->name, NO_LAYER, c.d_argmax, p->std, err);
	if (r == 0 && c.logprob)
		r = k_parity_item(p, c.logprob->name, NO_LAYER, c.d_logprob, 2 * p->std, err);
	return r;
}
