/* elem.h: element by element kernels, behind gemm.h: in plain loops that the compiler turns into the level's vectors, or in vectors whose
 * missing end counts as zeros. Where an element stands changes nothing; sums are made in one order.
 * Besides what gemm.h wants, a level has defined
 *
 *     vf_min(a, b), vf_max(a, b)      b where one of them is a NaN
 *     vf_most(v)                      the largest
 *     VF_STEPS, vf_step(a, m)         1 or 32; a 2^(j / VF_STEPS) / (1 + j / VF_STEPS), j the lowest bits of m */

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

/* `body` for the floats at each i: Q vectors of them, or, at the end, m < VL floats. MANY go side by side, step by step: a chain of
 * operations that wait for each other is long, and the processor looks only so far ahead for others. */
enum { MANY = 8 };
#define EACH_VEC(n, body) do { \
	size_t i = 0; \
	{ enum { Q = MANY }; const size_t m = VL; for (; i + Q * VL <= (n); i += Q * VL) body } \
	{ enum { Q = 1 }; size_t m = VL; for (; i + VL <= (n); i += VL) body; m = (n) - i; if (m) body } \
} while (0)
/* The same, one vector at a time: for what is little beside the products around it, and long as code. */
#define EACH_ONE(n, body) do { \
	enum { Q = 1 }; \
	for (size_t i = 0, m; i < (n); i += VL) { \
		m = K_MIN((n) - i, (size_t)VL); \
		body \
	} \
} while (0)
#define AT(j) (i + (size_t)(j) * VL)

/* x = exp(-x) within 3 units: -x = (n + j / VF_STEPS) ln 2 - s, 2^n (1 + j / VF_STEPS) are bits, and what makes 2^(j / VF_STEPS) of it is looked up.
 * 1 - s + ... is a polynomial of degree 6, fitted to 3e-9 of the whole for |s| <= ln 2 / 2, or of degree 2, to 5e-8 for |s| <= ln 2 / 64. What is below
 * 2^-127 is 0, what is above 2^127.9 infinite. One float is ln 2 to 2^-29 and is taken n times. NaN stays NaN: vf_min and vf_max give the second then. */
static inline __attribute__((always_inline)) void exp_minus(vf *x, const int q)
{
	const float round = (float)(0x1.8p23 / VF_STEPS + 127);         /* n + 127, and j before it, stand in the lowest bits of m */
	vf m[MANY], s[MANY];
	EACH(j, q) x[j] = vf_max(vf_set(-88.7228394f), vf_min(vf_set(88.0296936f), x[j]));
	EACH(j, q) m[j] = vf_fma(x[j], vf_set(-1.44269504f), vf_set(round));
	EACH(j, q) s[j] = m[j] - round;
	EACH(j, q) s[j] = vf_fma(s[j], vf_set(0.693147181f), x[j]);
	if (VF_STEPS == 1) {
		EACH(j, q) x[j] = vf_fma(s[j], vf_set(0.00138145889f), vf_set(-0.00836871683f));
		EACH(j, q) x[j] = vf_fma(s[j], x[j], vf_set(0.0416683883f));
		EACH(j, q) x[j] = vf_fma(s[j], x[j], vf_set(-0.166665206f));
		EACH(j, q) x[j] = vf_fma(s[j], x[j], vf_set(0.499999934f));
		EACH(j, q) x[j] = vf_fma(s[j], x[j], vf_set(-1));
	} else {
		EACH(j, q) x[j] = vf_fma(s[j], vf_set(0.5000025f), vf_set(-1.00001466f));
	}
	EACH(j, q) x[j] = vf_fma(s[j], x[j], vf_set(1));
	EACH(j, q) x[j] = vf_step(x[j], m[j]) * (vf)((vi)m[j] << (VF_STEPS == 1 ? 23 : 18));
}

/* x = 1 / (1 + exp(-x)) */
static inline __attribute__((always_inline)) void sigmoids(vf *x, const int q)
{
	exp_minus(x, q);
	EACH(j, q) x[j] = 1.0f / (1.0f + x[j]);
}

