/* sched_int.h: what the parts of the scheduler share.
 *
 *   sched.c         queue, steps, the thread
 *   sched_plan.c    who computes in the next step
 *   sched_slot.c    who gets a slot; what prompts have in common with what was computed before; memory
 *   sched_order.c   slots that are saved, restored and erased by hand
 *   sched_stats.c   what is told */
#ifndef K_SCHED_INT_H
#define K_SCHED_INT_H

#include <pthread.h>

#include "libcore/prefix.h"
#include "cmd/kserve/gen.h"
#include "cmd/kserve/sched.h"
#include "cmd/kserve/store.h"

struct job;
/* Is there more of a prompt on disk? */
enum look { LOOK_NOT_YET, LOOK_READS, LOOK_LATER, LOOKED };
struct task {
	struct job *job;
	struct k_gen *gen;
	int prompt, copy;               /* the copy-th choice of this prompt */
	struct slot *slot;              /* NULL: waits */
	enum look look;
	int64_t n_done;                 /* tokens of the prompt in the sequence */
	int64_t mark_at;                /* a mark is wanted when that many are done; 0: none */
	bool firm;                      /* it is where many conversations part */
	uint64_t reserved;              /* bytes that were promised */
	bool generates, over;
	uint64_t planned;               /* when it had its last part of a step */
	struct k_ids next;              /* tokens to compute; */
	size_t n_next;                  /* so many of them are */
	int64_t n_decoded;
	uint64_t mask_ns;               /* of its masks, as far as they are counted */
	uint64_t t_token;               /* when the last token came, 0: none yet */
};
struct job {
	uint64_t ticket;
	struct client *client;
	struct k_request *rq;
	struct k_reply *reply;
	struct task *tasks;
	int n_tasks, n_over;
	bool cancelled, admitted, failed;
	uint64_t t_arrived, t_admitted; /* ns */
	struct job *next;
};
/* Who asks. Those that have requests are in a list; all is guarded by the lock but the turns, which are the engine's. */
struct client {
	uint64_t id;
	int n_jobs, n_waiting;
	uint64_t admitted, fed;         /* when it was its turn to get a slot; a part of the step */
	struct client *next;
};
struct slot {
	struct k_seq *seq;
	struct task *task;
	struct k_order *order;          /* the disk is at it */
	struct { struct k_ids ids; uint64_t salt; } held;       /* what was computed in it last, where clients may save it */
	struct k_slot_stats shown;
};

struct k_sched {
	const struct k_server *s;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *arrived, **arrived_end;
	uint64_t last_ticket;
	uint64_t *cancelled;            /* tickets */
	int n_cancelled, cap_cancelled;
	int n_jobs, n_waiting;
	int64_t waiting_tokens;         /* of the prompts that wait */
	struct client *clients;
	double pace;                    /* seconds between ends of requests of late, 0: unknown */
	bool draining, aborting, closing, poked;
	uint64_t t_drain;               /* when that began, 0: it did not */
	uint64_t t_save;                /* states are not written before */
	struct k_order *orders, **orders_end;   /* that arrived */
	struct k_err failed;            /* code 0: all is well */
	struct k_sched_stats shown;
	struct k_slot_stats *slots_shown;

	/* the engine's own */
	struct job *jobs, **jobs_end;   /* in order of arrival */
	struct slot *slots;
	struct k_run *runs;
	struct task **rows;             /* the task of each run */
	float *logits;
	void *scratch;
	uint64_t clock, t_ended;
	int64_t n_prompt, n_known;      /* tokens of this step: of prompts; of answers, beside one for each */
	int n_answer;                   /* answers in it that had begun before */
	double decode_s, prompt_s;      /* of late: seconds of a step without prompts; what a token of a prompt adds. 0: unknown */
	uint64_t reserved;              /* bytes promised to tasks with a slot */
	struct k_prefix *prefix;
	struct k_store *store;          /* NULL: neither --state-dir nor --slot-save-path */
	struct k_sched_stats stats;
};

/* sched.c */
/* The answer of t, whose first token is known, begins together with what is left of the prompt: all of it is to be computed. t may be over then. */
void k_sched_begin_ahead(struct k_sched *c, struct task *t);

/* sched_plan.c */
/* The runs of the next step: returns how many. */
int k_sched_plan(struct k_sched *c);
/* That step took so long. */
void k_sched_learn(struct k_sched *c, double seconds);

/* sched_stats.c */
void k_count_init(struct k_sched_stats *s);
void k_count_job(struct k_sched *c, const struct job *j);
void k_count_token(struct k_sched *c, struct task *t);
/* What the slot's task has done so far, for /slots: also behind its end. */
void k_count_slot(struct k_sched *c, struct slot *sl);
/* Puts what others may ask for where they find it. */
void k_count_show(struct k_sched *c);

/* sched_slot.c */
int k_slots_open(struct k_sched *c, struct k_err *err) K_MUST_USE;
/* Saves what is not on disk yet, until (k_now_ns), frees all. false: k_store_close's. */
bool k_slots_close(struct k_sched *c, uint64_t until) K_MUST_USE;
/* What was read from disk goes to the prefix cache. */
void k_slots_states(struct k_sched *c);
/* Slots for those that wait, client by client. A job that fails here is handed to fail. */
void k_slots_admit(struct k_sched *c, void (*fail)(struct k_sched *, struct job *, const struct k_err *));
/* What t computed stays behind in the prefix cache, and its slot is free. */
void k_slots_release(struct k_sched *c, struct task *t);
/* t has reached mark_at. */
void k_slots_mark(struct k_sched *c, struct task *t);
/* o goes on from a copy of t's sequence. false: there is no slot, or no memory; it has to wait. */
bool k_slots_fork(struct k_sched *c, struct task *t, struct task *o);
void k_slots_drop_seq(struct slot *sl);
/* Hands a conversation that is not on disk yet to the store, now and then. true: more wait. */
bool k_slots_save(struct k_sched *c, bool idle);
/* The prefix cache gets the memory that is not promised. */
void k_slots_limit(struct k_sched *c);

/* sched_order.c */
/* Orders that arrived are begun, those that are done are answered; end: the others are refused. */
void k_orders_work(struct k_sched *c, bool end);
/* The slot holds these tokens from now on. */
void k_orders_hold(struct k_sched *c, struct slot *sl, const struct k_seq *s, uint64_t salt);

#endif
