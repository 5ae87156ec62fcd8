/* kda.cu: Kimi delta attention, all of a layer behind its projections:
 *
 *   raw q k v -- conv + silu, a thread a channel --> q, k normed, v, decay alpha
 *   state [dv][dk]: a warp a row, a lane four columns side by side: decay, correct by beta (v - S k), read by q --> o
 *   o -- norm * sigmoid(z) --> y
 *
 * One token a segment (decoding): kda does it all, a block a head of a segment, and reads and writes the state once: all of it is asked for before anything
 * else, and is on its way while q, k, v and alpha are made. A prompt: kda_prepare and kda_finish do what is each token's own, a block a (token, head); in
 * between kda_walk has each row of a state in the registers of a warp from the first token to the last. Both sum in the same order (sixteen rows at once
 * go up the tree that one goes up alone), so both give the same bits. */
#include "kernels/cuda/kda.h"

/* The reciprocal has an error of one unit in the last place. */
K_DEV float silu(float x) { return x * k_fast_rcp(1 + expf(-x)); }

/* Four taps are asked for together. */
K_DEV float conv_silu(const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel, int64_t t)
{
	float sum = 0;
	for (int from = 0; from < a->taps; from += 4) {
		float w[4], x[4];
		K_UNROLL
		for (int j = 0; j < 4; j++) {
			bool there = from + j < a->taps;
			w[j] = there ? a->conv_w[i][(int64_t)(from + j) * a->n_head * a->dim + channel] : 0;
			x[j] = there ? raw_at(a, s, i, channel, t - (a->taps - 1) + from + j) : 0;
		}
		K_UNROLL
		for (int j = 0; j < 4; j++)
			sum = fmaf(w[j], x[j], sum);
	}
	return silu(sum);
}

/* A row of a state: lane l has columns 4 l to 4 l + 3, and those 128 further. HELD rows at a time, if they have no more columns than FEW. */
enum { COLUMNS = CUDA_KDA_DIM / K_WARP, FEW = 4 * K_WARP, HELD = FEW / CUDA_WARPS };

K_DEV bool at_16(const void *p, int d) { return d % 4 == 0 && (uintptr_t)p % 16 == 0; }

/* Four of n values, 0 behind the last. */
K_DEV void load4(float *x, const float *from, int at, int n, bool wide)
{
	if (wide && at < n) {
		struct k_u4 u = k_load16(from + at);
		K_UNROLL
		for (int i = 0; i < 4; i++)
			x[i] = k_bits_f(u.w[i]);
		return;
	}
	K_UNROLL
	for (int i = 0; i < 4; i++)
		x[i] = at + i < n ? from[at + i] : 0;
}

K_DEV void store4(float *to, const float *x, int at, int n, bool wide)
{
	if (wide && at < n) {
		struct k_u4 u = { { k_f_bits(x[0]), k_f_bits(x[1]), k_f_bits(x[2]), k_f_bits(x[3]) } };
		k_store16(to + at, u);
		return;
	}
	K_UNROLL
	for (int i = 0; i < 4; i++)
		if (at + i < n)
			to[at + i] = x[i];
}

K_DEV void load_row(float *s, const float *row, int d, bool wide)
{
	K_UNROLL
	for (int m = 0; m < COLUMNS; m += 4)
		load4(s + m, row, m * K_WARP + 4 * k_lane(), d, wide);
}

K_DEV void store_row(float *row, const float *s, int d, bool wide)
{
	K_UNROLL
	for (int m = 0; m < COLUMNS; m += 4)
		store4(row, s + m, m * K_WARP + 4 * k_lane(), d, wide);
}

/* What a lane adds to S k of a row that decays; to S q of one that is corrected by e. Columns behind the last are 0 in all of these. */
K_DEV float decay_row(float *s, const float *alpha, const float *k, int columns)
{
	float seen = 0;
	K_UNROLL
	for (int m = 0; m < columns; m++) {
		s[m] *= alpha[m];
		seen = fmaf(s[m], k[m], seen);
	}
	return seen;
}

K_DEV float correct_row(float *s, const float *k, const float *q, float e, int columns)
{
	float out = 0;
	K_UNROLL
	for (int m = 0; m < columns; m++) {
		s[m] = fmaf(e, k[m], s[m]);
		out = fmaf(s[m], q[m], out);
	}
	return out;
}

