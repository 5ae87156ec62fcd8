/* elem.cu: kernels on rows and elements: embedding, norm, addition, blend, SwiGLU and SiTU, gate, precision of activations. */
#include "kernels/cuda/cuda_dev.h"

K_KERNEL(embed)
{
	int64_t row = a.ids[blockIdx.x];
	for (int64_t k = threadIdx.x; k < a.w.cols; k += CUDA_THREADS)
		a.y[blockIdx.x * a.w.cols + k] = k_value(a.w.type, a.w.data, a.w.cols, row, k);
}

/* Four values of a row from k on, zeros behind its end. */
K_DEV struct k_u4 row_load4(const float *p, int64_t k, int64_t n, bool wide)
{
	struct k_u4 u = { { 0, 0, 0, 0 } };
	if (wide && k + 4 <= n)
		return k_load16(p + k);
	K_UNROLL for (int i = 0; i < 4; i++)
		if (k + i < n)
			u.w[i] = k_f_bits(p[k + i]);
	return u;
}

K_DEV float squares(float sum, struct k_u4 x)
{
	K_UNROLL for (int i = 0; i < 4; i++)
		sum = fmaf(k_bits_f(x.w[i]), k_bits_f(x.w[i]), sum);
	return sum;
}

K_DEV void row_store4(float *y, int64_t k, int64_t n, bool wide, struct k_u4 u)
{
	if (wide && k + 4 <= n) {
		k_store16(y + k, u);
		return;
	}
	K_UNROLL for (int i = 0; i < 4; i++)
		if (k + i < n)
			y[k + i] = k_bits_f(u.w[i]);
}

K_DEV void norm_store4(float *y, int64_t k, int64_t n, bool wide, struct k_u4 x, struct k_u4 w, float scale)
{
	struct k_u4 u;
	K_UNROLL for (int i = 0; i < 4; i++)
		u.w[i] = k_f_bits(k_bits_f(w.w[i]) * (k_bits_f(x.w[i]) * scale));
	row_store4(y, k, n, wide, u);
}

/* Four values at a time; the first NORM_KEPT a thread stay in registers, all asked for at once. */
enum { NORM_KEPT = 4, NORM_STEP = 4 * CUDA_THREADS };

/* The row at x, by a block; kept and w: what the thread has of them. */
K_DEV void norm_row(const struct cuda_rmsnorm *a, int64_t row, const struct k_u4 *kept, const struct k_u4 *w, float *part)
{
	const float *x = a->x + row * a->x_step;
	float *y = a->y + row * a->y_step, sum = 0, scale;
	int64_t first = 4 * (int64_t)threadIdx.x;
	bool wide = a->wide;
	K_UNROLL for (int i = 0; i < NORM_KEPT; i++)
		sum = squares(sum, kept[i]);
	for (int64_t k = first + NORM_KEPT * NORM_STEP; k < a->dim; k += NORM_STEP)
		sum = squares(sum, row_load4(x, k, a->dim, wide));
	scale = 1 / sqrtf(k_block_sum_once(sum, part) / (float)a->dim + a->eps);
	K_UNROLL for (int i = 0; i < NORM_KEPT; i++)
		norm_store4(y, first + i * NORM_STEP, a->dim, wide, kept[i], w[i], scale);
	for (int64_t k = first + NORM_KEPT * NORM_STEP; k < a->dim; k += NORM_STEP)
		norm_store4(y, k, a->dim, wide, row_load4(x, k, a->dim, wide), row_load4(a->w, k, a->dim, wide), scale);
}

K_KERNEL_EARLY(rmsnorm, 1)
{
	K_SHARED(float, part, CUDA_WARPS);
	struct k_u4 kept[NORM_KEPT], w[NORM_KEPT];
	int64_t first = 4 * (int64_t)threadIdx.x;
	K_UNROLL for (int i = 0; i < NORM_KEPT; i++)
		w[i] = row_load4(a.w, first + i * NORM_STEP, a.dim, a.wide);
	K_WAIT_BEFORE();
	K_UNROLL for (int i = 0; i < NORM_KEPT; i++)
		kept[i] = row_load4(a.x + blockIdx.x * a.x_step, first + i * NORM_STEP, a.dim, a.wide);
	norm_row(&a, blockIdx.x, kept, w, part);
}

K_DEV struct k_u4 sum4(struct k_u4 a, struct k_u4 b)
{
	struct k_u4 s;
	K_UNROLL for (int k = 0; k < 4; k++)
		s.w[k] = k_f_bits(k_bits_f(a.w[k]) + k_bits_f(b.w[k]));
	return s;
}

