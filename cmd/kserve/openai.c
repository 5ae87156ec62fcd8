/* openai.c: fields that chat and text completions share: ranges, stop strings, biases, and what is refused.
 *
 * null is absent. Unknown fields are ignored, since clients and gateways send many; a known field that asks for something that is
 * not done here is refused by name, so that nobody believes he got it. */
#include "libcore/base.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "libcore/bodies.h"
#include "libcore/hash.h"
#include "cmd/kserve/constraint.h"
#include "cmd/kserve/dialect.h"
#include "cmd/kserve/strict.h"

#define MAX_STOPS 64
#define MAX_STOP_BYTES 1024
#define MAX_BIAS 4096

static const char *type_of(int status)
{
	static const struct { int status; const char *type; } types[] = {
		{ 401, "authentication_error" }, { 403, "permission_error" }, { 429, "rate_limit_error" },
	};
	for (size_t i = 0; i < K_LEN(types); i++) {
		if (types[i].status == status)
			return types[i].type;
	}
	return status >= 500 ? "server_error" : "invalid_request_error";
}

int k_fault_set(struct k_fault *f, int status, const char *code, const char *param, const char *fmt, ...)
{
	memset(f, 0, sizeof(*f));
	f->status = status;
	f->type = type_of(status);
	f->code = code;
	snprintf(f->param, sizeof(f->param), "%s", param ? param : "");
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->msg, sizeof(f->msg), fmt, ap);
	va_end(ap);
	return -1;
}

int k_no_memory(struct k_fault *f) { return k_fault_set(f, 503, "overloaded", NULL, "out of memory"); }

