/* stats.h: how sure a figure is, and a difference; and what that takes: order, and numbers that are drawn. */
#ifndef K_STATS_H
#define K_STATS_H

#include "libcore/err.h"

/* Standard error of a mean of n values, from their sum and the sum of their squares (sample variance); NaN of fewer than two, which do
 * not tell. */
double k_stats_stderr(double sum, double squares, int64_t n);

/* Ascending. */
void k_stats_sort(double *v, size_t n);
/* The value that a share p of v[0..n), which ascends, does not exceed: 0 < p <= 1, n > 0. */
double k_stats_percentile(const double *v, size_t n, double p);

/* The next of a sequence of random numbers (splitmix64), the same everywhere for the same start. */
uint64_t k_random_next(uint64_t *state);
/* One below n, n > 0; no value is likelier than another by more than n in 2^64. */
uint64_t k_random_below(uint64_t *state, uint64_t n);

/* One item as A and as B scored it: sums over weight things (> 0). */
struct k_pair { double a, b, weight; };
struct k_paired {
	double mean_a, mean_b, delta;   /* sums over the sum of weights; delta = b - a */
	double lo, hi;                  /* 95 % interval of delta; infinite where so few pairs bound nothing */
	double p_value;                 /* two-sided */
	int64_t differ;                 /* pairs with a != b */
};
/* n > 0 pairs. yes_no: values are 0 and 1 and weights 1: McNemar's exact test. Else the test of signs turned round: all 2^n where their number
 * without one is at most draws (>= 40), so many of them drawn at random where there are more. Chance gives a p-value of at most p in no more
 * than p of all cases, however few the pairs: 8 are the fewest for less than 0.01, 6 for an interval. The same seed and pairs give the same
 * numbers everywhere. */
int k_stats_paired(struct k_paired *out, const struct k_pair *v, int64_t n, bool yes_no, uint64_t seed, int64_t draws, struct k_err *err)
	K_MUST_USE;

/* n differences, each of which chance alone makes positive as often as negative (whatever their sizes, and however these hang together):
 * Wilcoxon's signed ranks, from their exact distribution. */
struct k_signed {
	double estimate;                /* median of the means of all pairs (Hodges and Lehmann) */
	double lo, hi;                  /* the shifts that the test does not refuse at 1 - level; infinite where n is too small for that level */
	double p_value;                 /* two-sided, that there is no shift; ranks by size, equal ones by position, zeros left out */
};
/* 0 < n <= 4096 finite differences, 0 < level < 1. */
int k_stats_signed(struct k_signed *out, const double *d, int64_t n, double level, struct k_err *err) K_MUST_USE;

/* Two-sided exact binomial test at one half: at most min(b, c) of b + c. */
double k_stats_mcnemar(int64_t b, int64_t c);

#endif
