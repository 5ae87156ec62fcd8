/* schema_members.c: the members of objects and the items of arrays, each what all schemas of a set say of it together. */
#include "libcore/base.h"

#include "libcore/schema_int.h"

enum {
	MAX_PROPS = 4000, MAX_UNIQUE = 60, MAX_REGEXES = 16,
	MAX_MIXED = 4,                  /* regular expressions of which a name may match several */
	MAX_COUNT = 0xffff,             /* members, in a frame of the matcher */
};

/* --- objects ---------------------------------------------------------------------------------------------------------------- */

struct object {
	const char **names; size_t *lens; uint32_t n, cap;      /* declared, in order */
	bool *required;
	struct k_map by_name;           /* -> index + 1, as a pointer into ones */
	const char **regexes; uint32_t n_regexes;
	struct k_pattern **patterns;
	struct k_facts rule;            /* what propertyNames says of them */
	struct k_pattern *fits;
	bool left;                      /* names were left out */
};

static int object_name(struct k_compiler *c, struct object *o, const char *name, uint32_t *index)
{
	uint32_t *known = k_map_find(&o->by_name, name, strlen(name));
	if (known) {
		*index = *known;
		return 0;
	}
	if (o->n == MAX_PROPS)
		return k_err_set(c->err, K_EUNSUP, "%s has objects with more than %d properties", c->where, MAX_PROPS);
	if (o->n == o->cap) {
		uint32_t cap = 2 * o->cap + 8;
		const char **names = k_arena_array(&c->arena, cap, sizeof(*names));
		bool *required = k_arena_array(&c->arena, cap, sizeof(*required));
		if (!names || !required)
			return k_schema_nomem(c);
		if (o->n) {
			memcpy(names, o->names, o->n * sizeof(*names));
			memcpy(required, o->required, o->n * sizeof(*required));
		}
		o->names = names;
		o->required = required;
		o->cap = cap;
	}
	uint32_t *at = k_arena_alloc(&c->arena, sizeof(*at));
	if (!at || k_map_put(&o->by_name, name, strlen(name), at) < 0)
		return k_schema_nomem(c);
	*at = *index = o->n;
	o->names[o->n++] = name;
	return 0;
}

static int object_regex(struct k_compiler *c, struct object *o, const char *regex, const char *path)
{
	for (uint32_t i = 0; i < o->n_regexes; i++) {
		if (!strcmp(o->regexes[i], regex))
			return 0;
	}
	if (o->n_regexes == MAX_REGEXES)
		return k_err_set(c->err, K_EUNSUP, "%s.patternProperties has more than %d patterns", path, MAX_REGEXES);
	struct k_pattern_part part = { regex, strlen(regex), false, false };
	int rc = k_pattern_new(&o->patterns[o->n_regexes], &part, 1, 0, -1, c->err);
	if (rc)
		return k_err_add(c->err, "in %s.patternProperties", path), rc;
	o->regexes[o->n_regexes++] = regex;
	return 0;
}

