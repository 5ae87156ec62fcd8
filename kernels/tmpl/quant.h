/* quant.h: conversions in one pass: a run of columns becomes floats in the nearest cache and codes from there. For a level that has
 * defined, beside what gemm.h and unpack.h want,
 *
 *     vu                     the vector of VL words
 *     vu_top(p)              of 32 u16 at p the largest, their upper bits aside
 *     vu_store_low(p, v)     the lowest bytes of 16 words, which have no others, v[16 / VL]
 *
 * bf16 to INT4 has no division in its loop. With r = 1/s rounded, x r is x/s but for 2^-22 of it. By amax7 what matters is on which side
 * of a half-integer x/s lies: a quotient of numbers of 8 bits is one, or at least 1/1020 away from it. Where it is none, x r lies on
 * the same side; where it is one, x r + 192, rounded to a multiple of 2^-16, is it again. By amax7.5 x/s is rounded to bf16 first: it is never
 * in the middle between two (which has an odd significand of 9 bits; no product of one with s's is x's times a power of two), and
 * at least 2^-17 of itself away from there. Scales below the normal numbers, whose reciprocal may be infinite, are left to libcore. */
#include "libcore/qtype/fp8b128.h"
#include "libcore/qtype/i8row.h"
#include "libcore/qtype/mxfp4.h"

enum { STRIP = 1024, RUN = 256, RUN_GROUPS = RUN / 32, GROUP_V = 16 / VL };

/* Where values come from: floats in rows without gaps. */
struct plain { const char *name; size_t size; unpack_row *widen; };

