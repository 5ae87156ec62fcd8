/* server.h: what was loaded and how it is served: facts that every part of kserve reads and nobody changes after the start.
 *
 *   http.c, stdio.c   a body of JSON, and an exchange to answer to
 *   openai.c          JSON -> struct k_request; what is wrong becomes a struct k_fault
 *   sched.c           queue and batching loop: one thread owns the model
 *   gen.c             one choice: sampler, stop strings, parser, log-probabilities
 *   reply.c           what the choices said, in order
 *   dialect_*.c       that -> JSON, whole or as the events of a stream, in the shape of an API
 *
 * HTTP code knows no tensors, and what computes knows no HTTP. */
#ifndef K_SERVER_H
#define K_SERVER_H

#include "libcore/chat.h"
#include "libcore/model.h"

/* The name of the thoughts in OpenAI messages. */
enum k_reasoning_field { K_REASONING_CONTENT, K_REASONING_PLAIN, K_REASONING_BOTH };

/* What is refused, or let in, beyond the rule (strict.h). */
struct k_policy {
	bool params;                    /* fields that nobody knows are refused */
	bool max_tokens;                /* and answers that may get longer than the context has room */
	bool vendor;                    /* and sampling values other than the recommended ones */
	bool any_model;                 /* whatever model a request names, it gets this one */
};

struct k_server_opts {
	const char *name;               /* served name; NULL: the model's own */
	const char *layout;             /* chat layout; NULL: by the template */
	int64_t ctx, slots, batch;      /* 0: chosen */
	uint64_t max_memory;
	enum k_reasoning_field reasoning;
	bool enforce;
	const char *state_dir;          /* NULL: states are not kept on disk */
	const char *slot_dir;           /* NULL: slots are neither saved nor restored */
	int64_t max_queue;              /* 0: chosen */
	int64_t queue_timeout;          /* seconds */
	bool deterministic, compat_llama;
	struct k_policy policy;
};

struct k_server {
	struct k_model *model;
	const struct k_hp *hp;
	const struct k_tokenizer *tok;  /* NULL: ids only */
	const char *no_tok;             /* why there is none */
	const struct k_layout *layout;  /* NULL: no chat */
	bool kimi;                      /* a layout whose tool calls have ids functions.NAME:N */
	bool hybrid;                    /* has layers that cannot be cut back without marks */
	struct k_ids stops;             /* ids that end a turn */
	char name[256], fingerprint[128];
	int64_t created;                /* seconds since 1970 */
	int64_t n_ctx;                  /* tokens a sequence may have */
	int n_slots, n_batch;           /* sequences at once; tokens a step */
	uint64_t room;                  /* bytes for sequences and the prefix cache together */
	uint64_t seq_room;              /* what sequences may promise themselves of it */
	int max_queue;                  /* requests that wait */
	double queue_timeout;           /* seconds that one may */
	bool deterministic;             /* prompts are cut, and reused, at multiples of K_PAGE only */
	struct k_policy policy;
	bool compat_llama;              /* llama-server's names of metrics too, and its error of a prompt that is too long */
	const char *state_dir;          /* NULL: none */
	const char *slot_dir;           /* of files that clients name; NULL: none */
	double temperature, top_p;      /* where a request says nothing */
	double instant;                 /* temperature of an answer without thinking, of a model that can think */
	int64_t top_k;
	enum k_reasoning_field reasoning;
	struct k_grammars *grammars;    /* compiled schemas, grammars.h; NULL: no tokenizer */
	bool enforce;                   /* arguments of calls fit the schemas of their tools */
	struct k_replay *replay;        /* sampled tokens of earlier answers, replay.h; NULL: none are kept */
	struct k_recent *bodies;        /* earlier requests, bodies.h */
	struct k_recent *pasts;         /* earlier prompts, past.h; NULL: no chat */
	struct k_log *log;
};

/* path is the model's operand, for its name. On failure nothing is left. The model is borrowed. */
int k_server_init(struct k_server *s, struct k_model *m, const char *path, const struct k_server_opts *o, struct k_log *log,
	struct k_err *err) K_MUST_USE;
void k_server_fini(struct k_server *s);
/* Bytes that a sequence of so many tokens may come to need: pages, states, marks on their way to the prefix cache. */
uint64_t k_server_need(const struct k_server *s, int64_t tokens);

/* What is wrong with a request, in the words of the API. */
struct k_fault {
	int status;                     /* HTTP's; 0: nothing is wrong */
	const char *type, *code;        /* code may be NULL */
	char param[128];                /* path of the field; "" for none */
	char msg[480];
	int retry_after;                /* seconds, 0: none */
	int64_t n_prompt, n_ctx;        /* of context_length_exceeded, else 0 */
};

#endif
