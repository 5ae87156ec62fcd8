/* kcheck_device.c: operations of a device with a memory of its own, against the CPU device at level ref:
 *
 *   the same inputs in both memories;  CPU -> wanted    device, whole batch -> within the tolerance of wanted
 *                                                       device, the batch cut into steps -> the same bits again
 *
 * The batch is two sequences that begin at different positions, as in kcheck_cpu.c. Sizes are small and awkward: a simulated device is slow. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "kernels/check/kcheck_world.h"
#include "libcore/dtype.h"
#include "libcore/pool.h"
#include "libcore/rope.h"

/* --- rows and elements ---------------------------------------------------------------------------------------------------- */

static const char *const types[] = { "f32", "bf16", "f16", "i4g32", "fp8b128", "mxfp4", "i8row", "q8_0" };

struct embed { struct weight w; int y; int32_t ids[ROWS]; };

static void op_embed(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	struct embed *e = how;
	int64_t cols = e->w.t.shape[1];
	w->dev[side]->ops.embed(w->dev[side],
		&(struct k_op_embed){ world_row_at(w, side, e->y, from, cols), world_weight_at(w, side, &e->w), e->ids + from, n });
}

static void check_embed(struct world *w)
{
	for (size_t i = 0; i < K_LEN(types); i++) {
		int64_t rows = 48, cols = i % 2 ? 320 : 64;
		struct embed e = { .w = world_weight(w, k_qtype_for(types[i], rows, cols), 1, rows, cols), .y = world_output(w, (size_t)(ROWS * cols)) };
		for (int t = 0; t < ROWS; t++)
			e.ids[t] = (int32_t)rnd_below(w->r, (size_t)rows);
		world_all_ways(w, op_embed, &e, types[i]);
		world_end(w);
	}
}

struct rows { int y, x, z; int64_t dim; };

static void op_rmsnorm(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct rows *a = how;
	int64_t step = a->dim + 3;
	w->dev[side]->ops.rmsnorm(w->dev[side], &(struct k_op_rmsnorm){ world_row_at(w, side, a->y, from, a->dim), world_row_at(w, side, a->x, from, step),
		world_at(w, side, a->z), n, a->dim, a->dim, step, 1e-5 });
}

static void check_rmsnorm(struct world *w)
{
	static const int64_t dims[] = { 1, 31, 64, 257, 1000 };
	for (size_t i = 0; i < K_LEN(dims); i++) {
		struct rows a = { world_output(w, (size_t)(ROWS * dims[i])), world_data(w, (size_t)(ROWS * (dims[i] + 3)), DATA_PLAIN),
			world_data(w, (size_t)dims[i], DATA_PLAIN), dims[i] };
		world_all_ways(w, op_rmsnorm, &a, "a norm");
		world_end(w);
	}
}

static void op_add(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct rows *a = how;
	w->dev[side]->ops.add(w->dev[side],
		&(struct k_op_add){ world_row_at(w, side, a->y, from, a->dim), world_row_at(w, side, a->x, from, a->dim), n * a->dim });
}

static void op_swiglu(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct rows *a = how;
	w->dev[side]->ops.swiglu(w->dev[side], &(struct k_op_swiglu){ world_row_at(w, side, a->y, from, a->dim), world_row_at(w, side, a->x, from, a->dim),
		world_row_at(w, side, a->z, from, a->dim), n * a->dim, 0, 0 });
}

static void op_situ(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct rows *a = how;
	w->dev[side]->ops.swiglu(w->dev[side], &(struct k_op_swiglu){ world_row_at(w, side, a->y, from, a->dim), world_row_at(w, side, a->x, from, a->dim),
		world_row_at(w, side, a->z, from, a->dim), n * a->dim, 4, a->dim == 23 ? 0 : 25 });
}

static void op_gate(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct rows *a = how;
	w->dev[side]->ops.gate(w->dev[side],
		&(struct k_op_gate){ world_row_at(w, side, a->y, from, a->dim), world_row_at(w, side, a->x, from, a->dim), n * a->dim });
}

static void check_elements(struct world *w, op_fn *op, bool adds)
{
	static const int64_t dims[] = { 1, 23, 256, 515 };
	for (size_t i = 0; i < K_LEN(dims); i++) {
		size_t n = (size_t)(ROWS * dims[i]);
		struct rows a = { adds ? world_data(w, n, DATA_PLAIN) : world_output(w, n), world_data(w, n, DATA_PLAIN), world_data(w, n, DATA_PLAIN), dims[i] };
		w->buf[a.y].out = true;
		world_all_ways(w, op, &a, "elements");
		world_end(w);
	}
}

static void check_add(struct world *w) { check_elements(w, op_add, true); }
static void check_swiglu(struct world *w)
{
	check_elements(w, op_swiglu, false);
	check_elements(w, op_situ, false);
}
static void check_gate(struct world *w) { check_elements(w, op_gate, true); }

