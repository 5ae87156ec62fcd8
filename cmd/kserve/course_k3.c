/* course_k3.c: an answer of Kimi-K3 on its way through its constraint.
 *
 *   THOUGHT --/think--> BETWEEN --response--> RESPONSE --/response--> BEHIND --tools--> TOOLS --call--> CALL     (name: <|open|> name <|sep|>,
 *                                                                       |                ^----/call------/        /name: <|close|> name <|sep|>)
 *                                                                  /message --> END <--/message-- LAST <--/tools-- TOOLS
 *
 * The table `tags` has these arrows. What a call's element holds, the tags in it too, is the matcher's (K_SCHEMA_CALL). The text of a tag is
 * spelled: piece by piece in the tokens that a prompt has for it, so that it is told ahead where there is no choice; but names of arguments that no
 * schema declares, which are taken byte by byte. */
#include "libcore/base.h"

#include "cmd/kserve/course_int.h"

enum place { THOUGHT, BETWEEN, RESPONSE, BEHIND, TOOLS, CALL, LAST, END };
enum { N_TAGS = 9, LONG_TAG = 2048 };          /* bytes, from which on a name that is free ends: who reads tags has no room for more than twice that */

struct k3 {
	struct k_course x;
	int32_t open, close, sep;
	enum place at;
	bool said;                      /* RESPONSE: the JSON has begun */
	int calls;                      /* so far */
	bool tag;                       /* within one */
	bool ours;                      /* in `tags`; else the matcher's */
	bool quoted;                    /* within the value of an attribute */
	bool loose;                     /* the matcher's, byte by byte */
	size_t len;                     /* bytes of it so far */
	int32_t quote;                  /* the token; -1: there is none */
	struct k_spelling text;         /* what else the tag may be: by its row, N_TAGS and up: that of a call of a tool */
};

static struct k3 *k3(struct k_course *x) { return (struct k3 *)x; }

/* --- which tags may come ---------------------------------------------------------------------------------------------------------- */

static bool always(const struct k3 *k K_UNUSED) { return true; }

/* JSON or a call: an answer that begins with a call has no JSON. */
static bool may_close_response(const struct k3 *k)
{
	return k->x.c->required || !k->x.c->format || (k->said ? k_matcher_done(k->x.matcher) : k->x.c->n_tools > 0 || k_matcher_done(k->x.matcher));
}

static bool must_call(const struct k3 *k) { return k->x.c->required || (k->x.c->format && !k->said); }
static bool need_not_call(const struct k3 *k) { return !must_call(k); }
static bool may_call(const struct k3 *k) { return k->x.c->n_tools && (must_call(k) || !k->x.c->format); }
static bool may_call_again(const struct k3 *k) { return !k->calls || !k->x.c->one; }
static bool has_called(const struct k3 *k) { return k->calls; }
static bool has_arguments(const struct k3 *k) { return k_matcher_done(k->x.matcher); }

static const struct { enum place from; bool closes; const char *name; bool (*may)(const struct k3 *k); enum place to; } tags[N_TAGS] = {
	{ THOUGHT, true, "think", always, BETWEEN }, { BETWEEN, false, "response", always, RESPONSE },
	{ RESPONSE, true, "response", may_close_response, BEHIND }, { BEHIND, false, "tools", may_call, TOOLS },
	{ BEHIND, true, "message", need_not_call, END }, { TOOLS, false, "call", may_call_again, CALL },
	{ TOOLS, true, "tools", has_called, LAST }, { CALL, true, "call", has_arguments, TOOLS },
	{ LAST, true, "message", always, END },
};

static bool may_come(const struct k3 *k, size_t i, bool closes)
{
	return tags[i].from == k->at && tags[i].closes == closes && tags[i].may(k);
}

/* --- their text ------------------------------------------------------------------------------------------------------------------- */

