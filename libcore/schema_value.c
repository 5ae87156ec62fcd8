/* schema_value.c: types, numbers, strings and enumerations of a schema. */
#include "libcore/base.h"

#include <stdlib.h>

#include "libcore/schema_int.h"

enum { MAX_SIZE = 1 << 30, MAX_CHARS = 1 << 30, UNIT_DIGITS = 15 };

static __int128 p10(int n)
{
	__int128 x = 1;
	while (n-- > 0)
		x *= 10;
	return x;
}

static __int128 div_floor(__int128 a, __int128 b) { return a / b - (a % b != 0 && a < 0); }

/* A number in units of 1e-15, rounded down; *exact: without rest. */
static __int128 in_units(const struct k_json *v, bool *exact)
{
	*exact = true;
	if (k_json_kind(v) == K_JSON_INT)
		return (__int128)k_json_int(v) * p10(UNIT_DIGITS);
	struct k_buf b;
	k_buf_init(&b, 64);
	k_json_put_double(&b, k_json_number(v));
	__int128 m = 0;
	int e = 0;
	const char *s = b.data ? b.data : "0";
	bool neg = *s == '-', dot = false;
	for (s += neg; (*s >= '0' && *s <= '9') || *s == '.'; s++) {
		if (*s == '.') {
			dot = true;
			continue;
		}
		if (m < p10(30)) {
			m = m * 10 + (*s - '0');
			e -= dot;
		} else {
			e += !dot;
		}
	}
	if (*s == 'e' || *s == 'E')
		e += atoi(s + 1);
	k_buf_fini(&b);
	m = neg ? -m : m;
	for (e += UNIT_DIGITS; e > 0 && m < p10(35) && m > -p10(35); e--)
		m *= 10;
	if (e >= 0)
		return m;
	if (e < -36) {
		*exact = m == 0;
		return m < 0 ? -1 : 0;
	}
	*exact = m % p10(-e) == 0;
	return div_floor(m, p10(-e));
}

static int read_types(struct k_compiler *c, const struct k_item *it, struct k_facts *f)
{
	static const struct { const char *name; int bits; } names[] = {
		{ "null", K_T_NULL }, { "boolean", K_T_BOOL }, { "integer", K_T_INT }, { "number", K_T_INT | K_T_REAL },
		{ "string", K_T_STRING }, { "array", K_T_ARRAY }, { "object", K_T_OBJECT },
	};
	const struct k_json *v = k_json_find(it->schema, "type");
	bool list = k_json_kind(v) == K_JSON_ARRAY;
	int types = 0;
	if (!v)
		return 0;
	if (list && !k_json_len(v))
		return k_schema_wrong(c, it->path, "type", v, "at least one type");
	for (size_t i = 0; i < (list ? k_json_len(v) : 1); i++) {
		const struct k_json *one = list ? k_json_at(v, i) : v;
		const char *s = k_json_string(one);
		int bits = 0;
		for (size_t k = 0; k < K_LEN(names) && s; k++)
			bits |= strcmp(s, names[k].name) ? 0 : names[k].bits;
		if (!bits)
			return k_err_set(c->err, K_EFORMAT, "%s.type: '%.40s' is no type of JSON Schema", it->path, s ? s : k_json_kind_name(one));
		types |= bits;
	}
	f->types &= types;
	if (!f->types)
		k_schema_why(c, it->path, "types exclude each other");
	return 0;
}

static bool is_number(const struct k_json *v) { return k_json_kind(v) == K_JSON_INT || k_json_kind(v) == K_JSON_REAL; }

