/* ready_group.h: 32 activations on their way to whole numbers, 8 side by side: what ready_int8.h and x16_fixed.h share. */
#ifndef KERNELS_TMPL_READY_GROUP_H
#define KERNELS_TMPL_READY_GROUP_H

typedef int32_t i8_words __attribute__((vector_size(32)));
typedef float i8_floats __attribute__((vector_size(32)));
typedef uint8_t i8_bytes __attribute__((vector_size(32)));

static inline i8_words i8_max(i8_words a, i8_words b)
{
	i8_words more = a > b;
	return (a & more) | (b & ~more);
}

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

#endif
