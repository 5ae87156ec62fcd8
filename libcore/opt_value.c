/* opt_value.c: sizes ("512M") and bars ("ppl<25"): the values that more than one tool reads. */
#include "libcore/base.h"
#include "libcore/opt.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Digits, then K M G T P with powers of 1024, or KB MB ... with powers of 1000, or B, or nothing. A fraction
 * ("1.5G") is cut to whole bytes. */
int k_size_parse(const char *s, uint64_t *out, struct k_err *err)
{
	static const char letters[] = "KMGTP";
	uint64_t whole = 0, scale = 1, part = 0, unit = 1;
	const char *p = s, *l;
	bool ok = isdigit((unsigned char)*p);

	for (; isdigit((unsigned char)*p); p++)
		ok = ok && !__builtin_mul_overflow(whole, 10u, &whole) &&
		     !__builtin_add_overflow(whole, (unsigned)(*p - '0'), &whole);
	if (*p == '.') {
		ok = ok && isdigit((unsigned char)p[1]);
		/* Nine digits are more than a size needs; the rest is read over. */
		for (p++; isdigit((unsigned char)*p); p++) {
			if (scale < 1000000000) {
				part = part * 10 + (unsigned)(*p - '0');
				scale *= 10;
			}
		}
	}
	l = *p ? strchr(letters, toupper((unsigned char)*p)) : NULL;
	if (l) {
		uint64_t base = p[1] == 'B' || p[1] == 'b' ? 1000 : 1024;

		for (int i = 0; i <= l - letters; i++)
			unit *= base;
		p += p[1] == 'i' && (p[2] == 'B' || p[2] == 'b') ? 3 : base == 1000 ? 2 : 1;
	} else if (*p == 'B' || *p == 'b') {
		p++;
	}
	ok = ok && !*p && !__builtin_mul_overflow(whole, unit, &whole);
	/* unit <= 2^50 and part / scale < 1: done in two steps, neither overflows. */
	if (scale > 1)
		part = unit / scale * part + unit % scale * part / scale;
	ok = ok && !__builtin_add_overflow(whole, part, &whole);
	if (!ok)
		return k_err_set(
			err, K_EUSAGE, "'%s' is not a size, wanted one such as 512M (1024) or 2GB (1000)", s);
	*out = whole;
	return 0;
}

bool k_is_word_of(const char *word, const char *words)
{
	size_t n = strlen(word);

	for (const char *p = words; (p = strstr(p, word)); p += n)
		if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

const char *k_size_format(char buf[32], uint64_t n)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double x = (double)n;
	size_t u = 0;

	for (; x >= 999.95 && u + 1 < K_LEN(units); u++)
		x /= 1000;
	snprintf(buf, 32, "%.*f %s", u ? 1 : 0, x, units[u]);
	return buf;
}

static const struct { const char *text; bool less, equal, greater;
} ops[] = {
	/* The longer ones first. */
	{ "<=", true, true, false },
	{ ">=", false, true, true },
	{ "==", false, true, false },
	{ "!=", true, false, true },
	{ "<", true, false, false },
	{ ">", false, false, true },
};

int k_bar_parse(struct k_bar *bar, const char *text, struct k_err *err)
{
	size_t n = strcspn(text, "<>=! ");
	const char *p = text + n + strspn(text + n, " ");
	char *end;

	*bar = (struct k_bar){ .op = -1, .text = text };
	for (int i = 0; i < (int)K_LEN(ops) && bar->op < 0; i++)
		if (!strncmp(p, ops[i].text, strlen(ops[i].text)))
			bar->op = i;
	if (n == 0 || n >= sizeof bar->field || bar->op < 0)
		return k_err_set(
			err, K_EUSAGE, "'%s' is not a bar, wanted FIELD OP NUMBER such as 'ppl<25'", text);
	memcpy(bar->field, text, n);
	p += strlen(ops[bar->op].text);
	bar->value = strtod(p, &end);
	if (end == p || end[strspn(end, " ")] || !isfinite(bar->value))
		return k_err_set(err, K_EUSAGE, "'%s' is not a bar: '%s' is not a number", text, p);
	return 0;
}

bool k_bar_holds(const struct k_bar *bar, double x)
{
	if (isnan(x))
		return false;
	return x < bar->value	? ops[bar->op].less
	       : x > bar->value ? ops[bar->op].greater
				: ops[bar->op].equal;
}
