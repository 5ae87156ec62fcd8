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

#define MAX_MESSAGES 16384

static int no_memory(struct k_fault *f) { return k_fault_set(f, 503, "overloaded", NULL, "out of memory"); }

static int wrong(struct k_fault *f, const char *where, const struct k_json *v, const char *wanted)
{
	return k_fault_set(f, 400, NULL, where, "%s is %s, wanted %s", where, v ? k_json_kind_name(v) : "missing", wanted);
}

/* Takes v, which may be NULL for want of memory. */
static int set(struct k_json *o, const char *key, struct k_json *v, struct k_fault *f)
{
	return k_json_set(o, key, v) ? no_memory(f) : 0;
}

static int set_word(struct k_json *o, const char *key, const char *word, struct k_fault *f)
{
	return set(o, key, k_json_new_string(word, strlen(word)), f);
}

static int set_text(struct k_json *o, const char *key, const struct k_buf *b, struct k_fault *f)
{
	return b->failed ? no_memory(f) : set(o, key, k_json_new_string(b->len ? b->data : "", b->len), f);
}

/* o[to] = from[key], if that is there. */
static int share(struct k_json *o, const char *to, const struct k_json *from, const char *key, struct k_fault *f)
{
	struct k_json *v = k_field(from, key);
	return v ? set(o, to, k_json_keep(v), f) : 0;
}

static bool is(const struct k_json *v, const char *word)
{
	const char *s = k_word(v);
	return s && !strcmp(s, word);
}

/* --- content ------------------------------------------------------------------------------------------------------------------- */

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
		return wrong(f, where, v, "a string or an array of blocks");
	for (size_t i = 0; i < k_json_len(v); i++) {
		const struct k_json *block = k_json_at(v, i), *text = k_field(block, "text");
		snprintf(path, sizeof(path), "%s[%zu]", where, i);
		if (!is(k_field(block, "type"), "text"))
			return k_fault_set(f, 400, "unsupported_content", path, "%s: wanted a block of text, this model reads nothing else", path);
		if (k_json_kind(text) != K_JSON_STRING)
			return wrong(f, path, text, "a block with text");
		k_buf_put(out, k_json_string(text), k_json_len(text));
	}
	return 0;
}

/* Appends {"role":..,"content":..}; NULL with a fault. Borrowed. */
static struct k_json *add_message(struct k_json *messages, const char *role, const struct k_buf *content, struct k_fault *f)
{
	struct k_json *m = k_json_object();
	if (set_word(m, "role", role, f) || set_text(m, "content", content, f)) {
		k_json_free(m);
		return NULL;
	}
	if (!k_json_push(messages, m))
		return k_json_at(messages, k_json_len(messages) - 1);
	no_memory(f);
	return NULL;
}

static int add_texts(struct k_json *messages, const char *role, const struct k_json *v, const char *where, struct k_fault *f)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	int rc = put_texts(&b, v, where, f) || !add_message(messages, role, &b, f) ? -1 : 0;
	k_buf_fini(&b);
	return rc;
}

/* --- users ----------------------------------------------------------------------------------------------------------------------- */

static int add_result(struct k_json *messages, const struct k_json *block, const char *where, struct k_fault *f)
{
	struct k_json *id = k_field(block, "tool_use_id"), *m = NULL;
	bool failed = false;
	struct k_buf b;
	if (k_json_kind(id) != K_JSON_STRING)
		return wrong(f, where, id, "a tool_use_id");
	k_buf_init(&b, 0);
	int rc = k_field_bool(block, "", "is_error", &failed, f);
	if (!rc && failed)
		k_buf_puts(&b, "Error: ");
	if (!rc)
		rc = put_texts(&b, k_field(block, "content"), where, f);
	if (!rc)
		rc = (m = add_message(messages, "tool", &b, f)) ? set(m, "tool_call_id", k_json_keep(id), f) : -1;
	k_buf_fini(&b);
	return rc;
}

static int user_block(struct k_json *messages, const struct k_json *block, const char *where, struct k_buf *text, bool *said,
	struct k_fault *f)
{
	const struct k_json *type = k_field(block, "type"), *v = k_field(block, "text");
	if (is(type, "tool_result"))
		return add_result(messages, block, where, f);
	if (!k_word(type))
		return wrong(f, where, type, "a block with a type");
	if (!is(type, "text"))
		return k_fault_set(f, 400, "unsupported_content", where, "%s is of type '%.40s', but this model reads text only", where,
			k_word(type));
	if (k_json_kind(v) != K_JSON_STRING)
		return wrong(f, where, v, "a block with text");
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
	if (!rc && said && !add_message(messages, "user", &text, f))
		rc = -1;
	k_buf_fini(&text);
	return rc;
}

