/* kcheck_delta.c: the kernels of the delta rule: kda_keys and kda_strip, deferred, against kda_run, token by token; kda_run in pieces.
 * What is deferred is compared as of now (libcore/kda_state.h): where the pending tokens stand is nobody's business but the level's. */
#include "libcore/base.h"
#include <math.h>
#include "kernels/check/kcheck.h"
#include "libcore/kda_state.h"

enum { SLOT_W, SLOT_Y, SLOT_X, SLOT_WANT, SLOT_ALONE, SLOT_B, SLOT_TERMS, SLOT_TERMS2, SLOT_MORE, SLOT_STRIP = 14, SLOT_KEYS };

struct kda { float *state; struct kk_kda x; float *o; size_t n, dk, dv; };

static void new_kda(struct run *r, struct kda *a)
{
	size_t step = K_MAX(a->dk, a->dv) + slack(r), many = span(a->n, step, K_MAX(a->dk, a->dv));
	a->state = box_data(r, SLOT_W, a->dk * a->dv, DATA_PLAIN);
	float *k = box_data(r, SLOT_MORE, many, DATA_PLAIN);
	/* Keys as long as those of a model: longer ones would let the state grow. */
	for (size_t t = 0; t < a->n; t++) {
		double size = 0;
		for (size_t i = 0; i < a->dk; i++)
			size += square((double)k[t * step + i]);
		for (size_t i = 0; i < a->dk; i++)
			k[t * step + i] = (float)(k[t * step + i] / sqrt(size + 1e-6));
	}
	a->x = (struct kk_kda){ .q = box_data(r, SLOT_X, many, DATA_PLAIN), .k = k, .v = box_data(r, SLOT_MORE + 1, many, DATA_PLAIN),
		.alpha = box_data(r, SLOT_MORE + 2, many, DATA_PART), .beta = box_data(r, SLOT_MORE + 3, a->n, DATA_PART), .step = step };
	a->o = box_f(r, SLOT_Y, many);
}

/* Tokens from the t-th on, channels from the j-th, results that begin at o. */
static struct kk_kda kda_from(const struct kda *a, float *o, size_t t, size_t j)
{
	struct kk_kda x = a->x;
	size_t at = t * x.step;
	x.q += at;
	x.k += at;
	x.alpha += at;
	x.beta += t;
	x.v += at + j;
	x.o = o + at + j;
	return x;
}

/* Tokens [t, t + n), rows [j, j + dv), of a state and results that begin at these. */
static void kda_part(const struct kk *k, const struct kda *a, float *state, float *o, size_t t, size_t n, size_t j, size_t dv)
{
	struct kk_kda x = kda_from(a, o, t, j);
	k->kda_run(state + j * a->dk, &x, n, a->dk, dv);
}

/* Sums of the squares of all terms: of the state by element, of the results of each token. */
static void kda_terms(const struct kda *a, double *state, double *o)
{
	for (size_t i = 0; i < a->dk * a->dv; i++)
		state[i] = square((double)a->state[i]);
	for (size_t t = 0; t < a->n; t++)
		for (size_t j = 0; j < a->dv; j++) {
			const float *alpha = a->x.alpha + t * a->x.step, *k = a->x.k + t * a->x.step, *q = a->x.q + t * a->x.step;
			double e = square((double)a->x.v[t * a->x.step + j]), *s = state + j * a->dk, *out = o + t * a->dv + j;
			for (size_t i = 0; i < a->dk; i++) {
				s[i] *= square((double)alpha[i]);
				e += s[i] * square((double)k[i]);
			}
			*out = 0;
			for (size_t i = 0; i < a->dk; i++) {
				s[i] += square((double)a->x.beta[t] * (double)k[i]) * e;
				*out += s[i] * square((double)q[i]);
			}
		}
}

