/* kcheck_mat.c: kernels on rows and matrices, one checker a family: gemm (f32, bf16, bf16_bf16, as stored, x16), unpack, rope, conv_silu.
 *
 * Beside the reference's values: steps wider than rows leave the gaps alone, and a part (one row, one token, one column) computed
 * alone has the bits that it has among others. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/check/kcheck.h"
#include "libcore/dtype.h"

enum { SLOT_W, SLOT_Y, SLOT_X, SLOT_WANT, SLOT_ALONE, SLOT_B, SLOT_TERMS, SLOT_TERMS2, SLOT_MORE, SLOT_READY, SLOT_READY2 };

static const int few[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
static const int sides[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33 };
static const int depths[] = { 0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 255, 576, 1023, 1024, 1025, 1040, 2047, 2048, 2049 };

/* Random values where the type can be made, else random bytes that its check lets pass: when many tries did not, none with large
 * exponents, and then small numbers of 16 bits (zero points). */
static void new_granule(struct run *r, const struct k_qtype *t, void *p, int64_t cols, int rows)
{
	size_t n = t->granule_bytes(cols, rows);
	struct k_quant_opts o = { .scale = rnd(r) & 1 ? K_SCALE_AMAX7 : K_SCALE_AMAX75 };
	struct k_err err;
	for (int tries = 0; tries < 1000; tries++) {
		if (t->quant) {
			float *x = box_data(r, SLOT_X, (size_t)(rows * cols), DATA_PLAIN);
			K_ASSERT(t->quant(p, x, cols, rows, &o, &err) == 0);
			return;
		}
		for (size_t i = 0; i < n; i++)
			((uint8_t *)p)[i] = (uint8_t)(rnd(r) & (tries < 20 ? 0xff : tries < 500 ? 0xbf : i % 2 ? 0 : 0x0f));
		if (!t->check || t->check(p, cols, rows, &err) == 0)
			return;
	}
	k_bug("no random bytes pass");
}

/* --- gemm --------------------------------------------------------------------------------------------------------------- */

enum { TOKENS = 100 };

typedef void packed_gemm(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols);
typedef void make_ready(float *y, const float *x, size_t cols);

/* What a kernel multiplies with; rows and columns come in multiples. Of packed weights also which entries of struct kk they are. */
struct stored { const char *type, *layout; size_t rows, cols, gemm, ready, group; }; /* layout NULL: rows of numbers, with a step; group: its bytes */
#define PACKED(type, cols, group, name) { type, "x16", 16, cols, offsetof(struct kk, gemm_##name), offsetof(struct kk, ready_##name), group }
static const struct stored as_f32 = { "f32", NULL, 1, 1, 0, 0, 0 }, as_bf16 = { "bf16", NULL, 1, 1, 0, 0, 0 },
	as_bf16_bf16 = { "bf16", NULL, 1, 1, offsetof(struct kk, gemm_bf16_bf16), offsetof(struct kk, ready_bf16), 0 },
	as_i8row = { "i8row", "rows", 1, 1, 0, 0, 0 }, as_mxfp4 = { "mxfp4", "rows", 1, 32, 0, 0, 0 }, as_fp8b128 = { "fp8b128", "rows", 1, 1, 0, 0, 0 },
	as_i4x16 = PACKED("i4g32", 64, 18, i4x16), as_i4x16_bf16 = PACKED("i4g32", 64, 18, i4x16_bf16), as_i4x16_int8 = PACKED("i4g32", 64, 18, i4x16_int8),
	as_mx4x16 = PACKED("mxfp4", 128, 17, mx4x16), as_mx4x16_bf16 = PACKED("mxfp4", 128, 17, mx4x16_bf16),
	as_mx4x16_int8 = PACKED("mxfp4", 128, 17, mx4x16_int8);

static packed_gemm *gemm_of(const struct kk *k, const struct stored *as)
{
	packed_gemm *fn;
	memcpy(&fn, (const char *)k + as->gemm, sizeof(fn));
	return fn;
}

static make_ready *ready_of(const struct kk *k, const struct stored *as)
{
	make_ready *fn;
	memcpy(&fn, (const char *)k + as->ready, sizeof(fn));
	return fn;
}

