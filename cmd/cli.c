/* cli.c: main() of every tool: options, help, context, signals, run, the last sentence, the exit status.
 *
 *     argv -> options -> --help, --version, --cpu=?, --device=? -> context -> run -> flush -> sentence -> status
 *
 * The only state of the process is what signal handlers need: the number of the signal that asked to stop. */
#include "libcore/base.h"
#include "cmd/cli.h"
#include "formats/format.h"
#include "kernels/kk.h"
#include "libcore/backend.h"
#include "libcore/cpu.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/json.h"
#include "libcore/pool.h"
#include "libcore/rx.h"
#include "version.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { const char *name, *needs; } levels[] = {
#define XL(name, needs, best) { #name, needs },
#include "levels.list"
#undef XL
	{ NULL, NULL }
};
static const char *const backends[] = {
#define X(name) #name,
#include "backends.list"
#undef X
	NULL
};

/* --- signals ------------------------------------------------------------------------------------- */

/* What sends a signal to a process and to its group (timeout, npm) means one. */
#define SAME_WISH_NS UINT64_C(100000000)

static volatile sig_atomic_t stop;
static _Atomic uint64_t asked;          /* when it came first */

static void say(const char *s)
{
	if (write(2, s, strlen(s)) < 0)
		return;
}

/* The first asks, the second ends. */
static void on_stop(int sig)
{
	if (stop && k_now_ns() - asked < SAME_WISH_NS)
		return;
	if (stop) {
		k_io_cleanup();
		say(k_tool.name);
		say(": ended by a second signal\n");
		_exit(128 + sig);
	}
	asked = k_now_ns();
	stop = sig;
}

/* A mapped file that another process made shorter while we read it. */
static void on_bus(int sig, siginfo_t *info, void *context K_UNUSED)
{
	const char *name = k_io_fault_name(info->si_addr);

	k_io_cleanup();
	if (!name) {
		signal(sig, SIG_DFL);
		raise(sig);
		return;
	}
	say(k_tool.name);
	say(": '");
	say(name);
	say("' became shorter or unreadable while it was read\n");
	_exit(5);
}

