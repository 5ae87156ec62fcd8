/* quiz.c: see quiz.h. Items are judged and reported in the order of the file, whatever order the answers come in. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/quiz.h"
#include "evals/report.h"
#include "evals/stats.h"
#include "libcore/ctx.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/log.h"

#define FILE_MAX (1u << 30)

struct quiz {
	const struct k_quiz *z;
	struct k_asker *a;
	const struct k_eval_opts *o;
	struct k_report *rep;
	const struct k_ctx *ctx;
	struct k_buf text;
	size_t at, first;               /* of the text: the next line, the first one */
	int64_t line, n_lines, left;    /* lines come past; with something in them; items still to draw */
	int64_t drawn;                  /* items that were, of all parts */
	uint64_t random;
	struct k_quiz_item *item;       /* of the window */
	int64_t n_item, n_judged, cap, done;
	struct k_ask *ask;              /* of the window, one after the other */
	int64_t n_ask;
};

/* --- lines ------------------------------------------------------------------------------------------------------------------------ */

/* The next line with something in it; NULL at the end. */
static const char *next_line(struct quiz *q, size_t *n)
{
	while (q->at < q->text.len) {
		const char *p = q->text.data + q->at, *nl = memchr(p, '\n', q->text.len - q->at);
		*n = nl ? (size_t)(nl - p) : q->text.len - q->at;
		q->at += *n + 1;
		q->line++;
		if (!k_is_blank(p, *n))
			return p;
	}
	return NULL;
}

/* Is this line one of those that --limit leaves? The first ones, or with --seed as many drawn without bias, in their order. */
static bool is_drawn(struct quiz *q)
{
	uint64_t of = (uint64_t)q->n_lines--;
	bool yes = q->left && (!q->o->seed || k_random_below(&q->random, of) < (uint64_t)q->left);
	q->left -= yes;
	return yes;
}

/* Is the item that was just drawn one of this part? */
static bool is_ours(struct quiz *q) { return !q->o->parts || q->drawn++ % q->o->parts == q->o->part - 1; }

static int load(struct quiz *q, char digest[65], struct k_err *err)
{
	struct k_source *src = NULL;
	uint8_t raw[32];
	size_t n;
	int r = k_source_open(&src, q->o->file, err);
	if (r == 0)
		r = k_source_slurp(src, &q->text, FILE_MAX, err);
	if (r == 0)
		r = k_sha256_once(q->text.len ? q->text.data : "", q->text.len, raw, err);
	if (r == 0 && q->z->lines) {            /* the file is what they are made of */
		k_buf_put(&q->text, q->z->lines->data, q->z->lines->len);
		q->at = q->text.len - q->z->lines->len;
		r = k_buf_ok(&q->text, "questions", err);
	}
	q->first = q->at;
	k_source_close(src);
	if (r < 0)
		return r;
	k_hex(digest, raw);
	while (next_line(q, &n))
		q->n_lines++;
	if (!q->n_lines)
		return k_err_set(err, K_EFORMAT, "'%s' has no items", q->o->file);
	q->at = q->first;
	q->line = 0;
	q->left = q->o->limit && q->o->limit < q->n_lines ? q->o->limit : q->n_lines;
	q->random = (uint64_t)q->o->seed;
	return 0;
}

/* --- questions -------------------------------------------------------------------------------------------------------------------- */

static struct k_ask *add_ask(struct k_quiz_item *q, enum k_ask_kind kind, struct k_err *err)
{
	if (q->n == K_QUIZ_ASKS) {
		k_err_set(err, K_EFORMAT, "more than %d questions", K_QUIZ_ASKS);
		return NULL;
	}
	struct k_ask *a = &q->ask[q->n];
	memset(a, 0, sizeof(*a));
	a->kind = kind;
	snprintf(a->id, sizeof(a->id), "%s/%d", q->key, q->n);
	q->n++;
	return a;
}

