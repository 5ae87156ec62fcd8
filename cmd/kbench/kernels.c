/* kernels.c: operations of the device on made-up weights, each against the machine's limit in the same moment.
 *
 *   limit, subject for 40 ms or more, limit --> ratio to the mean of both;  the median of the repetitions
 *
 * Weights are slices at random places of one arena, far larger than the caches (--max-memory makes it smaller), as experts are in a
 * model. An entry of the table says what is multiplied, and what bounds it:
 *
 *   READ    bytes of weights or of cache a second, over reading          products of one token, mixtures of experts, attention
 *   SCALE   bytes of state read and written, over scaling in place       the delta rule, a token
 *   PEAK    operations a second, over multiply-adds of the activations' kind: f32, bf16 or int8      products of many tokens, prefill
 *
 * Where both bytes and operations count (attention over a long context) the bound is whichever takes longer. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/limits.h"
#include "libcore/backend.h"
#include "libcore/dtype.h"
#include "libcore/hash.h"
#include "libcore/kda_state.h"
#include "libcore/pool.h"
#include "libcore/resident.h"

#define ARENA ((uint64_t)4608 << 20)
#define MILLIS 40

enum { D = 2304, F = 1024, HEADS = 32, LATENT = 512, ROPE = 64, NOPE = 128, VDIM = 128, KDA_D = 128, TAPS = 4, EXPERTS = 256, USED = 8 };

struct job {
	const struct entry *e;
	struct k_device *dev;
	struct k_limits *limits;
	struct k_hp hp;
	uint64_t rng;
	float *x, *y;                   /* activations in, results */
	size_t n_y;
	struct k_tensor w[3];
	double bytes, flops;            /* of a call */
	float *mem[16];                 /* what make() allocated */
	int n_mem;
	struct k_seq_layer *seq;
	struct k_seg *seg;
	void **pages;
	int32_t ids[USED];
	float weights[USED];
};

struct entry {
	const char *name, *shape;
	enum k_act act;
	const char *type;               /* of the weights */
	int64_t rows, cols, n;          /* of a product; tokens, positions or sequences elsewhere */
	enum { READ, SCALE, PEAK, BOTH } bound;
	int (*make)(struct job *j, struct k_err *err);
	void (*call)(struct job *j);
};

static uint64_t draw(struct job *j)
{
	j->rng ^= j->rng << 13;
	j->rng ^= j->rng >> 7;
	j->rng ^= j->rng << 17;
	return j->rng;
}

/* n floats between -1 and 1, from where the engine has its own. */
static float *floats(struct job *j, size_t n)
{
	float *p = j->n_mem < (int)K_LEN(j->mem) ? j->dev->alloc(j->dev, K_MAX(n, (size_t)1) * sizeof(*p)) : NULL;
	if (!p)
		return NULL;
	j->mem[j->n_mem++] = p;
	for (size_t i = 0; i < n; i++)
		p[i] = (float)(int32_t)(uint32_t)(draw(j) >> 32) * 0x1p-31f;
	return p;
}

static int no_room(size_t n, struct k_err *err) { return k_err_nomem(err, n * sizeof(float), "a kernel's operands"); }

/* A place in the arena for slices of a shape. */
static void place(struct job *j, struct k_tensor *t)
{
	uint64_t bytes = 0;
	bool fits = k_qtype_slice_bytes(t->type, t->shape[t->ndim - 2], t->shape[t->ndim - 1], &bytes);
	bytes *= t->ndim == 3 ? (uint64_t)t->shape[0] : 1;
	uint64_t places = fits && bytes < j->limits->bytes ? (j->limits->bytes - bytes) / 64 + 1 : 0;
	K_ASSERT(places);
	t->data = j->limits->arena + draw(j) % places * 64;
}

static struct k_tensor tensor(const char *type, int64_t slices, int64_t rows, int64_t cols)
{
	struct k_tensor t = { .name = type, .type = k_qtype_for(type, rows, cols), .ndim = slices ? 3 : 2, .shape = { rows, cols } };
	if (slices)
		memcpy(t.shape, (int64_t[]){ slices, rows, cols }, 3 * sizeof(int64_t));
	return t;
}

