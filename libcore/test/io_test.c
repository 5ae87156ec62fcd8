/* io_test.c: sources and sinks: what is read, what appears under a name and what does not. */
#include "libcore/base.h"
#include "libcore/io.h"
#include "libcore/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *path_in_dir(char *buf, const char *name)
{
	sprintf(buf, "%s/%s", k_test_dir(), name);
	return buf;
}

static void put_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	K_CHECK(f && fwrite(p, 1, n, f) == n && !fclose(f));
}

static int files_in_dir(void)
{
	DIR *d = opendir(k_test_dir());
	int n = 0;

	for (struct dirent *e; (e = readdir(d)); )
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static uint8_t *pattern(size_t n)
{
	uint8_t *p = malloc(n);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 2654435761u >> 13);
	return p;
}

/* Every way of reading sees the same bytes. */
static void read_all_ways(struct k_source *s, const uint8_t *want, size_t n)
{
	uint8_t *p = malloc(n + 1);
	struct k_err err = { 0 };
	const void *ahead;
	size_t have, got;

	K_CHECK_OK(k_source_peek(s, &ahead, 16, &have, &err));
	K_CHECK(have == 16 && !memcmp(ahead, want, 16) && k_source_pos(s) == 0);
	K_CHECK_OK(k_source_read(s, p, 10, &err));
	K_CHECK(!memcmp(p, want, 10) && k_source_pos(s) == 10);
	K_CHECK_OK(k_source_peek(s, &ahead, 65536, &have, &err));
	K_CHECK(have == 65536 && !memcmp(ahead, want + 10, have));
	K_CHECK_OK(k_source_read(s, p, 100000, &err));
	K_CHECK(!memcmp(p, want + 10, 100000) && k_source_pos(s) == 100010);
	K_CHECK_OK(k_source_some(s, p, 5, &got, &err));
	K_CHECK(got >= 1 && got <= 5 && !memcmp(p, want + 100010, got));
	K_CHECK_OK(k_source_read(s, p, n - 100010 - got, &err));
	K_CHECK(!memcmp(p, want + 100010 + got, n - 100010 - got));
	K_CHECK_OK(k_source_some(s, p, 5, &got, &err));
	K_CHECK(got == 0);
	K_CHECK_OK(k_source_peek(s, &ahead, 4, &have, &err));
	K_CHECK(have == 0);
	K_CHECK(k_source_read(s, p, 1, &err) == K_ETRUNC && strstr(err.msg, k_source_name(s)));
	free(p);
}

K_TEST(source_file_memory_and_range_read_alike)
{
	enum { N = 400000 };
	uint8_t *want = pattern(N), some[1000];
	struct k_source *f, *m, *r, *rr;
	struct k_err err = { 0 };
	char path[600];
	const void *p;
	size_t n;

	put_file(path_in_dir(path, "x"), want, N);
	K_CHECK_OK(k_source_open(&f, path, &err));
	K_CHECK(k_source_seekable(f) && k_source_size(f) == N);
	read_all_ways(f, want, N);
	K_CHECK_OK(k_source_mem(&m, want, N, false, "memory", &err));
	read_all_ways(m, want, N);
	K_CHECK_OK(k_source_range(&r, f, 1000, N - 2000, "range", &err));
	K_CHECK(k_source_size(r) == N - 2000);
	read_all_ways(r, want + 1000, N - 2000);
	K_CHECK_OK(k_source_range(&rr, r, 1000, 10, "inner", &err));
	K_CHECK_OK(k_source_pread(rr, some, 10, 0, &err));
	K_CHECK(!memcmp(some, want + 2000, 10));
	K_CHECK(k_source_pread(rr, some, 11, 0, &err) == K_ETRUNC);
	K_CHECK(k_source_pread(rr, some, 1, UINT64_MAX, &err) == K_ETRUNC);
	K_CHECK_OK(k_source_map(r, &p, &n, &err));
	K_CHECK(n == N - 2000 && !memcmp(p, want + 1000, n));
	K_CHECK(k_io_fault_name(p) && !strcmp(k_io_fault_name(p), path));
	k_source_drop(r, 0, N - 2000);
	K_CHECK(!memcmp(p, want + 1000, n));
	k_source_close(rr);
	K_CHECK(k_source_range(&rr, f, N - 5, 6, "outside", &err) == K_ETRUNC);
	K_CHECK(k_source_range(&rr, f, UINT64_MAX, 6, "outside", &err) == K_ETRUNC);
	k_source_close(r);
	k_source_close(m);
	k_source_close(f);
	K_CHECK(!k_io_fault_name(p));
	free(want);
}

