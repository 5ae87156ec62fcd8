/* moe_dot.cu: the experts of a few tokens in INT4 (i4g32 in layout x16), pair by pair, in whole numbers: where the order of sums may depend on the batch. (Where not: moe_few.cu.)
 *
 *   moe_up_dot     16 rows of a (token, slot): gate and up together, a warp a part of the columns               the unit --> h
 *   moe_down_dot   16 rows of a token: a warp a slot, all columns                                               slots, weighted --> y
 *
 * Tensor cores multiply eight vectors whether they are there or not, and want each code as bf16: four operations for two codes. Here a lane has a row and a group of 32 columns,
 * a code stays four bits, and four of them meet four bytes of activations in one operation (dp4a). Activations are rounded to bf16 and then to 16 bits of a fixed-point number with a power
 * of two for each 16 of them: off by at most 2^-16 of the largest, which is exact for those not below 2^-8 of it.
 *
 *   code c of weights, q = 256 b1 + b0 of activations:      sum (c - 8) q = 256 sum c b1 + sum c b0 - 8 sum q
 *
 * What a launch of some microseconds waits for are trips to memory and its own instructions. So a warp asks for its weights as they lie, all of them at once or as many as its ring
 * holds. */
#include "kernels/cuda/few.h"

/* Sixteen activations: words of b0 and b1, as the codes of two words of weights lie (columns 0, 4, 1, 5; 2, 6, 3, 7); their power of two; - 8 sum q. */
enum { PAIR = 2 * K_RECORD };
struct fixed { uint32_t low[4], high[4]; };
struct fixed_sum { int32_t less; float unit; };

/* Of a step of 64 columns: its four groups side by side, so that lanes of a half of a warp read all banks once. */
enum { STEP_FIXED = 4 * 32, STEP_SUMS = 4 * 8, STEP_BYTES = STEP_FIXED + STEP_SUMS };

/* Four columns, 4 j to 4 j + 3 of a group, in bf16, are a lane's; four lanes side by side have the group. Each writes word j of its bytes. */
K_DEV void fixed_of(uint8_t *group, uint8_t *sums, const float *x, int j)
{
	float top = fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3]))), per, all = 0;
	uint32_t two[2], other, first, second;
	top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
	top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
	/* The largest has 2^14 to 2^15 units, as long as there are units so small: values of eight bits do not reach 2^15. With 1.5 2^23 added the bits of a float end in those of a whole number. */
	int e = (int)(k_f_bits(top) >> 23) - 14;
	e = e < 1 ? 1 : e;
	per = k_bits_f((uint32_t)(254 - e) << 23);
	K_UNROLL for (int i = 0; i < 2; i++) {
		float a = fmaf(x[2 * i], per, 12582912), b = fmaf(x[2 * i + 1], per, 12582912);
		all += (a - 12582912) + (b - 12582912);
		two[i] = k_bytes(k_f_bits(a), k_f_bits(b), 0x5410);
	}
	all += __shfl_xor_sync(0xffffffffu, all, 1);
	all += __shfl_xor_sync(0xffffffffu, all, 2);
	/* Word j: columns 0, 1 of two lanes, or 2, 3. */
	other = k_f_bits(__shfl_xor_sync(0xffffffffu, k_bits_f(j % 2 ? two[0] : two[1]), 1));
	first = j % 2 ? other : two[0];
	second = j % 2 ? two[1] : other;
	((uint32_t *)group)[j] = k_bytes(first, second, 0x6240);
	((uint32_t *)group)[4 + j] = k_bytes(first, second, 0x7351);
	if (j == 0) {
		((int32_t *)sums)[0] = -8 * (int32_t)all;
		((float *)sums)[1] = top < INFINITY ? k_bits_f((uint32_t)e << 23) : k_bits_f(0x7fc00000);
	}
}

/* A lane's 16 bytes of each 512 of a record, or of two that lie together. */
K_DEV void ask_one(k_place to, const uint8_t *from)
{
	k_copy16_to(to, from);
	if (k_lane() < (K_RECORD - 512) / 16)
		k_copy16_to(to + 512, from + 512);
}

K_DEV void ask_two(k_place to, const uint8_t *from)
{
	k_copy16_to(to, from);
	k_copy16_to(to + 512, from + 512);
	if (k_lane() < (PAIR - 1024) / 16)
		k_copy16_to(to + 1024, from + 1024);
}