static int read_object(struct k_compiler *c, const struct k_conj *x, struct object *o)
{
	for (uint32_t i = 0; i < x->n; i++) {
		const struct k_json *s = x->v[i].schema, *props = k_json_find(s, "properties"), *pats = k_json_find(s, "patternProperties");
		const struct k_json *extra = k_json_find(s, "additionalProperties");
		const char *path = x->v[i].path, *key;
		struct k_json *v;
		uint32_t at;
		void *it = NULL;
		if (props && k_json_kind(props) != K_JSON_OBJECT)
			return k_schema_wrong(c, path, "properties", props, "an object");
		if (pats && k_json_kind(pats) != K_JSON_OBJECT)
			return k_schema_wrong(c, path, "patternProperties", pats, "an object");
		if (extra && !k_schema_is(extra))
			return k_schema_wrong(c, path, "additionalProperties", extra, "a schema");
		while (props && k_json_next(props, &it, &key, &v)) {
			if (!k_schema_is(v))
				return k_schema_wrong(c, k_schema_sub_path(c, path, "properties"), key, v, "a schema");
			if (object_name(c, o, key, &at))
				return k_schema_fail(c);
		}
		it = NULL;
		while (pats && k_json_next(pats, &it, &key, &v)) {
			if (!k_schema_is(v))
				return k_schema_wrong(c, k_schema_sub_path(c, path, "patternProperties"), key, v, "a schema");
			if (object_regex(c, o, key, path))
				return k_schema_fail(c);
		}
	}
	int rc = k_schema_names(c, x, &o->rule, &o->fits);
	/* Names of an enum are as good as declared. */
	for (size_t k = 0; k < k_schema_enum_len(&o->rule) && !rc; k++) {
		const char *name = k_json_string(k_schema_enum_at(&o->rule, k));
		uint32_t at;
		if (name && k_schema_name_fits(&o->rule, o->fits, name))
			rc = object_name(c, o, name, &at);
	}
	for (uint32_t i = 0; i < x->n && !rc; i++) {
		const struct k_json *req = k_json_find(x->v[i].schema, "required");
		if (req && k_json_kind(req) != K_JSON_ARRAY)
			return k_schema_wrong(c, x->v[i].path, "required", req, "an array of strings");
		for (size_t k = 0; k < k_json_len(req); k++) {
			const char *name = k_json_string(k_json_at(req, k));
			uint32_t at;
			if (!name)
				return k_schema_wrong(c, x->v[i].path, "required", k_json_at(req, k), "an array of strings");
			if (object_name(c, o, name, &at))
				return k_schema_fail(c);
			o->required[at] = true;
		}
	}
	return rc;
}

/* What every schema of the set says of one name (name NULL: of the names that match these regexes, a bit each, and no others). */
static int member_conj(struct k_compiler *c, const struct k_conj *x, const struct object *o, const char *name, uint32_t regexes,
	struct k_conj *out)
{
	int rc = 0;
	*out = (struct k_conj){ 0 };
	for (uint32_t i = 0; i < x->n && !rc; i++) {
		const struct k_json *s = x->v[i].schema, *own = name ? k_json_find(k_json_find(s, "properties"), name) : NULL;
		const struct k_json *pats = k_json_find(s, "patternProperties"), *extra = k_json_find(s, "additionalProperties");
		const char *path = k_schema_sub_path(c, x->v[i].path, name ? name : "additionalProperties");
		bool said = own != NULL;
		if (own)
			rc = k_schema_add(c, out, own, path, 0);
		for (uint32_t k = 0; k < o->n_regexes && !rc; k++) {
			const struct k_json *v = k_json_find(pats, o->regexes[k]);
			if (!v || !(name ? k_pattern_fits(o->patterns[k], name, strlen(name)) : regexes >> k & 1))
				continue;
			said = true;
			rc = k_schema_add(c, out, v, path, 0);
		}
		if (!rc && !said && extra)
			rc = k_schema_add(c, out, extra, path, 0);
	}
	return rc;
}

/* Where an object must have some members, each name counts once: how many names are there? */
static int count_names(struct k_compiler *c, const struct k_facts *f, struct k_pattern *p, uint32_t node, uint32_t *names)
{
	struct k_err err = { 0 };
	int rc = k_pattern_count(p, &err);
	if (!rc) {
		*names = k_pattern_ways(p, 0);
		return 0;
	}
	c->g->nodes[node].min = 1;
	return rc == K_EUNSUP ? k_schema_unsupported(c, f->path, "minProperties", err.msg) : k_err_set(c->err, rc, "%s", err.msg);
}

