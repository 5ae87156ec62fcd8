/* machine.c: what the machine can do, and the facts about it that every record carries. */
#include "libcore/base.h"
#include <dirent.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/limits.h"
#include "libcore/cpu.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "version.h"
#include "evals/stats.h"

enum { PASSES = 12 };

double k_times_median(struct k_times *t)
{
	k_stats_sort(t->v, (size_t)t->n);
	return t->n % 2 ? t->v[t->n / 2] : (t->v[t->n / 2 - 1] + t->v[t->n / 2]) / 2;
}

double k_times_spread(struct k_times *t)
{
	double m = k_times_median(t);
	if (t->n < 2)
		return NAN;
	return m > 0 ? (t->v[t->n - 1] - t->v[0]) / m : 0;
}

double k_bench_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The share of the time in which threads of this process could have run that they had no CPU; NaN: the system does not tell. */
static double waited(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	double ran = 0, lost = 0;
	while (d && (e = readdir(d))) {
		char path[300];
		unsigned long long a, b;
		snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", e->d_name);
		FILE *f = fopen(path, "re");
		if (f && fscanf(f, "%llu %llu", &a, &b) == 2) {
			ran += (double)a;
			lost += (double)b;
		}
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return ran > 0 ? lost / (ran + lost) : NAN;
}

int k_bench_put_waited(struct k_json *o, const struct k_bench *b)
{
	double busy = waited();
	if (busy > K_BENCH_BUSY)
		k_logf(b->ctx->log, K_LOG_WARN, "threads waited for a CPU in %.0f %% of the time: other programs run here, or -j is above the CPUs, and figures are worse for it",
			100 * busy);
	return k_put_f32(o, "waited", busy);
}

int k_bench_put_machine(struct k_json *o, struct k_bench *b, struct k_device *dev)
{
	int threads = k_pool_threads(b->ctx->pool);
	char name[128], place[96];
	cpu_set_t set;
	int allowed = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
	k_cpu_name(name, sizeof(name));
	const char *label = k_placement_label(&b->place);
	snprintf(place, sizeof(place), threads > 1 && allowed > 1 ? "%d threads on %d cpus, %s" : "%d threads on %d cpus", threads, allowed, label);
	return k_put_str(o, "machine", name) | (dev ? k_put_str(o, "level", dev->level(dev)) : 0) |
		k_put_int(o, "threads", threads) | k_put_str(o, "placement", place) |
		(b->place.ns > 0 ? k_put_f32(o, "ping_ns", b->place.ns) : k_put_null(o, "ping_ns")) | k_put_int(o, "dropped", b->place.dropped) |
		k_put_str(o, "commit", K_DESCRIBE);
}

static const struct { const char *name; enum k_act operands; } peaks[] = {
	{ "peak_gops", K_ACT_F32 }, { "peak_bf16_gops", K_ACT_BF16 }, { "peak_int8_gops", K_ACT_INT8 },
};

int k_bench_machine(struct k_bench *b, struct k_err *err)
{
	struct k_device *dev = NULL;
	struct k_times t = { .n = 0 };
	struct k_limits limits = { .arena = NULL };
	double peak[K_LEN(peaks)] = { 0 }, unit = 0;
	int r = k_device_open(&dev, b->ctx, b->device, err);
	if (r == 0)
		r = k_limits_open(&limits, b->ctx, err);
	for (int64_t i = 0; r == 0 && i < b->reps; i++) {
		k_placement_begin(&b->place);
		t.v[t.n] = k_limit_read_best(&limits, PASSES);
		for (size_t k = 0; k < K_LEN(peaks); k++) {
			double ops = k_limit_peak(&limits, dev->level(dev), peaks[k].operands);
			peak[k] = K_MAX(peak[k], ops);
		}
		double pairs = k_limit_bf16_unit(&limits);
		unit = K_MAX(unit, pairs);
		t.n += k_placement_end(&b->place) || (t.n == 0 && i == b->reps - 1);
	}
	if (r == 0) {
		struct k_json *s = k_json_object();
		double gbs = k_times_median(&t) / 1e9;
		int bad = s ? k_put_str(s, "what", "machine") | k_put_f32(s, "read_gbs", gbs) : 0;
		for (size_t k = 0; s && k < K_LEN(peaks); k++)
			bad |= peak[k] > 0 ? k_put_f32(s, peaks[k].name, peak[k] / 1e9) : k_put_null(s, peaks[k].name);
		if (s)
			bad |= unit > 0 ? k_put_f32(s, "bf16_unit_gops", unit / 1e9) : k_put_null(s, "bf16_unit_gops");
		if (s && (bad | k_put_f32(s, "spread", k_times_spread(&t)) | k_bench_put_waited(s, b) | k_bench_put_machine(s, b, dev)) < 0) {
			k_json_free(s);
			s = NULL;
		}
		r = k_report_summary(b->rep, s, err);
	}
	k_limits_close(&limits);
	k_device_close(dev);
	return r;
}
