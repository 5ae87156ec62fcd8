/* io_place.c: see io_place.h. Large files are written past the page cache (io_direct.h). */
#include "libcore/base.h"
#include "libcore/fault.h"
#include "libcore/io_direct.h"
#include "libcore/io_place.h"
#include "libcore/io_table.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIRECT_FROM = 16 << 20 };        /* smaller files are written plainly */

struct k_place {
	char *path, *show;
	int fd, temp_slot;
	uint64_t bytes;
	bool written;
	struct k_direct *direct;        /* from the first write on, where it is large and can be */
};

static int open_fd(struct k_place *p, enum k_place_how how, struct k_err *err)
{
	struct stat st;

	if (how == K_PLACE_TEMP) {
		int fd = k_io_temp_open(p->path, p->show, &p->temp_slot, err);

		if (fd < 0)
			return fd;
		p->fd = fd;
	} else {
		p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | (how == K_PLACE_FRESH ? O_TRUNC : 0), 0666);
	}
	if (p->fd < 0 || fstat(p->fd, &st) < 0)
		return k_err_io(err, "cannot write '%s'", p->show);
	if (!S_ISREG(st.st_mode))
		return k_err_set(err, K_EIO, "cannot write '%s': '%s' is there and is no file", p->show, p->path);
	p->bytes = (uint64_t)st.st_size;
	return 0;
}

int k_place_open(struct k_place **out, const char *path, const char *show, enum k_place_how how, struct k_err *err)
{
	struct k_place *p = k_calloc(1, sizeof(*p));
	int r;

	*out = NULL;
	if (!p)
		return k_err_nomem(err, sizeof(*p), "an output");
	p->fd = p->temp_slot = -1;
	p->path = k_strdup(path);
	p->show = k_strdup(show);
	r = p->path && p->show ? open_fd(p, how, err) : k_err_nomem(err, strlen(path), "a file name");
	if (r < 0) {
		k_place_close(p);
		return r;
	}
	*out = p;
	return 0;
}

static int write_failed(const struct k_place *p, int why, struct k_err *err)
{
	errno = why;
	return why == EINTR ? k_err_set(err, K_ECANCEL, "stopped by a signal while writing '%s'", p->show) : k_err_io(err, "cannot write '%s'", p->show);
}

/* What was written is seen by everybody. */
static int flush(struct k_place *p, struct k_err *err)
{
	int why = p->direct ? k_direct_flush(p->direct) : 0;

	return why ? write_failed(p, why, err) : 0;
}

