/* fp8.c: FP8 (E4M3) rows, as compressed-tensors files have them (blocks of 128 x 128: fp8b128.c). Only imports make them.
 *
 *   fp8row   a granule is a row:  scale, f32                        |  cols codes        value = code * scale
 *   mxfp8    a granule is a row:  cols/32 bytes of scale, 2^(e-127) |  cols codes        value = code * scale
 *
 * Values are one f32 product. */
#include "libcore/base.h"
#include "libcore/qtype_int.h"

static size_t row_bytes(int64_t cols, int rows) { return (4 + (size_t)cols) * (size_t)rows; }
static size_t mx_bytes(int64_t cols, int rows) { return ((size_t)cols / 32 + (size_t)cols) * (size_t)rows; }

static void widen(float *restrict dst, const uint8_t *restrict code, float s, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		dst[i] = k_e4m3_to_f32(code[i]) * s;
}

static void row_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *p = (const uint8_t *)granule + (size_t)row * row_bytes(cols, 1);

	widen(dst, p + 4, k_getf(p), cols);
}

static void mx_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *p = (const uint8_t *)granule + (size_t)row * mx_bytes(cols, 1);

	for (int64_t g = 0; g < cols / 32; g++)
		widen(dst + 32 * g, p + cols / 32 + 32 * g, k_e8m0_to_f32(p[g]), 32);
}

static int bad_code(const uint8_t *code, int64_t cols, int64_t row, struct k_err *err)
{
	for (int64_t i = 0; i < cols; i++)
		if ((code[i] & 0x7f) == 0x7f)
			return k_err_set(err, K_EFORMAT, "FP8 code 0x%02x (NaN) at row %lld, column %lld", code[i], (long long)row, (long long)i);
	return 0;
}

/* The largest code is 448: its product with the scale must be a number too. */
static int bad_scale(float s, int64_t row, int64_t col, struct k_err *err)
{
	if (k_abs_bits(s * 448.0f) < K_INF_BITS && !(s < 0))
		return 0;
	return k_qtype_bad_value(s, k_abs_bits(s) < K_INF_BITS && s > 0 ? "too large: FP8 scale" : "FP8 scale", row, col, err);
}

static int row_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int r = 0; r < rows && !rc; r++) {
		const uint8_t *p = (const uint8_t *)granule + (size_t)r * row_bytes(cols, 1);

		rc = bad_scale(k_getf(p), r, 0, err);
		rc = rc ? rc : bad_code(p + 4, cols, r, err);
	}
	return rc;
}

static int mx_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int r = 0; r < rows && !rc; r++) {
		const uint8_t *p = (const uint8_t *)granule + (size_t)r * mx_bytes(cols, 1);

		for (int64_t g = 0; g < cols / 32 && !rc; g++)
			rc = bad_scale(k_e8m0_to_f32(p[g]), r, 32 * g, err);
		rc = rc ? rc : bad_code(p + cols / 32, cols, r, err);
	}
	return rc;
}

static const struct k_qtype fp8row = {
	.name = "fp8row", .layout = "rows", .about = "FP8 E4M3, an f32 scale a row", .bits = 8.01, .group = 1, .col_granule = 1, .granule = 1, .gguf_type = -1,
	.granule_bytes = row_bytes, .dequant = row_dequant, .check = row_check,
};
static const struct k_qtype mxfp8 = {
	.name = "mxfp8", .layout = "rows", .about = "FP8 E4M3, groups of 32 with a power of two as scale", .bits = 8.25, .group = 32, .col_granule = 32, .granule = 1,
	.gguf_type = -1, .granule_bytes = mx_bytes, .dequant = mx_dequant, .check = mx_check,
};

const struct k_qtype *const k_qtypes_fp8[] = { &fp8row, &mxfp8, NULL };
