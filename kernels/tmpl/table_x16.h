/* table_x16.h: the products of weights in layout x16 for a level without an instruction for dot products of bytes: activations are
 * bytes with INT4, as two instructions make a dot product, and floats with E2M1, whose codes are looked up. */
#include "kernels/tmpl/mx4_pairs.h"
#include "kernels/tmpl/x16_int8.h"
#include "kernels/tmpl/ready_int8.h"
#include "kernels/tmpl/x16_fixed.h"

#define KK_OF_X16 \
	.gemm_i4x16 = FX_F32(gemm_i4x16), \
	.ready_i4x16 = KK_FN(ready_i4x16), \
	.gemm_i4x16_bf16 = KK_FN(gemm_i4x16_bf16), \
	.ready_i4x16_bf16 = KK_FN(ready_i4x16_bf16), \
	.gemm_i4x16_int8 = KK_FN(gemm_i4x16_int8), \
	.ready_i4x16_int8 = KK_FN(ready_i4x16_int8), \
	.gemm_mx4x16 = KK_FN(gemm_mx4x16), \
	.ready_mx4x16 = KK_FN(ready_mx4x16), \
	.gemm_mx4x16_bf16 = KK_FN(gemm_mx4x16), \
	.ready_mx4x16_bf16 = KK_FN(act_bf16), \
	.gemm_mx4x16_int8 = KK_FN(gemm_mx4x16_int8), \
	.ready_mx4x16_int8 = KK_FN(ready_mx4x16_int8)
