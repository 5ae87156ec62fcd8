/* choice.c: multiple choice by log-likelihood: of the choices, which is the likeliest continuation of the prompt?
 *
 * Lines of these shapes are accepted, and read as lm-eval's tasks of those names read them:
 *
 *   {"prompt", "choices": [..], "answer"}                                  as it is
 *   {"question", "choices": [..], "answer"}                                MMLU: the choices are listed, the letters are asked
 *   {"question", "choices": {"text": [..], "label": [..]}, "answerKey"}    ARC
 *   {"ctx_a", "ctx_b", "activity_label", "endings": [..], "label"}         HellaSwag
 *
 * An answer is an index from 0, a letter from A, or a label. Prompt and choice are joined by a space where neither has one. acc counts the
 * largest log-likelihood, acc_norm the largest by character of the choice, acc_bytes by byte; the first of equals wins. */
#include "libcore/base.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/quiz.h"
#include "evals/report.h"

/* One line, whatever its shape. */
struct question {
	struct k_buf prompt;
	struct k_buf text[K_QUIZ_ASKS]; /* the choices, as they go on */
	int n, answer;
};

/* --- shapes ------------------------------------------------------------------------------------------------------------------------- */

static int index_of(const struct k_json *v, const struct k_json *labels, int n)
{
	const char *s = k_json_string(v);
	char *end;
	if (k_json_kind(v) == K_JSON_INT)
		return k_json_int(v) >= 0 && k_json_int(v) < n ? (int)k_json_int(v) : -1;
	for (size_t i = 0; s && i < k_json_len(labels); i++)
		if (k_json_string(k_json_at(labels, i)) && !strcmp(k_json_string(k_json_at(labels, i)), s))
			return (int)i;
	if (!s || !*s)
		return -1;
	long x = strtol(s, &end, 10);
	if (!*end)
		return x >= 0 && x < n ? (int)x : -1;
	return !s[1] && *s >= 'A' && *s < 'A' + n ? *s - 'A' : -1;
}

static int put_choices(struct question *u, const struct k_json *list, struct k_err *err)
{
	u->n = (int)K_MIN(k_json_len(list), (size_t)K_QUIZ_ASKS + 1);
	if (u->n < 2 || u->n > K_QUIZ_ASKS)
		return k_err_set(err, K_EFORMAT, "%zu choices, wanted 2 to %d", k_json_len(list), K_QUIZ_ASKS);
	for (int i = 0; i < u->n; i++) {
		const struct k_json *v = k_json_at(list, (size_t)i);
		if (!k_json_string(v) || !k_json_len(v))
			return k_err_set(err, K_EFORMAT, "choice %d is %s, wanted a text", i, k_json_string(v) ? "empty" : k_json_kind_name(v));
		k_buf_puts(&u->text[i], k_json_string(v));
		if (k_buf_ok(&u->text[i], "a choice", err) < 0)
			return err->code;
	}
	return 0;
}

static void put_trimmed(struct k_buf *b, const char *s)
{
	size_t n = strlen(s);
	while (n && isspace((unsigned char)s[n - 1]))
		n--;
	for (; n && isspace((unsigned char)*s); n--)
		s++;
	k_buf_put(b, s, n);
}

static int read_plain(const struct k_json *o, struct question *u, struct k_err *err)
{
	const char *prompt;
	int r = k_json_get_str(o, "prompt", &prompt, "a question", err);
	if (r < 0)
		return r;
	k_buf_puts(&u->prompt, prompt);
	r = put_choices(u, k_json_find(o, "choices"), err);
	u->answer = index_of(k_json_find(o, "answer"), NULL, u->n);
	return r;
}

static int read_mmlu(const struct k_json *o, struct question *u, struct k_err *err)
{
	const char *question;
	int r = k_json_get_str(o, "question", &question, "a question", err);
	if (r == 0)
		r = put_choices(u, k_json_find(o, "choices"), err);
	if (r < 0)
		return r;
	if (u->n > 26)
		return k_err_set(err, K_EFORMAT, "%d choices, there are 26 letters", u->n);
	put_trimmed(&u->prompt, question);
	for (int i = 0; i < u->n; i++) {
		k_buf_printf(&u->prompt, "\n%c. %s", 'A' + i, u->text[i].len ? u->text[i].data : "");
		k_buf_reset(&u->text[i]);
		k_buf_putc(&u->text[i], (char)('A' + i));
	}
	k_buf_puts(&u->prompt, "\nAnswer:");
	u->answer = index_of(k_json_find(o, "answer"), NULL, u->n);
	return 0;
}

