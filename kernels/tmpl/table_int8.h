/* table_int8.h: the products of 4 and 8 bits, for a level that has an instruction for them. */
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/x16_int8.h"

#define KK_OF_INT8 \
	.gemm_i4x16_int8 = KK_FN(gemm_i4x16_int8), \
	.gemm_mx4x16_int8 = KK_FN(gemm_mx4x16_int8)
