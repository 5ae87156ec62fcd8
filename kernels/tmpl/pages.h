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
typedef void page_scores(float *y, const char *code, size_t next, const float *scale, size_t at, size_t cols, const int32_t *q, size_t q_step,
	const float *d, const char *ahead);
static page_scores page_scores_1, page_scores_2, page_scores_3, page_scores_4;

static void KK_FN(scores_i8)(float *y, const void *page, size_t width, size_t at, size_t cols, int rows, const float *q, int n, const void *ahead)
{
	static page_scores *const tiles[] = { page_scores_1, page_scores_2, page_scores_3, page_scores_4 };
	size_t all = (size_t)((n + KK_I8_QUERIES - 1) / KK_I8_QUERIES * KK_I8_QUERIES);
	const int32_t *pairs = (const int32_t *)(q + KK_QUERIES);
	ahead = ahead ? ahead : page;
	for (int r = 0; r < rows; r += PAGE_ROWS)
		for (int t = 0; t < n; t += KK_I8_QUERIES) {
			size_t from = (size_t)r * width + at / 2 * PAGE_CELLS;
			const char *code = (const char *)page + from;
			tiles[K_MIN(n - t, (int)KK_I8_QUERIES) - 1](y + t * K_PAGE + r, code, PAGE_TOKENS * width, page_scales(page, width, at) + r, at, cols,
				pairs + t, all, q + t, t ? code : (const char *)ahead + from);
		}
}

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

/* Weights of queries on a page, in the order of its cells: each half twice, as two columns share it. */
typedef struct { page_vec w[KK_I8_QUERIES][2 * sizeof(int16_t) * K_PAGE / sizeof(page_vec)]; } page_weights;
static inline void page_weigh(page_vec *w, const float *p, const float *scale);

/* Columns of a group; `step` bytes to the next 16 tokens, of which there are `blocks`. */
typedef void page_mix(float *y, size_t y_step, const page_weights *w, const float *unit, const char *code, size_t step, size_t cols, int blocks);
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

/* x[K_PAGE] = from[n] `most` / its largest, which is returned; 0 behind them. */
static inline float page_even(float *x, const float *from, int n, float most)
{
	for (int i = n; i < K_PAGE; i++)
		x[i] = 0;
	for (int i = 0; i < n; i++)
		x[i] = from[i];
	float top = page_top(x, K_PAGE), inv = top > 0x1p-100f ? most / top : 0;
	for (int i = 0; i < K_PAGE; i += VL)
		vf_store(x + i, vf_load(x + i) * vf_set(inv));
	return top;
}

static void KK_FN(mix_i8)(float *y, size_t y_step, const float *p, int n, const void *page, size_t width, size_t at, size_t cols, int rows)
{
	static page_mix *const tiles[] = { page_mix_1, page_mix_2, page_mix_2, page_mix_4 };    /* of three queries two, then one */
	float weight[KK_QUERIES][K_PAGE], top[KK_QUERIES], scale[K_PAGE], unit[KK_I8_QUERIES];
	int blocks = (rows + PAGE_TOKENS - 1) / PAGE_TOKENS;
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
			tiles[m - 1](y + (size_t)t * y_step + (i - at), y_step, &w, unit, (const char *)page + i / 2 * PAGE_CELLS,
				PAGE_TOKENS * width, end - i, blocks);
		}
	}
}
