/* dialect_anthropic.c: Anthropic's messages. Each part of an answer is a block of content, with its index.
 *
 *   message_start, { content_block_start, content_block_delta.., content_block_stop }.., message_delta, message_stop
 *
 * Ids of calls are toolu_ KEY CALL _ N: letters that every client takes, and the N of functions.NAME:N, which comes back to the model
 * with the history (chat_ids.c). Arguments that are no object, cut ones too, are told as the object {"_raw": text};
 * a stream has the arguments of a call in one delta, at its end. */
#include "libcore/base.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/kserve/anthropic.h"
#include "cmd/kserve/rewrite.h"
#include "cmd/kserve/strict.h"

static const char *const known[] = {
	"cache_control", "max_tokens", "messages", "metadata", "output_config", "service_tier", "stop_sequences", "system", "thinking", "thread", "tool_choice", "tools", NULL
};

static const struct k_renamed renamed[] = {
	{ "", "stop", "stop_sequences" }, { "", "response_format.json_schema", "output_config.format" },
	{ "", "reasoning_effort", "output_config.effort" },
	{ "tools[", ".function.parameters", ".input_schema" }, { "tools[", ".function", "" }, { "tool_choice", ".function", "" },
};

/* A fault of the request that was made, in the words of the one that came. */
static int in_its_words(const struct k_json *body, bool made, struct k_fault *f)
{
	char from[64], to[96], place[64];
	size_t n;
	k_fault_rename(f, renamed, K_LEN(renamed));
	if (!made || sscanf(f->param, "messages[%zu]", &n) != 1)
		return -1;
	k_anthropic_place(body, n, place, sizeof(place));
	bool answer = strstr(f->param, ".tool_call_id") != NULL;
	snprintf(from, sizeof(from), "messages[%zu]%s", n, answer ? ".tool_call_id" : "");
	snprintf(to, sizeof(to), "%s%s", place, answer ? ".tool_use_id" : "");
	k_fault_rename(f, &(struct k_renamed){ "", from, to }, 1);
	return -1;
}

static int parse(struct k_request **out, const struct k_server *s, struct k_json *body, struct k_fault *f)
{
	struct k_json *chat = k_strict_names(s, body, known, f) ? NULL : k_anthropic_to_chat(body, false, f);
	int rc = chat && !k_openai_parse(out, s, &k_dialect_anthropic, chat, f) ? 0 : in_its_words(body, chat != NULL, f);
	k_json_free(body);
	return rc;
}

int k_answer_count_tokens(const struct k_server *s, struct k_json *body, const char *rest K_UNUSED, struct k_buf *out,
	struct k_fault *f)
{
	struct k_request *rq;
	struct k_json *chat = k_strict_names(s, body, known, f) ? NULL : k_anthropic_to_chat(body, true, f);
	if (!chat || k_openai_prompt(&rq, s, chat, f))
		return in_its_words(body, chat != NULL, f);
	k_buf_printf(out, "{\"input_tokens\":%zu}", rq->prompts[0].n);
	k_request_free(rq);
	return 0;
}

static void fault(struct k_buf *out, const struct k_fault *f, const char *id)
{
	static const struct { int status; const char *type; } types[] = {
		{ 401, "authentication_error" }, { 403, "permission_error" }, { 404, "not_found_error" }, { 413, "request_too_large" },
		{ 429, "rate_limit_error" }, { 503, "overloaded_error" }, { 504, "timeout_error" }, { 529, "overloaded_error" },
	};
	const char *type = f->status >= 500 ? "api_error" : "invalid_request_error";
	struct k_buf clean;             /* a sentence that was cut may end within a character */
	for (size_t i = 0; i < K_LEN(types); i++) {
		if (types[i].status == f->status)
			type = types[i].type;
	}
	k_buf_init(&clean, 0);
	k_utf8_mend(&clean, f->msg, strlen(f->msg));
	k_buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
	k_json_quote(out, clean.len ? clean.data : "", clean.len);
	/* What tells the client to send the whole history instead. */
	if (f->code && !strcmp(f->code, "thread_unsupported_request"))
		k_buf_printf(out, ",\"details\":{\"error_code\":\"%s\",\"unsupported\":[\"thread\"]}", f->code);
	k_buf_puts(out, "},\"request_id\":");
	k_json_quote(out, id, strlen(id));
	k_buf_putc(out, '}');
	out->failed |= clean.failed;
	k_buf_fini(&clean);
}

