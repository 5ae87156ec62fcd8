/* serve.c: load on an OpenAI-compatible server: how many requests and tokens a second, and how long for the first token and for each that follows.
 *
 *   closed loop   --concurrency streams, each asks again when it has its answer (429 and 503: after Retry-After)
 *   open loop     --rate arrivals a second, at random distances, whatever the server does
 *   replay        the lines of -f at the times that they have, once
 *
 * One request before a load does not count, whatever becomes of it: the first of a server takes several times as long, and of some minutes. A replay
 * has none, as it would find more in the server's cache than on the day.
 *
 * Every request is a stream of a chat (requests.h). In the open loop and in a replay the time to the first token counts from when the request was
 * due: a server that stalls does not hide the requests that would have come meanwhile. Tokens are those that usage counts, with each chunk where the
 * server says so, or at its end; only where it never does, chunks are counted, and tokens_by says so. A load of which nothing was answered failed. Of the streams some may read slowly (--slow) and some are dropped on the way (--abandon): what is
 * measured is the others. Answers to the same made-up prompt must be the same. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "cmd/kbench/bench.h"
#include "cmd/kbench/requests.h"
#include "evals/client.h"
#include "evals/said.h"
#include "evals/stats.h"
#include "libcore/hash.h"
#include "libcore/log.h"

enum { MAX_STREAMS = 4096, MOST_TOKENS = 1 << 22, SLOW_BYTES = 512, GRACE_SECONDS = 30, SECONDS = 10, LOOK_MS = 50, WHY = 480 };
#define LATE_NS 100000000u          /* of our own making: a request that was begun so long after it was due */

struct samples { double *v; size_t n, cap; };

/* How calls ended. answered and refused are what a server may say; the others are errors. */
enum ending { ANSWERED, REFUSED, ABANDONED, REJECTED, FAILED, CUT, UNREACHABLE, N_ENDINGS };
static const char *const endings[] = { "answered", "refused", "abandoned", "rejected", "failed", "cut", "unreachable" };

struct load;
struct stream {
	struct k_call call;
	struct load *l;
	struct k_buf body;
	bool busy, slow, begun, usage, answered;                /* answered: a chunk was one of an answer */
	struct k_err said;                                      /* what the stream said instead of an answer */
	int64_t prompt, prompt_tokens, cached, tokens, drop_at; /* cached: of the prompt's, -1: not said; drop_at: tokens after which it is dropped; 0: never */
	uint64_t due_ns, first_ns, last_ns, hash;               /* due_ns 0: when it was sent */
};

struct load {
	struct k_bench *b;
	struct k_client *client;
	struct k_requests *ask;
	int64_t n_streams, next;
	struct stream *stream;
	uint64_t *said;                 /* hash of the first answer to each prompt; 0: none yet */
	bool open, replay;              /* a replay is open as well */
	uint64_t random, start_ns, end_ns;
	double next_arrival;            /* open loop: seconds from the start */
	int64_t count[N_ENDINGS], done, tokens, prompt_tokens, cached, by_cached, mismatches, late, unfinished, by_usage, by_chunks;
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

/* --- a stream --------------------------------------------------------------------------------------------------------------------------------- */

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
	if (r == 0)
		snprintf(l->b->served, sizeof(l->b->served), "%s", name);
	if (r == 0)
		r = k_requests_open(&l->ask, l->b->file, name, l->b->tokens ? l->b->tokens : 32, l->client, err);
	k_json_free(c.json);
	if (r < 0)
		return r;
	l->replay = k_requests_timed(l->ask) && l->b->rate == 0;
	l->open = l->replay || l->b->rate > 0;
	l->said = k_calloc((size_t)k_requests_len(l->ask), sizeof(*l->said));
	return l->said ? 0 : k_err_nomem(err, 64, "requests");
}

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

/* What usage says of an answer; where that is no count of its tokens, what was known before. */
static int64_t counted(const struct k_json *usage, const char *key, int64_t before)
{
	int64_t n = k_json_int(k_json_find(usage, key));
	return n >= 0 && n <= MOST_TOKENS ? n : before;
}

