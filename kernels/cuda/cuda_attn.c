/* cuda_attn.c: attention as launches: append, query (MLA), attend, merge; for MLA with --act bf16 on tensor cores, a single token too, so that a prompt has the
 * same bits however it is cut. Rows whose scratch does not fit at once are taken in rounds, and
 * segments whose lists of pages do not fit. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cuda/cuda_impl.h"

static int64_t floats(int64_t n) { return n * (int64_t)sizeof(float); }
static float in_log2(double scale) { return (float)(scale * 1.4426950408889634); }

static struct cuda_rope rope_of(const struct k_hp *hp, const float *table, int64_t dim)
{
	bool turns = hp->rope.kind != K_ROPE_NONE;
	return (struct cuda_rope){ turns ? table : NULL, (int)(turns ? hp->rope.dim : dim), hp->rope.interleaved };
}

/* Spans of a context that grows to a multiple of CUDA_SPAN: a graph is made for so many. */
static int64_t spans_of(int64_t positions, int64_t span) { return k_div_up(k_div_up(positions, CUDA_SPAN) * CUDA_SPAN, span); }

/* Tiles of the rows of a round, and the spans of the longest, of so many positions. */
static void count(const struct k_seg *seg, int64_t n_seg, int64_t first, int64_t last, int64_t group, int64_t size, int64_t span, int64_t *tiles,
	int64_t *spans)
{
	int64_t longest = 0;
	*tiles = 0;
	for (int64_t i = 0; i < n_seg; i++) {
		int64_t from = K_MAX(seg[i].row, first), to = K_MIN(seg[i].row + seg[i].n, last);
		if (to <= from)
			continue;
		*tiles += k_div_up((to - from) * group, size);
		longest = K_MAX(longest, seg[i].pos + to - seg[i].row);
	}
	*spans = spans_of(longest, span);
}

static int64_t longest_of(const struct k_seg *seg, int64_t n_seg)
{
	int64_t longest = 1;
	for (int64_t i = 0; i < n_seg; i++)
		longest = K_MAX(longest, seg[i].pos + seg[i].n);
	return longest;
}

/* What the pages of all hold: a model's sequences are alike. */
static bool pages_bf16(const struct k_seg *seg, int64_t n_seg)
{
	bool bf16 = n_seg && seg[0].state->kv == K_KV_BF16;
	for (int64_t i = 1; i < n_seg; i++)
		K_ASSERT((seg[i].state->kv == K_KV_BF16) == bf16);
	return bf16;
}

/* --- MLA ------------------------------------------------------------------------------------------------------------------ */

struct mla { struct cuda *c; const struct k_op_mla *op; const struct k_seg *seg; int64_t n_seg; const struct cuda_seg *there; struct cuda_rope rope; bool bf16, kv_b_bf16, mma; int64_t span; };

/* Blocks that keep all multiprocessors of a large card busy. */
enum { BLOCKS = 132 };

/* Bytes of what a row gathers in so many spans, with its queries. */
static int64_t absorbed_bytes(const struct mla *m, int64_t spans)
{
	const struct k_hp *hp = m->op->hp;
	return floats(hp->n_head * (hp->kv_lora + hp->d_rope + spans * (hp->kv_lora + (m->mma ? CUDA_PART : 2))));
}

/* Blocks that attend to rows [first, last) in spans of so many positions. Contexts count in whole spans of CUDA_SPAN, so that a graph stays what it is that long. */
static int64_t blocks_of(const struct mla *m, int64_t first, int64_t last, int64_t span)
{
	int64_t blocks = 0;
	for (int64_t i = 0; i < m->n_seg; i++) {
		const struct k_seg *s = &m->seg[i];
		int64_t from = K_MAX(s->row, first), to = K_MIN(s->row + s->n, last);
		if (to > from)
			blocks += k_div_up((to - from) * m->op->hp->n_head, CUDA_MMA_QUERIES) * spans_of(s->pos + to - s->row, span);
	}
	return blocks;
}

