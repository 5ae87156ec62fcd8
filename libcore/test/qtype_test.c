/* qtype_test.c: every type of qtype.h by its own promises: bytes, bounds of the error, refusals, movement between layouts. Other
 * people's packed data are in qtype_golden_test.c. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "libcore/qtype.h"
#include "libcore/test.h"
#include <float.h>
#include <math.h>
#include <stdio.h>

static uint64_t rng = 20251;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static float uniform(void) { return (float)((double)(rnd() >> 11) * 0x1p-52 - 1); }

static void *need(size_t n)
{
	void *p = k_calloc(1, n ? n : 1);
	K_CHECK(p);
	return p;
}

/* A shape that the type takes: `rows` and about `cols`. */
static int64_t fit(const struct k_qtype *t, int64_t cols) { return k_div_up(cols, t->col_granule) * t->col_granule; }

static const struct k_quant_opts rules[] = { { .scale = K_SCALE_AMAX7 }, { .scale = K_SCALE_AMAX75 } };

K_TEST(qtype_registry)
{
	const struct k_qtype *t, *u;
	for (int i = 0; (t = k_qtype_at(i)); i++) {
		K_CHECK_MSG(k_qtype_find(t->name, t->layout) == t, "%s %s", t->name, t->layout);
		K_CHECK_MSG(t->group >= 1 && t->col_granule % t->group == 0 && t->granule >= 1 && t->bits > 0 && t->about && t->granule_bytes, "%s", t->name);
		K_CHECK_MSG(!t->st_dtype || (t->plain && k_qtype_by_dtype(t->st_dtype) == t), "%s", t->name);
		K_CHECK_MSG(t->gguf_type < 0 || k_qtype_by_gguf((uint32_t)t->gguf_type) == t, "%s", t->name);
		K_CHECK_MSG(!t->quant || (t->dequant && t->check), "%s", t->name);
		K_CHECK_MSG(t->plain == (t->elem_bytes > 0), "%s", t->name);
		for (int k = 0; k < i; k++) {
			u = k_qtype_at(k);
			K_CHECK_MSG(strcmp(t->name, u->name) || strcmp(t->layout, u->layout), "%s %s twice", t->name, t->layout);
		}
	}
	K_CHECK(!k_qtype_at(-1) && !k_qtype_find("i4g32", "x8") && !k_qtype_find("", NULL) && !k_qtype_by_dtype("F4") && !k_qtype_by_gguf(1000));
	K_CHECK(k_qtype_find("i4g32", "x16")->granule == 16 && k_qtype_find("fp8b128", NULL)->granule == 128);
}

K_TEST(qtype_bits_are_what_bytes_say)
{
	const struct k_qtype *t;
	for (int i = 0; (t = k_qtype_at(i)); i++) {
		uint64_t bytes = 0;
		K_CHECK(k_qtype_slice_bytes(t, 2048, 7168, &bytes));
		K_CHECK_MSG(fabs((double)bytes * 8 / (2048.0 * 7168) - t->bits) < 0.01, "%s %s: %g bits, says %g", t->name, t->layout,
			(double)bytes * 8 / (2048.0 * 7168), t->bits);
	}
}

K_TEST(qtype_slice_is_its_granules)
{
	const struct k_qtype *t, *fp8 = k_qtype_find("fp8b128", NULL);
	uint64_t bytes, sum;
	for (int i = 0; (t = k_qtype_at(i)); i++)
		for (int64_t rows = 0; rows < 300; rows += t->full_granules ? t->granule : 13) {
			int64_t cols = fit(t, 1 + rows / 2);
			sum = 0;
			for (int64_t r = 0; r < rows; r += t->granule)
				sum += t->granule_bytes(cols, (int)K_MIN((int64_t)t->granule, rows - r));
			K_CHECK(k_qtype_slice_bytes(t, rows, cols, &bytes) && bytes == sum);
			K_CHECK_MSG(!k_qtype_refuses(t, rows, cols), "%s refuses %lld x %lld", t->name, (long long)rows, (long long)cols);
		}
	K_CHECK(k_qtype_slice_bytes(fp8, 576, 7168, &bytes) && bytes == 5 * 56 * 4 + 576 * 7168);
	K_CHECK(k_qtype_slice_bytes(k_qtype_find("f32", NULL), 0, INT64_MAX, &bytes) && bytes == 0);
	K_CHECK(!k_qtype_slice_bytes(k_qtype_find("f32", NULL), INT64_MAX, 2, &bytes));
	K_CHECK(!k_qtype_slice_bytes(k_qtype_find("u8", NULL), INT64_MAX, 3, &bytes));
	K_CHECK(!k_qtype_slice_bytes(fp8, -1, 5, &bytes) && !k_qtype_slice_bytes(fp8, 5, -1, &bytes));
	K_CHECK(!k_qtype_slice_bytes(k_qtype_find("i4g32", NULL), INT64_MAX, 1 << 20, &bytes));
	K_CHECK(!k_qtype_slice_bytes(fp8, 1, (int64_t)1 << 62, &bytes));
}