static int read_arc(const struct k_json *o, struct question *u, struct k_err *err)
{
	const char *question;
	const struct k_json *c = k_json_find(o, "choices");
	int r = k_json_get_str(o, "question", &question, "a question", err);
	if (r == 0)
		r = put_choices(u, k_json_find(c, "text"), err);
	if (r < 0)
		return r;
	k_buf_printf(&u->prompt, "Question: %s\nAnswer:", question);
	u->answer = index_of(k_json_find(o, "answerKey"), k_json_find(c, "label"), u->n);
	return 0;
}

/* Text of WikiHow: without its marks in brackets and without doubled spaces. */
static void put_cleaned(struct k_buf *out, const struct k_buf *in)
{
	struct k_buf b, c;
	k_buf_init(&b, 0);
	k_buf_init(&c, 0);
	put_trimmed(&b, in->len ? in->data : "");
	for (size_t i = 0; i < b.len; ) {
		const char *p = b.data + i, *end;
		if (!strncmp(p, " [title]", 8)) {
			k_buf_puts(&c, ". ");
			i += 8;
		} else if (*p == '[' && (end = strchr(p, ']')) && !memchr(p, '\n', (size_t)(end - p))) {
			i += (size_t)(end - p) + 1;
		} else {
			k_buf_putc(&c, *p);
			i++;
		}
	}
	for (size_t i = 0; i < c.len; i++) {
		k_buf_putc(out, c.data[i]);
		i += c.data[i] == ' ' && c.data[i + 1] == ' ';
	}
	out->failed |= b.failed || c.failed;
	k_buf_fini(&b);
	k_buf_fini(&c);
}

static int read_hellaswag(const struct k_json *o, struct question *u, struct k_err *err)
{
	const char *label, *a, *b;
	struct k_buf raw;
	int r = k_json_get_str(o, "activity_label", &label, "a question", err);
	if (r == 0)
		r = k_json_get_str(o, "ctx_a", &a, "a question", err);
	if (r == 0)
		r = k_json_str_or(o, "ctx_b", "", &b, "a question", err);
	if (r == 0)
		r = put_choices(u, k_json_find(o, "endings"), err);
	if (r < 0)
		return r;
	k_buf_init(&raw, 0);
	k_buf_printf(&raw, "%s: %s ", label, a);
	for (size_t i = 0; b[i]; i++)
		k_buf_putc(&raw, (char)(i ? tolower((unsigned char)b[i]) : toupper((unsigned char)b[i])));
	put_cleaned(&u->prompt, &raw);
	for (int i = 0; i < u->n; i++) {
		k_buf_reset(&raw);
		k_buf_put(&raw, u->text[i].data, u->text[i].len);
		k_buf_reset(&u->text[i]);
		put_cleaned(&u->text[i], &raw);
	}
	u->prompt.failed |= raw.failed;
	k_buf_fini(&raw);
	u->answer = index_of(k_json_find(o, "label"), NULL, u->n);
	return 0;
}

static int read_question(const struct k_json *o, struct question *u, struct k_err *err)
{
	int r;
	if (k_json_find(o, "prompt"))
		r = read_plain(o, u, err);
	else if (k_json_find(o, "endings"))
		r = read_hellaswag(o, u, err);
	else if (k_json_kind(k_json_find(o, "choices")) == K_JSON_OBJECT)
		r = read_arc(o, u, err);
	else
		r = read_mmlu(o, u, err);
	if (r == 0 && u->answer < 0)
		r = k_err_set(err, K_EFORMAT, "the answer is none of the %d choices: wanted an index from 0, a letter from A or a label", u->n);
	for (int i = 0; i < u->n && r == 0; i++)
		r = k_buf_ok(&u->text[i], "a choice", err);
	return r == 0 ? k_buf_ok(&u->prompt, "a question", err) : r;
}

static void fini_question(struct question *u)
{
	k_buf_fini(&u->prompt);
	for (int i = 0; i < K_QUIZ_ASKS; i++)
		k_buf_fini(&u->text[i]);
}

static int open_question(const struct k_json *o, struct question *u, struct k_err *err)
{
	memset(u, 0, sizeof(*u));
	k_buf_init(&u->prompt, 0);
	for (int i = 0; i < K_QUIZ_ASKS; i++)
		k_buf_init(&u->text[i], 0);
	return read_question(o, u, err);
}

/* --- an item -------------------------------------------------------------------------------------------------------------------------- */

