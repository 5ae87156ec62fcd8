/* tile.cu: products of stored weights with many vectors on tensor cores, dense and grouped by expert.
 *
 *   a block: 2 x 128 rows of weights x CUDA_TILE vectors       a warp: 2 x 16 rows x all vectors, sums in registers
 *
 *   vectors, in bf16     asynchronously to shared memory, STAGES steps of 64 columns; every warp reads all
 *   weights              to registers, a step ahead of where they are wanted; read and expanded once a block
 *
 * The two sets of 128 rows are gate and up (silu * up is done where they meet, in the registers), or neighbours.
 *
 * A vector's 16 bytes i of a step lie at i ^ 4 (vector & 1), so that the lanes of a quarter of a warp read all banks once. */
#include "kernels/cuda/strip.h"

enum { TILES = CUDA_TILE / 8, STAGES = 3, VECTOR = 2 * STEP, STAGE = CUDA_TILE * VECTOR };

/* Where a thread's vectors of a stage come from: thread i copies 16 bytes i % 8 of vectors i / 8 and + 32. NULL: none, zeros. */
enum { COPIES = CUDA_TILE * 8 / CUDA_THREADS };

K_DEV void tile_copy(uint8_t *stage, const uint16_t *const *x, int64_t step, int64_t cols)
{
	int i = (int)threadIdx.x % 8;
	int64_t at = STEP * step + 8 * i;
	K_UNROLL for (int k = 0; k < COPIES; k++) {
		int vector = (int)threadIdx.x / 8 + k * CUDA_THREADS / 8;
		bool there = x[k] && at < cols;
		if (STEP * step < cols)
			k_copy16(stage + step % STAGES * STAGE + vector * VECTOR + (i ^ (vector & 1) << 2) * 16, there ? x[k] + at : x[0], there);
	}
	k_copy_commit();
}

/* Two matrices' rows: granules g[0], g[1] of slices w[0], w[1]; live: is there such a granule? */
struct rows { const struct cuda_matrix *w[2]; const uint8_t *slice[2]; int64_t g[2]; bool live[2]; };

K_DEV void rows_load(struct strip *s, const struct rows *m, enum cuda_type type, int64_t step)
{
	K_UNROLL for (int i = 0; i < 2; i++)
		if (m->live[i])
			strip_load(&s[i], type, m->w[i], m->slice[i], m->g[i], step);
}

/* acc[i][t] += run `run` of a step. */
K_DEV void tile_run(float (*acc)[TILES][4], const uint8_t *stage, const struct rows *m, enum cuda_type type, const struct strip *s, int run, int tiles)
{
	struct run r[2];
	K_UNROLL for (int i = 0; i < 2; i++)
		if (m->live[i])
			strip_run(&r[i], type, &s[i], run);
	K_UNROLL for (int t = 0; t < TILES; t++)
		if (t < tiles) {
			int vector = 8 * t + k_lane() / 4;
			struct k_u4 b = k_load16(stage + vector * VECTOR + ((4 * run + k_lane() % 4) ^ (vector & 1) << 2) * 16);
			K_UNROLL for (int i = 0; i < 2; i++)
				if (m->live[i])
					strip_times(acc[i][t], &r[i], b.w);
		}
}

/* sum[i][t]: rows i times tile t of vectors. Narrow types are read a step ahead, for others there are no registers. */
K_DEV void tile_product(float (*sum)[TILES][4], uint8_t *stage, const struct rows *m, enum cuda_type type, const uint16_t *const *x, int tiles)
{
	int64_t cols = m->w[0]->cols, steps = (cols + STEP - 1) / STEP, part = strip_part(cols);
	bool early = type == CUDA_I4_X16 || type == CUDA_MXFP4 || type == CUDA_MX4_X16;
	float acc[2][TILES][4] = { { { 0 } } };
	struct strip s[2], next[2];
	if (early)
		rows_load(next, m, type, 0);
	K_UNROLL for (int k = 0; k < STAGES - 1; k++)
		tile_copy(stage, x, k, cols);
	for (int64_t step = 0; step < steps; step++) {
		if (early) {
			s[0] = next[0];
			s[1] = next[1];
		}
		if (!early || step + 1 < steps)
			rows_load(early ? next : s, m, type, step + early);
		k_copy_wait(1);
		__syncthreads();
		tile_copy(stage, x, step + STAGES - 1, cols);
		K_UNROLL for (int run = 0; run < 2; run++)
			tile_run(acc, stage + step % STAGES * STAGE, m, type, s, run, tiles);
		if ((step + 1) % part == 0 || step + 1 == steps)
			K_UNROLL for (int i = 0; i < 2; i++)
				K_UNROLL for (int t = 0; t < TILES; t++)
					K_UNROLL for (int k = 0; k < 4; k++) {
						sum[i][t][k] += acc[i][t][k];
						acc[i][t][k] = 0;
					}
	}
	k_copy_wait(0);
}

