/* anthropic.c: a request of the messages API -> an OpenAI chat request. What is wrong with it is said in the words of this API,
 * so that paths are those that the client wrote.
 *
 *   system                   -> a message from system, first
 *   user: tool_result blocks -> a message from tool each, in order; then the text blocks as one message from user
 *   assistant: thinking      -> reasoning_content;  text -> content;  tool_use -> tool_calls, input as compact JSON
 *
 * A last message of the assistant is continued, as this API has it. */
#include "libcore/base.h"

#include <stdio.h>

#include "cmd/kserve/anthropic.h"
#include "cmd/kserve/rewrite.h"

#define MAX_MESSAGES 16384

/* --- content ------------------------------------------------------------------------------------------------------------------- */

static int wrong_in(struct k_fault *f, const char *where, const char *key, const struct k_json *v, const char *wanted)
{
	char path[160];
	snprintf(path, sizeof(path), "%s.%s", where, key);
	return k_wrong(f, path, v, wanted);
}

/* A string, or blocks of text, added to out. NULL: nothing. */
static int put_texts(struct k_buf *out, const struct k_json *v, const char *where, struct k_fault *f)
{
	char path[128];
	if (!v)
		return 0;
	if (k_json_kind(v) == K_JSON_STRING) {
		k_buf_put(out, k_json_string(v), k_json_len(v));
		return 0;
	}
	if (k_json_kind(v) != K_JSON_ARRAY)
		return k_wrong(f, where, v, "a string or an array of blocks");
	for (size_t i = 0; i < k_json_len(v); i++) {
		const struct k_json *block = k_json_at(v, i), *text = k_json_given(block, "text");
		snprintf(path, sizeof(path), "%s[%zu]", where, i);
		if (!k_is(k_json_given(block, "type"), "text"))
			return k_fault_set(f, 400, "unsupported_content", path, "%s: wanted a block of text, this model reads nothing else", path);
		if (k_json_kind(text) != K_JSON_STRING)
			return wrong_in(f, path, "text", text, "a string");
		k_buf_put(out, k_json_string(text), k_json_len(text));
	}
	return 0;
}

static int add_texts(struct k_json *messages, const char *role, const struct k_json *v, const char *where, struct k_fault *f)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	int rc = put_texts(&b, v, where, f) || !k_add_message(messages, role, &b, f) ? -1 : 0;
	k_buf_fini(&b);
	return rc;
}

/* --- users ----------------------------------------------------------------------------------------------------------------------- */

static int add_result(struct k_json *messages, const struct k_json *block, const char *where, struct k_fault *f)
{
	struct k_json *id = k_json_given(block, "tool_use_id"), *m = NULL;
	bool failed = false;
	char path[128];
	struct k_buf b;
	if (k_json_kind(id) != K_JSON_STRING)
		return wrong_in(f, where, "tool_use_id", id, "a string");
	k_buf_init(&b, 0);
	snprintf(path, sizeof(path), "%s.", where);
	int rc = k_field_bool(block, path, "is_error", &failed, f);
	snprintf(path, sizeof(path), "%s.content", where);
	if (!rc && failed)
		k_buf_puts(&b, "Error: ");
	if (!rc)
		rc = put_texts(&b, k_json_given(block, "content"), path, f);
	if (!rc)
		rc = (m = k_add_message(messages, "tool", &b, f)) ? k_put(m, "tool_call_id", k_json_keep(id), f) : -1;
	k_buf_fini(&b);
	return rc;
}

static int user_block(struct k_json *messages, const struct k_json *block, const char *where, struct k_buf *text, bool *said,
	struct k_fault *f)
{
	const struct k_json *type = k_json_given(block, "type"), *v = k_json_given(block, "text");
	if (k_is(type, "tool_result"))
		return add_result(messages, block, where, f);
	if (k_json_kind(block) != K_JSON_OBJECT)
		return k_wrong(f, where, block, "a block");
	if (!k_word(type))
		return wrong_in(f, where, "type", type, "a string");
	if (!k_is(type, "text"))
		return k_fault_set(f, 400, "unsupported_content", where, "%s is of type '%.40s', but this model reads text only", where,
			k_word(type));
	if (k_json_kind(v) != K_JSON_STRING)
		return wrong_in(f, where, "text", v, "a string");
	k_buf_put(text, k_json_string(v), k_json_len(v));
	*said = true;
	return 0;
}

