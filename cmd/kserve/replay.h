/* replay.h: the tokens of answers, for when they come back as history.
 *
 * A client sends back what it was told, often not byte for byte: arguments parsed and written again, white space before a call
 * that it never saw. Rendered anew, such a turn has other tokens than those that were sampled, and everything behind it would be
 * computed again. So a turn that says the same behind the same prompt is rendered as the very tokens that were sampled; one that
 * says anything else is rendered as usual. */
#ifndef K_REPLAY_H
#define K_REPLAY_H

#include "cmd/kserve/reply.h"

struct k_replay;

/* Holds the latest turns in about max_bytes. tok is borrowed. writes_ids: the layout's calls say their ids. All functions may be called by any thread. */
int k_replay_new(struct k_replay **out, const struct k_tokenizer *tok, bool writes_ids, size_t max_bytes, struct k_err *err) K_MUST_USE;
void k_replay_free(struct k_replay *t);                 /* takes NULL */
/* The answer c behind prompt, which is the n ids. Without memory it is not remembered; nor where the ids of its calls are not those
 * that the model wrote. */
void k_replay_put(struct k_replay *t, const struct k_ids *prompt, const int32_t *ids, size_t n, const struct k_choice *c);

/* One rendering: hand &r->memory to k_chat_render_recall. */
struct k_recall {
	struct k_chat_memory memory;    /* first */
	struct k_replay *table;
	uint64_t hash;                  /* of the first n tokens of the prompt */
	size_t n;
};
void k_recall_init(struct k_recall *r, struct k_replay *t);

#endif
