/* plain.c: scalars as types, so that nobody asks "is it quantised": floats, which have values, and integers and bytes, which are
 * opaque (no dequant) and only carried. A granule is any run of elements. */
#include "libcore/base.h"
#include "libcore/qtype_int.h"
#include <math.h>

#define CHUNK 32        /* a fixed length for the vectoriser */

static size_t bytes1(int64_t cols, int rows) { return (size_t)cols * (size_t)rows; }
static size_t bytes2(int64_t cols, int rows) { return 2 * (size_t)cols * (size_t)rows; }
static size_t bytes4(int64_t cols, int rows) { return 4 * (size_t)cols * (size_t)rows; }
static size_t bytes8(int64_t cols, int rows) { return 8 * (size_t)cols * (size_t)rows; }

/* A row of n elements of `size` bytes -> floats, with ONE(pointer to an element) the conversion. */
#define WIDEN(name, size, ONE) \
	static inline void name##_n(float *restrict dst, const uint8_t *restrict src, int n) \
	{ \
		for (int i = 0; i < n; i++) \
			dst[i] = ONE(src + i * size); \
	} \
	static void name##_dequant(float *dst, const void *granule, int64_t cols, int rows K_UNUSED, int row) \
	{ \
		const uint8_t *src = (const uint8_t *)granule + (size_t)row * (size_t)cols * size; \
		int64_t i = 0; \
		for (; i + CHUNK <= cols; i += CHUNK) \
			name##_n(dst + i, src + i * size, CHUNK); \
		name##_n(dst + i, src + i * size, (int)(cols - i)); \
	}

static inline double get_double(const void *p) { double v; memcpy(&v, p, 8); return v; }
#define BF16_ONE(p) k_bf16_to_f32(k_get16(p))
#define F16_ONE(p) k_f16_to_f32(k_get16(p))
#define F64_ONE(p) ((float)get_double(p))
#define E4M3_ONE(p) k_e4m3_to_f32(*(p))
#define E5M2_ONE(p) k_e5m2_to_f32(*(p))
#define E8M0_ONE(p) k_e8m0_to_f32(*(p))
WIDEN(f32, 4, k_getf)
WIDEN(bf16, 2, BF16_ONE)
WIDEN(f16, 2, F16_ONE)
WIDEN(f64, 8, F64_ONE)
WIDEN(e4m3, 1, E4M3_ONE)
WIDEN(e5m2, 1, E5M2_ONE)
WIDEN(e8m0, 1, E8M0_ONE)

