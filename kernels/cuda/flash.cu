/* flash.cu: attention on tensor cores where each query head has few channels (FlashAttention, arXiv:2307.08691): queries (row, head of the group) of one segment
 * and key head over a span of positions, STEP of them at a time. A warp has 16 queries: scores = queries (registers) x keys -> running maximum and sum -> weights
 * -> x values, sums in registers.
 *
 *   flash   many queries: a block CUDA_FLASH_QUERIES of them; keys and values come asynchronously to shared memory, a step ahead, and every warp reads all
 *   few     at most 16: a warp a span, straight from the pages; no warp waits for another
 *   parts   the spans of a query in order: a warp a query
 *
 * The first two give a span the same bits. Latent attention over a long stretch of a prompt is that too, with a key head a query head, once mla_expand has made keys
 * and values of every head from the latents; parts are carried from one run of positions to the next.
 *
 * Weights are a fragment of scores that was rounded to bf16 (mma.h): nothing of them leaves the registers. Lane l has columns of rows l / 4 and + 8. What a query
 * does not see weighs 0, and steps lie on a grid of absolute positions, so that its bits do not depend on what else is in its tile. */
#include "kernels/cuda/attn_mma.h"

enum { STEP = CUDA_FLASH_STEP, RUNS = CUDA_FLASH_DK / RUN, FEW_RUNS = CUDA_FLASH_DV / RUN, TILES = STEP / 8, CHANNELS = CUDA_FLASH_DV / 8, WIDE = 64, GROUPS = CUDA_FLASH_DV / WIDE };

/* Columns to multiples of RUN, of 16: what is more is zeros. */
K_DEV int whole(int n, int of) { return (n + of - 1) / of * of; }

/* A warp's queries: of the lane's two rows, how many positions they see, and what is known so far. acc: by tiles of eight channels. least: what all live ones see. */
struct queries { uint32_t q[RUNS][2][4]; float acc[CHANNELS][4], top[2], sum[2]; int limit[2], least; };

/* any: what is not there is read from the first row, which wants no branches. */
K_DEV void queries_load(struct queries *w, const struct cuda_attend *op, const struct tile *t, int first, int dk, bool any)
{
	w->least = INT32_MAX;
	K_UNROLL for (int half = 0; half < 2; half++) {
		int i = first + k_lane() / 4 + 8 * half;
		bool live = i < t->n;
		const float *query = op->query + (live ? tile_at(op, t, i) : 0) * dk;
		w->limit[half] = live ? (int)(op->seg[t->seg].pos + tile_row(t, i) - op->seg[t->seg].row + 1) : INT32_MAX;
		w->top[half] = -INFINITY;
		w->sum[half] = 0;
		K_UNROLL for (int run = 0; run < RUNS; run++) {
			int c = RUN * run + 8 * (k_lane() % 4);
			uint32_t x[4] = { 0, 0, 0, 0 };
			if (any || (live && c < dk))
				load8(x, query + (c < dk ? c : 0), false);
			K_UNROLL for (int k = 0; k < 4; k++)
				x[k] = c < dk ? x[k] : 0;
			K_UNROLL for (int k = 0; k < 4; k++)
				w->q[run][k / 2][k % 2 * 2 + half] = x[k];
		}
	}
	K_UNROLL for (int k = 0; k < 4 * CHANNELS; k++)
		w->acc[k / 4][k % 4] = 0;
	if (first < t->n)
		w->least = (int)(op->seg[t->seg].pos + tile_row(t, first) - op->seg[t->seg].row + 1);
}

/* Column k % 2 of tile k / 2, of the lane's row `half`. */
K_DEV float *score_of(float (*c)[4], int half, int k) { return &c[k / 2][2 * half + k % 2]; }

