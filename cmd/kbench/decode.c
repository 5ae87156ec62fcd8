/* decode.c: tokens a second of a model: decode (one token a sequence and step) and prefill (a prompt at once), at depths and
 * batches.
 *
 *   base sequences, filled to the depth --fork--> timed repetition --drop--> next
 *
 * limit_frac of decode: bytes that a step must read (weights of one token, caches of all sequences) a second, over the raw read
 * bandwidth of the machine, which is timed before and after and averaged. Speed without a right result is none: each repetition must compute
 * the same, and a few tokens are computed at --cpu ref as well. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "cmd/kbench/bench.h"
#include "formats/format.h"
#include "libcore/hash.h"
#include "libcore/log.h"
#include "libcore/seq.h"

enum { MAX_BATCH = 1024, COMPUTED = 256 };

int k_bench_model_open(struct k_bench_model *o, struct k_bench *b, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_model_opts mo = { 0 };
	struct k_ckpt *ck;
	uint8_t digest[32];
	memset(o, 0, sizeof(*o));
	int r = k_device_open(&o->dev, ctx, b->device, err);
	if (r == 0)
		r = k_format_open(&ck, b->model, true, ctx, err);
	if (r == 0)
		r = k_model_open(&o->m, ck, o->dev, &mo, ctx, err);
	if (r < 0)
		return r;
	k_model_digest(o->m, digest);
	k_hex(b->model_digest, digest);
	return 0;
}

void k_bench_model_close(struct k_bench_model *o)
{
	k_model_close(o->m);
	k_device_close(o->dev);
}

/* Ids that wander over the vocabulary, the same on every machine. */
static void fill_ids(int32_t *ids, int64_t n, int64_t vocab, int64_t seed)
{
	uint64_t x = (uint64_t)seed * 0x9e3779b97f4a7c15u + 1;
	for (int64_t i = 0; i < n; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		ids[i] = (int32_t)((x >> 33) % (uint64_t)vocab);
	}
}

int k_bench_fill_seq(struct k_model *m, struct k_seq **out, int64_t depth, int64_t seed, bool stretch, struct k_err *err)
{
	int64_t n = stretch ? K_MIN(depth, (int64_t)COMPUTED) : depth;
	int32_t *ids = k_calloc((size_t)n + 1, sizeof(*ids));
	int r = ids ? k_seq_new(out, m, err) : k_err_nomem(err, (size_t)n * 4, "tokens");
	if (r == 0 && depth) {
		struct k_run run = { *out, ids, n, 0 };
		fill_ids(ids, n, k_model_hp(m)->n_vocab, seed);
		r = k_model_step(m, &run, 1, NULL, NULL, err);
	}
	if (r == 0)
		r = k_seq_stretch(*out, depth, (uint64_t)seed + 1, err);
	k_free(ids);
	return r;
}

struct point { int64_t depth, batch; bool prefill; };

/* One repetition on forks of base: seconds, and the last logits of each. */
static int repeat(struct k_model *m, struct k_seq **base, const struct point *pt, int64_t tokens, double *seconds, float *logits, struct k_err *err)
{
	int64_t V = k_model_hp(m)->n_vocab, n = pt->prefill ? tokens : 1;
	struct k_seq *seq[MAX_BATCH] = { 0 };
	struct k_run run[MAX_BATCH];
	const float *hidden;
	int32_t *ids = k_calloc((size_t)(tokens * pt->batch), sizeof(*ids));
	int r = ids ? 0 : k_err_nomem(err, (size_t)(tokens * pt->batch) * 4, "tokens");
	for (int64_t i = 0; r == 0 && i < pt->batch; i++) {
		r = k_seq_fork(&seq[i], base[i], err);
		fill_ids(ids + i * tokens, tokens, V, 1000 + i);
	}
	double t = k_bench_now();
	for (int64_t at = 0; r == 0 && at < tokens; at += n) {
		for (int64_t i = 0; i < pt->batch; i++)
			run[i] = (struct k_run){ seq[i], ids + i * tokens + at, n, 1 };
		r = k_model_step(m, run, (int)pt->batch, &hidden, NULL, err);
		if (r == 0)
			r = k_model_logits(m, hidden, pt->batch, logits, err);
	}
	*seconds = k_bench_now() - t;
	for (int64_t i = 0; i < pt->batch; i++)
		k_seq_free(seq[i]);
	k_free(ids);
	return r;
}

