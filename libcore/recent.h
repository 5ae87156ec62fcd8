/* recent.h: the latest of some things, as many as fit in a number of bytes: what was not used for the longest time goes. */
#ifndef K_RECENT_H
#define K_RECENT_H

#include <pthread.h>

#include "libcore/err.h"

enum { K_RECENT_MOST = 64 };
struct k_recent {
	pthread_mutex_t lock;           /* the caller's, around all that follows but new and free */
	struct { void *thing; size_t bytes; uint64_t number, used; } at[K_RECENT_MOST];         /* in no order; no number is given twice, and none is 0 */
	int n;
	size_t bytes, max_bytes;
	uint64_t clock;
	void (*free)(void *thing);
};

/* what: the things, in an error. */
int k_recent_new(struct k_recent **out, size_t max_bytes, void (*free)(void *thing), const char *what, struct k_err *err) K_MUST_USE;
void k_recent_free(struct k_recent *r);                 /* and them all; takes NULL */
/* at[i] was used. */
void k_recent_use(struct k_recent *r, int i);
/* at[i] leaves, and is the caller's; the last one takes its place. */
void *k_recent_take(struct k_recent *r, int i);
/* Takes a thing; one that would be a quarter of all, or more, is freed. */
void k_recent_put(struct k_recent *r, void *thing, size_t bytes);

#endif
