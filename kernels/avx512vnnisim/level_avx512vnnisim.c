/* level_avx512vnnisim.c: level avx512vnni on a model of its instructions. */
#include "libcore/base.h"
#include "kernels/avx512sim/zmm.h"
#include "kernels/avx512vnni/vec_avx512vnni.h"
#include "kernels/kk.h"

#define LEVEL avx512vnnisim
#include "kernels/tmpl/each.h"
#include "kernels/tmpl/int4_int8.h"

const struct kk_level kk_level_avx512vnnisim = { "avx512vnnisim", -1, {
	.gemm_i4x16_int8 = KK_FN(gemm_i4x16_int8),
	.ready_i4x16_int8 = KK_FN(ready_i4x16_int8),
} };
