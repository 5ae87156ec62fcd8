/* chat_check.c: is this a request that a layout can render? Every sentence begins with the path of what is wrong.
 *
 * What layouts rely on afterwards: messages is an array of objects with a role; content is a string or an array of parts with a
 * type, and text where the type is text; calls have an id, a name, arguments; names are harmless in a header. Only members that
 * are rendered are looked at. */
#include "libcore/base.h"
#include "libcore/chat_int.h"
#include <stdio.h>

enum { MAX_NAME = 64 };

struct k_json *k_chat_field(const struct k_json *obj, const char *key)
{
	struct k_json *v = k_json_find(obj, key);

	return k_json_kind(v) == K_JSON_NULL ? NULL : v;
}

bool k_chat_is(const struct k_json *v, const char *s)
{
	return k_json_string(v) && k_json_len(v) == strlen(s) && !memcmp(k_json_string(v), s, k_json_len(v));
}

const char *k_chat_role(const struct k_json *msg)
{
	/* _input: in the requests of the vendor's verifier. */
	static const struct { const char *name, *role; } roles[] = {
		{ "system", "system" }, { "developer", "system" }, { "_input", "system" },
		{ "user", "user" }, { "assistant", "assistant" }, { "tool", "tool" },
	};
	const struct k_json *v = k_json_find(msg, "role");

	for (size_t i = 0; i < K_LEN(roles); i++)
		if (k_chat_is(v, roles[i].name))
			return roles[i].role;
	return NULL;
}

bool k_chat_has_calls(const struct k_json *msg)
{
	const struct k_json *v = k_json_find(msg, "tool_calls");

	return k_json_kind(v) == K_JSON_ARRAY && k_json_len(v) > 0;
}

/* "a string", or "missing" for what is not there. */
static const char *kind_of(const struct k_json *v) { return v ? k_json_kind_name(v) : "missing"; }

static int want(const struct k_json *obj, const char *path, const char *key, enum k_json_kind kind, const char *wanted, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	if (v && k_json_kind(v) == kind)
		return 0;
	return k_err_set(err, K_EUSAGE, "%s.%s is %s, wanted %s", path, key, kind_of(v), wanted);
}

/* --- tools -------------------------------------------------------------------------------------------------------------- */

static int check_tool(const struct k_json *tool, const char *path, struct k_err *err)
{
	char inner[128];
	int rc;

	if (k_json_kind(tool) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "%s is %s, wanted an object", path, k_json_kind_name(tool));
	rc = want(tool, path, "type", K_JSON_STRING, "a string", err);
	if (rc || !k_chat_is(k_json_find(tool, "type"), "function"))
		return rc;
	rc = want(tool, path, "function", K_JSON_OBJECT, "an object", err);
	snprintf(inner, sizeof inner, "%s.function", path);
	return rc ? rc : want(k_json_find(tool, "function"), inner, "name", K_JSON_STRING, "a string", err);
}

/* within: what has the member tools, with a dot behind it. */
static int check_tools(const struct k_json *tools, const char *within, struct k_err *err)
{
	int rc = 0;

	if (tools && k_json_kind(tools) != K_JSON_ARRAY)
		return k_err_set(err, K_EUSAGE, "%stools is %s, wanted an array", within, k_json_kind_name(tools));
	for (size_t i = 0; i < k_json_len(tools) && !rc; i++) {
		char path[96];

		snprintf(path, sizeof path, "%stools[%zu]", within, i);
		rc = check_tool(k_json_at(tools, i), path, err);
	}
	return rc;
}

/* --- one message -------------------------------------------------------------------------------------------------------- */

static int check_name(const struct k_json *msg, const char *path, struct k_err *err)
{
	static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	const struct k_json *v = k_chat_field(msg, "name");
	const char *s = k_json_string(v);

	if (!v)
		return 0;
	if (!s)
		return k_err_set(err, K_EUSAGE, "%s.name is %s, wanted a string", path, k_json_kind_name(v));
	if (k_json_len(v) > MAX_NAME || strspn(s, good) != k_json_len(v))
		return k_err_set(err, K_EUSAGE, "%s.name is '%.64s', wanted at most %d letters, digits, '_', '.', '-'", path, s, MAX_NAME);
	return 0;
}

static int check_part(const struct k_json *part, const char *path, struct k_err *err)
{
	const struct k_json *type = k_json_find(part, "type");

	if (k_json_kind(part) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "%s is %s, wanted an object", path, k_json_kind_name(part));
	if (!k_json_string(type))
		return k_err_set(err, K_EUSAGE, "%s.type is %s, wanted a string", path, kind_of(type));
	if (k_chat_is(type, "text") || k_chat_is(type, "refusal"))
		return want(part, path, k_json_string(type), K_JSON_STRING, "a string", err);
	return 0;
}

static int check_content(const struct k_layout *l, const struct k_json *msg, const char *role, const char *path, struct k_err *err)
{
	const struct k_json *v = k_chat_field(msg, "content");
	bool optional = (!strcmp(role, "assistant") && (k_chat_has_calls(msg) || k_chat_field(msg, "reasoning_content"))) ||
		(l->xtml && k_json_len(k_chat_field(msg, "tools")));
	int rc = 0;

	if (k_json_kind(v) == K_JSON_STRING || (!v && optional))
		return 0;
	if (k_json_kind(v) != K_JSON_ARRAY)
		return k_err_set(err, K_EUSAGE, "%s.content is %s, wanted a string or an array of parts", path, kind_of(k_json_find(msg, "content")));
	for (size_t i = 0; i < k_json_len(v) && !rc; i++) {
		char part[96];

		snprintf(part, sizeof part, "%s.content[%zu]", path, i);
		rc = check_part(k_json_at(v, i), part, err);
	}
	return rc;
}

