/* http.h: the API over HTTP. */
#ifndef K_HTTP_H
#define K_HTTP_H

#include "cmd/kserve/sched.h"

struct k_ctx;
struct k_http_opts {
	const char *listen;             /* listener.h */
	const char *port_file;          /* NULL: none */
	const char *key_file;           /* NULL: none */
	const char *keys;               /* a list with commas; NULL: none */
	bool insecure;                  /* other machines may come without keys */
	const char *cert, *tls_key;     /* NULL: no TLS */
	const char *cors;               /* cors.h; NULL: none */
	const char *access;             /* the access log; NULL: none, "-": standard output */
	const char *model;              /* the file whose digests are read in the background; NULL: none are */
	bool slots_route;               /* /slots is open */
	bool web;                       /* the chat page at / */
	int64_t drain;                  /* seconds that running requests get after SIGTERM */
	int64_t timeout;                /* seconds that a client may keep a connection waiting */
	int64_t max_conns;
	uint64_t max_body;              /* bytes of a request */
};

/* Serves until ctx->stop, then drains and returns 0; an error when it cannot listen or the engine failed. */
int k_http_run(const struct k_server *s, struct k_sched *sched, const struct k_http_opts *o, const struct k_ctx *ctx,
	struct k_err *err) K_MUST_USE;

/* "libevent 2.1.12-stable" */
const char *k_http_library(void);

#endif
