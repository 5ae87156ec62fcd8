/* grammar.c: a text walks through the nodes of a grammar, byte by byte.
 *
 *   frame   where one node is: which, inside whose, and how far; frames within frames are a stack
 *   state   all stacks that the text so far may stand for (the alternatives), and whether it is whole
 *
 * Frames and states are made once and found again by what they hold, so that a state is a number, its step by a byte a look into a
 * table, and its mask is kept. Strings are where nearly every token fits; their masks come from lists made for the vocabulary, and
 * only the few tokens with a quote, an escape or half a character are walked. A step is taken only where a value can still be
 * finished, so no text ends in a dead end. The tables begin anew when they have grown too large. */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/grammar_int.h"

enum { MAX_THREADS = 256, SOFT_STATES = 8000, HARD_STATES = 40000, SOFT_FRAMES = 50000, HARD_FRAMES = 400000, MAX_MASKS = 128 };
enum { DEAD = 0, UNKNOWN = UINT32_MAX };

struct frame { uint32_t parent, node, a, b; uint64_t n; uint32_t depth, hash; };
struct state { uint32_t *threads; uint32_t n, hash; bool accept; uint32_t *next; uint64_t *mask; };

struct table { uint32_t *slots; size_t cap; };
struct k_matcher {
	struct k_grammar *g;
	const struct k_vocab *v;
	struct frame *frames; uint32_t n_frames, cap_frames; struct table by_frame;
	struct state *states; uint32_t n_states, cap_states; struct table by_state;
	uint32_t now;
	uint32_t n_masks;
	uint32_t out[MAX_THREADS], n_out;       /* of the step that is taken */
	bool out_accept, full;          /* full: memory or room gave out */
};

/* --- tables ---------------------------------------------------------------------------------------------------------------- */

static int grow_table(struct table *t, size_t n)
{
	if (2 * n < t->cap)
		return 0;
	size_t cap = t->cap ? 2 * t->cap : 256;
	uint32_t *slots = k_calloc(cap, sizeof(*slots));
	if (!slots)
		return -1;
	k_free(t->slots);
	t->slots = slots;
	t->cap = cap;
	return 1;
}

static void put_slot(struct table *t, uint32_t hash, uint32_t id)
{
	size_t at = hash & (t->cap - 1);
	while (t->slots[at])
		at = (at + 1) & (t->cap - 1);
	t->slots[at] = id + 1;
}

static uint32_t mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32) ^ (uint32_t)h;
}

