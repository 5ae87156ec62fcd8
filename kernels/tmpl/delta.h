/* delta.h: the delta rule with deferred updates, behind gemm.h.
 *
 * Token by token it is   S *= alpha,  e = beta (v - S k),  S += k e,  o = S q:   four operations an element, which is read and written each
 * time. Here S stays what it was when its chunk of C = 16 positions began, and the tokens since then are kept beside it (kda_state.h):
 * with D the product of their decays and key_j the key of token j, decayed up to now, token i of the chunk is
 *
 *     D *= alpha;  key_j *= alpha, j < i;  key_i = k                                                      kda_keys, once a head
 *     e_i = beta (v - (D k) S - sum over j < i of (key_j . k) e_j)
 *     o_i = (D q) S + sum over j <= i of (key_j . q) e_j                                                  kda_strip, for 32 value channels
 *     after the last one of a chunk:  S = D S + sum over j of key_j e_j
 *
 * 3 + 1/C operations an element and token, as products of matrices where tokens come together; a token alone reads S and does not write it.
 * Every decay is a product of alphas, so no factor is above that of one token, and nothing is divided. Chunks lie on a grid of positions and
 * each sum has one order, so the bits do not depend on how a prompt is cut, on the batch or on what was cached of a prefix:
 *
 *     (D k) S, (D q) S        a chain of multiply-adds in growing key channel; lanes are value channels, so nothing is summed across them
 *     sums over j             the same chain goes on, in growing j
 *     key_j . k, key_j . q    VL partial sums over the key channels, then vf_sum
 *     S                       S D, then a chain in growing j
 *
 * What bounds it: of many tokens, multiply-adds (a tile of products has V x T sums in registers); of one, memory: S once, from end to end.
 * Beside the products there is time to ask memory for what comes next: rows of the batch, which are far from each other. */
#include "libcore/kda_state.h"

enum { KDA_C = K_KDA_CHUNK, KDA_S = K_KDA_STRIP, KDA_V = KDA_S / VL, KDA_T = VL == 8 ? 3 : 4, KDA_R = VL == 8 ? 3 : 8, KDA_AHEAD = 1024,
	KDA_USUAL = 128 + K_KDA_CHUNK };         /* k_kda_reads of 128 channels: eight rows are then addressed from one register */

/* --- keys -------------------------------------------------------------------------------------------------------------- */

/* vf_load of what may be the end of a row of n, which counts as zeros. */
static inline vf kda_load(const float *p, size_t i, size_t n) { return i + VL <= n ? vf_load(p + i) : end_f32(p + i, n - i); }

/* R keys, from the j-th on, decay and meet k and q of T tokens, from the t-th on. Four sums are written: a row has room for all of a chunk, and those of
 * no key are not read. */
typedef void kda_meet(const struct kk_kda_chunk *c, const struct kk_kda *x, size_t t, size_t j, size_t dk);
#define KDA_MEET(T, R) \
static void kda_meet_##T##x##R(const struct kk_kda_chunk *c, const struct kk_kda *x, size_t t, size_t j, size_t dk) \
{ \
	size_t step = (size_t)k_kda_padded((int64_t)dk), reads = (size_t)k_kda_reads((int64_t)dk); \
	float *keys = c->keys + j * step, *on = c->reads + 2 * t * reads + dk + j; \
	const float *k = x->k + t * x->step, *q = x->q + t * x->step, *alpha = x->alpha + t * x->step; \
	vf a[T][R] = { { { 0 } } }, b[T][R] = { { { 0 } } }; \
	for (size_t i = 0; i < dk; i += VL) { \
		vf with[T], key[T], query[T]; \
		EACH(s, T) { \
			with[s] = kda_load(alpha + (size_t)s * x->step, i, dk); \
			key[s] = kda_load(k + (size_t)s * x->step, i, dk); \
			query[s] = kda_load(q + (size_t)s * x->step, i, dk); \
		} \
		EACH(r, R) { \
			vf v = vf_load(keys + (size_t)r * step + i); \
			EACH(s, T) { \
				v = v * with[s]; \
				a[s][r] = vf_fma(v, key[s], a[s][r]); \
				b[s][r] = vf_fma(v, query[s], b[s][r]); \
			} \
			vf_store(keys + (size_t)r * step + i, v); \
		} \
	} \
	EACH(s, T) { \
		vf of_k[TILE_R] = { 0 }, of_q[TILE_R] = { 0 }; \
		EACH(r, R) { \
			of_k[r] = a[s][r];              /* a and b stay in registers: only these have addresses */ \
			of_q[r] = b[s][r]; \
		} \
		vf_sums_of_two(on + 2 * (size_t)s * reads, on + (2 * (size_t)s + 1) * reads, of_k, of_q, 1); \
	} \
}

