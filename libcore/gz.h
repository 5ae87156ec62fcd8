/* gz.h: unpacking gzip, with its checksum and length verified: what is damaged is said to be so, not handed on; and bare deflate
 * (RFC 1951) of pieces in memory, whose length and digest are somebody else's. */
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

enum k_deflate_how {
	K_DEFLATE_HUFFMAN,              /* each byte by its own: noise with an uneven histogram. Packs and unpacks fastest */
	K_DEFLATE_MATCH,                /* repeats too: text, runs */
};
/* Packs n bytes. *len 0: they would take cap bytes or more. */
int k_deflate(void *dst, size_t cap, size_t *len, const void *src, size_t n, enum k_deflate_how how, struct k_err *err) K_MUST_USE;
/* Unpacks len bytes, which must be those of exactly n: nothing is written behind dst + n, whatever they say. Otherwise K_EFORMAT with
 * half a sentence ("... ends early"). */
int k_inflate(void *dst, size_t n, const void *src, size_t len, struct k_err *err) K_MUST_USE;

#endif
