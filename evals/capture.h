/* capture.h: what a trace holds, as golden tensors in memory, by the names that golden.safetensors has on disk. */
#ifndef K_CAPTURE_H
#define K_CAPTURE_H

#include "evals/trace.h"

enum { K_CAPTURE_ROWS = 16 };           /* the last rows of a sequence, whose logits are kept */

/* Tensors of seq[n]. t: its trace, of the same sequences, which lends its memory and must outlive *out; the model has not stepped
 * since. NULL: names and shapes alone, data NULL. Closed with k_golden_close. K_EUSAGE: a sequence too long for its residual stream to be kept. */
int k_capture(struct k_golden **out, struct k_model *m, const struct k_golden_seq *seq, int64_t n, const struct k_trace *t,
	struct k_err *err) K_MUST_USE;

#endif
