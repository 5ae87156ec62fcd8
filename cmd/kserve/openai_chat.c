/* openai_chat.c: a chat request -> one prompt. Brings the many spellings of clients into the one that the chat layouts know
 * (developer -> system, reasoning -> reasoning_content, tools without those that run elsewhere), then renders.
 *
 * Edits the request's own copy of the body; what the layouts check themselves is not checked twice. */
#include "libcore/base.h"

#include <math.h>
#include <stdio.h>

#include "cmd/kserve/past.h"
#include "cmd/kserve/replay.h"

#define MAX_MESSAGES 16384
#define MAX_TOOLS 1024
#define MAX_TOOL_NAME 256

/* --- messages -------------------------------------------------------------------------------------------------------------- */

/* Message i may be that of another request, too: who edits it has a copy. Takes value. */
static int edit(struct k_json *messages, size_t i, const char *key, struct k_json *value, struct k_fault *f)
{
	return k_json_set(k_json_own(messages, i), key, value) ? k_no_memory(f) : 0;
}

/* reasoning_content, else reasoning, else the texts of reasoning_details. */
static int one_reasoning(struct k_json *messages, size_t at, struct k_fault *f)
{
	const struct k_json *msg = k_json_at(messages, at);
	if (k_json_given(msg, "reasoning_content"))
		return 0;
	const struct k_json *v = k_json_given(msg, "reasoning"), *parts = k_json_given(msg, "reasoning_details");
	if (k_json_kind(v) == K_JSON_STRING)
		return edit(messages, at, "reasoning_content", k_json_copy(v), f);
	if (k_json_kind(parts) != K_JSON_ARRAY || !k_json_len(parts))
		return 0;
	struct k_buf b;
	k_buf_init(&b, K_MAX_BODY);
	for (size_t i = 0; i < k_json_len(parts); i++) {
		const struct k_json *text = k_json_given(k_json_at(parts, i), "text");
		if (k_json_string(text))
			k_buf_put(&b, k_json_string(text), k_json_len(text));
	}
	int rc = b.failed ? k_no_memory(f) : edit(messages, at, "reasoning_content", k_json_new_string(b.data ? b.data : "", b.len), f);
	k_buf_fini(&b);
	return rc;
}

/* Layouts can spell images, the models here cannot see them. */
static int no_media(const struct k_json *msg, size_t i, struct k_fault *f)
{
	const struct k_json *parts = k_json_given(msg, "content");
	char where[96];
	for (size_t n = 0; k_json_kind(parts) == K_JSON_ARRAY && n < k_json_len(parts); n++) {
		const char *type = k_word(k_json_given(k_json_at(parts, n), "type"));
		if (!type || !strcmp(type, "text") || !strcmp(type, "refusal"))
			continue;
		snprintf(where, sizeof(where), "messages[%zu].content[%zu].type", i, n);
		return k_fault_set(f, 400, "unsupported_content", where, "%s is '%.40s', but this model reads text only", where, type);
	}
	return 0;
}

static int one_message(const struct k_server *s, struct k_request *rq, struct k_json *messages, size_t i, struct k_fault *f)
{
	const struct k_json *msg = k_json_at(messages, i);
	char where[64];
	if (k_json_kind(msg) != K_JSON_OBJECT) {
		snprintf(where, sizeof(where), "messages[%zu]", i);
		return k_fault_set(f, 400, NULL, where, "%s is %s, wanted an object", where, k_json_kind_name(msg));
	}
	const char *role = k_word(k_json_given(msg, "role"));
	bool assistant = role && !strcmp(role, "assistant");
	/* _input: in the requests of the vendor's verifier. */
	if (role && (!strcmp(role, "developer") || !strcmp(role, "_input"))) {
		if (edit(messages, i, "role", k_json_new_string("system", 6), f))
			return -1;
		msg = k_json_at(messages, i);
	}
	if (k_json_given(msg, "tools") && !s->layout->xtml) {
		snprintf(where, sizeof(where), "messages[%zu].tools", i);
		return k_fault_set(f, 400, "unsupported_parameter", where, "%s: tools inside messages are not supported by this model", where);
	}
	if (no_media(msg, i, f))
		return -1;
	if (!assistant)
		return 0;
	rq->n_used += (int)K_MIN(k_json_len(k_json_given(msg, "tool_calls")), 1000000);
	return one_reasoning(messages, i, f);
}