/* Scores become weights; the sums are taken down to the new maximum. scale: times log2 of e. */
K_DEV void weigh(struct queries *w, float (*c)[4], float scale, int base, int dv)
{
	K_UNROLL for (int half = 0; half < 2; half++) {
		float m = -INFINITY, f, sum[2] = { 0, 0 };
		if (w->least - base < STEP) {
			int sees = w->limit[half] - base < STEP ? w->limit[half] - base : STEP;
			K_UNROLL for (int k = 0; k < 2 * TILES; k++)
				if (8 * (k / 2) + k_lane() % 4 * 2 + k % 2 >= sees)
					*score_of(c, half, k) = -INFINITY;
		}
		K_UNROLL for (int k = 0; k < 2 * TILES; k++)
			m = fmaxf(m, *score_of(c, half, k));
		for (int x = 1; x <= 2; x *= 2)
			m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, x));
		m = fmaxf(w->top[half], m * scale);
		f = w->top[half] > -INFINITY ? k_exp2(w->top[half] - m) : 0;
		w->top[half] = m;
		m = m > -INFINITY ? m : 0;
		K_UNROLL for (int k = 0; k < 2 * TILES; k++) {
			float *x = score_of(c, half, k);
			*x = k_exp2(fmaf(*x, scale, -m));
			sum[k % 2] += *x;
		}
		sum[0] += sum[1];
		for (int x = 1; x <= 2; x *= 2)
			sum[0] += __shfl_xor_sync(0xffffffffu, sum[0], x);
		w->sum[half] = fmaf(w->sum[half], f, sum[0]);
		if (f != 1)
			K_UNROLL for (int k = 0; k < 2 * CHANNELS; k++)
				if (8 * (k / 2) < whole(dv, WIDE))
					w->acc[k / 2][2 * half + k % 2] *= f;
	}
}

/* --- many queries --------------------------------------------------------------------------------------------------------- */

/* STEP rows of size values, of which the first n are there, `of` by `of` with zeros behind. */
K_DEV void bring_rows(uint8_t *to, int stride, const uint16_t *from, int width, int n, int size, int of)
{
	int each = whole(size, of) / 8;
	K_UNROLL_BY(2) for (int m = 0; m < (STEP * each + CUDA_THREADS - 1) / CUDA_THREADS; m++) {
		int at = k_thread() + m * CUDA_THREADS, p = at / each, c = at % each * 8;
		if (at < STEP * each)
			k_copy16(to + p * stride + 2 * c, from + p * width + c, p < n && c < size);
	}
}

/* The n positions of a step, that lie in a row. */
K_DEV void bring(uint8_t *keys, uint8_t *values, const struct cuda_attend *op, const uint16_t *from, int n, int dk, int dv)
{
	bring_rows(keys, CUDA_FLASH_KEY(dk), from + (int)blockIdx.y * dk, op->width, n, dk, RUN);
	bring_rows(values, CUDA_FLASH_VALUE(dv), from + op->value + (int)blockIdx.y * dv, op->width, n, dv, 16);
	k_copy_commit();
}

/* c: scores of the step's positions. */
K_DEV void scores(float (*c)[4], const struct queries *w, const uint8_t *keys, int stride, int dk)
{
	K_UNROLL for (int run = 0; run < RUNS; run++)
		if (RUN * run < dk)
			K_UNROLL for (int k = 0; k < TILES; k++) {
				struct k_u4 b = k_load16(keys + (8 * k + k_lane() / 4) * stride + 2 * (RUN * run + 8 * (k_lane() % 4)));
				mma16816(c[k], w->q[run][0], b.w);
				mma16816(c[k], w->q[run][1], b.w + 2);
			}
}

K_DEV void mix(struct queries *w, float (*c)[4], const uint8_t *values, int stride, int dv)
{
	K_UNROLL for (int two = 0; two < TILES / 2; two++) {
		uint32_t weight[4];
		a_from_c(weight, c[2 * two], c[2 * two + 1]);
		K_UNROLL for (int t = 0; t < CHANNELS; t += 2) {
			uint32_t b[4];
			if (8 * t >= dv)
				break;
			k_matrices_turned(b, values + (16 * two + k_lane() % 16) * stride + 16 * (t + k_lane() / 16));
			mma16816(w->acc[t], weight, b);
			mma16816(w->acc[t + 1], weight, b + 2);
		}
	}
}

/* The part of the lane's row `half`; NULL: it has none. */
K_DEV float *part_of(const struct cuda_attend *op, const struct tile *t, int first, int half, int span)
{
	int row = first + k_lane() / 4 + 8 * half;
	return row < t->n ? op->parts + (tile_at(op, t, row) * op->n_span + span) * (CUDA_PART + op->dv) : NULL;
}