int k_fault_err(struct k_fault *f, const struct k_err *err)
{
	int exit = k_err_exit(err->code);
	if (err->code == K_ENOMEM)
		return k_no_memory(f);
	if (exit < 2 || exit > 4)
		return k_fault_set(f, 500, "internal_error", NULL, "%s", err->msg);
	/* Sentences about requests begin with the path of the field. */
	char param[128] = "";
	static const char *const roots[] = { "messages", "tools", "thinking", "chat_template_kwargs", "prompt", "tool_choice",
		"add_generation_prompt", "continue_final_message", "reasoning_effort", "response_format" };
	size_t n = strspn(err->msg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.[]");
	for (size_t i = 0; i < K_LEN(roots); i++) {
		if (!strncmp(err->msg, roots[i], strlen(roots[i])))
			snprintf(param, sizeof(param), "%.*s", (int)K_MIN(n, sizeof(param) - 1), err->msg);
	}
	return k_fault_set(f, 400, err->code == K_EUNSUP ? "unsupported_content" : NULL, param, "%s", err->msg);
}

void k_fault_json(struct k_buf *out, const struct k_fault *f)
{
	k_buf_puts(out, "{\"error\":{\"message\":");
	struct k_buf clean;             /* a sentence that was cut may end within a character */
	k_buf_init(&clean, 0);
	k_utf8_mend(&clean, f->msg, strlen(f->msg));
	k_json_quote(out, clean.data ? clean.data : "", clean.len);
	k_buf_fini(&clean);
	k_buf_printf(out, ",\"type\":\"%s\",\"param\":", f->type);
	if (*f->param && k_utf8_ok(f->param, strlen(f->param)))
		k_json_quote(out, f->param, strlen(f->param));
	else
		k_buf_puts(out, "null");
	if (f->code)
		k_buf_printf(out, ",\"code\":\"%s\"", f->code);
	else
		k_buf_puts(out, ",\"code\":null");
	if (f->n_ctx)
		k_buf_printf(out, ",\"n_prompt_tokens\":%" PRId64 ",\"n_ctx\":%" PRId64, f->n_prompt, f->n_ctx);
	k_buf_puts(out, "}}");
}

int k_openai_body(struct k_json **out, const struct k_server *s, const char *text, size_t len, struct k_fault *f)
{
	struct k_err err = { 0 };
	*out = NULL;
	if (k_bodies_parse(s->bodies, out, text, len, &err)) {
		if (err.code == K_ENOMEM)
			return k_fault_err(f, &err);
		return k_fault_set(f, 400, "invalid_json", NULL, "%s", err.msg);
	}
	if (k_json_kind(*out) == K_JSON_OBJECT)
		return 0;
	k_fault_set(f, 400, "invalid_json", NULL, "the request is %s, wanted an object", k_json_kind_name(*out));
	k_json_free(*out);
	*out = NULL;
	return -1;
}

/* --- members ------------------------------------------------------------------------------------------------------------ */

const char *k_word(const struct k_json *v)
{
	const char *s = k_json_string(v);
	return s && strlen(s) == k_json_len(v) ? s : NULL;
}

static int wrong(struct k_fault *f, const char *where, const char *key, const struct k_json *v, const char *wanted)
{
	char param[128];
	snprintf(param, sizeof(param), "%s%s", where, key);
	return k_fault_set(f, 400, NULL, param, "%s is %s, wanted %s", param, k_json_kind_name(v), wanted);
}

int k_field_bool(const struct k_json *obj, const char *where, const char *key, bool *out, struct k_fault *f)
{
	const struct k_json *v = k_json_given(obj, key);
	if (!v)
		return 0;
	if (k_json_kind(v) != K_JSON_BOOL)
		return wrong(f, where, key, v, "true or false");
	*out = k_json_bool(v);
	return 0;
}

int k_field_int(const struct k_json *obj, const char *where, const char *key, int64_t lo, int64_t hi, int64_t *out,
	struct k_fault *f)
{
	const struct k_json *v = k_json_given(obj, key);
	int64_t x;
	if (!v)
		return 0;
	if (!k_json_whole(v, &x))
		return wrong(f, where, key, v, k_json_kind(v) == K_JSON_REAL ? "a whole number of 64 bits" : "an integer");
	if (x < lo || x > hi) {
		char param[128];
		snprintf(param, sizeof(param), "%s%s", where, key);
		if (hi == INT64_MAX)
			return k_fault_set(f, 400, NULL, param, "%s is %" PRId64 ", wanted at least %" PRId64, param, x, lo);
		return k_fault_set(f, 400, NULL, param, "%s is %" PRId64 ", wanted %" PRId64 " to %" PRId64, param, x, lo, hi);
	}
	*out = x;
	return 0;
}

struct number { const char *name; size_t offset; };
static const struct number numbers[] = {
	{ "temperature", offsetof(struct k_request, temperature) },
	{ "top_p", offsetof(struct k_request, top_p) },
	{ "min_p", offsetof(struct k_request, min_p) },
	{ "presence_penalty", offsetof(struct k_request, presence) },
	{ "frequency_penalty", offsetof(struct k_request, frequency) },
	{ "repeat_penalty", offsetof(struct k_request, repetition) },
	{ "repetition_penalty", offsetof(struct k_request, repetition) },
};

static int read_numbers(struct k_request *rq, struct k_fault *f)
{
	for (const struct number *n = numbers; n < numbers + K_LEN(numbers); n++) {
		const struct k_sample_range *range = k_sample_range(n->name);
		const struct k_json *v = k_json_given(rq->body, n->name);
		if (!v)
			continue;
		if (k_json_kind(v) != K_JSON_INT && k_json_kind(v) != K_JSON_REAL)
			return wrong(f, "", n->name, v, "a number");
		double x = k_json_number(v);
		if (!k_sample_allows(range, x))
			return k_fault_set(f, 400, NULL, n->name, "%s is %g, wanted %s %g to %g", n->name, x,
				range->above ? "more than" : "from", range->lo, range->hi);
		memcpy((char *)rq + n->offset, &x, sizeof(x));
	}
	return 0;
}

struct whole { const char *name; int64_t lo, hi; size_t offset; };
static const struct whole wholes[] = {
	{ "n", 1, K_MAX_CHOICES, offsetof(struct k_request, n) },
	{ "top_k", -1, INT32_MAX, offsetof(struct k_request, top_k) },
	{ "min_tokens", 0, INT32_MAX, offsetof(struct k_request, min_tokens) },
	{ "seed", INT64_MIN, INT64_MAX, offsetof(struct k_request, seed) },
	{ "thinking_budget_tokens", -1, INT32_MAX, offsetof(struct k_request, think_budget) },
	{ "thinking_token_budget", -1, INT32_MAX, offsetof(struct k_request, think_budget) },
};
struct flag { const char *name; size_t offset; };
static const struct flag flags[] = {
	{ "stream", offsetof(struct k_request, stream) },
	{ "ignore_eos", offsetof(struct k_request, ignore_eos) },
	{ "include_stop_str_in_output", offsetof(struct k_request, include_stop) },
	{ "return_token_ids", offsetof(struct k_request, token_ids) },
	{ "return_tokens_as_token_ids", offsetof(struct k_request, tokens_as_ids) },
	{ "include_reasoning", offsetof(struct k_request, include_reasoning) },
	{ "parallel_tool_calls", offsetof(struct k_request, parallel_calls) },
	{ "timings_per_token", offsetof(struct k_request, timings) },
	{ "return_progress", offsetof(struct k_request, progress) },
	{ "cache_prompt", offsetof(struct k_request, cache_prompt) },
};

static int read_wholes(struct k_request *rq, struct k_fault *f)
{
	for (const struct whole *w = wholes; w < wholes + K_LEN(wholes); w++) {
		if (k_field_int(rq->body, "", w->name, w->lo, w->hi, (int64_t *)((char *)rq + w->offset), f))
			return -1;
	}
	for (const struct flag *b = flags; b < flags + K_LEN(flags); b++) {
		if (k_field_bool(rq->body, "", b->name, (bool *)((char *)rq + b->offset), f))
			return -1;
	}
	bool skip = true;
	if (k_field_bool(rq->body, "", "skip_special_tokens", &skip, f))
		return -1;
	rq->show_special = !skip;
	return 0;
}

/* --- what is refused ------------------------------------------------------------------------------------------------------ */

/* Fields that ask for something that is not done, with the number that asks for nothing. */
static const struct { const char *name; double neutral; } refused[] = {
	{ "typical_p", 1 }, { "mirostat", 0 }, { "dynatemp_range", 0 }, { "xtc_probability", 0 }, { "dry_multiplier", 0 },
	{ "prompt_logprobs", 0 }, { "allowed_token_ids", NAN }, { "bad_words", NAN }, { "functions", NAN },
	{ "function_call", NAN }, { "guided_regex", NAN },
	{ "guided_grammar", NAN }, { "grammar", NAN },
	{ "chat_template", NAN }, { "truncate_prompt_tokens", NAN }, { "truncation_side", NAN }, { "audio", NAN },
	{ "web_search_options", NAN }, { "moderation", NAN }, { "suffix", NAN },
};

static bool asks_for_nothing(const struct k_json *v, double neutral)
{
	enum k_json_kind kind = k_json_kind(v);
	if (kind == K_JSON_INT || kind == K_JSON_REAL)
		return k_json_number(v) == neutral;
	if (kind == K_JSON_OBJECT)
		return false;           /* its defaults are asked for */
	return kind == K_JSON_BOOL ? !k_json_bool(v) : k_json_len(v) == 0;
}

static int refuse(const struct k_request *rq, struct k_fault *f)
{
	for (size_t i = 0; i < K_LEN(refused); i++) {
		const struct k_json *v = k_json_given(rq->body, refused[i].name);
		if (v && !asks_for_nothing(v, refused[i].neutral))
			return k_fault_set(f, 400, "unsupported_parameter", refused[i].name, "%s is not supported by this server",
				refused[i].name);
	}
	const struct k_json *v = k_json_given(rq->body, "best_of");
	int64_t best;
	if (v && (!k_json_whole(v, &best) || best != rq->n))
		return k_fault_set(f, 400, "unsupported_parameter", "best_of", "best_of must equal n");
	v = k_json_given(rq->body, "modalities");
	const char *only = k_json_len(v) == 1 ? k_word(k_json_at(v, 0)) : NULL;
	if (v && (!only || strcmp(only, "text")))
		return k_fault_set(f, 400, "unsupported_parameter", "modalities", "modalities other than [\"text\"] are not supported");
	return 0;
}

/* --- lists ---------------------------------------------------------------------------------------------------------------- */

static int add_stop(struct k_request *rq, const struct k_json *v, const char *where, struct k_fault *f)
{
	if (!v || k_json_kind(v) == K_JSON_NULL)
		return 0;
	const char *s = k_json_string(v);
	if (!s)
		return k_fault_set(f, 400, NULL, where, "%s is %s, wanted a string", where, k_json_kind_name(v));
	if (!k_word(v))
		return k_fault_set(f, 400, NULL, where, "%s holds the character U+0000", where);
	if (k_json_len(v) > MAX_STOP_BYTES)
		return k_fault_set(f, 400, NULL, where, "%s has %zu bytes, at most %d are allowed", where, k_json_len(v), MAX_STOP_BYTES);
	if (!*s)
		return 0;
	rq->stops[rq->n_stops] = k_strdup(s);
	if (!rq->stops[rq->n_stops])
		return k_no_memory(f);
	rq->n_stops++;
	return 0;
}

static int read_stops(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "stop");
	if (!v)
		return 0;
	bool many = k_json_kind(v) == K_JSON_ARRAY;
	size_t n = many ? k_json_len(v) : 1;
	if (n > MAX_STOPS)
		return k_fault_set(f, 400, NULL, "stop", "stop has %zu strings, at most %d are allowed", n, MAX_STOPS);
	rq->stops = k_calloc(n + 1, sizeof(*rq->stops));
	if (!rq->stops)
		return k_no_memory(f);
	for (size_t i = 0; i < n; i++) {
		char where[32] = "stop";
		if (many)
			snprintf(where, sizeof(where), "stop[%zu]", i);
		if (add_stop(rq, many ? k_json_at(v, i) : v, where, f))
			return -1;
	}
	return rq->n_stops ? k_openai_need_text(s, "stop", f) : 0;
}