enum { BLOCKS = 8 };
struct blend { int y, x, w, query, block[BLOCKS]; int64_t n_block, dim; };

static void op_blend(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct blend *a = how;
	const float *block[BLOCKS];
	for (int64_t i = 0; i < a->n_block; i++)
		block[i] = world_row_at(w, side, a->block[i], from, a->dim);
	w->dev[side]->ops.blend(w->dev[side], &(struct k_op_blend){ world_row_at(w, side, a->y, from, a->dim), block, a->n_block,
		world_row_at(w, side, a->x, from, a->dim), world_at(w, side, a->w), world_at(w, side, a->query), n, a->dim, 1e-5 });
}

static void check_blend(struct world *w)
{
	static const struct { int64_t n_block, dim; } cases[] = { { 1, 1 }, { 2, 64 }, { 3, 257 }, { 8, 1000 } };
	for (size_t i = 0; i < K_LEN(cases); i++) {
		size_t n = (size_t)(ROWS * cases[i].dim), dim = (size_t)cases[i].dim;
		struct blend a = { .y = world_output(w, n), .x = world_data(w, n, DATA_PLAIN), .w = world_data(w, dim, DATA_PLAIN),
			.query = world_data(w, dim, DATA_PLAIN), .n_block = cases[i].n_block, .dim = cases[i].dim };
		for (int64_t b = 0; b < a.n_block; b++)
			a.block[b] = world_data(w, n, DATA_PLAIN);
		world_all_ways(w, op_blend, &a, "a blend");
		world_end(w);
	}
}

/* --- products ------------------------------------------------------------------------------------------------------------- */

struct gemm { struct weight w; int y, x, bias; bool exact; };

/* Rows of x at multiples of 16 bytes or not. */
static int64_t x_step(int64_t rows, int64_t cols) { return cols + (rows % 2 ? 2 : 4); }

static void op_gemm(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	struct gemm *g = how;
	int64_t rows = g->w.t.shape[0], cols = g->w.t.shape[1], y_step = rows + 1, step = x_step(rows, cols);
	w->dev[side]->ops.gemm(w->dev[side], &(struct k_op_gemm){ world_row_at(w, side, g->y, from, y_step), world_row_at(w, side, g->x, from, step),
		world_weight_at(w, side, &g->w), g->bias < 0 ? NULL : world_at(w, side, g->bias), n, y_step, step, g->exact });
}

static void check_product(struct world *w, const char *type, int64_t rows, int64_t cols, bool bias, bool exact)
{
	bool rounds = w->rounds;
	w->rounds &= !exact;
	struct gemm g = { .w = world_weight(w, k_qtype_for(type, rows, cols), 1, rows, cols), .y = world_data(w, (size_t)(w->rows * (rows + 1)), DATA_PLAIN),
		.x = world_data(w, (size_t)(w->rows * x_step(rows, cols)), DATA_PLAIN), .bias = bias ? world_data(w, (size_t)rows, DATA_PLAIN) : -1, .exact = exact };
	char what[64];
	w->buf[g.y].out = true;
	w->hp.n_ff = K_MAX(rows, cols);
	snprintf(what, sizeof(what), "%s %dx%d", type, (int)rows, (int)cols);
	world_all_ways(w, op_gemm, &g, what);
	world_end(w);
	w->rounds = rounds;
}

static void check_gemm(struct world *w)
{
	static const struct { int64_t rows, cols; } shapes[] = { { 1, 32 }, { 7, 96 }, { 16, 64 }, { 33, 160 }, { 48, 576 }, { 18, 288 } };
	for (size_t i = 0; i < K_LEN(types); i++)
		for (size_t k = i % 2; k < K_LEN(shapes); k += 2)
			check_product(w, types[i], shapes[k].rows, shapes[k].cols, i % 4 < 2, k == 1);
	check_product(w, "f32", 9, 33, true, false);
	check_product(w, "bf16", 65, 1, false, false);
	check_product(w, "fp8b128", 150, 131, false, false);
	check_product(w, "i4g32", 16, 64, true, false);
	check_product(w, "i4g32", 48, 576, false, false);
	w->rows = MANY_ROWS;
	check_product(w, "i4g32", 32, 192, true, false);
	check_product(w, "bf16", 19, 96, true, false);
	check_product(w, "fp8b128", 140, 160, true, false);
	check_product(w, "mxfp4", 32, 256, true, false);
	w->rows = TILE_ROWS;
	check_product(w, "i4g32", 304, 640, true, false);
	check_product(w, "bf16", 21, 160, false, false);
	check_product(w, "mxfp4", 33, 256, false, false);
	check_product(w, "mxfp4", 48, 384, true, false);
	w->rows = ROWS;
}

/* What a library takes of a prompt, and what it leaves. */
static void check_library(struct world *w)
{
	w->rows = PROMPT_ROWS;
	for (int64_t rows = 3; rows < 9; rows += 4) {
		check_product(w, "bf16", rows, 40, false, false);
		check_product(w, "f32", rows, 33, false, rows == 3);
	}
}

/* --- experts -------------------------------------------------------------------------------------------------------------- */

struct route { int ids, weights, logits, bias; };

/* Ids are compared as the bits they are: as floats they are tiny, and equal or not. */
static void op_route(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct route *a = how;
	int64_t used = w->hp.n_expert_used;
	w->dev[side]->ops.route(w->dev[side], &(struct k_op_route){ (int32_t *)world_at(w, side, a->ids) + from * used,
		world_row_at(w, side, a->weights, from, used), world_row_at(w, side, a->logits, from, w->hp.n_expert), a->bias < 0 ? NULL : world_at(w, side, a->bias), n,
		&w->hp });
}

static void same_ids(struct world *w, int ids)
{
	size_t n = w->buf[ids].bytes / sizeof(int32_t);
	int32_t *got = k_alloc(w->buf[ids].bytes);
	const int32_t *want = world_at(w, CPU, ids);
	struct k_err err;
	if (w->stuck || !got)
		goto out;
	if (w->dev[DEV]->get(w->dev[DEV], got, world_at(w, DEV, ids), w->buf[ids].bytes, &err) < 0)
		world_stop(w, err.msg);
	for (size_t i = 0; i < n && !w->stuck; i++)
		if (got[i] != want[i]) {
			fail(w->r, "slot %zu has expert %d, wanted %d", i, got[i], want[i]);
			break;
		}
out:
	k_free(got);
}

static void check_route(struct world *w)
{
	static const struct { int experts, used, groups, groups_used; bool softmax, biased, norm, bias; } cases[] = {
		{ 24, 5, 4, 2, false, false, true, true }, { 7, 7, 1, 1, false, true, true, true }, { 1, 1, 1, 1, false, false, true, false },
		{ 64, 8, 1, 1, true, false, true, false }, { 300, 6, 3, 1, false, false, false, true }, { 384, 8, 1, 1, false, false, true, true },
		{ 896, 16, 1, 1, false, false, true, true },
	};
	for (size_t i = 0; i < K_LEN(cases); i++) {
		int E = cases[i].experts, used = cases[i].used;
		w->hp.n_expert = E;
		w->hp.n_expert_used = used;
		w->hp.n_group = cases[i].groups;
		w->hp.n_group_used = cases[i].groups_used;
		w->hp.router_softmax = cases[i].softmax;
		w->hp.router_biased = cases[i].biased;
		w->hp.expert_norm = cases[i].norm;
		w->hp.expert_scale = 2.446;
		struct route a = { world_buffer(w, (size_t)(ROWS * used) * 4, false), world_output(w, (size_t)(ROWS * used)), world_data(w, (size_t)(ROWS * E), DATA_PLAIN),
			cases[i].bias ? world_data(w, (size_t)E, DATA_PLAIN) : -1 };
		/* Twins: the lower index wins. */
		float *logits = w->buf[a.logits].begin, *bias = a.bias < 0 ? NULL : w->buf[a.bias].begin;
		for (int t = 0; logits && E > 9 && t < ROWS; t++)
			logits[t * E + 9] = logits[t * E + 7];
		if (bias && E > 9)
			bias[9] = bias[7];
		world_all_ways(w, op_route, &a, "a choice");
		same_ids(w, a.ids);
		world_end(w);
	}
	memset(&w->hp.n_expert, 0, sizeof(w->hp.n_expert));
}

struct moe { struct weight gate, up, down; int y, x, ids, weights; };

static void op_moe(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	struct moe *m = how;
	int64_t used = w->hp.n_expert_used, D = w->hp.n_embd;
	w->dev[side]->ops.moe(w->dev[side], &(struct k_op_moe){ world_row_at(w, side, m->y, from, D), world_row_at(w, side, m->x, from, D),
		(int32_t *)world_at(w, side, m->ids) + from * used, world_row_at(w, side, m->weights, from, used), world_weight_at(w, side, &m->gate),
		world_weight_at(w, side, &m->up), world_weight_at(w, side, &m->down), n, &w->hp });
}

