/* io_direct.c: slots, each a window of the file that is filled from somewhere in it upwards.
 *
 *        from        whole blocks, written directly          end
 *   |----[###|##########################################|#####]-----|
 *         ordinary write                          ordinary write
 *
 * A slot is free, is being gathered, or is on its way. */
#include "libcore/base.h"
#include "libcore/err.h"
#include "libcore/fault.h"
#include "libcore/io_direct.h"
#include "libcore/io_queue.h"
#include "libcore/io_table.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { WINDOW = 2 << 20, N_SLOTS = 6, BLOCK = 4096 };

struct slot {
	struct k_ioreq req;
	uint8_t *p;
	bool used, sent;
	uint64_t from, end;             /* bytes that it has */
	uint64_t turn;                  /* when it was filled or sent last */
};

struct k_direct {
	int fd, direct;
	bool plain;                     /* the file system takes no direct writes after all; others are under way, and the descriptor stays */
	struct k_ioq q;
	uint8_t *mem;
	struct slot slot[N_SLOTS];
	uint64_t turn;
	int failed;
};

struct k_direct *k_direct_open(int fd)
{
	struct k_direct *d = k_calloc(1, sizeof(*d));
	struct k_err err = { 0 };
	char path[40];
	uint8_t *p;

	if (!d)
		return NULL;
	d->fd = fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	d->direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY);
	d->mem = d->direct < 0 ? NULL : k_alloc((size_t)WINDOW * N_SLOTS + BLOCK);
	if (!d->mem || k_ioq_open(&d->q, N_SLOTS, &err) < 0) {
		k_direct_close(d);
		return NULL;
	}
	p = (uint8_t *)(uintptr_t)k_align_up((uintptr_t)d->mem, BLOCK);
	for (int i = 0; i < N_SLOTS; i++)
		d->slot[i].p = p + (size_t)i * WINDOW;
	return d;
}

void k_direct_close(struct k_direct *d)
{
	if (!d)
		return;
	for (int i = 0; i < N_SLOTS; i++)
		if (d->slot[i].sent)
			k_ioq_wait(&d->q, &d->slot[i].req);
	k_ioq_close(&d->q);
	if (d->direct >= 0)
		close(d->direct);
	k_free(d->mem);
	k_free(d);
}

static void write_plainly(struct k_direct *d, const uint8_t *p, size_t n, uint64_t off)
{
	while (n > 0 && !d->failed) {
		ssize_t did = pwrite(d->fd, p, n, (off_t)off);

		if (did < 0 && (errno != EINTR || k_io_stopped()))
			d->failed = errno;
		did = K_MAX(did, 0);
		p += did;
		off += (uint64_t)did;
		n -= (size_t)did;
	}
}

/* What the direct write did not do is done here. */
static void settle(struct k_direct *d, struct slot *s)
{
	size_t did;

	if (s->sent) {
		k_ioq_wait(&d->q, &s->req);
		did = s->req.did > 0 ? (size_t)s->req.did : 0;
		if (did < s->req.n)
			write_plainly(d, (uint8_t *)s->req.p + did, s->req.n - did, s->req.off + did);
		d->plain |= s->req.did == -EINVAL;
	}
	s->used = s->sent = false;
}

static void send(struct k_direct *d, struct slot *s)
{
	uint64_t base = s->from & ~(uint64_t)(WINDOW - 1), from = K_MIN(k_align_up(s->from, BLOCK), s->end), end = s->end & ~(uint64_t)(BLOCK - 1);

	if (k_fault_io())
		d->failed = EIO;
	if (d->plain || end <= from)
		from = end = s->end;
	write_plainly(d, s->p + (s->from - base), (size_t)(from - s->from), s->from);
	write_plainly(d, s->p + (end - base), (size_t)(s->end - end), end);
	if (from < end && !d->failed) {
		s->req = (struct k_ioreq){ .fd = d->direct, .write = true, .p = s->p + (from - base), .n = (size_t)(end - from), .off = from };
		s->turn = ++d->turn;
		s->sent = true;
		k_ioq_start(&d->q, &s->req);
	} else {
		s->used = false;
	}
}

static struct slot *oldest(struct k_direct *d, bool sent)
{
	struct slot *best = NULL;

	for (int i = 0; i < N_SLOTS; i++) {
		struct slot *s = &d->slot[i];

		if (s->used && s->sent == sent && (!best || s->turn < best->turn))
			best = s;
	}
	return best;
}

/* A free slot. One of those that are gathered is sent off early where all but one are. */
static struct slot *new_slot(struct k_direct *d)
{
	struct slot *s;
	int gathered = 0;

	for (int i = 0; i < N_SLOTS; i++)
		gathered += d->slot[i].used && !d->slot[i].sent;
	if (gathered >= N_SLOTS / 2)
		send(d, oldest(d, false));
	for (int i = 0; i < N_SLOTS; i++)
		if (!d->slot[i].used)
			return &d->slot[i];
	s = oldest(d, true);
	settle(d, s);
	return s;
}

static struct slot *slot_for(struct k_direct *d, uint64_t off)
{
	struct slot *s;

	for (int i = 0; i < N_SLOTS; i++)
		if (d->slot[i].used && !d->slot[i].sent && d->slot[i].end == off)
			return &d->slot[i];
	s = new_slot(d);
	s->used = true;
	s->from = s->end = off;
	return s;
}

/* Written once more, before the first time is over? */
static bool overlaps(const struct k_direct *d, uint64_t from, uint64_t end)
{
	for (int i = 0; i < N_SLOTS; i++)
		if (d->slot[i].used && d->slot[i].from < end && from < d->slot[i].end)
			return true;
	return false;
}

int k_direct_write(struct k_direct *d, const void *p, size_t n, uint64_t off)
{
	const uint8_t *at = p;

	if (overlaps(d, off, off + n) && k_direct_flush(d))
		return d->failed;
	while (n > 0 && !d->failed) {
		struct slot *s = slot_for(d, off);
		uint64_t base = s->from & ~(uint64_t)(WINDOW - 1);
		size_t part = (size_t)K_MIN((uint64_t)n, base + WINDOW - off);

		memcpy(s->p + (off - base), at, part);
		s->end += part;
		s->turn = ++d->turn;
		if (s->end == base + WINDOW)
			send(d, s);
		at += part;
		off += part;
		n -= part;
	}
	return d->failed;
}

int k_direct_flush(struct k_direct *d)
{
	for (int i = 0; i < N_SLOTS; i++)
		if (d->slot[i].used && !d->slot[i].sent)
			send(d, &d->slot[i]);
	for (int i = 0; i < N_SLOTS; i++)
		if (d->slot[i].used)
			settle(d, &d->slot[i]);
	return d->failed;
}
