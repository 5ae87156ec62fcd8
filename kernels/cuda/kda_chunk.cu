/* kda_chunk.cu: delta attention over a prompt in chunks of CUDA_CHUNK tokens, on tensor cores.
 *
 * Within a chunk, with G_t the product of the decays up to token t (a channel at a time) and S the state before it:
 *
 *   e_t = beta_t (v_t - S (G_t k_t) - sum over s < t of a_ts e_s)        a_ts = sum over channels of k_t k_s G_t / G_s
 *   o_t = S (G_t q_t) + sum over s <= t of b_ts e_s                      b_ts = sum over channels of q_t k_s G_t / G_s
 *   S  <- S G_end + sum over s of e_s (k_s G_end / G_s)^T
 *
 * Every quotient of decays is a product of decays between two tokens, built up token by token: at most 1, never the quotient itself, so that nothing
 * overflows however fast a channel forgets. The recurrence for e is a triangular system of 16 rows: E = W (V - S (G k)), W = (1 + beta a)^-1 beta.
 *
 *   kda_chunk       a block a (chunk, head), all at once:   G k, G q, k G_end / G, v, W, b, G_end --> a record
 *   kda_chunk_walk  a block a (head, segment), chunk after chunk:   a warp has 16 rows of the state in registers, in f32
 *
 * Products are in bf16, sums in f32. A state's tile is c of one product and, rounded, a of the next (mma.h), so it never leaves the registers; the
 * columns go as in mma.cu. In a record everything lies as the lanes want it:
 *
 *   gk, gq   [run of 32 channels][tile of tokens][lane] 8 channels of a token        bf16
 *   end      [run][pair of tiles of channels][lane] 4 tokens of 2 channels           bf16
 *   w, b     [lane] 4 tokens for 2 tokens                                            bf16
 *   v        [16 channels][half][lane] 4 tokens of a channel                         f32
 *   decay    [channel]                                                               f32
 *
 * Token 4 q + 2 j + i of a chunk is column 2 q + i of tile j.
 *
 * Chunks lie on a grid of positions. Rows that do not fill one are walked token by token (kda.cu), as when they come one at a time: so a prompt that is cut
 * on the grid has the same bits, and one cut elsewhere differs by the rounding of the chunk that was cut. */
#include "kernels/cuda/kda.h"
#include "kernels/cuda/mma.h"

enum { C = CUDA_CHUNK, DIM = CUDA_CHUNK_DIM, RUNS = DIM / 32, TAPS = CUDA_CHUNK_TAPS };

struct record { int64_t gk, gq, end, w, b, v, decay, bytes; };

K_DEV struct record record_of(int d)
{
	struct record r;
	int64_t at = 2 * C * (int64_t)d;
	r.gk = 0;
	r.gq = at;
	r.end = 2 * at;
	r.w = 3 * at;
	r.b = r.w + 2 * C * C;
	r.v = r.b + 2 * C * C;
	r.decay = r.v + 4 * C * (int64_t)d;
	r.bytes = r.decay + 4 * (int64_t)d;
	return r;
}

/* --- a chunk by itself ---------------------------------------------------------------------------------------------------- */

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

/* n tokens of a channel from token t on, convolved; each raw value is read once. */
K_DEV void conv_run(float *y, const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel, int64_t t, int n, int step)
{
	float w[TAPS], x[TAPS];
	for (int j = 0; j < TAPS; j++) {
		int tap = j - (TAPS - a->taps);
		w[j] = tap < 0 ? 0 : a->conv_w[i][(int64_t)tap * a->n_head * a->dim + channel];
		x[j] = tap < 0 || j == TAPS - 1 ? 0 : raw_at(a, s, i, channel, t - (TAPS - 1) + j);
	}
	for (int k = 0; k < n; k++) {
		float sum = 0;
		x[TAPS - 1] = raw_at(a, s, i, channel, t + k);
		for (int j = 0; j < TAPS; j++)
			sum = fmaf(w[j], x[j], sum);
		y[k * step] = k_silu(sum);
		for (int j = 0; j + 1 < TAPS; j++)
			x[j] = x[j + 1];
	}
}

