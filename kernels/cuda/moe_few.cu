/* moe_few.cu: the experts of a few tokens on tensor cores, pair by pair; the bits are those of tile.cu.
 *
 *   moe_up_mma     16 rows of a (token, slot): gate and up together, a warp a part of the columns               the unit --> h, in bf16
 *   moe_down_mma   16 rows of a token: a warp a slot, all columns                                               slots in order, weighted --> y
 *
 * Ids come from the router, two launches before moe_down: it asks for its weights before h is there. */
#include "kernels/cuda/few.h"

enum { STAGE = 8 * 1024, ROUND = STAGE / CUDA_WARPS / VECTOR };
/* Of shared memory for weights, a warp. */
enum { RING = 8 * K_RECORD };

/* --- gate and up ------------------------------------------------------------------------------------------------------------ */

/* part[matrix][warp][row] of granule g of both. type and ahead are constants. */
K_DEV void up_parts(float *part, uint8_t *stage, uint8_t *ring, enum cuda_type type, const struct cuda_moe_up_mma *a, int64_t pair, int64_t g, int ahead)
{
	const struct cuda_matrix *w[2] = { &a->gate, &a->up };
	struct vectors v = { a->x + pair / a->n_used * a->gate.cols, 0, a->gate.cols, 1 };
	int steps = ((int)v.cols + STEP - 1) / STEP, each = (int)strip_part(v.cols), from = k_warp() * each, to = from + each < steps ? from + each : steps;
	int64_t expert = a->ids[pair];
	float acc[2][4] = { { 0 } };
	struct lane_rows at[2];
	stage += k_warp() * (STAGE / CUDA_WARPS);
	ring += k_warp() * RING;
	K_UNROLL for (int m = 0; m < 2; m++)
		at[m] = lane_rows_of(type, w[m], k_slice(w[m], expert), g);
	struct staged staged = { from, from };
	int slot = 0;
	K_ROLL for (int k = 0; k < ahead && rings(type); k++)
		K_UNROLL for (int m = 0; m < 2; m++) {
			if (from + k < to)
				ring_ask(ring + (2 * k + m) * ring_bytes(type), type, w[m], &at[m], from + k);
			k_copy_commit();
		}
	K_ROLL for (int step = from; step < to; step++) {
		stage_step(&staged, stage, type, &v, step, from, to, ROUND);
		K_UNROLL for (int m = 0; m < 2; m++)
			if (rings(type)) {
				ring_step(acc[m], type, w[m], &at[m], ring + (2 * slot + m) * ring_bytes(type), step, to, ahead, 2 * ahead - 1, stage, &staged, 1);
			} else {
				struct strip s;
				strip_load(&s, type, w[m], k_slice(w[m], expert), g, step);
				times_vectors(acc[m], &s, type, stage, step - staged.first, 1);
			}
		slot = slot + 1 == ahead ? 0 : slot + 1;
	}
	K_UNROLL for (int m = 0; m < 2; m++)
		K_UNROLL for (int i = 0; i < 2; i++)
			if (k_lane() % 4 == 0)
				part[(m * CUDA_WARPS + k_warp()) * 16 + strip_row(type, i)] = acc[m][2 * i];
}

