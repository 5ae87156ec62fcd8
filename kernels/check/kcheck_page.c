/* kcheck_page.c: attention on pages of int8: tokens that are appended, scores, mix.
 *
 * Beside the reference's bits: an element computed alone has the bits that it has among others; whatever later tokens hold does not show; and the
 * reference itself is held to the products of the values before they were rounded, by as much as rounding may be off. */
#include "libcore/base.h"
#include <float.h>
#include <math.h>
#include "kernels/check/kcheck.h"
#include "libcore/backend.h"

enum { SLOT_PAGE, SLOT_X, SLOT_Q, SLOT_Y, SLOT_WANT, SLOT_ALONE, SLOT_PACKED, SLOT_PACKED2, SLOT_P, SLOT_OTHER };

/* Pages of tokens x, of which `rows` are there; columns that are used; and the queries or weights that go with them. */
struct page {
	size_t width, at, cols, rows, n, y_step;
	float *x, *y, *p;
	const float *q[KK_QUERIES];
	void *page[KK_PAGES];                   /* in memory the first is the last */
};

static size_t bytes_of(const struct page *g) { return K_PAGE * k_kv_bytes(K_KV_INT8, (int64_t)g->width, k_kv_groups((int64_t)g->width)); }

/* Whatever was there: whole numbers of all kinds, scales that are none. */
static void spoil(struct run *r, const struct page *g, char *p)
{
	for (size_t i = 0; i < g->width * K_PAGE; i++)
		p[i] = (char)rnd(r);
	memset(p + g->width * K_PAGE, 0xff, bytes_of(g) - g->width * K_PAGE);
}

static void put_tokens(const struct kk *k, const struct page *g, void *const *page)
{
	for (size_t t = 0; t < g->rows; t++) {
		size_t first = g->width / 2;
		k->append_i8(page[t / K_PAGE], g->width, (int)(t % K_PAGE), g->x + t * g->width, first, g->x + t * g->width + first);
	}
}

static void new_page(struct run *r, struct page *g, enum data kind)
{
	size_t pages = K_MAX((g->rows + K_PAGE - 1) / K_PAGE, (size_t)1), bytes = bytes_of(g);
	where(r, "width=%zu at=%zu cols=%zu rows=%zu n=%zu", g->width, g->at, g->cols, g->rows, g->n);
	g->x = box_data(r, SLOT_X, g->rows * g->width, kind);
	char *p = box(r, SLOT_PAGE, pages * bytes / sizeof(float), sizeof(float));
	for (size_t i = 0; i < pages; i++) {
		char *page = p + (pages - 1 - i) * bytes;
		spoil(r, g, page);
		g->page[i] = page;
	}
	put_tokens(r->ref, g, g->page);
}

/* Sizes of all kinds: groups that are cut at the front, at the end, or both. */
static void draw(struct run *r, struct page *g)
{
	static const int widths[] = { 4, 28, 32, 36, 64, 68, 92, 96, 160, 192, 576 }, runs[] = { 0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 64 };
	*g = (struct page){ .width = PICK(r, widths), .rows = PICK(r, runs), .n = rnd_below(r, KK_QUERIES + 1) };
	g->at = 4 * rnd_below(r, g->width / 4);
	g->cols = 4 + 4 * rnd_below(r, (g->width - g->at) / 4);
	if (rnd(r) % 3 == 0) {
		g->at = 0;
		g->cols = g->width;
	}
}

/* --- append --------------------------------------------------------------------------------------------------------------- */

