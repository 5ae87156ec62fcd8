/* rx_test.c: patterns and globs. */
#include "libcore/base.h"
#include "libcore/rx.h"
#include "libcore/test.h"

K_TEST(rx_finds_from_a_start)
{
	struct k_err err = { 0 };
	struct k_rx *rx;
	size_t a, b;

	K_CHECK_OK(k_rx_new(&rx, "\\p{Lu}\\p{Ll}+", 0, &err));
	K_CHECK(k_rx_find(rx, "ab \xc3\x89tude Xy", 13, 0, &a, &b, &err) == 1 && a == 3 && b == 9);
	K_CHECK(k_rx_find(rx, "ab \xc3\x89tude Xy", 12, b, &a, &b, &err) == 1 && a == 10 && b == 12);
	K_CHECK(k_rx_find(rx, "ab", 2, 0, &a, &b, &err) == 0);
	K_CHECK(k_rx_find(rx, "", 0, 0, &a, &b, &err) == 0);
	K_CHECK(k_rx_find(rx, "\xff", 1, 0, &a, &b, &err) == K_EFORMAT);
	k_rx_free(rx);
	K_CHECK_OK(k_rx_new(&rx, "b", K_RX_ANCHORED, &err));
	K_CHECK(k_rx_find(rx, "ab", 2, 0, &a, &b, &err) == 0 && k_rx_find(rx, "ab", 2, 1, &a, &b, &err) == 1);
	k_rx_free(rx);
	K_CHECK_OK(k_rx_new(&rx, "AB", K_RX_NO_CASE, &err));
	K_CHECK(k_rx_find(rx, "ab", 2, 0, &a, &b, &err) == 1);
	k_rx_free(rx);
}

K_TEST(rx_refuses_a_bad_pattern)
{
	struct k_err err = { 0 };
	struct k_rx *rx;

	K_CHECK(k_rx_new(&rx, "a(b", 0, &err) == K_EFORMAT && !rx && strstr(err.msg, "offset"));
}

K_TEST(rx_has_a_limit_of_steps)
{
	struct k_err err = { 0 };
	char text[60];
	struct k_rx *rx;
	size_t a, b;

	memset(text, 'a', sizeof text);
	K_CHECK_OK(k_rx_new(&rx, "^(a|a|aa)+$(*COMMIT)b|(a+)+\\1c", 0, &err));
	K_CHECK(k_rx_find(rx, text, sizeof text, 0, &a, &b, &err) <= 0);
	k_rx_free(rx);
}

K_TEST(glob_on_names)
{
	K_CHECK(k_glob("model.layers.*.mlp.*", "model.layers.3.mlp.experts.5.up"));
	K_CHECK(k_glob("*.w[123]", "a.w2") && !k_glob("*.w[123]", "a.w4"));
	K_CHECK(k_glob("a?c", "abc") && !k_glob("a?c", "ac"));
}
