/* attn_mma.cu: latent attention on tensor cores, for prompts and for single tokens alike: with --act bf16, where its sizes allow (cuda_attn.c). As attn.cu:
 *
 *   query    a block ROWS rows of a head: times CHANNELS columns of K_h, the last part rotated; to bf16
 *   attend   a block ROWS queries (row, head) of one segment over a span of positions, STEP of them at a time, which come asynchronously some steps ahead:
 *
 *              scores    a step ahead of the rest, so that there are products to do while others are waited for
 *                        a warp all queries (registers) x 16 positions x a quarter of the channels   --> shared, f32
 *              weights   eight lanes a query, four positions a lane: running maximum and sum         --> shared, bf16
 *              values    a warp all queries x WIDE channels: sums in registers, taken down to the new maximum first
 *
 *   merge    a block some rows of a head: the spans in order, through some rows of V_h, which it asks for before anything else
 *
 * What is multiplied is bf16, or rounded to it; sums are f32. Pages are BF16. A row's sums are in one order, whatever else is in its tile: what it does not see
 * weighs 0. Weights are powers of two, of scores times the logarithm of e. */
#include "kernels/cuda/attn_mma.h"

enum { ROWS = CUDA_MMA_QUERIES, HALVES = ROWS / 16, PAIRS = 2 };

/* --- query ---------------------------------------------------------------------------------------------------------------- */

/* CHANNELS columns of K_h, DEEP rows at a time. */
enum { CHANNELS = CUDA_MMA_CHANNELS, DEEP = 128, QUERY_STRIDE = 2 * DEEP + 16, K_STRIDE = 2 * CHANNELS + 16 };

/* Rows [d, d + DEEP) of K_h. */
K_DEV void bring_k(uint8_t *k, const struct cuda_mla_query *op, int64_t head, int d, int dn, bool bf16)
{
	K_UNROLL for (int m = 0; m < DEEP * (CHANNELS / 8) / CUDA_THREADS; m++) {
		int i = k_thread() + m * CUDA_THREADS, row = d + i / (CHANNELS / 8), c = i % (CHANNELS / 8) * 8, col = (int)blockIdx.z * CHANNELS + c;
		bool there = row < dn && col < op->r;
		uint8_t *to = k + (row - d) * K_STRIDE + 2 * c;
		const void *from = value_at(op->kv_b, bf16, there ? (head * (dn + op->dv) + row) * op->r + col : 0);
		if (bf16) {
			k_copy16(to, from, there);
		} else {
			struct k_u4 u;
			load8(u.w, there ? from : NULL, false);
			k_store16(to, u);
		}
	}
	k_copy_commit();
}

/* The last dr channels of each query, turned. */
K_DEV void turn_queries(const struct cuda_mla_query *op, uint16_t *to, int64_t first, int64_t head, int n)
{
	int dk = op->r + op->dr, each = op->rope.table ? op->dr / 2 : op->dr;
	for (int k = threadIdx.x; k < n * each; k += CUDA_THREADS) {
		int64_t at = (first + k / each) * op->n_head + head, row = op->first + first + k / each;
		const float *q = op->q + at * (op->dn + op->dr) + op->dn;
		uint16_t *query = to + at * dk;
		int s = k_seg_of(op->seg, op->n_seg, row);
		if (!op->rope.table)
			query[op->r + k % each] = half_of(q[k % each]);
		else if (s >= 0)
			k_turn_to(query, true, op->r, q, &op->rope, op->seg[s].pos + row - op->seg[s].row, k % each);
	}
}

