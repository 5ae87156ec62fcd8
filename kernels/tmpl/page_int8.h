/* page_int8.h: attention on pages of int8 (libcore/backend.h), for a level that has defined, beside what gemm.h and elem.h want,
 *
 *     PAGE_VECTORS       of tokens that scores take at once, an even number: sums of four queries fit the registers
 *     PAGE_PARTS         1: words are multiplied byte by byte (page_bytes.h); 2: as two times two halves
 *     page_codes(x, i)   part i of words of unsigned bytes;   page_values: of such that are 128 too large, signed
 *     page_query(w, c)   of each four words the lowest bytes, signed, as parts;   page_weights_of: the second ones, unsigned, four times
 *     page_four(p)       a word of parts in all
 *     page_dot(a, x, y)  a, and in each word the products of unsigned parts and signed ones;   page_dot_two: *a of x and y, *b of u and v
 *     page_order(x, o)   of each four words the bytes o
 *     page_max(a, b), page_most(v)   the larger of each two signed words; the largest of all
 *     page_fold(v)       of VL / 4 vectors the sums of the first words of their fours, of the second, ..., side by side
 *
 *     scores   a word is a token: four columns of it, the query's broadcast
 *     mix      a word is a column: four tokens of it, their weights in each of four columns; sums of fours of tokens are added up at the end
 *
 * Sums of a group are whole numbers, so that it matters to nobody how they are made; what is rounded is said in kk.def. */
#include "libcore/backend.h"

/* Tokens that lie together with four columns each, and their bytes; tokens of a tile of scores; vectors of a page's. */
enum { PAGE_TOKENS = 16, PAGE_BYTES = 64, PAGE_ROWS = PAGE_VECTORS * VL, PAGE_CELLS = VL / 4, PAGE_WHOLE = K_PAGE / VL };
_Static_assert(PAGE_VECTORS % 2 == 0, "scores take two vectors at a time");

/* VL tokens from the one at `code` on, `next` bytes from 16 tokens to the next 16. */
static inline vu page_load(const char *code, int token, size_t next)
{
	vu x;
	memcpy(&x, code + (size_t)(token / PAGE_TOKENS) * next + (size_t)(token % PAGE_TOKENS * 4), sizeof(x));
	return x;
}

static inline const float *page_scales(const void *page, size_t width, size_t column)
{
	return (const float *)(const void *)((const char *)page + k_kv_scales_at((int64_t)width, (int64_t)(column / K_KV_GROUP)));
}

/* Of each four words the first bytes, the second, ..., signed. */
static inline vu page_turn(vu x) { return page_order(x ^ 0x80808080, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)); }

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

static inline vu page_words(uint32_t x) { return (vu){ 0 } + x; }

/* --- scores --------------------------------------------------------------------------------------------------------------- */

/* What one step of a group of queries stands for. Three times it is a float too, so that sums that lie on top of KK_I8_ZERO come off by one fma. */
static inline float page_step(const float *q, size_t n)
{
	float d = page_top(q, n) / 127;
	uint32_t bits;
	memcpy(&bits, &d, sizeof(bits));
	bits &= ~3u;
	memcpy(&d, &bits, sizeof(d));
	return d <= KK_I8_STEP ? d : __builtin_nanf("");
}

/* Queries are ready four by four (KK_I8_QUERIES): of each group KK_I8_ZERO less 128 times their sum, as codes are 128 too large, the float that one step
 * stands for, and -1.5 2^23 times it; then of each four columns their parts. Numbers of a group of one query: */
static inline void page_pack(int32_t *to, const float *q, size_t n)
{
	float x[K_KV_GROUP] = { 0 }, d = page_step(q, n), inv = d > __FLT_MIN__ ? 1 / d : 0, zero = -0x1.8p23f * d;
	int32_t *word = to + 3 * KK_I8_QUERIES, c[K_KV_GROUP], sum = 0;
	if (inv > 0)
		memcpy(x, q, n * sizeof(*x));
	for (size_t k = 0; k < n; k += VL) {
		vu part[PAGE_PARTS], v = (vu)(vf_load(x + k) * vf_set(inv) + vf_set(0x1.8p23f)) - KK_I8_ZERO;
		memcpy(c + k, &v, sizeof(v));
		page_query(part, v);
		EACH(i, PAGE_PARTS) {
			int32_t fours[VL];
			memcpy(fours, part + i, sizeof(fours));
			for (size_t j = 0; j < VL && k + j < n; j += 4)
				word[((k + j) / 4 * PAGE_PARTS + (size_t)i) * KK_I8_QUERIES] = fours[j];
		}
	}
	for (size_t k = 0; k < n; k++)
		sum += c[k];
	*to = KK_I8_ZERO - 128 * sum;
	memcpy(to + KK_I8_QUERIES, &d, sizeof(d));
	memcpy(to + 2 * KK_I8_QUERIES, &zero, sizeof(zero));
}

