/* replay.c: a table of turns, the least recently used of which goes when it is full.
 *
 *   key = hash of the prompt's tokens --> turns that were sampled behind it; the one that says what the client's message says
 *
 * The hash only finds: what is compared is the message itself, so that two prompts of one hash do no harm. */
#include "libcore/base.h"

#include <pthread.h>

#include "cmd/kserve/replay.h"

#define BUCKETS 4096
#define MAX_OPENS 10                    /* tokens between the header of an answer and the answer: two and a word */
#define TURN_BYTES 512                  /* what a turn takes besides its texts and tokens, about */

struct call { const struct k_json *id, *name, *args; };
struct turn {
	uint64_t key;
	struct turn *chain;             /* of the bucket, later ones first */
	struct turn *newer, *older;     /* by use */
	struct k_json *said;            /* {"content","reasoning","calls":[{"id","name","arguments"}]} */
	struct k_ids ids;
	size_t bytes;
};
struct k_replay {
	pthread_mutex_t lock;
	const struct k_tokenizer *tok;
	bool writes_ids;                /* calls have them in the model's own words */
	int32_t call_begin, args_begin;
	size_t bytes, max_bytes;
	struct turn *newest, *oldest;
	struct turn *buckets[BUCKETS];
};

static uint64_t mix(uint64_t h, int32_t id)
{
	h = (h ^ (uint32_t)id) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

/* --- what a turn says ----------------------------------------------------------------------------------------------------------- */

static bool same_text(const struct k_json *a, const char *s, size_t n)
{
	return k_json_len(a) == n && !memcmp(k_json_string(a), s, n);
}

static bool same_string(const struct k_json *a, const struct k_json *b)
{
	return k_json_string(b) && same_text(a, k_json_string(b), k_json_len(b));
}

static struct k_json *parsed(const struct k_json *text)
{
	struct k_json *v = NULL;
	struct k_err err = { 0 };
	if (k_json_parse(&v, k_json_string(text), k_json_len(text), K_JSON_LAST_WINS | K_JSON_NUL, "arguments", &err))
		return NULL;
	return v;
}

/* The same text, or the same JSON. theirs: a string, or the value itself. */
static bool same_args(const struct k_json *ours, const struct k_json *theirs)
{
	bool text = k_json_kind(theirs) == K_JSON_STRING;
	if (text && same_string(ours, theirs))
		return true;
	struct k_json *a = parsed(ours), *b = text ? parsed(theirs) : NULL;
	bool same = a && theirs && (!text || b) && k_json_equal(a, text ? b : theirs);
	k_json_free(a);
	k_json_free(b);
	return same;
}

static bool same_calls(const struct k_json *ours, const struct k_json *theirs)
{
	size_t n = k_json_len(ours);
	if (k_json_kind(theirs) == K_JSON_ARRAY ? k_json_len(theirs) != n : n != 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct k_json *a = k_json_at(ours, i), *b = k_json_at(theirs, i), *fn = k_json_find(b, "function");
		if (!same_string(k_json_find(a, "id"), k_json_find(b, "id")) || !same_string(k_json_find(a, "name"), k_json_find(fn, "name")) ||
			!same_args(k_json_find(a, "arguments"), k_json_find(fn, "arguments")))
			return false;
	}
	return true;
}

/* The content is a string, parts of text, or nothing. */
static bool same_content(const struct k_json *ours, const struct k_json *theirs)
{
	struct k_buf b;
	if (k_json_kind(theirs) == K_JSON_STRING)
		return same_string(ours, theirs);
	k_buf_init(&b, 0);
	for (size_t i = 0; k_json_kind(theirs) == K_JSON_ARRAY && i < k_json_len(theirs); i++) {
		const struct k_json *part = k_json_at(theirs, i), *text = k_json_given(part, "text");
		if (!text)
			text = k_json_given(part, "refusal");
		if (k_json_string(text))
			k_buf_put(&b, k_json_string(text), k_json_len(text));
	}
	bool same = !b.failed && same_text(ours, b.len ? b.data : "", b.len);
	k_buf_fini(&b);
	return same;
}

static bool says(const struct turn *t, const struct k_json *msg, bool thoughts)
{
	const struct k_json *thought = thoughts ? k_json_given(msg, "reasoning_content") : NULL, *ours = k_json_find(t->said, "reasoning");
	return (thought ? same_string(ours, thought) : k_json_len(ours) == 0) &&
		same_content(k_json_find(t->said, "content"), k_json_given(msg, "content")) &&
		same_calls(k_json_find(t->said, "calls"), k_json_given(msg, "tool_calls"));
}

/* --- the table -------------------------------------------------------------------------------------------------------------------- */

static void unlink_use(struct k_replay *t, struct turn *x)
{
	*(x->newer ? &x->newer->older : &t->newest) = x->older;
	*(x->older ? &x->older->newer : &t->oldest) = x->newer;
	x->newer = x->older = NULL;
}

static void link_newest(struct k_replay *t, struct turn *x)
{
	x->older = t->newest;
	*(t->newest ? &t->newest->newer : &t->oldest) = x;
	t->newest = x;
}

static void free_turn(struct turn *x)
{
	k_json_free(x->said);
	k_ids_fini(&x->ids);
	k_free(x);
}

static void drop(struct k_replay *t, struct turn *x)
{
	struct turn **at = &t->buckets[x->key % BUCKETS];
	while (*at != x)
		at = &(*at)->chain;
	*at = x->chain;
	unlink_use(t, x);
	t->bytes -= x->bytes;
	free_turn(x);
}

int k_replay_new(struct k_replay **out, const struct k_tokenizer *tok, bool writes_ids, size_t max_bytes, struct k_err *err)
{
	struct k_replay *t = *out = k_calloc(1, sizeof(*t));
	if (!t)
		return k_err_nomem(err, sizeof(*t), "the table of earlier answers");
	pthread_mutex_init(&t->lock, NULL);
	t->tok = tok;
	t->writes_ids = writes_ids;
	t->call_begin = k_tokenizer_special(tok, k_marker_texts[K_MARKER_CALL_BEGIN]);
	t->args_begin = k_tokenizer_special(tok, k_marker_texts[K_MARKER_ARGS_BEGIN]);
	t->max_bytes = max_bytes;
	return 0;
}

void k_replay_free(struct k_replay *t)
{
	if (!t)
		return;
	while (t->oldest)
		drop(t, t->oldest);
	pthread_mutex_destroy(&t->lock);
	k_free(t);
}

/* --- to put ------------------------------------------------------------------------------------------------------------------------ */

/* Does the i-th header of a call, from *at on, hold this very id? */
static bool header_is(const struct k_replay *t, const int32_t *ids, size_t n, size_t *at, const char *id)
{
	size_t left = strlen(id);
	while (*at < n && ids[*at] != t->call_begin)
		++*at;
	for (++*at; *at < n && ids[*at] != t->args_begin; ++*at) {
		size_t len = 0;
		const char *s = k_tokenizer_bytes(t->tok, ids[*at], &len);
		if (!s || len > left || memcmp(id, s, len))
			return false;
		id += len;
		left -= len;
	}
	return *at < n && !left;
}

/* Calls that were told under another id than the model wrote go on under that: these tokens are not what the history says. */
static bool own_ids(const struct k_replay *t, const int32_t *ids, size_t n, const struct k_choice *c)
{
	size_t at = 0;
	if (!t->writes_ids)
		return true;
	for (int i = 0; i < c->n_parts; i++) {
		if (c->parts[i].kind == K_EVENT_CALL && !header_is(t, ids, n, &at, c->parts[i].id))
			return false;
	}
	while (at < n && ids[at] != t->call_begin)
		at++;
	return at == n;
}

static struct k_json *joined(const struct k_choice *c, enum k_event_kind kind)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	for (int i = 0; i < c->n_parts; i++) {
		if (c->parts[i].kind == kind)
			k_buf_put(&b, c->parts[i].text.data, c->parts[i].text.len);
	}
	struct k_json *v = b.failed ? NULL : k_json_new_string(b.len ? b.data : "", b.len);
	k_buf_fini(&b);
	return v;
}

