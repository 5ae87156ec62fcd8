/* schema.c: schemas -> nodes.
 *
 *   a set of schemas that must all hold (conj) --flatten--> without $ref and allOf
 *        --anyOf, oneOf--> a union: the set and one branch each        (the set is looked up first, so that recursion ends)
 *        --facts---------> scalars (schema_value.c), one array, one object; their children are sets again
 *
 * Children wait in a queue; nothing recurses with the depth of the schema. Branches of oneOf must exclude each other: the set with
 * two of them must have no value. Heights (grammar_settle) say which nodes have one. */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/schema_int.h"

enum { ANY_DEPTH = 8, MAX_CONJ = 4000, MAX_BRANCHES = 4000, MAX_ONE = 100, DEPTH_ROOM = 24 };

/* --- small things ----------------------------------------------------------------------------------------------------------- */

int k_schema_nomem(struct k_compiler *c) { return k_err_nomem(c->err, sizeof(struct k_node), "a grammar"); }

uint32_t k_schema_node(struct k_compiler *c, enum k_node_kind kind)
{
	struct k_grammar *g = c->g;
	if (g->n_nodes == K_MAX_NODES) {
		k_err_set(c->err, K_EUNSUP, "%s is too large: it has more than %d parts", c->where, K_MAX_NODES);
		return K_NODE_NONE;
	}
	if (g->n_nodes == g->cap_nodes) {
		uint32_t cap = 2 * g->cap_nodes + 64;
		struct k_node *v = k_realloc(g->nodes, cap * sizeof(*v));
		if (!v) {
			k_schema_nomem(c);
			return K_NODE_NONE;
		}
		g->nodes = v;
		g->cap_nodes = cap;
	}
	g->nodes[g->n_nodes] = (struct k_node){ .kind = (uint8_t)kind, .height = K_HEIGHT_NONE, .rest = K_NODE_NONE, .step = 1,
		.max = K_MANY };
	return g->n_nodes++;
}

void k_schema_why(struct k_compiler *c, const char *path, const char *text)
{
	if (!c->why)
		c->why = k_arena_printf(&c->arena, "%s: %s", path, text);
}

int k_schema_unsupported(struct k_compiler *c, const char *path, const char *keyword, const char *why)
{
	if (!(c->flags & K_SCHEMA_LAX))
		return k_err_set(c->err, K_EUNSUP, "%s.%s is not supported%s%s", path, keyword, why ? ": " : "", why ? why : "");
	if (c->ignored && c->ignored->len < 400)
		k_buf_printf(c->ignored, "%s%s.%s", c->ignored->len ? ", " : "", path, keyword);
	return 0;
}

int k_schema_wrong(struct k_compiler *c, const char *path, const char *keyword, const struct k_json *v, const char *wanted)
{
	return k_err_set(c->err, K_EFORMAT, "%s.%s is %s, wanted %s", path, keyword, k_json_kind_name(v), wanted);
}

int k_schema_fail(const struct k_compiler *c) { return c->err->code ? c->err->code : K_ENOMEM; }

const char *k_schema_sub_path(struct k_compiler *c, const char *path, const char *name)
{
	const char *p = strlen(path) < 300 ? k_arena_printf(&c->arena, "%s.%.60s", path, name) : path;
	return p ? p : path;
}

int k_schema_add(struct k_compiler *c, struct k_conj *x, const struct k_json *s, const char *path, int used)
{
	for (uint32_t i = 0; i < x->n; i++) {
		if (x->v[i].schema == s) {
			x->v[i].used |= used;
			return 0;
		}
	}
	if (x->n == MAX_CONJ || c->work++ > K_MAX_WORK)
		return k_err_set(c->err, K_EUNSUP, "%s is too large", c->where);
	if (x->n == x->cap) {
		uint32_t cap = 2 * x->cap + 4;
		struct k_item *v = k_arena_array(&c->arena, cap, sizeof(*v));
		if (!v)
			return k_schema_nomem(c);
		if (x->n)
			memcpy(v, x->v, x->n * sizeof(*v));
		x->v = v;
		x->cap = cap;
	}
	x->v[x->n++] = (struct k_item){ s, path, used, -1 };
	return 0;
}

