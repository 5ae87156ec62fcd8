/* sched_slot.c: who gets a slot, and what its prompt need not compute again.
 *
 *   wait -- client whose turn it is, a file that offers more is read, memory promised --> slot: sequence from the prefix cache
 *   mark reached, task over --> pages and states go to the prefix cache --> cut to what memory leaves --> files, now and then
 *
 * Models with KDA layers go on only from marks. A prompt is marked at the ends of its turns (the first two, tools and system, are
 * where conversations part), where it gets long, one token before its end (what the same prompt goes back to), and where the answer
 * ends; one that is known but for a few tokens, only there. With --deterministic all of that happens at multiples of K_PAGE. */
#include "libcore/base.h"

#include <unistd.h>

#include "libcore/log.h"
#include "cmd/kserve/sched_int.h"

#define LEAST_MARK 16                   /* shorter prompts are computed again rather than marked */
#define FAR 2048                        /* tokens between marks of a long prompt */
#define NEAR 64                         /* and at least, between the turns of a history */
#define FIRM_TURNS 2
#define SAVE_AFTER (UINT64_C(10) * 1000000000)  /* what is not on disk for so long is written while requests run */
#define SAVE_IDLE (UINT64_C(1) * 1000000000)    /* and while none do */
#define SAVE_AGAIN (UINT64_C(60) * 1000000000)  /* what could not be written; the others wait for SAVE_AFTER */

static int64_t grid(const struct k_sched *c) { return c->s->deterministic ? K_PAGE : 1; }

static const struct k_ids *prompt_of(const struct task *t) { return &t->job->rq->prompts[t->prompt]; }

/* May it use what others computed, and they what it does? Not where every row is wanted. */
static bool shares(const struct task *t) { return t->job->rq->cache_prompt && !k_gen_wants_prompt(t->gen); }

void k_slots_drop_seq(struct slot *sl)
{
	k_seq_free(sl->seq);
	sl->seq = NULL;
}

/* --- marks ---------------------------------------------------------------------------------------------------------------------- */

static bool ends_turn(const struct k_sched *c, int32_t id)
{
	for (size_t i = 0; i < c->s->stops.n; i++)
		if (c->s->stops.v[i] == id)
			return true;
	return false;
}

/* Where the next mark behind from is wanted, 0: nowhere. */
static int64_t next_mark(const struct k_sched *c, const struct k_ids *ids, int64_t from, bool *firm)
{
	int64_t last = (int64_t)ids->n - 1, g = grid(c), newest = 0, turns = 0;
	last -= last % g;
	*firm = false;
	if (!c->s->hybrid || (int64_t)ids->n < LEAST_MARK || from >= last)
		return 0;
	for (int64_t i = last - 1; i > from && !newest; i--)
		newest = ends_turn(c, ids->v[i]) ? i + 1 : 0;
	int64_t far = (from + FAR) - (from + FAR) % g;
	for (int64_t i = 0; i < newest; i++) {
		int64_t at = i + 1 - (i + 1) % g;
		if (!ends_turn(c, ids->v[i]) || ++turns < 0 || at <= from)
			continue;
		if (at > far)
			break;
		/* One that the mark before the end is near to would cost a step and save nothing. */
		if ((turns <= FIRM_TURNS || at - from >= NEAR || i + 1 == newest) && last - at > 4) {
			*firm = turns <= FIRM_TURNS;
			return at;
		}
	}
	return K_MIN(last, far);
}

/* The sequence as far as it is goes to the prefix cache. */
static void keep(struct k_sched *c, struct task *t, bool firm)
{
	struct k_seq *s = t->slot->seq;
	struct k_err err = { 0 };
	if (!s || !shares(t) || (c->s->hybrid && k_seq_len(s) < LEAST_MARK))
		return;
	if (c->s->hybrid && k_seq_len(s) % grid(c))
		return;
	int rc = k_seq_mark(s, &err);
	if (!rc)
		rc = k_prefix_put(c->prefix, t->job->rq->salt, s, 0, firm, &err);
	k_seq_unmark(s);
	if (rc)
		k_logf(c->s->log, K_LOG_WARN, "a prompt is not kept: %s", err.msg);
}

static void lose(void *arg, struct k_seq *s, uint64_t salt, uint64_t id)
{
	k_store_save(arg, s, salt, id);
}

void k_slots_limit(struct k_sched *c)
{
	k_prefix_limit(c->prefix, c->s->room - c->reserved, c->s->state_dir ? lose : NULL, c->store);
}

void k_slots_mark(struct k_sched *c, struct task *t)
{
	keep(c, t, t->firm);
	k_slots_limit(c);
	t->mark_at = next_mark(c, prompt_of(t), t->n_done, &t->firm);
}

/* --- memory --------------------------------------------------------------------------------------------------------------------- */

