/* plot_svg.c: a figure as SVG: title, note and legend above, axes with ticks around what is drawn. Coordinates are written as integers of
 * hundredths, so that the bytes are the same in every locale. Points that fall on the place of the one before are left out. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include "evals/plot_int.h"
#include "libcore/json.h"

#define WIDTH 760.0
#define HEIGHT 460.0
#define SIZE 12.0                       /* of text */
#define ROW 18.0                        /* of the legend */
#define INK "#222222"

struct sheet {
	const struct k_plot *p;
	struct k_buf *b;
	struct k_scale x, y;
	double left, top, right, bottom;        /* of what is drawn */
	bool heat, across;
};

/* --- texts and numbers --------------------------------------------------------------------------------------------------------- */

static void px(struct k_buf *b, double v)
{
	long long c = llround(fmin(fmax(v, -1e5), 1e5) * 100);
	long long a = c < 0 ? -c : c;
	k_buf_printf(b, "%s%lld", c < 0 ? "-" : "", a / 100);
	if (a % 10)
		k_buf_printf(b, ".%02lld", a % 100);
	else if (a % 100)
		k_buf_printf(b, ".%lld", a % 100 / 10);
}

/* name="v" */
static void attr(struct k_buf *b, const char *name, double v)
{
	k_buf_printf(b, " %s=\"", name);
	px(b, v);
	k_buf_putc(b, '"');
}

/* One character of good UTF-8: its length. */
static size_t step(const char *s)
{
	size_t n = 1;
	while (((unsigned char)s[n] & 0xc0) == 0x80)
		n++;
	return n;
}

/* How wide a text is, more or less: fonts differ. */
static double width_of(const char *s)
{
	double w = 0;
	for (; *s; s += step(s)) {
		unsigned char c = (unsigned char)*s;
		w += c >= 0xe3 ? 1.0 : c >= 0x80 ? 0.6 : strchr("iljtfrI.,:;|!'()[] ", c) ? 0.32 : c >= 'A' && c <= 'Z' ? 0.7 : strchr("mw%@", c) ? 0.86 : 0.57;
	}
	return w * SIZE;
}

/* For XML: markup is escaped, what XML cannot hold is a space. */
static void put_char(struct k_buf *b, const char *s, size_t n)
{
	static const struct { char c; const char *as; } marks[] = { { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '"', "&quot;" } };
	for (size_t i = 0; i < K_LEN(marks); i++)
		if (*s == marks[i].c) {
			k_buf_puts(b, marks[i].as);
			return;
		}
	if ((unsigned char)*s < 0x20 || *s == 0x7f || (n == 3 && !memcmp(s, "\xef\xbf", 2) && (unsigned char)s[2] >= 0xbe))
		k_buf_putc(b, ' ');
	else
		k_buf_put(b, s, n);
}

/* At most as wide as most, with dots for what is left out. */
static void put_text(struct k_buf *b, const char *text, double most)
{
	struct k_buf good;
	k_buf_init(&good, 0);
	k_utf8_mend(&good, text, strlen(text));
	double room = good.len && width_of(good.data) > most ? most - SIZE : INFINITY, w = 0;
	for (const char *s = good.len ? good.data : ""; *s; s += step(s)) {
		char one[8] = "";
		memcpy(one, s, K_MIN(step(s), sizeof(one) - 1));
		w += width_of(one);
		if (w > room) {
			k_buf_puts(b, "…");
			break;
		}
		put_char(b, s, step(s));
	}
	b->failed |= good.failed;
	k_buf_fini(&good);
}

static void text(struct k_buf *b, double x, double y, const char *attrs, const char *s, double most)
{
	k_buf_puts(b, "<text");
	attr(b, "x", x);
	attr(b, "y", y);
	k_buf_printf(b, "%s%s>", *attrs ? " " : "", attrs);
	put_text(b, s, most);
	k_buf_puts(b, "</text>\n");
}

static void line(struct k_buf *b, double x1, double y1, double x2, double y2)
{
	k_buf_puts(b, "<path d=\"M");
	px(b, x1);
	k_buf_putc(b, ' ');
	px(b, y1);
	k_buf_putc(b, 'L');
	px(b, x2);
	k_buf_putc(b, ' ');
	px(b, y2);
	k_buf_puts(b, "\"/>\n");
}

