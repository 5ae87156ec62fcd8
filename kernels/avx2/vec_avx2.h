/* vec_avx2.h: the vector that the templates compute with: eight floats. */
#ifndef KERNELS_AVX2_VEC_H
#define KERNELS_AVX2_VEC_H

#include <immintrin.h>
#include "kernels/avx2/e2m1_avx2.h"
#include "libcore/base.h"
#include "kernels/kk.h"

enum { VL = 8 };
typedef __m256 vf;
typedef uint32_t vu __attribute__((vector_size(4 * VL)));

static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
static inline vf vf_set(float x) { return _mm256_set1_ps(x); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_once(vf v) { return v; }
static inline vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
enum { VF_STEPS = 1 };
static inline vf vf_step(vf a, vf m K_UNUSED) { return a; }
static inline vf vf_bf16(const uint16_t *p)
{
	const __m256i deal = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7,
		-1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
	return _mm256_castsi256_ps(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)), deal));
}
static inline float vf_most(vf v)
{
	__m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	m = _mm_max_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
static inline float vf_sum(vf v)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
/* The same of four vectors at once: the order of the additions is vf_sum's. */
static inline void vf_sums(float *y, const vf *v, size_t step)
{
	__m256 a = _mm256_add_ps(_mm256_permute2f128_ps(v[0], v[step], 0x20), _mm256_permute2f128_ps(v[0], v[step], 0x31));
	__m256 b = _mm256_add_ps(_mm256_permute2f128_ps(v[2 * step], v[3 * step], 0x20), _mm256_permute2f128_ps(v[2 * step], v[3 * step], 0x31));
	__m256 c = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
	__m256 d = _mm256_add_ps(_mm256_shuffle_ps(c, c, 0x88), _mm256_shuffle_ps(c, c, 0xdd));
	/* d: sums 0 2 . . | 1 3 . . */
	_mm_storeu_ps(y, _mm_unpacklo_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1)));
}
/* y = the sums of a[0], a[step], ..., four of them, z = those of b, in that order of additions too: what is added to a lane is one shuffle away, and blends
 * leave the multiply-adds alone. */
static inline void vf_sums_of_two(float *y, float *z, const vf *a, const vf *b, size_t step)
{
	__m256 p[4], q[2], r;
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		const vf *from = (i < 2 ? a : b) + (size_t)(i % 2 * 2) * step;
		__m256 u = from[0], v = from[step];
		p[i] = _mm256_add_ps(_mm256_blend_ps(u, v, 0xf0), _mm256_permute2f128_ps(u, v, 0x21));
	}
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++)
		q[i] = _mm256_add_ps(_mm256_blend_ps(p[2 * i], p[2 * i + 1], 0xcc), _mm256_shuffle_ps(p[2 * i], p[2 * i + 1], 0x4e));
	/* r: a0 b0 a2 b2 | a1 b1 a3 b3 */
	r = _mm256_add_ps(_mm256_blend_ps(q[0], q[1], 0xaa), _mm256_permute_ps(_mm256_blend_ps(q[0], q[1], 0x55), 0xb1));
	r = _mm256_permutevar8x32_ps(r, _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7));
	_mm_storeu_ps(y, _mm256_castps256_ps128(r));
	_mm_storeu_ps(z, _mm256_extractf128_ps(r, 1));
}
/* Lane j of a[i] becomes lane i of a[j]. */
static inline __attribute__((always_inline)) void vf_transpose(vf a[VL])
{
	vf p[VL], q[VL];
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		p[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
		p[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
	}
#pragma GCC unroll 2
	for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
		for (int j = 0; j < 2; j++) {
			q[i + 2 * j] = _mm256_shuffle_ps(p[i + j], p[i + j + 2], 0x44);
			q[i + 2 * j + 1] = _mm256_shuffle_ps(p[i + j], p[i + j + 2], 0xee);
		}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		a[i] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x20);
		a[i + 4] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x31);
	}
}
/* Eight f16; eight signed bytes; the low and the high nibbles of eight bytes. */
static inline vf vf_f16(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
static inline vf vf_i8(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p))); }
static inline __m256i vf_bytes(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
static inline vf vf_low4(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_and_si256(vf_bytes(p), _mm256_set1_epi32(15))); }
static inline vf vf_high4(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_srli_epi32(vf_bytes(p), 4)); }
/* 16 codes of E4M3 as floats of 2^-120 their size. Of a word of 32 bits the upper half is column i + 8, the lower one column i. */
static inline __attribute__((always_inline)) void vf_e4m3(vf to[2], const uint8_t *p)
{
	const __m256i deal = _mm256_setr_epi8(-1, 0, -1, 8, -1, 1, -1, 9, -1, 2, -1, 10, -1, 3, -1, 11,
		-1, 4, -1, 12, -1, 5, -1, 13, -1, 6, -1, 14, -1, 7, -1, 15);
	__m256i c = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)), deal), mask = _mm256_set1_epi32((int)0x87f00000);
	c = _mm256_srai_epi16(c, 4);
	to[0] = (vf)_mm256_and_si256(_mm256_slli_epi32(c, 16), mask);
	to[1] = (vf)_mm256_and_si256(c, mask);
}
/* For page_int8.h. */
enum { PAGE_VECTORS = 2 };
static inline vu page_four(const int32_t *p) { return (vu)_mm256_set1_epi32(*p); }
static inline vu page_order(vu x, __m128i order) { return (vu)_mm256_shuffle_epi8((__m256i)x, _mm256_broadcastsi128_si256(order)); }
static inline vu page_max(vu a, vu b) { return (vu)_mm256_max_epi32((__m256i)a, (__m256i)b); }
static inline int32_t page_most(vu v)
{
	__m128i m = _mm_max_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
static inline vu page_fold(const vu v[2])
{
	return (vu)_mm256_permute2x128_si256((__m256i)v[0], (__m256i)v[1], 0x20) + (vu)_mm256_permute2x128_si256((__m256i)v[0], (__m256i)v[1], 0x31);
}
static inline vf vf_int(vu word) { return _mm256_cvtepi32_ps((__m256i)word); }
/* For mx4_pairs.h: the row of exponent 127 is the values of the codes. */
static inline __attribute__((always_inline)) void vf_pairs(vf to[4], vu u) { e2m1_look(to, &e2m1_rows[127], (__m256i)u); }
static inline __attribute__((always_inline)) vf vf_two(const float *p) { return _mm256_castpd_ps(_mm256_broadcast_sd((const double *)(const void *)p)); }
static inline vf vf_rows(vf a, vf b) { return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd)); }
/* Nibbles, a byte each, as whole numbers for x16_int8.h: E2M1 twice, and 12 more. */
static inline vu vq_codes_i4(vu u) { return u; }
static inline vu vq_codes_mx(vu u)
{
	const __m256i twice = _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
	return (vu)_mm256_shuffle_epi8(twice, (__m256i)u);
}
#ifndef I8_TOKENS
/* Dot products of bytes, where there is no AVX-VNNI: pairs are added up in 16 bits. Of i4 8 steps of two products are at most 16 x 15 x 128 = 30720; of mx they
 * may wrap, but they begin where what they end with does not, at most 16 x 12 x 127 = 24384. */
