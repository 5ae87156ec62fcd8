/* asker.h: who answers the questions of a task. A task makes questions and judges answers, and does not know where the answers come from:
 *
 *   asker_model.c   a model in this process: the same digits for every batch and number of threads
 *   asker_http.c    an OpenAI-compatible server
 *   asker_lines.c   a pipe: the questions are printed as lines, or the answers are read from lines
 *
 * A question is a request of the API, or asks how likely a text goes on in a given way. */
#ifndef K_ASKER_H
#define K_ASKER_H

#include "evals/eval.h"
#include "libcore/json.h"

enum k_ask_kind { K_ASK_SCORE, K_ASK_CHAT, K_ASK_TEXT };

struct k_ask {
	enum k_ask_kind kind;
	char id[64];                    /* its own in a run: the id of its line on a pipe */
	char *context, *continuation;   /* SCORE; owned */
	struct k_json *request;         /* CHAT, TEXT: the body of a request, without a model; owned */
	bool session;                   /* CHAT: goes on where the one before ended: what is the same need not be computed again */
	/* What came back. */
	struct k_err err;               /* code 0: answered; else this question failed, the others did not */
	double logprob;                 /* SCORE: of the continuation: the sum over its tokens of float32 values */
	int64_t tokens;                 /* SCORE: how many */
	bool greedy;                    /* SCORE: each was the likeliest */
	struct k_json *answer;          /* CHAT, TEXT: as the API answers; owned */
	bool replayed;                  /* CHAT, lines: a prompt or a completion was recorded and held against the layout; */
	struct k_err differs;           /* code 0: it is what the layout makes of it */
	double seconds;                 /* CHAT, TEXT: until it was there */
	bool done;                      /* an asker that tells (below) will change none of this any more */
};
void k_ask_fini(struct k_ask *q);                       /* leaves it empty */

struct k_asker {
	int64_t width;                  /* questions that are worth asking at once */
	bool prints;                    /* questions only: there are no answers to judge */
	bool talks;                     /* a question may depend on an answer */
	bool served;                    /* by a server: what it says of its cache and how long it takes are facts about it */
	/* Answers all n, in whatever order. An error: this asker can answer no more. */
	int (*ask)(struct k_asker *a, struct k_ask *v, int64_t n, struct k_err *err);
	/* Set by who asks, or NULL: an asker whose answers come one by one calls it within ask after each, and ends with its error. */
	int (*tell)(void *arg, struct k_err *err);
	void *tell_arg;
	/* Tokens of a text; NULL: cannot be told, *tokens 0: the same. */
	int (*count)(struct k_asker *a, const char *text, size_t n, int64_t *tokens, struct k_err *err);
	/* The facts that change answers, for the report. 0 or -1. */
	int (*put_run)(struct k_asker *a, struct k_json *o);
	void (*close)(struct k_asker *a);
};

/* m, o and ctx are borrowed. */
int k_asker_model(struct k_asker **out, struct k_model *m, const struct k_eval_opts *o, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

struct k_asker_server {
	const char *url, *name;         /* name of the model: NULL: the first that the server lists */
	int64_t concurrency;
	double rate, timeout;           /* 0: no limit; the client's default */
};
int k_asker_http(struct k_asker **out, const struct k_asker_server *o, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

int k_asker_print(struct k_asker **out, int (*write)(const void *p, size_t n, struct k_err *err), struct k_err *err) K_MUST_USE;
/* Answers of standard input, by id, or recorded ones ("response", and "completion" and "prompt" as texts) by data_index or line. Chunks of a
 * stream are put together. reader reads recorded texts (NULL: they are not read); taken, also on failure. */
struct k_reader;
int k_asker_lines(struct k_asker **out, struct k_reader *reader, struct k_err *err) K_MUST_USE;

/* --- for askers ------------------------------------------------------------------------------------------------------------- */

/* The request that asks for a SCORE of a text; prompt is taken: the text, or its ids. */
struct k_json *k_ask_score_request(struct k_json *prompt);
/* The answer to it. Tokens from first on are the continuation's; first -1: those whose text begins at its first character or later. n: tokens
 * of the whole text; -1: those whose text begins before its end. */
int k_ask_score_answer(struct k_ask *q, const struct k_json *answer, int64_t first, int64_t n, struct k_err *err) K_MUST_USE;
/* Spaces at the end of the context belong to the continuation: the bytes of the context that stay. */
size_t k_ask_context_len(const struct k_ask *q);

/* The answer to a CHAT or TEXT becomes the question's; an array of parts in its content becomes their text. What is an error or no answer (said.h) is
 * refused. */
int k_ask_take(struct k_ask *q, struct k_json *answer, struct k_err *err) K_MUST_USE;
/* An answer from the chunks of a stream. *all is NULL at first; chunk is borrowed. A chunk that is an error: K_EIO with its message; that is none:
 * K_EFORMAT. */
int k_chunk_add(struct k_json **all, const struct k_json *chunk, struct k_err *err) K_MUST_USE;

#endif
