/* kda_make.h: records of chunks (kda_chunk.h): four warps a (chunk, head), each a run of 32 channels.
 *
 * For products on tensor cores G_t / G_s (kda_chunk.cu) must be a factor of t times one of s. Both are taken from the border where the block of eight tokens
 * that s is in begins: up is the decay from there to t, at most 1, down its inverse up to s. A token keeps at least 2^-LEAST of what was (what is less than
 * that is far below what bf16 rounds away; K3's bound, e^-5, is 2^-7.2), so down is at most 2^(8 LEAST), which bf16 and f32 hold; and where up of a token in
 * the other block is too small for a number, so is the quotient.
 *
 * A lane has four tokens of four channels: a row of 128 bytes is read by eight lanes side by side, a convolution reads seven rows for four. Keys and queries
 * are not normed here: their products with themselves are sums over the runs like all others, and who walks takes them in where it adds anyway. */
#ifndef KERNELS_CUDA_KDA_MAKE_H
#define KERNELS_CUDA_KDA_MAKE_H

#include "kernels/cuda/kda_chunk.h"

/* MINE: tokens of a lane, and channels; SEEN: rows it reads for them. PLACE: bytes of a row of a run in shared memory, an odd number of 16: GK, GQ and DOWN have a row
 * a token, UP_K and UP_Q one for those of the second block. PARTS: a lane's sums over a run. PAIR: floats from a row of a chunk's products to the next. */
enum { TAPS = CUDA_CHUNK_TAPS, BLOCK = CUDA_BLOCK_CHUNKS, MINE = 4, SEEN = MINE + TAPS - 1, LEAST = 13, PAIR = C + 4, PARTS = 12 };
enum { PLACE = 2 * RUN + 16, GK = 0, GQ = C * PLACE, DOWN = 2 * GQ, UP_K = 3 * GQ, UP_Q = UP_K + C / 2 * PLACE, STAGED = 4 * GQ };
/* PARTS_FLOATS: of a chunk, of all runs. A block's taps, its warps' stages, and of 2 BLOCK chunks parts, squares, and what is solved. */
enum { PARTS_FLOATS = RUNS * PARTS * K_WARP, ROOM_FLOATS = C * PAIR + C, TAP_FLOATS = (3 * TAPS + 1) * DIM + 4, STAGE_FLOATS = CUDA_WARPS * STAGED / 4 };
enum { CHUNK_FLOATS = PARTS_FLOATS + 2 * C * RUNS + ROOM_FLOATS, MAKE_FLOATS = TAP_FLOATS + STAGE_FLOATS + 2 * BLOCK * CHUNK_FLOATS };

/* EPS: of what queries and keys are divided by, as their squares are. */
#define EPS (1e-6f * LOG2E * LOG2E)
#define LN2 0.693147181f

/* Chunk i of the round: its first row, -1 behind the last chunk; since: rows of its segment before; left: chunks behind it. Returns the segment. */
K_DEV const struct cuda_seg *chunk_of(const struct cuda_kda_prompt *p, int i, int *row, int *since, int *left)
{
	for (int k = 0; k < p->n_seg; k++) {
		const struct cuda_seg *seg = p->op.seg + k;
		struct stretch x = stretch_of(p, seg);
		int n = (int)(x.end - x.begin) / C;
		if (i < n) {
			*row = (int)x.begin + C * i;
			*since = *row - (int)seg->row;
			*left = n - 1 - i;
			return seg;
		}
		i -= n;
	}
	*row = -1;
	return NULL;
}

/* --- a lane's part: tokens 4 (lane / 8) to + 3, channels first to first + 3 ---------------------------------------------------- */

/* chunk: of the round, it begins with row, the segment so many rows before (since), and so many chunks are left of it; off: from there to what the lane
 * reads first; P: from row to row. */
struct part { int chunk, row, since, left, first, P, off; };

/* Where the lane's channels of the chunk's first token are in rows of channels. */
K_DEV int64_t part_at(const struct part *p) { return (int64_t)p->row * p->P + p->first; }

K_DEV void floats_of(float *x, struct k_u4 u)
{
	K_UNROLL
	for (int i = 0; i < 4; i++)
		x[i] = k_bits_f(u.w[i]);
}

K_DEV void load4(float *x, const float *from) { floats_of(x, k_load16(from)); }

/* Of projections: once for each lane that wants them, which is soon after each other. */
K_DEV void load4_past(float *x, const float *from) { floats_of(x, k_load16_past(from)); }

