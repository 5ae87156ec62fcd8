/* table_int8.h: the products of INT4 and 8 bits, for a level that has an instruction for them. */
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/int4_int8.h"

#define KK_OF_INT8 \
	.gemm_i4x16_int8 = KK_FN(gemm_i4x16_int8), \
	.ready_i4x16_int8 = KK_FN(ready_i4x16_int8)
