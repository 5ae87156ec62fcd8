/* cuda_runtime.cu: ktools-cuda.so beside its kernels: devices, memory and launches through the CUDA runtime, which is linked in; the driver is found
 * when a device is opened. One stream a device, so that everything happens in order.
 *
 *   put   host -> ring of pinned memory -> device     the ring is waited for only where it begins anew
 *
 * Memory is managed: what the kernels leave to the CPU works on it where it is, after a sync. The first failure of a device is kept. */
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cuda/cuda_args.h"
#include "kernels/cuda/cuda_rt.h"
#include "kernels/cuda/so/products.h"

enum { RING = 4 << 20, PIECE = RING / 4, ALIGN = 256 };

struct device {
	int index, major, shared;       /* shared: bytes that a block may have */
	cudaStream_t stream;
	cudaStream_t maker;             /* graphs are made there: what other threads ask of the stream meanwhile is no part of them */
	cudaEvent_t here;               /* how far the stream has come, for other devices */
	char *ring;
	size_t used;
	struct products *products;      /* once somebody asked; NULL: there is no library */
	unsigned allowed[CUDA_N_KERNELS];       /* bytes of shared memory that a kernel has been allowed to ask for */
	char failed[sizeof(((struct cuda_why *)0)->msg)];
};

#define CUDA_KERNEL(name) extern "C" __global__ void k_cuda_##name(const __grid_constant__ struct cuda_##name a);
#include "kernels/cuda/cuda_kernels.def"
#undef CUDA_KERNEL

static const struct { const char *name; const void *kernel; } kernels[] = {
#define CUDA_KERNEL(name) { #name, (const void *)k_cuda_##name },
#include "kernels/cuda/cuda_kernels.def"
#undef CUDA_KERNEL
};

static const uint32_t arg_bytes[] = {
#define CUDA_KERNEL(name) sizeof(struct cuda_##name),
#include "kernels/cuda/cuda_kernels.def"
#undef CUDA_KERNEL
};

static bool note(struct device *d, cudaError_t e, const char *what)
{
	if (e != cudaSuccess && !*d->failed)
		snprintf(d->failed, sizeof(d->failed), "%s: %s", what, cudaGetErrorString(e));
	return e == cudaSuccess;
}

static bool rt_probe(int index, struct cuda_why *what)
{
	struct cudaDeviceProp p;
	int n = 0, managed = 0;
	cudaError_t e = cudaGetDeviceCount(&n);
	if (e != cudaSuccess || n == 0) {
		snprintf(what->msg, sizeof(what->msg), "there is no NVIDIA GPU here (%s)", e != cudaSuccess ? cudaGetErrorString(e) : "the driver has none");
		return false;
	}
	if (index >= n) {
		snprintf(what->msg, sizeof(what->msg), "there is no GPU %d, the last is %d", index, n - 1);
		return false;
	}
	if ((e = cudaGetDeviceProperties(&p, index)) != cudaSuccess) {
		snprintf(what->msg, sizeof(what->msg), "GPU %d does not answer: %s", index, cudaGetErrorString(e));
		return false;
	}
	cudaDeviceGetAttribute(&managed, cudaDevAttrConcurrentManagedAccess, index);
	snprintf(what->msg, sizeof(what->msg), "%s, compute capability %d.%d, %.1f GiB", p.name, p.major, p.minor,
		(double)p.totalGlobalMem / (1 << 30));
	if (p.major > 7 || (p.major == 7 && p.minor >= 5)) {
		if (managed)
			return true;
		strncat(what->msg, ": its driver cannot share memory with the host", sizeof(what->msg) - strlen(what->msg) - 1);
		return false;
	}
	strncat(what->msg, ": too old, wanted 7.5", sizeof(what->msg) - strlen(what->msg) - 1);
	return false;
}

static void rt_close(void *dev)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	if (d->products)
		products_close(d->products);
	if (d->here)
		cudaEventDestroy(d->here);
	if (d->maker)
		cudaStreamDestroy(d->maker);
	if (d->stream)
		cudaStreamDestroy(d->stream);
	if (d->ring)
		cudaFreeHost(d->ring);
	free(d);
}

