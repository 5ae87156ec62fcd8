/* decode.c: tokens a second of a model: decode (one token a sequence and step) and prefill (a prompt at once), at depths and
 * batches. Two models that were made up are measured in turns.
 *
 *   base sequences, filled to the depth --fork--> timed repetition --drop--> next
 *   sample:  place  read  A  read  place        of two:  place  read  A  read  B  read  B  read  A  read  place
 *
 * limit_frac: the time that a repetition would take at the limits of the machine, over the time that it took. A step of decode must read the
 * weights of its tokens and the caches of all sequences, and read and write their states; the limit is the raw read bandwidth, timed
 * right before and right after. A prompt is bounded by that or by its multiplications, whichever takes longer. Speed without a right result
 * is none: each repetition must compute the same, and a few tokens are computed at --cpu ref as well. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/limits.h"
#include "formats/format.h"
#include "libcore/hash.h"
#include "libcore/log.h"
#include "libcore/seq.h"

enum { MAX_BATCH = 1024, COMPUTED = 256, MOST = 2, PARTS = 16, PASSES = 4 };

int k_bench_model_open(struct k_bench_model *o, struct k_bench *b, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_model_opts mo = { 0 };
	struct k_ckpt *ck;
	uint8_t digest[32];
	memset(o, 0, sizeof(*o));
	int r = k_device_open(&o->dev, ctx, b->device, err);
	if (r == 0)
		r = k_format_open(&ck, path, true, ctx, err);
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

/* One repetition on forks of base: seconds, and the last logits of each. Before those a device that chooses tokens does. */
static int repeat(struct k_model *m, struct k_seq **base, const struct point *pt, int64_t tokens, double *seconds, float *logits, struct k_err *err)
{
	int64_t V = k_model_hp(m)->n_vocab, n = pt->prefill ? tokens : 1;
	struct k_seq *seq[MAX_BATCH] = { 0 };
	struct k_run run[MAX_BATCH];
	const struct k_draw greedy = { .temperature = 0 }, *draw[MAX_BATCH];
	int32_t chosen[MAX_BATCH];
	const float *hidden;
	int32_t *ids = k_calloc((size_t)(tokens * pt->batch), sizeof(*ids));
	int r = ids ? 0 : k_err_nomem(err, (size_t)(tokens * pt->batch) * 4, "tokens");
	for (int64_t i = 0; r == 0 && i < pt->batch; i++) {
		draw[i] = &greedy;
		r = k_seq_fork(&seq[i], base[i], err);
		fill_ids(ids + i * tokens, tokens, V, 1000 + i);
	}
	double t = k_bench_now();
	for (int64_t at = 0; r == 0 && at < tokens; at += n) {
		for (int64_t i = 0; i < pt->batch; i++)
			run[i] = (struct k_run){ seq[i], ids + i * tokens + at, n, 1 };
		r = k_model_step(m, run, (int)pt->batch, &hidden, NULL, err);
		if (r == 0)
			r = k_model_choose(m, hidden, pt->batch, at + n < tokens ? draw : NULL, chosen, logits, err);
	}
	*seconds = k_bench_now() - t;
	for (int64_t i = 0; i < pt->batch; i++)
		k_seq_free(seq[i]);
	k_free(ids);
	return r;
}

static int64_t tokens_of(const struct k_bench *b, bool prefill) { return b->tokens ? b->tokens : prefill ? 512 : 32; }

/* A model at a point: what it must read and compute, and what was measured. */
struct subject {
	struct k_model *m;
	const struct k_synthetic *made; /* NULL: not made up */
	struct k_seq *base[MAX_BATCH];
	float *logits;
	uint64_t weights, kv, state, moved, caches;    /* bytes of a step: read of weights, of pages; states, once, and what is moved of them; all that the caches take, slack included */
	double flops, expert_flops;     /* of a prompt's token in products of weights: of all but routed experts, of those */
	struct k_times seconds, frac;
	uint8_t first[32];
	struct rusage use;
};

/* Of the routed experts of a step of n tokens each is read once: so many are, where routing is even. */
static double union_of(const struct k_hp *h, int64_t n)
{
	double share = h->n_expert ? (double)h->n_expert_used / (double)h->n_expert : 0;
	return share > 0 ? (1 - pow(1 - share, (double)n)) / share : 0;
}