/* Words of four queries that are ready. */
static inline size_t page_packed(size_t at, size_t cols)
{
	size_t groups = (at + cols + K_KV_GROUP - 1) / K_KV_GROUP - at / K_KV_GROUP;
	return KK_I8_QUERIES * (3 * groups + cols / 4 * PAGE_PARTS);
}

static void KK_FN(pack_queries_i8)(float *y, const float *const *q, int n, size_t at, size_t cols)
{
	for (int t = 0; t < n; t++) {
		int32_t *to = (int32_t *)y + (size_t)(t / KK_I8_QUERIES) * page_packed(at, cols) + t % KK_I8_QUERIES;
		for (size_t i = at, end; i < at + cols; i = end) {
			end = page_group_end(i, at + cols);
			page_pack(to, q[t] + (i - at), end - i);
			to += page_packed(i, end - i);
		}
	}
}

/* Four columns of PAGE_ROWS tokens; `ask`, for each vector v, goes between. */
#define PAGE_COLUMNS(T, ask) \
	EACH(p, PAGE_PARTS) { \
		vu x[PAGE_VECTORS]; \
		EACH(v, PAGE_VECTORS) { \
			x[v] = page_codes(page_load(code, v * VL, next), p); \
			ask; \
		} \
		EACH(t, T) { \
			vu four = page_four(q + t); \
			EACH(v, PAGE_VECTORS / 2) \
				page_dot_two(&a[t][2 * v], x[2 * v], four, &a[t][2 * v + 1], x[2 * v + 1], four); \
		} \
		q += KK_I8_QUERIES; \
	}

/* PAGE_ROWS tokens with T queries. Meanwhile columns from `fresh` on, and scales, are asked for that lie `ahead` bytes away: by a loop of their own, as a
 * hint for each vector costs the others a sixth of their time. */
#define PAGE_SCORES(T) \
static void page_scores_##T(float *y, size_t y_step, const char *code, size_t next, const float *scale, size_t at, size_t cols, const int32_t *q, ptrdiff_t ahead, size_t fresh) \
{ \
	vf s[T][PAGE_VECTORS]; \
	EACH(t, T) EACH(v, PAGE_VECTORS) \
		s[t][v] = vf_set(0); \
	for (size_t i = at, end; i < at + cols; scale += K_PAGE) { \
		const int32_t *group = q; \
		vu a[T][PAGE_VECTORS]; \
		EACH(t, T) EACH(v, PAGE_VECTORS) \
			a[t][v] = page_words((uint32_t)q[t]); \
		q += 3 * KK_I8_QUERIES; \
		end = page_group_end(i, at + cols); \
		for (; i < K_MIN(end, fresh); i += 4, code += PAGE_BYTES) \
			PAGE_COLUMNS(T, (void)0); \
		for (; i < end; i += 4, code += PAGE_BYTES) \
			PAGE_COLUMNS(T, if (p == 0 && v * VL % PAGE_TOKENS == 0) __builtin_prefetch(code + ahead + (size_t)(v * VL / PAGE_TOKENS) * next, 0, 2)); \
		EACH(v, PAGE_VECTORS) { \
			vf by = vf_load(scale + v * VL); \
			if (v * VL % PAGE_TOKENS == 0) \
				__builtin_prefetch((const char *)(scale + v * VL) + ahead, 0, 2); \
			EACH(t, T) { \
				float d, zero; \
				memcpy(&d, group + KK_I8_QUERIES + t, sizeof(d)); \
				memcpy(&zero, group + 2 * KK_I8_QUERIES + t, sizeof(zero)); \
				s[t][v] = vf_fma(vf_fma((vf)a[t][v], vf_set(d), vf_set(zero)), by, s[t][v]); \
			} \
		} \
	} \
	EACH(t, T) EACH(v, PAGE_VECTORS) \
		vf_store(y + (size_t)t * y_step + v * VL, s[t][v]); \
}
PAGE_SCORES(1) PAGE_SCORES(2) PAGE_SCORES(3) PAGE_SCORES(4)

typedef void page_scores(float *y, size_t y_step, const char *code, size_t next, const float *scale, size_t at, size_t cols, const int32_t *q, ptrdiff_t ahead,
	size_t fresh);

