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

void kk_ref_ready_bf16(float *y, const float *x, size_t cols) { kk_ref_act_bf16(y, x, cols); }

void kk_ref_gemm_bf16_bf16(float *y, size_t y_step, const uint16_t *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	kk_ref_gemm_bf16(y, y_step, w, w_step, rows, x, n, cols);
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

/* libcore/qtype/mxfp4.c shows a row. Values are exact as floats. */
void kk_ref_gemm_mxfp4(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	const uint8_t *p = w;
	for (int r = 0; r < rows; r++, p += cols / 32 * 17) {
		const uint8_t *code = p + cols / 32;
		for (int t = 0; t < n; t++) {
			double s = 0;
			for (size_t k = 0; k < cols; k++)
				s += (double)(k_e2m1_to_f32(code[k / 2] >> k % 2 * 4 & 15u) * k_e8m0_to_f32(p[k / 32])) * x[t][k];
			y[(size_t)t * y_step + (size_t)r] = (float)s;
		}
	}
}

/* libcore/qtype/fp8b128.c shows a granule. */
void kk_ref_gemm_fp8b128(float *y, size_t y_step, const void *w, int row, int rows, const float *const *x, int n, size_t cols)
{
	const uint8_t *scales = w, *code = scales + (cols + 127) / 128 * sizeof(float) + (size_t)row * cols;
	for (int r = 0; r < rows; r++, code += cols)
		for (int t = 0; t < n; t++) {
			double s = 0;
			for (size_t k = 0; k < cols; k++) {
				float scale;
				memcpy(&scale, scales + k / 128 * sizeof(scale), sizeof(scale));
				s += (double)(k_e4m3_to_f32(code[k]) * scale) * x[t][k];
			}
			y[(size_t)t * y_step + (size_t)r] = (float)s;
		}
}

/* libcore/qtype/i4g32_x16.c and mxfp4_x16.c show their records: 64 bytes of scales, then words of 8 columns. */
enum { I4_COLS = 64, MX_COLS = 128 };

/* What row has in the record of column k, which is cols_of wide. */
static const uint8_t *x16_row(const uint8_t *w, size_t cols, size_t cols_of, size_t row, size_t k)
{
	return w + (row / 16 * (cols / cols_of) + k / cols_of) * (64 + 8 * cols_of) + row % 16 * 4;
}

static int x16_nibble(const uint8_t *row, size_t k)
{
	uint32_t word;
	memcpy(&word, row + 64 + k / 8 * 64, sizeof(word));
	return (int)(word >> (k % 2 * 16 + k % 8 / 2 * 4) & 15);
}

static float i4x16_scale(const uint8_t *w, size_t cols, size_t row, size_t k)
{
	uint16_t scale;
	memcpy(&scale, x16_row(w, cols, I4_COLS, row, k) + k % I4_COLS / 32 * 2, sizeof(scale));
	return k_bf16_to_f32(scale);
}

static int i4x16_code(const uint8_t *w, size_t cols, size_t row, size_t k)
{
	return x16_nibble(x16_row(w, cols, I4_COLS, row, k), k % I4_COLS) - 8;
}

static float mx4x16_scale(const uint8_t *w, size_t cols, size_t row, size_t k)
{
	return k_e8m0_to_f32(x16_row(w, cols, MX_COLS, row, k)[k % MX_COLS / 32]);
}

/* Twice the value. */
static int mx4x16_code(const uint8_t *w, size_t cols, size_t row, size_t k)
{
	return (int)(2 * k_e2m1_to_f32((unsigned)x16_nibble(x16_row(w, cols, MX_COLS, row, k), k % MX_COLS)));
}

/* A type: the scale of a column, its code, what one stands for but for the scale. */
struct x16_type {
	float (*scale)(const uint8_t *w, size_t cols, size_t row, size_t k);
	int (*code)(const uint8_t *w, size_t cols, size_t row, size_t k);
	float unit;
};
static const struct x16_type i4x16 = { i4x16_scale, i4x16_code, 1 }, mx4x16 = { mx4x16_scale, mx4x16_code, 0.5f };

static void x16_gemm(const struct x16_type *type, float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	for (int t = 0; t < n; t++)
		for (int r = 0; r < rows; r++) {
			double s = 0;
			for (size_t k = 0; k < cols; k++)
				s += (double)type->scale(w, cols, (size_t)r, k) * (double)type->unit * type->code(w, cols, (size_t)r, k) * x[t][k];
			y[(size_t)t * y_step + (size_t)r] = (float)s;
		}
}

#define REF_X16(type) \
void kk_ref_ready_##type(float *y, const float *x, size_t cols) { memmove(y, x, cols * sizeof(*x)); } \
void kk_ref_ready_##type##_bf16(float *y, const float *x, size_t cols) { kk_ref_act_bf16(y, x, cols); } \
\
void kk_ref_gemm_##type(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols) \
{ \
	x16_gemm(&type, y, y_step, w, rows, x, n, cols); \
} \
\
void kk_ref_gemm_##type##_bf16(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols) \
{ \
	x16_gemm(&type, y, y_step, w, rows, x, n, cols); \
}
REF_X16(i4x16)
REF_X16(mx4x16)

/* d and its inverse, as act_int8 has them. */
static float int8_step(const float *x, size_t n, float *inv)
{
	float top = 0;
	for (size_t i = 0; i < n; i++)
		top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
	float d = top / 127;
	*inv = d > FLT_MIN ? 1 / d : 0;
	return d;
}

/* sum: of the codes of even and of odd columns. */
static void i4_bias(struct kk_i8 *to, const int sum[2]) { to->bias = KK_I8_ZERO - 8 * (sum[0] + sum[1]); }
static void mx_bias(struct kk_i8 *to, const int sum[2])
{
	uint16_t half[2] = { (uint16_t)(-12 * sum[0]), (uint16_t)(-12 * sum[1]) };
	memcpy(&to->bias, half, sizeof(half));
	to->d *= 0.5f;
}

static void ready_int8(void (*bias)(struct kk_i8 *to, const int sum[2]), float *y, const float *x, size_t cols)
{
	static const int order[] = { KK_I8_ORDER };
	for (size_t g = 0; g < cols / 32; g++) {
		struct kk_i8 to = { .bias = 0 };
		float v[32], inv;
		bool finite = true;
		int sum[2] = { 0 };
		memcpy(v, x + 32 * g, sizeof(v));
		to.d = int8_step(v, 32, &inv);
		for (int i = 0; i < 32; i++)
			finite &= (bool)isfinite(v[i]);
		for (int i = 0; finite && i < 32; i++) {
			to.code[i] = (int8_t)rintf(v[i / 8 * 8 + order[i % 8]] * inv);
			sum[order[i % 8] % 2] += to.code[i];
		}
		to.d = finite ? to.d : NAN;
		bias(&to, sum);
		memcpy((char *)y + g * sizeof(to), &to, sizeof(to));
	}
}

void kk_ref_ready_i4x16_int8(float *y, const float *x, size_t cols) { ready_int8(i4_bias, y, x, cols); }
void kk_ref_ready_mx4x16_int8(float *y, const float *x, size_t cols) { ready_int8(mx_bias, y, x, cols); }

static void x16_int8(const struct x16_type *type, float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	static const int order[] = { KK_I8_ORDER };
	for (int t = 0; t < n; t++)
		for (int r = 0; r < rows; r++) {
			float sum = 0;
			for (size_t g = 0; g < cols / 32; g++) {
				struct kk_i8 a;
				int s = 0;
				memcpy(&a, (const char *)x[t] + g * sizeof(a), sizeof(a));
				for (size_t i = 0; i < 32; i++)
					s += type->code(w, cols, (size_t)r, 32 * g + i / 8 * 8 + (size_t)order[i % 8]) * a.code[i];
				float scale = type->scale(w, cols, (size_t)r, 32 * g);
				sum = fmaf(fmaf(0x1.8p23f + (float)s, scale, -0x1.8p23f * scale), a.d, sum);
			}
			y[(size_t)t * y_step + (size_t)r] = sum;
		}
}

void kk_ref_gemm_i4x16_int8(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	x16_int8(&i4x16, y, y_step, w, rows, x, n, cols);
}

void kk_ref_gemm_mx4x16_int8(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	x16_int8(&mx4x16, y, y_step, w, rows, x, n, cols);
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

void kk_ref_act_bf16(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = k_bf16_to_f32(k_bf16_from_f32(x[i]));
}

void kk_ref_act_int8(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i += 32) {
		size_t m = K_MIN(n - i, (size_t)32);
		float inv, d = int8_step(x + i, m, &inv);
		for (size_t j = 0; j < m; j++)
			y[i + j] = rintf(x[i + j] * inv) * d;
	}
}