static int check_call(const struct k_json *call, const char *path, struct k_err *err)
{
	const struct k_json *f = k_json_find(call, "function"), *args = k_json_find(f, "arguments");
	char inner[128];
	int rc;

	if (k_json_kind(call) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "%s is %s, wanted an object", path, k_json_kind_name(call));
	rc = want(call, path, "id", K_JSON_STRING, "a string", err);
	if (!rc)
		rc = want(call, path, "function", K_JSON_OBJECT, "an object", err);
	snprintf(inner, sizeof inner, "%s.function", path);
	if (!rc)
		rc = want(f, inner, "name", K_JSON_STRING, "a string", err);
	if (rc)
		return rc;
	if (k_json_kind(args) != K_JSON_STRING && k_json_kind(args) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "%s.arguments is %s, wanted a string or an object", inner, kind_of(args));
	return 0;
}

/* Tools that a message declares, where the layout can say so: nothing else is in that message. */
static int check_later_tools(const struct k_json *msg, const char *role, const char *path, struct k_err *err)
{
	const struct k_json *tools = k_chat_field(msg, "tools"), *said = k_chat_field(msg, "content");
	char within[64];

	if (!tools)
		return 0;
	if (strcmp(role, "system"))
		return k_err_set(err, K_EUSAGE, "%s.tools: only a message of the system declares tools, and this one is of '%s'", path, role);
	snprintf(within, sizeof within, "%s.", path);
	int rc = check_tools(tools, within, err);
	if (!rc && k_json_len(tools) && said && !(k_json_string(said) && !k_json_len(said)))
		return k_err_set(err, K_EUSAGE, "%s has both tools and content, wanted one of the two", path);
	return rc;
}

static int check_assistant(const struct k_layout *l, const struct k_json *msg, const char *path, struct k_err *err)
{
	const struct k_json *thought = k_chat_field(msg, "reasoning_content"), *calls = k_chat_field(msg, "tool_calls");
	int rc = 0;

	if (thought && !k_json_string(thought))
		return k_err_set(err, K_EUSAGE, "%s.reasoning_content is %s, wanted a string", path, k_json_kind_name(thought));
	if (calls && k_json_kind(calls) != K_JSON_ARRAY)
		return k_err_set(err, K_EUSAGE, "%s.tool_calls is %s, wanted an array", path, k_json_kind_name(calls));
	if (k_json_len(calls) && !l->tools)
		return k_err_set(err, K_EUNSUP, "%s.tool_calls: the chat layout '%s' knows no tools", path, l->name);
	for (size_t i = 0; i < k_json_len(calls) && !rc; i++) {
		char call[96];

		snprintf(call, sizeof call, "%s.tool_calls[%zu]", path, i);
		rc = check_call(k_json_at(calls, i), call, err);
	}
	return rc;
}

static int check_message(const struct k_layout *l, const struct k_json *msg, size_t i, bool last, struct k_err *err)
{
	const struct k_json *role = k_json_find(msg, "role"), *partial = k_chat_field(msg, "partial");
	const char *is = k_chat_role(msg);
	char path[48];
	int rc;

	snprintf(path, sizeof path, "messages[%zu]", i);
	if (k_json_kind(msg) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "%s is %s, wanted an object", path, k_json_kind_name(msg));
	if (!k_json_string(role))
		return k_err_set(err, K_EUSAGE, "%s.role is %s, wanted a string", path, kind_of(role));
	if (!is)
		return k_err_set(err, K_EUSAGE, "%s.role is '%.40s', wanted system, user, assistant or tool", path, k_json_string(role));
	if (!strcmp(is, "tool") && !l->tools)
		return k_err_set(err, K_EUNSUP, "%s.role is 'tool', but the chat layout '%s' knows no tools", path, l->name);
	if (partial && !(k_json_kind(partial) == K_JSON_BOOL && !k_json_bool(partial)) && (!last || strcmp(is, "assistant")))
		return k_err_set(err, K_EUSAGE, "%s.partial is only for the last message, one of the assistant", path);
	rc = check_name(msg, path, err);
	if (!rc && l->xtml)
		rc = check_later_tools(msg, is, path, err);
	if (!rc)
		rc = check_content(l, msg, is, path, err);
	if (!rc && !strcmp(is, "tool"))
		rc = want(msg, path, "tool_call_id", K_JSON_STRING, "a string", err);
	if (!rc && !strcmp(is, "assistant"))
		rc = check_assistant(l, msg, path, err);
	return rc;
}

/* --- a request ----------------------------------------------------------------------------------------------------------- */

int k_chat_check(const struct k_layout *l, const struct k_json *request, size_t from, struct k_err *err)
{
	const struct k_json *messages = k_json_find(request, "messages"), *tools = k_chat_field(request, "tools");
	size_t n = k_json_len(messages);
	int rc = 0;

	if (k_json_kind(request) != K_JSON_OBJECT)
		return k_err_set(err, K_EUSAGE, "the request is %s, wanted an object", k_json_kind_name(request));
	if (k_json_kind(messages) != K_JSON_ARRAY)
		return k_err_set(err, K_EUSAGE, "messages is %s, wanted an array", kind_of(messages));
	if (!n)
		return k_err_set(err, K_EUSAGE, "messages is empty, wanted at least one message");
	if (k_json_kind(tools) == K_JSON_ARRAY && k_json_len(tools) && !l->tools)
		return k_err_set(err, K_EUNSUP, "tools: the chat layout '%s' knows none", l->name);
	for (size_t i = from; i < n && !rc; i++)
		rc = check_message(l, k_json_at(messages, i), i, i + 1 == n, err);
	return rc ? rc : check_tools(tools, "", err);
}
