/* asker.c: what askers have in common: questions, scores out of a completion that echoes its prompt, answers out of chunks. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/asker.h"
#include "evals/report.h"
#include "evals/said.h"

void k_ask_fini(struct k_ask *q)
{
	k_free(q->context);
	k_free(q->continuation);
	k_json_free(q->request);
	k_json_free(q->answer);
	memset(q, 0, sizeof(*q));
}

/* --- scores --------------------------------------------------------------------------------------------------------------------- */

size_t k_ask_context_len(const struct k_ask *q)
{
	size_t n = strlen(q->context);
	while (n && strchr(" \t\r\n\v\f", q->context[n - 1]))
		n--;
	return n;
}

struct k_json *k_ask_score_request(struct k_json *prompt)
{
	struct k_json *o = k_json_object();
	if (o && prompt && (k_json_set(o, "prompt", prompt) | k_put_int(o, "max_tokens", 1) | k_put_int(o, "temperature", 0) |
		k_put_int(o, "logprobs", 1) | k_put_bool(o, "echo", true) | k_put_int(o, "seed", 1234)) == 0)
		return o;
	if (!o)
		k_json_free(prompt);
	k_json_free(o);
	return NULL;
}

static int64_t characters(const char *s, size_t n)
{
	int64_t c = 0;
	for (size_t i = 0; i < n; i++)
		c += (s[i] & 0xc0) != 0x80;
	return c;
}

/* Tokens whose text begins before character at. */
static int64_t tokens_before(const struct k_json *offsets, int64_t at)
{
	int64_t i = 0;
	while ((size_t)i < k_json_len(offsets) && k_json_int(k_json_at(offsets, (size_t)i)) < at)
		i++;
	return i;
}

static bool likeliest(const struct k_json *top, double logprob)
{
	const char *key;
	struct k_json *v;
	for (void *it = NULL; k_json_next(top, &it, &key, &v); )
		if (k_json_number(v) > logprob)
			return false;
	return true;
}

int k_ask_score_answer(struct k_ask *q, const struct k_json *answer, int64_t first, int64_t n, struct k_err *err)
{
	const struct k_json *l = k_json_find(k_json_at(k_json_find(answer, "choices"), 0), "logprobs");
	const char *says = k_said_error(answer);
	const struct k_json *probs = k_json_find(l, "token_logprobs"), *tops = k_json_find(l, "top_logprobs"), *offsets = k_json_find(l, "text_offset");
	size_t at = k_ask_context_len(q), len = strlen(q->context) + strlen(q->continuation);
	if (says)
		return k_err_set(err, K_EIO, "the answer is an error: %.200s", says);
	if (!at)
		return k_err_set(err, K_EFORMAT, "the context is empty, wanted one token or more before what is scored");
	if (k_json_kind(probs) != K_JSON_ARRAY)
		return k_err_set(err, K_EFORMAT, "the answer has no log-probabilities of the prompt's tokens (token_logprobs)");
	if (first < 0 && k_json_kind(offsets) != K_JSON_ARRAY)
		return k_err_set(err, K_EFORMAT, "the answer does not say where its tokens begin (text_offset)");
	if (first < 0) {
		int64_t chars = characters(q->context, at);
		first = tokens_before(offsets, chars);
		n = tokens_before(offsets, characters(q->context, strlen(q->context)) + characters(q->continuation, strlen(q->continuation)));
	}
	if (first < 1 || n <= first || (int64_t)k_json_len(probs) < n)
		return k_err_set(err, K_EFORMAT, "the answer has %zu log-probabilities of the prompt's tokens, wanted %lld, for a text of %zu bytes",
			k_json_len(probs), (long long)n, len);
	q->logprob = 0;
	q->tokens = n - first;
	q->greedy = true;
	for (int64_t i = first; i < n; i++) {
		const struct k_json *v = k_json_at(probs, (size_t)i);
		if (k_json_kind(v) != K_JSON_REAL && k_json_kind(v) != K_JSON_INT)
			return k_err_set(err, K_EFORMAT, "token_logprobs[%lld] is %s, wanted a number", (long long)i, k_json_kind_name(v));
		q->logprob += k_json_number(v);
		if (!isfinite(q->logprob))
			return k_err_set(err, K_EFORMAT, "token_logprobs[%lld] is %g: the log-probability of the text is not finite", (long long)i, k_json_number(v));
		q->greedy &= likeliest(k_json_at(tops, (size_t)i), k_json_number(v));
	}
	return 0;
}

/* --- answers -------------------------------------------------------------------------------------------------------------------- */

int k_ask_take(struct k_ask *q, struct k_json *answer, struct k_err *err)
{
	struct k_json *message = k_json_find(k_json_at(k_json_find(answer, "choices"), 0), "message"), *copy;
	struct k_buf text;
	int r = k_said_check(answer, q->kind == K_ASK_CHAT, err);
	if (r < 0)
		return r;
	if (k_json_kind(k_json_find(message, "content")) != K_JSON_ARRAY) {
		q->answer = k_json_keep(answer);
		return 0;
	}
	k_buf_init(&text, 0);
	r = k_said_text(&text, k_json_find(message, "content"), "the answer's content", err);
	copy = k_json_copy(answer);
	message = k_json_find(k_json_at(k_json_find(copy, "choices"), 0), "message");
	if (r == 0 && k_json_set(message, "content", k_json_new_string(text.len ? text.data : "", text.len)) < 0)
		r = k_err_nomem(err, text.len, "an answer");
	k_buf_fini(&text);
	if (r == 0)
		q->answer = copy;
	else
		k_json_free(copy);
	return r;
}

