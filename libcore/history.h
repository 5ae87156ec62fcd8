/* history.h: the rows of a container's history: steps and what changes their result; never file names, threads or times. */
#ifndef K_HISTORY_H
#define K_HISTORY_H

#include "libcore/ckpt.h"

/* A copy of c's history that begins with the row {"step":"convert","format":1}: a checkpoint that was imported gets it, whichever tool
 * imports it, so that every route to a container writes the same bytes. */
int k_history_new(struct k_json **out, const struct k_ckpt *c, struct k_err *err) K_MUST_USE;
/* Appends row (taken, also on failure; NULL is out of memory). */
int k_history_add(struct k_json *history, struct k_json *row, struct k_err *err) K_MUST_USE;

#endif
