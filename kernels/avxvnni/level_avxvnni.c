/* level_avxvnni.c: weights of 4 bits times activations of 8 bits, and of bf16 and f32 in pieces of 8, by vpdpbusd on 256 bits; the rest is level avx2's. On
 * an Emerald Rapids held to it, over avx2: bf16 and f32 with INT4 1.4 times as fast from the nearest caches, f32 with E2M1 2.3 times for one token. */
#include "libcore/base.h"
#include "kernels/avxvnni/vec_avxvnni.h"
#include "kernels/kk.h"

#define LEVEL avxvnni
#include "kernels/tmpl/table_int8.h"
#include "kernels/tmpl/page_int8.h"

const struct kk_level kk_level_avxvnni = { "avxvnni", 25, { KK_OF_INT8, KK_OF_PAGES } };
