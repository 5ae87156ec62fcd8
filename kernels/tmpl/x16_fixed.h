/* x16_fixed.h: products of weights in layout x16 with activations in bf16 and f32 by dot products of bytes, straight from their records (x16.h). For a
 * level that has defined what x16_int8.h wants.
 *
 * The activations of a group are whole numbers times one power of two, cut into signed bytes, the lowest first:
 *
 *     x = d (s0 + 2^8 s1 + 2^16 s2)                  bf16: to the bit where x is 2^-14 of the group's largest or more
 *     x = d (s0 + 2^8 s1 + 2^16 s2 + 2^24 s3)        f32: to 2^-26 of the power of two above the group's largest
 *
 * A weight is unpacked once for all bytes of a token, and for all tokens. Sums of a group are whole numbers, the highest bytes first, shifted before
 * the next come in, so that it matters to nobody how they are made. bf16: one sum of 32 bits. f32: one of the upper two bytes and one of the lower
 * two, each of up to 24 bits, which together are rounded once. d is exact, and what is added to an element is the sum times d times the weights'
 * scale, rounded with the element, groups in growing k. FIXED_MX: the level wants E2M1, and has vq_dot add up in 32 bits: in 16 there is no room for its
 * sums. FIXED_F32: it wants f32 as well, which four bytes pay for in vectors of 64 only. */

#include "kernels/tmpl/x16.h"
#include "kernels/tmpl/ready_group.h"

/* Codes are in the order of struct kk_i8. d is NaN where an activation is not finite (all codes are 0). bias makes up for weights that are multiplied
 * as 0 and more: it is where sums begin, of bf16 that of the lowest byte, of f32 those of s3 and s1. */
struct fx_bf16 { int8_t code[3][32]; float d; int32_t bias[1]; };
struct fx_f32 { int8_t code[4][32]; float d; int32_t bias[2]; };
_Static_assert(sizeof(struct fx_f32) <= KK_READY(32) * sizeof(float), "a group that is ready");

/* --- activations --------------------------------------------------------------------------------------------------------- */

/* v rounded to bf16, finite as that too. */
static inline i8_floats fx_rounded(i8_floats v)
{
	i8_words w = (i8_words)v;
	return (i8_floats)((w + 0x7fff + (w >> 16 & 1)) & -65536);
}

/* Whole numbers up to 2^22 in size; up to 2^25. The sum with 1.5 2^23 is rounded to a whole number, whose bits are its lowest. */
static inline i8_words fx_whole(i8_floats v) { return (i8_words)(v + 0x1.8p23f) - 0x4b400000; }
static inline i8_words fx_long(i8_floats v)
{
	i8_floats high = v * 0x1p-11f + 0x1.8p23f;
	return (((i8_words)high - 0x4b400000) << 11) + fx_whole(v - (high - 0x1.8p23f) * 0x1p11f);
}

/* The bytes of 8 numbers, `step` apart. With 128 more a signed byte has no sign, and all of them are the digits of one number. */
static inline __attribute__((always_inline)) void fx_cut(int8_t *to, size_t step, int bytes, i8_words x)
{
	i8_bytes b = i8_deal((i8_bytes)(x + (bytes < 4 ? 0x808080 : (int32_t)0x80808080)) ^ 0x80);
	EACH(i, bytes)
		memcpy(to + (size_t)i * step, (char *)&b + 8 * i, 8);
}

/* What the largest of a group, an exponent, makes of all of them: d and 1 / d, both normal numbers. */
static inline float fx_power(int exponent) { return ((i8_floats)((i8_words){ exponent << 23 }))[0]; }

/* less: a weight is multiplied as that much more. Twice its size: d is half. */
static inline __attribute__((always_inline)) void fx_ready_bf16(int less, float half, struct fx_bf16 *to, const float *x)
{
	i8_floats v[4];
	i8_words sum = { 0 };
	i8_load(v, x);
	int32_t top = i8_top(v), e = K_MAX((top >> 23) - 21, 1);
	to->d = half * fx_power(e);
	if (top >= 0x7f7f8000) {
		to->d = __builtin_nanf("");
		EACH(i, 4)
			v[i] = (i8_floats){ 0 };
	}
	EACH(i, 4) {
		i8_words whole = fx_whole(fx_rounded(v[i]) * fx_power(254 - e));
		fx_cut(&to->code[0][8 * i], sizeof(*to->code), 3, whole);
		sum += whole;
	}
	sum = i8_totals(sum);
	to->bias[0] = -less * (sum[0] + sum[1]);
}

static inline __attribute__((always_inline)) void fx_ready_f32(int less, float half, struct fx_f32 *to, const float *x)
{
	i8_floats v[4];
	i8_words sum = { 0 };
	i8_load(v, x);
	int32_t top = i8_top(v), e = K_MAX((top >> 23) - 24, 1);
	to->d = half * 0x1p-5f * fx_power(e);
	if (top >= 0x7f800000) {
		to->d = __builtin_nanf("");
		EACH(i, 4)
			v[i] = (i8_floats){ 0 };
	}
	EACH(i, 4) {
		i8_words whole = fx_long(v[i] * fx_power(254 - e));
		fx_cut(&to->code[0][8 * i], sizeof(*to->code), 4, whole << 5);
		sum += whole;
	}
	/* Both sums are shifted by 8 after they have begun: the bias is 2^24 and 2^8 times where they do. */
	sum = i8_totals(sum);
	int64_t bias = -32 * less * (int64_t)(sum[0] + sum[1]);
	to->bias[0] = (int32_t)((bias + (1 << 23)) >> 24);
	to->bias[1] = (int32_t)((bias - (int64_t)to->bias[0] * (1 << 24)) >> 8);
}

