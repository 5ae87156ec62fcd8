/* attn.h: the queries of an operation on pages, cut into tiles of one segment. */
#ifndef KERNELS_CUDA_ATTN_H
#define KERNELS_CUDA_ATTN_H

#include "kernels/cuda/cuda_dev.h"

/* Up to `size` queries: which segment, from which on (counted (row, head of the group) from the segment's first row of this round), how many. */
struct tile { int seg, n, group; int64_t row, first; };

K_DEV struct tile tile_of(const struct cuda_attend *a, int64_t i, int size)
{
	struct tile t = { -1, 0, a->n_head / a->n_kv, 0, 0 };
	for (int s = 0; s < a->n_seg; s++) {
		int64_t from = a->seg[s].row > a->first ? a->seg[s].row : a->first, to = a->seg[s].row + a->seg[s].n, tiles, all;
		to = to < a->last ? to : a->last;
		all = to > from ? (to - from) * t.group : 0;
		tiles = (all + size - 1) / size;
		if (i < tiles) {
			t.seg = s;
			t.row = from;
			t.first = i * size;
			t.n = (int)(all - t.first < size ? all - t.first : size);
			return t;
		}
		i -= tiles;
	}
	return t;
}

K_DEV int64_t tile_row(const struct tile *t, int i) { return t->row + (t->first + i) / t->group; }
/* Where query i is in query and parts: row * heads + head. */
K_DEV int64_t tile_at(const struct cuda_attend *a, const struct tile *t, int i)
{
	return (tile_row(t, i) - a->first) * a->n_head + (int64_t)blockIdx.y * t->group + (t->first + i) % t->group;
}
/* The positions [*from, *to) of this block's span that the tile sees; false: none. */
K_DEV bool tile_span(const struct cuda_attend *a, const struct tile *t, int64_t *from, int64_t *to)
{
	*from = *to = (int64_t)blockIdx.z * CUDA_SPAN;
	if (t->n == 0)
		return false;
	*to = a->seg[t->seg].pos + tile_row(t, t->n - 1) - a->seg[t->seg].row + 1;
	*to = *to < *from + CUDA_SPAN ? *to : *from + CUDA_SPAN;
	return *from < *to;
}
/* Positions of the page at `base` that query i sees. */
K_DEV int tile_sees(const struct cuda_attend *a, const struct tile *t, int i, int64_t base)
{
	int64_t n = a->seg[t->seg].pos + tile_row(t, i) - a->seg[t->seg].row + 1 - base;
	return (int)(n < 0 ? 0 : n < CUDA_PAGE ? n : CUDA_PAGE);
}

#endif
