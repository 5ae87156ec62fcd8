/* dialect_chat.c: OpenAI chat completions, and what they share with text completions.
 *
 *   event   head {"index":i,"delta":{..},"logprobs":..,"finish_reason":..} tail         (text completions: "text" for "delta")
 *   reply   head {"index":i,"message":{..},..},{..} tail
 *
 * head ends with "choices":[ and tail is ] with the usage. The order of parts is not told: all text is content. */
#include "libcore/base.h"

#include <inttypes.h>

#include "libcore/log.h"
#include "cmd/kserve/dialect.h"

/* --- heads and tails ---------------------------------------------------------------------------------------------------------- */

static void put_usage(struct k_reply *r, int only)
{
	struct k_usage u = k_reply_usage(r, only);
	k_buf_printf(&r->line, "{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 ","
		"\"prompt_tokens_details\":{\"cached_tokens\":%" PRId64 "},\"completion_tokens_details\":{\"reasoning_tokens\":%" PRId64 "},"
		"\"cached_tokens\":%" PRId64 "}", u.prompt, u.made, u.prompt + u.made, u.cached, u.thought, u.cached);
}

static void put_rate(struct k_buf *b, const char *name, int64_t n, double ms)
{
	k_buf_printf(b, ",\"%s_n\":%" PRId64 ",\"%s_ms\":", name, n, name);
	k_json_put_double(b, ms);
	k_buf_printf(b, ",\"%s_per_token_ms\":", name);
	k_json_put_double(b, n > 0 ? ms / (double)n : 0);
	k_buf_printf(b, ",\"%s_per_second\":", name);
	k_json_put_double(b, ms > 0 ? (double)n * 1000 / ms : 0);
}

/* Since a slot was free for it. */
static double ms_until(const struct k_reply *r, uint64_t t)
{
	uint64_t from = r->out->spent.t_admitted;
	return from && t > from ? (double)(t - from) / 1e6 : 0;
}

static void put_timings(struct k_reply *r)
{
	struct k_usage u = k_reply_usage(r, -1);
	uint64_t now = k_now_ns(), first = r->t_first ? r->t_first : now;
	k_buf_printf(&r->line, ",\"timings\":{\"cache_n\":%" PRId64, u.cached);
	put_rate(&r->line, "prompt", u.prompt - u.cached, ms_until(r, first));
	put_rate(&r->line, "predicted", u.made, (double)(now - first) / 1e6);
	k_buf_putc(&r->line, '}');
}

/* The request's own id where it brought one (JSON lines), else a random one. */
void k_openai_head(struct k_reply *r, const char *prefix, const char *object)
{
	const struct k_request *rq = r->rq;
	enum k_json_kind kind = k_json_kind(rq->id);
	k_buf_puts(&r->head, "{\"id\":");
	if (rq->id && (kind == K_JSON_STRING || kind == K_JSON_INT))
		k_json_dump(&r->head, rq->id, K_JSON_COMPACT);
	else
		k_buf_printf(&r->head, "\"%s%s\"", prefix, r->key);
	k_buf_printf(&r->head, ",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", object, r->created);
	k_json_quote(&r->head, r->server->name, strlen(r->server->name));
	k_buf_puts(&r->head, ",\"system_fingerprint\":");
	k_json_quote(&r->head, r->server->fingerprint, strlen(r->server->fingerprint));
	if (rq->kind == K_KIND_CHAT && !rq->stream)
		k_buf_puts(&r->head, ",\"service_tier\":null");
	k_buf_puts(&r->head, ",\"choices\":[");
}

void k_openai_event(struct k_reply *r, int choice)
{
	k_buf_reset(&r->line);
	k_buf_put(&r->line, r->head.data, r->head.len);
	k_buf_printf(&r->line, "{\"index\":%d,", choice);
}

/* Of return_token_ids: of a chat, and of a whole answer to one prompt, beside the choices; of text in each choice. */
static void put_prompt_ids(struct k_buf *b, const struct k_ids *ids)
{
	k_buf_puts(b, ",\"prompt_token_ids\":[");
	for (size_t i = 0; i < ids->n; i++)
		k_buf_printf(b, "%s%" PRId32, i ? "," : "", ids->v[i]);
	k_buf_putc(b, ']');
}

static void tail(struct k_reply *r, bool last)
{
	struct k_buf *b = &r->line;
	k_buf_putc(b, ']');
	if (last && r->rq->token_ids && r->rq->kind == K_KIND_CHAT)
		put_prompt_ids(b, &r->rq->prompts[0]);
	if (r->rq->usage_each) {
		k_buf_puts(b, ",\"usage\":");
		put_usage(r, -1);
	} else if (r->rq->include_usage) {
		k_buf_puts(b, ",\"usage\":null");
	}
	if (r->rq->timings && k_reply_usage(r, -1).made > 0)
		put_timings(r);
	k_buf_putc(b, '}');
	k_reply_send(r, NULL);
}

