/* cpu_kda.c: Kimi delta attention, a run of a sequence's rows and one head at a time:
 *
 *   prepare   raw q k v  -- conv + silu over the last `taps` tokens -->  q, k normed, v;    a -- gate --> alpha (decay a key channel)
 *   walk      the state through all tokens of the run: decay, correct by beta (v - S k), read by q --> o
 *   finish    o  -- norm * sigmoid(z) -->  y
 *
 * A run ends where a chunk of the state does (kda_state.h). A state that is not deferred ([dv][dk]) goes token by token.
 *
 * A task is some heads of a segment, all of them run by run: what the next head wants of a row lies behind what this one has, in the same page of memory,
 * and their states stay in the second cache meanwhile. Where there are fewer heads than threads the three steps are regions of their own, and tasks
 * are heads by runs, heads by strips of the state, and heads by runs again: same functions, same bits.
 *
 * The raw projections of the last taps - 1 tokens stay behind in `conv` for the next step. */
#include "libcore/base.h"
#include <math.h>
#include "libcore/kda_state.h"
#include "kernels/cpu/cpu_impl.h"

/* Tokens of a run at most; heads of a task: their states lie one behind the other in memory; what a task has of a state's value channels. */
enum { RUN = K_KDA_CHUNK, HEADS = 4, SLICE = K_KDA_STRIP };

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
/* Beside decay and keys: what tokens read. */
static int64_t reads_floats(int64_t d) { return 2 * RUN * k_kda_reads(d); }
static int64_t chunk_floats(int64_t d) { return k_kda_keys_floats(d) + reads_floats(d); }

int64_t cpu_kda_room(const struct k_hp *hp) { return ready_floats(hp->kda_dim, RUN) + reads_floats(hp->kda_dim); }
/* n rows are at most n / RUN + 2 runs. */
int64_t cpu_kda_row(const struct k_hp *hp) { return hp->kda_head * (ready_floats(hp->kda_dim, 1) + k_div_up(chunk_floats(hp->kda_dim), RUN)); }
int64_t cpu_kda_fixed(const struct k_hp *hp) { return hp->kda_head * 2 * chunk_floats(hp->kda_dim); }

/* n tokens of a head in a block of ready_floats, from the t-th on. */
static struct kk_kda ready_at(float *p, int64_t d, int64_t n, int64_t t)
{
	return (struct kk_kda){ .q = p + t * d, .k = p + (n + t) * d, .v = p + (2 * n + t) * d, .alpha = p + (3 * n + t) * d,
		.o = p + (4 * n + t) * d, .beta = p + 5 * n * d + t, .step = (size_t)d };
}

/* n tokens behind `at` others of a chunk, its keys and its reads. */
static struct kk_kda_chunk chunk_of(float *keys, float *reads, int64_t d, int64_t at, int64_t n)
{
	return (struct kk_kda_chunk){ .at = (size_t)at, .n = (size_t)n, .decay = keys, .keys = keys + k_kda_padded(d), .reads = reads };
}

static int64_t pending(const struct k_seq_layer *l) { return l->deferred ? k_kda_count(l->state) : 0; }

