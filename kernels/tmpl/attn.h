/* attn.h: the products of attention, queries with keys and weights with values, for a level that has gemm.h's vectors.
 *
 * Every element is one chain of fused multiply-adds, in growing order of the column (scores) or the position (mix), so tiles only decide
 * what is computed side by side, and no sum is taken across lanes:
 *
 *     scores   lanes are queries, which lie packed [column][query]; a key's columns are broadcast
 *     mix      lanes are columns of the values; a query's weights are broadcast
 *
 * What is bf16 is widened a tile (scores) or a strip of columns (mix) at a time into the nearest cache and then serves all queries; for
 * few queries mix widens on the way.
 *
 * Where few query heads share a key head, vectors of queries would be mostly empty when one token is computed. Scores of such models
 * (scores_few) have lanes that are columns, for every number of queries: VL partial sums, added up as gemm.h's are, to the same bits. */

enum { MOST_Q = KK_QUERIES / VL, KEYS = 64, MOST_KEYS = 8, MOST_DEPTH = 256, VALUES = 64, VECTORS = VL == 8 ? 3 : 4, LINE_BYTES = 64 };

static inline int packed_vectors(int n) { return (n + VL - 1) / VL; }

static void KK_FN(pack_queries)(float *y, const float *const *q, int n, size_t cols)
{
	static const float none[VL];
	size_t step = (size_t)packed_vectors(n) * VL, k = 0;
	for (; k + VL <= cols; k += VL)
		for (size_t g = 0; g < step; g += VL) {
			vf a[VL];
			EACH(i, VL)
				a[i] = vf_load((int)g + i < n ? q[g + i] + k : none);
			vf_transpose(a);
			EACH(i, VL)
				vf_store(y + (k + i) * step + g, a[i]);
		}
	for (; k < cols; k++)
		for (size_t t = 0; t < step; t++)
			y[k * step + t] = (int)t < n ? q[t][k] : 0;
}

/* Memory that is asked for line by line, in the order in which it lies: rows of so many bytes. */
struct asked { const char *at, *end; size_t row, step; };

static inline __attribute__((always_inline)) void ask(struct asked *a)
{
	__builtin_prefetch(a->at);
	a->at += LINE_BYTES;
	if (a->at >= a->end) {
		a->at = a->end - a->row + a->step;
		a->end += a->step;
	}
}

/* s[r][v]: P keys with V vectors of queries, `cols` columns further. Meanwhile as much of what lies at `ahead` is asked for. */
#define SCORE_FN(P, V) \
static void score_##P##x##V(vf *s, const float *w, size_t w_step, const float *q, size_t cols, const char *ahead, size_t ahead_step, size_t size) \
{ \
	vf a[P][V]; \
	EACH(r, P) EACH(v, V) \
		a[r][v] = s[r * V + v]; \
	struct asked next = { ahead, ahead + cols * size, cols * size, ahead_step }; \
	for (size_t k = 0; k < cols; q += V * VL, k++) { \
		vf b[V]; \
		if (k * size % LINE_BYTES == 0) \
			EACH(r, P) \
				ask(&next); \
		EACH(v, V) \
			b[v] = vf_load(q + v * VL); \
		EACH(r, P) { \
			vf c = vf_set(w[(size_t)r * w_step + k]); \
			EACH(v, V) \
				a[r][v] = vf_fma(c, b[v], a[r][v]); \
		} \
	} \
	EACH(r, P) EACH(v, V) \
		s[r * V + v] = a[r][v]; \
}
SCORE_FN(8, 1) SCORE_FN(8, 2) SCORE_FN(4, 2) SCORE_FN(4, 3) SCORE_FN(3, 4)
SCORE_FN(1, 1) SCORE_FN(1, 2) SCORE_FN(1, 3) SCORE_FN(1, 4)

typedef void score_fn(vf *s, const float *w, size_t w_step, const float *q, size_t cols, const char *ahead, size_t ahead_step, size_t size);
/* By vectors of queries, of which 16 lanes need two at most: tiles as large as registers hold, and how many columns of the queries stay in the nearest cache. */
static const struct score_tile { score_fn *whole, *single; int keys, depth; } score_tiles[] = {
	{ score_8x1, score_1x1, 8, 256 }, { VL == 8 ? score_4x2 : score_8x2, score_1x2, VL == 8 ? 4 : 8, 128 * 8 / VL },
	{ VL == 8 ? score_4x3 : NULL, VL == 8 ? score_1x3 : NULL, 4, 128 }, { VL == 8 ? score_3x4 : NULL, VL == 8 ? score_1x4 : NULL, 3, 128 },
};