int k_openai_ids(const struct k_server *s, const struct k_json *arr, const char *where, struct k_ids *out, struct k_fault *f)
{
	if (k_json_kind(arr) != K_JSON_ARRAY)
		return k_fault_set(f, 400, NULL, where, "%s is %s, wanted an array of token ids", where, k_json_kind_name(arr));
	for (size_t i = 0; i < k_json_len(arr); i++) {
		int64_t id;
		struct k_err err = { 0 };
		const struct k_json *v = k_json_at(arr, i);
		if (!k_json_whole(v, &id))
			return k_fault_set(f, 400, NULL, where, "%s[%zu] is %s, wanted a token id", where, i, k_json_kind_name(v));
		if (id < 0 || id >= s->hp->n_vocab)
			return k_fault_set(f, 400, "invalid_token_id", where, "%s[%zu] is %" PRId64 ", wanted an id below %" PRId64,
				where, i, id, s->hp->n_vocab);
		if (k_ids_put(out, (int32_t)id, &err))
			return k_fault_err(f, &err);
	}
	return 0;
}

static int read_stop_ids(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	struct k_err err = { 0 };
	if (!rq->ignore_eos && k_ids_add(&rq->stop_ids, s->stops.v, s->stops.n, &err))
		return k_fault_err(f, &err);
	rq->n_eos = rq->stop_ids.n;
	const struct k_json *v = k_json_given(rq->body, "stop_token_ids");
	return v ? k_openai_ids(s, v, "stop_token_ids", &rq->stop_ids, f) : 0;
}

