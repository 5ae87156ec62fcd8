/* tile.h: products of stored weights with many vectors on tensor cores, dense and grouped by expert.
 *
 *   a block: 128 rows of weights x 64 or 128 vectors     a warpgroup: 64 rows      a warp: 16 rows x all vectors, sums in registers
 *
 *   vectors, in bf16     gathered to shared memory by asynchronous copies, many steps of 64 columns ahead, where tensor cores read them (wgmma.h)
 *   weights              records of INT4 the same way, others from memory; a run of 32 columns is expanded in registers while the last one is multiplied
 *
 * The rows are those of one matrix; or 64 of gate and the same 64 of up, which meet in shared memory behind the last product.
 *
 * Vectors lie in memory with the columns of each 32 in the order in which fragments take them (tile_place): a lane has 8 columns that lie together in the
 * weights, and they are no neighbours in a product of 16 columns.
 *
 * What decides is how long a warp takes for its instructions, some 130 a step: they wait for one another more than for the tensor cores. So copies have no branches, two
 * steps are written out, nothing is computed twice, and what runs once a tile is short: its instructions come from far. */
#ifndef KERNELS_CUDA_TILE_H
#define KERNELS_CUDA_TILE_H

#include "kernels/cuda/wgmma.h"

enum { RECORDS = CUDA_TILE_ROWS / 16, WEIGHTS = RECORDS * K_RECORD };
/* Of the larger tiles: sums of a warp, vectors a thread copies a part of. Loops are as long as the tile is, which the compiler knows. */
enum { TILES = CUDA_WIDE / 8, VECTORS = CUDA_WIDE * 8 / CUDA_THREADS, MOST_STAGES = 8 };

/* Columns k, k + 1 of a vector of 32 (k even) lie at tile_place(k), and the next. */
K_DEV int64_t tile_place(int64_t k) { return k - k % 32 + k % 8 / 4 * 16 + k % 4 / 2 * 8 + k % 32 / 8 * 2 + k % 2; }

/* What a thread multiplies: rows row[i] of a slice of w (i = 0, 1: rows l / 4 and l / 4 + 8 of a fragment), and vectors. Thread i copies 16 bytes i % 8 of vectors
 * i / 8 + 32 k, from[k] of step 0, and pieces i and i + CUDA_THREADS of the records of a step. at: where the lane's rows begin in those. What is not there is
 * another vector or another row, of which nothing is kept. */
struct rows {
	const struct cuda_matrix *w;
	const uint8_t *slice;
	int64_t row[2];
	int at;
	const uint8_t *from[VECTORS], *piece[2];
	int steps, part;
};

/* Bytes of stages of a tile of so many vectors. */
K_DEV int tile_room(int size) { return size == CUDA_TILE ? CUDA_TILE_ROOM : CUDA_WIDE_ROOM; }
/* Stages: two steps of n vectors, and behind them of weights. */
K_DEV int tile_stages(int n, int room) { return room / CUDA_TILE_STAGE(n) < MOST_STAGES ? room / CUDA_TILE_STAGE(n) : MOST_STAGES; }

/* Step `step` of n vectors and of weights to its half of a stage, if there is such a step. */
K_DEV void tile_copy_vectors(const struct rows *m, enum cuda_type type, uint8_t *to, int n, int step, int half)
{
	bool more = step + half < m->steps, there = STEP * (step + half) + (int)threadIdx.x % 8 * 8 < m->w->cols;
	to += wg_place((int)threadIdx.x / 8, (int)threadIdx.x % 8) + half * n * WG_ROW;
	K_UNROLL for (int k = 0; k < n * 8 / CUDA_THREADS; k++) {
		const uint8_t *from = m->from[k] + (uint32_t)step * WG_ROW + half * WG_ROW;
		if (type == CUDA_I4_X16)
			k_copy16_if(to + k * (CUDA_THREADS / 8) * WG_ROW, from, more);
		else if (more)
			k_copy16(to + k * (CUDA_THREADS / 8) * WG_ROW, there ? from : m->from[k], there);
	}
}

