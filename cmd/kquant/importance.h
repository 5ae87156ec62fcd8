/* importance.h: activation statistics for the entries that are quantised, and who has none. */
#ifndef K_IMPORTANCE_H
#define K_IMPORTANCE_H

#include "libcore/ckpt.h"

struct k_importance;

/* Opens path and looks up every entry whose type changes (out: parallel to in's entries; borrowed, as in is). The log names the tensors
 * without statistics and the experts that no token reached: they fall back to equal weights. Nothing for any entry: K_EFORMAT. */
int k_importance_open(struct k_importance **i, const char *path, const struct k_ckpt *in, const struct k_entry *out, struct k_log *log, struct k_err *err) K_MUST_USE;
void k_importance_close(struct k_importance *i);        /* takes NULL */
/* sha256 of the file. */
const uint8_t *k_importance_digest(const struct k_importance *i);
/* For struct k_stream. */
int k_importance_weights(void *i, int entry, int64_t slice, float *w, struct k_err *err);

#endif