int k_request_bias(struct k_request *rq, int32_t id, float bias, struct k_fault *f)
{
	if (rq->n_bias == rq->cap_bias) {
		int cap = rq->cap_bias ? 2 * rq->cap_bias : 32;
		struct k_bias *v = k_realloc(rq->bias, (size_t)cap * sizeof(*v));
		if (!v)
			return k_no_memory(f);
		rq->bias = v;
		rq->cap_bias = cap;
	}
	rq->bias[rq->n_bias++] = (struct k_bias){ id, bias };
	return 0;
}

/* One entry of logit_bias: who is an id as a number or in decimal digits; in the array form also any text, each of its tokens. */
static int add_bias(const struct k_server *s, struct k_request *rq, const struct k_json *who, const char *key, const struct k_json *how,
	const char *where, struct k_fault *f)
{
	int64_t id = -1;
	float bias;
	if (k_json_kind(how) == K_JSON_BOOL && !k_json_bool(how)) {
		bias = -INFINITY;
	} else if (k_json_kind(how) == K_JSON_INT || k_json_kind(how) == K_JSON_REAL) {
		bias = (float)k_json_number(how);
		if (!(bias >= -100 && bias <= 100))
			return k_fault_set(f, 400, NULL, where, "%s is %g, wanted -100 to 100", where, bias);
	} else {
		return k_fault_set(f, 400, NULL, where, "%s is %s, wanted a number", where, k_json_kind_name(how));
	}
	if (who && k_json_string(who)) {
		if (k_openai_need_text(s, "logit_bias", f))
			return -1;
		struct k_ids ids;
		struct k_err err = { 0 };
		k_ids_init(&ids);
		int rc = k_tokenizer_encode(s->tok, k_json_string(who), k_json_len(who), 0, &ids, &err);
		if (rc)
			k_fault_err(f, &err);
		for (size_t i = 0; i < ids.n && !rc; i++)
			rc = k_request_bias(rq, ids.v[i], bias, f);
		k_ids_fini(&ids);
		return rc ? -1 : 0;
	}
	if (key) {
		size_t n = strspn(key, "0123456789");
		id = 0;
		for (size_t i = 0; i < n && id < INT32_MAX; i++)
			id = id * 10 + (key[i] - '0');
		if (!n || key[n])
			id = -1;
	} else if (!k_json_whole(who, &id)) {
		id = -1;
	}
	if (id < 0 || id >= s->hp->n_vocab)
		return k_fault_set(f, 400, "invalid_token_id", where, "%s: wanted the id of a token, below %" PRId64, where, s->hp->n_vocab);
	return k_request_bias(rq, (int32_t)id, bias, f);
}

