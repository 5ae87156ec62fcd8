/* zmm.h: a model of the 512-bit instructions that vec_avx512.h and its kin use, for machines that have none: the same names, so that the
 * very text that runs on AVX-512 is what kcheck compares with the reference. Lanes are computed one by one, as Intel's manual says.
 *
 *   whole numbers wrap
 *   floats round to nearest even, denormals as they are (MXCSR as at the start of a program)
 *   vdpbf16ps: the upper product first, then the lower, each fused; denormals in and out are zeros, whatever MXCSR says
 *
 * Not modelled: exceptions, the payload of NaNs, time. */
#ifndef KERNELS_AVX512SIM_ZMM_H
#define KERNELS_AVX512SIM_ZMM_H

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include "libcore/base.h"

typedef int8_t zmm_i8 __attribute__((vector_size(64)));
typedef uint8_t zmm_u8 __attribute__((vector_size(64)));
typedef int16_t zmm_i16 __attribute__((vector_size(64)));
typedef uint16_t zmm_u16 __attribute__((vector_size(64)));
typedef int32_t zmm_i32 __attribute__((vector_size(64)));
typedef uint32_t zmm_u32 __attribute__((vector_size(64)));
typedef float zmm_f32 __attribute__((vector_size(64)));

/* Some are macros, without optimisation. */
#undef _mm512_loadu_ps
#undef _mm512_loadu_si512
#undef _mm512_storeu_ps
#undef _mm512_set1_ps
#undef _mm512_setr_ps
#undef _mm512_set1_epi32
#undef _mm512_set1_epi16
#undef _mm512_castsi512_ps
#undef _mm512_castps512_ps256
#undef _mm512_extractf32x8_ps
#undef _mm512_castsi512_si256
#undef _mm512_extracti64x4_epi64
#undef _mm512_unpacklo_ps
#undef _mm512_unpackhi_ps
#undef _mm512_shuffle_ps
#undef _mm512_shuffle_f32x4
#undef _mm512_permutexvar_ps
#undef _mm512_permutexvar_epi16
#undef _mm512_permutex2var_ps
#undef _mm512_shuffle_epi8
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtph_ps
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepi32_epi8
#undef _mm512_max_ps
#undef _mm512_max_epi32
#undef _mm512_min_ps
#undef _mm512_fmadd_ps
#undef _mm512_slli_epi32
#undef _mm512_srli_epi32
#undef _mm512_and_si512
#undef _mm512_add_epi32
#undef _mm512_broadcast_i32x4

#define ZMM static inline __attribute__((always_inline))
/* Calls: what they do would be written out hundreds of times. */
#define ZMM_CALL static __attribute__((noinline, unused))

/* --- moves --------------------------------------------------------------------------------------------------------------- */

ZMM __m512 zmm_load_ps(const void *p)
{
	__m512 v;
	memcpy(&v, p, sizeof(v));
	return v;
}
ZMM void zmm_store_ps(void *p, __m512 v) { memcpy(p, &v, sizeof(v)); }
ZMM __m512 zmm_set_ps(float x) { return (__m512){ x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x }; }
ZMM __m512i zmm_set_32(int32_t x) { return (__m512i)((zmm_i32){ 0 } + x); }
ZMM __m512i zmm_set_16(int16_t x) { return (__m512i)((zmm_i16){ 0 } + x); }
ZMM __m256 zmm_half_ps(__m512 v, int i)
{
	__m256 h[2];
	memcpy(h, &v, sizeof(v));
	return h[i];
}
ZMM __m256i zmm_half(__m512i v, int i) { return (__m256i)zmm_half_ps((__m512)v, i); }
ZMM __m512i zmm_blocks(__m128i v)
{
	__m128i b[4] = { v, v, v, v };
	return (__m512i)zmm_load_ps(b);
}
#define _mm512_broadcast_i32x4(v) zmm_blocks(v)
#define _mm512_loadu_ps(p) zmm_load_ps(p)
#define _mm512_loadu_si512(p) ((__m512i)zmm_load_ps(p))
#define _mm512_storeu_ps(p, v) zmm_store_ps(p, v)
#define _mm512_set1_ps(x) zmm_set_ps(x)
#define _mm512_setr_ps(...) ((__m512){ __VA_ARGS__ })
#define _mm512_set1_epi32(x) zmm_set_32((int32_t)(x))
#define _mm512_set1_epi16(x) zmm_set_16((int16_t)(x))
#define _mm512_castsi512_ps(v) ((__m512)(v))
#define _mm512_castps512_ps256(v) zmm_half_ps(v, 0)
#define _mm512_extractf32x8_ps(v, i) zmm_half_ps(v, i)
#define _mm512_castsi512_si256(v) zmm_half(v, 0)
#define _mm512_extracti64x4_epi64(v, i) zmm_half(v, i)