/* dn, bf16: the operation's, or what they always are, so that loops know how long they are. */
K_DEV void query_heads(const struct cuda_mla_query_mma *a, uint8_t *k, uint8_t *rows, int dn, bool bf16)
{
	const struct cuda_mla_query *op = &a->query;
	int64_t first = (int64_t)blockIdx.x * ROWS, head = blockIdx.y, step = (int64_t)op->n_head * (dn + op->dr);
	int n = (int)(a->n - first < ROWS ? a->n - first : ROWS), mine = 16 * k_warp();
	const float *q = op->q + (first * op->n_head + head) * (dn + op->dr);
	float acc[HALVES][PAIRS][4] = { { { 0 } } };
	bring_k(k, op, head, 0, dn, bf16);
	K_WAIT_BEFORE();
	for (int d = 0; d < dn; d += DEEP) {
		K_UNROLL_BY(4) for (int m = 0; m < ROWS * DEEP / CUDA_THREADS; m++) {
			int i = k_thread() + m * CUDA_THREADS, row = i / DEEP, c = i % DEEP;
			*(uint16_t *)(rows + row * QUERY_STRIDE + 2 * c) = half_of(row < n && d + c < dn ? q[row * step + d + c] : 0);
		}
		if (blockIdx.z == 0 && d == 0)
			turn_queries(op, a->to, first, head, n);
		k_copy_wait(0);
		__syncthreads();
		K_UNROLL for (int at = 0; at < DEEP; at += 16) {
			uint32_t b[4];
			if (d + at >= dn)
				break;
			k_matrices_turned(b, matrix_a(k, K_STRIDE, at, mine));
			K_UNROLL for (int h = 0; h < HALVES; h++) {
				uint32_t x[4];
				k_matrices(x, matrix_a(rows, QUERY_STRIDE, 16 * h, at));
				mma16816(acc[h][0], x, b);
				mma16816(acc[h][1], x, b + 2);
			}
		}
		if (d + DEEP < dn) {
			__syncthreads();
			bring_k(k, op, head, d + DEEP, dn, bf16);
		}
	}
	K_UNROLL for (int i = 0; i < HALVES * PAIRS * 2; i++) {
		int h = i / 4, t = i / 2 % 2, row = 16 * h + k_lane() / 4 + i % 2 * 8, c = (int)blockIdx.z * CHANNELS + mine + 8 * t + k_lane() % 4 * 2;
		if (row < n && c < op->r)
			*(uint32_t *)(a->to + ((first + row) * op->n_head + head) * (op->r + op->dr) + c) = pack_round(acc[h][t][i % 2 * 2], acc[h][t][i % 2 * 2 + 1]);
	}
}

/* Blocks behind those of heads append a row of latents each. */
K_KERNEL_EARLY(mla_query_mma, 2)
{
	K_SHARED(uint8_t, k, DEEP * K_STRIDE);
	K_SHARED(uint8_t, rows, ROWS * QUERY_STRIDE);
	K_SHARED(float, part, CUDA_WARPS);
	if ((int)blockIdx.y >= a.query.n_head) {
		int64_t row = (int64_t)blockIdx.x * ROWS + (int)blockIdx.y - a.query.n_head;
		if (blockIdx.z == 0 && row < a.n)
			append_latent(&a.append, a.query.first + row, part);
		return;
	}
	if (a.query.dn == DEEP && a.query.bf16)
		query_heads(&a, k, rows, DEEP, true);
	else
		query_heads(&a, k, rows, a.query.dn, a.query.bf16);
}

/* --- attend --------------------------------------------------------------------------------------------------------------- */

/* A warp has tiles PARTS i + k_warp() % PARTS of 16 channels of its positions. */
enum { STEP = CUDA_MMA_STEP, PARTS = 4, DEEPEST = CUDA_MMA_DK / 16 / PARTS, WIDE = 64, TILES = WIDE / 8 };
/* Floats of a row of scores: rows side by side lie in different banks for pairs of a quarter of a warp. Bytes of one of weights. */
enum { SCORE = STEP + 8, WEIGHT = 2 * STEP + 16 };

K_DEV int whole16(int n) { return (n + 15) / 16 * 16; }

/* A step of positions of dk values, one behind the other, to shared memory; the first n are there; zeros behind them and behind the values of each. */
K_DEV void bring(uint8_t *to, const uint16_t *from, int n, int dk)
{
	int each = whole16(dk) / 8, stride = CUDA_MMA_STRIDE(dk);
	K_UNROLL for (int k = 0; k < (STEP * each + CUDA_THREADS - 1) / CUDA_THREADS; k++) {
		int i = k_thread() + k * CUDA_THREADS, row = i / each, c = i % each;
		bool there = row < n && 8 * c < dk;
		if (i < STEP * each)
			k_copy16(to + row * stride + 16 * c, from + (8 * each == dk ? 8 * i : row * dk + 8 * c), there);
	}
	k_copy_commit();
}

