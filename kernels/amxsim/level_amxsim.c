/* level_amxsim.c: level amx on a model of its instructions. */
#include "libcore/base.h"
#include "kernels/avx512sim/zmm.h"
#define I8_TOKENS 4             /* more of them go by tiles */
#include "kernels/avx512vnni/vec_avx512vnni.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/amxsim/tile_sim.h"
#include "kernels/kk.h"

#define LEVEL amxsim
#include "kernels/tmpl/table_tiles.h"

const struct kk_level kk_level_amxsim = { "amxsim", -1, { KK_OF_TILES } };