/* One token: the row goes on, and its o is returned. */
K_DEV float step_row(float *s, const float *q, const float *k, const float *alpha, float v, float beta)
{
	float e = beta * (v - k_warp_sum(decay_row(s, alpha, k, COLUMNS)));
	return k_warp_sum(correct_row(s, k, q, e, COLUMNS));
}

/* HELD sums over the lanes at once, each by the tree of k_warp_sum: afterwards lane l has that of v[l / 2]. */
K_DEV float held_sums(float *v)
{
	K_UNROLL
	for (int level = 1; level <= 4; level++) {
		int m = HELD >> level;
		bool upper = k_lane() & 2 * m;
		K_UNROLL
		for (int i = 0; i < HELD / 2; i++) {
			if (i >= m)
				continue;
			float mine = upper ? v[i + m] : v[i], other = upper ? v[i] : v[i + m];
			v[i] = mine + __shfl_xor_sync(0xffffffffu, other, 2 * m);
		}
	}
	return v[0] + __shfl_xor_sync(0xffffffffu, v[0], 1);
}

/* q and k of a token before their norm, v and alpha, by all threads of a block; what q and k are to be multiplied with. */
struct token { float *q, *k, *v, *alpha; };
struct norms { float q, k; };

/* Of the squares that each thread has seen. Has a barrier: what is prepared may be read behind it. */
K_DEV struct norms norms_of(float qq, float kk, float *part, int d)
{
	struct norms n = { 0, 0 };
	qq = k_warp_sum(qq);
	kk = k_warp_sum(kk);
	if (k_lane() == 0) {
		part[k_warp()] = qq;
		part[CUDA_WARPS + k_warp()] = kk;
	}
	__syncthreads();
	K_UNROLL
	for (int i = 0; i < CUDA_WARPS; i++) {
		n.q += part[i];
		n.k += part[CUDA_WARPS + i];
	}
	n.q = 1 / (sqrtf(n.q + 1e-6f) * sqrtf((float)d));
	n.k = 1 / sqrtf(n.k + 1e-6f);
	return n;
}

/* Thread i has q and v of channel i, or k and alpha of channel i - d. */
K_DEV struct norms prepare(const struct cuda_kda *a, const struct cuda_seg *s, int64_t head, int64_t t, struct token x, float *part, bool last)
{
	int d = a->dim;
	float qq = 0, kk = 0;
	for (int i = (int)threadIdx.x; i < 2 * d; i += CUDA_THREADS) {
		int c = i < d ? i : i - d;
		int64_t channel = head * d + c;
		if (i < d) {
			x.q[c] = conv_silu(a, s, 0, channel, t);
			x.v[c] = conv_silu(a, s, 2, channel, t);
			qq = fmaf(x.q[c], x.q[c], qq);
		} else {
			x.k[c] = conv_silu(a, s, 1, channel, t);
			x.alpha[c] = gate(a, head, channel, s->row + t);
			kk = fmaf(x.k[c], x.k[c], kk);
		}
		if (last && i < d) {
			leave_tail_of(a, s, 0, channel);
			leave_tail_of(a, s, 2, channel);
		} else if (last) {
			leave_tail_of(a, s, 1, channel);
		}
	}
	return norms_of(qq, kk, part, d);
}

/* Taps of a channel for a token alone: SHORT of them, all asked for before any is used. */
enum { SHORT = 4 };
struct taps { float w[SHORT], x[SHORT]; };

K_DEV void load_taps(struct taps *y, const struct cuda_kda *a, const struct cuda_seg *s, const float *raw, const float *w, int i, int64_t channel, int taps)
{
	int64_t P = (int64_t)a->n_head * a->dim;
	int keep = taps - 1;
	K_UNROLL
	for (int j = 0; j < SHORT; j++) {
		int tap = j - (SHORT - taps);
		y->w[j] = w[(tap < 0 ? 0 : tap) * P + channel];
		y->x[j] = j == SHORT - 1 ? raw[s->row * P + channel] : tap < 0 ? 0 : s->conv[(i * keep + tap) * P + channel];
		y->w[j] = tap < 0 ? 0 : y->w[j];
	}
}