static void kda_case(struct run *r, size_t dk, size_t dv, size_t n)
{
	struct kda a = { .dk = dk, .dv = dv, .n = n };
	size_t all = dk * dv;
	where(r, "dk=%zu dv=%zu n=%zu", dk, dv, n);
	new_kda(r, &a);
	size_t many = span(n, a.x.step, K_MAX(dk, dv));
	float *want = box_copy(r, SLOT_WANT, a.state, all), *got = box_copy(r, SLOT_B, a.state, all), *alone = box_copy(r, SLOT_ALONE, a.state, all);
	float *o_want = box_f(r, SLOT_MORE + 4, many), *o_alone = box_f(r, SLOT_MORE + 5, many);
	kda_part(r->ref, &a, want, o_want, 0, n, 0, dv);
	kda_part(r->got, &a, got, a.o, 0, n, 0, dv);
	double *terms = box(r, SLOT_TERMS, all, sizeof(*terms)), *o_terms = box(r, SLOT_TERMS2, n * dv, sizeof(*o_terms));
	kda_terms(&a, terms, o_terms);
	for (size_t t = 0; t < n; t++)
		near_terms(r, "o", a.o + t * a.x.step, o_want + t * a.x.step, o_terms + t * dv, dv);
	near_terms(r, "state", got, want, terms, all);
	for (size_t j = 0, m; j < dv; j += m) {
		m = 1 + rnd_below(r, K_MIN(dv - j, (size_t)40));
		for (size_t t = 0, k; t < n; t += k) {
			k = 1 + rnd_below(r, n - t);
			kda_part(r->got, &a, alone, o_alone, t, k, j, m);
		}
	}
	for (size_t t = 0; t < n; t++)
		same(r, "in pieces: o", o_alone + t * a.x.step, a.o + t * a.x.step, dv);
	same(r, "in pieces: state", alone, got, all);
	box_check(r);
}

static const int sides[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33 };
static const int kda_widths[] = { 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 96, 127, 128, 129 };

static void check_kda(struct run *r, const void *how K_UNUSED)
{
	for (size_t i = 0; i < K_LEN(kda_widths); i++)
		for (int k = 0; k < 3; k++)
			kda_case(r, (size_t)kda_widths[i], k == 2 ? 128 : PICK(r, sides), k == 1 ? 1 : rnd_below(r, 12));
}

/* --- deferred ------------------------------------------------------------------------------------------------------------- */

struct deferred { float *strip, *keys, *reads; size_t count; };

static size_t strip_floats(size_t dk) { return (dk + K_KDA_CHUNK) * K_KDA_STRIP; }
static size_t keys_floats(size_t dk) { return (size_t)k_kda_keys_floats((int64_t)dk); }
static size_t reads_floats(size_t dk) { return 2 * K_KDA_CHUNK * (size_t)k_kda_reads((int64_t)dk); }

static struct deferred new_deferred(struct run *r, const struct kda *a)
{
	struct deferred d = { .strip = box_f(r, SLOT_STRIP, strip_floats(a->dk)), .keys = box_f(r, SLOT_KEYS, keys_floats(a->dk)),
		.reads = box_f(r, SLOT_ALONE, reads_floats(a->dk)) };
	for (size_t i = 0; i < a->dk * K_KDA_STRIP; i++)
		d.strip[i] = i % K_KDA_STRIP < a->dv ? a->state[i % K_KDA_STRIP * a->dk + i / K_KDA_STRIP] : 0;
	return d;
}

/* n tokens from the t-th on, cut where chunks end and as `cut` says: 0, nowhere else. */
static void go_deferred(const struct kk *k, struct deferred *d, const struct kda *a, float *o, size_t t, size_t n, size_t cut)
{
	size_t padded = (size_t)k_kda_padded((int64_t)a->dk);
	for (size_t end = t + n, m; t < end; t += m) {
		m = K_MIN(end - t, K_KDA_CHUNK - d->count);
		m = cut ? K_MIN(m, cut) : m;
		struct kk_kda_chunk c = { d->count, m, d->keys, d->keys + padded, d->reads, NULL, 0 };
		struct kk_kda x = kda_from(a, o, t, 0);
		k->kda_keys(&c, &x, a->dk);
		k->kda_strip(d->strip, &c, &x, a->dk, a->dv);
		d->count = (d->count + m) % K_KDA_CHUNK;
	}
}

static void as_of_now(const struct deferred *d, const struct kda *a, float *plain)
{
	for (size_t j = 0; j < a->dv; j++)
		for (size_t i = 0; i < a->dk; i++)
			plain[j * a->dk + i] = k_kda_now(d->keys, d->strip, (int64_t)d->count, (int64_t)a->dk, (int64_t)i, (int64_t)j);
}

