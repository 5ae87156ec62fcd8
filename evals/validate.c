/* validate.c: see validate.h. One row a keyword; a keyword that does not concern a value's type holds. The path of the value grows as the check
 * goes down, for the sentence.
 *
 * Which members of a value a schema has looked at is noted only where somebody asks (unevaluatedProperties, unevaluatedItems): in a byte a member, of
 * each schema for itself, which its parent takes over when it fits. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/validate.h"
#include "libcore/rx.h"

enum { MAX_DEPTH = 200 };

struct check {
	const struct k_json *root;
	struct k_err *err;
	int depth;
	char path[160];
	uint8_t *seen;                  /* the members of the value that were looked at; NULL: nobody asks */
};

static int fits(struct check *c, const struct k_json *schema, const struct k_json *v);

static int no(struct check *c, const char *what)
{
	k_err_set(c->err, K_ENO, "%s: %s", *c->path ? c->path : "the value", what);
	return 0;
}

static bool is_number(const struct k_json *v) { return k_json_kind(v) == K_JSON_INT || k_json_kind(v) == K_JSON_REAL; }
static bool is_whole(const struct k_json *v) { return k_json_kind(v) == K_JSON_INT || (is_number(v) && floor(k_json_number(v)) == k_json_number(v)); }

/* Equal as JSON schema says: 1 is 1.0. */
static bool same(const struct k_json *a, const struct k_json *b)
{
	const char *key;
	struct k_json *v;
	if (is_number(a) && is_number(b))
		return k_json_kind(a) == k_json_kind(b) ? k_json_equal(a, b) : k_json_number(a) == k_json_number(b);
	if (k_json_kind(a) != k_json_kind(b) || k_json_len(a) != k_json_len(b))
		return false;
	if (k_json_kind(a) == K_JSON_ARRAY) {
		for (size_t i = 0; i < k_json_len(a); i++)
			if (!same(k_json_at(a, i), k_json_at(b, i)))
				return false;
		return true;
	}
	if (k_json_kind(a) != K_JSON_OBJECT)
		return k_json_equal(a, b);
	for (void *it = NULL; k_json_next(a, &it, &key, &v); )
		if (!k_json_find(b, key) || !same(v, k_json_find(b, key)))
			return false;
	return true;
}

/* One level down: the path says so until it is put back. */
static int below(struct check *c, const struct k_json *schema, const struct k_json *v, const char *key, size_t i)
{
	size_t n = strlen(c->path);
	uint8_t *seen = c->seen;
	c->seen = NULL;
	if (key)
		snprintf(c->path + n, sizeof(c->path) - n, "%s%.40s", n ? "." : "", key);
	else
		snprintf(c->path + n, sizeof(c->path) - n, "[%zu]", i);
	int r = fits(c, schema, v);
	c->path[n] = 0;
	c->seen = seen;
	return r;
}

static void note(struct check *c, size_t i)
{
	if (c->seen)
		c->seen[i] = 1;
}

/* The member of that name. */
static void note_name(struct check *c, const struct k_json *v, const char *name)
{
	const char *key;
	struct k_json *x;
	size_t i = 0;
	for (void *it = NULL; c->seen && k_json_next(v, &it, &key, &x); i++)
		if (!strcmp(key, name))
			note(c, i);
}

/* --- any type ----------------------------------------------------------------------------------------------------------------------- */