/* y may be x: a group of bf16 takes less than it had as floats, one of f32 more. */
#define FX_READY_bf16(type, less, half) \
static void KK_FN(ready_##type##_bf16)(float *y, const float *x, size_t cols) \
{ \
	for (size_t g = 0; g < cols / X16_GROUP; g++) \
		fx_ready_bf16(less, half, (struct fx_bf16 *)y + g, x + X16_GROUP * g); \
}
#define FX_READY_f32(type, less, half) \
static void KK_FN(ready_##type)(float *y, const float *x, size_t cols) \
{ \
	for (size_t g = cols / X16_GROUP; g-- > 0;) \
		fx_ready_f32(less, half, (struct fx_f32 *)y + g, x + X16_GROUP * g); \
}
FX_READY_bf16(i4x16, 8, 1)
#ifdef FIXED_MX
FX_READY_bf16(mx4x16, 12, 0.5f)
#endif
#ifdef FIXED_F32
FX_READY_f32(i4x16, 8, 1)
FX_READY_f32(mx4x16, 12, 0.5f)
#endif

/* --- products ------------------------------------------------------------------------------------------------------------ */

#define FX_EVERY(T) EACH(h, X16_H) EACH(t, T)

/* Vectors of codes that are unpacked before the first is multiplied: a group's, or, with 16 registers, a word's. */
enum { FX_ONCE = X16_H == 1 ? 8 : 2 };

/* a[i] = byte i of T tokens times the group, and where that begins. Bytes side by side: it takes ten sums to hide how long a product takes. */
#define FX_BYTES(type, T, a, n, begin) do { \
	EACH(byte, n) FX_EVERY(T) \
		(a)[byte][h][t] = (begin); \
	EACH(some, 8 / FX_ONCE) { \
		vu u[X16_H][FX_ONCE]; \
		EACH(h, X16_H) EACH(i, FX_ONCE / 2) { \
			vu w = x16_load(x16_words(p, g) + 64 * (FX_ONCE / 2 * some + i), h); \
			u[h][2 * i] = vq_codes_##type(w & 0x0f0f0f0fu); \
			u[h][2 * i + 1] = vq_codes_##type(w >> 4 & 0x0f0f0f0fu); \
		} \
		EACH(i, FX_ONCE) EACH(byte, n) FX_EVERY(T) \
			(a)[byte][h][t] = vq_dot((a)[byte][h][t], u[h][i], x[t]->code[byte] + 4 * (FX_ONCE * some + i)); \
	} \
} while (0)
#define FX_BIAS(i) vq_begin_i4(&x[t]->bias[i])

/* Only the lowest byte's sum has a bias. */
#define FX_SUMS_bf16(type, T) \
	vu a[3][X16_H][T]; \
	FX_BYTES(type, T, a, 3, byte ? (vu){ 0 } : FX_BIAS(0)); \
	EACH(byte, 3) FX_EVERY(T) \
		a[byte][h][t] = byte ? vq_end(a[byte][h][t]) : vq_end_i4(a[byte][h][t], x[t]->bias)
#define FX_SUMS_f32(type, T) \
	vu a[4][X16_H][T]; \
	FX_BYTES(type, T, a, 4, byte == 3 ? FX_BIAS(0) : byte == 1 ? FX_BIAS(1) : (vu){ 0 })
#define FX_TWO(i) ((a[(i) + 1][h][t] << 8) + a[i][h][t])
#define FX_SUM_bf16 vf_int((FX_TWO(1) << 8) + a[0][h][t])
#define FX_SUM_f32 vf_fma(vf_int(FX_TWO(2)), vf_set(0x1p16f), vf_int(FX_TWO(0)))

/* Group g of the record p, for T tokens, whose groups x stand at. */
#define FX_GROUP(type, act, T) do { \
	FX_SUMS_##act(type, T); \
	EACH(h, X16_H) { \
		vf scale = x16_scale_##type(p, g, h); \
		EACH(t, T) \
			sum[h][t] = vf_fma(FX_SUM_##act * vf_set(x[t]->d), scale, sum[h][t]); \
	} \
} while (0)

#define FX_FN(type, act, T) X16_TILE(fx_##type##_##act##_##T, type, struct fx_##act, T, FX_GROUP(type, act, T))
#define FX_FN_bf16(type, T) FX_FN(type, bf16, T)
#define FX_FN_f32(type, T) FX_FN(type, f32, T)
#define FX_NAME_bf16(type, T) [T] = fx_##type##_bf16_##T,
#define FX_NAME_f32(type, T) [T] = fx_##type##_f32_##T,

/* As registers allow: a sum for each byte of each token. */
#if I8_TOKENS > 4
#define FX_TOKENS_bf16 8
#else
#define FX_TOKENS_bf16 2
#endif
#define FX_TYPE_bf16(type, name) \
X16_PASTE(X16_TOKENS_, FX_TOKENS_bf16)(type, FX_FN_bf16) \
X16_GEMM(type, gemm_##name##_bf16, FX_TOKENS_bf16, FX_NAME_bf16)
FX_TYPE_bf16(i4, i4x16)
#ifdef FIXED_MX
FX_TYPE_bf16(mx, mx4x16)
#endif
#ifdef FIXED_F32
#define FX_TYPE_f32(type, name, TOKENS) \
X16_PASTE(X16_TOKENS_, TOKENS)(type, FX_FN_f32) \
X16_GEMM(type, gemm_##name, TOKENS, FX_NAME_f32)
FX_TYPE_f32(i4, i4x16, 6)
FX_TYPE_f32(mx, mx4x16, 4)
#endif