/* silu of the sum; the tail moves on by one. */
K_DEV float use_taps(const struct taps *y, const struct cuda_kda *a, const struct cuda_seg *s, int i, int64_t channel, int taps)
{
	int64_t P = (int64_t)a->n_head * a->dim;
	int keep = taps - 1;
	float sum = 0;
	K_UNROLL
	for (int j = 0; j < SHORT; j++)
		sum = fmaf(y->w[j], y->x[j], sum);
	K_UNROLL
	for (int j = 1; j < SHORT; j++)
		if (j - (SHORT - taps) > 0)
			s->conv[(i * keep + j - (SHORT - taps) - 1) * P + channel] = y->x[j];
	return silu(sum);
}

/* As prepare, for the only token of a segment, with SHORT taps at most and as many threads as channels of q and k. */
K_DEV struct norms prepare_alone(const struct cuda_kda *a, const struct cuda_seg *s, int64_t head, struct token x, float *part, int d, int taps)
{
	int i = (int)threadIdx.x, c = i < d ? i : i - d;
	int64_t channel = head * d + c;
	struct taps first = { { 0 }, { 0 } }, second = { { 0 }, { 0 } };
	float qq = 0, kk = 0, y, forget = 0;
	if (i < 2 * d)
		load_taps(&first, a, s, i < d ? a->raw[0] : a->raw[1], i < d ? a->conv_w[0] : a->conv_w[1], i >= d, channel, taps);
	if (i < d)
		load_taps(&second, a, s, a->raw[2], a->conv_w[2], 2, channel, taps);
	else if (i < 2 * d)
		forget = gate(a, head, channel, s->row);
	if (i < 2 * d) {
		y = use_taps(&first, a, s, i >= d, channel, taps);
		(i < d ? x.q : x.k)[c] = y;
		(i < d ? x.v : x.alpha)[c] = i < d ? use_taps(&second, a, s, 2, channel, taps) : forget;
		qq = i < d ? y * y : 0;
		kk = i < d ? 0 : y * y;
	}
	return norms_of(qq, kk, part, d);
}

/* A lane's columns of q, k and alpha, from shared memory. */
K_DEV void load_columns(float *q, float *k, float *alpha, const struct token *x, struct norms n, int d)
{
	load_row(q, x->q, d, d % 4 == 0);
	load_row(k, x->k, d, d % 4 == 0);
	load_row(alpha, x->alpha, d, d % 4 == 0);
	K_UNROLL
	for (int m = 0; m < COLUMNS; m++) {
		q[m] *= n.q;
		k[m] *= n.k;
	}
}

/* Channel c of y from channel c of o, by all threads of a block. What it wants besides is asked for early. */
struct gated { float z, w; };

K_DEV struct gated load_gated(const struct cuda_kda *a, int64_t row, int64_t head)
{
	int c = (int)threadIdx.x < a->dim ? (int)threadIdx.x : 0;
	struct gated g = { a->z[(row * a->n_head + head) * a->dim + c], a->o_norm[c] };
	return g;
}

K_DEV void finish(const struct cuda_kda *a, int64_t row, int64_t head, float o, struct gated g, float *part)
{
	int c = (int)threadIdx.x;
	float norm = sqrtf(k_block_sum(o * o, part) / (float)a->dim + a->eps);
	if (c < a->dim)
		a->y[(row * a->n_head + head) * a->dim + c] = g.w * (o / norm) * k_sigmoid(g.z);
}

/* Row i of those that a warp holds is w + CUDA_WARPS i of the state. */
K_DEV int held_row(int i) { return k_warp() + CUDA_WARPS * i; }

/* full, known where it is called: FEW rows and columns at a multiple of 16 bytes, so that nothing is left to ask. */
K_DEV void load_held(float s[HELD][4], const float *state, int d, bool full)
{
	bool wide = full || at_16(state, d);
	K_UNROLL
	for (int i = 0; i < HELD; i++)
		load4(s[i], state + held_row(i) * d, 4 * k_lane(), full || held_row(i) < d ? d : 0, wide);
}

K_DEV void store_held(float *state, float s[HELD][4], int d, bool full)
{
	bool wide = full || at_16(state, d);
	K_UNROLL
	for (int i = 0; i < HELD; i++)
		store4(state + held_row(i) * d, s[i], 4 * k_lane(), full || held_row(i) < d ? d : 0, wide);
}

