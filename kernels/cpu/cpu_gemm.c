/* cpu_gemm.c: activations times stored weights.
 *
 *   weights [rows x cols]                        tasks: a block of rows for a run of tokens
 *     block of rows -- unpack --> panel of f32 -- gemm_f32 --> y
 *                   \- bf16: gemm_bf16, the same sums without the panel; of activations in bf16 gemm_bf16_bf16, with its own form of them
 *                   |- i8row, mxfp4, fp8b128 and few tokens: gemm_i8row, gemm_mxfp4, gemm_fp8b128, likewise
 *                   |- i4g32 and mxfp4 in layout x16: gemm_i4x16, gemm_mx4x16 of the precision, their own sums and form of the activations (cpu_round)
 *                   \- f32: as they lie
 *
 * A panel is sized to stay in the second cache, for few tokens in the first. */
#include "libcore/base.h"
#include "kernels/cpu/cpu_impl.h"

enum { PANEL_FLOATS = 128 * 1024, ROWS_MOST = 32, ROWS_LEAST = 16, FEW_TOKENS = 8, FEW_ROWS = 4 };

static bool is_type(const struct k_tensor *w, const char *name, const char *layout)
{
	return strcmp(w->type->name, name) == 0 && strcmp(w->type->layout, layout) == 0;
}

/* A multiple of what layouts interleave; two of those of x16, which has no panel, share what is loaded of a token. */
int cpu_task_rows(const struct k_tensor *w)
{
	return k_shape_cols(w->ndim, w->shape) * ROWS_MOST <= PANEL_FLOATS || strcmp(w->type->layout, "x16") == 0 ? ROWS_MOST : ROWS_LEAST;
}

enum how { BY_F32, BY_BF16, BY_BF16_BF16, BY_I8ROW, BY_MXFP4, BY_FP8B128, BY_I4X16, BY_MX4X16 };

/* Types that have kernels of their own, by the precision of activations; few: for few tokens. The others go by way of panels. */
enum { F32 = 1 << K_ACT_F32, BF16 = 1 << K_ACT_BF16, INT8 = 1 << K_ACT_INT8, ANY = F32 | BF16 | INT8 };
static const struct { const char *name, *layout; int acts; enum how how; bool few; } direct[] = {
	{ "f32", "rows", ANY, BY_F32, false }, { "bf16", "rows", F32 | INT8, BY_BF16, false }, { "bf16", "rows", BF16, BY_BF16_BF16, false },
	{ "i4g32", "x16", ANY, BY_I4X16, false }, { "i8row", "rows", ANY, BY_I8ROW, true }, { "mxfp4", "rows", ANY, BY_MXFP4, true },
	{ "fp8b128", "rows", ANY, BY_FP8B128, true }, { "mxfp4", "x16", ANY, BY_MX4X16, false },
};

/* What a type in layout x16 has for a precision of activations. */
struct x16 {
	void (*gemm)(float *y, size_t y_step, const void *w, int rows, const float *const *x, int n, size_t cols);
	void (*ready)(float *y, const float *x, size_t cols);
};

static struct x16 x16_of(const struct kk *kk, bool mx, enum k_act act)
{
	const struct x16 i4s[] = {
		[K_ACT_F32] = { kk->gemm_i4x16, kk->ready_i4x16 }, [K_ACT_BF16] = { kk->gemm_i4x16_bf16, kk->ready_i4x16_bf16 },
		[K_ACT_INT8] = { kk->gemm_i4x16_int8, kk->ready_i4x16_int8 },
	}, mxs[] = {
		[K_ACT_F32] = { kk->gemm_mx4x16, kk->ready_mx4x16 }, [K_ACT_BF16] = { kk->gemm_mx4x16_bf16, kk->ready_mx4x16_bf16 },
		[K_ACT_INT8] = { kk->gemm_mx4x16_int8, kk->ready_mx4x16_int8 },
	};
	return mx ? mxs[act] : i4s[act];
}

/* Rows that lie ready at w; for fp8b128 those from `row` on of the granule w. */
static void mul_rows(const struct cpu *c, enum how how, const void *w, int64_t cols, int row, int rows, struct cpu_rows x, float *y,
	int64_t y_step, int64_t n)
{
	const float *at[CPU_TOKENS];
	for (int64_t t = 0; t < n; t += CPU_TOKENS, y += CPU_TOKENS * y_step) {
		int m = (int)K_MIN(n - t, (int64_t)CPU_TOKENS);
		for (int i = 0; i < m; i++)
			at[i] = x.base + (x.index ? x.index[t + i] : t + i) * x.step;
		if (how == BY_I4X16 || how == BY_MX4X16)
			x16_of(&c->kk, how == BY_MX4X16, x.act).gemm(y, (size_t)y_step, w, rows, at, m, (size_t)cols);
		else if (how == BY_I8ROW)
			c->kk.gemm_i8row(y, (size_t)y_step, w, rows, at, m, (size_t)cols);
		else if (how == BY_BF16_BF16)
			c->kk.gemm_bf16_bf16(y, (size_t)y_step, w, (size_t)cols, rows, at, m, (size_t)cols);
		else if (how == BY_MXFP4)
			c->kk.gemm_mxfp4(y, (size_t)y_step, w, rows, at, m, (size_t)cols);
		else if (how == BY_FP8B128)
			c->kk.gemm_fp8b128(y, (size_t)y_step, w, row, rows, at, m, (size_t)cols);
		else if (how == BY_BF16)
			c->kk.gemm_bf16(y, (size_t)y_step, w, (size_t)cols, rows, at, m, (size_t)cols);
		else
			c->kk.gemm_f32(y, (size_t)y_step, w, (size_t)cols, rows, at, m, (size_t)cols);
	}
}

