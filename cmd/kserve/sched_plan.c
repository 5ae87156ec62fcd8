/* sched_plan.c: who computes in the next step.
 *
 * A step holds the next tokens of every task that generates (one, but where a constraint leaves no choice), then chunks of prompts up to the
 * batch, clients by turns. An answer whose first token is known begins with the end of its prompt. */
#include "libcore/base.h"

#include "cmd/kserve/sched_int.h"

#define LEAST_CHUNK 16                  /* tokens of prompts that a step has at least, where there are any */
#define MOST_AHEAD 64                   /* of a prompt that are computed together with the begin of its answer */

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

static int64_t pending(const struct task *t) { return (int64_t)(t->next.n - t->n_next); }

/* `most` tokens of an answer, or what there is. */
static void add_next(struct k_sched *c, int *n, struct task *t, int64_t most)
{
	int64_t left = pending(t), take = K_MIN(left, most);
	add_run(c, n, t, t->next.v + t->n_next, take, take == left);
}

/* A token for each that generates. */
static int plan_answers(struct k_sched *c)
{
	int n = 0;
	for (int i = 0; i < c->s->n_slots; i++) {
		struct task *t = c->slots[i].task;
		if (t && t->generates && !paused(t))
			add_next(c, &n, t, 1);
	}
	return n;
}

/* Of n answers tokens that are known already, up to `left` in all. Returns how many. None where nothing may depend on what others leave. */
static int64_t add_known(struct k_sched *c, int n, int64_t left)
{
	int64_t sum = 0;
	for (int i = 0; i < n && !c->s->deterministic; i++) {
		int64_t more = K_MIN(pending(c->rows[i]) - 1, left - sum);
		c->runs[i].n += more;
		c->runs[i].n_out = c->runs[i].n == pending(c->rows[i]);
		sum += more;
	}
	return sum;
}

/* Is the first token known while the few last ones of the prompt are not yet computed? Then all go together. A request with more choices waits: it cannot
 * fail before they have their steps. A long prompt is computed before its answer begins, which may end at once and leave it to the next one. */
static bool begins_ahead(const struct k_sched *c, const struct task *t, int64_t chunk)
{
	return chunk <= MOST_AHEAD && !c->s->deterministic && t->job->n_tasks == 1 && !k_gen_wants_prompt(t->gen) && k_gen_knows_first(t->gen);
}

int k_sched_plan(struct k_sched *c)
{
	uint64_t now = c->clock;
	struct task *t;
	int n = c->n_answer = plan_answers(c);
	int64_t left = prompt_tokens(c, n);
	/* One alone makes nobody wait. */
	c->n_known = add_known(c, n, n == 1 ? c->s->n_batch - n : left);
	c->n_prompt = 0;
	left -= c->n_known;
	while (left > 0 && (t = hungriest(c, now))) {
		const struct k_ids *ids = &t->job->rq->prompts[t->prompt];
		int64_t chunk = chunk_of(c, t, left);
		bool last = t->n_done + chunk == (int64_t)ids->n;
		t->planned = t->job->client->fed = ++c->clock;
		if (last && begins_ahead(c, t, chunk)) {
			k_sched_begin_ahead(c, t);
			if (t->over)
				continue;
			add_next(c, &n, t, left);
			c->n_known += c->runs[n - 1].n - chunk;
			left -= c->runs[n - 1].n;
		} else {
			add_run(c, &n, t, ids->v + t->n_done, chunk, k_gen_wants_prompt(t->gen) ? chunk : last);
			left -= chunk;
		}
		c->n_prompt += chunk;
	}
	return n;
}

static void learn(double *mean, double seconds)
{
	*mean = *mean > 0 ? *mean + (seconds - *mean) / 8 : seconds;
}

void k_sched_learn(struct k_sched *c, double seconds)
{
	int64_t more = c->n_prompt + c->n_known;
	if (!more)
		learn(&c->decode_s, seconds);
	else if (!c->n_answer || c->decode_s > 0)
		learn(&c->prompt_s, K_MAX(seconds - (c->n_answer ? c->decode_s : 0), 1e-9) / (double)more);
}