struct feed { int fd; const uint8_t *p; size_t n; };

static void *drip(void *arg)
{
	struct feed *f = arg;
	size_t step = 1;

	for (size_t at = 0; at < f->n; at += step) {
		step = K_MIN(1 + at % 7919, f->n - at);
		if (write(f->fd, f->p + at, step) != (ssize_t)step)
			break;
	}
	close(f->fd);
	return NULL;
}

K_TEST(source_pipe_reads_like_a_file)
{
	enum { N = 400000 };
	struct feed feed = { .p = pattern(N), .n = N };
	struct k_err err = { 0 };
	struct k_source *s;
	pthread_t t;
	char path[600], byte;
	const void *p;
	size_t n;

	K_CHECK(!mkfifo(path_in_dir(path, "fifo"), 0600));
	feed.fd = open(path, O_RDWR);
	K_CHECK_OK(k_source_open(&s, path, &err));
	K_CHECK(!k_source_seekable(s) && k_source_size(s) == -1);
	K_CHECK(k_source_map(s, &p, &n, &err) == K_EUNSUP);
	K_CHECK(k_source_pread(s, &byte, 1, 0, &err) == K_EUNSUP);
	K_CHECK(!pthread_create(&t, NULL, drip, &feed));
	read_all_ways(s, feed.p, N);
	pthread_join(t, NULL);
	k_source_close(s);
	free((void *)(uintptr_t)feed.p);
}

K_TEST(source_says_what_it_cannot_open)
{
	struct k_err err = { 0 };
	struct k_source *s;

	K_CHECK(k_source_open(&s, "/no/such/file", &err) == K_EIO && strstr(err.msg, "/no/such/file") && !s);
	K_CHECK(k_source_open(&s, k_test_dir(), &err) == K_EIO && strstr(err.msg, "folder") && !s);
}

K_TEST(source_stop_flag_ends_waiting_for_a_pipe)
{
	volatile sig_atomic_t stop = 15;
	struct k_err err = { 0 };
	struct k_source *s;
	char path[600], c;
	int keep;

	K_CHECK(!mkfifo(path_in_dir(path, "fifo"), 0600));
	keep = open(path, O_RDWR);
	K_CHECK_OK(k_source_open(&s, path, &err));
	k_io_watch(&stop);
	K_CHECK(k_source_read(s, &c, 1, &err) == K_ECANCEL);
	k_io_watch(NULL);
	k_source_close(s);
	close(keep);
}

K_TEST(source_slurp_has_a_limit)
{
	struct k_err err = { 0 };
	struct k_buf b;
	char path[600];

	put_file(path_in_dir(path, "x"), "0123456789", 10);
	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(path, &b, 10, &err));
	K_CHECK(b.len == 10 && !strcmp(b.data, "0123456789"));
	K_CHECK(k_read_file(path, &b, 9, &err) == K_EFORMAT);
	k_buf_reset(&b);
	/* A file of /proc claims to be empty. */
	K_CHECK_OK(k_read_file("/proc/self/status", &b, 1 << 20, &err));
	K_CHECK(strstr(b.data, "Pid:"));
	k_buf_fini(&b);
}

K_TEST(sink_shows_its_file_only_when_committed)
{
	enum { N = 1000000 };
	uint8_t *want = pattern(N);
	struct k_err err = { 0 };
	struct k_sink *s;
	struct k_buf b;
	char path[600];

	path_in_dir(path, "out");
	K_CHECK_OK(k_sink_open(&s, path, &err));
	K_CHECK_OK(k_sink_write(s, want, N, &err));
	K_CHECK(!k_path_exists(path) && files_in_dir() == 1);
	k_sink_close(s);
	K_CHECK(files_in_dir() == 0);

	K_CHECK_OK(k_sink_open(&s, path, &err));
	K_CHECK_OK(k_sink_reserve(s, 2 * N, &err));
	for (size_t at = 0, n = 1; at < N; at += n, n = K_MIN(n * 3, (size_t)N - at))
		K_CHECK_OK(k_sink_write(s, want + at, K_MIN(n, N - at), &err));
	K_CHECK(k_sink_pos(s) == N);
	K_CHECK_OK(k_sink_commit(s, &err));
	k_sink_close(s);
	K_CHECK(files_in_dir() == 1);
	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(path, &b, N, &err));
	K_CHECK(b.len == N && !memcmp(b.data, want, N));
	k_buf_fini(&b);
	free(want);
}