/* The tile's queries, likewise, at once: all are asked for before one is stored. What is not there is read from the first, and left out. */
K_DEV void bring_queries(uint8_t *to, const struct cuda_attend_mma *a, const struct tile *t, int dk)
{
	enum { MOST = ROWS * (CUDA_MMA_DK / 8) / CUDA_THREADS };
	int each = whole16(dk) / 8, stride = CUDA_MMA_STRIDE(dk);
	struct k_u4 u[MOST];
	K_UNROLL for (int k = 0; k < MOST; k++) {
		int i = k_thread() + k * CUDA_THREADS, row = i / each < t->n ? i / each : 0, c = 8 * (i % each) < dk ? 8 * (i % each) : 0;
		u[k] = k_load16(a->query + tile_at(&a->attend, t, row) * dk + c);
	}
	K_UNROLL for (int k = 0; k < MOST; k++) {
		int i = k_thread() + k * CUDA_THREADS, row = i / each, c = i % each;
		K_UNROLL for (int j = 0; j < 4; j++)
			u[k].w[j] = row < t->n && 8 * c < dk ? u[k].w[j] : 0;
		if (i < ROWS * each)
			k_store16(to + row * stride + 16 * c, u[k]);
	}
}

/* All but the last `left` groups of copies. */
K_DEV void wait_for(int left)
{
	if (left <= 0)
		k_copy_wait(0);
	else if (left == 1)
		k_copy_wait(1);
	else
		k_copy_wait(2);
}

/* Scores of 16 positions from a part of the channels. */
K_DEV void scores(float *score, const uint32_t (*q)[HALVES][4], const uint8_t *rows, int stride, int dk)
{
	int half = k_warp() / PARTS, part = k_warp() % PARTS;
	float c[HALVES][PAIRS][4] = { { { 0 } } };
	K_UNROLL for (int i = 0; i < DEEPEST; i++) {
		uint32_t b[4];
		if (16 * (PARTS * i + part) >= dk)
			break;
		k_matrices(b, matrix_b(rows, stride, 16 * half, 16 * (PARTS * i + part)));
		K_UNROLL for (int h = 0; h < HALVES; h++) {
			mma16816(c[h][0], q[i][h], b);
			mma16816(c[h][1], q[i][h], b + 2);
		}
	}
	K_UNROLL for (int i = 0; i < HALVES * PAIRS * 2; i++) {
		int h = i / 4, t = i / 2 % 2, row = 16 * h + k_lane() / 4 + i % 2 * 8;
		struct k_u2 u = { { k_f_bits(c[h][t][i % 2 * 2]), k_f_bits(c[h][t][i % 2 * 2 + 1]) } };
		k_store8(score + (part * ROWS + row) * SCORE + 16 * half + 8 * t + k_lane() % 4 * 2, u);
	}
}

/* Over eight lanes. */
K_DEV float eight_max(float v)
{
	for (int x = 4; x > 0; x /= 2)
		v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, x));
	return v;
}
K_DEV float eight_sum(float v)
{
	for (int x = 4; x > 0; x /= 2)
		v += __shfl_xor_sync(0xffffffffu, v, x);
	return v;
}

/* Scores of the lane's four positions become weights; returns what was gathered before is to be scaled by. */
K_DEV float weigh(struct so_far *now, uint8_t *weight, const float *score, float scale, int seen)
{
	float e[4], m = -INFINITY, f;
	struct k_u4 x[PARTS];
	struct k_u2 u;
	K_UNROLL for (int i = 0; i < PARTS; i++)
		x[i] = k_load16(score + i * ROWS * SCORE);
	K_UNROLL for (int i = 0; i < 4; i++) {
		e[i] = ((k_bits_f(x[0].w[i]) + k_bits_f(x[1].w[i])) + (k_bits_f(x[2].w[i]) + k_bits_f(x[3].w[i]))) * scale;
		m = fmaxf(m, i < seen ? e[i] : -INFINITY);
	}
	m = fmaxf(now->top, eight_max(m));
	f = now->sum > 0 ? k_exp2(now->top - m) : 0;
	K_UNROLL for (int i = 0; i < 4; i++)
		e[i] = i < seen ? k_exp2(e[i] - m) : 0;
	u.w[0] = pack_round(e[0], e[1]);
	u.w[1] = pack_round(e[2], e[3]);
	k_store8(weight, u);
	now->sum = fmaf(now->sum, f, eight_sum((e[0] + e[1]) + (e[2] + e[3])));
	now->top = m;
	return f;
}

