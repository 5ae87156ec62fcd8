/* kda_walk.h: delta attention chunk after chunk (kda_chunk.cu): a block a (head, segment). A warp has 16 rows of the state in registers, in f32, from the
 * first chunk to the last; products are in bf16, sums in f32. A state's tile is c of one product and, rounded, a of the next (mma.h), so it never leaves the
 * registers. Records and z are brought to shared memory two chunks ahead; o goes through shared memory, and a token's is normed, gated and written by sixteen threads while
 * the next chunk is computed: so a chunk has one barrier. */
#ifndef KERNELS_CUDA_KDA_WALK_H
#define KERNELS_CUDA_KDA_WALK_H

#include "kernels/cuda/kda_chunk.h"
#include "kernels/cuda/wg.h"

/* ROW: floats from a token's o to the next in shared memory. STAGE: bytes of a record and of z there, of a chunk. */
enum { STAGES = CUDA_CHUNK_STAGES, RECORD = (CUDA_CHUNK_BYTES(DIM) + TILE - 1) / TILE * TILE, STAGE = RECORD + 4 * C * DIM };
enum { ROW = DIM + 4, WALK_BYTES = 4 * DIM + 8 * C * ROW + STAGES * STAGE };

/* Of a lane's two rows of the state, h = 0 and 1, and of v and o. */
K_DEV int state_row(int h) { return 16 * k_warp() + k_lane() / 8 * 4 + 2 * h + k_lane() / 4 % 2; }

/* Tile j of a run is its eight j (kda_chunk.h), of the two rows. */
struct state { float c[RUNS * 4][4]; };

/* Four channels of row h for a lane, of tiles 2 pair and + 1: lanes side by side have each other's halves, and give them back. thread: its own (k_anew of it where what
 * was made of it before should not have been kept). */
K_DEV int state_at(int h, int d, int thread)
{
	return (thread / K_WARP * 16 + thread % K_WARP / 8 * 4 + 2 * h + thread / 4 % 2) * d + thread / 2 % 2 * 16 + thread % 2 * 4;
}
K_DEV int state_pair(int pair) { return pair / 2 * RUN + pair % 2 * 8; }

K_DEV void load_state(struct state *s, const float *from, int d, int runs)
{
	bool odd = k_lane() & 1;
	K_UNROLL
	for (int at = 0; at < 4 * runs; at++) {
		int pair = at % (2 * runs), h = at / (2 * runs);
		const float *row = from + state_at(h, d, k_thread());
		struct k_u4 u = k_load16(row + state_pair(pair));
		K_UNROLL
		for (int i = 0; i < 2; i++) {
			float low = k_bits_f(u.w[i]), high = k_bits_f(u.w[2 + i]), other = __shfl_xor_sync(0xffffffffu, odd ? low : high, 1);
			s->c[2 * pair][2 * h + i] = odd ? other : low;
			s->c[2 * pair + 1][2 * h + i] = odd ? high : other;
		}
	}
}

K_DEV void store_state(float *to, const struct state *s, int d, int runs)
{
	int thread = k_anew(k_thread());
	bool odd = thread & 1;
	K_UNROLL
	for (int at = 0; at < 4 * runs; at++) {
		int pair = at % (2 * runs), h = at / (2 * runs);
		float *row = to + state_at(h, d, thread);
		struct k_u4 u;
		K_UNROLL
		for (int i = 0; i < 2; i++) {
			float one = s->c[2 * pair][2 * h + i], two = s->c[2 * pair + 1][2 * h + i], other = __shfl_xor_sync(0xffffffffu, odd ? one : two, 1);
			u.w[i] = k_f_bits(odd ? other : one);
			u.w[2 + i] = k_f_bits(odd ? two : other);
		}
		k_store16_whole(row + state_pair(pair), u);
	}
}

/* Where tensor cores take a warpgroup's product and the warps go on meanwhile. */
#if defined(__CUDACC__) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
enum { BY_WARPGROUP = 1 };

K_DEV void read_group(float c[4][4], const struct state *s, const uint8_t *in, int first)
{
	uint32_t a[4][4];
	K_UNROLL
	for (int i = 0; i < 4; i++)
		a_from_c(a[i], s->c[4 * first + 2 * i], s->c[4 * first + 2 * i + 1]);
	uint64_t b = wg_blocks(in + first * 4 * TILE, TILE, 16);
	wg_fence();
	K_UNROLL
	for (int i = 0; i < 4; i++)
		wg_times32(c, a[i], b + i / 2 * (4 * TILE >> 4) + i % 2 * 2, first + i);
	wg_commit();
}

