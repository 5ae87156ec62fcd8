/* x16_f32.h: products of weights in layout x16 straight from their records (x16.h): a lane is a row, so nothing is moved between lanes, and a
 * group's scale is applied to its sum, not to each of its weights. For a level that has defined, beside what gemm.h wants,
 *
 *     vu                       the vector of VL words
 *     vf_code_<type>(word, i)  what nibble i of each word stands for, but for the scale
 *
 * Every element has, for each group of 32 columns, the sum of its even and that of its odd columns, each in growing k; both together
 * times the scale are added to the element, groups in growing k. How many tokens share the unpacking changes nothing of this. */

#include "kernels/tmpl/x16.h"

enum { XF_SIDE = VL / 8 };                      /* groups side by side: enough sums to hide how long a product takes */

/* Groups group .. group + XF_SIDE - 1 of the record p; k is their first column. */
#define XF_GROUPS(type, T) do { \
	vf a[XF_SIDE][X16_H][T][2]; \
	EACH(g, XF_SIDE) EACH(h, X16_H) EACH(t, T) \
		a[g][h][t][0] = a[g][h][t][1] = vf_set(0); \
	EACH(word, 4) EACH(g, XF_SIDE) { \
		vu w[X16_H]; \
		EACH(h, X16_H) \
			w[h] = x16_load(x16_words(p, group + g) + 64 * word, h); \
		EACH(i, 4) EACH(odd, 2) { \
			vf code[X16_H]; \
			EACH(h, X16_H) \
				code[h] = vf_code_##type(w[h], i + 4 * odd); \
			EACH(t, T) { \
				vf b = vf_set(x[t][k + (size_t)(32 * g + 8 * word + 2 * i + odd)]); \
				EACH(h, X16_H) \
					a[g][h][t][odd] = vf_fma(code[h], b, a[g][h][t][odd]); \
			} \
		} \
	} \
	EACH(g, XF_SIDE) EACH(h, X16_H) { \
		vf scale = x16_scale_##type(p, group + g, h); \
		EACH(t, T) \
			sum[h][t] = vf_fma(a[g][h][t][0] + a[g][h][t][1], scale, sum[h][t]); \
	} \
} while (0)

#define XF_FN(type, T) \
static void xf_##type##_##T(float *y, size_t y_step, const uint8_t *p, const float *const *x, size_t cols) \
{ \
	vf sum[X16_H][T]; \
	EACH(h, X16_H) EACH(t, T) \
		sum[h][t] = vf_set(0); \
	for (size_t k = 0; k < cols; p += X16_RECORD(type)) { \
		X16_FETCH(type, p); \
		X16_EVERY(type, group, XF_SIDE, T) { \
			XF_GROUPS(type, T); \
			k += X16_GROUP * XF_SIDE; \
		} \
	} \
	EACH(h, X16_H) EACH(t, T) \
		vf_store(y + (size_t)t * y_step + h * VL, sum[h][t]); \
}

#define XF_NAME(type, T) [T] = xf_##type##_##T,
#define XF_TYPE(type, name) \
X16_TOKENS_4(type, XF_FN) \
static void KK_FN(ready_##name)(float *y, const float *x, size_t cols) { memmove(y, x, cols * sizeof(*x)); } \
X16_GEMM(type, gemm_##name, 4, XF_NAME)
XF_TYPE(i4, i4x16)
XF_TYPE(mx, mx4x16)
