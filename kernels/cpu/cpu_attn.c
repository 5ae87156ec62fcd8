/* cpu_attn.c: attention over pages, for GQA and for MLA in absorbed form.
 *
 * MLA is GQA with one key head that all query heads share: key = [latent | rotated part], value = latent, once the query has been
 * taken through K_h; its output then goes through V_h.
 *
 *   query (row, head):   span 0                        span 1              ...  up to its own position
 *                        page 0       page 1    ...    page 16 ...              scores of positions <= its own only
 *                        m, l, acc -> m', l', acc'     m, l, acc -> ...         (running maximum, sum, weighted values)
 *                        `----------- part ----+-------- part -----+--- ... merged in order, acc / l
 *
 * A task takes CPU_QUERIES queries that share a key head, and reads each page once for all of them: all their spans, or one where
 * there are too few tasks for the threads (decoding a long context). Spans begin at fixed positions and are merged in order, so a
 * query goes through the same steps whatever its neighbours and the threads. Later positions are never touched, not even multiplied
 * by 0 (but where they are whole numbers).
 *
 * Pages are f32, BF16 or int8 (struct k_seq_layer, cpu_page.c), of which four are taken at a time; a position is rounded when it is appended and never again.
 *
 * Long prompts are absorbed too. The expanded form (keys and values of every head made from the latents of a chunk) has fewer products
 * from some hundred tokens on, but other sums, so that a result would tell how a prompt was cut and what of it was there already. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cpu/cpu_impl.h"
#include "kernels/cpu/cpu_page.h"

enum { SPAN_PAGES = 16 };               /* a multiple of what a kind of pages takes at once */

/* What queries have gathered of one span, or of all so far. */
struct part { float *top, *sum, *acc; };        /* [CPU_QUERIES], [CPU_QUERIES], [CPU_QUERIES][dv] */

static int64_t part_floats(int64_t dv) { return CPU_QUERIES * (dv + 2); }
static struct part part_at(float *p) { return (struct part){ p, p + CPU_QUERIES, p + 2 * CPU_QUERIES }; }

struct attn {
	struct cpu *c;
	const struct k_seg *seg;
	int64_t n_seg;
	int64_t from, to;                       /* rows of the batch in this round */
	const float *q;                         /* row `from`, head 0 */
	float *out;
	int64_t q_row, q_head, out_row, out_head;       /* steps */
	int64_t n_kv, group;                    /* key heads; query heads of each */
	int64_t dk, dv, width, value;           /* sizes; values a position; where values begin. Head h: key at h dk, value at value + h dv */
	float scale;
	/* Where spans are tasks: */
	int64_t n_task, span, n_span;           /* tasks; the first span of this round, and how many */
	float *parts;                           /* by task: what was merged so far, then n_span parts */
	float *packed;                          /* by task */
};

/* The rows of a segment that lie in this round. */
static int64_t seg_rows(const struct attn *a, const struct k_seg *s, int64_t *first)
{
	int64_t from = K_MAX(s->row, a->from), to = K_MIN(s->row + s->n, a->to);
	*first = from;
	return K_MAX(to - from, (int64_t)0);
}

/* The queries of a task, and what they have gathered so far. */
struct queries {
	const struct k_seg *seg;
	int64_t kv, n;
	const float *q[CPU_QUERIES];
	float *out[CPU_QUERIES];
	int64_t limit[CPU_QUERIES];             /* positions below it are seen; ascending */
	float *packed;                          /* q as scores wants it */
	float *score;                           /* [n][KK_SCORES] */
	struct part p;                          /* the span that is gathered */
};

/* Some pages for one query: scores become weights, with 0 behind them as mix_i8 wants it; what was gathered is scaled to the new maximum.
 * Returns the positions it sees. */
