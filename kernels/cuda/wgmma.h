/* wgmma.h: products of a warpgroup, four warps side by side: c = a b with f32 sums, a (64 x 32, 16 rows a warp, fragments as mma16816 has them) in registers, b
 * (32 columns of 32 or 64 vectors) in shared memory, in bf16. On sm_90a the tensor cores read b themselves and the warps go on meanwhile; elsewhere each
 * warp multiplies by mma16816, with the same bits.
 *
 *   b: a vector is 128 bytes of a tile that begins at a multiple of 1024; its 16 bytes i lie at i ^ (vector & 7)
 *
 * Two k-steps of 16 columns go into a c, which begins with zero. What asynchronous copies brought (k_copy16) is in shared memory once they were waited for, where
 * the tensor cores find it; a fence between would wait for those that are still under way. */
#ifndef KERNELS_CUDA_WGMMA_H
#define KERNELS_CUDA_WGMMA_H

#include "kernels/cuda/mma.h"

/* AHEAD: the warps go on meanwhile, and others of another block. */
#if defined(__CUDACC__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
enum { WG_ROW = 128, WG_AHEAD = 0 };
#define WG_KERNEL(name) K_KERNEL(name)
#else
enum { WG_ROW = 128, WG_AHEAD = 1 };
#define WG_KERNEL(name) K_KERNEL_MANY(name, 2)
#endif

K_DEV int wg_place(int vector, int i) { return vector * WG_ROW + ((i ^ (vector & 7)) << 4); }

#if defined(__CUDACC__) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
/* Swizzle of 128 bytes, 1024 from eight vectors to the next eight. */
K_DEV uint64_t wg_tile(const uint8_t *tile)
{
	return ((uint64_t)__cvta_generic_to_shared(tile) & 0x3ffff) >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

#define WG_4(c, t) "+f"((c)[t][0]), "+f"((c)[t][1]), "+f"((c)[t][2]), "+f"((c)[t][3])
#define WG_8(c, t) WG_4(c, t), WG_4(c, t + 1)

K_DEV void wg_times32(float (*c)[4], const uint32_t *a, uint64_t b, int add)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %21, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
		"%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
		"}, {%16,%17,%18,%19}, %20, p, 1, 1, 0; }" : WG_8(c, 0), WG_8(c, 2) :
		"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add) : "memory");
}

K_DEV void wg_times64(float (*c)[4], const uint32_t *a, uint64_t b, int add)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
		"%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		"%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
		"}, {%32,%33,%34,%35}, %36, p, 1, 1, 0; }" : WG_8(c, 0), WG_8(c, 2), WG_8(c, 4), WG_8(c, 6) :
		"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add) : "memory");
}

/* c = run `run` (of two) of the tile; neither c nor a may be touched before wg_wait. n: vectors. */
K_DEV void wg_times(float (*c)[4], int n, const uint32_t (*a)[4], const uint8_t *tile, int run)
{
	uint64_t b = wg_tile(tile) + run * 4;
	asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
	K_UNROLL for (int m = 0; m < 2; m++) {
		if (n == 32)
			wg_times32(c, a[m], b + 2 * m, m);
		else
			wg_times64(c, a[m], b + 2 * m, m);
	}
	asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
}

/* All but the last `left` of them are done, and the sums of this one may be touched. */
template <int LEFT> K_DEV void wg_wait_for(float (*c)[4], int n)
{
	asm volatile("wgmma.wait_group.sync.aligned %0;" : : "n"(LEFT) : "memory");
	K_UNROLL for (int t = 0; t < n / 8; t++)
		asm volatile("" : WG_4(c, t) : : "memory");
}
#define wg_wait(left, c, n) wg_wait_for<left>(c, n)
/* a is made here and not before: ptxas lets nothing that is yet to be multiplied be made by ordinary code while something is under way. */
K_DEV void wg_pin(uint32_t (*a)[4])
{
	K_UNROLL for (int m = 0; m < 2; m++)
		asm volatile("" : "+r"(a[m][0]), "+r"(a[m][1]), "+r"(a[m][2]), "+r"(a[m][3]) : : "memory");
}
#else
K_DEV void wg_pin(uint32_t (*a)[4]) { (void)a; }

K_DEV void wg_times(float (*c)[4], int n, const uint32_t (*a)[4], const uint8_t *tile, int run)
{
	K_UNROLL for (int t = 0; t < n / 8; t++) {
		int vector = 8 * t + k_lane() / 4;
		K_UNROLL for (int i = 0; i < 4; i++)
			c[t][i] = 0;
		K_UNROLL for (int m = 0; m < 2; m++) {
			uint32_t b[2];
			K_UNROLL for (int j = 0; j < 2; j++)
				b[j] = *(const uint32_t *)(tile + wg_place(vector, 4 * run + 2 * m + j) + k_lane() % 4 * 4);
			mma16816(c[t], a[m], b);
		}
	}
}

#define wg_wait(left, c, n) ((void)(c), (void)(n))
#endif

#endif
