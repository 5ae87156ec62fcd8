/* schema_call.c: objects -> the arguments of a call as Kimi-K3 writes them. The graph of JSON stays as it is, for values within values; the root's
 * objects are copied, and so are the values right below them, which are told apart by type, and whose strings are raw. */
#include "libcore/base.h"

#include "libcore/schema_int.h"

struct caller {
	struct k_compiler *c;
	const uint32_t **typed;         /* of the nodes that were there before; NULL: not asked for yet */
};

/* The word's text becomes that of the buffer. */
static int set_text(struct k_compiler *c, struct k_word *w, struct k_buf *b)
{
	char *s = b->failed ? NULL : k_arena_strndup(&c->g->arena, b->len ? b->data : "", b->len);
	w->s = s;
	w->len = (uint32_t)b->len;
	k_buf_fini(b);
	return s ? 0 : k_schema_nomem(c);
}

static int parse_word(struct k_compiler *c, const struct k_word *w, struct k_json **v)
{
	return k_json_parse(v, w->s, w->len, K_JSON_NUL, "a value of enum", c->err);
}

/* --- values by type ------------------------------------------------------------------------------------------------------------- */

/* A string of an enumeration as it stands in an element, with what closes it. */
static int raw_word(struct k_compiler *c, struct k_word *w)
{
	struct k_json *v;
	struct k_buf b;
	int rc = parse_word(c, w, &v);
	if (rc)
		return rc;
	k_buf_init(&b, 0);
	k_buf_put(&b, k_json_string(v), k_json_len(v));
	k_buf_putc(&b, (char)K_MARK_CLOSE);
	k_json_free(v);
	return set_text(c, w, &b);
}

/* The words of a type; K_NODE_NONE: there are none. */
static int typed_words(struct k_compiler *c, uint32_t node, int type, uint32_t *out)
{
	const struct k_node x = c->g->nodes[node];
	struct k_word *w = k_arena_array(&c->g->arena, x.n_words, sizeof(*w));
	uint32_t n = 0;
	*out = K_NODE_NONE;
	if (!w)
		return k_schema_nomem(c);
	for (uint32_t i = 0; i < x.n_words; i++) {
		if (k_arg_type(x.words[i].s[0]) != type)
			continue;
		w[n] = x.words[i];
		if (type == K_ARG_STRING && raw_word(c, &w[n]))
			return k_schema_fail(c);
		n++;
	}
	if (!n)
		return 0;
	*out = k_schema_node(c, K_NODE_WORDS);
	if (*out == K_NODE_NONE)
		return k_schema_fail(c);
	k_schema_sort_words(w, n);
	c->g->nodes[*out].words = w;
	c->g->nodes[*out].n_words = n;
	return 0;
}

/* A string that is written in another form, with the pattern of the one that is there. */
static int string_copy(struct k_compiler *c, uint32_t node, enum k_form form, uint32_t *out)
{
	*out = k_schema_node(c, K_NODE_STRING);
	if (*out == K_NODE_NONE)
		return k_schema_fail(c);
	c->g->nodes[*out].pattern = c->g->nodes[node].pattern;
	c->g->nodes[*out].form = (uint8_t)form;
	return 0;
}

/* What of a node that is no union is of the type. */
static int typed_node(struct k_compiler *c, uint32_t node, int type, uint32_t *out)
{
	static const int types[] = {
		[K_NODE_STRING] = K_ARG_STRING, [K_NODE_INTEGER] = K_ARG_NUMBER, [K_NODE_NUMBER] = K_ARG_NUMBER, [K_NODE_ARRAY] = K_ARG_ARRAY,
		[K_NODE_OBJECT] = K_ARG_OBJECT,
	};
	int kind = c->g->nodes[node].kind;
	*out = K_NODE_NONE;
	if (c->g->nodes[node].height == K_HEIGHT_NONE)
		return 0;
	if (kind == K_NODE_WORDS)
		return typed_words(c, node, type, out);
	if (types[kind] != type)
		return 0;
	if (kind == K_NODE_STRING)
		return string_copy(c, node, K_FORM_RAW, out);
	*out = node;
	return 0;
}

static int typed_union(struct k_compiler *c, uint32_t value, int type, uint32_t *out)
{
	const struct k_node x = c->g->nodes[value];
	bool single = x.kind != K_NODE_UNION;
	uint32_t n_kids = single ? 1 : x.n_kids, n = 0, *kids = k_arena_array(&c->g->arena, n_kids + 1, sizeof(*kids));
	*out = K_NODE_NONE;
	if (!kids)
		return k_schema_nomem(c);
	for (uint32_t i = 0; i < n_kids; i++) {
		int rc = typed_node(c, single ? value : x.kids[i], type, &kids[n]);
		if (rc)
			return rc;
		n += kids[n] != K_NODE_NONE;
	}
	if (n < 2) {
		*out = n ? kids[0] : K_NODE_NONE;
		return 0;
	}
	*out = k_schema_node(c, K_NODE_UNION);
	if (*out == K_NODE_NONE)
		return k_schema_fail(c);
	c->g->nodes[*out].kids = kids;
	c->g->nodes[*out].n_kids = n;
	return 0;
}

