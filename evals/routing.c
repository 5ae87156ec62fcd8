/* routing.c: see routing.h. */
#include "libcore/base.h"
#include <math.h>
#include "evals/routing.h"

void k_routing_scores(const struct k_hp *hp, const float *logits, const float *bias, float *scores)
{
	double top = -INFINITY, sum = 0;
	for (int64_t e = 0; e < hp->n_expert; e++)
		top = fmax(top, logits[e]);
	for (int64_t e = 0; e < hp->n_expert; e++)
		sum += exp(logits[e] - top);
	for (int64_t e = 0; e < hp->n_expert; e++) {
		double s = hp->router_softmax ? exp(logits[e] - top) / sum : 1 / (1 + exp(-(double)logits[e]));
		scores[e] = (float)(s + (bias ? bias[e] : 0));
	}
}

static bool is_in(const int32_t *v, int64_t n, int64_t id)
{
	for (int64_t i = 0; i < n; i++)
		if (v[i] == id)
			return true;
	return false;
}

/* What a group counts: the sum of its two best scores. */
static double group_value(const float *v, int64_t n)
{
	double a = -INFINITY, b = -INFINITY;
	for (int64_t i = 0; i < n; i++) {
		b = fmax(b, fmin(a, v[i]));
		a = fmax(a, v[i]);
	}
	return n > 1 ? a + b : a;
}

double k_routing_margin(const float *scores, int64_t n, const int32_t *experts, int64_t used, int64_t groups, int64_t kept)
{
	double last = INFINITY, next = -INFINITY, margin, cut = INFINITY;
	int64_t size = n / groups;
	for (int64_t i = 0; i < used; i++)
		last = fmin(last, scores[experts[i]]);
	/* The best groups are those that hold a chosen expert, and others that are as good: the worst of the `kept` best is the cut. */
	for (int64_t i = 0; groups > 1 && i < kept; i++) {
		double best = -INFINITY;
		for (int64_t g = 0; g < groups; g++) {
			double v = group_value(scores + g * size, size);
			if (v < cut)
				best = fmax(best, v);
		}
		cut = best;
	}
	margin = INFINITY;
	for (int64_t g = 0; g < groups; g++) {
		double v = group_value(scores + g * size, size);
		bool in = groups == 1 || v >= cut;
		/* A value is a sum of two scores (of one in groups of one), and two values move towards each other. */
		if (!in)
			margin = fmin(margin, (cut - v) / (size > 1 ? 4 : 2));
		for (int64_t e = g * size; in && e < (g + 1) * size; e++)
			if (!is_in(experts, used, e))
				next = fmax(next, scores[e]);
	}
	margin = fmin(margin, (last - next) / 2);
	return margin > 0 ? margin : 0;
}