/* x = x / (1 + exp(-x)) */
static inline __attribute__((always_inline)) void silus(vf *x, const int q)
{
	vf e[MANY];
	EACH(j, q) e[j] = x[j];
	exp_minus(e, q);
	EACH(j, q) x[j] = x[j] / (1.0f + e[j]);
}

/* x = log(1 + exp(x)) = max(0, x) + log(1 + u), u = exp(-|x|), to full relative precision: log(1 + u) / u is a polynomial of degree 8, fitted to
 * 3e-8 of the whole on [0, 1]. */
static inline __attribute__((always_inline)) void softpluses(vf *x, const int q)
{
	static const float by[] = { -0.0295052193f, 0.0782259181f, -0.136632428f, 0.191060051f, -0.24842982f, 0.333190978f, -0.499994934f, 0.99999994f };
	vf u[MANY], p[MANY];
	EACH(j, q) u[j] = vf_max(x[j], -x[j]);
	exp_minus(u, q);
	EACH(j, q) p[j] = vf_set(0.0052326899f);
	EACH(k, 8) EACH(j, q) p[j] = vf_fma(u[j], p[j], vf_set(by[k]));
	EACH(j, q) x[j] = vf_fma(u[j], p[j], vf_max(vf_set(0), x[j]));
}

/* x = tanh(x): x + x^3 q(x^2), a polynomial of degree 4 fitted to 1e-8 of the whole for x^2 <= 0.4, else 1 - 2 / (1 + exp(2 |x|)) with its sign. */
static inline __attribute__((always_inline)) void tanhs(vf *x, const int q)
{
	static const float by[] = { 0.020602f, -0.05372923f, 0.13331328f, -0.33333278f };
	vf e[MANY], z[MANY], p[MANY];
	EACH(j, q) e[j] = vf_max(x[j], -x[j]) * -2.0f;
	exp_minus(e, q);
	EACH(j, q) e[j] = 1.0f - 2.0f / (1.0f + e[j]);
	EACH(j, q) z[j] = x[j] * x[j];
	EACH(j, q) p[j] = vf_set(-0.0056607807f);
	EACH(k, 4) EACH(j, q) p[j] = vf_fma(z[j], p[j], vf_set(by[k]));
	EACH(j, q) {
		const vi sign = (vi)x[j] & INT32_MIN, small = (vi)(z[j] < vf_set(0.4f));
		p[j] = vf_fma(x[j] * z[j], p[j], x[j]);
		x[j] = (vf)((small & (vi)p[j]) | (~small & ((vi)e[j] | sign)));
	}
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
	EACH_VEC(n, {
		vf x[Q];
		EACH(j, Q) x[j] = take(gate + AT(j), m);
		silus(x, Q);
		EACH(j, Q) give(y + AT(j), x[j] * take(up + AT(j), m), m);
	});
}

/* cap tanh(x / cap); cap 0: x */
static inline __attribute__((always_inline)) void caps(vf *x, double cap, const int q)
{
	if (cap == 0)
		return;
	EACH(j, q) x[j] = x[j] * (float)(1 / cap);
	tanhs(x, q);
	EACH(j, q) x[j] = x[j] * (float)cap;
}

static void KK_FN(situ)(float *y, const float *gate, const float *up, double cap, double cap_up, size_t n)
{
	EACH_ONE(n, {
		vf g[Q]; vf s[Q]; vf u[Q];
		EACH(j, Q) s[j] = g[j] = take(gate + AT(j), m);
		EACH(j, Q) u[j] = take(up + AT(j), m);
		sigmoids(s, Q);
		caps(g, cap, Q);
		caps(u, cap_up, Q);
		EACH(j, Q) give(y + AT(j), g[j] * s[j] * u[j], m);
	});
}

static void KK_FN(gate)(float *y, const float *z, size_t n)
{
	EACH_VEC(n, {
		vf v[Q];
		EACH(j, Q) v[j] = take(z + AT(j), m);
		sigmoids(v, Q);
		EACH(j, Q) give(y + AT(j), take(y + AT(j), m) * v[j], m);
	});
}