static int64_t weigh(const struct attn *a, struct queries *g, int64_t i, int64_t base, int64_t rows)
{
	const struct kk *kk = &a->c->kk;
	int64_t seen = K_MIN(g->limit[i] - base, rows);
	float *s = g->score + i * KK_SCORES;
	if (seen <= 0)
		return 0;
	float top = a->scale * kk->max(s, (size_t)seen);
	top = top > g->p.top[i] ? top : g->p.top[i];
	if (top > g->p.top[i] && g->p.sum[i] != 0) {
		float f = expf(g->p.top[i] - top);
		kk->scale(g->p.acc + i * a->dv, f, (size_t)a->dv);
		g->p.sum[i] *= f;
	}
	g->p.top[i] = top;
	g->p.sum[i] += kk->exp_sum(s, a->scale, top, (size_t)seen);
	memset(s + seen, 0, (size_t)(k_align_up((uint64_t)seen, K_PAGE) - (uint64_t)seen) * sizeof(*s));
	return seen;
}

/* Query heads of a key head up to which scores_few is the quicker one. One of both for a model, as their sums have different orders. */
enum { FEW_HEADS = 4 };

static const struct cpu_page_kind *kind_of(const struct queries *g) { return &cpu_page_kinds[g->seg->state->kv]; }

static struct cpu_queries as_queries(const struct attn *a, const struct queries *g)
{
	return (struct cpu_queries){ g->q, g->packed, (int)g->n, a->group <= FEW_HEADS };
}

static struct cpu_pages pages_at(const struct attn *a, const struct queries *g, int64_t page)
{
	const struct k_seq_layer *l = g->seg->state;
	return (struct cpu_pages){ l->page + page, l->n_page - 1 - page, a->width, g->kv * a->dk, a->dk, a->value + g->kv * a->dv, a->dv };
}

/* Scores of the page's first rows for all queries, `at` behind those of the pages before it. */
static void score_page(const struct attn *a, const struct queries *g, int64_t page, int64_t at, int64_t rows)
{
	struct cpu_queries q = as_queries(a, g);
	struct cpu_pages p = pages_at(a, g, page);
	kind_of(g)->scores(&a->c->kk, g->score + at, &p, (int)rows, &q);
}

/* Queries [i, i + n) take the values of the pages' first rows by their weights. */
static void mix_pages(const struct attn *a, struct queries *g, int64_t page, int64_t i, int64_t n, int64_t rows)
{
	struct cpu_pages p = pages_at(a, g, page);
	kind_of(g)->mix(&a->c->kk, g->p.acc + i * a->dv, g->score + i * KK_SCORES, (int)n, &p, (int)rows);
}

/* As many pages as a kind takes at once. */
static void attend_pages(const struct attn *a, struct queries *g, int64_t page)
{
	int64_t base = page * K_PAGE, rows = K_MIN(g->limit[g->n - 1] - base, (int64_t)kind_of(g)->pages * K_PAGE), seen[CPU_QUERIES], run;
	for (int64_t at = 0; at < rows; at += K_PAGE)
		score_page(a, g, page + at / K_PAGE, at, K_MIN(rows - at, (int64_t)K_PAGE));
	for (int64_t i = 0; i < g->n; i++)
		seen[i] = weigh(a, g, i, base, rows);
	for (int64_t i = 0; i < g->n; i += run) {
		for (run = 1; i + run < g->n && seen[i + run] == seen[i];)
			run++;
		mix_pages(a, g, page, i, run, seen[i]);
	}
}

static void clear_part(const struct attn *a, struct part p, int64_t n)
{
	memset(p.acc, 0, (size_t)(n * a->dv) * sizeof(*p.acc));
	for (int64_t i = 0; i < n; i++) {
		p.top[i] = -INFINITY;
		p.sum[i] = 0;
	}
}

static void attend_span(const struct attn *a, struct queries *g, struct part p, int64_t span)
{
	int64_t end = K_MIN(k_div_up(g->limit[g->n - 1], K_PAGE), (span + 1) * SPAN_PAGES);

	clear_part(a, p, g->n);
	g->p = p;
	for (int64_t page = span * SPAN_PAGES; page < end; page += kind_of(g)->pages)
		attend_pages(a, g, page);
}

