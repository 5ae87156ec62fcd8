/* level_avx512bf16sim.c: level avx512bf16 on a model of its instructions. */
#include "libcore/base.h"
#include "kernels/avx512sim/zmm.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/kk.h"

#define LEVEL avx512bf16sim
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/bf16_row.h"
#include "kernels/tmpl/int4_bf16.h"
#include "kernels/tmpl/bf16_bf16.h"

const struct kk_level kk_level_avx512bf16sim = { "avx512bf16sim", -1, {
	.gemm_bf16_bf16 = KK_FN(gemm_bf16_bf16),
	.ready_bf16 = KK_FN(ready_bf16),
	.gemm_i4x16_bf16 = KK_FN(gemm_i4x16_bf16),
	.ready_i4x16_bf16 = KK_FN(ready_bf16),
} };