K_DEV void tile_copy_weights(const struct rows *m, enum cuda_type type, uint8_t *to, int n, int step, int half)
{
	bool more = type == CUDA_I4_X16 && step + half < m->steps;
	to += 2 * n * WG_ROW + half * WEIGHTS + threadIdx.x * 16;
	k_copy16_if(to, m->piece[0] + step * K_RECORD + half * K_RECORD, more);
	k_copy16_if(to + CUDA_THREADS * 16, m->piece[1] + step * K_RECORD + half * K_RECORD, more && threadIdx.x < WEIGHTS / 16 - CUDA_THREADS);
}

/* Both rows of a run of INT4, from a stage's weights of a step; scales are those of both runs. */
K_DEV void words_there(struct words *s, const struct rows *m, const uint8_t *weights, int run)
{
	struct k_u2 w = k_load8(weights + m->at + 64 + 64 * (4 * run + k_lane() % 4)), scale = k_load8(weights + m->at);
	K_UNROLL for (int i = 0; i < 2; i++) {
		s->w[i][0] = w.w[i];
		s->scale[i] = scale.w[i];
	}
}

/* Of other types, from memory. */
K_DEV void words_far(struct words *s, const struct rows *m, enum cuda_type type, int64_t step, int half)
{
	const struct cuda_matrix *w = m->w;
	int quad = k_lane() % 4;
	int64_t run = 2 * step + half, at = RUN * run + 8 * quad, blocks = (w->cols + 127) / 128;
	K_UNROLL for (int i = 0; i < 2; i++) {
		int64_t row = m->row[i];
		const uint8_t *p;
		K_UNROLL for (int j = 0; j < 4; j++)
			s->w[i][j] = 0;
		s->scale[i] = 0;
		if (row >= w->rows || RUN * run >= w->cols)
			continue;
		if (type == CUDA_BF16) {
			struct k_u4 v = k_load16((const uint16_t *)m->slice + row * w->cols + at);
			K_UNROLL for (int j = 0; j < 4; j++)
				s->w[i][j] = v.w[j];
		} else if (type == CUDA_MXFP4) {
			p = m->slice + row * (w->cols / 2 + w->cols / 32);
			s->w[i][0] = *(const uint32_t *)(p + w->cols / 32 + at / 2);
			s->scale[i] = p[run];
		} else if (type == CUDA_MX4_X16) {
			p = m->slice + (row / 16 * (w->cols / 128) + run / 4) * K_MX_RECORD;
			s->w[i][0] = *(const uint32_t *)(p + 64 + 64 * (4 * (run % 4) + quad) + row % 16 * 4);
			s->scale[i] = p[row % 16 * 4 + run % 4];
		} else {
			p = m->slice + row / 128 * (blocks * 4 + 128 * w->cols);
			s->scale[i] = *(const uint32_t *)(p + run / 4 * 4);
			p += blocks * 4 + row % 128 * w->cols + at;
			s->w[i][0] = *(const uint32_t *)p;
			s->w[i][1] = *(const uint32_t *)(p + 4);
		}
	}
}

K_DEV void words_load(struct words *s, const struct rows *m, enum cuda_type type, const uint8_t *weights, int step, int run)
{
	if (type == CUDA_I4_X16)
		words_there(s, m, weights, run);
	else
		words_far(s, m, type, step, run);
}

/* nothing: 0, which ptxas does not know: what is loaded while something is multiplied must not be what is multiplied next. */
K_DEV void words_expand(struct run *r, enum cuda_type type, const struct words *s, int half, uint32_t nothing)
{
	struct words w = *s;
	K_UNROLL for (int i = 0; i < 2; i++) {
		if (type == CUDA_I4_X16)
			w.scale[i] = half_twice(s->scale[i], half);
		if (type == CUDA_BF16)
			K_UNROLL for (int j = 0; j < 4; j++)
				w.w[i][j] ^= nothing;
	}
	words_run(r, type, &w);
	wg_pin(r);
}