/* Those that match these regular expressions, a bit each, and no others. parts: the declared names, what propertyNames says, the expressions. */
static int add_extra(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, struct object *o, uint32_t node, uint32_t set,
	struct k_pattern_part *parts)
{
	struct k_conj value;
	struct k_pattern *p = NULL;
	struct k_err err = { 0 };
	uint32_t n_parts = o->n + (uint32_t)o->rule.n_parts, names = 1;
	if (member_conj(c, x, o, NULL, set, &value))
		return k_schema_fail(c);
	for (uint32_t k = 0; k < value.n; k++) {
		if (k_json_kind(value.v[k].schema) == K_JSON_BOOL && !k_json_bool(value.v[k].schema))
			return 0;
	}
	for (uint32_t k = 0; k < o->n_regexes; k++)
		parts[n_parts++] = (struct k_pattern_part){ o->regexes[k], strlen(o->regexes[k]), false, !(set >> k & 1) };
	int rc = k_pattern_new(&p, parts, (int)n_parts, o->rule.min_chars, o->rule.max_chars == K_MANY ? -1 : o->rule.max_chars, &err);
	o->left |= rc == K_EUNSUP;
	if (rc)
		return rc == K_EUNSUP ? 0 : k_err_set(c->err, rc, "%s", err.msg);
	bool none = k_pattern_none(p);
	rc = !none && c->g->nodes[node].min > 1 ? count_names(c, f, p, node, &names) : 0;
	if (none || rc) {
		k_pattern_free(p);
		return rc;
	}
	uint32_t key = k_schema_string(c, p), to = key == K_NODE_NONE ? key : k_schema_node_of(c, &value);
	if (to == K_NODE_NONE)
		return k_schema_fail(c);
	struct k_node *nd = &c->g->nodes[node];
	nd->extras[nd->n_extras++] = (struct k_extra){ key, to, names };
	return 0;
}

/* Names that are not declared: by which regular expressions they match; where those are many, at most one. Where names cannot be told from
 * the declared ones with little effort there are none of them. */
static int add_extras(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, struct object *o, uint32_t node)
{
	bool mixed = o->n_regexes <= MAX_MIXED;
	uint32_t most = mixed ? 1u << o->n_regexes : o->n_regexes + 1;
	struct k_pattern_part *parts = k_arena_array(&c->arena, o->n + (uint32_t)o->rule.n_parts + o->n_regexes + 1, sizeof(*parts));
	struct k_extra *extras = k_arena_array(&c->g->arena, most, sizeof(*extras));
	if (!extras || !parts)
		return k_schema_nomem(c);
	c->g->nodes[node].extras = extras;
	if (o->rule.n_enums || !(o->rule.types & K_T_STRING))
		return 0;
	for (uint32_t i = 0; i < o->n; i++)
		parts[i] = (struct k_pattern_part){ o->names[i], strlen(o->names[i]), true, true };
	for (int i = 0; i < o->rule.n_parts; i++)
		parts[o->n + (uint32_t)i] = o->rule.parts[i];
	for (uint32_t i = 0; i < most; i++) {
		int rc = add_extra(c, x, f, o, node, mixed || !i ? i : 1u << (i - 1), parts);
		if (rc)
			return rc;
	}
	c->g->names |= c->g->nodes[node].n_extras && c->g->nodes[node].min > 1;
	return 0;
}