K_DEV void add_group(struct state *s, const uint32_t *f, const uint8_t *end)
{
	wg_fence();
	wg_add128(s->c, f, wg_blocks(end, TILE, 2 * TILE));
	wg_commit();
}

K_DEV void group_wait(float (*c)[4], int n) { wg_wait(c, n); }
#else
enum { BY_WARPGROUP = 0 };
K_DEV void read_group(float c[4][4], const struct state *s, const uint8_t *in, int first) { (void)c, (void)s, (void)in, (void)first; }
K_DEV void add_group(struct state *s, const uint32_t *f, const uint8_t *end) { (void)s, (void)f, (void)end; }
K_DEV void group_wait(float (*c)[4], int n) { (void)c, (void)n; }
#endif

/* What runs first and + 1 of the state give for keys and queries: c of 16 rows, and of tokens tile by tile, keys' two first. Done behind product_wait. */
K_DEV void read_state(float c[4][4], const struct state *s, const uint8_t *in, int first, int runs)
{
	if (BY_WARPGROUP && runs == RUNS) {
		read_group(c, s, in, first);
		return;
	}
	K_UNROLL
	for (int i = 0; i < 4; i++)
		K_UNROLL
		for (int e = 0; e < 4; e++)
			c[i][e] = first ? c[i][e] : 0;
	K_UNROLL
	for (int run = first; run < first + 2; run++) {
		uint32_t a0[4], a1[4];
		if (run >= runs)
			continue;
		a_from_c(a0, s->c[4 * run], s->c[4 * run + 1]);
		a_from_c(a1, s->c[4 * run + 2], s->c[4 * run + 3]);
		K_UNROLL
		for (int i = 0; i < 4; i++) {
			uint32_t g[4];
			k_matrices(g, in + (run * 4 + i) * TILE + tile_place(k_lane() % 8, k_lane() / 8));
			mma16816(c[i], a0, g);
			mma16816(c[i], a1, g + 2);
		}
	}
}

K_DEV void product_wait(float (*c)[4], int n, int runs)
{
	if (BY_WARPGROUP && runs == RUNS)
		group_wait(c, n);
}

/* The tokens' e; what they give to each other's o. */
K_DEV void correct(uint32_t *f, float seen[2][4], float o[2][4], const uint8_t *in, const struct record *r)
{
	float e[2][4] = { { 0 } };
	struct k_u4 w = k_load16(in + r->w + k_lane() * 16), b = k_load16(in + r->b + k_lane() * 16), norm = k_load16(in + r->norms + k_lane() % 4 * 16),
		v = k_load16(in + r->v + threadIdx.x * 16);
	K_UNROLL
	for (int h = 0; h < 2; h++)
		K_UNROLL
		for (int i = 0; i < 2; i++) {
			uint32_t two = k_turn8(v.w[2 * h + i]);
			seen[i][2 * h] = fmaf(-k_bits_f(norm.w[i]), seen[i][2 * h], k_bits_f(two << 16));
			seen[i][2 * h + 1] = fmaf(-k_bits_f(norm.w[2 + i]), seen[i][2 * h + 1], k_bits_f(two & 0xffff0000));
		}
	a_from_c(f, seen[0], seen[1]);
	mma16816(e[0], f, w.w);
	mma16816(e[1], f, w.w + 2);
	a_from_c(f, e[0], e[1]);
	mma16816(o[0], f, b.w);
	mma16816(o[1], f, b.w + 2);
}

K_DEV void decay_state(struct state *s, const uint8_t *in, const struct record *r, int runs)
{
	K_UNROLL
	for (int at = 0; at < 2 * RUNS; at++) {
		if (at / 2 >= runs)
			continue;
		struct k_u4 decay = k_load16(in + r->decay + ((at / 2 * 4 + k_lane() % 4) * 2 + at % 2) * 16);
		K_UNROLL
		for (int i = 0; i < 8; i++)
			s->c[2 * at + i / 4][i % 4] *= k_bits_f(decay.w[i / 4 * 2 + i % 2]);
	}
}

