/* io_direct.h: private to io*.c: writing large files at places in whole blocks past the page cache, while their owner goes on.
 *
 * What is written in pieces that continue each other is gathered: several places may be continued by turns. The ends that are no
 * whole blocks, and whatever cannot be written directly, go the ordinary way; so does what failed, which then says why. */
#ifndef K_IO_DIRECT_H
#define K_IO_DIRECT_H

#include "libcore/base.h"

struct k_direct;

/* For the file behind fd, which stays the caller's and is open for writing as long as this is. NULL: not here (no memory, no direct
 * writes to this file): the caller writes by itself. */
struct k_direct *k_direct_open(int fd);
/* 0 or an errno value, which stays. It may be that of an earlier write. */
int k_direct_write(struct k_direct *d, const void *p, size_t n, uint64_t off) K_MUST_USE;
/* All that was written is with the kernel, as after pwrite. */
int k_direct_flush(struct k_direct *d) K_MUST_USE;
void k_direct_close(struct k_direct *d);        /* what was not flushed is lost; takes NULL */

#endif