static void check_experts(struct world *w, const char *type, int64_t E, int64_t used, int64_t F, int64_t D)
{
	struct k_hp *hp = &w->hp;
	bool rounds = w->rounds;
	hp->n_expert = E;
	hp->n_expert_used = used;
	hp->n_ff_expert = F;
	hp->n_embd = D;
	/* All three matrices go to tensor cores, or none. */
	w->rounds &= (F | D) % (strcmp(type, "i4g32") == 0 ? 64 : 32) == 0;
	struct moe m = { world_weight(w, k_qtype_for(type, F, D), E, F, D), world_weight(w, k_qtype_for(type, F, D), E, F, D),
		world_weight(w, k_qtype_for(type, D, F), E, D, F), world_output(w, (size_t)(w->rows * D)), world_data(w, (size_t)(w->rows * D), DATA_PLAIN),
		world_buffer(w, (size_t)(w->rows * used) * 4, false), world_data(w, (size_t)(w->rows * used), DATA_PART) };
	int32_t *ids = w->buf[m.ids].begin;
	for (int64_t i = 0; ids && i < w->rows * used; i++)
		ids[i] = (int32_t)(i % used * (E / used) + (int64_t)rnd_below(w->r, (size_t)(E / used)));
	world_all_ways(w, op_moe, &m, type);
	world_end(w);
	w->rounds = rounds;
}

/* By each kernel that has gate and up: rows one by one, in tiles, in wide ones. */
static void check_moe_situ(struct world *w)
{
	w->hp.situ = 4;
	w->hp.situ_up = 25;
	check_experts(w, "bf16", 4, 2, 17, 33);
	check_experts(w, "mxfp4", 3, 2, 128, 128);
	w->hp.situ_up = 0;
	check_experts(w, "fp8b128", 2, 2, 32, 64);
	w->rows = MANY_ROWS;
	w->hp.situ_up = 25;
	check_experts(w, "i4g32", 2, 2, 64, 64);
	w->rows = ROWS;
	w->hp.situ = w->hp.situ_up = 0;
}

static void check_moe(struct world *w)
{
	check_experts(w, "i4g32", 8, 3, 32, 128);
	check_experts(w, "i4g32", 4, 1, 64, 64);
	check_experts(w, "i4g32", 6, 2, 96, 32);
	check_experts(w, "bf16", 4, 2, 17, 33);
	check_experts(w, "mxfp4", 4, 2, 32, 64);
	check_experts(w, "mxfp4", 3, 2, 128, 256);
	check_experts(w, "fp8b128", 2, 2, 15, 131);
	check_experts(w, "fp8b128", 11, 10, 32, 32);
	check_experts(w, "q8_0", 2, 1, 32, 32);
	w->rows = MANY_ROWS;
	check_experts(w, "i4g32", 2, 2, 64, 64);
	check_experts(w, "bf16", 6, 2, 32, 64);
	check_experts(w, "mxfp4", 3, 1, 128, 128);
	w->rows = TILE_ROWS;
	check_experts(w, "i4g32", 1, 1, 64, 576);
	w->rows = ROWS;
	check_moe_situ(w);
}

/* Few tokens whose sums may be in any order: in whole numbers. */
static void check_moe_dot(struct world *w)
{
	w->rounds = false;
	w->rows = DOT_ROWS;
	check_experts(w, "i4g32", 4, 1, 64, 64);
	check_experts(w, "i4g32", 6, 2, 128, 576);
	check_experts(w, "i4g32", 11, 10, 192, 448);
	check_experts(w, "i4g32", 3, 3, 1280, 64);
	check_experts(w, "i4g32", 2, 1, 64, 3584);
	w->hp.situ = 4;
	w->hp.situ_up = 25;
	check_experts(w, "i4g32", 4, 2, 128, 64);
}

/* --- sequences ------------------------------------------------------------------------------------------------------------ */

struct kda { int y, in[6], conv_w[3], a_log, dt_bias, o_norm; };

static void op_kda(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct kda *a = how;
	int64_t H = w->hp.kda_head, P = H * w->hp.kda_dim;
	struct k_seg seg[SEQS];
	const float *in[6];
	for (int i = 0; i < 6; i++)
		in[i] = world_row_at(w, side, a->in[i], from, i == 5 ? H : P);
	w->dev[side]->ops.kda(w->dev[side], &(struct k_op_kda){ .y = world_row_at(w, side, a->y, from, P), .q = in[0], .k = in[1], .v = in[2], .a = in[3],
		.z = in[4], .beta = in[5], .conv_w = { world_at(w, side, a->conv_w[0]), world_at(w, side, a->conv_w[1]), world_at(w, side, a->conv_w[2]) },
		.a_log = world_at(w, side, a->a_log), .dt_bias = world_at(w, side, a->dt_bias), .o_norm = world_at(w, side, a->o_norm), .seg = seg,
		.n_seg = world_segments(w, side, from, n, seg), .n = n, .hp = &w->hp });
}