static int read_bias(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "logit_bias");
	enum k_json_kind kind = k_json_kind(v);
	if (v && kind != K_JSON_OBJECT && kind != K_JSON_ARRAY)
		return wrong(f, "", "logit_bias", v, "an object");
	if (k_json_len(v) > MAX_BIAS)
		return k_fault_set(f, 400, NULL, "logit_bias", "logit_bias has %zu entries, at most %d are allowed", k_json_len(v), MAX_BIAS);
	void *it = NULL;
	const char *key;
	struct k_json *how;
	char where[64];
	while (v && kind == K_JSON_OBJECT && k_json_next(v, &it, &key, &how)) {
		snprintf(where, sizeof(where), "logit_bias.%.40s", key);
		if (add_bias(s, rq, NULL, key, how, where, f))
			return -1;
	}
	for (size_t i = 0; kind == K_JSON_ARRAY && i < k_json_len(v); i++) {
		const struct k_json *pair = k_json_at(v, i);
		snprintf(where, sizeof(where), "logit_bias[%zu]", i);
		if (k_json_kind(pair) != K_JSON_ARRAY || k_json_len(pair) != 2)
			return k_fault_set(f, 400, NULL, where, "%s is not a pair [token, bias]", where);
		if (add_bias(s, rq, k_json_at(pair, 0), NULL, k_json_at(pair, 1), where, f))
			return -1;
	}
	for (size_t i = 0; rq->ignore_eos && i < s->stops.n; i++) {
		if (k_request_bias(rq, s->stops.v[i], -INFINITY, f))
			return -1;
	}
	return 0;
}

