/* kcheck_cpu.c: operations of the CPU device on one batch, four times over:
 *
 *     1 thread, whole batch  =  2 threads  =  7 threads  =  1 thread, the batch cut into steps     every bit
 *
 * The batch is two sequences (rows 0.., rows SPLIT..) that begin at different positions; a step is a run of its rows. Sizes are large
 * enough for the work to be spread. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/check/kcheck.h"
#include "libcore/backend.h"
#include "libcore/dtype.h"
#include "libcore/kda_state.h"
#include "libcore/pool.h"
#include "libcore/rope.h"

enum { ROWS = 70, SPLIT = 41, POS = 110, D = 192, PAGES = 4, SEQS = 2, MOST_OUT = 3 };

/* What an operation works on: inputs are made once from the seed; state and outputs begin anew for each way of running. */
struct world {
	struct run *r;
	struct k_hp hp;
	float *in[6];
	struct k_tensor w[4];
	float *out[MOST_OUT];
	size_t n_out[MOST_OUT];
	struct k_seq_layer seq[SEQS];
	void *page[SEQS][PAGES];
	float *state0, *conv0;
	enum k_kv kv;
	size_t page_values, state_floats, conv_floats;
	float *table;
	const void *extra;
	void *owned[64];
	int n_owned;
};

static void *keep(struct world *w, void *p)
{
	K_ASSERT(p && w->n_owned < (int)K_LEN(w->owned));
	return w->owned[w->n_owned++] = p;
}

static float *floats(struct world *w, size_t n) { return keep(w, k_aligned(K_MAX(n, (size_t)1) * sizeof(float))); }

static float *data(struct world *w, size_t n, enum data kind)
{
	float *x = floats(w, n);
	fill(w->r, x, n, kind);
	return x;
}

static void output(struct world *w, int i, size_t n)
{
	w->out[i] = floats(w, n);
	w->n_out[i] = n;
}

static struct k_tensor weight(struct world *w, const char *type, int64_t slices, int64_t rows, int64_t cols)
{
	const struct k_qtype *t = k_qtype_for(type, rows, cols);
	struct k_tensor x = { .name = type, .type = t, .ndim = slices > 1 ? 3 : 2, .shape = { rows, cols } };
	struct k_quant_opts o = { .scale = K_SCALE_AMAX7 };
	struct k_err err;
	uint64_t bytes;
	if (slices > 1)
		memcpy(x.shape, (int64_t[]){ slices, rows, cols }, 3 * sizeof(int64_t));
	K_ASSERT(k_qtype_slice_bytes(t, rows, cols, &bytes));
	uint8_t *p = keep(w, k_aligned((size_t)(bytes * (uint64_t)slices)));
	float *f = data(w, (size_t)(slices * rows * cols), DATA_PLAIN);
	x.data = p;
	for (int64_t i = 0, n; i < slices * rows; i += n) {
		n = K_MIN((int64_t)t->granule, rows - i % rows);
		K_ASSERT(t->quant(p, f + i * cols, cols, (int)n, &o, &err) == 0);
		p += t->granule_bytes(cols, (int)n);
	}
	return x;
}

static void *new_page(struct world *w)
{
	int64_t width = (int64_t)w->page_values / K_PAGE;
	float *x = data(w, w->page_values, DATA_PLAIN);
	if (w->kv == K_KV_F32)
		return x;
	if (w->kv == K_KV_INT8) {
		struct kk kk;
		const char *level;
		struct k_err err;
		K_ASSERT(kk_select(&kk, &level, "ref", &err) == 0);
		char *page = keep(w, k_aligned(K_PAGE * k_kv_bytes(w->kv, width, k_kv_groups(width))));
		for (int t = 0; t < K_PAGE; t++)
			kk.append_i8(page, (size_t)width, t, x + t * width, (size_t)width, NULL);
		return page;
	}
	uint16_t *y = keep(w, k_aligned(w->page_values * sizeof(*y)));
	for (size_t i = 0; i < w->page_values; i++)
		y[i] = k_bf16_from_f32(x[i]);
	return y;
}

