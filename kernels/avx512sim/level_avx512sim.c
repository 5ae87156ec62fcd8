/* level_avx512sim.c: level avx512 on a model of its instructions. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "kernels/avx512sim/zmm.h"
#include "kernels/avx512/vec_avx512.h"
#include "kernels/kk.h"

#define LEVEL avx512sim
#include "kernels/tmpl/table.h"

const struct kk_level kk_level_avx512sim = { "avx512sim", -1, { KK_OF_TEMPLATES } };