/* --- the assistant --------------------------------------------------------------------------------------------------------------- */

struct turn {
	struct k_buf text, thought;
	struct k_json *calls;
	bool thinks;
};

/* {"_raw": text} is how arguments that are no object were told. */
static int set_arguments(struct k_json *fn, const struct k_json *input, struct k_fault *f)
{
	const struct k_json *raw = k_json_kind(input) == K_JSON_OBJECT && k_json_len(input) == 1 ? k_json_find(input, "_raw") : NULL;
	struct k_buf b;
	k_buf_init(&b, 0);
	if (k_json_kind(raw) == K_JSON_STRING)
		k_buf_put(&b, k_json_string(raw), k_json_len(raw));
	else
		k_json_dump(&b, input, K_JSON_COMPACT);
	int rc = set_text(fn, "arguments", &b, f);
	k_buf_fini(&b);
	return rc;
}

static int add_call(struct turn *t, const struct k_json *block, const char *where, struct k_fault *f)
{
	struct k_json *id = k_field(block, "id"), *name = k_field(block, "name"), *input = k_field(block, "input");
	if (k_json_kind(id) != K_JSON_STRING || k_json_kind(name) != K_JSON_STRING || k_json_kind(input) != K_JSON_OBJECT)
		return k_fault_set(f, 400, NULL, where, "%s: a tool_use block has id and name, which are strings, and input, an object", where);
	struct k_json *call = k_json_object(), *fn = k_json_object();
	int rc = set(call, "id", k_json_keep(id), f) || set_word(call, "type", "function", f) || set(fn, "name", k_json_keep(name), f) ||
		set_arguments(fn, input, f) ? -1 : 0;
	if (!rc) {
		rc = set(call, "function", fn, f);
		fn = NULL;
	}
	if (!rc && !t->calls)
		t->calls = k_json_array();
	if (!rc) {
		rc = k_json_push(t->calls, call) ? no_memory(f) : 0;
		call = NULL;
	}
	k_json_free(fn);
	k_json_free(call);
	return rc;
}

static int assistant_block(struct turn *t, const struct k_json *block, const char *where, struct k_fault *f)
{
	const struct k_json *type = k_field(block, "type");
	bool thinks = is(type, "thinking");
	if (is(type, "redacted_thinking"))
		return 0;
	if (is(type, "tool_use"))
		return add_call(t, block, where, f);
	if (!thinks && !is(type, "text"))
		return k_fault_set(f, 400, "unsupported_content", where, "%s: wanted a block of type text, thinking or tool_use", where);
	const struct k_json *v = k_field(block, thinks ? "thinking" : "text");
	if (k_json_kind(v) != K_JSON_STRING)
		return wrong(f, where, v, thinks ? "a block with thinking" : "a block with text");
	t->thinks |= thinks;
	k_buf_put(thinks ? &t->thought : &t->text, k_json_string(v), k_json_len(v));
	return 0;
}

static int assistant(struct k_json *messages, const struct k_json *content, const char *where, bool last, struct k_fault *f)
{
	struct turn t = { .calls = NULL };
	struct k_json *m = NULL;
	char path[96];
	int rc = 0;
	k_buf_init(&t.text, 0);
	k_buf_init(&t.thought, 0);
	if (k_json_kind(content) == K_JSON_STRING)
		k_buf_put(&t.text, k_json_string(content), k_json_len(content));
	for (size_t i = 0; k_json_kind(content) == K_JSON_ARRAY && i < k_json_len(content) && !rc; i++) {
		snprintf(path, sizeof(path), "%s[%zu]", where, i);
		rc = assistant_block(&t, k_json_at(content, i), path, f);
	}
	if (!rc)
		rc = (m = add_message(messages, "assistant", &t.text, f)) ? 0 : -1;
	if (!rc && t.thinks)
		rc = set_text(m, "reasoning_content", &t.thought, f);
	if (!rc && last && !t.calls)
		rc = set(m, "partial", k_json_new_bool(true), f);
	if (!rc && t.calls) {
		rc = set(m, "tool_calls", t.calls, f);
		t.calls = NULL;
	}
	k_json_free(t.calls);
	k_buf_fini(&t.text);
	k_buf_fini(&t.thought);
	return rc;
}