/* acc += the lane's row and group of a record times x: its two groups of activations. */
K_DEV float record_dot(float acc, const uint8_t *record, const struct fixed *x, const struct fixed_sum *sum)
{
	int row = k_lane() % 16, run = k_lane() / 16;
	uint32_t scale = *(const uint16_t *)(record + 4 * row + 2 * run);
	float all = 0;
	K_UNROLL for (int g = 0; g < 2; g++) {
		int32_t low = sum[g].less, high = 0;
		K_UNROLL for (int j = 0; j < 2; j++) {
			uint32_t w = *(const uint32_t *)(record + 64 + 64 * (4 * run + 2 * g + j) + 4 * row), one = w & 0x0f0f0f0f, other = w >> 4 & 0x0f0f0f0f;
			low = k_dot4(one, x[g].low[2 * j], low);
			high = k_dot4_signed(one, x[g].high[2 * j], high);
			low = k_dot4(other, x[g].low[2 * j + 1], low);
			high = k_dot4_signed(other, x[g].high[2 * j + 1], high);
		}
		all = fmaf((float)(256 * high + low), sum[g].unit, all);
	}
	return fmaf(all, k_bits_f(scale << 16), acc);
}

/* The lane's two groups of a step. */
K_DEV void load_fixed(struct fixed *x, struct fixed_sum *sum, const uint8_t *step)
{
	int run = k_lane() / 16;
	struct k_u4 u = k_load16(step + STEP_FIXED + 16 * run);
	K_UNROLL for (int g = 0; g < 2; g++) {
		struct k_u4 low = k_load16(step + 64 * run + 32 * g), high = k_load16(step + 64 * run + 32 * g + 16);
		K_UNROLL for (int i = 0; i < 4; i++) {
			x[g].low[i] = low.w[i];
			x[g].high[i] = high.w[i];
		}
		sum[g].less = (int32_t)u.w[2 * g];
		sum[g].unit = k_bits_f(u.w[2 * g + 1]);
	}
}

/* What is on the stage at the step before it changes is written over only where a ring and more follow, and then all met behind that step. */
typedef char a_ring_is_no_longer_than_a_round[(int)CUDA_UP_RING <= (int)CUDA_UP_ROUND ? 1 : -1];

/* --- gate and up ------------------------------------------------------------------------------------------------------------ */

/* A round's steps of x, [from, from + n) of a row: to registers, and from there to the stage. A step's columns are those of half a warp. */
enum { LOADS = CUDA_UP_ROUND / 2, LANES = STEP / 4 };

K_DEV void load_x(struct k_u4 *u, const float *x, int from, int n)
{
	K_UNROLL for (int i = 0; i < LOADS; i++) {
		int step = 2 * i + k_lane() / LANES;
		u[i].w[0] = u[i].w[1] = u[i].w[2] = u[i].w[3] = 0;
		if (step < n)
			u[i] = k_load16(x + (from + step) * STEP + 4 * (k_lane() % LANES));
	}
}

K_DEV void stage_x(uint8_t *stage, const struct k_u4 *u, int n)
{
	K_UNROLL for (int i = 0; i < LOADS; i++) {
		/* A step behind the last has room on the stage. */
		int g = k_lane() % LANES / 4;
		uint8_t *step = stage + (2 * i + k_lane() / LANES) * STEP_BYTES;
		float four[4];
		if (2 * i >= n)
			break;
		K_UNROLL for (int k = 0; k < 4; k += 2) {
			uint32_t two = pack_round(k_bits_f(u[i].w[k]), k_bits_f(u[i].w[k + 1]));
			four[k] = k_bits_f(two << 16);
			four[k + 1] = k_bits_f(two & 0xffff0000);
		}
		fixed_of(step + 32 * g, step + STEP_FIXED + 8 * g, four, k_lane() % 4);
	}
}

/* The first warp adds up what the block has of 16 rows, which are a group of h. part[matrix][warp][row] */
enum { ROOM = 48 };
K_DEV void up_store(const struct cuda_moe_up_dot *a, int64_t pair, const float *part, float *unit, uint8_t *room)
{
	float gate = 0, up = 0, four[4];
	uint8_t *to = a->h + (pair * (a->gate.rows / STEP) + blockIdx.x / 4) * STEP_BYTES, *mine = room + k_lane() / 4 * ROOM;
	int g = (int)(blockIdx.x % 4), lane = k_lane();
	K_UNROLL for (int i = 0; i < CUDA_WARPS; i++) {
		gate += part[i * 16 + lane % 16];
		up += part[(CUDA_WARPS + i) * 16 + lane % 16];
	}
	unit[lane] = k_bf16_round(k_unit(gate, up, &a->unit));
	K_WARP_IN_STEP();
	K_UNROLL for (int i = 0; i < 4; i++)
		four[i] = unit[4 * (lane % 4) + i];
	fixed_of(mine, mine + 32, four, lane % 4);
	K_WARP_IN_STEP();
	if (lane < 10)
		*(uint32_t *)(lane < 8 ? to + 32 * g + 4 * lane : to + STEP_FIXED + 8 * g + 4 * (lane - 8)) = ((const uint32_t *)room)[lane];
}