K_DEV void tile_product_of(float (*sum)[TILES][4], uint8_t *stage, const struct rows *m, const uint16_t *const *x, int tiles)
{
	enum cuda_type type = m->w[0]->type;
	if (type == CUDA_I4_X16)
		tile_product(sum, stage, m, CUDA_I4_X16, x, tiles);
	else if (type == CUDA_BF16)
		tile_product(sum, stage, m, CUDA_BF16, x, tiles);
	else if (type == CUDA_MXFP4)
		tile_product(sum, stage, m, CUDA_MXFP4, x, tiles);
	else if (type == CUDA_MX4_X16)
		tile_product(sum, stage, m, CUDA_MX4_X16, x, tiles);
	else
		tile_product(sum, stage, m, CUDA_FP8B128, x, tiles);
}

/* Warp w of block b has granules 16 b + w and 16 b + 8 + w of one matrix; or granule 8 b + w of two. */
K_DEV struct rows rows_of_one(const struct cuda_matrix *w, const uint8_t *slice)
{
	struct rows m;
	for (int i = 0; i < 2; i++) {
		m.w[i] = w;
		m.slice[i] = slice;
		m.g[i] = (int64_t)blockIdx.x * 2 * CUDA_WARPS + i * CUDA_WARPS + k_warp();
		m.live[i] = 16 * m.g[i] < w->rows;
	}
	return m;
}

/* Vector and row that sum[i][t][k] belongs to. */
K_DEV int vector_at(int t, int k) { return 8 * t + k_lane() % 4 * 2 + k % 2; }
K_DEV int64_t row_at(const struct rows *m, int i, int k) { return 16 * m->g[i] + strip_row(m->w[i]->type, k / 2); }

K_KERNEL(gemm_tile)
{
	K_SHARED(uint8_t, stage, STAGES * STAGE);
	int64_t first = (int64_t)blockIdx.y * CUDA_TILE;
	int n = (int)(a.n - first < CUDA_TILE ? a.n - first : CUDA_TILE);
	struct rows m = rows_of_one(&a.w, a.w.data);
	const uint16_t *x[COPIES];
	float sum[2][TILES][4] = { { { 0 } } };
	K_UNROLL for (int k = 0; k < COPIES; k++) {
		int vector = (int)threadIdx.x / 8 + k * CUDA_THREADS / 8;
		x[k] = vector < n ? a.x + (first + vector) * a.w.cols : NULL;
	}
	tile_product_of(sum, stage, &m, x, (n + 7) / 8);
	K_UNROLL for (int i = 0; i < 2; i++)
		K_UNROLL for (int t = 0; t < TILES; t++)
			K_UNROLL for (int k = 0; k < 4; k++) {
				int64_t row = row_at(&m, i, k);
				if (vector_at(t, k) < n && row < a.w.rows)
					a.y[(first + vector_at(t, k)) * a.y_step + row] = a.bias ? sum[i][t][k] + a.bias[row] : sum[i][t][k];
			}
}

/* --- experts -------------------------------------------------------------------------------------------------------------- */

/* A number of each thread, to be summed over those before it: each: CUDA_THREADS, warps: CUDA_WARPS of shared memory, read behind the next barrier. Sums are
 * whole numbers that a float holds. */
K_DEV void sum_put(int v, int32_t *each, float *warps)
{
	float sum = k_warp_sum((float)v);
	each[threadIdx.x] = v;
	if (k_lane() == 0)
		warps[k_warp()] = sum;
}

K_DEV int sum_before(const int32_t *each, const float *warps)
{
	int sum = 0;
	for (int i = 0; i < k_warp(); i++)
		sum += (int)warps[i];
	for (int i = (int)threadIdx.x - k_lane(); i < (int)threadIdx.x; i++)
		sum += each[i];
	return sum;
}

K_DEV int sum_all(const float *warps)
{
	int sum = 0;
	for (int i = 0; i < CUDA_WARPS; i++)
		sum += (int)warps[i];
	return sum;
}

/* A block an expert: its pairs, in order, behind those of the experts before it. A thread has a run of all pairs. */
K_KERNEL(moe_sort)
{
	K_SHARED(int32_t, each, CUDA_THREADS);
	K_SHARED(float, mine, CUDA_WARPS);
	K_SHARED(float, lower, CUDA_WARPS);
	int e = (int)blockIdx.x, run = (a.n_pair + CUDA_THREADS - 1) / CUDA_THREADS, from = (int)threadIdx.x * run, n = 0, less = 0, at;
	int to = from + run < a.n_pair ? from + run : a.n_pair;
	for (int p = from; p < to; p++) {
		n += a.ids[p] == e;
		less += a.ids[p] < e;
	}
	float sum = k_warp_sum((float)less);
	if (k_lane() == 0)
		lower[k_warp()] = sum;
	sum_put(n, each, mine);
	__syncthreads();
	at = sum_all(lower) + sum_before(each, mine);
	for (int p = from; p < to; p++)
		if (a.ids[p] == e)
			a.order[at++] = p;
	if (threadIdx.x == 0)
		a.count[e] = sum_all(mine);
}

