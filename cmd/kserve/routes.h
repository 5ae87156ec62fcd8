/* routes.h: what the server answers to, by path, without the prefix /v1. */
#ifndef K_ROUTES_H
#define K_ROUTES_H

#include "cmd/kserve/openai_misc.h"

enum k_route_what { K_ROUTE_ANSWER, K_ROUTE_HEALTH, K_ROUTE_CHAT, K_ROUTE_TEXT };
struct k_route {
	const char *path;               /* ends with '/': what follows is the answer's business */
	bool post, open;                /* else GET and HEAD; open: no key wanted */
	enum k_route_what what;
	k_answer *answer;               /* ANSWER, HEALTH */
};

/* NULL when nothing is there. *rest: what follows the route's path. */
const struct k_route *k_route_find(const char *path, const char **rest);

#endif
