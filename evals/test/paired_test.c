/* paired_test.c: tests of differences, against values from tables and from arithmetic. */
#include "libcore/base.h"
#include <math.h>
#include "evals/stats.h"
#include "libcore/test.h"

K_TEST(stats_mcnemar_is_exact)
{
	K_CHECK(fabs(k_stats_mcnemar(2, 10) - 2.0 * (1 + 12 + 66) / 4096) < 1e-15);
	K_CHECK(fabs(k_stats_mcnemar(5, 0) - 0.0625) < 1e-16);
	K_CHECK(k_stats_mcnemar(0, 0) == 1);
	K_CHECK(k_stats_mcnemar(700, 700) == 1);
	/* Far beyond what 2^-n can be written as: the normal approximation with its correction, z = 2.6588. */
	K_CHECK(fabs(k_stats_mcnemar(1940, 2109) - 0.00827) < 1e-4);
}

K_TEST(stats_paired_signs)
{
	struct k_pair v[400];
	struct k_paired p, q;
	struct k_err err;

	/* b - a is 1 with a spread that has a standard error of 0.05. */
	for (int i = 0; i < 400; i++)
		v[i] = (struct k_pair){ 10 + i % 7, 11 + i % 7 + (i % 2 ? 1 : -1), 1 };
	K_CHECK_OK(k_stats_paired(&p, v, 400, false, 1, 10000, &err));
	K_CHECK(fabs(p.delta - 1) < 1e-12 && p.p_value < 0.001);
	K_CHECK(fabs(p.lo - (1 - 1.96 * 0.05)) < 0.01 && fabs(p.hi - (1 + 1.96 * 0.05)) < 0.01);
	K_CHECK_OK(k_stats_paired(&q, v, 400, false, 1, 10000, &err));
	K_CHECK(p.lo == q.lo && p.hi == q.hi && p.p_value == q.p_value);
	/* A against A. */
	for (int i = 0; i < 400; i++)
		v[i].b = v[i].a;
	K_CHECK_OK(k_stats_paired(&p, v, 400, false, 1, 10000, &err));
	K_CHECK(p.delta == 0 && p.p_value == 1 && p.lo == 0 && p.hi == 0);
}

/* Few pairs, all better by 1, 2, 3 ... tokens' worth of 1: two of 2^n ways are as far off. */
K_TEST(stats_paired_few)
{
	struct k_pair v[13];
	struct k_paired p;
	struct k_err err;

	for (int i = 0; i < 13; i++)
		v[i] = (struct k_pair){ 5, 6 + i, 1 + i };
	for (int n = 1; n <= 13; n++) {
		K_CHECK_OK(k_stats_paired(&p, v, n, false, 1, 10000, &err));
		K_CHECK(p.p_value == ldexp(1, 1 - n) && fabs(p.delta - 1) < 1e-15);
		K_CHECK(n < 6 ? p.lo == -INFINITY && p.hi == INFINITY : p.lo == 1 && p.hi == 1);
	}
	/* By hand: of the sums 0, 3, -1, 2, 2, 5, 1, 4 one is below 0 and one is 0. Rounding does not decide what is equal. */
	const struct k_pair three[] = { { 0, 0.3, 1 }, { 0.1, 0, 1 }, { 0, 0.2, 1 } }, equal[] = { { 0, 0.1, 1 }, { 0, 0.2, 1 }, { 0.3, 0, 1 } };
	K_CHECK_OK(k_stats_paired(&p, three, 3, false, 1, 10000, &err));
	K_CHECK(p.p_value == 0.5);
	K_CHECK_OK(k_stats_paired(&p, equal, 3, false, 1, 10000, &err));
	K_CHECK(p.p_value == 1);
	/* One answer for better is no certainty. */
	K_CHECK_OK(k_stats_paired(&p, &(struct k_pair){ 0, 1, 1 }, 1, true, 1, 10000, &err));
	K_CHECK(p.p_value == 1 && p.lo < -0.5 && p.hi == 1);
}

/* --- a model against itself ---------------------------------------------------------------------------------------------------------- */

static double uniform(uint64_t *random) { return ((double)(k_random_next(random) >> 11) + 0.5) * 0x1p-53; }
static double normal(uint64_t *random) { return sqrt(-2 * log(uniform(random))) * cos(6.283185307179586 * uniform(random)); }

/* Windows of one text, the last one short: nats that differ by as much between windows, and by noise between runs, heavy-tailed for some. */
static void make_windows(struct k_pair *v, int n, bool heavy, uint64_t *random)
{
	for (int i = 0; i < n; i++) {
		double weight = i + 1 < n ? 512 : 100, nll = weight * (3 + 0.3 * normal(random));
		double wide = heavy ? 1 / uniform(random) : 1;
		v[i] = (struct k_pair){ nll + wide * normal(random), nll + wide * normal(random), weight };
	}
}

/* Of 1000 comparisons 10 may see something; 21 or more would come once in 1000 tries. Of intervals 50 may miss the truth. */
K_TEST(stats_paired_cries_wolf_once_in_a_hundred)
{
	static const int counts[] = { 1, 2, 3, 5, 6, 7, 8, 9, 12, 20, 50 };
	struct k_pair v[50];
	struct k_paired p;
	struct k_err err;

	for (size_t k = 0; k < 2 * K_LEN(counts); k++) {
		uint64_t random = 7 + k;
		int n = counts[k / 2], wolf = 0, missed = 0;
		for (int i = 0; i < 1000; i++) {
			make_windows(v, n, k % 2, &random);
			K_CHECK_OK(k_stats_paired(&p, v, n, false, 0, 600, &err));
			wolf += p.p_value < 0.01;
			missed += p.lo > 0 || p.hi < 0;
		}
		K_CHECK_MSG(wolf <= (n < 8 ? 0 : 20), "%d windows: %d of 1000 see a difference that is none", n, wolf);
		K_CHECK_MSG(missed <= (n < 6 ? 0 : 72), "%d windows: %d of 1000 intervals of 95 %% miss", n, missed);
	}
}

/* What is there is seen, the more surely the more windows. */
K_TEST(stats_paired_sees)
{
	struct k_pair v[50];
	struct k_paired p;
	struct k_err err;
	int seen[3] = { 0, 0, 0 };
	uint64_t random = 1;

	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 200; i++) {
			int n = k == 0 ? 8 : k == 1 ? 20 : 50;
			make_windows(v, n, false, &random);
			for (int w = 0; w < n; w++)
				v[w].b += v[w].weight * 0.004;
			K_CHECK_OK(k_stats_paired(&p, v, n, false, 0, 600, &err));
			seen[k] += p.p_value < 0.01 && p.delta > 0;
		}
	K_CHECK_MSG(seen[0] >= 30 && seen[1] >= 170 && seen[2] == 200, "seen %d, %d and %d of 200", seen[0], seen[1], seen[2]);
}
