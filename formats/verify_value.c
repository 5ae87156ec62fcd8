/* verify_value.c: one value of every type, from its definition (kmf.5, TYPES), in double where a product is rounded once. Slow on
 * purpose, and without a line of libcore/qtype. */
#include "libcore/base.h"
#include <math.h>
#include "formats/verify_value.h"

static unsigned u16_at(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }

static float f32_at(const uint8_t *p)
{
	uint32_t u = u32_at(p);
	float f;

	memcpy(&f, &u, 4);
	return f;
}

/* sign, e bits of exponent, m bits of fraction, IEEE bias, without infinities: exact in double. */
static double small_float(unsigned bits, int e, int m)
{
	int exponent = (int)(bits >> m & ((1u << e) - 1)), bias = (1 << (e - 1)) - 1;
	double fraction = (double)(bits & ((1u << m) - 1)) / (double)(1u << m);
	double v = exponent ? ldexp(1 + fraction, exponent - bias) : ldexp(fraction, 1 - bias);

	return bits >> (e + m) & 1 ? -v : v;
}

static double bf16_at(const uint8_t *p) { return small_float(u16_at(p), 8, 7); }
static double f16_at(const uint8_t *p) { return small_float(u16_at(p), 5, 10); }
static double e8m0(unsigned b) { return ldexp(1, (int)b - 127); }
static unsigned nibble(const uint8_t *p, int64_t i) { return p[i / 2] >> (i % 2 * 4) & 15; }
/* Nibbles of a block of 32: low ones first, then high ones. */
static unsigned half_nibble(const uint8_t *p, int64_t i) { return i < 16 ? p[i] & 15 : p[i - 16] >> 4; }

static double e2m1(unsigned code)
{
	static const double magnitude[] = { 0, 0.5, 1, 1.5, 2, 3, 4, 6 };

	return code & 8 ? -magnitude[code & 7] : magnitude[code & 7];
}

/* --- one function a type: p is the granule, r and c the place, cols and rows its size -------------------------------------- */

static double v_f32(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c) { return f32_at(p + 4 * (r * cols + c)); }
static double v_bf16(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c) { return bf16_at(p + 2 * (r * cols + c)); }
static double v_f16(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c) { return f16_at(p + 2 * (r * cols + c)); }
static double v_e4m3(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c) { return small_float(p[r * cols + c], 4, 3); }

static double v_i4_rows(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *row = p + r * (cols / 16 + cols / 2);

	return ((int)nibble(row + cols / 16, c) - 8) * bf16_at(row + c / 32 * 2);
}

static double v_i4_x16(const uint8_t *p, int64_t cols K_UNUSED, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *record = p + c / 64 * 576;
	int64_t in = c % 64, q = in / 8, j = in % 8;
	uint32_t word = u32_at(record + 64 + 64 * q + 4 * r);

	return ((int)(word >> (j % 2 * 16 + j / 2 * 4) & 15) - 8) * bf16_at(record + 4 * r + in / 32 * 2);
}

static double v_fp8(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	int64_t blocks = (cols + 127) / 128;

	return small_float(p[4 * blocks + r * cols + c], 4, 3) * f32_at(p + 4 * (c / 128));
}

static double v_mx_rows(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *row = p + r * (cols / 32 + cols / 2);

	return e2m1(nibble(row + cols / 32, c)) * e8m0(row[c / 32]);
}

static double v_mx_x16(const uint8_t *p, int64_t cols K_UNUSED, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *record = p + c / 128 * 1088;
	int64_t in = c % 128, q = in / 8, j = in % 8;
	uint32_t word = u32_at(record + 64 + 64 * q + 4 * r);

	return e2m1(word >> (j % 2 * 16 + j / 2 * 4) & 15) * e8m0(record[4 * r + in / 32]);
}

static double v_mx_gguf(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *block = p + (r * cols + c) / 32 * 17;

	return e2m1(half_nibble(block + 1, c % 32)) * e8m0(block[0]);
}

static double v_i8row(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *row = p + r * (4 + cols);

	return (int8_t)row[4 + c] * (double)f32_at(row);
}

static double v_q4_0(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *b = p + (r * cols + c) / 32 * 18;

	return ((int)half_nibble(b + 2, c % 32) - 8) * f16_at(b);
}

static double v_q5_0(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *b = p + (r * cols + c) / 32 * 22;

	return ((int)(half_nibble(b + 6, c % 32) + 16 * (u32_at(b + 2) >> (c % 32) & 1)) - 16) * f16_at(b);
}

