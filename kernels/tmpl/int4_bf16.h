/* int4_bf16.h: products of INT4 weights with activations in bf16, straight from the records of i4g32 in layout x16
 * (libcore/qtype/i4g32_x16.c). For a level of 16 lanes that has defined, beside the vector,
 *
 *     vh_codes(word, i)    nibble i of the low and of the high half of each word, less 8, as a pair of bf16
 *     vh_dot(a, u, p)      a plus, in each lane, both products of the pair u and the pair at p
 *
 * A lane is a row. Nibbles i are columns 2 i and 2 i + 1 of the word's eight, so activations are a plain row of bf16. A group has one sum,
 * pairs in growing k; times the scale it is added to the element, groups in growing k. */

#include "kernels/tmpl/x16.h"

enum { B16_TOKENS = 12 };

#define B16_GROUP(T, g) do { \
	vf a[T]; \
	EACH(t, T) \
		a[t] = vf_set(0); \
	EACH(word, 4) { \
		vu w = x16_word(p, 4 * (g) + word, 0); \
		EACH(i, 4) { \
			vu codes = vh_codes(w, i); \
			EACH(t, T) \
				a[t] = vh_dot(a[t], codes, x[t] + 32 * (g) + 8 * word + 2 * i); \
		} \
	} \
	vf scale = x16_scale(p, g, 0); \
	EACH(t, T) \
		sum[t] = vf_fma(a[t], scale, sum[t]); \
} while (0)

#define B16_FN(T) \
static void b16_##T(float *y, size_t y_step, const uint8_t *p, const uint16_t *const *from, size_t cols) \
{ \
	const uint16_t *x[T]; \
	vf sum[T]; \
	EACH(t, T) { \
		x[t] = from[t]; \
		sum[t] = vf_set(0); \
	} \
	for (size_t k = 0; k < cols; k += X16_COLS, p += X16_RECORD) { \
		X16_FETCH(p); \
		B16_GROUP(T, 0); \
		B16_GROUP(T, 1); \
		EACH(t, T) \
			x[t] += X16_COLS; \
	} \
	EACH(t, T) \
		vf_store(y + (size_t)t * y_step, sum[t]); \
}
B16_FN(1) B16_FN(2) B16_FN(3) B16_FN(4) B16_FN(5) B16_FN(6) B16_FN(7) B16_FN(8) B16_FN(9) B16_FN(10) B16_FN(11) B16_FN(12)

static void KK_FN(gemm_i4x16_bf16)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	static void (*const tile[])(float *, size_t, const uint8_t *, const uint16_t *const *, size_t) =
		{ b16_1, b16_2, b16_3, b16_4, b16_5, b16_6, b16_7, b16_8, b16_9, b16_10, b16_11, b16_12 };
	const uint8_t *p = w;
	for (int r = 0; r < rows; r += X16_ROWS, p += cols / X16_COLS * X16_RECORD)
		for (int t = 0, m; t < n; t += m) {
			m = x16_tokens(n - t, B16_TOKENS);
			tile[m - 1](y + (size_t)t * y_step + r, y_step, p, (const uint16_t *const *)(x + t), cols);
		}
}