static inline const float *tile_keys_f32(float *room K_UNUSED, const float *w, size_t *step K_UNUSED, int rows K_UNUSED, size_t cols K_UNUSED)
{
	return w;
}

static inline const float *tile_keys_bf16(float *room, const uint16_t *w, size_t *step, int rows, size_t cols)
{
	widen(room, MOST_DEPTH, w, *step, rows, cols);
	*step = MOST_DEPTH;
	return room;
}

/* Sums [key][query] to where they belong, [query][key]. */
static void scores_out(float *y, size_t y_step, const vf *s, int rows, int n)
{
	int vectors = packed_vectors(n), r = 0;
	for (; r + VL <= rows; r += VL)
		for (int v = 0; v < vectors; v++) {
			vf a[VL];
			EACH(i, VL)
				a[i] = s[(r + i) * vectors + v];
			vf_transpose(a);
			for (int i = 0; i < VL && v * VL + i < n; i++)
				vf_store(y + (size_t)(v * VL + i) * y_step + r, a[i]);
		}
	for (; r < rows; r++) {
		float lanes[KK_QUERIES];
		for (int v = 0; v < vectors; v++)
			vf_store(lanes + v * VL, s[r * vectors + v]);
		for (int t = 0; t < n; t++)
			y[(size_t)t * y_step + (size_t)r] = lanes[t];
	}
}

/* Up to KEYS keys; their sums rest in `s` while the columns go by. */
#define SCORES_FN(kind, type) \
static void scores_block_##kind(float *y, size_t y_step, const type *w, size_t w_step, int rows, const float *q, int n, size_t cols, \
	const type *ahead) \
{ \
	int vectors = packed_vectors(n); \
	const struct score_tile *tile = &score_tiles[vectors - 1]; \
	vf s[KEYS * MOST_Q]; \
	float room[MOST_KEYS * MOST_DEPTH]; \
	memset(s, 0, (size_t)(rows * vectors) * sizeof(*s)); \
	for (size_t k = 0, run; k < cols; k += run) { \
		run = K_MIN(cols - k, (size_t)tile->depth); \
		for (int r = 0, m; r < rows; r += m) { \
			const type *at = w + (size_t)r * w_step + k, *next = ahead + (size_t)r * w_step + k; \
			size_t step = w_step; \
			m = rows - r < tile->keys ? 1 : tile->keys; \
			const float *keys = tile_keys_##kind(room, at, &step, m, run); \
			(m == 1 ? tile->single : tile->whole)(s + r * vectors, keys, step, q + k * (size_t)vectors * VL, run, (const char *)next, \
				w_step * sizeof(*w), sizeof(*w)); \
		} \
	} \
	scores_out(y, y_step, s, rows, n); \
} \
\
static void KK_FN(scores_##kind)(float *y, size_t y_step, const type *w, size_t w_step, int rows, const float *q, int n, size_t cols, \
	const type *ahead) \
{ \
	ahead = ahead ? ahead : w; \
	for (int r = 0; n > 0 && r < rows; r += KEYS) \
		scores_block_##kind(y + r, y_step, w + (size_t)r * w_step, w_step, K_MIN(rows - r, (int)KEYS), q, n, cols, \
			ahead + (size_t)r * w_step); \
}
SCORES_FN(f32, float)
SCORES_FN(bf16, uint16_t)

/* --- scores of few ---------------------------------------------------------------------------------------------------------- */

enum { FEW_T = 4, FEW_KEYS = 12 };              /* queries side by side; keys in the nearest cache for all queries */

static inline float one_f32(float x) { return x; }
static inline float one_bf16(uint16_t x) { return k_bf16_to_f32(x); }

#define FEW_STEP(kind, R, T, at) do { \
	vf b[T]; \
	EACH(t, T) \
		b[t] = vf_load(q[t] + (at)); \
	EACH(r, R) { \
		vf c = load_##kind(w + (size_t)r * w_step + (at)); \
		EACH(t, T) \
			a[r][t] = vf_fma(c, b[t], a[r][t]); \
	} \
} while (0)