/* vLLM, as OpenAI, says it in prompt_tokens_details, others, as Moonshot, beside it. */
static int64_t cached_of(const struct k_json *usage, int64_t before)
{
	const struct k_json *details = k_json_find(usage, "prompt_tokens_details");
	if (k_json_find(details, "cached_tokens"))
		return counted(details, "cached_tokens", before);
	return k_json_find(usage, "cached_tokens") ? counted(usage, "cached_tokens", before) : before;
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
		return k_err_set(&s->said, K_EFORMAT, "a chunk of the stream is no JSON: %.200s", data);
	if (k_said_chunk(v, &s->said) < 0) {
		k_json_free(v);
		return s->said.code;
	}
	const struct k_json *choice = k_json_at(k_json_find(v, "choices"), 0), *usage = k_json_find(v, "usage");
	s->answered |= k_json_kind(choice) == K_JSON_OBJECT;
	if (k_json_kind(usage) != K_JSON_OBJECT)
		usage = k_json_find(choice, "usage");
	bool spoke = speaks(s, k_json_find(choice, "delta"));
	int64_t tokens = k_json_kind(usage) == K_JSON_OBJECT ? counted(usage, "completion_tokens", s->tokens + spoke) : s->tokens + spoke;
	int64_t fresh = K_MAX(tokens - s->tokens, 0);
	/* Where usage comes once, behind the last word, it counts tokens that were there before it: several in a chunk. */
	bool past = s->begun && !spoke && !s->usage;
	int bad = 0;
	if (k_json_kind(usage) == K_JSON_OBJECT) {
		s->usage = true;
		s->prompt_tokens = counted(usage, "prompt_tokens", s->prompt_tokens);
		s->cached = cached_of(usage, s->cached);
		/* There were more chunks than tokens. */
		if (tokens < s->tokens) {
			l->tokens -= now < l->end_ns ? s->tokens - tokens : 0;
			s->tokens = tokens;
		}
	}
	if (fresh) {
		double gap = s->begun ? (double)(now - s->last_ns) * 1e-6 / (double)fresh : 0;
		for (int64_t i = 0; i < fresh && s->begun && !past && !s->slow && !bad; i++)
			bad = keep(&l->itl, gap, &err);
		if (!s->begun)
			s->first_ns = now;
		s->begun = true;
		s->last_ns = past ? s->last_ns : now;
		s->tokens = tokens;
		l->tokens += now < l->end_ns ? fresh : 0;
	}
	k_json_free(v);
	return bad || (s->drop_at && s->tokens >= s->drop_at);
}

/* after: seconds to wait; due_ns 0: its time counts from when it is sent. */
static int begin(struct load *l, struct stream *s, double after, uint64_t due_ns, struct k_err *err)
{
	int64_t most = l->b->tokens ? l->b->tokens : 32;
	s->prompt = l->next++ % k_requests_len(l->ask);
	int r = k_requests_body(l->ask, s->prompt, &s->body, err);
	if (r < 0)
		return r;
	s->l = l;
	s->busy = true;
	s->begun = s->usage = s->answered = false;
	s->said = (struct k_err){ 0 };
	s->slow = s - l->stream < l->b->slow;
	s->tokens = s->prompt_tokens = 0;
	s->cached = -1;
	s->due_ns = due_ns;
	s->hash = 0xcbf29ce484222325u;
	s->drop_at = draw(l) < l->b->abandon ? 1 + (int64_t)(draw(l) * (double)most) : 0;
	s->call = (struct k_call){ .path = "/chat/completions", .body = s->body.data, .n_body = s->body.len, .once = true, .event = on_chunk, .user = s,
		.after = after, .read_rate = s->slow ? SLOW_BYTES : 0 };
	return k_client_send(l->client, &s->call, err);
}