K_TEST(qtype_refuses_shapes)
{
	const struct k_qtype *rows = k_qtype_find("i4g32", NULL), *x16 = k_qtype_find("i4g32", "x16");
	K_CHECK(strstr(k_qtype_refuses(rows, 5, 48), "multiple of 32") && !k_qtype_refuses(rows, 5, 64));
	K_CHECK(strstr(k_qtype_refuses(x16, 17, 64), "multiple of 16") && strstr(k_qtype_refuses(x16, 16, 96), "multiple of 64"));
	K_CHECK(strstr(k_qtype_refuses(k_qtype_find("q4_k", NULL), 1, 128), "multiple of 256"));
	K_CHECK(k_qtype_refuses(rows, -1, 32) && k_qtype_refuses(rows, 1, -32) && k_qtype_refuses(rows, 1, (int64_t)1 << 41));
	K_CHECK(k_qtype_for("i4g32", 2048, 7168) == x16 && k_qtype_for("i4g32", 2048, 7168 + 32) == rows && k_qtype_for("i4g32", 8, 64) == rows);
	K_CHECK(strstr(k_qtype_refuses(k_qtype_find("mxfp4", "x16"), 16, 64), "multiple of 128"));
	K_CHECK(k_qtype_for("mxfp4", 3072, 3584) == k_qtype_find("mxfp4", "x16") && k_qtype_for("mxfp4", 256, 64) == k_qtype_find("mxfp4", NULL));
	K_CHECK(k_qtype_for("bf16", 16, 64) == k_qtype_find("bf16", NULL) && !k_qtype_for("nothing", 16, 64));
}

/* --- round trips -------------------------------------------------------------------------------------------------------- */

enum { ROWS = 300, COLS = 320 };

/* The largest magnitude among the values that share a scale with (r, c): the rows of a granule begin at `first`. */
static double amax_of(const struct k_qtype *t, const float *x, int64_t cols, int64_t first, int64_t rows, int64_t r, int64_t c)
{
	int64_t width = t->granule == 128 ? 128 : t->group > 1 ? 32 : t->plain ? 1 : cols, from = c / width * width;
	int64_t top = t->granule == 128 ? first : r, end = t->granule == 128 ? first + rows : r + 1;
	double m = 0;
	for (int64_t i = top; i < end; i++)
		for (int64_t k = from; k < K_MIN(from + width, cols); k++)
			m = fmax(m, fabs((double)x[i * cols + k]));
	return m;
}

static void trip(const struct k_qtype *t, const float *x, int64_t rows, int64_t cols, const struct k_quant_opts *o)
{
	float *back = need((size_t)cols * sizeof(float));
	struct k_err err = { 0 };
	for (int64_t first = 0; first < rows; first += t->granule) {
		int n = (int)K_MIN((int64_t)t->granule, rows - first);
		size_t bytes = t->granule_bytes(cols, n);
		uint8_t *p = (uint8_t *)need(bytes + 1) + 1;    /* no type may want alignment */
		K_CHECK_OK(t->quant(p, x + first * cols, cols, n, o, &err));
		K_CHECK_OK(t->check(p, cols, n, &err));
		for (int64_t r = first; r < first + n; r++) {
			t->dequant(back, p, cols, n, (int)(r - first));
			for (int64_t c = 0; c < cols; c += 1 + (t->granule > 1 && (r & 7)) * 31) {
				double amax = amax_of(t, x, cols, first, n, r, c), off = fabs((double)back[c] - (double)x[r * cols + c]);
				/* Below its normal numbers f16 has a fixed step. */
				K_CHECK_MSG(off <= t->bound * amax || (t->gguf_type == 1 && off <= 0x1p-25), "%s %s (%lld, %lld): %g becomes %g, off by %g of %g, bound %g", t->name, t->layout,
					(long long)r, (long long)c, (double)x[r * cols + c], (double)back[c], off / amax, amax, t->bound);
			}
		}
		k_free(p - 1);
	}
	k_free(back);
}

