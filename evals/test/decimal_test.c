#include "libcore/base.h"
#include "evals/decimal.h"
#include "libcore/test.h"

static bool equal(const char *a, const char *b)
{
	size_t n, m;
	const char *x = k_decimal_last(a, &n), *y = k_decimal_last(b, &m);
	return x && y && k_decimal_equal(x, n, y, m);
}

static bool last_is(const char *text, const char *number)
{
	size_t n;
	const char *s = k_decimal_last(text, &n);
	return s ? n == strlen(number) && !memcmp(s, number, n) : !*number;
}

K_TEST(decimal_last)
{
	K_CHECK(last_is("it was 7, then 1,234.50.", "1,234.50"));
	K_CHECK(last_is("-.5", "-.5") && last_is("a-3", "-3") && last_is("2e-7 m", "2e-7") && last_is("2e+7", "2e+7"));
	K_CHECK(last_is("2 eggs", "2") && last_is("7e", "7") && last_is("7e-", "7"));
	K_CHECK(last_is("none - . ,", "") && last_is("", ""));
}

K_TEST(decimal_equal)
{
	K_CHECK(equal("5", "5.0") && equal("0005", "5") && equal("1,000", "1e3") && equal("0.05", "5e-2") && equal("-0.0", "0") && equal("120", "1.2e2"));
	K_CHECK(!equal("1234567", "1234568") && !equal("5", "-5") && !equal("5", "50") && !equal("0.5", "0.05") && !equal("1e-7", "0"));
	K_CHECK(equal("9007199254740993", "9,007,199,254,740,993.00") && !equal("9007199254740993", "9007199254740992"));
	/* Longer than any buffer. */
	char a[400], b[400];
	memset(a, '7', sizeof(a));
	a[sizeof(a) - 1] = 0;
	memcpy(b, a, sizeof(b));
	K_CHECK(equal(a, b));
	b[sizeof(b) - 2] = '8';
	K_CHECK(!equal(a, b));
}

K_TEST(decimal_value)
{
	static const struct { const char *text; double value; bool whole; } rows[] = {
		{ "0", 0, true }, { "-12.50", -12.5, false }, { "1e-07", 1e-7, false }, { "1,234.0", 1234, true }, { "1e300", 1e300, true }, { "5e-1", 0.5, false },
		{ "12345678901234567890123456789012345678901234567890", 1.2345678901234567890123456789012345678901e49, true }, { "50e-1", 5, true },
	};
	for (size_t i = 0; i < K_LEN(rows); i++) {
		K_CHECK_MSG(k_decimal_value(rows[i].text, strlen(rows[i].text)) == rows[i].value, "%s", rows[i].text);
		K_CHECK_MSG(k_decimal_whole(rows[i].text, strlen(rows[i].text)) == rows[i].whole, "%s", rows[i].text);
	}
}
