/* kcheck_elem.c: kernels on vectors of n floats: what they take in a table, one driver.
 *
 * For each length and kind of data: the result is near the reference's; it is the same, bit for bit, in place (where that is
 * allowed) and, element by element kernels, when the vector is cut anywhere. */
#include "libcore/base.h"
#include <math.h>
#include <stddef.h>
#include "kernels/check/kcheck.h"

enum { SLOT_Y, SLOT_IN, SLOT_WANT = 4, SLOT_OTHER, MOST_IN = 3, PASSES = 3 };

struct args { float *y; const float *in[MOST_IN]; float a, b; double d; size_t n; float ret; };

/* How a kernel is called, and with what. */
struct elem {
	void (*call)(const struct kk *k, struct args *a);
	int n_in;
	bool reads_y, by_element, returns;
	unsigned in_place;              /* bit i: y may be in[i] */
	/* By pass: y where it is read, the inputs. */
	struct { enum data y, in[MOST_IN]; } data[PASSES];
	float a_lo, a_hi;
};

static void call_axpy(const struct kk *k, struct args *a) { k->axpy(a->y, a->in[0], a->a, a->n); }
static void call_add(const struct kk *k, struct args *a) { k->add(a->y, a->in[0], a->n); }
static void call_scale(const struct kk *k, struct args *a) { k->scale(a->y, a->a, a->n); }
static void call_max(const struct kk *k, struct args *a) { a->ret = k->max(a->in[0], a->n); }
static void call_exp_sum(const struct kk *k, struct args *a) { a->ret = k->exp_sum(a->y, a->a, a->b, a->n); }
static void call_sigmoid(const struct kk *k, struct args *a) { k->sigmoid(a->y, a->in[0], a->n); }
static void call_swiglu(const struct kk *k, struct args *a) { k->swiglu(a->y, a->in[0], a->in[1], a->n); }
static void call_situ(const struct kk *k, struct args *a) { k->situ(a->y, a->in[0], a->in[1], 4, a->d < 1e-20 ? 0 : 25, a->n); }
static void call_gate(const struct kk *k, struct args *a) { k->gate(a->y, a->in[0], a->n); }
static void call_rmsnorm(const struct kk *k, struct args *a) { k->rmsnorm(a->y, a->in[0], a->in[1], a->n, a->d); }
static void call_l2norm(const struct kk *k, struct args *a) { k->l2norm(a->y, a->in[0], (double)a->a, a->n); }
static void call_gated(const struct kk *k, struct args *a) { k->gated_norm(a->y, a->in[0], a->in[1], a->in[2], a->n, a->d); }
static void call_kda_gate(const struct kk *k, struct args *a) { k->kda_gate(a->y, a->in[0], a->in[1], (double)a->a, a->n); }
static void call_kda_gate_bound(const struct kk *k, struct args *a) { k->kda_gate_bound(a->y, a->in[0], a->in[1], (double)a->a, -5, a->n); }
static void call_act_bf16(const struct kk *k, struct args *a) { k->act_bf16(a->y, a->in[0], a->n); }
static void call_act_int8(const struct kk *k, struct args *a) { k->act_int8(a->y, a->in[0], a->n); }

#define P DATA_PLAIN
#define W DATA_WIDE
#define G DATA_GATE
#define F DATA_FINITE
#define A DATA_ANY
#define Z DATA_ZERO
static const struct elem
	axpy = { call_axpy, 1, true, true, false, 0, { { P, { P } }, { W, { W } }, { W, { W } } }, -2, 2 },
	add = { call_add, 1, true, true, false, 0, { { P, { P } }, { F, { F } }, { A, { A } } }, 0, 0 },
	scale = { call_scale, 0, true, true, false, 0, { { P, { P } }, { F, { P } }, { A, { P } } }, -3, 3 },
	max = { call_max, 1, false, false, true, 0, { { P, { Z } }, { P, { F } }, { P, { A } } }, 0, 0 },
	exp_sum = { call_exp_sum, 0, true, true, true, 0, { { P, { P } }, { P, { P } }, { P, { P } } }, 0.1f, 20 },
	sigmoid = { call_sigmoid, 1, false, true, false, 1, { { P, { P } }, { P, { G } }, { P, { W } } }, 0, 0 },
	swiglu = { call_swiglu, 2, false, true, false, 3, { { P, { P, W } }, { P, { G, P } }, { P, { W, P } } }, 0, 0 },
	situ = { call_situ, 2, false, true, false, 3, { { P, { P, P } }, { P, { G, P } }, { P, { P, W } } }, 0, 0 },
	gate = { call_gate, 1, true, true, false, 0, { { P, { P } }, { P, { G } }, { W, { P } } }, 0, 0 },
	rmsnorm = { call_rmsnorm, 2, false, false, false, 1, { { P, { P, P } }, { P, { F, P } }, { P, { W, W } } }, 0, 0 },
	l2norm = { call_l2norm, 1, false, false, false, 1, { { P, { P } }, { P, { W } }, { P, { F } } }, 0.05f, 1 },
	gated = { call_gated, 3, false, false, false, 1, { { P, { P, P, P } }, { P, { W, P, G } }, { P, { P, W, P } } }, 0, 0 },
	kda_gate = { call_kda_gate, 2, false, true, false, 0, { { P, { P, P } }, { P, { G, P } }, { P, { G, G } } }, 0.01f, 20 },
	kda_gate_bound = { call_kda_gate_bound, 2, false, true, false, 0, { { P, { P, P } }, { P, { G, P } }, { P, { G, G } } }, 0.01f, 20 },
	act_bf16 = { call_act_bf16, 1, false, true, false, 1, { { P, { P } }, { P, { F } }, { P, { A } } }, 0, 0 },
	act_int8 = { call_act_int8, 1, false, false, false, 1, { { P, { P } }, { P, { F } }, { P, { A } } }, 0, 0 };
