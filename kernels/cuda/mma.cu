/* mma.cu: products of activations in bf16 on tensor cores: i4g32 in layout x16, and bf16 itself, with dense weights and with experts.
 *
 *   mma.sync m16n8k16:   16 rows of w  x  16 columns   times   16 columns x 8 vectors        f32 sums
 *
 * 32 columns are two of them. Which 16 go first does not matter as long as both sides agree, so a lane takes 8 columns that lie together: lane l has columns
 * 8 (l % 4) .. + 7 of rows l / 4 and l / 4 + 8, and of vector l / 4. That is a word of x16 a row, or 16 bytes of bf16. Codes are -8 .. 7, exact in
 * bf16; the scale comes after, on the sums of its 32 columns.
 *
 * A block has 16 rows and MMA_VECTORS vectors. Its warps take every eighth run of 32 columns; what they have is added in order. One vector or many:
 * the same sums.
 *
 * Experts: pairs (token, slot) are sorted by expert, and a block takes vectors of one expert (a tile). */
#include "kernels/cuda/mma.h"

enum { MMA_TILES = CUDA_MMA_VECTORS / 8 };

/* Codes 2 j and 2 j + 1 of a word of x16. */
K_DEV uint32_t codes(uint32_t word, int j)
{
	uint32_t u = (word >> 4 * j & 0x000f000f) | 0x43004300;         /* 128 + code */
	return pack(k_f_bits(k_bits_f(u << 16) - 136), k_f_bits(k_bits_f(u & 0xffff0000) - 136));
}

/* 32 columns of rows `row` and row + 8: in[row][pair of columns]; the scales of both. */
struct strip { uint32_t in[2][4]; float scale[2]; };

K_DEV struct strip strip_of(const struct cuda_matrix *w, const uint8_t *slice, int64_t g, int64_t run)
{
	int row = k_lane() / 4, quad = k_lane() % 4;
	struct strip s;
	for (int i = 0; i < 2; i++) {
		s.scale[i] = 1;
		if (w->type == CUDA_I4_X16) {
			const uint8_t *record = slice + (g * (w->cols / 64) + run / 2) * K_RECORD + 4 * (row + 8 * i);
			uint32_t word = *(const uint32_t *)(record + 64 + 64 * (run % 2 * 4 + quad));
			s.scale[i] = k_bf16(*(const uint16_t *)(record + run % 2 * 2));
			for (int j = 0; j < 4; j++)
				s.in[i][j] = codes(word, j);
		} else {
			int64_t r = 16 * g + row + 8 * i;
			struct k_u4 v = { { 0, 0, 0, 0 } };
			if (r < w->rows)
				v = k_load16((const uint16_t *)slice + r * w->cols + 32 * run + 8 * quad);
			for (int j = 0; j < 4; j++)
				s.in[i][j] = v.w[j];
		}
	}
	return s;
}

/* part[(warp * CUDA_MMA_VECTORS + vector) * 16 + row] of granule g. x[t]: the vector 8 t + lane / 4 of this lane, NULL where there is none; tiles of
 * 8 vectors that are there. */
K_DEV void mma_parts(float *part, const struct cuda_matrix *w, const uint8_t *slice, int64_t g, const float *const *x, int tiles)
{
	int row = k_lane() / 4, quad = k_lane() % 4;
	float acc[MMA_TILES][4] = { { 0 } };
	for (int64_t run = k_warp(); run < w->cols / 32; run += CUDA_WARPS) {
		struct strip s = strip_of(w, slice, g, run);
		for (int t = 0; t < MMA_TILES; t++) {
			float c[4] = { 0 };
			if (t >= tiles)
				break;
			struct k_u4 u = { { 0, 0, 0, 0 } }, v = u;
			if (x[t]) {
				u = k_load16(x[t] + 32 * run + 8 * quad);
				v = k_load16(x[t] + 32 * run + 8 * quad + 4);
			}
			uint32_t a0[4] = { s.in[0][0], s.in[1][0], s.in[0][1], s.in[1][1] }, b0[2] = { pack(u.w[0], u.w[1]), pack(u.w[2], u.w[3]) };
			uint32_t a1[4] = { s.in[0][2], s.in[1][2], s.in[0][3], s.in[1][3] }, b1[2] = { pack(v.w[0], v.w[1]), pack(v.w[2], v.w[3]) };
			mma16816(c, a0, b0);
			mma16816(c, a1, b1);
			for (int i = 0; i < 4; i++)
				acc[t][i] = fmaf(s.scale[i / 2], c[i], acc[t][i]);
		}
	}
	for (int t = 0; t < MMA_TILES; t++)
		for (int i = 0; i < 4 && t < tiles; i++)
			part[(k_warp() * CUDA_MMA_VECTORS + 8 * t + 2 * quad + i % 2) * 16 + row + i / 2 * 8] = acc[t][i];
}

K_DEV float mma_sum(const float *part, int vector, int row)
{
	float s = 0;
	for (int i = 0; i < CUDA_WARPS; i++)
		s += part[(i * CUDA_MMA_VECTORS + vector) * 16 + row];
	return s;
}

