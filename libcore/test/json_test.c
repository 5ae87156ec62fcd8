/* json_test.c: what is taken for JSON, what getters say, and the digits that are written. */
#include "libcore/base.h"
#include "libcore/json.h"
#include "libcore/test.h"
#include <math.h>
#include <stdlib.h>

static int parse(const char *text, int flags, struct k_json **v, struct k_err *err)
{
	return k_json_parse(v, text, strlen(text), flags, "x.json", err);
}

static bool good(const char *text, int flags)
{
	struct k_err err = { 0 };
	struct k_json *v;
	int rc = parse(text, flags, &v, &err);

	k_json_free(v);
	if (rc && (rc != K_EFORMAT || !strstr(err.msg, "x.json")))
		k_test_fail(__FILE__, __LINE__, "%s: %d %s", text, rc, err.msg);
	return !rc;
}

K_TEST(json_refuses_what_is_not_json)
{
	K_CHECK(good("{\"a\": [1, 2.5, true, null, \"x\"]}", 0));
	K_CHECK(good(" 1 ", 0) && good("\"x\"", 0) && good("null", 0));
	K_CHECK(!good("", 0) && !good("{", 0) && !good("1 2", 0) && !good("[1,]", 0) && !good("{'a':1}", 0));
	K_CHECK(!good("NaN", 0) && !good("Infinity", 0) && !good("[-Infinity]", 0));
	K_CHECK(!good("1e999", 0) && !good("[-1e999]", 0));
	/* model_max_length is written so: an integer beyond 64 bits is a real number. */
	K_CHECK(good("1000000000000000019884624838656", 0));
	K_CHECK(!good("\xef\xbb\xbf{}", 0));
	K_CHECK(!good("\"\xff\"", 0) && !good("\"\xc0\x80\"", 0) && !good("\"\xed\xa0\x80\"", 0));
	K_CHECK(!good("\"\\u0000\"", 0) && !good("\"\\ud800\"", 0));
	K_CHECK(!good("{\"a\":1} x", 0) && !good("// c\n1", 0));
}

K_TEST(json_duplicate_members_are_found_decoded)
{
	struct k_err err = { 0 };
	struct k_json *v;

	K_CHECK(!good("{\"a\":1,\"a\":2}", K_JSON_STRICT));
	K_CHECK(!good("{\"a\":1,\"\\u0061\":2}", K_JSON_STRICT));
	K_CHECK(!good("[{\"b\":{\"a\":1,\"a\":2}}]", K_JSON_STRICT));
	K_CHECK_OK(parse("{\"a\":1,\"b\":3,\"\\u0061\":2}", K_JSON_LAST_WINS, &v, &err));
	K_CHECK(k_json_int(k_json_find(v, "a")) == 2 && k_json_len(v) == 2);
	k_json_free(v);
}

static bool nested(int depth, int flags)
{
	struct k_buf b;
	bool ok;

	k_buf_init(&b, 0);
	for (int i = 0; i < depth; i++)
		k_buf_puts(&b, i % 2 ? "{\"[[\\\"[\":" : "[");
	k_buf_putc(&b, '0');
	for (int i = depth - 1; i >= 0; i--)
		k_buf_puts(&b, i % 2 ? "}" : "]");
	ok = good(b.data, flags);
	k_buf_fini(&b);
	return ok;
}

K_TEST(json_depth_is_limited)
{
	K_CHECK(nested(64, K_JSON_STRICT) && !nested(65, K_JSON_STRICT));
	K_CHECK(nested(128, K_JSON_LAST_WINS) && !nested(129, K_JSON_LAST_WINS) &&
		!nested(100000, K_JSON_LAST_WINS));
}

