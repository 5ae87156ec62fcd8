/* i8row.h: a row of INT8. Inline: kernels compile it with their level's flags. */
#ifndef K_I8ROW_H
#define K_I8ROW_H

#include "libcore/qtype_int.h"

/* The scale of a row by the bits of its largest magnitude (finite). */
static inline float k_i8row_scale(int32_t amax_bits)
{
	float s = k_f32_from_bits((uint32_t)amax_bits) / 127.0f;

	return s > 0 ? s : 1.0f;
}
/* The largest code of a byte is -128: its product with the scale must be a number too. */
static inline bool k_i8row_scale_ok(float s) { return k_abs_bits(s * 128.0f) < K_INF_BITS; }

static inline void k_i8row_codes(int8_t *restrict code, const float *restrict x, float s, int n)
{
	for (int i = 0; i < n; i++) {
		float q = x[i] / s;

		q = q < -127.0f ? -127.0f : q;
		q = q > 127.0f ? 127.0f : q;
		code[i] = (int8_t)k_round(q);
	}
}

#endif
