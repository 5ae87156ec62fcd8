/* explog.c: exp and log by reduction and a series.
 *
 *   exp x = 2^n exp r        n = x / ln 2 rounded, |r| <= ln 2 / 2; Taylor
 *   log x = n ln 2 + log m   sqrt(1/2) <= m < sqrt 2; log m = 2 (s + s^3/3 + s^5/5 + ...), s = (m - 1) / (m + 1)
 *
 * ln 2 is used in two parts; the first has 33 bits, so that its product with n is exact. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "libcore/explog.h"

#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define SQRT_2 0x1.6a09e667f3bcdp+0

enum { BIAS = 1023, FRACTION = 52, TERMS = 18, LOG_TERMS = 27 };

static double from_bits(uint64_t u) { double d; memcpy(&d, &u, sizeof(d)); return d; }
static uint64_t to_bits(double d) { uint64_t u; memcpy(&u, &d, sizeof(u)); return u; }

double k_exp(double x)
{
	int n = (int)(x / (LN2_HIGH + LN2_LOW) + (x < 0 ? -0.5 : 0.5)), half = n / 2;
	double r = x - n * LN2_HIGH - n * LN2_LOW, sum = 1;

	for (int k = TERMS; k > 0; k--)
		sum = 1 + r * sum / k;
	/* In two steps: the power may be below the smallest normal number. */
	return sum * from_bits((uint64_t)(BIAS + half) << FRACTION) * from_bits((uint64_t)(BIAS + n - half) << FRACTION);
}

double k_log(double x)
{
	uint64_t u = to_bits(x);
	int n = (int)(u >> FRACTION) - BIAS;
	double m = from_bits((u & (((uint64_t)1 << FRACTION) - 1)) | (uint64_t)BIAS << FRACTION), s, square, sum = 0;

	if (m >= SQRT_2) {
		m /= 2;
		n++;
	}
	s = (m - 1) / (m + 1);
	square = s * s;
	for (int k = LOG_TERMS; k >= 3; k -= 2)
		sum = (sum + 1.0 / k) * square;
	return n * LN2_HIGH + (n * LN2_LOW + (2 * s * sum + 2 * s));
}

float k_decay_from_log(float a_log)
{
	double x = (double)a_log;

	return -(float)k_exp(x < -700 ? -700 : x > 700 ? 700 : x);
}

float k_decay_to_log(float a)
{
	float best = (float)k_log(-(double)a), tries[3] = { best };

	tries[1] = k_f32_from_bits(k_f32_bits(best) + 1);
	tries[2] = k_f32_from_bits(k_f32_bits(best) - 1);
	for (size_t i = 0; i < K_LEN(tries); i++)
		if (k_decay_from_log(tries[i]) == a)
			return tries[i];
	return best;
}
