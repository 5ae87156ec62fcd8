/* delta.h: the delta rule over a run of tokens, behind gemm.h.
 *
 * Rows of a state do not know each other, so rows are the outer loop and tokens the inner one: a block of rows stays in the nearest
 * cache for the whole run. What ends one token and what begins the next are one pass over a row, with one load and one store:
 *
 *     token t - 1:  s += e k, o = s q        token t:  s *= alpha, seen = s k        after the pass: e = beta (v - seen)
 *
 * Four operations a vector, of which the processor does two a cycle: 3/4 of its multiply-adds are what a run can reach. Chunks as in
 * arXiv:2510.26692 would turn these into products of matrices, in another order of sums for each way of cutting; here the cuts of a
 * prompt change no bit, and neither do batches and what was cached of a prefix.
 *
 * One token alone (decoding) waits for memory, which is fastest when a row is first touched after the one before it, from end to end:
 * rows that are begun side by side get 0.55 of what scaling in place gets, one after the other 1.0. The first pass stores nothing
 * then, the second decays once more.
 *
 * Element i of a row belongs to partial sum i mod VL; the end of a row that fills no vector is added last, in order. */

/* OLD: there is a token before t; NEW: there is a token t. */
enum { OLD = 1, NEW = 2, STORE = 4, DECAY_OLD = 8, AHEAD = 16 };
enum { KDA_ALONE = 8, KDA_BLOCK = 32 };         /* rows begun before the first of them goes on: of one token; of more */

typedef float kda_four __attribute__((vector_size(16)));

/* A token: its vectors; v and o of the first row of the block. */
struct kda_at { const float *q, *k, *alpha, *v; float *o, beta; };

static inline struct kda_at kda_at(const struct kk_kda *x, size_t t, size_t j)
{
	size_t at = t * x->step;
	return (struct kda_at){ x->q + at, x->k + at, x->alpha + at, x->v + at + j, x->o + at + j, x->beta[t] };
}

/* R rows of the state at s, the r-th of the block and on, for which e holds what the old token adds and then what the new one does. */
static inline __attribute__((always_inline)) void kda_pass(const int R, const int how, float *s, float *e, const struct kda_at old,
	const struct kda_at new, size_t dk)
{
	vf a[TILE_R] = { 0 }, b[TILE_R] = { 0 }, u[TILE_R];
	float seen[TILE_R], out[TILE_R];
	size_t i = 0;
	EACH(r, R)
		u[r] = vf_set(how & OLD ? e[r] : 0);
	for (; i + VL <= dk; i += VL) {
		vf alpha = vf_load(new.alpha + i), k = vf_load(new.k + i), k_old = vf_load(old.k + i), q_old = vf_load(old.q + i);
		EACH(r, R) {
			float *p = s + (size_t)r * dk + i;
			vf c = vf_load(p);
			if (how & AHEAD)
				__builtin_prefetch(p + KDA_ALONE * dk);
			if (how & DECAY_OLD)
				c = c * vf_load(old.alpha + i);
			if (how & OLD) {
				c = vf_fma(u[r], k_old, c);
				b[r] = vf_fma(c, q_old, b[r]);
			}
			if (how & NEW) {
				c = c * alpha;
				a[r] = vf_fma(c, k, a[r]);
			}
			if (how & STORE)
				vf_store(p, c);
		}
	}
	if (R == TILE_R) {
		vf_sums_of_two(seen, out, a, b);
	} else {
		EACH(r, R) {
			seen[r] = vf_sum(a[r]);
			out[r] = vf_sum(b[r]);
		}
	}
	for (; i < dk; i++)
		EACH(r, R) {
			float *p = s + (size_t)r * dk + i, c = *p;
			if (how & DECAY_OLD)
				c = c * old.alpha[i];
			if (how & OLD) {
				c = __builtin_fmaf(e[r], old.k[i], c);
				out[r] = __builtin_fmaf(c, old.q[i], out[r]);
			}
			if (how & NEW) {
				c = c * new.alpha[i];
				seen[r] = __builtin_fmaf(c, new.k[i], seen[r]);
			}
			if (how & STORE)
				*p = c;
		}
	if (how & OLD)
		memcpy(old.o, out, (size_t)R * sizeof(*out));
	if (how & NEW && R == TILE_R) {
		kda_four v, w;
		memcpy(&v, new.v, sizeof(v));
		memcpy(&w, seen, sizeof(w));
		v = new.beta * (v - w);
		memcpy(e, &v, sizeof(v));
	} else if (how & NEW) {
		e[0] = new.beta * (new.v[0] - seen[0]);
	}
}

/* Token t - 1 ends and token t begins, for the m rows of the state at s that are row j and on. */
#define KDA_FN(name, how, R) \
static __attribute__((noinline)) void kda_##name(float *s, float *e, const struct kk_kda *x, size_t t, size_t j, size_t m, size_t dk) \
{ \
	struct kda_at old = kda_at(x, (how) & OLD ? t - 1 : t, j), new = kda_at(x, (how) & NEW ? t : t - 1, j); \
	size_t r = 0; \
	for (; R > 1 && r + R <= m; r += R, s += R * dk, old.o += R, new.v += R) \
		kda_pass(R, how, s, e + r, old, new, dk); \
	for (; r < m; r++, s += dk, old.o++, new.v++) \
		kda_pass(1, how, s, e + r, old, new, dk); \
}
KDA_FN(look, NEW | AHEAD, 1)
KDA_FN(first, NEW | STORE | AHEAD, 1)
KDA_FN(next, OLD | NEW | STORE, TILE_R)
KDA_FN(last, OLD | STORE, TILE_R)
KDA_FN(only, OLD | STORE | DECAY_OLD, TILE_R)

static void KK_FN(kda_run)(float *state, const struct kk_kda *x, size_t n, size_t dk, size_t dv)
{
	float e[KDA_BLOCK];
	for (size_t j = 0, m; n && j < dv; j += m, state += m * dk) {
		m = K_MIN(dv - j, (size_t)(n > 1 ? KDA_BLOCK : KDA_ALONE));
		(n > 1 ? kda_first : kda_look)(state, e, x, 0, j, m, dk);
		for (size_t t = 1; t < n; t++)
			kda_next(state, e, x, t, j, m, dk);
		(n > 1 ? kda_last : kda_only)(state, e, x, n, j, m, dk);
	}
}