static void go_on(const struct k_seq_layer *l, int64_t n)
{
	if (l->deferred)
		l->state[0] = (float)((pending(l) + n) % RUN);
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

/* What is wanted of a head's state first: decay and keys that are pending, then the first strip. It is asked for while there is no other memory to
 * wait for, a few lines at a time, as only so many can be on their way. */
struct near { const float *at[2], *end[2]; };

static struct near near_state(const struct kda *a, const struct k_seg *s, int64_t head, int64_t end)
{
	if (head == end || !s->state->deferred)
		return (struct near){ { NULL }, { NULL } };
	const float *keys = k_kda_head(s->state->state, head, a->d), *strip = k_kda_strip(k_kda_head(s->state->state, head, a->d), 0, a->d);
	return (struct near){ { keys, strip }, { keys + (1 + pending(s->state)) * k_kda_padded(a->d), strip + a->d * K_KDA_STRIP } };
}

static void ask_near(struct near *p)
{
	enum { LINES = 16, LINE_FLOATS = 16 };
	int i = p->at[0] == p->end[0];
	if (p->at[i] == p->end[i])
		return;
	const float *stop = K_MIN(p->end[i], p->at[i] + LINES * LINE_FLOATS);
	for (; p->at[i] < stop; p->at[i] += LINE_FLOATS)
		__builtin_prefetch(p->at[i]);
}

static void prepare(const struct kda *a, const struct k_seg *s, int64_t head, int64_t from, int64_t n, const struct kk_kda *x, struct near *near)
{
	const struct kk *kk = &a->c->kk;
	const struct k_op_kda *op = a->op;
	float *to[] = { (float *)x->q, (float *)x->k, (float *)x->v }, *alpha = (float *)x->alpha, *beta = (float *)x->beta;
	int64_t channel = head * a->d;
	size_t d = (size_t)a->d;
	double rate = exp((double)op->a_log[head]), unit[] = { 1 / sqrt((double)a->d), 1 };
	for (int i = 0; i < 3; i++) {
		const float *u[RUN + CPU_TAPS - 1];
		for (int64_t j = 0; j < n + a->taps - 1; j++)
			u[j] = raw_at(a, s, i, channel, from - (a->taps - 1) + j);
		ask_near(near);
		kk->conv_silu(to[i], d, u, (size_t)n, op->conv_w[i] + channel, (size_t)a->P, (int)a->taps, d);
		ask_near(near);
		for (int64_t t = 0; i < 2 && t < n; t++) {
			kk->l2norm(to[i] + t * a->d, to[i] + t * a->d, unit[i], d);
			ask_near(near);
		}
	}
	for (int64_t t = 0; t < n; t++) {
		int64_t row = s->row + from + t, at = t * a->d;
		ask_for(op->a + (row + 1) * a->P + channel, a->d);
		if (op->hp->gate_bound != 0)
			kk->kda_gate_bound(alpha + at, op->a + row * a->P + channel, op->dt_bias + channel, rate, op->hp->gate_bound, d);
		else
			kk->kda_gate(alpha + at, op->a + row * a->P + channel, op->dt_bias + channel, rate, d);
		ask_near(near);
		beta[t] = op->beta[row * a->H + head];
	}
	kk->sigmoid(beta, beta, (size_t)n);
}

/* Rows [j, j + SLICE) of a head's state: a chunk, whose keys are made; token by token. */
static void walk_strip(const struct kda *a, const struct k_seg *s, int64_t head, int64_t j, const struct kk_kda_chunk *c, struct kk_kda x)
{
	x.v += j;
	x.o += j;
	a->c->kk.kda_strip(k_kda_strip(k_kda_head(s->state->state, head, a->d), j / SLICE, a->d), c, &x, (size_t)a->d, (size_t)K_MIN(a->d - j, (int64_t)SLICE));
}

static void walk_rows(const struct kda *a, const struct k_seg *s, int64_t head, int64_t j, int64_t n, struct kk_kda x)
{
	x.v += j;
	x.o += j;
	a->c->kk.kda_run(s->state->state + (head * a->d + j) * a->d, &x, (size_t)n, (size_t)a->d, (size_t)K_MIN(a->d - j, (int64_t)SLICE));
}

/* Rows in memory that a run of a head will want, at most MOST_AHEAD. */
enum { MOST_AHEAD = 6 * RUN + 3 * 8 };

static size_t rows_of(const struct kda *a, const struct k_seg *s, int64_t head, int64_t from, int64_t n, const float *rows[MOST_AHEAD])
{
	int64_t channel = head * a->d;
	size_t k = 0;
	for (int64_t t = from ? from : 1 - a->taps; t < from + n && k + 6 <= MOST_AHEAD; t++) {
		int64_t at = (s->row + t) * a->P + channel;
		for (int i = 0; i < 3; i++)
			rows[k++] = raw_at(a, s, i, channel, t);
		if (t < 0)
			continue;
		rows[k++] = a->op->a + at;
		rows[k++] = a->op->z + at;
		rows[k++] = a->op->y + at;
	}
	return k;
}

/* All of them; at: tokens before these in their chunk. Meanwhile memory is asked for what comes next. */
static void walk(const struct kda *a, const struct k_seg *s, int64_t head, int64_t at, int64_t n, const struct kk_kda *x, float *reads,
	const float *const *ahead, size_t n_ahead)
{
	bool deferred = s->state->deferred;
	struct kk_kda_chunk c = chunk_of(deferred ? k_kda_head(s->state->state, head, a->d) : reads, reads, a->d, at, n);
	size_t strips = (size_t)k_kda_strips(a->d);
	if (deferred)
		a->c->kk.kda_keys(&c, x, (size_t)a->d);
	for (int64_t j = 0; j < a->d; j += SLICE) {
		size_t i = (size_t)(j / SLICE) * n_ahead / strips;
		c.ahead = ahead + i;
		c.n_ahead = (size_t)(j / SLICE + 1) * n_ahead / strips - i;
		if (deferred)
			walk_strip(a, s, head, j, &c, *x);
		else
			walk_rows(a, s, head, j, n, *x);
	}
}

static void finish(const struct kda *a, const struct k_seg *s, int64_t head, int64_t from, int64_t n, const struct kk_kda *x, struct near *near)
{
	const struct k_op_kda *op = a->op;
	for (int64_t t = 0; t < n; t++) {
		int64_t at = (s->row + from + t) * a->P + head * a->d;
		ask_near(near);
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
	int64_t first = i % a->tasks * a->heads, last = K_MIN(first + a->heads, a->H), before = pending(s->state);
	float *room = room_of(a->c, worker);
	const float *rows[MOST_AHEAD];
	struct kk_kda x = ready_at(room, a->d, RUN, 0);
	struct near near = near_state(a, s, first, last);
	for (int64_t t = 0, n; t < s->n; t += n) {
		int64_t at = (before + t) % RUN;
		n = K_MIN(s->n - t, RUN - at);
		for (int64_t head = first; head < last; head++) {
			bool same = head + 1 < last;            /* what comes next is of this run, or of the next one */
			int64_t next = same ? head + 1 : first, from = same ? t : t + n, more = same ? n : K_MIN(s->n - from, (int64_t)RUN);
			prepare(a, s, head, t, n, &x, &near);
			size_t n_ahead = rows_of(a, s, next, from, more, rows);
			walk(a, s, head, at, n, &x, room + ready_floats(a->d, RUN), rows, n_ahead);
			near = near_state(a, s, next, more ? last : next);
			finish(a, s, head, t, n, &x, &near);
		}
	}
	for (int64_t head = first; head < last; head++)
		leave(a, s, head);
}

/* --- fewer heads than threads --------------------------------------------------------------------------------------------- */

/* A run of these tokens: where it begins among them, its tokens, and how many of its chunk are before it. */
struct run { int64_t t, n, at; };

static struct run run_at(const struct kda *a, int64_t i)
{
	int64_t before = pending(a->seg->state), t = K_MAX(i * RUN - before, (int64_t)0), end = K_MIN((i + 1) * RUN - before, a->n);
	return (struct run){ t, end - t, i ? 0 : before };
}

static int64_t runs(const struct kda *a) { return k_div_up(pending(a->seg->state) + a->n, RUN); }

static struct kk_kda shared_at(const struct kda *a, int64_t head, int64_t t)
{
	return ready_at(a->shared + head * ready_floats(a->d, a->n), a->d, a->n, t);
}

/* Run i of a head: of the first, keys that were pending come in front; those of the last are left behind. */
static float *keys_at(const struct kda *a, int64_t head, int64_t i)
{
	return a->shared + a->H * ready_floats(a->d, a->n) + (head * runs(a) + i) * chunk_floats(a->d);
}

static struct kk_kda_chunk shared_chunk(const struct kda *a, int64_t head, int64_t i)
{
	struct run r = run_at(a, i);
	float *keys = keys_at(a, head, i);
	return chunk_of(keys, keys + k_kda_keys_floats(a->d), a->d, r.at, r.n);
}

static void prepare_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct kda *a = arg;
	int64_t head = i % a->H, k = i / a->H;
	struct run r = run_at(a, k);
	struct kk_kda x = shared_at(a, head, r.t);
	struct near near = { { NULL }, { NULL } };
	prepare(a, a->seg, head, a->from + r.t, r.n, &x, &near);
	if (!a->seg->state->deferred)
		return;
	struct kk_kda_chunk c = shared_chunk(a, head, k);
	if (r.at)
		memcpy(c.decay, k_kda_head(a->seg->state->state, head, a->d), (size_t)((1 + r.at) * k_kda_padded(a->d)) * sizeof(float));
	a->c->kk.kda_keys(&c, &x, (size_t)a->d);
}

static void walk_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct kda *a = arg;
	int64_t head = i % a->H, j = i / a->H * SLICE;
	if (!a->seg->state->deferred) {
		walk_rows(a, a->seg, head, j, a->n, shared_at(a, head, 0));
		return;
	}
	for (int64_t k = 0; k < runs(a); k++) {
		struct kk_kda_chunk c = shared_chunk(a, head, k);
		walk_strip(a, a->seg, head, j, &c, shared_at(a, head, run_at(a, k).t));
	}
}

static void finish_task(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct kda *a = arg;
	int64_t head = i % a->H, k = i / a->H;
	struct run r = run_at(a, k);
	struct kk_kda x = shared_at(a, head, r.t);
	struct near near = { { NULL }, { NULL } };
	finish(a, a->seg, head, a->from + r.t, r.n, &x, &near);
	if (k + 1 < runs(a))
		return;
	if (a->seg->state->deferred)
		memcpy(k_kda_head(a->seg->state->state, head, a->d), keys_at(a, head, k), (size_t)((1 + r.at + r.n) * k_kda_padded(a->d)) * sizeof(float));
	if (a->from + a->n == a->seg->n)
		leave(a, a->seg, head);
}

static void split(struct kda *a, struct cpu *c)
{
	for (int64_t s = 0; s < a->op->n_seg; s++) {
		a->seg = a->op->seg + s;
		for (a->from = 0; a->from < a->seg->n; a->from += a->n) {
			cpu_begin(c);
			a->shared = cpu_take(c, cpu_kda_fixed(a->op->hp));
			a->n = cpu_fit(c, a->seg->n - a->from, cpu_kda_row(a->op->hp));
			(void)cpu_take(c, a->n * cpu_kda_row(a->op->hp));      /* one piece with what is before it */
			double work = (double)(a->n * a->P * a->d);
			cpu_each(c, a->H * runs(a), work, prepare_task, a);
			cpu_each(c, a->H * k_div_up(a->d, SLICE), 2 * work, walk_task, a);
			cpu_each(c, a->H * runs(a), work, finish_task, a);
			go_on(a->seg->state, a->n);
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
	for (int64_t i = 0; i < op->n_seg; i++)
		go_on(op->seg[i].state, op->seg[i].n);
}
