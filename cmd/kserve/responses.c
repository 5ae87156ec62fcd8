/* responses.c: a request of the responses API -> a chat request. Nothing is stored here, so what refers to something stored is
 * refused.
 *
 *   instructions                                -> a message from system, first
 *   reasoning, assistant's message, function_call, as long as they follow one another
 *                                               -> one message from the assistant
 *   function_call_output                        -> a message from tool; its call must stand before it */
#include "libcore/base.h"

#include <stdio.h>

#include "libcore/map.h"
#include "cmd/kserve/responses.h"
#include "cmd/kserve/rewrite.h"

#define MAX_ITEMS 65536

struct reader {
	struct k_json *messages;
	struct k_turn turn;
	bool open;                      /* the turn has something */
	struct k_map calls;             /* ids of calls so far */
};

/* --- texts ------------------------------------------------------------------------------------------------------------------------ */

/* A string, or parts that hold text, added to out. NULL: nothing. */
static int put_parts(struct k_buf *out, const struct k_json *v, const char *where, struct k_fault *f)
{
	static const char *const types[] = { "input_text", "output_text", "text", "reasoning_text", "summary_text", "refusal" };
	char path[128];
	if (k_json_kind(v) == K_JSON_STRING) {
		k_buf_put(out, k_json_string(v), k_json_len(v));
		return 0;
	}
	if (v && k_json_kind(v) != K_JSON_ARRAY)
		return k_wrong(f, where, v, "a string or an array of parts");
	for (size_t i = 0; i < k_json_len(v); i++) {
		const struct k_json *part = k_json_at(v, i), *type = k_json_given(part, "type");
		const struct k_json *text = k_json_given(part, k_is(type, "refusal") ? "refusal" : "text");
		bool known = false;
		snprintf(path, sizeof(path), "%s[%zu]", where, i);
		for (size_t t = 0; t < K_LEN(types); t++)
			known |= k_is(type, types[t]);
		if (!known)
			return k_fault_set(f, 400, "unsupported_content", path, "%s: wanted a part that holds text, this model reads nothing else", path);
		snprintf(path, sizeof(path), "%s[%zu].%s", where, i, k_is(type, "refusal") ? "refusal" : "text");
		if (k_json_kind(text) != K_JSON_STRING)
			return k_wrong(f, path, text, "a string");
		k_buf_put(out, k_json_string(text), k_json_len(text));
	}
	return 0;
}

/* --- items ------------------------------------------------------------------------------------------------------------------------ */

static int close_turn(struct reader *r, struct k_fault *f)
{
	bool open = r->open;
	r->open = false;
	return !open || k_turn_add(r->messages, &r->turn, f) ? 0 : -1;
}

static int item_message(struct reader *r, const struct k_json *item, const char *where, struct k_fault *f)
{
	static const char *const roles[] = { "user", "system", "developer" };
	const struct k_json *role = k_json_given(item, "role"), *content = k_json_given(item, "content");
	struct k_buf b;
	char path[96];
	snprintf(path, sizeof(path), "%s.content", where);
	if (!content)
		return k_wrong(f, path, content, "a string or an array of parts");
	if (k_is(role, "assistant")) {
		r->open = true;
		return put_parts(&r->turn.text, content, path, f);
	}
	for (size_t i = 0; i < K_LEN(roles); i++) {
		if (!k_is(role, roles[i]))
			continue;
		k_buf_init(&b, 0);
		int rc = close_turn(r, f) || put_parts(&b, content, path, f) || !k_add_message(r->messages, roles[i], &b, f) ? -1 : 0;
		k_buf_fini(&b);
		return rc;
	}
	snprintf(path, sizeof(path), "%s.role", where);
	return k_fault_set(f, 400, NULL, path, "%s must be user, assistant, system or developer", path);
}

static int item_call(struct reader *r, const struct k_json *item, const char *where, struct k_fault *f)
{
	struct k_json *id = k_json_given(item, "call_id"), *name = k_json_given(item, "name"), *text = k_json_given(item, "arguments");
	struct k_buf args;
	if (k_json_kind(id) != K_JSON_STRING || k_json_kind(name) != K_JSON_STRING || k_json_kind(text) != K_JSON_STRING)
		return k_fault_set(f, 400, NULL, where, "%s: a function_call has call_id, name and arguments, which are strings", where);
	if (k_map_put(&r->calls, k_json_string(id), k_json_len(id), r) < 0)
		return k_no_memory(f);
	r->open = true;
	k_buf_init(&args, 0);
	k_buf_put(&args, k_json_string(text), k_json_len(text));
	int rc = k_turn_call(&r->turn, id, name, &args, f);
	k_buf_fini(&args);
	return rc;
}

