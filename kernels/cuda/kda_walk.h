/* kda_walk.h: delta attention chunk after chunk (kda_chunk.cu): a block a (head, segment). A warp has 16 rows of the state in registers, in f32, from the
 * first chunk to the last; products are in bf16, sums in f32. A state's tile is c of one product and, rounded, a of the next (mma.h), so it never leaves the
 * registers. Records are brought to shared memory a chunk ahead; o goes through shared memory, and a token's is normed, gated and written by sixteen threads while
 * the next chunk is computed: so a chunk has one barrier. */
#ifndef KERNELS_CUDA_KDA_WALK_H
#define KERNELS_CUDA_KDA_WALK_H

#include "kernels/cuda/kda_chunk.h"

/* ROW: floats from a token's o to the next in shared memory. */
enum { STAGES = 2, STAGE = 6 * C * DIM + 4 * C * C + 4 * DIM, ROW = DIM + 4, WALK_FLOATS = 2 * C * ROW + STAGES * STAGE / 4 };

/* Of a lane's two rows of the state, h = 0 and 1, and of v and o. */
K_DEV int state_row(int h) { return 16 * k_warp() + k_lane() / 8 * 4 + 2 * h + k_lane() / 4 % 2; }

/* Tile j of a run: channels 32 run + 16 (j / 2) + 4 (lane % 4) + 2 (j % 2) + 0, 1 of the two rows. */
struct state { float c[RUNS][4][4]; };

K_DEV void load_state(struct state *s, const float *from, int d, int runs)
{
	K_UNROLL
	for (int at = 0; at < RUNS * 4; at++) {
		int run = at / 4, h = at / 2 % 2, half = at % 2;
		if (run >= runs)
			continue;
		struct k_u4 u = k_load16(from + state_row(h) * d + RUN * run + 16 * half + 4 * (k_lane() % 4));
		K_UNROLL
		for (int i = 0; i < 4; i++)
			s->c[run][2 * half + i / 2][2 * h + i % 2] = k_bits_f(u.w[i]);
	}
}

K_DEV void store_state(float *to, const struct state *s, int d, int runs)
{
	K_UNROLL
	for (int at = 0; at < RUNS * 4; at++) {
		int run = at / 4, h = at / 2 % 2, half = at % 2;
		struct k_u4 u;
		if (run >= runs)
			continue;
		K_UNROLL
		for (int i = 0; i < 4; i++)
			u.w[i] = k_f_bits(s->c[run][2 * half + i / 2][2 * h + i % 2]);
		k_store16(to + state_row(h) * d + RUN * run + 16 * half + 4 * (k_lane() % 4), u);
	}
}

/* What the state gives for keys and queries: c of 16 rows, and of tokens tile by tile. */
K_DEV void read_state(float seen[2][4], float o[2][4], const struct state *s, const uint8_t *in, const struct record *r, int runs)
{
	K_UNROLL
	for (int run = 0; run < RUNS; run++) {
		uint32_t a0[4], a1[4];
		if (run >= runs)
			continue;
		a_from_c(a0, s->c[run][0], s->c[run][1]);
		a_from_c(a1, s->c[run][2], s->c[run][3]);
		K_UNROLL
		for (int i = 0; i < 2; i++) {
			struct k_u4 gk = k_load16(in + ((run * 2 + i) * K_WARP + k_lane()) * 16);
			mma16816(seen[i], a0, gk.w);
			mma16816(seen[i], a1, gk.w + 2);
		}
		K_UNROLL
		for (int i = 0; i < 2; i++) {
			struct k_u4 gq = k_load16(in + r->gq + ((run * 2 + i) * K_WARP + k_lane()) * 16);
			mma16816(o[i], a0, gq.w);
			mma16816(o[i], a1, gq.w + 2);
		}
	}
}

/* The tokens' e; what they give to each other's o. */
K_DEV void correct(uint32_t *f, float seen[2][4], float o[2][4], const struct k_u4 *v, const uint8_t *in, const struct record *r)
{
	float e[2][4] = { { 0 } };
	struct k_u4 w = k_load16(in + r->w + k_lane() * 16), b = k_load16(in + r->b + k_lane() * 16);
	K_UNROLL
	for (int h = 0; h < 2; h++)
		K_UNROLL
		for (int i = 0; i < 2; i++) {
			uint32_t two = k_turn8(v->w[2 * h + i]);
			seen[i][2 * h] = k_bits_f(two << 16) - seen[i][2 * h];
			seen[i][2 * h + 1] = k_bits_f(two & 0xffff0000) - seen[i][2 * h + 1];
		}
	a_from_c(f, seen[0], seen[1]);
	mma16816(e[0], f, w.w);
	mma16816(e[1], f, w.w + 2);
	a_from_c(f, e[0], e[1]);
	mma16816(o[0], f, b.w);
	mma16816(o[1], f, b.w + 2);
}

