/* pool.h: threads. Two ways to spread work: for-each, and the ordered pipe read | work | write. */
#ifndef K_POOL_H
#define K_POOL_H

#include "libcore/err.h"

struct k_ctx;
struct k_pool;

enum { K_POOL_MOST = 1024 };
/* n threads in all (the caller's is one of them), up to K_POOL_MOST; 0: as many as the CPUs that this process may use. */
int k_pool_new(struct k_pool **out, int n, struct k_err *err) K_MUST_USE;
void k_pool_free(struct k_pool *p);
int k_pool_threads(const struct k_pool *p);             /* 1 for NULL */
/* Calls fn(arg, i, worker) for i in [0, n), each i once, in any order, worker in [0, threads). Returns when all are done.
 * Does not nest (asserted). p may be NULL: plain loop. */
void k_pool_each(struct k_pool *p, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg);

/* Ordered pipe: items 0, 1, ... are read in order by one thread, worked on by all, written in order by one.
 * read returns 1 (item filled), 0 (no more), or an error; item is a slot's own memory of item_bytes, reused, zeroed at first.
 * Bounded: at most depth items (0: twice the threads) are in flight. The first error (or a set *stop) ends the pipe and is returned. */
struct k_pipe {
	size_t item_bytes;
	int depth;
	int (*read)(void *arg, void *item, struct k_err *err);
	int (*work)(void *arg, void *item, struct k_err *err);          /* may be NULL */
	int (*write)(void *arg, void *item, struct k_err *err);
	void (*drop)(void *arg, void *item);                            /* frees what a slot holds, at the end; may be NULL */
	void *arg;
};
/* The depth of a pipe whose items take up to `one` bytes each: two a thread, fewer where they would take more than half of the ceiling for
 * memory, or of what `rest` leaves of it; two at least. */
int k_pool_depth(const struct k_ctx *ctx, uint64_t rest, uint64_t one);
int k_pool_pipe(struct k_pool *p, const struct k_pipe *pipe, struct k_err *err) K_MUST_USE;

#endif