/* The first value that is no number; floats of CHUNK elements are looked at together. */
#define CHECK(name, size, BAD, ONE) \
	static inline bool name##_bad(const uint8_t *restrict p, int n) \
	{ \
		int bad = 0; \
		for (int i = 0; i < n; i++) \
			bad |= BAD(p + i * size); \
		return bad; \
	} \
	static int name##_check(const void *granule, int64_t cols, int rows, struct k_err *err) \
	{ \
		const uint8_t *p = granule; \
		int64_t n = cols * rows; \
		for (int64_t i = 0; i < n; i += CHUNK) { \
			int m = (int)K_MIN(n - i, (int64_t)CHUNK); \
			if (!(m == CHUNK ? name##_bad(p + i * size, CHUNK) : name##_bad(p + i * size, m))) \
				continue; \
			while (!(BAD(p + i * size))) \
				i++; \
			return k_qtype_bad_value(ONE(p + i * size), "value", i / cols, i % cols, err); \
		} \
		return 0; \
	}

#define F32_BAD(p) ((k_get32(p) & 0x7f800000) == 0x7f800000)
#define BF16_BAD(p) ((k_get16(p) & 0x7f80) == 0x7f80)
#define F16_BAD(p) ((k_get16(p) & 0x7c00) == 0x7c00)
#define F64_BAD(p) (!isfinite(get_double(p)))
#define E4M3_BAD(p) ((*(p) & 0x7f) == 0x7f)
#define E5M2_BAD(p) ((*(p) & 0x7c) == 0x7c)
#define E8M0_BAD(p) (*(p) == 0xff)
CHECK(f32, 4, F32_BAD, k_getf)
CHECK(bf16, 2, BF16_BAD, BF16_ONE)
CHECK(f16, 2, F16_BAD, F16_ONE)
CHECK(f64, 8, F64_BAD, get_double)
CHECK(e4m3, 1, E4M3_BAD, E4M3_ONE)
CHECK(e5m2, 1, E5M2_BAD, E5M2_ONE)
CHECK(e8m0, 1, E8M0_BAD, E8M0_ONE)

static int f32_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o K_UNUSED,
	struct k_err *err)
{
	memcpy(granule, src, bytes4(cols, rows));
	return f32_check(granule, cols, rows, err);
}

static int f64_quant(void *granule, const float *src, int64_t cols, int rows, const struct k_quant_opts *o K_UNUSED,
	struct k_err *err)
{
	for (int64_t i = 0; i < cols * rows; i++) {
		double v = src[i];
		memcpy((uint8_t *)granule + 8 * i, &v, 8);
	}
	return f64_check(granule, cols, rows, err);
}

/* Elements of 16 bits. What was finite and is not any more was too large. */
#define NARROW(name, FROM) \
	static inline void name##_narrow(uint8_t *restrict dst, const float *restrict src, int n) \
	{ \
		for (int i = 0; i < n; i++) \
			k_put16(dst + 2 * i, FROM(src[i])); \
	} \
	static int name##_quant(void *granule, const float *src, int64_t cols, int rows, \
		const struct k_quant_opts *o K_UNUSED, struct k_err *err) \
	{ \
		int64_t n = cols * rows, i = 0; \
		for (; i + CHUNK <= n; i += CHUNK) \
			name##_narrow((uint8_t *)granule + 2 * i, src + i, CHUNK); \
		name##_narrow((uint8_t *)granule + 2 * i, src + i, (int)(n - i)); \
		if (!name##_check(granule, cols, rows, err)) \
			return 0; \
		for (i = 0; !name##_BAD_AT(granule, i); i++) \
			; \
		if (!isfinite(src[i])) \
			return K_EFORMAT; \
		return k_qtype_too_large(src[i], #name, i / cols, i % cols, err); \
	}
#define bf16_BAD_AT(p, i) BF16_BAD((const uint8_t *)(p) + 2 * (i))
#define f16_BAD_AT(p, i) F16_BAD((const uint8_t *)(p) + 2 * (i))
NARROW(bf16, k_bf16_from_f32)
NARROW(f16, k_f16_from_f32)

#define ROW(id, text, what, dtype, size, gguf, ...) \
	static const struct k_qtype plain_##id = { .name = text, .layout = "rows", .about = what, .bits = 8 * size, .group = 1, .col_granule = 1, \
		.granule = 1, .plain = true, .elem_bytes = size, .st_dtype = dtype, .gguf_type = gguf, \
		.granule_bytes = bytes##size, __VA_ARGS__ }

ROW(f32, "f32", "IEEE single precision", "F32", 4, 0, .dequant = f32_dequant, .quant = f32_quant, .check = f32_check);
ROW(bf16, "bf16", "bfloat16: 8 bits of exponent, 7 of mantissa", "BF16", 2, 30, .dequant = bf16_dequant, .quant = bf16_quant,
	.check = bf16_check, .bound = 1.0 / 256);
ROW(f16, "f16", "IEEE half precision", "F16", 2, 1, .dequant = f16_dequant, .quant = f16_quant, .check = f16_check,
	.bound = 1.0 / 2048);
ROW(f64, "f64", "IEEE double precision", "F64", 8, 28, .dequant = f64_dequant, .quant = f64_quant, .check = f64_check);
ROW(f8_e4m3, "f8_e4m3", "FP8 without a scale", "F8_E4M3", 1, -1, .dequant = e4m3_dequant, .check = e4m3_check);
ROW(f8_e5m2, "f8_e5m2", "FP8 without a scale, wide range", "F8_E5M2", 1, -1, .dequant = e5m2_dequant, .check = e5m2_check);
ROW(f8_e8m0, "f8_e8m0", "powers of two, the scales of MX formats", "F8_E8M0", 1, -1, .dequant = e8m0_dequant,
	.check = e8m0_check);
ROW(f8_e4m3fnuz, "f8_e4m3fnuz", "bytes of another FP8, carried", "F8_E4M3FNUZ", 1, -1, .dequant = NULL);
ROW(f8_e5m2fnuz, "f8_e5m2fnuz", "bytes of another FP8, carried", "F8_E5M2FNUZ", 1, -1, .dequant = NULL);
ROW(bool, "bool", "truth values, a byte each, carried", "BOOL", 1, -1, .dequant = NULL);
ROW(u8, "u8", "bytes, carried", "U8", 1, -1, .dequant = NULL);
ROW(i8, "i8", "integers, carried", "I8", 1, 24, .dequant = NULL);
ROW(u16, "u16", "integers, carried", "U16", 2, -1, .dequant = NULL);
ROW(i16, "i16", "integers, carried", "I16", 2, 25, .dequant = NULL);
ROW(u32, "u32", "integers, carried", "U32", 4, -1, .dequant = NULL);
ROW(i32, "i32", "integers, carried", "I32", 4, 26, .dequant = NULL);
ROW(u64, "u64", "integers, carried", "U64", 8, -1, .dequant = NULL);
ROW(i64, "i64", "integers, carried", "I64", 8, 27, .dequant = NULL);
ROW(c64, "c64", "complex numbers, carried", "C64", 8, -1, .dequant = NULL);

const struct k_qtype *const k_qtypes_plain[] = {
	&plain_f32, &plain_bf16, &plain_f16, &plain_f64, &plain_f8_e4m3, &plain_f8_e5m2, &plain_f8_e8m0, &plain_f8_e4m3fnuz,
	&plain_f8_e5m2fnuz, &plain_bool, &plain_u8, &plain_i8, &plain_u16, &plain_i16, &plain_u32, &plain_i32, &plain_u64,
	&plain_i64, &plain_c64, NULL,
};
