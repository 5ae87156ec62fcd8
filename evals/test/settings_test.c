#include "libcore/base.h"
#include "evals/settings.h"
#include "libcore/test.h"

static int settings(struct k_settings *s, const char *text, bool chat, struct k_json **o, struct k_err *err)
{
	K_CHECK(k_json_parse(o, text, strlen(text), K_JSON_LAST_WINS, "a test", err) == 0);
	return k_settings_read(s, *o, chat, 42, err);
}

K_TEST(settings_are_read)
{
	struct k_settings s;
	struct k_json *o;
	struct k_err err;
	K_CHECK(settings(&s, "{}", true, &o, &err) == 0);
	K_CHECK(!s.limit && !s.n_stops && s.sampler.temperature == 0 && s.sampler.top_p == 1 && s.sampler.min_p == 0 && s.sampler.seed == 42);
	k_json_free(o);
	K_CHECK(settings(&s, "{\"max_tokens\":16.0,\"max_completion_tokens\":7,\"min_p\":0.25,\"top_p\":null,\"temperature\":1,\"seed\":3,\"stop\":[\"\",null,\"a\"],"
		"\"presence_penalty\":-1,\"repetition_penalty\":1.5,\"response_format\":{\"type\":\"text\"},\"n\":1,\"logit_bias\":{}}", false, &o, &err) == 0);
	K_CHECK(s.limit == 7 && s.sampler.min_p == 0.25f && s.sampler.temperature == 1 && s.sampler.seed == 3 && s.n_stops == 1 && !strcmp(s.stops[0], "a"));
	K_CHECK(s.sampler.presence == -1 && s.sampler.repetition == 1.5f);
	k_json_free(o);
}

K_TEST(settings_are_refused)
{
	static const struct { const char *request, *says; int code; } rows[] = {
		{ "{\"min_p\":2}", "min_p is 2, wanted from 0 to 1", K_EFORMAT }, { "{\"top_p\":0}", "top_p is 0, wanted more than 0 to 1", K_EFORMAT },
		{ "{\"stop\":[\"a\",5]}", "stop[1] is an integer", K_EFORMAT }, { "{\"stream\":1}", "stream is an integer", K_EFORMAT },
		{ "{\"max_tokens\":1.5}", "max_tokens is 1.5, wanted an integer", K_EFORMAT }, { "{\"reasoning_effort\":\"zzz\"}", "reasoning_effort is not one of", K_EFORMAT },
		{ "{\"thinking\":{\"effort\":1}}", "thinking.effort is not one of", K_EFORMAT }, { "{\"response_format\":{\"type\":\"json_object\"}}", "response_format: only a server", K_EUNSUP },
		{ "{\"tool_choice\":\"required\"}", "tool_choice 'required': only a server", K_EUNSUP }, { "{\"n\":2}", "n: only a server", K_EUNSUP },
		{ "{\"ignore_eos\":true}", "ignore_eos: only a server", K_EUNSUP }, { "{\"thinking\":{\"budget_tokens\":5}}", "thinking.budget_tokens: only a server", K_EUNSUP },
	};
	struct k_settings s;
	struct k_json *o;
	struct k_err err;
	for (size_t i = 0; i < K_LEN(rows); i++) {
		K_CHECK_MSG(settings(&s, rows[i].request, true, &o, &err) == rows[i].code && strstr(err.msg, rows[i].says), "%s: %s", rows[i].request, err.msg);
		k_json_free(o);
	}
}

/* serving-api.md 1.1: the ends of each range, and what lies beyond them; the words of an effort. */
K_TEST(settings_have_bounds)
{
	static const struct { const char *request; bool good; } rows[] = {
		{ "{\"temperature\":2}", true }, { "{\"temperature\":2.1}", false }, { "{\"temperature\":-0.1}", false }, { "{\"top_p\":1}", true }, { "{\"top_p\":1.1}", false },
		{ "{\"min_p\":0}", true }, { "{\"min_p\":-0.1}", false }, { "{\"presence_penalty\":-2}", true }, { "{\"presence_penalty\":-2.1}", false },
		{ "{\"frequency_penalty\":2}", true }, { "{\"frequency_penalty\":2.1}", false }, { "{\"repetition_penalty\":0}", false }, { "{\"repeat_penalty\":0}", false },
		{ "{\"repeat_penalty\":1000000}", true }, { "{\"repetition_penalty\":1000001}", false },
		{ "{\"reasoning_effort\":\"none\"}", true }, { "{\"reasoning_effort\":\"minimal\"}", true }, { "{\"reasoning_effort\":\"low\"}", true },
		{ "{\"reasoning_effort\":\"medium\"}", true }, { "{\"reasoning_effort\":\"high\"}", true }, { "{\"reasoning_effort\":\"xhigh\"}", true },
		{ "{\"reasoning_effort\":\"max\"}", true }, { "{\"reasoning_effort\":\"\"}", false }, { "{\"reasoning_effort\":\"hig\"}", false },
		{ "{\"reasoning_effort\":\"none, minimal\"}", false }, { "{\"reasoning_effort\":\"high,\"}", false }, { "{\"reasoning_effort\":\"MAX\"}", false },
	};
	struct k_settings s;
	struct k_json *o;
	struct k_err err;
	for (size_t i = 0; i < K_LEN(rows); i++) {
		K_CHECK_MSG(settings(&s, rows[i].request, true, &o, &err) == (rows[i].good ? 0 : K_EFORMAT), "%s: %s", rows[i].request, err.msg);
		k_json_free(o);
	}
}

K_TEST(settings_without_thoughts)
{
	static const struct { const char *request; bool off; } rows[] = {
		{ "{\"reasoning_effort\":\"none\"}", true }, { "{\"reasoning_effort\":\"low\"}", false }, { "{\"reasoning_effort\":\"none\",\"thinking\":{\"type\":\"enabled\"}}", false },
		{ "{\"reasoning_effort\":\"none\",\"chat_template_kwargs\":{\"thinking\":true}}", false }, { "{\"thinking\":{\"effort\":\"none\"}}", true },
		{ "{\"thinking\":{\"effort\":\"none\",\"type\":\"enabled\"}}", false }, { "{\"reasoning_effort\":\"none\",\"thinking\":{\"effort\":\"low\"}}", false }, { "{}", false },
	};
	struct k_json *o;
	struct k_err err;
	for (size_t i = 0; i < K_LEN(rows); i++) {
		K_CHECK(k_json_parse(&o, rows[i].request, strlen(rows[i].request), K_JSON_LAST_WINS, "a test", &err) == 0);
		K_CHECK_MSG(k_settings_thoughtless(o) == rows[i].off, "%s", rows[i].request);
		k_json_free(o);
	}
}
