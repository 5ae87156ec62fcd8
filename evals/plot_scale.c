/* plot_scale.c: how wide an axis is, and where its ticks are: 1, 2 and 5 times powers of ten, powers of the base, or names. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/plot_int.h"

enum { LINEAR_TICKS = 7, LOG_TICKS = 10, NAMES_SHOWN = K_SCALE_TICKS };

/* 10 to the e, the nearest double: small powers are exact. */
static double ten(int e)
{
	double x = 1;
	for (int i = 0; i < (e < 0 ? -e : e); i++)
		x *= 10;
	return e < 0 ? 1 / x : x;
}

/* --- the range ------------------------------------------------------------------------------------------------------------- */

static void widen(struct k_scale *s, double v)
{
	if (!isfinite(v) || (s->base && v <= 0))
		return;
	s->lo = fmin(s->lo, v);
	s->hi = fmax(s->hi, v);
}

static void widen_series(struct k_scale *s, const struct k_plot_series *q, bool y, bool across)
{
	bool length = y != across;      /* is this the axis of what is measured? */
	for (size_t i = 0; i < q->n; i++) {
		widen(s, y ? q->v[i].y : q->v[i].x);
		if (length && q->kind != K_PLOT_CELLS) {
			widen(s, q->v[i].lo);
			widen(s, q->v[i].hi);
		}
	}
	if (length && q->kind == K_PLOT_BARS)
		widen(s, 0);
}

static void range(struct k_scale *s, const struct k_plot *p, bool y)
{
	bool across = p->y.n_names > 0;
	s->lo = INFINITY;
	s->hi = -INFINITY;
	for (int i = 0; i < p->n_series; i++)
		widen_series(s, &p->series[i], y, across);
	for (int i = 0; i < p->n_marks; i++)
		if (p->mark[i].upright != y) {
			widen(s, p->mark[i].lo);
			widen(s, p->mark[i].hi);
		}
	if ((y ? &p->y : &p->x)->zero)
		widen(s, 0);
	if (s->lo > s->hi) {            /* nothing to be seen */
		s->lo = s->base ? 1 : 0;
		s->hi = s->base ? 10 : 1;
	}
	double least = s->base ? 1e-280 : -1e280;       /* so that nothing below overflows */
	s->lo = fmin(fmax(s->lo, least), 1e280);
	s->hi = fmin(fmax(s->hi, least), 1e280);
	if (s->lo == s->hi && s->base) {
		s->lo /= 2;
		s->hi *= 2;
	} else if (s->hi - s->lo <= fmax(1e-9 * fmax(fabs(s->lo), fabs(s->hi)), 1e-280)) {
		bool none = fabs(s->lo) < 1e-270;
		double by = none ? 1 : fabs(s->lo) * 0.1;
		s->hi += by;
		s->lo -= none ? 0 : by;
	}
}

/* --- numbers ---------------------------------------------------------------------------------------------------------------- */

static size_t power_text(char *out, size_t size, int e)
{
	static const char *const digit[] = { "⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹" };
	int a = e < 0 ? -e : e;
	return (size_t)snprintf(out, size, "10%s%s%s%s", e < 0 ? "⁻" : "", a > 99 ? digit[a / 100 % 10] : "", a > 9 ? digit[a / 10 % 10] : "", digit[a % 10]);
}

static int digits_of(uint64_t a)
{
	int n = 0;
	for (; a; a /= 10)
		n++;
	return n;
}

/* How many thousands are written as k, M, G, T, where the largest has so many digits before the point. */
static int thousands_of(int digits)
{
	int up = 0;
	for (; digits > 4 && up < 4; digits -= 3)
		up++;
	return up;
}

/* m times 10 to the e, exactly, in so many thousands; powers, and what would be long: as a power of ten. */
static void number_text(char *out, size_t size, int64_t m, int e, bool powers, int up)
{
	static const char *const thousands[] = { "", "k", "M", "G", "T" };
	const char *sign = m < 0 ? "−" : "";
	uint64_t a = m < 0 ? (uint64_t)-m : (uint64_t)m;
	if (!a) {
		snprintf(out, size, "0");
		return;
	}
	for (; a % 10 == 0; a /= 10)
		e++;
	if (powers || digits_of(a) + e > 15 || e - 3 * up < -9) {
		int n = a == 1 ? snprintf(out, size, "%s", sign) : snprintf(out, size, "%s%llu×", sign, (unsigned long long)a);
		power_text(out + n, size - (size_t)n, e);
		return;
	}
	e -= 3 * up;
	if (e >= 0) {
		for (; e > 0; e--)
			a *= 10;
		snprintf(out, size, "%s%llu%s", sign, (unsigned long long)a, thousands[up]);
		return;
	}
	uint64_t unit = 1;
	for (int i = 0; i < -e; i++)
		unit *= 10;
	snprintf(out, size, "%s%llu.%0*llu%s", sign, (unsigned long long)(a / unit), -e, (unsigned long long)(a % unit), thousands[up]);
}

