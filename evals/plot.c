/* plot.c: a figure in memory, and where it is written; see plot.h. */
#include "libcore/base.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include "evals/plot.h"
#include "evals/plot_int.h"
#include "libcore/io.h"

/* Colours that people with any kind of colour blindness tell apart, and that differ in brightness; grey is for what is beside the point. */
static const char *const colors[] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a4e9e", "#222222", "#8a8a8a" };
static const char *const dashes[] = { "", "7,3", "2,3", "9,3,2,3" };

const char *k_plot_color(int color) { return colors[color == K_PLOT_GREY ? K_PLOT_GREY : (unsigned)color % K_PLOT_COLORS]; }
const char *k_plot_dash(int dash) { return dashes[(unsigned)dash % K_LEN(dashes)]; }

/* From vermilion (none) over a light grey to blue (all): told apart without red and green, and in print. */
void k_plot_heat(char out[8], double share)
{
	static const int stops[3][3] = { { 0xd5, 0x5e, 0x00 }, { 0xf2, 0xef, 0xe8 }, { 0x00, 0x72, 0xb2 } };
	double t = fmin(fmax(share, 0), 1) * 2;
	int i = t >= 1, rgb[3];
	for (int c = 0; c < 3; c++)
		rgb[c] = (int)floor(stops[i][c] + (t - i) * (stops[i + 1][c] - stops[i][c]) + 0.5);
	snprintf(out, 8, "#%02x%02x%02x", rgb[0] & 255, rgb[1] & 255, rgb[2] & 255);
}

/* --- building ----------------------------------------------------------------------------------------------------------------- */

void k_plot_init(struct k_plot *p)
{
	memset(p, 0, sizeof(*p));
	p->series = k_calloc(K_PLOT_SERIES, sizeof(*p->series));
	p->failed = !p->series;
}

static void fini_axis(struct k_plot_axis *a)
{
	for (size_t i = 0; i < a->n_names; i++)
		k_free(a->name[i]);
	k_free(a->name);
}

void k_plot_fini(struct k_plot *p)
{
	for (int i = 0; i < p->n_series; i++)
		k_free(p->series[i].v);
	k_free(p->series);
	fini_axis(&p->x);
	fini_axis(&p->y);
}

void k_plot_text(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(out, size, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n < size)
		return;
	/* Not within a character: the last one is whole, or goes. */
	size_t at = size - 1, more = 0;
	while (at && (out[at - 1] & 0xc0) == 0x80) {
		at--;
		more++;
	}
	unsigned char lead = at ? (unsigned char)out[at - 1] : 0;
	if (more < (lead >= 0xf0 ? 3u : lead >= 0xe0 ? 2u : lead >= 0xc0 ? 1u : 0u))
		out[at - 1] = 0;
}

struct k_plot_series *k_plot_series(struct k_plot *p, enum k_plot_kind kind, int color, const char *label)
{
	if (p->failed || p->n_series == K_PLOT_SERIES)
		return NULL;
	struct k_plot_series *s = &p->series[p->n_series++];
	*s = (struct k_plot_series){ .kind = kind, .color = color, .places = 1 };
	K_PLOT_TEXT(s->label, "%s", label);
	return s;
}

void k_plot_add(struct k_plot *p, struct k_plot_series *s, double x, double y, double lo, double hi)
{
	if (p->failed || !s || !isfinite(x) || !isfinite(y))
		return;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		struct k_plot_point *v = k_realloc(s->v, cap * sizeof(*v));
		p->failed = !v;
		if (!v)
			return;
		s->v = v;
		s->cap = cap;
	}
	bool bar = s->kind == K_PLOT_CELLS || (isfinite(lo) && isfinite(hi));
	s->v[s->n++] = (struct k_plot_point){ x, y, bar ? lo : NAN, bar ? hi : NAN };
}

double k_plot_place(struct k_plot *p, struct k_plot_axis *a, const char *name)
{
	for (size_t i = 0; i < a->n_names; i++)
		if (!strcmp(a->name[i], name))
			return (double)i;
	if (!p->failed && a->n_names == a->cap) {
		size_t cap = a->cap ? 2 * a->cap : 16;
		char **v = k_realloc(a->name, cap * sizeof(*v));
		p->failed = !v;
		if (v) {
			a->name = v;
			a->cap = cap;
		}
	}
	char *copy = p->failed ? NULL : k_strdup(name);
	if (!copy) {
		p->failed = true;
		return NAN;
	}
	a->name[a->n_names] = copy;
	return (double)a->n_names++;
}

void k_plot_mark(struct k_plot *p, bool upright, double lo, double hi, int color, const char *label)
{
	if (p->n_marks == K_PLOT_MARKS || !isfinite(lo) || !isfinite(hi))
		return;
	struct k_plot_mark *m = &p->mark[p->n_marks++];
	*m = (struct k_plot_mark){ .upright = upright, .lo = lo, .hi = hi, .color = color };
	K_PLOT_TEXT(m->label, "%s", label);
}

int k_plot_ok(const struct k_plot *p, struct k_err *err) { return p->failed ? k_err_nomem(err, sizeof(*p), "a figure") : 0; }

/* --- files ---------------------------------------------------------------------------------------------------------------------- */

static bool ends(const char *path, const char *ending)
{
	size_t n = strlen(path), k = strlen(ending);
	return n > k && !strcmp(path + n - k, ending);
}

int k_plot_check(const char *path, struct k_err *err)
{
	if (ends(path, ".svg"))
		return 0;
	if (!ends(path, ".png"))
		return k_err_set(err, K_EUSAGE, "--plot is '%s', wanted a name that ends in .svg or .png", path);
	return k_plot_has_gnuplot() ? 0 : k_err_set(err, K_EUSAGE,
		"--plot '%s': PNG is drawn by gnuplot, which is not installed (package gnuplot or gnuplot-nox); .svg needs nothing", path);
}

int k_plot_write(const struct k_plot *p, const char *path, struct k_err *err)
{
	struct k_sink *sink = NULL;
	struct k_buf b;
	k_buf_init(&b, 0);
	int r = k_plot_check(path, err);
	if (r == 0)
		r = k_plot_ok(p, err);
	if (r == 0)
		r = k_sink_open(&sink, path, err);
	if (r == 0 && ends(path, ".svg")) {
		k_plot_svg(p, &b);
		r = k_buf_ok(&b, "a figure", err);
		if (r == 0)
			r = k_sink_write(sink, b.data, b.len, err);
	} else if (r == 0) {
		r = k_plot_gnuplot(p, sink, err);
	}
	if (r == 0)
		r = k_sink_commit(sink, err);
	k_sink_close(sink);
	k_buf_fini(&b);
	return r;
}
