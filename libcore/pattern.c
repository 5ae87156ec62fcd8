/* pattern.c: positions (pattern_parse.c) -> deterministic automaton over classes of characters -> which (state, length) can end.
 *
 *   determine  sets of positions become states; characters that no set tells apart are one class
 *   decide     live[count][state]: is there a way to an accepting state with a length in the range?
 *   count      ways[count][state]: how many strings there are on those ways */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/pattern_int.h"
#include "libcore/unicode.h"

enum {
	MAX_STATES = 6000, MAX_MEMBERS = 4 << 20 /* of all sets of positions */, MAX_TABLE = 8 << 20 /* transitions */,
	MAX_LIVE = 64 << 20 /* bits */, MAX_WAYS = 4 << 20 /* counts */, MAX_WORK = 100 << 20 /* steps of the closure */,
};

struct k_pattern {
	int n_class;
	uint32_t *first;                /* first character of each class, ascending; n_class of them */
	uint16_t ascii[128];            /* classes of the first characters, looked up most */
	int n_state;
	int32_t *next;                  /* [state][class], -1: none */
	uint8_t *accept, *all;          /* [state]; all: loops to itself on every character */
	int64_t min, max, top;          /* top: where counting ends */
	uint64_t *live;                 /* bits [count][state]; NULL: plain, one state */
	uint16_t *ways;                 /* [count][state], NULL until they are asked for */
};

/* --- sets of nodes become states -------------------------------------------------------------------------------------------- */

struct builder {
	struct k_nfa a;
	const struct k_pattern_part *parts;
	int n_parts;
	int32_t *in, *accept;           /* of each part */
	struct k_pattern *p;
	int32_t *members; size_t n_members, cap_members;
	size_t *from;                   /* [state + 1] into members */
	int cap_states;
	int32_t *table; size_t cap_table;       /* hash of sets -> state + 1 */
	uint32_t *mark, stamp;          /* nodes in the set that is made */
	int32_t *set, *kept; int n_set;
	int32_t *stack;
	size_t work;
};

static int no_memory(const struct builder *b) { return k_err_nomem(b->a.err, sizeof(struct k_position), "a pattern"); }

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
		const struct k_position *x = &b->a.v[i];
		b->set[b->n_set++] = i;
		bool open = x->kind == K_EDGE_EMPTY || (x->kind == K_EDGE_BEGIN && begin) || (x->kind == K_EDGE_END && end);
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
		bool accept = kind == K_EDGE_NONE;
		if (accept || kind == K_EDGE_SET || kind == K_EDGE_END)
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
	bool yes = true;
	memcpy(b->kept, b->set, (size_t)n * sizeof(*b->kept));
	b->stamp++;
	b->n_set = 0;
	for (int i = 0; i < n; i++)
		close_over(b, b->kept[i], false, true);
	for (int k = 0; k < b->n_parts; k++)
		yes &= (b->mark[b->accept[k]] == b->stamp) != b->parts[k].negate;
	memcpy(b->set, b->kept, (size_t)n * sizeof(*b->kept));
	b->n_set = n;
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
		return no_memory(b);
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
			return no_memory(b);
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