K_DEV void move_state(struct state *s, const uint32_t *f, const uint8_t *in, const struct record *r, int runs)
{
	K_UNROLL
	for (int at = 0; at < 2 * RUNS; at++) {
		int run = at / 2, half = at % 2;
		uint32_t end[4];
		if (run >= runs)
			continue;
		struct k_u4 decay = k_load16(in + r->decay + (RUN * run + 16 * half + 4 * (k_lane() % 4)) * 4);
		k_matrices_turned(end, in + r->end + (at * 4 * 8 + k_lane()) * 16);
		K_UNROLL
		for (int j = 0; j < 2; j++) {
			float *c = s->c[run][2 * half + j];
			K_UNROLL
			for (int i = 0; i < 4; i++)
				c[i] *= k_bits_f(decay.w[2 * j + i % 2]);
			mma16816(c, f, end + 2 * j);
		}
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

/* Sixteen threads finish a token, four channels side by side each, and those 64 further. at: the first of them in y and z. */
K_DEV void load_z(struct k_u4 z[2], const struct cuda_kda *a, int64_t at)
{
	K_UNROLL
	for (int half = 0; half < 2; half++)
		if ((int)threadIdx.x % 16 * 4 + 64 * half < a->dim)
			z[half] = k_load16(a->z + at + 64 * half);
}

K_DEV void chunk_finish(const struct cuda_kda *a, int64_t at, const float *o, const struct k_u4 z[2])
{
	int first = (int)threadIdx.x % 16 * 4;
	struct k_u4 x[2];
	float sum = 0;
	K_UNROLL
	for (int half = 0; half < 2; half++) {
		if (first + 64 * half >= a->dim)
			continue;
		x[half] = k_load16(o + threadIdx.x / 16 * ROW + first + 64 * half);
		K_UNROLL
		for (int i = 0; i < 4; i++)
			sum = fmaf(k_bits_f(x[half].w[i]), k_bits_f(x[half].w[i]), sum);
	}
	K_UNROLL
	for (int m = 1; m < 16; m *= 2)
		sum += __shfl_xor_sync(0xffffffffu, sum, m);
	sum = k_fast_rcp(sqrtf(sum / (float)a->dim + a->eps));
	K_UNROLL
	for (int half = 0; half < 2; half++) {
		if (first + 64 * half >= a->dim)
			continue;
		struct k_u4 w = k_load16(a->o_norm + first + 64 * half);
		K_UNROLL
		for (int i = 0; i < 4; i++)
			w.w[i] = k_f_bits(k_bits_f(w.w[i]) * (k_bits_f(x[half].w[i]) * sum) * fast_sigmoid(k_bits_f(z[half].w[i])));
		k_store16(a->y + at + 64 * half, w);
	}
}

K_DEV void chunk_copy(uint8_t *to, const uint8_t *from, int bytes, bool there)
{
	for (int i = 16 * (int)threadIdx.x; there && i < bytes; i += 16 * CUDA_THREADS)
		k_copy16(to + i, from + i, true);
	k_copy_commit();
}

/* runs: of the head's channels, known where it is called so that nothing is left to decide. */
K_DEV void walk(const struct cuda_kda_prompt *p, const struct cuda_seg *seg, int64_t row, int head, int n, uint8_t *stage, float *o_left, int runs)
{
	const struct cuda_kda *a = &p->op;
	int d = RUN * runs, step = CUDA_CHUNK_BYTES(d), P = a->n_head * d;
	struct record r = record_of(d);
	const uint8_t *from = record_at(p, row, head);
	bool mine = k_warp() < 2 * runs;
	int64_t at = (row + threadIdx.x / 16) * P + head * d + threadIdx.x % 16 * 4;
	struct k_u4 v = { 0 }, z[2];
	struct state s;
	chunk_copy(stage, from, r.v, true);
	if (mine) {
		load_state(&s, seg->state + (int64_t)head * d * d, d, runs);
		v = k_load16(from + r.v + threadIdx.x * 16);
	}
	for (int i = 0; i < n; i++) {
		const uint8_t *in = stage + i % STAGES * STAGE;
		k_copy_wait(0);
		__syncthreads();
		from += step;
		chunk_copy(stage + (i + 1) % STAGES * STAGE, from, r.v, i + 1 < n);
		if (mine) {
			float o[2][4] = { { 0 } }, seen[2][4] = { { 0 } };
			uint32_t f[4];
			read_state(seen, o, &s, in, &r, runs);
			if (i)
				load_z(z, a, at - C * P);
			correct(f, seen, o, &v, in, &r);
			if (i + 1 < n)
				v = k_load16(from + r.v + threadIdx.x * 16);
			leave_o(o_left + i % 2 * C * ROW, o);
			move_state(&s, f, in, &r, runs);
		} else if (i) {
			load_z(z, a, at - C * P);
		}
		if (i)
			chunk_finish(a, at - C * P, o_left + (i + 1) % 2 * C * ROW, z);
		at += C * P;
	}
	load_z(z, a, at - C * P);
	if (mine)
		store_state(seg->state + (int64_t)head * d * d, &s, d, runs);
	__syncthreads();
	chunk_finish(a, at - C * P, o_left + (n - 1) % 2 * C * ROW, z);
}

/* room: shared memory, WALK_FLOATS. */
K_DEV void walk_chunks(const struct cuda_kda_prompt *p, const struct cuda_seg *seg, int head, float *room)
{
	struct stretch x = stretch_of(p, seg);
	int n = (int)((x.end - x.begin) / C), d = p->op.dim;
	uint8_t *stage = (uint8_t *)(room + 2 * C * ROW);
	if (n == 0)
		return;
	if (d == DIM)
		walk(p, seg, x.begin, head, n, stage, room, RUNS);
	else
		walk(p, seg, x.begin, head, n, stage, room, d / RUN);
	if ((int)threadIdx.x < d && x.end == seg->row + seg->n)
		leave_tail(&p->op, seg, (int64_t)head * d + threadIdx.x);
}

#endif
