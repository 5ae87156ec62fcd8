/* unicode.h: UTF-8 and the character classes that tokenizers split by. Unicode 16.0, the version of the reference's tables. */
#ifndef K_UNICODE_H
#define K_UNICODE_H

#include "libcore/base.h"

enum {
	K_UC_LETTER = 1,        /* L* */
	K_UC_NUMBER = 2,        /* Nd Nl No */
	K_UC_SPACE = 4,         /* White_Space: without U+001C-001F, U+180E, U+200B */
	K_UC_UPPER = 8,         /* Lu Lt Lm Lo M*, not Han */
	K_UC_LOWER = 16,        /* Ll Lm Lo M*, not Han */
	K_UC_HAN = 32,          /* Script=Han */
};

/* Classes of a scalar; 0 for symbols, controls and what is unassigned. */
int k_unicode_class(uint32_t c);
/* The scalar at p (n > 0 bytes of valid UTF-8) and its length. */
static inline uint32_t k_unicode_at(const char *p, int *len)
{
	const unsigned char *s = (const unsigned char *)p;

	if (s[0] < 0x80)
		return *len = 1, s[0];
	if (s[0] < 0xe0)
		return *len = 2, (s[0] & 31u) << 6 | (s[1] & 63u);
	if (s[0] < 0xf0)
		return *len = 3, (s[0] & 15u) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);
	return *len = 4, (s[0] & 7u) << 18 | (s[1] & 63u) << 12 | (s[2] & 63u) << 6 | (s[3] & 63u);
}
/* Length of the well-formed sequence that n > 0 bytes begin with; -k when their first k bytes are a maximal invalid subpart;
 * 0 when all n are a proper prefix of a well-formed sequence. */
int k_unicode_step(const char *p, size_t n);
/* Offset of the first ill-formed sequence, n when there is none. */
size_t k_unicode_check(const char *p, size_t n);
/* Writes a scalar as UTF-8; returns its length. */
int k_unicode_put(uint32_t c, char out[4]);

#endif
