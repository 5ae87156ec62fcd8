/* attn_ref.c: parts of attention: rotation, scores, softmax, weighted values: the definition. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"
#include "libcore/dtype.h"

void kk_ref_pack_queries(float *y, const float *const *q, int n, size_t cols)
{
	for (int t = 0; t < n && cols; t++)
		memcpy(y + (size_t)t * cols, q[t], cols * sizeof(*y));
}

static double score_f32(const float *w, const float *q, size_t cols)
{
	double s = 0;
	for (size_t k = 0; k < cols; k++)
		s += (double)w[k] * q[k];
	return s;
}

static double score_bf16(const uint16_t *w, const float *q, size_t cols)
{
	double s = 0;
	for (size_t k = 0; k < cols; k++)
		s += (double)k_bf16_to_f32(w[k]) * q[k];
	return s;
}

#define SCORES(kind, type) \
void kk_ref_scores_##kind(float *y, size_t y_step, const type *w, size_t w_step, int rows, const float *q, int n, size_t cols, \
	const type *ahead K_UNUSED) \
{ \
	for (int t = 0; t < n; t++) \
		for (int r = 0; r < rows; r++) \
			y[(size_t)t * y_step + (size_t)r] = (float)score_##kind(w + (size_t)r * w_step, q + (size_t)t * cols, cols); \
} \
\
void kk_ref_scores_few_##kind(float *y, size_t y_step, const type *w, size_t w_step, int rows, const float *const *q, int n, size_t cols, \
	const type *ahead K_UNUSED) \
{ \
	for (int t = 0; t < n; t++) \
		for (int r = 0; r < rows; r++) \
			y[(size_t)t * y_step + (size_t)r] = (float)score_##kind(w + (size_t)r * w_step, q[t], cols); \
}
SCORES(f32, float)
SCORES(bf16, uint16_t)

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

void kk_ref_mix(float *y, size_t y_step, const float *p, size_t p_step, int n, const float *w, size_t w_step, int rows, size_t cols)
{
	for (int t = 0; t < n; t++)
		for (size_t j = 0; j < cols; j++) {
			double s = y[(size_t)t * y_step + j];
			for (int d = 0; d < rows; d++)
				s += (double)p[(size_t)t * p_step + (size_t)d] * w[(size_t)d * w_step + j];
			y[(size_t)t * y_step + j] = (float)s;
		}
}

void kk_ref_mix_bf16(float *y, size_t y_step, const float *p, size_t p_step, int n, const uint16_t *w, size_t w_step, int rows, size_t cols)
{
	for (int t = 0; t < n; t++)
		for (size_t j = 0; j < cols; j++) {
			double s = y[(size_t)t * y_step + j];
			for (int d = 0; d < rows; d++)
				s += (double)p[(size_t)t * p_step + (size_t)d] * k_bf16_to_f32(w[(size_t)d * w_step + j]);
			y[(size_t)t * y_step + j] = (float)s;
		}
}
