/* level_avx2.c: the templates in the level's vectors. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "kernels/avx2/vec_avx2.h"
#include "kernels/kk.h"

#define LEVEL avx2
#include "kernels/tmpl/table.h"
#include "kernels/tmpl/table_x16.h"
#include "kernels/tmpl/page_int8.h"

const struct kk_level kk_level_avx2 = { "avx2", 20, { KK_OF_TEMPLATES, KK_OF_X16, KK_OF_PAGES } };