/* Sequences whose pages and state hold something already. */
static void sequences(struct world *w, size_t width, size_t state, size_t conv)
{
	w->page_values = width * K_PAGE;
	w->state_floats = state;
	w->conv_floats = conv;
	w->state0 = data(w, SEQS * state, DATA_PART);
	w->conv0 = data(w, SEQS * conv, DATA_PLAIN);
	for (int s = 0; s < SEQS; s++) {
		for (int p = 0; p < PAGES; p++)
			w->page[s][p] = new_page(w);
		w->seq[s] = (struct k_seq_layer){ .page = w->page[s], .n_page = PAGES, .state = floats(w, state), .conv = floats(w, conv), .kv = w->kv };
	}
}

/* Position t of a page: NaN; of whole numbers any, and scales NaN. */
static void spoil(enum k_kv kv, char *page, int64_t width, int64_t t)
{
	if (kv != K_KV_INT8) {
		memset(page + (size_t)t * k_kv_bytes(kv, width, 0), 0xff, k_kv_bytes(kv, width, 0));
		return;
	}
	for (int64_t i = 0; i < width; i++)
		page[k_kv_int8_at(width, t, i)] = (char)(0x80 + i);
	for (int64_t g = 0; g < k_kv_groups(width); g++)
		memset(page + k_kv_scales_at(width, g) + (size_t)t * sizeof(float), 0xff, sizeof(float));
}

/* Positions that are still to come hold what a page that was somebody else's may. */
static void reset(struct world *w)
{
	int64_t width = (int64_t)w->page_values / K_PAGE;
	for (int s = 0; s < SEQS; s++)
		for (int64_t t = s ? POS : 0; width && t < PAGES * K_PAGE; t++)
			spoil(w->kv, w->page[s][t / K_PAGE], width, t % K_PAGE);
	for (int i = 0; i < MOST_OUT; i++)
		if (w->out[i])
			memset(w->out[i], 0xff, w->n_out[i] * sizeof(float));
	for (int s = 0; s < SEQS; s++) {
		if (w->state_floats)
			memcpy(w->seq[s].state, w->state0 + (size_t)s * w->state_floats, w->state_floats * sizeof(float));
		if (w->conv_floats)
			memcpy(w->seq[s].conv, w->conv0 + (size_t)s * w->conv_floats, w->conv_floats * sizeof(float));
	}
}

/* The parts of the two sequences that lie in rows [from, from + n), counted from `from`. */
static int64_t segments(struct world *w, int64_t from, int64_t n, struct k_seg out[SEQS])
{
	static const int64_t first[] = { 0, SPLIT, ROWS }, pos[] = { 0, POS };
	int64_t k = 0;
	for (int s = 0; s < SEQS; s++) {
		int64_t a = K_MAX(first[s], from), b = K_MIN(first[s + 1], from + n);
		if (a < b)
			out[k++] = (struct k_seg){ a - from, b - a, pos[s] + a - first[s], &w->seq[s] };
	}
	return k;
}

struct way { int threads; int64_t step; };
typedef void op_fn(struct world *w, struct k_device *dev, int64_t from, int64_t n);

static void run_way(struct world *w, op_fn *op, struct way way, enum k_act act)
{
	struct k_pool *pool = NULL;
	struct k_device *dev = NULL;
	struct k_err err = { 0 };
	int rc = k_pool_new(&pool, way.threads, &err);
	struct k_ctx ctx = { .pool = pool, .cpu = w->r->level, .act = act };
	if (!rc)
		rc = k_device_open(&dev, &ctx, "cpu", &err);
	if (!rc)
		rc = dev->reserve(dev, &w->hp, ROWS, PAGES * K_PAGE, &err);
	reset(w);
	for (int s = 0; s < SEQS && dev; s++)
		w->seq[s].deferred = dev->kda_deferred;
	for (int64_t from = 0, n; !rc && from < ROWS; from += n) {
		n = K_MIN(ROWS - from, way.step);
		op(w, dev, from, n);
	}
	if (rc)
		fail(w->r, "%s", err.msg);
	for (int s = 0; s < SEQS && w->seq[s].deferred && w->state_floats; s++)
		k_kda_clean(w->seq[s].state, w->hp.kda_head, w->hp.kda_dim);
	if (dev)
		k_device_close(dev);
	k_pool_free(pool);
}

