/* plant_test.c: mistakes planted in the kernels that matter most, one at a time; the simulator must find each:
 *
 *   a barrier, each in turn, that lets everybody pass; a wait for copies that does not wait; a result that is four bytes short
 *
 * So no barrier is there for nothing, and none would be missed. Data are zeros, but for logits: what is found does not depend on them. */
#include "libcore/base.h"
#include <stdio.h>
#include "kernels/cuda/cuda_impl.h"
#include "kernels/cudasim/sim_run.h"
#include "libcore/pool.h"
#include "libcore/test.h"

enum { SLICES = 12, MOST_LINES = 16 };

static float *floats(struct k_device *d, int64_t n)
{
	float *p = d->alloc(d, (size_t)n * sizeof(float));
	K_CHECK(p);
	return p;
}

static struct k_tensor weights(struct k_device *d, const char *type, int64_t slices, int64_t rows, int64_t cols)
{
	struct k_tensor t = { .name = type, .type = k_qtype_for(type, rows, cols), .ndim = 3, .shape = { slices, rows, cols } };
	uint64_t bytes;
	K_CHECK(k_qtype_slice_bytes(t.type, rows, cols, &bytes));
	t.data = d->alloc(d, (size_t)(bytes * (uint64_t)slices));
	if (slices == 1) {
		t.ndim = 2;
		t.shape[0] = rows;
		t.shape[1] = cols;
	}
	return t;
}

static void gemm_of(struct k_device *d, int64_t rows, int64_t cols, int64_t n, int64_t less)
{
	struct k_tensor w = weights(d, "i4g32", 1, rows, cols);
	d->ops.gemm(d, &(struct k_op_gemm){ .y = floats(d, n * rows - less), .x = floats(d, n * cols), .w = &w, .n = n, .y_step = rows, .x_step = cols });
}

/* less: floats that the result is short of. */
static void gemm(struct k_device *d, int64_t n, int64_t less) { gemm_of(d, 32, 256, n, less); }
/* More columns than are brought at once. */
static void gemm_wide(struct k_device *d, int64_t n, int64_t less) { gemm_of(d, 16, 3072, n, less); }

static void gemm_exact(struct k_device *d, int64_t n, int64_t less)
{
	int64_t rows = 5, cols = 1025;
	struct k_tensor w = weights(d, "f32", 1, rows, cols);
	d->ops.gemm(d, &(struct k_op_gemm){ .y = floats(d, n * rows - less), .x = floats(d, n * cols), .w = &w, .n = n, .y_step = rows, .x_step = cols, .exact = true });
}

static void moe_of(struct k_device *d, const char *type, int64_t F, int64_t D, int64_t used, int64_t n, int64_t less)
{
	struct k_tensor gate = weights(d, type, SLICES, F, D), up = weights(d, type, SLICES, F, D), down = weights(d, type, SLICES, D, F);
	struct k_hp hp = { .n_expert = SLICES, .n_expert_used = used, .n_embd = D, .n_ff_expert = F };
	d->ops.moe(d, &(struct k_op_moe){ .y = floats(d, n * D - less), .x = floats(d, n * D), .ids = (int32_t *)floats(d, n * used),
		.weights = floats(d, n * used), .gate = &gate, .up = &up, .down = &down, .n = n, .hp = &hp });
}

static void moe(struct k_device *d, int64_t n, int64_t less) { moe_of(d, "bf16", 96, 192, 10, n, less); }       /* two steps of a tile, and three */
static void moe_wide(struct k_device *d, int64_t n, int64_t less) { moe_of(d, "bf16", 1088, 64, 10, n, less); }
/* More steps than a warp has under way, and than its stage holds. */
static void moe_i4_up(struct k_device *d, int64_t n, int64_t less) { moe_of(d, "i4g32", 64, 6144, 1, n, less); }
static void moe_i4_down(struct k_device *d, int64_t n, int64_t less) { moe_of(d, "i4g32", 1280, 64, 9, n, less); }
/* So many steps that the first stage is the last again. */
static void moe_long(struct k_device *d, int64_t n, int64_t less) { moe_of(d, "bf16", 640, 640, 10, n, less); }
/* A block goes on to a second tile. */
static void moe_i4(struct k_device *d, int64_t n, int64_t less) { moe_of(d, "i4g32", 640, 512, 10, n, less); }

