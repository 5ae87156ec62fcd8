/* pack_test.c: the codec of packed containers: every type, awkward lengths, a payload by hand, every kind of damage. Buffers are as
 * long as they must be and no longer, so that a sanitizer sees a byte too many. */
#include "libcore/base.h"
#include "libcore/gz.h"
#include "libcore/pack.h"
#include "libcore/test.h"

/* Bytes that pack a little: few high bits, runs. */
static void noise(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(i % 3 ? (seed >> 24) & (seed >> 20) & 0x3b : 0x3f);
	}
}

/* There and back; the packed length, 0: it got no smaller. */
static size_t there_and_back(const struct k_pack_fields *f, size_t n, uint32_t seed)
{
	uint8_t *src = k_alloc(n), *dst = k_alloc(n), *scratch = k_alloc(n), *packed;
	struct k_err err = { 0 };
	size_t len;

	K_CHECK(src && dst && scratch);
	noise(src, n, seed);
	K_CHECK_OK(k_pack_encode(dst, &len, src, n, f, scratch, &err));
	K_CHECK(len < n || n == 0);
	if (len) {
		packed = k_alloc(len);
		K_CHECK(packed);
		memcpy(packed, dst, len);
		memset(dst, 0xee, n);
		K_CHECK_OK(k_pack_decode(dst, n, packed, len, scratch, &err));
		K_CHECK(memcmp(src, dst, n) == 0);
		for (size_t cut = 0; cut < len; cut += 1 + len / 37)
			K_CHECK(k_pack_decode(dst, n, packed, cut, scratch, &err) == K_EFORMAT);
		K_CHECK(n < 2 || k_pack_decode(dst, n - 1, packed, len, scratch, &err) == K_EFORMAT);
		k_free(packed);
	}
	k_free(src);
	k_free(dst);
	k_free(scratch);
	return len;
}

K_TEST(pack_types)
{
	static const int64_t rows[] = { 1, 2, 16, 48, 127, 128, 129, 300 };
	const struct k_qtype *t;
	struct k_pack_fields f;
	struct k_err err = { 0 };

	for (int i = 0; (t = k_qtype_at(i)); i++)
		for (size_t j = 0; j < K_LEN(rows); j++)
			for (int64_t cols = 256; cols <= 768; cols += 512) {
				struct k_entry e = { .name = "x", .type = t, .ndim = 2, .shape = { rows[j], cols } };
				size_t len;

				if (k_qtype_refuses(t, rows[j], cols))
					continue;
				K_CHECK_OK(k_entry_size(&e, &err));
				k_pack_fields_of(&e, &f);
				len = there_and_back(&f, (size_t)e.bytes, (uint32_t)(i + 7));
				K_CHECK_MSG(len || e.bytes < 300, "%s %s of %lld x %lld does not get smaller", t->name, t->layout, (long long)rows[j], (long long)cols);
			}
}

K_TEST(pack_lengths)
{
	static const struct k_pack_fields fields[] = {
		{ true, 1, { { 1, 1, false } } },
		{ true, 1, { { 2, 2, true } } },
		{ true, 1, { { 4, 4, true } } },
		{ true, 1, { { 8, 8, false } } },
		{ true, 1, { { 8, 8, true } } },
		{ false, 4, { { 3, 1, false }, { 4, 2, true }, { 5, 1, false }, { 8, 8, false } } },
		{ true, 2, { { 12, 4, false }, { 1u << 30, 1, false } } },
	};

	for (size_t i = 0; i < K_LEN(fields); i++)
		for (size_t n = 0; n < 100; n++)
			there_and_back(&fields[i], n, 3);
	for (size_t i = 0; i < K_LEN(fields); i++)
		K_CHECK(there_and_back(&fields[i], 48000, 5));
	K_CHECK(there_and_back(&fields[0], ((size_t)2 << 20) - 1, 5));
}

