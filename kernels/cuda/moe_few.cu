/* moe_few.cu: the experts of a few tokens on tensor cores, pair by pair; the bits are those of tile.cu.
 *
 *   moe_up_mma     16 rows of a (token, slot): gate and up together, a warp a part of the columns               silu * up --> h, in bf16
 *   moe_down_mma   16 rows of a token: a warp a slot, all columns                                               slots in order, weighted --> y
 *
 * Ids come from the router, two launches before moe_down: it asks for its weights before h is there. */
#include "kernels/cuda/few.h"

enum { STAGE = 16 * 1024, ROUND = STAGE / CUDA_WARPS / VECTOR };

/* --- gate and up ------------------------------------------------------------------------------------------------------------ */

enum { MOST_UP = 5, MOST_DOWN = 8 };

/* part[matrix][warp][row] of granule g of both. type and ahead are constants. */
K_DEV void up_parts(float *part, uint8_t *stage, enum cuda_type type, const struct cuda_moe_up_mma *a, int64_t pair, int64_t g, int ahead)
{
	const struct cuda_matrix *w[2] = { &a->gate, &a->up };
	struct vectors v = { a->x + pair / a->n_used * a->gate.cols, 0, a->gate.cols, 1 };
	int steps = ((int)v.cols + STEP - 1) / STEP, each = (int)strip_part(v.cols), from = k_warp() * each, to = from + each < steps ? from + each : steps;
	int64_t expert = a->ids[pair];
	float acc[2][4] = { { 0 } };
	struct lane_rows at[2];
	struct strip s[MOST_UP][2];
	stage += k_warp() * (STAGE / CUDA_WARPS);
	K_UNROLL for (int m = 0; m < 2; m++)
		at[m] = lane_rows_of(type, w[m], k_slice(w[m], expert), g);
	K_UNROLL for (int k = 0; k < ahead; k++)
		K_UNROLL for (int m = 0; m < 2; m++)
			if (from + k < to)
				lane_load(&s[k][m], type, w[m], &at[m], from + k);
	K_ROLL for (int begin = from; begin < from + each; begin += ROUND / ahead * ahead) {
		int end = begin + ROUND / ahead * ahead < to ? begin + ROUND / ahead * ahead : to;
		if (begin > from)
			__syncthreads();
		stage_vectors(stage, &v, begin, end - begin);
		__syncthreads();
		K_ROLL for (int first = begin; first < end; first += ahead)
			K_UNROLL for (int k = 0; k < ahead; k++)
				K_UNROLL for (int m = 0; m < 2; m++)
					if (first + k < end) {
						times_vectors(acc[m], &s[k][m], type, stage, first + k - begin, 1);
						if (first + k + ahead < to)
							lane_load(&s[k][m], type, w[m], &at[m], first + k + ahead);
					}
	}
	K_UNROLL for (int m = 0; m < 2; m++)
		K_UNROLL for (int i = 0; i < 2; i++)
			if (k_lane() % 4 == 0)
				part[(m * CUDA_WARPS + k_warp()) * 16 + strip_row(type, i)] = acc[m][2 * i];
}

K_KERNEL_EARLY(moe_up_mma, 2)
{
	K_SHARED(uint8_t, stage, STAGE);
	K_SHARED(float, part, 2 * CUDA_WARPS * 16);
	int64_t pair = blockIdx.y, row = (int64_t)blockIdx.x * 16 + threadIdx.x;
	K_WAIT_BEFORE();
	if (a.gate.type == CUDA_I4_X16)
		up_parts(part, stage, CUDA_I4_X16, &a, pair, blockIdx.x, 5);
	else if (a.gate.type == CUDA_BF16)
		up_parts(part, stage, CUDA_BF16, &a, pair, blockIdx.x, 2);
	else if (a.gate.type == CUDA_MXFP4)
		up_parts(part, stage, CUDA_MXFP4, &a, pair, blockIdx.x, 1);
	else if (a.gate.type == CUDA_MX4_X16)
		up_parts(part, stage, CUDA_MX4_X16, &a, pair, blockIdx.x, 1);
	else
		up_parts(part, stage, CUDA_FP8B128, &a, pair, blockIdx.x, 1);
	__syncthreads();
	if (threadIdx.x < 16 && row < a.gate.rows) {
		float gate = 0, up = 0;
		K_UNROLL for (int i = 0; i < CUDA_WARPS; i++) {
			gate += part[i * 16 + threadIdx.x];
			up += part[(CUDA_WARPS + i) * 16 + threadIdx.x];
		}
		a.h[pair * a.gate.rows + row] = (uint16_t)pack_round(k_silu(gate) * up, 0);
	}
}

/* --- down ------------------------------------------------------------------------------------------------------------------- */

