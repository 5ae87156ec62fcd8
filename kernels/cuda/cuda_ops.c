/* cuda_ops.c: operations on rows, products, experts and delta attention as launches. Attention: cuda_attn.c. */
#include "libcore/base.h"
#include "kernels/cuda/cuda_impl.h"

/* Blocks in y and z are 16 bits wide. */
enum { BLOCKS_Y = 65535 };
/* Of an embedding at once: the table has always room for them. */
enum { MOST_IDS = 4096 };

static int64_t floats(int64_t n) { return n * (int64_t)sizeof(float); }

void cuda_op_embed(struct k_device *dev, const struct k_op_embed *op)
{
	struct cuda *c = cuda_of(dev);
	struct cuda_matrix w;
	if (op->w->host) {
		cuda_host_embed(c, op);
		return;
	}
	if (!cuda_matrix(&w, op->w)) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_embed, op->w->type->name);
		cpu->ops.embed(cpu, op);
		return;
	}
	for (int64_t i = 0, n; i < op->n; i += n) {
		uint8_t *host, *there;
		cuda_begin(c);
		n = K_MIN(op->n - i, (int64_t)MOST_IDS);
		there = cuda_tell(c, n * (int64_t)sizeof(*op->ids), &host);
		memcpy(host, op->ids + i, (size_t)n * sizeof(*op->ids));
		cuda_told(c, host, n * (int64_t)sizeof(*op->ids));
		cuda_launch(c, embed, n, 1, 1, .y = op->y + i * w.cols, .w = w, .ids = (const int32_t *)there);
	}
}

void cuda_op_rmsnorm(struct k_device *dev, const struct k_op_rmsnorm *op)
{
	cuda_launch(cuda_of(dev), rmsnorm, op->n, 1, 1, .y = op->y, .x = op->x, .w = op->w, .dim = op->dim, .y_step = op->y_step,
		.x_step = op->x_step, .eps = (float)op->eps,
		.wide = ((uintptr_t)op->y | (uintptr_t)op->x | (uintptr_t)op->w | (uintptr_t)(op->y_step | op->x_step) * sizeof(float)) % 16 == 0);
}

void cuda_op_add(struct k_device *dev, const struct k_op_add *op)
{
	cuda_launch(cuda_of(dev), add, k_div_up(op->n, 4 * CUDA_THREADS), 1, 1, .y = op->y, .x = op->x, .also = NULL, .n = op->n,
		.wide = ((uintptr_t)op->y | (uintptr_t)op->x) % 16 == 0);
}

void cuda_op_blend(struct k_device *dev, const struct k_op_blend *op)
{
	struct cuda *c = cuda_of(dev);
	struct cuda_blend a = { .y = op->y, .w = op->w, .query = op->query, .dim = op->dim, .eps = (float)op->eps, .n_source = (int)op->n_block + 1 };
	uintptr_t all = (uintptr_t)op->y | (uintptr_t)op->w | (uintptr_t)op->query | (uintptr_t)op->dim * sizeof(float);
	if (op->n_block >= CUDA_SOURCES) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_blend, "too many blocks");
		cpu->ops.blend(cpu, op);
		return;
	}
	for (int i = 0; i < a.n_source; i++) {
		a.source[i] = i < op->n_block ? op->block[i] : op->x;
		all |= (uintptr_t)a.source[i];
	}
	a.wide = all % 16 == 0;
	cuda_launch_bytes(c, CUDA_KERNEL_blend, op->n, 1, 1, &a, sizeof(a));
}

void cuda_op_gate(struct k_device *dev, const struct k_op_gate *op)
{
	cuda_launch(cuda_of(dev), gate, k_div_up(op->n, CUDA_THREADS), 1, 1, .y = op->y, .z = op->z, .n = op->n);
}

static struct cuda_unit unit_of(double situ, double situ_up)
{
	return (struct cuda_unit){ (float)situ, situ != 0 ? (float)(1 / situ) : 0, (float)situ_up, situ_up != 0 ? (float)(1 / situ_up) : 0 };
}

