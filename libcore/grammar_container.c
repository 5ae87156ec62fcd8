/* grammar_container.c: the bytes of arrays and objects that are not of their values: brackets, commas, names; and of objects that are the
 * arguments of a call, elements between markers:
 *
 *   OPEN argument key="NAME" type="TYPE" SEP value CLOSE argument SEP */
#include "libcore/base.h"

#include "libcore/matcher_int.h"

/* --- arrays ----------------------------------------------------------------------------------------------------------------- */

static uint32_t item_at(const struct k_node *x, uint64_t i) { return i < x->n_kids ? x->kids[i] : x->rest; }

static bool item_fits(const struct k_matcher *m, const struct k_frame *f, const struct k_node *x, uint64_t i)
{
	uint32_t item = item_at(x, i);
	return item != K_NODE_NONE && k_frame_has_room(m, f->depth, item);
}

/* Counting ends where it makes no difference any more. */
static uint64_t count_item(const struct k_node *x, uint64_t n)
{
	uint64_t top = x->max != K_MANY ? (uint64_t)x->max : K_MAX((uint64_t)x->min, (uint64_t)x->n_kids);
	return K_MIN(n + 1, top);
}

static void enter_item(struct k_matcher *m, const struct k_frame *f, const struct k_node *x)
{
	if (x->unique) {
		for (uint32_t i = 0; i < x->n_kids; i++) {
			uint64_t bit = (uint64_t)1 << i;
			if (f->n & bit)
				continue;
			uint32_t after = k_frame_of(m, f->parent, f->node, f->depth, ARRAY_AFTER, 0, f->n | bit);
			if (after)
				k_node_enter(m, x->kids[i], after);
		}
		return;
	}
	uint32_t after = k_frame_of(m, f->parent, f->node, f->depth, ARRAY_AFTER, 0, count_item(x, f->n));
	if (after && item_fits(m, f, x, f->n))
		k_node_enter(m, item_at(x, f->n), after);
}

void k_step_array(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	int64_t n = x->unique ? __builtin_popcountll(f->n) : (int64_t)f->n;
	bool more = n < x->max && (x->unique ? n < (int64_t)x->n_kids : item_fits(m, f, x, f->n)), end = n >= x->min;
	switch (f->a) {
	case ARRAY_OPEN:
		if (c == '[') {
			if (end)
				k_frame_go_on(m, f, ARRAY_FIRST, 0, 0);
			if (more)
				enter_item(m, f, x);
		}
		return;
	case ARRAY_FIRST:
	case ARRAY_NEXT:
		if (c == ']' && end)
			k_node_leave(m, f->parent);
		if (c == ',' && more && f->a == ARRAY_NEXT) {
			k_frame_go_on(m, f, ARRAY_SPACE, 0, f->n);
			enter_item(m, f, x);
		}
		return;
	case ARRAY_SPACE:
		if (c == ' ')
			enter_item(m, f, x);
	}
}

/* --- objects ---------------------------------------------------------------------------------------------------------------- */

/* Where an object is: the next declared member, how many of the declared and of the others it has. */
struct where { uint32_t i, declared, others; };

static struct where where_of(const struct k_frame *f) { return (struct where){ f->a >> 4, f->b & 0xffff, f->b >> 16 }; }

static bool extra_fits(const struct k_matcher *m, const struct k_frame *f, const struct k_node *x, uint32_t extra)
{
	return k_frame_has_room(m, f->depth, x->extras[extra].value) && k_frame_has_room(m, f->depth, x->extras[extra].key);
}

/* Are there so many members, of the declared ones from i on and of the others? */
static bool can_reach(const struct k_matcher *m, const struct k_frame *f, const struct k_node *x, uint32_t i, int64_t wanted)
{
	for (uint32_t k = 0; k < x->n_extras && wanted > 0; k++)
		wanted -= extra_fits(m, f, x, k) ? x->extras[k].names : 0;
	for (; i < x->n_props && wanted > 0; i++)
		wanted -= k_frame_has_room(m, f->depth, x->props[i].value);
	return wanted <= 0;
}

static bool can_take(const struct k_matcher *m, const struct k_frame *f, const struct k_node *x, struct where w, uint32_t j)
{
	if (j < w.i || j >= x->n_props || j > x->next_required[w.i] || !k_frame_has_room(m, f->depth, x->props[j].value))
		return false;
	int64_t after = (int64_t)w.declared + 1 + x->required_from[j + 1];
	return after <= x->max && can_reach(m, f, x, j + 1, x->min - w.declared - 1);
}

