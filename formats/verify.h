/* verify.h: an output read back and compared with what it was made of. The values of both sides are decoded here, from the formulas of
 * formats.md and one element at a time, and not by the functions that made the output. */
#ifndef K_VERIFY_H
#define K_VERIFY_H

#include "formats/format.h"
#include "libcore/job.h"

/* Opens the output at path and walks it beside in, which can be read at random. Every tensor that target made of in must be there; a value
 * must be the source's, or, in a narrower plain type, its nearest (ties to even); in a type that quantises, within the type's bound
 * of its group's largest. K_ECHECK names tensor, row, column and both values. */
int k_verify(struct k_ckpt *in, const struct k_target *target, const char *path, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

/* The same for k_job.verify. */
extern const struct k_job_verify k_verify_job;

#endif
