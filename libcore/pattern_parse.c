/* pattern_parse.c: regular expressions -> positions with edges: a set of characters, nothing, "only at the begin", "only at the
 * end".
 *
 * An expression is searched for: loops over any character stand before and behind it. All sizes are bounded; what does not fit is
 * refused, so that a hostile pattern costs little. */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/pattern_int.h"
#include "libcore/unicode.h"

enum {
	MAX_NODES = 20000, MAX_DEPTH = 100, MAX_REPEAT = 5000, MAX_ATOMS = 200000 /* parsed, again in each repetition */,
};

/* --- sets of characters ----------------------------------------------------------------------------------------------------- */

static int add_range(struct k_set *s, uint32_t lo, uint32_t hi)
{
	if (lo > hi)
		return 0;
	if (s->n == s->cap) {
		int cap = s->cap ? 2 * s->cap : 8;
		struct k_range *v = k_realloc(s->v, (size_t)cap * sizeof(*v));
		if (!v)
			return -1;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = (struct k_range){ lo, hi };
	return 0;
}

static int by_lo(const void *a, const void *b)
{
	const struct k_range *x = a, *y = b;
	return (x->lo > y->lo) - (x->lo < y->lo);
}

static void tidy(struct k_set *s)
{
	int n = 0;
	if (s->n > 1)
		qsort(s->v, (size_t)s->n, sizeof(*s->v), by_lo);
	for (int i = 0; i < s->n; i++) {
		if (n && s->v[i].lo <= s->v[n - 1].hi + 1)
			s->v[n - 1].hi = K_MAX(s->v[n - 1].hi, s->v[i].hi);
		else
			s->v[n++] = s->v[i];
	}
	s->n = n;
}

static int complement(struct k_set *s)
{
	struct k_set out = { 0 };
	uint32_t from = 0;
	int rc = 0;
	tidy(s);
	for (int i = 0; i < s->n && !rc; i++) {
		if (s->v[i].lo > from)
			rc = add_range(&out, from, s->v[i].lo - 1);
		from = s->v[i].hi + 1;
	}
	if (!rc && from <= K_LAST_CHAR)
		rc = add_range(&out, from, K_LAST_CHAR);
	k_free(s->v);
	*s = out;
	return rc;
}

/* Members of \d, \w, \s beyond ASCII, as some readers have them. */
static int add_unicode(struct k_set *s, int classes)
{
	int rc = 0;
	for (uint32_t c = 0x80; c <= K_LAST_CHAR && !rc; c++) {
		if (k_unicode_class(c) & classes) {
			uint32_t from = c;
			while (c < K_LAST_CHAR && k_unicode_class(c + 1) & classes)
				c++;
			rc = add_range(s, from, c);
		}
	}
	return rc;
}

/* One of d w s D W S. wide: what any reader takes for a member. */
static int add_named(struct k_set *out, char name, bool wide)
{
	static const struct { char name; struct k_range v[6]; int n, unicode; } table[] = {
		{ 'd', { { '0', '9' } }, 1, K_UC_NUMBER },
		{ 'w', { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } }, 4, K_UC_NUMBER | K_UC_LETTER | K_UC_UPPER | K_UC_LOWER },
		{ 's', { { 9, 13 }, { ' ', ' ' } }, 2, K_UC_SPACE },
	};
	bool negate = name < 'a';
	struct k_set s = { 0 };
	int rc = 0;
	for (size_t i = 0; i < K_LEN(table); i++) {
		if (table[i].name != (name | 32))
			continue;
		for (int k = 0; k < table[i].n && !rc; k++)
			rc = add_range(&s, table[i].v[k].lo, table[i].v[k].hi);
		if (!rc && wide != negate)
			rc = add_unicode(&s, table[i].unicode);
		if (!rc && wide != negate && table[i].name == 's')
			rc = add_range(&s, 0x1c, 0x1f) || add_range(&s, 0xfeff, 0xfeff) || add_range(&s, 0x180e, 0x180e);
	}
	if (!rc && negate)
		rc = complement(&s);
	for (int i = 0; i < s.n && !rc; i++)
		rc = add_range(out, s.v[i].lo, s.v[i].hi);
	k_free(s.v);
	return rc;
}

