/* sched_stats.c: what the scheduler tells about itself. The engine's thread counts in c->stats; after each step a copy goes where
 * others may read it, under the lock. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "cmd/kserve/sched_int.h"

void k_count_init(struct k_sched_stats *s)
{
	struct k_histogram *const seconds[] = { &s->ttft, &s->e2e, &s->queue, &s->prefill, &s->decode, &s->inference };
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
void k_count_job(struct k_sched *c, const struct job *j)
{
	struct k_sched_stats *s = &c->stats;
	const struct k_request *rq = j->rq;
	uint64_t now = k_now_ns(), first = j->reply->t_first;
	int64_t made = 0;
	for (int i = 0; i < j->n_tasks; i++) {
		const uint64_t *repairs = k_gen_repairs(j->tasks[i].gen);
		made += j->tasks[i].n_decoded;
		for (int k = 0; repairs && k < K_REPAIRS; k++)
			s->repairs[k] += repairs[k];
	}
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
	k_histogram_add(&s->inference, since(j->t_admitted, now));
}

void k_count_token(struct k_sched *c, struct task *t)
{
	uint64_t now = k_now_ns();
	if (t->t_token)
		k_histogram_add(&c->stats.itl, since(t->t_token, now));
	t->t_token = now;
	t->n_decoded++;
	c->stats.generated_tokens++;
}

void k_count_slot(struct k_sched *c, struct slot *sl)
{
	struct task *t = sl->task;
	sl->shown.busy = t != NULL;
	if (!t)
		return;
	sl->shown.ticket = t->job->ticket;
	sl->shown.n_prompt = (int64_t)t->job->rq->prompts[t->prompt].n;
	sl->shown.n_done = t->n_done;
	sl->shown.n_decoded = t->n_decoded;
	c->stats.longest = K_MAX(c->stats.longest, t->n_done + t->n_decoded);
}

static void show_memory(struct k_sched *c)
{
	struct k_prefix_stats p;
	struct k_store_stats f = { 0 };
	struct k_sched_stats *s = &c->stats;
	k_prefix_stats(c->prefix, &p);
	if (c->store)
		k_store_stats(c->store, &f);
	s->cache_bytes_now = p.bytes;
	s->cache_limit_now = c->s->room - c->reserved;
	s->cache_tokens_now = p.tokens;
	s->snapshots_now = p.states;
	s->snapshot_bytes_now = p.state_bytes;
	s->reserved_bytes_now = c->reserved;
	s->room_bytes = c->s->seq_room;
	s->states_written = f.written;
	s->states_read = f.read;
	s->states_refused = f.refused;
}

void k_count_show(struct k_sched *c)
{
	int running = 0;
	for (struct job *j = c->jobs; j; j = j->next)
		running += j->admitted;
	for (int i = 0; i < c->s->n_slots; i++)
		k_count_slot(c, &c->slots[i]);
	show_memory(c);
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
	out->queued_tokens_now = c->waiting_tokens;
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
