/* i4g32.c: INT4 in groups of 32 columns, symmetric, as Kimi-K2-Thinking stores its experts; the checkpoint's own order.
 *
 *   a granule is a row:  cols/32 scales, bf16  |  cols/2 bytes: byte t holds column 2t (low nibble) and 2t + 1, code + 8
 *
 * The group's codes and the movement to and from a checkpoint's planes are here for both layouts (x16: i4g32_x16.c). */
#include "libcore/base.h"
#include "libcore/qtype/i4g32.h"

static size_t rows_bytes(int64_t cols, int rows) { return ((size_t)cols / 2 + (size_t)cols / 16) * (size_t)rows; }

bool k_i4g32_group(uint8_t *restrict code, uint16_t *scale, const float *restrict x, const float *weight, enum k_scale rule)
{
	int32_t top = k_amax32(x);
	float s, low = rule == K_SCALE_AMAX7 ? -7.0f : -8.0f, q[32];

	if (top >= K_INF_BITS)
		return false;
	*scale = k_i4g32_scale(x, k_f32_from_bits((uint32_t)top), weight, rule);
	s = k_bf16_to_f32(*scale);
	for (int i = 0; i < 32; i++)
		q[i] = x[i] / s;
	if (rule == K_SCALE_AMAX75)
		for (int i = 0; i < 32; i++) {
			uint32_t u = k_f32_bits(q[i]);
			q[i] = k_f32_from_bits((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000);
		}
	for (int i = 0; i < 32; i++) {
		q[i] = q[i] < low ? low : q[i];
		q[i] = q[i] > 7.0f ? 7.0f : q[i];
		code[i] = (uint8_t)(k_round(q[i]) + 8);
	}
	return true;
}

int k_i4g32_bad_scale(uint16_t scale, int64_t row, int64_t col, struct k_err *err)
{
	uint16_t size = scale & 0x7fff;

	if (size < 0x7e00)                              /* 2^125: eight times as much is infinite */
		return 0;
	return k_qtype_bad_value(k_bf16_to_f32(scale), size < 0x7f80 ? "too large: INT4 scale" : "INT4 scale", row, col, err);
}

static void rows_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *p = (const uint8_t *)granule + (size_t)row * rows_bytes(cols, 1), *code = p + cols / 16;

	for (int64_t g = 0; g < cols / 32; g++) {
		float s = k_bf16_to_f32(k_get16(p + 2 * g));

		for (int w = 0; w < 4; w++)
			k_i4g32_values(dst + 32 * g + 8 * w, k_get32(code + 16 * g + 4 * w), s);
	}
}

static int rows_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o, struct k_err *err)
{
	for (int r = 0; r < rows; r++) {
		uint8_t *p = (uint8_t *)granule + (size_t)r * rows_bytes(cols, 1), *to = p + cols / 16;
		const float *x = src + r * cols;

		for (int64_t g = 0; g < cols / 32; g++) {
			uint8_t code[32];
			uint16_t s;

			if (!k_i4g32_group(code, &s, x + 32 * g, o->weight ? o->weight + 32 * g : NULL, o->scale))
				return k_qtype_not_finite(src, cols, rows, err);
			if (k_i4g32_bad_scale(s, r, 32 * g, err))
				return K_EFORMAT;
			k_put16(p + 2 * g, s);
			for (int i = 0; i < 16; i++)
				to[16 * g + i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
		}
	}
	return 0;
}

static int rows_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int r = 0; r < rows && !rc; r++) {
		const uint8_t *p = (const uint8_t *)granule + (size_t)r * rows_bytes(cols, 1);

		for (int64_t g = 0; g < cols / 32 && !rc; g++)
			rc = k_i4g32_bad_scale(k_get16(p + 2 * g), r, 32 * g, err);
	}
	return rc;
}

/* --- planes of a checkpoint ------------------------------------------------------------------------------------------- */

static void x16_from_ct(uint8_t *granule, const uint8_t *packed, const uint16_t *scales, int64_t cols)
{
	for (int64_t k = 0; k < cols / 64; k++)
		for (int r = 0; r < 16; r++) {
			uint8_t *to = granule + 576 * k + 4 * r;
			const uint8_t *from = packed + (size_t)r * (size_t)cols / 2 + 32 * k;

			memcpy(to, (const uint8_t *)scales + 2 * ((size_t)r * (size_t)cols / 32 + 2 * (size_t)k), 4);
			for (int q = 0; q < 8; q++)
				k_put32(to + 64 + 64 * q, k_i4g32_split(k_get32(from + 4 * q)));
		}
}

static void x16_to_ct(const uint8_t *granule, uint8_t *packed, uint16_t *scales, int64_t cols)
{
	for (int64_t k = 0; k < cols / 64; k++)
		for (int r = 0; r < 16; r++) {
			const uint8_t *from = granule + 576 * k + 4 * r;
			uint8_t *to = packed + (size_t)r * (size_t)cols / 2 + 32 * k;

			memcpy((uint8_t *)scales + 2 * ((size_t)r * (size_t)cols / 32 + 2 * (size_t)k), from, 4);
			for (int q = 0; q < 8; q++)
				k_put32(to + 4 * q, k_i4g32_join(k_get32(from + 64 + 64 * q)));
		}
}

void k_i4g32_from_ct(const struct k_qtype *dst, void *granule, const uint8_t *packed, const uint16_t *scales, int64_t cols, int rows)
{
	uint8_t *p = granule;

	if (dst->granule == 16) {
		K_ASSERT(rows == 16);
		x16_from_ct(p, packed, scales, cols);
		return;
	}
	for (int r = 0; r < rows; r++, p += rows_bytes(cols, 1)) {
		memcpy(p, scales + r * (cols / 32), (size_t)cols / 16);
		memcpy(p + cols / 16, packed + r * (cols / 2), (size_t)cols / 2);
	}
}

void k_i4g32_to_ct(const struct k_qtype *src, const void *granule, uint8_t *packed, uint16_t *scales, int64_t cols, int rows)
{
	const uint8_t *p = granule;

	if (src->granule == 16) {
		K_ASSERT(rows == 16);
		x16_to_ct(p, packed, scales, cols);
		return;
	}
	for (int r = 0; r < rows; r++, p += rows_bytes(cols, 1)) {
		memcpy(scales + r * (cols / 32), p, (size_t)cols / 16);
		memcpy(packed + r * (cols / 2), p + cols / 16, (size_t)cols / 2);
	}
}

static const struct k_qtype i4g32_rows = {
	.name = "i4g32", .layout = "rows", .about = "INT4, groups of 32 with a bf16 scale (Kimi-K2-Thinking)", .bits = 4.5, .group = 32, .col_granule = 32,
	.granule = 1, .gguf_type = -1, .granule_bytes = rows_bytes, .dequant = rows_dequant, .quant = rows_quant, .check = rows_check,
	.bound = 0.0725,        /* half a step of amax/7, and what rounding the scale adds */
};

const struct k_qtype *const k_qtypes_i4g32[] = { &i4g32_rows, NULL };
