/* unpack.h: rows of stored weights as floats, for the types that models are full of; the others are left to the type itself. For a
 * level that has defined, beside what gemm.h and stored.h want,
 *
 *     vf_f16(p)                VL f16 as floats
 *     vf_i8(p)                 VL signed bytes as floats
 *     vf_low4(p), vf_high4(p)  the low and the high nibbles of VL bytes as floats
 *     vu, vf_int(v)            the vector of VL words; signed words as floats
 *
 * A product of a code and a bf16 or f16 scale is exact, so that the order of the operations is free: the bits are those of libcore. */

#include "libcore/qtype/i4g32.h"
#include "libcore/qtype/mxfp4.h"

typedef uint32_t u32x8 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef float f32x8 __attribute__((vector_size(32)));

static inline uint16_t get16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline float get_bf16(const uint8_t *p)
{
	uint32_t bits = (uint32_t)get16(p) << 16;
	float f;
	memcpy(&f, &bits, sizeof(f));
	return f;
}

static inline float get_f16(const uint8_t *p) { return _cvtsh_ss(get16(p)); }

/* Eight columns of INT4: their nibbles lie at the bits `at` of a word. */
static inline __attribute__((always_inline)) void unpack_word(float *dst, const uint8_t *p, u32x8 at, float scale)
{
	uint32_t word;
	memcpy(&word, p, sizeof(word));
	i32x8 code = (i32x8)((((u32x8){ 0 } + word) >> at) & 15u) - 8;
	f32x8 v = __builtin_convertvector(code, f32x8) * scale;
	memcpy(dst, &v, sizeof(v));
}

static void unpack_i4(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	const uint8_t *code = p + cols / 16;
	for (size_t k = 0; k < cols; k += 8)
		unpack_word(dst + k, code + k / 2, (u32x8){ 0, 4, 8, 12, 16, 20, 24, 28 }, get_bf16(p + k / 32 * 2));
}

static void unpack_i4x16(float *dst, const uint8_t *p, size_t cols, int row)
{
	p += 4 * row;
	for (size_t k = 0; k < cols; k += 64, p += 576)
		for (size_t i = 0; i < 64; i += 8)
			unpack_word(dst + k + i, p + 64 + 8 * i, (u32x8){ 0, 16, 4, 20, 8, 24, 12, 28 }, get_bf16(p + i / 32 * 2));
}

static void unpack_mxfp4(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	const uint8_t *code = p + cols / 32;
	for (size_t k = 0; k < cols; k += 32) {
		vf v[32 / VL];
		vf_e2m1(v, code + k / 2, p[k / 32]);
		EACH(i, 32 / VL)
			vf_store(dst + k + VL * i, v[i]);
	}
}

static void unpack_mx4x16(float *dst, const uint8_t *p, size_t cols, int row)
{
	p += 4 * row;
	for (size_t k = 0; k < cols; k += 128, p += 1088)
		for (size_t g = 0; g < 4; g++) {
			uint32_t code[4];
			vf v[32 / VL];
			EACH(i, 4) {
				memcpy(&code[i], p + 64 + 256 * g + 64 * i, sizeof(*code));
				code[i] = k_i4g32_join(code[i]);
			}
			vf_e2m1(v, (const uint8_t *)code, p[g]);
			EACH(i, 32 / VL)
				vf_store(dst + k + 32 * g + VL * i, v[i]);
		}
}

/* GGUF has column j of a group in the low nibble of byte j, column j + 16 in the high one. */
static void unpack_mxfp4_gguf(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	for (float *end = dst + cols; dst < end; dst += 32, p += 17) {
		uint8_t code[16];
		vf v[32 / VL];
		for (int i = 0; i < 8; i++) {
			code[i] = (uint8_t)((p[1 + 2 * i] & 15) | p[2 + 2 * i] << 4);
			code[8 + i] = (uint8_t)(p[1 + 2 * i] >> 4 | (p[2 + 2 * i] & 0xf0));
		}
		vf_e2m1(v, code, p[0]);
		EACH(i, 32 / VL)
			vf_store(dst + VL * i, v[i]);
	}
}

