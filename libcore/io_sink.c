/* io_sink.c: sinks: buffered sequential writes; a file appears under its name only when it is complete and on
 * the disk.
 *
 *     -o x  ->  x.tmp.PID  --commit: flush, fsync, rename, fsync of the folder-->  x
 *
 * A final name that is a device or a pipe (/dev/null) is written in place. After a failed write everything that
 * follows fails too, so a caller that checks only the last call sees it. */
#include "libcore/base.h"
#include "libcore/io.h"
#include "libcore/io_direct.h"
#include "libcore/io_place.h"
#include "libcore/io_table.h"
#include "libcore/fault.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, POLL_MS = 200 };

struct k_sink {
	char *name;                     /* as the user said it */
	char *path, *temp;              /* NULL: no rename */
	int temp_slot, fd;              /* fd -1: memory */
	bool own, spool, reserved, committed;
	int failed;                     /* errno of the first failure */
	uint64_t pos;
	char *buf;
	size_t fill;
	struct k_direct *direct;        /* a spool's, NULL where it is written like any other file */
	uint64_t flushed;               /* of a spool: what left buf */
	struct k_buf *mem;
};

static const struct k_sink *output;     /* what standard output was redirected to: errors name it */

static int sink_new(struct k_sink **out, const char *name, bool buffer, struct k_err *err)
{
	struct k_sink *s = k_calloc(1, sizeof *s);

	*out = NULL;
	if (!s)
		return k_err_nomem(err, sizeof *s, "an output");
	s->fd = -1;
	s->temp_slot = -1;
	s->name = k_strdup(name);
	s->buf = buffer ? k_alloc(BUFFER) : NULL;
	if (!s->name || (buffer && !s->buf)) {
		k_sink_close(s);
		return k_err_nomem(err, BUFFER, "an output");
	}
	*out = s;
	return 0;
}

static int open_temp(struct k_sink *s, const char *path, struct k_err *err)
{
	int fd;

	if (k_path_target(&s->path, path, err) < 0)
		return err->code;
	s->temp = k_path_temp(s->path);
	if (!s->temp)
		return k_err_nomem(err, strlen(s->path), "a file name");
	fd = k_io_temp_open(s->temp, path, &s->temp_slot, err);
	if (fd < 0)
		return fd;
	s->fd = fd;
	s->own = true;
	return 0;
}

int k_sink_open(struct k_sink **out, const char *path, struct k_err *err)
{
	bool stream = !path || !strcmp(path, "-");
	struct k_sink *s;
	struct stat st;
	int rc = sink_new(out, !stream ? path : output ? output->name : "standard output", true, err);

	if (rc)
		return rc;
	s = *out;
	if (stream) {
		s->fd = 1;
		if (fcntl(1, F_GETFL) < 0)
			rc = k_err_io(err, "cannot write to standard output");
	} else if (stat(path, &st) || S_ISREG(st.st_mode)) {
		rc = open_temp(s, path, err);
	} else if (S_ISDIR(st.st_mode)) {
		rc = k_err_set(err, K_EUSAGE, "'%s' is a folder, wanted the name of a file to write", path);
	} else {
		s->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		s->own = true;
		if (s->fd < 0)
			rc = k_err_io(err, "cannot write '%s'", path);
	}
	if (rc) {
		k_sink_close(s);
		*out = NULL;
	}
	return rc;
}

int k_sink_mem(struct k_sink **out, struct k_buf *b, struct k_err *err)
{
	int rc = sink_new(out, "memory", false, err);

	if (!rc)
		(*out)->mem = b;
	return rc;
}

