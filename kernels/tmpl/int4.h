/* int4.h: products of INT4 weights straight from their records, i4g32 in layout x16 (libcore/qtype/i4g32_x16.c): a lane is a row, so
 * nothing is moved between lanes, and a group's scale is applied to its sum, not to each of its weights. For a level that has
 * defined, beside what gemm.h wants,
 *
 *     vu                  the vector of VL words
 *     vf_code(word, i)    nibble i of each word, less 8
 *
 * Every element has, for each group of 32 columns, the sum of its even and that of its odd columns, each in growing k; both together
 * times the scale are added to the element, groups in growing k. How many tokens share the unpacking changes nothing of this. */

enum {
	INT4_ROWS = 16, INT4_COLS = 64, INT4_RECORD = 576,
	INT4_H = INT4_ROWS / VL,                /* vectors that hold the rows */
	INT4_G = VL / 8,                        /* groups side by side: enough sums to hide how long a product takes */
	INT4_AHEAD = 8 * INT4_RECORD,           /* memory is asked for this far ahead */
};

static inline __attribute__((always_inline)) vu int4_load(const uint8_t *p, int h)
{
	vu v;
	memcpy(&v, p + (size_t)h * sizeof(v), sizeof(v));
	return v;
}

/* Groups group .. group + INT4_G - 1 of the record p; x stand at its first column. */
#define INT4_GROUPS(T) do { \
	vf a[INT4_G][INT4_H][T][2]; \
	EACH(g, INT4_G) EACH(h, INT4_H) EACH(t, T) \
		a[g][h][t][0] = a[g][h][t][1] = vf_set(0); \
	EACH(q, 4) EACH(g, INT4_G) { \
		int word = 4 * (group + g) + q; \
		vu w[INT4_H]; \
		EACH(h, INT4_H) \
			w[h] = int4_load(p + 64 + 64 * word, h); \
		EACH(i, 4) EACH(odd, 2) { \
			vf code[INT4_H]; \
			EACH(h, INT4_H) \
				code[h] = vf_code(w[h], i + 4 * odd); \
			EACH(t, T) { \
				vf b = vf_set(x[t][k + 8 * (size_t)word + 2 * (size_t)i + (size_t)odd]); \
				EACH(h, INT4_H) \
					a[g][h][t][odd] = vf_fma(code[h], b, a[g][h][t][odd]); \
			} \
		} \
	} \
	EACH(g, INT4_G) EACH(h, INT4_H) { \
		vu scales = int4_load(p, h); \
		vf scale = (vf)(group + g ? scales & 0xffff0000u : scales << 16); \
		EACH(t, T) \
			sum[h][t] = vf_fma(a[g][h][t][0] + a[g][h][t][1], scale, sum[h][t]); \
	} \
} while (0)

#define INT4_FN(T) \
static void int4_##T(float *y, size_t y_step, const uint8_t *p, const float *const *x, size_t cols) \
{ \
	vf sum[INT4_H][T]; \
	EACH(h, INT4_H) EACH(t, T) \
		sum[h][t] = vf_set(0); \
	for (size_t k = 0; k < cols; k += INT4_COLS, p += INT4_RECORD) { \
		EACH(i, INT4_RECORD / 64) \
			__builtin_prefetch(p + INT4_AHEAD + 64 * i); \
		UNROLL for (int group = 0; group < 2; group += INT4_G) \
			INT4_GROUPS(T); \
	} \
	EACH(h, INT4_H) EACH(t, T) \
		vf_store(y + (size_t)t * y_step + h * VL, sum[h][t]); \
}
INT4_FN(1)
INT4_FN(2)
INT4_FN(3)
INT4_FN(4)

static void KK_FN(ready_i4x16)(float *y, const float *x, size_t cols) { memmove(y, x, cols * sizeof(*x)); }

static void KK_FN(gemm_i4x16)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols)
{
	static void (*const tile[])(float *, size_t, const uint8_t *, const float *const *, size_t) = { int4_1, int4_2, int4_3, int4_4 };
	const uint8_t *p = w;
	for (int r = 0; r < rows; r += INT4_ROWS, p += cols / INT4_COLS * INT4_RECORD)
		for (int t = 0; t < n; t += (int)K_LEN(tile))
			tile[K_MIN(n - t, (int)K_LEN(tile)) - 1](y + (size_t)t * y_step + r, y_step, p, x + t, cols);
}
