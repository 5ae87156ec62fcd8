/* io_ahead.h: reading files ahead of somebody who reads them in a known order, past the page cache (O_DIRECT), several requests on
 * their way at once. What is read and every error stays the same: where something is not there in time, or could not be read, the
 * ordinary read says so.
 *
 *   k_ahead_step, k_ahead_want...   what will be read next: the ranges of one step are read by turns, each in ascending order
 *   k_source_pread                  as ever; a range that was asked for comes out of the buffers, once */
#ifndef K_IO_AHEAD_H
#define K_IO_AHEAD_H

#include "libcore/io.h"

struct k_ahead;

enum { K_AHEAD_MEMORY = 13 << 20 };      /* most that it takes */

/* NULL without memory: reading is slower then, not different. Free it after the sources that it was given. */
struct k_ahead *k_ahead_new(void);
void k_ahead_free(struct k_ahead *a);                   /* takes NULL */
/* All of these take NULL and do nothing then. */
/* Should more be asked for? False when what was asked for is enough for some time. */
bool k_ahead_hungry(struct k_ahead *a);
/* A new step begins. A read that belongs to a step drops what was fetched for the steps before it. */
void k_ahead_step(struct k_ahead *a);
/* [off, off + n) of src is part of the step. Memory, pipes: nothing is done. */
void k_ahead_want(struct k_ahead *a, struct k_source *src, uint64_t off, uint64_t n);
/* Nothing of what was asked for is wanted any more. */
void k_ahead_forget(struct k_ahead *a);

#endif
