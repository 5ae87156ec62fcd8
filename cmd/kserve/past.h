/* past.h: prompts of late, so that one which goes on with them is rendered and encoded from its first new message on. An agent sends its whole
 * history with every turn. */
#ifndef K_PAST_H
#define K_PAST_H

#include "libcore/chat.h"
#include "libcore/recent.h"

/* Holds the latest prompts in about max_bytes. k_recent_free frees them. All functions may be called by any thread. */
int k_pasts_new(struct k_recent **out, size_t max_bytes, struct k_err *err) K_MUST_USE;

/* p, which is empty, becomes what the prompt of a request shares with an earlier one of the same salt, the most there is; it stays empty where nothing
 * is, and without memory. *whole: number of the earlier one if that goes no further, 0 else. */
void k_pasts_find(struct k_recent *r, const struct k_json *messages, const struct k_json *tools, const struct k_chat_options *o, uint64_t salt,
	struct k_chat_past *p, uint64_t *whole);
/* Takes p, which is empty afterwards; in the place of the earlier prompt `whole`, if there is such. */
void k_pasts_put(struct k_recent *r, struct k_chat_past *p, uint64_t salt, uint64_t whole);

#endif
