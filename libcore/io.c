/* io.c: sources: sequential reads with peek, positioned reads, maps.
 *
 *     file, pipe   fd     [ buf: head .. fill ) read ahead of pos; a seekable file: pread at base + pos
 *     memory       mem    no buffer
 *     range        of     a window of another source, with positioned reads of that one
 *
 * pos counts what the caller consumed. Positioned reads touch neither pos nor buf, so they need no lock. */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/io_table.h"
#include "libcore/fault.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PEEK = 64 * 1024, BUFFER = 2 * PEEK, POLL_MS = 200 };

struct k_source {
	char *name;
	int fd;                         /* -1: memory or range */
	bool own, seekable, grows;      /* grows: a spool, whose size is asked for each time */
	uint64_t base;                  /* offset of byte 0 in fd or in of */
	int64_t size;                   /* -1: unknown */
	uint64_t pos;
	uint8_t *buf;
	size_t head, fill;
	const uint8_t *mem;
	void *taken;                    /* memory to free */
	struct k_source *of;            /* held: it stays open until the last window is closed */
	int windows;
	struct k_ahead *ahead;          /* reads this file ahead; NULL: nobody does */
	uint8_t *map;                   /* whole file from offset 0 */
	size_t map_len;
	int map_slot;
};

/* --- opening and closing ------------------------------------------------------------------------- */

static int source_new(struct k_source **out, const char *name, struct k_err *err)
{
	struct k_source *s = k_calloc(1, sizeof *s);

	*out = NULL;
	if (s)
		s->name = k_strdup(name);
	if (!s || !s->name) {
		k_free(s);
		return k_err_nomem(err, sizeof *s, "an input");
	}
	s->fd = -1;
	s->size = -1;
	s->map_slot = -1;
	*out = s;
	return 0;
}

/* What kind of file a descriptor is. /proc has regular files of size 0 with content: those are read like
 * pipes. */
static int look(struct k_source *s, struct k_err *err)
{
	struct stat st;
	off_t end, at;
	char byte;

	if (fstat(s->fd, &st))
		return k_err_io(err, "cannot read '%s'", s->name);
	if (S_ISDIR(st.st_mode))
		return k_err_set(err, K_EIO, "'%s' is a folder, wanted a file", s->name);
	end = st.st_size;
	if (S_ISBLK(st.st_mode))
		end = lseek(s->fd, 0, SEEK_END);
	else if (!S_ISREG(st.st_mode))
		return 0;
	if (end == 0 && pread(s->fd, &byte, 1, 0) == 1)
		return 0;
	/* Standard input may have been read up to somewhere by another process. */
	at = s->own ? 0 : lseek(s->fd, 0, SEEK_CUR);
	if (end < 0 || at < 0 || at > end)
		return 0;
	s->seekable = true;
	s->base = (uint64_t)at;
	s->size = end - at;
	return 0;
}

static int source_fd(struct k_source **out, int fd, bool own, const char *name, struct k_err *err)
{
	int rc = source_new(out, name, err);

	if (rc) {
		if (own)
			close(fd);
		return rc;
	}
	(*out)->fd = fd;
	(*out)->own = own;
	rc = look(*out, err);
	if (rc) {
		k_source_close(*out);
		*out = NULL;
	}
	return rc;
}

int k_source_openat(struct k_source **out, int dirfd, const char *name, const char *show, struct k_err *err)
{
	int fd;

	*out = NULL;
	do
		fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	while (fd < 0 && errno == EINTR && !k_io_stopped());
	/* Opening a pipe waits for a writer. */
	if (fd < 0 && errno == EINTR)
		return k_err_set(err, K_ECANCEL, "stopped by a signal while opening '%s'", show);
	if (fd < 0)
		return k_err_io(err, "cannot open '%s'", show);
	return source_fd(out, fd, true, show, err);
}

int k_source_open(struct k_source **out, const char *path, struct k_err *err)
{
	if (!strcmp(path, "-"))
		return source_fd(out, 0, false, "standard input", err);
	return k_source_openat(out, AT_FDCWD, path, path, err);
}

