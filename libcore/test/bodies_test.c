/* bodies_test.c: a body that is parsed from its first new message on is the value that the whole text is, whatever the bodies before it were. */
#include "libcore/base.h"
#include "libcore/bodies.h"
#include "libcore/buf.h"
#include "libcore/test/vectors.h"
#include <pthread.h>

static struct k_recent *table(size_t bytes)
{
	struct k_recent *t;
	struct k_err err = { 0 };

	K_CHECK_OK(k_bodies_new(&t, bytes, &err));
	return t;
}

static struct k_json *parse(struct k_recent *t, const char *text)
{
	struct k_json *v, *whole;
	struct k_err err = { 0 };

	K_CHECK_OK(k_bodies_parse(t, &v, text, strlen(text), &err));
	K_CHECK_OK(k_bodies_parse(NULL, &whole, text, strlen(text), &err));
	K_CHECK_MSG(k_json_same(v, whole), "%.200s: another value", text);
	k_json_free(whole);
	return v;
}

/* The sentence is that of the whole text. */
static void is_wrong(struct k_recent *t, const char *text)
{
	struct k_json *v;
	struct k_err err = { 0 }, whole = { 0 };

	K_CHECK_MSG(k_bodies_parse(NULL, &v, text, strlen(text), &whole), "%.200s is right", text);
	K_CHECK_MSG(k_bodies_parse(t, &v, text, strlen(text), &err) == whole.code, "%.200s: another code", text);
	K_CHECK_MSG(!strcmp(err.msg, whole.msg), "'%s', wanted '%s'", err.msg, whole.msg);
}

/* Bodies are kept from 4 KB on: the first message is that long. */
enum { LONG = 5000 };
static const char *first(void)
{
	static char text[LONG + 64];

	if (!*text)
		snprintf(text, sizeof text, "{\"role\": \"user\", \"content\": \"%0*d\"}", LONG, 7);
	return text;
}

/* FORM with the first message for each %s. */
static char *body(const char *form)
{
	struct k_buf b;

	k_buf_init(&b, 0);
	for (const char *at; (at = strstr(form, "%s")); form = at + 2) {
		k_buf_put(&b, form, (size_t)(at - form));
		k_buf_puts(&b, first());
	}
	k_buf_puts(&b, form);
	return k_buf_take(&b, NULL);
}

static struct k_json *parse_form(struct k_recent *t, const char *form)
{
	char *text = body(form);
	struct k_json *v = parse(t, text);

	k_free(text);
	return v;
}

static const struct k_json *message(const struct k_json *v, size_t i) { return k_json_at(k_json_find(v, "messages"), i); }

#define BASE "{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}], \"stream\": true}"

K_TEST(bodies_share_the_messages_of_a_conversation)
{
	struct k_recent *t = table(1 << 20);
	struct k_json *v = parse_form(t, BASE);

	for (int turn = 0; turn < 8; turn++) {
		struct k_buf b;
		char *form;

		k_buf_init(&b, 0);
		k_buf_puts(&b, "{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}");
		for (int i = 0; i <= turn; i++)
			k_buf_printf(&b, " ,\n{\"turn\": %d}", i);
		k_buf_printf(&b, "], \"stream\": %s, \"tools\": [{}]}", turn % 2 ? "true" : "false");
		form = k_buf_take(&b, NULL);
		struct k_json *next = parse_form(t, form);
		K_CHECK(k_json_len(k_json_find(next, "messages")) == (size_t)turn + 3);
		for (size_t i = 0; i < (size_t)turn + 2; i++)
			K_CHECK_MSG(message(v, i) == message(next, i), "turn %d: message %zu was parsed again", turn, i);
		k_json_free(v);
		k_free(form);
		v = next;
	}
	k_json_free(v);
	k_recent_free(t);
}

K_TEST(bodies_that_branch)
{
	struct k_recent *t = table(1 << 20);
	struct k_json *a = parse_form(t, "{\"messages\": [%s, {\"a\": 1}, {\"b\": 1}]}"), *b = parse_form(t, "{\"messages\": [%s, {\"a\": 1}, {\"b\": 2}]}");
	struct k_json *c = parse_form(t, "{\"messages\": [%s, {\"a\": 1}, {\"b\": 1}, {\"c\": 1}]}"), *d = parse_form(t, "{\"messages\": [%s]}");

	K_CHECK(message(a, 0) == message(b, 0) && message(a, 1) == message(b, 1) && message(a, 2) != message(b, 2));
	K_CHECK(message(c, 2) == message(a, 2) && message(d, 0) == message(a, 0));
	/* The same once more, and one that is the beginning of another. */
	struct k_json *again = parse_form(t, "{\"messages\": [%s, {\"a\": 1}, {\"b\": 2}]}");
	K_CHECK(message(again, 2) == message(b, 2));
	k_json_free(a);
	k_json_free(b);
	k_json_free(c);
	k_json_free(d);
	k_json_free(again);
	k_recent_free(t);
}

