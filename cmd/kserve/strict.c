/* strict.c: policies that the operator asks for. Without them unknown fields are ignored, for clients and gateways send many, and max_tokens
 * is cut to the context. */
#include "libcore/base.h"

#include <inttypes.h>
#include <math.h>

#include "cmd/kserve/rewrite.h"
#include "cmd/kserve/strict.h"

/* Fields of a request that mean something here, be it that they are refused when they ask for something. */
static const char *const both[] = {
	"add_special_tokens", "allowed_token_ids", "audio", "bad_words", "best_of", "cache_prompt", "cache_salt", "chat_template", "dry_multiplier",
	"dynatemp_range", "echo", "frequency_penalty", "function_call", "functions", "grammar", "guided_choice", "guided_grammar", "guided_json",
	"guided_regex", "id", "id_slot", "ignore_eos", "include_stop_str_in_output", "json_schema", "logit_bias", "logprobs", "max_tokens", "metadata",
	"min_p", "min_tokens", "mirostat", "modalities", "model", "moderation", "n", "prediction", "presence_penalty", "priority",
	"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "prompt_logprobs", "repeat_penalty", "repetition_penalty", "request_id",
	"response_format", "return_progress", "return_token_ids", "return_tokens_as_token_ids", "safety_identifier", "seed", "service_tier",
	"skip_special_tokens", "stop", "stop_token_ids", "store", "stream", "stream_options", "structured_outputs", "suffix", "temperature",
	"timings_per_token", "top_k", "top_p", "truncate_prompt_tokens", "truncation_side", "typical_p", "user", "verbosity", "web_search_options",
	"xtc_probability",
};
static const char *const chat[] = {
	"add_generation_prompt", "chat_template_kwargs", "continue_final_message", "include_reasoning", "max_completion_tokens", "messages",
	"parallel_tool_calls", "reasoning_effort", "thinking", "thinking_budget_tokens", "thinking_token_budget", "tool_choice", "tools",
	"top_logprobs",
};
static const char *const text[] = { "prompt" };

static bool is_in(const char *key, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i], key))
			return true;
	return false;
}

static int unknown(const char *key, struct k_fault *f)
{
	return k_fault_set(f, 400, "unknown_parameter", key, "%.100s is not known to this server", key);
}

static int check_names(const struct k_request *rq, struct k_fault *f)
{
	struct k_json *v;
	const char *key;
	for (void *it = NULL; k_json_next(rq->body, &it, &key, &v); ) {
		bool own = rq->kind == K_KIND_CHAT ? is_in(key, chat, K_LEN(chat)) : is_in(key, text, K_LEN(text));
		if (!own && !is_in(key, both, K_LEN(both)))
			return unknown(key, f);
	}
	return 0;
}

int k_strict_names(const struct k_server *s, const struct k_json *body, const char *const *known, struct k_fault *f)
{
	struct k_json *v;
	const char *key;
	for (void *it = NULL; s->policy.params && k_json_next(body, &it, &key, &v); ) {
		const char *const *own = known;
		while (*own && strcmp(*own, key))
			own++;
		if (!*own && !k_is_common(key))
			return unknown(key, f);
	}
	return 0;
}

static int check_max_tokens(const struct k_server *s, const struct k_request *rq, struct k_fault *f)
{
	for (int i = 0; i < rq->n_prompts; i++) {
		int64_t left = s->n_ctx - (int64_t)rq->prompts[i].n;
		if (rq->max_tokens > left)
			return k_fault_set(f, 400, "context_length_exceeded", "max_tokens", "This model's maximum context length is %" PRId64
				" tokens: behind the prompt of %zu there are %" PRId64 ", and %" PRId64 " are wanted.", s->n_ctx, rq->prompts[i].n, left, rq->max_tokens);
	}
	return 0;
}

/* The vendor's hosted models take the recommended values only. */
static int check_vendor(const struct k_server *s, const struct k_request *rq, struct k_fault *f)
{
	bool instant = rq->kind == K_KIND_CHAT && s->layout && s->layout->thinking && !rq->chat.thinking;
	const struct { const char *name; double value, want; } fields[] = {
		{ "temperature", rq->temperature, instant ? s->instant : s->temperature }, { "top_p", rq->top_p, s->top_p },
		{ "presence_penalty", rq->presence, 0 }, { "frequency_penalty", rq->frequency, 0 }, { "repetition_penalty", rq->repetition, 1 },
		{ "n", (double)rq->n, 1 },
	};
	for (size_t i = 0; i < K_LEN(fields); i++)
		if (fabs(fields[i].value - fields[i].want) > 1e-9)
			return k_fault_set(f, 400, NULL, fields[i].name, "%s is %g, only %g is allowed", fields[i].name, fields[i].value, fields[i].want);
	return 0;
}

int k_strict_check(const struct k_server *s, const struct k_request *rq, struct k_fault *f)
{
	if (s->policy.params && check_names(rq, f))
		return -1;
	if (s->policy.max_tokens && check_max_tokens(s, rq, f))
		return -1;
	return s->policy.vendor ? check_vendor(s, rq, f) : 0;
}
