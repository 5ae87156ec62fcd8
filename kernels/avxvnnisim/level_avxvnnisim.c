/* level_avxvnnisim.c: level avxvnni on a model of its instruction. */
#include "libcore/base.h"
#include "kernels/avxvnnisim/ymm.h"
#include "kernels/avxvnni/vec_avxvnni.h"
#include "kernels/kk.h"

#define LEVEL avxvnnisim
#include "kernels/tmpl/table_int8.h"
#include "kernels/tmpl/page_int8.h"

const struct kk_level kk_level_avxvnnisim = { "avxvnnisim", -1, { KK_OF_INT8, KK_OF_PAGES } };