/* Half of a chunk's tokens of a channel: q, k and the decay to shared memory, v to the record. */
K_DEV void chunk_conv(const struct cuda_kda *a, const struct cuda_seg *s, int64_t row, int64_t head, float *q, float *k, float *alpha, float *v)
{
	int c = (int)threadIdx.x % DIM, half = (int)threadIdx.x / DIM, d = a->dim, first = half * C / 2;
	int64_t channel = head * d + c, t = row - s->row + first;
	float run[C / 2];
	if (c >= d)
		return;
	conv_run(q + first * d + c, a, s, 0, channel, t, C / 2, d);
	conv_run(k + first * d + c, a, s, 1, channel, t, C / 2, d);
	conv_run(run, a, s, 2, channel, t, C / 2, 1);
	for (int j = 0; j < C / 2; j++)
		alpha[(first + j) * d + c] = gate(a, head, channel, row + first + j);
	for (int j = 0; j < C / 2; j += 4) {
		struct k_u4 u = { { k_f_bits(run[j]), k_f_bits(run[j + 1]), k_f_bits(run[j + 2]), k_f_bits(run[j + 3]) } };
		k_store16(v + ((c / 8 * 32) + c % 8 * 4 + (first + j) / 4) * 4, u);
	}
}

/* A warp has tokens w and w + 8. */
K_DEV void chunk_norm(float *q, float *k, int d)
{
	for (int t = k_warp(); t < C; t += CUDA_WARPS) {
		float qq = 0, kk = 0;
		for (int c = k_lane(); c < d; c += K_WARP) {
			qq = fmaf(q[t * d + c], q[t * d + c], qq);
			kk = fmaf(k[t * d + c], k[t * d + c], kk);
		}
		qq = 1 / (sqrtf(k_warp_sum(qq) + 1e-6f) * sqrtf((float)d));
		kk = 1 / sqrtf(k_warp_sum(kk) + 1e-6f);
		for (int c = k_lane(); c < d; c += K_WARP) {
			q[t * d + c] *= qq;
			k[t * d + c] *= kk;
		}
	}
}

/* One half of the block goes forward, the other back from the end. */
K_DEV void chunk_decays(uint8_t *out, const struct record *r, const float *q, const float *k, const float *alpha, int d)
{
	int c = (int)threadIdx.x % DIM, run = c / 32, quad = c % 32 / 8;
	float g = 1, end[C];
	if (c >= d)
		return;
	if (threadIdx.x < DIM) {
		for (int t = 0; t < C; t++) {
			int64_t at = (((run * 2 + t % 4 / 2) * 32) + (2 * (t / 4) + t % 2) * 4 + quad) * 8 + c % 8;
			g *= alpha[t * d + c];
			((uint16_t *)(out + r->gk))[at] = (uint16_t)pack_round(g * k[t * d + c], 0);
			((uint16_t *)(out + r->gq))[at] = (uint16_t)pack_round(g * q[t * d + c], 0);
		}
		((float *)(out + r->decay))[c] = g;
		return;
	}
	for (int t = C - 1; t >= 0; t--) {
		end[t] = g * k[t * d + c];
		g *= alpha[t * d + c];
	}
	for (int t = 0; t < C; t += 4) {
		uint32_t *to = (uint32_t *)(out + r->end) + ((run * 2 + c % 8 / 4) * 32 + (2 * quad + c % 2) * 4 + t / 4) * 4 + c % 4 / 2 * 2;
		to[0] = pack_round(end[t], end[t + 1]);
		to[1] = pack_round(end[t + 2], end[t + 3]);
	}
}

