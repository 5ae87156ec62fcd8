/* tile_test.c: the model of AMX's tiles: products by hand, and what a processor would stop at. */
#include "libcore/base.h"
#include "kernels/amxsim/tile_sim.h"
#include "libcore/cpu.h"
#include "libcore/test.h"

static void need_fma(void)
{
	if (!k_cpu_has("avx2 fma f16c"))
		k_test_skip("the model is compiled for AVX2");
}

/* Tiles 0, 1, 2 as a result of m x n words and its operands of k bytes a row. */
static struct tile_config product(int m, int n, int k)
{
	struct tile_config c = { 0 };
	tile_shape(&c, 0, m, 4 * n);
	tile_shape(&c, 1, m, k);
	tile_shape(&c, 2, k / 4, 4 * n);
	return c;
}

K_TEST(tiles_of_bytes_by_hand)
{
	struct tiles s;
	struct tile_config c = product(2, 2, 8);
	const int8_t a[2][8] = { { 1, -2, 3, 4, 5, 6, 7, 8 }, { -128, -128, -128, -128, 127, 127, 127, 127 } };
	/* Row 0 has k = 0..3 of column 0, then of column 1; row 1 has k = 4..7. */
	const int8_t b[2][8] = { { 1, 1, 1, 1, -128, -128, -128, -128 }, { 2, 0, 0, 0, 127, 127, 127, 127 } };
	int32_t y[2][2] = { { 100, 0 }, { 0, -7 } };
	need_fma();
	tile_begin(&s, &c);
	tile_load(&s, 0, y, 8);
	tile_load(&s, 1, a, 8);
	tile_load(&s, 2, b, 8);
	tile_dot_i8(&s, 0, 1, 2);
	tile_store(&s, 0, y, 8);
	K_CHECK(!s.wrong);
	tile_end(&s);
	K_CHECK(y[0][0] == 100 + 6 + 10 && y[0][1] == -128 * 6 + 127 * 26);
	K_CHECK(y[1][0] == -512 + 254 && y[1][1] == -7 + 4 * 16384 + 4 * 16129);
}

static uint16_t bf(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof(u));
	return (uint16_t)(u >> 16);
}

/* One element, two pairs: start + (a0 b0 + a2 b2) + (a1 b1 + a3 b3). */
static float one_element(float start, const uint16_t a[4], const uint16_t b[4])
{
	struct tiles s;
	struct tile_config c = product(1, 1, 8);
	tile_begin(&s, &c);
	tile_load(&s, 0, &start, 4);
	tile_load(&s, 1, a, 8);
	tile_load(&s, 2, b, 4);
	tile_dot_bf16(&s, 0, 1, 2);
	tile_store(&s, 0, &start, 4);
	K_CHECK(!s.wrong);
	tile_end(&s);
	return start;
}

/* Where sums are made in another order these come out otherwise. */
K_TEST(tiles_of_bf16_by_hand)
{
	const uint16_t ones[4] = { bf(1), bf(1), bf(1), bf(1) };
	need_fma();
	K_CHECK(one_element(0, ones, (uint16_t[]){ bf(0x1p24f), bf(1), bf(-0x1p24f), bf(1) }) == 2);
	K_CHECK(one_element(0x1p24f, ones, (uint16_t[]){ bf(1), bf(1), 0, 0 }) == 0x1p24f + 2);
	K_CHECK(one_element(0x1p24f, ones, (uint16_t[]){ bf(1), 0, 0, 0 }) == 0x1p24f);
	K_CHECK(one_element(1, ones, (uint16_t[]){ bf(0.5f), bf(0.25f), bf(-3), bf(8) }) == 6.75f);
	/* Denormals are zeros: an operand, a product, the element. */
	K_CHECK(one_element(0, (uint16_t[]){ 1, 0, 0, 0 }, (uint16_t[]){ bf(0x1p100f), 0, 0, 0 }) == 0);
	K_CHECK(one_element(0, (uint16_t[]){ bf(0x1p-100f), 0, 0, 0 }, (uint16_t[]){ bf(0x1p-30f), 0, 0, 0 }) == 0);
	K_CHECK(one_element(0x1p-140f, ones, (uint16_t[4]){ 0 }) == 0);
	float nan = one_element(0, ones, (uint16_t[]){ 0, 0x7fc0, 0, 0 });
	K_CHECK(nan != nan);
}

