/* cuda_host.c: operations whose weights lie in the host's memory, because the device's has not room for all (libcore/place.c).
 *
 *   device  x, ids, weights --get-->  stage  --CPU-->  stage  --put-->  y
 *
 * Routed experts may also come to the device, where whoever computes lets that show (ctx->any_order): the CPU and the device round differently. Slots
 * of device memory hold experts that are used often; the rest of a batch is computed on the CPU while the device works:
 *
 *   pairs (token, slot)   [ expert in a slot | copied into one | left to the CPU ]  ->  out [pair][D]  ->  summed in the order of slots
 *
 * An expert is copied where its pairs take the CPU longer than the copy, by what both took when they were first measured; and the one that was
 * asked for most takes the place of one that was asked for less, one a call. Counts are halved now and then, so that they follow. */
#include "libcore/base.h"
#include "kernels/cuda/cuda_impl.h"
#include "libcore/log.h"
#include "libcore/opt.h"

enum { STAGE_MIN = 16 * 1024 * 1024, MOST_SLOTS = CUDA_EXPERTS, HALVE = 4096, MANY = 32 };

static int64_t floats(int64_t n) { return n * (int64_t)sizeof(float); }

int cuda_host_reserve(struct cuda *c, const struct k_hp *hp, int64_t row, struct k_err *err)
{
	int64_t want = K_MAX((int64_t)STAGE_MIN, 2 * row + floats(hp->n_vocab));
	if (want <= c->n_stage)
		return 0;
	void *p = k_realloc(c->stage, (size_t)want);
	if (!p)
		return k_err_nomem(err, (size_t)want, "what goes between the host and the device");
	c->stage = p;
	c->n_stage = want;
	return 0;
}

/* What fails is told by the next get. */
static void get(struct cuda *c, void *dst, const void *src, int64_t n)
{
	struct k_err err;
	if (c->dev.get(&c->dev, dst, src, (size_t)n, &err) < 0)
		memset(dst, 0, (size_t)n);
}

/* Rows of this many bytes that the stage holds. */
static int64_t rows_of(const struct cuda *c, int64_t n, int64_t each) { return K_MIN(n, K_MAX(c->n_stage / each, (int64_t)1)); }

void cuda_host_embed(struct cuda *c, const struct k_op_embed *op)
{
	int64_t cols = op->w->shape[1], n;
	for (int64_t i = 0; i < op->n; i += n) {
		n = rows_of(c, op->n - i, floats(cols));
		c->cpu->ops.embed(c->cpu, &(struct k_op_embed){ (float *)c->stage, op->w, op->ids + i, n });
		/* At the beginning of a step nothing is listed yet, and it may still become a graph. */
		if (c->step.n)
			cuda_step_flush(c);
		c->rt->put(c->on, op->y + i * cols, c->stage, (size_t)floats(n * cols));
	}
}

void cuda_host_gemm(struct cuda *c, const struct k_op_gemm *op)
{
	int64_t rows = op->w->shape[0], cols = op->w->shape[1], n;
	float *bias = op->bias ? (float *)c->stage : NULL, *x = (float *)c->stage + (bias ? rows : 0);
	if (bias)
		get(c, bias, op->bias, floats(rows));
	for (int64_t i = 0; i < op->n; i += n) {
		n = K_MIN(op->n - i, K_MAX((c->n_stage / floats(1) - (bias ? rows : 0)) / (rows + cols), (int64_t)1));
		float *y = x + n * cols;
		int64_t x_rows = op->x_step == cols ? n : 1, y_rows = op->y_step == rows ? n : 1;
		for (int64_t k = 0; k < n; k += x_rows)
			get(c, x + k * cols, op->x + (i + k) * op->x_step, floats(x_rows * cols));
		c->cpu->ops.gemm(c->cpu, &(struct k_op_gemm){ .y = y, .x = x, .w = op->w, .bias = bias, .n = n, .y_step = rows, .x_step = cols,
			.exact = op->exact });
		for (int64_t k = 0; k < n; k += y_rows)
			c->rt->put(c->on, op->y + (i + k) * op->y_step, y + k * rows, (size_t)floats(y_rows * rows));
	}
}

/* --- experts -------------------------------------------------------------------------------------------------------------- */