/* 32 sums over the lanes at once: afterwards lane l has that of v[l]. */
K_DEV float sums_over_lanes(float *v)
{
	for (int m = K_WARP / 2; m > 0; m /= 2) {
		bool upper = k_lane() & m;
		for (int i = 0; i < m; i++) {
			float mine = upper ? v[i + m] : v[i], other = upper ? v[i] : v[i + m];
			v[i] = mine + __shfl_xor_sync(0xffffffffu, other, m);
		}
	}
	return v[0];
}

/* a[t][s] and b[t][s] of column s, by a warp: k_s goes on through the decays. */
K_DEV void chunk_pairs(float *a, float *b, const float *q, const float *k, const float *alpha, int s, int d)
{
	float sum[2 * C], g[DIM / K_WARP];
	for (int m = 0; m < DIM / K_WARP; m++)
		g[m] = k_lane() + m * K_WARP < d ? k[s * d + k_lane() + m * K_WARP] : 0;
	for (int t = 0; t < C; t++) {
		sum[t] = sum[C + t] = 0;
		for (int m = 0; m < DIM / K_WARP && t >= s; m++) {
			int c = k_lane() + m * K_WARP;
			if (c >= d)
				continue;
			g[m] *= t > s ? alpha[t * d + c] : 1;
			sum[t] = fmaf(g[m], k[t * d + c], sum[t]);
			sum[C + t] = fmaf(g[m], q[t * d + c], sum[C + t]);
		}
	}
	float mine = sums_over_lanes(sum);
	(k_lane() < C ? a : b)[k_lane() % C * C + s] = mine;
}

/* Column j of (1 + beta a)^-1, by a thread. */
K_DEV void chunk_inverse(float *w, const float *a, const float *beta, int j)
{
	float x[C];
	for (int t = 0; t < C; t++) {
		float sum = 0;
		for (int s = 0; s < t; s++)
			sum = fmaf(a[t * C + s], x[s], sum);
		x[t] = t == j ? 1 : t > j ? -beta[t] * sum : 0;
		w[t * C + j] = x[t] * beta[j];
	}
}

K_KERNEL_MANY(kda_chunk, 4)
{
	K_SHARED(float, q, C * DIM);
	K_SHARED(float, k, C * DIM);
	K_SHARED(float, alpha, C * DIM);
	K_SHARED(float, own, C * C);
	K_SHARED(float, read, C * C);
	K_SHARED(float, w, C * C);
	K_SHARED(float, beta, C);
	const struct cuda_kda_prompt *p = &a.prompt;
	int64_t row = 0, head = blockIdx.y;
	const struct cuda_seg *s = chunk_of(p, blockIdx.x, &row);
	struct record r = record_of(p->op.dim);
	uint8_t *out;
	int i = (int)threadIdx.x, d = p->op.dim;
	if (!s)
		return;
	out = (uint8_t *)ready_at(p, row, head);
	chunk_conv(&p->op, s, row, head, q, k, alpha, (float *)(out + r.v));
	if (i < C)
		beta[i] = k_sigmoid(p->op.beta[(row + i) * p->op.n_head + head]);
	__syncthreads();
	chunk_norm(q, k, d);
	__syncthreads();
	chunk_decays(out, &r, q, k, alpha, d);
	/* Short and long columns, so that all warps have the same work. */
	chunk_pairs(own, read, q, k, alpha, k_warp(), d);
	chunk_pairs(own, read, q, k, alpha, C - 1 - k_warp(), d);
	__syncthreads();
	if (i < C)
		chunk_inverse(w, own, beta, i);
	__syncthreads();
	int t = i / C, from = i % C, at = (2 * (t / 4) + t % 2) * 4 + from / 4;
	((uint16_t *)(out + r.w))[at * 8 + t % 4 / 2 * 4 + from % 4] = (uint16_t)pack_round(w[i], 0);
	((uint16_t *)(out + r.b))[at * 8 + t % 4 / 2 * 4 + from % 4] = (uint16_t)pack_round(read[i], 0);
}