static int subject_open(struct k_bench *b, struct subject *x, const struct point *pt, struct k_err *err)
{
	struct k_token_part part[PARTS];
	const struct k_hp *h = k_model_hp(x->m);
	int64_t V = h->n_vocab, n = pt->prefill ? tokens_of(b, true) * pt->batch : pt->batch;
	int r = 0;
	x->logits = k_calloc((size_t)V, (size_t)pt->batch * sizeof(*x->logits));
	if (!x->logits)
		return k_err_nomem(err, (size_t)(V * pt->batch) * 4, "logits");
	for (int i = k_model_token_parts(x->m, part, PARTS); i > 0; i--) {
		bool experts = !strcmp(part[i - 1].role, "experts");
		/* In the last layer there is one token of each prompt. */
		x->weights += experts ? (uint64_t)((double)(part[i - 1].bytes - part[i - 1].last) * union_of(h, n) + (double)part[i - 1].last * union_of(h, pt->batch)) : part[i - 1].bytes;
		*(experts ? &x->expert_flops : &x->flops) += 2.0 * (double)part[i - 1].weights;
	}
	for (int64_t i = 0; r == 0 && i < pt->batch; i++) {
		r = k_bench_fill_seq(x->m, &x->base[i], pt->depth, i, b->stretch, err);
		if (r == 0)
			x->caches += k_seq_bytes(x->base[i]);
	}
	x->kv = (uint64_t)pt->batch * (uint64_t)((double)k_seq_page_bytes(x->m) / K_PAGE * (double)pt->depth);
	x->state = (uint64_t)pt->batch * k_seq_state_bytes(x->m);
	x->moved = (uint64_t)pt->batch * k_seq_moved_bytes(x->m);
	return r;
}

static void subject_close(struct subject *x)
{
	for (int i = 0; i < MAX_BATCH; i++)
		k_seq_free(x->base[i]);
	k_free(x->logits);
}

static uint64_t step_bytes(const struct subject *x) { return x->weights + x->kv + x->moved; }

/* A repetition; all of them compute the same. */
static int time_once(struct subject *x, const struct point *pt, int64_t tokens, double *seconds, struct k_err *err)
{
	size_t n = (size_t)(k_model_hp(x->m)->n_vocab * pt->batch) * sizeof(*x->logits);
	static const uint8_t none[32];
	uint8_t digest[32];
	int r = repeat(x->m, x->base, pt, tokens, seconds, x->logits, err);
	if (r == 0)
		r = k_sha256_once(x->logits, n, digest, err);
	if (r < 0)
		return r;
	if (!memcmp(x->first, none, sizeof(none)))
		memcpy(x->first, digest, sizeof(digest));
	else if (memcmp(digest, x->first, sizeof(digest)))
		return k_err_set(err, K_ENO, "depth %lld, batch %lld: a repetition computes other logits than the first", (long long)pt->depth,
			(long long)pt->batch);
	return 0;
}

/* What multiplies routed experts and what all others, operations a second; 0: not known. */
struct peaks { double experts, others; };

/* How long a repetition would take at the limits. */
static double ideal(const struct subject *x, const struct point *pt, int64_t tokens, double read, struct peaks peak)
{
	if (!pt->prefill)
		return (double)tokens * (double)step_bytes(x) / read;
	double by_flops = peak.experts > 0 ? (double)(tokens * pt->batch) * (x->expert_flops / peak.experts + x->flops / peak.others) : 0;
	return fmax(by_flops, (double)step_bytes(x) / read);
}

/* Only INT4 has products of whole numbers. */
static struct peaks peaks_of(const struct k_bench *b, const struct subject *x, struct k_limits *l)
{
	const char *level = k_model_device(x->m)->level(k_model_device(x->m));
	enum k_act act = b->ctx->act, other = act == K_ACT_INT8 ? K_ACT_F32 : act;
	double experts = k_limit_peak(l, level, act), others = other == act ? experts : k_limit_peak(l, level, other);
	return (struct peaks){ experts, others };
}

