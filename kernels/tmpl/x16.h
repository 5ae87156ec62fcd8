/* x16.h: records of the types in layout x16, for the products that read them: 16 rows, first a line of scales, a word a row, then words of 8 columns
 * each, row by row. A lane is a row. For a level that has defined the vectors. Types by their names here:
 *
 *     i4    i4g32 (libcore/qtype/i4g32_x16.c): 64 columns, two scales in bf16
 *     mx    mxfp4 (libcore/qtype/mxfp4_x16.c): 128 columns, four scales that are exponents */
#ifndef KERNELS_TMPL_X16_H
#define KERNELS_TMPL_X16_H

#include "kernels/tmpl/each.h"

enum {
	X16_ROWS = 16, X16_GROUP = 32,
	X16_GROUPS_i4 = 2, X16_GROUPS_mx = 4,   /* of columns, in a record */
	X16_H = X16_ROWS / VL,                  /* vectors that hold the rows */
	X16_AHEAD = 5 * 576,                    /* memory is asked for this far ahead, into the nearest cache */
	X16_FAR = 16 * 576,                     /* and before, into the next: there is room for three times as many lines on their way */
};
#define X16_COLS(type) (X16_GROUP * X16_GROUPS_##type)
#define X16_RECORD(type) (64 + 256 * X16_GROUPS_##type)

/* Memory is asked for, n lines of it. With each group the lines of one, not a record's at once: they come as they are computed with. */
#define X16_FETCH(n, p) EACH(line, n) x16_fetch((p) + 64 * line)
static inline __attribute__((always_inline)) void x16_fetch(const uint8_t *p)
{
	__builtin_prefetch(p + X16_AHEAD);
	__builtin_prefetch(p + X16_FAR, 0, 2);
}
/* The groups of a record for T tokens, `step` at a time: written out where that is short, else a loop, which the compiler is not to know the end of. */
#define X16_EVERY(type, g, step, T) \
	for (int g = 0, g##_end = (X16_GROUPS_##type > 2 && (VL < 16 || (T) > 1)) || (T) > 2 ? x16_unknown(X16_GROUPS_##type) : X16_GROUPS_##type; g < g##_end; g += step)
static inline int x16_unknown(int n)
{
	__asm__("" : "+r"(n));
	return n;
}

/* Vector h of the rows of the words at p. */
static inline __attribute__((always_inline)) vu x16_load(const uint8_t *p, int h)
{
	vu v;
	memcpy(&v, p + (size_t)h * sizeof(v), sizeof(v));
	return v;
}

/* The words of group g of the record p, 64 bytes each; its scales. */
static inline const uint8_t *x16_words(const uint8_t *p, int g) { return p + 64 + 256 * g; }

static inline __attribute__((always_inline)) vf x16_scale_i4(const uint8_t *p, int g, int h)
{
	vu scales = x16_load(p, h);
	return (vf)(g ? scales & 0xffff0000u : scales << 16);
}

/* Exponent 0 is the power below that of the smallest normal number. NaN (255) no checked weights have. */
static inline __attribute__((always_inline)) vf x16_scale_mx(const uint8_t *p, int g, int h)
{
	vu e = x16_load(p, h) << (24 - 8 * g) >> 24 << 23;
	return (vf)(e | ((vu)(e == 0) & 0x00400000u));
}

/* Of n tokens so many in the next pass, `most` (2, 4, 6, 8 or 12) at once: few passes, and none of them thin. There are none of 5, 7, 9, 10 and 11, which
 * take much text for what two shorter ones do as well. */
#define X16_TOKENS_2(type, X) X(type, 1) X(type, 2)
#define X16_TOKENS_4(type, X) X16_TOKENS_2(type, X) X(type, 3) X(type, 4)
#define X16_TOKENS_6(type, X) X16_TOKENS_4(type, X) X(type, 6)
#define X16_TOKENS_8(type, X) X16_TOKENS_6(type, X) X(type, 8)
#define X16_TOKENS_12(type, X) X16_TOKENS_8(type, X) X(type, 12)
static inline int x16_tokens(int n, int most)
{
	static const uint8_t there[] = { 0, 1, 2, 3, 4, 3, 6, 4, 8, 6, 6, 6, 12 };
	int passes = (n + most - 1) / most;
	return there[(n + passes - 1) / passes];
}

/* y[t * y_step + r] of 16 rows, whose records begin at p, and of as many tokens as the tile is for; x: tokens in the form that the product wants. */
typedef void x16_tile(float *y, size_t y_step, const uint8_t *p, const float *const *x, size_t cols);

/* Such a tile for T tokens: form is what a group of activations is; group, said in growing order of the groups, adds to sum[h][t] what the words of
 * group g of the record p make with the group that x[t] stands at. */
#define X16_TILE(name, type, form, T, group) \
static void name(float *y, size_t y_step, const uint8_t *p, const float *const *from, size_t cols) \
{ \
	const form *x[T]; \
	vf sum[X16_H][T]; \
	EACH(t, T) \
		x[t] = (const form *)from[t]; \
	EACH(h, X16_H) EACH(t, T) \
		sum[h][t] = vf_set(0); \
	for (size_t k = 0; k < cols; k += X16_COLS(type), p += X16_RECORD(type)) { \
		X16_FETCH(1, p); \
		X16_EVERY(type, g, 1, T) { \
			X16_FETCH(4, x16_words(p, g)); \
			group; \
			EACH(t, T) \
				x[t]++; \
		} \
	} \
	EACH(h, X16_H) EACH(t, T) \
		vf_store(y + (size_t)t * y_step + h * VL, sum[h][t]); \
}

/* All rows and tokens by tiles, tiles[m] for m tokens; 16 rows take `panel` bytes. */
static inline void x16_rows(x16_tile *const *tiles, int most, size_t panel, float *y, size_t y_step, const void *w, int rows, const float *const *x,
	int n, size_t cols)
{
	const uint8_t *p = w;
	for (int r = 0; r < rows; r += X16_ROWS, p += panel)
		for (int t = 0, m; t < n; t += m) {
			m = x16_tokens(n - t, most);
			tiles[m](y + (size_t)t * y_step + r, y_step, p, x + t, cols);
		}
}

/* The product of a type. NAME(type, T): [T] = its tile for T tokens; TOKENS: that `most`. */
#define X16_PASTE_(a, b) a##b
#define X16_PASTE(a, b) X16_PASTE_(a, b)
#define X16_GEMM(type, name, TOKENS, NAME) \
static void KK_FN(name)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols) \
{ \
	static x16_tile *const tiles[] = { X16_PASTE(X16_TOKENS_, TOKENS)(type, NAME) }; \
	x16_rows(tiles, TOKENS, cols / X16_COLS(type) * X16_RECORD(type), y, y_step, w, rows, x, n, cols); \
}

#endif
