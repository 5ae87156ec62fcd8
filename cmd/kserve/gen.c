/* gen.c: the way of one token: sampler, parser (chat) or decoder (text), stop strings, reply.
 *
 *   logits -> id --parser--> reasoning, calls ------------------> reply
 *                   \------> content -> hold --(no stop in it)--> reply, with the entries of its tokens
 *
 * hold keeps the end of the content that may be the beginning of a stop string. Positions of content are counted in bytes: seen
 * came from the parser, sent went out; the entry of a token (its log-probability) begins at what was seen before it and travels
 * with the text that begins there. What a client sees does not depend on whether it streams. */
#include "libcore/base.h"

#include <stdio.h>

#include "libcore/log.h"
#include "cmd/kserve/gen.h"
#include "cmd/kserve/constraint.h"
#include "cmd/kserve/replay.h"

#define LEAST_LOGPROB -9999.0

struct entry { size_t start; struct k_json *json; };

struct k_gen {
	const struct k_server *s;
	const struct k_request *rq;
	struct k_reply *reply;
	int prompt, choice;
	int64_t limit;                  /* tokens to make at most */
	struct k_sampler sampler;       /* its mask, where there is one, is of the next token */
	struct k_ids out;
	struct k_parser *parser;        /* chat */
	struct k_course *course;        /* where the answer is in its constraint; NULL: free */
	uint64_t mask_ns;
	struct k_decoder dec;           /* text; NULL tokenizer: no text */
	struct k_buf hold, text;        /* text: what one token said; the prompt's with echo */
	size_t seen, sent;
	int64_t chars;                  /* of the text so far, the prompt's with echo */
	struct entry *entries;
	size_t n_entries, cap_entries;
	int64_t thought;                /* tokens of reasoning */
	struct k_ids unthink;           /* what ends them; empty: they have no budget */
	size_t unthought;               /* of that, what was said */
	const char *hit;                /* the stop string that ended it */
	bool complete;                  /* the model ended the turn itself */
	bool failed;                    /* memory gave out within a callback */
};

/* --- entries: log-probabilities of tokens ------------------------------------------------------------------------------------ */

static void token_text(const struct k_gen *g, int32_t id, struct k_buf *out)
{
	size_t len;
	const char *bytes = g->s->tok ? k_tokenizer_bytes(g->s->tok, id, &len) : NULL;
	k_buf_reset(out);
	if (!g->s->tok || g->rq->tokens_as_ids)
		k_buf_printf(out, "token_id:%d", (int)id);
	else if (bytes)
		k_utf8_mend(out, bytes, len);
}

static struct k_json *token_json(const struct k_gen *g, int32_t id)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	token_text(g, id, &b);
	struct k_json *v = b.failed ? NULL : k_json_new_string(b.len ? b.data : "", b.len);
	k_buf_fini(&b);
	return v;
}

static double shown(double logprob) { return logprob < LEAST_LOGPROB ? LEAST_LOGPROB : logprob; }

/* {"token","logprob","bytes"} */
static struct k_json *chat_token(const struct k_gen *g, int32_t id, double logprob)
{
	size_t len = 0;
	const char *bytes = k_tokenizer_bytes(g->s->tok, id, &len);
	struct k_json *o = k_json_object(), *list = k_json_array();
	int bad = !o || !list || k_json_set(o, "token", token_json(g, id)) || k_json_set(o, "logprob", k_json_new_number(shown(logprob)));
	for (size_t i = 0; i < len && !bad; i++)
		bad = k_json_push(list, k_json_new_int((unsigned char)bytes[i]));
	if (bad) {
		k_json_free(o);
		k_json_free(list);
		return NULL;
	}
	if (!k_json_set(o, "bytes", list))
		return o;
	k_json_free(o);
	return NULL;
}

static struct k_json *chat_entry(const struct k_gen *g, int32_t id, double logprob, const struct k_top *top, int n)
{
	struct k_json *o = chat_token(g, id, logprob), *list = k_json_array();
	int bad = !o || !list;
	for (int i = 0; i < n && !bad; i++)
		bad = k_json_push(list, chat_token(g, top[i].id, top[i].logprob));
	if (bad) {
		k_json_free(o);
		k_json_free(list);
		return NULL;
	}
	if (!k_json_set(o, "top_logprobs", list))
		return o;
	k_json_free(o);
	return NULL;
}

