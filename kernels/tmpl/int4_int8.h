/* int4_int8.h: products of INT4 weights with activations of 8 bits, straight from the records of i4g32 in layout x16
 * (libcore/qtype/i4g32_x16.c). For a level that has defined, beside what gemm.h wants,
 *
 *     vu                   the vector of VL words
 *     vf_int(v)            signed words as floats
 *     vq_begin(p)          where the sums of a group begin that has -8 times the sum of its codes at p
 *     vq_dot(a, u, p)      a plus, in each word, the products of the four bytes of u, 0 to 15, with the four signed bytes at p
 *     vq_end(a, p)         the sums of a group, in words
 *     I8_TOKENS            tokens side by side, as registers allow: 4, 8 or 12
 *
 * A lane is a row. A word holds 8 columns as nibbles: masked they are bytes of columns 0 4 1 5, shifted and masked of columns 2 6 3 7, and
 * that is the order of the codes in struct kk_i8. Sums of a group are whole numbers, so that it matters to nobody how they are made; what
 * is rounded is said in kk.def. */

#include "kernels/tmpl/x16.h"

/* The groups of a record, at p, for T tokens, whose groups are at x. */
#define I8_GROUP(T, g) do { \
	vu a[X16_H][T]; \
	EACH(h, X16_H) EACH(t, T) \
		a[h][t] = vq_begin(&x[t][g].bias); \
	EACH(word, 4) { \
		vu w[X16_H]; \
		EACH(h, X16_H) \
			w[h] = x16_word(p, 4 * (g) + word, h); \
		EACH(half, 2) EACH(t, T) EACH(h, X16_H) \
			a[h][t] = vq_dot(a[h][t], (half ? w[h] >> 4 : w[h]) & 0x0f0f0f0fu, x[t][g].code + 8 * word + 4 * half); \
	} \
	EACH(h, X16_H) { \
		vf scale = x16_scale(p, g, h); \
		EACH(t, T) \
			sum[h][t] = vf_fma(vf_int(vq_end(a[h][t], &x[t][g].bias)), scale * vf_set(x[t][g].d), sum[h][t]); \
	} \
} while (0)

#define I8_FN(T) \
static void i8_##T(float *y, size_t y_step, const uint8_t *p, const struct kk_i8 *const *from, size_t cols) \
{ \
	const struct kk_i8 *x[T]; \
	vf sum[X16_H][T]; \
	EACH(t, T) \
		x[t] = from[t]; \
	EACH(h, X16_H) EACH(t, T) \
		sum[h][t] = vf_set(0); \
	for (size_t k = 0; k < cols; k += X16_COLS, p += X16_RECORD) { \
		X16_FETCH(p); \
		I8_GROUP(T, 0); \
		I8_GROUP(T, 1); \
		EACH(t, T) \
			x[t] += 2; \
	} \
	EACH(h, X16_H) EACH(t, T) \
		vf_store(y + (size_t)t * y_step + h * VL, sum[h][t]); \
}
I8_FN(1)
I8_FN(2)
I8_FN(3)
I8_FN(4)
#if I8_TOKENS > 4
I8_FN(5)
I8_FN(6)
I8_FN(7)
I8_FN(8)
#endif
#if I8_TOKENS > 8
I8_FN(9)
I8_FN(10)
I8_FN(11)
I8_FN(12)
#endif

typedef void i8_tile(float *y, size_t y_step, const uint8_t *p, const struct kk_i8 *const *x, size_t cols);
static i8_tile *const i8_tiles[] = { i8_1, i8_2, i8_3, i8_4,
#if I8_TOKENS > 4
	i8_5, i8_6, i8_7, i8_8,
#endif
#if I8_TOKENS > 8
	i8_9, i8_10, i8_11, i8_12,
#endif
};

static void KK_FN(gemm_i4x16_int8)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	const uint8_t *p = w;
	for (int r = 0; r < rows; r += X16_ROWS, p += cols / X16_COLS * X16_RECORD)
		for (int t = 0, m; t < n; t += m) {
			m = x16_tokens(n - t, I8_TOKENS);
			i8_tiles[m - 1](y + (size_t)t * y_step + r, y_step, p, (const struct kk_i8 *const *)(x + t), cols);
		}
}

typedef int32_t i8_words __attribute__((vector_size(32)));
typedef float i8_floats __attribute__((vector_size(32)));
typedef uint32_t i8_four __attribute__((vector_size(16)));
typedef uint16_t i8_four16 __attribute__((vector_size(8)));

static inline i8_words i8_max(i8_words a, i8_words b)
{
	i8_words more = a > b;
	return (a & more) | (b & ~more);
}

/* 8 numbers up to 127 as codes, in their order. The sum with 1.5 2^23 is rounded to a whole number, whose bits are its lowest. */
static inline i8_words i8_codes(int8_t *to, i8_floats x)
{
	i8_words c = (i8_words)(x + 0x1.8p23f) - 0x4b400000;
	i8_four half[2];
	memcpy(half, &c, sizeof(c));
	i8_four16 pairs = __builtin_convertvector((half[0] & 0xffu) | (half[1] & 0xffu) << 8, i8_four16);
	memcpy(to, &pairs, sizeof(pairs));
	return c;
}

static void KK_FN(ready_i4x16_int8)(float *y, const float *x, size_t cols)
{
	struct kk_i8 *to = (struct kk_i8 *)y;
	for (size_t g = 0; g < cols / 32; g++, to++) {
		i8_floats v[4];
		i8_words top, sum = { 0 };
		EACH(i, 4)                              /* all of them before the first is written: y may be x */
			memcpy(&v[i], x + 32 * g + 8 * i, sizeof(v[i]));
		/* As whole numbers: NaN is above infinity. */
		top = i8_max(i8_max((i8_words)v[0] & INT32_MAX, (i8_words)v[1] & INT32_MAX),
			i8_max((i8_words)v[2] & INT32_MAX, (i8_words)v[3] & INT32_MAX));
		top = i8_max(top, __builtin_shufflevector(top, top, 4, 5, 6, 7, 0, 1, 2, 3));
		top = i8_max(top, __builtin_shufflevector(top, top, 2, 3, 0, 1, 6, 7, 4, 5));
		top = i8_max(top, __builtin_shufflevector(top, top, 1, 0, 3, 2, 5, 4, 7, 6));
		float d = ((i8_floats)top)[0] / 127, inv = d > __FLT_MIN__ ? 1 / d : 0;
		if (top[0] >= 0x7f800000) {
			d = __builtin_nanf("");
			inv = 0;
			EACH(i, 4)
				v[i] = (i8_floats){ 0 };
		}
		EACH(i, 4)
			sum += i8_codes(to->code + 8 * i, v[i] * inv);
		sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3);
		to->d = d;
		to->bias = -8 * (sum[0] + sum[1] + sum[2] + sum[3]);
	}
}