/* Positions of a span: where bits may depend on the batch, the fewest for which all blocks run at once, and what they gather fits. */
static int64_t mla_span(const struct mla *m, int64_t first, int64_t last)
{
	enum { LEAST = 2 * CUDA_MMA_STEP };
	int64_t longest = longest_of(m->seg, m->n_seg), span = LEAST;
	if (!m->mma || !m->c->dev.ctx->any_order)
		return CUDA_SPAN;
	span = K_MAX(span, blocks_of(m, first, last, CUDA_MMA_STEP) / BLOCKS * CUDA_MMA_STEP);
	while (span < longest && (blocks_of(m, first, last, span) > BLOCKS ||
		(last - first) * absorbed_bytes(m, spans_of(longest, span)) > m->c->n_scratch - m->c->taken - 4096))
		span += k_div_up(span, 16 * CUDA_MMA_STEP) * CUDA_MMA_STEP;
	return span;
}

static struct cuda_mla_append append_of(const struct mla *m)
{
	const struct k_op_mla *op = m->op;
	return (struct cuda_mla_append){ .kv = op->kv, .kv_norm = op->kv_norm, .rope = m->rope, .seg = m->there, .n_seg = (int)m->n_seg, .r = (int)op->hp->kv_lora,
		.eps = (float)op->hp->eps_inner, .bf16 = m->bf16 };
}

static void mla_round_mma(const struct mla *m, int64_t n, const struct cuda_mla_query *query, const struct cuda_attend *attend, const struct cuda_merge *merge, int64_t tiles)
{
	struct cuda *c = m->c;
	int64_t row = CUDA_MMA_STEP * CUDA_MMA_STRIDE(attend->dk), fixed = 24 << 10, stages = K_MIN((c->rt->shared(c->on) - fixed) / row, (int64_t)CUDA_MMA_STAGES);
	int64_t H = merge->n_head, rows = K_MIN(k_div_up(n * H, BLOCKS), (int64_t)16), outs = k_div_up(merge->dv, CUDA_MERGE_OUT);
	int64_t cut = K_MIN(outs, k_div_up(BLOCKS * 3 / 2, k_div_up(n, rows) * H));
	cuda_launch(c, mla_query_mma, k_div_up(n, CUDA_MMA_QUERIES), H + K_MIN(n, (int64_t)CUDA_MMA_QUERIES), k_div_up(query->r, CUDA_MMA_CHANNELS), .query = *query,
		.append = append_of(m), .to = (uint16_t *)query->query, .n = n);
	cuda_launch_shared(c, attend_mma, tiles, 1, attend->n_span, stages * row, .attend = *attend, .query = (const uint16_t *)attend->query, .span = m->span,
		.scale2 = in_log2(attend->scale), .stages = (int)stages);
	cuda_launch(c, merge_mma, k_div_up(n, rows), H, cut, .merge = *merge, .n = n, .rows = (int)rows, .cut = (int)cut);
}

