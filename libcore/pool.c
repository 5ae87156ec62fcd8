/* pool.c: threads that wait for a job; the caller of a job works too, as worker 0.
 *
 *     gate:  open while there is work. A helper that comes after the caller shut it has missed the job, which is done: nobody waits for a
 *            thread that the system has not let run, only for those inside. So a busy machine takes a helper's share of the speed,
 *            and not of each of a step's hundreds of jobs a time slice.
 *     each:  every worker has a run of indices of its own, and takes from those of others when it is through. So who goes through
 *            memory goes through it in order, as hardware that looks ahead expects, and from step to step the same parts of it.
 *     pipe:  slots go round: free -> (read, one thread) -> full -> (work, any) -> done -> (write, in order)
 *
 * In a pipe whoever is idle takes the write that is due, else work that is there, else the next read. So a
 * slow writer stops the reader when all slots are taken, and with one thread the pipe is a plain loop.
 *
 * Invariants: only one thread is inside read and one inside write; item i is written after item i - 1; after
 * the first error nothing new begins, and the error of the earliest item wins among those that fail at once. */
#include "libcore/base.h"
#include "libcore/pool.h"
#include "libcore/cpu.h"
#include "libcore/ctx.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

/* What several threads write has a line of memory for itself. */
#define ALONE K_ALIGNED(64)

struct worker {
	ALONE _Atomic int64_t next;     /* for-each: its run of indices, [next, last) */
	int64_t last;
	struct k_pool *pool;
	pthread_t thread;
	int index;
};

struct k_pool {
	pthread_mutex_t lock;           /* of those who sleep, or wake a sleeper */
	pthread_cond_t wake, idle;
	void (*run)(void *arg, int worker);     /* the job; written while the gate is shut and nobody inside */
	void *arg;
	int n, started, spin;
	struct worker *workers;         /* by index; 0 is the caller's */
	ALONE _Atomic uint64_t gate;    /* number of the job, of which a helper runs each once at most; OPEN; how many helpers are inside */
	atomic_bool end, in_job;
	ALONE atomic_int asleep;        /* helpers that wait for news */
	atomic_bool waiting;            /* does the caller sleep until nobody is inside? */
};

#define NUMBER_SHIFT 16
#define OPEN UINT64_C(0x8000)
#define INSIDE UINT64_C(0x7fff)
_Static_assert(K_POOL_MOST <= INSIDE, "the gate counts all helpers");

/* A decode step is hundreds of short jobs, and going to sleep and waking takes longer than many of them, most of all on a virtual machine:
 * everybody looks for a while before sleeping, a few milliseconds where a pause is long. Not where there are more threads than CPUs. */
enum { SPIN = 32000 };

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static uint64_t number(uint64_t gate) { return gate >> NUMBER_SHIFT; }

static bool has_news(struct k_pool *p, uint64_t seen)
{
	return number(atomic_load(&p->gate)) != seen || atomic_load(&p->end);
}

/* false: the job is done, or all of it is with others. */
static bool enter(struct k_pool *p, uint64_t *seen)
{
	uint64_t g = atomic_load(&p->gate);

	while (g & OPEN)
		if (atomic_compare_exchange_weak(&p->gate, &g, g + 1))
			break;
	*seen = number(g);
	return g & OPEN;
}

static void sleep_for_news(struct k_pool *p, uint64_t seen)
{
	pthread_mutex_lock(&p->lock);
	/* Whoever publishes news looks at `asleep` after it, and who sleeps looks for news after `asleep`: one of them sees the other. */
	atomic_fetch_add(&p->asleep, 1);
	while (!has_news(p, seen))
		pthread_cond_wait(&p->wake, &p->lock);
	atomic_fetch_sub(&p->asleep, 1);
	pthread_mutex_unlock(&p->lock);
}

static void wake_sleepers(struct k_pool *p)
{
	if (!atomic_load(&p->asleep))
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

/* Likewise `waiting` and the gate. */
static void leave(struct k_pool *p)
{
	uint64_t g = atomic_fetch_sub(&p->gate, 1) - 1;

	if ((g & (OPEN | INSIDE)) || !atomic_load(&p->waiting))
		return;
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->idle);
	pthread_mutex_unlock(&p->lock);
}

static void shut(struct k_pool *p)
{
	atomic_fetch_and(&p->gate, ~OPEN);
	for (int i = 0; i < p->spin && atomic_load(&p->gate) & INSIDE; i++)
		pause_cpu();
	if (!(atomic_load(&p->gate) & INSIDE))
		return;
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->waiting, true);
	while (atomic_load(&p->gate) & INSIDE)
		pthread_cond_wait(&p->idle, &p->lock);
	atomic_store(&p->waiting, false);
	pthread_mutex_unlock(&p->lock);
}