/* Of two tokens with the same text the likelier one counts. */
static int put_top(const struct k_gen *g, struct k_json *o, int32_t id, double logprob)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	token_text(g, id, &b);
	const char *key = b.len ? b.data : "";
	const struct k_json *old = k_json_find(o, key);
	int rc = b.failed ? -1 : 0;
	if (!rc && (!old || k_json_number(old) < shown(logprob)))
		rc = k_json_set(o, key, k_json_new_number(shown(logprob)));
	k_buf_fini(&b);
	return rc;
}

/* One row of the columns of a text completion. have: false for the first token of a prompt. */
static struct k_json *text_entry(const struct k_gen *g, int32_t id, bool have, double logprob, const struct k_top *top, int n)
{
	struct k_json *o = k_json_object();
	int bad = !o || k_json_set(o, "tokens", token_json(g, id)) || k_json_set(o, "text_offset", k_json_new_int(g->chars)) ||
		k_json_set(o, "token_logprobs", have ? k_json_new_number(shown(logprob)) : k_json_new_null());
	struct k_json *tops = !have ? k_json_new_null() : k_json_object();
	bad |= !tops;
	for (int i = 0; i < n && have && !bad; i++)
		bad |= put_top(g, tops, top[i].id, top[i].logprob);
	if (have && !bad)
		bad |= put_top(g, tops, id, logprob);
	if (bad) {
		k_json_free(o);
		k_json_free(tops);
		return NULL;
	}
	if (!k_json_set(o, "top_logprobs", tops))
		return o;
	k_json_free(o);
	return NULL;
}

/* logits NULL: the token has no probability (the first of a prompt). */
static int add_entry(struct k_gen *g, int32_t id, const float *logits, size_t start, struct k_err *err)
{
	struct k_top top[K_MAX_TOP];
	double logprob = 0;
	int n = 0;
	if (logits) {
		int32_t vocab = (int32_t)g->s->hp->n_vocab;
		logprob = (float)k_logprob(logits, vocab, id);
		if (g->rq->top_logprobs > 0)
			n = k_logprob_top(logits, vocab, top, (int)g->rq->top_logprobs);
		/* The same number in both places, to the last bit: clients compare them. */
		for (int i = 0; i < n; i++) {
			if (top[i].id == id)
				logprob = top[i].logprob;
		}
	}
	if (g->n_entries == g->cap_entries) {
		size_t cap = g->cap_entries ? 2 * g->cap_entries : 64;
		struct entry *v = k_realloc(g->entries, cap * sizeof(*v));
		if (!v)
			return k_err_nomem(err, cap * sizeof(*v), "log-probabilities");
		g->entries = v;
		g->cap_entries = cap;
	}
	struct k_json *e = g->rq->kind == K_KIND_CHAT ? chat_entry(g, id, logprob, top, n)
		: text_entry(g, id, logits != NULL, logprob, top, n);
	if (!e)
		return k_err_nomem(err, 1024, "log-probabilities");
	g->entries[g->n_entries++] = (struct entry){ start, e };
	return 0;
}

/* Takes the entries that begin before a position; NULL when log-probabilities are not wanted. */
static struct k_json *take_entries(struct k_gen *g, size_t before)
{
	if (!g->rq->logprobs)
		return NULL;
	struct k_json *list = k_json_array();
	size_t n = 0;
	while (n < g->n_entries && g->entries[n].start < before) {
		if (!list || k_json_push(list, g->entries[n].json))
			g->failed = true;
		n++;
	}
	if (n)
		memmove(g->entries, g->entries + n, (g->n_entries - n) * sizeof(*g->entries));
	g->n_entries -= n;
	g->failed |= !list;
	return list;
}

/* Tokens whose text the parser dropped, white space before a call, are not part of the content. */
static void drop_entries(struct k_gen *g)
{
	for (size_t i = 0; i < g->n_entries; i++)
		k_json_free(g->entries[i].json);
	g->n_entries = 0;
}

/* --- stop strings ----------------------------------------------------------------------------------------------------------- */

static void send_held(struct k_gen *g, size_t n)
{
	if (!n)
		return;
	g->sent += n;
	k_reply_text(g->reply, g->choice, K_EVENT_CONTENT, g->hold.data, n, take_entries(g, g->sent));
	memmove(g->hold.data, g->hold.data + n, g->hold.len - n + 1);
	g->hold.len -= n;
}

