/* routes.h: what the server answers to, by path, without the prefix /v1. */
#ifndef K_ROUTES_H
#define K_ROUTES_H

#include "cmd/kserve/dialect.h"
#include "cmd/kserve/openai_misc.h"

enum k_route_what { K_ROUTE_ANSWER, K_ROUTE_HEALTH, K_ROUTE_GENERATE };
struct k_route {
	const char *path;               /* ends with '/': what follows is the answer's business */
	bool post, open;                /* else GET and HEAD; open: no key wanted */
	enum k_route_what what;
	k_answer *answer;               /* ANSWER, HEALTH */
	const struct k_dialect *dialect; /* GENERATE, and whose errors are in another shape; NULL: chat */
};

/* NULL when nothing is there. *rest: what follows the route's path. */
const struct k_route *k_route_find(const char *path, const char **rest);
/* In what shape errors of this path are told; path NULL: of a request that has none. */
const struct k_dialect *k_route_dialect(const char *path);

#endif