/* Run 0 or 1 is expanded once the one before the last is done, which has the registers; INT4 while the last one goes on. */
K_DEV void words_next(struct run *r, enum cuda_type type, const struct words *s, int half, uint32_t nothing, float (*acc)[4], int n)
{
	if (type == CUDA_I4_X16)
		wg_wait_before();
	else
		wg_wait(acc, n);
	words_expand(r, type, s, half, nothing);
}

/* Asks for the first stages of n vectors. Weights are there; vectors and where they come from may yet be on their way. */
K_DEV void tile_begin(const struct rows *m, enum cuda_type type, uint8_t *shared, int n, int room)
{
	int stages = tile_stages(n, room), stage = CUDA_TILE_STAGE(n);
	K_ROLL for (int k = 0; k < stages - 1; k++)
		K_UNROLL for (int half = 0; half < 2; half++)
			tile_copy_weights(m, type, shared + k * stage, n, 2 * k, half);
	K_WAIT_BEFORE();
	K_ROLL for (int k = 0; k < stages - 1; k++) {
		K_UNROLL for (int half = 0; half < 2; half++)
			tile_copy_vectors(m, type, shared + k * stage, n, 2 * k, half);
		k_copy_commit();
	}
}

K_DEV void tile_copy(const struct rows *m, enum cuda_type type, uint8_t *to, int n, int step, int half)
{
	tile_copy_vectors(m, type, to, n, step, half);
	tile_copy_weights(m, type, to, n, step, half);
}

/* What the thread asked for but the last `left` groups is there, and what all did. */
K_DEV void stage_wait(int left)
{
	k_copy_leave(left);
	__syncthreads();
}

K_DEV void part_add(float (*sum)[4], const float (*acc)[4], int n)
{
	K_UNROLL for (int t = 0; t < n / 8; t++)
		K_UNROLL for (int k = 0; k < 4; k++)
			sum[t][k] += acc[t][k];
}

/* sum[t]: the warp's rows times vectors 8 t .. + 7 of n, behind tile_begin. A barrier a stage, while two runs are under way: behind it the next stage is there for
 * all, and nobody is at the last one any more, which makes room. */
K_DEV void tile_product(float (*sum)[4], const struct rows *m, enum cuda_type type, uint8_t *shared, int n, int room)
{
	int stages = tile_stages(n, room), stage = CUDA_TILE_STAGE(n), end = stages * stage, steps = m->steps, at = 0, last = end - stage, left = m->part;
	wg_from f = wg_begin(shared);
	float acc[TILES][4];
	struct run r[2];
	struct words s[2];
	uint32_t nothing = steps < 0;
	K_UNROLL for (int t = 0; t < n / 8; t++)
		K_UNROLL for (int k = 0; k < 4; k++)
			sum[t][k] = acc[t][k] = 0;
	k_copy_leave(stages - 2);
	__syncthreads();
	K_UNROLL for (int run = 0; run < 2; run++)
		words_load(&s[run], m, type, shared + 2 * n * WG_ROW, 0, run);
	words_expand(&r[0], type, &s[0], 0, nothing);
	for (int first = 0; first < steps; first += 2) {
		int next = at + stage < end ? at + stage : 0;
		K_UNROLL for (int half = 0; half < 2; half++) {
			/* Behind the last step words are read once more, for nothing. */
			int step = first + half, tile = at + half * n * WG_ROW, weights = (step + 1 == steps ? at : half ? next : at + WEIGHTS) + 2 * n * WG_ROW;
			if (half && step == steps)
				break;
			wg_times(acc, n, &r[0], f, tile, 0, left == m->part);
			if (half)
				tile_copy(m, type, shared + last, n, first + 2 * (stages - 1), 0);
			words_next(&r[1], type, &s[1], 1, nothing, acc, n);
			words_load(&s[0], m, type, shared + weights, step + 1, 0);
			wg_times(acc, n, &r[1], f, tile, 1, false);
			words_load(&s[1], m, type, shared + weights, step + 1, 1);
			if (half == 0)
				stage_wait(stages - 3);
			if (half) {
				tile_copy(m, type, shared + last, n, first + 2 * (stages - 1), 1);
				k_copy_commit();
			}
			words_next(&r[0], type, &s[0], 0, nothing, acc, n);
			if (--left == 0 || step + 1 == steps) {
				wg_wait(acc, n);
				part_add(sum, acc, n);
				left = m->part;
			}
		}
		last = at;
		at = next;
	}
	wg_wait(sum, n);
	k_copy_wait(0);
}

