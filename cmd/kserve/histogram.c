/* histogram.c: observations in fixed buckets. The edges are those of vLLM, so that its dashboards fit. */
#include "libcore/base.h"
#include "cmd/kserve/histogram.h"

static const double seconds[] = { 0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
	640, 2560 };
static const double steps[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5,
	7.5, 10 };
static const double tokens[] = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000,
	1000000 };

static const struct { const double *edges; int n; } scales[] = {
	[K_EDGES_SECONDS] = { seconds, K_LEN(seconds) },
	[K_EDGES_STEP] = { steps, K_LEN(steps) },
	[K_EDGES_TOKENS] = { tokens, K_LEN(tokens) },
};

void k_histogram_init(struct k_histogram *h, enum k_edges edges)
{
	*h = (struct k_histogram){ .edges = scales[edges].edges, .n = scales[edges].n };
}

void k_histogram_add(struct k_histogram *h, double x)
{
	int i = 0;
	while (i < h->n && x > h->edges[i])
		i++;
	h->count[i]++;
	h->total++;
	h->sum += x;
}

uint64_t k_histogram_upto(const struct k_histogram *h, int i)
{
	uint64_t n = 0;
	for (int b = 0; b <= i; b++)
		n += h->count[b];
	return n;
}
