/* page_zmm.h: attention on pages of int8 (libcore/backend.h), as page_int8.h has it, by vectors of 64 bytes, for a level that has defined, beside what
 * gemm.h wants,
 *
 *     zh, zw              32 signed halves of words; 16 signed words
 *     zh_dot(a, x, y)     a, plus in each word the products of its two halves
 *     zh_dot_one(a, x, p) the same, y the two halves at p in every word
 *     zh_widen(p)         32 signed bytes
 *     zh_pair(p, q)       32 bytes each
 *     zw_halves(a, b)     the sum of a's halves, that of b's;   zw_quarters: of a's quarters 0 1, of 2 3, of b's 0 1, of 2 3;
 *                         zw_eighths: of a's eighths 0 1, of b's 0 1, of a's 2 3, ...
 *     zh_order(v, order)  v[order[i]]
 *
 *     scores   a word is a token: of 32 of them those of the lower bytes (i, 16 + i; i < 8), and of the upper ones (8 + i, 24 + i)
 *     mix      a word is a column: eight words of each of two columns are added up at the end, of sixteen columns at a time
 *
 * Queries are packed by the level below. Sums of a group are whole numbers: how they are made matters to nobody; what is rounded is said in kk.def. */
#include "libcore/backend.h"

enum { PAGE_TOKENS = 16, PAGE_CELLS = 32, PAGE_BLOCKS = K_PAGE / PAGE_TOKENS };

static inline const float *page_scales(const void *page, size_t width, size_t column)
{
	return (const float *)(const void *)((const char *)page + k_kv_scales_at((int64_t)width, (int64_t)(column / K_KV_GROUP)));
}

static inline size_t page_group_end(size_t i, size_t end) { return K_MIN(end, (i / K_KV_GROUP + 1) * K_KV_GROUP); }

/* Eight floats at p, then eight at q. */
static inline vf page_halves(const float *p, const float *q) { return (vf)zh_pair((const char *)p, (const char *)q); }

static inline void page_put(float *p, float *q, vf v)
{
	float tmp[VL];
	vf_store(tmp, v);
	memcpy(p, tmp, 8 * sizeof(*p));
	memcpy(q, tmp + 8, 8 * sizeof(*q));
}

/* --- scores --------------------------------------------------------------------------------------------------------------- */

/* 32 tokens with T queries; `next` bytes from 16 tokens to the next 16. Meanwhile what lies at `ahead` is asked for, as far on. */
#define PAGE_SCORES(T) \
static void page_scores_##T(float *y, const char *code, size_t next, const float *scale, size_t at, size_t cols, const int32_t *q, size_t q_step, \
	const float *d, const char *ahead) \
{ \
	vf s[T][2]; \
	EACH(t, T) EACH(h, 2) \
		s[t][h] = vf_set(0); \
	for (size_t i = at, end; i < at + cols; scale += K_PAGE) { \
		zw a[T][2] = { { { 0 } } }; \
		for (end = page_group_end(i, at + cols); i < end; i += 2, code += PAGE_CELLS, ahead += PAGE_CELLS, q += q_step) { \
			zh x = zh_pair(code, code + next), half[2] = { x << 8 >> 8, x >> 8 }; \
			__builtin_prefetch(i & 2 ? ahead + next : ahead); \
			EACH(t, T) EACH(h, 2) \
				a[t][h] = zh_dot_one(a[t][h], half[h], q + t); \
		} \
		EACH(h, 2) { \
			vf by = page_halves(scale + 8 * h, scale + 8 * h + PAGE_TOKENS); \
			EACH(t, T) \
				s[t][h] = vf_fma(vf_int((vu)a[t][h]), by, s[t][h]); \
		} \
	} \
	EACH(t, T) EACH(h, 2) { \
		float *to = y + t * K_PAGE + 8 * h; \
		page_put(to, to + PAGE_TOKENS, s[t][h] * vf_set(d[t])); \
	} \
}
PAGE_SCORES(1) PAGE_SCORES(2) PAGE_SCORES(3) PAGE_SCORES(4)

static void KK_FN(scores_i8)(float *y, const void *page, size_t width, size_t at, size_t cols, int rows, const float *q, int n, const void *ahead)
{
	static void (*const tiles[])(float *, const char *, size_t, const float *, size_t, size_t, const int32_t *, size_t, const float *, const char *) =
		{ page_scores_1, page_scores_2, page_scores_3, page_scores_4 };
	size_t all = (size_t)((n + KK_I8_QUERIES - 1) / KK_I8_QUERIES * KK_I8_QUERIES);
	const int32_t *pairs = (const int32_t *)(q + KK_QUERIES);
	ahead = ahead ? ahead : page;
	for (int r = 0; r < rows; r += 2 * PAGE_TOKENS)
		for (int t = 0; t < n; t += KK_I8_QUERIES) {
			size_t from = (size_t)r * width + at / 2 * PAGE_CELLS;
			const char *code = (const char *)page + from;
			tiles[K_MIN(n - t, (int)KK_I8_QUERIES) - 1](y + t * K_PAGE + r, code, PAGE_TOKENS * width, page_scales(page, width, at) + r, at, cols,
				pairs + t, all, q + t, t ? code : (const char *)ahead + from);
		}
}

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

/* Weights of queries on a page, in the order of its cells. */
typedef struct { zh w[KK_I8_QUERIES][PAGE_BLOCKS]; } page_weights;

