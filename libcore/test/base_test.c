/* base_test.c: memory, errors, buffers, arenas, maps, digests, CPUs. */
#include "libcore/base.h"
#include "libcore/arena.h"
#include "libcore/buf.h"
#include "libcore/cpu.h"
#include "libcore/ctx.h"
#include "libcore/hash.h"
#include "libcore/map.h"
#include "libcore/test.h"
#include <stdio.h>

K_TEST(err_sentence_is_cut_and_clean)
{
	struct k_err err = { 0 };
	char longer[1000];

	K_CHECK(k_err_set(&err, K_EFORMAT, "'%s' is %d", "a\nb\033[31m", 7) == K_EFORMAT);
	K_CHECK_MSG(!strcmp(err.msg, "'a?b?[31m' is 7"), "%s", err.msg);
	K_CHECK(k_err_add(&err, "while reading '%s'", "x") == K_EFORMAT);
	K_CHECK_MSG(!strcmp(err.msg, "'a?b?[31m' is 7, while reading 'x'"), "%s", err.msg);
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	memcpy(longer + 474, "\xe6\x9c\x88\xe6\x9c\x88", 6);
	k_err_set(&err, K_EIO, "%s", longer);
	K_CHECK(strlen(err.msg) < sizeof err.msg && !strcmp(err.msg + strlen(err.msg) - 3, "..."));
	K_CHECK(err.msg[strlen(err.msg) - 4] != '\xe6');
	k_err_add(&err, "more");
	K_CHECK(strlen(err.msg) < sizeof err.msg);
}

K_TEST(err_exit_statuses)
{
	K_CHECK(k_err_exit(0) == 0);
	K_CHECK(k_err_exit(K_ENO) == 1);
	K_CHECK(k_err_exit(K_EUSAGE) == 2);
	K_CHECK(k_err_exit(K_ETRUNC) == 3);
	K_CHECK(k_err_exit(K_EUNSUP) == 4);
	K_CHECK(k_err_exit(K_EIO) == 5);
	K_CHECK(k_err_exit(K_ENOMEM) == 6);
	K_CHECK(k_err_exit(K_ECANCEL) == 130);
	K_CHECK(k_err_exit(-1000) == 70);
	K_CHECK(!strcmp(k_err_name(K_ESHAPE), "K_ESHAPE"));
}

K_TEST(ctx_check_says_when_to_stop)
{
	volatile sig_atomic_t stop = 0;
	struct k_ctx ctx = { .stop = &stop };
	struct k_err err = { 0 };

	K_CHECK(k_ctx_check(&ctx, &err) == 0);
	stop = 2;
	K_CHECK(k_ctx_check(&ctx, &err) == K_ECANCEL);
}

K_TEST(buf_stops_at_its_limit)
{
	struct k_err err = { 0 };
	struct k_buf b;
	size_t n;
	char *p;

	k_buf_init(&b, 10);
	k_buf_puts(&b, "12345");
	k_buf_printf(&b, "%d", 67890);
	K_CHECK_OK(k_buf_ok(&b, "text", &err));
	K_CHECK(b.len == 10 && !strcmp(b.data, "1234567890"));
	k_buf_putc(&b, 'x');
	k_buf_reset(&b);
	K_CHECK(b.len == 0 && !b.failed);
	k_buf_puts(&b, "12345678901");
	k_buf_puts(&b, "1");
	K_CHECK(b.len == 0 && k_buf_ok(&b, "text", &err) == K_ENOMEM);
	K_CHECK(!k_buf_take(&b, &n));
	k_buf_puts(&b, "abc");
	p = k_buf_take(&b, &n);
	K_CHECK(p && n == 3 && !strcmp(p, "abc") && !b.data);
	k_free(p);
	k_buf_fini(&b);
}

K_TEST(arena_memory_is_aligned_and_zero)
{
	struct k_arena a;

	k_arena_init(&a);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < 300; i++) {
			char *p = k_arena_alloc(&a, i * 7), *q = k_arena_aligned(&a, i),
			     *s = k_arena_printf(&a, "%zu", i);

			K_CHECK(p && q && s);
			K_CHECK((uintptr_t)p % 16 == 0 && (uintptr_t)q % 64 == 0);
			for (size_t j = 0; j < i * 7; j++)
				K_CHECK(!p[j]);
			memset(p, 0xff, i * 7);
			memset(q, 0xff, i);
			K_CHECK((size_t)s[0] - '0' < 10);
		}
		K_CHECK(k_arena_alloc(&a, 3 << 20));
		K_CHECK(!k_arena_array(&a, SIZE_MAX / 2, 3));
		K_CHECK(!k_arena_alloc(&a, SIZE_MAX - 3));
		K_CHECK(!strcmp(k_arena_strndup(&a, "abcdef", 3), "abc"));
		k_arena_reset(&a);
	}
	k_arena_fini(&a);
}

