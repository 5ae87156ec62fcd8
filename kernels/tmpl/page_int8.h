/* page_int8.h: attention on pages of int8 (libcore/backend.h), 16 tokens and two columns a vector of 32 bytes: one form for all levels, so that
 * only one above the first with vectors has its own (page_zmm.h). For a level that has defined, beside what gemm.h wants,
 *
 *     vh                16 signed halves of words
 *     vh_dot(a, x, y)   a, 8 words, plus in each the products of its two halves
 *     vh_widen(p)       16 signed bytes
 *
 *     scores   a word is a token: halves are two columns of it, the query's broadcast        the upper and the lower bytes: tokens i + 8 and i
 *     mix      a word is a column: halves are tokens i and i + 8, their weights beside       bytes widened as they lie
 *              each other, twice; four partial sums of a column are added up at its end
 *
 * Sums of a group are whole numbers, so that it matters to nobody how they are made; what is rounded is said in kk.def. */
typedef vh page_vec;
enum { PAGE_ROWS = 16 };
#include "kernels/tmpl/pages.h"

/* Numbers up to 2^22, rounded; others become anything. */
static inline i8_words page_round(vf x) { return (i8_words)(x + 0x1.8p23f) - 0x4b400000; }

/* --- scores --------------------------------------------------------------------------------------------------------------- */

static inline i8_words page_halves(i8_words low, i8_words high) { return (low & 0xffff) | high << 16; }

/* n columns of one query, up to 8: its pairs go to every `step`-th word. */
static inline void page_pack(int32_t *to, size_t step, vf q, float inv, size_t n)
{
	i8_words c = inv > 0 ? page_round(q * inv) : (i8_words){ 0 };
	c = page_halves(c, __builtin_shufflevector(c, c, 1, 1, 3, 3, 5, 5, 7, 7));
	EACH(k, 4)
		if ((size_t)(2 * k) < n)
			to[(size_t)k * step] = c[2 * k];
}

static void KK_FN(pack_queries_i8)(float *y, const float *const *q, int n, size_t cols)
{
	size_t all = (size_t)((n + KK_I8_QUERIES - 1) / KK_I8_QUERIES * KK_I8_QUERIES), whole = cols / 8 * 8;
	int32_t *to = (int32_t *)(y + KK_QUERIES);
	memset(y, 0, all * sizeof(*y));
	for (size_t k = 0; k < cols / 2; k++)
		memset(to + k * all + n, 0, (all - (size_t)n) * sizeof(*to));
	for (int t = 0; t < n; t++) {
		float end[8] = { 0 };
		for (size_t k = whole; k < cols; k++)
			end[k - whole] = q[t][k];
		end[7] = page_top(q[t], whole);         /* an even number of columns leaves at most 6 */
		float d = (cols > whole ? page_top(end, 8) : end[7]) / 32767, inv = d > __FLT_MIN__ && d <= __FLT_MAX__ ? 1 / d : 0;
		y[t] = d <= __FLT_MAX__ ? d : __builtin_nanf("");
		for (size_t k = 0; k < whole; k += 8)
			page_pack(to + k / 2 * all + t, all, vf_load(q[t] + k), inv, 8);
		if (cols > whole)
			page_pack(to + whole / 2 * all + t, all, vf_load(end), inv, cols - whole);
	}
}