/* A number below 2^15 plus 1.5 2^23 has it, rounded, as its lower half: word 2 k and 2 k + 1 get those of tokens k and k + 8. */
static inline void page_weigh(zh w[PAGE_BLOCKS], const float *p, const float *scale)
{
	const zh halves = { 0, 16, 0, 16, 2, 18, 2, 18, 4, 20, 4, 20, 6, 22, 6, 22, 8, 24, 8, 24, 10, 26, 10, 26, 12, 28, 12, 28, 14, 30, 14, 30 };
	EACH(i, PAGE_BLOCKS)
		w[i] = zh_order((zh)(vf_load(p + PAGE_TOKENS * i) * vf_load(scale + PAGE_TOKENS * i) + 0x1.8p23f), halves);
}

/* Two columns for T queries: eight words of each, in turns. `step` bytes to the next 16 tokens; those that a page lacks weigh nothing. */
#define PAGE_MIX(T) \
static inline __attribute__((always_inline)) void page_two_##T(zw to[T], const page_weights *w, const char *code, size_t step) \
{ \
	EACH(t, T) \
		to[t] = (zw){ 0 }; \
	EACH(i, PAGE_BLOCKS) { \
		zh x = zh_widen(code + (size_t)i * step); \
		EACH(t, T) \
			to[t] = zh_dot(to[t], x, w->w[t][i]); \
	} \
} \
/* Columns 0 1, 4 5, 8 9 and 12 13: a quarter each, of which the halves are still to be added. */ \
static inline __attribute__((always_inline)) void page_eight_##T(zw to[T], const page_weights *w, const char *const code[4], size_t step) \
{ \
	zw a[T], b[T], c[T]; \
	page_two_##T(a, w, code[0], step); \
	page_two_##T(b, w, code[1], step); \
	EACH(t, T) \
		c[t] = zw_halves(a[t], b[t]); \
	page_two_##T(a, w, code[2], step); \
	page_two_##T(b, w, code[3], step); \
	EACH(t, T) { \
		to[t] = zw_quarters(c[t], zw_halves(a[t], b[t])); \
	} \
} \
/* Columns of a group: sixteen at a time, of which the last ones may be fewer. */ \
static void page_mix_##T(float *y, size_t y_step, const page_weights *w, const float *unit, const char *code, size_t step, size_t cols) \
{ \
	for (size_t j = 0, n; j < cols; j += n, code += 8 * PAGE_CELLS) { \
		const char *even[4], *odd[4]; \
		zw a[T], b[T]; \
		n = K_MIN(cols - j, (size_t)VL); \
		EACH(k, 4) { \
			even[k] = (size_t)(4 * k) < n ? code + 2 * k * PAGE_CELLS : code; \
			odd[k] = (size_t)(4 * k + 2) < n ? code + (2 * k + 1) * PAGE_CELLS : code; \
		} \
		page_eight_##T(a, w, even, step); \
		page_eight_##T(b, w, odd, step); \
		EACH(t, T) { \
			zw sum = zw_eighths(a[t], b[t]); \
			float out[VL] = { 0 }, *at = n == VL ? y + (size_t)t * y_step + j : out; \
			if (at == out) \
				memcpy(out, y + (size_t)t * y_step + j, n * sizeof(*out)); \
			vf_store(at, vf_fma(vf_int((vu)sum), vf_set(unit[t]), vf_load(at))); \
			if (at == out) \
				memcpy(y + (size_t)t * y_step + j, out, n * sizeof(*out)); \
		} \
	} \
}
PAGE_MIX(1) PAGE_MIX(2) PAGE_MIX(4)

/* x[K_PAGE] = from[n] `most` / its largest size, which is returned (NaN is above infinity); 0 behind them. */
static inline float page_even(float *x, const float *from, int n, float most)
{
	int32_t sizes[K_PAGE] = { 0 }, top = 0;
	float size;
	memcpy(sizes, from, (size_t)n * sizeof(*sizes));
	memcpy(x, sizes, sizeof(sizes));
	for (int i = 0; i < K_PAGE; i++)
		top = K_MAX(top, sizes[i] & INT32_MAX);
	memcpy(&size, &top, sizeof(size));
	float inv = size > 0x1p-100f ? most / size : 0;
	for (int i = 0; i < K_PAGE; i += VL)
		vf_store(x + i, vf_load(x + i) * vf_set(inv));
	return size;
}

static void KK_FN(mix_i8)(float *y, size_t y_step, const float *p, int n, const void *page, size_t width, size_t at, size_t cols, int rows)
{
	static void (*const tiles[])(float *, size_t, const page_weights *, const float *, const char *, size_t, size_t) =
		{ page_mix_1, page_mix_2, page_mix_2, page_mix_4 };          /* of three queries two, then one */
	float weight[KK_QUERIES][K_PAGE], top[KK_QUERIES], scale[K_PAGE], unit[KK_I8_QUERIES];
	for (int t = 0; t < n; t++)
		top[t] = page_even(weight[t], p + t * K_PAGE, rows, 32767) / 32767;
	for (size_t i = at, end; i < at + cols; i = end) {
		float most = page_even(scale, page_scales(page, width, i), rows, 1);
		end = page_group_end(i, at + cols);
		for (int t = 0, m; t < n; t += m) {
			page_weights w;
			m = n - t < KK_I8_QUERIES ? K_MIN(n - t, 2) : KK_I8_QUERIES;
			for (int k = 0; k < m; k++) {
				page_weigh(w.w[k], weight[t + k], scale);
				unit[k] = top[t + k] * most;
			}
			tiles[m - 1](y + (size_t)t * y_step + (i - at), y_step, &w, unit, (const char *)page + i / 2 * PAGE_CELLS, PAGE_TOKENS * width, end - i);
		}
	}
}

#define KK_OF_PAGES \
	.scores_i8 = KK_FN(scores_i8), \
	.mix_i8 = KK_FN(mix_i8)
