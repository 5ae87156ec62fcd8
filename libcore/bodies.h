/* bodies.h: bodies of late, so that one which begins as an earlier one did is parsed from its first new message on. An agent sends its whole history
 * with every turn, and a long one takes longer to parse than to render. */
#ifndef K_BODIES_H
#define K_BODIES_H

#include "libcore/json.h"
#include "libcore/recent.h"

/* Holds the latest bodies in about max_bytes. k_recent_free frees them. All functions may be called by any thread. */
int k_bodies_new(struct k_recent **out, size_t max_bytes, struct k_err *err) K_MUST_USE;

/* A body of a request, as k_json_parse reads it. Its messages are those of earlier bodies where the text is the same up to their ends, and later ones
 * get these: who edits a message asks for one of his own (k_json_own). r may be NULL. */
int k_bodies_parse(struct k_recent *r, struct k_json **out, const char *text, size_t len, struct k_err *err) K_MUST_USE;

#endif
