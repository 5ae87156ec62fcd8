/* io_ahead_test.c: what is read ahead is what is in the file, in whatever order and by whatever way it is read. */
#include "libcore/base.h"
#include "libcore/io.h"
#include "libcore/io_ahead.h"
#include "libcore/test.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { N = 23 * 1000 * 1000 + 77 };

static uint64_t next_random(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return *x >> 33;
}

static uint8_t *pattern(size_t n)
{
	uint8_t *p = malloc(n);
	uint64_t x = 1;

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)next_random(&x);
	return p;
}

/* On the disk and out of the page cache, so that there is something to read. */
static char *put_file(const char *name, const uint8_t *p, size_t n)
{
	char *path = malloc(600);
	int fd;

	sprintf(path, "%s/%s", k_test_dir(), name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
	for (size_t at = 0; at < n; ) {
		ssize_t did = write(fd, p + at, n - at);

		K_CHECK(did > 0);
		at += (size_t)did;
	}
	K_CHECK(fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
	close(fd);
	return path;
}

static size_t cached_pages(const char *path)
{
	static unsigned char in[N / 4096 + 1];
	int fd = open(path, O_RDONLY);
	void *p = mmap(NULL, N, PROT_READ, MAP_SHARED, fd, 0);
	size_t count = 0;

	K_CHECK(p != MAP_FAILED && mincore(p, N, in) == 0);
	for (size_t i = 0; i < sizeof(in); i++)
		count += in[i] & 1;
	munmap(p, N);
	close(fd);
	return count;
}

static bool can_read_directly(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECT);
	void *p = aligned_alloc(4096, 4096);
	bool can = fd >= 0 && pread(fd, p, 4096, 0) == 4096;

	free(p);
	if (fd >= 0)
		close(fd);
	return can;
}

/* Reads [from, end) in pieces of odd sizes, some left out. */
static void read_forward(struct k_source *s, const uint8_t *want, uint64_t from, uint64_t end, uint64_t *x)
{
	uint8_t *p = malloc(3000000);
	struct k_err err = { 0 };

	while (from < end) {
		uint64_t n = next_random(x) % 3000000 + 1;

		n = K_MIN(n, end - from);
		if (next_random(x) % 8) {
			K_CHECK_OK(k_source_pread(s, p, (size_t)n, from, &err));
			K_CHECK(memcmp(p, want + from, (size_t)n) == 0);
		}
		from += n;
	}
	free(p);
}

static void read_through(struct k_ahead *a, const char *path, const uint8_t *want)
{
	struct k_err err = { 0 };
	struct k_source *s, *part;
	uint64_t x = 7;
	uint8_t some[16];

	K_CHECK_OK(k_source_open(&s, path, &err));
	K_CHECK_OK(k_source_range(&part, s, 12345, N - 12345, "part", &err));
	k_ahead_step(a);
	k_ahead_want(a, s, 3, N - 3);
	read_forward(s, want, 3, N, &x);
	/* Through a window, and asked for twice. */
	for (int i = 0; i < 2; i++) {
		k_ahead_step(a);
		k_ahead_want(a, part, 0, N - 12345);
	}
	read_forward(part, want + 12345, 0, N - 12345, &x);
	/* What nobody asked for, what was read already, and what is not there. */
	K_CHECK_OK(k_source_pread(s, some, 16, 1, &err));
	K_CHECK(memcmp(some, want + 1, 16) == 0);
	K_CHECK(k_source_pread(s, some, 16, N - 15, &err) == K_ETRUNC);
	/* Two planes by turns, the second step before the first one was read to its end. */
	for (int i = 0; i < 2; i++) {
		uint64_t at = (uint64_t)i * 11000001;

		k_ahead_step(a);
		k_ahead_want(a, s, at, 8000000);
		k_ahead_want(a, s, at + 8000000, 3000000);
	}
	for (int i = 0; i < 2; i++)
		for (uint64_t k = 0; k < 7; k++) {
			read_forward(s, want, (uint64_t)i * 11000001 + k * 1000000, (uint64_t)i * 11000001 + (k + 1) * 1000000, &x);
			read_forward(s, want, (uint64_t)i * 11000001 + 8000000 + k * 400000, (uint64_t)i * 11000001 + 8000000 + (k + 1) * 400000, &x);
		}
	k_source_close(part);
	k_source_close(s);
}

K_TEST(ahead_gives_the_bytes_of_the_file)
{
	uint8_t *want = pattern(N);
	char *path = put_file("x", want, N);
	struct k_ahead *a = k_ahead_new();

	K_CHECK(a);
	read_through(a, path, want);
	k_ahead_free(a);
	/* Where direct reads work, the page cache was left alone but for what nobody had asked for in time. */
	if (can_read_directly(path))
		K_CHECK_MSG(cached_pages(path) < N / 4096 / 2, "%zu pages of %d are in the page cache", cached_pages(path), N / 4096);
	free(path);
	free(want);
}

K_TEST(ahead_reads_what_is_cached_from_the_cache)
{
	uint8_t *want = pattern(N), *p = malloc(N);
	char *path = put_file("x", want, N);
	struct k_err err = { 0 };
	struct k_source *s;
	struct k_ahead *a = k_ahead_new();

	K_CHECK_OK(k_source_open(&s, path, &err));
	K_CHECK_OK(k_source_pread(s, p, N, 0, &err));
	k_source_close(s);
	read_through(a, path, want);
	k_ahead_free(a);
	free(path);
	free(want);
	free(p);
}

static void refuse_io_uring(void)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = K_LEN(rules), .filter = rules };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		k_test_skip("no seccomp filters here");
}

