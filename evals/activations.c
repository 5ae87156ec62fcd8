/* activations.c: activation statistics: for each weight, and each expert of a stack, the sum of the squares of what each of its columns is
 * multiplied with, and of how many tokens. For kquant --scale imatrix.
 *
 *   text -> ids -> windows -> steps; functions laid over the device's products see the rows that enter them
 *
 * What enters a routed expert's down projection exists inside one operation only: it is computed again, gate and up once more. Tokens are
 * added in their order, each column by itself, in double: neither threads nor the batch change a digit.
 *
 * With --resume FILE the sums lie in FILE.state after a window, as often as that costs a twentieth of the time, and when a signal asks to stop
 * between two. A run that was killed goes on behind the last one that is in them, to the same bytes. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/report.h"
#include "evals/corpus.h"
#include "evals/seen.h"
#include "formats/imatrix.h"
#include "libcore/ctx.h"
#include "libcore/io.h"
#include "libcore/io_place.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "libcore/seq.h"

struct tap {
	struct k_device *dev;
	struct k_ops ops;               /* the device's own */
	struct k_seen_all seen;
	float *room; size_t n_room;     /* rows of the experts' inputs, gates and ups */
	struct k_err err;               /* the first failure; then nothing is added any more */
};

/* --- sums ----------------------------------------------------------------------------------------------------------------- */

enum { STRIP = 256 };
struct add { const float *x; double *sums; int64_t n, cols, step; };

static void add_strip(void *arg, int64_t i, int worker K_UNUSED)
{
	const struct add *a = arg;
	int64_t end = K_MIN((i + 1) * STRIP, a->cols);
	for (int64_t r = 0; r < a->n; r++)
		for (int64_t c = i * STRIP; c < end; c++)
			a->sums[c] += (double)a->x[r * a->step + c] * (double)a->x[r * a->step + c];
}

/* n rows that enter matrix `mat` of w. */
static void add_rows(struct tap *t, const struct k_tensor *w, int64_t mat, const float *x, int64_t n, int64_t step)
{
	struct k_seen *s = t->err.code ? NULL : k_seen_of(&t->seen, w->name, k_shape_slices(w->ndim, w->shape), k_shape_cols(w->ndim, w->shape), &t->err);
	if (!s)
		return;
	struct add a = { x, s->sums + mat * s->cols, n, s->cols, step };
	s->counts[mat] += n;
	k_pool_each(t->dev->ctx->pool, k_div_up(s->cols, STRIP), add_strip, &a);
}

/* --- operations ----------------------------------------------------------------------------------------------------------- */

static void tap_gemm(struct k_device *dev, const struct k_op_gemm *op)
{
	struct tap *t = dev->tap;
	/* What is always computed in f32 (routers, small gates) is never quantised. */
	if (!op->exact)
		add_rows(t, op->w, 0, op->x, op->n, op->x_step);
	t->ops.gemm(dev, op);
}

static bool make_room(struct tap *t, const struct k_op_moe *op)
{
	size_t n = (size_t)op->n * (size_t)(op->gate->shape[2] + 2 * op->gate->shape[1]);
	float *p;
	if (t->err.code || n <= t->n_room)
		return !t->err.code;
	p = k_realloc(t->room, n * sizeof(*p));
	if (!p) {
		k_err_nomem(&t->err, n * sizeof(*p), "the inputs of experts");
		return false;
	}
	t->room = p;
	t->n_room = n;
	return true;
}

/* The tokens that go to expert e, one after the other. */
static int64_t gather(const struct k_op_moe *op, int64_t e, float *x)
{
	int64_t used = op->hp->n_expert_used, D = op->gate->shape[2], n = 0;
	for (int64_t i = 0; i < op->n; i++)
		for (int64_t k = 0; k < used; k++)
			if (op->ids[i * used + k] == e)
				memcpy(x + n++ * D, op->x + i * D, (size_t)D * sizeof(*x));
	return n;
}

