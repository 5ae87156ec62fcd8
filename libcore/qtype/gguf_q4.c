/* gguf_q4.c: GGUF's blocks of 32 values with 4 or 5 bits: Q4_0, Q4_1, Q5_0, Q5_1.
 *
 *            0    2    4       6       8                      element i: low nibble of qs[i] (i < 16), high nibble of qs[i - 16];
 *   Q4_0    | d  | qs[16]                                     (nibble - 8) * d
 *   Q4_1    | d  | m  | qs[16]                                nibble * d + m
 *   Q5_0    | d  | qh u32  | qs[16]                           bit i of qh is the fifth bit;  (code - 16) * d
 *   Q5_1    | d  | m  | qh u32  | qs[16]                      code * d + m
 *
 * d and m are f16. The encoders give the bytes that llama.cpp gives (ggml-org/llama.cpp: ggml/src/ggml-quants.c): the code is made
 * with the f32 step, not with the f16 one that is stored. */
#include "libcore/base.h"
#include "libcore/qtype/gguf.h"

static inline void nibbles(int32_t *restrict code, const uint8_t *restrict qs)
{
	for (int i = 0; i < 16; i++) {
		code[i] = qs[i] & 15;
		code[i + 16] = qs[i] >> 4;
	}
}

static inline void fifth_bits(int32_t *restrict code, uint32_t qh)
{
	for (int i = 0; i < 32; i++)
		code[i] |= (int32_t)(qh >> i & 1) << 4;
}

static inline void values(float *restrict dst, const int32_t *restrict code, int zero, float d)
{
	for (int i = 0; i < 32; i++)
		dst[i] = (float)(code[i] - zero) * d;
}

static inline void values_min(float *restrict dst, const int32_t *restrict code, float d, float m)
{
	for (int i = 0; i < 32; i++)
		dst[i] = (float)code[i] * d + m;
}

static void q4_0_block(float *dst, const uint8_t *p)
{
	int32_t code[32];

	nibbles(code, p + 2);
	values(dst, code, 8, k_gguf_half(p));
}

static void q4_1_block(float *dst, const uint8_t *p)
{
	int32_t code[32];

	nibbles(code, p + 4);
	values_min(dst, code, k_gguf_half(p), k_gguf_half(p + 2));
}

static void q5_0_block(float *dst, const uint8_t *p)
{
	int32_t code[32];

	nibbles(code, p + 6);
	fifth_bits(code, k_get32(p + 2));
	values(dst, code, 16, k_gguf_half(p));
}

static void q5_1_block(float *dst, const uint8_t *p)
{
	int32_t code[32];

	nibbles(code, p + 8);
	fifth_bits(code, k_get32(p + 4));
	values_min(dst, code, k_gguf_half(p), k_gguf_half(p + 2));
}

/* --- encoders ----------------------------------------------------------------------------------------------------------- */

/* The value of largest magnitude, with its sign; the first of equals. */
static float extreme(const float *x)
{
	float best = 0, amax = 0;

	for (int i = 0; i < 32; i++) {
		float a = x[i] < 0 ? -x[i] : x[i];

		if (a > amax) {
			amax = a;
			best = x[i];
		}
	}
	return best;
}

static void put_nibbles(uint8_t *restrict qs, const uint8_t *restrict code)
{
	for (int i = 0; i < 16; i++)
		qs[i] = (uint8_t)((code[i] & 15) | code[i + 16] << 4);
}

static void put_fifth_bits(uint8_t *p, const uint8_t *code)
{
	uint32_t qh = 0;

	for (int i = 0; i < 32; i++)
		qh |= (uint32_t)(code[i] >> 4 & 1) << i;
	k_put32(p, qh);
}