static struct k_json *call_json(const struct k_part *p)
{
	struct k_json *o = k_json_object();
	if (!k_json_set(o, "id", k_json_new_string(p->id, strlen(p->id))) && !k_json_set(o, "name", k_json_new_string(p->name, strlen(p->name))) &&
		!k_json_set(o, "arguments", k_json_new_string(p->text.len ? p->text.data : "", p->text.len)))
		return o;
	k_json_free(o);
	return NULL;
}

static struct k_json *said_json(const struct k_choice *c)
{
	struct k_json *o = k_json_object(), *calls = k_json_array();
	int bad = k_json_set(o, "content", joined(c, K_EVENT_CONTENT)) || k_json_set(o, "reasoning", joined(c, K_EVENT_REASONING));
	for (int i = 0; i < c->n_parts && !bad; i++) {
		if (c->parts[i].kind == K_EVENT_CALL)
			bad = k_json_push(calls, call_json(&c->parts[i]));
	}
	if (!bad && !k_json_set(o, "calls", calls))
		return o;
	if (bad)
		k_json_free(calls);
	k_json_free(o);
	return NULL;
}

static struct turn *new_turn(const struct k_ids *prompt, const int32_t *ids, size_t n, const struct k_choice *c)
{
	struct turn *x = k_calloc(1, sizeof(*x));
	struct k_err err = { 0 };
	if (!x)
		return NULL;
	k_ids_init(&x->ids);
	x->bytes = TURN_BYTES + n * sizeof(*ids);
	for (size_t i = 0; i < prompt->n; i++)
		x->key = mix(x->key, prompt->v[i]);
	for (int i = 0; i < c->n_parts; i++)
		x->bytes += c->parts[i].text.len;
	int rc = k_ids_add(&x->ids, ids, n, &err);
	x->said = rc ? NULL : said_json(c);
	if (x->said)
		return x;
	free_turn(x);
	return NULL;
}

