/* cpu_kda.c: Kimi delta attention, a run of a sequence's rows and one head at a time:
 *
 *   prepare   raw q k v  -- conv + silu over the last `taps` tokens -->  q, k normed, v;    a -- gate --> alpha (decay a key channel)
 *   walk      state [dv][dk], row by row through all tokens of the run: decay, correct by beta (v - S k), read by q --> o
 *   finish    o  -- norm * sigmoid(z) -->  y
 *
 * A task is some heads of a segment. Where there are fewer heads than threads the three steps are regions of their own, and tasks
 * are heads by runs, heads by slices of the state's rows, and heads by runs again: same functions, same bits.
 *
 * The raw projections of the last taps - 1 tokens stay behind in `conv` for the next step. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/cpu/cpu_impl.h"

/* Tokens of a run, what it needs of the second cache; heads of a task: their states lie one behind the other in memory. */
enum { RUN = 32, HEADS = 4, SLICE = 32 };

struct kda {
	const struct cpu *c;
	const struct k_op_kda *op;
	int64_t H, d, P, taps;
	int64_t heads, tasks;           /* of a task; of a segment */
	const struct k_seg *seg;        /* split: the segment, tokens [from, from + n) of it, where they are prepared, by head */
	float *shared;
	int64_t from, n;
};

static int64_t ready_floats(int64_t d, int64_t n) { return n * (5 * d + 1); }
int64_t cpu_kda_room(const struct k_hp *hp) { return ready_floats(hp->kda_dim, RUN); }
int64_t cpu_kda_row(const struct k_hp *hp) { return hp->kda_head * ready_floats(hp->kda_dim, 1); }

/* n tokens of a head in a block of ready_floats, from the t-th on. */
static struct kk_kda ready_at(float *p, int64_t d, int64_t n, int64_t t)
{
	return (struct kk_kda){ .q = p + t * d, .k = p + (n + t) * d, .v = p + (2 * n + t) * d, .alpha = p + (3 * n + t) * d,
		.o = p + (4 * n + t) * d, .beta = p + 5 * n * d + t, .step = (size_t)d };
}

/* Raw projection i of token t of a segment (negative: of the tail), this head's channels. */
static const float *raw_at(const struct kda *a, const struct k_seg *s, int i, int64_t channel, int64_t t)
{
	const float *const raw[] = { a->op->q, a->op->k, a->op->v };
	return t < 0 ? s->state->conv + (i * (a->taps - 1) + t + a->taps - 1) * a->P + channel : raw[i] + (s->row + t) * a->P + channel;
}

/* A row is far from the one before it, and nothing else foresees which comes next. */
static void ask_for(const float *p, int64_t n)
{
	for (int64_t i = 0; i < n; i += 16)
		__builtin_prefetch(p + i);
}

static void prepare(const struct kda *a, const struct k_seg *s, int64_t head, int64_t from, int64_t n, const struct kk_kda *x)
{
	const struct kk *kk = &a->c->kk;
	const struct k_op_kda *op = a->op;
	float *to[] = { (float *)x->q, (float *)x->k, (float *)x->v }, *alpha = (float *)x->alpha, *beta = (float *)x->beta;
	int64_t channel = head * a->d;
	size_t d = (size_t)a->d;
	double rate = exp((double)op->a_log[head]);
	for (int64_t t = 0; t < n; t++) {
		int64_t row = s->row + from + t, at = t * a->d;
		for (int i = 0; i < 3; i++) {
			const float *u[CPU_TAPS];
			for (int64_t j = 0; j < a->taps; j++)
				u[j] = raw_at(a, s, i, channel, from + t - (a->taps - 1) + j);
			ask_for(u[a->taps - 1] + a->P, a->d);
			kk->conv_silu(to[i] + at, u, op->conv_w[i] + channel, (size_t)a->P, (int)a->taps, d);
		}
		kk->l2norm(to[0] + at, to[0] + at, 1 / sqrt((double)a->d), d);
		kk->l2norm(to[1] + at, to[1] + at, 1, d);
		ask_for(op->a + (row + 1) * a->P + channel, a->d);
		kk->kda_gate(alpha + at, op->a + row * a->P + channel, op->dt_bias + channel, rate, d);
		beta[t] = op->beta[row * a->H + head];
	}
	kk->sigmoid(beta, beta, (size_t)n);
}

/* Rows [j, j + rows) of a head's state. */
static void walk(const struct kda *a, const struct k_seg *s, int64_t head, int64_t j, int64_t rows, int64_t n, struct kk_kda x)
{
	x.v += j;
	x.o += j;
	a->c->kk.kda_run(s->state->state + (head * a->d + j) * a->d, &x, (size_t)n, (size_t)a->d, (size_t)rows);
}