/* Vectors of loops for n that there are: half a tile, or all. */
K_DEV int tile_round(int n, int size) { return n <= size / 2 ? size / 2 : size; }

K_DEV void tile_product_n(float (*sum)[4], const struct rows *m, enum cuda_type type, uint8_t *shared, int n, int size)
{
	if (n <= size / 2)
		tile_product(sum, m, type, shared, size / 2, tile_room(size));
	else
		tile_product(sum, m, type, shared, size, tile_room(size));
}

/* n vectors of a tile of `size`, behind tile_begin of tile_round(n, size). */
K_DEV void tile_product_of(float (*sum)[4], const struct rows *m, uint8_t *shared, int n, int size)
{
	switch (m->w->type) {
	case CUDA_I4_X16: tile_product_n(sum, m, CUDA_I4_X16, shared, n, size); return;
	case CUDA_BF16: tile_product_n(sum, m, CUDA_BF16, shared, n, size); return;
	case CUDA_MXFP4: tile_product_n(sum, m, CUDA_MXFP4, shared, n, size); return;
	case CUDA_MX4_X16: tile_product_n(sum, m, CUDA_MX4_X16, shared, n, size); return;
	default: tile_product_n(sum, m, CUDA_FP8B128, shared, n, size);
	}
}

/* The thread's pieces of a step's records: of granules from `first` on, half of them each of two slices. */
K_DEV void rows_pieces(struct rows *m, int64_t first, const uint8_t *one, const uint8_t *other)
{
	bool two = one != other;
	int64_t cols = m->w->cols;
	K_KEEP(cols);
	K_UNROLL for (int k = 0; k < 2; k++) {
		int piece = k_thread_anew() + k * CUDA_THREADS, slot = piece / (K_RECORD / 16), side = two && slot >= RECORDS / 2;
		int64_t g = first + slot - (side ? RECORDS / 2 : 0);
		g = 16 * g < m->w->rows ? g : 0;
		m->piece[k] = (side ? other : one) + g * (cols / STEP) * K_RECORD + piece % (K_RECORD / 16) * 16;
	}
	K_KEEP(m->piece[0]);
	K_KEEP(m->piece[1]);
	m->steps = (int)((cols + STEP - 1) / STEP);
	m->part = (int)strip_part(cols);
}

/* Row i of a lane, in the block's sums: warp w has 16 w and on. */
K_DEV int row_at(enum cuda_type type, int i) { return 16 * k_warp() + strip_row(type, i); }

/* Rows 128 x and on of one slice; rows 64 x and on of two slices of like matrices, of which each warpgroup has one. */
K_DEV void rows_of(struct rows *m, int64_t x, const struct cuda_matrix *w, const uint8_t *one, const uint8_t *other)
{
	bool two = one != other, second = two && k_warp() >= CUDA_WARPS / 2;
	int64_t first = two ? x * (CUDA_TILE_ROWS / 2) : x * CUDA_TILE_ROWS;
	m->w = w;
	m->slice = second ? other : one;
	K_UNROLL for (int i = 0; i < 2; i++)
		m->row[i] = first + row_at(w->type, i) - (second ? CUDA_TILE_ROWS / 2 : 0);
	m->at = k_warp() * K_RECORD + 4 * strip_row(CUDA_I4_X16, 0);
	rows_pieces(m, first / 16, one, other);
}

/* The vector of sum[t][k]. */
K_DEV int vector_at(int t, int k) { return 8 * t + k_lane() % 4 * 2 + k % 2; }

/* --- dense products ------------------------------------------------------------------------------------------------------- */

