/* few.h: products of stored weights with a few vectors on tensor cores, as many.cu, moe_dot.cu and moe_few.cu have them: a warp 16 rows and a part of the columns (strip.h).
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
	struct words words;
	if (type == CUDA_I4_X16) {
		int rows = 4 * strip_row(type, 0);
		uint64_t scale = *(const uint64_t *)(from + rows), two = *(const uint64_t *)(from + 64 + 64 * (4 * run + k_lane() % 4) + rows);
		K_UNROLL for (int i = 0; i < 2; i++) {
			words.w[i][0] = (uint32_t)(two >> 32 * i);
			words.scale[i] = half_twice((uint32_t)(scale >> 32 * i), run);
		}
	} else {
		K_UNROLL for (int i = 0; i < 2; i++) {
			struct k_u4 v = { { 0, 0, 0, 0 } };
			if (run == 0 || STEP * step + RUN < (int)w->cols)
				v = k_load16(from + 16 * k_lane() + (2 * run + i) * PIECE);
			K_UNROLL for (int j = 0; j < 4; j++)
				words.w[i][j] = v.w[j];
			words.scale[i] = 0;
		}
	}
	words_run(r, type, &words);
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
	if (step + ahead < to || (step + 1 < to && step + 1 == staged->next))
		ring_done(type);
	if (step + ahead < to)
		ring_ask(place, type, w, at, step + ahead);
	k_copy_commit();
}

/* --- a product -------------------------------------------------------------------------------------------------------------- */

/* Of the shared memory that a launch brings. */
struct few_room { uint8_t *ring, *stage; float *part; };

K_DEV struct few_room few_room(uint8_t *more)
{
	struct few_room r = { more + CUDA_FEW_STAGE + CUDA_FEW_PARTS, more, (float *)(more + CUDA_FEW_STAGE) };
	return r;
}

/* part[(warp * CUDA_FEW + vector) * 16 + row] of granule g. type and ahead are constants. */
K_DEV void few_parts(const struct few_room *room, enum cuda_type type, const struct cuda_matrix *w, int64_t g, const struct vectors *v, int ahead)
{
	int steps = ((int)w->cols + STEP - 1) / STEP, each = (int)strip_part(w->cols), from = k_warp() * each, to = from + each < steps ? from + each : steps;
	int round = CUDA_FEW_STAGE / CUDA_WARPS / VECTOR / v->n, slot = 0;
	uint8_t *stage = room->stage + k_warp() * (CUDA_FEW_STAGE / CUDA_WARPS), *ring = room->ring + k_warp() * ahead * ring_bytes(type);
	float acc[4] = { 0 };
	struct lane_rows at = lane_rows_of(type, w, w->data, g);
	struct staged staged = { from, from };
	struct strip s;
	K_ROLL for (int k = 0; k < ahead && rings(type); k++) {
		if (from + k < to)
			ring_ask(ring + k * ring_bytes(type), type, w, &at, from + k);
		k_copy_commit();
	}
	K_WAIT_BEFORE();
	K_ROLL for (int step = from; step < to; step++) {
		if (!rings(type))
			strip_load(&s, type, w, w->data, g, step);
		stage_step(&staged, stage, type, v, step, from, to, round);
		if (rings(type))
			ring_step(acc, type, w, &at, ring + slot * ring_bytes(type), step, to, ahead, ahead - 1, stage, &staged, v->n);
		else
			times_vectors(acc, &s, type, stage, step - staged.first, v->n);
		slot = slot + 1 == ahead ? 0 : slot + 1;
	}
	K_UNROLL for (int i = 0; i < 4; i++)
		room->part[(k_warp() * CUDA_FEW + k_lane() % 4 * 2 + i % 2) * 16 + strip_row(type, i / 2)] = acc[i];
}

/* Of any type. ahead: of BF16. */
K_DEV void few_parts_of(const struct few_room *room, const struct cuda_matrix *w, int64_t g, const struct vectors *v, int ahead)
{
	if (w->type == CUDA_I4_X16)
		few_parts(room, CUDA_I4_X16, w, g, v, CUDA_FEW_AHEAD_I4);
	else if (w->type == CUDA_BF16)
		few_parts(room, CUDA_BF16, w, g, v, ahead);
	else if (w->type == CUDA_MXFP4)
		few_parts(room, CUDA_MXFP4, w, g, v, 2);
	else if (w->type == CUDA_MX4_X16)
		few_parts(room, CUDA_MX4_X16, w, g, v, 2);
	else
		few_parts(room, CUDA_FP8B128, w, g, v, 2);
}

/* Sixteen rows of p times vectors first .. of all, from what the warps have of them. */
K_DEV void few_sum(const struct cuda_product_of *p, const struct few_room *room, int64_t block, const struct vectors *v, int64_t first)
{
	__syncthreads();
	if (k_thread() < v->n * 16) {
		int vector = k_thread() / 16;
		int64_t row = block * 16 + k_thread() % 16;
		float s = 0;
		for (int i = 0; i < CUDA_WARPS; i++)
			s += room->part[(i * CUDA_FEW + vector) * 16 + k_thread() % 16];
		if (row < p->w.rows)
			p->y[(first + vector) * p->y_step + row] = p->bias ? s + p->bias[row] : s;
	}
}

#endif
