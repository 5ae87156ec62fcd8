/* i8row.c: INT8 with one f32 scale a row, symmetric: for matrices that want eight bits and no groups.
 *
 *   a granule is a row:  scale, f32  |  cols codes, -127..127
 *
 * scale = amax/127 (1 for a row of zeros); code = x/scale rounded half to even; value = code * scale in f32. */
#include "libcore/base.h"
#include "libcore/qtype/i8row.h"

enum { CHUNK = 32 };

static size_t i8_bytes(int64_t cols, int rows) { return (4 + (size_t)cols) * (size_t)rows; }

static inline void widen(float *restrict dst, const int8_t *restrict code, float s, int n)
{
	for (int i = 0; i < n; i++)
		dst[i] = (float)code[i] * s;
}

static void i8_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row)
{
	const uint8_t *p = (const uint8_t *)granule + (size_t)row * i8_bytes(cols, 1);
	const int8_t *code = (const int8_t *)p + 4;
	float s = k_getf(p);
	int64_t i = 0;

	for (; i + CHUNK <= cols; i += CHUNK)
		widen(dst + i, code + i, s, CHUNK);
	widen(dst + i, code + i, s, (int)(cols - i));
}

static int bad_scale(float s, int64_t row, struct k_err *err)
{
	if (k_i8row_scale_ok(s))
		return 0;
	return k_qtype_bad_value(s, k_abs_bits(s) < K_INF_BITS ? "too large: INT8 scale" : "INT8 scale", row, 0, err);
}

static int i8_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o K_UNUSED, struct k_err *err)
{
	for (int r = 0; r < rows; r++) {
		uint8_t *p = (uint8_t *)granule + (size_t)r * i8_bytes(cols, 1);
		int8_t *code = (int8_t *)p + 4;
		const float *x = src + r * cols;
		int32_t top = k_amax(x, cols);
		int64_t i = 0;
		float s;

		if (top >= K_INF_BITS)
			return k_qtype_not_finite(src, cols, rows, err);
		s = k_i8row_scale(top);
		if (bad_scale(s, r, err))
			return K_EFORMAT;
		k_putf(p, s);
		for (; i + CHUNK <= cols; i += CHUNK)
			k_i8row_codes(code + i, x + i, s, CHUNK);
		k_i8row_codes(code + i, x + i, s, (int)(cols - i));
	}
	return 0;
}

static int i8_check(const void *granule, int64_t cols, int rows, struct k_err *err)
{
	for (int r = 0; r < rows; r++)
		if (bad_scale(k_getf((const uint8_t *)granule + (size_t)r * i8_bytes(cols, 1)), r, err))
			return K_EFORMAT;
	return 0;
}

static const struct k_qtype i8row = {
	.name = "i8row", .layout = "rows", .about = "INT8, an f32 scale a row", .bits = 8.01, .group = 1, .col_granule = 1, .granule = 1, .gguf_type = -1,
	.granule_bytes = i8_bytes, .dequant = i8_dequant, .quant = i8_quant, .check = i8_check, .bound = 0.00394,
};

const struct k_qtype *const k_qtypes_i8row[] = { &i8row, NULL };