static int read_bounds(struct k_compiler *c, const struct k_item *it, struct k_facts *f)
{
	static const struct { const char *name; bool upper, open; } rows[] = {
		{ "minimum", false, false }, { "exclusiveMinimum", false, true }, { "maximum", true, false }, { "exclusiveMaximum", true, true },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		const struct k_json *v = k_json_find(it->schema, rows[i].name);
		bool exact;
		if (!v)
			continue;
		if (!is_number(v))
			return k_schema_wrong(c, it->path, rows[i].name, v, "a number");
		__int128 x = in_units(v, &exact);
		f->bounded = true;
		if (rows[i].upper)
			f->high = K_MIN(f->high, x - (rows[i].open && exact));
		else
			f->low = K_MAX(f->low, x + (rows[i].open || !exact));
	}
	if (f->low > f->high)
		k_schema_why(c, it->path, "minimum is above maximum");
	const struct k_json *v = k_json_find(it->schema, "multipleOf");
	if (!v)
		return 0;
	if (!is_number(v) || k_json_number(v) <= 0)
		return k_schema_wrong(c, it->path, "multipleOf", v, "a number above 0");
	double d = k_json_number(v);
	if (d != (double)(int64_t)d || d > 1e15)
		return k_schema_unsupported(c, it->path, "multipleOf", "other than whole numbers");
	/* The least common multiple. */
	int64_t a = f->step, b = (int64_t)d, x = a, y = b;
	while (y) {
		int64_t r = x % y;
		x = y;
		y = r;
	}
	if (!k_mul_i64(a / x, b, &f->step) || f->step > 1000000000000000)
		return k_schema_unsupported(c, it->path, "multipleOf", "of such a size");
	f->types &= ~K_T_REAL;
	return 0;
}

struct size_row { const char *name; size_t offset; bool upper; bool structured; };
static const struct size_row size_rows[] = {
	{ "minLength", offsetof(struct k_facts, min_chars), false, false },
	{ "maxLength", offsetof(struct k_facts, max_chars), true, false },
	{ "minItems", offsetof(struct k_facts, min_items), false, true }, { "maxItems", offsetof(struct k_facts, max_items), true, true },
	{ "minProperties", offsetof(struct k_facts, min_props), false, true },
	{ "maxProperties", offsetof(struct k_facts, max_props), true, true },
};

static int read_sizes(struct k_compiler *c, const struct k_item *it, struct k_facts *f)
{
	for (size_t i = 0; i < K_LEN(size_rows); i++) {
		const struct size_row *r = &size_rows[i];
		const struct k_json *v = k_json_find(it->schema, r->name);
		double d = k_json_number(v);
		if (!v)
			continue;
		if (!is_number(v) || d < 0 || d != (d < 1e15 ? (double)(int64_t)d : d))
			return k_schema_wrong(c, it->path, r->name, v, "a whole number from 0");
		int64_t x = d > MAX_SIZE ? MAX_SIZE : (int64_t)d, *at = (int64_t *)((char *)f + r->offset);
		if (!r->upper && d > MAX_SIZE)
			return k_err_set(c->err, K_EUNSUP, "%s.%s is more than %d", it->path, r->name, MAX_SIZE);
		*at = r->upper ? (d > MAX_SIZE ? *at : K_MIN(*at, x)) : K_MAX(*at, x);
		f->structured |= r->structured;
	}
	return 0;
}

static int add_part(struct k_compiler *c, struct k_facts *f, const char *s, size_t n)
{
	if (f->n_parts == f->cap_parts) {
		int cap = 2 * f->cap_parts + 4;
		struct k_pattern_part *v = k_arena_array(&c->arena, (size_t)cap, sizeof(*v));
		if (!v)
			return k_schema_nomem(c);
		if (f->n_parts)
			memcpy(v, f->parts, (size_t)f->n_parts * sizeof(*v));
		f->parts = v;
		f->cap_parts = cap;
	}
	f->parts[f->n_parts++] = (struct k_pattern_part){ s, n, false, false };
	return 0;
}

