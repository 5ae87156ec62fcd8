/* table.h: the templates that a level with vectors of its own is made of, and their entries in its table. */
#include "kernels/tmpl/gemm.h"
#include "kernels/tmpl/stored.h"
#include "kernels/tmpl/attn.h"
#include "kernels/tmpl/unpack.h"
#include "kernels/tmpl/quant.h"
#include "kernels/tmpl/elem.h"
#include "kernels/tmpl/delta.h"

#define KK_OF_TEMPLATES \
	.gemm_f32 = KK_FN(gemm_f32), \
	.gemm_bf16 = KK_FN(gemm_bf16), \
	.gemm_bf16_bf16 = KK_FN(gemm_bf16), \
	.ready_bf16 = KK_FN(act_bf16), \
	.gemm_i8row = KK_FN(gemm_i8row), \
	.gemm_mxfp4 = KK_FN(gemm_mxfp4), \
	.gemm_fp8b128 = KK_FN(gemm_fp8b128), \
	.unpack = KK_FN(unpack), \
	.convert = KK_FN(convert), \
	.pack_queries = KK_FN(pack_queries), \
	.scores_f32 = KK_FN(scores_f32), \
	.scores_bf16 = KK_FN(scores_bf16), \
	.scores_few_f32 = KK_FN(scores_few_f32), \
	.scores_few_bf16 = KK_FN(scores_few_bf16), \
	.mix = KK_FN(mix), \
	.mix_bf16 = KK_FN(mix_bf16), \
	.axpy = KK_FN(axpy), \
	.add = KK_FN(add), \
	.scale = KK_FN(scale), \
	.max = KK_FN(max), \
	.exp_sum = KK_FN(exp_sum), \
	.sigmoid = KK_FN(sigmoid), \
	.swiglu = KK_FN(swiglu), \
	.situ = KK_FN(situ), \
	.gate = KK_FN(gate), \
	.rmsnorm = KK_FN(rmsnorm), \
	.l2norm = KK_FN(l2norm), \
	.gated_norm = KK_FN(gated_norm), \
	.rope = KK_FN(rope), \
	.conv_silu = KK_FN(conv_silu), \
	.kda_gate = KK_FN(kda_gate), \
	.kda_gate_bound = KK_FN(kda_gate_bound), \
	.kda_keys = KK_FN(kda_keys), \
	.kda_strip = KK_FN(kda_strip), \
	.act_bf16 = KK_FN(act_bf16), \
	.act_int8 = KK_FN(act_int8)
