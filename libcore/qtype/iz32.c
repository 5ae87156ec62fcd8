/* iz32.c: integers with a scale and a zero point for each group of 32 columns: what GPTQ, AWQ and compressed-tensors files hold
 * where no narrower type holds it exactly. Only imports make them.
 *
 *   i4z32   a granule is a row:  cols/32 scales, f32  |  cols/32 zero points, u8   |  cols/2 bytes: column 2t low nibble, 2t + 1 high
 *   i8z32   a granule is a row:  cols/32 scales, f32  |  cols/32 zero points, u16  |  cols bytes
 *
 * Value = (code - zero) * scale, one f32 product; codes are unsigned. A zero point is at most 2^bits: GPTQ's first version stores it
 * less one and so reaches that (spec 6). Scales are f32 because both f16 and bf16 are in it; wider groups repeat theirs. */
#include "libcore/base.h"
#include "libcore/qtype_int.h"

static size_t i4_bytes(int64_t cols, int rows) { return ((size_t)cols / 32 * 5 + (size_t)cols / 2) * (size_t)rows; }
static size_t i8_bytes(int64_t cols, int rows) { return ((size_t)cols / 32 * 6 + (size_t)cols) * (size_t)rows; }

static inline void widen(float *restrict dst, const uint8_t *restrict code, float zero, float s)
{
	for (int i = 0; i < 32; i++)
		dst[i] = ((float)code[i] - zero) * s;
}

static void i4_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *scale = (const uint8_t *)granule + (size_t)row * i4_bytes(cols, 1), *zero = scale + cols / 8, *code = zero + cols / 32;

	for (int64_t g = 0; g < cols / 32; g++, code += 16) {
		uint8_t one[32];

		for (int i = 0; i < 16; i++) {
			one[2 * i] = code[i] & 15;
			one[2 * i + 1] = code[i] >> 4;
		}
		widen(dst + 32 * g, one, zero[g], k_getf(scale + 4 * g));
	}
}

static void i8_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *scale = (const uint8_t *)granule + (size_t)row * i8_bytes(cols, 1), *zero = scale + cols / 8, *code = zero + cols / 16;

	for (int64_t g = 0; g < cols / 32; g++)
		widen(dst + 32 * g, code + 32 * g, k_get16(zero + 2 * g), k_getf(scale + 4 * g));
}

/* The product of a scale and 2^bits must be a number. */
static int bad_group(float s, unsigned zero, unsigned most, int64_t row, int64_t col, struct k_err *err)
{
	if (k_abs_bits(s * (float)most) >= K_INF_BITS)
		return k_qtype_bad_value(s, k_abs_bits(s) < K_INF_BITS ? "too large: scale" : "scale", row, col, err);
	if (zero > most)
		return k_err_set(err, K_EFORMAT, "zero point %u at row %lld, column %lld, wanted at most %u", zero, (long long)row, (long long)col, most);
	return 0;
}

static int i4_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int r = 0; r < rows && !rc; r++) {
		const uint8_t *scale = (const uint8_t *)granule + (size_t)r * i4_bytes(cols, 1), *zero = scale + cols / 8;

		for (int64_t g = 0; g < cols / 32 && !rc; g++)
			rc = bad_group(k_getf(scale + 4 * g), zero[g], 16, r, 32 * g, err);
	}
	return rc;
}

static int i8_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int r = 0; r < rows && !rc; r++) {
		const uint8_t *scale = (const uint8_t *)granule + (size_t)r * i8_bytes(cols, 1), *zero = scale + cols / 8;

		for (int64_t g = 0; g < cols / 32 && !rc; g++)
			rc = bad_group(k_getf(scale + 4 * g), k_get16(zero + 2 * g), 256, r, 32 * g, err);
	}
	return rc;
}

static const struct k_qtype i4z32 = {
	.name = "i4z32", .layout = "rows", .about = "INT4, groups of 32 with an f32 scale and a zero point (GPTQ, AWQ)", .bits = 5.25, .group = 32, .col_granule = 32,
	.granule = 1, .gguf_type = -1, .granule_bytes = i4_bytes, .dequant = i4_dequant, .check = i4_check,
};
static const struct k_qtype i8z32 = {
	.name = "i8z32", .layout = "rows", .about = "INT8, groups of 32 with an f32 scale and a zero point", .bits = 9.5, .group = 32, .col_granule = 32,
	.granule = 1, .gguf_type = -1, .granule_bytes = i8_bytes, .dequant = i8_dequant, .check = i8_check,
};

const struct k_qtype *const k_qtypes_iz32[] = { &i4z32, &i8z32, NULL };