static int put_messages(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *list = k_field(body, "messages"), *system = k_field(body, "system");
	size_t n = k_json_len(list);
	char where[64];
	if (k_json_kind(list) != K_JSON_ARRAY)
		return wrong(f, "messages", list, "an array");
	if (!n || n > MAX_MESSAGES)
		return k_fault_set(f, 400, NULL, "messages", "messages has %zu entries, wanted 1 to %d", n, MAX_MESSAGES);
	if (system && add_texts(out, "system", system, "system", f))
		return -1;
	for (size_t i = 0; i < n; i++) {
		const struct k_json *m = k_json_at(list, i), *role = k_field(m, "role"), *content = k_field(m, "content");
		enum k_json_kind kind = k_json_kind(content);
		bool user = is(role, "user");
		snprintf(where, sizeof(where), "messages[%zu].role", i);
		if (!user && !is(role, "assistant"))
			return k_fault_set(f, 400, NULL, where, "%s must be user or assistant", where);
		snprintf(where, sizeof(where), "messages[%zu].content", i);
		if (kind != K_JSON_STRING && (kind != K_JSON_ARRAY || !k_json_len(content)))
			return wrong(f, where, content, "a string or an array of blocks that is not empty");
		int rc = !user ? assistant(out, content, where, i + 1 == n, f) : kind == K_JSON_STRING ? add_texts(out, "user", content, where, f)
			: user_blocks(out, content, where, f);
		if (rc)
			return rc;
	}
	return 0;
}

/* --- tools ------------------------------------------------------------------------------------------------------------------------ */

static int put_tool(struct k_json *list, const struct k_json *tool, size_t i, struct k_fault *f)
{
	const struct k_json *type = k_field(tool, "type");
	char where[64];
	snprintf(where, sizeof(where), "tools[%zu]", i);
	if (k_json_kind(tool) != K_JSON_OBJECT)
		return wrong(f, where, tool, "an object");
	if (type && !is(type, "custom"))
		return k_fault_set(f, 400, "unsupported_parameter", where, "%s: tools that the server runs are not supported", where);
	struct k_json *one = k_json_object(), *fn = k_json_object();
	int rc = set_word(one, "type", "function", f) || share(fn, "name", tool, "name", f) ||
		share(fn, "description", tool, "description", f) || share(fn, "parameters", tool, "input_schema", f) ||
		share(fn, "strict", tool, "strict", f) ? -1 : 0;
	if (!rc) {
		rc = set(one, "function", fn, f);
		fn = NULL;
	}
	if (!rc) {
		rc = k_json_push(list, one) ? no_memory(f) : 0;
		one = NULL;
	}
	k_json_free(fn);
	k_json_free(one);
	return rc;
}

static int put_tools(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *v = k_field(body, "tools");
	if (v && k_json_kind(v) != K_JSON_ARRAY)
		return wrong(f, "tools", v, "an array");
	struct k_json *list = v ? k_json_array() : NULL;
	int rc = 0;
	for (size_t i = 0; i < k_json_len(v) && !rc; i++)
		rc = put_tool(list, k_json_at(v, i), i, f);
	if (!rc && v)
		return set(out, "tools", list, f);
	k_json_free(list);
	return rc;
}

static int put_choice(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	static const struct { const char *type, *word; } words[] = { { "auto", "auto" }, { "any", "required" }, { "none", "none" } };
	const struct k_json *v = k_field(body, "tool_choice"), *type = k_field(v, "type");
	bool alone = false;
	if (!v)
		return 0;
	if (k_field_bool(v, "tool_choice.", "disable_parallel_tool_use", &alone, f) ||
		(alone && set(out, "parallel_tool_calls", k_json_new_bool(false), f)))
		return -1;
	for (size_t i = 0; i < K_LEN(words); i++) {
		if (is(type, words[i].type))
			return set_word(out, "tool_choice", words[i].word, f);
	}
	if (!is(type, "tool"))
		return k_fault_set(f, 400, NULL, "tool_choice.type", "tool_choice.type must be auto, any, tool or none");
	struct k_json *choice = k_json_object(), *fn = k_json_object();
	if (set_word(choice, "type", "function", f) || share(fn, "name", v, "name", f)) {
		k_json_free(choice);
		k_json_free(fn);
		return -1;
	}
	if (set(choice, "function", fn, f)) {
		k_json_free(choice);
		return -1;
	}
	return set(out, "tool_choice", choice, f);
}

