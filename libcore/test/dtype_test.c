/* dtype_test.c: small floats against a slow form that knows nothing of bits: a format is its mantissa bits, its exponents and its
 * largest number; decoding is ldexp, encoding is rint at the right power of two. */
#include "libcore/base.h"
#include "libcore/dtype.h"
#include "libcore/test.h"
#include <math.h>

/* bias: of the exponent. top: the largest magnitude. infinite: the largest exponent is infinity and NaN (IEEE); else all ones is NaN. */
struct form { int mant, exps, bias; bool infinite; };
static const struct form f16 = { 10, 5, 15, true }, bf16 = { 7, 8, 127, true }, e4m3 = { 3, 4, 7, false }, e5m2 = { 2, 5, 15, true };

static double slow_decode(const struct form *f, unsigned code)
{
	int bits = f->mant + f->exps;
	int mant = (int)(code & ((1u << f->mant) - 1)), exp = (int)(code >> f->mant & ((1u << f->exps) - 1));
	double sign = code >> bits & 1 ? -1 : 1;
	if (f->infinite && exp == (1 << f->exps) - 1)
		return mant ? NAN : sign * INFINITY;
	if (!f->infinite && (code & ((1u << bits) - 1)) == (1u << bits) - 1)
		return NAN;
	if (exp == 0)
		return sign * ldexp(mant, 1 - f->bias - f->mant);
	return sign * ldexp(mant + (1 << f->mant), exp - f->bias - f->mant);
}

/* The value of x in the format, beyond its range too. */
static double slow_round(const struct form *f, double x)
{
	int e;
	if (x == 0 || !isfinite(x))
		return x;
	frexp(x, &e);
	e = K_MAX(e - 1, 1 - f->bias) - f->mant;
	return ldexp(rint(ldexp(x, -e)), e);
}

static bool same_value(double a, double b) { return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b); }

static double widened(const struct form *f, unsigned code)
{
	if (f == &f16)
		return (double)k_f16_to_f32((uint16_t)code);
	if (f == &bf16)
		return (double)k_bf16_to_f32((uint16_t)code);
	return (double)(f == &e4m3 ? k_e4m3_to_f32((uint8_t)code) : k_e5m2_to_f32((uint8_t)code));
}

static void check_decode(const struct form *f, unsigned codes)
{
	for (unsigned c = 0; c < codes; c++)
		K_CHECK_MSG(same_value(widened(f, c), slow_decode(f, c)), "code %#x is %g, wanted %g", c, widened(f, c), slow_decode(f, c));
}

K_TEST(dtype_every_code_has_its_value)
{
	check_decode(&f16, 0x10000);
	check_decode(&bf16, 0x10000);
	check_decode(&e4m3, 0x100);
	check_decode(&e5m2, 0x100);
}

static unsigned narrowed(const struct form *f, float x)
{
	return f == &f16 ? k_f16_from_f32(x) : f == &bf16 ? k_bf16_from_f32(x) : k_e4m3_from_f32(x);
}

static void check_encode(const struct form *f, float x)
{
	double want = slow_round(f, (double)x), got = slow_decode(f, narrowed(f, x));
	if (f == &e4m3 && fabs(want) > 448)
		want = copysign(448, want);
	if (f == &f16 && fabs(want) > 65504)
		want = copysign(INFINITY, want);
	if (f == &bf16 && fabs(want) > 0x1.fep127)
		want = copysign(INFINITY, want);
	K_CHECK_MSG(same_value(got, want), "%a becomes %a, wanted %a", (double)x, got, want);
}

/* Every code's value, the middle between it and the next, and the floats beside these. */
static void check_around(const struct form *f, unsigned codes)
{
	for (unsigned c = 0; c < codes; c++) {
		double here = slow_decode(f, c), next = slow_decode(f, c + 1 < codes ? c + 1 : c);
		float at[2] = { (float)here, (float)((here + next) / 2) };
		for (int i = 0; i < 2 && isfinite(at[i]); i++) {
			check_encode(f, at[i]);
			check_encode(f, nextafterf(at[i], INFINITY));
			check_encode(f, nextafterf(at[i], -INFINITY));
		}
	}
}

