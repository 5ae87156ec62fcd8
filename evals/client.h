/* client.h: asks an OpenAI-compatible server over HTTP (client.c is the only includer of curl/curl.h).
 *
 *   k_client_send --> queue --(concurrency, rate)--> in flight --> k_client_next gives it back
 *                       ^                               |
 *                       `--- backoff, Retry-After ------'  408 409 429 5xx, connection errors
 *
 * One thread; nothing happens outside k_client_next. The key is OPENAI_API_KEY of the environment. */
#ifndef K_CLIENT_H
#define K_CLIENT_H

#include <signal.h>
#include "libcore/buf.h"
#include "libcore/json.h"

struct k_client;

struct k_client_opts {
	const char *url;                /* http://host:port/v1 */
	int64_t concurrency;            /* calls in flight */
	double rate;                    /* calls begun a second, at most; 0: no limit */
	int64_t tries;                  /* of one call; 0: 6 */
	double timeout;                 /* seconds of one try; 0: 600 */
	const volatile sig_atomic_t *stop;
};

struct k_call_state;
struct k_call {
	/* What is asked. The caller keeps it until the call came back or was dropped. */
	const char *path;               /* below the url: "/completions"; beginning with "//": below its host: "//tokenize" */
	const char *body;               /* JSON; NULL: GET */
	size_t n_body;
	bool once;                      /* no second try */
	double after;                   /* seconds to wait before the first try */
	int64_t read_rate;              /* bytes a second that are read at most, through a small window; 0: no limit */
	/* A stream: called with each event of an answer with status 200, [DONE] among them; non-zero: enough, the call fails with
	 * K_ECANCEL. again: an earlier try broke off, what it said does not count. NULL: the whole answer goes to json. */
	int (*event)(struct k_call *c, const char *data, size_t n);
	void (*again)(struct k_call *c);
	void *user;
	/* What came back. */
	struct k_err err;               /* code 0: answered with 200 */
	int status;                     /* HTTP; 0: no answer */
	bool broke;                     /* the last try reached the server, and its answer did not come, or not whole, or not in time */
	int tries;
	double retry_after;             /* seconds that the last try's answer asks to wait; negative: it does not */
	struct k_json *json;            /* the caller's: k_json_free; also of an error, where it was JSON */
	uint64_t sent_ns, done_ns;      /* of the last try */
	struct k_call_state *state;
};

/* K_EUSAGE: the url is none. */
int k_client_new(struct k_client **out, const struct k_client_opts *o, struct k_err *err) K_MUST_USE;
void k_client_free(struct k_client *c);                 /* takes NULL; calls that are not back are dropped */
const char *k_client_url(const struct k_client *c);
const char *k_client_host(const struct k_client *c);    /* the url up to its path */
int k_client_send(struct k_client *c, struct k_call *call, struct k_err *err) K_MUST_USE;
/* Works for at most timeout_ms (-1: until one is back). *done: a call that ended, well or not; NULL: none in that time, or none is there.
 * An error is one of ours or K_ECANCEL; those of a call are in the call. */
int k_client_next(struct k_client *c, int timeout_ms, struct k_call **done, struct k_err *err) K_MUST_USE;
void k_client_drop(struct k_client *c, struct k_call *call);
/* Sends and waits; for when nothing else is in flight. 0, or what the call ended with; an answer that is an error: K_EIO. */
int k_client_ask(struct k_client *c, struct k_call *call, struct k_err *err) K_MUST_USE;
/* Would another try have been in order? Else the server has judged this request. */
bool k_client_may_retry(const struct k_call *call);

const char *k_client_library(void);

#endif