/* n codes of E4M3 times s. nan: NaN codes are that; else they count as 480. */
static inline __attribute__((always_inline)) void unpack_e4m3(float *dst, const uint8_t *code, size_t n, float s, bool nan)
{
	for (size_t k = 0; k < n; k += FP8_STEP) {
		size_t m = K_MIN((size_t)FP8_STEP, n - k);
		uint8_t tmp[FP8_STEP];
		float end[FP8_STEP], *to = m < FP8_STEP ? end : dst + k;
		vf v[FP8_STEP / VL];
		vf_e4m3(v, m < FP8_STEP ? fp8_end(tmp, code + k, m) : code + k);
		EACH(i, FP8_STEP / VL) {
			vu none = (vu)(((vu)v[i] & 0x7fffffffu) == 0x07f00000u), x = (vu)(v[i] * vf_set(0x1p120f) * vf_set(s));
			vf_store(to + VL * i, (vf)(nan ? x | (none & 0x7fc00000u) : x));
		}
		if (m < FP8_STEP)
			memcpy(dst + k, end, m * sizeof(*dst));
	}
}

static void unpack_fp8b128(float *dst, const uint8_t *p, size_t cols, int row)
{
	const uint8_t *code = p + (cols + FP8_BLOCK - 1) / FP8_BLOCK * sizeof(float) + (size_t)row * cols;
	for (size_t k = 0; k < cols; k += FP8_BLOCK)
		unpack_e4m3(dst + k, code + k, K_MIN((size_t)FP8_BLOCK, cols - k), fp8_scale(p, k), false);
}

static void unpack_fp8row(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED) { unpack_e4m3(dst, p + sizeof(float), cols, fp8_scale(p, 0), true); }

static void unpack_mxfp8(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	for (size_t k = 0; k < cols; k += 32)
		unpack_e4m3(dst + k, p + cols / 32 + k, 32, p[k / 32] == 255 ? __builtin_nanf("") : k_mxfp4_scale(p[k / 32]), true);
}

static void unpack_q8_0(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	for (float *end = dst + cols; dst < end; dst += 32, p += 34) {
		vf d = vf_set(get_f16(p));
		for (int i = 0; i < 32; i += VL)
			vf_store(dst + i, vf_i8(p + 2 + i) * d);
	}
}

static void unpack_i8row(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	float scale;
	size_t k = 0;
	memcpy(&scale, p, sizeof(scale));
	for (p += sizeof(scale); k + VL <= cols; k += VL)
		vf_store(dst + k, vf_i8(p + k) * vf_set(scale));
	for (; k < cols; k++)
		dst[k] = (float)(int8_t)p[k] * scale;
}

static void unpack_q4_0(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	for (float *end = dst + cols; dst < end; dst += 32, p += 18) {
		vf d = vf_set(get_f16(p)), eight = vf_set(8);
		for (int i = 0; i < 16; i += VL) {
			vf_store(dst + i, (vf_low4(p + 2 + i) - eight) * d);
			vf_store(dst + 16 + i, (vf_high4(p + 2 + i) - eight) * d);
		}
	}
}

static void unpack_q4_1(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	for (float *end = dst + cols; dst < end; dst += 32, p += 20) {
		vf d = vf_set(get_f16(p)), m = vf_set(get_f16(p + 2));
		for (int i = 0; i < 16; i += VL) {
			vf_store(dst + i, vf_fma(vf_low4(p + 4 + i), d, m));
			vf_store(dst + 16 + i, vf_fma(vf_high4(p + 4 + i), d, m));
		}
	}
}

/* The fifth bits of VL columns from `at` on, 16 where they are set. */
static inline vf fifth_bits(const uint8_t *p, int at)
{
	uint32_t bits;
	vu lane;
	EACH(i, VL)
		lane[i] = (uint32_t)i;
	memcpy(&bits, p, sizeof(bits));
	return vf_int(((vu){ 0 } + (bits >> at)) >> lane << 4 & 16);
}