/* Of T tokens, from the t-th on: what is read of S for each, its key, key . q; of two the first one's key meets the second: on = key . q of the first, of
 * the second, first key . k, first key . q. */
#define KDA_BEGIN(T) \
static void kda_begin_##T(float on[4], const struct kk_kda_chunk *c, const struct kk_kda *x, size_t t, size_t dk) \
{ \
	size_t step = (size_t)k_kda_reads((int64_t)dk), padded = (size_t)k_kda_padded((int64_t)dk); \
	float *read = c->reads + 2 * t * step, *keys = c->keys + (c->at + t) * padded; \
	const float *k = x->k + t * x->step, *q = x->q + t * x->step, *alpha = x->alpha + t * x->step; \
	vf sum[4] = { { 0 } }; \
	for (size_t i = 0; i < dk; i += VL) { \
		vf decay = c->at + t ? vf_load(c->decay + i) : vf_set(1), key[T]; \
		EACH(s, T) { \
			vf with = kda_load(alpha + (size_t)s * x->step, i, dk), query = kda_load(q + (size_t)s * x->step, i, dk); \
			key[s] = kda_load(k + (size_t)s * x->step, i, dk); \
			decay = decay * with; \
			vf_store(read + 2 * (size_t)s * step + i, decay * key[s]); \
			vf_store(read + (2 * (size_t)s + 1) * step + i, decay * query); \
			sum[s] = vf_fma(key[s], query, sum[s]); \
			if (s) { \
				key[0] = key[0] * with; \
				sum[2] = vf_fma(key[0], key[s], sum[2]); \
				sum[3] = vf_fma(key[0], query, sum[3]); \
			} \
		} \
		vf_store(c->decay + i, decay); \
		EACH(s, T) \
			vf_store(keys + (size_t)s * padded + i, key[s]); \
	} \
	if (T == 1) \
		on[0] = vf_sum(sum[0]); \
	else \
		vf_sums(on, sum, 1); \
}
KDA_BEGIN(1)

/* The keys of a chunk before the t-th token meet it and those that go with it. */
static void kda_meet_all(kda_meet *const *meet, const struct kk_kda_chunk *c, const struct kk_kda *x, size_t t, size_t dk)
{
	for (size_t j = 0, m; j < c->at + t; j += m) {
		m = K_MIN(c->at + t - j, (size_t)TILE_R);
		meet[m - 1](c, x, t, j, dk);
	}
}

/* Two tokens at once, where there are registers for them and an even number of keys: each of those is loaded and stored once. */
KDA_BEGIN(2)
KDA_MEET(2, 2) KDA_MEET(2, 4)
static void kda_two(const struct kk_kda_chunk *c, const struct kk_kda *x, size_t t, size_t dk)
{
	static kda_meet *const meet[] = { NULL, kda_meet_2x2, NULL, kda_meet_2x4 };
	size_t step = (size_t)k_kda_reads((int64_t)dk);
	float on[4], *to = c->reads + 2 * t * step + dk + c->at + t;
	kda_begin_2(on, c, x, t, dk);
	kda_meet_all(meet, c, x, t, dk);
	to[step] = on[0];
	to[2 * step] = on[2];
	to[3 * step] = on[3];
	to[3 * step + 1] = on[1];
}

KDA_MEET(1, 1) KDA_MEET(1, 2) KDA_MEET(1, 3) KDA_MEET(1, 4)
static void kda_one(const struct kk_kda_chunk *c, const struct kk_kda *x, size_t t, size_t dk)
{
	static kda_meet *const meet[] = { kda_meet_1x1, kda_meet_1x2, kda_meet_1x3, kda_meet_1x4 };
	float on[4];
	kda_begin_1(on, c, x, t, dk);
	kda_meet_all(meet, c, x, t, dk);
	c->reads[(2 * t + 1) * (size_t)k_kda_reads((int64_t)dk) + dk + c->at + t] = on[0];
}

