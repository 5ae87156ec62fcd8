/* sched.c: who computes in the next step.
 *
 *   queue of jobs -> tasks (one a choice) -> slots (one sequence each) -> one k_model_step
 *
 * A step holds one token of every task that generates, then chunks of prompts in the order of arrival, up to the batch. A task
 * that ends leaves its sequence in the slot: the next prompt that begins like it starts from there. Of n choices of one prompt the
 * first computes it; the others fork its sequence where there are slots, else they wait and find it as a prefix.
 *
 * Sequences with recurrent layers cannot be cut back freely, so a mark is set one token before the end of each prompt: what the
 * same prompt, or a longer one, goes back to.
 *
 * c->lock guards what other threads touch (jobs that arrive, tickets that are cancelled, the flags); slots and tasks belong to the
 * engine's thread alone, and nothing is computed or said with the lock held. */
#include "libcore/base.h"

#include <inttypes.h>
#include <pthread.h>

#include "libcore/log.h"
#include "libcore/seq.h"
#include "cmd/kserve/gen.h"
#include "cmd/kserve/sched.h"

#define MAX_QUEUE 512
#define LOGIT_ROWS 8                    /* rows of logits in memory at once */
#define LEAST_MARK 16                   /* shorter prompts are computed again rather than marked */

struct job;
struct task {
	struct job *job;
	struct k_gen *gen;
	int prompt, copy;               /* the copy-th choice of this prompt */
	struct slot *slot;              /* NULL: waits */
	int64_t n_done;                 /* tokens of the prompt in the sequence */
	int64_t mark_at;                /* a mark is wanted when that many are done; 0: none */
	bool generates, over;
	int32_t next;                   /* the token to compute */
	int64_t n_decoded;
	uint64_t t_token;               /* when the last token came, 0: none yet */
};
struct job {
	uint64_t ticket;
	struct k_request *rq;
	struct k_reply *reply;
	struct task *tasks;
	int n_tasks, n_over;
	bool cancelled, admitted, failed;
	uint64_t t_arrived, t_admitted; /* ns */
	struct job *next;
};
struct slot { struct k_seq *seq; struct task *task; uint64_t used; struct k_slot_stats shown; };

struct k_sched {
	const struct k_server *s;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *arrived, **arrived_end;
	uint64_t last_ticket;
	uint64_t *cancelled;            /* tickets */
	int n_cancelled, cap_cancelled;
	int n_jobs, n_waiting;
	bool draining, aborting, closing, poked;
	struct k_err failed;            /* code 0: all is well */
	struct k_sched_stats shown;
	struct k_slot_stats *slots_shown;

	/* the engine's own */
	struct job *jobs, **jobs_end;   /* in order of arrival */
	struct slot *slots;
	struct k_run *runs;
	struct task **rows;             /* the task of each run */
	float *logits;
	void *scratch;
	uint64_t clock;
	struct k_sched_stats stats;
};

/* --- jobs ------------------------------------------------------------------------------------------------------------------- */

static void free_job(struct job *j)
{
	for (int i = 0; j->tasks && i < j->n_tasks; i++)
		k_gen_free(j->tasks[i].gen);
	k_free(j->tasks);
	k_reply_free(j->reply);
	k_request_free(j->rq);
	k_free(j);
}

static int new_job(struct job **out, const struct k_server *s, struct k_request *rq, struct k_out *o, struct k_fault *f)
{
	struct k_err err = { 0 };
	struct job *j = k_calloc(1, sizeof(*j));
	if (!j) {
		k_request_free(rq);
		return k_fault_set(f, 503, "overloaded", NULL, "out of memory");
	}
	j->rq = rq;
	j->n_tasks = (int)(rq->n_prompts * rq->n);
	j->tasks = k_calloc((size_t)j->n_tasks, sizeof(*j->tasks));
	if (!j->tasks || k_reply_new(&j->reply, s, rq, o, f)) {
		if (!j->tasks)
			k_fault_set(f, 503, "overloaded", NULL, "out of memory");
		free_job(j);
		return -1;
	}
	for (int i = 0; i < j->n_tasks; i++) {
		struct task *t = &j->tasks[i];
		t->job = j;
		t->prompt = (int)(i / rq->n);
		t->copy = (int)(i % rq->n);
		if (k_gen_new(&t->gen, s, rq, j->reply, t->prompt, i, &err)) {
			free_job(j);
			return k_fault_err(f, &err);
		}
	}
	*out = j;
	return 0;
}

