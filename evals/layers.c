/* layers.c: see layers.h. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/layers.h"
#include "evals/routing.h"

const char *const k_part_names[K_N_PART] = { "conv", "state", "scores", "experts", "weights", "hidden", "logits" };

struct walk {
	struct k_layers *w;
	int64_t layer;
	uint8_t *tied, *other;          /* by token: tied in a layer before; has other experts in this one */
	bool any;                       /* a token is tied */
};
struct pair { const struct k_golden_tensor *a, *b; };

static int misfit(const struct walk *k, const struct k_golden_tensor *t, struct k_err *err)
{
	char shape[128];
	return k_err_set(err, K_ESHAPE, "'%s': %s has shape %s, which does not belong to %lld tokens or differs from '%s'", k->w->a->path,
		t->name, k_shape_format(shape, t->ndim, t->shape), (long long)k->w->n, k->w->b->path);
}

static bool is_like(const struct k_golden_tensor *t, enum k_golden_type type, int ndim, int64_t dim0)
{
	return t->type == type && t->ndim == ndim && (dim0 < 0 || t->shape[0] == dim0);
}

/* Both have it: 1. It is of that type then, has ndim dimensions, of which the first is dim0 (unless that is < 0), and b's are the same. What
 * only a has is as well checked. */
static int find(const struct walk *k, struct pair *p, const char *part, const char *what, enum k_golden_type type, int ndim,
	int64_t dim0, struct k_err *err)
{
	char name[600];
	if (what)
		snprintf(name, sizeof(name), "%s/%s/layer%lld.%s", part, k->w->seq, (long long)k->layer, what);
	else
		snprintf(name, sizeof(name), "%s/%s", part, k->w->seq);
	p->a = k_golden_find(k->w->a, name);
	p->b = p->a ? k_golden_find(k->w->b, name) : NULL;
	k->w->missing += p->a && !p->b;
	if (p->a && !is_like(p->a, type, ndim, dim0))
		return misfit(k, p->a, err);
	if (p->b && (!is_like(p->b, type, ndim, dim0) || memcmp(p->a->shape, p->b->shape, (size_t)ndim * sizeof(p->a->shape[0]))))
		return misfit(k, p->a, err);
	return p->b != NULL;
}

/* --- measures --------------------------------------------------------------------------------------------------------------- */

static double finite_or_inf(double x) { return isnan(x) ? INFINITY : x; }

struct measure { double difference, size, max_abs; };           /* sums of squares */

static void add(struct measure *m, double a, double b)
{
	double d = b - a;
	m->difference += d * d;
	m->size += a * a;
	m->max_abs = fmax(m->max_abs, finite_or_inf(fabs(d)));
}

static struct k_spot spot_of(const struct walk *k, enum k_part part, int64_t token, const struct measure *m)
{
	double ratio = m->difference == 0 ? 0 : sqrt(m->difference / m->size);
	return (struct k_spot){ k->layer, part, token, finite_or_inf(ratio), m->max_abs, false };
}

static bool tell(const struct walk *k, struct k_spot s, bool tied)
{
	s.tied = tied;
	return k->w->spot(k->w->arg, &s);
}

/* --- a layer ------------------------------------------------------------------------------------------------------------------ */

/* [3][channels][taps - 1]: column j is token n - (taps - 1) + j. */
static int walk_conv(struct walk *k, struct k_err *err)
{
	struct pair p;
	int r = find(k, &p, "kda", "conv", K_GOLDEN_F32, 3, 3, err);
	if (r <= 0)
		return r;
	int64_t taps = p.a->shape[2], rows = taps ? p.a->count / taps : 0;
	const float *a = p.a->data, *b = p.b->data;
	k->w->compared++;
	for (int64_t j = 0; j < taps; j++) {
		struct measure m = { 0 };
		int64_t token = k->w->n - taps + j;
		for (int64_t i = 0; i < rows; i++)
			add(&m, a[i * taps + j], b[i * taps + j]);
		tell(k, spot_of(k, K_PART_CONV, K_MAX(token, 0), &m), token >= 0 && k->tied[token]);
	}
	return 0;
}

