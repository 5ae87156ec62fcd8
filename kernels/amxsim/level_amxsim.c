/* level_amxsim.c: level amx on a model of its instructions. */
#include "libcore/base.h"
#include "kernels/avx512sim/zmm.h"
#include "kernels/avx512vnni/vec_avx512vnni.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/amxsim/tile_sim.h"
#include "kernels/kk.h"

#define LEVEL amxsim
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/bf16_row.h"
#include "kernels/tmpl/int4_int8.h"
#include "kernels/tmpl/int4_tiles.h"
#include "kernels/tmpl/bf16_tiles.h"

const struct kk_level kk_level_amxsim = { "amxsim", -1, {
	.gemm_bf16_bf16 = KK_FN(tiles_bf16_bf16),
	.ready_bf16 = KK_FN(ready_bf16),
	.gemm_i4x16_bf16 = KK_FN(tiles_i4x16_bf16),
	.ready_i4x16_bf16 = KK_FN(ready_bf16),
	.gemm_i4x16_int8 = KK_FN(tiles_i4x16_int8),
	.ready_i4x16_int8 = KK_FN(ready_i4x16_int8),
} };