static bool promise(struct k_sched *c, struct task *t)
{
	const struct k_request *rq = t->job->rq;
	int64_t n = (int64_t)prompt_of(t)->n, most = rq->max_tokens < 0 ? c->s->n_ctx : K_MIN(n + rq->max_tokens, c->s->n_ctx);
	uint64_t need = k_server_need(c->s, most);
	if (c->reserved && need > c->s->seq_room - c->reserved)
		return false;
	t->reserved = K_MIN(need, c->s->seq_room - c->reserved);
	c->reserved += t->reserved;
	k_slots_limit(c);
	return true;
}

static void unpromise(struct k_sched *c, struct task *t)
{
	c->reserved -= t->reserved;
	t->reserved = 0;
}

/* --- slots ---------------------------------------------------------------------------------------------------------------------- */

static struct slot *free_slot(struct k_sched *c)
{
	for (struct slot *sl = c->slots; sl < c->slots + c->s->n_slots; sl++)
		if (!sl->task)
			return sl;
	return NULL;
}

/* One that t may have: any, or the one that its request names. */
static struct slot *slot_for(struct k_sched *c, const struct task *t)
{
	struct slot *named = t->job->rq->slot < 0 ? NULL : &c->slots[t->job->rq->slot];
	return !named ? free_slot(c) : named->task ? NULL : named;
}

void k_slots_release(struct k_sched *c, struct task *t)
{
	struct slot *sl = t->slot;
	if (!sl)
		return;
	keep(c, t, false);
	if (c->s->slot_dir)
		k_orders_hold(c, sl, shares(t) ? sl->seq : NULL, t->job->rq->salt);
	k_slots_drop_seq(sl);
	unpromise(c, t);
	k_slots_limit(c);
	k_count_slot(c, sl);
	sl->task = NULL;
	t->slot = NULL;
}

/* A sequence for the slot, with what is known of t's prompt. */
static int fill(struct k_sched *c, struct slot *sl, struct task *t, struct k_err *err)
{
	const struct k_ids *ids = prompt_of(t);
	uint64_t salt = t->job->rq->salt;
	int64_t reused = 0;
	int rc = k_seq_new(&sl->seq, c->s->model, err);
	if (!rc && shares(t))
		rc = k_prefix_take(c->prefix, salt, ids->v, (int64_t)ids->n, grid(c), sl->seq, &reused, err);
	if (rc) {
		k_slots_drop_seq(sl);
		return rc;
	}
	t->n_done = reused;
	/* What is computed again in one small step needs no mark, which would be a step of its own. */
	bool brief = reused && (int64_t)ids->n - reused < NEAR;
	t->mark_at = shares(t) && !brief ? next_mark(c, ids, reused, &t->firm) : 0;
	sl->shown.n_cached = reused;
	if (t->copy == 0)
		t->job->reply->n_cached += reused;
	c->stats.cache_queries += ids->n;
	c->stats.cache_hits += (uint64_t)reused;
	c->stats.prompt_tokens += ids->n;
	return 0;
}

static void seat(struct slot *sl, struct task *t)
{
	sl->task = t;
	t->slot = sl;
}

/* A copy of a prompt that another choice is computing waits for it. */
static bool waits_for_sibling(const struct task *t)
{
	const struct task *first = t - t->copy;
	return t->copy > 0 && !first->over && !first->generates;
}

static struct task *waiting_task(struct job *j)
{
	for (int i = 0; i < j->n_tasks; i++) {
		struct task *t = &j->tasks[i];
		if (!t->over && !t->slot && (t->look == LOOK_NOT_YET || t->look == LOOKED) && !waits_for_sibling(t))
			return t;
	}
	return NULL;
}

/* Does it wait for what is read from disk? Each asks once. */
static bool waits_for_disk(struct k_sched *c, struct task *t)
{
	static const enum look looks[] = { [K_STORE_NOTHING] = LOOKED, [K_STORE_READS] = LOOK_READS, [K_STORE_LATER] = LOOK_LATER };
	const struct k_ids *ids = prompt_of(t);
	uint64_t salt = t->job->rq->salt;
	if (t->look == LOOK_NOT_YET && c->store && shares(t)) {
		int64_t have = k_prefix_look(c->prefix, salt, ids->v, (int64_t)ids->n, grid(c));
		t->look = looks[k_store_ask(c->store, salt, ids->v, (int64_t)ids->n, have)];
	}
	return t->look == LOOK_READS || t->look == LOOK_LATER;
}

