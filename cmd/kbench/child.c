/* child.c: a command that is run and measured: how long it took, what it used, what it printed.
 *
 *   spawn --> standard output through a pipe: digest of all of it, the first MiB kept --> end of it --> wait
 *
 * Standard input is empty; standard error is ours. What peak_rss counts begins with the size of this process: the caller keeps it small. */
#include "libcore/base.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cmd/kbench/bench.h"
#include "libcore/hash.h"

extern char **environ;

enum { KEPT = 1 << 20, PIECE = 1 << 16, LOOK_MS = 200 };

static int spawn(pid_t *pid, char **argv, int out, struct k_err *err)
{
	posix_spawn_file_actions_t fa;
	int e = posix_spawn_file_actions_init(&fa);
	if (e)
		return k_err_nomem(err, 64, "a command");
	e = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	if (!e)
		e = posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (e)
		k_err_nomem(err, 64, "a command");
	else if ((e = posix_spawnp(pid, argv[0], &fa, NULL, argv, environ)))
		k_err_set(err, K_EUSAGE, "cannot run '%s': %s", argv[0], strerror(e));
	posix_spawn_file_actions_destroy(&fa);
	return e ? err->code : 0;
}

/* All that comes through the pipe. A signal to us is passed on. */
static int drain(int fd, pid_t pid, struct k_sha256 *h, struct k_child *c, const struct k_ctx *ctx, struct k_err *err)
{
	char piece[PIECE];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int r = 0;
	for (;;) {
		if (r == 0 && (r = k_ctx_check(ctx, err)) < 0)
			kill(pid, SIGTERM);
		if (poll(&p, 1, LOOK_MS) <= 0)
			continue;
		ssize_t n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return r;
		k_sha256_add(h, piece, (size_t)n);
		k_buf_put(&c->text, piece, K_MIN((size_t)n, KEPT - c->text.len));
		c->printed += n;
	}
}

int k_child_run(struct k_child *c, char **argv, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_sha256 *h;
	int fd[2], status, r = k_sha256_new(&h, err);
	pid_t pid;
	if (r < 0)
		return r;
	k_buf_reset(&c->text);
	c->printed = 0;
	if (pipe2(fd, O_CLOEXEC) < 0) {
		k_sha256_free(h);
		return k_err_set(err, K_EIO, "no pipe for '%s': %s", argv[0], strerror(errno));
	}
	double t = k_bench_now();
	r = spawn(&pid, argv, fd[1], err);
	close(fd[1]);
	if (r == 0) {
		r = drain(fd[0], pid, h, c, ctx, err);
		while (wait4(pid, &status, 0, &c->use) < 0 && errno == EINTR)
			;
		c->seconds = k_bench_now() - t;
		c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		k_sha256_end(h, c->digest);
	}
	close(fd[0]);
	k_sha256_free(h);
	return r < 0 ? r : k_buf_ok(&c->text, "what a command printed", err);
}

/* --- what was used ------------------------------------------------------------------------------------------------------------------- */

/* Members of struct rusage that records carry. bytes_read: from disk, in blocks of 512; what lay in the page cache is not among them. */
static const struct { const char *name; size_t at; int64_t unit; bool peak; } uses[] = {
	{ "peak_rss", offsetof(struct rusage, ru_maxrss), 1024, true },
	{ "bytes_read", offsetof(struct rusage, ru_inblock), 512, false },
	{ "minor_faults", offsetof(struct rusage, ru_minflt), 1, false },
	{ "major_faults", offsetof(struct rusage, ru_majflt), 1, false },
};

static long *use(const struct rusage *u, int i) { return (long *)((char *)u + uses[i].at); }

void k_use_add(struct rusage *sum, const struct rusage *u)
{
	for (int i = 0; i < (int)K_LEN(uses); i++) {
		long *s = use(sum, i), x = *use(u, i);
		*s = uses[i].peak ? K_MAX(*s, x) : *s + x;
	}
}

void k_use_begin(struct rusage *u)
{
	/* The peak begins anew; where that cannot be asked for, it is that of all the time before as well. */
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "5", 1) < 0)
			errno = 0;
		close(fd);
	}
	if (getrusage(RUSAGE_SELF, u) < 0)
		memset(u, 0, sizeof(*u));
}

void k_use_end(struct rusage *u, const struct rusage *begun)
{
	if (getrusage(RUSAGE_SELF, u) < 0)
		*u = *begun;
	for (int i = 0; i < (int)K_LEN(uses); i++)
		*use(u, i) -= uses[i].peak ? 0 : *use(begun, i);
}

int k_use_put(struct k_json *o, const struct rusage *u, int64_t runs)
{
	int bad = 0;
	for (int i = 0; i < (int)K_LEN(uses); i++)
		bad |= k_put_int(o, uses[i].name, *use(u, i) * uses[i].unit / (uses[i].peak ? 1 : K_MAX(runs, 1)));
	return bad;
}

char *k_child_tool(const char *name)
{
	char self[4096];
	size_t len = strlen(name) + 1;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
	while (n > 0 && self[n - 1] != '/')
		n--;
	char *p = n > 0 ? k_alloc((size_t)n + len) : NULL;
	if (p) {
		memcpy(p, self, (size_t)n);
		memcpy(p + n, name, len);
	}
	if (p && access(p, X_OK) == 0)
		return p;
	k_free(p);
	return k_strdup(name);
}