static void compare(struct world *w, float *const want[MOST_OUT], const float *state, const float *conv)
{
	for (int i = 0; i < MOST_OUT; i++)
		if (w->out[i])
			same(w->r, "result", w->out[i], want[i], w->n_out[i]);
	for (int s = 0; s < SEQS; s++) {
		same(w->r, "state", w->seq[s].state, state + (size_t)s * w->state_floats, w->state_floats);
		same(w->r, "tail of the convolution", w->seq[s].conv, conv + (size_t)s * w->conv_floats, w->conv_floats);
	}
}

/* Every row got a value: what the operation left is NaN. */
static void complete(struct world *w)
{
	for (int i = 0; i < MOST_OUT; i++)
		for (size_t k = 0; w->out[i] && k < w->n_out[i]; k++)
			if (isnan(w->out[i][k])) {
				fail(w->r, "result %d has no value at %zu", i, k);
				return;
			}
}

static void all_ways(struct world *w, op_fn *op, enum k_act act)
{
	static const struct way ways[] = { { 1, ROWS }, { 2, ROWS }, { 7, ROWS }, { 1, 1 }, { 1, 13 }, { 7, 33 } };
	float *want[MOST_OUT] = { 0 }, *state = floats(w, SEQS * w->state_floats), *conv = floats(w, SEQS * w->conv_floats);
	for (size_t i = 0; i < K_LEN(ways); i++) {
		where(w->r, "%d threads, steps of %lld rows, activations %d", ways[i].threads, (long long)ways[i].step, (int)act);
		run_way(w, op, ways[i], act);
		complete(w);
		if (i > 0) {
			compare(w, want, state, conv);
			continue;
		}
		for (int k = 0; k < MOST_OUT; k++)
			if (w->out[k])
				want[k] = memcpy(floats(w, w->n_out[k]), w->out[k], w->n_out[k] * sizeof(float));
		for (size_t s = 0; s < SEQS && w->state_floats; s++) {
			memcpy(state + s * w->state_floats, w->seq[s].state, w->state_floats * sizeof(float));
			memcpy(conv + s * w->conv_floats, w->seq[s].conv, w->conv_floats * sizeof(float));
		}
	}
}

static void begin(struct world *w, struct run *r)
{
	memset(w, 0, sizeof(*w));
	w->r = r;
	w->hp = (struct k_hp){ .n_embd = D, .n_ff = 2 * D, .eps = 1e-5, .eps_inner = 1e-6 };
}

static void end(struct world *w)
{
	for (int i = 0; i < w->n_owned; i++)
		k_free(w->owned[i]);
}

/* --- rows and elements -------------------------------------------------------------------------------------------------- */

static void op_embed(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	dev->ops.embed(dev, &(struct k_op_embed){ w->out[0] + from * D, &w->w[0], (const int32_t *)w->extra + from, n });
}

static void check_embed(struct run *r)
{
	struct world w;
	int32_t ids[ROWS];
	begin(&w, r);
	w.w[0] = weight(&w, "i8row", 1, 50, D);
	for (int i = 0; i < ROWS; i++)
		ids[i] = (int32_t)rnd_below(r, 50);
	w.extra = ids;
	output(&w, 0, ROWS * D);
	all_ways(&w, op_embed, K_ACT_F32);
	end(&w);
}