/* What the next span gave goes to what was gathered before. A query that saw nothing has a sum of 0. */
static void merge(const struct attn *a, int64_t n, struct part to, struct part from)
{
	const struct kk *kk = &a->c->kk;

	for (int64_t i = 0; i < n; i++) {
		float *acc = to.acc + i * a->dv, *more = from.acc + i * a->dv, top = K_MAX(to.top[i], from.top[i]);

		if (from.sum[i] == 0)
			continue;
		if (to.sum[i] == 0) {
			memcpy(acc, more, (size_t)a->dv * sizeof(*acc));
			to.sum[i] = from.sum[i];
		} else {
			/* One of both is 1. */
			float f = to.top[i] == top ? 1 : expf(to.top[i] - top), h = f == 1 ? expf(from.top[i] - top) : 1;

			if (f != 1)
				kk->scale(acc, f, (size_t)a->dv);
			kk->axpy(acc, more, h, (size_t)a->dv);
			to.sum[i] = to.sum[i] * f + from.sum[i] * h;
		}
		to.top[i] = top;
	}
}

static void put_out(const struct attn *a, const struct queries *g, struct part p)
{
	for (int64_t i = 0; i < g->n; i++) {
		a->c->kk.scale(p.acc + i * a->dv, 1 / p.sum[i], (size_t)a->dv);
		memcpy(g->out[i], p.acc + i * a->dv, (size_t)a->dv * sizeof(*p.acc));
	}
}

static int64_t spans_of(const struct queries *g) { return k_div_up(g->limit[g->n - 1], SPAN_PAGES * K_PAGE); }

static int64_t blocks_of(const struct attn *a, int64_t rows) { return k_div_up(rows * a->group, CPU_QUERIES); }

/* The queries of task i. */
static void gather(const struct attn *a, int64_t i, int worker, struct queries *g)
{
	int64_t block = i / a->n_kv, first, rows = 0;
	const struct k_seg *s = a->seg;

	*g = (struct queries){ .kv = i % a->n_kv, .score = room_of(a->c, worker), .packed = room_of(a->c, worker) + CPU_QUERIES * KK_SCORES };
	for (;; s++) {
		K_ASSERT(s < a->seg + a->n_seg);
		rows = seg_rows(a, s, &first);
		if (block < blocks_of(a, rows))
			break;
		block -= blocks_of(a, rows);
	}
	g->seg = s;
	for (int64_t j = block * CPU_QUERIES; j < rows * a->group && g->n < CPU_QUERIES; j++) {
		int64_t row = first + j / a->group, head = g->kv * a->group + j % a->group;
		g->q[g->n] = a->q + (row - a->from) * a->q_row + head * a->q_head;
		g->out[g->n] = a->out + (row - a->from) * a->out_row + head * a->out_head;
		g->limit[g->n++] = s->pos + (row - s->row) + 1;
	}
}

static void pack(const struct attn *a, struct queries *g)
{
	struct cpu_queries q = as_queries(a, g);
	kind_of(g)->pack(&a->c->kk, &q, g->kv * a->dk, a->dk);
}

/* All spans of a task's queries. */
static void attn_task(void *arg, int64_t i, int worker)
{
	const struct attn *a = arg;
	struct queries g;
	float *room = room_of(a->c, worker) + CPU_QUERIES * KK_SCORES + KK_PACKED(a->dk);
	struct part all = part_at(room), one = part_at(room + part_floats(a->dv));

	gather(a, i, worker, &g);
	pack(a, &g);
	clear_part(a, all, g.n);
	for (int64_t span = 0; span < spans_of(&g); span++) {
		attend_span(a, &g, one, span);
		merge(a, g.n, all, one);
	}
	put_out(a, &g, all);
}

static struct part split_part(const struct attn *a, int64_t task, int64_t slot)
{
	return part_at(a->parts + (task * (a->n_span + 1) + slot) * part_floats(a->dv));
}

/* Of a task whose spans are tasks. */
static void gather_split(const struct attn *a, int64_t task, int worker, struct queries *g)
{
	gather(a, task, worker, g);
	g->packed = a->packed + task * KK_PACKED(a->dk);
}

static void pack_task(void *arg, int64_t i, int worker)
{
	const struct attn *a = arg;
	struct queries g;
	gather_split(a, i, worker, &g);
	pack(a, &g);
}