static void begin(struct k_reply *r)
{
	k_buf_printf(&r->head, "{\"id\":\"msg_%.24s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", r->key);
	k_json_quote(&r->head, r->server->name, strlen(r->server->name));
	k_buf_puts(&r->head, ",\"content\":[");
}

/* What was not computed again is told apart. */
static void put_usage(struct k_reply *r)
{
	struct k_usage u = k_reply_usage(r, -1);
	k_buf_printf(&r->line, "{\"input_tokens\":%" PRId64 ",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%" PRId64
		",\"output_tokens\":%" PRId64 "}", u.prompt - u.cached, u.cached, u.made);
}

static void put_call_id(struct k_reply *r, const struct k_part *p)
{
	const char *colon = strrchr(p->id, ':'), *number = colon ? colon + 1 : "";
	bool digits = *number && !number[strspn(number, "0123456789")];
	k_buf_printf(&r->line, "\"toolu_%.18s%02d_", r->key, p->call);
	if (digits)
		k_buf_printf(&r->line, "%s\"", number);
	else
		k_buf_printf(&r->line, "%d\"", p->call);
}

/* Text that is an object stays as the model wrote it. */
static void put_input(struct k_buf *out, const struct k_part *p)
{
	struct k_json *v = NULL;
	struct k_err err = { 0 };
	bool object = p->text.len && !k_json_parse(&v, p->text.data, p->text.len, K_JSON_LAST_WINS | K_JSON_NUL, "arguments", &err) &&
		k_json_kind(v) == K_JSON_OBJECT;
	k_json_free(v);
	if (object) {
		k_buf_put(out, p->text.data, p->text.len);
		return;
	}
	if (err.code == K_ENOMEM) {
		out->failed = true;
		return;
	}
	k_buf_puts(out, "{\"_raw\":");
	k_json_quote(out, p->text.len ? p->text.data : "", p->text.len);
	k_buf_putc(out, '}');
}

/* --- a stream -------------------------------------------------------------------------------------------------------------------- */

static void event(struct k_reply *r, const char *name, int choice, const struct k_part *p)
{
	k_buf_reset(&r->line);
	k_buf_printf(&r->line, "{\"type\":\"%s\"", name);
	if (p)
		k_buf_printf(&r->line, ",\"index\":%d", (int)(p - r->choices[choice].parts));
}

static void send(struct k_reply *r, const char *name)
{
	k_buf_putc(&r->line, '}');
	k_reply_send(r, name);
}

