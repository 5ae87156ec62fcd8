/* grammar.c: a text walks through the nodes of a grammar, byte by byte.
 *
 *   frame   where one node is: which, inside whose, and how far; frames within frames are a stack
 *   state   all stacks that the text so far may stand for (the alternatives), and whether it is whole
 *
 * Frames and states are made once and found again by what they hold, so that a state is a number, its step by a byte a look into a
 * table, and its mask is kept. Strings are where nearly every token fits; their masks come from lists made for the vocabulary, and
 * only the few tokens with a quote, an escape or half a character are walked. A step is taken only where a value can still be
 * finished, so no text ends in a dead end. The tables begin anew when they have grown too large.
 *
 * Frames have the numbers in which they were made, and nothing that is said depends on them, but for one thing: where a text could stand for
 * more than K_MAX_THREADS stacks, some are left out. So a matcher that was rewound says what a new one does only if that never was. */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/matcher_int.h"

enum { SOFT_STATES = 8000, HARD_STATES = 40000, SOFT_FRAMES = 50000, HARD_FRAMES = 400000, MAX_MASKS = 128 };
enum { DEAD = 0, UNKNOWN = UINT32_MAX };

/* --- tables ----------------------------------------------------------------------------------------------------------------- */

static int grow_table(struct k_table *t, size_t n)
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

static void put_slot(struct k_table *t, uint32_t hash, uint32_t id)
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

static uint32_t frame_hash(uint32_t parent, uint32_t node, uint32_t a, uint32_t b, uint64_t n)
{
	return mix(mix(mix(mix(mix(7, parent), node), a), b), n);
}

uint32_t k_frame_find(const struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t a, uint32_t b, uint64_t n)
{
	uint32_t hash = frame_hash(parent, node, a, b, n);
	for (size_t at = hash & (m->by_frame.cap - 1); m->by_frame.slots[at]; at = (at + 1) & (m->by_frame.cap - 1)) {
		const struct k_frame *f = &m->frames[m->by_frame.slots[at] - 1];
		if (f->hash == hash && f->parent == parent && f->node == node && f->a == a && f->b == b && f->n == n)
			return m->by_frame.slots[at] - 1;
	}
	return 0;
}

