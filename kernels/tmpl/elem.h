/* elem.h: element by element kernels in plain loops that the compiler turns into the level's vectors. A lane does what the scalar
 * end of the loop does, so where an element stands changes nothing; sums go into a fixed number of partial sums. */

enum { SUMS = 8 };

/* exp within 2 units: x = n ln 2 + r, |r| <= ln 2 / 2; a Taylor polynomial of degree 7; 2^n in two factors, so that both ends of the
 * range come out right. NaN stays NaN: the comparisons let it through. */
static inline float exp_(float x)
{
	float c = x > 89.0f ? 89.0f : x;
	c = c < -104.0f ? -104.0f : c;
	float m = __builtin_fmaf(c, 1.44269504f, 12582912.0f);
	uint32_t bits;
	memcpy(&bits, &m, 4);
	int32_t n = (int32_t)bits - 0x4b400000;
	float k = m - 12582912.0f;
	float r = __builtin_fmaf(k, -0.693145752f, c);
	r = __builtin_fmaf(k, -1.42860677e-6f, r);
	float p = 1.0f / 5040;
	p = __builtin_fmaf(p, r, 1.0f / 720);
	p = __builtin_fmaf(p, r, 1.0f / 120);
	p = __builtin_fmaf(p, r, 1.0f / 24);
	p = __builtin_fmaf(p, r, 1.0f / 6);
	p = __builtin_fmaf(p, r, 0.5f);
	p = __builtin_fmaf(p, r, 1.0f);
	p = __builtin_fmaf(p, r, 1.0f);
	int32_t h = n >> 1;
	uint32_t lo = (uint32_t)(h + 127) << 23, hi = (uint32_t)(n - h + 127) << 23;
	float a, b;
	memcpy(&a, &lo, 4);
	memcpy(&b, &hi, 4);
	return p * a * b;
}

static inline float sigmoid_(float x) { return 1.0f / (1.0f + exp_(-x)); }
static inline float silu_(float x) { return x / (1.0f + exp_(-x)); }

/* log(1 + u), 0 <= u <= 1, to full relative precision: 2 atanh(u / (2 + u)). */
static inline float log1p_(float u)
{
	float s = u / (2.0f + u), t = s * s, p = 1.0f / 15;
	p = __builtin_fmaf(p, t, 1.0f / 13);
	p = __builtin_fmaf(p, t, 1.0f / 11);
	p = __builtin_fmaf(p, t, 1.0f / 9);
	p = __builtin_fmaf(p, t, 1.0f / 7);
	p = __builtin_fmaf(p, t, 1.0f / 5);
	p = __builtin_fmaf(p, t, 1.0f / 3);
	p = p * t;
	return 2.0f * __builtin_fmaf(s, p, s);
}

static inline float softplus_(float x)
{
	float up = x > 0 ? x : 0, size = __builtin_fabsf(x);
	return up + log1p_(exp_(-size));
}

static void KK_FN(axpy)(float *restrict y, const float *restrict x, float a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = __builtin_fmaf(a, x[i], y[i]);
}

static void KK_FN(add)(float *restrict y, const float *restrict x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void KK_FN(scale)(float *y, float a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] *= a;
}

static void KK_FN(swiglu)(float *y, const float *gate, const float *up, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = silu_(gate[i]) * up[i];
}

static float KK_FN(max)(const float *x, size_t n)
{
	float m[SUMS], top = -__builtin_inff();
	size_t i = 0;
	for (int j = 0; j < SUMS; j++)
		m[j] = top;
	for (; i + SUMS <= n; i += SUMS)
		for (int j = 0; j < SUMS; j++)
			m[j] = x[i + (size_t)j] > m[j] ? x[i + (size_t)j] : m[j];
	for (; i < n; i++)
		top = x[i] > top ? x[i] : top;
	for (int j = 0; j < SUMS; j++)
		top = m[j] > top ? m[j] : top;
	return top + 0.0f;
}

/* Partial sums 0..7 in a tree, then the end. */
static inline double tree(const double s[SUMS]) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