K_KERNEL_EARLY(moe_up_mma, 4)
{
	K_SHARED(uint8_t, stage, STAGE);
	K_SHARED(uint8_t, ring, CUDA_WARPS * RING);
	K_SHARED(float, part, 2 * CUDA_WARPS * 16);
	int64_t pair = blockIdx.y, row = (int64_t)blockIdx.x * 16 + threadIdx.x;
	K_WAIT_BEFORE();
	if (a.gate.type == CUDA_I4_X16)
		up_parts(part, stage, ring, CUDA_I4_X16, &a, pair, blockIdx.x, 4);
	else if (a.gate.type == CUDA_BF16)
		up_parts(part, stage, ring, CUDA_BF16, &a, pair, blockIdx.x, 1);
	else if (a.gate.type == CUDA_MXFP4)
		up_parts(part, stage, ring, CUDA_MXFP4, &a, pair, blockIdx.x, 1);
	else if (a.gate.type == CUDA_MX4_X16)
		up_parts(part, stage, ring, CUDA_MX4_X16, &a, pair, blockIdx.x, 1);
	else
		up_parts(part, stage, ring, CUDA_FP8B128, &a, pair, blockIdx.x, 1);
	__syncthreads();
	if (threadIdx.x < 16 && row < a.gate.rows) {
		float gate = 0, up = 0;
		K_UNROLL for (int i = 0; i < CUDA_WARPS; i++) {
			gate += part[i * 16 + threadIdx.x];
			up += part[(CUDA_WARPS + i) * 16 + threadIdx.x];
		}
		a.h[pair * a.gate.rows + row] = (uint16_t)pack_round(k_unit(gate, up, &a.unit), 0);
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

/* Where a warp is in the columns of its pair: none of its own where it has no pair. */
struct down { uint8_t *stage; const uint16_t *h; int cols, steps, flush; struct staged staged; float acc[4], sum[2]; };

K_DEV void down_stage(struct down *d, enum cuda_type type, int step)
{
	if (step != d->staged.next)
		return;
	d->staged.first = step;
	d->staged.next += ROUND;
	if (step)
		stage_apart(type);
	stage_h(d->stage, d->h, step, (d->staged.next < d->steps ? d->staged.next : d->steps) - step, d->cols);
	stage_done(type);
}

K_DEV void down_sum(struct down *d, int step)
{
	if (step + 1 == d->flush || step + 1 == d->steps) {
		d->flush += (int)strip_part(d->cols);
		d->sum[0] += d->acc[0];
		d->sum[1] += d->acc[2];
		d->acc[0] = d->acc[1] = d->acc[2] = d->acc[3] = 0;
	}
}

/* part[warp][row] of granule g for the pair of the warp; none where it has no pair. */
K_DEV void down_parts(float *part, uint8_t *stage, uint8_t *ring, enum cuda_type type, const struct cuda_moe_down_mma *a, int64_t pair, bool mine, int64_t g, int ahead)
{
	const struct cuda_matrix *w = &a->down;
	struct down d = { stage + k_warp() * (STAGE / CUDA_WARPS), a->h + pair * w->cols, (int)w->cols, mine ? ((int)w->cols + STEP - 1) / STEP : 0, (int)strip_part(w->cols), { 0, 0 }, { 0 }, { 0 } };
	const uint8_t *slice = k_slice(w, mine ? a->ids[pair] : 0);
	struct lane_rows at = lane_rows_of(type, w, slice, g);
	struct strip s;
	int slot = 0;
	ring += k_warp() * RING;
	K_ROLL for (int k = 0; k < ahead && rings(type); k++) {
		if (k < d.steps)
			ring_ask(ring + k * ring_bytes(type), type, w, &at, k);
		k_copy_commit();
	}
	K_WAIT_BEFORE();
	K_ROLL for (int step = 0; step < d.steps; step++) {
		if (!rings(type))
			strip_load(&s, type, w, slice, g, step);
		down_stage(&d, type, step);
		if (rings(type))
			ring_step(d.acc, type, w, &at, ring + slot * ring_bytes(type), step, d.steps, ahead, ahead - 1, d.stage, &d.staged, 1);
		else
			times_vectors(d.acc, &s, type, d.stage, step - d.staged.first, 1);
		slot = slot + 1 == ahead ? 0 : slot + 1;
		down_sum(&d, step);
	}
	K_UNROLL for (int i = 0; i < 2; i++)
		if (k_lane() % 4 == 0 && mine)
			part[k_warp() * 16 + strip_row(type, i)] = d.sum[i];
}

/* Slots in rounds of a warp each; in order, as moe_sum adds them. */
K_KERNEL_EARLY(moe_down_mma, 2)
{
	K_SHARED(uint8_t, stage, STAGE);
	K_SHARED(uint8_t, ring, CUDA_WARPS * RING);
	K_SHARED(float, part, CUDA_WARPS * 16);
	int64_t row = (int64_t)blockIdx.x * 16 + threadIdx.x, first = (int64_t)blockIdx.y * a.n_used;
	float y = 0;
	for (int slot = 0; slot < a.n_used; slot += CUDA_WARPS) {
		int n = a.n_used - slot < CUDA_WARPS ? a.n_used - slot : CUDA_WARPS;
		bool mine = k_warp() < n;
		int64_t pair = first + slot + (mine ? k_warp() : 0);
		if (a.down.type == CUDA_I4_X16)
			down_parts(part, stage, ring, CUDA_I4_X16, &a, pair, mine, blockIdx.x, 8);
		else if (a.down.type == CUDA_BF16)
			down_parts(part, stage, ring, CUDA_BF16, &a, pair, mine, blockIdx.x, 2);
		else if (a.down.type == CUDA_MXFP4)
			down_parts(part, stage, ring, CUDA_MXFP4, &a, pair, mine, blockIdx.x, 4);
		else if (a.down.type == CUDA_MX4_X16)
			down_parts(part, stage, ring, CUDA_MX4_X16, &a, pair, mine, blockIdx.x, 4);
		else
			down_parts(part, stage, ring, CUDA_FP8B128, &a, pair, mine, blockIdx.x, 3);
		__syncthreads();
		for (int i = 0; i < n && threadIdx.x < 16; i++)
			y = fmaf(a.weights[first + slot + i], part[i * 16 + threadIdx.x], y);
		if (slot + CUDA_WARPS < a.n_used)
			__syncthreads();
	}
	if (threadIdx.x < 16 && row < a.down.rows)
		a.y[blockIdx.y * a.down.rows + row] = y;
}
