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
