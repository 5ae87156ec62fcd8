/* http.c: routes, keys, server-sent events, drain.
 *
 *   socket -> evhttp -> on_request -> route --answer--> reply at once
 *                                           \--submit--> struct call <--event, finish-- engine's thread
 *                                                             |
 *                                          eventfd -> on_wake: what the engine said goes to the socket
 *
 * Everything of libevent happens in one thread. A call is shared with the engine's thread: its fields under h->lock, and it lives
 * until finish came and was sent. When a connection goes away the call stays, marked gone, and its request is cancelled; what it
 * has computed stays in the cache. The output that waits for a slow client is bounded: over it the call says that it is full and
 * its sequences are not computed. */
#include "libcore/base.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

#include "libcore/ctx.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/log.h"
#include "cmd/kserve/http.h"
#include "cmd/kserve/keys.h"
#include "cmd/kserve/listener.h"
#include "cmd/kserve/page.h"
#include "cmd/kserve/routes.h"

#define MAX_HEADERS (40 << 10)
#define MAX_HEADER_LINES 100
#define MAX_OUTPUT (1u << 20)           /* bytes that may wait for a client */
#define IDLE_SECONDS 60
#define PING_NS (15 * UINT64_C(1000000000))
#define TICK_US 100000
#define LINGER_TICKS 10                 /* for the last bytes of replies when the server ends */

struct http;
struct call {
	struct k_out out;               /* first */
	struct http *h;
	uint64_t ticket;
	const struct k_dialect *dialect;
	bool stream;

	/* under h->lock */
	struct k_buf pending;           /* events; the whole reply when it is not a stream */
	struct k_buf problem;           /* error body */
	size_t unsent;                  /* bytes that the socket has not taken */
	bool was_full, dirty, done;
	int status, retry_after;
	struct call *next_dirty;

	/* the HTTP thread's own */
	struct evhttp_request *req;     /* NULL: the client is gone */
	struct evhttp_connection *conn;
	struct evbuffer *bytes;
	bool started;                   /* the status line was sent */
	bool broken;                    /* something that the engine said is lost: no memory */
	uint64_t t_start, t_last;
	char id[129];
	struct call *prev, *next;
};

struct http {
	const struct k_server *s;
	struct k_sched *sched;
	const struct k_http_opts *o;
	const struct k_ctx *ctx;
	struct event_base *base;
	struct evhttp *evhttp;
	struct evconnlistener *listener;
	struct event *tick, *wake, *hup;
	struct k_keys keys;
	pthread_mutex_t lock;
	int eventfd;
	struct call *dirty;
	struct call *calls;
	int n_writing;                  /* requests whose last byte is not sent */
	int linger;
	bool draining, aborted;
	uint64_t t_drain;
	struct k_err failed;
};

/* --- replies ---------------------------------------------------------------------------------------------------------------- */