int k_spool_open(struct k_sink **w, struct k_source **r, const char *dir, struct k_err *err)
{
	char *path = NULL;
	int fd, fd2, rc;
	size_t n = strlen(dir) + 32;

	*w = NULL;
	*r = NULL;
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && errno != ENOENT && errno != EACCES) {
		/* The file system has no unnamed files: name it and take the name away. */
		path = k_alloc(n);
		if (!path)
			return k_err_nomem(err, n, "a file name");
		snprintf(path, n, "%s/ktools.XXXXXX", dir);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
		k_free(path);
	}
	if (fd < 0)
		return k_err_io(err, "cannot make a temporary file in '%s'", dir);
	fd2 = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd2 < 0) {
		rc = k_err_io(err, "cannot make a temporary file in '%s'", dir);
		close(fd);
		return rc;
	}
	rc = sink_new(w, "temporary file", true, err);
	if (rc) {
		close(fd);
		close(fd2);
		return rc;
	}
	(*w)->fd = fd;
	(*w)->own = (*w)->spool = true;
	(*w)->direct = k_direct_open(fd);
	rc = k_source_spool(r, fd2, "temporary file", err);
	if (rc) {
		k_sink_close(*w);
		*w = NULL;
	}
	return rc;
}

uint64_t k_sink_pos(const struct k_sink *s) { return s->pos; }
const char *k_sink_name(const struct k_sink *s) { return s->name; }
bool k_sink_is_terminal(const struct k_sink *s) { return s->fd >= 0 && isatty(s->fd); }

int k_sink_redirect(struct k_sink *s, int fd, struct k_err *err)
{
	K_ASSERT(s->fd >= 0 && s->pos == 0);
	if (dup2(s->fd, fd) < 0)
		return k_err_io(err, "cannot write '%s'", s->name);
	if (fd == 1)
		output = s;
	return 0;
}

static int write_failed(struct k_sink *s, struct k_err *err)
{
	if (s->failed == EINTR)
		return k_err_set(err, K_ECANCEL, "stopped by a signal while writing '%s'", s->name);
	errno = s->failed;
	return k_err_io(err, "cannot write '%s'", s->name);
}

static int write_all(struct k_sink *s, const char *p, size_t n, struct k_err *err)
{
	struct pollfd ready = { .fd = s->fd, .events = POLLOUT };       /* whoever gave us the descriptor may want nobody to wait on it */
	ssize_t did;

	if (s->direct && !s->failed) {
		s->failed = k_direct_write(s->direct, p, n, s->flushed);
		s->flushed += n;
		n = 0;
	}
	while (n > 0 && !s->failed) {
		if (k_fault_io()) {
			s->failed = EIO;
			break;
		}
		did = write(s->fd, p, K_MIN(n, (size_t)1 << 30));
		if (did < 0) {
			if ((errno != EINTR && errno != EAGAIN) || k_io_stopped())
				s->failed = errno == EAGAIN ? EINTR : errno;
			else if (errno == EAGAIN)
				poll(&ready, 1, POLL_MS);
			continue;
		}
		p += did;
		n -= (size_t)did;
	}
	return s->failed ? write_failed(s, err) : 0;
}

static int flush(struct k_sink *s, struct k_err *err)
{
	size_t n = s->fill;

	s->fill = 0;
	return write_all(s, s->buf, n, err);
}

int k_sink_write(struct k_sink *s, const void *p, size_t n, struct k_err *err)
{
	int rc;

	if (s->mem) {
		k_buf_put(s->mem, p, n);
		rc = k_buf_ok(s->mem, s->name, err);
	} else if (n <= BUFFER - s->fill && !s->failed) {
		if (n)
			memcpy(s->buf + s->fill, p, n);
		s->fill += n;
		rc = 0;
	} else {
		rc = flush(s, err);
		if (!rc && n < BUFFER) {
			memcpy(s->buf, p, n);
			s->fill = n;
		} else if (!rc) {
			rc = write_all(s, p, n, err);
		}
	}
	if (!rc)
		s->pos += n;
	return rc;
}

bool k_sink_positioned(const struct k_sink *s) { return s->temp != NULL; }

