/* bodies.c: a table of bodies, by their text.
 *
 *   earlier   {"model":"m","messages":[ {m0} , {m1}          kept: this text, where each message ends, the values of the messages
 *   text      {"model":"m","messages":[ {m0} , {m1} , {m2} ],"stream":true}
 *   parsed    {"model":"m","messages":[               {m2} ],"stream":true}          then m0 and m1 are put before m2
 *
 * What is left out is JSON that was parsed at this very place, so the rest is right where the whole is, and the other way round; of a text that is wrong
 * the whole is parsed, for the sentence that says where. Where messages begin and end is looked up only in texts that were parsed. */
#include "libcore/base.h"

#include "libcore/bodies.h"

#define LEAST_BODY 4096                 /* bytes below which a body is as soon parsed */
#define VALUE_BYTES 10                  /* what a byte of text takes as values, about */

/* The messages of a text: the first one behind `begin`, each up to its end. */
struct spans { size_t begin, n, cap; size_t *end; };

struct body {
	char *text;                     /* up to the end of the last message */
	struct spans at;
	struct k_json *messages;
};

/* --- where messages end ----------------------------------------------------------------------------------------------------- */

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;
	return p;
}

/* Behind the value that begins at p. */
static const char *skip_value(const char *p, const char *end)
{
	int depth = 0;
	do {
		if (*p == '"') {
			p = k_json_string_end(p, end);
			continue;
		}
		depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
		p++;
	} while (p < end && (depth > 0 || !strchr(",]} \t\r\n", *p)));
	return p;
}

static int put_end(struct spans *s, size_t end)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64, *v = k_realloc(s->end, cap * sizeof(*v));
		if (!v)
			return -1;
		s->end = v;
		s->cap = cap;
	}
	s->end[s->n++] = end;
	return 0;
}

/* Objects side by side; they end where their last brackets do, whatever follows. false: there are other values, or there is no memory. */
static bool find_ends(struct spans *s, const char *text, const char *p, const char *end)
{
	s->begin = (size_t)(p - text);
	for (p = skip_space(p, end); p < end && *p == '{'; p = skip_space(p, end)) {
		p = skip_value(p, end);
		if (put_end(s, (size_t)(p - text)))
			return false;
		p = skip_space(p, end);
		p += p < end && *p == ',';
	}
	return p < end && *p == ']';
}

/* Of a text that is one JSON value. false: it has no messages, or several times such, or names that must be decoded to be known. */
static bool find_messages(struct spans *s, const char *text, size_t len)
{
	static const char name[] = "\"messages\"";
	const char *end = text + len, *p = skip_space(text, end);
	bool found = false;
	if (p == end || *p != '{')
		return false;
	for (p = skip_space(p + 1, end); p < end && *p == '"'; p = skip_space(p, end)) {
		const char *key = p;
		p = k_json_string_end(p, end);
		size_t n = (size_t)(p - key);
		bool is = n == sizeof(name) - 1 && !memcmp(key, name, n);
		p = skip_space(p, end);
		p = skip_space(p + (p < end), end);     /* the colon */
		if (p == end || memchr(key, '\\', n) || (is && (found || *p != '[' || !find_ends(s, text, p + 1, end))))
			return false;
		found |= is;
		p = skip_space(skip_value(p, end), end);
		p += p < end && *p == ',';
	}
	return found;
}

/* --- the table -------------------------------------------------------------------------------------------------------------- */

static size_t text_of(const struct spans *s) { return s->end[s->n - 1]; }

static void fini(struct body *b)
{
	k_free(b->text);
	k_free(b->at.end);
	k_json_free(b->messages);
	*b = (struct body){ 0 };
}

static void free_body(void *b)
{
	fini(b);
	k_free(b);
}

int k_bodies_new(struct k_recent **out, size_t max_bytes, struct k_err *err)
{
	return k_recent_new(out, max_bytes, free_body, "earlier requests", err);
}

/* Bytes at the beginning that are the same, of n. */
static size_t same_bytes(const char *a, const char *b, size_t n)
{
	enum { STEP = 256 };
	size_t i = 0;
	while (n - i >= STEP && !memcmp(a + i, b + i, STEP))
		i += STEP;
	while (i < n && a[i] == b[i])
		i++;
	return i;
}

/* Messages of b that a text begins with. */
static size_t same_messages(const struct body *b, const char *text, size_t len)
{
	size_t same = same_bytes(b->text, text, K_MIN(text_of(&b->at), len)), n = b->at.n;
	while (n && b->at.end[n - 1] > same)
		n--;
	return n;
}

/* With the lock held: the body with the most messages that the text begins with, n of them. */
static int find(const struct k_recent *r, const char *text, size_t len, size_t *n)
{
	int best = 0;
	*n = 0;
	for (int i = 0; i < r->n; i++) {
		size_t m = same_messages(r->at[i].thing, text, len);
		if (m > *n) {
			*n = m;
			best = i;
		}
	}
	return best;
}

