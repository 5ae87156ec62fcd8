/* chat_ts.c: tools as TypeScript, the way Kimi-K2.5 reads them.
 *
 *   namespace functions {
 *   interface X {...}                what parameters refer to
 *   // what it does
 *   type name = (_: {...}) => any;
 *   }
 *
 * Twice over each schema: `check` sees whether all of it can be said, and collects the definitions that it brings; then `write`
 * cannot fail. What a definition may be referred to from depends on the order of the first pass, which is the reference's.
 * A list with one tool that cannot be said is declared as JSON as a whole. Python shows through in values: True, None. */
#include "libcore/base.h"
#include "libcore/arena.h"
#include "libcore/chat_int.h"
#include "libcore/map.h"

enum { STEP = 2, MOST = 256 << 20 };

struct def { struct def *next; const char *name; const struct k_json *schema; };
struct ts {
	struct k_buf *b;
	struct k_arena arena;
	struct k_map defs;              /* name -> struct def */
	struct def *first, **end;
	bool closed;                    /* interfaces are being made: what is defined now gets none */
	bool self;                      /* "#" was referred to */
	bool nomem;
};

/* Python's truth. */
static bool holds(const struct k_json *v)
{
	enum k_json_kind kind = k_json_kind(v);

	if (kind == K_JSON_BOOL)
		return k_json_bool(v);
	return kind == K_JSON_INT || kind == K_JSON_REAL ? k_json_number(v) != 0 : k_json_len(v) > 0;
}

static bool is_nested(const struct k_json *v) { return k_json_kind(v) == K_JSON_ARRAY || k_json_kind(v) == K_JSON_OBJECT; }

/* --- kinds of schemas ---------------------------------------------------------------------------------------------------- */

enum kind { BAD, TRUTH, EMPTY, REF, ANY_OF, ENUM, UNION, OBJECT, ARRAY, SCALAR };

static enum kind kind_of(const struct k_json *s)
{
	static const struct { const char *key; enum kind kind; } by_key[] = { { "$ref", REF }, { "anyOf", ANY_OF }, { "enum", ENUM } };
	const struct k_json *type = k_json_find(s, "type");

	if (k_json_kind(s) != K_JSON_OBJECT)
		return k_json_kind(s) == K_JSON_BOOL ? TRUTH : BAD;
	for (size_t i = 0; i < K_LEN(by_key); i++)
		if (k_json_find(s, by_key[i].key))
			return by_key[i].kind;
	if (!type)
		return k_json_len(s) ? BAD : EMPTY;
	if (k_json_kind(type) == K_JSON_ARRAY)
		return UNION;
	if (!k_json_string(type))
		return BAD;
	return k_chat_is(type, "object") ? OBJECT : k_chat_is(type, "array") ? ARRAY : SCALAR;
}

/* Constraints that are shown, by name. NULL: none. */
static const char *const *constraints(const struct k_json *s)
{
	static const struct { const char *type, *keys[4]; } shown[] = {
		{ "string", { "maxLength", "minLength", "pattern" } },
		{ "number", { "maximum", "minimum" } },
		{ "integer", { "maximum", "minimum" } },
		{ "array", { "maxItems", "minItems" } },
	};
	enum kind kind = kind_of(s);

	for (size_t i = 0; i < K_LEN(shown) && (kind == SCALAR || kind == ARRAY); i++)
		if (k_chat_is(k_json_find(s, "type"), shown[i].type))
			return shown[i].keys;
	return NULL;
}

static const char *union_name(const struct k_json *type)
{
	static const struct { const char *type, *name; } names[] = {
		{ "string", "string" }, { "number", "number" }, { "integer", "number" }, { "boolean", "boolean" }, { "null", "null" },
		{ "object", "{}" }, { "array", "Array<any>" },
	};

	for (size_t i = 0; i < K_LEN(names); i++)
		if (k_chat_is(type, names[i].type))
			return names[i].name;
	return NULL;
}

/* --- check --------------------------------------------------------------------------------------------------------------- */

static bool check(struct ts *t, const struct k_json *s);

/* A description is text or nothing; constraints are scalars. */
static bool check_doc(const struct k_json *s)
{
	const struct k_json *text = k_json_find(s, "description");
	const char *const *keys = constraints(s);

	for (; keys && *keys; keys++)
		if (is_nested(k_json_find(s, *keys)))
			return false;
	return !holds(text) || k_json_string(text);
}