/* Adds what item `from` of the same set leads to. To lead to what leads to it says nothing, and a checker would not end. */
static int conj_lead(struct k_compiler *c, struct k_conj *x, uint32_t from, const struct k_json *s, const char *path)
{
	uint32_t n = x->n;
	int rc = k_schema_add(c, x, s, path, 0);
	if (rc || x->n > n) {
		if (!rc)
			x->v[n].parent = (int32_t)from;
		return rc;
	}
	for (int32_t i = (int32_t)from; i >= 0 && k_json_kind(s) != K_JSON_BOOL; i = x->v[i].parent) {
		if (x->v[i].schema == s)
			return k_err_set(c->err, K_EFORMAT, "%s: $ref leads back to itself", path);
	}
	return 0;
}

static int conj_copy(struct k_compiler *c, struct k_conj *to, const struct k_conj *from)
{
	int rc = 0;
	*to = (struct k_conj){ 0 };
	for (uint32_t i = 0; i < from->n && !rc; i++)
		rc = k_schema_add(c, to, from->v[i].schema, from->v[i].path, from->v[i].used);
	for (uint32_t i = 0; i < from->n && !rc; i++)
		to->v[i].parent = from->v[i].parent;
	return rc;
}

/* --- references and allOf --------------------------------------------------------------------------------------------------- */

static int hex_digit(char ch)
{
	return ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
}

