/* gz.h: unpacking gzip, with its checksum and length verified: what is damaged is said to be so, not handed on. */
#ifndef K_GZ_H
#define K_GZ_H

#include "libcore/err.h"

struct k_gunzip;

/* The next packed bytes, borrowed until the next call; *n 0: there are no more. */
typedef int k_gunzip_more(void *arg, const void **p, size_t *n, struct k_err *err);

/* name: of the packed file, for messages; borrowed. */
int k_gunzip_new(struct k_gunzip **out, k_gunzip_more *more, void *arg, const char *name, struct k_err *err) K_MUST_USE;
/* Up to n bytes; *got < n only at the end. Members one behind another are one stream, as gunzip takes them. */
int k_gunzip_read(struct k_gunzip *z, void *dst, size_t n, size_t *got, struct k_err *err) K_MUST_USE;
void k_gunzip_free(struct k_gunzip *z);                 /* takes NULL */

#endif
