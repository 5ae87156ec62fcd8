/* gemm.cu: activations times stored weights, on the ordinary cores, in f32.
 *
 *   gemm_x16    i4g32 in layout x16; other types: many.cu
 *
 * Each output is summed in one order, whatever the number of rows of x. */
#include "kernels/cuda/dot.h"

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