K_KERNEL(gemm_mma)
{
	K_SHARED(float, part, CUDA_WARPS * CUDA_MMA_VECTORS * 16);
	int64_t first = (int64_t)blockIdx.y * CUDA_MMA_VECTORS;
	int n = (int)(a.n - first < CUDA_MMA_VECTORS ? a.n - first : CUDA_MMA_VECTORS);
	const float *x[MMA_TILES];
	for (int t = 0; t < MMA_TILES; t++)
		x[t] = 8 * t + k_lane() / 4 < n ? a.x + (first + 8 * t + k_lane() / 4) * a.x_step : NULL;
	mma_parts(part, &a.w, a.w.data, blockIdx.x, x, (n + 7) / 8);
	__syncthreads();
	for (int i = threadIdx.x; i < n * 16; i += CUDA_THREADS) {
		int64_t row = (int64_t)blockIdx.x * 16 + i % 16;
		float s = mma_sum(part, i / 16, i % 16);
		if (row < a.w.rows)
			a.y[(first + i / 16) * a.y_step + row] = a.bias ? s + a.bias[row] : s;
	}
}

/* --- experts -------------------------------------------------------------------------------------------------------------- */

/* One block: a thread an expert counts its pairs, one lays out the tiles, a thread an expert puts its pairs in order. */
K_KERNEL(moe_sort)
{
	K_SHARED(int32_t, count, CUDA_EXPERTS);
	K_SHARED(int32_t, from, CUDA_EXPERTS);
	for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS) {
		int n = 0;
		for (int p = 0; p < a.n_pair; p++)
			n += a.ids[p] == e;
		count[e] = n;
	}
	__syncthreads();
	if (threadIdx.x == 0) {
		int tiles = 0, at = 0;
		for (int e = 0; e < a.n_expert; e++) {
			from[e] = at;
			for (int i = 0; i < count[e]; i += CUDA_MMA_VECTORS) {
				int left = count[e] - i;
				a.tile[tiles].expert = e;
				a.tile[tiles].first = at + i;
				a.tile[tiles].n = left < CUDA_MMA_VECTORS ? left : CUDA_MMA_VECTORS;
				tiles++;
			}
			at += count[e];
		}
		*a.n_tile = tiles;
	}
	__syncthreads();
	for (int e = threadIdx.x; e < a.n_expert; e += CUDA_THREADS)
		for (int p = 0, at = from[e]; p < a.n_pair; p++)
			if (a.ids[p] == e)
				a.order[at++] = p;
}

/* The vectors of a tile for this lane: rows order[..] / per of x. */
K_DEV void tile_vectors(const float **x, const struct cuda_tile *tile, const int32_t *order, const float *base, int64_t step, int per)
{
	for (int t = 0; t < MMA_TILES; t++) {
		int i = 8 * t + k_lane() / 4;
		x[t] = i < tile->n ? base + order[tile->first + i] / per * step : NULL;
	}
}

K_KERNEL(moe_up_mma)
{
	K_SHARED(float, part, CUDA_WARPS * CUDA_MMA_VECTORS * 16);
	const struct cuda_tile *tile = a.tile + blockIdx.y;
	const float *x[MMA_TILES];
	float gate[2];
	if ((int)blockIdx.y >= *a.n_tile)
		return;
	tile_vectors(x, tile, a.order, a.x, a.gate.cols, a.n_used);
	mma_parts(part, &a.gate, k_slice(&a.gate, tile->expert), blockIdx.x, x, (tile->n + 7) / 8);
	__syncthreads();
	for (int m = 0; m < 2; m++) {
		int i = (int)threadIdx.x + m * CUDA_THREADS;
		gate[m] = i < tile->n * 16 ? mma_sum(part, i / 16, i % 16) : 0;
	}
	__syncthreads();
	mma_parts(part, &a.up, k_slice(&a.up, tile->expert), blockIdx.x, x, (tile->n + 7) / 8);
	__syncthreads();
	for (int m = 0; m < 2; m++) {
		int i = (int)threadIdx.x + m * CUDA_THREADS;
		int64_t row = (int64_t)blockIdx.x * 16 + i % 16;
		if (i < tile->n * 16 && row < a.gate.rows)
			a.h[a.order[tile->first + i / 16] * a.gate.rows + row] = k_silu(gate[m]) * mma_sum(part, i / 16, i % 16);
	}
}

K_KERNEL(moe_down_mma)
{
	K_SHARED(float, part, CUDA_WARPS * CUDA_MMA_VECTORS * 16);
	const struct cuda_tile *tile = a.tile + blockIdx.y;
	const float *x[MMA_TILES];
	if ((int)blockIdx.y >= *a.n_tile)
		return;
	tile_vectors(x, tile, a.order, a.h, a.down.cols, 1);
	mma_parts(part, &a.down, k_slice(&a.down, tile->expert), blockIdx.x, x, (tile->n + 7) / 8);
	__syncthreads();
	for (int i = threadIdx.x; i < tile->n * 16; i += CUDA_THREADS) {
		int64_t row = (int64_t)blockIdx.x * 16 + i % 16;
		if (row < a.down.rows)
			a.out[a.order[tile->first + i / 16] * a.down.rows + row] = mma_sum(part, i / 16, i % 16);
	}
}

/* Slots of a token in ascending order of expert. */
K_KERNEL(moe_sum)
{
	int64_t k = (int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x, token = blockIdx.y;
	float y = 0;
	if (k >= a.dim)
		return;
	for (int64_t pair = token * a.n_used; pair < (token + 1) * a.n_used; pair++)
		y = fmaf(a.weights[pair], a.out[pair * a.dim + k], y);
	a.y[token * a.dim + k] = y;
}