/* While fewer than min_tokens were made, what ends is masked too: those entries stand behind the others. */
static int mask_stops(struct k_request *rq, struct k_fault *f)
{
	int n = rq->n_bias;
	for (size_t i = 0; rq->min_tokens > 0 && i < rq->stop_ids.n; i++) {
		if (k_request_bias(rq, rq->stop_ids.v[i], -INFINITY, f))
			return -1;
	}
	rq->n_bias_min = rq->n_bias;
	rq->n_bias = n;
	return 0;
}

static int read_stream(struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "stream_options");
	if (!v)
		return 0;
	if (k_json_kind(v) != K_JSON_OBJECT)
		return wrong(f, "", "stream_options", v, "an object");
	if (!rq->stream)
		return k_fault_set(f, 400, NULL, "stream_options", "stream_options needs stream: true");
	if (k_field_bool(v, "stream_options.", "include_usage", &rq->include_usage, f))
		return -1;
	int rc = k_field_bool(v, "stream_options.", "continuous_usage_stats", &rq->usage_each, f);
	rq->usage_each &= rq->include_usage;     /* it says how often, not whether; so in vLLM */
	return rc;
}

static int read_salt(struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "cache_salt");
	struct k_err err = { 0 };
	uint8_t sha[32];
	if (!v)
		return 0;
	if (!k_json_string(v) || !k_json_len(v))
		return k_fault_set(f, 400, NULL, "cache_salt", "cache_salt must be a string that is not empty");
	if (k_sha256_once(k_json_string(v), k_json_len(v), sha, &err))
		return k_fault_err(f, &err);
	memcpy(&rq->salt, sha, sizeof(rq->salt));
	return 0;
}

static int read_slot(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	return k_field_int(rq->body, "", "id_slot", -1, s->n_slots - 1, &rq->slot, f);
}

int k_openai_model(const struct k_server *s, const struct k_json *body, struct k_fault *f)
{
	const struct k_json *v = k_json_given(body, "model");
	const char *name = k_json_string(v);
	if (!v || (name && s->policy.any_model) || (k_word(v) && (!*name || !strcmp(name, s->name))))
		return 0;
	if (!name)
		return wrong(f, "", "model", v, "a string");
	return k_fault_set(f, 404, "model_not_found", "model", "the model '%.128s' is not served here", name);
}

int k_openai_need_text(const struct k_server *s, const char *param, struct k_fault *f)
{
	if (s->tok)
		return 0;
	return k_fault_set(f, 400, NULL, param, "%s needs a tokenizer, and this model has none: only token ids are possible", param ? param : "this");
}