static int user_blocks(struct k_json *messages, const struct k_json *content, const char *where, struct k_fault *f)
{
	char path[96];
	bool said = false;
	struct k_buf text;
	int rc = 0;
	k_buf_init(&text, 0);
	for (size_t i = 0; i < k_json_len(content) && !rc; i++) {
		snprintf(path, sizeof(path), "%s[%zu]", where, i);
		rc = user_block(messages, k_json_at(content, i), path, &text, &said, f);
	}
	if (!rc && said && !k_add_message(messages, "user", &text, f))
		rc = -1;
	k_buf_fini(&text);
	return rc;
}

/* --- the assistant --------------------------------------------------------------------------------------------------------------- */

/* {"_raw": text} is how arguments that are no object were told. */
static void put_arguments(struct k_buf *b, const struct k_json *input)
{
	const struct k_json *raw = k_json_len(input) == 1 ? k_json_find(input, "_raw") : NULL;
	if (k_json_kind(raw) == K_JSON_STRING)
		k_buf_put(b, k_json_string(raw), k_json_len(raw));
	else
		k_json_dump(b, input, K_JSON_COMPACT);
}

static int add_call(struct k_turn *t, const struct k_json *block, const char *where, struct k_fault *f)
{
	struct k_json *id = k_json_given(block, "id"), *name = k_json_given(block, "name"), *input = k_json_given(block, "input");
	struct k_buf args;
	if (k_json_kind(id) != K_JSON_STRING || k_json_kind(name) != K_JSON_STRING || k_json_kind(input) != K_JSON_OBJECT)
		return k_fault_set(f, 400, NULL, where, "%s: a tool_use block has id and name, which are strings, and input, an object", where);
	k_buf_init(&args, 0);
	put_arguments(&args, input);
	int rc = k_turn_call(t, id, name, &args, f);
	k_buf_fini(&args);
	return rc;
}

static int assistant_block(struct k_turn *t, const struct k_json *block, const char *where, struct k_fault *f)
{
	const struct k_json *type = k_json_given(block, "type");
	bool thinks = k_is(type, "thinking");
	if (k_is(type, "redacted_thinking"))
		return 0;
	if (k_is(type, "tool_use"))
		return add_call(t, block, where, f);
	if (!thinks && !k_is(type, "text"))
		return k_fault_set(f, 400, "unsupported_content", where, "%s: wanted a block of type text, thinking or tool_use", where);
	const struct k_json *v = k_json_given(block, thinks ? "thinking" : "text");
	if (k_json_kind(v) != K_JSON_STRING)
		return wrong_in(f, where, thinks ? "thinking" : "text", v, "a string");
	t->thinks |= thinks;
	k_buf_put(thinks ? &t->thought : &t->text, k_json_string(v), k_json_len(v));
	return 0;
}

static int assistant(struct k_json *messages, const struct k_json *content, const char *where, bool last, struct k_fault *f)
{
	struct k_turn t;
	char path[96];
	int rc = 0;
	k_turn_init(&t);
	if (k_json_kind(content) == K_JSON_STRING)
		k_buf_put(&t.text, k_json_string(content), k_json_len(content));
	for (size_t i = 0; k_json_kind(content) == K_JSON_ARRAY && i < k_json_len(content) && !rc; i++) {
		snprintf(path, sizeof(path), "%s[%zu]", where, i);
		rc = assistant_block(&t, k_json_at(content, i), path, f);
	}
	bool go_on = last && !t.calls;
	struct k_json *m = rc ? NULL : k_turn_add(messages, &t, f);
	if (m && go_on && k_put(m, "partial", k_json_new_bool(true), f))
		m = NULL;
	k_turn_fini(&t);
	return m ? 0 : -1;
}