/* From a part, and to it. */
K_DEV void queries_carry(struct queries *w, const struct cuda_attend *op, const struct tile *t, int first)
{
	K_UNROLL for (int half = 0; half < 2; half++) {
		const float *part = part_of(op, t, first, half, (int)blockIdx.z);
		if (!part)
			continue;
		w->top[half] = part[0];
		w->sum[half] = part[1];
		K_UNROLL for (int k = 0; k < 2 * CHANNELS; k++)
			if (8 * (k / 2) < op->dv)
				w->acc[k / 2][2 * half + k % 2] = part[CUDA_PART + 8 * (k / 2) + k_lane() % 4 * 2 + k % 2];
	}
}

K_DEV void queries_store(struct queries *w, const struct cuda_attend *op, const struct tile *t, int first)
{
	K_UNROLL for (int half = 0; half < 2; half++) {
		float *part = part_of(op, t, first, half, (int)blockIdx.z);
		if (!part)
			continue;
		if (k_lane() % 4 == 0) {
			part[0] = w->top[half];
			part[1] = w->sum[half];
		}
		K_UNROLL for (int k = 0; k < CHANNELS; k++) {
			struct k_u2 u = { { k_f_bits(w->acc[k][2 * half]), k_f_bits(w->acc[k][2 * half + 1]) } };
			if (8 * k < op->dv)
				k_store8(part + CUDA_PART + 8 * k + k_lane() % 4 * 2, u);
		}
	}
}

/* Where the values of position `at` begin. */
K_DEV const uint16_t *position(const struct cuda_attend_flash *a, const struct cuda_seg *s, int64_t at)
{
	return a->flat ? a->flat + (at - a->from) * a->attend.width : page_at(s, at, a->attend.width);
}

/* dk, dv: the operation's, or what they mostly are, so that loops know how long they are. */
K_DEV void flash_span(const struct cuda_attend_flash *a, uint8_t *stages, int dk, int dv)
{
	const struct cuda_attend *op = &a->attend;
	struct tile t = tile_of(op, blockIdx.x, CUDA_FLASH_QUERIES);
	const struct cuda_seg *s = op->seg + t.seg;
	int from = (int)(a->from + blockIdx.z * a->span), to;
	int64_t end;
	bool mine = 16 * k_warp() < t.n;
	int first = 16 * k_warp(), key = CUDA_FLASH_KEY(dk), value = CUDA_FLASH_VALUE(dv), stage = 0;
	struct queries w;
	K_WAIT_BEFORE();
	if (t.n == 0)
		return;
	end = s->pos + tile_row(&t, t.n - 1) - s->row + 1;
	end = end < a->to ? end : a->to;
	to = (int)(end < from + a->span ? end : from + a->span);
	if (from >= to)
		return;
	bring(stages, stages + STEP * key, op, position(a, s, from), to - from < STEP ? to - from : STEP, dk, dv);
	queries_load(&w, op, &t, first, dk, false);
	if (a->carry)
		queries_carry(&w, op, &t, first);
	for (int base = from; base < to; base += STEP, stage ^= 1) {
		const uint8_t *keys = stages + stage * STEP * (key + value);
		uint8_t *next = stages + (stage ^ 1) * STEP * (key + value);
		float c[TILES][4] = { { 0 } };
		k_copy_wait(0);
		__syncthreads();
		if (base + STEP < to)
			bring(next, next + STEP * key, op, position(a, s, base + STEP), to - base - STEP < STEP ? to - base - STEP : STEP, dk, dv);
		if (!mine)
			continue;
		scores(c, &w, keys, key, dk);
		weigh(&w, c, a->scale2, base, dv);
		mix(&w, c, keys + STEP * key, value, dv);
	}
	/* Again: its registers are wanted above. */
	t = tile_of(op, blockIdx.x, CUDA_FLASH_QUERIES);
	queries_store(&w, op, &t, first);
}

