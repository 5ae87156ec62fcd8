/* few.h: products of stored weights with a few vectors on tensor cores, as many.cu and moe_few.cu have them: a warp 16 rows and a part of the columns (strip.h).
 *
 * Weights are asked for some steps ahead, the first of them before anything else; vectors come once to shared memory, in bf16. A vector's 16 bytes i of a step
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

/* What a lane reads of granule g of a slice: strip_load with its addresses known before. */
struct lane_rows { const uint8_t *p[2], *slice; int64_t g; };

K_DEV struct lane_rows lane_rows_of(enum cuda_type type, const struct cuda_matrix *w, const uint8_t *slice, int64_t g)
{
	struct lane_rows at = { { slice, slice }, slice, g };
	int quad = k_lane() % 4;
	if (type == CUDA_I4_X16) {
		at.p[1] = slice + g * (w->cols / STEP) * K_RECORD + 4 * strip_row(type, 0);
		at.p[0] = slice + g * (w->cols / STEP) * K_RECORD + 64 + 64 * quad + 4 * strip_row(type, 0);
	} else {
		for (int i = 0; i < 2; i++) {
			int64_t row = 16 * g + strip_row(type, i);
			at.p[i] = slice + ((row < w->rows ? row : w->rows - 1) * w->cols + 8 * quad) * 2;
		}
	}
	return at;
}

/* Rows behind the last are those of the last, and go nowhere. */
K_DEV void lane_load(struct strip *s, enum cuda_type type, const struct cuda_matrix *w, const struct lane_rows *at, int step)
{
	if (type == CUDA_I4_X16) {
		K_UNROLL for (int run = 0; run < 2; run++) {
			uint64_t two = k_load8_once(at->p[0] + step * K_RECORD + 256 * run);
			s->w[2 * run] = (uint32_t)two;
			s->w[2 * run + 1] = (uint32_t)(two >> 32);
		}
		uint64_t two = k_load8_once(at->p[1] + step * K_RECORD);
		s->scale[0] = (uint32_t)two;
		s->scale[1] = (uint32_t)(two >> 32);
	} else if (type == CUDA_BF16) {
		K_UNROLL for (int i = 0; i < 4; i++) {
			struct k_u4 v = { { 0, 0, 0, 0 } };
			if (i < 2 || STEP * step + RUN < (int)w->cols)
				v = k_load16_once(at->p[i % 2] + (2 * step + i / 2) * 2 * RUN);
			K_UNROLL for (int j = 0; j < 4; j++)
				s->w[4 * i + j] = v.w[j];
		}
	} else {
		strip_load(s, type, w, at->slice, at->g, step);
	}
}

/* strip_run of what lane_load has read: a lane's two rows lie side by side in i4g32, so that none has to be got from another lane. */
K_DEV void lane_run(struct run *r, enum cuda_type type, const struct strip *s, int run)
{
	if (type != CUDA_I4_X16) {
		strip_run(r, type, s, run);
		return;
	}
	K_UNROLL for (int i = 0; i < 2; i++) {
		K_UNROLL for (int j = 0; j < 4; j++)
			r->a[j / 2][i + j % 2 * 2] = i4_pair(s->w[2 * run + i], j);
		r->scale[i] = k_bits_f(run ? s->scale[i] & 0xffff0000 : s->scale[i] << 16);
	}
}

/* acc += step `at` of those on the stage times s. */
K_DEV void times_vectors(float *acc, const struct strip *s, enum cuda_type type, const uint8_t *stage, int at, int n)
{
	int vector = k_lane() / 4;
	K_UNROLL for (int run = 0; run < 2; run++) {
		struct run r;
		struct k_u4 b = { { 0, 0, 0, 0 } };
		lane_run(&r, type, s, run);
		if (vector < n)
			b = k_load16(stage + (at * n + vector) * VECTOR + ((4 * run + k_lane() % 4) ^ (vector & 1) << 2) * 16);
		strip_times(acc, &r, b.w);
	}
}

#endif