/* The frame with this content; 0 without memory. */
static uint32_t frame_of(struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t depth, uint32_t a, uint32_t b, uint64_t n)
{
	uint32_t hash = mix(mix(mix(mix(mix(7, parent), node), a), b), n);
	for (size_t at = hash & (m->by_frame.cap - 1); m->by_frame.slots[at]; at = (at + 1) & (m->by_frame.cap - 1)) {
		const struct frame *f = &m->frames[m->by_frame.slots[at] - 1];
		if (f->hash == hash && f->parent == parent && f->node == node && f->a == a && f->b == b && f->n == n)
			return m->by_frame.slots[at] - 1;
	}
	if (m->n_frames == m->cap_frames) {
		uint32_t cap = 2 * m->cap_frames + 64;
		struct frame *v = m->n_frames < HARD_FRAMES ? k_realloc(m->frames, cap * sizeof(*v)) : NULL;
		if (!v)
			return m->full = true, 0;
		m->frames = v;
		m->cap_frames = cap;
	}
	int grown = grow_table(&m->by_frame, m->n_frames + 1);
	if (grown < 0)
		return m->full = true, 0;
	for (uint32_t i = 0; grown && i < m->n_frames; i++)
		put_slot(&m->by_frame, m->frames[i].hash, i);
	m->frames[m->n_frames] = (struct frame){ parent, node, a, b, n, depth, hash };
	put_slot(&m->by_frame, hash, m->n_frames);
	return m->n_frames++;
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* The state of these stacks. */
static uint32_t state_of(struct k_matcher *m, uint32_t *threads, uint32_t n, bool accept)
{
	if (!n && !accept)
		return DEAD;
	uint32_t hash = mix(n, accept);
	if (n > 1)
		qsort(threads, n, sizeof(*threads), by_id);
	for (uint32_t i = 0; i < n; i++)
		hash = mix(hash, threads[i]);
	for (size_t at = hash & (m->by_state.cap - 1); m->by_state.slots[at]; at = (at + 1) & (m->by_state.cap - 1)) {
		const struct state *s = &m->states[m->by_state.slots[at] - 1];
		if (s->hash == hash && s->n == n && s->accept == accept && !memcmp(s->threads, threads, n * sizeof(*threads)))
			return m->by_state.slots[at] - 1;
	}
	if (m->n_states == m->cap_states) {
		uint32_t cap = 2 * m->cap_states + 64;
		struct state *v = m->n_states < HARD_STATES ? k_realloc(m->states, cap * sizeof(*v)) : NULL;
		if (!v)
			return m->full = true, DEAD;
		m->states = v;
		m->cap_states = cap;
	}
	int grown = grow_table(&m->by_state, m->n_states + 1);
	uint32_t *copy = grown < 0 ? NULL : k_alloc(K_MAX(n, 1u) * sizeof(*copy));
	for (uint32_t i = 1; grown > 0 && i < m->n_states; i++)
		put_slot(&m->by_state, m->states[i].hash, i);
	if (!copy)
		return m->full = true, DEAD;
	memcpy(copy, threads, n * sizeof(*copy));
	m->states[m->n_states] = (struct state){ copy, n, hash, accept, NULL, NULL };
	put_slot(&m->by_state, hash, m->n_states);
	return m->n_states++;
}

/* --- entering and leaving nodes ---------------------------------------------------------------------------------------------- */

enum { ARRAY_OPEN, ARRAY_FIRST, ARRAY_AFTER, ARRAY_NEXT, ARRAY_SPACE };
enum { OBJ_OPEN, OBJ_FIRST, OBJ_KEY, OBJ_EXTRA, OBJ_COLON, OBJ_SPACE, OBJ_AFTER, OBJ_NEXT, OBJ_WANT, OBJ_GAP };
enum { STR_BODY, STR_UTF8, STR_ESCAPE, STR_HEX, STR_LOW_SLASH, STR_LOW_U, STR_LOW, STR_OPEN };

static void emit(struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t depth, uint32_t a, uint32_t b, uint64_t n)
{
	if (m->n_out == MAX_THREADS)
		return;                 /* fewer alternatives; those that are there can be finished */
	uint32_t f = frame_of(m, parent, node, depth, a, b, n);
	for (uint32_t i = 0; i < m->n_out; i++) {
		if (m->out[i] == f)
			return;
	}
	if (f)
		m->out[m->n_out++] = f;
}

/* The same frame, further on. */
static void go_on(struct k_matcher *m, const struct frame *f, uint32_t a, uint32_t b, uint64_t n)
{
	emit(m, f->parent, f->node, f->depth, a, b, n);
}

static bool has_room(const struct k_matcher *m, uint32_t depth, uint32_t node)
{
	uint32_t height = m->g->nodes[node].height;
	return height != K_HEIGHT_NONE && depth + height <= m->g->limit;
}

static void enter(struct k_matcher *m, uint32_t node, uint32_t parent)
{
	const struct k_node *x = &m->g->nodes[node];
	uint32_t depth = m->frames[parent].depth;
	if (!has_room(m, depth, node))
		return;
	if (x->kind == K_NODE_UNION) {
		/* Settled: no union within a union. */
		for (uint32_t i = 0; i < x->n_kids; i++)
			enter(m, x->kids[i], parent);
		return;
	}
	bool container = x->kind == K_NODE_ARRAY || x->kind == K_NODE_OBJECT;
	emit(m, parent, node, depth + container, x->kind == K_NODE_STRING ? STR_OPEN : 0, 0, 0);
}

static void leave(struct k_matcher *m, uint32_t parent)
{
	if (!parent) {
		m->out_accept = true;
		return;
	}
	const struct frame f = m->frames[parent];
	if (m->g->nodes[f.node].kind == K_NODE_ARRAY)
		go_on(m, &f, ARRAY_NEXT, 0, f.n);
	else if ((f.a & 15) == OBJ_EXTRA)
		go_on(m, &f, OBJ_COLON | (f.a & ~15u), f.b, f.n);
	else
		go_on(m, &f, OBJ_NEXT | (f.a & ~15u), f.b, 0);
}

/* --- words ------------------------------------------------------------------------------------------------------------------- */

/* Of the sorted words that begin as words[lo] does up to depth: the first that goes on with c; n: none. */
static uint32_t word_step(const struct k_word *words, uint32_t n, uint32_t lo, uint32_t depth, unsigned char c)
{
	uint32_t a = lo, b = n;
	while (a < b) {
		uint32_t mid = a + (b - a) / 2;
		const struct k_word *w = &words[mid];
		int order = memcmp(w->s, words[lo].s, K_MIN(w->len, depth));
		bool less = order < 0 || (!order && (w->len <= depth || (unsigned char)w->s[depth] < c));
		if (less)
			a = mid + 1;
		else
			b = mid;
	}
	if (a == n || words[a].len <= depth || memcmp(words[a].s, words[lo].s, depth) || (unsigned char)words[a].s[depth] != c)
		return n;
	return a;
}

static bool same_begin(const struct k_word *a, const struct k_word *b, uint32_t n) { return b->len >= n && !memcmp(a->s, b->s, n); }

static void step_words(struct k_matcher *m, const struct frame *f, const struct k_node *x, unsigned char c)
{
	uint32_t depth = (uint32_t)(f->n >> 32), lo = word_step(x->words, x->n_words, (uint32_t)f->n, depth, c);
	if (lo == x->n_words)
		return;
	bool whole = x->words[lo].len == depth + 1;
	if (whole)
		leave(m, f->parent);
	if (!whole || (lo + 1 < x->n_words && same_begin(&x->words[lo], &x->words[lo + 1], depth + 1)))
		go_on(m, f, 0, 0, lo | (uint64_t)(depth + 1) << 32);
}

/* --- strings ----------------------------------------------------------------------------------------------------------------- */

/* a: what of a character is there: kind | left or digits << 3 | bits << 6. */
static uint32_t part_of(uint32_t kind, uint32_t k, uint32_t bits) { return kind | k << 3 | bits << 6; }

static int hex_of(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool utf8_ahead(const struct k_pattern *p, uint64_t s, uint32_t left, uint32_t bits, uint32_t least)
{
	uint32_t lo = bits << (6 * left), hi = lo + (1u << (6 * left)) - 1;
	return k_pattern_range(p, s, K_MAX(lo, least), hi);
}

static bool string_lead(const struct k_pattern *p, uint32_t *a, uint64_t *s, unsigned char c)
{
	uint32_t left = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1, bits = c & (0x3fu >> left);
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	if (c < 0xc2 || c > 0xf4 || !utf8_ahead(p, *s, left, bits, least[left]))
		return false;
	/* The second byte of some leads is bound; they are told by their bits and left. */
	*a = part_of(STR_UTF8, left, bits);
	return true;
}

static bool string_tail(const struct k_pattern *p, uint32_t *a, uint64_t *s, unsigned char c)
{
	uint32_t left = *a >> 3 & 7, bits = (*a >> 6) << 6 | (c & 0x3f);
	if ((c & 0xc0) != 0x80)
		return false;
	/* Overlong forms: of E0 and F0, whose bits are 0 before the second byte. */
	if ((left == 2 && !(*a >> 6) && bits < 0x20) || (left == 3 && !(*a >> 6) && bits < 0x10))
		return false;
	if (--left) {
		*a = part_of(STR_UTF8, left, bits);
		return utf8_ahead(p, *s, left, bits, 0);
	}
	*a = STR_BODY;
	return k_pattern_step(p, s, bits);
}

/* \uXXXX: surrogates only in pairs. */
static bool string_hex(const struct k_pattern *p, uint32_t *a, uint64_t *s, unsigned char c)
{
	int d = hex_of(c);
	uint32_t digits = (*a >> 3 & 7) + 1, bits = (*a >> 6) << 4 | (uint32_t)d;
	if (d < 0)
		return false;
	if (digits == 4) {
		if (bits >= 0xd800 && bits < 0xdc00) {
			*a = part_of(STR_LOW_SLASH, 0, (bits - 0xd800) << 16);
			return k_pattern_range(p, *s, 0x10000 + ((bits - 0xd800) << 10), 0x10000 + ((bits - 0xd800) << 10) + 0x3ff);
		}
		*a = STR_BODY;
		return k_pattern_step(p, s, bits);
	}
	uint32_t shift = 4 * (4 - digits), lo = bits << shift, hi = lo + (1u << shift) - 1;
	*a = part_of(STR_HEX, digits, bits);
	if (k_pattern_range(p, *s, lo, hi))
		return true;
	lo = K_MAX(lo, 0xd800u);
	hi = K_MIN(hi, 0xdbffu);
	return lo <= hi && k_pattern_range(p, *s, 0x10000 + ((lo - 0xd800) << 10), 0x10000 + ((hi - 0xd800) << 10) + 0x3ff);
}

static bool string_low(const struct k_pattern *p, uint32_t *a, uint64_t *s, unsigned char c)
{
	int d = hex_of(c);
	uint32_t digits = (*a >> 3 & 7) + 1, all = *a >> 6, high = all >> 16, low = ((all & 0xffff) << 4 | (uint32_t)d) & 0xffff;
	if (d < 0)
		return false;
	uint32_t shift = 4 * (4 - digits), lo = low << shift, hi = lo + (1u << shift) - 1;
	lo = K_MAX(lo, 0xdc00u);
	hi = K_MIN(hi, 0xdfffu);
	if (lo > hi)
		return false;
	if (digits == 4) {
		*a = STR_BODY;
		return k_pattern_step(p, s, 0x10000 + (high << 10) + (low - 0xdc00));
	}
	*a = part_of(STR_LOW, digits, high << 16 | low);
	return k_pattern_range(p, *s, 0x10000 + (high << 10) + (lo - 0xdc00), 0x10000 + (high << 10) + (hi - 0xdc00));
}

static bool string_escape(const struct k_pattern *p, uint32_t *a, uint64_t *s, unsigned char c)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *k = c ? strchr(from, c) : NULL;
	if (c == 'u') {
		*a = STR_HEX;
		return true;
	}
	*a = STR_BODY;
	return k && k_pattern_step(p, s, (unsigned char)to[k - from]);
}

/* false: cannot be. *end: this was the closing quote. */
static bool string_step(const struct k_pattern *p, uint32_t *a, uint64_t *s, unsigned char c, bool *end)
{
	switch (*a & 7) {
	case STR_OPEN:
		*a = STR_BODY;
		return c == '"';
	case STR_UTF8:
		return string_tail(p, a, s, c);
	case STR_ESCAPE:
		return string_escape(p, a, s, c);
	case STR_HEX:
		return string_hex(p, a, s, c);
	case STR_LOW_SLASH:
		*a = (*a & ~7u) | STR_LOW_U;
		return c == '\\';
	case STR_LOW_U:
		*a = (*a & ~7u) | STR_LOW;
		return c == 'u';
	case STR_LOW:
		return string_low(p, a, s, c);
	}
	if (c == '"')
		return *end = k_pattern_end(p, *s);
	if (c == '\\') {
		*a = STR_ESCAPE;
		return k_pattern_range(p, *s, 0, 0x10ffff);
	}
	if (c < 0x20)
		return false;
	return c < 0x80 ? k_pattern_step(p, s, c) : string_lead(p, a, s, c);
}

static void step_string(struct k_matcher *m, const struct frame *f, const struct k_node *x, unsigned char c)
{
	uint32_t a = f->a;
	uint64_t s = f->n;
	bool end = false;
	if (!string_step(x->pattern, &a, &s, c, &end))
		return;
	if (end)
		leave(m, f->parent);
	else
		go_on(m, f, a, 0, s);
}

/* --- numbers ----------------------------------------------------------------------------------------------------------------- */

static __int128 power10(int n)
{
	__int128 x = 1;
	while (n-- > 0)
		x *= 10;
	return x;
}

/* Is a multiple of step in [lo, hi] and in [x->low, x->high]? neg: of the mirrored interval. */
static bool meets(const struct k_node *x, bool neg, __int128 lo, __int128 hi, __int128 step)
{
	__int128 a = neg ? -hi : lo, b = neg ? -lo : hi;
	a = K_MAX(a, x->low);
	b = K_MIN(b, x->high);
	if (a > b)
		return false;
	__int128 q = a / step;
	if (q * step < a)
		q++;
	return q * step <= b;
}

enum { INT_DIGITS = 18, NUM_DIGITS = 15 };

/* Can an integer that begins with v be: with no further digit, with some? */
static bool int_whole(const struct k_node *x, bool neg, int64_t v) { return meets(x, neg, v, v, x->step); }

static bool int_more(const struct k_node *x, bool neg, int64_t v, int digits)
{
	for (int k = 1; v && digits + k <= INT_DIGITS; k++) {
		__int128 p = power10(k);
		if (meets(x, neg, v * p, v * p + p - 1, x->step))
			return true;
	}
	return false;
}

/* a: 1 behind a minus | digits << 1; n: the digits as a number */
static void step_integer(struct k_matcher *m, const struct frame *f, const struct k_node *x, unsigned char c)
{
	bool neg = f->a & 1;
	int digits = (int)(f->a >> 1);
	int64_t v = (int64_t)f->n;
	if (c == '-' && !f->a && meets(x, true, 1, power10(INT_DIGITS) - 1, x->step)) {
		go_on(m, f, 1, 0, 0);
		return;
	}
	if (c < '0' || c > '9' || digits == INT_DIGITS || (digits && !v) || (neg && !digits && c == '0'))
		return;
	v = v * 10 + (c - '0');
	digits++;
	if (int_whole(x, neg, v))
		leave(m, f->parent);
	if (int_more(x, neg, v, digits))
		go_on(m, f, (uint32_t)neg | (uint32_t)digits << 1, 0, (uint64_t)v);
}

enum { NUM_START, NUM_MINUS, NUM_INT, NUM_DOT, NUM_FRACTION, NUM_E, NUM_SIGN, NUM_EXP };
struct number { int at, digits, fraction; bool neg; int64_t v; };

static struct number number_of(const struct frame *f)
{
	return (struct number){ (int)(f->a & 15), (int)(f->a >> 8 & 255), (int)(f->a >> 16 & 255), f->a >> 4 & 1, (int64_t)f->n };
}

static uint32_t number_bits(const struct number *n)
{
	return (uint32_t)n->at | (uint32_t)n->neg << 4 | (uint32_t)n->digits << 8 | (uint32_t)n->fraction << 16;
}

/* Are there digits to come that lead into the bounds? As the integer part of a value or as its fraction. */
static bool num_fraction(const struct k_node *x, const struct number *n, int least)
{
	int left = NUM_DIGITS - n->digits;
	__int128 unit = power10(NUM_DIGITS - n->fraction), base = n->v * unit;
	if (left < least)
		return false;
	__int128 grid = power10(NUM_DIGITS - n->fraction - left);
	return x->free || meets(x, n->neg, base, base + unit - grid, grid);
}

static bool num_integer(const struct k_node *x, const struct number *n)
{
	int left = NUM_DIGITS - n->digits;
	for (int k = 1; k <= left && n->v; k++) {
		__int128 unit = power10(NUM_DIGITS + k), base = n->v * unit, grid = power10(NUM_DIGITS - (left - k));
		if (x->free || meets(x, n->neg, base, base + unit - grid, grid))
			return true;
	}
	return false;
}

static bool num_whole(const struct k_node *x, const struct number *n)
{
	__int128 value = n->v * power10(NUM_DIGITS - n->fraction);
	return x->free || meets(x, n->neg, value, value, 1);
}

static void number_go(struct k_matcher *m, const struct frame *f, const struct k_node *x, const struct number *n)
{
	bool whole = false, more = false;
	switch (n->at) {
	case NUM_MINUS:
		more = x->free || meets(x, true, 0, power10(2 * NUM_DIGITS), 1);
		break;
	case NUM_INT:
		whole = num_whole(x, n);
		more = x->free || num_integer(x, n) || num_fraction(x, n, 1);
		break;
	case NUM_DOT:
		more = num_fraction(x, n, 1);
		break;
	case NUM_FRACTION:
		whole = num_whole(x, n);
		more = x->free || num_fraction(x, n, 1);
		break;
	case NUM_EXP:
		whole = true;
		more = n->fraction < 2;
		break;
	default:
		more = true;
	}
	if (whole)
		leave(m, f->parent);
	if (more)
		go_on(m, f, number_bits(n), 0, (uint64_t)n->v);
}

static void step_number(struct k_matcher *m, const struct frame *f, const struct k_node *x, unsigned char c)
{
	struct number n = number_of(f);
	bool digit = c >= '0' && c <= '9';
	if (n.at == NUM_START && c == '-') {
		n.at = NUM_MINUS;
		n.neg = true;
	} else if (digit && n.at <= NUM_FRACTION) {
		if (n.digits == NUM_DIGITS || (n.at == NUM_INT && !n.v))
			return;
		n.v = n.v * 10 + (c - '0');
		n.digits++;
		n.fraction += n.at >= NUM_DOT;
		n.at = n.at >= NUM_DOT ? NUM_FRACTION : NUM_INT;
		/* What has begun must be able to end. */
		if (!num_whole(x, &n) && !(n.at == NUM_INT && num_integer(x, &n)) && !num_fraction(x, &n, 1))
			return;
	} else if (c == '.' && n.at == NUM_INT && num_fraction(x, &n, 1)) {
		n.at = NUM_DOT;
	} else if ((c == 'e' || c == 'E') && x->free && (n.at == NUM_INT || n.at == NUM_FRACTION)) {
		n = (struct number){ .at = NUM_E };
	} else if ((c == '+' || c == '-') && n.at == NUM_E) {
		n.at = NUM_SIGN;
	} else if (digit && n.at >= NUM_E && n.fraction < 2) {
		n.at = NUM_EXP;
		n.fraction++;
	} else {
		return;
	}
	number_go(m, f, x, &n);
}

/* --- arrays ------------------------------------------------------------------------------------------------------------------ */

static uint32_t item_at(const struct k_node *x, uint64_t i) { return i < x->n_kids ? x->kids[i] : x->rest; }

static bool item_fits(const struct k_matcher *m, const struct frame *f, const struct k_node *x, uint64_t i)
{
	uint32_t item = item_at(x, i);
	return item != K_NODE_NONE && has_room(m, f->depth, item);
}

/* Counting ends where it makes no difference any more. */
static uint64_t count_item(const struct k_node *x, uint64_t n)
{
	uint64_t top = x->max != K_MANY ? (uint64_t)x->max : K_MAX((uint64_t)x->min, (uint64_t)x->n_kids);
	return K_MIN(n + 1, top);
}

static void enter_item(struct k_matcher *m, const struct frame *f, const struct k_node *x)
{
	if (x->unique) {
		for (uint32_t i = 0; i < x->n_kids; i++) {
			uint64_t bit = (uint64_t)1 << i;
			if (f->n & bit)
				continue;
			uint32_t after = frame_of(m, f->parent, f->node, f->depth, ARRAY_AFTER, 0, f->n | bit);
			if (after)
				enter(m, x->kids[i], after);
		}
		return;
	}
	uint32_t after = frame_of(m, f->parent, f->node, f->depth, ARRAY_AFTER, 0, count_item(x, f->n));
	if (after && item_fits(m, f, x, f->n))
		enter(m, item_at(x, f->n), after);
}

static void step_array(struct k_matcher *m, const struct frame *f, const struct k_node *x, unsigned char c)
{
	int64_t n = x->unique ? __builtin_popcountll(f->n) : (int64_t)f->n;
	bool more = n < x->max && (x->unique ? n < (int64_t)x->n_kids : item_fits(m, f, x, f->n)), end = n >= x->min;
	switch (f->a) {
	case ARRAY_OPEN:
		if (c == '[') {
			if (end)
				go_on(m, f, ARRAY_FIRST, 0, 0);
			if (more)
				enter_item(m, f, x);
		}
		return;
	case ARRAY_FIRST:
	case ARRAY_NEXT:
		if (c == ']' && end)
			leave(m, f->parent);
		if (c == ',' && more && f->a == ARRAY_NEXT) {
			go_on(m, f, ARRAY_SPACE, 0, f->n);
			enter_item(m, f, x);
		}
		return;
	case ARRAY_SPACE:
		if (c == ' ')
			enter_item(m, f, x);
	}
}

/* --- objects ----------------------------------------------------------------------------------------------------------------- */

/* Where an object is: the next declared member, how many of the declared and of the others it has. */
struct where { uint32_t i, declared, others; };

static struct where where_of(const struct frame *f) { return (struct where){ f->a >> 4, f->b & 0xffff, f->b >> 16 }; }

static bool can_take(const struct k_matcher *m, const struct frame *f, const struct k_node *x, struct where w, uint32_t j)
{
	if (j < w.i || j >= x->n_props || j > x->next_required[w.i] || !has_room(m, f->depth, x->props[j].value))
		return false;
	int64_t after = (int64_t)w.declared + w.others + 1 + x->required_from[j + 1];
	int64_t most = (int64_t)w.declared + 1 + (x->n_props - j - 1) + (x->n_extras > 0);
	return after <= x->max && most >= x->min;
}

/* Names of the others may come twice, so all of them together count as one where there must be some. */
static bool can_add(const struct k_matcher *m, const struct frame *f, const struct k_node *x, struct where w, uint32_t extra)
{
	return x->next_required[w.i] == x->n_props && (int64_t)w.declared + w.others + 1 <= x->max &&
		(int64_t)w.declared + 1 >= x->min && has_room(m, f->depth, x->extras[extra].value) &&
		has_room(m, f->depth, x->extras[extra].key);
}

static bool can_end(const struct k_node *x, struct where w)
{
	return x->next_required[w.i] == x->n_props && (int64_t)w.declared + (w.others > 0) >= x->min;
}

static bool can_go_on(const struct k_matcher *m, const struct frame *f, const struct k_node *x)
{
	struct where w = where_of(f);
	for (uint32_t j = w.i; j < x->n_props && j <= x->next_required[w.i]; j++) {
		if (can_take(m, f, x, w, j))
			return true;
	}
	for (uint32_t i = 0; i < x->n_extras; i++) {
		if (can_add(m, f, x, w, i))
			return true;
	}
	return false;
}

static bool any_key(const struct k_matcher *m, const struct frame *f, const struct k_node *x, uint32_t lo, uint32_t depth)
{
	for (uint32_t k = lo; k < x->n_words && same_begin(&x->words[lo], &x->words[k], depth); k++) {
		if (can_take(m, f, x, where_of(f), x->words[k].index))
			return true;
	}
	return false;
}

/* The quote of a key was read. */
static void begin_key(struct k_matcher *m, const struct frame *f, const struct k_node *x)
{
	struct where w = where_of(f);
	if (x->n_words && any_key(m, f, x, 0, 0))
		go_on(m, f, OBJ_KEY | w.i << 4, f->b, 0);
	for (uint32_t i = 0; i < x->n_extras; i++) {
		if (!can_add(m, f, x, w, i))
			continue;
		uint32_t others = x->max == K_MANY ? 1 : K_MIN(w.others + 1, 0xffffu);
		uint32_t parent = frame_of(m, f->parent, f->node, f->depth, OBJ_EXTRA | x->n_props << 4, w.declared | others << 16,
			x->extras[i].value);
		if (parent)
			emit(m, parent, x->extras[i].key, f->depth, STR_BODY, 0, 0);
	}
}

static void step_key(struct k_matcher *m, const struct frame *f, const struct k_node *x, unsigned char c)
{
	uint32_t depth = (uint32_t)(f->n >> 32), lo = word_step(x->words, x->n_words, (uint32_t)f->n, depth, c);
	if (lo == x->n_words)
		return;
	if (x->words[lo].len == depth + 1) {
		uint32_t j = x->words[lo].index;
		if (can_take(m, f, x, where_of(f), j))
			go_on(m, f, OBJ_COLON | (j + 1) << 4, f->b + 1, x->props[j].value);
	} else if (any_key(m, f, x, lo, depth + 1)) {
		go_on(m, f, f->a, f->b, lo | (uint64_t)(depth + 1) << 32);
	}
}

static void enter_value(struct k_matcher *m, const struct frame *f)
{
	uint32_t after = frame_of(m, f->parent, f->node, f->depth, OBJ_AFTER | (f->a & ~15u), f->b, 0);
	if (after)
		enter(m, (uint32_t)f->n, after);
}

static void step_object(struct k_matcher *m, const struct frame *f, const struct k_node *x, unsigned char c)
{
	uint32_t i = f->a & ~15u;
	switch (f->a & 15) {
	case OBJ_OPEN:
		if (c == '{')
			go_on(m, f, OBJ_FIRST, 0, 0);
		return;
	case OBJ_FIRST:
	case OBJ_WANT:
	case OBJ_GAP:
		if (c == '"')
			begin_key(m, f, x);
		if (c == ' ' && (f->a & 15) == OBJ_GAP)
			go_on(m, f, OBJ_WANT | i, f->b, 0);
		if (c == '}' && (f->a & 15) == OBJ_FIRST && can_end(x, where_of(f)))
			leave(m, f->parent);
		return;
	case OBJ_KEY:
		step_key(m, f, x, c);
		return;
	case OBJ_COLON:
		if (c == ':') {
			go_on(m, f, OBJ_SPACE | i, f->b, f->n);
			enter_value(m, f);
		}
		return;
	case OBJ_SPACE:
		if (c == ' ')
			enter_value(m, f);
		return;
	case OBJ_NEXT:
		if (c == '}' && can_end(x, where_of(f)))
			leave(m, f->parent);
		if (c == ',' && can_go_on(m, f, x))
			go_on(m, f, OBJ_GAP | i, f->b, 0);
	}
}

/* --- states ------------------------------------------------------------------------------------------------------------------ */

static void step_frame(struct k_matcher *m, uint32_t id, unsigned char c)
{
	static void (*const steps[])(struct k_matcher *, const struct frame *, const struct k_node *, unsigned char) = {
		[K_NODE_WORDS] = step_words, [K_NODE_STRING] = step_string, [K_NODE_INTEGER] = step_integer,
		[K_NODE_NUMBER] = step_number, [K_NODE_ARRAY] = step_array, [K_NODE_OBJECT] = step_object,
	};
	const struct frame f = m->frames[id];   /* a copy: the table may move */
	const struct k_node *x = &m->g->nodes[f.node];
	steps[x->kind](m, &f, x, c);
}

static uint32_t step(struct k_matcher *m, uint32_t s, unsigned char c)
{
	if (s == DEAD)
		return DEAD;
	if (m->states[s].next && m->states[s].next[c] != UNKNOWN)
		return m->states[s].next[c];
	if (!m->states[s].next) {
		m->states[s].next = k_alloc(256 * sizeof(uint32_t));
		if (!m->states[s].next)
			return m->full = true, DEAD;
		memset(m->states[s].next, 0xff, 256 * sizeof(uint32_t));
	}
	m->n_out = 0;
	m->out_accept = false;
	for (uint32_t i = 0; i < m->states[s].n; i++)
		step_frame(m, m->states[s].threads[i], c);
	uint32_t to = state_of(m, m->out, m->n_out, m->out_accept);
	if (!m->full)
		m->states[s].next[c] = to;
	return to;
}

/* --- masks ------------------------------------------------------------------------------------------------------------------- */

static void set_bit(uint64_t *mask, int32_t id) { mask[id / 64] |= (uint64_t)1 << (id % 64); }

static void walk(struct k_matcher *m, const struct k_trie *t, uint32_t s, uint64_t *mask)
{
	uint32_t at[257];
	at[0] = s;
	for (uint32_t i = 0; i < t->n_nodes; ) {
		const struct k_trie_node *x = &t->nodes[i];
		uint32_t to = step(m, at[x->depth], x->byte);
		if (to == DEAD) {
			i = x->end;
			continue;
		}
		for (uint32_t k = 0; k < x->n; k++)
			set_bit(mask, t->ids[x->first + k]);
		at[x->depth + 1] = to;
		i++;
	}
}

static void set_run(const struct k_trie *t, uint32_t node, uint64_t *mask)
{
	uint32_t end = t->nodes[node].end, last = end < t->n_nodes ? t->nodes[end].first : t->n_ids;
	for (uint32_t k = t->nodes[node].first; k < last; k++)
		set_bit(mask, t->ids[k]);
}

/* Plain tokens within a string, without the frames around it: they cannot leave it. */
static void walk_string(const struct k_vocab *v, const struct k_pattern *p, uint64_t state, uint64_t *mask)
{
	struct { uint32_t a; uint64_t s; } at[257] = { { STR_BODY, state } };
	const struct k_trie *t = &v->plain;
	for (uint32_t i = 0; i < t->n_nodes; ) {
		const struct k_trie_node *x = &t->nodes[i];
		uint32_t a = at[x->depth].a;
		uint64_t s = at[x->depth].s;
		bool end = false;
		int64_t room;
		if (!string_step(p, &a, &s, x->byte, &end)) {
			i = x->end;
			continue;
		}
		if (a == STR_BODY && k_pattern_open(p, s, &room) && room >= 256) {
			set_run(t, i, mask);
			i = x->end;
			continue;
		}
		for (uint32_t k = 0; k < x->n; k++)
			set_bit(mask, t->ids[x->first + k]);
		at[x->depth + 1].a = a;
		at[x->depth + 1].s = s;
		i++;
	}
}

static void mask_string(const struct k_vocab *v, const struct k_pattern *p, uint64_t state, uint64_t *mask)
{
	int64_t room;
	if (!k_pattern_open(p, state, &room)) {
		walk_string(v, p, state, mask);
		return;
	}
	if (room >= v->longest) {
		for (int32_t i = 0; i <= v->n / 64; i++)
			mask[i] |= v->all_plain[i];
		return;
	}
	for (uint32_t i = 0; i < v->up_to[room]; i++)
		set_bit(mask, v->by_chars[i]);
}

static void make_mask(struct k_matcher *m, uint32_t s, uint64_t *mask)
{
	uint32_t others[MAX_THREADS], n = 0;
	memset(mask, 0, ((size_t)m->v->n / 64 + 1) * 8);
	for (uint32_t i = 0; i < m->states[s].n; i++) {
		const struct frame f = m->frames[m->states[s].threads[i]];
		const struct k_node *x = &m->g->nodes[f.node];
		if (x->kind == K_NODE_STRING && f.a == STR_BODY)
			mask_string(m->v, x->pattern, f.n, mask);
		else
			others[n++] = m->states[s].threads[i];
	}
	if (n)
		walk(m, &m->v->plain, n == m->states[s].n ? s : state_of(m, others, n, false), mask);
	walk(m, &m->v->other, s, mask);
}

/* --- life -------------------------------------------------------------------------------------------------------------------- */

static void drop_tables(struct k_matcher *m)
{
	for (uint32_t i = 0; i < m->n_states; i++) {
		k_free(m->states[i].threads);
		k_free(m->states[i].next);
		k_free(m->states[i].mask);
	}
	k_free(m->states);
	k_free(m->frames);
	k_free(m->by_frame.slots);
	k_free(m->by_state.slots);
	m->states = NULL;
	m->frames = NULL;
	m->by_frame = m->by_state = (struct table){ 0 };
	m->n_states = m->cap_states = m->n_frames = m->cap_frames = m->n_masks = 0;
}

/* Empty tables: frame 0 is below every stack, state 0 is dead. */
static int make_tables(struct k_matcher *m)
{
	m->full = false;
	m->frames = k_calloc(64, sizeof(*m->frames));
	m->states = k_calloc(64, sizeof(*m->states));
	m->cap_frames = m->cap_states = 64;
	if (!m->frames || !m->states || grow_table(&m->by_frame, 1) < 0 || grow_table(&m->by_state, 1) < 0)
		return -1;
	m->n_frames = m->n_states = 1;
	put_slot(&m->by_frame, 0, 0);
	m->frames[0].node = K_NODE_NONE;
	return 0;
}

static int start(struct k_matcher *m)
{
	if (make_tables(m))
		return -1;
	m->n_out = 0;
	m->out_accept = false;
	enter(m, m->g->root, 0);
	m->now = state_of(m, m->out, m->n_out, false);
	return m->full ? -1 : 0;
}

/* Keeps what the present state needs, when the tables have grown. */
static void compact(struct k_matcher *m)
{
	if (m->n_states < SOFT_STATES && m->n_frames < SOFT_FRAMES && !m->full)
		return;
	struct k_matcher old = *m;
	uint32_t threads[MAX_THREADS], n = old.states[old.now].n;
	uint32_t *to = k_calloc(old.n_frames, sizeof(*to));
	m->states = NULL;
	m->frames = NULL;
	m->by_frame = m->by_state = (struct table){ 0 };
	m->n_states = m->n_frames = m->n_masks = 0;
	bool ok = to && !make_tables(m);
	for (uint32_t i = 0; i < n && ok; i++) {
		for (uint32_t f = old.states[old.now].threads[i]; f && !to[f]; f = old.frames[f].parent)
			to[f] = 1;
	}
	/* Parents are older than their children. */
	for (uint32_t f = 1; f < old.n_frames && ok; f++) {
		const struct frame *x = &old.frames[f];
		if (to[f])
			to[f] = frame_of(m, to[x->parent], x->node, x->depth, x->a, x->b, x->n);
	}
	for (uint32_t i = 0; i < n && ok; i++)
		threads[i] = to[old.states[old.now].threads[i]];
	if (ok)
		m->now = state_of(m, threads, n, old.states[old.now].accept);
	k_free(to);
	if (!ok || m->full) {
		drop_tables(m);
		*m = old;
		return;
	}
	drop_tables(&old);
}

int k_matcher_new(struct k_matcher **out, struct k_grammar *g, const struct k_vocab *v, struct k_err *err)
{
	struct k_matcher *m = k_calloc(1, sizeof(*m));
	if (!m)
		return k_err_nomem(err, sizeof(*m), "a grammar's state");
	m->g = k_grammar_keep(g);
	m->v = v;
	if (start(m)) {
		k_matcher_free(m);
		return k_err_nomem(err, sizeof(*m), "a grammar's state");
	}
	*out = m;
	return 0;
}

void k_matcher_free(struct k_matcher *m)
{
	if (!m)
		return;
	drop_tables(m);
	k_grammar_free(m->g);
	k_free(m);
}

int k_matcher_reset(struct k_matcher *m, struct k_err *err)
{
	drop_tables(m);
	return start(m) ? k_err_nomem(err, sizeof(*m), "a grammar's state") : 0;
}

bool k_matcher_put_bytes(struct k_matcher *m, const char *s, size_t n)
{
	compact(m);
	uint32_t to = m->now;
	for (size_t i = 0; i < n; i++) {
		to = step(m, to, (unsigned char)s[i]);
		if (to == DEAD)
			return false;
	}
	m->now = to;
	return true;
}

bool k_matcher_put(struct k_matcher *m, int32_t id)
{
	size_t len;
	const char *s = k_tokenizer_bytes(m->v->t, id, &len);
	return s && len && !k_tokenizer_is_special(m->v->t, id) && k_matcher_put_bytes(m, s, len);
}

bool k_matcher_done(const struct k_matcher *m) { return m->states[m->now].accept; }
bool k_matcher_more(const struct k_matcher *m) { return m->states[m->now].n > 0; }

const uint64_t *k_matcher_mask(struct k_matcher *m)
{
	compact(m);
	if (m->states[m->now].mask)
		return m->states[m->now].mask;
	if (m->n_masks >= MAX_MASKS) {
		for (uint32_t i = 0; i < m->n_states; i++) {
			k_free(m->states[i].mask);
			m->states[i].mask = NULL;
		}
		m->n_masks = 0;
	}
	uint64_t *mask = k_alloc(((size_t)m->v->n / 64 + 1) * 8);
	if (!mask)
		return NULL;
	make_mask(m, m->now, mask);
	m->states[m->now].mask = mask;
	m->n_masks++;
	return mask;
}