static void mla_round(const struct mla *m, int64_t first, int64_t n)
{
	const struct k_op_mla *op = m->op;
	const struct k_hp *hp = op->hp;
	struct cuda *c = m->c;
	int64_t H = hp->n_head, r = hp->kv_lora, dr = hp->d_rope, dn = hp->d_nope, dv = hp->d_v, tiles, spans, taken = c->taken;
	const uint8_t *kv_b = op->kv_b->data;
	int64_t value = (int64_t)(m->kv_b_bf16 ? sizeof(uint16_t) : sizeof(float));
	count(m->seg, m->n_seg, first, first + n, H, m->mma ? CUDA_MMA_QUERIES : CUDA_QUERIES, m->span, &tiles, &spans);
	float *query = cuda_take(c, floats(n * H * (r + dr))), *parts = cuda_take(c, floats(n * H * spans * (r + (m->mma ? CUDA_PART : 2))));
	struct cuda_mla_query q = { .query = query, .q = op->q + first * H * (dn + dr), .kv_b = kv_b, .rope = m->rope, .seg = m->there, .first = first,
		.n_seg = (int)m->n_seg, .n_head = (int)H, .r = (int)r, .dn = (int)dn, .dv = (int)dv, .dr = (int)dr, .bf16 = m->kv_b_bf16 };
	struct cuda_attend attend = { .parts = parts, .query = query, .seg = m->there, .first = first, .last = first + n, .n_seg = (int)m->n_seg,
		.n_head = (int)H, .n_kv = 1, .dk = (int)(r + dr), .dv = (int)r, .width = (int)(r + dr), .value = 0, .n_span = (int)spans,
		.scale = (float)op->scale, .bf16 = m->bf16 };
	struct cuda_merge merge = { .y = op->y + first * H * dv, .parts = parts, .v = kv_b + dn * r * value, .seg = m->there, .first = first,
		.v_step = (dn + dv) * r, .span = m->span, .n_seg = (int)m->n_seg, .n_head = (int)H, .n_span = (int)spans, .r = (int)r, .dv = (int)dv, .bf16 = m->kv_b_bf16 };
	if (m->mma) {
		mla_round_mma(m, n, &q, &attend, &merge, tiles);
	} else {
		cuda_launch_bytes(c, CUDA_KERNEL_mla_query, n, H, 1, &q, sizeof(q));
		cuda_launch_bytes(c, CUDA_KERNEL_attend, tiles, 1, spans, &attend, sizeof(attend));
		cuda_launch_bytes(c, CUDA_KERNEL_merge, n, H, 1, &merge, sizeof(merge));
	}
	c->taken = taken;
}

static bool takes_mma(const struct cuda *c, const struct k_op_mla *op)
{
	const struct k_hp *hp = op->hp;
	return c->mma == CUDA_MMA_BF16 && c->dev.ctx->act == K_ACT_BF16 && hp->kv_lora % 8 == 0 && (hp->kv_lora + hp->d_rope) % 8 == 0 && hp->d_nope <= CUDA_MMA_DN &&
		hp->kv_lora + hp->d_rope <= CUDA_MMA_DK && pages_bf16(op->seg, op->n_seg) && (uintptr_t)op->kv_b->data % 16 == 0;
}

/* All rows of [first, last), in rounds. */
static void absorbed(struct mla *m, int64_t first, int64_t last)
{
	m->span = mla_span(m, first, last);
	int64_t n = cuda_fit(m->c, last - first, absorbed_bytes(m, spans_of(longest_of(m->seg, m->n_seg), m->span)));
	for (; first < last; first += n)
		mla_round(m, first, K_MIN(n, last - first));
}

/* --- expanded: keys and values of every head made from the latents --------------------------------------------------------- */

/* Rows that fill a tile half. */
enum { EXPAND_ROWS = CUDA_FLASH_QUERIES / 2 };

static int64_t expanded_width(const struct k_hp *hp) { return hp->n_head * (hp->d_nope + hp->d_rope + hp->d_v); }
static int64_t gathered_bytes(const struct k_hp *hp, int64_t n) { return floats(n * hp->n_head * (hp->d_v + CUDA_PART)); }

/* Shared memory of attend_flash. */
static int64_t flash_shared(int64_t dk, int64_t dv) { return CUDA_FLASH_STAGES * CUDA_FLASH_STEP * (CUDA_FLASH_KEY(dk) + CUDA_FLASH_VALUE(dv)); }

/* Positions that scratch holds expanded beside what n rows have gathered, in whole pages. */
static int64_t expand_fit(const struct mla *m, int64_t n)
{
	int64_t left = m->c->n_scratch - m->c->taken - gathered_bytes(m->op->hp, n) - 1024;
	return left / (expanded_width(m->op->hp) * (int64_t)sizeof(uint16_t)) / CUDA_PAGE * CUDA_PAGE;
}

/* Is it fewer operations? Of a head, for a (row, position that it sees): absorbed 2 (r + dr) + 2 r, expanded 2 (dn + dr) + 2 dv. A row's way through K_h and V_h
 * (absorbed) and a position's (expanded) are 2 r (dn + dv) each: the new positions are as many as the rows, those that were there before are more. */