void k_openai_progress(struct k_reply *r, int64_t n)
{
	struct k_buf *b = &r->line;
	k_buf_reset(b);
	k_buf_put(b, r->head.data, r->head.len);
	k_buf_printf(b, "],\"prompt_progress\":{\"total\":%" PRId64 ",\"cache\":%" PRId64 ",\"processed\":%" PRId64 ",\"time_ms\":",
		r->rq->n_prompt_tokens, r->n_cached, n);
	k_json_put_double(b, ms_until(r, k_now_ns()));
	k_buf_puts(b, r->rq->include_usage ? "},\"usage\":null}" : "}}");
	k_reply_send(r, NULL);
}

void k_openai_event_end(struct k_reply *r)
{
	k_buf_puts(&r->line, ",\"finish_reason\":null}");
	tail(r, false);
}

static void put_end(struct k_reply *r, const struct k_choice *c)
{
	struct k_buf *b = &r->line;
	k_buf_printf(b, ",\"finish_reason\":\"%s\",\"stop_reason\":", c->finish);
	if (c->stop_reason)
		k_json_dump(b, c->stop_reason, K_JSON_COMPACT);
	else
		k_buf_puts(b, "null");
	if (!c->ids)
		return;
	k_buf_puts(b, ",\"token_ids\":");
	k_json_dump(b, c->ids, K_JSON_COMPACT);
	if (r->rq->kind != K_KIND_CHAT)
		put_prompt_ids(b, &r->rq->prompts[(c - r->choices) / r->rq->n]);
}

/* The usage stands inside the choice too: some clients skip events without choices. */
void k_openai_finish(struct k_reply *r, int choice)
{
	put_end(r, &r->choices[choice]);
	k_buf_puts(&r->line, ",\"usage\":");
	put_usage(r, choice);
	k_buf_putc(&r->line, '}');
	tail(r, true);
}

void k_openai_done(struct k_reply *r)
{
	struct k_buf *b = &r->line;
	if (!r->rq->include_usage)
		return;
	k_buf_reset(b);
	k_buf_put(b, r->head.data, r->head.len);
	k_buf_puts(b, "],\"usage\":");
	put_usage(r, -1);
	if (r->rq->timings)
		put_timings(r);
	k_buf_putc(b, '}');
	k_reply_send(r, NULL);
}

void k_openai_whole(struct k_reply *r, void (*put)(struct k_reply *r, const struct k_choice *c))
{
	const struct k_request *rq = r->rq;
	struct k_buf *b = &r->line;
	k_buf_reset(b);
	k_buf_put(b, r->head.data, r->head.len);
	for (int i = 0; i < r->n_choices; i++) {
		k_buf_printf(b, "%s{\"index\":%d,", i ? "," : "", i);
		put(r, &r->choices[i]);
		put_end(r, &r->choices[i]);
		k_buf_putc(b, '}');
	}
	k_buf_puts(b, "],\"usage\":");
	put_usage(r, -1);
	if (rq->token_ids && rq->n_prompts == 1)
		put_prompt_ids(b, &rq->prompts[0]);
	if (rq->timings)
		put_timings(r);
	k_buf_putc(b, '}');
}

void k_openai_fault(struct k_buf *out, const struct k_fault *f, const char *id K_UNUSED) { k_fault_json(out, f); }

/* --- chat --------------------------------------------------------------------------------------------------------------------- */

static int parse(struct k_request **out, const struct k_server *s, struct k_json *body, struct k_fault *f)
{
	return k_openai_parse(out, s, &k_dialect_chat, body, f);
}

static void begin(struct k_reply *r) { k_openai_head(r, "chatcmpl-", r->rq->stream ? "chat.completion.chunk" : "chat.completion"); }

static void put_logprobs(struct k_reply *r, const struct k_json *entries)
{
	struct k_buf *b = &r->line;
	if (!r->rq->logprobs || !entries) {
		k_buf_puts(b, "null");
		return;
	}
	k_buf_puts(b, "{\"content\":");
	k_json_dump(b, entries, K_JSON_COMPACT);
	k_buf_puts(b, ",\"refusal\":null}");
}

static void event_end(struct k_reply *r, const struct k_json *entries)
{
	k_buf_puts(&r->line, ",\"logprobs\":");
	put_logprobs(r, entries);
	k_openai_event_end(r);
}