/* A token of all rows at once. e: shared memory by warp and row. */
K_DEV void step_held(float s[HELD][4], float *o, const struct token *x, struct norms n, float beta, float *e, int d)
{
	float q[COLUMNS], k[COLUMNS], alpha[COLUMNS], sum[HELD], mine;
	int j = held_row(k_lane() / 2);
	load_columns(q, k, alpha, x, n, d < FEW ? d : FEW);
	K_UNROLL
	for (int i = 0; i < HELD; i++)
		sum[i] = decay_row(s[i], alpha, k, 4);
	mine = held_sums(sum);
	if (k_lane() % 2 == 0)
		e[k_warp() * HELD + k_lane() / 2] = beta * ((j < d ? x->v[j] : 0) - mine);
	__syncthreads();
	K_UNROLL
	for (int i = 0; i < HELD; i++)
		sum[i] = correct_row(s[i], k, q, e[k_warp() * HELD + i], 4);
	mine = held_sums(sum);
	if (k_lane() % 2 == 0 && j < d)
		o[j] = mine;
}

/* A head of a token alone whose rows are held. */
K_DEV void alone(const struct cuda_kda *a, const struct cuda_seg *s, int64_t head, struct token x, float *o, float *e, float *part, int d, bool full)
{
	float *state = s->state + head * d * d, beta, held[HELD][4];
	int c = (int)threadIdx.x;
	struct norms n;
	struct gated g;
	if (a->early) {
		load_held(held, state, d, full);
		K_WAIT_BEFORE();
	} else {
		K_WAIT_BEFORE();
		load_held(held, state, d, full);
	}
	g = load_gated(a, s->row, head);
	beta = a->beta[s->row * a->n_head + head];
	n = full || a->taps <= SHORT ? prepare_alone(a, s, head, x, part, d, full ? SHORT : a->taps) : prepare(a, s, head, 0, x, part, true);
	step_held(held, o, &x, n, k_sigmoid(beta), e, d);
	store_held(state, held, d, full);
	__syncthreads();
	finish(a, s->row, head, c < d ? o[c] : 0, g, part);
}

/* One whose rows come one after the other. */
K_DEV void alone_wide(const struct cuda_kda *a, const struct cuda_seg *s, int64_t head, struct token x, float *o, float *part)
{
	int c = (int)threadIdx.x, d = a->dim;
	float *state = s->state + head * d * d, q[COLUMNS], k[COLUMNS], alpha[COLUMNS];
	K_WAIT_BEFORE();
	struct norms n = prepare(a, s, head, 0, x, part, true);
	load_columns(q, k, alpha, &x, n, d);
	for (int j = k_warp(); j < d; j += CUDA_WARPS) {
		float *row = state + j * d, r[COLUMNS], out;
		load_row(r, row, d, at_16(row, d));
		out = step_row(r, q, k, alpha, x.v[j], k_sigmoid(a->beta[s->row * a->n_head + head]));
		store_row(row, r, d, at_16(row, d));
		if (k_lane() == 0)
			o[j] = out;
	}
	__syncthreads();
	finish(a, s->row, head, c < d ? o[c] : 0, load_gated(a, s->row, head), part);
}

K_KERNEL_EARLY(kda, 2)
{
	K_SHARED(float, q, CUDA_KDA_DIM);
	K_SHARED(float, k, CUDA_KDA_DIM);
	K_SHARED(float, v, CUDA_KDA_DIM);
	K_SHARED(float, alpha, CUDA_KDA_DIM);
	K_SHARED(float, o, CUDA_KDA_DIM);
	K_SHARED(float, e, FEW);
	K_SHARED(float, part, 2 * CUDA_WARPS);
	const struct cuda_seg s = a.seg[blockIdx.y];
	struct token x = { q, k, v, alpha };
	if (a.dim == FEW && a.taps == SHORT && at_16(s.state, FEW))
		alone(&a, &s, blockIdx.x, x, o, e, part, FEW, true);
	else if (a.dim <= FEW)
		alone(&a, &s, blockIdx.x, x, o, e, part, a.dim, false);
	else
		alone_wide(&a, &s, blockIdx.x, x, o, part);
}

