/* block_mla.c: multi-head latent attention (DeepSeek-V2, arXiv:2405.04434) in absorbed form.
 *
 *   x -> q [H (dn + dr)]  (or x -> q_a -> norm -> q_b)
 *     -> kv_a [r + dr]    -> latent normed, key part rotated, both appended to the pages -> attention -> [H dv] -> o -> [D]
 *     -> g [H dv]         -> what attention gives times its sigmoid (K3)
 *
 * kv_b is used by head and by row: in BF16 as it lies in the file where the device takes that, else expanded to f32 once. */
#include "libcore/base.h"
#include <math.h>
#include "libcore/model_int.h"
#include "libcore/rope.h"

struct mla {
	const struct k_tensor *q, *q_a, *q_b, *kv_a, *g, *o;
	const float *q_norm, *kv_norm;
	struct k_tensor kv_b;
	double scale;
};

static int open_kv_b(struct mla *b, const struct k_hp *hp, const struct k_layer_weights *w, const struct k_device *dev)
{
	const struct k_tensor *t = k_layer_weight(w, "mla.kv_b");
	if (!t)
		return w->err->code;
	b->kv_b = *t;
	if (dev->bf16_attention && strcmp(t->type->name, "bf16") == 0)
		return 0;
	b->kv_b = (struct k_tensor){ .name = t->name, .type = k_qtype_find("f32", NULL), .ndim = 2,
		.shape = { hp->n_head * (hp->d_nope + hp->d_v), hp->kv_lora }, .data = k_layer_vector(w, "mla.kv_b") };
	return b->kv_b.data ? 0 : w->err->code;
}

static int mla_open(void **self, const struct k_hp *hp, int64_t layer, const struct k_layer_weights *w, struct k_arena *arena,
	struct k_device *dev, struct k_err *err)
{
	struct mla *b = *self = k_arena_alloc(arena, sizeof(*b));
	if (!b)
		return k_err_nomem(err, sizeof(*b), "a layer");
	if (hp->q_lora) {
		K_WANT(b->q_a = k_layer_weight(w, "mla.q_a"));
		K_WANT(b->q_norm = k_layer_vector(w, "mla.q_a_norm"));
		K_WANT(b->q_b = k_layer_weight(w, "mla.q_b"));
	} else {
		K_WANT(b->q = k_layer_weight(w, "mla.q"));
	}
	K_WANT(b->kv_a = k_layer_weight(w, "mla.kv_a"));
	K_WANT(b->kv_norm = k_layer_vector(w, "mla.kv_a_norm"));
	if (hp->mla_gate)
		K_WANT(b->g = k_layer_weight(w, "mla.g"));
	K_WANT(b->o = k_layer_weight(w, "mla.o"));
	if (open_kv_b(b, hp, w, dev))
		return err->code;
	b->scale = k_rope_softmax(&hp->rope) / sqrt((double)(hp->d_nope + hp->d_rope));
	return 0;
}

static int64_t mla_scratch(const struct k_hp *hp)
{
	return hp->n_head * (hp->d_nope + hp->d_rope + (hp->mla_gate ? 2 : 1) * hp->d_v) + hp->q_lora + hp->kv_lora + hp->d_rope;
}

static struct k_kept mla_keeps(const struct k_hp *hp, bool deferred K_UNUSED)
{
	return (struct k_kept){ .page = hp->kv_lora + hp->d_rope };
}

static void mla_step(void *self, struct k_device *dev, const struct k_hp *hp, float *y, const float *x, const struct k_seg *seg,
	int64_t n_seg, int64_t n, const float *rope, struct k_scratch *scratch, const struct k_probe *probe, int layer)
{
	const struct mla *b = self;
	float *q = k_scratch_rows(scratch, hp->n_head * (hp->d_nope + hp->d_rope));
	float *kv = k_scratch_rows(scratch, hp->kv_lora + hp->d_rope), *o = k_scratch_rows(scratch, hp->n_head * hp->d_v);
	(void)probe, (void)layer;
	if (b->q) {
		k_gemm(dev, q, x, b->q, NULL, n);
	} else {
		float *qa = k_scratch_rows(scratch, hp->q_lora);
		k_gemm(dev, qa, x, b->q_a, NULL, n);
		dev->ops.rmsnorm(dev, &(struct k_op_rmsnorm){ .y = qa, .x = qa, .w = b->q_norm, .n = n, .dim = hp->q_lora,
			.y_step = hp->q_lora, .x_step = hp->q_lora, .eps = hp->eps_inner });
		k_gemm(dev, q, qa, b->q_b, NULL, n);
	}
	k_gemm(dev, kv, x, b->kv_a, NULL, n);
	dev->ops.mla(dev, &(struct k_op_mla){ .y = o, .q = q, .kv = kv, .kv_norm = b->kv_norm, .kv_b = &b->kv_b, .rope = rope,
		.scale = b->scale, .seg = seg, .n_seg = n_seg, .n = n, .hp = hp });
	if (b->g) {
		float *z = k_scratch_rows(scratch, hp->n_head * hp->d_v);
		k_gemm(dev, z, x, b->g, NULL, n);
		dev->ops.gate(dev, &(struct k_op_gate){ .y = o, .z = z, .n = n * hp->n_head * hp->d_v });
	}
	k_gemm(dev, y, o, b->o, NULL, n);
}

static void mla_append(void *self, struct k_device *dev, const struct k_hp *hp, const float *x, const struct k_seg *seg, int64_t n_seg, int64_t n,
	const float *rope, struct k_scratch *scratch)
{
	const struct mla *b = self;
	float *kv = k_scratch_rows(scratch, hp->kv_lora + hp->d_rope);
	k_gemm(dev, kv, x, b->kv_a, NULL, n);
	dev->ops.mla(dev, &(struct k_op_mla){ .kv = kv, .kv_norm = b->kv_norm, .kv_b = &b->kv_b, .rope = rope, .seg = seg, .n_seg = n_seg, .n = n, .hp = hp });
}

const struct k_block k_block_mla = { "mla", mla_open, mla_scratch, mla_keeps, mla_step, mla_append };
