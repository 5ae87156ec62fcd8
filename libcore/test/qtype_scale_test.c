/* qtype_scale_test.c: scales of INT4 and MXFP4 groups against a slow form: every bf16 there is, division and rounding in double. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "libcore/qtype.h"
#include "libcore/test.h"
#include <math.h>

static uint64_t rng = 777;

static double uniform(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (double)(rng >> 11) * 0x1p-53;
}

static double normal(void)
{
	double s = 0;

	for (int i = 0; i < 12; i++)
		s += uniform();
	return s - 6;
}

static double bf16(unsigned bits) { return (double)k_bf16_to_f32((uint16_t)bits); }

/* A group in and out: values, the scale's bits. */
static uint16_t quantise(const char *type, const float *x, float *y, const struct k_quant_opts *o)
{
	const struct k_qtype *t = k_qtype_find(type, NULL);
	struct k_err err = { 0 };
	uint8_t p[64];
	uint16_t s;

	K_CHECK(t && t->granule_bytes(32, 1) <= sizeof(p));
	K_CHECK_OK(t->quant(p, x, 32, 1, o, &err));
	t->dequant(y, p, 32, 1, 0);
	memcpy(&s, p, 2);
	return strcmp(type, "i4g32") == 0 ? s : p[0];
}

static double weighted(const float *x, const float *y, const float *w)
{
	double e = 0;

	for (int i = 0; i < 32; i++)
		e += (w ? (double)w[i] : 1) * ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
	return e;
}

/* Least error over all bf16 scales between amax/9 and amax/6, rounded to bf16, in long double. */
static double least(const float *x, const float *w)
{
	double amax = 0, best = INFINITY;

	/* Not by fmax: gcc 12 for ARM fails on that. */
	for (int i = 0; i < 32; i++)
		amax = fabs((double)x[i]) > amax ? fabs((double)x[i]) : amax;
	for (unsigned s = k_bf16_from_f32((float)(amax / 9)); s <= k_bf16_from_f32((float)(amax / 6)); s++) {
		double e = 0;

		for (int i = 0; i < 32; i++) {
			double q = fmin(7, fmax(-8, rint((double)x[i] / bf16(s)))), d = (double)x[i] - q * bf16(s);

			e += (w ? (double)w[i] : 1) * d * d;
		}
		best = fmin(best, e);
	}
	return best;
}

K_TEST(qtype_scale_least_squares)
{
	struct k_quant_opts mse = { .scale = K_SCALE_MSE }, seven = { .scale = K_SCALE_AMAX7 };
	float x[32], y[32], w[32];
	double sum = 0, sum7 = 0;

	for (int n = 0; n < 300; n++) {
		double size = ldexp(1, (int)(uniform() * 40) - 20), e;

		for (int i = 0; i < 32; i++) {
			x[i] = (float)(normal() * size);
			w[i] = n & 1 && uniform() < 0.3 ? 0 : (float)uniform();
		}
		mse.weight = n % 3 ? w : NULL;
		quantise("i4g32", x, y, &mse);
		e = weighted(x, y, mse.weight);
		K_CHECK_MSG(fabs(e - least(x, mse.weight)) <= 1e-9 * e, "group %d: %g, wanted %g", n, e, least(x, mse.weight));
		sum += e / (size * size);
		quantise("i4g32", x, y, &seven);
		sum7 += weighted(x, y, mse.weight) / (size * size);
	}
	K_CHECK_MSG(sum < 0.85 * sum7, "%g, by amax7 %g", sum, sum7);
}

K_TEST(qtype_scale_least_squares_of_odd_groups)
{
	struct k_quant_opts mse = { .scale = K_SCALE_MSE };
	float x[32] = { 0 }, y[32], w[32] = { 0 };

	quantise("i4g32", x, y, &mse);
	K_CHECK(weighted(x, y, NULL) == 0);
	/* On a grid: no error, and of all scales without one the largest. */
	for (int i = 0; i < 32; i++)
		x[i] = (float)(i % 15 - 7) * 0.125f;
	K_CHECK(bf16(quantise("i4g32", x, y, &mse)) == 0.125 && weighted(x, y, NULL) == 0);
	/* Weights that are all zero are none. */
	mse.weight = w;
	K_CHECK(bf16(quantise("i4g32", x, y, &mse)) == 0.125);
	x[3] = 0x1p-130f;
	memset(x, 0, sizeof(x));
	x[5] = 0x1p-130f;
	quantise("i4g32", x, y, &mse);
	K_CHECK(fabsf(y[5]) <= 0x1p-129f);
}

