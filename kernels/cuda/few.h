/* few.h: products of stored weights with a few vectors on tensor cores, as many.cu and moe_few.cu have them: a warp 16 rows and a part of the columns (strip.h).
 *
 * Weights are asked for some steps ahead, the first of them before anything else; vectors come once to shared memory, in bf16, each warp's part by itself. A vector's 16 bytes i of a step
 * lie at i ^ 4 (vector & 1), so that the lanes of a quarter of a warp read all banks once. */
#ifndef KERNELS_CUDA_FEW_H
#define KERNELS_CUDA_FEW_H

#include "kernels/cuda/strip.h"

enum { VECTOR = 2 * STEP, AT_ONCE = 4 };

/* The vectors of a block: n of them from x on, x_step apart. */
struct vectors { const float *x; int64_t x_step, cols; int n; };

K_DEV void stage_put(uint8_t *stage, int row, int vector, int j, const struct k_u4 *u)
{
	uint32_t *to = (uint32_t *)(stage + row * VECTOR + ((j / 2 ^ (vector & 1) << 2) * 16) + j % 2 * 8);
	to[0] = pack_round(k_bits_f(u->w[0]), k_bits_f(u->w[1]));
	to[1] = pack_round(k_bits_f(u->w[2]), k_bits_f(u->w[3]));
}

/* `count` steps from `from` on of all vectors to the warp's part of shared memory, half a warp a step. Loads of AT_ONCE steps or vectors are under way together. */
K_DEV void stage_vectors(uint8_t *stage, const struct vectors *v, int from, int count)
{
	int j = k_lane() % 16, over = v->n == 1 ? 2 * AT_ONCE : 2;
	for (int first = k_lane() / 16; first < count; first += over)
		for (int group = 0; group < v->n; group += AT_ONCE) {
			struct k_u4 u[AT_ONCE];
			K_UNROLL for (int i = 0; i < AT_ONCE; i++) {
				int step = v->n == 1 ? first + 2 * i : first, vector = v->n == 1 ? 0 : group + i, at = STEP * (from + step) + 4 * j;
				if (step < count && vector < v->n && at < v->cols)
					u[i] = k_load16(v->x + vector * v->x_step + at);
				else
					u[i].w[0] = u[i].w[1] = u[i].w[2] = u[i].w[3] = 0;
			}
			K_UNROLL for (int i = 0; i < AT_ONCE; i++) {
				int step = v->n == 1 ? first + 2 * i : first, vector = v->n == 1 ? 0 : group + i;
				if (step < count && vector < v->n)
					stage_put(stage, step * v->n + vector, vector, j, &u[i]);
			}
		}
}

/* A lane's of run 0 or 1 of step `at` on the stage. */
K_DEV struct k_u4 vectors_run(const uint8_t *stage, int at, int n, int run)
{
	int vector = k_lane() / 4;
	struct k_u4 b = { { 0, 0, 0, 0 } };
	if (vector < n)
		b = k_load16(stage + (at * n + vector) * VECTOR + ((4 * run + k_lane() % 4) ^ (vector & 1) << 2) * 16);
	return b;
}

/* acc += step `at` of those on the stage times s. */
K_DEV void times_vectors(float *acc, const struct strip *s, enum cuda_type type, const uint8_t *stage, int at, int n)
{
	K_UNROLL for (int run = 0; run < 2; run++) {
		struct run r;
		struct k_u4 b = vectors_run(stage, at, n, run);
		strip_run(&r, type, s, run);
		strip_times(acc, &r, b.w);
	}
}

/* Weights by way of shared memory. In registers a warp waits for the last of all loads that share one of its six scoreboards, the newest among them; of copies it
 * waits for those of a step alone. i4g32: a record as it lies, so that lanes side by side bring what lies side by side, and each reads the rows that it wants; bf16:
 * each lane's 16 bytes to a place of its own. */
enum { PIECE = 16 * K_WARP };
K_DEV bool rings(enum cuda_type type) { return type == CUDA_I4_X16 || type == CUDA_BF16; }
K_DEV int ring_bytes(enum cuda_type type) { return type == CUDA_I4_X16 ? K_RECORD : 4 * PIECE; }

/* Where what a lane reads of step 0 of granule g lie, of types that have rings. Rows behind the last are those of the last, and go nowhere. */
struct lane_rows { const uint8_t *p[2]; };

K_DEV struct lane_rows lane_rows_of(enum cuda_type type, const struct cuda_matrix *w, const uint8_t *slice, int64_t g)
{
	struct lane_rows at = { { slice, slice } };
	int quad = k_lane() % 4;
	if (type == CUDA_I4_X16) {
		at.p[0] = at.p[1] = slice + g * (w->cols / STEP) * K_RECORD + 16 * k_lane();
	} else {
		for (int i = 0; i < 2; i++) {
			int64_t row = 16 * g + strip_row(type, i);
			at.p[i] = slice + ((row < w->rows ? row : w->rows - 1) * w->cols + 8 * quad) * 2;
		}
	}
	return at;
}