/* 16 tokens with T queries. Meanwhile what lies at `ahead` is asked for. */
#define PAGE_SCORES(T) \
static void page_scores_##T(float *y, size_t y_step, const char *code, size_t next K_UNUSED, const float *scale, size_t at, size_t cols, const int32_t *q, size_t q_step, const float *d, \
	const char *ahead) \
{ \
	vf s[T][2]; \
	EACH(t, T) EACH(h, 2) \
		s[t][h] = vf_set(0); \
	for (size_t i = at, end; i < at + cols; scale += K_PAGE) { \
		i8_words a[T][2] = { 0 }; \
		for (end = page_group_end(i, at + cols); i < end; i += 2, code += PAGE_CELLS, ahead += PAGE_CELLS, q += q_step) { \
			vh x, half[2]; \
			memcpy(&x, code, sizeof(x)); \
			__builtin_prefetch(ahead); \
			half[0] = x << 8 >> 8; \
			half[1] = x >> 8; \
			EACH(t, T) { \
				i8_words two = (i8_words){ 0 } + q[t]; \
				EACH(h, 2) \
					a[t][h] = vh_dot(a[t][h], half[h], (vh)two); \
			} \
		} \
		EACH(t, T) EACH(h, 2) \
			s[t][h] = vf_fma(vf_int((vu)a[t][h]), vf_load(scale + 8 * h), s[t][h]); \
	} \
	EACH(t, T) EACH(h, 2) \
		vf_store(y + (size_t)t * y_step + 8 * h, s[t][h] * vf_set(d[t])); \
}
PAGE_SCORES(1) PAGE_SCORES(2) PAGE_SCORES(3) PAGE_SCORES(4)

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

static inline void page_weigh(vh *w, const float *p, float inv, const vf *scale)
{
	i8_words c = page_halves(page_round(vf_load(p) * vf_set(inv) * scale[0]), page_round(vf_load(p + 8) * vf_set(inv) * scale[1]));
	w[0] = (vh)__builtin_shufflevector(c, c, 0, 0, 1, 1, 2, 2, 3, 3);
	w[1] = (vh)__builtin_shufflevector(c, c, 4, 4, 5, 5, 6, 6, 7, 7);
}

/* Of four columns and T queries the sums of the halves of a vector: columns 0 1 2 3 | 0 1 2 3. left, right: of two columns each. */
#define PAGE_FOUR(T) \
static inline __attribute__((always_inline)) void page_four_##T(i8_words to[T], const page_weights *w, const char *const *block, size_t left, size_t right, \
	int blocks) \
{ \
	i8_words a[T][2] = { 0 }; \
	for (int i = 0; i < blocks; i++) \
		EACH(h, 2) { \
			vh x = vh_widen(block[i] + left + 16 * h), z = vh_widen(block[i] + right + 16 * h); \
			EACH(t, T) { \
				a[t][0] = vh_dot(a[t][0], x, w->w[t][i][h]); \
				a[t][1] = vh_dot(a[t][1], z, w->w[t][i][h]); \
			} \
		} \
	EACH(t, T) \
		to[t] = __builtin_shufflevector(a[t][0], a[t][1], 0, 1, 8, 9, 4, 5, 12, 13) + \
			__builtin_shufflevector(a[t][0], a[t][1], 2, 3, 10, 11, 6, 7, 14, 15); \
} \
/* Columns of a group: eight at a time, of which the last ones may be fewer. */ \
static void page_mix_##T(float *y, size_t y_step, const page_weights *w, const float *unit, const char *const *block, size_t code, size_t cols, int blocks) \
{ \
	for (size_t j = 0, n; j < cols; j += n, code += 4 * PAGE_CELLS) { \
		i8_words a[T], b[T]; \
		n = K_MIN(cols - j, (size_t)8); \
		page_four_##T(a, w, block, code, n > 2 ? code + PAGE_CELLS : code, blocks); \
		page_four_##T(b, w, block, n > 4 ? code + 2 * PAGE_CELLS : code, n > 6 ? code + 3 * PAGE_CELLS : code, blocks); \
		EACH(t, T) { \
			i8_words sum = __builtin_shufflevector(a[t], b[t], 0, 1, 2, 3, 8, 9, 10, 11) + \
				__builtin_shufflevector(a[t], b[t], 4, 5, 6, 7, 12, 13, 14, 15); \
			page_add(y + (size_t)t * y_step + j, (vu)sum, unit[t], n); \
		} \
	} \
}
PAGE_FOUR(1) PAGE_FOUR(2) PAGE_FOUR(4)

#define KK_OF_PAGES \
	.pack_queries_i8 = KK_FN(pack_queries_i8), \
	.scores_i8 = KK_FN(scores_i8), \
	.mix_i8 = KK_FN(mix_i8)