static void op_rmsnorm(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	int64_t wide = 8 * D;
	dev->ops.rmsnorm(dev, &(struct k_op_rmsnorm){ w->out[0] + from * wide, w->in[0] + from * wide, w->in[1], n, wide, wide, wide, 1e-5 });
}

static void check_rmsnorm(struct run *r)
{
	struct world w;
	begin(&w, r);
	w.in[0] = data(&w, ROWS * 8 * D, DATA_PLAIN);
	w.in[1] = data(&w, 8 * D, DATA_PLAIN);
	output(&w, 0, ROWS * 8 * D);
	all_ways(&w, op_rmsnorm, K_ACT_F32);
	end(&w);
}

static void op_add(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	float *y = w->out[0] + from * 4096;
	memcpy(y, w->in[1] + from * 4096, (size_t)n * 4096 * sizeof(*y));
	dev->ops.add(dev, &(struct k_op_add){ y, w->in[0] + from * 4096, n * 4096 });
}

static void op_swiglu(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	dev->ops.swiglu(dev, &(struct k_op_swiglu){ w->out[0] + from * 4096, w->in[0] + from * 4096, w->in[1] + from * 4096, n * 4096, 0, 0 });
}

static void op_situ(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	dev->ops.swiglu(dev, &(struct k_op_swiglu){ w->out[0] + from * 4096, w->in[0] + from * 4096, w->in[1] + from * 4096, n * 4096, 4, 25 });
}

static void op_gate(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	float *y = w->out[0] + from * 4096;
	memcpy(y, w->in[1] + from * 4096, (size_t)n * 4096 * sizeof(*y));
	dev->ops.gate(dev, &(struct k_op_gate){ y, w->in[0] + from * 4096, n * 4096 });
}

static void check_pair(struct run *r, op_fn *op)
{
	struct world w;
	begin(&w, r);
	w.in[0] = data(&w, ROWS * 4096, DATA_PLAIN);
	w.in[1] = data(&w, ROWS * 4096, DATA_PLAIN);
	output(&w, 0, ROWS * 4096);
	all_ways(&w, op, K_ACT_F32);
	end(&w);
}

static void check_add(struct run *r) { check_pair(r, op_add); }
static void check_swiglu(struct run *r)
{
	check_pair(r, op_swiglu);
	check_pair(r, op_situ);
}
static void check_gate(struct run *r) { check_pair(r, op_gate); }

enum { BLOCKS = 3 };

static void op_blend(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	const float *block[BLOCKS];
	for (int i = 0; i < BLOCKS; i++)
		block[i] = w->in[0] + (i * ROWS + from) * D;
	dev->ops.blend(dev, &(struct k_op_blend){ w->out[0] + from * D, block, BLOCKS, w->in[1] + from * D, w->in[2], w->in[3], n, D, 1e-5 });
}

static void check_blend(struct run *r)
{
	struct world w;
	begin(&w, r);
	w.in[0] = data(&w, BLOCKS * ROWS * D, DATA_PLAIN);
	w.in[1] = data(&w, ROWS * D, DATA_PLAIN);
	w.in[2] = data(&w, D, DATA_PLAIN);
	w.in[3] = data(&w, D, DATA_PLAIN);
	output(&w, 0, ROWS * D);
	all_ways(&w, op_blend, K_ACT_F32);
	end(&w);
}

/* --- products ----------------------------------------------------------------------------------------------------------- */

static void op_gemm(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	int64_t rows = w->w[0].shape[0], cols = w->w[0].shape[1];
	dev->ops.gemm(dev, &(struct k_op_gemm){ w->out[0] + from * rows, w->in[0] + from * cols, &w->w[0], w->in[1], n, rows, cols, false });
}