/* One span of a task's queries. All tasks of a span follow one another: its pages are in the cache then. */
static void span_task(void *arg, int64_t i, int worker)
{
	const struct attn *a = arg;
	int64_t task = i % a->n_task, slot = i / a->n_task;
	struct queries g;

	gather_split(a, task, worker, &g);
	if (a->span + slot >= spans_of(&g))
		return;
	attend_span(a, &g, split_part(a, task, 1 + slot), a->span + slot);
}

static void merge_task(void *arg, int64_t i, int worker)
{
	const struct attn *a = arg;
	struct part all = split_part(a, i, 0);
	struct queries g;

	gather(a, i, worker, &g);
	if (a->span == 0)
		clear_part(a, all, g.n);
	for (int64_t slot = 0; slot < a->n_span && a->span + slot < spans_of(&g); slot++)
		merge(a, g.n, all, split_part(a, i, 1 + slot));
	if (a->span + a->n_span >= spans_of(&g) && a->span < spans_of(&g))
		put_out(a, &g, all);
}

/* Spans as tasks, as many at once as there is scratch for. False: not even two. */
static bool run_split(struct attn *a, int64_t tasks, int64_t spans, double work)
{
	int64_t packed = tasks * KK_PACKED(a->dk), floats = tasks * part_floats(a->dv), before = k_div_up(packed, floats), taken = a->c->taken;
	int64_t fit = cpu_fit(a->c, before + spans + 1, floats) - before;

	if (fit < 3)
		return false;
	a->n_task = tasks;
	a->n_span = fit - 1;
	a->packed = cpu_take(a->c, packed);
	a->parts = cpu_take(a->c, fit * floats);
	cpu_each(a->c, tasks, (double)packed, pack_task, a);
	for (a->span = 0; a->span < spans; a->span += a->n_span) {
		cpu_each(a->c, tasks * a->n_span, work, span_task, a);
		cpu_each(a->c, tasks, (double)(a->n_span * floats), merge_task, a);
	}
	a->c->taken = taken;
	return true;
}

static void run_attn(struct attn *a)
{
	int64_t tasks = 0, longest = 0, first, spans;
	double seen = 0, work;
	for (int64_t i = 0; i < a->n_seg; i++) {
		int64_t rows = seg_rows(a, a->seg + i, &first);
		tasks += blocks_of(a, rows) * a->n_kv;
		longest = K_MAX(longest, rows ? a->seg[i].pos + a->seg[i].n : 0);
		seen += (double)rows * (double)(a->seg[i].pos + a->seg[i].n);
	}
	work = seen * (double)(a->n_kv * a->group * (a->dk + a->dv));
	spans = k_div_up(longest, SPAN_PAGES * K_PAGE);
	if (spans < 2 || a->c->n_worker == 1 || tasks >= 4 * a->c->n_worker || !run_split(a, tasks, spans, work))
		cpu_each(a->c, tasks, work, attn_task, a);
}

/* The segment of a row; its position in *pos. */
static const struct k_seg *seg_at(const struct k_seg *seg, int64_t n_seg, int64_t row, int64_t *pos)
{
	for (int64_t i = 0; i < n_seg; i++)
		if (row >= seg[i].row && row < seg[i].row + seg[i].n) {
			*pos = seg[i].pos + row - seg[i].row;
			return &seg[i];
		}
	return NULL;
}

/* A position's values, a[n_a] and then those of b. */
static void append(const struct cpu *c, const struct k_seg *s, int64_t pos, int64_t width, const float *a, int64_t n_a, const float *b)
{
	const struct k_seq_layer *l = s->state;
	K_ASSERT(pos / K_PAGE < l->n_page);
	cpu_page_kinds[l->kv].append(&c->kk, l->page[pos / K_PAGE], width, pos % K_PAGE, a, n_a, b);
}

/* --- GQA ----------------------------------------------------------------------------------------------------------------- */

struct gqa { const struct cpu *c; const struct k_op_gqa *op; };

