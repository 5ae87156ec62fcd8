/* convert.c: how fast kconvert and kquant go through a model's bytes, beside a plain read of the same bytes.
 *
 *   a repetition: read, kconvert, kquant, then the other way round   first with the input put out of the page cache before each, then warm
 *
 * gbs: bytes of the input over the time of the whole command, output on disk and synced. limit_frac: the time of the plain read over it, from the
 * same repetition. A command writes the same bytes each time, or its item fails. */
#include "libcore/base.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/inputs.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/pool.h"

enum { PIECE = 1 << 20 };

/* Between the tool's name and its model; small takes a model of every architecture. */
static const struct tool { const char *name, *options[3]; } tools[] = {
	{ "kconvert", { NULL } },
	{ "kquant", { "--preset", "small", NULL } },
};

struct figures {
	struct k_times gbs, frac;
	struct rusage use;
	uint8_t digest[32];
	bool any, differs;
};

struct convert {
	struct k_bench *b;
	struct k_inputs in;
	struct k_child child;
	char *folder, *out, *command[K_LEN(tools)], threads[24];
	struct figures f[2][K_LEN(tools)];      /* [warm] */
	struct k_times read[2];                 /* GB/s of the plain read */
};

/* --- where ------------------------------------------------------------------------------------------------------------------------ */

static char *join(const char *a, size_t n, const char *b)
{
	size_t m = strlen(b) + 1;
	char *p = k_alloc(n + m);
	if (p) {
		memcpy(p, a, n);
		memcpy(p + n, b, m);
	}
	return p;
}

/* A folder of our own beside the model (--spool says another place), so that reading and writing share a file system. */
static int make_folder(struct convert *c, struct k_err *err)
{
	static const char name[] = ".kbench-XXXXXX";
	const char *model = c->b->model, *dir = c->b->ctx->spool;
	size_t n = strlen(model);
	while (n > 1 && model[n - 1] == '/')
		n--;
	while (n && model[n - 1] != '/')
		n--;
	char *folder = dir ? join(dir, strlen(dir), "/.kbench-XXXXXX") : join(model, n, name);
	if (!folder)
		return k_err_nomem(err, n + sizeof(name), "a path");
	if (!mkdtemp(folder)) {
		int r = k_err_set(err, K_EIO, "'%s': %s; --spool DIR says where the outputs may be written", folder, strerror(errno));
		k_free(folder);
		return r;
	}
	c->folder = folder;
	c->out = join(folder, strlen(folder), "/out.kmf");
	return c->out ? 0 : k_err_nomem(err, n, "a path");
}

static void fini(struct convert *c)
{
	k_inputs_close(&c->in);
	if (c->out)
		unlink(c->out);
	if (c->folder)
		rmdir(c->folder);
	for (size_t i = 0; i < K_LEN(tools); i++)
		k_free(c->command[i]);
	k_free(c->out);
	k_free(c->folder);
	k_buf_fini(&c->child.text);
	k_free(c);
}

/* --- runs ------------------------------------------------------------------------------------------------------------------------- */

/* The digest of the output, which is then removed. */
static int take_output(struct convert *c, uint8_t digest[32], struct k_err *err)
{
	struct k_sha256 *h = NULL;
	struct k_source *s = NULL;
	char *piece = k_alloc(PIECE);
	size_t n = 1;
	int r = piece ? k_source_open(&s, c->out, err) : k_err_nomem(err, PIECE, "an output");
	if (r == 0)
		r = k_sha256_new(&h, err);
	while (r == 0 && n) {
		r = k_source_some(s, piece, PIECE, &n, err);
		if (r == 0)
			k_sha256_add(h, piece, n);
	}
	if (r == 0)
		k_sha256_end(h, digest);
	k_sha256_free(h);
	k_source_close(s);
	k_free(piece);
	unlink(c->out);
	return r;
}

/* What a tool ended with is what this one ends with; its own sentence was on standard error. */
static int code_of(int status)
{
	for (int code = -1; code >= K_EDEVICE; code--)
		if (k_err_exit(code) == status)
			return code;
	return K_EIO;
}

static int run_tool(struct convert *c, int i, double *seconds, struct figures *f, struct k_err *err)
{
	char *const rest[] = { "-q", "-j", c->threads, "-o", c->out, "--", (char *)c->b->model };
	char *argv[1 + K_LEN(tools[0].options) + K_LEN(rest)] = { c->command[i] };
	uint8_t digest[32];
	int n = 1;
	for (const char *const *p = tools[i].options; *p; p++)
		argv[n++] = (char *)*p;
	memcpy(argv + n, rest, sizeof(rest));           /* and a NULL, of which there is at least one in options */
	int r = k_child_run(&c->child, argv, c->b->ctx, err);
	if (r == 0 && c->child.status)
		r = k_err_set(err, code_of(c->child.status), "%s ended with status %d", tools[i].name, c->child.status);
	if (r == 0)
		r = take_output(c, digest, err);
	if (r < 0)
		return r;
	*seconds = c->child.seconds;
	k_use_add(&f->use, &c->child.use);
	f->differs |= f->any && memcmp(f->digest, digest, sizeof(digest));
	if (!f->any)
		memcpy(f->digest, digest, sizeof(digest));
	f->any = true;
	return 0;
}