int k_place_size(struct k_place *p, uint64_t n, struct k_err *err)
{
	if (flush(p, err) < 0)
		return err->code;
	if (n > INT64_MAX || ftruncate(p->fd, (off_t)n) < 0)
		return k_err_io(err, "cannot make '%s' %llu bytes long", p->show, (unsigned long long)n);
	p->bytes = n;
	if (n > 0 && fallocate(p->fd, 0, 0, (off_t)n) < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
		return k_err_io(err, "cannot reserve %llu bytes for '%s'", (unsigned long long)n, p->show);
	return 0;
}

uint64_t k_place_bytes(const struct k_place *p) { return p->bytes; }

static int write_plainly(struct k_place *p, const char *at, size_t n, uint64_t off)
{
	while (n > 0) {
		ssize_t did = -1;

		errno = EIO;
		if (!k_fault_io())
			did = pwrite(p->fd, at, K_MIN(n, (size_t)1 << 30), (off_t)off);
		if (did < 0 && (errno != EINTR || k_io_stopped()))
			return errno;
		did = K_MAX(did, 0);
		at += did;
		off += (uint64_t)did;
		n -= (size_t)did;
	}
	return 0;
}

int k_place_write(struct k_place *p, const void *data, size_t n, uint64_t off, struct k_err *err)
{
	int why;

	if (!p->written && p->bytes >= DIRECT_FROM)
		p->direct = k_direct_open(p->fd);
	p->written = true;
	why = p->direct ? k_direct_write(p->direct, data, n, off) : write_plainly(p, data, n, off);
	if (why)
		return write_failed(p, why, err);
	p->bytes = K_MAX(p->bytes, off + n);
	return 0;
}

int k_place_read(struct k_place *p, void *data, size_t n, uint64_t off, struct k_err *err)
{
	char *at = data;

	if (flush(p, err) < 0)
		return err->code;
	while (n > 0) {
		ssize_t did = -1;

		errno = EIO;
		if (!k_fault_io())
			did = pread(p->fd, at, K_MIN(n, (size_t)1 << 30), (off_t)off);
		if (did < 0 && errno == EINTR && !k_io_stopped())
			continue;
		if (did < 0)
			return k_err_io(err, "cannot read '%s'", p->path);
		if (did == 0)
			return k_err_set(err, K_ETRUNC, "'%s' ends at byte %llu", p->path, (unsigned long long)off);
		at += did;
		off += (uint64_t)did;
		n -= (size_t)did;
	}
	return 0;
}

int k_place_sync(struct k_place *p, struct k_err *err)
{
	if (flush(p, err) < 0)
		return err->code;
	if (k_fault_io()) {
		errno = EIO;
		return k_err_io(err, "cannot write '%s'", p->show);
	}
	return fsync(p->fd) < 0 && errno != EINVAL && errno != ENOTSUP ? k_err_io(err, "cannot write '%s'", p->show) : 0;
}

int k_place_lock(struct k_place *p, struct k_err *err)
{
	if (flock(p->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return k_err_set(err, K_EIO, "'%s' is being written by another process", p->show);
	return 0;
}

int k_place_rename(struct k_place *p, const char *to, struct k_err *err)
{
	int r = k_place_sync(p, err), fd = p->fd;

	k_direct_close(p->direct);
	p->direct = NULL;
	p->fd = -1;
	/* Network file systems report at close. */
	if (close(fd) < 0 && errno != EINTR && r == 0)
		r = k_err_io(err, "cannot write '%s'", p->show);
	if (r == 0)
		r = k_path_rename(p->path, to, err);
	if (r == 0) {
		k_io_temp_end(p->temp_slot);
		p->temp_slot = -1;
	}
	k_place_close(p);
	return r;
}

void k_place_close(struct k_place *p)
{
	if (!p)
		return;
	if (p->temp_slot >= 0) {
		unlink(p->path);
		k_io_temp_end(p->temp_slot);
	}
	k_direct_close(p->direct);
	if (p->fd >= 0)
		close(p->fd);
	k_free(p->path);
	k_free(p->show);
	k_free(p);
}

/* --- names ---------------------------------------------------------------------------------------- */

/* The folder that path is in; *fd -1: one that may be written but not read. */
static int open_folder_of(const char *path, int *fd, struct k_err *err)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? k_strndup(path, (size_t)(slash - path) + 1) : k_strdup(".");

	if (!folder)
		return k_err_nomem(err, strlen(path), "a file name");
	*fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	k_free(folder);
	return 0;
}

/* The folder's entry is data too. Closes fd. */
static int sync_folder(int fd, const char *path, struct k_err *err)
{
	int r = 0;

	if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP)
		r = k_err_io(err, "cannot write the folder of '%s'", path);
	if (fd >= 0)
		close(fd);
	return r;
}

int k_path_sync(const char *path, struct k_err *err)
{
	int fd;

	return open_folder_of(path, &fd, err) < 0 ? err->code : sync_folder(fd, path, err);
}

/* Once the file has its name nothing may fail for want of memory. */
int k_path_rename(const char *from, const char *to, struct k_err *err)
{
	int fd, r = open_folder_of(to, &fd, err);

	if (r < 0)
		return r;
	if (rename(from, to) == 0)
		return sync_folder(fd, to, err);
	r = k_err_io(err, "cannot write '%s'", to);
	if (fd >= 0)
		close(fd);
	return r;
}

int k_path_remove(const char *path, struct k_err *err)
{
	return unlink(path) < 0 && errno != ENOENT ? k_err_io(err, "cannot remove '%s'", path) : 0;
}

int k_path_remove_dir(const char *path, struct k_err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (!d) {
		r = k_err_io(err, "cannot remove '%s'", path);
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(dirfd(d), e->d_name, 0) < 0)
			r = k_err_io(err, "cannot remove '%s/%.200s'", path, e->d_name);
	closedir(d);
	if (r == 0 && rmdir(path) < 0)
		r = k_err_io(err, "cannot remove '%s'", path);
	return r;
}
