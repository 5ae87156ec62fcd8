/* fp8b128.h: values of a block of FP8. Inline: kernels compile it with their level's flags. */
#ifndef K_FP8B128_H
#define K_FP8B128_H

#include "libcore/qtype_int.h"

/* The scale of a block by the bits of its largest magnitude (finite). */
static inline float k_fp8b128_scale(int32_t amax_bits)
{
	float s = k_f32_from_bits((uint32_t)amax_bits) / 448.0f;

	/* A block of zeros, or of values that round to zero: any scale is right. */
	return s > 0 ? s : 1.0f;
}
/* The largest code is 448: its product with the scale must be a number too. */
static inline bool k_fp8b128_scale_ok(float s) { return k_abs_bits(s * 448.0f) < K_INF_BITS && !(s < 0); }

/* n floats -> codes of x/s, rounded to nearest even, clamped to 448. */
static inline void k_fp8b128_codes(uint8_t *restrict code, const float *restrict x, float s, int n)
{
	for (int i = 0; i < n; i++) {
		float q = x[i] / s;
		uint32_t u = k_f32_bits(q);
		int32_t a = k_abs_bits(q), c = a < 0x43e00000 ? a : 0x43e00000;
		int32_t normal = (c - (120 << 23) + 0x7ffff + (c >> 20 & 1)) >> 20;
		int32_t sub = (int32_t)k_f32_bits(k_f32_from_bits((uint32_t)c) + 16384.0f) - 0x46800000;

		code[i] = (uint8_t)((c < 121 << 23 ? sub : normal) | (int32_t)(u >> 24 & 0x80));
	}
}

#endif
