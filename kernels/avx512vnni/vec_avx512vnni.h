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
#endif

/* For page_zmm.h. */
typedef int16_t zh __attribute__((vector_size(64)));
typedef int32_t zw __attribute__((vector_size(64)));
#ifdef KERNELS_AVX512SIM_ZMM_H
static inline zw zh_dot(zw a, zh x, zh y) { return (zw)zmm_dpwssd((__m512i)a, (__m512i)x, (__m512i)y); }
#else
static inline zw zh_dot(zw a, zh x, zh y)
{
	__asm__("vpdpwssd %2, %1, %0" : "+v"(a) : "v"(x), "vm"(y));
	return a;
}
#endif
static inline zh zh_both(const int32_t *p) { return (zh)vq_four((const int8_t *)p); }
static inline vu vq_begin_mx(const int32_t *p) { return (vu)zh_dot((zw)_mm512_set1_epi32(KK_I8_ZERO), (zh)_mm512_set1_epi16(1), zh_both(p)); }
static inline __m256i zh_load(const char *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
static inline zh zh_widen(const char *p) { return (zh)_mm512_cvtepi8_epi16(zh_load(p)); }
static inline zh zh_pair(const char *p, const char *q) { return (zh)_mm512_inserti64x4(_mm512_castsi256_si512(zh_load(p)), zh_load(q), 1); }
static inline void zh_put(char *p, char *q, zh v)
{
	_mm256_storeu_si256((__m256i *)(void *)p, _mm512_castsi512_si256((__m512i)v));
	_mm256_storeu_si256((__m256i *)(void *)q, _mm512_extracti64x4_epi64((__m512i)v, 1));
}
static inline zh zh_order(zh v, zh order) { return (zh)_mm512_permutexvar_epi16((__m512i)order, (__m512i)v); }
static inline zw zw_halves(zw a, zw b) { return (zw)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0x44) + (zw)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0xee); }
static inline zw zw_quarters(zw a, zw b) { return (zw)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0x88) + (zw)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0xdd); }
static inline zw zw_eighths(zw a, zw b) { return (zw)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x44) + (zw)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xee); }

#endif
