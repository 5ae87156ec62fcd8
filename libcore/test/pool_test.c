/* pool_test.c: every index once, without those threads that do not run; pipes keep order, are bounded, and return the first error. */
#include "libcore/base.h"
#include "libcore/ctx.h"
#include "libcore/pool.h"
#include "libcore/test.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static void count(void *arg, int64_t i, int worker)
{
	K_CHECK(worker >= 0 && worker < 8);
	__atomic_add_fetch((int *)arg + i, 1, __ATOMIC_RELAXED);
}

K_TEST(pool_each_runs_every_index_once)
{
	static int hits[5000];
	struct k_err err = { 0 };

	for (int n = 1; n <= 8; n++) {
		struct k_pool *p;

		K_CHECK_OK(k_pool_new(&p, n, &err));
		K_CHECK(k_pool_threads(p) == n);
		for (int round = 0; round < 50; round++) {
			int64_t items = round % 2 ? 5000 : round % 7;

			memset(hits, 0, sizeof hits);
			k_pool_each(p, items, count, hits);
			for (int64_t i = 0; i < 5000; i++)
				K_CHECK(hits[i] == (i < items));
		}
		k_pool_free(p);
	}
	memset(hits, 0, sizeof hits);
	k_pool_each(NULL, 3, count, hits);
	K_CHECK(hits[0] == 1 && hits[2] == 1 && !hits[3] && k_pool_threads(NULL) == 1);
}

/* A helper that is held where it is: by a signal whose handler waits. */
struct held { pthread_t thread; pid_t id; int inside; };
static int held_now, let_go;

static void hold(int sig K_UNUSED)
{
	__atomic_store_n(&held_now, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&let_go, __ATOMIC_SEQ_CST))
		usleep(1000);
}

/* Returns when both are in it. */
static void meet(void *arg, int64_t i K_UNUSED, int worker)
{
	struct held *h = arg;
	if (worker == 1) {
		h->thread = pthread_self();
		h->id = (pid_t)syscall(SYS_gettid);
	}
	__atomic_add_fetch(&h->inside, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&h->inside, __ATOMIC_SEQ_CST) < 2)
		sched_yield();
}

static bool sleeps(pid_t id)
{
	char name[64], state = 0;
	snprintf(name, sizeof name, "/proc/self/task/%d/stat", (int)id);
	FILE *f = fopen(name, "r");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (f)
		fclose(f);
	return state == 'S';
}

/* A busy machine: what a helper would do the others do, and nobody waits for it. */
K_TEST(pool_each_does_not_wait_for_a_helper_that_does_not_run)
{
	struct k_err err = { 0 };
	struct held h = { 0 };
	struct sigaction old, block = { .sa_handler = hold };
	struct k_pool *p;
	int hits[100] = { 0 };

	held_now = let_go = 0;
	sigaction(SIGPIPE, &block, &old);
	K_CHECK_OK(k_pool_new(&p, 2, &err));
	k_pool_each(p, 2, meet, &h);
	while (!sleeps(h.id))
		usleep(1000);
	pthread_kill(h.thread, SIGPIPE);
	while (!__atomic_load_n(&held_now, __ATOMIC_SEQ_CST))
		usleep(1000);
	for (int round = 0; round < 3; round++)
		k_pool_each(p, 100, count, hits);
	for (int i = 0; i < 100; i++)
		K_CHECK(hits[i] == 3);
	__atomic_store_n(&let_go, 1, __ATOMIC_SEQ_CST);
	h.inside = 0;
	k_pool_each(p, 2, meet, &h);
	K_CHECK(h.inside == 2);
	k_pool_free(p);
	sigaction(SIGPIPE, &old, NULL);
}

struct test_pipe {
	int64_t n, read, written;
	int64_t fail_read, fail_work, fail_write;
	int in_read, in_write, in_flight, most, drops;
};
struct item { int64_t index, square; void *memory; };

static int read_one(void *arg, void *item, struct k_err *err)
{
	struct test_pipe *t = arg;
	struct item *it = item;
	int now;

	K_CHECK(__atomic_add_fetch(&t->in_read, 1, __ATOMIC_SEQ_CST) == 1);
	now = __atomic_add_fetch(&t->in_flight, 1, __ATOMIC_SEQ_CST);
	if (now > t->most)
		t->most = now;
	if (!it->memory)
		it->memory = k_alloc(1);
	it->index = t->read;
	__atomic_sub_fetch(&t->in_read, 1, __ATOMIC_SEQ_CST);
	if (t->read == t->fail_read)
		return k_err_set(err, K_EIO, "read %lld", (long long)t->read);
	return t->read++ < t->n;
}

