/* attn_mma.cu: latent attention on tensor cores, for prompts and for single tokens alike: with --act bf16, where its sizes allow (cuda_attn.c). As attn.cu:
 *
 *   query    a block ROWS rows of a head: times K_h, the last part rotated
 *   attend   a block ROWS queries (row, head) of one segment over a span of positions, STEP of them at a time:
 *
 *              scores    a warp 16 queries x 8 positions, queries from shared memory, keys from their page         --> shared, f32
 *              weights   a warp 4 queries, a lane a position: running maximum and sum                              --> shared, bf16
 *              values    a warp all queries x 64 channels: sums in registers, taken down to the new maximum first
 *
 *   merge    a block ROWS rows of a head: the spans in order, through V_h
 *
 * What is multiplied is bf16, or rounded to it; sums are f32. Pages are BF16. A row's sums are in one order, whatever else is in its tile: what it does not see
 * weighs 0. */
#include "kernels/cuda/attn_mma.h"

enum { ROWS = CUDA_MMA_QUERIES, STEP = 32, WIDE = 64, TILES = WIDE / 8, HALVES = ROWS / 16 };

/* Element k of row i. */
K_DEV uint16_t *element(uint8_t *rows, int stride, int i, int k) { return (uint16_t *)(rows + i * stride + 2 * k); }

/* Of a run of 16 rows (rows_run) one of the two a. */
K_DEV void rows_half(uint32_t *a, const uint8_t *p, int stride, int j)
{
	const uint32_t *low = (const uint32_t *)(p + 8 * j), *high = (const uint32_t *)(p + 8 * stride + 8 * j);
	a[0] = low[0];
	a[1] = high[0];
	a[2] = low[1];
	a[3] = high[1];
}

/* c = 16 rows times 8 vectors of n columns; mine: the vector of this lane, lane / 4; NULL: zeros. */
K_DEV void times_vectors(float *c, const uint8_t *rows, int stride, int half, const void *mine, bool bf16, int n)
{
	K_UNROLL for (int i = 0; i < 4; i++)
		c[i] = 0;
	for (int run = 0; run < (n + RUN - 1) / RUN; run++) {
		int at = RUN * run + 8 * (k_lane() % 4);
		uint32_t a[2][4], b[4];
		load8(b, mine && at < n ? value_at(mine, bf16, at) : NULL, bf16);
		rows_run(a, rows_at(rows, stride, half, run), stride);
		mma16816(c, a[0], b);
		mma16816(c, a[1], b + 2);
	}
}

/* acc += run `run` of all rows (32 columns) times a matrix of as many rows, step values apart, of which the first n are there: WIDE of its columns, from m on; the
 * lane's are 8 (lane / 4) .. + 7, here: are they there? Tile t is column t of each eight. */
K_DEV void times_matrix(float (*acc)[TILES][4], const uint8_t *rows, int stride, int run, const void *m, bool bf16, int step, int n, bool here)
{
	K_ROLL for (int j = 0; j < 2; j++) {
		uint32_t a[HALVES][4];
		uint32_t x[4][4];
		K_UNROLL for (int h = 0; h < HALVES; h++)
			rows_half(a[h], rows_at(rows, stride, h, run), stride, j);
		K_UNROLL for (int i = 0; i < 4; i++) {
			int row = 8 * (k_lane() % 4) + 4 * j + i;
			load8(x[i], here && row < n ? value_at(m, bf16, row * step + 8 * (k_lane() / 4)) : NULL, bf16);
		}
		K_UNROLL for (int t = 0; t < TILES; t++) {
			uint32_t b[2] = { column(x[0][t / 2], x[1][t / 2], t % 2), column(x[2][t / 2], x[3][t / 2], t % 2) };
			K_UNROLL for (int h = 0; h < HALVES; h++)
				mma16816(acc[h][t], a[h], b);
		}
	}
}

/* Row and column of acc[h][t][i]. */
K_DEV int acc_row(int h, int i) { return 16 * h + k_lane() / 4 + i / 2 * 8; }
K_DEV int acc_col(int t, int i) { return 8 * (k_lane() % 4 * 2 + i % 2) + t; }