/* acc = acc * factor + weights x values, the warp's channels. */
K_DEV void values(float (*acc)[TILES][4], const uint8_t *weight, const float *factor, const uint8_t *rows, int stride, int dv)
{
	int channel = WIDE * k_warp();
	K_UNROLL for (int h = 0; h < HALVES; h++) {
		float f[2] = { factor[16 * h + k_lane() / 4], factor[16 * h + k_lane() / 4 + 8] };
		K_UNROLL for (int i = 0; i < 4 * TILES; i++)
			acc[h][i / 4][i % 4] *= f[i % 4 / 2];
	}
	K_UNROLL for (int at = 0; at < STEP; at += 16) {
		uint32_t x[HALVES][4];
		K_UNROLL for (int h = 0; h < HALVES; h++)
			k_matrices(x[h], matrix_a(weight, WEIGHT, 16 * h, at));
		K_UNROLL for (int t = 0; t < TILES; t += 2) {
			uint32_t b[4];
			if (channel + 8 * t >= dv)
				break;
			k_matrices_turned(b, matrix_a(rows, stride, at, channel + 8 * t));
			K_UNROLL for (int h = 0; h < HALVES; h++) {
				mma16816(acc[h][t], x[h], b);
				mma16816(acc[h][t + 1], x[h], b + 2);
			}
		}
	}
}

K_DEV void store_part(const struct cuda_attend *op, const struct tile *t, float (*acc)[TILES][4])
{
	K_UNROLL for (int i = 0; i < 2 * HALVES; i++) {
		int row = 16 * (i / 2) + k_lane() / 4 + i % 2 * 8, channel = WIDE * k_warp() + k_lane() % 4 * 2;
		float *part = op->parts + (row < t->n ? tile_at(op, t, row) * op->n_span + blockIdx.z : 0) * (CUDA_PART + op->dv) + CUDA_PART;
		K_UNROLL for (int k = 0; k < TILES; k++) {
			struct k_u2 u = { { k_f_bits(acc[i / 2][k][i % 2 * 2]), k_f_bits(acc[i / 2][k][i % 2 * 2 + 1]) } };
			if (row < t->n && channel + 8 * k < op->dv)
				k_store8(part + channel + 8 * k, u);
		}
	}
}

struct room { float *score, *factor; uint8_t *weight, *stages; };

