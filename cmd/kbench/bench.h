/* bench.h: what the parts of kbench share. A measurement is repeated; the record carries the median, the spread of the
 * repetitions, and what it ran on. */
#ifndef K_BENCH_H
#define K_BENCH_H

#include <sys/resource.h>
#include "cmd/kbench/placement.h"
#include "cmd/kbench/synthetic.h"
#include "evals/report.h"
#include "libcore/buf.h"
#include "libcore/ctx.h"
#include "libcore/model.h"

struct k_bench {
	struct k_ctx *ctx;
	struct k_report *rep;
	const char *model, *device;     /* model NULL: not given; of synthetic ones the first one's path */
	int64_t depth[32], batch[32];
	int n_depth, n_batch;
	struct k_synthetic synthetic[2];        /* decode, prefill, load: in the place of a model; a second one is measured beside it */
	int n_synthetic;
	struct k_placement place;
	bool stretch;                   /* depths are filled without computing */
	int64_t reps, tokens;
	const char *url, *name, *file;  /* serve */
	int64_t concurrency[32], slow, seed;
	int n_concurrency;
	double rate, seconds, abandon;
	char **commands;                /* compare: A... -- B... */
	int n_commands;
	bool ignore_output;
	char served[256];               /* serve: the model that was asked for; "": none yet */
	const char *history;
	char model_digest[65];          /* of the model that was opened last; "": none */
};

/* Repetitions of one measurement. */
struct k_times { double v[2048]; int n; };
double k_times_median(struct k_times *t);               /* sorts */
double k_times_spread(struct k_times *t);               /* (largest - smallest) / median; NaN: of one, which has none */
struct k_json *k_times_json(const struct k_times *t);   /* as they come; NULL without memory */

double k_bench_now(void);                               /* seconds, monotonic */

/* A command, run to its end (child.c). */
struct k_child {
	struct k_buf text;              /* what it printed, the first MiB; the caller's, before (k_buf_init) and after */
	uint8_t digest[32];             /* of all it printed */
	int64_t printed;
	double seconds;
	int status;                     /* 128 + n: ended by signal n */
	struct rusage use;
};
/* K_EUSAGE: it cannot be run. */
int k_child_run(struct k_child *c, char **argv, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* The tool beside this one; where there is none, any in PATH. The caller's; NULL without memory. */
char *k_child_tool(const char *name) K_MUST_USE;

/* What was used, by this process from begin to end, or by commands: peak_rss, bytes_read (from disk), minor_faults, major_faults. put: of one of so many runs. */
void k_use_begin(struct rusage *u);
void k_use_end(struct rusage *u, const struct rusage *begun);
void k_use_add(struct rusage *sum, const struct rusage *u);
int k_use_put(struct k_json *o, const struct rusage *u, int64_t runs) K_MUST_USE;

/* waited: the share of the time in which threads of this process could have run that they had no CPU, since its start. More than so much is told, and
 * trends does not blame a run for more of it. For what is computed here: who waits for a server or a command is no measure of it. */
#define K_BENCH_BUSY 0.1
int k_bench_put_waited(struct k_json *o, const struct k_bench *b) K_MUST_USE;
/* machine, threads, placement, ping_ns, dropped, commit; level where a device is open (dev may be NULL). */
int k_bench_put_machine(struct k_json *o, struct k_bench *b, struct k_device *dev) K_MUST_USE;

/* The model of -m on a device of its own, which ctx chooses the level of; close takes one that did not open. */
struct k_bench_model { struct k_device *dev; struct k_model *m; };
int k_bench_model_open(struct k_bench_model *o, struct k_bench *b, const char *path, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
void k_bench_model_close(struct k_bench_model *o);
/* A sequence of so many tokens, the same for a seed on every machine. stretch: only the first few of them are computed. */
int k_bench_fill_seq(struct k_model *m, struct k_seq **out, int64_t depth, int64_t seed, bool stretch, struct k_err *err) K_MUST_USE;

int k_bench_machine(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_kernels(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_decode(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_prefill(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_load(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_convert(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_serve(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_compare(struct k_bench *b, struct k_err *err) K_MUST_USE;
int k_bench_trends(struct k_bench *b, struct k_err *err) K_MUST_USE;

/* Can it be drawn (draw.c)? Then: what was reported as a picture into path. */
bool k_bench_draws(const char *what);
int k_bench_plot_check(const char *what, const char *path, struct k_err *err) K_MUST_USE;
int k_bench_plot(const char *what, const struct k_report *rep, const char *path, struct k_err *err) K_MUST_USE;

#endif