K_KERNEL_EARLY(moe_up_dot, 4)
{
	enum { STAGE = CUDA_UP_ROUND * STEP_BYTES };
	K_SHARED_MORE(rings);
	K_SHARED(float, part, 2 * CUDA_WARPS * 16);
	K_SHARED(float, unit, K_WARP);
	K_SHARED(uint8_t, room, K_WARP / 4 * ROOM);
	int cols = (int)a.gate.cols, steps = cols / STEP, each = (steps + CUDA_WARPS - 1) / CUDA_WARPS, from = k_warp() * each, to = from + each < steps ? from + each : steps;
	int staged = from, place = 0;
	int64_t pair = blockIdx.y;
	uint8_t *ring = rings + k_warp() * CUDA_UP_RING * PAIR, *stage = rings + CUDA_WARPS * CUDA_UP_RING * PAIR + k_warp() * STAGE;
	const float *x = a.x + pair / a.n_used * cols;
	float gate = 0, up = 0;
	struct k_u4 u[LOADS];
	if (!a.early)
		K_WAIT_BEFORE();
	load_x(u, x, from, to - from);
	if (a.early) {
		stage_x(stage, u, to - from);
		K_WAIT_BEFORE();
	}
	int64_t mine = ((int64_t)blockIdx.x * steps + from) * K_RECORD + 16 * k_lane(), expert = a.ids[pair];
	const uint8_t *gates = k_slice(&a.gate, expert) + mine, *ups = k_slice(&a.up, expert) + mine;
	k_place there = k_anew(k_place_of(ring + 16 * k_lane())), next = there;
	K_KEEP(gates);
	K_KEEP(ups);
	K_ROLL for (int step = from; step < from + CUDA_UP_RING; step++) {
		if (step < to) {
			ask_one(next, gates);
			ask_one(next + K_RECORD, ups);
		}
		k_copy_commit();
		next += PAIR;
		gates += K_RECORD;
		ups += K_RECORD;
	}
	if (!a.early)
		stage_x(stage, u, to - from);
	K_ROLL for (int step = from; step < to; step++) {
		struct fixed now[2];
		struct fixed_sum sum[2];
		uint8_t *record = ring + place * PAIR;
		if (step == staged + CUDA_UP_ROUND) {
			staged = step;
			load_x(u, x, staged, to - staged);
			stage_x(stage, u, to - staged);
		}
		k_copy_wait(CUDA_UP_RING - 1);
		K_WARP_IN_STEP();
		load_fixed(now, sum, stage + (step - staged) * STEP_BYTES);
		gate = record_dot(gate, record, now, sum);
		up = record_dot(up, record + K_RECORD, now, sum);
		if (step + CUDA_UP_RING < to) {
			K_WARP_IN_STEP();
			ask_one(there + place * PAIR, gates);
			ask_one(there + place * PAIR + K_RECORD, ups);
			gates += K_RECORD;
			ups += K_RECORD;
		}
		k_copy_commit();
		place = place + 1 == CUDA_UP_RING ? 0 : place + 1;
	}
	gate += __shfl_xor_sync(0xffffffffu, gate, 16);
	up += __shfl_xor_sync(0xffffffffu, up, 16);
	part[k_lane() / 16 * (CUDA_WARPS * 16) + k_warp() * 16 + k_lane() % 16] = k_lane() < 16 ? gate : up;
	__syncthreads();
	if (threadIdx.x < K_WARP)
		up_store(&a, pair, part, unit, room);
}

/* --- down ------------------------------------------------------------------------------------------------------------------- */

/* All of a pair's h to the stage. */
K_DEV void stage_h(uint8_t *stage, const uint8_t *h, int n)
{
	enum { AT_ONCE = 5 };
	K_ROLL for (int first = 16 * k_lane(); first < n; first += AT_ONCE * 16 * K_WARP) {
		struct k_u4 u[AT_ONCE];
		K_UNROLL for (int i = 0; i < AT_ONCE; i++)
			if (first + i * 16 * K_WARP < n)
				u[i] = k_load16(h + first + i * 16 * K_WARP);
		K_UNROLL for (int i = 0; i < AT_ONCE; i++)
			if (first + i * 16 * K_WARP < n)
				k_store16(stage + first + i * 16 * K_WARP, u[i]);
	}
}

