/* grammar_scalar.c: a byte within words, strings and numbers. A step is taken only where the value can still be finished. */
#include "libcore/base.h"

#include "libcore/matcher_int.h"

/* --- words ------------------------------------------------------------------------------------------------------------------ */

/* Of the sorted words that begin as words[lo] does up to depth: the first that goes on with c; n: none. */
uint32_t k_word_step(const struct k_word *words, uint32_t n, uint32_t lo, uint32_t depth, unsigned char c)
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

bool k_word_same_begin(const struct k_word *a, const struct k_word *b, uint32_t n)
{
	return b->len >= n && !memcmp(a->s, b->s, n);
}

void k_step_words(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	uint32_t depth = (uint32_t)(f->n >> 32), lo = k_word_step(x->words, x->n_words, (uint32_t)f->n, depth, c);
	if (lo == x->n_words)
		return;
	bool whole = x->words[lo].len == depth + 1;
	if (whole)
		k_node_leave(m, f->parent);
	if (!whole || (lo + 1 < x->n_words && k_word_same_begin(&x->words[lo], &x->words[lo + 1], depth + 1)))
		k_frame_go_on(m, f, 0, 0, lo | (uint64_t)(depth + 1) << 32);
}

/* --- strings ---------------------------------------------------------------------------------------------------------------- */

/* a: what of a character is there: kind | left or digits << 3 | bits << 6. */
static uint32_t part_of(uint32_t kind, uint32_t k, uint32_t bits) { return kind | k << 3 | bits << 6; }

static int hex_of(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool utf8_ahead(const struct k_string *t, uint32_t left, uint32_t bits, uint32_t least)
{
	uint32_t lo = bits << (6 * left), hi = lo + (1u << (6 * left)) - 1;
	return k_string_range(t, K_MAX(lo, least), hi);
}

static bool string_lead(struct k_string *t, unsigned char c)
{
	uint32_t left = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1, bits = c & (0x3fu >> left);
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	if (c < 0xc2 || c > 0xf4 || !utf8_ahead(t, left, bits, least[left]))
		return false;
	/* The second byte of some leads is bound; they are told by their bits and left. */
	t->a = part_of(STR_UTF8, left, bits);
	return true;
}

static bool string_tail(struct k_string *t, unsigned char c)
{
	uint32_t left = t->a >> 3 & 7, bits = (t->a >> 6) << 6 | (c & 0x3f);
	if ((c & 0xc0) != 0x80)
		return false;
	/* Overlong forms: of E0 and F0, whose bits are 0 before the second byte. */
	if ((left == 2 && !(t->a >> 6) && bits < 0x20) || (left == 3 && !(t->a >> 6) && bits < 0x10))
		return false;
	if (--left) {
		t->a = part_of(STR_UTF8, left, bits);
		return utf8_ahead(t, left, bits, 0);
	}
	t->a = STR_BODY;
	return k_string_char(t, bits);
}

/* \uXXXX: surrogates only in pairs. */
static bool string_hex(struct k_string *t, unsigned char c)
{
	int d = hex_of(c);
	uint32_t digits = (t->a >> 3 & 7) + 1, bits = (t->a >> 6) << 4 | (uint32_t)d;
	if (d < 0)
		return false;
	if (digits == 4) {
		if (bits >= 0xd800 && bits < 0xdc00) {
			t->a = part_of(STR_LOW_SLASH, 0, (bits - 0xd800) << 16);
			return k_string_range(t, 0x10000 + ((bits - 0xd800) << 10), 0x10000 + ((bits - 0xd800) << 10) + 0x3ff);
		}
		t->a = STR_BODY;
		return k_string_char(t, bits);
	}
	uint32_t shift = 4 * (4 - digits), lo = bits << shift, hi = lo + (1u << shift) - 1;
	t->a = part_of(STR_HEX, digits, bits);
	if (k_string_range(t, lo, hi))
		return true;
	lo = K_MAX(lo, 0xd800u);
	hi = K_MIN(hi, 0xdbffu);
	return lo <= hi && k_string_range(t, 0x10000 + ((lo - 0xd800) << 10), 0x10000 + ((hi - 0xd800) << 10) + 0x3ff);
}

static bool string_low(struct k_string *t, unsigned char c)
{
	int d = hex_of(c);
	uint32_t digits = (t->a >> 3 & 7) + 1, all = t->a >> 6, high = all >> 16, low = ((all & 0xffff) << 4 | (uint32_t)d) & 0xffff;
	if (d < 0)
		return false;
	uint32_t shift = 4 * (4 - digits), lo = low << shift, hi = lo + (1u << shift) - 1;
	lo = K_MAX(lo, 0xdc00u);
	hi = K_MIN(hi, 0xdfffu);
	if (lo > hi)
		return false;
	if (digits == 4) {
		t->a = STR_BODY;
		return k_string_char(t, 0x10000 + (high << 10) + (low - 0xdc00));
	}
	t->a = part_of(STR_LOW, digits, high << 16 | low);
	return k_string_range(t, 0x10000 + (high << 10) + (lo - 0xdc00), 0x10000 + (high << 10) + (hi - 0xdc00));
}

static bool string_escape(struct k_string *t, unsigned char c)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *k = c ? strchr(from, c) : NULL;
	if (c == 'u') {
		t->a = STR_HEX;
		return true;
	}
	t->a = STR_BODY;
	return k && k_string_char(t, (unsigned char)to[k - from]);
}

