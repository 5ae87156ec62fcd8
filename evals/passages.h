/* passages.h: what a model is asked to read: sequences of ids with names, from a golden.json (its sequences), from JSON arrays of ids, one
 * a line, as kls --tokens writes them ("line1", ...), or from any other text, which is cut into windows ("window0", ...). */
#ifndef K_PASSAGES_H
#define K_PASSAGES_H

#include "evals/eval.h"
#include "evals/golden.h"

struct k_passages { struct k_golden *golden; struct k_arena arena; const struct k_golden_seq *seq; int64_t n; };

enum { K_PASSAGE_TOKENS = 128 };        /* of a window, where --window does not say */

/* Of o->file: the first o->limit of them (0: all; of a text: one). On failure fini is still right. */
int k_passages_read(struct k_passages *p, struct k_model *m, const struct k_eval_opts *o, struct k_err *err) K_MUST_USE;
void k_passages_fini(struct k_passages *p);

#endif
