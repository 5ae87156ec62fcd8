/* requests.c: see requests.h. A recorded request is kept as its numbers; its text is made when it is sent. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "cmd/kbench/requests.h"
#include "evals/stats.h"
#include "libcore/io.h"

enum { PROMPTS = 64, BLOCK = 512, TRIAL = 256, LONGEST = 1 << 22 };
#define FILE_MAX (1u << 30)

struct request {
	char *body;                     /* JSON; NULL: words */
	double at;
	int64_t input, output;          /* tokens */
	struct k_json *blocks;          /* hash ids; may be NULL */
};

struct k_requests {
	struct request *v;
	int64_t n, cap;
	char *name;
	bool timed;
	double tokens_before, tokens_a_word;    /* what a chat with an empty message takes; and each word */
};

int64_t k_requests_len(const struct k_requests *q) { return q->n; }
bool k_requests_timed(const struct k_requests *q) { return q->timed; }
double k_requests_at(const struct k_requests *q, int64_t i) { return q->v[i].at; }

/* --- words ------------------------------------------------------------------------------------------------------------------------- */

static void put_words(struct k_buf *b, uint64_t seed, int64_t n)
{
	static const char *const words[] = { "river", "wisdom", "window", "bread", "garden", "letter", "stone", "lamp", "water", "night", "house",
		"paper", "table", "music", "road", "winter" };
	for (int64_t i = 0; i < n; i++) {
		k_buf_puts(b, words[k_random_below(&seed, K_LEN(words))]);
		k_buf_puts(b, " ");
	}
}

/* The request's own words where it has no blocks: salt is its place. */
static void put_prompt(struct k_buf *b, const struct k_requests *q, const struct request *x, int64_t salt)
{
	int64_t left = llround(fmax(((double)x->input - q->tokens_before) / q->tokens_a_word, 1));
	int64_t block = llround(fmax(BLOCK / q->tokens_a_word, 1));
	for (size_t i = 0; left > 0; i++) {
		const struct k_json *id = k_json_at(x->blocks, i);
		uint64_t seed = id ? (uint64_t)k_json_int(id) * 2 : ((uint64_t)salt << 24 | i) * 2 + 1;
		put_words(b, seed, K_MIN(left, block));
		left -= block;
	}
}

static int put_request(struct k_buf *b, const struct k_requests *q, const char *text, size_t n, int64_t tokens, bool stream, struct k_err *err)
{
	k_buf_puts(b, "{\"model\":");
	k_json_quote(b, q->name, strlen(q->name));
	k_buf_puts(b, ",\"messages\":[{\"role\":\"user\",\"content\":");
	k_json_quote(b, text, n);
	k_buf_printf(b, "}],\"temperature\":0,\"ignore_eos\":true,\"max_tokens\":%lld", (long long)tokens);
	k_buf_puts(b, stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}" : "}");
	return k_buf_ok(b, "a request", err);
}

int k_requests_body(const struct k_requests *q, int64_t i, struct k_buf *b, struct k_err *err)
{
	const struct request *x = &q->v[i];
	struct k_buf text;
	k_buf_reset(b);
	if (x->body) {
		k_buf_puts(b, x->body);
		return k_buf_ok(b, "a request", err);
	}
	k_buf_init(&text, 0);
	put_prompt(&text, q, x, i);
	int r = k_buf_ok(&text, "a prompt", err);
	if (r == 0)
		r = put_request(b, q, text.data, text.len, x->output, true, err);
	k_buf_fini(&text);
	return r;
}

/* Tokens of a prompt of n words, by the server's usage; 0: it does not say. */
static int count_tokens(const struct k_requests *q, struct k_client *client, int64_t n, double *tokens, struct k_err *err)
{
	struct k_buf text, body;
	k_buf_init(&text, 0);
	k_buf_init(&body, 0);
	put_words(&text, 1, n);
	int r = k_buf_ok(&text, "a prompt", err);
	if (r == 0)
		r = put_request(&body, q, text.len ? text.data : "", text.len, 1, false, err);
	struct k_call c = { .path = "/chat/completions", .body = body.data, .n_body = body.len };
	if (r == 0)
		r = k_client_ask(client, &c, err);
	if (r == 0)
		*tokens = k_json_number(k_json_find(k_json_find(c.json, "usage"), "prompt_tokens"));
	k_json_free(c.json);
	k_buf_fini(&text);
	k_buf_fini(&body);
	return r;
}

static int measure_words(struct k_requests *q, struct k_client *client, struct k_err *err)
{
	double one = 0, many = 0;
	int r = count_tokens(q, client, 1, &one, err);
	if (r == 0)
		r = count_tokens(q, client, 1 + TRIAL, &many, err);
	if (r == 0 && many > one) {
		q->tokens_a_word = (many - one) / TRIAL;
		q->tokens_before = fmax(one - q->tokens_a_word, 0);
	}
	return r;
}

/* --- reading ----------------------------------------------------------------------------------------------------------------------- */

static struct request *add(struct k_requests *q, struct k_err *err)
{
	if (q->n == q->cap) {
		int64_t cap = q->cap ? 2 * q->cap : PROMPTS;
		struct request *v = k_realloc(q->v, (size_t)cap * sizeof(*v));
		if (!v) {
			k_err_nomem(err, (size_t)cap * sizeof(*v), "requests");
			return NULL;
		}
		q->v = v;
		q->cap = cap;
	}
	q->v[q->n] = (struct request){ 0 };
	return &q->v[q->n++];
}

