/* openai_reply.c: texts, calls and ends of all choices -> events or one reply.
 *
 *   event   head {"index":i,"delta":{..},"logprobs":..,"finish_reason":..} tail         (text completions: "text" for "delta")
 *   reply   head {"index":i,"message":{..},..},{..} tail
 *
 * head ends with "choices":[ and tail is ] with the usage. Memory that gives out makes the reply broken; the scheduler sees it and
 * fails the request. */
#include "libcore/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "libcore/hash.h"
#include "libcore/log.h"
#include "cmd/kserve/openai_reply.h"

static bool is_chat(const struct k_reply *r) { return r->rq->kind == K_KIND_CHAT; }

static void put_text(struct k_buf *b, const struct k_buf *text)
{
	k_json_quote(b, text->len ? text->data : "", text->len);
}

/* --- usage ---------------------------------------------------------------------------------------------------------------- */

/* only: the tokens of this choice, -1: of all. */
static void put_usage(struct k_reply *r, struct k_buf *b, int only)
{
	int64_t made = 0, thought = 0, prompt = r->rq->n_prompt_tokens;
	for (int i = 0; i < r->n_choices; i++) {
		if (only >= 0 && i != only)
			continue;
		made += r->choices[i].n_tokens;
		thought += r->choices[i].n_reasoning;
	}
	k_buf_printf(b, "{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 ","
		"\"prompt_tokens_details\":{\"cached_tokens\":%" PRId64 "},\"completion_tokens_details\":{\"reasoning_tokens\":%" PRId64 "},"
		"\"cached_tokens\":%" PRId64 "}", prompt, made, prompt + made, r->n_cached, thought, r->n_cached);
}

static double per_second(int64_t n, double ms) { return ms > 0 ? (double)n * 1000 / ms : 0; }

static void put_timings(struct k_reply *r, struct k_buf *b)
{
	int64_t made = 0, prompt = r->rq->n_prompt_tokens - r->n_cached;
	uint64_t now = k_now_ns(), first = r->t_first ? r->t_first : now;
	double prompt_ms = (double)(first - r->t_start) / 1e6, made_ms = (double)(now - first) / 1e6;
	for (int i = 0; i < r->n_choices; i++)
		made += r->choices[i].n_tokens;
	k_buf_printf(b, ",\"timings\":{\"cache_n\":%" PRId64 ",\"prompt_n\":%" PRId64 ",\"prompt_ms\":", r->n_cached, prompt);
	k_json_put_double(b, prompt_ms);
	k_buf_puts(b, ",\"prompt_per_second\":");
	k_json_put_double(b, per_second(prompt, prompt_ms));
	k_buf_printf(b, ",\"predicted_n\":%" PRId64 ",\"predicted_ms\":", made);
	k_json_put_double(b, made_ms);
	k_buf_puts(b, ",\"predicted_per_second\":");
	k_json_put_double(b, per_second(made, made_ms));
	k_buf_puts(b, "}");
}

/* --- log-probabilities ------------------------------------------------------------------------------------------------------ */

/* Text completions: one array a member of the entries. */
static void put_columns(struct k_buf *b, const struct k_json *entries)
{
	static const char *const columns[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };
	for (size_t c = 0; c < K_LEN(columns); c++) {
		k_buf_printf(b, "%s\"%s\":[", c ? "," : "{", columns[c]);
		for (size_t i = 0; i < k_json_len(entries); i++) {
			if (i)
				k_buf_putc(b, ',');
			k_json_dump(b, k_json_find(k_json_at(entries, i), columns[c]), K_JSON_COMPACT);
		}
		k_buf_putc(b, ']');
	}
	k_buf_putc(b, '}');
}

static void put_logprobs(struct k_reply *r, struct k_buf *b, const struct k_json *entries)
{
	if (!r->rq->logprobs || !entries) {
		k_buf_puts(b, "null");
	} else if (is_chat(r)) {
		k_buf_puts(b, "{\"content\":");
		k_json_dump(b, entries, K_JSON_COMPACT);
		k_buf_puts(b, ",\"refusal\":null}");
	} else {
		put_columns(b, entries);
	}
}

/* Moves the entries behind those that the choice has. */
static void keep_entries(struct k_reply *r, struct k_choice *c, struct k_json *entries)
{
	for (size_t i = 0; i < k_json_len(entries) && c->logprobs; i++) {
		if (k_json_push(c->logprobs, k_json_keep(k_json_at(entries, i))))
			r->broken = true;
	}
}

/* --- events ----------------------------------------------------------------------------------------------------------------- */