/* Room in the context, before the status line. */
static int check_context(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	for (int i = 0; i < rq->n_prompts; i++) {
		int64_t n = (int64_t)rq->prompts[i].n;
		rq->n_prompt_tokens += n;
		if (n + (rq->max_tokens != 0) <= s->n_ctx)
			continue;
		k_fault_set(f, 400, "context_length_exceeded", rq->kind == K_KIND_CHAT ? "messages" : "prompt",
			"This model's maximum context length is %" PRId64 " tokens. However, your %s resulted in %" PRId64
			" tokens. Please reduce the length of the %s.", s->n_ctx, rq->kind == K_KIND_CHAT ? "messages" : "prompt", n,
			rq->kind == K_KIND_CHAT ? "messages" : "prompt");
		if (s->compat_llama)
			f->type = "exceed_context_size_error";
		f->n_prompt = n;
		f->n_ctx = s->n_ctx;
		return -1;
	}
	if (rq->n_prompts * rq->n > K_MAX_ALL_CHOICES)
		return k_fault_set(f, 400, NULL, "n", "%d prompts with n %" PRId64 " make more than %d choices", rq->n_prompts, rq->n,
			K_MAX_ALL_CHOICES);
	if (rq->max_tokens >= 0 && rq->min_tokens > rq->max_tokens)
		return k_fault_set(f, 400, NULL, "min_tokens", "min_tokens is more than max_tokens");
	return 0;
}

static int parse(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	if (k_openai_model(s, rq->body, f) || read_numbers(rq, f) || read_wholes(rq, f) || read_stream(rq, f) || read_salt(rq, f) || read_slot(s, rq, f) ||
		refuse(rq, f) || read_stops(s, rq, f) || read_stop_ids(s, rq, f) || read_bias(s, rq, f))
		return -1;
	if (rq->kind == K_KIND_CHAT ? k_openai_chat(s, rq, f) : k_openai_text(s, rq, f))
		return -1;
	return k_constraint_read(s, rq, f) || mask_stops(rq, f) || check_context(s, rq, f) || k_strict_check(s, rq, f) ? -1 : 0;
}

static int make(struct k_request **out, const struct k_server *s, const struct k_dialect *d, struct k_json *body, bool prompt_only,
	struct k_fault *f)
{
	struct k_err err = { 0 };
	struct k_request *rq = k_calloc(1, sizeof(*rq));
	if (!rq) {
		k_json_free(body);
		return k_no_memory(f);
	}
	rq->dialect = d;
	rq->kind = d == &k_dialect_text ? K_KIND_TEXT : K_KIND_CHAT;
	rq->body = body;
	rq->n = 1;
	rq->max_tokens = rq->slot = -1;
	rq->temperature = s->temperature;
	rq->top_p = s->top_p;
	rq->top_k = s->top_k;
	rq->repetition = 1;
	rq->include_reasoning = rq->parallel_calls = rq->cache_prompt = true;
	rq->think_budget = -1;
	rq->keep_text = prompt_only;
	k_ids_init(&rq->stop_ids);
	k_buf_init(&rq->text, 0);
	/* A request without a seed gets one, so that n choices differ and two requests too. */
	int rc = k_random_bytes(&rq->seed, sizeof(rq->seed), &err);
	if (rc)
		k_fault_err(f, &err);
	else
		rc = !prompt_only ? parse(s, rq, f) : k_openai_model(s, rq->body, f) ? -1 : k_openai_chat(s, rq, f);
	if (rc) {
		k_request_free(rq);
		return -1;
	}
	*out = rq;
	return 0;
}

int k_openai_parse(struct k_request **out, const struct k_server *s, const struct k_dialect *d, struct k_json *body, struct k_fault *f)
{
	return make(out, s, d, body, false, f);
}

int k_openai_prompt(struct k_request **out, const struct k_server *s, struct k_json *body, struct k_fault *f)
{
	return make(out, s, &k_dialect_chat, body, true, f);
}

void k_request_free(struct k_request *rq)
{
	if (!rq)
		return;
	for (int i = 0; i < rq->n_prompts; i++)
		k_ids_fini(&rq->prompts[i]);
	for (int i = 0; i < rq->n_stops; i++)
		k_free(rq->stops[i]);
	k_free(rq->prompts);
	k_free(rq->stops);
	k_free(rq->bias);
	k_ids_fini(&rq->stop_ids);
	k_constraint_free(rq->constraint);
	k_buf_fini(&rq->text);
	k_json_free(rq->all_tools);
	k_json_free(rq->body);
	k_json_free(rq->asked);
	k_free(rq);
}
