/* rope_test.c: rotary tables against the figures of the papers' code and a slow form in long double. */
#include "libcore/base.h"
#include "libcore/rope.h"
#include "libcore/test.h"
#include <math.h>
#include <stdlib.h>

enum { MOST = 256 };

static bool close_to(double a, double b, double rel) { return fabs(a - b) <= rel * fabs(b); }

/* Kimi-K2: rope_scaling of its config.json. */
static struct k_rope_hp k2(double factor)
{
	return (struct k_rope_hp){ .kind = K_ROPE_YARN, .interleaved = true, .dim = 64, .theta = 50000, .factor = factor, .original = 4096,
		.beta_fast = 1, .beta_slow = 1, .mscale = 1, .mscale_all_dim = 1, .has_mscale = true };
}

/* Published figures of Kimi-K2 at factor 32 (Instruct) and 64 (Thinking); frequencies were computed in f32. */
#define FLOAT 2e-7
K_TEST(rope_yarn_of_kimi_k2)
{
	static const struct { double factor, softmax, inv20, inv31; } rows[] = {
		{ 32, 0.1308608000, 3.614046727e-5, 8.764413906e-7 }, { 64, 0.1446796258, 1.807023364e-5, 4.382206953e-7 },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		struct k_rope_hp r = k2(rows[i].factor);
		double inv[32];
		k_rope_inv(&r, inv);
		K_CHECK(inv[0] == 1 && close_to(inv[1], 0.7131111026, FLOAT) && close_to(inv[14], 8.794286288e-3, FLOAT));
		K_CHECK(close_to(inv[19], 1.621759962e-3, FLOAT));
		K_CHECK_MSG(close_to(inv[20], rows[i].inv20, FLOAT) && close_to(inv[31], rows[i].inv31, FLOAT), "%.12g %.12g", inv[20], inv[31]);
		K_CHECK(k_rope_gain(&r) == 1);
		K_CHECK_MSG(close_to(k_rope_softmax(&r) / sqrt(192), rows[i].softmax, 1e-9), "%.12g", k_rope_softmax(&r) / sqrt(192));
	}
	/* A small head, where the ramp is the pair of neighbours 2, 3. */
	struct k_rope_hp r = k2(32);
	double inv[4], plain[4];
	r.dim = 8;
	k_rope_inv(&r, inv);
	for (int j = 0; j < 4; j++)
		plain[j] = pow(50000, -j / 4.0);
	K_CHECK(close_to(inv[2], plain[2], 1e-15) && close_to(inv[3], plain[3] / 32, 1e-15));
}

/* --- slow forms --------------------------------------------------------------------------------------------------------- */

/* Turns of a pair over the original context decide: the pair that turns beta times is where the ramp begins or ends. The pair is looked
 * for, by bisection, on the line of pairs, which the closed form has solved. */