/* One sample of each subject; a subject that is timed twice has the mean of both. keep: also when threads were moved. */
static int sample(struct k_bench *b, struct subject *x, int n, const struct point *pt, struct k_limits *l, bool keep, struct k_err *err)
{
	static const int orders[MOST][4] = { { 0 }, { 0, 1, 1, 0 } };
	double took[MOST] = { 0 }, frac[MOST] = { 0 }, before, after, seconds;
	int64_t tokens = tokens_of(b, pt->prefill);
	int turns = n == 1 ? 1 : 4, r = 0;
	struct peaks peak = pt->prefill ? peaks_of(b, x, l) : (struct peaks){ 0 };
	k_placement_begin(&b->place);
	before = k_limit_read_best(l, PASSES);
	for (int i = 0; r == 0 && i < turns; i++) {
		int k = orders[n - 1][i];
		r = time_once(&x[k], pt, tokens, &seconds, err);
		after = k_limit_read_best(l, PASSES);
		took[k] += seconds * n / turns;
		frac[k] += ideal(&x[k], pt, tokens, (before + after) / 2, peak) / seconds * n / turns;
		before = after;
	}
	if (r < 0 || (!k_placement_end(&b->place) && !keep))
		return r;
	for (int k = 0; k < n; k++) {
		x[k].seconds.v[x[k].seconds.n++] = took[k];
		x[k].frac.v[x[k].frac.n++] = frac[k];
	}
	return 0;
}

/* All repetitions of a point, after one to warm up. Samples during which the threads were moved are taken again, for as long again; the
 * last of all counts where no other does (`dropped` tells). */
static int measure(struct k_bench *b, struct subject *x, int n, const struct point *pt, struct k_limits *l, struct k_err *err)
{
	double seconds;
	int r = 0;
	for (int k = 0; r == 0 && k < n; k++) {
		r = subject_open(b, &x[k], pt, err);
		if (r == 0)
			r = time_once(&x[k], pt, tokens_of(b, pt->prefill), &seconds, err);
		k_use_begin(&x[k].use);
	}
	for (int64_t i = 0; r == 0 && i < 2 * b->reps && x->seconds.n < b->reps; i++)
		r = sample(b, x, n, pt, l, i == 2 * b->reps - 1 && !x->seconds.n, err);
	return r;
}

/* --- records --------------------------------------------------------------------------------------------------------------------- */

static double tok_s(struct subject *x, const struct k_bench *b, const struct point *pt)
{
	return (double)(tokens_of(b, pt->prefill) * pt->batch) / k_times_median(&x->seconds);
}

static struct k_json *bytes_by_part(const struct subject *x)
{
	struct k_token_part part[PARTS];
	struct k_json *o = k_json_object();
	int bad = !o;
	for (int i = 0, n = k_model_token_parts(x->m, part, PARTS); o && i < n; i++)
		bad |= k_put_int(o, part[i].role, (int64_t)part[i].bytes);
	if (bad) {
		k_json_free(o);
		o = NULL;
	}
	return o;
}

/* What was used is that of a repetition; all of them are warm. */
static int put_point(struct k_json *o, struct k_bench *b, struct subject *x, const struct point *pt)
{
	char digest[65];
	struct rusage use = x->use;
	k_use_end(&use, &x->use);
	k_hex(digest, x->first);
	struct k_json *parts = bytes_by_part(x);
	return k_put_f32(o, "tok_s", tok_s(x, b, pt)) | k_put_int(o, "bytes_per_token", (int64_t)k_model_bytes_per_token(x->m)) |
		k_put_f32(o, "limit_frac", k_times_median(&x->frac)) | k_use_put(o, &use, x->seconds.n) | k_put_str(o, "cache", "warm") |
		k_put_f32(o, "spread", k_times_spread(&x->seconds)) | k_put_int(o, "depth", pt->depth) | k_put_int(o, "batch", pt->batch) |
		k_put_int(o, "step_bytes", (int64_t)step_bytes(x)) | k_put_int(o, "kv_bytes", (int64_t)x->kv) |
		k_put_int(o, "state_bytes", (int64_t)x->state) | k_put_int(o, "moved_bytes", (int64_t)x->moved) | k_put_int(o, "cache_bytes", (int64_t)x->caches) |
		(parts ? k_json_set(o, "weight_bytes_by_role", parts) : -1) | (x->made ? k_synthetic_put(o, x->made) : 0) | k_put_str(o, "digest", digest);
}