/* -1, 1 and 2 in bf16: the sign goes to the low end, the exponent makes a byte. */
K_TEST(pack_by_hand)
{
	static const uint8_t packed[] = { 1, 2, 0, 0, 0, 0x82, 0, 3, 0, 0, 0, 0x01, 0x00, 0x00, 0, 3, 0, 0, 0, 0x7f, 0x7f, 0x80 };
	static const uint8_t want[] = { 0x80, 0xbf, 0x80, 0x3f, 0x00, 0x40 };
	/* scales of two rows apart from their codes: fields of 2 x 2 bytes and 3 bytes, the last one cut off */
	static const uint8_t rows[] = { 2, 4, 0, 0, 0, 2, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 1, 3, 5, 7, 0, 4, 0, 0, 0, 2, 4, 6, 8, 0, 5, 0, 0, 0, 10, 11, 12, 13, 14 };
	static const uint8_t want_rows[] = { 1, 2, 3, 4, 10, 11, 12, 5, 6, 7, 8, 13, 14 };
	uint8_t dst[16], scratch[16];
	struct k_err err = { 0 };

	K_CHECK_OK(k_pack_decode(dst, sizeof(want), packed, sizeof(packed), scratch, &err));
	K_CHECK(memcmp(dst, want, sizeof(want)) == 0);
	K_CHECK_OK(k_pack_decode(dst, sizeof(want_rows), rows, sizeof(rows), scratch, &err));
	K_CHECK(memcmp(dst, want_rows, sizeof(want_rows)) == 0);
	K_CHECK(k_pack_decode(dst, 9, rows, sizeof(rows), scratch, &err) == K_EFORMAT);  /* within a scale */
}

K_TEST(pack_no_gain)
{
	struct k_pack_fields f = { true, 1, { { 1, 1, false } } };
	uint8_t src[4096], dst[4096], scratch[4096];
	struct k_err err = { 0 };
	uint64_t x = 88172645463325252u;
	size_t len = 1;

	for (size_t i = 0; i < sizeof(src); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		src[i] = (uint8_t)(x >> 11);
	}
	K_CHECK_OK(k_pack_encode(dst, &len, src, sizeof(src), &f, scratch, &err));
	K_CHECK(len == 0);
	f.numbers = false;
	K_CHECK_OK(k_pack_encode(dst, &len, src, sizeof(src), &f, scratch, &err));
	K_CHECK(len == 0);
	memset(src, 7, sizeof(src));
	K_CHECK_OK(k_pack_encode(dst, &len, src, sizeof(src), &f, scratch, &err));
	K_CHECK(len > 0 && len < 64);
}

/* Every bit of a payload changed once: refused, or other bytes of the same number; nothing outside. */
K_TEST(pack_damage)
{
	struct k_pack_fields f = { true, 2, { { 8, 2, true }, { 8, 1, false } } };
	enum { N = 1600 };
	uint8_t *src = k_alloc(N), *dst = k_alloc(N), *scratch = k_alloc(N), *packed;
	struct k_err err = { 0 };
	int refused = 0;
	size_t len;

	K_CHECK(src && dst && scratch);
	noise(src, N, 9);
	K_CHECK_OK(k_pack_encode(dst, &len, src, N, &f, scratch, &err));
	K_CHECK(len > 100);
	packed = k_alloc(len);
	K_CHECK(packed);
	memcpy(packed, dst, len);
	for (size_t i = 0; i < 8 * len; i++) {
		packed[i / 8] ^= (uint8_t)(1 << i % 8);
		refused += k_pack_decode(dst, N, packed, len, scratch, &err) == K_EFORMAT;
		packed[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	K_CHECK(refused > 40);
	k_free(src);
	k_free(dst);
	k_free(scratch);
	k_free(packed);
}

/* A deflated plane that would fill a disk writes no byte too many. */
K_TEST(pack_bomb)
{
	enum { BIG = 1 << 20 };
	uint8_t *zeros = k_calloc(BIG, 1), *packed = k_alloc(BIG), *dst = k_alloc(100);
	struct k_err err = { 0 };
	size_t len;

	K_CHECK(zeros && packed && dst);
	K_CHECK_OK(k_deflate(packed, BIG, &len, zeros, BIG, K_DEFLATE_MATCH, &err));
	K_CHECK(len > 0 && len < 2048);
	K_CHECK(k_inflate(dst, 100, packed, len, &err) == K_EFORMAT);
	K_CHECK(k_inflate(dst, 0, packed, len, &err) == K_EFORMAT);
	K_CHECK(k_inflate(zeros, BIG, packed, len - 1, &err) == K_EFORMAT);
	K_CHECK_OK(k_inflate(zeros, BIG, packed, len, &err));
	packed[len] = 0;
	K_CHECK(k_inflate(zeros, BIG, packed, len + 1, &err) == K_EFORMAT);
	K_CHECK_OK(k_deflate(packed, len, &len, zeros, BIG, K_DEFLATE_MATCH, &err));
	K_CHECK(len == 0);
	k_free(zeros);
	k_free(packed);
	k_free(dst);
}
