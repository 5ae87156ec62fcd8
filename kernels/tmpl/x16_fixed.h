/* x16_fixed.h: products of weights in layout x16 with activations in bf16 and f32 by dot products of bytes, straight from their records (x16.h). For a
 * level that has defined what x16_int8.h wants.
 *
 * The activations of a group are whole numbers times one power of two, cut into signed bytes, the lowest first:
 *
 *     x = d (s0 + 2^8 s1 + 2^16 s2)                  to 2^-23 of the group's largest; of bf16 to the bit where x is 2^-14 of that or more
 *     x = d (s0 + 2^8 s1 + 2^16 s2 + 2^24 s3)        to 2^-26 of the power of two above the group's largest
 *
 * bf16 takes three bytes. f32 takes four in vectors of 64, which the memory is slower than, and three in those of 32.
 *
 * A weight is unpacked once for all bytes of a token, and for all tokens. Sums of a group are whole numbers, the highest bytes first, shifted before
 * the next come in, so that it matters to nobody how they are made. Three bytes: one sum of 32 bits. Four: one of the upper two bytes and one of the
 * lower two, each of up to 24 bits, which together are rounded once. d is exact, and what is added to an element is the sum times d times the weights'
 * scale, rounded with the element, groups in growing k. FIXED_MX: the level wants E2M1, and has vq_dot add up in 32 bits: in 16 there is no room for its
 * sums. FIXED_F32: it wants f32 in four bytes. */

#include "kernels/tmpl/x16.h"
#include "kernels/tmpl/ready_group.h"

/* Codes are in the order of struct kk_i8. d is NaN where an activation is not finite (all codes are 0). bias makes up for weights that are multiplied
 * as 0 and more: it is where sums begin, of three bytes that of the lowest, of four those of s3 and s1. */
struct fx_three { int8_t code[3][32]; float d; int32_t bias[1]; };
struct fx_four { int8_t code[4][32]; float d; int32_t bias[2]; };
_Static_assert(sizeof(struct fx_four) <= KK_READY(32) * sizeof(float), "a group that is ready");

/* --- activations --------------------------------------------------------------------------------------------------------- */

/* v rounded to bf16, finite as that too. */
static inline i8_floats fx_rounded(i8_floats v)
{
	i8_words w = (i8_words)v;
	return (i8_floats)((w + 0x7fff + (w >> 16 & 1)) & -65536);
}

static inline i8_words fx_whole(i8_floats v) { return (i8_words)_mm256_cvtps_epi32((__m256)v); }

/* The bytes of 8 numbers, `step` apart. With 128 more a signed byte has no sign, and all of them are the digits of one number. */
static inline __attribute__((always_inline)) void fx_cut(int8_t *to, size_t step, int bytes, i8_words x)
{
	i8_bytes b = i8_deal((i8_bytes)((i8_bits)x + (bytes < 4 ? 0x808080u : 0x80808080u)) ^ 0x80);
	EACH(i, bytes)
		memcpy(to + (size_t)i * step, (char *)&b + 8 * i, 8);
}

/* What the largest of a group, an exponent, makes of all of them: d and 1 / d, both normal numbers. */
static inline float fx_power(int exponent) { return ((i8_floats)((i8_words){ exponent << 23 }))[0]; }

/* What a type's weights are multiplied as: `less` more than they are, `half` the size. The largest of a group is below 2^(bits + 1), and where its bytes
 * would not hold it below half of that, so that a sum fits 32 bits: of i4 32 times 8 times 2^23, of mx 32 times 12 times 2^22. */
struct fx_type { int less; float half; int bits; };
static const struct fx_type fx_i4 = { 8, 1, 22 };
#ifdef FIXED_MX
static const struct fx_type fx_mx = { 12, 0.5f, 21 };
#endif

/* rounded: to bf16 first, which may make the largest infinite. */
static inline __attribute__((always_inline)) void fx_ready_three(const struct fx_type *type, bool rounded, struct fx_three *to, const float *x)
{
	i8_floats v[4];
	i8_words sum = { 0 };
	i8_load(v, x);
	int32_t top = i8_top(v), e = K_MAX((int32_t)(((uint32_t)top + 0x20000) >> 23) - type->bits, 1);
	to->d = type->half * fx_power(e);
	if (top >= (rounded ? 0x7f7f8000 : 0x7f800000)) {
		to->d = __builtin_nanf("");
		EACH(i, 4)
			v[i] = (i8_floats){ 0 };
	}
	EACH(i, 4) {
		i8_words whole = fx_whole((rounded ? fx_rounded(v[i]) : v[i]) * fx_power(254 - e));
		fx_cut(&to->code[0][8 * i], sizeof(*to->code), 3, whole);
		sum += whole;
	}
	sum = i8_totals(sum);
	to->bias[0] = -type->less * (sum[0] + sum[1]);
}

