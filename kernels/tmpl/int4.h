/* int4.h: products of INT4 weights straight from their records, i4g32 in layout x16 (libcore/qtype/i4g32_x16.c): a lane is a row, so
 * nothing is moved between lanes, and a group's scale is applied to its sum, not to each of its weights. For a level that has
 * defined, beside what gemm.h wants,
 *
 *     vu                  the vector of VL words
 *     vf_code(word, i)    nibble i of each word, less 8
 *
 * Every element has, for each group of 32 columns, the sum of its even and that of its odd columns, each in growing k; both together
 * times the scale are added to the element, groups in growing k. How many tokens share the unpacking changes nothing of this. */

#include "kernels/tmpl/x16.h"

enum { INT4_G = VL / 8 };                       /* groups side by side: enough sums to hide how long a product takes */

/* Groups group .. group + INT4_G - 1 of the record p; x stand at its first column. */
#define INT4_GROUPS(T) do { \
	vf a[INT4_G][X16_H][T][2]; \
	EACH(g, INT4_G) EACH(h, X16_H) EACH(t, T) \
		a[g][h][t][0] = a[g][h][t][1] = vf_set(0); \
	EACH(q, 4) EACH(g, INT4_G) { \
		int word = 4 * (group + g) + q; \
		vu w[X16_H]; \
		EACH(h, X16_H) \
			w[h] = x16_word(p, word, h); \
		EACH(i, 4) EACH(odd, 2) { \
			vf code[X16_H]; \
			EACH(h, X16_H) \
				code[h] = vf_code(w[h], i + 4 * odd); \
			EACH(t, T) { \
				vf b = vf_set(x[t][k + 8 * (size_t)word + 2 * (size_t)i + (size_t)odd]); \
				EACH(h, X16_H) \
					a[g][h][t][odd] = vf_fma(code[h], b, a[g][h][t][odd]); \
			} \
		} \
	} \
	EACH(g, INT4_G) EACH(h, X16_H) { \
		vf scale = x16_scale(p, group + g, h); \
		EACH(t, T) \
			sum[h][t] = vf_fma(a[g][h][t][0] + a[g][h][t][1], scale, sum[h][t]); \
	} \
} while (0)

#define INT4_FN(T) \
static void int4_##T(float *y, size_t y_step, const uint8_t *p, const float *const *x, size_t cols) \
{ \
	vf sum[X16_H][T]; \
	EACH(h, X16_H) EACH(t, T) \
		sum[h][t] = vf_set(0); \
	for (size_t k = 0; k < cols; k += X16_COLS, p += X16_RECORD) { \
		X16_FETCH(p); \
		UNROLL for (int group = 0; group < 2; group += INT4_G) \
			INT4_GROUPS(T); \
	} \
	EACH(h, X16_H) EACH(t, T) \
		vf_store(y + (size_t)t * y_step + h * VL, sum[h][t]); \
}
INT4_FN(1)
INT4_FN(2)
INT4_FN(3)
INT4_FN(4)

static void KK_FN(ready_i4x16)(float *y, const float *x, size_t cols) { memmove(y, x, cols * sizeof(*x)); }

static void KK_FN(gemm_i4x16)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	static void (*const tile[])(float *, size_t, const uint8_t *, const float *const *, size_t) = { int4_1, int4_2, int4_3, int4_4 };
	const uint8_t *p = w;
	for (int r = 0; r < rows; r += X16_ROWS, p += cols / X16_COLS * X16_RECORD)
		for (int t = 0; t < n; t += (int)K_LEN(tile))
			tile[K_MIN(n - t, (int)K_LEN(tile)) - 1](y + (size_t)t * y_step + r, y_step, p, x + t, cols);
}
