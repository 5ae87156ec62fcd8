/* dtype.h: scalar conversions, exact and portable: round to nearest even, correct subnormals. */
#ifndef K_DTYPE_H
#define K_DTYPE_H

#include "libcore/base.h"

static inline float k_f32_from_bits(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t k_f32_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline float k_bf16_to_f32(uint16_t b) { return k_f32_from_bits((uint32_t)b << 16); }
static inline uint16_t k_bf16_from_f32(float f)
{
	uint32_t u = k_f32_bits(f);
	if ((u & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)((u >> 16) | 0x40);
	return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
float k_f16_to_f32(uint16_t h);
uint16_t k_f16_from_f32(float f);
float k_e4m3_to_f32(uint8_t b);                 /* 0x7f, 0xff: NaN */
uint8_t k_e4m3_from_f32(float f);               /* clamps to +-448; NaN -> 0x7f */
float k_e5m2_to_f32(uint8_t b);
float k_e8m0_to_f32(uint8_t b);                 /* 0: 2^-127, 255: NaN */
float k_e2m1_to_f32(unsigned code);             /* 0..15 */
unsigned k_e2m1_from_f32(float f);              /* saturating, ties to even mantissa */
/* Round half to even for |x| < 2^22, without libm or rounding modes. */
static inline float k_rint(float x) { float m = x < 0 ? -12582912.0f : 12582912.0f; volatile float y = x + m; return y - m; }

#endif
