/* settings.c: see settings.h. One row a number; what is refused stands in a table as well. */
#include "libcore/base.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include "evals/settings.h"
#include "libcore/chat.h"

enum { STOP_BYTES = 1024 };

static bool is_number(const struct k_json *v) { return k_json_kind(v) == K_JSON_INT || k_json_kind(v) == K_JSON_REAL; }

static int wrong(const struct k_json *v, const char *key, const char *wanted, struct k_err *err)
{
	return k_err_set(err, K_EFORMAT, "%s is %s, wanted %s", key, k_json_kind_name(v), wanted);
}

/* --- numbers ------------------------------------------------------------------------------------------------------------------------ */

static int read_whole(const struct k_json *request, const char *key, int64_t lo, int64_t hi, int64_t *out, struct k_err *err)
{
	const struct k_json *v = k_json_given(request, key);
	int64_t x;
	if (!v)
		return 0;
	if (!k_json_whole(v, &x))
		return is_number(v) ? k_err_set(err, K_EFORMAT, "%s is %.9g, wanted an integer", key, k_json_number(v)) : wrong(v, key, "an integer", err);
	if (x < lo || x > hi)
		return k_err_set(err, K_EFORMAT, "%s is %lld, wanted %lld to %lld", key, (long long)x, (long long)lo, (long long)hi);
	*out = x;
	return 0;
}

static const struct number { const char *name; size_t offset; } numbers[] = {
	{ "temperature", offsetof(struct k_sampler, temperature) },
	{ "top_p", offsetof(struct k_sampler, top_p) },
	{ "min_p", offsetof(struct k_sampler, min_p) },
	{ "presence_penalty", offsetof(struct k_sampler, presence) },
	{ "frequency_penalty", offsetof(struct k_sampler, frequency) },
	{ "repeat_penalty", offsetof(struct k_sampler, repetition) },
	{ "repetition_penalty", offsetof(struct k_sampler, repetition) },
};

static int read_numbers(struct k_sampler *s, const struct k_json *request, struct k_err *err)
{
	for (const struct number *n = numbers; n < numbers + K_LEN(numbers); n++) {
		const struct k_sample_range *range = k_sample_range(n->name);
		const struct k_json *v = k_json_given(request, n->name);
		double x = k_json_number(v);
		if (!v)
			continue;
		if (!is_number(v))
			return wrong(v, n->name, "a number", err);
		if (!k_sample_allows(range, x))
			return k_err_set(err, K_EFORMAT, "%s is %.9g, wanted %s %g to %g", n->name, x, range->above ? "more than" : "from", range->lo, range->hi);
		float f = (float)x;
		memcpy((char *)s + n->offset, &f, sizeof(f));
	}
	return 0;
}

static int read_sampler(struct k_sampler *s, const struct k_json *request, int64_t seed, struct k_err *err)
{
	int64_t top_k = 0;
	k_sampler_init(s);
	s->temperature = 0;
	int r = read_numbers(s, request, err);
	if (r == 0)
		r = read_whole(request, "top_k", -1, INT32_MAX, &top_k, err);
	if (r == 0)
		r = read_whole(request, "seed", INT64_MIN, INT64_MAX, &seed, err);
	s->top_k = (int)top_k;
	s->seed = (uint64_t)seed;
	return r;
}

/* --- stop strings --------------------------------------------------------------------------------------------------------------------- */

static int add_stop(struct k_settings *s, const struct k_json *v, const char *where, struct k_err *err)
{
	const char *stop = k_json_string(v);
	if (k_json_kind(v) == K_JSON_NULL)
		return 0;
	if (!stop)
		return wrong(v, where, "a string", err);
	if (strlen(stop) < k_json_len(v))
		return k_err_set(err, K_EFORMAT, "%s holds the character U+0000", where);
	if (k_json_len(v) > STOP_BYTES)
		return k_err_set(err, K_EFORMAT, "%s has %zu bytes, at most %d are allowed", where, k_json_len(v), STOP_BYTES);
	if (*stop)
		s->stops[s->n_stops++] = stop;
	return 0;
}

static int read_stops(struct k_settings *s, const struct k_json *request, struct k_err *err)
{
	const struct k_json *v = k_json_given(request, "stop");
	char where[32];
	int r = 0;
	s->n_stops = 0;
	if (k_json_kind(v) != K_JSON_ARRAY)
		return add_stop(s, v, "stop", err);
	if (k_json_len(v) > K_SETTINGS_STOPS)
		return k_err_set(err, K_EFORMAT, "stop has %zu strings, at most %d are allowed", k_json_len(v), K_SETTINGS_STOPS);
	for (size_t i = 0; i < k_json_len(v) && r == 0; i++) {
		snprintf(where, sizeof(where), "stop[%zu]", i);
		r = add_stop(s, k_json_at(v, i), where, err);
	}
	return r;
}

