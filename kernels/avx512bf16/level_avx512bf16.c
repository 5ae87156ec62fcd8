/* level_avx512bf16.c: INT4 and BF16 weights times activations in bf16 by vdpbf16ps; the rest is that of the levels below. No machine of ours has it: the
 * same text is checked as avx512bf16sim, and how fast it is has not been measured. */
#include "libcore/base.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/kk.h"

#define LEVEL avx512bf16
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/bf16_row.h"
#include "kernels/tmpl/int4_bf16.h"
#include "kernels/tmpl/bf16_bf16.h"

const struct kk_level kk_level_avx512bf16 = { "avx512bf16", 32, {
	.gemm_bf16_bf16 = KK_FN(gemm_bf16_bf16),
	.ready_bf16 = KK_FN(ready_bf16),
	.gemm_i4x16_bf16 = KK_FN(gemm_i4x16_bf16),
	.ready_i4x16_bf16 = KK_FN(ready_bf16),
} };