static int refuse(struct k_sched *c, struct k_fault *f)
{
	if (c->failed.code)
		return k_fault_set(f, 500, "internal_error", NULL, "the engine has failed");
	if (c->draining || c->closing)
		k_fault_set(f, 503, "shutting_down", NULL, "the server is shutting down");
	else if (c->n_waiting >= MAX_QUEUE)
		k_fault_set(f, 503, "overloaded", NULL, "%d requests wait already", c->n_waiting);
	else
		return 0;
	f->retry_after = 5;
	return -1;
}

int k_sched_submit(struct k_sched *c, struct k_request *rq, struct k_out *out, uint64_t *ticket, struct k_fault *f)
{
	struct job *j;
	pthread_mutex_lock(&c->lock);
	int rc = refuse(c, f);
	pthread_mutex_unlock(&c->lock);
	if (rc) {
		k_request_free(rq);
		return rc;
	}
	if (new_job(&j, c->s, rq, out, f))
		return -1;
	pthread_mutex_lock(&c->lock);
	j->t_arrived = k_now_ns();
	*ticket = j->ticket = ++c->last_ticket;
	*c->arrived_end = j;
	c->arrived_end = &j->next;
	c->n_jobs++;
	c->n_waiting++;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

void k_sched_cancel(struct k_sched *c, uint64_t ticket)
{
	pthread_mutex_lock(&c->lock);
	if (c->n_cancelled == c->cap_cancelled) {
		int cap = c->cap_cancelled ? 2 * c->cap_cancelled : 64;
		uint64_t *v = k_realloc(c->cancelled, (size_t)cap * sizeof(*v));
		if (v) {
			c->cancelled = v;
			c->cap_cancelled = cap;
		}
	}
	/* Without memory the request is computed for nobody, which is the lesser evil. */
	if (c->n_cancelled < c->cap_cancelled)
		c->cancelled[c->n_cancelled++] = ticket;
	c->poked = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

static void set_flag(struct k_sched *c, bool *flag)
{
	pthread_mutex_lock(&c->lock);
	*flag = true;
	c->poked = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

void k_sched_wake(struct k_sched *c) { set_flag(c, &c->poked); }
void k_sched_drain(struct k_sched *c) { set_flag(c, &c->draining); }
void k_sched_abort(struct k_sched *c) { set_flag(c, &c->aborting); }

int k_sched_busy(struct k_sched *c)
{
	pthread_mutex_lock(&c->lock);
	int n = c->n_jobs;
	pthread_mutex_unlock(&c->lock);
	return n;
}

bool k_sched_draining(struct k_sched *c)
{
	pthread_mutex_lock(&c->lock);
	bool d = c->draining || c->closing;
	pthread_mutex_unlock(&c->lock);
	return d;
}

int k_sched_failed(struct k_sched *c, struct k_err *err)
{
	pthread_mutex_lock(&c->lock);
	if (c->failed.code)
		*err = c->failed;
	int code = c->failed.code;
	pthread_mutex_unlock(&c->lock);
	return code;
}

/* --- what is told ---------------------------------------------------------------------------------------------------------- */

static void init_stats(struct k_sched_stats *s)
{
	struct k_histogram *const seconds[] = { &s->ttft, &s->e2e, &s->queue, &s->prefill, &s->decode };
	struct k_histogram *const tokens[] = { &s->prompt, &s->generated, &s->max_tokens, &s->choices, &s->step };
	for (size_t i = 0; i < K_LEN(seconds); i++)
		k_histogram_init(seconds[i], K_EDGES_SECONDS);
	for (size_t i = 0; i < K_LEN(tokens); i++)
		k_histogram_init(tokens[i], K_EDGES_TOKENS);
	k_histogram_init(&s->itl, K_EDGES_STEP);
}

static double since(uint64_t from, uint64_t to) { return to > from ? (double)(to - from) / 1e9 : 0; }

static enum k_end end_of(const struct job *j)
{
	static const struct { const char *finish; enum k_end end; } ends[] = {
		{ "stop", K_END_STOP }, { "length", K_END_LENGTH }, { "tool_calls", K_END_TOOL_CALLS }, { "abort", K_END_ABORT },
	};
	const char *finish = j->reply->n_choices ? j->reply->choices[0].finish : NULL;
	if (j->cancelled)
		return K_END_CANCEL;
	for (size_t i = 0; finish && !j->failed && i < K_LEN(ends); i++)
		if (!strcmp(ends[i].finish, finish))
			return ends[i].end;
	return K_END_ERROR;
}

/* A request is over: it is counted, once. */
static void count_job(struct k_sched *c, const struct job *j)
{
	struct k_sched_stats *s = &c->stats;
	const struct k_request *rq = j->rq;
	uint64_t now = k_now_ns(), first = j->reply->t_first;
	int64_t made = 0;
	for (int i = 0; i < j->n_tasks; i++)
		made += j->tasks[i].n_decoded;
	s->ended[end_of(j)]++;
	k_histogram_add(&s->e2e, since(j->t_arrived, now));
	k_histogram_add(&s->queue, since(j->t_arrived, j->admitted ? j->t_admitted : now));
	k_histogram_add(&s->prompt, (double)rq->n_prompt_tokens);
	k_histogram_add(&s->generated, (double)made);
	k_histogram_add(&s->choices, (double)rq->n);
	if (rq->max_tokens >= 0)
		k_histogram_add(&s->max_tokens, (double)rq->max_tokens);
	if (!first)
		return;
	k_histogram_add(&s->ttft, since(j->t_arrived, first));
	k_histogram_add(&s->prefill, since(j->t_admitted, first));
	k_histogram_add(&s->decode, since(first, now));
}

static void count_token(struct k_sched *c, struct task *t)
{
	uint64_t now = k_now_ns();
	if (t->t_token)
		k_histogram_add(&c->stats.itl, since(t->t_token, now));
	t->t_token = now;
	t->n_decoded++;
	c->stats.generated_tokens++;
}

static void show_slot(struct slot *sl)
{
	struct task *t = sl->task;
	sl->shown.busy = t != NULL;
	if (!t)
		return;
	sl->shown.ticket = t->job->ticket;
	sl->shown.n_prompt = (int64_t)t->job->rq->prompts[t->prompt].n;
	sl->shown.n_done = t->n_done;
	sl->shown.n_decoded = t->n_decoded;
}

/* Puts what others may ask for where they find it. */
static void show(struct k_sched *c)
{
	int running = 0;
	for (struct job *j = c->jobs; j; j = j->next)
		running += j->admitted;
	for (int i = 0; i < c->s->n_slots; i++)
		show_slot(&c->slots[i]);
	pthread_mutex_lock(&c->lock);
	c->shown = c->stats;
	c->shown.running_now = running;
	for (int i = 0; i < c->s->n_slots; i++)
		c->slots_shown[i] = c->slots[i].shown;
	pthread_mutex_unlock(&c->lock);
}

void k_sched_stats(struct k_sched *c, struct k_sched_stats *out)
{
	pthread_mutex_lock(&c->lock);
	*out = c->shown;
	out->waiting_now = c->n_waiting;
	pthread_mutex_unlock(&c->lock);
}

int k_sched_slots(struct k_sched *c, struct k_slot_stats *out, int n)
{
	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < n && i < c->s->n_slots; i++)
		out[i] = c->slots_shown[i];
	pthread_mutex_unlock(&c->lock);
	return c->s->n_slots;
}

/* --- slots ------------------------------------------------------------------------------------------------------------------ */

static void drop_seq(struct slot *sl)
{
	k_seq_free(sl->seq);
	sl->seq = NULL;
}

/* Tokens that the slot's sequence and ids begin with in common; 0 where it is the lesser part of both, which is more likely a
 * system prompt than a conversation that goes on. */
static int64_t common(const struct slot *sl, const struct k_ids *ids)
{
	if (!sl->seq)
		return 0;
	const int32_t *have = k_seq_ids(sl->seq);
	int64_t n = K_MIN(k_seq_len(sl->seq), (int64_t)ids->n), i = 0;
	while (i < n && have[i] == ids->v[i])
		i++;
	return 2 * i >= n ? i : 0;
}

/* The free slot that begins most like ids; among equals an empty one, then the one that was used longest ago. */
static struct slot *find_slot(struct k_sched *c, const struct k_ids *ids)
{
	struct slot *best = NULL;
	int64_t best_n = 0;
	for (struct slot *sl = c->slots; sl < c->slots + c->s->n_slots; sl++) {
		if (sl->task)
			continue;
		int64_t n = ids ? common(sl, ids) : 0;
		if (!best || n > best_n || (n == best_n && sl->used < best->used)) {
			best = sl;
			best_n = n;
		}
	}
	return best;
}

static void release(struct k_sched *c, struct task *t)
{
	if (!t->slot)
		return;
	t->slot->used = ++c->clock;
	t->slot->task = NULL;
	t->slot = NULL;
}

static void task_over(struct k_sched *c, struct task *t)
{
	if (t->over)
		return;
	t->over = true;
	t->job->n_over++;
	release(c, t);
}

static void fail_job(struct k_sched *c, struct job *j, const struct k_fault *f)
{
	j->failed = true;
	k_reply_fail(j->reply, f);
	for (int i = 0; i < j->n_tasks; i++)
		task_over(c, &j->tasks[i]);
}

static void fail_job_err(struct k_sched *c, struct job *j, const struct k_err *err)
{
	struct k_fault f;
	if (err->code == K_ENOMEM)
		k_fault_set(&f, 503, "overloaded", NULL, "out of memory");
	else
		k_fault_set(&f, 500, "internal_error", NULL, "%s", err->msg);
	k_logf(c->s->log, K_LOG_ERROR, "request %" PRIu64 ": %s", j->ticket, err->msg);
	fail_job(c, j, &f);
}

/* Prepares the slot's sequence for the prompt of t. */
static int fill_slot(struct k_sched *c, struct slot *sl, struct task *t, struct k_err *err)
{
	const struct k_ids *ids = &t->job->rq->prompts[t->prompt];
	int64_t reused = 0;
	int rc = 0;
	if (sl->seq && (k_gen_wants_prompt(t->gen) || common(sl, ids) == 0))
		drop_seq(sl);           /* every position is wanted, or nothing fits */
	if (!sl->seq)
		rc = k_seq_new(&sl->seq, c->s->model, err);
	else
		rc = k_seq_sync(sl->seq, ids->v, (int64_t)ids->n, &reused, err);
	if (rc) {
		drop_seq(sl);
		return rc;
	}
	sl->task = t;
	sl->shown.n_cached = reused;
	t->slot = sl;
	t->n_done = reused;
	c->stats.cache_queries += ids->n;
	c->stats.cache_hits += (uint64_t)reused;
	c->stats.prompt_tokens += ids->n;
	if (t->copy == 0)
		t->job->reply->n_cached += reused;
	int64_t n = (int64_t)ids->n;
	t->mark_at = c->s->hybrid && n >= LEAST_MARK && reused < n - 1 ? n - 1 : 0;
	return 0;
}

/* A copy of a prompt that another choice is computing waits for it. */
static bool waits_for_sibling(const struct task *t)
{
	const struct task *first = t - t->copy;
	return t->copy > 0 && !first->over && !first->generates;
}

static void admit(struct k_sched *c)
{
	for (struct job *j = c->jobs; j; j = j->next) {
		for (int i = 0; i < j->n_tasks; i++) {
			struct task *t = &j->tasks[i];
			struct k_err err = { 0 };
			if (t->over || t->slot || waits_for_sibling(t))
				continue;
			struct slot *sl = find_slot(c, &j->rq->prompts[t->prompt]);
			if (!sl)
				return;
			if (!j->admitted) {
				j->admitted = true;
				j->t_admitted = j->reply->out->spent.t_admitted = k_now_ns();
				pthread_mutex_lock(&c->lock);
				c->n_waiting--;
				pthread_mutex_unlock(&c->lock);
			}
			if (fill_slot(c, sl, t, &err))
				fail_job_err(c, j, &err);
		}
	}
}

/* --- a step ------------------------------------------------------------------------------------------------------------------ */

static bool paused(const struct task *t) { return t->job->reply->out->full(t->job->reply->out); }

static void add_run(struct k_sched *c, int *n, struct task *t, const int32_t *ids, int64_t n_ids, int64_t n_out)
{
	c->runs[*n] = (struct k_run){ t->slot->seq, ids, n_ids, n_out };
	c->rows[(*n)++] = t;
}

static int plan(struct k_sched *c)
{
	int n = 0;
	int64_t left = c->s->n_batch;
	for (struct slot *sl = c->slots; sl < c->slots + c->s->n_slots; sl++) {
		struct task *t = sl->task;
		if (!t || !t->generates || paused(t))
			continue;
		add_run(c, &n, t, &t->next, 1, 1);
		left--;
	}
	for (struct job *j = c->jobs; j; j = j->next) {
		for (int i = 0; i < j->n_tasks && left > 0; i++) {
			struct task *t = &j->tasks[i];
			if (!t->slot || t->generates)
				continue;
			const struct k_ids *ids = &j->rq->prompts[t->prompt];
			int64_t end = t->mark_at > t->n_done ? t->mark_at : (int64_t)ids->n;
			int64_t chunk = K_MIN(end - t->n_done, left);
			bool last = t->n_done + chunk == (int64_t)ids->n;
			add_run(c, &n, t, ids->v + t->n_done, chunk, k_gen_wants_prompt(t->gen) ? chunk : last);
			left -= chunk;
		}
	}
	return n;
}

/* One row of logits for a task that generates, or that now begins to. */
static void next_token(struct k_sched *c, struct task *t, const float *logits)
{
	struct k_err err = { 0 };
	int rc = t->over ? 0 : k_gen_next(t->gen, logits, c->scratch, &t->next, &err);
	if (!t->over)
		count_token(c, t);
	if (rc < 0)
		fail_job_err(c, t->job, &err);
	else if (rc == 0)
		task_over(c, t);
}

static void begin(struct k_sched *c, struct task *t, const float *logits)
{
	struct k_err err = { 0 };
	int rc = k_gen_start(t->gen, &err);
	t->generates = true;
	if (rc < 0)
		fail_job_err(c, t->job, &err);
	else if (rc == 0)
		task_over(c, t);
	else
		next_token(c, t, logits);
}

/* The other choices of the prompt that t has just computed go on from a copy, as far as there are slots. */
static void fork_copies(struct k_sched *c, struct task *t, const float *logits)
{
	const struct k_request *rq = t->job->rq;
	for (int i = 1; t->copy == 0 && i < rq->n && !t->over; i++) {
		struct task *o = t + i;
		struct slot *sl = o->over || o->slot || k_gen_wants_prompt(o->gen) ? NULL : find_slot(c, NULL);
		struct k_err err = { 0 };
		if (!sl)
			continue;
		drop_seq(sl);
		if (k_seq_fork(&sl->seq, t->slot->seq, &err))
			continue;       /* it waits, and computes the prompt itself */
		sl->task = o;
		o->slot = sl;
		o->n_done = t->n_done;
		begin(c, o, logits);
	}
}

static void prompt_row(struct k_sched *c, struct task *t, int64_t pos, const float *logits)
{
	struct k_err err = { 0 };
	if (t->over)
		return;
	if (k_gen_wants_prompt(t->gen) && k_gen_prompt_row(t->gen, pos, logits, &err)) {
		fail_job_err(c, t->job, &err);
		return;
	}
	if (pos + 1 < (int64_t)t->job->rq->prompts[t->prompt].n)
		return;
	fork_copies(c, t, logits);
	begin(c, t, logits);
}

/* Logits of all wanted rows, a few at a time, each handed to its task. */
static int deliver(struct k_sched *c, int n_runs, const float *hidden, struct k_err *err)
{
	int64_t total = 0, at = 0, used = 0;
	int run = 0;
	for (int i = 0; i < n_runs; i++)
		total += c->runs[i].n_out;
	while (at < total) {
		int64_t n = K_MIN(total - at, LOGIT_ROWS);
		int rc = k_model_logits(c->s->model, hidden + at * c->s->hp->n_embd, n, c->logits, err);
		if (rc)
			return rc;
		for (int64_t i = 0; i < n; i++, used++) {
			while (used == c->runs[run].n_out) {
				run++;
				used = 0;
			}
			struct task *t = c->rows[run];
			const float *logits = c->logits + i * c->s->hp->n_vocab;
			if (t->generates)
				next_token(c, t, logits);
			else
				prompt_row(c, t, t->n_done - c->runs[run].n_out + used, logits);
		}
		at += n;
	}
	return 0;
}

/* The step failed: its requests do too, and their sequences are dropped. */
static void step_failed(struct k_sched *c, int n, const struct k_err *err)
{
	/* First all sequences: a job that fails lets go of the slots of all its choices. */
	for (int i = 0; i < n; i++) {
		if (c->rows[i]->slot)
			drop_seq(c->rows[i]->slot);
	}
	for (int i = 0; i < n; i++) {
		if (!c->rows[i]->over)
			fail_job_err(c, c->rows[i]->job, err);
	}
	if (err->code == K_ENOMEM)
		return;
	pthread_mutex_lock(&c->lock);
	if (!c->failed.code)
		c->failed = *err;
	pthread_mutex_unlock(&c->lock);
}

static void step(struct k_sched *c, int n)
{
	struct k_err err = { 0 };
	const float *hidden = NULL;
	int64_t rows = 0;
	for (int i = 0; i < n; i++)
		rows += c->runs[i].n;
	c->stats.steps++;
	c->stats.step_rows += (uint64_t)rows;
	k_histogram_add(&c->stats.step, (double)rows);
	int rc = k_model_step(c->s->model, c->runs, n, &hidden, NULL, &err);
	for (int i = 0; i < n && !rc; i++) {
		struct task *t = c->rows[i];
		if (t->generates)
			continue;
		t->n_done += c->runs[i].n;
		if (t->mark_at == t->n_done && k_seq_mark(t->slot->seq, &err))
			k_logf(c->s->log, K_LOG_WARN, "no mark: %s", err.msg);
	}
	if (!rc)
		rc = deliver(c, n, hidden, &err);
	if (rc)
		step_failed(c, n, &err);
}

/* --- the thread ------------------------------------------------------------------------------------------------------------- */

static void cancel_some(struct k_sched *c)
{
	for (int i = 0; i < c->n_cancelled; i++) {
		for (struct job *j = c->jobs; j; j = j->next)
			j->cancelled |= j->ticket == c->cancelled[i];
	}
	c->n_cancelled = 0;
}

/* Takes what arrived; with nothing to do, waits. false: the end. */
static bool take_work(struct k_sched *c, bool idle)
{
	pthread_mutex_lock(&c->lock);
	while (idle && !c->arrived && !c->poked && !c->closing)
		pthread_cond_wait(&c->wake, &c->lock);
	c->poked = false;
	if (c->arrived) {
		*c->jobs_end = c->arrived;
		c->jobs_end = c->arrived_end;
		c->arrived = NULL;
		c->arrived_end = &c->arrived;
	}
	cancel_some(c);
	bool go_on = !c->closing;
	pthread_mutex_unlock(&c->lock);
	return go_on;
}

static void abort_job(struct k_sched *c, struct job *j)
{
	for (int i = 0; i < j->n_tasks; i++) {
		struct k_err err = { 0 };
		if (j->tasks[i].over)
			continue;
		if (k_gen_abort(j->tasks[i].gen, &err))
			fail_job_err(c, j, &err);
		task_over(c, &j->tasks[i]);
	}
}

/* Jobs that must not go on: cancelled, waiting while the server drains, all when it ends or the engine is broken. */
static void weed(struct k_sched *c)
{
	pthread_mutex_lock(&c->lock);
	bool refuse_waiting = c->draining || c->closing, end_all = c->aborting || c->closing, broken = c->failed.code != 0;
	pthread_mutex_unlock(&c->lock);
	for (struct job *j = c->jobs; j; j = j->next) {
		struct k_fault f;
		if (j->n_over == j->n_tasks)
			continue;
		if (j->cancelled) {
			k_fault_set(&f, 499, NULL, NULL, "the client is gone");
			fail_job(c, j, &f);
		} else if (broken) {
			k_fault_set(&f, 500, "internal_error", NULL, "the engine has failed");
			fail_job(c, j, &f);
		} else if (refuse_waiting && !j->admitted) {
			k_fault_set(&f, 503, "shutting_down", NULL, "the server is shutting down");
			f.retry_after = 5;
			fail_job(c, j, &f);
		} else if (end_all) {
			abort_job(c, j);
		}
	}
}

static void sweep(struct k_sched *c)
{
	struct job **p = &c->jobs;
	while (*p) {
		struct job *j = *p;
		if (j->n_over < j->n_tasks) {
			p = &j->next;
			continue;
		}
		/* Every choice has ended, and yet the reply has not: its memory gave out. */
		struct k_fault f;
		k_fault_set(&f, 503, "overloaded", NULL, "out of memory");
		k_reply_fail(j->reply, &f);
		count_job(c, j);
		*p = j->next;
		pthread_mutex_lock(&c->lock);
		c->n_jobs--;
		c->n_waiting -= !j->admitted;
		pthread_mutex_unlock(&c->lock);
		free_job(j);
	}
	c->jobs_end = p;
}

static void *engine(void *arg)
{
	struct k_sched *c = arg;
	bool idle = true;
	while (take_work(c, idle)) {
		weed(c);
		sweep(c);
		admit(c);
		int n = plan(c);
		if (n)
			step(c, n);
		sweep(c);
		show(c);
		idle = n == 0;
	}
	weed(c);
	sweep(c);
	return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

int k_sched_open(struct k_sched **out, const struct k_server *s, struct k_err *err)
{
	struct k_sched *c = k_calloc(1, sizeof(*c));
	size_t vocab = (size_t)s->hp->n_vocab, slots = (size_t)s->n_slots;
	if (!c)
		return k_err_nomem(err, sizeof(*c), "the scheduler");
	c->s = s;
	c->arrived_end = &c->arrived;
	c->jobs_end = &c->jobs;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	c->slots = k_calloc(slots, sizeof(*c->slots));
	c->runs = k_calloc(slots, sizeof(*c->runs));
	c->rows = k_calloc(slots, sizeof(*c->rows));
	c->logits = k_calloc(LOGIT_ROWS * vocab, sizeof(float));
	c->scratch = k_calloc(vocab, 16);
	c->slots_shown = k_calloc(slots, sizeof(*c->slots_shown));
	init_stats(&c->stats);
	init_stats(&c->shown);
	for (size_t i = 0; c->slots && c->slots_shown && i < slots; i++)
		c->slots_shown[i] = c->slots[i].shown = (struct k_slot_stats){ .id = (int)i, .n_ctx = s->n_ctx };
	int rc = 0;
	if (!c->slots || !c->slots_shown || !c->runs || !c->rows || !c->logits || !c->scratch)
		rc = k_err_nomem(err, vocab * (4 * LOGIT_ROWS + 16), "the scheduler");
	else if (pthread_create(&c->thread, NULL, engine, c))
		rc = k_err_set(err, K_ENOMEM, "no thread for the engine");
	if (rc) {
		c->closing = true;
		k_free(c->slots);
		c->slots = NULL;
		k_sched_close(c);
		return rc;
	}
	*out = c;
	return 0;
}

void k_sched_close(struct k_sched *c)
{
	if (!c)
		return;
	if (!c->closing) {
		set_flag(c, &c->closing);
		pthread_join(c->thread, NULL);
	}
	for (int i = 0; c->slots && i < c->s->n_slots; i++)
		k_seq_free(c->slots[i].seq);
	k_free(c->slots);
	k_free(c->slots_shown);
	k_free(c->runs);
	k_free(c->rows);
	k_free(c->logits);
	k_free(c->scratch);
	k_free(c->cancelled);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	k_free(c);
}
