/* kda_make.h: records of chunks (kda_chunk.h): four warps a (chunk, head).
 *
 * For products on tensor cores G_t / G_s (kda_chunk.cu) must be a factor of t times one of s: tokens meet pair by pair, then blocks of 2, of 4 and of 8, and where the left
 * block (s) meets the right one (t), up is the decay from the border to t, down that from s to the border. A lane has two tokens of eight channels; a level
 * is a shuffle of the block's whole decay, which then goes into up of the right block and down of the left one. After the last level up is G_t and down is
 * G_end / G_t. */
#ifndef KERNELS_CUDA_KDA_MAKE_H
#define KERNELS_CUDA_KDA_MAKE_H

#include "kernels/cuda/kda_chunk.h"

/* PAIR: floats from a row of a chunk's products to the next. */
enum { TAPS = CUDA_CHUNK_TAPS, BLOCK = CUDA_BLOCK_CHUNKS, PAIR = C + 4, MINE = 8, MAKE_FLOATS = BLOCK * (2 * RUNS * C * PAIR + C * PAIR + 2 * C * RUNS + C) };

/* Row where chunk i of the round begins, its segment; NULL behind the last. */
K_DEV const struct cuda_seg *chunk_of(const struct cuda_kda_prompt *p, int64_t i, int64_t *row)
{
	for (int k = 0; k < p->n_seg; k++) {
		struct stretch x = stretch_of(p, p->op.seg + k);
		int64_t n = (x.end - x.begin) / C;
		if (i < n) {
			*row = x.begin + C * i;
			return p->op.seg + k;
		}
		i -= n;
	}
	return NULL;
}

/* --- a lane's part: tokens 2 g and 2 g + 1, channels first + 0 to 3 and first + 16 to 19 ------------------------------------ */

/* at: of the chunk's first token, in rows of channels; off: of the lane's second from there; P: from row to row; early: the segment begins within the taps. */
struct part { const struct cuda_seg *seg; int64_t row, at; int head, first, P, off; bool early; };

K_DEV void load4(float *x, const float *from)
{
	struct k_u4 u = k_load16(from);
	K_UNROLL
	for (int i = 0; i < 4; i++)
		x[i] = k_bits_f(u.w[i]);
}

K_DEV float fast_silu(float x) { return x * fast_sigmoid(x); }

/* Raw row `back` before the lane's second token, where the segment may begin in between. What lies before the taps is not looked at; any row will do. */
K_DEV const float *early_row(const struct cuda_kda *a, const struct part *p, int i, int back)
{
	int keep = a->taps - 1, t = (int)(p->row - p->seg->row) + 2 * (k_lane() / 4) + 1 - back;
	return t >= 0 ? a->raw[i] + p->at + (p->off - back * p->P) : p->seg->conv + (int64_t)(i * keep + (t < -keep ? 0 : keep + t)) * p->P + p->first;
}

/* Raw projection i, convolved, of both tokens. plain, known where it is called: all taps, none of them before the segment. */
K_DEV void conv_part(float y[2][MINE], const struct cuda_kda *a, const struct part *p, int i, bool plain)
{
	const float *raw = a->raw[i] + p->at, *weights = a->conv_w[i] + p->first;
	K_UNROLL
	for (int half = 0; half < 2; half++) {
		float x[TAPS + 1][4], w[TAPS][4];
		K_UNROLL
		for (int j = 0; j <= TAPS; j++) {
			const float *row = raw + (p->off - (TAPS - j) * p->P);
			if (!plain && p->early)
				row = early_row(a, p, i, TAPS - j);
			load4(x[j], row + 16 * half);
		}
		K_UNROLL
		for (int j = 0; j < TAPS; j++) {
			int tap = plain ? j : j - (TAPS - a->taps);
			load4(w[j], weights + (tap < 0 ? 0 : tap) * p->P + 16 * half);
			K_UNROLL
			for (int c = 0; c < 4; c++)
				w[j][c] = tap < 0 ? 0 : w[j][c];
		}
		K_UNROLL
		for (int c = 0; c < 8; c++) {
			float sum = 0;
			K_UNROLL
			for (int j = 0; j < TAPS; j++)
				sum = fmaf(w[j][c % 4], x[j + c / 4][c % 4], sum);
			y[c / 4][4 * half + c % 4] = fast_silu(sum);
		}
	}
}