/* Rows of different sizes; values that fill the range, values at its ends only, one large value among small ones. */
static void weights(float *x, int64_t rows, int64_t cols)
{
	for (int64_t r = 0; r < rows; r++) {
		float size = (float)pow(10, (double)((int)(r * 7 % 5) - 2));
		for (int64_t c = 0; c < cols; c++) {
			float u = uniform();
			int kind = (int)(r % 3);
			x[r * cols + c] = size * (kind == 0 ? u : kind == 1 ? (u > 0 ? 1.0f : -1.0f) : c % 32 == 5 ? 1.0f : u / 100);
		}
	}
}

K_TEST(qtype_round_trips_stay_in_bounds)
{
	float *x = need(ROWS * COLS * sizeof(float));
	const struct k_qtype *t;
	for (int i = 0; (t = k_qtype_at(i)); i++) {
		int64_t cols = fit(t, t->group > 1 ? COLS / 2 : 161), rows = t->full_granules ? 48 : 261;
		if (!t->quant)
			continue;
		weights(x, rows, cols);
		for (size_t k = 0; k < K_LEN(rules); k++)
			trip(t, x, rows, cols, &rules[k]);
		trip(t, x, t->full_granules ? t->granule : 1, t->col_granule, &rules[0]);
	}
	k_free(x);
}

/* Zeros stay zeros; the smallest and the largest floats either come back as numbers or are refused. */
K_TEST(qtype_ends_of_the_range)
{
	static const float values[] = { 0.0f, 0x1p-149f, 0x1p-130f, FLT_MIN, 1e-30f, 1e30f, 0x1p125f, 0x1p127f, FLT_MAX };
	const struct k_qtype *t;
	for (int i = 0; (t = k_qtype_at(i)); i++)
		for (size_t v = 0; t->quant && v < 2 * K_LEN(values); v++) {
			int64_t cols = fit(t, 64);
			int rows = t->full_granules ? t->granule : 3;
			float *x = need((size_t)(rows * cols) * sizeof(float)), *back = need((size_t)cols * sizeof(float));
			void *p = need(t->granule_bytes(cols, rows));
			struct k_err err = { 0 };
			for (int64_t k = 0; k < rows * cols; k++)
				x[k] = k % 3 ? values[v / 2] : -values[v / 2] * (v & 1 ? 1.0f : 0.5f);
			int r = t->quant(p, x, cols, rows, &rules[v & 1], &err);
			K_CHECK_MSG(r == 0 || ((r == K_ENO || r == K_EFORMAT) && v / 2 >= 5 && err.msg[0]), "%s %s, %g: %s", t->name, t->layout, (double)values[v / 2], err.msg);
			K_CHECK_MSG(r != K_ENO || t->check(p, cols, rows, &err) == K_EFORMAT, "%s %s: %g is too large, and passes", t->name, t->layout, (double)values[v / 2]);
			for (int k = 0; r == 0 && k < rows; k++) {
				K_CHECK_OK(t->check(p, cols, rows, &err));
				t->dequant(back, p, cols, rows, k);
				for (int64_t c = 0; c < cols; c++)
					K_CHECK_MSG(isfinite(back[c]) && (v > 1 || back[c] == 0), "%s %s: %g becomes %g", t->name, t->layout,
						(double)x[k * cols + c], (double)back[c]);
			}
			k_free(x);
			k_free(back);
			k_free(p);
		}
}

K_TEST(qtype_quant_refuses_what_is_no_number)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY };
	static const char *const names[] = { "NaN", "infinity", "-infinity" };
	const struct k_qtype *t;
	for (int i = 0; (t = k_qtype_at(i)); i++)
		for (int k = 0; t->quant && k < 12; k++) {
			int64_t cols = fit(t, 130), at;
			int rows = t->full_granules ? t->granule : (int)K_MIN(t->granule, 5);
			float *x = need((size_t)(rows * cols) * sizeof(float));
			void *p = need(t->granule_bytes(cols, rows));
			struct k_err err = { 0 };
			char place[80];
			for (int64_t j = 0; j < rows * cols; j++)
				x[j] = uniform();
			at = (int64_t)(rnd() % (uint64_t)(rows * cols));
			x[at] = bad[k % 3];
			snprintf(place, sizeof(place), "value %s at row %lld, column %lld", names[k % 3], (long long)(at / cols), (long long)(at % cols));
			K_CHECK_MSG(t->quant(p, x, cols, rows, &rules[k & 1], &err) == K_EFORMAT, "%s %s took %s", t->name, t->layout, names[k % 3]);
			K_CHECK_MSG(strstr(err.msg, place), "%s: '%s', wanted '%s'", t->name, err.msg, place);
			k_free(x);
			k_free(p);
		}
}

