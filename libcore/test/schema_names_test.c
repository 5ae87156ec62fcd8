/* schema_names_test.c: how many members objects have whose names are not declared: small sets in full, no dead ends, names once where they count,
 * and masks of tokens that hold more than one name. */
#include "libcore/test/schema_text.h"

/* of: all names that may be, in any order, but for the declared ones, which come first and in this order. */
struct row { const char *schema, *declared, *others; int min, max; };

static const struct row rows[] = {
	{ "{\"type\":\"object\",\"minProperties\":3}", "", "abcd", 3, 9 },
	{ "{\"type\":\"object\",\"minProperties\":2,\"maxProperties\":3,\"properties\":{\"b\":{}}}", "b", "acd", 2, 3 },
	{ "{\"type\":\"object\",\"minProperties\":4,\"properties\":{\"d\":{},\"a\":{}}}", "da", "bc", 4, 9 },
	{ "{\"type\":\"object\",\"minProperties\":2,\"patternProperties\":{\"^[abc]$\":{}},\"additionalProperties\":false}", "", "abc", 2, 9 },
	{ "{\"type\":\"object\",\"minProperties\":3,\"patternProperties\":{\"^[abc]$\":{}},\"additionalProperties\":false}", "", "abc", 3, 9 },
	{ "{\"type\":\"object\",\"minProperties\":3,\"patternProperties\":{\"^a$\":{},\"^[cd]$\":{}},\"additionalProperties\":false}", "", "acd", 3, 9 },
	{ "{\"type\":\"object\",\"minProperties\":3,\"maxProperties\":3,\"patternProperties\":{\"^[ab]\":{}},\"properties\":{\"c\":{},\"b\":{}},\"additionalProperties\":false}", "cb", "a", 3, 3 },
	{ "{\"type\":\"object\",\"minProperties\":2,\"properties\":{\"a\":{},\"c\":{},\"b\":false},\"additionalProperties\":false}", "ac", "", 2, 9 },
	{ "{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":2}", "", "abcd", 1, 2 },
	{ "{\"type\":\"object\",\"minProperties\":2,\"propertyNames\":{\"enum\":[\"c\",\"a\",0,\"d\"]}}", "cad", "", 2, 9 },
	{ "{\"type\":\"object\",\"minProperties\":3,\"propertyNames\":{\"enum\":[\"c\",\"a\",\"d\"]},\"properties\":{\"d\":{},\"b\":{}}}", "dca", "", 3, 9 },
	{ "{\"type\":\"object\",\"minProperties\":2,\"propertyNames\":{\"pattern\":\"[bcd]\",\"maxLength\":1}}", "", "bcd", 2, 9 },
	{ "{\"type\":\"object\",\"allOf\":[{\"propertyNames\":{\"$ref\":\"#/$defs/n\"}},{\"propertyNames\":{\"pattern\":\"^[ab]\"}}],\"$defs\":{\"n\":{\"minLength\":1}}}", "", "ab", 0, 9 },
	{ "{\"type\":\"object\",\"propertyNames\":false}", "", "", 0, 9 },
	{ "{\"type\":\"object\",\"minProperties\":3,\"patternProperties\":{\"[ab]\":{},\"[bc]\":{}},\"additionalProperties\":false}", "", "abc", 3, 9 },
};

static const char *find(const char *s, char c) { return c ? strchr(s, c) : NULL; }

/* Every choice of up to four of the names a to d in every order. */
K_TEST(schema_members_in_full)
{
	for (size_t i = 0; i < K_LEN(rows); i++) {
		const struct row *r = &rows[i];
		for (int k = 0; k < 5 * 5 * 5 * 5; k++) {
			char text[64] = "{", names[5] = "";
			int n = 0, last = -1;
			bool twice = false, valid = true, other = false;
			for (int rest = k; rest; rest /= 5) {
				char c = "\0abcd"[rest % 5];
				const char *at = find(r->declared, c);
				twice |= !c || find(names, c);
				valid &= at ? !other && at - r->declared > last : find(r->others, c) != NULL;
				last = at ? (int)(at - r->declared) : last;
				other |= !at;
				names[n++] = c;
				snprintf(text + strlen(text), 16, "%s\"%c\":0", n > 1 ? "," : "", c);
			}
			snprintf(text + strlen(text), 2, "}");
			if (!twice)
				K_CHECK_MSG(takes(r->schema, text) == (valid && n >= r->min && n <= r->max), "%s and %s", r->schema, text);
		}
	}
}

struct walk { struct k_matcher *m; const char *schema; char text[128]; size_t len; int whole; };