int k_quiz_score(struct k_quiz_item *q, const char *context, const char *continuation, struct k_err *err)
{
	struct k_ask *a = add_ask(q, K_ASK_SCORE, err);
	if (!a)
		return err->code;
	a->context = k_strdup(context);
	a->continuation = k_strdup(continuation);
	return a->context && a->continuation ? 0 : k_err_nomem(err, strlen(context), "a question");
}

int k_quiz_request(struct k_quiz_item *q, enum k_ask_kind kind, struct k_json *request, struct k_err *err)
{
	struct k_ask *a = request ? add_ask(q, kind, err) : NULL;
	if (!request)
		return k_err_nomem(err, 256, "a question");
	if (!a) {
		k_json_free(request);
		return err->code;
	}
	a->request = request;
	return 0;
}

static void drop_window(struct quiz *q)
{
	for (int64_t i = 0; i < q->n_ask; i++)
		k_ask_fini(&q->ask[i]);
	for (int64_t i = 0; i < q->n_item; i++)
		k_json_free(q->item[i].json);
	q->n_ask = q->n_item = q->n_judged = 0;
}

/* --- a window ----------------------------------------------------------------------------------------------------------------------- */

/* A line becomes the next item of the window, and its questions. */
static int read_item(struct quiz *q, const char *line, size_t n, struct k_err *err)
{
	struct k_quiz_item *it = &q->item[q->n_item];
	char what[256];
	snprintf(what, sizeof(what), "%.200s: line %lld", q->o->file, (long long)q->line);
	int r = k_json_parse(&it->json, line, n, K_JSON_LAST_WINS, what, err);
	if (r < 0)
		return r;
	q->n_item++;
	it->ask = q->ask + q->n_ask;
	r = q->z->plan(q->z->arg, it, err);
	q->n_ask += it->n;
	return r < 0 ? k_err_add(err, "in '%s'", what) : 0;
}

static int plan_item(struct quiz *q, const char *line, size_t n, struct k_err *err)
{
	struct k_quiz_item *it = &q->item[q->n_item];
	memset(it, 0, sizeof(*it));
	snprintf(it->key, sizeof(it->key), "item %lld", (long long)q->line);
	if (q->rep && k_report_have(q->rep, it->key)) {
		q->done++;
		return 0;
	}
	return read_item(q, line, n, err);
}

static int judge_item(struct quiz *q, struct k_quiz_item *it, struct k_err *err)
{
	char why[400];
	for (int i = 0; i < it->n; i++) {
		if (!it->ask[i].err.code)
			continue;
		snprintf(why, sizeof(why), "%.390s", it->ask[i].err.msg);
		return k_report_item(q->rep, it->key, k_json_object(), false, why, err);
	}
	return k_report_item(q->rep, it->key, q->z->judge(q->z->arg, it), true, NULL, err);
}

static bool is_answered(const struct k_quiz_item *it)
{
	for (int i = 0; i < it->n; i++)
		if (!it->ask[i].done)
			return false;
	return true;
}

static int judge_next(struct quiz *q, struct k_err *err)
{
	int r = judge_item(q, &q->item[q->n_judged++], err);
	q->done++;
	return r;
}

/* Items are reported in their order, each as soon as it and those before it have their answers: what broke off later keeps them. */
static int judge_answered(void *arg, struct k_err *err)
{
	struct quiz *q = arg;
	int r = 0;
	while (r == 0 && q->n_judged < q->n_item && is_answered(&q->item[q->n_judged]))
		r = judge_next(q, err);
	return r;
}

/* 1: there may be more. */
static int window(struct quiz *q, struct k_err *err)
{
	const char *line = NULL;
	size_t n;
	int r = k_ctx_check(q->ctx, err);
	while (r == 0 && q->n_item < q->cap && q->n_ask < q->a->width && q->left && (line = next_line(q, &n)))
		if (is_drawn(q) && is_ours(q))
			r = plan_item(q, line, n, err);
	if (r == 0 && q->n_ask)
		r = q->a->ask(q->a, q->ask, q->n_ask, err);
	while (r == 0 && q->n_judged < q->n_item && !q->a->prints)
		r = judge_next(q, err);
	bool more = q->left && line;
	drop_window(q);
	return r < 0 ? r : more;
}

