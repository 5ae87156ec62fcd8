/* tile.cu: products of stored weights with many vectors on tensor cores, dense and grouped by expert.
 *
 *   a block: 128 rows of weights x up to CUDA_TILE vectors     a warpgroup: 64 rows      a warp: 16 rows x all vectors, sums in registers
 *
 *   vectors, in bf16     gathered to shared memory by asynchronous copies, many steps of 64 columns ahead, where tensor cores read them (wgmma.h)
 *   weights              records of INT4 the same way, others from memory; a run of 32 columns is expanded in registers while the last one is multiplied
 *
 * A warp's 16 rows are rows of one matrix; or 8 of gate and the same 8 of up, so that silu * up is done where they meet, in a thread.
 *
 * Vectors lie in memory with the columns of each 32 in the order in which fragments take them (tile_place): a lane has 8 columns that lie together in the
 * weights, and they are no neighbours in a product of 16 columns.
 *
 * While one warpgroup adds up what it got, the tensor cores multiply for the others: there are four a multiprocessor, of two blocks. */
#include "kernels/cuda/strip.h"
#include "kernels/cuda/wgmma.h"

enum { TILES = CUDA_TILE / 8, RECORDS = CUDA_TILE_ROWS / 16, WEIGHTS = RECORDS * K_RECORD };
/* Behind the stages: sums, and the pairs of a tile. */
enum { SHARED = CUDA_TILE_SHARED, PAIRS = SHARED + (WG_AHEAD ? CUDA_TILE_SUMS : 0), ALL = PAIRS + CUDA_TILE * 4 };

/* Columns k, k + 1 of a vector of 32 (k even) lie at tile_place(k), and the next. */
K_DEV int64_t tile_place(int64_t k) { return k - k % 32 + k % 8 / 4 * 16 + k % 4 / 2 * 8 + k % 32 / 8 * 2 + k % 2; }

/* What a block multiplies: rows row[i] of matrices w[i] (i = 0, 1: rows l / 4 and l / 4 + 8 of a fragment), and vectors x[offset ..]. Thread i copies 16 bytes
 * i % 8 of vectors i / 8 + 32 k, and pieces i and i + CUDA_THREADS of the records of a step. at: where the lane's rows begin in those. What is not there is
 * another vector or another row, of which nothing is kept. */
enum { VECTORS = CUDA_TILE * 8 / CUDA_THREADS };
struct rows {
	const struct cuda_matrix *w[2];
	const uint8_t *slice[2];
	int64_t row[2];
	int at[2];
	const uint16_t *x;
	uint32_t offset[VECTORS];       /* bytes */
	const uint8_t *piece[2];        /* of step 0 */
	int64_t steps, part;
};

/* Tiles of n vectors: stages, of which vectors come first. */
K_DEV int tile_stages(int n) { return SHARED / (n * WG_ROW + WEIGHTS); }
K_DEV uint8_t *tile_vectors(uint8_t *shared, int n, int stage) { return shared + stage * n * WG_ROW; }
K_DEV uint8_t *tile_weights(uint8_t *shared, int n, int stage) { return shared + tile_stages(n) * n * WG_ROW + stage * WEIGHTS; }

K_DEV void tile_copy_vectors(const struct rows *m, enum cuda_type type, uint8_t *shared, int n, int stage, int step)
{
	uint8_t *to = tile_vectors(shared, n, stage) + wg_place((int)threadIdx.x / 8, (int)threadIdx.x % 8);
	const uint8_t *from = (const uint8_t *)m->x + (uint32_t)step * WG_ROW;
	bool there = STEP * step + (int)threadIdx.x % 8 * 8 < m->w[0]->cols;
	K_UNROLL for (int k = 0; k < n * 8 / CUDA_THREADS; k++) {
		if (type == CUDA_I4_X16)
			k_copy16_all(to + k * (CUDA_THREADS / 8) * WG_ROW, from + m->offset[k]);
		else
			k_copy16(to + k * (CUDA_THREADS / 8) * WG_ROW, there ? from + m->offset[k] : (const uint8_t *)m->x, there);
	}
}

K_DEV void tile_copy_weights(const struct rows *m, enum cuda_type type, uint8_t *shared, int n, int stage, int step)
{
	uint8_t *to = tile_weights(shared, n, stage) + threadIdx.x * 16;
	int at = step * K_RECORD;
	if (type != CUDA_I4_X16)
		return;
	k_copy16_all(to, m->piece[0] + at);
	if (threadIdx.x < WEIGHTS / 16 - CUDA_THREADS)
		k_copy16_all(to + CUDA_THREADS * 16, m->piece[1] + at);
}

/* 8 columns of each of two rows, as stored, and their scales; of INT4 those of both runs, read with the first. */
struct words { uint32_t w[2][4], scale[2]; };

K_DEV void words_load(struct words *s, const struct rows *m, enum cuda_type type, const uint8_t *weights, int64_t step, int half)
{
	int quad = k_lane() % 4;
	int64_t run = 2 * step + half, at = RUN * run + 8 * quad;
	K_UNROLL for (int i = 0; i < 2; i++) {
		const struct cuda_matrix *w = m->w[i];
		int64_t row = m->row[i], blocks = (w->cols + 127) / 128;
		const uint8_t *p;
		if (type == CUDA_I4_X16) {
			s->w[i][0] = *(const uint32_t *)(weights + m->at[i] + 64 + 64 * (4 * half + quad));
			if (half == 0)
				s->scale[i] = *(const uint32_t *)(weights + m->at[i]);
			continue;
		}
		K_UNROLL for (int j = 0; j < 4; j++)
			s->w[i][j] = 0;
		s->scale[i] = 0;
		if (row >= w->rows || RUN * run >= w->cols)
			continue;
		if (type == CUDA_BF16) {
			struct k_u4 v = k_load16((const uint16_t *)m->slice[i] + row * w->cols + at);
			K_UNROLL for (int j = 0; j < 4; j++)
				s->w[i][j] = v.w[j];
		} else if (type == CUDA_MXFP4) {
			p = m->slice[i] + row * (w->cols / 2 + w->cols / 32);
			s->w[i][0] = *(const uint32_t *)(p + w->cols / 32 + at / 2);
			s->scale[i] = p[run];
		} else if (type == CUDA_MX4_X16) {
			p = m->slice[i] + (row / 16 * (w->cols / 128) + run / 4) * K_MX_RECORD;
			s->w[i][0] = *(const uint32_t *)(p + 64 + 64 * (4 * (run % 4) + quad) + row % 16 * 4);
			s->scale[i] = p[row % 16 * 4 + run % 4];
		} else {
			p = m->slice[i] + row / 128 * (blocks * 4 + 128 * w->cols);
			s->scale[i] = *(const uint32_t *)(p + run / 4 * 4);
			p += blocks * 4 + row % 128 * w->cols + at;
			s->w[i][0] = *(const uint32_t *)p;
			s->w[i][1] = *(const uint32_t *)(p + 4);
		}
	}
}

/* nothing: 0, which ptxas does not know: what is loaded while something is multiplied must not be what is multiplied next. */
K_DEV void words_run(struct run *r, enum cuda_type type, const struct words *s, int half, uint32_t nothing)
{
	K_UNROLL for (int i = 0; i < 2; i++) {
		K_UNROLL for (int j = 0; j < 4; j++)
			r->a[j / 2][i + j % 2 * 2] = type == CUDA_I4_X16 ? i4_pair(s->w[i][0], j) : type == CUDA_BF16 ? s->w[i][j] ^ nothing :
				type == CUDA_MXFP4 ? e2m1_pair(s->w[i][0] >> 8 * j) : type == CUDA_MX4_X16 ? e2m1_apart(s->w[i][0] >> 4 * j) :
				e4m3_pair(s->w[i][j / 2] >> j % 2 * 16);
		r->scale[i] = type == CUDA_I4_X16 ? k_bits_f(half ? s->scale[i] & 0xffff0000 : s->scale[i] << 16) : type == CUDA_BF16 ? 1 :
			type == CUDA_FP8B128 ? k_bits_f(s->scale[i]) : k_e8m0((uint8_t)s->scale[i]);
	}
}

