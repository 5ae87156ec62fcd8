/* ready_int8.h: activations of 8 bits as x16_int8.h takes them (struct kk_i8). One form for all levels, so those above the first with vectors have none
 * of their own. */

#include "kernels/tmpl/ready_group.h"

typedef uint32_t i8_four __attribute__((vector_size(16)));
typedef uint16_t i8_four16 __attribute__((vector_size(8)));

/* 8 numbers up to 127 as codes, in their order. The sum with 1.5 2^23 is rounded to a whole number, whose bits are its lowest. */
static inline i8_words i8_codes(int8_t *to, i8_floats x)
{
	i8_words c = (i8_words)(x + 0x1.8p23f) - 0x4b400000;
	i8_four half[2];
	memcpy(half, &c, sizeof(c));
	i8_four16 pairs = __builtin_convertvector((half[0] & 0xffu) | (half[1] & 0xffu) << 8, i8_four16);
	memcpy(to, &pairs, sizeof(pairs));
	return c;
}

/* mx: codes of weights are twice their values and 12 more, those of even and of odd columns are summed apart. */
static inline __attribute__((always_inline)) void i8_ready(bool mx, float *y, const float *x, size_t cols)
{
	struct kk_i8 *to = (struct kk_i8 *)y;
	for (size_t g = 0; g < cols / 32; g++, to++) {
		i8_floats v[4];
		i8_words sum = { 0 };
		EACH(i, 4)                              /* all of them before the first is written: y may be x */
			memcpy(&v[i], x + 32 * g + 8 * i, sizeof(v[i]));
		int32_t top = i8_top(v);
		float d = ((i8_floats)(i8_words){ top })[0] / 127, inv = d > __FLT_MIN__ ? 1 / d : 0;
		if (top >= 0x7f800000) {
			d = __builtin_nanf("");
			inv = 0;
			EACH(i, 4)
				v[i] = (i8_floats){ 0 };
		}
		EACH(i, 4)
			sum += i8_codes(to->code + 8 * i, v[i] * inv);
		sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3);
		to->d = mx ? 0.5f * d : d;
		to->bias = mx ? (int32_t)((uint32_t)(-12 * (sum[0] + sum[2])) % 65536 | (uint32_t)(-12 * (sum[1] + sum[3])) << 16) :
			-8 * (sum[0] + sum[1] + sum[2] + sum[3]);
	}
}

static void KK_FN(ready_i4x16_int8)(float *y, const float *x, size_t cols) { i8_ready(false, y, x, cols); }
static void KK_FN(ready_mx4x16_int8)(float *y, const float *x, size_t cols) { i8_ready(true, y, x, cols); }
