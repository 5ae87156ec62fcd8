/* page_zmm.h: attention on pages of int8 (libcore/backend.h), as page_int8.h has it, by vectors of 64 bytes, for a level that has defined, beside what
 * gemm.h wants,
 *
 *     zh, zw              32 signed halves of words; 16 signed words
 *     zh_dot(a, x, y)     a, plus in each word the products of its two halves
 *     zh_both(p)          the two halves at p in every word
 *     zh_widen(p)         32 signed bytes
 *     zh_pair(p, q)       32 bytes each; zh_put(p, q, v) puts them there
 *     zw_halves(a, b)     the sum of a's halves, that of b's;   zw_quarters: of a's quarters 0 1, of 2 3, of b's 0 1, of 2 3;
 *                         zw_eighths: of a's eighths 0 1, of b's 0 1, of a's 2 3, ...
 *     zh_order(v, order)  v[order[i]]
 *
 *     scores   a word is a token: of 32 of them those of the lower bytes (i, 16 + i; i < 8), and of the upper ones (8 + i, 24 + i); of 64 at a time, which share
 *              what is loaded of a query
 *     mix      a word is a column: eight words of each of two columns are added up at the end, of sixteen columns at a time
 *
 * Queries are packed by the level below. Sums of a group are whole numbers: how they are made matters to nobody; what is rounded is said in kk.def. */
typedef zh page_vec;
enum { PAGE_ROWS = 64 };
#include "kernels/tmpl/pages.h"

/* Eight floats at p, then eight at q. */
static inline vf page_halves(const float *p, const float *q) { return (vf)zh_pair((const char *)p, (const char *)q); }
static inline void page_put(float *p, float *q, vf v) { zh_put((char *)p, (char *)q, (zh)v); }

/* --- scores --------------------------------------------------------------------------------------------------------------- */

/* 64 tokens with T queries; `next` bytes from 16 tokens to the next 16. Meanwhile what lies at `ahead` is asked for, as far on. */
#define PAGE_SCORES(T) \
static void page_scores_##T(float *y, size_t y_step, const char *code, size_t next, const float *scale, size_t at, size_t cols, const int32_t *q, size_t q_step, \
	const float *d, const char *ahead) \
{ \
	vf s[T][4]; \
	EACH(t, T) EACH(h, 4) \
		s[t][h] = vf_set(0); \
	for (size_t i = at, end; i < at + cols; scale += K_PAGE) { \
		zw a[T][4] = { { { 0 } } }; \
		for (end = page_group_end(i, at + cols); i < end; i += 2, code += PAGE_CELLS, ahead += PAGE_CELLS, q += q_step) { \
			zh x = zh_pair(code, code + next), z = zh_pair(code + 2 * next, code + 3 * next); \
			zh half[4] = { x << 8 >> 8, x >> 8, z << 8 >> 8, z >> 8 }; \
			const char *line = i & 2 ? ahead + next : ahead; \
			__builtin_prefetch(line, 0, 2); \
			__builtin_prefetch(line + 2 * next, 0, 2); \
			EACH(t, T) { \
				zh two = zh_both(q + t); \
				EACH(h, 4) \
					a[t][h] = zh_dot(a[t][h], half[h], two); \
			} \
		} \
		EACH(h, 4) { \
			const float *from = scale + 32 * (h / 2) + 8 * (h % 2); \
			vf by = page_halves(from, from + PAGE_TOKENS); \
			EACH(t, T) \
				s[t][h] = vf_fma(vf_int((vu)a[t][h]), by, s[t][h]); \
		} \
	} \
	EACH(t, T) EACH(h, 4) { \
		float *to = y + (size_t)t * y_step + 32 * (h / 2) + 8 * (h % 2); \
		page_put(to, to + PAGE_TOKENS, s[t][h] * vf_set(d[t])); \
	} \
}
PAGE_SCORES(1) PAGE_SCORES(2) PAGE_SCORES(3) PAGE_SCORES(4)

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

/* A number below 2^15 plus 1.5 2^23 has it, rounded, as its lower half: word 2 k and 2 k + 1 get those of tokens k and k + 8. */
static inline void page_weigh(zh *w, const float *p, float inv, const vf *scale)
{
	const zh halves = { 0, 16, 0, 16, 2, 18, 2, 18, 4, 20, 4, 20, 6, 22, 6, 22, 8, 24, 8, 24, 10, 26, 10, 26, 12, 28, 12, 28, 14, 30, 14, 30 };
	w[0] = zh_order((zh)(vf_load(p) * vf_set(inv) * scale[0] + 0x1.8p23f), halves);
}

/* Four times two columns for T queries: eight words of each, in turns; then a quarter for each two columns, of which the halves are still to be added. */
#define PAGE_MIX(T) \
static inline __attribute__((always_inline)) void page_eight_##T(zw to[T], const page_weights *w, const char *const *block, const size_t code[4], int blocks) \
{ \
	zw a[T][4] = { { { 0 } } }; \
	for (int i = 0; i < blocks; i++) { \
		zh x[4]; \
		EACH(k, 4) \
			x[k] = zh_widen(block[i] + code[k]); \
		EACH(t, T) EACH(k, 4) \
			a[t][k] = zh_dot(a[t][k], x[k], w->w[t][i][0]); \
	} \
	EACH(t, T) \
		to[t] = zw_quarters(zw_halves(a[t][0], a[t][1]), zw_halves(a[t][2], a[t][3])); \
} \
/* Columns of a group: sixteen at a time, of which the last ones may be fewer. */ \
static void page_mix_##T(float *y, size_t y_step, const page_weights *w, const float *unit, const char *const *block, size_t code, size_t cols, int blocks) \
{ \
	for (size_t j = 0, n; j < cols; j += n, code += 8 * PAGE_CELLS) { \
		size_t even[4], odd[4]; \
		zw a[T], b[T]; \
		n = K_MIN(cols - j, (size_t)VL); \
		EACH(k, 4) { \
			even[k] = (size_t)(4 * k) < n ? code + 2 * k * PAGE_CELLS : code; \
			odd[k] = (size_t)(4 * k + 2) < n ? code + (2 * k + 1) * PAGE_CELLS : code; \
		} \
		page_eight_##T(a, w, block, even, blocks); \
		page_eight_##T(b, w, block, odd, blocks); \
		EACH(t, T) { \
			zw sum = zw_eighths(a[t], b[t]); \
			page_add(y + (size_t)t * y_step + j, (vu)sum, unit[t], n); \
		} \
	} \
}
PAGE_MIX(1) PAGE_MIX(2) PAGE_MIX(4)

#define KK_OF_PAGES \
	.scores_i8 = KK_FN(scores_i8), \
	.mix_i8 = KK_FN(mix_i8)