/* The stop string that begins first in b, NULL for none. */
static const char *find_stop(const struct k_gen *g, const struct k_buf *b, size_t *at)
{
	const char *found = NULL;
	for (int i = 0; i < g->rq->n_stops; i++) {
		const char *stop = g->rq->stops[i];
		const char *p = memmem(b->data, b->len, stop, strlen(stop));
		if (p && (!found || (size_t)(p - b->data) < *at)) {
			found = stop;
			*at = (size_t)(p - b->data);
		}
	}
	return found;
}

/* Bytes at the end of what is held that a stop string begins with. */
static size_t may_stop(const struct k_gen *g)
{
	size_t longest = 0;
	for (int i = 0; i < g->rq->n_stops; i++) {
		size_t len = strlen(g->rq->stops[i]);
		for (size_t k = K_MIN(len - 1, g->hold.len); k > longest; k--) {
			if (!memcmp(g->hold.data + g->hold.len - k, g->rq->stops[i], k))
				longest = k;
		}
	}
	return longest;
}

static void put_content(struct k_gen *g, const char *s, size_t n)
{
	size_t at = 0;
	if (g->hit || !n)
		return;
	k_buf_put(&g->hold, s, n);
	if (g->hold.failed) {
		g->failed = true;
		return;
	}
	g->seen += n;
	for (size_t i = 0; i < n; i++)
		g->chars += (s[i] & 0xc0) != 0x80;
	g->hit = find_stop(g, &g->hold, &at);
	if (g->hit)
		send_held(g, at + (g->rq->include_stop ? strlen(g->hit) : 0));
	else
		send_held(g, g->hold.len - may_stop(g));
}

static int on_event(void *arg, const struct k_event *ev)
{
	struct k_gen *g = arg;
	if (g->hit)
		return 0;
	if (ev->kind == K_EVENT_CONTENT) {
		put_content(g, ev->text, ev->len);
		return 0;
	}
	send_held(g, g->hold.len);      /* what comes now ends the run of content */
	drop_entries(g);
	if (ev->kind == K_EVENT_REASONING)
		k_reply_text(g->reply, g->choice, K_EVENT_REASONING, ev->text, ev->len, NULL);
	else if (ev->kind == K_EVENT_CALL)
		k_reply_call(g->reply, g->choice, ev->id, ev->name);
	else
		k_reply_args(g->reply, g->choice, ev->call, ev->text, ev->len);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

static void init_sampler(struct k_gen *g, int64_t copy)
{
	const struct k_request *rq = g->rq;
	struct k_sampler *s = &g->sampler;
	k_sampler_init(s);
	s->temperature = (float)rq->temperature;
	s->top_p = (float)rq->top_p;
	s->min_p = (float)rq->min_p;
	s->presence = (float)rq->presence;
	s->frequency = (float)rq->frequency;
	s->repetition = (float)rq->repetition;
	s->top_k = (int)rq->top_k;
	s->seed = (uint64_t)rq->seed;
	s->choice = (uint32_t)copy;
	s->bias = rq->bias;
	s->prompt = rq->prompts[g->prompt].v;
	s->n_prompt = rq->prompts[g->prompt].n;
}

int k_gen_new(struct k_gen **out, const struct k_server *s, const struct k_request *rq, struct k_reply *r, int prompt, int choice,
	struct k_err *err)
{
	struct k_gen *g = k_calloc(1, sizeof(*g));
	if (!g)
		return k_err_nomem(err, sizeof(*g), "a choice");
	g->s = s;
	g->rq = rq;
	g->reply = r;
	g->prompt = prompt;
	g->choice = choice;
	int64_t room = s->n_ctx - (int64_t)rq->prompts[prompt].n;
	g->limit = rq->max_tokens < 0 ? room : K_MIN(rq->max_tokens, room);
	k_ids_init(&g->out);
	k_ids_init(&g->unthink);
	k_buf_init(&g->hold, 0);
	k_buf_init(&g->text, 0);
	init_sampler(g, rq->kind == K_KIND_CHAT ? choice : choice % rq->n);
	if (s->tok)
		k_decoder_init(&g->dec, s->tok, rq->echo || rq->show_special);
	if (rq->kind == K_KIND_CHAT) {
		int rc = k_parser_new(&g->parser, s->layout, s->tok, rq->tools, rq->n_used, &rq->chat, on_event, g, err);
		if (!rc && rq->n_used)
			rc = k_parser_history(g->parser, k_json_given(rq->body, "messages"), err);
		if (!rc && rq->think_budget >= 0)
			rc = k_chat_unthink(s->layout, s->tok, &g->unthink, err);
		if (rc) {
			k_gen_free(g);
			return rc;
		}
	}
	if (rq->constraint) {
		int rc = k_course_new(&g->course, s, rq, g->parser, err);
		if (rc) {
			k_gen_free(g);
			return rc;
		}
	}
	*out = g;
	return 0;
}

void k_gen_free(struct k_gen *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n_entries; i++)
		k_json_free(g->entries[i].json);
	k_free(g->entries);
	k_parser_free(g->parser);
	k_course_free(g->course);
	k_ids_fini(&g->out);
	k_ids_fini(&g->unthink);
	k_buf_fini(&g->hold);
	k_buf_fini(&g->text);
	k_free(g);
}

