/* cpu_moe.c: the router's choice, and the routed experts.
 *
 *   pairs (token, slot) sorted by expert, tokens ascending:   expert 3: | t0 t5 t9 | expert 7: | t0 t2 | ...
 *
 *   1  gate, up     a task: one expert, a block of its rows, all its tokens     -> hidden [pair][F] twice
 *   2  silu * up    a task: a pair; or SiTU
 *   3  down         as 1                                                        -> out [pair][D]
 *   4  weighted sum a task: a token, its slots in ascending order of expert     -> y
 *
 * The choice of experts is made in double by the same scalar code at every level. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cpu/cpu_impl.h"

/* --- router -------------------------------------------------------------------------------------------------------------- */

struct choice { double *score, *biased; uint8_t *used; };       /* by expert */

static struct choice choice_in(float *room, int64_t n_expert)
{
	double *p = (double *)room;
	return (struct choice){ p, p + n_expert, (uint8_t *)(p + 2 * n_expert) };
}

int64_t cpu_moe_room(const struct k_hp *hp) { return 5 * hp->n_expert + hp->n_group * 2 + 16; }

static void score_softmax(double *s, const float *logit, int64_t n)
{
	double top = -INFINITY, sum = 0;
	for (int64_t e = 0; e < n; e++)
		top = logit[e] > top ? logit[e] : top;
	for (int64_t e = 0; e < n; e++)
		sum += s[e] = exp(logit[e] - top);
	for (int64_t e = 0; e < n; e++)
		s[e] /= sum;
}

static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

/* The best that is not used yet: the lowest index among equals, and among NaNs. */
static int64_t best_of(const double *v, const uint8_t *used, int64_t n)
{
	int64_t best = -1;
	for (int64_t i = 0; i < n; i++)
		if (!used[i] && (best < 0 || v[i] > v[best] || (v[best] != v[best] && v[i] == v[i])))
			best = i;
	return best;
}

static double group_value(const double *v, int64_t n)
{
	double a = -INFINITY, b = -INFINITY;
	for (int64_t i = 0; i < n; i++) {
		if (v[i] > a) {
			b = a;
			a = v[i];
		} else if (v[i] > b) {
			b = v[i];
		}
	}
	return n > 1 ? a + b : a;
}

/* Experts outside the best groups get -inf. The values of groups lie behind those of experts. */
static void drop_groups(const struct choice *c, const struct k_hp *hp)
{
	int64_t size = hp->n_expert / hp->n_group;
	double *value = c->biased + hp->n_expert;
	uint8_t *kept = (uint8_t *)(value + hp->n_group);
	memset(kept, 0, (size_t)hp->n_group);
	for (int64_t g = 0; g < hp->n_group; g++)
		value[g] = group_value(c->biased + g * size, size);
	for (int64_t i = 0; i < hp->n_group_used; i++)
		kept[best_of(value, kept, hp->n_group)] = 1;
	for (int64_t e = 0; e < hp->n_expert; e++)
		if (!kept[e / size])
			c->biased[e] = -INFINITY;
}

struct route { const struct cpu *c; const struct k_op_route *op; };

static void route_task(void *arg, int64_t i, int worker)
{
	const struct route *a = arg;
	const struct k_hp *hp = a->op->hp;
	const float *logit = a->op->logits + i * hp->n_expert, *bias = a->op->bias;
	struct choice c = choice_in(room_of(a->c, worker), hp->n_expert);
	int32_t *ids = a->op->ids + i * hp->n_expert_used;
	float *weights = a->op->weights + i * hp->n_expert_used;
	double sum = 0;

	if (hp->router_softmax)
		score_softmax(c.score, logit, hp->n_expert);
	for (int64_t e = 0; e < hp->n_expert; e++) {
		if (!hp->router_softmax)
			c.score[e] = sigmoid(logit[e]);
		c.biased[e] = c.score[e] + (bias ? bias[e] : 0);
		if (hp->router_biased)
			c.score[e] = c.biased[e];
	}
	if (hp->n_group > 1)
		drop_groups(&c, hp);
	memset(c.used, 0, (size_t)hp->n_expert);
	for (int64_t k = 0; k < hp->n_expert_used; k++)
		c.used[best_of(c.biased, c.used, hp->n_expert)] = 1;
	for (int64_t e = 0, k = 0; e < hp->n_expert; e++)
		if (c.used[e]) {
			ids[k++] = (int32_t)e;
			sum += c.score[e];
		}
	for (int64_t k = 0; k < hp->n_expert_used; k++) {
		double w = c.score[ids[k]];
		weights[k] = (float)((hp->expert_norm ? w / (sum + 1e-20) : w) * hp->expert_scale);
	}
}