/* dk, dv: the operation's, or what they mostly are, so that loops know how long they are. */
K_DEV void attend_span(const struct cuda_attend_mma *a, const struct room *m, int dk, int dv)
{
	const struct cuda_attend *op = &a->attend;
	float *score = m->score, *factor = m->factor;
	uint8_t *weight = m->weight, *stages = m->stages;
	struct tile t = tile_of(op, blockIdx.x, ROWS);
	const struct cuda_seg *s = op->seg + t.seg;
	int64_t from, to, next;
	int stride = CUDA_MMA_STRIDE(dk), bytes = STEP * stride, query = k_lane() / 8 + 4 * k_warp(), position = k_lane() % 8 * 4, last = a->stages - 1, stage = 0;
	uint32_t q[DEEPEST][HALVES][4];
	float acc[HALVES][TILES][4] = { { { 0 } } };
	struct so_far now = { -INFINITY, 0 };
	void *const *pages = t.n ? s->pages : NULL;
	const void *page = NULL;        /* of the positions that are brought next, a step ahead */
	bool some = tile_span(op, &t, a->span, &from, &to);
	/* Latents of earlier steps are there already, those of this one when the kernel before has ended. */
	for (next = from; some && next < from + last * STEP && next < to && next + STEP <= s->pos; next += STEP)
		bring(stages + (next - from) / STEP * bytes, page_at(s, next, dk), STEP, dk);
	K_WAIT_BEFORE();
	if (!some)
		return;
	for (; next < from + last * STEP; next += STEP)
		if (next < to)
			bring(stages + (next - from) / STEP * bytes, page_at(s, next, dk), (int)(to - next), dk);
		else
			k_copy_commit();
	bring_queries(stages + last * bytes, a, &t, dk);
	__syncthreads();
	K_UNROLL for (int i = 0; i < DEEPEST; i++)
		K_UNROLL for (int h = 0; h < HALVES; h++)
			if (16 * (PARTS * i + k_warp() % PARTS) < dk)
				k_matrices(q[i][h], matrix_a(stages + last * bytes, stride, 16 * h, 16 * (PARTS * i + k_warp() % PARTS)));
	if (next < to)
		page = pages[next / CUDA_PAGE];
	wait_for(last - 1);
	__syncthreads();
	scores(score, q, stages, stride, dk);
	for (int64_t base = from; base < to; base += STEP, next += STEP) {
		const uint8_t *rows = stages + stage * bytes;
		int64_t sees = query < t.n ? s->pos + tile_row(&t, query) - s->row + 1 - base : 0;
		float f;
		__syncthreads();
		if (next < to)
			bring(stages + (stage ? stage - 1 : last) * bytes, (const uint16_t *)page + next % CUDA_PAGE * dk, (int)(to - next < STEP ? to - next : STEP), dk);
		else
			k_copy_commit();
		if (next + STEP < to)
			page = pages[(next + STEP) / CUDA_PAGE];
		f = weigh(&now, weight + query * WEIGHT + 2 * position, score + query * SCORE + position, a->scale2, (int)(sees < STEP ? sees : STEP) - position);
		if (k_lane() % 8 == 0)
			factor[query] = f;
		wait_for(last - 1);
		__syncthreads();
		values(acc, weight, factor, rows, stride, dv);
		/* Behind the last step for nothing: without a branch the two mix. */
		if (base + STEP < to)
			stage = stage == last ? 0 : stage + 1;
		scores(score, q, stages + stage * bytes, stride, dk);
	}
	if (k_lane() % 8 == 0 && query < t.n) {
		float *part = op->parts + (tile_at(op, &t, query) * op->n_span + blockIdx.z) * (CUDA_PART + op->dv);
		part[0] = now.top;
		part[1] = now.sum;
	}
	store_part(op, &t, acc);
}

K_KERNEL_EARLY(attend_mma, 1)
{
	K_SHARED(float, score, PARTS * ROWS * SCORE);
	K_SHARED(float, factor, ROWS);
	K_SHARED(uint8_t, weight, ROWS * WEIGHT);
	K_SHARED_MORE(stages);
	struct room m = { score, factor, weight, stages };
	if (a.attend.dk == CUDA_MMA_DK && a.attend.dv == CUDA_DV)
		attend_span(&a, &m, CUDA_MMA_DK, CUDA_DV);
	else
		attend_span(&a, &m, a.attend.dk, a.attend.dv);
}

/* --- merge ---------------------------------------------------------------------------------------------------------------- */

/* A warp eight rows of V_h and half of their columns; runs of a half. */
enum { OUT = CUDA_MERGE_OUT, OUT_TILES = OUT / 8, DEEP_RUNS = CUDA_DV / RUN / 2, O_STRIDE = STRIDE(CUDA_DV) };

K_DEV void load_v(uint32_t (*b)[4], const struct cuda_merge *op, int64_t head, int out, int r, bool bf16)
{
	int j = OUT * out + 8 * (k_warp() % OUT_TILES) + k_lane() / 4, first = k_warp() / OUT_TILES * DEEP_RUNS;
	K_UNROLL for (int run = 0; run < DEEP_RUNS; run++) {
		int c = RUN * (first + run) + 8 * (k_lane() % 4);
		load8(b[run], j < op->dv && c < r ? value_at(op->v, bf16, head * op->v_step + (int64_t)j * r + c) : NULL, bf16);
	}
}