/* y[t][r] of R keys and T queries. Meanwhile as much of what lies at `ahead` is asked for. */
#define FEW_FN(kind, type, R, T) \
static void few_##kind##_##R##x##T(float *y, size_t y_step, const type *w, size_t w_step, const float *const *q, size_t cols, const type *ahead) \
{ \
	enum { LINE_COLS = LINE_BYTES / sizeof(*w) }; \
	vf a[R][T]; \
	float sums[R][4]; \
	size_t k = 0; \
	EACH(r, R) EACH(t, T) \
		a[r][t] = vf_set(0); \
	for (; k + LINE_COLS <= cols; k += LINE_COLS) { \
		EACH(r, R) \
			__builtin_prefetch(ahead + (size_t)r * w_step + k); \
		EACH(i, LINE_COLS / VL) \
			FEW_STEP(kind, R, T, k + (size_t)(i * VL)); \
	} \
	for (; k < cols; k += VL) \
		FEW_STEP(kind, R, T, k); \
	if (R == 4 && T == 4) \
		EACH(t, T / 2) \
			vf_sums_of_two(y + (size_t)(2 * t) * y_step, y + (size_t)(2 * t + 1) * y_step, &a[0][2 * t], &a[0][2 * t + 1], T); \
	else if (R % 4 == 0) \
		EACH(t, T) EACH(r, R / 4) \
			vf_sums(y + (size_t)t * y_step + 4 * r, &a[4 * r][t], T); \
	EACH(r, R % 4) { \
		if (T == 4) \
			vf_sums(sums[r], a[r], 1); \
		EACH(t, T) \
			y[(size_t)t * y_step + r] = T == 4 ? sums[r][t] : vf_sum(a[r][t]); \
	} \
}

/* Rows of whole vectors; others are rare, and left to gemm.h. Where keys serve many queries, each tile of keys asks with one tile of queries,
 * in turn, and with the others for what is there: requests that come in bursts make everything wait. */
