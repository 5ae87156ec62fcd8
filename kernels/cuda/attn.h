/* attn.h: the queries of an operation on pages, cut into tiles of one segment. */
#ifndef KERNELS_CUDA_ATTN_H
#define KERNELS_CUDA_ATTN_H

#include "kernels/cuda/cuda_dev.h"

/* Up to `size` queries: which segment, from which on (counted (row, head of the group) from the segment's first row of this round), how many. */
struct tile { int seg, n, group, first; int64_t row; };

K_DEV struct tile tile_of(const struct cuda_attend *a, int64_t i, int size)
{
	struct tile t = { -1, 0, a->n_head / a->n_kv, 0, 0 };
	int each = (t.group + size - 1) / size;
	int64_t single = a->first + (unsigned)i / (unsigned)each;
	/* Where all before it have one row each, as in a decode step, it is found at once. */
	if (single < a->n_seg && single < a->last && a->seg[single].row == single && a->seg[single].n == 1) {
		t.seg = (int)single;
		t.row = single;
		t.first = (int)((unsigned)i % (unsigned)each) * size;
		t.n = t.group - t.first < size ? t.group - t.first : size;
		return t;
	}
	for (int s = 0; s < a->n_seg; s++) {
		int64_t from = a->seg[s].row > a->first ? a->seg[s].row : a->first, to = a->seg[s].row + a->seg[s].n, tiles, all;
		to = to < a->last ? to : a->last;
		all = to > from ? (to - from) * t.group : 0;
		tiles = (all + size - 1) / size;
		if (i < tiles) {
			t.seg = s;
			t.row = from;
			t.first = (int)i * size;
			t.n = (int)(all - t.first < size ? all - t.first : size);
			return t;
		}
		i -= tiles;
	}
	return t;
}

/* Rows times heads of a round are fewer than 2^31: a division of 64 bits is a hundred instructions. */
K_DEV int64_t tile_row(const struct tile *t, int i) { return t->row + (unsigned)(t->first + i) / (unsigned)t->group; }
/* Where query i is in query and parts: row * heads + head. */
K_DEV int64_t tile_at(const struct cuda_attend *a, const struct tile *t, int i)
{
	return (tile_row(t, i) - a->first) * a->n_head + (int64_t)blockIdx.y * t->group + (unsigned)(t->first + i) % (unsigned)t->group;
}
/* The positions [*from, *to) of this block's span that the tile sees; false: none. */
K_DEV bool tile_span(const struct cuda_attend *a, const struct tile *t, int64_t span, int64_t *from, int64_t *to)
{
	*from = *to = (int64_t)blockIdx.z * span;
	if (t->n == 0)
		return false;
	*to = a->seg[t->seg].pos + tile_row(t, t->n - 1) - a->seg[t->seg].row + 1;
	*to = *to < *from + span ? *to : *from + span;
	return *from < *to;
}
/* Values of a position of pages of BF16. */
K_DEV const uint16_t *page_at(const struct cuda_seg *s, int64_t pos, int width) { return (const uint16_t *)k_slot(s, pos, width, true); }
/* How many spans a row sees. */
K_DEV int spans_of(const struct cuda_merge *a, int64_t row)
{
	int s = k_seg_of(a->seg, a->n_seg, row);
	return s < 0 ? 0 : (int)((a->seg[s].pos + row - a->seg[s].row) / a->span + 1);
}
/* Positions of the page at `base` that query i sees. */
K_DEV int tile_sees(const struct cuda_attend *a, const struct tile *t, int i, int64_t base)
{
	int64_t n = a->seg[t->seg].pos + tile_row(t, i) - a->seg[t->seg].row + 1 - base;
	return (int)(n < 0 ? 0 : n < CUDA_PAGE ? n : CUDA_PAGE);
}

/* A row of latents normed, its key part rotated, both to their page. part: CUDA_WARPS floats of shared memory. What does not depend on another is asked for first. */
K_DEV void append_latent(const struct cuda_mla_append *a, int64_t row, float *part)
{
	enum { EACH = CUDA_DV / CUDA_THREADS };
	const float *kv = a->kv + row * (a->r + a->rope.dim);
	float x[EACH], w[EACH], sum = 0, scale;
	int i = k_seg_of(a->seg, a->n_seg, row), dr = a->rope.dim;
	int64_t pos;
	void *slot;
	K_UNROLL for (int k = 0; k < EACH; k++)
		w[k] = (int)threadIdx.x + k * CUDA_THREADS < a->r ? a->kv_norm[(int)threadIdx.x + k * CUDA_THREADS] : 0;
	K_WAIT_BEFORE();
	K_UNROLL for (int k = 0; k < EACH; k++) {
		x[k] = (int)threadIdx.x + k * CUDA_THREADS < a->r ? kv[(int)threadIdx.x + k * CUDA_THREADS] : 0;
		sum = fmaf(x[k], x[k], sum);
	}
	if (i < 0)
		return;
	pos = a->seg[i].pos + row - a->seg[i].row;
	slot = k_slot(a->seg + i, pos, a->r + dr, a->bf16);
	scale = 1 / sqrtf(k_block_sum_once(sum, part) / (float)a->r + a->eps);
	K_UNROLL for (int k = 0; k < EACH; k++)
		if ((int)threadIdx.x + k * CUDA_THREADS < a->r)
			k_keep(slot, a->bf16, (int)threadIdx.x + k * CUDA_THREADS, w[k] * (x[k] * scale));
	for (int c = threadIdx.x; !a->rope.table && c < dr; c += CUDA_THREADS)
		k_keep(slot, a->bf16, a->r + c, kv[a->r + c]);
	for (int j = threadIdx.x; a->rope.table && j < dr / 2; j += CUDA_THREADS)
		k_turn_to(slot, a->bf16, a->r, kv + a->r, &a->rope, pos, j);
}

#endif
