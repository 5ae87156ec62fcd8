/* level_avx512vnni.c: weights of 4 bits times activations of 8 bits, and of bf16 and f32 in pieces of 8, by vpdpbusd; the rest is level avx512's. One thread
 * of an Emerald Rapids (2.7 GHz), INT4: a token at 0.82 to 0.97 of what it reads; of 96 tokens int8 at 0.7 of the peak of vpdpbusd, bf16 at 0.87 of the
 * peak of f32 multiply-adds, f32 at 0.7. */
#include "libcore/base.h"
#include "kernels/avx512vnni/vec_avx512vnni.h"
#include "kernels/kk.h"

#define LEVEL avx512vnni
#define FIXED_F32
#include "kernels/tmpl/table_int8.h"
#include "kernels/tmpl/page_int8.h"

const struct kk_level kk_level_avx512vnni = { "avx512vnni", 31, { KK_OF_INT8, KK_OF_PAGES } };
