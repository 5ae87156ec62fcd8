/* stats.c: see stats.h. */
#include "libcore/base.h"
#include <math.h>
#include <stdlib.h>
#include "evals/stats.h"

double k_stats_stderr(double sum, double squares, int64_t n)
{
	if (n < 2)
		return NAN;
	double mean = sum / (double)n;
	return sqrt(fmax(squares - (double)n * mean * mean, 0) / (double)(n - 1) / (double)n);
}

double k_stats_mcnemar(int64_t b, int64_t c)
{
	int64_t n = b + c, m = K_MIN(b, c);
	double log_first = -(double)n * log(2), term = 1, sum = 1;
	if (b == c)
		return 1;
	/* The largest term, C(n, m) / 2^n, by its logarithm; the others as shares of it. */
	for (int64_t k = 1; k <= m; k++)
		log_first += log((double)(n - m + k)) - log((double)k);
	for (int64_t k = m; k > 0 && term > 1e-18; k--) {
		term *= (double)k / (double)(n - k + 1);
		sum += term;
	}
	return fmin(1, 2 * sum * exp(log_first));
}

uint64_t k_random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t k_random_below(uint64_t *state, uint64_t n) { return (uint64_t)(((unsigned __int128)k_random_next(state) * n) >> 64); }

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

void k_stats_sort(double *v, size_t n)
{
	if (n)
		qsort(v, n, sizeof(*v), ascending);
}

double k_stats_percentile(const double *v, size_t n, double p)
{
	size_t k = (size_t)ceil(p * (double)n);
	return v[k ? k - 1 : 0];
}

/* --- signs -------------------------------------------------------------------------------------------------------------------------- */

enum { LIMB = 64 };

/* A set of pairs, a bit each: the which-th of those with a pair in them, or one that is drawn. */
static void choose(uint64_t *set, int64_t n, bool drawn, uint64_t which, uint64_t *random)
{
	uint64_t any = 0;
	if (!drawn) {
		set[0] = which + 1;
		return;
	}
	while (!any)
		for (int64_t i = 0; i < n; i += LIMB) {
			set[i / LIMB] = k_random_next(random) >> (n - i < LIMB ? LIMB - (n - i) : 0);
			any |= set[i / LIMB];
		}
}

/* What the pairs of a set gained, and how much they weigh. */
static double gained(const struct k_pair *v, int64_t n, const uint64_t *set, double *weight)
{
	double sum = 0;
	*weight = 0;
	for (int64_t i = 0; i < n; i++)
		if (set[i / LIMB] >> i % LIMB & 1) {
			sum += v[i].b - v[i].a;
			*weight += v[i].weight;
		}
	return sum;
}

/* By chance alone b - a of a pair is as likely as a - b. Turning the signs of a set of pairs round makes their sum larger, in size, than that
 * of the data where what the set gained has the other sign, or is nothing: so the sets, the empty one with them, tell how much of chance lies
 * beyond the data. And the mean gain of a set is a shift of b for which that happens, so that one after the other such means bound as many
 * parts of the line, in each of which the truth lies as often (Hartigan 1969). That is exact for all sets, and for sets drawn at random. */
static void signs(struct k_paired *out, const struct k_pair *v, int64_t n, uint64_t seed, int64_t draws, double *mean, uint64_t *set)
{
	bool drawn = n >= LIMB - 1 || ((int64_t)1 << n) - 1 > draws;
	int64_t all = drawn ? draws : ((int64_t)1 << n) - 1, below = 1, above = 1, beyond = (all + 1) / 40;
	double size = 0, weight;
	for (int64_t i = 0; i < n; i++)
		size += fabs(v[i].b - v[i].a);
	for (int64_t k = 0; k < all; k++) {
		choose(set, n, drawn, (uint64_t)k, &seed);
		double sum = gained(v, n, set, &weight);
		mean[k] = sum / weight;
		/* What rounding leaves of nothing is nothing. */
		below += sum <= 0x1p-40 * size;
		above += sum >= -0x1p-40 * size;
	}
	k_stats_sort(mean, (size_t)all);
	out->p_value = fmin(1, 2 * (double)K_MIN(below, above) / (double)(all + 1));
	out->lo = beyond ? mean[beyond - 1] : -INFINITY;
	out->hi = beyond ? mean[all - beyond] : INFINITY;
}

/* With half an item more in each of the four cells of right and wrong: few items are then no certainty (Agresti and Min 2005). */
static void shares(struct k_paired *out, int64_t n, int64_t only_a, int64_t only_b)
{
	double m = (double)n + 2, gain = (double)(only_b - only_a), half = 1.959963984540054 * sqrt((double)out->differ + 1 - gain * gain / m) / m;
	out->p_value = k_stats_mcnemar(only_a, only_b);
	out->lo = fmax(gain / m - half, -1);
	out->hi = fmin(gain / m + half, 1);
}