/* --- the prompt -------------------------------------------------------------------------------------------------------------- */

bool k_gen_wants_prompt(const struct k_gen *g) { return g->rq->echo && g->rq->logprobs; }

static int echo_token(struct k_gen *g, int32_t id, const float *logits, struct k_err *err)
{
	int rc = g->rq->logprobs ? add_entry(g, id, logits, 0, err) : 0;
	size_t before = g->text.len;
	if (g->s->tok)
		k_decoder_put(&g->dec, id, &g->text);
	for (size_t i = before; i < g->text.len; i++)
		g->chars += (g->text.data[i] & 0xc0) != 0x80;
	return rc;
}

int k_gen_prompt_row(struct k_gen *g, int64_t pos, const float *logits, struct k_err *err)
{
	const struct k_ids *p = &g->rq->prompts[g->prompt];
	int rc = pos == 0 ? echo_token(g, p->v[0], NULL, err) : 0;
	if (!rc && pos + 1 < (int64_t)p->n)
		rc = echo_token(g, p->v[pos + 1], logits, err);
	return rc;
}

static int failure(const struct k_gen *g, struct k_err *err)
{
	return g->failed || g->text.failed || g->reply->broken ? k_err_nomem(err, g->hold.len, "an answer") : 0;
}

/* Sends the prompt; from here on the decoder shows what answers show. */
static int echo(struct k_gen *g, struct k_err *err)
{
	const struct k_ids *p = &g->rq->prompts[g->prompt];
	int rc = 0;
	for (size_t i = 0; i < p->n && !rc && !g->rq->logprobs; i++)
		rc = echo_token(g, p->v[i], NULL, err);
	if (rc)
		return rc;
	if (g->s->tok) {
		size_t before = g->text.len;
		k_decoder_end(&g->dec, &g->text);
		for (size_t i = before; i < g->text.len; i++)
			g->chars += (g->text.data[i] & 0xc0) != 0x80;
		k_decoder_init(&g->dec, g->s->tok, g->rq->show_special);
	}
	k_reply_text(g->reply, g->choice, K_EVENT_CONTENT, g->text.len ? g->text.data : "", g->text.len, take_entries(g, 1));
	return 0;
}

/* --- tokens ------------------------------------------------------------------------------------------------------------------ */

static int64_t stop_index(const struct k_gen *g, int32_t id)
{
	for (size_t i = 0; i < g->rq->stop_ids.n; i++) {
		if (g->rq->stop_ids.v[i] == id)
			return (int64_t)i;
	}
	return -1;
}

/* A turn that the client can send back: its tokens, without the one that ended it. */
static void remember(const struct k_gen *g)
{
	const struct k_request *rq = g->rq;
	if (g->s->replay && g->parser && !rq->chat.continue_final && g->out.n > 1 && (rq->include_reasoning || !g->thought))
		k_replay_put(g->s->replay, &rq->prompts[g->prompt], g->out.v, g->out.n - 1, &g->reply->choices[g->choice]);
}

