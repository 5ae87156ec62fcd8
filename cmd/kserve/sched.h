/* sched.h: the queue and the batching loop. One thread owns the model; everybody else hands requests over and hears from it
 * through their struct k_out. */
#ifndef K_SCHED_H
#define K_SCHED_H

#include "cmd/kserve/histogram.h"
#include "cmd/kserve/reply.h"
#include "cmd/kserve/slotfile.h"

struct k_sched;

/* Why a request ended. */
enum k_end { K_END_STOP, K_END_LENGTH, K_END_TOOL_CALLS, K_END_ABORT, K_END_CANCEL, K_END_ERROR, K_ENDS };

/* Everything since the start, requests counted once, when they end; *_now are gauges. */
struct k_sched_stats {
	int running_now, waiting_now;           /* requests */
	int64_t queued_tokens_now;              /* of the prompts that wait */
	uint64_t prompt_tokens, generated_tokens;
	uint64_t ended[K_ENDS], repairs[K_REPAIRS];
	uint64_t cache_queries, cache_hits;     /* tokens of prompts that were looked up; that were found */
	uint64_t cache_bytes_now, cache_limit_now;
	int64_t cache_tokens_now, snapshots_now;
	uint64_t snapshot_bytes_now;
	uint64_t reserved_bytes_now, room_bytes;        /* for sequences: promised to those that run; in all */
	uint64_t states_written, states_read, states_refused;   /* files of --state-dir */
	uint64_t steps, step_rows, step_runs;   /* calls of the model; tokens in them; sequences */
	uint64_t decode_steps, decode_ns;       /* those without prompts, with all that chooses tokens */
	uint64_t mask_ns;                       /* of all steps: what constraints took */
	int64_t longest;                        /* tokens of a sequence, the most so far */
	struct k_histogram ttft, itl, e2e, queue, prefill, decode, inference;      /* seconds */
	struct k_histogram prompt, generated, max_tokens, choices, step;        /* tokens a request; n; tokens a step */
};

/* A slot as /slots shows it. */
struct k_slot_stats {
	int id;
	bool busy;
	uint64_t ticket;                        /* of the request at work, else of the last; 0: none yet */
	int64_t n_ctx, n_prompt, n_cached, n_done, n_decoded;   /* n_done: tokens of the prompt that are computed, or were in the cache */
};

/* Starts the engine's thread. s is borrowed. */
int k_sched_open(struct k_sched **out, const struct k_server *s, struct k_err *err) K_MUST_USE;
/* Takes rq. *ticket names the request until out->finish was called; -1 with a fault when the queue is full or closed, and then
 * out is never called. */
int k_sched_submit(struct k_sched *c, struct k_request *rq, struct k_out *out, uint64_t *ticket, struct k_fault *f) K_MUST_USE;
/* Is there a place in the queue? -1 with a fault otherwise: for a request whose body is still to come. */
int k_sched_room(struct k_sched *c, struct k_fault *f) K_MUST_USE;
/* Takes o, whose out hears of its end, as above. The same -1; o is freed. */
int k_sched_order(struct k_sched *c, struct k_order *o, struct k_fault *f) K_MUST_USE;
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
/* What was so after the last step. */
void k_sched_stats(struct k_sched *c, struct k_sched_stats *out);
/* The first of at most n slots; returns how many there are. */
int k_sched_slots(struct k_sched *c, struct k_slot_stats *out, int n);
/* Refuses what is left, ends the thread, writes states. The disk has until limit seconds behind the beginning of the drain (now, where there
 * was none), and a few in any case. false: it does not answer, and a thread that waits for it is left behind; the server and its model must
 * stay as they are until the process ends. Takes NULL. */
bool k_sched_close(struct k_sched *c, int64_t limit) K_MUST_USE;

#endif
