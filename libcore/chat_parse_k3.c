/* chat_parse_k3.c: answers of Kimi-K3, which are elements: generated token ids -> reasoning, content and tool calls, as they come.
 *
 *   THOUGHT --/think--> OUTSIDE --response--> RESPONSE --/response--> OUTSIDE --tools--> TOOLS --call--> CALL --argument--> VALUE
 *                                                                                        ^----/call------/ ^--/argument---/
 *
 * A tag is <|open|> or <|close|>, its text, <|sep|>, and the markers are ids: text that looks like one is text. Models leave tags out, so
 * each means something everywhere: a tag that opens ends what cannot hold it. Only the end of the answer completes nothing:
 * the arguments of a call that was cut off are no JSON, and nobody runs it. */
#include "libcore/base.h"
#include "libcore/chat_parse_int.h"
#include "libcore/xtml.h"


static struct span span_of(const struct k_buf *b) { return (struct span){ b->len ? b->data : "", b->len }; }

/* --- arguments ------------------------------------------------------------------------------------------------------ */

static void send_args(struct k_parser *p, const char *s) { k_parse_send(p, K_EVENT_ARGS, s, strlen(s)); }

/* quotes: with those around it. */
static void send_string(struct k_parser *p, struct span text, bool quotes)
{
	struct k_buf b;

	k_buf_init(&b, 0);
	k_json_quote(&b, text.s, text.n);
	p->nomem |= b.failed;
	if (!b.failed)
		k_parse_send(p, K_EVENT_ARGS, b.data + !quotes, b.len - 2 * !quotes);
	k_buf_fini(&b);
}

static bool is_json(struct k_parser *p, struct span text)
{
	struct k_json *v = NULL;
	struct k_err why = { 0 };
	bool yes = !k_json_parse(&v, text.s, text.n, K_JSON_LAST_WINS | K_JSON_NUL, "a value", &why);

	p->nomem |= why.code == K_ENOMEM;
	k_json_free(v);
	return yes;
}

/* What was collected is whole now. All arguments as one text wait for the end of the call: they are JSON without it. */
static void end_value(struct k_parser *p)
{
	const struct span text = span_of(&p->args);

	if (p->x.at == VALUE) {
		if (p->x.string)
			send_args(p, "\"");
		else if (is_json(p, text))
			k_parse_send(p, K_EVENT_ARGS, text.s, text.n);
		else
			send_string(p, text, true);
		k_buf_reset(&p->args);
	}
	p->x.at = CALL;
}

static void end_call(struct k_parser *p)
{
	static const char *const ends[] = { [NOTHING] = "{}", [MEMBERS] = "}", [WHOLE] = "" };

	end_value(p);
	k_parse_send(p, K_EVENT_ARGS, p->args.data, p->args.len);
	k_buf_reset(&p->args);
	send_args(p, ends[p->x.told]);
}

/* To a place that is no part of a call. */
static void leave(struct k_parser *p, enum place to)
{
	if (p->x.at >= CALL)
		end_call(p);
	k_buf_reset(&p->held);
	p->said = false;
	p->x.at = to;
}

/* The message is over, with what was open in it. */
static void end_message(struct k_parser *p)
{
	k_buf_reset(&p->args);
	k_buf_reset(&p->held);
	p->said = false;
	p->x.at = OUTSIDE;
}

static size_t space_from(struct span h, size_t i)
{
	while (i < h.n && k_parse_is_space(h.s[i]))
		i++;
	return i;
}

/* --- text in a place -------------------------------------------------------------------------------------------------- */

static void take_thought(struct k_parser *p, struct span s) { k_parse_send(p, K_EVENT_REASONING, s.s, s.n); }
static void take_response(struct k_parser *p, struct span s) { k_parse_send(p, K_EVENT_CONTENT, s.s, s.n); }
static void take_outside(struct k_parser *p, struct span s) { k_parse_content(p, s.s, s.n); }
static void take_raw(struct k_parser *p, struct span s) { k_parse_hold(p, &p->args, s.s, s.n); }

/* Arguments without their tags: taken as they are, where there are no others. */
static void take_call(struct k_parser *p, struct span s)
{
	if (p->x.told != NOTHING) {
		k_parse_content(p, s.s, s.n);
		return;
	}
	const size_t from = space_from(s, 0);

	if (from == s.n)
		return;
	p->repairs[K_REPAIR_ARGS]++;
	p->x.told = WHOLE;
	p->x.at = RAW;
	take_raw(p, (struct span){ s.s + from, s.n - from });
}

static void take_value(struct k_parser *p, struct span s)
{
	if (p->x.string)
		send_string(p, s, false);
	else
		take_raw(p, s);
}