K_TEST(sink_keeps_the_old_file_until_commit_and_follows_links)
{
	struct k_err err = { 0 };
	struct k_sink *s, *again;
	struct k_buf b;
	struct stat st;
	char path[600], link[600];

	put_file(path_in_dir(path, "real"), "old", 3);
	K_CHECK(!symlink("real", path_in_dir(link, "link")));
	k_buf_init(&b, 0);
	K_CHECK_OK(k_sink_open(&s, link, &err));
	K_CHECK(k_sink_open(&again, path, &err) == K_EUSAGE && !again);
	K_CHECK_OK(k_sink_write(s, "new", 3, &err));
	K_CHECK_OK(k_read_file(path, &b, 10, &err));
	K_CHECK(!strcmp(b.data, "old"));
	K_CHECK_OK(k_sink_commit(s, &err));
	k_sink_close(s);
	k_buf_reset(&b);
	K_CHECK_OK(k_read_file(path, &b, 10, &err));
	K_CHECK(!strcmp(b.data, "new"));
	K_CHECK(!lstat(link, &st) && S_ISLNK(st.st_mode) && files_in_dir() == 2);
	k_buf_fini(&b);
}

/* The disk that a link names is where the file is to be, also before it is there. */
K_TEST(sink_writes_where_links_lead)
{
	static const struct { const char *name, *to; } links[] = { { "far/second", "third" }, { "first", "far/second" }, { "loop", "loop" } };
	struct k_err err = { 0 };
	struct k_sink *s;
	struct stat st;
	char path[600];

	K_CHECK(!mkdir(path_in_dir(path, "far"), 0777));
	for (size_t i = 0; i < K_LEN(links); i++)
		K_CHECK(!symlink(links[i].to, path_in_dir(path, links[i].name)));
	K_CHECK_OK(k_sink_open(&s, path_in_dir(path, "first"), &err));
	K_CHECK_OK(k_sink_write(s, "x", 1, &err));
	K_CHECK_OK(k_sink_commit(s, &err));
	k_sink_close(s);
	K_CHECK(!lstat(path, &st) && S_ISLNK(st.st_mode));
	K_CHECK(!lstat(path_in_dir(path, "far/second"), &st) && S_ISLNK(st.st_mode));
	K_CHECK(!lstat(path_in_dir(path, "far/third"), &st) && S_ISREG(st.st_mode) && st.st_size == 1);
	K_CHECK(k_sink_open(&s, path_in_dir(path, "loop"), &err) == K_EIO && strstr(err.msg, "symbolic links"));
}

/* Another process may have our number, in a container that shares the folder. */
K_TEST(sink_spares_what_another_process_writes)
{
	struct k_err err = { 0 };
	struct k_sink *s;
	char path[600], temp[640];
	int other;

	path_in_dir(path, "out");
	sprintf(temp, "%s.tmp.%ld", path, (long)getpid());
	put_file(temp, "half", 4);
	other = open(temp, O_RDWR);
	K_CHECK(!flock(other, LOCK_EX));
	K_CHECK(k_sink_open(&s, path, &err) == K_EIO && !s && strstr(err.msg, "another process"));
	K_CHECK(k_path_exists(temp));
	/* Killed, it holds nothing. */
	close(other);
	K_CHECK_OK(k_sink_open(&s, path, &err));
	other = open(temp, O_RDWR);
	K_CHECK(other >= 0 && flock(other, LOCK_EX | LOCK_NB) < 0);
	close(other);
	K_CHECK_OK(k_sink_commit(s, &err));
	k_sink_close(s);
	K_CHECK(k_path_exists(path) && files_in_dir() == 1);
}

struct late { int fd; size_t n; };

static void *read_late(void *arg)
{
	struct late *l = arg;
	char some[4096];
	ssize_t got;

	usleep(400000);
	while ((got = read(l->fd, some, sizeof(some))) > 0)
		l->n += (size_t)got;
	return NULL;
}