/* --- check -------------------------------------------------------------------------------------------------------------- */

/* Bytes put into a granule that was good; where the message must say it is. */
static const struct poke { const char *type, *layout; int rows, cols, at, n; uint8_t bytes[8]; int row, col; } pokes[] = {
	{ "i4g32", "rows", 1, 64, 2, 2, { 0xc0, 0x7f }, 0, 32 }, { "i4g32", "rows", 1, 64, 0, 2, { 0x80, 0xff }, 0, 0 },
	{ "i4g32", "rows", 3, 64, 72, 2, { 0x80, 0x7f }, 2, 0 },
	{ "i4g32", "x16", 16, 128, 576 + 4 * 7 + 2, 2, { 0x80, 0x7f }, 7, 96 }, { "i4g32", "x16", 16, 64, 60, 2, { 0x81, 0xff }, 15, 0 },
	{ "fp8b128", "rows", 3, 200, 4, 4, { 0, 0, 0x80, 0x7f }, 0, 128 }, { "fp8b128", "rows", 3, 200, 0, 4, { 0, 0, 0x80, 0xbf }, 0, 0 },
	{ "fp8b128", "rows", 3, 200, 4, 4, { 0, 0, 0xc0, 0x7f }, 0, 128 },
	{ "fp8b128", "rows", 3, 200, 8 + 200 + 150, 1, { 0x7f }, 1, 150 }, { "fp8b128", "rows", 3, 200, 8 + 599, 1, { 0xff }, 2, 199 },
	{ "i8row", "rows", 2, 10, 14, 4, { 0, 0, 0x80, 0x7f }, 1, 0 }, { "i8row", "rows", 2, 10, 0, 4, { 1, 0, 0xc0, 0xff }, 0, 0 },
	{ "mxfp4", "rows", 2, 64, 35, 1, { 255 }, 1, 32 }, { "mxfp4", "rows", 2, 64, 0, 3, { 254, 127, 0x70 }, 0, 0 },
	{ "mxfp4", "x16", 16, 256, 1088 + 4 * 7 + 3, 1, { 255 }, 7, 224 }, { "mxfp4", "x16", 16, 128, 4 * 15 + 1, 1, { 255 }, 15, 32 },
	{ "mxfp4", "gguf", 2, 64, 17, 1, { 255 }, 0, 32 }, { "mxfp4", "gguf", 2, 64, 51, 2, { 254, 7 }, 1, 32 },
	{ "q4_0", "rows", 2, 64, 18, 2, { 0, 0x7c }, 0, 32 }, { "q4_1", "rows", 2, 64, 42, 2, { 0, 0xfc }, 1, 0 },
	{ "q5_0", "rows", 2, 64, 22, 2, { 1, 0x7c }, 0, 32 }, { "q5_1", "rows", 2, 64, 74, 2, { 0, 0x7e }, 1, 32 },
	{ "q8_0", "rows", 2, 64, 34, 2, { 0, 0x7c }, 0, 32 }, { "q2_k", "rows", 2, 256, 84 + 82, 2, { 0, 0x7c }, 1, 0 },
	{ "q3_k", "rows", 1, 512, 110 + 108, 2, { 0, 0x7c }, 0, 256 }, { "q4_k", "rows", 2, 256, 144 + 2, 2, { 0, 0x7c }, 1, 0 },
	{ "q5_k", "rows", 2, 256, 0, 2, { 0, 0x7c }, 0, 0 }, { "q6_k", "rows", 2, 256, 208, 2, { 0, 0xfe }, 0, 0 },
	{ "iq4_nl", "rows", 2, 64, 18, 2, { 0, 0x7c }, 0, 32 }, { "iq4_xs", "rows", 2, 256, 136, 2, { 0, 0x7c }, 1, 0 },
	{ "f32", "rows", 2, 50, 4 * 73, 4, { 0, 0, 0x80, 0xff }, 1, 23 }, { "f32", "rows", 2, 50, 0, 4, { 1, 0, 0x80, 0x7f }, 0, 0 },
	{ "bf16", "rows", 2, 50, 2 * 99, 2, { 0x80, 0x7f }, 1, 49 }, { "f16", "rows", 2, 50, 2 * 33, 2, { 0, 0xfc }, 0, 33 },
	{ "f64", "rows", 2, 50, 8 * 60, 8, { 0, 0, 0, 0, 0, 0, 0xf0, 0x7f }, 1, 10 }, { "f8_e4m3", "rows", 2, 50, 40, 1, { 0xff }, 0, 40 },
	{ "f8_e5m2", "rows", 2, 50, 40, 1, { 0x7c }, 0, 40 }, { "f8_e8m0", "rows", 2, 50, 70, 1, { 0xff }, 1, 20 },
	{ "i4z32", "rows", 2, 64, 42 + 4, 4, { 0, 0, 0x80, 0x7f }, 1, 32 }, { "i4z32", "rows", 2, 64, 8 + 1, 1, { 17 }, 0, 32 },
	{ "i8z32", "rows", 2, 64, 76, 4, { 0, 0, 0xc0, 0x7f }, 1, 0 }, { "i8z32", "rows", 2, 64, 8 + 2, 2, { 1, 1 }, 0, 32 },
	{ "fp8row", "rows", 2, 10, 14, 4, { 0, 0, 0x80, 0x7f }, 1, 0 }, { "fp8row", "rows", 2, 10, 14 + 4 + 7, 1, { 0xff }, 1, 7 },
	{ "mxfp8", "rows", 2, 64, 1, 1, { 255 }, 0, 32 }, { "mxfp8", "rows", 2, 64, 66 + 2 + 40, 1, { 0x7f }, 1, 40 },
	{ "mxfp8", "rows", 2, 64, 0, 1, { 247 }, 0, 0 },
	{ "nvfp4", "rows", 2, 64, 40, 4, { 0, 0, 0x80, 0x7f }, 1, 0 }, { "nvfp4", "rows", 2, 64, 40, 4, { 0, 0, 0x80, 0xbf }, 1, 0 },
	{ "nvfp4", "rows", 2, 64, 4 + 2, 1, { 0x7f }, 0, 32 },
	/* Products that leave the range of f32. */
	{ "i4g32", "rows", 1, 32, 0, 3, { 0x7f, 0x7f, 0 }, 0, 0 }, { "i4g32", "x16", 16, 64, 4 * 9, 2, { 0x7f, 0x7f }, 9, 0 },
	{ "i8row", "rows", 1, 10, 0, 5, { 0, 0, 0x80, 0x7e, 100 }, 0, 0 }, { "fp8b128", "rows", 1, 100, 0, 5, { 0, 0, 0x80, 0x7e, 0x7e }, 0, 0 },
};

