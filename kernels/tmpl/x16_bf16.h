/* x16_bf16.h: products of weights in layout x16 with activations in bf16, straight from their records (x16.h). For a level of 16 lanes that has
 * defined, beside the vector,
 *
 *     vh_codes_<type>(word, i)  what nibble i of the low and of the high half of each word stands for, but for the scale, as a pair of bf16
 *     vh_dot(a, u, p)           a plus, in each lane, both products of the pair u and the pair at p
 *
 * A lane is a row. Nibbles i are columns 2 i and 2 i + 1 of the word's eight, so activations are a plain row of bf16. A group has one sum,
 * pairs in growing k; times the scale it is added to the element, groups in growing k. */

#include "kernels/tmpl/x16.h"

/* A group of activations. */
struct b16 { uint16_t x[X16_GROUP]; };

#define B16_GROUP(type, T) do { \
	vf a[T]; \
	EACH(t, T) \
		a[t] = vf_set(0); \
	EACH(word, 4) { \
		vu w = x16_load(x16_words(p, g) + 64 * word, 0); \
		EACH(i, 4) { \
			vu codes = vh_codes_##type(w, i); \
			EACH(t, T) \
				a[t] = vh_dot(a[t], codes, x[t]->x + 8 * word + 2 * i); \
		} \
	} \
	vf scale = x16_scale_##type(p, g, 0); \
	EACH(t, T) \
		sum[0][t] = vf_fma(a[t], scale, sum[0][t]); \
} while (0)

#define B16_FN(type, T) X16_TILE(b16_##type##_##T, type, struct b16, T, B16_GROUP(type, T))

#define B16_NAME(type, T) [T] = b16_##type##_##T,

#define B16_TYPE(type, name) \
X16_TOKENS_12(type, B16_FN) \
X16_GEMM(type, name, 12, B16_NAME)
B16_TYPE(i4, gemm_i4x16_bf16)
B16_TYPE(mx, gemm_mx4x16_bf16)
