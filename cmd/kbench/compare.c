/* compare.c: two commands, run in turns, with a verdict.
 *
 *   block: A B B A   (a drift of the machine that is linear in time cancels)   log ratio = mean log B - mean log A
 *
 * ratio is exp of the mean over blocks: the time of B over that of A. ci95 comes from a bootstrap over blocks, seeded, so that the
 * same times give the same interval. noise_floor: how far the two runs of A in a block lie apart, in the median.
 * Verdict: slower or faster when the 99 % interval excludes 1; same when the 95 % interval lies within 1 % of 1. */
#include "libcore/base.h"
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cmd/kbench/bench.h"
#include "evals/stats.h"

extern char **environ;

enum { RESAMPLES = 4000 };

static int time_command(char **argv, const posix_spawn_file_actions_t *quiet, double *seconds, struct k_err *err)
{
	pid_t pid;
	int status, e;
	double t = k_bench_now();
	e = posix_spawnp(&pid, argv[0], quiet, NULL, argv, environ);
	if (e)
		return k_err_set(err, K_EUSAGE, "cannot run '%s': %s", argv[0], strerror(e));
	while (waitpid(pid, &status, 0) < 0)
		;
	*seconds = k_bench_now() - t;
	if (status)
		return k_err_set(err, K_EUSAGE, "'%s' ended with status %d; only commands that succeed are compared", argv[0],
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

static int run_blocks(struct k_bench *b, char **A, char **B, struct k_times *ratio, struct k_times *noise, struct k_err *err)
{
	posix_spawn_file_actions_t quiet;
	double a[2], c[2], warm;
	if (posix_spawn_file_actions_init(&quiet))
		return k_err_nomem(err, 64, "a command");
	int e = posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
	if (!e)
		e = posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	int r = e ? k_err_nomem(err, 64, "a command") : time_command(A, &quiet, &warm, err);
	if (r == 0)
		r = time_command(B, &quiet, &warm, err);
	for (int64_t i = 0; r == 0 && i < b->reps; i++) {
		r = k_ctx_check(b->ctx, err);
		if (r == 0)
			r = time_command(A, &quiet, &a[0], err);
		if (r == 0)
			r = time_command(B, &quiet, &c[0], err);
		if (r == 0)
			r = time_command(B, &quiet, &c[1], err);
		if (r == 0)
			r = time_command(A, &quiet, &a[1], err);
		ratio->v[ratio->n++] = (log(c[0]) + log(c[1]) - log(a[0]) - log(a[1])) / 2;
		noise->v[noise->n++] = fabs(log(a[1] / a[0]));
	}
	posix_spawn_file_actions_destroy(&quiet);
	return r;
}

static double mean(const struct k_times *t)
{
	double sum = 0;
	for (int i = 0; i < t->n; i++)
		sum += t->v[i];
	return sum / t->n;
}

/* Sorted means of resampled blocks. */
static int bootstrap(const struct k_times *t, double *means, struct k_err *err)
{
	uint64_t x = 88172645463325252u;
	if (t->n < 2)
		return k_err_set(err, K_EUSAGE, "a comparison wants at least 2 repetitions");
	for (int i = 0; i < RESAMPLES; i++) {
		double sum = 0;
		for (int k = 0; k < t->n; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			sum += t->v[x % (uint64_t)t->n];
		}
		means[i] = sum / t->n;
	}
	k_stats_sort(means, RESAMPLES);
	return 0;
}

static double at(const double *sorted, double q)
{
	return exp(sorted[(int)(q * (RESAMPLES - 1) + 0.5)]);
}

static const char *verdict(const double *sorted)
{
	if (at(sorted, 0.005) > 1)
		return "slower";
	if (at(sorted, 0.995) < 1)
		return "faster";
	return at(sorted, 0.025) > 0.99 && at(sorted, 0.975) < 1.01 ? "same" : "undecided";
}

static struct k_json *interval(double lo, double hi)
{
	struct k_json *a = k_json_array();
	if (a && (k_json_push(a, k_json_new_number(lo)) | k_json_push(a, k_json_new_number(hi))) < 0) {
		k_json_free(a);
		a = NULL;
	}
	return a;
}

static int judge(struct k_bench *b, struct k_times *ratio, struct k_times *noise, struct k_err *err)
{
	double *sorted = k_calloc(RESAMPLES, sizeof(*sorted)), r0 = exp(mean(ratio));
	int r = sorted ? bootstrap(ratio, sorted, err) : k_err_nomem(err, RESAMPLES * sizeof(*sorted), "the bootstrap");
	if (r < 0) {
		k_free(sorted);
		return r;
	}
	const char *v = verdict(sorted);
	struct k_json *s = k_json_object();
	if (s && (k_put_str(s, "what", "compare") | k_put_f32(s, "ratio", r0) |
		k_json_set(s, "ci95", interval(at(sorted, 0.025), at(sorted, 0.975))) |
		k_put_f32(s, "noise_floor", exp(k_times_median(noise)) - 1) | k_put_str(s, "verdict", v) |
		k_put_int(s, "blocks", ratio->n) | k_bench_put_machine(s, b->ctx, NULL)) < 0) {
		k_json_free(s);
		s = NULL;
	}
	r = k_report_summary(b->rep, s, err);
	if (r == 0 && !strcmp(v, "slower"))
		r = k_err_set(err, K_ENO, "B takes %.4g times as long as A, 95 %% interval %.4g to %.4g", r0, at(sorted, 0.025),
			at(sorted, 0.975));
	k_free(sorted);
	return r;
}

int k_bench_compare(struct k_bench *b, struct k_err *err)
{
	struct k_times ratio = { .n = 0 }, noise = { .n = 0 };
	char **A = b->commands, **B = NULL;
	for (int i = 0; i < b->n_commands && !B; i++)
		if (!strcmp(b->commands[i], "--")) {
			b->commands[i] = NULL;
			B = b->commands + i + 1;
		}
	if (!B || !A[0] || B == b->commands + b->n_commands)
		return k_err_set(err, K_EUSAGE, "wanted two commands: kbench compare -- A... -- B...");
	int r = run_blocks(b, A, B, &ratio, &noise, err);
	return r < 0 ? r : judge(b, &ratio, &noise, err);
}