static struct kda kda_data(struct world *w, int heads, int dim, int taps)
{
	size_t H = (size_t)heads, d = (size_t)dim, P = H * d, n = (size_t)w->rows;
	w->hp.kda_head = heads;
	w->hp.kda_dim = dim;
	w->hp.kda_conv = taps;
	struct kda a = { .y = world_output(w, n * P), .a_log = world_data(w, H, DATA_PLAIN), .dt_bias = world_data(w, P, DATA_PLAIN), .o_norm = world_data(w, d, DATA_PLAIN) };
	for (int k = 0; k < 6; k++)
		a.in[k] = world_data(w, n * (k == 5 ? H : P), DATA_PLAIN);
	for (int k = 0; k < 3; k++)
		a.conv_w[k] = world_data(w, P * (size_t)taps, DATA_PLAIN);
	world_sequences(w, 0, H * d * d, 3 * P * (size_t)(taps - 1), w->pos[1]);
	return a;
}

static void check_kda(struct world *w)
{
	static const struct { int heads, dim, taps, bound; } cases[] = {
		{ 3, 40, 4, 0 }, { 1, 1, 2, 0 }, { 2, 33, 3, -5 }, { 1, 128, 4, 0 }, { 2, 128, 4, -5 }, { 1, 150, 9, 0 }, { 1, 140, 4, -5 },
	};
	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct kda a = kda_data(w, cases[i].heads, cases[i].dim, cases[i].taps);
		w->hp.gate_bound = cases[i].bound;
		world_all_ways(w, op_kda, &a, "delta attention");
		world_end(w);
	}
	w->hp.gate_bound = 0;
}

/* Tokens that write to the same place again and again, while channels forget all, nothing, or something in between. */
static void same_keys(struct world *w, const struct kda *a)
{
	float *gate = w->buf[a->in[3]].begin, *key = w->buf[a->in[1]].begin;
	int64_t P = w->hp.kda_head * w->hp.kda_dim;
	for (int64_t i = 0; gate && key && i < w->rows * P; i++) {
		gate[i] = (float)(i % 97 - 48) / 6;
		key[i] = key[i % P];
	}
}

/* Long enough for chunks of 16 on tensor cores: bits are the same where the batch is cut on their grid (here at rows 32 and 64), and near elsewhere. The
 * first sequence begins at position 0, the second so that row 32 is on the grid for it as well. */
static void check_kda_chunks(struct world *w)
{
	static const struct { int heads, dim, taps, split, pos, gate, bound; bool same; } cases[] = {
		{ 2, 32, 4, 23, 7, 0, 0, false }, { 1, 128, 4, 48, 0, 2, 0, false }, { 3, 64, 3, 3, 19, 9, 0, false }, { 1, 96, 2, 65, 5, 0, 0, false },
		{ 2, 32, 4, 23, 7, 0, -5, true }, { 1, 128, 4, 48, 0, 2, -5, false }, { 1, 64, 4, 23, 7, 0, 0, true },
	};
	for (size_t i = 0; i < K_LEN(cases); i++) {
		w->rows = 71;
		w->split = cases[i].split;
		w->pos[1] = cases[i].pos;
		struct kda a = kda_data(w, cases[i].heads, cases[i].dim, cases[i].taps);
		float *gate = w->buf[a.in[3]].begin;
		/* Some channels forget everything at once. */
		for (size_t k = 0; gate && cases[i].gate && k < w->buf[a.in[3]].bytes / sizeof(float); k += (size_t)cases[i].gate)
			gate[k] = 300;
		if (cases[i].same)
			same_keys(w, &a);
		w->hp.gate_bound = cases[i].bound;
		world_ways(w, op_kda, &a, "delta attention, chunks", (int64_t[]){ w->rows, 32 }, 2);
		world_ways(w, op_kda, &a, "delta attention, one by one", (int64_t[]){ 1 }, 1);
		world_end(w);
	}
	w->rows = ROWS;
	w->split = SPLIT;
	w->pos[1] = 0;
	w->hp.gate_bound = 0;
}

/* So many heads that a prompt goes in several rounds, each made while the one before is walked: for a device that is not simulated. */
static void check_kda_rounds(struct world *w)
{
	w->rows = ROUND_ROWS;
	w->split = 20;          /* so that steps end where chunks do */
	w->pos[1] = 4;
	struct kda a = kda_data(w, ROUND_HEADS, 128, 4);
	world_ways(w, op_kda, &a, "delta attention, rounds", (int64_t[]){ w->rows, 32 }, 2);
	world_end(w);
}

static int rotation(struct world *w, int64_t dim, bool interleaved, bool none)
{
	double inv[128];
	int i = world_buffer(w, (size_t)(MOST_PAGES * K_PAGE * dim) * sizeof(float), false);
	w->hp.rope = (struct k_rope_hp){ .kind = none ? K_ROPE_NONE : K_ROPE_PLAIN, .theta = 10000, .dim = dim, .interleaved = interleaved };
	k_rope_inv(&w->hp.rope, inv);
	if (w->buf[i].begin)
		k_rope_fill(&w->hp.rope, inv, 0, MOST_PAGES * K_PAGE, w->buf[i].begin);
	return i;
}

