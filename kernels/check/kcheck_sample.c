/* kcheck_sample.c: tokens that a device chooses, against libcore/sample.c on the same logits: the same ones, or none (-1) where the device may leave a row to
 * the CPU: something in it is no number, all of it is masked, or top-k and top-p ask for more than a device sorts. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "kernels/check/kcheck.h"
#include "libcore/backend.h"
#include "libcore/pool.h"
#include "libcore/sample.h"

enum { ROWS = 4, LARGE = 160000, LARGE_WAYS = 4 };

/* What rows are like, and how large: a vocabulary, and its shape. */
enum shape { WAVES, TIES, FLAT, STEEP, MASKED, SPIKE, PLUS_INF };
static const struct { enum shape shape; int32_t vocab; const char *what; } kinds[] = {
	{ WAVES, 1, "one entry" }, { WAVES, 2, "two" }, { WAVES, 300, "waves" }, { WAVES, 4096, "a whole chunk" }, { WAVES, 4097, "and one more" },
	{ WAVES, LARGE, "a large vocabulary" }, { TIES, 3000, "ties" }, { FLAT, 700, "all the same" }, { FLAT, 5000, "all the same, many" },
	{ STEEP, 9000, "steep" }, { MASKED, 5003, "mostly masked" }, { SPIKE, 4500, "one far above" }, { PLUS_INF, 90, "an infinite one" },
};

static const struct { float temperature, top_p, min_p; int top_k; bool whole; } ways[] = {
	{ 0, 1, 0, 0, true }, { 1, 1, 0, 0, true }, { 0.6f, 1, 0.05f, 0, true }, { 0.3f, 0.9f, 0, 0, false }, { 1, 1, 0, 40, false }, { 0.8f, 0.8f, 0.1f, 20, false },
	{ 1, 0.5f, 0, 1, false }, { 1e-4f, 0.95f, 0, 0, false }, { 100, 1, 0, 0, true }, { 1e30f, 1, 0, 3, false }, { 1, 0, 0, 0, false }, { 1, 1, 0, LARGE, true },
};

static float logit(struct run *r, enum shape shape, int32_t i, int32_t vocab)
{
	float z = rnd_float(r, -1, 1) + rnd_float(r, -1, 1) + rnd_float(r, -1, 1);
	switch (shape) {
	case WAVES: return 3 * z + 5 * sinf((float)i);
	case TIES: return (float)(i % 7) - 20;
	case FLAT: return -3;
	case STEEP: return -(float)i * 0.1f;
	case MASKED: return i % 97 == 5 ? z : -INFINITY;
	case SPIKE: return i == vocab - 1 ? 80 : z;
	case PLUS_INF: return i == 33 || i == 44 ? INFINITY : z;
	}
	return 0;
}

struct sampling { struct run *r; struct k_device *d; float *x, *there; int32_t *ids; void *scratch; };

/* The device's choice for n rows of x, all by the same sampler but for the random number. */
static bool choose(struct sampling *b, const struct k_sampler *s, int64_t n, int32_t vocab, int32_t *got)
{
	struct k_draw draw[ROWS];
	struct k_err err;
	for (int64_t i = 0; i < n; i++) {
		struct k_sampler one = *s;
		one.choice = (uint32_t)i;
		K_ASSERT(k_sample_draw(&one, &draw[i]));
	}
	b->d->sample(b->d, &(struct k_op_sample){ b->ids, b->there, draw, n, vocab });
	if (b->d->get(b->d, got, b->ids, (size_t)n * sizeof(*got), &err) == 0)
		return true;
	fail(b->r, "%s", err.msg);
	return false;
}