/* What must not be taken for the text before it with something behind it. */
K_TEST(bodies_with_other_forms)
{
	static const char *const right[] = {
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}], \"messages\": [{\"b\": 1}]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}], \"mess\\u0061ges\": [{\"b\": 1}]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}], \"messages\": 5}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}, 5, \"x\", [{}], null]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}\t]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]},{}]}",
		"{\"model\": \"m\", \"other\": {\"messages\": [%s]}, \"messages\": []}",
		"{\"messages\": [%s], \"model\": \"messages\"}", "{\"messages\": {\"messages\": [%s]}}", "[%s]", "%s", "{\"prompt\": [%s]}",
		"{\"model\": \"m\", \"messages\": [[%s]]}", "{\"messages\":[%s,%s,%s]}", " {\"messages\" : [ %s ] , \"x\":-1.5e3,\"y\":\"\",\"z\":[]} ",
	};
	static const char *const wrong[] = {
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]},]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}, , {}]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]} {}]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]},\n\n{\"a\": 01}]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}]]}",
		"{\"model\": \"m\", \"messages\": [%s, {\"a\": [1, {\"}\": \"\\\"]\"}]}]} {}",
	};
	struct k_recent *t = table(1 << 20);

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < K_LEN(right); i++) {
			k_json_free(parse_form(t, BASE));
			k_json_free(parse_form(t, right[i]));
		}
		for (size_t i = 0; i < K_LEN(wrong); i++) {
			char *text = body(wrong[i]);

			k_json_free(parse_form(t, BASE));
			is_wrong(t, text);
			k_free(text);
		}
	}
	k_recent_free(t);
}

K_TEST(bodies_edited_by_one_stay_for_others)
{
	struct k_recent *t = table(1 << 20);
	struct k_json *a = parse_form(t, BASE), *b = parse_form(t, BASE);

	K_CHECK(message(a, 1) == message(b, 1));
	K_CHECK(!k_json_set(k_json_own(k_json_find(b, "messages"), 1), "a", k_json_new_int(2)));
	K_CHECK(k_json_kind(k_json_find(message(a, 1), "a")) == K_JSON_ARRAY && k_json_int(k_json_find(message(b, 1), "a")) == 2);
	/* Who is alone with a value has no need of a copy. */
	const struct k_json *own = message(b, 1);
	K_CHECK(k_json_own(k_json_find(b, "messages"), 1) == own && !k_json_own(k_json_find(b, "messages"), 9));
	k_json_free(a);
	k_json_free(b);
	k_recent_free(t);
}

/* Bodies that ask for it are not kept, and too many or too large ones go. */
K_TEST(bodies_that_are_not_kept)
{
	static const char *const alone[] = {
		"{\"cache_salt\": \"s\", \"messages\": [%s]}", "{\"messages\": [%s], \"cache_prompt\": false}",
	};
	struct k_recent *t = table(1 << 20), *tiny = table(4 * 11 * LONG);

	for (size_t i = 0; i < K_LEN(alone); i++) {
		struct k_json *a = parse_form(t, alone[i]), *b = parse_form(t, alone[i]);

		K_CHECK(message(a, 0) != message(b, 0));
		k_json_free(a);
		k_json_free(b);
	}
	struct k_json *large[2] = { parse_form(tiny, "{\"messages\":[%s,%s]}"), parse_form(tiny, "{\"messages\":[%s,%s]}") };
	K_CHECK(message(large[0], 0) != message(large[1], 0));
	k_json_free(large[0]);
	k_json_free(large[1]);
	for (int i = 0; i < 300; i++) {
		char form[64];

		snprintf(form, sizeof form, "{\"n\": %d, \"messages\": [%%s]}", i % 100);
		k_json_free(parse_form(t, form));
		k_json_free(parse_form(tiny, form));
	}
	k_recent_free(t);
	k_recent_free(tiny);
}

static void *converse(void *arg)
{
	for (int i = 0; i < 50; i++) {
		char form[128];

		snprintf(form, sizeof form, "{\"messages\": [%%s, {\"a\": %d}, {\"b\": %d}]}", i % 3, i);
		struct k_json *v = parse_form(arg, form), *list = k_json_find(v, "messages");
		K_CHECK(!k_json_set(k_json_own(list, 1), "a", k_json_new_int(-1)));
		k_json_free(v);
	}
	return NULL;
}

K_TEST(bodies_of_many_threads)
{
	struct k_recent *t = table(1 << 18);
	pthread_t threads[4];

	first();
	for (size_t i = 0; i < K_LEN(threads); i++)
		K_CHECK(!pthread_create(&threads[i], NULL, converse, t));
	for (size_t i = 0; i < K_LEN(threads); i++)
		K_CHECK(!pthread_join(threads[i], NULL));
	k_recent_free(t);
}
