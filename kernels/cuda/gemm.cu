/* gemm.cu: activations times stored weights, on the ordinary cores, in f32.
 *
 *   gemm_rows   any type: a warp takes a row of w; lane l sums columns l, l + 32, ...; then a tree over the lanes
 *   gemm_x16    i4g32 in layout x16, below
 *
 * Each output is summed in one order, whatever the number of rows of x. */
#include "kernels/cuda/dot.h"

K_KERNEL(gemm_rows)
{
	int64_t row = (int64_t)blockIdx.x * CUDA_WARPS + k_warp(), first = (int64_t)blockIdx.y * CUDA_TOKENS;
	float sum[CUDA_TOKENS] = { 0 };
	if (row >= a.w.rows)
		return;
	for (int64_t k = k_lane(); k < a.w.cols; k += K_WARP) {
		float v = k_value(a.w.type, a.w.data, a.w.cols, row, k);
		for (int t = 0; t < CUDA_TOKENS; t++)
			if (first + t < a.n)
				sum[t] = fmaf(v, a.x[(first + t) * a.x_step + k], sum[t]);
	}
	for (int t = 0; t < CUDA_TOKENS; t++) {
		float s = k_warp_sum(sum[t]);
		if (k_lane() == 0 && first + t < a.n)
			a.y[(first + t) * a.y_step + row] = a.bias ? s + a.bias[row] : s;
	}
}

K_KERNEL(gemm_x16)
{
	K_SHARED(float, part, CUDA_WARPS * CUDA_TOKENS * 16);
	int64_t first = (int64_t)blockIdx.y * CUDA_TOKENS, row = (int64_t)blockIdx.x * 16 + threadIdx.x % 16;
	int n = (int)(a.n - first < CUDA_TOKENS ? a.n - first : CUDA_TOKENS), t = (int)threadIdx.x / 16;
	x16_parts(part, a.w.data, a.w.cols, blockIdx.x, a.x + first * a.x_step, a.x_step, n);
	__syncthreads();
	if (t < n) {
		float s = x16_sum(part, t, (int)threadIdx.x % 16);
		a.y[(first + t) * a.y_step + row] = a.bias ? s + a.bias[row] : s;
	}
}
