/* page_ref.c: attention on pages of int8 (libcore/backend.h): the definition, single operations in one order. */
#include "libcore/base.h"
#include <float.h>
#include "kernels/ref/ref.h"
#include "libcore/backend.h"

static const int8_t *code_at(const void *page, size_t width, size_t token, size_t value)
{
	return (const int8_t *)page + k_kv_int8_at((int64_t)width, (int64_t)token, (int64_t)value);
}

/* The first token's scale of the group that a value belongs to. */
static const float *scales_of(const void *page, size_t width, size_t value)
{
	return (const float *)(const void *)((const char *)page + k_kv_scales_at((int64_t)width, (int64_t)(value / K_KV_GROUP)));
}

/* Up to where from value i on columns are of one group. */
static size_t group_end(size_t i, size_t end) { return K_MIN(end, (i / K_KV_GROUP + 1) * K_KV_GROUP); }

/* The largest size; NaN is above infinity. */
static float top_of(const float *x, size_t n)
{
	uint32_t top = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, &x[i], sizeof(u));
		top = K_MAX(top, u & INT32_MAX);
	}
	float f;
	memcpy(&f, &top, sizeof(f));
	return f;
}

/* What one step of `most` stands for, and its inverse; of what is not finite all are 0 steps of NaN. */
static float step_of(const float *x, size_t n, float most, float *inv)
{
	float d = top_of(x, n) / most;
	*inv = d > FLT_MIN && d <= FLT_MAX ? 1 / d : 0;
	return d <= FLT_MAX ? d : NAN;
}

void kk_ref_append_i8(void *page, size_t width, int token, const float *a, size_t n_a, const float *b)
{
	float x[K_KV_GROUP], inv;
	for (size_t i = 0, end; i < width; i = end) {
		end = group_end(i, width);
		for (size_t k = i; k < end; k++)
			x[k - i] = k < n_a ? a[k] : b[k - n_a];
		float *scale = (float *)scales_of(page, width, i) + token;
		*scale = step_of(x, end - i, 127, &inv);
		for (size_t k = i; k < end; k++)
			*(int8_t *)code_at(page, width, (size_t)token, k) = (int8_t)(inv > 0 ? rintf(x[k - i] * inv) : 0);
	}
}

void kk_ref_pack_queries_i8(float *y, const float *const *q, int n, size_t cols)
{
	int all = (int)k_align_up((uint64_t)n, KK_I8_QUERIES);
	int16_t *to = (int16_t *)(y + KK_QUERIES);
	for (int t = 0; t < all; t++) {
		float inv = 0;
		y[t] = t < n ? step_of(q[t], cols, 32767, &inv) : 0;
		for (size_t k = 0; k < cols; k++)
			to[k / 2 * 2 * (size_t)all + (size_t)(2 * t) + k % 2] = (int16_t)(inv > 0 ? rintf(q[t][k] * inv) : 0);
	}
}

void kk_ref_scores_i8(float *y, size_t y_step, const void *page, size_t width, size_t at, size_t cols, int rows, const float *q, int n,
	const void *ahead K_UNUSED)
{
	size_t all = (size_t)k_align_up((uint64_t)n, KK_I8_QUERIES);
	const int16_t *from = (const int16_t *)(q + KK_QUERIES);
	for (size_t t = 0; t < (size_t)n; t++)
		for (size_t r = 0; r < (size_t)rows; r++) {
			float s = 0;
			for (size_t i = at, end; i < at + cols; i = end) {
				int32_t sum = 0;
				end = group_end(i, at + cols);
				for (size_t k = i; k < end; k++)
					sum += *code_at(page, width, r, k) * from[(k - at) / 2 * 2 * all + 2 * t + (k - at) % 2];
				s = fmaf((float)sum, scales_of(page, width, i)[r], s);
			}
			y[t * y_step + r] = s * q[t];
		}
}

/* Sizes too small to be told from 0 beside the largest that weights and scales can have. */
static float inverse(float most, float top) { return top > 0x1p-100f ? most / top : 0; }

/* Weights of 15 bits. The result is NaN anyhow where one is none. */
static void weigh(int32_t *c, const float *p, float p_inv, const float *scale, float s_inv, size_t rows)
{
	for (size_t r = 0; r < rows; r++) {
		float w = p[r] * p_inv * (scale[r] * s_inv);
		c[r] = fabsf(w) < 32768 ? (int32_t)rintf(w) : 0;
	}
}

/* The scales of the group that a value belongs to, of tokens of several pages. */
static void gather_scales(float *to, const void *const *page, size_t width, size_t value, size_t rows)
{
	for (size_t r = 0; r < rows; r++)
		to[r] = scales_of(page[r / K_PAGE], width, value)[r % K_PAGE];
}

void kk_ref_mix_i8(float *y, size_t y_step, const float *p, int n, const void *const *page, size_t width, size_t at, size_t cols, int rows)
{
	for (size_t t = 0; t < (size_t)n; t++, p += KK_SCORES) {
		float top = top_of(p, (size_t)rows);
		for (size_t i = at, end; i < at + cols; i = end) {
			float scale[KK_SCORES];
			gather_scales(scale, page, width, i, (size_t)rows);
			float most = top_of(scale, (size_t)rows), unit = top / 32767 * most;
			int32_t c[KK_SCORES];
			weigh(c, p, inverse(32767, top), scale, inverse(1, most), (size_t)rows);
			end = group_end(i, at + cols);
			for (size_t j = i; j < end; j++) {
				float *to = y + t * y_step + (j - at);
				int32_t sum = 0;
				for (size_t r = 0; r < (size_t)rows; r++)
					sum += c[r] * *code_at(page[r / K_PAGE], width, r % K_PAGE, j);
				*to = fmaf((float)sum, unit, *to);
			}
		}
	}
}
