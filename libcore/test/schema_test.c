/* schema_test.c: what a schema's grammar takes and what not, values of small sets in full, refusals by name, hostile schemas, and
 * masks against byte-wise matching. */
#include "libcore/test/schema_text.h"

#include <stdlib.h>

/* NULL-terminated: what is taken, then what is not. */
struct row { const char *schema, *yes[8], *no[8]; };

K_TEST(schema_takes_what_is_valid)
{
	static const struct row rows[] = {
		{ "{\"type\":\"integer\",\"minimum\":-3,\"exclusiveMaximum\":12}", { "-3", "-1", "0", "9", "11" }, { "-4", "12", "-0", "01", "1.0", "" } },
		{ "{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":10}", { "14", "700", "777" }, { "7", "15", "-14", "1" } },
		{ "{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":0.3}", { "0.3", "0.299", "0.00000000000001" }, { "0", "0.0", "0.31", "1", "-0.1", "." } },
		{ "{\"type\":\"number\"}", { "0", "-1.5", "1e10", "2.50E-07" }, { "+1", "1.", ".5", "1e999", "NaN" } },
		{ "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", { "\"ab\"", "\"\xc3\xa9\\n\\u00e9\"", "\"\\ud83d\\ude00x\"" },
			{ "\"a\"", "\"abcd\"", "\"\\ud83d\"", "\"\\ud83d\\n\"", "\"a\nb\"", "\"\xc0\x80z\"", "\"\xed\xa0\x80z\"" } },
		{ "{\"type\":\"string\",\"pattern\":\"^[a-c]{2}-\\\\d+$\",\"maxLength\":5}", { "\"ab-1\"", "\"cc-42\"", "\"a\\u0062-0\"" }, { "\"ab-\"", "\"ad-1\"", "\"ab-123\"" } },
		{ "{\"type\":\"string\",\"pattern\":\"b\"}", { "\"b\"", "\"abc\"" }, { "\"\"", "\"ac\"" } },
		{ "{\"type\":\"string\",\"format\":\"date\"}", { "\"2024-02-29\"", "\"1900-12-31\"" }, { "\"2023-02-29\"", "\"1900-02-29\"", "\"2024-04-31\"", "\"0000-01-01\"" } },
		{ "{\"enum\":[7,77,\"a\",null,{\"b\":[1]}]}", { "7", "77", "\"a\"", "null", "{\"b\":[1]}" }, { "777", "\"7\"", "true" } },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}},\"required\":[\"b\"],\"additionalProperties\":false}",
			{ "{\"a\":1,\"b\":2}", "{\"b\": 2}", "{\"a\": 1, \"b\": 2}" }, { "{}", "{\"a\":1}", "{\"b\":2,\"a\":1}", "{\"b\":  2}", "{\"b\":2,}", "{\"b\":2,\"c\":1}" } },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}},\"additionalProperties\":{\"type\":\"null\"}}",
			{ "{}", "{\"a\":1}", "{\"ab\":null}", "{\"a\":1,\"\":null,\"b\":null}" }, { "{\"a\":null}", "{\"\\u0061\":null}", "{\"b\":1}" } },
		{ "{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"const\":1}},\"additionalProperties\":false}", { "{}", "{\"x\":1,\"xy\":1}" }, { "{\"y\":1}", "{\"x\":2}" } },
		{ "{\"type\":\"array\",\"prefixItems\":[{\"const\":0}],\"items\":{\"const\":1},\"minItems\":2,\"maxItems\":3}", { "[0,1]", "[0, 1,1]" }, { "[0]", "[1,1]", "[0,1,1,1]", "[ 0,1]" } },
		{ "{\"type\":\"array\",\"items\":{\"enum\":[1,2]},\"uniqueItems\":true}", { "[]", "[2,1]" }, { "[1,1]", "[1,2,1]" } },
		{ "{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"string\",\"maxLength\":1}]}", { "null", "\"a\"" }, { "\"ab\"", "0" } },
		{ "{\"oneOf\":[{\"type\":\"integer\",\"maximum\":0},{\"type\":\"integer\",\"minimum\":1}]}", { "0", "1" }, { "null" } },
		{ "{\"allOf\":[{\"type\":\"integer\"},{\"minimum\":2},{\"maximum\":3}]}", { "2", "3" }, { "1", "4" } },
		{ "{\"$defs\":{\"t\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"},\"maxItems\":2}]}},\"$ref\":\"#/$defs/t\"}",
			{ "null", "[]", "[[],[null,[]]]" }, { "[0]", "[[[],[],[]]]" } },
		{ "true", { "null", "[1,{\"a\":\"b\"}]", "{}" }, { "[", "nul" } },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		for (int k = 0; k < 8 && rows[i].yes[k]; k++)
			K_CHECK_MSG(takes(rows[i].schema, rows[i].yes[k]), "%s does not take %s", rows[i].schema, rows[i].yes[k]);
		for (int k = 0; k < 8 && rows[i].no[k]; k++)
			K_CHECK_MSG(!takes(rows[i].schema, rows[i].no[k]), "%s takes %s", rows[i].schema, rows[i].no[k]);
	}
}

