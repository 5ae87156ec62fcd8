/* io_temp.c: names of what is written, until it is complete.
 *
 *     link -> x       what is written: x, through  x.tmp.PID
 *
 * A number tells processes of one system apart; of containers, or machines, that share a folder two may have the same. So whoever writes holds a lock:
 * what nobody holds was left by a process that was killed. */
#include "libcore/base.h"
#include "libcore/io_place.h"
#include "libcore/io_table.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum { LONGEST_NAME = 230, MOST_LINKS = 40 };

static size_t folder_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash + 1 - path) : 0;
}

/* What a link at `at` says; relative, it is meant from the link's own folder. */
static char *follow(const char *at, const char *to)
{
	size_t folder = *to == '/' ? 0 : folder_len(at), n = folder + strlen(to) + 1;
	char *s = k_alloc(n);

	if (s)
		snprintf(s, n, "%.*s%s", (int)folder, at, to);
	return s;
}

int k_path_target(char **out, const char *path, struct k_err *err)
{
	char to[PATH_MAX], *at = k_strdup(path), *next;

	*out = NULL;
	for (int links = 0; at; links++) {
		ssize_t n = readlink(at, to, sizeof(to) - 1);

		if (n < 0) {
			*out = at;
			return 0;
		}
		to[n] = 0;
		next = links < MOST_LINKS ? follow(at, to) : NULL;
		k_free(at);
		at = next;
		if (links == MOST_LINKS) {
			errno = ELOOP;
			return k_err_io(err, "cannot write '%s'", path);
		}
	}
	return k_err_nomem(err, strlen(path), "a file name");
}

/* A name that is as long as names may be leaves no room behind it. */
char *k_path_temp(const char *path)
{
	size_t n = strlen(path) + 32, folder = folder_len(path);
	char *s = k_alloc(n);

	if (s)
		snprintf(s, n, "%.*s.tmp.%ld", (int)(folder + K_MIN(strlen(path + folder), (size_t)LONGEST_NAME)), path, (long)getpid());
	return s;
}

static bool lock(int fd) { return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

bool k_path_is_held(const char *temp)
{
	int fd = open(temp, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool held = fd >= 0 && !lock(fd);

	if (fd >= 0)
		close(fd);
	return held;
}

static int held_by_another(const char *temp, const char *show, struct k_err *err)
{
	return k_err_set(err, K_EIO, "cannot write '%s': another process writes it, as '%s'", show, temp);
}

int k_path_hold(int *fd, const char *temp, bool folder, const char *show, struct k_err *err)
{
	int how = folder ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT;

	*fd = open(temp, how | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (*fd < 0)
		return folder && errno == ENOENT ? 0 : k_err_io(err, "cannot write '%s'", show);
	if (lock(*fd))
		return 0;
	close(*fd);
	*fd = -1;
	return held_by_another(temp, show, err);
}

static int make(const char *temp, const char *show, struct k_err *err)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
	bool held = false;
	int fd = open(temp, flags, 0666);

	if (fd < 0 && errno == EEXIST && !(held = k_path_is_held(temp))) {
		unlink(temp);
		fd = open(temp, flags, 0666);
	}
	if (held || (fd >= 0 && !lock(fd))) {
		if (fd >= 0)
			close(fd);
		return held_by_another(temp, show, err);
	}
	return fd >= 0 ? fd : k_err_io(err, "cannot write '%s'", show);
}

int k_io_temp_open(const char *temp, const char *show, int *slot, struct k_err *err)
{
	int fd;

	*slot = -1;
	if (k_io_temp_is_ours(temp))
		return k_err_set(err, K_EUSAGE, "'%s' is written twice by the same command", show);
	fd = make(temp, show, err);
	if (fd < 0)
		return fd;
	*slot = k_io_temp_begin(temp);
	if (*slot >= 0)
		return fd;
	unlink(temp);
	close(fd);
	return k_err_set(err, K_EIO, "cannot write '%s': too many files are being written", show);
}
