/* page_ref.c: attention on pages of int8 (libcore/backend.h): the definition, single operations in one order. */
#include "libcore/base.h"
#include <float.h>
#include "kernels/ref/ref.h"
#include "libcore/backend.h"

static uint8_t *code_at(const void *page, size_t width, size_t token, size_t value)
{
	return (uint8_t *)page + k_kv_int8_at((int64_t)width, (int64_t)token, (int64_t)value);
}

static int value_at(const void *page, size_t width, size_t token, size_t value) { return *code_at(page, width, token, value) - 128; }

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

/* What one step of a group stands for, and its inverse; where that is not up to `most` all are 0 steps of NaN. */
static float step_of(float d, float most, float *inv)
{
	*inv = d > FLT_MIN && d <= most ? 1 / d : 0;
	return d <= most ? d : NAN;
}

/* Less its two lowest bits. */
static float shorter(float d)
{
	uint32_t u;
	memcpy(&u, &d, sizeof(u));
	u &= ~3u;
	memcpy(&d, &u, sizeof(d));
	return d;
}

static int steps(float x, float inv) { return (int)(inv > 0 ? rintf(x * inv) : 0); }

void kk_ref_append_i8(void *page, size_t width, int token, const float *a, size_t n_a, const float *b)
{
	float x[K_KV_GROUP], inv;
	for (size_t i = 0, end; i < width; i = end) {
		end = group_end(i, width);
		for (size_t k = i; k < end; k++)
			x[k - i] = k < n_a ? a[k] : b[k - n_a];
		float *scale = (float *)scales_of(page, width, i) + token;
		*scale = step_of(top_of(x, end - i) / 127, FLT_MAX, &inv);
		for (size_t k = i; k < end; k++)
			*code_at(page, width, (size_t)token, k) = (uint8_t)(steps(x[k - i], inv) + 128);
	}
}

/* A query that is ready: steps of its groups, then its values in them. */
struct query { float *d; int8_t *code; };
static struct query query_at(float *y, size_t t, size_t cols)
{
	float *d = y + t * KK_PACKED(cols) / KK_QUERIES;
	return (struct query){ d, (int8_t *)(d + cols / K_KV_GROUP + 2) };
}

void kk_ref_pack_queries_i8(float *y, const float *const *q, int n, size_t at, size_t cols)
{
	for (size_t t = 0; t < (size_t)n; t++) {
		struct query to = query_at(y, t, cols);
		for (size_t i = at, end; i < at + cols; i = end) {
			float inv;
			end = group_end(i, at + cols);
			*to.d++ = step_of(shorter(top_of(q[t] + (i - at), end - i) / 127), KK_I8_STEP, &inv);
			for (size_t k = i; k < end; k++)
				to.code[k - at] = (int8_t)steps(q[t][k - at], inv);
		}
	}
}

void kk_ref_scores_i8(float *y, size_t y_step, const void *page, size_t width, size_t at, size_t cols, int rows, const float *q, int n,
	const void *ahead K_UNUSED, size_t fresh K_UNUSED)
{
	for (size_t t = 0; t < (size_t)n; t++)
		for (size_t r = 0; r < (size_t)rows; r++) {
			struct query from = query_at((float *)q, t, cols);
			float s = 0;
			for (size_t i = at, end; i < at + cols; i = end) {
				int32_t sum = 0;
				end = group_end(i, at + cols);
				for (size_t k = i; k < end; k++)
					sum += value_at(page, width, r, k) * from.code[k - at];
				s = fmaf((float)sum * *from.d++, scales_of(page, width, i)[r], s);
			}
			y[t * y_step + r] = s;
		}
}

/* The scales of the group that a value belongs to, of tokens of several pages. */
static void gather_scales(float *to, const void *const *page, size_t width, size_t value, size_t rows)
{
	for (size_t r = 0; r < rows; r++)
		to[r] = scales_of(page[r / K_PAGE], width, value)[r % K_PAGE];
}

/* Weights of a group as bytes, 1.5 2^15 counts in 256ths; returns what one of them stands for: NaN where a scale is not finite. */
static float weigh(int32_t *c, const float *p, const float *scale, size_t rows)
{
	float w[KK_SCORES];
	for (size_t r = 0; r < rows; r++)
		w[r] = p[r] * scale[r];
	float top = top_of(w, rows), inv = top > 0x1p-100f ? KK_I8_WEIGHT / top : 0;
	for (size_t r = 0; r < rows; r++)
		c[r] = (int32_t)(fmaf(w[r], inv, 0x1.8p15f + KK_I8_DITHER((int)(r % K_PAGE))) - 0x1.8p15f);
	return top * (1.0f / KK_I8_WEIGHT);
}

void kk_ref_mix_i8(float *y, size_t y_step, const float *p, int n, const void *const *page, size_t width, size_t at, size_t cols, int rows,
	const void *const *ahead K_UNUSED)
{
	for (size_t t = 0; t < (size_t)n; t++, p += KK_SCORES)
		for (size_t i = at, end; i < at + cols; i = end) {
			float scale[KK_SCORES], unit = NAN;
			int32_t c[KK_SCORES] = { 0 };
			gather_scales(scale, page, width, i, (size_t)rows);
			if (top_of(scale, (size_t)rows) <= FLT_MAX)
				unit = weigh(c, p, scale, (size_t)rows);
			end = group_end(i, at + cols);
			for (size_t j = i; j < end; j++) {
				float *to = y + t * y_step + (j - at);
				int32_t sum = 0;
				for (size_t r = 0; r < (size_t)rows; r++)
					sum += c[r] * value_at(page[r / K_PAGE], width, r % K_PAGE, j);
				*to = fmaf((float)sum, unit, *to);
			}
		}
}