void cuda_op_swiglu(struct k_device *dev, const struct k_op_swiglu *op)
{
	cuda_launch(cuda_of(dev), swiglu, k_div_up(op->n, CUDA_THREADS), 1, 1, .y = op->y, .gate = op->gate, .up = op->up, .n = op->n,
		.unit = unit_of(op->situ, op->situ_up));
}

/* --- products ------------------------------------------------------------------------------------------------------------- */

const float *cuda_round(struct cuda *c, float *room, const float *x, int64_t n, int64_t cols, int64_t x_step)
{
	if (!cuda_rounds(c))
		return x;
	cuda_launch(c, round, n, 1, 1, .y = room, .x = x, .cols = cols, .x_step = x_step, .int8 = c->dev.ctx->act == K_ACT_INT8);
	return room;
}

bool cuda_takes_mma(const struct cuda *c, const struct cuda_matrix *w)
{
	static const struct { enum cuda_type type; int64_t cols, align; enum cuda_mma least; } takes[] = {
		{ CUDA_I4_X16, 64, 1, CUDA_MMA_F16 }, { CUDA_BF16, 32, 16, CUDA_MMA_BF16 }, { CUDA_MXFP4, 128, 4, CUDA_MMA_F16 },
		{ CUDA_MX4_X16, 128, 4, CUDA_MMA_F16 },
		{ CUDA_FP8B128, 32, 4, CUDA_MMA_F16 },
	};
	if (c->dev.ctx->act == K_ACT_BF16)
		for (size_t i = 0; i < K_LEN(takes); i++)
			if (w->type == takes[i].type)
				return c->mma >= takes[i].least && w->cols % takes[i].cols == 0 && (uintptr_t)w->data % (uintptr_t)takes[i].align == 0 && w->slice % takes[i].align == 0;
	return false;
}

/* Is there shared memory for rings of gemm_many that are deep, and are there blocks for no more? */
static bool is_deep(const struct cuda *c, int64_t blocks) { return blocks <= CUDA_FEW_BLOCKS && c->mma == CUDA_MMA_BF16 && c->rt->shared(c->on) >= CUDA_FEW_MOST; }

/* With a few vectors, or in f32: exact as struct cuda_product_of has it. */
static void multiply_many(struct cuda *c, const struct k_op_gemm *op, const struct cuda_matrix *w, int exact)
{
	int64_t rows = exact ? cuda_exact_rows(w->cols) : 16, blocks = k_div_up(w->rows, rows), groups = k_div_up(op->n, CUDA_FEW);
	struct cuda_gemm_many a = { .n = op->n, .count = 1, .deep = is_deep(c, blocks * groups),
		.of = { { *w, op->x, op->y, op->bias, op->x_step, op->y_step, 0, exact } } };
	cuda_launch_more(c, CUDA_KERNEL_gemm_many, blocks, groups, 1, a.deep ? CUDA_FEW_MOST : c->mma == CUDA_MMA_BF16 ? CUDA_FEW_PLAIN : CUDA_FEW_LEAST, &a, sizeof(a));
}

/* Rows from which on tiles are worth it. */
enum { TILE_LEAST = 64 };
/* Blocks, and vectors an expert, from which on wide ones are. */
enum { WIDE_BLOCKS = 128, WIDE_PAIRS = 96, WIDE_SEEN = 8, BLOCKS = 132, BLOCKS_SEEN = 3 };

/* Tiles are wide for INT4 where that leaves enough to do, on cards that have shared memory for them; and in the simulator soon, so that both are looked at. */
static int tile_size(const struct cuda *c, const struct cuda_matrix *w, bool enough, bool enough_to_see)
{
	return w->type == CUDA_I4_X16 && c->rt->shared(c->on) >= CUDA_WIDE_SHARED && (c->rt->clear ? enough : enough_to_see) ? CUDA_WIDE : CUDA_TILE;
}

