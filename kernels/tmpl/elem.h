/* elem.h: element by element kernels, behind gemm.h: in plain loops that the compiler turns into the level's vectors, or, around
 * exponentials, in vectors whose missing end counts as zeros. Where an element stands changes nothing; sums go into a fixed number
 * of partial sums. Besides what gemm.h wants, a level has defined vf_min(a, b) and vf_max(a, b): b where one of them is a NaN. */

enum { SUMS = 8 };

typedef int32_t vi __attribute__((vector_size(4 * VL)));

/* The m = VL floats at p, or, at an end, the m < VL that are left: what lies behind counts as 0, and nothing is stored there. */
static inline __attribute__((always_inline)) vf take(const float *p, size_t m) { return m == VL ? vf_load(p) : end_f32(p, m); }

static inline __attribute__((always_inline)) void give(float *p, vf v, size_t m)
{
	float tmp[VL];
	if (m == VL) {
		vf_store(p, v);
	} else {
		vf_store(tmp, v);
		memcpy(p, tmp, m * sizeof(*p));
	}
}

/* `body` for the m floats at each i = 0, VL, ...: m is a constant but at the end. A long chain of operations is cut in two loops: what
 * the processor overlaps are iterations, and it looks only so many instructions ahead. */
#define EACH_VEC(n, body) do { \
	size_t i = 0, m = VL; \
	for (; i + VL <= (n); i += VL) \
		body; \
	m = (n) - i; \
	if (m) \
		body; \
} while (0)

/* exp within 2 units: x = n ln 2 + r, |r| <= ln 2 / 2; a Taylor polynomial of degree 7. What is below 2^-126.5 is 0, what is above
 * 2^127.5 infinite: the exponents on either side of a float's. NaN stays NaN: vf_min and vf_max give the second then. */
static inline vf exp_(vf x)
{
	vf c = vf_max(vf_set(-88.0f), vf_min(vf_set(89.0f), x));
	vf m = vf_fma(c, vf_set(1.44269504f), vf_set(12582912.0f)), k = m - 12582912.0f;
	vf r = vf_fma(k, vf_set(-1.42860677e-6f), vf_fma(k, vf_set(-0.693145752f), c));
	vf r2 = r * r, p = vf_fma(r, vf_set(1.0f / 5040), vf_set(1.0f / 720));
	p = vf_fma(r2, p, vf_fma(r, vf_set(1.0f / 120), vf_set(1.0f / 24)));
	p = vf_fma(r2 * r2, p, vf_fma(r2, vf_fma(r, vf_set(1.0f / 6), vf_set(0.5f)), 1.0f + r));
	/* n stands in the lowest bits of m. */
	return p * (vf)(((vi)m + 127) << 23);
}

static inline vf sigmoid_(vf x) { return 1.0f / (1.0f + exp_(-x)); }
static inline vf silu_(vf x) { return x / (1.0f + exp_(-x)); }

/* log(1 + u), 0 <= u <= 1, to full relative precision: 2 atanh(u / (2 + u)). */
static inline vf log1p_(vf u)
{
	vf s = u / (2.0f + u), t = s * s, t2 = t * t;
	vf p = vf_fma(t2, vf_set(1.0f / 15), vf_fma(t, vf_set(1.0f / 13), vf_set(1.0f / 11)));
	p = vf_fma(t2 * t2, p, vf_fma(t2, vf_fma(t, vf_set(1.0f / 9), vf_set(1.0f / 7)), vf_fma(t, vf_set(1.0f / 5), vf_set(1.0f / 3))));
	return 2.0f * vf_fma(s, p * t, s);
}

static inline vf softplus_(vf x)
{
	/* -|x|, so that no exponent is positive. */
	return vf_max(vf_set(0), x) + log1p_(exp_(vf_min(x, -x)));
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
	EACH_VEC(n, give(y + i, silu_(take(gate + i, m)) * take(up + i, m), m));
}

static void KK_FN(sigmoid)(float *y, const float *x, size_t n) { EACH_VEC(n, give(y + i, sigmoid_(take(x + i, m)), m)); }

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
	EACH_VEC(n, give(x + i, exp_(vf_fma(vf_set(scale), take(x + i, m), vf_set(-top))), m));
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
	KK_FN(rmsnorm)(y, x, w, n, eps);
	EACH_VEC(n, give(y + i, take(y + i, m) * sigmoid_(take(z + i, m)), m));
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

/* taps is a constant where it is inlined as one: then each row of weights and of u is addressed once for all. */
static inline __attribute__((always_inline)) void conv(float *restrict y, const float *const *u, const float *w, size_t w_step, int taps, size_t n)
{
	EACH_VEC(n, {
		vf s = take(w + i, m) * take(u[0] + i, m);
		for (int j = 1; j < taps; j++)
			s = vf_fma(take(w + (size_t)j * w_step + i, m), take(u[j] + i, m), s);
		give(y + i, s, m);
	});
	EACH_VEC(n, give(y + i, silu_(take(y + i, m)), m));
}

static void KK_FN(conv_silu)(float *y, const float *const *u, const float *w, size_t w_step, int taps, size_t n)
{
	if (taps == 4)
		conv(y, (const float *const[]){ u[0], u[1], u[2], u[3] }, w, w_step, 4, n);
	else
		conv(y, u, w, w_step, taps, n);
}

static void KK_FN(kda_gate)(float *restrict alpha, const float *restrict a, const float *restrict bias, double rate, size_t n)
{
	const vf r = vf_set(-(float)rate);
	EACH_VEC(n, give(alpha + i, softplus_(take(a + i, m) + take(bias + i, m)), m));
	EACH_VEC(n, give(alpha + i, exp_(r * take(alpha + i, m)), m));
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