static void *rt_open(int index, struct cuda_why *why)
{
	struct device *d;
	if (!rt_probe(index, why))
		return NULL;
	d = (struct device *)calloc(1, sizeof(*d));
	if (!d) {
		snprintf(why->msg, sizeof(why->msg), "no memory");
		return NULL;
	}
	d->index = index;
	cudaDeviceGetAttribute(&d->major, cudaDevAttrComputeCapabilityMajor, index);
	cudaDeviceGetAttribute(&d->shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
	if (note(d, cudaSetDevice(index), "the device") && note(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking), "a stream") &&
		note(d, cudaStreamCreateWithFlags(&d->maker, cudaStreamNonBlocking), "a stream") &&
		note(d, cudaEventCreateWithFlags(&d->here, cudaEventDisableTiming), "an event") &&
		note(d, cudaMallocHost((void **)&d->ring, RING), "pinned memory"))
		return d;
	memcpy(why->msg, d->failed, sizeof(why->msg));
	rt_close(d);
	return NULL;
}

static enum cuda_mma rt_mma(void *dev) { return ((const struct device *)dev)->major >= 8 ? CUDA_MMA_BF16 : CUDA_MMA_F16; }

static unsigned rt_shared(void *dev) { return (unsigned)((const struct device *)dev)->shared; }

/* More than a kernel gets unasked is asked for once. */
static void allow(struct device *d, enum cuda_kernel_id kernel, unsigned bytes)
{
	if (bytes <= d->allowed[kernel])
		return;
	note(d, cudaFuncSetAttribute(kernels[kernel].kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes), kernels[kernel].name);
	d->allowed[kernel] = bytes;
}

/* Managed memory takes room when it is first written, which rt_alloc has asked for. */
static uint64_t rt_room(void *dev)
{
	struct device *d = (struct device *)dev;
	size_t left = 0, all = 0;
	cudaSetDevice(d->index);
	note(d, cudaStreamSynchronize(d->stream), "the device");
	note(d, cudaMemGetInfo(&left, &all), "asking for memory");
	return left;
}

static void *rt_alloc(void *dev, size_t n)
{
	struct device *d = (struct device *)dev;
	void *p = NULL;
	cudaSetDevice(d->index);
	if (cudaMallocManaged(&p, n ? n : 1, cudaMemAttachGlobal) != cudaSuccess) {
		cudaGetLastError();
		return NULL;
	}
#if CUDART_VERSION >= 13000
	struct cudaMemLocation here = { cudaMemLocationTypeDevice, d->index };
	note(d, cudaMemAdvise(p, n ? n : 1, cudaMemAdviseSetPreferredLocation, here), "advice on memory");
#else
	note(d, cudaMemAdvise(p, n ? n : 1, cudaMemAdviseSetPreferredLocation, d->index), "advice on memory");
#endif
	note(d, cudaMemsetAsync(p, 0, n, d->stream), "clearing memory");
	return p;
}

static void rt_clear(void *dev, void *p, size_t n)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	note(d, cudaMemsetAsync(p, 0, n, d->stream), "clearing memory");
}

static void rt_free(void *dev, void *p)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	note(d, cudaStreamSynchronize(d->stream), "the device");
	note(d, cudaFree(p), "freeing memory");
}

static void rt_put(void *dev, void *dst, const void *src, size_t n)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	for (size_t done = 0, piece; done < n; done += piece) {
		piece = n - done < (size_t)PIECE ? n - done : (size_t)PIECE;
		if (RING - d->used < piece) {
			note(d, cudaStreamSynchronize(d->stream), "the device");
			d->used = 0;
		}
		memcpy(d->ring + d->used, (const char *)src + done, piece);
		note(d, cudaMemcpyAsync((char *)dst + done, d->ring + d->used, piece, cudaMemcpyDefault, d->stream), "copying to the device");
		d->used += (piece + ALIGN - 1) / ALIGN * ALIGN;
	}
}

/* From 9.0 on a kernel begins while the one before it ends: cuda_dev.h says what it may do before it waits. */
static cudaError_t launch(struct device *d, cudaStream_t stream, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args)
{
	void *argv[] = { (void *)args };
	cudaLaunchAttribute early = {};
	cudaLaunchConfig_t how = {};
	early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
	early.val.programmaticStreamSerializationAllowed = 1;
	how.gridDim = dim3(grid.x, grid.y, grid.z);
	how.blockDim = dim3(CUDA_THREADS);
	how.stream = stream;
	how.dynamicSmemBytes = grid.shared;
	allow(d, kernel, grid.shared);
	how.attrs = &early;
	how.numAttrs = d->major >= 9;
	return cudaLaunchKernelExC(&how, kernels[kernel].kernel, argv);
}

