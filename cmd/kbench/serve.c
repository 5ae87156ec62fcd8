/* serve.c: load on an OpenAI-compatible server: how many requests and tokens a second, and how long for the first token and for each that follows.
 *
 *   closed loop   --concurrency streams, each asks again when it has its answer (429 and 503: after Retry-After)
 *   open loop     --rate arrivals a second, at random distances, whatever the server does
 *
 * Every request is a stream of a chat (made up, 64 different prompts, greedy, or the lines of -f in turn). Tokens are those that usage counts, with
 * each chunk where the server says so, not chunks. Of the streams some may read slowly (--slow) and some are dropped on the way (--abandon): what is
 * measured is the others. Answers to the same made-up prompt must be the same. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "cmd/kbench/bench.h"
#include "evals/client.h"
#include "evals/stats.h"
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/log.h"

enum { PROMPTS = 64, MAX_STREAMS = 4096, SLOW_BYTES = 512, GRACE_SECONDS = 30 };
#define FILE_MAX (256u << 20)

struct samples { double *v; size_t n, cap; };

/* How calls ended. answered and refused are what a server may say; the others are errors. */
enum ending { ANSWERED, REFUSED, ABANDONED, REJECTED, FAILED, CUT, UNREACHABLE, N_ENDINGS };
static const char *const endings[] = { "answered", "refused", "abandoned", "rejected", "failed", "cut", "unreachable" };

struct load;
struct stream {
	struct k_call call;
	struct load *l;
	bool busy, slow, begun;
	int64_t prompt, tokens, drop_at;        /* drop_at: tokens after which it is dropped; 0: never */
	uint64_t first_ns, last_ns, hash;
};

struct load {
	struct k_bench *b;
	struct k_client *client;
	struct k_buf *body;             /* of each prompt */
	int64_t n_body, n_streams, next;
	struct stream *stream;
	uint64_t *said;                 /* hash of the first answer to each prompt; 0: none yet */
	bool made_up;
	uint64_t random, start_ns, end_ns;
	double next_arrival;            /* open loop: seconds from the start */
	int64_t count[N_ENDINGS], done, tokens, mismatches, late;
	char error[320];                /* the first that was one */
	struct samples ttft, tpot, itl;
};

static double draw(struct load *l)
{
	return ((double)(k_random_next(&l->random) >> 11) + 0.5) * 0x1p-53;
}

static int keep(struct samples *s, double x, struct k_err *err)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 4096;
		double *v = k_realloc(s->v, cap * sizeof(*v));
		if (!v)
			return k_err_nomem(err, cap * sizeof(*v), "latencies");
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = x;
	return 0;
}

/* --- requests ----------------------------------------------------------------------------------------------------------------------------- */

static int put_options(struct k_json *o, const char *name)
{
	struct k_json *so = k_json_object();
	if (!so || (k_put_bool(so, "include_usage", true) | k_put_bool(so, "continuous_usage_stats", true)) < 0) {
		k_json_free(so);
		return -1;
	}
	return k_json_set(o, "stream_options", so) | k_put_bool(o, "stream", true) | k_put_str(o, "model", name);
}

static struct k_json *make_up(const struct k_bench *b, int64_t i)
{
	static const char *const words[] = { "river", "wisdom", "window", "bread", "garden", "letter", "stone", "lamp" };
	struct k_json *o;
	struct k_err err;
	char text[256];
	int n = snprintf(text, sizeof(text), "{\"messages\":[{\"role\":\"user\",\"content\":\"%lld: what is a %s?\"}],\"temperature\":0,"
		"\"ignore_eos\":true,\"max_tokens\":%lld}", (long long)i, words[i % (int64_t)K_LEN(words)], (long long)(b->tokens ? b->tokens : 32));
	return k_json_parse(&o, text, (size_t)n, K_JSON_STRICT, "a request", &err) == 0 ? o : NULL;
}

