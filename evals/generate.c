/* generate.c: keval gen: generate an answer and match it.
 *
 *   {"prompt" | "messages", "answer", "match"?}       match: exact (white space at the ends aside; the default of a text), numeric (the last number
 *                                                     that is said; the default of a number), regex (answer is a pattern that is searched for)
 *   {"question", "answer": "... #### 18"}             GSM8K: numeric
 *
 * Members that a request has (max_tokens, temperature, stop, tools ...) go along. Without them the answer is greedy, of at most 256 tokens. */
#include "libcore/base.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include "evals/decimal.h"
#include "evals/quiz.h"
#include "evals/report.h"
#include "libcore/rx.h"

struct gen { const struct k_eval_opts *o; };

/* --- matching ---------------------------------------------------------------------------------------------------------------------------- */

enum how { EXACT, NUMERIC, REGEX };
static const char *const ways[] = { "exact", "numeric", "regex" };

/* Answers are rounded as they please: a number that has a fraction is right by its first six digits, whatever its size. */
static const double tolerance = 1e-6;

/* The number that a text is wanted for: behind the mark of GSM8K, where there is one. NULL: it has none. */
static const char *wanted_number(const char *s, size_t *n)
{
	const char *mark = strstr(s, "####");
	return k_decimal_last(mark ? mark : s, n);
}

/* Whole numbers are the same when their digits are. exact: others too, and nothing else is said. */
static bool same_decimal(const char *want, size_t n_want, const char *got, bool exact)
{
	size_t n = 0;
	const char *last = k_decimal_last(got, &n);
	while (exact && isspace((unsigned char)*got))
		got++;
	if (!last || (exact && (last != got || last[n + strspn(last + n, " \t\r\n\v\f")])))
		return false;
	if (exact || k_decimal_whole(want, n_want))
		return k_decimal_equal(want, n_want, last, n);
	double a = k_decimal_value(want, n_want), b = k_decimal_value(last, n);
	return fabs(a - b) <= tolerance * fabs(a);
}

static bool same_number(const struct k_json *want, const char *got, bool exact)
{
	const char *s = k_json_string(want), *last;
	double x = k_json_number(want);
	size_t n;
	if (s)
		return (s = wanted_number(s, &n)) && same_decimal(s, n, got, exact);
	/* Of a whole number beyond 64 bits JSON keeps the nearest double: what has the same nearest double is it. */
	if (k_json_kind(want) == K_JSON_REAL && fabs(x) >= 0x1p63)
		return (last = k_decimal_last(got, &n)) && k_decimal_value(last, n) == x;
	struct k_buf b;
	k_buf_init(&b, 0);
	k_json_dump(&b, want, 0);
	bool same = !b.failed && (s = k_decimal_last(b.data, &n)) && same_decimal(s, n, got, exact);
	k_buf_fini(&b);
	return same;
}

static bool same_text(const char *want, const char *got)
{
	size_t n = strlen(want), m = strlen(got);
	while (n && isspace((unsigned char)want[n - 1]))
		n--;
	while (m && isspace((unsigned char)got[m - 1]))
		m--;
	for (; n && isspace((unsigned char)*want); n--)
		want++;
	for (; m && isspace((unsigned char)*got); m--)
		got++;
	return n == m && !memcmp(want, got, n);
}

/* The way of matching that a line names; -1: none. */
static int way_of(const struct k_json *line)
{
	const char *word = k_json_string(k_json_find(line, "match"));
	for (int i = 0; word && i < (int)K_LEN(ways); i++)
		if (!strcmp(word, ways[i]))
			return i;
	return -1;
}

/* That one, or what its answer and its question make the usual one. */
static enum how how_of(const struct k_json *line)
{
	int way = way_of(line);
	if (way >= 0)
		return (enum how)way;
	return k_json_string(k_json_find(line, "answer")) && (k_json_given(line, "prompt") || k_json_given(line, "messages")) ? EXACT : NUMERIC;
}

/* A word that is none would be another way of matching than the one that was meant. */
static int check_match(const struct k_json *line, struct k_err *err)
{
	const struct k_json *match = k_json_given(line, "match");
	const char *word = k_json_string(match);
	if (!match || way_of(line) >= 0)
		return 0;
	return k_err_set(err, K_EFORMAT, "match is %s%.100s%s, wanted exact, numeric or regex", word ? "'" : "", word ? word : k_json_kind_name(match), word ? "'" : "");
}

/* An answer that can match nothing, or would by mistake, is a fault of the line. */
static int check_answer(const struct k_json *line, struct k_err *err)
{
	const struct k_json *answer = k_json_find(line, "answer");
	const char *s = k_json_string(answer);
	enum how how = how_of(line);
	bool number = k_json_kind(answer) == K_JSON_INT || k_json_kind(answer) == K_JSON_REAL;
	struct k_rx *rx;
	size_t n;
	if (!answer)
		return k_err_set(err, K_EFORMAT, "a line without an answer");
	if (!s && (!number || how == REGEX))
		return k_err_set(err, K_EFORMAT, "answer is %s, wanted %s", k_json_kind_name(answer), how == REGEX ? "a pattern" : "a text or a number");
	if (s && how == NUMERIC && !wanted_number(s, &n))
		return k_err_set(err, K_EFORMAT, "answer '%.100s' has no number in it, which match numeric wants", s);
	int r = how == REGEX ? k_rx_new(&rx, s, 0, err) : 0;
	if (r == 0 && how == REGEX)
		k_rx_free(rx);
	return r;
}

