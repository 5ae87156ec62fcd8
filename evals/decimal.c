/* decimal.c: see decimal.h. A number is 0.DIGITS times ten to its exponent, with neither first nor last digit 0; its digits stay in the text. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include "evals/decimal.h"

struct decimal {
	bool negative;
	const char *digit;              /* the first that is not 0; among them are commas and the point */
	int64_t n, exponent;            /* n 0: zero */
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool begins(const char *s)
{
	s += *s == '-';
	s += *s == '.';
	return is_digit(*s);
}

static const char *end_of(const char *s)
{
	bool point = false;
	s += *s == '-';
	while (is_digit(*s) || (*s == ',' && is_digit(s[1])) || (*s == '.' && !point && is_digit(s[1])))
		point |= *s++ == '.';
	if (*s == 'e' || *s == 'E') {
		const char *e = s + 1 + (s[1] == '-' || s[1] == '+');
		if (is_digit(*e))
			for (s = e; is_digit(*s); )
				s++;
	}
	return s;
}

const char *k_decimal_last(const char *s, size_t *n)
{
	const char *last = NULL;
	while (*s) {
		if (!begins(s)) {
			s++;
			continue;
		}
		last = s;
		s = end_of(s);
		*n = (size_t)(s - last);
	}
	return last;
}

static int64_t exponent_of(const char *e, const char *end)
{
	int64_t x = 0, sign = *e == '-' ? -1 : 1;
	for (e += *e == '-' || *e == '+'; e < end && x < 1000000000; e++)
		x = 10 * x + (*e - '0');
	return sign * x;
}

static struct decimal read(const char *s, size_t n)
{
	struct decimal d = { .negative = *s == '-' };
	const char *end = s + n, *e = s;
	bool point = false;
	int64_t digits = 0;
	while (e < end && *e != 'e' && *e != 'E')
		e++;
	for (const char *p = s; p < e; p++) {
		point |= *p == '.';
		if (!is_digit(*p))
			continue;
		if (!d.digit && *p == '0') {
			d.exponent -= point;
			continue;
		}
		d.digit = d.digit ? d.digit : p;
		d.exponent += !point;
		digits++;
		if (*p != '0')
			d.n = digits;
	}
	if (e + 1 < end)
		d.exponent += exponent_of(e + 1, end);
	return d.n ? d : (struct decimal){ .n = 0 };
}

/* The digit at p, or the next one behind a comma or the point. */
static const char *to_digit(const char *p)
{
	while (!is_digit(*p))
		p++;
	return p;
}

bool k_decimal_equal(const char *a, size_t n_a, const char *b, size_t n_b)
{
	struct decimal x = read(a, n_a), y = read(b, n_b);
	if (x.negative != y.negative || x.n != y.n || x.exponent != y.exponent)
		return false;
	for (int64_t i = 0; i < x.n; i++) {
		x.digit = to_digit(x.digit);
		y.digit = to_digit(y.digit);
		if (*x.digit++ != *y.digit++)
			return false;
	}
	return true;
}

bool k_decimal_whole(const char *s, size_t n)
{
	struct decimal d = read(s, n);
	return d.exponent >= d.n;
}

/* Forty digits are more than decide which double is nearest, but for a tie. */
double k_decimal_value(const char *s, size_t n)
{
	struct decimal d = read(s, n);
	char digits[41], text[80];
	int k = 0;
	for (; k < d.n && k < 40; k++) {
		d.digit = to_digit(d.digit);
		digits[k] = *d.digit++;
	}
	digits[k] = 0;
	snprintf(text, sizeof(text), "%s.%s0e%lld", d.negative ? "-" : "", digits, (long long)d.exponent);
	return strtod(text, NULL);
}