/* &amp; and &quot;: which one is told by its first letter. */
static bool string_entity(struct k_string *t, unsigned char c)
{
	static const struct { const char *name; unsigned char c; } entities[] = { { "amp;", '&' }, { "quot;", '"' } };
	uint32_t at = t->a >> 3 & 7, which = at ? t->a >> 6 : c == 'q';
	if ((unsigned char)entities[which].name[at] != c)
		return false;
	t->a = part_of(STR_ESCAPE, at + 1, which);
	if (entities[which].name[at + 1])
		return k_string_range(t, entities[which].c, entities[which].c);
	t->a = STR_BODY;
	return k_string_char(t, entities[which].c);
}

/* A byte between two whole characters that is none itself. 0: it is one. */
static int string_special(struct k_string *t, unsigned char c, bool *end)
{
	static const unsigned char ends[] = { [K_FORM_JSON] = '"', [K_FORM_RAW] = K_MARK_CLOSE, [K_FORM_ATTRIBUTE] = '"' };
	if (c == ends[t->form])
		return (*end = k_string_end(t)) ? 1 : -1;
	if (t->form == K_FORM_ATTRIBUTE && c == '&') {
		t->a = STR_ESCAPE;
		return k_string_range(t, '&', '&') || k_string_range(t, '"', '"') ? 1 : -1;
	}
	if (t->form == K_FORM_JSON && c == '\\') {
		t->a = STR_ESCAPE;
		return k_string_range(t, 0, 0x10ffff) ? 1 : -1;
	}
	return t->form == K_FORM_JSON && c < 0x20 ? -1 : 0;
}

/* false: cannot be. *end: this was the closing quote. */
static bool string_step(struct k_string *t, unsigned char c, bool *end)
{
	switch (t->a & 7) {
	case STR_OPEN:
		t->a = STR_BODY;
		return c == '"';
	case STR_UTF8:
		return string_tail(t, c);
	case STR_ESCAPE:
		return t->form == K_FORM_JSON ? string_escape(t, c) : string_entity(t, c);
	case STR_HEX:
		return string_hex(t, c);
	case STR_LOW_SLASH:
		t->a = (t->a & ~7u) | STR_LOW_U;
		return c == '\\';
	case STR_LOW_U:
		t->a = (t->a & ~7u) | STR_LOW;
		return c == 'u';
	case STR_LOW:
		return string_low(t, c);
	}
	int special = string_special(t, c, end);
	if (special)
		return special > 0;
	return c < 0x80 ? k_string_char(t, c) : string_lead(t, c);
}

void k_step_string(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	struct k_string t = { m, f, x->pattern, f->a, f->b, f->n, x->form };
	bool end = false;
	if (!string_step(&t, c, &end))
		return;
	if (end)
		k_node_leave(m, f->parent);
	else
		k_frame_go_on(m, f, t.a, t.name, t.s);
}

/* --- numbers ---------------------------------------------------------------------------------------------------------------- */

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
void k_step_integer(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	bool neg = f->a & 1;
	int digits = (int)(f->a >> 1);
	int64_t v = (int64_t)f->n;
	if (c == '-' && !f->a && meets(x, true, 1, power10(INT_DIGITS) - 1, x->step)) {
		k_frame_go_on(m, f, 1, 0, 0);
		return;
	}
	if (c < '0' || c > '9' || digits == INT_DIGITS || (digits && !v) || (neg && !digits && c == '0'))
		return;
	v = v * 10 + (c - '0');
	digits++;
	if (int_whole(x, neg, v))
		k_node_leave(m, f->parent);
	if (int_more(x, neg, v, digits))
		k_frame_go_on(m, f, (uint32_t)neg | (uint32_t)digits << 1, 0, (uint64_t)v);
}

enum { NUM_START, NUM_MINUS, NUM_INT, NUM_DOT, NUM_FRACTION, NUM_E, NUM_SIGN, NUM_EXP };
struct number { int at, digits, fraction; bool neg; int64_t v; };

static struct number number_of(const struct k_frame *f)
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

static void number_go(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, const struct number *n)
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
		k_node_leave(m, f->parent);
	if (more)
		k_frame_go_on(m, f, number_bits(n), 0, (uint64_t)n->v);
}

void k_step_number(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
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