K_TEST(json_getters_name_file_and_member)
{
	struct k_err err = { 0 };
	struct k_json *v, *a;
	const char *s;
	int64_t i;
	double d;
	bool b;

	K_CHECK_OK(parse(
		"{\"n\": 5, \"x\": 0.5, \"s\": \"t\", \"z\": null, \"a\": [1], \"b\": true}", 0, &v, &err));
	K_CHECK_OK(k_json_get_int(v, "n", 0, 5, &i, "config.json", &err));
	K_CHECK(i == 5);
	K_CHECK(k_json_get_int(v, "n", 0, 4, &i, "config.json", &err) == K_EFORMAT);
	K_CHECK_MSG(!strcmp(err.msg, "'config.json': n is 5, wanted an integer from 0 to 4"), "%s", err.msg);
	K_CHECK(k_json_get_int(v, "s", 0, 4, &i, "config.json: rope", &err) == K_EFORMAT);
	K_CHECK_MSG(!strcmp(err.msg, "'config.json': rope.s is a string, wanted an integer"), "%s", err.msg);
	K_CHECK(k_json_get_int(v, "z", 0, 4, &i, "config.json", &err) == K_ENOENT);
	K_CHECK(k_json_get_int(v, "x", 0, 4, &i, "config.json", &err) == K_EFORMAT);
	K_CHECK_OK(k_json_int_or(v, "none", 0, 4, 77, &i, "config.json", &err));
	K_CHECK(i == 77);
	K_CHECK_OK(k_json_get_num(v, "n", 0, 9, &d, "config.json", &err));
	K_CHECK(d == 5);
	K_CHECK_OK(k_json_bool_or(v, "b", false, &b, "config.json", &err));
	K_CHECK(b && k_json_bool_or(v, "n", false, &b, "config.json", &err) == K_EFORMAT);
	K_CHECK_OK(k_json_get_str(v, "s", &s, "config.json", &err));
	K_CHECK(!strcmp(s, "t"));
	K_CHECK_OK(k_json_get_array(v, "a", &a, "config.json", &err));
	K_CHECK(k_json_len(a) == 1 && k_json_int(k_json_at(a, 0)) == 1 && !k_json_at(a, 1));
	K_CHECK(k_json_get_object(v, "a", &a, "config.json", &err) == K_EFORMAT);
	K_CHECK(!k_json_find(NULL, "a") && !k_json_find(a, "x") && k_json_len(NULL) == 0);
	k_json_free(v);
}

static void check_double(double v, const char *want)
{
	struct k_buf b;

	k_buf_init(&b, 0);
	k_json_put_double(&b, v);
	K_CHECK_MSG(!strcmp(b.data, want), "%s, wanted %s", b.data, want);
	k_buf_fini(&b);
}

/* repr() of CPython 3. */
K_TEST(json_doubles_are_written_as_python_writes_them)
{
	check_double(0.0, "0.0");
	check_double(-0.0, "-0.0");
	check_double(1.0, "1.0");
	check_double(-2.5, "-2.5");
	check_double(0.1, "0.1");
	check_double(0.1 + 0.2, "0.30000000000000004");
	check_double(1.0 / 3, "0.3333333333333333");
	check_double(100.0, "100.0");
	check_double(123456.789, "123456.789");
	check_double(0.0001, "0.0001");
	check_double(0.00012345, "0.00012345");
	check_double(0.00001, "1e-05");
	check_double(1.5e-7, "1.5e-07");
	check_double(1e15, "1000000000000000.0");
	check_double(1e16, "1e+16");
	check_double(9007199254740993e0, "9007199254740992.0");
	check_double(1e22, "1e+22");
	check_double(1.7976931348623157e308, "1.7976931348623157e+308");
	check_double(2.2250738585072014e-308, "2.2250738585072014e-308");
	check_double(5e-324, "5e-324");
	check_double(ldexp(1, -44), "5.684341886080802e-14");
	check_double(ldexp(1, 89), "6.189700196426902e+26");
	check_double(NAN, "null");
	check_double(INFINITY, "null");
}