static void moe_on_cpu(struct cuda *c, const struct k_op_moe *op)
{
	int64_t D = op->gate->shape[2], used = op->hp->n_expert_used, n;
	for (int64_t i = 0; i < op->n; i += n) {
		n = rows_of(c, op->n - i, floats(2 * (D + used)));
		float *x = (float *)c->stage, *y = x + n * D, *weights = y + n * D;
		int32_t *ids = (int32_t *)(weights + n * used);
		struct k_op_moe part = *op;
		get(c, x, op->x + i * D, floats(n * D));
		get(c, weights, op->weights + i * used, floats(n * used));
		get(c, ids, op->ids + i * used, floats(n * used));
		part.n = n;
		part.x = x;
		part.y = y;
		part.ids = ids;
		part.weights = weights;
		c->cpu->ops.moe(c->cpu, &part);
		c->rt->put(c->on, op->y + i * D, y, (size_t)floats(n * D));
	}
}

static double now(void) { return (double)k_now_ns() * 1e-9; }

static int64_t slice_of(const struct k_tensor *w)
{
	uint64_t n = 0;
	return k_qtype_slice_bytes(w->type, w->shape[1], w->shape[2], &n) && n < INT64_MAX ? (int64_t)n : -1;
}

static const struct k_tensor *stack_of(const struct k_op_moe *op, int i) { return i == 0 ? op->gate : i == 1 ? op->up : op->down; }

/* Slots are of one shape: that of the layer that came first. */
static bool fits_slots(const struct cuda_cache *k, const struct k_op_moe *op)
{
	for (int i = 0; i < 3; i++)
		if (k->stack[i].type != stack_of(op, i)->type || memcmp(k->stack[i].shape + 1, stack_of(op, i)->shape + 1, 2 * sizeof(int64_t)) != 0)
			return false;
	return true;
}

void cuda_cache_close(struct cuda *c)
{
	struct cuda_cache *k = &c->cache;
	for (int i = 0; i < 3; i++)
		if (k->stack[i].data)
			cuda_heap_give(c->heap, (void *)(uintptr_t)k->stack[i].data);
	if (k->io)
		cuda_heap_give(c->heap, k->io);
	for (int64_t i = 0; i < k->n_layer; i++) {
		k_free(k->layer[i].uses);
		k_free(k->layer[i].now);
		k_free(k->layer[i].slot);
	}
	k_free(k->layer);
	k_free(k->slot);
	k_free(k->room);
	*k = (struct cuda_cache){ 0 };
}

/* A quarter of what the device has left; nothing where that is not two experts. */
static bool make_slots(struct cuda *c, const struct k_op_moe *op)
{
	struct cuda_cache *k = &c->cache;
	int64_t D = op->gate->shape[2], io = floats(CUDA_CACHE_PAIRS * (2 * D + 2)), each = 0;
	uint64_t left = c->dev.room(&c->dev) / 4;
	for (int i = 0; i < 3; i++) {
		struct cuda_matrix known;
		int64_t slice = slice_of(stack_of(op, i));
		if (slice <= 0 || slice % 16 || !cuda_matrix(&known, stack_of(op, i)))
			return false;
		each += slice;
	}
	k->n_slot = left > (uint64_t)io ? (int64_t)K_MIN((left - (uint64_t)io) / (uint64_t)each, (uint64_t)MOST_SLOTS) : 0;
	if (k->n_slot < 2)
		return false;
	for (int i = 0; i < 3; i++) {
		k->stack[i] = *stack_of(op, i);
		k->stack[i].host = false;
		k->stack[i].shape[0] = k->n_slot;
		k->stack[i].data = cuda_heap_take(c->heap, (size_t)(k->n_slot * slice_of(&k->stack[i])), 0);
	}
	k->io = cuda_heap_take(c->heap, (size_t)io, 0);
	k->slot = k_calloc((size_t)k->n_slot, sizeof(*k->slot));
	k->room = k_alloc((size_t)floats(CUDA_CACHE_PAIRS * (3 * D + 8)));
	return k->stack[0].data && k->stack[1].data && k->stack[2].data && k->io && k->slot && k->room;
}

/* The record of a layer, found by its weights; NULL without memory. */
static struct cuda_cached *layer_of(struct cuda_cache *k, const struct k_op_moe *op)
{
	size_t E = (size_t)op->hp->n_expert;
	for (int64_t i = 0; i < k->n_layer; i++)
		if (k->layer[i].gate == op->gate->data)
			return &k->layer[i];
	struct cuda_cached *more = k_realloc(k->layer, (size_t)(k->n_layer + 1) * sizeof(*more));
	if (!more)
		return NULL;
	k->layer = more;
	struct cuda_cached l = { op->gate->data, k_calloc(E, sizeof(*l.uses)), k_calloc(E, sizeof(*l.now)), k_alloc(E * sizeof(*l.slot)) };
	if (!l.uses || !l.now || !l.slot) {
		k_free(l.uses);
		k_free(l.now);
		k_free(l.slot);
		return NULL;
	}
	for (size_t e = 0; e < E; e++)
		l.slot[e] = -1;
	k->layer[k->n_layer] = l;
	return &k->layer[k->n_layer++];
}