/* Done behind product_wait. */
K_DEV void move_state(struct state *s, const uint32_t *f, const uint8_t *in, const struct record *r, int runs)
{
	if (BY_WARPGROUP && runs == RUNS) {
		add_group(s, f, in + r->end);
		return;
	}
	K_UNROLL
	for (int at = 0; at < 2 * RUNS; at++) {
		uint32_t end[4];
		if (at / 2 >= runs)
			continue;
		k_matrices_turned(end, in + r->end + (at / 2 * 2 + k_lane() / 8 % 2) * TILE + tile_place(k_lane() % 8, at % 2 * 2 + k_lane() / 16));
		mma16816(s->c[2 * at], f, end);
		mma16816(s->c[2 * at + 1], f, end + 2);
	}
}

/* o of 16 rows and all tokens to o[token][ROW]. */
K_DEV void leave_o(float *to, float o[2][4])
{
	K_UNROLL
	for (int i = 0; i < 2; i++)
		K_UNROLL
		for (int e = 0; e < 4; e++)
			to[(4 * (k_lane() % 4) + 2 * (e % 2) + i) * ROW + state_row(e / 2)] = o[i][e];
}

/* Sixteen threads finish a token, four channels side by side each, and those 64 further. at: the first of them in y and z; d: channels, known where it is called. z: of
 * the chunk, brought by the same threads that read it. */
K_DEV bool finishes(int half, int d) { return d - 64 * half >= 64 || k_thread() % 16 * 4 + 64 * half < d; }
K_DEV int finish_at(int half, int row) { return k_thread() / 16 * row + k_thread() % 16 * 4 + 64 * half; }

K_DEV void copy_z(k_place stage, const struct cuda_kda *a, int64_t at, int d)
{
	K_UNROLL
	for (int half = 0; half < 2; half++)
		if (finishes(half, d))
			k_copy16_to(stage + RECORD + finish_at(half, DIM) * 4, a->z + at + 64 * half);
}

K_DEV void chunk_finish(const struct cuda_kda *a, int64_t at, const float *o, float norm, const float *weights, const uint8_t *z, int d)
{
	struct k_u4 x[2] = { { { 0 } } }, gate[2] = { { { 0 } } };
	float sum = 0;
	K_UNROLL
	for (int half = 0; half < 2; half++)
		if (finishes(half, d)) {
			x[half] = k_load16(o + finish_at(half, ROW));
			gate[half] = k_load16(z + finish_at(half, DIM) * 4);
		}
	K_UNROLL
	for (int half = 0; half < 2; half++) {
		struct k_u4 w = { { 0 } };
		if (finishes(half, d))
			w = k_load16(weights + k_thread() % 16 * 4 + 64 * half);
		K_UNROLL
		for (int i = 0; i < 4; i++) {
			float value = k_bits_f(x[half].w[i]);
			sum = fmaf(value, value, sum);
			x[half].w[i] = k_f_bits(value * k_bits_f(w.w[i]) * fast_sigmoid(k_bits_f(gate[half].w[i])));
		}
	}
	K_UNROLL
	for (int m = 1; m < 16; m *= 2)
		sum += __shfl_xor_sync(0xffffffffu, sum, m);
	sum = norm * k_fast_rsqrt(fmaf(norm * norm * (1.f / (float)d), sum, a->eps));
	K_UNROLL
	for (int half = 0; half < 2; half++) {
		K_UNROLL
		for (int i = 0; i < 4; i++)
			x[half].w[i] = k_f_bits(k_bits_f(x[half].w[i]) * sum);
		if (finishes(half, d))
			k_store16_past(a->y + at + 64 * half, x[half]);
	}
}

/* stage, from: where the thread's first sixteen bytes go to, and are. */
K_DEV void copy_record(k_place stage, const uint8_t *from, int bytes)
{
	K_UNROLL
	for (int i = 0; i < RECORD; i += 16 * CUDA_THREADS)
		if (16 * k_thread() + i < bytes)
			k_copy16_to(stage + i, from + i);
}

/* Whose state a block has. */
struct walker { const struct cuda_seg *seg; int head, block; };

K_DEV struct walker walker_of(const struct cuda_kda_prompt *p, int block)
{
	struct walker w = { p->op.seg + block / p->op.n_head, block % p->op.n_head, block };
	return w;
}