static struct k_buf *event_begin(struct k_reply *r, int choice)
{
	struct k_buf *b = &r->line;
	k_buf_reset(b);
	k_buf_put(b, r->head.data, r->head.len);
	k_buf_printf(b, "{\"index\":%d,\"%s\":", choice, is_chat(r) ? "delta" : "text");
	return b;
}

static void event_send(struct k_reply *r)
{
	struct k_buf *b = &r->line;
	if (b->failed) {
		r->broken = true;
	} else if (!r->over) {
		r->out->event(r->out, b->data, b->len);
	}
}

static void tail(struct k_reply *r)
{
	struct k_buf *b = &r->line;
	k_buf_putc(b, ']');
	if (r->rq->usage_each) {
		k_buf_puts(b, ",\"usage\":");
		put_usage(r, b, -1);
	} else if (r->rq->include_usage) {
		k_buf_puts(b, ",\"usage\":null");
	}
	k_buf_putc(b, '}');
}

static void event_end(struct k_reply *r, const struct k_json *entries)
{
	k_buf_puts(&r->line, ",\"logprobs\":");
	put_logprobs(r, &r->line, entries);
	k_buf_puts(&r->line, ",\"finish_reason\":null}");
	tail(r);
	event_send(r);
}

void k_reply_start(struct k_reply *r, int choice)
{
	struct k_choice *c = &r->choices[choice];
	if (!r->t_first)
		r->t_first = k_now_ns();
	if (c->started)
		return;
	c->started = true;
	if (!r->rq->stream || !is_chat(r))
		return;
	k_buf_puts(event_begin(r, choice), "{\"role\":\"assistant\",\"content\":\"\"}");
	event_end(r, NULL);
}

void k_reply_text(struct k_reply *r, int choice, enum k_event_kind kind, const char *s, size_t n, struct k_json *entries)
{
	struct k_choice *c = &r->choices[choice];
	bool thought = kind == K_EVENT_REASONING;
	if ((n || k_json_len(entries)) && !(thought && !r->rq->include_reasoning)) {
		if (r->rq->stream) {
			struct k_buf *b = event_begin(r, choice);
			if (is_chat(r))
				k_buf_puts(b, thought ? "{\"reasoning_content\":" : "{\"content\":");
			k_json_quote(b, s, n);
			if (is_chat(r))
				k_buf_putc(b, '}');
			event_end(r, entries);
		} else {
			k_buf_put(thought ? &c->reasoning : &c->text, s, n);
			r->broken |= c->reasoning.failed || c->text.failed;
		}
	}
	if (!r->rq->stream)
		keep_entries(r, c, entries);
	k_json_free(entries);
}

void k_reply_call(struct k_reply *r, int choice, const char *id, const char *name)
{
	struct k_choice *c = &r->choices[choice];
	struct k_call *v = k_realloc(c->calls, (size_t)(c->n_calls + 1) * sizeof(*v));
	if (!v) {
		r->broken = true;
		return;
	}
	c->calls = v;
	v += c->n_calls++;
	memset(v, 0, sizeof(*v));
	k_buf_init(&v->args, 0);
	v->id = k_strdup(id);
	v->name = k_strdup(name);
	r->broken |= !v->id || !v->name;
	if (!r->rq->stream || r->broken)
		return;
	struct k_buf *b = event_begin(r, choice);
	k_buf_printf(b, "{\"tool_calls\":[{\"index\":%d,\"id\":", c->n_calls - 1);
	k_json_quote(b, id, strlen(id));
	k_buf_puts(b, ",\"type\":\"function\",\"function\":{\"name\":");
	k_json_quote(b, name, strlen(name));
	k_buf_puts(b, ",\"arguments\":\"\"}}]}");
	event_end(r, NULL);
}

void k_reply_args(struct k_reply *r, int choice, int call, const char *s, size_t n)
{
	struct k_choice *c = &r->choices[choice];
	if (call < 0 || call >= c->n_calls || !n)
		return;
	if (!r->rq->stream) {
		k_buf_put(&c->calls[call].args, s, n);
		r->broken |= c->calls[call].args.failed;
		return;
	}
	struct k_buf *b = event_begin(r, choice);
	k_buf_printf(b, "{\"tool_calls\":[{\"index\":%d,\"function\":{\"arguments\":", call);
	k_json_quote(b, s, n);
	k_buf_puts(b, "}}]}");
	event_end(r, NULL);
}

void k_reply_token(struct k_reply *r, int choice, int32_t id, bool reasoning)
{
	struct k_choice *c = &r->choices[choice];
	c->n_tokens++;
	c->n_reasoning += reasoning;
	if (c->ids && k_json_push(c->ids, k_json_new_int(id)))
		r->broken = true;
}

/* --- ends ------------------------------------------------------------------------------------------------------------------- */

static void put_finish(struct k_buf *b, const struct k_choice *c)
{
	k_buf_printf(b, ",\"finish_reason\":\"%s\",\"stop_reason\":", c->finish);
	if (c->stop_reason)
		k_json_dump(b, c->stop_reason, K_JSON_COMPACT);
	else
		k_buf_puts(b, "null");
}

static void put_ids(struct k_buf *b, const struct k_choice *c)
{
	if (!c->ids)
		return;
	k_buf_puts(b, ",\"token_ids\":");
	k_json_dump(b, c->ids, K_JSON_COMPACT);
}

/* The usage stands inside the choice too: some clients skip events without choices. */
static void finish_event(struct k_reply *r, int choice, const struct k_json *entries)
{
	struct k_buf *b = event_begin(r, choice);
	const struct k_choice *c = &r->choices[choice];
	k_buf_puts(b, is_chat(r) ? "{}" : "\"\"");
	k_buf_puts(b, ",\"logprobs\":");
	put_logprobs(r, b, k_json_len(entries) ? entries : NULL);
	put_finish(b, c);
	put_ids(b, c);
	k_buf_puts(b, ",\"usage\":");
	put_usage(r, b, choice);
	k_buf_putc(b, '}');
	tail(r);
	event_send(r);
}

static void put_calls(struct k_buf *b, const struct k_choice *c)
{
	for (int i = 0; i < c->n_calls; i++) {
		k_buf_puts(b, i ? ",{\"id\":" : ",\"tool_calls\":[{\"id\":");
		k_json_quote(b, c->calls[i].id, strlen(c->calls[i].id));
		k_buf_puts(b, ",\"type\":\"function\",\"function\":{\"name\":");
		k_json_quote(b, c->calls[i].name, strlen(c->calls[i].name));
		k_buf_puts(b, ",\"arguments\":");
		put_text(b, &c->calls[i].args);
		k_buf_puts(b, "}}");
	}
	if (c->n_calls)
		k_buf_putc(b, ']');
}

static void put_message(struct k_buf *b, const struct k_choice *c)
{
	k_buf_puts(b, ",\"message\":{\"role\":\"assistant\",\"content\":");
	if (!c->text.len && c->n_calls)
		k_buf_puts(b, "null");
	else
		put_text(b, &c->text);
	k_buf_puts(b, ",\"refusal\":null");
	if (c->reasoning.len) {
		k_buf_puts(b, ",\"reasoning_content\":");
		put_text(b, &c->reasoning);
	}
	put_calls(b, c);
	k_buf_putc(b, '}');
}

static void put_prompt_ids(struct k_reply *r, struct k_buf *b)
{
	if (!r->rq->token_ids || r->rq->n_prompts != 1)
		return;
	k_buf_puts(b, ",\"prompt_token_ids\":[");
	for (size_t i = 0; i < r->rq->prompts[0].n; i++)
		k_buf_printf(b, "%s%" PRId32, i ? "," : "", r->rq->prompts[0].v[i]);
	k_buf_putc(b, ']');
}

static void whole(struct k_reply *r)
{
	struct k_buf *b = &r->line;
	k_buf_reset(b);
	k_buf_put(b, r->head.data, r->head.len);
	for (int i = 0; i < r->n_choices; i++) {
		const struct k_choice *c = &r->choices[i];
		k_buf_printf(b, "%s{\"index\":%d", i ? "," : "", i);
		if (is_chat(r)) {
			put_message(b, c);
		} else {
			k_buf_puts(b, ",\"text\":");
			put_text(b, &c->text);
		}
		k_buf_puts(b, ",\"logprobs\":");
		put_logprobs(r, b, c->logprobs);
		put_finish(b, c);
		put_ids(b, c);
		k_buf_putc(b, '}');
	}
	k_buf_puts(b, "],\"usage\":");
	put_usage(r, b, -1);
	put_prompt_ids(r, b);
	if (r->rq->timings)
		put_timings(r, b);
	k_buf_putc(b, '}');
}

static void all_done(struct k_reply *r)
{
	struct k_buf *b = &r->line;
	if (!r->rq->stream) {
		whole(r);
	} else if (r->rq->include_usage || r->rq->timings) {
		k_buf_reset(b);
		k_buf_put(b, r->head.data, r->head.len);
		k_buf_puts(b, "],\"usage\":");
		put_usage(r, b, -1);
		if (r->rq->timings)
			put_timings(r, b);
		k_buf_putc(b, '}');
		event_send(r);
		k_buf_reset(b);
	} else {
		k_buf_reset(b);
	}
	if (b->failed)
		r->broken = true;
	if (r->broken || r->over)
		return;
	r->over = true;
	r->out->finish(r->out, 200, b->data, b->len, NULL);
}