/* The line's members, but its time, and what makes it a stream of this model. */
static int keep_body(const struct k_requests *q, struct request *x, const struct k_json *line, struct k_err *err)
{
	struct k_json *o = k_json_object(), *so = k_json_object(), *value;
	struct k_buf b;
	const char *key;
	int bad = !o || !so || k_json_set(so, "include_usage", k_json_new_bool(true)) | k_json_set(so, "continuous_usage_stats", k_json_new_bool(true));
	for (void *it = NULL; !bad && k_json_next(line, &it, &key, &value); )
		if (strcmp(key, "timestamp"))
			bad = k_json_set(o, key, k_json_copy(value));
	if (!bad) {
		bad = k_json_set(o, "stream_options", so) | k_json_set(o, "stream", k_json_new_bool(true)) |
			k_json_set(o, "model", k_json_new_string(q->name, strlen(q->name)));
		so = NULL;
	}
	k_buf_init(&b, 0);
	if (!bad)
		k_json_dump(&b, o, K_JSON_COMPACT);
	b.failed |= bad != 0;
	int r = k_buf_ok(&b, "a request", err);
	if (r == 0 && !(x->body = k_strndup(b.data, b.len)))
		r = k_err_nomem(err, b.len, "a request");
	k_buf_fini(&b);
	k_json_free(so);
	k_json_free(o);
	return r;
}

static int read_line(struct k_requests *q, const char *text, size_t n, const char *what, struct k_err *err)
{
	struct k_json *line;
	double ms = 0;
	int r = k_json_parse(&line, text, n, K_JSON_LAST_WINS, what, err);
	if (r < 0)
		return r;
	bool timed = k_json_find(line, "timestamp"), recorded = !k_json_find(line, "messages");
	struct request *x = add(q, err);
	if (!x)
		r = K_ENOMEM;
	if (r == 0 && (timed || recorded))
		r = k_json_get_num(line, "timestamp", 0, 1e15, &ms, what, err);
	if (r == 0 && q->n > 1 && timed != q->timed)
		r = k_err_set(err, K_EFORMAT, "'%s' has %s timestamp, unlike those before it", what, timed ? "a" : "no");
	if (r == 0 && q->n > 1 && ms / 1e3 < x[-1].at)
		r = k_err_set(err, K_EFORMAT, "'%s': timestamp is %g, before that of the line before it", what, ms);
	q->timed = timed;
	if (r == 0)
		x->at = ms / 1e3;
	if (r == 0 && !recorded)
		r = keep_body(q, x, line, err);
	if (r == 0 && recorded)
		r = k_json_get_int(line, "input_length", 1, LONGEST, &x->input, what, err);
	if (r == 0 && recorded)
		r = k_json_get_int(line, "output_length", 1, LONGEST, &x->output, what, err);
	if (r == 0 && recorded && k_json_kind(k_json_find(line, "hash_ids")) == K_JSON_ARRAY)
		x->blocks = k_json_keep(k_json_find(line, "hash_ids"));
	k_json_free(line);
	return r;
}

static int read_file(struct k_requests *q, const char *file, struct k_client *client, struct k_err *err)
{
	struct k_buf text;
	char what[256];
	int64_t line = 0;
	bool words = false;
	k_buf_init(&text, FILE_MAX);
	int r = k_read_file(file, &text, FILE_MAX, err);
	for (const char *p = text.data, *end = p + text.len, *nl; r == 0 && p && p < end; p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (!nl)
			nl = end;
		snprintf(what, sizeof(what), "%.200s: line %lld", file, (long long)++line);
		if (k_is_blank(p, (size_t)(nl - p)))
			continue;
		r = read_line(q, p, (size_t)(nl - p), what, err);
		words |= r == 0 && !q->v[q->n - 1].body;
	}
	k_buf_fini(&text);
	if (r == 0 && !q->n)
		r = k_err_set(err, K_EFORMAT, "'%s' has no requests", file);
	for (int64_t i = q->n - 1; r == 0 && i >= 0; i--)
		q->v[i].at -= q->v[0].at;
	return r == 0 && words ? measure_words(q, client, err) : r;
}

static int make_up(struct k_requests *q, int64_t tokens, struct k_err *err)
{
	static const char *const words[] = { "river", "wisdom", "window", "bread", "garden", "letter", "stone", "lamp" };
	char text[64];
	int r = 0;
	for (int i = 0; i < PROMPTS && r == 0; i++) {
		struct request *x = add(q, err);
		struct k_buf b;
		int n = snprintf(text, sizeof(text), "%d: what is a %s?", i, words[i % (int)K_LEN(words)]);
		k_buf_init(&b, 0);
		r = x ? put_request(&b, q, text, (size_t)n, tokens, true, err) : K_ENOMEM;
		if (r == 0 && !(x->body = k_strndup(b.data, b.len)))
			r = k_err_nomem(err, b.len, "a request");
		k_buf_fini(&b);
	}
	return r;
}

int k_requests_open(struct k_requests **out, const char *file, const char *name, int64_t tokens, struct k_client *client, struct k_err *err)
{
	struct k_requests *q = k_calloc(1, sizeof(*q));
	*out = NULL;
	if (!q)
		return k_err_nomem(err, sizeof(*q), "requests");
	q->name = k_strdup(name);
	q->tokens_a_word = 1;
	int r = !q->name ? k_err_nomem(err, strlen(name), "requests") : file ? read_file(q, file, client, err) : make_up(q, tokens, err);
	if (r < 0) {
		k_requests_close(q);
		return r;
	}
	*out = q;
	return 0;
}

void k_requests_close(struct k_requests *q)
{
	if (!q)
		return;
	for (int64_t i = 0; i < q->n; i++) {
		k_free(q->v[i].body);
		k_json_free(q->v[i].blocks);
	}
	k_free(q->v);
	k_free(q->name);
	k_free(q);
}