/* acc += scales * c, n vectors. */
K_DEV void tile_add(float (*acc)[4], const float (*c)[4], const float *scale, int n)
{
	K_UNROLL for (int t = 0; t < n / 8; t++)
		K_UNROLL for (int k = 0; k < 4; k++)
			acc[t][k] = fmaf(scale[k / 2], c[t][k], acc[t][k]);
}

/* Behind a part: sum += acc. Where products take their time, c and acc have the registers, and sums are in shared memory, 16 bytes a thread that lie together. */
enum { KEPT = 16 * CUDA_THREADS };
K_DEV uint8_t *tile_kept(uint8_t *shared, int t) { return shared + SHARED + t * KEPT + threadIdx.x * 16; }

K_DEV void tile_part(float (*sum)[4], float (*acc)[4], uint8_t *shared, int n)
{
	K_UNROLL for (int t = 0; t < n / 8; t++) {
		struct k_u4 v;
		if (WG_AHEAD)
			v = k_load16(tile_kept(shared, t));
		K_UNROLL for (int k = 0; k < 4; k++) {
			if (WG_AHEAD)
				v.w[k] = k_f_bits(k_bits_f(v.w[k]) + acc[t][k]);
			else
				sum[t][k] += acc[t][k];
			acc[t][k] = 0;
		}
		if (WG_AHEAD)
			k_store16(tile_kept(shared, t), v);
	}
}

/* sum[t]: the warp's rows times vectors 8 t .. + 7 of n. A run is read while the one two before it is multiplied, and INT4 expanded while the last one is. A
 * barrier a step: behind it the next step is there for all, and nobody is at the last one any more, which makes room. Returns as much shared memory as a stage's
 * vectors have, where nobody is. */
K_DEV uint8_t *tile_product(float (*sum)[4], const struct rows *m, enum cuda_type type, uint8_t *shared, int n)
{
	int stages = tile_stages(n), steps = (int)m->steps, at = 0, last = stages - 1, left = (int)m->part;
	float acc[TILES][4] = { { 0 } }, c[TILES][4];
	const struct k_u4 none = { { 0 } };
	struct run r[2];
	struct words s, ahead;
	uint32_t nothing = m->steps < 0;
	/* Where vectors come from may yet be on its way. */
	for (int k = 0; k < stages - 1 && k < steps; k++)
		tile_copy_weights(m, type, shared, n, k, k);
	for (int k = 0; k < stages - 1; k++) {
		if (k < steps)
			tile_copy_vectors(m, type, shared, n, k, k);
		k_copy_commit();
	}
	if (WG_AHEAD)
		K_UNROLL for (int t = 0; t < n / 8; t++)
			k_store16(tile_kept(shared, t), none);
	k_copy_leave(stages - 2);
	__syncthreads();
	words_load(&s, m, type, tile_weights(shared, n, 0), 0, 0);
	words_run(&r[0], type, &s, 0, nothing);
	words_load(&s, m, type, tile_weights(shared, n, 0), 0, 1);
	for (int step = 0; step < steps; step++) {
		int next = at + 1 < stages ? at + 1 : 0;
		K_UNROLL for (int run = 0; run < 2; run++) {
			wg_times(c, n, r[run].a, tile_vectors(shared, n, at), run);
			if (run == 0) {
				k_copy_leave(stages - 3);
				__syncthreads();
				if (step + stages - 1 < steps) {
					tile_copy_vectors(m, type, shared, n, last, step + stages - 1);
					tile_copy_weights(m, type, shared, n, last, step + stages - 1);
				}
				k_copy_commit();
			}
			if (type == CUDA_I4_X16)
				words_run(&r[!run], type, &s, !run, nothing);
			else
				ahead = s;
			if (step + 1 < steps)
				words_load(&s, m, type, tile_weights(shared, n, next), step + 1, run);
			wg_wait(0, c, n);
			tile_add(acc, c, r[run].scale, n);
			if (type != CUDA_I4_X16) {
				words_run(&r[!run], type, &ahead, !run, nothing);
				wg_pin(r[!run].a);
			}
		}
		last = at;
		at = next;
		if (--left == 0 || step + 1 == steps) {
			tile_part(sum, acc, shared, n);
			left = (int)m->part;
		}
	}
	k_copy_wait(0);
	if (WG_AHEAD)
		K_UNROLL for (int t = 0; t < n / 8; t++) {
			struct k_u4 v = k_load16(tile_kept(shared, t));
			K_UNROLL for (int k = 0; k < 4; k++)
				sum[t][k] = k_bits_f(v.w[k]);
		}
	return tile_vectors(shared, n, at);
}