static bool is_type(const char *name, const struct k_json *v)
{
	static const struct { const char *name; enum k_json_kind kind; } kinds[] = {
		{ "null", K_JSON_NULL }, { "boolean", K_JSON_BOOL }, { "string", K_JSON_STRING }, { "array", K_JSON_ARRAY }, { "object", K_JSON_OBJECT },
	};
	if (name && !strcmp(name, "number"))
		return is_number(v);
	if (name && !strcmp(name, "integer"))
		return is_whole(v);
	for (size_t i = 0; name && i < K_LEN(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return k_json_kind(v) == kinds[i].kind;
	return false;
}

static int on_type(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	char what[96];
	(void)s;
	bool ok = is_type(k_json_string(k), v);
	for (size_t i = 0; k_json_kind(k) == K_JSON_ARRAY && i < k_json_len(k) && !ok; i++)
		ok = is_type(k_json_string(k_json_at(k, i)), v);
	snprintf(what, sizeof(what), "%s, wanted type %.60s", k_json_kind_name(v), k_json_string(k) ? k_json_string(k) : "one of several");
	return ok ? 1 : no(c, what);
}

static int on_const(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	(void)s;
	return same(k, v) ? 1 : no(c, "another value than the only one");
}

static int on_enum(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	(void)s;
	for (size_t i = 0; i < k_json_len(k); i++)
		if (same(k_json_at(k, i), v))
			return 1;
	return no(c, "none of the values that are listed");
}

/* --- numbers and strings ---------------------------------------------------------------------------------------------------------------- */

static int on_bound(struct check *c, const struct k_json *k, const struct k_json *v, int sign, bool open)
{
	double x = k_json_number(v) * sign, limit = k_json_number(k) * sign;
	char what[96];
	if (!is_number(v) || (open ? x < limit : x <= limit))
		return 1;
	snprintf(what, sizeof(what), "%g, wanted %s %g", k_json_number(v), sign > 0 ? open ? "less than" : "at most" : open ? "more than" : "at least",
		k_json_number(k));
	return no(c, what);
}

static int on_max(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v) { (void)s; return on_bound(c, k, v, 1, false); }
static int on_min(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v) { (void)s; return on_bound(c, k, v, -1, false); }
static int on_xmax(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v) { (void)s; return on_bound(c, k, v, 1, true); }
static int on_xmin(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v) { (void)s; return on_bound(c, k, v, -1, true); }

static int on_multiple(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	double q = k_json_number(v) / k_json_number(k);
	(void)s;
	if (!is_number(v) || fabs(q - nearbyint(q)) <= 1e-9 * fmax(fabs(q), 1))
		return 1;
	return no(c, "no multiple of the number that is wanted");
}

static size_t characters(const struct k_json *v)
{
	const char *p = k_json_string(v);
	size_t n = 0;
	for (size_t i = 0; i < k_json_len(v); i++)
		n += (p[i] & 0xc0) != 0x80;
	return n;
}

/* Of strings their characters, of arrays and objects their members. */
static int on_count(struct check *c, const struct k_json *k, const struct k_json *v, enum k_json_kind kind, bool most)
{
	double n = (double)(kind == K_JSON_STRING && k_json_string(v) ? characters(v) : k_json_len(v));
	char what[96];
	if (k_json_kind(v) != kind || (most ? n <= k_json_number(k) : n >= k_json_number(k)))
		return 1;
	snprintf(what, sizeof(what), "%g %s, wanted %s %g", n, kind == K_JSON_STRING ? "characters" : "members", most ? "at most" : "at least", k_json_number(k));
	return no(c, what);
}

#define COUNT(name, kind, most) \
	static int on_##name(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v) { (void)s; return on_count(c, k, v, kind, most); }
COUNT(max_length, K_JSON_STRING, true)
COUNT(min_length, K_JSON_STRING, false)
COUNT(max_items, K_JSON_ARRAY, true)
COUNT(min_items, K_JSON_ARRAY, false)
COUNT(max_properties, K_JSON_OBJECT, true)
COUNT(min_properties, K_JSON_OBJECT, false)

/* 1, 0 or an error. */
static int matches(struct check *c, const char *pattern, const char *text, size_t n)
{
	struct k_rx *rx;
	size_t a, b;
	int r = pattern ? k_rx_new(&rx, pattern, 0, c->err) : k_err_set(c->err, K_EFORMAT, "a pattern is no string");
	if (r < 0)
		return r;
	r = k_rx_find(rx, text, n, 0, &a, &b, c->err);
	k_rx_free(rx);
	return r;
}

static int on_pattern(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	(void)s;
	if (!k_json_string(v))
		return 1;
	int r = matches(c, k_json_string(k), k_json_string(v), k_json_len(v));
	return r ? r : no(c, "does not match the pattern");
}

/* --- arrays and objects ------------------------------------------------------------------------------------------------------------------- */

static int on_items(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	size_t first = k_json_len(k_json_find(s, "prefixItems"));
	int r = 1;
	for (size_t i = first; k_json_kind(v) == K_JSON_ARRAY && i < k_json_len(v) && r == 1; i++) {
		r = below(c, k, k_json_at(v, i), NULL, i);
		note(c, i);
	}
	return r;
}

static int on_prefix(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	int r = 1;
	(void)s;
	for (size_t i = 0; k_json_kind(v) == K_JSON_ARRAY && i < K_MIN(k_json_len(v), k_json_len(k)) && r == 1; i++) {
		r = below(c, k_json_at(k, i), k_json_at(v, i), NULL, i);
		note(c, i);
	}
	return r;
}

static int on_unique(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	(void)s;
	for (size_t i = 0; k_json_bool(k) && k_json_kind(v) == K_JSON_ARRAY && i < k_json_len(v); i++)
		for (size_t j = 0; j < i; j++)
			if (same(k_json_at(v, i), k_json_at(v, j)))
				return no(c, "the same value twice");
	return 1;
}

static int on_contains(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	const struct k_json *least = k_json_find(s, "minContains"), *most = k_json_find(s, "maxContains");
	int64_t n = 0;
	if (k_json_kind(v) != K_JSON_ARRAY)
		return 1;
	for (size_t i = 0; i < k_json_len(v); i++) {
		int r = below(c, k, k_json_at(v, i), NULL, i);
		if (r < 0)
			return r;
		if (r)
			note(c, i);
		n += r;
	}
	if ((double)n < (least ? k_json_number(least) : 1) || (most && (double)n > k_json_number(most)))
		return no(c, "too few or too many members of the kind that it must contain");
	return 1;
}

static int on_properties(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	const char *key;
	struct k_json *schema;
	int r = 1;
	(void)s;
	for (void *it = NULL; k_json_kind(v) == K_JSON_OBJECT && r == 1 && k_json_next(k, &it, &key, &schema); )
		if (k_json_find(v, key)) {
			r = below(c, schema, k_json_find(v, key), key, 0);
			note_name(c, v, key);
		}
	return r;
}

static int on_pattern_properties(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	const char *pattern, *key;
	struct k_json *schema, *x;
	int r = 1;
	(void)s;
	for (void *it = NULL; k_json_kind(v) == K_JSON_OBJECT && r == 1 && k_json_next(k, &it, &pattern, &schema); )
		for (void *jt = NULL; r == 1 && k_json_next(v, &jt, &key, &x); ) {
			int m = matches(c, pattern, key, strlen(key));
			r = m < 0 ? m : m ? below(c, schema, x, key, 0) : 1;
			if (m > 0)
				note_name(c, v, key);
		}
	return r;
}

static int on_additional(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	const struct k_json *known = k_json_find(s, "properties"), *patterns = k_json_find(s, "patternProperties");
	const char *key, *pattern;
	struct k_json *x, *ignored;
	int r = 1;
	for (void *it = NULL; k_json_kind(v) == K_JSON_OBJECT && r == 1 && k_json_next(v, &it, &key, &x); ) {
		int m = k_json_find(known, key) != NULL;
		for (void *jt = NULL; m == 0 && k_json_next(patterns, &jt, &pattern, &ignored); )
			m = matches(c, pattern, key, strlen(key));
		if (m <= 0)
			r = m < 0 ? m : below(c, k, x, key, 0);
		if (m == 0)
			note_name(c, v, key);
	}
	return r;
}

/* What no keyword beside it and none of the schemas that they lead to has looked at. */
static int on_unevaluated_properties(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	const char *key;
	struct k_json *x;
	size_t i = 0;
	int r = 1;
	(void)s;
	for (void *it = NULL; k_json_kind(v) == K_JSON_OBJECT && r == 1 && k_json_next(v, &it, &key, &x); i++)
		if (!c->seen[i]) {
			r = below(c, k, x, key, 0);
			note(c, i);
		}
	return r;
}

static int on_unevaluated_items(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	int r = 1;
	(void)s;
	for (size_t i = 0; k_json_kind(v) == K_JSON_ARRAY && i < k_json_len(v) && r == 1; i++)
		if (!c->seen[i]) {
			r = below(c, k, k_json_at(v, i), NULL, i);
			note(c, i);
		}
	return r;
}

static int on_names(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	const char *key;
	struct k_json *x;
	int r = 1;
	(void)s;
	for (void *it = NULL; k_json_kind(v) == K_JSON_OBJECT && r == 1 && k_json_next(v, &it, &key, &x); ) {
		struct k_json *name = k_json_new_string(key, strlen(key));
		r = name ? below(c, k, name, key, 0) : k_err_nomem(c->err, 64, "a name");
		k_json_free(name);
	}
	return r;
}

static int has_all(struct check *c, const struct k_json *names, const struct k_json *v)
{
	char what[96];
	for (size_t i = 0; k_json_kind(v) == K_JSON_OBJECT && i < k_json_len(names); i++) {
		const char *name = k_json_string(k_json_at(names, i));
		snprintf(what, sizeof(what), "'%.60s' is missing", name ? name : "?");
		if (name && !k_json_find(v, name))
			return no(c, what);
	}
	return 1;
}

static int on_required(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v) { (void)s; return has_all(c, k, v); }

/* What hangs on each member that v has. */
static int each_dependent(struct check *c, const struct k_json *k, const struct k_json *v, int (*holds)(struct check *c, const struct k_json *what, const struct k_json *v))
{
	const char *key;
	struct k_json *what;
	int r = 1;
	for (void *it = NULL; k_json_kind(v) == K_JSON_OBJECT && r == 1 && k_json_next(k, &it, &key, &what); )
		if (k_json_find(v, key))
			r = holds(c, what, v);
	return r;
}

static int on_dependent(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v) { (void)s; return each_dependent(c, k, v, has_all); }

/* --- schemas of schemas --------------------------------------------------------------------------------------------------------------------- */

static int on_dependent_schemas(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	(void)s;
	return each_dependent(c, k, v, fits);
}

static int on_all(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	int r = 1;
	(void)s;
	for (size_t i = 0; i < k_json_len(k) && r == 1; i++)
		r = fits(c, k_json_at(k, i), v);
	return r;
}

/* How many of them fit; negative: an error. */
static int count(struct check *c, const struct k_json *k, const struct k_json *v)
{
	int n = 0;
	for (size_t i = 0; i < k_json_len(k); i++) {
		int r = fits(c, k_json_at(k, i), v);
		if (r < 0)
			return r;
		n += r;
	}
	return n;
}

static int on_any(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	int n = count(c, k, v);
	(void)s;
	return n < 0 ? n : n ? 1 : no(c, "fits none of anyOf");
}

static int on_one(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	int n = count(c, k, v);
	(void)s;
	return n < 0 ? n : n == 1 ? 1 : no(c, n ? "fits more than one of oneOf" : "fits none of oneOf");
}

static int on_not(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	uint8_t *seen = c->seen;
	(void)s;
	c->seen = NULL;
	int r = fits(c, k, v);
	c->seen = seen;
	return r < 0 ? r : r ? no(c, "fits what it must not") : 1;
}

static int on_if(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	int r = fits(c, k, v);
	const struct k_json *next = r < 0 ? NULL : k_json_find(s, r ? "then" : "else");
	return r < 0 ? r : next ? fits(c, next, v) : 1;
}

/* #/a/b~1c/0 */
static int on_ref(struct check *c, const struct k_json *s, const struct k_json *k, const struct k_json *v)
{
	const char *p = k_json_string(k);
	const struct k_json *at = p && *p == '#' ? c->root : NULL;
	char name[128];
	(void)s;
	for (p += p != NULL; at && p && *p == '/'; ) {
		size_t n = 0;
		for (p++; *p && *p != '/' && n + 1 < sizeof(name); p++)
			name[n++] = *p == '~' && p[1] ? *++p == '1' ? '/' : '~' : *p;
		name[n] = 0;
		at = k_json_kind(at) == K_JSON_ARRAY ? k_json_at(at, (size_t)strtoul(name, NULL, 10)) : k_json_find(at, name);
	}
	if (!at || *p)
		return k_err_set(c->err, K_EFORMAT, "the schema refers to '%.100s', which is not there", k_json_string(k) ? k_json_string(k) : "?");
	return fits(c, at, v);
}

static const struct keyword {
	const char *name;
	int (*check)(struct check *c, const struct k_json *schema, const struct k_json *keyword, const struct k_json *v);
} keywords[] = {
	{ "$ref", on_ref }, { "type", on_type }, { "const", on_const }, { "enum", on_enum }, { "maximum", on_max }, { "minimum", on_min },
	{ "exclusiveMaximum", on_xmax }, { "exclusiveMinimum", on_xmin }, { "multipleOf", on_multiple }, { "maxLength", on_max_length },
	{ "minLength", on_min_length }, { "pattern", on_pattern }, { "maxItems", on_max_items }, { "minItems", on_min_items },
	{ "uniqueItems", on_unique }, { "prefixItems", on_prefix }, { "items", on_items }, { "contains", on_contains },
	{ "maxProperties", on_max_properties }, { "minProperties", on_min_properties }, { "required", on_required },
	{ "dependentRequired", on_dependent }, { "properties", on_properties }, { "patternProperties", on_pattern_properties },
	{ "additionalProperties", on_additional }, { "propertyNames", on_names }, { "allOf", on_all }, { "anyOf", on_any }, { "oneOf", on_one },
	{ "not", on_not }, { "if", on_if }, { "dependentSchemas", on_dependent_schemas },
	/* Behind all others, whose notes they read. */
	{ "unevaluatedItems", on_unevaluated_items }, { "unevaluatedProperties", on_unevaluated_properties },
};

static int fits_all(struct check *c, const struct k_json *schema, const struct k_json *v)
{
	int r = 1;
	for (size_t i = 0; i < K_LEN(keywords) && r == 1; i++) {
		const struct k_json *k = k_json_find(schema, keywords[i].name);
		if (k)
			r = keywords[i].check(c, schema, k, v);
	}
	return r;
}

/* With notes of its own, which count for who asked for them only where it fits. */
static int fits_noted(struct check *c, const struct k_json *schema, const struct k_json *v)
{
	uint8_t *outer = c->seen;
	c->seen = k_calloc(k_json_len(v), 1);
	int r = c->seen ? fits_all(c, schema, v) : k_err_nomem(c->err, k_json_len(v), "a value's members");
	for (size_t i = 0; r == 1 && outer && i < k_json_len(v); i++)
		outer[i] |= c->seen[i];
	k_free(c->seen);
	c->seen = outer;
	return r;
}

static int fits(struct check *c, const struct k_json *schema, const struct k_json *v)
{
	bool asks = c->seen || k_json_find(schema, "unevaluatedProperties") || k_json_find(schema, "unevaluatedItems");
	if (k_json_kind(schema) == K_JSON_BOOL)
		return k_json_bool(schema) ? 1 : no(c, "nothing is allowed here");
	if (k_json_kind(schema) != K_JSON_OBJECT)
		return k_err_set(c->err, K_EFORMAT, "a schema is %s, wanted an object", k_json_kind_name(schema));
	if (++c->depth > MAX_DEPTH)
		return k_err_set(c->err, K_EFORMAT, "the schema or the value is more than %d deep", MAX_DEPTH);
	bool has_members = (k_json_kind(v) == K_JSON_ARRAY || k_json_kind(v) == K_JSON_OBJECT) && k_json_len(v);
	int r = asks && has_members ? fits_noted(c, schema, v) : fits_all(c, schema, v);
	c->depth--;
	return r;
}

int k_validate(const struct k_json *schema, const struct k_json *value, struct k_err *err)
{
	struct check c = { .root = schema, .err = err };
	return fits(&c, schema, value);
}