static void kda(struct k_device *d, int64_t n, int64_t less)
{
	int64_t H = 2, dim = 64, P = H * dim, taps = 4;
	struct k_hp hp = { .kda_head = H, .kda_dim = dim, .kda_conv = taps, .eps = 1e-5 };
	struct k_seq_layer layer = { .state = floats(d, P * dim), .conv = floats(d, 3 * P * (taps - 1)) };
	struct k_seg seg = { 0, n, 0, &layer };
	struct k_op_kda op = { .y = floats(d, n * P - less), .q = floats(d, n * P), .k = floats(d, n * P), .v = floats(d, n * P), .a = floats(d, n * P),
		.z = floats(d, n * P), .beta = floats(d, n * H), .a_log = floats(d, H), .dt_bias = floats(d, P), .o_norm = floats(d, dim), .seg = &seg,
		.n_seg = 1, .n = n, .hp = &hp };
	for (int i = 0; i < 3; i++)
		op.conv_w[i] = floats(d, P * taps);
	d->ops.kda(d, &op);
}

static void mla(struct k_device *d, int64_t n, int64_t less)
{
	int64_t H = 5, r = 72, dr = 8, dn = 24, dv = 16;
	struct k_hp hp = { .n_head = H, .kv_lora = r, .d_rope = dr, .d_nope = dn, .d_v = dv, .eps_inner = 1e-6, .rope = { .kind = K_ROPE_NONE } };
	struct k_tensor kv_b = weights(d, "f32", 1, H * (dn + dv), r);
	void *page[2] = { floats(d, K_PAGE * (r + dr)), floats(d, K_PAGE * (r + dr)) };
	struct k_seq_layer layer = { .page = page, .n_page = 2, .kv = K_KV_BF16 };
	struct k_seg seg = { 0, n, 50, &layer };
	d->ops.mla(d, &(struct k_op_mla){ .y = floats(d, n * H * dv - less), .q = floats(d, n * H * (dn + dr)), .kv = floats(d, n * (r + dr)),
		.kv_norm = floats(d, r), .kv_b = &kv_b, .scale = 1, .seg = &seg, .n_seg = 1, .n = n, .hp = &hp });
}

/* Three steps of positions: what is brought comes where something was. */
static void gqa(struct k_device *d, int64_t n, int64_t less)
{
	int64_t H = 4, kv = 2, dim = 40, nq = H * dim, nk = kv * dim;
	struct k_hp hp = { .n_head = H, .n_head_kv = kv, .head_dim = dim, .rope = { .kind = K_ROPE_NONE } };
	void *page[2] = { floats(d, K_PAGE * nk), floats(d, K_PAGE * nk) };
	struct k_seq_layer layer = { .page = page, .n_page = 2, .kv = K_KV_BF16 };
	struct k_seg seg = { 0, n, 70, &layer };
	d->ops.gqa(d, &(struct k_op_gqa){ .y = floats(d, n * nq - less), .q = floats(d, n * nq), .k = floats(d, n * nk), .v = floats(d, n * nk), .seg = &seg, .n_seg = 1,
		.n = n, .hp = &hp });
}

static void sample(struct k_device *d, int64_t n, int64_t less)
{
	enum { VOCAB = 5000 };
	struct k_draw draw[2] = { { 0.5, 1, 0.5f, 0, 300 }, { 0.5, 1, 1, 0, 0 } };
	struct k_err err;
	float x[2 * VOCAB];
	for (int i = 0; i < 2 * VOCAB; i++)
		x[i] = (float)(i * 7 % 97);
	float *logits = floats(d, n * VOCAB);
	K_CHECK(n <= 2 && d->put(d, logits, x, (size_t)(n * VOCAB) * sizeof(float), &err) == 0);
	d->sample(d, &(struct k_op_sample){ (int32_t *)floats(d, n - less), logits, draw, n, VOCAB });
}