/* The run's channels of the chunk's rows, before anything waits for them, and of z, which is for whoever walks: a lane has one row of two inputs or three. */
K_DEV void prefetch_part(const struct cuda_kda *a, const struct part *p)
{
	int64_t at = p->at - 4 * (k_lane() % 4) + k_lane() % 16 * p->P;
	k_prefetch((k_lane() < 16 ? a->raw[2] : a->raw[1]) + at);
	k_prefetch((k_lane() < 16 ? a->raw[0] : a->a) + at);
	if (k_lane() < 16)
		k_prefetch(a->z + at);
}

K_DEV void store_v(uint8_t *to, float v[2][MINE])
{
	K_UNROLL
	for (int j = 0; j < 4; j += 2) {
		struct k_u4 u = { { pack_round(v[0][2 * j], v[0][2 * j + 1]), pack_round(v[1][2 * j], v[1][2 * j + 1]),
			pack_round(v[0][2 * j + 2], v[0][2 * j + 3]), pack_round(v[1][2 * j + 2], v[1][2 * j + 3]) } };
		k_store16(to + (j / 2 * K_WARP + k_lane()) * 16, u);
	}
}

/* q and k; v to the record. */
K_DEV void all_convs(float q[2][MINE], float k[2][MINE], uint8_t *v, const struct cuda_kda *a, const struct part *p, bool plain)
{
	conv_part(q, a, p, 2, plain);
	store_v(v, q);
	K_IN_ORDER();
	conv_part(q, a, p, 0, plain);
	K_IN_ORDER();
	conv_part(k, a, p, 1, plain);
}

/* log (1 + exp x). Small terms by their series, which keeps their digits. */
K_DEV float fast_softplus(float x)
{
	float e = k_fast_exp2(1.44269504f * x), near = fmaf(e, fmaf(e, fmaf(e, -0.25f, 1.f / 3), -0.5f), 1) * e;
	return x > 20 ? x : e < 0.06f ? near : 0.693147181f * k_fast_log2(1 + e);
}

K_DEV void gate_part(float alpha[2][MINE], const struct cuda_kda *a, const struct part *p)
{
	float speed = -1.44269504f * expf(a->a_log[p->head]);
	K_UNROLL
	for (int half = 0; half < 2; half++) {
		float bias[4], x[4];
		load4(bias, a->dt_bias + p->first + 16 * half);
		K_UNROLL
		for (int t = 0; t < 2; t++) {
			load4(x, a->a + p->at + (p->off - (1 - t) * p->P) + 16 * half);
			K_UNROLL
			for (int c = 0; c < 4; c++)
				alpha[t][4 * half + c] = k_fast_exp2(speed * fast_softplus(x[c] + bias[c]));
		}
	}
}

/* The words of a token. */
K_DEV struct k_u4 words_of(const float *x)
{
	struct k_u4 u;
	K_UNROLL
	for (int j = 0; j < 4; j++)
		u.w[j] = pack_round(x[2 * j], x[2 * j + 1]);
	return u;
}

/* Squares of a token over the run's channels, to squares[token][run]. */
K_DEV void square_part(float *squares, float x[2][MINE], int run)
{
	K_UNROLL
	for (int t = 0; t < 2; t++) {
		float sum = 0;
		K_UNROLL
		for (int c = 0; c < MINE; c++)
			sum = fmaf(x[t][c], x[t][c], sum);
		sum += __shfl_xor_sync(0xffffffffu, sum, 1);
		sum += __shfl_xor_sync(0xffffffffu, sum, 2);
		if (k_lane() % 4 == 0)
			squares[(2 * (k_lane() / 4) + t) * RUNS + run] = sum;
	}
}

