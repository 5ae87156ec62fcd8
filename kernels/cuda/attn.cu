/* attn.cu: attention over pages, for GQA and for MLA in absorbed form (as kernels/cpu/cpu_attn.c pictures it).
 *
 *   append   new keys and values to their pages
 *   query    MLA: the query through K_h, its last part rotated
 *   attend   a tile of queries over one span of positions: running maximum, sum, weighted values
 *   merge    the spans of a query in order; MLA: through V_h
 *
 * Positions behind a query's own are never touched. */
#include "kernels/cuda/attn.h"

K_KERNEL(mla_append)
{
	K_SHARED(float, part, CUDA_WARPS);
	append_latent(&a, blockIdx.x, part);
}

K_KERNEL_EARLY(mla_query, 1)
{
	int64_t row = a.first + blockIdx.x, head = blockIdx.y, w = head * (a.dn + a.dv) * a.r;
	int i = k_seg_of(a.seg, a.n_seg, row);
	const float *q = a.q + (blockIdx.x * a.n_head + head) * (a.dn + a.dr);
	float *query = a.query + (blockIdx.x * a.n_head + head) * (a.r + a.dr);
	K_WAIT_BEFORE();
	if (i < 0)
		return;
	for (int c = threadIdx.x; c < a.r; c += CUDA_THREADS) {
		float sum = 0;
		for (int d = 0; d < a.dn; d++)
			sum = fmaf(q[d], k_kept(a.kv_b, a.bf16, w + (int64_t)d * a.r + c), sum);
		query[c] = sum;
	}
	for (int c = threadIdx.x; !a.rope.table && c < a.dr; c += CUDA_THREADS)
		query[a.r + c] = q[a.dn + c];
	for (int j = threadIdx.x; a.rope.table && j < a.dr / 2; j += CUDA_THREADS)
		k_turn(query + a.r, q + a.dn, &a.rope, a.seg[i].pos + row - a.seg[i].row, j);
}

K_KERNEL_EARLY(mla_turn, 1)
{
	int i = k_seg_of(a.seg, a.n_seg, a.first + blockIdx.x), half = a.dr / 2;
	float *q = a.q + (int64_t)blockIdx.x * a.n_head * (a.dn + a.dr) + a.dn;
	K_WAIT_BEFORE();
	for (int j = threadIdx.x; i >= 0 && j < a.n_head * half; j += CUDA_THREADS) {
		float *turned = q + j / half * (a.dn + a.dr);
		k_turn(turned, turned, &a.rope, a.seg[i].pos + a.first + blockIdx.x - a.seg[i].row, j % half);
	}
}

K_KERNEL_EARLY(gqa_append, 1)
{
	int i = k_seg_of(a.seg, a.n_seg, blockIdx.x), nk = a.n_kv * a.d, half = a.rope.dim / 2;
	const struct cuda_seg *s = a.seg + i;
	float *q = a.n_head ? a.q + (int64_t)blockIdx.x * a.n_head * a.d : NULL, *k = a.k + (int64_t)blockIdx.x * nk;
	int64_t pos;
	void *slot;
	K_WAIT_BEFORE();
	if (i < 0)
		return;
	pos = s->pos + blockIdx.x - s->row;
	slot = k_slot(s, pos, 2 * nk, a.bf16);
	for (int j = threadIdx.x; a.rope.table && j < a.n_head * half; j += CUDA_THREADS)
		k_turn(q + j / half * a.d, q + j / half * a.d, &a.rope, pos, j % half);
	for (int j = threadIdx.x; a.rope.table && j < a.n_kv * half; j += CUDA_THREADS)
		k_turn(k + j / half * a.d, k + j / half * a.d, &a.rope, pos, j % half);
	__syncthreads();
	for (int c = threadIdx.x; c < nk; c += CUDA_THREADS) {
		k_keep(slot, a.bf16, c, k[c]);
		k_keep(slot, a.bf16, nk + c, a.v[(int64_t)blockIdx.x * nk + c]);
	}
}

/* --- attend --------------------------------------------------------------------------------------------------------------- */

/* Channels of a value that a thread has. */
enum { COLUMNS = CUDA_DV / CUDA_THREADS };

/* score[i * CUDA_PAGE + p] = q[i] . key[p], whose channels begin at value `at` of the page: a warp a position. */
K_DEV void scores(const struct cuda_attend *a, float *score, const float *q, const void *page, bool bf16, int64_t at, int rows)
{
	for (int p = k_warp(); p < rows; p += CUDA_WARPS) {
		float sum[CUDA_QUERIES] = { 0 };
		for (int c = k_lane(); c < a->dk; c += K_WARP) {
			float key = k_kept(page, bf16, at + (int64_t)p * a->width + c);
			for (int i = 0; i < CUDA_QUERIES; i++)
				sum[i] = fmaf(q[i * a->dk + c], key, sum[i]);
		}
		for (int i = 0; i < CUDA_QUERIES; i++) {
			float s = k_warp_sum(sum[i]);
			if (k_lane() == 0)
				score[i * CUDA_PAGE + p] = s * a->scale;
		}
	}
}

/* Scores of query i (a warp's) become weights; *top and *sum go on; returns what was gathered before is scaled by. */
K_DEV float weigh(float *score, int seen, float *top, float *sum)
{
	float m = *top, f, s = 0;
	for (int p = k_lane(); p < seen; p += K_WARP)
		m = fmaxf(m, score[p]);
	m = k_warp_max(m);
	f = *sum > 0 ? expf(*top - m) : 0;
	for (int p = k_lane(); p < seen; p += K_WARP) {
		float e = expf(score[p] - m);
		score[p] = e;
		s += e;
	}
	*sum = fmaf(*sum, f, k_warp_sum(s));
	*top = m;
	return f;
}