/* The pieces that a prompt has: names, =" , values, quotes. quoted: it begins within a value. */
static int cut(const struct k3 *k, const char *s, size_t n, bool quoted, struct k_ids *out, struct k_err *err)
{
	int rc = 0;
	for (size_t from = 0, i = 1; i <= n && !rc; i++) {
		quoted ^= s[i - 1] == '"';
		if (i < n && s[i - 1] != '"' && !(quoted ? s[i] == '"' : s[i] == ' ' || s[i] == '='))
			continue;
		rc = k_tokenizer_encode(k->x.vocab->t, s + from, i - from, 0, out, err);
		from = i;
	}
	return rc;
}

static int add(struct k3 *k, int what, const char *s, size_t n, struct k_err *err)
{
	struct k_ids *ids;
	int rc = k_spelling_add(&k->text, what, &ids, err);
	return rc ? rc : cut(k, s, n, k->quoted, ids, err);
}

/* A name has no quotes and no &: nothing is to be escaped. */
static int add_calls(struct k3 *k, struct k_err *err)
{
	int rc = 0;
	for (int i = 0; i < k->x.c->n_tools && !rc; i++) {
		struct k_buf b;
		if (!k->x.c->tools[i].allowed)
			continue;
		k_buf_init(&b, 0);
		k_buf_printf(&b, "call tool=\"%s\" index=\"%d\"", k->x.c->tools[i].name, k->calls + 1);
		rc = k_buf_ok(&b, "the header of a call", err);
		if (!rc)
			rc = add(k, N_TAGS + i, b.data, b.len, err);
		k_buf_fini(&b);
	}
	return rc;
}

/* What goes on in a tag of the matcher's, up to the next quote. */
static int spell(struct k3 *k, struct k_err *err)
{
	struct k_buf texts;
	int rc = 0;
	k_spelling_reset(&k->text);
	k->loose = false;
	if (k_matcher_takes_mark(k->x.matcher, K_MARK_SEP))
		return 0;
	k_buf_init(&texts, 1 << 20);
	k->loose = !k_matcher_spell(k->x.matcher, &texts);
	for (size_t i = 0, n; i < texts.len && !k->loose && !rc; i += n + 1) {
		n = strlen(texts.data + i);
		rc = add(k, 0, texts.data + i, n, err);
	}
	k_buf_fini(&texts);
	return rc;
}

static int begin_tag(struct k3 *k, int32_t id, struct k_err *err)
{
	bool closes = id == k->close;
	int rc = 0;
	k->tag = true;
	k->ours = k->at != CALL || !k_matcher_put_mark(k->x.matcher, closes ? K_MARK_CLOSE : K_MARK_OPEN);
	k->quoted = false;
	k->len = 0;
	if (!k->ours)
		return spell(k, err);
	k_spelling_reset(&k->text);
	for (size_t i = 0; i < K_LEN(tags) && !rc; i++) {
		if (may_come(k, i, closes))
			rc = tags[i].to == CALL ? add_calls(k, err) : add(k, (int)i, tags[i].name, strlen(tags[i].name), err);
	}
	return rc;
}

static int go_on_in_tag(struct k3 *k, int32_t id, struct k_err *err)
{
	size_t len;
	const char *s = k_tokenizer_bytes(k->x.vocab->t, id, &len);
	int rc = k->ours ? 0 : k_course_fit(&k->x, id, err);
	if (rc)
		return rc;
	for (size_t i = 0; s && i < len; i++)
		k->quoted ^= s[i] == '"';
	k->len += len;
	k_spelling_put(&k->text, id);
	return !k->ours && (k->loose || k_spelling_whole(&k->text) >= 0) ? spell(k, err) : 0;
}

static int end_tag(struct k3 *k, struct k_err *err)
{
	k->tag = false;
	if (!k->ours)
		return k_matcher_put_mark(k->x.matcher, K_MARK_SEP) ? 0 : k_err_set(err, K_EBUG, "a tag ends where the constraint lets none end");
	int what = k_spelling_whole(&k->text);
	if (what < 0)
		return k_err_set(err, K_EBUG, "a tag ends that the constraint has not spelled");
	if (what < N_TAGS) {
		k->at = tags[what].to;
		return 0;
	}
	k->at = CALL;
	k->calls++;
	return k_course_begin(&k->x, k->x.c->tools[what - N_TAGS].grammar, err);
}

