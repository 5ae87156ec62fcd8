/* dialect.h: the APIs that are spoken here. Each is one table of functions in a file of its own, and differs from the others in
 * how a request is read and how an answer is written; what happens in between knows none of them.
 *
 *   k_dialect_chat        dialect_chat.c        OpenAI chat completions
 *   k_dialect_text        dialect_text.c        OpenAI text completions
 *   k_dialect_anthropic   dialect_anthropic.c   Anthropic messages; requests: anthropic.c
 *   k_dialect_responses   dialect_responses.c   OpenAI responses; requests: responses.c
 *
 * The functions of a reply append JSON to r->line and send it (k_reply_send); where memory gives out reply.c sees it. */
#ifndef K_DIALECT_H
#define K_DIALECT_H

#include "cmd/kserve/reply.h"

struct k_dialect {
	const char *name;               /* for the log */
	/* A request, ready to be computed. Takes body, also on failure. */
	int (*parse)(struct k_request **out, const struct k_server *s, struct k_json *body, struct k_fault *f);

	/* An error as a body. id: of the request, "" where there is none. */
	void (*fault)(struct k_buf *out, const struct k_fault *f, const char *id);
	const char *problem;            /* name of the event that an error within a stream is; NULL: none */
	const char *ping;               /* text between events that keeps a silent stream alive */
	bool repeats;                   /* a stream tells at its end again what its deltas were */
	const char *last;               /* text behind the last event; "" for nothing */
	bool aborts;                    /* has a word for an answer that the end of the server cut off; else that is an error */

	/* Once, before all others: r->head. */
	void (*begin)(struct k_reply *r);
	/* Of a stream; each may be NULL. progress: so many tokens of the prompts are computed or were known. start: the prompt is computed. open, close: a part begins, is complete. delta: text of the
	 * part, with entries (log-probabilities, borrowed, may be NULL). end: a choice is over. done: all are. */
	void (*progress)(struct k_reply *r, int64_t n);
	void (*start)(struct k_reply *r, int choice);
	void (*open)(struct k_reply *r, int choice, const struct k_part *p);
	void (*delta)(struct k_reply *r, int choice, const struct k_part *p, const char *s, size_t n, const struct k_json *entries);
	void (*close)(struct k_reply *r, int choice, const struct k_part *p);
	void (*end)(struct k_reply *r, int choice, const struct k_json *entries);
	void (*done)(struct k_reply *r);
	/* The whole reply: into r->line. */
	void (*whole)(struct k_reply *r);
};

extern const struct k_dialect k_dialect_chat, k_dialect_text, k_dialect_anthropic, k_dialect_responses;

/* --- what the two of OpenAI share: dialect_chat.c ------------------------------------------------------------------------------ */

void k_openai_head(struct k_reply *r, const char *prefix, const char *object);
void k_openai_fault(struct k_buf *out, const struct k_fault *f, const char *id);
/* {"index":N,  in r->line behind the head. */
void k_openai_event(struct k_reply *r, int choice);
/* ,"finish_reason":null} and the tail, sent. */
void k_openai_event_end(struct k_reply *r);
/* ,"finish_reason":..,"stop_reason":..,token ids, usage, tail, sent. */
void k_openai_finish(struct k_reply *r, int choice);
/* An event without choices: how far the prompts are. */
void k_openai_progress(struct k_reply *r, int64_t n);
/* The event behind the choices, with the usage. */
void k_openai_done(struct k_reply *r);
/* A whole reply; put writes what a choice says, "text":.. or "message":.., and "logprobs":.. */
void k_openai_whole(struct k_reply *r, void (*put)(struct k_reply *r, const struct k_choice *c));

#endif