K_DEV uint8_t *tile_product_n(float (*sum)[4], const struct rows *m, enum cuda_type type, uint8_t *shared, int n)
{
	if (n <= 32)
		return tile_product(sum, m, type, shared, 32);
	return tile_product(sum, m, type, shared, 64);
}

K_DEV uint8_t *tile_product_of(float (*sum)[4], const struct rows *m, uint8_t *shared, int n)
{
	enum cuda_type type = m->w[0]->type;
	if (type == CUDA_I4_X16)
		return tile_product_n(sum, m, CUDA_I4_X16, shared, n);
	if (type == CUDA_BF16)
		return tile_product_n(sum, m, CUDA_BF16, shared, n);
	if (type == CUDA_MXFP4)
		return tile_product_n(sum, m, CUDA_MXFP4, shared, n);
	if (type == CUDA_MX4_X16)
		return tile_product_n(sum, m, CUDA_MX4_X16, shared, n);
	return tile_product_n(sum, m, CUDA_FP8B128, shared, n);
}

/* The thread's pieces of a step's records: of granules from `first` on, half of them each of two matrices. */
K_DEV void rows_pieces(struct rows *m, int64_t first, bool two)
{
	K_UNROLL for (int k = 0; k < 2; k++) {
		int piece = (int)threadIdx.x + k * CUDA_THREADS, slot = piece / (K_RECORD / 16), side = two && slot >= RECORDS / 2;
		int64_t g = first + slot - (side ? RECORDS / 2 : 0);
		g = 16 * g < m->w[0]->rows ? g : 0;
		m->piece[k] = (side ? m->slice[1] : m->slice[0]) + g * (m->w[0]->cols / STEP) * K_RECORD + piece % (K_RECORD / 16) * 16;
	}
	m->steps = (m->w[0]->cols + STEP - 1) / STEP;
	m->part = strip_part(m->w[0]->cols);
}

/* 128 rows of one matrix: warp w has 16 w and on. */
K_DEV int64_t row_of_one(int i) { return (int64_t)blockIdx.x * CUDA_TILE_ROWS + 16 * k_warp() + k_lane() / 4 + 8 * i; }

K_DEV void rows_of_one(struct rows *m, const struct cuda_matrix *w, const uint8_t *slice)
{
	for (int i = 0; i < 2; i++) {
		int row = k_lane() / 4 + 8 * i;
		m->w[i] = w;
		m->slice[i] = slice;
		m->row[i] = row_of_one(i);
		m->at[i] = k_warp() * K_RECORD + 4 * row;
	}
	rows_pieces(m, (int64_t)blockIdx.x * RECORDS, false);
}

/* 64 rows of two: warp w has 8 w and on. */
K_DEV void rows_of_two(struct rows *m, const struct cuda_matrix *first, const uint8_t *one, const struct cuda_matrix *second, const uint8_t *other)
{
	for (int i = 0; i < 2; i++) {
		int row = 8 * k_warp() + k_lane() / 4;
		m->w[i] = i ? second : first;
		m->slice[i] = i ? other : one;
		m->row[i] = (int64_t)blockIdx.x * (CUDA_TILE_ROWS / 2) + row;
		m->at[i] = (row / 16 + i * RECORDS / 2) * K_RECORD + row % 16 * 4;
	}
	rows_pieces(m, (int64_t)blockIdx.x * RECORDS / 2, true);
}