K_TEST(map_finds_what_was_put)
{
	static char keys[5000][24];
	struct k_map m;

	k_map_init(&m);
	K_CHECK(!k_map_find(&m, "x", 1));
	for (int i = 0; i < 5000; i++) {
		int n = snprintf(keys[i], sizeof keys[i], "model.layers.%d.w", i);

		K_CHECK(k_map_put(&m, keys[i], (size_t)n, keys[i]) == 1);
		K_CHECK(k_map_put(&m, keys[i], (size_t)n, NULL) == 0);
	}
	for (int i = 0; i < 5000; i++)
		K_CHECK(k_map_find(&m, keys[i], strlen(keys[i])) == keys[i]);
	K_CHECK(!k_map_find(&m, keys[0], strlen(keys[0]) - 1));
	K_CHECK(k_map_put(&m, "", 0, keys) == 1 && k_map_find(&m, "", 0) == keys);
	K_CHECK(m.n == 5001);
	k_map_fini(&m);
}

/* The lower half of SipHash-1-3 of 00, 00 01, 00 01 02, ... under the key zero: hash(bytes(range(n))) of Python 3.11 with PYTHONHASHSEED=0. */
K_TEST(map_hash_is_siphash_1_3)
{
	static const uint32_t want[] = {
		0x8e01e473, 0xc41e3669, 0x8ef6e0ad, 0x813e4dbd, 0xdff36275, 0x624f1cdb, 0xc751325a, 0x7ebe2eea, 0x95124362, 0x5ab51a1d, 0x6617fcff, 0x0f9fe1c2,
		0x850f8e0d, 0x79fbfe67, 0xbb91c9ea, 0x33a5c5b7, 0x2c009c1d, 0x3044067d, 0x29f87d19, 0xe68c0100, 0xb5213239, 0x6236ccfe, 0x89daa4ff, 0xaf932f3a,
	};
	static const char text[] = "\0\1\2\3\4\5\6\a\b\t\n\v\f\r\16\17\20\21\22\23\24\25\26\27";
	const uint64_t secret[2] = { 0, 0 };

	for (size_t n = 1; n <= K_LEN(want); n++)
		K_CHECK_MSG(k_map_hash(secret, text, n) == want[n - 1], "of %zu bytes", n);
}

K_TEST(zeros_of_any_size_are_aligned_and_zero)
{
	static const size_t sizes[] = { 0, 1, 63, 4096, (1 << 18) - 64, (1 << 18) - 63, 5 << 20 };

	for (size_t i = 0; i < K_LEN(sizes); i++) {
		char *p = k_zeros(sizes[i]);

		K_CHECK(p && (uintptr_t)p % 64 == 0);
		for (size_t j = 0; p && j < sizes[i]; j++)
			K_CHECK(!p[j]);
		memset(p, 0xff, sizes[i]);
		k_zeros_free(p);
	}
	K_CHECK(!k_zeros(SIZE_MAX) && !k_zeros(SIZE_MAX - 100));
	k_zeros_free(NULL);
}

K_TEST(sha256_of_known_texts)
{
	/* FIPS 180-4 examples. */
	static const char *const cases[][2] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	};
	struct k_err err = { 0 };
	struct k_sha256 *h;
	uint8_t d[32];
	char hex[65];

	K_CHECK_OK(k_sha256_new(&h, &err));
	for (size_t i = 0; i < K_LEN(cases); i++) {
		K_CHECK_OK(k_sha256_once(cases[i][0], strlen(cases[i][0]), d, &err));
		k_hex(hex, d);
		K_CHECK(!strcmp(hex, cases[i][1]));
		for (const char *p = cases[i][0]; *p; p++)
			k_sha256_add(h, p, 1);
		k_sha256_end(h, d);
		k_hex(hex, d);
		K_CHECK(!strcmp(hex, cases[i][1]));
	}
	k_sha256_free(h);
}

K_TEST(cpu_answers)
{
	K_CHECK(k_cpu_count() >= 1);
	K_CHECK(k_cpu_has(""));
	K_CHECK(!k_cpu_has("no-such-feature"));
	K_CHECK(!k_cpu_has("sse4.2 no-such-feature"));
	char why[80] = "";
	K_CHECK(!k_cpu_lacks("", why, sizeof(why)) && !*why);
	K_CHECK(k_cpu_lacks(" no-such-feature", why, sizeof(why)) && strstr(why, "no-such-feature"));
#ifdef __x86_64__
	K_CHECK(k_cpu_has("avx2 fma") == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")));
	K_CHECK(k_cpu_has("avx512vnni") == !!__builtin_cpu_supports("avx512vnni"));
	K_CHECK(k_cpu_has("amd") == !!__builtin_cpu_is("amd"));
#endif
}