static int read_messages(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	struct k_json *v = k_json_given(rq->body, "messages");
	if (k_json_kind(v) != K_JSON_ARRAY)
		return k_fault_set(f, 400, NULL, "messages", "messages is %s, wanted an array",
			v ? k_json_kind_name(v) : "missing");
	size_t n = k_json_len(v);
	if (!n || n > MAX_MESSAGES)
		return k_fault_set(f, 400, NULL, "messages", "messages has %zu entries, wanted 1 to %d", n, MAX_MESSAGES);
	for (size_t i = 0; i < n; i++) {
		if (one_message(s, rq, v, i, f))
			return -1;
	}
	return 0;
}

/* --- tools ------------------------------------------------------------------------------------------------------------------ */

static bool good_name(const char *s, size_t n)
{
	static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
	static const char rest[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789.-";
	return n && n <= MAX_TOOL_NAME && strchr(first, *s) && strspn(s, rest) == n;
}

static bool named_before(const struct k_json *list, const char *name)
{
	for (size_t i = 0; i < k_json_len(list); i++) {
		if (!strcmp(k_json_string(k_json_given(k_json_given(k_json_at(list, i), "function"), "name")), name))
			return true;
	}
	return false;
}

/* A function that is not in list; where: its path. */
static int check_function(const struct k_json *list, const struct k_json *tool, const char *where, struct k_fault *f)
{
	const struct k_json *fn = k_json_given(tool, "function"), *name = k_json_given(fn, "name"), *par = k_json_given(fn, "parameters"), *about = k_json_given(fn, "description");
	char path[96];
	snprintf(path, sizeof(path), "%s.function.name", where);
	if (!k_json_string(name) || !good_name(k_json_string(name), k_json_len(name)))
		return k_fault_set(f, 400, NULL, path, "%s must be letters, digits, '_', '.', '-', begin with a letter or '_' and "
			"have at most %d characters", path, MAX_TOOL_NAME);
	if (named_before(list, k_json_string(name)))
		return k_fault_set(f, 400, NULL, path, "%s: '%s' is declared twice", path, k_json_string(name));
	snprintf(path, sizeof(path), "%s.function.description", where);
	if (about && !k_json_string(about))
		return k_fault_set(f, 400, NULL, path, "%s is %s, wanted a string", path, k_json_kind_name(about));
	snprintf(path, sizeof(path), "%s.function.parameters", where);
	if (par && k_json_kind(par) != K_JSON_OBJECT)
		return k_fault_set(f, 400, "invalid_schema", path, "%s is %s, wanted an object", path, k_json_kind_name(par));
	return 0;
}

/* Appends a function to list; tools that the server itself would run are left out, or refused where they stand in a message. */
static int one_tool(struct k_json *list, struct k_json *tool, const char *where, bool later, struct k_fault *f)
{
	char path[96];
	if (k_json_kind(tool) != K_JSON_OBJECT)
		return k_fault_set(f, 400, NULL, where, "%s is %s, wanted an object", where, k_json_kind_name(tool));
	snprintf(path, sizeof(path), "%s.type", where);
	const char *type = k_word(k_json_given(tool, "type"));
	if (!type)
		return k_fault_set(f, 400, NULL, path, "%s must be a string", path);
	if (!strcmp(type, "builtin_function") && !later)
		return 0;
	if (strcmp(type, "function"))
		return k_fault_set(f, 400, "unsupported_parameter", path, "%s is '%.64s', wanted function", path, type);
	if (check_function(list, tool, where, f))
		return -1;
	return k_json_push(list, k_json_keep(tool)) ? k_no_memory(f) : 0;
}

static int read_tools(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "tools");
	if (v && k_json_kind(v) != K_JSON_ARRAY)
		return k_fault_set(f, 400, NULL, "tools", "tools is %s, wanted an array", k_json_kind_name(v));
	if (k_json_len(v) > MAX_TOOLS)
		return k_fault_set(f, 400, NULL, "tools", "tools has %zu entries, at most %d are allowed", k_json_len(v), MAX_TOOLS);
	if (!v)
		return 0;
	struct k_json *list = k_json_array();
	for (size_t i = 0; i < k_json_len(v); i++) {
		char where[64];
		snprintf(where, sizeof(where), "tools[%zu]", i);
		if (!list || one_tool(list, k_json_at(v, i), where, false, f)) {
			k_json_free(list);
			return list ? -1 : k_no_memory(f);
		}
	}
	size_t n = k_json_len(list);
	if (!n) {
		k_json_free(list);
		list = k_json_new_null();
	}
	if (k_json_set(rq->body, "tools", list))
		return k_no_memory(f);
	if (!n)
		return 0;
	if (!s->layout->tools)
		return k_fault_set(f, 400, "unsupported_parameter", "tools", "the chat layout '%s' of this model knows no tools",
			s->layout->name);
	rq->tools = k_json_given(rq->body, "tools");
	return 0;
}