/* vpermps and vpermw: an index is its lowest 4 or 5 bits. */
ZMM_CALL __m512 zmm_permute_ps(__m512i index, __m512 v)
{
	zmm_u32 at = (zmm_u32)index & 15u;
	zmm_f32 from = v, to;
	for (int i = 0; i < 16; i++)
		to[i] = from[at[i]];
	return to;
}
ZMM_CALL __m512i zmm_permute_16(__m512i index, __m512i v)
{
	zmm_u16 at = (zmm_u16)index & 31, from = (zmm_u16)v, to;
	for (int i = 0; i < 32; i++)
		to[i] = from[at[i]];
	return (__m512i)to;
}
/* vpermt2ps: the lowest 5 bits, of both. */
ZMM_CALL __m512 zmm_permute_two(__m512 a, __m512i index, __m512 b)
{
	zmm_u32 at = (zmm_u32)index & 31u;
	zmm_f32 low = a, high = b, to;
	for (int i = 0; i < 16; i++)
		to[i] = at[i] < 16 ? low[at[i]] : high[at[i] - 16];
	return to;
}
/* vpshufb: within blocks of 16 bytes; 0 where the index has its highest bit. */
ZMM_CALL __m512i zmm_shuffle_8(__m512i v, __m512i index)
{
	zmm_u8 at = (zmm_u8)index, from = (zmm_u8)v, to;
	for (int i = 0; i < 64; i++)
		to[i] = at[i] & 128 ? 0 : from[i / 16 * 16 + (at[i] & 15)];
	return (__m512i)to;
}
/* vunpcklps, vunpckhps (first: 0, 2), vshufps within blocks of four lanes; vshuff32x4 of whole blocks. */
ZMM_CALL __m512 zmm_unpack(__m512 a, __m512 b, int first)
{
	zmm_f32 y, p = a, q = b;
	for (int i = 0; i < 16; i++)
		y[i] = (i % 2 ? q : p)[i / 4 * 4 + first + i % 4 / 2];
	return y;
}
ZMM_CALL __m512 zmm_shuffle(__m512 a, __m512 b, int how)
{
	zmm_f32 y, p = a, q = b;
	for (int i = 0; i < 16; i++)
		y[i] = (i % 4 < 2 ? p : q)[i / 4 * 4 + (how >> i % 4 * 2 & 3)];
	return y;
}
ZMM_CALL __m512 zmm_shuffle_blocks(__m512 a, __m512 b, int how)
{
	zmm_f32 y, p = a, q = b;
	for (int i = 0; i < 16; i++)
		y[i] = (i < 8 ? p : q)[(how >> i / 4 * 2 & 3) * 4 + i % 4];
	return y;
}
#define _mm512_unpacklo_ps(a, b) zmm_unpack(a, b, 0)
#define _mm512_unpackhi_ps(a, b) zmm_unpack(a, b, 2)
#define _mm512_shuffle_ps(a, b, how) zmm_shuffle(a, b, how)
#define _mm512_shuffle_f32x4(a, b, how) zmm_shuffle_blocks(a, b, how)
#define _mm512_permutexvar_ps(index, v) zmm_permute_ps(index, v)
#define _mm512_permutex2var_ps(a, index, b) zmm_permute_two(a, index, b)
#define _mm512_permutexvar_epi16(index, v) zmm_permute_16(index, v)
#define _mm512_shuffle_epi8(v, index) zmm_shuffle_8(v, index)

/* --- conversions --------------------------------------------------------------------------------------------------------- */

#define ZMM_WIDEN(name, type, half) \
ZMM __m512i name(half v) \
{ \
	type from[16]; \
	zmm_i32 to; \
	memcpy(from, &v, sizeof(from)); \
	for (int i = 0; i < 16; i++) \
		to[i] = from[i]; \
	return (__m512i)to; \
}
ZMM_WIDEN(zmm_u16_32, uint16_t, __m256i)
ZMM_WIDEN(zmm_i8_32, int8_t, __m128i)
ZMM_WIDEN(zmm_u8_32, uint8_t, __m128i)
ZMM __m512 zmm_f16(__m256i v)
{
	__m256 h[2] = { _mm256_cvtph_ps(_mm256_castsi256_si128(v)), _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)) };
	return zmm_load_ps(h);
}
ZMM __m128i zmm_low_bytes(__m512i v)
{
	uint8_t to[16];
	zmm_u32 from = (zmm_u32)v;
	__m128i b;
	for (int i = 0; i < 16; i++)
		to[i] = (uint8_t)from[i];
	memcpy(&b, to, sizeof(b));
	return b;
}
#define _mm512_cvtepu16_epi32(v) zmm_u16_32(v)
#define _mm512_cvtepi8_epi32(v) zmm_i8_32(v)
#define _mm512_cvtepu8_epi32(v) zmm_u8_32(v)
#define _mm512_cvtph_ps(v) zmm_f16(v)
#define _mm512_cvtepi32_ps(v) ((__m512)__builtin_convertvector((zmm_i32)(v), zmm_f32))
#define _mm512_cvtepi32_epi8(v) zmm_low_bytes(v)