/* The vector of sum[t][k]. */
K_DEV int vector_at(int t, int k) { return 8 * t + k_lane() % 4 * 2 + k % 2; }

WG_KERNEL(gemm_tile)
{
	K_SHARED_MORE(shared);
	int64_t first = (int64_t)blockIdx.y * CUDA_TILE;
	int n = (int)(a.n - first < CUDA_TILE ? a.n - first : CUDA_TILE);
	float sum[TILES][4] = { { 0 } };
	struct rows m;
	rows_of_one(&m, &a.w, a.w.data);
	m.x = a.x + first * a.w.cols;
	K_UNROLL for (int k = 0; k < VECTORS; k++) {
		int vector = (int)threadIdx.x / 8 + k * CUDA_THREADS / 8;
		m.offset[k] = (uint32_t)((vector < n ? vector : 0) * a.w.cols * 2) + threadIdx.x % 8 * 16;
	}
	tile_product_of(sum, &m, shared, n);
	K_UNROLL for (int t = 0; t < TILES; t++)
		K_UNROLL for (int k = 0; k < 4; k++) {
			int64_t row = row_of_one(k / 2);
			if (vector_at(t, k) < n && row < a.w.rows)
				a.y[(first + vector_at(t, k)) * a.y_step + row] = a.bias ? sum[t][k] + a.bias[row] : sum[t][k];
		}
}

/* A block a row: x in bf16, as tiles want it. */
K_DEV void order_row(uint16_t *y, const float *x, int64_t cols)
{
	bool wide = (uintptr_t)x % 16 == 0;
	for (int64_t k = 4 * threadIdx.x; k < cols; k += 4 * CUDA_THREADS) {
		uint32_t *to = (uint32_t *)(y + tile_place(k));
		struct k_u4 v;
		if (wide)
			v = k_load16(x + k);
		else
			K_UNROLL for (int i = 0; i < 4; i++)
				v.w[i] = k_f_bits(x[k + i]);
		to[0] = pack_round(k_bits_f(v.w[0]), k_bits_f(v.w[1]));
		to[4] = pack_round(k_bits_f(v.w[2]), k_bits_f(v.w[3]));
	}
}

K_KERNEL(tile_order) { order_row(a.y + blockIdx.x * a.cols, a.x + blockIdx.x * a.x_step, a.cols); }

/* --- experts -------------------------------------------------------------------------------------------------------------- */

/* A number of each lane: of all before it, and of the warp. Whole numbers that a float holds. */
K_DEV int warp_before(int v, int *all)
{
	float before = 0, sum = (float)v;
	K_UNROLL for (int x = 1; x < K_WARP; x *= 2) {
		float other = __shfl_xor_sync(0xffffffffu, sum, x);
		before += k_lane() & x ? other : 0;
		sum += other;
	}
	*all = (int)sum;
	return (int)before;
}

/* Ids of four pairs from p on; behind the last there is no expert. */
K_DEV struct k_u4 ids_at(const struct cuda_moe_sort *a, int p, int to)
{
	struct k_u4 v;
	if (p + 4 <= to && (uintptr_t)a->ids % 16 == 0)
		return k_load16(a->ids + p);
	K_UNROLL for (int i = 0; i < 4; i++)
		v.w[i] = p + i < to ? (uint32_t)a->ids[p + i] : (uint32_t)CUDA_EXPERTS;
	return v;
}

/* A block an expert: its pairs, in order, behind those of the experts before it, and its tiles. A thread has a run of all pairs. Where tiles are listed: expert e
 * whose pairs begin at p has the places from p / CUDA_TILE + e on, or from p on; which nobody else has, and are enough. The blocks behind the experts' bring
 * a row each of x into the order of tiles. */
