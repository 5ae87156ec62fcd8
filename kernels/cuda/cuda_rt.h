/* cuda_rt.h: what the device's side of the backend offers to the host's. Two have it: ktools-cuda.so (cuda_runtime.cu, the CUDA runtime), and the simulator
 * (kernels/cudasim). Launches and puts happen in order; what fails is kept, and told by the next get or sync. */
#ifndef KERNELS_CUDA_CUDA_RT_H
#define KERNELS_CUDA_CUDA_RT_H

#include "kernels/cuda/cuda_args.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cuda_kernel_id {
#define CUDA_KERNEL(name) CUDA_KERNEL_##name,
#include "kernels/cuda/cuda_kernels.def"
#undef CUDA_KERNEL
	CUDA_N_KERNELS
};

/* F16: before compute capability 8.0; what is bf16 becomes f16 where it is multiplied, exactly but for sizes beyond its range. */
enum cuda_mma { CUDA_MMA_NONE, CUDA_MMA_F16, CUDA_MMA_BF16 };

/* shared: bytes of shared memory that a block gets besides the kernel's own variables. */
struct cuda_grid { unsigned x, y, z, shared; };
struct cuda_why { char msg[320]; };

/* y[i][o] = sum over k of w[o][k] x[i][k] in f32, for n rows of x; x and w are f32, or bf16: both. Steps in elements. */
struct cuda_product { float *y; const void *x, *w; int64_t rows, cols, n, y_step, x_step; bool bf16; };

struct cuda_call { enum cuda_kernel_id kernel; struct cuda_grid grid; const void *args; size_t bytes; };

struct cuda_rt {
	/* Bytes of the arguments of each kernel: a library of another build is refused by them. */
	unsigned n_kernels;
	const uint32_t *arg_bytes;
	/* Is there such a device? what: its name, or why there is none. */
	bool (*probe)(int index, struct cuda_why *what);
	/* NULL: why. */
	void *(*open)(int index, struct cuda_why *why);
	void (*close)(void *dev);
	/* What its tensor cores multiply. */
	enum cuda_mma (*mma)(void *dev);
	/* Bytes of shared memory that a block may have. */
	unsigned (*shared)(void *dev);
	/* Bytes of its memory that nobody has. */
	uint64_t (*room)(void *dev);
	/* Zeroed, aligned to 256 bytes, readable by the host once sync has returned; NULL without memory. */
	void *(*alloc)(void *dev, size_t n);
	void (*free)(void *dev, void *p);
	/* Zeroes. NULL: each piece of memory is an allocation of its own (the simulator, which knows the bounds of each). */
	void (*clear)(void *dev, void *p, size_t n);
	/* The source may be used again at once. */
	void (*put)(void *dev, void *dst, const void *src, size_t n);
	void (*launch)(void *dev, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args, size_t bytes);
	/* Launches in order as one thing, which keeps copies of the arguments; NULL: it cannot be had. */
	void *(*graph_make)(void *dev, const struct cuda_call *call, size_t n);
	/* now: what would be launched without it. It is the same, and the simulator looks whether it is. */
	void (*graph_launch)(void *dev, void *graph, const struct cuda_call *now, size_t n);
	void (*graph_free)(void *dev, void *graph);
	/* Is there a library that multiplies? what: its name, or why there is none. */
	bool (*has_product)(void *dev, struct cuda_why *what);
	/* The same shape has the same order of sums, whatever the values. */
	void (*product)(void *dev, const struct cuda_product *p);
	/* Waits for all of it; false: what went wrong since the device was opened. */
	bool (*sync)(void *dev, struct cuda_why *why);
	bool (*get)(void *dev, void *dst, const void *src, size_t n, struct cuda_why *why);
	/* From the memory of another one that was opened: behind what was asked of it, before what will be asked of either. What it failed at goes over too. */
	void (*hand)(void *dev, void *dst, void *from, const void *src, size_t n);
};

/* What the shared library exports. */
#define CUDA_RT_SYMBOL "ktools_cuda_rt"
typedef const struct cuda_rt *cuda_rt_fn(void);

#endif