/* --- the reference ------------------------------------------------------------------------------------------------------------------ */

/* The same few tokens at the level that is measured and at ref, the specification: their last logits, whose largest difference is told in
 * standard deviations of the reference's. Rounded activations fall to one side or the other with the order of a sum, f32 moves in the sixth
 * digit; a head or a layer that is left out is one deviation off and more. A router of random weights is full of near ties, which rounding
 * decides: a made-up model of 256 experts was seen at 0.16 with bf16, a trained one at 0.003. */
static const struct { const char *name; double tolerance; } acts[] = { { "f32", 1e-4 }, { "bf16", 0.25 }, { "int8", 0.25 } };
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
	int r = k_bench_model_open(&o, &on_cpu, b->model, &ctx, err);
	if (r == 0)
		r = few_tokens(b, o.m, prefill, f->theirs, err);
	k_bench_model_close(&o);
	if (r == 0)
		f->error = differ(f->ours, f->theirs, f->n);
	return r;
}

static int report_reference(struct k_bench *b, const struct reference *f, struct k_json *summary, struct k_err *err)
{
	double tolerance = k_kv_of(b->ctx, true) == K_KV_INT8 ? K_MAX(0.25, acts[b->ctx->act].tolerance) : acts[b->ctx->act].tolerance;
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

/* What all points of a run come to. */
struct sums {
	struct k_buf digests;
	double slowest;
	struct k_json *summary;         /* of the slowest point */
	double ratio, ratio_least, ratio_frac;  /* of two models: of the deepest point, the least, the least share of what bytes promise */
};

/* An item of one subject; the slowest of the first model is the summary. */
static int report_point(struct k_bench *b, struct subject *x, const struct point *pt, bool first, struct sums *s, struct k_err *err)
{
	char key[96], digest[65];
	struct k_json *o = k_json_object(), *copy = k_json_object();
	snprintf(key, sizeof(key), "%s%sdepth %lld batch %lld", b->n_synthetic > 1 ? x->made->name : "", b->n_synthetic > 1 ? " " : "",
		(long long)pt->depth, (long long)pt->batch);
	k_hex(digest, x->first);
	k_buf_puts(&s->digests, digest);
	if (!o || !copy || (k_put_str(copy, "what", pt->prefill ? "prefill" : "decode") | put_point(copy, b, x, pt) | put_point(o, b, x, pt)) < 0) {
		k_json_free(o);
		o = NULL;
	} else if (first && (s->slowest < 0 || tok_s(x, b, pt) < s->slowest)) {
		struct k_json *other = s->summary;
		s->slowest = tok_s(x, b, pt);
		s->summary = copy;
		copy = other;
	}
	k_json_free(copy);
	return k_report_item(b->rep, key, o, true, NULL, err);
}

/* Second over first: the time of a token, and what bytes say that it should be. */
static int report_ratio(struct k_bench *b, struct subject *x, const struct point *pt, struct sums *s, struct k_err *err)
{
	struct k_times t = { .n = x[0].seconds.n };
	char key[64];
	for (int i = 0; i < t.n; i++)
		t.v[i] = x[1].seconds.v[i] / x[0].seconds.v[i];
	double model = (double)step_bytes(&x[1]) / (double)step_bytes(&x[0]), spread = k_times_spread(&t), ratio = k_times_median(&t);
	struct k_json *o = k_json_object();
	snprintf(key, sizeof(key), "ratio depth %lld batch %lld", (long long)pt->depth, (long long)pt->batch);
	s->ratio = ratio;
	s->ratio_least = s->ratio_least ? fmin(s->ratio_least, ratio) : ratio;
	s->ratio_frac = s->ratio_frac ? fmin(s->ratio_frac, ratio / model) : ratio / model;
	if (o && (k_put_f32(o, "ratio", ratio) | k_put_f32(o, "ratio_bytes", model) | k_put_f32(o, "ratio_frac", ratio / model) |
		k_put_f32(o, "cache_ratio", (double)x[0].caches / (double)x[1].caches) | k_put_f32(o, "spread", spread)) < 0) {
		k_json_free(o);
		o = NULL;
	}
	return k_report_item(b->rep, key, o, true, NULL, err);
}

static int run_point(struct k_bench *b, const struct k_bench_model *models, int n, const struct point *pt, struct k_limits *l, struct sums *s,
	struct k_err *err)
{
	struct subject *x = k_calloc((size_t)n, sizeof(*x));
	if (!x)
		return k_err_nomem(err, (size_t)n * sizeof(*x), "a point");
	for (int k = 0; k < n; k++) {
		x[k].m = models[k].m;
		x[k].made = b->n_synthetic ? &b->synthetic[k] : NULL;
	}
	int r = measure(b, x, n, pt, l, err);
	/* Before they are sorted for medians the samples of two models belong together. */
	if (r == 0 && n > 1)
		r = report_ratio(b, x, pt, s, err);
	for (int k = 0; r == 0 && k < n; k++)
		r = report_point(b, &x[k], pt, k == 0, s, err);
	for (int k = 0; k < n; k++)
		subject_close(&x[k]);
	k_free(x);
	return r;
}

/* All points, an item each; the summary is the slowest of them, its digest that of all their digests. */
static int run_points(struct k_bench *b, const struct k_bench_model *models, int n, bool prefill, struct k_json **summary, struct k_err *err)
{
	struct k_limits l;
	struct sums s = { .slowest = -1 };
	uint8_t digest[32];
	char hex[65];
	int r = k_limits_open(&l, b->ctx, err);
	if (r < 0)
		return r;
	k_buf_init(&s.digests, 0);
	for (int i = 0; i < b->n_depth * b->n_batch && r == 0; i++) {
		struct point pt = { b->depth[i / b->n_batch], b->batch[i % b->n_batch], prefill };
		r = run_point(b, models, n, &pt, &l, &s, err);
	}
	if (r == 0)
		r = k_buf_ok(&s.digests, "digests", err);
	if (r == 0)
		r = k_sha256_once(s.digests.data, s.digests.len, digest, err);
	k_buf_fini(&s.digests);
	k_limits_close(&l);
	if (r == 0)
		k_hex(hex, digest);
	if (r == 0 && s.summary && (k_put_str(s.summary, "digest", hex) | k_put_str(s.summary, "act", acts[b->ctx->act].name) |
		k_put_str(s.summary, "kv", k_model_kv(models->m)) |
		(n > 1 ? k_put_f32(s.summary, "ratio", s.ratio) | k_put_f32(s.summary, "ratio_least", s.ratio_least) |
			k_put_f32(s.summary, "ratio_frac", s.ratio_frac) : 0) | k_bench_put_waited(s.summary, b) | k_bench_put_machine(s.summary, b, k_model_device(models->m))) == 0) {
		*summary = s.summary;
		return 0;
	}
	k_json_free(s.summary);
	return r < 0 ? r : k_err_nomem(err, 1024, "a record");
}

static int measure_and_check(struct k_bench *b, bool prefill, struct reference *f, struct k_json **summary, struct k_err *err)
{
	struct k_bench_model o[MOST] = { { NULL, NULL } };
	int n = K_MAX(b->n_synthetic, 1), r = 0;
	/* The first one last: its digest is the one that a history keeps. */
	for (int k = n - 1; r == 0 && k >= 0; k--)
		r = k_bench_model_open(&o[k], b, k ? b->synthetic[k].path : b->model, b->ctx, err);
	if (r == 0) {
		f->n = k_model_hp(o->m)->n_vocab;
		f->ours = k_calloc((size_t)f->n, sizeof(*f->ours));
		f->theirs = k_calloc((size_t)f->n, sizeof(*f->theirs));
		r = f->ours && f->theirs ? few_tokens(b, o->m, prefill, f->ours, err) : k_err_nomem(err, (size_t)f->n * 8, "logits");
	}
	if (r == 0)
		r = run_points(b, o, n, prefill, summary, err);
	for (int k = 0; k < n; k++)
		k_bench_model_close(&o[k]);
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
