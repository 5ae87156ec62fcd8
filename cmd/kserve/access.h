/* access.h: one line of JSON a request, without what was asked, what was answered, and keys. */
#ifndef K_ACCESS_H
#define K_ACCESS_H

#include "libcore/err.h"
#include "cmd/kserve/reply.h"

/* What is known of one exchange, for the log and the metrics. */
struct k_exchange {
	char id[129];                   /* of the request */
	char address[64];               /* of the client; "unix" */
	char method[16];
	char label[33];                 /* of the key; "": none */
	const char *route;              /* as the table has it; NULL: no route */
	int status;                     /* 0: no answer was begun */
	uint64_t t_start;               /* monotonic ns: its first byte */
	uint64_t bytes;                 /* of the answer's body */
	bool gone;                      /* the client went away before the end */
	struct k_spent spent;           /* of a generation, else zero */
};

struct k_access;
struct k_log;
/* path "-": standard output. log, borrowed, hears of it when lines are lost, and not of each. */
int k_access_open(struct k_access **out, const char *path, struct k_log *log, struct k_err *err) K_MUST_USE;
/* Opens the file again, for whoever moved it away; what was open stays on failure. */
int k_access_reopen(struct k_access *a, struct k_err *err) K_MUST_USE;
void k_access_put(struct k_access *a, const char *model, const struct k_exchange *x);       /* a NULL: nothing */
void k_access_close(struct k_access *a);                /* takes NULL */

#endif
