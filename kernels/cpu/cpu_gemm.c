/* cpu_gemm.c: activations times stored weights.
 *
 *   weights [rows x cols]                        tasks: a block of rows for a run of tokens
 *     block of rows -- unpack --> panel of f32 -- gemm_f32 --> y
 *                   \- bf16 and few tokens: gemm_bf16, the same sums without the panel
 *                   \- f32: as they lie
 *
 * A panel is sized to stay in the second cache. */
#include "libcore/base.h"
#include "kernels/cpu/cpu_impl.h"

enum { PANEL_FLOATS = 128 * 1024, ROWS_MOST = 32, BF16_DIRECT = 8 };

int cpu_panel_rows(const struct cpu *c, int64_t cols)
{
	if (cols * ROWS_MOST <= PANEL_FLOATS)
		return ROWS_MOST;
	/* Interleaved layouts unpack sixteen rows at once: worth a larger panel. */
	if (cols * 16 <= c->n_room && cols * 16 <= 2 * PANEL_FLOATS)
		return 16;
	for (int rows = 8; rows > 1; rows /= 2)
		if (cols * rows <= c->n_room)
			return rows;
	return 1;
}

static bool is_type(const struct k_tensor *w, const char *dtype)
{
	return w->type->st_dtype && strcmp(w->type->st_dtype, dtype) == 0;
}

void cpu_mul(const struct cpu *c, int worker, const struct k_tensor *w, int64_t row, int rows, struct cpu_rows x, float *y, int64_t y_step,
	int64_t n)
{
	int64_t cols = k_shape_cols(w->ndim, w->shape);
	const float *at[CPU_TOKENS], *panel = NULL;
	const uint16_t *direct = NULL;
	if (is_type(w, "F32")) {
		panel = (const float *)w->data + row * cols;
	} else if (n <= BF16_DIRECT && is_type(w, "BF16")) {
		direct = (const uint16_t *)w->data + row * cols;
	} else {
		K_ASSERT(rows * cols <= c->n_room);
		panel = room_of(c, worker);
		c->kk.unpack(room_of(c, worker), (size_t)cols, w->type, w->data, k_shape_rows(w->ndim, w->shape), cols, row, rows);
	}
	for (int64_t t = 0; t < n; t += CPU_TOKENS) {
		int m = (int)K_MIN(n - t, (int64_t)CPU_TOKENS);
		for (int i = 0; i < m; i++)
			at[i] = x.base + (x.index ? x.index[t + i] : t + i) * x.step;
		if (direct)
			c->kk.gemm_bf16(y + t * y_step, (size_t)y_step, direct, (size_t)cols, rows, at, m, (size_t)cols);
		else
			c->kk.gemm_f32(y + t * y_step, (size_t)y_step, panel, (size_t)cols, rows, at, m, (size_t)cols);
	}
}

bool cpu_rounds(const struct cpu *c) { return c->dev.ctx->act != K_ACT_F32; }

void cpu_round(const struct cpu *c, float *y, const float *x, int64_t cols)
{
	if (c->dev.ctx->act == K_ACT_BF16)
		c->kk.act_bf16(y, x, (size_t)cols);
	else if (c->dev.ctx->act == K_ACT_INT8)
		c->kk.act_int8(y, x, (size_t)cols);
}

struct gemm {
	const struct cpu *c;
	const struct k_tensor *w;
	const float *bias;
	float *y;
	struct cpu_rows x;
	int64_t n, y_step, rows, blocks, run;   /* run: tokens a task */
	int block;
};

static void gemm_task(void *arg, int64_t i, int worker)
{
	const struct gemm *g = arg;
	int64_t row = i % g->blocks * g->block, t = i / g->blocks * g->run;
	int rows = (int)K_MIN(g->rows - row, (int64_t)g->block);
	int64_t n = K_MIN(g->n - t, g->run);
	float *y = g->y + t * g->y_step + row;
	cpu_mul(g->c, worker, g->w, row, rows, cpu_rows_at(g->x, t), y, g->y_step, n);
	for (int64_t j = 0; g->bias && j < n; j++)
		g->c->kk.add(y + j * g->y_step, g->bias + row, (size_t)rows);
}

static void run_gemm(struct gemm *g)
{
	int64_t cols = k_shape_cols(g->w->ndim, g->w->shape);
	int threads = g->c->n_worker;
	g->rows = k_shape_rows(g->w->ndim, g->w->shape);
	g->block = cpu_panel_rows(g->c, cols);
	g->blocks = k_div_up(g->rows, g->block);
	g->run = g->n;
	/* Few rows and many tokens: cut the tokens too, so that nobody idles. */
	if (g->blocks < 4 * threads && g->n > CPU_TOKENS)
		g->run = K_MAX(g->n * g->blocks / (4 * threads) / CPU_TOKENS, (int64_t)1) * CPU_TOKENS;
	cpu_each(g->c, g->blocks * k_div_up(g->n, g->run), (double)g->rows * (double)cols * (double)g->n, gemm_task, g);
}

struct rounding { const struct cpu *c; float *y; const float *x; int64_t step, cols; };

static void round_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct rounding *r = arg;
	cpu_round(r->c, r->y + i * r->cols, r->x + i * r->step, r->cols);
}

void cpu_gemm(struct k_device *dev, const struct k_op_gemm *op)
{
	struct cpu *c = cpu_of(dev);
	int64_t cols = k_shape_cols(op->w->ndim, op->w->shape), m = op->n;
	struct gemm g = { .c = c, .w = op->w, .bias = op->bias };
	float *rounded = NULL;
	if (op->n <= 0)
		return;
	if (!op->exact && cpu_rounds(c)) {
		cpu_begin(c);
		m = cpu_fit(c, op->n, cols);
		rounded = cpu_take(c, m * cols);
	}
	for (int64_t t = 0; t < op->n; t += m) {
		g.n = K_MIN(op->n - t, m);
		g.x = (struct cpu_rows){ op->x + t * op->x_step, op->x_step, NULL };
		g.y = op->y + t * op->y_step;
		g.y_step = op->y_step;
		if (rounded) {
			struct rounding r = { c, rounded, op->x + t * op->x_step, op->x_step, cols };
			cpu_each(c, g.n, (double)(g.n * cols), round_task, &r);
			g.x = (struct cpu_rows){ rounded, cols, NULL };
		}
		run_gemm(&g);
	}
}

/* The longest row that a product of this model reads. */
int64_t cpu_gemm_row(const struct k_hp *hp)
{
	const int64_t all[] = { hp->n_embd, hp->n_ff, hp->n_head * hp->head_dim, hp->n_head * hp->d_v, hp->q_lora, hp->kv_lora,
		hp->kda_head * hp->kda_dim, hp->kda_dim, hp->n_ff_expert * K_MAX(hp->n_shared, (int64_t)1) };
	int64_t top = 1;
	for (size_t i = 0; i < K_LEN(all); i++)
		top = K_MAX(top, all[i]);
	return top;
}

int64_t cpu_gemm_room(const struct k_hp *hp) { return K_MAX(cpu_gemm_row(hp), (int64_t)(2 * PANEL_FLOATS)); }