static bool define(struct ts *t, const char *name, const struct k_json *schema)
{
	struct def *d = k_map_find(&t->defs, name, strlen(name));

	if (d) {
		if (!t->closed)
			d->schema = schema;
		return true;
	}
	d = k_arena_alloc(&t->arena, sizeof *d);
	if (!d || k_map_put(&t->defs, name, strlen(name), d) < 0) {
		t->nomem = true;
		return false;
	}
	*d = (struct def){ NULL, name, schema };
	if (!t->closed) {
		*t->end = d;
		t->end = &d->next;
	}
	return true;
}

static bool check_properties(struct ts *t, const struct k_json *s)
{
	const struct k_json *list = k_json_find(s, "properties"), *required = k_json_find(s, "required");
	struct k_json *one;
	const char *name;

	if (!list)
		return true;
	if (k_json_kind(list) != K_JSON_OBJECT || (required && k_json_kind(required) != K_JSON_ARRAY))
		return false;
	for (size_t i = 0; i < k_json_len(required); i++)
		if (is_nested(k_json_at(required, i)))
			return false;
	for (void *it = NULL; k_json_next(list, &it, &name, &one);)
		if (!check(t, one) || !check_doc(one))
			return false;
	return true;
}

static bool check_object(struct ts *t, const struct k_json *s)
{
	const struct k_json *defs = k_json_find(s, "$defs"), *more = k_chat_field(s, "additionalProperties");
	struct k_json *one;
	const char *name;

	if (holds(defs) && k_json_kind(defs) != K_JSON_OBJECT)
		return false;
	for (void *it = NULL; k_json_len(defs) && k_json_next(defs, &it, &name, &one);)
		if (!define(t, name, one))
			return false;
	if (more && k_json_kind(more) != K_JSON_BOOL && (k_json_kind(more) != K_JSON_OBJECT || !check(t, more)))
		return false;
	return check_properties(t, s);
}

static bool check_array(struct ts *t, const struct k_json *s)
{
	const struct k_json *item = k_json_find(s, "items");

	return !holds(item) || (check(t, item) && check_doc(item));
}

/* Name of what is referred to: behind the last slash. */
static const char *ref_name(const struct k_json *s)
{
	const char *ref = k_json_string(k_json_find(s, "$ref"));

	return k_chat_is(k_json_find(s, "$ref"), "#") ? "parameters" : strrchr(ref, '/') + 1;
}

static bool check_ref(struct ts *t, const struct k_json *s)
{
	const struct k_json *v = k_json_find(s, "$ref");
	const char *ref = k_json_string(v);

	if (k_chat_is(v, "#"))
		return t->self = true;
	if (!ref || strlen(ref) != k_json_len(v) || strncmp(ref, "#/$defs/", 8))
		return false;
	const struct def *d = k_map_find(&t->defs, ref_name(s), strlen(ref_name(s)));
	return d && k_json_kind(d->schema) == K_JSON_OBJECT;
}

static bool check_any_of(struct ts *t, const struct k_json *s)
{
	const struct k_json *list = k_json_find(s, "anyOf");

	for (size_t i = 0; i < k_json_len(list); i++)
		if (!check(t, k_json_at(list, i)))
			return false;
	return k_json_kind(list) == K_JSON_ARRAY;
}

/* Does a value belong to the type that is declared beside it? In Python truth values are integers. */
static bool fits(const struct k_json *type, enum k_json_kind kind)
{
	static const struct { const char *type; unsigned kinds; } rows[] = {
		{ "string", 1u << K_JSON_STRING },
		{ "number", 1u << K_JSON_INT | 1u << K_JSON_REAL | 1u << K_JSON_BOOL },
		{ "integer", 1u << K_JSON_INT | 1u << K_JSON_BOOL },
		{ "boolean", 1u << K_JSON_BOOL },
	};

	for (size_t i = 0; i < K_LEN(rows); i++)
		if (k_chat_is(type, rows[i].type))
			return kind == K_JSON_NULL || rows[i].kinds >> kind & 1;
	return true;
}

static bool check_enum(struct ts *t K_UNUSED, const struct k_json *s)
{
	const struct k_json *list = k_json_find(s, "enum"), *type = k_json_find(s, "type");

	if (k_json_kind(type) == K_JSON_ARRAY) {
		const struct k_json *a = k_json_at(type, 0), *b = k_json_at(type, 1);
		size_t n = k_json_len(type);

		if (n != 1 && (n != 2 || (!k_chat_is(a, "null") && !k_chat_is(b, "null"))))
			return false;
		type = n == 2 && k_chat_is(a, "null") ? b : a;
	}
	for (size_t i = 0; i < k_json_len(list); i++)
		if (is_nested(k_json_at(list, i)) || !fits(type, k_json_kind(k_json_at(list, i))))
			return false;
	return k_json_kind(list) == K_JSON_ARRAY;
}