K_KERNEL_EARLY(attend_flash, 1)
{
	K_SHARED_MORE(stages);
	if (a.attend.dk == CUDA_FLASH_DV && a.attend.dv == CUDA_FLASH_DV)
		flash_span(&a, stages, CUDA_FLASH_DV, CUDA_FLASH_DV);
	else if (a.attend.dk == CUDA_FLASH_DK && a.attend.dv == CUDA_FLASH_DV)
		flash_span(&a, stages, CUDA_FLASH_DK, CUDA_FLASH_DV);
	else
		flash_span(&a, stages, a.attend.dk, a.attend.dv);
}

/* --- few queries ---------------------------------------------------------------------------------------------------------- */

/* Scores of positions up to `last`, which is there; those behind it are not seen, and read it too. */
K_DEV void scores_pages(float (*c)[4], const struct queries *w, const uint16_t *keys, int width, int dk, int last)
{
	K_UNROLL for (int k = 0; k < TILES; k++) {
		int p = 8 * k + k_lane() / 4, at = 8 * (k_lane() % 4);
		const uint16_t *key = keys + (p < last ? p : last) * width + at;
		K_UNROLL for (int run = 0; run < FEW_RUNS; run++) {
			struct k_u4 b = { { 0, 0, 0, 0 } };
			if (RUN * run >= dk)
				break;
			if (RUN * run + at < dk)
				b = k_load16(key + RUN * run);
			mma16816(c[k], w->q[run][0], b.w);
			mma16816(c[k], w->q[run][1], b.w + 2);
		}
	}
}

/* Values from their pages: a lane has eight channels that lie together, so that tile k of a group of WIDE is column k of each eight (attn_mma.h: column). */
K_DEV void mix_pages(struct queries *w, float (*c)[4], const uint16_t *values, int width, int dv, int last)
{
	uint32_t weight[TILES / 2][4];
	K_UNROLL for (int two = 0; two < TILES / 2; two++)
		a_from_c(weight[two], c[2 * two], c[2 * two + 1]);
	K_UNROLL for (int two = 0; two < TILES / 2; two++) {
		struct k_u4 x[GROUPS][4];
		K_UNROLL for (int i = 0; i < 4 * GROUPS; i++) {
			int p = 16 * two + i % 4 / 2 * 8 + k_lane() % 4 * 2 + i % 2, channel = WIDE * (i / 4) + 8 * (k_lane() / 4);
			struct k_u4 none = { { 0, 0, 0, 0 } };
			x[i / 4][i % 4] = channel < dv ? k_load16(values + (p < last ? p : last) * width + channel) : none;
		}
		K_UNROLL for (int t = 0; t < 8 * GROUPS; t++) {
			const struct k_u4 *v = x[t / 8];
			int k = t % 8;
			uint32_t b[2] = { column(v[0].w[k / 2], v[1].w[k / 2], k % 2), column(v[2].w[k / 2], v[3].w[k / 2], k % 2) };
			if (WIDE * (t / 8) < dv)
				mma16816(w->acc[t], weight[two], b);
		}
	}
}