int k_source_mem(
	struct k_source **out, const void *p, size_t n, bool take, const char *name, struct k_err *err)
{
	int rc = source_new(out, name, err);

	if (rc) {
		if (take)
			k_free((void *)(uintptr_t)p);
		return rc;
	}
	(*out)->mem = p ? p : (const void *)"";
	(*out)->taken = take ? (void *)(uintptr_t)p : NULL;
	(*out)->size = (int64_t)n;
	(*out)->seekable = true;
	return 0;
}

int k_source_range(struct k_source **out, struct k_source *of, uint64_t off, uint64_t n, const char *name,
	struct k_err *err)
{
	int64_t size = k_source_size(of);
	int rc;

	*out = NULL;
	if (!of->seekable)
		return k_err_set(
			err, K_EUNSUP, "'%s' is a pipe: a part of it cannot be read by itself", of->name);
	if (size < 0 || off > (uint64_t)size || n > (uint64_t)size - off)
		return k_err_set(err, K_ETRUNC, "'%s' ends at byte %lld, wanted %llu bytes at %llu", of->name,
			(long long)size, (unsigned long long)n, (unsigned long long)off);
	rc = source_new(out, name, err);
	if (rc)
		return rc;
	(*out)->of = of;
	of->windows++;
	(*out)->base = off;
	(*out)->size = (int64_t)n;
	(*out)->seekable = true;
	return 0;
}

int k_source_spool(struct k_source **out, int fd, const char *name, struct k_err *err)
{
	int rc = source_fd(out, fd, true, name, err);

	if (!rc)
		(*out)->grows = (*out)->seekable = true;
	return rc;
}

int k_source_follow(struct k_source *s, struct k_ahead *a, uint64_t *off)
{
	for (; s->of; s = s->of)
		*off += s->base;
	if (s->fd < 0 || !s->seekable || (s->ahead && s->ahead != a))
		return -1;
	*off += s->base;
	s->ahead = a;
	return s->fd;
}

void k_source_close(struct k_source *s)
{
	if (!s || s->windows-- > 0)
		return;
	k_source_close(s->of);
	if (s->ahead)
		k_ahead_leave(s->ahead, s->fd);
	if (s->map) {
		k_io_map_end(s->map_slot);
		munmap(s->map, s->map_len);
	}
	if (s->own && s->fd >= 0)
		close(s->fd);
	k_free(s->taken);
	k_free(s->buf);
	k_free(s->name);
	k_free(s);
}

const char *k_source_name(const struct k_source *s) { return s->name; }
bool k_source_seekable(const struct k_source *s) { return s->seekable; }
uint64_t k_source_pos(const struct k_source *s) { return s->pos; }

int64_t k_source_size(const struct k_source *s)
{
	struct stat st;

	if (s->grows)
		return fstat(s->fd, &st) ? -1 : (int64_t)st.st_size;
	return s->size;
}

/* --- reading ------------------------------------------------------------------------------------- */

/* One read of the descriptor. A pipe is waited for in small steps: the signal that asks to stop may reach
 * another thread. */
static ssize_t read_once(struct k_source *s, void *p, size_t n, uint64_t off)
{
	struct pollfd ready = { .fd = s->fd, .events = POLLIN };
	ssize_t got;

	n = K_MIN(n, (size_t)1 << 30);
	for (;;) {
		if (k_fault_io()) {
			errno = EIO;
			return -1;
		}
		if (!s->seekable && poll(&ready, 1, POLL_MS) <= 0) {
			/* 0: nothing yet; -1: a signal, or no memory for a moment. */
			if (k_io_stopped()) {
				errno = EINTR;
				return -1;
			}
			continue;
		}
		got = s->ahead ? (ssize_t)k_ahead_take(s->ahead, s->fd, p, n, s->base + off) : 0;
		if (got > 0)
			return got;
		got = s->seekable ? pread(s->fd, p, n, (off_t)(s->base + off)) : read(s->fd, p, n);
		if (got >= 0 || (errno != EINTR && errno != EAGAIN) || k_io_stopped())
			return got;
	}
}

