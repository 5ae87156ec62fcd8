/* kcheck_speed.c: kcheck --bench --device SPEC: what a device does beside what it can: copying and a BF16 product first, then each operation as a part of
 * one of them, with its bar. --kernel NAME: of the operations those alone. On a simulator shapes are tiny: only that the rows run is of interest there.
 *
 * Ten calls are timed at once. Where it decodes thirty, as one graph, about as many as a model has layers: what a step takes besides, to be launched and waited for, counts for
 * little. Calls that follow each other have other weights or experts, 256 MB of them, so that what is read comes from memory and not from a cache.
 *
 * Weights and rows are bytes of a fixed pseudo-random sequence, below the values at which bf16 would overflow. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include "kernels/check/kcheck.h"
#include "libcore/backend.h"
#include "libcore/pool.h"

enum { MOST = 32, CALLS = 10, STEP_CALLS = 30, ROUNDS = 7, STAGE = 1 << 20, FAR = 1 << 28 };

struct speed {
	struct k_device *d;
	struct k_ctx *ctx;
	struct k_hp hp;
	void *mem[MOST];
	int n_mem;
	bool tiny, failed, decode;      /* decode: calls are those of a step of one token a sequence */
	int turn;                       /* which of the calls that are timed at once */
	uint8_t *stage;
	double copy, product;           /* bytes and operations a second */
};

static void *memory(struct speed *s, int64_t bytes)
{
	struct k_err err;
	char *p = s->failed || s->n_mem == MOST ? NULL : s->d->alloc(s->d, (size_t)bytes);
	for (int64_t i = 0; p && i < bytes; i += STAGE)
		if (s->d->put(s->d, p + i, s->stage, (size_t)K_MIN(bytes - i, (int64_t)STAGE), &err) < 0)
			s->failed = true;
	if (p)
		s->mem[s->n_mem++] = p;
	s->failed |= !p;
	return p;
}

static void release(struct speed *s)
{
	while (s->n_mem)
		s->d->free(s->d, s->mem[--s->n_mem]);
}