/* As ssh and others give it: a full pipe is waited for, and not asked again and again. */
K_TEST(sink_waits_for_a_pipe_that_does_not_block)
{
	enum { N = 1000000 };
	uint8_t *want = pattern(N);
	struct k_err err = { 0 };
	struct timespec cpu;
	struct late late;
	struct k_sink *s;
	pthread_t t;
	int ends[2], out = dup(1);

	K_CHECK(!pipe(ends) && !fcntl(ends[1], F_SETFL, O_NONBLOCK));
	late = (struct late){ .fd = ends[0] };
	K_CHECK(dup2(ends[1], 1) == 1 && !close(ends[1]));
	K_CHECK(!pthread_create(&t, NULL, read_late, &late));
	K_CHECK_OK(k_sink_open(&s, "-", &err));
	K_CHECK_OK(k_sink_write(s, want, N, &err));
	K_CHECK_OK(k_sink_commit(s, &err));
	k_sink_close(s);
	K_CHECK(dup2(out, 1) == 1);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	pthread_join(t, NULL);
	K_CHECK(late.n == N && cpu.tv_sec == 0 && cpu.tv_nsec < 200000000);
	free(want);
}

K_TEST(sink_reports_a_full_device)
{
	struct k_err err = { 0 };
	struct k_sink *s;

	if (!k_path_exists("/dev/full"))
		k_test_skip("no /dev/full here");
	K_CHECK_OK(k_sink_open(&s, "/dev/full", &err));
	K_CHECK_OK(k_sink_write(s, "x", 1, &err));
	K_CHECK(k_sink_commit(s, &err) == K_EIO && strstr(err.msg, "No space"));
	k_sink_close(s);
	K_CHECK_OK(k_sink_open(&s, "/dev/null", &err));
	K_CHECK_OK(k_sink_write(s, "x", 1, &err));
	K_CHECK_OK(k_sink_commit(s, &err));
	k_sink_close(s);
}

K_TEST(sink_refuses_a_folder_and_a_missing_one)
{
	struct k_err err = { 0 };
	struct k_sink *s;
	char path[600];

	K_CHECK(k_sink_open(&s, k_test_dir(), &err) == K_EUSAGE && !s);
	K_CHECK(k_sink_open(&s, path_in_dir(path, "no/file"), &err) == K_EIO && !s);
}

K_TEST(cleanup_removes_temporary_files)
{
	struct k_err err = { 0 };
	struct k_sink *s;
	char path[600];

	K_CHECK_OK(k_sink_open(&s, path_in_dir(path, "out"), &err));
	K_CHECK(files_in_dir() == 1);
	k_io_cleanup();
	K_CHECK(files_in_dir() == 0);
	k_sink_close(s);
}

K_TEST(spool_reads_what_was_written)
{
	enum { N = 700000 };
	uint8_t *want = pattern(N), *got = malloc(N);
	struct k_err err = { 0 };
	struct k_source *r;
	struct k_sink *w;

	K_CHECK_OK(k_spool_open(&w, &r, k_test_dir(), &err));
	K_CHECK(files_in_dir() == 0);
	K_CHECK_OK(k_sink_write(w, want, N, &err));
	K_CHECK_OK(k_sink_commit(w, &err));
	k_sink_close(w);
	K_CHECK(k_source_size(r) == N);
	K_CHECK_OK(k_source_pread(r, got, 100, 5000, &err));
	K_CHECK(!memcmp(got, want + 5000, 100));
	K_CHECK_OK(k_source_read(r, got, N, &err));
	K_CHECK(!memcmp(got, want, N));
	k_source_close(r);
	free(want);
	free(got);
}

K_TEST(make_dir_wants_a_new_folder)
{
	struct k_err err = { 0 };
	char path[600], file[600];

	K_CHECK_OK(k_make_dir(path_in_dir(path, "a/b"), &err));
	K_CHECK(k_path_is_dir(path));
	K_CHECK_OK(k_make_dir(path, &err));
	put_file(path_in_dir(file, "a/b/c"), "x", 1);
	K_CHECK(k_make_dir(path, &err) == K_EUSAGE);
	K_CHECK(k_make_dir(file, &err) == K_EUSAGE);
}
