/* dtype.c: the conversions of small floats that are too long for the header.
 *
 * All are integer arithmetic, with one float addition for subnormals: adding 2^k to a small number rounds it (to nearest even) to a
 * multiple of 2^(k-23), which is what a subnormal is. So they are the same on every machine and the compiler can vectorise them. */
#include "libcore/base.h"
#include "libcore/dtype.h"

/* e exponent bits above m mantissa bits, moved to where a float has them; bias: difference of the exponent biases. */
static inline float widen(uint32_t magnitude, uint32_t bias)
{
	uint32_t normal = magnitude + (bias << 23);
	/* A subnormal has the exponent of the smallest normal, and no hidden one: put it there, take it away. */
	float sub = k_f32_from_bits(magnitude + ((bias + 1) << 23)) - k_f32_from_bits((bias + 1) << 23);

	return magnitude < 1u << 23 ? sub : k_f32_from_bits(normal);
}

static inline float with_sign(float f, uint32_t sign) { return k_f32_from_bits(k_f32_bits(f) | sign << 31); }

float k_f16_to_f32(uint16_t h)
{
	uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
	float f = widen(magnitude, 127 - 15);

	if (magnitude >= 0x0f800000)                    /* infinity and NaN keep their mantissa */
		f = k_f32_from_bits(0x70000000 + magnitude);
	return with_sign(f, h >> 15);
}

uint16_t k_f16_from_f32(float f)
{
	uint32_t u = k_f32_bits(f), sign = u >> 16 & 0x8000;
	uint32_t a = u & 0x7fffffff;
	uint32_t normal = (a - (112u << 23) + 0xfff + (a >> 13 & 1)) >> 13;
	/* 0.5 has a unit of 2^-24 in its last place, and so has the smallest subnormal. */
	uint32_t sub = k_f32_bits(k_f32_from_bits(a) + 0.5f) - k_f32_bits(0.5f);
	uint32_t h = a < 113u << 23 ? sub : normal;

	if (a >= 0x477ff000)                            /* 65520 and above round to infinity */
		h = 0x7c00;
	if (a > 0x7f800000)
		h = 0x7e00;
	return (uint16_t)(sign | h);
}

float k_e4m3_to_f32(uint8_t b)
{
	uint32_t magnitude = (uint32_t)(b & 0x7f) << 20;
	float f = widen(magnitude, 127 - 7);

	if ((b & 0x7f) == 0x7f)
		f = k_f32_from_bits(0x7fc00000);
	return with_sign(f, b >> 7);
}

uint8_t k_e4m3_from_f32(float f)
{
	uint32_t u = k_f32_bits(f), sign = u >> 24 & 0x80;
	uint32_t a = u & 0x7fffffff;
	uint32_t c = K_MIN(a, 0x43e00000u);             /* 448 */
	uint32_t normal = (c - (120u << 23) + 0x7ffff + (c >> 20 & 1)) >> 20;
	/* 2^14 has a unit of 2^-9 in its last place, and so has the smallest subnormal. */
	uint32_t sub = k_f32_bits(k_f32_from_bits(c) + 16384.0f) - k_f32_bits(16384.0f);
	uint32_t b = c < 121u << 23 ? sub : normal;

	if (a > 0x7f800000)
		return 0x7f;
	return (uint8_t)(sign | b);
}

float k_e5m2_to_f32(uint8_t b) { return k_f16_to_f32((uint16_t)(b << 8)); }

float k_e8m0_to_f32(uint8_t b)
{
	uint32_t u = (uint32_t)b << 23;

	u = b == 0 ? 0x00400000 : u;
	return k_f32_from_bits(b == 255 ? 0x7fc00000 : u);
}

float k_e2m1_to_f32(unsigned code)
{
	static const float value[16] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6 };

	return value[code & 15];
}

/* A value that lies between two codes goes to the nearer one; in the middle to the one that is even. */
unsigned k_e2m1_from_f32(float f)
{
	uint32_t u = k_f32_bits(f);
	float a = k_f32_from_bits(u & 0x7fffffff);
	unsigned code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f);

	return code | (u >> 28 & 8);
}
