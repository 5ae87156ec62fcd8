/* nvfp4.c: FP4 (E2M1) in groups of 16 columns with an FP8 (E4M3) scale, and one f32 divisor of all scales. Only imports make it.
 *
 *   a granule is a row:  divisor, f32 (the same in all rows)  |  cols/16 scales, E4M3  |  cols/2 bytes: column 2t low nibble, 2t + 1 high
 *
 * Value = code * (scale / divisor), a quotient and a product in f32, as the compressed-tensors package computes it. */
#include "libcore/base.h"
#include "libcore/qtype_int.h"

static size_t nv_bytes(int64_t cols, int rows) { return (4 + (size_t)cols / 16 + (size_t)cols / 2) * (size_t)rows; }

static void nv_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *p = (const uint8_t *)granule + (size_t)row * nv_bytes(cols, 1), *scale = p + 4, *code = scale + cols / 16;
	float divisor = k_getf(p);

	for (int64_t g = 0; g < cols / 16; g++, code += 8) {
		float s = k_e4m3_to_f32(scale[g]) / divisor, *restrict to = dst + 16 * g;

		for (int i = 0; i < 8; i++) {
			to[2 * i] = k_e2m1_to_f32(code[i] & 15) * s;
			to[2 * i + 1] = k_e2m1_to_f32(code[i] >> 4) * s;
		}
	}
}

static int nv_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	for (int r = 0; r < rows; r++) {
		const uint8_t *p = (const uint8_t *)granule + (size_t)r * nv_bytes(cols, 1), *scale = p + 4;
		float divisor = k_getf(p);

		if (!(divisor > 0) || k_abs_bits(divisor) >= K_INF_BITS)
			return k_qtype_bad_value(divisor, "global scale", r, 0, err);
		for (int64_t g = 0; g < cols / 16; g++) {
			float s = k_e4m3_to_f32(scale[g]) / divisor;

			if (k_abs_bits(s * 6.0f) >= K_INF_BITS)
				return k_qtype_bad_value(s, "FP4 scale", r, 16 * g, err);
		}
	}
	return 0;
}

static const struct k_qtype nvfp4 = {
	.name = "nvfp4", .layout = "rows", .about = "FP4 E2M1, groups of 16 with an FP8 scale, an f32 divisor", .bits = 4.5, .group = 16, .col_granule = 16,
	.granule = 1, .gguf_type = -1, .granule_bytes = nv_bytes, .dequant = nv_dequant, .check = nv_check,
};

const struct k_qtype *const k_qtypes_nvfp4[] = { &nvfp4, NULL };