/* Steps of d around zero: the extreme value gets code 0. */
static void make_signed(uint8_t *p, uint8_t *restrict code, const float *restrict x, int half)
{
	float d = extreme(x) / (float)-half, id = d != 0 ? 1.0f / d : 0;
	int top = 2 * half - 1;

	k_put16(p, k_f16_from_f32(d));
	/* 1/d leaves the range for the smallest d, which is 0 in f16. */
	if (k_abs_bits(id) >= K_INF_BITS)
		id = 0;
	for (int i = 0; i < 32; i++) {
		int q = (int)(x[i] * id + ((float)half + 0.5f));
		code[i] = (uint8_t)(q < top ? q : top);
	}
}

/* Steps of d from the smallest value on. */
static void make_from_min(uint8_t *p, uint8_t *restrict code, const float *restrict x, int top)
{
	float min = x[0], max = x[0], d, id;

	for (int i = 1; i < 32; i++) {
		min = x[i] < min ? x[i] : min;
		max = x[i] > max ? x[i] : max;
	}
	d = (max - min) / (float)top;
	id = d != 0 ? 1.0f / d : 0;
	k_put16(p, k_f16_from_f32(d));
	k_put16(p + 2, k_f16_from_f32(min));
	/* A range beyond f32 is an infinite d, which check refuses; the codes only have to be defined. */
	if (k_abs_bits(id) >= K_INF_BITS)
		id = 0;
	for (int i = 0; i < 32; i++) {
		float f = (x[i] - min) * id + 0.5f;
		int q = f < (float)top + 0.5f ? (int)f : top;
		code[i] = (uint8_t)q;
	}
}

static void q4_0_make(uint8_t *p, const float *x)
{
	uint8_t code[32];

	make_signed(p, code, x, 8);
	put_nibbles(p + 2, code);
}

static void q4_1_make(uint8_t *p, const float *x)
{
	uint8_t code[32];

	make_from_min(p, code, x, 15);
	put_nibbles(p + 4, code);
}

static void q5_0_make(uint8_t *p, const float *x)
{
	uint8_t code[32];

	make_signed(p, code, x, 16);
	put_fifth_bits(p + 2, code);
	put_nibbles(p + 6, code);
}

static void q5_1_make(uint8_t *p, const float *x)
{
	uint8_t code[32];

	make_from_min(p, code, x, 31);
	put_fifth_bits(p + 4, code);
	put_nibbles(p + 8, code);
}

K_GGUF_DECODE(q4_0, 32, 18, 0, 0)
K_GGUF_DECODE(q4_1, 32, 20, 0, 2)
K_GGUF_DECODE(q5_0, 32, 22, 0, 0)
K_GGUF_DECODE(q5_1, 32, 24, 0, 2)
K_GGUF_ENCODE(q4_0, 32, 18)
K_GGUF_ENCODE(q4_1, 32, 20)
K_GGUF_ENCODE(q5_0, 32, 22)
K_GGUF_ENCODE(q5_1, 32, 24)

/* bound: a whole step at the end of the signed range that has no code, half a step elsewhere; and the rounding of d and m to f16. */
K_GGUF_ROW(q4_0, "q4_0", "GGUF Q4_0: INT4, groups of 32 with an f16 scale", 32, 18, 2, .quant = q4_0_quant, .bound = 0.1255);
K_GGUF_ROW(q4_1, "q4_1", "GGUF Q4_1: 4 bits from a minimum", 32, 20, 3, .quant = q4_1_quant, .bound = 0.0685);
K_GGUF_ROW(q5_0, "q5_0", "GGUF Q5_0: INT5, groups of 32 with an f16 scale", 32, 22, 6, .quant = q5_0_quant, .bound = 0.0631);
K_GGUF_ROW(q5_1, "q5_1", "GGUF Q5_1: 5 bits from a minimum", 32, 24, 7, .quant = q5_1_quant, .bound = 0.034);

const struct k_qtype *const k_qtypes_gguf_q4[] = { &gguf_q4_0, &gguf_q4_1, &gguf_q5_0, &gguf_q5_1, NULL };