int k_sink_pwrite(struct k_sink *s, const void *p, size_t n, uint64_t off, struct k_err *err)
{
	const char *from = p;
	int rc = flush(s, err);

	K_ASSERT(s->temp);
	for (ssize_t did; !rc && n > 0; from += did, off += (uint64_t)did, n -= (size_t)did) {
		did = k_fault_io() ? -1 : pwrite(s->fd, from, K_MIN(n, (size_t)1 << 30), (off_t)off);
		if (did < 0 && errno != EINTR) {
			s->failed = errno ? errno : EIO;
			rc = write_failed(s, err);
		}
		did = K_MAX(did, 0);
	}
	s->pos = K_MAX(s->pos, off);
	return rc;
}

int k_sink_reserve(struct k_sink *s, uint64_t n, struct k_err *err)
{
	if (!s->temp && !s->spool)
		return 0;
	if (n == 0 || n > INT64_MAX - s->pos)
		return 0;
	if (!fallocate(s->fd, FALLOC_FL_KEEP_SIZE, (off_t)s->pos, (off_t)n)) {
		s->reserved = true;
		return 0;
	}
	if (errno != ENOSPC && errno != EDQUOT && errno != EFBIG)
		return 0;
	return k_err_io(err, "cannot reserve %llu bytes for '%s'", (unsigned long long)n, s->name);
}

static int commit_temp(struct k_sink *s, struct k_err *err)
{
	int fd = s->fd, bad;

	if (s->reserved && ftruncate(fd, (off_t)s->pos))
		return k_err_io(err, "cannot write '%s'", s->name);
	if (k_fault_io()) {
		errno = EIO;
		return k_err_io(err, "cannot write '%s'", s->name);
	}
	if (fsync(fd) && errno != EINVAL && errno != ENOTSUP)
		return k_err_io(err, "cannot write '%s'", s->name);
	s->fd = -1;
	s->own = false;
	bad = close(fd);
	if (bad && errno != EINTR)
		return k_err_io(err, "cannot write '%s'", s->name);
	if (k_path_rename(s->temp, s->path, err) < 0)
		return err->code;
	s->committed = true;
	k_io_temp_end(s->temp_slot);
	s->temp_slot = -1;
	return 0;
}

/* Network file systems report at close: a copy of the descriptor is closed to hear it. */
static int commit_in_place(struct k_sink *s, struct k_err *err)
{
	int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);

	if (fd < 0 || (close(fd) && errno != EINTR))
		return k_err_io(err, "cannot write '%s'", s->name);
	s->committed = true;
	return 0;
}

int k_sink_commit(struct k_sink *s, struct k_err *err)
{
	int rc;

	K_ASSERT(!s->committed);
	if (s->mem) {
		s->committed = true;
		return k_buf_ok(s->mem, s->name, err);
	}
	rc = flush(s, err);
	if (rc == 0 && s->direct) {
		s->failed = k_direct_flush(s->direct);
		rc = s->failed ? write_failed(s, err) : 0;
	}
	if (rc)
		return rc;
	return s->temp ? commit_temp(s, err) : commit_in_place(s, err);
}

void k_sink_close(struct k_sink *s)
{
	if (!s)
		return;
	if (output == s)
		output = NULL;
	if (s->temp_slot >= 0) {
		unlink(s->temp);
		k_io_temp_end(s->temp_slot);
	}
	k_direct_close(s->direct);
	if (s->own && s->fd >= 0)
		close(s->fd);
	k_free(s->buf);
	k_free(s->temp);
	k_free(s->path);
	k_free(s->name);
	k_free(s);
}

/* --- files --------------------------------------------------------------------------------------- */

bool k_path_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool k_path_is_other(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

bool k_path_exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

int k_read_file(const char *path, struct k_buf *b, size_t max, struct k_err *err)
{
	struct k_source *s;
	int rc = k_source_open(&s, path, err);

	if (rc)
		return rc;
	rc = k_source_slurp(s, b, max, err);
	k_source_close(s);
	return rc;
}