static int read_strings(struct k_compiler *c, const struct k_item *it, struct k_facts *f)
{
	const struct k_json *p = k_json_find(it->schema, "pattern"), *v = k_json_find(it->schema, "format");
	if (p && !k_json_string(p))
		return k_schema_wrong(c, it->path, "pattern", p, "a string");
	if (v && !k_json_string(v))
		return k_schema_wrong(c, it->path, "format", v, "a string");
	if (p) {
		/* Alone first, so that one that is not supported can be left out. */
		struct k_pattern_part part = { k_json_string(p), k_json_len(p), false, false };
		struct k_pattern *probe = NULL;
		struct k_err err = { 0 };
		int rc = k_pattern_new(&probe, &part, 1, 0, -1, &err);
		k_pattern_free(probe);
		if (rc == K_EUNSUP) {
			rc = k_schema_unsupported(c, it->path, "pattern", err.msg);
			if (rc)
				return rc;
		} else if (rc) {
			return k_err_set(c->err, rc, "%s.pattern: %s", it->path, err.msg);
		} else if (add_part(c, f, part.text, part.len)) {
			return c->err->code;
		}
	}
	if (!v)
		return 0;
	const char *regex = k_schema_format(k_json_string(v));
	if (!regex)
		return k_schema_unsupported(c, it->path, "format", k_json_string(v));
	return add_part(c, f, regex, strlen(regex));
}

static int add_enum(struct k_compiler *c, struct k_facts *f, const struct k_json *v, bool is_const)
{
	const struct k_json **enums = k_arena_array(&c->arena, (size_t)f->n_enums + 1, sizeof(*enums));
	bool *consts = k_arena_array(&c->arena, (size_t)f->n_enums + 1, sizeof(*consts));
	if (!enums || !consts)
		return k_schema_nomem(c);
	for (int i = 0; i < f->n_enums; i++) {
		enums[i] = f->enums[i];
		consts[i] = f->is_const[i];
	}
	enums[f->n_enums] = v;
	consts[f->n_enums++] = is_const;
	f->enums = enums;
	f->is_const = consts;
	return 0;
}

struct k_facts k_schema_no_facts(void)
{
	return (struct k_facts){ .types = K_T_ALL, .low = -((__int128)1 << 126), .high = (__int128)1 << 126, .step = 1, .max_chars = K_MANY,
		.max_items = K_MANY, .max_props = K_MANY };
}

int k_schema_facts(struct k_compiler *c, const struct k_item *it, struct k_facts *f)
{
	const struct k_json *v = k_json_find(it->schema, "enum");
	bool unique = false;
	int rc = read_types(c, it, f);
	if (!rc)
		rc = read_bounds(c, it, f);
	if (!rc)
		rc = read_sizes(c, it, f);
	if (!rc)
		rc = read_strings(c, it, f);
	if (!rc && v && (k_json_kind(v) != K_JSON_ARRAY || !k_json_len(v)))
		rc = k_schema_wrong(c, it->path, "enum", v, "an array that is not empty");
	if (!rc && v)
		rc = add_enum(c, f, v, false);
	v = k_json_find(it->schema, "const");
	if (!rc && v)
		rc = add_enum(c, f, v, true);
	v = k_json_find(it->schema, "uniqueItems");
	if (!rc && v && k_json_kind(v) != K_JSON_BOOL)
		rc = k_schema_wrong(c, it->path, "uniqueItems", v, "true or false");
	unique = k_json_bool(v);
	f->unique |= unique;
	f->structured |= unique;
	if (!f->path)
		f->path = it->path;
	return rc;
}

/* --- values ----------------------------------------------------------------------------------------------------------------- */

static int spell(struct k_compiler *c, const struct k_json *v, const char **out, size_t *len)
{
	struct k_buf b;
	double d = k_json_number(v);
	k_buf_init(&b, 0);
	if (k_json_kind(v) == K_JSON_REAL && d < 1e15 && d > -1e15 && d == (double)(int64_t)d)
		k_buf_printf(&b, "%lld", (long long)d);
	else
		k_json_dump(&b, v, K_JSON_COMPACT | K_JSON_SORT);
	*out = b.failed ? NULL : k_arena_strndup(&c->g->arena, b.data ? b.data : "", b.len);
	*len = b.len;
	k_buf_fini(&b);
	return *out ? 0 : k_schema_nomem(c);
}