static void rect(struct k_buf *b, double x1, double y1, double x2, double y2, const char *attrs)
{
	k_buf_puts(b, "<rect");
	attr(b, "x", fmin(x1, x2));
	attr(b, "y", fmin(y1, y2));
	attr(b, "width", fabs(x2 - x1));
	attr(b, "height", fabs(y2 - y1));
	k_buf_printf(b, "%s%s/>\n", *attrs ? " " : "", attrs);
}

/* --- places ---------------------------------------------------------------------------------------------------------------------- */

static double at_x(const struct sheet *s, double v) { return s->left + (s->right - s->left) * k_scale_at(&s->x, v); }
static double at_y(const struct sheet *s, double v) { return s->bottom - (s->bottom - s->top) * k_scale_at(&s->y, v); }
static double within(double v, double lo, double hi) { return fmin(fmax(v, lo), hi); }

static bool has_place(const struct sheet *s, const struct k_plot_point *v) { return k_scale_takes(&s->x, v->x) && k_scale_takes(&s->y, v->y); }

/* --- series ---------------------------------------------------------------------------------------------------------------------- */

/* A marker of its own for each colour. */
static void marker(struct k_buf *b, double x, double y, int color)
{
	static const char *const shapes[] = { "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z", "m-3.2-3.2h6.4v6.4h-6.4z", "m0-4.2l4 7h-8z",
		"m0-4.4l4.4 4.4l-4.4 4.4l-4.4-4.4z" };
	k_buf_putc(b, 'M');
	px(b, x);
	k_buf_putc(b, ' ');
	px(b, y);
	k_buf_puts(b, shapes[(unsigned)color % K_LEN(shapes)]);
}

/* Are a and b the same place to the eye? */
static bool near(double ax, double ay, double bx, double by) { return fabs(ax - bx) < 0.4 && fabs(ay - by) < 0.4; }

static void draw_markers(const struct sheet *s, const struct k_plot_series *q)
{
	double x0 = INFINITY, y0 = INFINITY;
	k_buf_printf(s->b, "<path fill=\"%s\" d=\"", k_plot_color(q->color));
	for (size_t i = 0; i < q->n; i++) {
		double x = at_x(s, q->v[i].x), y = at_y(s, q->v[i].y);
		if (!has_place(s, &q->v[i]) || near(x, y, x0, y0))
			continue;
		marker(s->b, x, y, q->color);
		x0 = x;
		y0 = y;
	}
	k_buf_puts(s->b, "\"/>\n");
}

/* From one side of a bar's place to the other, of eight tenths that the bars of a name share. */
static void slot(const struct sheet *s, const struct k_plot_series *q, const struct k_plot_point *v, double *from, double *to)
{
	double one = s->across ? at_y(s, 1) - at_y(s, 0) : at_x(s, 1) - at_x(s, 0), mid = s->across ? at_y(s, v->y) : at_x(s, v->x);
	*from = mid + one * (0.8 * q->place / q->places - 0.4);
	*to = *from + one * 0.8 / q->places;
}

static void draw_error_bars(const struct sheet *s, const struct k_plot_series *q, const char *color)
{
	k_buf_printf(s->b, "<path stroke=\"%s\" d=\"", color);
	for (size_t i = 0; i < q->n; i++) {
		const struct k_plot_point *v = &q->v[i];
		const struct k_scale *scale = s->across ? &s->x : &s->y;
		double mid = s->across ? at_y(s, v->y) : at_x(s, v->x), from, to;
		if (!isfinite(v->lo) || !has_place(s, v) || !k_scale_takes(scale, v->hi))
			continue;
		slot(s, q, v, &from, &to);
		if (q->kind == K_PLOT_BARS)
			mid = (from + to) / 2;
		double lo = k_scale_takes(scale, v->lo) ? v->lo : scale->lo;
		double a = s->across ? at_x(s, lo) : at_y(s, lo), c = s->across ? at_x(s, v->hi) : at_y(s, v->hi);
		for (int part = 0; part < 3; part++) {          /* the bar, and its two ends */
			double m1 = part ? mid - 3 : mid, m2 = part ? mid + 3 : mid, e1 = part == 2 ? c : a, e2 = part == 1 ? a : c;
			k_buf_putc(s->b, 'M');
			px(s->b, s->across ? e1 : m1);
			k_buf_putc(s->b, ' ');
			px(s->b, s->across ? m1 : e1);
			k_buf_putc(s->b, 'L');
			px(s->b, s->across ? e2 : m2);
			k_buf_putc(s->b, ' ');
			px(s->b, s->across ? m2 : e2);
		}
	}
	k_buf_puts(s->b, "\"/>\n");
}