static void deferred_case(struct run *r, size_t dk, size_t dv, size_t n)
{
	struct kda a = { .dk = dk, .dv = dv, .n = n };
	where(r, "dk=%zu dv=%zu n=%zu", dk, dv, n);
	new_kda(r, &a);
	size_t many = span(n, a.x.step, K_MAX(dk, dv)), all = dk * dv;
	float *want = box_copy(r, SLOT_WANT, a.state, all), *got = box_f(r, SLOT_B, all), *o_want = box_f(r, SLOT_MORE + 4, many);
	double *terms = box(r, SLOT_TERMS, all, sizeof(*terms)), *o_terms = box(r, SLOT_TERMS2, n * dv, sizeof(*o_terms));
	kda_part(r->ref, &a, want, o_want, 0, n, 0, dv);
	kda_terms(&a, terms, o_terms);
	struct deferred d = new_deferred(r, &a);
	go_deferred(r->got, &d, &a, a.o, 0, n, 0);
	as_of_now(&d, &a, got);
	for (size_t t = 0; t < n; t++)
		near_terms(r, "o", a.o + t * a.x.step, o_want + t * a.x.step, o_terms + t * dv, dv);
	near_terms(r, "state", got, want, terms, all);
	float *whole = box_copy(r, SLOT_TERMS, d.strip, (dk + d.count) * K_KDA_STRIP), *whole_keys = box_copy(r, SLOT_TERMS2, d.keys, keys_floats(dk));
	float *o = box_copy(r, SLOT_MORE + 4, a.o, many);
	for (size_t cut = 1; cut <= 7; cut += 3) {
		size_t count = d.count, padded = (size_t)k_kda_padded((int64_t)dk);
		d = new_deferred(r, &a);
		go_deferred(r->got, &d, &a, a.o, 0, n, cut);
		same(r, "in pieces: strip", d.strip, whole, (dk + count) * K_KDA_STRIP);
		for (size_t j = 0; count && j <= count; j++)
			same(r, "in pieces: keys", d.keys + j * padded, whole_keys + j * padded, dk);
		for (size_t t = 0; t < n; t++)
			same(r, "in pieces: o", o + t * a.x.step, a.o + t * a.x.step, dv);
	}
	box_check(r);
}

static void check_deferred(struct run *r, const void *how K_UNUSED)
{
	for (size_t i = 0; i < K_LEN(kda_widths); i++)
		for (int k = 0; k < 3; k++)
			deferred_case(r, (size_t)kda_widths[i], k == 2 ? K_KDA_STRIP : rnd_below(r, K_KDA_STRIP + 1), k == 1 ? 16 : rnd_below(r, 50));
}

struct timed { struct kda a; struct deferred d; bool keys; };

static void go_timed(const struct kk *k, void *arg)
{
	struct timed *x = arg;
	size_t padded = (size_t)k_kda_padded((int64_t)x->a.dk);
	struct kk_kda_chunk c = { x->d.count, x->a.n, x->d.keys, x->d.keys + padded, x->d.reads, NULL, 0 };
	struct kk_kda of = kda_from(&x->a, x->a.o, 0, 0);
	if (x->keys)
		k->kda_keys(&c, &of, x->a.dk);
	else
		k->kda_strip(x->d.strip, &c, &of, x->a.dk, x->a.dv);
}

static const bool of_keys = true, of_strip = false;

static void bench_deferred(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	static const struct { size_t count, n; const char *size; } runs[] = { { 8, 1, "128, token 9" }, { 0, 16, "128, 16 tokens" } };
	for (size_t i = 0; i < K_LEN(runs); i++) {
		struct run r = { .name = "bench", .level = "", .timed = true };
		struct timed x = { .a = { .dk = 128, .dv = K_KDA_STRIP, .n = runs[i].n }, .keys = *(const bool *)how };
		new_kda(&r, &x.a);
		x.d = new_deferred(&r, &x.a);
		memset(x.d.keys, 0, keys_floats(x.a.dk) * sizeof(float));
		memset(x.d.reads, 0, reads_floats(x.a.dk) * sizeof(float));
		memset(x.d.strip + x.a.dk * K_KDA_STRIP, 0, K_KDA_CHUNK * K_KDA_STRIP * sizeof(float));
		x.d.count = runs[i].count;
		time(ctx, &(struct bench){ runs[i].size, go_timed, &x });
	}
}

const struct row kcheck_delta[] = {
	{ "kda_keys", check_deferred, &of_keys, bench_deferred }, { "kda_strip", check_deferred, &of_strip, bench_deferred },
	{ "kda_run", check_kda, NULL, NULL }, { .name = NULL },
};