static void check_gemm(struct run *r)
{
	static const struct { const char *type; int64_t rows, cols; enum k_act act; } cases[] = {
		{ "f32", 65, 193, K_ACT_F32 }, { "bf16", 97, 385, K_ACT_F32 }, { "bf16", 80, 192, K_ACT_INT8 }, { "bf16", 97, 385, K_ACT_BF16 }, { "i4g32", 80, 384, K_ACT_BF16 },
		{ "i4g32", 96, 192, K_ACT_INT8 }, { "i4g32", 81, 96, K_ACT_F32 }, { "fp8b128", 150, 200, K_ACT_F32 },
		{ "q8_0", 70, 160, K_ACT_INT8 }, { "i8row", 33, 9001, K_ACT_F32 }, { "mxfp4", 81, 96, K_ACT_F32 },
		{ "mxfp4", 96, 256, K_ACT_F32 }, { "mxfp4", 48, 128, K_ACT_INT8 }, { "mxfp4", 80, 384, K_ACT_BF16 },
	};
	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct world w;
		begin(&w, r);
		w.hp.n_ff = K_MAX(w.hp.n_ff, cases[i].cols);
		w.w[0] = weight(&w, cases[i].type, 1, cases[i].rows, cases[i].cols);
		w.in[0] = data(&w, (size_t)(ROWS * cases[i].cols), DATA_PLAIN);
		w.in[1] = i & 1 ? data(&w, (size_t)cases[i].rows, DATA_PLAIN) : NULL;
		output(&w, 0, (size_t)(ROWS * cases[i].rows));
		all_ways(&w, op_gemm, cases[i].act);
		end(&w);
	}
}

/* --- experts ------------------------------------------------------------------------------------------------------------ */

enum { E = 24, USED = 5, FE = 96 };

/* Ids come out as floats of the same bits, so that results are compared as results. */
static void op_route(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	int32_t ids[ROWS * USED];
	dev->ops.route(dev, &(struct k_op_route){ ids, w->out[0] + from * USED, w->in[0] + from * E, w->in[1], n, &w->hp });
	for (int64_t i = 0; i < n * USED; i++)
		w->out[1][from * USED + i] = (float)ids[i];
}

static void set_experts(struct k_hp *hp)
{
	hp->n_expert = E;
	hp->n_expert_used = USED;
	hp->n_ff_expert = FE;
	hp->n_group = 4;
	hp->n_group_used = 2;
	hp->moe_freq = 1;
	hp->expert_norm = true;
	hp->expert_scale = 2.446;
}

/* The definition, straight from the text of backend.h. Checks ids and weights of one row. */
static void slow_route(struct world *w, const float *logit, const float *bias, const float *ids, const float *weights)
{
	double score[E], pick[E], group[4], sum = 0, got = 0;
	bool taken[E] = { false };
	for (int e = 0; e < E; e++) {
		score[e] = 1 / (1 + exp(-(double)logit[e]));
		pick[e] = score[e] + (double)bias[e];
	}
	for (int g = 0; g < 4; g++) {
		group[g] = -INFINITY;
		for (int a = 0; a < 6; a++)
			for (int b = 0; b < a; b++)
				group[g] = fmax(group[g], pick[6 * g + a] + pick[6 * g + b]);
	}
	for (int g = 0; g < 4; g++) {
		int better = 0;
		for (int h = 0; h < 4; h++)
			better += group[h] > group[g] || (group[h] == group[g] && h < g);
		for (int e = 0; better >= 2 && e < 6; e++)
			pick[6 * g + e] = -INFINITY;
	}
	for (int k = 0; k < USED; k++) {
		int best = -1;
		for (int e = 0; e < E; e++)
			if (!taken[e] && (best < 0 || pick[e] > pick[best]))
				best = e;
		taken[best] = true;
		sum += score[best];
	}
	for (int k = 0, e = 0; k < USED; k++, e++) {
		while (!taken[e])
			e++;
		if (ids[k] != (float)e)
			fail(w->r, "slot %d has expert %g, wanted %d", k, (double)ids[k], e);
		if (!(fabs((double)weights[k] - score[e] / (sum + 1e-20) * 2.446) < 1e-6))
			fail(w->r, "slot %d weighs %g, wanted %g", k, (double)weights[k], score[e] / sum * 2.446);
		got += (double)weights[k];
	}
	if (!(fabs(got - 2.446) < 1e-5))
		fail(w->r, "weights add up to %g", got);
}