/* acc of query i: the first `seen` values, which begin at value `at` of the page, by their weights. */
K_DEV void mix(const struct cuda_attend *a, float (*acc)[CUDA_QUERIES], int i, const float *weight, float factor, const void *page, bool bf16, int64_t at, int seen)
{
	for (int m = 0; m < COLUMNS; m++) {
		int c = (int)threadIdx.x + m * CUDA_THREADS;
		if (!seen || c >= a->dv)
			continue;
		acc[m][i] *= factor;
		for (int p = 0; p < seen; p++)
			acc[m][i] = fmaf(weight[p], k_kept(page, bf16, at + (int64_t)p * a->width + c), acc[m][i]);
	}
}

K_KERNEL_EARLY(attend, 1)
{
	K_SHARED(float, q, CUDA_QUERIES * CUDA_DK);
	K_SHARED(float, score, CUDA_QUERIES * CUDA_PAGE);
	K_SHARED(float, factor, CUDA_QUERIES);
	struct tile t = tile_of(&a, blockIdx.x, CUDA_QUERIES);
	const struct cuda_seg *s = a.seg + t.seg;
	int64_t from, to, key = (int64_t)blockIdx.y * a.dk, value = a.value + (int64_t)blockIdx.y * a.dv;
	float acc[COLUMNS][CUDA_QUERIES] = { { 0 } }, top = -INFINITY, sum = 0;
	K_WAIT_BEFORE();
	if (!tile_span(&a, &t, CUDA_SPAN, &from, &to))
		return;
	for (int c = threadIdx.x; c < CUDA_QUERIES * a.dk; c += CUDA_THREADS)
		q[c] = c / a.dk < t.n ? a.query[tile_at(&a, &t, c / a.dk) * a.dk + c % a.dk] : 0;
	__syncthreads();
	for (int64_t base = from; base < to; base += CUDA_PAGE) {
		const void *page = s->pages[base / CUDA_PAGE];
		int rows = (int)(to - base < CUDA_PAGE ? to - base : CUDA_PAGE);
		/* Twice, so that the loops inside know which. */
		if (a.bf16)
			scores(&a, score, q, page, true, key, rows);
		else
			scores(&a, score, q, page, false, key, rows);
		__syncthreads();
		if (k_warp() < t.n) {
			float f = weigh(score + k_warp() * CUDA_PAGE, tile_sees(&a, &t, k_warp(), base), &top, &sum);
			if (k_lane() == 0)
				factor[k_warp()] = f;
		}
		__syncthreads();
		for (int i = 0; i < CUDA_QUERIES; i++) {
			int seen = i < t.n ? tile_sees(&a, &t, i, base) : 0;
			float f = seen ? factor[i] : 0;
			if (a.bf16)
				mix(&a, acc, i, score + i * CUDA_PAGE, f, page, true, value, seen);
			else
				mix(&a, acc, i, score + i * CUDA_PAGE, f, page, false, value, seen);
		}
		__syncthreads();
	}
	K_UNROLL for (int i = 0; i < CUDA_QUERIES; i++) {
		if (i >= t.n)
			break;
		float *part = a.parts + (tile_at(&a, &t, i) * a.n_span + blockIdx.z) * (a.dv + 2);
		if (k_warp() == i && k_lane() == 0) {
			part[0] = top;
			part[1] = sum;
		}
		for (int m = 0; m < COLUMNS; m++)
			if ((int)threadIdx.x + m * CUDA_THREADS < a.dv)
				part[2 + (int)threadIdx.x + m * CUDA_THREADS] = acc[m][i];
	}
}

/* --- merge ---------------------------------------------------------------------------------------------------------------- */

K_KERNEL_EARLY(merge, 1)
{
	K_SHARED(float, o, CUDA_DV);
	int64_t row = a.first + blockIdx.x, head = blockIdx.y, at = blockIdx.x * a.n_head + head, limit;
	int s = k_seg_of(a.seg, a.n_seg, row), step = a.r + 2, n, wide = a.v ? a.dv : a.r;
	const float *part = a.parts + at * a.n_span * step;
	float *y = a.y + at * wide, top = -INFINITY, sum = 0;
	K_WAIT_BEFORE();
	if (s < 0)
		return;
	limit = a.seg[s].pos + row - a.seg[s].row + 1;
	n = (int)((limit - 1) / a.span + 1);
	for (int i = 0; i < n; i++)
		top = fmaxf(top, part[i * step]);
	for (int i = 0; i < n; i++)
		sum = fmaf(part[i * step + 1], expf(part[i * step] - top), sum);
	for (int c = threadIdx.x; c < a.r; c += CUDA_THREADS) {
		float v = 0;
		for (int i = 0; i < n; i++)
			v = fmaf(part[i * step + 2 + c], expf(part[i * step] - top), v);
		if (a.v)
			o[c] = v / sum;
		else
			y[c] = v / sum;
	}
	if (!a.v)
		return;
	__syncthreads();
	for (int j = k_warp(); j < a.dv; j += CUDA_WARPS) {
		int64_t w = head * a.v_step + (int64_t)j * a.r;
		float v = 0;
		for (int c = k_lane(); c < a.r; c += K_WARP)
			v = fmaf(k_kept(a.v, a.bf16, w + c), o[c], v);
		v = k_warp_sum(v);
		if (k_lane() == 0)
			y[j] = v;
	}
}
