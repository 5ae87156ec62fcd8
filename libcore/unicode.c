/* unicode.c: class look-up in a table of runs, and UTF-8 one sequence at a time.
 *
 * A row of the table is `first scalar << 8 | classes`; a run ends where the next begins. In stretches where capital and small
 * letters alternate (most of Latin Extended, Cyrillic, Coptic) one row with bit 64 stands for all of them. */
#include "libcore/base.h"
#include "libcore/unicode.h"

enum { ALTERNATE = 64, UPPER = K_UC_LETTER | K_UC_UPPER, LOWER = K_UC_LETTER | K_UC_LOWER };

static const uint32_t rows[] = {
#include "libcore/unicode.def"
};

/* ASCII is most of all text; its rows, unrolled. */
#define X4(x) x, x, x, x
#define X10(x) X4(x), X4(x), x, x
#define X26(x) X10(x), X10(x), X4(x), x, x
static const unsigned char ascii[128] = {
	[9] = K_UC_SPACE, K_UC_SPACE, K_UC_SPACE, K_UC_SPACE, K_UC_SPACE, [' '] = K_UC_SPACE,
	['0'] = X10(K_UC_NUMBER), ['A'] = X26(UPPER), ['a'] = X26(LOWER),
};

int k_unicode_class(uint32_t c)
{
	size_t lo = 0, hi = K_LEN(rows);
	int bits;

	if (c < 128)
		return ascii[c];
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (rows[mid] >> 8 <= c)
			lo = mid;
		else
			hi = mid;
	}
	bits = rows[lo] & 63;
	if (rows[lo] & ALTERNATE && (c - (rows[lo] >> 8)) & 1)
		bits = UPPER + LOWER - bits;
	return bits;
}

int k_unicode_step(const char *p, size_t n)
{
	const unsigned char *s = (const unsigned char *)p;
	unsigned char lo = 0x80, hi = 0xbf;
	int len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return -1;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	/* The second byte is bounded more narrowly: no overlong forms, no surrogates, nothing above U+10FFFF. */
	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	for (int i = 1; i < len; i++, lo = 0x80, hi = 0xbf) {
		if ((size_t)i == n)
			return 0;
		if (s[i] < lo || s[i] > hi)
			return -i;
	}
	return len;
}

size_t k_unicode_check(const char *p, size_t n)
{
	for (size_t i = 0; i < n; ) {
		int len = (unsigned char)p[i] < 0x80 ? 1 : k_unicode_step(p + i, n - i);

		if (len <= 0)
			return i;
		i += (size_t)len;
	}
	return n;
}

int k_unicode_put(uint32_t c, char out[4])
{
	if (c < 0x80)
		return out[0] = (char)c, 1;
	if (c < 0x800)
		return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}
