/* tile_config.h: the shapes of AMX's tiles, as LDTILECFG reads them: 64 bytes. */
#ifndef KERNELS_AMX_TILE_CONFIG_H
#define KERNELS_AMX_TILE_CONFIG_H

#include "libcore/base.h"

enum { TILES = 8, TILE_ROWS = 16, TILE_BYTES = 64, TILE_PALETTE = 1 };

struct tile_config {
	uint8_t palette, start_row, zero[14];
	uint16_t bytes[TILES];          /* of a row */
	uint16_t zero_bytes[8];
	uint8_t rows[TILES], zero_rows[8];
};
_Static_assert(sizeof(struct tile_config) == 64, "what LDTILECFG reads");

static inline void tile_shape(struct tile_config *c, int tile, int rows, int bytes)
{
	c->palette = TILE_PALETTE;
	c->rows[tile] = (uint8_t)rows;
	c->bytes[tile] = (uint16_t)bytes;
}

#endif
