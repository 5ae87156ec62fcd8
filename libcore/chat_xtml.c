/* chat_xtml.c: what prompts of Kimi-K3 are made of, and the calls of a turn.
 *
 *   <|open|>call tool="f" index="1"<|sep|> { <|open|>argument key="K" type="T"<|sep|> value <|close|>argument<|sep|> } <|close|>call<|sep|>
 *
 * Of arguments that came as text, strings are decoded and every other value keeps the bytes it came with: a number that was written
 * 1e2 is the number that the model wrote, and the prompt goes on with the same ids. */
#include "libcore/base.h"
#include "libcore/chat_int.h"
#include "libcore/xtml.h"
#include <stdio.h>

int k_xtml_text(struct k_render *r, const char *s, size_t n, struct k_err *err)
{
	k_render_text(r, s, n);
	return k_render_flush(r, err);
}

static int put(struct k_render *r, const char *s, struct k_err *err) { return k_xtml_text(r, s, strlen(s), err); }

static int attribute(struct k_render *r, const struct k_attr *a, struct k_err *err)
{
	int rc;

	k_render_puts(r, " ");
	rc = put(r, a->key, err);
	if (!rc)
		rc = put(r, "=\"", err);
	k_attr_escape(&r->out->text, a->value, a->n);
	if (!rc)
		rc = k_render_flush(r, err);
	return rc ? rc : put(r, "\"", err);
}

int k_xtml_open(struct k_render *r, const char *name, const struct k_attr *attrs, size_t n, struct k_err *err)
{
	int rc = k_render_special(r, "<|open|>", err);

	if (!rc)
		rc = put(r, name, err);
	for (size_t i = 0; i < n && !rc; i++)
		rc = attribute(r, &attrs[i], err);
	return rc ? rc : k_render_special(r, "<|sep|>", err);
}

int k_xtml_close(struct k_render *r, const char *name, struct k_err *err)
{
	int rc = k_render_special(r, "<|close|>", err);

	if (!rc)
		rc = put(r, name, err);
	return rc ? rc : k_render_special(r, "<|sep|>", err);
}

/* --- arguments ---------------------------------------------------------------------------------------------------------- */

struct span { const char *s; size_t n; };

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;
	return p;
}

/* Behind the value of a valid text that begins at p, and what is white space behind it. */
static const char *value_end(const char *p, const char *end)
{
	int depth = 0;

	while (p < end && (depth || (*p != ',' && *p != '}'))) {
		depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
		p = *p == '"' ? k_json_string_end(p, end) : p + 1;
	}
	return p;
}

/* The next member of a valid object; *p stands on its brace, or on the comma behind the one before. false: there is none. */
static bool next_member(const char **p, const char *end, struct span *key, struct span *value)
{
	const char *at = skip_space(*p + 1, end);

	if (at >= end || *at != '"')
		return false;
	key->s = at;
	at = k_json_string_end(at, end);
	key->n = (size_t)(at - key->s);
	value->s = skip_space(skip_space(at, end) + 1, end);
	*p = value_end(value->s, end);
	value->n = (size_t)(*p - value->s);
	while (value->n && strchr(" \t\r\n", value->s[value->n - 1]))
		value->n--;
	return true;
}

static int decode(struct k_json **out, struct span text, struct k_err *err)
{
	return k_json_parse(out, text.s, text.n, K_JSON_NUL, "arguments", err);
}

static int argument(struct k_render *r, struct span key, struct span value, struct k_err *err)
{
	int kind = k_arg_type(value.n ? value.s[0] : 0);
	const char *type = k_arg_types[kind];
	bool string = kind == K_ARG_STRING;
	struct k_json *name = NULL, *text = NULL;
	int rc = decode(&name, key, err);

	if (!rc && string)
		rc = decode(&text, value, err);
	if (!rc) {
		const struct k_attr attrs[] = { { "key", k_json_string(name), k_json_len(name) }, { "type", type, strlen(type) } };

		rc = k_xtml_open(r, "argument", attrs, K_LEN(attrs), err);
	}
	if (!rc)
		rc = string ? k_xtml_text(r, k_json_string(text), k_json_len(text), err) : k_xtml_text(r, value.s, value.n, err);
	k_json_free(name);
	k_json_free(text);
	return rc ? rc : k_xtml_close(r, "argument", err);
}

/* 1, 0; K_ENOMEM. */
static int is_object(struct span text, struct k_err *err)
{
	struct k_json *v = NULL;
	struct k_err why = { 0 };
	bool yes = !k_json_parse(&v, text.s, text.n, K_JSON_LAST_WINS | K_JSON_NUL, "arguments", &why) && k_json_kind(v) == K_JSON_OBJECT;

	k_json_free(v);
	if (why.code != K_ENOMEM)
		return yes;
	*err = why;
	return K_ENOMEM;
}

/* No text at all is how some clients say that there are none. */
static int arguments(struct k_render *r, struct span text, struct k_err *err)
{
	static const struct k_attr raw = { "type", "object", 6 };
	const char *end = text.s + text.n, *p;
	struct span key, value;
	int rc = 0;

	if (!text.n)
		return 0;
	int object = is_object(text, err);
	if (object < 0)
		return object;
	if (!object) {
		rc = k_xtml_open(r, "json", &raw, 1, err);
		if (!rc)
			rc = k_xtml_text(r, text.s, text.n, err);
		return rc ? rc : k_xtml_close(r, "json", err);
	}
	for (p = skip_space(text.s, end); !rc && next_member(&p, end, &key, &value); )
		rc = argument(r, key, value, err);
	return rc;
}

/* --- calls -------------------------------------------------------------------------------------------------------------- */

static int call(struct k_render *r, const struct k_json *f, size_t i, struct k_err *err)
{
	const struct k_json *name = k_json_find(f, "name"), *args = k_json_find(f, "arguments");
	char index[24];
	const int digits = snprintf(index, sizeof index, "%zu", i + 1);
	const struct k_attr attrs[] = { { "tool", k_json_string(name), k_json_len(name) }, { "index", index, (size_t)digits } };
	int rc = k_xtml_open(r, "call", attrs, K_LEN(attrs), err);
	struct k_buf b;

	k_buf_init(&b, 0);
	if (k_json_kind(args) != K_JSON_STRING)
		k_json_dump(&b, args, 0);
	if (!rc)
		rc = k_buf_ok(&b, "the arguments of a call", err);
	if (!rc)
		rc = arguments(r, b.len ? (struct span){ b.data, b.len } : (struct span){ k_json_string(args), k_json_len(args) }, err);
	k_buf_fini(&b);
	return rc ? rc : k_xtml_close(r, "call", err);
}

int k_xtml_calls(struct k_render *r, const struct k_json *list, struct k_err *err)
{
	int rc = k_xtml_open(r, "tools", NULL, 0, err);

	for (size_t i = 0; i < k_json_len(list) && !rc; i++)
		rc = call(r, k_json_find(k_json_at(list, i), "function"), i, err);
	return rc ? rc : k_xtml_close(r, "tools", err);
}
