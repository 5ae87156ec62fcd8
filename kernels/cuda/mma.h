/* mma.h: tensor cores, a warp at a time: c += a b with f32 sums, a and b in bf16 (mma.sync m16n8k16).
 *
 *   lane l:   a: rows l / 4 and + 8, columns 2 (l % 4), + 1, and + 8       b: rows (of 16) 2 (l % 4), + 1, and + 8, column l / 4
 *             c: rows l / 4 and + 8, columns 2 (l % 4), + 1
 *
 * So two c side by side are an a, once rounded: what comes out of one product goes into the next without leaving the registers. Which 16 of many columns go
 * together does not matter as long as a and b agree. */
#ifndef KERNELS_CUDA_MMA_H
#define KERNELS_CUDA_MMA_H

#include "kernels/cuda/cuda_dev.h"

#ifdef __CUDACC__
/* Before 8.0 the sixteen columns go in two halves of eight, in f16: bf16 fits but for its range, of which the upper end is held and the lower is 0. */
#if __CUDA_ARCH__ < 800
K_DEV float f16_range(float x) { return x > 65504 ? 65504 : x < -65504 ? -65504 : x; }

K_DEV uint32_t f16_pair(uint32_t two)
{
	uint32_t u;
	asm("{ .reg .f16 low, high; cvt.rn.f16.f32 low, %1; cvt.rn.f16.f32 high, %2; mov.b32 %0, {low, high}; }" : "=r"(u) :
		"f"(f16_range(k_bits_f(two << 16))), "f"(f16_range(k_bits_f(two & 0xffff0000))));
	return u;
}

K_DEV void mma1688(float *c, uint32_t top, uint32_t bottom, uint32_t b)
{
	asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
		: "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(f16_pair(top)), "r"(f16_pair(bottom)), "r"(f16_pair(b)));
}
#endif

K_DEV void mma16816(float *c, const uint32_t *a, const uint32_t *b)
{
#if __CUDA_ARCH__ >= 800
	asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
	mma1688(c, a[0], a[1], b[0]);
	mma1688(c, a[2], a[3], b[1]);
#endif
}

/* 8 x 8 of 16 bits, turned: word of lane l: from columns 2 (l % 4), + 1 of row l / 4 to rows 2 (l % 4), + 1 of column l / 4. */
K_DEV uint32_t k_turn8(uint32_t word)
{
	uint32_t u;
	asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(u) : "r"(word));
	return u;
}
#else
#define mma16816 k_sim_mma16816
#define k_turn8 k_sim_turn8
#endif

/* Do tensor cores have bf16? */
#ifndef __CUDACC__
#define K_HAS_BF16 k_sim_has_bf16()
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define K_HAS_BF16 true
#else
#define K_HAS_BF16 false
#endif

/* The high halves of two floats that are bf16 already; the first is the lower half. */
K_DEV uint32_t pack(uint32_t first, uint32_t second) { return first >> 16 | (second & 0xffff0000); }

/* Two floats as bf16; the first is the lower half. */
K_DEV uint32_t pack_round(float first, float second)
{
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 800
	uint32_t u;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u) : "f"(second), "f"(first));
	return u;
#else
	return pack(k_f_bits(k_bf16_round(first)), k_f_bits(k_bf16_round(second)));
#endif
}

/* Products of two bf16 each, as bf16. */
K_DEV uint32_t times_pair(uint32_t x, uint32_t y)
{
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 900
	uint32_t u;
	asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(u) : "r"(x), "r"(y));
	return u;
#else
	return pack_round(k_bits_f(x << 16) * k_bits_f(y << 16), k_bits_f(x & 0xffff0000) * k_bits_f(y & 0xffff0000));
#endif
}

/* The lower or the upper half of a word, twice. */
K_DEV uint32_t half_twice(uint32_t word, int upper) { return k_bytes(word, 0, upper ? 0x3232 : 0x1010); }

/* Two c side by side as an a. */
K_DEV void a_from_c(uint32_t *a, const float *left, const float *right)
{
	a[0] = pack_round(left[0], left[1]);
	a[1] = pack_round(left[2], left[3]);
	a[2] = pack_round(right[0], right[1]);
	a[3] = pack_round(right[2], right[3]);
}

#endif