K_KERNEL(moe_sort)
{
	K_SHARED(int32_t, mine, CUDA_WARPS);
	K_SHARED(int32_t, lower, CUDA_WARPS);
	int e = (int)blockIdx.x, run = (a.n_pair + 4 * CUDA_THREADS - 1) / (4 * CUDA_THREADS) * 4, from = (int)threadIdx.x * run, n = 0, less = 0, at;
	int to = from + run < a.n_pair ? from + run : a.n_pair, first = 0, all = 0, before, place, end;
	if (e >= a.n_expert) {
		int64_t row = e - a.n_expert;
		order_row(a.y + row * a.cols, a.x + row * a.cols, a.cols);
		return;
	}
	for (int p = from; p < to; p += 4) {
		struct k_u4 v = ids_at(&a, p, to);
		K_UNROLL for (int i = 0; i < 4; i++) {
			n += (int)v.w[i] == e;
			less += (int)v.w[i] < e;
		}
	}
	before = warp_before(n, &n);
	warp_before(less, &less);
	if (k_lane() == 0) {
		mine[k_warp()] = n;
		lower[k_warp()] = less;
	}
	__syncthreads();
	for (int i = 0; i < CUDA_WARPS; i++) {
		first += lower[i];
		all += mine[i];
		before += i < k_warp() ? mine[i] : 0;
	}
	at = first + before;
	for (int p = from; p < to; p += 4) {
		struct k_u4 v = ids_at(&a, p, to);
		K_UNROLL for (int i = 0; i < 4; i++)
			if ((int)v.w[i] == e)
				a.order[at++] = p + i;
	}
	place = a.sparse ? first : first / CUDA_TILE + e;
	end = a.sparse ? first + all : (first + all) / CUDA_TILE + e + 1;
	for (int i = (int)threadIdx.x; place + i < end; i += CUDA_THREADS) {
		int left = all - i * CUDA_TILE;
		struct cuda_tile *t = a.tile + place + i;
		t->expert = e;
		t->first = first + i * CUDA_TILE;
		t->n = left < 0 ? 0 : left < CUDA_TILE ? left : CUDA_TILE;
	}
}

/* The vectors of a tile: rows order[..] / per of x. Its pairs stay in shared memory, for when results are stored. */
K_DEV void tile_gather(struct rows *m, const struct cuda_tile *tile, const int32_t *order, const uint16_t *x, int64_t cols, int per, uint8_t *shared)
{
	m->x = x;
	if ((int)threadIdx.x < tile->n)
		((int32_t *)(shared + PAIRS))[threadIdx.x] = order[tile->first + threadIdx.x];
	K_UNROLL for (int k = 0; k < VECTORS; k++) {
		int vector = (int)threadIdx.x / 8 + k * CUDA_THREADS / 8;
		m->offset[k] = (uint32_t)(order[tile->first + (vector < tile->n ? vector : 0)] / per * cols * 2) + threadIdx.x % 8 * 16;
	}
}

/* h = silu(gate) * up by way of shared memory, where a vector's 64 columns lie as in a stage, and so go to memory 16 bytes a thread. */
K_DEV void up_store(const struct cuda_moe_up_tile *a, const struct cuda_tile *tile, const float (*sum)[4], uint8_t *shared, const int32_t *pair)
{
	int place = (int)tile_place(8 * k_warp() + k_lane() / 4), i = (int)threadIdx.x % 8;
	int64_t rows = a->gate.rows, row = (int64_t)blockIdx.x * (CUDA_TILE_ROWS / 2) + 8 * i;
	K_UNROLL for (int t = 0; t < TILES; t++)
		if (8 * t < tile->n)
			K_UNROLL for (int k = 0; k < 2; k++)
				*(uint16_t *)(shared + wg_place(vector_at(t, k), place / 8) + place % 8 * 2) = (uint16_t)pack_round(k_silu(sum[t][k]) * sum[t][2 + k], 0);
	__syncthreads();
	for (int v = (int)threadIdx.x / 8; v < tile->n; v += CUDA_THREADS / 8)
		if (row < rows)
			k_store16(a->h + pair[v] * rows + row, k_load16(shared + wg_place(v, i)));
}

