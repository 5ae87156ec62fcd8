/* st_split.c: the joined types as the tensors that other programs read: granules into a plane of values and one of scales, and rows of
 * these planes into numbers, for whoever checks what was written. */
#include "libcore/base.h"
#include "formats/st.h"
#include "libcore/dtype.h"

static float float_at(const uint8_t *p, int64_t i) { float f; memcpy(&f, p + 4 * i, 4); return f; }
static float bf16_at(const uint8_t *p, int64_t i) { uint16_t u; memcpy(&u, p + 2 * i, 2); return k_bf16_to_f32(u); }
static float f16_at(const uint8_t *p, int64_t i) { uint16_t u; memcpy(&u, p + 2 * i, 2); return k_f16_to_f32(u); }
static unsigned nibble(const uint8_t *p, int64_t i) { return p[i / 2] >> 4 * (i & 1) & 15; }

/* --- INT4 ------------------------------------------------------------------------------------------------------------------- */

static void split_i4g32(const struct k_qtype *t, const void *granule, uint8_t *values, uint8_t *scales, int64_t cols, int rows)
{
	k_i4g32_to_ct(t, granule, values, (uint16_t *)(void *)scales, cols, rows);
}

static void join_i4g32(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		dst[c] = (float)((int)nibble(values, c) - 8) * bf16_at(scales, c / 32);
}

/* A block's low nibbles are its first sixteen columns. */
static void split_q4_0(const struct k_qtype *t K_UNUSED, const void *granule, uint8_t *values, uint8_t *scales, int64_t cols, int rows K_UNUSED)
{
	const uint8_t *p = granule;

	for (int64_t g = 0; g < cols / 32; g++, p += 18, values += 16) {
		memcpy(scales + 2 * g, p, 2);
		for (int k = 0; k < 8; k++) {
			values[k] = (uint8_t)((p[2 + 2 * k] & 15) | (p[3 + 2 * k] & 15) << 4);
			values[k + 8] = (uint8_t)(p[2 + 2 * k] >> 4 | (p[3 + 2 * k] & 0xf0));
		}
	}
}

static void join_q4_0(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		dst[c] = (float)((int)nibble(values, c) - 8) * f16_at(scales, c / 32);
}

/* --- FP4, FP8, INT8 ----------------------------------------------------------------------------------------------------------- */

static void split_mxfp4(const struct k_qtype *t, const void *granule, uint8_t *values, uint8_t *scales, int64_t cols, int rows)
{
	k_mxfp4_to_planes(t, granule, values, scales, cols, rows);
}

static void join_mxfp4(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		dst[c] = k_e2m1_to_f32(nibble(values, c)) * k_e8m0_to_f32(scales[c / 32]);
}

/* Rows that are a scale and codes. */
static void split_row(const struct k_qtype *t K_UNUSED, const void *granule, uint8_t *values, uint8_t *scales, int64_t cols, int rows K_UNUSED)
{
	memcpy(scales, granule, 4);
	if (cols)
		memcpy(values, (const uint8_t *)granule + 4, (size_t)cols);
}

static void join_i8row(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		dst[c] = (float)(int8_t)values[c] * float_at(scales, 0);
}

static void join_fp8row(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		dst[c] = k_e4m3_to_f32(values[c]) * float_at(scales, 0);
}

static void split_mxfp8(const struct k_qtype *t K_UNUSED, const void *granule, uint8_t *values, uint8_t *scales, int64_t cols, int rows K_UNUSED)
{
	memcpy(scales, granule, (size_t)cols / 32);
	memcpy(values, (const uint8_t *)granule + cols / 32, (size_t)cols);
}

static void join_mxfp8(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		dst[c] = k_e4m3_to_f32(values[c]) * k_e8m0_to_f32(scales[c / 32]);
}

static void split_fp8b128(const struct k_qtype *t K_UNUSED, const void *granule, uint8_t *values, uint8_t *scales, int64_t cols, int rows)
{
	k_fp8b128_to_planes(granule, values, (float *)(void *)scales, cols, rows);
}

static void join_fp8b128(float *dst, const uint8_t *values, const uint8_t *scales, int64_t cols)
{
	for (int64_t c = 0; c < cols; c++)
		dst[c] = k_e4m3_to_f32(values[c]) * float_at(scales, c / 128);
}

const struct k_st_split k_st_splits[K_ST_N_SPLITS] = {
	[K_ST_I4G32] = { "i4g32", ".weight_packed", "I32", 8, 4, ".weight_scale", "BF16", 1, 32, true, split_i4g32, join_i4g32 },
	[K_ST_Q4_0] = { "q4_0", ".weight_packed", "I32", 8, 4, ".weight_scale", "F16", 1, 32, true, split_q4_0, join_q4_0 },
	[K_ST_MXFP4] = { "mxfp4", ".weight_packed", "U8", 2, 1, ".weight_scale", "U8", 1, 32, false, split_mxfp4, join_mxfp4 },
	[K_ST_I8ROW] = { "i8row", ".weight", "I8", 1, 1, ".weight_scale", "F32", 1, 0, false, split_row, join_i8row },
	[K_ST_FP8ROW] = { "fp8row", ".weight", "F8_E4M3", 1, 1, ".weight_scale", "F32", 1, 0, false, split_row, join_fp8row },
	[K_ST_MXFP8] = { "mxfp8", ".weight", "F8_E4M3", 1, 1, ".weight_scale", "U8", 1, 32, false, split_mxfp8, join_mxfp8 },
	[K_ST_FP8B128] = { "fp8b128", ".weight", "F8_E4M3", 1, 1, ".weight_scale_inv", "F32", 128, 128, false, split_fp8b128, join_fp8b128 },
};
