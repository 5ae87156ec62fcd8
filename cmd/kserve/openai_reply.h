/* openai_reply.h: what the choices of a request say -> the API's JSON, whole at the end or as the events of a stream.
 *
 *   gen.c --text, calls, ends--> struct k_reply --JSON--> struct k_out (http.c, stdio.c)
 *
 * All of it runs in the engine's thread. Joined, the deltas of a stream are what the whole reply holds: both come from the same
 * calls. */
#ifndef K_OPENAI_REPLY_H
#define K_OPENAI_REPLY_H

#include "cmd/kserve/openai.h"

/* Where an answer goes. Called by the engine's thread; finish is the last call and comes exactly once. */
struct k_out {
	/* One event of a stream, one line of JSON. */
	void (*event)(struct k_out *o, const char *json, size_t n);
	/* status 200: the whole reply (n > 0), or the end of a stream (n == 0). Else an error body. */
	void (*finish)(struct k_out *o, int status, const char *json, size_t n, const struct k_fault *f);
	/* The client reads too slowly: compute nothing for it now. */
	bool (*full)(struct k_out *o);
};

struct k_call { char *id, *name; struct k_buf args; };
struct k_choice {
	struct k_buf text, reasoning;
	struct k_call *calls;
	int n_calls;
	struct k_json *logprobs;        /* array of entries as gen.c makes them; NULL: not asked */
	struct k_json *ids;             /* generated ids; NULL: not asked */
	const char *finish;
	struct k_json *stop_reason;
	int64_t n_tokens, n_reasoning;
	bool started, done;
};

struct k_reply {
	const struct k_server *server;
	const struct k_request *rq;
	struct k_out *out;
	struct k_buf head;              /* what every event and reply begins with, up to "choices":[ */
	struct k_buf line;              /* the one that is being made */
	struct k_choice *choices;
	int n_choices, n_open;
	int64_t n_cached;
	uint64_t t_start, t_first;      /* when it was admitted; when the first token came */
	bool over;                      /* finish was called */
	bool broken;                    /* out of memory on the way */
};

/* rq is borrowed; out is called until finish. */
int k_reply_new(struct k_reply **out_reply, const struct k_server *s, const struct k_request *rq, struct k_out *out, struct k_fault *f)
	K_MUST_USE;
void k_reply_free(struct k_reply *r);

/* The prompt is computed: a chat stream says who speaks. */
void k_reply_start(struct k_reply *r, int choice);
/* kind: K_EVENT_REASONING or K_EVENT_CONTENT. entries: array of log-probability entries, taken; may be NULL. */
void k_reply_text(struct k_reply *r, int choice, enum k_event_kind kind, const char *s, size_t n, struct k_json *entries);
void k_reply_call(struct k_reply *r, int choice, const char *id, const char *name);
void k_reply_args(struct k_reply *r, int choice, int call, const char *s, size_t n);
/* One sampled token, of any kind. */
void k_reply_token(struct k_reply *r, int choice, int32_t id, bool reasoning);
/* stop_reason and entries are taken; may be NULL. After the last choice the reply is over. */
void k_reply_end(struct k_reply *r, int choice, const char *finish, struct k_json *stop_reason, struct k_json *entries);
/* The whole request fails; nothing when it is over already. */
void k_reply_fail(struct k_reply *r, const struct k_fault *f);

#endif