static void see_expert(struct tap *t, const struct k_op_moe *op, int64_t e)
{
	int64_t F = op->gate->shape[1], D = op->gate->shape[2];
	float *x = t->room, *gate = x + op->n * D, *up = gate + op->n * F;
	struct k_tensor g = k_tensor_slice(op->gate, e), u = k_tensor_slice(op->up, e);
	int64_t n = gather(op, e, x);
	if (n == 0)
		return;
	add_rows(t, op->gate, e, x, n, D);
	add_rows(t, op->up, e, x, n, D);
	t->ops.gemm(t->dev, &(struct k_op_gemm){ .y = gate, .x = x, .w = &g, .n = n, .y_step = F, .x_step = D });
	t->ops.gemm(t->dev, &(struct k_op_gemm){ .y = up, .x = x, .w = &u, .n = n, .y_step = F, .x_step = D });
	t->ops.swiglu(t->dev, &(struct k_op_swiglu){ .y = gate, .gate = gate, .up = up, .n = n * F, .situ = op->hp->situ, .situ_up = op->hp->situ_up });
	add_rows(t, op->down, e, gate, n, F);
}

static void tap_moe(struct k_device *dev, const struct k_op_moe *op)
{
	struct tap *t = dev->tap;
	if (make_room(t, op))
		for (int64_t e = 0; e < op->hp->n_expert; e++)
			see_expert(t, op, e);
	t->ops.moe(dev, op);
}

static void tap_open(struct tap *t, struct k_device *dev)
{
	memset(t, 0, sizeof(*t));
	k_seen_init(&t->seen);
	t->dev = dev;
	t->ops = dev->ops;
	dev->tap = t;
	dev->ops.gemm = tap_gemm;
	dev->ops.moe = tap_moe;
}

static void tap_close(struct tap *t)
{
	t->dev->ops = t->ops;
	t->dev->tap = NULL;
	k_seen_fini(&t->seen);
	k_free(t->room);
}

/* --- the text ------------------------------------------------------------------------------------------------------------- */

struct job {
	struct k_model *m; const struct k_eval_opts *o; const struct k_ctx *ctx;
	struct k_ids ids; char text[65]; int32_t bos;
	int64_t window, windows, tokens;
	int64_t done;                   /* windows that are in the sums */
	char *state;                    /* --resume: the file of the sums; NULL: none */
	char *run;                      /* what must be the same for them to go on */
	uint64_t next_ns;               /* when they are due again */
};

/* --- going on ------------------------------------------------------------------------------------------------------------- */

static int put_run(const struct job *j, struct k_json *o)
{
	return k_put_str(o, "task", "imatrix") | k_put_run(o, j->m, j->o, j->ctx) | k_put_int(o, "window", j->window) |
		(j->bos < 0 ? k_put_null(o, "bos_id") : k_put_int(o, "bos_id", j->bos)) | k_put_str(o, "text_sha256", j->text) |
		k_put_int(o, "windows", j->windows);
}

/* The report begins with what this run is; a report of another run is refused there. The sums of an earlier run are taken. */
static int begin(struct job *j, struct tap *t, struct k_report *rep, struct k_err *err)
{
	struct k_json *head = k_json_object();
	struct k_buf b;
	if (!head || put_run(j, head)) {
		k_json_free(head);
		return k_err_nomem(err, 1024, "the report");
	}
	k_buf_init(&b, 0);
	k_json_dump(&b, head, 0);
	int r = k_buf_ok(&b, "the report", err);
	j->run = k_buf_take(&b, NULL);
	k_buf_fini(&b);
	if (r < 0)
		k_json_free(head);
	else
		r = k_report_item(rep, "run", head, true, NULL, err);
	if (r < 0 || !j->o->resume)
		return r;
	k_buf_init(&b, 0);
	k_buf_printf(&b, "%s.state", j->o->resume);
	r = k_buf_ok(&b, "a file name", err);
	j->state = k_buf_take(&b, NULL);
	k_buf_fini(&b);
	struct k_seen_at at = { .run = j->run };
	if (r == 0)
		r = k_seen_load(&t->seen, j->state, &at, err);
	j->done = at.windows;
	j->tokens = at.tokens;
	if (r == 0 && j->done)
		k_logf(j->ctx->log, K_LOG_INFO, "'%s' goes on behind window %lld of %lld", j->o->resume, (long long)j->done, (long long)j->windows);
	return r;
}

