/* vec_avx512vnni.h: dot products of bytes in one instruction, for x16_int8.h; the rest is AVX-512's. */
#ifndef KERNELS_AVX512VNNI_VEC_H
#define KERNELS_AVX512VNNI_VEC_H

#ifndef I8_TOKENS
#define I8_TOKENS 8
#define I8_MANY
#endif
#include "kernels/avx512/vec_avx512.h"
#include "kernels/kk.h"

static inline vu vq_begin_i4(const int32_t *p) { return (vu)_mm512_set1_epi32(*p); }
static inline vu vq_end(vu a) { return a; }
static inline vu vq_end_i4(vu a, const int32_t *p K_UNUSED) { return a; }
static inline vu vq_end_mx(vu a, const int32_t *p K_UNUSED) { return a; }
#ifdef KERNELS_AVX512SIM_ZMM_H
static inline vu vq_dot(vu a, vu u, const int8_t *p)
{
	int32_t four;
	memcpy(&four, p, sizeof(four));
	return (vu)zmm_dpbusd((__m512i)a, (__m512i)u, _mm512_set1_epi32(four));
}
static inline vu vq_dots(vu a, vu u, vu v) { return (vu)zmm_dpbusd((__m512i)a, (__m512i)u, (__m512i)v); }
static inline vu vq_halves(vu a, vu u, vu v) { return (vu)zmm_dpwssd((__m512i)a, (__m512i)u, (__m512i)v); }
static inline vu vq_four(const int8_t *p)
{
	int32_t four;
	memcpy(&four, p, sizeof(four));
	return (vu)_mm512_set1_epi32(four);
}
#else
/* By hand: compilers do not always take the four bytes from memory within the instruction. */
static inline vu vq_dot(vu a, vu u, const int8_t *p)
{
	__asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(a) : "v"(u), "m"(*(const int32_t *)(const void *)p));
	return a;
}
/* Once for two products. */
static inline vu vq_four(const int8_t *p)
{
	vu v;
	__asm__("vpbroadcastd %1, %0" : "=v"(v) : "m"(*(const int32_t *)(const void *)p));
	return v;
}
static inline vu vq_dots(vu a, vu u, vu v)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(a) : "v"(u), "v"(v));
	return a;
}
/* Products of halves of words. */
static inline vu vq_halves(vu a, vu u, vu v)
{
	__asm__("vpdpwssd %2, %1, %0" : "+v"(a) : "v"(u), "v"(v));
	return a;
}
#endif

static inline vu vq_begin_mx(const int32_t *p) { return vq_halves((vu)_mm512_set1_epi32(KK_I8_ZERO), (vu)_mm512_set1_epi16(1), vq_four((const int8_t *)p)); }

/* For page_int8.h. */
enum { PAGE_VECTORS = 4 };
static inline vu page_four(const int32_t *p) { return vq_four((const int8_t *)p); }
static inline vu page_dot(vu a, vu x, vu y) { return vq_dots(a, x, y); }
static inline vu page_order(vu x, __m128i order) { return (vu)_mm512_shuffle_epi8((__m512i)x, _mm512_broadcast_i32x4(order)); }
#include "kernels/tmpl/page_bytes.h"
static inline vu page_max(vu a, vu b) { return (vu)_mm512_max_epi32((__m512i)a, (__m512i)b); }
static inline int32_t page_most(vu v)
{
	__m256i h = _mm256_max_epi32(_mm512_castsi512_si256((__m512i)v), _mm512_extracti64x4_epi64((__m512i)v, 1));
	__m128i m = _mm_max_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
static inline vu page_halves(vu a, vu b) { return (vu)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0x44) + (vu)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0xee); }
static inline vu page_fold(const vu v[4])
{
	vu a = page_halves(v[0], v[1]), b = page_halves(v[2], v[3]);
	return (vu)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0x88) + (vu)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0xdd);
}

#endif
