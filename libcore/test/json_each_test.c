/* json_each_test.c: members one at a time are those that the whole has, and nothing is taken that the whole parser refuses. */
#include "libcore/base.h"
#include "libcore/json.h"
#include "libcore/test.h"
#include <stdio.h>

static int put(void *arg, const char *in, const char *name, const struct k_json *v, struct k_err *err K_UNUSED)
{
	struct k_buf *b = arg;

	k_buf_printf(b, "%s|%s|", in ? in : "", name);
	k_json_dump(b, v, 0);
	k_buf_putc(b, ';');
	return 0;
}

static int each(const char *text, size_t len, const char *deep, struct k_buf *b, struct k_err *err)
{
	k_buf_init(b, 0);
	return k_json_each(text, len, deep, "x.json", put, b, err);
}

static void wants(const char *text, const char *deep, const char *members)
{
	struct k_err err = { 0 };
	struct k_buf b;

	K_CHECK_OK(each(text, strlen(text), deep, &b, &err));
	k_buf_putc(&b, 0);
	K_CHECK_MSG(strcmp(b.data, members) == 0, "%s: %s", text, b.data);
	k_buf_fini(&b);
}

K_TEST(json_each_gives_members_in_order)
{
	wants(" { } ", NULL, "");
	wants("{\"b\":1,\"a\" : [1, {\"x\": \"]}\\\"\"}] , \"\\u0063\\n\": -2.5e1}", NULL, "|b|1;|a|[1, {\"x\": \"]}\\\"\"}];|c\n|-25.0;");
	wants("{\"m\":{\"m\":1,\"n\":{}},\"n\":{\"m\":2}}", "m", "m|m|1;m|n|{};|n|{\"m\": 2};");
	wants("{\"m\":[\"x\"],\"\":\"\xc3\xa9\"}", "m", "|m|[\"x\"];||\"\xc3\xa9\";");
	wants("{\"big\":1000000000000000019884624838656}", NULL, "|big|1e+30;");
}

static void refused(const char *text, size_t len, const char *why)
{
	struct k_err err = { 0 };
	struct k_buf b;

	K_CHECK_MSG(each(text, len, "m", &b, &err) == K_EFORMAT && strstr(err.msg, "x.json"), "%.*s: %d %s", (int)len, text, err.code, err.msg);
	K_CHECK_MSG(strstr(err.msg, why), "%.*s: %s", (int)len, text, err.msg);
	k_buf_fini(&b);
}

K_TEST(json_each_refuses_what_the_parser_does)
{
	static const char *const texts[] = {
		"", "{\"a\":1,}", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\" 1}", "{a:1}", "{\"a\":1} x", "{\"a\":1 2}", "{\"a\":1]", "{\"a\":[1}}", "{\"a\":nul}", "{\"a\":\"\xff\"}", "{\"\xff\":1}",
		"{\"a\\u0000b\":1}", "{\"a\nb\":1}", "{\"a\\x\":1}", "\xef\xbb\xbf{}", "{\"a\":{\"x\":1,\"x\":2}}", "{\"m\":{},\"m\":{}}", "{\"m\":{\"a\":1},\"m\":2}", "{\"a\":\"",
		"{\"a\\", "{\"m\":{\"a\":1}", "{\"m\":{\"a\":1,}}", "{\"a\":1e999}", "{\"a\":]}", "{\"a\":}}",
	};
	static const char whole[] = "{\"m\": {\"a\": [1, \"]}\"], \"b\": {}}, \"c\": \"\\\"}\", \"d\": 1.5}";

	for (size_t i = 0; i < K_LEN(texts); i++)
		refused(texts[i], strlen(texts[i]), "");
	for (size_t n = 0; n < sizeof whole - 1; n++)
		refused(whole, n, "not valid JSON");
	refused("[1]", 3, "an array, wanted an object");
	refused("7", 1, "wanted an object");
}

static int stop(void *arg, const char *in K_UNUSED, const char *name, const struct k_json *v K_UNUSED, struct k_err *err)
{
	++*(int *)arg;
	return strcmp(name, "b") == 0 ? k_err_set(err, K_EUNSUP, "b is not liked") : 0;
}

K_TEST(json_each_ends_with_the_error_of_a_member)
{
	struct k_err err = { 0 };
	int n = 0;

	K_CHECK(k_json_each("{\"a\":1,\"b\":2,\"c\":", 17, NULL, "x.json", stop, &n, &err) == K_EUNSUP && n == 2 && strstr(err.msg, "not liked"));
}
