/* reply.c: the parts of all choices, and when a dialect is told of them.
 *
 *   text, call, args --> the last part, or a new one --stream--> open, delta, close
 *                                                    --else----> whole, when all choices are over
 *
 * Memory that gives out makes the reply broken; the scheduler sees it and fails the request. */
#include "libcore/base.h"

#include <time.h>

#include "libcore/hash.h"
#include "libcore/log.h"
#include "cmd/kserve/dialect.h"

/* --- for the dialects ------------------------------------------------------------------------------------------------------ */

struct k_usage k_reply_usage(const struct k_reply *r, int only)
{
	struct k_usage u = { .prompt = r->rq->n_prompt_tokens, .cached = r->n_cached };
	for (int i = 0; i < r->n_choices; i++) {
		if (only >= 0 && i != only)
			continue;
		u.made += r->choices[i].n_tokens;
		u.thought += r->choices[i].n_reasoning;
	}
	return u;
}

void k_reply_send(struct k_reply *r, const char *name)
{
	struct k_buf *b = &r->line;
	if (b->failed) {
		r->broken = true;
	} else if (!r->over) {
		r->n_sent++;
		r->out->event(r->out, name, b->data, b->len);
	}
}

size_t k_reply_text_len(const struct k_choice *c, enum k_event_kind kind)
{
	size_t n = 0;
	for (int i = 0; i < c->n_parts; i++)
		n += c->parts[i].kind == kind ? c->parts[i].text.len : 0;
	return n;
}

void k_reply_put_text(struct k_buf *b, const struct k_choice *c, enum k_event_kind kind)
{
	const struct k_part *only = NULL;
	struct k_buf all;
	int n = 0;
	for (int i = 0; i < c->n_parts; i++) {
		if (c->parts[i].kind == kind) {
			only = &c->parts[i];
			n++;
		}
	}
	if (n <= 1) {
		k_json_quote(b, n && only->text.len ? only->text.data : "", n ? only->text.len : 0);
		return;
	}
	k_buf_init(&all, 0);
	for (int i = 0; i < c->n_parts; i++) {
		if (c->parts[i].kind == kind)
			k_buf_put(&all, c->parts[i].text.data, c->parts[i].text.len);
	}
	k_json_quote(b, all.len ? all.data : "", all.len);
	b->failed |= all.failed;
	k_buf_fini(&all);
}

/* --- parts ------------------------------------------------------------------------------------------------------------------ */

static struct k_part *last_part(struct k_choice *c) { return c->n_parts ? &c->parts[c->n_parts - 1] : NULL; }

static void close_part(struct k_reply *r, int choice)
{
	const struct k_dialect *d = r->rq->dialect;
	const struct k_part *p = last_part(&r->choices[choice]);
	if (p && r->rq->stream && d->close)
		d->close(r, choice, p);
}

static struct k_part *new_part(struct k_reply *r, int choice, enum k_event_kind kind)
{
	struct k_choice *c = &r->choices[choice];
	close_part(r, choice);
	if (c->n_parts == c->cap_parts) {
		int cap = c->cap_parts ? 2 * c->cap_parts : 4;
		struct k_part *v = k_realloc(c->parts, (size_t)cap * sizeof(*v));
		if (!v) {
			r->broken = true;
			return NULL;
		}
		c->parts = v;
		c->cap_parts = cap;
	}
	struct k_part *p = &c->parts[c->n_parts++];
	memset(p, 0, sizeof(*p));
	p->kind = kind;
	p->first_entry = k_json_len(c->logprobs);
	k_buf_init(&p->text, 0);
	return p;
}

static void opened(struct k_reply *r, int choice, const struct k_part *p)
{
	if (r->rq->stream && r->rq->dialect->open)
		r->rq->dialect->open(r, choice, p);
}

static void put(struct k_reply *r, int choice, struct k_part *p, const char *s, size_t n, const struct k_json *entries)
{
	k_buf_put(&p->text, s, n);
	r->broken |= p->text.failed;
	if (r->rq->stream)
		r->rq->dialect->delta(r, choice, p, s, n, entries);
}

void k_reply_progress(struct k_reply *r, int64_t n)
{
	if (r->rq->stream && r->rq->progress && r->rq->dialect->progress)
		r->rq->dialect->progress(r, n);
}

void k_reply_computed(struct k_reply *r)
{
	if (!r->t_first)
		r->t_first = k_now_ns();
}

void k_reply_start(struct k_reply *r, int choice)
{
	struct k_choice *c = &r->choices[choice];
	if (c->started)
		return;
	c->started = true;
	if (r->rq->stream && r->rq->dialect->start)
		r->rq->dialect->start(r, choice);
}

/* The entries go behind those that the choice has, and its last part has them. */
static void keep_entries(struct k_reply *r, struct k_choice *c, struct k_json *entries)
{
	struct k_part *p = last_part(c);
	for (size_t i = 0; i < k_json_len(entries) && c->logprobs; i++) {
		if (k_json_push(c->logprobs, k_json_keep(k_json_at(entries, i))))
			r->broken = true;
	}
	if (p && c->logprobs)
		p->n_entries = k_json_len(c->logprobs) - p->first_entry;
}

void k_reply_text(struct k_reply *r, int choice, enum k_event_kind kind, const char *s, size_t n, struct k_json *entries)
{
	struct k_choice *c = &r->choices[choice];
	bool hidden = kind == K_EVENT_REASONING && !r->rq->include_reasoning;
	if ((n || k_json_len(entries)) && !hidden) {
		struct k_part *p = last_part(c);
		if (!p || p->kind != kind) {
			p = new_part(r, choice, kind);
			if (p)
				opened(r, choice, p);
		}
		if (p)
			put(r, choice, p, s, n, entries);
	}
	keep_entries(r, c, entries);
	k_json_free(entries);
}