/* One repetition: step 0 is the plain read, step i the tool i - 1. *cold_here: the page cache lets go of the input. */
static int repeat(struct convert *c, bool warm, bool backwards, bool *cold_here, struct k_err *err)
{
	double seconds[1 + K_LEN(tools)], bytes = (double)c->in.bytes;
	int n = (int)K_LEN(seconds), r = 0;
	for (int k = 0; k < n && r == 0; k++) {
		int step = backwards ? n - 1 - k : k;
		if (!warm && !(*cold_here = k_inputs_chill(&c->in)))
			return 0;
		double t = k_bench_now();
		r = step ? run_tool(c, step - 1, &seconds[step], &c->f[warm][step - 1], err) : k_inputs_read(&c->in, c->b->ctx, err);
		if (!step)
			seconds[0] = k_bench_now() - t;
	}
	if (r < 0)
		return r;
	c->read[warm].v[c->read[warm].n++] = bytes / seconds[0] / 1e9;
	for (int i = 0; i < (int)K_LEN(tools); i++) {
		struct figures *f = &c->f[warm][i];
		f->gbs.v[f->gbs.n++] = bytes / seconds[i + 1] / 1e9;
		f->frac.v[f->frac.n++] = seconds[0] / seconds[i + 1];
	}
	return 0;
}

static int run_all(struct convert *c, struct k_err *err)
{
	bool cold_here = true;
	struct figures first = { .any = false };
	double seconds;
	int r = 0;
	/* The programs themselves come into the page cache first, and the first digest of each. */
	for (int i = 0; i < (int)K_LEN(tools) && r == 0; i++) {
		first.any = false;
		r = run_tool(c, i, &seconds, &first, err);
		for (int warm = 0; warm < 2; warm++) {
			memcpy(c->f[warm][i].digest, first.digest, sizeof(first.digest));
			c->f[warm][i].any = true;
		}
	}
	for (int64_t i = 0; i < c->b->reps && r == 0 && cold_here; i++)
		r = repeat(c, false, i % 2, &cold_here, err);
	if (r == 0)
		r = k_inputs_read(&c->in, c->b->ctx, err);
	for (int64_t i = 0; i < c->b->reps && r == 0; i++)
		r = repeat(c, true, i % 2, &cold_here, err);
	return r;
}

/* --- the record ------------------------------------------------------------------------------------------------------------------- */

static int put_figures(struct k_json *o, struct convert *c, bool warm, int i)
{
	struct figures *f = &c->f[warm][i];
	char hex[65];
	k_hex(hex, f->digest);
	return k_put_str(o, "tool", tools[i].name) | k_put_str(o, "cache", warm ? "warm" : "cold") | k_put_int(o, "bytes", (int64_t)c->in.bytes) |
		(f->gbs.n ? k_put_f32(o, "gbs", k_times_median(&f->gbs)) | k_put_f32(o, "read_gbs", k_times_median(&c->read[warm])) |
			k_put_f32(o, "limit_frac", k_times_median(&f->frac)) | k_put_f32(o, "spread", k_times_spread(&f->gbs)) :
			k_put_null(o, "gbs") | k_put_null(o, "limit_frac")) |
		k_use_put(o, &f->use, f->gbs.n) | k_put_str(o, "digest", hex);
}

/* An item a tool and state; the summary is the slowest of them. */
static int report(struct convert *c, struct k_err *err)
{
	double slowest = 0;
	int at = -1, r = 0;
	for (int k = 0; k < 2 * (int)K_LEN(tools) && r == 0; k++) {
		int i = k / 2;
		bool warm = k % 2;
		struct figures *f = &c->f[warm][i];
		struct k_json *o = k_json_object();
		char key[64];
		if (o && put_figures(o, c, warm, i) < 0) {
			k_json_free(o);
			o = NULL;
		}
		snprintf(key, sizeof(key), "%s %s", tools[i].name, warm ? "warm" : "cold");
		r = k_report_item(c->b->rep, key, o, !f->differs, "its output has other bytes than that of the first run", err);
		if (f->gbs.n && (at < 0 || k_times_median(&f->gbs) < slowest)) {
			at = k;
			slowest = k_times_median(&f->gbs);
		}
	}
	if (r < 0)
		return r;
	struct k_json *s = k_json_object();
	if (s && (k_put_str(s, "what", "convert") | put_figures(s, c, at % 2, at / 2) | k_bench_put_machine(s, c->b, NULL)) < 0) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(c->b->rep, s, err);
}

int k_bench_convert(struct k_bench *b, struct k_err *err)
{
	if (!strcmp(b->model, "-"))
		return k_err_set(err, K_EUSAGE, "convert wants a file or a folder");
	struct convert *c = k_calloc(1, sizeof(*c));
	if (!c)
		return k_err_nomem(err, sizeof(*c), "a measurement");
	c->b = b;
	k_buf_init(&c->child.text, 0);
	snprintf(c->threads, sizeof(c->threads), "%d", k_pool_threads(b->ctx->pool));
	int r = k_inputs_open(&c->in, b->model, err);
	for (size_t i = 0; i < K_LEN(tools) && r == 0; i++)
		if (!(c->command[i] = k_child_tool(tools[i].name)))
			r = k_err_nomem(err, 64, "a path");
	if (r == 0)
		r = make_folder(c, err);
	if (r == 0)
		r = run_all(c, err);
	if (r == 0)
		r = report(c, err);
	fini(c);
	return r;
}
