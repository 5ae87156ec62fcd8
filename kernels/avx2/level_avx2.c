/* level_avx2.c: the templates in the level's vectors. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "kernels/avx2/vec_avx2.h"
#include "kernels/kk.h"

#define LEVEL avx2
#include "kernels/tmpl/gemm.h"
#include "kernels/tmpl/stored.h"
#include "kernels/tmpl/attn.h"
#include "kernels/tmpl/int4_masked.h"
#include "kernels/tmpl/int4_int8.h"
#include "kernels/tmpl/unpack.h"
#include "kernels/tmpl/quant.h"
#include "kernels/tmpl/elem.h"
#include "kernels/tmpl/delta.h"
#include "kernels/tmpl/table.h"

const struct kk_level kk_level_avx2 = { "avx2", 20, { KK_OF_TEMPLATES } };