/* --- arithmetic ---------------------------------------------------------------------------------------------------------- */

ZMM __m512 zmm_fma(__m512 a, __m512 b, __m512 c)
{
	__m256 h[2] = { _mm256_fmadd_ps(zmm_half_ps(a, 0), zmm_half_ps(b, 0), zmm_half_ps(c, 0)),
		_mm256_fmadd_ps(zmm_half_ps(a, 1), zmm_half_ps(b, 1), zmm_half_ps(c, 1)) };
	return zmm_load_ps(h);
}
/* vminps, vmaxps: the second of equals, and where one is a NaN. */
ZMM __m512 zmm_min(__m512 a, __m512 b)
{
	__m256 h[2] = { _mm256_min_ps(zmm_half_ps(a, 0), zmm_half_ps(b, 0)), _mm256_min_ps(zmm_half_ps(a, 1), zmm_half_ps(b, 1)) };
	return zmm_load_ps(h);
}
ZMM __m512 zmm_max(__m512 a, __m512 b)
{
	__m256 h[2] = { _mm256_max_ps(zmm_half_ps(a, 0), zmm_half_ps(b, 0)), _mm256_max_ps(zmm_half_ps(a, 1), zmm_half_ps(b, 1)) };
	return zmm_load_ps(h);
}
ZMM __m512i zmm_max_words(__m512i a, __m512i b)
{
	__m256i h[2] = { _mm256_max_epi32(zmm_half(a, 0), zmm_half(b, 0)), _mm256_max_epi32(zmm_half(a, 1), zmm_half(b, 1)) };
	return (__m512i)zmm_load_ps(h);
}
#define _mm512_max_ps(a, b) zmm_max(a, b)
#define _mm512_max_epi32(a, b) zmm_max_words(a, b)
#define _mm512_min_ps(a, b) zmm_min(a, b)
#define _mm512_fmadd_ps(a, b, c) zmm_fma(a, b, c)
#define _mm512_slli_epi32(v, n) ((__m512i)((zmm_u32)(v) << (n)))
#define _mm512_srli_epi32(v, n) ((__m512i)((zmm_u32)(v) >> (n)))
#define _mm512_and_si512(a, b) ((__m512i)((zmm_u32)(a) & (zmm_u32)(b)))
#define _mm512_add_epi32(a, b) ((__m512i)((zmm_u32)(a) + (zmm_u32)(b)))

ZMM_CALL __m512i zmm_madd(__m512i a, __m512i b)
{
	zmm_i16 x = (zmm_i16)a, z = (zmm_i16)b;
	zmm_u32 y;
	for (int i = 0; i < 16; i++)
		y[i] = (uint32_t)(x[2 * i] * z[2 * i]) + (uint32_t)(x[2 * i + 1] * z[2 * i + 1]);
	return (__m512i)y;
}
/* vpdpwssd: those products added to a word without saturation. */
ZMM __m512i zmm_dpwssd(__m512i acc, __m512i a, __m512i b) { return _mm512_add_epi32(acc, zmm_madd(a, b)); }

/* vpdpbusd: four unsigned bytes times four signed ones, added to a word without saturation. */
ZMM_CALL __m512i zmm_dpbusd(__m512i acc, __m512i a, __m512i b)
{
	zmm_u8 u = (zmm_u8)a;
	zmm_i8 s = (zmm_i8)b;
	zmm_u32 y = (zmm_u32)acc;
	for (int i = 0; i < 64; i++)
		y[i / 4] += (uint32_t)(u[i] * s[i]);
	return (__m512i)y;
}

/* A denormal is a zero of its sign. */
ZMM float zmm_flush(float x) { return __builtin_fabsf(x) < FLT_MIN ? __builtin_copysignf(0, x) : x; }
ZMM float zmm_bf16(uint32_t bits)
{
	float f;
	memcpy(&f, &bits, sizeof(f));
	return zmm_flush(f);
}
ZMM_CALL __m512 zmm_dpbf16(__m512 acc, __m512i a, __m512i b)
{
	zmm_u32 x = (zmm_u32)a, z = (zmm_u32)b;
	for (int i = 0; i < 16; i++) {
		float y = zmm_flush(__builtin_fmaf(zmm_bf16(x[i] & 0xffff0000u), zmm_bf16(z[i] & 0xffff0000u), zmm_flush(acc[i])));
		acc[i] = zmm_flush(__builtin_fmaf(zmm_bf16(x[i] << 16), zmm_bf16(z[i] << 16), y));
	}
	return acc;
}

#endif