static bool check_union(struct ts *t K_UNUSED, const struct k_json *s)
{
	const struct k_json *list = k_json_find(s, "type");

	for (size_t i = 0; i < k_json_len(list); i++)
		if (!union_name(k_json_at(list, i)))
			return false;
	return true;
}

static bool check_nothing(struct ts *t K_UNUSED, const struct k_json *s K_UNUSED) { return true; }
static bool check_bad(struct ts *t K_UNUSED, const struct k_json *s K_UNUSED) { return false; }

static bool check(struct ts *t, const struct k_json *s)
{
	static bool (*const by_kind[])(struct ts *, const struct k_json *) = {
		[BAD] = check_bad, [TRUTH] = check_nothing, [EMPTY] = check_nothing, [REF] = check_ref, [ANY_OF] = check_any_of, [ENUM] = check_enum,
		[UNION] = check_union, [OBJECT] = check_object, [ARRAY] = check_array, [SCALAR] = check_nothing,
	};

	return by_kind[kind_of(s)](t, s);
}

/* --- write --------------------------------------------------------------------------------------------------------------- */

static void write(struct ts *t, const struct k_json *s, int indent);

static void put(struct ts *t, const struct k_json *v) { k_buf_put(t->b, k_json_string(v), k_json_len(v)); }
static void margin(struct ts *t, int indent) { k_buf_printf(t->b, "%*s", indent, ""); }

/* Python's str. */
static void write_value(struct ts *t, const struct k_json *v)
{
	if (k_json_kind(v) == K_JSON_STRING)
		put(t, v);
	else if (k_json_kind(v) == K_JSON_NULL)
		k_buf_puts(t->b, "None");
	else if (k_json_kind(v) == K_JSON_BOOL)
		k_buf_puts(t->b, k_json_bool(v) ? "True" : "False");
	else
		k_json_dump(t->b, v, 0);
}

/* Each line a comment, empty ones nothing; LF at the end. */
static void comment(struct ts *t, const struct k_json *text, int indent)
{
	const char *p = k_json_string(text), *end = p + k_json_len(text);

	for (bool more = true; more; p++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *to = nl ? nl : end;

		if (to > p) {
			margin(t, indent);
			k_buf_puts(t->b, "// ");
			k_buf_put(t->b, p, (size_t)(to - p));
		}
		k_buf_putc(t->b, '\n');
		more = nl != NULL;
		p = to;
	}
}

static bool has_doc(const struct k_json *s)
{
	const char *const *keys = constraints(s);
	bool any = holds(k_json_find(s, "description"));

	for (; keys && *keys; keys++)
		any |= k_json_find(s, *keys) != NULL;
	return any;
}

static void write_doc(struct ts *t, const struct k_json *s, int indent)
{
	const struct k_json *text = k_json_find(s, "description");
	const char *const *keys = constraints(s);
	bool any = false;

	if (holds(text))
		comment(t, text, indent);
	for (; keys && *keys; keys++) {
		const struct k_json *v = k_json_find(s, *keys);

		if (!v)
			continue;
		if (!any)
			margin(t, indent);
		k_buf_printf(t->b, "%s%s: ", any ? ", " : "// ", *keys);
		write_value(t, v);
		any = true;
	}
	if (any)
		k_buf_putc(t->b, '\n');
}

static void write_field(struct ts *t, const char *name, const struct k_json *s, bool optional, int indent)
{
	const struct k_json *def = k_chat_field(s, "default");

	write_doc(t, s, indent);
	if (def) {
		margin(t, indent);
		k_buf_puts(t->b, "// Default: ");
		if (k_json_kind(def) == K_JSON_STRING)
			k_json_dump(t->b, def, 0);
		else
			write_value(t, def);
		k_buf_putc(t->b, '\n');
	}
	margin(t, indent);
	k_buf_printf(t->b, "%s%s: ", name, optional ? "?" : "");
	write(t, s, indent);
}

/* What separates the entries of an object. */
static void next_entry(struct ts *t, bool *any)
{
	k_buf_puts(t->b, *any ? ",\n" : "\n");
	*any = true;
}

enum which { REQUIRED, OPTIONAL, ALL };