/* Rows of a block and its n vectors from the first on, of tiles of `size`: the first stages are asked for. */
K_DEV void gemm_begin(struct rows *m, const struct cuda_gemm_tile *a, int64_t first, int n, uint8_t *shared, int size)
{
	rows_of(m, blockIdx.x, &a->w, a->w.data, a->w.data);
	K_UNROLL for (int k = 0; k < size * 8 / CUDA_THREADS; k++) {
		int vector = (int)threadIdx.x / 8 + k * CUDA_THREADS / 8;
		m->from[k] = (const uint8_t *)(a->x + (first + (vector < n ? vector : 0)) * a->w.cols) + threadIdx.x % 8 * 16;
	}
	tile_begin(m, a->w.type, shared, tile_round(n, size), tile_room(size));
}

K_DEV void gemm_store(const struct cuda_gemm_tile *a, const struct rows *m, const float (*sum)[4], int64_t first, int n, int size)
{
	K_UNROLL for (int t = 0; t < size / 8; t++)
		K_UNROLL for (int k = 0; k < 4; k++) {
			int64_t row = m->row[k / 2];
			if (vector_at(t, k) < n && row < a->w.rows)
				a->y[(first + vector_at(t, k)) * a->y_step + row] = a->bias ? sum[t][k] + a->bias[row] : sum[t][k];
		}
}

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

/* Pairs of a tile: those whose vectors the thread copies; and one of all, which it leaves in shared memory, for when results are stored. */
struct pairs { int32_t of[VECTORS], mine; };
K_DEV void tile_pairs(struct pairs *p, const struct cuda_tile *tile, const int32_t *order, int size)
{
	int thread = k_thread_anew();
	p->mine = order[tile->first + (thread < tile->n ? thread : 0)];
	K_UNROLL for (int k = 0; k < size * 8 / CUDA_THREADS; k++) {
		int vector = thread / 8 + k * CUDA_THREADS / 8;
		p->of[k] = order[tile->first + (vector < tile->n ? vector : 0)];
	}
}

K_DEV void pairs_leave(const struct pairs *p, int32_t *there, int size)
{
	if (k_thread_anew() < size)
		there[k_thread_anew()] = p->mine;
}

/* Vectors are rows pair / per of x. */
K_DEV void tile_from(struct rows *m, const struct pairs *p, const uint16_t *x, int64_t cols, int per, int size)
{
	K_UNROLL for (int k = 0; k < size * 8 / CUDA_THREADS; k++)
		m->from[k] = (const uint8_t *)(x + p->of[k] / per * cols) + k_thread_anew() % 8 * 16;
}

/* Rows of a tile of an expert's: its first stages are asked for. */
K_DEV void up_begin(struct rows *m, int64_t x, const struct cuda_moe_up_tile *a, const struct cuda_tile *tile, const struct pairs *p, uint8_t *shared, int size)
{
	rows_of(m, x, &a->gate, k_slice(&a->gate, tile->expert), k_slice(&a->up, tile->expert));
	tile_from(m, p, a->x, a->gate.cols, a->n_used, size);
	tile_begin(m, a->gate.type, shared, tile_round(tile->n, size), tile_room(size));
}

K_DEV void down_begin(struct rows *m, int64_t x, const struct cuda_moe_down_tile *a, const struct cuda_tile *tile, const struct pairs *p, uint8_t *shared, int size)
{
	rows_of(m, x, &a->down, k_slice(&a->down, tile->expert), k_slice(&a->down, tile->expert));
	tile_from(m, p, a->h, a->down.cols, 1, size);
	tile_begin(m, a->down.type, shared, tile_round(tile->n, size), tile_room(size));
}

