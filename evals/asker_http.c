/* asker_http.c: a server answers. Each question is one flight of one or more calls:
 *
 *   CHAT, TEXT   /chat/completions, /completions; with "stream" its chunks are put together
 *   SCORE        //tokenize of the whole and of the context, then /completions of the ids with echo and log-probabilities. A server
 *                without /tokenize gets the text, and the answer's text_offset tells where the continuation begins.
 *
 * What a server says about one request (400, 413, 422) is that question's error. What it says about all (no connection, 401, 404, 503
 * after every try) ends the run. 500, or an answer that breaks off or does not come in time, may be either: it is the question's
 * where others are answered. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/asker.h"
#include "evals/client.h"
#include "evals/report.h"
#include "evals/said.h"
#include "libcore/ctx.h"

enum phase { WHOLE, CONTEXT, ASK };
enum { FEW = 4 };                       /* questions, of which none is answered: by chance so many are not odd */

struct flight {
	struct k_call call;
	struct k_ask *q;
	enum phase phase;
	struct k_buf body;
	struct k_json *ids;             /* of the whole text */
	int64_t n_context;              /* tokens */
	struct k_json *stream;          /* what the chunks have said */
	struct k_err stream_err;
	bool held;                      /* failed, and whether others would too is not known yet */
};

struct remote {
	struct k_asker base;
	struct k_client *client;
	char *name;                     /* of the model */
	bool no_tokenizer;              /* there is no /tokenize */
	bool answers;                   /* a question was answered */
};

/* --- the body of a call ------------------------------------------------------------------------------------------------------------ */

static struct k_json *tokenize_request(const struct k_ask *q, bool whole)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	k_buf_put(&b, q->context, whole ? strlen(q->context) : k_ask_context_len(q));
	if (whole)
		k_buf_puts(&b, q->continuation);
	struct k_json *o = k_json_object();
	if (b.failed || !o || (k_json_set(o, "prompt", k_json_new_string(b.len ? b.data : "", b.len)) | k_put_bool(o, "add_special_tokens", false)) < 0) {
		k_json_free(o);
		o = NULL;
	}
	k_buf_fini(&b);
	return o;
}

static struct k_json *score_request(const struct flight *f)
{
	struct k_buf b;
	if (f->ids)
		return k_ask_score_request(k_json_keep(f->ids));
	k_buf_init(&b, 0);
	k_buf_puts(&b, f->q->context);
	k_buf_puts(&b, f->q->continuation);
	struct k_json *o = b.failed ? NULL : k_ask_score_request(k_json_new_string(b.len ? b.data : "", b.len));
	k_buf_fini(&b);
	return o;
}

/* A member of its own: the caller's request stays as it is. */
static struct k_json *named(const struct remote *h, struct k_json *request)
{
	struct k_json *o = k_json_object(), *v;
	const char *key;
	int bad = !o || !request || k_put_str(o, "model", h->name) < 0;
	for (void *it = NULL; !bad && k_json_next(request, &it, &key, &v); )
		if (strcmp(key, "model"))
			bad = k_json_set(o, key, k_json_keep(v)) < 0;
	k_json_free(request);
	if (!bad)
		return o;
	k_json_free(o);
	return NULL;
}

static int on_chunk(struct k_call *c, const char *data, size_t n)
{
	struct flight *f = c->user;
	struct k_json *v;
	if (n == 6 && !memcmp(data, "[DONE]", 6))
		return 0;
	int r = k_json_parse(&v, data, n, K_JSON_LAST_WINS | K_JSON_NUL, "a chunk of the stream", &f->stream_err);
	if (r == 0) {
		r = k_chunk_add(&f->stream, v, &f->stream_err);
		k_json_free(v);
	}
	return r;
}

static void from_the_start(struct k_call *c)
{
	struct flight *f = c->user;
	k_json_free(f->stream);
	f->stream = NULL;
	f->stream_err = (struct k_err){ 0 };
}

static int send(struct remote *h, struct flight *f, struct k_err *err)
{
	struct k_ask *q = f->q;
	bool tokenizes = f->phase != ASK, stream = false;
	struct k_json *o = tokenizes ? tokenize_request(q, f->phase == WHOLE) : q->kind == K_ASK_SCORE ? score_request(f) : k_json_keep(q->request);
	o = named(h, o);
	k_buf_reset(&f->body);
	if (o)
		k_json_dump(&f->body, o, K_JSON_COMPACT);
	stream = q->kind != K_ASK_SCORE && k_json_bool(k_json_find(o, "stream"));
	bool bad = !o || f->body.failed;
	k_json_free(o);
	if (bad)
		return k_err_nomem(err, f->body.len, "a request");
	f->call = (struct k_call){ .path = tokenizes ? "//tokenize" : q->kind == K_ASK_CHAT ? "/chat/completions" : "/completions",
		.body = f->body.data, .n_body = f->body.len, .event = stream ? on_chunk : NULL, .again = stream ? from_the_start : NULL, .user = f };
	return k_client_send(h->client, &f->call, err);
}

