/* e2m1_avx2.h: codes of E2M1 times 2^(e-127) as floats, a group of mxfp4 at once.
 *
 * Each such float is 16 bits and 16 zeros: a look-up for its upper byte and one for its lower, by code, in the row of e of a table. The
 * exponent of a float is e - 1 for code 1, then e + code/2 - 1; its lowest bit is the top bit of the lower byte, the mantissa that below it.
 * So are all rows but those where floats are subnormal (e 0, 1) or have no room for the value (253 up; 255 is NaN). */
#ifndef KERNELS_AVX2_E2M1_H
#define KERNELS_AVX2_E2M1_H

#include <immintrin.h>
#include "libcore/base.h"

struct e2m1_row { uint8_t upper[16], lower[16]; };

#define E2M1_ROW(a, b, c, d, e, f, g, h) { \
	{ (a) >> 8, (b) >> 8, (c) >> 8, (d) >> 8, (e) >> 8, (f) >> 8, (g) >> 8, (h) >> 8, \
		(a) >> 8 | 128, (b) >> 8 | 128, (c) >> 8 | 128, (d) >> 8 | 128, (e) >> 8 | 128, (f) >> 8 | 128, (g) >> 8 | 128, (h) >> 8 | 128 }, \
	{ (a) & 255, (b) & 255, (c) & 255, (d) & 255, (e) & 255, (f) & 255, (g) & 255, (h) & 255, \
		(a) & 255, (b) & 255, (c) & 255, (d) & 255, (e) & 255, (f) & 255, (g) & 255, (h) & 255 } }
#define E2M1_FLOAT(e, half) ((e) << 7 | (half) << 6)
#define E2M1(e) E2M1_ROW(0, E2M1_FLOAT((e) - 1, 0), E2M1_FLOAT(e, 0), E2M1_FLOAT(e, 1), E2M1_FLOAT((e) + 1, 0), E2M1_FLOAT((e) + 1, 1), \
	E2M1_FLOAT((e) + 2, 0), E2M1_FLOAT((e) + 2, 1))
#define E2M1_2(e) E2M1(e), E2M1((e) + 1)
#define E2M1_8(e) E2M1_2(e), E2M1_2((e) + 2), E2M1_2((e) + 4), E2M1_2((e) + 6)
#define E2M1_32(e) E2M1_8(e), E2M1_8((e) + 8), E2M1_8((e) + 16), E2M1_8((e) + 24)

static const struct e2m1_row e2m1_rows[256] = {
	E2M1_ROW(0, 0x0020, 0x0040, 0x0060, 0x0080, 0x00c0, 0x0100, 0x0140),
	E2M1_ROW(0, 0x0040, 0x0080, 0x00c0, 0x0100, 0x0140, 0x0180, 0x01c0),
	E2M1_32(2), E2M1_32(34), E2M1_32(66), E2M1_32(98), E2M1_32(130), E2M1_32(162), E2M1_32(194),
	E2M1_8(226), E2M1_8(234), E2M1_8(242), E2M1_2(250), E2M1(252),
	E2M1_ROW(0, 0x7e00, 0x7e80, 0x7ec0, 0x7f00, 0x7f40, 0x7f80, 0x7f80),
	E2M1_ROW(0, 0x7e80, 0x7f00, 0x7f40, 0x7f80, 0x7f80, 0x7f80, 0x7f80),
	E2M1_ROW(0x7fc0, 0x7fc0, 0x7fc0, 0x7fc0, 0x7fc0, 0x7fc0, 0x7fc0, 0x7fc0),
};

static inline __attribute__((always_inline)) __m256i e2m1_twice(const uint8_t *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }

/* Codes, a byte each, as floats. What the look-ups give is interleaved to 16 bits a code, of which words have two: the lower is one of a vector, the
 * upper one of the next. to[0], to[1]: words 0 1 4 5 of c, bytes 0 and 2, then 1 and 3; to[2], to[3]: words 2 3 6 7. */
static inline __attribute__((always_inline)) void e2m1_look(__m256 to[4], const struct e2m1_row *row, __m256i c)
{
	const __m256i top = _mm256_set1_epi32(-0x10000);
	__m256i u = _mm256_shuffle_epi8(e2m1_twice(row->upper), c), l = _mm256_shuffle_epi8(e2m1_twice(row->lower), c);
	__m256i a = _mm256_unpacklo_epi8(l, u), b = _mm256_unpackhi_epi8(l, u);
	to[0] = (__m256)_mm256_slli_epi32(a, 16);
	to[1] = (__m256)_mm256_and_si256(a, top);
	to[2] = (__m256)_mm256_slli_epi32(b, 16);
	to[3] = (__m256)_mm256_and_si256(b, top);
}

/* A word of 32 bits gets the bytes of columns i and i + 8, whose nibbles are the codes of these and, a step further, of i + 1 and i + 9; the
 * half of a vector that is to have column i has these words. */
static inline __attribute__((always_inline)) void vf_e2m1(__m256 to[4], const uint8_t *p, uint8_t e)
{
	const __m256i deal = _mm256_setr_epi8(0, 4, -1, -1, 1, 5, -1, -1, 8, 12, -1, -1, 9, 13, -1, -1,
		2, 6, -1, -1, 3, 7, -1, -1, 10, 14, -1, -1, 11, 15, -1, -1);
	__m256i c = _mm256_shuffle_epi8(e2m1_twice(p), deal);
	c = _mm256_and_si256(_mm256_or_si256(c, _mm256_slli_epi32(c, 12)), _mm256_set1_epi8(15));
	e2m1_look(to, &e2m1_rows[e], c);
}

#endif