K_TEST(qtype_check_names_the_place)
{
	bool covered[200] = { false };
	const struct k_qtype *t;
	for (size_t i = 0; i < K_LEN(pokes); i++) {
		const struct poke *k = &pokes[i];
		struct k_err err = { 0 };
		char place[64];
		t = k_qtype_find(k->type, k->layout);
		K_CHECK_MSG(t, "no %s %s", k->type, k->layout);
		size_t bytes = t->granule_bytes(k->cols, k->rows);
		uint8_t *p = need(bytes);
		/* Zeros are good values of every type but one, which divides. */
		for (int r = 0; r < k->rows && !strcmp(t->name, "nvfp4"); r++)
			memcpy(p + (size_t)r * t->granule_bytes(k->cols, 1), (uint8_t[]){ 0, 0, 0x80, 0x3f }, 4);
		K_CHECK_MSG(t->check(p, k->cols, k->rows, &err) == 0, "%s: zeros: %s", t->name, err.msg);
		K_CHECK((size_t)(k->at + k->n) <= bytes);
		memcpy(p + k->at, k->bytes, (size_t)k->n);
		snprintf(place, sizeof(place), "row %d, column %d", k->row, k->col);
		K_CHECK_MSG(t->check(p, k->cols, k->rows, &err) == K_EFORMAT, "%s %s: poke %zu is let through", t->name, t->layout, i);
		K_CHECK_MSG(strstr(err.msg, place), "%s: '%s', wanted '%s'", t->name, err.msg, place);
		for (int n = 0; k_qtype_at(n); n++)
			covered[n] |= k_qtype_at(n) == t;
		k_free(p);
	}
	for (int n = 0; (t = k_qtype_at(n)); n++)
		K_CHECK_MSG(covered[n] == (t->check != NULL), "%s %s: nothing pokes it", t->name, t->layout);
}

K_TEST(qtype_check_lets_pass)
{
	struct k_err err = { 0 };
	uint8_t p[600] = { 0 };
	/* Negative and zero INT4 scales are numbers; so is the largest E8M0 scale with small codes. */
	p[1] = 0xbf;
	K_CHECK_OK(k_qtype_find("i4g32", NULL)->check(p, 64, 1, &err));
	memset(p, 0, sizeof(p));
	p[0] = 254;
	p[1] = 0x01;
	K_CHECK_OK(k_qtype_find("mxfp4", NULL)->check(p, 32, 1, &err));
	/* In x16 too: row 3, columns 64 to 95; column 71 is the highest nibble of the group's first word. */
	uint8_t x16[1088] = { [4 * 3 + 2] = 254, [64 + 64 * 8 + 4 * 3 + 3] = 0x10 };
	K_CHECK_OK(k_qtype_find("mxfp4", "x16")->check(x16, 128, 16, &err));
	x16[64 + 64 * 8 + 4 * 3 + 3] = 0x70;
	K_CHECK(k_qtype_find("mxfp4", "x16")->check(x16, 128, 16, &err) == K_EFORMAT && strstr(err.msg, "row 3, column 64"));
	memset(p, 0, sizeof(p));
	p[3] = 0x80;
	K_CHECK_OK(k_qtype_find("fp8b128", NULL)->check(p, 100, 2, &err));
}

/* --- layouts ------------------------------------------------------------------------------------------------------------ */

static float slow_ct(const uint8_t *packed, const uint16_t *scales, int64_t cols, int64_t r, int64_t c)
{
	uint32_t word;
	memcpy(&word, packed + 4 * (r * (cols / 8) + c / 8), 4);
	return (float)((int)(word >> 4 * (c % 8) & 15) - 8) * k_bf16_to_f32(scales[r * (cols / 32) + c / 32]);
}

/* Where the comment of i4g32_x16.c (and kmf(5)) puts code and scale. */
static float slow_x16(const uint8_t *g, int64_t r, int64_t c)
{
	const uint8_t *rec = g + c / 64 * 576;
	int64_t q = c % 64 / 8, j = c % 8, nibble = j / 2 + (j & 1) * 4;
	uint32_t word;
	uint16_t scale;
	memcpy(&word, rec + 64 + 64 * q + 4 * r, 4);
	memcpy(&scale, rec + 4 * r + (c % 64 < 32 ? 0 : 2), 2);
	return (float)((int)(word >> 4 * nibble & 15) - 8) * k_bf16_to_f32(scale);
}

K_TEST(qtype_int4_layouts_hold_the_same)
{
	const struct k_qtype *rows = k_qtype_find("i4g32", NULL), *x16 = k_qtype_find("i4g32", "x16");
	for (int64_t cols = 64; cols <= 576; cols += 64) {
		size_t n_packed = (size_t)cols / 2 * 16, n_scale = (size_t)cols / 32 * 16;
		uint8_t *packed = need(n_packed), *packed2 = need(n_packed);
		uint16_t *scales = need(2 * n_scale), *scales2 = need(2 * n_scale);
		void *a = need(16 * rows->granule_bytes(cols, 1)), *b = need(x16->granule_bytes(cols, 16));
		float *x = need((size_t)cols * 4), *y = need((size_t)cols * 4);
		for (size_t i = 0; i < n_packed; i++)
			packed[i] = (uint8_t)rnd();
		for (size_t i = 0; i < n_scale; i++)
			scales[i] = k_bf16_from_f32(uniform());
		k_i4g32_from_ct(rows, a, packed, scales, cols, 16);
		k_i4g32_from_ct(x16, b, packed, scales, cols, 16);
		for (int r = 0; r < 16; r++) {
			rows->dequant(x, (uint8_t *)a + (size_t)r * rows->granule_bytes(cols, 1), cols, 1, 0);
			x16->dequant(y, b, cols, 16, r);
			for (int64_t c = 0; c < cols; c++)
				K_CHECK_MSG(x[c] == slow_ct(packed, scales, cols, r, c) && y[c] == x[c] && slow_x16(b, r, c) == x[c], "row %d, column %lld", r,
					(long long)c);
		}
		k_i4g32_to_ct(rows, a, packed2, scales2, cols, 16);
		K_CHECK(!memcmp(packed, packed2, n_packed) && !memcmp(scales, scales2, 2 * n_scale));
		memset(packed2, 0, n_packed);
		memset(scales2, 0, 2 * n_scale);
		k_i4g32_to_ct(x16, b, packed2, scales2, cols, 16);
		K_CHECK(!memcmp(packed, packed2, n_packed) && !memcmp(scales, scales2, 2 * n_scale));
		k_free(packed), k_free(packed2), k_free(scales), k_free(scales2), k_free(a), k_free(b), k_free(x), k_free(y);
	}
}