struct measured { double tok_s, spread, limit_frac; uint64_t step_bytes; char digest[65]; struct rusage use; };

static int64_t tokens_of(const struct k_bench *b, bool prefill) { return b->tokens ? b->tokens : prefill ? 512 : 32; }

/* A repetition to warm up, and those that are timed: all of them compute the same, or the point fails. */
static int repeat_all(struct k_bench *b, struct k_model *m, struct k_seq **base, const struct point *pt, float *logits, struct k_times *t,
	struct measured *out, struct k_err *err)
{
	size_t n = (size_t)(k_model_hp(m)->n_vocab * pt->batch) * sizeof(*logits);
	int64_t tokens = tokens_of(b, pt->prefill);
	uint8_t first[32], digest[32];
	struct rusage begun;
	double seconds;
	int r = repeat(m, base, pt, tokens, &seconds, logits, err);
	if (r == 0)
		r = k_sha256_once(logits, n, first, err);
	k_use_begin(&begun);
	for (int64_t i = 0; r == 0 && i < b->reps; i++) {
		r = repeat(m, base, pt, tokens, &seconds, logits, err);
		t->v[t->n++] = (double)(tokens * pt->batch) / seconds;
		if (r == 0)
			r = k_sha256_once(logits, n, digest, err);
		if (r == 0 && memcmp(digest, first, sizeof(digest)))
			r = k_err_set(err, K_ENO, "depth %lld, batch %lld: repetition %lld computes other logits than the first", (long long)pt->depth,
				(long long)pt->batch, (long long)i + 1);
	}
	k_use_end(&out->use, &begun);
	k_hex(out->digest, first);
	return r;
}

static int measure(struct k_bench *b, struct k_model *m, const struct point *pt, struct measured *out, struct k_err *err)
{
	struct k_seq *base[MAX_BATCH] = { 0 };
	struct k_times t = { .n = 0 };
	double before, after;
	int64_t V = k_model_hp(m)->n_vocab;
	float *logits = k_calloc((size_t)V, (size_t)pt->batch * sizeof(*logits));
	int r = logits ? 0 : k_err_nomem(err, (size_t)(V * pt->batch) * 4, "logits");
	out->step_bytes = k_model_bytes_per_token(m);
	for (int64_t i = 0; r == 0 && i < pt->batch; i++) {
		r = k_bench_fill_seq(m, &base[i], pt->depth, i, b->stretch, err);
		if (r == 0)
			out->step_bytes += k_seq_bytes(base[i]);
	}
	if (r == 0)
		r = k_bench_bandwidth(b->ctx, &before, err);
	if (r == 0)
		r = repeat_all(b, m, base, pt, logits, &t, out, err);
	if (r == 0)
		r = k_bench_bandwidth(b->ctx, &after, err);
	for (int64_t i = 0; i < pt->batch; i++)
		k_seq_free(base[i]);
	k_free(logits);
	if (r < 0)
		return r;
	out->tok_s = k_times_median(&t);
	out->spread = k_times_spread(&t);
	out->limit_frac = out->tok_s / (double)pt->batch * (double)out->step_bytes / ((before + after) / 2);
	return 0;
}

/* What was used is that of a repetition; all of them are warm. */
static int put_point(struct k_json *o, const struct measured *x, const struct point *pt, struct k_model *m, int64_t reps)
{
	return k_put_f32(o, "tok_s", x->tok_s) | k_put_int(o, "bytes_per_token", (int64_t)k_model_bytes_per_token(m)) |
		(pt->prefill ? k_put_null(o, "limit_frac") : k_put_f32(o, "limit_frac", x->limit_frac)) |
		k_use_put(o, &x->use, reps) | k_put_str(o, "cache", "warm") | k_put_f32(o, "spread", x->spread) |
		k_put_int(o, "depth", pt->depth) | k_put_int(o, "batch", pt->batch);
}