/* Rows that lie before the segment are in its tail; what lies before the taps is not looked at, any row will do. */
K_DEV void load_early(float x[SEEN][4], const struct cuda_kda_prompt *p, const struct part *part, int i)
{
	int row, since, left, keep = p->op.taps - 1;
	const float *tail = chunk_of(p, part->chunk, &row, &since, &left)->conv + (i * keep + keep) * part->P + part->first;
	K_UNROLL
	for (int k = 0; k < TAPS - 1; k++) {
		int t = part->since + MINE * (k_lane() / 8) + k - (TAPS - 1);
		load4(x[k], t < 0 && t >= -keep ? tail + t * part->P : p->op.raw[i] + part_at(part) + (part->off + (t < 0 ? k - t : k) * part->P));
	}
}

K_DEV void load_rows(float x[SEEN][4], const struct cuda_kda_prompt *p, const struct part *part, int i)
{
	const float *raw = p->op.raw[i] + part_at(part);
	K_UNROLL
	for (int k = TAPS - 1; k < SEEN; k++)
		load4_past(x[k], raw + (part->off + k * part->P));
	if (part->since < TAPS - 1) {
		load_early(x, p, part, i);
	} else {
		K_UNROLL
		for (int k = 0; k < TAPS - 1; k++)
			load4_past(x[k], raw + (part->off + k * part->P));
	}
}

/* Weights of the head's convolutions, to taps[projection][tap][channel]: what is missing of TAPS is 0. All times LOG2E, as what is convolved then is: queries and
 * keys are normed anyway, W and norms make up for values. Behind them what is added to gates, times LOG2E, and what their logarithms are multiplied by. */
enum { BIAS = 3 * TAPS * DIM, SPEED = BIAS + DIM };

K_DEV void load_taps(float *taps, const struct cuda_kda *a, int head)
{
	int quads = a->dim / 4;
	for (int i = k_thread(); i < 3 * TAPS * quads; i += CUDA_THREADS) {
		int of = i / quads, channel = 4 * (i % quads), tap = of % TAPS - (TAPS - a->taps);
		struct k_u4 w = { { 0 } };
		if (tap >= 0)
			w = k_load16(a->conv_w[of / TAPS] + (int64_t)(tap * a->n_head + head) * a->dim + channel);
		K_UNROLL
		for (int c = 0; c < 4; c++)
			w.w[c] = k_f_bits(k_bits_f(w.w[c]) * LOG2E);
		k_store16(taps + of * DIM + channel, w);
	}
	if (k_thread() < a->dim)
		taps[BIAS + k_thread()] = LOG2E * a->dt_bias[head * a->dim + k_thread()];
	if (k_thread() == 0)
		taps[SPEED] = -expf(a->a_log[head]);
}

/* LOG2E times projection i, convolved and its silu, of the four tokens. taps: of the lane's channels. */
K_DEV void conv_part(float y[MINE][4], float x[SEEN][4], const float *taps, int i)
{
	K_UNROLL
	for (int j = 0; j < TAPS; j++) {
		float w[4];
		load4(w, taps + (i * TAPS + j) * DIM);
		K_UNROLL
		for (int t = 0; t < MINE; t++)
			K_UNROLL
			for (int c = 0; c < 4; c++)
				y[t][c] = j ? fmaf(w[c], x[t + j][c], y[t][c]) : w[c] * x[t][c];
	}
	K_UNROLL
	for (int t = 0; t < MINE; t++)
		K_UNROLL
		for (int c = 0; c < 4; c++)
			y[t][c] = y[t][c] * k_fast_rcp(1 + k_fast_exp2(-y[t][c]));
}

K_DEV struct k_u2 words_of(const float *x)
{
	struct k_u2 u = { { pack_round(x[0], x[1]), pack_round(x[2], x[3]) } };
	return u;
}

/* Where token j of the lane is among those of its tile (kda_chunk.h). */
K_DEV int tile_row(int j) { return MINE / 2 * (k_lane() / 8) + j / 2; }

/* The lane's place among the words of a run: half of it, and q. */
K_DEV int run_half(void) { return k_lane() / 4 % 2; }
K_DEV int run_quad(void) { return k_lane() % 4; }

K_DEV void store_v(uint8_t *to, float v[MINE][4])
{
	K_UNROLL
	for (int j = 0; j < MINE; j += 2) {
		struct k_u2 x = words_of(v[j]), y = words_of(v[j + 1]);
		struct k_u4 u = { { x.w[0], y.w[0], x.w[1], y.w[1] } };
		k_store16(to + (run_half() * K_WARP + tile_row(j) * 4 + run_quad()) * 16, u);
	}
}