/* Section 9.5 of the model specification. */
K_TEST(qtype_int4_word)
{
	static const float want[] = { -2, 2, -7, -8, -1, 0, 7, 1 };
	uint8_t p[18] = { 0x80, 0x3f, 0xa6, 0x01, 0x87, 0x9f };
	float x[32];
	k_qtype_find("i4g32", NULL)->dequant(x, p, 32, 1, 0);
	K_CHECK(!memcmp(x, want, sizeof(want)));
}

K_TEST(qtype_int4_layouts_are_made_alike)
{
	const struct k_qtype *rows = k_qtype_find("i4g32", NULL), *x16 = k_qtype_find("i4g32", "x16");
	enum { C = 192 };
	float x[16 * C];
	uint8_t a[16 * (C / 2 + C / 16)], b[576 * C / 64], packed[2][16 * C / 2];
	uint16_t scales[2][16 * C / 32];
	struct k_err err = { 0 };
	for (size_t k = 0; k < K_LEN(rules); k++) {
		weights(x, 16, C);
		K_CHECK_OK(rows->quant(a, x, C, 16, &rules[k], &err));
		K_CHECK_OK(x16->quant(b, x, C, 16, &rules[k], &err));
		k_i4g32_to_ct(rows, a, packed[0], scales[0], C, 16);
		k_i4g32_to_ct(x16, b, packed[1], scales[1], C, 16);
		K_CHECK(!memcmp(packed[0], packed[1], sizeof(packed[0])) && !memcmp(scales[0], scales[1], sizeof(scales[0])));
	}
}

K_TEST(qtype_fp8_planes)
{
	const struct k_qtype *t = k_qtype_find("fp8b128", NULL);
	static const int shapes[][2] = { { 1, 1 }, { 64, 128 }, { 128, 129 }, { 3, 576 } };
	for (size_t s = 0; s < K_LEN(shapes); s++) {
		int rows = shapes[s][0], cols = shapes[s][1], blocks = (cols + 127) / 128;
		uint8_t *codes = need((size_t)(rows * cols)), *codes2 = need((size_t)(rows * cols));
		float scales[8], scales2[8], *x = need((size_t)cols * 4);
		void *p = need(t->granule_bytes(cols, rows));
		for (int i = 0; i < rows * cols; i++)
			codes[i] = (uint8_t)(rnd() % 127 | (rnd() & 0x80));
		for (int i = 0; i < blocks; i++)
			scales[i] = uniform() + 2;
		k_fp8b128_from_planes(p, codes, scales, cols, rows);
		for (int r = 0; r < rows; r++) {
			t->dequant(x, p, cols, rows, r);
			for (int c = 0; c < cols; c++)
				K_CHECK_MSG(x[c] == k_e4m3_to_f32(codes[r * cols + c]) * scales[c / 128], "row %d, column %d", r, c);
		}
		k_fp8b128_to_planes(p, codes2, scales2, cols, rows);
		K_CHECK(!memcmp(codes, codes2, (size_t)(rows * cols)) && !memcmp(scales, scales2, (size_t)blocks * 4));
		k_free(codes), k_free(codes2), k_free(x), k_free(p);
	}
}

static float slow_mx_ct(const uint8_t *packed, const uint8_t *scales, int64_t cols, int64_t r, int64_t c)
{
	return k_e2m1_to_f32(packed[(r * cols + c) / 2] >> 4 * (c & 1) & 15) * k_e8m0_to_f32(scales[r * (cols / 32) + c / 32]);
}

/* Where the comment of mxfp4_x16.c (and kmf(5)) puts code and scale. */
static float slow_mx_x16(const uint8_t *g, int64_t r, int64_t c)
{
	const uint8_t *rec = g + c / 128 * 1088;
	int64_t q = c % 128 / 8, j = c % 8, nibble = j / 2 + (j & 1) * 4;
	return k_e2m1_to_f32(rec[64 + 64 * q + 4 * r + nibble / 2] >> 4 * (nibble & 1) & 15) * k_e8m0_to_f32(rec[4 * r + c % 128 / 32]);
}