static void KK_FN(kda_keys)(const struct kk_kda_chunk *c, const struct kk_kda *x, size_t dk)
{
	for (size_t t = 0, n; t < c->n; t += n) {
		n = VL == 16 && (c->at + t) % 2 == 0 && t + 2 <= c->n ? 2 : 1;
		(n == 2 ? kda_two : kda_one)(c, x, t, dk);
	}
}

/* --- values ------------------------------------------------------------------------------------------------------------ */

/* Rows ahead that memory is asked for, n of them: a line with every second row of S that is read, as only so many can be on their way, and into the
 * second cache, since the nearest has S. */
struct kda_ask { const float *const *rows; size_t n, floats; };

/* y[r] = what row r of these reads of S and of the e behind it: n rows of a strip. AHEAD: of memory, where nothing else waits for it. */
#define KDA_READ_ROW(R, i) do { \
	const float *row = s + (i) * KDA_S; \
	vf b[R]; \
	EACH(r, R) \
		b[r] = vf_set(by[(size_t)r * step + (i)]); \
	EACH(v, KDA_V) { \
		vf c = vf_load(row + v * VL); \
		EACH(r, R) \
			a[r][v] = vf_fma(c, b[r], a[r][v]); \
	} \
} while (0)
#define KDA_READ(name, R, AHEAD) \
static inline __attribute__((always_inline)) void kda_read_##name(float *y, const float *s, const float *by, size_t step, size_t n, struct kda_ask ask) \
{ \
	vf a[R][KDA_V] = { { { 0 } } }; \
	size_t i = 0; \
	for (size_t k = 0; !(AHEAD) && k < ask.n; k++) { \
		const float *row = ask.rows[k], *end = row + ask.floats; \
		for (; row < end && i + 2 <= n; row += 16, i += 2) { \
			__builtin_prefetch(row, 0, 2); \
			KDA_READ_ROW(R, i); \
			KDA_READ_ROW(R, i + 1); \
		} \
	} \
	for (; i < n; i++) { \
		if (AHEAD) { \
			__builtin_prefetch(s + i * KDA_S + KDA_AHEAD); \
			__builtin_prefetch(s + i * KDA_S + KDA_AHEAD + KDA_S / 2); \
		} \
		KDA_READ_ROW(R, i); \
	} \
	EACH(r, R) EACH(v, KDA_V) \
		vf_store(y + r * KDA_S + v * VL, a[r][v]); \
}
KDA_READ(alone, 2, true) KDA_READ(2, 2, false) KDA_READ(3, 3, false) KDA_READ(8, 8, false)

/* What n tokens read, whose rows begin at `by`; n <= KDA_T. */
static void kda_reads(float *y, const float *s, const float *by, size_t step, size_t rows, size_t n, bool alone, struct kda_ask ask)
{
	if (n < KDA_T) {
		for (size_t i = 0; i < n; i++)
			(alone ? kda_read_alone : kda_read_2)(y + 2 * i * KDA_S, s, by + 2 * i * step, step, rows, ask);
	} else if (VL == 8) {
		kda_read_3(y, s, by, step, rows, ask);
		kda_read_3(y + 3 * KDA_S, s, by + 3 * step, step, rows, (struct kda_ask){ .n = 0 });
	} else if (step == KDA_USUAL) {
		kda_read_8(y, s, by, KDA_USUAL, rows, ask);
	} else {
		kda_read_8(y, s, by, step, rows, ask);
	}
}

