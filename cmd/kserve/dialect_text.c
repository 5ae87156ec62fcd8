/* dialect_text.c: OpenAI text completions: text as it comes, and log-probabilities in columns. */
#include "libcore/base.h"

#include "cmd/kserve/dialect.h"

static int parse(struct k_request **out, const struct k_server *s, struct k_json *body, struct k_fault *f)
{
	return k_openai_parse(out, s, &k_dialect_text, body, f);
}

static void begin(struct k_reply *r) { k_openai_head(r, "cmpl-", "text_completion"); }

/* One array a member of the entries. */
static void put_logprobs(struct k_reply *r, const struct k_json *entries)
{
	static const char *const columns[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };
	struct k_buf *b = &r->line;
	if (!r->rq->logprobs || !entries) {
		k_buf_puts(b, "null");
		return;
	}
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

static void delta(struct k_reply *r, int choice, const struct k_part *p K_UNUSED, const char *s, size_t n, const struct k_json *entries)
{
	k_openai_event(r, choice);
	k_buf_puts(&r->line, "\"text\":");
	k_json_quote(&r->line, s, n);
	k_buf_puts(&r->line, ",\"logprobs\":");
	put_logprobs(r, entries);
	k_openai_event_end(r);
}

static void end(struct k_reply *r, int choice, const struct k_json *entries)
{
	k_openai_event(r, choice);
	k_buf_puts(&r->line, "\"text\":\"\",\"logprobs\":");
	put_logprobs(r, k_json_len(entries) ? entries : NULL);
	k_openai_finish(r, choice);
}

static void put_choice(struct k_reply *r, const struct k_choice *c)
{
	k_buf_puts(&r->line, "\"text\":");
	k_reply_put_text(&r->line, c, K_EVENT_CONTENT);
	k_buf_puts(&r->line, ",\"logprobs\":");
	put_logprobs(r, c->logprobs);
}

static void whole(struct k_reply *r) { k_openai_whole(r, put_choice); }

const struct k_dialect k_dialect_text = {
	.name = "completion", .parse = parse, .fault = k_openai_fault, .aborts = true, .ping = ": ping\n\n", .last = "data: [DONE]\n\n", .begin = begin,
	.progress = k_openai_progress, .delta = delta, .end = end, .done = k_openai_done, .whole = whole,
};
