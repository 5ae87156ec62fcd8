/* vec_avxvnni.h: dot products of bytes in one instruction, for x16_int8.h; the rest is AVX2's. */
#ifndef KERNELS_AVXVNNI_VEC_H
#define KERNELS_AVXVNNI_VEC_H

#define I8_TOKENS 4
#include "kernels/avx2/vec_avx2.h"

#ifndef KERNELS_AVXVNNISIM_YMM_H
#define ymm_dpbusd(a, u, v) _mm256_dpbusd_avx_epi32(a, u, v)
#endif

static inline vu vq_begin_i4(const int32_t *p) { return (vu)_mm256_set1_epi32(*p); }
static inline vu vq_begin_mx(const int32_t *p) { return (vu)_mm256_madd_epi16(_mm256_set1_epi32(*p), _mm256_set1_epi16(1)) + KK_I8_ZERO; }
static inline vu vq_dot(vu a, vu u, const int8_t *p)
{
	int32_t four;
	memcpy(&four, p, sizeof(four));
	return (vu)ymm_dpbusd((__m256i)a, (__m256i)u, _mm256_set1_epi32(four));
}
static inline vu vq_end(vu a) { return a; }
static inline vu vq_end_i4(vu a, const int32_t *p K_UNUSED) { return a; }
static inline vu vq_end_mx(vu a, const int32_t *p K_UNUSED) { return a; }

/* For page_int8.h. */
static inline vu page_dot(vu a, vu x, vu y) { return (vu)ymm_dpbusd((__m256i)a, (__m256i)x, (__m256i)y); }
#include "kernels/tmpl/page_bytes.h"

#endif
