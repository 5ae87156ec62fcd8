/* table_int8.h: the products by dot products of bytes, for a level that has an instruction for them: of 4 bits with 8, and with bf16 and f32 in pieces of 8. */
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/x16_int8.h"
#define FIXED_MX
#include "kernels/tmpl/x16_fixed.h"

#define KK_OF_INT8 \
	.gemm_i4x16 = FX_F32(gemm_i4x16), \
	.ready_i4x16 = KK_FN(ready_i4x16), \
	.gemm_i4x16_bf16 = KK_FN(gemm_i4x16_bf16), \
	.ready_i4x16_bf16 = KK_FN(ready_i4x16_bf16), \
	.gemm_i4x16_int8 = KK_FN(gemm_i4x16_int8), \
	.gemm_mx4x16 = FX_F32(gemm_mx4x16), \
	.ready_mx4x16 = KK_FN(ready_mx4x16), \
	.gemm_mx4x16_bf16 = KK_FN(gemm_mx4x16_bf16), \
	.ready_mx4x16_bf16 = KK_FN(ready_mx4x16_bf16), \
	.gemm_mx4x16_int8 = KK_FN(gemm_mx4x16_int8)
