/* http_call.c: a call: what the engine's thread says is gathered under h->lock and sent by the loop, which is woken.
 *
 *   engine: call_event, call_finish -> pending, list of dirty calls -> k_loop_wake -> loop: k_call_news -> the connection
 *
 * The output that waits for a slow client is bounded: over it the call says that it is full and its sequences are not computed. */
#include "libcore/base.h"

#include <stdio.h>

#include "libcore/log.h"
#include "cmd/kserve/http_int.h"

#define PING_NS (15 * UINT64_C(1000000000))

/* --- the engine's side -------------------------------------------------------------------------------------------------------- */

/* With the lock held. */
static void mark_dirty(struct call *c)
{
	struct http *h = c->h;
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = h->dirty;
	h->dirty = c;
	k_loop_wake(h->loop);
}

static void call_event(struct k_out *o, const char *name, const char *json, size_t n)
{
	struct call *c = (struct call *)o;
	pthread_mutex_lock(&c->h->lock);
	if (name)
		k_buf_printf(&c->pending, "event: %s\n", name);
	k_buf_puts(&c->pending, "data: ");
	k_buf_put(&c->pending, json, n);
	k_buf_puts(&c->pending, "\n\n");
	mark_dirty(c);
	pthread_mutex_unlock(&c->h->lock);
}

static void call_finish(struct k_out *o, int status, const char *json, size_t n, const struct k_fault *f)
{
	struct call *c = (struct call *)o;
	pthread_mutex_lock(&c->h->lock);
	c->status = status;
	c->retry_after = f ? f->retry_after : 0;
	k_buf_put(status == 200 ? &c->pending : &c->problem, json, n);
	c->done = true;
	mark_dirty(c);
	pthread_mutex_unlock(&c->h->lock);
}

static bool call_full(struct k_out *o)
{
	struct call *c = (struct call *)o;
	pthread_mutex_lock(&c->h->lock);
	c->was_full = c->pending.len + c->unsent > MAX_OUTPUT;
	bool full = c->was_full;
	pthread_mutex_unlock(&c->h->lock);
	return full;
}

/* --- the loop's side ---------------------------------------------------------------------------------------------------------- */

static void free_call(struct call *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else if (c->h->calls == c)
		c->h->calls = c->next;
	if (c->next)
		c->next->prev = c->prev;
	k_buf_fini(&c->pending);
	k_buf_fini(&c->problem);
	k_free(c);
}

void k_call_moved(struct call *c)
{
	size_t n = k_link_unsent(c->conn->link);
	pthread_mutex_lock(&c->h->lock);
	c->unsent = n;
	bool again = c->was_full && n + c->pending.len <= MAX_OUTPUT;
	c->was_full &= !again;
	pthread_mutex_unlock(&c->h->lock);
	if (again)
		k_sched_wake(c->h->sched);
}

void k_call_gone(struct call *c)
{
	c->x = c->conn->x;
	c->x.gone = true;
	c->conn->call = NULL;
	c->conn = NULL;
	k_metrics_cancel(&c->h->metrics, c->stalled ? K_CANCEL_STALL : K_CANCEL_DISCONNECT);
	if (c->ticket)
		k_sched_cancel(c->h->sched, c->ticket);
}

static void send_bytes(struct call *c, const char *p, size_t n)
{
	if (!c->conn->started)
		k_send_stream(c->conn);
	k_send_bytes(c->conn, p, n);
	c->t_last = k_now_ns();
	k_call_moved(c);
}