#define SCORES_FEW_FN(kind, type) \
FEW_FN(kind, type, 8, 1) FEW_FN(kind, type, 4, 2) FEW_FN(kind, type, 4, 3) FEW_FN(kind, type, 3, 4) FEW_FN(kind, type, 4, 4) \
FEW_FN(kind, type, 1, 1) FEW_FN(kind, type, 1, 2) FEW_FN(kind, type, 1, 3) FEW_FN(kind, type, 1, 4) \
typedef void few_tile_##kind(float *, size_t, const type *, size_t, const float *const *, size_t, const type *); \
static void KK_FN(scores_few_##kind)(float *y, size_t y_step, const type *w, size_t w_step, int rows, const float *const *q, int n, size_t cols, \
	const type *ahead) \
{ \
	static const struct { \
		few_tile_##kind *whole, *single; \
		int keys;               /* sums enough to hide how long a product takes, as many as registers hold */ \
	} by_queries[FEW_T] = { { few_##kind##_8x1, few_##kind##_1x1, 8 }, { few_##kind##_4x2, few_##kind##_1x2, 4 }, \
		{ few_##kind##_4x3, few_##kind##_1x3, 4 }, \
		{ VL == 8 ? few_##kind##_3x4 : few_##kind##_4x4, few_##kind##_1x4, VL == 8 ? 3 : 4 } }; \
	const int block = n <= FEW_T ? rows : FEW_KEYS, passes = (n + FEW_T - 1) / FEW_T; \
	if (cols % VL != 0) { \
		KK_FN(gemm_##kind)(y, y_step, w, w_step, rows, q, n, cols); \
		return; \
	} \
	for (int r = 0, stop; r < rows; r = stop) { \
		stop = K_MIN(rows, r + block); \
		for (int t = 0; t < n; t += FEW_T) { \
			int queries = K_MIN(n - t, (int)FEW_T), keys = by_queries[queries - 1].keys; \
			for (int i = r, m; i < stop; i += m) { \
				const type *next = ahead && (i / keys + t / FEW_T) % passes == 0 ? ahead : w; \
				m = stop - i < keys ? 1 : keys; \
				(m > 1 ? by_queries[queries - 1].whole : by_queries[queries - 1].single)(y + (size_t)t * y_step + i, y_step, \
					w + (size_t)i * w_step, w_step, q + t, cols, next + (size_t)i * w_step); \
			} \
		} \
	} \
}
SCORES_FEW_FN(f32, float)
SCORES_FEW_FN(bf16, uint16_t)

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

#define MIX_FN(kind, type, T, V) \
static void mix_##kind##_##T##x##V(float *y, size_t y_step, const float *p, size_t p_step, const type *w, size_t w_step, int rows) \
{ \
	vf a[T][V]; \
	EACH(t, T) EACH(v, V) \
		a[t][v] = vf_load(y + (size_t)t * y_step + v * VL); \
	for (int d = 0; d < rows; d++) { \
		vf c[V]; \
		EACH(v, V) \
			c[v] = load_##kind(w + (size_t)d * w_step + v * VL); \
		EACH(t, T) { \
			vf b = vf_set(p[(size_t)t * p_step + (size_t)d]); \
			EACH(v, V) \
				a[t][v] = vf_fma(b, c[v], a[t][v]); \
		} \
	} \
	EACH(t, T) EACH(v, V) \
		vf_store(y + (size_t)t * y_step + v * VL, a[t][v]); \
}

/* n queries and a strip of up to VECTORS vectors of columns; the end of a row that fills no vector goes one by one. */
#define MIX_FNS(kind, type) \
MIX_FN(kind, type, 4, VECTORS) MIX_FN(kind, type, 3, VECTORS) MIX_FN(kind, type, 2, VECTORS) MIX_FN(kind, type, 1, VECTORS) \
MIX_FN(kind, type, 4, 1) MIX_FN(kind, type, 3, 1) MIX_FN(kind, type, 2, 1) MIX_FN(kind, type, 1, 1) MIX_FN(kind, type, 1, 8) \
\
static void mix_strip_##kind(float *y, size_t y_step, const float *p, size_t p_step, int n, const type *w, size_t w_step, int rows, size_t cols) \
{ \
	static void (*const whole[])(float *, size_t, const float *, size_t, const type *, size_t, int) = \
		{ mix_##kind##_1xVECTORS, mix_##kind##_2xVECTORS, mix_##kind##_3xVECTORS, mix_##kind##_4xVECTORS }; \
	static void (*const single[])(float *, size_t, const float *, size_t, const type *, size_t, int) = \
		{ mix_##kind##_1x1, mix_##kind##_2x1, mix_##kind##_3x1, mix_##kind##_4x1 }; \
	for (int t = 0; t < n; t += TILE_R) { \
		float *to = y + (size_t)t * y_step; \
		const float *from = p + (size_t)t * p_step; \
		int m = K_MIN(n - t, (int)TILE_R); \
		size_t j = 0; \
		if (cols == VECTORS * VL) { \
			whole[m - 1](to, y_step, from, p_step, w, w_step, rows); \
			continue; \
		} \
		for (; j + VL <= cols; j += VL) \
			single[m - 1](to + j, y_step, from, p_step, w + j, w_step, rows); \
		for (; j < cols; j++) \
			for (int i = 0; i < m; i++) \
				for (int d = 0; d < rows; d++) \
					to[(size_t)i * y_step + j] = __builtin_fmaf(from[(size_t)i * p_step + (size_t)d], one_##kind(w[(size_t)d * w_step + j]), \
						to[(size_t)i * y_step + j]); \
	} \
} \
\
/* As the values lie. One query alone takes more columns, to have sums enough at once. */ \
static void mix_rows_##kind(float *y, size_t y_step, const float *p, size_t p_step, int n, const type *w, size_t w_step, int rows, size_t cols) \
{ \
	size_t j = 0, run; \
	for (; n == 1 && j + 8 * VL <= cols; j += 8 * VL) \
		mix_##kind##_1x8(y + j, y_step, p, p_step, w + j, w_step, rows); \
	for (; j < cols; j += run) { \
		run = K_MIN(cols - j, (size_t)(VECTORS * VL)); \
		mix_strip_##kind(y + j, y_step, p, p_step, n, w + j, w_step, rows, run); \
	} \
}
MIX_FNS(f32, float)
MIX_FNS(bf16, uint16_t)

static void KK_FN(mix)(float *y, size_t y_step, const float *p, size_t p_step, int n, const float *w, size_t w_step, int rows, size_t cols)
{
	mix_rows_f32(y, y_step, p, p_step, n, w, w_step, rows, cols);
}

static void KK_FN(mix_bf16)(float *y, size_t y_step, const float *p, size_t p_step, int n, const uint16_t *w, size_t w_step, int rows, size_t cols)
{
	float wide[VALUES * VECTORS * VL];
	if (n <= TILE_R) {
		mix_rows_bf16(y, y_step, p, p_step, n, w, w_step, rows, cols);
		return;
	}
	for (int d = 0, m; d < rows; d += m) {
		m = K_MIN(rows - d, (int)VALUES);
		for (size_t j = 0, run; j < cols; j += run) {
			run = K_MIN(cols - j, (size_t)(VECTORS * VL));
			widen(wide, VECTORS * VL, w + (size_t)d * w_step + j, w_step, m, run);
			mix_strip_f32(y + j, y_step, p + d, p_step, n, wide, VECTORS * VL, m, run);
		}
	}
}
