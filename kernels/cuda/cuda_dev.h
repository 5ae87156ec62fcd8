/* cuda_dev.h: what every .cu file includes. Kernels are C; two compilers read them:
 *
 *   nvcc                       for the device
 *   the C compiler, -x c       for the simulator, which models a block (kernels/cudasim/sim.h)
 *
 * Rules: CUDA_THREADS threads a block in x; shared memory by K_SHARED, once each at the top of a kernel; warps shuffle whole; no atomics; memory is
 * handed from thread to thread by __syncthreads(), within a warp also by K_WARP_IN_STEP(), alone. Sums are chains of fmaf and fixed trees: nvcc gets -fmad=false, so that
 * neither the compiler nor the neighbours in a batch decide how a result is rounded. */
#ifndef KERNELS_CUDA_CUDA_DEV_H
#define KERNELS_CUDA_CUDA_DEV_H

#include "kernels/cuda/cuda_args.h"

#ifdef __CUDACC__
#define K_DEV static __device__ __forceinline__
/* A kernel begins while the one before it ends (programmatic dependent launch, from compute capability 9.0 on), and waits for it: at once, or (EARLY) where
 * its threads say K_WAIT_BEFORE(): up to there they may read what no kernel of a step writes, or what an earlier one than the last wrote. bounds: of registers, so
 * that so many blocks are on a multiprocessor at once. */
#define K_KERNEL_AS(name, bounds, wait) \
	K_DEV void body_##name(const struct cuda_##name &a); \
	extern "C" __global__ void __launch_bounds__ bounds k_cuda_##name(const __grid_constant__ struct cuda_##name a) { wait; body_##name(a); } \
	K_DEV void body_##name(const struct cuda_##name &a)
#define K_KERNEL(name) K_KERNEL_AS(name, (CUDA_THREADS), K_WAIT_BEFORE())
#define K_KERNEL_MANY(name, blocks) K_KERNEL_AS(name, (CUDA_THREADS, blocks), K_WAIT_BEFORE())
#define K_KERNEL_EARLY(name, blocks) K_KERNEL_AS(name, (CUDA_THREADS, blocks), (void)0)
/* For blocks that touch nothing that the kernel before reads or writes: the one behind may begin as far as this block is concerned. Others of its kernel wait: a kernel
 * is not over before the one before it. */
K_DEV void K_GO_AHEAD(void)
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;" : : : "memory");
#endif
}
/* The kernel before has ended and memory shows it; the one behind may begin. */
K_DEV void K_WAIT_BEFORE(void)
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
	K_GO_AHEAD();
}
/* A barrier of a warp: what its lanes wrote to shared memory, or waited for, is there for all of it. */
#define K_WARP_IN_STEP() __syncwarp()
/* A loop whose arrays stay in registers. */
#define K_UNROLL _Pragma("unroll")
/* 64 bits, of which the compiler shall not know where they come from: they are not computed anew where they are used, and what is made of them is not kept over a loop
 * around. */
