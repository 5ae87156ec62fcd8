/* pack.h: bytes of weights made smaller, exactly: the codec of packed containers (kmf.5, PACKED CONTAINERS).
 *
 *     values, scales -> planes: the first bytes of all elements, the second bytes, ... -> each deflated where that helps
 *
 * Of a weight the exponent is what can be foretold: it is brought into a byte of its own, and what is left over is noise that is kept
 * as it is. How the bytes of a piece are laid out (fields) stands in the packed bytes, so that unpacking knows no types. */
#ifndef K_PACK_H
#define K_PACK_H

#include "libcore/ckpt.h"

enum { K_PACK_FIELDS = 4 };

/* The bytes of a piece, described by a period: fields one behind another, again and again, the last cut off where the piece ends. */
struct k_pack_field {
	uint32_t bytes;                 /* in a period; whole elements */
	uint8_t width;                  /* of an element: 1, 2, 4, 8: as many planes */
	bool turned;                    /* rotated left by one bit, which puts an 8-bit exponent into the top byte and the sign below */
};
struct k_pack_fields {
	bool numbers;                   /* noise, in which it is no use to look for repeats; a hint to the encoder */
	int n; struct k_pack_field f[K_PACK_FIELDS];
};

/* How leaves of e are described: values, and scales apart from them. */
void k_pack_fields_of(const struct k_entry *e, struct k_pack_fields *out);
/* Packs n bytes. dst: n bytes, none of which is the source's; scratch: n bytes. *len 0: they do not get smaller. Errors: memory. */
int k_pack_encode(uint8_t *dst, size_t *len, const uint8_t *src, size_t n, const struct k_pack_fields *fields, uint8_t *scratch,
	struct k_err *err) K_MUST_USE;
/* Unpacks into exactly n bytes; scratch: n bytes. K_EFORMAT with half a sentence on what these bytes cannot be. */
int k_pack_decode(uint8_t *dst, size_t n, const uint8_t *p, size_t len, uint8_t *scratch, struct k_err *err) K_MUST_USE;

#endif