void k_reply_end(struct k_reply *r, int choice, const char *finish, struct k_json *stop_reason, struct k_json *entries)
{
	struct k_choice *c = &r->choices[choice];
	if (!c->done) {
		c->done = true;
		c->finish = finish;
		c->stop_reason = stop_reason;
		stop_reason = NULL;
		if (r->rq->stream)
			finish_event(r, choice, entries);
		else
			keep_entries(r, c, entries);
		if (--r->n_open == 0)
			all_done(r);
	}
	k_json_free(stop_reason);
	k_json_free(entries);
}

void k_reply_fail(struct k_reply *r, const struct k_fault *f)
{
	if (r->over)
		return;
	r->over = true;
	struct k_buf b;
	k_buf_init(&b, 0);
	k_fault_json(&b, f);
	static const char none[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";
	if (b.failed)
		r->out->finish(r->out, f->status, none, sizeof(none) - 1, f);
	else
		r->out->finish(r->out, f->status, b.data, b.len, f);
	k_buf_fini(&b);
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

/* The request's own id where it brought one (JSON lines), else a random one. */
static int put_head(struct k_reply *r, struct k_err *err)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const struct k_request *rq = r->rq;
	uint8_t random[28];
	int rc = k_random_bytes(random, sizeof(random), err);
	if (rc)
		return rc;
	k_buf_puts(&r->head, "{\"id\":");
	enum k_json_kind kind = k_json_kind(rq->id);
	if (rq->id && (kind == K_JSON_STRING || kind == K_JSON_INT)) {
		k_json_dump(&r->head, rq->id, K_JSON_COMPACT);
	} else {
		k_buf_puts(&r->head, is_chat(r) ? "\"chatcmpl-" : "\"cmpl-");
		for (size_t i = 0; i < sizeof(random); i++)
			k_buf_putc(&r->head, letters[random[i] % 64]);
		k_buf_putc(&r->head, '"');
	}
	k_buf_printf(&r->head, ",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":",
		!is_chat(r) ? "text_completion" : rq->stream ? "chat.completion.chunk" : "chat.completion", (int64_t)time(NULL));
	k_json_quote(&r->head, r->server->name, strlen(r->server->name));
	k_buf_puts(&r->head, ",\"system_fingerprint\":");
	k_json_quote(&r->head, r->server->fingerprint, strlen(r->server->fingerprint));
	if (is_chat(r) && !rq->stream)
		k_buf_puts(&r->head, ",\"service_tier\":null");
	k_buf_puts(&r->head, ",\"choices\":[");
	return k_buf_ok(&r->head, "a reply", err);
}

int k_reply_new(struct k_reply **out_reply, const struct k_server *s, const struct k_request *rq, struct k_out *out, struct k_fault *f)
{
	struct k_err err = { 0 };
	struct k_reply *r = k_calloc(1, sizeof(*r));
	if (!r)
		return k_fault_set(f, 503, "overloaded", NULL, "out of memory");
	r->server = s;
	r->rq = rq;
	r->out = out;
	r->t_start = k_now_ns();
	k_buf_init(&r->head, 0);
	k_buf_init(&r->line, 0);
	r->n_choices = r->n_open = (int)(rq->n_prompts * rq->n);
	r->choices = k_calloc((size_t)r->n_choices, sizeof(*r->choices));
	bool bad = !r->choices;
	for (int i = 0; i < r->n_choices && !bad; i++) {
		struct k_choice *c = &r->choices[i];
		k_buf_init(&c->text, 0);
		k_buf_init(&c->reasoning, 0);
		if (rq->logprobs && !rq->stream)
			bad |= !(c->logprobs = k_json_array());
		if (rq->token_ids)
			bad |= !(c->ids = k_json_array());
	}
	if (bad || put_head(r, &err)) {
		k_reply_free(r);
		return bad ? k_fault_set(f, 503, "overloaded", NULL, "out of memory") : k_fault_err(f, &err);
	}
	*out_reply = r;
	return 0;
}

void k_reply_free(struct k_reply *r)
{
	if (!r)
		return;
	for (int i = 0; r->choices && i < r->n_choices; i++) {
		struct k_choice *c = &r->choices[i];
		for (int j = 0; j < c->n_calls; j++) {
			k_free(c->calls[j].id);
			k_free(c->calls[j].name);
			k_buf_fini(&c->calls[j].args);
		}
		k_free(c->calls);
		k_buf_fini(&c->text);
		k_buf_fini(&c->reasoning);
		k_json_free(c->logprobs);
		k_json_free(c->ids);
		k_json_free(c->stop_reason);
	}
	k_free(r->choices);
	k_buf_fini(&r->head);
	k_buf_fini(&r->line);
	k_free(r);
}