/* --- the run -------------------------------------------------------------------------------------------------------------------------- */

/* A line that is none of this task's would end the run: it is looked for before hours of answers, and not after them. q is a copy: nothing is
 * drawn by this. */
static int check_lines(struct quiz q, struct k_err *err)
{
	const char *line;
	size_t n;
	int r = 0;
	while (r == 0 && q.left && (line = next_line(&q, &n))) {
		if (!is_drawn(&q) || !is_ours(&q))
			continue;
		memset(q.item, 0, sizeof(*q.item));
		r = read_item(&q, line, n, err);
		drop_window(&q);
		if (r == 0)
			r = k_ctx_check(q.ctx, err);
	}
	return r;
}

static int put_head(struct quiz *q, const char *digest, struct k_err *err)
{
	struct k_json *o = k_json_object();
	int bad = !o || k_put_str(o, "task", q->z->name) | q->a->put_run(q->a, o) | k_put_part(o, q->o) | k_put_str(o, "file_sha256", digest) |
		k_put_int(o, "limit", q->o->limit) | k_put_int(o, "seed", q->o->seed) | (q->z->put_run ? q->z->put_run(q->z->arg, o) : 0);
	if (bad) {
		k_json_free(o);
		o = NULL;
	}
	return k_report_item(q->rep, "run", o, true, NULL, err);
}

int k_quiz_run(const struct k_quiz *z, struct k_asker *a, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx,
	struct k_err *err)
{
	struct quiz q = { .z = z, .a = a, .o = o, .rep = a->prints ? NULL : rep, .ctx = ctx, .cap = a->width };
	struct k_progress meter;
	char digest[65];
	if (!o->file)
		return k_err_set(err, K_EUSAGE, "%s wants -f FILE, JSON lines", z->name);
	a->tell = judge_answered;
	a->tell_arg = &q;
	k_buf_init(&q.text, FILE_MAX);
	q.item = k_calloc((size_t)q.cap, sizeof(*q.item));
	q.ask = k_calloc((size_t)a->width + K_QUIZ_ASKS, sizeof(*q.ask));
	int r = q.item && q.ask ? load(&q, digest, err) : k_err_nomem(err, (size_t)q.cap * sizeof(*q.ask), "questions");
	if (r == 0 && !z->lines)
		r = check_lines(q, err);
	if (r == 0 && q.rep)
		r = put_head(&q, digest, err);
	k_progress_begin(&meter, ctx->log, z->name, (uint64_t)(q.left / K_MAX(o->parts, 1)), "items");
	for (int64_t before = 0, more = 1; r == 0 && more; before = q.done) {
		r = window(&q, err);
		more = r == 1;
		r = K_MIN(r, 0);
		k_progress_step(&meter, (uint64_t)(q.done - before));
	}
	k_progress_end(&meter);
	drop_window(&q);
	k_buf_fini(&q.text);
	k_free(q.item);
	k_free(q.ask);
	a->tell = NULL;
	return r < 0 || !q.rep ? r : k_report_sum(rep, z->summarise, err);
}

/* --- the summary ---------------------------------------------------------------------------------------------------------------------- */

bool k_quiz_judged(const struct k_json *item) { return !k_json_find(item, "why"); }

int k_quiz_put_share(struct k_json *s, const char *name, const char *error, int64_t right, int64_t n)
{
	if (!n)
		return k_put_null(s, name) | k_put_null(s, error);
	return k_put_num(s, name, (double)right / (double)n) | k_put_num(s, error, k_stats_stderr((double)right, (double)right, n));
}