/* `count` steps of a pair's h from `from` on. */
K_DEV void stage_h(uint8_t *stage, const uint16_t *h, int from, int count, int cols)
{
	K_ROLL for (int first = k_lane(); first < 8 * count; first += AT_ONCE * K_WARP) {
		struct k_u4 u[AT_ONCE];
		K_UNROLL for (int i = 0; i < AT_ONCE; i++) {
			int at = first + i * K_WARP;
			u[i].w[0] = u[i].w[1] = u[i].w[2] = u[i].w[3] = 0;
			if (at < 8 * count && STEP * from + 8 * at < cols)
				u[i] = k_load16(h + STEP * from + 8 * at);
		}
		K_UNROLL for (int i = 0; i < AT_ONCE; i++)
			if (first + i * K_WARP < 8 * count)
				k_store16(stage + (first + i * K_WARP) * 16, u[i]);
	}
}

/* part[warp][row] of granule g for the pair of the warp; none where it has no pair. All warps come here. */
K_DEV void down_parts(float *part, uint8_t *stage, enum cuda_type type, const struct cuda_moe_down_mma *a, int64_t pair, bool mine, int64_t g, int ahead)
{
	const struct cuda_matrix *w = &a->down;
	int all = ((int)w->cols + STEP - 1) / STEP, steps = mine ? all : 0, each = (int)strip_part(w->cols), flush = each;
	float acc[4] = { 0 }, sum[2] = { 0 };
	struct lane_rows at = lane_rows_of(type, w, k_slice(w, mine ? a->ids[pair] : 0), g);
	struct strip s[MOST_DOWN];
	stage += k_warp() * (STAGE / CUDA_WARPS);
	K_UNROLL for (int k = 0; k < ahead; k++)
		if (k < steps)
			lane_load(&s[k], type, w, &at, k);
	K_WAIT_BEFORE();
	K_ROLL for (int begin = 0; begin < all; begin += ROUND / ahead * ahead) {
		int end = begin + ROUND / ahead * ahead < steps ? begin + ROUND / ahead * ahead : steps;
		if (begin)
			__syncthreads();
		stage_h(stage, a->h + pair * w->cols, begin, end - begin, (int)w->cols);
		__syncthreads();
		K_ROLL for (int first = begin; first < end; first += ahead)
			K_UNROLL for (int k = 0; k < ahead; k++)
				if (first + k < end) {
					times_vectors(acc, &s[k], type, stage, first + k - begin, 1);
					if (first + k + ahead < steps)
						lane_load(&s[k], type, w, &at, first + k + ahead);
					if (first + k + 1 == flush || first + k + 1 == steps) {
						flush += each;
						sum[0] += acc[0];
						sum[1] += acc[2];
						acc[0] = acc[1] = acc[2] = acc[3] = 0;
					}
				}
	}
	K_UNROLL for (int i = 0; i < 2; i++)
		if (k_lane() % 4 == 0 && mine)
			part[k_warp() * 16 + strip_row(type, i)] = sum[i];
}

/* Slots in rounds of a warp each; in order, as moe_sum adds them. */
K_KERNEL_EARLY(moe_down_mma, 2)
{
	K_SHARED(uint8_t, stage, STAGE);
	K_SHARED(float, part, CUDA_WARPS * 16);
	int64_t row = (int64_t)blockIdx.x * 16 + threadIdx.x, first = (int64_t)blockIdx.y * a.n_used;
	float y = 0;
	for (int slot = 0; slot < a.n_used; slot += CUDA_WARPS) {
		int n = a.n_used - slot < CUDA_WARPS ? a.n_used - slot : CUDA_WARPS;
		bool mine = k_warp() < n;
		int64_t pair = first + slot + (mine ? k_warp() : 0);
		if (a.down.type == CUDA_I4_X16)
			down_parts(part, stage, CUDA_I4_X16, &a, pair, mine, blockIdx.x, 8);
		else if (a.down.type == CUDA_BF16)
			down_parts(part, stage, CUDA_BF16, &a, pair, mine, blockIdx.x, 3);
		else if (a.down.type == CUDA_MXFP4)
			down_parts(part, stage, CUDA_MXFP4, &a, pair, mine, blockIdx.x, 2);
		else if (a.down.type == CUDA_MX4_X16)
			down_parts(part, stage, CUDA_MX4_X16, &a, pair, mine, blockIdx.x, 2);
		else
			down_parts(part, stage, CUDA_FP8B128, &a, pair, mine, blockIdx.x, 2);
		__syncthreads();
		for (int i = 0; i < n && threadIdx.x < 16; i++)
			y = fmaf(a.weights[first + slot + i], part[i * 16 + threadIdx.x], y);
		/* The barriers of the next round come before it writes there. */
	}
	if (threadIdx.x < 16 && row < a.down.rows)
		a.y[blockIdx.y * a.down.rows + row] = y;
}
