/* cpu_elem.c: operations on rows and elements: embedding, norm, addition, blend, SwiGLU and SiTU, gate. Long vectors are cut into runs of GRAIN. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cpu/cpu_impl.h"

enum { GRAIN = 16 * 1024, EMBED_COST = 4, NORM_COST = 2, SWIGLU_COST = 4, BLEND_COST = 4 };

static void embed_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct k_op_embed *op = arg;
	int64_t cols = k_shape_cols(op->w->ndim, op->w->shape);
	k_tensor_rows(op->w, op->ids[i], 1, op->y + i * cols);
}

void cpu_embed(struct k_device *dev, const struct k_op_embed *op)
{
	double work = (double)(op->n * k_shape_cols(op->w->ndim, op->w->shape));
	cpu_each(cpu_of(dev), op->n, EMBED_COST * work, embed_task, (void *)(uintptr_t)op);
}

struct norm { const struct cpu *c; const struct k_op_rmsnorm *op; };

static void norm_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct norm *a = arg;
	const struct k_op_rmsnorm *op = a->op;
	a->c->kk.rmsnorm(op->y + i * op->y_step, op->x + i * op->x_step, op->w, (size_t)op->dim, op->eps);
}

void cpu_rmsnorm(struct k_device *dev, const struct k_op_rmsnorm *op)
{
	struct norm a = { cpu_of(dev), op };
	cpu_each(a.c, op->n, NORM_COST * (double)(op->n * op->dim), norm_task, &a);
}

struct add { const struct cpu *c; const struct k_op_add *op; };

static void add_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct add *a = arg;
	int64_t from = i * GRAIN;
	a->c->kk.add(a->op->y + from, a->op->x + from, (size_t)K_MIN(a->op->n - from, (int64_t)GRAIN));
}

void cpu_add(struct k_device *dev, const struct k_op_add *op)
{
	struct add a = { cpu_of(dev), op };
	cpu_each(a.c, k_div_up(op->n, GRAIN), (double)op->n, add_task, &a);
}

struct swiglu { const struct cpu *c; const struct k_op_swiglu *op; };

static void swiglu_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct swiglu *a = arg;
	int64_t from = i * GRAIN;
	cpu_unit(a->c, a->op->y + from, a->op->gate + from, a->op->up + from, a->op->situ, a->op->situ_up, K_MIN(a->op->n - from, (int64_t)GRAIN));
}

void cpu_unit(const struct cpu *c, float *y, const float *gate, const float *up, double situ, double situ_up, int64_t n)
{
	if (situ != 0)
		c->kk.situ(y, gate, up, situ, situ_up, (size_t)n);
	else
		c->kk.swiglu(y, gate, up, (size_t)n);
}

void cpu_swiglu(struct k_device *dev, const struct k_op_swiglu *op)
{
	struct swiglu a = { cpu_of(dev), op };
	cpu_each(a.c, k_div_up(op->n, GRAIN), SWIGLU_COST * (double)op->n, swiglu_task, &a);
}

struct gate { const struct cpu *c; const struct k_op_gate *op; };

static void gate_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct gate *a = arg;
	int64_t from = i * GRAIN;
	a->c->kk.gate(a->op->y + from, a->op->z + from, (size_t)K_MIN(a->op->n - from, (int64_t)GRAIN));
}

void cpu_gate(struct k_device *dev, const struct k_op_gate *op)
{
	struct gate a = { cpu_of(dev), op };
	cpu_each(a.c, k_div_up(op->n, GRAIN), SWIGLU_COST * (double)op->n, gate_task, &a);
}

/* --- blend ---------------------------------------------------------------------------------------------------------------- */

/* Scores, then a normed row. */
int64_t cpu_blend_room(const struct k_hp *hp) { return hp->res_block ? k_hp_res_blocks(hp) + 1 + hp->n_embd : 0; }

struct blend { const struct cpu *c; const struct k_op_blend *op; };

static const float *blend_source(const struct k_op_blend *op, int64_t s, int64_t row)
{
	return (s < op->n_block ? op->block[s] : op->x) + row * op->dim;
}

static void blend_task(void *arg, int64_t i, int worker)
{
	const struct blend *a = arg;
	const struct k_op_blend *op = a->op;
	const struct kk *kk = &a->c->kk;
	int64_t n = op->n_block + 1;
	float *score = room_of(a->c, worker), *normed = score + n, *y = op->y + i * op->dim, top = -INFINITY;
	const float *const one[] = { normed };
	double sum = 0;
	for (int64_t s = 0; s < n; s++) {
		kk->rmsnorm(normed, blend_source(op, s, i), op->w, (size_t)op->dim, op->eps);
		kk->gemm_f32(score + s, 1, op->query, (size_t)op->dim, 1, one, 1, (size_t)op->dim);
		top = fmaxf(top, score[s]);
	}
	for (int64_t s = 0; s < n; s++)
		sum += exp((double)score[s] - top);
	memset(y, 0, (size_t)op->dim * sizeof(*y));
	for (int64_t s = 0; s < n; s++)
		kk->axpy(y, blend_source(op, s, i), (float)(exp((double)score[s] - top) / sum), (size_t)op->dim);
}

void cpu_blend(struct k_device *dev, const struct k_op_blend *op)
{
	struct blend a = { cpu_of(dev), op };
	K_ASSERT(op->n_block + 1 + op->dim <= a.c->n_room);
	cpu_each(a.c, op->n, BLEND_COST * (double)(op->n * (op->n_block + 1) * op->dim), blend_task, &a);
}