#define I8_TOKENS 4
static inline vu vq_begin_i4(const int32_t *p K_UNUSED) { return (vu)_mm256_setzero_si256(); }
static inline vu vq_begin_mx(const int32_t *p) { return (vu)_mm256_set1_epi32(*p); }
static inline vu vq_dot(vu a, vu u, const int8_t *p)
{
	int32_t four;
	memcpy(&four, p, sizeof(four));
	a = (vu)_mm256_add_epi16((__m256i)a, _mm256_maddubs_epi16((__m256i)u, _mm256_set1_epi32(four)));
	__asm__("" : "+x"(a));          /* as it stands: sums that are made anew as a tree do not fit the registers */
	return a;
}
static inline vu vq_end(vu a) { return (vu)_mm256_madd_epi16((__m256i)a, _mm256_set1_epi16(1)); }
static inline vu vq_end_mx(vu a, const int32_t *p K_UNUSED) { return vq_end(a) + KK_I8_ZERO; }
static inline vu vq_end_i4(vu a, const int32_t *p) { return vq_end(a) + (vu)_mm256_set1_epi32(*p); }
/* Bytes of pages as halves of words: even ones, then odd ones. */
enum { PAGE_PARTS = 2 };
static inline vu page_codes(vu x, int i) { return i ? (vu)_mm256_srli_epi16((__m256i)x, 8) : x & 0x00ff00ff; }
static inline vu page_values(vu x, int i) { return (vu)_mm256_srai_epi16(i ? (__m256i)x : _mm256_slli_epi16((__m256i)x, 8), 8); }
static inline void page_query(vu w[2], vu c)
{
	w[0] = page_order(c, _mm_setr_epi8(0, 1, 8, 9, 0, 1, 8, 9, 0, 1, 8, 9, 0, 1, 8, 9));
	w[1] = page_order(c, _mm_setr_epi8(4, 5, 12, 13, 4, 5, 12, 13, 4, 5, 12, 13, 4, 5, 12, 13));
}
static inline void page_weights_of(vu w[2], vu c)
{
	w[0] = page_order(c, _mm_setr_epi8(1, -1, 9, -1, 1, -1, 9, -1, 1, -1, 9, -1, 1, -1, 9, -1));
	w[1] = page_order(c, _mm_setr_epi8(5, -1, 13, -1, 5, -1, 13, -1, 5, -1, 13, -1, 5, -1, 13, -1));
}
static inline vu page_dot(vu a, vu x, vu y)
{
	a += (vu)_mm256_madd_epi16((__m256i)x, (__m256i)y);
	__asm__("" : "+x"(a));          /* as in vq_dot */
	return a;
}
/* Products, then sums: where both go by turns Zen 3 gives sums the ports that products want. */
static inline void page_dot_two(vu *a, vu x, vu y, vu *b, vu u, vu v)
{
	__m256i p = _mm256_madd_epi16((__m256i)x, (__m256i)y), q = _mm256_madd_epi16((__m256i)u, (__m256i)v);
	__asm__ volatile("" : "+x"(p), "+x"(q));
	*a += (vu)p;
	*b += (vu)q;
	__asm__ volatile("" : "+x"(*a), "+x"(*b));
}
#endif
/* Of 32 u16 at p the largest, their upper bits aside. */
static inline uint32_t vu_top(const uint8_t *p)
{
	const __m256i low = _mm256_set1_epi16(0x7fff);
	__m256i a = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)p), low), b = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(p + 32)), low);
	a = _mm256_max_epu16(a, b);
	__m128i m = _mm_max_epu16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
	return 0xffff ^ (uint32_t)_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(m, _mm_set1_epi16(-1)))) % 65536;
}
/* The lowest bytes of 16 words, which have no others. */
static inline void vu_store_low(uint8_t *p, const vu *v)
{
	__m256i w = _mm256_packus_epi32((__m256i)v[0], (__m256i)v[1]);
	__m128i b = _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
	_mm_storeu_si128((__m128i *)p, _mm_shuffle_epi32(b, 0xd8));
}

#endif
