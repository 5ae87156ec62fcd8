/* elem.cu: kernels on rows and elements: embedding, norm, addition, SwiGLU, precision of activations. */
#include "kernels/cuda/cuda_dev.h"

K_KERNEL(embed)
{
	int64_t row = a.ids[blockIdx.x];
	for (int64_t k = threadIdx.x; k < a.w.cols; k += CUDA_THREADS)
		a.y[blockIdx.x * a.w.cols + k] = k_value(a.w.type, a.w.data, a.w.cols, row, k);
}

/* Of the row at x, by a block. */
K_DEV void norm_row(const struct cuda_rmsnorm *a, int64_t row, float *part)
{
	const float *x = a->x + row * a->x_step;
	float *y = a->y + row * a->y_step, sum = 0, scale;
	for (int64_t k = threadIdx.x; k < a->dim; k += CUDA_THREADS)
		sum = fmaf(x[k], x[k], sum);
	scale = 1 / sqrtf(k_block_sum(sum, part) / (float)a->dim + a->eps);
	for (int64_t k = threadIdx.x; k < a->dim; k += CUDA_THREADS)
		y[k] = a->w[k] * (x[k] * scale);
}

K_KERNEL(rmsnorm)
{
	K_SHARED(float, part, CUDA_WARPS);
	norm_row(&a, blockIdx.x, part);
}

/* Elements i to i + 3. */
K_DEV void add_four(const struct cuda_add *a, int64_t i)
{
	if (i + 4 <= a->n && a->wide) {
		struct k_u4 y = k_load16(a->y + i), x = k_load16(a->x + i);
		K_UNROLL for (int k = 0; k < 4; k++)
			y.w[k] = k_f_bits(k_bits_f(y.w[k]) + k_bits_f(x.w[k]));
		k_store16(a->y + i, y);
		if (!a->also)
			return;
		x = k_load16(a->also + i);
		K_UNROLL for (int k = 0; k < 4; k++)
			x.w[k] = k_f_bits(k_bits_f(x.w[k]) + k_bits_f(y.w[k]));
		k_store16(a->also + i, x);
		return;
	}
	for (int64_t k = i; k < i + 4 && k < a->n; k++) {
		a->y[k] += a->x[k];
		if (a->also)
			a->also[k] += a->y[k];
	}
}

K_KERNEL(add) { add_four(&a, 4 * ((int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x)); }

K_KERNEL(add_norm)
{
	K_SHARED(float, part, CUDA_WARPS);
	int64_t first = blockIdx.x * a.norm.dim;
	for (int64_t k = 4 * threadIdx.x; k < a.norm.dim; k += 4 * CUDA_THREADS)
		add_four(&a.add, first + k);
	__syncthreads();
	norm_row(&a.norm, blockIdx.x, part);
}

K_KERNEL(swiglu)
{
	int64_t i = (int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x;
	if (i < a.n)
		a.y[i] = k_silu(a.gate[i]) * a.up[i];
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