/* Steps `step` and the next of `steps`, where there are any, to a place of the ring: a group of copies in any case. */
K_DEV void down_ask(k_place place, const uint8_t *from, int step, int steps)
{
	if (step + 1 < steps)
		ask_two(place, from);
	else if (step < steps)
		ask_one(place, from);
	k_copy_commit();
}

K_DEV float down_step(float acc, const uint8_t *record, const uint8_t *stage)
{
	struct fixed x[2];
	struct fixed_sum sum[2];
	load_fixed(x, sum, stage);
	return record_dot(acc, record, x, sum);
}

/* The lane's row and columns of a pair. */
K_DEV float down_pair(uint8_t *ring, uint8_t *stage, const struct cuda_moe_down_dot *a, int64_t granule, int64_t pair)
{
	int steps = (int)(a->down.cols / STEP), place = 0, depth = a->depth;
	const uint8_t *from = k_slice(&a->down, a->ids[pair]) + granule * steps * K_RECORD + 16 * k_lane();
	k_place there = k_anew(k_place_of(ring + 16 * k_lane())), next = there;
	float one = 0, other = 0;
	K_KEEP(from);
	K_ROLL for (int k = 0; k < depth; k++) {
		down_ask(next, from, 2 * k, steps);
		next += PAIR;
		from += PAIR;
	}
	K_WAIT_BEFORE();
	stage_h(stage, a->h + pair * steps * STEP_BYTES, steps * STEP_BYTES);
	K_ROLL for (int step = 0; step < steps; step += 2) {
		uint8_t *record = ring + place * PAIR;
		if (depth == CUDA_DOWN_RING)
			k_copy_wait(CUDA_DOWN_RING - 1);
		else
			k_copy_wait(CUDA_DOWN_SMALL - 1);
		K_WARP_IN_STEP();
		one = down_step(one, record, stage + step * STEP_BYTES);
		if (step + 1 < steps)
			other = down_step(other, record + K_RECORD, stage + (step + 1) * STEP_BYTES);
		if (step + 2 * depth < steps)
			K_WARP_IN_STEP();
		down_ask(there + place * PAIR, from, step + 2 * depth, steps);
		from += PAIR;
		place = place + 1 == depth ? 0 : place + 1;
	}
	one += other;
	return one + __shfl_xor_sync(0xffffffffu, one, 16);
}

/* Slots in rounds of a warp each. Of block `block`. */
K_DEV void down_token(const struct cuda_moe_down_dot *a, uint8_t *rings, int block)
{
	int granules = (int)(a->down.rows / 16), token = block / granules, granule = block % granules, bytes = (int)(a->down.cols / STEP) * STEP_BYTES;
	int64_t row = (int64_t)granule * 16 + threadIdx.x, first = (int64_t)token * a->n_used;
	uint8_t *ring = rings + k_warp() * a->depth * PAIR, *stage = rings + CUDA_WARPS * a->depth * PAIR + k_warp() * bytes;
	float *part = (float *)(rings + CUDA_WARPS * (a->depth * PAIR + bytes)), y = 0;
	for (int slot = 0; slot < a->n_used; slot += CUDA_WARPS) {
		float sum = 0;
		if (slot + k_warp() < a->n_used)
			sum = a->weights[first + slot + k_warp()] * down_pair(ring, stage, a, granule, first + slot + k_warp());
		K_WAIT_BEFORE();
		if (k_lane() < 16)
			part[k_warp() * 16 + k_lane()] = sum;
		__syncthreads();
		K_UNROLL for (int i = 0; i < CUDA_WARPS; i++)
			y += part[16 * i + threadIdx.x % 16];
		if (slot + CUDA_WARPS < a->n_used)
			__syncthreads();
	}
	if (threadIdx.x < 16)
		a->y[token * a->down.rows + row] = y;
}

K_KERNEL_EARLY(moe_down_dot, 2)
{
	K_SHARED_MORE(more);
	int blocks = (int)(a.down.rows / 16) * a.n, block = (int)blockIdx.x;
	if (block < blocks) {
		down_token(&a, more, block);
	} else {
		struct few_room room = few_room(more);
		struct vectors v = { a.also.x, a.also.x_step, a.also.w.cols, a.n };
		few_parts(&room, CUDA_BF16, &a.also.w, block - blocks, &v, CUDA_FEW_AHEAD);
		few_sum(&a.also, &room, block - blocks, &v, 0);
	}
}
