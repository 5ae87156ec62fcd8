/* openai.h: the API's JSON -> a request that can be computed. Everything that can be wrong with a request is found here, before
 * the first byte of an answer. */
#ifndef K_OPENAI_H
#define K_OPENAI_H

#include "libcore/sample.h"
#include "cmd/kserve/server.h"

#define K_MAX_BODY (64u << 20)
#define K_MAX_CHOICES 8                 /* n */
#define K_MAX_ALL_CHOICES 128           /* prompts x n */
#define K_MAX_TOP 20

enum k_kind { K_KIND_CHAT, K_KIND_TEXT };

struct k_dialect;
struct k_request {
	enum k_kind kind;
	const struct k_dialect *dialect;
	struct k_json *body;            /* as received, with roles, tools and ids in one spelling; keeps tools alive */
	struct k_json *asked;           /* what the body was made from, where the dialect needs it; NULL else */
	const struct k_json *tools;     /* NULL: none */
	struct k_json *all_tools;       /* tools, where messages declare some: those as well. NULL: they do not */
	const struct k_json *id;        /* what the reply is called; set by stdio.c, NULL: a random id */
	char trace[129];                /* the id of the exchange, for errors; set by http.c */
	uint64_t client;                /* who asks, as a hash of key or address: requests of clients take turns; set by http.c */

	struct k_ids *prompts;
	int n_prompts;
	int64_t n;                      /* choices a prompt; choice index = prompt * n + i */
	int64_t max_tokens;             /* -1: what the context leaves */
	int64_t n_prompt_tokens;        /* of all prompts */

	bool stream, include_usage, usage_each;
	double temperature, top_p, min_p, presence, frequency, repetition;
	int64_t top_k, min_tokens, seed;
	bool ignore_eos, include_stop;
	char **stops;                   /* stop strings */
	int n_stops;
	struct k_ids stop_ids;          /* the model's, then the request's from n_eos on */
	size_t n_eos;
	struct k_bias *bias;            /* n_bias always, n_bias_min while fewer than min_tokens were made */
	int n_bias, n_bias_min, cap_bias;

	bool logprobs;
	int64_t top_logprobs;
	bool echo;                      /* text completions */
	bool token_ids, tokens_as_ids;  /* return_token_ids, return_tokens_as_token_ids */
	bool show_special;              /* skip_special_tokens: false */
	bool include_reasoning, parallel_calls;
	int64_t think_budget;           /* reasoning tokens, -1: any number */
	int n_used;                     /* tool calls in the history */
	struct k_constraint *constraint;        /* constraint.h; NULL: free text */
	struct k_chat_options chat;
	bool timings, progress;         /* timings_per_token; return_progress, of streams */
	bool cache_prompt;              /* false: nothing is taken from the prefix cache, and nothing left there */
	int64_t slot;                   /* id_slot: the only one that may compute it; -1: any */
	uint64_t salt;                  /* hash of cache_salt: only requests with the same share prefixes; 0: none */
	bool keep_text;                 /* the prompt as text is wanted, and nothing else */
	struct k_buf text;
};

/* Fills the fault and returns -1. type follows from status; code may be NULL, param "" or NULL. */
int k_fault_set(struct k_fault *f, int status, const char *code, const char *param, const char *fmt, ...) K_PRINTF(5, 6);
/* Ours, as memory gave out: 503. */
int k_no_memory(struct k_fault *f);
/* The library's error as a fault: bad input is the client's (with the path that the sentence begins with), the rest is ours. */
int k_fault_err(struct k_fault *f, const struct k_err *err);
/* {"error":{...}} */
void k_fault_json(struct k_buf *out, const struct k_fault *f);

/* One JSON object, -1 with a fault otherwise. Messages may be those of other requests as well (bodies.h). */
int k_openai_body(struct k_json **out, const struct k_server *s, const char *text, size_t len, struct k_fault *f) K_MUST_USE;
/* A chat request in the shape of OpenAI, or a text completion if d is k_dialect_text; answered in d. Takes body, also on failure. */
int k_openai_parse(struct k_request **out, const struct k_server *s, const struct k_dialect *d, struct k_json *body, struct k_fault *f)
	K_MUST_USE;
/* Of a chat request only the prompt: prompts[0] and text; no limit is checked. Takes body, also on failure. */
int k_openai_prompt(struct k_request **out, const struct k_server *s, struct k_json *body, struct k_fault *f) K_MUST_USE;
void k_request_free(struct k_request *rq);              /* takes NULL */

/* --- for the other parts of the parser ------------------------------------------------------------------------------------ */

/* A string to be compared as C compares: NULL when v is none, or holds U+0000. */
const char *k_word(const struct k_json *v);
/* Absent or null: *out stays. where: path of obj with its dot, "" for the request itself. -1 with a fault for another kind. */
int k_field_bool(const struct k_json *obj, const char *where, const char *key, bool *out, struct k_fault *f) K_MUST_USE;
int k_field_int(const struct k_json *obj, const char *where, const char *key, int64_t lo, int64_t hi, int64_t *out,
	struct k_fault *f) K_MUST_USE;
/* openai_chat.c: messages, tools, thinking -> one prompt. */
int k_openai_chat(const struct k_server *s, struct k_request *rq, struct k_fault *f) K_MUST_USE;
/* openai_text.c: prompt, echo, ids. */
int k_openai_text(const struct k_server *s, struct k_request *rq, struct k_fault *f) K_MUST_USE;
/* An array of ids below the vocabulary. */
int k_openai_ids(const struct k_server *s, const struct k_json *arr, const char *where, struct k_ids *out, struct k_fault *f)
	K_MUST_USE;
int k_request_bias(struct k_request *rq, int32_t id, float bias, struct k_fault *f) K_MUST_USE;
/* The model that a request names, if it does, is the one that is served. */
int k_openai_model(const struct k_server *s, const struct k_json *body, struct k_fault *f) K_MUST_USE;
/* Whatever needs text, of a model without a tokenizer: -1. */
int k_openai_need_text(const struct k_server *s, const char *param, struct k_fault *f) K_MUST_USE;

#endif
