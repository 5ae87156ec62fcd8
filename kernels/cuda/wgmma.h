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

K_DEV void wg_times128(float (*c)[4], const uint32_t *a, uint64_t b, int add)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %69, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
		"%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		"%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		"%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
		"%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
		"}, {%64,%65,%66,%67}, %68, p, 1, 1, 0; }" : WG_8(c, 0), WG_8(c, 2), WG_8(c, 4), WG_8(c, 6),
		WG_8(c, 8), WG_8(c, 10), WG_8(c, 12), WG_8(c, 14) :
		"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add) : "memory");
}

/* Run `run` (of two) of the tile `at` bytes from there: c = (first), or c +=. Neither c nor a may be touched before it is waited for. n: vectors. */
K_DEV void wg_times(float (*c)[4], int n, const struct run *r, wg_from from, int at, int run, bool first)
{
	uint64_t b = from + (uint32_t)at / 16 + run * 4;
	asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
	K_UNROLL for (int m = 0; m < 2; m++) {
		int add = m || !first;
		if (n == 32)
			wg_times32(c, r->a[m], b + 2 * m, add);
		else if (n == 64)
			wg_times64(c, r->a[m], b + 2 * m, add);
		else
			wg_times128(c, r->a[m], b + 2 * m, add);
	}
	asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
}

/* All but the last are done. */
K_DEV void wg_wait_before(void) { asm volatile("wgmma.wait_group.sync.aligned 1;" : : : "memory"); }

/* All are done, and sums may be touched. */
K_DEV void wg_wait(float (*c)[4], int n)
{
	asm volatile("wgmma.wait_group.sync.aligned 0;" : : : "memory");
	K_UNROLL for (int t = 0; t < n / 8; t++)
		asm volatile("" : WG_4(c, t) : : "memory");
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
