/* block_mlp.c: dense SwiGLU: down(silu(gate x) * up x), with optional biases; or SiTU. */
#include "libcore/base.h"
#include "libcore/model_int.h"

struct mlp {
	const struct k_tensor *gate, *up, *down;
	const float *gate_bias, *up_bias, *down_bias;
};

static int mlp_open(void **self, const struct k_hp *hp, int64_t layer, const struct k_layer_weights *w, struct k_arena *arena,
	struct k_device *dev, struct k_err *err)
{
	struct mlp *b = *self = k_arena_alloc(arena, sizeof(*b));
	(void)dev, (void)hp;
	if (!b)
		return k_err_nomem(err, sizeof(*b), "a layer");
	K_WANT(b->gate = k_layer_weight(w, "mlp.gate"));
	K_WANT(b->up = k_layer_weight(w, "mlp.up"));
	K_WANT(b->down = k_layer_weight(w, "mlp.down"));
	b->gate_bias = k_layer_vector(w, "mlp.gate_bias");
	b->up_bias = k_layer_vector(w, "mlp.up_bias");
	b->down_bias = k_layer_vector(w, "mlp.down_bias");
	return err->code;
}

static int64_t mlp_scratch(const struct k_hp *hp)
{
	return 2 * hp->n_ff;
}

static void mlp_step(void *self, struct k_device *dev, const struct k_hp *hp, float *y, const float *x, const struct k_seg *seg,
	int64_t n_seg, int64_t n, const float *rope, struct k_scratch *scratch, const struct k_probe *probe, int layer)
{
	const struct mlp *b = self;
	float *gate = k_scratch_rows(scratch, hp->n_ff), *up = k_scratch_rows(scratch, hp->n_ff);
	(void)seg, (void)n_seg, (void)rope, (void)probe, (void)layer;
	k_gemm(dev, gate, x, b->gate, b->gate_bias, n);
	k_gemm(dev, up, x, b->up, b->up_bias, n);
	dev->ops.swiglu(dev, &(struct k_op_swiglu){ .y = gate, .gate = gate, .up = up, .n = n * hp->n_ff, .situ = hp->situ, .situ_up = hp->situ_up });
	k_gemm(dev, y, gate, b->down, b->down_bias, n);
}

const struct k_block k_block_mlp = { "mlp", mlp_open, mlp_scratch, NULL, mlp_step, NULL };
