/* level_avx512bf16sim.c: level avx512bf16 on a model of its instructions. */
#include "libcore/base.h"
#include "kernels/avx512sim/zmm.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/kk.h"

#define LEVEL avx512bf16sim
#include "kernels/tmpl/table_bf16.h"

const struct kk_level kk_level_avx512bf16sim = { "avx512bf16sim", -1, { KK_OF_BF16 } };