static void check_route(struct run *r)
{
	struct world w;
	begin(&w, r);
	set_experts(&w.hp);
	w.in[0] = data(&w, ROWS * E, DATA_PLAIN);
	w.in[1] = data(&w, E, DATA_PLAIN);
	/* Twins: the lower index wins. */
	for (int i = 0; i < ROWS; i++)
		w.in[0][i * E + 9] = w.in[0][i * E + 7];
	w.in[1][9] = w.in[1][7];
	output(&w, 0, ROWS * USED);
	output(&w, 1, ROWS * USED);
	all_ways(&w, op_route, K_ACT_F32);
	for (int i = 0; i < ROWS; i++)
		slow_route(&w, w.in[0] + i * E, w.in[1], w.out[1] + i * USED, w.out[0] + i * USED);
	end(&w);
}

struct chosen { int32_t ids[ROWS * USED]; float weights[ROWS * USED]; };

static void op_moe(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	const struct chosen *c = w->extra;
	dev->ops.moe(dev, &(struct k_op_moe){ w->out[0] + from * D, w->in[0] + from * D, c->ids + from * USED, c->weights + from * USED, &w->w[0],
		&w->w[1], &w->w[2], n, &w->hp });
}

static void check_moe(struct run *r)
{
	static const struct { const char *type; enum k_act act; } cases[] = { { "i4g32", K_ACT_F32 }, { "i4g32", K_ACT_INT8 }, { "bf16", K_ACT_BF16 }, { "fp8b128", K_ACT_INT8 },
		{ "mxfp4", K_ACT_F32 }, { "mxfp4", K_ACT_BF16 } };
	struct chosen c;
	for (int i = 0; i < ROWS; i++)
		for (int k = 0, e = 0; k < USED; k++) {
			/* Ascending, some experts of many rows, some of none. */
			e += 1 + (int)rnd_below(r, 4);
			c.ids[i * USED + k] = e;
			c.weights[i * USED + k] = rnd_float(r, 0, 1);
		}
	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct world w;
		begin(&w, r);
		set_experts(&w.hp);
		w.extra = &c;
		w.in[0] = data(&w, ROWS * D, DATA_PLAIN);
		w.w[0] = weight(&w, cases[i].type, E, FE, D);
		w.w[1] = weight(&w, cases[i].type, E, FE, D);
		w.w[2] = weight(&w, cases[i].type, E, D, FE);
		output(&w, 0, ROWS * D);
		all_ways(&w, op_moe, cases[i].act);
		end(&w);
	}
}

/* --- sequences ---------------------------------------------------------------------------------------------------------- */

enum { KH = 3, KD = 40, KP = KH * KD };

static void op_kda(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	struct k_seg seg[SEQS];
	float *const *in = w->in;
	const float *small = w->extra;
	struct k_op_kda op = { .y = w->out[0] + from * KP, .q = in[0] + from * KP, .k = in[1] + from * KP, .v = in[2] + from * KP,
		.a = in[3] + from * KP, .z = in[4] + from * KP, .beta = in[5] + from * KH, .a_log = small, .dt_bias = small + KH,
		.o_norm = small + KH + KP, .seg = seg, .n = n, .hp = &w->hp };
	for (int i = 0; i < 3; i++)
		op.conv_w[i] = small + KH + KP + KD + i * KP * w->hp.kda_conv;
	op.n_seg = segments(w, from, n, seg);
	dev->ops.kda(dev, &op);
}

