/* attn_mma.h: what attention on tensor cores shares: rows in shared memory and values of a page as fragments. Columns of a run of 32 go in the order of the lanes
 * (mma.h): lane l has 8 that lie together, 8 (l % 4) .. + 7. */
#ifndef KERNELS_CUDA_ATTN_MMA_H
#define KERNELS_CUDA_ATTN_MMA_H

#include "kernels/cuda/attn.h"
#include "kernels/cuda/mma.h"

enum { RUN = 32 };

/* Bytes of a row of n columns of bf16 in shared memory: an odd number of runs, so that rows side by side lie in different banks. */
#define STRIDE(n) ((((n) + RUN - 1) / RUN | 1) * RUN * 2)

K_DEV uint16_t half_of(float x) { return (uint16_t)pack_round(x, 0); }

/* Where the lane's columns of a run of 16 rows lie: of row lane / 4; row + 8 is 8 strides on. */
K_DEV const uint8_t *rows_at(const uint8_t *rows, int stride, int half, int run)
{
	return rows + (16 * half + k_lane() / 4) * stride + 2 * RUN * run + 16 * (k_lane() % 4);
}

/* A run of 16 rows as two a. */
K_DEV void rows_run(uint32_t (*a)[4], const uint8_t *p, int stride)
{
	struct k_u4 low = k_load16(p), high = k_load16(p + 8 * stride);
	K_UNROLL for (int j = 0; j < 2; j++) {
		a[j][0] = low.w[2 * j];
		a[j][1] = high.w[2 * j];
		a[j][2] = low.w[2 * j + 1];
		a[j][3] = high.w[2 * j + 1];
	}
}

/* Eight values as four pairs of bf16, zeros where there are none. They are bf16 or floats. */
K_DEV void load8(uint32_t *pairs, const void *p, bool bf16)
{
	struct k_u4 u = { { 0, 0, 0, 0 } }, v = u;
	if (p)
		u = k_load16(p);
	if (p && !bf16)
		v = k_load16((const uint8_t *)p + 16);
	K_UNROLL for (int i = 0; i < 4; i++) {
		const uint32_t *two = i < 2 ? u.w + 2 * i : v.w + 2 * (i - 2);
		pairs[i] = bf16 ? u.w[i] : pack_round(k_bits_f(two[0]), k_bits_f(two[1]));
	}
}

/* Value i of memory of such values. */
K_DEV const void *value_at(const void *p, bool bf16, int64_t i) { return (const uint8_t *)p + i * k_kept_bytes(bf16); }

/* One of the two columns of a pair of each of two rows. */
K_DEV uint32_t column(uint32_t first, uint32_t second, int i) { return i ? pack(first, second) : (first & 0xffff) | second << 16; }

/* Where a lane's row of matrices begins (k_matrices) for a: rows first, then columns. */
K_DEV const uint8_t *matrix_a(const uint8_t *rows, int stride, int row, int col)
{
	return rows + (row + k_lane() % 16) * stride + 2 * (col + k_lane() / 16 * 8);
}
/* For b of two tiles, from vectors that lie in rows: columns first. */
K_DEV const uint8_t *matrix_b(const uint8_t *rows, int stride, int row, int col)
{
	return rows + (row + k_lane() % 8 + k_lane() / 16 * 8) * stride + 2 * (col + k_lane() / 8 % 2 * 8);
}

/* Of a query: the largest score and the sum of weights. */
struct so_far { float top, sum; };
/* And of how many spans; part: one by the sum. */
struct whole_query { float top, part; int spans; };

/* Of n spans: the largest score, and the sum of weights beside it; the same in all lanes. Those of the first spans are asked for at once. */
K_DEV struct so_far together(const float *part, int n, int step)
{
	enum { FIRST = 4 };
	struct so_far all = { -INFINITY, 0 }, x[FIRST];
	K_UNROLL for (int k = 0; k < FIRST; k++) {
		int i = k_lane() + k * K_WARP;
		struct k_u2 u = { { 0, 0 } };
		if (i < n)
			u = k_load8(part + (int64_t)i * step);
		x[k].top = i < n ? k_bits_f(u.w[0]) : -INFINITY;
		x[k].sum = k_bits_f(u.w[1]);
	}
	K_UNROLL for (int k = 0; k < FIRST; k++)
		all.top = fmaxf(all.top, x[k].top);
	for (int i = k_lane() + FIRST * K_WARP; i < n; i += K_WARP)
		all.top = fmaxf(all.top, part[(int64_t)i * step]);
	all.top = k_warp_max(all.top);
	K_UNROLL for (int k = 0; k < FIRST; k++)
		all.sum = x[k].sum > 0 ? fmaf(x[k].sum, k_exp2(x[k].top - all.top), all.sum) : all.sum;
	for (int i = k_lane() + FIRST * K_WARP; i < n; i += K_WARP)
		all.sum = fmaf(part[(int64_t)i * step + 1], k_exp2(part[(int64_t)i * step] - all.top), all.sum);
	all.sum = k_warp_sum(all.sum);
	return all;
}

/* Four channels of every by-th of n spans, from the one at `part` on: AT_ONCE are asked for at a time, the last one again where there are no more. */
K_DEV void gather(float *v, const float *part, int c, int n, int by, int step, float top)
{
	enum { AT_ONCE = 8 };
	for (int i = 0; i < n; i += AT_ONCE * by) {
		struct k_u4 x[AT_ONCE];
		float f[AT_ONCE];
		K_UNROLL for (int k = 0; k < AT_ONCE; k++) {
			const float *from = part + (int64_t)(i + k * by < n ? i + k * by : i) * step;
			x[k] = k_load16(from + CUDA_PART + c);
			f[k] = from[0];
		}
		K_UNROLL for (int k = 0; k < AT_ONCE; k++) {
			float factor = i + k * by < n ? k_exp2(f[k] - top) : 0;
			K_UNROLL for (int j = 0; j < 4; j++)
				v[j] = fmaf(k_bits_f(x[k].w[j]), factor, v[j]);
		}
	}
}

#endif
