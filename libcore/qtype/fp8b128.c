/* fp8b128.c: FP8 (E4M3) in blocks of 128 x 128 with an f32 scale, as DeepSeek-V3 and Kimi-K2-Instruct store their weights.
 *
 *   a granule is up to 128 rows:  ceil(cols/128) scales, f32  |  rows x cols codes
 *
 * Value = code * scale, one f32 product. Blocks at the right and lower edge are smaller. Scales and codes may lie at any address. */
#include "libcore/base.h"
#include "libcore/qtype/fp8b128.h"

static int64_t blocks(int64_t cols) { return (cols + 127) / 128; }
static size_t fp8_bytes(int64_t cols, int rows) { return 4 * (size_t)blocks(cols) + (size_t)rows * (size_t)cols; }

static inline void widen(float *restrict dst, const uint8_t *restrict code, float s, int n)
{
	for (int i = 0; i < n; i++) {
		uint32_t a = (uint32_t)(code[i] & 0x7f) << 20;
		/* As k_e4m3_to_f32, without NaN codes, which check refuses. */
		float sub = k_f32_from_bits(a + (121u << 23)) - k_f32_from_bits(121u << 23);
		uint32_t u = a < 1u << 23 ? k_f32_bits(sub) : a + (120u << 23);

		dst[i] = k_f32_from_bits(u | (uint32_t)(code[i] & 0x80) << 24) * s;
	}
}

static void fp8_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *scales = granule, *code = scales + 4 * blocks(cols) + (size_t)row * (size_t)cols;

	for (int64_t b = 0; b < blocks(cols); b++) {
		int n = (int)K_MIN(cols - 128 * b, (int64_t)128);
		float s = k_getf(scales + 4 * b);

		if (n == 128)
			widen(dst + 128 * b, code + 128 * b, s, 128);
		else
			widen(dst + 128 * b, code + 128 * b, s, n);
	}
}

static int bad_scale(float s, int64_t col, struct k_err *err)
{
	if (k_fp8b128_scale_ok(s))
		return 0;
	return k_qtype_bad_value(s, k_abs_bits(s) < K_INF_BITS && s > 0 ? "too large: FP8 scale" : "FP8 scale", 0, col, err);
}

static int fp8_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o K_UNUSED, struct k_err *err)
{
	uint8_t *scales = granule, *code = scales + 4 * blocks(cols);

	for (int64_t b = 0; b < blocks(cols); b++) {
		int n = (int)K_MIN(cols - 128 * b, (int64_t)128);
		int32_t top = 0;
		float s;

		for (int r = 0; r < rows; r++) {
			int32_t m = k_amax(src + r * cols + 128 * b, n);
			top = K_MAX(top, m);
		}
		if (top >= K_INF_BITS)
			return k_qtype_not_finite(src, cols, rows, err);
		s = k_fp8b128_scale(top);
		if (bad_scale(s, 128 * b, err))
			return K_EFORMAT;
		k_putf(scales + 4 * b, s);
		for (int r = 0; r < rows; r++) {
			if (n == 128)
				k_fp8b128_codes(code + r * cols + 128 * b, src + r * cols + 128 * b, s, 128);
			else
				k_fp8b128_codes(code + r * cols + 128 * b, src + r * cols + 128 * b, s, n);
		}
	}
	return 0;
}

static int fp8_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	const uint8_t *scales = granule, *code = scales + 4 * blocks(cols);
	int64_t n = cols * rows;

	for (int64_t b = 0; b < blocks(cols); b++)
		if (bad_scale(k_getf(scales + 4 * b), 128 * b, err))
			return K_EFORMAT;
	for (int64_t i = 0; i < n; i++)
		if ((code[i] & 0x7f) == 0x7f)
			return k_err_set(err, K_EFORMAT, "FP8 code 0x%02x (NaN) at row %lld, column %lld", code[i],
				(long long)(i / cols), (long long)(i % cols));
	return 0;
}

void k_fp8b128_from_planes(void *granule, const uint8_t *codes, const float *scales, int64_t cols, int rows)
{
	memcpy(granule, scales, 4 * (size_t)blocks(cols));
	memcpy((uint8_t *)granule + 4 * blocks(cols), codes, (size_t)rows * (size_t)cols);
}

void k_fp8b128_to_planes(const void *granule, uint8_t *codes, float *scales, int64_t cols, int rows)
{
	memcpy(scales, granule, 4 * (size_t)blocks(cols));
	memcpy(codes, (const uint8_t *)granule + 4 * blocks(cols), (size_t)rows * (size_t)cols);
}

static const struct k_qtype fp8b128 = {
	.name = "fp8b128", .layout = "rows", .about = "FP8 E4M3, blocks of 128 x 128 with an f32 scale (Kimi-K2-Instruct)", .bits = 8.002,
	.group = 1, .col_granule = 1, .granule = 128, .gguf_type = -1, .granule_bytes = fp8_bytes, .dequant = fp8_dequant, .quant = fp8_quant,
	.check = fp8_check, .bound = 0.0358,    /* half of the step 32 below 448, of 448 */
};

const struct k_qtype *const k_qtypes_fp8b128[] = { &fp8b128, NULL };
