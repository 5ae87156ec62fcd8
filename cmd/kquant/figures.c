/* figures.c: see figures.h. */
#include "libcore/base.h"
#include <math.h>
#include <stdlib.h>
#include "cmd/kquant/figures.h"
#include "libcore/dtype.h"
#include "libcore/explog.h"
#include "libcore/qtype/i4g32.h"

const char *const k_figure_names[K_F_NUMBERS] = {
	"elements", "rel_rms", "max_abs", "cos", "sqnr_db", "worst_group", "clipped", "zero_groups", "off_grid", "rms", "peak", "row_corr", "col_corr",
	"code_rms", "short_groups", "negative_scales", "repeated_scales", "scale_fit", "outlier",
};

int k_figures_begin(struct k_figures *f, const struct k_entry *e, const struct k_qtype *to, const struct k_quant_opts *how, struct k_err *err)
{
	struct k_profile *p = &f->profile;
	int64_t rows = k_entry_rows(e), cols = k_entry_cols(e);

	memset(f, 0, sizeof(*f));
	f->qat = how->scale == K_SCALE_QAT && e->type != to;
	f->powers = strcmp(to->name, "mxfp4") == 0;
	if (strcmp(to->name, "i4g32") == 0 && (how->scale == K_SCALE_AMAX7 || how->scale == K_SCALE_QAT))
		f->least = k_bf16_to_f32(k_i4g32_scale(NULL, 0, NULL, K_SCALE_AMAX7));     /* that of zeros */
	if (!strchr(e->name, '*'))
		return 0;
	p->every_row = K_MAX(k_div_up(rows, K_PROFILE), 1);
	p->every_col = K_MAX(k_div_up(cols, K_PROFILE), 1);
	p->n_rows = (int)k_div_up(rows, p->every_row);
	p->n_cols = (int)k_div_up(cols, p->every_col);
	p->row = k_calloc((size_t)p->n_rows + (size_t)p->n_cols, sizeof(*p->row));
	if (!p->row)
		return k_err_nomem(err, ((size_t)p->n_rows + (size_t)p->n_cols) * sizeof(*p->row), "the profile of an expert");
	p->col = p->row + p->n_rows;
	return 0;
}

void k_figures_fini(struct k_figures *f) { k_free(f->profile.row); }

/* --- while rows pass ------------------------------------------------------------------------------------------------------ */

enum { LANES = 8 };
static double tree(const double s[LANES]) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

struct sums { double e2, x2, y2, xy, off, x_top, y_top; };

static inline double larger(double a, double b) { return a > b ? a : b; }

struct lanes { double e2[LANES], x2[LANES], y2[LANES], xy[LANES], off[LANES], x_top[LANES], y_top[LANES]; };

static inline void add_lane(struct lanes *s, int j, double x, double y)
{
	double d = x - y;

	s->e2[j] += d * d;
	s->x2[j] += x * x;
	s->y2[j] += y * y;
	s->xy[j] += x * y;
	s->off[j] = larger(s->off[j], fabs(d));
	s->x_top[j] = larger(s->x_top[j], fabs(x));
	s->y_top[j] = larger(s->y_top[j], fabs(y));
}

static double largest(const double v[LANES])
{
	double top = v[0];

	for (int j = 1; j < LANES; j++)
		top = larger(top, v[j]);
	return top;
}

/* Sums over n values, side by side in lanes: the compiler may use vectors, and the order is one. */
static struct sums sum_up(const float *restrict x, const float *restrict y, int64_t n)
{
	struct lanes s = { .e2 = { 0 } };
	int64_t i = 0;

	for (; i + LANES <= n; i += LANES)
		for (int j = 0; j < LANES; j++)
			add_lane(&s, j, x[i + j], y[i + j]);
	for (int j = 0; i + j < n; j++)
		add_lane(&s, j, x[i + j], y[i + j]);
	return (struct sums){ tree(s.e2), tree(s.x2), tree(s.y2), tree(s.xy), largest(s.off), largest(s.x_top), largest(s.y_top) };
}

/* What is above has been clamped: the group's largest value after, and half a step. A step is a seventh of the largest, for that has the
 * code 7, or less; where no scale is smaller, that scale. Of E2M1 only 6 is clamped to, and a power of two beside it shows which code the
 * largest has (3 and 1.5 are never more than a sixth too small). A group of zeros has none: what it lost was too small. */
static double held(const struct k_figures *f, double top)
{
	int e;

	if (top == 0 || (f->powers && frexp(top, &e) != 0.75))
		return INFINITY;
	return f->powers ? top * 7 / 6 : top + 0.5 * larger(top / 7, f->least * (1 + 0x1p-20));
}

static int64_t count_above(const float *x, double most, int64_t n)
{
	int64_t count = 0;

	for (int64_t i = 0; i < n; i++)
		count += fabs((double)x[i]) > most;
	return count;
}

static bool off_grid(float x, float y) { return x != y && x != k_bf16_to_f32(k_bf16_from_f32(y)); }

static double add_group(struct k_figures *f, const float *x, const float *y, int64_t n)
{
	struct sums s = sum_up(x, y, n);
	double rel = s.x2 > 0 ? sqrt(s.e2 / s.x2) : 0;

	if (n > 1 && s.x_top > s.y_top * (1 + 0.5 / 7))
		f->clipped += count_above(x, held(f, s.y_top), n);
	for (int64_t i = 0; f->qat && s.e2 > 0 && i < n; i++)
		f->off_grid += off_grid(x[i], y[i]);
	if (rel > f->worst) {
		f->worst = rel;
		f->worst_index = f->groups;
	}
	f->err2 += s.e2;
	f->x2 += s.x2;
	f->y2 += s.y2;
	f->xy += s.xy;
	f->max_abs = larger(f->max_abs, s.off);
	f->top = larger(f->top, s.x_top);
	f->zero_groups += s.y_top == 0;
	f->elements += n;
	f->groups++;
	return s.x2;
}

static void add_profile(struct k_profile *p, const float *x, int64_t row, double x2)
{
	if (row % p->every_row == 0)
		p->row[row / p->every_row] += x2;
	for (int c = 0; c < p->n_cols; c++)
		p->col[c] += (double)x[c * p->every_col] * x[c * p->every_col];
}

void k_figures_values(struct k_figures *f, const float *before, const float *after, int64_t n, int64_t cols, int64_t group)
{
	for (int64_t r = 0; r < n; r++, f->rows++, before += cols, after += cols) {
		double x2 = 0;

		for (int64_t c = 0; c < cols; c += group)
			x2 += add_group(f, before + c, after + c, K_MIN(group, cols - c));
		if (f->profile.row)
			add_profile(&f->profile, before, f->rows, x2);
	}
}

/* Sums of one row, for what its groups share. */
struct fit { double n, s, c, ss, cc, sc; };

static void add_code_group(struct k_figures *f, struct fit *fit, const uint8_t *packed, float scale)
{
	int sum = 0, top = 0;
	double s, c;

	for (int i = 0; i < 16; i++) {
		int a = abs((packed[i] & 15) - 8), b = abs((packed[i] >> 4) - 8);

		sum += a * a + b * b;
		top = K_MAX(top, K_MAX(a, b));
	}
	f->i4_groups++;
	f->code2 += sum;
	f->negative_scales += scale < 0;
	if (sum == 0 || scale == 0)
		return;
	f->short_groups += top < 7;
	s = k_log(fabs((double)scale));
	c = 0.5 * k_log(sum / 32.0);
	fit->n++;
	fit->s += s;
	fit->c += c;
	fit->ss += s * s;
	fit->cc += c * c;
	fit->sc += s * c;
}

void k_figures_codes(struct k_figures *f, const uint8_t *packed, const uint16_t *scales, int64_t cols)
{
	struct fit fit = { 0 };

	for (int64_t g = 0; g < cols / 32; g++) {
		add_code_group(f, &fit, packed + 16 * g, k_bf16_to_f32(scales[g]));
		f->repeated += g > 0 && scales[g] == scales[g - 1];
	}
	if (fit.n < 2)
		return;
	f->fit_ss += fit.ss - fit.s * fit.s / fit.n;
	f->fit_cc += fit.cc - fit.c * fit.c / fit.n;
	f->fit_sc += fit.sc - fit.s * fit.c / fit.n;
}

/* --- the numbers of a slice ----------------------------------------------------------------------------------------------- */

static double ratio(double a, double b) { return b > 0 ? a / b : NAN; }
static double decibels(double r) { return r > 0 && isfinite(r) ? 10 / 2.302585092994045684 * k_log(r) : NAN; }

static void own_numbers(const struct k_figures *f, double v[K_F_NUMBERS])
{
	double norm = sqrt(f->x2) * sqrt(f->y2), fit = sqrt(f->fit_ss) * sqrt(f->fit_cc);

	for (int i = 0; i < K_F_NUMBERS; i++)
		v[i] = NAN;
	v[K_F_ELEMENTS] = (double)f->elements;
	v[K_F_REL_RMS] = f->x2 > 0 ? sqrt(f->err2 / f->x2) : 0;
	v[K_F_MAX_ABS] = f->max_abs;
	/* Nothing that stays nothing is as it was; what became nothing is like nothing. */
	v[K_F_COS] = norm != 0 ? f->xy / norm : f->x2 == 0 && f->y2 == 0;
	v[K_F_SQNR] = decibels(ratio(f->x2, f->err2));
	v[K_F_WORST_GROUP] = f->worst;
	v[K_F_CLIPPED] = (double)f->clipped;
	v[K_F_ZERO_GROUPS] = (double)f->zero_groups;
	if (f->groups) {
		v[K_F_RMS] = sqrt(f->x2 / (double)f->elements);
		v[K_F_PEAK] = ratio(f->top, v[K_F_RMS]);
		v[K_F_OFF_GRID] = f->qat ? (double)f->off_grid : NAN;
	}
	if (f->i4_groups == 0)
		return;
	v[K_F_CODE_RMS] = sqrt(f->code2 / (32.0 * (double)f->i4_groups));
	v[K_F_SHORT_GROUPS] = (double)f->short_groups;
	v[K_F_NEGATIVE] = (double)f->negative_scales;
	v[K_F_REPEATED] = ratio((double)f->repeated, (double)(f->i4_groups - f->rows));
	v[K_F_SCALE_FIT] = ratio(f->fit_sc, fit);
}