struct gemm {
	const struct stored *as;
	size_t rows, n, cols, w_step, y_step;
	const void *w;
	const float *values;            /* of granules, without gaps */
	const float *x[TOKENS];
	const float *ready[TOKENS];      /* beside packed weights: x as the level whose turn it is wants it */
	float *y;
};

static void gemm_ready(struct run *r, const struct kk *k, struct gemm *g, int slot)
{
	if (!g->as->ready)
		return;
	float *to = box_f(r, slot, g->n * KK_READY(g->cols));
	for (size_t t = 0; t < g->n; t++, to += KK_READY(g->cols)) {
		ready_of(k, g->as)(to, g->x[t], g->cols);
		g->ready[t] = to;
	}
}

static void gemm_part(const struct kk *k, const struct gemm *g, float *y, size_t y_step, size_t row, size_t rows, size_t t, size_t n)
{
	if (g->as == &as_bf16_bf16)
		k->gemm_bf16_bf16(y, y_step, (const uint16_t *)g->w + row * g->w_step, g->w_step, (int)rows, g->ready + t, (int)n, g->cols);
	else if (g->as->ready)
		gemm_of(k, g->as)(y, y_step, (const char *)g->w + row * (g->cols / 32) * g->as->group, (int)rows, g->ready + t, (int)n, g->cols);
	else if (g->as == &as_i8row)
		k->gemm_i8row(y, y_step, (const char *)g->w + row * (g->cols + sizeof(float)), (int)rows, g->x + t, (int)n, g->cols);
	else if (g->as == &as_mxfp4)
		k->gemm_mxfp4(y, y_step, (const char *)g->w + row * (g->cols / 32 * 17), (int)rows, g->x + t, (int)n, g->cols);
	else if (g->as == &as_fp8b128)
		k->gemm_fp8b128(y, y_step, g->w, (int)row, (int)rows, g->x + t, (int)n, g->cols);
	else if (g->as == &as_bf16)
		k->gemm_bf16(y, y_step, (const uint16_t *)g->w + row * g->w_step, g->w_step, (int)rows, g->x + t, (int)n, g->cols);
	else
		k->gemm_f32(y, y_step, (const float *)g->w + row * g->w_step, g->w_step, (int)rows, g->x + t, (int)n, g->cols);
}

static void new_granules(struct run *r, struct gemm *g)
{
	const struct k_qtype *t = k_qtype_find(g->as->type, g->as->layout);
	size_t in = t->full_granules ? (size_t)t->granule : K_MAX(K_MIN((size_t)t->granule, g->rows), (size_t)1);
	size_t bytes = t->granule_bytes((int64_t)g->cols, (int)in);
	K_ASSERT(g->rows % in == 0);
	char *p = box(r, SLOT_W, g->rows / in * bytes, 1);
	float *values = box_f(r, SLOT_TERMS2, g->rows * g->cols);
	g->w = p;
	g->values = values;
	for (size_t i = 0; i < g->rows; i++, values += g->cols) {
		if (i % in == 0)
			new_granule(r, t, p + i / in * bytes, (int64_t)g->cols, (int)in);
		t->dequant(values, p + i / in * bytes, (int64_t)g->cols, (int)in, (int)(i % in));
	}
}

static bool is_bf16(const struct gemm *g) { return g->as == &as_bf16 || g->as == &as_bf16_bf16; }

static float weight_at(const struct gemm *g, size_t i, size_t k)
{
	size_t at = i * g->w_step + k;
	if (g->values)
		return g->values[i * g->cols + k];
	return is_bf16(g) ? k_bf16_to_f32(((const uint16_t *)g->w)[at]) : ((const float *)g->w)[at];
}

static void new_gemm(struct run *r, struct gemm *g)
{
	enum data kind = rnd(r) % 4 ? DATA_PLAIN : DATA_WIDE;
	size_t w, all, pad;
	g->w_step = g->cols + slack(r);
	g->y_step = g->rows + slack(r);
	w = span(g->rows, g->w_step, g->cols);
	g->values = NULL;
	if (g->as->layout) {
		new_granules(r, g);
	} else if (is_bf16(g)) {
		uint16_t *p = box(r, SLOT_W, w, sizeof(*p));
		for (size_t i = 0; i < w; i++) {
			float f;
			fill(r, &f, 1, kind);
			p[i] = k_bf16_from_f32(f);
		}
		g->w = p;
	} else {
		g->w = box_data(r, SLOT_W, w, kind);
	}
	/* Tokens lie in one box, the last against its end, in an order that is not theirs. */
	pad = r->timed ? 0 : 3;
	all = g->n * (g->cols + pad);
	float *x = box_data(r, SLOT_X, all ? all - pad : 0, DATA_PLAIN);
	for (size_t t = 0; t < g->n; t++)
		g->x[t] = x + (g->n - 1 - t) * (g->cols + pad);
}

