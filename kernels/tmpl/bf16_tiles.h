/* bf16_tiles.h: products of rows of bf16 with activations in bf16, by tiles. For a level that has defined, beside what bf16_bf16.h wants, the
 * instructions of kernels/amx/tile.h.
 *
 *      first operand: weights as they lie      second: tokens, turned             result, [row][token], turned at the end
 *      16 rows x 32 columns                x   16 pairs of columns x 16 tokens
 *
 * Two tiles of rows by two of tokens share their loads; one token is a tile four bytes wide, and is not turned. An element is summed in the order of a
 * tile: of 32 columns the even and the odd apart, then both, which is added to it; in growing k, of every token, one or many. A last run of fewer
 * columns is filled with zeros. */

#include "kernels/tmpl/x16.h"

enum {
	BT_SIDE = 16, BT_COLS = 32, BT_BLOCKS = 3, BT_BANDS = 2, BT_RUN = 16,   /* of a tile; tiles of tokens, of rows; steps of BT_COLS of a run */
	BT_LINE = 64,
};

/* Rows of tiles are lines of the cache, so all begin at one. */
struct bf16_tiles {
	__attribute__((aligned(BT_LINE))) float pack[BT_BLOCKS][BT_RUN][BT_SIDE][BT_SIDE];      /* pairs: [tile][step][pair][token] */
	float sum[BT_BANDS][BT_BLOCKS][BT_SIDE][BT_SIDE];
	uint16_t end[BT_BANDS][BT_SIDE][BT_COLS];
	int bands, blocks, rows, tokens;                /* of tiles, and of one */
	struct tiles tiles;
};

/* A run of weights: two tiles of rows, one step after the other. */
struct bt_run { const uint16_t *w[BT_BANDS]; size_t w_step; int steps; };

/* `cols` columns, up to a step's, of n tokens. */
static void bt_turn(float (*to)[BT_SIDE], const float *const *x, int n, size_t k, size_t cols)
{
	vf a[BT_SIDE];
	EACH(t, BT_SIDE) {
		a[t] = vf_set(0);
		if (t < n)
			a[t] = (vf)(cols == BT_COLS ? vh_load((const uint16_t *)x[t] + k) : vh_end((const uint16_t *)x[t] + k, cols));
	}
	vf_transpose(a);
	EACH(t, BT_SIDE)
		vf_store(to[t], a[t]);
}

static void bt_pack(struct bf16_tiles *s, const float *const *x, int n, size_t k, int steps, size_t cols)
{
	for (int i = 0; i < s->blocks; i++)
		for (int step = 0; step < steps; step++) {
			const float *const *from = x + K_MIN(i * s->tokens, n - s->tokens);
			size_t at = k + (size_t)step * BT_COLS;
			if (s->tokens > 1) {
				bt_turn(s->pack[i][step], from, s->tokens, at, cols);
				continue;
			}
			vu pairs = cols == BT_COLS ? vh_load((const uint16_t *)from[0] + at) : vh_end((const uint16_t *)from[0] + at, cols);
			memcpy(s->pack[i][step], &pairs, sizeof(pairs));
		}
}

/* What is done to the tiles of results. */
#define BT_RESULTS(op) do { \
	op(&s->tiles, 0, s->sum[0][block], BT_LINE); \
	if (BLOCKS > 1) \
		op(&s->tiles, 1, s->sum[0][block + 1], BT_LINE); \
	if (BANDS > 1) \
		op(&s->tiles, 2, s->sum[1][block], BT_LINE); \
	if (BANDS > 1 && BLOCKS > 1) \
		op(&s->tiles, 3, s->sum[1][block + 1], BT_LINE); \
} while (0)

/* BANDS x BLOCKS tiles of results from `block` on: 0 and 1 of the first rows, 2 and 3 of the next; constants. */
static inline __attribute__((always_inline)) void bt_tiles(struct bf16_tiles *s, const int BANDS, const int BLOCKS, const struct bt_run *run, int block)
{
	const size_t wide = run->w_step * sizeof(uint16_t), pair = s->tokens > 1 ? BT_LINE : sizeof(float);
	BT_RESULTS(tile_load);
	for (int i = 0; i < run->steps; i++) {
		tile_load(&s->tiles, 4, run->w[0] + (size_t)i * BT_COLS, wide);
		tile_load(&s->tiles, 6, s->pack[block][i], pair);
		tile_dot_bf16(&s->tiles, 0, 4, 6);
		if (BLOCKS > 1) {
			tile_load(&s->tiles, 7, s->pack[block + 1][i], pair);
			tile_dot_bf16(&s->tiles, 1, 4, 7);
		}
		if (BANDS > 1) {
			tile_load(&s->tiles, 5, run->w[1] + (size_t)i * BT_COLS, wide);
			tile_dot_bf16(&s->tiles, 2, 5, 6);
		}
		if (BANDS > 1 && BLOCKS > 1)
			tile_dot_bf16(&s->tiles, 3, 5, 7);
	}
	BT_RESULTS(tile_store);
}