static void take(struct k_parser *p, struct span s)
{
	static void (*const taker[N_PLACES])(struct k_parser *p, struct span s) = {
		[OUTSIDE] = take_outside, [THOUGHT] = take_thought, [RESPONSE] = take_response, [TOOLS] = take_outside,
		[CALL] = take_call, [VALUE] = take_value, [RAW] = take_raw,
	};

	if (s.n)
		taker[p->x.at](p, s);
}

/* --- tags --------------------------------------------------------------------------------------------------------------- */

static size_t word_from(struct span h, size_t i, const char *ends)
{
	while (i < h.n && !k_parse_is_space(h.s[i]) && !(h.s[i] && strchr(ends, h.s[i])))
		i++;
	return i;
}

/* The value of an attribute, as it is written; s NULL: there is none. */
static struct span find_attribute(struct span h, const char *key)
{
	size_t i = word_from(h, space_from(h, 0), "");

	for (i = space_from(h, i); i < h.n; i = space_from(h, i)) {
		size_t from = i, to = word_from(h, i, "="), begin = to + 1, end;
		bool quoted = begin < h.n && h.s[begin] == '"';

		if (to == h.n || h.s[to] != '=') {
			i = to;
			continue;
		}
		begin += quoted;
		for (end = K_MIN(begin, h.n); end < h.n && (quoted ? h.s[end] != '"' : !k_parse_is_space(h.s[end])); )
			end++;
		if (to - from == strlen(key) && !memcmp(h.s + from, key, to - from))
			return (struct span){ h.s + K_MIN(begin, h.n), end - K_MIN(begin, h.n) };
		i = end + quoted;
	}
	return (struct span){ NULL, 0 };
}

/* The value that it means. */
static void attribute(struct k_parser *p, const char *key, struct k_buf *out)
{
	const struct span value = find_attribute(span_of(&p->header), key);

	k_attr_unescape(out, value.s, value.n);
	p->nomem |= out->failed;
}

/* A tag that is none of ours: within text it is text; elsewhere the text behind it is what it is without the tag. */
static void spell(struct k_parser *p)
{
	struct k_buf b;

	p->repairs[K_REPAIR_TEXT]++;
	if (p->x.at == OUTSIDE || p->x.at == TOOLS || p->x.at == CALL)
		return;
	k_buf_init(&b, 0);
	k_buf_puts(&b, p->x.tag == p->x.open ? "<|open|>" : "<|close|>");
	k_buf_put(&b, p->header.data, p->header.len);
	k_buf_puts(&b, "<|sep|>");
	p->nomem |= b.failed;
	if (!b.failed)
		take(p, span_of(&b));
	k_buf_fini(&b);
}

/* One of ours that means nothing here. What the model writes about it is in the arguments. */
static void pass(struct k_parser *p)
{
	if (p->x.at >= VALUE)
		spell(p);
	else
		p->repairs[K_REPAIR_TEXT]++;
}

static void open_think(struct k_parser *p) { leave(p, THOUGHT); }
static void open_response(struct k_parser *p) { leave(p, RESPONSE); }
static void open_tools(struct k_parser *p) { leave(p, TOOLS); }

/* A name that no tool can have: what is in the element comes out as content. */
static void open_call(struct k_parser *p)
{
	struct k_buf name;

	leave(p, TOOLS);
	k_buf_init(&name, 0);
	attribute(p, "tool", &name);
	if (k_parse_names_tool(p, span_of(&name))) {
		k_parse_call(p, span_of(&name));
		p->x.at = CALL;
		p->x.told = NOTHING;
	} else {
		p->repairs[K_REPAIR_TEXT]++;
		k_parse_content(p, p->header.data, p->header.len);
	}
	k_buf_fini(&name);
}

static void open_argument(struct k_parser *p)
{
	const struct span type = find_attribute(span_of(&p->header), "type");
	struct k_buf key;

	if (p->x.at < CALL || p->x.told == WHOLE) {
		pass(p);
		return;
	}
	end_value(p);
	k_buf_init(&key, 0);
	attribute(p, "key", &key);
	send_args(p, p->x.told == MEMBERS ? "," : "{");
	send_string(p, span_of(&key), true);
	send_args(p, ":");
	k_buf_fini(&key);
	p->x.told = MEMBERS;
	p->x.at = VALUE;
	p->x.string = type.n == 6 && !memcmp(type.s, "string", 6);
	if (p->x.string)
		send_args(p, "\"");
}

static void open_json(struct k_parser *p)
{
	if (p->x.at != CALL || p->x.told != NOTHING) {
		pass(p);
		return;
	}
	p->x.told = WHOLE;
	p->x.at = RAW;
}