static int put_messages(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *list = k_json_given(body, "messages"), *system = k_json_given(body, "system");
	size_t n = k_json_len(list);
	char where[64];
	if (k_json_kind(list) != K_JSON_ARRAY)
		return k_wrong(f, "messages", list, "an array");
	if (!n || n > MAX_MESSAGES)
		return k_fault_set(f, 400, NULL, "messages", "messages has %zu entries, wanted 1 to %d", n, MAX_MESSAGES);
	if (system && add_texts(out, "system", system, "system", f))
		return -1;
	for (size_t i = 0; i < n; i++) {
		const struct k_json *m = k_json_at(list, i), *role = k_json_given(m, "role"), *content = k_json_given(m, "content");
		enum k_json_kind kind = k_json_kind(content);
		bool user = k_is(role, "user");
		snprintf(where, sizeof(where), "messages[%zu].role", i);
		if (!user && !k_is(role, "assistant"))
			return k_fault_set(f, 400, NULL, where, "%s must be user or assistant", where);
		snprintf(where, sizeof(where), "messages[%zu].content", i);
		if (kind != K_JSON_STRING && (kind != K_JSON_ARRAY || !k_json_len(content)))
			return k_wrong(f, where, content, "a string or an array of blocks that is not empty");
		int rc = !user ? assistant(out, content, where, i + 1 == n, f) : kind == K_JSON_STRING ? add_texts(out, "user", content, where, f)
			: user_blocks(out, content, where, f);
		if (rc)
			return rc;
	}
	return 0;
}

/* The messages that one of a user makes; of the n-th, if it is a tool's answer, the block. */
static size_t made_of_user(const struct k_json *content, size_t n, long *block)
{
	size_t results = 0, texts = 0;
	for (size_t i = 0; k_json_kind(content) == K_JSON_ARRAY && i < k_json_len(content); i++) {
		bool result = k_is(k_json_given(k_json_at(content, i), "type"), "tool_result");
		if (result && results == n)
			*block = (long)i;
		results += result;
		texts += !result;
	}
	return results + (texts || k_json_kind(content) == K_JSON_STRING);
}

void k_anthropic_place(const struct k_json *body, size_t n, char *out, size_t size)
{
	const struct k_json *list = k_json_given(body, "messages");
	size_t before = k_json_given(body, "system") ? 1 : 0;
	snprintf(out, size, "%s", "system");
	for (size_t i = 0; i < k_json_len(list) && n >= before; i++) {
		const struct k_json *m = k_json_at(list, i);
		long block = -1;
		before += k_is(k_json_given(m, "role"), "user") ? made_of_user(k_json_given(m, "content"), n - before, &block) : 1;
		snprintf(out, size, block < 0 ? "messages[%zu]" : "messages[%zu].content[%ld]", i, block);
	}
}

/* --- tools ------------------------------------------------------------------------------------------------------------------------ */

static int put_tool(struct k_json *list, const struct k_json *tool, size_t i, struct k_fault *f)
{
	const struct k_json *type = k_json_given(tool, "type");
	char where[64];
	snprintf(where, sizeof(where), "tools[%zu]", i);
	if (k_json_kind(tool) != K_JSON_OBJECT)
		return k_wrong(f, where, tool, "an object");
	if (type && !k_is(type, "custom"))
		return k_fault_set(f, 400, "unsupported_parameter", where, "%s: tools that the server runs are not supported", where);
	return k_add_tool(list, tool, "input_schema", f);
}

static int put_tools(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *v = k_json_given(body, "tools");
	if (v && k_json_kind(v) != K_JSON_ARRAY)
		return k_wrong(f, "tools", v, "an array");
	struct k_json *list = v ? k_json_array() : NULL;
	int rc = 0;
	for (size_t i = 0; i < k_json_len(v) && !rc; i++)
		rc = put_tool(list, k_json_at(v, i), i, f);
	if (!rc && v)
		return k_put(out, "tools", list, f);
	k_json_free(list);
	return rc;
}

