/* wgmma.h: products of a warpgroup, four warps side by side: c += a b with f32 sums, a (64 x 32, 16 rows a warp, fragments as mma16816 has them) in registers, b
 * (32 columns of 32, 64 or 128 vectors) in shared memory, in bf16. On sm_90a the tensor cores read b themselves and the warps go on meanwhile; elsewhere each
 * warp multiplies by mma16816, with the same bits.
 *
 *   b: a vector is 128 bytes of a tile that begins at a multiple of 1024; its 16 bytes i lie at i ^ (vector & 7)
 *
 * What asynchronous copies brought (k_copy16) is in shared memory once they were waited for, where the tensor cores find it; a fence between would wait for those
 * that are still under way. */
#ifndef KERNELS_CUDA_WGMMA_H
#define KERNELS_CUDA_WGMMA_H

#include "kernels/cuda/strip.h"
#include "kernels/cuda/wg.h"

/* blocks: a multiprocessor. */
#if defined(__CUDACC__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WG_KERNEL(name, blocks) K_KERNEL(name)
#define WG_KERNEL_EARLY(name, blocks) K_KERNEL_EARLY(name, 1)
#else
#define WG_KERNEL(name, blocks) K_KERNEL_MANY(name, blocks)
#define WG_KERNEL_EARLY(name, blocks) K_KERNEL_EARLY(name, blocks)
#endif

enum { WG_ROW = 128 };

K_DEV int wg_place(int vector, int i) { return vector * WG_ROW + ((i ^ (vector & 7)) << 4); }

#if defined(__CUDACC__) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
/* Where tiles are: a descriptor. Swizzle of 128 bytes, 1024 from eight vectors to the next eight. */
typedef uint64_t wg_from;
K_DEV wg_from wg_begin(const uint8_t *tile)
{
	return ((uint64_t)__cvta_generic_to_shared(tile) & 0x3ffff) >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

/* Run `run` (of two) of the tile `at` bytes from there: c = (first), or c +=. Neither c nor a may be touched before it is waited for. n: vectors. */
K_DEV void wg_times(float (*c)[4], int n, const struct run *r, wg_from from, int at, int run, bool first)
{
	uint64_t b = from + (uint32_t)at / 16 + run * 4;
	wg_fence();
	K_UNROLL for (int m = 0; m < 2; m++) {
		int add = m || !first;
		if (n == 32)
			wg_times32(c, r->a[m], b + 2 * m, add);
		else if (n == 64)
			wg_times64(c, r->a[m], b + 2 * m, add);
		else
			wg_times128(c, r->a[m], b + 2 * m, add);
	}
	wg_commit();
}

/* a is made here and not later (nor, of ordinary code, before: ptxas lets none make what is yet to be multiplied while something is under way). */
K_DEV void wg_pin(struct run *r)
{
	K_UNROLL for (int m = 0; m < 2; m++)
		asm volatile("" : "+r"(r->a[m][0]), "+r"(r->a[m][1]), "+r"(r->a[m][2]), "+r"(r->a[m][3]) : : "memory");
}
#else
typedef const uint8_t *wg_from;
K_DEV wg_from wg_begin(const uint8_t *tile) { return tile; }

K_DEV void wg_times(float (*c)[4], int n, const struct run *r, wg_from from, int at, int run, bool first)
{
	const uint8_t *tile = from + at;
	K_UNROLL for (int t = 0; t < n / 8; t++) {
		int vector = 8 * t + k_lane() / 4;
		uint32_t b[4];
		K_UNROLL for (int i = 0; i < 4; i++) {
			b[i] = *(const uint32_t *)(tile + wg_place(vector, 4 * run + i) + k_lane() % 4 * 4);
			c[t][i] = first ? 0 : c[t][i];
		}
		strip_times(c[t], r, b);
	}
}

K_DEV void wg_pin(struct run *r) { (void)r; }
#define wg_wait_before() ((void)0)
#define wg_wait(c, n) ((void)(c), (void)(n))
#endif

#endif