/* By token, row by row. */
static const double *gemm_terms(struct run *r, const struct gemm *g)
{
	double *terms = box(r, SLOT_TERMS, g->n * g->rows, sizeof(*terms)), *to = terms;
	for (size_t t = 0; t < g->n; t++)
		for (size_t i = 0; i < g->rows; i++) {
			double s = 0;
			for (size_t k = 0; k < g->cols; k++)
				s += square((double)weight_at(g, i, k) * (double)g->x[t][k]);
			*to++ = s;
		}
	return terms;
}

/* Each element alone, or as few as there can be; then some block of rows and tokens. */
static void gemm_alone(struct run *r, const struct gemm *g)
{
	size_t unit = g->as->rows;
	for (size_t t = 0; t < g->n; t++)
		for (size_t i = 0; i < g->rows; i += unit) {
			float few[16];
			if (g->n * g->rows > 300 && rnd(r) % 16)
				continue;
			gemm_part(r->got, g, few, unit, i, unit, t, 1);
			same(r, "alone: y", few, g->y + t * g->y_step + i, unit);
		}
	if (!g->n || !g->rows)
		return;
	size_t row = rnd_below(r, g->rows) / unit * unit, rows = (1 + rnd_below(r, (g->rows - row) / unit)) * unit;
	size_t t = rnd_below(r, g->n), n = 1 + rnd_below(r, g->n - t);
	float *y = box_f(r, SLOT_ALONE, n * rows);
	gemm_part(r->got, g, y, rows, row, rows, t, n);
	for (size_t i = 0; i < n; i++)
		same(r, "in a block: y", y + i * rows, g->y + (t + i) * g->y_step + row, rows);
}

/* A NaN in one token stays there. */
static void gemm_poison(struct run *r, struct gemm *g)
{
	if (g->n < 2 || !g->cols)
		return;
	size_t bad = rnd_below(r, g->n);
	const float *x = g->x[bad];
	float *nan = box_data(r, SLOT_MORE, g->cols, DATA_ANY), *y = box_f(r, SLOT_ALONE, span(g->n, g->y_step, g->rows));
	nan[rnd_below(r, g->cols)] = NAN;
	g->x[bad] = nan;
	gemm_ready(r, r->got, g, SLOT_READY);
	gemm_part(r->got, g, y, g->y_step, 0, g->rows, 0, g->n);
	for (size_t t = 0; t < g->n; t++)
		if (t != bad)
			same(r, "beside a NaN: y", y + t * g->y_step, g->y + t * g->y_step, g->rows);
		else if (g->as->ready)
			for (size_t i = 0; i < g->rows; i++)
				if (y[t * g->y_step + i] == y[t * g->y_step + i])
					fail(r, "a NaN was lost");
	g->x[bad] = x;
}

/* gemm_f32 on the widened weights, which are what unpack makes of them: the same bits. */
static void gemm_twin(struct run *r, const struct gemm *g)
{
	size_t w = span(g->rows, g->w_step, g->cols);
	float *wide = box_f(r, SLOT_B, w), *y = box_f(r, SLOT_ALONE, span(g->n, g->y_step, g->rows));
	struct gemm twin = *g;
	for (size_t i = 0; i < w; i++)
		wide[i] = i % g->w_step < g->cols ? weight_at(g, i / g->w_step, i % g->w_step) : 0;
	twin.as = &as_f32;
	twin.w = wide;
	gemm_part(r->got, &twin, y, g->y_step, 0, g->rows, 0, g->n);
	for (size_t t = 0; t < g->n; t++)
		same(r, "gemm_f32 on the same weights: y", y + t * g->y_step, g->y + t * g->y_step, g->rows);
}

static void gemm_case(struct run *r, struct gemm *g)
{
	g->rows -= g->rows % g->as->rows;
	g->cols -= g->cols % g->as->cols;
	where(r, "rows=%zu n=%zu cols=%zu", g->rows, g->n, g->cols);
	new_gemm(r, g);
	size_t size = span(g->n, g->y_step, g->rows);
	float *want = box_f(r, SLOT_WANT, size);
	g->y = box_f(r, SLOT_Y, size);
	gemm_ready(r, r->ref, g, SLOT_READY);
	gemm_part(r->ref, g, want, g->y_step, 0, g->rows, 0, g->n);
	gemm_ready(r, r->got, g, SLOT_READY);
	gemm_part(r->got, g, g->y, g->y_step, 0, g->rows, 0, g->n);
	const double *terms = gemm_terms(r, g);
	for (size_t t = 0; t < g->n; t++)
		near_terms(r, "y", g->y + t * g->y_step, want + t * g->y_step, terms + t * g->rows, g->rows);
	gaps(r, g->y, g->n, g->y_step, g->rows);
	box_check(r);
	gemm_alone(r, g);
	gemm_poison(r, g);
	if (g->as == &as_bf16 || (g->as->layout && !g->as->ready))
		gemm_twin(r, g);
	box_check(r);
}

static void check_gemm(struct run *r, const void *how)
{
	static const int many[] = { 10, 47, 48, 49, 97 }, tall[] = { 63, 64, 65, 66 }, tiles[] = { 5, 11, 15, 16, 17, 18, 31, 32, 33, 34, 46 };
	struct gemm g = { .as = how };
	/* All rows 0 to 33 at some number of tokens, all numbers of tokens 0 to 9 at some number of rows. */
	for (int i = 0; i <= 33; i++) {
		g.rows = (size_t)i;
		g.n = PICK(r, few);
		g.cols = PICK(r, depths);
		gemm_case(r, &g);
	}
	for (int i = 0; i <= 9; i++) {
		g.n = (size_t)i;
		g.rows = PICK(r, sides);
		g.cols = PICK(r, depths);
		gemm_case(r, &g);
	}
	for (size_t i = 0; i < K_LEN(depths); i++) {
		g.cols = (size_t)depths[i];
		g.n = 1 + rnd_below(r, 4);
		g.rows = 1 + rnd_below(r, 9);
		gemm_case(r, &g);
	}
	/* Whole tiles of rows, of tokens one more or less than a tile or two have. */
	for (size_t i = 0; i < K_LEN(tiles); i++) {
		g.n = (size_t)tiles[i];
		g.rows = 16 + 16 * rnd_below(r, 3);
		g.cols = PICK(r, depths);
		gemm_case(r, &g);
	}
	for (int i = 0; i < 6; i++) {
		g.n = PICK(r, many);
		g.rows = i & 1 ? PICK(r, tall) : PICK(r, sides);
		g.cols = PICK(r, depths);
		gemm_case(r, &g);
	}
}

/* What is timed is the product: each level's own form of the activations is made at its first turn. */
struct gemm_turns { struct run r; struct gemm g; const struct kk *of[2]; struct gemm as[2]; };

static void go_gemm(const struct kk *k, void *arg)
{
	struct gemm_turns *turns = arg;
	int i = turns->of[0] && turns->of[0] != k;
	struct gemm *g = &turns->as[i];
	if (turns->of[i] != k) {
		*g = turns->g;
		gemm_ready(&turns->r, k, g, SLOT_READY + i);
		turns->of[i] = k;
	}
	gemm_part(k, g, g->y, g->y_step, 0, g->rows, 0, g->n);
}

static void bench_gemm(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	static const struct { size_t n; const char *what; } sizes[] = {
		{ 1, "32 rows, 1 token, 2048 columns" }, { 4, "32 rows, 4 tokens, 2048 columns" }, { 48, "32 rows, 48 tokens, 2048 columns" },
	};
	for (size_t i = 0; i < K_LEN(sizes); i++) {
		struct gemm_turns t = { .r = { .name = "bench", .level = "", .timed = true }, .g = { .as = how, .rows = 32, .n = sizes[i].n, .cols = 2048 } };
		new_gemm(&t.r, &t.g);
		t.g.y = box_f(&t.r, SLOT_Y, span(t.g.n, t.g.y_step, t.g.rows));
		time(ctx, &(struct bench){ sizes[i].what, go_gemm, &t });
	}
}

/* In place or not: the same results, and no more written. */
static void check_ready(struct run *r, const void *how)
{
	struct gemm g = { .as = how, .rows = 16, .n = 1 };
	for (size_t cols = 0; cols <= 640; cols += g.as->cols == 1 ? 1 + cols / 8 : g.as->cols) {
		where(r, "cols=%zu", cols);
		g.cols = cols;
		new_gemm(r, &g);
		float *x = box_data(r, SLOT_X, cols, rnd(r) % 2 ? DATA_PLAIN : DATA_ANY), *at = box_f(r, SLOT_Y, KK_READY(cols));
		float *to = box_f(r, SLOT_READY, KK_READY(cols)), want[16], got[16];
		memcpy(at, x, cols * sizeof(*x));
		ready_of(r->got, how)(to, x, cols);
		ready_of(r->got, how)(at, at, cols);
		g.ready[0] = to;
		gemm_part(r->got, &g, want, 16, 0, 16, 0, 1);
		g.ready[0] = at;
		gemm_part(r->got, &g, got, 16, 0, 16, 0, 1);
		same(r, "in place", got, want, 16);
		if (g.as == &as_i4x16_int8 || g.as == &as_mx4x16_int8) {
			float *def = box_f(r, SLOT_READY2, KK_READY(cols));
			ready_of(r->ref, how)(def, x, cols);
			if (memcmp(def, to, cols / 32 * sizeof(struct kk_i8)))
				fail(r, "not the form of the reference");
		}
		box_check(r);
	}
}

static void go_ready(const struct kk *k, void *arg)
{
	struct gemm_turns *t = arg;
	ready_of(k, t->g.as)(t->g.y, t->g.x[0], t->g.cols);
}

static void bench_ready(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	struct gemm_turns t = { .r = { .name = "bench", .level = "", .timed = true }, .g = { .as = how, .cols = 2048 } };
	t.g.x[0] = box_data(&t.r, SLOT_X, t.g.cols, DATA_PLAIN);
	t.g.y = box_f(&t.r, SLOT_Y, KK_READY(t.g.cols));
	time(ctx, &(struct bench){ "2048 columns", go_ready, &t });
}

/* --- unpack ------------------------------------------------------------------------------------------------------------- */

struct packed { const struct k_qtype *t; const void *slice; int64_t rows, cols; };

static void new_packed(struct run *r, struct packed *p, const struct k_qtype *t, int64_t rows, int64_t cols)
{
	uint64_t bytes;
	uint8_t *at;
	*p = (struct packed){ t, NULL, rows, cols };
	K_ASSERT(k_qtype_slice_bytes(t, rows, cols, &bytes));
	p->slice = at = box(r, SLOT_W, (size_t)bytes, 1);
	for (int64_t i = 0; i < rows; i += t->granule) {
		int in = (int)K_MIN((int64_t)t->granule, rows - i);
		new_granule(r, t, at, cols, in);
		at += t->granule_bytes(cols, in);
	}
}

static void unpack_case(struct run *r, const struct packed *p)
{
	int64_t row = (int64_t)rnd_below(r, (size_t)p->rows);
	int rows = (int)rnd_below(r, (size_t)(p->rows - row) + 1);
	size_t cols = (size_t)p->cols, step = cols + rnd_below(r, 4), size = span((size_t)rows, step, cols);
	float *want = box_f(r, SLOT_WANT, size), *got = box_f(r, SLOT_Y, size), *alone = box_f(r, SLOT_ALONE, cols);
	where(r, "%s %s, rows %lld..%lld of %lld, cols=%zu", p->t->name, p->t->layout, (long long)row, (long long)row + rows,
		(long long)p->rows, cols);
	r->ref->unpack(want, step, p->t, p->slice, p->rows, p->cols, row, rows);
	r->got->unpack(got, step, p->t, p->slice, p->rows, p->cols, row, rows);
	for (int i = 0; i < rows; i++) {
		same(r, "row", got + (size_t)i * step, want + (size_t)i * step, cols);
		r->got->unpack(alone, cols, p->t, p->slice, p->rows, p->cols, row + i, 1);
		same(r, "alone: row", alone, got + (size_t)i * step, cols);
	}
	gaps(r, got, (size_t)rows, step, cols);
	box_check(r);
}