static void check_append(struct run *r, const void *how K_UNUSED)
{
	static const enum data kinds[] = { DATA_PLAIN, DATA_WIDE, DATA_FINITE, DATA_ANY, DATA_ZERO };
	for (int i = 0; i < 200; i++) {
		struct page g;
		draw(r, &g);
		new_page(r, &g, kinds[i % K_LEN(kinds)]);
		void *got = box(r, SLOT_OTHER, bytes_of(&g) / sizeof(float), sizeof(float));
		memcpy(got, g.page[0], bytes_of(&g));
		put_tokens(r->got, &g, (void *const[]){ got });
		same(r, "page", got, g.page[0], bytes_of(&g) / sizeof(float));
		box_check(r);
		/* No value is off by more than half a step. */
		const float *scale = (const float *)(const void *)((const char *)g.page[0] + g.width * K_PAGE);
		for (size_t k = 0; k < g.rows * g.width && i % K_LEN(kinds) == 0; k++) {
			size_t t = k / g.width, j = k % g.width;
			double d = scale[j / K_KV_GROUP * K_PAGE + t], v = (((const uint8_t *)g.page[0])[k_kv_int8_at((int64_t)g.width, (int64_t)t, (int64_t)j)] - 128) * d;
			if (!(fabs(v - g.x[k]) <= d * 0.5001))
				fail(r, "token %zu, value %zu: %g is kept as %g", t, j, (double)g.x[k], v);
		}
	}
}

/* --- scores --------------------------------------------------------------------------------------------------------------- */

static void new_queries(struct run *r, struct page *g, enum data kind)
{
	const float *q = box_data(r, SLOT_Q, g->n * g->cols, kind);
	for (size_t t = 0; t < g->n; t++)
		g->q[t] = q + t * g->cols;
}

static float *packed(struct run *r, const struct kk *k, int slot, const struct page *g, size_t t, size_t n)
{
	float *p = box_f(r, slot, KK_PACKED(g->cols));
	k->pack_queries_i8(p, g->q + t, (int)n, g->at, g->cols);
	return p;
}

/* Scores of queries and pages by the reference and by what is checked, each with its own packed queries; got has rows of *step. */
static void both_scores(struct run *r, const struct page *g, float **want, float **got, size_t *step)
{
	*step = K_PAGE + slack(r);
	*want = box_f(r, SLOT_WANT, g->n * K_PAGE);
	*got = box_f(r, SLOT_Y, span(g->n, *step, K_PAGE));
	r->ref->scores_i8(*want, K_PAGE, g->page[0], g->width, g->at, g->cols, (int)g->rows, packed(r, r->ref, SLOT_PACKED, g, 0, g->n), (int)g->n, NULL, 0);
	r->got->scores_i8(*got, *step, g->page[0], g->width, g->at, g->cols, (int)g->rows, packed(r, r->got, SLOT_PACKED2, g, 0, g->n), (int)g->n,
		rnd(r) % 2 ? g->page[0] : NULL, g->at + rnd_below(r, g->cols));
	for (size_t t = 0; t < g->n; t++)
		same(r, "y", *got + t * *step, *want + t * K_PAGE, g->rows);
}

/* How queries lie when they are ready is a level's own matter: whether they are right shows in scores. */
static void check_pack(struct run *r, const void *how K_UNUSED)
{
	static const enum data kinds[] = { DATA_PLAIN, DATA_WIDE, DATA_FINITE, DATA_ANY, DATA_ZERO };
	for (int i = 0; i < 100; i++) {
		struct page g;
		float *want, *got;
		size_t step;
		draw(r, &g);
		new_page(r, &g, DATA_PLAIN);
		new_queries(r, &g, kinds[i % K_LEN(kinds)]);
		both_scores(r, &g, &want, &got, &step);
		box_check(r);
	}
}

/* Half a step of one of n numbers. */
static double half_step(const float *x, size_t n)
{
	double top = 0;
	for (size_t i = 0; i < n; i++)
		top = fmax(top, fabs((double)x[i]));
	return top / 254;
}

