/* many.cu: products with up to CUDA_FEW vectors (decode), of several matrices in one launch: a block finds its matrix by its number.
 *
 *   of_mma     16 rows a block on tensor cores; its warps take a part of the columns each (few.h)     parts in order --> y
 *   of_exact   on the ordinary cores in f32: a row by 1 or 4 warps, a part of the columns each, a lane every 128th four of them    parts in order --> y */
#include "kernels/cuda/few.h"

enum { STAGE = 12 * 1024, RING = 4096 };

/* part[(warp * CUDA_FEW + vector) * 16 + row] of granule g. type and ahead are constants; ring: of the warp. */
K_DEV void few_parts(float *part, uint8_t *stage, uint8_t *ring, enum cuda_type type, const struct cuda_matrix *w, int64_t g, const struct vectors *v, int ahead)
{
	int steps = ((int)w->cols + STEP - 1) / STEP, each = (int)strip_part(w->cols), from = k_warp() * each, to = from + each < steps ? from + each : steps;
	int round = STAGE / CUDA_WARPS / VECTOR / v->n, slot = 0;
	float acc[4] = { 0 };
	struct lane_rows at = lane_rows_of(type, w, w->data, g);
	struct staged staged = { from, from };
	struct strip s;
	stage += k_warp() * (STAGE / CUDA_WARPS);
	K_ROLL for (int k = 0; k < ahead && rings(type); k++) {
		if (from + k < to)
			ring_ask(ring + k * ring_bytes(type), type, w, &at, from + k);
		k_copy_commit();
	}
	K_WAIT_BEFORE();
	K_ROLL for (int step = from; step < to; step++) {
		if (!rings(type))
			strip_load(&s, type, w, w->data, g, step);
		stage_step(&staged, stage, type, v, step, from, to, round);
		if (rings(type))
			ring_step(acc, type, w, &at, ring + slot * ring_bytes(type), step, to, ahead, ahead - 1, stage, &staged, v->n);
		else
			times_vectors(acc, &s, type, stage, step - staged.first, v->n);
		slot = slot + 1 == ahead ? 0 : slot + 1;
	}
	K_UNROLL for (int i = 0; i < 4; i++)
		part[(k_warp() * CUDA_FEW + k_lane() % 4 * 2 + i % 2) * 16 + strip_row(type, i / 2)] = acc[i];
}

K_DEV void few_parts_of(float *part, uint8_t *stage, uint8_t *ring, const struct cuda_matrix *w, int64_t g, const struct vectors *v)
{
	ring += k_warp() * RING;
	if (w->type == CUDA_I4_X16)
		few_parts(part, stage, ring, CUDA_I4_X16, w, g, v, 6);
	else if (w->type == CUDA_BF16)
		few_parts(part, stage, ring, CUDA_BF16, w, g, v, 2);
	else if (w->type == CUDA_MXFP4)
		few_parts(part, stage, ring, CUDA_MXFP4, w, g, v, 2);
	else if (w->type == CUDA_MX4_X16)
		few_parts(part, stage, ring, CUDA_MX4_X16, w, g, v, 2);
	else
		few_parts(part, stage, ring, CUDA_FP8B128, w, g, v, 2);
}

K_DEV void of_mma(const struct cuda_product_of *p, uint8_t *stage, uint8_t *ring, float *part, int64_t block, const struct vectors *v, int64_t first)
{
	few_parts_of(part, stage, ring, &p->w, block, v);
	__syncthreads();
	if ((int)threadIdx.x < v->n * 16) {
		int vector = (int)threadIdx.x / 16;
		int64_t row = block * 16 + threadIdx.x % 16;
		float s = 0;
		for (int i = 0; i < CUDA_WARPS; i++)
			s += part[(i * CUDA_FEW + vector) * 16 + threadIdx.x % 16];
		if (row < p->w.rows)
			p->y[(first + vector) * p->y_step + row] = p->bias ? s + p->bias[row] : s;
	}
}

/* --- on the ordinary cores ------------------------------------------------------------------------------------------------- */

struct four { float v[4]; };

/* Columns k to k + 3 of a row of F32 or BF16, zeros behind the last. */
K_DEV struct four four_of(const struct cuda_matrix *w, const uint8_t *row, int k, int end)
{
	struct four f = { { 0, 0, 0, 0 } };
	if (k < end && w->type == CUDA_F32) {
		struct k_u4 u = k_load16_once(row + 4 * k);
		K_UNROLL for (int i = 0; i < 4; i++)
			f.v[i] = k_bits_f(u.w[i]);
	} else if (k < end) {
		uint64_t u = *(const uint64_t *)(row + 2 * k);
		K_UNROLL for (int i = 0; i < 4; i++)
			f.v[i] = k_bits_f((uint32_t)(u >> 16 * i) << 16);
	}
	return f;
}

