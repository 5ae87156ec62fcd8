/* limits.c: what the machine can do, timed beside a subject, a few milliseconds each: reading, scaling in place, multiply-adds.
 *
 * Reading and scaling go over memory that was touched, a window of it each time, so that it comes from beyond the
 * caches. Multiply-adds are counted in the vectors of the level in use; a level without an entry has no peak. */
#include "libcore/base.h"
#include "cmd/kbench/limits.h"
#include "cmd/kbench/bench.h"
#include "libcore/pool.h"

enum { PIECE = 1 << 20, PIECES = 64 };
#define ARENA ((size_t)256 << 20)

int k_limits_open(struct k_limits *l, const struct k_ctx *ctx, struct k_err *err)
{
	*l = (struct k_limits){ .ctx = ctx, .bytes = ARENA };
	if (ctx->max_memory && ctx->max_memory / 4 < l->bytes)
		l->bytes = (size_t)K_MAX(ctx->max_memory / 4 >> 20, (uint64_t)1) << 20;
	l->arena = k_aligned(l->bytes);
	if (!l->arena)
		return k_err_nomem(err, l->bytes, "the bandwidth buffer");
	memset(l->arena, 1, l->bytes);
	return 0;
}

void k_limits_close(struct k_limits *l) { k_free(l->arena); }

struct window { uint64_t *p; uint64_t sum[1024]; float factor; };

static void read_piece(void *arg, int64_t i, int worker)
{
	struct window *w = arg;
	const uint64_t *p = w->p + i * (PIECE / 8);
	uint64_t a = 0, b = 0, c = 0, d = 0;
	for (size_t k = 0; k < PIECE / 8; k += 4) {
		a += p[k];
		b += p[k + 1];
		c += p[k + 2];
		d += p[k + 3];
	}
	w->sum[worker % 1024] += a + b + c + d;
}

static void scale_piece(void *arg, int64_t i, int worker K_UNUSED)
{
	struct window *w = arg;
	float *x = (float *)(w->p + i * (PIECE / 8)), a = w->factor;
	for (size_t k = 0; k < PIECE / sizeof(*x); k++)
		x[k] *= a;
}

/* Bytes a second of fn over the next window of the arena. */
static double pass(struct k_limits *l, void (*fn)(void *, int64_t, int))
{
	struct window w = { .factor = l->factor };
	int64_t n = K_MIN((int64_t)(l->bytes / PIECE), (int64_t)PIECES);
	if (l->at + (size_t)n * PIECE > l->bytes)
		l->at = 0;
	w.p = (uint64_t *)(l->arena + l->at);
	l->at += (size_t)n * PIECE;
	double t = k_bench_now();
	k_pool_each(l->ctx->pool, n, fn, &w);
	return (double)(n * PIECE) / (k_bench_now() - t);
}

double k_limit_read(struct k_limits *l) { return pass(l, read_piece); }

double k_limit_read_best(struct k_limits *l, int passes)
{
	double best = 0;
	for (int i = 0; i < passes; i++) {
		double bytes_s = k_limit_read(l);
		best = K_MAX(best, bytes_s);
	}
	return best;
}

double k_limit_scale(struct k_limits *l) { return 2 * pass(l, scale_piece); }

#if defined(__x86_64__)
#define TEN(op, r) \
	op " %%" r "12, %%" r "13, %%" r "0\n" op " %%" r "12, %%" r "13, %%" r "1\n" op " %%" r "12, %%" r "13, %%" r "2\n" \
	op " %%" r "12, %%" r "13, %%" r "3\n" op " %%" r "12, %%" r "13, %%" r "4\n" op " %%" r "12, %%" r "13, %%" r "5\n" \
	op " %%" r "12, %%" r "13, %%" r "6\n" op " %%" r "12, %%" r "13, %%" r "7\n" op " %%" r "12, %%" r "13, %%" r "8\n" \
	op " %%" r "12, %%" r "13, %%" r "9\n"
#define CHAIN_FN(name, r) \
static void name(int64_t n) \
{ \
	__asm__ volatile("1:\n" TEN("vfmadd231ps", r) "dec %0\njnz 1b\n" : "+r"(n) : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
		"xmm6", "xmm7", "xmm8", "xmm9", "cc"); \
}
CHAIN_FN(chain_avx2, "ymm")
CHAIN_FN(chain_avx512, "zmm")
#endif

/* Ten independent chains of multiply-adds: as many as hide how long one takes. */
static const struct peak { const char *level; int lanes; void (*chain)(int64_t n); } peaks[] = {
#if defined(__x86_64__)
	{ "avx2", 8, chain_avx2 }, { "avx512", 16, chain_avx512 },
#endif
	{ NULL, 0, NULL }
};

enum { CHAINS = 10, STEPS = 100 * 1000, TASKS_A_THREAD = 8 };

static void chain_task(void *arg, int64_t i K_UNUSED, int worker K_UNUSED) { ((const struct peak *)arg)->chain(STEPS); }

double k_limit_peak(struct k_limits *l, const char *level)
{
	for (const struct peak *p = peaks; p->level; p++)
		if (!strcmp(p->level, level)) {
			int64_t n = TASKS_A_THREAD * k_pool_threads(l->ctx->pool);
			double t = k_bench_now();
			k_pool_each(l->ctx->pool, n, chain_task, (void *)(uintptr_t)p);
			return 2.0 * (double)n * STEPS * CHAINS * p->lanes / (k_bench_now() - t);
		}
	return 0;
}