static double v_q8_0(const uint8_t *p, int64_t cols, int rows K_UNUSED, int r, int64_t c)
{
	const uint8_t *b = p + (r * cols + c) / 32 * 34;

	return (int8_t)b[2 + c % 32] * f16_at(b);
}

static const struct { const char *name, *layout; k_verify_formula *value; } formulas[] = {
	{ "f32", "rows", v_f32 }, { "bf16", "rows", v_bf16 }, { "f16", "rows", v_f16 }, { "f8_e4m3", "rows", v_e4m3 },
	{ "i4g32", "rows", v_i4_rows }, { "i4g32", "x16", v_i4_x16 }, { "fp8b128", "rows", v_fp8 },
	{ "mxfp4", "rows", v_mx_rows }, { "mxfp4", "x16", v_mx_x16 },
	{ "mxfp4", "gguf", v_mx_gguf }, { "i8row", "rows", v_i8row },
	{ "q4_0", "rows", v_q4_0 }, { "q5_0", "rows", v_q5_0 }, { "q8_0", "rows", v_q8_0 },
};

k_verify_formula *k_verify_formula_of(const struct k_qtype *t)
{
	for (size_t i = 0; i < K_LEN(formulas); i++)
		if (strcmp(t->name, formulas[i].name) == 0 && strcmp(t->layout, formulas[i].layout) == 0)
			return formulas[i].value;
	return NULL;
}

/* x to `bits` bits of precision, exponents from least on: by scaling to an integer, which rint rounds. */
static float rounded(double x, int bits, int least)
{
	int e;

	if (x == 0)
		return (float)x;
	frexp(x, &e);
	e = (e < least ? least : e) - bits;
	return (float)ldexp(rint(ldexp(x, -e)), e);
}

bool k_verify_round(const struct k_qtype *t, float x, float *out)
{
	if (strcmp(t->name, "f32") == 0)
		*out = x;
	else if (strcmp(t->name, "bf16") == 0)
		*out = rounded(x, 8, -125);
	else if (strcmp(t->name, "f16") == 0)
		*out = rounded(x, 11, -13);
	else
		return false;
	return true;
}

/* --- types that quantise ---------------------------------------------------------------------------------------------------- */

#define I4_FLOOR 0x1.5p-17       /* 1e-5 as bf16: no scale of amax/7 is below it */
#define F16_TOP 65504.0f

/* The type's bound is in parts of the largest value, which is what scales follow; where these end they do not. Of every type: the
 * largest code times the most that rounding moves its smallest scales (half of the step of their subnormals, 2^-134 of bf16, 2^-25 of
 * f16, 2^-150 of f32), and a third more, so that four times the bound or this is more than the sum of both; of MXFP4: half of the
 * smallest step, twice. codes: the largest, where the source's may be kept and a scale beyond f16 becomes its largest. */
static const struct { const char *name; double least; int codes; } ends[] = {
	{ "i4g32", 0x1p-128, 0 }, { "mxfp4", 0x1p-128, 0 }, { "fp8b128", 600 * 0x1p-150, 0 }, { "i8row", 170 * 0x1p-150, 0 },
	{ "q4_0", 11 * 0x1p-25, 8 }, { "q4_1", 22 * 0x1p-25, 0 }, { "q5_0", 22 * 0x1p-25, 0 }, { "q5_1", 43 * 0x1p-25, 0 },
	{ "q8_0", 170 * 0x1p-25, 128 },
};

static bool is_saturated(float x, float y, int codes)
{
	float code = y / F16_TOP;

	return code != 0 && fabsf(code) <= (float)codes && code == rintf(code) && fabsf(x) > fabsf(y) && (x < 0) == (y < 0);
}

bool k_verify_fits(const struct k_qtype *t, const struct k_quant_opts *how, float x, float y, float top)
{
	double off = fabs((double)x - (double)y), least = 0;
	int codes = 0;

	if (!t->quant || t->plain)
		return false;
	for (size_t i = 0; i < K_LEN(ends); i++)
		if (strcmp(t->name, ends[i].name) == 0) {
			least = ends[i].least;
			codes = ends[i].codes;
		}
	/* Half a step; x / scale is rounded itself. */
	if (strcmp(t->name, "i4g32") == 0 && how && (how->scale == K_SCALE_AMAX7 || how->scale == K_SCALE_QAT))
		least = 0.5 * I4_FLOOR * (1 + 0x1p-20);
	return off <= fmax(4 * t->bound * (double)top, least) || (!how && is_saturated(x, y, codes));
}