static const char *reason(int status)
{
	static const struct { int status; const char *text; } reasons[] = {
		{ 200, "OK" }, { 304, "Not Modified" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 413, "Content Too Large" }, { 415, "Unsupported Media Type" }, { 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" }, { 503, "Service Unavailable" },
	};
	for (size_t i = 0; i < K_LEN(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "Error";
}

static void add_header(struct evhttp_request *req, const char *key, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(req), key, value);
}

static const char *header(struct evhttp_request *req, const char *key)
{
	return evhttp_find_header(evhttp_request_get_input_headers(req), key);
}

/* The whole reply. Frees nothing of ours. */
static void send_whole(struct http *h, struct evhttp_request *req, int status, const char *type, const void *p, size_t n)
{
	struct evbuffer *b = evbuffer_new();
	char number[32];
	bool head = evhttp_request_get_command(req) == EVHTTP_REQ_HEAD;
	add_header(req, "Content-Type", type);
	snprintf(number, sizeof(number), "%zu", n);
	if (h->draining)
		add_header(req, "Connection", "close");
	if (head)
		add_header(req, "Content-Length", number);
	else if (b && evbuffer_add(b, p, n))
		status = 500;
	evhttp_send_reply(req, status, reason(status), b);
	if (b)
		evbuffer_free(b);
}

static void send_json(struct http *h, struct evhttp_request *req, int status, const char *json, size_t n)
{
	send_whole(h, req, status, "application/json", json, n);
}

static void send_page(struct http *h, struct evhttp_request *req, const struct k_page *page)
{
	char name[64], value[1024], etag[24];
	int used;
	for (const char *p = page->headers; sscanf(p, "%63[^:]: %1023[^\r]\r\n%n", name, value, &used) == 2; p += used)
		add_header(req, name, value);
	k_page_etag(page, etag);
	add_header(req, "ETag", etag);
	if (k_page_unchanged(header(req, "If-None-Match"), etag))
		evhttp_send_reply(req, 304, reason(304), NULL);
	else
		send_whole(h, req, 200, page->type, page->data, page->n);
}

static void send_fault(struct http *h, struct evhttp_request *req, const struct k_dialect *d, const struct k_fault *f, const char *id)
{
	struct k_buf b;
	char number[16];
	k_buf_init(&b, 0);
	d->fault(&b, f, id);
	if (f->retry_after) {
		snprintf(number, sizeof(number), "%d", f->retry_after);
		add_header(req, "Retry-After", number);
	}
	if (f->status == 401)
		add_header(req, "WWW-Authenticate", "Bearer");
	if (f->status == 500)
		add_header(req, "x-should-retry", "false");
	send_json(h, req, f->status, b.failed ? "{}" : b.data, b.failed ? 2 : b.len);
	k_buf_fini(&b);
}

/* --- calls: the engine's side -------------------------------------------------------------------------------------------------- */

/* With the lock held. */
static void mark_dirty(struct call *c)
{
	struct http *h = c->h;
	const uint64_t one = 1;
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = h->dirty;
	h->dirty = c;
	if (write(h->eventfd, &one, sizeof(one)) < 0)
		return;                 /* the counter is full: the thread will wake anyway */
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

/* --- calls: the HTTP thread's side ------------------------------------------------------------------------------------------------ */

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
	if (c->bytes)
		evbuffer_free(c->bytes);
	k_free(c);
}

/* The connection went away under a request: libevent says so here, and never that the request is complete. */
static void on_gone(struct evhttp_connection *conn K_UNUSED, void *arg) { ((struct http *)arg)->n_writing--; }

static void on_close(struct evhttp_connection *conn, void *arg)
{
	struct call *c = arg;
	on_gone(conn, c->h);
	/* Where libevent itself saw the end it has left an unanswered request to us; else it frees it with the connection. */
	if (!evhttp_request_get_connection(c->req))
		evhttp_request_free(c->req);
	c->req = NULL;
	c->conn = NULL;
	k_sched_cancel(c->h->sched, c->ticket);
}

static void set_unsent(struct call *c, size_t n)
{
	pthread_mutex_lock(&c->h->lock);
	c->unsent = n;
	bool again = c->was_full && n + c->pending.len <= MAX_OUTPUT;
	pthread_mutex_unlock(&c->h->lock);
	if (again)
		k_sched_wake(c->h->sched);
}

static void on_sent(struct evhttp_connection *conn K_UNUSED, void *arg) { set_unsent(arg, 0); }

static void start_stream(struct call *c)
{
	if (c->started)
		return;
	c->started = true;
	add_header(c->req, "Content-Type", "text/event-stream; charset=utf-8");
	add_header(c->req, "Cache-Control", "no-cache");
	add_header(c->req, "X-Accel-Buffering", "no");
	if (c->h->draining)
		add_header(c->req, "Connection", "close");
	evhttp_send_reply_start(c->req, 200, "OK");
}

static void send_bytes(struct call *c, const char *p, size_t n)
{
	if (!n)
		return;
	start_stream(c);
	c->t_last = k_now_ns();
	if (evbuffer_add(c->bytes, p, n))
		return;
	evhttp_send_reply_chunk_with_cb(c->req, c->bytes, on_sent, c);
	set_unsent(c, evbuffer_get_length(bufferevent_get_output(evhttp_connection_get_bufferevent(c->conn))));
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
	evhttp_send_reply_end(c->req);
}

static void end_call(struct call *c)
{
	struct http *h = c->h;
	if (c->broken) {
		c->status = 503;
		k_buf_reset(&c->problem);
	}
	bool ok = c->status == 200;
	if (c->req) {
		evhttp_connection_set_closecb(c->conn, on_gone, h);
		if (c->started || (ok && c->stream)) {
			end_stream(c);
		} else if (ok) {
			send_json(h, c->req, 200, c->pending.data, c->pending.len);
		} else {
			char number[16];
			const char *p;
			size_t n;
			get_problem(c, &p, &n);
			snprintf(number, sizeof(number), "%d", c->retry_after);
			if (c->retry_after)
				add_header(c->req, "Retry-After", number);
			if (c->status == 500)
				add_header(c->req, "x-should-retry", "false");
			send_json(h, c->req, c->status, p, n);
		}
	}
	k_logf(h->s->log, K_LOG_INFO, "%s %d%s, %.0f ms, %s", c->dialect->name, c->status,
		c->req ? "" : " (client gone)", (double)(k_now_ns() - c->t_start) / 1e6, c->id);
	free_call(c);
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

static void on_wake(evutil_socket_t fd, short what K_UNUSED, void *arg)
{
	struct http *h = arg;
	struct call *c;
	struct news n;
	uint64_t count;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	while ((c = take_news(h, &n))) {
		if (c->req && n.said.len && !c->broken)
			send_bytes(c, n.said.data, n.said.len);
		if (c->broken && !n.done)
			k_sched_cancel(h->sched, c->ticket);
		k_buf_fini(&n.said);
		if (n.done)
			end_call(c);
	}
}

/* --- generation -------------------------------------------------------------------------------------------------------------- */

static int new_call(struct http *h, struct evhttp_request *req, const struct k_dialect *d, const char *id, struct call **out, struct k_fault *f)
{
	struct call *c = k_calloc(1, sizeof(*c));
	if (c)
		c->bytes = evbuffer_new();
	if (!c || !c->bytes) {
		k_free(c);
		return k_fault_set(f, 503, "overloaded", NULL, "out of memory");
	}
	c->out = (struct k_out){ call_event, call_finish, call_full };
	c->h = h;
	c->dialect = d;
	c->req = req;
	c->conn = evhttp_request_get_connection(req);
	c->t_start = c->t_last = k_now_ns();
	snprintf(c->id, sizeof(c->id), "%s", id);
	k_buf_init(&c->pending, 0);
	k_buf_init(&c->problem, 0);
	c->next = h->calls;
	if (h->calls)
		h->calls->prev = c;
	h->calls = c;
	*out = c;
	return 0;
}

static int generate(struct http *h, struct evhttp_request *req, const struct k_dialect *d, struct k_json *body, const char *id, struct k_fault *f)
{
	struct k_request *rq;
	struct call *c = NULL;
	if (d->parse(&rq, h->s, body, f))
		return -1;
	if (new_call(h, req, d, id, &c, f)) {
		k_request_free(rq);
		return -1;
	}
	c->stream = rq->stream;
	snprintf(rq->trace, sizeof(rq->trace), "%s", id);
	if (k_sched_submit(h->sched, rq, &c->out, &c->ticket, f)) {
		free_call(c);
		return -1;
	}
	evhttp_connection_set_closecb(c->conn, on_close, c);
	return 0;
}

/* --- routes ------------------------------------------------------------------------------------------------------------------- */

/* The decoded path without /v1 and without slashes at the end, to be freed with free(). NULL with a fault. */
static char *read_path(struct evhttp_request *req, const char **path, struct k_fault *f)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *raw = uri ? evhttp_uri_get_path(uri) : NULL;
	size_t n = 0;
	char *p = raw ? evhttp_uridecode(raw, 0, &n) : NULL;
	if (!p || strlen(p) != n || !k_utf8_ok(p, n) || strstr(p, "/../") || (n >= 3 && !strcmp(p + n - 3, "/.."))) {
		k_fault_set(f, 400, NULL, NULL, "the path of the request is malformed");
		free(p);
		return NULL;
	}
	while (n > 1 && p[n - 1] == '/')
		p[--n] = 0;
	*path = !strncmp(p, "/v1/", 4) ? p + 3 : p;
	return p;
}

static int check_method(struct evhttp_request *req, const struct k_route *r, struct k_fault *f)
{
	static const char *const names[] = { [K_GET] = "GET, HEAD", [K_POST] = "POST", [K_GET | K_POST] = "GET, HEAD, POST" };
	enum evhttp_cmd_type m = evhttp_request_get_command(req);
	if (r->methods & (m == EVHTTP_REQ_POST ? K_POST : m == EVHTTP_REQ_GET || m == EVHTTP_REQ_HEAD ? K_GET : 0u))
		return 0;
	add_header(req, "Allow", names[r->methods]);
	return k_fault_set(f, 405, "method_not_allowed", NULL, "this route takes %s", names[r->methods]);
}

static int check_key(struct http *h, struct evhttp_request *req, struct k_fault *f)
{
	const char *bearer = header(req, "Authorization"), *key = header(req, "X-Api-Key");
	if (!h->keys.n)
		return 0;
	if (bearer && !strncasecmp(bearer, "Bearer ", 7))
		key = bearer + 7 + strspn(bearer + 7, " ");
	if (key && k_keys_has(&h->keys, key))
		return 0;
	return k_fault_set(f, 401, "invalid_api_key", NULL, key ? "the API key is wrong" : "no API key was given");
}

/* One host, and one length in digits, under names that are names: what this parser takes otherwise, whoever stands between may
 * have taken for something else. */
static bool check_line(const struct evkeyval *kv, const char *length, int *n_hosts)
{
	static const char name[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	bool is_length = !strcasecmp(kv->key, "Content-Length");
	*n_hosts += !strcasecmp(kv->key, "Host");
	return *kv->key && !kv->key[strspn(kv->key, name)] &&
		!(is_length && (strcmp(kv->value, length) || kv->value[strspn(kv->value, "0123456789")]));
}

static int check_lines(struct evhttp_request *req, struct k_fault *f)
{
	const char *length = header(req, "Content-Length");
	const struct evkeyval *kv;
	int n = 0, n_hosts = 0, status = 0;
	TAILQ_FOREACH(kv, evhttp_request_get_input_headers(req), next) {
		if (++n > MAX_HEADER_LINES)
			status = 431;
		else if (!check_line(kv, length, &n_hosts))
			status = 400;
	}
	if (n_hosts > 1 || (req->major == 1 && req->minor > 0 && !n_hosts))
		status = 400;
	if (!status)
		return 0;
	add_header(req, "Connection", "close");
	return k_fault_set(f, status, status == 431 ? "headers_too_large" : NULL, NULL, "%s",
		status == 431 ? "the request has too many headers"
			: "the request's headers are malformed: wanted one Host, at most one Content-Length, and names without spaces");
}

/* What the parser lets through and a request must not have. */
static int check_head(struct evhttp_request *req, struct k_fault *f)
{
	const char *te = header(req, "Transfer-Encoding"), *type = header(req, "Content-Type");
	if (te && (header(req, "Content-Length") || strcasecmp(te, "chunked"))) {
		add_header(req, "Connection", "close");
		return k_fault_set(f, 400, NULL, NULL, "Transfer-Encoding and Content-Length contradict each other");
	}
	if (header(req, "Content-Encoding"))
		return k_fault_set(f, 415, "unsupported_media_type", NULL, "compressed requests are not supported");
	size_t n = type ? strcspn(type, "; \t") : 0;
	if (type && evhttp_request_get_command(req) == EVHTTP_REQ_POST && (n != 16 || strncasecmp(type, "application/json", n)))
		return k_fault_set(f, 415, "unsupported_media_type", NULL, "Content-Type must be application/json (curl --json BODY says so)");
	return 0;
}

static int read_body(struct evhttp_request *req, struct k_json **out, struct k_fault *f)
{
	struct evbuffer *b = evhttp_request_get_input_buffer(req);
	size_t n = evbuffer_get_length(b);
	const char *p = n ? (const char *)evbuffer_pullup(b, -1) : "";
	if (!p)
		return k_fault_set(f, 503, "overloaded", NULL, "out of memory");
	return k_openai_body(out, p, n, f);
}

static int answer(struct http *h, struct evhttp_request *req, const struct k_route *r, struct k_json *body, const char *rest,
	struct k_fault *f)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	int rc = r->answer(h->s, body, rest, &b, f);
	if (!rc && b.failed)
		rc = k_fault_set(f, 503, "overloaded", NULL, "out of memory");
	if (!rc)
		send_json(h, req, 200, b.data, b.len);
	k_buf_fini(&b);
	return rc;
}

static int health(struct http *h, struct k_fault *f)
{
	struct k_err err = { 0 };
	if (h->draining) {
		k_fault_set(f, 503, "shutting_down", NULL, "the server is shutting down");
		f->retry_after = 5;
		return -1;
	}
	if (k_sched_failed(h->sched, &err))
		return k_fault_set(f, 503, "internal_error", NULL, "the engine has failed");
	return 0;
}

static int serve(struct http *h, struct evhttp_request *req, const char *path, const char *id, struct k_fault *f)
{
	const char *rest;
	struct k_json *body = NULL;
	const struct k_route *r = k_route_find(path, &rest);
	if (!r && h->o->web)
		r = k_page_find(path);
	if (check_lines(req, f))
		return -1;
	if ((!r || r->auth == K_AUTH_KEY) && check_key(h, req, f))
		return -1;
	if (!r)
		return k_fault_set(f, 404, "unsupported_endpoint", NULL, "%.200s is not supported by this server", path);
	if (check_method(req, r, f) || check_head(req, f) || (r->what == K_ROUTE_HEALTH && health(h, f)))
		return -1;
	if (r->need == K_NEED_JSON && read_body(req, &body, f))
		return -1;
	if (r->what == K_ROUTE_PAGE) {
		send_page(h, req, r->page);
		return 0;
	}
	if (r->what == K_ROUTE_GENERATE)
		return generate(h, req, r->dialect, body, id, f);
	int rc = answer(h, req, r, body, rest, f);
	k_json_free(body);
	return rc;
}

static void on_complete(struct evhttp_request *req, void *arg)
{
	((struct http *)arg)->n_writing--;
	evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
}

/* The client's id if it is one, else a random one; goes back in two headers. */
static void request_id(struct evhttp_request *req, char out[129])
{
	static const char letters[] = "0123456789abcdef";
	static const char fine[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	const char *given = header(req, "X-Request-Id");
	size_t n = given ? strlen(given) : 0;
	uint8_t random[16] = { 0 };
	struct k_err err = { 0 };
	if (n && n <= 128 && strspn(given, fine) == n) {
		memcpy(out, given, n + 1);
	} else {
		if (k_random_bytes(random, sizeof(random), &err))
			memset(random, 0, sizeof(random));
		for (size_t i = 0; i < 16; i++) {
			out[2 * i] = letters[random[i] >> 4];
			out[2 * i + 1] = letters[random[i] & 15];
		}
		out[32] = 0;
	}
	add_header(req, "X-Request-Id", out);
	add_header(req, "x-trace-id", out);
}

static void on_request(struct evhttp_request *req, void *arg)
{
	struct http *h = arg;
	struct k_fault f = { 0 };
	char id[129];
	const char *path = NULL;
	int on = 1;
	evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(evhttp_request_get_connection(req)));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));      /* fails on a unix socket, which needs none */
	h->n_writing++;
	evhttp_request_set_on_complete_cb(req, on_complete, h);
	evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_gone, h);
	request_id(req, id);
	char *memory = read_path(req, &path, &f);
	if (!memory || serve(h, req, path, id, &f))
		send_fault(h, req, k_route_dialect(path), &f, id);
	if (f.status)
		k_logf(h->s->log, K_LOG_DEBUG, "%s %d: %s, %s", path ? path : "?", f.status, f.msg, id);
	free(memory);
}

