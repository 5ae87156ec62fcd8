/* json_text.c: JSON values as text, with the digits and escapes of Python's json.dumps(ensure_ascii=False);
 * and UTF-8.
 *
 * Works on the getters of json.h only. A failed append marks the buffer; nothing else can fail. */
#include "libcore/base.h"
#include "libcore/json.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include "libcore/unicode.h"
#include <stdlib.h>

/* --- UTF-8 --------------------------------------------------------------------------------------- */

/* Length of the character at s (n > 0 bytes are there), or minus the number of bytes that one U+FFFD stands
 * for: the longest beginning of a character, else one byte (Unicode 3.9, substitution of maximal subparts).
 */
static int utf8_len(const char *s, size_t n)
{
	int len = k_unicode_step(s, n);

	return len ? len : -(int)n;
}

bool k_utf8_ok(const char *s, size_t n) { return k_unicode_check(s, n) == n; }

void k_utf8_mend(struct k_buf *b, const char *s, size_t n)
{
	k_buf_room(b, n);
	for (int len; n > 0; s += len, n -= (size_t)len) {
		len = utf8_len(s, n);
		if (len > 0) {
			k_buf_put(b, s, (size_t)len);
			continue;
		}
		k_buf_put(b, "\xef\xbf\xbd", 3);
		len = -len;
	}
}

/* --- numbers ------------------------------------------------------------------------------------- */

/* One more in the last place of "d.ddde+XX"; false where that would carry into the first digit. */
static bool digit_up(char *s)
{
	for (char *p = strchr(s, 'e'); p > s; ) {
		if (*--p == '.')
			continue;
		if (*p != '9') {
			++*p;
			return true;
		}
		*p = '0';
	}
	return false;
}

/* The shortest decimal that reads back as v, as "-d.ddde+XX". */
static void shortest(char *s, size_t n, double v)
{
	/* Every decimal of 15 digits survives a double of full precision; a subnormal has fewer. */
	for (int digits = fabs(v) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
		snprintf(s, n, "%.*e", digits - 1, v);
		if (strtod(s, NULL) == v)
			return;
		/* At a power of two the gap below is half of that above: the nearest of 16 digits may fail
		 * where the next one up does not. */
		if (digits == 16 && digit_up(s) && strtod(s, NULL) == v)
			return;
	}
}

void k_json_put_double(struct k_buf *b, double v)
{
	char s[40], digits[24], *e;
	int n = 0, point;

	if (!isfinite(v)) {
		k_buf_puts(b, "null");
		return;
	}
	shortest(s, sizeof s, v);
	e = strchr(s, 'e');
	point = atoi(e + 1) + 1;                /* digits before the point */
	for (char *p = s; p < e; p++)
		if (*p >= '0' && *p <= '9')
			digits[n++] = *p;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	digits[n] = 0;
	if (signbit(v))
		k_buf_putc(b, '-');
	if (v == 0) {
		k_buf_puts(b, "0.0");
	} else if (point > 16 || point < -3) {
		k_buf_printf(b, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1,
			point > 0 ? '+' : '-', abs(point - 1));
	} else if (point <= 0) {
		k_buf_printf(b, "0.%.*s%s", -point, "0000", digits);
	} else if (point >= n) {
		k_buf_printf(b, "%s%.*s.0", digits, point - n, "0000000000000000");
	} else {
		k_buf_printf(b, "%.*s.%s", point, digits, digits + point);
	}
}

double k_json_short(float f)
{
	char s[40];
	double d = (double)f;

	for (int digits = 1; digits <= 9; digits++) {
		snprintf(s, sizeof(s), "%.*e", digits - 1, (double)f);
		d = strtod(s, NULL);
		if ((float)d == f)
			break;
	}
	return d;
}

void k_json_put_float(struct k_buf *b, float v)
{
	if (isfinite(v))
		k_buf_printf(b, "%.9g", (double)v);
	else
		k_buf_puts(b, "null");
}

/* --- values -------------------------------------------------------------------------------------- */

const char *k_json_string_end(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; )
		p += *p == '\\' && end - p > 1 ? 2 : 1;
	return p < end ? p + 1 : end;
}

