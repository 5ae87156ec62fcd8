/* tile.cu: products with many vectors (tile.h): dense ones, and of experts in tiles of CUDA_TILE pairs, a block each; what sorts pairs by expert, and adds up
 * what experts gave. */
#include "kernels/cuda/tile.h"

WG_KERNEL_EARLY(gemm_tile, 2)
{
	K_SHARED_MORE(shared);
	int64_t first = (int64_t)blockIdx.y * CUDA_TILE;
	int n = (int)(a.n - first < CUDA_TILE ? a.n - first : CUDA_TILE);
	float sum[TILES][4] = { { 0 } };
	struct rows m;
	gemm_begin(&m, &a, first, n, shared, CUDA_TILE);
	tile_product_of(sum, &m, shared, n, CUDA_TILE);
	gemm_store(&a, &m, sum, first, n, CUDA_TILE);
}

/* A block a row: x in bf16, as tiles want it. */
K_DEV void order_row(uint16_t *y, const float *x, int64_t cols)
{
	bool wide = (uintptr_t)x % 16 == 0;
	for (int64_t k = 4 * threadIdx.x; k < cols; k += 4 * CUDA_THREADS) {
		uint32_t *to = (uint32_t *)(y + tile_place(k));
		struct k_u4 v;
		if (wide)
			v = k_load16(x + k);
		else
			K_UNROLL for (int i = 0; i < 4; i++)
				v.w[i] = k_f_bits(x[k + i]);
		to[0] = pack_round(k_bits_f(v.w[0]), k_bits_f(v.w[1]));
		to[4] = pack_round(k_bits_f(v.w[2]), k_bits_f(v.w[3]));
	}
}

K_KERNEL(tile_order) { order_row(a.y + blockIdx.x * a.cols, a.x + blockIdx.x * a.x_step, a.cols); }

/* --- experts -------------------------------------------------------------------------------------------------------------- */

/* Ids of four pairs from p on; behind the last there is no expert. */
K_DEV struct k_u4 ids_at(const struct cuda_moe_sort *a, int p, int to)
{
	struct k_u4 v;
	if (p + 4 <= to && (uintptr_t)a->ids % 16 == 0)
		return k_load16(a->ids + p);
	K_UNROLL for (int i = 0; i < 4; i++)
		v.w[i] = p + i < to ? (uint32_t)a->ids[p + i] : (uint32_t)CUDA_EXPERTS;
	return v;
}

/* A block an expert: its pairs, in order, behind those of the experts before it, and its tiles. A thread has a run of all pairs. Where tiles are listed: expert e
 * whose pairs begin at p has the places from p / size + e on, or from p on; which nobody else has, and are enough. The blocks behind the experts' bring
 * a row each of x into the order of tiles. */
K_KERNEL(moe_sort)
{
	K_SHARED(int32_t, mine, CUDA_WARPS);
	K_SHARED(int32_t, lower, CUDA_WARPS);
	int e = (int)blockIdx.x, run = (a.n_pair + 4 * CUDA_THREADS - 1) / (4 * CUDA_THREADS) * 4, from = (int)threadIdx.x * run, n = 0, less = 0, at;
	int to = from + run < a.n_pair ? from + run : a.n_pair, first = 0, all = 0, before, place, end;
	if (e >= a.n_expert) {
		int64_t row = e - a.n_expert;
		order_row(a.y + row * a.cols, a.x + row * a.cols, a.cols);
		return;
	}
	for (int p = from; p < to; p += 4) {
		struct k_u4 v = ids_at(&a, p, to);
		K_UNROLL for (int i = 0; i < 4; i++) {
			n += (int)v.w[i] == e;
			less += (int)v.w[i] < e;
		}
	}
	before = warp_before(n, &n);
	warp_before(less, &less);
	if (k_lane() == 0) {
		mine[k_warp()] = n;
		lower[k_warp()] = less;
	}
	__syncthreads();
	for (int i = 0; i < CUDA_WARPS; i++) {
		first += lower[i];
		all += mine[i];
		before += i < k_warp() ? mine[i] : 0;
	}
	at = first + before;
	for (int p = from; p < to; p += 4) {
		struct k_u4 v = ids_at(&a, p, to);
		K_UNROLL for (int i = 0; i < 4; i++)
			if ((int)v.w[i] == e)
				a.order[at++] = p + i;
	}
	place = a.sparse ? first : first / a.size + e;
	end = a.sparse ? first + all : (first + all) / a.size + e + 1;
	for (int i = (int)threadIdx.x; place + i < end; i += CUDA_THREADS) {
		int left = all - i * a.size;
		struct cuda_tile *t = a.tile + place + i;
		t->expert = e;
		t->first = first + i * a.size;
		t->n = left < 0 ? 0 : left < a.size ? left : a.size;
	}
}