static int save(struct job *j, const struct tap *t, struct k_err *err)
{
	uint64_t now = k_now_ns();
	int r = k_seen_save(&t->seen, j->state, &(struct k_seen_at){ j->run, j->done, j->tokens }, err);
	j->next_ns = k_now_ns() + 20 * (k_now_ns() - now);
	return r;
}

/* Before a window: is there to be one? What is in the sums is kept when a signal says no. */
static int go_on(struct job *j, const struct tap *t, struct k_err *err)
{
	struct k_err other;
	int r = k_ctx_check(j->ctx, err);
	if (r < 0 && j->state && j->done && save(j, t, &other) < 0)
		k_logf(j->ctx->log, K_LOG_WARN, "%s", other.msg);
	return r < 0 || !j->state || k_now_ns() < j->next_ns || !j->done ? r : save(j, t, err);
}

/* --- windows -------------------------------------------------------------------------------------------------------------- */

static int run_windows(struct job *j, struct tap *t, struct k_err *err)
{
	int32_t *in = k_alloc(((size_t)j->window + 1) * sizeof(*in));
	struct k_progress meter;
	struct k_seq *seq = NULL;
	const struct k_probe all = { 0 };       /* every layer sees every token */
	int64_t len;
	int r = in ? k_seq_new(&seq, j->m, err) : k_err_nomem(err, ((size_t)j->window + 1) * sizeof(*in), "a window");
	k_progress_begin(&meter, j->ctx->log, "imatrix", (uint64_t)j->windows, "windows");
	k_progress_step(&meter, (uint64_t)j->done);
	while (r == 0 && j->done < j->windows && (r = go_on(j, t, err)) == 0) {
		int64_t from = j->done * j->window, n = K_MIN((int64_t)j->ids.n - from, j->window), k = 0;
		if (j->bos >= 0)
			in[k++] = j->bos;
		memcpy(in + k, j->ids.v + from, (size_t)n * sizeof(*in));
		r = k_seq_rewind(seq, 0, &len, err);
		if (r == 0)
			r = k_model_step(j->m, &(struct k_run){ seq, in, k + n, 0 }, 1, NULL, &all, err);
		if (r == 0 && t->err.code) {
			*err = t->err;
			r = err->code;
		}
		j->tokens += k + n;
		j->done++;
		k_progress_step(&meter, 1);
	}
	k_progress_end(&meter);
	k_seq_free(seq);
	k_free(in);
	return r;
}

/* Experts that no token reached are named, and counted. */
static int64_t tell_unseen(const struct tap *t, struct k_log *log)
{
	int64_t unseen = 0;
	for (const struct k_seen *s = t->seen.first; s; s = s->next)
		for (int64_t e = 0; e < s->mats; e++)
			if (s->mats > 1 && !s->counts[e]) {
				k_logf(log, K_LOG_WARN, "%s: no token reached expert %lld", s->name, (long long)e);
				unseen++;
			}
	return unseen;
}

/* As floats, which is what a file of them holds. K_ENO: kquant would take no such file. */
static int check_sums(const struct tap *t, struct k_err *err)
{
	for (const struct k_seen *s = t->seen.first; s; s = s->next)
		for (int64_t i = 0; i < s->mats * s->cols; i++)
			if (!isfinite((float)s->sums[i]))
				return k_err_set(err, K_ENO, "%s: the sum of squares of what enters column %lld of matrix %lld is %g, wanted a finite float: no file is written",
					s->name, (long long)(i % s->cols), (long long)(i / s->cols), s->sums[i]);
	return 0;
}

