/* http_conn.c: one connection, from its first byte to its last.
 *
 *   HEAD -> BODY -> CALL (or an answer at once) -> HEAD ...     while the connection is kept
 *                                              \-> FLUSH -> LINGER -> closed
 *
 * Requests are answered in their order: what a client sends ahead waits, up to K_LINK_INPUT bytes, until the answer before it is
 * complete. A connection that is refused or in error is not closed with bytes of the client unread, which would take the answer
 * from it: LINGER throws them away for a moment. A client that ends its side is taken to be gone, but gets what was answered. */
#include "libcore/base.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "libcore/hash.h"
#include "libcore/log.h"
#include "cmd/kserve/http_int.h"

#define SECOND UINT64_C(1000000000)
#define LINGER_NS (2 * SECOND)
#define LEAST_RATE (16 << 10)           /* bytes a second that a body longer than the time limit comes with */
#define MAX_REFUSED 64                  /* connections over the limit that are told so */

static void set_state(struct conn *c, enum conn_state state)
{
	c->state = state;
	c->t_state = k_now_ns();
}

/* --- the end ------------------------------------------------------------------------------------------------------------------ */

/* Lets go of the request at hand. */
static void end_request(struct conn *c)
{
	k_head_fini(&c->head);
	c->h->n_body -= c->body.cap;
	k_buf_fini(&c->body);
	k_buf_fini(&c->extra);
	k_buf_init(&c->extra, 0);
	k_buf_init(&c->body, 0);
	c->route = NULL;
	c->scanned = 0;
	c->begun = c->started = c->chunks = false;
}

void k_conn_close(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	if (c->work)
		k_work_gone(c);
	if (c->call)
		k_call_gone(c->call);
	end_request(c);
	k_link_free(c->link);
	c->link = NULL;
	c->h->n_conns -= c->counted;
	c->counted = false;
	c->h->metrics.connections = (uint64_t)c->h->n_conns;
	set_state(c, CONN_DEAD);
}

void k_conns_bury(struct http *h)
{
	struct conn *next;
	for (struct conn *c = h->conns; c; c = next) {
		next = c->next;
		if (c->state != CONN_DEAD)
			continue;
		*(c->prev ? &c->prev->next : &h->conns) = c->next;
		if (c->next)
			c->next->prev = c->prev;
		k_free(c);
	}
}

static void flushed(struct conn *c)
{
	if (c->state != CONN_FLUSH || k_link_unsent(c->link))
		return;
	k_link_finish(c->link);
	set_state(c, CONN_LINGER);
	if (c->ended)
		k_conn_close(c);
}

/* --- requests ----------------------------------------------------------------------------------------------------------------- */

static void begin_exchange(struct conn *c)
{
	struct k_exchange *x = &c->x;
	memset(x, 0, sizeof(*x));
	x->t_start = k_now_ns();
	snprintf(x->address, sizeof(x->address), "%s", c->address);
}

