/* bf16_bf16.h: products of rows of bf16 with activations in bf16. For a level of 16 lanes that has defined, beside the vector,
 *
 *     vh_load(p)           32 bf16 as pairs; vh_end(p, n): the first n of them, else zeros
 *     vh_dots(a, u, v)     a plus, in each lane, both products of the pairs u and v
 *
 * An element has 16 partial sums, lane l of columns 2 l and 2 l + 1 of each 32, in growing k; then vf_sum. A pass takes four rows times up to
 * six tokens in registers: weights come from memory once, and again from the cache for further tokens. */

#include "kernels/tmpl/x16.h"

enum { BB_ROWS = 4, BB_TOKENS = 6, BB_COLS = 2 * VL };

#define BB_STEP(R, T, load) do { \
	vu b[T]; \
	EACH(t, T) \
		b[t] = load(x[t] + k); \
	EACH(r, R) { \
		vu c = load(w + (size_t)r * w_step + k); \
		__builtin_prefetch(w + (size_t)(r + R) * w_step + k); \
		EACH(t, T) \
			a[r][t] = vh_dots(a[r][t], c, b[t]); \
	} \
} while (0)
#define BB_END(p) vh_end(p, cols - k)

#define BB_FN(R, T) \
static void bb_##R##x##T(float *y, size_t y_step, const uint16_t *w, size_t w_step, const uint16_t *const *x, size_t cols) \
{ \
	vf a[R][T]; \
	size_t k = 0; \
	EACH(r, R) EACH(t, T) \
		a[r][t] = vf_set(0); \
	for (; k + BB_COLS <= cols; k += BB_COLS) \
		BB_STEP(R, T, vh_load); \
	if (k < cols) \
		BB_STEP(R, T, BB_END); \
	EACH(r, R) EACH(t, T) \
		y[(size_t)t * y_step + r] = vf_sum(a[r][t]); \
}
BB_FN(4, 1) BB_FN(4, 2) BB_FN(4, 3) BB_FN(4, 4) BB_FN(4, 5) BB_FN(4, 6)
BB_FN(1, 1) BB_FN(1, 2) BB_FN(1, 3) BB_FN(1, 4) BB_FN(1, 5) BB_FN(1, 6)

static void KK_FN(gemm_bf16_bf16)(float *y, size_t y_step, const uint16_t *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	static void (*const tile[2][BB_TOKENS])(float *, size_t, const uint16_t *, size_t, const uint16_t *const *, size_t) = {
		{ bb_1x1, bb_1x2, bb_1x3, bb_1x4, bb_1x5, bb_1x6 }, { bb_4x1, bb_4x2, bb_4x3, bb_4x4, bb_4x5, bb_4x6 },
	};
	for (int r = 0, m; r < rows; r += m, w += (size_t)m * w_step) {
		m = rows - r < BB_ROWS ? 1 : BB_ROWS;
		for (int t = 0, some; t < n; t += some) {
			some = x16_tokens(n - t, BB_TOKENS);
			tile[m > 1][some - 1](y + (size_t)t * y_step + r, y_step, w, w_step, (const uint16_t *const *)(x + t), cols);
		}
	}
}