/* --- what came back ------------------------------------------------------------------------------------------------------------------ */

static bool about_this(const struct k_call *c)
{
	return c->status == 400 || c->status == 413 || c->status == 422 || c->err.code == K_EFORMAT;
}

/* Of a conversation there are no others: it ends here, and can be resumed. A server that was silent from the start is none. */
static bool perhaps_about_this(const struct remote *h, const struct flight *f)
{
	const struct k_call *c = &f->call;
	return c->err.code == K_EIO && !f->q->session && (c->status == 500 || (c->broke && h->answers));
}

/* 1: another call is due; 0: the question is done; negative: the run is. */
static int landed(struct remote *h, struct flight *f, struct k_err *err)
{
	struct k_ask *q = f->q;
	struct k_call *c = &f->call;
	if (f->phase != ASK && (c->status == 404 || c->status == 405)) {
		h->no_tokenizer = true;
		f->phase = ASK;
		return 1;
	}
	if (f->stream_err.code)
		c->err = f->stream_err;
	f->held = !f->stream_err.code && perhaps_about_this(h, f);
	if (c->err.code && !about_this(c) && !f->stream_err.code && !f->held) {
		*err = c->err;
		return err->code;
	}
	if (c->err.code) {
		q->err = c->err;
		return 0;
	}
	struct k_json *tokens = k_json_find(c->json, "tokens");
	const char *says = k_said_error(c->json);
	if (f->phase != ASK && says)
		return k_err_set(&q->err, K_EIO, "%s/tokenize: the answer is an error: %.200s", k_client_host(h->client), says), 0;
	if (f->phase != ASK && (k_json_kind(tokens) != K_JSON_ARRAY || !k_json_len(tokens)))
		return k_err_set(&q->err, K_EFORMAT, "%s/tokenize: the answer has no tokens", k_client_host(h->client)), 0;
	if (f->phase == WHOLE) {
		f->ids = k_json_keep(tokens);
		f->phase = CONTEXT;
		return 1;
	}
	if (f->phase == CONTEXT) {
		f->n_context = (int64_t)k_json_len(tokens);
		f->phase = ASK;
		return 1;
	}
	if (q->kind == K_ASK_SCORE) {
		if (k_ask_score_answer(q, c->json, f->ids ? f->n_context : -1, (int64_t)k_json_len(f->ids), &q->err) < 0)
			q->logprob = 0;
		return 0;
	}
	if (c->event && !f->stream)
		k_err_set(&q->err, K_EFORMAT, "%s: the stream has no chunks of an answer", k_client_url(h->client));
	else if (k_ask_take(q, c->event ? f->stream : c->json, &q->err) < 0)
		k_err_add(&q->err, "from '%s'", k_client_url(h->client));
	q->seconds = (double)(c->done_ns - c->sent_ns) * 1e-9;
	return 0;
}

/* A question is done. One that is answered tells of those that are held, too, that it was about them; where no question is, of a few at least, the
 * server is broken, and none of them is reported. */
static int settle(struct remote *h, struct flight *f, int64_t n, struct flight *g, int64_t left, struct k_err *err)
{
	int64_t held = 0;
	if (g->held) {
		for (int64_t i = 0; i < n; i++)
			held += f[i].held;
		if (left || held < n || n < FEW)
			return 0;
		*err = g->q->err;
		return err->code;
	}
	h->answers = true;
	g->q->done = true;
	for (int64_t i = 0; i < n; i++)
		f[i].q->done |= f[i].held;
	return h->base.tell ? h->base.tell(h->base.tell_arg, err) : 0;
}

static int fly(struct remote *h, struct flight *f, int64_t n, struct k_err *err)
{
	struct k_call *done;
	int64_t left = n;
	int r = 0;
	for (int64_t i = 0; i < n && r == 0; i++) {
		f[i].phase = f[i].q->kind == K_ASK_SCORE && !h->no_tokenizer && k_ask_context_len(f[i].q) ? WHOLE : ASK;
		r = send(h, &f[i], err);
	}
	while (left && r >= 0) {
		r = k_client_next(h->client, -1, &done, err);
		if (r < 0)
			break;
		struct flight *g = done->user;
		r = landed(h, g, err);
		k_json_free(done->json);
		done->json = NULL;
		if (r == 1) {
			r = send(h, g, err);
		} else if (r == 0) {
			r = settle(h, f, n, g, --left, err);
		}
	}
	return r;
}