static void catch_signals(void)
{
	static const int stops[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction act = { .sa_handler = on_stop }, old;

	sigemptyset(&act.sa_mask);
	/* What the parent set to be ignored (nohup, a shell's background job) stays ignored. */
	for (size_t i = 0; i < K_LEN(stops); i++)
		if (!sigaction(stops[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(stops[i], &act, NULL);
	act.sa_flags = SA_SIGINFO;
	act.sa_sigaction = on_bus;
	sigaction(SIGBUS, &act, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* A file that grows beyond the limit is an error like a full disk. */
	signal(SIGXFSZ, SIG_IGN);
	k_io_watch(&stop);
}

/* A closed standard stream would be given to the first file that is opened. These fail when used, as a closed
 * one should. */
static void fill_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
			open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			_exit(70);
}

/* --- what tools ask ------------------------------------------------------------------------------ */

bool k_cli_wants_table(const struct k_common *c) { return !c->json && (c->table || isatty(1)); }

int k_cli_write(const void *p, size_t n, struct k_err *err)
{
	struct k_sink *out;
	int rc = k_sink_open(&out, NULL, err);

	if (rc)
		return rc;
	/* Order with what went through stdio. */
	if (fflush(stdout))
		rc = k_err_io(err, "cannot write 'standard output'");
	if (!rc)
		rc = k_sink_write(out, p, n, err);
	if (!rc)
		rc = k_sink_commit(out, err);
	k_sink_close(out);
	return rc;
}

/* Where a file will be that is not there yet: its folder, which is, and its own name in it. */
static bool same_place(const char *a, const char *b)
{
	const char *names[] = { a, b }, *base[2];
	struct stat st[2];

	for (int i = 0; i < 2; i++) {
		const char *slash = strrchr(names[i], '/');
		char *folder = slash ? k_strndup(names[i], (size_t)(slash - names[i]) + 1) : k_strdup(".");
		bool there = folder && stat(folder, &st[i]) == 0;

		base[i] = slash ? slash + 1 : names[i];
		k_free(folder);
		if (!there)
			return false;
	}
	return st[0].st_dev == st[1].st_dev && st[0].st_ino == st[1].st_ino && !strcmp(base[0], base[1]);
}

/* Devices and pipes may be named twice, and be read and written. */
static bool same_file(const char *a, const char *b)
{
	struct stat x, y;
	bool in_a = stat(a, &x) == 0, in_b = stat(b, &y) == 0;

	if (in_a && in_b)
		return S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
	return !in_a && !in_b && same_place(a, b);
}

static bool is_file(const struct k_cli_file *f) { return f->path && strcmp(f->path, "-") != 0; }

static int spares(const struct k_cli_file *out, const struct k_cli_file *in, struct k_err *err)
{
	if (!is_file(out) || !is_file(in) || !same_file(in->path, out->path))
		return 0;
	return k_err_set(err, K_EUSAGE, "%s is '%s', which is read (%s) and would be overwritten; wanted another file", out->option, out->path, in->option);
}

int k_cli_apart(const struct k_cli_file *outs, int n_outs, const struct k_cli_file *ins, int n_ins, int n_operands, char **operands, struct k_err *err)
{
	int r = 0;

	for (int i = 0; i < n_outs; i++) {
		for (int k = 0; k < i; k++)
			if (is_file(&outs[i]) && is_file(&outs[k]) && same_file(outs[k].path, outs[i].path))
				return k_err_set(err, K_EUSAGE, "%s and %s are both '%s', wanted two files", outs[k].option, outs[i].option, outs[i].path);
		for (int k = 0; r == 0 && k < n_ins; k++)
			r = spares(&outs[i], &ins[k], err);
		for (int k = 0; r == 0 && k < n_operands; k++)
			r = spares(&outs[i], &(struct k_cli_file){ "the input", operands[k] }, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int k_cli_model(int n_operands, char **operands, const char **out, struct k_err *err)
{
	*out = n_operands > 0 ? operands[0] : "-";
	if (n_operands < 1 && isatty(0))
		return k_err_set(err, K_EUSAGE,
			"no model: wanted a file, a folder, or a stream on standard input; see %s --help",
			k_tool.name);
	return 0;
}

/* --- answers that need no context ---------------------------------------------------------------- */

static void put_version(struct k_buf *b)
{
	char rx[64];

	k_rx_library(rx);
	k_buf_printf(b, "%s %s (ktools, %s)\nlevels:", k_tool.name, K_VERSION, K_DESCRIBE);
	for (size_t i = 0; levels[i].name; i++)
		k_buf_printf(b, " %s", levels[i].name);
	k_buf_puts(b, "; backends:");
	for (size_t i = 0; backends[i]; i++)
		k_buf_printf(b, " %s", backends[i]);
	k_buf_printf(b, "; libraries: %s, %s, %s, %s%s%s\n", k_json_library(), rx, k_hash_library(), k_archive_library(),
		k_tool.library ? ", " : "", k_tool.library ? k_tool.library() : "");
}

static void put_levels(struct k_buf *b, bool table)
{
	for (size_t i = 0; levels[i].name; i++) {
		bool can = k_cpu_has(levels[i].needs);
		const char *needs = *levels[i].needs ? levels[i].needs : "nothing";

		if (table)
			k_buf_printf(b, "%-13s %-4s needs %s\n", levels[i].name, can ? "yes" : "no", needs);
		else
			k_buf_printf(b, "{\"level\": \"%s\", \"usable\": %s, \"needs\": \"%s\"}\n",
				levels[i].name, can ? "true" : "false", levels[i].needs);
	}
}

static void put_devices(struct k_buf *b, bool table)
{
	for (int i = 0; k_backend_at(i); i++) {
		const struct k_backend *d = k_backend_at(i);
		char what[320], threads[32] = "";
		bool can = true;

		if (d->probe) {
			can = d->probe(what, sizeof what);
		} else {
			k_cpu_name(what, sizeof what);
			snprintf(threads, sizeof threads, table ? ", %d threads" : ", \"threads\": %d", k_cpu_count());
		}
		if (table) {
			k_buf_printf(b, "%-10s %-4s %s%s\n", d->name, can ? "yes" : "no", what, threads);
			continue;
		}
		k_buf_printf(b, "{\"device\": \"%s\", \"usable\": %s, \"name\": ", d->name, can ? "true" : "false");
		k_json_quote(b, what, strlen(what));
		k_buf_printf(b, "%s}\n", threads);
	}
}

/* 1: answered. */
static int answer(const struct k_common *c, struct k_err *err)
{
	struct k_buf b;
	int rc = 0;

	k_buf_init(&b, 0);
	if (c->help)
		rc = k_opt_help(&k_tool, c->help, K_VERSION, &b, err);
	else if (c->version)
		put_version(&b);
	else if (c->cpu && !strcmp(c->cpu, "?"))
		put_levels(&b, k_cli_wants_table(c));
	else if (c->device && !strcmp(c->device, "?"))
		put_devices(&b, k_cli_wants_table(c));
	if (!rc)
		rc = k_buf_ok(&b, "an answer", err);
	if (!rc && b.len) {
		rc = k_cli_write(b.data, b.len, err);
		if (!rc)
			rc = 1;
	}
	k_buf_fini(&b);
	return rc;
}

/* --- the context --------------------------------------------------------------------------------- */

/* A terminal that can wipe a line. */
static bool has_meter(void)
{
	const char *term = getenv("TERM");

	return isatty(2) && term && *term && strcmp(term, "dumb") != 0;
}

static void set_log(struct k_log *log, const struct k_common *c)
{
	log->json = c->log == 1;
	log->level = c->quiet ? K_LOG_ERROR : c->verbose ? K_LOG_DEBUG : K_LOG_INFO;
	if (c->progress == 2)
		log->progress = K_PROGRESS_JSON;
	else if (c->progress == 0 && !c->quiet && !log->json && has_meter())
		log->progress = K_PROGRESS_METER;
}

static int check_cpu(const char *cpu, struct k_err *err)
{
	struct k_buf b;
	int rc;

	for (size_t i = 0; levels[i].name; i++)
		if (!cpu || !strcmp(levels[i].name, cpu))
			return 0;
	k_buf_init(&b, 0);
	for (size_t i = 0; levels[i].name; i++)
		k_buf_printf(&b, "%s%s", i ? ", " : "", levels[i].name);
	rc = k_err_set(
		err, K_EUSAGE, "--cpu is '%s', wanted one of %s", cpu ? cpu : "", b.data ? b.data : "none");
	k_buf_fini(&b);
	return rc;
}

static int set_codec(struct k_codec *codec, const char *cpu, struct k_err *err)
{
	const char *level;
	struct kk kk;
	int rc = cpu ? check_cpu(cpu, err) : 0;

	if (!rc)
		rc = kk_select(&kk, &level, cpu, err);
	if (!rc)
		codec->convert = kk.convert;
	return rc;
}

static int set_context(struct k_ctx *ctx, struct k_codec *codec, const struct k_common *c, struct k_err *err)
{
	static const enum k_act acts[] = { K_ACT_F32, K_ACT_F32, K_ACT_BF16, K_ACT_INT8 };
	int rc = set_codec(codec, c->cpu, err);

	if (rc)
		return rc;
	if (c->device && !k_device_known(c->device))
		return k_err_set(err, K_EDEVICE,
			"--device is '%s', and nothing here knows such a device; --device=? lists what there is", c->device);
	if (c->gpu_memory && (!c->device || !strcmp(c->device, "cpu")))
		return k_err_set(err, K_EUSAGE, "--gpu-memory is for a device with a memory of its own, --device is 'cpu'");
	if (c->threads < 0 || c->threads > K_POOL_MOST)
		return k_err_set(err, K_EUSAGE, "--threads is %lld, wanted 1 to %d, or 0 for all",
			(long long)c->threads, K_POOL_MOST);
	ctx->codec = codec;
	ctx->cpu = c->cpu;
	ctx->act = acts[c->act];
	ctx->kv = c->kv;
	ctx->max_memory = c->max_memory;
	ctx->gpu_memory = c->gpu_memory;
	ctx->stop = &stop;
	return k_pool_new(&ctx->pool, (int)c->threads, err);
}

/* With -o standard output is a file that has its name once the run is done. */
static int redirect(struct k_sink **out, const struct k_common *c, struct k_err *err)
{
	int rc;

	if (!c->output || !strcmp(c->output, "-"))
		return 0;
	rc = k_sink_open(out, c->output, err);
	return rc ? rc : k_sink_redirect(*out, 1, err);
}

/* Results are complete also when the answer is no; where it is no and nothing was written, there is no result. */
static bool is_complete(int rc)
{
	struct stat st;

	return !rc || (rc == K_ENO && (fflush(stdout) || fstat(1, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > 0));
}

static int run_tool(struct k_ctx *ctx, struct k_common *common, int n_operands, char **operands, struct k_err *err)
{
	struct k_sink *sink = NULL;
	struct k_err late;
	int rc = redirect(&sink, common, err);

	if (!rc)
		rc = k_tool.run(ctx, common, n_operands, operands, err);
	if (sink && is_complete(rc) && k_sink_commit(sink, &late)) {
		*err = late;
		rc = late.code;
	}
	k_sink_close(sink);
	return rc;
}

/* Whatever went to standard output is there, or the run failed. */
static int last_flush(int rc, struct k_err *err)
{
	bool bad = fflush(stdout) || ferror(stdout);

	if (close(1) && errno != EINTR)
		bad = true;
	if (bad && rc >= 0)
		return k_err_io(err, "cannot write 'standard output'");
	return rc;
}

int main(int argc, char **argv)
{
	struct k_err err = { 0 };
	struct k_ctx ctx = { 0 };
	struct k_codec codec;
	struct k_common *common;
	char **operands = NULL;
	struct k_log log;
	int n_operands = 0, rc;
	bool parsed = false;

	fill_streams();
	k_log_init(&log, k_tool.name);
	ctx.log = &log;
	K_ASSERT(k_tool.args_size >= sizeof *common);
	common = k_calloc(1, k_tool.args_size);
	if (!common) {
		rc = k_err_nomem(&err, k_tool.args_size, "the options");
		goto out;
	}
	rc = k_opt_parse(&k_tool, argc, argv, common, &n_operands, &operands, &err);
	if (rc)
		goto out;
	parsed = true;
	set_log(&log, common);
	rc = answer(common, &err);
	if (rc)
		goto out;
	catch_signals();
	rc = set_context(&ctx, &codec, common, &err);
	if (!rc)
		rc = run_tool(&ctx, common, n_operands, operands, &err);
out:
	rc = last_flush(rc, &err);
	if (rc < 0)
		k_logf(&log, K_LOG_ERROR, "%s", err.msg[0] ? err.msg : k_err_about(rc));
	k_pool_free(ctx.pool);
	if (parsed)
		k_opt_fini(&k_tool, common);
	k_free(operands);
	k_free(common);
	k_log_fini(&log);
	if (rc == K_ECANCEL && stop)
		return 128 + stop;
	return rc < 0 ? k_err_exit(rc) : 0;
}
