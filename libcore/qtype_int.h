/* qtype_int.h: what the files of libcore/qtype/ share: unaligned little-endian access, the largest magnitude of a group, and the
 * error for a value that is no number. Loops over a group have a fixed length, so that the compiler vectorises them. */
#ifndef K_QTYPE_INT_H
#define K_QTYPE_INT_H

#include "libcore/dtype.h"
#include "libcore/qtype.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the files are little-endian, and so must the machine be"
#endif

static inline uint16_t k_get16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t k_get32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline float k_getf(const void *p) { float v; memcpy(&v, p, 4); return v; }
static inline void k_put16(void *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void k_put32(void *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void k_putf(void *p, float v) { memcpy(p, &v, 4); }

#define K_INF_BITS 0x7f800000
static inline int32_t k_abs_bits(float f) { return (int32_t)(k_f32_bits(f) & 0x7fffffff); }

/* Bits of the largest magnitude of 32 floats. Magnitudes order like their bits, and NaN and infinity are >= K_INF_BITS. */
static inline int32_t k_amax32(const float *restrict x)
{
	int32_t m[8] = { 0 }, top = 0;

	for (int i = 0; i < 32; i += 8)
		for (int j = 0; j < 8; j++) {
			int32_t a = k_abs_bits(x[i + j]);
			m[j] = a > m[j] ? a : m[j];
		}
	for (int j = 0; j < 8; j++)
		top = K_MAX(top, m[j]);
	return top;
}
/* The same of n floats. */
static inline int32_t k_amax(const float *restrict x, int64_t n)
{
	int32_t top = 0;
	int64_t i = 0;

	for (; i + 32 <= n; i += 32) {
		int32_t m = k_amax32(x + i);
		top = K_MAX(top, m);
	}
	for (; i < n; i++) {
		int32_t a = k_abs_bits(x[i]);
		top = K_MAX(top, a);
	}
	return top;
}

/* x rounded to an integer, half to even, for |x| < 2^22: the addition rounds, the low bits of the sum are the integer. */
static inline int32_t k_round(float x) { return (int32_t)k_f32_bits(x + 12582912.0f) - 0x4b400000; }

/* The weights of a group: NULL (all alike) also where no activation reaches it. */
static inline const float *k_weights32(const float *weight)
{
	for (int i = 0; weight && i < 32; i++)
		if (weight[i] > 0)
			return weight;
	return NULL;
}

/* K_EFORMAT that names the first value of rows x cols floats that is NaN or infinite (there is one). */
int k_qtype_not_finite(const float *x, int64_t cols, int rows, struct k_err *err);
/* The same where the value is known. */
int k_qtype_bad_value(double v, const char *what, int64_t row, int64_t col, struct k_err *err);
/* K_ENO: a sound value, for which the type has no room. */
int k_qtype_too_large(double v, const char *type, int64_t row, int64_t col, struct k_err *err);

#endif
