/* level_avx2.c: the templates in the level's vectors. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "kernels/avx2/vec_avx2.h"
#include "kernels/kk.h"

#define LEVEL avx2
#include "kernels/tmpl/gemm.h"
#include "kernels/tmpl/attn.h"
#include "kernels/tmpl/int4_masked.h"
#include "kernels/tmpl/int4_int8.h"
#include "kernels/tmpl/unpack.h"
#include "kernels/tmpl/quant.h"
#include "kernels/tmpl/elem.h"
#include "kernels/tmpl/delta.h"

/* There are no products of bf16: they are those of floats. */
static void KK_FN(ready_i4x16_bf16)(float *y, const float *x, size_t cols)
{
	KK_FN(act_bf16)(y, x, cols);
	KK_FN(ready_i4x16)(y, y, cols);
}

const struct kk_level kk_level_avx2 = { "avx2", 20, {
	.gemm_f32 = KK_FN(gemm_f32),
	.gemm_bf16 = KK_FN(gemm_bf16),
	.gemm_i8row = KK_FN(gemm_i8row),
	.gemm_i4x16 = KK_FN(gemm_i4x16),
	.ready_i4x16 = KK_FN(ready_i4x16),
	.gemm_i4x16_bf16 = KK_FN(gemm_i4x16),
	.ready_i4x16_bf16 = KK_FN(ready_i4x16_bf16),
	.gemm_i4x16_int8 = KK_FN(gemm_i4x16_int8),
	.ready_i4x16_int8 = KK_FN(ready_i4x16_int8),
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