static void unpack_q5_0(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	for (float *end = dst + cols; dst < end; dst += 32, p += 22) {
		vf d = vf_set(get_f16(p)), sixteen = vf_set(16);
		for (int i = 0; i < 16; i += VL) {
			vf_store(dst + i, (vf_low4(p + 6 + i) + fifth_bits(p + 2, i) - sixteen) * d);
			vf_store(dst + 16 + i, (vf_high4(p + 6 + i) + fifth_bits(p + 2, 16 + i) - sixteen) * d);
		}
	}
}

static void unpack_q5_1(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	for (float *end = dst + cols; dst < end; dst += 32, p += 24) {
		vf d = vf_set(get_f16(p)), m = vf_set(get_f16(p + 2));
		for (int i = 0; i < 16; i += VL) {
			vf_store(dst + i, vf_fma(vf_low4(p + 8 + i) + fifth_bits(p + 4, i), d, m));
			vf_store(dst + 16 + i, vf_fma(vf_high4(p + 8 + i) + fifth_bits(p + 4, 16 + i), d, m));
		}
	}
}

static void unpack_f32(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED) { memcpy(dst, p, cols * sizeof(*dst)); }

static void unpack_bf16(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	size_t k = 0;
	for (; k + VL <= cols; k += VL)
		vf_store(dst + k, vf_bf16((const uint16_t *)(p + 2 * k)));
	for (; k < cols; k++)
		dst[k] = get_bf16(p + 2 * k);
}

static void unpack_f16(float *dst, const uint8_t *p, size_t cols, int row K_UNUSED)
{
	size_t k = 0;
	for (; k + VL <= cols; k += VL)
		vf_store(dst + k, vf_f16(p + 2 * k));
	for (; k < cols; k++)
		dst[k] = get_f16(p + 2 * k);
}

/* Row `row` of a granule that is full, or a row itself. */
typedef void unpack_row(float *dst, const uint8_t *granule, size_t cols, int row);

static unpack_row *unpack_of(const struct k_qtype *t)
{
	static const struct { const char *name, *layout; unpack_row *fn; } rows[] = {
		{ "bf16", "rows", unpack_bf16 }, { "f16", "rows", unpack_f16 }, { "i4g32", "x16", unpack_i4x16 },
		{ "i4g32", "rows", unpack_i4 }, { "mxfp4", "rows", unpack_mxfp4 }, { "mxfp4", "gguf", unpack_mxfp4_gguf },
		{ "mxfp4", "x16", unpack_mx4x16 },
		{ "fp8b128", "rows", unpack_fp8b128 }, { "fp8row", "rows", unpack_fp8row }, { "mxfp8", "rows", unpack_mxfp8 },
		{ "q8_0", "rows", unpack_q8_0 }, { "i8row", "rows", unpack_i8row }, { "q4_0", "rows", unpack_q4_0 }, { "q4_1", "rows", unpack_q4_1 },
		{ "q5_0", "rows", unpack_q5_0 }, { "q5_1", "rows", unpack_q5_1 }, { "f32", "rows", unpack_f32 },
	};
	for (size_t i = 0; i < K_LEN(rows); i++)
		if (strcmp(rows[i].name, t->name) == 0 && strcmp(rows[i].layout, t->layout) == 0)
			return rows[i].fn;
	return NULL;
}

static void KK_FN(unpack)(float *dst, size_t step, const struct k_qtype *t, const void *slice, int64_t slice_rows, int64_t cols, int64_t row,
	int rows)
{
	unpack_row *fn = unpack_of(t);
	size_t full = t->granule_bytes(cols, t->granule);
	for (int64_t i = row; i < row + rows; i++, dst += step) {
		int64_t g = i / t->granule, first = g * t->granule;
		const uint8_t *granule = (const uint8_t *)slice + (size_t)g * full;
		if (fn)
			fn(dst, granule, (size_t)cols, (int)(i - first));
		else
			t->dequant(dst, granule, cols, (int)K_MIN((int64_t)t->granule, slice_rows - first), (int)(i - first));
	}
}