/* --- time: clients that left, pings, drain ---------------------------------------------------------------------------------------- */

/* libevent does not look at a connection whose request is being answered. */
static void look_at_clients(struct http *h)
{
	uint64_t now = k_now_ns();
	struct call *next;
	for (struct call *c = h->calls; c; c = next) {
		next = c->next;
		if (!c->req)
			continue;
		struct pollfd p = { .fd = bufferevent_getfd(evhttp_connection_get_bufferevent(c->conn)), .events = POLLRDHUP };
		if (poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL))
			evhttp_connection_free(c->conn);        /* calls on_close */
		else if (c->stream && now - c->t_last > PING_NS)
			send_bytes(c, c->dialect->ping, strlen(c->dialect->ping));
	}
}

/* Who comes now is told so (503), and by what port: it stays open to the end. */
static void begin_drain(struct http *h)
{
	k_logf(h->s->log, K_LOG_INFO, "shutting down: %d requests are running", k_sched_busy(h->sched));
	h->draining = true;
	h->t_drain = k_now_ns();
	k_sched_drain(h->sched);
}

static void on_tick(evutil_socket_t fd K_UNUSED, short what K_UNUSED, void *arg)
{
	struct http *h = arg;
	look_at_clients(h);
	evconnlistener_enable(h->listener);
	k_sched_failed(h->sched, &h->failed);
	if (!h->draining && (h->failed.code || (h->ctx->stop && *h->ctx->stop)))
		begin_drain(h);
	if (!h->draining)
		return;
	if (!h->aborted && k_now_ns() - h->t_drain > (uint64_t)h->o->drain * 1000000000) {
		h->aborted = true;
		k_sched_abort(h->sched);
	}
	if (!h->calls && (h->n_writing <= 0 || ++h->linger > LINGER_TICKS))
		event_base_loopbreak(h->base);
}