/* --- products ------------------------------------------------------------------------------------------------------------ */

static int make_gemm(struct job *j, struct k_err *err)
{
	const struct entry *e = j->e;
	uint64_t bytes = 0;
	j->w[0] = tensor(e->type, 0, e->rows, e->cols);
	j->n_y = (size_t)(e->n * e->rows);
	j->x = floats(j, (size_t)(e->n * e->cols));
	j->y = floats(j, j->n_y);
	if (!k_qtype_slice_bytes(j->w[0].type, e->rows, e->cols, &bytes))
		return k_err_set(err, K_EBUG, "%s: no such shape", e->name);
	j->bytes = (double)bytes;
	j->flops = 2.0 * (double)(e->n * e->rows * e->cols);
	return j->x && j->y ? 0 : no_room(j->n_y, err);
}

static void call_gemm(struct job *j)
{
	const struct entry *e = j->e;
	struct k_op_gemm op = { .y = j->y, .x = j->x, .w = &j->w[0], .n = e->n, .y_step = e->rows, .x_step = e->cols };
	place(j, &j->w[0]);
	j->dev->ops.gemm(j->dev, &op);
}

/* --- a mixture of experts ------------------------------------------------------------------------------------------------ */

static int make_moe(struct job *j, struct k_err *err)
{
	uint64_t bytes = 0;
	int64_t experts = EXPERTS;
	j->w[0] = tensor(j->e->type, 1, F, D);
	if (!k_qtype_slice_bytes(j->w[0].type, F, D, &bytes))
		return k_err_set(err, K_EBUG, "%s: no such shape", j->e->name);
	experts = K_MIN(experts, (int64_t)(j->limits->bytes / 4 / bytes));
	if (experts < USED)
		return k_err_set(err, K_ENOMEM, "%s wants %llu bytes of weights, more than --max-memory leaves", j->e->name,
			(unsigned long long)(4 * USED * bytes));
	j->w[0] = j->w[1] = tensor(j->e->type, experts, F, D);
	j->w[2] = tensor(j->e->type, experts, D, F);
	j->x = floats(j, D);
	j->y = floats(j, D);
	j->n_y = D;
	j->bytes = 3.0 * USED * (double)bytes;
	for (int i = 0; i < USED; i++)
		j->weights[i] = 1.0f / USED;
	return j->x && j->y ? 0 : no_room(D, err);
}

static void call_moe(struct job *j)
{
	struct k_op_moe op = { .y = j->y, .x = j->x, .ids = j->ids, .weights = j->weights, .gate = &j->w[0], .up = &j->w[1], .down = &j->w[2],
		.n = 1, .hp = &j->hp };
	int64_t experts = j->w[0].shape[0], run = experts / USED;
	for (int i = 0; i < 3; i++)
		place(j, &j->w[i]);
	for (int i = 0; i < USED; i++)          /* ascending */
		j->ids[i] = (int32_t)(i * run + (int64_t)(draw(j) % (uint64_t)run));
	j->dev->ops.moe(j->dev, &op);
}

/* --- the delta rule: n tokens of a sequence, or one token of each of -n ----------------------------------------------------- */