K_DEV float squares_of(const float *squares, int t)
{
	float x[RUNS];
	load4(x, squares + (2 * (k_lane() / 4) + t) * RUNS);
	return x[0] + x[1] + (x[2] + x[3]);
}

/* --- pairs ----------------------------------------------------------------------------------------------------------------- */

/* c += rows of x times those of y, over the run's channels: token 2 g + h of x in row g + 8 h. */
K_DEV void meet(float *c, const struct k_u4 *top, const struct k_u4 *bottom, const struct k_u4 *y)
{
	K_UNROLL
	for (int j = 0; j < 4; j += 2) {
		uint32_t a[4] = { top->w[j], bottom->w[j], top->w[j + 1], bottom->w[j + 1] };
		mma16816(c, a, y->w + j);
	}
}

/* A lane's keys and queries, decayed from the border on the left to the token (up), and from the token to the border on the right (down); decay of all of the
 * block. */
struct decayed { float k_up[2][MINE], q_up[2][MINE], k_down[2][MINE], all[MINE]; };

/* Blocks of one: tokens 2 g and 2 g + 1. Their own products b_tt as well. */
K_DEV void pairs_meet(float *own, float *read, struct decayed *x, float k[2][MINE], float q[2][MINE], float alpha[2][MINE])
{
	float c[4] = { 0 }, self[2] = { 0, 0 };
	int g = k_lane() / 4, quad = k_lane() % 4;
	K_UNROLL
	for (int i = 0; i < MINE; i++) {
		self[0] = fmaf(q[0][i], k[0][i], self[0]);
		self[1] = fmaf(q[1][i], k[1][i], self[1]);
		x->all[i] = alpha[0][i] * alpha[1][i];
		x->k_up[0][i] = k[0][i] * alpha[0][i];
		x->q_up[0][i] = q[0][i] * alpha[0][i];
		x->k_up[1][i] = k[1][i] * alpha[1][i];
		x->q_up[1][i] = q[1][i] * alpha[1][i];
		x->k_down[0][i] = k[0][i] * alpha[1][i];
		x->k_down[1][i] = k[1][i];
	}
	struct k_u4 left = words_of(k[0]), right = words_of(x->k_up[1]), asks = words_of(x->q_up[1]);
	meet(c, &right, &asks, &left);
	K_UNROLL
	for (int i = 0; i < MINE; i++) {
		x->k_up[1][i] *= alpha[0][i];
		x->q_up[1][i] *= alpha[0][i];
	}
	K_UNROLL
	for (int e = 0; e < 2; e++)
		if (g == 2 * quad + e) {
			own[(2 * g + 1) * PAIR + 2 * g] = c[e];
			read[(2 * g + 1) * PAIR + 2 * g] = c[2 + e];
		}
	K_UNROLL
	for (int t = 0; t < 2; t++) {
		self[t] += __shfl_xor_sync(0xffffffffu, self[t], 1);
		self[t] += __shfl_xor_sync(0xffffffffu, self[t], 2);
		if (quad == 0)
			read[(2 * g + t) * PAIR + 2 * g + t] = self[t];
	}
}

/* Blocks of 2 m tokens, m lanes: those of the right ones (t) with those of the left ones (s) beside them. */
K_DEV void blocks_meet(float *own, float *read, struct decayed *x, int m)
{
	int g = k_lane() / 4, quad = k_lane() % 4;
	bool right = g & m;
	struct k_u4 keys[2], asks[2];
	K_UNROLL
	for (int t = 0; t < 2; t++) {
		float k[MINE];
		K_UNROLL
		for (int i = 0; i < MINE; i++)
			k[i] = right ? x->k_up[t][i] : x->k_down[t][i];
		keys[t] = words_of(k);
		asks[t] = words_of(x->q_up[t]);
	}
	K_UNROLL
	for (int i = 0; i < 2; i++) {
		float kk[4] = { 0 }, qk[4] = { 0 };
		meet(kk, &keys[0], &keys[1], &keys[i]);
		meet(qk, &asks[0], &asks[1], &keys[i]);
		K_UNROLL
		for (int e = 0; e < 4; e++) {
			int s = 2 * quad + e % 2, at = (2 * g + e / 2) * PAIR + 2 * s + i;
			if (right && (g ^ s) >= m && (g ^ s) < 2 * m) {
				own[at] = kk[e];
				read[at] = qk[e];
			}
		}
	}
	K_UNROLL
	for (int i = 0; i < MINE; i++) {
		float other = __shfl_xor_sync(0xffffffffu, x->all[i], 4 * m), up = right ? other : 1, down = right ? 1 : other;
		x->all[i] *= other;
		K_UNROLL
		for (int t = 0; t < 2; t++) {
			x->k_up[t][i] *= up;
			x->q_up[t][i] *= up;
			x->k_down[t][i] *= down;
		}
	}
}

