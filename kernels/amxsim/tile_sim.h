/* tile_sim.h: a model of AMX's tiles, for machines that have none: tile.h's names, as Intel's manual says what they do.
 *
 *   what faults on the processor (a shape that there is not, tiles that do not fit together, use before shapes) is kept as a sentence in
 *   `wrong`, the first one; the instruction does nothing then, and tile_end stops the program
 *   rows and bytes beyond a tile's shape are zeros after each write
 *   tdpbf16ps: of each pair the lower and the upper products are summed apart, from zero, in growing k, each fused; both sums are added, and
 *   that to the element. Denormals in and out are zeros, whatever MXCSR says
 *
 * Not modelled: a restart at a row other than the first, time. */
#ifndef KERNELS_AMXSIM_TILE_SIM_H
#define KERNELS_AMXSIM_TILE_SIM_H

#include "kernels/amx/tile_config.h"
#include "kernels/avx512sim/zmm.h"

struct tiles {
	bool begun;
	struct tile_config c;
	uint8_t data[TILES][TILE_ROWS][TILE_BYTES];
	const char *wrong;
};

ZMM_CALL bool tile_fault(struct tiles *s, const char *what)
{
	if (!s->wrong)
		s->wrong = what;
	return true;
}

ZMM_CALL const char *tile_config_wrong(const struct tile_config *c)
{
	static const uint8_t none[16];
	if (c->palette != TILE_PALETTE)
		return "there is no such palette";
	if (c->start_row)
		return "a start row is not modelled";
	if (memcmp(c->zero, none, sizeof(c->zero)) || memcmp(c->zero_bytes, none, sizeof(c->zero_bytes)) ||
		memcmp(c->zero_rows, none, sizeof(c->zero_rows)))
		return "what is reserved is not zero";
	for (int i = 0; i < TILES; i++) {
		if (c->rows[i] > TILE_ROWS)
			return "more rows than a tile has";
		if (c->bytes[i] > TILE_BYTES)
			return "more bytes than a row has";
		if (!c->rows[i] != !c->bytes[i])
			return "rows without bytes, or bytes without rows";
	}
	return NULL;
}

ZMM_CALL void tile_begin(struct tiles *s, const struct tile_config *c)
{
	memset(s, 0, sizeof(*s));
	s->wrong = tile_config_wrong(c);
	s->begun = !s->wrong;
	if (s->begun)
		s->c = *c;
}

ZMM void tile_end(struct tiles *s)
{
	if (s->wrong)
		k_bug(s->wrong);
	s->begun = false;
}

/* May tile t not be used? */
ZMM_CALL bool tile_faults(struct tiles *s, int t)
{
	if (!s->begun)
		return tile_fault(s, "no shapes were loaded");
	if (t < 0 || t >= TILES)
		return tile_fault(s, "there is no such tile");
	return !s->c.rows[t] && tile_fault(s, "the tile has no shape");
}

ZMM_CALL void tile_zero(struct tiles *s, int t)
{
	if (!tile_faults(s, t))
		memset(s->data[t], 0, sizeof(s->data[t]));
}

ZMM_CALL void tile_load(struct tiles *s, int t, const void *p, size_t step)
{
	if (tile_faults(s, t))
		return;
	memset(s->data[t], 0, sizeof(s->data[t]));
	for (size_t m = 0; m < s->c.rows[t]; m++)
		memcpy(s->data[t][m], (const uint8_t *)p + m * step, s->c.bytes[t]);
}

ZMM_CALL void tile_store(struct tiles *s, int t, void *p, size_t step)
{
	if (tile_faults(s, t))
		return;
	for (size_t m = 0; m < s->c.rows[t]; m++)
		memcpy((uint8_t *)p + m * step, s->data[t][m], s->c.bytes[t]);
}

/* Do c, a and b not fit together? */
ZMM_CALL bool tile_dot_faults(struct tiles *s, int c, int a, int b)
{
	if (tile_faults(s, c) || tile_faults(s, a) || tile_faults(s, b))
		return true;
	if (c == a || c == b || a == b)
		return tile_fault(s, "the tiles of a product are not three");
	if (s->c.bytes[c] % 4 || s->c.bytes[a] % 4 || s->c.bytes[b] % 4)
		return tile_fault(s, "the rows of a product are not of whole words");
	if (s->c.rows[c] != s->c.rows[a])
		return tile_fault(s, "the result has not the rows of the first operand");
	if (s->c.bytes[c] != s->c.bytes[b])
		return tile_fault(s, "the result has not the columns of the second operand");
	return s->c.bytes[a] / 4 != s->c.rows[b] && tile_fault(s, "the second operand has not as many rows as the first has columns");
}

ZMM uint32_t tile_word(const uint8_t *row, size_t i)
{
	uint32_t w;
	memcpy(&w, row + 4 * i, sizeof(w));
	return w;
}

ZMM_CALL void tile_dot_i8(struct tiles *s, int c, int a, int b)
{
	if (tile_dot_faults(s, c, a, b))
		return;
	for (size_t m = 0; m < s->c.rows[c]; m++)
		for (size_t n = 0; n < s->c.bytes[c] / 4u; n++) {
			uint32_t sum = tile_word(s->data[c][m], n);
			for (size_t k = 0; k < s->c.bytes[a]; k++)
				sum += (uint32_t)((int8_t)s->data[a][m][k] * (int8_t)s->data[b][k / 4][4 * n + k % 4]);
			memcpy(s->data[c][m] + 4 * n, &sum, sizeof(sum));
		}
}

ZMM_CALL void tile_dot_bf16(struct tiles *s, int c, int a, int b)
{
	if (tile_dot_faults(s, c, a, b))
		return;
	for (size_t m = 0; m < s->c.rows[c]; m++)
		for (size_t n = 0; n < s->c.bytes[c] / 4u; n++) {
			float low = 0, high = 0, y;
			for (size_t k = 0; k < s->c.rows[b]; k++) {
				uint32_t x = tile_word(s->data[a][m], k), z = tile_word(s->data[b][k], n);
				low = zmm_flush(__builtin_fmaf(zmm_bf16(x << 16), zmm_bf16(z << 16), low));
				high = zmm_flush(__builtin_fmaf(zmm_bf16(x & 0xffff0000u), zmm_bf16(z & 0xffff0000u), high));
			}
			memcpy(&y, s->data[c][m] + 4 * n, sizeof(y));
			y = zmm_flush(zmm_flush(y) + zmm_flush(low + high));
			memcpy(s->data[c][m] + 4 * n, &y, sizeof(y));
		}
}

#endif
