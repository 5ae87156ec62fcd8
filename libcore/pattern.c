/* pattern.c: expression -> automaton of positions (NFA) -> deterministic automaton over classes of characters (DFA) -> which
 * (state, length) can still end.
 *
 *   parse ---> nodes with edges: a set of characters, nothing, "only at the begin", "only at the end"
 *   determine  sets of nodes become states; characters that no set tells apart are one class
 *   decide     live[count][state]: is there a way to an accepting state with a length in the range?
 *
 * An expression is searched for: loops over any character stand before and behind it. All sizes are bounded; what does not fit is
 * refused, so that a hostile pattern costs little. */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/pattern.h"
#include "libcore/unicode.h"

enum {
	MAX_NODES = 20000, MAX_STATES = 6000, MAX_DEPTH = 100, MAX_REPEAT = 5000, LAST_CHAR = 0x10ffff,
	MAX_MEMBERS = 4 << 20 /* of all sets of nodes */, MAX_TABLE = 8 << 20 /* transitions */, MAX_LIVE = 64 << 20 /* bits */,
	MAX_WORK = 100 << 20 /* steps of the closure */, MAX_ATOMS = 200000 /* parsed, again in each repetition */,
};

struct range { uint32_t lo, hi; };
struct set { struct range *v; int n, cap; };

enum edge { EDGE_NONE, EDGE_SET, EDGE_EMPTY, EDGE_BEGIN, EDGE_END };
/* A node has one edge over characters or two over nothing. */
struct node { uint8_t kind; int32_t to, also; int32_t set; };

struct nfa {
	struct node *v; int n, cap;
	struct set *sets; int n_sets, cap_sets;
	bool wide;                      /* classes hold what any reader may take for a member: for negated parts */
	const char *s; size_t len, at;
	int depth, atoms;
	struct k_err *err;
};

struct k_pattern {
	int n_class;
	uint32_t *first;                /* first character of each class, ascending; n_class of them */
	int n_state;
	int32_t *next;                  /* [state][class], -1: none */
	uint8_t *accept, *all;          /* [state]; all: loops to itself on every character */
	int64_t min, max, top;          /* top: where counting ends */
	uint64_t *live;                 /* bits [count][state]; NULL: plain, one state */
};

/* --- sets of characters ----------------------------------------------------------------------------------------------------- */

