/* kda_ref.c: parts of Kimi delta attention (arXiv:2510.26692): the definition. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"

void kk_ref_conv_silu(float *y, const float *const *u, const float *w, size_t w_step, int taps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double s = 0;
		for (int j = 0; j < taps; j++)
			s += (double)w[(size_t)j * w_step + i] * u[j][i];
		y[i] = (float)ref_silu(s);
	}
}

void kk_ref_kda_gate(float *alpha, const float *a, const float *bias, double rate, size_t n)
{
	for (size_t i = 0; i < n; i++)
		alpha[i] = (float)exp(-rate * ref_softplus((double)a[i] + bias[i]));
}

static void one_token(float *state, float *o, const float *q, const float *k, const float *v, const float *alpha, float beta, size_t dk, size_t dv)
{
	for (size_t j = 0; j < dv; j++) {
		float *s = state + j * dk;
		double seen = 0, out = 0;
		for (size_t i = 0; i < dk; i++)
			seen += (double)s[i] * alpha[i] * k[i];
		double e = beta * (v[j] - seen);
		for (size_t i = 0; i < dk; i++) {
			double x = (double)s[i] * alpha[i] + e * k[i];
			s[i] = (float)x;
			out += x * q[i];
		}
		o[j] = (float)out;
	}
}

void kk_ref_kda_run(float *state, const struct kk_kda *x, size_t n, size_t dk, size_t dv)
{
	for (size_t t = 0; t < n; t++) {
		size_t at = t * x->step;
		one_token(state, x->o + at, x->q + at, x->k + at, x->v + at, x->alpha + at, x->beta[t], dk, dv);
	}
}
