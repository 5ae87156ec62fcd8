/* base64.h: bytes as text (RFC 4648). */
#ifndef K_BASE64_H
#define K_BASE64_H

#include "libcore/buf.h"

/* Appends n bytes in the standard alphabet, padded. */
void k_base64_put(struct k_buf *b, const void *p, size_t n);
/* Appends what s means: standard or URL-safe alphabet, one of the two throughout; right padding, nothing beside it, spare bits zero, so
 * that equal bytes have one text. K_EFORMAT otherwise; what names the text. */
int k_base64_get(struct k_buf *b, const char *s, size_t n, const char *what, struct k_err *err) K_MUST_USE;

#endif