static void draw_path(const struct sheet *s, const struct k_plot_series *q)
{
	double x0 = INFINITY, y0 = INFINITY;
	bool begun = false;
	k_buf_printf(s->b, "<path stroke=\"%s\" stroke-width=\"1.8\" stroke-linejoin=\"round\"", k_plot_color(q->color));
	if (q->dash)
		k_buf_printf(s->b, " stroke-dasharray=\"%s\"", k_plot_dash(q->dash));
	k_buf_puts(s->b, " d=\"");
	for (size_t i = 0; i < q->n; i++) {
		/* A step has a place at the edge of a logarithmic axis, a point of a line has none there. */
		double x = within(at_x(s, q->v[i].x), s->left, s->right), y = at_y(s, q->v[i].y);
		if ((q->kind == K_PLOT_LINE && !has_place(s, &q->v[i])) || (near(x, y, x0, y0) && i + 1 < q->n))
			continue;
		if (q->kind == K_PLOT_STEPS && begun) {
			k_buf_putc(s->b, 'H');
			px(s->b, x);
			k_buf_putc(s->b, 'V');
			px(s->b, y);
		} else {
			k_buf_putc(s->b, begun ? 'L' : 'M');
			px(s->b, x);
			k_buf_putc(s->b, ' ');
			px(s->b, y);
		}
		begun = true;
		x0 = x;
		y0 = y;
	}
	k_buf_puts(s->b, "\"/>\n");
}

static void draw_line(const struct sheet *s, const struct k_plot_series *q)
{
	draw_error_bars(s, q, k_plot_color(q->color));
	draw_path(s, q);
	draw_markers(s, q);
}

static void draw_points(const struct sheet *s, const struct k_plot_series *q)
{
	draw_error_bars(s, q, k_plot_color(q->color));
	draw_markers(s, q);
}

static void draw_bars(const struct sheet *s, const struct k_plot_series *q)
{
	k_buf_printf(s->b, "<g fill=\"%s\">\n", k_plot_color(q->color));
	for (size_t i = 0; i < q->n; i++) {
		double from, to;
		slot(s, q, &q->v[i], &from, &to);
		if (s->across)
			rect(s->b, at_x(s, 0), from, at_x(s, q->v[i].x), to, "");
		else
			rect(s->b, from, at_y(s, 0), to, at_y(s, q->v[i].y), "");
	}
	k_buf_puts(s->b, "</g>\n");
	draw_error_bars(s, q, INK);
}

static void draw_ticks(const struct sheet *s, const struct k_plot_series *q)
{
	k_buf_printf(s->b, "<g stroke=\"%s\" stroke-width=\"2.5\">\n", k_plot_color(q->color));
	for (size_t i = 0; i < q->n; i++) {
		double from, to, x = at_x(s, q->v[i].x), y = at_y(s, q->v[i].y);
		slot(s, q, &q->v[i], &from, &to);
		if (s->across)
			line(s->b, x, from, x, to);
		else
			line(s->b, from, y, to, y);
	}
	k_buf_puts(s->b, "</g>\n");
}

