/* gguf_q8.c: GGUF's Q8_0: 32 values, d (f16), then 32 signed bytes; value = code * d. The encoder gives llama.cpp's bytes: d = amax/127
 * in f32, code = x * (1/d) rounded, half away from zero. */
#include "libcore/base.h"
#include "libcore/qtype/gguf.h"

static void q8_0_block(float *restrict dst, const uint8_t *restrict p)
{
	float d = k_gguf_half(p);

	for (int i = 0; i < 32; i++)
		dst[i] = (float)(int8_t)p[2 + i] * d;
}

static void q8_0_make(uint8_t *restrict p, const float *restrict x)
{
	float d = k_f32_from_bits((uint32_t)k_amax32(x)) / 127.0f, id = d != 0 ? 1.0f / d : 0;

	k_put16(p, k_f16_from_f32(d));
	if (k_abs_bits(id) >= K_INF_BITS)
		id = 0;
	for (int i = 0; i < 32; i++) {
		float v = x[i] * id, rest;
		int q = (int)v;

		rest = v - (float)q;
		p[2 + i] = (uint8_t)(q + (rest >= 0.5f) - (rest <= -0.5f));
	}
}

K_GGUF_DECODE(q8_0, 32, 34, 0, 0)
K_GGUF_ENCODE(q8_0, 32, 34)
K_GGUF_ROW(q8_0, "q8_0", "GGUF Q8_0: INT8, groups of 32 with an f16 scale", 32, 34, 8, .quant = q8_0_quant, .bound = 0.0045);

const struct k_qtype *const k_qtypes_gguf_q8[] = { &gguf_q8_0, NULL };