/* Rows by way of a panel, as many at a time as the cache should hold. */
static void mul_panels(const struct cpu *c, int worker, const struct k_tensor *w, int64_t row, int rows, struct cpu_rows x, float *y,
	int64_t y_step, int64_t n)
{
	int64_t cols = k_shape_cols(w->ndim, w->shape), all = k_shape_rows(w->ndim, w->shape), most = c->n_room / K_MAX(cols, (int64_t)1);
	int some = n <= FEW_TOKENS ? FEW_ROWS : rows;
	float *panel = room_of(c, worker);
	K_ASSERT(most > 0);
	some = (int)K_MIN((int64_t)some, most);
	for (int i = 0; i < rows; i += some) {
		int m = K_MIN(rows - i, some);
		c->kk.unpack(panel, (size_t)cols, w->type, w->data, all, cols, row + i, m);
		mul_rows(c, BY_F32, panel, cols, 0, m, x, y + i, y_step, n);
	}
}

void cpu_mul(const struct cpu *c, int worker, const struct k_tensor *w, int64_t row, int rows, struct cpu_rows x, float *y, int64_t y_step,
	int64_t n)
{
	const struct k_qtype *t = w->type;
	int64_t cols = k_shape_cols(w->ndim, w->shape);
	size_t i = 0;
	while (i < K_LEN(direct) && !(direct[i].acts >> x.act & 1 && (n <= FEW_TOKENS || !direct[i].few) && is_type(w, direct[i].name, direct[i].layout)))
		i++;
	if (i == K_LEN(direct)) {
		mul_panels(c, worker, w, row, rows, x, y, y_step, n);
		return;
	}
	for (int m; rows > 0; rows -= m, row += m, y += m) {    /* granules, of which plain types have one a row */
		int in = (int)(row % t->granule);
		m = t->granule > 16 ? K_MIN(t->granule - in, rows) : rows;
		mul_rows(c, direct[i].how, (const char *)w->data + (size_t)(row / t->granule) * t->granule_bytes(cols, t->granule), cols, in, m, x,
			y, y_step, n);
	}
}

bool cpu_plain(const struct k_tensor *w, enum k_act act) { return act == K_ACT_F32 && strcmp(w->type->layout, "x16") != 0; }

void cpu_round(const struct cpu *c, const struct k_tensor *w, enum k_act act, float *y, const float *x, int64_t cols)
{
	if (strcmp(w->type->layout, "x16") == 0)
		x16_of(&c->kk, strcmp(w->type->name, "mxfp4") == 0, act).ready(y, x, (size_t)cols);
	else if (act == K_ACT_INT8)
		c->kk.act_int8(y, x, (size_t)cols);
	else if (act == K_ACT_BF16)
		(is_type(w, "bf16", "rows") ? c->kk.ready_bf16 : c->kk.act_bf16)(y, x, (size_t)cols);
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
	g->block = cpu_task_rows(g->w);
	g->blocks = k_div_up(g->rows, g->block);
	g->run = g->n;
	/* Few rows and many tokens: cut the tokens too, so that nobody idles. */
	if (g->blocks < 4 * threads && g->n > CPU_TOKENS)
		g->run = K_MAX(g->n * g->blocks / (4 * threads) / CPU_TOKENS, (int64_t)1) * CPU_TOKENS;
	cpu_each(g->c, g->blocks * k_div_up(g->n, g->run), (double)g->rows * (double)cols * (double)g->n, gemm_task, g);
}

struct rounding { const struct cpu *c; const struct k_op_gemm *op; float *y; const float *x; int64_t cols; };

static void round_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct rounding *r = arg;
	cpu_round(r->c, r->op->w, cpu_act(r->c, r->op->exact), r->y + i * KK_READY(r->cols), r->x + i * r->op->x_step, r->cols);
}

void cpu_gemm(struct k_device *dev, const struct k_op_gemm *op)
{
	struct cpu *c = cpu_of(dev);
	int64_t cols = k_shape_cols(op->w->ndim, op->w->shape), m = op->n;
	struct gemm g = { .c = c, .w = op->w, .bias = op->bias };
	enum k_act act = cpu_act(c, op->exact);
	float *rounded = NULL;
	if (op->n <= 0)
		return;
	if (!cpu_plain(op->w, act)) {
		cpu_begin(c);
		m = cpu_fit(c, op->n, KK_READY(cols));
		rounded = cpu_take(c, m * KK_READY(cols));
	}
	for (int64_t t = 0; t < op->n; t += m) {
		g.n = K_MIN(op->n - t, m);
		g.x = (struct cpu_rows){ op->x + t * op->x_step, op->x_step, NULL, act };
		g.y = op->y + t * op->y_step;
		g.y_step = op->y_step;
		if (rounded) {
			struct rounding r = { c, op, rounded, op->x + t * op->x_step, cols };
			cpu_each(c, g.n, (double)(g.n * cols), round_task, &r);
			g.x = (struct cpu_rows){ rounded, KK_READY(cols), NULL, act };
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