static bool in_number(const struct k_facts *f, const struct k_json *v)
{
	bool exact;
	__int128 x = in_units(v, &exact);
	bool whole = exact && x % p10(UNIT_DIGITS) == 0;
	if (!(f->types & (whole ? K_T_INT : K_T_REAL)))
		return false;
	return x >= f->low && (exact ? x <= f->high : x < f->high) && (f->step == 1 || (x / p10(UNIT_DIGITS)) % f->step == 0);
}

/* Does the value agree with everything but the enumerations? */
static int agrees(struct k_compiler *c, const struct k_facts *f, struct k_pattern *p, const struct k_json *v, bool *yes)
{
	static const int bits[] = { [K_JSON_NULL] = K_T_NULL, [K_JSON_BOOL] = K_T_BOOL, [K_JSON_STRING] = K_T_STRING,
		[K_JSON_ARRAY] = K_T_ARRAY, [K_JSON_OBJECT] = K_T_OBJECT };
	enum k_json_kind kind = k_json_kind(v);
	if (kind == K_JSON_INT || kind == K_JSON_REAL) {
		*yes = in_number(f, v);
		return 0;
	}
	*yes = (f->types & bits[kind]) != 0;
	if (*yes && kind == K_JSON_STRING)
		*yes = k_pattern_fits(p, k_json_string(v), k_json_len(v));
	if (*yes && kind >= K_JSON_ARRAY && f->structured)
		return k_err_set(c->err, K_EUNSUP, "%s: arrays and objects in enum or const beside other keywords for them are not supported",
			f->path);
	return 0;
}

static int by_text(const void *a, const void *b)
{
	const struct k_word *x = a, *y = b;
	int order = memcmp(x->s, y->s, K_MIN(x->len, y->len));
	return order ? order : (x->len > y->len) - (x->len < y->len);
}

int k_schema_sort_words(struct k_word *w, uint32_t n)
{
	if (n > 1)
		qsort(w, n, sizeof(*w), by_text);
	return 0;
}

static bool has_word(const struct k_word *w, uint32_t n, const struct k_word *x)
{
	return n && bsearch(x, w, n, sizeof(*w), by_text);
}

/* The i-th enumeration's values as sorted words that agree. */
static int words_of(struct k_compiler *c, struct k_facts *f, struct k_pattern *p, int i, struct k_word **out, uint32_t *n)
{
	const struct k_json *v = f->enums[i];
	size_t count = f->is_const[i] ? 1 : k_json_len(v);
	struct k_word *w = k_arena_array(&c->g->arena, count, sizeof(*w));
	*n = 0;
	if (!w)
		return k_schema_nomem(c);
	for (size_t k = 0; k < count; k++) {
		const struct k_json *one = f->is_const[i] ? v : k_json_at(v, k);
		bool yes;
		size_t len;
		int rc = agrees(c, f, p, one, &yes);
		if (rc)
			return rc;
		if (!yes)
			continue;
		if (spell(c, one, &w[*n].s, &len))
			return K_ENOMEM;
		w[*n].len = (uint32_t)len;
		w[(*n)++].index = 0;
	}
	k_schema_sort_words(w, *n);
	uint32_t m = 0;
	for (uint32_t k = 0; k < *n; k++) {
		if (!m || by_text(&w[m - 1], &w[k]))
			w[m++] = w[k];
	}
	*n = m;
	*out = w;
	return 0;
}

int k_schema_pattern(struct k_compiler *c, const struct k_facts *f, struct k_pattern **out)
{
	int64_t most = f->max_chars == K_MANY ? -1 : f->max_chars;
	int rc = k_pattern_new(out, f->parts, f->n_parts, f->min_chars, most, c->err);
	return rc ? k_err_add(c->err, "in %s", f->path), rc : 0;
}