static void copy_expert(struct cuda *c, const struct k_op_moe *op, int64_t e, int64_t slot)
{
	for (int i = 0; i < 3; i++) {
		int64_t slice = slice_of(stack_of(op, i));
		c->rt->put(c->on, (uint8_t *)(uintptr_t)c->cache.stack[i].data + slot * slice, (const uint8_t *)stack_of(op, i)->data + e * slice, (size_t)slice);
	}
}

/* n pairs of expert 0, twice: the first time brings it into the caches. */
static double time_cpu(struct cuda *c, const struct k_op_moe *op, const struct k_hp *one, int64_t n)
{
	float *x = c->cache.room, *y = x + n * op->gate->shape[2], *weights = y + n * op->gate->shape[2];
	int32_t *ids = (int32_t *)(weights + n);
	double t = 0;
	memset(c->cache.room, 0, (size_t)floats(n * (2 * op->gate->shape[2] + 2)));
	for (int i = 0; i < 2; i++) {
		t = now();
		c->cpu->ops.moe(c->cpu, &(struct k_op_moe){ y, x, ids, weights, op->gate, op->up, op->down, n, one });
	}
	return now() - t;
}

static void measure(struct cuda *c, const struct k_op_moe *op, const struct k_hp *one)
{
	struct cuda_cache *k = &c->cache;
	struct cuda_why why;
	char size[32];
	double many;
	for (int i = 0; i < 2; i++) {
		k->copy = now();
		copy_expert(c, op, 0, 0);
		c->rt->sync(c->on, &why);
		k->copy = now() - k->copy;
	}
	k->first = time_cpu(c, op, one, 1);
	many = time_cpu(c, op, one, MANY);
	k->more = many > k->first ? (many - k->first) / (MANY - 1) : 0;
	k_logf(c->dev.ctx->log, K_LOG_INFO, "%s: %lld slots for experts of the host, %s; an expert takes the CPU %.0f us for a token and %.1f us for each "
		"more, its copy takes %.0f us", c->level, (long long)k->n_slot, k_size_format(size, (uint64_t)(k->n_slot * (slice_of(op->gate) +
		slice_of(op->up) + slice_of(op->down)))), k->first * 1e6, k->more * 1e6, k->copy * 1e6);
}

/* The slot of the expert that was asked for least, and not in this call; -1: none. */
static int64_t coldest(const struct cuda_cache *k, uint32_t *uses)
{
	int64_t best = -1;
	for (int64_t i = 0; i < k->n_slot; i++) {
		const struct cuda_slot *s = &k->slot[i];
		uint32_t n = s->taken ? k->layer[s->layer].uses[s->expert] : 0;
		if (s->call != k->calls && (best < 0 || n < *uses)) {
			best = i;
			*uses = n;
		}
	}
	return best;
}

/* Expert e of a layer gets a slot, at the cost of one that was used less than `below`. */
static void bring(struct cuda *c, const struct k_op_moe *op, struct cuda_cached *l, int64_t e, uint32_t below)
{
	struct cuda_cache *k = &c->cache;
	uint32_t uses = 0;
	int64_t i = coldest(k, &uses);
	if (i < 0 || (k->slot[i].taken && uses >= below))
		return;
	struct cuda_slot *s = &k->slot[i];
	if (s->taken)
		k->layer[s->layer].slot[s->expert] = -1;
	*s = (struct cuda_slot){ true, l - k->layer, e, k->calls };
	l->slot[e] = (int32_t)i;
	copy_expert(c, op, e, i);
	k->copied++;
}

/* Which experts of this call are on the device: those that are already, those that are worth a copy, and the one that is asked for most. */
static void choose(struct cuda *c, const struct k_op_moe *op, struct cuda_cached *l, const int32_t *ids, int64_t pairs)
{
	struct cuda_cache *k = &c->cache;
	int64_t hottest = -1, E = op->hp->n_expert;
	k->calls++;
	for (int64_t p = 0; p < pairs; p++) {
		l->uses[ids[p]]++;
		l->now[ids[p]]++;
		if (l->slot[ids[p]] >= 0)
			k->slot[l->slot[ids[p]]].call = k->calls;
		else if (hottest < 0 || l->uses[ids[p]] > l->uses[hottest])
			hottest = ids[p];
	}
	for (int64_t p = 0; p < pairs; p++) {
		uint32_t n = l->now[ids[p]];
		l->now[ids[p]] = 0;
		if (n && l->slot[ids[p]] < 0 && k->first + (n - 1) * k->more > k->copy)
			bring(c, op, l, ids[p], UINT32_MAX);
	}
	if (hottest >= 0 && l->slot[hottest] < 0)
		bring(c, op, l, hottest, l->uses[hottest] / 2);
	for (int64_t i = 0; k->calls % HALVE == 0 && i < k->n_layer; i++)
		for (int64_t e = 0; e < E; e++)
			k->layer[i].uses[e] /= 2;
}

