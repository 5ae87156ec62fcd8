/* bands.c: see bands.h. */
#include "libcore/base.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/bands.h"
#include "evals/report.h"

/* Other experts are no number: they are judged by the band of the scores. */
static bool has_band(int part) { return part != K_PART_EXPERTS; }
static int64_t places(const struct k_bands *b, int part) { return part == K_PART_LOGITS ? 1 : b->n_layer + 1; }
static int64_t place(int part, int64_t layer) { return part == K_PART_LOGITS ? 0 : layer + 1; }

int k_bands_new(struct k_bands **out, int64_t n_layer, struct k_arena *a, struct k_err *err)
{
	struct k_bands *b = *out = k_arena_alloc(a, sizeof(*b));
	if (!b)
		return k_err_nomem(err, sizeof(*b), "bands");
	b->of = "";
	b->n_layer = n_layer;
	for (int p = 0; p < K_N_PART; p++) {
		int64_t n = places(b, p);
		b->most[p] = k_arena_array(a, (size_t)n, sizeof(double));
		if (!b->most[p])
			return k_err_nomem(err, (size_t)n * sizeof(double), "bands");
		for (int64_t i = 0; i < n; i++)
			b->most[p][i] = -1;
	}
	return 0;
}

double k_bands_at(const struct k_bands *b, int64_t layer, enum k_part part)
{
	return b->most[has_band(part) ? part : K_PART_SCORES][place(part, layer)];
}

/* --- as JSON ------------------------------------------------------------------------------------------------------------------ */

static int read_part(struct k_bands *b, const struct k_json *v, int part, const char *where, struct k_err *err)
{
	const struct k_json *list = k_json_find(v, k_part_names[part]);
	bool one = part == K_PART_LOGITS;
	if (k_json_kind(list) == K_JSON_NULL)
		return 0;
	if (!one && (k_json_kind(list) != K_JSON_ARRAY || (int64_t)k_json_len(list) != b->n_layer + 1))
		return k_err_set(err, K_EFORMAT, "'%s': bands.%s wants a list of %lld numbers, one for the embedding and one a layer", where,
			k_part_names[part], (long long)b->n_layer + 1);
	for (int64_t i = 0; i < places(b, part); i++) {
		const struct k_json *x = one ? list : k_json_at(list, (size_t)i);
		enum k_json_kind kind = k_json_kind(x);
		if (kind == K_JSON_NULL)
			continue;
		if ((kind != K_JSON_INT && kind != K_JSON_REAL) || !(k_json_number(x) >= 0))
			return k_err_set(err, K_EFORMAT, "'%s': bands.%s[%lld] is %s, wanted a number from 0, or null", where, k_part_names[part],
				(long long)i, k_json_kind_name(x));
		b->most[part][i] = k_json_number(x);
	}
	return 0;
}

int k_bands_read(struct k_bands **out, const struct k_json *v, int64_t n_layer, struct k_arena *a, const char *where, struct k_err *err)
{
	const char *of;
	int r = k_bands_new(out, n_layer, a, err);
	if (r == 0 && k_json_kind(v) != K_JSON_OBJECT)
		r = k_err_set(err, K_EFORMAT, "'%s': bands is %s, wanted an object", where, k_json_kind_name(v));
	if (r == 0)
		r = k_json_str_or(v, "of", "", &of, where, err);
	if (r < 0)
		return r;
	(*out)->of = k_arena_strdup(a, of);
	if (!(*out)->of)
		return k_err_nomem(err, strlen(of), "bands");
	for (int p = 0; r == 0 && p < K_N_PART; p++)
		if (has_band(p))
			r = read_part(*out, v, p, where, err);
	return r;
}

/* Four digits are enough, and say that it is no exact thing. */
static double rounded(double x)
{
	char text[32];
	snprintf(text, sizeof(text), "%.4g", x);
	return isfinite(x) ? strtod(text, NULL) : x;
}

static int put_part(struct k_json *o, const struct k_bands *b, int part)
{
	struct k_json *list;
	if (part == K_PART_LOGITS)
		return b->most[part][0] < 0 ? k_put_null(o, k_part_names[part]) : k_put_num(o, k_part_names[part], rounded(b->most[part][0]));
	list = k_json_array();
	int bad = !list;
	for (int64_t i = 0; !bad && i < places(b, part); i++) {
		bad = k_json_push(list, b->most[part][i] < 0 ? k_json_new_null() : k_json_new_number(rounded(b->most[part][i]))) < 0;
	}
	return k_json_set(o, k_part_names[part], list) | -bad;
}

struct k_json *k_bands_json(const struct k_bands *b)
{
	struct k_json *o = k_json_object();
	int bad = !o || k_put_str(o, "of", b->of) | k_put_num(o, "factor", b->factor) | k_put_num(o, "floor", b->floor);
	for (int p = 0; !bad && p < K_N_PART; p++)
		if (has_band(p))
			bad = put_part(o, b, p);
	if (bad) {
		k_json_free(o);
		o = NULL;
	}
	return o;
}

/* --- measuring ---------------------------------------------------------------------------------------------------------------- */

struct meter { struct k_bands *b; struct { double free, all; int64_t n_free, n_all; } now[K_N_PART]; };

static bool on_spot(void *arg, const struct k_spot *s)
{
	struct meter *m = arg;
	m->now[s->part].n_all++;
	m->now[s->part].all = fmax(m->now[s->part].all, s->diff);
	if (!s->tied) {
		m->now[s->part].n_free++;
		m->now[s->part].free = fmax(m->now[s->part].free, s->diff);
	}
	return true;
}

static int on_done(void *arg, int64_t layer, struct k_err *err)
{
	struct meter *m = arg;
	(void)err;
	for (int p = 0; p < K_N_PART; p++) {
		bool all = m->now[p].n_free * 4 < m->now[p].n_all;
		double *most = &m->b->most[p][place(p, layer)];
		if (m->now[p].n_all && has_band(p))
			*most = fmax(*most, all ? m->now[p].all : m->now[p].free);
	}
	memset(m->now, 0, sizeof(m->now));
	return 0;
}

int k_bands_measure(struct k_bands *b, struct k_layers *w, struct k_err *err)
{
	struct meter m = { .b = b };
	w->spot = on_spot;
	w->done = on_done;
	w->arg = &m;
	return k_layers_walk(w, err);
}

void k_bands_widen(struct k_bands *b)
{
	for (int p = 0; p < K_N_PART; p++)
		for (int64_t i = 0; i < places(b, p); i++)
			if (b->most[p][i] >= 0)
				b->most[p][i] = fmax(b->most[p][i] * b->factor, b->floor);
}