static bool pays(const struct k_hp *hp, const struct k_seg *s)
{
	int64_t made = hp->d_nope + hp->d_v, seen = s->n * s->pos + s->n * (s->n + 1) / 2;
	return s->n >= EXPAND_ROWS && seen * (2 * hp->kv_lora - made) > s->pos * hp->kv_lora * made;
}

/* Only where the number of rows may show: the sums are others than those of the absorbed form. */
static bool expands(const struct mla *m, const struct k_seg *s)
{
	const struct k_hp *hp = m->op->hp;
	return m->c->dev.ctx->any_order && m->mma && hp->d_nope % 8 == 0 && hp->d_rope % 8 == 0 && hp->d_v % 8 == 0 &&
		hp->d_nope + hp->d_rope <= CUDA_FLASH_DK && hp->d_v <= CUDA_FLASH_DV && ((uintptr_t)m->op->q | (uintptr_t)m->op->y) % 16 == 0 && pays(hp, s) && expand_fit(m, s->n) > 0;
}

static void expanded(const struct mla *m, int64_t i)
{
	const struct k_op_mla *op = m->op;
	const struct k_hp *hp = op->hp;
	const struct k_seg *s = &m->seg[i];
	struct cuda *c = m->c;
	int64_t H = hp->n_head, r = hp->kv_lora, dr = hp->d_rope, dn = hp->d_nope, dv = hp->d_v, dk = dn + dr, end = s->pos + s->n, taken = c->taken;
	int64_t tiles = k_div_up(H * (dn + dv), CUDA_EXPAND_OUTS), expand_shared = 2 * (CUDA_EXPAND + CUDA_EXPAND_OUTS) * CUDA_EXPAND_ROW;
	int64_t most = K_MIN(expand_fit(m, s->n), k_div_up(end, CUDA_PAGE) * CUDA_PAGE);
	float *parts = cuda_take(c, gathered_bytes(hp, s->n)), *q = op->q + s->row * H * dk;
	uint16_t *flat = cuda_take(c, most * expanded_width(hp) * (int64_t)sizeof(*flat));
	struct cuda_attend attend = { .parts = parts, .query = q, .seg = m->there + i, .first = s->row, .last = s->row + s->n, .n_seg = 1, .n_head = (int)H, .n_kv = (int)H,
		.dk = (int)dk, .dv = (int)dv, .width = (int)expanded_width(hp), .value = (int)(H * dk), .n_span = 1, .scale = (float)op->scale, .bf16 = true };
	if (m->rope.table)
		cuda_launch(c, mla_turn, s->n, 1, 1, .q = q, .rope = m->rope, .seg = m->there + i, .first = s->row, .n_seg = 1, .n_head = (int)H, .dn = (int)dn, .dr = (int)dr);
	for (int64_t from = 0; from < end; from += most) {
		int64_t to = K_MIN(from + most, end);
		cuda_launch_shared(c, mla_expand, k_div_up(to - from, CUDA_EXPAND), tiles, 1, expand_shared, .out = flat, .kv_b = op->kv_b->data, .seg = m->there + i, .from = from, .to = to,
			.n_head = (int)H, .r = (int)r, .dn = (int)dn, .dv = (int)dv, .dr = (int)dr, .bf16 = m->kv_b_bf16, .tiles = (int)tiles);
		cuda_launch_shared(c, attend_flash, k_div_up(s->n, CUDA_FLASH_QUERIES), H, 1, flash_shared(dk, dv), .attend = attend, .flat = flat, .from = from, .to = to,
			.span = most, .carry = from > 0, .scale2 = in_log2(op->scale));
	}
	struct cuda_merge merge = { .y = op->y + s->row * H * dv, .parts = parts, .seg = m->there + i, .first = s->row, .span = INT64_MAX, .n_seg = 1,
		.n_head = (int)H, .n_span = 1, .r = (int)dv, .dv = (int)dv };
	cuda_launch(c, merge_parts, k_div_up(s->n * H, CUDA_WARPS), 1, 1, .merge = merge, .n = s->n * H);
	c->taken = taken;
}

