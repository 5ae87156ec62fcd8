/* ready_int8.h: activations of 8 bits as x16_int8.h takes them (struct kk_i8). One form for all levels, so those above the first with vectors have none
 * of their own. */

#include "kernels/tmpl/ready_group.h"

/* mx: codes of weights are twice their values and 12 more, those of even and of odd columns are summed apart. */
static inline __attribute__((always_inline)) void i8_ready(bool mx, float *y, const float *x, size_t cols)
{
	struct kk_i8 *to = (struct kk_i8 *)y;
	for (size_t g = 0; g < cols / 32; g++, to++) {
		i8_floats v[4];
		i8_words codes = { 0 }, sum = { 0 };
		i8_load(v, x + 32 * g);                 /* all of them before the first is written: y may be x */
		int32_t top = i8_top(v);
		float d = ((i8_floats)(i8_words){ top })[0] / 127, inv = d > __FLT_MIN__ ? 1 / d : 0;
		if (top >= 0x7f800000) {
			d = __builtin_nanf("");
			inv = 0;
			EACH(i, 4)
				v[i] = (i8_floats){ 0 };
		}
		/* The sum with 1.5 2^23 is rounded to a whole number, whose bits are its lowest. */
		EACH(i, 4) {
			i8_words c = (i8_words)(v[i] * inv + 0x1.8p23f) - 0x4b400000;
			codes |= (c & 0xff) << 8 * i;
			sum += c;
		}
		codes = (i8_words)i8_deal((i8_bytes)codes);
		memcpy(to->code, &codes, sizeof(codes));
		to->d = mx ? 0.5f * d : d;
		sum = i8_totals(sum);
		to->bias = mx ? (int32_t)((uint32_t)(-12 * sum[0]) % 65536 | (uint32_t)(-12 * sum[1]) << 16) : -8 * (sum[0] + sum[1]);
	}
}

static void KK_FN(ready_i4x16_int8)(float *y, const float *x, size_t cols) { i8_ready(false, y, x, cols); }
static void KK_FN(ready_mx4x16_int8)(float *y, const float *x, size_t cols) { i8_ready(true, y, x, cols); }
