/* wait.h: waiting for a condition for a while, by the clock that nobody sets. */
#ifndef K_WAIT_H
#define K_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A condition that k_cond_wait may wait for. */
void k_cond_init(pthread_cond_t *c);
/* As pthread_cond_wait, for ns at most. false: that time is over. */
bool k_cond_wait(pthread_cond_t *c, pthread_mutex_t *lock, uint64_t ns);

#endif
