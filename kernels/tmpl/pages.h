/* pages.h: what page_int8.h and page_zmm.h share: how a page of int8 is walked. Before it one of them has defined page_vec, the vector of halves of words
 * that it multiplies, and PAGE_ROWS, the tokens of a tile of scores; behind it come page_weigh and the tiles. */
#include "libcore/backend.h"

enum { PAGE_TOKENS = 16, PAGE_CELLS = 32 };     /* tokens that lie together, and bytes of theirs for two columns */

static inline const float *page_scales(const void *page, size_t width, size_t column)
{
	return (const float *)(const void *)((const char *)page + k_kv_scales_at((int64_t)width, (int64_t)(column / K_KV_GROUP)));
}

static inline size_t page_group_end(size_t i, size_t end) { return K_MIN(end, (i / K_KV_GROUP + 1) * K_KV_GROUP); }

/* The largest size of n numbers; NaN is above infinity. */
static inline float page_top(const float *x, size_t n)
{
	int32_t bits = 0;
	for (size_t i = 0; i < n; i++) {
		int32_t v;
		memcpy(&v, x + i, sizeof(v));
		bits = K_MAX(bits, v & INT32_MAX);
	}
	float size;
	memcpy(&size, &bits, sizeof(size));
	return size;
}

/* --- scores --------------------------------------------------------------------------------------------------------------- */

/* PAGE_ROWS tokens with as many queries as the tile is for; `next` bytes from 16 tokens to the next 16. Meanwhile what lies at `ahead` is asked for. */
typedef void page_scores(float *y, size_t y_step, const char *code, size_t next, const float *scale, size_t at, size_t cols, const int32_t *q, size_t q_step,
	const float *d, const char *ahead);
static page_scores page_scores_1, page_scores_2, page_scores_3, page_scores_4;

static void KK_FN(scores_i8)(float *y, size_t y_step, const void *page, size_t width, size_t at, size_t cols, int rows, const float *q, int n,
	const void *ahead)
{
	static page_scores *const tiles[] = { page_scores_1, page_scores_2, page_scores_3, page_scores_4 };
	size_t all = (size_t)((n + KK_I8_QUERIES - 1) / KK_I8_QUERIES * KK_I8_QUERIES);
	const int32_t *pairs = (const int32_t *)(q + KK_QUERIES);
	ahead = ahead ? ahead : page;
	for (int r = 0; r < rows; r += PAGE_ROWS)
		for (int t = 0; t < n; t += KK_I8_QUERIES) {
			size_t from = (size_t)r * width + at / 2 * PAGE_CELLS;
			const char *code = (const char *)page + from;
			tiles[K_MIN(n - t, (int)KK_I8_QUERIES) - 1](y + (size_t)t * y_step + r, y_step, code, PAGE_TOKENS * width, page_scales(page, width, at) + r, at, cols,
				pairs + t, all, q + t, t ? code : (const char *)ahead + from);
		}
}

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

/* Weights of queries on pages, in the order of their cells: each half twice, as two columns share it. */
enum { PAGE_BLOCKS = KK_SCORES / PAGE_TOKENS, PAGE_VECTORS = 2 * (int)sizeof(int16_t) * PAGE_TOKENS / (int)sizeof(page_vec) };
typedef struct { page_vec w[KK_I8_QUERIES][PAGE_BLOCKS][PAGE_VECTORS]; } page_weights;

/* A block's weights: p of one query, times inv, and scales that are evened. */
static inline void page_weigh(page_vec *w, const float *p, float inv, const vf *scale);

/* Columns of a group, from where `code` bytes lie behind the cells of each block. */
typedef void page_mix(float *y, size_t y_step, const page_weights *w, const float *unit, const char *const *block, size_t code, size_t cols, int blocks);
static page_mix page_mix_1, page_mix_2, page_mix_4;

/* n columns take what whole numbers stand for. */
static inline __attribute__((always_inline)) void page_add(float *y, vu sum, float unit, size_t n)
{
	float out[VL] = { 0 }, *at = n == VL ? y : out;
	if (at == out)
		memcpy(out, y, n * sizeof(*out));
	vf_store(at, vf_fma(vf_int(sum), vf_set(unit), vf_load(at)));
	if (at == out)
		memcpy(y, out, n * sizeof(*out));
}

