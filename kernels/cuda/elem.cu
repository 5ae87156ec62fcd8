/* elem.cu: kernels on rows and elements: embedding, norm, addition, SwiGLU, precision of activations. */
#include "kernels/cuda/cuda_dev.h"

K_KERNEL(embed)
{
	int64_t row = a.ids[blockIdx.x];
	for (int64_t k = threadIdx.x; k < a.w.cols; k += CUDA_THREADS)
		a.y[blockIdx.x * a.w.cols + k] = k_value(a.w.type, a.w.data, a.w.cols, row, k);
}

K_KERNEL(rmsnorm)
{
	K_SHARED(float, part, CUDA_WARPS);
	const float *x = a.x + blockIdx.x * a.x_step;
	float *y = a.y + blockIdx.x * a.y_step, sum = 0, scale;
	for (int64_t k = threadIdx.x; k < a.dim; k += CUDA_THREADS)
		sum = fmaf(x[k], x[k], sum);
	scale = 1 / sqrtf(k_block_sum(sum, part) / (float)a.dim + a.eps);
	for (int64_t k = threadIdx.x; k < a.dim; k += CUDA_THREADS)
		y[k] = a.w[k] * (x[k] * scale);
}

/* Four floats a thread, sixteen bytes at a time where all of them are there. */
K_KERNEL(add)
{
	int64_t i = 4 * ((int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x);
	if (i + 4 <= a.n && a.wide) {
		struct k_u4 y = k_load16(a.y + i), x = k_load16(a.x + i);
		K_UNROLL for (int k = 0; k < 4; k++)
			y.w[k] = k_f_bits(k_bits_f(y.w[k]) + k_bits_f(x.w[k]));
		k_store16(a.y + i, y);
		return;
	}
	for (int k = 0; k < 4 && i + k < a.n; k++)
		a.y[i + k] += a.x[i + k];
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
