/* level_avx512bf16.c: INT4 and BF16 weights times activations in bf16 by vdpbf16ps; the rest is that of the levels below. No machine of ours has it: the
 * same text is checked as avx512bf16sim, and how fast it is has not been measured. */
#include "libcore/base.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/kk.h"

#define LEVEL avx512bf16
#include "kernels/tmpl/table_bf16.h"

const struct kk_level kk_level_avx512bf16 = { "avx512bf16", 32, { KK_OF_BF16 } };