/* --- the parser ------------------------------------------------------------------------------------------------------------- */

struct piece { int32_t in, out; };      /* out: a node whose edge is not drawn yet */

static int no_memory(struct k_nfa *a) { return k_err_nomem(a->err, sizeof(struct k_position), "a pattern"); }

static int32_t new_node(struct k_nfa *a)
{
	if (a->n == MAX_NODES)
		return k_err_set(a->err, K_EUNSUP, "the pattern is too large");
	if (a->n == a->cap) {
		int cap = a->cap ? 2 * a->cap : 64;
		struct k_position *v = k_realloc(a->v, (size_t)cap * sizeof(*v));
		if (!v)
			return no_memory(a);
		a->v = v;
		a->cap = cap;
	}
	a->v[a->n] = (struct k_position){ .kind = K_EDGE_NONE, .to = -1, .also = -1, .set = -1 };
	return a->n++;
}

static void link_node(struct k_nfa *a, int32_t from, int32_t to, int32_t also)
{
	a->v[from].kind = K_EDGE_EMPTY;
	a->v[from].to = to;
	a->v[from].also = also;
}

/* Takes the set. */
static int set_piece(struct k_nfa *a, struct k_set *s, struct piece *out)
{
	int32_t in = new_node(a), end = in < 0 ? in : new_node(a);
	if (end < 0) {
		k_free(s->v);
		return end;
	}
	if (a->n_sets == a->cap_sets) {
		int cap = a->cap_sets ? 2 * a->cap_sets : 16;
		struct k_set *v = k_realloc(a->sets, (size_t)cap * sizeof(*v));
		if (!v) {
			k_free(s->v);
			return no_memory(a);
		}
		a->sets = v;
		a->cap_sets = cap;
	}
	tidy(s);
	a->sets[a->n_sets] = *s;
	a->v[in].kind = K_EDGE_SET;
	a->v[in].set = a->n_sets++;
	a->v[in].to = end;
	*out = (struct piece){ in, end };
	return 0;
}

static int range_piece(struct k_nfa *a, uint32_t lo, uint32_t hi, struct piece *out)
{
	struct k_set s = { 0 };
	return add_range(&s, lo, hi) ? no_memory(a) : set_piece(a, &s, out);
}

static int simple_piece(struct k_nfa *a, enum k_edge kind, struct piece *out)
{
	int32_t in = new_node(a), end = in < 0 ? in : new_node(a);
	if (end < 0)
		return end;
	a->v[in].kind = (uint8_t)kind;
	a->v[in].to = end;
	*out = (struct piece){ in, end };
	return 0;
}

static int peek(const struct k_nfa *a) { return a->at < a->len ? (unsigned char)a->s[a->at] : -1; }

static uint32_t take_char(struct k_nfa *a)
{
	int len;
	uint32_t c = k_unicode_at(a->s + a->at, &len);
	a->at += (size_t)len;
	return c;
}

static int bad(struct k_nfa *a, const char *what)
{
	return k_err_set(a->err, K_EFORMAT, "the pattern is no regular expression: %s at offset %zu", what, a->at);
}

static int take_hex(struct k_nfa *a, int digits, uint32_t *out)
{
	*out = 0;
	for (int i = 0; i < digits; i++) {
		int c = peek(a), d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
		if (c < 0 || d < 0)
			return bad(a, "a hex digit is missing");
		*out = *out * 16 + (uint32_t)d;
		a->at++;
	}
	return 0;
}