/* One that says the same behind the same prompt goes: the later one is nearer to what is cached. */
static void drop_same(struct k_replay *t, const struct turn *x)
{
	for (struct turn *y = t->buckets[x->key % BUCKETS]; y; y = y->chain) {
		if (y->key == x->key && k_json_equal(y->said, x->said)) {
			drop(t, y);
			return;
		}
	}
}

void k_replay_put(struct k_replay *t, const struct k_ids *prompt, const int32_t *ids, size_t n, const struct k_choice *c)
{
	struct turn *x = own_ids(t, ids, n, c) ? new_turn(prompt, ids, n, c) : NULL;
	if (!x)
		return;
	if (x->bytes > t->max_bytes / 4) {
		free_turn(x);
		return;
	}
	pthread_mutex_lock(&t->lock);
	drop_same(t, x);
	struct turn **bucket = &t->buckets[x->key % BUCKETS];
	x->chain = *bucket;
	*bucket = x;
	link_newest(t, x);
	t->bytes += x->bytes;
	while (t->bytes > t->max_bytes)
		drop(t, t->oldest);
	pthread_mutex_unlock(&t->lock);
}

/* --- to recall ----------------------------------------------------------------------------------------------------------------------- */

static int recall(struct k_chat_memory *m, const struct k_json *msg, bool thoughts, struct k_ids *ids, struct k_err *err)
{
	struct k_recall *r = (struct k_recall *)m;
	struct k_replay *t = r->table;
	int rc = 0;
	/* The last tokens may be opened for this question only, and are not what comes next. */
	for (; r->n + MAX_OPENS < ids->n; r->n++)
		r->hash = mix(r->hash, ids->v[r->n]);
	uint64_t key = r->hash;
	for (size_t i = r->n; i < ids->n; i++)
		key = mix(key, ids->v[i]);
	pthread_mutex_lock(&t->lock);
	struct turn *x = t->buckets[key % BUCKETS];
	while (x && (x->key != key || !says(x, msg, thoughts)))
		x = x->chain;
	if (x) {
		rc = k_ids_add(ids, x->ids.v, x->ids.n, err);
		unlink_use(t, x);
		link_newest(t, x);
	}
	pthread_mutex_unlock(&t->lock);
	return rc ? rc : x != NULL;
}

void k_recall_init(struct k_recall *r, struct k_replay *t) { *r = (struct k_recall){ .memory = { recall }, .table = t }; }