/* Those of message i, where it is one that declares tools. */
static int tools_of_message(struct k_request *rq, const struct k_json *msg, size_t i, struct k_fault *f)
{
	const struct k_json *v = k_json_given(msg, "tools");
	char where[64];
	for (size_t n = 0; k_json_kind(v) == K_JSON_ARRAY && n < k_json_len(v); n++) {
		if (!rq->all_tools && !(rq->all_tools = rq->tools ? k_json_copy(rq->tools) : k_json_array()))
			return k_no_memory(f);
		rq->tools = rq->all_tools;
		snprintf(where, sizeof(where), "messages[%zu].tools[%zu]", i, n);
		if (k_json_len(rq->all_tools) == MAX_TOOLS)
			return k_fault_set(f, 400, NULL, where, "%s is one more than the %d tools that are allowed", where, MAX_TOOLS);
		if (one_tool(rq->all_tools, k_json_at(v, n), where, true, f))
			return -1;
	}
	return 0;
}

/* Calls may be of the tools that messages declare, too. Which messages may do so is the layout's to say. */
static int read_later_tools(struct k_request *rq, struct k_fault *f)
{
	const struct k_json *messages = k_json_given(rq->body, "messages");
	for (size_t i = 0; i < k_json_len(messages); i++) {
		if (tools_of_message(rq, k_json_at(messages, i), i, f))
			return -1;
	}
	return 0;
}

/* --- the rest ------------------------------------------------------------------------------------------------------------- */

static int check_effort(const struct k_json *v, const char *where, struct k_fault *f)
{
	return !v || k_chat_knows_effort(v) ? 0 : k_fault_set(f, 400, NULL, where, "%s is not one of " K_CHAT_EFFORTS, where);
}

/* reasoning_effort speaks only where neither thinking nor chat_template_kwargs does; in thinking, type before effort. */
static int read_effort(struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "reasoning_effort"), *kw = k_json_given(rq->body, "chat_template_kwargs");
	const struct k_json *thinking = k_json_given(rq->body, "thinking"), *own = k_json_given(thinking, "effort");
	if (check_effort(v, "reasoning_effort", f) || check_effort(own, "thinking.effort", f) ||
		k_field_int(thinking, "thinking.", "budget_tokens", 0, INT32_MAX, &rq->think_budget, f))
		return -1;
	const char *word = k_word(own ? own : v);
	bool settled = own ? k_json_given(thinking, "type") != NULL : thinking || k_json_given(kw, "thinking") || k_json_given(kw, "enable_thinking");
	if (!word || strcmp(word, "none") || settled)
		return 0;
	struct k_json *off = k_json_object();
	if (!off || k_json_set(off, "type", k_json_new_string("disabled", 8))) {
		k_json_free(off);
		return k_no_memory(f);
	}
	return k_json_set(rq->body, "thinking", off) ? k_no_memory(f) : 0;
}