static void finish(const struct kda *a, const struct k_seg *s, int64_t head, int64_t from, int64_t n, const struct kk_kda *x)
{
	const struct k_op_kda *op = a->op;
	for (int64_t t = 0; t < n; t++) {
		int64_t at = (s->row + from + t) * a->P + head * a->d;
		ask_for(op->z + at + a->P, a->d);
		a->c->kk.gated_norm(op->y + at, x->o + t * a->d, op->o_norm, op->z + at, (size_t)a->d, op->hp->eps);
	}
}

/* The tail moves on, oldest first: what is overwritten has been read. */
static void leave(const struct kda *a, const struct k_seg *s, int64_t head)
{
	for (int i = 0; i < 3; i++)
		for (int64_t j = 0; j < a->taps - 1; j++)
			memcpy(s->state->conv + (i * (a->taps - 1) + j) * a->P + head * a->d,
				raw_at(a, s, i, head * a->d, s->n - (a->taps - 1) + j), (size_t)a->d * sizeof(float));
}

static void heads_task(void *arg, int64_t i, int worker)
{
	const struct kda *a = arg;
	const struct k_seg *s = a->op->seg + i / a->tasks;
	int64_t first = i % a->tasks * a->heads, last = K_MIN(first + a->heads, a->H);
	struct kk_kda x = ready_at(room_of(a->c, worker), a->d, RUN, 0);
	for (int64_t head = first; head < last; head++) {
		for (int64_t t = 0, n; t < s->n; t += n) {
			n = K_MIN(s->n - t, (int64_t)RUN);
			prepare(a, s, head, t, n, &x);
			walk(a, s, head, 0, a->d, n, x);
			finish(a, s, head, t, n, &x);
		}
		leave(a, s, head);
	}
}

/* --- fewer heads than threads --------------------------------------------------------------------------------------------- */

static struct kk_kda shared_at(const struct kda *a, int64_t head, int64_t t)
{
	return ready_at(a->shared + head * ready_floats(a->d, a->n), a->d, a->n, t);
}

static void prepare_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct kda *a = arg;
	int64_t head = i % a->H, t = i / a->H * RUN;
	struct kk_kda x = shared_at(a, head, t);
	prepare(a, a->seg, head, a->from + t, K_MIN(a->n - t, (int64_t)RUN), &x);
}

static void walk_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct kda *a = arg;
	int64_t head = i % a->H, j = i / a->H * SLICE;
	walk(a, a->seg, head, j, K_MIN(a->d - j, (int64_t)SLICE), a->n, shared_at(a, head, 0));
}

static void finish_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct kda *a = arg;
	int64_t head = i % a->H, t = i / a->H * RUN;
	struct kk_kda x = shared_at(a, head, t);
	finish(a, a->seg, head, a->from + t, K_MIN(a->n - t, (int64_t)RUN), &x);
	if (a->from + t + RUN >= a->seg->n)
		leave(a, a->seg, head);
}

static void split(struct kda *a, struct cpu *c)
{
	for (int64_t s = 0; s < a->op->n_seg; s++) {
		a->seg = a->op->seg + s;
		for (a->from = 0; a->from < a->seg->n; a->from += a->n) {
			cpu_begin(c);
			a->n = cpu_fit(c, a->seg->n - a->from, cpu_kda_row(a->op->hp));
			a->shared = cpu_take(c, a->H * ready_floats(a->d, a->n));
			int64_t runs = a->H * k_div_up(a->n, RUN);
			double work = (double)(a->n * a->P * a->d);
			cpu_each(c, runs, work, prepare_task, a);
			cpu_each(c, a->H * k_div_up(a->d, SLICE), 2 * work, walk_task, a);
			cpu_each(c, runs, work, finish_task, a);
		}
	}
}

void cpu_kda(struct k_device *dev, const struct k_op_kda *op)
{
	const struct k_hp *hp = op->hp;
	struct kda a = { .c = cpu_of(dev), .op = op, .H = hp->kda_head, .d = hp->kda_dim, .P = hp->kda_head * hp->kda_dim, .taps = hp->kda_conv };
	int64_t all = op->n_seg * a.H, threads = k_pool_threads(dev->ctx->pool);
	K_ASSERT(cpu_kda_room(hp) <= a.c->n_room && a.taps <= CPU_TAPS);
	if (all < threads) {
		split(&a, cpu_of(dev));
		return;
	}
	a.heads = K_MAX((int64_t)1, K_MIN((int64_t)HEADS, all / (4 * threads)));
	a.tasks = k_div_up(a.H, a.heads);
	cpu_each(a.c, op->n_seg * a.tasks, 2 * (double)(op->n * a.P * a.d), heads_task, &a);
}