static void start(struct k_reply *r, int choice)
{
	event(r, "message_start", choice, NULL);
	k_buf_puts(&r->line, ",\"message\":");
	k_buf_put(&r->line, r->head.data, r->head.len);
	k_buf_puts(&r->line, "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
	put_usage(r);
	k_buf_putc(&r->line, '}');
	send(r, "message_start");
}

static void open_part(struct k_reply *r, int choice, const struct k_part *p)
{
	event(r, "content_block_start", choice, p);
	if (p->kind == K_EVENT_REASONING) {
		k_buf_puts(&r->line, ",\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
	} else if (p->kind == K_EVENT_CONTENT) {
		k_buf_puts(&r->line, ",\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
	} else {
		k_buf_puts(&r->line, ",\"content_block\":{\"type\":\"tool_use\",\"id\":");
		put_call_id(r, p);
		k_buf_puts(&r->line, ",\"name\":");
		k_json_quote(&r->line, p->name, strlen(p->name));
		k_buf_puts(&r->line, ",\"input\":{}}");
	}
	send(r, "content_block_start");
}

static void put_delta(struct k_reply *r, int choice, const struct k_part *p, const char *type, const char *key, const char *s, size_t n)
{
	event(r, "content_block_delta", choice, p);
	k_buf_printf(&r->line, ",\"delta\":{\"type\":\"%s\",\"%s\":", type, key);
	k_json_quote(&r->line, s, n);
	k_buf_putc(&r->line, '}');
	send(r, "content_block_delta");
}

static void delta(struct k_reply *r, int choice, const struct k_part *p, const char *s, size_t n, const struct k_json *entries K_UNUSED)
{
	if (!n)
		return;
	if (p->kind == K_EVENT_REASONING)
		put_delta(r, choice, p, "thinking_delta", "thinking", s, n);
	else if (p->kind == K_EVENT_CONTENT)
		put_delta(r, choice, p, "text_delta", "text", s, n);
}

/* All of them at once: only then is it known whether they are an object, and what was sent cannot be taken back. */
static void put_arguments(struct k_reply *r, int choice, const struct k_part *p)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	put_input(&b, p);
	r->broken |= b.failed;
	if (!b.failed)
		put_delta(r, choice, p, "input_json_delta", "partial_json", b.data, b.len);
	k_buf_fini(&b);
}

static void close_part(struct k_reply *r, int choice, const struct k_part *p)
{
	if (p->kind == K_EVENT_REASONING)
		put_delta(r, choice, p, "signature_delta", "signature", "", 0);
	else if (p->kind == K_EVENT_CALL)
		put_arguments(r, choice, p);
	event(r, "content_block_stop", choice, p);
	send(r, "content_block_stop");
}

static void put_stop(struct k_reply *r, const struct k_choice *c)
{
	static const struct { const char *finish, *reason; } reasons[] = {
		{ "length", "max_tokens" }, { "tool_calls", "tool_use" },
	};
	bool sequence = k_json_kind(c->stop_reason) == K_JSON_STRING;
	const char *reason = sequence ? "stop_sequence" : "end_turn";
	for (size_t i = 0; i < K_LEN(reasons); i++) {
		if (!strcmp(c->finish, reasons[i].finish))
			reason = reasons[i].reason;
	}
	k_buf_printf(&r->line, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
	if (sequence)
		k_json_dump(&r->line, c->stop_reason, K_JSON_COMPACT);
	else
		k_buf_puts(&r->line, "null");
}

static void end(struct k_reply *r, int choice, const struct k_json *entries K_UNUSED)
{
	event(r, "message_delta", choice, NULL);
	k_buf_puts(&r->line, ",\"delta\":{");
	put_stop(r, &r->choices[choice]);
	k_buf_puts(&r->line, "},\"usage\":");
	put_usage(r);
	send(r, "message_delta");
	event(r, "message_stop", choice, NULL);
	send(r, "message_stop");
}

/* --- whole ---------------------------------------------------------------------------------------------------------------------- */

static void put_block(struct k_reply *r, const struct k_part *p)
{
	struct k_buf *b = &r->line;
	if (p->kind == K_EVENT_CALL) {
		k_buf_puts(b, "{\"type\":\"tool_use\",\"id\":");
		put_call_id(r, p);
		k_buf_puts(b, ",\"name\":");
		k_json_quote(b, p->name, strlen(p->name));
		k_buf_puts(b, ",\"input\":");
		put_input(&r->line, p);
	} else {
		bool thought = p->kind == K_EVENT_REASONING;
		k_buf_puts(b, thought ? "{\"type\":\"thinking\",\"thinking\":" : "{\"type\":\"text\",\"text\":");
		k_json_quote(b, p->text.len ? p->text.data : "", p->text.len);
		k_buf_puts(b, thought ? ",\"signature\":\"\"" : "");
	}
	k_buf_putc(b, '}');
}

static void whole(struct k_reply *r)
{
	const struct k_choice *c = &r->choices[0];
	struct k_buf *b = &r->line;
	k_buf_reset(b);
	k_buf_put(b, r->head.data, r->head.len);
	for (int i = 0; i < c->n_parts; i++) {
		k_buf_puts(b, i ? "," : "");
		put_block(r, &c->parts[i]);
	}
	k_buf_puts(b, "],");
	put_stop(r, c);
	k_buf_puts(b, ",\"usage\":");
	put_usage(r);
	k_buf_putc(b, '}');
}

const struct k_dialect k_dialect_anthropic = {
	.name = "messages", .parse = parse, .fault = fault, .problem = "error", .ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n",
	.last = "", .begin = begin, .start = start, .open = open_part, .delta = delta, .close = close_part, .end = end, .whole = whole,
};
