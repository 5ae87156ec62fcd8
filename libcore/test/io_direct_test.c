/* io_direct_test.c: what is written directly is in the file, in whatever pieces and places it came; what cannot be written is said. */
#include "libcore/base.h"
#include "libcore/io_direct.h"
#include "libcore/test.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { N = 19 * 1000 * 1000 + 123 };

static uint64_t next_random(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return *x >> 33;
}

static int new_file(void)
{
	char path[600];
	int fd;

	sprintf(path, "%s/x", k_test_dir());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
	K_CHECK(fd >= 0);
	return fd;
}

/* Random bytes in random pieces; several places are continued by turns, most of them at no whole block. */
static void write_by_turns(struct k_direct *d, uint8_t *want, int places)
{
	uint64_t x = 5, at[8], end[8];
	int open = places;

	for (int i = 0; i < places; i++) {
		at[i] = (uint64_t)N / (uint64_t)places * (uint64_t)i;
		end[i] = i + 1 == places ? (uint64_t)N : (uint64_t)N / (uint64_t)places * (uint64_t)(i + 1);
	}
	for (size_t i = 0; i < N; i++)
		want[i] = (uint8_t)next_random(&x);
	for (int i = 0; open > 0; i = (i + 1) % places) {
		uint64_t n = next_random(&x) % 800000 + 1;

		n = K_MIN(n, end[i] - at[i]);
		if (n == 0)
			continue;
		K_CHECK(k_direct_write(d, want + at[i], (size_t)n, at[i]) == 0);
		at[i] += n;
		open -= at[i] == end[i];
	}
}

static void compare(int fd, const uint8_t *want)
{
	uint8_t *got = malloc(N + 1);
	size_t n = 0;

	for (ssize_t did; (did = pread(fd, got + n, N + 1 - n, (off_t)n)) > 0; )
		n += (size_t)did;
	K_CHECK(n == N && memcmp(got, want, N) == 0);
	free(got);
}

K_TEST(direct_writes_what_it_was_given)
{
	static const int places[] = { 1, 2, 5, 8 };
	uint8_t *want = malloc(N);

	for (size_t i = 0; i < K_LEN(places); i++) {
		int fd = new_file();
		struct k_direct *d = k_direct_open(fd);

		if (!d)
			k_test_skip("no direct writes here");
		write_by_turns(d, want, places[i]);
		K_CHECK(k_direct_flush(d) == 0);
		compare(fd, want);
		/* Once more over what was written, twice before it is done. */
		for (int k = 0; k < 2; k++) {
			memset(want + 4000, k, 9000000);
			K_CHECK(k_direct_write(d, want + 4000, 9000000, 4000) == 0);
		}
		K_CHECK(k_direct_flush(d) == 0);
		compare(fd, want);
		k_direct_close(d);
		close(fd);
	}
	free(want);
}

K_TEST(direct_says_why_it_cannot_write)
{
	struct rlimit limit = { 5000000, 5000000 };
	uint8_t *p = calloc(1, N);
	int fd = new_file(), rc = 0;
	struct k_direct *d = k_direct_open(fd);

	if (!d)
		k_test_skip("no direct writes here");
	signal(SIGXFSZ, SIG_IGN);
	K_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	for (uint64_t at = 0; at < N && rc == 0; at += 1000)
		rc = k_direct_write(d, p, K_MIN((size_t)1000, (size_t)(N - at)), at);
	if (rc == 0)
		rc = k_direct_flush(d);
	K_CHECK_MSG(rc == EFBIG, "errno %d", rc);
	K_CHECK(k_direct_write(d, p, 1, 0) == EFBIG && k_direct_flush(d) == EFBIG);
	k_direct_close(d);
	free(p);
}

K_TEST(direct_leaves_what_was_not_flushed)
{
	int fd = new_file();
	struct k_direct *d = k_direct_open(fd);

	if (!d)
		k_test_skip("no direct writes here");
	K_CHECK(k_direct_write(d, "abc", 3, 10) == 0);
	k_direct_close(d);
	K_CHECK(lseek(fd, 0, SEEK_END) == 0);
	k_direct_close(NULL);
}
