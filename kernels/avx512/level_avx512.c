/* level_avx512.c: the templates in the level's vectors. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "kernels/avx512/vec_avx512.h"
#include "kernels/kk.h"

#define LEVEL avx512
#include "kernels/tmpl/gemm.h"
#include "kernels/tmpl/attn.h"
#include "kernels/tmpl/int4.h"
#include "kernels/tmpl/unpack.h"
#include "kernels/tmpl/quant.h"
#include "kernels/tmpl/elem.h"
#include "kernels/tmpl/delta.h"

const struct kk_level kk_level_avx512 = { "avx512", 30, {
	.gemm_f32 = KK_FN(gemm_f32),
	.gemm_bf16 = KK_FN(gemm_bf16),
	.gemm_i8row = KK_FN(gemm_i8row),
	.gemm_i4x16 = KK_FN(gemm_i4x16),
	.ready_i4x16 = KK_FN(ready_i4x16),
	.unpack = KK_FN(unpack),
	.convert = KK_FN(convert),
	.pack_queries = KK_FN(pack_queries),
	.scores_f32 = KK_FN(scores_f32),
	.scores_bf16 = KK_FN(scores_bf16),
	.mix = KK_FN(mix),
	.mix_bf16 = KK_FN(mix_bf16),
	.axpy = KK_FN(axpy),
	.add = KK_FN(add),
	.scale = KK_FN(scale),
	.max = KK_FN(max),
	.exp_sum = KK_FN(exp_sum),
	.sigmoid = KK_FN(sigmoid),
	.swiglu = KK_FN(swiglu),
	.rmsnorm = KK_FN(rmsnorm),
	.l2norm = KK_FN(l2norm),
	.gated_norm = KK_FN(gated_norm),
	.rope = KK_FN(rope),
	.conv_silu = KK_FN(conv_silu),
	.kda_gate = KK_FN(kda_gate),
	.kda_run = KK_FN(kda_run),
	.act_bf16 = KK_FN(act_bf16),
	.act_int8 = KK_FN(act_int8),
} };
