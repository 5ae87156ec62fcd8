/* certificate.h: what a conversion did to every value: a JSON line a tensor (an expert of a stack), the summary last.
 *
 *   {"name", "expert"?, "source": [{"name", "sha256"}..], "output": [{"name", "sha256"}..], "output_sha256"?, "from", "lossless": true}
 *   lossless false: "lost": {"values", "largest_error", "first": {"row", "column", "value", "became"}}
 *   instead of lossless, where values are computed anew: "derived": the formula
 *
 * A value is kept when it decodes to the same 32 bits. sha256 of a source is that of the tensor's bytes in the source's file; of an
 * output, of the bytes of this tensor (of this expert in a stack). */
#ifndef K_CERTIFICATE_H
#define K_CERTIFICATE_H

#include "libcore/stream.h"

struct k_certificate;

struct k_certificate_opts {
	const char *path;               /* NULL: no file; losses are counted all the same */
	bool require;                   /* one value that is not kept: the answer is no */
	bool lossy;                     /* a type that was to hold every value (k_target.must_hold) may lose some */
};
int k_certificate_open(struct k_certificate **out, const struct k_certificate_opts *o, const struct k_stream *s, const struct k_ctx *ctx, struct k_err *err) K_MUST_USE;
/* Its verdict is K_ENO with tensor, expert, place and value. */
struct k_watch k_certificate_watch(struct k_certificate *c);
/* The summary; also when the verdict is no. Says in the log what was lost. */
int k_certificate_commit(struct k_certificate *c, struct k_err *err) K_MUST_USE;
void k_certificate_free(struct k_certificate *c);       /* takes NULL */

#endif
