/* block_gqa.c: grouped-query attention (Llama): q, k, v with optional biases -> rotate, append, attend (one operation) -> o. */
#include "libcore/base.h"
#include "libcore/model_int.h"

struct gqa {
	const struct k_tensor *q, *k, *v, *o;
	const float *q_bias, *k_bias, *v_bias, *o_bias;
};

static int gqa_open(void **self, const struct k_hp *hp, int64_t layer, const struct k_layer_weights *w, struct k_arena *arena,
	struct k_device *dev, struct k_err *err)
{
	struct gqa *b = *self = k_arena_alloc(arena, sizeof(*b));
	(void)dev, (void)hp;
	if (!b)
		return k_err_nomem(err, sizeof(*b), "a layer");
	K_WANT(b->q = k_layer_weight(w, "gqa.q"));
	K_WANT(b->k = k_layer_weight(w, "gqa.k"));
	K_WANT(b->v = k_layer_weight(w, "gqa.v"));
	K_WANT(b->o = k_layer_weight(w, "gqa.o"));
	b->q_bias = k_layer_vector(w, "gqa.q_bias");
	b->k_bias = k_layer_vector(w, "gqa.k_bias");
	b->v_bias = k_layer_vector(w, "gqa.v_bias");
	b->o_bias = k_layer_vector(w, "gqa.o_bias");
	return err->code;
}

static int64_t gqa_scratch(const struct k_hp *hp)
{
	return 2 * (hp->n_head + hp->n_head_kv) * hp->head_dim;
}

static struct k_kept gqa_keeps(const struct k_hp *hp, bool deferred K_UNUSED)
{
	return (struct k_kept){ .page = 2 * hp->n_head_kv * hp->head_dim };
}

static void gqa_step(void *self, struct k_device *dev, const struct k_hp *hp, float *y, const float *x, const struct k_seg *seg,
	int64_t n_seg, int64_t n, const float *rope, struct k_scratch *scratch, const struct k_probe *probe, int layer)
{
	const struct gqa *b = self;
	int64_t nq = hp->n_head * hp->head_dim, nk = hp->n_head_kv * hp->head_dim;
	float *q = k_scratch_rows(scratch, nq), *o = k_scratch_rows(scratch, nq);
	float *k = k_scratch_rows(scratch, nk), *v = k_scratch_rows(scratch, nk);
	(void)probe, (void)layer;
	k_gemm(dev, q, x, b->q, b->q_bias, n);
	k_gemm(dev, k, x, b->k, b->k_bias, n);
	k_gemm(dev, v, x, b->v, b->v_bias, n);
	dev->ops.gqa(dev, &(struct k_op_gqa){ .y = o, .q = q, .k = k, .v = v, .rope = rope, .seg = seg, .n_seg = n_seg, .n = n,
		.hp = hp });
	k_gemm(dev, y, o, b->o, b->o_bias, n);
}

static void gqa_append(void *self, struct k_device *dev, const struct k_hp *hp, const float *x, const struct k_seg *seg, int64_t n_seg, int64_t n,
	const float *rope, struct k_scratch *scratch)
{
	const struct gqa *b = self;
	int64_t nk = hp->n_head_kv * hp->head_dim;
	float *k = k_scratch_rows(scratch, nk), *v = k_scratch_rows(scratch, nk);
	k_gemm(dev, k, x, b->k, b->k_bias, n);
	k_gemm(dev, v, x, b->v, b->v_bias, n);
	dev->ops.gqa(dev, &(struct k_op_gqa){ .k = k, .v = v, .rope = rope, .seg = seg, .n_seg = n_seg, .n = n, .hp = hp });
}

const struct k_block k_block_gqa = { "gqa", gqa_open, gqa_scratch, gqa_keeps, gqa_step, gqa_append };