/* On tensor cores: as many of the rows of x as scratch allows. */
static int64_t multiply_mma(struct cuda *c, const struct k_op_gemm *op, const struct cuda_matrix *w)
{
	const float *x = op->x;
	int64_t n, x_step = op->x_step;
	if (op->n >= TILE_LEAST) {
		uint16_t *narrow;
		n = cuda_fit(c, op->n, w->cols * (int64_t)sizeof(*narrow));
		n = K_MIN(n, (int64_t)BLOCKS_Y * CUDA_TILE);
		narrow = cuda_take(c, n * w->cols * (int64_t)sizeof(*narrow));
		cuda_launch(c, tile_order, n, 1, 1, .y = narrow, .x = x, .cols = w->cols, .x_step = x_step);
		struct cuda_gemm_tile a = { .y = op->y, .x = narrow, .w = *w, .bias = op->bias, .n = n, .y_step = op->y_step };
		if (tile_size(c, w, k_div_up(n, CUDA_WIDE) * k_div_up(w->rows, CUDA_TILE_ROWS) >= WIDE_BLOCKS, n > CUDA_WIDE) == CUDA_WIDE)
			cuda_launch_shared(c, gemm_wide, k_div_up(w->rows, CUDA_TILE_ROWS), k_div_up(n, CUDA_WIDE), 1, CUDA_WIDE_SHARED, .tile = a);
		else
			cuda_launch_more(c, CUDA_KERNEL_gemm_tile, k_div_up(w->rows, CUDA_TILE_ROWS), k_div_up(n, CUDA_TILE), 1, CUDA_TILE_SHARED, &a, sizeof(a));
		return n;
	}
	n = op->n;
	if ((uintptr_t)x % 16 || x_step % 4) {
		n = cuda_fit(c, n, floats(w->cols));
		x = cuda_round(c, cuda_take(c, floats(n * w->cols)), x, n, w->cols, x_step);
		x_step = w->cols;
	}
	if (n <= CUDA_FEW) {
		struct k_op_gemm few = *op;
		few.x = x;
		few.x_step = x_step;
		few.n = n;
		multiply_many(c, &few, w, 0);
		return n;
	}
	cuda_launch(c, gemm_mma, k_div_up(w->rows, 16), k_div_up(n, CUDA_MMA_VECTORS), 1, .y = op->y, .x = x, .w = *w, .bias = op->bias,
		.n = n, .y_step = op->y_step, .x_step = x_step);
	return n;
}

static void multiply(struct cuda *c, const struct k_op_gemm *op, const struct cuda_matrix *w)
{
	int64_t tiles = k_div_up(op->n, CUDA_TOKENS);
	if (w->type == CUDA_I4_X16)
		cuda_launch(c, gemm_x16, w->rows / 16, tiles, 1, .y = op->y, .x = op->x, .w = *w, .bias = op->bias, .n = op->n, .y_step = op->y_step,
			.x_step = op->x_step);
	else
		multiply_many(c, op, w, CUDA_EXACT);
}

void cuda_op_gemm(struct k_device *dev, const struct k_op_gemm *op)
{
	struct cuda *c = cuda_of(dev);
	struct cuda_matrix w;
	if (op->w->host) {
		cuda_host_gemm(c, op);
		return;
	}
	if (!cuda_matrix(&w, op->w)) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_gemm, op->w->type->name);
		cpu->ops.gemm(cpu, op);
		return;
	}
	bool rounds = !op->exact && cuda_rounds(c);
	for (int64_t t = 0, n; t < op->n; t += n) {
		struct k_op_gemm part = *op;
		part.n -= t;
		part.x += t * op->x_step;
		part.y += t * op->y_step;
		cuda_begin(c);
		n = cuda_by_library(c, &part, &w);
		if (!n && !op->exact && cuda_takes_mma(c, &w))
			n = multiply_mma(c, &part, &w);
		if (n)
			continue;
		if (rounds && c->dev.ctx->act == K_ACT_BF16 && w.type != CUDA_I4_X16) {
			n = part.n = K_MIN(part.n, (int64_t)BLOCKS_Y * CUDA_FEW);
			multiply_many(c, &part, &w, CUDA_ROUNDED);
			continue;
		}
		n = rounds ? cuda_fit(c, op->n - t, floats(w.cols)) : K_MIN(op->n - t, (int64_t)BLOCKS_Y * CUDA_TOKENS);
		part.n = n;
		if (rounds) {
			part.x = cuda_round(c, cuda_take(c, floats(n * w.cols)), part.x, n, w.cols, op->x_step);
			part.x_step = w.cols;
		}
		multiply(c, &part, &w);
	}
}