static int add_body(struct load *l, struct k_json *request, const char *name, struct k_err *err)
{
	struct k_buf *b = &l->body[l->n_body];
	k_buf_init(b, 0);
	l->n_body++;
	if (!request || put_options(request, name) < 0)
		b->failed = true;
	else
		k_json_dump(b, request, K_JSON_COMPACT);
	k_json_free(request);
	return k_buf_ok(b, "a request", err);
}

static int read_trace(struct load *l, const char *name, struct k_err *err)
{
	struct k_buf text;
	char what[256];
	int64_t line = 0;
	k_buf_init(&text, FILE_MAX);
	int r = k_read_file(l->b->file, &text, FILE_MAX, err);
	for (char *p = text.data, *nl; r == 0 && p && *p; p = nl ? nl + 1 : p + strlen(p)) {
		struct k_json *v;
		nl = strchr(p, '\n');
		size_t n = nl ? (size_t)(nl - p) : strlen(p);
		snprintf(what, sizeof(what), "%.200s: line %lld", l->b->file, (long long)++line);
		if (!n)
			continue;
		struct k_buf *more = k_realloc(l->body, (size_t)(l->n_body + 1) * sizeof(*l->body));
		if (!more)
			r = k_err_nomem(err, sizeof(*more), "requests");
		else
			l->body = more;
		if (r == 0)
			r = k_json_parse(&v, p, n, K_JSON_LAST_WINS, what, err);
		if (r == 0)
			r = add_body(l, v, name, err);
	}
	k_buf_fini(&text);
	return r == 0 && !l->n_body ? k_err_set(err, K_EFORMAT, "'%s' has no requests", l->b->file) : r;
}

/* The model's name, and what is asked. */
static int prepare(struct load *l, struct k_err *err)
{
	struct k_call c = { .path = "/models" };
	const char *name = l->b->name;
	int r = name ? 0 : k_client_ask(l->client, &c, err);
	if (r == 0 && !name)
		name = k_json_string(k_json_find(k_json_at(k_json_find(c.json, "data"), 0), "id"));
	if (r == 0 && !name)
		r = k_err_set(err, K_EFORMAT, "%s/models lists no model; --name NAME says which", l->b->url);
	l->made_up = !l->b->file;
	if (r == 0 && l->made_up) {
		l->body = k_calloc(PROMPTS, sizeof(*l->body));
		r = l->body ? 0 : k_err_nomem(err, sizeof(*l->body), "requests");
		for (int64_t i = 0; i < PROMPTS && r == 0; i++)
			r = add_body(l, make_up(l->b, i), name, err);
	} else if (r == 0) {
		r = read_trace(l, name, err);
	}
	l->said = r == 0 ? k_calloc((size_t)l->n_body, sizeof(*l->said)) : NULL;
	k_json_free(c.json);
	return r == 0 && !l->said ? k_err_nomem(err, 64, "requests") : r;
}

/* --- a stream -------------------------------------------------------------------------------------------------------------------------------- */

static void mix(uint64_t *h, const char *s)
{
	for (; s && *s; s++)
		*h = (*h ^ (unsigned char)*s) * 0x100000001b3u;
}

/* Does the chunk say something? What it says goes into the hash. */
static bool speaks(struct stream *s, const struct k_json *delta)
{
	const char *content = k_json_string(k_json_find(delta, "content")), *thought = k_json_string(k_json_find(delta, "reasoning_content"));
	const struct k_json *calls = k_json_find(delta, "tool_calls");
	bool any = (content && *content) || (thought && *thought) || k_json_len(calls);
	mix(&s->hash, content);
	mix(&s->hash, thought);
	for (size_t i = 0; i < k_json_len(calls); i++)
		mix(&s->hash, k_json_string(k_json_find(k_json_find(k_json_at(calls, i), "function"), "arguments")));
	return any;
}