/* Every integer of a range, every text of two letters: taken exactly if plain arithmetic says so. */
K_TEST(schema_small_sets_in_full)
{
	static const int bounds[][3] = { { -12, 12, 1 }, { 3, 17, 1 }, { -100, 105, 1 }, { 0, 130, 3 }, { -99, -9, 4 }, { 5, 5, 1 }, { -1, 0, 1 } };
	for (size_t i = 0; i < K_LEN(bounds); i++) {
		char schema[128], text[16];
		snprintf(schema, sizeof(schema), "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d,\"multipleOf\":%d}", bounds[i][0], bounds[i][1], bounds[i][2]);
		for (int x = -150; x <= 150; x++) {
			snprintf(text, sizeof(text), "%d", x);
			K_CHECK_MSG(takes(schema, text) == (x >= bounds[i][0] && x <= bounds[i][1] && x % bounds[i][2] == 0), "%s and %d", schema, x);
		}
		snprintf(schema, sizeof(schema), "{\"type\":\"number\",\"minimum\":%d.5,\"exclusiveMaximum\":%d.25}", bounds[i][0], bounds[i][1] + 1);
		double lo = bounds[i][0] < 0 ? bounds[i][0] - 0.5 : bounds[i][0] + 0.5, hi = bounds[i][1] + 1 < 0 ? bounds[i][1] + 0.75 : bounds[i][1] + 1.25;
		for (int x = -1500; x <= 1500; x += 7) {
			snprintf(text, sizeof(text), "%.2f", x / 8.0);
			double v = strtod(text, NULL);
			K_CHECK_MSG(takes(schema, text) == (v >= lo && v < hi), "%s and %s", schema, text);
		}
	}
	for (int n = 0; n < 4 * 4 * 4 * 4; n++) {
		char text[8] = "\"", *p = text + 1;
		int as = 0, len = 0;
		for (int k = n; k; k /= 4) {
			if (k % 4 == 3)
				continue;
			*p++ = (char)('a' + k % 4);
			as += k % 4 == 0;
			len++;
		}
		*p++ = '"';
		*p = 0;
		bool want = as > 0 && len >= 2 && len <= 3;
		K_CHECK_MSG(takes("{\"type\":\"string\",\"pattern\":\"a\",\"minLength\":2,\"maxLength\":3}", text) == want, "%s", text);
	}
}

