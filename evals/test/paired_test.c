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

K_TEST(stats_paired_bootstrap)
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
