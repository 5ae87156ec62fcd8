/* flash.cu: attention on tensor cores where each query head has few channels (FlashAttention, arXiv:2307.08691): a block CUDA_FLASH_QUERIES queries (row, head of
 * the group) of one segment and key head over a span of positions, STEP of them at a time.
 *
 *   keys, values     asynchronously to shared memory, a step ahead; every warp reads all
 *   a warp           16 queries: scores = queries (registers) x keys -> running maximum and sum -> weights -> x values, sums in registers
 *
 * Latent attention over a long stretch of a prompt is that too, with a key head a query head, once mla_expand has made keys and values of every head from the
 * latents; parts are carried from one run of positions to the next.
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

/* The n positions of a step, that lie in a row. */
K_DEV void bring(uint8_t *keys, uint8_t *values, const struct cuda_attend *op, const uint16_t *from, int n)
{
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

/* A warp's queries: of the lane's two rows, how many positions they see, and what is known so far. */
struct queries { uint32_t q[RUNS][2][4]; float acc[GROUPS][8][4], top[2], sum[2]; int64_t limit[2]; };

/* The channel of acc[g][k][2 * half + i]: tile k is column k of each eight (attn_mma.h: column). */
K_DEV int channel_of(int g, int k, int i) { return WIDE * g + 8 * (k_lane() % 4 * 2 + i) + k; }

K_DEV void queries_load(struct queries *w, const struct cuda_attend *op, const struct tile *t, bool carry)
{
	K_UNROLL for (int half = 0; half < 2; half++) {
		int i = 16 * k_warp() + k_lane() / 4 + 8 * half;
		bool live = i < t->n;
		int64_t at = live ? tile_at(op, t, i) : 0;
		const float *query = op->query + at * op->dk, *part = op->parts + (at * op->n_span + blockIdx.z) * (op->dv + 2);
		bool more = live && carry;
		w->limit[half] = live ? op->seg[t->seg].pos + tile_row(t, i) - op->seg[t->seg].row + 1 : 0;
		w->top[half] = more ? part[0] : -INFINITY;
		w->sum[half] = more ? part[1] : 0;
		K_UNROLL for (int g = 0; g < GROUPS; g++)
			K_UNROLL for (int k = 0; k < 16; k++)
				w->acc[g][k / 2][2 * half + k % 2] = more && channel_of(g, k / 2, k % 2) < op->dv ? part[2 + channel_of(g, k / 2, k % 2)] : 0;
		K_UNROLL for (int run = 0; run < RUNS; run++) {
			int c = RUN * run + 8 * (k_lane() % 4);
			uint32_t x[4];
			load8(x, live && c < op->dk ? query + c : NULL, false);
			K_UNROLL for (int k = 0; k < 4; k++)
				w->q[run][k / 2][k % 2 * 2 + half] = x[k];
		}
	}
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
		for (int x = 1; x <= 2; x *= 2)
			sum += __shfl_xor_sync(0xffffffffu, sum, x);
		w->sum[half] = fmaf(w->sum[half], f, sum);
		w->top[half] = m;
		K_UNROLL for (int g = 0; g < GROUPS; g++)
			K_UNROLL for (int k = 0; k < 8; k++)
				K_UNROLL for (int i = 0; i < 2; i++)
					w->acc[g][k][2 * half + i] *= f;
	}
}

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
		if (row >= t->n)
			continue;
		if (k_lane() % 4 == 0) {
			part[0] = w->top[half];
			part[1] = w->sum[half];
		}
		K_UNROLL for (int g = 0; g < GROUPS; g++)
			K_UNROLL for (int i = 0; i < 2; i++)
				K_UNROLL for (int k = 0; k < 8; k++)
					if (channel_of(g, k, i) < op->dv)
						part[2 + channel_of(g, k, i)] = w->acc[g][k][2 * half + i];
	}
}

/* Where the values of position `at` begin; NULL: it is not wanted. */
K_DEV const uint16_t *position(const struct cuda_attend_flash *a, const struct cuda_seg *s, int64_t at, bool wanted)
{
	if (!wanted)
		return NULL;
	return a->flat ? a->flat + (at - a->from) * a->attend.width : (const uint16_t *)k_slot(s, at, a->attend.width, true);
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
	queries_load(&w, op, &t, a.carry);
	bring(keys, values, op, position(&a, s, from, true), (int)(to - from < STEP ? to - from : STEP));
	for (int64_t base = from; base < to; base += STEP, stage ^= 1) {
		int64_t next = to - base - STEP;
		bring(keys + (stage ^ 1) * STEP * KEY, values + (stage ^ 1) * STEP * VALUE, op, position(&a, s, base + STEP, next > 0), (int)(next < STEP ? next : STEP));
		k_copy_wait(1);
		__syncthreads();
		if (16 * k_warp() < t.n)
			step(&w, op, keys + stage * STEP * KEY, values + stage * STEP * VALUE, base);
		__syncthreads();
	}
	if (16 * k_warp() < t.n)
		queries_store(&w, op, &t);
}

