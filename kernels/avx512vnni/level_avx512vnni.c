/* level_avx512vnni.c: INT4 weights times activations of 8 bits by vpdpbusd; the rest is level avx512's. No machine of ours has it: the same
 * text is checked as avx512vnnisim, and how fast it is has not been measured. */
#include "libcore/base.h"
#include "kernels/avx512vnni/vec_avx512vnni.h"
#include "kernels/kk.h"

#define LEVEL avx512vnni
#include "kernels/tmpl/table_int8.h"
#include "kernels/tmpl/page_zmm.h"

const struct kk_level kk_level_avx512vnni = { "avx512vnni", 31, { KK_OF_INT8, KK_OF_PAGES } };