static void check_rows(struct sampling *b, size_t kind, size_t way)
{
	struct k_sampler s;
	int32_t vocab = kinds[kind].vocab, got[ROWS];
	int64_t n = vocab == LARGE ? 1 : ROWS;
	struct k_err err;
	k_sampler_init(&s);
	s.temperature = ways[way].temperature;
	s.top_p = ways[way].top_p;
	s.min_p = ways[way].min_p;
	s.top_k = ways[way].top_k;
	s.seed = b->r->seed + way;
	if (!choose(b, &s, n, vocab, got))
		return;
	for (int64_t i = 0; i < n; i++) {
		struct k_sampler one = s;
		one.choice = (uint32_t)i;
		int32_t want = k_sample(&one, b->x + i * vocab, vocab, b->scratch, &err);
		/* Where the choice wants more than 1024 to be sorted, or ones that are 15 nats behind the first. */
		bool wide = vocab == LARGE || s.temperature > 100 || kinds[kind].shape == FLAT || kinds[kind].shape == SPIKE;
		bool may_leave = !ways[way].whole && vocab > 1024 && wide;
		if (got[i] != want && !(got[i] == -1 && may_leave))
			fail(b->r, "%s, T %g top-k %d top-p %g min-p %g, row %d: token %d, wanted %d", kinds[kind].what, (double)s.temperature, s.top_k,
				(double)s.top_p, (double)s.min_p, (int)i, got[i], want);
	}
}

static bool fill_rows(struct sampling *b, enum shape shape, int32_t vocab)
{
	struct k_err err;
	for (int64_t row = 0; row < ROWS; row++)
		for (int32_t i = 0; i < vocab; i++)
			b->x[row * vocab + i] = logit(b->r, shape, i, vocab);
	return b->d->put(b->d, b->there, b->x, (size_t)vocab * ROWS * sizeof(float), &err) == 0;
}

/* Rows that are left to the CPU, and are told: it has the sentence. */
static void check_left(struct sampling *b)
{
	enum { VOCAB = 50 };
	struct k_sampler s;
	int32_t got[ROWS];
	k_sampler_init(&s);
	for (int way = 0; way < 2; way++) {
		s.temperature = (float)way;
		fill_rows(b, WAVES, VOCAB);
		b->x[1 * VOCAB + 49] = NAN;
		for (int i = 0; i < VOCAB; i++)
			b->x[3 * VOCAB + i] = -INFINITY;
		struct k_err err;
		if (b->d->put(b->d, b->there, b->x, VOCAB * ROWS * sizeof(float), &err) < 0 || !choose(b, &s, ROWS, VOCAB, got))
			return;
		for (int i = 0; i < ROWS; i++)
			if ((got[i] == -1) != (i == 1 || i == 3))
				fail(b->r, "row %d, which is %s: token %d", i, i == 1 ? "no number" : i == 3 ? "all masked" : "right", got[i]);
	}
}

static void check_all(struct sampling *b)
{
	for (size_t kind = 0; kind < K_LEN(kinds) && !b->r->failures; kind++) {
		if (!fill_rows(b, kinds[kind].shape, kinds[kind].vocab))
			fail(b->r, "the logits do not reach the device");
		for (size_t way = 0; way < K_LEN(ways); way++)
			if (kinds[kind].vocab != LARGE || way < LARGE_WAYS)
				check_rows(b, kind, way);
	}
	check_left(b);
}

void kcheck_device_sample(struct run *r, const char *spec)
{
	struct sampling b = { .r = r, .x = k_alloc((size_t)LARGE * ROWS * sizeof(float)), .scratch = k_alloc((size_t)LARGE * 16) };
	struct k_ctx ctx = { .cpu = "ref" };
	struct k_err err;
	int rc = k_pool_new(&ctx.pool, 1, &err);
	if (!rc)
		rc = k_device_open(&b.d, &ctx, spec, &err);
	if (rc) {
		fail(r, "%s", err.msg);
	} else {
		b.there = b.d->alloc(b.d, (size_t)LARGE * ROWS * sizeof(float));
		b.ids = b.d->alloc(b.d, ROWS * sizeof(int32_t));
		if (!b.x || !b.scratch || !b.there || !b.ids)
			fail(r, "no memory");
		else if (!b.d->sample)
			fail(r, "it does not sample");
		else
			check_all(&b);
		if (b.there)
			b.d->free(b.d, b.there);
		if (b.ids)
			b.d->free(b.d, b.ids);
	}
	k_device_close(b.d);
	k_pool_free(ctx.pool);
	k_free(b.x);
	k_free(b.scratch);
}
