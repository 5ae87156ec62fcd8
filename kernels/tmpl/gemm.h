/* gemm.h: products of rows of weights with rows of activations, for a level that has defined
 *
 *     VL, vf              lanes and the vector of that many floats
 *     vf_load, vf_store   of VL floats; vf_bf16(p), vf_i8(p): VL bf16, signed bytes as floats; vf_set(x): x in all lanes
 *     vf_fma(a, b, c)     a b + c, rounded once
 *     vf_once(v)          v, which is not to be loaded again for each use
 *     vf_sum(v)           sum of the lanes, in one order
 *     vf_sums(y, v, step) y[r] = vf_sum(v[r * step]), r < 4, to the bit
 *
 * Every element has VL partial sums, lane l of k = l mod VL, each in growing k; the missing end of the last vector counts as zeros.
 * Tiles only decide which elements are computed side by side:
 *
 *       tokens  t t+1 t+2            a tile keeps 4 x 3 vectors of partial sums in registers;
 *     row r     #  #  #              columns go in runs of DEPTH, so that the operands of a tile stay in the nearest cache,
 *       r+1     #  #  #              and between runs the partial sums rest, unreduced, in `part`.
 *       r+2     #  #  #
 *       r+3     #  #  #
 *
 * With 16 lanes, and so 32 registers, tiles of many tokens have 8 rows: activations come half as often from the second cache. */

enum { TILE_R = 4, MANY_R = VL == 16 ? 8 : 4, TILE_T = 3, DEPTH = 512, BLOCK_R = 32, BLOCK_T = 48, LINE = 32, NEAR = 256 };

#include "kernels/tmpl/each.h"

static inline __attribute__((always_inline)) vf load_f32(const float *p) { return vf_load(p); }
static inline __attribute__((always_inline)) vf load_wide(const float *p) { return vf_load(p); }
static inline __attribute__((always_inline)) vf load_bf16(const uint16_t *p) { return vf_bf16(p); }

static inline vf end_f32(const float *p, size_t n)
{
	float tmp[VL] = { 0 };
	memcpy(tmp, p, n * sizeof(*p));
	return vf_load(tmp);
}

static inline vf end_wide(const float *p, size_t n) { return end_f32(p, n); }

static inline vf end_bf16(const uint16_t *p, size_t n)
{
	uint16_t tmp[VL] = { 0 };
	memcpy(tmp, p, n * sizeof(*p));
	return vf_bf16(tmp);
}

/* acc[r][t] += the products of columns [0, cols). R and T are constants: all of it stays in registers. Meanwhile memory is asked for what
 * comes after: `near`, the R rows below, or, with 16 lanes, the row's next NEAR columns into the nearest cache and rows 2 R below into the
 * second, where there is room for three times as many lines on their way; `far` (a step), so many elements a column at `ahead`. load and end
 * may use r, the row. */
#define TILE_BODY(R, T, load, end, near, far) do { \
	vf a[R][T]; \
	size_t k = 0; \
	EACH(r, R) EACH(t, T) \
		a[r][t] = acc[r * TILE_T + t]; \
	for (; k + VL <= cols; k += VL) { \
		vf b[T]; \
		EACH(t, T) \
			b[t] = vf_load(x[t] + k); \
		if (far) \
			__builtin_prefetch(ahead + (far) * k); \
		EACH(r, R) { \
			vf c = vf_once(load(w + (size_t)r * w_step + k)); \
			if (near && VL == 8) \
				__builtin_prefetch(w + (size_t)(r + R) * w_step + k); \
			else if (near && k % LINE == 0) \
				__builtin_prefetch(w + (size_t)r * w_step + k + NEAR); \
			else if (near) \
				__builtin_prefetch(w + (size_t)(r + 2 * R) * w_step + k, 0, 2); \
			EACH(t, T) \
				a[r][t] = vf_fma(c, b[t], a[r][t]); \
		} \
	} \
	if (k < cols) \
		EACH(t, T) { \
			vf b = end_f32(x[t] + k, cols - k); \
			EACH(r, R) \
				a[r][t] = vf_fma(end(w + (size_t)r * w_step + k, cols - k), b, a[r][t]); \
		} \
	EACH(r, R) EACH(t, T) \
		acc[r * TILE_T + t] = a[r][t]; \
} while (0)

