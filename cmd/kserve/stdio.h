/* stdio.h: the API without a network: a request a line in, its answer a line out, in order. */
#ifndef K_STDIO_H
#define K_STDIO_H

#include "cmd/kserve/sched.h"

struct k_ctx;

/* Until the end of standard input and of the last answer. A line that is no good gets a line {"error":..} and is no failure. */
int k_stdio_run(const struct k_server *s, struct k_sched *sched, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif
