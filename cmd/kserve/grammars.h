/* grammars.h: schemas that were compiled, kept for the requests that come with the same ones: agents send their tools with every turn. */
#ifndef K_GRAMMARS_H
#define K_GRAMMARS_H

#include "libcore/grammar.h"
#include "libcore/json.h"
#include "cmd/kserve/server.h"

struct k_grammars;

int k_grammars_new(struct k_grammars **out, const struct k_tokenizer *t, struct k_log *log, struct k_err *err) K_MUST_USE;
void k_grammars_free(struct k_grammars *g);             /* takes NULL */

/* A reference to the grammar of a schema (an object, a boolean; NULL: any), with flags of schema.h: what K_SCHEMA_LAX leaves out is said in
 * the log once. An array is a choice of texts. where: path in the request. -1 with a fault of the code invalid_schema. Any thread. */
int k_grammars_get(struct k_grammars *g, const struct k_json *schema, int flags, const char *where, struct k_grammar **out, struct k_fault *f)
	K_MUST_USE;
/* A matcher of the grammar at its begin; of those that were given back, one that knows its masks already. Any thread. */
int k_grammars_lend(struct k_grammars *g, struct k_grammar *grammar, struct k_matcher **out, struct k_err *err) K_MUST_USE;
void k_grammars_back(struct k_grammars *g, struct k_matcher *m);        /* takes NULL */
/* How many were compiled so far, and how long that took in all. Any thread. */
void k_grammars_compiled(struct k_grammars *g, uint64_t *n, uint64_t *ns);
/* The tokens by their bytes; made when it is first wanted. NULL without memory. Any thread. */
const struct k_vocab *k_grammars_vocab(struct k_grammars *g);

#endif
