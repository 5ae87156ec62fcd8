/* schema_walk_test.c: random schemas, compiled (schema.h) and judged (validate.h) by code that shares nothing: every text that a grammar lets
 * pass is valid, every small valid value passes in one of the orders of its members, and a schema that nothing can satisfy has no small value. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/validate.h"
#include "libcore/buf.h"
#include "libcore/schema.h"
#include "libcore/test.h"

enum { SCHEMAS = 6000, WALKS = 6, LONGEST = 400, DEEPEST = 2 };

static uint64_t state;

static unsigned roll(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 20) % n;
}

#define ONE_OF(list) ((list)[roll(K_LEN(list))])

/* --- schemas ---------------------------------------------------------------------------------------------------------------- */

static const char *const keys[] = { "a", "b", "ab", "\xc3\xa9", "x y" };
static const char *const atoms[] = { "null", "true", "false", "0", "1", "-1", "2", "3", "0.5", "1.5", "10", "\"\"", "\"a\"", "\"b\"", "\"ab\"", "\"\xc3\xa9\"", "\"\\\"\"",
	"[]", "[1]", "[\"a\"]", "{}", "{\"a\":1}" };
static const char *const patterns[] = { "^a", "b$", "^[a-c]{1,2}$", "^(a|b)+$", "a", "^.$", "^[^a]*$", "^\\\\d+$", "^x?y?$", "^$", "^(?:ab|a)b*$", "^a.*b$", "b|c$" };

static void put_schema(struct k_buf *b, int depth);

static void put_list(struct k_buf *b, const char *key, unsigned n, int depth)
{
	k_buf_printf(b, ",\"%s\":[", key);
	for (unsigned i = 0; i < n; i++) {
		k_buf_puts(b, i ? "," : "");
		put_schema(b, depth);
	}
	k_buf_putc(b, ']');
}

static void put_number_words(struct k_buf *b)
{
	static const char *const words[] = { "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum" }, *const steps[] = { "1", "2", "3", "5", "10" };
	if (roll(2))
		k_buf_printf(b, ",\"%s\":%s", ONE_OF(words), atoms[3 + roll(8)]);
	if (roll(4) == 0)
		k_buf_printf(b, ",\"multipleOf\":%s", ONE_OF(steps));
}

static void put_string_words(struct k_buf *b)
{
	if (roll(3) == 0)
		k_buf_printf(b, ",\"pattern\":\"%s\"", ONE_OF(patterns));
	if (roll(3) == 0)
		k_buf_printf(b, ",\"%s\":%u", roll(2) ? "minLength" : "maxLength", roll(4));
}

static void put_array_words(struct k_buf *b, int depth)
{
	if (roll(2)) {
		k_buf_puts(b, ",\"items\":");
		put_schema(b, depth);
	}
	if (roll(3) == 0)
		put_list(b, "prefixItems", 1 + roll(2), depth);
	if (roll(2))
		k_buf_printf(b, ",\"%s\":%u", roll(2) ? "minItems" : "maxItems", roll(3));
	if (roll(5) == 0)
		k_buf_puts(b, ",\"uniqueItems\":true");
}

static void put_object_words(struct k_buf *b, int depth)
{
	unsigned first = roll(K_LEN(keys)), n = roll(3);
	k_buf_puts(b, ",\"properties\":{");
	for (unsigned i = 0; i < n; i++) {
		k_buf_printf(b, "%s\"%s\":", i ? "," : "", keys[(first + i) % K_LEN(keys)]);
		put_schema(b, depth);
	}
	k_buf_putc(b, '}');
	if (roll(2))
		k_buf_printf(b, ",\"required\":[\"%s\"]", n && roll(3) ? keys[first] : ONE_OF(keys));
	if (roll(2)) {
		k_buf_puts(b, ",\"additionalProperties\":");
		if (roll(2))
			k_buf_puts(b, "false");
		else
			put_schema(b, depth);
	}
	if (roll(6) == 0) {
		k_buf_printf(b, ",\"patternProperties\":{\"%s\":", ONE_OF(patterns));
		put_schema(b, depth);
		k_buf_putc(b, '}');
	}
	if (roll(5) == 0)
		k_buf_printf(b, ",\"%s\":%u", roll(2) ? "minProperties" : "maxProperties", roll(3));
}

/* An enum, or a type and words of any type: those of others say nothing of it. */
static void put_schema(struct k_buf *b, int depth)
{
	static const char *const types[] = { "null", "boolean", "integer", "number", "string", "array", "object" }, *const joins[] = { "anyOf", "oneOf", "allOf" };
	bool leaf = depth >= DEEPEST;
	if (roll(5) == 0) {
		k_buf_printf(b, "{\"enum\":[%s,%s,%s]}", ONE_OF(atoms), ONE_OF(atoms), ONE_OF(atoms));
		return;
	}
	if (roll(12) == 0) {
		k_buf_puts(b, roll(3) ? "true" : "false");
		return;
	}
	unsigned t = roll(leaf ? 5 : K_LEN(types)), other = roll(leaf ? 5 : K_LEN(types));
	if (roll(4) && t != other)
		k_buf_printf(b, "{\"type\":\"%s\"", types[t]);
	else if (roll(2) && t != other)
		k_buf_printf(b, "{\"type\":[\"%s\",\"%s\"]", types[t], types[other]);
	else
		k_buf_puts(b, "{\"title\":\"any\"");
	if (t == 2 || t == 3 || roll(6) == 0)
		put_number_words(b);
	if (t == 4 || roll(6) == 0)
		put_string_words(b);
	if (!leaf && (t == 5 || roll(6) == 0))
		put_array_words(b, depth + 1);
	if (!leaf && (t == 6 || roll(6) == 0))
		put_object_words(b, depth + 1);
	if (!leaf && roll(4) == 0)
		put_list(b, ONE_OF(joins), 1 + roll(3), depth + 1);
	k_buf_putc(b, '}');
}

