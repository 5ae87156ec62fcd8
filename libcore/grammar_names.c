/* grammar_names.c: which of the names that are not declared an object has, as long as it has fewer members than it must have: so none comes
 * twice and each counts.
 *
 *   text   a name as frames of its characters, each within the one before; names that begin alike share them
 *   used   a frame below the object's for each name that it has, with the text of it; they go when the object has members enough
 *
 * A name that is read is not in its frame, or there were as many states as names: its frame says where it is in the texts of the used ones,
 * and nothing once it has left them. A name that ends goes to the used ones as unknown, and who knows the bytes says what it was at once
 * (k_name_tell). A mask does not; for the tokens that end one name and begin another there, the second is vague, and they are tried each. */
#include "libcore/base.h"

#include "libcore/json.h"
#include "libcore/matcher_int.h"
#include "libcore/unicode.h"

static bool is_used(const struct k_matcher *m, uint32_t frame)
{
	return frame && m->g->nodes[m->frames[frame].node].kind == K_NODE_STRING;
}

uint32_t k_names_below(const struct k_matcher *m, uint32_t frame)
{
	while (is_used(m, frame))
		frame = m->frames[frame].parent;
	return frame;
}

/* The used name of the same kind at or below a frame; 0: none. Names of two kinds are never the same. */
static uint32_t next_used(const struct k_matcher *m, uint32_t frame, uint32_t key)
{
	while (is_used(m, frame) && m->frames[frame].node != key)
		frame = m->frames[frame].parent;
	return is_used(m, frame) ? frame : 0;
}

static uint32_t first_of(const struct k_string *t) { return next_used(t->m, t->m->frames[t->f->parent].parent, t->f->node); }
static uint32_t next_of(const struct k_string *t, uint32_t used) { return next_used(t->m, t->m->frames[used].parent, t->f->node); }

/* What a text begins with, so many characters; 0 when it has fewer. */
static uint32_t text_begin(const struct k_matcher *m, uint32_t text, uint32_t n)
{
	if (m->frames[text].depth < n)
		return 0;
	while (m->frames[text].depth > n)
		text = m->frames[text].parent;
	return text;
}

static uint32_t count_begins(const struct k_string *t, uint32_t text)
{
	uint32_t n = 0;
	for (uint32_t u = first_of(t); u; u = next_of(t, u))
		n += text_begin(t->m, t->m->frames[u].b - 1, t->m->frames[text].depth) == text;
	return n;
}

static bool is_among(const struct k_string *t) { return t->name != K_NAME_NONE && t->name != K_NAME_VAGUE; }

bool k_name_begin(const struct k_matcher *m, uint32_t used, uint32_t key, uint32_t *name)
{
	uint32_t n = 0;
	*name = K_NAME_NONE;
	for (uint32_t u = next_used(m, used, key); u; u = next_used(m, m->frames[u].parent, key)) {
		n++;
		if (*name != K_NAME_VAGUE)
			*name = m->frames[u].b == K_NAME_NONE ? K_NAME_VAGUE : K_NAME_FIRST;
	}
	return !n || k_pattern_ways(m->g->nodes[key].pattern, 0) > n;
}

bool k_string_char(struct k_string *t, uint32_t c)
{
	if (!k_pattern_step(t->p, &t->s, c))
		return false;
	if (!is_among(t))
		return true;
	uint32_t text = k_frame_find(t->m, t->name - 1, K_NODE_NONE, c, 0, 0), n = text ? count_begins(t, text) : 0;
	t->name = n ? text + 1 : K_NAME_NONE;
	return !n || k_pattern_ways(t->p, t->s) > n;
}

