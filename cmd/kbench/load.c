/* load.c: how long a model takes until it is ready, with its files in the page cache and without.
 *
 *   ms       in this process: opened, and one token computed
 *   exec_ms  kserve --stdio on an empty input: from exec to its end, which is when it could have answered, and a little */
#include "libcore/base.h"
#include <stdio.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/inputs.h"
#include "libcore/pool.h"
#include "libcore/seq.h"

static int load_once(struct k_bench *b, double *ms, struct k_err *err)
{
	struct k_bench_model o;
	struct k_seq *s = NULL;
	double start = k_bench_now();
	int r = k_bench_model_open(&o, b, b->model, b->ctx, err);
	if (r == 0)
		r = k_bench_fill_seq(o.m, &s, 1, 0, false, err);       /* ready is when a token can be computed */
	*ms = (k_bench_now() - start) * 1e3;
	k_seq_free(s);
	k_bench_model_close(&o);
	return r;
}

static int exec_once(struct k_bench *b, double *ms, struct k_err *err)
{
	char threads[32], *tool = k_child_tool("kserve");
	char *argv[] = { tool, "--stdio", "-q", "-j", threads, (char *)(uintptr_t)b->model, NULL };
	struct k_child c = { .status = 0 };
	if (!tool)
		return k_err_nomem(err, 64, "the name of a tool");
	snprintf(threads, sizeof(threads), "%d", k_pool_threads(b->ctx->pool));
	k_buf_init(&c.text, 0);
	int r = k_child_run(&c, argv, b->ctx, err);
	if (r == 0 && c.status)
		r = k_err_set(err, c.status == 6 ? K_ENOMEM : K_EFORMAT, "'%s --stdio %s' ended with %d", tool, b->model, c.status);
	*ms = c.seconds * 1e3;
	k_buf_fini(&c.text);
	k_free(tool);
	return r;
}

/* One state of the page cache. */
struct state { const char *name; struct k_times ms, exec; struct rusage use; };

static int time_state(struct k_bench *b, const struct k_inputs *cold, struct state *s, struct k_err *err)
{
	for (int64_t i = 0; i < 2 * b->reps && s->ms.n < b->reps; i++) {
		struct rusage from, to;
		if (cold && !k_inputs_chill(cold))
			return 0;
		k_placement_begin(&b->place);
		k_use_begin(&from);
		int r = load_once(b, &s->ms.v[s->ms.n], err);
		k_use_end(&to, &from);
		if (r == 0 && cold && !k_inputs_chill(cold))
			return 0;
		if (r == 0)
			r = exec_once(b, &s->exec.v[s->exec.n], err);
		if (r < 0)
			return r;
		k_use_add(&s->use, &to);
		if (k_placement_end(&b->place) || (!s->ms.n && i >= b->reps)) {
			s->ms.n++;
			s->exec.n++;
		}
	}
	return 0;
}

static int put_times(struct k_json *o, const char *ms, const char *exec, struct state *s)
{
	if (!s->ms.n)
		return k_put_null(o, ms) | k_put_null(o, exec);
	return k_put_f32(o, ms, k_times_median(&s->ms)) | k_put_f32(o, exec, k_times_median(&s->exec));
}

/* null where the page cache did not let go of the files. */
static int report_state(struct k_bench *b, struct state *s, struct k_err *err)
{
	struct k_json *o = k_json_object();
	if (o && (k_put_str(o, "cache", s->name) | put_times(o, "ms", "exec_ms", s) |
		(s->ms.n ? k_put_f32(o, "spread", k_times_spread(&s->exec)) : 0) | k_use_put(o, &s->use, s->ms.n)) < 0) {
		k_json_free(o);
		o = NULL;
	}
	return k_report_item(b->rep, s->name, o, true, NULL, err);
}

int k_bench_load(struct k_bench *b, struct k_err *err)
{
	struct state *s = k_calloc(2, sizeof(*s)), *cold = s, *warm = s + 1;
	struct k_inputs in = { 0 };
	if (!s)
		return k_err_nomem(err, 2 * sizeof(*s), "times");
	cold->name = "cold";
	warm->name = "warm";
	int r = b->n_synthetic > 1 ? k_err_set(err, K_EUSAGE, "load wants one model, --synthetic names %d", b->n_synthetic) :
		!strcmp(b->model, "-") ? k_err_set(err, K_EUSAGE, "load wants a file or a folder") : 0;
	if (r == 0)
		r = k_inputs_open(&in, b->model, err);
	if (r == 0)
		r = time_state(b, &in, cold, err);
	if (r == 0)
		r = time_state(b, NULL, warm, err);
	k_inputs_close(&in);
	if (r == 0)
		r = report_state(b, cold, err);
	if (r == 0)
		r = report_state(b, warm, err);
	if (r == 0) {
		struct k_json *o = k_json_object();
		if (o && (k_put_str(o, "what", "load") | put_times(o, "ms", "exec_ms", warm) | put_times(o, "ms_cold", "exec_ms_cold", cold) |
			k_put_str(o, "cache", "warm") | (b->n_synthetic ? k_synthetic_put(o, b->synthetic) : 0) |
			k_put_f32(o, "spread", k_times_spread(&warm->exec)) | k_use_put(o, &warm->use, warm->ms.n) | k_bench_put_waited(o, b) | k_bench_put_machine(o, b, NULL)) < 0) {
			k_json_free(o);
			o = NULL;
		}
		r = k_report_summary(b->rep, o, err);
	}
	k_free(s);
	return r;
}
