/* inputs.h: the files that a model lies in, as bytes on a disk: put out of the page cache, and read as fast as they come. */
#ifndef K_INPUTS_H
#define K_INPUTS_H

#include "libcore/ctx.h"

struct k_inputs { char **path; int64_t n; uint64_t bytes; };

/* A file, or the files that a folder holds itself. K_EIO: there is none. Takes a zeroed one. */
int k_inputs_open(struct k_inputs *in, const char *path, struct k_err *err) K_MUST_USE;
void k_inputs_close(struct k_inputs *in);               /* takes one that was not opened, or not wholly */
/* Asks the kernel to forget their pages; false where a page in a hundred or more is there afterwards (no such thing as a cold read here). */
bool k_inputs_chill(const struct k_inputs *in);
/* Reads all of them from end to end, in one thread, a MiB at a time. */
int k_inputs_read(const struct k_inputs *in, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif
