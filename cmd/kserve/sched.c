/* sched.c: requests on their way through the model.
 *
 *   queue of jobs -> tasks (one a choice) -> slots (one sequence each) -> one k_model_step
 *
 * sched_plan.c says who computes in a step. What a task computed stays in the prefix cache (sched_slot.c). Of n choices of one prompt the
 * first computes it; the others fork its sequence where there are slots, else they wait and find it as a prefix.
 *
 * c->lock guards what other threads touch (jobs that arrive, tickets that are cancelled, the flags); slots and tasks belong to the
 * engine's thread alone, and nothing is computed or said with the lock held. */
#include "libcore/base.h"

#include <inttypes.h>

#include "libcore/log.h"
#include "libcore/wait.h"
#include "cmd/kserve/dialect.h"
#include "cmd/kserve/sched_int.h"

#define LOOK_NS UINT64_C(1000000000)
#define LOGIT_ROWS 8                    /* rows of logits in memory at once */
#define LEAST_DISK_NS (UINT64_C(5) * 1000000000)        /* for states at the end, however long the drain took */
#define QUEUE_CONTEXTS 64               /* full contexts that the prompts which wait may add up to */

/* --- jobs ------------------------------------------------------------------------------------------------------------------- */

static void free_job(struct job *j)
{
	for (int i = 0; j->tasks && i < j->n_tasks; i++) {
		k_gen_free(j->tasks[i].gen);
		k_ids_fini(&j->tasks[i].next);
	}
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
		return k_no_memory(f);
	}
	j->rq = rq;
	j->n_tasks = (int)(rq->n_prompts * rq->n);
	j->tasks = k_calloc((size_t)j->n_tasks, sizeof(*j->tasks));
	if (!j->tasks || k_reply_new(&j->reply, s, rq, o, f)) {
		if (!j->tasks)
			k_no_memory(f);
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

/* Seconds after which a place should be free, from how fast requests ended of late. */
static int retry_after(const struct k_sched *c)
{
	double s = c->pace * (c->n_waiting + 1);
	return s > 60 ? 60 : s < 1 ? (c->pace > 0 ? 1 : 5) : (int)s;
}

/* Lock held. */
static int queue_full(const struct k_sched *c, struct k_fault *f)
{
	if (c->n_waiting < c->s->max_queue)
		return 0;
	k_fault_set(f, 503, "overloaded", NULL, "%d requests wait already", c->n_waiting);
	f->retry_after = retry_after(c);
	return -1;
}

int k_sched_room(struct k_sched *c, struct k_fault *f)
{
	pthread_mutex_lock(&c->lock);
	int rc = queue_full(c, f);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* Lock held. */
static int refuse(struct k_sched *c, const struct k_request *rq, const struct client *who, struct k_fault *f)
{
	if (c->failed.code)
		return k_fault_set(f, 500, "internal_error", NULL, "the engine has failed");
	if (c->draining || c->closing)
		k_fault_set(f, 503, "shutting_down", NULL, "the server is shutting down");
	else if (queue_full(c, f))
		return -1;
	else if (c->n_waiting && c->waiting_tokens + rq->n_prompt_tokens > QUEUE_CONTEXTS * c->s->n_ctx)
		k_fault_set(f, 503, "overloaded", NULL, "prompts of %" PRId64 " tokens wait already", c->waiting_tokens);
	else if (who && c->s->max_queue > 1 && who->n_waiting > c->s->max_queue / 2)
		k_fault_set(f, 429, "rate_limit_exceeded", NULL, "%d requests of this client wait already", who->n_waiting);
	else
		return 0;
	f->retry_after = retry_after(c);
	return -1;
}

static struct client *find_client(struct k_sched *c, uint64_t id)
{
	struct client *p = c->clients;
	while (p && p->id != id)
		p = p->next;
	return p;
}

/* The request has its client, which knows of it. Lock held. */
static void enter_client(struct k_sched *c, struct job *j, struct client *fresh)
{
	j->client = find_client(c, j->rq->client);
	if (!j->client) {
		j->client = fresh;
		fresh->id = j->rq->client;
		fresh->next = c->clients;
		c->clients = fresh;
	}
	j->client->n_jobs++;
	j->client->n_waiting++;
}

/* Lock held. */
static void leave_client(struct k_sched *c, struct job *j)
{
	struct client **p = &c->clients, *who = j->client;
	who->n_waiting -= !j->admitted;
	if (--who->n_jobs)
		return;
	while (*p != who)
		p = &(*p)->next;
	*p = who->next;
	k_free(who);
}

int k_sched_submit(struct k_sched *c, struct k_request *rq, struct k_out *out, uint64_t *ticket, struct k_fault *f)
{
	struct job *j;
	pthread_mutex_lock(&c->lock);
	int rc = refuse(c, rq, find_client(c, rq->client), f);
	pthread_mutex_unlock(&c->lock);
	if (rc) {
		k_request_free(rq);
		return rc;
	}
	struct client *fresh = k_calloc(1, sizeof(*fresh));
	if (!fresh) {
		k_request_free(rq);
		return k_no_memory(f);
	}
	if (new_job(&j, c->s, rq, out, f)) {
		k_free(fresh);
		return -1;
	}
	pthread_mutex_lock(&c->lock);
	j->t_arrived = k_now_ns();
	enter_client(c, j, fresh);
	if (j->client == fresh)
		fresh = NULL;
	*ticket = j->ticket = ++c->last_ticket;
	*c->arrived_end = j;
	c->arrived_end = &j->next;
	c->n_jobs++;
	c->n_waiting++;
	c->waiting_tokens += rq->n_prompt_tokens;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	k_free(fresh);
	return 0;
}

int k_sched_order(struct k_sched *c, struct k_order *o, struct k_fault *f)
{
	pthread_mutex_lock(&c->lock);
	int rc = c->failed.code ? k_fault_set(f, 500, "internal_error", NULL, "the engine has failed")
		: c->draining || c->closing ? k_fault_set(f, 503, "shutting_down", NULL, "the server is shutting down") : 0;
	if (!rc) {
		o->next = NULL;
		*c->orders_end = o;
		c->orders_end = &o->next;
		c->poked = true;
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->lock);
	if (rc)
		k_order_free(o);
	return rc;
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

void k_sched_drain(struct k_sched *c)
{
	c->t_drain = k_now_ns();
	set_flag(c, &c->draining);
}

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

/* --- ends ------------------------------------------------------------------------------------------------------------------- */

static void task_over(struct k_sched *c, struct task *t)
{
	if (t->over)
		return;
	t->over = true;
	t->job->n_over++;
	k_slots_release(c, t);
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
		k_no_memory(&f);
	else
		k_fault_set(&f, 500, "internal_error", NULL, "%s", err->msg);
	k_logf(c->s->log, K_LOG_ERROR, "request %" PRIu64 ": %s", j->ticket, err->msg);
	fail_job(c, j, &f);
}

/* --- answers ---------------------------------------------------------------------------------------------------------------- */

/* A row of logits, and the token that the device drew from it (-1: none did). */
struct row { const float *logits; int32_t drawn; };

/* Tokens of an answer came, behind `had` others that are to be computed; rc and err are k_gen_next's. */
static void came(struct k_sched *c, struct task *t, size_t had, int rc, const struct k_err *err)
{
	for (size_t i = had; i < t->next.n; i++)
		k_count_token(c, t);
	c->stats.mask_ns += k_gen_mask_ns(t->gen) - t->mask_ns;
	t->mask_ns = k_gen_mask_ns(t->gen);
	if (rc < 0)
		fail_job_err(c, t->job, err);
	else if (rc == 0)
		task_over(c, t);
}

/* Of the prompts of a request; a copy computes none. */
static void tell_progress(const struct job *j)
{
	int64_t n = 0;
	for (int i = 0; i < j->n_tasks; i++)
		n += j->tasks[i].copy ? 0 : j->tasks[i].n_done;
	k_reply_progress(j->reply, n);
}

/* What was to be computed is. */
static void next_token(struct k_sched *c, struct task *t, struct row row)
{
	struct k_err err = { 0 };
	if (t->over)
		return;
	k_reply_computed(t->job->reply);
	t->next.n = t->n_next = 0;
	came(c, t, 0, k_gen_next(t->gen, row.drawn, row.logits, c->scratch, &t->next, &err), &err);
}

static void start(struct k_sched *c, struct task *t)
{
	struct k_err err = { 0 };
	size_t had = t->next.n;
	t->generates = true;
	came(c, t, had, k_gen_start(t->gen, &t->next, &err), &err);
}

void k_sched_begin_ahead(struct k_sched *c, struct task *t)
{
	const struct k_ids *ids = &t->job->rq->prompts[t->prompt];
	struct k_err err = { 0 };
	if (k_ids_add(&t->next, ids->v + t->n_done, ids->n - (size_t)t->n_done, &err)) {
		fail_job_err(c, t->job, &err);
		return;
	}
	t->n_done = (int64_t)ids->n;
	tell_progress(t->job);
	start(c, t);
	if (t->over)
		k_reply_computed(t->job->reply);        /* there is nothing to wait for */
}

/* The prompt is computed. */
static void begin(struct k_sched *c, struct task *t, struct row row)
{
	k_reply_computed(t->job->reply);
	start(c, t);
	if (!t->next.n)
		next_token(c, t, row);
}

/* --- a step ------------------------------------------------------------------------------------------------------------------ */

/* Did choice o get a copy of what t computed? */
static bool has_copy(const struct task *t, const struct task *o)
{
	return !o->over && o->slot && !o->generates && o->n_done == t->n_done;
}

/* The other choices of the prompt that t has just computed go on from a copy, as far as there are slots. */
static void fork_copies(struct k_sched *c, struct task *t)
{
	for (int i = 1; t->copy == 0 && i < t->job->rq->n; i++) {
		struct task *o = t + i;
		if (!o->over && !o->slot && !k_gen_wants_prompt(o->gen))
			k_slots_fork(c, t, o);
	}
}

static void prompt_row(struct k_sched *c, struct task *t, int64_t pos, struct row row)
{
	struct k_err err = { 0 };
	if (t->over)
		return;
	if (k_gen_wants_prompt(t->gen) && k_gen_prompt_row(t->gen, pos, row.logits, &err)) {
		fail_job_err(c, t->job, &err);
		return;
	}
	if (pos + 1 < (int64_t)t->job->rq->prompts[t->prompt].n)
		return;
	/* All copies before the first begins, which may end at once and give its slot back; choice 0 before the others, because clients
	 * take what a stream begins with for it. */
	fork_copies(c, t);
	begin(c, t, row);
	for (int i = 1; t->copy == 0 && i < t->job->rq->n; i++) {
		if (has_copy(t, t + i))
			begin(c, t + i, row);
	}
}

/* Can the device draw this task's next token? Copies of one prompt draw one each from the same row. */
static bool draws(const struct task *t, struct k_draw *out)
{
	return !t->over && !k_gen_wants_prompt(t->gen) && (t->generates || t->job->rq->n == 1) && k_gen_draw(t->gen, out);
}

/* Logits of all wanted rows, or tokens, a few at a time, each handed to its task. */
static int deliver(struct k_sched *c, int n_runs, const float *hidden, struct k_err *err)
{
	int64_t total = 0, used = 0, n;
	int run = 0;
	for (int i = 0; i < n_runs; i++)
		total += c->runs[i].n_out;
	for (int64_t at = 0; at < total; at += n) {
		const struct k_draw *use[LOGIT_ROWS];
		struct k_draw draw[LOGIT_ROWS];
		struct { struct task *t; int64_t row; } of[LOGIT_ROWS];
		int32_t ids[LOGIT_ROWS];
		n = K_MIN(total - at, LOGIT_ROWS);
		for (int64_t i = 0; i < n; i++, used++) {
			while (used == c->runs[run].n_out) {
				run++;
				used = 0;
			}
			of[i].t = c->rows[run];
			of[i].row = of[i].t->n_done - c->runs[run].n_out + used;
			use[i] = draws(of[i].t, &draw[i]) ? &draw[i] : NULL;
		}
		int rc = k_model_choose(c->s->model, hidden + at * c->s->hp->n_embd, n, use, ids, c->logits, err);
		if (rc)
			return rc;
		for (int64_t i = 0; i < n; i++) {
			struct row row = { c->logits + i * c->s->hp->n_vocab, ids[i] };
			if (of[i].t->generates)
				next_token(c, of[i].t, row);
			else
				prompt_row(c, of[i].t, of[i].row, row);
		}
	}
	return 0;
}

/* The step failed: its requests do too, and their sequences are dropped. */
static void step_failed(struct k_sched *c, int n, const struct k_err *err)
{
	/* First all sequences: a job that fails lets go of the slots of all its choices. */
	for (int i = 0; i < n; i++) {
		if (c->rows[i]->slot)
			k_slots_drop_seq(c->rows[i]->slot);
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
	uint64_t began = k_now_ns();
	for (int i = 0; i < n; i++)
		rows += c->runs[i].n;
	c->stats.steps++;
	c->stats.step_rows += (uint64_t)rows;
	c->stats.step_runs += (uint64_t)n;
	k_histogram_add(&c->stats.step, (double)rows);
	int rc = k_model_step(c->s->model, c->runs, n, &hidden, NULL, &err);
	for (int i = 0; i < n && !rc; i++) {
		struct task *t = c->rows[i];
		if (t->generates) {
			t->n_next += (size_t)c->runs[i].n;
			continue;
		}
		t->n_done += c->runs[i].n;
		if (t->mark_at == t->n_done)
			k_slots_mark(c, t);
		if (t->copy == 0)
			tell_progress(t->job);
	}
	if (!rc)
		rc = deliver(c, n, hidden, &err);
	uint64_t took = k_now_ns() - began;
	c->stats.decode_steps += !c->n_prompt;
	c->stats.decode_ns += c->n_prompt ? 0 : took;
	if (rc)
		step_failed(c, n, &err);
	else
		k_sched_learn(c, (double)took / 1e9);
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

/* Waits for a second at most when time alone can change something. Lock held. */
static bool wait_for_work(struct k_sched *c, bool watch)
{
	return watch ? k_cond_wait(&c->wake, &c->lock, LOOK_NS) : pthread_cond_wait(&c->wake, &c->lock) == 0;
}

/* Takes what arrived; with nothing to do, waits. false: the end. */
static bool take_work(struct k_sched *c, bool idle, bool watch)
{
	pthread_mutex_lock(&c->lock);
	while (idle && !c->arrived && !c->poked && !c->closing)
		idle = wait_for_work(c, watch);
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
	if (!j->rq->dialect->aborts) {
		struct k_fault f;
		k_fault_set(&f, 503, "shutting_down", NULL, "the server is shutting down");
		f.retry_after = 5;
		fail_job(c, j, &f);
		return;
	}
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
		} else if (!j->admitted && (double)(k_now_ns() - j->t_arrived) / 1e9 > c->s->queue_timeout) {
			k_fault_set(&f, 503, "overloaded", NULL, "no place was free for %.0f seconds", c->s->queue_timeout);
			f.retry_after = 60;
			fail_job(c, j, &f);
		} else if (end_all) {
			abort_job(c, j);
		}
	}
	k_orders_work(c, end_all || broken);
}

/* A request ended: the time since the last that did, a moving mean of about twenty. Lock held. */
static void keep_pace(struct k_sched *c)
{
	uint64_t now = k_now_ns();
	double gap = (double)(now - c->t_ended) / 1e9;
	if (c->t_ended && c->n_jobs)
		c->pace = c->pace > 0 ? 0.95 * c->pace + 0.05 * gap : gap;
	c->t_ended = now;
}

/* Off the list of those that are computed or wait, and counted. */
static void job_ends(struct k_sched *c, struct job *j)
{
	/* Every choice has ended, and yet the reply has not: its memory gave out. */
	struct k_fault f;
	k_no_memory(&f);
	k_reply_fail(j->reply, &f);
	k_count_job(c, j);
	if (j->admitted)
		return;
	pthread_mutex_lock(&c->lock);
	c->n_waiting--;
	c->waiting_tokens -= j->rq->n_prompt_tokens;
	pthread_mutex_unlock(&c->lock);
}

/* What is over is counted, and shown so, before its client hears the end: who asks then for the metrics finds itself there. false: nothing is. */
static bool sweep(struct k_sched *c)
{
	struct job **p = &c->jobs, *over = NULL, **end = &over;
	while (*p) {
		struct job *j = *p;
		if (j->n_over < j->n_tasks) {
			p = &j->next;
			continue;
		}
		job_ends(c, j);
		*p = j->next;
		*end = j;
		end = &j->next;
	}
	*end = NULL;
	c->jobs_end = p;
	bool any = over;
	if (any)
		k_count_show(c);
	while (over) {
		struct job *j = over;
		over = j->next;
		k_reply_tell(j->reply);
		pthread_mutex_lock(&c->lock);
		c->n_jobs--;
		leave_client(c, j);
		keep_pace(c);
		pthread_mutex_unlock(&c->lock);
		free_job(j);
	}
	return any;
}

static void *engine(void *arg)
{
	struct k_sched *c = arg;
	bool idle = true, unsaved = false;
	while (take_work(c, idle, unsaved || c->jobs)) {
		weed(c);
		sweep(c);
		k_slots_states(c);
		k_slots_admit(c, fail_job_err);
		int n = k_sched_plan(c);
		if (n)
			step(c, n);
		idle = !sweep(c) && n == 0;
		unsaved = k_slots_save(c, n == 0);
		k_count_show(c);
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
	c->orders_end = &c->orders;
	pthread_mutex_init(&c->lock, NULL);
	k_cond_init(&c->wake);
	c->slots = k_calloc(slots, sizeof(*c->slots));
	c->runs = k_calloc(slots, sizeof(*c->runs));
	c->rows = k_calloc(slots, sizeof(*c->rows));
	c->logits = k_calloc(LOGIT_ROWS * vocab, sizeof(float));
	c->scratch = k_calloc(vocab, 16);
	c->slots_shown = k_calloc(slots, sizeof(*c->slots_shown));
	k_count_init(&c->stats);
	k_count_init(&c->shown);
	for (size_t i = 0; c->slots && c->slots_shown && i < slots; i++)
		c->slots_shown[i] = c->slots[i].shown = (struct k_slot_stats){ .id = (int)i, .n_ctx = s->n_ctx };
	int rc = 0;
	if (!c->slots || !c->slots_shown || !c->runs || !c->rows || !c->logits || !c->scratch)
		rc = k_err_nomem(err, vocab * (4 * LOGIT_ROWS + 16), "the scheduler");
	if (!rc)
		rc = k_slots_open(c, err);
	if (!rc && pthread_create(&c->thread, NULL, engine, c))
		rc = k_err_set(err, K_ENOMEM, "no thread for the engine");
	if (rc) {
		c->closing = true;
		k_free(c->slots);
		c->slots = NULL;
		if (!k_sched_close(c, INT32_MAX))
			k_bug("a scheduler that was not opened does not close");
		return rc;
	}
	*out = c;
	return 0;
}

bool k_sched_close(struct k_sched *c, int64_t limit)
{
	bool all = true;
	if (!c)
		return true;
	if (!c->closing) {
		set_flag(c, &c->closing);
		pthread_join(c->thread, NULL);
	}
	for (int i = 0; c->slots && i < c->s->n_slots; i++) {
		k_seq_free(c->slots[i].seq);
		k_ids_fini(&c->slots[i].held.ids);
	}
	uint64_t now = k_now_ns(), end = (c->t_drain ? c->t_drain : now) + (uint64_t)limit * 1000000000;
	if (c->prefix)
		all = k_slots_close(c, K_MAX(end, now + LEAST_DISK_NS));
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
	return all;
}
