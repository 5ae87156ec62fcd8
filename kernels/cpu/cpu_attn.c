/* cpu_attn.c: attention over pages, for GQA and for MLA in absorbed form.
 *
 * MLA is GQA with one key head that all query heads share: key = [latent | rotated part], value = latent, once the query has been
 * taken through K_h; its output then goes through V_h.
 *
 *   query (row, head):   page 0        page 1        ...  the page of its own position
 *                        scores        scores             scores of positions <= its own only
 *                        m, l, acc  -> m', l', acc' -> ..., acc / l      (running maximum, sum, weighted values)
 *
 * A task takes CPU_QUERIES queries that share a key head, and reads each page once for all of them. Each query goes through the same
 * pages in the same order whatever its neighbours: the steps depend on its position alone. Later positions are never touched, not even
 * multiplied by 0. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cpu/cpu_impl.h"

struct attn {
	const struct cpu *c;
	const struct k_seg *seg;
	int64_t n_seg;
	int64_t from, to;                       /* rows of the batch in this round */
	const float *q;                         /* row `from`, head 0 */
	float *out;
	int64_t q_row, q_head, out_row, out_head;       /* steps */
	int64_t n_kv, group;                    /* key heads; query heads of each */
	int64_t dk, dv, width, value;           /* sizes; floats a position; where values begin. Head h: key at h dk, value at value + h dv */
	float scale;
};

/* The part of a segment that lies in this round. */
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
	float top[CPU_QUERIES], sum[CPU_QUERIES];
	float *score, *acc;                     /* [n][K_PAGE], [n][dv] */
};

/* One page for one query: scores become weights; what was gathered is scaled to the new maximum. Returns the positions it sees. */
static int64_t weigh(const struct attn *a, struct queries *g, int64_t i, int64_t base, int64_t rows)
{
	const struct kk *kk = &a->c->kk;
	int64_t seen = K_MIN(g->limit[i] - base, rows);
	float *s = g->score + i * K_PAGE;
	if (seen <= 0)
		return 0;
	float top = a->scale * kk->max(s, (size_t)seen);
	top = top > g->top[i] ? top : g->top[i];
	if (top > g->top[i] && base > 0) {
		float f = expf(g->top[i] - top);
		kk->scale(g->acc + i * a->dv, f, (size_t)a->dv);
		g->sum[i] *= f;
	}
	g->top[i] = top;
	g->sum[i] += kk->exp_sum(s, a->scale, top, (size_t)seen);
	return seen;
}

static void attend_page(const struct attn *a, struct queries *g, int64_t page)
{
	const struct kk *kk = &a->c->kk;
	const float *keys = g->seg->state->page[page] + g->kv * a->dk, *values = g->seg->state->page[page] + a->value + g->kv * a->dv;
	int64_t base = page * K_PAGE, rows = K_MIN(g->limit[g->n - 1] - base, (int64_t)K_PAGE), seen[CPU_QUERIES];
	bool same = true;
	kk->gemm_f32(g->score, K_PAGE, keys, (size_t)a->width, (int)rows, g->q, (int)g->n, (size_t)a->dk);
	for (int64_t i = 0; i < g->n; i++) {
		seen[i] = weigh(a, g, i, base, rows);
		same &= seen[i] == rows;
	}
	if (same) {
		kk->mix(g->acc, (size_t)a->dv, g->score, K_PAGE, (int)g->n, values, (size_t)a->width, (int)rows, (size_t)a->dv);
		return;
	}
	for (int64_t i = 0; i < g->n; i++)
		kk->mix(g->acc + i * a->dv, (size_t)a->dv, g->score + i * K_PAGE, K_PAGE, 1, values, (size_t)a->width, (int)seen[i],
			(size_t)a->dv);
}

static void attend(const struct attn *a, struct queries *g)
{
	memset(g->acc, 0, (size_t)(g->n * a->dv) * sizeof(*g->acc));
	for (int64_t i = 0; i < g->n; i++) {
		g->top[i] = -INFINITY;
		g->sum[i] = 0;
	}
	for (int64_t page = 0; page * K_PAGE < g->limit[g->n - 1]; page++)
		attend_page(a, g, page);
	for (int64_t i = 0; i < g->n; i++) {
		a->c->kk.scale(g->acc + i * a->dv, 1 / g->sum[i], (size_t)a->dv);
		memcpy(g->out[i], g->acc + i * a->dv, (size_t)a->dv * sizeof(*g->acc));
	}
}

static int64_t blocks_of(const struct attn *a, int64_t rows) { return k_div_up(rows * a->group, CPU_QUERIES); }

static void attn_task(void *arg, int64_t i, int worker)
{
	const struct attn *a = arg;
	struct queries g = { .kv = i % a->n_kv, .score = room_of(a->c, worker) };
	int64_t block = i / a->n_kv, first, rows = 0;
	const struct k_seg *s = a->seg;

	g.acc = g.score + CPU_QUERIES * K_PAGE;
	for (;; s++) {
		K_ASSERT(s < a->seg + a->n_seg);
		rows = seg_rows(a, s, &first);
		if (block < blocks_of(a, rows))
			break;
		block -= blocks_of(a, rows);
	}
	g.seg = s;
	for (int64_t j = block * CPU_QUERIES; j < rows * a->group && g.n < CPU_QUERIES; j++) {
		int64_t row = first + j / a->group, head = g.kv * a->group + j % a->group;
		g.q[g.n] = a->q + (row - a->from) * a->q_row + head * a->q_head;
		g.out[g.n] = a->out + (row - a->from) * a->out_row + head * a->out_head;
		g.limit[g.n++] = s->pos + (row - s->row) + 1;
	}
	attend(a, &g);
}