static int read_failed(const struct k_source *s, struct k_err *err)
{
	if (errno == EINTR)
		return k_err_set(err, K_ECANCEL, "stopped by a signal while reading '%s'", s->name);
	return k_err_io(err, "cannot read '%s'", s->name);
}

/* 1..n bytes at off (for a pipe: the next ones) past any buffer; *got == 0 at the end. */
static int raw_read(struct k_source *s, void *p, size_t n, uint64_t off, size_t *got, struct k_err *err)
{
	ssize_t did;

	*got = 0;
	if (s->size >= 0 && !s->grows) {
		if (off >= (uint64_t)s->size)
			return 0;
		n = (size_t)K_MIN((uint64_t)n, (uint64_t)s->size - off);
	}
	if (s->mem) {
		memcpy(p, s->mem + off, n);
		*got = n;
		return 0;
	}
	if (s->of)
		return raw_read(s->of, p, n, s->base + off, got, err);
	did = read_once(s, p, n, off);
	if (did < 0)
		return read_failed(s, err);
	*got = (size_t)did;
	return 0;
}

static int fill(struct k_source *s, size_t want, struct k_err *err)
{
	size_t got;
	int rc;

	if (!s->buf) {
		s->buf = k_alloc(BUFFER);
		if (!s->buf)
			return k_err_nomem(err, BUFFER, s->name);
	}
	if (s->head && BUFFER - s->head < want) {
		memmove(s->buf, s->buf + s->head, s->fill - s->head);
		s->fill -= s->head;
		s->head = 0;
	}
	while (s->fill - s->head < want) {
		rc = raw_read(s, s->buf + s->fill, BUFFER - s->fill, s->pos + (s->fill - s->head), &got, err);
		if (rc)
			return rc;
		if (!got)
			break;
		s->fill += got;
	}
	return 0;
}

int k_source_peek(struct k_source *s, const void **p, size_t want, size_t *have, struct k_err *err)
{
	int rc;

	K_ASSERT(want <= PEEK);
	if (s->mem) {
		*p = s->mem + s->pos;
		*have = (size_t)K_MIN((uint64_t)want, (uint64_t)s->size - s->pos);
		return 0;
	}
	rc = fill(s, want, err);
	*p = s->buf + s->head;
	*have = rc ? 0 : K_MIN(want, s->fill - s->head);
	return rc;
}

int k_source_some(struct k_source *s, void *p, size_t n, size_t *got, struct k_err *err)
{
	int rc;

	*got = 0;
	if (!n)
		return 0;
	if (!s->mem && s->head == s->fill && n < PEEK) {
		s->head = s->fill = 0;
		rc = fill(s, 1, err);
		if (rc)
			return rc;
	}
	if (s->head < s->fill) {
		*got = K_MIN(n, s->fill - s->head);
		memcpy(p, s->buf + s->head, *got);
		s->head += *got;
		if (s->head == s->fill)
			s->head = s->fill = 0;
	} else if (s->mem || n >= PEEK) {
		rc = raw_read(s, p, n, s->pos, got, err);
		if (rc)
			return rc;
	}
	s->pos += *got;
	return 0;
}

static int truncated(const struct k_source *s, uint64_t at, uint64_t missing, struct k_err *err)
{
	return k_err_set(err, K_ETRUNC, "'%s' ends at byte %llu, %llu more were wanted", s->name,
		(unsigned long long)at, (unsigned long long)missing);
}

int k_source_read(struct k_source *s, void *p, size_t n, struct k_err *err)
{
	size_t got;
	int rc;

	for (; n > 0; p = (char *)p + got, n -= got) {
		rc = k_source_some(s, p, n, &got, err);
		if (rc)
			return rc;
		if (!got)
			return truncated(s, s->pos, n, err);
	}
	return 0;
}

int k_source_pread(struct k_source *s, void *p, size_t n, uint64_t off, struct k_err *err)
{
	size_t got;
	int rc;

	if (!s->seekable)
		return k_err_set(
			err, K_EUNSUP, "'%s' is a pipe: a part of it cannot be read by itself", s->name);
	for (; n > 0; p = (char *)p + got, n -= got, off += got) {
		rc = raw_read(s, p, n, off, &got, err);
		if (rc)
			return rc;
		if (!got)
			return truncated(s, off, n, err);
	}
	return 0;
}

