/* seal.h: the parts of an output become the output. */
#ifndef K_SEAL_H
#define K_SEAL_H

#include "libcore/ctx.h"

/* Completes PATH.parts, which parts 1..N of one conversion filled (out.h): all must be there, complete and of the same conversion
 * (K_ENOENT, K_ECHECK name the part); every block is read and compared with the journal of its part; a container gets its trailer.
 * Then it has the name PATH, and the journals are gone. */
int k_seal(const char *path, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;

#endif
