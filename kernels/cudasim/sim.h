/* sim.h: what a .cu file sees instead of CUDA when the C compiler reads it: the words of the language, and a block's threads as fibers (sim.c). */
#ifndef KERNELS_CUDASIM_SIM_H
#define KERNELS_CUDASIM_SIM_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define K_DEV static inline __attribute__((unused))
#define K_KERNEL_AS(name, wait) \
	static void k_cuda_##name(const struct cuda_##name a); \
	void k_sim_##name(const void *args); \
	void k_sim_##name(const void *args) { wait; k_cuda_##name(*(const struct cuda_##name *)args); } \
	static void k_cuda_##name(const struct cuda_##name a)
#define K_KERNEL(name) K_KERNEL_AS(name, K_WAIT_BEFORE())
#define K_KERNEL_MANY(name, blocks) K_KERNEL(name)
#define K_KERNEL_EARLY(name, blocks) K_KERNEL_AS(name, (void)0)
#define K_WAIT_BEFORE() k_sim_wait_before()
#define K_GO_AHEAD() k_sim_go_ahead()
#define K_UNROLL
#define K_KEEP(p) ((void)(p))
#define k_thread_anew() ((int)threadIdx.x)
#define K_ROLL
#define K_UNROLL_BY(n)
#define K_IN_ORDER() ((void)0)
#define K_SHARED(type, name, n) type *const name = (type *)k_sim_shared(sizeof(type) * (n))
#define K_SHARED_MORE(name) uint8_t *const name = (uint8_t *)k_sim_shared_more()

struct k_sim_index { unsigned x, y, z; };
struct k_u4 { uint32_t w[4]; };
struct k_u2 { uint32_t w[2]; };

struct k_sim_index k_sim_thread(void);
struct k_sim_index k_sim_block(void);
/* The next shared variable of this thread's kernel, the same for all threads of the block. */
void *k_sim_shared(size_t n);
/* What the launch adds to them. */
void *k_sim_shared_more(void);
void k_sim_barrier(int line);
/* A barrier of a warp. */
void k_sim_warp_in_step(int line);
/* Until then a thread may not read what the launch before this one wrote, nor write anything that is not its block's. */
void k_sim_wait_before(void);
/* From here on it may write what the launch before this one did not touch. Another block waits. */
void k_sim_go_ahead(void);
float k_sim_shuffle(float v, int x);
/* c += a b by a warp: 16 x 16 times 16 x 8, bf16, fragments as PTX lays them out (mma.m16n8k16). */
void k_sim_mma16816(float *c, const uint32_t *a, const uint32_t *b);
/* False: they are those of an old card, f16. */
bool k_sim_has_bf16(void);
/* 8 x 8 of 16 bits by a warp, turned (movmatrix). */
uint32_t k_sim_turn8(uint32_t word);
struct k_u4 k_load16(const void *p);
void k_store16(void *p, struct k_u4 v);
#define k_load16_once k_load16
#define k_load16_past k_load16
#define k_store16_past k_store16
#define k_anew(x) (x)
#define k_store16_whole k_store16
struct k_u2 k_load8(const void *p);
void k_store8(void *p, struct k_u2 v);
/* Four matrices of 8 x 8 halves by a warp (ldmatrix), turned: transposed. */
void k_sim_matrices(uint32_t *out, const void *row, bool turned);
#define k_matrices(out, row) k_sim_matrices(out, row, false)
#define k_matrices_turned(out, row) k_sim_matrices(out, row, true)
/* Copies that take their time: shared memory that one fills may not be touched before the wait, by anyone. */
void k_copy16(void *to, const void *from, bool there);
#define k_copy16_all(to, from) k_copy16(to, from, true)
#define k_copy16_if(to, from, there) do { if (there) k_copy16(to, from, true); } while (0)
typedef uint8_t *k_place;
#define k_place_of(p) ((uint8_t *)(p))
#define k_copy16_to(to, from) k_copy16(to, from, true)
void k_copy_commit(void);
void k_copy_wait(int left);

/* As cuda_dev.h has them for the device. */
K_DEV int32_t k_sim_dot4(uint32_t a, uint32_t b, int32_t c, bool is_signed)
{
	for (int i = 0; i < 4; i++, a >>= 8, b >>= 8)
		c += (int32_t)(a & 255) * (is_signed ? (int32_t)(int8_t)b : (int32_t)(b & 255));
	return c;
}
#define k_dot4(a, b, c) k_sim_dot4(a, b, c, false)
#define k_dot4_signed(a, b, c) k_sim_dot4(a, b, c, true)
K_DEV uint32_t k_bytes(uint32_t a, uint32_t b, uint32_t digits)
{
	uint32_t out = 0;
	for (int i = 0; i < 4; i++, digits >>= 4)
		out |= ((digits & 4 ? b : a) >> 8 * (digits & 3) & 255) << 8 * i;
	return out;
}

#define k_discard(p) ((void)(p))
#define k_fast_exp2 exp2f
#define k_fast_log2 log2f
#define k_fast_rcp(x) (1 / (x))
#define k_fast_rsqrt(x) (1 / sqrtf(x))

#define threadIdx (k_sim_thread())
#define blockIdx (k_sim_block())
#define __syncthreads() k_sim_barrier(__LINE__)
#define K_WARP_IN_STEP() k_sim_warp_in_step(__LINE__)
#define __shfl_xor_sync(mask, v, x) k_sim_shuffle(v, x)

K_DEV float k_exp2(float x) { return exp2f(x); }
K_DEV uint32_t k_f_bits(float f) { union { float f; uint32_t u; } x = { f }; return x.u; }
K_DEV uint64_t k_d_bits(double d) { union { double d; uint64_t u; } x = { d }; return x.u; }
K_DEV float k_bits_f(uint32_t u) { union { uint32_t u; float f; } x = { u }; return x.f; }

#endif