struct mla { int y, q, kv, kv_norm, rope; struct weight kv_b; };

static void op_mla(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	struct mla *m = how;
	const struct k_hp *hp = &w->hp;
	struct k_seg seg[SEQS];
	w->dev[side]->ops.mla(w->dev[side], &(struct k_op_mla){ .y = world_row_at(w, side, m->y, from, hp->n_head * hp->d_v),
		.q = world_row_at(w, side, m->q, from, hp->n_head * (hp->d_nope + hp->d_rope)),
		.kv = world_row_at(w, side, m->kv, from, hp->kv_lora + hp->d_rope), .kv_norm = world_at(w, side, m->kv_norm), .kv_b = world_weight_at(w, side, &m->kv_b),
		.rope = world_at(w, side, m->rope), .scale = w->scale, .seg = seg, .n_seg = world_segments(w, side, from, n, seg), .n = n, .hp = hp });
}

struct mla_case { int H, r, dr, dn, dv, pos; bool interleaved, none; const char *kv_b; };

static void check_latent(struct world *w, const struct mla_case *c)
{
	struct k_hp *hp = &w->hp;
	size_t n = (size_t)w->rows, H = (size_t)c->H, r = (size_t)c->r, dr = (size_t)c->dr, dn = (size_t)c->dn, dv = (size_t)c->dv;
	hp->n_head = c->H;
	hp->kv_lora = c->r;
	hp->d_rope = c->dr;
	hp->d_nope = c->dn;
	hp->d_v = c->dv;
	w->scale = 1 / sqrt((double)(dn + dr));
	struct mla m = { .y = world_output(w, n * H * dv), .q = world_data(w, n * H * (dn + dr), DATA_PLAIN), .kv = world_data(w, n * (r + dr), DATA_PLAIN),
		.kv_norm = world_data(w, r, DATA_PLAIN), .rope = rotation(w, (int64_t)dr, c->interleaved, c->none),
		.kv_b = world_weight(w, k_qtype_find(c->kv_b ? c->kv_b : "f32", NULL), 1, (int64_t)(H * (dn + dv)), (int64_t)r) };
	world_sequences(w, (int64_t)(r + dr), 0, 0, c->pos);
	if (w->dev[DEV]->ctx->any_order)
		world_ways(w, op_mla, &m, "latent attention, expanded", (int64_t[]){ w->rows, 100 }, 2);
	else
		world_all_ways(w, op_mla, &m, "latent attention");
	world_end(w);
}

static void check_mla(struct world *w)
{
	static const struct mla_case cases[] = {
		{ 5, 72, 20, 24, 28, 60, true, false, NULL }, { 1, 1, 2, 1, 1, 1, false, false, NULL }, { 3, 33, 8, 17, 40, 300, false, false, NULL },
		{ 9, 64, 6, 8, 10, 520, true, true, "bf16" }, { 2, 512, 64, 12, 9, 63, true, false, NULL },
	};
	for (size_t i = 0; i < K_LEN(cases); i++)
		check_latent(w, &cases[i]);
}

/* On tensor cores: tiles that end in a sequence, in a page and in a span; heads that fill no tile, channels that fill no run. */
static void check_mla_tiles(struct world *w)
{
	static const struct mla_case cases[] = {
		{ 5, 72, 24, 24, 28, 60, true, false, NULL }, { 1, 8, 8, 1, 1, 1, false, false, NULL }, { 3, 64, 8, 17, 40, 300, false, true, "bf16" },
		{ 2, 512, 64, 128, 9, 250, true, false, "bf16" },
	};
	for (size_t i = 0; i < K_LEN(cases); i++)
		check_latent(w, &cases[i]);
	w->rows = MANY_ROWS;
	check_latent(w, &(struct mla_case){ 3, 40, 8, 12, 20, 235, false, false, NULL });
	w->rows = ROWS;
}

/* One sequence long enough that keys and values of every head are made from its latents, and one that is not: the first begins at position 0, the second behind
 * others. */
static void check_mla_expanded(struct world *w)
{
	static const struct { struct mla_case c; int split; } cases[] = {
		{ { 3, 72, 8, 24, 24, 60, true, false, NULL }, 140 }, { { 2, 64, 16, 40, 8, 90, false, false, "bf16" }, 5 }, { { 1, 160, 64, 128, 128, 3, true, true, "bf16" }, 8 },
	};
	for (size_t i = 0; i < K_LEN(cases); i++) {
		w->rows = EXPAND_ROWS;
		w->split = cases[i].split;
		check_latent(w, &cases[i].c);
	}
	w->rows = ROWS;
	w->split = SPLIT;
}

struct gqa { int y, q, k, v, rope; };