#define K_KEEP(p) asm volatile("" : "+l"(p))
/* The same of a number or a place in shared memory. */
K_DEV int k_anew(int x) { asm volatile("" : "+r"(x)); return x; }
/* threadIdx.x, read anew: what is made of it is not kept in registers over a loop around. */
K_DEV int k_thread_anew(void) { int i; asm volatile("mov.u32 %0, %%tid.x;" : "=r"(i)); return i; }
/* One whose rounds are not to want registers at the same time. */
#define K_ROLL _Pragma("unroll 1")
#define K_PRAGMA(x) _Pragma(#x)
#define K_UNROLL_BY(n) K_PRAGMA(unroll n)
/* What is behind it is not asked for before: so that it wants no registers yet. For whole warps. */
#define K_IN_ORDER() __syncwarp()
#define K_SHARED(type, name, n) __shared__ __align__(16) type name[n]
/* What the launch gives a block besides (cuda_launch_shared): bytes at a multiple of 1024 where a kernel has no others, else of 16, behind the kernel's other shared variables. */
#define K_SHARED_MORE(name) extern __shared__ __align__(1024) uint8_t k_more[]; uint8_t *const name = k_more
struct k_u4 { uint32_t w[4]; };
struct k_u2 { uint32_t w[2]; };
K_DEV uint32_t k_f_bits(float f) { return __float_as_uint(f); }
K_DEV float k_bits_f(uint32_t u) { return __uint_as_float(u); }
K_DEV uint64_t k_d_bits(double d) { return (uint64_t)__double_as_longlong(d); }
/* 16 bytes at a multiple of 16. */
K_DEV struct k_u4 k_load16(const void *p)
{
	uint4 v = *(const uint4 *)p;
	struct k_u4 u = { { v.x, v.y, v.z, v.w } };
	return u;
}
/* Of weights, which nobody writes and which are not wanted again soon. */
K_DEV struct k_u4 k_load16_once(const void *p)
{
	struct k_u4 u;
	asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(u.w[0]), "=r"(u.w[1]), "=r"(u.w[2]), "=r"(u.w[3]) : "l"(p));
	return u;
}
/* Of what is read or written once and should leave L2 first. */
K_DEV uint64_t k_leave_first(void)
{
	uint64_t policy = 0;
#if __CUDA_ARCH__ >= 800
	asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
#endif
	return policy;
}
K_DEV struct k_u4 k_load16_past(const void *p)
{
#if __CUDA_ARCH__ >= 800
	struct k_u4 u;
	asm("ld.global.L2::cache_hint.v4.u32 {%0,%1,%2,%3}, [%4], %5;" : "=r"(u.w[0]), "=r"(u.w[1]), "=r"(u.w[2]), "=r"(u.w[3]) : "l"(p), "l"(k_leave_first()));
	return u;
#else
	return k_load16(p);
#endif
}
K_DEV void k_store16(void *p, struct k_u4 u) { *(uint4 *)p = make_uint4(u.w[0], u.w[1], u.w[2], u.w[3]); }
/* Where the words come from registers here and there, of which the compiler would rather write one at a time. */
K_DEV void k_store16_whole(void *p, struct k_u4 u)
{
	asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" : : "l"(p), "r"(u.w[0]), "r"(u.w[1]), "r"(u.w[2]), "r"(u.w[3]) : "memory");
}
K_DEV void k_store16_past(void *p, struct k_u4 u)
{
	asm volatile("st.global.cs.v4.u32 [%0], {%1,%2,%3,%4};" : : "l"(p), "r"(u.w[0]), "r"(u.w[1]), "r"(u.w[2]), "r"(u.w[3]) : "memory");
}
K_DEV struct k_u2 k_load8(const void *p)
{
	uint2 v = *(const uint2 *)p;
	struct k_u2 u = { { v.x, v.y } };
	return u;
}
K_DEV void k_store8(void *p, struct k_u2 u) { *(uint2 *)p = make_uint2(u.w[0], u.w[1]); }

/* Two to the power x; nothing where that is below the normal numbers. */
K_DEV float k_exp2(float x)
{
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

/* Four matrices of 8 rows of 16 bytes of shared memory, of two values a word: lane l gives row l % 8 of matrix l / 8, and gets of each matrix i in out[i] columns
 * 2 (l % 4), + 1 of row l / 4; turned: rows 2 (l % 4), + 1 of column l / 4. */
K_DEV void k_matrices(uint32_t *out, const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) :
		"r"((unsigned)__cvta_generic_to_shared(row)) : "memory");
}
K_DEV void k_matrices_turned(uint32_t *out, const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) :
		"r"((unsigned)__cvta_generic_to_shared(row)) : "memory");
}
/* c + products of four bytes; of b signed. */
K_DEV int32_t k_dot4(uint32_t a, uint32_t b, int32_t c) { int32_t d; asm("dp4a.u32.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); return d; }
K_DEV int32_t k_dot4_signed(uint32_t a, uint32_t b, int32_t c) { int32_t d; asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); return d; }
/* Bytes of a (0 to 3) and b (4 to 7) by the digits of a number, the last one first. */
K_DEV uint32_t k_bytes(uint32_t a, uint32_t b, uint32_t digits) { return __byte_perm(a, b, digits); }
/* The 128 bytes there, at a multiple of 128, are not wanted any more before they are written again: L2 need not bring them to memory. */
K_DEV void k_discard(void *p)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("discard.global.L2 [%0], 128;" : : "l"(p) : "memory");
#else
	(void)p;
#endif
}