/* --- experts -------------------------------------------------------------------------------------------------------------- */

void cuda_op_route(struct k_device *dev, const struct k_op_route *op)
{
	struct cuda *c = cuda_of(dev);
	const struct k_hp *hp = op->hp;
	if (hp->n_expert > CUDA_EXPERTS) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_route, "too many experts");
		cpu->ops.route(cpu, op);
		return;
	}
	cuda_launch(c, route, op->n, 1, 1, .ids = op->ids, .weights = op->weights, .logits = op->logits, .bias = op->bias,
		.n_expert = (int)hp->n_expert, .n_used = (int)hp->n_expert_used, .n_group = (int)K_MAX(hp->n_group, (int64_t)1),
		.n_group_used = (int)hp->n_group_used, .softmax = hp->router_softmax, .biased = hp->router_biased, .norm = hp->expert_norm,
		.n = (int)op->n, .scale = hp->expert_scale);
}

/* tile: room for the tiles of BLOCKS_Y pairs. */
struct moe { struct cuda_matrix gate, up, down; struct cuda_unit unit; int64_t F, D, used, E; struct cuda_tile *tile; };

/* Places for tiles (cuda_args.h). */
static int64_t tile_places(int64_t pairs, int64_t experts, int size) { return K_MIN(pairs, pairs / size + experts); }

/* Tokens that are computed pair by pair on tensor cores: weights are read once for each. */
enum { FEW = 4 };

/* Scratch for a token. */
static int64_t token_bytes(const struct moe *m, bool tiles)
{
	int64_t half = (int64_t)sizeof(uint16_t);
	if (tiles)
		return m->used * (m->F * half + floats(m->D + 1)) + m->D * half;
	return m->used * floats(2 * m->F) + floats(m->D);
}

/* On tensor cores: the pairs sorted by expert, in tiles. */
static void moe_by_expert(struct cuda *c, const struct moe *m, float *y, const float *x, const int32_t *ids, const float *weights, int64_t n)
{
	int size = tile_size(c, m->down.type == CUDA_I4_X16 ? &m->gate : &m->down, n * m->used >= m->E * WIDE_PAIRS, n * m->used >= m->E * WIDE_SEEN);
	int64_t pairs = n * m->used, tiles = tile_places(pairs, m->E, size);
	int32_t *order = cuda_take(c, pairs * (int64_t)sizeof(*order));
	uint16_t *narrow = cuda_take(c, n * m->D * (int64_t)sizeof(*narrow)), *h = cuda_take(c, pairs * m->F * (int64_t)sizeof(*h));
	float *out = cuda_take(c, floats(pairs * m->D));
	struct cuda_moe_up_tile up = { .h = h, .x = narrow, .order = order, .tile = m->tile, .gate = m->gate, .up = m->up, .unit = m->unit,
		.n_used = (int)m->used };
	struct cuda_moe_down_tile down = { .out = out, .h = h, .order = order, .tile = m->tile, .down = m->down };
	cuda_launch(c, moe_sort, m->E + n, 1, 1, .order = order, .tile = m->tile, .ids = ids, .y = narrow, .x = x, .cols = m->D, .n_pair = (int)pairs,
		.n_expert = (int)m->E, .sparse = tiles == pairs, .size = size);
	if (size == CUDA_WIDE) {
		int blocks = c->rt->clear ? BLOCKS : BLOCKS_SEEN;
		cuda_launch_shared(c, moe_up_wide, blocks, 1, 1, CUDA_WIDE_SHARED, .tile = up, .places = (int)tiles, .blocks = blocks);
		cuda_launch_shared(c, moe_down_wide, blocks, 1, 1, CUDA_WIDE_SHARED, .tile = down, .places = (int)tiles, .blocks = blocks);
	} else {
		cuda_launch_more(c, CUDA_KERNEL_moe_up_tile, k_div_up(m->F, CUDA_TILE_ROWS / 2), tiles, 1, CUDA_TILE_SHARED, &up, sizeof(up));
		cuda_launch_more(c, CUDA_KERNEL_moe_down_tile, k_div_up(m->D, CUDA_TILE_ROWS), tiles, 1, CUDA_TILE_SHARED, &down, sizeof(down));
	}
	cuda_launch(c, moe_sum, k_div_up(m->D, 4 * CUDA_THREADS), n, 1, .y = y, .out = out, .weights = weights, .dim = m->D, .n_used = (int)m->used,
		.wide = m->D % 4 == 0);
}

