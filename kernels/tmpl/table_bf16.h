/* table_bf16.h: the products with activations in bf16, for a level that has an instruction for them. */
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/bf16_row.h"
#include "kernels/tmpl/x16_bf16.h"
#include "kernels/tmpl/bf16_bf16.h"

#define KK_OF_BF16 \
	.gemm_bf16_bf16 = KK_FN(gemm_bf16_bf16), \
	.ready_bf16 = KK_FN(ready_bf16), \
	.gemm_i4x16_bf16 = KK_FN(gemm_i4x16_bf16), \
	.ready_i4x16_bf16 = KK_FN(ready_bf16), \
	.gemm_mx4x16_bf16 = KK_FN(gemm_mx4x16_bf16), \
	.ready_mx4x16_bf16 = KK_FN(ready_bf16)