/* By how much a score may be off: half a step of each value, and of each of the query's. */
static void plain_score(struct run *r, const struct page *g, size_t t, size_t row, double got)
{
	const float *x = g->x + row * g->width, *q = g->q[t] - g->at;
	double sum = 0, off = 0;
	for (size_t k = g->at, end = g->at + g->cols; k < end; k++) {
		size_t first = k / K_KV_GROUP * K_KV_GROUP, from = K_MAX(first, g->at), most = first + K_KV_GROUP;
		double dx = half_step(x + first, K_MIN(most, g->width) - first), dq = half_step(q + from, K_MIN(most, end) - from);
		sum += (double)x[k] * q[k];
		off += dx * fabs((double)q[k]) + dq * (fabs((double)x[k]) + dx);
	}
	if (!(fabs(got - sum) <= 1.001 * off))
		fail(r, "query %zu, token %zu: %g, wanted %g and at most %g off", t, row, got, sum, off);
}

static void check_scores(struct run *r, const void *how K_UNUSED)
{
	for (int i = 0; i < 200; i++) {
		struct page g;
		float *want, *got;
		size_t step;
		draw(r, &g);
		new_page(r, &g, DATA_PLAIN);
		new_queries(r, &g, DATA_PLAIN);
		both_scores(r, &g, &want, &got, &step);
		for (size_t t = 0; t < g.n; t++) {
			float *alone = box_f(r, SLOT_ALONE, K_PAGE);
			r->got->scores_i8(alone, K_PAGE, g.page[0], g.width, g.at, g.cols, (int)g.rows, packed(r, r->got, SLOT_PACKED2, &g, t, 1), 1, NULL, 0);
			same(r, "alone: y", alone, got + t * step, g.rows);
			for (size_t row = 0; row < g.rows; row++)
				plain_score(r, &g, t, row, got[t * step + row]);
		}
		box_check(r);
	}
}

/* --- mix ------------------------------------------------------------------------------------------------------------------ */

static void mix_part(const struct kk *k, const struct page *g, float *y, size_t t, size_t n, size_t j, size_t cols)
{
	k->mix_i8(y + t * g->y_step + j, g->y_step, g->p + t * KK_SCORES, (int)n, (const void *const *)g->page, g->width, g->at + j, cols, (int)g->rows,
		n > 1 ? (const void *const *)g->page : NULL);
}

/* By how much a sum may be off: half a step of each value, and of each weight, with its scale, a step of which the largest has KK_I8_WEIGHT. */
static void plain_mix(struct run *r, const struct page *g, size_t t, size_t j, double before, double got)
{
	double sum = before, off = 1e-6 * fabs(before), top = 0, most = 0;
	size_t group = (g->at + j) / K_KV_GROUP * K_KV_GROUP;
	for (size_t d = 0; d < g->rows; d++)
		top = fmax(top, g->p[t * KK_SCORES + d]);
	for (size_t k = 0; k < g->rows * g->width; k++)
		if (k % g->width / K_KV_GROUP * K_KV_GROUP == group)
			most = fmax(most, fabs((double)g->x[k]));
	for (size_t d = 0; d < g->rows; d++) {
		sum += (double)g->p[t * KK_SCORES + d] * g->x[d * g->width + g->at + j];
		off += most / 254 * g->p[t * KK_SCORES + d] + top * most / KK_I8_WEIGHT;
	}
	if (!(fabs(got - sum) <= 1.001 * off))
		fail(r, "query %zu, column %zu: %g, wanted %g and at most %g off", t, j, got, sum, off);
}