bool k_conn_name(struct conn *c, const char *id)
{
	static const char fine[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = id ? strlen(id) : 0;
	if (!n || n >= sizeof(c->x.id) || strspn(id, fine) != n)
		return false;
	memcpy(c->x.id, id, n + 1);
	return true;
}

/* The client's id if it is one, else a random one. */
static void choose_id(struct conn *c)
{
	uint8_t random[32] = { 0 };
	char hex[65];
	struct k_err err = { 0 };
	if (k_conn_name(c, k_head_get(&c->head, "X-Request-Id")))
		return;
	if (k_random_bytes(random, 16, &err))
		memset(random, 0, sizeof(random));
	k_hex(hex, random);
	snprintf(c->x.id, sizeof(c->x.id), "%.32s", hex);
}

/* Refused before, or while, it came: a body is not waited for. */
static void fail(struct conn *c, const struct k_fault *f)
{
	if (!*c->x.id)
		choose_id(c);
	k_send_fault(c, f);
	k_conn_answered(c);
}

static bool fail_early(struct conn *c, const struct k_fault *f)
{
	begin_exchange(c);
	c->keep = false;
	fail(c, f);
	return true;
}

static int whole_head(struct conn *c, const char *p, size_t n, struct k_fault *f)
{
	int rc = k_head_parse(&c->head, p, n, f);
	snprintf(c->x.method, sizeof(c->x.method), "%s", c->head.method);
	choose_id(c);
	k_link_took(c->link, n);
	c->keep = !rc && c->head.keep;
	if (!rc)
		rc = k_route_head(c, f);
	if (rc)
		c->keep &= c->head.length <= 0 && !c->head.chunked;
	return rc;
}

static bool read_head(struct conn *c)
{
	struct k_fault f = { 0 };
	size_t n;
	if (k_link_unsent(c->link) > MAX_OUTPUT)
		return false;           /* it goes on when that has left */
	const char *p = k_link_input(c->link, &n);
	if (!c->begun && n >= 2 && !memcmp(p, "\r\n", 2)) {
		k_link_took(c->link, 2);        /* an empty line between requests, as some clients leave it */
		return true;
	}
	if (!n || (!c->begun && n == 1 && *p == '\r'))
		return false;
	if (!c->begun) {
		c->begun = true;
		c->t_state = k_now_ns();
	}
	int64_t len = k_head_scan(p, n, &c->scanned, &f);
	if (len <= 0)
		return len < 0 && fail_early(c, &f);
	begin_exchange(c);
	if (whole_head(c, p, (size_t)len, &f)) {
		fail(c, &f);
		return true;
	}
	if (c->state != CONN_HEAD)
		return true;            /* it is answered */
	set_state(c, CONN_BODY);
	k_link_input(c->link, &n);
	if (c->head.expects && !c->frame.done && !n && k_link_write(c->link, "HTTP/1.1 100 Continue\r\n\r\n", 25))
		c->keep = false;
	return true;
}

static bool read_body(struct conn *c)
{
	struct k_fault f = { 0 };
	size_t n = 0, before = c->body.cap;
	if (!c->frame.done) {
		const char *p = k_link_input(c->link, &n);
		int64_t took = n ? k_frame_take(&c->frame, p, n, c->route->need != K_NEED_NONE ? &c->body : NULL, &f) : 0;
		c->h->n_body += c->body.cap - before;
		if (took < 0) {
			c->keep = false;
			fail(c, &f);
			return true;
		}
		k_link_took(c->link, (size_t)took);
		if (!c->frame.done)
			return false;
	}
	set_state(c, CONN_CALL);
	k_route_whole(c);
	return true;
}

/* Until more must come. Not from within itself: an answer at once leads back here. */
static void work(struct conn *c)
{
	bool more = !c->working;
	if (!more)
		return;
	c->working = true;
	while (more)
		more = c->state == CONN_HEAD ? read_head(c) : c->state == CONN_BODY ? read_body(c) : false;
	c->working = false;
	size_t n;
	if (c->state == CONN_FLUSH || c->state == CONN_LINGER) {
		k_link_input(c->link, &n);
		k_link_took(c->link, n);
	}
}

void k_conn_answered(struct conn *c)
{
	struct http *h = c->h;
	k_metrics_count(&h->metrics, c->x.route, c->x.status);
	k_access_put(h->access, h->s->name, &c->x);
	bool keep = c->keep && !h->draining;
	end_request(c);
	set_state(c, keep ? CONN_HEAD : CONN_FLUSH);
	flushed(c);
	work(c);
}

/* --- what the loop says ------------------------------------------------------------------------------------------------------- */

static void on_input(void *arg) { work(arg); }

static void on_moved(void *arg)
{
	struct conn *c = arg;
	if (c->call)
		k_call_moved(c->call);
}

static void on_sent(void *arg)
{
	flushed(arg);
	work(arg);
}

static void on_gone(void *arg, bool broken)
{
	struct conn *c = arg;
	if (broken || c->state == CONN_LINGER || c->work || c->call || !k_link_unsent(c->link))
		k_conn_close(c);
	c->ended = true;
	if (c->state != CONN_FLUSH && c->state != CONN_DEAD)
		set_state(c, CONN_FLUSH);
}

/* --- accepting ---------------------------------------------------------------------------------------------------------------- */

static void name_client(struct conn *c, const struct sockaddr *from)
{
	socklen_t len = from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	bool ip = from->sa_family == AF_INET || from->sa_family == AF_INET6;
	if (!ip || getnameinfo(from, len, c->address, sizeof(c->address), NULL, 0, NI_NUMERICHOST))
		snprintf(c->address, sizeof(c->address), "unix");
}

/* Is there no room for it? An address may have a quarter of all connections. */
static bool too_many(const struct http *h, const struct conn *fresh)
{
	int same = 0;
	for (const struct conn *c = h->conns; c; c = c->next)
		same += c->counted && !strcmp(c->address, fresh->address);
	return h->n_conns >= h->o->max_conns || (strcmp(fresh->address, "unix") && same >= K_MAX(h->o->max_conns / 4, 1));
}

static void refuse(struct conn *c)
{
	struct k_fault f;
	k_fault_set(&f, 503, "too_many_connections", NULL, "there are too many connections");
	f.retry_after = 1;
	fail_early(c, &f);
}

void k_conn_accept(struct http *h, int fd, const struct sockaddr *from)
{
	static const struct k_link_ops ops = { on_input, on_moved, on_sent, on_gone };
	int on = 1, n_refused = 0;
	struct conn *c = k_calloc(1, sizeof(*c));
	struct ssl_st *tls = c && h->tls ? k_tls_begin(h->tls) : NULL;
	for (const struct conn *o = h->conns; o; o = o->next)
		n_refused += !o->counted && o->state != CONN_DEAD;
	if (!c || n_refused > MAX_REFUSED || (h->tls && !tls)) {
		k_tls_end(tls);
		k_free(c);
		close(fd);
		return;
	}
	name_client(c, from);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));      /* both fail on a unix socket, which needs neither */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	c->h = h;
	c->counted = !too_many(h, c);
	c->link = k_link_new(h->loop, fd, tls, &ops, c);
	if (!c->link) {
		k_free(c);
		return;
	}
	end_request(c);
	h->n_conns += c->counted;
	h->metrics.connections = (uint64_t)h->n_conns;
	h->metrics.accepted++;
	c->next = h->conns;
	if (h->conns)
		h->conns->prev = c;
	h->conns = c;
	set_state(c, CONN_HEAD);
	if (!c->counted)
		refuse(c);
}