/* By the special units: errors of 2^-22, of the logarithm absolute. */
K_DEV float k_fast_exp2(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
K_DEV float k_fast_log2(float x) { float y; asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
K_DEV float k_fast_rsqrt(float x) { float y; asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
K_DEV float k_fast_rcp(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }

/* Copies of 16 bytes from device to shared memory while the thread goes on; zeros where from is not there. A commit makes a group of those since the last
 * one; a wait lets so many groups stay under way. What the others brought is then there for this thread, and for all behind the next barrier. Before
 * Ampere a copy is done at once. */
K_DEV void k_copy16(void *to, const void *from, bool there)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : :
		"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
#else
	*(uint4 *)to = there ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#endif
}
/* Where it is always there: a third of the instructions. */
K_DEV void k_copy16_all(void *to, const void *from)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory");
#else
	*(uint4 *)to = *(const uint4 *)from;
#endif
}
/* Nothing where it is not. */
K_DEV void k_copy16_if(void *to, const void *from, bool there)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16; }" : :
		"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"((int)there) : "memory");
#else
	if (there)
		*(uint4 *)to = *(const uint4 *)from;
#endif
}
/* The same to a place in shared memory that was asked for once. */
typedef uint32_t k_place;
K_DEV k_place k_place_of(void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
K_DEV void k_copy16_to(k_place to, const void *from)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(to), "l"(from) : "memory");
#else
	*(uint4 *)__cvta_shared_to_generic(to) = *(const uint4 *)from;
#endif
}
K_DEV void k_copy_commit(void)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("cp.async.commit_group;" : : : "memory");
#endif
}
template <int LEFT> K_DEV void copy_wait(void)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("cp.async.wait_group %0;" : : "n"(LEFT) : "memory");
#endif
}
#define k_copy_wait(left) copy_wait<left>()
#else
#include "kernels/cudasim/sim.h"
#endif

/* k_copy_wait of a number that the compiler knows in the end, 0 to 7. */
K_DEV void k_copy_leave(int left)
{
	switch (left) {
	case 1: k_copy_wait(1); return;
	case 2: k_copy_wait(2); return;
	case 3: k_copy_wait(3); return;
	case 4: k_copy_wait(4); return;
	case 5: k_copy_wait(5); return;
	case 6: k_copy_wait(6); return;
	case 7: k_copy_wait(7); return;
	default: k_copy_wait(0);
	}
}

enum { K_WARP = 32 };

K_DEV int k_lane(void) { return (int)(threadIdx.x % K_WARP); }
/* The thread of the block, and its warp: the compiler sees how large they can be. */
K_DEV int k_thread(void) { return (int)(threadIdx.x % CUDA_THREADS); }
K_DEV int k_warp(void) { return k_thread() / K_WARP; }

/* Over the lanes of a warp; every lane gets it. */
K_DEV float k_warp_sum(float v)
{
	for (int x = K_WARP / 2; x > 0; x /= 2)
		v += __shfl_xor_sync(0xffffffffu, v, x);
	return v;
}

K_DEV float k_warp_max(float v)
{
	for (int x = K_WARP / 2; x > 0; x /= 2)
		v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, x));
	return v;
}

/* Over the block; every thread gets it. s: CUDA_WARPS floats of shared memory, used once. */
K_DEV float k_block_sum_once(float v, float *s)
{
	float sum = 0;
	v = k_warp_sum(v);
	if (k_lane() == 0)
		s[k_warp()] = v;
	__syncthreads();
	for (int i = 0; i < CUDA_WARPS; i++)
		sum += s[i];
	return sum;
}

/* The same; s is free again afterwards. */
K_DEV float k_block_sum(float v, float *s)
{
	float sum = k_block_sum_once(v, s);
	__syncthreads();
	return sum;
}

