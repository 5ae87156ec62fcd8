/* inputs.c: see inputs.h. */
#include "libcore/base.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cmd/kbench/inputs.h"
#include "libcore/io.h"

enum { PIECE = 1 << 20 };

static int add(struct k_inputs *in, const char *folder, const char *name, struct k_err *err)
{
	struct stat st;
	struct k_buf b;
	k_buf_init(&b, 0);
	k_buf_printf(&b, "%s%s%s", folder ? folder : "", folder ? "/" : "", name);
	int r = k_buf_ok(&b, "a path", err);
	if (r == 0 && stat(b.data, &st) == 0 && S_ISREG(st.st_mode)) {
		char **path = k_realloc(in->path, (size_t)(in->n + 1) * sizeof(*path));
		char *copy = k_strdup(b.data);
		if (path)
			in->path = path;
		if (path && copy) {
			in->path[in->n++] = copy;
			in->bytes += (uint64_t)st.st_size;
		} else {
			k_free(copy);
			r = k_err_nomem(err, b.len, "a path");
		}
	}
	k_buf_fini(&b);
	return r;
}

int k_inputs_open(struct k_inputs *in, const char *path, struct k_err *err)
{
	DIR *d = k_path_is_dir(path) ? opendir(path) : NULL;
	int r = d ? 0 : add(in, NULL, path, err);
	for (struct dirent *e; d && r == 0 && (e = readdir(d)); )
		r = add(in, path, e->d_name, err);
	if (d)
		closedir(d);
	return r == 0 && !in->n ? k_err_set(err, K_EIO, "'%s' is no file, and no folder that has any", path) : r;
}

void k_inputs_close(struct k_inputs *in)
{
	for (int64_t i = 0; i < in->n; i++)
		k_free(in->path[i]);
	k_free(in->path);
}

/* Pages of the file that are in memory, and all; a file that cannot be looked at has all of them there. */
static void count_pages(int fd, uint64_t *there, uint64_t *all)
{
	struct stat st;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (fstat(fd, &st) < 0 || !st.st_size)
		return;
	size_t n = ((size_t)st.st_size + page - 1) / page, found = n;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	unsigned char *in = k_alloc(n);
	if (p != MAP_FAILED && in && mincore(p, (size_t)st.st_size, in) == 0) {
		found = 0;
		for (size_t i = 0; i < n; i++)
			found += in[i] & 1;
	}
	if (p != MAP_FAILED)
		munmap(p, (size_t)st.st_size);
	k_free(in);
	*there += found;
	*all += n;
}

bool k_inputs_chill(const struct k_inputs *in)
{
	uint64_t there = 0, all = 0;
	for (int64_t i = 0; i < in->n; i++) {
		int fd = open(in->path[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return false;
		/* Pages that are not on disk yet would stay. */
		fdatasync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		count_pages(fd, &there, &all);
		close(fd);
	}
	return there * 100 <= all;
}

static int read_one(const char *path, char *piece, const struct k_ctx *ctx, struct k_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	ssize_t n = 1;
	if (fd < 0)
		return k_err_set(err, K_EIO, "'%s': %s", path, strerror(errno));
	while (r == 0 && n > 0) {
		n = read(fd, piece, PIECE);
		if (n < 0 && errno == EINTR)
			n = 1;
		r = n < 0 ? k_err_set(err, K_EIO, "'%s': %s", path, strerror(errno)) : k_ctx_check(ctx, err);
	}
	close(fd);
	return r;
}

int k_inputs_read(const struct k_inputs *in, const struct k_ctx *ctx, struct k_err *err)
{
	char *piece = k_alloc(PIECE);
	int r = piece ? 0 : k_err_nomem(err, PIECE, "a plain read");
	for (int64_t i = 0; i < in->n && r == 0; i++)
		r = read_one(in->path[i], piece, ctx, err);
	k_free(piece);
	return r;
}
