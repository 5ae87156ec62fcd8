/* base64.h: bytes as text (RFC 4648). */
#ifndef K_BASE64_H
#define K_BASE64_H

#include "libcore/buf.h"

/* Appends n bytes in the standard alphabet, padded. */
void k_base64_put(struct k_buf *b, const void *p, size_t n);
/* Appends what s means: standard or URL-safe alphabet, one of the two throughout; right padding, nothing beside it, spare bits zero, so
 * that equal bytes have one text. K_EFORMAT otherwise; what names the text. */
int k_base64_get(struct k_buf *b, const char *s, size_t n, const char *what, struct k_err *err) K_MUST_USE;
/* Writes what s means in the standard alphabet, as strictly, and returns how many bytes: n / 4 * 3 at most. -1 where it is not that, or empty;
 * then what was written means nothing. */
int64_t k_base64_bytes(void *out, const char *s, size_t n);

#endif
