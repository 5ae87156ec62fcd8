/* plot_int.h: what the writers of figures share: scales with round ticks, colours, texts. */
#ifndef K_PLOT_INT_H
#define K_PLOT_INT_H

#include "evals/plot.h"

enum { K_SCALE_TICKS = 64 };

/* Values lo to hi; ticks at round values, with their texts. Places of names: -0.5 to n - 0.5. */
struct k_scale {
	double lo, hi;
	int base;
	int n;
	struct { double at; char text[96]; } tick[K_SCALE_TICKS];
};
/* Of x or y (upright false, true): wide enough for all points, bars of error and marks. */
void k_scale_of(struct k_scale *s, const struct k_plot *p, bool y);
/* Does it have a place for v? */
bool k_scale_takes(const struct k_scale *s, double v);
/* 0 to 1 from lo to hi; beyond them what is beyond. */
double k_scale_at(const struct k_scale *s, double v);

/* "#0072b2" */
const char *k_plot_color(int color);
/* The colour of a share. */
void k_plot_heat(char out[8], double share);
/* Dashes as lengths with commas; "" for solid. */
const char *k_plot_dash(int dash);

/* PNG into the sink's file. */
struct k_sink;
int k_plot_gnuplot(const struct k_plot *p, struct k_sink *out, struct k_err *err) K_MUST_USE;
bool k_plot_has_gnuplot(void);

#endif
