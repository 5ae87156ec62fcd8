/* load.c: how long a model takes until a first token can be computed, with its files in the page cache and without. */
#include "libcore/base.h"
#include "cmd/kbench/bench.h"
#include "cmd/kbench/inputs.h"
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

static int load_times(struct k_bench *b, const struct k_inputs *cold, struct k_times *t, struct rusage *use, struct k_err *err)
{
	for (int64_t i = 0; i < b->reps; i++) {
		struct rusage from, to;
		if (cold && !k_inputs_chill(cold))
			return 0;
		k_use_begin(&from);
		int r = load_once(b, &t->v[t->n], err);
		if (r < 0)
			return r;
		t->n++;
		k_use_end(&to, &from);
		k_use_add(use, &to);
	}
	return 0;
}

/* {"ms", spread, what was used}; null where the page cache did not let go of the files. */
static struct k_json *part(const char *cache, struct k_times *t, const struct rusage *use)
{
	struct k_json *o = k_json_object();
	if (o && (k_put_str(o, "cache", cache) | (t->n ? k_put_f32(o, "ms", k_times_median(t)) | k_put_f32(o, "spread", k_times_spread(t)) :
		k_put_null(o, "ms")) | k_use_put(o, use, t->n)) < 0) {
		k_json_free(o);
		o = NULL;
	}
	return o;
}

int k_bench_load(struct k_bench *b, struct k_err *err)
{
	struct k_times warm = { .n = 0 }, cold = { .n = 0 };
	struct rusage warm_use = { 0 }, cold_use = { 0 };
	struct k_inputs in = { 0 };
	int r = strcmp(b->model, "-") ? k_inputs_open(&in, b->model, err) : k_err_set(err, K_EUSAGE, "load wants a file or a folder");
	if (r == 0)
		r = load_times(b, &in, &cold, &cold_use, err);
	if (r == 0)
		r = load_times(b, NULL, &warm, &warm_use, err);
	k_inputs_close(&in);
	if (r == 0)
		r = k_report_item(b->rep, "cold", part("cold", &cold, &cold_use), true, NULL, err);
	if (r == 0)
		r = k_report_item(b->rep, "warm", part("warm", &warm, &warm_use), true, NULL, err);
	if (r < 0)
		return r;
	struct k_json *s = k_json_object();
	if (s && (k_put_str(s, "what", "load") | k_put_f32(s, "ms", k_times_median(&warm)) |
		(cold.n ? k_put_f32(s, "ms_cold", k_times_median(&cold)) : k_put_null(s, "ms_cold")) | k_put_str(s, "cache", "warm") |
		(b->n_synthetic ? k_synthetic_put(s, b->synthetic) : 0) | k_put_f32(s, "spread", k_times_spread(&warm)) | k_use_put(s, &warm_use, warm.n) | k_bench_put_machine(s, b, NULL)) < 0) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(b->rep, s, err);
}
