/* pictures.h: what a task's report looks like: a figure made of its items and its summary. Each is the `draw` of its task. */
#ifndef K_PICTURES_H
#define K_PICTURES_H

#include "evals/plot.h"
#include "libcore/json.h"

/* What there is to draw from. aside: what a task gave for the picture alone (k_report_aside), NULL: nothing. */
struct k_picture { const struct k_json *items, *summary, *aside; };

/* A member of an object: NaN for what is no number, "" for what is no string. */
double k_picture_number(const struct k_json *o, const char *key);
const char *k_picture_string(const struct k_json *o, const char *key);

void k_draw_needle(struct k_plot *p, const struct k_picture *f);
void k_draw_kld(struct k_plot *p, const struct k_picture *f);
void k_draw_diff(struct k_plot *p, const struct k_picture *f);

#endif