/* --- texts ---------------------------------------------------------------------------------------------------------------------- */

/* A text that the grammar lets pass, byte for byte; false: it got too long. */
static bool walk(struct k_matcher *m, const char *schema, struct k_buf *text)
{
	static const char likely[] = "\"\"\"}}]],:{[0123456789-.abtrufalsen";
	struct k_err err;
	K_CHECK_OK(k_matcher_reset(m, &err));
	while (text->len < LONGEST) {
		bool done = k_matcher_done(m), any = false;
		if (done && (!k_matcher_more(m) || roll(3)))
			return true;
		for (int i = 0; i < 40 && !any; i++) {
			char c = roll(12) ? likely[roll(sizeof(likely) - 1)] : (char)(32 + roll(95));
			if ((any = k_matcher_put_bytes(m, &c, 1)))
				k_buf_putc(text, c);
		}
		for (int c = 1; c < 256 && !any; c++)
			if ((any = k_matcher_put_bytes(m, &(char){ (char)c }, 1)))
				k_buf_putc(text, (char)c);
		K_CHECK_MSG(any || done, "%s: nothing may follow %.*s", schema, (int)text->len, text->data);
		if (!any)
			return true;
	}
	return false;
}

static void texts_are_valid(const struct k_json *schema, const char *said, struct k_grammar *g)
{
	struct k_matcher *m;
	struct k_err err;
	K_CHECK_OK(k_matcher_new(&m, g, NULL, &err));
	for (int i = 0; i < WALKS; i++) {
		struct k_json *v = NULL;
		struct k_buf text;
		k_buf_init(&text, 0);
		if (walk(m, said, &text)) {
			/* A name that the schema does not know may come twice: the last counts. */
			int r = k_json_parse(&v, text.data, text.len, K_JSON_LAST_WINS, "text", &err);
			K_CHECK_MSG(r == 0 && k_validate(schema, v, &err) == 1, "%s lets %.*s pass: %s", said, (int)text.len, text.data, err.msg);
			k_json_free(v);
		}
		k_buf_fini(&text);
	}
	k_matcher_free(m);
}

/* --- values --------------------------------------------------------------------------------------------------------------------- */

/* A small value, of at most two members; turned: with those the other way round. */
static void put_value(struct k_buf *b, struct k_buf *turned)
{
	unsigned kind = roll(6), n = roll(3), first = roll(K_LEN(keys));
	const char *v[2] = { ONE_OF(atoms), ONE_OF(atoms) };
	if (kind >= 4) {
		k_buf_puts(b, v[0]);
		k_buf_puts(turned, v[0]);
		return;
	}
	for (int way = 0; way < 2; way++) {
		struct k_buf *to = way ? turned : b;
		k_buf_putc(to, kind < 2 ? '[' : '{');
		for (unsigned i = 0; i < n; i++) {
			unsigned k = way && kind >= 2 ? n - 1 - i : i;
			k_buf_puts(to, i ? "," : "");
			if (kind >= 2)
				k_buf_printf(to, "\"%s\":", keys[(first + k) % K_LEN(keys)]);
			k_buf_puts(to, v[k]);
		}
		k_buf_putc(to, kind < 2 ? ']' : '}');
	}
}

static bool takes(struct k_grammar *g, const struct k_buf *text)
{
	struct k_matcher *m;
	struct k_err err;
	K_CHECK_OK(k_matcher_new(&m, g, NULL, &err));
	bool yes = k_matcher_put_bytes(m, text->data, text->len) && k_matcher_done(m);
	k_matcher_free(m);
	return yes;
}

/* g NULL: nothing is valid. */
static void valid_values_pass(const struct k_json *schema, const char *said, struct k_grammar *g)
{
	for (int i = 0; i < 40; i++) {
		struct k_json *v;
		struct k_buf text, turned;
		struct k_err err;
		k_buf_init(&text, 0);
		k_buf_init(&turned, 0);
		put_value(&text, &turned);
		K_CHECK_OK(k_json_parse(&v, text.data, text.len, K_JSON_STRICT, "value", &err));
		if (k_validate(schema, v, &err) == 1) {
			K_CHECK_MSG(g, "%s cannot be satisfied, but %s is valid", said, text.data);
			K_CHECK_MSG(takes(g, &text) || takes(g, &turned), "%s does not let %s pass", said, text.data);
		}
		k_json_free(v);
		k_buf_fini(&text);
		k_buf_fini(&turned);
	}
}

K_TEST(schema_random_ones_mean_what_they_say)
{
	int right = 0, nothing = 0;
	state = 88172645463325252u;
	for (int i = 0; i < SCHEMAS; i++) {
		struct k_grammar *g = NULL;
		struct k_json *schema;
		struct k_buf b;
		struct k_err err = { 0 };
		k_buf_init(&b, 0);
		put_schema(&b, 0);
		K_CHECK_OK(k_json_parse(&schema, b.data, b.len, K_JSON_STRICT, "schema", &err));
		int r = k_schema_compile(&g, schema, "schema", 0, NULL, &err);
		if (r == 0)
			texts_are_valid(schema, b.data, g);
		if (r == 0 || r == K_EFORMAT)
			valid_values_pass(schema, b.data, g);
		right += r == 0;
		nothing += r == K_EFORMAT;
		k_grammar_free(g);
		k_json_free(schema);
		k_buf_fini(&b);
	}
	/* What is left out was refused as not supported. */
	K_CHECK_MSG(right > SCHEMAS / 2 && nothing > SCHEMAS / 50, "%d of %d compiled, %d that cannot be satisfied", right, SCHEMAS, nothing);
}
