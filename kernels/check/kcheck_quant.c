/* kcheck_quant.c: conversions between types: the bytes of the reference, which are those of libcore.
 *
 * A level may decline any conversion but those of `fast`, and must decline what the reference refuses. Data: ordinary weights, every
 * size of float, values on the grid and in the middle between two codes, zeros of both signs, denormals, NaN and infinity among
 * numbers; for bf16 to INT4 every quotient of two significands. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "kernels/check/kcheck.h"
#include "libcore/dtype.h"

enum { SLOT_SRC, SLOT_DST, SLOT_WANT };

static const struct { const char *from, *to, *layout; } fast[] = {
	{ "bf16", "i4g32", "rows" }, { "bf16", "i4g32", "x16" }, { "bf16", "mxfp4", "rows" }, { "bf16", "mxfp4", "x16" }, { "bf16", "fp8b128", "rows" },
	{ "bf16", "i8row", "rows" }, { "f16", "bf16", "rows" }, { "f32", "bf16", "rows" },
};
static const struct k_quant_opts all_opts[] = {
	{ .scale = K_SCALE_AMAX7 }, { .scale = K_SCALE_AMAX75 }, { .scale = K_SCALE_AMAX7, .mx = K_MX_OCP },
	{ .scale = K_SCALE_AMAX7, .mx = K_MX_GGML }, { .scale = K_SCALE_MSE }, { .scale = K_SCALE_QAT },
};

struct job { const struct k_qtype *to, *from; int64_t cols, rows; const struct k_quant_opts *o; const void *src; void *dst; bool must; };

static bool run_job(const struct kk *k, const struct job *j, void *dst) { return k->convert(j->to, dst, j->from, j->src, j->cols, j->rows, j->o); }

static void compare(struct run *r, struct job *j)
{
	uint64_t n;
	uint8_t *want, *got;
	bool can, did;
	K_ASSERT(k_qtype_slice_bytes(j->to, j->rows, j->cols, &n));
	want = box(r, SLOT_WANT, (size_t)n, 1);
	got = box(r, SLOT_DST, (size_t)n, 1);
	can = run_job(r->ref, j, want);
	did = run_job(r->got, j, got);
	if (did && !can)
		fail(r, "made what the reference refuses");
	else if (can && !did && j->must)
		fail(r, "declined");
	for (uint64_t i = 0; can && did && i < n; i++)
		if (want[i] != got[i]) {
			fail(r, "byte %llu of %llu is 0x%02x, wanted 0x%02x", (unsigned long long)i, (unsigned long long)n, got[i], want[i]);
			break;
		}
	box_check(r);
}

/* --- data ----------------------------------------------------------------------------------------------------------------- */

enum kind { PLAIN, SMALL, WIDE, ZEROS, GRID, ONE_BAD, KINDS };

static float value(struct run *r, enum kind kind, float step)
{
	static const float none[] = { 0.0f, -0.0f, 0x1p-133f, -0x1p-149f };
	float x;
	switch (kind) {
	case SMALL:
		return rnd_float(r, -1e-4f, 1e-4f);
	case WIDE:
		fill(r, &x, 1, DATA_FINITE);
		return x;
	case ZEROS:
		return none[rnd_below(r, K_LEN(none))];
	case GRID:
		return ((float)rnd_below(r, 31) - 15) * 0.5f * step;
	default:
		return rnd_float(r, -2, 2) * rnd_float(r, 0, 1);
	}
}

static void put(uint8_t *p, const struct k_qtype *t, float x)
{
	uint16_t h = t->st_dtype[0] == 'B' ? k_bf16_from_f32(x) : k_f16_from_f32(x);
	if (t->elem_bytes == 4)
		memcpy(p, &x, 4);
	else
		memcpy(p, &h, 2);
}

/* Values of a plain type of 2 or 4 bytes; a step of bf16 for every 32. */
static void make(struct run *r, struct job *j, enum kind kind)
{
	size_t n = (size_t)(j->rows * j->cols), size = (size_t)j->from->elem_bytes;
	static const float bad[] = { INFINITY, -INFINITY, NAN };
	uint8_t *p = box(r, SLOT_SRC, n, size);
	float step = 1;
	for (size_t i = 0; i < n; i++) {
		if (i % 32 == 0)
			step = k_bf16_to_f32(k_bf16_from_f32(rnd_float(r, 1e-3f, 1)));
		put(p + i * size, j->from, value(r, kind, step));
	}
	if (kind == ONE_BAD && n)
		put(p + rnd_below(r, n) * size, j->from, bad[rnd_below(r, K_LEN(bad))]);
	j->src = p;
	j->must = j->must && (kind == PLAIN || kind == SMALL || kind == GRID);
}

/* --- cases ---------------------------------------------------------------------------------------------------------------- */

