/* base64.c: see base64.h. */
#include "libcore/base.h"
#include "libcore/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void k_base64_put(struct k_buf *b, const void *p, size_t n)
{
	const uint8_t *s = p;
	char *out = k_buf_room(b, (n + 2) / 3 * 4);

	if (!out)
		return;
	for (size_t i = 0; i < n; i += 3) {
		size_t left = K_MIN(n - i, (size_t)3);
		uint32_t v = (uint32_t)s[i] << 16 | (left > 1 ? (uint32_t)s[i + 1] << 8 : 0) | (left > 2 ? s[i + 2] : 0);

		*out++ = alphabet[v >> 18];
		*out++ = alphabet[v >> 12 & 63];
		*out++ = left > 1 ? alphabet[v >> 6 & 63] : '=';
		*out++ = left > 2 ? alphabet[v & 63] : '=';
	}
	b->len += (n + 2) / 3 * 4;
	b->data[b->len] = 0;
}

/* What a character stands for; -1: nothing. Of those that only one of the alphabets has, which. */
enum { STANDARD = 64, URL = 128, DIGIT = 63 };
static const int16_t values[256] = {
	[0 ... '+' - 1] = -1, STANDARD | 62, -1, URL | 62, -1, STANDARD | 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, -1, -1, -1, -1, -1, -1, -1, 0, 1, 2,
	3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, -1, -1, -1, -1, URL | 63, -1, 26, 27, 28, 29, 30, 31, 32, 33,
	34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, ['z' + 1 ... 255] = -1,
};

static inline int value_of(char c) { return values[(unsigned char)c]; }

static size_t padding(const char *s, size_t n) { return n && s[n - 1] == '=' ? 1 + (n > 1 && s[n - 2] == '=') : 0; }

/* Of the four characters the first `own` count. */
static inline int group(uint32_t *v, const char *s, size_t own)
{
	int a = value_of(s[0]), b = value_of(s[1]), c = own > 2 ? value_of(s[2]) : 0, d = own > 3 ? value_of(s[3]) : 0;

	*v = (uint32_t)(a & DIGIT) << 18 | (uint32_t)(b & DIGIT) << 12 | (uint32_t)(c & DIGIT) << 6 | (uint32_t)(d & DIGIT);
	return a | b | c | d;
}

/* Groups of four, at least one, the last with padding. Returns the bits of all value_of: STANDARD, URL; below 0 where a character stands
 * for nothing or spare bits are set. */
static int decode(uint8_t *out, const char *s, size_t n)
{
	size_t own = 4 - padding(s, n);
	uint32_t v;
	int seen = 0;

	for (const char *last = s + n - 4; s < last; s += 4, out += 3) {
		seen |= group(&v, s, 4);
		out[0] = (uint8_t)(v >> 16);
		out[1] = (uint8_t)(v >> 8);
		out[2] = (uint8_t)v;
	}
	seen |= group(&v, s, own);
	for (size_t i = 0; i + 1 < own; i++)
		out[i] = (uint8_t)(v >> (16 - 8 * i));
	return v << 8 * (own - 1) & 0xffffff ? -1 : seen;
}

int64_t k_base64_bytes(void *out, const char *s, size_t n)
{
	int seen;

	if (!n || n % 4)
		return -1;
	seen = decode(out, s, n);
	return seen < 0 || seen & URL ? -1 : (int64_t)(n / 4 * 3 - padding(s, n));
}

int k_base64_get(struct k_buf *b, const char *s, size_t n, const char *what, struct k_err *err)
{
	size_t pad = padding(s, n);
	int seen = 0;
	char *out;

	if (n % 4 != 0)
		return k_err_set(err, K_EFORMAT, "%s: %zu characters of base64 are no multiple of 4", what, n);
	for (size_t i = 0; i < n - pad; i++) {
		seen |= value_of(s[i]);
		if (seen < 0 || (seen & STANDARD && seen & URL))
			return k_err_set(err, K_EFORMAT, "%s: character %zu is not base64", what, i);
	}
	out = k_buf_room(b, n / 4 * 3 - pad);
	if (out && n && decode((uint8_t *)out, s, n) < 0)
		return k_err_set(err, K_EFORMAT, "%s: the last character of base64 has bits that stand for nothing", what);
	if (out) {
		b->len += n / 4 * 3 - pad;
		b->data[b->len] = 0;
	}
	return k_buf_ok(b, what, err);
}
