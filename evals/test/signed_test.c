/* signed_test.c: signed ranks against values of scipy (p-values) and of an inversion over all signs (intervals), and what a comparison of two
 * commands makes of them: simulated times, which drift, remember and stumble. */
#include "libcore/base.h"
#include <math.h>
#include "evals/stats.h"
#include "libcore/test.h"

static bool near(double x, double want) { return fabs(x - want) <= 1e-8 + 1e-12 * fabs(want); }

K_TEST(signed_ranks_are_exact)
{
	static const double ten[] = { 0.031, -0.012, 0.044, 0.027, 0.008, 0.051, -0.019, 0.036, 0.022, 0.015 };
	static const double twelve[] = { 0.03, -0.01, 0.02, 0.05, 0.08, -0.04, 0.07, 0.06, 0.09, 0.10, 0.11, 0.12 };
	double forty[40];
	struct k_signed s;
	struct k_err err;

	K_CHECK_OK(k_stats_signed(&s, ten, 10, 0.95, &err));
	K_CHECK(near(s.p_value, 0.02734375) && near(s.estimate, 0.022) && near(s.lo, 0.004) && near(s.hi, 0.0365));
	K_CHECK_OK(k_stats_signed(&s, ten, 10, 0.99, &err));
	K_CHECK(near(s.lo, -0.0055) && near(s.hi, 0.0435));
	K_CHECK_OK(k_stats_signed(&s, twelve, 12, 0.99, &err));
	K_CHECK(near(s.p_value, 0.0048828125) && near(s.estimate, 0.06) && near(s.lo, 0.01) && near(s.hi, 0.1));
	for (int i = 0; i < 40; i++)
		forty[i] = sin((i + 1) * (i + 1) * 0.7) + 0.35;
	K_CHECK_OK(k_stats_signed(&s, forty, 40, 0.95, &err));
	K_CHECK(near(s.p_value, 3.545586332620587e-05));
	/* 264: the critical value of the tables for 40. */
	K_CHECK(near(s.estimate, 0.547672325744156) && near(s.lo, 0.31469417864582316) && near(s.hi, 0.8050095215134091));
}

/* What n differences of one sign can say at most: 2 of 2^n. */
K_TEST(signed_ranks_of_few)
{
	static const double d[8] = { 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08 }, zero[3] = { 0, 0, 0 };
	struct k_signed s;
	struct k_err err;

	for (int n = 1; n <= 8; n++) {
		K_CHECK_OK(k_stats_signed(&s, d, n, 0.99, &err));
		K_CHECK(near(s.p_value, 2 * pow(0.5, n)) && isfinite(s.lo) == (n == 8) && isfinite(s.hi) == (n == 8));
	}
	K_CHECK(s.lo == 0.01 && s.hi == 0.08);
	K_CHECK_OK(k_stats_signed(&s, zero, 3, 0.95, &err));
	K_CHECK(s.p_value == 1 && s.estimate == 0);
}

/* --- simulated comparisons: blocks A B B A or B A A B, by a coin ------------------------------------------------------------------ */

enum kind { QUIET, NOISY, STUMBLES, REMEMBERS, DRIFTS, SWINGS, N_KINDS };
struct machine { enum kind kind; uint64_t random; double memory; int64_t t; };

static double uniform(struct machine *m) { return ((double)(k_random_next(&m->random) >> 11) + 0.5) * 0x1p-53; }
static double normal(struct machine *m) { return sqrt(-2 * log(uniform(m))) * cos(6.283185307179586 * uniform(m)); }

/* Log of the time of the next run. */
static double run(struct machine *m)
{
	double x = 0.01 * normal(m), t = (double)m->t++;
	switch (m->kind) {
	case NOISY: return 3 * x;
	case STUMBLES: return x + (uniform(m) < 0.15 ? -0.5 * log(uniform(m)) : 0) + (uniform(m) < 0.01 ? 0.1 / uniform(m) : 0);
	case REMEMBERS: return m->memory = 0.9 * m->memory + 2 * x;
	case DRIFTS: return x + t * t * 3e-6;
	case SWINGS: return x + 0.1 * sin(t * 1.5707963 + 1);
	default: return x;
	}
}

static double block(struct machine *m, double slower)
{
	bool inner = k_random_next(&m->random) >> 63;           /* B has the inner two */
	double v[4];
	for (int i = 0; i < 4; i++)
		v[i] = run(m) + ((i == 1 || i == 2) == inner ? slower : 0);
	double outside = fmin(v[0], v[3]), inside = fmin(v[1], v[2]);
	return inner ? inside - outside : outside - inside;
}

/* How many of 1000 comparisons of n blocks see a difference at 1 %; of 2000 intervals, how many miss the truth. */
static int seen(enum kind kind, int n, double slower, int *missed)
{
	struct machine m = { kind, 12345 + (uint64_t)kind, 0, 0 };
	double d[64];
	struct k_signed s;
	struct k_err err;
	int count = 0;
	for (int i = 0; i < 1000; i++) {
		m.t = 0;
		for (int k = 0; k < n; k++)
			d[k] = block(&m, slower);
		K_CHECK_OK(k_stats_signed(&s, d, n, 0.95, &err));
		count += s.p_value <= 0.01;
		*missed += s.lo > slower || s.hi < slower;
	}
	return count;
}

/* Of 1000 comparisons of a command with itself 10 may see something; 21 or more would come once in 1000 tries. */
K_TEST(signed_ranks_cry_wolf_once_in_a_hundred)
{
	for (enum kind k = 0; k < N_KINDS; k++)
		for (int n = 5; n <= 40; n = n < 8 ? n + 3 : n * 2 - 1) {
			int missed = 0, wolf = seen(k, n, 0, &missed);
			K_CHECK_MSG(wolf <= (n < 8 ? 0 : 20), "machine %d, %d blocks: %d of 1000 see a difference that is none", k, n, wolf);
			K_CHECK_MSG(missed <= 72, "machine %d, %d blocks: %d of 1000 intervals of 95 %% miss", k, n, missed);
		}
}

/* 3 % more is seen, or nothing is: the sign is right, and the share grows with the blocks. */
K_TEST(signed_ranks_see_three_percent)
{
	static const int least[N_KINDS][2] = { { 990, 1000 }, { 450, 900 }, { 850, 990 }, { 950, 1000 }, { 950, 1000 }, { 300, 900 } };
	for (enum kind k = 0; k < N_KINDS; k++) {
		int missed = 0, few = seen(k, 15, 0.03, &missed), many = seen(k, 32, 0.03, &missed);
		K_CHECK_MSG(few >= least[k][0] && many >= least[k][1], "machine %d: seen %d and %d of 1000", k, few, many);
		K_CHECK_MSG(missed <= 2 * 72, "machine %d: %d of 2000 intervals of 95 %% miss", k, missed);
	}
}