static bool holds(const struct k_set *s, uint32_t c)
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
		return no_memory(b);
	memcpy(v, fixed, sizeof(fixed));
	m = K_LEN(fixed);
	for (int i = 0; i < b->a.n_sets; i++) {
		for (int k = 0; k < b->a.sets[i].n; k++) {
			v[m++] = b->a.sets[i].v[k].lo;
			if (b->a.sets[i].v[k].hi < K_LAST_CHAR)
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
	return n > UINT16_MAX ? k_err_set(b->a.err, K_EUNSUP, "the pattern has too many classes of characters") : 0;
}

static bool forbidden(uint32_t c) { return !c || (c >= 0xd800 && c < 0xe000); }

static int determine(struct builder *b)
{
	struct k_pattern *p = b->p;
	size_t n = (size_t)b->a.n;
	b->mark = k_calloc(n, sizeof(*b->mark));
	b->set = k_alloc(n * sizeof(*b->set));
	b->kept = k_alloc(n * sizeof(*b->kept));
	b->stack = k_alloc((2 * n + 2) * sizeof(*b->stack));
	if (!b->mark || !b->set || !b->kept || !b->stack)
		return no_memory(b);
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
					const struct k_position *x = &b->a.v[b->members[i]];
					if (x->kind == K_EDGE_SET && holds(&b->a.sets[x->set], p->first[c]))
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

/* --- which states can end --------------------------------------------------------------------------------------------------- */

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
		if (p->accept[s] && p->top >= p->min)
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

/* --- how many strings ------------------------------------------------------------------------------------------------------- */

static uint32_t class_size(const struct k_pattern *p, int c)
{
	return (c + 1 < p->n_class ? p->first[c + 1] : K_LAST_CHAR + 1u) - p->first[c];
}

/* From what follows in `next`; done: of which states that is known. False: not of all. */
static bool add_ways(const struct k_pattern *p, int32_t s, bool whole, const uint16_t *next, const uint8_t *done, uint16_t *out)
{
	uint64_t n = whole && p->accept[s];
	for (int c = 0; c < p->n_class; c++) {
		int32_t to = p->next[(size_t)s * (size_t)p->n_class + (size_t)c];
		if (to >= 0 && done && !done[to])
			return false;
		if (to >= 0)
			n = K_MIN(n + (uint64_t)next[to] * class_size(p, c), (uint64_t)K_PATTERN_MANY);
	}
	*out = (uint16_t)n;
	return true;
}

/* Where counting ends and strings go on: many, but for states that lead to no circle. */
static int count_endless(struct k_pattern *p, uint16_t *ways, struct k_err *err)
{
	uint8_t *done = k_calloc((size_t)p->n_state, 1);
	if (!done)
		return k_err_nomem(err, (size_t)p->n_state, "a pattern");
	for (int32_t s = 0; s < p->n_state; s++)
		done[s] = !get_live(p, p->top, s);
	for (bool more = true; more; ) {
		more = false;
		for (int32_t s = p->n_state - 1; s >= 0; s--) {
			if (!done[s] && add_ways(p, s, true, ways, done, &ways[s]))
				done[s] = more = true;
		}
	}
	for (int32_t s = 0; s < p->n_state; s++)
		ways[s] = done[s] ? ways[s] : K_PATTERN_MANY;
	k_free(done);
	return 0;
}

int k_pattern_count(struct k_pattern *p, struct k_err *err)
{
	size_t n;
	if (!p->live || p->ways)
		return 0;
	if (!k_mul_size((size_t)p->top + 1, (size_t)p->n_state, &n) || n > MAX_WAYS)
		return k_err_set(err, K_EUNSUP, "the strings of %d states with lengths up to %lld are too many to count", p->n_state, (long long)p->top);
	p->ways = k_calloc(n, sizeof(*p->ways));
	if (!p->ways)
		return k_err_nomem(err, n * sizeof(*p->ways), "a pattern");
	uint16_t *row = p->ways + (size_t)p->top * (size_t)p->n_state;
	if (p->max < 0 && count_endless(p, row, err))
		return K_ENOMEM;
	for (int32_t s = 0; s < p->n_state && p->max >= 0; s++)
		row[s] = p->accept[s] && p->top >= p->min;
	for (int64_t count = p->top - 1; count >= 0; count--) {
		row -= p->n_state;
		for (int32_t s = 0; s < p->n_state; s++)
			add_ways(p, s, count >= p->min, row + p->n_state, NULL, &row[s]);
	}
	return 0;
}

/* --- use -------------------------------------------------------------------------------------------------------------------- */

/* state: count << 16 | state of the automaton. */
bool k_pattern_none(const struct k_pattern *p) { return p->live ? !get_live(p, 0, 0) : p->max >= 0 && p->min > p->max; }

static int find_class(const struct k_pattern *p, uint32_t c)
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

static int class_of(const struct k_pattern *p, uint32_t c) { return c < K_LEN(p->ascii) ? p->ascii[c] : find_class(p, c); }

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
	if (forbidden(c) || c > K_LAST_CHAR)
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
	hi = K_MIN(hi, (uint32_t)K_LAST_CHAR);
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

uint32_t k_pattern_ways(const struct k_pattern *p, uint64_t state)
{
	int64_t count = (int64_t)(state >> 16);
	if (p->live)
		return p->ways[(size_t)count * (size_t)p->n_state + (state & 0xffff)];
	return p->max >= 0 && count >= p->max ? count == p->max && count >= p->min : K_PATTERN_MANY;
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
		return no_memory(b);
	for (int i = 0; i < b->n_parts && !rc; i++)
		rc = k_nfa_add(&b->a, &b->parts[i], &b->in[i], &b->accept[i]);
	if (!rc)
		rc = classes(b);
	if (!rc)
		rc = determine(b);
	for (uint32_t c = 0; c < K_LEN(b->p->ascii) && !rc; c++)
		b->p->ascii[c] = (uint16_t)find_class(b->p, c);
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
	k_nfa_fini(&b.a);
	k_free(b.in);
	k_free(b.accept);
	k_free(b.members);
	k_free(b.from);
	k_free(b.table);
	k_free(b.mark);
	k_free(b.set);
	k_free(b.kept);
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
	k_free(p->ways);
	k_free(p);
}