static void on_hup(evutil_socket_t fd K_UNUSED, short what K_UNUSED, void *arg)
{
	struct http *h = arg;
	struct k_err err = { 0 };
	if (h->o->key_file && k_keys_load(&h->keys, h->o->key_file, &err))
		k_logf(h->s->log, K_LOG_ERROR, "the keys stay as they are: %s", err.msg);
}

/* --- life ---------------------------------------------------------------------------------------------------------------------- */

static int write_port(const char *path, int port, struct k_err *err)
{
	struct k_sink *sink;
	char line[16];
	int n = snprintf(line, sizeof(line), "%d\n", port);
	int rc = k_sink_open(&sink, path, err);
	if (rc)
		return rc;
	rc = k_sink_write(sink, line, (size_t)n, err);
	if (!rc)
		rc = k_sink_commit(sink, err);
	k_sink_close(sink);
	return rc;
}

/* No descriptor is free: to try again at once would only burn time. The next tick listens again. */
static void on_accept_error(struct evconnlistener *l, void *arg K_UNUSED) { evconnlistener_disable(l); }

static int set_up(struct http *h, struct k_listener *l, struct k_err *err)
{
	const struct timeval tick = { .tv_usec = TICK_US };
	h->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	h->base = event_base_new();
	if (h->eventfd < 0 || !h->base || !(h->evhttp = evhttp_new(h->base)))
		return k_err_set(err, K_ENOMEM, "no memory for the HTTP server");
	h->tick = event_new(h->base, -1, EV_PERSIST, on_tick, h);
	h->wake = event_new(h->base, h->eventfd, EV_READ | EV_PERSIST, on_wake, h);
	h->hup = evsignal_new(h->base, SIGHUP, on_hup, h);
	if (!h->tick || !h->wake || !h->hup || event_add(h->tick, &tick) || event_add(h->wake, NULL) || event_add(h->hup, NULL))
		return k_err_set(err, K_ENOMEM, "no memory for the HTTP server");
	evhttp_set_max_headers_size(h->evhttp, MAX_HEADERS);
	evhttp_set_max_body_size(h->evhttp, K_MAX_BODY);
	evhttp_set_timeout(h->evhttp, IDLE_SECONDS);
	evhttp_set_default_content_type(h->evhttp, NULL);
	evhttp_set_allowed_methods(h->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
		EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE | EVHTTP_REQ_PATCH);
	evhttp_set_gencb(h->evhttp, on_request, h);
	struct evhttp_bound_socket *bound = evhttp_accept_socket_with_handle(h->evhttp, l->fd);
	if (!bound)
		return k_err_set(err, K_ENOMEM, "no memory for the HTTP server");
	l->fd = -1;
	h->listener = evhttp_bound_socket_get_listener(bound);
	evconnlistener_set_error_cb(h->listener, on_accept_error);
	return 0;
}