K_DEV void few_span(const struct cuda_attend_few *a, int dk, int dv)
{
	const struct cuda_attend *op = &a->attend;
	struct tile t = tile_of(op, blockIdx.x, CUDA_FLASH_FEW);
	const struct cuda_seg *s = op->seg + t.seg;
	int span = (int)blockIdx.z * a->warps + k_warp(), from = span * (int)a->span, to;
	void *const *page;
	struct queries w;
	float *part[2];
	K_WAIT_BEFORE();
	if (t.n == 0 || k_warp() >= a->warps)
		return;
	to = (int)(s->pos + tile_row(&t, t.n - 1) - s->row + 1);
	to = to < from + (int)a->span ? to : from + (int)a->span;
	if (from >= to)
		return;
	page = s->pages;
	queries_load(&w, op, &t, 0, dk, true);
	part[0] = part_of(op, &t, 0, 0, span);
	part[1] = part_of(op, &t, 0, 1, span);
	for (int base = from; base < to; base += STEP) {
		const uint16_t *keys = (const uint16_t *)page[base / CUDA_PAGE] + base % CUDA_PAGE * op->width + (int)blockIdx.y * dk;
		int last = (to - base < STEP ? to - base : STEP) - 1;
		float c[TILES][4] = { { 0 } };
		scores_pages(c, &w, keys, op->width, dk, last);
		weigh(&w, c, a->scale2, base, dv);
		mix_pages(&w, c, keys + (op->value + (int)blockIdx.y * (dv - dk)), op->width, dv, last);
	}
	K_UNROLL for (int half = 0; half < 2; half++) {
		if (!part[half])
			continue;
		if (k_lane() % 4 == 0) {
			part[half][0] = w.top[half];
			part[half][1] = w.sum[half];
		}
		K_UNROLL for (int i = 0; i < 4 * GROUPS; i++) {
			int g = i / 4, col = 2 * half + i / 2 % 2, channel = WIDE * g + 8 * (k_lane() % 4 * 2 + i / 2 % 2) + i % 2 * 4;
			struct k_u4 u;
			K_UNROLL for (int k = 0; k < 4; k++)
				u.w[k] = k_f_bits(w.acc[8 * g + i % 2 * 4 + k][col]);
			if (channel < dv)
				k_store16(part[half] + CUDA_PART + channel, u);
		}
	}
}

K_KERNEL_EARLY(attend_few, 1)
{
	if (a.attend.dk == CUDA_FLASH_DV && a.attend.dv == CUDA_FLASH_DV)
		few_span(&a, CUDA_FLASH_DV, CUDA_FLASH_DV);
	else
		few_span(&a, a.attend.dk, a.attend.dv);
}

/* --- parts ---------------------------------------------------------------------------------------------------------------- */

K_KERNEL_EARLY(merge_parts, 1)
{
	const struct cuda_merge *op = &a.merge;
	int64_t at = (int64_t)blockIdx.x * CUDA_WARPS + k_warp(), row = at / op->n_head;
	int step = CUDA_PART + op->r, c = 4 * k_lane(), n;
	const float *part = op->parts + at * op->n_span * step;
	float v[4] = { 0 };
	struct so_far all;
	struct k_u4 u;
	K_WAIT_BEFORE();
	if (at >= a.n)
		return;
	n = spans_of(op, op->first + row);
	all = together(part, n, step);
	if (n == 0 || c >= op->r)
		return;
	gather(v, part, c, n, 1, step, all.top);
	K_UNROLL for (int k = 0; k < 4; k++)
		u.w[k] = k_f_bits(v[k] * (1 / all.sum));
	k_store16(op->y + at * op->r + c, u);
}

/* --- expand --------------------------------------------------------------------------------------------------------------- */

/* A product: a block CUDA_EXPAND positions x OUTS rows of kv_b, which lie one behind the other over all heads; a warp 64 x 32 of them. DEEP channels at a time come
 * asynchronously, a step ahead. */
enum { OUTS = CUDA_EXPAND_OUTS, DEEP = CUDA_EXPAND_DEEP, ROW = CUDA_EXPAND_ROW, WARP_POSITIONS = 64, WARP_OUTS = 32, POSITION_TILES = WARP_POSITIONS / 16, OUT_TILES = WARP_OUTS / 8 };

K_DEV const uint16_t *latent_of(const struct cuda_mla_expand *a, int64_t pos) { return (const uint16_t *)k_slot(a->seg, pos, a->r + a->dr, true); }

/* Channels [c, c + DEEP) of the block's positions, and behind them of its rows. */
K_DEV void bring_expand(uint8_t *stage, const struct cuda_mla_expand *a, int c)
{
	int64_t first = a->from + (int64_t)blockIdx.x * CUDA_EXPAND, out = (int64_t)blockIdx.y * OUTS, outs = (int64_t)a->n_head * (a->dn + a->dv);
	int k = c + (int)threadIdx.x % (DEEP / 8) * 8;
	for (int i = (int)threadIdx.x / (DEEP / 8); i < CUDA_EXPAND + OUTS; i += CUDA_THREADS / (DEEP / 8)) {
		bool latent = i < CUDA_EXPAND, there = k < a->r && (latent ? first + i < a->to : out + i - CUDA_EXPAND < outs);
		uint8_t *to = stage + i * ROW + 2 * (k - c);
		if (latent) {
			const uint16_t *from = latent_of(a, there ? first + i : first);
			k_copy16(to, there ? from + k : from, there);
		} else if (a->bf16) {
			k_copy16(to, value_at(a->kv_b, true, there ? (out + i - CUDA_EXPAND) * a->r + k : 0), there);
		} else {
			struct k_u4 u;
			load8(u.w, there ? value_at(a->kv_b, false, (out + i - CUDA_EXPAND) * a->r + k) : NULL, false);
			k_store16(to, u);
		}
	}
	k_copy_commit();
}