static int add_props(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, const struct object *o, uint32_t node)
{
	uint32_t n = o->n;
	struct k_prop *props = k_arena_array(&c->g->arena, n + 1, sizeof(*props));
	struct k_word *words = k_arena_array(&c->g->arena, n + 1, sizeof(*words));
	uint32_t *next = k_arena_array(&c->g->arena, n + 2, sizeof(*next)), *from = k_arena_array(&c->g->arena, n + 2, sizeof(*from));
	if (!props || !words || !next || !from)
		return k_schema_nomem(c);
	next[n] = n;
	for (uint32_t i = n; i-- > 0; ) {
		next[i] = o->required[i] ? i : next[i + 1];
		from[i] = from[i + 1] + o->required[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		struct k_conj value;
		struct k_buf b;
		if (member_conj(c, x, o, o->names[i], 0, &value))
			return k_schema_fail(c);
		props[i].required = o->required[i];
		bool may = k_schema_name_fits(&o->rule, o->fits, o->names[i]);
		props[i].value = may ? k_schema_node_of(c, &value) : k_schema_node(c, K_NODE_NEVER);
		if (!may)
			k_schema_why(c, k_schema_sub_path(c, f->path, o->names[i]), "propertyNames does not admit the name");
		if (props[i].value == K_NODE_NONE)
			return k_schema_fail(c);
		k_buf_init(&b, 0);
		k_json_quote(&b, o->names[i], strlen(o->names[i]));
		words[i].index = i;
		words[i].len = b.failed ? 0 : (uint32_t)b.len - 1;
		words[i].s = b.failed ? NULL : k_arena_strndup(&c->g->arena, b.data + 1, b.len - 1);
		k_buf_fini(&b);
		if (!words[i].s)
			return k_schema_nomem(c);
	}
	k_schema_sort_words(words, n);
	struct k_node *nd = &c->g->nodes[node];
	nd->props = props;
	nd->n_props = n;
	nd->words = words;
	nd->n_words = n;
	nd->next_required = next;
	nd->required_from = from;
	return 0;
}

/* Says so where there cannot be as many members as there must be. */
static int weigh(struct k_compiler *c, const struct k_facts *f, const struct object *o, struct k_node *x)
{
	int64_t most = x->n_props;
	for (uint32_t i = 0; i < x->n_extras; i++)
		most += x->extras[i].names;
	if (x->min > x->max)
		k_schema_why(c, f->path, "minProperties is above maxProperties");
	else if (x->required_from[0] > x->max)
		k_schema_why(c, f->path, "required names more members than maxProperties admits");
	else if (x->min > most && !o->left)
		k_schema_why(c, f->path, "minProperties is more than there can be names");
	if (x->min <= most || !o->left)
		return 0;
	x->min = most;
	return k_schema_unsupported(c, f->path, "minProperties", "of names that are hard to tell from each other");
}

int k_schema_object(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, uint32_t *out)
{
	struct k_pattern *patterns[MAX_REGEXES] = { 0 };
	const char *regexes[MAX_REGEXES];
	struct object o = { .patterns = patterns, .regexes = regexes };
	k_map_init(&o.by_name);
	*out = k_schema_node(c, K_NODE_OBJECT);
	int rc = *out == K_NODE_NONE ? k_schema_fail(c) : read_object(c, x, &o);
	if (!rc) {
		c->g->nodes[*out].min = f->min_props;
		c->g->nodes[*out].max = f->max_props == K_MANY ? K_MANY : K_MIN(f->max_props, (int64_t)MAX_COUNT);
		if (f->min_props > MAX_PROPS) {
			rc = k_schema_unsupported(c, f->path, "minProperties", "more than 4000");
			c->g->nodes[*out].min = MAX_PROPS;
		}
	}
	if (!rc)
		rc = add_props(c, x, f, &o, *out);
	if (!rc)
		rc = add_extras(c, x, f, &o, *out);
	if (!rc)
		rc = weigh(c, f, &o, &c->g->nodes[*out]);
	for (uint32_t i = 0; i < o.n_regexes; i++)
		k_pattern_free(patterns[i]);
	k_pattern_free(o.fits);
	k_map_fini(&o.by_name);
	return rc;
}

/* --- arrays ----------------------------------------------------------------------------------------------------------------- */

static int item_conj(struct k_compiler *c, const struct k_conj *x, size_t at, bool rest, struct k_conj *out, bool *none)
{
	*out = (struct k_conj){ 0 };
	*none = false;
	for (uint32_t i = 0; i < x->n; i++) {
		const struct k_json *first = k_json_find(x->v[i].schema, "prefixItems"), *items = k_json_find(x->v[i].schema, "items");
		const struct k_json *v = !rest && at < k_json_len(first) ? k_json_at(first, at) : items;
		if (v && !k_schema_is(v))
			return k_schema_wrong(c, x->v[i].path, v == items ? "items" : "prefixItems", v, "a schema");
		*none |= v && k_json_kind(v) == K_JSON_BOOL && !k_json_bool(v);
		if (v && k_schema_add(c, out, v, k_schema_sub_path(c, x->v[i].path, "items"), 0))
			return k_schema_fail(c);
	}
	return 0;
}

/* uniqueItems: of at most one item it says nothing; else the items must be a few words, to be used once each. */
static int unique_array(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, uint32_t node, uint32_t n_first)
{
	struct k_conj item;
	struct k_facts g = k_schema_no_facts();
	bool none;
	int rc = item_conj(c, x, 0, true, &item, &none);
	if (!rc)
		rc = k_schema_flatten(c, &item);
	for (uint32_t i = 0; i < item.n && !rc; i++) {
		if (k_json_find(item.v[i].schema, "anyOf") || k_json_find(item.v[i].schema, "oneOf"))
			return k_schema_unsupported(c, f->path, "uniqueItems", "but of items with enum");
		rc = k_schema_facts(c, &item.v[i], &g);
	}
	if (rc)
		return rc;
	uint32_t words = k_schema_node(c, K_NODE_WORDS);
	if (words == K_NODE_NONE)
		return k_schema_fail(c);
	if (!n_first && !g.n_enums && g.types == K_T_BOOL) {
		static const struct k_word both[] = { { "false", 5, 0 }, { "true", 4, 0 } };
		c->g->nodes[words].words = (struct k_word *)both;
		c->g->nodes[words].n_words = 2;
	} else if (n_first || !g.n_enums) {
		return k_schema_unsupported(c, f->path, "uniqueItems", "but of items with enum");
	} else if (k_schema_words(c, &g, words)) {
		return k_schema_fail(c);
	}
	uint32_t n = c->g->nodes[words].n_words;
	if (n > MAX_UNIQUE)
		return k_schema_unsupported(c, f->path, "uniqueItems", "of more than 60 values");
	uint32_t *kids = k_arena_array(&c->g->arena, n + 1, sizeof(*kids));
	if (!kids)
		return k_schema_nomem(c);
	for (uint32_t i = 0; i < n; i++) {
		kids[i] = k_schema_node(c, K_NODE_WORDS);
		if (kids[i] == K_NODE_NONE)
			return k_schema_fail(c);
		c->g->nodes[kids[i]].words = &c->g->nodes[words].words[i];
		c->g->nodes[kids[i]].n_words = 1;
	}
	struct k_node *nd = &c->g->nodes[node];
	nd->unique = true;
	nd->kids = kids;
	nd->n_kids = n;
	return 0;
}

int k_schema_array(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, uint32_t *out)
{
	size_t n = 0;
	struct k_conj item;
	bool none;
	*out = k_schema_node(c, K_NODE_ARRAY);
	if (*out == K_NODE_NONE)
		return k_schema_fail(c);
	for (uint32_t i = 0; i < x->n; i++) {
		const struct k_json *first = k_json_find(x->v[i].schema, "prefixItems");
		if (first && k_json_kind(first) != K_JSON_ARRAY)
			return k_schema_wrong(c, x->v[i].path, "prefixItems", first, "an array");
		n = K_MAX(n, k_json_len(first));
	}
	c->g->nodes[*out].min = f->min_items;
	c->g->nodes[*out].max = f->max_items;
	if (f->unique && f->max_items > 1) {
		int rc = unique_array(c, x, f, *out, (uint32_t)n);
		if (rc || c->g->nodes[*out].unique)
			return rc;
	}
	uint32_t *kids = k_arena_array(&c->g->arena, n + 1, sizeof(*kids));
	if (!kids)
		return k_schema_nomem(c);
	for (size_t i = 0; i <= n; i++) {
		if (item_conj(c, x, i, i == n, &item, &none))
			return k_schema_fail(c);
		kids[i] = k_schema_node_of(c, &item);
		if (kids[i] == K_NODE_NONE)
			return k_schema_fail(c);
	}
	struct k_node *nd = &c->g->nodes[*out];
	nd->kids = kids;
	nd->n_kids = (uint32_t)n;
	nd->rest = none ? K_NODE_NONE : kids[n];
	return 0;
}

