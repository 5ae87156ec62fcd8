/* ktest.c: runs the tests that K_TEST left in the section "ktests".
 *
 *     ktest [-v] [-l] [PATTERN]...     PATTERN: a glob on names, or a part of a name or file
 *
 * Each test runs in a child process of its own with its output in a pipe; a failure is status 1, a skip 77, a
 * signal or a time-out a failure. As many run at once as there are CPUs. Only failures and skips are shown,
 * in the order of the table. */
#include "libcore/base.h"
#include "libcore/test.h"
#include "libcore/cpu.h"
#include <errno.h>
#include <fnmatch.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT = 300, SKIPPED = 77, MOST_CHILDREN = 16, OUTPUT = 64 * 1024 };

extern const struct k_test *const __start_ktests[] __attribute__((weak));
extern const struct k_test *const __stop_ktests[] __attribute__((weak));

static char test_dir[64];

/* --- inside a test ------------------------------------------------------------------------------- */

void k_test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	printf("%s:%d: ", file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

void k_test_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(SKIPPED);
}

const char *k_test_data(const char *rel)
{
	static char paths[8][1024];
	static unsigned turn;
	const char *root = getenv("K_TESTDATA");
	char *p = paths[turn++ % K_LEN(paths)];

	snprintf(p, sizeof paths[0], "%s/%s", root ? root : "testdata", rel);
	return p;
}

static int remove_one(
	const char *path, const struct stat *st K_UNUSED, int flag K_UNUSED, struct FTW *ftw K_UNUSED)
{
	return remove(path);
}

/* The runner makes the name, so that it can remove the folder also after a crash. */
const char *k_test_dir(void)
{
	static bool made;

	if (!made && !mkdtemp(test_dir))
		k_test_fail(__FILE__, __LINE__, "no temporary folder: %s", strerror(errno));
	made = true;
	return test_dir;
}

/* --- the runner ---------------------------------------------------------------------------------- */

struct child {
	const struct k_test *test;
	pid_t pid;
	int fd;
	char dir[64];
	char *out;
	size_t len;
	time_t start;
	bool late;
};

struct result { int status; char *out; size_t len; bool late; };

static bool wanted(const struct k_test *t, char **patterns, int n)
{
	for (int i = 0; i < n; i++)
		if (!fnmatch(patterns[i], t->name, 0) || strstr(t->name, patterns[i]) ||
			strstr(t->file, patterns[i]))
			return true;
	return n == 0;
}

static void start(struct child *c, const struct k_test *t, int index)
{
	const char *tmp = getenv("TMPDIR");
	int ends[2];

	*c = (struct child){ .test = t, .start = time(NULL) };
	/* The name is the child's to make (mkdtemp wants the X) and ours to remove. */
	snprintf(c->dir, sizeof c->dir, "%.30s/ktest%d.%d.XXXXXX", tmp && strlen(tmp) <= 30 ? tmp : "/tmp",
		(int)getpid(), index);
	if (!mkdtemp(c->dir))
		c->dir[0] = 0;
	c->out = malloc(OUTPUT);
	if (!c->out || pipe(ends)) {
		perror("ktest");
		exit(70);
	}
	fflush(stdout);
	c->pid = fork();
	if (c->pid < 0) {
		perror("ktest");
		exit(70);
	}
	if (!c->pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		close(ends[0]);
		close(ends[1]);
		setvbuf(stdout, NULL, _IOLBF, 0);
		snprintf(test_dir, sizeof test_dir, "%.45s/d.XXXXXX", c->dir);
		t->run();
		exit(0);
	}
	close(ends[1]);
	c->fd = ends[0];
}

/* Takes output; at its end waits for the child. true: finished. */
static bool attend(struct child *c, bool readable, struct result *r)
{
	char rest[4096];
	ssize_t n = -1;

	if (!c->late && time(NULL) - c->start > TIMEOUT) {
		c->late = true;
		kill(-c->pid, SIGKILL);
	}
	if (!readable)
		return false;
	if (c->len < OUTPUT) {
		n = read(c->fd, c->out + c->len, OUTPUT - c->len);
		c->len += n > 0 ? (size_t)n : 0;
	} else {
		n = read(c->fd, rest, sizeof rest);
	}
	if (n > 0)
		return false;
	close(c->fd);
	waitpid(c->pid, &r->status, 0);
	if (c->dir[0])
		nftw(c->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	r->out = c->out;
	r->len = c->len;
	r->late = c->late;
	return true;
}

static void run_all(const struct k_test **tests, struct result *results, int n, int width)
{
	struct child children[MOST_CHILDREN];
	struct pollfd fds[MOST_CHILDREN];
	int at[MOST_CHILDREN], live = 0, next = 0;

	while (live || next < n) {
		for (; live < width && next < n; next++, live++) {
			start(&children[live], tests[next], next);
			at[live] = next;
		}
		for (int i = 0; i < live; i++)
			fds[i] = (struct pollfd){ .fd = children[i].fd, .events = POLLIN };
		poll(fds, (nfds_t)live, 1000);
		for (int i = live - 1; i >= 0; i--) {
			if (!attend(&children[i], fds[i].revents != 0, &results[at[i]]))
				continue;
			live--;
			children[i] = children[live];
			at[i] = at[live];
		}
	}
}

static void show(const struct k_test *t, const struct result *r, const char *what)
{
	printf("%s %s (%s)", what, t->name, t->file);
	if (r->late)
		printf(": no end after %d seconds", TIMEOUT);
	else if (WIFSIGNALED(r->status))
		printf(": %s", strsignal(WTERMSIG(r->status)));
	if (r->len) {
		printf("\n%.*s", (int)r->len, r->out);
		if (r->out[r->len - 1] == '\n')
			return;
	}
	putchar('\n');
}

int main(int argc, char **argv)
{
	bool verbose = false, list = false;
	int n_all = (int)(__stop_ktests - __start_ktests), n = 0, passed = 0, failed = 0, skipped = 0,
	    width = k_cpu_count();
	const struct k_test **tests = calloc((size_t)n_all + 1, sizeof *tests);
	struct result *results = calloc((size_t)n_all + 1, sizeof *results);
	int c;

	while ((c = getopt(argc, argv, "vlj:")) != -1) {
		verbose |= c == 'v';
		list |= c == 'l';
		if (c == 'j')
			width = atoi(optarg);
		if (c == '?')
			return 2;
	}
	if (!tests || !results)
		return 70;
	for (int i = 0; i < n_all; i++)
		if (__start_ktests[i] && wanted(__start_ktests[i], argv + optind, argc - optind))
			tests[n++] = __start_ktests[i];
	for (int i = 0; list && i < n; i++)
		printf("%s %s\n", tests[i]->name, tests[i]->file);
	if (list)
		return 0;
	run_all(tests, results, n, K_MAX(1, K_MIN(width, (int)MOST_CHILDREN)));
	for (int i = 0; i < n; i++) {
		const struct result *r = &results[i];
		bool ok = WIFEXITED(r->status) && !WEXITSTATUS(r->status),
		     skip = WIFEXITED(r->status) && WEXITSTATUS(r->status) == SKIPPED;

		passed += ok;
		skipped += skip;
		failed += !ok && !skip;
		if (!ok || verbose)
			show(tests[i], r, ok ? "ok  " : skip ? "skip" : "FAIL");
		free(r->out);
	}
	free(results);
	free(tests);
	printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed > 0;
}