static int work_one(void *arg, void *item, struct k_err *err)
{
	struct test_pipe *t = arg;
	struct item *it = item;

	for (int64_t i = 0; i < it->index % 5; i++)
		sched_yield();
	it->square = it->index * it->index;
	if (t->fail_work >= 0 && it->index >= t->fail_work)
		return k_err_set(err, K_EFORMAT, "work %lld", (long long)it->index);
	return 0;
}

static int write_one(void *arg, void *item, struct k_err *err)
{
	struct test_pipe *t = arg;
	struct item *it = item;

	K_CHECK(__atomic_add_fetch(&t->in_write, 1, __ATOMIC_SEQ_CST) == 1);
	K_CHECK(it->index == t->written && it->square == it->index * it->index);
	__atomic_sub_fetch(&t->in_write, 1, __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&t->in_flight, 1, __ATOMIC_SEQ_CST);
	if (it->index == t->fail_write)
		return k_err_set(err, K_EIO, "write %lld", (long long)it->index);
	t->written++;
	return 0;
}

static void drop_one(void *arg, void *item)
{
	struct item *it = item;

	((struct test_pipe *)arg)->drops++;
	k_free(it->memory);
}

static int run(struct test_pipe *t, int threads, int depth, struct k_err *err)
{
	struct k_pipe pipe = { sizeof(struct item), depth, read_one, work_one, write_one, drop_one, t };
	struct k_pool *p;
	int rc;

	K_CHECK(k_pool_new(&p, threads, err) == 0);
	rc = k_pool_pipe(p, &pipe, err);
	k_pool_free(p);
	return rc;
}

K_TEST(pipe_keeps_order_and_is_bounded)
{
	struct k_err err = { 0 };

	for (int threads = 1; threads <= 6; threads++) {
		for (int depth = 0; depth <= 5; depth++) {
			struct test_pipe t = { .n = 500, .fail_read = -1, .fail_work = -1, .fail_write = -1 };

			K_CHECK(run(&t, threads, depth, &err) == 0);
			K_CHECK(t.written == 500 && t.read == 501);
			K_CHECK(t.most <= (depth ? depth : 2 * threads) &&
				t.drops == (depth ? depth : 2 * threads));
		}
	}
}

K_TEST(pool_depth_is_two_a_thread_and_what_memory_allows)
{
	struct k_err err = { 0 };
	struct k_ctx ctx = { .max_memory = 100 << 20 };

	K_CHECK(k_pool_depth(&ctx, 0, 1) == 2);
	K_CHECK(k_pool_new(&ctx.pool, 40, &err) == 0);
	K_CHECK(k_pool_depth(&ctx, 0, 1) == 80 && k_pool_depth(&ctx, 0, 0) == 80);
	/* Half of the ceiling, or what is left of it, or 2 all the same. */
	K_CHECK(k_pool_depth(&ctx, 0, 1 << 20) == 50 && k_pool_depth(&ctx, 70 << 20, 1 << 20) == 30);
	K_CHECK(k_pool_depth(&ctx, 100 << 20, 1 << 20) == 2 && k_pool_depth(&ctx, UINT64_MAX, UINT64_MAX) == 2);
	ctx.max_memory = 0;
	K_CHECK(k_pool_depth(&ctx, 0, 4 << 20) == 64);
	k_pool_free(ctx.pool);
}

K_TEST(pipe_returns_the_first_error)
{
	struct k_err err = { 0 };

	for (int threads = 1; threads <= 6; threads++) {
		for (int round = 0; round < 20; round++) {
			struct test_pipe r = { .n = 100, .fail_read = 40, .fail_work = -1, .fail_write = -1 };
			struct test_pipe w = { .n = 100, .fail_read = -1, .fail_work = 30, .fail_write = -1 };
			struct test_pipe o = { .n = 100, .fail_read = -1, .fail_work = -1, .fail_write = 20 };

			K_CHECK(run(&r, threads, 0, &err) == K_EIO && !strcmp(err.msg, "read 40") &&
				r.written == 40);
			K_CHECK(run(&w, threads, 0, &err) == K_EFORMAT && !strcmp(err.msg, "work 30") &&
				w.written == 30);
			K_CHECK(run(&o, threads, 0, &err) == K_EIO && !strcmp(err.msg, "write 20") &&
				o.written == 20);
		}
	}
}
