/* kda.cu: Kimi delta attention, all of a layer behind its projections:
 *
 *   raw q k v -- conv + silu, a thread a channel --> q, k normed, v, decay alpha
 *   state [dv][dk]: a warp a row, a lane every 32nd column: decay, correct by beta (v - S k), read by q --> o
 *   o -- norm * sigmoid(z) --> y
 *
 * One token a segment (decoding): kda does it all, a block a head of a segment, and reads and writes the state once. A prompt: kda_prepare and
 * kda_finish do what is each token's own, a block a (token, head); in between kda_walk has each row of a state in the registers of a warp from the first
 * token to the last. The steps are the same functions, so both give the same bits. */
#include "kernels/cuda/kda.h"

K_DEV float conv_silu(const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel, int64_t t)
{
	float sum = 0;
	for (int j = 0; j < a->taps; j++)
		sum = fmaf(a->conv_w[i][(int64_t)j * a->n_head * a->dim + channel], raw_at(a, s, i, channel, t - (a->taps - 1) + j), sum);
	return k_silu(sum);
}

/* A row of a state: lane l has columns l, l + 32, ... */
enum { COLUMNS = CUDA_KDA_DIM / K_WARP };

K_DEV void load_row(float *s, const float *row, int d)
{
	for (int m = 0; m < COLUMNS; m++)
		s[m] = k_lane() + m * K_WARP < d ? row[k_lane() + m * K_WARP] : 0;
}

K_DEV void store_row(float *row, const float *s, int d)
{
	for (int m = 0; m < COLUMNS; m++)
		if (k_lane() + m * K_WARP < d)
			row[k_lane() + m * K_WARP] = s[m];
}

/* One token: the row goes on, and its o is returned. */
K_DEV float step_row(float *s, const float *q, const float *k, const float *alpha, float v, float beta, int d)
{
	float seen = 0, out = 0, e;
	for (int m = 0; m < COLUMNS; m++) {
		int i = k_lane() + m * K_WARP;
		if (i < d) {
			s[m] *= alpha[i];
			seen = fmaf(s[m], k[i], seen);
		}
	}
	e = beta * (v - k_warp_sum(seen));
	for (int m = 0; m < COLUMNS; m++) {
		int i = k_lane() + m * K_WARP;
		if (i < d) {
			s[m] = fmaf(e, k[i], s[m]);
			out = fmaf(s[m], q[i], out);
		}
	}
	return k_warp_sum(out);
}

/* Channel c of q, k, v and alpha of a token, by all threads of a block. */
struct token { float q, k, v, alpha; };

K_DEV struct token prepare(const struct cuda_kda *a, const struct cuda_seg *s, int64_t head, int64_t t, float *part)
{
	int c = (int)threadIdx.x, d = a->dim;
	int64_t channel = head * d + c;
	struct token x = { 0, 0, 0, 0 };
	if (c < d) {
		x.q = conv_silu(a, s, 0, channel, t);
		x.k = conv_silu(a, s, 1, channel, t);
		x.v = conv_silu(a, s, 2, channel, t);
		x.alpha = gate(a, head, channel, s->row + t);
	}
	x.q /= sqrtf(k_block_sum(x.q * x.q, part) + 1e-6f) * sqrtf((float)d);
	x.k /= sqrtf(k_block_sum(x.k * x.k, part) + 1e-6f);
	return x;
}

/* Channel c of y from channel c of o, by all threads of a block. */
K_DEV void finish(const struct cuda_kda *a, int64_t row, int64_t head, float o, float *part)
{
	int c = (int)threadIdx.x;
	int64_t at = (row * a->n_head + head) * a->dim + c;
	float norm = sqrtf(k_block_sum(o * o, part) / (float)a->dim + a->eps);
	if (c < a->dim)
		a->y[at] = a->o_norm[c] * (o / norm) * k_sigmoid(a->z[at]);
}