static void gqa_append(void *arg, int64_t row, int worker K_UNUSED)
{
	const struct gqa *g = arg;
	const struct k_op_gqa *op = g->op;
	const struct k_hp *hp = op->hp;
	int64_t d = hp->head_dim, nk = hp->n_head_kv * d, pos;
	const struct k_seg *s = seg_at(op->seg, op->n_seg, row, &pos);
	float *q = op->q ? op->q + row * hp->n_head * d : NULL, *k = op->k + row * nk;
	if (!s)
		return;
	if (hp->rope.kind != K_ROPE_NONE) {
		const float *table = op->rope + pos * hp->rope.dim;
		for (int64_t h = 0; op->q && h < hp->n_head; h++)
			g->c->kk.rope(q + h * d, table, (size_t)hp->rope.dim / 2, hp->rope.interleaved);
		for (int64_t h = 0; h < hp->n_head_kv; h++)
			g->c->kk.rope(k + h * d, table, (size_t)hp->rope.dim / 2, hp->rope.interleaved);
	}
	append(g->c, s, pos, 2 * nk, k, nk, op->v + row * nk);
}

void cpu_gqa(struct k_device *dev, const struct k_op_gqa *op)
{
	const struct k_hp *hp = op->hp;
	struct cpu *c = cpu_of(dev);
	struct gqa g = { c, op };
	int64_t d = hp->head_dim, nq = hp->n_head * d, nk = hp->n_head_kv * d;
	struct attn a = { .c = c, .seg = op->seg, .n_seg = op->n_seg, .from = 0, .to = op->n, .q = op->q, .out = op->y,
		.q_row = nq, .q_head = d, .out_row = nq, .out_head = d, .n_kv = hp->n_head_kv, .group = hp->n_head / hp->n_head_kv,
		.dk = d, .dv = d, .width = 2 * nk, .value = nk, .scale = (float)(1 / sqrt((double)d)) };
	K_ASSERT(cpu_attn_room(hp) <= c->n_room);
	cpu_each(c, op->n, 2 * (double)(op->n * ((op->q ? nq : 0) + nk)), gqa_append, &g);
	cpu_begin(c);
	if (op->q)
		run_attn(&a);
}

/* --- MLA ----------------------------------------------------------------------------------------------------------------- */

struct mla {
	const struct cpu *c;
	const struct k_op_mla *op;
	int64_t r, dr, dn, dv, H;
	bool bf16;                              /* kv_b */
	int64_t from, n;                        /* rows of this round */
	float *query, *seen;                    /* [n][H][r + dr], [n][H][r] */
};

/* In front of a round: normed latent and rotated key go to the page, the query's last part is rotated in place. */
static void mla_append(void *arg, int64_t row, int worker K_UNUSED)
{
	const struct mla *m = arg;
	const struct k_op_mla *op = m->op;
	const struct kk *kk = &m->c->kk;
	int64_t pos, width = m->r + m->dr, dq = m->dn + m->dr;
	const struct k_seg *s = seg_at(op->seg, op->n_seg, row, &pos);
	float *kv = op->kv + row * width;
	if (!s)
		return;
	kk->rmsnorm(kv, kv, op->kv_norm, (size_t)m->r, op->hp->eps_inner);
	if (op->hp->rope.kind != K_ROPE_NONE) {
		const float *table = op->rope + pos * m->dr;
		kk->rope(kv + m->r, table, (size_t)m->dr / 2, op->hp->rope.interleaved);
		for (int64_t h = 0; op->q && h < m->H; h++)
			kk->rope(op->q + (row * m->H + h) * dq + m->dn, table, (size_t)m->dr / 2, op->hp->rope.interleaved);
	}
	append(m->c, s, pos, width, kv, width, NULL);
}

/* A task of the outer products: one head, a run of rows. */
static int64_t mla_run(const struct mla *m, int64_t i, int64_t *head, int64_t *first)
{
	*head = i % m->H;
	*first = i / m->H * CPU_QUERIES;
	return K_MIN(m->n - *first, (int64_t)CPU_QUERIES);
}

/* Row `row` of a head's part of kv_b. What is made of BF16 has the bits of what is made of the same values in f32. */
static const void *mla_row(const struct mla *m, int64_t head, int64_t row)
{
	return (const char *)m->op->kv_b->data + (size_t)((head * (m->dn + m->dv) + row) * m->r) * (m->bf16 ? sizeof(uint16_t) : sizeof(float));
}