static int typed_value(struct caller *k, uint32_t value, const uint32_t **out)
{
	uint32_t *typed = NULL;
	if (!k->typed[value]) {
		typed = k_arena_array(&k->c->g->arena, K_N_ARG_TYPES, sizeof(*typed));
		if (!typed)
			return k_schema_nomem(k->c);
		for (int t = 0; t < K_N_ARG_TYPES; t++) {
			int rc = typed_union(k->c, value, t, &typed[t]);
			if (rc)
				return rc;
		}
		k->typed[value] = typed;
	}
	*out = k->typed[value];
	return 0;
}

/* --- objects -------------------------------------------------------------------------------------------------------------------- */

/* Of a name that takes n bytes of an attribute: is a tag of it read again? */
static int check_name(struct k_compiler *c, const char *name, size_t n)
{
	return n <= K_XTML_NAME ? 0 : k_err_set(c->err, K_EUNSUP, "%s: the name '%.40s...' takes %zu bytes of a call, wanted at most %d", c->where, name, n, K_XTML_NAME);
}

/* Names as they stand in an attribute, with the quote behind them. */
static int attribute_names(struct k_compiler *c, struct k_node *call)
{
	struct k_word *w = k_arena_array(&c->g->arena, call->n_words + 1, sizeof(*w));
	if (!w)
		return k_schema_nomem(c);
	for (uint32_t i = 0; i < call->n_words; i++) {
		struct k_json *name;
		struct k_buf b;
		k_buf_init(&b, 0);
		k_buf_putc(&b, '"');
		k_buf_put(&b, call->words[i].s, call->words[i].len);
		int rc = k_buf_ok(&b, "a name", c->err);
		if (!rc)
			rc = k_json_parse(&name, b.data, b.len, K_JSON_NUL, "a name", c->err);
		k_buf_reset(&b);
		if (rc) {
			k_buf_fini(&b);
			return rc;
		}
		k_attr_escape(&b, k_json_string(name), k_json_len(name));
		rc = check_name(c, k_json_string(name), b.len);
		k_json_free(name);
		if (rc) {
			k_buf_fini(&b);
			return rc;
		}
		k_buf_putc(&b, '"');
		w[i] = call->words[i];
		if (set_text(c, &w[i], &b))
			return K_ENOMEM;
	}
	k_schema_sort_words(w, call->n_words);
	call->words = w;
	return 0;
}

static int call_of(struct caller *k, uint32_t object, uint32_t *out)
{
	struct k_compiler *c = k->c;
	struct k_node call = c->g->nodes[object];
	uint32_t n = call.n_props + call.n_extras;
	struct k_extra *extras = k_arena_array(&c->g->arena, call.n_extras + 1, sizeof(*extras));
	call.kind = K_NODE_CALL;
	call.height = K_HEIGHT_NONE;
	call.typed = k_arena_array(&c->g->arena, n + 1, sizeof(*call.typed));
	if (!extras || !call.typed)
		return k_schema_nomem(c);
	int rc = attribute_names(c, &call);
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = typed_value(k, i < call.n_props ? call.props[i].value : call.extras[i - call.n_props].value, &call.typed[i]);
	for (uint32_t i = 0; i < call.n_extras && !rc; i++) {
		extras[i] = call.extras[i];
		rc = string_copy(c, extras[i].key, K_FORM_ATTRIBUTE, &extras[i].key);
	}
	if (rc)
		return rc;
	call.extras = extras;
	*out = k_schema_node(c, K_NODE_CALL);
	if (*out == K_NODE_NONE)
		return k_schema_fail(c);
	c->g->nodes[*out] = call;
	return 0;
}

/* --- objects of an enumeration ---------------------------------------------------------------------------------------------------- */

static int type_of(const struct k_json *v)
{
	static const int types[] = {
		[K_JSON_NULL] = K_ARG_NULL, [K_JSON_BOOL] = K_ARG_BOOL, [K_JSON_INT] = K_ARG_NUMBER, [K_JSON_REAL] = K_ARG_NUMBER,
		[K_JSON_STRING] = K_ARG_STRING, [K_JSON_ARRAY] = K_ARG_ARRAY, [K_JSON_OBJECT] = K_ARG_OBJECT,
	};
	return types[k_json_kind(v)];
}