static int write_file(const struct job *j, const struct tap *t, struct k_err *err)
{
	struct k_imatrix_row *rows = k_calloc((size_t)t->seen.n + 1, sizeof(*rows));
	struct k_sink *sink = NULL;
	int n = 0, r = rows ? k_sink_open(&sink, NULL, err) : k_err_nomem(err, (size_t)t->seen.n * sizeof(*rows), "activation statistics");
	for (const struct k_seen *s = t->seen.first; r == 0 && s; s = s->next)
		rows[n++] = (struct k_imatrix_row){ s->name, s->mats, s->cols, s->sums, s->counts };
	if (r == 0 && k_sink_is_terminal(sink))
		r = k_err_set(err, K_EUSAGE, "statistics are not written to a terminal; use -o FILE");
	if (r == 0)
		r = k_imatrix_write(sink, k_model_arch(j->m)->name, rows, n, j->text, j->windows, j->window, err);
	if (r == 0)
		r = k_sink_commit(sink, err);
	k_sink_close(sink);
	k_free(rows);
	return r;
}

static int summarise(const struct job *j, int64_t unseen, struct k_report *rep, struct k_err *err)
{
	struct k_json *s = k_json_object();
	int bad = !s || put_run(j, s) | k_put_int(s, "tokens", j->tokens) | k_put_int(s, "experts_unseen", unseen);
	if (bad) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(rep, s, err);
}

static int see_text(struct job *j, struct k_report *rep, struct k_err *err)
{
	struct tap t;
	struct k_err other;
	int64_t n = (int64_t)j->ids.n;
	int r, finite = 0;
	j->window = j->o->window ? j->o->window : 512;
	j->windows = k_div_up(n, j->window);
	if (j->o->limit)
		j->windows = K_MIN(j->windows, j->o->limit);
	if (j->windows == 0)
		return k_err_set(err, K_EFORMAT, "'%s' has no tokens", j->o->file);
	tap_open(&t, k_model_device(j->m));
	r = begin(j, &t, rep, err);
	if (r == 0)
		r = run_windows(j, &t, err);
	if (r == 0)
		finite = check_sums(&t, err);
	if (r == 0 && finite == 0)
		r = write_file(j, &t, err);
	if (r == 0)
		r = summarise(j, tell_unseen(&t, j->ctx->log), rep, finite == 0 ? err : &other);
	if (r == 0 && j->state)
		r = k_path_remove(j->state, finite == 0 ? err : &other);
	tap_close(&t);
	return r < 0 ? r : finite;
}

static int imatrix_run(struct k_model *m, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct job j = { .m = m, .o = o, .ctx = ctx };
	int r;
	if (!o->file)
		return k_err_set(err, K_EUSAGE, "imatrix wants -f FILE, a text");
	/* The functions look at rows where they lie. */
	if (strcmp(k_model_device(m)->backend->name, "cpu") != 0)
		return k_err_set(err, K_EUNSUP, "imatrix works on device cpu only, this is %s", k_model_device(m)->backend->name);
	k_ids_init(&j.ids);
	r = k_corpus_read(m, o->file, &j.ids, j.text, err);
	if (r == 0)
		r = k_corpus_bos(m, o->bos, &j.bos, err);
	if (r == 0)
		r = see_text(&j, rep, err);
	k_free(j.state);
	k_free(j.run);
	k_ids_fini(&j.ids);
	return r;
}

const struct k_eval k_eval_imatrix = {
	.name = "imatrix",
	.about = "activation statistics of a text (-f), by column of each weight and expert, as GGUF (-o) for kquant --scale imatrix",
	.fields = "tokens experts_unseen",
	.writes = true,
	.run = imatrix_run,
};
