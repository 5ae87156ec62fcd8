/* kcheck_box.c: memory between guards, random data, comparison.
 *
 *      no access | 0xff ... [ the box ] 0xff ... | no access
 *
 * Bytes of 0xff are NaN as float and as bf16: read by mistake they spoil the result, written over they are missed. */
#include "libcore/base.h"
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "kernels/check/kcheck.h"
#include "libcore/dtype.h"

enum { REGION = 16 << 20, GUARD = 64 << 10, CANARY = 256, SHOWN = 5 };

/* A program, not a library: the boxes of the one run that is at work. */
static struct slot { uint8_t *base; uint8_t *at; size_t bytes; } slots[BOX_SLOTS];
static const struct run *watched;

const size_t kcheck_lengths[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 97, 127, 128,
	129, 255, 256, 257, 576, 1000, 1023, 1025, 2049, 4097 };
const int kcheck_n_lengths = (int)K_LEN(kcheck_lengths);

static uint8_t *region(void)
{
	uint8_t *p = mmap(NULL, REGION + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || mprotect(p + GUARD, REGION, PROT_READ | PROT_WRITE) != 0) {
		fprintf(stderr, "kcheck: no memory\n");
		exit(6);
	}
	return p + GUARD;
}

void *box(struct run *r, int slot, size_t count, size_t unit)
{
	struct slot *s = &slots[slot];
	size_t n = count * unit, shift;
	if (!s->base)
		s->base = region();
	K_ASSERT(n + 2 * CANARY + 64 * unit <= REGION);
	shift = CANARY + unit * (1 + 2 * rnd_below(r, 16));
	s->at = r->timed ? s->base + CANARY : rnd(r) & 1 ? s->base + shift : s->base + REGION - n;
	s->bytes = n;
	memset(s->at - CANARY, 0xff, CANARY);
	/* Unset, an output is NaN. */
	memset(s->at, 0xff, n);
	memset(s->at + n, 0xff, K_MIN((size_t)CANARY, (size_t)(s->base + REGION - (s->at + n))));
	return s->at;
}

float *box_f(struct run *r, int slot, size_t n) { return box(r, slot, n, sizeof(float)); }

static bool all_ff(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0xff)
			return false;
	return true;
}

void box_check(struct run *r)
{
	for (int i = 0; i < BOX_SLOTS; i++) {
		const struct slot *s = &slots[i];
		if (!s->at)
			continue;
		const uint8_t *end = s->at + s->bytes;
		if (!all_ff(s->at - CANARY, CANARY))
			fail(r, "wrote in front of box %d", i);
		if (!all_ff(end, K_MIN((size_t)CANARY, (size_t)(s->base + REGION - end))))
			fail(r, "wrote behind box %d", i);
	}
}

static void say(const char *s) { if (write(STDOUT_FILENO, s, strlen(s)) < 0) _exit(1); }

static void on_fault(int sig K_UNUSED)
{
	say("FAIL ");
	if (watched) {
		say(watched->level);
		say(" ");
		say(watched->name);
		say(" ");
		say(watched->where);
	}
	say(": touched memory outside its operands\n0 passed, 1 failed, 0 skipped\n");
	_exit(1);
}

void box_watch(struct run *r)
{
	struct sigaction a = { .sa_handler = on_fault };
	watched = r;
	sigaction(SIGSEGV, &a, NULL);
	sigaction(SIGBUS, &a, NULL);
	for (int i = 0; i < BOX_SLOTS; i++)
		slots[i].at = NULL;
}

/* --- random data -------------------------------------------------------------------------------------------------------- */