/* One step of a JSON pointer; text is the step with its escapes. */
static const struct k_json *pointer_step(const struct k_json *v, const char *text, size_t n)
{
	char name[512];
	size_t m = 0;
	for (size_t i = 0; i < n && m + 1 < sizeof(name); i++) {
		char ch = text[i];
		if (ch == '%' && i + 2 < n && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
			ch = (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
			i += 2;
		}
		if (ch == '~' && i + 1 < n)
			ch = text[++i] == '1' ? '/' : '~';
		name[m++] = ch;
	}
	name[m] = 0;
	if (k_json_kind(v) != K_JSON_ARRAY)
		return k_json_find(v, name);
	return m && strspn(name, "0123456789") == m && m < 8 ? k_json_at(v, (size_t)atoi(name)) : NULL;
}

static const struct k_json *resolve(const struct k_compiler *c, const char *ref)
{
	const struct k_json *v = c->root;
	if (*ref++ != '#' || (*ref && *ref != '/'))
		return NULL;
	while (*ref && v) {
		size_t n = strcspn(++ref, "/");
		v = pointer_step(v, ref, n);
		ref += n;
	}
	return v;
}

bool k_schema_is(const struct k_json *v) { return k_json_kind(v) == K_JSON_OBJECT || k_json_kind(v) == K_JSON_BOOL; }

/* Adds what a schema refers to and its allOf, to the same set, until nothing is new. */
int k_schema_flatten(struct k_compiler *c, struct k_conj *x)
{
	for (uint32_t i = 0; i < x->n; i++) {
		const struct k_item it = x->v[i];
		const struct k_json *ref = k_json_find(it.schema, "$ref"), *all = k_json_find(it.schema, "allOf");
		int rc = 0;
		if (ref) {
			const struct k_json *to = k_json_string(ref) ? resolve(c, k_json_string(ref)) : NULL;
			if (!to || !k_schema_is(to))
				return k_err_set(c->err, K_EFORMAT, "%s.$ref: there is no schema at '%.100s'", it.path,
					k_json_string(ref) ? k_json_string(ref) : k_json_kind_name(ref));
			rc = conj_lead(c, x, i, to, it.path);
		}
		if (!rc && all && (k_json_kind(all) != K_JSON_ARRAY || !k_json_len(all)))
			rc = k_schema_wrong(c, it.path, "allOf", all, "an array that is not empty");
		for (size_t k = 0; k < k_json_len(all) && !rc; k++) {
			if (!k_schema_is(k_json_at(all, k)))
				rc = k_schema_wrong(c, it.path, "allOf", k_json_at(all, k), "schemas");
			else
				rc = conj_lead(c, x, i, k_json_at(all, k), k_schema_sub_path(c, it.path, "allOf"));
		}
		if (rc)
			return rc;
	}
	return 0;
}

/* --- sets that were met before ---------------------------------------------------------------------------------------------- */

static int by_schema(const void *a, const void *b)
{
	const struct k_item *x = a, *y = b;
	return (x->schema > y->schema) - (x->schema < y->schema);
}

/* The node of a set: a new one waits in the queue. */
uint32_t k_schema_node_of(struct k_compiler *c, const struct k_conj *x)
{
	struct k_item sorted[64];
	struct { const struct k_json *s; intptr_t used; } key[64];
	bool keyed = x->n <= K_LEN(sorted);
	size_t n = 0;
	if (keyed) {
		if (x->n)
			memcpy(sorted, x->v, x->n * sizeof(*sorted));
		if (x->n > 1)
			qsort(sorted, x->n, sizeof(*sorted), by_schema);
		for (uint32_t i = 0; i < x->n; i++) {
			/* true and {} say nothing */
			bool empty = (k_json_kind(sorted[i].schema) == K_JSON_BOOL && k_json_bool(sorted[i].schema)) ||
				(k_json_kind(sorted[i].schema) == K_JSON_OBJECT && !k_json_len(sorted[i].schema));
			if (!empty) {
				key[n].s = sorted[i].schema;
				key[n++].used = sorted[i].used;
			}
		}
		if (!n)
			return c->any[ANY_DEPTH];
		uint32_t *known = k_map_find(&c->memo, (const char *)key, n * sizeof(*key));
		if (known)
			return *known;
	}
	uint32_t node = k_schema_node(c, K_NODE_NEVER);
	if (node == K_NODE_NONE)
		return node;
	if (c->n_queue == c->cap_queue) {
		uint32_t cap = 2 * c->cap_queue + 32;
		void *v = k_realloc(c->queue, cap * sizeof(*c->queue));
		if (!v)
			return k_schema_nomem(c), K_NODE_NONE;
		c->queue = v;
		c->cap_queue = cap;
	}
	c->queue[c->n_queue].node = node;
	if (conj_copy(c, &c->queue[c->n_queue].conj, x))
		return K_NODE_NONE;
	c->n_queue++;
	if (keyed) {
		char *k = k_arena_strndup(&c->arena, (const char *)key, n * sizeof(*key));
		uint32_t *value = k_arena_alloc(&c->arena, sizeof(*value));
		if (!k || !value || k_map_put(&c->memo, k, n * sizeof(*key), value) < 0)
			return k_schema_nomem(c), K_NODE_NONE;
		*value = node;
	}
	return node;
}

/* --- anyOf and oneOf -------------------------------------------------------------------------------------------------------- */

static int add_pair(struct k_compiler *c, uint32_t node, const char *path, int a, int b)
{
	if (c->n_pairs == c->cap_pairs) {
		uint32_t cap = 2 * c->cap_pairs + 32;
		void *v = k_realloc(c->pairs, cap * sizeof(*c->pairs));
		if (!v)
			return k_schema_nomem(c);
		c->pairs = v;
		c->cap_pairs = cap;
	}
	c->pairs[c->n_pairs].node = node;
	c->pairs[c->n_pairs].path = path;
	c->pairs[c->n_pairs].a = a;
	c->pairs[c->n_pairs++].b = b;
	return 0;
}

static int pairs(struct k_compiler *c, const struct k_conj *x, const struct k_json *list, const char *path)
{
	int n = (int)k_json_len(list), rc = 0;
	for (int i = 0; i < n && !rc; i++) {
		for (int k = i + 1; k < n && !rc; k++) {
			struct k_conj both;
			rc = conj_copy(c, &both, x);
			/* The same schema twice never excludes itself, however it is spelled. */
			if (!rc)
				rc = k_schema_add(c, &both, k_json_at(list, (size_t)i), path, 0);
			if (!rc)
				rc = k_schema_add(c, &both, k_json_at(list, (size_t)k), path, 0);
			uint32_t node = rc ? K_NODE_NONE : k_schema_node_of(c, &both);
			if (node == K_NODE_NONE)
				return k_schema_fail(c);
			rc = add_pair(c, node, path, i, k);
		}
	}
	return rc;
}

/* 1: the set had branches, node is a union now. */
static int branches(struct k_compiler *c, struct k_conj *x, uint32_t node)
{
	for (uint32_t i = 0; i < x->n; i++) {
		const struct k_item it = x->v[i];
		const struct k_json *any = it.used & K_USED_ANY ? NULL : k_json_find(it.schema, "anyOf");
		bool one = !any;
		const struct k_json *list = any ? any : it.used & K_USED_ONE ? NULL : k_json_find(it.schema, "oneOf");
		const char *word = one ? "oneOf" : "anyOf";
		if (!list)
			continue;
		if (k_json_kind(list) != K_JSON_ARRAY || !k_json_len(list) || k_json_len(list) > MAX_BRANCHES)
			return k_schema_wrong(c, it.path, word, list, "an array of 1 to 4000 schemas");
		if (one && k_json_len(list) > MAX_ONE)
			return k_err_set(c->err, K_EUNSUP, "%s.oneOf has more than %d branches", it.path, MAX_ONE);
		x->v[i].used |= one ? K_USED_ONE : K_USED_ANY;
		uint32_t n = (uint32_t)k_json_len(list), *kids = k_arena_array(&c->g->arena, n, sizeof(*kids));
		if (!kids)
			return k_schema_nomem(c);
		const char *path = k_schema_sub_path(c, it.path, word);
		for (uint32_t k = 0; k < n; k++) {
			struct k_conj with;
			if (!k_schema_is(k_json_at(list, k)))
				return k_schema_wrong(c, it.path, word, k_json_at(list, k), "schemas");
			if (conj_copy(c, &with, x) || conj_lead(c, &with, i, k_json_at(list, k), path))
				return k_schema_fail(c);
			kids[k] = k_schema_node_of(c, &with);
			if (kids[k] == K_NODE_NONE)
				return k_schema_fail(c);
		}
		if (one && pairs(c, x, list, path))
			return k_schema_fail(c);
		c->g->nodes[node].kind = K_NODE_UNION;
		c->g->nodes[node].kids = kids;
		c->g->nodes[node].n_kids = n;
		return 1;
	}
	return 0;
}

/* --- one set ---------------------------------------------------------------------------------------------------------------- */

static const char *const refused[] = {
	"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "contains", "minContains", "maxContains",
	"unevaluatedItems", "unevaluatedProperties", "additionalItems", "$dynamicRef", "$recursiveRef",
};

int k_schema_refuse(struct k_compiler *c, const struct k_item *it)
{
	for (size_t i = 0; i < K_LEN(refused); i++) {
		int rc = k_json_find(it->schema, refused[i]) ? k_schema_unsupported(c, it->path, refused[i], NULL) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

static int build(struct k_compiler *c, struct k_conj *x, uint32_t node)
{
	struct k_facts f = k_schema_no_facts();
	uint32_t kids[8], n = 0;
	int rc = k_schema_flatten(c, x);
	for (uint32_t i = 0; i < x->n && !rc; i++) {
		if (k_json_kind(x->v[i].schema) == K_JSON_BOOL) {
			if (!k_json_bool(x->v[i].schema)) {
				k_schema_why(c, x->v[i].path, "the schema false admits nothing");
				return 0;
			}
			continue;
		}
		rc = k_schema_refuse(c, &x->v[i]);
		if (!rc)
			rc = k_schema_facts(c, &x->v[i], &f);
		f.structured |= k_json_find(x->v[i].schema, "properties") || k_json_find(x->v[i].schema, "required") ||
			k_json_find(x->v[i].schema, "additionalProperties") || k_json_find(x->v[i].schema, "items") ||
			k_json_find(x->v[i].schema, "prefixItems") || k_json_find(x->v[i].schema, "patternProperties") ||
			k_json_find(x->v[i].schema, "propertyNames");
	}
	if (!rc)
		rc = branches(c, x, node);
	if (rc)
		return rc < 0 ? rc : 0;
	if (!f.types)
		return 0;
	if (!f.path)
		f.path = c->where;
	if (f.n_enums)
		return k_schema_words(c, &f, node);
	rc = k_schema_scalars(c, &f, kids, &n);
	if (!rc && f.types & K_T_ARRAY)
		rc = k_schema_array(c, x, &f, &kids[n++]);
	if (!rc && f.types & K_T_OBJECT)
		rc = k_schema_object(c, x, &f, &kids[n++]);
	if (rc)
		return rc;
	struct k_node *nd = &c->g->nodes[node];
	nd->kids = k_arena_array(&c->g->arena, 8, sizeof(*nd->kids));
	if (!nd->kids)
		return k_schema_nomem(c);
	memcpy(nd->kids, kids, n * sizeof(*kids));
	nd->kind = K_NODE_UNION;
	nd->n_kids = n;
	return 0;
}

/* Values of any kind, ANY_DEPTH containers deep at most, so that they end. */
static int make_any(struct k_compiler *c)
{
	struct k_pattern *p;
	static const struct k_word words[] = { { "false", 5, 0 }, { "null", 4, 0 }, { "true", 4, 0 } };
	uint32_t base[3];
	int rc = k_pattern_new(&p, NULL, 0, 0, -1, c->err);
	if (rc)
		return rc;
	base[0] = k_schema_string(c, p);
	base[1] = k_schema_node(c, K_NODE_WORDS);
	base[2] = k_schema_node(c, K_NODE_NUMBER);
	if (base[0] == K_NODE_NONE || base[1] == K_NODE_NONE || base[2] == K_NODE_NONE)
		return k_schema_fail(c);
	c->g->nodes[base[1]].words = (struct k_word *)words;
	c->g->nodes[base[1]].n_words = K_LEN(words);
	c->g->nodes[base[2]].free = true;
	for (int d = 0; d <= ANY_DEPTH; d++) {
		uint32_t *kids = k_arena_array(&c->g->arena, 5, sizeof(*kids)), n = 3, *zero = k_arena_array(&c->g->arena, 4, sizeof(*zero));
		struct k_extra *extra = k_arena_alloc(&c->g->arena, sizeof(*extra));
		if (!kids || !extra || !zero)
			return k_schema_nomem(c);
		memcpy(kids, base, sizeof(base));
		if (d) {
			uint32_t arr = k_schema_node(c, K_NODE_ARRAY), obj = k_schema_node(c, K_NODE_OBJECT);
			if (arr == K_NODE_NONE || obj == K_NODE_NONE)
				return k_schema_fail(c);
			c->g->nodes[arr].rest = c->any[d - 1];
			*extra = (struct k_extra){ base[0], c->any[d - 1], 1 };
			c->g->nodes[obj].extras = extra;
			c->g->nodes[obj].n_extras = 1;
			c->g->nodes[obj].next_required = zero;
			c->g->nodes[obj].required_from = zero + 2;
			kids[n++] = arr;
			kids[n++] = obj;
		}
		c->any[d] = k_schema_node(c, K_NODE_UNION);
		if (c->any[d] == K_NODE_NONE)
			return k_schema_fail(c);
		c->g->nodes[c->any[d]].kids = kids;
		c->g->nodes[c->any[d]].n_kids = n;
	}
	return 0;
}

/* --- the whole -------------------------------------------------------------------------------------------------------------- */

static int check_pairs(struct k_compiler *c)
{
	for (uint32_t i = 0; i < c->n_pairs; i++) {
		if (c->g->nodes[c->pairs[i].node].height == K_HEIGHT_NONE)
			continue;
		if (!(c->flags & K_SCHEMA_LAX))
			return k_err_set(c->err, K_EUNSUP, "%s: branches %d and %d can both hold, and such a oneOf is not supported; anyOf is",
				c->pairs[i].path, c->pairs[i].a, c->pairs[i].b);
		return k_schema_unsupported(c, c->pairs[i].path, "oneOf", NULL);
	}
	return 0;
}

static int finish(struct k_compiler *c)
{
	struct k_grammar *g = c->g;
	k_grammar_settle(g);
	uint32_t height = g->nodes[g->root].height;
	if (height == K_HEIGHT_NONE)
		return k_err_set(c->err, K_EFORMAT, "%s cannot be satisfied: %s", c->where, c->why ? c->why : "values would have to be endless");
	if (height > K_MAX_HEIGHT)
		return k_err_set(c->err, K_EUNSUP, "%s is nested too deeply", c->where);
	g->limit = height + DEPTH_ROOM;
	int rc = check_pairs(c);
	if (!rc)
		rc = k_schema_flatten_unions(c);
	return rc || !(c->flags & K_SCHEMA_CALL) ? rc : k_schema_call(c);
}

static int compile(struct k_compiler *c, const struct k_json *schema)
{
	static const char only[] = "{\"type\":\"object\"}";
	struct k_json *object = NULL;
	struct k_conj root = { 0 };
	int rc = make_any(c);
	if (!rc && c->flags & K_SCHEMA_OBJECT)
		rc = k_json_parse(&object, only, sizeof(only) - 1, 0, "schema", c->err);
	if (!rc && object)
		rc = k_schema_add(c, &root, object, c->where, 0);
	if (!rc && schema && !k_schema_is(schema))
		rc = k_err_set(c->err, K_EFORMAT, "%s is %s, wanted a schema", c->where, k_json_kind_name(schema));
	if (!rc && schema)
		rc = k_schema_add(c, &root, schema, c->where, 0);
	if (!rc && (c->g->root = k_schema_node_of(c, &root)) == K_NODE_NONE)
		rc = k_schema_fail(c);
	for (; c->done < c->n_queue && !rc; c->done++) {
		struct k_conj x = c->queue[c->done].conj;
		rc = build(c, &x, c->queue[c->done].node);
	}
	if (!rc)
		rc = finish(c);
	k_json_free(object);
	return rc;
}

static struct k_grammar *new_grammar(void)
{
	struct k_grammar *g = k_calloc(1, sizeof(*g));
	if (g) {
		atomic_init(&g->refs, 1);
		k_arena_init(&g->arena);
	}
	return g;
}

int k_schema_compile(struct k_grammar **out, const struct k_json *schema, const char *where, int flags, struct k_buf *ignored,
	struct k_err *err)
{
	struct k_compiler c = { .g = new_grammar(), .root = schema, .where = where, .flags = flags, .ignored = ignored, .err = err };
	err->code = 0;
	if (!c.g)
		return k_err_nomem(err, sizeof(*c.g), "a grammar");
	k_arena_init(&c.arena);
	k_map_init(&c.memo);
	int rc = compile(&c, schema);
	k_free(c.queue);
	k_free(c.pairs);
	k_map_fini(&c.memo);
	k_arena_fini(&c.arena);
	if (rc)
		k_grammar_free(c.g);
	else
		*out = c.g;
	return rc;
}

int k_schema_choice(struct k_grammar **out, const struct k_json *texts, const char *where, struct k_err *err)
{
	size_t n = k_json_kind(texts) == K_JSON_ARRAY ? k_json_len(texts) : 0, m = 0;
	struct k_compiler c = { .g = new_grammar(), .where = where, .err = err };
	if (!c.g)
		return k_err_nomem(err, sizeof(*c.g), "a grammar");
	struct k_word *w = k_arena_array(&c.g->arena, n + 1, sizeof(*w));
	uint32_t node = k_schema_node(&c, K_NODE_WORDS);
	int rc = !w || node == K_NODE_NONE ? k_schema_nomem(&c) : 0;
	if (!rc && !n)
		rc = k_err_set(err, K_EFORMAT, "%s must be an array of texts that is not empty", where);
	for (size_t i = 0; i < n && !rc; i++) {
		const struct k_json *v = k_json_at(texts, i);
		if (!k_json_string(v) || !k_json_len(v)) {
			rc = k_err_set(err, K_EFORMAT, "%s[%zu] is %s, wanted a text that is not empty", where, i, k_json_kind_name(v));
			break;
		}
		w[i].len = (uint32_t)k_json_len(v);
		w[i].s = k_arena_strndup(&c.g->arena, k_json_string(v), k_json_len(v));
		if (!w[i].s)
			rc = k_schema_nomem(&c);
	}
	if (rc) {
		k_grammar_free(c.g);
		return rc;
	}
	k_schema_sort_words(w, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		if (!m || w[i].len != w[m - 1].len || memcmp(w[i].s, w[m - 1].s, w[i].len))
			w[m++] = w[i];
	}
	c.g->nodes[node].words = w;
	c.g->nodes[node].n_words = (uint32_t)m;
	c.g->root = node;
	k_grammar_settle(c.g);
	*out = c.g;
	return 0;
}

struct k_grammar *k_grammar_keep(struct k_grammar *g)
{
	atomic_fetch_add(&g->refs, 1);
	return g;
}

void k_grammar_free(struct k_grammar *g)
{
	if (!g || atomic_fetch_sub(&g->refs, 1) != 1)
		return;
	for (uint32_t i = 0; i < g->n_nodes; i++)
		k_pattern_free(g->nodes[i].form == K_FORM_JSON ? g->nodes[i].pattern : NULL);
	k_free(g->nodes);
	k_arena_fini(&g->arena);
	k_free(g);
}
