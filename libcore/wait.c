/* wait.c: see wait.h. The clock of the day may be set back while somebody waits, by hours where a machine has just started; he would wait as long. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/wait.h"
#include <errno.h>
#include <time.h>

void k_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t a;

	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(c, &a);
	pthread_condattr_destroy(&a);
}

bool k_cond_wait(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t ns)
{
	uint64_t until = k_now_ns() + ns;
	struct timespec t = { .tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000) };

	return pthread_cond_timedwait(c, lock, &t) != ETIMEDOUT;
}
