/* mma.cu: dense products of stored weights with up to CUDA_TILE - 1 vectors on tensor cores. Vectors are f32 and rounded to bf16 as they are read; fewer
 * vectors: many.cu, more: tile.cu.
 *
 *   gemm_mma    a block 16 rows; its warps take a part of the columns each                                          parts in order --> y
 *
 * What a warp reads is under way in AHEAD steps at a time, 576 bytes each (i4g32). */
#include "kernels/cuda/strip.h"

enum { TILES = CUDA_MMA_VECTORS / 8, AHEAD = 6 };

/* x[t]: the vector 8 t + lane / 4 of this lane, NULL where there is none. */
K_DEV void vector_run(uint32_t *b, const float *x, int64_t run, int64_t cols)
{
	struct k_u4 u = { { 0, 0, 0, 0 } }, v = u;
	if (x && RUN * run < cols) {
		u = k_load16(x + RUN * run + 8 * (k_lane() % 4));
		v = k_load16(x + RUN * run + 8 * (k_lane() % 4) + 4);
	}
	b[0] = pack_round(k_bits_f(u.w[0]), k_bits_f(u.w[1]));
	b[1] = pack_round(k_bits_f(u.w[2]), k_bits_f(u.w[3]));
	b[2] = pack_round(k_bits_f(v.w[0]), k_bits_f(v.w[1]));
	b[3] = pack_round(k_bits_f(v.w[2]), k_bits_f(v.w[3]));
}

/* sum[t] += steps [from, to), a part of the columns, of granule g times `tiles` tiles of vectors. type and ahead are constants. */
K_DEV void chain(float (*sum)[4], enum cuda_type type, const struct cuda_matrix *w, int64_t g, int64_t from, int64_t to, const float *const *x, int tiles, int ahead)
{
	for (int64_t first = from; first < to; first += ahead) {
		struct strip s[AHEAD];
		K_UNROLL for (int k = 0; k < ahead; k++)
			if (first + k < to)
				strip_load(&s[k], type, w, w->data, g, first + k);
		K_UNROLL for (int k = 0; k < ahead; k++)
			if (first + k < to)
				K_UNROLL for (int run = 0; run < 2; run++) {
					struct run r;
					strip_run(&r, type, &s[k], run);
					K_UNROLL for (int t = 0; t < TILES; t++)
						if (t < tiles) {
							uint32_t b[4];
							vector_run(b, x[t], 2 * (first + k) + run, w->cols);
							strip_times(sum[t], &r, b);
						}
				}
	}
}

/* The same, by the type. What is under way at a time fits into registers. */
K_DEV void chain_of(float (*sum)[4], const struct cuda_matrix *w, int64_t g, int64_t from, int64_t to, const float *const *x, int tiles)
{
	if (w->type == CUDA_I4_X16)
		chain(sum, CUDA_I4_X16, w, g, from, to, x, tiles, AHEAD);
	else if (w->type == CUDA_BF16)
		chain(sum, CUDA_BF16, w, g, from, to, x, tiles, 2);
	else if (w->type == CUDA_MXFP4)
		chain(sum, CUDA_MXFP4, w, g, from, to, x, tiles, 4);
	else if (w->type == CUDA_MX4_X16)
		chain(sum, CUDA_MX4_X16, w, g, from, to, x, tiles, 4);
	else
		chain(sum, CUDA_FP8B128, w, g, from, to, x, tiles, 3);
}

/* part[(warp * CUDA_MMA_VECTORS + vector) * 16 + row] of granule g, a warp a part of the columns. */
K_DEV void parts_of(float *part, const struct cuda_matrix *w, int64_t g, const float *const *x, int tiles)
{
	float sum[TILES][4] = { { 0 } };
	int64_t steps = (w->cols + STEP - 1) / STEP, each = strip_part(w->cols), from = k_warp() * each;
	chain_of(sum, w, g, from, from + each < steps ? from + each : steps, x, tiles);
	K_UNROLL for (int t = 0; t < TILES; t++)
		K_UNROLL for (int i = 0; i < 4; i++)
			if (t < tiles)
				part[(k_warp() * CUDA_MMA_VECTORS + 8 * t + k_lane() % 4 * 2 + i % 2) * 16 + strip_row(w->type, i / 2)] = sum[t][i];
}

K_DEV float sum_of(const float *part, int vector, int row)
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
	const float *x[TILES];
	K_UNROLL for (int t = 0; t < TILES; t++)
		x[t] = 8 * t + k_lane() / 4 < n ? a.x + (first + 8 * t + k_lane() / 4) * a.x_step : NULL;
	parts_of(part, &a.w, blockIdx.x, x, (n + 7) / 8);
	__syncthreads();
	for (int i = threadIdx.x; i < n * 16; i += CUDA_THREADS) {
		int64_t row = (int64_t)blockIdx.x * 16 + i % 16;
		float s = sum_of(part, i / 16, i % 16);
		if (row < a.w.rows)
			a.y[(first + i / 16) * a.y_step + row] = a.bias ? s + a.bias[row] : s;
	}
}
