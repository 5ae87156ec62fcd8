/* stats.h: how sure a figure is, and a difference. */
#ifndef K_STATS_H
#define K_STATS_H

#include "libcore/err.h"

/* Standard error of a mean of n values, from their sum and the sum of their squares (sample variance); 0 for fewer than two. */
double k_stats_stderr(double sum, double squares, int64_t n);

/* One item as A and as B scored it: sums over weight things (> 0). */
struct k_pair { double a, b, weight; };
struct k_paired {
	double mean_a, mean_b, delta;   /* sums over the sum of weights; delta = b - a */
	double lo, hi;                  /* 95 % interval of delta, percentiles of the bootstrap */
	double p_value;                 /* two-sided */
	int64_t differ;                 /* pairs with a != b */
};
/* n > 0 pairs. yes_no: values are 0 and 1, and the p-value is McNemar's exact one; else the bootstrap's. The same seed and pairs give the
 * same numbers everywhere. */
int k_stats_paired(struct k_paired *out, const struct k_pair *v, int64_t n, bool yes_no, uint64_t seed, int draws, struct k_err *err)
	K_MUST_USE;

/* Two-sided exact binomial test at one half: at most min(b, c) of b + c. */
double k_stats_mcnemar(int64_t b, int64_t c);

#endif
