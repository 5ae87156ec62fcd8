/* level_ref.c: the reference as a level: every entry, lowest rank. It is what the others are measured against. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"

const struct kk_level kk_level_ref = { "ref", 0, {
#define KK(name, ret, args, tolerance) .name = KK_FN(name),
#include "kernels/kk.def"
#undef KK
} };
