/* tile.h: the instructions of AMX, for x16_tiles.h and bf16_tiles.h. A tile is named by its number, 0 to 7, written out: it is part of the
 * instruction. struct tiles is what a kernel holds of them between begin and end; the processor's own are nobody's variable, so it is empty.
 *
 *     tile_begin(s, config)          shapes; all tiles are zeros
 *     tile_load(s, t, p, step)       rows of the tile from p, p + step, ..., in bytes
 *     tile_store(s, t, p, step)
 *     tile_zero(s, t)
 *     tile_dot_i8(s, c, a, b)        c[m][n] += sum_k a[m][k] b[k / 4][n][k % 4] of signed bytes, in words
 *     tile_dot_bf16(s, c, a, b)      c[m][n] += sum_k a[m][k] b[k / 2][n][k % 2] of bf16, in f32
 *     tile_end(s)                    no shapes: the system has nothing to save
 *
 * By hand and not by intrinsics: those of gcc 12 do not say that they read and write memory. */
#ifndef KERNELS_AMX_TILE_H
#define KERNELS_AMX_TILE_H

#include "kernels/amx/tile_config.h"

struct tiles { char none; };

#define tile_begin(s, config) ((void)(s), tile_config_load(config))
static inline void tile_config_load(const struct tile_config *c) { __asm__ volatile("ldtilecfg %0" : : "m"(*c)); }
#define tile_end(s) do { (void)(s); __asm__ volatile("tilerelease" : : : "memory"); } while (0)
#define tile_zero(s, t) do { (void)(s); __asm__ volatile("tilezero %tmm" #t); } while (0)
#define tile_load(s, t, p, step) do { \
	(void)(s); \
	__asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(p), "r"((size_t)(step)) : "memory"); \
} while (0)
#define tile_store(s, t, p, step) do { \
	(void)(s); \
	__asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(p), "r"((size_t)(step)) : "memory"); \
} while (0)
#define tile_dot_i8(s, c, a, b) do { (void)(s); __asm__ volatile("tdpbssd %tmm" #b ", %tmm" #a ", %tmm" #c); } while (0)
#define tile_dot_bf16(s, c, a, b) do { (void)(s); __asm__ volatile("tdpbf16ps %tmm" #b ", %tmm" #a ", %tmm" #c); } while (0)

#endif
