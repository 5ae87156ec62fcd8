/* io_queue.h: private to io*.c: reads and writes that are on their way while their owner does something else. The ways, best first, are
 * in ioways.list: io_uring where it was built in and the kernel lets us, a few threads everywhere else. */
#ifndef K_IO_QUEUE_H
#define K_IO_QUEUE_H

#include <sys/types.h>
#include "libcore/err.h"

/* The owner keeps it, and p, where they are until it was waited for. */
struct k_ioreq {
	int fd;
	bool write;
	void *p; size_t n; uint64_t off;
	ssize_t did;                    /* once it is done: bytes (fewer than n are no error), or -errno */
	bool busy;                      /* started and not waited for */
	struct k_ioreq *next;           /* the way's own */
};

struct k_ioway {
	const char *name;
	/* NULL: not here (no memory, or the kernel refuses). At most depth requests are on their way at once. */
	void *(*open)(int depth);
	void (*start)(void *q, struct k_ioreq *r);
	void (*wait)(void *q, struct k_ioreq *r);
	void (*close)(void *q);         /* nothing is on its way */
};

/* One thread at a time uses a queue. */
struct k_ioq { const struct k_ioway *way; void *impl; };
int k_ioq_open(struct k_ioq *q, int depth, struct k_err *err) K_MUST_USE;
void k_ioq_start(struct k_ioq *q, struct k_ioreq *r);
void k_ioq_wait(struct k_ioq *q, struct k_ioreq *r);    /* returns at once where it is not busy */
void k_ioq_close(struct k_ioq *q);

#endif