/* Every code with every scale of MXFP4, NaN and those that leave the range among them; every code of FP8 with scales of all sizes. */
static void codes_of(struct run *r, const char *name, const char *layout, const uint8_t *bytes, size_t n, int64_t rows, int64_t cols)
{
	struct packed p = { k_qtype_find(name, layout), NULL, rows, cols };
	p.slice = memcpy(box(r, SLOT_W, n, 1), bytes, n);
	for (int i = 0; i < 8; i++)
		unpack_case(r, &p);
}

static void check_codes(struct run *r)
{
	static const float scales[] = { 1, 0, 0x1p-149f, 0x1.8p-130f, 0x1.234568p-7f, 0x1.fffffep7f, 0x1.8p8f, 0x1.23p118f };
	enum { ALL = 256, BLOCKS = K_LEN(scales), HALF = 128 };
	uint8_t rows[ALL * 17], gguf[ALL * 17], fp8[sizeof(scales) + 2 * BLOCKS * HALF], mx[2 * ALL * 33], row[2 * (sizeof(float) + ALL)];
	for (int e = 0; e < ALL; e++) {
		rows[e] = gguf[17 * e] = (uint8_t)e;
		for (int i = 0; i < 16; i++)
			rows[ALL + 16 * e + i] = gguf[17 * e + 1 + i] = (uint8_t)(17 * ((5 * i + e) % 16));
	}
	codes_of(r, "mxfp4", "rows", rows, sizeof(rows), 1, 32 * ALL);
	codes_of(r, "mxfp4", "gguf", gguf, sizeof(gguf), 1, 32 * ALL);
	memcpy(fp8, scales, sizeof(scales));
	for (int i = 0; i < 2 * BLOCKS * HALF; i++)
		fp8[sizeof(scales) + (size_t)i] = (uint8_t)(i % HALF + i / (BLOCKS * HALF) * HALF);
	codes_of(r, "fp8b128", "rows", fp8, sizeof(fp8), 2, BLOCKS * HALF);
	for (int i = 0; i < 2 * ALL * 33; i++)
		mx[i] = (uint8_t)(i % (ALL * 33) < ALL ? i : 7 * i + i / 256);
	codes_of(r, "mxfp8", "rows", mx, sizeof(mx), 2, 32 * ALL);
	for (size_t k = 0; k + 1 < BLOCKS; k += 2) {
		for (size_t i = 0; i < 2; i++) {
			memcpy(row + i * (sizeof(float) + ALL), &scales[k + i], sizeof(float));
			for (int c = 0; c < ALL; c++)
				row[i * (sizeof(float) + ALL) + sizeof(float) + (size_t)c] = (uint8_t)c;
		}
		codes_of(r, "fp8row", "rows", row, sizeof(row), 2, ALL);
	}
}

static void check_unpack(struct run *r, const void *how K_UNUSED)
{
	static const int odd[] = { 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 127, 128, 129, 257 };
	const struct k_qtype *t;
	for (int i = 0; (t = k_qtype_at(i)); i++) {
		if (!t->dequant)
			continue;
		for (int k = 0; k < 8; k++) {
			struct packed p;
			int64_t whole = (int64_t)rnd_below(r, 3), part = t->full_granules ? 0 : (int64_t)rnd_below(r, (size_t)t->granule);
			int64_t cols = t->col_granule > 1 ? t->col_granule * (int64_t)(1 + rnd_below(r, 5)) : (int64_t)PICK(r, odd);
			int64_t rows = whole * t->granule + part;
			new_packed(r, &p, t, rows ? rows : (t->full_granules ? t->granule : 1), cols);
			unpack_case(r, &p);
		}
	}
	check_codes(r);
}

static void go_unpack(const struct kk *k, void *arg)
{
	struct packed *p = arg;
	static float to[32 * 2048];
	k->unpack(to, 2048, p->t, p->slice, p->rows, p->cols, 0, 32);
}

static void bench_unpack(const void *how K_UNUSED, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	const struct k_qtype *t;
	for (int i = 0; (t = k_qtype_at(i)); i++) {
		struct run r = { .name = "bench", .level = "", .timed = true };
		struct packed p;
		if (!t->quant)
			continue;
		new_packed(&r, &p, t, 32, 2048);
		time(ctx, &(struct bench){ t->name, go_unpack, &p });
	}
}

/* --- rope --------------------------------------------------------------------------------------------------------------- */

