/* mxfp4.h: one group of MXFP4, shared by its layouts: 32 columns, codes of E2M1, one scale 2^(e-127). What is inline kernels compile with
 * their level's flags. */
#ifndef K_MXFP4_H
#define K_MXFP4_H

#include "libcore/qtype_int.h"

/* 2^(e-127), e < 255. */
static inline float k_mxfp4_scale(int e) { return k_f32_from_bits(e ? (uint32_t)e << 23 : 0x00400000); }

/* The value of a code in the lowest four bits: exponent and mantissa bit of E2M1 moved into place; 1 is a subnormal. */
static inline float k_mxfp4_value(uint32_t code, float s)
{
	uint32_t m = code & 7, u = (m << 22) + (126u << 23);

	u = m < 2 ? m * 0x3f000000 : u;
	return k_f32_from_bits(u | (code & 8) << 28) * s;
}

/* 32 floats -> 16 bytes of codes; the exponent of their scale, -1 where a value is not finite. weight: 32, or NULL. */
int k_mxfp4_group(uint8_t *to, const float *x, const float *weight, const struct k_quant_opts *o);
/* Exponents must be numbers whose products with the group's codes are. */
int k_mxfp4_bad_group(uint8_t e, const uint8_t *code, int64_t row, int64_t col, struct k_err *err);

/* The exponent that makes the largest magnitude 4..8 of the scale, which saturates at 6. ct: amax is rounded to a power of two first, up
 * from 1.75 times one, so that fewer values saturate. */
static inline int k_mxfp4_exponent(int32_t amax_bits, enum k_mx_rule rule)
{
	int32_t e = ((amax_bits + (rule == K_MX_CT ? 1 << 21 : 0)) >> 23) - 2;

	return e < 0 ? 0 : e > 252 ? 252 : e;
}

/* 32 floats -> 16 bytes of codes, the even column of each in the low nibble; s: a power of two, so that its reciprocal is exact. A
 * value between two codes goes to the nearer one; in the middle to the even one, or by ggml's rule to the smaller, which has no -0
 * either. Magnitudes order like their bits; all in 32 bits, which is what the compiler vectorises. */
static inline void k_mxfp4_codes(uint8_t *restrict to, const float *restrict x, float s, bool ggml)
{
	const int32_t odd = ggml ? 1 : 0;               /* the bound itself is below it */
	float inverse = 1.0f / s;
	uint32_t code[32];
	uint64_t two[16];

	for (int i = 0; i < 32; i++) {
		uint32_t u = k_f32_bits(x[i] * inverse);
		int32_t a = (int32_t)(u & 0x7fffffff), n = 0;

		n += a > 0x3e800000;                    /* 0.25 */
		n += a >= 0x3f400000 + odd;             /* 0.75 */
		n += a > 0x3fa00000;                    /* 1.25 */
		n += a >= 0x3fe00000 + odd;             /* 1.75 */
		n += a > 0x40200000;                    /* 2.5 */
		n += a >= 0x40600000 + odd;             /* 3.5 */
		n += a > 0x40a00000;                    /* 5 */
		code[i] = (uint32_t)n | (ggml && n == 0 ? 0 : u >> 28 & 8);
	}
	memcpy(two, code, sizeof(two));
	for (int i = 0; i < 16; i++)
		to[i] = (uint8_t)(two[i] | two[i] >> 28);
}

#endif