static inline vu load_words(const uint8_t *p)
{
	vu v;
	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void put16(uint8_t *p, uint32_t v) { memcpy(p, &(uint16_t){ (uint16_t)v }, 2); }

/* --- INT4 of bf16 --------------------------------------------------------------------------------------------------------- */

/* The scales of a run by the largest magnitudes of its groups (as bf16), and 1/scale. false: one is left to libcore. */
static inline __attribute__((always_inline)) bool i4_scales(uint16_t *restrict scale, float *restrict inverse, const uint32_t *restrict top, enum k_scale rule)
{
	uint32_t bad = 0;
	for (int g = 0; g < RUN_GROUPS; g++) {
		float f = k_f32_from_bits(top[g] << 16), a = f * (1.0f / 7.0f), b = f / 7.5f;
		a = a > 1e-5f ? a : 1e-5f;
		uint32_t u = k_f32_bits(rule == K_SCALE_AMAX7 ? a : b);
		u = (u + 0x7fff + (u >> 16 & 1)) >> 16;
		u = u ? u : 0x3c00;
		bad |= (uint32_t)(top[g] >= 0x7f80) | (uint32_t)(u < 0x80) | (uint32_t)(u >= 0x7e00);
		scale[g] = (uint16_t)u;
		inverse[g] = 1.0f / k_f32_from_bits(u << 16);
	}
	return !bad;
}

/* x r rounded, plus 8: 1..15. */
static inline vu i4_code7(vf x, vf r) { return (vu)(vf_fma(x, r, vf_set(192)) + vf_set(12582728)); }

/* The same by way of a quotient in bf16; 8 becomes 7. */
static inline vu i4_code75(vf x, vf r)
{
	vu q = (vu)(x * r);
	q = (q + 0x7fff + (q >> 16 & 1)) & 0xffff0000;
	q = (vu)((vf)q + vf_set(12582920));
	return q - (q >> 4 & 1);
}

/* 32 columns -> 16 bytes, the even column of each in the low nibble. */
static inline __attribute__((always_inline)) void i4_group(uint8_t *to, const uint8_t *x, float inverse, bool seven)
{
	vf r = vf_set(inverse);
	vu v[GROUP_V];
	_Pragma("GCC unroll 2") for (int i = 0; i < GROUP_V; i++) {
		vu two = load_words(x + 4 * VL * i);
		vf even = (vf)(two << 16), odd = (vf)(two & 0xffff0000);
		v[i] = seven ? i4_code7(even, r) | i4_code7(odd, r) << 4 : i4_code75(even, r) | i4_code75(odd, r) << 4;
		v[i] &= 0xff;
	}
	vu_store_low(to, v);
}

static inline __attribute__((always_inline)) bool i4_run_of(uint8_t *code, uint16_t *scale, const uint8_t *x, int n, enum k_scale rule)
{
	uint32_t top[RUN_GROUPS] = { 0 };
	float inverse[RUN_GROUPS];
	for (int g = 0; g < n; g++)
		top[g] = vu_top(x + 64 * g);
	if (!i4_scales(scale, inverse, top, rule))
		return false;
	for (int g = 0; g < n; g++)
		i4_group(code + 16 * g, x + 64 * g, inverse[g], rule == K_SCALE_AMAX7);
	return true;
}

/* n <= RUN_GROUPS groups of a row. */
static bool i4_run(uint8_t *code, uint16_t *scale, const uint8_t *x, int n, enum k_scale rule)
{
	return rule == K_SCALE_AMAX7 ? i4_run_of(code, scale, x, n, K_SCALE_AMAX7) : i4_run_of(code, scale, x, n, K_SCALE_AMAX75);
}

static bool to_i4(uint8_t *dst, const uint8_t *src, const struct plain *from, int64_t cols, int64_t rows, const struct k_quant_opts *o)
{
	uint16_t scale[RUN_GROUPS];
	if (from->widen != unpack_bf16 || o->scale > K_SCALE_AMAX75)
		return false;
	for (int64_t r = 0; r < rows; r++, src += 2 * cols, dst += cols / 16 * 9)
		for (int64_t c = 0; c < cols; c += RUN) {
			int n = (int)K_MIN((int64_t)RUN_GROUPS, (cols - c) / 32);
			if (!i4_run(dst + cols / 16 + c / 2, scale, src + 2 * c, n, o->scale))
				return false;
			memcpy(dst + c / 16, scale, 2 * (size_t)n);
		}
	return true;
}

/* 64 columns of row r as words of their record: the nibbles of even columns in the low half. */
static inline void i4_record(uint8_t *record, int r, const uint8_t *code, const uint16_t *scale)
{
	u32x8 w, even, odd;
	uint32_t words[8];
	memcpy(&w, code, sizeof(w));
	even = w & 0x0f0f0f0f;
	odd = w >> 4 & 0x0f0f0f0f;
	even = (even | even >> 4) & 0x00ff00ff;
	odd = (odd | odd >> 4) & 0x00ff00ff;
	w = ((even | even >> 8) & 0xffff) | (odd | odd >> 8) << 16;
	memcpy(words, &w, sizeof(w));
	memcpy(record + 4 * r, scale, 4);
	for (int q = 0; q < 8; q++)
		memcpy(record + 64 + 64 * q + 4 * r, &words[q], 4);
}

static bool to_i4x16(uint8_t *dst, const uint8_t *src, const struct plain *from, int64_t cols, int64_t rows, const struct k_quant_opts *o)
{
	uint16_t scale[RUN_GROUPS];
	uint8_t code[RUN / 2];
	if (from->widen != unpack_bf16 || o->scale > K_SCALE_AMAX75)
		return false;
	for (int64_t first = 0; first < rows; first += 16, src += 32 * cols, dst += cols / 64 * 576)
		for (int64_t strip = 0; strip < cols; strip += STRIP)
			for (int r = 0; r < 16; r++)
				for (int64_t c = strip; c < K_MIN(strip + STRIP, cols); c += RUN) {
					int n = (int)K_MIN((int64_t)RUN_GROUPS, (cols - c) / 32);
					const uint8_t *x = src + 2 * (r * cols + c);
					for (int k = 0; k < n; k++)
						__builtin_prefetch(x + 2 * cols + 64 * k);
					if (!i4_run(code, scale, x, n, o->scale))
						return false;
					for (int k = 0; k < n / 2; k++)
						i4_record(dst + 9 * c + 576 * k, r, code + 32 * k, scale + 2 * k);
				}
	return true;
}

/* --- the others ----------------------------------------------------------------------------------------------------------- */

/* Bits of the largest magnitude of n <= RUN values, which are widened to x. */
static inline int32_t widen_top(float *restrict x, const uint8_t *src, const struct plain *from, int n)
{
	int32_t top = 0;
	from->widen(x, src, (size_t)n, 0);
	for (int i = 0; i < n; i++) {
		int32_t a = k_abs_bits(x[i]);
		top = a > top ? a : top;
	}
	return top;
}

/* The same of any number of values. */
static inline int32_t top_of(const uint8_t *src, const struct plain *from, int64_t n)
{
	float x[RUN];
	int32_t top = 0;
	int64_t i = 0;
	for (; from->widen == unpack_bf16 && i + 32 <= n; i += 32) {
		int32_t m = (int32_t)(vu_top(src + 2 * i) << 16);
		top = K_MAX(top, m);
	}
	for (; i < n; i += RUN) {
		int32_t m = widen_top(x, src + (size_t)i * from->size, from, (int)K_MIN((int64_t)RUN, n - i));
		top = K_MAX(top, m);
	}
	return top;
}

typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef int16_t i16x16 __attribute__((vector_size(32)));

/* A group of bf16 as E2M1: k_mxfp4_codes in 16 bits. Of a quotient by a power of two only the exponent changes: that is exact where none of the
 * group rounds to other than zero and is denormal, from e 3 on. */
static inline __attribute__((always_inline)) void mxfp4_group(uint8_t *to, const uint8_t *x, int e, bool ggml)
{
	const int16_t shift = (int16_t)((e - 127) * 128), even = ggml ? 0 : 1;
	u16x16 code[2];
	vu two[GROUP_V];
	EACH(i, 2) {
		u16x16 u;
		memcpy(&u, x + 32 * i, sizeof(u));
		i16x16 a = (i16x16)(u & 0x7fff) - shift, n = (i16x16){ 0 };
		n -= a > 0x3e80;                        /* 0.25 */
		n -= a > (int16_t)(0x3f40 - even);      /* 0.75 */
		n -= a > 0x3fa0;                        /* 1.25 */
		n -= a > (int16_t)(0x3fe0 - even);      /* 1.75 */
		n -= a > 0x4020;                        /* 2.5 */
		n -= a > (int16_t)(0x4060 - even);      /* 3.5 */
		n -= a > 0x40a0;                        /* 5 */
		u = u >> 12 & 8;
		code[i] = (u16x16)n | (ggml ? u & (u16x16)(n > 0) : u);
	}
	memcpy(two, code, sizeof(two));
	EACH(i, GROUP_V)
		two[i] = (two[i] | two[i] >> 12) & 0xff;
	vu_store_low(to, two);
}

/* A group's codes to `to`; the exponent of its scale, -1 where a value is not finite. */
static inline __attribute__((always_inline)) int mxfp4_codes(uint8_t *to, const uint8_t *src, const struct plain *from, const struct k_quant_opts *o)
{
	bool bf16 = from->widen == unpack_bf16, ggml = o->mx == K_MX_GGML;
	float x[32];
	int32_t top = bf16 ? (int32_t)(vu_top(src) << 16) : widen_top(x, src, from, 32);
	int e = k_mxfp4_exponent(top, o->mx);
	if (top >= K_INF_BITS)
		return -1;
	if (bf16 && e >= 3) {
		ggml ? mxfp4_group(to, src, e, true) : mxfp4_group(to, src, e, false);
		return e;
	}
	from->widen(x, src, 32, 0);
	k_mxfp4_codes(to, x, k_mxfp4_scale(e), ggml);
	return e;
}

static bool to_mxfp4(uint8_t *dst, const uint8_t *src, const struct plain *from, int64_t cols, int64_t rows, const struct k_quant_opts *o)
{
	if (o->scale == K_SCALE_MSE)
		return false;
	for (int64_t r = 0; r < rows; r++, dst += cols / 32 * 17)
		for (int64_t g = 0; g < cols / 32; g++, src += 32 * from->size) {
			int e = mxfp4_codes(dst + cols / 32 + 16 * g, src, from, o);
			if (e < 0)
				return false;
			dst[g] = (uint8_t)e;
		}
	return true;
}

/* Four words in column order to that of x16: the nibbles of even columns in the low half. */
static inline void split_words(uint32_t word[4])
{
	typedef uint32_t u32x4 __attribute__((vector_size(16)));
	u32x4 w, even, odd;
	memcpy(&w, word, sizeof(w));
	even = w & 0x0f0f0f0f;
	odd = w >> 4 & 0x0f0f0f0f;
	even = (even | even >> 4) & 0x00ff00ff;
	odd = (odd | odd >> 4) & 0x00ff00ff;
	w = ((even | even >> 8) & 0xffff) | (odd | odd >> 8) << 16;
	memcpy(word, &w, sizeof(w));
}

static bool to_mx4x16(uint8_t *dst, const uint8_t *src, const struct plain *from, int64_t cols, int64_t rows, const struct k_quant_opts *o)
{
	if (o->scale == K_SCALE_MSE)
		return false;
	for (int64_t first = 0; first < rows; first += 16, src += 16 * (size_t)cols * from->size, dst += cols / 128 * 1088)
		for (int64_t strip = 0; strip < cols; strip += STRIP)
			for (int r = 0; r < 16; r++)
				for (int64_t c = strip; c < K_MIN(strip + STRIP, cols); c += 32) {
					uint8_t *record = dst + c / 128 * 1088 + 4 * r;
					uint32_t code[4];
					int e = mxfp4_codes((uint8_t *)code, src + (size_t)(r * cols + c) * from->size, from, o);
					if (e < 0)
						return false;
					record[c % 128 / 32] = (uint8_t)e;
					split_words(code);
					EACH(i, 4)
						memcpy(record + 64 + c % 128 * 8 + 64 * i, &code[i], sizeof(*code));
				}
	return true;
}

/* k_i8row_codes: 16 quotients at once, each rounded by a sum of which the lowest byte is the code. */
static inline void i8row_codes(uint8_t *to, const float *x, float s, int n)
{
	int k = 0;
	for (; k + 16 <= n; k += 16) {
		vu c[GROUP_V];
		EACH(i, GROUP_V) {
			vf q = vf_min(vf_max(vf_load(x + k + VL * i) / vf_set(s), vf_set(-127)), vf_set(127));
			c[i] = (vu)(q + vf_set(12582912)) & 0xff;
		}
		vu_store_low(to + k, c);
	}
	k_i8row_codes((int8_t *)to + k, x + k, s, n - k);
}

static bool to_i8row(uint8_t *dst, const uint8_t *src, const struct plain *from, int64_t cols, int64_t rows, const struct k_quant_opts *o K_UNUSED)
{
	float x[RUN];
	for (int64_t r = 0; r < rows; r++, dst += 4 + cols, src += (size_t)cols * from->size) {
		int32_t top = top_of(src, from, cols);
		float s = k_i8row_scale(top);
		if (top >= K_INF_BITS || !k_i8row_scale_ok(s))
			return false;
		k_putf(dst, s);
		for (int64_t c = 0; c < cols; c += RUN) {
			int n = (int)K_MIN((int64_t)RUN, cols - c);
			from->widen(x, src + (size_t)c * from->size, (size_t)n, 0);
			i8row_codes(dst + 4 + c, x, s, n);
		}
	}
	return true;
}

/* k_fp8b128_codes, 16 at once. */
static inline void fp8_codes(uint8_t *to, const float *x, float s, int n)
{
	int k = 0;
	for (; k + 16 <= n; k += 16) {
		vu code[GROUP_V];
		EACH(i, GROUP_V) {
			vu u = (vu)(vf_load(x + k + VL * i) / vf_set(s)), c = (vu)vf_min((vf)(u & 0x7fffffff), vf_set(448));
			vu normal = (c - (120u << 23) + 0x7ffff + (c >> 20 & 1)) >> 20, sub = (vu)((vf)c + vf_set(16384)) - 0x46800000;
			vu small = (vu)(c < 121u << 23);
			code[i] = (small & sub) | (~small & normal) | (u >> 24 & 0x80);
		}
		vu_store_low(to + k, code);
	}
	k_fp8b128_codes(to + k, x + k, s, n - k);
}

/* n <= STRIP columns of a granule: a run of each row at a time, as memory has them. */
static bool fp8_strip(uint8_t *scales, uint8_t *code, const uint8_t *src, const struct plain *from, int64_t cols, int rows, int n)
{
	size_t step = (size_t)cols * from->size;
	int32_t top[STRIP / 128] = { 0 };
	float x[128], s[STRIP / 128];
	for (int r = 0; r < rows; r++)
		for (int c = 0; c < n; c += 128) {
			int32_t m = top_of(src + (size_t)r * step + (size_t)c * from->size, from, K_MIN(128, n - c));
			top[c / 128] = K_MAX(top[c / 128], m);
		}
	for (int b = 0; 128 * b < n; b++) {
		s[b] = k_fp8b128_scale(top[b]);
		if (top[b] >= K_INF_BITS || !k_fp8b128_scale_ok(s[b]))
			return false;
		k_putf(scales + 4 * b, s[b]);
	}
	for (int r = 0; r < rows; r++)
		for (int c = 0; c < n; c += 128) {
			int m = K_MIN(128, n - c);
			from->widen(x, src + (size_t)r * step + (size_t)c * from->size, (size_t)m, 0);
			fp8_codes(code + r * cols + c, x, s[c / 128], m);
		}
	return true;
}

static bool to_fp8(uint8_t *dst, const uint8_t *src, const struct plain *from, int64_t cols, int64_t rows, const struct k_quant_opts *o K_UNUSED)
{
	int64_t blocks = (cols + 127) / 128;
	for (int64_t r = 0; r < rows; r += 128, src += 128 * (size_t)cols * from->size, dst += 4 * blocks + 128 * cols)
		for (int64_t c = 0; c < cols; c += STRIP)
			if (!fp8_strip(dst + c / 32, dst + 4 * blocks + c, src + (size_t)c * from->size, from, cols, (int)K_MIN((int64_t)128, rows - r),
					(int)K_MIN((int64_t)STRIP, cols - c)))
				return false;
	return true;
}

static bool to_bf16(uint8_t *dst, const uint8_t *src, const struct plain *from, int64_t cols, int64_t rows, const struct k_quant_opts *o K_UNUSED)
{
	float x[RUN];
	for (int64_t i = 0; i < rows * cols; i += RUN) {
		int n = (int)K_MIN((int64_t)RUN, rows * cols - i);
		uint32_t bad = 0;
		from->widen(x, src + (size_t)i * from->size, (size_t)n, 0);
		for (int k = 0; k < n; k++) {
			uint32_t u = k_f32_bits(x[k]);
			u = (u + 0x7fff + (u >> 16 & 1)) >> 16;
			bad |= (uint32_t)((u & 0x7f80) == 0x7f80) | (uint32_t)(k_abs_bits(x[k]) >= K_INF_BITS);
			put16(dst + 2 * (i + k), u);
		}
		if (bad)
			return false;
	}
	return true;
}

static bool KK_FN(convert)(const struct k_qtype *to, void *dst, const struct k_qtype *from, const void *src, int64_t cols, int64_t rows,
	const struct k_quant_opts *o)
{
	static const struct plain sources[] = { { "bf16", 2, unpack_bf16 }, { "f16", 2, unpack_f16 }, { "f32", 4, unpack_f32 } };
	static const struct {
		const char *name, *layout;
		bool (*fn)(uint8_t *, const uint8_t *, const struct plain *, int64_t, int64_t, const struct k_quant_opts *);
	} targets[] = {
		{ "i4g32", "rows", to_i4 }, { "i4g32", "x16", to_i4x16 }, { "mxfp4", "rows", to_mxfp4 }, { "mxfp4", "x16", to_mx4x16 }, { "i8row", "rows", to_i8row },
		{ "fp8b128", "rows", to_fp8 }, { "bf16", "rows", to_bf16 },
	};
	for (size_t s = 0; s < K_LEN(sources); s++)
		for (size_t t = 0; t < K_LEN(targets); t++)
			if (!strcmp(sources[s].name, from->name) && !strcmp(targets[t].name, to->name) && !strcmp(targets[t].layout, to->layout))
				return targets[t].fn(dst, src, &sources[s], cols, rows, o);
	return false;
}