/* The first n messages, n ends with room for all of them. */
static int share(struct body *to, const struct body *from, size_t n)
{
	to->messages = k_json_array();
	to->at = (struct spans){ from->at.begin, n, from->at.n, k_alloc(from->at.n * sizeof(*from->at.end)) };
	int bad = !to->messages || !to->at.end;
	for (size_t i = 0; i < n && !bad; i++) {
		bad = k_json_push(to->messages, k_json_keep(k_json_at(from->messages, i)));
		to->at.end[i] = from->at.end[i];
	}
	if (bad)
		fini(to);
	return bad ? -1 : 0;
}

/* What the text shares with an earlier one; empty: nothing. One that it goes on with leaves the table. */
static void take_begin(struct k_recent *r, struct body *to, const char *text, size_t len)
{
	size_t n;
	pthread_mutex_lock(&r->lock);
	int i = find(r, text, len, &n);
	struct body *b = n ? r->at[i].thing : NULL;
	if (b && n == b->at.n) {
		*to = *b;
		k_free(k_recent_take(r, i));
	} else if (b && !share(to, b, n)) {
		k_recent_use(r, i);
	}
	pthread_mutex_unlock(&r->lock);
}

/* Takes b, whose text becomes this one. */
static void put(struct k_recent *r, struct body *b, const char *text)
{
	size_t n = text_of(&b->at);
	struct body *own = k_alloc(sizeof(*own));
	char *copy = own ? k_realloc(b->text, n) : NULL;
	if (!copy) {
		k_free(own);
		fini(b);
		return;
	}
	b->text = memcpy(copy, text, n);
	*own = *b;
	pthread_mutex_lock(&r->lock);
	k_recent_put(r, own, own->at.cap * sizeof(*own->at.end) + n * (1 + VALUE_BYTES));
	pthread_mutex_unlock(&r->lock);
}

/* --- to parse --------------------------------------------------------------------------------------------------------------- */

static int parse(struct k_json **out, const char *text, size_t len, struct k_err *err)
{
	return k_json_parse(out, text, len, K_JSON_LAST_WINS | K_JSON_NUL, "request", err);
}

/* Who shares prompts with nobody else, or leaves none, does so here too: how long a request takes tells nobody what was asked before. */
static bool may_be_kept(const struct k_json *body)
{
	const struct k_json *cache = k_json_find(body, "cache_prompt");
	return !k_json_find(body, "cache_salt") && (!cache || k_json_bool(cache));
}

/* The rest of the text behind the messages of b without them, NULL: it does not go on as an array does. */
static const char *rest_of(const struct body *b, const char *text, const char *end)
{
	const char *p = skip_space(text + text_of(&b->at), end);
	if (p < end && *p == ',') {
		p = skip_space(p + 1, end);
		return p < end && *p == '{' ? p : NULL;
	}
	return p < end && *p == ']' ? p : NULL;
}

/* Appends the messages of body to those of b, as values outside the parse (whose memory goes with its last piece), and gives the body all of them. */
static int join(struct body *b, struct k_json *body, const struct spans *s, size_t shift)
{
	const struct k_json *list = k_json_find(body, "messages");
	int bad = !b->messages && !(b->messages = k_json_array());
	b->at.begin = s->begin;
	for (size_t i = 0; i < k_json_len(list) && !bad; i++)
		bad = k_json_push(b->messages, k_json_copy(k_json_at(list, i))) || put_end(&b->at, s->end[i] + shift);
	struct k_json *all = bad ? NULL : k_json_array();
	for (size_t i = 0; i < k_json_len(b->messages) && !bad; i++)
		bad = k_json_push(all, k_json_keep(k_json_at(b->messages, i)));
	if (!bad)
		return k_json_set(body, "messages", all);
	k_json_free(all);
	return -1;
}

/* A text that begins with the messages of b, which are those of all of it afterwards. NULL: it cannot be read so. */
static struct k_json *read_rest(struct body *b, const char *text, size_t len)
{
	const char *rest = rest_of(b, text, text + len);
	size_t head = b->at.begin, skipped = (size_t)(rest ? rest - text : 0) - head;
	struct k_json *body = NULL;
	struct k_err ignored = { 0 };
	struct spans s = { 0 };
	struct k_buf left;
	k_buf_init(&left, 0);
	if (rest) {
		k_buf_put(&left, text, head);
		k_buf_put(&left, rest, len - head - skipped);
	}
	if (left.len && !left.failed && parse(&body, left.data, left.len, &ignored))
		body = NULL;
	if (body && (!find_messages(&s, left.data, left.len) || join(b, body, &s, skipped))) {
		k_json_free(body);
		body = NULL;
	}
	k_buf_fini(&left);
	k_free(s.end);
	return body;
}

int k_bodies_parse(struct k_recent *r, struct k_json **out, const char *text, size_t len, struct k_err *err)
{
	struct body b = { 0 };
	struct spans s = { 0 };
	if (!r || len < LEAST_BODY)
		return parse(out, text, len, err);
	take_begin(r, &b, text, len);
	*out = b.at.n ? read_rest(&b, text, len) : NULL;
	if (!*out) {
		fini(&b);
		int rc = parse(out, text, len, err);
		if (rc)
			return rc;
		if (!find_messages(&s, text, len) || join(&b, *out, &s, 0))
			fini(&b);
		k_free(s.end);
	}
	if (b.at.n && may_be_kept(*out))
		put(r, &b, text);
	else
		fini(&b);
	return 0;
}