static int put_argument(struct k_compiler *c, struct k_buf *b, const char *key, const struct k_json *v)
{
	k_buf_putc(b, (char)K_MARK_OPEN);
	k_buf_puts(b, "argument key=\"");
	size_t from = b->len;
	k_attr_escape(b, key, strlen(key));
	if (check_name(c, key, b->len - from))
		return c->err->code;
	k_buf_printf(b, "\" type=\"%s\"%c", k_arg_types[type_of(v)], K_MARK_SEP);
	if (k_json_kind(v) == K_JSON_STRING)
		k_buf_put(b, k_json_string(v), k_json_len(v));
	else
		k_json_dump(b, v, K_JSON_COMPACT);
	k_buf_putc(b, (char)K_MARK_CLOSE);
	k_buf_puts(b, "argument");
	k_buf_putc(b, (char)K_MARK_SEP);
	return 0;
}

/* A whole object as the text of its call. empty: it has no members. */
static int call_word(struct k_compiler *c, struct k_word *w, bool *empty)
{
	struct k_json *v, *member;
	struct k_buf b;
	const char *key;
	int rc = parse_word(c, w, &v);
	if (rc)
		return rc;
	k_buf_init(&b, 0);
	for (void *it = NULL; !rc && k_json_next(v, &it, &key, &member); )
		rc = put_argument(c, &b, key, member);
	*empty = !k_json_len(v);
	k_json_free(v);
	if (rc) {
		k_buf_fini(&b);
		return rc;
	}
	return set_text(c, w, &b);
}

/* A call that has no arguments. */
static int empty_call(struct k_compiler *c, uint32_t *out)
{
	uint32_t *none = k_arena_array(&c->g->arena, 1, sizeof(*none));
	if (!none)
		return k_schema_nomem(c);
	*out = k_schema_node(c, K_NODE_CALL);
	if (*out == K_NODE_NONE)
		return k_schema_fail(c);
	none[0] = 0;
	c->g->nodes[*out].next_required = c->g->nodes[*out].required_from = none;
	return 0;
}

static int calls_of_words(struct k_compiler *c, uint32_t node, uint32_t *kids, uint32_t *n)
{
	const struct k_node x = c->g->nodes[node];
	struct k_word *w = k_arena_array(&c->g->arena, x.n_words + 1, sizeof(*w));
	uint32_t m = 0;
	int rc = w ? 0 : k_schema_nomem(c);
	for (uint32_t i = 0; i < x.n_words && !rc; i++) {
		bool empty;
		w[m] = x.words[i];
		rc = call_word(c, &w[m], &empty);
		if (!rc && empty)
			rc = empty_call(c, &kids[(*n)++]);
		m += !empty;
	}
	if (rc || !m)
		return rc;
	kids[*n] = k_schema_node(c, K_NODE_WORDS);
	if (kids[*n] == K_NODE_NONE)
		return k_schema_fail(c);
	k_schema_sort_words(w, m);
	c->g->nodes[kids[*n]].words = w;
	c->g->nodes[kids[(*n)++]].n_words = m;
	return 0;
}

/* --- the whole -------------------------------------------------------------------------------------------------------------------- */

static int root_of(struct caller *k, uint32_t root)
{
	struct k_compiler *c = k->c;
	const struct k_node x = c->g->nodes[root];
	bool single = x.kind != K_NODE_UNION;
	uint32_t n_kids = single ? 1 : x.n_kids, n = 0, *kids = k_arena_array(&c->g->arena, 2 * (size_t)n_kids, sizeof(*kids));
	int rc = kids ? 0 : k_schema_nomem(c);
	for (uint32_t i = 0; i < n_kids && !rc; i++) {
		uint32_t kid = single ? root : x.kids[i];
		if (c->g->nodes[kid].kind == K_NODE_WORDS)
			rc = calls_of_words(c, kid, kids, &n);
		else
			rc = call_of(k, kid, &kids[n++]);
	}
	if (!rc && (c->g->root = k_schema_node(c, K_NODE_UNION)) == K_NODE_NONE)
		rc = k_schema_fail(c);
	if (rc)
		return rc;
	c->g->nodes[c->g->root].kids = kids;
	c->g->nodes[c->g->root].n_kids = n;
	k_grammar_settle(c->g);
	return 0;
}

int k_schema_call(struct k_compiler *c)
{
	struct caller k = { c, k_calloc(c->g->n_nodes, sizeof(*k.typed)) };
	int rc = k.typed ? root_of(&k, c->g->root) : k_schema_nomem(c);
	k_free(k.typed);
	return rc;
}
