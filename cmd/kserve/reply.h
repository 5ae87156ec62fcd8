/* reply.h: what the choices of a request say, kept in order, and told in the request's dialect: whole at the end or as the events
 * of a stream.
 *
 *   gen.c --text, calls, ends--> struct k_reply --parts--> struct k_dialect --JSON--> struct k_out (http.c, stdio.c)
 *
 * All of it runs in the engine's thread. Joined, the deltas of a stream are what the whole reply holds: both come from the same
 * calls. */
#ifndef K_REPLY_H
#define K_REPLY_H

#include "cmd/kserve/openai.h"

/* What an answer took, for the log. */
struct k_spent {
	int64_t prompt, cached, made;   /* tokens */
	uint64_t t_admitted, t_first;   /* monotonic ns; 0: never */
	const char *finish;             /* of its first choice; NULL: none */
};

/* Where an answer goes. Called by the engine's thread; finish is the last call and comes exactly once. */
struct k_out {
	/* One event of a stream, one line of JSON. name: of dialects that name their events, else NULL. */
	void (*event)(struct k_out *o, const char *name, const char *json, size_t n);
	/* status 200: the whole reply (n > 0), or the end of a stream (n == 0). Else an error body. */
	void (*finish)(struct k_out *o, int status, const char *json, size_t n, const struct k_fault *f);
	/* The client reads too slowly: compute nothing for it now. */
	bool (*full)(struct k_out *o);
	struct k_spent spent;           /* filled in before finish */
};

/* A stretch of an answer: thoughts, text, or one call. */
struct k_part {
	enum k_event_kind kind;         /* K_EVENT_REASONING, K_EVENT_CONTENT, K_EVENT_CALL */
	struct k_buf text;              /* of a call: its arguments */
	char *id, *name;                /* of a call */
	int call;                       /* of a call: which one, from 0 */
	size_t first_entry, n_entries;  /* in the choice's logprobs */
};
struct k_choice {
	struct k_part *parts;
	int n_parts, cap_parts, n_calls;
	struct k_json *logprobs;        /* array of entries as gen.c makes them; NULL: not asked, or of a stream that does not end with them */
	struct k_json *ids;             /* generated ids; NULL: not asked */
	const char *finish;             /* stop, length, tool_calls, abort; NULL: not yet */
	struct k_json *stop_reason;     /* the stop string or id; NULL: none */
	int64_t n_tokens, n_reasoning;
	bool started;
};

struct k_reply {
	const struct k_server *server;
	const struct k_request *rq;
	struct k_out *out;
	char key[33];                   /* random letters and digits: what the ids of this reply are made of */
	int64_t created;                /* seconds since 1970 */
	struct k_buf head;              /* the dialect's: what its events begin with */
	struct k_buf line;              /* the event or reply that is being made */
	struct k_choice *choices;
	int n_choices, n_open;
	int64_t n_cached;
	int64_t n_sent;                 /* events so far */
	uint64_t t_first;               /* when the first token came that the model was asked for */
	bool over;                      /* nothing is said any more */
	bool told;                      /* finish was called */
	int status;                     /* when over: 200, or that of the fault */
	struct k_fault fault;
	bool broken;                    /* out of memory on the way */
};

/* rq is borrowed; out is called until finish. */
int k_reply_new(struct k_reply **out_reply, const struct k_server *s, const struct k_request *rq, struct k_out *out, struct k_fault *f)
	K_MUST_USE;
void k_reply_free(struct k_reply *r);

/* n tokens of all prompts are computed, or were known: a stream that asked for it hears so. */
void k_reply_progress(struct k_reply *r, int64_t n);
/* The prompt is computed; every time but the first is ignored. */
void k_reply_computed(struct k_reply *r);
/* The answer begins: a chat stream says who speaks. */
void k_reply_start(struct k_reply *r, int choice);
/* kind: K_EVENT_REASONING or K_EVENT_CONTENT. entries: array of log-probability entries, taken; may be NULL. */
void k_reply_text(struct k_reply *r, int choice, enum k_event_kind kind, const char *s, size_t n, struct k_json *entries);
void k_reply_call(struct k_reply *r, int choice, const char *id, const char *name);
void k_reply_args(struct k_reply *r, int choice, int call, const char *s, size_t n);
/* One sampled token, of any kind. */
void k_reply_token(struct k_reply *r, int choice, int32_t id, bool reasoning);
/* stop_reason and entries are taken; may be NULL. After the last choice the reply is over, and waits for k_reply_tell. */
void k_reply_end(struct k_reply *r, int choice, const char *finish, struct k_json *stop_reason, struct k_json *entries);
/* The whole request fails; nothing when it is over already. */
void k_reply_fail(struct k_reply *r, const struct k_fault *f);
/* Calls finish of a reply that is over, once. */
void k_reply_tell(struct k_reply *r);

/* --- for the dialects ------------------------------------------------------------------------------------------------------- */

struct k_usage { int64_t prompt, cached, made, thought; };
/* only: the tokens of this choice, -1: of all. */
struct k_usage k_reply_usage(const struct k_reply *r, int only);
/* Sends r->line as one event. */
void k_reply_send(struct k_reply *r, const char *name);
/* The texts of all parts of a kind as one JSON string. */
void k_reply_put_text(struct k_buf *b, const struct k_choice *c, enum k_event_kind kind);
/* Bytes of them. */
size_t k_reply_text_len(const struct k_choice *c, enum k_event_kind kind);

#endif
