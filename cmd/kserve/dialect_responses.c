/* dialect_responses.c: OpenAI's responses. Each part of an answer is an item of the output, with an id of its own.
 *
 *   response.created, .in_progress, { output_item.added, deltas, done's, output_item.done }.., response.completed
 *
 * The first and the last events hold the whole response, which is the body of an answer that is not streamed. call_id is the id that
 * the model wrote: the next prompt needs it. */
#include "libcore/base.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/kserve/responses.h"
#include "cmd/kserve/rewrite.h"
#include "cmd/kserve/strict.h"

/* Also those that are refused when they ask for something, and those that change nothing. */
static const char *const known[] = {
	"background", "context_management", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata",
	"parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store",
	"stream_options", "text", "tool_choice", "tools", "top_logprobs", "truncation", "user", NULL
};

static const struct k_renamed renamed[] = {
	{ "", "max_completion_tokens", "max_output_tokens" }, { "", "response_format.json_schema", "text.format" },
	{ "", "response_format", "text.format" }, { "", "reasoning_effort", "reasoning.effort" },
	{ "tools[", ".function", "" }, { "tool_choice", ".function", "" }, { "tool_choice", ".allowed_tools", "" },
};

static int parse(struct k_request **out, const struct k_server *s, struct k_json *body, struct k_fault *f)
{
	struct k_json *chat = k_strict_names(s, body, known, f) ? NULL : k_responses_to_chat(body, f);
	int rc = chat ? k_openai_parse(out, s, &k_dialect_responses, chat, f) : -1;
	if (!rc) {
		(*out)->asked = body;
		return 0;
	}
	k_fault_rename(f, renamed, K_LEN(renamed));
	if (!strcmp(f->param, "messages"))
		snprintf(f->param, sizeof(f->param), "input");
	k_json_free(body);
	return rc;
}

/* --- the response ---------------------------------------------------------------------------------------------------------------- */

/* ,"name":what was asked for, else otherwise */
static void put_asked(struct k_buf *b, const struct k_json *asked, const char *name, const char *otherwise)
{
	const struct k_json *v = k_json_given(asked, name);
	k_buf_printf(b, ",\"%s\":", name);
	if (v)
		k_json_dump(b, v, K_JSON_COMPACT);
	else
		k_buf_puts(b, otherwise);
}

/* What stays the same from the first event to the last. */
static void begin(struct k_reply *r)
{
	static const struct { const char *name, *otherwise; } asked[] = {
		{ "instructions", "null" }, { "max_output_tokens", "null" }, { "max_tool_calls", "null" }, { "metadata", "{}" },
		{ "parallel_tool_calls", "true" }, { "reasoning", "{\"effort\":null,\"summary\":null}" },
		{ "text", "{\"format\":{\"type\":\"text\"}}" }, { "tool_choice", "\"auto\"" }, { "tools", "[]" },
		{ "top_logprobs", "0" }, { "user", "null" },
	};
	struct k_buf *b = &r->head;
	k_buf_puts(b, ",\"model\":");
	k_json_quote(b, r->server->name, strlen(r->server->name));
	for (size_t i = 0; i < K_LEN(asked); i++)
		put_asked(b, r->rq->asked, asked[i].name, asked[i].otherwise);
	k_buf_puts(b, ",\"temperature\":");
	k_json_put_double(b, r->rq->temperature);
	k_buf_puts(b, ",\"top_p\":");
	k_json_put_double(b, r->rq->top_p);
	k_buf_puts(b, ",\"background\":false,\"previous_response_id\":null,\"store\":false,\"truncation\":\"disabled\"");
}

static bool cut_off(const struct k_choice *c) { return c->finish && (!strcmp(c->finish, "length") || !strcmp(c->finish, "abort")); }

/* Only what was said last can be incomplete. */
static const char *item_status(const struct k_choice *c, const struct k_part *p)
{
	return cut_off(c) && p == &c->parts[c->n_parts - 1] ? "incomplete" : "completed";
}

static void put_id(struct k_reply *r, const struct k_part *p)
{
	static const char *const prefixes[] = { [K_EVENT_REASONING] = "rs", [K_EVENT_CONTENT] = "msg", [K_EVENT_CALL] = "fc" };
	k_buf_printf(&r->line, "\"%s_%s%02d\"", prefixes[p->kind], r->key, (int)(p - r->choices[0].parts));
}

static void put_quoted(struct k_buf *b, const struct k_buf *text) { k_json_quote(b, text->len ? text->data : "", text->len); }

/* ,"logprobs":[..]: n of the list from the first on. */
static void put_entries(struct k_reply *r, const struct k_json *list, size_t first, size_t n)
{
	k_buf_puts(&r->line, ",\"logprobs\":[");
	for (size_t i = 0; i < n; i++) {
		k_buf_puts(&r->line, i ? "," : "");
		k_json_dump(&r->line, k_json_at(list, first + i), K_JSON_COMPACT);
	}
	k_buf_putc(&r->line, ']');
}

static void put_part_entries(struct k_reply *r, const struct k_part *p, bool empty)
{
	put_entries(r, r->choices[0].logprobs, p->first_entry, empty ? 0 : p->n_entries);
}

static void put_text_part(struct k_reply *r, const struct k_part *p, bool empty)
{
	static const struct k_buf none;
	k_buf_puts(&r->line, "{\"type\":\"output_text\",\"text\":");
	put_quoted(&r->line, empty ? &none : &p->text);
	k_buf_puts(&r->line, ",\"annotations\":[]");
	put_part_entries(r, p, empty);
	k_buf_putc(&r->line, '}');
}

/* empty: as it is when it begins. */
static void put_item(struct k_reply *r, const struct k_part *p, bool empty)
{
	struct k_buf *b = &r->line, none = { .data = NULL };
	const struct k_buf *text = empty ? &none : &p->text;
	const char *status = empty ? "in_progress" : item_status(&r->choices[0], p);
	k_buf_puts(b, "{\"id\":");
	put_id(r, p);
	k_buf_printf(b, ",\"status\":\"%s\",", status);
	if (p->kind == K_EVENT_REASONING) {
		k_buf_puts(b, "\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":null,\"content\":[");
		if (!empty) {
			k_buf_puts(b, "{\"type\":\"reasoning_text\",\"text\":");
			put_quoted(b, text);
			k_buf_putc(b, '}');
		}
		k_buf_puts(b, "]}");
	} else if (p->kind == K_EVENT_CONTENT) {
		k_buf_puts(b, "\"type\":\"message\",\"role\":\"assistant\",\"content\":[");
		if (!empty)
			put_text_part(r, p, false);
		k_buf_puts(b, "]}");
	} else {
		k_buf_puts(b, "\"type\":\"function_call\",\"call_id\":");
		k_json_quote(b, p->id, strlen(p->id));
		k_buf_puts(b, ",\"name\":");
		k_json_quote(b, p->name, strlen(p->name));
		k_buf_puts(b, ",\"arguments\":");
		put_quoted(b, text);
		k_buf_putc(b, '}');
	}
}

static void put_usage(struct k_reply *r)
{
	struct k_usage u = k_reply_usage(r, -1);
	k_buf_printf(&r->line, "{\"input_tokens\":%" PRId64 ",\"input_tokens_details\":{\"cached_tokens\":%" PRId64
		",\"cache_write_tokens\":0},\"output_tokens\":%" PRId64
		",\"output_tokens_details\":{\"reasoning_tokens\":%" PRId64 "},\"total_tokens\":%" PRId64 "}",
		u.prompt, u.cached, u.made, u.thought, u.prompt + u.made);
}

/* in_progress, completed, incomplete, failed: the end of the server cut it off. */
static const char *status_of(const struct k_choice *c)
{
	return !c->finish ? "in_progress" : !strcmp(c->finish, "length") ? "incomplete" : !strcmp(c->finish, "abort") ? "failed" : "completed";
}

static void put_response(struct k_reply *r)
{
	static const struct { const char *status, *error, *details; } why[] = {
		{ "incomplete", "null", "{\"reason\":\"max_output_tokens\"}" },
		{ "failed", "{\"code\":\"server_error\",\"message\":\"the server is shutting down\"}", "null" },
	};
	const struct k_choice *c = &r->choices[0];
	const char *status = status_of(c), *error = "null", *details = "null";
	struct k_buf *b = &r->line;
	for (size_t i = 0; i < K_LEN(why); i++) {
		if (!strcmp(why[i].status, status)) {
			error = why[i].error;
			details = why[i].details;
		}
	}
	k_buf_printf(b, "{\"id\":\"resp_%s\",\"object\":\"response\",\"created_at\":%" PRId64 ",\"status\":\"%s\",\"error\":%s,"
		"\"incomplete_details\":%s,\"output\":[", r->key, r->created, status, error, details);
	for (int i = 0; i < c->n_parts; i++) {
		k_buf_puts(b, i ? "," : "");
		put_item(r, &c->parts[i], false);
	}
	k_buf_putc(b, ']');
	k_buf_put(b, r->head.data, r->head.len);
	k_buf_puts(b, ",\"usage\":");
	if (c->finish)
		put_usage(r);
	else
		k_buf_puts(b, "null");
	k_buf_putc(b, '}');
}