/* --- what only a server can do ---------------------------------------------------------------------------------------------------------- */

static int refuse(const char *key, const char *why, struct k_err *err) { return k_err_set(err, K_EUNSUP, "%s: only a server (-u) can be %s", key, why); }

static int check_format(const struct k_json *request, struct k_err *err)
{
	const struct k_json *v = k_json_given(request, "response_format"), *type = k_json_given(v, "type");
	if (!v)
		return 0;
	if (!k_json_string(type))
		return wrong(type, "response_format.type", "a string", err);
	if (!strcmp(k_json_string(type), "text"))
		return 0;
	if (strcmp(k_json_string(type), "json_object") && strcmp(k_json_string(type), "json_schema"))
		return k_err_set(err, K_EFORMAT, "response_format.type is '%.100s', wanted text, json_object or json_schema", k_json_string(type));
	return refuse("response_format", "held to one", err);
}

static int check_tools(const struct k_json *request, struct k_err *err)
{
	const struct k_json *v = k_json_given(request, "tool_choice");
	const char *word = k_json_string(v);
	if (!v || (word && !strcmp(word, "auto")))
		return 0;
	return k_err_set(err, K_EUNSUP, "tool_choice '%.100s': only a server (-u) can be made to choose", word ? word : "of one function");
}

/* Members that a server honours and nobody does here, with the number that asks for nothing. */
static int check_others(const struct k_json *request, struct k_err *err)
{
	static const struct { const char *name; double neutral; } rows[] = {
		{ "n", 1 }, { "min_tokens", 0 }, { "ignore_eos", NAN }, { "logit_bias", NAN }, { "stop_token_ids", NAN }, { "guided_json", NAN },
		{ "guided_choice", NAN }, { "json_schema", NAN }, { "structured_outputs", NAN }, { "thinking_budget_tokens", -1 }, { "thinking_token_budget", -1 },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		const struct k_json *v = k_json_given(request, rows[i].name);
		bool empty = !v || (k_json_kind(v) == K_JSON_BOOL ? !k_json_bool(v) : is_number(v) ? k_json_number(v) == rows[i].neutral : !k_json_len(v));
		if (!empty)
			return refuse(rows[i].name, "asked for it", err);
	}
	return 0;
}

/* --- thoughts --------------------------------------------------------------------------------------------------------------------------- */

static int check_effort(const struct k_json *v, const char *where, struct k_err *err)
{
	return !v || k_chat_knows_effort(v) ? 0 : k_err_set(err, K_EFORMAT, "%s is not one of " K_CHAT_EFFORTS, where);
}

bool k_settings_thoughtless(const struct k_json *request)
{
	const struct k_json *thinking = k_json_given(request, "thinking"), *kw = k_json_given(request, "chat_template_kwargs"), *own = k_json_given(thinking, "effort");
	const char *word = k_json_string(own ? own : k_json_given(request, "reasoning_effort"));
	bool settled = own ? k_json_given(thinking, "type") != NULL : thinking || k_json_given(kw, "thinking") || k_json_given(kw, "enable_thinking");
	return word && !strcmp(word, "none") && !settled;
}

/* --- all of it -------------------------------------------------------------------------------------------------------------------------- */

static int check_chat(const struct k_json *request, struct k_err *err)
{
	const struct k_json *thinking = k_json_given(request, "thinking");
	int r = check_effort(k_json_given(request, "reasoning_effort"), "reasoning_effort", err);
	if (r == 0)
		r = check_effort(k_json_given(thinking, "effort"), "thinking.effort", err);
	if (r == 0 && k_json_given(thinking, "budget_tokens"))
		r = refuse("thinking.budget_tokens", "asked for it", err);
	return r == 0 ? check_tools(request, err) : r;
}

int k_settings_read(struct k_settings *s, const struct k_json *request, bool chat, int64_t seed, struct k_err *err)
{
	const struct k_json *stream = k_json_given(request, "stream");
	s->limit = 0;
	int r = read_whole(request, "max_tokens", 1, INT64_MAX, &s->limit, err);
	if (r == 0)
		r = read_whole(request, "max_completion_tokens", 1, INT64_MAX, &s->limit, err);
	if (r == 0)
		r = read_sampler(&s->sampler, request, seed, err);
	if (r == 0)
		r = read_stops(s, request, err);
	if (r == 0 && stream && k_json_kind(stream) != K_JSON_BOOL)
		r = wrong(stream, "stream", "true or false", err);
	if (r == 0)
		r = check_format(request, err);
	if (r == 0)
		r = check_others(request, err);
	return r == 0 && chat ? check_chat(request, err) : r;
}