static float *new_table(struct run *r, size_t pairs)
{
	float *t = box_f(r, SLOT_W, 2 * pairs);
	for (size_t j = 0; j < pairs; j++) {
		double a = (double)rnd_float(r, -4, 4);
		t[2 * j] = (float)cos(a);
		t[2 * j + 1] = (float)sin(a);
	}
	return t;
}

/* A turn keeps the length of a pair. */
static const double *rope_terms(struct run *r, const float *x, size_t pairs, bool inter)
{
	double *terms = box(r, SLOT_TERMS, 2 * pairs, sizeof(*terms));
	for (size_t j = 0; j < pairs; j++) {
		size_t a = inter ? 2 * j : j, b = inter ? 2 * j + 1 : j + pairs;
		terms[a] = terms[b] = square((double)x[a]) + square((double)x[b]);
	}
	return terms;
}

static void check_rope(struct run *r, const void *how K_UNUSED)
{
	for (int i = 0; i < 2 * kcheck_n_lengths; i++) {
		size_t pairs = kcheck_lengths[i / 2], n = 2 * pairs;
		bool inter = i & 1;
		const float *table = new_table(r, pairs), *x = box_data(r, SLOT_X, n, rnd(r) & 1 ? DATA_PLAIN : DATA_WIDE);
		float *want = box_copy(r, SLOT_WANT, x, n), *got = box_copy(r, SLOT_Y, x, n), *alone = box_copy(r, SLOT_ALONE, x, n);
		where(r, "pairs=%zu %s", pairs, inter ? "interleaved" : "halves");
		r->ref->rope(want, table, pairs, inter);
		r->got->rope(got, table, pairs, inter);
		near_terms(r, "x", got, want, rope_terms(r, x, pairs, inter), n);
		for (size_t j = 0; inter && j < pairs; j++)
			r->got->rope(alone + 2 * j, table + 2 * j, 1, true);
		if (inter)
			same(r, "alone: x", alone, got, n);
		box_check(r);
	}
}

struct turn { float *x; const float *table; bool inter; };

static void go_rope(const struct kk *k, void *arg)
{
	struct turn *t = arg;
	for (size_t h = 0; h < 32; h++)
		k->rope(t->x + 64 * h, t->table, 32, t->inter);
}

static void bench_rope(const void *how K_UNUSED, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	struct run r = { .name = "bench", .level = "", .timed = true };
	struct turn t = { .x = box_data(&r, SLOT_X, 2048, DATA_PLAIN), .table = new_table(&r, 32), .inter = true };
	time(ctx, &(struct bench){ "32 heads of 32 pairs, interleaved", go_rope, &t });
	t.inter = false;
	time(ctx, &(struct bench){ "32 heads of 32 pairs, halves", go_rope, &t });
}

/* --- conv_silu ---------------------------------------------------------------------------------------------------------- */

enum { TAPS = 7, CONV_TOKENS = 9 };
struct conv { float *y; const float *u[TAPS + CONV_TOKENS], *w; size_t y_step, w_step, tokens, n; int taps; };

static void new_conv(struct run *r, struct conv *c)
{
	size_t rows = c->tokens + (size_t)c->taps - 1, u_step = c->n + slack(r);
	c->w_step = c->n + slack(r);
	c->y_step = c->n + slack(r);
	c->w = box_data(r, SLOT_W, span((size_t)c->taps, c->w_step, c->n), DATA_PLAIN);
	const float *u = box_data(r, SLOT_MORE, span(rows, u_step, c->n), DATA_PLAIN);
	for (size_t j = 0; j < rows; j++)
		c->u[j] = u + j * u_step;
	c->y = box_f(r, SLOT_Y, span(c->tokens, c->y_step, c->n));
}

static void go_conv(const struct kk *k, void *arg)
{
	const struct conv *c = arg;
	k->conv_silu(c->y, c->y_step, c->u, c->tokens, c->w, c->w_step, c->taps, c->n);
}

static const double *conv_terms(struct run *r, const struct conv *c, size_t t)
{
	double *terms = box(r, SLOT_TERMS, c->n, sizeof(*terms));
	for (size_t i = 0; i < c->n; i++) {
		terms[i] = 0;
		for (size_t j = 0; j < (size_t)c->taps; j++)
			terms[i] += square((double)c->w[j * c->w_step + i] * (double)c->u[t + j][i]);
	}
	return terms;
}