void k_slots_states(struct k_sched *c)
{
	struct k_err err = { 0 };
	struct k_seq *s;
	uint64_t salt, id;
	if (!c->store || !k_store_take(c->store, &s, &salt, &id))
		return;
	if (s && k_prefix_put(c->prefix, salt, s, id, false, &err))
		k_logf(c->s->log, K_LOG_WARN, "a state is not used: %s", err.msg);
	k_seq_free(s);
	k_slots_limit(c);
	for (struct job *j = c->jobs; j; j = j->next)
		for (struct task *t = j->tasks; t < j->tasks + j->n_tasks; t++)
			t->look = t->look == LOOK_READS ? LOOKED : t->look == LOOK_LATER ? LOOK_NOT_YET : t->look;
}

/* Of the client that got a slot longest ago, the request that came first; one whose own slot is busy, or that waits
 * for the disk, holds nobody up. */
static struct task *next_task(struct k_sched *c)
{
	struct task *best = NULL;
	for (struct job *j = c->jobs; j; j = j->next) {
		struct task *t = waiting_task(j);
		if (t && slot_for(c, t) && (!best || j->client->admitted < best->job->client->admitted))
			best = t;
	}
	return best;
}

static void admitted(struct k_sched *c, struct job *j)
{
	j->client->admitted = ++c->clock;
	if (j->admitted)
		return;
	j->admitted = true;
	j->t_admitted = j->reply->out->spent.t_admitted = k_now_ns();
	pthread_mutex_lock(&c->lock);
	c->n_waiting--;
	c->waiting_tokens -= j->rq->n_prompt_tokens;
	j->client->n_waiting--;
	pthread_mutex_unlock(&c->lock);
}

void k_slots_admit(struct k_sched *c, void (*fail)(struct k_sched *, struct job *, const struct k_err *))
{
	struct task *t;
	while (free_slot(c) && (t = next_task(c))) {
		struct slot *sl = slot_for(c, t);
		struct k_err err = { 0 };
		if (waits_for_disk(c, t))
			continue;
		if (!promise(c, t))
			return;         /* its turn stays: nobody overtakes it for being smaller */
		admitted(c, t->job);
		seat(sl, t);
		if (fill(c, sl, t, &err))
			fail(c, t->job, &err);
	}
}

bool k_slots_fork(struct k_sched *c, struct task *t, struct task *o)
{
	struct slot *sl = slot_for(c, o);
	struct k_err err = { 0 };
	if (!sl || !promise(c, o))
		return false;
	if (k_seq_fork(&sl->seq, t->slot->seq, &err)) {
		unpromise(c, o);
		return false;
	}
	seat(sl, o);
	o->n_done = t->n_done;
	return true;
}

/* --- disk ------------------------------------------------------------------------------------------------------------------------ */

static void take_back(struct k_sched *c, uint64_t now)
{
	uint64_t id = k_store_failed(c->store);
	if (!id)
		return;
	k_prefix_not_saved(c->prefix, id, now + SAVE_AGAIN);
	c->t_save = now + SAVE_AFTER;
}

bool k_slots_save(struct k_sched *c, bool idle)
{
	struct k_seq *s;
	struct k_err err = { 0 };
	uint64_t salt, id, now = k_now_ns();
	if (!c->s->state_dir)
		return false;
	if (k_store_busy(c->store))
		return true;
	take_back(c, now);
	if (now < c->t_save)
		return true;
	if (k_prefix_unsaved(c->prefix, now - (idle ? SAVE_IDLE : SAVE_AFTER), &s, &salt, &id, &err))
		k_logf(c->s->log, K_LOG_WARN, "state not saved: %s", err.msg);
	else if (s)
		k_store_save(c->store, s, salt, id);
	else
		return k_prefix_dirty(c->prefix);
	return true;
}

static void told(void *c) { k_sched_wake(c); }

int k_slots_open(struct k_sched *c, struct k_err *err)
{
	int rc = k_prefix_new(&c->prefix, c->s->model, err);
	return rc || !(c->s->state_dir || c->s->slot_dir) ? rc : k_store_open(&c->store, c->s, told, c, err);
}

static bool wait_for_writer(struct k_store *st, uint64_t until)
{
	while (k_store_busy(st) && k_now_ns() < until)
		usleep(1000);
	return !k_store_busy(st);
}

bool k_slots_close(struct k_sched *c, uint64_t until)
{
	struct k_err err = { 0 };
	struct k_seq *s = NULL;
	uint64_t salt, id;
	if (c->s->state_dir && c->store && wait_for_writer(c->store, until))
		take_back(c, k_now_ns());
	while (c->s->state_dir && c->store && wait_for_writer(c->store, until) &&
		!k_prefix_unsaved(c->prefix, UINT64_MAX, &s, &salt, &id, &err) && s)
		k_store_save(c->store, s, salt, id);
	bool all = k_store_close(c->store, until);
	if (!all)
		k_logf(c->s->log, K_LOG_WARN, "the disk of the states does not answer: it is not waited for, and what was computed last is not saved");
	k_prefix_free(c->prefix);
	return all;
}