/* Of a lane's channels, in logarithms of 2: decay from the block's begin to each of its tokens; of the block before (0: there is none), from the block's begin
 * to the chunk's end, and of the whole chunk. */
struct decays { float to[MINE][4], before[4], after[4], all[4]; };

/* log2 of (1 + 2^x): absolute errors of 3e-7, of a decay they are relative ones. */
K_DEV float fast_softplus2(float x) { return k_fast_log2(1 + k_fast_exp2(fminf(x, 126))); }

K_DEV void load_gates(float x[MINE][4], const struct cuda_kda *a, const struct part *p)
{
	K_UNROLL
	for (int t = 0; t < MINE; t++)
		load4_past(x[t], a->a + part_at(p) + (p->off + (t + TAPS - 1) * p->P));
}

/* What a token keeps, in logarithms of 2. x, speed: times LOG2E and as taps have them; limit: not 0, that is LOG2E bound (struct cuda_kda). */
K_DEV float log_decay(float x, float speed, float limit)
{
	float log = limit != 0 ? limit * k_fast_rcp(1 + k_fast_exp2(speed * x)) : speed * fast_softplus2(x);
	return fmaxf(log, -(float)LEAST);
}

/* bias: of the lane's channels. */
K_DEV void gate_part(struct decays *g, float x[MINE][4], const float *biases, float speed, float limit)
{
	bool second = k_lane() & 16;
	float bias[4];
	load4(bias, biases);
	K_UNROLL
	for (int c = 0; c < 4; c++) {
		float sum, other, block;
		K_UNROLL
		for (int t = 0; t < MINE; t++) {
			float one = log_decay(fmaf(x[t][c], LOG2E, bias[c]), speed, limit);
			sum = t ? sum + one : one;
			g->to[t][c] = sum;
		}
		other = __shfl_xor_sync(0xffffffffu, sum, 8);
		block = sum + other;
		K_UNROLL
		for (int t = 0; t < MINE; t++)
			g->to[t][c] += k_lane() & 8 ? other : 0;
		other = __shfl_xor_sync(0xffffffffu, block, 16);
		g->before[c] = second ? other : 0;
		g->all[c] = block + other;
		g->after[c] = second ? block : g->all[c];
	}
}

/* Squares of a token over the run's channels, to squares[token][run]. */
K_DEV void square_part(float *squares, float x[MINE][4], int run)
{
	float sum[MINE], two[2], one;
	bool odd = k_lane() & 1, high = k_lane() & 2;
	K_UNROLL
	for (int t = 0; t < MINE; t++) {
		sum[t] = x[t][0] * x[t][0];
		K_UNROLL
		for (int c = 1; c < 4; c++)
			sum[t] = fmaf(x[t][c], x[t][c], sum[t]);
	}
	K_UNROLL
	for (int i = 0; i < 2; i++)
		two[i] = (odd ? sum[2 + i] : sum[i]) + __shfl_xor_sync(0xffffffffu, odd ? sum[i] : sum[2 + i], 1);
	one = (high ? two[1] : two[0]) + __shfl_xor_sync(0xffffffffu, high ? two[0] : two[1], 2);
	one += __shfl_xor_sync(0xffffffffu, one, 4);
	if (!(k_lane() & 4))
		squares[(MINE * (k_lane() / 8) + (odd ? 2 : 0) + (high ? 1 : 0)) * RUNS + run] = one;
}

/* --- what goes to the record, and to shared memory for products ------------------------------------------------------------- */

/* Row j of the lane in shared memory, of the part that begins at `what`. */
K_DEV uint8_t *staged(uint8_t *stage, int what, int j) { return stage + what + (MINE * (k_lane() / 8) + j) * PLACE + k_lane() % 8 * 8; }

/* out: the run's blocks of them in the record. */
K_DEV void store_ups(uint8_t *out, uint8_t *stage, int what, int block, const struct decays *g, float x[MINE][4])
{
	K_UNROLL
	for (int j = 0; j < MINE; j++) {
		float up[4];
		struct k_u2 u;
		K_UNROLL
		for (int c = 0; c < 4; c++)
			up[c] = x[j][c] * g->to[j][c];
		if (k_lane() & 16)
			k_store8(staged(stage, block, j) - C / 2 * PLACE, words_of(up));
		K_UNROLL
		for (int c = 0; c < 4; c++)
			up[c] *= g->before[c];
		u = words_of(up);
		k_store8(staged(stage, what, j), u);
		k_store8(out + j % 2 * TILE + tile_place(tile_row(j), run_quad()) + run_half() * 8, u);
	}
}