/* The same bits, pair by pair: two launches. */
static void moe_few(struct cuda *c, const struct moe *m, float *y, const float *x, const int32_t *ids, const float *weights, int64_t n)
{
	int64_t pairs = n * m->used;
	uint16_t *h = cuda_take(c, pairs * m->F * (int64_t)sizeof(*h));
	cuda_launch(c, moe_up_mma, k_div_up(m->F, 16), pairs, 1, .h = h, .x = x, .ids = ids, .gate = m->gate, .up = m->up, .unit = m->unit, .n_used = (int)m->used);
	cuda_launch(c, moe_down_mma, k_div_up(m->D, 16), n, 1, .y = y, .h = h, .ids = ids, .weights = weights, .down = m->down,
		.n_used = (int)m->used);
}

/* Is it known that the launch before does not write n floats at x? It may be read ahead of its end then. */
static bool leaves(const struct cuda *c, const float *x, int64_t n)
{
	const struct cuda_call *last = cuda_last(c);
	const struct cuda_moe_down_dot *down = last && last->kernel == CUDA_KERNEL_moe_down_dot ? last->args : NULL;
	if (down)
		return !down->also.y && cuda_apart(x, n, down->y, down->n * down->down.rows);
	return last && last->kernel == CUDA_KERNEL_route;
}

/* INT4 in whole numbers, pair by pair. */
static void moe_dot(struct cuda *c, const struct moe *m, float *y, const float *x, const int32_t *ids, const float *weights, int64_t n)
{
	int64_t pairs = n * m->used;
	int64_t room = c->rt->shared(c->on);
	int depth = CUDA_DOWN_SHARED(CUDA_DOWN_RING, m->F) <= room ? CUDA_DOWN_RING : CUDA_DOWN_SMALL;
	uint8_t *h = cuda_take(c, pairs * (m->F / 64) * CUDA_FIXED_STEP);
	bool early = leaves(c, x, n * m->D);
	cuda_launch_shared(c, moe_up_dot, k_div_up(m->F, 16), pairs, 1, CUDA_UP_SHARED, .h = h, .x = x, .ids = ids, .gate = m->gate, .up = m->up, .unit = m->unit, .n_used = (int)m->used,
		.early = early);
	cuda_launch_shared(c, moe_down_dot, k_div_up(m->D, 16) * n, 1, 1, CUDA_DOWN_SHARED(depth, m->F), .y = y, .h = h, .ids = ids, .weights = weights, .down = m->down,
		.n_used = (int)m->used, .n = (int)n, .depth = depth, .shares = CUDA_FEW_PLAIN <= room);
}

/* Is it for them? */
static bool takes_dot(const struct cuda *c, const struct moe *m)
{
	return c->dev.ctx->any_order && m->gate.type == CUDA_I4_X16 && m->up.type == CUDA_I4_X16 && m->down.type == CUDA_I4_X16 && m->F <= CUDA_DOWN_COLS;
}

