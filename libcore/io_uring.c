/* io_uring.c: requests through the kernel's rings; the only includer of liburing.h. Built where that header is. */
#include "libcore/base.h"
#include "libcore/io_queue.h"
#include <errno.h>
#include <liburing.h>
#include <unistd.h>

static void *open_ring(int depth)
{
	struct io_uring *q = k_calloc(1, sizeof(*q));

	/* Refused by old kernels, by seccomp filters of containers, by the administrator. */
	if (q && io_uring_queue_init((unsigned)depth, q, 0) < 0) {
		k_free(q);
		return NULL;
	}
	/* Plain reads and writes came with this feature. */
	if (q && !(q->features & IORING_FEAT_RW_CUR_POS)) {
		io_uring_queue_exit(q);
		k_free(q);
		return NULL;
	}
	return q;
}

static void close_ring(void *impl)
{
	io_uring_queue_exit(impl);
	k_free(impl);
}

static void do_now(struct k_ioreq *r)
{
	ssize_t did = r->write ? pwrite(r->fd, r->p, r->n, (off_t)r->off) : pread(r->fd, r->p, r->n, (off_t)r->off);

	r->did = did < 0 ? -errno : did;
	r->busy = false;
}

static void start_ring(void *impl, struct k_ioreq *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(impl);
	int rc;

	if (!sqe) {
		do_now(r);
		return;
	}
	if (r->write)
		io_uring_prep_write(sqe, r->fd, r->p, (unsigned)r->n, r->off);
	else
		io_uring_prep_read(sqe, r->fd, r->p, (unsigned)r->n, r->off);
	io_uring_sqe_set_data(sqe, r);
	do
		rc = io_uring_submit(impl);
	while (rc == -EINTR);
	if (rc < 0) {
		/* It stays in the ring for the next submission, as nothing to do. */
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data(sqe, NULL);
		do_now(r);
	}
}

static void wait_ring(void *impl, struct k_ioreq *r)
{
	struct io_uring_cqe *cqe;
	int rc;

	while (r->busy) {
		rc = io_uring_wait_cqe(impl, &cqe);
		if (rc == -EINTR || rc == -EAGAIN)
			continue;
		if (rc < 0)
			k_bug("io_uring lost a request");
		if (io_uring_cqe_get_data(cqe)) {
			struct k_ioreq *done = io_uring_cqe_get_data(cqe);

			done->did = cqe->res;
			done->busy = false;
		}
		io_uring_cqe_seen(impl, cqe);
	}
}

extern const struct k_ioway k_ioway_uring;
const struct k_ioway k_ioway_uring = {
	.name = "uring", .open = open_ring, .start = start_ring, .wait = wait_ring, .close = close_ring,
};