static int make_kda(struct job *j, struct k_err *err)
{
	int64_t P = HEADS * KDA_D, seqs = j->e->n < 0 ? -j->e->n : 1, n = j->e->n < 0 ? seqs : j->e->n;
	j->n_y = (size_t)(n * P);
	j->y = floats(j, j->n_y);
	j->x = floats(j, (size_t)(n * (5 * P + HEADS)));
	int64_t state = j->dev->kda_deferred ? k_kda_floats(HEADS, KDA_D) : P * KDA_D;
	float *states = floats(j, (size_t)(seqs * state)), *tails = floats(j, (size_t)(seqs * 3 * P * (TAPS - 1)));
	float *params = floats(j, (size_t)(3 * P * TAPS + P + HEADS + KDA_D));
	j->seq = k_calloc((size_t)seqs, sizeof(*j->seq));
	j->seg = k_calloc((size_t)seqs, sizeof(*j->seg));
	if (!j->y || !j->x || !states || !tails || !params || !j->seq || !j->seg)
		return no_room(j->n_y, err);
	for (int64_t s = 0; s < seqs; s++) {
		j->seq[s] = (struct k_seq_layer){ .state = states + s * state, .deferred = j->dev->kda_deferred, .conv = tails + s * 3 * P * (TAPS - 1) };
		if (j->dev->kda_deferred)               /* in every call as many states as on average take in what is pending */
			states[s * state] = (float)(s % K_KDA_CHUNK);
		j->seg[s] = (struct k_seg){ s, j->e->n < 0 ? 1 : n, 0, &j->seq[s] };
	}
	j->bytes = 2.0 * (double)(seqs * P * KDA_D) * sizeof(float);
	j->flops = 6.0 * (double)n * HEADS * KDA_D * KDA_D;
	return 0;
}

static void call_kda(struct job *j)
{
	int64_t P = HEADS * KDA_D, n = (int64_t)j->n_y / P, seqs = j->e->n < 0 ? n : 1;
	const float *x = j->x, *p = j->mem[4];
	struct k_op_kda op = { .y = j->y, .q = x, .k = x + n * P, .v = x + 2 * n * P, .a = x + 3 * n * P, .z = x + 4 * n * P, .beta = x + 5 * n * P,
		.conv_w = { p, p + P * TAPS, p + 2 * P * TAPS }, .dt_bias = p + 3 * P * TAPS, .a_log = p + 3 * P * TAPS + P,
		.o_norm = p + 3 * P * TAPS + P + HEADS, .seg = j->seg, .n_seg = seqs, .n = n, .hp = &j->hp };
	j->dev->ops.kda(j->dev, &op);
}

/* --- latent attention: rows tokens behind n positions ----------------------------------------------------------------------- */

/* Memory for pages of n values. */
static void *values(struct job *j, enum k_kv kv, size_t n)
{
	char *p = (char *)floats(j, k_div_up(k_kv_bytes(kv, (int64_t)n, 0), sizeof(float)));
	for (size_t i = 0; p && kv == K_KV_BF16 && i < n; i++) {
		uint16_t v = k_bf16_from_f32((float)(int32_t)(uint32_t)(draw(j) >> 32) * 0x1p-31f);
		memcpy(p + i * sizeof(v), &v, sizeof(v));
	}
	return p;
}

static int make_mla(struct job *j, struct k_err *err)
{
	int64_t width = LATENT + ROPE, rows = j->e->rows, pages = k_div_up(j->e->n + rows, K_PAGE);
	enum k_kv kv = strcmp(j->e->type, "bf16") == 0 ? K_KV_BF16 : K_KV_F32;
	size_t page = K_PAGE * k_kv_bytes(kv, width, 0);
	j->n_y = (size_t)(rows * HEADS * VDIM);
	j->y = floats(j, j->n_y);
	j->x = floats(j, (size_t)(rows * (HEADS * (NOPE + ROPE) + width)));
	char *cache = values(j, kv, (size_t)(pages * K_PAGE * width));
	float *norm = floats(j, LATENT);
	void *kv_b = values(j, kv, (size_t)(HEADS * (NOPE + VDIM) * LATENT));
	j->seq = k_calloc(1, sizeof(*j->seq));
	j->seg = k_calloc(1, sizeof(*j->seg));
	j->pages = k_calloc((size_t)pages, sizeof(*j->pages));
	if (!j->y || !j->x || !cache || !norm || !kv_b || !j->seq || !j->seg || !j->pages)
		return no_room((size_t)pages * page / sizeof(float), err);
	for (int64_t i = 0; i < pages; i++)
		j->pages[i] = cache + (size_t)i * page;
	*j->seq = (struct k_seq_layer){ .page = j->pages, .n_page = pages, .kv = kv };
	*j->seg = (struct k_seg){ 0, rows, j->e->n, j->seq };
	j->w[0] = tensor(kv == K_KV_BF16 ? "bf16" : "f32", 0, HEADS * (NOPE + VDIM), LATENT);
	j->w[0].data = kv_b;
	j->bytes = (double)k_kv_bytes(kv, (j->e->n + rows) * width + HEADS * (NOPE + VDIM) * LATENT, 0);
	j->flops = 2.0 * (double)rows * HEADS * ((double)(j->e->n + rows / 2) * (width + LATENT) + (NOPE + VDIM) * LATENT);
	return 0;
}

static void call_mla(struct job *j)
{
	int64_t rows = j->e->rows;
	struct k_op_mla op = { .y = j->y, .q = j->x, .kv = j->x + rows * HEADS * (NOPE + ROPE), .kv_norm = j->mem[3], .kv_b = &j->w[0],
		.scale = 1 / sqrt(NOPE + ROPE), .seg = j->seg, .n_seg = 1, .n = rows, .hp = &j->hp };
	j->dev->ops.mla(j->dev, &op);
}

/* --- quantising ---------------------------------------------------------------------------------------------------------- */

enum { QUANT_ROWS = 64 };

static int make_quant(struct job *j, struct k_err *err)
{
	uint64_t in = 0, out = 0;
	if (!j->dev->ctx->codec || !j->dev->ctx->codec->convert)
		return k_err_set(err, K_EUSAGE, "%s has no fast form at level %s", j->e->name, j->dev->level(j->dev));
	j->w[0] = tensor(j->e->type, 0, j->e->rows, j->e->cols);
	if (!k_qtype_slice_bytes(j->w[0].type, j->e->rows, j->e->cols, &in) ||
		!k_qtype_slice_bytes(k_qtype_for("i4g32", j->e->rows, j->e->cols), j->e->rows, j->e->cols, &out))
		return k_err_set(err, K_EBUG, "%s: no such shape", j->e->name);
	j->n_y = (size_t)out / sizeof(float);
	j->y = floats(j, j->n_y);
	j->bytes = (double)in;
	return j->y ? 0 : no_room(j->n_y, err);
}

struct quanting { const struct k_codec *codec; struct k_tensor from; const struct k_qtype *to; char *out; };

static void quant_task(void *arg, int64_t i, int worker K_UNUSED)
{
	struct quanting *q = arg;
	int64_t cols = q->from.shape[1], at = i * QUANT_ROWS;
	struct k_quant_opts o = { .scale = K_SCALE_AMAX7 };
	size_t in = k_qtype_rows_bytes(q->from.type, cols, at), out = k_qtype_rows_bytes(q->to, cols, at);
	(void)q->codec->convert(q->to, q->out + out, q->from.type, (const char *)q->from.data + in, cols, QUANT_ROWS, &o);
}

static void call_quant(struct job *j)
{
	struct quanting q = { .codec = j->dev->ctx->codec, .to = k_qtype_for("i4g32", j->e->rows, j->e->cols), .out = (char *)j->y };
	place(j, &j->w[0]);
	q.from = j->w[0];
	k_pool_each(j->dev->ctx->pool, j->e->rows / QUANT_ROWS, quant_task, &q);
}

/* --- the table ----------------------------------------------------------------------------------------------------------- */

#define GEMV(name, act, type) \
	{ name, "1024x2304", act, type, 1024, 2304, 1, READ, make_gemm, call_gemm }, \
	{ name, "2304x1024", act, type, 2304, 1024, 1, READ, make_gemm, call_gemm }, \
	{ name, "2048x7168", act, type, 2048, 7168, 1, READ, make_gemm, call_gemm }
#define GEMM(name, act, type) \
	{ name, "1024x2304x24", act, type, 1024, 2304, 24, PEAK, make_gemm, call_gemm }, \
	{ name, "1024x2304x96", act, type, 1024, 2304, 96, PEAK, make_gemm, call_gemm }, \
	{ name, "2048x7168x96", act, type, 2048, 7168, 96, PEAK, make_gemm, call_gemm }