/* --- chunk after chunk ---------------------------------------------------------------------------------------------------- */

/* Rows 16 w + lane / 4 and + 8 of a head's state: tile j of a run has channels 32 run + 8 (lane % 4) + 2 j + 0, 1. */
struct state { float c[RUNS][4][4]; };

K_DEV float *state_at(float *state, int d, int run, int j, int i)
{
	return state + (16 * k_warp() + k_lane() / 4 + i / 2 * 8) * d + 32 * run + k_lane() % 4 * 8 + 2 * j + i % 2;
}

K_DEV void load_state(struct state *s, float *from, int d)
{
	for (int r = 0; r < RUNS; r++)
		for (int j = 0; j < 4; j++)
			for (int i = 0; i < 4; i++)
				s->c[r][j][i] = 32 * r < d ? *state_at(from, d, r, j, i) : 0;
}

K_DEV void store_state(float *to, const struct state *s, int d)
{
	for (int r = 0; r < RUNS; r++)
		for (int j = 0; j < 4; j++)
			for (int i = 0; i < 4 && 32 * r < d; i++)
				*state_at(to, d, r, j, i) = s->c[r][j][i];
}

/* o of 16 rows and all tokens of a chunk; the state goes on. */
K_DEV void chunk_step(struct state *s, float o[2][4], const uint8_t *in, const struct record *r, int d)
{
	float seen[2][4] = { { 0 } }, e[2][4] = { { 0 } };
	uint32_t f[4];
	int lane = k_lane();
	for (int run = 0; run < RUNS && 32 * run < d; run++) {
		uint32_t a0[4], a1[4];
		a_from_c(a0, s->c[run][0], s->c[run][1]);
		a_from_c(a1, s->c[run][2], s->c[run][3]);
		for (int j = 0; j < 2; j++) {
			struct k_u4 gk = k_load16(in + r->gk + ((run * 2 + j) * 32 + lane) * 16), gq = k_load16(in + r->gq + ((run * 2 + j) * 32 + lane) * 16);
			mma16816(seen[j], a0, gk.w);
			mma16816(seen[j], a1, gk.w + 2);
			mma16816(o[j], a0, gq.w);
			mma16816(o[j], a1, gq.w + 2);
		}
	}
	for (int half = 0; half < 2; half++) {
		struct k_u4 v = k_load16(in + r->v + ((2 * k_warp() + half) * 32 + lane) * 16);
		for (int i = 0; i < 4; i++)
			seen[i / 2][2 * half + i % 2] = k_bits_f(v.w[i]) - seen[i / 2][2 * half + i % 2];
	}
	struct k_u4 w = k_load16(in + r->w + lane * 16), b = k_load16(in + r->b + lane * 16);
	a_from_c(f, seen[0], seen[1]);
	mma16816(e[0], f, w.w);
	mma16816(e[1], f, w.w + 2);
	a_from_c(f, e[0], e[1]);
	mma16816(o[0], f, b.w);
	mma16816(o[1], f, b.w + 2);
	for (int run = 0; run < RUNS && 32 * run < d; run++)
		for (int j = 0; j < 4; j += 2) {
			struct k_u4 end = k_load16(in + r->end + ((run * 2 + j / 2) * 32 + lane) * 16);
			struct k_u4 decay = k_load16(in + r->decay + (32 * run + lane % 4 * 8 + 2 * j) * 4);
			for (int m = 0; m < 2; m++) {
				float *c = s->c[run][j + m];
				for (int i = 0; i < 4; i++)
					c[i] *= k_bits_f(decay.w[2 * m + i % 2]);
				mma16816(c, f, end.w + 2 * m);
			}
		}
}

