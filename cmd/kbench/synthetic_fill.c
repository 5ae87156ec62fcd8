/* synthetic_fill.c: random weights as a container in memory.
 *
 *   memfd:  head | entries, leaf by leaf, any thread: bits from (seed, entry, offset), digest | trailer
 *
 * Weights are as large as those of a model that was just initialised: a row times a vector of ones' size has ones' size, norms are 1, gates and
 * decays lie where trained ones do. So numbers stay numbers, routers spread, and nothing is so small that it is computed slowly. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "cmd/kbench/synthetic_int.h"
#include "libcore/dtype.h"
#include "libcore/kmf.h"
#include "libcore/pool.h"

static uint64_t next(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Random bits where mask has ones, else those of fixed. */
static void fill_words(void *p, size_t n, uint64_t mask, uint64_t fixed, uint64_t *x)
{
	char *at = p;
	for (uint64_t v; n; at += K_MIN(n, sizeof(v)), n -= K_MIN(n, sizeof(v))) {
		v = (next(x) & mask) | fixed;
		memcpy(at, &v, K_MIN(n, sizeof(v)));
	}
}

/* The exponent bits, four times over, of bf16 numbers in [2^e, 2^(e+1)) whose square is size^2 on average. */
static uint64_t exponents(double size)
{
	int e = (int)floor(log2(size / 1.53) + 0.5);
	return ((uint64_t)(127 + e) << 7) * 0x0001000100010001u;
}

static void fill_bf16(void *p, size_t n, const struct k_entry *e, const struct k_filler *f K_UNUSED, uint64_t seed)
{
	fill_words(p, n, 0x807f807f807f807fu, exponents(1 / sqrt((double)k_entry_cols(e))), &seed);
}

/* Records of 16 rows' scales and 16 x 64 codes (libcore/qtype/i4g32_x16.c). Codes are -8 to 7, all alike: 4.6 on average. */
static void fill_int4(void *p, size_t n, const struct k_entry *e, const struct k_filler *f K_UNUSED, uint64_t seed)
{
	enum { SCALES = 64, RECORD = 576 };
	uint64_t scale = exponents(1 / (4.6 * sqrt((double)k_entry_cols(e))));
	K_ASSERT(e->type->granule == 16 && n % RECORD == 0);
	for (char *at = p; at < (char *)p + n; at += RECORD) {
		fill_words(at, SCALES, 0x007f007f007f007fu, scale, &seed);
		fill_words(at + SCALES, RECORD - SCALES, UINT64_MAX, 0, &seed);
	}
}

/* Records of 16 rows' scales of four groups and 16 x 128 codes (libcore/qtype/mxfp4_x16.c). Codes are all of E2M1, 2.9 on average. */
static void fill_mxfp4(void *p, size_t n, const struct k_entry *e, const struct k_filler *f K_UNUSED, uint64_t seed)
{
	enum { SCALES = 64, RECORD = 1088, ONE = 127 };
	int scale = ONE + (int)lrint(log2(1 / (2.9 * sqrt((double)k_entry_cols(e)))));
	K_ASSERT(e->type->granule == 16 && n % RECORD == 0);
	for (char *at = p; at < (char *)p + n; at += RECORD) {
		memset(at, scale, SCALES);
		fill_words(at + SCALES, RECORD - SCALES, UINT64_MAX, 0, &seed);
	}
}

static void fill_ones(void *p, size_t n, const struct k_entry *e K_UNUSED, const struct k_filler *f K_UNUSED, uint64_t seed)
{
	fill_words(p, n, 0, 0x3f803f803f803f80u, &seed);
}

static void fill_range(void *p, size_t n, const struct k_entry *e K_UNUSED, const struct k_filler *f, uint64_t seed)
{
	for (size_t i = 0; i < n / sizeof(float); i++) {
		float v = f->lo + (f->hi - f->lo) * (float)(next(&seed) >> 40) * 0x1p-24f;
		memcpy((char *)p + i * sizeof(v), &v, sizeof(v));
	}
}

