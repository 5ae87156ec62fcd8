/* gen.h: one choice of a request: logits -> token -> text, calls and log-probabilities of the reply.
 *
 * Where a constraint lets only one token through, or thoughts have used up their budget, the next token is known before the model is
 * asked: it is taken at once, and what the model computes next is several tokens. */
#ifndef K_GEN_H
#define K_GEN_H

#include "cmd/kserve/reply.h"

struct k_gen;

/* prompt: index into rq->prompts; choice: index in the reply. */
int k_gen_new(struct k_gen **out, const struct k_server *s, const struct k_request *rq, struct k_reply *r, int prompt, int choice,
	struct k_err *err) K_MUST_USE;
void k_gen_free(struct k_gen *g);

/* Does it want the logits of every token of the prompt? Then each row is given, in order. */
bool k_gen_wants_prompt(const struct k_gen *g);
/* logits of the prompt's token pos. */
int k_gen_prompt_row(struct k_gen *g, int64_t pos, const float *logits, struct k_err *err) K_MUST_USE;
/* Is the first token of the answer known before the prompt is computed? */
bool k_gen_knows_first(struct k_gen *g);
/* The answer begins; tokens that are known go to the end of ids. 1: tokens are wanted; 0: the choice is done. */
int k_gen_start(struct k_gen *g, struct k_ids *ids, struct k_err *err) K_MUST_USE;
/* What the next token is drawn by; false: it wants the logits. */
bool k_gen_draw(const struct k_gen *g, struct k_draw *out);
/* The next token, and those behind it that are known, go to the end of ids. 1: it goes on with them; 0: the choice is done. drawn: the token by
 * k_gen_draw; -1: it comes from logits. scratch: vocabulary * 16 bytes. */
int k_gen_next(struct k_gen *g, int32_t drawn, const float *logits, void *scratch, struct k_ids *ids, struct k_err *err) K_MUST_USE;
/* Nanoseconds that masks took: all that a constraint adds to a token but their use. */
uint64_t k_gen_mask_ns(const struct k_gen *g);
/* What its calls needed, of each kind of enum k_repair; NULL: it is no chat. */
const uint64_t *k_gen_repairs(const struct k_gen *g);
/* Ends early, with what there is. */
int k_gen_abort(struct k_gen *g, struct k_err *err) K_MUST_USE;

#endif