/* Ends the choice: what is held goes out, unless a stop string cut it. */
static int finish(struct k_gen *g, const char *why, int32_t stop_id, struct k_err *err)
{
	int rc = 0;
	if (!g->hit && g->parser) {
		rc = k_parser_end(g->parser, err);
	} else if (!g->hit && g->s->tok) {
		k_buf_reset(&g->text);
		k_decoder_end(&g->dec, &g->text);
		put_content(g, g->text.data, g->text.len);
	}
	if (!g->hit)
		send_held(g, g->hold.len);
	else
		why = "stop";           /* also where the last characters came only now */
	struct k_json *reason = g->hit ? k_json_new_string(g->hit, strlen(g->hit)) : stop_id >= 0 ? k_json_new_int(stop_id) : NULL;
	if (g->parser && k_parser_calls(g->parser) > 0 && !strcmp(why, "stop"))
		why = "tool_calls";
	if (g->parser)
		drop_entries(g);
	if (g->complete && !g->hit)
		remember(g);
	k_reply_end(g->reply, g->choice, why, reason, take_entries(g, g->hit ? g->sent : SIZE_MAX));
	return rc ? rc : failure(g, err);
}

static int mask(struct k_gen *g, struct k_err *err)
{
	uint64_t began = k_now_ns();
	if (g->sampler.mask)
		return 0;
	g->sampler.mask = k_course_mask(g->course, &g->sampler.n_mask);
	g->mask_ns += k_now_ns() - began;
	return g->sampler.mask ? 0 : k_err_nomem(err, 1 << 16, "the mask of an answer");
}

static int go_on(struct k_gen *g, int32_t id, struct k_err *err)
{
	uint64_t began = k_now_ns();
	int rc = k_course_put(g->course, id, err);
	g->sampler.mask = NULL;
	g->mask_ns += k_now_ns() - began;
	return rc;
}

uint64_t k_gen_mask_ns(const struct k_gen *g) { return g->mask_ns; }

const uint64_t *k_gen_repairs(const struct k_gen *g) { return g->parser ? k_parser_repairs(g->parser) : NULL; }

/* What the sampler sees of the answer so far. */
static void look_back(const struct k_gen *g, struct k_sampler *s)
{
	s->out = g->out.v;
	s->n_out = g->out.n;
	s->n_bias = (int64_t)g->out.n < g->rq->min_tokens ? g->rq->n_bias_min : g->rq->n_bias;
}

bool k_gen_draw(const struct k_gen *g, struct k_draw *out)
{
	struct k_sampler s = g->sampler;
	look_back(g, &s);
	return !g->course && !g->rq->logprobs && k_sample_draw(&s, out);
}

/* Thoughts have used up their budget, or their end is being said: its next token. -1: neither. */
static int32_t end_of_thoughts(const struct k_gen *g)
{
	bool enough = g->unthink.n && g->thought >= g->rq->think_budget && k_parser_state(g->parser) == K_PARSE_REASON;
	return enough || g->unthought ? g->unthink.v[g->unthought] : -1;
}

/* The next token, where it does not depend on the logits; else -1. */
static int known(struct k_gen *g, int32_t *id, struct k_err *err)
{
	*id = end_of_thoughts(g);
	if (*id >= 0 || !g->course)
		return 0;
	int rc = mask(g, err);
	if (!rc)
		*id = k_sample_only(&g->sampler, (int32_t)g->s->hp->n_vocab);
	return rc;
}

static int choose(struct k_gen *g, int32_t drawn, const float *logits, void *scratch, int32_t *id, struct k_err *err)
{
	int rc = known(g, id, err);
	if (rc || *id >= 0)
		return rc;
	look_back(g, &g->sampler);
	*id = drawn >= 0 ? drawn : k_sample(&g->sampler, logits, (int32_t)g->s->hp->n_vocab, scratch, err);
	return *id < 0 ? *id : 0;
}