static const struct entry entries[] = {
	GEMV("gemv_i4_f32", K_ACT_F32, "i4g32"),
	GEMV("gemv_i4_bf16", K_ACT_BF16, "i4g32"),
	GEMV("gemv_i4_int8", K_ACT_INT8, "i4g32"),
	GEMV("gemv_bf16", K_ACT_F32, "bf16"),
	GEMV("gemv_mxfp4", K_ACT_F32, "mxfp4"),
	GEMV("gemv_mxfp4_bf16", K_ACT_BF16, "mxfp4"),
	GEMV("gemv_mxfp4_int8", K_ACT_INT8, "mxfp4"),
	GEMV("gemv_fp8", K_ACT_F32, "fp8b128"),
	GEMM("gemm_i4_f32", K_ACT_F32, "i4g32"),
	GEMM("gemm_i4_bf16", K_ACT_BF16, "i4g32"),
	GEMM("gemm_i4_int8", K_ACT_INT8, "i4g32"),
	GEMM("gemm_mxfp4_f32", K_ACT_F32, "mxfp4"),
	GEMM("gemm_mxfp4_int8", K_ACT_INT8, "mxfp4"),
	GEMM("gemm_bf16", K_ACT_F32, "bf16"),
	GEMM("gemm_bf16_bf16", K_ACT_BF16, "bf16"),
	{ "gemm_bf16", "2304x2304x8", K_ACT_F32, "bf16", 2304, 2304, 8, PEAK, make_gemm, call_gemm },
	{ "gemm_bf16_bf16", "2304x2304x8", K_ACT_BF16, "bf16", 2304, 2304, 8, PEAK, make_gemm, call_gemm },
	{ "moe", "8of256x3x1024x2304", K_ACT_F32, "i4g32", 0, 0, 1, READ, make_moe, call_moe },
	{ "kda_step", "32x32x128x128", K_ACT_F32, NULL, 0, 0, -32, SCALE, make_kda, call_kda },
	{ "kda_chunk", "256x32x128x128", K_ACT_F32, NULL, 0, 0, 256, PEAK, make_kda, call_kda },
	{ "mla_decode", "32x576 at 4096", K_ACT_F32, "f32", 1, 0, 4095, BOTH, make_mla, call_mla },
	{ "mla_decode", "32x576 at 32768", K_ACT_F32, "f32", 1, 0, 32767, BOTH, make_mla, call_mla },
	{ "mla_decode", "32x576 at 32768 bf16", K_ACT_F32, "bf16", 1, 0, 32767, BOTH, make_mla, call_mla },
	{ "mla_prefill", "64x32x576 at 4096", K_ACT_F32, "f32", 64, 0, 4032, PEAK, make_mla, call_mla },
	{ "mla_prefill", "64x32x576 at 4096 bf16", K_ACT_F32, "bf16", 64, 0, 4032, PEAK, make_mla, call_mla },
	{ "quant_i4", "1024x2304", K_ACT_F32, "bf16", 1024, 2304, 1, READ, make_quant, call_quant },
};

/* --- measuring ----------------------------------------------------------------------------------------------------------- */

static struct k_hp shape_of_all(void)
{
	return (struct k_hp){ .n_layer = 1, .n_embd = 7168, .n_ff = 7168, .n_head = HEADS, .n_head_kv = HEADS, .head_dim = NOPE, .kv_lora = LATENT,
		.d_nope = NOPE, .d_rope = ROPE, .d_v = VDIM, .kda_head = HEADS, .kda_dim = KDA_D, .kda_conv = TAPS, .n_expert = EXPERTS,
		.n_expert_used = USED, .n_ff_expert = F, .expert_norm = true, .expert_scale = 1, .eps = 1e-5, .eps_inner = 1e-6,
		.rope = { .kind = K_ROPE_NONE } };
}