/* Elements i to i + 3, all there and at once; what they have become in the last sum. */
K_DEV struct k_u4 add_four(const struct cuda_add *a, int64_t i)
{
	struct k_u4 y = k_load16(a->y + i), x = k_load16(a->x + i), also = y;
	if (a->also)
		also = k_load16(a->also + i);
	y = sum4(y, x);
	k_store16(a->y + i, y);
	if (!a->also)
		return y;
	also = sum4(also, y);
	k_store16(a->also + i, also);
	return also;
}

K_KERNEL(add)
{
	int64_t i = 4 * ((int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x);
	if (i + 4 <= a.n && a.wide) {
		add_four(&a, i);
		return;
	}
	for (int64_t k = i; k < i + 4 && k < a.n; k++) {
		a.y[k] += a.x[k];
		if (a.also)
			a.also[k] += a.y[k];
	}
}

/* A thread adds the elements that it then has of the norm. */
K_KERNEL_EARLY(add_norm, 1)
{
	K_SHARED(float, part, CUDA_WARPS);
	struct k_u4 kept[NORM_KEPT], w[NORM_KEPT];
	int64_t first = 4 * (int64_t)threadIdx.x, row = blockIdx.x * a.norm.dim;
	K_UNROLL for (int i = 0; i < NORM_KEPT; i++)
		w[i] = row_load4(a.norm.w, first + i * NORM_STEP, a.norm.dim, a.norm.wide);
	K_WAIT_BEFORE();
	K_UNROLL for (int i = 0; i < NORM_KEPT; i++) {
		kept[i].w[0] = kept[i].w[1] = kept[i].w[2] = kept[i].w[3] = 0;
		if (first + i * NORM_STEP < a.norm.dim)
			kept[i] = add_four(&a.add, row + first + i * NORM_STEP);
	}
	for (int64_t k = first + NORM_KEPT * NORM_STEP; k < a.norm.dim; k += NORM_STEP)
		add_four(&a.add, row + k);
	norm_row(&a.norm, blockIdx.x, kept, w, part);
}

/* --- blend ---------------------------------------------------------------------------------------------------------------- */

/* Of each source's row what a thread has of its squares, and of its product with w query. */
struct blend_sums { float squares[CUDA_SOURCES], product[CUDA_SOURCES]; };

/* Four values of all sources are asked for at once. */
K_DEV void blend_add(struct blend_sums *sum, const struct cuda_blend *a, int64_t row, int64_t k)
{
	struct k_u4 w = row_load4(a->w, k, a->dim, a->wide), q = row_load4(a->query, k, a->dim, a->wide), v[CUDA_SOURCES];
	K_UNROLL for (int s = 0; s < CUDA_SOURCES; s++)
		if (s < a->n_source)
			v[s] = row_load4(a->source[s] + row, k, a->dim, a->wide);
	K_UNROLL for (int i = 0; i < 4; i++)
		w.w[i] = k_f_bits(k_bits_f(w.w[i]) * k_bits_f(q.w[i]));
	K_UNROLL for (int s = 0; s < CUDA_SOURCES; s++)
		if (s < a->n_source) {
			sum->squares[s] = squares(sum->squares[s], v[s]);
			K_UNROLL for (int i = 0; i < 4; i++)
				sum->product[s] = fmaf(k_bits_f(v[s].w[i]), k_bits_f(w.w[i]), sum->product[s]);
		}
}

/* What the sources of a row are worth, together 1, from sums of each warp. By the first warp. */
K_DEV void blend_weigh(float *weight, float (*part)[2], const struct cuda_blend *a)
{
	float score = -INFINITY, sum[2] = { 0, 0 }, e;
	int s = k_lane();
	if (s < a->n_source) {
		K_UNROLL for (int i = 0; i < CUDA_WARPS; i++)
			K_UNROLL for (int k = 0; k < 2; k++)
				sum[k] += part[s * CUDA_WARPS + i][k];
		score = sum[1] / sqrtf(sum[0] / (float)a->dim + a->eps);
	}
	e = expf(score - k_warp_max(score));
	e /= k_warp_sum(e);
	if (s < a->n_source)
		weight[s] = e;
}

/* The same from the sources themselves, by all threads; it is there for all of them. parts: room for sums of warps, a pair a source and warp. */
K_DEV void blend_weights(float *weight, float *parts, const struct cuda_blend *a, int64_t row)
{
	float (*part)[2] = (float (*)[2])parts;
	struct blend_sums sum = { { 0 }, { 0 } };
	for (int64_t k = 4 * (int64_t)threadIdx.x; k < a->dim; k += NORM_STEP)
		blend_add(&sum, a, row, k);
	K_UNROLL for (int s = 0; s < CUDA_SOURCES; s++)
		if (s < a->n_source) {
			float all = k_warp_sum(sum.squares[s]), product = k_warp_sum(sum.product[s]);
			if (k_lane() == 0) {
				part[s * CUDA_WARPS + k_warp()][0] = all;
				part[s * CUDA_WARPS + k_warp()][1] = product;
			}
		}
	__syncthreads();
	if (k_warp() == 0)
		blend_weigh(weight, part, a);
	__syncthreads();
}

/* Four values of the row that sources give together. */
K_DEV struct k_u4 blend_four(const struct cuda_blend *a, const float *weight, int64_t row, int64_t k)
{
	struct k_u4 sum = { { 0, 0, 0, 0 } };
	K_UNROLL for (int s = 0; s < CUDA_SOURCES; s++)
		if (s < a->n_source) {
			struct k_u4 v = row_load4(a->source[s] + row, k, a->dim, a->wide);
			K_UNROLL for (int i = 0; i < 4; i++)
				sum.w[i] = k_f_bits(fmaf(weight[s], k_bits_f(v.w[i]), k_bits_f(sum.w[i])));
		}
	return sum;
}

/* A source is read twice: for what it is worth, and when that is known of all. */
K_KERNEL(blend)
{
	K_SHARED(float, parts, CUDA_SOURCES * CUDA_WARPS * 2);
	K_SHARED(float, weight, CUDA_SOURCES);
	int64_t row = blockIdx.x * a.dim;
	blend_weights(weight, parts, &a, row);
	for (int64_t k = 4 * (int64_t)threadIdx.x; k < a.dim; k += NORM_STEP)
		row_store4(a.y + row, k, a.dim, a.wide, blend_four(&a, weight, row, k));
}

/* What does not stay in registers goes by its place, as each thread reads what it wrote. */
K_KERNEL(blend_norm)
{
	K_SHARED(float, parts, CUDA_SOURCES * CUDA_WARPS * 2);
	K_SHARED(float, weight, CUDA_SOURCES);
	K_SHARED(float, part, CUDA_WARPS);
	const struct cuda_blend *b = &a.blend;
	struct k_u4 kept[NORM_KEPT], w[NORM_KEPT];
	int64_t first = 4 * (int64_t)threadIdx.x, row = blockIdx.x * b->dim;
	blend_weights(weight, parts, b, row);
	K_UNROLL for (int i = 0; i < NORM_KEPT; i++) {
		kept[i] = blend_four(b, weight, row, first + i * NORM_STEP);
		w[i] = row_load4(a.norm.w, first + i * NORM_STEP, b->dim, a.norm.wide);
	}
	for (int64_t k = first + NORM_KEPT * NORM_STEP; k < b->dim; k += NORM_STEP)
		row_store4(b->y + row, k, b->dim, b->wide, blend_four(b, weight, row, k));
	norm_row(&a.norm, blockIdx.x, kept, w, part);
}

/* --- elements ------------------------------------------------------------------------------------------------------------- */

K_KERNEL(swiglu) { k_swiglu(&a, blockIdx.x); }

K_KERNEL(gate)
{
	int64_t i = (int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x;
	if (i < a.n)
		a.y[i] *= k_sigmoid(a.z[i]);
}

/* A warp a group. */
K_DEV void round_int8(float *y, const float *x, int64_t cols)
{
	for (int64_t first = k_warp() * K_WARP; first < cols; first += CUDA_THREADS) {
		int64_t k = first + k_lane();
		float v = k < cols ? x[k] : 0, d = k_warp_max(fabsf(v)) / 127, inv = d > 0x1p-126f ? 1 / d : 0;
		if (k < cols)
			y[k] = rintf(v * inv) * d;
	}
}

K_KERNEL(round)
{
	const float *x = a.x + blockIdx.x * a.x_step;
	float *y = a.y + blockIdx.x * a.cols;
	if (a.int8)
		round_int8(y, x, a.cols);
	for (int64_t k = threadIdx.x; !a.int8 && k < a.cols; k += CUDA_THREADS)
		y[k] = k_bf16_round(x[k]);
}

K_KERNEL(narrow)
{
	for (int64_t k = threadIdx.x; k < a.cols; k += CUDA_THREADS)
		a.y[blockIdx.x * a.cols + k] = (uint16_t)(k_f_bits(k_bf16_round(a.x[blockIdx.x * a.x_step + k])) >> 16);
}