/* One block, a thread a few experts. */
K_KERNEL(moe_tiles)
{
	enum { EACH = CUDA_EXPERTS / CUDA_THREADS };
	K_SHARED(int32_t, pairs, CUDA_THREADS);
	K_SHARED(int32_t, tiles, CUDA_THREADS);
	K_SHARED(float, warp_pairs, CUDA_WARPS);
	K_SHARED(float, warp_tiles, CUDA_WARPS);
	int from = (int)threadIdx.x * EACH, to = from + EACH < a.n_expert ? from + EACH : a.n_expert, n = 0, n_tile = 0, at;
	for (int e = from; e < to; e++) {
		n += a.count[e];
		n_tile += (a.count[e] + CUDA_TILE - 1) / CUDA_TILE;
	}
	sum_put(n, pairs, warp_pairs);
	sum_put(n_tile, tiles, warp_tiles);
	__syncthreads();
	at = sum_before(pairs, warp_pairs);
	n_tile = sum_before(tiles, warp_tiles);
	for (int e = from; e < to; at += a.count[e++])
		for (int i = 0; i < a.count[e]; i += CUDA_TILE) {
			int left = a.count[e] - i;
			a.tile[n_tile].expert = e;
			a.tile[n_tile].first = at + i;
			a.tile[n_tile++].n = left < CUDA_TILE ? left : CUDA_TILE;
		}
	if (threadIdx.x == 0)
		*a.n_tile = sum_all(warp_tiles);
}

/* The vectors of a tile: rows order[..] / per of x. */
K_DEV void tile_vectors(const uint16_t **x, const struct cuda_tile *tile, const int32_t *order, const uint16_t *base, int64_t step, int per)
{
	K_UNROLL for (int k = 0; k < COPIES; k++) {
		int vector = (int)threadIdx.x / 8 + k * CUDA_THREADS / 8;
		x[k] = vector < tile->n ? base + order[tile->first + vector] / per * step : NULL;
	}
}

K_KERNEL(moe_up_tile)
{
	K_SHARED(uint8_t, stage, STAGES * STAGE);
	const struct cuda_tile *tile = a.tile + blockIdx.y;
	const uint16_t *x[COPIES];
	float sum[2][TILES][4] = { { { 0 } } };
	int64_t g = (int64_t)blockIdx.x * CUDA_WARPS + k_warp();
	bool live = 16 * g < a.gate.rows;
	if ((int)blockIdx.y >= *a.n_tile)
		return;
	struct rows m = { { &a.gate, &a.up }, { k_slice(&a.gate, tile->expert), k_slice(&a.up, tile->expert) }, { g, g }, { live, live } };
	tile_vectors(x, tile, a.order, a.x, a.gate.cols, a.n_used);
	tile_product_of(sum, stage, &m, x, (tile->n + 7) / 8);
	K_UNROLL for (int t = 0; t < TILES; t++)
		K_UNROLL for (int k = 0; k < 4; k++) {
			int64_t row = row_at(&m, 0, k);
			if (vector_at(t, k) < tile->n && row < a.gate.rows)
				a.h[a.order[tile->first + vector_at(t, k)] * a.gate.rows + row] =
					(uint16_t)pack_round(k_silu(sum[0][t][k]) * sum[1][t][k], 0);
		}
}

K_KERNEL(moe_down_tile)
{
	K_SHARED(uint8_t, stage, STAGES * STAGE);
	const struct cuda_tile *tile = a.tile + blockIdx.y;
	const uint16_t *x[COPIES];
	float sum[2][TILES][4] = { { { 0 } } };
	if ((int)blockIdx.y >= *a.n_tile)
		return;
	struct rows m = rows_of_one(&a.down, k_slice(&a.down, tile->expert));
	tile_vectors(x, tile, a.order, a.h, a.down.cols, 1);
	tile_product_of(sum, stage, &m, x, (tile->n + 7) / 8);
	K_UNROLL for (int i = 0; i < 2; i++)
		K_UNROLL for (int t = 0; t < TILES; t++)
			K_UNROLL for (int k = 0; k < 4; k++) {
				int64_t row = row_at(&m, i, k);
				if (vector_at(t, k) < tile->n && row < a.down.rows)
					a.out[a.order[tile->first + vector_at(t, k)] * a.down.rows + row] = sum[i][t][k];
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
