/* routes.h: what the server answers to, by path, without the prefix /v1. */
#ifndef K_ROUTES_H
#define K_ROUTES_H

#include "cmd/kserve/dialect.h"
#include "cmd/kserve/openai_misc.h"

/* Methods that a route takes; HEAD wherever GET. */
enum { K_GET = 1, K_POST = 2 };
enum k_route_auth { K_AUTH_KEY, K_AUTH_NONE };
enum k_route_need { K_NEED_NONE, K_NEED_MAYBE, K_NEED_JSON };   /* JSON: a body that is one object; MAYBE: a small one, or none */
enum k_route_what {
	K_ROUTE_ANSWER,                 /* answer() says it at once */
	K_ROUTE_HEALTH,                 /* the same, while requests are accepted */
	K_ROUTE_GENERATE,               /* the dialect's, by the engine */
	K_ROUTE_PAGE,                   /* bytes that the program carries */
	K_ROUTE_METRICS, K_ROUTE_SLOTS, /* the server's own (metrics.c) */
	K_ROUTE_SLOT,                   /* an order to one slot (slotfile.h) */
};
struct k_page {
	const char *type;               /* Content-Type */
	const char *headers;            /* more lines "Name: value\r\n"; "" for none */
	const void *data;
	size_t n;
};
struct k_route {
	const char *path;               /* ends with '/' (and is longer): what follows is the answer's business */
	unsigned methods;
	enum k_route_auth auth;
	enum k_route_need need;
	enum k_route_what what;
	k_answer *answer;               /* ANSWER, HEALTH */
	const struct k_dialect *dialect; /* GENERATE, and whose errors are in another shape; NULL: chat */
	const struct k_page *page;      /* PAGE */
};

/* NULL when nothing is there. *rest: what follows the route's path. */
const struct k_route *k_route_find(const char *path, const char **rest);
/* In what shape errors of this path are told; path NULL: of a request that has none. */
const struct k_dialect *k_route_dialect(const char *path);

#endif
