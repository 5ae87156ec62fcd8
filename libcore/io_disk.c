/* io_disk.c: what is known of a disk before it is used: room, and how fast it reads. */
#include "libcore/base.h"
#include "libcore/io.h"
#include "libcore/io_place.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 4 << 20, BLOCK = 4096 };

uint64_t k_disk_free(const char *path)
{
	char *at, *slash;
	uint64_t n = UINT64_MAX;
	struct k_err nobody_knows;
	struct statvfs fs;
	struct stat st;
	bool there = k_path_target(&at, path, &nobody_knows) == 0 && stat(at, &st) == 0;

	/* The nearest folder that is there already. */
	while (at && stat(at, &st) < 0 && strcmp(at, ".") != 0 && strcmp(at, "/") != 0) {
		slash = strrchr(at, '/');
		if (slash == at)
			slash++;
		if (slash)
			*slash = 0;
		else
			strcpy(at, ".");
	}
	if (at && !(there && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) && statvfs(at, &fs) == 0)
		n = (uint64_t)fs.f_bavail * fs.f_frsize;
	k_free(at);
	return n;
}

uint64_t k_disk_taken(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
}

/* The largest file of a folder, or the file itself; -1: none. */
static int open_largest(const char *path)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1, next;
	off_t most = -1;
	struct dirent *e;
	struct stat st;
	DIR *d;

	if (dir < 0)
		return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	d = fdopendir(dir);
	while (d && (e = readdir(d)))
		if (fstatat(dir, e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) && st.st_size > most &&
		    (next = openat(dir, e->d_name, O_RDONLY | O_CLOEXEC)) >= 0) {
			if (fd >= 0)
				close(fd);
			fd = next;
			most = st.st_size;
		}
	if (d)
		closedir(d);
	else
		close(dir);
	return fd;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double k_disk_rate(const char *path)
{
	int fd = open_largest(path), direct = -1;
	char *mem = fd >= 0 ? k_alloc(PIECE + BLOCK) : NULL, *p = (char *)(uintptr_t)k_align_up((uintptr_t)mem, BLOCK), name[40];
	double start = seconds(), now = start;
	uint64_t sum = 0;
	struct stat st;

	if (mem && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		direct = open(name, O_RDONLY | O_DIRECT | O_CLOEXEC);
		for (ssize_t got = 1; got > 0 && now - start < 0.2; now = seconds()) {
			got = pread(direct >= 0 ? direct : fd, p, PIECE, (off_t)sum);
			sum += got > 0 ? (uint64_t)got : 0;
		}
	}
	if (direct >= 0)
		close(direct);
	if (fd >= 0)
		close(fd);
	k_free(mem);
	return now > start ? (double)sum / (now - start) : 0;
}