int k_stats_paired(struct k_paired *out, const struct k_pair *v, int64_t n, bool yes_no, uint64_t seed, int64_t draws, struct k_err *err)
{
	double a = 0, b = 0, weight = 0, *mean;
	int64_t only_a = 0, only_b = 0;
	uint64_t *set;
	for (int64_t i = 0; i < n; i++) {
		a += v[i].a;
		b += v[i].b;
		weight += v[i].weight;
		only_a += v[i].a > v[i].b;
		only_b += v[i].b > v[i].a;
	}
	*out = (struct k_paired){ .mean_a = a / weight, .mean_b = b / weight, .differ = only_a + only_b };
	out->delta = out->mean_b - out->mean_a;
	if (yes_no) {
		shares(out, n, only_a, only_b);
		return 0;
	}
	mean = k_calloc((size_t)draws, sizeof(*mean));
	set = k_calloc((size_t)(n / LIMB) + 1, sizeof(*set));
	if (mean && set)
		signs(out, v, n, seed, draws, mean, set);
	k_free(mean);
	k_free(set);
	return mean && set ? 0 : k_err_nomem(err, (size_t)draws * sizeof(*mean), "the sets of pairs");
}

/* --- signed ranks --------------------------------------------------------------------------------------------------------------- */

/* share[t], t = 0 .. n(n+1)/2: how likely it is that the ranks 1 .. n, each counted with probability one half, add up to t. */
static double *rank_sums(int64_t n)
{
	int64_t most = n * (n + 1) / 2;
	double *share = k_calloc((size_t)most + 1, sizeof(*share));
	if (!share)
		return NULL;
	share[0] = 1;
	for (int64_t rank = 1, top = 0; rank <= n; rank++) {
		top += rank;
		for (int64_t t = top; t >= 0; t--)
			share[t] = (share[t] + (t >= rank ? share[t - rank] : 0)) / 2;
	}
	return share;
}

struct sized { double size; int64_t at; };

static int by_size(const void *a, const void *b)
{
	const struct sized *x = a, *y = b;
	return x->size != y->size ? (x->size > y->size) - (x->size < y->size) : (x->at > y->at) - (x->at < y->at);
}

static double signed_p(const struct sized *ranked, int64_t n, const double *d, const double *share)
{
	int64_t most = n * (n + 1) / 2, sum = 0;
	double tail = 0;
	for (int64_t i = 0; i < n; i++)
		sum += d[ranked[i].at] > 0 ? i + 1 : 0;
	for (int64_t t = 0; t <= K_MIN(sum, most - sum); t++)
		tail += share[t];
	return fmin(1, 2 * tail);
}

static int signed_test(double *p, const double *d, int64_t n, struct k_err *err)
{
	struct sized *ranked = k_calloc((size_t)n, sizeof(*ranked));
	double *share = NULL;
	int64_t m = 0;
	for (int64_t i = 0; i < n && ranked; i++)
		if (d[i] != 0)
			ranked[m++] = (struct sized){ fabs(d[i]), i };
	if (ranked) {
		qsort(ranked, (size_t)m, sizeof(*ranked), by_size);
		share = rank_sums(m);
	}
	if (share)
		*p = signed_p(ranked, m, d, share);
	k_free(ranked);
	k_free(share);
	return share ? 0 : k_err_nomem(err, (size_t)(n * n) * 4, "the ranks");
}

/* The test refuses a shift when no more than a few of the means of pairs lie beyond it: the interval runs from one mean to another. */
static int signed_interval(struct k_signed *out, const double *d, int64_t n, double level, struct k_err *err)
{
	int64_t m = n * (n + 1) / 2, k = 0, few = -1;           /* -1: not even when none does */
	double *mean = k_calloc((size_t)m, sizeof(*mean)), *share = rank_sums(n), tail = 0;
	if (!mean || !share) {
		k_free(mean);
		k_free(share);
		return k_err_nomem(err, (size_t)m * sizeof(*mean), "the means of pairs");
	}
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = i; j < n; j++)
			mean[k++] = (d[i] + d[j]) / 2;
	k_stats_sort(mean, (size_t)m);
	while ((tail += share[few + 1]) <= (1 - level) / 2)
		few++;
	out->estimate = (mean[(m - 1) / 2] + mean[m / 2]) / 2;
	out->lo = few < 0 ? -INFINITY : mean[few];
	out->hi = few < 0 ? INFINITY : mean[m - 1 - few];
	k_free(mean);
	k_free(share);
	return 0;
}

int k_stats_signed(struct k_signed *out, const double *d, int64_t n, double level, struct k_err *err)
{
	int r = signed_test(&out->p_value, d, n, err);
	return r < 0 ? r : signed_interval(out, d, n, level, err);
}