/* The error as the engine put it, if there is memory to hold it. */
static void get_problem(const struct call *c, const char **p, size_t *n)
{
	static const char none[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";
	*p = c->problem.len ? c->problem.data : none;
	*n = c->problem.len ? c->problem.len : sizeof(none) - 1;
}

static void end_stream(struct call *c)
{
	const struct k_dialect *d = c->dialect;
	const char *p;
	size_t n;
	if (c->status != 200) {
		get_problem(c, &p, &n);
		if (d->problem) {
			send_bytes(c, "event: ", 7);
			send_bytes(c, d->problem, strlen(d->problem));
			send_bytes(c, "\n", 1);
		}
		send_bytes(c, "data: ", 6);
		send_bytes(c, p, n);
		send_bytes(c, "\n\n", 2);
	}
	send_bytes(c, d->last, strlen(d->last));
	k_send_end(c->conn);
}

static void end_answer(struct call *c)
{
	const char *p;
	size_t n;
	if (c->conn->started || (c->status == 200 && c->stream)) {
		end_stream(c);
	} else if (c->status == 200) {
		k_send_whole(c->conn, 200, "application/json", c->pending.data, c->pending.len);
	} else {
		get_problem(c, &p, &n);
		k_send_problem(c->conn, c->status, c->retry_after, p, n);
	}
}

static void end_call(struct call *c)
{
	struct http *h = c->h;
	struct conn *conn = c->conn;
	if (c->broken) {
		c->status = 503;
		k_buf_reset(&c->problem);
	}
	k_logf(h->s->log, K_LOG_INFO, "%s %d%s, %.0f ms, %s", c->what, c->status, conn ? "" : " (client gone)",
		(double)(k_now_ns() - (conn ? conn->x : c->x).t_start) / 1e6, conn ? conn->x.id : c->x.id);
	if (conn) {
		conn->x.spent = c->out.spent;
		end_answer(c);
		conn->call = NULL;
	} else {
		c->x.spent = c->out.spent;
		k_metrics_count(&h->metrics, c->x.route, 499);
		k_access_put(h->access, h->s->name, &c->x);
	}
	free_call(c);
	if (conn)
		k_conn_answered(conn);
}

/* What the engine said since the last time. */
struct news { struct k_buf said; bool done; };

/* The first of the calls that have news, NULL when there is none. All of it is taken in one hold of the lock: after the finish that
 * is seen here the engine never touches the call again, so it is in no list when it is freed. */
static struct call *take_news(struct http *h, struct news *n)
{
	k_buf_init(&n->said, 0);
	pthread_mutex_lock(&h->lock);
	struct call *c = h->dirty;
	if (c) {
		h->dirty = c->next_dirty;
		c->dirty = false;
		n->done = c->done;
		c->broken |= c->pending.failed || c->problem.failed;
		if (c->stream) {
			n->said = c->pending;
			k_buf_init(&c->pending, 0);
		}
	}
	pthread_mutex_unlock(&h->lock);
	return c;
}

void k_call_news(struct http *h)
{
	struct call *c;
	struct news n;
	while ((c = take_news(h, &n))) {
		if (c->conn && n.said.len && !c->broken)
			send_bytes(c, n.said.data, n.said.len);
		if (c->broken && !n.done && c->ticket)
			k_sched_cancel(h->sched, c->ticket);
		k_buf_fini(&n.said);
		if (n.done)
			end_call(c);
	}
}

void k_calls_tick(struct http *h)
{
	uint64_t now = k_now_ns();
	for (struct call *c = h->calls; c; c = c->next) {
		if (c->conn && c->stream && now - c->t_last > PING_NS)
			send_bytes(c, c->dialect->ping, strlen(c->dialect->ping));
	}
}

/* --- the beginning ------------------------------------------------------------------------------------------------------------ */

static int new_call(struct conn *conn, const struct k_dialect *d, struct call **out, struct k_fault *f)
{
	struct http *h = conn->h;
	struct call *c = k_calloc(1, sizeof(*c));
	if (!c)
		return k_no_memory(f);
	c->out = (struct k_out){ .event = call_event, .finish = call_finish, .full = call_full };
	c->h = h;
	c->dialect = d;
	c->what = d->name;
	c->conn = conn;
	c->t_last = k_now_ns();
	k_buf_init(&c->pending, 0);
	k_buf_init(&c->problem, 0);
	c->next = h->calls;
	if (h->calls)
		h->calls->prev = c;
	h->calls = c;
	*out = c;
	return 0;
}

/* Whose turn a request takes: the key's, else the address's. */
static uint64_t who(const struct conn *conn)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (const char *p = *conn->x.label ? conn->x.label : conn->address; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
	return h;
}

int k_call_begin(struct conn *conn, struct k_request *rq, struct k_fault *f)
{
	struct call *c = NULL;
	if (new_call(conn, conn->route->dialect, &c, f)) {
		k_request_free(rq);
		return -1;
	}
	c->stream = rq->stream;
	snprintf(rq->trace, sizeof(rq->trace), "%s", conn->x.id);
	rq->client = who(conn);
	if (k_sched_submit(conn->h->sched, rq, &c->out, &c->ticket, f)) {
		free_call(c);
		return -1;
	}
	conn->call = c;
	return 0;
}

int k_call_order(struct conn *conn, struct k_order *o, struct k_fault *f)
{
	struct call *c;
	if (new_call(conn, &k_dialect_chat, &c, f)) {
		k_order_free(o);
		return -1;
	}
	c->what = "slot";
	o->out = &c->out;
	o->t_began = k_now_ns();
	if (k_sched_order(conn->h->sched, o, f)) {
		free_call(c);
		return -1;
	}
	conn->call = c;
	return 0;
}