static void op_gqa(struct world *w, void *how, int side, int64_t from, int64_t n)
{
	const struct gqa *g = how;
	const struct k_hp *hp = &w->hp;
	int64_t nq = hp->n_head * hp->head_dim, nk = hp->n_head_kv * hp->head_dim;
	struct k_seg seg[SEQS];
	w->dev[side]->ops.gqa(w->dev[side], &(struct k_op_gqa){ .y = world_row_at(w, side, g->y, from, nq), .q = world_row_at(w, side, g->q, from, nq),
		.k = world_row_at(w, side, g->k, from, nk), .v = world_row_at(w, side, g->v, from, nk), .rope = world_at(w, side, g->rope), .seg = seg,
		.n_seg = world_segments(w, side, from, n, seg), .n = n, .hp = hp });
}

/* What is kept has the CPU's bits. */
static void same_pages(struct world *w)
{
	struct k_err err;
	for (int s = 0; s < SEQS && !w->stuck; s++)
		for (int64_t p = 0; p < w->seq[CPU][s].n_page && !w->stuck; p++) {
			size_t bytes = 0;
			for (int i = 0; i < w->n_buf; i++)
				bytes = w->buf[i].at[DEV] == w->page[DEV][s][p] ? w->buf[i].bytes : bytes;
			void *got = k_alloc(bytes);
			if (!got)
				world_stop(w, "no memory");
			else if (w->dev[DEV]->get(w->dev[DEV], got, w->page[DEV][s][p], bytes, &err) < 0)
				world_stop(w, err.msg);
			else if (memcmp(got, w->page[CPU][s][p], bytes))
				fail(w->r, "page %d of sequence %d is not the CPU's", (int)p, s);
			k_free(got);
		}
}

struct gqa_case { int H, kv, d, pos; };

/* none: keys are not turned, so that what goes to the pages is given, and not computed. */
static void check_groups(struct world *w, const struct gqa_case *c, bool interleaved, bool none)
{
	struct k_hp *hp = &w->hp;
	size_t n = (size_t)w->rows, nq = (size_t)(c->H * c->d), nk = (size_t)(c->kv * c->d);
	hp->n_head = c->H;
	hp->n_head_kv = c->kv;
	hp->head_dim = c->d;
	struct gqa g = { world_output(w, n * nq), world_data(w, n * nq, DATA_PLAIN), world_data(w, n * nk, DATA_PLAIN), world_data(w, n * nk, DATA_PLAIN),
		rotation(w, c->d, interleaved, none) };
	/* Halfway between two values of BF16: to the even one. */
	for (int k = 0; k < 2; k++)
		if (w->buf[k ? g.v : g.k].begin)
			memcpy(w->buf[k ? g.v : g.k].begin, (float[]){ 0x1.01p0f, -0x1.03p0f }, 2 * sizeof(float));
	world_sequences(w, (int64_t)(2 * nk), 0, 0, c->pos);
	world_all_ways(w, op_gqa, &g, "grouped-query attention");
	if (none)
		same_pages(w);
	world_end(w);
}

static void check_gqa(struct world *w)
{
	static const struct gqa_case cases[] = { { 6, 2, 34, 110 }, { 1, 1, 2, 5 }, { 4, 4, 64, 255 }, { 12, 1, 16, 257 }, { 2, 1, 128, 61 } };
	for (size_t i = 0; i < K_LEN(cases); i++)
		check_groups(w, &cases[i], i % 2, i == 3);
}

/* On tensor cores: several tiles, steps and spans; channels that fill no run. */
static void check_gqa_tiles(struct world *w)
{
	static const struct gqa_case cases[] = { { 3, 3, 128, 61 }, { 1, 1, 8, 3 }, { 16, 2, 72, 290 }, { 4, 2, 40, 505 } };
	for (size_t i = 0; i < K_LEN(cases); i++)
		check_groups(w, &cases[i], i % 2, i == 2);
	w->rows = MANY_ROWS;
	check_groups(w, &(struct gqa_case){ 10, 2, 32, 235 }, false, false);
	w->rows = ROWS;
}

/* Blocks enough for spans to be longer than they must. */
static void check_gqa_spans(struct world *w) { check_groups(w, &(struct gqa_case){ 128, 128, 8, 257 }, false, false); }

/* --- rows of ops.def ------------------------------------------------------------------------------------------------------- */

/* Sums are f32 where the CPU's are double: errors of some units in the last place, added up at random. The delta rule's result is
 * divided by its own size, which a state that cancels makes small. */