static enum ending ending_of(const struct stream *s)
{
	const struct k_call *c = &s->call;
	if (s->said.code)
		return CUT;
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
	if (!s->call.err.code && !s->answered)
		k_err_set(&s->said, K_EFORMAT, "the stream has no chunks of an answer");
	enum ending how = ending_of(s);
	int r = 0;
	l->count[how]++;
	s->busy = false;
	if (how > ABANDONED && !*l->error)
		snprintf(l->error, sizeof(l->error), "%.310s", s->said.code ? s->said.msg : s->call.err.msg);
	if (how != ANSWERED)
		return 0;
	l->done += s->call.done_ns < l->end_ns;
	l->prompt_tokens += s->prompt_tokens;
	l->cached += K_MAX(s->cached, 0);
	l->by_cached += s->cached >= 0;
	*(s->usage ? &l->by_usage : &l->by_chunks) += 1;
	if (l->said[s->prompt] && l->said[s->prompt] != s->hash)
		l->mismatches++;
	if (!l->said[s->prompt])
		l->said[s->prompt] = s->hash;
	if (s->slow || !s->begun)
		return 0;
	r = keep(&l->ttft, (double)(s->first_ns - (s->due_ns ? s->due_ns : s->call.sent_ns)) * 1e-6, err);
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

/* Seconds from the start until the next one is due. */
static double next_due(const struct load *l) { return l->replay ? k_requests_at(l->ask, l->next) : l->next_arrival; }

/* No longer than until then, and no shorter than needed: a client that wakes for nothing takes time from a server on the same machine. */
static int patience_ms(const struct load *l, uint64_t now)
{
	if (!l->open || (l->replay && l->next >= k_requests_len(l->ask)))
		return LOOK_MS;
	double ms = (next_due(l) - (double)(now - l->start_ns) * 1e-9) * 1e3;
	return (int)fmax(0, fmin(ms, LOOK_MS));
}

/* Open loop: those whose time has come. One that finds no stream (more in flight than this client holds) is begun later, and late. */
static int arrive(struct load *l, uint64_t now, struct k_err *err)
{
	double t = (double)(now - l->start_ns) * 1e-9;
	struct stream *s;
	int r = 0;
	while (r == 0 && (!l->replay || l->next < k_requests_len(l->ask))) {
		double due = next_due(l);
		if (due > t || !(s = idle(l)))
			break;
		uint64_t due_ns = l->start_ns + (uint64_t)(due * 1e9);
		l->late += now - due_ns > LATE_NS;
		r = begin(l, s, 0, due_ns, err);
		l->next_arrival -= l->replay ? 0 : log(draw(l)) / l->b->rate;
	}
	return r;
}

static int take_back(struct load *l, struct stream *s, struct k_err *err)
{
	int r = finished(l, s, err);
	k_json_free(s->call.json);
	s->call.json = NULL;
	if (r == 0 && !l->open && k_now_ns() < l->end_ns)
		r = begin(l, s, s->call.err.code && s->call.status ? K_MAX(s->call.retry_after, 0) : s->call.status ? 0 : 0.1, 0, err);
	return r;
}

/* What is over, and what was in flight still. */
static void drop_all(struct load *l)
{
	for (int64_t i = 0; i < l->n_streams; i++) {
		struct stream *s = &l->stream[i];
		l->unfinished += s->busy && !s->slow;
		k_client_drop(l->client, &s->call);
		k_json_free(s->call.json);
		s->call.json = NULL;
		s->busy = false;
	}
}

/* The last prompt, which a short load never comes to: the server does not know its beginning already. */
static int warm_up(struct load *l, struct k_err *err)
{
	uint64_t until = k_now_ns() + GRACE_SECONDS * 1000000000ull;
	struct k_call c = { .path = "/chat/completions", .once = true }, *done = NULL;
	struct k_buf body;
	k_buf_init(&body, 0);
	int r = k_requests_body(l->ask, k_requests_len(l->ask) - 1, &body, err);
	c.body = body.data;
	c.n_body = body.len;
	if (r == 0)
		r = k_client_send(l->client, &c, err);
	while (r == 0 && !done && k_now_ns() < until)
		r = k_client_next(l->client, LOOK_MS, &done, err);
	k_client_drop(l->client, &c);
	k_json_free(c.json);
	k_buf_fini(&body);
	return r;
}

static int pump(struct load *l, struct k_err *err)
{
	uint64_t grace = l->end_ns + GRACE_SECONDS * 1000000000ull, now;
	int64_t flying;
	int r = 0;
	for (int64_t i = 0; i < l->n_streams && r == 0 && !l->open; i++)
		r = begin(l, &l->stream[i], 0, 0, err);
	while (r == 0 && (now = k_now_ns()) < grace) {
		struct k_call *done;
		if (l->open && now < l->end_ns)
			r = arrive(l, now, err);
		if (r == 0)
			r = k_client_next(l->client, patience_ms(l, now), &done, err);
		if (r == 0 && done)
			r = take_back(l, done->user, err);
		flying = 0;
		for (int64_t i = 0; i < l->n_streams; i++)
			flying += l->stream[i].busy && !(l->stream[i].slow && now >= l->end_ns);
		if (r == 0 && !flying && l->replay && l->next == k_requests_len(l->ask))
			l->end_ns = K_MIN(l->end_ns, k_now_ns());
		if (!flying && k_now_ns() >= l->end_ns)
			break;
	}
	drop_all(l);
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

static int64_t errors_of(const struct load *l)
{
	int64_t n = 0;
	for (int i = ABANDONED + 1; i < N_ENDINGS; i++)
		n += l->count[i];
	return n;
}

static int put_endings(struct k_json *o, const struct load *l)
{
	struct k_json *by = k_json_object();
	int bad = !by;
	for (int i = ABANDONED + 1; i < N_ENDINGS && !bad; i++)
		bad = k_put_int(by, endings[i], l->count[i]);
	return bad | k_put_int(o, "requests", l->count[ANSWERED]) | k_put_int(o, "refused", l->count[REFUSED]) |
		k_put_int(o, "abandoned", l->count[ABANDONED]) | k_put_int(o, "errors", errors_of(l)) | k_json_set(o, "errors_by", by);
}

/* A load of which nothing came back has measured no server. why: empty where something did. */
static void judge(const struct load *l, char why[WHY])
{
	int64_t errors = errors_of(l);
	*why = 0;
	if (!l->count[ANSWERED] && !l->count[ABANDONED] && errors + l->count[REFUSED] + l->unfinished)
		snprintf(why, WHY, "no request was answered: %lld refused, %lld errors, %lld unfinished%s%s", (long long)l->count[REFUSED],
			(long long)errors, (long long)l->unfinished, *l->error ? "; the first error: " : "", l->error);
}

static struct k_json *record(struct load *l)
{
	struct k_json *o = k_json_object();
	double seconds = (double)(l->end_ns - l->start_ns) * 1e-9;
	double ratio = l->itl.n ? 0 : NAN;
	const char *by = !l->by_chunks ? "usage" : l->by_usage ? "usage and chunks" : "chunks";
	int bad = !o || (l->replay ? k_put_int(o, "replayed", l->next) : l->open ? k_put_f32(o, "rate", l->b->rate) : k_put_int(o, "concurrency", l->n_streams)) |
		k_put_f32(o, "seconds", seconds) | k_put_f32(o, "req_s", (double)l->done / seconds) | k_put_f32(o, "tok_s", (double)l->tokens / seconds) |
		put_samples(o, "ttft_ms", &l->ttft) | put_samples(o, "tpot_ms", &l->tpot) | put_samples(o, "itl_ms", &l->itl) | put_endings(o, l) |
		k_put_int(o, "late", l->late) | k_put_int(o, "unfinished", l->unfinished) | k_put_int(o, "tokens", l->tokens) |
		k_put_int(o, "prompt_tokens", l->prompt_tokens) |
		(l->by_cached ? k_put_int(o, "cached_tokens", l->cached) : k_put_null(o, "cached_tokens")) | k_put_str(o, "tokens_by", by);
	if (!bad && l->itl.n)
		ratio = k_stats_percentile(l->itl.v, l->itl.n, 0.99) / K_MAX(k_stats_percentile(l->itl.v, l->itl.n, 0.5), 1e-6);
	bad = bad || k_put_f32(o, "itl_ratio", ratio) | (!l->b->file ? k_put_int(o, "mismatches", l->mismatches) : k_put_null(o, "mismatches"));
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
	for (int64_t i = 0; i < l->n_streams && l->stream; i++)
		k_buf_fini(&l->stream[i].body);
	k_requests_close(l->ask);
	k_free(l->said);
	k_free(l->stream);
	k_free(l->ttft.v);
	k_free(l->tpot.v);
	k_free(l->itl.v);
}

/* When no more is begun: after --seconds; a replay ends with its last answer. */
static double seconds_of(const struct load *l)
{
	if (l->b->seconds > 0)
		return l->b->seconds;
	return l->replay ? k_requests_at(l->ask, k_requests_len(l->ask) - 1) + 3600 : SECONDS;
}

/* One point of a sweep, or what is open. why: a sentence, where it failed. */
static int measure(struct k_bench *b, int64_t concurrency, struct k_json **out, bool *open, char why[WHY], struct k_err *err)
{
	struct load l = { .b = b, .random = (uint64_t)b->seed + 1 };
	struct k_client_opts co = { .url = b->url, .concurrency = MAX_STREAMS, .stop = b->ctx->stop };
	int r = k_client_new(&l.client, &co, err);
	if (r == 0)
		r = prepare(&l, err);
	*open = l.open;
	l.n_streams = l.open ? MAX_STREAMS : concurrency;
	l.stream = k_calloc((size_t)l.n_streams, sizeof(*l.stream));
	if (r == 0 && !l.stream)
		r = k_err_nomem(err, (size_t)l.n_streams * sizeof(*l.stream), "streams");
	for (int64_t i = 0; r == 0 && i < l.n_streams; i++)
		k_buf_init(&l.stream[i].body, 0);
	if (r == 0 && !l.replay)
		r = warm_up(&l, err);
	l.start_ns = k_now_ns();
	if (r == 0) {
		l.end_ns = l.start_ns + (uint64_t)(seconds_of(&l) * 1e9);
		r = pump(&l, err);
	}
	*out = r == 0 ? record(&l) : NULL;
	judge(&l, why);
	if (r == 0 && !*out)
		r = k_err_nomem(err, 1024, "a record");
	fini(&l);
	return r;
}

int k_bench_serve(struct k_bench *b, struct k_err *err)
{
	struct k_json *o = NULL, *s = NULL;
	bool open = false;
	char key[64], why[WHY];
	int r = b->url ? 0 : k_err_set(err, K_EUSAGE, "serve wants -u URL");
	for (int i = 0; i < b->n_concurrency && r == 0 && !open; i++) {
		k_json_free(s);
		s = NULL;
		if (b->concurrency[i] > MAX_STREAMS)
			r = k_err_set(err, K_EUSAGE, "--concurrency %lld: wanted up to %d", (long long)b->concurrency[i], MAX_STREAMS);
		if (r == 0)
			r = measure(b, b->concurrency[i], &o, &open, why, err);
		if (r < 0)
			break;
		s = k_json_copy(o);
		snprintf(key, sizeof(key), open ? "open loop" : "concurrency %lld", (long long)b->concurrency[i]);
		r = k_report_item(b->rep, key, o, !*why, why, err);
	}
	if (r < 0) {
		k_json_free(s);
		return r;
	}
	if (s && (k_put_str(s, "what", "serve") | k_bench_put_machine(s, b, NULL)) < 0) {
		k_json_free(s);
		s = NULL;
	}
	return k_report_summary(b->rep, s, err);
}