/* --- the rest --------------------------------------------------------------------------------------------------------------------- */

/* adaptive: the model decides, which is what it does when thinking is on. */
static int put_thinking(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *v = k_field(body, "thinking"), *type = k_field(v, "type");
	int64_t budget = -1;
	if (!v)
		return 0;
	bool off = is(type, "disabled");
	if (!off && !is(type, "enabled") && !is(type, "adaptive"))
		return k_fault_set(f, 400, NULL, "thinking.type", "thinking.type must be enabled, adaptive or disabled");
	if (k_field_int(v, "thinking.", "budget_tokens", 1, INT32_MAX, &budget, f))
		return -1;
	struct k_json *o = k_json_object();
	if (set_word(o, "type", off ? "disabled" : "enabled", f)) {
		k_json_free(o);
		return -1;
	}
	if (set(out, "thinking", o, f))
		return -1;
	return budget > 0 && !off ? set(out, "thinking_budget_tokens", k_json_new_int(budget), f) : 0;
}

/* output_config: effort, and a format that is a JSON schema. */
static int put_output(struct k_json *out, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *config = k_field(body, "output_config"), *format = k_field(config, "format");
	if (config && k_json_kind(config) != K_JSON_OBJECT)
		return wrong(f, "output_config", config, "an object");
	if (share(out, "reasoning_effort", config, "effort", f))
		return -1;
	if (!format)
		return 0;
	if (!is(k_field(format, "type"), "json_schema"))
		return k_fault_set(f, 400, NULL, "output_config.format.type", "output_config.format.type must be json_schema");
	struct k_json *rf = k_json_object(), *js = k_json_object();
	int rc = set_word(rf, "type", "json_schema", f) || set_word(js, "name", "output", f) || share(js, "schema", format, "schema", f) ||
		set(js, "strict", k_json_new_bool(true), f) ? -1 : 0;
	if (!rc) {
		rc = set(rf, "json_schema", js, f);
		js = NULL;
	}
	if (!rc)
		return set(out, "response_format", rf, f);
	k_json_free(js);
	k_json_free(rf);
	return -1;
}

static int put_rest(struct k_json *out, const struct k_json *body, bool counted, struct k_fault *f)
{
	/* What has the same name and meaning in both; the rest of them only extends this API. */
	static const char *const same[] = { "model", "stream", "max_tokens", "temperature", "top_p", "top_k", "seed", "min_p",
		"presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "min_tokens", "ignore_eos", "chat_template_kwargs",
		"cache_salt", "cache_prompt", "prompt_cache_key", "id_slot", "priority" };
	const struct k_json *stops = k_field(body, "stop_sequences"), *t = k_field(body, "temperature");
	for (size_t i = 0; i < K_LEN(same); i++) {
		if (share(out, same[i], body, same[i], f))
			return -1;
	}
	if (!counted && !k_field(body, "max_tokens"))
		return k_fault_set(f, 400, NULL, "max_tokens", "max_tokens is missing: this API wants it");
	if (stops && k_json_kind(stops) != K_JSON_ARRAY)
		return wrong(f, "stop_sequences", stops, "an array of strings");
	if (k_json_number(t) > 1)
		return k_fault_set(f, 400, NULL, "temperature", "temperature is %g, wanted 0 to 1", k_json_number(t));
	return share(out, "stop", body, "stop_sequences", f);
}

struct k_json *k_anthropic_to_chat(const struct k_json *body, bool counted, struct k_fault *f)
{
	struct k_json *out = k_json_object(), *messages = k_json_array();
	int rc = put_messages(messages, body, f);
	if (!rc) {
		rc = set(out, "messages", messages, f);
		messages = NULL;
	}
	if (!rc && !put_rest(out, body, counted, f) && !put_tools(out, body, f) && !put_choice(out, body, f) &&
		!put_thinking(out, body, f) && !put_output(out, body, f))
		return out;
	k_json_free(messages);
	k_json_free(out);
	return NULL;
}
