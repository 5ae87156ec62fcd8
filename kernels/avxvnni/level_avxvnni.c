/* level_avxvnni.c: weights of 4 bits times activations of 8 bits by vpdpbusd on 256 bits; the rest is level avx2's. No machine of ours has it: the same
 * text is checked as avxvnnisim, and how fast it is has not been measured. */
#include "libcore/base.h"
#include "kernels/avxvnni/vec_avxvnni.h"
#include "kernels/kk.h"

#define LEVEL avxvnni
#include "kernels/tmpl/table_int8.h"

const struct kk_level kk_level_avxvnni = { "avxvnni", 25, { KK_OF_INT8 } };