K_DEV void ring_ask(uint8_t *to, enum cuda_type type, const struct cuda_matrix *w, const struct lane_rows *at, int step)
{
	to += 16 * k_lane();
	if (type == CUDA_I4_X16) {
		const uint8_t *from = at->p[0] + step * K_RECORD;
		k_copy16_all(to, from);
		if (k_lane() < (K_RECORD - PIECE) / 16)
			k_copy16_all(to + PIECE, from + PIECE);
	} else {
		K_UNROLL for (int i = 0; i < 4; i++)
			if (i < 2 || STEP * step + RUN < (int)w->cols)
				k_copy16_all(to + i * PIECE, at->p[i % 2] + (2 * step + i / 2) * 2 * RUN);
	}
}

/* The oldest step is there. left: groups that stay under way, a constant. */
K_DEV void ring_wait(enum cuda_type type, int left)
{
	k_copy_leave(left);
	if (type == CUDA_I4_X16)
		K_WARP_IN_STEP();
}

/* All have read it, and what was staged for it. */
K_DEV void ring_done(enum cuda_type type)
{
	if (type == CUDA_I4_X16)
		K_WARP_IN_STEP();
}

/* Before and behind what a warp stages for itself: where steps are not apart anyway. */
K_DEV void stage_apart(enum cuda_type type)
{
	if (type != CUDA_I4_X16)
		K_WARP_IN_STEP();
}
K_DEV void stage_done(enum cuda_type type)
{
	if (type != CUDA_I4_X16)
		K_WARP_IN_STEP();
}

/* What is on a warp's stage: steps from `first` on, the next ones from `next`. */
struct staged { int first, next; };

/* The vectors of a step, of [from, to), are there behind it; `round` steps fit. */
K_DEV void stage_step(struct staged *s, uint8_t *stage, enum cuda_type type, const struct vectors *v, int step, int from, int to, int round)
{
	if (step != s->next)
		return;
	s->first = step;
	s->next += round;
	if (step > from)
		stage_apart(type);
	stage_vectors(stage, v, step, (s->next < to ? s->next : to) - step);
	stage_done(type);
}

/* Run 0 or 1 of a step. */
K_DEV void ring_run(struct run *r, enum cuda_type type, const struct cuda_matrix *w, const uint8_t *from, int step, int run)
{
	uint32_t in[2][4];
	if (type == CUDA_I4_X16) {
		int rows = 4 * strip_row(type, 0);
		uint64_t scale = *(const uint64_t *)(from + rows), two = *(const uint64_t *)(from + 64 + 64 * (4 * run + k_lane() % 4) + rows);
		K_UNROLL for (int i = 0; i < 2; i++) {
			uint32_t s = (uint32_t)(scale >> 32 * i), word = (uint32_t)(two >> 32 * i);
			K_UNROLL for (int j = 0; j < 4; j++)
				in[i][j] = i4_pair(word, j);
			r->scale[i] = k_bits_f(run ? s & 0xffff0000 : s << 16);
		}
	} else {
		K_UNROLL for (int i = 0; i < 2; i++) {
			struct k_u4 v = { { 0, 0, 0, 0 } };
			if (run == 0 || STEP * step + RUN < (int)w->cols)
				v = k_load16(from + 16 * k_lane() + (2 * run + i) * PIECE);
			K_UNROLL for (int j = 0; j < 4; j++)
				in[i][j] = v.w[j];
			r->scale[i] = 1;
		}
	}
	K_UNROLL for (int i = 0; i < 2; i++)
		K_UNROLL for (int j = 0; j < 4; j++)
			r->a[j / 2][i + j % 2 * 2] = in[i][j];
}

K_DEV void ring_times_run(float *acc, enum cuda_type type, const struct cuda_matrix *w, const uint8_t *from, int step, const uint8_t *stage, int at, int n, int run)
{
	struct run r;
	struct k_u4 b = vectors_run(stage, at, n, run);
	ring_run(&r, type, w, from, step, run);
	strip_times(acc, &r, b.w);
}

K_DEV void ring_times(float *acc, enum cuda_type type, const struct cuda_matrix *w, const uint8_t *from, int step, const uint8_t *stage, int at, int n)
{
	if (type == CUDA_I4_X16)
		K_UNROLL for (int run = 0; run < 2; run++)
			ring_times_run(acc, type, w, from, step, stage, at, n, run);
	else    /* 16 registers a run */
		K_ROLL for (int run = 0; run < 2; run++)
			ring_times_run(acc, type, w, from, step, stage, at, n, run);
}

/* acc += a step, which is at `place` of the ring, times its vectors; and the one of [.., to) that takes its place is asked for. left: as ring_wait has it. */
K_DEV void ring_step(float *acc, enum cuda_type type, const struct cuda_matrix *w, const struct lane_rows *at, uint8_t *place, int step, int to, int ahead, int left,
	const uint8_t *stage, const struct staged *staged, int n)
{
	ring_wait(type, left);
	ring_times(acc, type, w, place, step, stage, step - staged->first, n);
	if (step + 1 < to)
		ring_done(type);
	if (step + ahead < to)
		ring_ask(place, type, w, at, step + ahead);
	k_copy_commit();
}

#endif