/* n tokens, at most CUDA_CACHE_PAIRS pairs. Rows of the device come first, those of the CPU behind them. */
static void moe_by_both(struct cuda *c, const struct k_op_moe *op, struct cuda_cached *l, const struct k_hp *one)
{
	struct cuda_cache *k = &c->cache;
	int64_t D = op->gate->shape[2], used = op->hp->n_expert_used, pairs = op->n * used, near = 0, at[2];
	float *tokens = k->room, *x = tokens + op->n * D, *out = x + pairs * D, *weights = out + pairs * D, *ones = weights + pairs;
	int32_t *ids = (int32_t *)(ones + pairs), *which = ids + pairs, *row = which + pairs;
	get(c, tokens, op->x, floats(op->n * D));
	get(c, weights, op->weights, floats(pairs));
	get(c, ids, op->ids, floats(pairs));
	choose(c, op, l, ids, pairs);
	for (int64_t p = 0; p < pairs; p++)
		near += l->slot[ids[p]] >= 0;
	at[0] = 0;
	at[1] = near;
	for (int64_t p = 0; p < pairs; p++) {
		bool there = l->slot[ids[p]] >= 0;
		int64_t i = at[!there]++;
		row[p] = (int32_t)i;
		which[i] = there ? l->slot[ids[p]] : ids[p];
		ones[p] = 1;
		memcpy(x + i * D, tokens + p / used * D, (size_t)floats(D));
	}
	float *io = k->io, *io_y = io + CUDA_CACHE_PAIRS * D, *io_ones = io_y + CUDA_CACHE_PAIRS * D;
	int32_t *io_ids = (int32_t *)(io_ones + CUDA_CACHE_PAIRS);
	if (near) {
		c->rt->put(c->on, io, x, (size_t)floats(near * D));
		c->rt->put(c->on, io_ids, which, (size_t)floats(near));
		c->rt->put(c->on, io_ones, ones, (size_t)floats(near));
		struct k_hp slots = *one;
		slots.n_expert = k->n_slot;
		c->dev.ops.moe(&c->dev, &(struct k_op_moe){ io_y, io, io_ids, io_ones, &k->stack[0], &k->stack[1], &k->stack[2], near, &slots });
	}
	if (near < pairs)
		c->cpu->ops.moe(c->cpu, &(struct k_op_moe){ out + near * D, x + near * D, which + near, ones, op->gate, op->up, op->down, pairs - near, one });
	if (near)
		get(c, out, io_y, floats(near * D));
	for (int64_t t = 0; t < op->n; t++)
		for (int64_t j = 0; j < D; j++) {
			float sum = 0;
			for (int64_t s = t * used; s < (t + 1) * used; s++)
				sum += weights[s] * out[row[s] * D + j];
			tokens[t * D + j] = sum;
		}
	c->rt->put(c->on, op->y, tokens, (size_t)floats(op->n * D));
}

void cuda_host_moe(struct cuda *c, const struct k_op_moe *op)
{
	struct cuda_cache *k = &c->cache;
	struct k_hp one = *op->hp;
	int64_t D = op->gate->shape[2], used = op->hp->n_expert_used, n;
	struct cuda_cached *l = NULL;
	one.n_expert_used = 1;
	cuda_step_flush(c);
	if (c->dev.ctx->any_order && used <= CUDA_CACHE_PAIRS && !k->tried) {
		k->tried = true;
		if (make_slots(c, op)) {
			measure(c, op, &one);
		} else {
			cuda_cache_close(c);
			k->tried = true;
		}
	}
	if (k->n_slot && fits_slots(k, op))
		l = layer_of(k, op);
	if (!l) {
		moe_on_cpu(c, op);
		return;
	}
	for (int64_t t = 0; t < op->n; t += n) {
		struct k_op_moe part = *op;
		n = K_MIN(op->n - t, CUDA_CACHE_PAIRS / used);
		part.n = n;
		part.x += t * D;
		part.y += t * D;
		part.ids += t * used;
		part.weights += t * used;
		moe_by_both(c, &part, l, &one);
	}
}