static void *helper(void *arg)
{
	struct worker *w = arg;
	struct k_pool *p = w->pool;
	uint64_t seen = 0;

	for (;;) {
		for (int i = 0; i < p->spin && !has_news(p, seen); i++)
			pause_cpu();
		if (!has_news(p, seen))
			sleep_for_news(p, seen);
		if (atomic_load(&p->end))
			return NULL;
		if (!enter(p, &seen))
			continue;
		p->run(p->arg, w->index);
		leave(p);
	}
}

int k_pool_new(struct k_pool **out, int n, struct k_err *err)
{
	struct k_pool *p = k_aligned_zero(sizeof *p);
	int rc = 0, cpus = n == 1 ? 1 : k_cpu_count();
	sigset_t all, old;

	*out = NULL;
	K_ASSERT(n >= 0);
	if (!p)
		return k_err_nomem(err, sizeof *p, "threads");
	p->n = n = n ? n : (int)K_MIN(cpus, (int)K_POOL_MOST);
	p->spin = n <= cpus ? SPIN : 0;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	pthread_cond_init(&p->idle, NULL);
	p->workers = k_aligned_zero((size_t)n * sizeof *p->workers);
	if (!p->workers)
		rc = k_err_nomem(err, (size_t)n * sizeof *p->workers, "threads");
	/* Signals go to the thread that waits for them; faults of a helper are its own, and so is a reader that left. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGPIPE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (int i = 1; i < n && !rc; i++) {
		struct worker *w = &p->workers[i];

		w->pool = p;
		w->index = i;
		if (pthread_create(&w->thread, NULL, helper, w))
			rc = k_err_set(err, K_ENOMEM, "the system refuses thread %d of %d", i + 1, n);
		else
			p->started++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		k_pool_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void k_pool_free(struct k_pool *p)
{
	if (!p)
		return;
	atomic_store(&p->end, true);
	wake_sleepers(p);
	for (int i = 0; i < p->started; i++)
		pthread_join(p->workers[i + 1].thread, NULL);
	pthread_cond_destroy(&p->idle);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	k_free(p->workers);
	k_free(p);
}

int k_pool_threads(const struct k_pool *p) { return p ? p->n : 1; }

static void run_all(struct k_pool *p, void (*run)(void *, int), void *arg)
{
	K_ASSERT(!atomic_exchange(&p->in_job, true));
	p->run = run;
	p->arg = arg;
	atomic_store(&p->gate, (number(atomic_load(&p->gate)) + 1) << NUMBER_SHIFT | OPEN);
	wake_sleepers(p);
	run(arg, 0);
	shut(p);
	atomic_store(&p->in_job, false);
}

/* --- for-each ------------------------------------------------------------------------------------ */

struct each { struct k_pool *p; void (*fn)(void *, int64_t, int); void *arg; };

/* A run that is through is looked at, and not counted on: `next` would grow for ever. */
static void each_run(void *arg, int worker)
{
	struct each *e = arg;
	int n = e->p->n;

	for (int k = 0; k < n; k++) {
		struct worker *w = &e->p->workers[(worker + k) % n];
		int64_t i;

		while (atomic_load_explicit(&w->next, memory_order_relaxed) < w->last
			&& (i = atomic_fetch_add_explicit(&w->next, 1, memory_order_relaxed)) < w->last)
			e->fn(e->arg, i, worker);
	}
}

void k_pool_each(struct k_pool *p, int64_t n, void (*fn)(void *arg, int64_t i, int worker), void *arg)
{
	struct each e = { p, fn, arg };
	int64_t at = 0;

	if (!p || p->n == 1 || n <= 1) {
		for (int64_t i = 0; i < n; i++)
			fn(arg, i, 0);
		return;
	}
	for (int i = 0; i < p->n; i++) {
		struct worker *w = &p->workers[i];

		atomic_store_explicit(&w->next, at, memory_order_relaxed);
		at += n / p->n + (i < n % p->n);
		w->last = at;
	}
	run_all(p, each_run, &e);
}

/* --- ordered pipe -------------------------------------------------------------------------------- */

enum state { FREE, READING, FULL, WORKING, DONE, WRITING };

struct pipe {
	const struct k_pipe *how;
	pthread_mutex_t lock;
	pthread_cond_t change;
	char *items;
	enum state *state;              /* of item i % depth */
	uint64_t n_read, n_taken, n_written;    /* items read; given to work; written */
	int depth;
	bool reading, writing, no_more;
	int rc;
	uint64_t rc_item;               /* the item that failed */
	struct k_err err;
};

static void failed(struct pipe *q, uint64_t i, int rc, const struct k_err *err)
{
	if (q->rc && q->rc_item <= i)
		return;
	q->rc = rc;
	q->rc_item = i;
	q->err = *err;
}

static void do_write(struct pipe *q)
{
	uint64_t i = q->n_written;
	size_t slot = (size_t)(i % (uint64_t)q->depth);
	struct k_err err = { 0 };
	int rc;

	q->writing = true;
	q->state[slot] = WRITING;
	pthread_mutex_unlock(&q->lock);
	rc = q->how->write(q->how->arg, q->items + slot * q->how->item_bytes, &err);
	pthread_mutex_lock(&q->lock);
	q->writing = false;
	q->state[slot] = FREE;
	q->n_written++;
	if (rc < 0)
		failed(q, i, rc, &err);
}

static void do_work(struct pipe *q)
{
	uint64_t i = q->n_taken++;
	size_t slot = (size_t)(i % (uint64_t)q->depth);
	struct k_err err = { 0 };
	int rc = 0;

	q->state[slot] = WORKING;
	if (q->how->work) {
		pthread_mutex_unlock(&q->lock);
		rc = q->how->work(q->how->arg, q->items + slot * q->how->item_bytes, &err);
		pthread_mutex_lock(&q->lock);
	}
	q->state[slot] = DONE;
	if (rc < 0)
		failed(q, i, rc, &err);
}

static void do_read(struct pipe *q)
{
	uint64_t i = q->n_read;
	size_t slot = (size_t)(i % (uint64_t)q->depth);
	struct k_err err = { 0 };
	int rc;

	q->reading = true;
	q->state[slot] = READING;
	pthread_mutex_unlock(&q->lock);
	rc = q->how->read(q->how->arg, q->items + slot * q->how->item_bytes, &err);
	pthread_mutex_lock(&q->lock);
	q->reading = false;
	q->state[slot] = rc > 0 ? FULL : FREE;
	if (rc > 0)
		q->n_read++;
	else
		q->no_more = true;
	if (rc < 0)
		failed(q, i, rc, &err);
}

static enum state state_at(const struct pipe *q, uint64_t i) { return q->state[i % (uint64_t)q->depth]; }

static void pipe_run(void *arg, int worker K_UNUSED)
{
	struct pipe *q = arg;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		/* After an error, items before the failed one are still finished: what is written is a
		 * prefix. */
		uint64_t limit = q->rc ? q->rc_item : UINT64_MAX;

		if (!q->writing && q->n_written < q->n_taken && q->n_written < limit &&
			state_at(q, q->n_written) == DONE)
			do_write(q);
		else if (q->n_taken < q->n_read && q->n_taken < limit)
			do_work(q);
		else if (!q->reading && !q->no_more && !q->rc &&
			 q->n_read - q->n_written < (uint64_t)q->depth)
			do_read(q);
		else if (K_MIN(q->n_read, limit) <= q->n_written && (q->no_more || q->rc) && !q->reading)
			break;
		else {
			pthread_cond_wait(&q->change, &q->lock);
			continue;
		}
		pthread_cond_broadcast(&q->change);
	}
	pthread_cond_broadcast(&q->change);
	pthread_mutex_unlock(&q->lock);
}