/* --- among siblings ------------------------------------------------------------------------------------------------------- */

/* An empty row counts as a very small one. */
static double log_size(double x2) { return 0.5 * k_log(x2 + 1e-60); }

/* Correlation of a with the mean of the others, the sum of which with a is `all`. */
static double correlation(const double *a, const double *all, int n)
{
	double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;

	for (int i = 0; i < n; i++) {
		double x = log_size(a[i]), y = all[i] - x;

		sa += x;
		sb += y;
		saa += x * x;
		sbb += y * y;
		sab += x * y;
	}
	saa -= sa * sa / n;
	sbb -= sb * sb / n;
	return saa > 1e-9 && sbb > 1e-9 ? (sab - sa * sb / n) / (sqrt(saa) * sqrt(sbb)) : NAN;
}

static void profiles(const struct k_figures *f, int n, double *all, double (*v)[K_F_NUMBERS])
{
	int rows = f[0].profile.n_rows, cols = f[0].profile.n_cols;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < rows + cols; k++)
			all[k] += log_size(f[i].profile.row[k]);
	for (int i = 0; i < n; i++) {
		v[i][K_F_ROW_CORR] = correlation(f[i].profile.row, all, rows);
		v[i][K_F_COL_CORR] = correlation(f[i].profile.col, all + rows, cols);
	}
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_size);
	return n & 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Figures in which experts of a layer are alike, whether their logarithm is looked at, and what of a difference is nothing. */
static const struct alike { enum k_figure figure; bool log; double nothing; } alike[] = {
	{ K_F_RMS, true, 0.01 }, { K_F_REL_RMS, true, 0.01 }, { K_F_PEAK, true, 0.1 }, { K_F_ROW_CORR, false, 0.02 }, { K_F_COL_CORR, false, 0.02 },
	{ K_F_CODE_RMS, true, 0.01 }, { K_F_REPEATED, false, 0.02 }, { K_F_SCALE_FIT, false, 0.03 },
};

static double look(const struct alike *a, double v) { return !a->log ? v : isnan(v) ? NAN : k_log(v > 0 ? v : 1e-30); }

/* Distance from the median in deviations (1.4826 times the median distance), the largest over the figures. sorted: room for n. */
static void stand_out(const struct alike *a, int n, double *sorted, double (*v)[K_F_NUMBERS], enum k_figure *out_in)
{
	double middle, spread;
	int have = 0;

	for (int i = 0; i < n; i++)
		if (!isnan(look(a, v[i][a->figure])))
			sorted[have++] = look(a, v[i][a->figure]);
	if (have < K_SIBLINGS)
		return;
	middle = median(sorted, have);
	for (int i = 0; i < have; i++)
		sorted[i] = fabs(sorted[i] - middle);
	spread = 1.4826 * median(sorted, have) + a->nothing;
	for (int i = 0; i < n; i++) {
		double off = fabs(look(a, v[i][a->figure]) - middle) / spread;

		if (!isnan(off) && !(off <= v[i][K_F_OUTLIER])) {
			v[i][K_F_OUTLIER] = off;
			out_in[i] = a->figure;
		}
	}
}

int k_figures_numbers(const struct k_figures *f, int n, double (*v)[K_F_NUMBERS], enum k_figure *out_in, struct k_err *err)
{
	size_t room = (size_t)K_MAX(n, f[0].profile.n_rows + f[0].profile.n_cols);
	double *work;

	for (int i = 0; i < n; i++) {
		own_numbers(&f[i], v[i]);
		out_in[i] = K_F_NUMBERS;
	}
	if (n < K_SIBLINGS || !f[0].profile.row || !f[0].groups)
		return 0;
	work = k_calloc(room, sizeof(*work));
	if (!work)
		return k_err_nomem(err, room * sizeof(*work), "the profiles of a layer");
	profiles(f, n, work, v);
	for (size_t a = 0; a < K_LEN(alike); a++)
		stand_out(&alike[a], n, work, v, out_in);
	k_free(work);
	return 0;
}