static void bt_run(struct bf16_tiles *s, const struct bt_run *run)
{
	for (int i = 0; i < s->blocks; i += 2)
		if (s->bands == 1 && s->blocks - i == 1)
			bt_tiles(s, 1, 1, run, i);
		else if (s->bands == 1)
			bt_tiles(s, 1, 2, run, i);
		else if (s->blocks - i == 1)
			bt_tiles(s, 2, 1, run, i);
		else
			bt_tiles(s, 2, 2, run, i);
}

/* The last columns, fewer than a step. */
static void bt_end(struct bf16_tiles *s, struct bt_run run, const float *const *x, int n, size_t k, size_t cols)
{
	memset(s->end, 0, sizeof(s->end));
	for (int band = 0; band < s->bands; band++) {
		for (int r = 0; r < s->rows; r++)
			memcpy(s->end[band][r], run.w[band] + (size_t)r * run.w_step + k, cols * sizeof(uint16_t));
		run.w[band] = s->end[band][0];
	}
	run.w_step = BT_COLS;
	run.steps = 1;
	bt_pack(s, x, n, k, 1, cols);
	bt_run(s, &run);
}

/* A tile of results, turned. */
static void bt_write(float *y, size_t y_step, float (*sum)[BT_SIDE], int rows, int tokens)
{
	vf a[BT_SIDE];
	EACH(r, BT_SIDE)
		a[r] = vf_load(sum[r]);
	vf_transpose(a);
	EACH(t, BT_SIDE)
		vf_store(sum[t], a[t]);
	for (int t = 0; t < tokens; t++)
		memcpy(y + (size_t)t * y_step, sum[t], (size_t)rows * sizeof(*y));
}

/* Up to BT_BANDS tiles of rows and BT_BLOCKS of tokens, each of one height and one width: where they do not come out even the last two tiles share
 * some rows or tokens, which get the same bits twice. */
static void bt_block(float *y, size_t y_step, const uint16_t *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	struct bf16_tiles s;
	struct tile_config config = { 0 };
	struct bt_run run = { .w_step = w_step };
	size_t k = 0;
	s.bands = (rows + BT_SIDE - 1) / BT_SIDE;
	s.rows = K_MIN(rows, (int)BT_SIDE);
	s.blocks = (n + BT_SIDE - 1) / BT_SIDE;
	s.tokens = (n + s.blocks - 1) / s.blocks;
	for (int i = 0; i < 4; i++)
		tile_shape(&config, i, s.rows, 4 * s.tokens);
	for (int i = 4; i < 6; i++) {
		tile_shape(&config, i, s.rows, BT_LINE);
		tile_shape(&config, i + 2, BT_SIDE, 4 * s.tokens);
	}
	tile_begin(&s.tiles, &config);
	memset(s.sum, 0, sizeof(s.sum));
	for (; k + BT_COLS <= cols; k += (size_t)run.steps * BT_COLS) {
		run.steps = (int)K_MIN((cols - k) / BT_COLS, (size_t)BT_RUN);
		for (int i = 0; i < s.bands; i++)
			run.w[i] = w + (size_t)K_MIN(i * s.rows, rows - s.rows) * w_step + k;
		bt_pack(&s, x, n, k, run.steps, BT_COLS);
		bt_run(&s, &run);
	}
	if (k < cols) {
		for (int i = 0; i < s.bands; i++)
			run.w[i] = w + (size_t)K_MIN(i * s.rows, rows - s.rows) * w_step;
		bt_end(&s, run, x, n, k, cols - k);
	}
	tile_end(&s.tiles);
	for (int i = 0; i < s.bands; i++)
		for (int j = 0; j < s.blocks; j++)
			bt_write(y + (size_t)K_MIN(j * s.tokens, n - s.tokens) * y_step + K_MIN(i * s.rows, rows - s.rows), y_step, s.sum[i][j], s.rows, s.tokens);
}

static void KK_FN(tiles_bf16_bf16)(float *y, size_t y_step, const uint16_t *w, size_t w_step, int rows, const float *const *x, int n, size_t cols)
{
	for (int r = 0; r < rows; r += BT_BANDS * BT_SIDE)
		for (int t = 0; t < n; t += BT_BLOCKS * BT_SIDE)
			bt_block(y + (size_t)t * y_step + r, y_step, w + (size_t)r * w_step, w_step, K_MIN(rows - r, BT_BANDS * BT_SIDE), x + t,
				K_MIN(n - t, BT_BLOCKS * BT_SIDE), cols);
}