static int walk_state(struct walk *k, struct k_err *err)
{
	struct pair p;
	int r = find(k, &p, "kda", "state", K_GOLDEN_F32, 3, -1, err);
	if (r <= 0)
		return r;
	int64_t heads = p.a->shape[0], size = heads ? p.a->count / heads : 0;
	const float *a = p.a->data, *b = p.b->data;
	k->w->compared++;
	for (int64_t h = 0; h < heads; h++) {
		struct measure m = { 0 };
		for (int64_t i = h * size; i < (h + 1) * size; i++)
			add(&m, a[i], b[i]);
		tell(k, spot_of(k, K_PART_STATE, -1, &m), k->any);
	}
	return 0;
}

static int walk_scores(struct walk *k, struct pair *p, struct k_err *err)
{
	int r = find(k, p, "router", "scores", K_GOLDEN_F32, 2, k->w->n, err);
	if (r <= 0)
		return r;
	int64_t E = p->a->shape[1];
	k->w->compared++;
	for (int64_t t = 0; t < k->w->n; t++) {
		struct measure m = { 0 };
		for (int64_t e = t * E; e < (t + 1) * E; e++)
			add(&m, ((const float *)p->a->data)[e], ((const float *)p->b->data)[e]);
		struct k_spot s = spot_of(k, K_PART_SCORES, t, &m);
		s.diff = isinf(s.diff) ? s.diff : m.max_abs;
		tell(k, s, k->tied[t]);
	}
	return 0;
}

static int check_ids(const struct walk *k, const struct pair *p, int64_t E, struct k_err *err)
{
	for (int64_t i = 0; i < p->a->count; i++) {
		int32_t id = ((const int32_t *)p->a->data)[i];
		if (id < 0 || id >= E)
			return k_err_set(err, K_EFORMAT, "'%s': %s has expert %d of %lld", k->w->a->path, p->a->name, id, (long long)E);
	}
	return 0;
}

static int walk_experts(struct walk *k, const struct k_golden_tensor *scores, struct k_err *err)
{
	const struct k_golden *set = k->w->a;
	struct pair p;
	int64_t groups = K_MAX(set->groups, 1), kept = K_MAX(set->groups_kept, 1);
	int r = find(k, &p, "router", "experts", K_GOLDEN_I32, 2, k->w->n, err);
	if (r <= 0)
		return r;
	int64_t used = p.a->shape[1], E = scores ? scores->shape[1] : 0;
	if (scores && (E % groups || kept > groups || (r = check_ids(k, &p, E, err)) < 0))
		return r < 0 ? r : misfit(k, scores, err);
	k->w->compared++;
	for (int64_t t = 0; t < k->w->n; t++) {
		const int32_t *a = (const int32_t *)p.a->data + t * used, *b = (const int32_t *)p.b->data + t * used;
		struct k_spot s = { k->layer, K_PART_EXPERTS, t, 0, 0, false };
		k->other[t] = memcmp(a, b, (size_t)used * sizeof(*a)) != 0;
		if (k->other[t])
			s.diff = !scores ? INFINITY : k_routing_margin((const float *)scores->data + t * E, E, a, used, groups, kept);
		if (tell(k, s, k->tied[t]) && k->other[t])
			k->tied[t] = k->any = true;
	}
	return 0;
}

static int walk_weights(struct walk *k, struct k_err *err)
{
	struct pair p;
	int r = find(k, &p, "router", "weights", K_GOLDEN_F32, 2, k->w->n, err);
	if (r <= 0)
		return r;
	int64_t used = p.a->shape[1];
	k->w->compared++;
	for (int64_t t = 0; t < k->w->n; t++) {
		struct measure m = { 0 };
		for (int64_t i = t * used; i < (t + 1) * used; i++)
			add(&m, ((const float *)p.a->data)[i], ((const float *)p.b->data)[i]);
		if (!k->other[t])
			tell(k, spot_of(k, K_PART_WEIGHTS, t, &m), k->tied[t]);
	}
	return 0;
}

/* What a layer adds: from before to after, two rows of dim. */
static struct measure added(const float *a, const float *a_before, const float *b, const float *b_before, int64_t dim)
{
	struct measure m = { 0 };
	double before = 0, after = 0;
	for (int64_t i = 0; i < dim; i++) {
		add(&m, (double)a[i] - a_before[i], (double)b[i] - b_before[i]);
		before += (double)a_before[i] * a_before[i];
		after += (double)a[i] * a[i];
	}
	m.size = fmax(m.size, fmax(before, after) / (16 * 16));
	return m;
}

