/* cuda_blas.c: dense products of many rows by a library (cuBLAS), where whoever computes lets the number of rows show (ctx->any_order).
 *
 *   rows  [ 512 ][ 512 ][ 128 ][ rest ]      each piece one call of a shape that is always the same; the rest is our own kernels'
 *
 * A library chooses its kernel, and with it the order of sums, by the shape. So shapes are few, and fixed: what else is in the
 * piece changes no bit of a row; which piece it is in may. */
#include "libcore/base.h"
#include "kernels/cuda/cuda_impl.h"
#include "libcore/log.h"

static const int64_t pieces[] = { 512, 128 };

static bool has_library(struct cuda *c)
{
	struct cuda_why what;
	if (!c->said_product) {
		c->has_product = c->rt->has_product(c->on, &what);
		k_logf(c->dev.ctx->log, K_LOG_INFO, c->has_product ? "%s: products of many rows by %s" : "%s: products of many rows by our own kernels: %s",
			c->level, what.msg);
		c->said_product = true;
	}
	return c->has_product;
}

/* Weights as stored, and activations as they are or rounded to the same type: nothing is lost on the way to the library. */
static bool takes(const struct cuda *c, const struct k_op_gemm *op, const struct cuda_matrix *w)
{
	bool plain = op->exact || c->dev.ctx->act == K_ACT_F32;
	if (op->bias || (uintptr_t)w->data % 16)
		return false;
	if (w->type == CUDA_F32)
		return plain;
	return w->type == CUDA_BF16 && !plain && c->dev.ctx->act == K_ACT_BF16 && w->cols % 8 == 0;
}

int64_t cuda_by_library(struct cuda *c, const struct k_op_gemm *op, const struct cuda_matrix *w)
{
	struct cuda_product p = { .y = op->y, .x = op->x, .w = w->data, .rows = w->rows, .cols = w->cols, .y_step = op->y_step, .x_step = op->x_step,
		.bf16 = w->type == CUDA_BF16 };
	for (size_t i = 0; c->dev.ctx->any_order && i < K_LEN(pieces) && !p.n; i++)
		if (op->n >= pieces[i])
			p.n = pieces[i];
	if (!p.n || !takes(c, op, w) || !has_library(c))
		return 0;
	if (p.bf16) {
		int64_t bytes = p.n * w->cols * (int64_t)sizeof(uint16_t);
		if (bytes > c->n_scratch - c->taken)
			return 0;
		uint16_t *x = cuda_take(c, bytes);
		cuda_launch(c, narrow, p.n, 1, 1, .y = x, .x = op->x, .cols = w->cols, .x_step = op->x_step);
		p.x = x;
		p.x_step = w->cols;
	}
	cuda_step_flush(c);
	c->rt->product(c->on, &p);
	return p.n;
}