static int on_chunk(struct k_call *c, const char *data, size_t n)
{
	struct stream *s = c->user;
	struct load *l = s->l;
	struct k_err err;
	struct k_json *v;
	uint64_t now = k_now_ns();
	if (n == 6 && !memcmp(data, "[DONE]", 6))
		return 0;
	if (k_json_parse(&v, data, n, K_JSON_LAST_WINS | K_JSON_NUL, "a chunk", &err) < 0)
		return 1;
	const struct k_json *choice = k_json_at(k_json_find(v, "choices"), 0), *usage = k_json_find(v, "usage");
	if (k_json_kind(usage) != K_JSON_OBJECT)
		usage = k_json_find(choice, "usage");
	bool spoke = speaks(s, k_json_find(choice, "delta")), error = k_json_kind(k_json_find(v, "error")) == K_JSON_OBJECT;
	int64_t tokens = k_json_kind(usage) == K_JSON_OBJECT ? k_json_int(k_json_find(usage, "completion_tokens")) : s->tokens + spoke;
	int64_t fresh = K_MAX(tokens - s->tokens, 0);
	int bad = 0;
	if (fresh) {
		double gap = s->begun ? (double)(now - s->last_ns) * 1e-6 / (double)fresh : 0;
		for (int64_t i = 0; i < fresh && s->begun && !s->slow && !bad; i++)
			bad = keep(&l->itl, gap, &err);
		if (!s->begun)
			s->first_ns = now;
		s->begun = true;
		s->last_ns = now;
		s->tokens = tokens;
		l->tokens += now < l->end_ns ? fresh : 0;
	}
	k_json_free(v);
	return bad || error || (s->drop_at && s->tokens >= s->drop_at);
}

static int begin(struct load *l, struct stream *s, double after, struct k_err *err)
{
	const struct k_buf *body = &l->body[l->next % l->n_body];
	int64_t most = l->b->tokens ? l->b->tokens : 32;
	s->l = l;
	s->busy = true;
	s->begun = false;
	s->slow = s - l->stream < l->b->slow;
	s->prompt = l->next++ % l->n_body;
	s->tokens = 0;
	s->hash = 0xcbf29ce484222325u;
	s->drop_at = draw(l) < l->b->abandon ? 1 + (int64_t)(draw(l) * (double)most) : 0;
	s->call = (struct k_call){ .path = "/chat/completions", .body = body->data, .n_body = body->len, .once = true, .event = on_chunk, .user = s,
		.after = after, .read_rate = s->slow ? SLOW_BYTES : 0 };
	return k_client_send(l->client, &s->call, err);
}

static enum ending ending_of(const struct stream *s)
{
	const struct k_call *c = &s->call;
	if (!c->err.code)
		return ANSWERED;
	if (c->status == 429 || c->status == 503)
		return REFUSED;
	if (c->err.code == K_ECANCEL && s->drop_at && s->tokens >= s->drop_at)
		return ABANDONED;
	if (c->status >= 400)
		return c->status < 500 ? REJECTED : FAILED;
	return c->status == 200 ? CUT : UNREACHABLE;
}

static int finished(struct load *l, struct stream *s, struct k_err *err)
{
	enum ending how = ending_of(s);
	int r = 0;
	l->count[how]++;
	s->busy = false;
	if (how > ABANDONED && !*l->error)
		snprintf(l->error, sizeof(l->error), "%.310s", s->call.err.msg);
	if (how != ANSWERED)
		return 0;
	l->done += s->call.done_ns < l->end_ns;
	if (l->said[s->prompt] && l->said[s->prompt] != s->hash)
		l->mismatches++;
	if (!l->said[s->prompt])
		l->said[s->prompt] = s->hash;
	if (s->slow || !s->begun)
		return 0;
	r = keep(&l->ttft, (double)(s->first_ns - s->call.sent_ns) * 1e-6, err);
	if (r == 0 && s->tokens > 1)
		r = keep(&l->tpot, (double)(s->last_ns - s->first_ns) * 1e-6 / (double)(s->tokens - 1), err);
	return r;
}

/* --- the loop ---------------------------------------------------------------------------------------------------------------------------------- */

static struct stream *idle(struct load *l)
{
	for (int64_t i = 0; i < l->n_streams; i++)
		if (!l->stream[i].busy)
			return &l->stream[i];
	return NULL;
}