K_TEST(schema_refuses)
{
	static const struct { const char *schema; int code; const char *says; } rows[] = {
		{ "{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", K_EFORMAT, "minimum" },
		{ "{\"type\":\"nonsense\"}", K_EFORMAT, "schema.type" },
		{ "{\"$ref\":\"#/$defs/none\"}", K_EFORMAT, "$ref" },
		{ "{\"enum\":[]}", K_EFORMAT, "enum" },
		{ "{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", K_EFORMAT, "cannot be satisfied" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":false},\"required\":[\"a\"]}", K_EFORMAT, "false" },
		{ "{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", K_EFORMAT, "leads back" },
		{ "{\"allOf\":[{\"$ref\":\"#\"}]}", K_EFORMAT, "leads back" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", K_EFORMAT, "endless" },
		{ "{\"allOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", K_EFORMAT, "exclude" },
		{ "{\"type\":\"integer\",\"enum\":[\"a\"]}", K_EFORMAT, "enum" },
		{ "{\"properties\":{\"a\":{\"not\":{}}}}", K_EUNSUP, "schema.a.not" },
		{ "{\"if\":{},\"then\":{}}", K_EUNSUP, "schema.if" },
		{ "{\"propertyNames\":{\"anyOf\":[{}]}}", K_EUNSUP, "propertyNames.anyOf" },
		{ "{\"propertyNames\":5}", K_EFORMAT, "propertyNames" },
		{ "{\"type\":\"object\",\"propertyNames\":{\"maxLength\":1},\"required\":[\"ab\"]}", K_EFORMAT, "propertyNames does not admit" },
		{ "{\"type\":\"object\",\"propertyNames\":{\"enum\":[\"a\",\"b\"]},\"minProperties\":3}", K_EFORMAT, "minProperties" },
		{ "{\"oneOf\":[{\"type\":\"string\"},{\"maxLength\":3}]}", K_EUNSUP, "oneOf" },
		{ "{\"type\":\"string\",\"pattern\":\"(?=a)\"}", K_EUNSUP, "lookaround" },
		{ "{\"type\":\"string\",\"pattern\":\"(a)\\\\1\"}", K_EUNSUP, "\\1" },
		{ "{\"type\":\"string\",\"pattern\":\"(\"}", K_EFORMAT, "pattern" },
		{ "{\"type\":\"string\",\"pattern\":\"^x\\\\d?$\",\"minLength\":2,\"maxLength\":1}", K_EFORMAT, "lengths" },
		{ "{\"type\":\"array\",\"uniqueItems\":true}", K_EUNSUP, "uniqueItems" },
		{ "{\"type\":\"object\",\"minProperties\":4001}", K_EUNSUP, "minProperties" },
		{ "{\"type\":\"object\",\"minProperties\":3,\"patternProperties\":{\"^[ab]$\":{}},\"additionalProperties\":false}", K_EFORMAT, "minProperties" },
		{ "{\"type\":\"object\",\"minProperties\":2,\"patternProperties\":{\"(.*a){40}\":{},\"(.*b){40}\":{},\"(.*c){40}\":{}},\"additionalProperties\":false}", K_EUNSUP, "minProperties" },
		{ "{\"type\":\"object\",\"minProperties\":3,\"maxProperties\":2}", K_EFORMAT, "maxProperties" },
		{ "{\"type\":\"object\",\"required\":[\"a\",\"b\"],\"maxProperties\":1}", K_EFORMAT, "required" },
		{ "{\"multipleOf\":0.01}", K_EUNSUP, "multipleOf" },
		{ "{\"multipleOf\":0}", K_EFORMAT, "multipleOf" },
		{ "{\"type\":\"integer\",\"minimum\":1e30}", K_EUNSUP, "18 digits" },
		{ "{\"type\":\"string\",\"format\":\"color\"}", K_EUNSUP, "color" },
		{ "[]", K_EFORMAT, "an array" },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		struct k_err err = { 0 };
		struct k_grammar *g;
		int rc = compile(&g, rows[i].schema, 0, &err);
		K_CHECK_MSG(rc == rows[i].code && strstr(err.msg, rows[i].says), "%s: %d, %s", rows[i].schema, rc, rc ? err.msg : "taken");
	}
	struct k_err err = { 0 };
	struct k_grammar *g;
	K_CHECK_OK(compile(&g, "{\"type\":\"integer\",\"not\":{\"const\":1}}", K_SCHEMA_LAX, &err));
	k_grammar_free(g);
}

/* Small texts that ask for much. Each is refused or compiled soon, and what was compiled takes a step. */
K_TEST(schema_hostile)
{
	static const char *const rows[] = {
		"{\"type\":\"string\",\"pattern\":\"((((((((((((((((((((((((a*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*\"}",
		"{\"type\":\"string\",\"pattern\":\"(a|aa|aaa){1,2000}b\"}", "{\"type\":\"string\",\"pattern\":\"^(.*a.{20})$\"}",
		"{\"type\":\"string\",\"pattern\":\"(.*a){20}\"}", "{\"type\":\"string\",\"pattern\":\"a{1,1000000}\"}",
		"{\"type\":\"string\",\"maxLength\":1e30}", "{\"type\":\"array\",\"items\":{\"const\":0},\"minItems\":1000000000}",
		"{\"$defs\":{\"a\":{\"anyOf\":[{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/a\"}},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/a\"},\"maxItems\":9}]}},\"$ref\":\"#/$defs/a\"}",
		"{\"allOf\":[{\"anyOf\":[{\"minimum\":1},{\"minimum\":2},{\"minimum\":3},{\"minimum\":4}]},{\"anyOf\":[{\"minimum\":1},{\"minimum\":2},{\"minimum\":3},{\"minimum\":4}]},"
		"{\"anyOf\":[{\"maximum\":1},{\"maximum\":2},{\"maximum\":3},{\"maximum\":4}]},{\"anyOf\":[{\"minLength\":1},{\"minLength\":2},{\"minLength\":3},{\"minLength\":4}]}]}",
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		struct k_err err = { 0 };
		struct k_grammar *g;
		struct k_matcher *m;
		if (compile(&g, rows[i], 0, &err))
			continue;
		K_CHECK_OK(k_matcher_new(&m, g, NULL, &err));
		for (int k = 0; k < 30; k++)
			(void)(k_matcher_put_bytes(m, "[", 1) || k_matcher_put_bytes(m, "\"", 1) || k_matcher_put_bytes(m, "a", 1));
		k_matcher_free(m);
		k_grammar_free(g);
	}
}

K_TEST(schema_masks_are_exact)
{
	static const char *const schemas[] = {
		"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":5},\"b\":{\"type\":\"integer\"}},\"required\":[\"a\",\"b\"]}",
		"{\"type\":\"string\",\"pattern\":\"^(ab|[x-z\xc3\xa9]+)$\",\"maxLength\":9}",
		"{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"number\",\"minimum\":0},{\"type\":\"string\",\"minLength\":2,\"maxLength\":12}]},\"maxItems\":4}",
		"{\"type\":\"object\",\"maxProperties\":3,\"additionalProperties\":{\"enum\":[\"one\",\"two\",3]}}",
	};
	check_masks(schemas, K_LEN(schemas), 0, NULL, 0, 4, 24);
}