/* x / y to two units in the last place. */
#ifdef __CUDACC__
K_DEV float k_over(float x, float y) { return __fdividef(x, y); }
#else
K_DEV float k_over(float x, float y) { return x / y; }
#endif
K_DEV float k_silu(float x) { return k_over(x, 1 + expf(-x)); }
K_DEV float k_sigmoid(float x) { return 1 / (1 + expf(-x)); }
K_DEV float k_situ(float gate, float up, const struct cuda_unit *u)
{
	float capped = u->cap * tanhf(gate * u->over);
	return k_over(capped, 1 + expf(-gate)) * (u->cap_up != 0 ? u->cap_up * tanhf(up * u->over_up) : up);
}
K_DEV float k_unit(float gate, float up, const struct cuda_unit *u) { return u->cap != 0 ? k_situ(gate, up, u) : k_silu(gate) * up; }
/* Of block `block`. */
K_DEV void k_swiglu(const struct cuda_swiglu *a, int64_t block)
{
	int64_t i = block * CUDA_THREADS + threadIdx.x;
	if (i < a->n)
		a->y[i] = k_unit(a->gate[i], a->up[i], &a->unit);
}

/* --- stored values -------------------------------------------------------------------------------------------------------- */

K_DEV float k_bf16(uint16_t h) { return k_bits_f((uint32_t)h << 16); }