K_TEST(dtype_rounds_to_nearest_even)
{
	check_around(&f16, 0x10000);
	check_around(&bf16, 0x10000);
	check_around(&e4m3, 0x100);
}

K_TEST(dtype_rounds_any_float)
{
	for (uint64_t u = 0; u <= UINT32_MAX; u += 9973) {
		float x = k_f32_from_bits((uint32_t)u);
		if (isnan(x)) {
			K_CHECK(isnan(k_f16_to_f32(k_f16_from_f32(x))) && isnan(k_bf16_to_f32(k_bf16_from_f32(x))) && k_e4m3_from_f32(x) == 0x7f);
			continue;
		}
		check_encode(&f16, x);
		check_encode(&bf16, x);
		check_encode(&e4m3, x);
	}
	/* A NaN whose mantissa is all in the bits that fall away stays one. */
	K_CHECK(isnan(k_bf16_to_f32(k_bf16_from_f32(k_f32_from_bits(0x7f800001)))));
	K_CHECK(isnan(k_f16_to_f32(k_f16_from_f32(k_f32_from_bits(0xff800001)))));
	K_CHECK(k_e4m3_from_f32(INFINITY) == 0x7e && k_e4m3_from_f32(-INFINITY) == 0xfe && k_e4m3_from_f32(NAN) == 0x7f);
	K_CHECK(k_f16_from_f32(65519.996f) == 0x7bff && k_f16_from_f32(65520.0f) == 0x7c00);
}

K_TEST(dtype_round_trips)
{
	for (unsigned c = 0; c < 0x10000; c++) {
		float h = k_f16_to_f32((uint16_t)c), b = k_bf16_to_f32((uint16_t)c);
		K_CHECK_MSG(isnan(h) || k_f16_from_f32(h) == c, "f16 %#x", c);
		K_CHECK_MSG(isnan(b) || k_bf16_from_f32(b) == c, "bf16 %#x", c);
	}
	for (unsigned c = 0; c < 0x100; c++) {
		float f = k_e4m3_to_f32((uint8_t)c);
		K_CHECK_MSG(isnan(f) || k_e4m3_from_f32(f) == c, "e4m3 %#x", c);
	}
}

/* Spec of OCP MX: values of E2M1, of E8M0. */
K_TEST(dtype_mx_parts)
{
	static const double value[] = { 0, 0.5, 1, 1.5, 2, 3, 4, 6 };
	for (unsigned c = 0; c < 16; c++)
		K_CHECK(same_value((double)k_e2m1_to_f32(c), c & 8 ? -value[c & 7] : value[c & 7]));
	for (unsigned c = 0; c < 255; c++)
		K_CHECK_MSG((double)k_e8m0_to_f32((uint8_t)c) == ldexp(1, (int)c - 127), "e8m0 %u", c);
	K_CHECK(isnan(k_e8m0_to_f32(255)));
	/* Nearest; between two codes the even one; beyond the last the last. */
	for (int i = -700; i <= 700; i++) {
		double x = i / 100.0;
		unsigned code = k_e2m1_from_f32((float)x), best = 0;
		for (unsigned c = 1; c < 8; c++) {
			double off = fabs(fabs(x) - value[c]), now = fabs(fabs(x) - value[best]);
			if (off < now || (off == now && !(c & 1)))
				best = c;
		}
		K_CHECK_MSG((code & 7) == best && (code >> 3) == (x < 0), "%g becomes code %u, wanted %u", x, code, best);
	}
	K_CHECK(k_e2m1_from_f32(1e30f) == 7 && k_e2m1_from_f32(-1e30f) == 15 && k_e2m1_from_f32(-0.0f) == 8);
}

K_TEST(dtype_rint_rounds_half_to_even)
{
	for (int i = -40000; i <= 40000; i++) {
		float x = (float)i / 8;
		K_CHECK_MSG((double)k_rint(x) == rint((double)x), "%g becomes %g", (double)x, (double)k_rint(x));
	}
	K_CHECK(k_rint(4194303.5f) == 4194304.0f && k_rint(-4194302.5f) == -4194302.0f);
}
