/* vec_avx512vnni.h: dot products of bytes in one instruction, for x16_int8.h; the rest is AVX-512's. */
#ifndef KERNELS_AVX512VNNI_VEC_H
#define KERNELS_AVX512VNNI_VEC_H

#ifndef I8_TOKENS
#define I8_TOKENS 12
#endif
#include "kernels/avx512/vec_avx512.h"

static inline vu vq_begin_i4(const int32_t *p) { return (vu)_mm512_set1_epi32(*p); }
static inline vu vq_begin_mx(const int32_t *p) { return (vu)_mm512_madd_epi16(_mm512_set1_epi32(*p), _mm512_set1_epi16(1)); }
static inline vu vq_end_i4(vu a, const int32_t *p K_UNUSED) { return a; }
static inline vu vq_end_mx(vu a, const int32_t *p K_UNUSED) { return a; }
#ifdef KERNELS_AVX512SIM_ZMM_H
static inline vu vq_dot(vu a, vu u, const int8_t *p)
{
	int32_t four;
	memcpy(&four, p, sizeof(four));
	return (vu)zmm_dpbusd((__m512i)a, (__m512i)u, _mm512_set1_epi32(four));
}
#else
/* By hand: compilers do not always take the four bytes from memory within the instruction. */
static inline vu vq_dot(vu a, vu u, const int8_t *p)
{
	__asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(a) : "v"(u), "m"(*(const int32_t *)(const void *)p));
	return a;
}
#endif

#endif
