/* said.c: see said.h. */
#include "libcore/base.h"
#include "evals/said.h"

const char k_said_nothing[] = "(nothing)";

static bool is_there(const struct k_json *v) { return v && k_json_kind(v) != K_JSON_NULL; }

const char *k_said_error(const struct k_json *answer)
{
	const struct k_json *e = k_json_find(answer, "error");
	const char *says = k_json_string(k_json_string(e) ? e : k_json_find(e, "message"));
	if (!is_there(e))
		return NULL;
	return says && *says ? says : k_said_nothing;
}

/* Its own, or that of its first choice. */
static const char *error_within(const struct k_json *answer)
{
	const char *says = k_said_error(answer);
	return says ? says : k_said_error(k_json_at(k_json_find(answer, "choices"), 0));
}

/* The answer's own words, where they are no answer. */
static int none(const struct k_json *answer, const char *why, struct k_err *err)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	k_json_dump(&b, answer, 0);
	int r = k_err_set(err, K_EFORMAT, "the answer %s: %.200s", why, b.len && !b.failed ? b.data : "?");
	k_buf_fini(&b);
	return r;
}

static int check_message(const struct k_json *answer, const struct k_json *message, struct k_err *err)
{
	const struct k_json *calls = k_json_find(message, "tool_calls");
	struct k_buf text;
	if (k_json_kind(message) != K_JSON_OBJECT)
		return none(answer, "has no message", err);
	if (is_there(calls) && k_json_kind(calls) != K_JSON_ARRAY)
		return k_err_set(err, K_EFORMAT, "the answer's tool_calls is %s, wanted an array", k_json_kind_name(calls));
	k_buf_init(&text, 0);
	int r = k_said_text(&text, k_json_find(message, "content"), "the answer's content", err);
	k_buf_fini(&text);
	return r;
}

int k_said_check(const struct k_json *answer, bool chat, struct k_err *err)
{
	const struct k_json *choice = k_json_at(k_json_find(answer, "choices"), 0), *text = k_json_find(choice, "text");
	const struct k_json *message = k_json_find(choice, "message");
	const char *says = error_within(answer);
	if (says)
		return k_err_set(err, K_EIO, "the answer is an error: %.200s", says);
	if (k_json_kind(answer) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "the answer is %s, wanted an object", k_json_kind_name(answer));
	if (k_json_kind(choice) != K_JSON_OBJECT)
		return none(answer, "has no choices", err);
	if (chat || (!text && message))
		return check_message(answer, message, err);
	return k_json_string(text) ? 0 : none(answer, text ? "has a text that is no string" : "has no text", err);
}

int k_said_chunk(const struct k_json *chunk, struct k_err *err)
{
	const char *says = error_within(chunk);
	if (says)
		return k_err_set(err, K_EIO, "the stream ends with an error: %.200s", says);
	return k_json_kind(chunk) == K_JSON_OBJECT ? 0 : k_err_set(err, K_EFORMAT, "a chunk of the stream is %s, wanted an object", k_json_kind_name(chunk));
}

/* What kind of part holds a text in which member; thoughts and what else is no part of the answer's text are passed over. */
static int put_part(struct k_buf *b, const struct k_json *part, const char *what, size_t i, struct k_err *err)
{
	static const char *const members[] = { "text", "refusal" };
	const char *type = k_json_string(k_json_find(part, "type"));
	if (k_json_kind(part) != K_JSON_OBJECT || !type)
		return k_err_set(err, K_EFORMAT, "%s has a part %zu that is %s, wanted an object with a type", what, i, k_json_kind_name(part));
	for (size_t k = 0; k < K_LEN(members); k++) {
		const struct k_json *s = k_json_find(part, members[k]);
		if (strcmp(type, members[k]))
			continue;
		if (!k_json_string(s))
			return k_err_set(err, K_EFORMAT, "%s has a part %zu whose %s is %s, wanted a string", what, i, type, k_json_kind_name(s));
		k_buf_put(b, k_json_string(s), k_json_len(s));
	}
	return 0;
}

int k_said_text(struct k_buf *b, const struct k_json *v, const char *what, struct k_err *err)
{
	int r = 0;
	if (k_json_string(v))
		k_buf_put(b, k_json_string(v), k_json_len(v));
	else if (is_there(v) && k_json_kind(v) != K_JSON_ARRAY)
		r = k_err_set(err, K_EFORMAT, "%s is %s, wanted a text", what, k_json_kind_name(v));
	for (size_t i = 0; r == 0 && k_json_kind(v) == K_JSON_ARRAY && i < k_json_len(v); i++)
		r = put_part(b, k_json_at(v, i), what, i, err);
	return r == 0 ? k_buf_ok(b, "a text", err) : r;
}