/* Keys, from the begin and to the end; g->to becomes the factor itself, as g->before is. */
K_DEV void store_keys(uint8_t *out, const struct record *r, uint8_t *stage, struct decays *g, float k[MINE][4], int run)
{
	float after[4];
	K_UNROLL
	for (int c = 0; c < 4; c++)
		after[c] = k_fast_exp2(g->after[c]);
	if (k_lane() < 8) {
		struct k_u4 u = { { k_f_bits(after[0]), k_f_bits(after[1]), k_f_bits(after[2]), k_f_bits(after[3]) } };
		uint8_t *to = out + r->decay + ((run * 4 + run_half() * 2) * 4 + run_quad()) * 8;
		k_store8(to, (struct k_u2){ { u.w[0], u.w[1] } });
		k_store8(to + 32, (struct k_u2){ { u.w[2], u.w[3] } });
	}
	K_UNROLL
	for (int j = 0; j < MINE; j++) {
		float down[4];
		struct k_u2 u;
		K_UNROLL
		for (int c = 0; c < 4; c++)
			down[c] = k[j][c] * k_fast_exp2(-g->to[j][c]);
		k_store8(staged(stage, DOWN, j), words_of(down));
		K_UNROLL
		for (int c = 0; c < 4; c++)
			down[c] *= after[c];
		u = words_of(down);
		k_store8(out + r->end + (run * 2 + j % 2) * TILE + tile_place(tile_row(j), run_quad()) + run_half() * 8, u);
		K_UNROLL
		for (int c = 0; c < 4; c++)
			g->to[j][c] = k_fast_exp2(g->to[j][c]);
	}
	store_ups(out + run * 4 * TILE, stage, GK, UP_K, g, k);
}

/* What is asked for before its chunk's turn. */
struct asked { float v[SEEN][4]; };

K_DEV void ask(struct asked *x, const struct cuda_kda_prompt *p, const struct part *part)
{
	load_rows(x->v, p, part, 2);
}

/* All that a warp makes by itself: its run's part of the record, of factors, and of squares of queries. */
K_DEV void make_run(uint8_t *out, const struct record *r, uint8_t *stage, float *squares, struct asked *x, const struct cuda_kda_prompt *p, const struct part *part,
	const float *taps, float speed, int run)
{
	float k[SEEN][4], y[MINE][4], gates[MINE][4];
	struct decays g;
	load_gates(gates, &p->op, part);
	load_rows(k, p, part, 1);
	conv_part(y, x->v, taps, 2);
	store_v(out + r->v + run * (2 * C * RUN), y);
	K_IN_ORDER();
	/* Twice the code, so that a decay without a bound has its own. */
	if (p->op.bound != 0)
		gate_part(&g, gates, taps + BIAS, speed, LOG2E * p->op.bound);
	else
		gate_part(&g, gates, taps + BIAS, speed, 0);
	K_IN_ORDER();
	conv_part(y, k, taps, 1);
	K_IN_ORDER();
	load_rows(x->v, p, part, 0);
	K_UNROLL
	for (int c = 0; c < 4; c++)
		g.before[c] = k_fast_exp2(g.before[c]);
	store_keys(out, r, stage, &g, y, run);
	K_IN_ORDER();
	conv_part(y, x->v, taps, 0);
	square_part(squares, y, run);
	store_ups(out + (run * 4 + 2) * TILE, stage, GQ, UP_Q, &g, y);
}

/* --- pairs ----------------------------------------------------------------------------------------------------------------- */

/* c += sixteen rows times eight, over the run's channels. */
K_DEV void meet(float *c, const uint8_t *rows, const uint32_t *columns)
{
	K_UNROLL
	for (int i = 0; i < 2; i++) {
		uint32_t a[4];
		k_matrices(a, rows + k_lane() % 16 * PLACE + k_lane() / 16 * 16 + i * 32);
		mma16816(c, a, columns + 2 * i);
	}
}

/* The run's part of all products of the chunk's tokens: c of keys and of queries with the keys of the first block, of both in the second block with those of it (keys
 * are its upper eight rows). */
