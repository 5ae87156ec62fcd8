/* wg.h: the words of wgmma, which sm_90a alone has: products of a warpgroup, four warps side by side, whose tensor cores read b in shared memory while the warps go on. c: 64 rows, 16 a warp, as
 * mma16816 has them, eight columns a c[t]; a: 16 columns, in registers. Neither may be touched before they are waited for. Tiles: wgmma.h; delta attention: kda_walk.h. */
#ifndef KERNELS_CUDA_WG_H
#define KERNELS_CUDA_WG_H

#include "kernels/cuda/mma.h"

#if defined(__CUDACC__) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WG_4(c, t) "+f"((c)[t][0]), "+f"((c)[t][1]), "+f"((c)[t][2]), "+f"((c)[t][3])
#define WG_8(c, t) WG_4(c, t), WG_4(c, t + 1)
#define WG_32(c, t) WG_8(c, t), WG_8(c, t + 2), WG_8(c, t + 4), WG_8(c, t + 6)

/* c = a b, or (add) c +=, of 32, 64 and 128 columns of b. */
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

/* c += a b, 16 columns of 128 vectors, turned. */
K_DEV void wg_add128(float (*c)[4], const uint32_t *a, uint64_t b)
{
	asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
		"%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		"%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
		"}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;" : WG_32(c, 0), WG_32(c, 8) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b) : "memory");
}

/* Blocks of eight rows of 64 bytes, one behind the other, at multiples of 512; 16 bytes i of row n lie at i ^ n / 2. A row is 32 columns of a vector, blocks follow each other
 * by 512; or, turned, a row is 32 vectors of a column, and further blocks of columns and of vectors are so far away. */
K_DEV uint64_t wg_blocks(const uint8_t *tile, int columns, int vectors)
{
	return ((uint64_t)__cvta_generic_to_shared(tile) & 0x3ffff) >> 4 | (uint64_t)(vectors >> 4) << 16 | (uint64_t)(columns >> 4) << 32 | 2ull << 62;
}

/* What was written to registers before is there for the tensor cores; what was asked for since the last one is a group. */
K_DEV void wg_fence(void) { asm volatile("wgmma.fence.sync.aligned;" : : : "memory"); }
K_DEV void wg_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory"); }

/* All but the last are done. */
K_DEV void wg_wait_before(void) { asm volatile("wgmma.wait_group.sync.aligned 1;" : : : "memory"); }

/* All are done, and sums may be touched. */
K_DEV void wg_wait(float (*c)[4], int n)
{
	asm volatile("wgmma.wait_group.sync.aligned 0;" : : : "memory");
	K_UNROLL for (int t = 0; t < n / 8; t++)
		asm volatile("" : WG_4(c, t) : : "memory");
}
#endif

#endif
