/* level_amx.c: many tokens by tiles: INT4 weights times activations of 8 bits, INT4 and BF16 weights times activations in bf16. The rest is that of the
 * levels below; INT4 times int8 for few tokens too, which has one result everywhere. Products in bf16 are by tiles for one token as for many, since
 * a tile sums in an order of its own. No machine of ours has it: the same text is checked as amxsim, and how fast it is has not been measured. */
#include "libcore/base.h"
#define I8_TOKENS 4             /* more of them go by tiles */
#include "kernels/avx512vnni/vec_avx512vnni.h"
#include "kernels/avx512bf16/vec_avx512bf16.h"
#include "kernels/amx/tile.h"
#include "kernels/kk.h"

#define LEVEL amx
#include "kernels/tmpl/table_tiles.h"

const struct kk_level kk_level_amx = { "amx", 33, { KK_OF_TILES } };