static void start(struct k_reply *r, int choice)
{
	k_openai_event(r, choice);
	k_buf_puts(&r->line, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
	event_end(r, NULL);
}

static void open_part(struct k_reply *r, int choice, const struct k_part *p)
{
	struct k_buf *b = &r->line;
	if (p->kind != K_EVENT_CALL)
		return;
	k_openai_event(r, choice);
	k_buf_printf(b, "\"delta\":{\"tool_calls\":[{\"index\":%d,\"id\":", p->call);
	k_json_quote(b, p->id, strlen(p->id));
	k_buf_puts(b, ",\"type\":\"function\",\"function\":{\"name\":");
	k_json_quote(b, p->name, strlen(p->name));
	k_buf_puts(b, ",\"arguments\":\"\"}}]}");
	event_end(r, NULL);
}

static const char *const reasoning_names[] = {
	[K_REASONING_CONTENT] = "\"reasoning_content\":", [K_REASONING_PLAIN] = "\"reasoning\":",
};

/* The thoughts, under the names that the server was started with. */
static void put_thought(struct k_reply *r, const char *s, size_t n)
{
	enum k_reasoning_field field = r->server->reasoning;
	for (int i = 0; i < K_REASONING_BOTH; i++) {
		if (field != K_REASONING_BOTH && (int)field != i)
			continue;
		if (i && field == K_REASONING_BOTH)
			k_buf_putc(&r->line, ',');
		k_buf_puts(&r->line, reasoning_names[i]);
		k_json_quote(&r->line, s, n);
	}
}

static void delta(struct k_reply *r, int choice, const struct k_part *p, const char *s, size_t n, const struct k_json *entries)
{
	struct k_buf *b = &r->line;
	k_openai_event(r, choice);
	k_buf_puts(b, "\"delta\":{");
	if (p->kind == K_EVENT_REASONING) {
		put_thought(r, s, n);
	} else if (p->kind == K_EVENT_CONTENT) {
		k_buf_puts(b, "\"content\":");
		k_json_quote(b, s, n);
	} else {
		k_buf_printf(b, "\"tool_calls\":[{\"index\":%d,\"function\":{\"arguments\":", p->call);
		k_json_quote(b, s, n);
		k_buf_puts(b, "}}]");
	}
	k_buf_putc(b, '}');
	event_end(r, entries);
}

static void end(struct k_reply *r, int choice, const struct k_json *entries)
{
	k_openai_event(r, choice);
	k_buf_puts(&r->line, "\"delta\":{},\"logprobs\":");
	put_logprobs(r, k_json_len(entries) ? entries : NULL);
	k_openai_finish(r, choice);
}

static void put_calls(struct k_buf *b, const struct k_choice *c)
{
	for (int i = 0; i < c->n_parts; i++) {
		const struct k_part *p = &c->parts[i];
		if (p->kind != K_EVENT_CALL)
			continue;
		k_buf_puts(b, p->call ? ",{\"id\":" : ",\"tool_calls\":[{\"id\":");
		k_json_quote(b, p->id, strlen(p->id));
		k_buf_puts(b, ",\"type\":\"function\",\"function\":{\"name\":");
		k_json_quote(b, p->name, strlen(p->name));
		k_buf_puts(b, ",\"arguments\":");
		k_json_quote(b, p->text.len ? p->text.data : "", p->text.len);
		k_buf_puts(b, "}}");
	}
	if (c->n_calls)
		k_buf_putc(b, ']');
}

static void put_thoughts(struct k_reply *r, const struct k_choice *c)
{
	struct k_buf all;
	if (!k_reply_text_len(c, K_EVENT_REASONING))
		return;
	k_buf_init(&all, 0);
	for (int i = 0; i < c->n_parts; i++) {
		if (c->parts[i].kind == K_EVENT_REASONING)
			k_buf_put(&all, c->parts[i].text.data, c->parts[i].text.len);
	}
	k_buf_putc(&r->line, ',');
	put_thought(r, all.data, all.len);
	r->line.failed |= all.failed;
	k_buf_fini(&all);
}

static void put_message(struct k_reply *r, const struct k_choice *c)
{
	struct k_buf *b = &r->line;
	k_buf_puts(b, "\"message\":{\"role\":\"assistant\",\"content\":");
	if (!k_reply_text_len(c, K_EVENT_CONTENT) && c->n_calls)
		k_buf_puts(b, "null");
	else
		k_reply_put_text(b, c, K_EVENT_CONTENT);
	k_buf_puts(b, ",\"refusal\":null");
	put_thoughts(r, c);
	put_calls(b, c);
	k_buf_putc(b, '}');
}

static void put_choice(struct k_reply *r, const struct k_choice *c)
{
	put_message(r, c);
	k_buf_puts(&r->line, ",\"logprobs\":");
	put_logprobs(r, c->logprobs);
}

static void whole(struct k_reply *r) { k_openai_whole(r, put_choice); }

const struct k_dialect k_dialect_chat = {
	.name = "chat", .parse = parse, .fault = k_openai_fault, .aborts = true, .ping = ": ping\n\n", .last = "data: [DONE]\n\n", .begin = begin,
	.progress = k_openai_progress, .start = start, .open = open_part, .delta = delta, .end = end, .done = k_openai_done, .whole = whole,
};