/* The last character first, as mostly no used name has it; else those that used names go on with are looked at each, and what is between. */
bool k_string_range(const struct k_string *t, uint32_t lo, uint32_t hi)
{
	uint32_t text = t->name - 1, from = lo;
	struct k_string last = *t;
	hi = K_MIN(hi, 0x10ffffu);
	if (lo <= hi && is_among(t) && k_string_char(&last, hi))
		return true;
	while (is_among(t) && from <= hi) {
		uint32_t c = UINT32_MAX;
		for (uint32_t u = first_of(t); u; u = next_of(t, u)) {
			uint32_t more = text_begin(t->m, t->m->frames[u].b - 1, t->m->frames[text].depth + 1);
			if (more && t->m->frames[more].parent == text && t->m->frames[more].a >= from)
				c = K_MIN(c, t->m->frames[more].a);
		}
		if (c > hi)
			break;
		struct k_string with = *t;
		if ((c > from && k_pattern_range(t->p, t->s, from, c - 1)) || k_string_char(&with, c))
			return true;
		from = c + 1;
	}
	return from <= hi && k_pattern_range(t->p, t->s, from, hi);
}

bool k_string_end(const struct k_string *t)
{
	for (uint32_t u = is_among(t) ? first_of(t) : 0; u; u = next_of(t, u)) {
		if (t->m->frames[u].b == t->name)
			return false;
	}
	return k_pattern_end(t->p, t->s);
}

bool k_name_is_read(const struct k_matcher *m, const uint32_t *threads, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct k_frame *f = &m->frames[threads[i]], *in = &m->frames[f->parent];
		if (m->g->nodes[f->node].kind != K_NODE_STRING || !f->parent)
			continue;
		const struct k_node *x = &m->g->nodes[in->node];
		if ((x->kind == K_NODE_OBJECT || x->kind == K_NODE_CALL) && (in->a & 15) == OBJ_EXTRA && k_members_of(in) < x->min)
			return true;
	}
	return false;
}

static bool is_unknown(const struct k_matcher *m, uint32_t frame)
{
	uint32_t used = m->frames[frame].parent;
	return is_used(m, used) && m->frames[used].b == K_NAME_NONE;
}

/* What is between two quotes of JSON. */
static bool put_json_name(struct k_buf *b, const char *s, size_t n)
{
	struct k_buf quoted;
	struct k_json *v = NULL;
	struct k_err err = { 0 };
	k_buf_init(&quoted, 0);
	k_buf_putc(&quoted, '"');
	k_buf_put(&quoted, s, n);
	k_buf_putc(&quoted, '"');
	bool ok = !quoted.failed && !k_json_parse(&v, quoted.data, quoted.len, 0, "a name", &err);
	if (ok)
		k_buf_put(b, k_json_string(v), k_json_len(v));
	k_json_free(v);
	k_buf_fini(&quoted);
	return ok;
}

static bool put_attribute_name(struct k_buf *b, const char *s, size_t n)
{
	k_attr_unescape(b, s, n);
	return true;
}

/* The text of a name as it is written; UINT32_MAX without memory. */
static uint32_t text_of(struct k_matcher *m, enum k_form form, const char *s, size_t n)
{
	struct k_buf b;
	uint32_t text = 0;
	k_buf_init(&b, 0);
	bool ok = (form == K_FORM_ATTRIBUTE ? put_attribute_name : put_json_name)(&b, s, n) && !b.failed;
	for (size_t i = 0; ok && i < b.len; ) {
		int len;
		uint32_t c = k_unicode_at(b.data + i, &len);
		text = k_frame_of(m, text, K_NODE_NONE, m->frames[text].depth + 1, c, 0, 0);
		ok = text != 0;
		i += (size_t)len;
	}
	k_buf_fini(&b);
	return ok ? text : UINT32_MAX;
}

bool k_name_tell(struct k_matcher *m, uint32_t *threads, uint32_t n, const char *s, size_t len)
{
	uint32_t text = UINT32_MAX;
	for (uint32_t i = 0; i < n; i++) {
		if (!is_unknown(m, threads[i]))
			continue;
		const struct k_frame f = m->frames[threads[i]], u = m->frames[f.parent];
		if (text == UINT32_MAX && (text = text_of(m, m->g->nodes[u.node].form, s, len)) == UINT32_MAX)
			return false;
		uint32_t used = k_frame_of(m, u.parent, u.node, u.depth, u.a, text + 1, u.n);
		threads[i] = used ? k_frame_of(m, used, f.node, f.depth, f.a, f.b, f.n) : 0;
		if (!threads[i])
			return false;
	}
	return true;
}
