/* job.c: see job.h. */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/io_place.h"
#include "libcore/job.h"

enum { CEILING = 512 << 20, MOST_PARTS = 10000 };

int k_job_part(const char *text, int *part, int *n_parts, struct k_err *err)
{
	char rest;

	if (sscanf(text, "%5d/%5d%c", part, n_parts, &rest) == 2 && *part >= 1 && *n_parts >= 1 && *part <= *n_parts && *n_parts <= MOST_PARTS)
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

static int check_memory(const struct k_job *job, const struct k_ctx *ctx, struct k_err *err)
{
	uint64_t limit = ctx->max_memory ? ctx->max_memory : CEILING, need = k_stream_memory(&job->stream, ctx);

	if (need <= limit)
		return 0;
	return k_err_set(err, K_ENOMEM, "'%s': %llu bytes of memory are needed, %s is %llu", job->stream.in->path, (unsigned long long)need,
		ctx->max_memory ? "--max-memory" : "the ceiling (--max-memory)", (unsigned long long)limit);
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
	int r = job->verify(job, path, ctx, err);

	if (r < 0 && remove_output(job, &late) < 0)
		return k_err_add(err, "and it could not be removed: %s", late.msg);
	return r;
}

static int run(struct k_job *job, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_target *t = job->stream.target;
	struct k_out_opts o = { .path = job->out, .folder = job->folder, .resume = job->resume, .part = job->stream.part, .n_parts = job->stream.n_parts };
	struct k_out *out = NULL;
	int r = check_memory(job, ctx, err);

	if (r == 0 && job->verify && (job->stream.in->sequential || !job->out || strcmp(job->out, "-") == 0 || o.n_parts))
		r = k_err_set(err, K_EUSAGE, "--verify reads both sides again: it wants an input that is no pipe, and -o FILE, and no --part");
	if (r == 0 && (job->resume || o.n_parts))
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

	if (!job->watch_losses)
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
