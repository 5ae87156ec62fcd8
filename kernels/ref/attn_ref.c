/* attn_ref.c: parts of attention: rotation, softmax: the definition. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"

float kk_ref_max(const float *x, size_t n)
{
	float top = -INFINITY;
	for (size_t i = 0; i < n; i++)
		top = x[i] > top ? x[i] : top;
	/* Whichever zero came first: the result is 0, not -0. */
	return top + 0.0f;
}

float kk_ref_exp_sum(float *x, float scale, float top, size_t n)
{
	double s = 0;
	for (size_t i = 0; i < n; i++) {
		double e = exp((double)scale * x[i] - top);
		x[i] = (float)e;
		s += e;
	}
	return (float)s;
}

void kk_ref_rope(float *x, const float *table, size_t pairs, bool interleaved)
{
	size_t near = interleaved ? 2 : 1, far = interleaved ? 1 : pairs;
	for (size_t j = 0; j < pairs; j++) {
		float *p = x + j * near, *q = p + far;
		double c = table[2 * j], s = table[2 * j + 1], a = *p, b = *q;
		*p = (float)(a * c - b * s);
		*q = (float)(a * s + b * c);
	}
}