K_DEV void store_decayed(uint8_t *out, const struct record *r, const struct decayed *x, int run)
{
	int lane = k_lane();
	K_UNROLL
	for (int t = 0; t < 2; t++) {
		struct k_u4 end = words_of(x->k_down[t]);
		k_store16(out + ((run * 2 + t) * K_WARP + lane) * 16, words_of(x->k_up[t]));
		k_store16(out + r->gq + ((run * 2 + t) * K_WARP + lane) * 16, words_of(x->q_up[t]));
		K_UNROLL
		for (int j = 0; j < 4; j++)
			((uint32_t *)(out + r->end))[((run * 4 + j) * 2 + t) * K_WARP + lane] = end.w[j];
	}
	if (lane < 4)
		K_UNROLL
		for (int half = 0; half < 2; half++) {
			const float *all = x->all + 4 * half;
			struct k_u4 u = { { k_f_bits(all[0]), k_f_bits(all[1]), k_f_bits(all[2]), k_f_bits(all[3]) } };
			k_store16(out + r->decay + (32 * run + 16 * half + 4 * lane) * 4, u);
		}
}

/* --- the chunk's matrices ---------------------------------------------------------------------------------------------------- */

/* Element (t, s) of what the runs have found, s <= t. */
K_DEV float over_runs(const float *x, int t, int s, int d)
{
	float sum = 0;
	K_UNROLL
	for (int run = 0; run < RUNS; run++)
		sum += RUN * run < d ? x[run * C * PAIR + t * PAIR + s] : 0;
	return sum;
}

/* The second of a lane's words w and b, of token t from tokens 4 q + i % 2 and + 2: where it is in its matrix. */
K_DEV int word_at(int t, int s) { return ((t / 2 * 4 + s / 4) * 2 + t % 2) * 2 + s % 2; }

/* Column j of W = (1 + beta a)^-1 beta, by a thread: a[s][t] is a_ts. Threads j and j + 2 have the two halves of a word; 16 more do the same. */
K_DEV void chunk_inverse(uint32_t *w, const float *a, const float *beta, int j)
{
	float x[C];
	K_UNROLL
	for (int t = 0; t < C; t++)
		x[t] = 0;
	K_UNROLL
	for (int s = 0; s < C; s++) {
		x[s] = (s == j ? 1.f : 0.f) - beta[s] * x[s];
		K_UNROLL
		for (int t = s + 1; t < C; t++)
			x[t] = fmaf(a[s * PAIR + t], x[s], x[t]);
	}
	K_UNROLL
	for (int t = 0; t < C; t++) {
		float mine = x[t] * beta[j], other = __shfl_xor_sync(0xffffffffu, mine, 2);
		if (!(k_lane() & (C | 2)))
			w[word_at(t, j)] = pack_round(mine, other);
	}
}