static void KK_FN(scores_i8)(float *y, size_t y_step, const void *page, size_t width, size_t at, size_t cols, int rows, const float *q, int n,
	const void *ahead, size_t fresh)
{
	static page_scores *const tiles[] = { page_scores_1, page_scores_2, page_scores_3, page_scores_4 };
	ptrdiff_t distance = ahead ? (const char *)ahead - (const char *)page : 0;
	for (int r = 0; r < rows; r += PAGE_ROWS)
		for (int t = 0; t < n; t += KK_I8_QUERIES) {
			const char *code = (const char *)page + (size_t)r * width + at / 4 * PAGE_BYTES;
			tiles[K_MIN(n - t, (int)KK_I8_QUERIES) - 1](y + (size_t)t * y_step + r, y_step, code, PAGE_TOKENS * width, page_scales(page, width, at) + r, at, cols,
				(const int32_t *)q + (size_t)(t / KK_I8_QUERIES) * page_packed(at, cols), t ? 0 : distance, t ? at + cols : fresh);
		}
}

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

/* Weights of queries on pages, in the order of their cells. */
typedef struct { vu w[KK_PAGES * PAGE_WHOLE][KK_I8_QUERIES][PAGE_PARTS]; } page_weights;

/* VL columns take what whole numbers stand for; n of them, at an end. */
static inline void page_add(float *y, vu sum, float unit) { vf_store(y, vf_fma(vf_int(sum), vf_set(unit), vf_load(y))); }
static __attribute__((noinline)) void page_add_end(float *y, vu sum, float unit, size_t n)
{
	float out[VL] = { 0 };
	memcpy(out, y, n * sizeof(*out));
	page_add(out, sum, unit);
	memcpy(y, out, n * sizeof(*out));
}

/* Codes of a group of columns: `cols` of them, `code` bytes from where each page begins; those of 16 tokens are `next` bytes from those of the 16 before.
 * Where there are many queries the first ones leave them turned at `keep`, as pages that have no other columns. */
typedef struct {
	const void *const *page, *const *ahead;
	int pages;
	size_t next, code, cols;
	char *keep;
} page_group;
enum { PAGE_KEPT = K_KV_GROUP / 4 * PAGE_BYTES };

/* A group for T queries, VL columns at a time, of which the last ones may be fewer. Meanwhile what lies at `ahead` is asked for. */
#define PAGE_MIX(name, T, kept, keeps) \
static void page_mix_##name(float *y, size_t y_step, const page_weights *w, const float *unit, const page_group *of) \
{ \
	for (size_t j = 0, n; j < of->cols; j += n) { \
		const vu (*by)[KK_I8_QUERIES][PAGE_PARTS] = w->w; \
		const size_t code = of->code + j / 4 * PAGE_BYTES; \
		char *keep = of->keep + j / 4 * PAGE_BYTES; \
		vu a[T][PAGE_CELLS]; \
		size_t at[PAGE_CELLS]; \
		n = K_MIN(of->cols - j, (size_t)VL); \
		EACH(k, PAGE_CELLS) { \
			at[k] = (size_t)(4 * k) < n ? (size_t)k * PAGE_BYTES : 0; \
			EACH(t, T) \
				a[t][k] = page_words(0); \
		} \
		for (int g = 0; g < of->pages; g++) { \
			const char *from = (const char *)of->page[g] + code, *later = (const char *)of->ahead[g] + code; \
			_Pragma("GCC unroll 1") \
			for (int b = 0; b < K_PAGE / PAGE_TOKENS; b++, from += of->next, later += of->next, keep += PAGE_KEPT) \
				EACH(v, PAGE_TOKENS / VL) { \
					EACH(k, PAGE_CELLS) { \
						vu x = page_load(from + at[k], v * VL, 0); \
						if (!(kept)) { \
							x = page_turn(x); \
							if (v == 0) \
								__builtin_prefetch(later + at[k], 0, 2); \
						} \
						if (keeps) \
							memcpy(keep + at[k] + (size_t)(v * VL) * sizeof(uint32_t), &x, sizeof(x)); \
						EACH(i, PAGE_PARTS) { \
							vu part = page_values(x, i); \
							EACH(t, T / 2) \
								page_dot_two(&a[2 * t][k], (*by)[2 * t][i], part, &a[2 * t + 1][k], (*by)[2 * t + 1][i], part); \
							if (T % 2) \
								a[T - 1][k] = page_dot(a[T - 1][k], (*by)[T - 1][i], part); \
						} \
					} \
					by++; \
				} \
		} \
		EACH(t, T) { \
			float *to = y + (size_t)t * y_step + j; \
			if (n == VL) \
				page_add(to, page_fold(a[t]), unit[t]); \
			else \
				page_add_end(to, page_fold(a[t]), unit[t], n); \
		} \
	} \
}
PAGE_MIX(1, 1, false, false) PAGE_MIX(2, 2, false, false) PAGE_MIX(4, 4, false, false) PAGE_MIX(first, 4, false, true) PAGE_MIX(next, 4, true, false)

typedef void page_mix(float *y, size_t y_step, const page_weights *w, const float *unit, const page_group *of);

