/* cors.h: which web pages of other origins may ask. */
#ifndef K_CORS_H
#define K_CORS_H

#include "libcore/buf.h"

/* K_EUSAGE: an entry that no browser sends, a path or a slash at its end for one. */
int k_cors_check(const char *origins, struct k_err *err) K_MUST_USE;
/* origins: NULL, or a list with commas of origins ("https://chat.example.org"), of "localhost" (this machine's pages, any port) and "*".
 * origin: as the browser sent it, may be NULL. Appends header lines for any answer when the origin is allowed. */
void k_cors_put(struct k_buf *out, const char *origins, const char *origin);
/* The lines that a preflight's answer has besides; wanted: Access-Control-Request-Headers or NULL. */
void k_cors_put_preflight(struct k_buf *out, const char *wanted);

#endif
