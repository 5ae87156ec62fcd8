/* schema_call_test.c: the arguments of a call of Kimi-K3: what a schema's grammar takes and what not, against the JSON that they stand for; masks
 * and spellings. In the texts here <, </ and > are the markers. */
#include "libcore/test/schema_text.h"

static void put_marked(struct k_buf *b, const char *s)
{
	for (; *s; s++) {
		bool close = s[0] == '<' && s[1] == '/';
		k_buf_putc(b, close ? (char)K_MARK_CLOSE : *s == '<' ? (char)K_MARK_OPEN : *s == '>' ? (char)K_MARK_SEP : *s);
		s += close;
	}
}

static bool call_takes(const char *schema, const char *text)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	put_marked(&b, text);
	bool yes = takes_as(schema, K_SCHEMA_OBJECT | K_SCHEMA_CALL, b.len ? b.data : "", b.len);
	k_buf_fini(&b);
	return yes;
}

#define ARG(key, type, value) "<argument key=\"" key "\" type=\"" type "\">" value "</argument>"

struct row { const char *schema, *yes[6], *no[9]; };

K_TEST(call_takes_what_is_valid)
{
	static const struct row rows[] = {
		{ "{\"properties\":{\"a\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}},\"required\":[\"a\"],\"additionalProperties\":false}",
			{ ARG("a", "string", "two\nlines \"of\" it & \\ \xc3\xa9"), ARG("a", "string", ""), ARG("a", "string", "x") ARG("n", "number", "-3") },
			{ "", ARG("n", "number", "1"), ARG("a", "number", "1"), ARG("a", "string", "\xc3"), ARG("a", "string", "x") ARG("a", "string", "x"),
				ARG("n", "number", "1") ARG("a", "string", "x"), ARG("a", "string", "x") ARG("n", "integer", "3"), ARG("a", "string", "x") ARG("n", "number", "3 "),
				ARG("a", "string", "x") ARG("b", "null", "null") } },
		{ "{\"properties\":{\"v\":{\"type\":[\"string\",\"null\",\"integer\"],\"maxLength\":4}}}",
			{ "", ARG("v", "string", "null"), ARG("v", "string", "7"), ARG("v", "null", "null"), ARG("v", "number", "7") },
			{ ARG("v", "null", ""), ARG("v", "boolean", "true"), ARG("v", "string", "false"), ARG("v", "number", "\"7\"") } },
		{ "{\"properties\":{\"e\":{\"enum\":[\"a\",\"ab\",\"\",\"1\",1,true,null,[\"a\"],{\"a\":\"b\"}]}},\"required\":[\"e\"]}",
			{ ARG("e", "string", "a"), ARG("e", "string", "ab"), ARG("e", "string", ""), ARG("e", "number", "1"), ARG("e", "array", "[\"a\"]"), ARG("e", "object", "{\"a\":\"b\"}") },
			{ ARG("e", "string", "\"a\""), ARG("e", "string", "abc"), ARG("e", "string", "true"), ARG("e", "object", "{}"), ARG("e", "number", "11"), ARG("e", "array", "") } },
		{ "{\"properties\":{\"d\":{\"type\":\"string\",\"format\":\"date\"},\"p\":{\"type\":\"string\",\"pattern\":\"^[\\n\\\"]{2}$\"}}}",
			{ ARG("d", "string", "2024-02-29"), ARG("p", "string", "\n\"") }, { ARG("d", "string", "2023-02-29"), ARG("d", "string", ""), ARG("p", "string", "\\n\"") } },
		{ "{\"properties\":{\"q\\\"&\":{\"const\":1},\"&quot;\":{\"const\":2}},\"additionalProperties\":false}",
			{ ARG("q&quot;&amp;", "number", "1") ARG("&amp;quot;", "number", "2") }, { ARG("q&quot;&", "number", "1"), ARG("&quot;", "number", "2") } },
		{ "{\"additionalProperties\":{\"type\":\"boolean\"},\"propertyNames\":{\"pattern\":\"^[a&\\\"]*$\"}}",
			{ "", ARG("", "boolean", "true"), ARG("a&amp;&quot;a", "boolean", "true") ARG("aa", "boolean", "false") },
			{ ARG("a&", "boolean", "true"), ARG("&lt;", "boolean", "true"), ARG("&amq;", "boolean", "true"), ARG("b", "boolean", "true"), ARG("a", "null", "null") } },
		/* As many names as there must be are as many different ones, however they are written. */
		{ "{\"additionalProperties\":{\"type\":\"null\"},\"minProperties\":2,\"propertyNames\":{\"maxLength\":1}}",
			{ ARG("&amp;", "null", "null") ARG("&quot;", "null", "null"), ARG("", "null", "null") ARG("a", "null", "null") },
			{ ARG("a", "null", "null"), ARG("&amp;", "null", "null") ARG("&amp;", "null", "null"), ARG("", "null", "null") ARG("", "null", "null") } },
		/* Branches of the whole are followed. */
		{ "{\"anyOf\":[{\"properties\":{\"k\":{\"const\":\"a\"},\"x\":{\"type\":\"boolean\"}},\"required\":[\"k\",\"x\"],\"additionalProperties\":false},"
			"{\"properties\":{\"k\":{\"const\":\"b\"},\"y\":{\"type\":\"null\"}},\"required\":[\"k\",\"y\"],\"additionalProperties\":false}]}",
			{ ARG("k", "string", "a") ARG("x", "boolean", "true"), ARG("k", "string", "b") ARG("y", "null", "null") },
			{ ARG("k", "string", "a") ARG("y", "null", "null"), ARG("k", "string", "b") ARG("x", "boolean", "true"), ARG("k", "string", "a"), "" } },
		{ "{\"enum\":[{},{\"a\":\"\\\"\",\"b\":[1.5]},{\"a\":null},7]}", { "", ARG("a", "string", "\"") ARG("b", "array", "[1.5]"), ARG("a", "null", "null") },
			{ ARG("a", "string", "\""), ARG("b", "array", "[1.5]") ARG("a", "string", "\""), ARG("a", "null", "") } },
		/* An object within is JSON. */
		{ "{\"type\":\"object\",\"properties\":{\"s\":{\"$ref\":\"#\"},\"t\":{\"type\":\"string\"}},\"additionalProperties\":false}",
			{ ARG("s", "object", "{\"s\":{},\"t\":\"a\\n\"}") ARG("t", "string", "a\n") }, { ARG("s", "object", "{\"t\":a}"), ARG("s", "object", ""), ARG("s", "string", "{}") } },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		for (int k = 0; k < 6 && rows[i].yes[k]; k++)
			K_CHECK_MSG(call_takes(rows[i].schema, rows[i].yes[k]), "%s does not take %s", rows[i].schema, rows[i].yes[k]);
		for (int k = 0; k < 9 && rows[i].no[k]; k++)
			K_CHECK_MSG(!call_takes(rows[i].schema, rows[i].no[k]), "%s takes %s", rows[i].schema, rows[i].no[k]);
	}
}

