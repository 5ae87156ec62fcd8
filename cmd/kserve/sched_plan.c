/* sched_plan.c: who computes in the next step.
 *
 * A step holds the next tokens of every task that generates (one, but where a constraint leaves no choice), then chunks of prompts up to the
 * batch, clients by turns. An answer whose first token is known begins with the end of its prompt. */
#include "libcore/base.h"

#include "cmd/kserve/sched_int.h"

#define LEAST_CHUNK 16                  /* tokens of prompts that a step has at least, where there are any */

static bool paused(const struct task *t) { return t->job->reply->out->full(t->job->reply->out); }

static void add_run(struct k_sched *c, int *n, struct task *t, const int32_t *ids, int64_t n_ids, int64_t n_out)
{
	c->runs[*n] = (struct k_run){ t->slot->seq, ids, n_ids, n_out };
	c->rows[(*n)++] = t;
}

/* Of the tasks whose prompts are not computed: the one whose client was fed longest ago, then the one that came first. Those fed
 * since now have had their part of this step. */
static struct task *hungriest(struct k_sched *c, uint64_t now)
{
	struct task *best = NULL;
	for (struct slot *sl = c->slots; sl < c->slots + c->s->n_slots; sl++) {
		struct task *t = sl->task;
		if (!t || t->generates || t->planned > now)
			continue;
		uint64_t a = t->job->client->fed, b = best ? best->job->client->fed : 0;
		if (!best || a < b || (a == b && t->job->ticket < best->job->ticket))
			best = t;
	}
	return best;
}

/* Tokens of the prompt of t for this step. */
static int64_t chunk_of(const struct k_sched *c, const struct task *t, int64_t left)
{
	int64_t n = (int64_t)t->job->rq->prompts[t->prompt].n, end = t->mark_at > t->n_done ? t->mark_at : n;
	int64_t to = K_MIN(end, t->n_done + left);
	if (c->s->deterministic && to < n)
		to = K_MAX(to - to % K_PAGE, t->n_done - t->n_done % K_PAGE + K_PAGE);
	return K_MIN(to, end) - t->n_done;
}

/* Tokens of prompts for a step in which n_decoding tokens of answers come: where these would wait, about as many as make the step twice
 * as long, so that nobody's answer stutters because others begin. What is computed does not depend on it. */
static int64_t prompt_tokens(const struct k_sched *c, int64_t n_decoding)
{
	int64_t left = c->s->n_batch - n_decoding;
	if (!n_decoding || !(c->prompt_s > 0) || !(c->decode_s > 0))
		return left;
	double fits = c->decode_s / c->prompt_s;
	return fits < (double)left ? K_MIN(K_MAX((int64_t)fits, LEAST_CHUNK), left) : left;
}

/* What is to be computed of an answer, up to `most` tokens: returns how many. One at a time where nothing may depend on how much room others leave. */
static int64_t add_next(struct k_sched *c, int *n, struct task *t, int64_t most)
{
	int64_t left = (int64_t)(t->next.n - t->n_next), take = K_MIN(left, c->s->deterministic ? 1 : most);
	add_run(c, n, t, t->next.v + t->n_next, take, take == left);
	return take;
}

/* A place for each that generates; their other tokens where the slots behind leave room. Returns the tokens. */
static int64_t plan_answers(struct k_sched *c, int *n)
{
	int64_t room = c->s->n_batch;
	for (int i = 0, behind = c->s->n_slots - 1; i < c->s->n_slots; i++, behind--) {
		struct task *t = c->slots[i].task;
		if (t && t->generates && !paused(t))
			room -= add_next(c, n, t, room - behind);
	}
	return c->s->n_batch - room;
}

/* Is the first token known while the prompt is not yet computed? Then both go together. A request with more choices waits: it cannot fail before they
 * have their steps. */
static bool begins_ahead(const struct k_sched *c, const struct task *t)
{
	return !c->s->deterministic && t->job->n_tasks == 1 && !k_gen_wants_prompt(t->gen) && k_gen_knows_first(t->gen);
}

int k_sched_plan(struct k_sched *c)
{
	int n = 0;
	uint64_t now = c->clock;
	struct task *t;
	c->n_answer = plan_answers(c, &n);
	c->n_prompt = 0;
	int64_t left = prompt_tokens(c, c->n_answer);
	while (left > 0 && (t = hungriest(c, now))) {
		const struct k_ids *ids = &t->job->rq->prompts[t->prompt];
		int64_t chunk = chunk_of(c, t, left);
		bool last = t->n_done + chunk == (int64_t)ids->n;
		t->planned = t->job->client->fed = ++c->clock;
		c->n_prompt += chunk;
		if (last && begins_ahead(c, t)) {
			k_sched_begin_ahead(c, t);
			left -= t->over ? 0 : add_next(c, &n, t, left);
		} else {
			add_run(c, &n, t, ids->v + t->n_done, chunk, k_gen_wants_prompt(t->gen) ? chunk : last);
			left -= chunk;
		}
	}
	return n;
}

static void learn(double *mean, double seconds)
{
	*mean = *mean > 0 ? *mean + (seconds - *mean) / 8 : seconds;
}

void k_sched_learn(struct k_sched *c, double seconds)
{
	if (!c->n_prompt)
		learn(&c->decode_s, seconds);
	else if (!c->n_answer || c->decode_s > 0)
		learn(&c->prompt_s, K_MAX(seconds - (c->n_answer ? c->decode_s : 0), 1e-9) / (double)c->n_prompt);
}
