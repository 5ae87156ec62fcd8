/* stored.h: products of rows of weights as they are stored, for few tokens: what is multiplied is what unpack gives, and sums are those of
 * gemm.h, so that the bits are gemm_f32's on what unpack gives. For a level that has defined, beside what gemm.h wants,
 *
 *     vf_i8(p)              VL signed bytes as floats
 *     vf_e4m3(to, p)        the 16 codes of E4M3 at p, times 2^-120, as floats
 *     vf_e2m1(to, p, e)     the 32 nibbles at p, the low one of each byte first, codes of E2M1, times 2^(e-127) (255: NaN), as floats
 *
 * Rows lie one behind another. Meanwhile memory is asked for what comes some rows later. */

enum { ROWS_AHEAD = 8 };

/* scales: where they do not stand in the rows */
typedef void stored_tile(float *y, size_t y_step, const uint8_t *scales, const uint8_t *w, const float *const *x, size_t cols);

/* All rows, in tiles of 4 and then single ones, and all tokens. */
static inline void stored_rows(stored_tile *const tile[2][TILE_T], float *y, size_t y_step, const uint8_t *scales, const uint8_t *w,
	size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	for (int r = 0, m; r < rows; r += m, w += (size_t)m * w_step) {
		m = rows - r < TILE_R ? 1 : TILE_R;
		for (int t = 0; t < n; t += TILE_T)
			tile[m > 1][K_MIN(n - t, (int)TILE_T) - 1](y + (size_t)t * y_step + r, y_step, scales, w, x + t, cols);
	}
}

/* --- i8row: a scale, then codes ------------------------------------------------------------------------------------------ */

static inline vf end_i8(const uint8_t *p, size_t n)
{
	uint8_t tmp[VL] = { 0 };
	memcpy(tmp, p, n);
	return vf_i8(tmp);
}

#define scaled_i8(p) (vf_i8(p) * scale[r])
#define end_scaled_i8(p, n) (end_i8(p, n) * scale[r])
#define I8ROW_FN(R, T) \
static void i8row_##R##x##T(float *y, size_t y_step, const uint8_t *scales K_UNUSED, const uint8_t *w, const float *const *x, size_t cols) \
{ \
	const size_t w_step = sizeof(float) + cols; \
	vf acc[R * TILE_T] = { 0 }, scale[R]; \
	EACH(r, R) { \
		float s; \
		memcpy(&s, w + (size_t)r * w_step, sizeof(s)); \
		scale[r] = vf_set(s); \
	} \
	w += sizeof(float); \
	const uint8_t *ahead = w + ROWS_AHEAD * w_step; \
	TILE_BODY(R, T, scaled_i8, end_scaled_i8, 0, R); \
	tile_sums(y, y_step, acc, R, T); \
}
I8ROW_FN(4, 1) I8ROW_FN(4, 2) I8ROW_FN(4, 3)
I8ROW_FN(1, 1) I8ROW_FN(1, 2) I8ROW_FN(1, 3)

static void KK_FN(gemm_i8row)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	static stored_tile *const tile[2][TILE_T] = { { i8row_1x1, i8row_1x2, i8row_1x3 }, { i8row_4x1, i8row_4x2, i8row_4x3 } };
	stored_rows(tile, y, y_step, NULL, w, sizeof(float) + cols, rows, x, n, cols);
}

/* --- mxfp4: the scales of groups of 32 columns, then codes --------------------------------------------------------------- */

#define MXFP4_FN(R, T) \
static void mxfp4_##R##x##T(float *y, size_t y_step, const uint8_t *scales K_UNUSED, const uint8_t *w, const float *const *x, size_t cols) \
{ \
	const size_t groups = cols / 32, w_step = 17 * groups; \
	const uint8_t *ahead = w + ROWS_AHEAD * w_step; \
	vf acc[R * TILE_T] = { 0 }; \
	for (size_t g = 0; g < groups; g++, ahead += 17 * R) { \
		__builtin_prefetch(ahead); \
		EACH(r, R) { \
			const uint8_t *row = w + (size_t)r * w_step; \
			vf code[32 / VL]; \
			vf_e2m1(code, row + groups + 16 * g, row[g]); \
			EACH(i, 32 / VL) EACH(t, T) \
				acc[r * TILE_T + t] = vf_fma(code[i], vf_load(x[t] + 32 * g + VL * i), acc[r * TILE_T + t]); \
		} \
	} \
	tile_sums(y, y_step, acc, R, T); \
}
MXFP4_FN(4, 1) MXFP4_FN(4, 2) MXFP4_FN(4, 3)
MXFP4_FN(1, 1) MXFP4_FN(1, 2) MXFP4_FN(1, 3)