static long double pair_that_turns(const struct k_rope_hp *r, long double beta)
{
	long double lo = -1000, hi = 1000;
	for (int i = 0; i < 200; i++) {
		long double mid = (lo + hi) / 2, wave = 2 * M_PIl * powl((long double)r->theta, 2 * mid / (long double)r->dim);
		if ((long double)r->original / wave > beta)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static long double slow_yarn(const struct k_rope_hp *r, int64_t j, long double inv)
{
	long double lo = floorl(pair_that_turns(r, (long double)r->beta_fast)), hi = ceill(pair_that_turns(r, (long double)r->beta_slow));
	lo = lo < 0 ? 0 : lo;
	hi = hi > (long double)(r->dim - 1) ? (long double)(r->dim - 1) : hi;
	if (lo == hi)
		hi += 0.001L;
	long double ramp = ((long double)j - lo) / (hi - lo);
	ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
	return inv / (long double)r->factor * ramp + inv * (1 - ramp);
}

static long double slow_llama3(const struct k_rope_hp *r, long double inv)
{
	long double turns = (long double)r->original * inv / (2 * M_PIl);
	if (turns > (long double)r->high_freq)
		return inv;
	if (turns < (long double)r->low_freq)
		return inv / (long double)r->factor;
	long double s = (turns - (long double)r->low_freq) / ((long double)r->high_freq - (long double)r->low_freq);
	return inv * (s + (1 - s) / (long double)r->factor);
}

static long double slow_inv(const struct k_rope_hp *r, int64_t j)
{
	long double inv = expl(-2 * (long double)j / (long double)r->dim * logl((long double)r->theta));
	switch (r->kind) {
	case K_ROPE_LINEAR: return inv / (long double)r->factor;
	case K_ROPE_YARN: return slow_yarn(r, j, inv);
	case K_ROPE_LLAMA3: return slow_llama3(r, inv);
	default: return inv;
	}
}

static long double slow_m(long double s, long double c) { return s <= 1 ? 1 : 0.1L * c * logl(s) + 1; }

static const struct k_rope_hp forms[] = {
	{ .kind = K_ROPE_PLAIN, .dim = 64, .theta = 10000 }, { .kind = K_ROPE_PLAIN, .dim = 2, .theta = 100000 },
	{ .kind = K_ROPE_LINEAR, .dim = 10, .theta = 100000, .factor = 4 },
	{ .kind = K_ROPE_LLAMA3, .dim = 128, .theta = 500000, .factor = 8, .original = 8192, .low_freq = 1, .high_freq = 4 },
	{ .kind = K_ROPE_LLAMA3, .dim = 64, .theta = 500000, .factor = 32, .original = 8192, .low_freq = 1, .high_freq = 4 },
	{ .kind = K_ROPE_YARN, .dim = 64, .theta = 50000, .factor = 64, .original = 4096, .beta_fast = 32, .beta_slow = 1, .mscale = 1,
		.mscale_all_dim = 1, .has_mscale = true },
	{ .kind = K_ROPE_YARN, .dim = 64, .theta = 50000, .factor = 32, .original = 4096, .beta_fast = 32, .beta_slow = 1, .mscale = 0.707,
		.mscale_all_dim = 0.5, .has_mscale = true },
	{ .kind = K_ROPE_YARN, .dim = 128, .theta = 10000, .factor = 16, .original = 4096, .beta_fast = 32, .beta_slow = 1, .mscale = 1 },
	{ .kind = K_ROPE_YARN, .dim = 16, .theta = 50000, .factor = 8, .original = 64, .beta_fast = 1, .beta_slow = 1, .mscale = 1,
		.mscale_all_dim = 1, .has_mscale = true },
	{ .kind = K_ROPE_YARN, .dim = 64, .theta = 10000, .factor = 0.5, .original = 4096, .beta_fast = 32, .beta_slow = 1, .mscale = 1,
		.mscale_all_dim = 1, .has_mscale = true },
};

K_TEST(rope_frequencies)
{
	for (size_t i = 0; i < K_LEN(forms); i++) {
		const struct k_rope_hp *r = &forms[i];
		double inv[MOST];
		k_rope_inv(r, inv);
		for (int64_t j = 0; j < r->dim / 2; j++)
			K_CHECK_MSG(close_to(inv[j], (double)slow_inv(r, j), 1e-13), "form %zu, pair %lld: %.17g, wanted %.17Lg", i, (long long)j, inv[j],
				slow_inv(r, j));
	}
}

/* GGUF's table is the quotient of the frequencies without the scaling and with it, and says which scaling of Llama 3.1 it was. */
K_TEST(rope_factors_of_llama3)
{
	float factors[MOST];
	struct k_err err;

	for (size_t i = 0; i < K_LEN(forms); i++) {
		const struct k_rope_hp *r = &forms[i];
		struct k_rope_hp plain = { .kind = K_ROPE_PLAIN, .dim = r->dim, .theta = r->theta, .factor = 1 }, as = plain;
		int64_t n = r->dim / 2;

		if (r->kind != K_ROPE_LLAMA3)
			continue;
		k_rope_factors(r, factors);
		for (int64_t j = 0; j < n; j++)
			K_CHECK_MSG(factors[j] == (float)(slow_inv(&plain, j) / slow_inv(r, j)), "form %zu, pair %lld: %.9g, wanted %.9Lg", i, (long long)j,
				(double)factors[j], slow_inv(&plain, j) / slow_inv(r, j));
		K_CHECK(k_rope_set_factors(&as, factors, n, &err) == 0);
		K_CHECK(as.kind == K_ROPE_LLAMA3 && as.factor == r->factor && as.low_freq == 1 && as.high_freq == 4 && as.original == 8192);
		K_CHECK(k_rope_set_factors(&as, factors, n, &err) == 0);
		K_CHECK(k_rope_set_factors(&as, factors, n - 1, &err) == K_ESHAPE);
		factors[n / 2] *= 1.001f;
		K_CHECK(k_rope_set_factors(&as, factors, n, &err) == K_EFORMAT);
		as = plain;
		K_CHECK(k_rope_set_factors(&as, factors, n, &err) == K_EUNSUP && as.kind == K_ROPE_PLAIN);
		factors[n / 2] = nanf("");
		K_CHECK(k_rope_set_factors(&as, factors, n, &err) == K_EUNSUP);
		for (int64_t j = 0; j < n; j++)
			factors[j] = 1;
		K_CHECK(k_rope_set_factors(&as, factors, n, &err) == 0 && as.kind == K_ROPE_PLAIN);
		as.kind = K_ROPE_LINEAR;
		K_CHECK(k_rope_set_factors(&as, factors, n, &err) == K_EUNSUP);
	}
}

K_TEST(rope_gain_and_softmax)
{
	for (size_t i = 0; i < K_LEN(forms); i++) {
		const struct k_rope_hp *r = &forms[i];
		long double gain = 1, soft = 1;
		if (r->kind == K_ROPE_YARN) {
			gain = slow_m((long double)r->factor, (long double)r->mscale) / slow_m((long double)r->factor, (long double)r->mscale_all_dim);
			soft = r->mscale_all_dim != 0 ? slow_m((long double)r->factor, (long double)r->mscale_all_dim) : 1;
		}
		K_CHECK_MSG(close_to(k_rope_gain(r), (double)gain, 1e-14), "form %zu: %.17g", i, k_rope_gain(r));
		K_CHECK_MSG(close_to(k_rope_softmax(r), (double)(soft * soft), 1e-14), "form %zu: %.17g", i, k_rope_softmax(r));
	}
}

/* Far positions too: an angle of 10^6 turns keeps its last f32 digit. */
K_TEST(rope_tables)
{
	static const int64_t starts[] = { 0, 1, 63, 64, 8191, 131071, 1048570 };
	float *table = k_alloc(6 * MOST * sizeof(*table));
	K_CHECK(table);
	for (size_t i = 0; i < K_LEN(forms); i++)
		for (size_t s = 0; s < K_LEN(starts); s++) {
			const struct k_rope_hp *r = &forms[i];
			double inv[MOST], gain = k_rope_gain(r);
			k_rope_inv(r, inv);
			k_rope_fill(r, inv, starts[s], starts[s] + 6, table);
			for (int64_t p = 0; p < 6; p++)
				for (int64_t j = 0; j < r->dim / 2; j++) {
					long double a = (long double)(starts[s] + p) * slow_inv(r, j);
					const float *at = table + p * r->dim + 2 * j;
					K_CHECK_MSG(fabs((double)at[0] - (double)cosl(a) * gain) < 1e-7 * gain && fabs((double)at[1] - (double)sinl(a) * gain) < 1e-7 * gain,
						"form %zu, position %lld, pair %lld: (%.9g, %.9g), wanted (%.9Lg, %.9Lg)", i, (long long)(starts[s] + p), (long long)j,
						(double)at[0], (double)at[1], cosl(a), sinl(a));
				}
		}
	k_free(table);
}