/* --- chunks --------------------------------------------------------------------------------------------------------------------- */

/* 0; -1: memory gave out, or more is no text, which err then says. */
static int append_text(struct k_json *o, const char *key, const struct k_json *more, struct k_err *err)
{
	const struct k_json *old = k_json_find(o, key);
	char what[64];
	struct k_buf b;
	if (!more || k_json_kind(more) == K_JSON_NULL)
		return 0;
	snprintf(what, sizeof(what), "the stream's %s", key);
	k_buf_init(&b, 0);
	if (k_json_string(old))
		k_buf_put(&b, k_json_string(old), k_json_len(old));
	int r = k_said_text(&b, more, what, err) < 0 ? -1 : k_json_set(o, key, k_json_new_string(b.len ? b.data : "", b.len));
	k_buf_fini(&b);
	return r;
}

/* The element of an array of objects whose index is i; made when it is not there. */
static struct k_json *element(struct k_json *owner, const char *key, int64_t i)
{
	struct k_json *list = k_json_find(owner, key);
	if (!list && k_json_set(owner, key, k_json_array()) == 0)
		list = k_json_find(owner, key);
	for (size_t k = 0; k < k_json_len(list); k++)
		if (k_json_int(k_json_find(k_json_at(list, k), "index")) == i)
			return k_json_at(list, k);
	struct k_json *o = k_json_object();
	if (!list || !o || k_put_int(o, "index", i) < 0 || k_json_push(list, k_json_keep(o)) < 0) {
		k_json_free(o);
		return NULL;
	}
	k_json_free(o);                 /* the list has it */
	return k_json_at(list, k_json_len(list) - 1);
}

static struct k_json *child(struct k_json *o, const char *key)
{
	struct k_json *v = k_json_find(o, key);
	if (k_json_kind(v) == K_JSON_OBJECT)
		return v;
	return o && k_json_set(o, key, k_json_object()) == 0 ? k_json_find(o, key) : NULL;
}

static int copy_text(struct k_json *o, const char *key, const struct k_json *v)
{
	return k_json_string(v) ? k_json_set(o, key, k_json_new_string(k_json_string(v), k_json_len(v))) : 0;
}

static int add_call(struct k_json *message, const struct k_json *delta, struct k_err *err)
{
	struct k_json *call = element(message, "tool_calls", k_json_int(k_json_find(delta, "index"))), *f = child(call, "function");
	const struct k_json *df = k_json_find(delta, "function");
	if (!call || !f)
		return -1;
	return copy_text(call, "id", k_json_find(delta, "id")) | copy_text(call, "type", k_json_find(delta, "type")) |
		copy_text(f, "name", k_json_find(df, "name")) | append_text(f, "arguments", k_json_find(df, "arguments"), err);
}

static int add_choice(struct k_json *all, const struct k_json *part, struct k_err *err)
{
	struct k_json *choice = element(all, "choices", k_json_int(k_json_find(part, "index")));
	const struct k_json *delta = k_json_find(part, "delta"), *usage = k_json_find(part, "usage");
	if (!choice || append_text(choice, "text", k_json_find(part, "text"), err) < 0)
		return -1;
	int bad = copy_text(choice, "finish_reason", k_json_find(part, "finish_reason"));
	if (k_json_kind(usage) == K_JSON_OBJECT)
		bad |= k_json_set(all, "usage", k_json_copy(usage));
	if (k_json_kind(delta) != K_JSON_OBJECT)
		return bad;
	struct k_json *m = child(choice, "message");
	if (!m)
		return -1;
	bad |= copy_text(m, "role", k_json_find(delta, "role")) | append_text(m, "content", k_json_find(delta, "content"), err) |
		append_text(m, "reasoning_content", k_json_find(delta, "reasoning_content"), err);
	const struct k_json *calls = k_json_find(delta, "tool_calls");
	for (size_t i = 0; i < k_json_len(calls) && !bad; i++)
		bad |= add_call(m, k_json_at(calls, i), err);
	return bad;
}

int k_chunk_add(struct k_json **all, const struct k_json *chunk, struct k_err *err)
{
	const struct k_json *choices = k_json_find(chunk, "choices"), *usage = k_json_find(chunk, "usage");
	int bad = 0;
	if (k_said_chunk(chunk, err) < 0)
		return err->code;
	*err = (struct k_err){ 0 };
	if (!*all)
		*all = k_json_object();
	bad = !*all;
	if (!bad && k_json_kind(usage) == K_JSON_OBJECT)
		bad |= k_json_set(*all, "usage", k_json_copy(usage));
	for (size_t i = 0; i < k_json_len(choices) && !bad; i++)
		bad |= add_choice(*all, k_json_at(choices, i), err);
	return err->code ? err->code : bad ? k_err_nomem(err, 256, "an answer") : 0;
}