/* Token by token, in pieces of the channels. */
static void conv_alone(struct run *r, const struct conv *c, float *y)
{
	struct conv part = *c;
	part.tokens = 1;
	for (size_t t = 0; t < c->tokens; t++)
		for (size_t at = 0; at < c->n; at += part.n) {
			part.n = piece(r, c->n - at);
			part.y = y + t * c->y_step + at;
			part.w = c->w + at;
			for (int j = 0; j < c->taps; j++)
				part.u[j] = c->u[t + (size_t)j] + at;
			go_conv(r->got, &part);
		}
}

static void check_conv(struct run *r, const void *how K_UNUSED)
{
	for (int i = 0; i < kcheck_n_lengths; i++)
		for (int taps = 1; taps <= TAPS; taps++) {
			struct conv c = { .n = kcheck_lengths[i], .taps = taps, .tokens = 1 + rnd_below(r, CONV_TOKENS) };
			where(r, "n=%zu taps=%d tokens=%zu", c.n, taps, c.tokens);
			new_conv(r, &c);
			size_t all = span(c.tokens, c.y_step, c.n);
			float *got = c.y, *want = c.y = box_f(r, SLOT_WANT, all), *alone = box_f(r, SLOT_ALONE, all);
			go_conv(r->ref, &c);
			c.y = got;
			go_conv(r->got, &c);
			conv_alone(r, &c, alone);
			for (size_t t = 0, at = 0; t < c.tokens; t++, at += c.y_step) {
				near_terms(r, "y", got + at, want + at, conv_terms(r, &c, t), c.n);
				same(r, "in pieces: y", alone + at, got + at, c.n);
			}
			box_check(r);
		}
}

static void bench_conv(const void *how K_UNUSED, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	static const struct { size_t tokens; const char *size; } runs[] = { { 1, "4 taps, n=128" }, { 8, "4 taps, n=128, 8 tokens" } };
	for (size_t i = 0; i < K_LEN(runs); i++) {
		struct run r = { .name = "bench", .level = "", .timed = true };
		struct conv c = { .n = 128, .taps = 4, .tokens = runs[i].tokens };
		new_conv(&r, &c);
		time(ctx, &(struct bench){ runs[i].size, go_conv, &c });
	}
}

const struct row kcheck_mat[] = {
	{ "gemm_f32", check_gemm, &as_f32, bench_gemm }, { "gemm_bf16", check_gemm, &as_bf16, bench_gemm },
	{ "gemm_bf16_bf16", check_gemm, &as_bf16_bf16, bench_gemm }, { "ready_bf16", check_ready, &as_bf16_bf16, bench_ready },
	{ "gemm_i8row", check_gemm, &as_i8row, bench_gemm }, { "gemm_mxfp4", check_gemm, &as_mxfp4, bench_gemm },
	{ "gemm_fp8b128", check_gemm, &as_fp8b128, bench_gemm },
	{ "gemm_i4x16", check_gemm, &as_i4x16, bench_gemm },
	{ "ready_i4x16", check_ready, &as_i4x16, bench_ready },
	{ "gemm_i4x16_bf16", check_gemm, &as_i4x16_bf16, bench_gemm },
	{ "ready_i4x16_bf16", check_ready, &as_i4x16_bf16, bench_ready },
	{ "gemm_i4x16_int8", check_gemm, &as_i4x16_int8, bench_gemm },
	{ "ready_i4x16_int8", check_ready, &as_i4x16_int8, bench_ready },
	{ "gemm_mx4x16", check_gemm, &as_mx4x16, bench_gemm },
	{ "ready_mx4x16", check_ready, &as_mx4x16, bench_ready },
	{ "gemm_mx4x16_bf16", check_gemm, &as_mx4x16_bf16, bench_gemm },
	{ "ready_mx4x16_bf16", check_ready, &as_mx4x16_bf16, bench_ready },
	{ "gemm_mx4x16_int8", check_gemm, &as_mx4x16_int8, bench_gemm },
	{ "ready_mx4x16_int8", check_ready, &as_mx4x16_int8, bench_ready },
	{ "unpack", check_unpack, NULL, bench_unpack }, { "rope", check_rope, NULL, bench_rope },
	{ "conv_silu", check_conv, NULL, bench_conv }, { .name = NULL },
};