void cpu_route(struct k_device *dev, const struct k_op_route *op)
{
	enum { COST = 40 };
	struct route a = { cpu_of(dev), op };
	K_ASSERT(cpu_moe_room(op->hp) <= a.c->n_room && op->hp->n_expert_used <= op->hp->n_expert);
	cpu_each(a.c, op->n, (double)(COST * op->n * op->hp->n_expert), route_task, &a);
}

/* --- experts ------------------------------------------------------------------------------------------------------------- */

struct moe {
	struct cpu *c;
	const struct k_op_moe *op;
	int64_t F, D, n, used;          /* n tokens in this round */
	const int32_t *ids;
	const float *weights;
	float *y;
	const float *x;
	float *for_gate, *for_up;       /* x as their products take it; where both take the same, the same */
	bool rounds_gate, rounds_up, rounds_down;
	int32_t *from, *active;         /* first pair by expert, and the end; experts that have pairs */
	int32_t *token, *place;         /* token of a pair; pair of a (token, slot) */
	int64_t n_active;
	float *gate, *up, *out;
	int64_t blocks;                 /* of rows, in the step that runs */
	int block;
};

static void sort_pairs(struct moe *m)
{
	int64_t E = m->op->hp->n_expert, pairs = m->n * m->used;
	memset(m->from, 0, (size_t)(E + 1) * sizeof(*m->from));
	for (int64_t i = 0; i < pairs; i++)
		m->from[m->ids[i] + 1]++;
	m->n_active = 0;
	for (int64_t e = 0; e < E; e++) {
		if (m->from[e + 1])
			m->active[m->n_active++] = (int32_t)e;
		m->from[e + 1] += m->from[e];
	}
	for (int64_t i = 0; i < pairs; i++) {
		int32_t p = m->from[m->ids[i]]++;
		m->token[p] = (int32_t)(i / m->used);
		m->place[i] = p;
	}
	/* Each start has moved to its end: the start of the next. */
	memmove(m->from + 1, m->from, (size_t)E * sizeof(*m->from));
	m->from[0] = 0;
}

struct part { int64_t expert, row, first, n; int rows; };

static struct part part_of(const struct moe *m, int64_t i, int64_t rows)
{
	int64_t e = m->active[i / m->blocks], row = i % m->blocks * m->block;
	return (struct part){ e, row, m->from[e], m->from[e + 1] - m->from[e], (int)K_MIN(rows - row, (int64_t)m->block) };
}

static struct cpu_rows rows_for(const struct moe *m, bool rounded, const float *row, int64_t first)
{
	return (struct cpu_rows){ rounded ? row : m->x, rounded ? KK_READY(m->D) : m->D, m->token + first, cpu_act(m->c, false) };
}

static void up_task(void *arg, int64_t i, int worker)
{
	const struct moe *m = arg;
	struct part p = part_of(m, i, m->F);
	struct k_tensor gate = k_tensor_slice(m->op->gate, p.expert), up = k_tensor_slice(m->op->up, p.expert);
	struct cpu_rows x = rows_for(m, m->rounds_gate, m->for_gate, p.first);
	int64_t step = KK_READY(m->F), at = p.first * step + p.row;
	cpu_mul(m->c, worker, &gate, p.row, p.rows, x, m->gate + at, step, p.n);
	x = rows_for(m, m->rounds_up, m->for_up, p.first);
	cpu_mul(m->c, worker, &up, p.row, p.rows, x, m->up + at, step, p.n);
}

static void act_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct moe *m = arg;
	float *gate = m->gate + i * KK_READY(m->F);
	cpu_unit(m->c, gate, gate, m->up + i * KK_READY(m->F), m->op->hp->situ, m->op->hp->situ_up, m->F);
	if (m->rounds_down)
		cpu_round(m->c, m->op->down, cpu_act(m->c, false), gate, gate, m->F);
}

