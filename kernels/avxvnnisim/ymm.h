/* ymm.h: a model of vpdpbusd on 256 bits, for machines that have none, as Intel's manual says: four unsigned bytes times four signed ones, added to a
 * word without saturation. */
#ifndef KERNELS_AVXVNNISIM_YMM_H
#define KERNELS_AVXVNNISIM_YMM_H

#include <immintrin.h>
#include "libcore/base.h"

typedef uint8_t ymm_u8 __attribute__((vector_size(32)));
typedef int8_t ymm_i8 __attribute__((vector_size(32)));
typedef uint32_t ymm_u32 __attribute__((vector_size(32)));

static __attribute__((noinline, unused)) __m256i ymm_dpbusd(__m256i acc, __m256i a, __m256i b)
{
	ymm_u8 u = (ymm_u8)a;
	ymm_i8 s = (ymm_i8)b;
	ymm_u32 y = (ymm_u32)acc;
	for (int i = 0; i < 32; i++)
		y[i / 4] += (uint32_t)(u[i] * s[i]);
	return (__m256i)y;
}

#endif
