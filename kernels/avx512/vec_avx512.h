/* vec_avx512.h: the vector that the templates compute with: sixteen floats. */
#ifndef KERNELS_AVX512_VEC_H
#define KERNELS_AVX512_VEC_H

#include <immintrin.h>
#include "libcore/base.h"
#include "libcore/qtype/mxfp4.h"

enum { VL = 16 };
typedef __m512 vf;
typedef uint32_t vu __attribute__((vector_size(4 * VL)));

static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
static inline vf vf_set(float x) { return _mm512_set1_ps(x); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* Loads are as many as multiply-adds a cycle, and compilers fold them into each. */
static inline vf vf_once(vf v)
{
#ifndef KERNELS_AVX512SIM_ZMM_H
	__asm__("" : "+v"(v));
#endif
	return v;
}
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
/* Two registers are a table of 32 floats. */
enum { VF_STEPS = 32 };
static inline vf vf_step(vf a, vf m)
{
	static const float by[VF_STEPS] = {
		1, 0.990930557f, 0.982845902f, 0.975671232f, 0.969340205f, 0.963793933f, 0.958979905f, 0.954851151f, 0.951365709f, 0.948485732f, 0.946177363f,
		0.944410026f, 0.943156064f, 0.942390501f, 0.942090809f, 0.942236543f, 0.942809045f, 0.943791568f, 0.945168734f, 0.946926713f, 0.949052811f,
		0.951535583f, 0.954364657f, 0.957530439f, 0.961024463f, 0.964838922f, 0.968966722f, 0.973401546f, 0.978137672f, 0.983169913f, 0.988493681f,
		0.994104981f,
	};
	return a * _mm512_permutex2var_ps(vf_load(by), (__m512i)m, vf_load(by + VL));
}
static inline vf vf_bf16(const uint16_t *p)
{
	__m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
	return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}
static inline float vf_most(vf v)
{
	__m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
	__m128 m = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
	m = _mm_max_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
static inline float vf_sum(vf v)
{
	__m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
/* Sums of pairs of vectors side by side, in vf_sum's order: of the halves of a and of b; of the quarters of two such. */
static inline vf vf_fold_halves(vf a, vf b) { return _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee); }
static inline vf vf_fold_quarters(vf a, vf b) { return _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd); }
static inline vf vf_four(const vf *v, size_t step)
{
	return vf_fold_quarters(vf_fold_halves(v[0], v[step]), vf_fold_halves(v[2 * step], v[3 * step]));
}
/* y and z: the sums of the four vectors that came together in a and in b, a quarter each. */
static inline void vf_end_sums(float *y, float *z, vf a, vf b)
{
	const vu of_a_then_b = { 0, 4, 8, 12, 1, 5, 9, 13 };
	vf s = _mm512_shuffle_ps(a, b, 0x44) + _mm512_shuffle_ps(a, b, 0xee);
	s = _mm512_permutexvar_ps((__m512i)of_a_then_b, _mm512_shuffle_ps(s, s, 0x88) + _mm512_shuffle_ps(s, s, 0xdd));
	memcpy(y, &s, 4 * sizeof(*y));
	memcpy(z, (const float *)&s + 4, 4 * sizeof(*z));
}
static inline void vf_sums(float *y, const vf *v, size_t step)
{
	float tmp[4];
	vf a = vf_four(v, step);
	vf_end_sums(y, tmp, a, a);
}
static inline void vf_sums_of_two(float *y, float *z, const vf *a, const vf *b, size_t step) { vf_end_sums(y, z, vf_four(a, step), vf_four(b, step)); }
/* Lane j of a[i] becomes lane i of a[j]: in blocks of 4 x 4, then the blocks. */
static inline __attribute__((always_inline)) void vf_transpose(vf a[VL])
{
	vf p[VL], q[VL];
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++) {
		p[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
		p[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < VL; i += 4)
#pragma GCC unroll 2
		for (int j = 0; j < 2; j++) {
			q[i + 2 * j] = _mm512_shuffle_ps(p[i + j], p[i + j + 2], 0x44);
			q[i + 2 * j + 1] = _mm512_shuffle_ps(p[i + j], p[i + j + 2], 0xee);
		}
#pragma GCC unroll 4
	for (int j = 0; j < 4; j++) {
		vf even = _mm512_shuffle_f32x4(q[j], q[4 + j], 0x88), odd = _mm512_shuffle_f32x4(q[j], q[4 + j], 0xdd);
		vf even2 = _mm512_shuffle_f32x4(q[8 + j], q[12 + j], 0x88), odd2 = _mm512_shuffle_f32x4(q[8 + j], q[12 + j], 0xdd);
		a[j] = _mm512_shuffle_f32x4(even, even2, 0x88);
		a[8 + j] = _mm512_shuffle_f32x4(even, even2, 0xdd);
		a[4 + j] = _mm512_shuffle_f32x4(odd, odd2, 0x88);
		a[12 + j] = _mm512_shuffle_f32x4(odd, odd2, 0xdd);
	}
}
/* Sixteen f16; sixteen signed bytes; the low and the high nibbles of sixteen bytes. */
static inline vf vf_f16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline vf vf_i8(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p))); }
static inline __m512i vf_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
static inline vf vf_low4(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_and_si512(vf_bytes(p), _mm512_set1_epi32(15))); }
static inline vf vf_high4(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_srli_epi32(vf_bytes(p), 4)); }
#define E2M1_VALUES _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6)
static inline __attribute__((always_inline)) void vf_e2m1(vf to[2], const uint8_t *p, uint8_t e)
{
	const vf values = E2M1_VALUES * vf_set(e == 255 ? __builtin_nanf("") : k_mxfp4_scale(e));
	__m256i c = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
	c = _mm256_and_si256(_mm256_or_si256(c, _mm256_slli_epi16(c, 4)), _mm256_set1_epi8(15));
	to[0] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(c)), values);
	to[1] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256(c, 1)), values);
}
/* 16 codes of E4M3 as floats of 2^-120 their size. */
static inline __attribute__((always_inline)) void vf_e4m3(vf to[1], const uint8_t *p)
{
	to[0] = (vf)((vu)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)) << 20 & 0x87f00000u);
}
static inline vf vf_int(vu word) { return _mm512_cvtepi32_ps((__m512i)word); }
/* Nibbles, a byte each, as whole numbers for x16_int8.h: E2M1 twice, and 12 more. */
static inline vu vq_codes_i4(vu u) { return u; }
static inline vu vq_codes_mx(vu u)
{
	static const uint8_t twice[64] = {
		12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0, 12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,
		12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0, 12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0,
	};
	return (vu)_mm512_shuffle_epi8(_mm512_loadu_si512(twice), (__m512i)u);
}
/* Of 32 u16 at p the largest, their upper bits aside. */
static inline uint32_t vu_top(const uint8_t *p)
{
	__m512i a = _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi16(0x7fff));
	__m256i h = _mm256_max_epu16(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
	__m128i m = _mm_max_epu16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
	return 0xffff ^ (uint32_t)_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(m, _mm_set1_epi16(-1)))) % 65536;
}
/* The lowest bytes of 16 words, which have no others. */
static inline void vu_store_low(uint8_t *p, const vu *v) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v[0])); }

#endif