/* How long a call would take at the limit; 0: not known. */
static double ideal(const struct job *j, double *rate)
{
	struct k_limits *l = j->limits;
	double peak = j->e->bound == PEAK || j->e->bound == BOTH ? k_limit_peak(l, j->dev->level(j->dev), j->e->act) : 0;
	double bytes_s = j->e->bound == SCALE ? k_limit_scale(l) : j->e->bound == PEAK ? 0 : k_limit_read(l);
	double by_bytes = bytes_s > 0 ? j->bytes / bytes_s : 0, by_flops = peak > 0 ? j->flops / peak : 0;
	*rate = by_bytes > by_flops ? bytes_s : peak;
	return j->e->bound == BOTH && peak == 0 ? 0 : K_MAX(by_bytes, by_flops);
}

static double time_call(struct job *j, int64_t *calls)
{
	double t = k_bench_now();
	for (int64_t i = 0; i < *calls; i++)
		j->e->call(j);
	t = k_bench_now() - t;
	if (t < MILLIS * 1e-3)
		*calls = (int64_t)((double)*calls * K_MIN(MILLIS * 1.2e-3 / K_MAX(t, 1e-7), 1000.0)) + 1;
	return t;
}

static const char *limit_name(const struct entry *e)
{
	static const char *const peak[] = { [K_ACT_F32] = "peak", [K_ACT_BF16] = "bf16 peak", [K_ACT_INT8] = "int8 peak" };
	return e->bound == READ ? "read" : e->bound == SCALE ? "scale" : e->bound == PEAK ? peak[e->act] : "read, peak";
}

static int report(struct k_bench *b, struct job *j, struct k_times *ns, struct k_times *frac, const uint8_t digest[32], double *least,
	struct k_err *err)
{
	char key[128], hex[65];
	struct k_json *item = k_json_object();
	double f = frac->n ? k_times_median(frac) : NAN;
	snprintf(key, sizeof(key), "%s:%s", j->e->name, j->e->shape);
	k_hex(hex, digest);
	if (frac->n && f < *least)
		*least = f;
	if (item && (k_put_str(item, "name", j->e->name) | k_put_str(item, "shape", j->e->shape) | k_put_str(item, "level", j->dev->level(j->dev)) |
		k_put_f32(item, "ns", k_times_median(ns)) | (frac->n ? k_put_f32(item, "limit_frac", f) : k_put_null(item, "limit_frac")) |
		k_put_str(item, "limit", limit_name(j->e)) |
		k_put_f32(item, "spread", k_times_spread(frac->n ? frac : ns)) | k_put_str(item, "digest", hex)) < 0) {
		k_json_free(item);
		item = NULL;
	}
	return k_report_item(b->rep, key, item, true, NULL, err);
}

static int measure(struct k_bench *b, struct job *j, double *least, struct k_err *err)
{
	struct k_times *t = k_calloc(2, sizeof(*t)), *ns = t, *frac = t + 1;
	uint8_t digest[32];
	int64_t calls = 1;
	int r = t ? j->e->make(j, err) : k_err_nomem(err, 2 * sizeof(*t), "times");
	if (r == 0) {                           /* the first call is the one that is digested: later ones find other states */
		j->e->call(j);
		r = k_sha256_once(j->y, j->n_y * sizeof(float), digest, err);
	}
	for (int i = 0; r == 0 && i < 3; i++)
		time_call(j, &calls);
	for (int64_t i = 0; r == 0 && i < b->reps; i++) {
		double rate;
		k_placement_begin(&b->place);
		double before = ideal(j, &rate), took = time_call(j, &calls) / (double)calls, after = ideal(j, &rate);
		r = k_ctx_check(b->ctx, err);
		if (!k_placement_end(&b->place) && (ns->n || i + 1 < b->reps))
			continue;                       /* the threads were moved meanwhile */
		ns->v[ns->n++] = took * 1e9;
		if (before > 0 && after > 0)
			frac->v[frac->n++] = (before + after) / 2 / took;
	}
	if (r == 0)
		r = report(b, j, ns, frac, digest, least, err);
	k_free(t);
	return r;
}