K_KERNEL(kda)
{
	K_SHARED(float, q, CUDA_KDA_DIM);
	K_SHARED(float, k, CUDA_KDA_DIM);
	K_SHARED(float, v, CUDA_KDA_DIM);
	K_SHARED(float, alpha, CUDA_KDA_DIM);
	K_SHARED(float, o, CUDA_KDA_DIM);
	K_SHARED(float, part, CUDA_WARPS);
	const struct cuda_seg *s = a.seg + blockIdx.y;
	int c = (int)threadIdx.x, d = a.dim;
	int64_t head = blockIdx.x;
	struct token x = prepare(&a, s, head, 0, part);
	if (c < d) {
		q[c] = x.q;
		k[c] = x.k;
		v[c] = x.v;
		alpha[c] = x.alpha;
	}
	__syncthreads();
	for (int j = k_warp(); j < d; j += CUDA_WARPS) {
		float *row = s->state + (head * d + j) * d, r[COLUMNS], out;
		load_row(r, row, d);
		out = step_row(r, q, k, alpha, v[j], k_sigmoid(a.beta[s->row * a.n_head + head]), d);
		store_row(row, r, d);
		if (k_lane() == 0)
			o[j] = out;
	}
	__syncthreads();
	finish(&a, s->row, head, c < d ? o[c] : 0, part);
	if (c < d)
		leave_tail(&a, s, head * d + c);
}

/* Row i of those in this round that no chunk has, its segment; NULL behind the last. */
K_DEV const struct cuda_seg *single_of(const struct cuda_kda_prompt *p, int64_t i, int64_t *row)
{
	for (int k = 0; k < p->n_seg; k++) {
		struct stretch x = stretch_of(p, p->op.seg + k);
		int64_t before = x.begin - x.from, behind = x.to - x.end;
		if (x.from < x.to && i < before + behind) {
			*row = i < before ? x.from + i : x.end + i - before;
			return p->op.seg + k;
		}
		i -= x.from < x.to ? before + behind : 0;
	}
	return NULL;
}

/* ready: q, k, v, alpha and o, d floats each. */
K_KERNEL(kda_prepare)
{
	K_SHARED(float, part, CUDA_WARPS);
	const struct cuda_kda_prompt *p = &a.prompt;
	int64_t row = 0, head = blockIdx.y;
	const struct cuda_seg *s = single_of(p, blockIdx.x, &row);
	int c = (int)threadIdx.x, d = p->op.dim;
	float *ready;
	struct token x;
	if (!s)
		return;
	x = prepare(&p->op, s, head, row - s->row, part);
	ready = ready_at(p, row, head);
	if (c < d) {
		ready[c] = x.q;
		ready[d + c] = x.k;
		ready[2 * d + c] = x.v;
		ready[3 * d + c] = x.alpha;
	}
}

K_KERNEL(kda_walk)
{
	const struct cuda_kda_prompt *p = &a.prompt;
	const struct cuda_seg *s = p->op.seg + blockIdx.z;
	int d = p->op.dim, j = (int)blockIdx.y * CUDA_WARPS + k_warp();
	struct stretch x = stretch_of(p, s);
	int64_t head = blockIdx.x, from = p->behind ? x.end : x.from, to = p->behind ? x.to : x.begin;
	float *row = s->state + (head * d + j) * d, r[COLUMNS];
	if (j >= d || from >= to)
		return;
	load_row(r, row, d);
	for (int64_t t = from; t < to; t++) {
		float *ready = ready_at(p, t, head);
		float out = step_row(r, ready, ready + d, ready + 3 * d, ready[2 * d + j], k_sigmoid(p->op.beta[t * p->op.n_head + head]), d);
		if (k_lane() == 0)
			ready[4 * d + j] = out;
	}
	store_row(row, r, d);
}

/* The tail changes when the segment's last token is done; nobody reads it any more then. */
K_KERNEL(kda_finish)
{
	K_SHARED(float, part, CUDA_WARPS);
	const struct cuda_kda_prompt *p = &a.prompt;
	int64_t row = 0, head = blockIdx.y;
	const struct cuda_seg *s = single_of(p, blockIdx.x, &row);
	int c = (int)threadIdx.x, d = p->op.dim;
	if (!s)
		return;
	finish(&p->op, row, head, c < d ? ready_at(p, row, head)[4 * d + c] : 0, part);
	if (c < d && row == s->row + s->n - 1)
		leave_tail(&p->op, s, head * d + c);
}