K_DEV void pairs_meet(float *parts, const uint8_t *stage)
{
	float c[3][4] = { { 0 } };
	uint32_t first[4], second[4];
	const uint8_t *down = stage + DOWN + k_lane() % 8 * PLACE + k_lane() / 8 * 16;
	k_matrices(first, down);
	k_matrices(second, down + C / 2 * PLACE);
	meet(c[0], stage + GK, first);
	meet(c[1], stage + GQ, first);
	meet(c[2], stage + UP_K, second);
	K_UNROLL
	for (int i = 0; i < 3; i++) {
		struct k_u4 u = { { k_f_bits(c[i][0]), k_f_bits(c[i][1]), k_f_bits(c[i][2]), k_f_bits(c[i][3]) } };
		k_store16(parts + (i * K_WARP + k_lane()) * 4, u);
	}
}

/* Product i of those, over all runs. */
K_DEV void over_runs(float *c, const float *parts, int i, int runs)
{
	load4(c, parts + (i * K_WARP + k_lane()) * 4);
	K_UNROLL
	for (int run = 1; run < RUNS; run++) {
		float x[4] = { 0 };
		if (run < runs)
			load4(x, parts + run * PARTS * K_WARP + (i * K_WARP + k_lane()) * 4);
		K_UNROLL
		for (int e = 0; e < 4; e++)
			c[e] += x[e];
	}
}

/* --- the chunk's matrices ---------------------------------------------------------------------------------------------------- */

/* The second of a lane's words w and b, of token t from tokens 4 q + i % 2 and + 2: where it is in its matrix. */
K_DEV int word_at(int t, int s) { return ((t / 2 * 4 + s / 4) * 2 + t % 2) * 2 + s % 2; }

/* Two of b_ts, s = first and + 1, where s <= t, to the record: a word is of s and s + 2, which the lane beside has. */
K_DEV void store_b(uint32_t *b, int t, int first, float x, float y)
{
	bool odd = k_lane() & 1;
	float other;
	x = first <= t ? x : 0;
	y = first + 1 <= t ? y : 0;
	other = __shfl_xor_sync(0xffffffffu, odd ? x : y, 1);
	b[word_at(t, first / 4 * 4 + (odd ? 1 : 0))] = odd ? pack_round(other, y) : pack_round(x, other);
}

/* By a warp: b, and what queries are divided by. */
K_DEV void make_reads(uint32_t *b, float *norms, const float *parts, const float *squares, int d)
{
	int g = k_lane() / 4, s = k_lane() % 4 * 2, runs = d / RUN;
	float left[4], right[4];
	over_runs(left, parts, 1, runs);
	over_runs(right, parts, 2, runs);
	store_b(b, g, s, left[0], left[1]);
	store_b(b, g + 8, s, left[2], left[3]);
	store_b(b, g, s + 8, 0, 0);
	store_b(b, g + 8, s + 8, right[2], right[3]);
	if (k_lane() < C) {
		float sum = squares[k_lane() * RUNS];
		K_UNROLL
		for (int run = 1; run < RUNS; run++)
			sum += run < runs ? squares[k_lane() * RUNS + run] : 0;
		norms[C + k_lane()] = k_fast_rsqrt((sum + EPS) * (float)d);
	}
}

/* Column j of W = (1 + beta a)^-1 beta, by a thread, rows times norms of keys: a[s][t] is a_ts of keys that are not normed, norm those of key j, each[s] = beta_s norm_s^2.
 * Threads j and j + 2 have the two halves of a word; 16 more do the same. */
K_DEV void chunk_inverse(uint32_t *w, const float *a, const float *each, float beta, float norm, int j)
{
	float x[C];
	K_UNROLL
	for (int t = 0; t < C; t++)
		x[t] = 0;
	K_UNROLL
	for (int s = 0; s < C; s++) {
		x[s] = fmaf(-each[s], x[s], s == j ? norm : 0);
		K_UNROLL
		for (int t = s + 1; t < C; t++)
			x[t] = fmaf(a[s * PAIR + t], x[s], x[t]);
	}
	K_UNROLL
	for (int t = 0; t < C; t++) {
		float mine = x[t] * beta, other = __shfl_xor_sync(0xffffffffu, mine, 2);
		if (!(k_lane() & (C | 2)))
			w[word_at(t, j)] = pack_round(mine, other);
	}
}