/* Rows of a segment in this round that no chunk has. */
K_DEV int64_t singles_of(const struct cuda_kda_prompt *p, const struct cuda_seg *s)
{
	struct stretch x = stretch_of(p, s);
	return x.from < x.to ? x.begin - x.from + x.to - x.end : 0;
}

/* Row i of those in this round that no chunk has, its segment; NULL behind the last. */
K_DEV const struct cuda_seg *single_of(const struct cuda_kda_prompt *p, int64_t i, int64_t *row)
{
	for (int k = 0; k < p->n_seg; k++) {
		struct stretch x = stretch_of(p, p->op.seg + k);
		int64_t before = x.begin - x.from, behind = x.to - x.end;
		if (x.from < x.to && i < before + behind) {
			*row = i < before ? x.from + i : x.end + i - before;
			return p->op.seg + k;
		}
		i -= x.from < x.to ? before + behind : 0;
	}
	return NULL;
}

/* ready: q, k, v, alpha and o, d floats each. */
K_KERNEL(kda_prepare)
{
	K_SHARED(float, q, CUDA_KDA_DIM);
	K_SHARED(float, k, CUDA_KDA_DIM);
	K_SHARED(float, v, CUDA_KDA_DIM);
	K_SHARED(float, alpha, CUDA_KDA_DIM);
	K_SHARED(float, part, 2 * CUDA_WARPS);
	const struct cuda_kda_prompt *p = &a.prompt;
	int64_t row = 0, head = blockIdx.y;
	const struct cuda_seg *s = single_of(p, blockIdx.x, &row);
	int c = (int)threadIdx.x, d = p->op.dim;
	struct token x = { q, k, v, alpha };
	float *ready;
	if (!s)
		return;
	struct norms n = prepare(&p->op, s, head, row - s->row, x, part, false);
	ready = ready_at(p, blockIdx.x, head);
	if (c < d) {
		ready[c] = q[c] * n.q;
		ready[d + c] = k[c] * n.k;
		ready[2 * d + c] = v[c];
		ready[3 * d + c] = alpha[c];
	}
}

K_KERNEL(kda_walk)
{
	const struct cuda_kda_prompt *p = &a.prompt;
	const struct cuda_seg *s = p->op.seg + blockIdx.z;
	int d = p->op.dim, j = (int)blockIdx.y * CUDA_WARPS + k_warp();
	struct stretch x = stretch_of(p, s);
	int64_t head = blockIdx.x, from = p->behind ? x.end : x.from, to = p->behind ? x.to : x.begin, single = p->behind ? x.begin - x.from : 0;
	float *row = s->state + (head * d + j) * d, r[COLUMNS], q[COLUMNS], k[COLUMNS], alpha[COLUMNS];
	if (j >= d || from >= to)
		return;
	for (int k = 0; k < (int)blockIdx.z; k++)
		single += singles_of(p, p->op.seg + k);
	load_row(r, row, d, at_16(row, d));
	for (int64_t t = from; t < to; t++) {
		float *ready = ready_at(p, single + t - from, head), out;
		load_row(q, ready, d, d % 4 == 0);
		load_row(k, ready + d, d, d % 4 == 0);
		load_row(alpha, ready + 3 * d, d, d % 4 == 0);
		out = step_row(r, q, k, alpha, ready[2 * d + j], k_sigmoid(p->op.beta[t * p->op.n_head + head]));
		if (k_lane() == 0)
			ready[4 * d + j] = out;
	}
	store_row(row, r, d, at_16(row, d));
}

/* The tail changes when the segment's last token is done; nobody reads it any more then. */
K_KERNEL(kda_finish)
{
	K_SHARED(float, part, CUDA_WARPS);
	const struct cuda_kda_prompt *p = &a.prompt;
	int64_t row = 0, head = blockIdx.y;
	const struct cuda_seg *s = single_of(p, blockIdx.x, &row);
	int c = (int)threadIdx.x, d = p->op.dim;
	if (!s)
		return;
	finish(&p->op, row, head, c < d ? ready_at(p, blockIdx.x, head)[4 * d + c] : 0, load_gated(&p->op, row, head), part);
	if (c < d && row == s->row + s->n - 1)
		leave_tail(&p->op, s, head * d + c);
}
