/* chat_past_test.c: a prompt that goes on with an earlier one has the ids that it has alone, whatever the earlier one was. */
#include "libcore/base.h"
#include "libcore/chat.h"
#include "libcore/test/vectors.h"

/* The first n messages of a row of testdata/chat/vectors.jsonl, with its tools and options. */
static struct k_json *request_of(const struct k_json *row, size_t n)
{
	struct k_json *rq = k_json_object(), *list = k_json_array(), *member;
	const struct k_json *tools = k_json_find(row, "tools");
	const char *key;

	for (size_t i = 0; i < n; i++)
		K_CHECK(!k_json_push(list, k_json_copy(k_json_at(k_json_find(row, "messages"), i))));
	K_CHECK(!k_json_set(rq, "messages", list));
	if (tools)
		K_CHECK(!k_json_set(rq, "tools", k_json_copy(tools)));
	for (void *it = NULL; k_json_next(k_json_find(row, "kwargs"), &it, &key, &member);)
		K_CHECK(!k_json_set(rq, key, k_json_copy(member)));
	return rq;
}

struct run { const struct k_tokenizer *t; const struct k_layout *l; struct k_chat_past past; int64_t n, shared; };

/* Renders it behind what run->past is, which is then it. A request that is refused is refused with the same sentence. */
static void go_on(struct run *r, const struct k_json *rq, const char *what)
{
	struct k_prompt alone, p;
	struct k_err err = { 0 }, err_alone = { 0 };
	struct k_chat_options o;

	k_prompt_init(&alone);
	k_prompt_init(&p);
	int rc = k_chat_render(r->l, r->t, rq, false, &alone, &err_alone);
	if (!rc && !k_chat_options(r->l, rq, &o, &err))
		r->shared += (int64_t)k_chat_past_same(&r->past, k_json_find(rq, "messages"), k_json_find(rq, "tools"), &o, 0);
	K_CHECK_MSG(k_chat_render_ids(r->l, r->t, rq, NULL, &r->past, &p, &err) == rc, "%s: %s%s", what, err.msg, err_alone.msg);
	K_CHECK_MSG(!rc || !strcmp(err.msg, err_alone.msg), "%s: '%s', wanted '%s'", what, err.msg, err_alone.msg);
	K_CHECK_MSG(rc || (p.ids.n == alone.ids.n && !memcmp(p.ids.v, alone.ids.v, p.ids.n * sizeof(*p.ids.v))), "%s: other ids", what);
	K_CHECK(!rc || !r->past.n);
	r->n++;
	k_prompt_fini(&alone);
	k_prompt_fini(&p);
}

/* Each beginning of a conversation, then the whole; then shorter ones; the past is also that of the row before. */
static void one_row(void *arg, const struct k_json *row)
{
	struct run *r = arg;
	size_t n = k_json_len(k_json_find(row, "messages"));
	char what[256];

	for (size_t i = 1; i <= 2 * n; i++) {
		size_t m = i <= n ? i : 2 * n - i + 1;
		struct k_json *rq = request_of(row, m);

		snprintf(what, sizeof what, "%s %s, %zu messages", r->l->name, k_json_string(k_json_find(row, "id")), m);
		go_on(r, rq, what);
		K_CHECK(!k_json_set(rq, "chat_template_kwargs", k_json_object()) &&
			!k_json_set(k_json_find(rq, "chat_template_kwargs"), "thinking", k_json_new_bool(i % 3 == 0)));
		if (i % 2)
			go_on(r, rq, what);
		k_json_free(rq);
	}
}

K_TEST(chat_past_of_all_vectors)
{
	struct k_tokenizer *t = test_tokenizer("kimi-synth"), *k3 = test_k3_tokenizer();

	for (int i = 0; k_layout_at(i); i++) {
		struct run r = { .t = k_layout_at(i)->xtml ? k3 : t, .l = k_layout_at(i) };

		/* The synthetic vocabulary has Kimi's specials alone. */
		if (k_tokenizer_special(t, "<|im_start|>") < 0 && (!strcmp(r.l->name, "chatml") || !strcmp(r.l->name, "smollm2")))
			continue;
		k_chat_past_init(&r.past);
		test_lines("chat/vectors.jsonl", one_row, &r);
		K_CHECK_MSG(r.shared > (r.l->tools ? r.n / 2 : 0), "%s: %lld messages of %lld prompts were taken over", r.l->name, (long long)r.shared, (long long)r.n);
		k_chat_past_fini(&r.past);
	}
	k_tokenizer_free(t);
	k_tokenizer_free(k3);
}