static void draw_cells(const struct sheet *s, const struct k_plot_series *q)
{
	double w = fabs(at_x(s, 1) - at_x(s, 0)), h = fabs(at_y(s, 1) - at_y(s, 0));
	bool figures = w >= 26 && h >= 14;
	k_buf_printf(s->b, "<g stroke=\"#ffffff\" stroke-width=\"%s\">\n", figures ? "1" : "0.3");
	for (size_t i = 0; i < q->n; i++) {
		const struct k_plot_point *v = &q->v[i];
		bool known = isfinite(v->lo);
		double x = at_x(s, v->x), y = at_y(s, v->y);
		char attrs[64], rgb[8], percent[16] = "–";
		if (known)
			k_plot_heat(rgb, v->lo);
		snprintf(attrs, sizeof(attrs), "fill=\"%s\"", known ? rgb : "url(#unknown)");
		rect(s->b, x - w / 2, y - h / 2, x + w / 2, y + h / 2, attrs);
		if (known)
			snprintf(percent, sizeof(percent), "%d", (int)floor(100 * within(v->lo, 0, 1) + 0.5));
		if (figures)
			text(s->b, x, y + 4, known && fabs(v->lo - 0.5) > 0.3 ? "text-anchor=\"middle\" stroke=\"none\" fill=\"#fff\"" : "text-anchor=\"middle\" stroke=\"none\"",
				percent, w);
	}
	k_buf_puts(s->b, "</g>\n");
}

static void (*const draw[])(const struct sheet *s, const struct k_plot_series *q) = {
	[K_PLOT_LINE] = draw_line, [K_PLOT_POINTS] = draw_points, [K_PLOT_STEPS] = draw_path, [K_PLOT_BARS] = draw_bars,
	[K_PLOT_CELLS] = draw_cells, [K_PLOT_TICKS] = draw_ticks,
};

/* --- marks, axes, legend ----------------------------------------------------------------------------------------------------------- */

static void draw_band(const struct sheet *s, const struct k_plot_mark *m)
{
	char attrs[64];
	double a = m->upright ? at_x(s, m->lo) : at_y(s, m->lo), c = m->upright ? at_x(s, m->hi) : at_y(s, m->hi);
	if (!k_scale_takes(m->upright ? &s->x : &s->y, m->hi))
		return;
	a = m->upright ? within(a, s->left, s->right) : within(a, s->top, s->bottom);
	snprintf(attrs, sizeof(attrs), "fill=\"%s\" fill-opacity=\"0.18\"", k_plot_color(m->color));
	if (m->upright)
		rect(s->b, a, s->top, fmax(c, a + 1.5), s->bottom, attrs);
	else
		rect(s->b, s->left, a, s->right, fmin(c, a - 1.5), attrs);
}

static void draw_mark(const struct sheet *s, const struct k_plot_mark *m, int i)
{
	if (!k_scale_takes(m->upright ? &s->x : &s->y, m->lo))
		return;
	k_buf_printf(s->b, "<g stroke=\"%s\" stroke-width=\"1.4\" stroke-dasharray=\"%s\">\n", k_plot_color(m->color), k_plot_dash(i));
	if (m->upright)
		line(s->b, at_x(s, m->lo), s->top, at_x(s, m->lo), s->bottom);
	else
		line(s->b, s->left, at_y(s, m->lo), s->right, at_y(s, m->lo));
	k_buf_puts(s->b, "</g>\n");
}

static void draw_grid(const struct sheet *s)
{
	k_buf_puts(s->b, "<g stroke=\"#e4e4e4\">\n");
	for (int i = 0; i < s->y.n && !s->across; i++)
		line(s->b, s->left, at_y(s, s->y.tick[i].at), s->right, at_y(s, s->y.tick[i].at));
	for (int i = 0; i < s->x.n && (s->across || !s->p->x.n_names); i++)
		line(s->b, at_x(s, s->x.tick[i].at), s->top, at_x(s, s->x.tick[i].at), s->bottom);
	k_buf_puts(s->b, "</g>\n");
}

