/* many.cu: products with up to CUDA_FEW vectors (decode), of several matrices in one launch: a block finds its matrix by its number.
 *
 *   of_mma     16 rows a block on tensor cores; its warps take a part of the columns each (few.h)     parts in order --> y
 *   of_exact   on the ordinary cores in f32: a row by 1 or 4 warps, a part of the columns each, a lane every 128th four of them    parts in order --> y */
#include "kernels/cuda/few.h"

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

/* Can four columns be read at once? */
K_DEV bool exact_wide(const struct cuda_product_of *p, const struct vectors *v)
{
	bool plain = p->w.type == CUDA_F32 || p->w.type == CUDA_BF16, even = p->w.cols % 4 == 0 && v->x_step % 4 == 0;
	return plain && even && (uintptr_t)p->w.data % 16 == 0 && (uintptr_t)v->x % 16 == 0;
}

K_DEV void exact_store(const struct cuda_product_of *p, int64_t row, int64_t vector, float s) { p->y[vector * p->y_step + row] = p->bias ? s + p->bias[row] : s; }

/* Rows of up to 128 columns: CUDA_EXACT_ROWS a warp, all of them under way at once. */
K_DEV void exact_short(const struct cuda_product_of *p, int64_t row, const struct vectors *v, int first, bool round)
{
	struct four f[CUDA_EXACT_ROWS];
	int cols = (int)p->w.cols, at = 4 * k_lane();
	K_UNROLL for (int r = 0; r < CUDA_EXACT_ROWS; r++)
		f[r] = four_of(&p->w, p->w.data + (row + r) * cols * (p->w.type == CUDA_F32 ? 4 : 2), at, row + r < p->w.rows ? cols : 0);
	K_WAIT_BEFORE();
	K_ROLL for (int t = 0; t < v->n; t++) {
		struct k_u4 x = { { 0, 0, 0, 0 } };
		float sum[CUDA_EXACT_ROWS] = { 0 };
		if (at < cols)
			x = k_load16(v->x + t * v->x_step + at);
		K_UNROLL for (int i = 0; i < 4; i++) {
			float value = round ? k_bf16_round(k_bits_f(x.w[i])) : k_bits_f(x.w[i]);
			K_UNROLL for (int r = 0; r < CUDA_EXACT_ROWS; r++)
				sum[r] = fmaf(f[r].v[i], value, sum[r]);
		}
		K_UNROLL for (int r = 0; r < CUDA_EXACT_ROWS; r++) {
			float s = k_warp_sum(sum[r]);
			if (k_lane() == 0 && row + r < p->w.rows)
				exact_store(p, row + r, first + t, s);
		}
	}
}

K_DEV void of_exact_short(const struct cuda_product_of *p, int block, const struct vectors *v, int first)
{
	int64_t row = ((int64_t)block * CUDA_WARPS + k_warp()) * CUDA_EXACT_ROWS;
	if (exact_wide(p, v)) {
		exact_short(p, row, v, first, p->exact == CUDA_ROUNDED);
		return;
	}
	K_ROLL for (int r = 0; r < CUDA_EXACT_ROWS && row + r < p->w.rows; r++) {
		float sum[CUDA_FEW] = { 0 };
		exact_sums_slowly(sum, &p->w, row + r, 0, (int)p->w.cols, v, p->exact == CUDA_ROUNDED);
		K_UNROLL for (int t = 0; t < CUDA_FEW; t++)
			if (t < v->n) {
				float s = k_warp_sum(sum[t]);
				if (k_lane() == 0)
					exact_store(p, row + r, first + t, s);
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
		if (exact_wide(p, v))
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
		exact_store(p, row, first + t, s);
	}
}

K_DEV void of_mma(const struct cuda_product_of *p, const struct few_room *room, int block, const struct vectors *v, int64_t first, bool deep)
{
	if (deep)
		few_parts_of(room, &p->w, block, v, CUDA_FEW_DEEP);
	else
		few_parts_of(room, &p->w, block, v, CUDA_FEW_AHEAD);
	few_sum(p, room, block, v, first);
}

K_KERNEL_EARLY(gemm_many, 3)
{
	K_SHARED_MORE(more);
	struct few_room room = few_room(more);
	int i = 0;
	while (i + 1 < a.count && (int)blockIdx.x >= a.of[i + 1].block)
		i++;
	const struct cuda_product_of *p = &a.of[i];
	int64_t first = (int64_t)blockIdx.y * CUDA_FEW;
	struct vectors v = { p->x + first * p->x_step, p->x_step, p->w.cols, (int)(a.n - first < CUDA_FEW ? a.n - first : CUDA_FEW) };
	if (p->exact && p->w.cols <= CUDA_EXACT_SHORT)
		of_exact_short(p, (int)blockIdx.x - p->block, &v, (int)first);
	else if (p->exact)
		of_exact(p, room.part, (int)blockIdx.x - p->block, &v, (int)first);
	else
		of_mma(p, &room, (int)blockIdx.x - p->block, &v, first, a.deep);
}