/* 1, 0, or an error: the pattern takes too long. */
static int matches(const struct k_json *line, const char *got, struct k_err *err)
{
	const struct k_json *want = k_json_find(line, "answer");
	enum how how = how_of(line);
	struct k_rx *rx;
	size_t a, b;
	if (how == NUMERIC || !k_json_string(want))
		return same_number(want, got, how == EXACT);
	if (how == EXACT)
		return same_text(k_json_string(want), got);
	int r = k_rx_new(&rx, k_json_string(want), 0, err);
	if (r < 0)
		return r;
	r = k_rx_find(rx, got, strlen(got), 0, &a, &b, err);
	k_rx_free(rx);
	return r;
}

/* --- questions ------------------------------------------------------------------------------------------------------------------------- */

static const char *const along[] = {
	"max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed",
	"stop", "stream", "tools", "tool_choice", "response_format", "thinking", "chat_template_kwargs", "reasoning_effort",
};

/* What is null is not said, as everywhere in a request. */
static int put_along(struct k_json *rq, const struct k_json *line, int64_t seed)
{
	int bad = 0;
	for (size_t i = 0; i < K_LEN(along) && !bad; i++)
		if (k_json_given(line, along[i]))
			bad = k_json_set(rq, along[i], k_json_keep(k_json_given(line, along[i])));
	if (!k_json_find(rq, "max_tokens") && !k_json_find(rq, "max_completion_tokens"))
		bad |= k_put_int(rq, "max_tokens", 256);
	if (!k_json_find(rq, "temperature"))
		bad |= k_put_int(rq, "temperature", 0);
	if (!k_json_find(rq, "seed"))
		bad |= k_put_int(rq, "seed", seed);
	return bad;
}

static int put_gsm8k(struct k_json *rq, const char *question)
{
	static const char *const stops[] = { "Question:", "</s>", "<|im_end|>" };
	struct k_json *stop = k_json_array();
	struct k_buf b;
	k_buf_init(&b, 0);
	k_buf_printf(&b, "Question: %s\nAnswer:", question);
	int bad = !stop || b.failed || k_put_str(rq, "prompt", b.data) < 0;
	for (size_t i = 0; i < K_LEN(stops) && !bad; i++)
		bad = k_json_push(stop, k_json_new_string(stops[i], strlen(stops[i])));
	k_buf_fini(&b);
	if (!bad)
		return k_json_set(rq, "stop", stop);
	k_json_free(stop);
	return -1;
}

static int plan(void *arg, struct k_quiz_item *q, struct k_err *err)
{
	const struct gen *g = arg;
	struct k_json *messages = k_json_given(q->json, "messages"), *prompt = k_json_given(q->json, "prompt"), *rq = k_json_object();
	const char *question = k_json_string(k_json_find(q->json, "question"));
	if (!messages && !k_json_string(prompt) && !question) {
		k_json_free(rq);
		return k_err_set(err, K_EFORMAT, "a line without messages, a prompt or a question");
	}
	if (check_match(q->json, err) < 0 || check_answer(q->json, err) < 0) {
		k_json_free(rq);
		return err->code;
	}
	int bad = !rq || (messages ? k_json_set(rq, "messages", k_json_keep(messages)) : prompt ? k_json_set(rq, "prompt", k_json_keep(prompt)) :
		put_gsm8k(rq, question)) < 0 || put_along(rq, q->json, g->o->seed) < 0;
	if (bad) {
		k_json_free(rq);
		return k_err_nomem(err, 256, "a request");
	}
	return k_quiz_request(q, messages ? K_ASK_CHAT : K_ASK_TEXT, rq, err);
}

/* --- judging ---------------------------------------------------------------------------------------------------------------------------- */

static struct k_json *judge(void *arg, const struct k_quiz_item *q)
{
	const struct k_json *choice = k_json_at(k_json_find(q->ask[0].answer, "choices"), 0), *text = k_json_find(choice, "text");
	const char *got, *finish = k_json_string(k_json_find(choice, "finish_reason"));
	struct k_err err;
	(void)arg;
	if (!text)
		text = k_json_find(k_json_find(choice, "message"), "content");
	got = k_json_string(text) ? k_json_string(text) : "";
	int right = matches(q->json, got, &err);
	struct k_json *o = k_json_object();
	if (o && (k_put_bool(o, "right", right > 0) | k_put_str(o, "answer", got) | k_put_str(o, "finish_reason", finish ? finish : "") |
		k_put_int(o, "tokens", k_get_count(k_json_find(q->ask[0].answer, "usage"), "completion_tokens")) |
		(right < 0 ? k_put_str(o, "error", err.msg) : 0)) == 0)
		return o;
	k_json_free(o);
	return NULL;
}

static int summarise(const struct k_json *head K_UNUSED, const struct k_json *items, struct k_json *s, struct k_err *err)
{
	int64_t n = 0, right = 0, tokens = 0;
	for (size_t i = 0; i < k_json_len(items); i++) {
		const struct k_json *item = k_json_at(items, i);
		n += k_quiz_judged(item);
		right += k_json_bool(k_json_find(item, "right"));
		tokens += k_get_count(item, "tokens");
	}
	int bad = k_quiz_put_share(s, "acc", "acc_stderr", right, n) | k_put_int(s, "n", n) | k_put_int(s, "tokens", tokens) |
		k_put_int(s, "failed", (int64_t)k_json_len(items) - n);
	return bad ? k_err_nomem(err, 256, "the summary") : 0;
}

static int gen_run(struct k_asker *a, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct gen g = { .o = o };
	const struct k_quiz z = { .name = "gen", .plan = plan, .judge = judge, .summarise = summarise, .arg = &g };
	return k_quiz_run(&z, a, o, rep, ctx, err);
}

const struct k_eval k_eval_gen = {
	.name = "gen",
	.about = "generated answers that must match (-f, JSON lines)",
	.fields = "acc acc_stderr n tokens failed",
	.ask = gen_run,
	.summarise = summarise,
};
