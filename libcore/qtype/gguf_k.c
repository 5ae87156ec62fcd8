/* gguf_k.c: GGUF's super-blocks of 256 values (Q2_K .. Q6_K) and its two table types (IQ4_NL, IQ4_XS); decoding only.
 *
 *   Q2_K  scales[16] | qs[64] | d | dmin            per 16: 4-bit scale and minimum
 *   Q3_K  hmask[32] | qs[64] | scales[12] | d       per 16: 6-bit scale - 32
 *   Q4_K  d | dmin | scales[12] | qs[128]           per 32: 6-bit scale and minimum
 *   Q5_K  d | dmin | scales[12] | qh[32] | qs[128]
 *   Q6_K  ql[128] | qh[64] | scales[16] | d         per 16: 8-bit scale
 *
 * (layouts: ggml-org/llama.cpp: ggml/src/ggml-common.h). Products are taken in the order written here, in f32. */
#include "libcore/base.h"
#include "libcore/qtype/gguf.h"

static void q2_k_block(float *dst, const uint8_t *p)
{
	const uint8_t *scales = p, *qs = p + 16;
	float d = k_gguf_half(p + 80), dmin = k_gguf_half(p + 82);

	for (int i = 0; i < 256; i++) {
		int h = i / 128, j = i % 128 / 32, l = i % 32, sc = scales[i / 16];
		int q = qs[32 * h + l] >> 2 * j & 3;

		dst[i] = d * (float)(sc & 15) * (float)q - dmin * (float)(sc >> 4);
	}
}

static void q3_k_block(float *dst, const uint8_t *p)
{
	const uint8_t *hmask = p, *qs = p + 32, *a = p + 96;
	float d = k_gguf_half(p + 108);

	for (int i = 0; i < 256; i++) {
		int h = i / 128, j = i % 128 / 32, l = i % 32, t = i / 16;
		int q = (qs[32 * h + l] >> 2 * j & 3) + 4 * (hmask[l] >> (4 * h + j) & 1) - 4;
		int low = t < 8 ? a[t] & 15 : a[t - 8] >> 4;
		int scale = low | (a[8 + t % 4] >> 2 * (t / 4) & 3) << 4;

		dst[i] = d * (float)(scale - 32) * (float)q;
	}
}

/* The s-th of eight pairs of 6 bits in 12 bytes. */
static void scale_min(const uint8_t *a, int s, int *sc, int *mn)
{
	if (s < 4) {
		*sc = a[s] & 63;
		*mn = a[s + 4] & 63;
	} else {
		*sc = (a[s + 4] & 15) | a[s - 4] >> 6 << 4;
		*mn = a[s + 4] >> 4 | a[s] >> 6 << 4;
	}
}

/* qh NULL: four bits. */
static inline void q45_k(float *dst, const uint8_t *p, const uint8_t *qh, const uint8_t *qs)
{
	float d = k_gguf_half(p), dmin = k_gguf_half(p + 2);

	for (int s = 0; s < 8; s++) {
		int sc, mn;
		float step, min;

		scale_min(p + 4, s, &sc, &mn);
		step = d * (float)sc;
		min = dmin * (float)mn;
		for (int l = 0; l < 32; l++) {
			int q = qs[32 * (s / 2) + l] >> 4 * (s & 1) & 15;

			if (qh)
				q += 16 * (qh[l] >> s & 1);
			dst[32 * s + l] = step * (float)q - min;
		}
	}
}

static void q4_k_block(float *dst, const uint8_t *p) { q45_k(dst, p, NULL, p + 16); }
static void q5_k_block(float *dst, const uint8_t *p) { q45_k(dst, p, p + 16, p + 48); }

static void q6_k_block(float *dst, const uint8_t *p)
{
	const uint8_t *ql = p, *qh = p + 128;
	const int8_t *scales = (const int8_t *)p + 192;
	float d = k_gguf_half(p + 208);

	for (int i = 0; i < 256; i++) {
		int h = i / 128, k = i % 128 / 32, l = i % 32;
		int q = (ql[64 * h + l + 32 * (k & 1)] >> 4 * (k >> 1) & 15) + 16 * (qh[32 * h + l] >> 2 * k & 3) - 32;

		dst[i] = d * (float)scales[i / 16] * (float)q;
	}
}

static const int8_t iq4[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

static void iq4_nl_block(float *dst, const uint8_t *p)
{
	float d = k_gguf_half(p);

	for (int i = 0; i < 16; i++) {
		dst[i] = d * (float)iq4[p[2 + i] & 15];
		dst[i + 16] = d * (float)iq4[p[2 + i] >> 4];
	}
}

static void iq4_xs_block(float *dst, const uint8_t *p)
{
	float d = k_gguf_half(p);
	int high = k_get16(p + 2);

	for (int b = 0; b < 8; b++) {
		int scale = (p[4 + b / 2] >> 4 * (b % 2) & 15) + 16 * (high >> 2 * b & 3);
		float step = d * (float)(scale - 32);

		for (int i = 0; i < 16; i++) {
			dst[32 * b + i] = step * (float)iq4[p[8 + 16 * b + i] & 15];
			dst[32 * b + i + 16] = step * (float)iq4[p[8 + 16 * b + i] >> 4];
		}
	}
}

K_GGUF_DECODE(q2_k, 256, 84, 80, 82)
K_GGUF_DECODE(q3_k, 256, 110, 108, 108)
K_GGUF_DECODE(q4_k, 256, 144, 0, 2)
K_GGUF_DECODE(q5_k, 256, 176, 0, 2)
K_GGUF_DECODE(q6_k, 256, 210, 208, 208)
K_GGUF_DECODE(iq4_nl, 32, 18, 0, 0)
K_GGUF_DECODE(iq4_xs, 256, 136, 0, 0)

K_GGUF_ROW(q2_k, "q2_k", "GGUF Q2_K, read only", 256, 84, 10, .quant = NULL);
K_GGUF_ROW(q3_k, "q3_k", "GGUF Q3_K, read only", 256, 110, 11, .quant = NULL);
K_GGUF_ROW(q4_k, "q4_k", "GGUF Q4_K, read only", 256, 144, 12, .quant = NULL);
K_GGUF_ROW(q5_k, "q5_k", "GGUF Q5_K, read only", 256, 176, 13, .quant = NULL);
K_GGUF_ROW(q6_k, "q6_k", "GGUF Q6_K, read only", 256, 210, 14, .quant = NULL);
K_GGUF_ROW(iq4_nl, "iq4_nl", "GGUF IQ4_NL, read only", 32, 18, 20, .quant = NULL);
K_GGUF_ROW(iq4_xs, "iq4_xs", "GGUF IQ4_XS, read only", 256, 136, 23, .quant = NULL);

const struct k_qtype *const k_qtypes_gguf_k[] = {
	&gguf_q2_k, &gguf_q3_k, &gguf_q4_k, &gguf_q5_k, &gguf_q6_k, &gguf_iq4_nl, &gguf_iq4_xs, NULL,
};
