/* flash.cu: attention on tensor cores where each query head has few channels (FlashAttention, arXiv:2307.08691): a block CUDA_FLASH_QUERIES queries (row, head of
 * the group) of one segment and key head over a span of positions, STEP of them at a time.
 *
 *   keys, values     asynchronously to shared memory, a step ahead; every warp reads all
 *   a warp           16 queries: scores = queries (registers) x keys -> running maximum and sum -> weights -> x values, sums in registers
 *
 * Weights are a fragment of scores that was rounded to bf16 (mma.h): nothing of them leaves the registers. Lane l has columns of rows l / 4 and + 8. What a query
 * does not see weighs 0, and steps lie on a grid of absolute positions, so that its bits do not depend on what else is in its tile. */
#include "kernels/cuda/attn_mma.h"

enum { STEP = 32, STAGES = 2, RUNS = CUDA_FLASH_DK / RUN, WIDE = 64, GROUPS = CUDA_FLASH_DV / WIDE, TILES = STEP / 8 };
/* Bytes of a position in shared memory. A lane reads 16 bytes of keys of position lane / 4, and of values of position 2 (lane % 4): strides are such that a quarter
 * of a warp reads all banks once. */
enum { KEY = STRIDE(CUDA_FLASH_DK), VALUE = 2 * CUDA_FLASH_DV + 16 };

/* Columns to multiples of RUN, of WIDE: what is more is zeros. */
K_DEV int whole(int n, int of) { return (n + of - 1) / of * of; }

/* The n positions of a step, from position `at` on. */
K_DEV void bring(uint8_t *keys, uint8_t *values, const struct cuda_attend *op, const struct cuda_seg *s, int64_t at, int n)
{
	const uint16_t *from = n > 0 ? (const uint16_t *)k_slot(s, at, op->width, true) : NULL;
	int k = whole(op->dk, RUN) / 8, v = whole(op->dv, WIDE) / 8;
	for (int p = k_warp(); n > 0 && p < STEP; p += CUDA_WARPS)
		for (int i = k_lane(); i < k + v; i += K_WARP) {
			bool key = i < k;
			int c = 8 * (key ? i : i - k), size = key ? op->dk : op->dv, begin = key ? (int)blockIdx.y * op->dk : op->value + (int)blockIdx.y * op->dv;
			bool there = p < n && c < size;
			k_copy16(key ? keys + p * KEY + 2 * c : values + p * VALUE + 2 * c, there ? from + (int64_t)p * op->width + begin + c : from, there);
		}
	k_copy_commit();
}

/* A warp's queries: of the lane's two rows, how many positions they see, and what is known so far; sum: the lane's part. */
struct queries { uint32_t q[RUNS][2][4]; float acc[GROUPS][8][4], top[2], sum[2]; int64_t limit[2]; };

K_DEV void queries_load(struct queries *w, const struct cuda_attend *op, const struct tile *t)
{
	K_UNROLL for (int half = 0; half < 2; half++) {
		int i = 16 * k_warp() + k_lane() / 4 + 8 * half;
		bool live = i < t->n;
		const float *query = live ? op->query + tile_at(op, t, i) * op->dk : NULL;
		w->limit[half] = live ? op->seg[t->seg].pos + tile_row(t, i) - op->seg[t->seg].row + 1 : 0;
		w->top[half] = -INFINITY;
		w->sum[half] = 0;
		K_UNROLL for (int run = 0; run < RUNS; run++) {
			int c = RUN * run + 8 * (k_lane() % 4);
			uint32_t x[4];
			load8(x, live && c < op->dk ? query + c : NULL, false);
			K_UNROLL for (int k = 0; k < 4; k++)
				w->q[run][k / 2][k % 2 * 2 + half] = x[k];
		}
	}
	K_UNROLL for (int g = 0; g < GROUPS; g++)
		K_UNROLL for (int k = 0; k < 8; k++)
			K_UNROLL for (int i = 0; i < 4; i++)
				w->acc[g][k][i] = 0;
}

/* c[k]: scores of 8 positions, to weights; the sums are taken down to the new maximum. */
K_DEV void weigh(struct queries *w, float (*c)[4], float scale, int64_t base)
{
	K_UNROLL for (int half = 0; half < 2; half++) {
		int sees = (int)(w->limit[half] - base < STEP ? w->limit[half] - base : STEP);
		float m = w->top[half], f, sum = 0;
		K_UNROLL for (int k = 0; k < 2 * TILES; k++) {
			float *x = &c[k / 2][2 * half + k % 2];
			*x *= scale;
			m = fmaxf(m, 8 * (k / 2) + k_lane() % 4 * 2 + k % 2 < sees ? *x : -INFINITY);
		}
		for (int x = 1; x <= 2; x *= 2)
			m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, x));
		f = w->top[half] > -INFINITY ? expf(w->top[half] - m) : 0;
		K_UNROLL for (int k = 0; k < 2 * TILES; k++) {
			float *x = &c[k / 2][2 * half + k % 2];
			*x = 8 * (k / 2) + k_lane() % 4 * 2 + k % 2 < sees ? expf(*x - m) : 0;
			sum += *x;
		}
		w->sum[half] = fmaf(w->sum[half], f, sum);
		w->top[half] = m;
		K_UNROLL for (int g = 0; g < GROUPS; g++)
			K_UNROLL for (int k = 0; k < 8; k++)
				K_UNROLL for (int i = 0; i < 2; i++)
					w->acc[g][k][2 * half + i] *= f;
	}
}

