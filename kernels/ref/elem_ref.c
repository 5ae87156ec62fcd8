/* elem_ref.c: element by element functions and norms: the definition. */
#include "libcore/base.h"
#include "kernels/ref/ref.h"

void kk_ref_axpy(float *y, const float *x, float a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = (float)((double)y[i] + (double)a * x[i]);
}

void kk_ref_add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

void kk_ref_scale(float *y, float a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] *= a;
}

void kk_ref_sigmoid(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = (float)ref_sigmoid(x[i]);
}

void kk_ref_swiglu(float *y, const float *gate, const float *up, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = (float)(ref_silu(gate[i]) * up[i]);
}

void kk_ref_situ(float *y, const float *gate, const float *up, double cap, double cap_up, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double u = cap_up != 0 ? cap_up * tanh(up[i] / cap_up) : up[i];
		y[i] = (float)(cap * tanh(gate[i] / cap) * ref_sigmoid(gate[i]) * u);
	}
}

void kk_ref_gate(float *y, const float *z, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = (float)(y[i] * ref_sigmoid(z[i]));
}

static double sum_squares(const float *x, size_t n)
{
	double s = 0;
	for (size_t i = 0; i < n; i++)
		s += (double)x[i] * x[i];
	return s;
}

void kk_ref_rmsnorm(float *y, const float *x, const float *w, size_t n, double eps)
{
	double scale = 1 / sqrt(sum_squares(x, n) / (double)n + eps);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)(w[i] * (x[i] * scale));
}

void kk_ref_l2norm(float *y, const float *x, double scale, size_t n)
{
	double s = scale / sqrt(sum_squares(x, n) + 1e-6);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)(x[i] * s);
}

void kk_ref_gated_norm(float *y, const float *x, const float *w, const float *z, size_t n, double eps)
{
	double scale = 1 / sqrt(sum_squares(x, n) / (double)n + eps);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)(w[i] * (x[i] * scale) * ref_sigmoid(z[i]));
}
