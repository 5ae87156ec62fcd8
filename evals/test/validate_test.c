#include "libcore/base.h"
#include "evals/validate.h"
#include "libcore/test.h"

static int check(const char *schema, const char *value, struct k_err *err)
{
	struct k_json *s, *v;
	K_CHECK(k_json_parse(&s, schema, strlen(schema), K_JSON_LAST_WINS, "schema", err) == 0);
	K_CHECK(k_json_parse(&v, value, strlen(value), K_JSON_LAST_WINS, "value", err) == 0);
	int r = k_validate(s, v, err);
	k_json_free(s);
	k_json_free(v);
	return r;
}

/* Keyword by keyword: cmd/test/toolcall_make.py. Here: what the sentence says, and schemas that cannot be judged by. */
K_TEST(validate_says_where)
{
	struct k_err err;
	K_CHECK(check("{\"properties\":{\"a\":{\"items\":{\"maximum\":3}}}}", "{\"a\":[1,2,4]}", &err) == 0);
	K_CHECK_MSG(strstr(err.msg, "a[2]: 4, wanted at most 3"), "%s", err.msg);
	K_CHECK(check("{\"required\":[\"b\"]}", "{}", &err) == 0 && strstr(err.msg, "'b' is missing"));
	K_CHECK(check("{\"properties\":{\"x\":{\"$ref\":\"#/$defs/a~1b\"}},\"$defs\":{\"a/b\":{\"type\":\"null\"}}}", "{\"x\":null}", &err) == 1);
}

/* Members that some schema of the same value has looked at, through whatever leads to it, are evaluated; what a schema saw that does not fit is not. */
K_TEST(validate_unevaluated)
{
	static const struct { const char *schema, *value; int fits; } rows[] = {
		{ "{\"properties\":{\"a\":{}},\"unevaluatedProperties\":false}", "{\"a\":1}", 1 },
		{ "{\"properties\":{\"a\":{}},\"unevaluatedProperties\":false}", "{\"a\":1,\"b\":1}", 0 },
		{ "{\"unevaluatedProperties\":{\"type\":\"null\"}}", "{\"a\":null}", 1 },
		{ "{\"unevaluatedProperties\":false}", "[1]", 1 },
		{ "{\"allOf\":[{\"properties\":{\"a\":{}}},{\"patternProperties\":{\"^b\":{}}}],\"unevaluatedProperties\":false}", "{\"a\":1,\"bb\":1}", 1 },
		{ "{\"anyOf\":[{\"properties\":{\"a\":{}}},{\"properties\":{\"b\":{\"type\":\"null\"}}}],\"unevaluatedProperties\":false}", "{\"a\":1,\"b\":1}", 0 },
		{ "{\"oneOf\":[{\"required\":[\"a\"],\"properties\":{\"a\":{}}},{\"required\":[\"b\"]}],\"unevaluatedProperties\":false}", "{\"a\":1}", 1 },
		{ "{\"not\":{\"not\":{\"properties\":{\"a\":{}}}},\"unevaluatedProperties\":false}", "{\"a\":1}", 0 },
		{ "{\"if\":{\"properties\":{\"a\":{\"const\":1}}},\"then\":{\"properties\":{\"b\":{}}},\"unevaluatedProperties\":false}", "{\"a\":1,\"b\":1}", 1 },
		{ "{\"if\":{\"properties\":{\"a\":{\"const\":1}}},\"else\":{\"properties\":{\"b\":{}}},\"unevaluatedProperties\":false}", "{\"a\":2,\"b\":1}", 0 },
		{ "{\"$ref\":\"#/$defs/x\",\"unevaluatedProperties\":false,\"$defs\":{\"x\":{\"properties\":{\"a\":{}}}}}", "{\"a\":1}", 1 },
		{ "{\"dependentSchemas\":{\"a\":{\"properties\":{\"a\":{},\"b\":{}}}},\"unevaluatedProperties\":false}", "{\"a\":1,\"b\":1}", 1 },
		{ "{\"dependentSchemas\":{\"a\":{\"properties\":{\"a\":{},\"b\":{}}}},\"unevaluatedProperties\":false}", "{\"b\":1}", 0 },
		{ "{\"allOf\":[{\"additionalProperties\":true}],\"unevaluatedProperties\":false}", "{\"b\":1}", 1 },
		{ "{\"allOf\":[{\"unevaluatedProperties\":true}],\"unevaluatedProperties\":false}", "{\"b\":1}", 1 },
		{ "{\"allOf\":[{\"unevaluatedProperties\":false}],\"properties\":{\"a\":{}}}", "{\"a\":1}", 0 },
		{ "{\"properties\":{\"a\":{\"properties\":{\"x\":{}}}},\"unevaluatedProperties\":false}", "{\"a\":{\"x\":1,\"y\":1}}", 1 },
		{ "{\"properties\":{\"a\":{\"unevaluatedProperties\":false}},\"unevaluatedProperties\":true}", "{\"a\":{\"y\":1}}", 0 },
		{ "{\"prefixItems\":[{}],\"unevaluatedItems\":false}", "[1]", 1 },
		{ "{\"prefixItems\":[{}],\"unevaluatedItems\":false}", "[1,2]", 0 },
		{ "{\"contains\":{\"const\":2},\"prefixItems\":[{}],\"unevaluatedItems\":false}", "[1,2,2]", 1 },
		{ "{\"contains\":{\"const\":2},\"unevaluatedItems\":false}", "[1,2]", 0 },
		{ "{\"allOf\":[{\"items\":{}}],\"unevaluatedItems\":false}", "[1,2]", 1 },
		{ "{\"anyOf\":[{\"prefixItems\":[{}]},{\"prefixItems\":[{},{\"type\":\"null\"}]}],\"unevaluatedItems\":false}", "[1,2]", 0 },
		{ "{\"unevaluatedItems\":{\"type\":\"integer\"}}", "[1,\"a\"]", 0 },
		{ "{\"dependentSchemas\":{\"a\":false}}", "{\"a\":1}", 0 },
		{ "{\"dependentSchemas\":{\"a\":{\"required\":[\"b\"]}}}", "{\"c\":1}", 1 },
		{ "{\"contains\":{},\"minContains\":2.0}", "[1]", 0 },
	};
	struct k_err err;
	for (size_t i = 0; i < K_LEN(rows); i++)
		K_CHECK_MSG(check(rows[i].schema, rows[i].value, &err) == rows[i].fits, "%s of %s", rows[i].schema, rows[i].value);
	K_CHECK(check("{\"properties\":{\"a\":{\"unevaluatedProperties\":false}}}", "{\"a\":{\"b\":1}}", &err) == 0 && strstr(err.msg, "a.b: nothing is allowed here"));
}

K_TEST(validate_refuses_schemas)
{
	struct k_err err;
	K_CHECK(check("{\"$ref\":\"#/$defs/none\"}", "1", &err) == K_EFORMAT);
	K_CHECK(check("{\"$ref\":\"other.json\"}", "1", &err) == K_EFORMAT);
	K_CHECK(check("{\"$ref\":\"#\"}", "1", &err) == K_EFORMAT);
	K_CHECK(check("{\"pattern\":\"(\"}", "\"a\"", &err) == K_EFORMAT);
	K_CHECK(check("{\"items\":3}", "[1]", &err) == K_EFORMAT);
	K_CHECK(check("false", "1", &err) == 0);
	K_CHECK(check("true", "1", &err) == 1);
}