static int run_entry(struct k_bench *b, const struct entry *e, struct k_limits *limits, double *least, struct k_err *err)
{
	struct job j = { .e = e, .limits = limits, .hp = shape_of_all(), .rng = 88172645463325252u };
	struct k_ctx ctx = *b->ctx;
	ctx.act = e->act;
	int r = k_device_open(&j.dev, &ctx, b->device, err);
	if (r == 0 && j.dev->far)
		r = k_err_set(err, K_EUSAGE, "kbench kernels measures the CPU; --device is '%s'", b->device);
	if (r == 0)
		r = j.dev->reserve(j.dev, &j.hp, 256, 32768, err);
	if (r == 0)
		r = measure(b, &j, least, err);
	for (int i = 0; i < j.n_mem; i++)
		j.dev->free(j.dev, j.mem[i]);
	k_free(j.seq);
	k_free(j.seg);
	k_free(j.pages);
	k_device_close(j.dev);
	return r;
}

/* Bytes that are finite numbers of a plausible size in every type: bf16 of 2^-7 to 2^-6, either sign; exponents of a scale from 2^-67 up, with which
 * nothing becomes a denormal, of which each would cost a CPU a hundred cycles. */
static void fill_piece(void *arg, int64_t i, int worker K_UNUSED)
{
	uint64_t *p = (uint64_t *)arg + i * (1 << 17), x = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
	for (int k = 0; k < 1 << 17; k++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		p[k] = ((x ^ x >> 29) & 0x801f801f801f801fu) | 0x3c603c603c603c60u;
	}
}

/* A third of what is free, and no more than is of use. */
static size_t arena_bytes(const struct k_ctx *ctx)
{
	uint64_t n = K_MIN(ARENA, k_memory_free() / 3);
	if (ctx->max_memory)
		n = K_MIN(n, ctx->max_memory / 2);
	return (size_t)(K_MAX(n, (uint64_t)64 << 20) >> 20 << 20);
}

static bool wanted(const struct k_bench *b, const struct entry *e)
{
	for (int i = 0; i < b->n_commands; i++)
		if (!strcmp(b->commands[i], e->name))
			return true;
	return b->n_commands == 0;
}

static int check_names(const struct k_bench *b, struct k_err *err)
{
	for (int i = 0; i < b->n_commands; i++) {
		bool known = false;
		for (size_t k = 0; k < K_LEN(entries); k++)
			known |= !strcmp(b->commands[i], entries[k].name);
		if (!known)
			return k_err_set(err, K_EUSAGE, "there is no kernel '%s'; kbench kernels without a name measures all", b->commands[i]);
	}
	return 0;
}

int k_bench_kernels(struct k_bench *b, struct k_err *err)
{
	struct k_limits limits = { .ctx = b->ctx, .bytes = arena_bytes(b->ctx), .factor = 1 };
	double least = INFINITY;
	int64_t n = 0;
	int r = check_names(b, err);
	if (r < 0)
		return r;
	limits.arena = k_aligned(limits.bytes);
	if (!limits.arena)
		return k_err_nomem(err, limits.bytes, "weights to read");
	k_pool_each(b->ctx->pool, (int64_t)(limits.bytes >> 20), fill_piece, limits.arena);
	for (size_t i = 0; r == 0 && i < K_LEN(entries); i++)
		if (wanted(b, &entries[i])) {
			r = run_entry(b, &entries[i], &limits, &least, err);
			n++;
		}
	if (r == 0) {
		struct k_json *s = k_json_object();
		if (s && (k_put_str(s, "what", "kernels") | k_put_int(s, "kernels", n) | k_put_num(s, "limit_frac", least) |
			k_put_int(s, "arena", (int64_t)limits.bytes) | k_bench_put_waited(s, b) | k_bench_put_machine(s, b, NULL)) < 0) {
			k_json_free(s);
			s = NULL;
		}
		r = k_report_summary(b->rep, s, err);
	}
	k_free(limits.arena);
	return r;
}
