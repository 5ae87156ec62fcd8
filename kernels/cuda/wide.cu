/* wide.cu: products of INT4 with very many vectors (tile.h): tiles of CUDA_WIDE vectors, twice as many products of a weight that was brought and expanded, and a block a
 * multiprocessor.
 *
 * Experts: blocks go on from tile to tile: while the results of one are stored, the next is brought. What does not fill a last round of blocks is cut into tiles of half
 * as many pairs, if that lets it end sooner. */
#include "kernels/cuda/tile.h"

/* Shared memory: stages, of which the last is not asked for before results of half a tile, which lie there, are stored; pairs of a tile and of the next; what there is to do. */
enum { RESULTS = CUDA_WIDE_ROOM - CUDA_TILE * OUT_ROW * 4, PAIRS = CUDA_WIDE_ROOM, WORK = PAIRS + 2 * 4 * CUDA_WIDE, THERE = WORK + 16 };
/* Tiles of half as many vectors have more stages. */
enum { STAGES = CUDA_WIDE_ROOM / CUDA_TILE_STAGE(CUDA_TILE), FREE = 1 / (RESULTS >= (STAGES - 1) * CUDA_TILE_STAGE(CUDA_TILE) && RESULTS >= 3 * CUDA_TILE_STAGE(CUDA_WIDE)) };

/* Tiles that have pairs, in order, behind the next barrier. All threads; sums: CUDA_WARPS numbers. */
K_DEV int tiles_there(struct cuda_tile *there, int32_t *sums, const struct cuda_tile *tile, int places)
{
	int run = (places + CUDA_THREADS - 1) / CUDA_THREADS, from = (int)threadIdx.x * run, to = from + run < places ? from + run : places, n = 0, all = 0, at;
	K_ROLL for (int i = from; i < to; i++)
		n += tile[i].n > 0;
	at = warp_before(n, &n);
	if (k_lane() == 0)
		sums[k_warp()] = n;
	__syncthreads();
	for (int i = 0; i < CUDA_WARPS; i++) {
		at += i < k_warp() ? sums[i] : 0;
		all += sums[i];
	}
	K_ROLL for (int i = from; i < to; i++)
		if (tile[i].n > 0)
			there[at++] = tile[i];
	return all;
}

/* What there is to do: `tiles` times `across` pieces, in shared memory. A block does every blocks-th; those that do not fill a round are cut. */
struct work { int across, whole, all, cut; };

K_DEV void work_begin(uint8_t *shared, const struct cuda_tile *tile, int places, int across, int blocks)
{
	struct work *w = (struct work *)(shared + WORK);
	int tiles = tiles_there((struct cuda_tile *)(shared + THERE), (int32_t *)(shared + RESULTS), tile, places), left = tiles * across % blocks;
	if (threadIdx.x == 0) {
		w->across = across;
		w->cut = 2 * left <= blocks ? 2 : 1;
		w->whole = tiles * across - left;
		w->all = w->whole + left * w->cut;
	}
	__syncthreads();
}

/* The next piece from `from` on, and which rows; n = 0: there is none. Returns the one behind. */
K_DEV int work_next(struct cuda_tile *t, int *x, uint8_t *shared, int blocks, int from)
{
	const struct work *w = (const struct work *)(shared + WORK);
	const struct cuda_tile *there = (const struct cuda_tile *)(shared + THERE);
	t->n = 0;
	while (from < w->all && t->n == 0) {
		int behind = from - w->whole, piece = behind < 0 ? from : w->whole + behind / w->cut, size = behind < 0 ? CUDA_WIDE : CUDA_WIDE / w->cut;
		int before = behind < 0 ? 0 : behind % w->cut * size;
		*t = there[piece / w->across];
		*x = piece % w->across;
		t->first += before;
		t->n = t->n <= before ? 0 : t->n - before < size ? t->n - before : size;
		from += blocks;
	}
	return from;
}

K_DEV void wide_product(float (*sum)[4], const struct rows *m, uint8_t *shared, int n)
{
	tile_product_n(sum, m, CUDA_I4_X16, shared, n, CUDA_WIDE);
}

/* What a block has before it: a tile (n = 0: none) and which rows of it, its pairs, of which those of this turn lie in shared memory beside the next one's. */
struct turn { struct cuda_tile tile; struct pairs pairs; int x, turn, at, blocks; int32_t *pair; };

/* The first. None: waits for the launch before, as every block has to. */
K_DEV void turn_begin(struct turn *w, uint8_t *shared, const struct cuda_tile *tile, const int32_t *order, int places, int64_t across, int blocks)
{
	w->x = w->turn = 0;
	w->blocks = blocks;
	w->pair = (int32_t *)(shared + PAIRS);
	work_begin(shared, tile, places, (int)across, blocks);
	w->at = work_next(&w->tile, &w->x, shared, blocks, (int)blockIdx.x);
	if (w->tile.n == 0) {
		K_WAIT_BEFORE();
		return;
	}
	tile_pairs(&w->pairs, &w->tile, order, CUDA_WIDE);
	pairs_leave(&w->pairs, w->pair, CUDA_WIDE);
}