static int read_limits(struct k_request *rq, struct k_fault *f)
{
	bool generate = false, go_on = false, echo = false;
	if (k_field_int(rq->body, "", "max_tokens", 1, INT64_MAX, &rq->max_tokens, f) ||
		k_field_int(rq->body, "", "max_completion_tokens", 1, INT64_MAX, &rq->max_tokens, f) ||
		k_field_bool(rq->body, "", "logprobs", &rq->logprobs, f) ||
		k_field_int(rq->body, "", "top_logprobs", 0, K_MAX_TOP, &rq->top_logprobs, f) ||
		k_field_bool(rq->body, "", "add_generation_prompt", &generate, f) ||
		k_field_bool(rq->body, "", "continue_final_message", &go_on, f) ||
		k_field_bool(rq->body, "", "echo", &echo, f))
		return -1;
	if (rq->top_logprobs > 0 && !rq->logprobs)
		return k_fault_set(f, 400, NULL, "top_logprobs", "top_logprobs needs logprobs: true");
	if (generate && go_on)
		return k_fault_set(f, 400, NULL, "continue_final_message", "add_generation_prompt and continue_final_message are both true");
	if (echo)
		return k_fault_set(f, 400, "unsupported_parameter", "echo", "echo is for text completions");
	return 0;
}

/* The ids, with what is known of earlier prompts and answers. */
static int render_ids(const struct k_server *s, struct k_request *rq, struct k_prompt *p, struct k_err *err)
{
	bool alone = !rq->cache_prompt;
	struct k_recall recall;
	struct k_chat_past past;
	uint64_t whole = 0;
	k_recall_init(&recall, s->replay);
	k_chat_past_init(&past);
	if (!alone)
		k_pasts_find(s->pasts, k_json_given(rq->body, "messages"), k_json_given(rq->body, "tools"), &rq->chat, rq->salt, &past, &whole);
	int rc = k_chat_render_ids(s->layout, s->tok, rq->body, s->replay ? &recall.memory : NULL, alone ? NULL : &past, p, err);
	if (!rc && !alone)
		k_pasts_put(s->pasts, &past, rq->salt, whole);
	k_chat_past_fini(&past);
	return rc;
}

static int render(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	struct k_err err = { 0 };
	struct k_prompt p;
	if (s->kimi && k_chat_normalise_ids(rq->body, &err))
		return k_fault_err(f, &err);
	if (k_chat_options(s->layout, rq->body, &rq->chat, &err))
		return k_fault_err(f, &err);
	if (s->layout->thinking && !rq->chat.thinking && !k_json_given(rq->body, "temperature"))
		rq->temperature = s->instant;
	rq->prompts = k_calloc(1, sizeof(*rq->prompts));
	if (!rq->prompts)
		return k_no_memory(f);
	k_prompt_init(&p);
	int rc = rq->keep_text ? k_chat_render(s->layout, s->tok, rq->body, false, &p, &err) : render_ids(s, rq, &p, &err);
	rq->prompts[0] = p.ids;
	rq->n_prompts = 1;
	k_ids_init(&p.ids);
	if (rq->keep_text) {
		rq->text = p.text;
		k_buf_init(&p.text, 0);
	}
	k_prompt_fini(&p);
	if (rc)
		return k_fault_err(f, &err);
	if (!rq->prompts[0].n)
		return k_fault_set(f, 400, NULL, "messages", "the messages make an empty prompt");
	return 0;
}

int k_openai_chat(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	if (k_openai_need_text(s, "messages", f))
		return -1;
	if (!s->layout)
		return k_fault_set(f, 400, NULL, "messages", "this model has no chat template that is known here: start the server with "
			"--chat-layout NAME to say how its turns are written");
	if (read_limits(rq, f) || read_messages(s, rq, f) || read_tools(s, rq, f) || read_later_tools(rq, f) || read_effort(rq, f))
		return -1;
	return render(s, rq, f);
}
