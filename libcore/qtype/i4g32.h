/* i4g32.h: one group of the INT4 type, shared by its two layouts: 32 columns, codes -8..7 (offset binary in the file: code + 8),
 * one bf16 scale; value = code * scale, exact in f32. */
#ifndef K_I4G32_H
#define K_I4G32_H

#include "libcore/qtype_int.h"

/* 32 floats -> codes 0..15 and the scale's bits. False when a value is not finite. weight: 32, or NULL.
 *
 * amax7: as quantisation-aware training of Kimi does it: quotient in f32 by the stored scale, -7..7.
 * amax7.5: as the compressed-tensors package does it to bf16 weights: every intermediate result is a bf16, -8..7.
 * Others: quotient in f32, -8..7. */
bool k_i4g32_group(uint8_t *restrict code, uint16_t *scale, const float *restrict x, const float *weight, enum k_scale rule);
/* The scale of 32 finite floats, the largest magnitude of which is amax. i4g32_scale.c. */
uint16_t k_i4g32_scale(const float *x, float amax, const float *weight, enum k_scale rule);
/* Scales must be numbers whose products with codes are. */
int k_i4g32_bad_scale(uint16_t scale, int64_t row, int64_t col, struct k_err *err);

/* Nibbles in column order (lowest first) <-> the x16 order of a word: even columns in the low half, odd ones in the high half. */
static inline uint32_t k_i4g32_squeeze(uint32_t w)
{
	w &= 0x0f0f0f0f;
	w = (w | w >> 4) & 0x00ff00ff;
	return (w | w >> 8) & 0xffff;
}
static inline uint32_t k_i4g32_spread(uint32_t h)
{
	h = (h | h << 8) & 0x00ff00ff;
	return (h | h << 4) & 0x0f0f0f0f;
}
static inline uint32_t k_i4g32_split(uint32_t w) { return k_i4g32_squeeze(w) | k_i4g32_squeeze(w >> 4) << 16; }
static inline uint32_t k_i4g32_join(uint32_t w) { return k_i4g32_spread(w & 0xffff) | k_i4g32_spread(w >> 16) << 4; }

/* Eight codes -> a word in column order. */
static inline uint32_t k_i4g32_word(const uint8_t *code)
{
	uint32_t w = 0;

	for (int j = 0; j < 8; j++)
		w |= (uint32_t)code[j] << 4 * j;
	return w;
}
/* A word in column order -> eight values. */
static inline void k_i4g32_values(float *restrict dst, uint32_t w, float scale)
{
	for (int j = 0; j < 8; j++)
		dst[j] = (float)((int32_t)(w >> 4 * j & 15) - 8) * scale;
}

#endif