/* runs: of the head's channels, known where it is called so that nothing is left to decide. */
K_DEV void walk(const struct cuda_kda_prompt *p, const struct walker *w, int64_t row, int n, uint8_t *stage, float *o_left, int runs)
{
	float *weights = (float *)(stage + STAGES * STAGE);
	const struct cuda_kda *a = &p->op;
	int head = w->head, d = RUN * runs, step = CUDA_CHUNK_BYTES(d), P = a->n_head * d, slot = 0, behind;
	struct record r = record_of(d);
	uint8_t *from = record_at(p, row, head) + 16 * k_thread();
	const k_place place = k_place_of(stage), mine_at = place + 16 * k_thread();
	bool mine = k_warp() < 2 * runs;
	int64_t at = row * P + head * d + finish_at(0, P);
	struct state s;
	float norm = 0;
	if (k_thread() < d)
		weights[k_thread()] = a->o_norm[k_thread()];
	for (int i = 0; i < STAGES - 1 && i < n; i++)
		copy_z(place + i * STAGE, a, at + i * C * P, d);
	/* Up to here nothing was touched that the launch before writes. */
	K_WAIT_BEFORE();
	for (int i = 0; i < STAGES - 1; i++) {
		if (i < n)
			copy_record(mine_at + i * STAGE, from + i * step, step);
		k_copy_commit();
	}
	if (mine)
		load_state(&s, w->seg->state + (int64_t)head * d * d, d, runs);
	int i = 0;
	do {
		const uint8_t *in = stage + slot * STAGE;
		bool more = i + STAGES - 1 < n;
		behind = slot ? slot - 1 : STAGES - 1;
		k_copy_wait(STAGES - 2);
		__syncthreads();
		float seen[4][4];
		uint32_t f[4];
		if (mine)
			read_state(seen, &s, in, 0, runs);
		if (more)
			copy_record(mine_at + behind * STAGE, from + (STAGES - 1) * step, step);
		/* The record is in shared memory, and read by nobody else. */
		if (k_thread() < step / 128)
			k_discard(from + 112 * k_thread());
		if (mine) {
			product_wait(seen, C * 2, runs);
			read_state(seen, &s, in, 2, runs);
			decay_state(&s, in, &r, runs);
			product_wait(seen, C * 2, runs);
			correct(f, seen, seen + 2, in, &r);
			move_state(&s, f, in, &r, runs);
			leave_o(o_left + i % 2 * C * ROW, seen + 2);
		}
		if (i)
			chunk_finish(a, at - C * P, o_left + (i + 1) % 2 * C * ROW, norm, weights, stage + behind * STAGE + RECORD, d);
		if (mine)
			product_wait(s.c, DIM, runs);
		if (more)
			copy_z(place + behind * STAGE, a, at + (STAGES - 1) * C * P, d);
		k_copy_commit();
		norm = ((const float *)(in + r.norms))[C + threadIdx.x / 16];
		at += C * P;
		from += step;
		slot = slot == STAGES - 1 ? 0 : slot + 1;
	} while (++i < n);
	behind = slot ? slot - 1 : STAGES - 1;
	struct walker again = walker_of(p, k_anew(w->block));
	if (mine)
		store_state(again.seg->state + (int64_t)again.head * d * d, &s, d, runs);
	__syncthreads();
	chunk_finish(a, at - C * P, o_left + (n - 1) % 2 * C * ROW, norm, weights, stage + behind * STAGE + RECORD, d);
}

/* Block `block` of those that walk. room: shared memory, WALK_BYTES. */
K_DEV void walk_chunks(const struct cuda_kda_prompt *p, int block, float *room)
{
	struct walker w = walker_of(p, block);
	struct stretch x = stretch_of(p, w.seg);
	int n = (int)((x.end - x.begin) / C), d = p->op.dim;
	uint8_t *stage = (uint8_t *)(room + 2 * C * ROW);
	if (n == 0) {
		K_WAIT_BEFORE();
		return;
	}
	switch (d / RUN) {
	case 1: walk(p, &w, x.begin, n, stage, room, 1); break;
	case 2: walk(p, &w, x.begin, n, stage, room, 2); break;
	case 3: walk(p, &w, x.begin, n, stage, room, 3); break;
	default: walk(p, &w, x.begin, n, stage, room, RUNS);
	}
	w = walker_of(p, k_anew(block));
	if ((int)threadIdx.x < d && stretch_of(p, w.seg).end == w.seg->row + w.seg->n)
		leave_tail(&p->op, w.seg, (int64_t)w.head * d + threadIdx.x);
}

#endif