static void draw_axes(const struct sheet *s)
{
	double end = 0, last = INFINITY;        /* of the texts under the axis, and beside it: none lies on another */
	k_buf_puts(s->b, "<g stroke=\"" INK "\">\n");
	line(s->b, s->left, s->bottom, s->right, s->bottom);
	line(s->b, s->left, s->top, s->left, s->bottom);
	for (int i = 0; i < s->x.n; i++)
		line(s->b, at_x(s, s->x.tick[i].at), s->bottom, at_x(s, s->x.tick[i].at), s->bottom + 4);
	for (int i = 0; i < s->y.n; i++)
		line(s->b, s->left - 4, at_y(s, s->y.tick[i].at), s->left, at_y(s, s->y.tick[i].at));
	k_buf_puts(s->b, "</g>\n<g class=\"x\" fill=\"" INK "\" stroke=\"none\" text-anchor=\"middle\">\n");
	for (int i = 0; i < s->x.n; i++) {
		double x = at_x(s, s->x.tick[i].at), w = fmin(width_of(s->x.tick[i].text), 160);
		if (x - w / 2 < end + 5)
			continue;
		text(s->b, x, s->bottom + 18, "", s->x.tick[i].text, 160);
		end = x + w / 2;
	}
	k_buf_puts(s->b, "</g>\n");
	text(s->b, (s->left + s->right) / 2, s->bottom + 40, "fill=\"" INK "\" text-anchor=\"middle\"", s->p->x.label, s->right - s->left);
	k_buf_puts(s->b, "<g class=\"y\" fill=\"" INK "\" stroke=\"none\" text-anchor=\"end\">\n");
	for (int i = 0; i < s->y.n; i++) {
		double y = at_y(s, s->y.tick[i].at);
		if (fabs(y - last) < SIZE)
			continue;
		text(s->b, s->left - 8, y + 4, "", s->y.tick[i].text, 230);
		last = y;
	}
	k_buf_puts(s->b, "</g>\n<g fill=\"" INK "\" stroke=\"none\" text-anchor=\"middle\" transform=\"translate(18 ");
	px(s->b, (s->top + s->bottom) / 2);
	k_buf_puts(s->b, ") rotate(-90)\">\n");
	text(s->b, 0, 0, "", s->p->y.label, s->bottom - s->top);
	k_buf_puts(s->b, "</g>\n");
}

/* The scale of colours of a heat map. */
static void draw_key(const struct sheet *s)
{
	double x = s->right + 22, h = s->bottom - s->top;
	char rgb[3][8];
	for (int i = 0; i < 3; i++)
		k_plot_heat(rgb[i], i / 2.0);
	k_buf_printf(s->b, "<defs><linearGradient id=\"heat\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\"><stop offset=\"0\" stop-color=\"%s\"/><stop offset=\"0.5\" "
		"stop-color=\"%s\"/><stop offset=\"1\" stop-color=\"%s\"/></linearGradient></defs>\n", rgb[0], rgb[1], rgb[2]);
	rect(s->b, x, s->top, x + 14, s->bottom, "fill=\"url(#heat)\" stroke=\"" INK "\" stroke-width=\"0.6\"");
	for (int i = 0; i <= 4; i++) {
		char percent[16];
		snprintf(percent, sizeof(percent), "%d %%", 25 * i);
		text(s->b, x + 20, s->bottom - h * i / 4 + 4, "fill=\"" INK "\" stroke=\"none\"", percent, 60);
	}
}

/* What the legend shows of an entry, from x on. */
static void swatch(const struct sheet *s, const struct k_plot_series *q, const struct k_plot_mark *m, int i, double x, double y)
{
	int color = q ? q->color : m->color, dash = q ? q->dash : i;
	bool area = q ? q->kind == K_PLOT_BARS : m->lo < m->hi;
	if (area) {
		k_buf_printf(s->b, "<g fill=\"%s\" stroke=\"none\" fill-opacity=\"%s\">", k_plot_color(color), q ? "1" : "0.25");
		rect(s->b, x, y - 5, x + 18, y + 5, "");
		k_buf_puts(s->b, "</g>\n");
		return;
	}
	if (!q || q->kind != K_PLOT_POINTS) {
		k_buf_printf(s->b, "<g stroke=\"%s\" stroke-width=\"%s\"%s%s%s>", k_plot_color(color), q && q->kind == K_PLOT_TICKS ? "2.5" : "1.8",
			dash ? " stroke-dasharray=\"" : "", dash ? k_plot_dash(dash) : "", dash ? "\"" : "");
		line(s->b, x, y, x + 22, y);
		k_buf_puts(s->b, "</g>\n");
	}
	if (q && (q->kind == K_PLOT_LINE || q->kind == K_PLOT_POINTS)) {
		k_buf_printf(s->b, "<path fill=\"%s\" d=\"", k_plot_color(color));
		marker(s->b, x + 11, y, color);
		k_buf_puts(s->b, "\"/>\n");
	}
}