/* Text of the token into the reply; afterwards g->hit may be set. */
static int say(struct k_gen *g, int32_t id, const float *logits, struct k_err *err)
{
	size_t start = g->seen;
	int rc = 0;
	if (!g->parser) {
		rc = g->rq->logprobs ? add_entry(g, id, logits, start, err) : 0;
		k_buf_reset(&g->text);
		if (g->s->tok && !rc)
			k_decoder_put(&g->dec, id, &g->text);
		if (!rc)
			put_content(g, g->text.data, g->text.len);
		return rc;
	}
	/* Only tokens of the content have an entry, and it must be there before the text goes out. */
	int before = k_parser_state(g->parser);
	bool content = (before == K_PARSE_CONTENT || before == K_PARSE_START) && !k_tokenizer_is_special(g->s->tok, id);
	if (content && g->rq->logprobs)
		rc = add_entry(g, id, logits, start, err);
	if (!rc)
		rc = k_parser_put(g->parser, id, err);
	/* White space that content has not begun behind is not said, but it stops. */
	const struct k_buf *lead = k_parser_lead(g->parser);
	size_t at = 0;
	if (lead && !rc && !g->hit)
		g->hit = find_stop(g, lead, &at);
	return rc;
}

/* The one call that it may have is whole. A course tells what follows, which costs no step: so the turn ends as histories have it, and is remembered. */
static bool called(const struct k_gen *g)
{
	return g->parser && !g->rq->parallel_calls && k_parser_calls(g->parser) > 0 && k_parser_state(g->parser) != K_PARSE_ARGS;
}

/* The answer goes on with id. 1: and on; 0: it is done. */
static int take(struct k_gen *g, int32_t id, const float *logits, struct k_ids *ids, struct k_err *err)
{
	int rc = k_ids_put(&g->out, id, err);
	if (!rc)
		rc = k_ids_put(ids, id, err);
	if (rc)
		return rc;
	int state = g->parser ? k_parser_state(g->parser) : K_PARSE_CONTENT;
	if (end_of_thoughts(g) >= 0)
		g->unthought = (g->unthought + 1) % g->unthink.n;
	g->thought += state == K_PARSE_REASON;
	k_reply_token(g->reply, g->choice, id, state == K_PARSE_REASON);
	int64_t stop = stop_index(g, id);
	if (stop >= 0) {
		if (!g->parser && g->rq->logprobs && (rc = add_entry(g, id, logits, g->seen, err)))
			return rc;
		g->complete = stop < (int64_t)g->rq->n_eos;
		return finish(g, "stop", g->complete ? -1 : id, err);
	}
	if (g->course)
		rc = go_on(g, id, err);
	if (!rc)
		rc = say(g, id, logits, err);
	if (!rc)
		rc = failure(g, err);
	if (rc)
		return rc;
	if (g->hit)
		return finish(g, "stop", -1, err);
	if (called(g) && !g->course)
		return finish(g, "stop", -1, err);
	if ((int64_t)g->out.n >= g->limit)
		return finish(g, called(g) ? "stop" : "length", -1, err);
	return 1;
}

/* What is known goes ahead of the logits, but where each token is to have its log-probability. */
static int go_ahead(struct k_gen *g, struct k_ids *ids, struct k_err *err)
{
	for (;;) {
		int32_t id = -1;
		int rc = g->rq->logprobs ? 0 : known(g, &id, err);
		if (rc || id < 0)
			return rc ? rc : 1;
		rc = take(g, id, NULL, ids, err);
		if (rc != 1)
			return rc;
	}
}

int k_gen_next(struct k_gen *g, int32_t drawn, const float *logits, void *scratch, struct k_ids *ids, struct k_err *err)
{
	int32_t id;
	int rc = choose(g, drawn, logits, scratch, &id, err);
	if (rc == K_ENO) {
		k_logf(g->s->log, K_LOG_WARN, "every token is masked: the answer ends here");
		return finish(g, "stop", -1, err);
	}
	if (!rc)
		rc = take(g, id, logits, ids, err);
	return rc == 1 ? go_ahead(g, ids, err) : rc;
}

bool k_gen_knows_first(struct k_gen *g)
{
	struct k_err err = { 0 };
	int32_t id;
	return g->limit > 0 && !g->rq->logprobs && !known(g, &id, &err) && id >= 0;
}

int k_gen_start(struct k_gen *g, struct k_ids *ids, struct k_err *err)
{
	k_reply_start(g->reply, g->choice);
	int rc = g->rq->echo ? echo(g, err) : 0;
	if (!rc)
		rc = failure(g, err);
	if (!rc && g->limit > 0)
		return go_ahead(g, ids, err);
	if (!rc)
		k_reply_end(g->reply, g->choice, "length", NULL, NULL);
	return rc ? rc : failure(g, err);
}

int k_gen_abort(struct k_gen *g, struct k_err *err) { return finish(g, "abort", -1, err); }