WG_KERNEL(moe_up_tile, 2)
{
	K_SHARED_MORE(shared);
	const struct cuda_tile tile = a.tile[blockIdx.y];
	int32_t *pair = (int32_t *)(shared + CUDA_TILE_ROOM);
	struct pairs pairs;
	float sum[TILES][4] = { { 0 } };
	struct rows m;
	if (tile.n == 0)
		return;
	tile_pairs(&pairs, &tile, a.order, CUDA_TILE);
	pairs_leave(&pairs, pair, CUDA_TILE);
	up_begin(&m, blockIdx.x, &a, &tile, &pairs, shared, CUDA_TILE);
	tile_product_of(sum, &m, shared, tile.n, CUDA_TILE);
	__syncthreads();
	sums_leave(shared, sum, a.gate.type, tile.n);
	up_store(blockIdx.x, &a, tile.n, shared, pair);
}

WG_KERNEL_EARLY(moe_down_tile, 2)
{
	K_SHARED_MORE(shared);
	/* What moe_sort wrote, two launches ago, is there. */
	const struct cuda_tile tile = a.tile[blockIdx.y];
	int32_t *pair = (int32_t *)(shared + CUDA_TILE_ROOM);
	struct pairs pairs;
	float sum[TILES][4] = { { 0 } };
	struct rows m;
	if (tile.n == 0) {
		K_WAIT_BEFORE();
		return;
	}
	tile_pairs(&pairs, &tile, a.order, CUDA_TILE);
	pairs_leave(&pairs, pair, CUDA_TILE);
	down_begin(&m, blockIdx.x, &a, &tile, &pairs, shared, CUDA_TILE);
	tile_product_of(sum, &m, shared, tile.n, CUDA_TILE);
	__syncthreads();
	sums_leave(shared, sum, a.down.type, tile.n);
	down_store(blockIdx.x, &a, tile.n, shared, pair);
}

/* Slots of a token in ascending order of expert; four columns a thread, where they lie at multiples of 16 bytes, eight slots under way. */
K_KERNEL(moe_sum)
{
	enum { AHEAD = 8 };
	int64_t k = 4 * ((int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x), pair = (int64_t)blockIdx.y * a.n_used, n = a.dim - k < 4 ? a.dim - k : 4;
	float y[4] = { 0 };
	if (k >= a.dim)
		return;
	for (int first = 0; first < a.n_used; first += AHEAD) {
		struct k_u4 v[AHEAD] = { { { 0 } } };
		K_UNROLL for (int s = 0; s < AHEAD; s++) {
			const float *out = a.out + (pair + first + s) * a.dim + k;
			if (first + s < a.n_used && a.wide)
				v[s] = k_load16(out);
			else if (first + s < a.n_used)
				K_UNROLL for (int i = 0; i < 4; i++)
					v[s].w[i] = i < n ? k_f_bits(out[i]) : 0;
		}
		K_UNROLL for (int s = 0; s < AHEAD; s++)
			if (first + s < a.n_used)
				K_UNROLL for (int i = 0; i < 4; i++)
					y[i] = fmaf(a.weights[pair + first + s], k_bits_f(v[s].w[i]), y[i]);
	}
	K_UNROLL for (int i = 0; i < 4; i++)
		if (i < n)
			a.y[blockIdx.y * a.dim + k + i] = y[i];
}
