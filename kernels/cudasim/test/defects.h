/* defects.h: what the kernels of defects.cu are launched with. */
#ifndef KERNELS_CUDASIM_TEST_DEFECTS_H
#define KERNELS_CUDASIM_TEST_DEFECTS_H

#include <stdint.h>

enum { DEFECT_THREADS = 64, DEFECT_BLOCKS = 2 };
struct defect { float *y; const float *x, *host; int64_t n; };
#define DEFECT(name, says) struct cuda_##name { float *y; const float *x, *host; int64_t n; };
#include "kernels/cudasim/test/defects.def"
#undef DEFECT

#endif
