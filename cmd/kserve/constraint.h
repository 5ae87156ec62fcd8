/* constraint.h: what an answer must be, token by token: calls of declared tools whose arguments fit their schemas, or JSON of a schema.
 *
 *   struct k_constraint   what a request asks for; immutable, shared by its choices
 *   struct k_course       one answer on its way
 *
 *   THINK --</think>--> FREE --section begin--> SECTION --call begin--> HEADER --argument begin--> ARGS --call end--> CALLED
 *                        \ required: only this                ^--------------------------------------------call begin--/
 *                         `--> FORMAT: JSON, then the end                                   section end --> END
 *
 * Kimi-K3 writes elements: see course_k3.c. HEADER is functions.NAME:N with a declared NAME and the next N of the conversation (tokenizer-chat.md 4.6). */
#ifndef K_CONSTRAINT_H
#define K_CONSTRAINT_H

#include "cmd/kserve/openai.h"

/* From tools, tool_choice, response_format and their relatives in rq->body; into rq->constraint, which stays NULL where nothing is asked
 * for. After the messages and tools were read. */
int k_constraint_read(const struct k_server *s, struct k_request *rq, struct k_fault *f) K_MUST_USE;
void k_constraint_free(struct k_constraint *c);         /* takes NULL */

struct k_course;
/* parser: of the answer, as it begins, borrowed; NULL where there is none, which is content. It gets each token after the course has it. */
int k_course_new(struct k_course **out, const struct k_server *s, const struct k_request *rq, const struct k_parser *parser, struct k_err *err) K_MUST_USE;
void k_course_free(struct k_course *x);                 /* takes NULL */
/* Bits of the ids that may come next, *n of them, the others may not; until the next call. NULL: without memory. */
const uint64_t *k_course_mask(struct k_course *x, int32_t *n);
/* An id that was chosen, and does not end the answer. */
int k_course_put(struct k_course *x, int32_t id, struct k_err *err) K_MUST_USE;

#endif
