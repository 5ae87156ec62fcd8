/* rope.c: rotary tables, see rope.h.
 *
 *   plain    inv_j = theta^(-2j/d)
 *   linear   inv_j / factor
 *   yarn     slow pairs (long waves) are divided by factor, fast ones kept, a ramp between (arXiv:2309.00071, the form of
 *            DeepSeek-V2's code: attention factor split into mscale and mscale_all_dim)
 *   llama3   by wave length: short kept, long divided, smooth between (Llama 3.1) */
#include "libcore/base.h"
#include <math.h>
#include "libcore/explog.h"
#include "libcore/rope.h"

static double yarn_m(double factor, double c)
{
	return factor <= 1 ? 1 : 0.1 * c * log(factor) + 1;
}

/* The pair whose wave turns n times over the original context. */
static double yarn_corr(const struct k_rope_hp *r, double n)
{
	return (double)r->dim * log((double)r->original / (n * 2 * M_PI)) / (2 * log(r->theta));
}

static void scale_yarn(const struct k_rope_hp *r, double *inv)
{
	double lo = fmax(floor(yarn_corr(r, r->beta_fast)), 0);
	double hi = fmin(ceil(yarn_corr(r, r->beta_slow)), (double)(r->dim - 1));
	if (lo == hi)
		hi += 0.001;
	for (int64_t j = 0; j < r->dim / 2; j++) {
		double ramp = fmin(fmax(((double)j - lo) / (hi - lo), 0), 1);
		inv[j] = inv[j] * (1 - ramp) + inv[j] / r->factor * ramp;
	}
}

/* Of a wave of this length, how much of its frequency stays: 1 all, 0 none, the rest is divided by the factor. */
static double llama3_kept(const struct k_rope_hp *r, double wave)
{
	double n = (double)r->original;
	if (wave < n / r->high_freq)
		return 1;
	if (wave > n / r->low_freq)
		return 0;
	return (n / wave - r->low_freq) / (r->high_freq - r->low_freq);
}

static void scale_llama3(const struct k_rope_hp *r, double *inv)
{
	for (int64_t j = 0; j < r->dim / 2; j++) {
		double s = llama3_kept(r, 2 * M_PI / inv[j]);
		inv[j] = (1 - s) * inv[j] / r->factor + s * inv[j];
	}
}

void k_rope_inv(const struct k_rope_hp *r, double *inv)
{
	for (int64_t j = 0; j < r->dim / 2; j++)
		inv[j] = pow(r->theta, -2.0 * (double)j / (double)r->dim);
	if (r->kind == K_ROPE_LINEAR)
		for (int64_t j = 0; j < r->dim / 2; j++)
			inv[j] /= r->factor;
	else if (r->kind == K_ROPE_YARN)
		scale_yarn(r, inv);
	else if (r->kind == K_ROPE_LLAMA3)
		scale_llama3(r, inv);
}

double k_rope_gain(const struct k_rope_hp *r)
{
	if (r->kind != K_ROPE_YARN)
		return 1;
	return yarn_m(r->factor, r->has_mscale ? r->mscale : 1) / yarn_m(r->factor, r->mscale_all_dim);
}

double k_rope_softmax(const struct k_rope_hp *r)
{
	if (r->kind != K_ROPE_YARN || r->mscale_all_dim == 0)
		return 1;
	double m = yarn_m(r->factor, r->mscale_all_dim);
	return m * m;
}

void k_rope_fill(const struct k_rope_hp *r, const double *inv, int64_t from, int64_t to, float *table)
{
	double gain = k_rope_gain(r);
	for (int64_t pos = from; pos < to; pos++)
		for (int64_t j = 0; j < r->dim / 2; j++) {
			double a = (double)pos * inv[j];
			*table++ = (float)(cos(a) * gain);
			*table++ = (float)(sin(a) * gain);
		}
}

/* --- Llama 3's scaling as a table ----------------------------------------------------------------------------------------- */

static double factor_of(const struct k_rope_hp *r, int64_t j)
{
	double s = llama3_kept(r, 2 * M_PI * k_exp(2.0 * (double)j / (double)r->dim * k_log(r->theta)));

	return s == 0 ? r->factor : 1 / ((1 - s) / r->factor + s);
}

void k_rope_factors(const struct k_rope_hp *r, float *out)
{
	for (int64_t j = 0; j < r->dim / 2; j++)
		out[j] = (float)factor_of(r, j);
}

/* Others compute in f32: theta's powers are off by a few units, and s, a small difference, by more. */
#define FACTOR_TOLERANCE 1e-5

int k_rope_set_factors(struct k_rope_hp *r, const float *factors, int64_t n, struct k_err *err)
{
	struct k_rope_hp as = *r;
	bool ones = true;

	if (n != r->dim / 2)
		return k_err_set(err, K_ESHAPE, "%lld factors, wanted %lld, one for two of the %lld channels that turn", (long long)n,
			(long long)(r->dim / 2), (long long)r->dim);
	if (r->kind != K_ROPE_PLAIN && r->kind != K_ROPE_LLAMA3)
		return k_err_set(err, K_EUNSUP, "factors beside another scaling of the rotation are not known here");
	if (r->kind == K_ROPE_PLAIN) {
		as.kind = K_ROPE_LLAMA3;
		as.factor = (double)factors[n - 1];
		as.low_freq = 1;
		as.high_freq = 4;
		as.original = 8192;
	}
	for (int64_t j = 0; j < n; j++) {
		double want = factor_of(&as, j), has = (double)factors[j];

		ones = ones && factors[j] == 1;
		if (!(fabs(has - want) <= FACTOR_TOLERANCE * want))
			return r->kind == K_ROPE_LLAMA3
				? k_err_set(err, K_EFORMAT, "factor %lld is %.9g, the keys of the scaling want %.9g", (long long)j, has, want)
				: k_err_set(err, K_EUNSUP, "factor %lld is %.9g, and Llama 3.1's scaling by %.9g wants %.9g: another is not known here",
					(long long)j, has, as.factor, want);
	}
	if (!ones)
		*r = as;
	return 0;
}
