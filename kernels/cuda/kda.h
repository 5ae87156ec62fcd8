/* kda.h: what the kernels of delta attention share: raw projections, convolution, gate, and which rows of a round go by chunk. */
#ifndef KERNELS_CUDA_KDA_H
#define KERNELS_CUDA_KDA_H

#include "kernels/cuda/cuda_dev.h"

/* Channel c of raw projection i, `back` tokens before token t of the segment; what lies before the segment is in the tail. */
K_DEV float raw_at(const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel, int64_t t)
{
	int64_t P = (int64_t)a->n_head * a->dim, keep = a->taps - 1;
	return t < 0 ? s->conv[(i * keep + keep + t) * P + channel] : a->raw[i][(s->row + t) * P + channel];
}

K_DEV float softplus(float x) { return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)); }

K_DEV float gate(const struct cuda_kda *a, int64_t head, int64_t channel, int64_t row)
{
	float x = a->a[row * a->n_head * a->dim + channel] + a->dt_bias[channel], rate = expf(a->a_log[head]);
	return expf(a->bound != 0 ? a->bound * k_sigmoid(rate * x) : -rate * softplus(x));
}

/* The last taps - 1 raw projections of one of the three stay behind; ascending, so that what is read was not written yet. */
K_DEV void leave_tail_of(const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel)
{
	int64_t P = (int64_t)a->n_head * a->dim, keep = a->taps - 1;
	for (int64_t j = 0; j < keep; j++)
		s->conv[(i * keep + j) * P + channel] = raw_at(a, s, i, channel, s->n - keep + j);
}

K_DEV void leave_tail(const struct cuda_kda *a, const struct cuda_seg *s, int64_t channel)
{
	for (int i = 0; i < 3; i++)
		leave_tail_of(a, s, i, channel);
}

/* Rows [from, to) of a segment in this round; [begin, end) of them are whole chunks. */
struct stretch { int64_t from, begin, end, to; };

K_DEV struct stretch stretch_of(const struct cuda_kda_prompt *p, const struct cuda_seg *s)
{
	int64_t from = s->row > p->first ? s->row : p->first, to = s->row + s->n < p->last ? s->row + s->n : p->last, begin;
	struct stretch x = { from, to, to, to };
	if (!p->chunks || from >= to)
		return x;
	begin = from + (CUDA_CHUNK - (s->pos + from - s->row) % CUDA_CHUNK) % CUDA_CHUNK;
	if (begin + CUDA_CHUNK > to)
		return x;
	x.begin = begin;
	x.end = begin + (to - begin) / CUDA_CHUNK * CUDA_CHUNK;
	return x;
}

/* Where row i of those that go one by one has room for a head, 5 dim floats. */
K_DEV float *ready_at(const struct cuda_kda_prompt *p, int64_t i, int64_t head) { return p->ready + (i * p->op.n_head + head) * 5 * p->op.dim; }

#endif