K_DEV void expand_step(float (*acc)[OUT_TILES][4], const uint8_t *stage)
{
	const uint8_t *latents = stage + k_warp() / 4 * WARP_POSITIONS * ROW, *outs = stage + (CUDA_EXPAND + k_warp() % 4 * WARP_OUTS) * ROW;
	K_UNROLL for (int k = 0; k < DEEP; k += 16) {
		uint32_t b[OUT_TILES / 2][4];
		K_UNROLL for (int j = 0; j < OUT_TILES / 2; j++)
			k_matrices(b[j], matrix_b(outs, ROW, 16 * j, k));
		K_UNROLL for (int i = 0; i < POSITION_TILES; i++) {
			uint32_t x[4];
			k_matrices(x, matrix_a(latents, ROW, 16 * i, k));
			K_UNROLL for (int j = 0; j < OUT_TILES; j++)
				mma16816(acc[i][j], x, b[j / 2] + j % 2 * 2);
		}
	}
}

/* The rotated part of the latents' keys, to the keys of every head. */
K_DEV void expand_turned(const struct cuda_mla_expand *a, int64_t width)
{
	int64_t first = a->from + (int64_t)blockIdx.x * CUDA_EXPAND;
	int each = a->dr / 8;
	for (int head = blockIdx.y; head < a->n_head; head += a->tiles)
		for (int i = threadIdx.x; i < CUDA_EXPAND * each; i += CUDA_THREADS) {
			int64_t p = first + i / each;
			if (p < a->to)
				k_store16(a->out + (p - a->from) * width + (int64_t)head * (a->dn + a->dr) + a->dn + i % each * 8, k_load16(latent_of(a, p) + a->r + i % each * 8));
		}
}

K_KERNEL_EARLY(mla_expand, 2)
{
	K_SHARED_MORE(stages);
	int64_t first = a.from + (int64_t)blockIdx.x * CUDA_EXPAND, made = a.dn + a.dv, width = (int64_t)a.n_head * (made + a.dr);
	float acc[POSITION_TILES][OUT_TILES][4] = { { { 0 } } };
	int stage = 0;
	K_WAIT_BEFORE();
	bring_expand(stages, &a, 0);
	expand_turned(&a, width);
	for (int c = 0; c < a.r; c += DEEP, stage ^= 1) {
		k_copy_wait(0);
		__syncthreads();
		if (c + DEEP < a.r)
			bring_expand(stages + (stage ^ 1) * (CUDA_EXPAND + OUTS) * ROW, &a, c + DEEP);
		expand_step(acc, stages + stage * (CUDA_EXPAND + OUTS) * ROW);
	}
	K_UNROLL for (int j = 0; j < OUT_TILES; j++) {
		int64_t out = (int64_t)blockIdx.y * OUTS + k_warp() % 4 * WARP_OUTS + 8 * j + k_lane() % 4 * 2, head = out / made, row = out % made;
		uint16_t *to = a.out + (row < a.dn ? head * (a.dn + a.dr) + row : (int64_t)a.n_head * (a.dn + a.dr) + head * a.dv + row - a.dn);
		K_UNROLL for (int i = 0; i < 2 * POSITION_TILES; i++) {
			int64_t p = first + k_warp() / 4 * WARP_POSITIONS + 8 * i + k_lane() / 4;
			if (p < a.to && head < a.n_head)
				*(uint32_t *)(to + (p - a.from) * width) = pack_round(acc[i / 2][j][i % 2 * 2], acc[i / 2][j][i % 2 * 2 + 1]);
		}
	}
}
