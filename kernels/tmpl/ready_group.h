/* ready_group.h: 32 activations on their way to whole numbers, 8 side by side: what ready_int8.h and x16_fixed.h share. */
#ifndef KERNELS_TMPL_READY_GROUP_H
#define KERNELS_TMPL_READY_GROUP_H

#include <immintrin.h>
#include "kernels/tmpl/each.h"

typedef int32_t i8_words __attribute__((vector_size(32)));
typedef uint32_t i8_bits __attribute__((vector_size(32)));      /* where sums may wrap */
typedef float i8_floats __attribute__((vector_size(32)));
typedef uint8_t i8_bytes __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) void i8_load(i8_floats v[4], const float *x)
{
	EACH(i, 4)
		memcpy(&v[i], x + 8 * i, sizeof(v[i]));
}

/* Compilers do not see it in what has no name for it. */
static inline i8_words i8_max(i8_words a, i8_words b) { return (i8_words)_mm256_max_epi32((__m256i)a, (__m256i)b); }

/* The bits of the largest of 32 in size, its sign aside. As whole numbers: NaN is above infinity. */
static inline int32_t i8_top(const i8_floats v[4])
{
	i8_words top = i8_max(i8_max((i8_words)v[0] & INT32_MAX, (i8_words)v[1] & INT32_MAX),
		i8_max((i8_words)v[2] & INT32_MAX, (i8_words)v[3] & INT32_MAX));
	top = i8_max(top, __builtin_shufflevector(top, top, 4, 5, 6, 7, 0, 1, 2, 3));
	top = i8_max(top, __builtin_shufflevector(top, top, 2, 3, 0, 1, 6, 7, 4, 5));
	top = i8_max(top, __builtin_shufflevector(top, top, 1, 0, 3, 2, 5, 4, 7, 6));
	return top[0];
}

/* [0], [1]: the sums of even and of odd lanes. */
static inline i8_words i8_totals(i8_words v)
{
	v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
	return v + __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
}

/* The lowest bytes of all words first, in the order of KK_I8_ORDER, then the next ones, ... */
static inline i8_bytes i8_deal(i8_bytes b)
{
	b = (i8_bytes)__builtin_shufflevector((i8_words)b, (i8_words)b, 0, 4, 1, 5, 2, 6, 3, 7);
	b = __builtin_shufflevector(b, b, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
		16, 20, 24, 28, 17, 21, 25, 29, 18, 22, 26, 30, 19, 23, 27, 31);
	return (i8_bytes)__builtin_shufflevector((i8_words)b, (i8_words)b, 0, 4, 1, 5, 2, 6, 3, 7);
}

#endif