/* Open loop: those whose time has come. */
static int arrive(struct load *l, uint64_t now, struct k_err *err)
{
	double t = (double)(now - l->start_ns) * 1e-9;
	int r = 0;
	while (r == 0 && l->next_arrival <= t) {
		struct stream *s = idle(l);
		if (s)
			r = begin(l, s, 0, err);
		else
			l->late++;              /* more in flight than this client holds */
		l->next_arrival -= log(draw(l)) / l->b->rate;
	}
	return r;
}

static int pump(struct load *l, struct k_err *err)
{
	bool open = l->b->rate > 0;
	uint64_t grace = l->end_ns + GRACE_SECONDS * 1000000000ull, now;
	int64_t flying = 0;
	int r = 0;
	for (int64_t i = 0; i < l->n_streams && r == 0 && !open; i++, flying++)
		r = begin(l, &l->stream[i], 0, err);
	while (r == 0 && (now = k_now_ns()) < grace) {
		struct k_call *done;
		if (open && now < l->end_ns)
			r = arrive(l, now, err);
		if (r == 0)
			r = k_client_next(l->client, 2, &done, err);
		if (r < 0)
			break;
		struct stream *s = done ? done->user : NULL;
		if (s) {
			r = finished(l, s, err);
			k_json_free(s->call.json);
			s->call.json = NULL;
			if (r == 0 && !open && k_now_ns() < l->end_ns)
				r = begin(l, s, s->call.err.code && s->call.status ? K_MAX(s->call.retry_after, 0) : s->call.status ? 0 : 0.1, err);
		}
		flying = 0;
		for (int64_t i = 0; i < l->n_streams; i++)
			flying += l->stream[i].busy && !(l->stream[i].slow && now >= l->end_ns);
		if (!flying && now >= l->end_ns)
			break;
	}
	for (int64_t i = 0; i < l->n_streams; i++) {
		k_client_drop(l->client, &l->stream[i].call);
		k_json_free(l->stream[i].call.json);
		l->stream[i].call.json = NULL;
		l->stream[i].busy = false;
	}
	return r;
}

/* --- the record ---------------------------------------------------------------------------------------------------------------------------------- */

/* NAME{p50, p90, p99, max}, and the first and third of them as members of their own, which bars may name. */
static int put_samples(struct k_json *o, const char *name, struct samples *s)
{
	struct k_json *p = k_json_object();
	char flat[64];
	if (!p || !s->n)
		return k_json_set(o, name, p);
	k_stats_sort(s->v, s->n);
	double p50 = k_stats_percentile(s->v, s->n, 0.5), p99 = k_stats_percentile(s->v, s->n, 0.99);
	int bad = k_put_f32(p, "p50", p50) | k_put_f32(p, "p90", k_stats_percentile(s->v, s->n, 0.9)) | k_put_f32(p, "p99", p99) | k_put_f32(p, "max", s->v[s->n - 1]);
	bad |= k_json_set(o, name, p);
	snprintf(flat, sizeof(flat), "%s_p50", name);
	bad |= k_put_f32(o, flat, p50);
	snprintf(flat, sizeof(flat), "%s_p99", name);
	return bad | k_put_f32(o, flat, p99);
}

static int put_endings(struct k_json *o, const struct load *l)
{
	struct k_json *by = k_json_object();
	int64_t errors = 0;
	int bad = !by;
	for (int i = 0; i < N_ENDINGS && !bad; i++) {
		errors += i > ABANDONED ? l->count[i] : 0;
		if (i > ABANDONED)
			bad = k_put_int(by, endings[i], l->count[i]);
	}
	return bad | k_put_int(o, "requests", l->count[ANSWERED]) | k_put_int(o, "refused", l->count[REFUSED]) |
		k_put_int(o, "abandoned", l->count[ABANDONED]) | k_put_int(o, "errors", errors) | k_json_set(o, "errors_by", by);
}