/* First come, first served. */
static const struct k_filler fillers[] = {
	{ "kda.a_log", NULL, "f32", fill_range, 0, 2.77f },
	{ "kda.dt_bias", NULL, "f32", fill_range, -6.9f, -2.25f },
	{ "moe.router_bias", NULL, "f32", fill_range, -0.01f, 0.01f },
	{ "res.attn_query", NULL, "bf16", fill_bf16, 0, 0 },
	{ "res.ffn_query", NULL, "bf16", fill_bf16, 0, 0 },
	{ "res.query", NULL, "bf16", fill_bf16, 0, 0 },
	{ NULL, "norm", "bf16", fill_ones, 0, 0 },
	{ NULL, "experts", "i4g32", fill_int4, 0, 0 },
	{ NULL, "experts", "bf16", fill_bf16, 0, 0 },
	{ NULL, "experts", "mxfp4", fill_mxfp4, 0, 0 },
	{ NULL, NULL, "bf16", fill_bf16, 0, 0 },
};

const struct k_filler *k_filler_of(const struct k_weight *w, const char *experts_as)
{
	const struct k_filler *f = fillers;
	bool experts = !strcmp(w->role, "experts");
	while ((f->slot && strcmp(f->slot, w->slot)) || (f->role && strcmp(f->role, w->role)) || (experts && strcmp(f->type, experts_as)))
		f++;
	return f;
}

struct making {
	const struct k_outline *o;
	struct k_kmf_plan *plan;
	char *data;                     /* of the entries */
	uint64_t seed;
	const struct k_ctx *ctx;
	struct k_err err;               /* of the first that failed */
	int failed;
};

/* Leaf i of all. */
static void make_leaf(void *arg, int64_t i, int worker K_UNUSED)
{
	struct making *m = arg;
	struct k_err err;
	struct k_leaves l;
	int e = 0;
	uint64_t off;
	if (__atomic_load_n(&m->failed, __ATOMIC_RELAXED))
		return;
	while (m->plan->first[e + 1] <= (uint64_t)i)
		e++;
	const struct k_entry *entry = &m->o->entries[e];
	k_entry_leaves(entry, &l);
	uint64_t n = k_leaf_at(&l, (uint64_t)i - m->plan->first[e], &off), seed = m->seed * 0x2545f4914f6cdd1du + (uint64_t)i;
	char *p = m->data + entry->offset + off;
	m->o->filler[e]->fill(p, n, entry, m->o->filler[e], next(&seed));
	int r = k_kmf_plan_note(m->plan, e, off, p, n, &err);
	if (r == 0)
		r = k_ctx_check(m->ctx, &err);
	if (r < 0 && !__atomic_exchange_n(&m->failed, r, __ATOMIC_RELAXED))
		m->err = err;
}

static int fill(struct k_kmf_plan *plan, const struct k_outline *o, char *file, int64_t seed, const struct k_ctx *ctx, struct k_err *err)
{
	struct making m = { .o = o, .plan = plan, .data = file + plan->start, .seed = (uint64_t)seed, .ctx = ctx };
	struct k_buf trailer;
	memcpy(file, plan->head.data, plan->start);
	k_pool_each(ctx->pool, (int64_t)plan->first[o->n], make_leaf, &m);
	if (m.failed) {
		*err = m.err;
		return m.failed;
	}
	k_buf_init(&trailer, 0);
	int r = k_kmf_plan_trailer(plan, &trailer, err);
	if (r == 0)
		memcpy(file + plan->trailer_at, trailer.data, trailer.len);
	k_buf_fini(&trailer);
	return r;
}

int k_synthetic_make(struct k_synthetic *s, struct k_outline *o, int64_t seed, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_kmf_head head = { .arch = o->arch->name, .config = o->config, .config_len = strlen(o->config), .n_entries = o->n, .entries = o->entries };
	struct k_kmf_plan *plan;
	int r = k_kmf_plan_new(&plan, &head, err);
	if (r < 0)
		return r;
	s->fd = memfd_create(s->name, 0);
	void *p = MAP_FAILED;
	if (s->fd >= 0) {
		snprintf(s->path, sizeof(s->path), "/proc/self/fd/%d", s->fd);
		if (ftruncate(s->fd, (off_t)plan->total) == 0)
			p = mmap(NULL, plan->total, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	}
	r = p == MAP_FAILED ? k_err_nomem(err, plan->total, "a synthetic model") : fill(plan, o, p, seed, ctx, err);
	if (p != MAP_FAILED)
		munmap(p, plan->total);
	k_kmf_plan_free(plan);
	return r;
}