/* e and o of token t of these from what it read (y): of S, and of the first `from` tokens of the chunk. */
static void kda_solve(float *e, const float *y, const struct kk_kda_chunk *c, const struct kk_kda *x, size_t t, size_t from, size_t dk, size_t dv)
{
	size_t old = c->at + t, step = (size_t)k_kda_reads((int64_t)dk);
	const float *on_k = c->reads + 2 * t * step + dk, *on_q = on_k + step;
	vf seen[KDA_V], out[KDA_V], beta = vf_set(x->beta[t]);
	EACH(i, KDA_V) {
		seen[i] = vf_load(y + i * VL);
		out[i] = vf_load(y + KDA_S + i * VL);
	}
	for (size_t j = from; j < old; j++) {
		vf a = vf_set(on_k[j]), b = vf_set(on_q[j]);
		EACH(i, KDA_V) {
			vf u = vf_load(e + j * KDA_S + i * VL);
			seen[i] = vf_fma(a, u, seen[i]);
			out[i] = vf_fma(b, u, out[i]);
		}
	}
	EACH(i, KDA_V) {
		size_t at = i * VL, m = at < dv ? K_MIN(dv - at, (size_t)VL) : 0;
		vf u = beta * (take(x->v + t * x->step + at, m) - seen[i]);
		vf_store(e + old * KDA_S + at, u);
		give(x->o + t * x->step + at, vf_fma(vf_set(on_q[old]), u, out[i]), m);
	}
}

/* R key channels of S, from i on, take in what was pending. */
#define KDA_APPLY(R) \
static void kda_apply_##R(float *s, const float *e, const struct kk_kda_chunk *c, size_t i, size_t step) \
{ \
	vf a[R][KDA_V]; \
	EACH(r, R) EACH(v, KDA_V) \
		a[r][v] = vf_load(s + r * KDA_S + v * VL) * vf_set(c->decay[i + (size_t)r]); \
	for (size_t j = 0; j < KDA_C; j++) { \
		vf b[R]; \
		EACH(r, R) \
			b[r] = vf_set(c->keys[j * step + i + (size_t)r]); \
		EACH(v, KDA_V) { \
			vf u = vf_load(e + j * KDA_S + v * VL); \
			EACH(r, R) \
				a[r][v] = vf_fma(u, b[r], a[r][v]); \
		} \
	} \
	EACH(r, R) EACH(v, KDA_V) \
		vf_store(s + r * KDA_S + v * VL, a[r][v]); \
}
KDA_APPLY(1) KDA_APPLY(2) KDA_APPLY(3) KDA_APPLY(8)

/* All of them. Meanwhile memory is asked for what lies behind the strip, the next one: by a token alone from memory, into the second cache; by many, who left it
 * in that one, into the nearest. */
static void kda_apply(float *s, const float *e, const struct kk_kda_chunk *c, size_t dk)
{
	const float *next = e + KDA_C * KDA_S;
	size_t i = 0, step = (size_t)k_kda_padded((int64_t)dk);
	for (; i + KDA_R <= dk; i += KDA_R) {
		for (size_t at = 0; at < KDA_R * KDA_S; at += 16) {
			if (c->n == 1)
				__builtin_prefetch(next + i * KDA_S + at, 0, 2);
			else
				__builtin_prefetch(next + i * KDA_S + at);
		}
		(KDA_R == 8 ? kda_apply_8 : kda_apply_3)(s + i * KDA_S, e, c, i, step);
	}
	for (; i + 2 <= dk; i += 2)
		kda_apply_2(s + i * KDA_S, e, c, i, step);
	if (i < dk)
		kda_apply_1(s + i * KDA_S, e, c, i, step);
}

static void KK_FN(kda_strip)(float *s, const struct kk_kda_chunk *c, const struct kk_kda *x, size_t dk, size_t dv)
{
	float y[2 * KDA_T * KDA_S], *e = s + dk * KDA_S;
	size_t step = (size_t)k_kda_reads((int64_t)dk), some = (c->n_ahead * KDA_T + c->n - 1) / c->n;
	for (size_t t = 0, m, i = 0; t < c->n; t += m, i += some) {
		m = K_MIN(c->n - t, (size_t)KDA_T);
		struct kda_ask ask = { NULL, 0, dk };
		if (i < c->n_ahead)
			ask = (struct kda_ask){ c->ahead + i, K_MIN(c->n_ahead - i, some), dk };
		kda_reads(y, s, c->reads + 2 * t * step, step, dk + c->at + t, m, c->n == 1, ask);
		for (size_t k = 0; k < m; k++)
			kda_solve(e, y + 2 * k * KDA_S, c, x, t + k, c->at + t, dk, dv);
	}
	if (c->at + c->n == KDA_C)
		kda_apply(s, e, c, dk);
}