static void KK_FN(sigmoid)(float *y, const float *x, size_t n)
{
	EACH_VEC(n, {
		vf v[Q];
		EACH(j, Q) v[j] = take(x + AT(j), m);
		sigmoids(v, Q);
		EACH(j, Q) give(y + AT(j), v[j], m);
	});
}

static float KK_FN(max)(const float *x, size_t n)
{
	enum { SIDE = 4 };
	size_t i = 0;
	vf m[SIDE];
	EACH(j, SIDE)
		m[j] = vf_set(-__builtin_inff());
	for (; i + SIDE * VL <= n; i += SIDE * VL)
		EACH(j, SIDE)
			m[j] = vf_max(vf_load(x + AT(j)), m[j]);
	for (; i + VL <= n; i += VL)
		m[0] = vf_max(vf_load(x + i), m[0]);
	float top = vf_most(vf_max(vf_max(m[0], m[1]), vf_max(m[2], m[3])));
	for (; i < n; i++)
		top = x[i] > top ? x[i] : top;
	return top + 0.0f;
}

/* The sum of BLOCK vectors and fewer in floats, four partial sums of each lane, then the lanes; of all blocks in double. No term
 * passes through more than 16 roundings of a float, 8 + 2 + log2 VL in a full block: the sum is right to 2^-20 of its terms' sizes. */
enum { BLOCK = 32 };
#define BLOCKS(n, sum, add) do { \
	for (size_t i_ = 0; i_ < (n); i_ += BLOCK * VL) { \
		vf a[4] = { vf_set(0), vf_set(0), vf_set(0), vf_set(0) }; \
		size_t i = i_, n_ = K_MIN((n), i_ + BLOCK * VL), m = VL; \
		for (; i + 4 * VL <= n_; i += 4 * VL) \
			EACH(j, 4) a[j] = add(a[j], AT(j)); \
		for (; i + VL <= n_; i += VL) \
			a[0] = add(a[0], i); \
		m = n_ - i; \
		if (m) \
			a[1] = add(a[1], i); \
		sum += (double)vf_sum((a[0] + a[1]) + (a[2] + a[3])); \
	} \
} while (0)

static float KK_FN(exp_sum)(float *x, float scale, float top, size_t n)
{
	double sum = 0;
	EACH_VEC(n, {
		vf v[Q];
		EACH(j, Q) v[j] = vf_fma(vf_set(-scale), take(x + AT(j), m), vf_set(top));
		exp_minus(v, Q);
		EACH(j, Q) give(x + AT(j), v[j], m);
	});
#define ADD(a, at) ((a) + take(x + (at), m))
	BLOCKS(n, sum, ADD);
#undef ADD
	return (float)sum;
}

/* Squares of floats may overflow or vanish: then in double. */
static double sum_squares(const float *x, size_t n)
{
	double sum = 0;
#define ADD(a, at) vf_fma(take(x + (at), m), take(x + (at), m), a)
	BLOCKS(n, sum, ADD);
#undef ADD
	if (sum >= 0x1p-70 && sum < 0x1p127)
		return sum;
	sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sum;
}

/* y = w (r x); w = NULL: r x. A factor that is no normal float stays a double. */
static inline __attribute__((always_inline)) void scaled(float *y, const float *x, const float *w, double r, size_t n)
{
	if (r > 0x1p-120 && r < 0x1p120) {
		const vf f = vf_set((float)r);
		if (w)
			EACH_VEC(n, { EACH(j, Q) give(y + AT(j), take(w + AT(j), m) * (take(x + AT(j), m) * f), m); });
		else
			EACH_VEC(n, { EACH(j, Q) give(y + AT(j), take(x + AT(j), m) * f, m); });
	} else {
		for (size_t i = 0; i < n; i++)
			y[i] = (float)((w ? (double)w[i] : 1) * ((double)x[i] * r));
	}
}

static void KK_FN(rmsnorm)(float *y, const float *x, const float *w, size_t n, double eps)
{
	scaled(y, x, w, 1 / __builtin_sqrt(sum_squares(x, n) / (double)n + eps), n);
}

static void KK_FN(l2norm)(float *y, const float *x, double scale, size_t n)
{
	scaled(y, x, NULL, scale / __builtin_sqrt(sum_squares(x, n) + 1e-6), n);
}

