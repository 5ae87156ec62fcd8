/* mxfp4.c: FP4 (E2M1) in groups of 32 columns with a power of two as scale, the OCP microscaling format.
 *
 *   rows:  a granule is a row:  cols/32 bytes of scale, 2^(e-127)  |  cols/2 bytes: column 2t in the low nibble of byte t, then 2t + 1
 *   gguf:  a row of blocks of 17 bytes: e, then 16 bytes: column j in the low nibble of byte j, column j + 16 in the high one
 *
 * Scale byte 255 is NaN and refused; 253 and 254 are refused where a value would leave the range of f32. 16 rows interleaved, and the
 * movement to and from a checkpoint's planes: mxfp4_x16.c. */
#include "libcore/base.h"
#include "libcore/qtype/mxfp4.h"

static size_t rows_bytes(int64_t cols, int rows) { return ((size_t)cols / 2 + (size_t)cols / 32) * (size_t)rows; }

static void rows_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *p = (const uint8_t *)granule + (size_t)row * rows_bytes(cols, 1), *code = p + cols / 32;

	for (int64_t g = 0; g < cols / 32; g++) {
		float s = k_e8m0_to_f32(p[g]), *restrict to = dst + 32 * g;

		for (int i = 0; i < 16; i++) {
			to[2 * i] = k_mxfp4_value(code[16 * g + i] & 15, s);
			to[2 * i + 1] = k_mxfp4_value(code[16 * g + i] >> 4, s);
		}
	}
}

static double error_of(const float *restrict x, const float *restrict weight, int e)
{
	float s = k_mxfp4_scale(e);
	uint8_t code[16];
	double sum = 0;

	k_mxfp4_codes(code, x, s, false);
	for (int i = 0; i < 32; i++) {
		double d = (double)x[i] - (double)k_mxfp4_value(code[i / 2] >> 4 * (i & 1) & 15u, s);

		sum += (weight ? (double)weight[i] : 1) * (d * d);
	}
	return sum;
}

/* Powers of two leave three that can be best: one less than OCP's saturates all above 3/4 of amax, one more halves the resolution. Of
 * equals the larger. */
static int least_squares(const float *x, int32_t top, const float *weight)
{
	int first = k_mxfp4_exponent(top, K_MX_OCP) + 1, best = K_MIN(first, 252);
	double least;

	weight = k_weights32(weight);
	least = error_of(x, weight, best);
	for (int e = best - 1; e >= K_MAX(first - 2, 0); e--) {
		double sum = error_of(x, weight, e);

		if (sum < least) {
			least = sum;
			best = e;
		}
	}
	return best;
}

int k_mxfp4_group(uint8_t *to, const float *x, const float *weight, const struct k_quant_opts *o)
{
	bool search = o->scale == K_SCALE_MSE;
	int32_t top = k_amax32(x);
	int e;

	if (top >= K_INF_BITS)
		return -1;
	e = search && top ? least_squares(x, top, weight) : k_mxfp4_exponent(top, o->mx);
	k_mxfp4_codes(to, x, k_mxfp4_scale(e), !search && o->mx == K_MX_GGML);
	return e;
}

static int rows_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o, struct k_err *err)
{
	for (int r = 0; r < rows; r++) {
		uint8_t *p = (uint8_t *)granule + (size_t)r * rows_bytes(cols, 1), *to = p + cols / 32;

		for (int64_t g = 0; g < cols / 32; g++) {
			int e = k_mxfp4_group(to + 16 * g, src + r * cols + 32 * g, o->weight ? o->weight + 32 * g : NULL, o);

			if (e < 0)
				return k_qtype_not_finite(src, cols, rows, err);
			p[g] = (uint8_t)e;
		}
	}
	return 0;
}

int k_mxfp4_bad_group(uint8_t e, const uint8_t *code, int64_t row, int64_t col, struct k_err *err)
{
	if (e < 253)
		return 0;
	if (e == 255)
		return k_err_set(err, K_EFORMAT, "MXFP4 scale 255 (NaN) at row %lld, column %lld", (long long)row, (long long)col);
	for (int i = 0; i < 16; i++)
		for (int h = 0; h < 8; h += 4) {
			float v = k_mxfp4_value(code[i] >> h & 15, k_e8m0_to_f32(e));

			if (k_abs_bits(v) >= K_INF_BITS)
				return k_err_set(err, K_EFORMAT, "MXFP4 scale %d at row %lld, column %lld makes a value infinite", e,
					(long long)row, (long long)col);
		}
	return 0;
}

static int rows_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	int rc = 0;

	for (int r = 0; r < rows && !rc; r++) {
		const uint8_t *p = (const uint8_t *)granule + (size_t)r * rows_bytes(cols, 1), *code = p + cols / 32;

		for (int64_t g = 0; g < cols / 32 && !rc; g++)
			rc = k_mxfp4_bad_group(p[g], code + 16 * g, r, 32 * g, err);
	}
	return rc;
}

static void gguf_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *p = (const uint8_t *)granule + (size_t)row * rows_bytes(cols, 1);

	for (int64_t g = 0; g < cols / 32; g++, p += 17, dst += 32) {
		float s = k_e8m0_to_f32(p[0]);

		for (int i = 0; i < 16; i++) {
			dst[i] = k_mxfp4_value(p[1 + i] & 15, s);
			dst[i + 16] = k_mxfp4_value(p[1 + i] >> 4, s);
		}
	}
}

static int gguf_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	const uint8_t *p = granule;
	int rc = 0;

	for (int64_t i = 0; i < rows * (cols / 32) && !rc; i++, p += 17)
		rc = k_mxfp4_bad_group(p[0], p + 1, i / (cols / 32), i % (cols / 32) * 32, err);
	return rc;
}

static const struct k_qtype mxfp4 = {
	.name = "mxfp4", .layout = "rows", .about = "FP4 E2M1, groups of 32 with a power of two (OCP MX)", .bits = 4.25, .group = 32, .col_granule = 32,
	.granule = 1, .gguf_type = -1, .granule_bytes = rows_bytes, .dequant = rows_dequant, .quant = rows_quant, .check = rows_check,
	.bound = 0.2,           /* 5 of a largest 5 becomes 4 */
};
static const struct k_qtype mxfp4_gguf = {
	.name = "mxfp4", .layout = "gguf", .about = "MXFP4 in GGUF's blocks", .bits = 4.25, .group = 32, .col_granule = 32, .granule = 1, .gguf_type = 39,
	.granule_bytes = rows_bytes, .dequant = gguf_dequant, .check = gguf_check,
};

const struct k_qtype *const k_qtypes_mxfp4[] = { &mxfp4, &mxfp4_gguf, NULL };
