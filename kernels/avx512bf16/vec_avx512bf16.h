/* vec_avx512bf16.h: dot products of pairs of bf16, for x16_bf16.h and bf16_bf16.h; the rest is AVX-512's. */
#ifndef KERNELS_AVX512BF16_VEC_H
#define KERNELS_AVX512BF16_VEC_H

#include "kernels/avx512/vec_avx512.h"

/* Nibble i of each half of a word, less 8, as bf16. A look-up sees the lowest five bits: both halves of the table are alike. */
static inline vu vh_codes_i4(vu word, int i)
{
	static const uint16_t codes[32] = {
		0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80, 0, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
		0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040, 0xc000, 0xbf80, 0, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
	};
	return (vu)_mm512_permutexvar_epi16((__m512i)(word >> (4 * i)), _mm512_loadu_si512(codes));
}
/* The same of E2M1. */
static inline vu vh_codes_mx(vu word, int i)
{
	static const uint16_t codes[32] = {
		0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0,
		0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0,
	};
	return (vu)_mm512_permutexvar_epi16((__m512i)(word >> (4 * i)), _mm512_loadu_si512(codes));
}
static inline vu vh_load(const uint16_t *p) { return (vu)_mm512_loadu_si512(p); }
static inline vu vh_end(const uint16_t *p, size_t n)
{
	uint16_t tmp[2 * VL] = { 0 };
	memcpy(tmp, p, n * sizeof(*p));
	return vh_load(tmp);
}
#ifdef KERNELS_AVX512SIM_ZMM_H
static inline vf vh_dots(vf a, vu u, vu v) { return zmm_dpbf16(a, (__m512i)u, (__m512i)v); }
static inline vf vh_dot(vf a, vu u, const uint16_t *p)
{
	int32_t two;
	memcpy(&two, p, sizeof(two));
	return zmm_dpbf16(a, (__m512i)u, _mm512_set1_epi32(two));
}
#else
static inline vf vh_dots(vf a, vu u, vu v)
{
	__asm__("vdpbf16ps %2, %1, %0" : "+v"(a) : "v"(u), "v"(v));
	return a;
}
static inline vf vh_dot(vf a, vu u, const uint16_t *p)
{
	__asm__("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(a) : "v"(u), "m"(*(const int32_t *)(const void *)p));
	return a;
}
#endif

#endif