K_TEST(json_doubles_read_back)
{
	uint64_t x = 88172645463325252u;
	struct k_buf b;

	k_buf_init(&b, 0);
	for (int i = 0; i < 20000; i++) {
		double v;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(&v, &x, 8);
		if (!isfinite(v))
			continue;
		k_buf_reset(&b);
		k_json_put_double(&b, v);
		K_CHECK_MSG(strtod(b.data, NULL) == v, "%a %s", v, b.data);
	}
	k_buf_fini(&b);
}

static void check_dump(const char *text, int flags, const char *want)
{
	struct k_err err = { 0 };
	struct k_json *v;
	struct k_buf b;

	K_CHECK_OK(parse(text, 0, &v, &err));
	k_buf_init(&b, 0);
	k_json_dump(&b, v, flags);
	K_CHECK_MSG(!strcmp(b.data, want), "%s, wanted %s", b.data, want);
	k_buf_fini(&b);
	k_json_free(v);
}

/* json.dumps(ensure_ascii=False) of CPython 3. */
K_TEST(json_text_is_pythons)
{
	const char *text = "{\"b\":[1,2.50,{}],\"a\":{\"z\":null,\"y\":[]},\"\\u00e9\":\"\\\"\\\\\\/"
			   "\\b\\f\\n\\r\\t\\u0001\x7f\"}";

	check_dump(text, 0,
		"{\"b\": [1, 2.5, {}], \"a\": {\"z\": null, \"y\": []}, \"\xc3\xa9\": "
		"\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\"}");
	check_dump("{\"b\":1,\"a\":{\"z\":null,\"y\":true}}", K_JSON_SORT | K_JSON_COMPACT,
		"{\"a\":{\"y\":true,\"z\":null},\"b\":1}");
	check_dump("{\"b\":[1,2],\"a\":{}}", K_JSON_INDENT,
		"{\n  \"b\": [\n    1,\n    2\n  ],\n  \"a\": {}\n}");
}

K_TEST(utf8_is_strict)
{
	K_CHECK(k_utf8_ok("a\xc3\xa9\xe6\x9c\x88\xf0\x9f\x8c\x99", 10));
	K_CHECK(!k_utf8_ok("\xc0\xaf", 2) && !k_utf8_ok("\xe0\x80\xaf", 3) &&
		!k_utf8_ok("\xf0\x80\x80\xaf", 4));
	K_CHECK(!k_utf8_ok("\xed\xa0\x80", 3) && !k_utf8_ok("\xf4\x90\x80\x80", 4) && !k_utf8_ok("\x80", 1));
	K_CHECK(!k_utf8_ok("\xe6\x9c", 2) && k_utf8_ok("", 0) && k_utf8_ok("\xf4\x8f\xbf\xbf", 4));
}

K_TEST(json_mends_invalid_strings)
{
	struct k_json *v = k_json_new_string("a\xe6\x9cz\xff\xf0\x9f\x8c", 8);

	K_CHECK(!strcmp(k_json_string(v), "a\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd"));
	k_json_free(v);
}

K_TEST(json_building_takes_values)
{
	struct k_json *o = k_json_object(), *a = k_json_array(), *copy;
	struct k_buf b;

	K_CHECK(!k_json_push(a, k_json_new_int(-7)) && !k_json_push(a, k_json_new_number(NAN)));
	K_CHECK(k_json_push(a, NULL) < 0);
	K_CHECK(!k_json_set(o, "a", a) && !k_json_set(o, "t", k_json_new_bool(true)));
	copy = k_json_copy(o);
	K_CHECK(k_json_equal(o, copy));
	K_CHECK(!k_json_push(a, k_json_new_null()) && !k_json_equal(o, copy));
	k_buf_init(&b, 0);
	k_json_dump(&b, copy, 0);
	K_CHECK(!strcmp(b.data, "{\"a\": [-7, null], \"t\": true}"));
	k_buf_fini(&b);
	k_json_free(copy);
	k_json_free(o);
}