/* By the four warps of a chunk: b to the record, a, turned, to where its runs were not. */
K_DEV void gather_pairs(uint32_t *b, float *a, const float *own, const float *read, int d)
{
	int i = (int)threadIdx.x % (CUDA_THREADS / BLOCK), t = i / 8, s = i % 8 / 2 * 4 + i % 2;
	float two[2];
	K_UNROLL
	for (int k = 0; k < 2; k++) {
		two[k] = s + 2 * k <= t ? over_runs(read, t, s + 2 * k, d) : 0;
		a[(s + 2 * k) * PAIR + t] = s + 2 * k < t ? over_runs(own, t, s + 2 * k, d) : 0;
	}
	b[word_at(t, s)] = pack_round(two[0], two[1]);
}

/* Chunks from the first on, BLOCK of them, of a head. room: shared memory, MAKE_FLOATS. */
K_DEV void make_chunks(const struct cuda_kda_prompt *p, int64_t first, int head, float *room)
{
	float *own = room, *read = own + BLOCK * RUNS * C * PAIR, *whole = read + BLOCK * RUNS * C * PAIR;
	float *squares = whole + BLOCK * C * PAIR, *beta = squares + BLOCK * 2 * C * RUNS;
	int d = p->op.dim, in = k_warp() / RUNS, run = k_warp() % RUNS;
	struct part x = { 0 };
	struct record r = record_of(d);
	uint8_t *out = NULL;
	float q[2][MINE], k[2][MINE], alpha[2][MINE], *pairs = own + (in * RUNS + run) * C * PAIR, *reads = read + (in * RUNS + run) * C * PAIR;
	bool there, mine;
	x.seg = chunk_of(p, first + in, &x.row);
	x.head = head;
	x.first = x.head * d + RUN * run + 4 * (k_lane() % 4);
	x.P = p->op.n_head * d;
	x.at = x.row * x.P + x.first;
	x.off = (2 * (k_lane() / 4) + 1) * x.P;
	there = x.seg;
	x.early = there && x.row - x.seg->row < TAPS - 1;
	mine = there && RUN * run < d;
	if (mine) {
		prefetch_part(&p->op, &x);
		out = record_at(p, x.row, x.head);
		if (run == 0 && k_lane() < C)
			beta[in * C + k_lane()] = fast_sigmoid(p->op.beta[(x.row + k_lane()) * p->op.n_head + x.head]);
		if (x.early || p->op.taps < TAPS)
			all_convs(q, k, out + r.v + run * (2 * C * RUN), &p->op, &x, false);
		else
			all_convs(q, k, out + r.v + run * (2 * C * RUN), &p->op, &x, true);
		K_IN_ORDER();
		gate_part(alpha, &p->op, &x);
	} else {
		K_UNROLL
		for (int i = 0; i < 2 * MINE; i++)
			q[i / MINE][i % MINE] = k[i / MINE][i % MINE] = 0;
	}
	square_part(squares + in * 2 * C * RUNS, q, run);
	square_part(squares + (in * 2 + 1) * C * RUNS, k, run);
	__syncthreads();
	if (mine) {
		struct decayed y;
		K_UNROLL
		for (int t = 0; t < 2; t++) {
			float qq = k_fast_rcp(sqrtf(squares_of(squares + in * 2 * C * RUNS, t) + 1e-6f) * sqrtf((float)d));
			float kk = k_fast_rcp(sqrtf(squares_of(squares + (in * 2 + 1) * C * RUNS, t) + 1e-6f));
			K_UNROLL
			for (int c = 0; c < MINE; c++) {
				q[t][c] *= qq;
				k[t][c] *= kk;
			}
		}
		pairs_meet(pairs, reads, &y, k, q, alpha);
		K_ROLL
		for (int m = 1; m < 8; m *= 2)
			blocks_meet(pairs, reads, &y, m);
		store_decayed(out, &r, &y, run);
	}
	__syncthreads();
	if (there)
		gather_pairs((uint32_t *)(record_at(p, x.row, x.head) + r.b), whole + in * C * PAIR, own + in * RUNS * C * PAIR, read + in * RUNS * C * PAIR, d);
	__syncthreads();
	if (there && run == 0)
		chunk_inverse((uint32_t *)(out + r.w), whole + in * C * PAIR, beta + in * C, k_lane() % C);
}

#endif
