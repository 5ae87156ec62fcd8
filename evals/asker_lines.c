/* asker_lines.c: questions and answers as JSON lines, for pipes: keval prompts T | kserve --stdio M | keval score T.
 *
 * One asker writes a line for each question; the other has read all answers before the first question, and looks them up by id. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/asker.h"
#include "evals/report.h"
#include "libcore/io.h"

#define INPUT_MAX (1u << 30)

struct lines {
	struct k_asker base;
	int (*write)(const void *p, size_t n, struct k_err *err);
	struct k_json *answers;         /* id -> answer */
};

static void lines_close(struct k_asker *a)
{
	struct lines *l = (struct lines *)a;
	k_json_free(l->answers);
	k_free(l);
}

static int put_run(struct k_asker *a, struct k_json *o)
{
	(void)a;
	return k_put_str(o, "answers", "lines");
}

/* --- questions ------------------------------------------------------------------------------------------------------------------ */

static struct k_json *line_of(const struct k_ask *q)
{
	if (q->kind != K_ASK_SCORE)
		return k_json_keep(q->request);
	struct k_buf b;
	k_buf_init(&b, 0);
	k_buf_puts(&b, q->context);
	k_buf_puts(&b, q->continuation);
	struct k_json *o = b.failed ? NULL : k_ask_score_request(k_json_new_string(b.data, b.len));
	k_buf_fini(&b);
	return o;
}

static int print(struct k_asker *a, struct k_ask *v, int64_t n, struct k_err *err)
{
	struct lines *l = (struct lines *)a;
	struct k_buf b;
	int r = 0;
	k_buf_init(&b, 0);
	for (int64_t i = 0; i < n && r == 0; i++) {
		struct k_json *line = line_of(&v[i]);
		k_buf_reset(&b);
		if (!line || k_put_str(line, "id", v[i].id) < 0)
			b.failed = true;
		else
			k_json_dump(&b, line, 0);
		k_json_free(line);
		k_buf_putc(&b, '\n');
		r = k_buf_ok(&b, "a line", err);
		if (r == 0)
			r = l->write(b.data, b.len, err);
	}
	k_buf_fini(&b);
	return r;
}

static struct lines *new_lines(struct k_err *err)
{
	struct lines *l = k_calloc(1, sizeof(*l));
	if (!l) {
		k_err_nomem(err, sizeof(*l), "lines");
		return NULL;
	}
	l->base = (struct k_asker){ .width = 256, .put_run = put_run, .close = lines_close };
	return l;
}

int k_asker_print(struct k_asker **out, int (*write)(const void *p, size_t n, struct k_err *err), struct k_err *err)
{
	struct lines *l = new_lines(err);
	*out = l ? &l->base : NULL;
	if (!l)
		return err->code;
	l->base.prints = true;
	l->base.ask = print;
	l->write = write;
	return 0;
}

/* --- answers -------------------------------------------------------------------------------------------------------------------- */

static int look_up(struct k_asker *a, struct k_ask *v, int64_t n, struct k_err *err)
{
	struct lines *l = (struct lines *)a;
	(void)err;
	for (int64_t i = 0; i < n; i++) {
		struct k_ask *q = &v[i];
		const struct k_json *o = k_json_find(l->answers, q->id), *e = k_json_find(o, "error");
		const char *says = k_json_string(k_json_find(e, "message"));
		if (!o)
			k_err_set(&q->err, K_ENOENT, "there is no answer with the id '%s'", q->id);
		else if (e && k_json_kind(e) != K_JSON_NULL)
			k_err_set(&q->err, K_EIO, "the answer is an error: %.200s", says ? says : "(nothing)");
		else if (q->kind != K_ASK_SCORE)
			q->answer = k_json_keep((struct k_json *)o);
		else if (k_ask_score_answer(q, o, -1, -1, &q->err) < 0)
			q->logprob = 0;
	}
	return 0;
}

static int take_line(struct lines *l, struct k_json *v, int64_t number, struct k_err *err)
{
	const char *id = k_json_string(k_json_find(v, "id")), *object = k_json_string(k_json_find(v, "object"));
	if (!id)
		return k_err_set(err, K_EFORMAT, "'standard input': line %lld has no id that is a string", (long long)number);
	bool chunk = object && !strcmp(object, "chat.completion.chunk");
	chunk |= k_json_find(k_json_at(k_json_find(v, "choices"), 0), "delta") != NULL;
	if (!chunk)
		return k_json_set(l->answers, id, k_json_keep(v)) < 0 ? k_err_nomem(err, 64, "answers") : 0;
	struct k_json *all = k_json_find(l->answers, id);
	bool fresh = !all;
	int r = k_chunk_add(&all, v, err);
	if (r == 0 && fresh)
		return k_json_set(l->answers, id, all) < 0 ? k_err_nomem(err, 64, "answers") : 0;
	if (fresh)
		k_json_free(all);
	return r;
}

static int read_answers(struct lines *l, struct k_err *err)
{
	struct k_source *src = NULL;
	struct k_buf b;
	int64_t number = 0;
	k_buf_init(&b, INPUT_MAX);
	int r = k_source_open(&src, "-", err);
	if (r == 0)
		r = k_source_slurp(src, &b, INPUT_MAX, err);
	for (size_t at = 0; r == 0 && at < b.len; ) {
		char *nl = memchr(b.data + at, '\n', b.len - at);
		size_t n = nl ? (size_t)(nl - (b.data + at)) : b.len - at;
		char what[64];
		struct k_json *v;
		snprintf(what, sizeof(what), "standard input: line %lld", (long long)++number);
		if (n && !(n == 6 && !memcmp(b.data + at, "[DONE]", 6))) {
			r = k_json_parse(&v, b.data + at, n, K_JSON_LAST_WINS | K_JSON_NUL, what, err);
			if (r == 0) {
				r = take_line(l, v, number, err);
				k_json_free(v);
			}
		}
		at += n + 1;
	}
	k_source_close(src);
	k_buf_fini(&b);
	return r;
}

int k_asker_lines(struct k_asker **out, struct k_err *err)
{
	struct lines *l = new_lines(err);
	*out = NULL;
	if (!l)
		return err->code;
	l->base.ask = look_up;
	l->answers = k_json_object();
	int r = l->answers ? read_answers(l, err) : k_err_nomem(err, 64, "answers");
	if (r < 0) {
		lines_close(&l->base);
		return r;
	}
	*out = &l->base;
	return 0;
}