K_TEST(tiles_are_zeros_beyond_their_shape)
{
	struct tiles s;
	struct tile_config c = { 0 };
	uint8_t from[16 * 64], to[16 * 64];
	need_fma();
	memset(from, 7, sizeof(from));
	memset(to, 1, sizeof(to));
	tile_shape(&c, 3, 2, 12);
	tile_begin(&s, &c);
	memset(s.data[3], 9, sizeof(s.data[3]));
	tile_load(&s, 3, from, 64);
	K_CHECK(s.data[3][1][11] == 7 && s.data[3][1][12] == 0 && s.data[3][2][0] == 0);
	tile_store(&s, 3, to, 64);
	K_CHECK(to[11] == 7 && to[12] == 1 && to[64 + 11] == 7 && to[128] == 1);
}

/* What is changed of good shapes, and the sentence. */
K_TEST(tiles_of_no_shape)
{
	static const struct { int at, value; const char *wrong; } cases[] = {
		{ 0, 0, "palette" }, { 0, 2, "palette" }, { 1, 1, "start row" }, { 2, 1, "reserved" }, { 15, 1, "reserved" }, { 32, 1, "reserved" },
		{ 63, 1, "reserved" }, { 48, 17, "more rows" }, { 16, 65, "more bytes" }, { 17, 1, "more bytes" }, { 48, 0, "without" }, { 16, 0, "without" },
		{ 55, 1, "without" },
	};
	need_fma();
	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct tiles s;
		struct tile_config c = product(16, 16, 64);
		((uint8_t *)&c)[cases[i].at] = (uint8_t)cases[i].value;
		tile_begin(&s, &c);
		K_CHECK_MSG(s.wrong && strstr(s.wrong, cases[i].wrong), "byte %d: %s", cases[i].at, s.wrong ? s.wrong : "accepted");
		tile_zero(&s, 0);
		K_CHECK(strstr(s.wrong, cases[i].wrong));
	}
}

K_TEST(tiles_that_do_not_fit)
{
	static const struct { int tile, rows, bytes; const char *wrong; } cases[] = {
		{ 0, 5, 64, "rows of the first" }, { 0, 16, 32, "columns of the second" }, { 2, 8, 64, "as many rows" }, { 1, 16, 32, "as many rows" },
		{ 1, 16, 62, "whole words" }, { 2, 0, 0, "no shape" },
	};
	need_fma();
	for (size_t i = 0; i < 2 * K_LEN(cases); i++) {
		struct tiles s;
		struct tile_config c = product(16, 16, 64);
		tile_shape(&c, cases[i / 2].tile, cases[i / 2].rows, cases[i / 2].bytes);
		tile_begin(&s, &c);
		K_CHECK(!s.wrong);
		if (i % 2)
			tile_dot_i8(&s, 0, 1, 2);
		else
			tile_dot_bf16(&s, 0, 1, 2);
		K_CHECK_MSG(s.wrong && strstr(s.wrong, cases[i / 2].wrong), "case %zu: %s", i, s.wrong ? s.wrong : "accepted");
	}
	struct tiles s;
	struct tile_config c = product(16, 16, 64);
	tile_begin(&s, &c);
	tile_dot_i8(&s, 0, 1, 1);
	K_CHECK(strstr(s.wrong, "not three"));
	tile_begin(&s, &c);
	tile_load(&s, 8, &c, 64);
	K_CHECK(strstr(s.wrong, "no such tile"));
	tile_begin(&s, &c);
	tile_end(&s);
	tile_zero(&s, 0);
	K_CHECK(strstr(s.wrong, "no shapes"));
}