K_KERNEL_MANY(mla_query_mma, 2)
{
	enum { BYTES = STRIDE(CUDA_MMA_DN) };
	K_SHARED(uint8_t, rows, ROWS * BYTES);
	const struct cuda_mla_query *op = &a.query;
	int64_t first = (int64_t)blockIdx.x * ROWS, head = blockIdx.y;
	int n = (int)(a.n - first < ROWS ? a.n - first : ROWS), stride = STRIDE(op->dn), wide = (op->dn + RUN - 1) / RUN * RUN;
	const float *q = op->q + (first * op->n_head + head) * (op->dn + op->dr);
	float *query = op->query + (first * op->n_head + head) * (op->r + op->dr);
	int64_t q_step = (int64_t)op->n_head * (op->dn + op->dr), query_step = (int64_t)op->n_head * (op->r + op->dr);
	for (int k = threadIdx.x; k < ROWS * wide; k += CUDA_THREADS)
		*element(rows, stride, k / wide, k % wide) = half_of(k / wide < n && k % wide < op->dn ? q[k / wide * q_step + k % wide] : 0);
	__syncthreads();
	for (int from = WIDE * k_warp(); from < op->r; from += WIDE * CUDA_WARPS) {
		float acc[HALVES][TILES][4] = { { { 0 } } };
		bool here = from + 8 * (k_lane() / 4) < op->r;
		for (int run = 0; run < wide / RUN; run++) {
			const void *w = value_at(op->kv_b, op->bf16, (head * (op->dn + op->dv) + RUN * run) * op->r + from);
			/* Twice, so that the loops inside know which. */
			if (op->bf16)
				times_matrix(acc, rows, stride, run, w, true, op->r, op->dn - RUN * run, here);
			else
				times_matrix(acc, rows, stride, run, w, false, op->r, op->dn - RUN * run, here);
		}
		K_UNROLL for (int h = 0; h < HALVES; h++)
			K_UNROLL for (int t = 0; t < TILES; t++)
				K_UNROLL for (int i = 0; i < 4; i++)
					if (acc_row(h, i) < n && from + acc_col(t, i) < op->r)
						query[acc_row(h, i) * query_step + from + acc_col(t, i)] = acc[h][t][i];
	}
	for (int k = threadIdx.x; !op->rope.table && k < n * op->dr; k += CUDA_THREADS)
		query[k / op->dr * query_step + op->r + k % op->dr] = q[k / op->dr * q_step + op->dn + k % op->dr];
	for (int k = threadIdx.x; op->rope.table && k < n * (op->dr / 2); k += CUDA_THREADS) {
		int i = k / (op->dr / 2), s = k_seg_of(op->seg, op->n_seg, op->first + first + i);
		if (s >= 0)
			k_turn(query + i * query_step + op->r, q + i * q_step + op->dn, &op->rope, op->seg[s].pos + op->first + first + i - op->seg[s].row, k % (op->dr / 2));
	}
}

/* What is known of a query so far: the largest score, the sum of weights, and what was gathered before the last step is to be scaled by. */
struct so_far { float top, sum, factor, gap; };

/* Scores become weights, a lane a position of the step. */
K_DEV void weigh(struct so_far *now, const struct so_far *before, uint16_t *weight, float score, bool seen)
{
	float m = fmaxf(before->top, k_warp_max(seen ? score : -INFINITY)), f = before->sum > 0 ? expf(before->top - m) : 0, e = seen ? expf(score - m) : 0;
	float sum = fmaf(before->sum, f, k_warp_sum(e));
	*weight = half_of(e);
	if (k_lane() == 0) {
		now->top = m;
		now->sum = sum;
		now->factor = f;
	}
}