static void say(struct k_json *list, const char *text)
{
	struct k_json *v;
	struct k_err err = { 0 };

	K_CHECK_OK(k_json_parse(&v, text, strlen(text), K_JSON_LAST_WINS, "message", &err));
	K_CHECK(!k_json_push(list, v));
}

/* Thoughts of a loop of tools are shown until it ends with an answer: then the prompt is another from the first of them on. */
K_TEST(chat_past_when_thoughts_become_history)
{
	static const char *const turns[] = {
		"{\"role\":\"user\",\"content\":\"one\"}",
		"{\"role\":\"assistant\",\"reasoning_content\":\"why\",\"tool_calls\":[{\"id\":\"functions.f:0\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}",
		"{\"role\":\"tool\",\"tool_call_id\":\"functions.f:0\",\"content\":\"0\"}",
		"{\"role\":\"assistant\",\"reasoning_content\":\"so\",\"content\":\"done\"}",
		"{\"role\":\"user\",\"content\":\"two\"}",
	};
	struct k_tokenizer *t = test_tokenizer("kimi-synth");
	struct run r = { .t = t, .l = k_layout_find("k2_thinking") };
	struct k_json *rq = k_json_object();
	struct k_chat_past begin;
	struct k_err err = { 0 };

	k_chat_past_init(&r.past);
	k_chat_past_init(&begin);
	K_CHECK(!k_json_set(rq, "messages", k_json_array()));
	for (size_t i = 0; i < K_LEN(turns); i++) {
		struct k_json *copy = k_json_copy(rq);

		say(k_json_find(copy, "messages"), turns[i]);
		go_on(&r, copy, turns[i]);
		K_CHECK(r.past.n == i + 1 && r.past.history == (i < 3 ? 0 : 4));
		k_json_free(rq);
		rq = copy;
	}
	/* A part of it, as another conversation would begin. */
	K_CHECK_OK(k_chat_past_copy(&begin, &r.past, 2, &err));
	K_CHECK(begin.n == 2 && begin.ids.n == r.past.end[1]);
	k_chat_past_fini(&r.past);
	r.past = begin;
	go_on(&r, rq, "behind a part");
	k_chat_past_init(&begin);
	K_CHECK(!k_chat_past_copy(&begin, &r.past, 0, &err) && !begin.n);
	k_chat_past_fini(&r.past);
	k_json_free(rq);
	k_tokenizer_free(t);
}

/* Answers of tools stand in the order of their calls: one more may come to stand before those that were there. */
K_TEST(chat_past_when_answers_are_sorted)
{
	static const char *const turns[] = {
		"{\"role\":\"user\",\"content\":\"one\"}",
		"{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
			"{\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}},{\"id\":\"c\",\"function\":{\"name\":\"h\",\"arguments\":\"{}\"}}]}",
		"{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"3\"}",
		"{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"1\"}",
		"{\"role\":\"tool\",\"tool_call_id\":\"b\",\"content\":\"2\"}",
		"{\"role\":\"tool\",\"tool_call_id\":\"x\",\"name\":\"n\",\"content\":\"4\"}",
		"{\"role\":\"user\",\"content\":\"two\"}",
		"{\"role\":\"tool\",\"tool_call_id\":\"b\",\"content\":\"5\"}",
		"{\"role\":\"user\",\"content\":\"three\"}",
	};
	struct k_tokenizer *t = test_k3_tokenizer();
	struct run r = { .t = t, .l = k_layout_find("k3") };

	k_chat_past_init(&r.past);
	/* Longer and longer, then from the longest to each shorter one. */
	for (size_t i = 1; i <= 3 * K_LEN(turns); i++) {
		size_t n = i <= K_LEN(turns) ? i : i % 2 ? K_LEN(turns) : (3 * K_LEN(turns) - i) / 2 + 1;
		struct k_json *rq = k_json_object();

		K_CHECK(!k_json_set(rq, "messages", k_json_array()));
		for (size_t k = 0; k < n; k++)
			say(k_json_find(rq, "messages"), turns[k]);
		go_on(&r, rq, "answers");
		K_CHECK(r.past.n == n);
		k_json_free(rq);
	}
	k_chat_past_fini(&r.past);
	k_tokenizer_free(t);
}
