/* block_moe.c: mixture of experts (DeepSeek-V3's router: sigmoid scores, a bias that only selects).
 *
 *   x -> router logits -> ids, weights -> sum of the chosen experts
 *     -> shared expert (one SwiGLU, unscaled)                       added
 *
 * Experts on a latent (K3): what they see is `in` of x, and their sum goes through a norm and `out`; the router and the shared expert see x. */
#include "libcore/base.h"
#include "libcore/model_int.h"

struct moe {
	const struct k_tensor *router, *gate, *up, *down, *sh_gate, *sh_up, *sh_down, *in, *out;
	const float *bias, *norm;
};

static int moe_open(void **self, const struct k_hp *hp, int64_t layer, const struct k_layer_weights *w, struct k_arena *arena,
	struct k_device *dev, struct k_err *err)
{
	struct moe *b = *self = k_arena_alloc(arena, sizeof(*b));
	(void)dev;
	if (!b)
		return k_err_nomem(err, sizeof(*b), "a layer");
	K_WANT(b->router = k_layer_weight(w, "moe.router"));
	b->bias = k_layer_vector(w, "moe.router_bias");
	K_WANT(b->gate = k_layer_weight(w, "moe.gate"));
	K_WANT(b->up = k_layer_weight(w, "moe.up"));
	K_WANT(b->down = k_layer_weight(w, "moe.down"));
	if (hp->n_latent) {
		K_WANT(b->in = k_layer_weight(w, "moe.in"));
		K_WANT(b->out = k_layer_weight(w, "moe.out"));
	}
	if (hp->n_latent && hp->latent_norm)
		K_WANT(b->norm = k_layer_vector(w, "moe.norm"));
	if (hp->n_shared) {
		K_WANT(b->sh_gate = k_layer_weight(w, "moe.sh_gate"));
		K_WANT(b->sh_up = k_layer_weight(w, "moe.sh_up"));
		K_WANT(b->sh_down = k_layer_weight(w, "moe.sh_down"));
	}
	return err->code;
}

static int64_t moe_scratch(const struct k_hp *hp)
{
	return hp->n_expert + 2 * hp->n_expert_used + 2 * hp->n_shared * hp->n_ff_expert + hp->n_embd + 2 * hp->n_latent;
}

/* The shared expert's activations; NULL: there is none. */
static float *shared_up(const struct moe *b, struct k_device *dev, const struct k_hp *hp, const float *x, int64_t n, struct k_scratch *scratch)
{
	int64_t F = hp->n_shared * hp->n_ff_expert;
	if (!F)
		return NULL;
	float *gate = k_scratch_rows(scratch, F), *up = k_scratch_rows(scratch, F);
	k_gemm(dev, gate, x, b->sh_gate, NULL, n);
	k_gemm(dev, up, x, b->sh_up, NULL, n);
	dev->ops.swiglu(dev, &(struct k_op_swiglu){ .y = gate, .gate = gate, .up = up, .n = n * F, .situ = hp->situ, .situ_up = hp->situ_up });
	return gate;
}

static void shared_down(const struct moe *b, struct k_device *dev, const struct k_hp *hp, float *y, const float *h, int64_t n,
	struct k_scratch *scratch)
{
	float *sum = k_scratch_rows(scratch, hp->n_embd);
	k_gemm(dev, sum, h, b->sh_down, NULL, n);
	dev->ops.add(dev, &(struct k_op_add){ .y = y, .x = sum, .n = n * hp->n_embd });
}

/* Experts on a latent: their sum in y. */
static void latent_moe(const struct moe *b, struct k_device *dev, const struct k_hp *hp, float *y, const float *z, const struct k_op_route *r, struct k_scratch *scratch)
{
	int64_t n = r->n, width = hp->n_latent;
	float *u = k_scratch_rows(scratch, width);
	dev->ops.moe(dev, &(struct k_op_moe){ .y = u, .x = z, .ids = r->ids, .weights = r->weights, .gate = b->gate, .up = b->up, .down = b->down, .n = n, .hp = hp });
	if (b->norm)
		dev->ops.rmsnorm(dev, &(struct k_op_rmsnorm){ .y = u, .x = u, .w = b->norm, .n = n, .dim = width, .y_step = width, .x_step = width, .eps = hp->eps });
	k_gemm(dev, y, u, b->out, NULL, n);
}

/* Shows the probe host copies; without memory it is shown nothing, and misses them. */
static void tell(const struct moe *b, struct k_device *dev, const struct k_hp *hp, const struct k_probe *probe, int layer,
	const struct k_op_route *op)
{
	struct k_err err;
	size_t used = (size_t)(op->n * hp->n_expert_used), all = (size_t)(op->n * hp->n_expert), E = (size_t)hp->n_expert;
	if (!probe || !probe->router)
		return;
	float *logits = k_alloc((all + E + 2 * used) * sizeof(float));
	if (!logits)
		return;
	float *bias = logits + all, *weights = bias + E;
	int32_t *ids = (int32_t *)(weights + used);
	if (dev->get(dev, ids, op->ids, used * sizeof(*ids), &err) == 0 &&
		dev->get(dev, weights, op->weights, used * sizeof(*weights), &err) == 0 &&
		dev->get(dev, logits, op->logits, all * sizeof(*logits), &err) == 0 &&
		(!b->bias || dev->get(dev, bias, b->bias, E * sizeof(*bias), &err) == 0))
		probe->router(probe->arg, layer, &(struct k_routing){ .logits = logits, .bias = b->bias ? bias : NULL, .ids = ids,
			.weights = weights, .n = op->n });
	k_free(logits);
}

static void moe_step(void *self, struct k_device *dev, const struct k_hp *hp, float *y, const float *x, const struct k_seg *seg,
	int64_t n_seg, int64_t n, const float *rope, struct k_scratch *scratch, const struct k_probe *probe, int layer)
{
	const struct moe *b = self;
	int64_t used = hp->n_expert_used;
	float *logits = k_scratch_rows(scratch, hp->n_expert), *weights = k_scratch_rows(scratch, used);
	int32_t *ids = (int32_t *)k_scratch_rows(scratch, used);        /* as wide as a float */
	(void)seg, (void)n_seg, (void)rope;
	/* Products of the same rows come one behind the other: a device may do them at once. */
	k_gemm_exact(dev, logits, x, b->router, n);
	float *z = b->in ? k_scratch_rows(scratch, hp->n_latent) : NULL;
	if (z)
		k_gemm(dev, z, x, b->in, NULL, n);
	const float *h = shared_up(b, dev, hp, x, n, scratch);
	struct k_op_route route = { .ids = ids, .weights = weights, .logits = logits, .bias = b->bias, .n = n, .hp = hp };
	dev->ops.route(dev, &route);
	tell(b, dev, hp, probe, layer, &route);
	if (z)
		latent_moe(b, dev, hp, y, z, &route, scratch);
	else
		dev->ops.moe(dev, &(struct k_op_moe){ .y = y, .x = x, .ids = ids, .weights = weights, .gate = b->gate, .up = b->up,
			.down = b->down, .n = n, .hp = hp });
	if (h)
		shared_down(b, dev, hp, y, h, n, scratch);
}

const struct k_block k_block_moe = { "moe", moe_open, moe_scratch, NULL, moe_step, NULL };