static void whole(struct k_reply *r)
{
	k_buf_reset(&r->line);
	put_response(r);
}

/* --- a stream ---------------------------------------------------------------------------------------------------------------------- */

static void event(struct k_reply *r, const char *name)
{
	k_buf_reset(&r->line);
	k_buf_printf(&r->line, "{\"type\":\"%s\",\"sequence_number\":%" PRId64, name, r->n_sent);
}

static void item_event(struct k_reply *r, const char *name, const struct k_part *p)
{
	event(r, name);
	k_buf_puts(&r->line, ",\"item_id\":");
	put_id(r, p);
	k_buf_printf(&r->line, ",\"output_index\":%d", (int)(p - r->choices[0].parts));
	if (p->kind != K_EVENT_CALL)
		k_buf_puts(&r->line, ",\"content_index\":0");
}

static void send(struct k_reply *r, const char *name)
{
	k_buf_putc(&r->line, '}');
	k_reply_send(r, name);
}

static void response_event(struct k_reply *r, const char *name)
{
	event(r, name);
	k_buf_puts(&r->line, ",\"response\":");
	put_response(r);
	send(r, name);
}

static void whole_item_event(struct k_reply *r, const char *name, const struct k_part *p, bool empty)
{
	event(r, name);
	k_buf_printf(&r->line, ",\"output_index\":%d,\"item\":", (int)(p - r->choices[0].parts));
	put_item(r, p, empty);
	send(r, name);
}

static void part_event(struct k_reply *r, const char *name, const struct k_part *p, bool empty)
{
	item_event(r, name, p);
	k_buf_puts(&r->line, ",\"part\":");
	put_text_part(r, p, empty);
	send(r, name);
}

static void start(struct k_reply *r, int choice K_UNUSED)
{
	response_event(r, "response.created");
	response_event(r, "response.in_progress");
}

static void open_part(struct k_reply *r, int choice K_UNUSED, const struct k_part *p)
{
	whole_item_event(r, "response.output_item.added", p, true);
	if (p->kind == K_EVENT_CONTENT)
		part_event(r, "response.content_part.added", p, true);
}

static void delta(struct k_reply *r, int choice K_UNUSED, const struct k_part *p, const char *s, size_t n, const struct k_json *entries)
{
	static const char *const names[] = { [K_EVENT_REASONING] = "response.reasoning_text.delta",
		[K_EVENT_CONTENT] = "response.output_text.delta", [K_EVENT_CALL] = "response.function_call_arguments.delta" };
	if (!n)
		return;
	item_event(r, names[p->kind], p);
	k_buf_puts(&r->line, ",\"delta\":");
	k_json_quote(&r->line, s, n);
	if (p->kind == K_EVENT_CONTENT)
		put_entries(r, entries, 0, k_json_len(entries));
	send(r, names[p->kind]);
}

static void close_part(struct k_reply *r, int choice K_UNUSED, const struct k_part *p)
{
	static const struct { const char *name, *key; } done[] = {
		[K_EVENT_REASONING] = { "response.reasoning_text.done", "text" }, [K_EVENT_CONTENT] = { "response.output_text.done", "text" },
		[K_EVENT_CALL] = { "response.function_call_arguments.done", "arguments" },
	};
	item_event(r, done[p->kind].name, p);
	k_buf_printf(&r->line, ",\"%s\":", done[p->kind].key);
	put_quoted(&r->line, &p->text);
	if (p->kind == K_EVENT_CALL) {
		k_buf_puts(&r->line, ",\"name\":");
		k_json_quote(&r->line, p->name, strlen(p->name));
	} else if (p->kind == K_EVENT_CONTENT) {
		put_part_entries(r, p, false);
	}
	send(r, done[p->kind].name);
	if (p->kind == K_EVENT_CONTENT)
		part_event(r, "response.content_part.done", p, false);
	whole_item_event(r, "response.output_item.done", p, false);
}

static void end(struct k_reply *r, int choice, const struct k_json *entries K_UNUSED)
{
	const char *status = status_of(&r->choices[choice]);
	response_event(r, !strcmp(status, "incomplete") ? "response.incomplete" : !strcmp(status, "failed") ? "response.failed"
		: "response.completed");
}

const struct k_dialect k_dialect_responses = {
	.name = "responses", .parse = parse, .fault = k_openai_fault, .problem = "error", .repeats = true, .aborts = true, .ping = ": ping\n\n", .last = "", .begin = begin,
	.start = start, .open = open_part, .delta = delta, .close = close_part, .end = end, .whole = whole,
};