/* Sums of up to 64 vectors to shared memory, [vector][OUT_ROW] f32. */
enum { OUT_ROW = CUDA_TILE_ROWS + 4 };
K_DEV void sums_leave(uint8_t *shared, const float (*sum)[4], enum cuda_type type, int n)
{
	float *to = (float *)shared + vector_at(0, 0) * OUT_ROW + row_at(type, 0);
	K_UNROLL for (int t = 0; t < CUDA_TILE / 8; t++)
		if (8 * t < n)
			K_UNROLL for (int k = 0; k < 2; k++) {
				float *place = to + (8 * t + k) * OUT_ROW;
				struct k_u2 two = { { k_f_bits(sum[t][k]), k_f_bits(sum[t][2 + k]) } };
				if (type == CUDA_I4_X16) {      /* rows side by side */
					k_store8(place, two);
				} else {
					place[0] = sum[t][k];
					place[8] = sum[t][2 + k];
				}
			}
	__syncthreads();
}

/* Two of h by SiTU at four places that are 8 apart. One is made after the other: what runs once a tile has its instructions fetched each time, and these are many. */
K_DEV struct k_u4 situ_words(const float *from, const struct cuda_unit *unit)
{
	struct k_u4 h = { { 0 } };
	K_ROLL for (int c = 0; c < 4; c++) {
		struct k_u2 gate = k_load8(from + 8 * c), up = k_load8(from + 8 * c + CUDA_TILE_ROWS / 2);
		uint32_t two = pack_round(k_situ(k_bits_f(gate.w[0]), k_bits_f(up.w[0]), unit), k_situ(k_bits_f(gate.w[1]), k_bits_f(up.w[1]), unit));
		h = (struct k_u4){ { h.w[1], h.w[2], h.w[3], two } };
	}
	return h;
}

/* h = the unit of gate and up: 16 bytes a thread, which are columns 8 c + 4 (i / 2 % 2) + 2 (i % 2), + 1 of 32, c = 0 to 3 (tile_place). Up is 64 rows behind gate. A loop that
 * stays one: what runs once a tile has its instructions fetched each time. */
K_DEV void up_store(int64_t x, const struct cuda_moe_up_tile *a, int n, const uint8_t *shared, const int32_t *pair)
{
	int thread = k_thread_anew(), i = thread % 8, first = i / 4 * 32 + i / 2 % 2 * 4 + i % 2 * 2;
	int64_t rows = a->gate.rows, row = x * (CUDA_TILE_ROWS / 2) + 8 * i;
	if (row >= rows)
		return;
	if (a->unit.cap != 0) {
		K_ROLL for (int v = thread / 8; v < n; v += CUDA_THREADS / 8)
			k_store16(a->h + pair[v] * rows + row, situ_words((const float *)shared + v * OUT_ROW + first, &a->unit));
		return;
	}
	K_ROLL for (int v = thread / 8; v < n; v += CUDA_THREADS / 8) {
		const float *from = (const float *)shared + v * OUT_ROW + first;
		struct k_u4 h;
		K_UNROLL for (int c = 0; c < 4; c++) {
			struct k_u2 gate = k_load8(from + 8 * c), up = k_load8(from + 8 * c + CUDA_TILE_ROWS / 2);
			h.w[c] = pack_round(k_silu(k_bits_f(gate.w[0])) * k_bits_f(up.w[0]), k_silu(k_bits_f(gate.w[1])) * k_bits_f(up.w[1]));
		}
		k_store16(a->h + pair[v] * rows + row, h);
	}
}

/* out[pair][row]: a warp stores 128 rows of a vector that lie together. */
K_DEV void down_store(int64_t x, const struct cuda_moe_down_tile *a, int n, const uint8_t *shared, const int32_t *pair)
{
	int lane = k_thread_anew() % K_WARP, warp = k_thread_anew() / K_WARP;
	int64_t rows = a->down.rows, row = x * CUDA_TILE_ROWS + 4 * lane;
	K_UNROLL_BY(2) for (int v = warp; v < n; v += CUDA_WARPS) {
		float *out = a->out + pair[v] * rows + row;
		struct k_u4 u = k_load16((const float *)shared + v * OUT_ROW + 4 * lane);
		if (rows % 4 == 0 && row < rows)
			k_store16(out, u);
		else
			K_UNROLL for (int i = 0; i < 4; i++)
				if (row + i < rows)
					out[i] = k_bits_f(u.w[i]);
	}
}

#endif