/* On the ordinary cores: pair by pair. */
static void moe_by_pair(struct cuda *c, const struct moe *m, float *y, const float *x, const int32_t *ids, const float *weights, int64_t n)
{
	int64_t pairs = n * m->used;
	float *rounded = cuda_take(c, floats(n * m->D)), *h = cuda_take(c, floats(pairs * m->F)), *h_room = cuda_take(c, floats(pairs * m->F));
	cuda_launch(c, moe_up, k_div_up(m->F, 16), pairs, 1, .h = h, .x = cuda_round(c, rounded, x, n, m->D, m->D), .ids = ids, .gate = m->gate,
		.up = m->up, .unit = m->unit, .n_used = (int)m->used);
	cuda_launch(c, moe_down, k_div_up(m->D, 16), n, 1, .y = y, .h = cuda_round(c, h_room, h, pairs, m->F, m->F), .ids = ids, .weights = weights,
		.down = m->down, .n_used = (int)m->used);
}

void cuda_op_moe(struct k_device *dev, const struct k_op_moe *op)
{
	struct cuda *c = cuda_of(dev);
	struct moe m = { .unit = unit_of(op->hp->situ, op->hp->situ_up), .used = op->hp->n_expert_used, .E = op->hp->n_expert };
	bool mma;
	if (op->gate->host) {
		cuda_host_moe(c, op);
		return;
	}
	if (!cuda_matrix(&m.gate, op->gate) || !cuda_matrix(&m.up, op->up) || !cuda_matrix(&m.down, op->down)) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_moe, op->gate->type->name);
		cpu->ops.moe(cpu, op);
		return;
	}
	m.F = m.gate.rows;
	m.D = m.gate.cols;
	mma = cuda_takes_mma(c, &m.gate) && cuda_takes_mma(c, &m.up) && cuda_takes_mma(c, &m.down) && m.gate.type == m.up.type &&
		m.E <= CUDA_EXPERTS;
	for (int64_t t = 0, n; t < op->n; t += n) {
		bool few = op->n - t <= FEW && (uintptr_t)op->x % 16 == 0 && m.D % 4 == 0 && m.F % 8 == 0;
		cuda_begin(c);
		m.tile = mma && !few ? cuda_take(c, tile_places(K_MIN((op->n - t) * m.used, (int64_t)BLOCKS_Y), m.E, CUDA_TILE) * (int64_t)sizeof(*m.tile)) : NULL;
		n = K_MIN(cuda_fit(c, op->n - t, token_bytes(&m, mma && !few)), BLOCKS_Y / m.used);
		(!mma ? moe_by_pair : few && takes_dot(c, &m) ? moe_dot : few ? moe_few : moe_by_expert)(c, &m, op->y + t * m.D, op->x + t * m.D, op->ids + t * m.used,
			op->weights + t * m.used, n);
	}
}

/* --- delta attention ------------------------------------------------------------------------------------------------------ */

/* As the kernels have it (kda.h): rows [from, to) of a segment in a round, chunks, and what is before and behind them. */
struct kda_rows { int64_t chunks, before, behind; };

static struct kda_rows kda_count(const struct k_op_kda *op, const struct cuda_kda_prompt *p)
{
	struct kda_rows all = { 0, 0, 0 };
	for (int64_t i = 0; i < op->n_seg; i++) {
		const struct k_seg *s = &op->seg[i];
		int64_t from = K_MAX(s->row, p->first), to = K_MIN(s->row + s->n, p->last);
		int64_t begin = from + (CUDA_CHUNK - (s->pos + from - s->row) % CUDA_CHUNK) % CUDA_CHUNK;
		if (from >= to)
			continue;
		if (!p->chunks || begin + CUDA_CHUNK > to) {
			all.before += to - from;
			continue;
		}
		all.chunks += (to - begin) / CUDA_CHUNK;
		all.before += begin - from;
		all.behind += (to - begin) % CUDA_CHUNK;
	}
	return all;
}

