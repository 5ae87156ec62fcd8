/* histogram.h: observations counted in fixed buckets, as Prometheus wants them. No lock of its own: copy it under its owner's. */
#ifndef K_HISTOGRAM_H
#define K_HISTOGRAM_H

#include "libcore/base.h"

#define K_BUCKETS 32

struct k_histogram {
	const double *edges;            /* n upper edges, ascending, static */
	int n;
	uint64_t count[K_BUCKETS];      /* count[i]: above edges[i - 1], at most edges[i]; count[n]: above all */
	uint64_t total;
	double sum;
};

/* What the edges are for. */
enum k_edges { K_EDGES_SECONDS, K_EDGES_STEP, K_EDGES_TOKENS };        /* of a request; of one token; numbers of tokens */
void k_histogram_init(struct k_histogram *h, enum k_edges edges);
void k_histogram_add(struct k_histogram *h, double x);
/* Observations at most edges[i]; i == n: all. */
uint64_t k_histogram_upto(const struct k_histogram *h, int i);

#endif