static void KK_FN(gemm_mxfp4)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	static stored_tile *const tile[2][TILE_T] = { { mxfp4_1x1, mxfp4_1x2, mxfp4_1x3 }, { mxfp4_4x1, mxfp4_4x2, mxfp4_4x3 } };
	stored_rows(tile, y, y_step, NULL, w, cols / 32 * 17, rows, x, n, cols);
}

/* --- fp8b128: a granule of up to 128 rows has the scales of its blocks of 128 columns, then codes, row by row --------------- */

/* Codes have the exponent and the mantissa of a float that is 2^120 too small (subnormal or not); NaN codes, which no checked weights have,
 * are 480 here and in unpack. The product with 2^120 s is rounded as the one with s: once. Where it is no number (s from 2^8 on), 2^120 and
 * s are applied one after the other. */
enum { FP8_STEP = 16, FP8_BLOCK = 128 };

static inline __attribute__((always_inline)) float fp8_scale(const uint8_t *scales, size_t k)
{
	float s;
	memcpy(&s, scales + k / FP8_BLOCK * sizeof(s), sizeof(s));
	return s;
}

/* Products of columns k to k + 15, of which the first n are there. */
#define FP8_STEP_BODY(R, T, n, load) do { \
	EACH(r, R) { \
		vf code[FP8_STEP / VL]; \
		vf_e4m3(code, load); \
		EACH(i, FP8_STEP / VL) if (VL * i < (int)(n)) { \
			vf c = code[i] * first * second; \
			EACH(t, T) { \
				vf b = (size_t)(VL * (i + 1)) <= (n) ? vf_load(x[t] + k + VL * i) : end_f32(x[t] + k + VL * i, (n) - (size_t)(VL * i)); \
				acc[r * TILE_T + t] = vf_fma(c, b, acc[r * TILE_T + t]); \
			} \
		} \
	} \
} while (0)

static inline const uint8_t *fp8_end(uint8_t tmp[FP8_STEP], const uint8_t *p, size_t n)
{
	memset(tmp, 0, FP8_STEP);
	return memcpy(tmp, p, n);
}

#define FP8_FN(name, R, T, FIRST, SECOND) \
static void name##_##R##x##T(float *y, size_t y_step, const uint8_t *scales, const uint8_t *w, const float *const *x, size_t cols) \
{ \
	const size_t w_step = cols; \
	const uint8_t *ahead = w + ROWS_AHEAD * w_step; \
	vf acc[R * TILE_T] = { 0 }; \
	for (size_t block = 0; block < cols; block += FP8_BLOCK) { \
		size_t k = block, stop = K_MIN(block + FP8_BLOCK, cols); \
		float s = fp8_scale(scales, k); \
		const vf first = vf_set(FIRST), second = vf_set(SECOND); \
		for (; k + FP8_STEP <= stop; k += FP8_STEP, ahead += R * FP8_STEP) { \
			__builtin_prefetch(ahead); \
			FP8_STEP_BODY(R, T, (size_t)FP8_STEP, w + (size_t)r * w_step + k); \
		} \
		if (k < stop) { \
			uint8_t tmp[FP8_STEP]; \
			FP8_STEP_BODY(R, T, stop - k, fp8_end(tmp, w + (size_t)r * w_step + k, stop - k)); \
		} \
	} \
	tile_sums(y, y_step, acc, R, T); \
}
#define FP8_ONCE(R, T) FP8_FN(fp8, R, T, s * 0x1p120f, 1)
FP8_ONCE(4, 1) FP8_ONCE(4, 2) FP8_ONCE(4, 3)
FP8_ONCE(1, 1) FP8_ONCE(1, 2) FP8_ONCE(1, 3)
/* So large are scales of no model: one row and one token at a time, which gives the same sums. */
FP8_FN(fp8_large, 1, 1, 0x1p120f, s)

static void KK_FN(gemm_fp8b128)(float *y, size_t y_step, const void *w, int row, int rows, const float *const *x, int n, size_t cols)
{
	static stored_tile *const tile[2][TILE_T] = { { fp8_1x1, fp8_1x2, fp8_1x3 }, { fp8_4x1, fp8_4x2, fp8_4x3 } };
	const uint8_t *scales = w, *codes = scales + (cols + FP8_BLOCK - 1) / FP8_BLOCK * sizeof(float);
	bool large = false;
	for (size_t k = 0; rows > 0 && k < cols; k += FP8_BLOCK)
		large |= !(fp8_scale(scales, k) < 0x1p7f);
	if (!large)
		stored_rows(tile, y, y_step, scales, codes + (size_t)row * cols, cols, rows, x, n, cols);
	else
		for (int r = 0; r < rows; r++)
			for (int t = 0; t < n; t++)
				fp8_large_1x1(y + (size_t)t * y_step + r, y_step, scales, codes + (size_t)(row + r) * cols, x + t, cols);
}
