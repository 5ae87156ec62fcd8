/* level_avx512.c: the templates in the level's vectors. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "kernels/avx512/vec_avx512.h"
#include "kernels/kk.h"

#define LEVEL avx512
#include "kernels/tmpl/table.h"

const struct kk_level kk_level_avx512 = { "avx512", 30, { KK_OF_TEMPLATES } };