K_TEST(ahead_works_where_io_uring_is_refused)
{
	uint8_t *want = pattern(N);
	char *path = put_file("x", want, N);
	struct k_ahead *a;

	refuse_io_uring();
	a = k_ahead_new();
	K_CHECK(a);
	read_through(a, path, want);
	k_ahead_free(a);
	if (can_read_directly(path))
		K_CHECK(cached_pages(path) < N / 4096 / 2);
	free(path);
	free(want);
}

K_TEST(ahead_works_without_direct_reads)
{
	uint8_t *want = pattern(N);
	struct k_ahead *a = k_ahead_new();
	char path[60];
	int fd = memfd_create("x", 0);

	K_CHECK(a && fd >= 0);
	for (size_t at = 0; at < N; at += 1000)
		K_CHECK(pwrite(fd, want + at, K_MIN((size_t)1000, N - at), (off_t)at) > 0);
	sprintf(path, "/proc/self/fd/%d", fd);
	read_through(a, path, want);
	k_ahead_free(a);
	close(fd);
	free(want);
}

K_TEST(ahead_says_where_a_shrinking_file_ends)
{
	uint8_t *want = pattern(N), *p = malloc(N);
	char *path = put_file("x", want, N);
	struct k_err err = { 0 };
	struct k_ahead *a = k_ahead_new();
	struct k_source *s;

	K_CHECK_OK(k_source_open(&s, path, &err));
	K_CHECK(truncate(path, 5000001) == 0);
	k_ahead_step(a);
	k_ahead_want(a, s, 0, N);
	K_CHECK_OK(k_source_pread(s, p, 5000001, 0, &err));
	K_CHECK(memcmp(p, want, 5000001) == 0);
	K_CHECK(k_source_pread(s, p, 100, 5000000, &err) == K_ETRUNC);
	K_CHECK(strstr(err.msg, path) && strstr(err.msg, "5000001"));
	/* The source goes first, with reads on their way. */
	k_ahead_step(a);
	k_ahead_want(a, s, 0, 5000001);
	k_source_close(s);
	k_ahead_free(a);
	free(path);
	free(want);
	free(p);
}

K_TEST(ahead_of_nothing)
{
	struct k_err err = { 0 };
	struct k_ahead *a = k_ahead_new();
	struct k_source *s;
	char some[4];

	K_CHECK(!k_ahead_hungry(NULL));
	k_ahead_want(NULL, NULL, 0, 1);
	k_ahead_free(NULL);
	K_CHECK_OK(k_source_mem(&s, "abcd", 4, false, "memory", &err));
	k_ahead_step(a);
	k_ahead_want(a, s, 0, 4);
	K_CHECK(k_ahead_hungry(a));
	K_CHECK_OK(k_source_pread(s, some, 4, 0, &err));
	K_CHECK(memcmp(some, "abcd", 4) == 0);
	k_source_close(s);
	k_ahead_free(a);
}
