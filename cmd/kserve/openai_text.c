/* openai_text.c: the prompt of a text completion: a string, strings, ids, or lists of ids. */
#include "libcore/base.h"

#include <stdio.h>

#include "cmd/kserve/openai.h"

/* Markers in the text are tokens here, as everywhere with raw prompts; what comes first of itself is the caller's choice. */
static int put_string(const struct k_server *s, const struct k_json *v, bool add, struct k_ids *out, struct k_fault *f)
{
	struct k_err err = { 0 };
	if (k_openai_need_text(s, "prompt", f))
		return -1;
	if (k_tokenizer_encode(s->tok, k_json_string(v), k_json_len(v), K_ENC_SPECIALS | (add ? K_ENC_ADD : 0), out, &err))
		return k_fault_err(f, &err);
	return 0;
}

static int put_prompt(const struct k_server *s, struct k_request *rq, const struct k_json *v, const char *where, bool add,
	struct k_fault *f)
{
	struct k_ids *out = &rq->prompts[rq->n_prompts++];
	k_ids_init(out);
	if (k_json_kind(v) == K_JSON_STRING ? put_string(s, v, add, out, f) : k_openai_ids(s, v, where, out, f))
		return -1;
	if (!out->n)
		return k_fault_set(f, 400, NULL, where, "%s is empty", where);
	return 0;
}

static int read_prompts(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	const struct k_json *v = k_json_given(rq->body, "prompt");
	bool add = true;
	if (k_field_bool(rq->body, "", "add_special_tokens", &add, f))
		return -1;
	if (!v)
		return k_fault_set(f, 400, NULL, "prompt", "prompt is missing");
	enum k_json_kind kind = k_json_kind(v), first = k_json_kind(k_json_at(v, 0));
	if (kind != K_JSON_STRING && kind != K_JSON_ARRAY)
		return k_fault_set(f, 400, NULL, "prompt", "prompt is %s, wanted a string or an array", k_json_kind_name(v));
	bool many = kind == K_JSON_ARRAY && (first == K_JSON_STRING || first == K_JSON_ARRAY);
	size_t n = many ? k_json_len(v) : 1;
	if (!k_json_len(v))
		return k_fault_set(f, 400, NULL, "prompt", "prompt is empty");
	if (n > K_MAX_ALL_CHOICES)
		return k_fault_set(f, 400, NULL, "prompt", "%zu prompts, at most %d are allowed", n, K_MAX_ALL_CHOICES);
	rq->prompts = k_calloc(n, sizeof(*rq->prompts));
	if (!rq->prompts)
		return k_no_memory(f);
	if (!many)
		return put_prompt(s, rq, v, "prompt", add, f);
	for (size_t i = 0; i < n; i++) {
		const struct k_json *one = k_json_at(v, i);
		char where[32];
		snprintf(where, sizeof(where), "prompt[%zu]", i);
		if (k_json_kind(one) != first)
			return k_fault_set(f, 400, NULL, where, "%s is %s among others that are not", where, k_json_kind_name(one));
		if (put_prompt(s, rq, one, where, add, f))
			return -1;
	}
	return 0;
}

int k_openai_text(const struct k_server *s, struct k_request *rq, struct k_fault *f)
{
	int64_t top = -1;
	rq->max_tokens = 16;
	if (k_field_bool(rq->body, "", "echo", &rq->echo, f) || k_field_int(rq->body, "", "logprobs", 0, K_MAX_TOP, &top, f) ||
		k_field_int(rq->body, "", "max_tokens", 0, INT64_MAX, &rq->max_tokens, f) ||
		k_field_int(rq->body, "", "max_completion_tokens", 1, INT64_MAX, &rq->max_tokens, f))
		return -1;
	if (rq->max_tokens == 0 && !rq->echo)
		return k_fault_set(f, 400, NULL, "max_tokens", "max_tokens is 0, which needs echo");
	rq->logprobs = top >= 0;
	rq->top_logprobs = K_MAX(top, 0);
	return read_prompts(s, rq, f);
}