/* --- time --------------------------------------------------------------------------------------------------------------------- */

static void time_out(struct conn *c, const char *what)
{
	struct k_fault f;
	k_fault_set(&f, 408, "request_timeout", NULL, "%s", what);
	if (c->state == CONN_HEAD)
		begin_exchange(c);
	c->keep = false;
	fail(c, &f);
}

static bool stalled(const struct conn *c, uint64_t now, uint64_t limit)
{
	return k_link_unsent(c->link) && now - k_link_moved(c->link) > limit;
}

static void check_head(struct conn *c, uint64_t now, uint64_t limit)
{
	uint64_t waited = now - c->t_state;
	bool first = !c->x.t_start;     /* nothing came yet, which may be a handshake that does not end */
	if (stalled(c, now, limit) || (!c->begun && waited > (first ? limit / 6 : limit)))
		k_conn_close(c);
	else if (c->begun && waited > limit / 6)
		time_out(c, "the head of the request takes too long");
}

static void check_body(struct conn *c, uint64_t now, uint64_t limit)
{
	if (now - c->t_state > limit + c->frame.got * SECOND / LEAST_RATE)
		time_out(c, "the body of the request takes too long");
}

/* libevent does not see the end of a client that has sent ahead more than is read. */
static void check_call(struct conn *c, uint64_t now, uint64_t limit)
{
	bool slow = stalled(c, now, limit);
	if (c->call)
		c->call->stalled = slow;
	if (slow || k_link_left(c->link))
		k_conn_close(c);
}

static void check_flush(struct conn *c, uint64_t now, uint64_t limit)
{
	if (stalled(c, now, limit))
		k_conn_close(c);
}

static void check_linger(struct conn *c, uint64_t now, uint64_t limit K_UNUSED)
{
	if (now - c->t_state > LINGER_NS)
		k_conn_close(c);
}

static void check_dead(struct conn *c K_UNUSED, uint64_t now K_UNUSED, uint64_t limit K_UNUSED) {}

void k_conns_tick(struct http *h)
{
	static void (*const checks[])(struct conn *c, uint64_t now, uint64_t limit) = {
		[CONN_HEAD] = check_head, [CONN_BODY] = check_body, [CONN_CALL] = check_call, [CONN_FLUSH] = check_flush,
		[CONN_LINGER] = check_linger, [CONN_DEAD] = check_dead,
	};
	uint64_t now = k_now_ns(), limit = (uint64_t)h->o->timeout * SECOND;
	for (struct conn *c = h->conns; c; c = c->next)
		checks[c->state](c, K_MAX(now, c->t_state), limit);
	k_conns_bury(h);
}

void k_conns_drain(struct http *h)
{
	struct k_fault f;
	k_fault_set(&f, 503, "shutting_down", NULL, "the server is shutting down");
	f.retry_after = 5;
	for (struct conn *c = h->conns; c; c = c->next) {
		if (c->state == CONN_BODY)
			fail(c, &f);
		else if (c->state == CONN_HEAD && !c->begun && !k_link_unsent(c->link))
			k_conn_close(c);
	}
}

bool k_conns_quiet(const struct http *h)
{
	for (const struct conn *c = h->conns; c; c = c->next) {
		if (c->link && k_link_unsent(c->link))
			return false;
	}
	return true;
}
