/* http_work.c: from the body of a request to what it asks for: JSON, template, tokens, schemas. What may take long is read beside the
 * loop, so that it holds up nobody's answer: a large body, and one that may have a schema, of which a few hundred bytes can take seconds.
 *
 *   loop: k_work_begin -> quick: at once
 *                      -> slow:  queue -> reader's thread: prepare -> done, k_loop_wake -> loop: k_works_news
 *
 * A work whose client goes away meanwhile is dropped. */
#include "libcore/base.h"

#include "cmd/kserve/http_int.h"

enum { LARGE_BODY = 32 << 10 };

struct work {
	struct http *h;
	struct conn *conn;              /* the loop's own; NULL: the client is gone */
	const struct k_route *route;
	const char *rest;               /* of the path; "" for all that is read beside the loop */
	struct k_buf body;
	size_t held;                    /* of h->n_body */
	bool dropped;                   /* under the lock: nobody waits for it */
	struct work *next;

	/* what came of it */
	int rc;
	struct k_fault f;
	char *name;                     /* request_id */
	struct k_request *rq;
	struct k_buf answer;
};

static void fini(struct work *w)
{
	k_request_free(w->rq);
	k_buf_fini(&w->body);
	k_buf_fini(&w->answer);
	k_free(w->name);
}

/* --- any thread --------------------------------------------------------------------------------------------------------------- */

static void prepare(struct work *w)
{
	const struct k_route *r = w->route;
	const struct k_server *s = w->h->s;
	struct k_json *json = NULL;
	w->rc = k_route_json(s, r, &w->body, &json, &w->f);
	if (w->rc)
		return;
	if (r->what == K_ROUTE_GENERATE) {
		const char *name = k_word(k_json_given(json, "request_id"));
		w->name = name ? k_strdup(name) : NULL;
		w->rc = r->dialect->parse(&w->rq, s, json, &w->f);
	} else {
		w->rc = r->answer(s, json, w->rest, &w->answer, &w->f);
		k_json_free(json);
	}
}

static void *reader(void *arg)
{
	struct http *h = arg;
	struct works *q = &h->works;
	pthread_mutex_lock(&q->lock);
	for (;;) {
		while (!q->first && !q->closing)
			pthread_cond_wait(&q->more, &q->lock);
		struct work *w = q->first;
		if (q->closing)
			break;
		q->first = w->next;
		if (!q->first)
			q->last = &q->first;
		bool dropped = w->dropped;
		pthread_mutex_unlock(&q->lock);
		if (!dropped)
			prepare(w);
		pthread_mutex_lock(&q->lock);
		w->next = q->done;
		q->done = w;
		k_loop_wake(h->loop);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

/* --- the loop's thread -------------------------------------------------------------------------------------------------------- */

static void finish(struct conn *c, struct work *w)
{
	if (w->name && !k_head_get(&c->head, "X-Request-Id"))
		k_conn_name(c, w->name);
	if (!w->rc && w->route->what == K_ROUTE_GENERATE) {
		struct k_request *rq = w->rq;
		w->rq = NULL;
		w->rc = k_call_begin(c, rq, &w->f);
	} else if (!w->rc) {
		w->rc = k_send_text(c, "application/json", &w->answer, &w->f);
	}
	if (w->rc)
		k_send_fault(c, &w->f);
	if (!c->call)
		k_conn_answered(c);
}

/* By words that a request for a constraint has in the names of its fields, and any may have in its text: it costs that one a few microseconds. An escape may
 * stand for a letter of such a name. */
static bool is_slow(const struct k_buf *body)
{
	static const char *const words[] = { "schema", "format", "tools", "functions", "guided", "structured", "grammar", "regex", "\\u" };
	bool slow = body->len > LARGE_BODY;
	for (size_t i = 0; i < K_LEN(words) && !slow; i++)
		slow = body->len && memmem(body->data, body->len, words[i], strlen(words[i]));
	return slow;
}

void k_work_begin(struct conn *c)
{
	struct http *h = c->h;
	struct works *q = &h->works;
	struct work w = { .h = h, .conn = c, .route = c->route, .rest = c->rest, .body = c->body, .held = c->body.cap };
	struct work *slow = is_slow(&c->body) && !*c->rest ? k_alloc(sizeof(*slow)) : NULL;
	k_buf_init(&c->body, 0);
	k_buf_init(&w.answer, 0);
	if (!slow) {
		h->n_body -= w.held;
		prepare(&w);
		finish(c, &w);
		fini(&w);
		return;
	}
	*slow = w;
	c->work = slow;
	pthread_mutex_lock(&q->lock);
	*q->last = slow;
	q->last = &slow->next;
	q->n++;
	pthread_cond_signal(&q->more);
	pthread_mutex_unlock(&q->lock);
}

void k_work_gone(struct conn *c)
{
	struct http *h = c->h;
	pthread_mutex_lock(&h->works.lock);
	c->work->dropped = true;
	pthread_mutex_unlock(&h->works.lock);
	c->work->conn = NULL;
	c->work = NULL;
	c->x.gone = true;
	k_metrics_cancel(&h->metrics, K_CANCEL_DISCONNECT);
	k_metrics_count(&h->metrics, c->x.route, 499);
	k_access_put(h->access, h->s->name, &c->x);
}

static void end_works(struct http *h, struct work *list)
{
	struct work *next;
	for (struct work *w = list; w; w = next) {
		struct conn *c = w->conn;
		next = w->next;
		h->n_body -= w->held;
		h->works.n--;
		if (c) {
			c->work = NULL;
			finish(c, w);
		}
		fini(w);
		k_free(w);
	}
}

void k_works_news(struct http *h)
{
	pthread_mutex_lock(&h->works.lock);
	struct work *list = h->works.done;
	h->works.done = NULL;
	pthread_mutex_unlock(&h->works.lock);
	end_works(h, list);
}

/* --- life --------------------------------------------------------------------------------------------------------------------- */

int k_works_open(struct http *h, struct k_err *err)
{
	struct works *q = &h->works;
	while (q->n_threads < READERS) {
		if (pthread_create(&q->threads[q->n_threads], NULL, reader, h))
			return k_err_set(err, K_ENOMEM, "cannot start a thread");
		q->n_threads++;
	}
	return 0;
}

void k_works_end(struct http *h)
{
	struct works *q = &h->works;
	pthread_mutex_lock(&q->lock);
	q->closing = true;
	pthread_cond_broadcast(&q->more);
	pthread_mutex_unlock(&q->lock);
	while (q->n_threads)
		pthread_join(q->threads[--q->n_threads], NULL);
	end_works(h, q->done);
	end_works(h, q->first);
}