static void tick(struct k_scale *s, double at, int64_t m, int e, bool powers, int up)
{
	if (s->n == K_SCALE_TICKS)
		return;
	s->tick[s->n].at = at;
	number_text(s->tick[s->n++].text, sizeof(s->tick[0].text), m, e, powers, up);
}

/* --- ticks ------------------------------------------------------------------------------------------------------------------ */

static void linear(struct k_scale *s, bool whole)
{
	double width = s->hi - s->lo;
	int e = (int)floor(log10(width / LINEAR_TICKS)), i = 0;
	static const int round[] = { 1, 2, 5, 10 };
	while (i < 3 && width / (round[i] * ten(e)) > LINEAR_TICKS)
		i++;
	if (round[i] == 10) {
		e++;
		i = 0;
	}
	if (whole && e < 0) {
		e = 0;
		i = 0;
	}
	double step = round[i] * ten(e);
	int64_t from = (int64_t)floor(s->lo / step + 1e-9), to = (int64_t)ceil(s->hi / step - 1e-9);
	s->lo = (double)from * step;
	s->hi = (double)to * step;
	double most = fmax(fabs(s->lo), fabs(s->hi));
	int up = most >= 1 && most < 1e15 ? thousands_of(1 + (int)floor(log10(most))) : 0;
	for (int64_t k = from; k <= to; k++)
		tick(s, (double)k * step, k * round[i], e, most < 1e-4, up);
}

/* m x 10^e with m of 1, 2, 5: the i-th of them, 10^0 is the zeroth. */
static double round_at(int i, int *m, int *e)
{
	static const int round[] = { 1, 2, 5 };
	*e = i >= 0 ? i / 3 : -((2 - i) / 3);
	*m = round[i - 3 * *e];
	return *m * ten(*e);
}

static void log_ten(struct k_scale *s)
{
	int m, e, from = 3 * (int)floor(log10(s->lo)), to;
	while (round_at(from + 1, &m, &e) <= s->lo * (1 + 1e-9))
		from++;
	for (to = from + 1; round_at(to, &m, &e) < s->hi * (1 - 1e-9); to++)
		;
	int stride = to - from > 6 ? 3 : 1;
	if (stride == 3) {              /* whole powers of ten */
		from -= ((from % 3) + 3) % 3;
		to += (3 - ((to % 3) + 3) % 3) % 3;
		stride *= 1 + (to - from) / 3 / LOG_TICKS;
	}
	s->lo = round_at(from, &m, &e);
	s->hi = round_at(to, &m, &e);
	bool powers = s->lo < 1e-4 || s->hi > 1e6;
	for (int i = from; i <= to; i += stride) {
		double at = round_at(i, &m, &e);
		tick(s, at, m, e, powers, thousands_of(1 + e));
	}
}

static void log_two(struct k_scale *s)
{
	int from = (int)floor(log2(s->lo) + 1e-9), to = (int)ceil(log2(s->hi) - 1e-9), stride;
	to = K_MAX(to, from + 1);
	stride = 1 + (to - from) / LOG_TICKS;
	s->lo = exp2(from);
	s->hi = exp2(to);
	for (int i = from; i <= to && s->n < K_SCALE_TICKS; i += stride) {
		s->tick[s->n].at = exp2(i);
		snprintf(s->tick[s->n++].text, sizeof(s->tick[0].text), i < 0 ? "1/%lld" : "%lld", 1ll << (i < 0 ? K_MIN(-i, 62) : K_MIN(i, 62)));
	}
}

static void names(struct k_scale *s, const struct k_plot_axis *a, bool y)
{
	size_t stride = 1 + (a->n_names - 1) / NAMES_SHOWN;
	s->lo = -0.5;
	s->hi = (double)a->n_names - 0.5;
	if (y && a->down) {
		s->lo = s->hi;
		s->hi = -0.5;
	}
	for (size_t i = 0; i < a->n_names; i += stride) {
		s->tick[s->n].at = (double)i;
		k_plot_text(s->tick[s->n++].text, sizeof(s->tick[0].text), "%s", a->name[i]);
	}
}

void k_scale_of(struct k_scale *s, const struct k_plot *p, bool y)
{
	const struct k_plot_axis *a = y ? &p->y : &p->x;
	memset(s, 0, sizeof(*s));
	if (a->n_names) {
		names(s, a, y);
		return;
	}
	s->base = a->base;
	range(s, p, y);
	if (a->base == 2)
		log_two(s);
	else if (a->base)
		log_ten(s);
	else
		linear(s, a->whole);
}

bool k_scale_takes(const struct k_scale *s, double v) { return isfinite(v) && (!s->base || v > 0); }

double k_scale_at(const struct k_scale *s, double v)
{
	if (s->base)
		return log(fmax(v, 1e-300) / s->lo) / log(s->hi / s->lo);
	return (v - s->lo) / (s->hi - s->lo);
}