static const struct { const char *name; struct tol tol; void (*check)(struct world *w); } rows[] = {
	{ "embed", { TOL_EXACT, 0, 0 }, check_embed },
	{ "rmsnorm", { TOL_ULP, 6, 0 }, check_rmsnorm },
	{ "gemm", { TOL_NMSE, 1e-11, 0 }, check_gemm },
	{ "add", { TOL_EXACT, 0, 0 }, check_add },
	{ "blend", { TOL_NMSE, 1e-11, 0 }, check_blend },
	{ "swiglu", { TOL_ULP, 8, 0 }, check_swiglu },
	{ "gate", { TOL_ULP, 8, 0 }, check_gate },
	{ "route", { TOL_NMSE, 1e-12, 0 }, check_route },
	{ "moe", { TOL_NMSE, 1e-11, 0 }, check_moe },
	{ "kda", { TOL_NMSE, 1e-7, 0 }, check_kda },
	{ "mla", { TOL_NMSE, 1e-11, 0 }, check_mla },
	{ "gqa", { TOL_NMSE, 1e-11, 0 }, check_gqa },
};

static void check_at(struct run *r, const char *spec, void (*check)(struct world *w), enum k_act act, enum k_kv kv, bool any_order)
{
	struct world w = { .r = r, .kv = kv, .rows = ROWS, .split = SPLIT, .hp = { .n_embd = 64, .n_ff = 64, .eps = 1e-5, .eps_inner = 1e-6, .n_group = 1, .n_group_used = 1, .moe_freq = 1 } };
	struct k_pool *pool = NULL;
	struct k_err err = { 0 };
	int rc = k_pool_new(&pool, 1, &err);
	struct k_ctx ctx = { .pool = pool, .cpu = "ref", .act = act, .any_order = any_order };
	w.rounds = act == K_ACT_BF16 && strcmp(spec, "cudasim:7") != 0;
	if (!rc)
		rc = k_device_open(&w.dev[CPU], &ctx, "cpu", &err);
	if (!rc)
		rc = k_device_open(&w.dev[DEV], &ctx, spec, &err);
	if (rc)
		fail(r, "%s", err.msg);
	else
		check(&w);
	k_device_close(w.dev[DEV]);
	k_device_close(w.dev[CPU]);
	k_pool_free(pool);
}

bool kcheck_device_op(struct run *r, const char *spec, const char *op)
{
	for (size_t i = 0; i < K_LEN(rows); i++)
		if (strcmp(rows[i].name, op) == 0) {
			bool products = strcmp(op, "gemm") == 0 || strcmp(op, "moe") == 0;
			r->tol = rows[i].tol;
			check_at(r, spec, rows[i].check, K_ACT_F32, K_KV_F32, false);
			/* What lies between two values of bf16 may go either way, where it was computed and not given: inside of the experts. */
			if (strcmp(op, "moe") == 0)
				r->tol.bound = 1e-6;
			if (products)
				check_at(r, spec, rows[i].check, K_ACT_BF16, K_KV_F32, false);
			if (strcmp(op, "moe") == 0)
				check_at(r, spec, check_moe_dot, K_ACT_BF16, K_KV_F32, true);
			/* The last simulator is an old card. */
			if (strcmp(op, "gemm") == 0 && strcmp(spec, "cudasim") == 0)
				check_at(r, "cudasim:7", rows[i].check, K_ACT_BF16, K_KV_F32, false);
			for (enum k_act act = K_ACT_F32; act <= K_ACT_BF16 && strcmp(op, "gemm") == 0; act++)
				check_at(r, spec, check_library, act, K_KV_F32, true);
			/* What lies between two values of BF16 may go either way again: a latent is computed. */
			if (strcmp(op, "mla") == 0 || strcmp(op, "gqa") == 0) {
				r->tol.bound = 1e-6;
				check_at(r, spec, rows[i].check, K_ACT_F32, K_KV_BF16, false);
			}
			if (strcmp(op, "mla") == 0) {
				/* Scores are rounded as well, which exp magnifies. */
				r->tol = (struct tol){ TOL_NMSE, 2e-3, 0 };
				check_at(r, spec, check_mla_tiles, K_ACT_BF16, K_KV_BF16, false);
				check_at(r, spec, check_mla_expanded, K_ACT_BF16, K_KV_BF16, true);
			}
			if (strcmp(op, "gqa") == 0) {
				r->tol = (struct tol){ TOL_NMSE, 2e-5, 0 };
				check_at(r, spec, check_gqa_tiles, K_ACT_BF16, K_KV_BF16, false);
				check_at(r, spec, check_gqa_spans, K_ACT_BF16, K_KV_BF16, true);
			}
			if (strcmp(op, "kda") == 0) {
				/* A head whose result nearly cancels magnifies bf16's rounding. */
				r->tol = (struct tol){ TOL_NMSE, 1e-3, 0 };
				check_at(r, spec, check_kda_chunks, K_ACT_BF16, K_KV_F32, false);
				if (strncmp(spec, "cudasim", strlen("cudasim")) != 0)
					check_at(r, spec, check_kda_rounds, K_ACT_BF16, K_KV_F32, false);
			}
			return true;
		}
	return false;
}
