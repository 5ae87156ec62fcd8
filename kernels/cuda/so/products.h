/* products.h: dense products by cuBLAS, which is looked for when a device is opened: ktools-cuda.so works without it. */
#ifndef KERNELS_CUDA_SO_PRODUCTS_H
#define KERNELS_CUDA_SO_PRODUCTS_H

#include <cuda_runtime.h>
#include "kernels/cuda/cuda_rt.h"

struct products;

/* On a stream of the current device; NULL: what says why. Else what is the library's name and version. */
struct products *products_open(cudaStream_t stream, struct cuda_why *what);
void products_close(struct products *p);
/* NULL, or what went wrong. */
const char *products_multiply(struct products *p, const struct cuda_product *op);

#endif
