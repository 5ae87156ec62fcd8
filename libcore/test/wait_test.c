/* wait_test.c: a wait is as long as it is said to be, and ends when there is something. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/test.h"
#include "libcore/wait.h"

struct bell { pthread_mutex_t lock; pthread_cond_t rung; bool yes; };

static void *ring(void *arg)
{
	struct bell *b = arg;

	pthread_mutex_lock(&b->lock);
	b->yes = true;
	pthread_cond_signal(&b->rung);
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

K_TEST(wait_for_a_time_or_a_condition)
{
	struct bell b = { .lock = PTHREAD_MUTEX_INITIALIZER };
	const uint64_t ms = 1000000, began = k_now_ns();
	pthread_t t;

	k_cond_init(&b.rung);
	pthread_mutex_lock(&b.lock);
	while (k_cond_wait(&b.rung, &b.lock, 30 * ms))
		;
	K_CHECK(k_now_ns() - began >= 30 * ms && k_now_ns() - began < 20000 * ms);
	K_CHECK(!pthread_create(&t, NULL, ring, &b));
	while (!b.yes)
		K_CHECK(k_cond_wait(&b.rung, &b.lock, 60000 * ms));
	pthread_mutex_unlock(&b.lock);
	pthread_join(t, NULL);
	pthread_cond_destroy(&b.rung);
}