static void check_mix(struct run *r, const void *how K_UNUSED)
{
	for (int i = 0; i < 200; i++) {
		struct page g;
		draw(r, &g);
		size_t whole = K_PAGE * rnd_below(r, KK_PAGES + 1);
		g.rows = K_MIN(g.rows + whole, (size_t)KK_SCORES);
		new_page(r, &g, i % 10 ? DATA_PLAIN : DATA_ZERO);
		g.y_step = g.cols + slack(r);
		g.p = box_data(r, SLOT_P, g.n * KK_SCORES, DATA_PART);
		for (size_t k = 0; k < g.n * KK_SCORES; k++)
			g.p[k] = k % KK_SCORES >= k_align_up(g.rows, K_PAGE) ? NAN : k % KK_SCORES >= g.rows || rnd(r) % 8 == 0 ? 0 : g.p[k];
		size_t size = span(g.n, g.y_step, g.cols);
		g.y = box_data(r, SLOT_Y, size, DATA_PLAIN);
		float *want = box_copy(r, SLOT_WANT, g.y, size), *got = box_copy(r, SLOT_Q, g.y, size), *alone = box_copy(r, SLOT_ALONE, g.y, size);
		mix_part(r->ref, &g, want, 0, g.n, 0, g.cols);
		mix_part(r->got, &g, got, 0, g.n, 0, g.cols);
		same(r, "y", got, want, size);
		for (size_t t = 0, cut; t < g.n; t++)
			for (size_t at = 0; at < g.cols; at += cut) {
				cut = K_MIN(g.cols - at, 4 * piece(r, (g.cols - at) / 4));
				mix_part(r->got, &g, alone, t, 1, at, cut);
			}
		same(r, "alone: y", alone, got, size);
		for (size_t t = 0; t < g.n && i % 10; t++)
			for (size_t j = 0; j < g.cols; j++)
				plain_mix(r, &g, t, j, g.y[t * g.y_step + j], got[t * g.y_step + j]);
		box_check(r);
	}
}

/* --- time ----------------------------------------------------------------------------------------------------------------- */

struct timed { struct page g; float *packed; };

static void go_scores(const struct kk *k, void *arg)
{
	const struct timed *t = arg;
	k->scores_i8(t->g.y, K_PAGE, t->g.page[0], t->g.width, t->g.at, t->g.cols, (int)t->g.rows, t->packed, (int)t->g.n, t->g.page[0], t->g.at);
}

static void go_mix(const struct kk *k, void *arg)
{
	struct timed *t = arg;
	memset(t->g.y, 0, t->g.n * t->g.cols * sizeof(*t->g.y));
	mix_part(k, &t->g, t->g.y, 0, t->g.n, 0, t->g.cols);
}

static void go_pack(const struct kk *k, void *arg)
{
	struct timed *t = arg;
	k->pack_queries_i8(t->packed, t->g.q, (int)t->g.n, t->g.at, t->g.cols);
}

static void bench(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	static const struct { const char *what, *mix; size_t n, width, value; } sizes[] = {
		{ "32 queries, 64 rows, 576 columns", "32 queries, 256 rows, 512 columns", 32, 576, 512 },
		{ "4 queries, 64 rows, 160 columns", "4 queries, 256 rows, 128 columns", 4, 160, 128 } };
	void (*go)(const struct kk *, void *) = strcmp(how, "mix") == 0 ? go_mix : strcmp(how, "scores") == 0 ? go_scores : go_pack;
	struct run r = { .name = "bench", .level = "", .timed = true };
	struct kk kk;
	const char *level;
	struct k_err err;
	if (kk_select(&kk, &level, "ref", &err) < 0)
		return;
	r.ref = &kk;
	for (size_t i = 0; i < K_LEN(sizes); i++) {
		struct timed t = { .g = { .width = sizes[i].width, .cols = go == go_mix ? sizes[i].value : sizes[i].width, .rows = go == go_mix ? KK_SCORES : K_PAGE,
			.n = sizes[i].n } };
		t.g.y_step = t.g.cols;
		new_page(&r, &t.g, DATA_PLAIN);
		new_queries(&r, &t.g, DATA_PLAIN);
		t.packed = packed(&r, &kk, SLOT_PACKED, &t.g, 0, t.g.n);
		t.g.p = box_data(&r, SLOT_P, t.g.n * KK_SCORES, DATA_PART);
		t.g.y = box_f(&r, SLOT_Y, t.g.n * K_MAX(t.g.cols, (size_t)K_PAGE));
		time(ctx, &(struct bench){ go == go_mix ? sizes[i].mix : sizes[i].what, go, &t });
	}
}

const struct row kcheck_page[] = {
	{ "append_i8", check_append, NULL, NULL }, { "pack_queries_i8", check_pack, "pack", bench }, { "scores_i8", check_scores, "scores", bench },
	{ "mix_i8", check_mix, "mix", bench }, { .name = NULL },
};