static void write_fields(struct ts *t, const struct k_json *s, enum which which, int indent, bool *any)
{
	const struct k_json *list = k_json_find(s, "properties"), *required = k_json_find(s, "required");
	struct k_json *one;
	struct k_map names;
	const char *name;

	k_map_init(&names);
	for (size_t i = 0; i < k_json_len(required); i++) {
		const struct k_json *v = k_json_at(required, i);

		if (k_json_string(v) && k_map_put(&names, k_json_string(v), k_json_len(v), t) < 0)
			t->nomem = true;
	}
	for (void *it = NULL; list && k_json_next(list, &it, &name, &one);) {
		bool optional = !k_map_find(&names, name, strlen(name));

		if (which != ALL && (which == OPTIONAL) != optional)
			continue;
		next_entry(t, any);
		write_field(t, name, one, optional, indent);
	}
	k_map_fini(&names);
}

static void write_object(struct ts *t, const struct k_json *s, int indent)
{
	const struct k_json *more = k_chat_field(s, "additionalProperties");
	bool any = false;

	k_buf_putc(t->b, '{');
	write_fields(t, s, REQUIRED, indent + STEP, &any);
	write_fields(t, s, OPTIONAL, indent + STEP, &any);
	if (more) {
		next_entry(t, &any);
		margin(t, indent + STEP);
		k_buf_puts(t->b, "[k: string]: ");
		if (k_json_kind(more) == K_JSON_BOOL)
			k_buf_puts(t->b, k_json_bool(more) ? "any" : "never");
		else
			write(t, more, indent + STEP);
	}
	if (any) {
		k_buf_putc(t->b, '\n');
		margin(t, indent);
	}
	k_buf_putc(t->b, '}');
}

static void write_array(struct ts *t, const struct k_json *s, int indent)
{
	const struct k_json *item = k_json_find(s, "items");

	k_buf_puts(t->b, "Array<");
	if (!holds(item)) {
		k_buf_puts(t->b, "any");
	} else if (has_doc(item)) {
		k_buf_putc(t->b, '\n');
		write_doc(t, item, indent + STEP);
		margin(t, indent + STEP);
		write(t, item, indent + STEP);
		k_buf_putc(t->b, '\n');
		margin(t, indent);
	} else {
		write(t, item, indent);
	}
	k_buf_putc(t->b, '>');
}

static void write_any_of(struct ts *t, const struct k_json *s, int indent)
{
	const struct k_json *list = k_json_find(s, "anyOf");

	for (size_t i = 0; i < k_json_len(list); i++) {
		k_buf_puts(t->b, i ? " | " : "");
		write(t, k_json_at(list, i), indent);
	}
}

static void write_enum(struct ts *t, const struct k_json *s, int indent K_UNUSED)
{
	const struct k_json *list = k_json_find(s, "enum");

	for (size_t i = 0; i < k_json_len(list); i++) {
		const struct k_json *v = k_json_at(list, i);
		const char *quote = k_json_string(v) ? "\"" : "";

		k_buf_printf(t->b, "%s%s", i ? " | " : "", quote);
		write_value(t, v);
		k_buf_puts(t->b, quote);
	}
}

static void write_union(struct ts *t, const struct k_json *s, int indent K_UNUSED)
{
	const struct k_json *list = k_json_find(s, "type");

	for (size_t i = 0; i < k_json_len(list); i++)
		k_buf_printf(t->b, "%s%s", i ? " | " : "", union_name(k_json_at(list, i)));
}

static void write_ref(struct ts *t, const struct k_json *s, int indent K_UNUSED) { k_buf_puts(t->b, ref_name(s)); }
static void write_empty(struct ts *t, const struct k_json *s K_UNUSED, int indent K_UNUSED) { k_buf_puts(t->b, "any"); }

static void write_truth(struct ts *t, const struct k_json *s, int indent K_UNUSED)
{
	k_buf_puts(t->b, k_json_bool(s) ? "any" : "null");
}

static void write_scalar(struct ts *t, const struct k_json *s, int indent K_UNUSED)
{
	const struct k_json *type = k_json_find(s, "type");

	if (k_chat_is(type, "integer"))
		k_buf_puts(t->b, "number");
	else
		put(t, type);
}

static void write(struct ts *t, const struct k_json *s, int indent)
{
	static void (*const by_kind[])(struct ts *, const struct k_json *, int) = {
		[BAD] = write_empty, [TRUTH] = write_truth, [EMPTY] = write_empty, [REF] = write_ref, [ANY_OF] = write_any_of, [ENUM] = write_enum,
		[UNION] = write_union, [OBJECT] = write_object, [ARRAY] = write_array, [SCALAR] = write_scalar,
	};

	by_kind[kind_of(s)](t, s, indent);
}