/* think and response. In an argument it is what the model writes about. */
static void close_channel(struct k_parser *p)
{
	if (p->x.at < TOOLS)
		leave(p, OUTSIDE);
	else
		pass(p);
}

static void close_tools(struct k_parser *p)
{
	if (p->x.at >= TOOLS)
		leave(p, OUTSIDE);
	else
		pass(p);
}

static void close_call(struct k_parser *p)
{
	if (p->x.at >= CALL)
		leave(p, TOOLS);
	else
		pass(p);
}

static void close_value(struct k_parser *p)
{
	if (p->x.at >= VALUE)
		end_value(p);
	else
		pass(p);
}

/* The tag is whole. */
static void follow(struct k_parser *p)
{
	static const struct { const char *name; void (*open)(struct k_parser *p), (*close)(struct k_parser *p); } tags[] = {
		{ "think", open_think, close_channel }, { "response", open_response, close_channel }, { "tools", open_tools, close_tools },
		{ "call", open_call, close_call }, { "argument", open_argument, close_value }, { "json", open_json, close_value },
		{ "message", end_message, end_message },
	};
	const struct span h = span_of(&p->header);
	const size_t from = space_from(h, 0), n = word_from(h, from, "") - from;
	void (*what)(struct k_parser *p) = spell;

	for (size_t i = 0; i < K_LEN(tags); i++)
		if (strlen(tags[i].name) == n && !memcmp(h.s + from, tags[i].name, n))
			what = p->x.tag == p->x.open ? tags[i].open : tags[i].close;
	what(p);
	p->x.tag = -1;
	k_buf_reset(&p->header);
}

/* --- tokens ------------------------------------------------------------------------------------------------------------- */

static void take_text(struct k_parser *p)
{
	const struct span s = span_of(&p->text);

	if (p->text.failed || !s.n)
		return;
	if (p->x.tag < 0)
		take(p, s);
	else
		k_parse_hold(p, &p->header, s.s, s.n);
	/* No tag is that long: its end was left out. */
	if (p->x.tag >= 0 && p->header.len > K_XTML_TAG) {
		p->x.tag = -1;
		take(p, span_of(&p->header));
		k_buf_reset(&p->header);
	}
}

/* As others see it. */
static int state_of(const struct k_parser *p)
{
	static const int states[N_PLACES] = {
		[OUTSIDE] = K_PARSE_CONTENT, [THOUGHT] = K_PARSE_REASON, [RESPONSE] = K_PARSE_CONTENT, [TOOLS] = K_PARSE_SECTION,
		[CALL] = K_PARSE_ARGS, [VALUE] = K_PARSE_ARGS, [RAW] = K_PARSE_ARGS,
	};

	return p->x.tag >= 0 && p->x.at < CALL ? K_PARSE_HEADER : states[p->x.at];
}

void k_xtml_begin(struct k_parser *p, bool thinking)
{
	p->x = (struct k_xtml){
		.open = k_tokenizer_special(p->t, "<|open|>"), .close = k_tokenizer_special(p->t, "<|close|>"),
		.sep = k_tokenizer_special(p->t, "<|sep|>"), .end = k_tokenizer_special(p->t, "<|end_of_msg|>"),
		.at = thinking ? THOUGHT : RESPONSE, .tag = -1,
	};
	p->state = state_of(p);
}

void k_xtml_put(struct k_parser *p, int32_t id)
{
	const bool begins = id == p->x.open || id == p->x.close, over = id == p->x.end;

	k_buf_reset(&p->text);
	if (id < 0 || begins || over || id == p->x.sep)
		k_decoder_end(&p->dec, &p->text);       /* a character does not go on behind a marker */
	else
		k_decoder_put(&p->dec, id, &p->text);
	take_text(p);
	if (id < 0)
		return;
	/* The next tag ends one whose end was left out. */
	if ((begins || id == p->x.sep) && p->x.tag >= 0)
		follow(p);
	if (begins)
		p->x.tag = id;
	if (over) {
		p->x.tag = -1;
		k_buf_reset(&p->header);
		end_message(p);
	}
	p->state = state_of(p);
}

/* A tag that was cut off was not meant to be read. */
void k_xtml_end(struct k_parser *p)
{
	k_buf_reset(&p->text);
	k_decoder_end(&p->dec, &p->text);
	take_text(p);
	if (p->x.at == OUTSIDE && !p->calls && !p->said)
		k_parse_send(p, K_EVENT_CONTENT, p->held.data, p->held.len);
	k_buf_reset(&p->held);
}