uint32_t k_frame_of(struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t depth, uint32_t a, uint32_t b, uint64_t n)
{
	uint32_t found = k_frame_find(m, parent, node, a, b, n), hash = frame_hash(parent, node, a, b, n);
	if (found)
		return found;
	if (m->n_frames == m->cap_frames) {
		uint32_t cap = 2 * m->cap_frames + 64;
		struct k_frame *v = m->n_frames < HARD_FRAMES ? k_realloc(m->frames, cap * sizeof(*v)) : NULL;
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
	m->frames[m->n_frames] = (struct k_frame){ parent, node, a, b, n, depth, hash };
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
		const struct k_state *s = &m->states[m->by_state.slots[at] - 1];
		if (s->hash == hash && s->n == n && s->accept == accept && !memcmp(s->threads, threads, n * sizeof(*threads)))
			return m->by_state.slots[at] - 1;
	}
	if (m->n_states == m->cap_states) {
		uint32_t cap = 2 * m->cap_states + 64;
		struct k_state *v = m->n_states < HARD_STATES ? k_realloc(m->states, cap * sizeof(*v)) : NULL;
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
	m->states[m->n_states] = (struct k_state){ copy, n, hash, accept, false, false, NULL, NULL, 0 };
	for (uint32_t i = 0; i < n; i++) {
		const struct k_frame *f = &m->frames[threads[i]];
		m->states[m->n_states].vague |= m->g->nodes[f->node].kind == K_NODE_STRING && f->b == K_NAME_VAGUE;
	}
	put_slot(&m->by_state, hash, m->n_states);
	return m->n_states++;
}

/* --- entering and leaving nodes --------------------------------------------------------------------------------------------- */

void k_frame_emit(struct k_matcher *m, uint32_t parent, uint32_t node, uint32_t depth, uint32_t a, uint32_t b, uint64_t n)
{
	if (m->n_out == K_MAX_THREADS) {
		m->cut = true;          /* fewer alternatives; those that are there can be finished */
		return;
	}
	uint32_t f = k_frame_of(m, parent, node, depth, a, b, n);
	for (uint32_t i = 0; i < m->n_out; i++) {
		if (m->out[i] == f)
			return;
	}
	if (f)
		m->out[m->n_out++] = f;
}

/* The same frame, further on. */
void k_frame_go_on(struct k_matcher *m, const struct k_frame *f, uint32_t a, uint32_t b, uint64_t n)
{
	k_frame_emit(m, f->parent, f->node, f->depth, a, b, n);
}

bool k_frame_has_room(const struct k_matcher *m, uint32_t depth, uint32_t node)
{
	uint32_t height = m->g->nodes[node].height;
	return height != K_HEIGHT_NONE && depth + height <= m->g->limit;
}

void k_node_enter(struct k_matcher *m, uint32_t node, uint32_t parent)
{
	const struct k_node *x = &m->g->nodes[node];
	uint32_t depth = m->frames[parent].depth;
	if (!k_frame_has_room(m, depth, node))
		return;
	if (x->kind == K_NODE_UNION) {
		/* Settled: no union within a union. */
		for (uint32_t i = 0; i < x->n_kids; i++)
			k_node_enter(m, x->kids[i], parent);
		return;
	}
	bool container = x->kind == K_NODE_ARRAY || x->kind == K_NODE_OBJECT || x->kind == K_NODE_CALL;
	uint32_t a = x->kind == K_NODE_CALL ? OBJ_NEXT : x->kind == K_NODE_STRING && x->form == K_FORM_JSON ? STR_OPEN : 0;
	k_frame_emit(m, parent, node, depth + container, a, 0, 0);
	if (x->kind == K_NODE_CALL && !x->required_from[0] && x->min <= 0)
		k_node_leave(m, parent);
}

void k_node_leave(struct k_matcher *m, uint32_t parent)
{
	if (!parent) {
		m->out_accept = true;
		return;
	}
	const struct k_frame f = m->frames[parent];
	if (m->g->nodes[f.node].kind == K_NODE_ARRAY)
		k_frame_go_on(m, &f, ARRAY_NEXT, 0, f.n);
	else if ((f.a & 15) == OBJ_EXTRA)
		k_name_leave(m, &f);
	else if (m->g->nodes[f.node].kind == K_NODE_CALL)
		k_frame_go_on(m, &f, ((f.a & 15) == ARG_AFTER_STRING ? ARG_TAIL : ARG_CLOSE) | (f.a & ~15u), f.b, 0);
	else
		k_frame_go_on(m, &f, OBJ_NEXT | (f.a & ~15u), f.b, 0);
}

/* --- states ----------------------------------------------------------------------------------------------------------------- */

static void step_frame(struct k_matcher *m, uint32_t id, unsigned char c)
{
	static k_step *const steps[] = {
		[K_NODE_WORDS] = k_step_words, [K_NODE_STRING] = k_step_string, [K_NODE_INTEGER] = k_step_integer,
		[K_NODE_NUMBER] = k_step_number, [K_NODE_ARRAY] = k_step_array, [K_NODE_OBJECT] = k_step_object,
		[K_NODE_CALL] = k_step_call,
	};
	const struct k_frame f = m->frames[id];   /* a copy: the table may move */
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

/* A step by a byte of the text itself, which is known, and so are the names in it. */
static uint32_t step_text(struct k_matcher *m, uint32_t s, unsigned char c)
{
	uint32_t threads[K_MAX_THREADS], to = step(m, s, c);
	if (!m->g->names)
		return to;
	const struct k_state *x = &m->states[to];
	bool was = k_name_is_read(m, m->states[s].threads, m->states[s].n), is = k_name_is_read(m, x->threads, x->n);
	if (was && is)
		k_buf_putc(&m->name, (char)c);
	else if (is)
		m->name_from = m->name.len;
	if (!was || is || to == DEAD)
		return m->name.failed ? DEAD : to;
	memcpy(threads, x->threads, x->n * sizeof(*threads));
	size_t len = m->name.len - m->name_from;
	if (!k_name_tell(m, threads, x->n, len ? m->name.data + m->name_from : "", len))
		return DEAD;
	return state_of(m, threads, x->n, x->accept);
}

/* The state behind a text; DEAD: it cannot come, and nothing has changed. */
static uint32_t follow(struct k_matcher *m, const char *s, size_t n)
{
	size_t len = m->name.len, from = m->name_from;
	uint32_t to = m->now;
	for (size_t i = 0; i < n && to != DEAD; i++)
		to = step_text(m, to, (unsigned char)s[i]);
	if (to == DEAD) {
		m->name.failed = false;
		m->name.len = len;
		m->name_from = from;
	}
	return to;
}

/* --- masks ------------------------------------------------------------------------------------------------------------------ */

static void set_bit(uint64_t *mask, int32_t id) { mask[id / 64] |= (uint64_t)1 << (id % 64); }

/* Tokens of a subtree, each as what it would be behind the text. */
static void try_run(struct k_matcher *m, const struct k_trie *t, uint32_t node, uint64_t *mask)
{
	size_t name = m->name.len, from = m->name_from, len;
	uint32_t end = t->nodes[node].end, last = end < t->n_nodes ? t->nodes[end].first : t->n_ids;
	m->once = true;
	for (uint32_t k = t->nodes[node].first; k < last; k++) {
		const char *s = k_tokenizer_bytes(m->v->t, t->ids[k], &len);
		if (follow(m, s, len) != DEAD)
			set_bit(mask, t->ids[k]);
		m->name.len = name;
		m->name_from = from;
	}
}

static void walk(struct k_matcher *m, const struct k_trie *t, uint32_t s, uint64_t *mask)
{
	uint32_t at[257];
	at[0] = s;
	for (uint32_t i = 0; i < t->n_nodes; ) {
		const struct k_trie_node *x = &t->nodes[i];
		uint32_t to = x->byte >= K_MARK_OPEN ? DEAD : step(m, at[x->depth], x->byte);
		if (to == DEAD) {
			i = x->end;
			continue;
		}
		/* A name that has just begun can go on, whatever the one before it was. */
		if (m->states[at[x->depth]].vague) {
			try_run(m, t, i, mask);
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

/* Plain tokens within a string, without the frames around it: they cannot leave it. They are whole characters, so only whole
 * characters are looked up: bits are those of the bytes of one, left says how many are missing. */
static void walk_string(const struct k_vocab *v, struct k_string string, uint64_t *mask)
{
	struct { uint64_t s; uint32_t name, bits, left; } at[257] = { { string.s, string.name, 0, 0 } };
	const struct k_trie *t = &v->plain;
	for (uint32_t i = 0; i < t->n_nodes; ) {
		const struct k_trie_node *x = &t->nodes[i];
		uint32_t bits = at[x->depth].left ? at[x->depth].bits << 6 | (x->byte & 0x3f) : x->byte, left = at[x->depth].left;
		int64_t room;
		string.s = at[x->depth].s;
		string.name = at[x->depth].name;
		if (left) {
			left--;
		} else if (x->byte >= 0x80) {
			left = x->byte >= 0xf0 ? 3 : x->byte >= 0xe0 ? 2 : 1;
			bits = x->byte & (0x3fu >> left);
		}
		if (!left && !k_string_char(&string, bits)) {
			i = x->end;
			continue;
		}
		if (!left && k_pattern_open(string.p, string.s, &room) && room > 256) {
			set_run(t, i, mask);
			i = x->end;
			continue;
		}
		for (uint32_t k = 0; k < x->n; k++)
			set_bit(mask, t->ids[x->first + k]);
		at[x->depth + 1].s = string.s;
		at[x->depth + 1].name = string.name;
		at[x->depth + 1].bits = bits;
		at[x->depth + 1].left = left;
		i++;
	}
}

static void mask_string(const struct k_vocab *v, const struct k_string *string, uint64_t *mask)
{
	int64_t room;
	/* Where there is room behind it, the name can still become another. */
	if (!k_pattern_open(string->p, string->s, &room) || (string->name && room <= v->longest)) {
		walk_string(v, *string, mask);
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
	uint32_t others[K_MAX_THREADS], n = 0;
	memset(mask, 0, ((size_t)m->v->n / 64 + 1) * 8);
	for (uint32_t i = 0; i < m->states[s].n; i++) {
		const struct k_frame f = m->frames[m->states[s].threads[i]];
		const struct k_node *x = &m->g->nodes[f.node];
		if (x->kind == K_NODE_STRING && f.a == STR_BODY && x->form != K_FORM_ATTRIBUTE)
			mask_string(m->v, &(struct k_string){ m, &f, x->pattern, f.a, f.b, f.n, x->form }, mask);
		else
			others[n++] = m->states[s].threads[i];
	}
	if (n)
		walk(m, &m->v->plain, n == m->states[s].n ? s : state_of(m, others, n, false), mask);
	walk(m, &m->v->other, s, mask);
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

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
	m->by_frame = m->by_state = (struct k_table){ 0 };
	m->n_states = m->cap_states = m->n_frames = m->cap_frames = m->n_masks = 0;
}

/* Empty tables: frame 0 is below every stack, state 0 is dead. */
static int make_tables(struct k_matcher *m)
{
	m->full = m->cut = false;
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

/* To the state of the empty text, which is made or found. */
static int begin(struct k_matcher *m)
{
	m->n_out = 0;
	m->out_accept = false;
	k_node_enter(m, m->g->root, 0);
	m->now = state_of(m, m->out, m->n_out, m->out_accept);
	return m->full ? -1 : 0;
}

static int start(struct k_matcher *m) { return make_tables(m) ? -1 : begin(m); }

static bool are_large(const struct k_matcher *m) { return m->n_states >= SOFT_STATES || m->n_frames >= SOFT_FRAMES || m->full; }

/* Is the state kept when the tables begin anew? */
static bool is_kept(const struct k_matcher *old, uint32_t s, bool masks) { return s == old->now || (masks && old->states[s].mask); }

/* Does b of the frame say where a text is? */
static bool has_text(const struct k_matcher *m, const struct k_frame *f)
{
	return f->node != K_NODE_NONE && m->g->nodes[f->node].kind == K_NODE_STRING && f->b != K_NAME_NONE && f->b != K_NAME_VAGUE;
}

/* The frames that kept states stand on, in the new tables: to[] of the old numbers. */
static bool move_frames(struct k_matcher *m, const struct k_matcher *old, bool masks, uint32_t *to)
{
	for (uint32_t s = 1; s < old->n_states; s++) {
		for (uint32_t i = 0; i < old->states[s].n && is_kept(old, s, masks); i++)
			to[old->states[s].threads[i]] = 1;
	}
	/* Parents and texts are older than who has them. */
	for (uint32_t f = old->n_frames - 1; f > 0; f--) {
		const struct k_frame *x = &old->frames[f];
		if (to[f])
			to[x->parent] = 1;
		if (to[f] && has_text(m, x))
			to[x->b - 1] = 1;
	}
	to[0] = 0;
	for (uint32_t f = 1; f < old->n_frames && !m->full; f++) {
		const struct k_frame *x = &old->frames[f];
		if (to[f])
			to[f] = k_frame_of(m, to[x->parent], x->node, x->depth, x->a, has_text(m, x) ? to[x->b - 1] + 1 : x->b, x->n);
	}
	return !m->full;
}

static bool move_states(struct k_matcher *m, const struct k_matcher *old, bool masks, const uint32_t *to)
{
	uint32_t threads[K_MAX_THREADS];
	for (uint32_t s = 1; s < old->n_states && !m->full; s++) {
		if (!is_kept(old, s, masks))
			continue;
		for (uint32_t i = 0; i < old->states[s].n; i++)
			threads[i] = to[old->states[s].threads[i]];
		uint32_t now = state_of(m, threads, old->states[s].n, old->states[s].accept);
		if (s == old->now)
			m->now = now;
		if (masks && now) {
			m->states[now].mask = old->states[s].mask;
			m->states[now].used = old->states[s].used;
			m->states[now].once = old->states[s].once;
			m->n_masks += m->states[now].mask != NULL;
		}
	}
	return !m->full;
}

/* The tables begin anew with the present state, and those whose masks are known. Without memory they stay as they are. */
static void renew(struct k_matcher *m, bool masks)
{
	struct k_matcher old = *m, *lost = &old;
	uint32_t *to = k_calloc(old.n_frames, sizeof(*to));
	m->states = NULL;
	m->frames = NULL;
	m->by_frame = m->by_state = (struct k_table){ 0 };
	m->n_states = m->n_frames = m->n_masks = 0;
	if (!to || make_tables(m) || !move_frames(m, &old, masks, to) || !move_states(m, &old, masks, to)) {
		struct k_matcher half = *m;
		*m = old;
		old = half;
	}
	/* A mask is in both; it stays where the matcher has it. */
	for (uint32_t s = 0; masks && s < lost->n_states; s++)
		lost->states[s].mask = NULL;
	k_free(to);
	drop_tables(lost);
}

static void compact(struct k_matcher *m)
{
	if (are_large(m))
		renew(m, !m->cut && !m->full);
	if (are_large(m))
		renew(m, false);
}

int k_matcher_new(struct k_matcher **out, struct k_grammar *g, const struct k_vocab *v, struct k_err *err)
{
	struct k_matcher *m = k_calloc(1, sizeof(*m));
	if (!m)
		return k_err_nomem(err, sizeof(*m), "a grammar's state");
	m->g = k_grammar_keep(g);
	m->v = v;
	k_buf_init(&m->name, 0);
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
	k_buf_fini(&m->name);
	k_grammar_free(m->g);
	k_free(m);
}

int k_matcher_reset(struct k_matcher *m, struct k_err *err)
{
	k_buf_reset(&m->name);
	if (!m->cut && !are_large(m) && !begin(m))
		return 0;
	drop_tables(m);
	return start(m) ? k_err_nomem(err, sizeof(*m), "a grammar's state") : 0;
}

const struct k_grammar *k_matcher_grammar(const struct k_matcher *m) { return m->g; }

size_t k_matcher_bytes(const struct k_matcher *m)
{
	size_t n = sizeof(*m) + m->cap_states * sizeof(*m->states) + m->cap_frames * sizeof(*m->frames) +
		(m->by_frame.cap + m->by_state.cap) * sizeof(uint32_t);
	for (uint32_t i = 0; i < m->n_states; i++)
		n += m->states[i].n * sizeof(uint32_t) + (m->states[i].next ? 256 * sizeof(uint32_t) : 0);
	n += m->name.cap;
	return n + (m->v ? m->n_masks * ((size_t)m->v->n / 64 + 1) * 8 : 0);
}

static bool go(struct k_matcher *m, const char *s, size_t n)
{
	compact(m);
	uint32_t to = follow(m, s, n);
	if (to == DEAD)
		return false;
	if (m->g->names && !k_name_is_read(m, m->states[to].threads, m->states[to].n))
		k_buf_reset(&m->name);
	m->now = to;
	return true;
}

static bool has_mark(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)s[i] >= K_MARK_OPEN)
			return true;
	}
	return false;
}

bool k_matcher_put_bytes(struct k_matcher *m, const char *s, size_t n) { return !has_mark(s, n) && go(m, s, n); }

bool k_matcher_put_mark(struct k_matcher *m, enum k_mark mark) { return go(m, &(char){ (char)mark }, 1); }

bool k_matcher_takes_mark(struct k_matcher *m, enum k_mark mark) { return step(m, m->now, (unsigned char)mark) != DEAD; }

enum { MAX_SPELLED = 255, MAX_SPELLINGS = 4000 };      /* bytes of a text; states that are looked at */
struct speller { struct k_matcher *m; struct k_buf *out; char text[MAX_SPELLED + 1]; int left; };

static bool is_free(const struct k_matcher *m, uint32_t s)
{
	for (uint32_t i = 0; i < m->states[s].n; i++) {
		if (m->g->nodes[m->frames[m->states[s].threads[i]].node].kind == K_NODE_STRING)
			return true;
	}
	return false;
}

/* The texts that go on from a state with the first len bytes of this one. */
static bool spell_on(struct speller *sp, uint32_t s, size_t len)
{
	bool ends = len && sp->text[len - 1] == '"';
	if (!ends && (len == MAX_SPELLED || sp->left-- == 0 || is_free(sp->m, s)))
		return false;
	for (int mark = K_MARK_OPEN; mark <= K_MARK_SEP && !ends; mark++)
		ends = step(sp->m, s, (unsigned char)mark) != DEAD;
	if (ends) {
		k_buf_put(sp->out, sp->text, len);
		k_buf_putc(sp->out, 0);
	}
	for (int c = 1; c < K_MARK_OPEN && !ends; c++) {
		uint32_t to = step(sp->m, s, (unsigned char)c);
		sp->text[len] = (char)c;
		if (to != DEAD && !spell_on(sp, to, len + 1))
			return false;
	}
	return !sp->m->full && !sp->out->failed;
}

bool k_matcher_spell(struct k_matcher *m, struct k_buf *out)
{
	struct speller sp = { .m = m, .out = out, .left = MAX_SPELLINGS };
	compact(m);
	return spell_on(&sp, m->now, 0);
}

bool k_matcher_put(struct k_matcher *m, int32_t id)
{
	size_t len;
	const char *s = k_tokenizer_bytes(m->v->t, id, &len);
	return s && len && !k_tokenizer_is_special(m->v->t, id) && k_matcher_put_bytes(m, s, len);
}

bool k_matcher_done(const struct k_matcher *m) { return m->states[m->now].accept; }
bool k_matcher_more(const struct k_matcher *m) { return m->states[m->now].n > 0; }

/* Those that were not asked for of late: about half of them stay. */
static void forget_masks(struct k_matcher *m)
{
	for (uint32_t i = 0; i < m->n_states; i++) {
		if (!m->states[i].mask || m->states[i].used + MAX_MASKS / 2 > m->clock)
			continue;
		k_free(m->states[i].mask);
		m->states[i].mask = NULL;
		m->n_masks--;
	}
}

const uint64_t *k_matcher_mask(struct k_matcher *m)
{
	compact(m);
	struct k_state *now = &m->states[m->now];
	uint64_t *mask = now->mask;
	now->used = ++m->clock;
	if (mask && !now->once)
		return mask;
	if (!mask && m->n_masks >= MAX_MASKS)
		forget_masks(m);
	if (!mask && !(mask = k_alloc(((size_t)m->v->n / 64 + 1) * 8)))
		return NULL;
	m->once = false;
	make_mask(m, m->now, mask);
	now = &m->states[m->now];       /* the table may have moved */
	m->n_masks += !now->mask;
	now->mask = mask;
	now->once = m->once;
	return mask;
}