static struct k_json *record(struct load *l)
{
	struct k_json *o = k_json_object();
	double seconds = (double)(l->end_ns - l->start_ns) * 1e-9;
	double ratio = l->itl.n ? 0 : NAN;
	int bad = !o || (l->b->rate > 0 ? k_put_f32(o, "rate", l->b->rate) : k_put_int(o, "concurrency", l->n_streams)) |
		k_put_f32(o, "seconds", seconds) | k_put_f32(o, "req_s", (double)l->done / seconds) | k_put_f32(o, "tok_s", (double)l->tokens / seconds) |
		put_samples(o, "ttft_ms", &l->ttft) | put_samples(o, "tpot_ms", &l->tpot) | put_samples(o, "itl_ms", &l->itl) | put_endings(o, l) |
		k_put_int(o, "late", l->late);
	if (!bad && l->itl.n)
		ratio = k_stats_percentile(l->itl.v, l->itl.n, 0.99) / K_MAX(k_stats_percentile(l->itl.v, l->itl.n, 0.5), 1e-6);
	bad = bad || k_put_f32(o, "itl_ratio", ratio) | (l->made_up ? k_put_int(o, "mismatches", l->mismatches) : k_put_null(o, "mismatches"));
	if (!bad && *l->error)
		bad = k_put_str(o, "error", l->error);
	if (!bad)
		return o;
	k_json_free(o);
	return NULL;
}

static void fini(struct load *l)
{
	k_client_free(l->client);
	for (int64_t i = 0; i < l->n_body; i++)
		k_buf_fini(&l->body[i]);
	k_free(l->body);
	k_free(l->said);
	k_free(l->stream);
	k_free(l->ttft.v);
	k_free(l->tpot.v);
	k_free(l->itl.v);
}

/* One point of a sweep. */
static int measure(struct k_bench *b, int64_t concurrency, struct k_json **out, struct k_err *err)
{
	struct load l = { .b = b, .n_streams = b->rate > 0 ? MAX_STREAMS : concurrency, .random = (uint64_t)b->seed + 1 };
	struct k_client_opts co = { .url = b->url, .concurrency = l.n_streams, .stop = b->ctx->stop };
	int r = k_client_new(&l.client, &co, err);
	if (r == 0)
		r = prepare(&l, err);
	l.stream = k_calloc((size_t)l.n_streams, sizeof(*l.stream));
	if (r == 0 && !l.stream)
		r = k_err_nomem(err, (size_t)l.n_streams * sizeof(*l.stream), "streams");
	l.start_ns = k_now_ns();
	l.end_ns = l.start_ns + (uint64_t)(b->seconds * 1e9);
	if (r == 0)
		r = pump(&l, err);
	*out = r == 0 ? record(&l) : NULL;
	if (r == 0 && !*out)
		r = k_err_nomem(err, 1024, "a record");
	fini(&l);
	return r;
}

int k_bench_serve(struct k_bench *b, struct k_err *err)
{
	struct k_json *o = NULL, *s = NULL;
	char key[64];
	int r = b->url ? 0 : k_err_set(err, K_EUSAGE, "serve wants -u URL");
	for (int i = 0; i < (b->rate > 0 ? 1 : b->n_concurrency) && r == 0; i++) {
		k_json_free(s);
		s = NULL;
		if (b->concurrency[i] > MAX_STREAMS)
			r = k_err_set(err, K_EUSAGE, "--concurrency %lld: wanted up to %d", (long long)b->concurrency[i], MAX_STREAMS);
		if (r == 0)
			r = measure(b, b->concurrency[i], &o, err);
		if (r < 0)
			break;
		s = k_json_copy(o);
		snprintf(key, sizeof(key), b->rate > 0 ? "open loop" : "concurrency %lld", (long long)b->concurrency[i]);
		r = k_report_item(b->rep, key, o, true, NULL, err);
	}
	if (r < 0) {
		k_json_free(s);
		return r;
	}
	if (s && (k_put_str(s, "what", "serve") | k_bench_put_machine(s, b->ctx, NULL)) < 0) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(b->rep, s, err);
}