/* A matcher that is rewound hundreds of times, over texts that make its tables begin anew, says what a new one says, and does not make again the
 * masks of a short text that it has just had. */
K_TEST(schema_masks_are_kept)
{
	static const char schema[] = "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\",\"maxLength\":300},"
		"\"note\":{\"type\":\"string\",\"maxLength\":300},"
		"\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9000}},\"required\":[\"path\",\"note\",\"limit\"],\"additionalProperties\":false}";
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
	struct k_files files;
	struct k_tokenizer *t;
	struct k_vocab *v;
	struct k_grammar *g;
	struct k_matcher *kept, *fresh;
	struct k_err err = { 0 };
	uint32_t states = 0;
	int anew = 0;
	open_nano(&files, &t, &v, NULL, 0);
	K_CHECK_OK(compile(&g, schema, 0, &err));
	K_CHECK_OK(k_matcher_new(&kept, g, v, &err));
	for (int i = 0; i < 700; i++) {
		const uint64_t *seen[128];
		struct k_ids ids;
		char text[320];
		int n = snprintf(text, sizeof(text), "{\"path\":\"%.*s the river %d and what is behind it\",\"note\":\"%.*s is a hill and a wide valley\",\"limit\":%d}", i % 40,
			letters, i, i % 41, letters, i + 1);
		k_ids_init(&ids);
		K_CHECK_OK(k_tokenizer_encode(t, text, (size_t)n, 0, &ids, &err));
		K_CHECK(ids.n < K_LEN(seen));
		K_CHECK_OK(k_matcher_new(&fresh, g, v, &err));
		for (int pass = 0; pass < 2; pass++) {
			K_CHECK_OK(k_matcher_reset(kept, &err));
			for (size_t k = 0; k < ids.n; k++) {
				const uint64_t *mask = k_matcher_mask(kept);
				K_CHECK_MSG(mask && (!pass || ids.n > 60 || mask == seen[k]), "text %d: the mask of token %zu is made again", i, k);
				seen[k] = mask;
				K_CHECK(pass || !memcmp(mask, k_matcher_mask(fresh), ((size_t)v->n / 64 + 1) * 8));
				K_CHECK(k_matcher_put(kept, ids.v[k]) && (pass || k_matcher_put(fresh, ids.v[k])));
				anew += kept->n_states < states;
				states = kept->n_states;
			}
			K_CHECK(k_matcher_done(kept));
		}
		k_matcher_free(fresh);
		k_ids_fini(&ids);
	}
	K_CHECK_MSG(anew > 0, "the tables began anew %d times: %u states, %u frames", anew, kept->n_states, kept->n_frames);
	K_CHECK(k_matcher_bytes(kept) < 32 << 20);
	k_matcher_free(kept);
	k_grammar_free(g);
	k_vocab_free(v);
	k_tokenizer_free(t);
	k_files_fini(&files);
}
