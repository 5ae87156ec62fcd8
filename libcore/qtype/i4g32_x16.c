/* i4g32_x16.c: the INT4 type with 16 rows interleaved, so that a lane of a vector is a row and memory is read straight forward.
 *
 *   a granule is 16 rows; for each 64 columns one record of 576 bytes (nine cache lines):
 *     0    row r: scale of columns 0..31 at 4r, of columns 32..63 at 4r + 2 (bf16)
 *     64   for q = 0..7, 64 bytes: row r's word at 4r = columns 8q..8q+7: nibble j of the low half is column 8q + 2j, nibble j of
 *          the high half column 8q + 2j + 1 (so one mask gives the even columns of 16-bit lanes, one shift more the next) */
#include "libcore/base.h"
#include "libcore/qtype/i4g32.h"

enum { RECORD = 576 };

static size_t x16_bytes(int64_t cols, int rows) { return (size_t)cols / 64 * RECORD * (((size_t)rows + 15) / 16); }

static void x16_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	for (int64_t k = 0; k < cols / 64; k++) {
		const uint8_t *p = (const uint8_t *)granule + k * RECORD + 4 * row;

		for (int q = 0; q < 8; q++) {
			float s = k_bf16_to_f32(k_get16(p + (q < 4 ? 0 : 2)));

			k_i4g32_values(dst + 64 * k + 8 * q, k_i4g32_join(k_get32(p + 64 + 64 * q)), s);
		}
	}
}

static int x16_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o, struct k_err *err)
{
	K_ASSERT(rows == 16);
	for (int r = 0; r < 16; r++)
		for (int64_t g = 0; g < cols / 32; g++) {
			uint8_t *p = (uint8_t *)granule + g / 2 * RECORD + 4 * r, code[32];
			int half = g & 1;
			uint16_t s;

			if (!k_i4g32_group(code, &s, src + r * cols + 32 * g, o->weight ? o->weight + 32 * g : NULL, o->scale))
				return k_qtype_not_finite(src, cols, rows, err);
			if (k_i4g32_bad_scale(s, r, 32 * g, err))
				return K_EFORMAT;
			k_put16(p + 2 * half, s);
			for (int w = 0; w < 4; w++)
				k_put32(p + 64 + 64 * (4 * half + w), k_i4g32_split(k_i4g32_word(code + 8 * w)));
		}
	return 0;
}

static int x16_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int64_t g = 0; g < cols / 32; g++)
		for (int r = 0; r < rows && !rc; r++)
			rc = k_i4g32_bad_scale(k_get16((const uint8_t *)granule + g / 2 * RECORD + 4 * r + 2 * (g & 1)), r, 32 * g, err);
	return rc;
}

static const struct k_qtype i4g32_x16 = {
	.name = "i4g32", .layout = "x16", .about = "INT4 as i4g32, 16 rows interleaved for the kernels", .bits = 4.5, .group = 32, .col_granule = 64,
	.granule = 16, .full_granules = true, .gguf_type = -1, .granule_bytes = x16_bytes, .dequant = x16_dequant,
	.quant = x16_quant, .check = x16_check, .bound = 0.0725,
};

const struct k_qtype *const k_qtypes_i4g32_x16[] = { &i4g32_x16, NULL };