static void run_attn(struct attn *a)
{
	int64_t tasks = 0, first;
	double seen = 0;
	for (int64_t i = 0; i < a->n_seg; i++) {
		int64_t rows = seg_rows(a, a->seg + i, &first);
		tasks += blocks_of(a, rows);
		seen += (double)rows * (double)(a->seg[i].pos + a->seg[i].n);
	}
	cpu_each(a->c, tasks * a->n_kv, seen * (double)(a->n_kv * a->group * (a->dk + a->dv)), attn_task, a);
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

static float *slot_at(const struct k_seg *s, int64_t pos, int64_t width)
{
	K_ASSERT(pos / K_PAGE < s->state->n_page);
	return s->state->page[pos / K_PAGE] + pos % K_PAGE * width;
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
	float *q = op->q + row * hp->n_head * d, *k = op->k + row * nk;
	if (!s)
		return;
	if (hp->rope.kind != K_ROPE_NONE) {
		const float *table = op->rope + pos * hp->rope.dim;
		for (int64_t h = 0; h < hp->n_head; h++)
			g->c->kk.rope(q + h * d, table, (size_t)hp->rope.dim / 2, hp->rope.interleaved);
		for (int64_t h = 0; h < hp->n_head_kv; h++)
			g->c->kk.rope(k + h * d, table, (size_t)hp->rope.dim / 2, hp->rope.interleaved);
	}
	float *slot = slot_at(s, pos, 2 * nk);
	memcpy(slot, k, (size_t)nk * sizeof(*slot));
	memcpy(slot + nk, op->v + row * nk, (size_t)nk * sizeof(*slot));
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
	cpu_each(c, op->n, 2 * (double)(op->n * (nq + nk)), gqa_append, &g);
	run_attn(&a);
}

/* --- MLA ----------------------------------------------------------------------------------------------------------------- */

struct mla {
	const struct cpu *c;
	const struct k_op_mla *op;
	int64_t r, dr, dn, dv, H;
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
		for (int64_t h = 0; h < m->H; h++)
			kk->rope(op->q + (row * m->H + h) * dq + m->dn, table, (size_t)m->dr / 2, op->hp->rope.interleaved);
	}
	memcpy(slot_at(s, pos, width), kv, (size_t)width * sizeof(*kv));
}

/* A task of the outer products: one head, a run of rows. */
static int64_t mla_run(const struct mla *m, int64_t i, int64_t *head, int64_t *first)
{
	*head = i % m->H;
	*first = i / m->H * CPU_QUERIES;
	return K_MIN(m->n - *first, (int64_t)CPU_QUERIES);
}

static const float *mla_head(const struct mla *m, int64_t head)
{
	return (const float *)m->op->kv_b->data + head * (m->dn + m->dv) * m->r;
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
	m->c->kk.mix(y, (size_t)(m->H * width), q, (size_t)(m->H * dq), (int)n, mla_head(m, head), (size_t)m->r, (int)m->dn, (size_t)m->r);
}

static void mla_out(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct mla *m = arg;
	int64_t head, first, n = mla_run(m, i, &head, &first);
	const float *x[CPU_QUERIES], *w = mla_head(m, head) + m->dn * m->r;
	float *y = m->op->y + ((m->from + first) * m->H + head) * m->dv;
	for (int64_t t = 0; t < n; t++)
		x[t] = m->seen + ((first + t) * m->H + head) * m->r;
	m->c->kk.gemm_f32(y, (size_t)(m->H * m->dv), w, (size_t)m->r, (int)m->dv, x, (int)n, (size_t)m->r);
}

void cpu_mla(struct k_device *dev, const struct k_op_mla *op)
{
	const struct k_hp *hp = op->hp;
	struct cpu *c = cpu_of(dev);
	struct mla m = { .c = c, .op = op, .r = hp->kv_lora, .dr = hp->d_rope, .dn = hp->d_nope, .dv = hp->d_v, .H = hp->n_head };
	int64_t width = m.r + m.dr, most;

	K_ASSERT(cpu_attn_room(hp) <= c->n_room);
	cpu_each(c, op->n, 4 * (double)(op->n * (m.H * (m.dn + m.dr) + width)), mla_append, &m);
	cpu_begin(c);
	most = cpu_fit(c, op->n, cpu_attn_row(hp));
	m.query = cpu_take(c, most * m.H * width);
	m.seen = cpu_take(c, most * m.H * m.r);
	for (m.from = 0; m.from < op->n; m.from += most) {
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

int64_t cpu_attn_room(const struct k_hp *hp) { return CPU_QUERIES * (K_PAGE + K_MAX(hp->head_dim, hp->kv_lora)); }