static inline __attribute__((always_inline)) void fx_ready_four(const struct fx_type *type, struct fx_four *to, const float *x)
{
	i8_floats v[4];
	i8_words sum = { 0 };
	i8_load(v, x);
	int32_t top = i8_top(v), e = K_MAX((top >> 23) - 24, 1);
	to->d = type->half * 0x1p-5f * fx_power(e);
	if (top >= 0x7f800000) {
		to->d = __builtin_nanf("");
		EACH(i, 4)
			v[i] = (i8_floats){ 0 };
	}
	EACH(i, 4) {
		i8_words whole = fx_whole(v[i] * fx_power(254 - e));
		fx_cut(&to->code[0][8 * i], sizeof(*to->code), 4, whole << 5);
		sum += whole;
	}
	/* Both sums are shifted by 8 after they have begun: the bias is 2^24 and 2^8 times where they do. */
	sum = i8_totals(sum);
	int64_t bias = -32 * type->less * (int64_t)(sum[0] + sum[1]);
	to->bias[0] = (int32_t)((bias + (1 << 23)) >> 24);
	to->bias[1] = (int32_t)((bias - (int64_t)to->bias[0] * (1 << 24)) >> 8);
}

/* y may be x: a group takes less than it had as floats, or, of four bytes, more. */
#define FX_READY_three(name, type, rounded) \
static void KK_FN(ready_##name)(float *y, const float *x, size_t cols) \
{ \
	for (size_t g = 0; g < cols / X16_GROUP; g++) \
		fx_ready_three(&fx_##type, rounded, (struct fx_three *)y + g, x + X16_GROUP * g); \
}
#define FX_READY_four(name, type) \
static void KK_FN(ready_##name)(float *y, const float *x, size_t cols) \
{ \
	for (size_t g = cols / X16_GROUP; g-- > 0;) \
		fx_ready_four(&fx_##type, (struct fx_four *)y + g, x + X16_GROUP * g); \
}
FX_READY_three(i4x16_bf16, i4, true)
#ifdef FIXED_MX
FX_READY_three(mx4x16_bf16, mx, true)
#endif
#ifdef FIXED_F32
FX_READY_four(i4x16, i4)
FX_READY_four(mx4x16, mx)
#else
FX_READY_three(i4x16, i4, false)
#ifdef FIXED_MX
FX_READY_three(mx4x16, mx, false)
#endif
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
#define FX_SUMS_three(type, T) \
	vu a[3][X16_H][T]; \
	FX_BYTES(type, T, a, 3, byte ? (vu){ 0 } : FX_BIAS(0)); \
	EACH(byte, 3) FX_EVERY(T) \
		a[byte][h][t] = byte ? vq_end(a[byte][h][t]) : vq_end_i4(a[byte][h][t], x[t]->bias)
#define FX_SUMS_four(type, T) \
	vu a[4][X16_H][T]; \
	FX_BYTES(type, T, a, 4, byte == 3 ? FX_BIAS(0) : byte == 1 ? FX_BIAS(1) : (vu){ 0 })
#define FX_TWO(i) ((a[(i) + 1][h][t] << 8) + a[i][h][t])
#define FX_SUM_three vf_int((FX_TWO(1) << 8) + a[0][h][t])
#define FX_SUM_four vf_fma(vf_int(FX_TWO(2)), vf_set(0x1p16f), vf_int(FX_TWO(0)))

/* Group g of the record p, for T tokens, whose groups x stand at. */
#define FX_GROUP(type, bytes, T) do { \
	FX_SUMS_##bytes(type, T); \
	EACH(h, X16_H) { \
		vf scale = x16_scale_##type(p, g, h); \
		EACH(t, T) \
			sum[h][t] = vf_fma(FX_SUM_##bytes * vf_set(x[t]->d), scale, sum[h][t]); \
	} \
} while (0)

#define FX_FN(type, bytes, T) X16_TILE(fx_##type##_##bytes##_##T, type, struct fx_##bytes, T, FX_GROUP(type, bytes, T))
#define FX_FN_three(type, T) FX_FN(type, three, T)
#define FX_FN_four(type, T) FX_FN(type, four, T)
#define FX_NAME_three(type, T) [T] = fx_##type##_three_##T,
#define FX_NAME_four(type, T) [T] = fx_##type##_four_##T,

/* As registers allow: a sum for each byte of each token. */
#if I8_TOKENS > 4
#define FX_TOKENS 8
#else
#define FX_TOKENS 2
#endif
#define FX_TYPE(type, name, bytes, TOKENS) \
X16_PASTE(X16_TOKENS_, TOKENS)(type, FX_FN_##bytes) \
X16_GEMM(type, name, TOKENS, FX_NAME_##bytes)
FX_TYPE(i4, gemm_i4x16_bf16, three, FX_TOKENS)
#ifdef FIXED_MX
FX_TYPE(mx, gemm_mx4x16_bf16, three, FX_TOKENS)
#endif
#ifdef FIXED_F32
FX_TYPE(i4, gemm_i4x16, four, 6)
FX_TYPE(mx, gemm_mx4x16, four, 4)
#define FX_F32(name) KK_FN(name)
#else
#define FX_F32(name) KK_FN(name##_bf16)         /* the bytes of f32 and of bf16 are multiplied alike */
#endif