static struct k_tensor weight(struct speed *s, const char *type, int64_t slices, int64_t rows, int64_t cols, int64_t *bytes)
{
	struct k_tensor t = { .name = type, .type = k_qtype_for(type, rows, cols), .ndim = 3, .shape = { slices, rows, cols } };
	uint64_t n;
	K_ASSERT(k_qtype_slice_bytes(t.type, rows, cols, &n));
	if (slices == 1)
		t = (struct k_tensor){ .name = type, .type = t.type, .ndim = 2, .shape = { rows, cols } };
	*bytes = (int64_t)n;
	t.data = memory(s, slices * (int64_t)n);
	return t;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Median seconds of a call; y is what the last one writes. */
static double time_of(struct speed *s, void (*call)(struct speed *s, void *arg), void *arg, const void *y)
{
	int calls = s->tiny ? 1 : s->decode ? STEP_CALLS : CALLS;
	double t[ROUNDS];
	struct k_err err;
	float some;
	for (int i = -1; i < (s->tiny ? 1 : ROUNDS) && !s->failed; i++) {
		double begun = seconds_now();
		s->d->begin(s->d, s->decode);
		for (s->turn = 0; s->turn < calls; s->turn++)
			call(s, arg);
		s->d->end(s->d);
		if (s->d->get(s->d, &some, y, sizeof(some), &err) < 0) {
			printf("%s\n", err.msg);
			s->failed = true;
		}
		t[i < 0 ? 0 : i] = (seconds_now() - begun) / calls;
	}
	if (s->failed)
		return 0;
	qsort(t, s->tiny ? 1 : ROUNDS, sizeof(*t), by_size);
	return t[s->tiny ? 0 : ROUNDS / 2];
}

static void call_add(struct speed *s, void *arg) { s->d->ops.add(s->d, arg); }
/* The next matrix of a stack. */
static void call_gemm(struct speed *s, void *arg)
{
	struct k_op_gemm op = *(const struct k_op_gemm *)arg;
	struct k_tensor w = *op.w;
	uint64_t bytes;
	if (w.ndim == 3 && k_qtype_slice_bytes(w.type, w.shape[1], w.shape[2], &bytes)) {
		w.data = (const uint8_t *)w.data + (uint64_t)(s->turn % w.shape[0]) * bytes;
		w.ndim = 2;
		w.shape[0] = w.shape[1];
		w.shape[1] = w.shape[2];
	}
	op.w = &w;
	s->d->ops.gemm(s->d, &op);
}

/* Other experts. */
static void call_moe(struct speed *s, void *arg)
{
	struct k_op_moe op = *(const struct k_op_moe *)arg;
	op.ids += s->turn * op.n * s->hp.n_expert_used;
	s->d->ops.moe(s->d, &op);
}

static void call_kda(struct speed *s, void *arg) { s->d->ops.kda(s->d, arg); }
static void call_mla(struct speed *s, void *arg) { s->d->ops.mla(s->d, arg); }
static void call_gqa(struct speed *s, void *arg) { s->d->ops.gqa(s->d, arg); }

/* --- the limits ----------------------------------------------------------------------------------------------------------- */

static double copying(struct speed *s, double *work)
{
	int64_t n = s->tiny ? 4096 : 1 << 26;
	struct k_op_add op = { memory(s, 4 * n), memory(s, 4 * n), n };
	*work = 12.0 * (double)n;
	return time_of(s, call_add, &op, op.y);
}

static double product(struct speed *s, double *work)
{
	int64_t n = s->tiny ? 64 : 8192, tokens = s->tiny ? 128 : 512, bytes;
	struct k_tensor w = weight(s, "bf16", 1, n, n, &bytes);
	struct k_op_gemm op = { memory(s, 4 * n * tokens), memory(s, 4 * n * tokens), &w, NULL, tokens, n, n, false };
	*work = 2.0 * (double)n * (double)n * (double)tokens;
	return time_of(s, call_gemm, &op, op.y);
}

/* --- operations ----------------------------------------------------------------------------------------------------------- */

/* tokens that use 8 of E experts evenly. */
static double experts(struct speed *s, int64_t E, int64_t tokens, double *bytes, double *operations)
{
	int64_t D = s->tiny ? 128 : 2304, F = s->tiny ? 64 : 1024, used = 8, slice, sum = 0;
	s->hp = (struct k_hp){ .n_embd = D, .n_ff = F, .n_ff_expert = F, .n_expert = E, .n_expert_used = used, .n_layer = 1 };
	struct k_tensor gate = weight(s, "i4g32", E, F, D, &slice);
	sum += slice;
	struct k_tensor up = weight(s, "i4g32", E, F, D, &slice);
	sum += slice;
	struct k_tensor down = weight(s, "i4g32", E, D, F, &slice);
	sum += slice;
	int64_t pairs = STEP_CALLS * tokens * used;
	int32_t *ids = k_alloc((size_t)pairs * sizeof(*ids)), *there = memory(s, 4 * pairs);
	struct k_err err;
	for (int64_t i = 0; ids && i < pairs; i++)
		ids[i] = (int32_t)(i / used % (E / used) + i % used * (E / used));
	if (!ids || s->failed || s->d->reserve(s->d, &s->hp, tokens, 64, &err) < 0 || s->d->put(s->d, there, ids, (size_t)(4 * pairs), &err) < 0)
		s->failed = true;
	k_free(ids);
	struct k_op_moe op = { memory(s, 4 * D * tokens), memory(s, 4 * D * tokens), there, memory(s, 4 * tokens * used), &gate, &up, &down, tokens, &s->hp };
	*bytes = (double)(sum * used);
	*operations = 2.0 * (double)(3 * D * F) * (double)(tokens * used);
	return time_of(s, call_moe, &op, op.y);
}

/* n rows of n_seg sequences; the state of each is read and written once a call or token. */
static double delta(struct speed *s, int64_t H, int64_t n, int64_t n_seg, double *bytes)
{
	int64_t d = s->tiny ? 32 : 128, P = H * d, state = P * d, taps = 4;
	struct k_seg *seg = k_calloc((size_t)n_seg, sizeof(*seg));
	struct k_seq_layer *layer = k_calloc((size_t)n_seg, sizeof(*layer));
	float *states = memory(s, 4 * n_seg * state), *conv = memory(s, 4 * n_seg * 3 * P * (taps - 1)), *in[6], *w[6];
	struct k_err err;
	double t = 0;
	for (int i = 0; i < 6; i++) {
		in[i] = memory(s, 4 * n * P);
		w[i] = memory(s, 4 * P * taps);
	}
	float *y = memory(s, 4 * n * P);
	s->hp = (struct k_hp){ .kda_head = H, .kda_dim = d, .kda_conv = taps, .n_layer = 1, .eps = 1e-5 };
	if (!seg || !layer || s->failed || s->d->reserve(s->d, &s->hp, K_MIN(n, (int64_t)512), 64, &err) < 0)
		s->failed = true;
	for (int64_t i = 0; !s->failed && i < n_seg; i++) {
		layer[i] = (struct k_seq_layer){ .state = states + i * state, .conv = conv + i * 3 * P * (taps - 1) };
		seg[i] = (struct k_seg){ i * (n / n_seg), n / n_seg, 0, &layer[i] };
	}
	struct k_op_kda op = { .y = y, .q = in[0], .k = in[1], .v = in[2], .a = in[3], .z = in[4], .beta = in[5], .conv_w = { w[0], w[1], w[2] }, .a_log = w[3],
		.dt_bias = w[4], .o_norm = w[5], .seg = seg, .n_seg = n_seg, .n = n, .hp = &s->hp };
	*bytes = 8.0 * (double)(n_seg * state);
	if (!s->failed)
		t = time_of(s, call_kda, &op, y);
	k_free(seg);
	k_free(layer);
	return t;
}

/* Sequences that have `pos` positions behind them, in pages of BF16 of this width, and n rows more each. */
struct behind { struct k_seg *seg; struct k_seq_layer *layer; void **page; int64_t n_seg, n, pos; };

static bool behind(struct speed *s, struct behind *b, int64_t n_seg, int64_t n, int64_t pos, int64_t width)
{
	int64_t pages = k_div_up(pos + n, K_PAGE), bytes = K_PAGE * width * (int64_t)sizeof(uint16_t);
	struct k_err err;
	char *mem = memory(s, n_seg * pages * bytes);
	*b = (struct behind){ k_calloc((size_t)n_seg, sizeof(*b->seg)), k_calloc((size_t)n_seg, sizeof(*b->layer)), k_calloc((size_t)(n_seg * pages), sizeof(*b->page)),
		n_seg, n, pos };
	if (!mem || !b->seg || !b->layer || !b->page || s->d->reserve(s->d, &s->hp, n_seg * n, pos + n, &err) < 0)
		s->failed = true;
	for (int64_t i = 0; !s->failed && i < n_seg; i++) {
		for (int64_t p = 0; p < pages; p++)
			b->page[i * pages + p] = mem + (i * pages + p) * bytes;
		b->layer[i] = (struct k_seq_layer){ .page = b->page + i * pages, .n_page = pages, .kv = K_KV_BF16 };
		b->seg[i] = (struct k_seg){ i * n, n, pos, &b->layer[i] };
	}
	return !s->failed;
}

static void drop(struct behind *b)
{
	k_free(b->seg);
	k_free(b->layer);
	k_free(b->page);
}

/* Pairs of a row and a position that it sees. */
static double pairs(const struct behind *b) { return (double)b->n_seg * ((double)b->n * (double)b->pos + (double)b->n * (double)(b->n + 1) / 2); }

/* The shape of the 48B model. bytes: of the latents; other: seconds in absorbed form; NULL: not wanted. */
static double latent(struct speed *s, int64_t n_seg, int64_t n, int64_t pos, double *bytes, double *other)
{
	int64_t H = s->tiny ? 2 : 32, r = s->tiny ? 64 : 512, dr = s->tiny ? 8 : 64, dn = s->tiny ? 16 : 128, dv = dn, rows = n_seg * n, size;
	struct behind b;
	double t = 0;
	s->hp = (struct k_hp){ .n_head = H, .kv_lora = r, .d_rope = dr, .d_nope = dn, .d_v = dv, .n_layer = 1, .eps_inner = 1e-6 };
	struct k_tensor kv_b = weight(s, "bf16", 1, H * (dn + dv), r, &size);
	struct k_op_mla op = { .y = memory(s, 4 * rows * H * dv), .q = memory(s, 4 * rows * H * (dn + dr)), .kv = memory(s, 4 * rows * (r + dr)), .kv_norm = memory(s, 4 * r),
		.kv_b = &kv_b, .scale = 0.01, .n_seg = n_seg, .n = rows, .hp = &s->hp };
	if (behind(s, &b, n_seg, n, pos, r + dr)) {
		op.seg = b.seg;
		*bytes = 2.0 * (double)(n_seg * (pos + n) * (r + dr)) + (double)size;
		s->ctx->any_order = !other;
		t = time_of(s, call_mla, &op, op.y);
		s->ctx->any_order = true;
		if (other) {
			*other = t;
			t = time_of(s, call_mla, &op, op.y);
		}
	}
	drop(&b);
	return t;
}

/* 32 heads of 128 in groups of four. */
static double groups(struct speed *s, int64_t n_seg, int64_t n, int64_t pos, double *bytes, double *operations)
{
	int64_t kv = s->tiny ? 1 : 8, H = 4 * kv, d = s->tiny ? 16 : 128, rows = n_seg * n;
	struct behind b;
	double t = 0;
	s->hp = (struct k_hp){ .n_head = H, .n_head_kv = kv, .head_dim = d, .n_layer = 1 };
	struct k_op_gqa op = { .y = memory(s, 4 * rows * H * d), .q = memory(s, 4 * rows * H * d), .k = memory(s, 4 * rows * kv * d), .v = memory(s, 4 * rows * kv * d),
		.n_seg = n_seg, .n = rows, .hp = &s->hp };
	if (behind(s, &b, n_seg, n, pos, 2 * kv * d)) {
		op.seg = b.seg;
		*bytes = 4.0 * (double)(n_seg * (pos + n) * kv * d);
		*operations = 4.0 * pairs(&b) * (double)(H * d);
		t = time_of(s, call_gqa, &op, op.y);
	}
	drop(&b);
	return t;
}

/* --- the table ------------------------------------------------------------------------------------------------------------ */

/* One vector: the weights are read. */
static double vector(struct speed *s, const char *type, int64_t rows, int64_t cols, double *work)
{
	int64_t bytes;
	uint64_t each;
	if (s->tiny)
		rows = cols = 128;
	s->hp = (struct k_hp){ .n_embd = cols, .n_ff = rows, .n_layer = 1 };
	K_ASSERT(k_qtype_slice_bytes(k_qtype_for(type, rows, cols), rows, cols, &each));
	struct k_tensor w = weight(s, type, s->tiny ? 2 : K_MAX(CALLS, FAR / (int64_t)each), rows, cols, &bytes);
	struct k_op_gemm op = { memory(s, 4 * rows), memory(s, 4 * cols), &w, NULL, 1, rows, cols, false };
	struct k_err err;
	s->failed |= s->d->reserve(s->d, &s->hp, 1, 64, &err) < 0;
	*work = (double)bytes;
	return time_of(s, call_gemm, &op, op.y);
}

static double gemv_wide(struct speed *s, double *work) { return vector(s, "bf16", 4096, 2304, work); }
static double gemv_shared(struct speed *s, double *work) { return vector(s, "bf16", 1024, 2304, work); }
static double gemv_head(struct speed *s, double *work) { return vector(s, "bf16", 65536, 2304, work); }
static double gemv_i4(struct speed *s, double *work) { return vector(s, "i4g32", 7168, 7168, work); }
static double gemv_f32(struct speed *s, double *work) { return vector(s, "f32", 256, 2304, work); }
static double moe_one(struct speed *s, double *work) { double ops; return experts(s, s->tiny ? 8 : 256, 1, work, &ops); }
static double moe_many(struct speed *s, double *work) { double bytes; return experts(s, 16, s->tiny ? 16 : 256, &bytes, work); }
static double kda_step(struct speed *s, double *work) { return delta(s, s->tiny ? 2 : 32, s->tiny ? 2 : 64, s->tiny ? 2 : 64, work); }
static double kda_prompt(struct speed *s, double *work) { return delta(s, s->tiny ? 2 : 96, s->tiny ? 32 : 8192, 1, work); }

static double mla_step(struct speed *s, double *work) { return latent(s, s->tiny ? 2 : 8, 1, s->tiny ? 70 : 16384, work, NULL); }
static double gqa_step(struct speed *s, double *work) { double ops; return groups(s, s->tiny ? 2 : 8, 1, s->tiny ? 70 : 8192, work, &ops); }
static double gqa_prompt(struct speed *s, double *work) { double bytes; return groups(s, 1, s->tiny ? 70 : 512, s->tiny ? 0 : 7680, &bytes, work); }
static double mla_prompt(struct speed *s, double *work)
{
	double bytes, absorbed = 0, t = latent(s, 1, s->tiny ? 70 : 512, s->tiny ? 5 : 3584, &bytes, &absorbed);
	*work = absorbed / t;
	return t;
}

/* of: what a rate is a part of, 'c'opying or 'p'roduct; 't': milliseconds, at most the bar; 'x': so many times as fast as in the other form. aim: 0 where there
 * is none. */
static const struct { const char *name, *shape; double (*run)(struct speed *s, double *work); bool decode; char of; double bar, aim; } rows[] = {
	{ "copy", "y += x, 2^26 floats", copying, false, 0, 0, 0 },
	{ "gemm_bf16", "8192 x 8192, 512 tokens", product, false, 0, 0, 0 },
	{ "gemv", "4096 x 2304 bf16", gemv_wide, true, 'c', 0.65, 0.80 },
	{ "gemv", "1024 x 2304 bf16", gemv_shared, true, 'c', 0.30, 0.40 },
	{ "gemv", "65536 x 2304 bf16", gemv_head, true, 'c', 0.80, 0.95 },
	{ "gemv", "7168 x 7168 i4g32", gemv_i4, true, 'c', 0.65, 0.80 },
	{ "gemv", "256 x 2304 f32", gemv_f32, true, 'c', 0.15, 0.25 },
	{ "moe_i4", "48B layer, 1 token", moe_one, true, 'c', 0.65, 0.80 },
	{ "moe_i4", "128 tokens an expert", moe_many, false, 'p', 0.55, 0 },
	{ "kda_step", "32 heads, batch 64", kda_step, true, 'c', 0.65, 0 },
	{ "kda_prompt", "96 heads, 8192 tokens", kda_prompt, false, 't', 1.5, 1.15 },
	{ "mla_step", "48B, 16k, batch 8", mla_step, true, 'c', 0.50, 0.70 },
	{ "mla_prompt", "48B, 512 behind 3584", mla_prompt, false, 'x', 1.0, 1.5 },
	{ "gqa_step", "32/8 x 128, 8k, batch 8", gqa_step, true, 'c', 0.50, 0.70 },
	{ "gqa_prompt", "32/8 x 128, 512 at 7680", gqa_prompt, false, 'p', 0.30, 0.50 },
};

bool kcheck_device_row(const char *name)
{
	for (size_t i = 0; i < K_LEN(rows); i++)
		if (strcmp(rows[i].name, name) == 0)
			return true;
	return false;
}

/* 1: the bar is missed. */
static int put_row(struct speed *s, size_t i, double t, double work)
{
	char of = rows[i].of;
	double value = of == 't' ? t * 1e3 : of == 'x' ? work : of ? work / t / (of == 'c' ? s->copy : s->product) : 0;
	bool good = !of || (of == 't' ? value <= rows[i].bar : value >= rows[i].bar);
	printf("%-10s %-24s %10.1f us", rows[i].name, s->tiny ? "tiny" : rows[i].shape, t * 1e6);
	if (of == 'x')
		printf(" %15s", "");
	else
		printf(" %9.1f %s", work / t / (of == 'p' || i == 1 ? 1e12 : 1e9), of == 'p' || i == 1 ? "Top/s" : "GB/s");
	if (of)
		printf("  %.3f %s, wanted %.2f%s", value, of == 'c' ? "of copy" : of == 'p' ? "of gemm_bf16" : of == 'x' ? "times absorbed" : "ms", rows[i].bar,
			s->tiny ? " (not judged here)" : good ? "" : ": MISSED");
	if (of && rows[i].aim > 0)
		printf(", aim %.2f", rows[i].aim);
	putchar('\n');
	return !good && !s->tiny;
}

void kcheck_device_bench(const char *spec, const char *kernel, int *passed, int *failed)
{
	struct speed s = { .tiny = strcmp(spec, "cudasim") == 0, .stage = k_alloc(STAGE) };
	struct k_pool *pool = NULL;
	struct k_err err = { 0 };
	uint32_t x = 1;
	int rc = s.stage ? k_pool_new(&pool, 1, &err) : K_ENOMEM;
	struct k_ctx ctx = { .pool = pool, .act = K_ACT_BF16, .any_order = true };
	s.ctx = &ctx;
	for (int i = 0; s.stage && i < STAGE; i++)
		s.stage[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24 & 0x3f);
	if (!rc)
		rc = k_device_open(&s.d, &ctx, spec, &err);
	for (size_t i = 0; !rc && i < K_LEN(rows); i++) {
		double work = 0, t;
		if (kernel && i > 1 && strcmp(kernel, rows[i].name) != 0)
			continue;
		s.failed = false;
		s.decode = rows[i].decode;
		s.hp = (struct k_hp){ .n_embd = 8192, .n_ff = 8192, .n_layer = 1 };
		if (i == 1)
			s.failed = s.d->reserve(s.d, &s.hp, 512, 64, &err) < 0;
		t = rows[i].run(&s, &work);
		release(&s);
		if (s.failed)
			printf("%-10s %-24s does not run\n", rows[i].name, rows[i].shape);
		else if (i < 2)
			*(i ? &s.product : &s.copy) = work / t;
		int bad = s.failed || put_row(&s, i, t, work);
		*(bad ? failed : passed) += 1;
	}
	if (rc) {
		printf("%s: %s\n", spec, err.msg);
		*failed += 1;
	}
	if (s.d)
		k_device_close(s.d);
	k_pool_free(pool);
	k_free(s.stage);
}