/* squares[warp][token]: of the warp's rows of o. */
K_DEV void chunk_squares(float *squares, float o[2][4])
{
	for (int j = 0; j < 2; j++)
		for (int i = 0; i < 2; i++) {
			float sum = fmaf(o[j][i], o[j][i], o[j][i + 2] * o[j][i + 2]);
			for (int m = 4; m < K_WARP; m *= 2)
				sum += __shfl_xor_sync(0xffffffffu, sum, m);
			if (k_lane() < 4)
				squares[k_warp() * C + 4 * k_lane() + 2 * j + i] = sum;
		}
}

/* Where token i of the lane's four has its first channel, in y and z; the second is 8 behind. */
K_DEV int64_t channel_at(const struct cuda_kda *a, int64_t row, int64_t head, int i)
{
	return ((row + 4 * (k_lane() % 4) + i) * a->n_head + head) * a->dim + 16 * k_warp() + k_lane() / 4;
}

/* Asked for before the products, so that it is there behind them. */
K_DEV void load_z(float z[4][2], const struct cuda_kda *a, int64_t row, int64_t head)
{
	for (int i = 0; i < 4; i++)
		for (int half = 0; half < 2; half++)
			z[i][half] = a->z[channel_at(a, row, head, i) + 8 * half];
}

K_DEV void chunk_finish(const struct cuda_kda *a, int64_t row, int64_t head, const float *squares, float o[2][4], float z[4][2])
{
	int d = a->dim, c = 16 * k_warp() + k_lane() / 4;
	for (int i = 0; i < 4; i++) {
		int token = 4 * (k_lane() % 4) + i;
		int64_t at = channel_at(a, row, head, i);
		float sum = 0, norm;
		for (int w = 0; 16 * w < d; w++)
			sum += squares[w * C + token];
		norm = sqrtf(sum / (float)d + a->eps);
		for (int half = 0; half < 2; half++)
			a->y[at + 8 * half] = a->o_norm[c + 8 * half] * (o[i / 2][2 * half + i % 2] / norm) * k_sigmoid(z[i][half]);
	}
}

K_DEV void chunk_copy(uint8_t *to, const uint8_t *from, int64_t bytes, bool there)
{
	for (int64_t i = 16 * threadIdx.x; there && i < bytes; i += 16 * CUDA_THREADS)
		k_copy16(to + i, from + i, true);
	k_copy_commit();
}

K_KERNEL(kda_chunk_walk)
{
	enum { STAGE = 10 * C * DIM + 4 * C * C + 4 * DIM };
	K_SHARED(uint8_t, stage, 2 * STAGE);
	K_SHARED(float, squares, CUDA_WARPS * C);
	const struct cuda_kda_prompt *p = &a.prompt;
	const struct cuda_seg *seg = p->op.seg + blockIdx.y;
	struct stretch x = stretch_of(p, seg);
	struct record r = record_of(p->op.dim);
	int64_t head = blockIdx.x, n = (x.end - x.begin) / C;
	int d = p->op.dim;
	bool mine = 16 * k_warp() < d;
	float *at = seg->state + head * d * d;
	struct state s;
	if (n == 0)
		return;
	if (mine)
		load_state(&s, at, d);
	chunk_copy(stage, (const uint8_t *)ready_at(p, x.begin, head), r.bytes, true);
	for (int64_t i = 0; i < n; i++) {
		int64_t row = x.begin + C * i;
		float o[2][4] = { { 0 } }, z[4][2];
		k_copy_wait(0);
		__syncthreads();
		chunk_copy(stage + (i + 1) % 2 * STAGE, (const uint8_t *)ready_at(p, row + C, head), r.bytes, i + 1 < n);
		if (mine) {
			load_z(z, &p->op, row, head);
			chunk_step(&s, o, stage + i % 2 * STAGE, &r, d);
			chunk_squares(squares, o);
		}
		__syncthreads();
		if (mine)
			chunk_finish(&p->op, row, head, squares, o, z);
	}
	if (mine)
		store_state(at, &s, d);
	if ((int)threadIdx.x < d && x.end == seg->row + seg->n)
		leave_tail(&p->op, seg, head * d + threadIdx.x);
}