int k_source_stamp(const struct k_source *s, bool here, struct k_sha256 *h, struct k_err *err)
{
	struct stat st;
	int64_t facts[7];

	if (s->of) {
		k_sha256_add(h, &s->base, sizeof(s->base));
		k_sha256_add(h, &s->size, sizeof(s->size));
		return k_source_stamp(s->of, here, h, err);
	}
	if (s->fd < 0) {
		k_sha256_add(h, s->mem, (size_t)s->size);
		return 0;
	}
	if (fstat(s->fd, &st) < 0)
		return k_err_io(err, "cannot read '%s'", s->name);
	facts[0] = st.st_size;
	facts[1] = (int64_t)s->base;
	facts[2] = s->size;
	facts[3] = (int64_t)st.st_dev;
	facts[4] = (int64_t)st.st_ino;
	facts[5] = st.st_mtim.tv_sec;
	facts[6] = st.st_mtim.tv_nsec;
	k_sha256_add(h, facts, (here ? 7 : 3) * sizeof(*facts));
	return 0;
}

int k_source_slurp(struct k_source *s, struct k_buf *b, size_t max, struct k_err *err)
{
	size_t total = 0, got, room;
	int64_t size = k_source_size(s);
	char *p;
	int rc;

	if (size >= 0 && (uint64_t)size - s->pos > max)
		return k_err_set(err, K_EFORMAT, "'%s' is larger than %zu bytes", s->name, max);
	for (;;) {
		/* A known size is read at once, with one byte more to see the end. */
		room = size >= 0 && !s->grows ? (size_t)((uint64_t)size - s->pos) + 1 : PEEK;
		p = k_buf_room(b, room);
		if (!p)
			return k_buf_ok(b, s->name, err);
		rc = k_source_some(s, p, room, &got, err);
		if (rc)
			return rc;
		b->len += got;
		b->data[b->len] = 0;
		total += got;
		if (!got)
			return 0;
		if (total > max)
			return k_err_set(err, K_EFORMAT, "'%s' is larger than %zu bytes", s->name, max);
	}
}

/* --- maps ---------------------------------------------------------------------------------------- */

int k_source_map(struct k_source *s, const void **p, size_t *n, struct k_err *err)
{
	int64_t size = k_source_size(s);
	void *m;
	int rc;

	*p = "";
	*n = 0;
	if (!s->seekable || size < 0)
		return k_err_set(err, K_EUNSUP, "'%s' is a pipe: it cannot be mapped", s->name);
	if (s->mem)
		*p = s->mem;
	if (s->of) {
		rc = k_source_map(s->of, p, n, err);
		if (rc)
			return rc;
		*p = (const char *)*p + s->base;
	}
	if (s->fd >= 0 && size > 0) {
		if (!s->map) {
			if ((uint64_t)size > SIZE_MAX - s->base)
				return k_err_nomem(err, SIZE_MAX, s->name);
			m = mmap(NULL, (size_t)(s->base + (uint64_t)size), PROT_READ, MAP_SHARED, s->fd, 0);
			if (m == MAP_FAILED)
				return k_err_io(err, "cannot map '%s'", s->name);
			s->map = m;
			s->map_len = (size_t)(s->base + (uint64_t)size);
			s->map_slot = k_io_map_begin(m, s->map_len, s->name);
		}
		*p = s->map + s->base;
		size = (int64_t)(s->map_len - s->base);
	}
	*n = (size_t)size;
	return 0;
}

void k_source_drop(struct k_source *s, uint64_t off, uint64_t n)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from, to;

	if (s->of) {
		k_source_drop(s->of, s->base + off, n);
		return;
	}
	if (s->fd < 0 || !s->seekable)
		return;
	from = k_align_up(s->base + off, page);
	to = (s->base + off + n) & ~(page - 1);
	if (from >= to)
		return;
	if (s->map && to <= s->map_len)
		madvise(s->map + from, (size_t)(to - from), MADV_DONTNEED);
	posix_fadvise(s->fd, (off_t)from, (off_t)(to - from), POSIX_FADV_DONTNEED);
}