int k_pool_depth(const struct k_ctx *ctx, uint64_t rest, uint64_t one)
{
	uint64_t ceiling = k_ctx_ceiling(ctx), left = ceiling > rest ? K_MIN(ceiling / 2, ceiling - rest) : 0;

	return (int)K_MAX(2, K_MIN((uint64_t)(2 * k_pool_threads(ctx->pool)), left / K_MAX(one, 1)));
}

int k_pool_pipe(struct k_pool *p, const struct k_pipe *how, struct k_err *err)
{
	struct pipe q = { .how = how, .depth = how->depth > 0 ? how->depth : 2 * k_pool_threads(p) };
	int rc = 0;

	q.items = k_calloc((size_t)q.depth, K_MAX(how->item_bytes, (size_t)1));
	q.state = k_calloc((size_t)q.depth, sizeof *q.state);
	if (!q.items || !q.state) {
		rc = k_err_nomem(err, (size_t)q.depth * how->item_bytes, "the slots of a pipe");
		goto out;
	}
	pthread_mutex_init(&q.lock, NULL);
	pthread_cond_init(&q.change, NULL);
	if (!p || p->n == 1)
		pipe_run(&q, 0);
	else
		run_all(p, pipe_run, &q);
	pthread_cond_destroy(&q.change);
	pthread_mutex_destroy(&q.lock);
	rc = q.rc;
	if (rc)
		*err = q.err;
	for (int i = 0; how->drop && i < q.depth; i++)
		how->drop(how->arg, q.items + (size_t)i * how->item_bytes);
out:
	k_free(q.items);
	k_free(q.state);
	return rc;
}