/* Behind a backslash. *named: one of dwsDWS, else 0 and *c. */
static int take_escape(struct k_nfa *a, bool in_class, char *named, uint32_t *c)
{
	static const char from[] = "nrtfv0", to[] = "\n\r\t\f\v";
	int b = peek(a);
	*named = 0;
	if (b < 0)
		return bad(a, "a backslash ends it");
	if (strchr("dwsDWS", b)) {
		*named = (char)b;
		a->at++;
		return 0;
	}
	if (in_class && b == 'b')
		return a->at++, *c = 8, 0;
	if (strchr("bBpPkGAZz", b) || (b >= '1' && b <= '9'))
		return k_err_set(a->err, K_EUNSUP, "\\%c in a pattern is not supported", b);
	const char *k = strchr(from, b);
	if (k && b)
		return a->at++, *c = (unsigned char)to[k - from], 0;
	if (b == 'x' || b == 'u')
		return a->at++, take_hex(a, b == 'x' ? 2 : 4, c);
	if (b == 'c')
		return k_err_set(a->err, K_EUNSUP, "\\c in a pattern is not supported");
	if ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z'))
		return bad(a, "an unknown escape");
	*c = take_char(a);
	return 0;
}

static int class_piece(struct k_nfa *a, struct piece *out)
{
	struct k_set s = { 0 };
	bool negate = peek(a) == '^';
	int rc = 0;
	a->at += negate;
	for (bool first = true; !rc && (peek(a) != ']' || first); first = false) {
		uint32_t lo = 0, hi = 0;
		char named = 0, named_hi = 0;
		if (peek(a) < 0)
			rc = bad(a, "a class is not closed");
		else if (peek(a) == ']')
			rc = k_err_set(a->err, K_EUNSUP, "a class that is empty or begins with ] is read in different ways");
		else if (peek(a) == '\\')
			rc = (a->at++, take_escape(a, true, &named, &lo));
		else if (peek(a) == '[' && (a->at + 1 < a->len && strchr(":.=[", a->s[a->at + 1])))
			rc = k_err_set(a->err, K_EUNSUP, "nested classes in a pattern are not supported");
		else
			lo = take_char(a);
		if (rc)
			break;
		if (named) {
			rc = add_named(&s, named, a->wide != negate) ? no_memory(a) : 0;
			continue;
		}
		hi = lo;
		if (peek(a) == '-' && a->at + 1 < a->len && a->s[a->at + 1] != ']') {
			a->at++;
			if (peek(a) == '\\')
				rc = (a->at++, take_escape(a, true, &named_hi, &hi));
			else
				hi = take_char(a);
			if (!rc && (named_hi || hi < lo))
				rc = bad(a, "a range runs backwards");
		}
		if (!rc && add_range(&s, lo, hi))
			rc = no_memory(a);
	}
	if (!rc) {
		a->at++;
		if (negate && complement(&s))
			rc = no_memory(a);
	}
	if (rc) {
		k_free(s.v);
		return rc;
	}
	return set_piece(a, &s, out);
}

static int alternatives(struct k_nfa *a, struct piece *out);

static int group_piece(struct k_nfa *a, struct piece *out)
{
	if (peek(a) == '?') {
		const char *p = a->s + a->at;
		size_t n = a->len - a->at;
		if (n >= 2 && p[1] == ':') {
			a->at += 2;
		} else if ((n >= 3 && p[1] == '<' && p[2] != '=' && p[2] != '!') || (n >= 3 && p[1] == 'P' && p[2] == '<')) {
			const char *end = memchr(p, '>', n);
			if (!end)
				return bad(a, "the name of a group is not closed");
			a->at += (size_t)(end - p) + 1;
		} else {
			return k_err_set(a->err, K_EUNSUP, "%s in a pattern is not supported", n >= 2 && strchr("=!<", p[1]) ? "lookaround"
				: "(? with anything but :");
		}
	}
	if (++a->depth > MAX_DEPTH)
		return k_err_set(a->err, K_EUNSUP, "the pattern is nested too deeply");
	int rc = alternatives(a, out);
	a->depth--;
	if (!rc && peek(a) != ')')
		rc = bad(a, "a group is not closed");
	a->at++;
	return rc;
}

