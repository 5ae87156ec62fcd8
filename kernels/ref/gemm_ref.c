/* gemm_ref.c: products, unpacking, and the precision of activations: the definition. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"
#include <float.h>
#include "libcore/dtype.h"

void kk_ref_gemm_f32(float *y, size_t y_step, const float *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	for (int t = 0; t < n; t++)
		for (int r = 0; r < rows; r++) {
			double s = 0;
			for (size_t k = 0; k < cols; k++)
				s += (double)w[(size_t)r * w_step + k] * x[t][k];
			y[(size_t)t * y_step + (size_t)r] = (float)s;
		}
}

void kk_ref_gemm_bf16(float *y, size_t y_step, const uint16_t *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	for (int t = 0; t < n; t++)
		for (int r = 0; r < rows; r++) {
			double s = 0;
			for (size_t k = 0; k < cols; k++)
				s += (double)k_bf16_to_f32(w[(size_t)r * w_step + k]) * x[t][k];
			y[(size_t)t * y_step + (size_t)r] = (float)s;
		}
}

void kk_ref_gemm_i8row(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	const uint8_t *p = w;
	for (int r = 0; r < rows; r++, p += cols + sizeof(float)) {
		const int8_t *code = (const int8_t *)p + sizeof(float);
		float scale;
		memcpy(&scale, p, sizeof(scale));
		for (int t = 0; t < n; t++) {
			double s = 0;
			for (size_t k = 0; k < cols; k++)
				s += (double)((float)code[k] * scale) * x[t][k];
			y[(size_t)t * y_step + (size_t)r] = (float)s;
		}
	}
}

/* libcore/qtype/i4g32_x16.c shows a record. */
static double i4x16_value(const uint8_t *w, size_t cols, size_t row, size_t k)
{
	enum { RECORD = 576 };
	const uint8_t *p = w + (row / 16 * (cols / 64) + k / 64) * RECORD + row % 16 * 4;
	uint16_t scale;
	uint32_t word;
	memcpy(&scale, p + k % 64 / 32 * 2, sizeof(scale));
	memcpy(&word, p + 64 + k % 64 / 8 * 64, sizeof(word));
	int code = (int)(word >> (k % 2 * 16 + k % 8 / 2 * 4) & 15) - 8;
	return (double)k_bf16_to_f32(scale) * code;
}

void kk_ref_ready_i4x16(float *y, const float *x, size_t cols) { memmove(y, x, cols * sizeof(*x)); }

void kk_ref_gemm_i4x16(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	for (int t = 0; t < n; t++)
		for (int r = 0; r < rows; r++) {
			double s = 0;
			for (size_t k = 0; k < cols; k++)
				s += i4x16_value(w, cols, (size_t)r, k) * x[t][k];
			y[(size_t)t * y_step + (size_t)r] = (float)s;
		}
}

void kk_ref_unpack(float *dst, size_t step, const struct k_qtype *t, const void *slice, int64_t slice_rows, int64_t cols, int64_t row,
	int rows)
{
	size_t full = t->granule_bytes(cols, t->granule);
	for (int i = 0; i < rows; i++) {
		int64_t g = (row + i) / t->granule, first = g * t->granule;
		int in = (int)K_MIN((int64_t)t->granule, slice_rows - first);
		t->dequant(dst + (size_t)i * step, (const char *)slice + (size_t)g * full, cols, in, (int)(row + i - first));
	}
}

void kk_ref_mix(float *y, size_t y_step, const float *p, size_t p_step, int n, const float *w, size_t w_step, int rows, size_t cols)
{
	for (int t = 0; t < n; t++)
		for (size_t j = 0; j < cols; j++) {
			double s = y[(size_t)t * y_step + j];
			for (int d = 0; d < rows; d++)
				s += (double)p[(size_t)t * p_step + (size_t)d] * w[(size_t)d * w_step + j];
			y[(size_t)t * y_step + j] = (float)s;
		}
}

void kk_ref_act_bf16(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = k_bf16_to_f32(k_bf16_from_f32(x[i]));
}

void kk_ref_act_int8(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += 32) {
		size_t m = K_MIN(n - i, (size_t)32);
		float top = 0;
		for (size_t j = 0; j < m; j++)
			top = fabsf(x[i + j]) > top ? fabsf(x[i + j]) : top;
		float d = top / 127, inv = d > FLT_MIN ? 1 / d : 0;
		for (size_t j = 0; j < m; j++)
			y[i + j] = rintf(x[i + j] * inv) * d;
	}
}