/* A round ends between chunks, where it is long enough. */
static int64_t kda_round_end(const struct k_op_kda *op, int64_t first, int64_t last)
{
	for (int64_t i = 0; i < op->n_seg; i++) {
		const struct k_seg *s = &op->seg[i];
		int64_t back = (s->pos + last - s->row) % CUDA_CHUNK;
		if (last > s->row && last < s->row + s->n && last - back > K_MAX(first, s->row))
			return last - back;
	}
	return last;
}

/* What kda_chunk and kda_chunk_walk read 16 bytes at a time. */
static bool kda_wide(const struct k_op_kda *op)
{
	uintptr_t all = (uintptr_t)op->q | (uintptr_t)op->k | (uintptr_t)op->v | (uintptr_t)op->a | (uintptr_t)op->z | (uintptr_t)op->y | (uintptr_t)op->dt_bias |
		(uintptr_t)op->o_norm;
	for (int i = 0; i < 3; i++)
		all |= (uintptr_t)op->conv_w[i];
	for (int64_t i = 0; i < op->n_seg; i++)
		all |= (uintptr_t)op->seg[i].state->state | (uintptr_t)op->seg[i].state->conv;
	return all % 16 == 0;
}

static void kda_singles(struct cuda *c, const struct cuda_kda_prompt *p, const struct kda_rows *rows, int64_t n_seg, bool behind)
{
	int64_t H = p->op.n_head, n = behind ? rows->behind : rows->before;
	struct cuda_kda_prompt q = *p;
	q.behind = behind;
	if (!behind)
		cuda_launch(c, kda_prepare, rows->before + rows->behind, H, 1, .prompt = q);
	cuda_launch(c, kda_walk, n ? H : 0, k_div_up(p->op.dim, CUDA_WARPS), n_seg, .prompt = q);
	if (behind)
		cuda_launch(c, kda_finish, rows->before + rows->behind, H, 1, .prompt = q);
}

/* Rounds of as many chunks and heads as keep the card busy while a round before is walked, if scratch has room for them; a block makes EACH of a head. Records lie in
 * one third of it after the other: while one round's are read and another's written, the next launch begins to make. */
enum { KDA_MADE = 2048, KDA_EACH = 8, KDA_ROUNDS = 3 };

/* Makes the chunks of one round, and walks those of the one before. */
static void kda_chunks(struct cuda *c, const struct cuda_kda_prompt *make, int64_t chunks, const struct cuda_kda_prompt *walk, const struct kda_rows *walked)
{
	int makers = (int)k_div_up(chunks, KDA_EACH) * make->op.n_head, walkers = walked->chunks ? walk->op.n_head * walk->n_seg : 0;
	cuda_launch_shared(c, kda_chunk, makers + walkers, 1, 1, CUDA_CHUNK_SHARED, .walk = *walk, .make = *make, .makers = makers, .each = KDA_EACH, .ahead = walkers > 0);
}

static void kda_prompt(struct cuda *c, const struct k_op_kda *op, const struct cuda_kda *a)
{
	int64_t H = a->n_head, d = a->dim, single = floats(5 * H * d), chunk = k_align_up(KDA_ROUNDS * CUDA_CHUNK_BYTES(d) * H / CUDA_CHUNK, 16), most;
	bool chunks = c->mma == CUDA_MMA_BF16 && c->dev.ctx->act == K_ACT_BF16 && d % 32 == 0 && d <= CUDA_CHUNK_DIM && a->taps <= CUDA_CHUNK_TAPS && kda_wide(op);
	struct cuda_kda_prompt p = { .op = *a, .n_seg = (int)op->n_seg, .chunks = chunks }, before = p;
	struct kda_rows rows, rows_before = { 0, 0, 0 };
	uint8_t *records = NULL;
	int round = 0;
	if (chunks && cuda_fit(c, CUDA_CHUNK, single + chunk) == CUDA_CHUNK) {
		/* Of a segment a round has fewer than two chunks of single rows. */
		int64_t want = k_align_up(K_MIN(CUDA_CHUNK * k_div_up(KDA_MADE, H), op->n), CUDA_CHUNK);
		int64_t both = cuda_fit(c, want, single + chunk), singles = K_MIN(both, 2 * CUDA_CHUNK * op->n_seg);
		p.ready = cuda_take(c, singles * single);
		most = (singles < both ? cuda_fit(c, want, chunk) : both) / CUDA_CHUNK * CUDA_CHUNK;
		records = cuda_take(c, most * chunk);
	} else {
		p.chunks = false;
		most = cuda_fit(c, op->n, single);
		p.ready = cuda_take(c, most * single);
	}
	for (p.first = 0; p.first < op->n; p.first = p.last) {
		p.last = p.first + most < op->n ? kda_round_end(op, p.first, p.first + most) : op->n;
		p.records = records + round++ % KDA_ROUNDS * (most / CUDA_CHUNK * H * CUDA_CHUNK_BYTES(d));
		rows = kda_count(op, &p);
		kda_chunks(c, &p, rows.chunks, &before, &rows_before);
		kda_singles(c, &before, &rows_before, op->n_seg, true);
		kda_singles(c, &p, &rows, op->n_seg, false);
		before = p;
		rows_before = rows;
	}
	kda_chunks(c, &p, 0, &before, &rows_before);
	kda_singles(c, &before, &rows_before, op->n_seg, true);
}