/* sum[t]: the lane's columns of [from, end) of a row, four of every 128, times vector t; of F32 or BF16, four columns at once. */
K_DEV void exact_sums(float *sum, const struct cuda_matrix *w, int64_t row, int from, int end, const struct vectors *v, bool round)
{
	enum { AHEAD = 5, EACH = 4 * K_WARP };
	const uint8_t *data = w->data + row * w->cols * (w->type == CUDA_F32 ? 4 : 2);
	struct four f[AHEAD];
	K_UNROLL for (int k = 0; k < AHEAD; k++)
		f[k] = four_of(w, data, from + EACH * k + 4 * k_lane(), end);
	K_WAIT_BEFORE();
	K_ROLL for (; from < end; from += AHEAD * EACH) {
		K_UNROLL for (int t = 0; t < CUDA_FEW; t++)
			if (t < v->n) {
				struct k_u4 x[AHEAD];
				K_UNROLL for (int k = 0; k < AHEAD; k++) {
					int at = from + EACH * k + 4 * k_lane();
					x[k].w[0] = x[k].w[1] = x[k].w[2] = x[k].w[3] = 0;
					if (at < end)
						x[k] = k_load16(v->x + t * v->x_step + at);
				}
				if (round)
					K_UNROLL for (int k = 0; k < AHEAD; k++)
						K_UNROLL for (int i = 0; i < 4; i += 2) {
							uint32_t two = pack_round(k_bits_f(x[k].w[i]), k_bits_f(x[k].w[i + 1]));
							x[k].w[i] = two << 16;
							x[k].w[i + 1] = two & 0xffff0000;
						}
				K_UNROLL for (int k = 0; k < AHEAD; k++)
					K_UNROLL for (int i = 0; i < 4; i++)
						sum[t] = fmaf(f[k].v[i], k_bits_f(x[k].w[i]), sum[t]);
			}
		K_UNROLL for (int k = 0; k < AHEAD; k++)
			f[k] = four_of(w, data, from + EACH * (AHEAD + k) + 4 * k_lane(), end);
	}
}

/* The same of any type and at any address. */
K_DEV void exact_sums_slowly(float *sum, const struct cuda_matrix *w, int64_t row, int from, int end, const struct vectors *v, bool round)
{
	K_WAIT_BEFORE();
	K_ROLL for (int at = from + 4 * k_lane(); at < end; at += 4 * K_WARP)
		K_ROLL for (int k = at; k < at + 4 && k < end; k++) {
			float value = k_value(w->type, w->data, w->cols, row, k);
			K_UNROLL for (int t = 0; t < CUDA_FEW; t++)
				if (t < v->n) {
					float x = v->x[t * v->x_step + k];
					sum[t] = fmaf(value, round ? k_bf16_round(x) : x, sum[t]);
				}
		}
}

/* part[warp][vector] */
K_DEV void of_exact(const struct cuda_product_of *p, float *part, int block, const struct vectors *v, int first)
{
	int parts = cuda_exact_parts(p->w.cols), rows = CUDA_WARPS / parts;
	int64_t each = (p->w.cols + parts - 1) / parts, row = (int64_t)block * rows + k_warp() / parts;
	float sum[CUDA_FEW] = { 0 };
	each = (each + 127) / 128 * 128;
	if (row < p->w.rows) {
		int from = k_warp() % parts * (int)each, end = from + (int)each < (int)p->w.cols ? from + (int)each : (int)p->w.cols;
		bool plain = p->w.type == CUDA_F32 || p->w.type == CUDA_BF16, even = p->w.cols % 4 == 0 && v->x_step % 4 == 0;
		if (plain && even && (uintptr_t)p->w.data % 16 == 0 && (uintptr_t)v->x % 16 == 0)
			exact_sums(sum, &p->w, row, from, end, v, p->exact == CUDA_ROUNDED);
		else
			exact_sums_slowly(sum, &p->w, row, from, end, v, p->exact == CUDA_ROUNDED);
	}
	K_WAIT_BEFORE();
	K_UNROLL for (int t = 0; t < CUDA_FEW; t++)
		if (t < v->n) {
			float s = k_warp_sum(sum[t]);
			if (k_lane() == 0)
				part[k_warp() * CUDA_FEW + t] = s;
		}
	__syncthreads();
	int r = (int)threadIdx.x / CUDA_FEW, t = (int)threadIdx.x % CUDA_FEW;
	row = (int64_t)block * rows + r;
	if (r < rows && t < v->n && row < p->w.rows) {
		float s = 0;
		for (int i = 0; i < parts; i++)
			s += part[(r * parts + i) * CUDA_FEW + t];
		p->y[(first + t) * p->y_step + row] = p->bias ? s + p->bias[row] : s;
	}
}

K_KERNEL_EARLY(gemm_many, 3)
{
	K_SHARED(uint8_t, stage, STAGE);
	K_SHARED(uint8_t, ring, CUDA_WARPS * RING);
	K_SHARED(float, part, CUDA_WARPS * CUDA_FEW * 16);
	int i = 0;
	while (i + 1 < a.count && (int)blockIdx.x >= a.of[i + 1].block)
		i++;
	const struct cuda_product_of *p = &a.of[i];
	int64_t first = (int64_t)blockIdx.y * CUDA_FEW;
	struct vectors v = { p->x + first * p->x_step, p->x_step, p->w.cols, (int)(a.n - first < CUDA_FEW ? a.n - first : CUDA_FEW) };
	if (p->exact)
		of_exact(p, part, (int)blockIdx.x - p->block, &v, (int)first);
	else
		of_mma(p, stage, ring, part, (int)blockIdx.x - p->block, &v, first);
}