static int plan(void *arg, struct k_quiz_item *q, struct k_err *err)
{
	struct question u;
	struct k_buf b;
	(void)arg;
	k_buf_init(&b, 0);
	int r = open_question(q->json, &u, err);
	for (int i = 0; i < u.n && r == 0; i++) {
		const char *p = u.prompt.data, *c = u.text[i].data;
		size_t n = u.prompt.len;
		k_buf_reset(&b);
		if (n && !isspace((unsigned char)p[n - 1]) && c && !isspace((unsigned char)*c))
			k_buf_putc(&b, ' ');
		k_buf_put(&b, c, u.text[i].len);
		r = k_buf_ok(&b, "a choice", err);
		if (r == 0)
			r = k_quiz_score(q, n ? p : "", b.data, err);
	}
	k_buf_fini(&b);
	fini_question(&u);
	return r;
}

static int64_t characters(const struct k_buf *b)
{
	int64_t n = 0;
	for (size_t i = 0; i < b->len; i++)
		n += (b->data[i] & 0xc0) != 0x80;
	return n;
}

/* The first of the largest; by: what each is divided by. */
static int best(const struct k_quiz_item *q, const double *by)
{
	int at = 0;
	for (int i = 1; i < q->n; i++)
		if (q->ask[i].logprob / by[i] > q->ask[at].logprob / by[at])
			at = i;
	return at;
}

static struct k_json *judge(void *arg, const struct k_quiz_item *q)
{
	struct question u;
	struct k_err err;
	struct k_json *o = k_json_object(), *list = k_json_array(), *tokens = k_json_array();
	double one[K_QUIZ_ASKS], chars[K_QUIZ_ASKS], bytes[K_QUIZ_ASKS];
	(void)arg;
	int bad = open_question(q->json, &u, &err) < 0 || !o || !list || !tokens;
	for (int i = 0; i < q->n && !bad; i++) {
		one[i] = 1;
		chars[i] = (double)characters(&u.text[i]);
		bytes[i] = (double)u.text[i].len;
		bad = k_json_push(list, k_json_new_number(q->ask[i].logprob)) | k_json_push(tokens, k_json_new_int(q->ask[i].tokens));
	}
	if (!bad) {
		int choice = best(q, one), norm = best(q, chars), by_bytes = best(q, bytes);
		bad = k_put_int(o, "answer", u.answer) | k_put_int(o, "choice", choice) | k_put_bool(o, "right", choice == u.answer) |
			k_put_bool(o, "right_norm", norm == u.answer) | k_put_bool(o, "right_bytes", by_bytes == u.answer) |
			k_put_bool(o, "greedy", q->ask[u.answer].greedy);
		bad |= k_json_set(o, "logprobs", list) | k_json_set(o, "tokens", tokens);
	} else {
		k_json_free(list);
		k_json_free(tokens);
	}
	fini_question(&u);
	if (!bad)
		return o;
	k_json_free(o);
	return NULL;
}

static int summarise(const struct k_json *head K_UNUSED, const struct k_json *items, struct k_json *s, struct k_err *err)
{
	int64_t n = 0, right = 0, right_norm = 0, right_bytes = 0;
	for (size_t i = 0; i < k_json_len(items); i++) {
		const struct k_json *item = k_json_at(items, i);
		if (!k_quiz_judged(item))
			continue;
		n++;
		right += k_json_bool(k_json_find(item, "right"));
		right_norm += k_json_bool(k_json_find(item, "right_norm"));
		right_bytes += k_json_bool(k_json_find(item, "right_bytes"));
	}
	int bad = k_quiz_put_share(s, "acc", "acc_stderr", right, n) | k_quiz_put_share(s, "acc_norm", "acc_norm_stderr", right_norm, n) |
		k_quiz_put_share(s, "acc_bytes", "acc_bytes_stderr", right_bytes, n) | k_put_int(s, "n", n) |
		k_put_int(s, "failed", (int64_t)k_json_len(items) - n);
	return bad ? k_err_nomem(err, 256, "the summary") : 0;
}

static int choice_run(struct k_asker *a, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	const struct k_quiz z = { .name = "choice", .plan = plan, .judge = judge, .summarise = summarise };
	return k_quiz_run(&z, a, o, rep, ctx, err);
}

const struct k_eval k_eval_choice = {
	.name = "choice",
	.about = "multiple choice by log-likelihood (-f, JSON lines)",
	.fields = "acc acc_stderr acc_norm acc_norm_stderr acc_bytes acc_bytes_stderr n failed",
	.ask = choice_run,
	.summarise = summarise,
};
