/* xtml.c: attributes and types of arguments, see xtml.h. */
#include "libcore/base.h"
#include "libcore/xtml.h"

const char *const k_arg_types[K_N_ARG_TYPES] = { "string", "number", "boolean", "null", "object", "array" };

int k_arg_type(char first)
{
	static const struct { char first; int type; } rows[] = {
		{ '"', K_ARG_STRING }, { 't', K_ARG_BOOL }, { 'f', K_ARG_BOOL }, { 'n', K_ARG_NULL }, { '{', K_ARG_OBJECT }, { '[', K_ARG_ARRAY },
	};

	for (size_t i = 0; i < K_LEN(rows); i++)
		if (first == rows[i].first)
			return rows[i].type;
	return K_ARG_NUMBER;
}

void k_attr_escape(struct k_buf *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '&')
			k_buf_puts(out, "&amp;");
		else if (s[i] == '"')
			k_buf_puts(out, "&quot;");
		else
			k_buf_putc(out, s[i]);
	}
}

void k_attr_unescape(struct k_buf *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; ) {
		const size_t left = n - i;
		const bool quote = left >= 6 && !memcmp(s + i, "&quot;", 6), and = left >= 5 && !memcmp(s + i, "&amp;", 5);

		k_buf_putc(out, quote ? '"' : s[i]);            /* & is what &amp; begins with */
		i += quote ? 6 : and ? 5 : 1;
	}
}
