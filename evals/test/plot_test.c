/* plot_test.c: axes with round ticks, by hand, and figures that nobody's data would make. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/plot_int.h"
#include "libcore/test.h"

/* The ticks of y for values lo to hi, as one text. */
static const char *ticks(double lo, double hi, int base, char *out, size_t n)
{
	struct k_plot p;
	struct k_scale s;
	size_t at = 0;
	k_plot_init(&p);
	p.y.base = base;
	struct k_plot_series *q = k_plot_series(&p, K_PLOT_POINTS, 0, "");
	k_plot_add(&p, q, 0, lo, NAN, NAN);
	k_plot_add(&p, q, 1, hi, NAN, NAN);
	k_scale_of(&s, &p, true);
	*out = 0;
	for (int i = 0; i < s.n && at < n; i++)
		at += (size_t)snprintf(out + at, n - at, "%s%s", i ? " " : "", s.tick[i].text);
	if (s.lo > lo || s.hi < hi)
		snprintf(out, n, "%g to %g", s.lo, s.hi);
	k_plot_fini(&p);
	return out;
}

K_TEST(plot_ticks_are_round)
{
	static const struct { double lo, hi; int base; const char *want; } rows[] = {
		{ 0, 97, 0, "0 20 40 60 80 100" },
		{ -0.3, 0.1, 0, "−0.3 −0.2 −0.1 0 0.1" },
		{ 5, 5, 0, "4.4 4.6 4.8 5 5.2 5.4 5.6" },
		{ 0, 0, 0, "0 0.2 0.4 0.6 0.8 1" },
		{ 0, 20000, 0, "0 5k 10k 15k 20k" },
		{ 0, 3.4e9, 0, "0 500M 1000M 1500M 2000M 2500M 3000M 3500M" },
		{ 1e-8, 5e-8, 0, "10⁻⁸ 2×10⁻⁸ 3×10⁻⁸ 4×10⁻⁸ 5×10⁻⁸" },
		{ 0.003, 40, 10, "0.001 0.01 0.1 1 10 100" },
		{ 3, 40, 10, "2 5 10 20 50" },
		{ 7, 7, 10, "2 5 10 20" },
		{ 1e-7, 0.5, 10, "10⁻⁷ 10⁻⁶ 10⁻⁵ 10⁻⁴ 10⁻³ 10⁻² 10⁻¹ 10⁰" },
		{ 1, 8, 2, "1 2 4 8" },
		{ 3, 60, 2, "2 4 8 16 32 64" },
		{ 8, 8, 2, "4 8 16" },
		{ 0.25, 1, 2, "1/4 1/2 1" },
	};
	char text[400];
	for (size_t i = 0; i < K_LEN(rows); i++)
		K_CHECK_MSG(!strcmp(ticks(rows[i].lo, rows[i].hi, rows[i].base, text, sizeof(text)), rows[i].want), "%s, wanted %s", text, rows[i].want);
}

/* Whatever comes, an axis has an end above its beginning, and few ticks. */
K_TEST(plot_scales_of_anything)
{
	static const double values[] = { 0, -0.0, 1, -1, 1e-300, -1e-300, 5e-324, 1e300, -1e300, 1.7e308, -1.7e308, 1e15, 1e15 + 1, 0.1, 3 };
	static const int bases[] = { 0, 2, 10 };
	for (size_t a = 0; a < K_LEN(values); a++)
		for (size_t c = 0; c < K_LEN(values); c++)
			for (size_t i = 0; i < K_LEN(bases); i++) {
				struct k_plot p;
				struct k_scale s;
				struct k_buf svg;
				k_plot_init(&p);
				k_buf_init(&svg, 0);
				p.x.base = p.y.base = bases[i];
				struct k_plot_series *q = k_plot_series(&p, K_PLOT_LINE, 0, "x");
				k_plot_add(&p, q, values[a], values[c], values[c], values[a]);
				k_plot_add(&p, q, values[c], values[a], NAN, NAN);
				k_plot_add(&p, q, NAN, 1, NAN, NAN);
				k_plot_add(&p, q, 1, INFINITY, NAN, NAN);
				k_plot_mark(&p, true, values[a], values[c], 1, "y");
				k_scale_of(&s, &p, true);
				K_CHECK_MSG(s.hi > s.lo && s.n >= 1 && s.n <= 24, "%g, %g, base %d: %g to %g, %d ticks", values[a], values[c], bases[i], s.lo, s.hi, s.n);
				k_plot_svg(&p, &svg);
				K_CHECK(!svg.failed && svg.len < 20000 && q->n == 2);
				k_buf_fini(&svg);
				k_plot_fini(&p);
			}
}

K_TEST(plot_texts_are_cut_at_characters)
{
	char out[8];
	K_PLOT_TEXT(out, "%s", "abcdefgh");
	K_CHECK_MSG(!strcmp(out, "abcdefg"), "%s, wanted %s", out, "abcdefg");
	K_PLOT_TEXT(out, "%s", "abcdefé");
	K_CHECK_MSG(!strcmp(out, "abcdef"), "%s, wanted %s", out, "abcdef");
	K_PLOT_TEXT(out, "%s", "abcd–€");
	K_CHECK_MSG(!strcmp(out, "abcd–"), "%s, wanted %s", out, "abcd–");
	K_PLOT_TEXT(out, "%s", "€€€");
	K_CHECK_MSG(!strcmp(out, "€€"), "%s, wanted %s", out, "€€");
}

/* Names down the side, bars across: each as long as its value. */
K_TEST(plot_bars_across)
{
	struct k_plot p;
	struct k_buf svg;
	k_plot_init(&p);
	k_buf_init(&svg, 0);
	struct k_plot_series *q = k_plot_series(&p, K_PLOT_BARS, 0, "a");
	p.y.down = true;
	K_CHECK(k_plot_place(&p, &p.y, "<one>") == 0);
	K_CHECK(k_plot_place(&p, &p.y, "two") == 1 && k_plot_place(&p, &p.y, "<one>") == 0);
	k_plot_add(&p, q, 50, 0, NAN, NAN);
	k_plot_add(&p, q, 100, 1, NAN, NAN);
	k_plot_svg(&p, &svg);
	K_CHECK(!svg.failed && strstr(svg.data, "&lt;one&gt;") && !strstr(svg.data, "<one>"));
	const char *bars = strstr(svg.data, "<g fill=\"#0072b2\">");
	double x[2] = { 0 }, y[2] = { 0 }, w[2] = { 0 }, h[2] = { 0 };
	K_CHECK(bars && sscanf(bars, "<g fill=\"#0072b2\">\n<rect x=\"%lf\" y=\"%lf\" width=\"%lf\" height=\"%lf\"/>\n<rect x=\"%lf\" y=\"%lf\" width=\"%lf\" "
		"height=\"%lf\"", &x[0], &y[0], &w[0], &h[0], &x[1], &y[1], &w[1], &h[1]) == 8);
	K_CHECK(x[0] == x[1] && fabs(w[1] - 2 * w[0]) < 0.02 && y[0] < y[1] && fabs(h[0] - h[1]) < 0.02);
	k_buf_fini(&svg);
	k_plot_fini(&p);
}
