/* mx4_pairs.h: products of MXFP4 weights straight from their records, layout x16 (x16.h), for a level of 8 lanes whose look-ups are of
 * bytes; it has defined, beside what gemm.h wants,
 *
 *     vu                  the vector of VL words
 *     vf_pairs(to, u)     u: codes of E2M1, a byte each, four a row. to[0], to[1]: bytes 0 and 2, then 1 and 3, of rows 0 1 4 5, as neighbours;
 *                         to[2], to[3]: those of rows 2 3 6 7
 *     vf_two(p)           two floats, again and again
 *     vf_rows(a, b)       of neighbours, which are added, back to rows 0 to 7
 *
 * Bytes 0 2 1 3 of a word's low nibbles are columns 0 1 4 5, of its high nibbles 2 3 6 7: two neighbours are activations as they lie. A lane has
 * every other column of a row. Every element has, for each group of 32 columns, the sums of its even and of its odd columns, each word by word in
 * the order 0 1 4 5 2 3 6 7; both together times the scale are added to the element, groups in growing k. */

#include "kernels/tmpl/x16.h"

/* Group g of the record p, rows of vectors h .. h + H - 1; k is its first column. Two sums hold the rows of a vector. */
#define MP_GROUP(H, T) do { \
	vf a[H][2][T]; \
	EACH(i, H) EACH(half, 2) EACH(t, T) \
		a[i][half][t] = vf_set(0); \
	EACH(word, 4) EACH(i, H) EACH(high, 2) { \
		vu w = x16_load(x16_words(p, g) + 64 * word, h + i); \
		vf code[4]; \
		vf_pairs(code, (high ? w >> 4 : w) & 0x0f0f0f0fu); \
		EACH(odd, 2) EACH(t, T) { \
			vf b = vf_two(x[t] + k + 8 * word + 2 * high + 4 * odd); \
			EACH(half, 2) \
				a[i][half][t] = vf_fma(code[2 * half + odd], b, a[i][half][t]); \
		} \
	} \
	EACH(i, H) { \
		vf scale = x16_scale_mx(p, g, h + i); \
		EACH(t, T) \
			sum[h + i][t] = vf_fma(vf_rows(a[i][0][t], a[i][1][t]), scale, sum[h + i][t]); \
	} \
} while (0)

/* 16 rows for T tokens, H vectors of rows side by side: what registers hold. More sums for one token went through memory. */
#define MP_FN(H, T) \
static void mp_##T(float *y, size_t y_step, const uint8_t *p, const float *const *x, size_t cols) \
{ \
	vf sum[X16_H][T]; \
	EACH(h, X16_H) EACH(t, T) \
		sum[h][t] = vf_set(0); \
	for (size_t k = 0; k < cols; p += X16_RECORD(mx)) { \
		X16_FETCH(1, p); \
		X16_EVERY(mx, g, 1, T) { \
			X16_FETCH(4, x16_words(p, g)); \
			for (int h = 0, end = x16_unknown(X16_H); h < end; h += H) \
				MP_GROUP(H, T); \
			k += X16_GROUP; \
		} \
	} \
	EACH(h, X16_H) EACH(t, T) \
		vf_store(y + (size_t)t * y_step + h * VL, sum[h][t]); \
}
MP_FN(2, 1)
MP_FN(2, 2)
MP_FN(1, 3)
MP_FN(1, 4)

static void KK_FN(ready_mx4x16)(float *y, const float *x, size_t cols) { memmove(y, x, cols * sizeof(*x)); }

#define MP_NAME(type, T) [T] = mp_##T,
X16_GEMM(mx, gemm_mx4x16, 4, MP_NAME)