K_DEV float k_bf16_round(float x)
{
	uint32_t u = k_f_bits(x);
	if ((u & 0x7fffffff) > 0x7f800000)
		return k_bits_f((u | 0x400000) & 0xffff0000);
	return k_bits_f((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000);
}

K_DEV float k_f16(uint16_t h)
{
	uint32_t size = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
	if ((h & 0x7c00) == 0x7c00)
		return k_bits_f(sign | 0x7f800000 | size);
	return k_bits_f(sign | k_f_bits(k_bits_f(size) * 0x1p112f));
}

K_DEV float k_e4m3(uint8_t b)
{
	float size = k_bits_f((uint32_t)(b & 0x7f) << 20) * 0x1p120f;
	return b & 0x80 ? -size : size;
}

K_DEV float k_e2m1(uint32_t code)
{
	uint32_t m = code & 7, u = m < 2 ? m * 0x3f000000 : (m << 22) + (126u << 23);
	return k_bits_f(u | (code & 8) << 28);
}

/* Two to the power e - 127. */
K_DEV float k_e8m0(uint8_t e) { return k_bits_f(e ? (uint32_t)e << 23 : 0x400000); }

/* A float at any address. */
K_DEV float k_float_at(const uint8_t *p) { return k_bits_f(p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24); }

/* libcore/qtype/i4g32_x16.c shows a record of 16 rows and 64 columns, mxfp4_x16.c one of 16 rows and 128. */
enum { K_RECORD = 576, K_MX_RECORD = 1088 };

K_DEV float k_value_x16(const uint8_t *w, int64_t cols, int64_t row, int64_t k)
{
	const uint8_t *p = w + (row / 16 * (cols / 64) + k / 64) * K_RECORD + row % 16 * 4;
	uint32_t word = *(const uint32_t *)(p + 64 + k % 64 / 8 * 64);
	float scale = k_bf16(*(const uint16_t *)(p + k % 64 / 32 * 2));
	return (float)((int)(word >> (k % 2 * 16 + k % 8 / 2 * 4) & 15) - 8) * scale;
}

K_DEV float k_value_mx16(const uint8_t *w, int64_t cols, int64_t row, int64_t k)
{
	const uint8_t *p = w + (row / 16 * (cols / 128) + k / 128) * K_MX_RECORD + row % 16 * 4;
	uint32_t word = *(const uint32_t *)(p + 64 + k % 128 / 8 * 64);
	return k_e2m1(word >> (k % 2 * 16 + k % 8 / 2 * 4) & 15) * k_e8m0(p[k % 128 / 32]);
}

/* The value in column k of a row of slice w. Types as in libcore/qtype/. */
K_DEV float k_value(enum cuda_type type, const uint8_t *w, int64_t cols, int64_t row, int64_t k)
{
	const uint8_t *p;
	uint32_t code;
	switch (type) {
	case CUDA_F32:
		return ((const float *)w)[row * cols + k];
	case CUDA_BF16:
		return k_bf16(((const uint16_t *)w)[row * cols + k]);
	case CUDA_F16:
		return k_f16(((const uint16_t *)w)[row * cols + k]);
	case CUDA_I4_X16:
		return k_value_x16(w, cols, row, k);
	case CUDA_I4_ROWS:
		p = w + row * (cols / 2 + cols / 16);
		code = p[cols / 16 + k / 2] >> (k % 2 * 4) & 15;
		return (float)((int)code - 8) * k_bf16(*(const uint16_t *)(p + k / 32 * 2));
	case CUDA_MXFP4:
		p = w + row * (cols / 2 + cols / 32);
		return k_e2m1(p[cols / 32 + k / 2] >> (k % 2 * 4) & 15) * k_e8m0(p[k / 32]);
	case CUDA_MX4_X16:
		return k_value_mx16(w, cols, row, k);
	case CUDA_FP8B128:
		p = w + row / 128 * ((cols + 127) / 128 * 4 + 128 * cols);
		return k_e4m3(p[(cols + 127) / 128 * 4 + row % 128 * cols + k]) * k_float_at(p + k / 128 * 4);
	case CUDA_I8ROW:
		p = w + row * (4 + cols);
		return (float)(int8_t)p[4 + k] * k_float_at(p);
	}
	return 0;
}

K_DEV const uint8_t *k_slice(const struct cuda_matrix *w, int64_t i) { return w->data + i * w->slice; }

/* --- sequences ------------------------------------------------------------------------------------------------------------ */

/* The segment of a row; -1: none. Where all before it have one row each, as in a decode step, it is found at once. */
K_DEV int k_seg_of(const struct cuda_seg *seg, int n_seg, int64_t row)
{
	if (row < n_seg && seg[row].row == row && seg[row].n > 0)
		return (int)row;
	for (int i = 0; i < n_seg; i++)
		if (row >= seg[i].row && row < seg[i].row + seg[i].n)
			return i;
	return -1;
}

/* Value i of memory that holds floats, or BF16. */
K_DEV float k_kept(const void *p, bool bf16, int64_t i) { return bf16 ? k_bf16(((const uint16_t *)p)[i]) : ((const float *)p)[i]; }
K_DEV void k_keep(void *p, bool bf16, int64_t i, float x)
{
	if (bf16)
		((uint16_t *)p)[i] = (uint16_t)(k_f_bits(k_bf16_round(x)) >> 16);
	else
		((float *)p)[i] = x;
}
K_DEV int64_t k_kept_bytes(bool bf16) { return bf16 ? 2 : 4; }

/* The values of a position in its page. */
K_DEV void *k_slot(const struct cuda_seg *s, int64_t pos, int64_t width, bool bf16)
{
	return (uint8_t *)s->pages[pos / CUDA_PAGE] + pos % CUDA_PAGE * width * k_kept_bytes(bf16);
}

/* Pair j of the channels at x, turned by the angles of a position: into the same places from value `at` of y on. */
K_DEV void k_turn_to(void *y, bool bf16, int at, const float *x, const struct cuda_rope *rope, int64_t pos, int j)
{
	int near = rope->interleaved ? 2 * j : j, far = rope->interleaved ? 2 * j + 1 : j + rope->dim / 2;
	float a = x[near], b = x[far], c = rope->table[pos * rope->dim + 2 * j], s = rope->table[pos * rope->dim + 2 * j + 1];
	k_keep(y, bf16, at + near, fmaf(a, c, -(b * s)));
	k_keep(y, bf16, at + far, fmaf(a, s, b * c));
}
K_DEV void k_turn(float *y, const float *x, const struct cuda_rope *rope, int64_t pos, int j) { k_turn_to(y, false, 0, x, rope, pos, j); }

#endif