/* 1.5 2^15, whose lowest bits count in 256ths, and the dither of each token. */
#define PAGE_DITHER(r) 0x1.8p15f + KK_I8_DITHER(r), 0x1.8p15f + KK_I8_DITHER(r + 1), 0x1.8p15f + KK_I8_DITHER(r + 2), 0x1.8p15f + KK_I8_DITHER(r + 3)
#define PAGE_DITHERS(r) PAGE_DITHER(r), PAGE_DITHER(r + 4), PAGE_DITHER(r + 8), PAGE_DITHER(r + 12)
static const float page_dither[K_PAGE] = { PAGE_DITHERS(0), PAGE_DITHERS(16), PAGE_DITHERS(32), PAGE_DITHERS(48) };

/* Where the scales of the group that a column belongs to are; of a page that `rows` end within in `last`, with 0 behind them. */
static inline void page_find_scales(const float **scale, float *last, const void *const *page, size_t width, size_t column, int rows)
{
	EACH(g, KK_PAGES)
		scale[g] = page_scales(page[K_MIN(g, (rows - 1) / K_PAGE)], width, column);
	if (rows % K_PAGE) {
		memset(last, 0, K_PAGE * sizeof(*last));
		memcpy(last, scale[rows / K_PAGE], (size_t)(rows % K_PAGE) * sizeof(*last));
		scale[rows / K_PAGE] = last;
	}
}

/* m queries' weights times the scales of a group, and what one step of each stands for. What is not below 0 is in the order of its bits, NaN above all. */
static inline void page_weigh(page_weights *w, float *unit, int m, const float *p, const float *const *scale, int pages)
{
	float inv[KK_I8_QUERIES];
	for (int t = 0; t < m; t++) {
		vu top = page_words(0);
		for (int g = 0; g < pages; g++)
			EACH(v, PAGE_WHOLE) {
				vu x = (vu)(vf_load(p + t * KK_SCORES + g * K_PAGE + v * VL) * vf_load(scale[g] + v * VL));
				w->w[g * PAGE_WHOLE + v][t][0] = x;
				top = page_max(top, x);
			}
		int32_t bits = page_most(top);
		memcpy(&unit[t], &bits, sizeof(bits));
		inv[t] = unit[t] > 0x1p-100f ? KK_I8_WEIGHT / unit[t] : 0;
		unit[t] = unit[t] <= __FLT_MAX__ ? unit[t] * (1.0f / KK_I8_WEIGHT) : __builtin_nanf("");
	}
	for (int t = 0; t < m; t++)
		for (int g = 0; g < pages; g++)
			EACH(v, PAGE_WHOLE)
				page_weights_of(w->w[g * PAGE_WHOLE + v][t], (vu)vf_fma((vf)w->w[g * PAGE_WHOLE + v][t][0], vf_set(inv[t]), vf_load(page_dither + v * VL)));
}

static void KK_FN(mix_i8)(float *y, size_t y_step, const float *p, int n, const void *const *page, size_t width, size_t at, size_t cols, int rows,
	const void *const *ahead)
{
	static page_mix *const tiles[] = { page_mix_1, page_mix_2, page_mix_2, page_mix_4 };    /* of three queries two, then one */
	int pages = (rows + K_PAGE - 1) / K_PAGE;
	vu room[KK_PAGES * (K_PAGE / PAGE_TOKENS) * PAGE_KEPT / sizeof(vu)];
	const void *kept[KK_PAGES];
	EACH(g, KK_PAGES)
		kept[g] = (char *)room + g * (K_PAGE / PAGE_TOKENS) * PAGE_KEPT;
	for (size_t i = at, end; i < at + cols; i = end) {
		const float *scale[KK_PAGES];
		float last[K_PAGE];
		end = page_group_end(i, at + cols);
		page_find_scales(scale, last, page, width, i, rows);
		page_group first = { page, ahead ? ahead : page, pages, PAGE_TOKENS * width, i / 4 * PAGE_BYTES, end - i, (char *)room };
		page_group next = { kept, kept, pages, PAGE_KEPT, 0, end - i, (char *)room };
		for (int t = 0, m; t < n; t += m) {
			float unit[KK_I8_QUERIES];
			page_weights w;
			m = n - t < KK_I8_QUERIES ? K_MIN(n - t, 2) : KK_I8_QUERIES;
			page_weigh(&w, unit, m, p + t * KK_SCORES, scale, pages);
			page_mix *tile = m < KK_I8_QUERIES || n < 2 * KK_I8_QUERIES ? tiles[m - 1] : t ? page_mix_next : page_mix_first;
			tile(y + (size_t)t * y_step + (i - at), y_step, &w, unit, tile == page_mix_next ? &next : &first);
			first.ahead = page;
		}
	}
}

#define KK_OF_PAGES \
	.pack_queries_i8 = KK_FN(pack_queries_i8), \
	.scores_i8 = KK_FN(scores_i8), \
	.mix_i8 = KK_FN(mix_i8)