static void tear_down(struct http *h)
{
	if (h->evhttp)
		evhttp_free(h->evhttp);
	/* The engine still speaks to calls whose clients are gone. */
	while (h->calls) {
		struct pollfd p = { .fd = h->eventfd, .events = POLLIN };
		k_sched_abort(h->sched);
		poll(&p, 1, 10);
		on_wake(h->eventfd, 0, h);
	}
	if (h->tick)
		event_free(h->tick);
	if (h->wake)
		event_free(h->wake);
	if (h->hup)
		event_free(h->hup);
	if (h->base)
		event_base_free(h->base);
	if (h->eventfd >= 0)
		close(h->eventfd);
	k_keys_fini(&h->keys);
	pthread_mutex_destroy(&h->lock);
}

int k_http_run(const struct k_server *s, struct k_sched *sched, const struct k_http_opts *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct http h = { .s = s, .sched = sched, .o = o, .ctx = ctx, .eventfd = -1 };
	struct k_listener l = { .fd = -1 };
	pthread_mutex_init(&h.lock, NULL);
	signal(SIGPIPE, SIG_IGN);
	int rc = o->key_file ? k_keys_load(&h.keys, o->key_file, err) : 0;
	if (!rc)
		rc = k_listener_open(&l, o->listen, err);
	if (!rc && l.open_to_others && !h.keys.n)
		rc = k_err_set(err, K_EUSAGE, "--listen %s can be reached from other machines, which needs --api-key-file", o->listen);
	if (!rc)
		rc = set_up(&h, &l, err);
	if (!rc && o->port_file)
		rc = write_port(o->port_file, l.port, err);
	if (!rc) {
		k_logf(s->log, K_LOG_INFO, "listening on %s", l.url);
		if (event_base_dispatch(h.base) < 0)
			rc = k_err_set(err, K_EIO, "the event loop failed");
	}
	tear_down(&h);
	k_listener_fini(&l);
	if (l.fd >= 0)
		close(l.fd);
	if (!rc && h.failed.code) {
		*err = h.failed;
		rc = h.failed.code;
	}
	return rc;
}

const char *k_http_library(void) { return "libevent " LIBEVENT_VERSION; }
