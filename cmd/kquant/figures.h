/* figures.h: what the ledger counts in a slice (an expert, or a whole tensor) while its rows pass, and how it stands among its siblings.
 *
 *   values     before and after: errors, groups, size
 *   codes      of INT4: signs and repeats of scales, use of the range, how scales and codes belong together
 *   profile    sizes of rows and columns, some hundred of each: experts of a layer share their inputs, so that the columns of their
 *              gates (the rows of their down projections) are alike; one that is transposed or belongs elsewhere is not
 *
 * Sums run in double in the order of the data: a figure does not depend on threads. */
#ifndef K_FIGURES_H
#define K_FIGURES_H

#include "libcore/ckpt.h"

enum {
	K_PROFILE = 512,                /* most rows and most columns of a profile */
	K_SIBLINGS = 4,                 /* slices that are compared, at least */
};

struct k_profile { int64_t every_row, every_col; int n_rows, n_cols; double *row, *col; };      /* sums of squares of every k-th row and column */

struct k_figures {
	bool qat;                               /* off_grid is wanted */
	bool powers;                            /* scales are powers of two, codes those of E2M1 */
	double least;                           /* no scale is below it; 0: there is no such rule */
	int64_t rows, elements, groups, zero_groups, clipped, off_grid, worst_index;
	double err2, x2, y2, xy, max_abs, top, worst;
	/* INT4: groups; nonzero ones without a code of magnitude 7; scales below zero; scales that equal the one on their left */
	int64_t i4_groups, short_groups, negative_scales, repeated;
	double code2;                           /* sum of the squares of codes */
	double fit_ss, fit_cc, fit_sc;          /* variances and covariance of log scale and log code size, each less its row's mean */
	struct k_profile profile;
};

/* What --fail-if may name; K_F_NUMBERS of them, in the order of the enum. NAN: the slice has no such figure. */
enum k_figure {
	K_F_ELEMENTS, K_F_REL_RMS, K_F_MAX_ABS, K_F_COS, K_F_SQNR, K_F_WORST_GROUP, K_F_CLIPPED, K_F_ZERO_GROUPS, K_F_OFF_GRID, K_F_RMS, K_F_PEAK,
	K_F_ROW_CORR, K_F_COL_CORR, K_F_CODE_RMS, K_F_SHORT_GROUPS, K_F_NEGATIVE, K_F_REPEATED, K_F_SCALE_FIT, K_F_OUTLIER, K_F_NUMBERS
};
extern const char *const k_figure_names[K_F_NUMBERS];

/* Zero, with room for the profile of a slice of e, which becomes one of type `to`, as `how` says. */
int k_figures_begin(struct k_figures *f, const struct k_entry *e, const struct k_qtype *to, const struct k_quant_opts *how, struct k_err *err) K_MUST_USE;
void k_figures_fini(struct k_figures *f);
/* The next n rows: values before and after (the same where nothing changes); group: columns that share a scale. */
void k_figures_values(struct k_figures *f, const float *before, const float *after, int64_t n, int64_t cols, int64_t group);
/* A row of INT4 in the checkpoint's order (k_i4g32_to_ct). */
void k_figures_codes(struct k_figures *f, const uint8_t *packed, const uint16_t *scales, int64_t cols);
/* The numbers of n slices of one entry, v[i] of f[i], and the figure in which each stands out most (K_F_NUMBERS: none). */
int k_figures_numbers(const struct k_figures *f, int n, double (*v)[K_F_NUMBERS], enum k_figure *out_in, struct k_err *err) K_MUST_USE;

#endif