uint64_t rnd(struct run *r)
{
	uint64_t z = r->rng += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

size_t rnd_below(struct run *r, size_t n) { return (size_t)(rnd(r) % n); }

size_t slack(struct run *r) { return r->timed ? 0 : rnd_below(r, 4); }

size_t piece(struct run *r, size_t left)
{
	size_t n = 1 + rnd_below(r, left > 64 ? 70 : 20);
	return K_MIN(n, left);
}

float rnd_float(struct run *r, float lo, float hi) { return lo + (hi - lo) * (float)((double)(rnd(r) >> 11) * 0x1p-53); }

/* A float with a random mantissa, its exponent (of 2) in [lo, hi]; -127 gives denormals. */
static float magnitude(struct run *r, int lo, int hi)
{
	uint64_t u = rnd(r);
	uint32_t e = (uint32_t)(lo + (int)rnd_below(r, (size_t)(hi - lo + 1)) + 127);
	return k_f32_from_bits((uint32_t)(u & 0x807fffff) | e << 23);
}

static const float oddities[] = { 0.0f, -0.0f, 1.0f, -1.0f, 0x1p-149f, -0x1p-149f, 0x1p-126f, -0x1.fffffcp-127f, 0x1.fffffep127f,
	-0x1.fffffep127f, INFINITY, -INFINITY, NAN };
enum { FINITE_ODDITIES = 10 };

static const float corners[] = { 0.0f, -0.0f, 80.0f, -80.0f, 87.3f, -87.3f, 88.8f, -88.8f, 104.0f, -104.0f, 1e4f, -1e4f, 20.0f, -20.0f,
	0.34657359f, -0.34657359f, 1e-8f, -1e-8f, 0x1p-149f, -0x1p-149f };
static const float zeros[] = { 0.0f, -0.0f, -1.0f, -0x1p-149f };

static float one(struct run *r, enum data kind)
{
	switch (kind) {
	case DATA_PLAIN: return rnd_float(r, -2, 2);
	case DATA_WIDE: return rnd(r) % 16 ? magnitude(r, -40, 40) : magnitude(r, -127, -100);
	case DATA_GATE: return rnd(r) % 4 ? rnd_float(r, -110, 110) : corners[rnd_below(r, K_LEN(corners))];
	case DATA_FINITE: return rnd(r) % 4 ? magnitude(r, -127, 127) : oddities[rnd_below(r, FINITE_ODDITIES)];
	case DATA_ANY: return rnd(r) % 4 ? k_f32_from_bits((uint32_t)rnd(r)) : oddities[rnd_below(r, K_LEN(oddities))];
	case DATA_ZERO: return zeros[rnd_below(r, K_LEN(zeros))];
	case DATA_PART: return rnd_float(r, 0.001f, 1);
	}
	k_bug("a kind of data");
}

void fill(struct run *r, float *x, size_t n, enum data kind)
{
	for (size_t i = 0; i < n; i++)
		x[i] = one(r, kind);
}

float *box_data(struct run *r, int slot, size_t n, enum data kind)
{
	float *x = box_f(r, slot, n);
	fill(r, x, n, kind);
	return x;
}

float *box_copy(struct run *r, int slot, const float *x, size_t n)
{
	float *y = box_f(r, slot, n);
	memcpy(y, x, n * sizeof(*y));
	return y;
}

/* --- comparison --------------------------------------------------------------------------------------------------------- */

void where(struct run *r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(r->where, sizeof(r->where), fmt, ap);
	va_end(ap);
}

void fail(struct run *r, const char *fmt, ...)
{
	va_list ap;
	if (r->failures++ >= SHOWN)
		return;
	printf("FAIL %s %s %s: ", r->level, r->name, r->where);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (--seed %llu)\n", (unsigned long long)r->seed);
}

static bool identical(float a, float b) { return k_f32_bits(a) == k_f32_bits(b) || (isnan(a) && isnan(b)); }

void same(struct run *r, const char *what, const float *got, const float *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!identical(got[i], want[i])) {
			fail(r, "%s[%zu] is %a, wanted %a", what, i, (double)got[i], (double)want[i]);
			return;
		}
}

/* Units of 2^-23 of the wanted size. Below SMALL any two are alike: the exponentials of a level run out before those of libm,
 * and of three factors the product of two may be a denormal. */
static void near_ulp(struct run *r, const char *what, const float *got, const float *want, size_t n)
{
	const double small = 0x1p-80;
	for (size_t i = 0; i < n; i++) {
		double unit = 0x1p-23 * fabs((double)want[i]), off = fabs((double)got[i] - (double)want[i]);
		if (identical(got[i], want[i]) || (fabs((double)got[i]) < small && fabs((double)want[i]) < small))
			continue;
		if (!(off <= r->tol.bound * unit)) {
			fail(r, "%s[%zu] is %.9g, wanted %.9g within %g units", what, i, (double)got[i], (double)want[i], r->tol.bound);
			return;
		}
		r->worst = fmax(r->worst, off / (r->tol.bound * unit));
	}
}

static void near_nmse(struct run *r, const char *what, const float *got, const float *want, const double *terms, size_t n)
{
	double off = 0, size = 0;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(want[i]) || !isfinite(got[i])) {
			if (identical(got[i], want[i]))
				continue;
			fail(r, "%s[%zu] is %g, wanted %g", what, i, (double)got[i], (double)want[i]);
			return;
		}
		double d = (double)got[i] - (double)want[i];
		off += d * d;
		size += fmax((double)want[i] * (double)want[i], terms ? terms[i] : r->tol.least * r->tol.least);
	}
	/* Where all is denormal the last unit of an element is large beside it. */
	size += (double)n * 0x1p-252 / r->tol.bound;
	if (!(off <= r->tol.bound * size))
		fail(r, "%s: normalised error %.3g, wanted %.3g", what, off / size, r->tol.bound);
	else if (off > 0)
		r->worst = fmax(r->worst, off / (r->tol.bound * size));
}

void near_terms(struct run *r, const char *what, const float *got, const float *want, const double *terms, size_t n)
{
	if (r->tol.kind == TOL_EXACT)
		same(r, what, got, want, n);
	else if (r->tol.kind == TOL_ULP)
		near_ulp(r, what, got, want, n);
	else
		near_nmse(r, what, got, want, terms, n);
}

void near(struct run *r, const char *what, const float *got, const float *want, size_t n) { near_terms(r, what, got, want, NULL, n); }

void gaps(struct run *r, const float *y, size_t n, size_t step, size_t rows)
{
	for (size_t t = 0; t + 1 < n; t++)
		for (size_t j = rows; j < step; j++)
			if (k_f32_bits(y[t * step + j]) != 0xffffffff) {
				fail(r, "wrote between rows, at row %zu column %zu", t, j);
				return;
			}
}