/* All texts of a schema, of these bytes: whatever has begun can go on or is whole. */
static void explore(struct walk *w)
{
	static const char bytes[] = "{}\",:0abc\\u612";
	struct k_err err = { 0 };
	int ways = 0;
	K_CHECK(w->len + 1 < sizeof(w->text));
	for (const char *c = bytes; *c; c++) {
		K_CHECK_OK(k_matcher_reset(w->m, &err));
		K_CHECK(k_matcher_put_bytes(w->m, w->text, w->len));
		if (!k_matcher_put_bytes(w->m, c, 1))
			continue;
		ways++;
		w->text[w->len++] = *c;
		w->text[w->len] = 0;
		explore(w);
		w->text[--w->len] = 0;
	}
	K_CHECK_OK(k_matcher_reset(w->m, &err));
	K_CHECK(k_matcher_put_bytes(w->m, w->text, w->len));
	w->whole += k_matcher_done(w->m);
	K_CHECK_MSG(ways || k_matcher_done(w->m), "%s: a dead end behind %s", w->schema, w->text);
}

K_TEST(schema_names_end)
{
	static const struct { const char *schema; int texts; } cases[] = {
		/* A letter has two spellings, and names come in any order. */
		{ "{\"type\":\"object\",\"minProperties\":2,\"maxProperties\":2,\"patternProperties\":{\"^[ab]$\":{\"const\":0}},\"additionalProperties\":false}", 2 * 2 * 2 },
		{ "{\"type\":\"object\",\"minProperties\":3,\"maxProperties\":3,\"patternProperties\":{\"^(a|b|ab)$\":{\"const\":0}},\"additionalProperties\":false}", 6 * 2 * 2 * 4 },
		{ "{\"type\":\"object\",\"minProperties\":2,\"maxProperties\":2,\"patternProperties\":{\"^(a|ab?b?)$\":{\"const\":0}},\"additionalProperties\":false}", 2 * (2 * 4 + 2 * 8 + 4 * 8) },
		{ "{\"type\":\"object\",\"minProperties\":3,\"maxProperties\":3,\"patternProperties\":{\"^a$\":{\"const\":0},\"^b?$\":{\"const\":0}},\"additionalProperties\":false}", 6 * 2 * 2 * 1 },
		{ "{\"type\":\"object\",\"minProperties\":2,\"maxProperties\":2,\"properties\":{\"c\":{\"const\":0}},\"patternProperties\":{\"^[ab]$\":{\"const\":0}},\"additionalProperties\":false}", 2 * 2 + 2 * 2 * 2 },
	};
	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct walk w = { .schema = cases[i].schema };
		struct k_grammar *g;
		struct k_err err = { 0 };
		K_CHECK_MSG(!compile(&g, w.schema, 0, &err), "%s: %s", w.schema, err.msg);
		K_CHECK_OK(k_matcher_new(&w.m, g, NULL, &err));
		explore(&w);
		K_CHECK_MSG(w.whole == cases[i].texts, "%s has %d texts, wanted %d", w.schema, w.whole, cases[i].texts);
		k_matcher_free(w.m);
		k_grammar_free(g);
	}
}

K_TEST(schema_names_once)
{
	static const struct { const char *schema, *text; bool takes; } cases[] = {
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"a\":1,\"a\":2}", false },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"a\":1,\"\\u0061\":2,\"b\":3}", false },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"\\u0061\":1,\"a", true },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2", false },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"\xf0\x9f\x98\x80\":1,\"\xf0\x9f\x98\x81\":2}", true },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"\":1,\"\":2", false },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"a\":1,\"\xf4\x8f", true },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"a\":1,\"\xf4\x90", false },
		{ "{\"type\":\"object\",\"minProperties\":2}", "{\"\":1,\"\\n\":2}", true },
		{ "{\"type\":\"object\",\"minProperties\":3}", "{\"a\":{\"a\":1,\"a\":2},\"b\":[{\"a\":0}],\"c\":0}", true },
		{ "{\"type\":\"object\",\"minProperties\":2,\"additionalProperties\":{\"$ref\":\"#/$defs/x\"},\"$defs\":{\"x\":{\"minProperties\":2}}}", "{\"a\":{\"a\":1,\"b\":2},\"b\":{\"b\":1,\"a\":2}}", true },
		{ "{\"type\":\"object\",\"minProperties\":2,\"additionalProperties\":{\"$ref\":\"#/$defs/x\"},\"$defs\":{\"x\":{\"minProperties\":2}}}", "{\"a\":{\"a\":1,\"a\":2}", false },
		{ "{\"anyOf\":[{\"type\":\"object\",\"minProperties\":2,\"additionalProperties\":{\"const\":0}},{\"type\":\"object\",\"additionalProperties\":{\"const\":1}}]}", "{\"a\":0,\"a\":0,\"b\":0}", false },
		{ "{\"anyOf\":[{\"type\":\"object\",\"minProperties\":2,\"additionalProperties\":{\"const\":0}},{\"type\":\"object\",\"additionalProperties\":{\"const\":1}}]}", "{\"a\":1,\"b\":1}", true },
	};
	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct k_grammar *g;
		struct k_matcher *m;
		struct k_err err = { 0 };
		K_CHECK_MSG(!compile(&g, cases[i].schema, 0, &err), "%s: %s", cases[i].schema, err.msg);
		K_CHECK_OK(k_matcher_new(&m, g, NULL, &err));
		bool yes = k_matcher_put_bytes(m, cases[i].text, strlen(cases[i].text));
		K_CHECK_MSG(yes == cases[i].takes, "%s and %s", cases[i].schema, cases[i].text);
		/* In two parts it is the same, and a part that cannot be leaves no trace. */
		for (size_t k = 1; k < strlen(cases[i].text); k++) {
			K_CHECK_OK(k_matcher_reset(m, &err));
			yes = k_matcher_put_bytes(m, cases[i].text, k);
			(void)k_matcher_put_bytes(m, "\":0,\"x\":0}x", 11);
			yes = yes && k_matcher_put_bytes(m, cases[i].text + k, strlen(cases[i].text) - k);
			K_CHECK_MSG(yes == cases[i].takes, "%s and %s, in two parts", cases[i].schema, cases[i].text);
		}
		k_matcher_free(m);
		k_grammar_free(g);
	}
}