/* The product of this one, of n vectors; w is the next one, whose pairs were read meanwhile. */
K_DEV void turn_product(float (*sum)[4], struct turn *w, const struct rows *m, uint8_t *shared, const int32_t *order, int n)
{
	w->at = work_next(&w->tile, &w->x, shared, w->blocks, w->at);
	if (w->tile.n)
		tile_pairs(&w->pairs, &w->tile, order, CUDA_WIDE);
	wide_product(sum, m, shared, n);
	__syncthreads();
	pairs_leave(&w->pairs, w->pair + !w->turn * CUDA_WIDE, CUDA_WIDE);
}

WG_KERNEL(moe_up_wide, 1)
{
	K_SHARED_MORE(shared);
	struct turn w;
	struct rows m;
	turn_begin(&w, shared, a.tile.tile, a.tile.order, a.places, (a.tile.gate.rows + CUDA_TILE_ROWS / 2 - 1) / (CUDA_TILE_ROWS / 2), a.blocks);
	if (w.tile.n)
		up_begin(&m, w.x, &a.tile, &w.tile, &w.pairs, shared, CUDA_WIDE);
	K_ROLL while (w.tile.n) {
		int n = w.tile.n, row = w.x;
		float sum[TILES][4];
		turn_product(sum, &w, &m, shared, a.tile.order, n);
		if (w.tile.n)
			up_begin(&m, w.x, &a.tile, &w.tile, &w.pairs, shared, CUDA_WIDE);
		K_UNROLL for (int k = 0; k < CUDA_WIDE && k < n; k += CUDA_TILE) {
			if (k)
				__syncthreads();
			sums_leave(shared + RESULTS, sum + k / 8, CUDA_I4_X16, n - k);
			up_store(row, &a.tile, n - k < CUDA_TILE ? n - k : CUDA_TILE, shared + RESULTS, w.pair + w.turn * CUDA_WIDE + k);
		}
		w.turn = !w.turn;
	}
}

/* out[pair][row] of n vectors from sums, two rows side by side a thread, 64 bytes of a vector a warp. */
K_DEV void down_leave(int x, const struct cuda_moe_down_tile *a, const float (*sum)[4], int n, const int32_t *pair)
{
	int64_t rows = a->down.rows, row = (int64_t)x * CUDA_TILE_ROWS + row_at(CUDA_I4_X16, 0);
	if (row >= rows)
		return;
	K_UNROLL for (int t = 0; t < TILES; t++)
		if (8 * t < n) {
			struct k_u2 of = k_load8(pair + vector_at(t, 0));
			K_UNROLL for (int k = 0; k < 2; k++) {
				struct k_u2 two = { { k_f_bits(sum[t][k]), k_f_bits(sum[t][2 + k]) } };
				if (vector_at(t, k) < n)
					k_store8(a->out + of.w[k] * rows + row, two);
			}
		}
}

WG_KERNEL_EARLY(moe_down_wide, 1)
{
	K_SHARED_MORE(shared);
	struct turn w;
	struct rows m;
	/* What moe_sort wrote, two launches ago, is there. */
	turn_begin(&w, shared, a.tile.tile, a.tile.order, a.places, (a.tile.down.rows + CUDA_TILE_ROWS - 1) / CUDA_TILE_ROWS, a.blocks);
	if (w.tile.n)
		down_begin(&m, w.x, &a.tile, &w.tile, &w.pairs, shared, CUDA_WIDE);
	K_ROLL while (w.tile.n) {
		int n = w.tile.n, row = w.x;
		float sum[TILES][4];
		turn_product(sum, &w, &m, shared, a.tile.order, n);
		if (w.tile.n)
			down_begin(&m, w.x, &a.tile, &w.tile, &w.pairs, shared, CUDA_WIDE);
		down_leave(row, &a.tile, sum, n, w.pair + w.turn * CUDA_WIDE);
		w.turn = !w.turn;
	}
}

WG_KERNEL_EARLY(gemm_wide, 1)
{
	K_SHARED_MORE(shared);
	int64_t first = (int64_t)blockIdx.y * CUDA_WIDE;
	int n = (int)(a.tile.n - first < CUDA_WIDE ? a.tile.n - first : CUDA_WIDE);
	float sum[TILES][4] = { { 0 } };
	struct rows m;
	gemm_begin(&m, &a.tile, first, n, shared, CUDA_WIDE);
	wide_product(sum, &m, shared, n);
	gemm_store(&a.tile, &m, sum, first, n, CUDA_WIDE);
}
