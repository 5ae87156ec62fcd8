/* asker_lines.c: questions and answers as JSON lines, for pipes: keval prompts T | kserve --stdio M | keval score T.
 *
 * One asker writes a line for each question; the other has read all answers before the first question, and looks them up by id.
 *
 * An answer may be part of a record: {"data_index", "response", ...}, as the vendor verifier writes them, in any order; its id is then
 * "item INDEX/0", without an index that of its line. A second answer to a question is refused unless the first is an error, which was tried again: nobody
 * said which of the two counts. A record may hold texts as well: "completion" is what the model wrote, with markers and all
 * (as is "text" of a choice that has no message), "prompt" what it was given. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/asker.h"
#include "evals/answer.h"
#include "evals/report.h"
#include "evals/said.h"
#include "libcore/io.h"

#define INPUT_MAX (1u << 30)

struct lines {
	struct k_asker base;
	int (*write)(const void *p, size_t n, struct k_err *err);
	struct k_json *answers;         /* id -> answer, or record */
	struct k_reader *reader;        /* may be NULL */
};

static void lines_close(struct k_asker *a)
{
	struct lines *l = (struct lines *)a;
	k_json_free(l->answers);
	k_reader_close(l->reader);
	k_free(l);
}

static int put_run(struct k_asker *a, struct k_json *o)
{
	const struct lines *l = (const struct lines *)a;
	return k_put_str(o, "answers", "lines") | (l->reader ? k_put_str(o, "chat_layout", k_reader_layout(l->reader)) : 0);
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

static bool has_text(const struct k_json *o, const char *key) { return k_json_kind(k_json_find(o, key)) == K_JSON_STRING; }

/* What differs is noted, the first of it; other errors are the question's own. */
static int verdict(struct k_ask *q, int r, struct k_err *err)
{
	if (r == K_ENO && !q->differs.code)
		q->differs = *err;
	return r == K_ENO ? 0 : r;
}

static int set_choice(struct k_ask *q, struct k_json *choice, struct k_err *err)
{
	struct k_json *o = k_json_object(), *list = k_json_array();
	if ((k_json_push(list, choice) | k_json_set(o, "choices", list)) < 0) {
		k_json_free(o);
		return k_err_nomem(err, 64, "an answer");
	}
	q->answer = o;
	return 0;
}

/* record: the line; answer: what the API said, which may be a text and no message. */
static int replay(struct lines *l, struct k_ask *q, const struct k_json *record, struct k_json *answer, struct k_err *err)
{
	const struct k_json *choice = k_json_at(k_json_find(answer, "choices"), 0), *message = k_json_find(choice, "message");
	const struct k_json *text = has_text(record, "completion") ? k_json_find(record, "completion") : message ? NULL : k_json_find(choice, "text");
	const struct k_json *prompt = k_json_find(record, "prompt");
	const char *why = k_json_string(k_json_find(choice, "finish_reason"));
	struct k_json *made = NULL;
	int r = 0;
	q->replayed = l->reader && (k_json_string(text) || k_json_string(prompt));
	if (!message && !l->reader && k_json_string(text))
		return k_err_set(err, K_EFORMAT, "the answer is a text and no message: it takes a model's chat layout to read it (-m)");
	if (l->reader && k_json_string(prompt))
		r = verdict(q, k_reader_prompt(l->reader, q->request, k_json_string(prompt), k_json_len(prompt), err), err);
	if (r == 0 && l->reader && k_json_string(text))
		r = k_reader_choice(l->reader, q->request, k_json_string(text), k_json_len(text), why && strcmp(why, "tool_calls") ? why : "stop", &made, err);
	if (r == 0 && made && message)
		r = verdict(q, k_answer_same_calls(k_json_find(made, "message"), message, err), err);
	if (r == 0 && !message && made)
		return set_choice(q, made, err);
	k_json_free(made);
	return r == 0 ? k_ask_take(q, answer, err) : r;
}

/* What the API said: all of a line, or a part of a record. */
static struct k_json *answer_of(struct k_json *record)
{
	struct k_json *response = k_json_find(record, "response");
	return response ? response : record;
}

static void answer_one(struct lines *l, struct k_ask *q)
{
	struct k_json *record = k_json_find(l->answers, q->id), *answer = answer_of(record);
	const char *says = k_said_error(answer);
	struct k_err err;
	if (!record)
		k_err_set(&q->err, K_ENOENT, "there is no answer with the id '%s'", q->id);
	else if (says)
		k_err_set(&q->err, K_EIO, "the answer is an error: %.200s", says);
	else if (k_json_kind(answer) != K_JSON_OBJECT)
		k_err_set(&q->err, K_EIO, "the record's response is %s, wanted an answer", k_json_kind_name(answer));
	else if (q->kind == K_ASK_SCORE && k_ask_score_answer(q, answer, -1, -1, &q->err) < 0)
		q->logprob = 0;
	else if (q->kind == K_ASK_CHAT && replay(l, q, record, answer, &err) < 0)
		q->err = err;
	else if (q->kind == K_ASK_TEXT && k_ask_take(q, answer, &err) < 0)
		q->err = err;
}

static int look_up(struct k_asker *a, struct k_ask *v, int64_t n, struct k_err *err)
{
	(void)err;
	for (int64_t i = 0; i < n; i++)
		answer_one((struct lines *)a, &v[i]);
	return 0;
}

/* The id of a line; where it has none and is a record, that of its index, or of the line itself. */
static const char *id_of(const struct k_json *v, int64_t number, char made[64])
{
	const char *id = k_json_string(k_json_find(v, "id"));
	const struct k_json *index = k_json_find(v, "data_index");
	if (id || !(k_json_find(v, "response") || has_text(v, "completion")))
		return id;
	snprintf(made, 64, "item %lld/0", (long long)(k_json_kind(index) == K_JSON_INT ? k_json_int(index) : number));
	return made;
}

/* A stream that broke off: the answer is what its chunk says. */
static int set_error(struct lines *l, const char *id, struct k_err *err)
{
	struct k_json *o = k_json_object();
	if (o && k_put_str(o, "error", err->msg) == 0)
		return k_json_set(l->answers, id, o) < 0 ? k_err_nomem(err, 64, "answers") : 0;
	k_json_free(o);
	return k_err_nomem(err, 64, "answers");
}

static int set_answer(struct lines *l, const char *id, struct k_json *v, int64_t number, struct k_err *err)
{
	struct k_json *old = k_json_find(l->answers, id), *said = answer_of(old);
	if (k_json_kind(said) == K_JSON_OBJECT && !k_said_error(said) && !k_json_equal(old, v))
		return k_err_set(err, K_EFORMAT, "'standard input': line %lld is a second answer with the id '%.100s', and another one", (long long)number, id);
	return k_json_set(l->answers, id, k_json_keep(v)) < 0 ? k_err_nomem(err, 64, "answers") : 0;
}

static int take_line(struct lines *l, struct k_json *v, int64_t number, struct k_err *err)
{
	char made[64];
	const char *id = id_of(v, number, made), *object = k_json_string(k_json_find(v, "object"));
	if (!id)
		return k_err_set(err, K_EFORMAT, "'standard input': line %lld has no id that is a string, and no response", (long long)number);
	bool chunk = object && !strcmp(object, "chat.completion.chunk");
	chunk |= k_json_find(k_json_at(k_json_find(v, "choices"), 0), "delta") != NULL;
	if (!chunk)
		return set_answer(l, id, v, number, err);
	struct k_json *all = k_json_find(l->answers, id);
	bool fresh = !all;
	int r = k_chunk_add(&all, v, err);
	if (r == 0 && fresh)
		return k_json_set(l->answers, id, all) < 0 ? k_err_nomem(err, 64, "answers") : 0;
	if (fresh)
		k_json_free(all);
	return r == 0 || r == K_ENOMEM ? r : set_error(l, id, err);
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
		char *nl = memchr(b.data + at, '\n', b.len - at), *end = nl ? nl : b.data + b.len;
		size_t n = (size_t)(end - (b.data + at));
		bool done = n >= 6 && !memcmp(b.data + at, "[DONE]", 6) && k_is_blank(b.data + at + 6, n - 6);
		char what[64];
		struct k_json *v;
		snprintf(what, sizeof(what), "standard input: line %lld", (long long)++number);
		if (!done && !k_is_blank(b.data + at, n)) {
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

int k_asker_lines(struct k_asker **out, struct k_reader *reader, struct k_err *err)
{
	struct lines *l = new_lines(err);
	*out = NULL;
	if (!l) {
		k_reader_close(reader);
		return err->code;
	}
	l->reader = reader;
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