static int add_range(struct set *s, uint32_t lo, uint32_t hi)
{
	if (lo > hi)
		return 0;
	if (s->n == s->cap) {
		int cap = s->cap ? 2 * s->cap : 8;
		struct range *v = k_realloc(s->v, (size_t)cap * sizeof(*v));
		if (!v)
			return -1;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = (struct range){ lo, hi };
	return 0;
}

static int by_lo(const void *a, const void *b)
{
	const struct range *x = a, *y = b;
	return (x->lo > y->lo) - (x->lo < y->lo);
}

static void tidy(struct set *s)
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

static int complement(struct set *s)
{
	struct set out = { 0 };
	uint32_t from = 0;
	int rc = 0;
	tidy(s);
	for (int i = 0; i < s->n && !rc; i++) {
		if (s->v[i].lo > from)
			rc = add_range(&out, from, s->v[i].lo - 1);
		from = s->v[i].hi + 1;
	}
	if (!rc && from <= LAST_CHAR)
		rc = add_range(&out, from, LAST_CHAR);
	k_free(s->v);
	*s = out;
	return rc;
}

/* Members of \d, \w, \s beyond ASCII, as some readers have them. */
static int add_unicode(struct set *s, int classes)
{
	int rc = 0;
	for (uint32_t c = 0x80; c <= LAST_CHAR && !rc; c++) {
		if (k_unicode_class(c) & classes) {
			uint32_t from = c;
			while (c < LAST_CHAR && k_unicode_class(c + 1) & classes)
				c++;
			rc = add_range(s, from, c);
		}
	}
	return rc;
}

/* One of d w s D W S. wide: what any reader takes for a member. */
static int add_named(struct set *out, char name, bool wide)
{
	static const struct { char name; struct range v[6]; int n, unicode; } table[] = {
		{ 'd', { { '0', '9' } }, 1, K_UC_NUMBER },
		{ 'w', { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } }, 4, K_UC_NUMBER | K_UC_LETTER | K_UC_UPPER | K_UC_LOWER },
		{ 's', { { 9, 13 }, { ' ', ' ' } }, 2, K_UC_SPACE },
	};
	bool negate = name < 'a';
	struct set s = { 0 };
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

/* --- the parser --------------------------------------------------------------------------------------------------------------- */

struct piece { int32_t in, out; };      /* out: a node whose edge is not drawn yet */

static int no_memory(struct nfa *a) { return k_err_nomem(a->err, sizeof(struct node), "a pattern"); }

static int32_t new_node(struct nfa *a)
{
	if (a->n == MAX_NODES)
		return k_err_set(a->err, K_EUNSUP, "the pattern is too large");
	if (a->n == a->cap) {
		int cap = a->cap ? 2 * a->cap : 64;
		struct node *v = k_realloc(a->v, (size_t)cap * sizeof(*v));
		if (!v)
			return no_memory(a);
		a->v = v;
		a->cap = cap;
	}
	a->v[a->n] = (struct node){ .kind = EDGE_NONE, .to = -1, .also = -1, .set = -1 };
	return a->n++;
}

static void link_node(struct nfa *a, int32_t from, int32_t to, int32_t also)
{
	a->v[from].kind = EDGE_EMPTY;
	a->v[from].to = to;
	a->v[from].also = also;
}

/* Takes the set. */
static int set_piece(struct nfa *a, struct set *s, struct piece *out)
{
	int32_t in = new_node(a), end = in < 0 ? in : new_node(a);
	if (end < 0) {
		k_free(s->v);
		return end;
	}
	if (a->n_sets == a->cap_sets) {
		int cap = a->cap_sets ? 2 * a->cap_sets : 16;
		struct set *v = k_realloc(a->sets, (size_t)cap * sizeof(*v));
		if (!v) {
			k_free(s->v);
			return no_memory(a);
		}
		a->sets = v;
		a->cap_sets = cap;
	}
	tidy(s);
	a->sets[a->n_sets] = *s;
	a->v[in].kind = EDGE_SET;
	a->v[in].set = a->n_sets++;
	a->v[in].to = end;
	*out = (struct piece){ in, end };
	return 0;
}

static int range_piece(struct nfa *a, uint32_t lo, uint32_t hi, struct piece *out)
{
	struct set s = { 0 };
	return add_range(&s, lo, hi) ? no_memory(a) : set_piece(a, &s, out);
}

static int simple_piece(struct nfa *a, enum edge kind, struct piece *out)
{
	int32_t in = new_node(a), end = in < 0 ? in : new_node(a);
	if (end < 0)
		return end;
	a->v[in].kind = (uint8_t)kind;
	a->v[in].to = end;
	*out = (struct piece){ in, end };
	return 0;
}

static int peek(const struct nfa *a) { return a->at < a->len ? (unsigned char)a->s[a->at] : -1; }

static uint32_t take_char(struct nfa *a)
{
	int len;
	uint32_t c = k_unicode_at(a->s + a->at, &len);
	a->at += (size_t)len;
	return c;
}

static int bad(struct nfa *a, const char *what)
{
	return k_err_set(a->err, K_EFORMAT, "the pattern is no regular expression: %s at offset %zu", what, a->at);
}

static int take_hex(struct nfa *a, int digits, uint32_t *out)
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
static int take_escape(struct nfa *a, bool in_class, char *named, uint32_t *c)
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

static int class_piece(struct nfa *a, struct piece *out)
{
	struct set s = { 0 };
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

static int alternatives(struct nfa *a, struct piece *out);

static int group_piece(struct nfa *a, struct piece *out)
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

static int atom(struct nfa *a, struct piece *out)
{
	int b = peek(a);
	if (++a->atoms > MAX_ATOMS)
		return k_err_set(a->err, K_EUNSUP, "the pattern is too large");
	if (b == '(')
		return a->at++, group_piece(a, out);
	if (b == '[')
		return a->at++, class_piece(a, out);
	if (b == '^' || b == '$')
		return a->at++, simple_piece(a, b == '^' ? EDGE_BEGIN : EDGE_END, out);
	if (b == '*' || b == '+' || b == '?')
		return bad(a, "nothing to repeat");
	if (b == '.') {
		static const uint32_t narrow[] = { '\n', '\r', 0x2028, 0x2029 };
		struct set s = { 0 };
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
		struct set s = { 0 };
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
static int braces(struct nfa *a, int *lo, int *hi)
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
static int repeat(struct nfa *a, size_t from, size_t end, int lo, int hi, struct piece *out)
{
	struct piece first;
	int rc = simple_piece(a, EDGE_EMPTY, &first);
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

static int quantified(struct nfa *a, struct piece *out)
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

static int sequence(struct nfa *a, struct piece *out)
{
	int rc = simple_piece(a, EDGE_EMPTY, out);
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

static int alternatives(struct nfa *a, struct piece *out)
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
static int loop_piece(struct nfa *a, struct piece *out)
{
	struct piece any;
	int rc = range_piece(a, 0, LAST_CHAR, &any);
	int32_t in = rc ? rc : new_node(a), end = in < 0 ? in : new_node(a);
	if (end < 0)
		return end;
	link_node(a, in, any.in, end);
	link_node(a, any.out, any.in, end);
	*out = (struct piece){ in, end };
	return 0;
}

static int part(struct nfa *a, const struct k_pattern_part *x, int32_t *in, int32_t *accept)
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
		rc = simple_piece(a, EDGE_EMPTY, &p);
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

/* --- sets of nodes become states ---------------------------------------------------------------------------------------------- */

struct builder {
	struct nfa a;
	const struct k_pattern_part *parts;
	int n_parts;
	int32_t *in, *accept;           /* of each part */
	struct k_pattern *p;
	int32_t *members; size_t n_members, cap_members;
	size_t *from;                   /* [state + 1] into members */
	int cap_states;
	int32_t *table; size_t cap_table;       /* hash of sets -> state + 1 */
	uint32_t *mark, stamp;          /* nodes in the set that is made */
	int32_t *set; int n_set;
	int32_t *stack;
	size_t work;
};

/* Adds what node leads to over nothing. */
static void close_over(struct builder *b, int32_t node, bool begin, bool end)
{
	int n = 0;
	b->stack[n++] = node;
	while (n) {
		int32_t i = b->stack[--n];
		if (i < 0 || b->mark[i] == b->stamp)
			continue;
		b->mark[i] = b->stamp;
		b->work++;
		const struct node *x = &b->a.v[i];
		b->set[b->n_set++] = i;
		bool open = x->kind == EDGE_EMPTY || (x->kind == EDGE_BEGIN && begin) || (x->kind == EDGE_END && end);
		if (open && x->to >= 0)
			b->stack[n++] = x->to;
		if (open && x->also >= 0)
			b->stack[n++] = x->also;
	}
}

static int by_value(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
	return (x > y) - (x < y);
}

/* Only nodes that wait for something make a difference. */
static void prune(struct builder *b)
{
	int n = 0;
	for (int i = 0; i < b->n_set; i++) {
		int kind = b->a.v[b->set[i]].kind;
		bool accept = kind == EDGE_NONE;
		if (accept || kind == EDGE_SET || kind == EDGE_END)
			b->set[n++] = b->set[i];
	}
	b->n_set = n;
	qsort(b->set, (size_t)n, sizeof(*b->set), by_value);
}

static uint64_t hash_of(const int32_t *v, int n)
{
	uint64_t h = 1469598103934665603u;
	for (int i = 0; i < n; i++)
		h = (h ^ (uint32_t)v[i]) * 1099511628211u;
	return h ^ h >> 29;
}

static bool accepting(struct builder *b)
{
	/* With the end reached. */
	int n = b->n_set;
	int32_t *kept = k_alloc((size_t)K_MAX(n, 1) * sizeof(*kept));
	bool yes = kept != NULL;
	if (!kept)
		return false;
	memcpy(kept, b->set, (size_t)n * sizeof(*kept));
	b->stamp++;
	b->n_set = 0;
	for (int i = 0; i < n; i++)
		close_over(b, kept[i], false, true);
	for (int k = 0; k < b->n_parts; k++)
		yes &= (b->mark[b->accept[k]] == b->stamp) != b->parts[k].negate;
	memcpy(b->set, kept, (size_t)n * sizeof(*kept));
	b->n_set = n;
	k_free(kept);
	return yes;
}

static int grow_states(struct builder *b)
{
	struct k_pattern *p = b->p;
	size_t cap = b->cap_states ? 2 * (size_t)b->cap_states : 64;
	if (cap * (size_t)p->n_class > MAX_TABLE * 2u)
		return k_err_set(b->a.err, K_EUNSUP, "the pattern needs too many states");
	int32_t *next = k_realloc(p->next, cap * (size_t)p->n_class * sizeof(*next));
	if (next)
		p->next = next;
	uint8_t *accept = k_realloc(p->accept, cap);
	if (accept)
		p->accept = accept;
	size_t *from = k_realloc(b->from, (cap + 1) * sizeof(*from));
	if (from)
		b->from = from;
	int32_t *table = k_calloc(4 * cap, sizeof(*table));
	if (!next || !accept || !from || !table) {
		k_free(table);
		return no_memory(&b->a);
	}
	k_free(b->table);
	b->table = table;
	b->cap_table = 4 * cap;
	b->cap_states = (int)cap;
	for (int s = 0; s < p->n_state; s++) {
		size_t at = hash_of(b->members + b->from[s], (int)(b->from[s + 1] - b->from[s])) % b->cap_table;
		while (b->table[at])
			at = (at + 1) % b->cap_table;
		b->table[at] = s + 1;
	}
	return 0;
}

/* The state of b->set. */
static int32_t intern(struct builder *b)
{
	struct k_pattern *p = b->p;
	if (p->n_state == b->cap_states) {
		int rc = grow_states(b);
		if (rc)
			return rc;
	}
	size_t at = hash_of(b->set, b->n_set) % b->cap_table;
	for (; b->table[at]; at = (at + 1) % b->cap_table) {
		int s = b->table[at] - 1;
		size_t n = b->from[s + 1] - b->from[s];
		if (n == (size_t)b->n_set && !memcmp(b->members + b->from[s], b->set, n * sizeof(*b->set)))
			return s;
	}
	if (p->n_state >= MAX_STATES || b->n_members + (size_t)b->n_set > MAX_MEMBERS || b->work > MAX_WORK)
		return k_err_set(b->a.err, K_EUNSUP, "the pattern needs too many states");
	if (b->n_members + (size_t)b->n_set > b->cap_members) {
		size_t cap = 2 * b->cap_members + (size_t)b->n_set + 256;
		int32_t *v = k_realloc(b->members, cap * sizeof(*v));
		if (!v)
			return no_memory(&b->a);
		b->members = v;
		b->cap_members = cap;
	}
	int s = p->n_state++;
	b->table[at] = s + 1;
	b->from[s] = b->n_members;
	memcpy(b->members + b->n_members, b->set, (size_t)b->n_set * sizeof(*b->set));
	b->n_members += (size_t)b->n_set;
	b->from[s + 1] = b->n_members;
	p->accept[s] = accepting(b);
	return s;
}

static bool holds(const struct set *s, uint32_t c)
{
	int lo = 0, hi = s->n;
	while (lo < hi) {
		int mid = (lo + hi) / 2;
		if (s->v[mid].hi < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->n && s->v[lo].lo <= c;
}

static int by_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Characters that no set tells apart. Surrogates and U+0000 are classes of their own, which nothing leads over. */
static int classes(struct builder *b)
{
	static const uint32_t fixed[] = { 0, 1, 0xd800, 0xe000 };
	size_t n = K_LEN(fixed), m = 0;
	for (int i = 0; i < b->a.n_sets; i++)
		n += 2 * (size_t)b->a.sets[i].n;
	uint32_t *v = k_alloc(n * sizeof(*v));
	if (!v)
		return no_memory(&b->a);
	memcpy(v, fixed, sizeof(fixed));
	m = K_LEN(fixed);
	for (int i = 0; i < b->a.n_sets; i++) {
		for (int k = 0; k < b->a.sets[i].n; k++) {
			v[m++] = b->a.sets[i].v[k].lo;
			if (b->a.sets[i].v[k].hi < LAST_CHAR)
				v[m++] = b->a.sets[i].v[k].hi + 1;
		}
	}
	qsort(v, m, sizeof(*v), by_u32);
	n = 0;
	for (size_t i = 0; i < m; i++) {
		if (!n || v[i] != v[n - 1])
			v[n++] = v[i];
	}
	b->p->first = v;
	b->p->n_class = (int)n;
	return 0;
}

static bool forbidden(uint32_t c) { return !c || (c >= 0xd800 && c < 0xe000); }

static int determine(struct builder *b)
{
	struct k_pattern *p = b->p;
	size_t n = (size_t)b->a.n;
	b->mark = k_calloc(n, sizeof(*b->mark));
	b->set = k_alloc(n * sizeof(*b->set));
	b->stack = k_alloc((2 * n + 2) * sizeof(*b->stack));
	if (!b->mark || !b->set || !b->stack)
		return no_memory(&b->a);
	b->stamp++;
	for (int k = 0; k < b->n_parts; k++)
		close_over(b, b->in[k], true, false);
	prune(b);
	int32_t s = intern(b);
	for (int32_t at = 0; at < p->n_state && s >= 0; at++) {
		for (int c = 0; c < p->n_class; c++) {
			int32_t next = -1;
			if (!forbidden(p->first[c])) {
				b->stamp++;
				b->n_set = 0;
				for (size_t i = b->from[at]; i < b->from[at + 1]; i++) {
					const struct node *x = &b->a.v[b->members[i]];
					if (x->kind == EDGE_SET && holds(&b->a.sets[x->set], p->first[c]))
						close_over(b, x->to, false, false);
					b->work++;
				}
				prune(b);
				next = s = intern(b);
				if (s < 0)
					return s;
			}
			p->next[(size_t)at * (size_t)p->n_class + (size_t)c] = next;
		}
	}
	return s < 0 ? s : 0;
}

/* --- which states can end ------------------------------------------------------------------------------------------------------ */

static bool get_live(const struct k_pattern *p, int64_t count, int32_t s)
{
	size_t i = (size_t)count * (size_t)p->n_state + (size_t)s;
	return p->live[i / 64] >> (i % 64) & 1;
}

static bool set_live(struct k_pattern *p, int64_t count, int32_t s)
{
	size_t i = (size_t)count * (size_t)p->n_state + (size_t)s;
	if (get_live(p, count, s))
		return false;
	p->live[i / 64] |= (uint64_t)1 << (i % 64);
	return true;
}

static bool leads_to_live(const struct k_pattern *p, int32_t s, int64_t count)
{
	for (int c = 0; c < p->n_class; c++) {
		int32_t to = p->next[(size_t)s * (size_t)p->n_class + (size_t)c];
		if (to >= 0 && get_live(p, count, to))
			return true;
	}
	return false;
}

static int decide(struct k_pattern *p, struct k_err *err)
{
	p->top = p->max >= 0 ? p->max : p->min;
	size_t bits;
	if (!k_mul_size((size_t)p->top + 1, (size_t)p->n_state, &bits) || bits > MAX_LIVE)
		return k_err_set(err, K_EUNSUP, "a pattern of %d states with lengths up to %lld is too large", p->n_state, (long long)p->top);
	p->live = k_calloc(bits / 64 + 1, 8);
	p->all = k_calloc((size_t)p->n_state, 1);
	if (!p->live || !p->all)
		return k_err_nomem(err, bits / 8, "a pattern");
	for (int32_t s = 0; s < p->n_state; s++) {
		if (p->accept[s])
			set_live(p, p->top, s);
		p->all[s] = p->accept[s];
		for (int c = 0; c < p->n_class && p->all[s]; c++)
			p->all[s] = forbidden(p->first[c]) || p->next[(size_t)s * (size_t)p->n_class + (size_t)c] == s;
	}
	for (bool more = p->max < 0; more; ) {
		more = false;
		for (int32_t s = p->n_state - 1; s >= 0; s--)
			more |= !get_live(p, p->top, s) && leads_to_live(p, s, p->top) && set_live(p, p->top, s);
	}
	for (int64_t count = p->top - 1; count >= 0; count--) {
		for (int32_t s = 0; s < p->n_state; s++) {
			if ((count >= p->min && p->accept[s]) || leads_to_live(p, s, count + 1))
				set_live(p, count, s);
		}
	}
	return 0;
}

/* --- use ------------------------------------------------------------------------------------------------------------------------ */

/* state: count << 16 | state of the automaton. */
bool k_pattern_none(const struct k_pattern *p) { return p->live ? !get_live(p, 0, 0) : p->max >= 0 && p->min > p->max; }

static int class_of(const struct k_pattern *p, uint32_t c)
{
	int lo = 0, hi = p->n_class;
	while (hi - lo > 1) {
		int mid = (lo + hi) / 2;
		if (p->first[mid] <= c)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static bool follow(const struct k_pattern *p, uint64_t *state, int cls)
{
	int64_t count = (int64_t)(*state >> 16);
	int32_t s = (int32_t)(*state & 0xffff), to = p->next[(size_t)s * (size_t)p->n_class + (size_t)cls];
	if (to < 0 || (p->max >= 0 && count >= p->max))
		return false;
	count = K_MIN(count + 1, p->top);
	if (!get_live(p, count, to))
		return false;
	*state = (uint64_t)count << 16 | (uint64_t)to;
	return true;
}

bool k_pattern_step(const struct k_pattern *p, uint64_t *state, uint32_t c)
{
	if (forbidden(c) || c > LAST_CHAR)
		return false;
	if (p->live)
		return follow(p, state, class_of(p, c));
	int64_t count = (int64_t)(*state >> 16);
	if (p->max >= 0 && count >= p->max)
		return false;
	*state = (uint64_t)K_MIN(count + 1, p->top) << 16;
	return true;
}

bool k_pattern_range(const struct k_pattern *p, uint64_t state, uint32_t lo, uint32_t hi)
{
	uint64_t s = state;
	hi = K_MIN(hi, (uint32_t)LAST_CHAR);
	lo = K_MAX(lo, 1u);
	if (lo > hi || (lo >= 0xd800 && hi < 0xe000))
		return false;
	if (!p->live)
		return k_pattern_step(p, &s, 'x');
	for (int c = class_of(p, lo), end = class_of(p, hi); c <= end; c++) {
		s = state;
		if (!forbidden(p->first[c]) && follow(p, &s, c))
			return true;
	}
	return false;
}

bool k_pattern_end(const struct k_pattern *p, uint64_t state)
{
	int64_t count = (int64_t)(state >> 16);
	return count >= p->min && (p->max < 0 || count <= p->max) && (!p->live || p->accept[state & 0xffff]);
}

bool k_pattern_open(const struct k_pattern *p, uint64_t state, int64_t *room)
{
	if (p->live && !p->all[state & 0xffff])
		return false;
	*room = p->max < 0 ? INT64_MAX : p->max - (int64_t)(state >> 16);
	return true;
}

bool k_pattern_fits(const struct k_pattern *p, const char *s, size_t n)
{
	uint64_t state = 0;
	if (k_pattern_none(p))
		return false;
	for (size_t i = 0; i < n; ) {
		int len;
		uint32_t c = k_unicode_at(s + i, &len);
		if (!k_pattern_step(p, &state, c))
			return false;
		i += (size_t)len;
	}
	return k_pattern_end(p, state);
}

static int compile(struct builder *b)
{
	int rc = 0;
	b->in = k_calloc((size_t)b->n_parts, sizeof(*b->in));
	b->accept = k_calloc((size_t)b->n_parts, sizeof(*b->accept));
	if (!b->in || !b->accept)
		return no_memory(&b->a);
	for (int i = 0; i < b->n_parts && !rc; i++)
		rc = part(&b->a, &b->parts[i], &b->in[i], &b->accept[i]);
	if (!rc)
		rc = classes(b);
	if (!rc)
		rc = determine(b);
	return rc ? rc : decide(b->p, b->a.err);
}

int k_pattern_new(struct k_pattern **out, const struct k_pattern_part *parts, int n, int64_t min, int64_t max, struct k_err *err)
{
	struct k_pattern *p = k_calloc(1, sizeof(*p));
	struct builder b = { .a.err = err, .parts = parts, .n_parts = n, .p = p };
	int rc = 0;
	if (!p)
		return k_err_nomem(err, sizeof(*p), "a pattern");
	p->min = min;
	p->max = max;
	p->top = max >= 0 ? max : min;
	if (n)
		rc = compile(&b);
	for (int i = 0; i < b.a.n_sets; i++)
		k_free(b.a.sets[i].v);
	k_free(b.a.sets);
	k_free(b.a.v);
	k_free(b.in);
	k_free(b.accept);
	k_free(b.members);
	k_free(b.from);
	k_free(b.table);
	k_free(b.mark);
	k_free(b.set);
	k_free(b.stack);
	if (rc) {
		k_pattern_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void k_pattern_free(struct k_pattern *p)
{
	if (!p)
		return;
	k_free(p->first);
	k_free(p->next);
	k_free(p->accept);
	k_free(p->all);
	k_free(p->live);
	k_free(p);
}
