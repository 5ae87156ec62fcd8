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

/* bit 0: a character of the standard alphabet alone was seen; bit 1: of the other one. */
static int value_of(char c, int *seen)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	*seen |= c == '+' || c == '/' ? 1 : 2;
	return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

int k_base64_get(struct k_buf *b, const char *s, size_t n, const char *what, struct k_err *err)
{
	size_t pad = n && s[n - 1] == '=' ? 1 + (n > 1 && s[n - 2] == '=') : 0, digits = n - pad;
	uint32_t v = 0;
	int seen = 0;

	if (n % 4 != 0)
		return k_err_set(err, K_EFORMAT, "%s: %zu characters of base64 are no multiple of 4", what, n);
	for (size_t i = 0; i < digits; i++) {
		int d = value_of(s[i], &seen);

		if (d < 0 || seen == 3)
			return k_err_set(err, K_EFORMAT, "%s: character %zu is not base64", what, i);
		v = v << 6 | (uint32_t)d;
		if (i % 4 == 3)
			k_buf_put(b, (uint8_t[3]){ (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v }, 3);
	}
	if ((pad == 1 && v & 3) || (pad == 2 && v & 15))
		return k_err_set(err, K_EFORMAT, "%s: the last character of base64 has bits that stand for nothing", what);
	if (pad == 1)
		k_buf_put(b, (uint8_t[2]){ (uint8_t)(v >> 10), (uint8_t)(v >> 2) }, 2);
	else if (pad == 2)
		k_buf_put(b, (uint8_t[1]){ (uint8_t)(v >> 4) }, 1);
	return k_buf_ok(b, what, err);
}
