/* block_kda.c: Kimi delta attention (Kimi-Linear, arXiv:2510.26692).
 *
 *   x -> q k v [P]  -> conv + silu, L2, delta rule (one operation)  -> y [P] -> o -> [D]
 *     -> fa -> fb   -> forget gate logits [P]
 *     -> b          -> beta logits [H]
 *     -> ga -> gb   -> output gate logits [P]   (or x -> g)
 *
 * P = heads x channels. Keeps one matrix a head and the last taps - 1 raw projections. */
#include "libcore/base.h"
#include "libcore/kda_state.h"
#include "libcore/model_int.h"

struct kda {
	const struct k_tensor *q, *k, *v, *fa, *fb, *b, *ga, *gb, *g, *o;
	const float *conv[3], *a_log, *dt_bias, *o_norm;
};

static int kda_open(void **self, const struct k_hp *hp, int64_t layer, const struct k_layer_weights *w, struct k_arena *arena,
	struct k_device *dev, struct k_err *err)
{
	struct kda *b = *self = k_arena_alloc(arena, sizeof(*b));
	(void)dev;
	if (!b)
		return k_err_nomem(err, sizeof(*b), "a layer");
	K_WANT(b->q = k_layer_weight(w, "kda.q"));
	K_WANT(b->k = k_layer_weight(w, "kda.k"));
	K_WANT(b->v = k_layer_weight(w, "kda.v"));
	K_WANT(b->fa = k_layer_weight(w, "kda.fa"));
	K_WANT(b->fb = k_layer_weight(w, "kda.fb"));
	K_WANT(b->b = k_layer_weight(w, "kda.b"));
	if (hp->kda_gate_whole) {
		K_WANT(b->g = k_layer_weight(w, "kda.g"));
	} else {
		K_WANT(b->ga = k_layer_weight(w, "kda.ga"));
		K_WANT(b->gb = k_layer_weight(w, "kda.gb"));
	}
	K_WANT(b->o = k_layer_weight(w, "kda.o"));
	K_WANT(b->conv[0] = k_layer_columns(w, "kda.conv_q"));
	K_WANT(b->conv[1] = k_layer_columns(w, "kda.conv_k"));
	K_WANT(b->conv[2] = k_layer_columns(w, "kda.conv_v"));
	K_WANT(b->a_log = k_layer_vector(w, "kda.a_log"));
	K_WANT(b->dt_bias = k_layer_vector(w, "kda.dt_bias"));
	K_WANT(b->o_norm = k_layer_vector(w, "kda.o_norm"));
	return 0;
}

static int64_t kda_scratch(const struct k_hp *hp)
{
	return 6 * hp->kda_head * hp->kda_dim + hp->kda_head + 2 * hp->kda_dim;
}

static struct k_kept kda_keeps(const struct k_hp *hp, bool deferred)
{
	int64_t H = hp->kda_head, d = hp->kda_dim;
	struct k_kept kept = { .state = deferred ? k_kda_floats(H, d) : H * d * d, .conv = 3 * H * d * (hp->kda_conv - 1) };
	kept.moved = (deferred ? k_kda_moved(H, d) : 2 * kept.state) + 2 * kept.conv;
	return kept;
}

static void kda_step(void *self, struct k_device *dev, const struct k_hp *hp, float *y, const float *x, const struct k_seg *seg,
	int64_t n_seg, int64_t n, const float *rope, struct k_scratch *scratch, const struct k_probe *probe, int layer)
{
	const struct kda *b = self;
	int64_t P = hp->kda_head * hp->kda_dim, r = hp->kda_dim;
	float *q = k_scratch_rows(scratch, P), *k = k_scratch_rows(scratch, P), *v = k_scratch_rows(scratch, P);
	float *a = k_scratch_rows(scratch, P), *z = k_scratch_rows(scratch, P), *o = k_scratch_rows(scratch, P);
	float *beta = k_scratch_rows(scratch, hp->kda_head), *fa = k_scratch_rows(scratch, r), *ga = k_scratch_rows(scratch, r);
	(void)rope, (void)probe, (void)layer;
	/* Products of the same rows come one behind the other: a device may do them at once. The gates decide how fast memory fades: their small products stay in
	 * f32 whatever the activation precision. */
	k_gemm(dev, q, x, b->q, NULL, n);
	k_gemm(dev, k, x, b->k, NULL, n);
	k_gemm(dev, v, x, b->v, NULL, n);
	if (b->g)
		k_gemm(dev, z, x, b->g, NULL, n);
	else
		k_gemm(dev, ga, x, b->ga, NULL, n);
	k_gemm_exact(dev, fa, x, b->fa, n);
	k_gemm_exact(dev, beta, x, b->b, n);
	k_gemm_exact(dev, a, fa, b->fb, n);
	if (b->gb)
		k_gemm(dev, z, ga, b->gb, NULL, n);
	dev->ops.kda(dev, &(struct k_op_kda){ .y = o, .q = q, .k = k, .v = v, .a = a, .z = z, .beta = beta,
		.conv_w = { b->conv[0], b->conv[1], b->conv[2] }, .a_log = b->a_log, .dt_bias = b->dt_bias, .o_norm = b->o_norm,
		.seg = seg, .n_seg = n_seg, .n = n, .hp = hp });
	k_gemm(dev, y, o, b->o, NULL, n);
}

const struct k_block k_block_kda = { "kda", kda_open, kda_scratch, kda_keeps, kda_step, NULL };