/* Segments that are expanded one by one, and those between them together. */
static void attend_all(struct mla *m)
{
	const struct k_seg *seg = m->seg;
	for (int64_t i = 0, j; i < m->n_seg; i = j) {
		for (j = i; j < m->n_seg && !expands(m, &seg[j]);)
			j++;
		if (j > i)
			absorbed(m, seg[i].row, seg[j - 1].row + seg[j - 1].n);
		else
			expanded(m, j++);
	}
}

static bool any_expanded(const struct mla *m)
{
	for (int64_t i = 0; i < m->n_seg; i++)
		if (expands(m, &m->seg[i]))
			return true;
	return false;
}

void cuda_op_mla(struct k_device *dev, const struct k_op_mla *op)
{
	struct cuda *c = cuda_of(dev);
	const struct k_hp *hp = op->hp;
	int64_t r = hp->kv_lora, dr = hp->d_rope;
	struct mla m = { c, op, op->seg, op->n_seg, NULL, rope_of(hp, op->rope, dr), pages_bf16(op->seg, op->n_seg), strcmp(op->kv_b->type->name, "bf16") == 0,
		takes_mma(c, op), CUDA_SPAN };
	struct cuda_mla_append append;
	cuda_begin(c);
	if (r + dr > CUDA_DK || r > CUDA_DV || !cuda_segs(c, op->seg, op->n_seg, r + dr, &m.there)) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_mla, "its latent is too wide, or the lists of pages too long");
		cpu->ops.mla(cpu, op);
		return;
	}
	/* On tensor cores rows are appended beside their queries, but for those that are expanded or have none. */
	append = append_of(&m);
	if (!m.mma || !op->q || any_expanded(&m))
		cuda_launch_bytes(c, CUDA_KERNEL_mla_append, op->n, 1, 1, &append, sizeof(append));
	if (op->q)
		attend_all(&m);
}

/* --- GQA ------------------------------------------------------------------------------------------------------------------ */

struct gqa { struct cuda *c; const struct k_op_gqa *op; const struct cuda_seg *there; bool bf16, flash, few; int64_t span; };

static bool takes_flash(const struct cuda *c, const struct k_op_gqa *op)
{
	int64_t d = op->hp->head_dim;
	return c->mma == CUDA_MMA_BF16 && c->dev.ctx->act == K_ACT_BF16 && d % 8 == 0 && d <= CUDA_FLASH_DV && pages_bf16(op->seg, op->n_seg) &&
		((uintptr_t)op->q | (uintptr_t)op->y) % 16 == 0;
}

/* Do all segments have so few rows that a warp has all queries of a key head? */
static bool takes_few(const struct k_op_gqa *op)
{
	int64_t most = 0;
	for (int64_t i = 0; i < op->n_seg; i++)
		most = K_MAX(most, op->seg[i].n);
	return most * (op->hp->n_head / op->hp->n_head_kv) <= CUDA_FLASH_FEW;
}

/* Positions of a span. What a span gathers is written and read again, a share of a prompt's time: where bits may depend on the batch, spans are as long as
 * leaves each multiprocessor a block or two; for few queries eight warps. */
static int64_t gqa_span(const struct gqa *g)
{
	const struct k_op_gqa *op = g->op;
	int64_t tiles, spans, kv = op->hp->n_head_kv, size = g->few ? CUDA_FLASH_FEW : CUDA_FLASH_QUERIES, blocks = g->few ? CUDA_WARPS * BLOCKS : 2 * BLOCKS, n;
	if (!g->flash || !g->c->dev.ctx->any_order)
		return CUDA_SPAN;
	count(op->seg, op->n_seg, 0, op->n, op->hp->n_head / kv, size, CUDA_FLASH_STEP, &tiles, &spans);
	n = K_MAX(blocks / (tiles * kv), (int64_t)1);
	while (n > 1 && op->n * op->hp->n_head * n * (op->hp->head_dim + CUDA_PART) * (int64_t)sizeof(float) > g->c->n_scratch - 4096)
		n--;
	return k_div_up(spans, n) * CUDA_FLASH_STEP;
}