/* --- the reference ------------------------------------------------------------------------------------------------------------------ */

/* The same few tokens at the level that is measured and at ref, the specification: their last logits, whose largest difference is told in
 * standard deviations of the reference's. Rounded activations fall to one side or the other with the order of a sum, f32 moves in the sixth
 * digit; a head or a layer that is left out is one deviation off and more. */
static const struct { const char *name; double tolerance; } acts[] = { { "f32", 1e-4 }, { "bf16", 0.1 }, { "int8", 0.25 } };
struct reference { float *ours, *theirs; int64_t n; double error; };

static int few_tokens(struct k_bench *b, struct k_model *m, bool prefill, float *logits, struct k_err *err)
{
	struct k_seq *base = NULL;
	struct point pt = { 0, 1, prefill };
	double seconds;
	int r = k_bench_fill_seq(m, &base, 0, 0, false, err);
	if (r == 0)
		r = repeat(m, &base, &pt, K_MIN(tokens_of(b, prefill), prefill ? 32 : 4), &seconds, logits, err);
	k_seq_free(base);
	return r;
}

static double differ(const float *x, const float *y, int64_t n)
{
	double sum = 0, squares = 0, most = 0;
	for (int64_t i = 0; i < n; i++) {
		sum += y[i];
		squares += (double)y[i] * y[i];
		most = fmax(most, isfinite(x[i]) ? fabs((double)x[i] - y[i]) : INFINITY);
	}
	double variance = squares / (double)n - sum / (double)n * (sum / (double)n);
	return variance > 0 ? most / sqrt(variance) : INFINITY;
}

/* After the model that was measured is closed, so that there is never more than one in memory. */
static int compute_reference(struct k_bench *b, struct reference *f, bool prefill, struct k_err *err)
{
	struct k_ctx ctx = *b->ctx;
	struct k_bench on_cpu = *b;
	struct k_bench_model o;
	ctx.cpu = "ref";
	on_cpu.device = NULL;
	int r = k_bench_model_open(&o, &on_cpu, &ctx, err);
	if (r == 0)
		r = few_tokens(b, o.m, prefill, f->theirs, err);
	k_bench_model_close(&o);
	if (r == 0)
		f->error = differ(f->ours, f->theirs, f->n);
	return r;
}

static int report_reference(struct k_bench *b, const struct reference *f, struct k_json *summary, struct k_err *err)
{
	double tolerance = acts[b->ctx->act].tolerance;
	char why[200];
	struct k_json *o = k_json_object();
	bool ok = f->error <= tolerance;
	if (o && (k_put_f32(o, "ref_error", f->error) | k_put_f32(o, "tolerance", tolerance) | k_put_f32(summary, "ref_error", f->error) |
		k_put_f32(summary, "tolerance", tolerance)) < 0) {
		k_json_free(o);
		o = NULL;
	}
	if (isfinite(f->error))
		snprintf(why, sizeof(why), "the logits are %.3g standard deviations away from those of --cpu ref, the tolerance is %.3g", f->error, tolerance);
	else
		snprintf(why, sizeof(why), "the logits are all the same, or no numbers: nothing was computed");
	return k_report_item(b->rep, "reference", o, ok, why, err);
}

/* --- points ----------------------------------------------------------------------------------------------------------------------- */

