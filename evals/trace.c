/* trace.c: see trace.h. The probe shows rows in the batch's order, cut as the engine likes; row i of the batch belongs to the
 * sequence whose first row is the last one at or before i. */
#include "libcore/base.h"
#include "evals/routing.h"
#include "evals/trace.h"

bool k_trace_keeps_hidden(const struct k_hp *hp, int64_t n)
{
	int64_t bytes;
	return k_mul_i64(n, (hp->n_layer + 1) * hp->n_embd * 4, &bytes) && bytes <= K_TRACE_MAX;
}

bool k_trace_keeps_router(const struct k_hp *hp, int64_t n)
{
	int64_t bytes;
	return hp->n_expert && k_mul_i64(n, hp->n_layer * hp->n_expert_used * 8, &bytes) && bytes <= K_TRACE_MAX;
}

bool k_trace_keeps_scores(const struct k_hp *hp, int64_t n)
{
	int64_t bytes;
	return hp->n_expert && k_mul_i64(n, hp->n_layer * hp->n_expert * 4, &bytes) && bytes <= K_TRACE_MAX;
}

static struct k_trace_seq *owner(struct k_trace *t, int64_t row)
{
	int i = t->n - 1;
	while (i > 0 && t->v[i].row > row)
		i--;
	return &t->v[i];
}

static void on_hidden(void *arg, int layer, const float *x, int64_t n)
{
	struct k_trace *t = arg;
	int64_t D = k_model_hp(t->m)->n_embd;
	for (int64_t i = 0; i < n; i++) {
		int64_t row = t->seen_hidden[layer + 1]++;
		struct k_trace_seq *s = owner(t, row);
		if (s->hidden)
			memcpy(s->hidden + ((layer + 1) * s->g->n + row - s->row) * D, x + i * D, (size_t)D * sizeof(*x));
	}
}

static void on_router(void *arg, int layer, const struct k_routing *r)
{
	struct k_trace *t = arg;
	const struct k_hp *hp = k_model_hp(t->m);
	int64_t k = hp->n_expert_used, E = hp->n_expert;
	for (int64_t i = 0; i < r->n; i++) {
		int64_t row = t->seen_router[layer]++;
		struct k_trace_seq *s = owner(t, row);
		if (!s->experts)
			continue;
		int64_t at = layer * s->g->n + row - s->row;
		memcpy(s->experts + at * k, r->ids + i * k, (size_t)k * sizeof(*r->ids));
		memcpy(s->weights + at * k, r->weights + i * k, (size_t)k * sizeof(*r->weights));
		if (s->scores)
			k_routing_scores(hp, r->logits + i * E, r->bias, s->scores + at * E);
	}
}

static int open_seq(struct k_trace *t, struct k_trace_seq *s, const struct k_golden_seq *g, struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(t->m);
	s->g = g;
	int r = k_seq_new(&s->seq, t->m, err);
	if (r < 0)
		return r;
	if (k_trace_keeps_hidden(hp, g->n)) {
		s->hidden = k_calloc((size_t)((hp->n_layer + 1) * g->n), (size_t)hp->n_embd * sizeof(float));
		if (!s->hidden)
			return k_err_nomem(err, K_TRACE_MAX, "the residual stream");
	}
	if (k_trace_keeps_router(hp, g->n)) {
		size_t n = (size_t)(hp->n_layer * g->n * hp->n_expert_used);
		s->experts = k_calloc(n, sizeof(*s->experts));
		s->weights = k_calloc(n, sizeof(*s->weights));
		bool scores = k_trace_keeps_scores(hp, g->n);
		if (scores)
			s->scores = k_calloc((size_t)(hp->n_layer * g->n), (size_t)hp->n_expert * sizeof(*s->scores));
		if (!s->experts || !s->weights || (scores && !s->scores))
			return k_err_nomem(err, n * 8, "the routing");
	}
	return 0;
}

/* Did the probe show each row of each layer? Copies from a device can fail. */
static int all_seen(const struct k_trace *t, int64_t rows, struct k_err *err)
{
	const struct k_hp *hp = k_model_hp(t->m);
	for (int64_t i = 0; i <= hp->n_layer; i++)
		if (t->seen_hidden[i] != rows || (i < hp->n_layer && k_hp_is_moe(hp, i) && t->seen_router[i] != rows))
			return k_err_set(err, K_EDEVICE, "layer %lld: its rows or its routing could not be copied", (long long)i - 1);
	return 0;
}

int k_trace_run(struct k_trace *t, struct k_model *m, const struct k_golden_seq *seq, int n, struct k_err *err)
{
	struct k_probe probe = { on_hidden, on_router, t };
	int64_t rows = 0;
	size_t layers = (size_t)k_model_hp(m)->n_layer + 1;
	struct k_run *runs = k_calloc((size_t)n, sizeof(*runs));
	memset(t, 0, sizeof(*t));
	t->m = m;
	t->v = k_calloc((size_t)n, sizeof(*t->v));
	t->seen_hidden = k_calloc(layers, sizeof(int64_t));
	t->seen_router = k_calloc(layers, sizeof(int64_t));
	int r = runs && t->v && t->seen_hidden && t->seen_router ? 0 : k_err_nomem(err, layers * 16, "sequences");
	for (; r == 0 && t->n < n; rows += seq[t->n++].n) {
		struct k_trace_seq *s = &t->v[t->n];
		r = open_seq(t, s, &seq[t->n], err);
		s->row = rows;
		runs[t->n] = (struct k_run){ s->seq, seq[t->n].ids, seq[t->n].n, seq[t->n].n };
	}
	if (r == 0)
		r = k_model_step(m, runs, n, &t->rows, &probe, err);
	if (r == 0)
		r = all_seen(t, rows, err);
	k_free(runs);
	if (r < 0)
		k_trace_fini(t);
	return r;
}

void k_trace_fini(struct k_trace *t)
{
	for (int i = 0; t->v && i < t->n; i++) {
		k_seq_free(t->v[i].seq);
		k_free(t->v[i].hidden);
		k_free(t->v[i].experts);
		k_free(t->v[i].weights);
		k_free(t->v[i].scores);
	}
	k_free(t->v);
	k_free(t->seen_hidden);
	k_free(t->seen_router);
	memset(t, 0, sizeof(*t));
}

static int32_t largest(const float *x, int64_t n)
{
	int64_t best = 0;
	for (int64_t i = 1; i < n; i++)
		if (x[i] > x[best])
			best = i;
	return (int32_t)best;
}

int k_trace_greedy(struct k_model *m, const int32_t *prompt, int64_t n_prompt, int32_t *out, int64_t n, struct k_err *err)
{
	int64_t V = k_model_hp(m)->n_vocab;
	const struct k_draw greedy = { .temperature = 0 }, *draw = &greedy;
	struct k_seq *s = NULL;
	const float *hidden;
	float *logits = k_alloc((size_t)V * sizeof(*logits));
	int r = logits ? k_seq_new(&s, m, err) : k_err_nomem(err, (size_t)V * sizeof(*logits), "logits");
	for (int64_t i = 0; r == 0 && i < n; i++) {
		struct k_run run = { s, i ? &out[i - 1] : prompt, i ? 1 : n_prompt, 1 };
		r = k_model_step(m, &run, 1, &hidden, NULL, err);
		if (r == 0)
			r = k_model_choose(m, hidden, 1, &draw, &out[i], logits, err);
		if (r == 0 && out[i] < 0)
			out[i] = largest(logits, V);
	}
	k_seq_free(s);
	k_free(logits);
	return r;
}
