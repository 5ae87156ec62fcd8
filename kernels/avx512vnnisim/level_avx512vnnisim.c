/* level_avx512vnnisim.c: level avx512vnni on a model of its instructions. */
#include "libcore/base.h"
#include "kernels/avx512sim/zmm.h"
#include "kernels/avx512vnni/vec_avx512vnni.h"
#include "kernels/kk.h"

#define LEVEL avx512vnnisim
#define FIXED_F32
#include "kernels/tmpl/table_int8.h"
#include "kernels/tmpl/page_int8.h"

const struct kk_level kk_level_avx512vnnisim = { "avx512vnnisim", -1, { KK_OF_INT8, KK_OF_PAGES } };