static int remote_ask(struct k_asker *a, struct k_ask *v, int64_t n, struct k_err *err)
{
	struct remote *h = (struct remote *)a;
	struct flight *f = k_calloc((size_t)n, sizeof(*f));
	if (!f)
		return k_err_nomem(err, (size_t)n * sizeof(*f), "requests");
	for (int64_t i = 0; i < n; i++) {
		f[i].q = &v[i];
		k_buf_init(&f[i].body, 0);
	}
	int r = fly(h, f, n, err);
	for (int64_t i = 0; i < n; i++) {
		k_client_drop(h->client, &f[i].call);
		k_json_free(f[i].call.json);
		k_buf_fini(&f[i].body);
		k_json_free(f[i].ids);
		k_json_free(f[i].stream);
	}
	k_free(f);
	return r;
}

/* --- the asker ----------------------------------------------------------------------------------------------------------------------- */

/* A server that has no tokenizer route does not tell. */
static int remote_count(struct k_asker *a, const char *text, size_t n, int64_t *tokens, struct k_err *err)
{
	struct remote *h = (struct remote *)a;
	struct k_call c = { .path = "//tokenize" };
	struct k_json *o = k_json_object();
	struct k_buf b;
	k_buf_init(&b, 0);
	int r = !o || k_json_set(o, "prompt", k_json_new_string(text, n)) < 0 ? k_err_nomem(err, n, "a request") : 0;
	o = named(h, o);
	if (r == 0 && o)
		k_json_dump(&b, o, K_JSON_COMPACT);
	k_json_free(o);
	if (r == 0 && (b.failed || !b.len))
		r = k_err_nomem(err, n, "a request");
	c.body = b.data;
	c.n_body = b.len;
	if (r == 0)
		r = k_client_ask(h->client, &c, err);
	bool refuses = r == K_EIO && (c.status == 200 ? k_said_error(c.json) != NULL : c.status >= 400 && c.status < 500);
	*tokens = (int64_t)k_json_len(k_json_find(c.json, "tokens"));
	k_json_free(c.json);
	k_buf_fini(&b);
	return refuses ? 0 : r;
}

static int put_run(struct k_asker *a, struct k_json *o)
{
	return k_put_str(o, "model", ((struct remote *)a)->name);
}

static void remote_close(struct k_asker *a)
{
	struct remote *h = (struct remote *)a;
	k_client_free(h->client);
	k_free(h->name);
	k_free(h);
}

/* The first model that the server lists. */
static int ask_name(struct remote *h, struct k_err *err)
{
	struct k_call c = { .path = "/models" };
	int r = k_client_ask(h->client, &c, err);
	const char *id = k_json_string(k_json_find(k_json_at(k_json_find(c.json, "data"), 0), "id"));
	if (r == 0 && !id)
		r = k_err_set(err, K_EFORMAT, "%s/models lists no model; --name NAME says which", k_client_url(h->client));
	if (r == 0)
		h->name = k_strdup(id);
	k_json_free(c.json);
	return r == 0 && !h->name ? k_err_nomem(err, 64, "a name") : r;
}

int k_asker_http(struct k_asker **out, const struct k_asker_server *o, const struct k_ctx *ctx, struct k_err *err)
{
	struct remote *h = k_calloc(1, sizeof(*h));
	struct k_client_opts co = { .url = o->url, .concurrency = o->concurrency, .rate = o->rate, .timeout = o->timeout, .stop = ctx->stop };
	*out = NULL;
	if (!h)
		return k_err_nomem(err, sizeof(*h), "an asker");
	h->base = (struct k_asker){ .width = 4 * K_MAX(o->concurrency, 1), .talks = true, .served = true, .ask = remote_ask, .count = remote_count, .put_run = put_run, .close = remote_close };
	int r = k_client_new(&h->client, &co, err);
	if (r == 0 && o->name) {
		h->name = k_strdup(o->name);
		r = h->name ? 0 : k_err_nomem(err, 64, "a name");
	} else if (r == 0) {
		r = ask_name(h, err);
	}
	if (r < 0) {
		remote_close(&h->base);
		return r;
	}
	*out = &h->base;
	return 0;
}