static int atom(struct k_nfa *a, struct piece *out)
{
	int b = peek(a);
	if (++a->atoms > MAX_ATOMS)
		return k_err_set(a->err, K_EUNSUP, "the pattern is too large");
	if (b == '(')
		return a->at++, group_piece(a, out);
	if (b == '[')
		return a->at++, class_piece(a, out);
	if (b == '^' || b == '$')
		return a->at++, simple_piece(a, b == '^' ? K_EDGE_BEGIN : K_EDGE_END, out);
	if (b == '*' || b == '+' || b == '?')
		return bad(a, "nothing to repeat");
	if (b == '.') {
		static const uint32_t narrow[] = { '\n', '\r', 0x2028, 0x2029 };
		struct k_set s = { 0 };
		a->at++;
		for (size_t i = 0; i < (a->wide ? 0 : K_LEN(narrow)); i++) {
			if (add_range(&s, narrow[i], narrow[i])) {
				k_free(s.v);
				return no_memory(a);
			}
		}
		if (complement(&s)) {
			k_free(s.v);
			return no_memory(a);
		}
		return set_piece(a, &s, out);
	}
	if (b == '\\') {
		char named;
		uint32_t c = 0;
		struct k_set s = { 0 };
		a->at++;
		int rc = take_escape(a, false, &named, &c);
		if (rc)
			return rc;
		if (!named)
			return range_piece(a, c, c, out);
		if (add_named(&s, named, a->wide)) {
			k_free(s.v);
			return no_memory(a);
		}
		return set_piece(a, &s, out);
	}
	uint32_t c = take_char(a);
	return range_piece(a, c, c, out);
}

/* {m}, {m,}, {m,n}: 1; a brace that is text: 0. */
static int braces(struct k_nfa *a, int *lo, int *hi)
{
	size_t i = a->at + 1;
	int64_t v[2] = { -1, -1 };
	int k = 0;
	for (; i < a->len && a->s[i] != '}'; i++) {
		if (a->s[i] == ',' && !k++)
			continue;
		if (a->s[i] < '0' || a->s[i] > '9' || k > 1)
			return 0;
		v[k] = K_MIN(K_MAX(v[k], 0) * 10 + a->s[i] - '0', 1 << 20);
	}
	if (i == a->len || v[0] < 0)
		return 0;
	if (v[0] > MAX_REPEAT || v[1] > MAX_REPEAT)
		return k_err_set(a->err, K_EUNSUP, "the pattern repeats more than %d times", MAX_REPEAT);
	*lo = (int)v[0];
	*hi = !k ? *lo : (int)v[1];
	a->at = i + 1;
	if (k && v[1] >= 0 && v[1] < v[0])
		return bad(a, "a repetition with the larger number first");
	return 1;
}

/* The atom at from, again: expressions are short, so copies are parsed. */
static int repeat(struct k_nfa *a, size_t from, size_t end, int lo, int hi, struct piece *out)
{
	struct piece first;
	int rc = simple_piece(a, K_EDGE_EMPTY, &first);
	int32_t at = first.out, skip = rc ? rc : new_node(a);
	size_t resume = a->at;
	if (rc || skip < 0)
		return rc ? rc : skip;
	for (int i = 0; i < (hi < 0 ? lo + 1 : hi); i++) {
		struct piece p;
		a->at = from;
		rc = atom(a, &p);
		if (rc)
			return rc;
		if (a->at != end)
			return k_err_set(a->err, K_EBUG, "a pattern was parsed in two ways");
		if (i < lo) {
			link_node(a, at, p.in, -1);
		} else {
			link_node(a, at, p.in, skip);
			if (hi < 0)
				link_node(a, p.out, p.in, skip);
		}
		at = p.out;
	}
	if (hi >= 0)
		link_node(a, at, skip, -1);
	a->at = resume;
	*out = (struct piece){ first.in, skip };
	return 0;
}