static void down_task(void *arg, int64_t i, int worker)
{
	const struct moe *m = arg;
	struct part p = part_of(m, i, m->D);
	struct k_tensor down = k_tensor_slice(m->op->down, p.expert);
	struct cpu_rows x = { m->gate + p.first * KK_READY(m->F), KK_READY(m->F), NULL, cpu_act(m->c, false) };
	cpu_mul(m->c, worker, &down, p.row, p.rows, x, m->out + p.first * m->D + p.row, m->D, p.n);
}

static void sum_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct moe *m = arg;
	float *y = m->y + i * m->D;
	memset(y, 0, (size_t)m->D * sizeof(*y));
	for (int64_t k = i * m->used; k < (i + 1) * m->used; k++)
		m->c->kk.axpy(y, m->out + m->place[k] * m->D, m->weights[k], (size_t)m->D);
}

static void round_x(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct moe *m = arg;
	if (m->rounds_gate)
		cpu_round(m->c, m->op->gate, cpu_act(m->c, false), m->for_gate + i * KK_READY(m->D), m->x + i * m->D, m->D);
	if (m->rounds_up && m->for_up != m->for_gate)
		cpu_round(m->c, m->op->up, cpu_act(m->c, false), m->for_up + i * KK_READY(m->D), m->x + i * m->D, m->D);
}

static void run_round(struct moe *m)
{
	int64_t pairs = m->n * m->used;
	double work = (double)pairs * (double)m->F * (double)m->D;
	if (m->rounds_gate || m->rounds_up)
		cpu_each(m->c, m->n, (double)(m->n * m->D), round_x, m);
	sort_pairs(m);
	m->block = cpu_task_rows(m->op->gate);
	m->blocks = k_div_up(m->F, m->block);
	cpu_each(m->c, m->n_active * m->blocks, 2 * work, up_task, m);
	cpu_each(m->c, pairs, 4 * (double)(pairs * m->F), act_task, m);
	m->block = cpu_task_rows(m->op->down);
	m->blocks = k_div_up(m->D, m->block);
	cpu_each(m->c, m->n_active * m->blocks, work, down_task, m);
	cpu_each(m->c, m->n, (double)(pairs * m->D), sum_task, m);
}

/* Floats a token: two hidden rows and one of output a slot, two indices a slot, two rounded rows. */
static int64_t token_floats(int64_t used, int64_t F, int64_t D) { return used * (2 * KK_READY(F) + D + 2) + 2 * KK_READY(D); }
int64_t cpu_moe_row(const struct k_hp *hp) { return token_floats(hp->n_expert_used, hp->n_ff_expert, k_hp_expert_width(hp)); }
int64_t cpu_moe_fixed(const struct k_hp *hp) { return 2 * hp->n_expert + 256; }

void cpu_moe(struct k_device *dev, const struct k_op_moe *op)
{
	struct cpu *c = cpu_of(dev);
	struct moe m = { .c = c, .op = op, .used = op->hp->n_expert_used };
	int64_t E = op->hp->n_expert, most;
	m.F = k_shape_rows(op->gate->ndim, op->gate->shape);
	m.D = k_shape_cols(op->gate->ndim, op->gate->shape);
	cpu_begin(c);
	m.from = (int32_t *)cpu_take(c, E + 1);
	m.active = (int32_t *)cpu_take(c, E);
	most = cpu_fit(c, op->n, token_floats(m.used, m.F, m.D));
	m.token = (int32_t *)cpu_take(c, most * m.used);
	m.place = (int32_t *)cpu_take(c, most * m.used);
	m.gate = cpu_take(c, most * m.used * KK_READY(m.F));
	m.up = cpu_take(c, most * m.used * KK_READY(m.F));
	m.out = cpu_take(c, most * m.used * m.D);
	m.rounds_gate = !cpu_plain(op->gate, cpu_act(c, false));
	m.rounds_up = !cpu_plain(op->up, cpu_act(c, false));
	m.rounds_down = !cpu_plain(op->down, cpu_act(c, false));
	m.for_gate = m.for_up = cpu_take(c, most * KK_READY(m.D));
	if (op->up->type != op->gate->type)
		m.for_up = cpu_take(c, most * KK_READY(m.D));
	for (int64_t t = 0; t < op->n; t += most) {
		m.n = K_MIN(op->n - t, most);
		m.y = op->y + t * m.D;
		m.ids = op->ids + t * m.used;
		m.weights = op->weights + t * m.used;
		m.x = op->x + t * m.D;
		run_round(&m);
	}
}