/* All objects of three members of a few values: a call is taken exactly if the JSON is that it stands for. */
K_TEST(call_small_sets_in_full)
{
	static const struct { const char *json, *type, *raw; } values[] = {
		{ NULL, NULL, NULL }, { "null", "null", "null" }, { "true", "boolean", "true" }, { "0", "number", "0" }, { "12", "number", "12" }, { "1.5", "number", "1.5" },
		{ "\"\"", "string", "" }, { "\"ab\"", "string", "ab" }, { "\"12\"", "string", "12" }, { "[]", "array", "[]" }, { "[1]", "array", "[1]" }, { "{}", "object", "{}" },
	};
	static const char *const keys[] = { "a", "b", "z" };
	static const char *const schemas[] = {
		"{\"type\":\"object\"}", "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"number\"}},\"required\":[\"b\"]}",
		"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":[\"string\",\"integer\"],\"minLength\":1,\"minimum\":3},\"b\":{\"anyOf\":[{\"type\":\"null\"},{\"enum\":[\"12\",12,[1]]}]}},"
			"\"additionalProperties\":false}",
		"{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":true},\"additionalProperties\":{\"type\":\"array\"},\"minProperties\":2}",
		"{\"type\":\"object\",\"properties\":{\"a\":false,\"b\":{\"type\":\"object\"}},\"patternProperties\":{\"z\":{\"const\":\"\"}},\"maxProperties\":1}",
		"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^(ab|12)?$\"}},\"oneOf\":[{\"required\":[\"a\"]},{\"properties\":{\"a\":false}}]}",
	};
	size_t n = K_LEN(values);
	for (size_t i = 0; i < n * n * n * K_LEN(schemas); i++) {
		size_t v[] = { i % n, i / n % n, i / n / n % n };
		const char *schema = schemas[i / n / n / n];
		struct k_buf b[2];
		bool yes[2];
		k_buf_init(&b[0], 0);
		k_buf_init(&b[1], 0);
		for (int k = 0; k < 3; k++) {
			if (!v[k])
				continue;
			k_buf_printf(&b[0], "%s\"%s\":%s", b[0].len ? "," : "{", keys[k], values[v[k]].json);
			char call[128];
			snprintf(call, sizeof(call), ARG("%s", "%s", "%s"), keys[k], values[v[k]].type, values[v[k]].raw);
			put_marked(&b[1], call);
		}
		k_buf_puts(&b[0], b[0].len ? "}" : "{}");
		for (int k = 0; k < 2; k++) {
			yes[k] = takes_as(schema, K_SCHEMA_OBJECT | (k ? K_SCHEMA_CALL : 0), b[k].len ? b[k].data : "", b[k].len);
			k_buf_fini(&b[k]);
		}
		K_CHECK_MSG(yes[0] == yes[1], "%s: as JSON %d, as a call %d: value %zu %zu %zu", schema, yes[0], yes[1], v[0], v[1], v[2]);
	}
}