/* [layers + 1][n][D] */
static void walk_hidden(struct walk *k, const struct pair *p)
{
	int64_t D = p->a->shape[2], n = k->w->n, at = (k->layer + 1) * n * D, back = n * D;
	for (int64_t t = 0; t < n; t++, at += D) {
		const float *a = (const float *)p->a->data + at, *b = (const float *)p->b->data + at;
		struct measure m = { 0 };
		if (k->layer >= 0)
			m = added(a, a - back, b, b - back, D);
		for (int64_t i = 0; k->layer < 0 && i < D; i++)
			add(&m, a[i], b[i]);
		tell(k, spot_of(k, K_PART_HIDDEN, t, &m), k->tied[t]);
	}
}

static int walk_router(struct walk *k, struct k_err *err)
{
	struct pair scores;
	int r = walk_scores(k, &scores, err);
	if (r == 0)
		r = walk_experts(k, scores.a, err);
	return r < 0 ? r : walk_weights(k, err);
}

/* Row i of the logits is that of token which[i], or the last rows. */
static int walk_logits(struct walk *k, struct k_err *err)
{
	struct pair p, rows;
	int r = find(k, &p, "logits", NULL, K_GOLDEN_F32, 2, -1, err);
	if (r <= 0)
		return r;
	int64_t n = p.a->shape[0], V = p.a->shape[1];
	if ((r = find(k, &rows, "rows", NULL, K_GOLDEN_I32, 1, n, err)) < 0)
		return r;
	const int32_t *which = r ? rows.a->data : NULL;
	if (n > k->w->n || (which && memcmp(which, rows.b->data, (size_t)n * sizeof(*which))))
		return misfit(k, p.a, err);
	k->w->compared++;
	for (int64_t i = 0; i < n; i++) {
		const float *a = (const float *)p.a->data + i * V, *b = (const float *)p.b->data + i * V;
		struct measure m = { 0 };
		int64_t t = which ? which[i] : k->w->n - n + i;
		double sum = 0;
		if (t < 0 || t >= k->w->n)
			return misfit(k, p.a, err);
		for (int64_t j = 0; j < V; j++) {
			sum += a[j];
			add(&m, a[j], b[j]);
		}
		m.size -= sum / (double)K_MAX(V, 1) * sum;
		tell(k, spot_of(k, K_PART_LOGITS, t, &m), k->tied[t]);
	}
	return 0;
}

static int walk_layer(struct walk *k, const struct pair *hidden, struct k_err *err)
{
	int r = 0;
	if (k->layer == k->w->a->n_layer)
		return walk_logits(k, err);
	memset(k->other, 0, (size_t)k->w->n);
	if (k->layer >= 0) {
		r = walk_conv(k, err);
		if (r == 0)
			r = walk_state(k, err);
		if (r == 0)
			r = walk_router(k, err);
	}
	if (r == 0 && hidden->b)
		walk_hidden(k, hidden);
	return r;
}

int k_layers_walk(struct k_layers *w, struct k_err *err)
{
	struct walk k = { .w = w };
	struct pair hidden;
	int64_t layers = w->a->n_layer;
	int r = find(&k, &hidden, "hidden", NULL, K_GOLDEN_F32, 3, layers + 1, err);
	if (r < 0)
		return r;
	if (r && hidden.a->shape[1] != w->n)
		return misfit(&k, hidden.a, err);
	w->compared += r;
	r = 0;
	k.tied = k_calloc((size_t)w->n, 1);
	k.other = k_calloc((size_t)w->n, 1);
	if (!k.tied || !k.other)
		r = k_err_nomem(err, (size_t)w->n * 2, "a sequence");
	for (k.layer = -1; r == 0 && k.layer <= layers; k.layer++) {
		r = walk_layer(&k, &hidden, err);
		if (r == 0 && w->done)
			r = w->done(w->arg, k.layer, err);
	}
	k_free(k.tied);
	k_free(k.other);
	return r;
}
