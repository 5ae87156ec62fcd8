/* terminal.h: a conversation on standard input and output. */
#ifndef K_TERMINAL_H
#define K_TERMINAL_H

#include "cmd/kserve/sched.h"

struct k_ctx;

/* Until /quit or the end of the input. What is wrong with a message is said on standard error and is no failure. */
int k_terminal_run(const struct k_server *s, struct k_sched *sched, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif
