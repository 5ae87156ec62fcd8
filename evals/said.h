/* said.h: what the answer of a server says: an error, or a completion. One place, so that every way by which answers come refuses the same. */
#ifndef K_SAID_H
#define K_SAID_H

#include "libcore/json.h"

/* What went wrong, where the answer is an error: its message, or the error itself where that is a string; k_said_nothing where it does not say. NULL:
 * it is no error. */
extern const char k_said_nothing[];
const char *k_said_error(const struct k_json *answer);
/* Is it the answer to a request, with a message (chat) or a text in its first choice? 0; K_EIO: it is an error, with what it says; K_EFORMAT: it is
 * none, with what is wrong. */
int k_said_check(const struct k_json *answer, bool chat, struct k_err *err) K_MUST_USE;
/* The same for a chunk of a stream, which need not hold a choice. */
int k_said_chunk(const struct k_json *chunk, struct k_err *err) K_MUST_USE;
/* Appends a text: a string, or the texts of an array of parts, one behind the other; null and absent: none. K_EFORMAT: it is something else; what
 * names it. */
int k_said_text(struct k_buf *b, const struct k_json *v, const char *what, struct k_err *err) K_MUST_USE;

#endif