K_KERNEL_MANY(attend_mma, 2)
{
	enum { BYTES = STRIDE(CUDA_MMA_DK), EACH = ROWS / CUDA_WARPS };
	K_SHARED(uint8_t, q, ROWS * BYTES);
	K_SHARED(float, score, ROWS * STEP);
	K_SHARED(uint8_t, weight, ROWS * STEP * 2);
	K_SHARED(struct so_far, known, 2 * ROWS);
	const struct cuda_attend *op = &a.attend;
	struct tile t = tile_of(op, blockIdx.x, ROWS);
	const struct cuda_seg *s = op->seg + t.seg;
	int64_t from, to;
	int stride = STRIDE(op->dk), wide = (op->dk + RUN - 1) / RUN * RUN, half = k_warp() / 4, channel = WIDE * k_warp();
	float acc[HALVES][TILES][4] = { { { 0 } } };
	struct so_far *now = known, *before = known + ROWS;
	bool here = channel + 8 * (k_lane() / 4) < op->dv;
	if (!tile_span(op, &t, &from, &to))
		return;
	if (threadIdx.x < ROWS) {
		now[threadIdx.x].top = -INFINITY;
		now[threadIdx.x].sum = 0;
	}
	for (int k = threadIdx.x; k < ROWS * wide; k += CUDA_THREADS)
		*element(q, stride, k / wide, k % wide) =
			half_of(k / wide < t.n && k % wide < op->dk ? op->query[tile_at(op, &t, k / wide) * op->dk + k % wide] : 0);
	__syncthreads();
	for (int64_t base = from; base < to; base += STEP) {
		const uint16_t *keys = (const uint16_t *)s->pages[base / CUDA_PAGE] + base % CUDA_PAGE * op->width;
		int n = (int)(to - base < STEP ? to - base : STEP), mine = 8 * (k_warp() % 4) + k_lane() / 4;
		float c[4];
		times_vectors(c, q, stride, half, mine < n ? keys + mine * op->width : NULL, true, op->dk);
		for (int i = 0; i < 4; i++)
			score[(16 * half + k_lane() / 4 + i / 2 * 8) * STEP + 8 * (k_warp() % 4) + k_lane() % 4 * 2 + i % 2] = c[i] * op->scale;
		struct so_far *other = before;
		before = now;
		now = other;
		__syncthreads();
		for (int i = 0; i < EACH; i++) {
			int row = EACH * k_warp() + i;
			bool seen = row < t.n && k_lane() < tile_sees(op, &t, row, base);
			weigh(&now[row], &before[row], element(weight, 2 * STEP, row, k_lane()), score[row * STEP + k_lane()], seen);
		}
		__syncthreads();
		K_UNROLL for (int h = 0; h < HALVES; h++)
			K_UNROLL for (int k = 0; k < TILES; k++)
				K_UNROLL for (int i = 0; i < 4; i++)
					acc[h][k][i] *= now[acc_row(h, i)].factor;
		times_matrix(acc, weight, 2 * STEP, 0, keys + op->value + channel, true, op->width, n, here);
	}
	if ((int)threadIdx.x < t.n) {
		float *part = op->parts + (tile_at(op, &t, (int)threadIdx.x) * op->n_span + blockIdx.z) * (op->dv + 2);
		part[0] = now[threadIdx.x].top;
		part[1] = now[threadIdx.x].sum;
	}
	K_UNROLL for (int h = 0; h < HALVES; h++)
		K_UNROLL for (int i = 0; i < 4; i++) {
			float *part = op->parts + (tile_at(op, &t, acc_row(h, i)) * op->n_span + blockIdx.z) * (op->dv + 2);
			K_UNROLL for (int k = 0; k < TILES; k++)
				if (acc_row(h, i) < t.n && channel + acc_col(k, i) < op->dv)
					part[2 + channel + acc_col(k, i)] = acc[h][k][i];
		}
}

/* Channel c of what the spans of a query give together. */
K_DEV float merged(const float *part, int n, int step, int c)
{
	float top = -INFINITY, sum = 0, v = 0;
	for (int i = 0; i < n; i++)
		top = fmaxf(top, part[i * step]);
	for (int i = 0; i < n; i++) {
		float f = expf(part[i * step] - top);
		sum = fmaf(part[i * step + 1], f, sum);
		v = fmaf(part[i * step + 2 + c], f, v);
	}
	return v / sum;
}

K_KERNEL(merge_mma)
{
	enum { BYTES = STRIDE(CUDA_DV) };
	K_SHARED(uint8_t, o, ROWS * BYTES);
	const struct cuda_merge *op = &a.merge;
	int64_t first = (int64_t)blockIdx.x * ROWS, head = blockIdx.y;
	int n = (int)(a.n - first < ROWS ? a.n - first : ROWS), stride = STRIDE(op->r), wide = (op->r + RUN - 1) / RUN * RUN, step = op->r + 2;
	for (int k = threadIdx.x; k < ROWS * wide; k += CUDA_THREADS) {
		int64_t row = op->first + first + k / wide;
		int s = k / wide < n && k % wide < op->r ? k_seg_of(op->seg, op->n_seg, row) : -1;
		float v = 0;
		if (s >= 0)
			v = merged(op->parts + ((first + k / wide) * op->n_head + head) * op->n_span * step,
				(int)((op->seg[s].pos + row - op->seg[s].row) / op->span + 1), step, k % wide);
		*element(o, stride, k / wide, k % wide) = half_of(v);
	}
	__syncthreads();
	for (int k = k_warp(); k < HALVES * ((op->dv + 7) / 8); k += CUDA_WARPS) {
		int half = k % HALVES, j = k / HALVES * 8 + k_lane() / 4;
		float c[4];
		const void *w = j < op->dv ? value_at(op->v, op->bf16, head * op->v_step + (int64_t)j * op->r) : NULL;
		if (op->bf16)
			times_vectors(c, o, stride, half, w, true, op->r);
		else
			times_vectors(c, o, stride, half, w, false, op->r);
		for (int i = 0; i < 4; i++) {
			int row = 16 * half + k_lane() / 4 + i / 2 * 8, col = k / HALVES * 8 + k_lane() % 4 * 2 + i % 2;
			if (row < n && col < op->dv)
				op->y[((first + row) * op->n_head + head) * op->dv + col] = c[i];
		}
	}
}