static bool can_add(const struct k_matcher *m, const struct k_frame *f, const struct k_node *x, struct where w, uint32_t extra)
{
	return x->next_required[w.i] == x->n_props && (int64_t)w.declared + w.others + 1 <= x->max &&
		can_reach(m, f, x, x->n_props, x->min - w.declared) && extra_fits(m, f, x, extra);
}

static bool can_end(const struct k_node *x, struct where w)
{
	return x->next_required[w.i] == x->n_props && (int64_t)w.declared + w.others >= x->min;
}

static bool can_go_on(const struct k_matcher *m, const struct k_frame *f, const struct k_node *x)
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

static bool any_key(const struct k_matcher *m, const struct k_frame *f, const struct k_node *x, uint32_t lo, uint32_t depth)
{
	for (uint32_t k = lo; k < x->n_words && k_word_same_begin(&x->words[lo], &x->words[k], depth); k++) {
		if (can_take(m, f, x, where_of(f), x->words[k].index))
			return true;
	}
	return false;
}

/* What a key leads to, of the declared ones, then of the extras: the node of its value; of a call its number, as the type comes first. */
static uint64_t value_of(const struct k_node *x, uint32_t i)
{
	return x->kind == K_NODE_CALL ? i : i < x->n_props ? x->props[i].value : x->extras[i - x->n_props].value;
}

/* The quote of a key was read. */
static void begin_key(struct k_matcher *m, const struct k_frame *f, const struct k_node *x)
{
	struct where w = where_of(f);
	if (x->n_words && any_key(m, f, x, 0, 0))
		k_frame_go_on(m, f, OBJ_KEY | w.i << 4, f->b, 0);
	for (uint32_t i = 0; i < x->n_extras; i++) {
		if (!can_add(m, f, x, w, i))
			continue;
		/* Counting ends where it makes no difference any more. */
		int64_t top = x->max != K_MANY ? x->max : K_MAX(x->min - w.declared, (int64_t)1);
		uint32_t others = (uint32_t)K_MIN((int64_t)w.others + 1, top), name = K_NAME_NONE;
		if (k_members_of(f) < x->min && !k_name_begin(m, f->parent, x->extras[i].key, &name))
			continue;
		uint32_t parent = k_frame_of(m, f->parent, f->node, f->depth, OBJ_EXTRA | x->n_props << 4, w.declared | others << 16, i);
		if (parent)
			k_frame_emit(m, parent, x->extras[i].key, f->depth, STR_BODY, name, 0);
	}
}

/* A name that is not declared has ended: the object has it, which is of interest until it has members enough. */
void k_name_leave(struct k_matcher *m, const struct k_frame *f)
{
	const struct k_node *x = &m->g->nodes[f->node];
	const struct k_extra *extra = &x->extras[f->n];
	bool enough = k_members_of(f) >= x->min;
	uint32_t parent = enough ? k_names_below(m, f->parent) : k_frame_of(m, f->parent, extra->key, f->depth, 0, K_NAME_NONE, 0);
	if (enough || parent)
		k_frame_emit(m, parent, f->node, f->depth, OBJ_COLON | (f->a & ~15u), f->b, value_of(x, x->n_props + (uint32_t)f->n));
}

static void step_key(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	uint32_t depth = (uint32_t)(f->n >> 32), lo = k_word_step(x->words, x->n_words, (uint32_t)f->n, depth, c);
	if (lo == x->n_words)
		return;
	if (x->words[lo].len == depth + 1) {
		uint32_t j = x->words[lo].index;
		if (can_take(m, f, x, where_of(f), j))
			k_frame_go_on(m, f, OBJ_COLON | (j + 1) << 4, f->b + 1, value_of(x, j));
	} else if (any_key(m, f, x, lo, depth + 1)) {
		k_frame_go_on(m, f, f->a, f->b, lo | (uint64_t)(depth + 1) << 32);
	}
}

static void enter_value(struct k_matcher *m, const struct k_frame *f)
{
	uint32_t after = k_frame_of(m, f->parent, f->node, f->depth, OBJ_AFTER | (f->a & ~15u), f->b, 0);
	if (after)
		k_node_enter(m, (uint32_t)f->n, after);
}