static int item_output(struct reader *r, const struct k_json *item, const char *where, struct k_fault *f)
{
	struct k_json *id = k_json_given(item, "call_id"), *m = NULL;
	const struct k_json *output = k_json_given(item, "output");
	struct k_buf b;
	char path[96];
	snprintf(path, sizeof(path), "%s.call_id", where);
	if (k_json_kind(id) != K_JSON_STRING)
		return k_wrong(f, path, id, "a string");
	if (!k_map_find(&r->calls, k_json_string(id), k_json_len(id)))
		return k_fault_set(f, 400, NULL, path, "%s '%.80s' is that of no function_call before it", path, k_json_string(id));
	snprintf(path, sizeof(path), "%s.output", where);
	if (!output)
		return k_wrong(f, path, output, "a string or an array of parts");
	k_buf_init(&b, 0);
	int rc = close_turn(r, f) || put_parts(&b, output, path, f) || !(m = k_add_message(r->messages, "tool", &b, f)) ||
		k_put(m, "tool_call_id", k_json_keep(id), f) ? -1 : 0;
	k_buf_fini(&b);
	return rc;
}

/* The thoughts themselves, else what was told of them. */
static int item_reasoning(struct reader *r, const struct k_json *item, const char *where, struct k_fault *f)
{
	const struct k_json *content = k_json_given(item, "content");
	char path[96];
	bool own = k_json_len(content) > 0;
	snprintf(path, sizeof(path), "%s.%s", where, own ? "content" : "summary");
	size_t before = r->turn.thought.len;
	int rc = put_parts(&r->turn.thought, own ? content : k_json_given(item, "summary"), path, f);
	r->open = true;
	r->turn.thinks |= r->turn.thought.len > before;
	return rc;
}

static int put_item(struct reader *r, const struct k_json *item, size_t i, struct k_fault *f)
{
	static const struct { const char *type; int (*put)(struct reader *, const struct k_json *, const char *, struct k_fault *); } types[] = {
		{ "message", item_message }, { "function_call", item_call }, { "function_call_output", item_output }, { "reasoning", item_reasoning },
	};
	const struct k_json *type = k_json_given(item, "type");
	char where[64];
	snprintf(where, sizeof(where), "input[%zu]", i);
	if (k_json_kind(item) != K_JSON_OBJECT)
		return k_wrong(f, where, item, "an object");
	if (!type)
		return item_message(r, item, where, f);
	for (size_t t = 0; t < K_LEN(types); t++) {
		if (k_is(type, types[t].type))
			return types[t].put(r, item, where, f);
	}
	return k_fault_set(f, 400, "unsupported_content", where, "%s is of type '%.40s': wanted message, reasoning, function_call or "
		"function_call_output", where, k_word(type) ? k_word(type) : "?");
}

static int read_input(struct reader *r, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *input = k_json_given(body, "input"), *first = k_json_given(body, "instructions");
	enum k_json_kind kind = k_json_kind(input);
	struct k_buf b;
	if (kind != K_JSON_STRING && kind != K_JSON_ARRAY)
		return k_wrong(f, "input", input, "a string or an array of items");
	if (kind == K_JSON_ARRAY && (!k_json_len(input) || k_json_len(input) > MAX_ITEMS))
		return k_fault_set(f, 400, NULL, "input", "input has %zu items, wanted 1 to %d", k_json_len(input), MAX_ITEMS);
	k_buf_init(&b, 0);
	int rc = first && (put_parts(&b, first, "instructions", f) || !k_add_message(r->messages, "system", &b, f)) ? -1 : 0;
	k_buf_reset(&b);
	if (!rc && kind == K_JSON_STRING)
		rc = put_parts(&b, input, "input", f) || !k_add_message(r->messages, "user", &b, f) ? -1 : 0;
	k_buf_fini(&b);
	for (size_t i = 0; kind == K_JSON_ARRAY && i < k_json_len(input) && !rc; i++)
		rc = put_item(r, k_json_at(input, i), i, f);
	return rc ? rc : close_turn(r, f);
}

static int put_messages(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	struct reader r = { .messages = k_json_array() };
	k_turn_init(&r.turn);
	k_map_init(&r.calls);
	int rc = r.messages ? read_input(&r, body, f) : k_no_memory(f);
	k_map_fini(&r.calls);
	k_turn_fini(&r.turn);
	if (!rc)
		return k_put(out, "messages", r.messages, f);
	k_json_free(r.messages);
	return rc;
}

/* --- tools ------------------------------------------------------------------------------------------------------------------------- */

static int put_tools(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *v = k_json_given(body, "tools");
	char where[64];
	if (!v)
		return 0;
	if (k_json_kind(v) != K_JSON_ARRAY)
		return k_wrong(f, "tools", v, "an array");
	struct k_json *list = k_json_array();
	int rc = 0;
	for (size_t i = 0; i < k_json_len(v) && !rc; i++) {
		const struct k_json *tool = k_json_at(v, i);
		snprintf(where, sizeof(where), "tools[%zu].type", i);
		rc = k_is(k_json_given(tool, "type"), "function") ? k_add_tool(list, tool, "parameters", f)
			: k_fault_set(f, 400, "unsupported_parameter", where, "%s must be function: tools that the server runs are not supported", where);
	}
	if (!rc)
		return k_put(out, "tools", list, f);
	k_json_free(list);
	return rc;
}

