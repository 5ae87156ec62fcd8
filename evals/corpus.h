/* corpus.h: a text as the tokens of a model, for tasks that cut one into windows. */
#ifndef K_CORPUS_H
#define K_CORPUS_H

#include "libcore/model.h"

/* The ids of a text file ("-": standard input), without special tokens, and the sha256 of its bytes in hexadecimal. A model without a
 * tokenizer: K_ENOENT. */
int k_corpus_read(struct k_model *m, const char *path, struct k_ids *ids, char digest[65], struct k_err *err) K_MUST_USE;
/* The token that stands before a window, -1: none. how: "yes", "no", "auto" or NULL (where a rendered chat begins with it). */
int k_corpus_bos(struct k_model *m, const char *how, int32_t *bos, struct k_err *err) K_MUST_USE;

#endif