static bool is_fast(const struct run *r, const struct k_qtype *from, const struct k_qtype *to, const struct k_quant_opts *o)
{
	for (size_t i = 0; i < K_LEN(fast); i++)
		if (!strcmp(fast[i].from, from->name) && !strcmp(fast[i].to, to->name) && !strcmp(fast[i].layout, to->layout))
			return r->got != r->ref && o->scale <= K_SCALE_AMAX75;
	return false;
}

static void pair(struct run *r, const struct k_qtype *from, const struct k_qtype *to)
{
	static const int64_t odd[] = { 1, 3, 31, 32, 33, 127, 128, 129, 255, 256, 257, 300, 640 };
	for (int i = 0; i < 3 * KINDS; i++) {
		const struct k_quant_opts *o = &all_opts[rnd_below(r, K_LEN(all_opts))];
		struct job j = { .to = to, .from = from, .o = o, .must = is_fast(r, from, to, o) };
		j.rows = (int64_t)(to->granule == 1 ? rnd_below(r, 5) : rnd_below(r, 3) * (size_t)to->granule);
		j.rows += to->full_granules ? 0 : (int64_t)rnd_below(r, 4);
		j.cols = to->col_granule > 1 ? to->col_granule * (int64_t)(1 + rnd_below(r, 20)) : odd[rnd_below(r, K_LEN(odd))];
		where(r, "%s to %s %s, %lld x %lld, kind %d, scale %d, mx %d", from->name, to->name, to->layout, (long long)j.rows,
			(long long)j.cols, i % KINDS, o->scale, o->mx);
		make(r, &j, (enum kind)(i % KINDS));
		compare(r, &j);
	}
}

/* A row for each significand of the largest magnitude; in its groups all bf16 of the six binades below, of both signs. */
static void quotients(struct run *r, const char *layout, const struct k_quant_opts *o, int exponent)
{
	enum { COLS = 1600, ROWS = 128 };
	struct job j = { .to = k_qtype_find("i4g32", layout), .from = k_qtype_find("bf16", NULL), .cols = COLS, .rows = ROWS, .o = o,
		.must = r->got != r->ref };
	uint16_t *p = box(r, SLOT_SRC, ROWS * COLS, 2);
	j.src = p;
	where(r, "quotients, %s, scale %d, exponent %d", layout, o->scale, exponent);
	for (int row = 0; row < ROWS; row++) {
		uint16_t top = (uint16_t)(exponent << 7 | row), x = (uint16_t)(top - 6 * 128);
		for (int c = 0; c < COLS; c++, p++) {
			*p = c % 32 == 0 ? top : (uint16_t)(x | (c & 1) << 15);
			x = (uint16_t)(x + (c & 1) < top ? x + (c & 1) : top);
		}
	}
	compare(r, &j);
}

static void check_convert(struct run *r, const void *how K_UNUSED)
{
	static const char *const sources[] = { "bf16", "f16", "f32" };
	static const int exponents[] = { 20, 110, 113, 127, 200, 251 };
	const struct k_qtype *to;
	for (size_t s = 0; s < K_LEN(sources); s++)
		for (int i = 0; (to = k_qtype_at(i)); i++)
			if (to->quant)
				pair(r, k_qtype_find(sources[s], NULL), to);
	for (size_t e = 0; e < K_LEN(exponents); e++)
		for (int k = 0; k < 4; k++)
			quotients(r, k & 1 ? "x16" : "rows", &all_opts[k / 2], exponents[e]);
}

static void go_convert(const struct kk *k, void *arg)
{
	struct job *j = arg;
	K_ASSERT(run_job(k, j, j->dst));
}

static void bench_convert(const void *how K_UNUSED, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	for (size_t i = 0; i < K_LEN(fast); i++) {
		struct run r = { .name = "bench", .level = "", .timed = true };
		struct job j = { .to = k_qtype_find(fast[i].to, fast[i].layout), .from = k_qtype_find(fast[i].from, NULL), .cols = 7168, .rows = 128,
			.o = &all_opts[0] };
		char what[80];
		uint64_t n;
		K_ASSERT(k_qtype_slice_bytes(j.to, j.rows, j.cols, &n));
		make(&r, &j, PLAIN);
		j.dst = box(&r, SLOT_DST, (size_t)n, 1);
		snprintf(what, sizeof(what), "%s to %s %s, 128 x 7168: %.2f MB in", fast[i].from, fast[i].to, fast[i].layout,
			(double)(j.rows * j.cols * j.from->elem_bytes) / 1e6);
		time(ctx, &(struct bench){ what, go_convert, &j });
	}
}

const struct row kcheck_quant[] = { { "convert", check_convert, NULL, bench_convert }, { .name = NULL } };
