/* table_tiles.h: the products by tiles, and those of 4 and 8 bits for few tokens. */
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/bf16_row.h"
#include "kernels/tmpl/x16_int8.h"
#include "kernels/tmpl/x16_tiles.h"
#include "kernels/tmpl/bf16_tiles.h"

#define KK_OF_TILES \
	.gemm_bf16_bf16 = KK_FN(tiles_bf16_bf16), \
	.ready_bf16 = KK_FN(ready_bf16), \
	.gemm_i4x16_bf16 = KK_FN(tiles_i4x16_bf16), \
	.ready_i4x16_bf16 = KK_FN(ready_bf16), \
	.gemm_i4x16_int8 = KK_FN(tiles_i4x16_int8), \
	.gemm_mx4x16_bf16 = KK_FN(tiles_mx4x16_bf16), \
	.ready_mx4x16_bf16 = KK_FN(ready_bf16), \
	.gemm_mx4x16_int8 = KK_FN(tiles_mx4x16_int8)
