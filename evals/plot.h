/* plot.h: a figure: points, lines, steps, bars or cells over two axes, as SVG by our own code or as PNG by gnuplot.
 *
 *   k_plot_init --> titles, axes --> series, each with points --> marks --> k_plot_ok --> k_plot_write
 *
 * Appending after a failure does nothing, so a row of appends is checked once. The same figure gives the same bytes of SVG. What is not
 * finite is left out, as is what a logarithmic axis has no place for; texts may hold anything. */
#ifndef K_PLOT_H
#define K_PLOT_H

#include "libcore/err.h"
#include "libcore/buf.h"

enum k_plot_kind {
	K_PLOT_LINE,                    /* points, joined */
	K_PLOT_POINTS,
	K_PLOT_STEPS,                   /* level until the next point */
	K_PLOT_BARS,                    /* from 0; several series stand side by side. Across where y has names */
	K_PLOT_CELLS,                   /* a heat map of shares, 0 to 1: column, row, share; not finite: not known */
	K_PLOT_TICKS,                   /* a short line over a bar of the same place: what it could be at most */
};

struct k_plot_point { double x, y, lo, hi; };           /* lo, hi: of y (of a bar across: of its length); NaN: none. Cells: lo is the share */

struct k_plot_series {
	enum k_plot_kind kind;
	char label[96];                 /* "": not in the legend */
	int color, dash;                /* of the palette; 0: solid */
	int place, places;              /* bars: which of how many side by side */
	struct k_plot_point *v;
	size_t n, cap;
};

/* A line, or a band where lo < hi, across the figure: at values of x (upright) or of y. */
struct k_plot_mark { bool upright; double lo, hi; char label[64]; int color; };

struct k_plot_axis {
	char label[96];
	int base;                       /* of the logarithm: 10, 2; 0: linear */
	bool zero;                      /* 0 is on it */
	bool whole;                     /* counts: no ticks between whole numbers */
	bool down;                      /* y with names: the first is at the top */
	char **name;                    /* places 0, 1, 2, ... have names instead of numbers */
	size_t n_names, cap;
};

enum { K_PLOT_SERIES = 64, K_PLOT_MARKS = 8, K_PLOT_COLORS = 8, K_PLOT_GREY = K_PLOT_COLORS };

struct k_plot {
	char title[200], note[300];
	struct k_plot_axis x, y;
	struct k_plot_series *series;   /* K_PLOT_SERIES */
	int n_series;
	struct k_plot_mark mark[K_PLOT_MARKS];
	int n_marks;
	bool failed;
};

/* Can FILE be written? K_EUSAGE: its name ends neither in .svg nor in .png, or .png and no gnuplot. To be asked before hours of work. */
int k_plot_check(const char *path, struct k_err *err) K_MUST_USE;

void k_plot_init(struct k_plot *p);
void k_plot_fini(struct k_plot *p);
/* Text of a fixed size: what is too long is cut at a character. */
void k_plot_text(char *out, size_t size, const char *fmt, ...) K_PRINTF(3, 4);
#define K_PLOT_TEXT(field, ...) k_plot_text((field), sizeof(field), __VA_ARGS__)
/* A new series; NULL where there is no room or memory, which the two below take. */
struct k_plot_series *k_plot_series(struct k_plot *p, enum k_plot_kind kind, int color, const char *label);
void k_plot_add(struct k_plot *p, struct k_plot_series *s, double x, double y, double lo, double hi);
/* The place of a name on an axis, added when it is new. */
double k_plot_place(struct k_plot *p, struct k_plot_axis *a, const char *name);
void k_plot_mark(struct k_plot *p, bool upright, double lo, double hi, int color, const char *label);
/* 0, or K_ENOMEM. */
int k_plot_ok(const struct k_plot *p, struct k_err *err) K_MUST_USE;

void k_plot_svg(const struct k_plot *p, struct k_buf *out);
/* Atomically, like every output. */
int k_plot_write(const struct k_plot *p, const char *path, struct k_err *err) K_MUST_USE;

#endif