static int quantified(struct k_nfa *a, struct piece *out)
{
	size_t from = a->at;
	int lo = 1, hi = 1, n0 = a->n, sets0 = a->n_sets, b, rc = atom(a, out);
	size_t end = a->at;
	if (rc)
		return rc;
	b = peek(a);
	if (b == '*' || b == '+' || b == '?') {
		lo = b == '+';
		hi = b == '?' ? 1 : -1;
		a->at++;
	} else if (b == '{') {
		rc = braces(a, &lo, &hi);
		if (rc <= 0)
			return rc;
	} else {
		return 0;
	}
	if (peek(a) == '?')
		a->at++;
	if (peek(a) == '*' || peek(a) == '+' || peek(a) == '?')
		return k_err_set(a->err, K_EUNSUP, "possessive or doubled quantifiers in a pattern are not supported");
	if (lo == 1 && hi == 1)
		return 0;
	/* What was parsed first is forgotten: its copies take its place. */
	for (int i = sets0; i < a->n_sets; i++)
		k_free(a->sets[i].v);
	a->n = n0;
	a->n_sets = sets0;
	return repeat(a, from, end, lo, hi, out);
}

static int sequence(struct k_nfa *a, struct piece *out)
{
	int rc = simple_piece(a, K_EDGE_EMPTY, out);
	while (!rc && peek(a) >= 0 && peek(a) != '|' && peek(a) != ')') {
		struct piece p;
		rc = quantified(a, &p);
		if (rc)
			return rc;
		link_node(a, out->out, p.in, -1);
		out->out = p.out;
	}
	return rc;
}

static int alternatives(struct k_nfa *a, struct piece *out)
{
	int rc = sequence(a, out);
	while (!rc && peek(a) == '|') {
		struct piece p;
		a->at++;
		rc = sequence(a, &p);
		int32_t in = rc ? rc : new_node(a), end = in < 0 ? in : new_node(a);
		if (end < 0)
			return end;
		link_node(a, in, out->in, p.in);
		link_node(a, out->out, end, -1);
		link_node(a, p.out, end, -1);
		*out = (struct piece){ in, end };
	}
	return rc;
}

/* A loop over any character at node. */
static int loop_piece(struct k_nfa *a, struct piece *out)
{
	struct piece any;
	int rc = range_piece(a, 0, K_LAST_CHAR, &any);
	int32_t in = rc ? rc : new_node(a), end = in < 0 ? in : new_node(a);
	if (end < 0)
		return end;
	link_node(a, in, any.in, end);
	link_node(a, any.out, any.in, end);
	*out = (struct piece){ in, end };
	return 0;
}

int k_nfa_add(struct k_nfa *a, const struct k_pattern_part *x, int32_t *in, int32_t *accept)
{
	struct piece p = { 0 }, before, behind;
	a->s = x->text;
	a->len = x->len;
	a->at = 0;
	a->depth = 0;
	a->wide = x->negate;
	if (k_unicode_check(x->text, x->len) != x->len)
		return k_err_set(a->err, K_EFORMAT, "the pattern is not UTF-8");
	int rc;
	if (x->literal) {
		rc = simple_piece(a, K_EDGE_EMPTY, &p);
		while (!rc && peek(a) >= 0) {
			struct piece c;
			uint32_t ch = take_char(a);
			rc = range_piece(a, ch, ch, &c);
			if (!rc) {
				link_node(a, p.out, c.in, -1);
				p.out = c.out;
			}
		}
		*in = p.in;
		*accept = p.out;
		return rc;
	}
	rc = alternatives(a, &p);
	if (!rc && peek(a) >= 0)
		rc = bad(a, "a group is closed that was not opened");
	if (!rc)
		rc = loop_piece(a, &before);
	if (!rc)
		rc = loop_piece(a, &behind);
	if (rc)
		return rc;
	link_node(a, before.out, p.in, -1);
	link_node(a, p.out, behind.in, -1);
	*in = before.in;
	*accept = behind.out;
	return 0;
}

void k_nfa_fini(struct k_nfa *a)
{
	for (int i = 0; i < a->n_sets; i++)
		k_free(a->sets[i].v);
	k_free(a->sets);
	k_free(a->v);
}