/* --- functions ----------------------------------------------------------------------------------------------------------- */

/* The definitions as interfaces, a line after each; false: one cannot be said. */
static bool interfaces(struct ts *t, const struct k_json *parameters)
{
	bool any = false;

	if (t->self) {
		k_buf_puts(t->b, "interface parameters {");
		write_fields(t, parameters, ALL, STEP, &any);
		k_buf_puts(t->b, any ? "\n}\n" : "}\n");
	}
	t->closed = true;
	for (const struct def *d = t->first; d; d = d->next) {
		if (k_json_kind(d->schema) != K_JSON_OBJECT || !check(t, d->schema) || !check_doc(d->schema))
			return false;
		if (holds(k_json_find(d->schema, "description")))
			comment(t, k_json_find(d->schema, "description"), 0);
		k_buf_printf(t->b, "interface %s ", d->name);
		write(t, d->schema, 0);
		k_buf_putc(t->b, '\n');
	}
	return true;
}

static bool write_function(struct ts *t, const struct k_json *f, const struct k_json *none)
{
	const struct k_json *p = k_json_find(f, "parameters"), *text = k_json_find(f, "description");
	bool self;

	if (!holds(p))
		p = none;
	if (k_json_kind(p) != K_JSON_OBJECT || !check_object(t, p) || (holds(text) && !k_json_string(text)))
		return false;
	self = t->self;
	if (!interfaces(t, p))
		return false;
	if (holds(text))
		comment(t, text, 0);
	k_buf_puts(t->b, "type ");
	put(t, k_json_find(f, "name"));
	k_buf_puts(t->b, " = (_: ");
	if (self)
		k_buf_puts(t->b, "parameters");
	else
		write_object(t, p, 0);
	k_buf_puts(t->b, ") => any;\n");
	return true;
}

/* 1: written; 0: cannot be said. */
static int one_function(struct k_buf *b, const struct k_json *f, const struct k_json *none, struct k_err *err)
{
	struct ts t = { .b = b };
	bool said;

	k_arena_init(&t.arena);
	k_map_init(&t.defs);
	t.end = &t.first;
	said = write_function(&t, f, none);
	k_map_fini(&t.defs);
	k_arena_fini(&t.arena);
	return t.nomem ? k_err_nomem(err, sizeof(struct def), "the definitions of a tool") : said;
}

static int write_all(struct k_buf *b, const struct k_json *tools, struct k_err *err)
{
	struct k_json *none = k_json_object();
	size_t n = 0;
	int rc = none ? 1 : k_err_nomem(err, 64, "a schema");

	k_buf_puts(b, "# Tools\n\n## functions\nnamespace functions {\n");
	for (size_t i = 0; i < k_json_len(tools) && rc == 1; i++) {
		const struct k_json *tool = k_json_at(tools, i), *f = k_json_find(tool, "function");

		if (!k_chat_is(k_json_find(tool, "type"), "function") || !k_json_len(f))
			continue;
		rc = one_function(b, f, none, err);
		n++;
	}
	k_buf_puts(b, "}\n");
	k_json_free(none);
	return rc == 1 ? n > 0 : rc;
}

/* The released tokenizer sorts the members of everything first; a sorted dump read again does the same. */
static int sorted(struct k_json **out, const struct k_json *v, struct k_err *err)
{
	struct k_buf b;
	int rc;

	k_buf_init(&b, 0);
	k_json_dump(&b, v, K_JSON_COMPACT | K_JSON_SORT);
	rc = k_buf_ok(&b, "tools", err);
	if (!rc)
		rc = k_json_parse(out, b.data, b.len, K_JSON_LAST_WINS | K_JSON_NUL, "tools", err);
	k_buf_fini(&b);
	return rc;
}

int k_chat_typescript(struct k_buf *out, const struct k_json *tools, struct k_err *err)
{
	struct k_json *v;
	struct k_buf b;
	int rc = sorted(&v, tools, err);

	if (rc < 0)
		return rc;
	k_buf_init(&b, MOST);
	rc = write_all(&b, v, err);
	if (rc == 1 && k_buf_ok(&b, "the declaration of tools", err) < 0)
		rc = K_ENOMEM;
	if (rc == 1)
		k_buf_put(out, b.data, b.len);
	k_json_free(v);
	k_buf_fini(&b);
	return rc;
}
