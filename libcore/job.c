/* job.c: see job.h. */
#include "libcore/base.h"
#include "libcore/io.h"
#include "libcore/io_place.h"
#include "libcore/job.h"
#include "libcore/plan.h"
#include "libcore/resident.h"
#include <stdio.h>

enum { STEP = 8 << 20, MOST_PARTS = 10000 };

int k_job_part(const char *text, int *part, int *n_parts, struct k_err *err)
{
	char rest;

	/* Digits alone: sscanf would take signs and blanks too. */
	if (strspn(text, "0123456789/") == strlen(text) && sscanf(text, "%5d/%5d%c", part, n_parts, &rest) == 2 && *part >= 1 &&
	    *part <= *n_parts && *n_parts <= MOST_PARTS)
		return 0;
	return k_err_set(err, K_EUSAGE, "--part '%s': wanted K/N with 1 <= K <= N <= %d", text, MOST_PARTS);
}

/* Everything that decides the output's bytes: which input, which files with which heads, which choices. Parts may be made on several
 * machines, which see other numbers and times of the same files. */
static int make_key(const struct k_job *job, uint8_t key[32], struct k_err *err)
{
	const struct k_target *t = job->stream.target;
	struct k_ckpt *in = job->stream.in;
	struct k_sha256 *h;
	int r = k_sha256_new(&h, err);

	if (r < 0)
		return r;
	if (in->ops->stamp)
		r = in->ops->stamp(in, job->stream.n_parts == 0, h, err);
	for (int i = 0; i < t->n_files; i++) {
		const struct k_out_file *f = &t->files[i];

		k_sha256_add(h, &f->bytes, sizeof(f->bytes));
		for (int64_t k = 0; k < f->n_consts; k++)
			k_sha256_add(h, f->consts[k].p, f->consts[k].n);
	}
	if (job->choices)
		k_sha256_add(h, job->choices, strlen(job->choices));
	k_sha256_end(h, key);
	k_sha256_free(h);
	return r;
}

/* Bytes of disk that the unfinished file of an earlier run has. */
static uint64_t taken(const struct k_job *job)
{
	size_t n = job->out ? strlen(job->out) + 16 : 0;
	char *name = n && (job->resume || job->stream.n_parts) ? k_alloc(n) : NULL;
	uint64_t bytes;

	if (!name)
		return 0;
	snprintf(name, n, "%s%s", job->out, job->stream.n_parts ? ".parts" : ".partial");
	bytes = k_disk_taken(name);
	k_free(name);
	return bytes;
}

/* Of which a sanitizer's own would be most. */
static struct k_resident resident(void)
{
#if defined(K_ASAN) || defined(K_TSAN)
	return (struct k_resident){ 0 };
#else
	return k_resident();
#endif
}

static struct k_plan plan_of(const struct k_job *job, uint64_t most, const struct k_ctx *ctx)
{
	const struct k_target *t = job->stream.target;
	const struct k_ckpt *in = job->stream.in;
	struct k_plan p = { .in = in->path, .out = job->out, .entries = in->n_entries, .there = taken(job), .memory = k_stream_memory(&job->stream, ctx),
		.max_memory = k_ctx_ceiling(ctx), .ceiling_given = ctx->max_memory != 0 };

	for (int i = 0; i < in->n_entries; i++)
		p.bytes_in += in->entries[i].bytes;
	for (int i = 0; i < t->n_files; i++)
		p.bytes += t->files[i].grows ? p.bytes_in : t->files[i].bytes;       /* packed: no more than what it holds */
	/* Reading heads may have taken more than what is left of it. In steps, for no two runs are the same to the page. */
	p.memory = K_MAX(p.memory, k_align_up(most, STEP));
	if (job->verify)
		p.memory = K_MAX(p.memory, job->verify->memory(job, ctx));
	return p;
}

static int say_plan(const struct k_plan *p, bool table, struct k_err *err)
{
	struct k_sink *sink = NULL;
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	k_plan_put(p, table, &b);
	r = k_buf_ok(&b, "the plan", err);
	if (r == 0)
		r = k_sink_open(&sink, NULL, err);
	if (r == 0)
		r = k_sink_write(sink, b.data, b.len, err);
	if (r == 0)
		r = k_sink_commit(sink, err);
	k_sink_close(sink);
	k_buf_fini(&b);
	return r;
}

static int remove_output(const struct k_job *job, struct k_err *err)
{
	const struct k_target *t = job->stream.target;
	int r = 0;

	if (job->folder)
		return k_path_remove_dir(job->out, err);
	for (int i = 0; r == 0 && i < t->n_files; i++)
		r = k_path_remove(t->files[i].name ? t->files[i].name : job->out, err);
	return r;
}

static int verify(const struct k_job *job, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_target *t = job->stream.target;
	const char *path = t->files[0].name && !job->folder ? t->files[0].name : job->out;
	struct k_err late;
	int r = job->verify->run(job, path, ctx, err);

	if (r < 0 && remove_output(job, &late) < 0)
		return k_err_add(err, "and it could not be removed: %s", late.msg);
	return r;
}

static int run(struct k_job *job, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_target *t = job->stream.target;
	struct k_out_opts o = { .path = job->out, .folder = job->folder, .resume = job->resume, .part = job->stream.part, .n_parts = job->stream.n_parts };
	struct k_resident have = resident();
	struct k_plan plan;
	struct k_out *out = NULL;
	int r;

	job->stream.held = k_align_up(have.now, STEP);
	plan = plan_of(job, have.most, ctx);
	r = job->plan ? say_plan(&plan, job->table, err) : 0;
	if (r == 0)
		r = k_plan_check(&plan, err);
	if (r < 0 || job->plan)
		return r;
	if (job->verify && (job->stream.in->sequential || !job->out || strcmp(job->out, "-") == 0 || o.n_parts))
		return k_err_set(err, K_EUSAGE, "--verify reads both sides again: it wants an input that is no pipe, and -o FILE, and no --part");
	if (job->resume || o.n_parts)
		r = make_key(job, o.key, err);
	if (r == 0)
		r = k_out_open(&out, &o, t->files, t->n_files, err);
	if (r == 0 && k_out_is_terminal(out))
		r = k_err_set(err, K_EUSAGE, "weights are not written to a terminal; use -o FILE or a pipe");
	if (r == 0)
		r = k_stream_run(&job->stream, out, ctx, err);
	if (r == 0)
		r = k_out_commit(out, err);
	k_out_close(out);
	return r < 0 || !job->verify ? r : verify(job, ctx, err);
}

int k_job_run(struct k_job *job, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_certificate *c = NULL;
	struct k_err late;
	int r;

	if (job->certificate.path && strcmp(job->certificate.path, "-") == 0 && (!job->out || strcmp(job->out, "-") == 0) && !job->plan)
		return k_err_set(err, K_EUSAGE, "--certificate - and the model cannot both go to standard output; give one of them a file");
	if (job->plan && job->watch_losses)
		job->stream.watch[job->stream.n_watch++] = (struct k_watch){ .values = true };
	if (job->plan || !job->watch_losses)
		return run(job, ctx, err);
	r = k_certificate_open(&c, &job->certificate, &job->stream, ctx, err);
	if (r < 0)
		return r;
	job->stream.watch[job->stream.n_watch++] = k_certificate_watch(c);
	r = run(job, ctx, err);
	if ((r == 0 || r == K_ENO) && k_certificate_commit(c, &late) < 0) {
		*err = late;
		r = late.code;
	}
	k_certificate_free(c);
	return r;
}