/* --- the mask --------------------------------------------------------------------------------------------------------------------- */

static bool allow_loose(struct k3 *k)
{
	const uint64_t *mask = k_matcher_mask(k->x.matcher);
	bool ends = mask && k->len > LONG_TAG && k->quote >= 0 && mask[k->quote / 64] >> (k->quote % 64) & 1;
	if (!ends)
		return k_course_allow_ruled(&k->x);
	k_course_set(&k->x, k->quote);
	return true;
}

static bool allow_in_tag(struct k3 *k)
{
	bool ends = k->ours ? k_spelling_whole(&k->text) >= 0 : k_matcher_takes_mark(k->x.matcher, K_MARK_SEP);
	if (ends)
		k_course_set(&k->x, k->sep);
	k_spelling_allow(&k->text, &k->x);
	return !k->loose || allow_loose(k);
}

/* Text that is free; an answer that need not be anything may also end in it. */
static bool allow_free(struct k3 *k)
{
	k_course_allow_ordinary(&k->x);
	if (!k_course_is_bound(&k->x))
		k_course_allow_stops(&k->x);
	return true;
}

static bool in_response(struct k3 *k)
{
	return k->x.c->required || (k->x.c->format ? k_course_allow_ruled(&k->x) : allow_free(k));
}

static bool in_call(struct k3 *k)
{
	if (k_matcher_takes_mark(k->x.matcher, K_MARK_OPEN))
		k_course_set(&k->x, k->open);
	if (k_matcher_takes_mark(k->x.matcher, K_MARK_CLOSE))
		k_course_set(&k->x, k->close);
	return k_course_allow_ruled(&k->x);
}

static bool at_end(struct k3 *k)
{
	k_course_allow_end(&k->x);
	return true;
}

/* Text that may come between tags; NULL: none. */
static bool (*const texts[])(struct k3 *k) = {
	[THOUGHT] = allow_free, [RESPONSE] = in_response, [CALL] = in_call, [END] = at_end,
};

static bool allow(struct k_course *x)
{
	struct k3 *k = k3(x);
	if (k->tag)
		return allow_in_tag(k);
	for (size_t i = 0; i < K_LEN(tags); i++) {
		if (may_come(k, i, true))
			k_course_set(x, k->close);
		if (may_come(k, i, false))
			k_course_set(x, k->open);
	}
	return !texts[k->at] || texts[k->at](k);
}

/* --- life ------------------------------------------------------------------------------------------------------------------------- */

static int put(struct k_course *x, int32_t id, struct k_err *err)
{
	struct k3 *k = k3(x);
	if (k->tag)
		return id == k->sep ? end_tag(k, err) : go_on_in_tag(k, id, err);
	if (id == k->open || id == k->close)
		return begin_tag(k, id, err);
	if (k->at != CALL && !(k->at == RESPONSE && x->c->format))
		return 0;
	k->said = true;
	return k_course_fit(x, id, err);
}

static int set_up(struct k_course *x, const struct k_server *s, struct k_err *err)
{
	struct k3 *k = k3(x);
	struct k_ids quote;
	k_ids_init(&quote);
	int rc = k_tokenizer_encode(s->tok, "\"", 1, 0, &quote, err);
	k->quote = !rc && quote.n == 1 ? quote.v[0] : -1;
	k_ids_fini(&quote);
	k->open = k_tokenizer_special(s->tok, "<|open|>");
	k->close = k_tokenizer_special(s->tok, "<|close|>");
	k->sep = k_tokenizer_special(s->tok, "<|sep|>");
	k->at = k_parser_state(x->parser) == K_PARSE_REASON ? THOUGHT : RESPONSE;
	return rc;
}

static void fini(struct k_course *x) { k_spelling_fini(&k3(x)->text); }

const struct k_course_kind k_course_k3 = { .size = sizeof(struct k3), .set_up = set_up, .allow = allow, .put = put, .fini = fini };