static int put_choice(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	static const struct { const char *type, *word; } words[] = { { "auto", "auto" }, { "any", "required" }, { "none", "none" } };
	const struct k_json *v = k_json_given(body, "tool_choice"), *type = k_json_given(v, "type");
	bool alone = false;
	if (!v)
		return 0;
	if (k_field_bool(v, "tool_choice.", "disable_parallel_tool_use", &alone, f) ||
		(alone && k_put(out, "parallel_tool_calls", k_json_new_bool(false), f)))
		return -1;
	for (size_t i = 0; i < K_LEN(words); i++) {
		if (k_is(type, words[i].type))
			return k_put_word(out, "tool_choice", words[i].word, f);
	}
	if (!k_is(type, "tool"))
		return k_fault_set(f, 400, NULL, "tool_choice.type", "tool_choice.type must be auto, any, tool or none");
	return k_put_named(out, v, f);
}

/* --- the rest --------------------------------------------------------------------------------------------------------------------- */

/* adaptive: the model decides, which is what it does when thinking is on. */
static int put_thinking(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *v = k_json_given(body, "thinking"), *type = k_json_given(v, "type");
	int64_t budget = -1;
	if (!v)
		return 0;
	bool off = k_is(type, "disabled");
	if (!off && !k_is(type, "enabled") && !k_is(type, "adaptive"))
		return k_fault_set(f, 400, NULL, "thinking.type", "thinking.type must be enabled, adaptive or disabled");
	if (k_field_int(v, "thinking.", "budget_tokens", 1, INT32_MAX, &budget, f))
		return -1;
	struct k_json *o = k_json_object();
	if (k_put_word(o, "type", off ? "disabled" : "enabled", f)) {
		k_json_free(o);
		return -1;
	}
	if (k_put(out, "thinking", o, f))
		return -1;
	return budget > 0 && !off ? k_put(out, "thinking_budget_tokens", k_json_new_int(budget), f) : 0;
}

/* output_config: effort, and a format that is a JSON schema. */
static int put_output(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *config = k_json_given(body, "output_config"), *format = k_json_given(config, "format");
	if (config && k_json_kind(config) != K_JSON_OBJECT)
		return k_wrong(f, "output_config", config, "an object");
	if (k_share(out, "reasoning_effort", config, "effort", f))
		return -1;
	if (!format)
		return 0;
	if (!k_is(k_json_given(format, "type"), "json_schema"))
		return k_fault_set(f, 400, NULL, "output_config.format.type", "output_config.format.type must be json_schema");
	return k_put_schema(out, format, "output", true, f);
}

static int put_rest(struct k_json *out, const struct k_json *body, bool counted, struct k_fault *f)
{
	const struct k_json *stops = k_json_given(body, "stop_sequences"), *t = k_json_given(body, "temperature");
	if (!counted && !k_json_given(body, "max_tokens"))
		return k_fault_set(f, 400, NULL, "max_tokens", "max_tokens is missing: this API wants it");
	if (stops && k_json_kind(stops) != K_JSON_ARRAY)
		return k_wrong(f, "stop_sequences", stops, "an array of strings");
	if (k_json_number(t) > 1)
		return k_fault_set(f, 400, NULL, "temperature", "temperature is %g, wanted 0 to 1", k_json_number(t));
	return k_share_common(out, body, f) || k_share(out, "max_tokens", body, "max_tokens", f) ||
		k_share(out, "stop", body, "stop_sequences", f) ? -1 : 0;
}

struct k_json *k_anthropic_to_chat(const struct k_json *body, bool counted, struct k_fault *f)
{
	/* What follows a thread comes without what went before it, so it is not ignored as other unknown fields are. */
	if (k_json_given(body, "thread")) {
		k_fault_set(f, 400, "thread_unsupported_request", "thread", "thread is not supported: nothing is stored by this server");
		return NULL;
	}
	struct k_json *out = k_json_object(), *messages = k_json_array();
	int rc = put_messages(messages, body, f);
	if (!rc) {
		rc = k_put(out, "messages", messages, f);
		messages = NULL;
	}
	if (!rc && !put_rest(out, body, counted, f) && !put_tools(out, body, f) && !put_choice(out, body, f) &&
		!put_thinking(out, body, f) && !put_output(out, body, f))
		return out;
	k_json_free(messages);
	k_json_free(out);
	return NULL;
}