/* Of sizes; NaN is above all. */
static inline float page_larger(float a, float b) { return a != a || a > b ? a : b; }
static inline float page_inverse(float most, float top) { return top > 0x1p-100f ? most / top : 0; }

/* x = n numbers, 0 behind them up to the end of a block; returns the largest. */
static inline float page_copy(float *x, const float *from, size_t n)
{
	size_t end = k_align_up(n, PAGE_TOKENS);
	memcpy(x, from, n * sizeof(*x));
	memset(x + n, 0, (end - n) * sizeof(*x));
	return page_top(x, end);
}

/* The scales of the group that a column belongs to, over all of them the same way. */
static inline float page_copy_scales(float *x, const void *const *page, size_t width, size_t column, int rows)
{
	float most = 0;
	for (int r = 0; r < rows; r += K_PAGE)
		most = page_larger(most, page_copy(x + r, page_scales(page[r / K_PAGE], width, column), (size_t)K_MIN(rows - r, K_PAGE)));
	return most;
}

/* A query's weights: P / 32767 and the inverse; those of the last block, with 0 behind the last row. */
struct page_query { float unit, inv, last[PAGE_TOKENS]; };

/* m queries' weights times the scales of a group. */
static inline void page_weigh_all(page_weights *w, const float *p, const struct page_query *query, int m, const float *scale, float inv, int blocks)
{
	for (int b = 0; b < blocks; b++) {
		vf by[PAGE_TOKENS / VL];
		EACH(h, PAGE_TOKENS / VL)
			by[h] = vf_load(scale + b * PAGE_TOKENS + h * VL) * vf_set(inv);
		for (int k = 0; k < m; k++)
			page_weigh(w->w[k][b], b < blocks - 1 ? p + k * KK_SCORES + b * PAGE_TOKENS : query[k].last, query[k].inv, by);
	}
}

/* A group's codes are near after its first queries. */
static void KK_FN(mix_i8)(float *y, size_t y_step, const float *p, int n, const void *const *page, size_t width, size_t at, size_t cols, int rows)
{
	static page_mix *const tiles[] = { page_mix_1, page_mix_2, page_mix_2, page_mix_4 };    /* of three queries two, then one */
	int blocks = (rows + PAGE_TOKENS - 1) / PAGE_TOKENS, whole = (blocks - 1) * PAGE_TOKENS;
	const char *block[PAGE_BLOCKS];
	struct page_query query[KK_QUERIES];
	if (rows <= 0)
		return;
	for (int b = 0; b < blocks; b++)
		block[b] = (const char *)page[b * PAGE_TOKENS / K_PAGE] + (size_t)(b * PAGE_TOKENS % K_PAGE) * width;
	for (int t = 0; t < n; t++) {
		float top = page_larger(page_top(p + t * KK_SCORES, (size_t)whole), page_copy(query[t].last, p + t * KK_SCORES + whole, (size_t)(rows - whole)));
		query[t].unit = top / 32767;
		query[t].inv = page_inverse(32767, top);
	}
	for (size_t i = at, end; i < at + cols; i = end) {
		float scale[KK_SCORES], most = page_copy_scales(scale, page, width, i, rows), inv = page_inverse(1, most);
		end = page_group_end(i, at + cols);
		for (int t = 0, m; t < n; t += m) {
			float unit[KK_I8_QUERIES];
			page_weights w;
			m = n - t < KK_I8_QUERIES ? K_MIN(n - t, 2) : KK_I8_QUERIES;
			page_weigh_all(&w, p + t * KK_SCORES, query + t, m, scale, inv, blocks);
			for (int k = 0; k < m; k++)
				unit[k] = query[t + k].unit * most;
			tiles[m - 1](y + (size_t)t * y_step + (i - at), y_step, &w, unit, block, i / 2 * PAGE_CELLS, end - i, blocks);
		}
	}
}
