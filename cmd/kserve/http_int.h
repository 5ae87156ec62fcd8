/* http_int.h: private to http*.c: one server, its connections, its calls to the engine.
 *
 *   http.c          life: the loop, accepting, time, reload, drain
 *   http_conn.c     a connection: bytes -> heads and bodies, one request after the other
 *   http_route.c    a request -> its route's answer, an error, or a call
 *   http_work.c     the body of a request -> what it asks for; what may take long beside the loop
 *   http_call.c     a call: what the engine's thread says -> the connection
 *   http_send.c     heads of answers, whole answers, chunks
 *
 * Everything but http_call.c's four functions of struct k_out, and http_work.c's readers, runs in the loop's thread. */
#ifndef K_HTTP_INT_H
#define K_HTTP_INT_H

#include <pthread.h>

#include "cmd/kserve/access.h"
#include "cmd/kserve/head.h"
#include "cmd/kserve/http.h"
#include "cmd/kserve/keys.h"
#include "cmd/kserve/metrics.h"
#include "cmd/kserve/net.h"
#include "cmd/kserve/routes.h"
#include "cmd/kserve/selftest.h"
#include "cmd/kserve/tls.h"

#define MAX_OUTPUT (1u << 20)           /* bytes that may wait for a client */
#define READERS 2                       /* threads that read requests which may take long */

struct http;
struct conn;
struct work;

/* A request that the engine computes. Shared with its thread: it lives until finish came and was sent. When the connection goes
 * away the call stays, without it, and its request is cancelled. */
struct call {
	struct k_out out;               /* first */
	struct http *h;
	uint64_t ticket;                /* 0: an order, which goes on without its client */
	const char *what;               /* for the log */
	const struct k_dialect *dialect;
	bool stream;

	/* under h->lock */
	struct k_buf pending;           /* events; the whole reply when it is not a stream */
	struct k_buf problem;           /* error body */
	size_t unsent;                  /* bytes that the socket has not taken */
	bool was_full, dirty, done;
	int status, retry_after;
	struct call *next_dirty;

	/* the loop's own */
	struct conn *conn;              /* NULL: the client is gone */
	bool broken;                    /* something that the engine said is lost: no memory */
	bool stalled;                   /* it was cancelled because the client read nothing */
	uint64_t t_last;                /* when something was last sent */
	struct k_exchange x;            /* what is known once the connection is gone */
	struct call *prev, *next;
};

enum conn_state {
	CONN_HEAD,                      /* waits for a request, or its head is coming */
	CONN_BODY,
	CONN_CALL,                      /* a reader or the engine works on it */
	CONN_FLUSH,                     /* the last answer leaves */
	CONN_LINGER,                    /* it has left: what still comes is thrown away until the other side ends too */
	CONN_DEAD,                      /* freed at the end of the tick */
};
struct conn {
	struct http *h;
	struct k_link *link;            /* NULL: DEAD */
	enum conn_state state;
	uint64_t t_state;               /* when the state began; of HEAD: when the first byte came, or the last answer ended */
	char address[64];               /* "unix" */
	bool counted;                   /* is one of h->n_conns */
	bool ended;                     /* the other side writes nothing more */
	bool working;                   /* k_conn_work is at it */

	/* the request at hand */
	size_t scanned;
	bool begun;                     /* HEAD: a first byte has come */
	struct k_head head;
	const struct k_route *route;
	const char *rest;
	struct k_frame frame;
	struct k_buf body;
	struct work *work;              /* it is read beside the loop; NULL else */
	struct call *call;
	bool keep;                      /* the connection may go on behind this answer */
	bool chunks;                    /* the answer goes out in chunks */
	bool started;                   /* its head was sent */
	struct k_buf extra;             /* header lines of the answer, gathered on the way */
	struct k_exchange x;
	struct conn *prev, *next;
};

/* Requests that are read beside the loop. */
struct works {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct work *first, **last;     /* those that wait, in their order */
	struct work *done;              /* those that were read */
	bool closing;

	/* the loop's own */
	int n;
	pthread_t threads[READERS];
	int n_threads;
};

struct http {
	const struct k_server *s;
	struct k_sched *sched;
	const struct k_http_opts *o;
	const struct k_ctx *ctx;
	struct k_loop *loop;
	struct k_tls *tls;              /* NULL: plain */
	struct k_access *access;        /* NULL: none */
	struct k_selftest *selftest;
	struct k_metrics metrics;
	struct k_keys keys;
	struct conn *conns;
	int n_conns;
	uint64_t n_body;                /* bytes of bodies in memory */
	struct works works;
	struct call *calls;
	bool draining, aborted;
	int linger;
	uint64_t t_drain;
	uint64_t t_turned_away;         /* when that was said last, 0: never */
	struct k_err failed;

	pthread_mutex_t lock;
	struct call *dirty;
};

/* http_conn.c */
void k_conn_accept(struct http *h, int fd, const struct sockaddr *from);
/* Goes on where the connection stands: the next request, or its end. Called when an answer is complete. */
void k_conn_answered(struct conn *c);
/* The exchange is called id, if that is one that may be called so. */
bool k_conn_name(struct conn *c, const char *id);
void k_conn_close(struct conn *c);                      /* at once */
/* Time: whoever was waited for too long. */
void k_conns_tick(struct http *h);
/* The drain began: nobody is waited for. */
void k_conns_drain(struct http *h);
void k_conns_bury(struct http *h);                      /* frees the dead */
bool k_conns_quiet(const struct http *h);               /* nothing waits to be sent */

/* http_route.c */
/* The head is known. 0: the body is wanted (c->frame), or there is none; -1: a fault, before the body was read. */
int k_route_head(struct conn *c, struct k_fault *f);
/* The request is whole: answers, or begins a work or a call. */
void k_route_whole(struct conn *c);
/* What the body says, NULL where the route wants none; body is emptied. Any thread. */
int k_route_json(const struct k_server *s, const struct k_route *r, struct k_buf *body, struct k_json **out, struct k_fault *f);

/* http_work.c */
int k_works_open(struct http *h, struct k_err *err);
void k_works_end(struct http *h);                       /* after its connections */
void k_work_begin(struct conn *c);                      /* of a route that answers or generates */
void k_work_gone(struct conn *c);                       /* its connection ends */
void k_works_news(struct http *h);                      /* what was read since the last time */

/* http_call.c */
int k_call_begin(struct conn *c, struct k_request *rq, struct k_fault *f);      /* takes rq */
int k_call_order(struct conn *c, struct k_order *o, struct k_fault *f);         /* takes o */
void k_call_news(struct http *h);                       /* what the engine said since the last time */
void k_call_moved(struct call *c);                      /* bytes have left */
void k_call_gone(struct call *c);                       /* its connection ends */
void k_calls_tick(struct http *h);                      /* pings */

/* http_send.c */
/* An answer with all of its body. type: Content-Type; NULL: no body at all. */
void k_send_whole(struct conn *c, int status, const char *type, const void *p, size_t n);
/* An error whose body is there: with the header lines that its status wants. */
void k_send_problem(struct conn *c, int status, int retry_after, const char *json, size_t n);
void k_send_fault(struct conn *c, const struct k_fault *f);
int k_send_text(struct conn *c, const char *type, struct k_buf *b, struct k_fault *f);  /* 200; takes b */
void k_send_stream(struct conn *c);                    /* the head of a stream of events */
void k_send_bytes(struct conn *c, const void *p, size_t n);                    /* of a stream */
void k_send_end(struct conn *c);

#endif