void k_step_object(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	uint32_t i = f->a & ~15u;
	switch (f->a & 15) {
	case OBJ_OPEN:
		if (c == '{')
			k_frame_go_on(m, f, OBJ_FIRST, 0, 0);
		return;
	case OBJ_FIRST:
	case OBJ_WANT:
	case OBJ_GAP:
		if (c == '"')
			begin_key(m, f, x);
		if (c == ' ' && (f->a & 15) == OBJ_GAP)
			k_frame_go_on(m, f, OBJ_WANT | i, f->b, 0);
		if (c == '}' && (f->a & 15) == OBJ_FIRST && can_end(x, where_of(f)))
			k_node_leave(m, f->parent);
		return;
	case OBJ_KEY:
		step_key(m, f, x, c);
		return;
	case OBJ_COLON:
		if (c == ':') {
			k_frame_go_on(m, f, OBJ_SPACE | i, f->b, f->n);
			enter_value(m, f);
		}
		return;
	case OBJ_SPACE:
		if (c == ' ')
			enter_value(m, f);
		return;
	case OBJ_NEXT:
		if (c == '}' && can_end(x, where_of(f)))
			k_node_leave(m, f->parent);
		if (c == ',' && can_go_on(m, f, x))
			k_frame_go_on(m, f, OBJ_GAP | i, f->b, 0);
	}
}


/* --- the arguments of a call --------------------------------------------------------------------------------------------------- */

#define HEAD "\xfb" "argument key=\""
#define KIND " type=\""
#define TAIL "argument" "\xfd"

static void step_head(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	if ((unsigned char)HEAD[f->n] != c)
		return;
	if (f->n + 2 < sizeof(HEAD))
		k_frame_go_on(m, f, ARG_HEAD | (f->a & ~15u), f->b, f->n + 1);
	else
		begin_key(m, f, x);
}

/* n: the number of the value | the type << 32 | how far << 40 */
static void step_kind(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	uint64_t at = f->n >> 40, value = f->n & UINT32_MAX;
	if ((unsigned char)KIND[at] != c)
		return;
	if (at + 2 < sizeof(KIND)) {
		k_frame_go_on(m, f, f->a, f->b, value | (at + 1) << 40);
		return;
	}
	for (uint64_t t = 0; t < K_N_ARG_TYPES; t++) {
		if (x->typed[value][t] != K_NODE_NONE && k_frame_has_room(m, f->depth, x->typed[value][t]))
			k_frame_go_on(m, f, ARG_TYPE | (f->a & ~15u), f->b, value | t << 32);
	}
}

static void step_type(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	uint64_t at = f->n >> 40, type = f->n >> 32 & 255;
	size_t len = strlen(k_arg_types[type]);
	if (at <= len) {
		if (c == (at < len ? (unsigned char)k_arg_types[type][at] : '"'))
			k_frame_go_on(m, f, f->a, f->b, f->n + ((uint64_t)1 << 40));
		return;
	}
	if (c != K_MARK_SEP)
		return;
	uint32_t kind = type == K_ARG_STRING ? ARG_AFTER_STRING : OBJ_AFTER;
	uint32_t after = k_frame_of(m, f->parent, f->node, f->depth, kind | (f->a & ~15u), f->b, 0);
	if (after)
		k_node_enter(m, x->typed[f->n & UINT32_MAX][type], after);
}

static void step_tail(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	if ((unsigned char)TAIL[f->n] != c)
		return;
	if (f->n + 2 < sizeof(TAIL)) {
		k_frame_go_on(m, f, f->a, f->b, f->n + 1);
		return;
	}
	if (can_go_on(m, f, x))
		k_frame_go_on(m, f, OBJ_NEXT | (f->a & ~15u), f->b, 0);
	if (can_end(x, where_of(f)))
		k_node_leave(m, f->parent);
}

void k_step_call(struct k_matcher *m, const struct k_frame *f, const struct k_node *x, unsigned char c)
{
	switch (f->a & 15) {
	case OBJ_NEXT:
		if (can_go_on(m, f, x))
			step_head(m, f, x, c);
		return;
	case ARG_HEAD:
		step_head(m, f, x, c);
		return;
	case OBJ_KEY:
		step_key(m, f, x, c);
		return;
	case OBJ_COLON:
		step_kind(m, f, x, c);
		return;
	case ARG_TYPE:
		step_type(m, f, x, c);
		return;
	case ARG_CLOSE:
		if (c == K_MARK_CLOSE)
			k_frame_go_on(m, f, ARG_TAIL | (f->a & ~15u), f->b, 0);
		return;
	case ARG_TAIL:
		step_tail(m, f, x, c);
	}
}
