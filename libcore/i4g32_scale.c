/* i4g32_scale.c: the scale of an INT4 group by each rule of enum k_scale (qtype.h).
 *
 *   AMAX7     max(amax * (1/7), 1e-5) in f32, then bf16
 *   AMAX75    amax / 7.5 in f32, then bf16; 2^-7 for 0
 *   MSE       of all bf16 from amax/6 down to amax/9 the one with the least sum of weight * (x - code * scale)^2
 *   QAT       a scale with which every value is code * scale, else is that in bf16: near amax/7, or amax/8, amax/6 .. amax/1
 *
 * Everything is single operations in f32 or double in one order, so that a scale is the same on every machine. */
#include "libcore/base.h"
#include "libcore/qtype/i4g32.h"

static uint16_t amax7(float amax)
{
	float f = amax * (1.0f / 7.0f);

	return k_bf16_from_f32(f > 1e-5f ? f : 1e-5f);
}

static uint16_t amax75(float amax)
{
	uint16_t s = k_bf16_from_f32(amax / 7.5f);

	return s ? s : 0x3c00;                          /* 2^-7, the step of bf16 at one */
}

/* |x/s| < 2^22. */
static inline float value_of(float x, float s)
{
	int32_t q = k_round(x / s);

	q = q < -8 ? -8 : q;
	q = q > 7 ? 7 : q;
	return (float)q * s;
}

/* Eight sums side by side, then a tree: the compiler may use vectors, and the order is one. */
static double error_of(const float *restrict x, const float *restrict weight, float s)
{
	double sum[8] = { 0 };
	float v[32];

	for (int i = 0; i < 32; i++)
		v[i] = value_of(x[i], s);
	for (int i = 0; i < 32; i += 8)
		for (int j = 0; j < 8; j++) {
			double d = (double)x[i + j] - (double)v[i + j];

			sum[j] += (double)weight[i + j] * (d * d);
		}
	return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static uint16_t least_squares(const float *x, float amax, const float *weight)
{
	static const float alike[32] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	uint16_t low = k_bf16_from_f32(amax / 9.0f), high = k_bf16_from_f32(amax / 6.0f), best = 0;
	double least = 0;

	if (high == 0)
		return amax7(amax);
	low = K_MAX(low, 1);
	best = high;
	weight = k_weights32(weight) ? weight : alike;
	for (uint16_t s = high; s >= low; s--) {
		double e = error_of(x, weight, k_bf16_to_f32(s));

		/* Of equals the larger scale: the sums are in falling order of it. */
		if (s == high || e < least) {
			least = e;
			best = s;
		}
	}
	return best;
}

static bool on_grid(const float *x, float s, bool rounded)
{
	for (int i = 0; i < 32; i++) {
		float v = value_of(x[i], s);

		if (x[i] != (rounded ? k_bf16_to_f32(k_bf16_from_f32(v)) : v))
			return false;
	}
	return true;
}

/* The largest code of a group is 7 by the rule of training, 8 or less in other people's; rounding the product to bf16 moved amax by
 * half a unit at most, which is one or two units of the scale. 0: there is none. */
static uint16_t grid_of(const float *x, float amax, bool rounded)
{
	static const uint8_t largest[] = { 7, 8, 6, 5, 4, 3, 2, 1 };
	static const int8_t near[] = { 0, -1, 1, -2, 2 };

	for (size_t k = 0; k < K_LEN(largest) && amax > 0; k++)
		for (size_t i = 0; i < K_LEN(near); i++) {
			int32_t s = k_bf16_from_f32(amax / (float)largest[k]) + near[i];

			if (s > 0 && s < K_INF_BITS >> 16 && on_grid(x, k_bf16_to_f32((uint16_t)s), rounded))
				return (uint16_t)s;
		}
	return 0;
}

/* A grid that holds the values themselves comes before one that holds them rounded. */
static uint16_t trained(const float *x, float amax)
{
	uint16_t s = grid_of(x, amax, false);

	if (!s)
		s = grid_of(x, amax, true);
	return s ? s : amax7(amax);
}

uint16_t k_i4g32_scale(const float *x, float amax, const float *weight, enum k_scale rule)
{
	switch (rule) {
	case K_SCALE_AMAX75:
		return amax75(amax);
	case K_SCALE_MSE:
		return least_squares(x, amax, weight);
	case K_SCALE_QAT:
		return trained(x, amax);
	default:
		return amax7(amax);
	}
}