/* So many that the tables begin anew: what names there are goes along. */
K_TEST(schema_names_many)
{
	enum { N = 1500 };
	struct k_grammar *g;
	struct k_matcher *m;
	struct k_err err = { 0 };
	char text[64];
	uint32_t states = 0;
	int anew = 0;
	snprintf(text, sizeof(text), "{\"type\":\"object\",\"minProperties\":%d}", N);
	K_CHECK_OK(compile(&g, text, 0, &err));
	K_CHECK_OK(k_matcher_new(&m, g, NULL, &err));
	for (int i = 0; i < N; i++) {
		snprintf(text, sizeof(text), "%s\"name %d", i ? "," : "{", i);
		K_CHECK(!i || !k_matcher_put_bytes(m, "}", 1));
		K_CHECK(k_matcher_put_bytes(m, text, strlen(text)) && k_matcher_put_bytes(m, "\":0", 3));
		snprintf(text, sizeof(text), ",\"name %d\"", i / 2);
		K_CHECK_MSG(k_matcher_put_bytes(m, text, strlen(text)) == (i == N - 1), "name %d twice, behind %d", i / 2, i);
		anew += m->n_states < states;
		states = m->n_states;
	}
	K_CHECK(anew > 0 && k_matcher_put_bytes(m, ":1}", 3) && k_matcher_done(m));
	k_matcher_free(m);
	k_grammar_free(g);
}

/* Tokens that end a name and hold the next one: what they may be hangs on a name that no state knows. */
K_TEST(schema_names_masks_are_exact)
{
	static const char *const tokens[] = {
		"\":0,\"", "\":0,\"a", "\":0,\"a\"", "\":0,\"b\":", "\":0,\"ab\":0,\"a\":0", "a\":0,\"a\":0,\"a", "b\":0,\"b\":0}", "\":0,\"b\":0,\"b\":0}", "\":0,\"a\\",
		"\":0,\"\\u0061\"", "\\u0061\":0,\"a", "{\"a\":0,\"a\":", "{\"a\":0,\"b\":0,\"a", "\":null,\"x\"", "x\":null,\"x\":", "\":0,\"c\":0,\"c", "a\",\"a", "\":\"\",\"",
	};
	static const char *const schemas[] = {
		"{\"type\":\"object\",\"minProperties\":4,\"additionalProperties\":{\"enum\":[0,\"\"]}}",
		"{\"type\":\"object\",\"minProperties\":3,\"patternProperties\":{\"^(a|b|ab|c.*)$\":{\"const\":0}},\"additionalProperties\":false}",
		"{\"type\":\"object\",\"minProperties\":3,\"patternProperties\":{\"^[a-c]$\":{\"const\":0}},\"additionalProperties\":false}",
		"{\"anyOf\":[{\"type\":\"object\",\"minProperties\":3,\"additionalProperties\":{\"type\":\"integer\"}},{\"type\":\"object\",\"minProperties\":2,"
		"\"patternProperties\":{\"^(x|y|z)$\":{\"type\":\"null\"}},\"additionalProperties\":{\"type\":\"string\"}}]}",
	};
	check_masks(schemas, K_LEN(schemas), 0, tokens, K_LEN(tokens), 8, 24);
}