/* All points, an item each; the summary is the slowest of them, its digest that of all their digests. */
static int run_points(struct k_bench *b, struct k_model *m, bool prefill, struct k_json **summary, struct k_err *err)
{
	struct measured worst = { .tok_s = -1 };
	struct point at = { 0 };
	struct k_buf digests;
	uint8_t digest[32];
	char hex[65];
	k_buf_init(&digests, 0);
	int r = 0;
	for (int i = 0; i < b->n_depth * b->n_batch && r == 0; i++) {
		struct point pt = { b->depth[i / b->n_batch], b->batch[i % b->n_batch], prefill };
		struct measured x;
		char key[64];
		r = measure(b, m, &pt, &x, err);
		if (r < 0)
			break;
		k_buf_puts(&digests, x.digest);
		if (worst.tok_s < 0 || x.tok_s < worst.tok_s) {
			worst = x;
			at = pt;
		}
		struct k_json *o = k_json_object();
		if (o && (put_point(o, &x, &pt, m, b->reps) | k_put_str(o, "digest", x.digest)) < 0) {
			k_json_free(o);
			o = NULL;
		}
		snprintf(key, sizeof(key), "depth %lld batch %lld", (long long)pt.depth, (long long)pt.batch);
		r = k_report_item(b->rep, key, o, true, NULL, err);
	}
	if (r == 0)
		r = k_buf_ok(&digests, "digests", err);
	if (r == 0)
		r = k_sha256_once(digests.data, digests.len, digest, err);
	k_buf_fini(&digests);
	if (r < 0)
		return r;
	k_hex(hex, digest);
	struct k_json *s = *summary = k_json_object();
	if (s && (k_put_str(s, "what", prefill ? "prefill" : "decode") | put_point(s, &worst, &at, m, b->reps) |
		(b->n_synthetic ? k_synthetic_put(s, b->synthetic) : 0) | k_put_str(s, "digest", hex) | k_put_str(s, "act", acts[b->ctx->act].name) | k_bench_put_machine(s, b->ctx, k_model_device(m))) == 0)
		return 0;
	k_json_free(s);
	*summary = NULL;
	return k_err_nomem(err, 1024, "a record");
}

static int measure_and_check(struct k_bench *b, bool prefill, struct reference *f, struct k_json **summary, struct k_err *err)
{
	struct k_bench_model o;
	int r = k_bench_model_open(&o, b, b->ctx, err);
	if (r == 0) {
		f->n = k_model_hp(o.m)->n_vocab;
		f->ours = k_calloc((size_t)f->n, sizeof(*f->ours));
		f->theirs = k_calloc((size_t)f->n, sizeof(*f->theirs));
		r = f->ours && f->theirs ? few_tokens(b, o.m, prefill, f->ours, err) : k_err_nomem(err, (size_t)f->n * 8, "logits");
	}
	if (r == 0)
		r = run_points(b, o.m, prefill, summary, err);
	k_bench_model_close(&o);
	if (r == 0 && !strcmp(b->model, "-")) {
		k_logf(b->ctx->log, K_LOG_WARN, "a model from a pipe is read once: it is not computed at --cpu ref as well");
		return k_put_null(*summary, "ref_error") < 0 ? k_err_nomem(err, 64, "a record") : 0;
	}
	if (r == 0)
		r = compute_reference(b, f, prefill, err);
	return r == 0 ? report_reference(b, f, *summary, err) : r;
}

static int bench_model(struct k_bench *b, bool prefill, struct k_err *err)
{
	struct reference f = { 0 };
	struct k_json *summary = NULL;
	for (int i = 0; i < b->n_batch; i++)
		if (b->batch[i] < 1 || b->batch[i] > MAX_BATCH)
			return k_err_set(err, K_EUSAGE, "-b %lld: wanted 1 to %d", (long long)b->batch[i], MAX_BATCH);
	int r = measure_and_check(b, prefill, &f, &summary, err);
	if (r == 0)
		r = k_report_summary(b->rep, summary, err);
	else
		k_json_free(summary);
	k_free(f.ours);
	k_free(f.theirs);
	return r;
}

int k_bench_decode(struct k_bench *b, struct k_err *err) { return bench_model(b, false, err); }
int k_bench_prefill(struct k_bench *b, struct k_err *err) { return bench_model(b, true, err); }