WG_KERNEL(moe_up_tile)
{
	K_SHARED_MORE(shared);
	const struct cuda_tile tile = a.tile[blockIdx.y];
	float sum[TILES][4] = { { 0 } };
	struct rows m;
	if (tile.n == 0)
		return;
	rows_of_two(&m, &a.gate, k_slice(&a.gate, tile.expert), &a.up, k_slice(&a.up, tile.expert));
	tile_gather(&m, &tile, a.order, a.x, a.gate.cols, a.n_used, shared);
	up_store(&a, &tile, sum, tile_product_of(sum, &m, shared, tile.n), (const int32_t *)(shared + PAIRS));
}

/* out[pair][row] by way of shared memory, so that a warp stores 128 rows of a vector that lie together. */
K_DEV void down_store(const struct cuda_moe_down_tile *a, const struct cuda_tile *tile, const float (*sum)[4], uint8_t *shared, const int32_t *pair)
{
	enum { GAP = 4 };                       /* lanes that write have banks of their own */
	float *there = (float *)shared;
	int64_t rows = a->down.rows, row = (int64_t)blockIdx.x * CUDA_TILE_ROWS + 4 * k_lane();
	__syncthreads();
	K_UNROLL for (int t = 0; t < TILES; t++)
		K_UNROLL for (int k = 0; k < 4; k++)
			there[vector_at(t, k) * (CUDA_TILE_ROWS + GAP) + 16 * k_warp() + k_lane() / 4 + k / 2 * 8] = sum[t][k];
	__syncthreads();
	for (int v = k_warp(); v < tile->n; v += CUDA_WARPS) {
		float *out = a->out + pair[v] * rows + row;
		struct k_u4 u = k_load16(there + v * (CUDA_TILE_ROWS + GAP) + 4 * k_lane());
		if (rows % 4 == 0 && row < rows)
			k_store16(out, u);
		else
			K_UNROLL for (int i = 0; i < 4; i++)
				if (row + i < rows)
					out[i] = k_bits_f(u.w[i]);
	}
}

WG_KERNEL(moe_down_tile)
{
	K_SHARED_MORE(shared);
	const struct cuda_tile tile = a.tile[blockIdx.y];
	float sum[TILES][4] = { { 0 } };
	struct rows m;
	if (tile.n == 0)
		return;
	rows_of_one(&m, &a.down, k_slice(&a.down, tile.expert));
	tile_gather(&m, &tile, a.order, a.h, a.down.cols, 1, shared);
	tile_product_of(sum, &m, shared, tile.n);
	down_store(&a, &tile, sum, shared, (const int32_t *)(shared + PAIRS));
}

/* Slots of a token in ascending order of expert; four columns a thread, where they lie at multiples of 16 bytes, eight slots under way. */
K_KERNEL(moe_sum)
{
	enum { AHEAD = 8 };
	int64_t k = 4 * ((int64_t)blockIdx.x * CUDA_THREADS + threadIdx.x), pair = (int64_t)blockIdx.y * a.n_used, n = a.dim - k < 4 ? a.dim - k : 4;
	float y[4] = { 0 };
	if (k >= a.dim)
		return;
	for (int first = 0; first < a.n_used; first += AHEAD) {
		struct k_u4 v[AHEAD] = { { { 0 } } };
		K_UNROLL for (int s = 0; s < AHEAD; s++) {
			const float *out = a.out + (pair + first + s) * a.dim + k;
			if (first + s < a.n_used && a.wide)
				v[s] = k_load16(out);
			else if (first + s < a.n_used)
				K_UNROLL for (int i = 0; i < 4; i++)
					v[s].w[i] = i < n ? k_f_bits(out[i]) : 0;
		}
		K_UNROLL for (int s = 0; s < AHEAD; s++)
			if (first + s < a.n_used)
				K_UNROLL for (int i = 0; i < 4; i++)
					y[i] = fmaf(a.weights[pair + first + s], k_bits_f(v[s].w[i]), y[i]);
	}
	K_UNROLL for (int i = 0; i < 4; i++)
		if (i < n)
			a.y[blockIdx.y * a.dim + k + i] = y[i];
}
