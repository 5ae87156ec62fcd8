/* mxfp4_x16.c: MXFP4 with 16 rows interleaved, as i4g32_x16.c has INT4: a lane of a vector is a row and memory is read straight forward.
 *
 *   a granule is 16 rows; for each 128 columns one record of 1088 bytes (17 cache lines):
 *     0    row r: scales of columns 0..31, 32..63, 64..95, 96..127 at 4r, 4r + 1, 4r + 2, 4r + 3
 *     64   for q = 0..15, 64 bytes: row r's word at 4r = columns 8q..8q+7: nibble j of the low half is column 8q + 2j, nibble j of the
 *          high half column 8q + 2j + 1
 *
 * Scales are bytes here, so it takes four groups to fill the line before the codes. */
#include "libcore/base.h"
#include "libcore/qtype/i4g32.h"
#include "libcore/qtype/mxfp4.h"

enum { RECORD = 1088, COLS = 128, GROUPS = COLS / 32 };

static size_t x16_bytes(int64_t cols, int rows) { return (size_t)cols / COLS * RECORD * (((size_t)rows + 15) / 16); }

/* The scale of group g of row r; its four words, 64 bytes apart. */
static const uint8_t *scale_at(const void *granule, int64_t g, int r) { return (const uint8_t *)granule + g / GROUPS * RECORD + 4 * r + g % GROUPS; }
static const uint8_t *words_at(const void *granule, int64_t g, int r)
{
	return (const uint8_t *)granule + g / GROUPS * RECORD + 64 + g % GROUPS * 256 + 4 * r;
}

/* A group's codes, 16 bytes in column order, to its place and back. */
static void put_group(void *granule, int64_t g, int r, const uint8_t *code)
{
	uint8_t *to = (uint8_t *)granule + (words_at(granule, g, r) - (const uint8_t *)granule);

	for (int w = 0; w < 4; w++)
		k_put32(to + 64 * w, k_i4g32_split(k_get32(code + 4 * w)));
}
static void get_group(uint8_t *code, const void *granule, int64_t g, int r)
{
	const uint8_t *from = words_at(granule, g, r);

	for (int w = 0; w < 4; w++)
		k_put32(code + 4 * w, k_i4g32_join(k_get32(from + 64 * w)));
}

static void x16_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	for (int64_t g = 0; g < cols / 32; g++) {
		float s = k_e8m0_to_f32(*scale_at(granule, g, row)), *restrict to = dst + 32 * g;
		uint8_t code[16];

		get_group(code, granule, g, row);
		for (int i = 0; i < 16; i++) {
			to[2 * i] = k_mxfp4_value(code[i] & 15, s);
			to[2 * i + 1] = k_mxfp4_value(code[i] >> 4, s);
		}
	}
}

static int x16_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o, struct k_err *err)
{
	K_ASSERT(rows == 16);
	for (int r = 0; r < 16; r++)
		for (int64_t g = 0; g < cols / 32; g++) {
			uint8_t code[16];
			int e = k_mxfp4_group(code, src + r * cols + 32 * g, o->weight ? o->weight + 32 * g : NULL, o);

			if (e < 0)
				return k_qtype_not_finite(src, cols, rows, err);
			((uint8_t *)granule)[g / GROUPS * RECORD + 4 * r + g % GROUPS] = (uint8_t)e;
			put_group(granule, g, r, code);
		}
	return 0;
}

static int x16_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int64_t g = 0; g < cols / 32; g++)
		for (int r = 0; r < rows && !rc; r++) {
			uint8_t code[16], e = *scale_at(granule, g, r);

			if (e < 253)
				continue;
			get_group(code, granule, g, r);
			rc = k_mxfp4_bad_group(e, code, r, 32 * g, err);
		}
	return rc;
}

/* --- planes of a checkpoint ------------------------------------------------------------------------------------------- */

void k_mxfp4_from_planes(const struct k_qtype *dst, void *granule, const uint8_t *packed, const uint8_t *scales, int64_t cols, int rows)
{
	if (dst->granule == 1) {
		memcpy(granule, scales, (size_t)cols / 32);
		memcpy((uint8_t *)granule + cols / 32, packed, (size_t)cols / 2);
		return;
	}
	K_ASSERT(rows == 16);
	for (int r = 0; r < 16; r++, packed += cols / 2, scales += cols / 32)
		for (int64_t g = 0; g < cols / 32; g++) {
			((uint8_t *)granule)[g / GROUPS * RECORD + 4 * r + g % GROUPS] = scales[g];
			put_group(granule, g, r, packed + 16 * g);
		}
}

/* A block of GGUF has its first half in the low nibbles and the other in the high ones. */
static void blocks_to_planes(const uint8_t *p, uint8_t *packed, uint8_t *scales, int64_t cols)
{
	for (int64_t g = 0; g < cols / 32; g++, p += 17, packed += 16) {
		scales[g] = p[0];
		for (int i = 0; i < 8; i++) {
			uint8_t a = p[1 + 2 * i], b = p[2 + 2 * i];

			packed[i] = (uint8_t)((a & 15) | b << 4);
			packed[i + 8] = (uint8_t)(a >> 4 | (b & 0xf0));
		}
	}
}

void k_mxfp4_to_planes(const struct k_qtype *src, const void *granule, uint8_t *packed, uint8_t *scales, int64_t cols, int rows)
{
	if (src->gguf_type >= 0) {
		K_ASSERT(rows == 1);
		blocks_to_planes(granule, packed, scales, cols);
		return;
	}
	if (src->granule == 1) {
		memcpy(scales, granule, (size_t)cols / 32);
		memcpy(packed, (const uint8_t *)granule + cols / 32, (size_t)cols / 2);
		return;
	}
	K_ASSERT(rows == 16);
	for (int r = 0; r < 16; r++, packed += cols / 2, scales += cols / 32)
		for (int64_t g = 0; g < cols / 32; g++) {
			scales[g] = *scale_at(granule, g, r);
			get_group(packed + 16 * g, granule, g, r);
		}
}

static const struct k_qtype mxfp4_x16 = {
	.name = "mxfp4", .layout = "x16", .about = "MXFP4, 16 rows interleaved for the kernels", .bits = 4.25, .group = 32, .col_granule = COLS,
	.granule = 16, .full_granules = true, .gguf_type = -1, .granule_bytes = x16_bytes, .dequant = x16_dequant,
	.quant = x16_quant, .check = x16_check, .bound = 0.2,
};

const struct k_qtype *const k_qtypes_mxfp4_x16[] = { &mxfp4_x16, NULL };