static float KK_FN(exp_sum)(float *x, float scale, float top, size_t n)
{
	double s[SUMS] = { 0 }, end = 0;
	size_t i = 0;
	for (size_t j = 0; j < n; j++)
		x[j] = exp_(__builtin_fmaf(scale, x[j], -top));
	for (; i + SUMS <= n; i += SUMS)
		for (int j = 0; j < SUMS; j++)
			s[j] += (double)x[i + (size_t)j];
	for (; i < n; i++)
		end += (double)x[i];
	return (float)(tree(s) + end);
}

/* In double: no square of a float overflows. */
static double sum_squares(const float *x, size_t n)
{
	double s[SUMS] = { 0 }, end = 0;
	size_t i = 0;
	for (; i + SUMS <= n; i += SUMS)
		for (int j = 0; j < SUMS; j++)
			s[j] += (double)x[i + (size_t)j] * (double)x[i + (size_t)j];
	for (; i < n; i++)
		end += (double)x[i] * (double)x[i];
	return tree(s) + end;
}

static void KK_FN(rmsnorm)(float *y, const float *x, const float *w, size_t n, double eps)
{
	double r = 1 / __builtin_sqrt(sum_squares(x, n) / (double)n + eps);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)((double)w[i] * ((double)x[i] * r));
}

static void KK_FN(l2norm)(float *y, const float *x, double scale, size_t n)
{
	double r = scale / __builtin_sqrt(sum_squares(x, n) + 1e-6);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)((double)x[i] * r);
}

static void KK_FN(gated_norm)(float *y, const float *x, const float *w, const float *z, size_t n, double eps)
{
	double r = 1 / __builtin_sqrt(sum_squares(x, n) / (double)n + eps);
	for (size_t i = 0; i < n; i++)
		y[i] = (float)((double)w[i] * ((double)x[i] * r)) * sigmoid_(z[i]);
}

static void KK_FN(rope)(float *x, const float *table, size_t pairs, bool interleaved)
{
	size_t near = interleaved ? 2 : 1, far = interleaved ? 1 : pairs;
	for (size_t j = 0; j < pairs; j++) {
		float *p = x + j * near, *q = p + far, c = table[2 * j], s = table[2 * j + 1], a = *p, b = *q;
		*p = __builtin_fmaf(a, c, -(b * s));
		*q = __builtin_fmaf(a, s, b * c);
	}
}

static void KK_FN(conv_silu)(float *y, const float *const *u, const float *w, size_t w_step, int taps, size_t n)
{
	const float *w0 = w;
	for (size_t i = 0; i < n; i++)
		y[i] = w0[i] * u[0][i];
	for (int j = 1; j < taps; j++) {
		const float *restrict wj = w + (size_t)j * w_step, *restrict uj = u[j];
		for (size_t i = 0; i < n; i++)
			y[i] = __builtin_fmaf(wj[i], uj[i], y[i]);
	}
	for (size_t i = 0; i < n; i++)
		y[i] = silu_(y[i]);
}

static void KK_FN(kda_gate)(float *restrict alpha, const float *restrict a, const float *restrict bias, double rate, size_t n)
{
	float r = (float)rate;
	for (size_t i = 0; i < n; i++)
		alpha[i] = exp_(-(r * softplus_(a[i] + bias[i])));
}

static void KK_FN(act_bf16)(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t u, v;
		memcpy(&u, x + i, 4);
		v = (u + 0x7fffu + (u >> 16 & 1)) & 0xffff0000u;
		v = (u & 0x7fffffffu) > 0x7f800000u ? (u | 0x400000u) & 0xffff0000u : v;
		memcpy(y + i, &v, 4);
	}
}

static void group_int8(float *restrict y, const float *restrict x, size_t n)
{
	float top = 0;
	for (size_t i = 0; i < n; i++) {
		float a = __builtin_fabsf(x[i]);
		top = a > top ? a : top;
	}
	float d = top / 127, inv = d > __FLT_MIN__ ? 1 / d : 0;
	for (size_t i = 0; i < n; i++)
		y[i] = __builtin_rintf(x[i] * inv) * d;
}

static void KK_FN(act_int8)(float *y, const float *x, size_t n)
{
	float tmp[32];
	for (size_t i = 0; i < n; i += 32) {
		size_t m = K_MIN(n - i, (size_t)32);
		memcpy(tmp, x + i, m * sizeof(*tmp));
		group_int8(y + i, tmp, m);
	}
}