static void gqa_round(const struct gqa *g, int64_t first, int64_t n)
{
	const struct k_op_gqa *op = g->op;
	const struct k_hp *hp = op->hp;
	struct cuda *c = g->c;
	int64_t H = hp->n_head, kv = hp->n_head_kv, d = hp->head_dim, tiles, spans, taken = c->taken, head = g->flash ? CUDA_PART : 2, warps;
	float *parts;
	count(op->seg, op->n_seg, first, first + n, H / kv, g->few ? CUDA_FLASH_FEW : g->flash ? CUDA_FLASH_QUERIES : CUDA_QUERIES, g->span, &tiles, &spans);
	parts = cuda_take(c, floats(n * H * spans * (d + head)));
	struct cuda_attend attend = { .parts = parts, .query = op->q + first * H * d, .seg = g->there, .first = first, .last = first + n,
		.n_seg = (int)op->n_seg, .n_head = (int)H, .n_kv = (int)kv, .dk = (int)d, .dv = (int)d, .width = (int)(2 * kv * d),
		.value = (int)(kv * d), .n_span = (int)spans, .scale = (float)(1 / sqrt((double)d)), .bf16 = g->bf16 };
	struct cuda_merge merge = { .y = op->y + first * H * d, .parts = parts, .seg = g->there, .first = first, .span = g->span, .n_seg = (int)op->n_seg,
		.n_head = (int)H, .n_span = (int)spans, .r = (int)d, .dv = (int)d };
	warps = K_MAX(K_MIN(tiles * kv * spans / BLOCKS, (int64_t)CUDA_WARPS), (int64_t)1);
	if (g->few)
		cuda_launch(c, attend_few, tiles, kv, k_div_up(spans, warps), .attend = attend, .span = g->span, .scale2 = in_log2(1 / sqrt((double)d)), .warps = (int)warps);
	else if (g->flash)
		cuda_launch_shared(c, attend_flash, tiles, kv, spans, flash_shared(d, d), .attend = attend, .to = INT64_MAX, .span = g->span,
			.scale2 = in_log2(1 / sqrt((double)d)));
	else
		cuda_launch_bytes(c, CUDA_KERNEL_attend, tiles, kv, spans, &attend, sizeof(attend));
	if (g->flash)
		cuda_launch(c, merge_parts, k_div_up(n * H, CUDA_WARPS), 1, 1, .merge = merge, .n = n * H);
	else
		cuda_launch_bytes(c, CUDA_KERNEL_merge, n, H, 1, &merge, sizeof(merge));
	c->taken = taken;
}

void cuda_op_gqa(struct k_device *dev, const struct k_op_gqa *op)
{
	struct cuda *c = cuda_of(dev);
	const struct k_hp *hp = op->hp;
	int64_t d = hp->head_dim, n;
	struct gqa g = { c, op, NULL, pages_bf16(op->seg, op->n_seg), takes_flash(c, op), false, CUDA_SPAN };
	g.few = g.flash && takes_few(op);
	cuda_begin(c);
	if (d > CUDA_DV || !cuda_segs(c, op->seg, op->n_seg, 2 * hp->n_head_kv * d, &g.there)) {
		struct k_device *cpu = cuda_on_cpu(c, CUDA_OP_gqa, "its heads are too wide, or the lists of pages too long");
		cpu->ops.gqa(cpu, op);
		return;
	}
	cuda_launch(c, gqa_append, op->n, 1, 1, .q = op->q, .k = op->k, .v = op->v, .rope = rope_of(hp, op->rope, 0), .seg = g.there,
		.n_seg = (int)op->n_seg, .n_head = op->q ? (int)hp->n_head : 0, .n_kv = (int)hp->n_head_kv, .d = (int)d, .bf16 = g.bf16);
	if (!op->q)
		return;
	g.span = gqa_span(&g);
	n = cuda_fit(c, op->n, floats(hp->n_head * spans_of(longest_of(op->seg, op->n_seg), g.span) * (d + CUDA_PART)));
	for (int64_t first = 0; first < op->n; first += n)
		gqa_round(&g, first, K_MIN(n, op->n - first));
}