void cuda_op_kda(struct k_device *dev, const struct k_op_kda *op)
{
	struct cuda *c = cuda_of(dev);
	const struct k_hp *hp = op->hp;
	const struct cuda_seg *seg;
	cuda_begin(c);
	if (hp->kda_dim > CUDA_KDA_DIM || !cuda_segs(c, op->seg, op->n_seg, 0, &seg)) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_kda, "its heads are too wide");
		cpu->ops.kda(cpu, op);
		return;
	}
	struct cuda_kda a = { .y = op->y, .raw = { op->q, op->k, op->v }, .a = op->a, .z = op->z, .beta = op->beta,
		.conv_w = { op->conv_w[0], op->conv_w[1], op->conv_w[2] }, .a_log = op->a_log, .dt_bias = op->dt_bias, .o_norm = op->o_norm,
		.seg = seg, .dim = (int)hp->kda_dim, .n_head = (int)hp->kda_head, .taps = (int)hp->kda_conv, .eps = (float)hp->eps,
		.bound = (float)hp->gate_bound };
	a.early = cuda_last(c) && cuda_last(c)->kernel != CUDA_KERNEL_kda;
	if (op->n == op->n_seg)
		cuda_launch_bytes(c, CUDA_KERNEL_kda, hp->kda_head, op->n_seg, 1, &a, sizeof(a));
	else
		kda_prompt(c, op, &a);
}

/* --- scratch -------------------------------------------------------------------------------------------------------------- */

int64_t cuda_row_bytes(const struct k_hp *hp, int64_t n_ctx)
{
	enum { FINE = 132 };
	int64_t widest = K_MAX(K_MAX(hp->n_ff, hp->n_embd), hp->n_ff_expert * K_MAX(hp->n_shared, (int64_t)1));
	int64_t heads = K_MAX(hp->n_head * K_MAX(hp->d_v, hp->head_dim), hp->kda_head * hp->kda_dim);
	int64_t D = k_hp_expert_width(hp), moe = hp->n_expert_used * (2 * hp->n_ff_expert + D + 4) + D;
	int64_t spans = k_div_up(K_MAX(n_ctx, (int64_t)1), CUDA_SPAN), value = K_MAX(hp->kv_lora, hp->head_dim);
	/* Attention to few rows cuts their contexts finer: into about as many blocks as run at once. */
	int64_t attn = hp->n_head * (hp->kv_lora + hp->d_rope + K_MAX(spans, K_MIN(4 * spans, (int64_t)FINE)) * (value + CUDA_PART));
	widest = K_MAX(K_MAX(widest, heads), K_MAX(hp->q_lora, hp->kv_lora));
	widest = K_MAX(widest, 5 * hp->kda_head * hp->kda_dim);
	return floats(K_MAX(K_MAX(widest, moe), attn));
}