/* --- expand --------------------------------------------------------------------------------------------------------------- */

/* A warp: all positions x 32 rows of K_h and V_h, four tiles of eight. */
enum { EIGHTS = 4, HALVES = CUDA_EXPAND / 16 };

K_DEV void expand_rows(const struct cuda_mla_expand *a, float (*acc)[HALVES][4], const uint8_t *latents, int stride, int64_t first, bool bf16)
{
	for (int run = 0; run < whole(a->r, RUN) / RUN; run++) {
		int c = RUN * run + 8 * (k_lane() % 4);
		uint32_t x[HALVES][2][4];
		K_UNROLL for (int h = 0; h < HALVES; h++)
			rows_run(x[h], rows_at(latents, stride, h, run), stride);
		K_UNROLL for (int j = 0; j < EIGHTS; j++) {
			int row = (int)first + 8 * j + k_lane() / 4;
			uint32_t b[4];
			load8(b, row < a->dn + a->dv && c < a->r ? value_at(a->kv_b, bf16, ((int64_t)blockIdx.y * (a->dn + a->dv) + row) * a->r + c) : NULL, bf16);
			K_UNROLL for (int h = 0; h < HALVES; h++) {
				mma16816(acc[j][h], x[h][0], b);
				mma16816(acc[j][h], x[h][1], b + 2);
			}
		}
	}
}

K_KERNEL(mla_expand)
{
	enum { BYTES = STRIDE(CUDA_DV) };
	K_SHARED(uint8_t, latents, CUDA_EXPAND * BYTES);
	int64_t first = a.from + (int64_t)blockIdx.x * CUDA_EXPAND, width = (int64_t)a.n_head * (a.dn + a.dr + a.dv);
	int n = (int)(a.to - first < CUDA_EXPAND ? a.to - first : CUDA_EXPAND), stride = STRIDE(a.r);
	uint16_t *key = a.out + (first - a.from) * width + (int64_t)blockIdx.y * (a.dn + a.dr);
	uint16_t *value = a.out + (first - a.from) * width + (int64_t)a.n_head * (a.dn + a.dr) + (int64_t)blockIdx.y * a.dv;
	for (int p = k_warp(); p < CUDA_EXPAND; p += CUDA_WARPS) {
		const uint16_t *from = (const uint16_t *)k_slot(a.seg, p < n ? first + p : first, a.r + a.dr, true);
		for (int c = 8 * k_lane(); c < whole(a.r, RUN); c += 8 * K_WARP) {
			bool there = p < n && c < a.r;
			k_copy16(latents + p * stride + 2 * c, there ? from + c : from, there);
		}
		for (int c = k_lane(); p < n && c < a.dr; c += K_WARP)
			key[p * width + a.dn + c] = from[a.r + c];
	}
	k_copy_commit();
	k_copy_wait(0);
	__syncthreads();
	for (int from = 8 * EIGHTS * k_warp(); from < a.dn + a.dv; from += 8 * EIGHTS * CUDA_WARPS) {
		float acc[EIGHTS][HALVES][4] = { { { 0 } } };
		/* Twice, so that the loops inside know which. */
		if (a.bf16)
			expand_rows(&a, acc, latents, stride, from, true);
		else
			expand_rows(&a, acc, latents, stride, from, false);
		K_UNROLL for (int j = 0; j < EIGHTS; j++)
			K_UNROLL for (int h = 0; h < HALVES; h++)
				K_UNROLL for (int i = 0; i < 4; i += 2) {
					int p = 16 * h + k_lane() / 4 + i / 2 * 8, row = from + 8 * j + k_lane() % 4 * 2;
					uint16_t *to = row < a.dn ? key + p * width + row : value + p * width + row - a.dn;
					if (p < n && row < a.dn + a.dv)
						*(uint32_t *)to = pack_round(acc[j][h][i], acc[j][h][i + 1]);
				}
	}
}