K_TEST(qtype_mxfp4_layouts_hold_the_same)
{
	const struct k_qtype *rows = k_qtype_find("mxfp4", NULL), *x16 = k_qtype_find("mxfp4", "x16");
	for (int64_t cols = 32; cols <= 768; cols += 32) {
		size_t n_packed = (size_t)cols / 2 * 16, n_scale = (size_t)cols / 32 * 16, step = rows->granule_bytes(cols, 1);
		uint8_t *packed = need(n_packed), *packed2 = need(n_packed), *scales = need(n_scale), *scales2 = need(n_scale);
		uint8_t *a = need(16 * step), *b = need(16 * step);
		float *x = need((size_t)cols * 4);
		bool both = cols % 128 == 0;
		for (size_t i = 0; i < n_packed; i++)
			packed[i] = (uint8_t)rnd();
		for (size_t i = 0; i < n_scale; i++)
			scales[i] = (uint8_t)(i * 120 % 253);
		for (size_t r = 0; r < 16; r++) {
			k_mxfp4_from_planes(rows, a + r * step, packed + r * (size_t)cols / 2, scales + r * (size_t)cols / 32, cols, 1);
			rows->dequant(x, a + r * step, cols, 1, 0);
			for (int64_t c = 0; c < cols; c++)
				K_CHECK_MSG(x[c] == slow_mx_ct(packed, scales, cols, (int64_t)r, c), "row %zu, column %lld", r, (long long)c);
			k_mxfp4_to_planes(rows, a + r * step, packed2 + r * (size_t)cols / 2, scales2 + r * (size_t)cols / 32, cols, 1);
		}
		K_CHECK(!memcmp(packed, packed2, n_packed) && !memcmp(scales, scales2, n_scale));
		K_CHECK(!both == !!k_qtype_refuses(x16, 16, cols));
		if (both) {
			K_CHECK(x16->granule_bytes(cols, 16) == 16 * step);
			k_mxfp4_from_planes(x16, b, packed, scales, cols, 16);
			for (int r = 0; r < 16; r++) {
				x16->dequant(x, b, cols, 16, r);
				for (int64_t c = 0; c < cols; c++)
					K_CHECK_MSG(x[c] == slow_mx_ct(packed, scales, cols, r, c) && slow_mx_x16(b, r, c) == x[c], "row %d, column %lld", r, (long long)c);
			}
			memset(packed2, 0, n_packed);
			memset(scales2, 0, n_scale);
			k_mxfp4_to_planes(x16, b, packed2, scales2, cols, 16);
			K_CHECK(!memcmp(packed, packed2, n_packed) && !memcmp(scales, scales2, n_scale));
		}
		k_free(packed), k_free(packed2), k_free(scales), k_free(scales2), k_free(a), k_free(b), k_free(x);
	}
}

K_TEST(qtype_mxfp4_layouts_are_made_alike)
{
	const struct k_qtype *rows = k_qtype_find("mxfp4", NULL), *x16 = k_qtype_find("mxfp4", "x16");
	enum { C = 256 };
	static const struct k_quant_opts how[] = { { .mx = K_MX_CT }, { .mx = K_MX_OCP }, { .mx = K_MX_GGML }, { .scale = K_SCALE_MSE } };
	float x[16 * C];
	uint8_t a[16 * (C / 2 + C / 32)], b[16 * (C / 2 + C / 32)], packed[2][16 * C / 2], scales[2][16 * C / 32];
	struct k_err err = { 0 };
	for (size_t k = 0; k < K_LEN(how); k++) {
		weights(x, 16, C);
		K_CHECK_OK(rows->quant(a, x, C, 16, &how[k], &err));
		K_CHECK_OK(x16->quant(b, x, C, 16, &how[k], &err));
		for (size_t r = 0; r < 16; r++)
			k_mxfp4_to_planes(rows, a + r * rows->granule_bytes(C, 1), packed[0] + r * C / 2, scales[0] + r * C / 32, C, 1);
		k_mxfp4_to_planes(x16, b, packed[1], scales[1], C, 16);
		K_CHECK(!memcmp(packed[0], packed[1], sizeof(packed[0])) && !memcmp(scales[0], scales[1], sizeof(scales[0])));
	}
}
