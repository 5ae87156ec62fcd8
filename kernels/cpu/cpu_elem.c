/* cpu_elem.c: operations on rows and elements: embedding, norm, addition, SwiGLU. Long vectors are cut into runs of GRAIN. */
#include "libcore/base.h"
#include "kernels/cpu/cpu_impl.h"

enum { GRAIN = 16 * 1024, EMBED_COST = 4, NORM_COST = 2, SWIGLU_COST = 4 };

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
	a->c->kk.swiglu(a->op->y + from, a->op->gate + from, a->op->up + from, (size_t)K_MIN(a->op->n - from, (int64_t)GRAIN));
}

void cpu_swiglu(struct k_device *dev, const struct k_op_swiglu *op)
{
	struct swiglu a = { cpu_of(dev), op };
	cpu_each(a.c, k_div_up(op->n, GRAIN), SWIGLU_COST * (double)op->n, swiglu_task, &a);
}