static void KK_FN(gated_norm)(float *y, const float *x, const float *w, const float *z, size_t n, double eps)
{
	KK_FN(rmsnorm)(y, x, w, n, eps);
	KK_FN(gate)(y, z, n);
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

/* Floats of a token from the i-th on: of other models, and ends. */
static void conv_taps(float *y, const float *const *u, const float *w, size_t w_step, int taps, size_t i, size_t n)
{
	for (size_t m; i < n; i += m) {
		m = K_MIN(n - i, (size_t)VL);
		vf s = take(w + i, m) * take(u[0] + i, m);
		for (int k = 1; k < taps; k++)
			s = vf_fma(take(w + (size_t)k * w_step + i, m), take(u[k] + i, m), s);
		silus(&s, 1);
		give(y + i, s, m);
	}
}

/* T tokens, Q vectors of each, from i on: four taps, each row of weights and of u is addressed and loaded once for all. */
#define CONV(T, Q) do { \
	vf s[(T) * (Q)]; \
	EACH(t, T) EACH(j, Q) s[t * (Q) + j] = vf_load(w + AT(j)) * vf_load(u[t] + AT(j)); \
	EACH(k, 3) EACH(t, T) EACH(j, Q) s[t * (Q) + j] = vf_fma(vf_load(w + (size_t)(k + 1) * w_step + AT(j)), vf_load(u[t + k + 1] + AT(j)), s[t * (Q) + j]); \
	silus(s, (T) * (Q)); \
	EACH(t, T) EACH(j, Q) vf_store(y + (size_t)t * y_step + AT(j), s[t * (Q) + j]); \
} while (0)
enum { CONV_T = 4 };

/* A token alone; returns the floats that are made. */
static inline size_t conv_one(float *restrict y, const float *const u[4], const float *w, size_t w_step, size_t n)
{
	const size_t y_step = 0;
	size_t i = 0;
	for (; i + MANY * VL <= n; i += MANY * VL)
		CONV(1, MANY);
	return i;
}

static inline size_t conv_some(float *restrict y, size_t y_step, const float *const *u, const float *w, size_t w_step, size_t n)
{
	size_t i = 0;
	for (; i + VL <= n; i += VL)
		CONV(CONV_T, 1);
	return i;
}

static void KK_FN(conv_silu)(float *y, size_t y_step, const float *const *u, size_t tokens, const float *w, size_t w_step, int taps, size_t n)
{
	for (size_t t = 0, some, done; t < tokens; t += some) {
		some = taps == 4 && t + CONV_T <= tokens ? CONV_T : 1;
		done = taps != 4 ? 0 : some == 1 ? conv_one(y + t * y_step, (const float *const[]){ u[t], u[t + 1], u[t + 2], u[t + 3] }, w, w_step, n) :
			conv_some(y + t * y_step, y_step, u + t, w, w_step, n);
		for (size_t k = 0; k < some && done < n; k++)
			conv_taps(y + (t + k) * y_step, u + t + k, w, w_step, taps, done, n);
	}
}

static void KK_FN(kda_gate)(float *restrict alpha, const float *restrict a, const float *restrict bias, double rate, size_t n)
{
	EACH_VEC(n, {
		vf x[Q];
		EACH(j, Q) x[j] = take(a + AT(j), m) + take(bias + AT(j), m);
		softpluses(x, Q);
		EACH(j, Q) x[j] = x[j] * vf_set((float)rate);
		exp_minus(x, Q);
		EACH(j, Q) give(alpha + AT(j), x[j], m);
	});
}

static void KK_FN(kda_gate_bound)(float *restrict alpha, const float *restrict a, const float *restrict bias, double rate, double bound, size_t n)
{
	EACH_ONE(n, {
		vf x[Q];
		EACH(j, Q) x[j] = (take(a + AT(j), m) + take(bias + AT(j), m)) * (float)rate;
		sigmoids(x, Q);
		EACH(j, Q) x[j] = x[j] * (float)-bound;
		exp_minus(x, Q);
		EACH(j, Q) give(alpha + AT(j), x[j], m);
	});
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
