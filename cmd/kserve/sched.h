/* sched.h: the queue and the batching loop. One thread owns the model; everybody else hands requests over and hears from it
 * through their struct k_out. */
#ifndef K_SCHED_H
#define K_SCHED_H

#include "cmd/kserve/reply.h"

struct k_sched;

/* Starts the engine's thread. s is borrowed. */
int k_sched_open(struct k_sched **out, const struct k_server *s, struct k_err *err) K_MUST_USE;
/* Takes rq. *ticket names the request until out->finish was called; -1 with a fault when the queue is full or closed, and then
 * out is never called. */
int k_sched_submit(struct k_sched *c, struct k_request *rq, struct k_out *out, uint64_t *ticket, struct k_fault *f) K_MUST_USE;
/* The client is gone: out->finish comes soon (status 499). A ticket that is over is ignored. */
void k_sched_cancel(struct k_sched *c, uint64_t ticket);
/* Some out is no longer full. */
void k_sched_wake(struct k_sched *c);
/* No more requests; those that wait are refused, those that run go on. */
void k_sched_drain(struct k_sched *c);
/* What runs ends now, with finish_reason "abort". */
void k_sched_abort(struct k_sched *c);
/* Requests that are not over. */
int k_sched_busy(struct k_sched *c);
/* K_E... with the sentence when the engine failed; it then refuses everything. */
int k_sched_failed(struct k_sched *c, struct k_err *err);
bool k_sched_draining(struct k_sched *c);
/* Refuses what is left, ends the thread. Takes NULL. */
void k_sched_close(struct k_sched *c);

#endif
