/* cuda_heap.h: device memory in blocks. A page of a sequence is some 50 KB, and a long one has thousands: asking the driver for each takes longer than a step
 * and waits for the device.
 *
 *   up to 1 MiB   blocks of one size, cut from slabs: the first small, each as large as all before it, at most 32 MiB
 *   larger        an allocation of the driver's
 *
 * What is freed is given again, zeroed, in the order of the stream: nobody waits. Any thread may call. */
#ifndef KERNELS_CUDA_CUDA_HEAP_H
#define KERNELS_CUDA_CUDA_HEAP_H

#include "kernels/cuda/cuda_rt.h"

struct cuda_heap;

/* NULL: no memory. keep: bytes that the driver's memory never goes below. */
struct cuda_heap *cuda_heap_new(const struct cuda_rt *rt, void *on, uint64_t keep);
/* Everything that was not given back too. */
void cuda_heap_free(struct cuda_heap *h);
/* n bytes, zeroed, at a multiple of 256; NULL: the device has not so much, or more than cap would be in use (0: no cap). */
void *cuda_heap_take(struct cuda_heap *h, size_t n, uint64_t cap);
void cuda_heap_give(struct cuda_heap *h, void *p);
/* Bytes in use, and the most there were. */
uint64_t cuda_heap_used(struct cuda_heap *h);
uint64_t cuda_heap_peak(struct cuda_heap *h);

#endif
