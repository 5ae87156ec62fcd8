/* kda_ref.c: parts of Kimi delta attention (arXiv:2510.26692): the definition. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"
#include "libcore/kda_state.h"

void kk_ref_conv_silu(float *y, size_t y_step, const float *const *u, size_t tokens, const float *w, size_t w_step, int taps, size_t n)
{
	for (size_t t = 0; t < tokens; t++)
		for (size_t i = 0; i < n; i++) {
			double s = 0;
			for (int j = 0; j < taps; j++)
				s += (double)w[(size_t)j * w_step + i] * u[t + (size_t)j][i];
			y[t * y_step + i] = (float)ref_silu(s);
		}
}

void kk_ref_kda_gate(float *alpha, const float *a, const float *bias, double rate, size_t n)
{
	for (size_t i = 0; i < n; i++)
		alpha[i] = (float)exp(-rate * ref_softplus((double)a[i] + bias[i]));
}

void kk_ref_kda_gate_bound(float *alpha, const float *a, const float *bias, double rate, double bound, size_t n)
{
	for (size_t i = 0; i < n; i++)
		alpha[i] = (float)exp(bound * ref_sigmoid(rate * ((double)a[i] + bias[i])));
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

static double dot(const float *a, const float *b, size_t n)
{
	double s = 0;
	for (size_t i = 0; i < n; i++)
		s += (double)a[i] * b[i];
	return s;
}

void kk_ref_kda_keys(const struct kk_kda_chunk *c, const struct kk_kda *x, size_t dk)
{
	size_t step = (size_t)k_kda_padded((int64_t)dk), reads = (size_t)k_kda_reads((int64_t)dk);
	for (size_t t = 0; t < c->n; t++) {
		size_t own = c->at + t;
		float *on_k = c->reads + 2 * t * reads, *on_q = on_k + reads;
		const float *k = x->k + t * x->step, *q = x->q + t * x->step, *alpha = x->alpha + t * x->step;
		for (size_t i = 0; i < dk; i++) {
			c->decay[i] = own ? c->decay[i] * alpha[i] : alpha[i];
			for (size_t j = 0; j < own; j++)
				c->keys[j * step + i] *= alpha[i];
			c->keys[own * step + i] = k[i];
			on_k[i] = c->decay[i] * k[i];
			on_q[i] = c->decay[i] * q[i];
		}
		for (size_t j = 0; j <= own; j++) {
			on_k[dk + j] = (float)dot(c->keys + j * step, k, dk);
			on_q[dk + j] = (float)dot(c->keys + j * step, q, dk);
		}
	}
}

/* What a token reads of channel v, n rows of the strip. */
static double read_of(const float *strip, const float *by, size_t n, size_t v)
{
	double s = 0;
	for (size_t i = 0; i < n; i++)
		s += (double)strip[i * K_KDA_STRIP + v] * by[i];
	return s;
}

static void apply(float *strip, const struct kk_kda_chunk *c, size_t dk)
{
	size_t step = (size_t)k_kda_padded((int64_t)dk);
	for (size_t i = 0; i < dk; i++)
		for (size_t v = 0; v < K_KDA_STRIP; v++) {
			double s = (double)strip[i * K_KDA_STRIP + v] * c->decay[i];
			for (size_t j = 0; j < K_KDA_CHUNK; j++)
				s += (double)strip[(dk + j) * K_KDA_STRIP + v] * c->keys[j * step + i];
			strip[i * K_KDA_STRIP + v] = (float)s;
		}
}

void kk_ref_kda_strip(float *strip, const struct kk_kda_chunk *c, const struct kk_kda *x, size_t dk, size_t dv)
{
	size_t reads = (size_t)k_kda_reads((int64_t)dk);
	for (size_t t = 0; t < c->n; t++)
		for (size_t v = 0; v < K_KDA_STRIP; v++) {
			size_t own = dk + c->at + t;
			const float *on_k = c->reads + 2 * t * reads, *on_q = on_k + reads;
			double value = v < dv ? x->v[t * x->step + v] : 0;
			strip[own * K_KDA_STRIP + v] = (float)(x->beta[t] * (value - read_of(strip, on_k, own, v)));
			if (v < dv)
				x->o[t * x->step + v] = (float)read_of(strip, on_q, own + 1, v);
		}
	if (c->at + c->n == K_KDA_CHUNK)
		apply(strip, c, dk);
}
