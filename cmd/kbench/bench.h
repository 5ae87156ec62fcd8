/* bench.h: what the parts of kbench share. A measurement is repeated; the record carries the median, the spread of the
 * repetitions, and what it ran on. */
#ifndef K_BENCH_H
#define K_BENCH_H

#include "evals/report.h"
#include "libcore/ctx.h"

struct k_bench {
	struct k_ctx *ctx;
	struct k_report *rep;
	const char *model, *device;     /* model NULL: not given */
	int64_t depth[32], batch[32];
	int n_depth, n_batch;
	int64_t reps, tokens;
	const char *url, *name, *file;  /* serve */
	int64_t concurrency[32], slow, seed;
	int n_concurrency;
	double rate, seconds, abandon;
	char **commands;                /* compare: A... -- B... */
	int n_commands;
};

/* Repetitions of one measurement. */
struct k_times { double v[1024]; int n; };
double k_times_median(struct k_times *t);               /* sorts */
double k_times_spread(struct k_times *t);               /* (largest - smallest) / median */

double k_bench_now(void);                               /* seconds, monotonic */
/* Bytes that all threads together read from memory in a second: best of a few passes over a buffer beyond the caches. */
int k_bench_bandwidth(const struct k_ctx *ctx, double *bytes_s, struct k_err *err) K_MUST_USE;
uint64_t k_bench_peak_rss(void);
/* machine, threads, placement, commit; level where a device is open (dev may be NULL). */
int k_bench_put_machine(struct k_json *o, const struct k_ctx *ctx, struct k_device *dev) K_MUST_USE;

int k_bench_machine(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_decode(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_prefill(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_load(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_serve(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_compare(struct k_bench *b, struct k_err *err) K_MUST_USE;

#endif
