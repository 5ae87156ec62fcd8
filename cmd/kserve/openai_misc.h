/* openai_misc.h: the routes that generate nothing: models, tokenizer, templates. */
#ifndef K_OPENAI_MISC_H
#define K_OPENAI_MISC_H

#include "cmd/kserve/openai.h"

/* body: NULL for GET; borrowed, may be edited. rest: what follows the route in the path, "" for nothing. The reply's JSON goes
 * to out; -1 with a fault otherwise. */
typedef int k_answer(const struct k_server *s, struct k_json *body, const char *rest, struct k_buf *out, struct k_fault *f);

k_answer k_answer_models, k_answer_model, k_answer_tokenize, k_answer_detokenize, k_answer_tokenizer_info, k_answer_template,
	k_answer_version, k_answer_props;

#endif
