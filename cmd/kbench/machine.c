/* machine.c: what the machine can do, and the facts about it that every record carries. */
#include "libcore/base.h"
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/limits.h"
#include "libcore/cpu.h"
#include "libcore/pool.h"
#include "version.h"
#include "evals/stats.h"

enum { PASSES = 5 };
#define BUFFER (256u << 20)
#define PIECE (1u << 20)

double k_times_median(struct k_times *t)
{
	k_stats_sort(t->v, (size_t)t->n);
	return t->n % 2 ? t->v[t->n / 2] : (t->v[t->n / 2 - 1] + t->v[t->n / 2]) / 2;
}

double k_times_spread(struct k_times *t)
{
	double m = k_times_median(t);
	return m > 0 ? (t->v[t->n - 1] - t->v[0]) / m : 0;
}

double k_bench_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct reading { const uint64_t *p; uint64_t sum[1024]; };

static void read_piece(void *arg, int64_t i, int worker)
{
	struct reading *r = arg;
	const uint64_t *p = r->p + i * (PIECE / 8);
	uint64_t a = 0, b = 0, c = 0, d = 0;
	for (size_t k = 0; k < PIECE / 8; k += 4) {
		a += p[k];
		b += p[k + 1];
		c += p[k + 2];
		d += p[k + 3];
	}
	r->sum[worker % 1024] += a + b + c + d;
}

int k_bench_bandwidth(const struct k_ctx *ctx, double *bytes_s, struct k_err *err)
{
	size_t size = BUFFER;
	if (ctx->max_memory && ctx->max_memory / 4 < size)
		size = K_MAX((size_t)(ctx->max_memory / 4) / PIECE, 1) * PIECE;
	struct reading *r = k_calloc(1, sizeof(*r));
	uint64_t *p = k_aligned(size);
	double best = 0;
	if (!r || !p) {
		k_free(r);
		k_free(p);
		return k_err_nomem(err, size, "the bandwidth buffer");
	}
	memset(p, 1, size);
	r->p = p;
	for (int i = 0; i < PASSES; i++) {
		double t = k_bench_now();
		k_pool_each(ctx->pool, (int64_t)(size / PIECE), read_piece, r);
		t = k_bench_now() - t;
		best = K_MAX(best, (double)size / t);
	}
	*bytes_s = best;
	k_free(r);
	k_free(p);
	return 0;
}

int k_bench_put_machine(struct k_json *o, const struct k_ctx *ctx, struct k_device *dev)
{
	char name[128], place[64];
	cpu_set_t set;
	int allowed = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
	k_cpu_name(name, sizeof(name));
	snprintf(place, sizeof(place), "%d threads on %d cpus", k_pool_threads(ctx->pool), allowed);
	return k_put_str(o, "machine", name) | (dev ? k_put_str(o, "level", dev->level(dev)) : 0) |
		k_put_int(o, "threads", k_pool_threads(ctx->pool)) | k_put_str(o, "placement", place) |
		k_put_str(o, "commit", K_DESCRIBE);
}

int k_bench_machine(struct k_bench *b, struct k_err *err)
{
	struct k_device *dev = NULL;
	struct k_times t = { .n = 0 };
	struct k_limits limits = { .ctx = b->ctx };
	double peak = 0;
	int r = k_device_open(&dev, b->ctx, b->device, err);
	for (int64_t i = 0; r == 0 && i < b->reps; i++) {
		r = k_bench_bandwidth(b->ctx, &t.v[t.n++], err);
		peak = K_MAX(peak, k_limit_peak(&limits, dev->level(dev)));
	}
	if (r == 0) {
		struct k_json *s = k_json_object();
		double gbs = k_times_median(&t) / 1e9;
		if (s && (k_put_str(s, "what", "machine") | k_put_f32(s, "read_gbs", gbs) |
			(peak > 0 ? k_put_f32(s, "peak_gops", peak / 1e9) : k_put_null(s, "peak_gops")) |
			k_put_f32(s, "spread", k_times_spread(&t)) | k_bench_put_machine(s, b->ctx, dev)) < 0) {
			k_json_free(s);
			s = NULL;
		}
		r = k_report_summary(b->rep, s, err);
	}
	k_device_close(dev);
	return r;
}