/* [K_h^T q_nope | q_rope] */
static void mla_in(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct mla *m = arg;
	int64_t head, first, n = mla_run(m, i, &head, &first), width = m->r + m->dr, dq = m->dn + m->dr;
	const float *q = m->op->q + ((m->from + first) * m->H + head) * dq;
	float *y = m->query + (first * m->H + head) * width;
	for (int64_t t = 0; t < n; t++) {
		memset(y + t * m->H * width, 0, (size_t)m->r * sizeof(*y));
		memcpy(y + t * m->H * width + m->r, q + t * m->H * dq + m->dn, (size_t)m->dr * sizeof(*y));
	}
	if (m->bf16)
		m->c->kk.mix_bf16(y, (size_t)(m->H * width), q, (size_t)(m->H * dq), (int)n, mla_row(m, head, 0), (size_t)m->r, (int)m->dn, (size_t)m->r);
	else
		m->c->kk.mix(y, (size_t)(m->H * width), q, (size_t)(m->H * dq), (int)n, mla_row(m, head, 0), (size_t)m->r, (int)m->dn, (size_t)m->r);
}

static void mla_out(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct mla *m = arg;
	int64_t head, first, n = mla_run(m, i, &head, &first);
	const float *x[CPU_QUERIES];
	const void *w = mla_row(m, head, m->dn);
	float *y = m->op->y + ((m->from + first) * m->H + head) * m->dv;
	for (int64_t t = 0; t < n; t++)
		x[t] = m->seen + ((first + t) * m->H + head) * m->r;
	if (m->bf16)
		m->c->kk.gemm_bf16(y, (size_t)(m->H * m->dv), w, (size_t)m->r, (int)m->dv, x, (int)n, (size_t)m->r);
	else
		m->c->kk.gemm_f32(y, (size_t)(m->H * m->dv), w, (size_t)m->r, (int)m->dv, x, (int)n, (size_t)m->r);
}

void cpu_mla(struct k_device *dev, const struct k_op_mla *op)
{
	const struct k_hp *hp = op->hp;
	struct cpu *c = cpu_of(dev);
	struct mla m = { .c = c, .op = op, .r = hp->kv_lora, .dr = hp->d_rope, .dn = hp->d_nope, .dv = hp->d_v, .H = hp->n_head,
		.bf16 = strcmp(op->kv_b->type->name, "bf16") == 0 };
	int64_t width = m.r + m.dr, most;

	K_ASSERT(cpu_attn_room(hp) <= c->n_room);
	cpu_each(c, op->n, 4 * (double)(op->n * ((op->q ? m.H * (m.dn + m.dr) : 0) + width)), mla_append, &m);
	cpu_begin(c);
	most = cpu_fit(c, op->n, cpu_attn_row(hp));
	m.query = cpu_take(c, most * m.H * width);
	m.seen = cpu_take(c, most * m.H * m.r);
	for (m.from = 0; op->q && m.from < op->n; m.from += most) {
		m.n = K_MIN(op->n - m.from, most);
		struct attn a = { .c = c, .seg = op->seg, .n_seg = op->n_seg, .from = m.from, .to = m.from + m.n, .q = m.query, .out = m.seen,
			.q_row = m.H * width, .q_head = width, .out_row = m.H * m.r, .out_head = m.r, .n_kv = 1, .group = m.H,
			.dk = width, .dv = m.r, .width = width, .value = 0, .scale = (float)op->scale };
		int64_t tasks = m.H * k_div_up(m.n, CPU_QUERIES);
		double rows = (double)(m.n * m.H * m.r);
		cpu_each(c, tasks, rows * (double)m.dn, mla_in, &m);
		run_attn(&a);
		cpu_each(c, tasks, rows * (double)m.dv, mla_out, &m);
	}
}

int64_t cpu_attn_row(const struct k_hp *hp) { return hp->n_head * (2 * hp->kv_lora + hp->d_rope); }

int64_t cpu_attn_room(const struct k_hp *hp)
{
	return CPU_QUERIES * KK_SCORES + KK_PACKED(K_MAX(hp->head_dim, hp->kv_lora + hp->d_rope)) + 2 * part_floats(K_MAX(hp->head_dim, hp->kv_lora));
}