/* Subnormal numbers, which keys that decay for long pass through, cost what hundreds of others do: none may be left. */
static void no_subnormals(struct world *w)
{
	for (int s = 0; s < SEQS; s++)
		for (size_t i = 0; i < w->state_floats; i++)
			if (fpclassify(w->seq[s].state[i]) == FP_SUBNORMAL) {
				fail(w->r, "state: [%zu] of sequence %d is %g", i, s, (double)w->seq[s].state[i]);
				return;
			}
}

static void check_kda(struct run *r)
{
	for (int taps = 2; taps <= 5; taps++) {
		struct world w;
		begin(&w, r);
		w.hp.kda_head = KH;
		w.hp.kda_dim = KD;
		w.hp.kda_conv = taps;
		for (int i = 0; i < 6; i++)
			w.in[i] = data(&w, ROWS * KP, DATA_PLAIN);
		for (int i = 0; i < ROWS * KP; i += 3)          /* of some channels little is left after ten tokens */
			w.in[3][i] = 9;
		w.extra = data(&w, (size_t)(KH + KP + KD + 3 * KP * taps), DATA_PLAIN);
		sequences(&w, 1, (size_t)k_kda_floats(KH, KD), (size_t)(3 * KP * (taps - 1)));
		for (int s = 0; s < SEQS; s++)          /* of a deferred one: how many are pending */
			w.state0[(size_t)s * w.state_floats] = (float)(POS % K_KDA_CHUNK * s);
		output(&w, 0, ROWS * KP);
		all_ways(&w, op_kda, K_ACT_F32);
		no_subnormals(&w);
		end(&w);
	}
}

static void rotation(struct world *w, int64_t dim, bool interleaved)
{
	double inv[64];
	w->hp.rope = (struct k_rope_hp){ .kind = K_ROPE_PLAIN, .theta = 10000, .dim = dim, .interleaved = interleaved };
	k_rope_inv(&w->hp.rope, inv);
	w->table = floats(w, (size_t)(PAGES * K_PAGE * dim));
	k_rope_fill(&w->hp.rope, inv, 0, PAGES * K_PAGE, w->table);
}

/* What an operation changes in place is copied first: its inputs serve every way of running. */
static float *scratch(struct world *w, int i, int64_t from, int64_t n, int64_t width)
{
	return memcpy(w->out[MOST_OUT - 1 - i] + from * width, w->in[i] + from * width, (size_t)(n * width) * sizeof(float));
}

enum { MH = 5, MR = 72, MDR = 20, MDN = 24, MDV = 28 };

static void op_mla(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	struct k_seg seg[SEQS];
	int64_t n_seg = segments(w, from, n, seg);
	dev->ops.mla(dev, &(struct k_op_mla){ .y = w->out[0] + from * MH * MDV, .q = scratch(w, 0, from, n, MH * (MDN + MDR)),
		.kv = scratch(w, 1, from, n, MR + MDR), .kv_norm = w->in[2], .kv_b = &w->w[0], .rope = w->table, .scale = 1 / sqrt(MDN + MDR),
		.seg = seg, .n_seg = n_seg, .n = n, .hp = &w->hp });
}

static void mla_with(struct run *r, enum k_kv kv, const char *kv_b)
{
	struct world w;
	begin(&w, r);
	w.kv = kv;
	w.hp.n_head = MH;
	w.hp.kv_lora = MR;
	w.hp.d_rope = MDR;
	w.hp.d_nope = MDN;
	w.hp.d_v = MDV;
	rotation(&w, MDR, true);
	w.in[0] = data(&w, ROWS * MH * (MDN + MDR), DATA_PLAIN);
	w.in[1] = data(&w, ROWS * (MR + MDR), DATA_PLAIN);
	w.in[2] = data(&w, MR, DATA_PLAIN);
	w.w[0] = weight(&w, kv_b, 1, MH * (MDN + MDV), MR);
	sequences(&w, MR + MDR, 0, 0);
	output(&w, 0, ROWS * MH * MDV);
	output(&w, 2, ROWS * MH * (MDN + MDR));
	output(&w, 1, ROWS * (MR + MDR));
	all_ways(&w, op_mla, K_ACT_F32);
	end(&w);
}