K_TEST(qtype_scale_of_training)
{
	struct k_quant_opts qat = { .scale = K_SCALE_QAT }, seven = { .scale = K_SCALE_AMAX7 };
	float x[32], y[32], z[32];

	for (int n = 0; n < 500; n++) {
		double s = bf16(0x3728 + (unsigned)(uniform() * 3000));
		int top = n % 5 ? 7 : 1 + n / 5 % 8;

		for (int i = 0; i < 32; i++) {
			double q = i == 0 ? (n & 1 ? -top : K_MIN(top, 7)) : floor(uniform() * (2 * K_MIN(top, 7) + 1)) - K_MIN(top, 7);

			x[i] = (float)(q * s);
			if (n % 3)
				x[i] = k_bf16_to_f32(k_bf16_from_f32(x[i]));
		}
		quantise("i4g32", x, y, &qat);
		for (int i = 0; i < 32; i++)
			K_CHECK_MSG(x[i] == (n % 3 ? k_bf16_to_f32(k_bf16_from_f32(y[i])) : y[i]), "group %d, value %d: %a becomes %a", n, i,
				(double)x[i], (double)y[i]);
	}
	/* On no grid: as by amax7. */
	for (int i = 0; i < 32; i++)
		x[i] = (float)normal();
	K_CHECK(quantise("i4g32", x, y, &qat) == quantise("i4g32", x, z, &seven) && memcmp(y, z, sizeof(y)) == 0);
}

/* The rules of formats.md 4, in logarithms. */
static int exponent(double amax, enum k_mx_rule rule)
{
	int e;
	double m = frexp(amax, &e) * 2;         /* 1 <= m < 2 */

	return e - 1 + (rule == K_MX_CT && m >= 1.75) - 2 + 127;
}

/* Codes 0..7 in order; a tie goes to the even one, or by ggml to the lower. */
static double nearest(double q, enum k_mx_rule rule)
{
	static const double v[] = { 0, 0.5, 1, 1.5, 2, 3, 4, 6 };
	int best = 0;

	for (int k = 1; k < 8; k++) {
		double a = fabs(fabs(q) - v[best]), b = fabs(fabs(q) - v[k]);

		if (b < a || (b == a && rule != K_MX_GGML && k % 2 == 0))
			best = k;
	}
	return copysign(v[best], q);
}

K_TEST(qtype_scale_mx_rules)
{
	static const enum k_mx_rule rules[] = { K_MX_CT, K_MX_OCP, K_MX_GGML };
	float x[32], y[32];

	for (int n = 0; n < 900; n++) {
		struct k_quant_opts o = { .mx = rules[n % 3] };
		double amax = 0;
		int e;

		for (int i = 0; i < 32; i++) {
			/* Every third group has ties. */
			x[i] = (float)(n / 3 % 3 ? normal() : floor(uniform() * 49 - 24) / 4);
			amax = fmax(amax, fabs((double)x[i]));
		}
		e = exponent(amax, o.mx);
		K_CHECK_MSG(quantise("mxfp4", x, y, &o) == e, "rule %d, amax %g", o.mx, amax);
		for (int i = 0; i < 32; i++) {
			double want = nearest(ldexp((double)x[i], 127 - e), o.mx) * ldexp(1, e - 127);

			K_CHECK_MSG((double)y[i] == want, "rule %d: %g becomes %g, wanted %g", o.mx, (double)x[i], (double)y[i], want);
			K_CHECK_MSG(o.mx != K_MX_GGML || y[i] != 0 || !signbit(y[i]), "ggml has no -0");
		}
	}
}

K_TEST(qtype_scale_mx_least_squares)
{
	struct k_quant_opts mse = { .scale = K_SCALE_MSE };
	float x[32], y[32], z[32];

	for (int n = 0; n < 200; n++) {
		for (int i = 0; i < 32; i++)
			x[i] = (float)(normal() * (1 + n));
		quantise("mxfp4", x, y, &mse);
		for (int k = 0; k < 3; k++) {
			struct k_quant_opts o = { .mx = k == 0 ? K_MX_CT : k == 1 ? K_MX_OCP : K_MX_GGML };

			quantise("mxfp4", x, z, &o);
			K_CHECK(weighted(x, y, NULL) <= weighted(x, z, NULL) * (1 + 1e-12));
		}
	}
}