/* Walks at random through tokens and markers: masks are what trying each token says, and nothing ends in a dead end. */
K_TEST(call_masks_are_exact)
{
	static const char *const schemas[] = {
		"{\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":5},\"b\":{\"type\":\"integer\"}},\"required\":[\"a\",\"b\"],\"additionalProperties\":false}",
		"{\"properties\":{\"a\":{\"type\":[\"string\",\"boolean\"],\"pattern\":\"^[a-f\\n\\\"]+$\"}},\"additionalProperties\":{\"enum\":[\"one\",\"two\",3]},\"maxProperties\":3}",
		"{\"additionalProperties\":{\"type\":\"null\"},\"minProperties\":2,\"maxProperties\":2,\"propertyNames\":{\"pattern\":\"^[ab&\\\"]{1,2}$\"}}",
		"{\"properties\":{\"s\":{\"type\":\"string\"},\"o\":{\"properties\":{\"x\":{\"type\":\"string\"}},\"additionalProperties\":false}}}",
	};
	static const char *const tokens[] = { " key=\"", "=\"b", "\" type=\"string\"", "&amp;", "&quot;a", "a&am", "p;b", "a\"\xfd", "x\xfd", "b\n\"", "e\xfc" "argument\xfd", "\xfb" "argument" };
	check_masks(schemas, K_LEN(schemas), K_SCHEMA_OBJECT | K_SCHEMA_CALL, tokens, K_LEN(tokens), 6, 40);
}

K_TEST(call_spells)
{
	/* NULL: too many to be told; else with | behind each. */
	static const struct { const char *schema, *behind, *texts; } rows[] = {
		{ "{\"properties\":{\"a\":{\"type\":\"string\"},\"ab\":{}},\"additionalProperties\":false}", "", "|" },
		{ "{\"properties\":{\"a\":{\"type\":\"string\"},\"ab\":{}},\"additionalProperties\":false}", "<", "argument key=\"|" },
		{ "{\"properties\":{\"a\":{\"type\":\"string\"},\"ab\":{}},\"additionalProperties\":false}", "<argu", "ment key=\"|" },
		{ "{\"properties\":{\"a\":{\"type\":\"string\"},\"ab\":{}},\"additionalProperties\":false}", "<argument key=\"", "a\"|ab\"|" },
		{ "{\"properties\":{\"a\":{\"type\":\"string\"},\"ab\":{}},\"additionalProperties\":false}", "<argument key=\"a", "\"|b\"|" },
		{ "{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}}}", "<argument key=\"a\"", " type=\"|" },
		{ "{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}}}", "<argument key=\"a\" type=\"", "null\"|string\"|" },
		{ "{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}}}", "<argument key=\"a\" type=\"null\"", "|" },
		{ "{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}}}", "<argument key=\"", NULL },
		{ "{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}}}", "<argument key=\"a\" type=\"null\">null</", "argument|" },
		{ "{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}}}", "<argument key=\"a\" type=\"string\">", NULL },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		struct k_grammar *g;
		struct k_matcher *m;
		struct k_err err = { 0 };
		struct k_buf said, out;
		k_buf_init(&said, 0);
		k_buf_init(&out, 0);
		put_marked(&said, rows[i].behind);
		K_CHECK_OK(compile(&g, rows[i].schema, K_SCHEMA_OBJECT | K_SCHEMA_CALL, &err));
		K_CHECK_OK(k_matcher_new(&m, g, NULL, &err));
		K_CHECK(put_said(m, said.data, said.len));
		bool yes = k_matcher_spell(m, &out);
		for (size_t k = 0; k < out.len; k++)
			out.data[k] = out.data[k] ? out.data[k] : '|';
		K_CHECK_MSG(yes == (rows[i].texts != NULL) && (!yes || !strcmp(out.data, rows[i].texts)), "behind %s: %s", rows[i].behind, out.len ? out.data : "nothing");
		k_matcher_free(m);
		k_grammar_free(g);
		k_buf_fini(&said);
		k_buf_fini(&out);
	}
}

/* A name that fills its tag is read again; a longer one is refused, escapes counted. */
K_TEST(call_names_fit_their_tags)
{
	static const struct { const char *before, *unit, *behind; size_t most; } rows[] = {
		{ "{\"properties\":{\"", "n", "\":{\"const\":1}}}", K_XTML_NAME }, { "{\"properties\":{\"", "&", "\":{\"const\":1}}}", K_XTML_NAME / 5 },
		{ "{\"enum\":[{\"", "n", "\":1}]}", K_XTML_NAME },
	};
	for (size_t i = 0; i < K_LEN(rows); i++)
		for (size_t more = 0; more < 2; more++) {
			struct k_grammar *g;
			struct k_err err = { 0 };
			struct k_buf b;
			k_buf_init(&b, 0);
			k_buf_puts(&b, rows[i].before);
			for (size_t k = 0; k < rows[i].most + more; k++)
				k_buf_puts(&b, rows[i].unit);
			k_buf_puts(&b, rows[i].behind);
			int rc = compile(&g, b.data, K_SCHEMA_OBJECT | K_SCHEMA_CALL, &err);
			K_CHECK_MSG(rc == (more ? K_EUNSUP : 0) && (!more || strstr(err.msg, "wanted at most 4000")), "%zu: %d %s", i, rc, err.msg);
			k_grammar_free(g);
			k_buf_fini(&b);
		}
}