/* Rows of entries from y on; where the next would be. show false: nothing is drawn. */
static double legend(const struct sheet *s, double y, bool show)
{
	double x = s->left, used = 0;
	for (int i = 0; i < s->p->n_series + s->p->n_marks; i++) {
		const struct k_plot_series *q = i < s->p->n_series ? &s->p->series[i] : NULL;
		const struct k_plot_mark *m = q ? NULL : &s->p->mark[i - s->p->n_series];
		const char *label = q ? q->label : m->label;
		double w = 28 + fmin(width_of(label), WIDTH - s->left - 60);
		if (!*label)
			continue;
		if (x > s->left && x + w > WIDTH - 16) {
			x = s->left;
			y += ROW;
		}
		if (show) {
			swatch(s, q, m, i - s->p->n_series, x, y - 4);
			text(s->b, x + 28, y, "fill=\"" INK "\" stroke=\"none\"", label, WIDTH - s->left - 60);
		}
		x += w + 18;
		used = ROW;
	}
	return y + used;
}

/* --- the sheet ---------------------------------------------------------------------------------------------------------------------- */

static void lay_out(struct sheet *s)
{
	double wide = 0;
	for (int i = 0; i < s->y.n; i++)
		wide = fmax(wide, fmin(width_of(s->y.tick[i].text), 230));
	s->left = 40 + wide;
	s->right = WIDTH - (s->heat ? 92 : 24);
	s->top = legend(s, *s->p->note ? 64 : 46, false) - (*s->p->note ? 4 : 2);
	s->bottom = fmax(HEIGHT, s->top + 260) - 56;
	if (s->across)
		s->bottom = fmax(s->bottom, s->top + 18 * (double)s->p->y.n_names);
}

static void draw_all(struct sheet *s)
{
	if (!s->heat)
		draw_grid(s);
	for (int i = 0; i < s->p->n_marks; i++)
		if (s->p->mark[i].lo < s->p->mark[i].hi)
			draw_band(s, &s->p->mark[i]);
	for (int i = 0; i < s->p->n_series; i++) {
		k_buf_puts(s->b, "<g class=\"data\">\n");
		draw[s->p->series[i].kind](s, &s->p->series[i]);
		k_buf_puts(s->b, "</g>\n");
	}
	for (int i = 0; i < s->p->n_marks; i++)
		if (!(s->p->mark[i].lo < s->p->mark[i].hi))
			draw_mark(s, &s->p->mark[i], i);
	draw_axes(s);
	if (s->heat)
		draw_key(s);
	legend(s, *s->p->note ? 64 : 46, true);
}

void k_plot_svg(const struct k_plot *p, struct k_buf *b)
{
	struct sheet s = { .p = p, .b = b, .across = p->y.n_names && p->n_series && p->series[0].kind != K_PLOT_CELLS };
	for (int i = 0; i < p->n_series; i++)
		s.heat |= p->series[i].kind == K_PLOT_CELLS;
	k_scale_of(&s.x, p, false);
	k_scale_of(&s.y, p, true);
	lay_out(&s);
	int height = (int)(s.bottom + 56);
	k_buf_printf(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
		"role=\"img\">\n<title>", (int)WIDTH, height, (int)WIDTH, height);
	put_text(b, p->title, INFINITY);
	k_buf_puts(b, "</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
	if (s.heat)
		k_buf_puts(b, "<defs><pattern id=\"unknown\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect width=\"6\" height=\"6\" "
			"fill=\"#f4f4f4\"/><path d=\"M0 6L6 0\" stroke=\"#b0b0b0\"/></pattern></defs>\n");
	k_buf_puts(b, "<g font-family=\"Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif\" font-size=\"12\" fill=\"none\">\n");
	text(b, s.left, 26, "font-size=\"15\" font-weight=\"bold\" fill=\"" INK "\"", p->title, (WIDTH - s.left - 16) / 1.35);
	if (*p->note)
		text(b, s.left, 44, "fill=\"#666666\"", p->note, WIDTH - s.left - 16);
	draw_all(&s);
	k_buf_puts(b, "</g>\n</svg>\n");
}