/* By a warp: W, and what keys are divided by. room: ROOM_FLOATS. */
K_DEV void make_w(uint32_t *w, float *norms, float *room, const float *parts, float beta, int d)
{
	int g = k_lane() / 4, s = k_lane() % 4 * 2, t = k_lane() % C;
	float left[4], right[4], *each = room + C * PAIR, norm;
	over_runs(left, parts, 0, d / RUN);
	over_runs(right, parts, 2, d / RUN);
	K_UNROLL
	for (int e = 0; e < 2; e++) {
		room[(s + e) * PAIR + g] = left[e];
		room[(s + e) * PAIR + g + 8] = left[2 + e];
		room[(s + e + 8) * PAIR + g + 8] = right[e];
	}
	K_WARP_IN_STEP();
	norm = k_fast_rsqrt(room[t * PAIR + t] + EPS);
	if (k_lane() < C) {
		each[t] = beta * (norm * norm);
		norms[t] = norm * LOG2E;
	}
	K_WARP_IN_STEP();
	chunk_inverse(w, room, each, beta * LN2, norm, t);
}

/* Chunks [first, end) of a head, BLOCK at a time; rows of the next ones are on their way meanwhile. Of two a team of four warps has made, two warps each solve one and
 * write its matrices, two finish its products of queries. room: shared memory, MAKE_FLOATS. */
K_DEV void make_chunks(const struct cuda_kda_prompt *p, int first, int end, int head, float *room)
{
	int d = p->op.dim, in = k_warp() / RUNS, run = k_warp() % RUNS, rows_made[2] = { -1, -1 };
	const float *taps = room + RUN * run + 4 * (k_lane() % 8);
	uint8_t *stage = (uint8_t *)(room + TAP_FLOATS) + k_warp() * STAGED;
	float *of_team = room + TAP_FLOATS + STAGE_FLOATS + in * 2 * CHUNK_FLOATS, beta = 0;
	bool mine = RUN * run < d;
	struct record r = record_of(d);
	struct part x = { 0 };
	struct asked rows;
	x.first = head * d + RUN * run + 4 * (k_lane() % 8);
	x.P = p->op.n_head * d;
	x.off = (MINE * (k_lane() / 8) - (TAPS - 1)) * x.P;
	x.chunk = first + in;
	chunk_of(p, x.chunk, &x.row, &x.since, &x.left);
	if (x.row >= 0 && mine)
		ask(&rows, p, &x);
	load_taps(room, &p->op, head);
	__syncthreads();
	K_ROLL
	while (x.chunk - in < end) {
		int turn = x.chunk / BLOCK % 2, again = x.chunk / (2 * BLOCK) % 2 * (C * RUNS);
		float *parts = of_team + turn * CHUNK_FLOATS;
		if (x.row >= 0 && run == 2 * turn)
			beta = p->op.beta[(int64_t)(x.row + k_lane() % C) * p->op.n_head + head];
		if (x.row >= 0 && mine)
			make_run(record_at(p, x.row, head), &r, stage, parts + PARTS_FLOATS + again, &rows, p, &x, taps, room[SPEED], run);
		if (turn == 0)
			__syncthreads();
		else
			K_WARP_IN_STEP();
		if (x.row >= 0 && mine)
			pairs_meet(parts + run * PARTS * K_WARP, stage);
		K_WARP_IN_STEP();
		rows_made[0] = turn ? rows_made[0] : x.row;
		rows_made[1] = turn ? x.row : -1;
		x.chunk += BLOCK;
		if (x.row >= 0 && x.left >= BLOCK) {
			x.row += BLOCK * C;
			x.since += BLOCK * C;
			x.left -= BLOCK;
		} else {
			chunk_of(p, x.chunk, &x.row, &x.since, &x.left);
		}
		if (x.chunk - in < end && x.row >= 0 && mine)
			ask(&rows, p, &x);
		if (turn == 1 || x.chunk - in >= end) {
			int row = run < 2 ? rows_made[0] : rows_made[1];
			uint8_t *out = record_at(p, row, head);
			float *squares = of_team + run / 2 * CHUNK_FLOATS + PARTS_FLOATS + again;
			parts = of_team + run / 2 * CHUNK_FLOATS;
			__syncthreads();
			if (row >= 0 && run % 2 == 0)
				make_w((uint32_t *)(out + r.w), (float *)(out + r.norms), parts + PARTS_FLOATS + 2 * C * RUNS, parts, fast_sigmoid(beta), d);
			if (row >= 0 && run % 2)
				make_reads((uint32_t *)(out + r.b), (float *)(out + r.norms), parts, squares, d);
		}
	}
}

#endif