void k_reply_call(struct k_reply *r, int choice, const char *id, const char *name)
{
	struct k_part *p = new_part(r, choice, K_EVENT_CALL);
	if (!p)
		return;
	p->call = r->choices[choice].n_calls++;
	p->id = k_strdup(id);
	p->name = k_strdup(name);
	r->broken |= !p->id || !p->name;
	if (!r->broken)
		opened(r, choice, p);
}

void k_reply_args(struct k_reply *r, int choice, int call, const char *s, size_t n)
{
	struct k_part *p = last_part(&r->choices[choice]);
	if (n && p && p->kind == K_EVENT_CALL && p->call == call)
		put(r, choice, p, s, n, NULL);
}

void k_reply_token(struct k_reply *r, int choice, int32_t id, bool reasoning)
{
	struct k_choice *c = &r->choices[choice];
	c->n_tokens++;
	c->n_reasoning += reasoning;
	if (c->ids && k_json_push(c->ids, k_json_new_int(id)))
		r->broken = true;
}

/* --- ends ------------------------------------------------------------------------------------------------------------------- */

static void tell_spent(struct k_reply *r)
{
	struct k_usage u = k_reply_usage(r, -1);
	struct k_spent *s = &r->out->spent;
	s->prompt = u.prompt;
	s->cached = u.cached;
	s->made = u.made;
	s->t_first = r->t_first;
	s->finish = r->n_choices ? r->choices[0].finish : NULL;
}

static void all_done(struct k_reply *r)
{
	const struct k_dialect *d = r->rq->dialect;
	struct k_buf *b = &r->line;
	if (!r->rq->stream)
		d->whole(r);
	else if (d->done)
		d->done(r);
	if (b->failed)
		r->broken = true;
	if (r->broken || r->over)
		return;
	r->over = true;
	r->status = 200;
	if (r->rq->stream)
		k_buf_reset(b);
}

void k_reply_end(struct k_reply *r, int choice, const char *finish, struct k_json *stop_reason, struct k_json *entries)
{
	struct k_choice *c = &r->choices[choice];
	if (!c->finish) {
		c->finish = finish;
		c->stop_reason = stop_reason;
		stop_reason = NULL;
		close_part(r, choice);
		keep_entries(r, c, entries);
		if (r->rq->stream)
			r->rq->dialect->end(r, choice, entries);
		if (--r->n_open == 0)
			all_done(r);
	}
	k_json_free(stop_reason);
	k_json_free(entries);
}

void k_reply_fail(struct k_reply *r, const struct k_fault *f)
{
	if (r->over)
		return;
	r->over = true;
	r->status = f->status;
	r->fault = *f;
	k_buf_reset(&r->line);
	r->rq->dialect->fault(&r->line, f, r->rq->trace);
}

void k_reply_tell(struct k_reply *r)
{
	const struct k_buf *b = &r->line;
	bool good = r->status == 200;
	if (!r->over || r->told)
		return;
	r->told = true;
	tell_spent(r);
	if (b->failed)
		r->out->finish(r->out, r->status, "{\"error\":{}}", 12, &r->fault);
	else
		r->out->finish(r->out, r->status, b->len ? b->data : "", b->len, good ? NULL : &r->fault);
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

static int random_key(struct k_reply *r, struct k_err *err)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab";
	uint8_t random[sizeof(r->key) - 1];
	int rc = k_random_bytes(random, sizeof(random), err);
	for (size_t i = 0; i < sizeof(random) && !rc; i++)
		r->key[i] = letters[random[i] % 64];
	return rc;
}

static int set_up(struct k_reply *r, struct k_err *err)
{
	const struct k_request *rq = r->rq;
	k_buf_init(&r->head, 0);
	k_buf_init(&r->line, 0);
	r->n_choices = r->n_open = (int)(rq->n_prompts * rq->n);
	r->choices = k_calloc((size_t)r->n_choices, sizeof(*r->choices));
	bool bad = !r->choices;
	for (int i = 0; i < r->n_choices && !bad; i++) {
		if (rq->logprobs && (!rq->stream || rq->dialect->repeats))
			bad |= !(r->choices[i].logprobs = k_json_array());
		if (rq->token_ids)
			bad |= !(r->choices[i].ids = k_json_array());
	}
	int rc = bad ? k_err_nomem(err, sizeof(*r), "a reply") : random_key(r, err);
	if (rc)
		return rc;
	rq->dialect->begin(r);
	return k_buf_ok(&r->head, "a reply", err);
}

int k_reply_new(struct k_reply **out_reply, const struct k_server *s, const struct k_request *rq, struct k_out *out, struct k_fault *f)
{
	struct k_err err = { 0 };
	struct k_reply *r = k_calloc(1, sizeof(*r));
	if (!r)
		return k_no_memory(f);
	r->server = s;
	r->rq = rq;
	r->out = out;
	r->created = (int64_t)time(NULL);
	if (set_up(r, &err)) {
		k_reply_free(r);
		return k_fault_err(f, &err);
	}
	*out_reply = r;
	return 0;
}

void k_reply_free(struct k_reply *r)
{
	if (!r)
		return;
	for (int i = 0; r->choices && i < r->n_choices; i++) {
		struct k_choice *c = &r->choices[i];
		for (int j = 0; j < c->n_parts; j++) {
			k_free(c->parts[j].id);
			k_free(c->parts[j].name);
			k_buf_fini(&c->parts[j].text);
		}
		k_free(c->parts);
		k_json_free(c->logprobs);
		k_json_free(c->ids);
		k_json_free(c->stop_reason);
	}
	k_free(r->choices);
	k_buf_fini(&r->head);
	k_buf_fini(&r->line);
	k_free(r);
}