/* Column and row of a fragment of values: tile k is column k of each eight (attn_mma.h: column). */
K_DEV void mix(struct queries *w, float (*c)[4], const uint8_t *values, int dv)
{
	K_UNROLL for (int two = 0; two < TILES / 2; two++) {
		uint32_t weight[4];
		a_from_c(weight, c[2 * two], c[2 * two + 1]);
		K_UNROLL for (int g = 0; g < GROUPS; g++) {
			struct k_u4 x[4];
			if (WIDE * g >= dv)
				continue;
			K_UNROLL for (int i = 0; i < 4; i++)
				x[i] = k_load16(values + (16 * two + i / 2 * 8 + k_lane() % 4 * 2 + i % 2) * VALUE + 2 * WIDE * g + 16 * (k_lane() / 4));
			K_UNROLL for (int k = 0; k < 8; k++) {
				uint32_t b[2] = { column(x[0].w[k / 2], x[1].w[k / 2], k % 2), column(x[2].w[k / 2], x[3].w[k / 2], k % 2) };
				mma16816(w->acc[g][k], weight, b);
			}
		}
	}
}

K_DEV void step(struct queries *w, const struct cuda_attend *op, const uint8_t *keys, const uint8_t *values, int64_t base)
{
	float c[TILES][4] = { { 0 } };
	K_UNROLL for (int run = 0; run < RUNS; run++)
		if (RUN * run < op->dk)
			K_UNROLL for (int k = 0; k < TILES; k++) {
				struct k_u4 b = k_load16(keys + (8 * k + k_lane() / 4) * KEY + 2 * RUN * run + 16 * (k_lane() % 4));
				mma16816(c[k], w->q[run][0], b.w);
				mma16816(c[k], w->q[run][1], b.w + 2);
			}
	weigh(w, c, op->scale, base);
	mix(w, c, values, op->dv);
}

K_DEV void queries_store(struct queries *w, const struct cuda_attend *op, const struct tile *t)
{
	K_UNROLL for (int half = 0; half < 2; half++) {
		int row = 16 * k_warp() + k_lane() / 4 + 8 * half;
		float *part = op->parts + (row < t->n ? tile_at(op, t, row) * op->n_span + blockIdx.z : 0) * (op->dv + 2);
		for (int x = 1; x <= 2; x *= 2)
			w->sum[half] += __shfl_xor_sync(0xffffffffu, w->sum[half], x);
		if (row >= t->n)
			continue;
		if (k_lane() % 4 == 0) {
			part[0] = w->top[half];
			part[1] = w->sum[half];
		}
		K_UNROLL for (int g = 0; g < GROUPS; g++)
			K_UNROLL for (int i = 0; i < 2; i++)
				K_UNROLL for (int k = 0; k < 8; k++) {
					int channel = WIDE * g + 8 * (k_lane() % 4 * 2 + i) + k;
					if (channel < op->dv)
						part[2 + channel] = w->acc[g][k][2 * half + i];
				}
	}
}

K_KERNEL(attend_flash)
{
	K_SHARED(uint8_t, keys, STAGES * STEP * KEY);
	K_SHARED(uint8_t, values, STAGES * STEP * VALUE);
	const struct cuda_attend *op = &a.attend;
	struct tile t = tile_of(op, blockIdx.x, CUDA_FLASH_QUERIES);
	const struct cuda_seg *s = op->seg + t.seg;
	int64_t from = a.from + blockIdx.z * a.span, to;
	struct queries w;
	int stage = 0;
	if (t.n == 0)
		return;
	to = s->pos + tile_row(&t, t.n - 1) - s->row + 1;
	to = to < a.to ? to : a.to;
	to = to < from + a.span ? to : from + a.span;
	if (from >= to)
		return;
	queries_load(&w, op, &t);
	bring(keys, values, op, s, from, (int)(to - from < STEP ? to - from : STEP));
	for (int64_t base = from; base < to; base += STEP, stage ^= 1) {
		int64_t next = to - base - STEP;
		bring(keys + (stage ^ 1) * STEP * KEY, values + (stage ^ 1) * STEP * VALUE, op, s, base + STEP, (int)(next < STEP ? next : STEP));
		k_copy_wait(1);
		__syncthreads();
		if (16 * k_warp() < t.n)
			step(&w, op, keys + stage * STEP * KEY, values + stage * STEP * VALUE, base);
		__syncthreads();
	}
	if (16 * k_warp() < t.n)
		queries_store(&w, op, &t);
}
