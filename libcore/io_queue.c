/* io_queue.c: which way requests go, and the one that is always there: threads that read and write one request at a time.
 *
 *   start -> [ todo: request -> request ] -> a thread: pread or pwrite -> busy false, wait returns */
#include "libcore/base.h"
#include "libcore/io_queue.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { MOST_THREADS = 4 };

struct threads {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct k_ioreq *first, **last;
	bool end;
	int n;
	pthread_t thread[MOST_THREADS];
};

static void *serve(void *arg)
{
	struct threads *q = arg;
	struct k_ioreq *r;
	ssize_t did;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		while (!q->first && !q->end)
			pthread_cond_wait(&q->work, &q->lock);
		if (!q->first)
			break;
		r = q->first;
		q->first = r->next;
		if (!q->first)
			q->last = &q->first;
		pthread_mutex_unlock(&q->lock);
		did = r->write ? pwrite(r->fd, r->p, r->n, (off_t)r->off) : pread(r->fd, r->p, r->n, (off_t)r->off);
		did = did < 0 ? -errno : did;
		pthread_mutex_lock(&q->lock);
		r->did = did;
		r->busy = false;
		pthread_cond_broadcast(&q->done);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

static void close_threads(void *impl)
{
	struct threads *q = impl;

	pthread_mutex_lock(&q->lock);
	q->end = true;
	pthread_cond_broadcast(&q->work);
	pthread_mutex_unlock(&q->lock);
	for (int i = 0; i < q->n; i++)
		pthread_join(q->thread[i], NULL);
	pthread_cond_destroy(&q->done);
	pthread_cond_destroy(&q->work);
	pthread_mutex_destroy(&q->lock);
	k_free(q);
}

static void *open_threads(int depth)
{
	struct threads *q = k_calloc(1, sizeof(*q));
	sigset_t all, before;

	if (!q)
		return NULL;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->work, NULL);
	pthread_cond_init(&q->done, NULL);
	q->last = &q->first;
	/* Signals are for the threads that look at the flag. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	while (q->n < K_MIN(depth, MOST_THREADS) && pthread_create(&q->thread[q->n], NULL, serve, q) == 0)
		q->n++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (q->n == 0) {
		close_threads(q);
		return NULL;
	}
	return q;
}

static void start_thread(void *impl, struct k_ioreq *r)
{
	struct threads *q = impl;

	pthread_mutex_lock(&q->lock);
	r->next = NULL;
	*q->last = r;
	q->last = &r->next;
	pthread_cond_signal(&q->work);
	pthread_mutex_unlock(&q->lock);
}

static void wait_thread(void *impl, struct k_ioreq *r)
{
	struct threads *q = impl;

	pthread_mutex_lock(&q->lock);
	while (r->busy)
		pthread_cond_wait(&q->done, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

extern const struct k_ioway k_ioway_threads;
const struct k_ioway k_ioway_threads = {
	.name = "threads", .open = open_threads, .start = start_thread, .wait = wait_thread, .close = close_threads,
};

/* --- the queue ----------------------------------------------------------------------------------------------------------- */

#define X(name) extern const struct k_ioway k_ioway_##name;
#include "ioways.list"
#undef X

int k_ioq_open(struct k_ioq *q, int depth, struct k_err *err)
{
	static const struct k_ioway *const ways[] = {
#define X(name) &k_ioway_##name,
#include "ioways.list"
#undef X
	};

	for (size_t i = 0; i < K_LEN(ways); i++) {
		*q = (struct k_ioq){ ways[i], ways[i]->open(depth) };
		if (q->impl)
			return 0;
	}
	return k_err_nomem(err, sizeof(struct threads), "reading and writing beside the work");
}

void k_ioq_start(struct k_ioq *q, struct k_ioreq *r)
{
	r->busy = true;
	r->did = 0;
	q->way->start(q->impl, r);
}

void k_ioq_wait(struct k_ioq *q, struct k_ioreq *r) { q->way->wait(q->impl, r); }

void k_ioq_close(struct k_ioq *q)
{
	if (q->impl)
		q->way->close(q->impl);
	q->impl = NULL;
}