#undef P
#undef W
#undef G
#undef F
#undef A
#undef Z

static void new_args(struct run *r, const struct elem *e, struct args *a, size_t n, int pass)
{
	static const double eps[] = { 1e-6, 1e-5, 1e-30 };
	memset(a, 0, sizeof(*a));
	a->n = n;
	a->a = rnd_float(r, e->a_lo, e->a_hi);
	a->d = eps[pass];
	for (int i = 0; i < e->n_in; i++)
		a->in[i] = box_data(r, SLOT_IN + i, n, e->data[pass].in[i]);
	a->y = box_f(r, SLOT_Y, n);
	if (e->reads_y)
		fill(r, a->y, n, e->data[pass].y);
	/* What softmax subtracts: the largest of all pages so far. */
	a->b = rnd(r) & 1 ? rnd_float(r, 0, 8) : 0;
	for (size_t i = 0; i < n && e->reads_y; i++)
		a->b = fmaxf(a->b, a->a * a->y[i]);
}

/* Runs k on a copy of a whose y lies in slot. */
static struct args on_copy(struct run *r, const struct elem *e, const struct kk *k, const struct args *a, int slot)
{
	struct args b = *a;
	b.y = box_copy(r, slot, a->y, a->n);
	e->call(k, &b);
	return b;
}

static void check_in_place(struct run *r, const struct elem *e, const struct args *a, const struct args *got)
{
	for (int i = 0; i < e->n_in; i++) {
		if (!(e->in_place >> i & 1))
			continue;
		struct args b = *a;
		b.y = box_copy(r, SLOT_OTHER, a->in[i], a->n);
		b.in[i] = b.y;
		e->call(r->got, &b);
		same(r, "in place: y", b.y, got->y, a->n);
		box_check(r);
	}
}

static void check_cut(struct run *r, const struct elem *e, const struct args *a, const struct args *got)
{
	struct args b = *a;
	float *y = box_copy(r, SLOT_OTHER, a->y, a->n);
	for (size_t from = 0; from < a->n; from += b.n) {
		b.n = piece(r, a->n - from);
		b.y = y + from;
		for (int i = 0; i < e->n_in; i++)
			b.in[i] = a->in[i] + from;
		e->call(r->got, &b);
	}
	same(r, "in pieces: y", y, got->y, a->n);
	box_check(r);
}

static void check_elem(struct run *r, const void *how)
{
	const struct elem *e = how;
	for (int i = 0; i < kcheck_n_lengths; i++)
		for (int pass = 0; pass < PASSES; pass++) {
			struct args a, want, got;
			where(r, "n=%zu data=%d", kcheck_lengths[i], pass);
			new_args(r, e, &a, kcheck_lengths[i], pass);
			want = on_copy(r, e, r->ref, &a, SLOT_WANT);
			got = on_copy(r, e, r->got, &a, SLOT_WANT + 2);
			near(r, "y", got.y, want.y, a.n);
			if (e->returns)
				near(r, "result", &got.ret, &want.ret, 1);
			box_check(r);
			check_in_place(r, e, &a, &got);
			if (e->by_element)
				check_cut(r, e, &a, &got);
		}
}

struct timed { const struct elem *e; struct args a; };

static void go(const struct kk *k, void *arg)
{
	struct timed *t = arg;
	t->e->call(k, &t->a);
}

static void bench_elem(const void *how, void (*time)(void *ctx, const struct bench *b), void *ctx)
{
	struct run r = { .name = "bench", .level = "", .timed = true };
	struct timed t = { .e = how };
	new_args(&r, t.e, &t.a, 2048, 0);
	/* Nothing may run away when a call is repeated: exp of exp, sums of sums. */
	t.a.a = t.e->reads_y ? 1e-3f : t.a.a;
	time(ctx, &(struct bench){ "n=2048", go, &t });
}

#define ROW(id, what) { #id, check_elem, &what, bench_elem }
const struct row kcheck_elem[] = {
	ROW(axpy, axpy), ROW(add, add), ROW(scale, scale), ROW(max, max), ROW(exp_sum, exp_sum), ROW(sigmoid, sigmoid), ROW(swiglu, swiglu), ROW(situ, situ), ROW(gate, gate),
	ROW(rmsnorm, rmsnorm), ROW(l2norm, l2norm), ROW(gated_norm, gated), ROW(kda_gate, kda_gate), ROW(kda_gate_bound, kda_gate_bound), ROW(act_bf16, act_bf16), ROW(act_int8, act_int8), { .name = NULL },
};