/* {"type":"allowed_tools","mode":..,"tools":[..]}, whose members stand one level deeper in a chat request. */
static int put_allowed(struct k_json *out, const struct k_json *v, struct k_fault *f)
{
	const struct k_json *names = k_json_given(v, "tools");
	struct k_json *choice = k_json_object(), *allowed = k_json_object(), *list = k_json_array();
	int rc = 0;
	for (size_t i = 0; i < k_json_len(names) && !rc; i++)
		rc = k_add_tool(list, k_json_at(names, i), "parameters", f);
	if (!rc) {
		rc = k_put(allowed, "tools", list, f);
		list = NULL;
	}
	if (!rc)
		rc = k_share(allowed, "mode", v, "mode", f) || k_put_word(choice, "type", "allowed_tools", f) ? -1 : 0;
	if (!rc) {
		rc = k_put(choice, "allowed_tools", allowed, f);
		allowed = NULL;
	}
	if (!rc)
		return k_put(out, "tool_choice", choice, f);
	k_json_free(list);
	k_json_free(allowed);
	k_json_free(choice);
	return rc;
}

static int put_choice(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *v = k_json_given(body, "tool_choice"), *type = k_json_given(v, "type");
	if (!v || k_json_kind(v) == K_JSON_STRING)
		return k_share(out, "tool_choice", body, "tool_choice", f);
	if (k_is(type, "function"))
		return k_put_named(out, v, f);
	if (k_is(type, "allowed_tools"))
		return put_allowed(out, v, f);
	return k_fault_set(f, 400, "unsupported_parameter", "tool_choice", "tool_choice must be auto, none, required, a function or allowed_tools");
}

/* --- the rest ---------------------------------------------------------------------------------------------------------------------- */

static int put_format(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *text = k_json_given(body, "text"), *format = k_json_given(text, "format");
	if (text && k_json_kind(text) != K_JSON_OBJECT)
		return k_wrong(f, "text", text, "an object");
	if (k_is(k_json_given(format, "type"), "json_schema"))
		return k_put_schema(out, format, NULL, false, f);
	return k_share(out, "response_format", text, "format", f);
}

/* Members that refer to what would have to be stored, or run here. */
static int refuse(const struct k_json *body, struct k_fault *f)
{
	static const char *const names[] = { "previous_response_id", "conversation", "prompt", "context_management" };
	const struct k_json *cut = k_json_given(body, "truncation");
	bool background = false;
	for (size_t i = 0; i < K_LEN(names); i++) {
		if (k_json_given(body, names[i]))
			return k_fault_set(f, 400, "unsupported_parameter", names[i], "%s is not supported: nothing is stored by this server", names[i]);
	}
	if (k_field_bool(body, "", "background", &background, f))
		return -1;
	if (background)
		return k_fault_set(f, 400, "unsupported_parameter", "background", "background is not supported by this server");
	if (cut && !k_is(cut, "disabled"))
		return k_fault_set(f, 400, "unsupported_parameter", "truncation", "truncation must be disabled");
	return 0;
}

/* What else is told: of what include can name, log-probabilities are known here. */
static int put_logprobs(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *include = k_json_given(body, "include");
	bool wanted = false;
	int64_t top = 0;
	if (include && k_json_kind(include) != K_JSON_ARRAY)
		return k_wrong(f, "include", include, "an array");
	for (size_t i = 0; i < k_json_len(include); i++)
		wanted |= k_is(k_json_at(include, i), "message.output_text.logprobs");
	if (k_field_int(body, "", "top_logprobs", 0, K_MAX_TOP, &top, f))
		return -1;
	if (top > 0 && !wanted)
		return k_fault_set(f, 400, NULL, "top_logprobs", "top_logprobs needs include: [\"message.output_text.logprobs\"]");
	if (!wanted)
		return 0;
	return k_put(out, "logprobs", k_json_new_bool(true), f) || k_share(out, "top_logprobs", body, "top_logprobs", f) ? -1 : 0;
}

struct k_json *k_responses_to_chat(const struct k_json *body, struct k_fault *f)
{
	struct k_json *out = k_json_object();
	const struct k_json *reasoning = k_json_given(body, "reasoning");
	if (out && reasoning && k_json_kind(reasoning) != K_JSON_OBJECT)
		k_fault_set(f, 400, NULL, "reasoning", "reasoning is %s, wanted an object", k_json_kind_name(reasoning));
	else if (!refuse(body, f) && !put_messages(out, body, f) && !put_tools(out, body, f) && !put_choice(out, body, f) &&
		!put_format(out, body, f) && !put_logprobs(out, body, f) && !k_share_common(out, body, f) && !k_share(out, "reasoning_effort", reasoning, "effort", f) &&
		!k_share(out, "parallel_tool_calls", body, "parallel_tool_calls", f) &&
		!k_share(out, "max_completion_tokens", body, "max_output_tokens", f))
		return out;
	k_json_free(out);
	return NULL;
}