static void rt_launch(void *dev, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args, size_t bytes)
{
	struct device *d = (struct device *)dev;
	(void)bytes;
	if (*d->failed)
		return;
	cudaSetDevice(d->index);
	note(d, launch(d, d->stream, kernel, grid, args), kernels[kernel].name);
}

/* What the stream would be told, one kernel after the other. */
static void *rt_graph_make(void *dev, const struct cuda_call *call, size_t n)
{
	struct device *d = (struct device *)dev;
	cudaGraph_t graph = NULL;
	cudaGraphExec_t exec = NULL;
	bool ok = true;
	cudaSetDevice(d->index);
	if (cudaStreamBeginCapture(d->maker, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
		cudaGetLastError();
		return NULL;
	}
	for (size_t i = 0; i < n && ok; i++)
		ok = launch(d, d->maker, call[i].kernel, call[i].grid, call[i].args) == cudaSuccess;
	ok = cudaStreamEndCapture(d->maker, &graph) == cudaSuccess && ok;
	if (!ok || cudaGraphInstantiate(&exec, graph, 0) != cudaSuccess) {
		cudaGetLastError();
		exec = NULL;
	}
	if (graph)
		cudaGraphDestroy(graph);
	return exec;
}

static void rt_graph_launch(void *dev, void *graph, const struct cuda_call *now, size_t n)
{
	struct device *d = (struct device *)dev;
	(void)now, (void)n;
	if (*d->failed)
		return;
	cudaSetDevice(d->index);
	note(d, cudaGraphLaunch((cudaGraphExec_t)graph, d->stream), "the graph of a step");
}

static void rt_graph_free(void *dev, void *graph)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	note(d, cudaStreamSynchronize(d->stream), "the device");
	note(d, cudaGraphExecDestroy((cudaGraphExec_t)graph), "freeing the graph of a step");
}

static bool rt_has_product(void *dev, struct cuda_why *what)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	if (!d->products)
		d->products = products_open(d->stream, what);
	return d->products;
}

static void rt_product(void *dev, const struct cuda_product *p)
{
	struct device *d = (struct device *)dev;
	const char *why;
	if (*d->failed)
		return;
	cudaSetDevice(d->index);
	why = products_multiply(d->products, p);
	if (why)
		snprintf(d->failed, sizeof(d->failed), "a product of %lld x %lld by cuBLAS: %s", (long long)p->rows, (long long)p->cols, why);
}

static bool rt_sync(void *dev, struct cuda_why *why)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	note(d, cudaStreamSynchronize(d->stream), "the device");
	d->used = 0;
	memcpy(why->msg, d->failed, sizeof(why->msg));
	return !*d->failed;
}

static bool rt_get(void *dev, void *dst, const void *src, size_t n, struct cuda_why *why)
{
	struct device *d = (struct device *)dev;
	cudaSetDevice(d->index);
	note(d, cudaMemcpyAsync(dst, src, n, cudaMemcpyDefault, d->stream), "copying from the device");
	return rt_sync(dev, why);
}

/* `behind` waits for what its stream has been told so far by `first`. */
static void queue_behind(struct device *d, struct device *behind, struct device *first)
{
	cudaSetDevice(first->index);
	note(d, cudaEventRecord(first->here, first->stream), "an event");
	cudaSetDevice(behind->index);
	note(d, cudaStreamWaitEvent(behind->stream, first->here, 0), "waiting for a device");
}

/* On this one's stream; the other does not write to src again before. */
static void rt_hand(void *dev, void *dst, void *from, const void *src, size_t n)
{
	struct device *d = (struct device *)dev, *f = (struct device *)from;
	if (*f->failed && !*d->failed)
		snprintf(d->failed, sizeof(d->failed), "GPU %d: %.280s", f->index, f->failed);
	if (*d->failed)
		return;
	queue_behind(d, d, f);
	note(d, cudaMemcpyAsync(dst, src, n, cudaMemcpyDefault, d->stream), "copying from another device");
	queue_behind(d, f, d);
}

static const struct cuda_rt rt = {
	CUDA_N_KERNELS, arg_bytes, rt_probe, rt_open, rt_close, rt_mma, rt_shared, rt_room, rt_alloc, rt_free, rt_clear, rt_put, rt_launch,
	rt_graph_make, rt_graph_launch, rt_graph_free, rt_has_product, rt_product, rt_sync, rt_get, rt_hand,
};

extern "C" __attribute__((visibility("default"))) const struct cuda_rt *ktools_cuda_rt(void) { return &rt; }