static void check_mla(struct run *r)
{
	mla_with(r, K_KV_F32, "f32");
	mla_with(r, K_KV_BF16, "f32");
	mla_with(r, K_KV_F32, "bf16");
	mla_with(r, K_KV_INT8, "f32");
}

enum { GH = 6, GKV = 2, GD = 36 };

static void op_gqa(struct world *w, struct k_device *dev, int64_t from, int64_t n)
{
	struct k_seg seg[SEQS];
	int64_t n_seg = segments(w, from, n, seg);
	dev->ops.gqa(dev, &(struct k_op_gqa){ .y = w->out[0] + from * GH * GD, .q = scratch(w, 0, from, n, GH * GD),
		.k = scratch(w, 1, from, n, GKV * GD), .v = w->in[2] + from * GKV * GD, .rope = w->table, .seg = seg, .n_seg = n_seg, .n = n,
		.hp = &w->hp });
}

static void gqa_world(struct world *w, struct run *r, enum k_kv kv)
{
	begin(w, r);
	w->kv = kv;
	w->hp.n_head = GH;
	w->hp.n_head_kv = GKV;
	w->hp.head_dim = GD;
	rotation(w, GD, false);
	w->in[0] = data(w, ROWS * GH * GD, DATA_PLAIN);
	w->in[1] = data(w, ROWS * GKV * GD, DATA_PLAIN);
	w->in[2] = data(w, ROWS * GKV * GD, DATA_PLAIN);
	sequences(w, 2 * GKV * GD, 0, 0);
	output(w, 0, ROWS * GH * GD);
	output(w, 2, ROWS * GH * GD);
	output(w, 1, ROWS * GKV * GD);
}

/* Keys and values that BF16 holds exactly give the same bits on both kinds of pages. */
static void gqa_rounded(struct run *r)
{
	float y[2][ROWS * GH * GD];
	uint64_t rng = r->rng;
	for (int kv = K_KV_F32; kv <= K_KV_BF16; kv++) {
		struct world w;
		r->rng = rng;
		gqa_world(&w, r, K_KV_F32);
		w.hp.rope.kind = K_ROPE_NONE;
		for (int i = 1; i <= 2; i++)
			for (int j = 0; j < ROWS * GKV * GD; j++)
				w.in[i][j] = k_bf16_to_f32(k_bf16_from_f32(w.in[i][j]));
		for (int s = 0; s < SEQS; s++)
			for (int p = 0; p < PAGES; p++) {
				float *x = w.page[s][p];
				uint16_t *b = keep(&w, k_aligned(w.page_values * sizeof(*b)));
				for (size_t j = 0; j < w.page_values; j++)
					x[j] = k_bf16_to_f32(b[j] = k_bf16_from_f32(x[j]));
				w.page[s][p] = kv == K_KV_BF16 ? (void *)b : x;
			}
		w.kv = w.seq[0].kv = w.seq[1].kv = (enum k_kv)kv;
		all_ways(&w, op_gqa, K_ACT_F32);
		memcpy(y[kv], w.out[0], sizeof(y[kv]));
		end(&w);
	}
	where(r, "keys and values of BF16");
	same(r, "y", y[1], y[0], ROWS * GH * GD);
}

static void check_gqa(struct run *r)
{
	for (int kv = K_KV_F32; kv <= K_KV_INT8; kv++) {
		struct world w;
		gqa_world(&w, r, (enum k_kv)kv);
		all_ways(&w, op_gqa, K_ACT_F32);
		end(&w);
	}
	gqa_rounded(r);
}

#define K_OP(name, what) { #name, check_##name },
const struct op_row kcheck_ops[] = {
#include "libcore/ops.def"
	{ .name = NULL },
};
#undef K_OP