int k_schema_words(struct k_compiler *c, struct k_facts *f, uint32_t node)
{
	struct k_pattern *p = NULL;
	struct k_word *w = NULL, *more;
	uint32_t n = 0, m;
	int rc = f->types & K_T_STRING ? k_schema_pattern(c, f, &p) : 0;
	if (!rc)
		rc = words_of(c, f, p, 0, &w, &n);
	for (int i = 1; i < f->n_enums && !rc; i++) {
		uint32_t kept = 0;
		rc = words_of(c, f, p, i, &more, &m);
		for (uint32_t k = 0; k < n && !rc; k++) {
			if (has_word(more, m, &w[k]))
				w[kept++] = w[k];
		}
		n = kept;
	}
	k_pattern_free(p);
	if (rc)
		return rc;
	struct k_node *x = &c->g->nodes[node];
	x->kind = n ? K_NODE_WORDS : K_NODE_NEVER;
	x->words = w;
	x->n_words = n;
	if (!n)
		k_schema_why(c, f->path, "no value of enum or const agrees with the rest");
	return 0;
}

/* --- nodes ------------------------------------------------------------------------------------------------------------------ */

static int fixed_words(struct k_compiler *c, int types, uint32_t *out)
{
	static const struct { int type; const char *s; } texts[] = { { K_T_BOOL, "false" }, { K_T_NULL, "null" }, { K_T_BOOL, "true" } };
	struct k_word *w = k_arena_array(&c->g->arena, 3, sizeof(*w));
	uint32_t n = 0;
	*out = k_schema_node(c, K_NODE_WORDS);
	if (!w || *out == K_NODE_NONE)
		return k_schema_nomem(c);
	for (size_t i = 0; i < K_LEN(texts); i++) {
		if (types & texts[i].type)
			w[n++] = (struct k_word){ texts[i].s, (uint32_t)strlen(texts[i].s), 0 };
	}
	c->g->nodes[*out].words = w;
	c->g->nodes[*out].n_words = n;
	return 0;
}

static int number_node(struct k_compiler *c, const struct k_facts *f, uint32_t *out)
{
	bool real = f->types & K_T_REAL;
	__int128 unit = p10(UNIT_DIGITS), most = real ? p10(2 * UNIT_DIGITS) - 1 : (p10(18) - 1) * unit;
	if (f->low > most || f->high < -most)
		return k_err_set(c->err, K_EUNSUP, "%s: bounds beyond %d digits are not supported", f->path, real ? UNIT_DIGITS : 18);
	*out = k_schema_node(c, real ? K_NODE_NUMBER : K_NODE_INTEGER);
	if (*out == K_NODE_NONE)
		return K_ENOMEM;
	struct k_node *x = &c->g->nodes[*out];
	x->low = K_MAX(f->low, -most);
	x->high = K_MIN(f->high, most);
	x->step = f->step;
	x->free = real && !f->bounded;
	if (!real) {
		x->low = -div_floor(-x->low, unit);
		x->high = div_floor(x->high, unit);
	}
	/* The multiples of the step within the bounds. */
	__int128 first = real ? x->low : -div_floor(-x->low, x->step) * x->step;
	if (x->low > x->high || first > x->high) {
		x->kind = K_NODE_NEVER;
		k_schema_why(c, f->path, "no number is within the bounds");
	}
	return 0;
}

uint32_t k_schema_string(struct k_compiler *c, struct k_pattern *p)
{
	uint32_t node = k_schema_node(c, k_pattern_none(p) ? K_NODE_NEVER : K_NODE_STRING);
	if (node == K_NODE_NONE)
		k_pattern_free(p);
	else
		c->g->nodes[node].pattern = p;
	return node;
}

int k_schema_scalars(struct k_compiler *c, struct k_facts *f, uint32_t *kids, uint32_t *n)
{
	int rc = 0;
	if (f->types & (K_T_NULL | K_T_BOOL))
		rc = fixed_words(c, f->types, &kids[(*n)++]);
	if (!rc && f->types & (K_T_INT | K_T_REAL))
		rc = number_node(c, f, &kids[(*n)++]);
	if (!rc && f->types & K_T_STRING) {
		struct k_pattern *p;
		rc = k_schema_pattern(c, f, &p);
		if (!rc && k_pattern_none(p))
			k_schema_why(c, f->path, "no string agrees with the pattern and the lengths");
		if (!rc && (kids[(*n)++] = k_schema_string(c, p)) == K_NODE_NONE)
			rc = K_ENOMEM;
	}
	return rc;
}
