/* dot.h: sixteen rows of a stored matrix times a few vectors, by a whole block.
 *
 * Layout x16: a record holds 16 rows x 64 columns: 64 bytes of scales, then 512 bytes of codes, which a warp reads as 32 x 16 bytes:
 *
 *   lane l:  columns 8 (l / 4) .. + 7 of rows 4 (l % 4) .. + 3        warp w: records w, w + 8, ...
 *
 * so a lane has four sums a vector; those of lanes with the same l % 4 are added by a tree, those of the warps in order. Other types: a warp
 * takes a row at a time. */
#ifndef KERNELS_CUDA_DOT_H
#define KERNELS_CUDA_DOT_H

#include "kernels/cuda/cuda_dev.h"

/* Eight codes of a word times eight floats. The codes become floats by their place in the mantissa of 2^23. */
K_DEV float x16_word(uint32_t w, const float *x)
{
	float s = 0;
	for (int j = 0; j < 4; j++) {
		s = fmaf(k_bits_f(0x4b000000 | (w >> 4 * j & 15)) - 8388616.0f, x[2 * j], s);
		s = fmaf(k_bits_f(0x4b000000 | (w >> (16 + 4 * j) & 15)) - 8388616.0f, x[2 * j + 1], s);
	}
	return s;
}

/* part[(warp * CUDA_TOKENS + t) * 16 + row] of granule g for n <= CUDA_TOKENS vectors. */
K_DEV void x16_parts(float *part, const uint8_t *w, int64_t cols, int64_t g, const float *x, int64_t x_step, int n)
{
	int lane = k_lane(), quad = lane % 4, q = lane / 4;
	float sum[CUDA_TOKENS][4] = { { 0 } };
	for (int64_t k = k_warp(); k < cols / 64; k += CUDA_WARPS) {
		const uint8_t *record = w + (g * (cols / 64) + k) * K_RECORD;
		struct k_u4 scales = k_load16(record + 16 * quad), codes = k_load16(record + 64 + 16 * lane);
		for (int t = 0; t < CUDA_TOKENS; t++) {
			if (t >= n)
				break;
			for (int r = 0; r < 4; r++) {
				float s = k_bits_f(q < 4 ? scales.w[r] << 16 : scales.w[r] & 0xffff0000);
				sum[t][r] = fmaf(s, x16_word(codes.w[r], x + t * x_step + 64 * k + 8 * q), sum[t][r]);
			}
		}
	}
	for (int t = 0; t < CUDA_TOKENS; t++)
		for (int r = 0; r < 4; r++) {
			float v = sum[t][r];
			for (int m = 4; m < K_WARP; m *= 2)
				v += __shfl_xor_sync(0xffffffffu, v, m);
			if (q == 0)
				part[(k_warp() * CUDA_TOKENS + t) * 16 + 4 * quad + r] = v;
		}
}

K_DEV float x16_sum(const float *part, int t, int row)
{
	float s = 0;
	for (int i = 0; i < CUDA_WARPS; i++)
		s += part[(i * CUDA_TOKENS + t) * 16 + row];
	return s;
}

/* out[i] = row 16 g + i of a slice times x. out: 16 floats of shared memory; part: as x16_parts wants it. Both are free again after the next
 * barrier of the caller. */
K_DEV void dot16(float *out, float *part, enum cuda_type type, const uint8_t *w, int64_t rows, int64_t cols, int64_t g, const float *x)
{
	if (type == CUDA_I4_X16) {
		x16_parts(part, w, cols, g, x, 0, 1);
		__syncthreads();
		if (threadIdx.x < 16)
			out[threadIdx.x] = x16_sum(part, 0, (int)threadIdx.x);
	} else {
		for (int i = k_warp(); i < 16 && 16 * g + i < rows; i += CUDA_WARPS) {
			float s = 0;
			for (int64_t k = k_lane(); k < cols; k += K_WARP)
				s = fmaf(k_value(type, w, cols, 16 * g + i, k), x[k], s);
			s = k_warp_sum(s);
			if (k_lane() == 0)
				out[i] = s;
		}
	}
	__syncthreads();
}

#endif