typedef const uint16_t *ahead_t;
#define TILE_FN(kind, type, name, R, T) \
static void tile_##kind##_##name##T(vf *acc, const type *w, size_t w_step, const float *const *x, size_t cols, ahead_t ahead K_UNUSED) \
{ \
	TILE_BODY(R, T, load_##kind, end_##kind, near_##kind, far_##kind); \
}
enum { near_f32 = 0, far_f32 = 0, near_bf16 = 1, far_bf16 = 0, near_wide = 0, far_wide = 1 };

/* Tiles of up to R rows and TILE_T tokens. */
#define TILE_FNS(kind, type, R) \
TILE_FN(kind, type, whole, R, 3) TILE_FN(kind, type, whole, R, 2) TILE_FN(kind, type, whole, R, 1) \
TILE_FN(kind, type, single, 1, 3) TILE_FN(kind, type, single, 1, 2) TILE_FN(kind, type, single, 1, 1) \
\
static inline __attribute__((always_inline)) void tile_##kind(vf *acc, const type *w, size_t w_step, int rows, const float *const *x, \
	int n, size_t cols, ahead_t ahead) \
{ \
	static void (*const whole[])(vf *, const type *, size_t, const float *const *, size_t, ahead_t) = \
		{ tile_##kind##_whole1, tile_##kind##_whole2, tile_##kind##_whole3 }; \
	static void (*const single[])(vf *, const type *, size_t, const float *const *, size_t, ahead_t) = \
		{ tile_##kind##_single1, tile_##kind##_single2, tile_##kind##_single3 }; \
	if (rows == R) { \
		whole[n - 1](acc, w, w_step, x, cols, ahead); \
		return; \
	} \
	for (int r = 0; r < rows; r++) \
		single[n - 1](acc + r * TILE_T, w + (size_t)r * w_step, w_step, x, cols, ahead); \
}
TILE_FNS(f32, float, MANY_R)
TILE_FNS(wide, float, MANY_R)           /* rows that were widened */
TILE_FNS(bf16, uint16_t, TILE_R)

/* rows x n sums of a tile to where they belong. */
static inline void tile_sums(float *y, size_t y_step, const vf *acc, int rows, int n)
{
	int r = 0;
	for (; r + 4 <= rows; r += 4)
		for (int t = 0; t < n; t++)
			vf_sums(y + (size_t)t * y_step + r, acc + r * TILE_T + t, TILE_T);
	for (; r < rows; r++)
		for (int t = 0; t < n; t++)
			y[(size_t)t * y_step + (size_t)r] = vf_sum(acc[r * TILE_T + t]);
}

/* Few tokens: the weights pass as they lie, all columns at once, a tile's from memory and for further tokens from the cache. */
static void few_bf16(float *y, size_t y_step, const uint16_t *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	for (int r = 0; r < rows; r += TILE_R)
		for (int t = 0; t < n; t += TILE_T) {
			int nr = K_MIN(rows - r, (int)TILE_R), nt = K_MIN(n - t, (int)TILE_T);
			vf part[TILE_R * TILE_T] = { 0 };
			tile_bf16(part, w + (size_t)r * w_step, w_step, nr, x + t, nt, cols, NULL);
			tile_sums(y + (size_t)t * y_step + r, y_step, part, nr, nt);
		}
}

/* Rows of floats one by one, as they lie: from memory that is what hardware sees coming, and four tokens are sums enough. */
#define ROW_FN(T) \
static void row_##T(float *y, size_t y_step, const float *w, const float *const *x, size_t cols) \
{ \
	vf a[TILE_R] = { 0 }; \
	float sums[TILE_R]; \
	size_t k = 0; \
	for (; k + VL <= cols; k += VL) { \
		vf c = vf_load(w + k); \
		EACH(t, T) \
			a[t] = vf_fma(c, vf_load(x[t] + k), a[t]); \
	} \
	if (k < cols) \
		EACH(t, T) \
			a[t] = vf_fma(end_f32(w + k, cols - k), end_f32(x[t] + k, cols - k), a[t]); \
	vf_sums(sums, a, 1); \
	EACH(t, T) \
		y[(size_t)t * y_step] = sums[t]; \
}
ROW_FN(1) ROW_FN(2) ROW_FN(3) ROW_FN(4)

static void few_f32(float *y, size_t y_step, const float *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	static void (*const row[])(float *, size_t, const float *, const float *const *, size_t) = { row_1, row_2, row_3, row_4 };
	for (int r = 0; r < rows; r++, w += w_step)
		for (int t = 0; t < n; t += TILE_R)
			row[K_MIN(n - t, (int)TILE_R) - 1](y + (size_t)t * y_step + r, y_step, w, x + t, cols);
}

/* Columns [0, cols) of some rows as floats in the nearest cache; a last vector is filled with zeros. */
static void widen(float *to, size_t to_step, const uint16_t *w, size_t w_step, int rows, size_t cols)
{
	for (int r = 0; r < rows; r++, w += w_step, to += to_step) {
		size_t k = 0;
		for (; k + VL <= cols; k += VL)
			vf_store(to + k, vf_bf16(w + k));
		if (k < cols)
			vf_store(to + k, end_bf16(w + k, cols - k));
	}
}

/* The tiles of one row of tiles, all tokens. */
static inline void tiles_f32(vf (*part)[MANY_R * TILE_T], const float *w, size_t w_step, int rows, const float *const *x, int n, size_t cols,
	const float *next K_UNUSED)
{
	for (int t = 0; t < n; t += TILE_T)
		tile_f32(*part++, w, w_step, rows, x + t, K_MIN(n - t, (int)TILE_T), cols, NULL);
}

/* The first tiles ask for a row each of those that come next, here for those that they leave out. */
static inline void tiles_bf16(vf (*part)[MANY_R * TILE_T], const uint16_t *w, size_t w_step, int rows, const float *const *x, int n, size_t cols,
	const uint16_t *next)
{
	float wide[MANY_R * DEPTH];
	for (int r = (n + TILE_T - 1) / TILE_T; r < MANY_R; r++)
		for (size_t k = 0; k < cols; k += LINE)
			__builtin_prefetch(next + (size_t)r * w_step + k);
	widen(wide, DEPTH, w, w_step, rows, cols);
	for (int t = 0, r = 0; t < n; t += TILE_T, r++)
		tile_wide(*part++, wide, DEPTH, rows, x + t, K_MIN(n - t, (int)TILE_T), cols, next + (size_t)(r % MANY_R) * w_step);
}

/* A block of at most BLOCK_R rows and BLOCK_T tokens; `part` holds a tile's partial sums together. few: tokens up to which weights pass as they lie. With 8
 * lanes conversions hide behind multiply-adds for longer than it pays to keep what they give. */
#define GEMM_FNS(kind, type, few) \
static void block_##kind(float *y, size_t y_step, const type *w, size_t w_step, int rows, const float *const *x, int n, size_t cols) \
{ \
	vf part[BLOCK_R / MANY_R * (BLOCK_T / TILE_T)][MANY_R * TILE_T]; \
	const float *at[BLOCK_T]; \
	int across = (n + TILE_T - 1) / TILE_T; \
	size_t k = 0; \
	do { \
		size_t run = K_MIN(cols - k, (size_t)DEPTH); \
		bool first = k == 0, last = k + run == cols; \
		for (int t = 0; t < n; t++) \
			at[t] = x[t] + k; \
		for (int r = 0; r < rows; r += MANY_R) { \
			vf (*some)[MANY_R * TILE_T] = part + r / MANY_R * across; \
			int nr = K_MIN(rows - r, (int)MANY_R); \
			if (first) \
				memset(some, 0, (size_t)across * sizeof(*some)); \
			tiles_##kind(some, w + (size_t)r * w_step + k, w_step, nr, at, n, run, \
				r + MANY_R < rows ? w + (size_t)(r + MANY_R) * w_step + k : last ? w + (size_t)rows * w_step : w + k + run); \
			for (int t = 0; last && t < n; t += TILE_T) \
				tile_sums(y + (size_t)t * y_step + r, y_step, *some++, nr, K_MIN(n - t, (int)TILE_T)); \
		} \
		k += run; \
	} while (k < cols); \
} \
\
static void KK_FN(gemm_##kind)(float *y, size_t y_step, const type *w, size_t w_step, int rows, const float *const *x, int n, size_t cols) \
{ \
	if (n <= (few)) { \
		few_##kind(y, y_step, w, w_step, rows, x, n, cols); \
		return; \
	} \
	for (int t = 0; t < n; t += BLOCK_T) \
		for (int r = 0; r < rows; r += BLOCK_R) \
			block_##kind(y + (size_t)t * y_step + r, y_step, w + (size_t)r * w_step, w_step, K_MIN(rows - r, (int)BLOCK_R), \
				x + t, K_MIN(n - t, (int)BLOCK_T), cols); \
}

GEMM_FNS(f32, float, 6)
GEMM_FNS(bf16, uint16_t, VL == 16 ? 6 : 9)
