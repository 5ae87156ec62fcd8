/* level_avx512bf16.c: INT4 and BF16 weights times activations in bf16 by vdpbf16ps; the rest is that of the levels below.
 * For AMD's CPUs, which do twice as many such products as multiply-adds of f32. An Emerald Rapids does half as many: there it is 0.8 of what
 * vdpbf16ps can do for many tokens, and level avx512vnni is twice as fast. */
#include "libcore/base.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/kk.h"

#define LEVEL avx512bf16
#include "kernels/tmpl/table_bf16.h"

const struct kk_level kk_level_avx512bf16 = { "avx512bf16", 32, { KK_OF_BF16 } };