/* What runs the kernel, with how many tokens; how many barriers it has at least; whether it is who writes the result. */
static const struct kernel { const char *name; void (*op)(struct k_device *d, int64_t n, int64_t less); int64_t n; int barriers; bool copies, last; } kernels[] = {
	{ "kda_chunk", kda, 160, 5, true, true },
	{ "gemm_many", gemm, 3, 2, true, true }, { "gemm_many", gemm_wide, 8, 3, true, true }, { "gemm_many", gemm_exact, 2, 1, false, true },
	{ "gemm_mma", gemm, 9, 1, false, true }, { "tile_order", gemm, 64, 0, false, false }, { "gemm_tile", gemm, 64, 1, true, true },
	{ "gemm_wide", gemm, 130, 1, true, true }, { "moe_up_wide", moe_i4, 10, 7, true, false }, { "moe_down_wide", moe_i4, 10, 5, true, false },
	{ "moe_up_mma", moe, 1, 1, true, false }, { "moe_down_mma", moe, 2, 2, false, true }, { "moe_down_mma", moe_wide, 1, 3, true, true },
	{ "moe_up_dot", moe_i4_up, 1, 4, true, false }, { "moe_down_dot", moe_i4_down, 1, 4, true, true },
	{ "moe_sort", moe, 5, 1, false, false }, { "moe_up_tile", moe_long, 5, 4, true, false }, { "moe_down_tile", moe_long, 5, 4, true, false },
	{ "moe_sum", moe, 5, 0, false, true },
	{ "mla_query_mma", mla, 9, 2, false, false }, { "attend_mma", mla, 9, 4, true, false }, { "merge_mma", mla, 9, 3, false, true },
	{ "attend_flash", gqa, 9, 1, true, false }, { "attend_few", gqa, 1, 0, false, false }, { "merge_parts", gqa, 9, 0, false, true }, { "mla_expand", mla, 64, 1, true, false },
	{ "sample_top", sample, 2, 1, false, false }, { "sample_weigh", sample, 2, 2, false, false }, { "sample_gather", sample, 2, 2, false, false },
	{ "sample_pick", sample, 2, 4, false, true },
};

/* Runs it with the mistake; lines of the kernel's barriers; what the simulator says is copied to said, "" for nothing. */
static int run(const struct kernel *k, const struct k_sim_plant *plant, int64_t less, int lines[MOST_LINES], char said[320])
{
	struct k_ctx ctx = { .act = K_ACT_BF16, .cpu = "ref", .any_order = true };
	struct k_err err;
	struct k_device *d = NULL;
	int n;
	K_CHECK(k_pool_new(&ctx.pool, 1, &err) == 0 && k_device_open(&d, &ctx, "cudasim", &err) == 0);
	struct k_sim *s = cuda_of(d)->on;
	k_sim_plant(s, plant);
	k->op(d, k->n, less);
	n = k_sim_barriers(s, k->name, lines, MOST_LINES);
	snprintf(said, 320, "%s", k_sim_fault(s) ? k_sim_fault(s) : "");
	k_device_close(d);
	k_pool_free(ctx.pool);
	return n;
}

static void finds(const struct kernel *k, const struct k_sim_plant *plant, int64_t less, const char *what)
{
	char said[320];
	int lines[MOST_LINES];
	run(k, plant, less, lines, said);
	if (!strstr(said, k->name))
		fprintf(stderr, "%s, %s (line %d): %s\n", k->name, what, plant ? plant->line : 0, said);
	K_CHECK(strstr(said, k->name));
}

K_TEST(sim_finds_what_is_planted)
{
	for (size_t i = 0; i < K_LEN(kernels); i++) {
		const struct kernel *k = &kernels[i];
		int lines[MOST_LINES], n;
		char said[320];
		n = run(k, NULL, 0, lines, said);
		if (*said)
			fprintf(stderr, "%s\n", said);
		K_CHECK(!*said && n >= k->barriers);
		for (int b = 0; b < n; b++)
			finds(k, &(struct k_sim_plant){ k->name, lines[b], false }, 0, "a missing barrier");
		if (k->copies)
			finds(k, &(struct k_sim_plant){ k->name, 0, true }, 0, "a missing wait");
		if (k->last)
			finds(k, NULL, 1, "a short result");
	}
}