/* c = a row tile of o times what load_v loaded. */
K_DEV void times_v(float *c, const uint8_t *o, uint32_t (*b)[4], int r)
{
	float even[4] = { 0 }, odd[4] = { 0 };
	K_UNROLL for (int run = 0; run < DEEP_RUNS; run++) {
		uint32_t x[2][4];
		if (RUN * (k_warp() / OUT_TILES * DEEP_RUNS + run) >= r)
			break;
		rows_run(x, rows_at(o, O_STRIDE, 0, k_warp() / OUT_TILES * DEEP_RUNS + run), O_STRIDE);
		mma16816(even, x[0], b[run]);
		mma16816(odd, x[1], b[run] + 2);
	}
	K_UNROLL for (int i = 0; i < 4; i++)
		c[i] = even[i] + odd[i];
}

K_DEV void merge_rows(const struct cuda_merge_mma *a, uint8_t *o, float *half, struct whole_query *known, int r, bool bf16)
{
	const struct cuda_merge *op = &a->merge;
	int64_t first = (int64_t)blockIdx.x * a->rows, head = blockIdx.y;
	int n = (int)(a->n - first < a->rows ? a->n - first : a->rows), step = CUDA_PART + r, c = (int)threadIdx.x / 2 * 4, odd = (int)threadIdx.x % 2;
	const float *parts = op->parts + (first * op->n_head + head) * op->n_span * step;
	int64_t row_step = (int64_t)op->n_head * op->n_span * step;
	uint32_t b[DEEP_RUNS][4];
	load_v(b, op, head, (int)blockIdx.z, r, bf16);
	K_WAIT_BEFORE();
	for (int row = k_warp(); row < n; row += CUDA_WARPS) {
		int spans = spans_of(op, op->first + first + row);
		struct so_far all = together(parts + row * row_step, spans, step);
		if (k_lane() == 0) {
			known[row].top = all.top;
			known[row].part = all.sum > 0 ? 1 / all.sum : 0;
			known[row].spans = spans;
		}
	}
	__syncthreads();
	for (int row = 0; row < 16; row++) {
		float v[4] = { 0 };
		struct k_u2 u = { { 0, 0 } };
		if (row < n) {
			if (c < r)
				gather(v, parts + row * row_step + odd * step, c, known[row].spans - odd, 2, step, known[row].top);
			K_UNROLL for (int k = 0; k < 4; k++)
				v[k] = (v[k] + __shfl_xor_sync(0xffffffffu, v[k], 1)) * known[row].part;
			u.w[0] = pack_round(v[0], v[1]);
			u.w[1] = pack_round(v[2], v[3]);
		}
		if (!odd)
			k_store8(o + row * O_STRIDE + 2 * c, u);
	}
	__syncthreads();
	for (int out = blockIdx.z; out * OUT < op->dv; out += a->cut) {
		float y[4];
		int tile = k_warp() % OUT_TILES;
		times_v(y, o, b, r);
		if (out != (int)blockIdx.z)
			__syncthreads();
		if ((out + a->cut) * OUT < op->dv)
			load_v(b, op, head, out + a->cut, r, bf16);
		if (k_warp() >= OUT_TILES)
			K_UNROLL for (int i = 0; i < 4; i++)
				half[tile * 128 + k_lane() * 4 + i] = y[i];
		__syncthreads();
		for (int i = 0; k_warp() < OUT_TILES && i < 4; i++) {
			int row = k_lane() / 4 + i / 2 * 8, j = out * OUT + tile * 8 + k_lane() % 4 * 2 + i % 2;
			if (row < n && j < op->dv)
				op->y[((first + row) * op->n_head + head) * op->dv + j] = y[i] + half[tile * 128 + k_lane() * 4 + i];
		}
	}
}

K_KERNEL_EARLY(merge_mma, 2)
{
	K_SHARED(uint8_t, o, 16 * O_STRIDE);
	K_SHARED(float, half, OUT_TILES * 128);
	K_SHARED(struct whole_query, known, 16);
	if (a.merge.r == CUDA_DV && a.merge.bf16)
		merge_rows(&a, o, half, known, CUDA_DV, true);
	else
		merge_rows(&a, o, half, known, a.merge.r, a.merge.bf16);
}
