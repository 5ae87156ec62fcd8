/* cuda_merge.c: neighbours in the list of a step that become one launch. A node of a graph costs most of a microsecond whatever it does, and a step has some
 * fifteen a layer. Bits stay: each element is computed as before.
 *
 *   add, add          y += x, then z += y
 *   add, rmsnorm      and the norm of the sum
 *   blend, rmsnorm    of each row in its place
 *   swiglu, route     of the shared expert, and the choice of the others
 *   moe_down, gemm    of routed experts in INT4, and of the shared one, of the same rows
 *   gemm, gemm        products of as many rows, of which none reads or writes what another writes (many.cu) */
#include "libcore/base.h"
#include "kernels/cuda/cuda_impl.h"

/* args: of the launch behind; last_args: what last->args points to. */
typedef bool merge_fn(struct cuda_call *last, void *last_args, struct cuda_grid grid, const void *args);

static bool add_add(struct cuda_call *last K_UNUSED, void *last_args, struct cuda_grid grid K_UNUSED, const void *args)
{
	struct cuda_add *a = last_args;
	const struct cuda_add *b = args;
	if (a->also || b->also || b->x != a->y || b->n != a->n || b->y == a->x)
		return false;
	a->also = b->y;
	a->wide = a->wide && b->wide;
	return true;
}

static bool add_norm(struct cuda_call *last, void *last_args, struct cuda_grid grid, const void *args)
{
	struct cuda_add_norm *m = last_args;
	const struct cuda_rmsnorm *n = args;
	const float *sum = m->add.also ? m->add.also : m->add.y;
	if (n->x != sum || n->x_step != n->dim || n->dim * (int64_t)grid.x != m->add.n || !m->add.wide || n->dim % 4 || n->y == m->add.x || n->y == m->add.y)
		return false;
	m->norm = *n;
	last->kernel = CUDA_KERNEL_add_norm;
	last->grid = grid;
	last->bytes = sizeof(*m);
	return true;
}

static bool blend_norm(struct cuda_call *last, void *last_args, struct cuda_grid grid, const void *args)
{
	struct cuda_blend_norm *m = last_args;
	const struct cuda_rmsnorm *n = args;
	if (n->x != m->blend.y || n->y != n->x || n->dim != m->blend.dim || n->x_step != n->dim || n->y_step != n->dim || grid.x != last->grid.x)
		return false;
	m->norm = *n;
	last->kernel = CUDA_KERNEL_blend_norm;
	last->bytes = sizeof(*m);
	return true;
}

/* n rows of x, and of y, from the first float to the last. */
static int64_t x_floats(const struct cuda_product_of *p, int64_t n) { return (n - 1) * p->x_step + p->w.cols; }
static int64_t y_floats(const struct cuda_product_of *p, int64_t n) { return (n - 1) * p->y_step + p->w.rows; }

/* Does x or y of p, n rows of it, meet y of q? */
static bool meets(const struct cuda_product_of *p, const struct cuda_product_of *q, int64_t n)
{
	int64_t end = y_floats(q, n);
	return !cuda_apart(p->x, x_floats(p, n), q->y, end) || !cuda_apart(p->y, y_floats(p, n), q->y, end);
}

static bool gemm_gemm(struct cuda_call *last, void *last_args, struct cuda_grid grid, const void *args)
{
	struct cuda_gemm_many *a = last_args;
	const struct cuda_gemm_many *b = args;
	if (a->n != b->n || a->count + b->count > CUDA_MANY || last->grid.y != grid.y)
		return false;
	for (int i = 0; i < a->count; i++)
		for (int k = 0; k < b->count; k++)
			if (meets(&b->of[k], &a->of[i], a->n))
				return false;
	for (int k = 0; k < b->count; k++) {
		a->of[a->count] = b->of[k];
		a->of[a->count++].block += (int)last->grid.x;
	}
	last->grid.x += grid.x;
	if (a->deep && last->grid.x * last->grid.y > CUDA_FEW_BLOCKS) {
		a->deep = false;
		last->grid.shared = CUDA_FEW_PLAIN;
	}
	return true;
}

static bool swiglu_route(struct cuda_call *last, void *last_args, struct cuda_grid grid, const void *args)
{
	struct cuda_swiglu first = *(const struct cuda_swiglu *)last_args;
	struct cuda_route *m = last_args;
	const struct cuda_route *r = args;
	int64_t used = (int64_t)r->n * r->n_used;
	const float *ids = (const float *)r->ids;
	if (!cuda_apart(first.y, first.n, r->logits, (int64_t)r->n * r->n_expert) || !cuda_apart(first.gate, first.n, ids, used) || !cuda_apart(first.up, first.n, ids, used) ||
		!cuda_apart(first.gate, first.n, r->weights, used) || !cuda_apart(first.up, first.n, r->weights, used))
		return false;
	*m = *r;
	m->also = first;
	last->kernel = CUDA_KERNEL_route;
	last->grid.x += grid.x;
	last->bytes = sizeof(*m);
	return true;
}

static bool down_gemm(struct cuda_call *last, void *last_args, struct cuda_grid grid, const void *args)
{
	struct cuda_moe_down_dot *m = last_args;
	const struct cuda_gemm_many *b = args;
	const struct cuda_product_of *p = &b->of[0];
	int64_t y = y_floats(p, b->n), sums = m->n * m->down.rows, pairs = m->n * m->n_used;
	if (!m->shares || b->count != 1 || b->n != m->n || p->exact || p->w.type != CUDA_BF16 || m->also.y ||
		!cuda_apart(p->x, x_floats(p, b->n), m->y, sums) || !cuda_apart(p->y, y, m->y, sums) ||
		!cuda_apart(p->y, y, (const float *)m->h, pairs * (m->down.cols / 64) * CUDA_FIXED_STEP / 4) || !cuda_apart(p->y, y, m->weights, pairs) || !cuda_apart(p->y, y, (const float *)m->ids, pairs))
		return false;
	m->also = *p;
	last->grid.x += grid.x;
	last->grid.shared = K_MAX(last->grid.shared, (unsigned)CUDA_FEW_PLAIN);
	return true;
}

static const struct { enum cuda_kernel_id first, second; merge_fn *merge; } rules[] = {
	{ CUDA_KERNEL_add, CUDA_KERNEL_add, add_add },
	{ CUDA_KERNEL_add, CUDA_KERNEL_rmsnorm, add_norm },
	{ CUDA_KERNEL_blend, CUDA_KERNEL_rmsnorm, blend_norm },
	{ CUDA_KERNEL_swiglu, CUDA_KERNEL_route, swiglu_route },
	{ CUDA_KERNEL_moe_down_dot, CUDA_KERNEL_gemm_many, down_gemm },
	{ CUDA_KERNEL_gemm_many, CUDA_KERNEL_gemm_many, gemm_gemm },
};

bool cuda_merge(struct cuda_call *last, void *last_args, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args)
{
	for (size_t i = 0; i < K_LEN(rules); i++)
		if (rules[i].first == last->kernel && rules[i].second == kernel)
			return rules[i].merge(last, last_args, grid, args);
	return false;
}