void k_json_quote(struct k_buf *b, const char *s, size_t n)
{
	static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	size_t from = 0, i = 0;

	k_buf_putc(b, '"');
	while (i < n) {
		unsigned char c = (unsigned char)s[i];
		int len = c < 0x80 ? 1 : utf8_len(s + i, n - i);

		if (len > 0 && c >= 0x20 && c != '"' && c != '\\') {
			i += (size_t)len;
			continue;
		}
		k_buf_put(b, s + from, i - from);
		if (len < 0) {
			k_buf_put(b, "\xef\xbf\xbd", 3);
			len = -len;
		} else {
			const char *l = letters;

			while (*l && *l != (char)c)
				l += 2;
			if (*l && c)
				k_buf_printf(b, "\\%c", l[1]);
			else
				k_buf_printf(b, "\\u%04x", c);
		}
		i += (size_t)len;
		from = i;
	}
	k_buf_put(b, s + from, n - from);
	k_buf_putc(b, '"');
}

struct member { const char *key; struct k_json *value; };

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static void dump(struct k_buf *b, const struct k_json *v, int flags, int depth);

static void new_line(struct k_buf *b, int flags, int depth)
{
	if (flags & K_JSON_INDENT)
		k_buf_printf(b, "\n%*s", 2 * depth, "");
}

static void separate(struct k_buf *b, int flags, int depth, bool first)
{
	if (!first)
		k_buf_puts(b, flags & (K_JSON_COMPACT | K_JSON_INDENT) ? "," : ", ");
	new_line(b, flags, depth);
}

static void dump_member(struct k_buf *b, const char *key, const struct k_json *value, int flags, int depth)
{
	k_json_quote(b, key, strlen(key));
	k_buf_puts(b, flags & K_JSON_COMPACT ? ":" : ": ");
	dump(b, value, flags, depth);
}

static void dump_object(struct k_buf *b, const struct k_json *v, int flags, int depth)
{
	size_t n = k_json_len(v), i = 0;
	struct member *sorted = NULL;
	struct k_json *value;
	const char *key;

	if (flags & K_JSON_SORT) {
		sorted = k_calloc(n, sizeof *sorted);
		if (!sorted) {
			b->failed = true;
			return;
		}
	}
	k_buf_putc(b, '{');
	for (void *it = NULL; k_json_next(v, &it, &key, &value); i++) {
		if (sorted) {
			sorted[i] = (struct member){ key, value };
		} else {
			separate(b, flags, depth + 1, i == 0);
			dump_member(b, key, value, flags, depth + 1);
		}
	}
	if (sorted) {
		qsort(sorted, n, sizeof *sorted, by_key);
		for (i = 0; i < n; i++) {
			separate(b, flags, depth + 1, i == 0);
			dump_member(b, sorted[i].key, sorted[i].value, flags, depth + 1);
		}
	}
	if (n)
		new_line(b, flags, depth);
	k_buf_putc(b, '}');
	k_free(sorted);
}

static void dump_array(struct k_buf *b, const struct k_json *v, int flags, int depth)
{
	size_t n = k_json_len(v);

	k_buf_putc(b, '[');
	for (size_t i = 0; i < n; i++) {
		separate(b, flags, depth + 1, i == 0);
		dump(b, k_json_at(v, i), flags, depth + 1);
	}
	if (n)
		new_line(b, flags, depth);
	k_buf_putc(b, ']');
}

static void dump(struct k_buf *b, const struct k_json *v, int flags, int depth)
{
	switch (k_json_kind(v)) {
	case K_JSON_NULL: k_buf_puts(b, "null"); break;
	case K_JSON_BOOL: k_buf_puts(b, k_json_bool(v) ? "true" : "false"); break;
	case K_JSON_INT: k_buf_printf(b, "%lld", (long long)k_json_int(v)); break;
	case K_JSON_REAL: k_json_put_double(b, k_json_number(v)); break;
	case K_JSON_STRING: k_json_quote(b, k_json_string(v), k_json_len(v)); break;
	case K_JSON_ARRAY: dump_array(b, v, flags, depth); break;
	case K_JSON_OBJECT: dump_object(b, v, flags, depth); break;
	}
}

void k_json_dump(struct k_buf *b, const struct k_json *v, int flags) { dump(b, v, flags, 0); }
