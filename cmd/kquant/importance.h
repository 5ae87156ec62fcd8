/* importance.h: activation statistics for the entries that are quantised, and who has none. */
#ifndef K_IMPORTANCE_H
#define K_IMPORTANCE_H

#include "libcore/ckpt.h"
#include "libcore/opt.h"

struct k_importance;

/* Opens the files, which are added up, and looks up every entry whose type changes (out: parallel to in's entries; borrowed, as in is). The log names the tensors
 * without statistics and the experts that no token reached: they fall back to equal weights. Nothing for any entry: K_EFORMAT. */
int k_importance_open(struct k_importance **i, const struct k_strs *paths, const struct k_ckpt *in, const struct k_entry *out, struct k_log *log, struct k_err *err) K_MUST_USE;
void k_importance_close(struct k_importance *i);        /* takes NULL */
/* sha256 of the k-th file. */
const uint8_t *k_importance_digest(const struct k_importance *i, int k);
/* For struct k_kmf_spec: the mean square of each column. */
int k_importance_weights(void *i, int entry, int64_t slice, float *w, struct k_err *err);

#endif
